//! Standard output and standard error, and the one place that prints. Results go to the first, and when its
//! reader is gone the program ends quietly; errors, warnings and notes go to the second, on a terminal in lines
//! as wide as it is. Whatever is printed passes through [`shown`]: what data holds is shown, never sent; colour is
//! added after that.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal, Write};

use terminal_size::{Height, Width};

use super::Color;
use crate::error::is_guarded;
use crate::error::{Class, Error, Result};
use crate::shown;

/// How wide a line may be where no terminal says so.
pub const WIDTH: usize = 80;

/// What the later lines of a wrapped message begin with.
const HANGING: &str = "    ";

/// Writes a result to standard output, at once.
pub fn print(text: &str) -> Result<()> {
    write_stdout(&shown::text(text))
}

/// Writes lines to standard output, those that are wider than the terminal broken between words.
pub fn print_prose(text: &str) -> Result<()> {
    let width = line_width(terminal_size::terminal_size_of(io::stdout()));
    write_stdout(&wrapped(&shown::text(text), width))
}

/// Writes a table and the lines that follow it to standard output; the table, which ends at the first empty line,
/// keeps its shape.
pub fn print_report(text: &str) -> Result<()> {
    let width = line_width(terminal_size::terminal_size_of(io::stdout()));
    write_stdout(&below_wrapped(&shown::text(text), width))
}

/// Writes a JSON document to standard output.
pub fn print_json(value: &serde_json::Value) -> Result<()> {
    print_json_text(&format!("{value:#}\n"))
}

/// Writes JSON that is text already to standard output.
pub fn print_json_text(json: &str) -> Result<()> {
    write_stdout(&shown::json(json))
}

/// Writes a script, in which all is our own, to standard output.
pub fn print_script(script: &str) -> Result<()> {
    write_stdout(script)
}

fn write_stdout(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(|error| failed(&error))
}

/// How wide a line on standard output may be: as the terminal is, or [`WIDTH`].
pub fn width() -> usize {
    terminal_size::terminal_size_of(io::stdout()).map_or(WIDTH, |(width, _)| usize::from(width.0))
}

/// What it means that standard output could not be written.
fn failed(error: &io::Error) -> Error {
    let mut failure = Error::io("write", "standard output", error);
    if error.kind() == io::ErrorKind::BrokenPipe {
        failure.class = Class::ClosedStdout;
    }
    failure
}

/// Writes an error to standard error; the only place that does.
pub fn print_error(error: &Error, color: Color) {
    if error.class != Class::ClosedStdout {
        print_lines(&error.render(), color);
    }
}

/// Writes a warning to standard error.
pub fn print_warning(warning: &str, color: Color) {
    print_message("warning", warning, color);
}

/// Writes what to do about the warning before it to standard error.
pub fn print_hint(hint: &str, color: Color) {
    print_message("hint", hint, color);
}

/// Writes a note to standard error.
pub fn print_note(note: &str, color: Color) {
    print_message("note", note, color);
}

/// Later lines of a message are indented: nothing that is data begins a line.
fn print_message(what: &str, message: &str, color: Color) {
    let message = message.trim_end().replace('\n', "\n  ");
    print_lines(&format!("{what}: {message}\n"), color);
}

/// How wide a line of words may be: as the terminal is, or as `COLUMNS` says. In a file or a log it stays one line,
/// which can be searched.
fn line_width(terminal: Option<(Width, Height)>) -> usize {
    if let Some((width, _)) = terminal {
        return usize::from(width.0);
    }
    let said = std::env::var("COLUMNS").ok();
    said.and_then(|width| width.parse().ok())
        .unwrap_or(usize::MAX)
}

/// Writes lines to standard error, broken between words where the terminal ends.
pub fn print_lines(text: &str, color: Color) {
    let width = line_width(terminal_size::terminal_size_of(io::stderr()));
    let mut text = wrapped(&shown::text(text), width);
    if color.on(stderr_is_terminal()) {
        text = colored(&text);
    }
    write_stderr(&text);
}

/// Writes a table and the lines that follow it to standard error, where standard output is taken.
pub fn print_beside(text: &str) {
    let width = line_width(terminal_size::terminal_size_of(io::stderr()));
    write_stderr(&below_wrapped(&shown::text(text), width));
}

/// Says of a panic what the standard library says, by way of this place.
pub fn print_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if is_guarded() {
            return;
        }
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("<unnamed>");
        let mut text = format!("thread '{name}' {panic}\n");
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            text.push_str(&format!("stack backtrace:\n{backtrace}"));
        }
        write_stderr(&shown::text(&text));
    }));
}

/// Whether standard error is a terminal.
pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

fn write_stderr(text: &str) {
    // Nobody is left to tell if this fails.
    let _ = io::stderr().lock().write_all(text.as_bytes());
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

/// Each line broken where it is wider.
fn wrapped(text: &str, width: usize) -> String {
    let lines = text.lines().map(|line| wrap(line, width, HANGING) + "\n");
    lines.collect()
}

/// The same for what stands below the first empty line, if there is one.
fn below_wrapped(text: &str, width: usize) -> String {
    match text.split_once("\n\n") {
        Some((table, lines)) => format!("{table}\n\n{}", wrapped(lines, width)),
        None => text.to_owned(),
    }
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
    fn a_table_keeps_its_shape_and_what_follows_is_broken() {
        let text = "a   b   c\n1   2   3\n\naa bb cc d\ne\n";
        assert_eq!(
            below_wrapped(text, 8),
            "a   b   c\n1   2   3\n\naa bb cc\n    d\ne\n"
        );
        assert_eq!(below_wrapped(text, usize::MAX), text);
        assert_eq!(below_wrapped("a   b   c\n", 8), "a   b   c\n");
    }

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrap("  aa bb cc d", 8, "    "), "  aa bb\n    cc d");
    }
}
