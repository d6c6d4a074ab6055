//! 64 bytes of CSV at a time, as bit masks: bit `i` stands for byte `i`.

use super::lanes::Lanes;
use super::machine::{Machine, State};
use super::{Dialect, EscapeWhere};

/// Bytes looked at in one step.
pub const WIDTH: usize = super::lanes::WIDTH;

/// What 64 bytes hold.
#[derive(Debug, Clone, Copy)]
pub struct Masks {
    /// Newlines that end a record.
    pub newlines: u64,
    /// Delimiters that end a field.
    pub delimiters: u64,
    /// Escapes and doubled quotes: their field must be decoded.
    pub special: u64,
    /// A quote stands where these masks cannot tell what it means: ask the [`Machine`].
    pub odd: bool,
}

/// What is carried from 64 bytes to the next.
#[derive(Debug, Clone, Copy)]
pub struct Carry {
    /// All ones inside quotes.
    inside: u64,
    /// Bit 0: the byte before may stand before an opening quote (delimiter, newline, blanks after these).
    border: u64,
    /// Bit 0: a record begins here. Kept only for dialects that are not simple.
    record: u64,
    /// Bit 0: the byte before was a closing quote.
    closing: u64,
    /// Bit 0: the next byte is taken literally.
    escaped: u64,
    /// In a comment, where the machine alone goes on.
    comment: bool,
}

impl Carry {
    /// At the beginning of a record.
    pub const START: Carry = Carry {
        inside: 0,
        border: 1,
        record: 1,
        closing: 0,
        escaped: 0,
        comment: false,
    };

    /// Where the machine would stand. `Junk`, `Closed` and `Unquoted` are one here: all end at the next
    /// delimiter or newline, and a quote in them is odd.
    pub fn machine(self) -> Machine {
        let state = match self {
            Carry { comment: true, .. } => State::Comment,
            Carry { inside: 1.., .. } => State::Quoted,
            Carry { record: 1, .. } => State::RecordStart,
            Carry { border: 1, .. } => State::FieldStart,
            Carry { closing: 1, .. } => State::QuoteInQuoted,
            _ => State::Unquoted,
        };
        Machine {
            state,
            escaped: self.escaped == 1,
        }
    }

    /// The carry that stands for a machine's position.
    pub fn of(machine: Machine) -> Carry {
        let is = |state| u64::from(machine.state == state);
        Carry {
            inside: 0u64.wrapping_sub(is(State::Quoted)),
            border: is(State::FieldStart) | is(State::RecordStart),
            record: is(State::RecordStart),
            closing: is(State::QuoteInQuoted),
            escaped: u64::from(machine.escaped),
            comment: machine.state == State::Comment,
        }
    }
}

/// The masks of `bytes`, and what to carry on. If they are odd the carry is not to be used. `SIMPLE` says that
/// the dialect is so: what the others need costs nothing then.
#[inline]
pub fn masks<const SIMPLE: bool>(
    bytes: &[u8; WIDTH],
    dialect: Dialect,
    carry: Carry,
) -> (Masks, Carry) {
    let lanes = Lanes::load(bytes);
    let mut quotes = dialect.quote.map_or(0, |quote| lanes.equal(quote));
    let mut newlines = lanes.equal(b'\n');
    let mut delimiters = lanes.equal(dialect.delimiter);
    let mut special = 0;
    let mut escaping = 0;
    let mut next_escaped = 0;
    if let Some(escape) = dialect.own_escape() {
        let escapes = lanes.equal(escape);
        if escapes | carry.escaped != 0 {
            let literal;
            (literal, next_escaped) = escaped_by(escapes, carry.escaped);
            quotes &= !literal;
            newlines &= !literal;
            delimiters &= !literal;
            escaping = escapes & !literal;
            special = escaping | literal;
        }
    }
    let inside = prefix_xor(quotes) ^ carry.inside;
    let opening = quotes & inside;
    let closing = quotes & !inside;
    newlines &= !inside;
    delimiters &= !inside;
    let borders = newlines | delimiters;
    let mut behind_border = borders << 1 | carry.border;
    let mut next_border = borders >> (WIDTH - 1);
    let behind_closing = closing << 1 | carry.closing;
    let doubled = opening & behind_closing;
    special |= doubled;
    let mut next_record = 0;
    let mut strange = false;
    if !SIMPLE {
        let records = newlines << 1 | carry.record;
        next_record = newlines >> (WIDTH - 1);
        if dialect.trim {
            let blanks = blanks(&lanes, dialect);
            let (after, overflow) = after_runs(blanks, behind_border);
            behind_border |= after;
            next_border |= overflow;
        }
        let comments = dialect.comment.map_or(0, |comment| lanes.equal(comment));
        // As long as every escape stands inside quotes, where it counts makes no difference.
        let outside = match dialect.escape_where {
            EscapeWhere::Anywhere => 0,
            EscapeWhere::Quoted => escaping & !inside,
        };
        strange = comments & records | outside != 0 || carry.comment;
    }
    // `carry.border` at the start of a field survives only one byte, so an escape before the first
    // quote makes that quote odd, as it should.
    let odd = strange || opening & !behind_border & !behind_closing != 0;
    let carry = Carry {
        inside: if inside >> (WIDTH - 1) == 1 {
            u64::MAX
        } else {
            0
        },
        border: next_border,
        record: next_record,
        closing: closing >> (WIDTH - 1),
        escaped: next_escaped,
        comment: false,
    };
    (
        Masks {
            newlines,
            delimiters,
            special,
            odd,
        },
        carry,
    )
}

/// The blanks that count for nothing around a value.
fn blanks(lanes: &Lanes, dialect: Dialect) -> u64 {
    let of = |byte| {
        if dialect.is_blank(byte) {
            lanes.equal(byte)
        } else {
            0
        }
    };
    of(b' ') | of(b'\t')
}

/// The bytes after those runs of `bits` that begin at one of `starts`, by one addition, and whether the
/// first of the next 64 is one.
fn after_runs(bits: u64, starts: u64) -> (u64, u64) {
    let (sum, overflow) = bits.overflowing_add(starts & bits);
    (sum & !bits, u64::from(overflow))
}

/// The bytes that an escape stands before, and whether one stands before the next 64 (simdjson's
/// way of finding runs of odd length, by one addition).
fn escaped_by(escapes: u64, carried: u64) -> (u64, u64) {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    let escapes = escapes & !carried;
    let follows = escapes << 1 | carried;
    let odd_starts = escapes & !EVEN & !follows;
    let (sequences, overflow) = odd_starts.overflowing_add(escapes);
    let literal = (EVEN ^ (sequences << 1)) & follows;
    (literal, u64::from(overflow))
}

/// Bit `i` of the result: whether an odd number of bits up to and including `i` is set.
#[inline]
fn prefix_xor(mut bits: u64) -> u64 {
    bits ^= bits << 1;
    bits ^= bits << 2;
    bits ^= bits << 4;
    bits ^= bits << 8;
    bits ^= bits << 16;
    bits ^ bits << 32
}
