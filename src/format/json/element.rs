//! An element of a list: where it ends, as it is read piece by piece.

/// How far an element was read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Element {
    /// Open brackets.
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The blanks that it ends with as far as it was read: they may be none of it.
    pub(super) blanks: usize,
}

impl Element {
    /// Reads on; where the comma or bracket stands that ends the element.
    pub(super) fn read(&mut self, text: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < text.len() {
            if self.escaped {
                self.escaped = false;
                at += 1;
                continue;
            }
            if self.in_string {
                let Some(found) = memchr::memchr2(b'"', b'\\', &text[at..]) else {
                    break;
                };
                at += found;
                self.in_string = text[at] == b'\\';
                self.escaped = self.in_string;
                at += 1;
                continue;
            }
            match text[at] {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b',' | b']' if self.depth == 0 => return Some(at),
                // One that closes nothing is the element's fault.
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            at += 1;
        }
        let blanks = match text.iter().rev().position(|&byte| !is_blank(byte)) {
            None => self.blanks + text.len(),
            Some(blanks) => blanks,
        };
        let is_inside = self.in_string || self.depth > 0;
        self.blanks = if is_inside { 0 } else { blanks };
        None
    }
}

/// Whether a byte is a blank of JSON.
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}
