//! gzip: streams of one or several members in, single members out. The only home of flate2.

use std::fs::File;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::path::Path;

use crate::schema::count;

use flate2::bufread::GzDecoder;
use flate2::{Compression, GzBuilder};

/// The first two bytes of every member.
pub const MAGIC: [u8; 2] = [0x1F, 0x8B];

/// More bytes than this after the last member are not counted.
const COUNTED_MAX: u64 = 1 << 20;

/// The text of all members, one after the other. A stream that is cut short or damaged anywhere is an
/// error, never a shorter text. Zero bytes after the last member are padding, as of tapes; anything else
/// there is an error.
pub struct Reader<R>(State<R>);

enum State<R> {
    Between(Counted<R>),
    Member(GzDecoder<Counted<R>>),
    /// All is read, or has failed.
    Ended,
}

/// Counts the bytes that were consumed.
struct Counted<R> {
    reader: R,
    at: u64,
    /// Where the member begins that is read.
    member: u64,
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

impl<R: BufRead> Reader<R> {
    /// Inflates `reader`.
    pub fn new(reader: R) -> Self {
        Reader(State::Between(Counted {
            reader,
            at: 0,
            member: 0,
        }))
    }

    /// How many bytes of the stream were inflated.
    fn bytes_read(&self) -> u64 {
        match &self.0 {
            State::Between(reader) => reader.at,
            State::Member(member) => member.get_ref().at,
            State::Ended => 0,
        }
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(&mut self.0, State::Ended) {
                State::Ended => return Ok(0),
                State::Between(reader) => match next_member(reader)? {
                    Some(reader) => self.0 = State::Member(GzDecoder::new(reader)),
                    None => return Ok(0),
                },
                State::Member(mut member) => match member.read(buffer) {
                    Ok(0) => self.0 = State::Between(member.into_inner()),
                    Ok(read) => {
                        self.0 = State::Member(member);
                        return Ok(read);
                    }
                    Err(error) => return Err(in_words(error, member.get_ref())),
                },
            }
        }
    }
}

/// The reader at the first byte of the next member; `None` at the end of the stream.
fn next_member<R: BufRead>(mut reader: Counted<R>) -> Result<Option<Counted<R>>> {
    let end = reader.at;
    reader.member = end;
    let mut padding = true;
    loop {
        let begins = reader.at == end;
        let next = reader.fill_buf()?;
        if next.is_empty() {
            break;
        }
        // One byte tells: the next one may not have come yet.
        if begins && next[0] == MAGIC[0] {
            return Ok(Some(reader));
        }
        padding &= next.iter().all(|&byte| byte == 0);
        let bytes = next.len();
        reader.consume(bytes);
        if !padding && reader.at - end > COUNTED_MAX {
            break;
        }
    }
    if padding {
        return Ok(None);
    }
    let more = if reader.at - end > COUNTED_MAX {
        "more than "
    } else {
        ""
    };
    let bytes = (reader.at - end).min(COUNTED_MAX);
    let what = format!(
        "{more}{} after the end of the gzip stream at byte {end} {} not gzip",
        count(bytes, "byte"),
        if bytes == 1 { "is" } else { "are" }
    );
    Err(Error::new(ErrorKind::Unsupported, Damaged(what)))
}

/// What is wrong with a stream.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Damaged(String);

/// What to do about an error of reading, where the stream is damaged.
pub fn next_step(error: &Error) -> Option<&'static str> {
    let damaged = matches!(error.get_ref(), Some(inner) if inner.is::<Damaged>());
    damaged.then_some("`gzip -t FILE` tests a file; download or copy it again")
}

fn in_words<R>(error: Error, reader: &Counted<R>) -> Error {
    let Counted { at, member, .. } = reader;
    let place = match member {
        0 => String::new(),
        member => format!(" in the member that begins at byte {member}"),
    };
    let what = match error.kind() {
        ErrorKind::UnexpectedEof => format!("the gzip stream is cut short at byte {at}{place}"),
        ErrorKind::InvalidInput | ErrorKind::InvalidData => {
            format!("the gzip stream is corrupt before byte {at}{place} ({error})")
        }
        _ => return error,
    };
    Error::new(error.kind(), Damaged(what))
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
    let mut inflating = Reader::new(file);
    let sample = std::io::copy(
        &mut (&mut inflating).take(SAMPLE_BYTES),
        &mut std::io::sink(),
    )?;
    if sample < SAMPLE_BYTES {
        return Ok(sample);
    }
    let read = inflating.bytes_read().max(1);
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
    fn what_follows_the_last_member_is_padding_or_an_error() {
        let two = [member(b"one ", 6), member(b"two", 6)].map(|one| one.expect("memory takes it"));
        let end = two.concat().len();
        let read = |after: &[u8], capacity| {
            let stream = [&two.concat(), after].concat();
            let mut text = String::new();
            Reader::new(BufReader::with_capacity(capacity, &stream[..]))
                .read_to_string(&mut text)
                .map(|_| text)
                .map_err(|error| error.to_string())
        };
        let garbage = |bytes| {
            let are = if bytes == "1 byte" { "is" } else { "are" };
            Err(format!(
                "{bytes} after the end of the gzip stream at byte {end} {are} not gzip"
            ))
        };
        for capacity in [1, 2, 3, 7, 8192] {
            assert_eq!(read(b"", capacity), Ok("one two".into()));
            assert_eq!(read(&[0; 1000], capacity), Ok("one two".into()));
            assert_eq!(read(b"\n", capacity), garbage("1 byte"));
            assert_eq!(read(b"\0\0x", capacity), garbage("3 bytes"));
            assert_eq!(read(&[0, 0x1F, 0x8B], capacity), garbage("3 bytes"));
        }
        let much = format!("more than {COUNTED_MAX} bytes");
        assert_eq!(read(&vec![b'x'; 3 << 20], 8192), garbage(&much));
        for capacity in [1, 7, 8192] {
            let cut = read(
                &member(b"three", 6).expect("memory takes it")[..12],
                capacity,
            );
            let says = format!(
                "the gzip stream is cut short at byte {} in the member that begins at byte {end}",
                end + 12
            );
            assert_eq!(cut, Err(says));
        }
    }

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
            let ratio = text_bytes(&path).expect("it is there") as f64 / text.len() as f64;
            let exact = text.len() == short.len();
            let off = if exact { 0.0 } else { 0.1 };
            assert!((ratio - 1.0).abs() <= off, "{ratio} of {}", text.len());
        }
        std::fs::remove_file(&path).expect("it was written");
    }
}
