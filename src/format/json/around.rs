//! What stands around a list of records in one JSON value: read byte by byte, checked against the grammar,
//! and not kept. It finds where the list begins that a pointer leads to, and that nothing stands after the
//! value.

use super::escapes::unescape;
use super::scan::{DEPTH_MAX, DEPTH_WORDS};

/// Where a reader of the text around the records stands.
#[derive(Debug)]
pub(super) struct Around {
    /// Where the records are.
    path: Vec<String>,
    /// A longer name leads nowhere: an escape has six bytes and stands for at least one.
    name_bytes_max: usize,
    levels: Vec<Level>,
    state: State,
    /// The name of the member that comes, as it stands between its quotes.
    name: Vec<u8>,
    /// Whether the list was found.
    found: bool,
    /// How far the path led.
    reached: Reached,
}

/// The last list or object on the way along a path.
#[derive(Debug, Default)]
struct Reached {
    /// How many lists and objects lead there, itself with them.
    levels: usize,
    /// Whether the path goes on in it.
    goes_on: bool,
    /// The first names of its members.
    names: Vec<String>,
}

/// So many names are shown of an object that lacks one.
const NAMES_MAX: usize = 8;

/// So many bytes of a name are kept at least.
const NAME_BYTES: usize = 64;

/// An open list or object.
#[derive(Debug)]
struct Level {
    is_object: bool,
    /// Whether the path leads into it.
    on_path: bool,
    /// Of a list, the number of the element that comes.
    number: usize,
}

/// What may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A value, or the end of a list.
    Value {
        or_end: bool,
    },
    /// A name, or the end of an object.
    Name {
        or_end: bool,
    },
    String {
        is_name: bool,
        escape: Escape,
    },
    Colon,
    /// After a value.
    After,
    Number(Number),
    Word(&'static [u8]),
}

/// Where in an escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Begun,
    /// So many digits are to come.
    Digits(u8),
}

/// Where in a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Int,
    Point,
    Fraction,
    Exponent,
    Sign,
    ExponentDigits,
}

/// What a byte was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Part of what stands around the records.
    On,
    /// The bracket that opens the list.
    List,
}

impl Default for Around {
    fn default() -> Self {
        Around::new(Vec::new())
    }
}

impl Around {
    /// At the beginning of a text in which the records stand at `path`.
    pub(super) fn new(path: Vec<String>) -> Self {
        let longest = path.iter().map(String::len).max().unwrap_or(0);
        Around {
            path,
            name_bytes_max: (6 * longest).max(NAME_BYTES),
            levels: Vec::new(),
            state: State::Value { or_end: false },
            name: Vec::new(),
            found: false,
            reached: Reached::default(),
        }
    }

    /// The list has ended.
    pub(super) fn list_ended(&mut self) {
        self.state = State::After;
    }

    /// The text ends here: what is missing of it, and what was found.
    pub(super) fn missing(&self) -> Option<(String, String)> {
        let number_ends = matches!(self.state, State::Number(number) if number.may_end());
        let is_whole = self.levels.is_empty() && (self.state == State::After || number_ends);
        if !is_whole {
            return Some((self.expected().to_owned(), "the end of the file".to_owned()));
        }
        (!self.found).then(|| {
            (
                format!("a list at `{}`", self.pointer()),
                self.last_on_path(),
            )
        })
    }

    /// Why the path leads nowhere.
    fn last_on_path(&self) -> String {
        let Reached {
            levels,
            goes_on,
            names,
        } = &self.reached;
        let at = |segments: usize| match pointer(&self.path[..segments]).as_str() {
            "" => "in the value".to_owned(),
            pointer => format!("at `{pointer}`"),
        };
        let Some(wanted) = levels.checked_sub(1).and_then(|level| self.path.get(level)) else {
            return "no list or object".to_owned();
        };
        if *goes_on {
            return format!("no list or object {}", at(*levels));
        }
        let within = at(levels - 1);
        if names.is_empty() {
            return format!("no `{wanted}` {within}");
        }
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let names = names.join(", ");
        format!("no `{wanted}` {within}, which has {names}")
    }

