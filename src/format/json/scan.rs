//! The scanner: one pass over a record's bytes that checks them against RFC 8259, all of them, and notes
//! where the values lie that are wanted. It makes no tree and copies nothing: a value is a place in the text.
//!
//! Two things make it fast. Quotes, backslashes and control characters are found 64 bytes at a time, so
//! that a text is passed over without a look at each byte. And the members of a record mostly come in the
//! order of the record before, so that a name is first compared with the one that comes next.

mod values;

use std::borrow::Cow;
use std::ops::Range;

use super::escapes::unescape;
use super::wanted::{Node, Wanted};

/// Deeper nesting is refused, as most readers do: a bit of a word stands for each level.
pub const DEPTH_MAX: u32 = 128;

/// That limit in words, after "expected".
pub(super) const DEPTH_WORDS: &str = "at most 128 levels of lists and objects";

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
            found: vec![Found::default(); wanted.slots()],
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
            return Err(self.refuse(DEPTH_WORDS));
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
    fn name(
        &mut self,
        node: &Node,
        order: &mut [usize],
        before: usize,
    ) -> Result<Option<usize>, Refused> {
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

    /// A name that was not expected next.
    fn unexpected_name(&mut self, node: &Node) -> Result<Option<usize>, Refused> {
        let from = self.at;
        let kind = self.string()?;
        let name = &self.text[from..self.at - 1];
        let name = match kind {
            Kind::Escaped => {
                let Some(name) = unescape(name) else {
                    self.at = from;
                    return Err(self.refuse(WHOLE_NAME));
                };
                Some(Cow::Owned(name))
            }
            _ => str::from_utf8(name).ok().map(Cow::Borrowed),
        };
        Ok(name.and_then(|name| node.by_name.get(name.as_ref()).copied()))
    }
}

/// In an order: before all members.
const FIRST: usize = 0;

/// So many of the members that may come are compared with a name before it is looked up.
const AHEAD: usize = 8;

const NAME: &str = "a name in quotes";
const WHOLE_NAME: &str = "a name without half a character (`\\uD800` to `\\uDFFF` stand in pairs)";
const NAME_OR_END: &str = "a name in quotes or `}`";
const COMMA_OR_BRACE: &str = "`,` or `}`";
const COMMA_OR_BRACKET: &str = "`,` or `]`";

#[cfg(test)]
mod tests {
    use super::super::raw::Pointer;
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
            let member = member.prop_map(|(name, blank, value)| {
                format!("{blank}{name}{blank}:{blank}{value}{blank}")
            });
            prop_oneof![
                prop::collection::vec(inner, 0..4).prop_map(|all| format!("[{}]", all.join(", "))),
                prop::collection::vec(member, 0..6)
                    .prop_map(|all| format!("{{{}}}", all.join(","))),
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
            // The model looks at no name, and what follows such a one is not scanned.
            if !scanned.is_err_and(|fault| fault.expected == WHOLE_NAME) {
                prop_assert_eq!(scanned.is_ok(), model.is_ok(), "{:?} {:?}", scanned, model);
            }
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
            (
                "{\"a\":\"\t\"}",
                6,
                "a control character written as an escape",
            ),
            (
                "{\"a\":\"\\x\"}",
                7,
                "one of `\"\\/bfnrtu` after a backslash",
            ),
            (
                "{\"a\":\"\\u12g4\"}",
                10,
                "four hexadecimal digits after `\\u`",
            ),
            ("{\"a\":1} {\"a\":2}", 8, "the end of the record"),
            ("{'a':1}", 1, "a name in quotes or `}`"),
            ("{\"a\":1,\"\\ud800\":1}", 8, WHOLE_NAME),
            (
                deep.as_str(),
                128,
                "at most 128 levels of lists and objects",
            ),
        ];
        for (text, at, expected) in cases {
            let wanted = wanted();
            let mut scanner = Scanner::new(&wanted, text.as_bytes());
            assert_eq!(
                scanner.record(0, text.len()),
                Err(Fault { at, expected }),
                "{text}"
            );
        }
    }

    #[test]
    fn nesting_is_taken_up_to_its_limit() {
        let deep = format!(
            "{}{}",
            "[{\"a\":".repeat(64),
            "1}]".repeat(64).replace("1}]1}]", "}]}]")
        );
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
        let found: Vec<_> = scanner.found[..4]
            .iter()
            .map(|&found| value(text, found))
            .collect();
        assert_eq!(
            found,
            [Some("2".into()), None, Some("{\"d\":2}".into()), None]
        );
    }
}
