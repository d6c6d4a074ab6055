//! Generated JSON records, one a line or as a list in one value, with what a program that writes them may do:
//! members in any order, left out or twice, escapes where none are needed, blanks, values of other types.

use serde_json::{Value, json};

use super::data::{COLUMNS, Random};

/// How records stand in a file.
pub(super) struct Layout {
    /// Whether they are one list, and what leads to it.
    pub(super) list: Option<&'static str>,
    /// So many records in a hundred cannot be used.
    pub(super) broken: usize,
}

impl Layout {
    /// Any.
    pub(super) fn any(random: &mut Random) -> Self {
        Layout {
            list: random.pick(&[None, None, Some(""), Some("/data/items"), Some("/1/r~1s")]),
            broken: random.pick(&[0, 4, 20]),
        }
    }

    /// The options that tell of it.
    pub(super) fn options(&self) -> Vec<(&'static str, Value)> {
        match self.list {
            None => Vec::new(),
            Some(pointer) => vec![("format", json!("json")), ("records", json!(pointer))],
        }
    }

    /// The text of a file with these rows; the first record has all members.
    pub(super) fn write(&self, random: &mut Random, rows: &[Vec<Value>]) -> Vec<u8> {
        let (open, between, close) = match self.list {
            None => ("", "\n", "\n"),
            Some("") => ("[", ",", "]"),
            Some("/data/items") => (
                r#"{"n": [1.5e3], "data": {"items": ["#,
                ",\n",
                "], \"more\": null}}\n",
            ),
            Some(_) => (r#"[{"r/s": 1}, {"r": "]", "r\/s": [ "#, "\n,", "]}]"),
        };
        let mut text = random.pick(&["", "", "\u{feff}"]).as_bytes().to_vec();
        text.extend(open.bytes());
        for (number, row) in rows.iter().enumerate() {
            if number > 0 {
                text.extend(between.bytes());
                if self.list.is_none() {
                    text.extend(random.pick(&["", "", "", "\n", " \r\n"]).bytes());
                }
            }
            let is_first = number == 0;
            let record = record(random, row, is_first);
            if !is_first && random.chance(self.broken) {
                text.extend(self.broken(random, &record));
            } else {
                text.extend(record.bytes());
            }
            text.extend(random.pick(&["", "", " ", "\r"]).bytes());
        }
        text.extend(close.bytes());
        if self.list.is_none() && random.chance(30) {
            text.pop();
        }
        text
    }

    /// A record that cannot be used, or not as it was meant.
    fn broken(&self, random: &mut Random, record: &str) -> Vec<u8> {
        let half = record[..record.floor_char_boundary(record.len() / 2)].to_owned();
        let broken = match random.below(8) {
            // Half a record swallows what follows it in a list.
            0 if self.list.is_none() => half,
            1 => format!("{record} {record}"),
            2 => record.replacen(':', " ", 1),
            3 => record.replacen('"', "'", 2),
            4 => "[1, {\"id\": 2}]".to_owned(),
            5 => record.replacen('{', "{\"n\": NaN, ", 1),
            6 => record.replacen('{', "{\"x\": 01, ", 1),
            _ => {
                let mut bytes = record.as_bytes().to_vec();
                bytes.splice(1..1, b"\"\xff\": 1,".iter().copied());
                return bytes;
            }
        };
        broken.into_bytes()
    }
}

/// One record.
fn record(random: &mut Random, row: &[Value], has_all: bool) -> String {
    let blank = random.pick(&["", "", " "]);
    let mut members = Vec::new();
    for ((name, _), value) in COLUMNS.iter().zip(row) {
        if value.is_null() && !has_all && random.chance(60) {
            continue;
        }
        let written = match value {
            Value::String(text) => string(random, text),
            // A typed column takes a text as well.
            number if random.chance(10) && !number.is_null() => format!("\"{number}\""),
            value => value.to_string(),
        };
        let member = format!("{}{blank}:{blank}{written}", string(random, name));
        if random.chance(4) {
            members.push(format!("\"{name}\":[{{\"{name}\":[]}}]"));
        }
        members.push(member);
    }
    if random.chance(15) {
        members.push(
            r#""deep":{"list":[1.50,{"text":"a\u00e9\"b"}],"n":12345678901234567890}"#.into(),
        );
    }
    if random.chance(10) && !has_all {
        members.push(format!("\"later {}\":true", random.below(12)));
    }
    if random.chance(15) {
        members.reverse();
    }
    format!("{{{blank}{}{blank}}}", members.join(","))
}

/// A text, now and then with escapes that are not needed.
fn string(random: &mut Random, text: &str) -> String {
    if !random.chance(10) {
        return Value::from(text).to_string();
    }
    let units: Vec<String> = text
        .encode_utf16()
        .map(|unit| format!("\\u{unit:04x}"))
        .collect();
    format!("\"{}\"", units.concat())
}
