//! Values that are passed over: checked, and not looked into.

use super::{COMMA_OR_BRACE, COMMA_OR_BRACKET, Kind, NAME, NAME_OR_END, Refused, Scanner};
use crate::format::csv::lanes::{Lanes, WIDTH};

impl Scanner<'_> {
    /// Any value; what it is.
    #[inline]
    pub(super) fn value(&mut self) -> Result<Kind, Refused> {
        match self.peek() {
            b'"' => {
                self.at += 1;
                return self.string();
            }
            b'{' | b'[' => self.nested()?,
            b'n' => {
                self.word("null")?;
                return Ok(Kind::Null);
            }
            _ => self.scalar()?,
        }
        Ok(Kind::Other)
    }

    #[inline]
    fn scalar(&mut self) -> Result<(), Refused> {
        match self.peek() {
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => Err(self.refuse("a value")),
        }
    }

    fn word(&mut self, word: &'static str) -> Result<(), Refused> {
        let rest = &self.text[self.at..];
        if !rest.starts_with(word.as_bytes()) {
            return Err(self.refuse("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Refused> {
        let text = self.text;
        let byte = |at: usize| text.get(at).copied().unwrap_or(0);
        let after_digits = |mut at: usize| {
            while byte(at).is_ascii_digit() {
                at += 1;
            }
            at
        };
        // Where the digits begin that are read last; there must be some.
        let mut digits = self.at + usize::from(byte(self.at) == b'-');
        let mut at = after_digits(digits);
        if byte(digits) == b'0' && at > digits + 1 {
            self.at = digits + 1;
            return Err(self.refuse("no digit after a leading zero"));
        }
        if byte(at) == b'.' && at > digits {
            digits = at + 1;
            at = after_digits(digits);
        }
        if matches!(byte(at), b'e' | b'E') && at > digits {
            digits = at + 1 + usize::from(matches!(byte(at + 1), b'+' | b'-'));
            at = after_digits(digits);
        }
        self.at = at;
        if at == digits {
            return Err(self.refuse("a digit"));
        }
        Ok(())
    }

    /// The first quote, backslash or control character from `at` on; the record's end if nothing of the kind follows.
    #[inline]
    fn next_special(&mut self, mut at: usize) -> usize {
        while at < self.text.len() {
            let base = at - at % WIDTH;
            if base != self.base {
                self.base = base;
                self.special = special(self.block, base);
            }
            let rest = self.special >> (at % WIDTH);
            if rest != 0 {
                return (at + rest.trailing_zeros() as usize).min(self.text.len());
            }
            at = base + WIDTH;
        }
        self.text.len()
    }

    /// A string, after its first quote and up to after its last.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Kind, Refused> {
        self.at = self.next_special(self.at);
        if self.peek() == b'"' {
            self.at += 1;
            return Ok(Kind::Text);
        }
        self.string_with_escapes()
    }

    fn string_with_escapes(&mut self) -> Result<Kind, Refused> {
        let mut kind = Kind::Text;
        loop {
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(kind);
                }
                b'\\' => {
                    kind = Kind::Escaped;
                    self.escape()?;
                }
                _ if self.at == self.text.len() => return Err(self.refuse("a closing quote")),
                _ => return Err(self.refuse("a control character written as an escape")),
            }
            self.at = self.next_special(self.at);
        }
    }

    /// An escape, backslash and all.
    fn escape(&mut self) -> Result<(), Refused> {
        self.at += 1;
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_ascii_hexdigit() {
                        return Err(self.refuse("four hexadecimal digits after `\\u`"));
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.refuse("one of `\"\\/bfnrtu` after a backslash")),
        }
        Ok(())
    }

    /// A list or object of which nothing is wanted.
    fn nested(&mut self) -> Result<(), Refused> {
        let outside = self.depth;
        // A bit for each open bracket, the innermost last: whether it is an object's.
        let mut objects: u128 = 0;
        loop {
            // At the beginning of a value, or at an opening bracket.
            match self.peek() {
                open @ (b'{' | b'[') => {
                    let is_object = open == b'{';
                    self.enter()?;
                    objects = objects << 1 | u128::from(is_object);
                    self.blanks();
                    if self.peek() != open + 2 {
                        if is_object {
                            self.skip_name(NAME_OR_END)?;
                        }
                        continue;
                    }
                    // `}` and `]` stand two places after `{` and `[`.
                }
                b'"' => {
                    self.at += 1;
                    self.string()?;
                }
                _ => self.scalar()?,
            }
            // After a value, or at a closing bracket.
            loop {
                if self.depth == outside {
                    return Ok(());
                }
                let is_object = objects & 1 == 1;
                self.blanks();
                match (self.peek(), is_object) {
                    (b',', _) => {
                        self.at += 1;
                        self.blanks();
                        if is_object {
                            self.skip_name(NAME)?;
                        }
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        self.at += 1;
                        self.depth -= 1;
                        objects >>= 1;
                    }
                    (_, true) => return Err(self.refuse(COMMA_OR_BRACE)),
                    (_, false) => return Err(self.refuse(COMMA_OR_BRACKET)),
                }
            }
        }
    }

    #[inline]
    fn skip_name(&mut self, expected: &'static str) -> Result<(), Refused> {
        self.expect(b'"', expected)?;
        self.string()?;
        self.colon()
    }
}

/// The quotes, backslashes and control characters of the 64 bytes from `base` on, as bits.
#[inline]
fn special(block: &[u8], base: usize) -> u64 {
    let rest = &block[base..];
    let lanes = if let Some(bytes) = rest.first_chunk::<WIDTH>() {
        Lanes::load(bytes)
    } else {
        let mut bytes = [b' '; WIDTH];
        bytes[..rest.len()].copy_from_slice(rest);
        Lanes::load(&bytes)
    };
    lanes.equal(b'"') | lanes.equal(b'\\') | lanes.at_most(0x1F)
}
