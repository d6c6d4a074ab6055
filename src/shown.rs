//! Data as a terminal may show it. What names, values and the words of others hold is data: it is shown, and
//! never obeyed. Control characters move the cursor, set titles and write to the clipboard, marks of direction
//! and characters of no width make a line read as another one: each stands as its escape (`\u{1b}`).

use std::borrow::Cow;
use std::fmt::Write;

/// Whether a terminal obeys a character, or a reader cannot see it: what Unicode calls default ignorable, but for
/// U+FE0E and U+FE0F. These two say whether the character before them is text or a picture, and half of all emoji
/// end in the second: a heart would stand as `❤\u{fe0f}` everywhere. They neither move the cursor nor carry text.
/// The other variation selectors, 256 of them, can carry any bytes unseen.
fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(char,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{feff}'
            // Letters and vowels that leave their place empty.
            | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{3164}' | '\u{ffa0}'
            // Variation selectors.
            | '\u{fe00}'..='\u{fe0d}'
            // Marks of shorthand and of music.
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            // No width, marks of direction.
            | '\u{200b}'..='\u{200f}'
            // Line and paragraph separators, embeddings and overrides of direction.
            | '\u{2028}'..='\u{202e}'
            // Joiners, invisible operators, isolates.
            | '\u{2060}'..='\u{206f}'
            // Between the lines, tags, and the other variation selectors.
            | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Text of several lines: hidden characters but its line ends are escaped.
pub fn text(text: &str) -> Cow<'_, str> {
    escaped(text, |char| char != '\n' && is_hidden(char), rust)
}

/// Text in one line: hidden characters and line ends are escaped.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden, rust)
}

/// A word of a command as it is typed into a shell, in one line: in quotes where the shell would read it as something
/// else.
pub fn word(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=+./:,@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    if word.chars().any(char::is_control) {
        let escaped: String = word
            .chars()
            .map(|c| match c {
                '\n' => "\\n".into(),
                '\t' => "\\t".into(),
                '\r' => "\\r".into(),
                '\\' => "\\\\".into(),
                '\'' => "\\'".into(),
                c if c.is_control() => format!("\\x{:02x}", u32::from(c)),
                c => c.to_string(),
            })
            .collect();
        return format!("$'{escaped}'");
    }
    format!("'{}'", word.replace('\'', r"'\''"))
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

/// So many rows, in words.
pub fn rows(count: u64) -> String {
    things(count, "row")
}

/// So many things of a name that takes an `s`, with commas between thousands.
pub fn things(count: u64, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", thousands(count))
}

/// Seconds with as many digits as mean something.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 9.995 => format!("{s:.2}"),
        s if s < 99.95 => format!("{s:.1}"),
        s => format!("{s:.0}"),
    }
}

/// So many bytes, in three digits.
pub fn bytes(count: u64) -> String {
    if count == 1 {
        return "1 byte".into();
    }
    let mut left = count as f64;
    for unit in ["bytes", "kB", "MB", "GB"] {
        if left < 999.5 {
            let digits = match left {
                _ if unit == "bytes" => 0,
                left if left < 9.995 => 2,
                left if left < 99.95 => 1,
                _ => 0,
            };
            return format!("{left:.digits$} {unit}");
        }
        left /= 1e3;
    }
    format!("{left:.2} TB")
}

/// A number with commas between thousands.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
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
    fn what_cannot_be_seen_is_shown_and_emoji_stay_whole() {
        let hidden = [
            0xad, 0x200b, 0x200c, 0x200d, 0x200e, 0x200f, 0x2060, 0x2061, 0x2062, 0x2063, 0x2064,
            0xfeff, 0xe0001, 0xe0020, 0xe007f, 0x34f, 0x180b, 0xfe00, 0xfe0d, 0xe0100, 0xe01ef,
            0x17b4, 0x1d173,
        ];
        for code in hidden {
            let char = char::from_u32(code).expect("it is a character");
            assert_eq!(line(&format!("a{char}b")), format!("a\\u{{{code:x}}}b"));
        }
        for plain in ["❤\u{fe0f}", "☎\u{fe0e}", "e\u{301}", "日本"] {
            assert!(matches!(line(plain), Cow::Borrowed(_)), "{plain}");
        }
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

    #[test]
    fn numbers_are_readable() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ];
        for (number, text) in cases {
            assert_eq!(thousands(number), text);
        }
        assert_eq!(
            [
                0,
                1,
                999,
                1500,
                59_400_000,
                166_200_000,
                999_600_000,
                12_000_000_000_000
            ]
            .map(bytes),
            [
                "0 bytes",
                "1 byte",
                "999 bytes",
                "1.50 kB",
                "59.4 MB",
                "166 MB",
                "1.00 GB",
                "12.00 TB"
            ]
        );
        assert_eq!(
            [0.004, 9.99, 9.996, 99.94, 99.96, 8223.0].map(seconds),
            ["0.00", "9.99", "10.0", "99.9", "100", "8223"]
        );
    }
}
