//! The escapes of JSON strings, undone.

/// The text of a string with escapes, which was checked, without its quotes; `None`: it holds half a character, as
/// `\uD800` to `\uDFFF` are that do not stand in pairs, or is not UTF-8.
pub(super) fn unescape(string: &[u8]) -> Option<String> {
    let mut text = Vec::with_capacity(string.len());
    let mut rest = string;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        text.extend_from_slice(&rest[..at]);
        let plain = match rest.get(at + 1)? {
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (character, after) = unicode(&rest[at..])?;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
                continue;
            }
            &same => same,
        };
        text.push(plain);
        rest = &rest[at + 2..];
    }
    text.extend_from_slice(rest);
    String::from_utf8(text).ok()
}

/// The character that `\uXXXX`, or a pair of these, stands for, and what follows.
fn unicode(text: &[u8]) -> Option<(char, &[u8])> {
    let unit = |text: &[u8]| {
        let digits = text.strip_prefix(b"\\u")?.first_chunk::<4>()?;
        u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
    };
    let first = unit(text)?;
    let units = [first, unit(&text[6..]).unwrap_or(0)];
    let len = if (0xD800..0xDC00).contains(&first) {
        2
    } else {
        1
    };
    let character = char::decode_utf16(units[..len].iter().copied())
        .next()?
        .ok()?;
    Some((character, &text[6 * len..]))
}
