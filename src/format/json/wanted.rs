//! What is wanted of each record, as a tree of the pointers to it, so that a record is walked once however many there are.

use std::collections::HashMap;

use super::raw::Pointer;

/// The values that are wanted of each record.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub(super) nodes: Vec<Node>,
    slots: usize,
}

/// A value on the way to those that are wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    /// The slots that want this very value.
    pub(super) here: Vec<usize>,
    /// The slot that wants it, if it is one and nothing in it is wanted.
    pub(super) only_slot: Option<usize>,
    /// The slots that want something in it.
    pub(super) below: Vec<usize>,
    /// What is wanted in it, by name.
    pub(super) members: Vec<Member>,
    pub(super) by_name: HashMap<String, usize>,
    /// What is wanted in it, by number, and its node.
    pub(super) elements: Vec<(usize, usize)>,
}

/// A name, ready to be compared with the bytes after a quote.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// The name as JSON writes it, and the quote that closes it; empty if that needs an escape.
    pub(super) quoted: Vec<u8>,
    /// Its first 16 bytes, and which of their bits count.
    head: u128,
    mask: u128,
    /// Its last 16 bytes, if it is longer.
    tail: u128,
    pub(super) node: usize,
}

impl Member {
    fn new(name: &str, node: usize) -> Self {
        let plain = !name
            .bytes()
            .any(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\'));
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
            tail: quoted
                .last_chunk()
                .map_or(0, |tail| u128::from_le_bytes(*tail)),
            quoted,
            node,
        }
    }

    /// Whether `text`, what follows a quote, begins with this name.
    #[inline]
    pub(super) fn is_at(&self, text: &[u8]) -> bool {
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
