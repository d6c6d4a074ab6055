//! Generated rows and the CSV files that hold them. One wide table serves every kind: keys that stand
//! several times or are null, numbers at the ends of their range, text with everything that has to be
//! quoted or escaped, dates of several formats and of none, degrees in and out of range.

use std::io::Write;
use std::ops::RangeInclusive;

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

/// How a CSV file is written.
pub(super) struct Style {
    pub(super) delimiter: char,
    pub(super) quote: char,
    pub(super) escape: Option<char>,
    /// What stands for null; an empty text is null too if this has it.
    pub(super) nulls: Vec<&'static str>,
    pub(super) header: bool,
    pub(super) crlf: bool,
    /// Lines before the header.
    pub(super) skipped: usize,
    /// One byte a character.
    pub(super) latin: bool,
    /// So many records in a hundred cannot be used.
    pub(super) broken: usize,
}

impl Style {
    /// What needs no option.
    pub(super) fn plain() -> Self {
        Style {
            delimiter: ',',
            quote: '"',
            escape: None,
            nulls: vec![""],
            header: true,
            crlf: false,
            skipped: 0,
            latin: false,
            broken: 0,
        }
    }

    /// Any.
    pub(super) fn any(random: &mut Random) -> Self {
        let header = random.chance(70);
        Style {
            delimiter: random.pick(&[',', ',', ';', '\t', '|']),
            quote: random.pick(&['"', '"', '\'']),
            escape: random.pick(&[None, Some('\\')]),
            nulls: random.pick(&[vec![""], vec!["", "-"], vec!["NULL"]]),
            header,
            crlf: random.chance(20),
            skipped: if header { random.pick(&[0, 0, 2]) } else { 0 },
            latin: random.chance(15),
            broken: random.pick(&[0, 4, 20]),
        }
    }

    /// The options of `load_csv` that tell of it.
    pub(super) fn options(&self) -> Vec<(&'static str, Value)> {
        let mut options = vec![
            ("delimiter", json!(self.delimiter)),
            ("quote", json!(self.quote)),
            ("null_values", json!(self.nulls)),
            ("skip_rows", json!(self.skipped)),
        ];
        if let Some(escape) = self.escape {
            options.push(("escape", json!(escape)));
        }
        if !self.header {
            options.push(("columns", json!(COLUMNS.map(|(name, _)| name))));
        }
        if self.latin {
            options.push(("encoding", json!("latin1")));
        }
        options
    }

    /// The text of a file with these rows.
    pub(super) fn write(&self, random: &mut Random, rows: &[Vec<Value>]) -> Vec<u8> {
        let end = if self.crlf { "\r\n" } else { "\n" };
        let mut text = if self.latin || random.chance(90) {
            String::new()
        } else {
            '\u{feff}'.to_string()
        };
        text.extend((0..self.skipped).map(|line| format!("skipped \" {line}{end}")));
        if self.header {
            let names = COLUMNS
                .map(|(name, _)| name)
                .join(&self.delimiter.to_string());
            text += &(names + end);
        }
        for row in rows {
            if random.chance(3) {
                text += end;
            }
            let fields: Vec<String> = row.iter().map(|value| self.field(random, value)).collect();
            text += &if random.chance(self.broken) {
                self.broken(random, fields)
            } else {
                fields.join(&self.delimiter.to_string())
            };
            text += end;
        }
        if random.chance(30) && !rows.is_empty() {
            text.truncate(text.len() - end.len());
        }
        self.bytes(&text)
    }

    fn field(&self, random: &mut Random, value: &Value) -> String {
        let text = match value {
            Value::Null => random.pick(&self.nulls).to_owned(),
            Value::String(text) => text.clone(),
            number => number.to_string(),
        };
        let special = |c| c == self.delimiter || c == '\n' || c == '\r';
        let quoted = text.contains(special) || text.starts_with(self.quote) || random.chance(25);
        let mut field = String::new();
        for c in text.chars() {
            if Some(c) == self.escape {
                field.push(c);
            } else if quoted && c == self.quote {
                field.push(self.escape.filter(|_| random.chance(50)).unwrap_or(c));
            }
            field.push(c);
        }
        if quoted {
            field = format!("{0}{field}{0}", self.quote);
        }
        field
    }

    /// A record that cannot be used.
    fn broken(&self, random: &mut Random, mut fields: Vec<String>) -> String {
        match random.below(6) {
            0 => fields.truncate(2),
            1 => fields.push("one too many".into()),
            2 => fields[2] = "12x".into(),
            3 => fields[4] = "nan".into(),
            4 => fields[6] = format!("{0}closed{0} and more", self.quote),
            _ => fields[7] = NOT_UTF8.to_string(),
        }
        fields.join(&self.delimiter.to_string())
    }

    fn bytes(&self, text: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(text.len());
        for c in text.chars() {
            match u8::try_from(c) {
                Ok(byte) if self.latin => bytes.push(byte),
                _ if c == NOT_UTF8 => bytes.push(0xff),
                _ if self.latin => bytes.push(b'?'),
                _ => bytes.extend(c.to_string().bytes()),
            }
        }
        bytes
    }
}

/// Stands for a byte that no UTF-8 text has (a character that is in no other text here).
const NOT_UTF8: char = '\u{e000}';

/// `bytes` as gzip, sometimes of several members.
pub(super) fn gzip(random: &mut Random, bytes: &[u8]) -> Vec<u8> {
    let at = if random.chance(50) {
        random.below(bytes.len() + 1)
    } else {
        bytes.len()
    };
    let (first, second) = bytes.split_at(at);
    let mut members = member(first);
    if !second.is_empty() {
        members.extend(member(second));
    }
    members
}

/// `bytes` as one member of gzip.
pub(super) fn member(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}
