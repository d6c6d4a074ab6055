//! Data as a terminal may show it. What names, values and the words of others hold is data: it is shown, and
//! never obeyed. Control characters move the cursor, set titles and write to the clipboard, marks of direction
//! and characters of no width make a line read as another one: each stands as its escape (`\u{1b}`).

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a terminal obeys a character, or a reader cannot see it.
fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            // Letters that leave their place empty.
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}'
            // No width, marks of direction.
            | '\u{200b}'..='\u{200f}'
            // Line and paragraph separators, embeddings and overrides of direction.
            | '\u{2028}'..='\u{202e}'
            // Joiners, invisible operators, isolates.
            | '\u{2060}'..='\u{206f}'
            // Between the lines, and tags.
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Text of several lines: hidden characters but its line ends are escaped.
pub fn text(text: &str) -> Cow<'_, str> {
    escaped(text, |char| char != '\n' && is_hidden(char), rust)
}

/// Text in one line: hidden characters and line ends are escaped.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden, rust)
}

/// JSON that says the same and shows it: in strings hidden characters are escaped as JSON does it, between
/// them white space is blanks and line ends.
pub fn json(text: &str) -> Cow<'_, str> {
    escaped(
        text,
        |char| char != '\n' && is_hidden(char),
        |char, out| {
            if char.is_ascii_control() && char != '\u{7f}' {
                // JSON has no such character inside its strings.
                out.push(' ');
                return;
            }
            for unit in char.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        },
    )
}

/// As Rust writes it: `\n`, `\u{1b}`.
fn rust(char: char, out: &mut String) {
    out.extend(char.escape_default());
}

fn escaped(
    text: &str,
    is_escaped: impl Fn(char) -> bool,
    escape: impl Fn(char, &mut String),
) -> Cow<'_, str> {
    if !text.chars().any(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_escaped(char) {
            escape(char, &mut out);
        } else {
            out.push(char);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown() {
        let hostile = "a\u{1b}]0;x\u{7}\u{9b}2J\u{7f}\u{202e}b\u{200b}\r\tä\nc\u{2028}\u{e0041}";
        let shown = "a\\u{1b}]0;x\\u{7}\\u{9b}2J\\u{7f}\\u{202e}b\\u{200b}\\r\\tä";
        assert_eq!(text(hostile), format!("{shown}\nc\\u{{2028}}\\u{{e0041}}"));
        assert_eq!(line(hostile), format!("{shown}\\nc\\u{{2028}}\\u{{e0041}}"));
        assert!(matches!(text("plain\ntext, ä 日本 🚀"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_says_the_same() {
        let hostile = "\u{1b}[2J\u{9b}\u{7f}\u{202e}\u{feff}\u{e0041}\r\n\t日";
        let value = serde_json::json!({ hostile: [hostile] });
        let raw = format!("{value:#}\t\r");
        let shown = json(&raw);
        assert!(!shown.chars().any(|char| char != '\n' && is_hidden(char)));
        let back: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(back, value);
    }
}
