//! zstd: streams of one or several frames in, single frames out. The only home of zstd.

use std::io::{BufRead, Error, ErrorKind, Read, Result};

use zstd::bulk::Compressor;
use zstd::stream::raw::{Decoder, Operation};
use zstd::zstd_safe::DParameter;

use super::{Counted, Damaged, skip_padding};

/// The first four bytes of every frame that holds text.
pub const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// The last three of the first four bytes of a frame that holds something else, for other programs.
const SKIPPABLE: [u8; 3] = [0x2A, 0x4D, 0x18];

/// A frame may ask for as much memory as it likes. 128 MiB is what `zstd` itself grants: what it packs
/// without being asked for more can be read, and no file can ask for gigabytes.
const WINDOW_LOG_MAX: u32 = 27;

/// What to do about a damaged stream.
pub(super) const NEXT_STEP: &str = "`zstd -t FILE` tests a file; download or copy it again";

/// What to do about a frame that asks for more memory.
const WIDE_NEXT_STEP: &str =
    "unpack it first, with `zstd -d --long=31 FILE`, or pack it with `--long=27` at most";

/// What to do about a frame that needs what is in another file.
const DICTIONARY_NEXT_STEP: &str = "unpack it first, with `zstd -d -D DICTIONARY FILE`";

/// Whether a text begins as a frame does.
pub fn begins_frame(first: &[u8]) -> bool {
    let skips = matches!(first, [0x50..=0x5F, rest @ ..] if rest.starts_with(&SKIPPABLE));
    first.starts_with(&MAGIC) || skips
}

/// Whether a text is the beginning of a frame that holds text, and no more than a part of its first bytes.
pub fn is_cut_magic(text: &[u8]) -> bool {
    !text.is_empty() && text.len() < MAGIC.len() && MAGIC.starts_with(text)
}

fn decoder() -> Result<Decoder<'static>> {
    let mut decoder = Decoder::new()?;
    decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))?;
    Ok(decoder)
}

/// The text of all frames, one after the other, as [`super::gzip::Reader`] reads members.
pub struct Reader<R> {
    stream: Counted<R>,
    /// One for all frames: each begins anew where one has ended.
    decoder: Option<Decoder<'static>>,
    state: State,
}

enum State {
    Between,
    /// In a frame, of whose first bytes the decoder has not seen these.
    Frame(Vec<u8>),
    /// All is read, or has failed.
    Ended,
}

impl<R: BufRead> Reader<R> {
    /// Inflates `stream`.
    pub fn new(stream: R) -> Self {
        Reader {
            stream: Counted::new(stream),
            decoder: None,
            state: State::Between,
        }
    }

    /// The first bytes of the next frame; `None` at the end of the stream.
    fn next_frame(&mut self) -> Result<Option<Vec<u8>>> {
        self.stream.begin_member();
        let mut first = Vec::new();
        (&mut self.stream)
            .take(MAGIC.len() as u64)
            .read_to_end(&mut first)?;
        if begins_frame(&first) {
            return Ok(Some(first));
        }
        if is_cut_magic(&first) {
            return Err(self.cut_short());
        }
        skip_padding(&mut self.stream, &first, "zstd", NEXT_STEP)?;
        Ok(None)
    }

    /// Some text of a frame, and whether that ends it.
    fn read_frame(&mut self, first: &mut Vec<u8>, buffer: &mut [u8]) -> Result<(usize, bool)> {
        loop {
            let is_first = !first.is_empty();
            let input = if is_first {
                first.as_slice()
            } else {
                self.stream.fill_buf()?
            };
            let ended = input.is_empty();
            let decoder = match &mut self.decoder {
                Some(decoder) => decoder,
                none => none.insert(decoder()?),
            };
            let status = match decoder.run_on_buffers(input, buffer) {
                Ok(status) => status,
                Err(error) => return Err(self.in_words(&error)),
            };
            if is_first {
                first.drain(..status.bytes_read);
            } else {
                self.stream.consume(status.bytes_read);
            }
            if status.bytes_written > 0 || status.remaining == 0 {
                return Ok((status.bytes_written, status.remaining == 0));
            }
            if ended {
                return Err(self.cut_short());
            }
        }
    }

    fn cut_short(&self) -> Error {
        let (at, place) = (self.stream.at, self.stream.member_in_words("frame"));
        let what = format!("the zstd stream is cut short at byte {at}{place}");
        Damaged::error(ErrorKind::UnexpectedEof, what, NEXT_STEP)
    }

    fn in_words(&self, error: &Error) -> Error {
        let (at, place) = (self.stream.at, self.stream.member_in_words("frame"));
        let reason = error.to_string();
        // The library has no number for it that its binding gives away.
        if reason.contains("too much memory") {
            let what = format!(
                "the zstd stream asks for a window of more than {} MiB{place}, as `--long=28` and above make it",
                (1_u64 << WINDOW_LOG_MAX) >> 20
            );
            return Damaged::error(ErrorKind::Unsupported, what, WIDE_NEXT_STEP);
        }
        if reason.contains("Dictionary mismatch") {
            let what =
                format!("the zstd stream was packed with a dictionary{place}, which is not read");
            return Damaged::error(ErrorKind::Unsupported, what, DICTIONARY_NEXT_STEP);
        }
        let what = format!("the zstd stream is corrupt before byte {at}{place} ({reason})");
        Damaged::error(ErrorKind::InvalidData, what, NEXT_STEP)
    }
}

