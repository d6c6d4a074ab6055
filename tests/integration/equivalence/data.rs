//! Generated rows. One wide table serves every kind: keys that stand
//! several times or are null, numbers at the ends of their range, text with everything that has to be
//! quoted or escaped, dates of several formats and of none, degrees in and out of range.

use std::io::Write;
use std::ops::RangeInclusive;

use etl::format::compression::Codec;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// Numbers that are the same in every run (splitmix64).
pub(super) struct Random(u64);

impl Random {
    /// A generator of its own for each seed and name (FNV-1a).
    pub(super) fn new(seed: u64, name: &str) -> Self {
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let bytes = seed.to_le_bytes().into_iter().chain(name.bytes());
        Random(bytes.fold(0xcbf2_9ce4_8422_2325, mix))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).expect("a usize fits");
        usize::try_from((self.next() >> 8) % limit).expect("it is below a usize")
    }

    /// A number of a range.
    pub(super) fn within(&mut self, range: RangeInclusive<i64>) -> i64 {
        let width = usize::try_from(range.end() - range.start() + 1).expect("ranges are short");
        range.start() + i64::try_from(self.below(width)).expect("it is below the width")
    }

    /// True so many times in a hundred.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `items`.
    pub(super) fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }

    /// At least one of `items`, in any order.
    pub(super) fn some<T: Clone>(&mut self, items: &[T]) -> Vec<T> {
        let mut left = items.to_vec();
        let mut taken = Vec::new();
        for _ in 0..=self.below(items.len()) {
            taken.push(left.swap_remove(self.below(left.len())));
        }
        taken
    }
}

/// The columns of every table and their types.
pub(super) const COLUMNS: [(&str, &str); 9] = [
    ("id", "int"),
    ("k", "string"),
    ("n", "int"),
    ("b", "bool"),
    ("x", "float"),
    ("y", "float"),
    ("t", "string"),
    ("d", "string"),
    ("e", "string"),
];

const KEYS: [&str; 10] = [
    "a",
    "b",
    "k1",
    "k10",
    "é",
    "日本",
    "a,b",
    "00",
    "A",
    "a key longer than any that fits beside its length",
];

const TEXTS: [&str; 16] = [
    "plain",
    "two words",
    "comma, inside",
    "semicolon; inside",
    "a \"quoted\" word",
    "\"",
    "'single'",
    "line\nbreak",
    "carriage\r\nreturn",
    "back\\slash",
    "\\",
    " blanks around ",
    "tab\tinside",
    "äöü ß ÿ",
    "日本語 🦀 e\u{301}",
    "a text that is too long to be kept beside its length, and so lies in a buffer of its own",
];

const DATES: [&str; 10] = [
    "2013-03-02 08:08:03.123",
    "2013-03-02 08:08:03",
    "2013-3-2 8:8:3.5",
    "2013-03-02",
    "2000-02-29",
    "03/02/2013",
    "25/12/2012",
    "2013-03-02T08:08:03+0130",
    "2013-03-02T08:08:03Z",
    "1969-12-31 23:59:59.999999",
];

const NO_DATES: [&str; 6] = [
    "2013-02-30",
    "yesterday",
    "2013-03-02 ",
    "2013-03-02 23:59:60",
    "13-03-02",
    "2013-03-02 08:08:03.1234567",
];

/// A row of [`COLUMNS`].
pub(super) fn row(random: &mut Random, id: i64) -> Vec<Value> {
    let date = |random: &mut Random| match random.below(20) {
        0 => Value::Null,
        1 => random.pick(&NO_DATES).into(),
        // Most in one format, so that stages with that one alone let most rows pass.
        2..12 => format!("2013-03-{:02}", random.within(1..=31)).into(),
        _ => random.pick(&DATES).into(),
    };
    vec![
        id.into(),
        match random.below(7) {
            0 => Value::Null,
            _ => random.pick(&KEYS).into(),
        },
        match random.below(12) {
            0 => Value::Null,
            1 => random.pick(&[i64::MIN, i64::MAX, -129, 40_000]).into(),
            _ => random.within(-3..=4).into(),
        },
        random.pick(&[Value::Null, true.into(), true.into(), false.into()]),
        degrees(random, 90),
        degrees(random, 180),
        match random.below(12) {
            0 => Value::Null,
            1 => "".into(),
            _ => random.pick(&TEXTS).into(),
        },
        date(random),
        date(random),
    ]
}

fn degrees(random: &mut Random, limit: i64) -> Value {
    match random.below(24) {
        0 => Value::Null,
        1 => json!(limit as f64 + 0.000_001),
        2 => json!(-limit as f64 - 200.0),
        3 => json!(limit as f64),
        _ => json!(random.within(-limit..=limit - 1) as f64 + 0.25),
    }
}

/// Some rows with rising ids.
pub(super) fn rows(random: &mut Random, rows_max: usize) -> Vec<Vec<Value>> {
    let few = random.pick(&[0, 1, 2, 17]).min(rows_max);
    let count = if random.chance(20) {
        few
    } else {
        rows_max / 4 + random.below(rows_max)
    };
    (1..).take(count).map(|id| row(random, id)).collect()
}

/// `bytes` as gzip or zstd, sometimes of several members, with the extension that says so.
pub(super) fn compressed(random: &mut Random, bytes: &[u8]) -> (&'static str, Vec<u8>) {
    let at = if random.chance(50) {
        random.below(bytes.len() + 1)
    } else {
        bytes.len()
    };
    let (first, second) = bytes.split_at(at);
    let is_gzip = random.chance(60);
    let pack = if is_gzip { member } else { frame };
    let mut packed = pack(first);
    if !second.is_empty() {
        packed.extend(pack(second));
    }
    (if is_gzip { ".gz" } else { ".zst" }, packed)
}

/// `bytes` as one frame of zstd.
pub(super) fn frame(bytes: &[u8]) -> Vec<u8> {
    Codec::Zstd.member(bytes).expect("memory takes all")
}

/// `bytes` as one member of gzip.
pub(super) fn member(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}
