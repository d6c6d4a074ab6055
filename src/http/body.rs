//! The body of an answer, read as it comes, inflated here, and never longer than is allowed: what a server
//! sends decides about no memory of ours. (The heads of answers are limited by the HTTP library, to 400 kB.)

use std::io::Write;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use reqwest::header::CONTENT_ENCODING;

/// Why a body is of no use.
#[derive(Debug)]
pub(super) enum Bad {
    /// Inflated it is longer than this.
    TooLong(usize),
    /// It is not what its head says.
    Garbled(String),
    /// It broke off.
    Broken(reqwest::Error),
}

/// Reads all of it.
pub(super) async fn read(answer: &mut reqwest::Response, max: usize) -> Result<Bytes, Bad> {
    let encoding = answer.headers().get(CONTENT_ENCODING);
    let encoding = encoding.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let mut body = Body::new(encoding.as_deref(), max)?;
    while let Some(chunk) = answer.chunk().await.map_err(Bad::Broken)? {
        body.add(&chunk)?;
    }
    body.finish()
}

/// A body that grows up to its limit, inflated.
enum Body {
    Plain(Limited),
    /// And whether anything came: an answer without a body may say that it is packed.
    Gzip(Box<MultiGzDecoder<Limited>>, bool),
}

/// Bytes that refuse to be too many.
struct Limited {
    bytes: Vec<u8>,
    max: usize,
}

impl Write for Limited {
    fn write(&mut self, more: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + more.len() > self.max {
            return Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge));
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Body {
    fn new(encoding: Option<&str>, max: usize) -> Result<Self, Bad> {
        let limited = Limited {
            bytes: Vec::new(),
            max,
        };
        match encoding.map(str::trim) {
            None | Some("" | "identity") => Ok(Body::Plain(limited)),
            Some("gzip" | "x-gzip") => {
                Ok(Body::Gzip(Box::new(MultiGzDecoder::new(limited)), false))
            }
            Some(other) => Err(Bad::Garbled(format!(
                "the answer's encoding is `{}`, which was not asked for",
                super::clip(other)
            ))),
        }
    }

    fn add(&mut self, chunk: &[u8]) -> Result<(), Bad> {
        match self {
            Body::Plain(limited) => limited.write_all(chunk),
            Body::Gzip(inflating, began) => {
                *began |= !chunk.is_empty();
                inflating.write_all(chunk)
            }
        }
        .map_err(|error| self.bad(&error))
    }

    fn finish(self) -> Result<Bytes, Bad> {
        match self {
            Body::Plain(limited) => Ok(limited.bytes.into()),
            Body::Gzip(_, false) => Ok(Bytes::new()),
            Body::Gzip(mut inflating, began) => match inflating.try_finish() {
                Ok(()) => Ok(std::mem::take(&mut inflating.get_mut().bytes).into()),
                Err(error) => Err(Body::Gzip(inflating, began).bad(&error)),
            },
        }
    }

    fn bad(&self, error: &std::io::Error) -> Bad {
        let max = match self {
            Body::Plain(limited) => limited.max,
            Body::Gzip(inflating, _) => inflating.get_ref().max,
        };
        if error.kind() == std::io::ErrorKind::FileTooLarge {
            return Bad::TooLong(max);
        }
        Bad::Garbled(format!("the answer is not the gzip it says it is: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(encoding: Option<&str>, max: usize, chunks: &[&[u8]]) -> Result<Bytes, String> {
        let words = |bad| match bad {
            Bad::TooLong(max) => format!("longer than {max}"),
            Bad::Garbled(words) => words,
            Bad::Broken(error) => error.to_string(),
        };
        let mut body = Body::new(encoding, max).map_err(words)?;
        for chunk in chunks {
            body.add(chunk).map_err(words)?;
        }
        body.finish().map_err(words)
    }

    #[test]
    fn a_body_is_inflated_and_never_longer_than_allowed() {
        let packed = crate::format::compression::gzip::member(&[b'x'; 5000], 6)
            .expect("memory can be written");
        assert_eq!(
            whole(Some("gzip"), 5000, &[&packed[..9], &packed[9..]])
                .expect("it fits")
                .len(),
            5000
        );
        let twice = packed.repeat(2);
        assert_eq!(
            whole(Some("gzip"), 10_000, &[&twice])
                .expect("two members")
                .len(),
            10_000
        );
        let long = "longer than 4999";
        assert_eq!(
            whole(Some("gzip"), 4999, &[&packed]).expect_err("a bomb"),
            long
        );
        assert_eq!(
            whole(None, 4999, &[&[b'x'; 3000], &[b'x'; 2000]]).expect_err("endless"),
            long
        );
        let cut = whole(Some("gzip"), 5000, &[&packed[..packed.len() - 9]]).expect_err("it is cut");
        assert!(
            cut.starts_with("the answer is not the gzip it says it is"),
            "{cut}"
        );
        assert!(whole(Some("gzip"), 9, &[]).expect("as of HEAD").is_empty());
        assert!(whole(Some("br"), 9, &[]).is_err());
    }
}