impl<R: BufRead> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Ok(0),
                State::Between => match self.next_frame()? {
                    Some(first) => self.state = State::Frame(first),
                    None => return Ok(0),
                },
                State::Frame(mut first) => {
                    let (read, ends) = self.read_frame(&mut first, buffer)?;
                    self.state = if ends {
                        State::Between
                    } else {
                        State::Frame(first)
                    };
                    if read > 0 {
                        return Ok(read);
                    }
                }
            }
        }
    }
}

/// A text as one frame, with its length and a checksum.
pub fn frame(text: &[u8], level: i32) -> Result<Vec<u8>> {
    let mut compressor = Compressor::new(level)?;
    compressor.include_checksum(true)?;
    compressor.compress(text)
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::super::next_step;
    use super::*;

    /// A frame for other programs, of these bytes.
    fn skippable(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).expect("it is short");
        let head = [&[0x5A][..], &SKIPPABLE, &length.to_le_bytes()].concat();
        [&head, bytes].concat()
    }

    fn read(stream: &[u8], capacity: usize) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        let mut reader = Reader::new(BufReader::with_capacity(capacity, stream));
        reader.read_to_end(&mut text).map(|_| text)
    }

    fn fault(stream: &[u8], capacity: usize) -> String {
        read(stream, capacity)
            .expect_err("it is damaged")
            .to_string()
    }

    #[test]
    fn frames_are_one_text_and_what_follows_is_padding_or_an_error() {
        let frames = [
            frame(b"one ", 3).expect("memory takes it"),
            skippable(b"for others"),
            frame(b"", 3).expect("memory takes it"),
            frame(b"two", 3).expect("memory takes it"),
        ];
        let stream = frames.concat();
        let end = stream.len();
        for capacity in [1, 2, 3, 7, 8192] {
            assert_eq!(read(&stream, capacity).expect("it is whole"), b"one two");
            let padded = [&stream[..], &[0; 1000]].concat();
            assert_eq!(read(&padded, capacity).expect("it is whole"), b"one two");
            for (after, bytes) in [
                (&b"\n"[..], "1 byte"),
                (b"\0\0x", "3 bytes"),
                (b"\0\0\0\0\0x", "6 bytes"),
                (b"PKxyz", "5 bytes"),
            ] {
                let are = if bytes == "1 byte" { "is" } else { "are" };
                assert_eq!(
                    fault(&[&stream[..], after].concat(), capacity),
                    format!(
                        "{bytes} after the end of the zstd stream at byte {end} {are} not zstd"
                    )
                );
            }
        }
    }

    #[test]
    fn a_stream_that_is_damaged_anywhere_is_an_error() {
        let first = frame(b"first", 3).expect("memory takes it");
        let text: Vec<u8> = (0..300_000_u32)
            .flat_map(|i| i.wrapping_mul(0x9E37_79B9).to_le_bytes())
            .collect();
        let stream = [first.clone(), frame(&text, 3).expect("memory takes it")].concat();
        let place = format!(" in the frame that begins at byte {}", first.len());
        for cut in [
            first.len() + 1,
            first.len() + 3,
            first.len() + 4,
            stream.len() / 2,
            stream.len() - 1,
        ] {
            for capacity in [1000, 8192] {
                assert_eq!(
                    fault(&stream[..cut], capacity),
                    format!("the zstd stream is cut short at byte {cut}{place}")
                );
            }
        }
        let mut wrong = stream.clone();
        *wrong.last_mut().expect("it is long") ^= 1;
        let error = read(&wrong, 8192).expect_err("its checksum is wrong");
        let says = error.to_string();
        assert!(
            says.starts_with("the zstd stream is corrupt before byte ")
                && says.contains("checksum"),
            "{says}"
        );
        assert_eq!(next_step(&error), Some(NEXT_STEP));
    }

    #[test]
    fn a_frame_may_ask_for_so_much_memory() {
        // Magic, no length and no checksum, the window's logarithm less ten, an empty last block.
        let of_window = |log: u8| [&MAGIC[..], &[0, (log - 10) << 3, 1, 0, 0]].concat();
        assert_eq!(read(&of_window(27), 100).expect("it is granted"), b"");
        let error = read(&of_window(28), 100).expect_err("it is too much");
        assert_eq!(
            error.to_string(),
            "the zstd stream asks for a window of more than 128 MiB, as `--long=28` and above make it"
        );
        assert_eq!(next_step(&error), Some(WIDE_NEXT_STEP));
    }

    #[test]
    fn a_frame_that_needs_a_dictionary_says_so() {
        // Magic, one byte for the dictionary's number, the window, the number, an empty last block.
        let stream = [&MAGIC[..], &[1, 0, 7, 1, 0, 0]].concat();
        let error = read(&stream, 100).expect_err("there is no dictionary");
        assert_eq!(
            error.to_string(),
            "the zstd stream was packed with a dictionary, which is not read"
        );
        assert_eq!(next_step(&error), Some(DICTIONARY_NEXT_STEP));
    }

    #[test]
    fn a_frame_is_the_same_every_time() {
        let text = b"a text, ".repeat(1000);
        let frames = [(); 2].map(|()| frame(&text, 3).expect("memory takes it"));
        assert_eq!(frames[0], frames[1]);
        assert_eq!(read(&frames[0], 8192).expect("it is whole"), text);
    }
}
