//! Checkpoints: how far a stage has come whose work stays done outside. A run appends one line per batch to a file
//! in its folder; the last line counts.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

use crate::stage::Counts;

/// The count of rows that earlier attempts at the same run have finished.
pub(crate) const RESUMED_ROWS: &str = "resumed_rows";

/// How often checkpoints are synced to disk: with every batch, that would take a load as long as small batches do.
pub(crate) const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The rows of a stage, accounted for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) batches: u64,
    pub(crate) rows_in: u64,
    pub(crate) rows_out: u64,
    pub(crate) added: u64,
    pub(crate) dropped: u64,
    pub(crate) rejected: u64,
    pub(crate) counts: Counts,
}

/// How far a stage has come: its ledger up to there.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    #[serde(flatten)]
    pub(crate) ledger: Ledger,
    /// Of the stage's own rejects.
    pub(crate) rejects_bytes: u64,
    /// The checksum of these bytes.
    #[serde(default)]
    pub(crate) rejects_sum: u64,
}

impl Checkpoint {
    /// The last line whose count agrees with the file `rejects`, and where that line ends; without such a line, an
    /// empty checkpoint. After a power cut a line may be on disk but not the rejects that it counts: then an earlier
    /// line counts, and a resumed run repeats the work after it.
    pub(crate) fn last(path: &Path, rejects: &Path) -> (Checkpoint, u64) {
        let bytes = std::fs::read(path).unwrap_or_default();
        let mut end = bytes.len();
        while let Some(newline) = bytes[..end].iter().rposition(|&byte| byte == b'\n') {
            let begin = bytes[..newline].iter().rposition(|&byte| byte == b'\n');
            let line = &bytes[begin.map_or(0, |at| at + 1)..newline];
            if let Ok(checkpoint) = serde_json::from_slice::<Checkpoint>(line)
                && checkpoint.matches_rejects(rejects)
            {
                return (checkpoint, newline as u64 + 1);
            }
            end = newline;
        }
        (Checkpoint::default(), 0)
    }

    fn matches_rejects(&self, rejects: &Path) -> bool {
        self.rejects_bytes == 0
            || sum_of(rejects, self.rejects_bytes).is_ok_and(|sum| sum.digest() == self.rejects_sum)
    }
}

/// The checksum of a file's first `bytes`; an error where it has fewer.
pub(crate) fn sum_of(file: &Path, bytes: u64) -> std::io::Result<Xxh3Default> {
    let mut sum = Xxh3Default::new();
    let mut reader = BufReader::with_capacity(64 << 10, File::open(file)?).take(bytes);
    let mut read = 0;
    loop {
        let some = reader.fill_buf()?;
        if some.is_empty() {
            break;
        }
        sum.update(some);
        let length = some.len();
        read += length as u64;
        reader.consume(length);
    }
    if read < bytes {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_counts_only_with_the_rejects_that_it_counts() {
        let folder = std::env::temp_dir().join(format!("etl-settled-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let (path, rejects) = (folder.join("settled"), folder.join("rejects"));
        std::fs::write(&rejects, "one\ntwo\n").expect("it can be written");
        let line = |rows_in: u64, bytes: u64, sum: u64| {
            let checkpoint = Checkpoint {
                ledger: Ledger {
                    rows_in,
                    ..Ledger::default()
                },
                rejects_bytes: bytes,
                rejects_sum: sum,
            };
            serde_json::to_string(&checkpoint).expect("it is plain data") + "\n"
        };
        let sum = |bytes| sum_of(&rejects, bytes).expect("they are there").digest();
        let (first, second, third) = (line(1, 0, 0), line(2, 4, sum(4)), line(3, 8, sum(8)));
        let checkpoint = |text: &str| {
            std::fs::write(&path, text).expect("it can be written");
            let (checkpoint, end) = Checkpoint::last(&path, &rejects);
            (checkpoint.ledger.rows_in, end)
        };
        let all = format!("{first}{second}{third}");
        let ends = [first.len(), first.len() + second.len(), all.len()].map(|end| end as u64);
        assert_eq!(checkpoint(&all), (3, ends[2]));
        assert_eq!(
            checkpoint(&all[..all.len() - 1]),
            (2, ends[1]),
            "a line that is cut"
        );
        assert_eq!(checkpoint(&format!("{all}\0\0\0\n\0")), (3, ends[2]));
        assert_eq!(checkpoint(""), (0, 0));
        // What the file system had not written when the power went reads as zeros, or is not there.
        std::fs::write(&rejects, "one\n\0\0\0\0").expect("it can be written");
        assert_eq!(checkpoint(&all), (2, ends[1]));
        std::fs::write(&rejects, "on").expect("it can be written");
        assert_eq!(checkpoint(&all), (1, ends[0]));
        std::fs::remove_dir_all(&folder).expect("it is there");
    }
}
