//! The rules of [`super`], one byte at a time: the slow twin of [`super::masks`].

use super::{Dialect, EscapeWhere};

/// Where in a record the machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Before a record's first byte.
    #[default]
    RecordStart,
    /// Before a field's first byte.
    FieldStart,
    /// In a field that began without a quote.
    Unquoted,
    /// Between quotes.
    Quoted,
    /// Behind a quote between quotes: the end of the field, or half of a doubled one.
    QuoteInQuoted,
    /// Behind a closing quote and blanks that do not count.
    Closed,
    /// Behind a closing quote and something that may not stand there.
    Junk,
    /// In a line that is a comment.
    Comment,
}

/// What a byte means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Belongs to the value.
    Value,
    /// Belongs to the notation: a quote around a field, an escape, a blank, a comment.
    Notation,
    /// Text after a closing quote.
    Junk,
    /// Ends a field.
    Delimiter,
    /// Ends a record, or a comment.
    Newline,
}

/// Reads byte after byte.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine {
    /// Where it stands.
    pub state: State,
    /// Whether the next byte is to be taken literally.
    pub escaped: bool,
}

impl Machine {
    /// A machine before the first byte of a field that may be any of its record.
    pub const AT_FIELD: Machine = Machine {
        state: State::FieldStart,
        escaped: false,
    };

    /// What `byte` means here; moves on.
    pub fn step(&mut self, byte: u8, dialect: Dialect) -> Meaning {
        use State::{
            Closed, Comment, FieldStart, Junk, QuoteInQuoted, Quoted, RecordStart, Unquoted,
        };
        if self.escaped {
            self.escaped = false;
            return self.literal();
        }
        match self.state {
            Comment if byte != b'\n' => return Meaning::Notation,
            RecordStart if dialect.comment == Some(byte) => {
                self.state = Comment;
                return Meaning::Notation;
            }
            _ => {}
        }
        if dialect.own_escape() == Some(byte) && self.escapes(dialect) {
            self.escaped = true;
            self.literal();
            return Meaning::Notation;
        }
        match self.state {
            Quoted if dialect.quote == Some(byte) => {
                self.state = QuoteInQuoted;
                Meaning::Notation
            }
            Quoted => Meaning::Value,
            RecordStart | FieldStart if dialect.quote == Some(byte) => {
                self.state = Quoted;
                Meaning::Notation
            }
            QuoteInQuoted if dialect.quote == Some(byte) => {
                self.state = Quoted;
                Meaning::Value
            }
            _ if byte == b'\n' => {
                self.state = RecordStart;
                Meaning::Newline
            }
            _ if byte == dialect.delimiter => {
                self.state = FieldStart;
                Meaning::Delimiter
            }
            RecordStart | FieldStart if dialect.is_blank(byte) => {
                self.state = FieldStart;
                Meaning::Notation
            }
            QuoteInQuoted | Closed if dialect.is_blank(byte) => {
                self.state = Closed;
                Meaning::Notation
            }
            RecordStart | FieldStart | Unquoted | QuoteInQuoted | Closed | Junk | Comment => {
                self.literal()
            }
        }
    }

    /// Whether an escape is one where the machine stands.
    fn escapes(self, dialect: Dialect) -> bool {
        dialect.escape_where == EscapeWhere::Anywhere || self.state == State::Quoted
    }

    fn literal(&mut self) -> Meaning {
        use State::{
            Closed, Comment, FieldStart, Junk, QuoteInQuoted, Quoted, RecordStart, Unquoted,
        };
        match self.state {
            RecordStart | FieldStart | Unquoted => {
                self.state = Unquoted;
                Meaning::Value
            }
            Quoted => Meaning::Value,
            QuoteInQuoted | Closed | Junk => {
                self.state = Junk;
                Meaning::Junk
            }
            Comment => Meaning::Notation,
        }
    }
}
