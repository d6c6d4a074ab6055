//! Texts of other encodings as UTF-8, as they stream. What bytes of a line mean must be known before they
//! can be divided: in UTF-16 every byte, in `Shift_JIS`, GBK, Big5 and their like the second byte of a
//! character, may look like a delimiter, a quote or a newline. Single-byte encodings have ASCII in its
//! place, and need nothing of this: their values can be decoded one by one.

use std::io::{Read, Result};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// Stands in the decoded text for bytes that are none of the encoding. No UTF-8 text has it, so whoever
/// checks the text finds it, and where it is.
pub const MALFORMED: u8 = 0xFF;

/// The encoding that a text's byte order mark names.
pub fn marked(first: &[u8]) -> Option<&'static Encoding> {
    Encoding::for_bom(first).map(|(encoding, _)| encoding)
}

/// Whether a text's byte order mark is that of UTF-32, which begins as that of UTF-16 does.
pub fn is_marked_utf32(first: &[u8]) -> bool {
    first.starts_with(&[0xFF, 0xFE, 0, 0]) || first.starts_with(&[0, 0, 0xFE, 0xFF])
}

/// Whether a text of this encoding must be decoded as a whole before it is divided.
pub fn must_decode(encoding: &'static Encoding) -> bool {
    encoding != UTF_8 && !encoding.is_single_byte()
}

/// Whether it is UTF-16 of either byte order.
pub fn is_utf16(encoding: &'static Encoding) -> bool {
    encoding == UTF_16LE || encoding == UTF_16BE
}

/// The byte order in which a text without a mark seems to be UTF-16: every other one of its first bytes is
/// zero, as it is where most characters are ASCII.
pub fn looks_like_utf16(first: &[u8]) -> Option<&'static Encoding> {
    /// So many pairs tell enough.
    const PAIRS: usize = 32;
    let pairs = || first.chunks_exact(2).take(PAIRS);
    let all = |zero: usize| pairs().all(|pair| pair[zero] == 0 && pair[1 - zero] != 0);
    match pairs().len() {
        0 | 1 => None,
        _ if all(1) => Some(UTF_16LE),
        _ if all(0) => Some(UTF_16BE),
        _ => None,
    }
}

/// Bytes taken from the reader at once.
const READ_BYTES: usize = 64 << 10;

/// Decodes a stream.
pub struct Transcoder<R> {
    reader: R,
    decoder: Decoder,
    /// Bytes read; those from `taken` on are not decoded yet.
    bytes: Vec<u8>,
    taken: usize,
    /// Room for decoded text; what lies from `given` to `filled` is not given away yet.
    text: Vec<u8>,
    given: usize,
    filled: usize,
    /// The reader is at its end.
    ended: bool,
    /// And so is the text.
    done: bool,
}

impl<R: Read> Transcoder<R> {
    /// Decodes `reader`. A byte order mark is a character of the text.
    pub fn new(reader: R, encoding: &'static Encoding) -> Self {
        Transcoder {
            reader,
            decoder: encoding.new_decoder_without_bom_handling(),
            bytes: Vec::new(),
            taken: 0,
            text: vec![0; READ_BYTES],
            given: 0,
            filled: 0,
            ended: false,
            done: false,
        }
    }

    /// Reads and decodes some more.
    fn advance(&mut self) -> Result<()> {
        if self.taken == self.bytes.len() && !self.ended {
            self.bytes.resize(READ_BYTES, 0);
            self.taken = 0;
            let read = self.reader.read(&mut self.bytes);
            self.bytes.truncate(*read.as_ref().unwrap_or(&0));
            self.ended = read? == 0;
        }
        // The last byte is left for a mark.
        let room = self.text.len() - 1;
        let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(
            &self.bytes[self.taken..],
            &mut self.text[..room],
            self.ended,
        );
        self.taken += read;
        (self.given, self.filled) = (0, written);
        match result {
            DecoderResult::Malformed(..) => {
                self.text[written] = MALFORMED;
                self.filled += 1;
            }
            DecoderResult::InputEmpty => self.done = self.ended,
            DecoderResult::OutputFull => {}
        }
        Ok(())
    }
}

