//! The rules of [`super`], one byte at a time: the slow twin of [`super::masks`].

use super::Dialect;

/// Where in a record the machine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Before a field's first byte.
    #[default]
    FieldStart,
    /// In a field that began without a quote.
    Unquoted,
    /// Between quotes.
    Quoted,
    /// Behind a quote between quotes: the end of the field, or half of a doubled one.
    QuoteInQuoted,
    /// Behind a closing quote and something that may not stand there.
    Junk,
}

/// What a byte means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Belongs to the value.
    Value,
    /// Belongs to the notation: a quote around a field, an escape.
    Notation,
    /// Text after a closing quote.
    Junk,
    /// Ends a field.
    Delimiter,
    /// Ends a record.
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
    /// What `byte` means here; moves on.
    pub fn step(&mut self, byte: u8, dialect: Dialect) -> Meaning {
        use State::{FieldStart, Junk, QuoteInQuoted, Quoted, Unquoted};
        if self.escaped {
            self.escaped = false;
            return self.literal();
        }
        // In `"a""b"` with the quote as its own escape, doubling is the rule that applies.
        if dialect.escape == Some(byte) && dialect.quote != Some(byte) {
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
            FieldStart if dialect.quote == Some(byte) => {
                self.state = Quoted;
                Meaning::Notation
            }
            QuoteInQuoted if dialect.quote == Some(byte) => {
                self.state = Quoted;
                Meaning::Value
            }
            FieldStart | Unquoted | QuoteInQuoted | Junk if byte == dialect.delimiter => {
                self.state = FieldStart;
                Meaning::Delimiter
            }
            FieldStart | Unquoted | QuoteInQuoted | Junk if byte == b'\n' => {
                self.state = FieldStart;
                Meaning::Newline
            }
            FieldStart | Unquoted | QuoteInQuoted | Junk => self.literal(),
        }
    }

    fn literal(&mut self) -> Meaning {
        use State::{FieldStart, Junk, QuoteInQuoted, Quoted, Unquoted};
        match self.state {
            FieldStart | Unquoted => {
                self.state = Unquoted;
                Meaning::Value
            }
            Quoted => Meaning::Value,
            QuoteInQuoted | Junk => {
                self.state = Junk;
                Meaning::Junk
            }
        }
    }
}
