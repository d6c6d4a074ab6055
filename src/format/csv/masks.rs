//! 64 bytes of CSV at a time, as bit masks: bit `i` stands for byte `i`.

use super::Dialect;
use super::lanes::Lanes;
use super::machine::{Machine, State};

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
    /// Bit 0: the byte before may stand before an opening quote (delimiter or newline).
    border: u64,
    /// Bit 0: the byte before was a closing quote.
    closing: u64,
    /// Bit 0: the next byte is taken literally.
    escaped: u64,
}

impl Carry {
    /// At the beginning of a record.
    pub const START: Carry = Carry {
        inside: 0,
        border: 1,
        closing: 0,
        escaped: 0,
    };

    /// Where the machine would stand. `Junk` and `Unquoted` are one here: both end at the next
    /// delimiter or newline, and a quote in them is odd.
    pub fn machine(self) -> Machine {
        let state = match self {
            Carry { inside: 1.., .. } => State::Quoted,
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
        Carry {
            inside: if machine.state == State::Quoted {
                u64::MAX
            } else {
                0
            },
            border: u64::from(machine.state == State::FieldStart),
            closing: u64::from(machine.state == State::QuoteInQuoted),
            escaped: u64::from(machine.escaped),
        }
    }
}

/// The masks of `bytes`, and what to carry on. If they are odd the carry is not to be used.
#[inline]
pub fn masks(bytes: &[u8; WIDTH], dialect: Dialect, carry: Carry) -> (Masks, Carry) {
    let lanes = Lanes::load(bytes);
    let mut quotes = dialect.quote.map_or(0, |quote| lanes.equal(quote));
    let mut newlines = lanes.equal(b'\n');
    let mut delimiters = lanes.equal(dialect.delimiter);
    let mut special = 0;
    let mut next_escaped = 0;
    if let Some(escape) = dialect
        .escape
        .filter(|escape| dialect.quote != Some(*escape))
    {
        let escapes = lanes.equal(escape);
        if escapes | carry.escaped != 0 {
            let literal;
            (literal, next_escaped) = escaped_by(escapes, carry.escaped);
            quotes &= !literal;
            newlines &= !literal;
            delimiters &= !literal;
            special = (escapes & !literal) | literal;
        }
    }
    let inside = prefix_xor(quotes) ^ carry.inside;
    let opening = quotes & inside;
    let closing = quotes & !inside;
    newlines &= !inside;
    delimiters &= !inside;
    let borders = newlines | delimiters;
    let behind_border = borders << 1 | carry.border;
    let behind_closing = closing << 1 | carry.closing;
    let doubled = opening & behind_closing;
    special |= doubled;
    // `carry.border` at the start of a field survives only one byte, so an escape before the first
    // quote makes that quote odd, as it should.
    let odd = opening & !behind_border & !behind_closing != 0;
    let carry = Carry {
        inside: if inside >> (WIDTH - 1) == 1 {
            u64::MAX
        } else {
            0
        },
        border: borders >> (WIDTH - 1),
        closing: closing >> (WIDTH - 1),
        escaped: next_escaped,
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
