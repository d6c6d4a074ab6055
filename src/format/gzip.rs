//! gzip: streams of one or several members in, single members out. The only home of flate2.

use std::io::{BufRead, Error, ErrorKind, Read, Result, Write};

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

/// A text as one member. Nothing in it tells when or where it was made.
pub fn member(text: &[u8], level: u32) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::new(level));
    encoder.write_all(text)?;
    encoder.finish()
}
