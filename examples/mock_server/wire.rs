//! As much of HTTP/1.1 as the server needs.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, Write};
use std::net::TcpStream;

/// A request, as far as it matters.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: HashMap<String, String>,
    pub(crate) token: Option<String>,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) ty: &'static str,
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(body: String) -> Self {
        Answer {
            status: 200,
            ty: "application/json",
            retry_after: None,
            body,
        }
    }

    pub(crate) fn error(status: u16, words: &str) -> Self {
        Answer {
            status,
            ..Answer::json(format!("{{\"error\":\"{words}\"}}"))
        }
    }
}

/// The next request of a connection; none at its end.
pub(crate) fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let (mut length, mut token) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        } else if name.eq_ignore_ascii_case("authorization") {
            token = value.trim().strip_prefix("Bearer ").map(str::to_owned);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = first.split_whitespace();
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    Ok(Some(Request {
        method,
        path: decoded(path),
        query: pairs
            .map(|(name, value)| (name.to_owned(), decoded(value)))
            .collect(),
        token,
        body,
    }))
}

/// Percent-encoded text as it is meant.
fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| char::from(byte.unwrap_or(b'0')).to_digit(16).unwrap_or(0);
        out.push(match byte {
            b'%' => {
                let (high, low) = (digit(bytes.next()), digit(bytes.next()));
                u8::try_from(high * 16 + low).unwrap_or(b'?')
            }
            byte => byte,
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Writes a whole answer, without its body where only the head is wanted.
pub(crate) fn write_answer(mut stream: &TcpStream, answer: &Answer, head: bool) -> io::Result<()> {
    let mut text = format!(
        "HTTP/1.1 {} .\r\nContent-Type: {}\r\nContent-Length: {}\r\n",
        answer.status,
        answer.ty,
        answer.body.len()
    );
    if let Some(seconds) = answer.retry_after {
        let _ = write!(text, "Retry-After: {seconds}\r\n");
    }
    text.push_str("\r\n");
    if !head {
        text.push_str(&answer.body);
    }
    stream.write_all(text.as_bytes())
}
