//! JSON as it was written: values found in a text and given back as slices of it, so that a number keeps
//! every digit, and an answer of megabytes becomes no tree. The text is checked once, as a whole, by
//! [`check`]; what walks it then meets no surprise.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::escapes::unescape;
use super::scan::DEPTH_MAX;

/// A JSON pointer (RFC 6901), its segments unescaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(pub Vec<String>);

impl Pointer {
    /// `""` is the whole value, `/a/0` the first element of member `a`; `None`: it is no pointer.
    pub fn parse(text: &str) -> Option<Pointer> {
        if text.is_empty() {
            return Some(Pointer(Vec::new()));
        }
        let segments = text.strip_prefix('/')?.split('/');
        Some(Pointer(
            segments
                .map(|segment| segment.replace("~1", "/").replace("~0", "~"))
                .collect(),
        ))
    }
}

/// Whether a text is one JSON value, or why not.
pub fn check(text: &str) -> Result<(), String> {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// The value of a column: the one JSON value that a text is, on one line and otherwise as it stands; `None`: it is
/// none, or [`is_too_deep`].
pub fn value(text: &str) -> Option<Cow<'_, str>> {
    on_one_line(text).filter(|value| !is_too_deep(value))
}

/// A column's value is nested no deeper than this: it will be a member of a document.
pub const VALUE_DEPTH_MAX: u32 = DEPTH_MAX - 1;

/// Whether a value that passed [`check`] is nested too deep for a column: no reader of records would take a document
/// that holds it.
pub fn is_too_deep(value: &str) -> bool {
    let bytes = value.as_bytes();
    let (mut depth, mut at) = (0, 0);
    // Each level has two brackets.
    if bytes.len() <= 2 * VALUE_DEPTH_MAX as usize {
        return false;
    }
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        if depth > i64::from(VALUE_DEPTH_MAX) {
            return true;
        }
        at += 1;
    }
    false
}

/// The one JSON value that a text is, however deep, on one line and otherwise as it stands; `None`: it is not JSON.
pub fn on_one_line(text: &str) -> Option<Cow<'_, str>> {
    check(text).ok()?;
    // Half a character passes the check, and no reader of a document takes it. Backslashes stand in strings only.
    if text.contains("\\u") && unescape(text.as_bytes()).is_none() {
        return None;
    }
    let text = text.trim();
    // Inside strings no newline stands as it is.
    if memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_some() {
        return Some(text.replace(['\n', '\r'], " ").into());
    }
    Some(text.into())
}

/// What `path` leads to in a value; `None`: nothing is there.
pub fn find<'a>(value: &'a str, path: &[String]) -> Option<&'a str> {
    path.iter().try_fold(value.trim(), |value, segment| {
        if value.starts_with('[') {
            // As the standard has it: digits without a leading zero.
            let plain = segment == "0" || !segment.starts_with(['0', '+']);
            let at: usize = segment.parse().ok().filter(|_| plain)?;
            elements(value).nth(at)
        } else {
            // Of several members of one name the last counts, as everywhere.
            let named = |(name, _): &(Cow<str>, &str)| name == segment;
            members(value).filter(named).last().map(|(_, value)| value)
        }
    })
}

/// The members of an object, in order; none of anything else.
pub fn members(value: &str) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    let mut rest = value.trim().strip_prefix('{').unwrap_or_default();
    std::iter::from_fn(move || {
        rest = rest.trim_start().trim_start_matches(',').trim_start();
        if !rest.starts_with('"') {
            return None;
        }
        let (name, after) = rest.split_at(end(rest));
        let after = after.trim_start().strip_prefix(':')?.trim_start();
        let (value, after) = after.split_at(end(after));
        rest = after;
        Some((string(name), value))
    })
}

/// The elements of a list, in order; none of anything else.
pub fn elements(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = value.trim().strip_prefix('[').unwrap_or_default();
    std::iter::from_fn(move || {
        rest = rest.trim_start().trim_start_matches(',').trim_start();
        if rest.is_empty() || rest.starts_with(']') {
            return None;
        }
        let (value, after) = rest.split_at(end(rest));
        rest = after;
        Some(value)
    })
}

