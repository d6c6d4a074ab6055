//! Files whose lines end in a CR alone, as old spreadsheets wrote them. A lone CR is a character, so such
//! a file would be one long header, and its rows would be lost without a word.

use crate::error::{Error, Result};
use crate::format::csv::Dialect;
use crate::format::csv::machine::{Machine, State};
use crate::place::Place;
use crate::shown;

/// An error if the beginning of a file has line ends of CR alone: a CR outside quotes with text after it,
/// and no LF. `offset` is where the text begins in the file.
pub(super) fn refuse_cr(path: &Place, text: &[u8], offset: u64, dialect: Dialect) -> Result<()> {
    if memchr::memchr(b'\n', text).is_some() || memchr::memchr(b'\r', text).is_none() {
        return Ok(());
    }
    let mut machine = Machine::default();
    let ends = |byte: u8| {
        let literal = machine.escaped;
        machine.step(byte, dialect);
        byte == b'\r' && !literal && machine.state != State::Quoted
    };
    let Some(at) = text.iter().copied().position(ends) else {
        return Ok(());
    };
    if at + 1 == text.len() {
        return Ok(());
    }
    let typed = shown::word(&path.to_string());
    Err(Error::failed(format!(
        "`{path}`: its lines end in CR alone, the first at byte {}; a record ends in LF or CRLF",
        offset + at as u64
    ))
    .hint(format!(
        "convert it first: `tr '\\r' '\\n' < {typed} > NEW`"
    )))
}
