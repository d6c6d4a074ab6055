//! Standard output and standard error, each with its one rule: results go to the first, and when its
//! reader is gone the program ends quietly; errors go to the second, once.

use std::io::{self, IsTerminal, Write};

use super::Color;
use crate::error::{Class, Error, Result};

/// Writes a result to standard output, at once.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| failed(&error))
}

/// Writes a JSON document to standard output.
pub fn print_json(value: &serde_json::Value) -> Result<()> {
    print(&format!("{value:#}\n"))
}

/// How wide a line on standard output may be: as the terminal is, 80 without one.
pub fn width() -> usize {
    let terminal = terminal_size::terminal_size_of(io::stdout());
    terminal.map_or(80, |(width, _)| usize::from(width.0))
}

/// What it means that standard output could not be written.
pub fn failed(error: &io::Error) -> Error {
    let mut failure = Error::io("write", "standard output", error);
    if error.kind() == io::ErrorKind::BrokenPipe {
        failure.class = Class::ClosedStdout;
    }
    failure
}

/// Writes an error to standard error; the only place that does.
pub fn print_error(error: &Error, color: Color) {
    if error.class != Class::ClosedStdout {
        print_stderr(error.render(), color);
    }
}

/// Writes a warning to standard error.
pub fn print_warning(warning: &str, color: Color) {
    print_stderr(format!("warning: {warning}\n"), color);
}

fn print_stderr(text: String, color: Color) {
    let mut text = text;
    let mut stderr = io::stderr().lock();
    if color.on(stderr.is_terminal()) {
        text = colored(&text);
    }
    // Nobody is left to tell if this fails.
    let _ = stderr.write_all(text.as_bytes());
}

/// The words `error:`, `warning:` and `hint:` at the beginning of lines in colour, the rest as it is.
fn colored(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 20);
    for line in text.split_inclusive('\n') {
        let words = [
            ("error:", "\x1b[1;31m"),
            ("warning:", "\x1b[1;33m"),
            ("hint:", "\x1b[1;36m"),
        ];
        match words.iter().find(|(word, _)| line.starts_with(word)) {
            Some((word, on)) => out.push_str(&format!("{on}{word}\x1b[0m{}", &line[word.len()..])),
            None => out.push_str(line),
        }
    }
    out
}

/// Text in lines of at most `width` characters where its words allow, later lines begun with `indent`.
pub fn wrap(text: &str, width: usize, indent: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    for (number, word) in text.split(' ').enumerate() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            out.push('\n');
            out.push_str(indent);
            column = indent.chars().count();
        } else if number > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_on_two_words_only() {
        assert_eq!(
            colored("error: a\n  error: b\nhint: c\n"),
            "\x1b[1;31merror:\x1b[0m a\n  error: b\n\x1b[1;36mhint:\x1b[0m c\n"
        );
    }

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrap("  aa bb cc d", 8, "    "), "  aa bb\n    cc d");
    }
}