/// A value as text: a string's own, of anything else its JSON; `None`: it is null.
pub fn text(value: &str) -> Option<Cow<'_, str>> {
    match value {
        "null" => None,
        value if value.starts_with('"') => Some(string(value)),
        value => Some(value.into()),
    }
}

/// Whether a value is a string that is no text: one with a lone surrogate passes [`check`].
pub fn is_torn(value: &str) -> bool {
    value.starts_with('"')
        && value.contains("\\u")
        && serde_json::from_str::<Cow<str>>(value).is_err()
}

/// The text of a JSON string; one that is none ([`is_torn`]) stays as it was written.
fn string(value: &str) -> Cow<'_, str> {
    if value.contains('\\') {
        let text = serde_json::from_str(value);
        return Cow::Owned(text.unwrap_or_else(|_| value.to_owned()));
    }
    let inside = value.strip_prefix('"').unwrap_or(value);
    inside.strip_suffix('"').unwrap_or(inside).into()
}

/// Where the value ends that `text` begins with.
fn end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// Behind the quote that closes the string which begins at `from`.
fn string_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn numbers_keep_their_digits_and_escapes_are_undone() {
        let value = r#" {"a/b": [1.10, {"~": "x\"\u00e9"}], "n": 123456789012345678901234567890, "n": 2.50 } "#;
        check(value).expect("it is JSON");
        let at = |pointer| find(value, &Pointer::parse(pointer).expect("it is a pointer").0);
        assert_eq!(at("/a~1b/0"), Some("1.10"));
        assert_eq!(at("/a~1b/1/~0").and_then(text).as_deref(), Some("x\"é"));
        assert_eq!(at("/n"), Some("2.50"), "the last one counts");
        assert_eq!(at("/a~1b/01"), None);
        assert_eq!(at("/a~1b/9"), None);
        assert_eq!(at(""), Some(value.trim()));
        assert_eq!(Pointer::parse("a"), None);
    }

    #[test]
    fn a_value_of_a_column_fits_a_document_that_is_read_again() {
        let deep = |open: &str, inner: &str, close: &str, levels: u32| {
            let levels = levels as usize;
            open.repeat(levels) + inner + &close.repeat(levels)
        };
        for (open, close) in [("[", "]"), ("{\"a\": ", "}")] {
            let most = deep(open, "\"[[\\\"[[\"", close, VALUE_DEPTH_MAX);
            assert_eq!(value(&most).as_deref(), Some(most.as_str()));
            let more = deep(open, "1", close, VALUE_DEPTH_MAX + 1);
            assert_eq!(value(&more), None);
            assert_eq!(on_one_line(&more).as_deref(), Some(more.as_str()));
        }
        let wide = format!("[{}]", ["[]"; 500].join(","));
        assert!(!is_too_deep(&wide));
        let number = "[1e999,\"\\u0041\\\\ud800\"]";
        assert_eq!(value(number).as_deref(), Some(number));
        assert_eq!(value("[\"\\ud800\", \"\\udc00\"]"), None);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z\"\\\\,:\\[\\]{}\u{e9} ]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-c\"\\\\/~]{0,2}", inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// What the slices of a text stand for.
    fn rebuilt(value: &str) -> Value {
        match value.as_bytes().first() {
            Some(b'{') => members(value)
                .map(|(name, value)| (name.into_owned(), rebuilt(value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            Some(b'[') => elements(value).map(rebuilt).collect(),
            Some(b'"') => text(value).expect("it is a string").into(),
            _ => serde_json::from_str(value).expect("a slice is a value"),
        }
    }

    proptest! {
        #[test]
        fn slices_are_what_a_parser_finds(value in json(), pretty: bool) {
            let written = if pretty {
                serde_json::to_string_pretty(&value).expect("it is data")
            } else {
                value.to_string()
            };
            prop_assert_eq!(rebuilt(&written), value);
        }
    }
}
