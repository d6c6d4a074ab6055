//! As much of HTTP/1.1 as the tests need, for both of its ends: messages whose bodies are counted, chunked
//! or, in an answer, end with the connection.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than a server under test takes to answer anything.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);

/// The first line and the headers, whose names are in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) first: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Head {
    /// Nothing where the connection has ended instead.
    pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(None);
        }
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| invalid("a header has a colon"))?;
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        first.truncate(first.trim_end().len());
        Ok(Some(Head { first, headers }))
    }

    /// Whether a header has this value, in any case.
    pub(crate) fn has(&self, name: &str, value: &str) -> bool {
        self.headers
            .get(name)
            .is_some_and(|found| found.eq_ignore_ascii_case(value))
    }

    /// The body that follows this head.
    pub(crate) fn read_body(&self, reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if self.has("transfer-encoding", "chunked") {
            while read_chunk(reader, &mut body)? {}
        } else if let Some(length) = self.headers.get("content-length") {
            let length = length
                .parse()
                .map_err(|_| invalid("a length is a number"))?;
            read_exactly(reader, length, &mut body)?;
        } else if self.first.starts_with("HTTP/") {
            reader.read_to_end(&mut body)?;
        }
        Ok(body)
    }
}

/// Appends the next chunk; false after the last.
fn read_chunk(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<bool> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let digits = line.split(';').next().unwrap_or_default().trim();
    let length = u64::from_str_radix(digits, 16)
        .map_err(|_| invalid("a chunk begins with its length in hexadecimal"))?;
    read_exactly(reader, length, body)?;
    // Every chunk ends with an empty line; so do the trailers, of which nobody here sends any.
    reader.read_line(&mut line)?;
    Ok(length > 0)
}

fn read_exactly(reader: &mut impl BufRead, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    if reader.take(length).read_to_end(body)? as u64 == length {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn invalid(rule: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, rule)
}

/// Sends one request on a connection of its own; the status and the body of the answer.
pub(crate) fn call(
    address: &str,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let content_type = content_type(path);
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut reader = BufReader::new(stream);
    let head = Head::read(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head
        .first
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| invalid("an answer begins with its status"))?;
    // An answer to HEAD may tell the length of a body that it does not have.
    let body = if method == "HEAD" {
        Vec::new()
    } else {
        head.read_body(&mut reader)?
    };
    Ok((status, body))
}

/// What the body of a request to this path is.
pub(crate) fn content_type(path: &str) -> &'static str {
    if path.contains("_bulk") {
        "application/x-ndjson"
    } else {
        "application/json"
    }
}

/// The next request on a connection; nothing where the client has closed it.
pub(crate) fn read_request(
    reader: &mut impl BufRead,
    mut stream: &TcpStream,
) -> io::Result<Option<(Head, Vec<u8>)>> {
    let Some(head) = Head::read(reader)? else {
        return Ok(None);
    };
    if head.has("expect", "100-continue") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let body = head.read_body(reader)?;
    Ok(Some((head, body)))
}

/// The bytes of an answer.
pub(crate) fn answer(status: u16, headers: &[(String, String)], body: &str) -> Vec<u8> {
    let mut head = vec![
        format!("HTTP/1.1 {status} {}", reason_phrase(status)),
        "content-type: application/json; charset=UTF-8".to_owned(),
        format!("content-length: {}", body.len()),
    ];
    head.extend(
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}")),
    );
    format!("{}\r\n\r\n{body}", head.join("\r\n")).into_bytes()
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Other",
    }
}
