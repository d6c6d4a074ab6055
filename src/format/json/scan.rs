//! The scanner: one pass over a record's bytes that checks them against RFC 8259, all of them, and notes
//! where the values lie that are wanted. It makes no tree and copies nothing: a value is a place in the text.
//!
//! Two things make it fast. Quotes, backslashes and control characters are found 64 bytes at a time, so
//! that a text is passed over without a look at each byte. And the members of a record mostly come in the
//! order of the record before, so that a name is first compared with the one that comes next.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use super::raw::Pointer;
use crate::format::csv::lanes::{Lanes, WIDTH};

/// Deeper nesting is refused, as most readers do: a bit of a word stands for each level.
pub const DEPTH_MAX: u32 = 128;

/// The values that are wanted of each record.
#[derive(Debug, Clone)]
pub struct Wanted {
    nodes: Vec<Node>,
    slots: usize,
}

/// A value on the way to those that are wanted.
#[derive(Debug, Clone, Default)]
struct Node {
    /// The slots that want this very value.
    here: Vec<usize>,
    /// The slot that wants it, if it is one and nothing in it is wanted.
    only_slot: Option<usize>,
    /// The slots that want something in it.
    below: Vec<usize>,
    /// What is wanted in it, by name.
    members: Vec<Member>,
    by_name: HashMap<String, usize>,
    /// What is wanted in it, by number, and its node.
    elements: Vec<(usize, usize)>,
}

/// A name, ready to be compared with the bytes after a quote.
#[derive(Debug, Clone)]
struct Member {
    /// The name as JSON writes it, and the quote that closes it; empty if that needs an escape.
    quoted: Vec<u8>,
    /// Its first 16 bytes, and which of their bits count.
    head: u128,
    mask: u128,
    /// Its last 16 bytes, if it is longer.
    tail: u128,
    node: usize,
}

impl Member {
    fn new(name: &str, node: usize) -> Self {
        let plain = !name.bytes().any(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\'));
        let mut quoted = Vec::new();
        if plain {
            quoted.extend_from_slice(name.as_bytes());
            quoted.push(b'"');
        }
        let mut head = [0; 16];
        let len = quoted.len().min(16);
        head[..len].copy_from_slice(&quoted[..len]);
        let kept = 8 * u32::try_from(len).expect("at most 16");
        Member {
            head: u128::from_le_bytes(head),
            mask: u128::MAX.checked_shr(128 - kept).unwrap_or(0),
            tail: quoted.last_chunk().map_or(0, |tail| u128::from_le_bytes(*tail)),
            quoted,
            node,
        }
    }

    /// Whether `text`, what follows a quote, begins with this name.
    #[inline]
    fn is_at(&self, text: &[u8]) -> bool {
        let len = self.quoted.len();
        let Some(head) = text.first_chunk::<16>() else {
            return len > 0 && text.starts_with(&self.quoted);
        };
        if u128::from_le_bytes(*head) & self.mask != self.head {
            return false;
        }
        if len <= 16 {
            return len > 0;
        }
        let tail = text.get(..len).and_then(<[u8]>::last_chunk::<16>);
        tail.is_some_and(|tail| u128::from_le_bytes(*tail) == self.tail)
            && (len <= 32 || text[16..len - 16] == self.quoted[16..len - 16])
    }
}

impl Wanted {
    /// Slot `i` wants what pointer `i` leads to.
    pub fn new(pointers: &[Pointer]) -> Self {
        let mut wanted = Wanted {
            nodes: vec![Node::default()],
            slots: pointers.len(),
        };
        for (slot, Pointer(path)) in pointers.iter().enumerate() {
            let mut at = 0;
            for segment in path {
                wanted.nodes[at].below.push(slot);
                at = wanted.child(at, segment);
            }
            wanted.nodes[at].here.push(slot);
        }
        for node in &mut wanted.nodes {
            if let ([slot], []) = (node.here.as_slice(), node.below.as_slice()) {
                node.only_slot = Some(*slot);
            }
        }
        wanted
    }