    fn pointer(&self) -> String {
        pointer(&self.path)
    }

    /// Notes the name of the member that comes.
    fn note_name(&mut self) {
        let levels = self.levels.len();
        if levels != self.reached.levels || !self.levels[levels - 1].on_path {
            return;
        }
        if self.reached.names.len() < NAMES_MAX
            && self.name.len() <= self.name_bytes_max
            && let Some(name) = unescape(&self.name)
        {
            self.reached.names.push(name);
        }
    }

    /// Takes one byte more; an error is what was expected in its place.
    pub(super) fn step(&mut self, byte: u8) -> Result<Step, String> {
        let is_blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match self.state {
            State::String { is_name, escape } => return self.in_string(byte, is_name, escape),
            State::Number(number) => {
                if let Some(next) = number.after(byte) {
                    self.state = State::Number(next);
                    return Ok(Step::On);
                }
                if !number.may_end() {
                    return Err("a digit".to_owned());
                }
                self.state = State::After;
                return self.step(byte);
            }
            State::Word(rest) => {
                if rest.first() != Some(&byte) {
                    return Err("a value".to_owned());
                }
                self.state = match &rest[1..] {
                    [] => State::After,
                    rest => State::Word(rest),
                };
                return Ok(Step::On);
            }
            _ if is_blank => return Ok(Step::On),
            State::Colon if byte == b':' => self.state = State::Value { or_end: false },
            State::Name { .. } if byte == b'"' => {
                self.name.clear();
                self.state = State::String {
                    is_name: true,
                    escape: Escape::None,
                };
            }
            State::Name { or_end: true } if byte == b'}' => self.close(),
            State::Value { or_end: true } if byte == b']' => self.close(),
            State::Value { .. } => return self.value(byte),
            State::After => return self.after(byte),
            State::Name { .. } | State::Colon => return Err(self.expected().to_owned()),
        }
        Ok(Step::On)
    }

