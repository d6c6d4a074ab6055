//! gzip: streams of one or several members in, single members out. The only home of flate2.

use std::fs::File;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Seek, Write};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use flate2::{Compression, GzBuilder};

/// The first two bytes of every member.
pub const MAGIC: [u8; 2] = [0x1F, 0x8B];

/// The text of all members one behind the other. A stream that is cut short or damaged anywhere is an
/// error, never a shorter text.
pub struct Reader<R>(MultiGzDecoder<R>);

impl<R: BufRead> Reader<R> {
    /// Inflates `reader`.
    pub fn new(reader: R) -> Self {
        Reader(MultiGzDecoder::new(reader))
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.0.read(buffer).map_err(|error| {
            let what = match error.kind() {
                ErrorKind::UnexpectedEof => "the gzip stream is cut short".to_owned(),
                ErrorKind::InvalidInput | ErrorKind::InvalidData => {
                    format!("the gzip stream is corrupt ({error})")
                }
                _ => return error,
            };
            Error::new(error.kind(), what)
        })
    }
}

/// So much of a text is inflated to tell how long all of it is.
const SAMPLE_BYTES: u64 = 4 << 20;

/// About how many bytes of text a file holds: exactly if it is not compressed, or short; else by what its
/// beginning inflates to. (The length that a gzip file ends with is that of its last member, modulo 4 GiB.)
pub fn text_bytes(path: &Path) -> Result<u64> {
    let mut file = BufReader::new(File::open(path)?);
    let bytes = file.get_ref().metadata()?.len();
    if !file.fill_buf()?.starts_with(&MAGIC) {
        return Ok(bytes);
    }
    let mut inflating = MultiGzDecoder::new(file);
    let sample = std::io::copy(
        &mut (&mut inflating).take(SAMPLE_BYTES),
        &mut std::io::sink(),
    )?;
    if sample < SAMPLE_BYTES {
        return Ok(sample);
    }
    let read = inflating.get_mut().stream_position()?.max(1);
    let wide = u128::from(sample) * u128::from(bytes) / u128::from(read);
    Ok(u64::try_from(wide).unwrap_or(u64::MAX))
}

/// A text as one member. Nothing in it tells when or where it was made.
pub fn member(text: &[u8], level: u32) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::new(level));
    encoder.write_all(text)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_text_is_told_from_its_beginning() {
        let path = std::env::temp_dir().join(format!("etl-text-{}", std::process::id()));
        let line = |i: u64| format!("{i},{},some words\n", i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let long: String = (0..600_000).map(line).collect();
        let (short, long) = (&long.as_bytes()[..5000], long.as_bytes());
        // Two members: the length at the end is that of the second one alone.
        let halves = long.split_at(long.len() / 2);
        let packed = |text: &[u8]| member(text, 6).expect("memory takes all");
        let two = [packed(halves.0), packed(halves.1)].concat();
        for (bytes, text) in [(short.to_vec(), short), (packed(short), short), (two, long)] {
            std::fs::write(&path, &bytes).expect("the temporary folder takes a file");
            let told = text_bytes(&path).expect("it is there") as f64 / text.len() as f64;
            let exact = text.len() == short.len();
            let off = if exact { 0.0 } else { 0.1 };
            assert!((told - 1.0).abs() <= off, "{told} of {}", text.len());
        }
        std::fs::remove_file(&path).expect("it was written");
    }
}