    fn child(&mut self, at: usize, segment: &str) -> usize {
        if let Some(&member) = self.nodes[at].by_name.get(segment) {
            return self.nodes[at].members[member].node;
        }
        let child = self.nodes.len();
        self.nodes.push(Node::default());
        let node = &mut self.nodes[at];
        node.by_name.insert(segment.to_owned(), node.members.len());
        node.members.push(Member::new(segment, child));
        // A number as the standard has it: digits without a leading zero.
        let is_plain = segment == "0" || !segment.starts_with(['0', '+']);
        if let Some(number) = segment.parse().ok().filter(|_| is_plain) {
            node.elements.push((number, child));
        }
        child
    }

    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// What a record must be: an object, unless the record itself is a value, or a list where numbers lead
    /// into it. In words, if `record`, which is JSON, is something else.
    pub fn misfit(&self, record: &[u8]) -> Option<&'static str> {
        let root = &self.nodes[0];
        match record.first() {
            Some(b'{') => None,
            _ if root.members.is_empty() && !root.here.is_empty() => None,
            Some(b'[') if !root.elements.is_empty() => None,
            _ => Some("an object"),
        }
    }
}

/// Where a value lies in the text: three words of 32 bits, so that one is copied without gaps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Its first byte; of a string, the one after the quote.
    pub from: u32,
    /// After its last byte; of a string, the closing quote.
    pub to: u32,
    /// What it is.
    pub kind: Kind,
}

impl Found {
    /// The bytes of the value.
    pub fn range(self) -> Range<usize> {
        self.from as usize..self.to as usize
    }
}

/// What a value is, as far as that matters to who takes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Nothing is there.
    #[default]
    Absent,
    /// `null`
    Null,
    /// A string without escapes.
    Text,
    /// A string with escapes.
    Escaped,
    /// Anything else.
    Other,
}

/// Why a text is not JSON: what was expected where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The byte.
    pub at: usize,
    /// In words, after "expected".
    pub expected: &'static str,
}

/// The text is not JSON; why is noted in the scanner, so that results stay small.
struct Refused;

/// Scans the records of a block.
pub struct Scanner<'a> {
    wanted: &'a Wanted,
    /// The block.
    block: &'a [u8],
    /// The block up to the end of the record.
    text: &'a [u8],
    at: usize,
    depth: u32,
    /// Which 64 bytes `special` is about.
    base: usize,
    /// The quotes, backslashes and control characters of these.
    special: u64,
    /// Of each node the member that came first, then for each member the one that came after it, when it last was a
    /// surprise.
    orders: Vec<Vec<usize>>,
    /// What was expected where the record was refused.
    expected: &'static str,
    /// What was found of the record, one a slot.
    pub found: Vec<Found>,
    /// Where the names of the record's own members lie that are not wanted, without their quotes.
    pub others: Vec<Range<usize>>,
}

impl<'a> Scanner<'a> {
    /// A scanner of records in `block`, which must be shorter than 4 GiB.
    pub fn new(wanted: &'a Wanted, block: &'a [u8]) -> Self {
        assert!(
            u32::try_from(block.len()).is_ok(),
            "a place in it has 32 bits"
        );
        let order = |node: &Node| (0..=node.members.len()).collect();
        Scanner {
            wanted,
            block,
            orders: wanted.nodes.iter().map(order).collect(),
            text: &[],
            at: 0,
            depth: 0,
            base: usize::MAX,
            special: 0,
            expected: "",
            found: vec![Found::default(); wanted.slots],
            others: Vec::new(),
        }
    }

    /// Scans the record that is `block[from..to]`, blanks around it aside. What is found is of use only if it is JSON.
    pub fn record(&mut self, from: usize, to: usize) -> Result<(), Fault> {
        self.text = &self.block[..to];
        self.at = from;
        self.depth = 0;
        self.found.fill(Found::default());
        self.others.clear();
        self.whole_record().map_err(|Refused| Fault {
            at: self.at.min(to),
            expected: self.expected,
        })
    }

    fn whole_record(&mut self) -> Result<(), Refused> {
        self.blanks();
        self.take(0)?;
        self.blanks();
        if self.at < self.text.len() {
            return Err(self.refuse("the end of the record"));
        }
        Ok(())
    }

    #[cold]
    fn refuse(&mut self, expected: &'static str) -> Refused {
        self.expected = expected;
        Refused
    }

    /// The byte that comes next; at the end 0, which no JSON has.
    #[inline]
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    #[inline]
    fn blanks(&mut self) {
        // Mostly there are none.
        if self.peek() <= b' ' {
            self.some_blanks();
        }
    }