impl<R: Read> Read for Transcoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.given == self.filled {
            if self.done {
                return Ok(0);
            }
            self.advance()?;
        }
        let rest = &self.text[self.given..self.filled];
        let bytes = rest.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&rest[..bytes]);
        self.given += bytes;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use encoding_rs::{BIG5, EUC_JP, EUC_KR, GB18030, GBK, ISO_2022_JP, SHIFT_JIS};
    use proptest::prelude::*;

    /// Gives a few bytes at a time.
    struct Dribble<'a>(&'a [u8], usize);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            let wanted = buffer.len().min(self.1);
            self.0.read(&mut buffer[..wanted])
        }
    }

    fn decoded(bytes: &[u8], encoding: &'static Encoding, at_once: usize) -> Vec<u8> {
        let mut text = Vec::new();
        let mut transcoder = Transcoder::new(Dribble(bytes, at_once), encoding);
        transcoder
            .read_to_end(&mut text)
            .expect("memory can be read");
        text
    }

    fn utf16(text: &str, encoding: &'static Encoding) -> Vec<u8> {
        let units = text.encode_utf16();
        if encoding == UTF_16LE {
            units.flat_map(u16::to_le_bytes).collect()
        } else {
            units.flat_map(u16::to_be_bytes).collect()
        }
    }

    const MULTI_BYTE: [&Encoding; 7] = [SHIFT_JIS, GBK, GB18030, BIG5, EUC_KR, EUC_JP, ISO_2022_JP];

    proptest! {
        #[test]
        fn what_was_encoded_comes_back(
            text in "([a-z,\"\n]|[日本語表ソ能한국中文é🦀]){0,60}",
            at_once in 1usize..9,
        ) {
            for encoding in [UTF_16LE, UTF_16BE] {
                let bytes = utf16(&text, encoding);
                prop_assert_eq!(&decoded(&bytes, encoding, at_once), text.as_bytes());
            }
            for encoding in MULTI_BYTE {
                let (bytes, _, lossy) = encoding.encode(&text);
                if !lossy {
                    prop_assert_eq!(&decoded(&bytes, encoding, at_once), text.as_bytes());
                }
            }
        }

        /// However the bytes come, the decoder that replaces says the same.
        #[test]
        fn any_bytes_decode_as_the_library_does(
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
            at_once in 1usize..9,
        ) {
            for encoding in MULTI_BYTE.into_iter().chain([UTF_16LE, UTF_16BE]) {
                let marked = decoded(&bytes, encoding, at_once);
                let replaced: Vec<u8> = marked
                    .iter()
                    .flat_map(|&byte| match byte {
                        MALFORMED => "\u{FFFD}".as_bytes().to_vec(),
                        byte => vec![byte],
                    })
                    .collect();
                let whole = encoding.decode_without_bom_handling(&bytes).0;
                prop_assert_eq!(replaced, whole.as_bytes());
            }
        }
    }

    #[test]
    fn bytes_that_are_none_are_marked_and_end_no_line() {
        let cases: [(&Encoding, &[u8], &[u8]); 6] = [
            (SHIFT_JIS, b"a\x81\nb", b"a\xFF\nb"),
            (SHIFT_JIS, b"a\x81", b"a\xFF"),
            (GBK, b"a\xFF,b", b"a\xFF,b"),
            (UTF_16LE, b"a\0\x00\xD8b\0", b"a\xFFb"),
            (UTF_16LE, b"a\0b", b"a\xFF"),
            (UTF_16BE, b"\xDC\x00\0a", b"\xFFa"),
        ];
        for (encoding, bytes, text) in cases {
            for at_once in [1, 2, 3, 100] {
                assert_eq!(decoded(bytes, encoding, at_once), text, "{bytes:?}");
            }
        }
    }

    #[test]
    fn utf_16_shows_in_its_zero_bytes() {
        assert_eq!(looks_like_utf16(&utf16("id,n\n", UTF_16LE)), Some(UTF_16LE));
        assert_eq!(looks_like_utf16(&utf16("id,n\n", UTF_16BE)), Some(UTF_16BE));
        for text in [&b"id,n\n"[..], b"", b"a\0", b"\0\0\0\0", b"a\0b\0cd"] {
            assert_eq!(looks_like_utf16(text), None, "{text:?}");
        }
    }
}
