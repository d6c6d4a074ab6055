//! gzip: streams of one or several members in, single members out. The only home of flate2.

use std::io::{BufRead, Error, ErrorKind, Read, Result, Write};

use flate2::bufread::GzDecoder;
use flate2::{Compression, Crc, GzBuilder};

use super::{Counted, Damaged, skip_padding};

/// The first two bytes of every member.
pub const MAGIC: [u8; 2] = [0x1F, 0x8B];

/// What to do about a damaged stream.
pub(super) const NEXT_STEP: &str = "`gzip -t FILE` tests a file; download or copy it again";

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

impl<R: BufRead> Reader<R> {
    /// Inflates `reader`.
    pub fn new(reader: R) -> Self {
        Reader(State::Between(Counted::new(reader)))
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
                State::Between(mut reader) => {
                    reader.begin_member();
                    // One byte tells: the next one may not have come yet.
                    if reader.fill_buf()?.first() == Some(&MAGIC[0]) {
                        self.0 = State::Member(GzDecoder::new(reader));
                        continue;
                    }
                    skip_padding(&mut reader, &[], "gzip", NEXT_STEP)?;
                    return Ok(0);
                }
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

fn in_words<R>(error: Error, reader: &Counted<R>) -> Error {
    let (at, place) = (reader.at, reader.member_in_words("member"));
    let what = match error.kind() {
        ErrorKind::UnexpectedEof => format!("the gzip stream is cut short at byte {at}{place}"),
        ErrorKind::InvalidInput | ErrorKind::InvalidData => {
            format!("the gzip stream is corrupt before byte {at}{place} ({error})")
        }
        _ => return error,
    };
    Damaged::error(error.kind(), what, NEXT_STEP)
}

/// A text as one member. Nothing in it tells when or where it was made.
pub fn member(text: &[u8], level: u32) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::new(level));
    encoder.write_all(text)?;
    encoder.finish()
}

/// The checksum of gzip's members: CRC-32.
pub fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::super::COUNTED_MAX;
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
}