    fn some_blanks(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Refused> {
        if self.peek() != byte {
            return Err(self.refuse(expected));
        }
        self.at += 1;
        Ok(())
    }

    /// Goes one level deeper, over an opening bracket.
    fn enter(&mut self) -> Result<(), Refused> {
        if self.depth == DEPTH_MAX {
            return Err(self.refuse("at most 128 levels of lists and objects"));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// A value that node `at` is about.
    fn take(&mut self, at: usize) -> Result<(), Refused> {
        let wanted = self.wanted;
        let node = &wanted.nodes[at];
        // Of two members of one name the last counts, with what it holds and lacks.
        for &slot in &node.below {
            self.found[slot] = Found::default();
        }
        let from = self.at;
        let is_root = at == 0;
        let kind = match self.peek() {
            b'{' if is_root || !node.members.is_empty() => {
                self.object(at, node)?;
                Kind::Other
            }
            b'[' if !node.elements.is_empty() => {
                self.list(node)?;
                Kind::Other
            }
            _ => self.value()?,
        };
        for &slot in &node.here {
            self.note(slot, from, kind);
        }
        Ok(())
    }

    /// Notes that slot `slot` is the value of kind `kind` from `from` up to here.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "`new` checked the length")]
    fn note(&mut self, slot: usize, from: usize, kind: Kind) {
        let quote = usize::from(matches!(kind, Kind::Text | Kind::Escaped));
        let found = &mut self.found[slot];
        found.from = (from + quote) as u32;
        found.to = (self.at - quote) as u32;
        found.kind = kind;
    }

    /// An object some of whose members are wanted, which node `at` is about.
    fn object(&mut self, at: usize, node: &Node) -> Result<(), Refused> {
        self.enter()?;
        self.blanks();
        if self.peek() == b'}' {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        let mut order = std::mem::take(&mut self.orders[at]);
        let members = self.members(at == 0, node, &mut order);
        self.orders[at] = order;
        self.depth -= 1;
        members
    }

    /// The members of an object that is not empty, and its closing bracket.
    fn members(&mut self, is_root: bool, node: &Node, order: &mut [usize]) -> Result<(), Refused> {
        let nodes = &self.wanted.nodes;
        let mut before = FIRST;
        let mut expected = NAME_OR_END;
        loop {
            self.expect(b'"', expected)?;
            expected = NAME;
            let from = self.at;
            let member = self.name(node, order, before)?;
            let name_end = self.at - 1;
            self.colon()?;
            if let Some(member) = member {
                before = member + 1;
                let child = node.members[member].node;
                if let Some(slot) = nodes[child].only_slot {
                    let from = self.at;
                    let kind = self.value()?;
                    self.note(slot, from, kind);
                } else {
                    self.take(child)?;
                }
            } else {
                self.value()?;
                if is_root {
                    self.others.push(from..name_end);
                }
            }
            self.blanks();
            match self.peek() {
                b',' => {
                    self.at += 1;
                    self.blanks();
                }
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.refuse(COMMA_OR_BRACE)),
            }
        }
    }

    /// A list some of whose elements are wanted.
    fn list(&mut self, node: &Node) -> Result<(), Refused> {
        self.enter()?;
        self.blanks();
        if self.peek() == b']' {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        for number in 0.. {
            match node.elements.iter().find(|(wanted, _)| *wanted == number) {
                Some(&(_, child)) => self.take(child)?,
                None => _ = self.value()?,
            }
            self.blanks();
            match self.peek() {
                b',' => {
                    self.at += 1;
                    self.blanks();
                }
                b']' => break,
                _ => return Err(self.refuse(COMMA_OR_BRACKET)),
            }
        }
        self.at += 1;
        self.depth -= 1;
        Ok(())
    }

    #[inline]
    fn colon(&mut self) -> Result<(), Refused> {
        self.blanks();
        self.expect(b':', "`:`")?;
        self.blanks();
        Ok(())
    }

    /// A member's name, after its first quote and up to after its last: which member of `node` it is. `order` says
    /// which one came after the member `before` last time.
    #[inline]
    fn name(&mut self, node: &Node, order: &mut [usize], before: usize) -> Result<Option<usize>, Refused> {
        let text = &self.text[self.at..];
        let mut before_next = before;
        // Members may be left out, so one of those after the next may come.
        for _ in 0..AHEAD {
            let next = order[before_next];
            let Some(member) = node.members.get(next) else {
                break;
            };
            if member.is_at(text) {
                self.at += member.quoted.len();
                return Ok(Some(next));
            }
            before_next = next + 1;
        }
        let member = self.unexpected_name(node)?;
        if let Some(member) = member {
            order[before] = member;
        }
        Ok(member)
    }

    /// A name that is none of those expected.
    fn unexpected_name(&mut self, node: &Node) -> Result<Option<usize>, Refused> {
        let from = self.at;
        let kind = self.string()?;
        let name = &self.text[from..self.at - 1];
        let name = match kind {
            Kind::Escaped => unescape(name).map(Cow::Owned),
            _ => str::from_utf8(name).ok().map(Cow::Borrowed),
        };
        Ok(name.and_then(|name| node.by_name.get(name.as_ref()).copied()))
    }

    /// Any value; what it is.
    #[inline]
    fn value(&mut self) -> Result<Kind, Refused> {
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

    /// The first quote, backslash or control character from `at` on; the record's end if there is none.
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
    fn string(&mut self) -> Result<Kind, Refused> {
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

/// In an order: before all members.
const FIRST: usize = 0;

/// So many of the members that may come are compared with a name before it is looked up.
const AHEAD: usize = 8;

const NAME: &str = "a name in quotes";
const NAME_OR_END: &str = "a name in quotes or `}`";
const COMMA_OR_BRACE: &str = "`,` or `}`";
const COMMA_OR_BRACKET: &str = "`,` or `]`";

/// The quotes, backslashes and control characters of the 64 bytes from `base` on, as bits.
#[inline]
fn special(block: &[u8], base: usize) -> u64 {
    let rest = &block[base..];
    let lanes = match rest.first_chunk::<WIDTH>() {
        Some(bytes) => Lanes::load(bytes),
        None => {
            let mut bytes = [b' '; WIDTH];
            bytes[..rest.len()].copy_from_slice(rest);
            Lanes::load(&bytes)
        }
    };
    lanes.equal(b'"') | lanes.equal(b'\\') | lanes.at_most(0x1F)
}

/// The text of a string with escapes, which was scanned, without its quotes; `None`: it holds half a character, as
/// `\uD800` to `\uDFFF` are that do not stand in pairs, or is not UTF-8.
pub fn unescape(string: &[u8]) -> Option<String> {
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
    let len = if (0xD800..0xDC00).contains(&first) { 2 } else { 1 };
    let character = char::decode_utf16(units[..len].iter().copied()).next()?.ok()?;
    Some((character, &text[6 * len..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::Value;

    const POINTERS: [&str; 7] = ["/a", "/b/c", "/b", "/l/0", "/l/1/a", "/é\"~1", ""];

    fn wanted() -> Wanted {
        Wanted::new(&POINTERS.map(|text| Pointer::parse(text).expect("it is a pointer")))
    }

    /// A value as a reader of the text has it, numbers as they stand.
    fn value(block: &[u8], found: Found) -> Option<String> {
        let text = str::from_utf8(&block[found.range()]).expect("it is text");
        match found.kind {
            Kind::Absent => None,
            Kind::Text => Some(Value::from(text).to_string()),
            Kind::Escaped => Some(Value::from(unescape(text.as_bytes())?).to_string()),
            Kind::Null | Kind::Other => Some(text.to_owned()),
        }
    }

    fn json() -> impl Strategy<Value = String> {
        let text = "[a-c\"\\\\/\u{e9}\u{1F600}\n ]{0,20}";
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?",
            text.prop_map(|text| Value::from(text).to_string()),
            Just(r#""\ud83d\ude00\u0041\/""#.to_owned()),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let name = prop_oneof![
                "[abcl]".prop_map(|name| Value::from(name).to_string()),
                Just(r#""é\"\/""#.to_owned()),
                Just(r#""\u0061""#.to_owned()),
            ];
            let blank = "[ \t\r\n]{0,2}";
            let member = (name, blank, inner.clone());
            let member = member.prop_map(|(name, blank, value)| format!("{blank}{name}{blank}:{blank}{value}{blank}"));
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(|all| format!("[{}]", all.join(", "))),
                prop::collection::vec(member, 0..6).prop_map(|all| format!("{{{}}}", all.join(","))),
            ]
        })
    }

    /// As written, or with a few bytes changed.
    fn damaged() -> impl Strategy<Value = String> {
        let byte = prop::sample::select(b"{}[]:,\"\\ 0-.eEntu\x01\n/".to_vec());
        let changes = prop::collection::vec((any::<prop::sample::Index>(), byte, 0..3), 0..3);
        (json(), changes).prop_map(|(text, changes)| {
            let mut bytes = text.into_bytes();
            for (at, byte, what) in changes {
                let at = at.index(bytes.len() + 1);
                match what {
                    0 => bytes.insert(at, byte),
                    1 if at < bytes.len() => bytes[at] = byte,
                    _ if at < bytes.len() => _ = bytes.remove(at),
                    _ => {}
                }
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn it_takes_and_finds_what_a_parser_does(before in "[ x]{0,70}", text in damaged(), after in "[ \"]{0,3}") {
            let block = format!("{before}{text}{after}");
            let wanted = wanted();
            let mut scanner = Scanner::new(&wanted, block.as_bytes());
            // What comes before leaves nothing behind.
            let _ = scanner.record(0, before.len());
            let scanned = scanner.record(before.len(), before.len() + text.len());
            let model = serde_json::from_str::<IgnoredAny>(&text);
            prop_assert_eq!(scanned.is_ok(), model.is_ok(), "{:?} {:?}", scanned, model);
            if let Err(fault) = scanned {
                prop_assert!(fault.at >= before.len() && fault.at <= before.len() + text.len());
            }
            let Ok(parsed) = serde_json::from_str::<Value>(&text) else {
                return Ok(());
            };
            if scanned.is_ok() {
                for (pointer, found) in POINTERS.iter().zip(&scanner.found) {
                    let found = value(block.as_bytes(), *found);
                    let found: Option<Value> = found.map(|text| serde_json::from_str(&text).expect("it is JSON"));
                    prop_assert_eq!(found.as_ref(), parsed.pointer(pointer), "{}", pointer);
                }
            }
        }

        #[test]
        fn escapes_are_undone_as_a_parser_does(text in "(\\\\u[dD][89a-fA-F][0-9a-f]{2}|\\\\u00[0-9A-F]{2}|\\\\[nrtbf\"/\\\\]|[a-zé])*") {
            let parsed: Option<String> = serde_json::from_str(&format!("\"{text}\"")).ok();
            prop_assert_eq!(unescape(text.as_bytes()), parsed);
        }
    }

    #[test]
    fn a_fault_says_what_was_expected_where() {
        let deep = "[".repeat(129);
        let cases = [
            ("", 0, "a value"),
            ("{", 1, "a name in quotes or `}`"),
            ("{\"a\":1,}", 7, "a name in quotes"),
            ("{\"a\" 1}", 5, "`:`"),
            ("{\"a\":1 \"b\":2}", 7, "`,` or `}`"),
            ("{\"x\":[1 2]}", 8, "`,` or `]`"),
            ("{\"x\":{\"y\":1]}", 11, "`,` or `}`"),
            ("{\"a\":NaN}", 5, "a value"),
            ("{\"a\":Infinity}", 5, "a value"),
            ("{\"a\":nul}", 5, "a value"),
            ("{\"a\":01}", 6, "no digit after a leading zero"),
            ("{\"a\":1.}", 7, "a digit"),
            ("{\"a\":-}", 6, "a digit"),
            ("{\"a\":1e+}", 8, "a digit"),
            ("{\"a\":\"b", 7, "a closing quote"),
            ("{\"a\":\"\t\"}", 6, "a control character written as an escape"),
            ("{\"a\":\"\\x\"}", 7, "one of `\"\\/bfnrtu` after a backslash"),
            ("{\"a\":\"\\u12g4\"}", 10, "four hexadecimal digits after `\\u`"),
            ("{\"a\":1} {\"a\":2}", 8, "the end of the record"),
            ("{'a':1}", 1, "a name in quotes or `}`"),
            (deep.as_str(), 128, "at most 128 levels of lists and objects"),
        ];
        for (text, at, expected) in cases {
            let wanted = wanted();
            let mut scanner = Scanner::new(&wanted, text.as_bytes());
            assert_eq!(scanner.record(0, text.len()), Err(Fault { at, expected }), "{text}");
        }
    }

    #[test]
    fn nesting_is_taken_up_to_its_limit() {
        let deep = format!("{}{}", "[{\"a\":".repeat(64), "1}]".repeat(64).replace("1}]1}]", "}]}]"));
        let deep = deep.replacen(":}", ":1}", 1);
        assert!(serde_json::from_str::<IgnoredAny>(&deep).is_ok(), "{deep}");
        let wanted = Wanted::new(&[]);
        let mut scanner = Scanner::new(&wanted, deep.as_bytes());
        assert_eq!(scanner.record(0, deep.len()), Ok(()));
    }

    #[test]
    fn of_two_equal_members_the_last_counts_with_what_it_lacks() {
        let text = br#"{"b":{"c":1},"a":1,"b":{"d":2},"a":2,"l":[1],"l":[]}"#;
        let wanted = wanted();
        let mut scanner = Scanner::new(&wanted, text);
        scanner.record(0, text.len()).expect("it is JSON");
        let found: Vec<_> = scanner.found[..4].iter().map(|&found| value(text, found)).collect();
        assert_eq!(found, [Some("2".into()), None, Some("{\"d\":2}".into()), None]);
    }
}