    /// The first byte of a value.
    fn value(&mut self, byte: u8) -> Result<Step, String> {
        let on_path = self.is_on_path();
        if on_path && self.levels.len() == self.path.len() {
            if self.found {
                return Err(format!("one value at `{}`", self.pointer()));
            }
            if byte != b'[' {
                return Err(match self.path.len() {
                    0 => "`[`, the beginning of a list of records".to_owned(),
                    _ => format!("`[`, a list of records at `{}`", self.pointer()),
                });
            }
            self.found = true;
            return Ok(Step::List);
        }
        if on_path {
            self.reached.goes_on = true;
        }
        self.state = match byte {
            b'{' | b'[' => {
                if self.levels.len() >= DEPTH_MAX as usize {
                    return Err(DEPTH_WORDS.to_owned());
                }
                let is_object = byte == b'{';
                if on_path {
                    self.reached = Reached {
                        levels: self.levels.len() + 1,
                        ..Reached::default()
                    };
                }
                self.levels.push(Level {
                    is_object,
                    on_path,
                    number: 0,
                });
                if is_object {
                    State::Name { or_end: true }
                } else {
                    State::Value { or_end: true }
                }
            }
            b'"' => State::String {
                is_name: false,
                escape: Escape::None,
            },
            b't' => State::Word(b"rue"),
            b'f' => State::Word(b"alse"),
            b'n' => State::Word(b"ull"),
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Int),
            _ => return Err(self.expected().to_owned()),
        };
        Ok(Step::On)
    }

    /// Whether the path leads to, or through, the value that comes.
    fn is_on_path(&self) -> bool {
        let Some(level) = self.levels.last() else {
            return true;
        };
        let Some(segment) = self.path.get(self.levels.len() - 1) else {
            return false;
        };
        let leads = if level.is_object {
            unescape(&self.name).is_some_and(|name| name == *segment)
        } else {
            level.number.to_string() == *segment
        };
        level.on_path && leads
    }

    fn after(&mut self, byte: u8) -> Result<Step, String> {
        match (self.levels.last_mut(), byte) {
            (Some(level), b',') => {
                level.number += 1;
                self.state = if level.is_object {
                    State::Name { or_end: false }
                } else {
                    State::Value { or_end: false }
                };
            }
            (
                Some(Level {
                    is_object: true, ..
                }),
                b'}',
            )
            | (
                Some(Level {
                    is_object: false, ..
                }),
                b']',
            ) => self.close(),
            _ => return Err(self.expected().to_owned()),
        }
        Ok(Step::On)
    }

    fn close(&mut self) {
        self.levels.pop();
        self.state = State::After;
    }

    fn in_string(&mut self, byte: u8, is_name: bool, escape: Escape) -> Result<Step, String> {
        let next = match (escape, byte) {
            (Escape::None, b'"') => {
                if is_name {
                    self.note_name();
                }
                self.state = if is_name { State::Colon } else { State::After };
                return Ok(Step::On);
            }
            (Escape::None, b'\\') => Escape::Begun,
            (Escape::Begun, b'u') => Escape::Digits(4),
            (Escape::None, 0x20..)
            | (Escape::Begun, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')
            | (Escape::Digits(1), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => Escape::None,
            (Escape::Digits(left), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                Escape::Digits(left - 1)
            }
            _ => return Err(self.expected().to_owned()),
        };
        // One byte more than the longest, so that it is unlike all names on the path.
        if is_name && self.name.len() <= self.name_bytes_max {
            self.name.push(byte);
        }
        self.state = State::String {
            is_name,
            escape: next,
        };
        Ok(Step::On)
    }

    /// What may come, in words.
    fn expected(&self) -> &'static str {
        match self.state {
            State::Value { or_end: false } | State::Word(_) => "a value",
            State::Value { or_end: true } => "a value or `]`",
            State::Name { or_end: false } => "a name in quotes",
            State::Name { or_end: true } => "a name in quotes or `}`",
            State::String { escape, .. } => match escape {
                Escape::None => "a closing quote, and control characters written as escapes",
                Escape::Begun => "one of `\"\\/bfnrtu` after a backslash",
                Escape::Digits(_) => "four hexadecimal digits after `\\u`",
            },
            State::Colon => "`:`",
            State::After => match self.levels.last() {
                None => "the end of the file after the value",
                Some(Level {
                    is_object: true, ..
                }) => "`,` or `}`",
                Some(_) => "`,` or `]`",
            },
            State::Number(_) => "a digit",
        }
    }
}

/// A path as a JSON pointer.
fn pointer(path: &[String]) -> String {
    let escaped = |segment: &String| format!("/{}", segment.replace('~', "~0").replace('/', "~1"));
    path.iter().map(escaped).collect()
}

impl Number {
    /// Where `byte` leads, if it goes on with the number.
    fn after(self, byte: u8) -> Option<Number> {
        use Number::{Exponent, ExponentDigits, Fraction, Int, Minus, Point, Sign, Zero};
        match (self, byte) {
            (Minus, b'0') => Some(Zero),
            (Minus, b'1'..=b'9') | (Int, b'0'..=b'9') => Some(Int),
            (Zero | Int, b'.') => Some(Point),
            (Point | Fraction, b'0'..=b'9') => Some(Fraction),
            (Zero | Int | Fraction, b'e' | b'E') => Some(Exponent),
            (Exponent, b'+' | b'-') => Some(Sign),
            (Exponent | Sign | ExponentDigits, b'0'..=b'9') => Some(ExponentDigits),
            _ => None,
        }
    }

    fn may_end(self) -> bool {
        matches!(
            self,
            Number::Zero | Number::Int | Number::Fraction | Number::ExponentDigits
        )
    }
}
