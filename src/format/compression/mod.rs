//! Compressed streams: told from their bytes, read as one text, written as parts of one size.

pub mod gzip;
pub mod zstd;

use std::fs::File;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result};
use std::path::Path;

use crate::schema::count;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Members, one after the other.
    Gzip,
    /// Frames, one after the other.
    Zstd,
}

impl Codec {
    /// How a stream is compressed that begins with these bytes; its name ends in `extension`. Where the name
    /// says so too, fewer bytes are enough: the others may be damaged, or cut off.
    pub fn of(first: &[u8], extension: Option<&str>) -> Option<Codec> {
        let named = Codec::named(extension);
        let is_named_gzip = named == Some(Codec::Gzip) && first.first() == Some(&gzip::MAGIC[0]);
        if first.starts_with(&gzip::MAGIC) || is_named_gzip {
            return Some(Codec::Gzip);
        }
        let is_named_zstd = named == Some(Codec::Zstd) && zstd::is_cut_magic(first);
        if zstd::begins_frame(first) || is_named_zstd {
            return Some(Codec::Zstd);
        }
        None
    }

    /// What an extension stands for.
    pub fn named(extension: Option<&str>) -> Option<Codec> {
        match extension {
            Some(end) if end.eq_ignore_ascii_case("gz") => Some(Codec::Gzip),
            Some(end) if end.eq_ignore_ascii_case("zst") => Some(Codec::Zstd),
            _ => None,
        }
    }

    /// The error of a stream without a byte: even that of an empty text has some.
    pub fn empty(self) -> Error {
        let (codec, next_step) = match self {
            Codec::Gzip => ("gzip", gzip::NEXT_STEP),
            Codec::Zstd => ("zstd", zstd::NEXT_STEP),
        };
        let what = format!("the {codec} stream is cut short at byte 0");
        Damaged::error(ErrorKind::UnexpectedEof, what, next_step)
    }

    /// The text of a stream. One that is cut short or damaged anywhere is an error, never a shorter text.
    pub fn reader<'a>(self, stream: impl BufRead + Send + 'a) -> Box<dyn Read + Send + 'a> {
        match self {
            Codec::Gzip => Box::new(gzip::Reader::new(stream)),
            Codec::Zstd => Box::new(zstd::Reader::new(stream)),
        }
    }

    /// A text as one member or frame, at the level that the codec's own tool takes. Nothing in it tells when
    /// or where it was made.
    pub fn member(self, text: &[u8]) -> Result<Vec<u8>> {
        match self {
            Codec::Gzip => gzip::member(text, 6),
            Codec::Zstd => zstd::frame(text, 3),
        }
    }
}

/// More bytes than this after the last member are not counted.
const COUNTED_MAX: u64 = 1 << 20;

/// Counts the bytes that were consumed.
struct Counted<R> {
    reader: R,
    at: u64,
    /// Where the member begins that is read.
    member: u64,
}

impl<R> Counted<R> {
    fn new(reader: R) -> Self {
        Counted {
            reader,
            at: 0,
            member: 0,
        }
    }

    fn begin_member(&mut self) {
        self.member = self.at;
    }

    /// Which of several members is read.
    fn member_in_words(&self, what: &str) -> String {
        match self.member {
            0 => String::new(),
            member => format!(" in the {what} that begins at byte {member}"),
        }
    }
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = self.reader.read(buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, bytes: usize) {
        self.reader.consume(bytes);
        self.at += bytes as u64;
    }
}

/// Reads what follows the last member, of which `first` is read already: zero bytes are padding, anything
/// else is an error.
fn skip_padding<R: BufRead>(
    reader: &mut Counted<R>,
    first: &[u8],
    codec: &str,
    next_step: &'static str,
) -> Result<()> {
    let end = reader.member;
    let mut padding = first.iter().all(|&byte| byte == 0);
    loop {
        let next = reader.fill_buf()?;
        if next.is_empty() {
            break;
        }
        padding &= next.iter().all(|&byte| byte == 0);
        let bytes = next.len();
        reader.consume(bytes);
        if !padding && reader.at - end > COUNTED_MAX {
            break;
        }
    }
    if padding {
        return Ok(());
    }
    let more = if reader.at - end > COUNTED_MAX {
        "more than "
    } else {
        ""
    };
    let bytes = (reader.at - end).min(COUNTED_MAX);
    let what = format!(
        "{more}{} after the end of the {codec} stream at byte {end} {} not {codec}",
        count(bytes, "byte"),
        if bytes == 1 { "is" } else { "are" }
    );
    Err(Damaged::error(ErrorKind::Unsupported, what, next_step))
}

/// What is wrong with a stream, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Damaged {
    what: String,
    next_step: &'static str,
}

impl Damaged {
    fn error(kind: ErrorKind, what: String, next_step: &'static str) -> Error {
        Error::new(kind, Damaged { what, next_step })
    }
}

/// What to do about an error of reading, where the stream is damaged.
pub fn next_step(error: &Error) -> Option<&'static str> {
    let damaged = error.get_ref()?.downcast_ref::<Damaged>();
    damaged.map(|damaged| damaged.next_step)
}

/// So much of a text is inflated to tell how long all of it is.
const SAMPLE_BYTES: u64 = 4 << 20;

/// About how many bytes of text a file holds: exactly if it is not compressed, or short; else by what its
/// beginning inflates to. (The length that a gzip file ends with is that of its last member, modulo 4 GiB.)
pub fn text_bytes(path: &Path) -> Result<u64> {
    let mut file = BufReader::new(File::open(path)?);
    let bytes = file.get_ref().metadata()?.len();
    let Some(codec) = Codec::of(file.fill_buf()?, None) else {
        return Ok(bytes);
    };
    let mut file = Counted::new(file);
    let sample = {
        let mut text = codec.reader(&mut file).take(SAMPLE_BYTES);
        std::io::copy(&mut text, &mut std::io::sink())?
    };
    if sample < SAMPLE_BYTES {
        return Ok(sample);
    }
    let wide = u128::from(sample) * u128::from(bytes) / u128::from(file.at.max(1));
    Ok(u64::try_from(wide).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_text_is_told_from_its_beginning() {
        let path = std::env::temp_dir().join(format!("etl-text-{}", std::process::id()));
        let line = |i: u64| format!("{i},{},some words\n", i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let all: String = (0..600_000).map(line).collect();
        let (short, long) = (&all.as_bytes()[..5000], all.as_bytes());
        // Two members: the length at the end is that of the second one alone.
        let halves = all.split_at(long.len() / 2);
        let packed = |codec: Codec, text: &[u8]| codec.member(text).expect("memory takes all");
        let mut cases = vec![(short.to_vec(), short)];
        for codec in [Codec::Gzip, Codec::Zstd] {
            cases.push((packed(codec, short), short));
            let parts = [halves.0, halves.1].map(|half| packed(codec, half.as_bytes()));
            cases.push((parts.concat(), long));
        }
        for (bytes, text) in cases {
            std::fs::write(&path, &bytes).expect("the temporary folder takes a file");
            let ratio = text_bytes(&path).expect("it is there") as f64 / text.len() as f64;
            let exact = text.len() == short.len();
            let off = if exact { 0.0 } else { 0.1 };
            assert!((ratio - 1.0).abs() <= off, "{ratio} of {}", text.len());
        }
        std::fs::remove_file(&path).expect("it was written");
    }
}
