//! Text between quotes, the hottest loop of all: most values need no escape, so they are looked at and
//! copied in blocks of fixed size, and only what does need one is gone through byte by byte.

use polars_arrow::array::View;
use polars_buffer::Buffer;

/// Text between quotes, escaped as JSON wants it and no more.
pub fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    write_escaped(text, out);
    out.push(b'"');
}

/// The text of a view, escaped, without quotes.
#[inline]
pub(super) fn write_view(view: View, buffers: &[Buffer<u8>], out: &mut Vec<u8>) {
    let len = view.length as usize;
    if view.is_inline() {
        let text: [u8; 16] = (view.as_u128() >> 32).to_le_bytes();
        if clean(&text, len) {
            put(&text, len, out);
        } else {
            write_escaped(&text[..len], out);
        }
        return;
    }
    let from = view.offset as usize;
    let text = &buffers[view.buffer_idx as usize][from..from + len];
    match (text.first_chunk::<16>(), text.last_chunk::<16>()) {
        (Some(head), Some(tail)) if len <= 32 && clean(head, 16) && clean(tail, 16) => {
            // They overlap where the text is shorter than both.
            put(head, len - 16, out);
            put(tail, 16, out);
        }
        _ => write_escaped(text, out),
    }
}

/// Appends the first `len` bytes of a block, by copying all of it.
#[inline]
pub(super) fn put<const N: usize>(block: &[u8; N], len: usize, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(block);
    out.truncate(at + len);
}

/// Whether none of the first `len` bytes needs an escape.
#[inline]
fn clean(text: &[u8; 16], len: usize) -> bool {
    const ONES: u128 = u128::MAX / 0xFF;
    const HIGH: u128 = ONES << 7;
    // Blanks in place of what follows.
    let behind = if len < 16 {
        (ONES * 0x20) << (8 * len)
    } else {
        0
    };
    let keep = if len < 16 {
        (1 << (8 * len)) - 1
    } else {
        u128::MAX
    };
    let text = u128::from_le_bytes(*text) & keep | behind;
    let below = |text: u128, n: u128| text.wrapping_sub(ONES * n) & !text & HIGH;
    let found = below(text, 0x20) | below(text ^ (ONES * 0x22), 1) | below(text ^ (ONES * 0x5C), 1);
    found == 0
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Bytes looked at in one step; the compiler makes a few vector instructions of it.
const STEP: usize = 32;

fn write_escaped(text: &[u8], out: &mut Vec<u8>) {
    let mut clean = 0;
    let mut at = 0;
    while at < text.len() {
        if let Some(block) = text[at..].first_chunk::<STEP>() {
            let found = block
                .iter()
                .fold(0u8, |found, &byte| found | u8::from(needs_escape(byte)));
            if found == 0 {
                at += STEP;
                continue;
            }
        }
        let end = text.len().min(at + STEP);
        for (i, &byte) in text[..end].iter().enumerate().skip(at) {
            if needs_escape(byte) {
                out.extend_from_slice(&text[clean..i]);
                escape(byte, out);
                clean = i + 1;
            }
        }
        at = end;
    }
    out.extend_from_slice(&text[clean..]);
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0C => b'f',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Column;

    /// The slow twin: a library's idea of a JSON string.
    fn model(text: &str) -> String {
        serde_json::to_string(text).expect("text is JSON")
    }

    proptest::proptest! {
        #[test]
        fn text_is_escaped_as_a_library_does(text in "[a-z\"\\\\\u{0}-\u{1f} é☃]{0,80}", padding in 0usize..20) {
            let mut whole = Vec::new();
            write_string(text.as_bytes(), &mut whole);
            proptest::prop_assert_eq!(String::from_utf8_lossy(&whole), model(&text));
            let column = Column::from_strings([Some("x".repeat(padding).as_str()), Some(text.as_str())]);
            let array = column.strings();
            let mut view = vec![b'"'];
            write_view(array.views()[1], array.data_buffers(), &mut view);
            view.push(b'"');
            proptest::prop_assert_eq!(String::from_utf8_lossy(&view), model(&text));
        }
    }

    #[test]
    fn every_byte_is_seen_at_every_place() {
        for len in 1..70 {
            for at in 0..len {
                for byte in (0..0x80u8).chain([b'z']) {
                    let mut text = vec![b'a'; len];
                    text[at] = byte;
                    let text = String::from_utf8(text).expect("ASCII");
                    let column = Column::from_strings([Some(&text)]);
                    let mut out = Vec::new();
                    write_view(
                        column.strings().views()[0],
                        column.strings().data_buffers(),
                        &mut out,
                    );
                    assert_eq!(
                        format!("\"{}\"", String::from_utf8_lossy(&out)),
                        model(&text)
                    );
                }
            }
        }
    }
}
