//! How a CSV file is written: the naive inverse of `load_csv`, field by field, with each of its options. What is
//! written with a style and read with its options must come back.

use encoding_rs::Encoding;
use serde_json::{Map, Value, json};

use super::data::{COLUMNS, Random};

/// How a CSV file is written.
#[derive(Clone)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option, and any may go with any"
)]
pub(super) struct Style {
    delimiter: char,
    quote: char,
    escape: Option<char>,
    /// Escapes count inside quotes only.
    escape_quoted: bool,
    /// What stands for null; an empty text is null too if this has it.
    nulls: Vec<&'static str>,
    header: bool,
    crlf: bool,
    /// Lines before the header.
    skipped: usize,
    /// A first line names the delimiter, which each file has its own of then.
    separator: bool,
    /// Lines that begin with it are comments.
    comment: Option<char>,
    /// Blanks stand around values and quotes.
    trim: bool,
    /// Nulls at the end of a record are left out.
    short: bool,
    /// Each file has its columns in its own order, and may lack those that are null.
    by_name: bool,
    /// Before the fraction, and between three digits.
    decimal: char,
    thousands: Option<char>,
    /// Columns that are JSON.
    pub(super) json: Vec<&'static str>,
    pub(super) encoding: Coded,
    /// So many records in a hundred cannot be used.
    pub(super) broken: usize,
}

/// What a file is in.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Coded {
    Utf8,
    /// A byte order mark says so.
    Utf16Marked,
    /// By this label.
    As(&'static str),
}

impl Style {
    /// What needs no option.
    pub(super) fn plain() -> Self {
        Style {
            delimiter: ',',
            quote: '"',
            escape: None,
            escape_quoted: false,
            nulls: vec![""],
            header: true,
            crlf: false,
            skipped: 0,
            separator: false,
            comment: None,
            trim: false,
            short: false,
            by_name: false,
            decimal: '.',
            thousands: None,
            json: Vec::new(),
            encoding: Coded::Utf8,
            broken: 0,
        }
    }

    /// Plain, but so many records in a hundred cannot be used.
    pub(super) fn broken(percent: usize) -> Self {
        Style {
            broken: percent,
            ..Style::plain()
        }
    }

    /// Any.
    pub(super) fn any(random: &mut Random) -> Self {
        let header = random.chance(70);
        let skipped = if header { random.pick(&[0, 0, 2]) } else { 0 };
        let escape = random.pick(&[None, Some('\\')]);
        let (decimal, thousands) = random.pick(&[
            ('.', None),
            ('.', None),
            (',', Some('.')),
            ('.', Some('\'')),
        ]);
        Style {
            delimiter: random.pick(&[',', ',', ';', '\t', '|']),
            quote: random.pick(&['"', '"', '\'']),
            escape,
            escape_quoted: escape.is_some() && random.chance(30),
            nulls: random.pick(&[vec![""], vec!["", "-"], vec!["NULL"], vec!["", "\\N"]]),
            header,
            crlf: random.chance(20),
            skipped,
            separator: skipped == 0 && random.chance(20),
            comment: random.chance(20).then_some('#'),
            trim: random.chance(20),
            short: random.chance(20),
            by_name: header && random.chance(20),
            decimal,
            thousands,
            encoding: random.pick(&[
                Coded::Utf8,
                Coded::Utf8,
                Coded::Utf8,
                Coded::Utf16Marked,
                Coded::As("latin1"),
                Coded::As("utf-16be"),
                Coded::As("gb18030"),
                Coded::As("shift_jis"),
            ]),
            broken: random.pick(&[0, 4, 20]),
            ..Style::plain()
        }
    }

    /// Any that loses nothing.
    pub(super) fn faithful(random: &mut Random) -> Self {
        let mut style = Style::any(random);
        style.broken = 0;
        if random.chance(30) {
            style.json = random.some(&["n", "b", "x"]);
        }
        if matches!(style.encoding, Coded::As("latin1" | "shift_jis")) {
            style.encoding = Coded::Utf8;
        }
        style
    }

    /// What comes back of a value.
    pub(super) fn read(&self, value: &Value) -> Value {
        let null = value
            .as_str()
            .is_some_and(|text| self.nulls.contains(&text));
        if null { Value::Null } else { value.clone() }
    }

    /// The options of `load_csv` that tell of it.
    pub(super) fn options(&self) -> Vec<(&'static str, Value)> {
        let types: Map<String, Value> = COLUMNS
            .iter()
            .map(|&(name, ty)| {
                let is_json = self.json.contains(&name);
                (name.into(), json!(if is_json { "json" } else { ty }))
            })
            .collect();
        let mut options = vec![
            ("quote", json!(self.quote)),
            ("null_values", json!(self.nulls)),
            ("types", types.into()),
        ];
        let mut add = |is: bool, option, value| {
            if is {
                options.push((option, value));
            }
        };
        add(!self.separator, "delimiter", json!(self.delimiter));
        add(self.skipped > 0, "skip_rows", json!(self.skipped));
        add(self.escape_quoted, "escape_where", json!("quoted"));
        add(self.trim, "trim", json!(true));
        add(self.short, "short_records", json!("null"));
        add(self.by_name, "header_differs", json!("by_name"));
        add(self.decimal != '.', "decimal", json!(self.decimal));
        for (option, value) in [
            ("escape", self.escape),
            ("comment", self.comment),
            ("thousands", self.thousands),
        ] {
            add(value.is_some(), option, json!(value));
        }
        if !self.header {
            options.push(("columns", json!(COLUMNS.map(|(name, _)| name))));
        }
        if let Coded::As(label) = self.encoding {
            options.push(("encoding", json!(label)));
        }
        options
    }

    /// The text of a file with these rows. The first of several has all columns, in their order.
    pub(super) fn write(
        &self,
        random: &mut Random,
        rows: &[Vec<Value>],
        is_first: bool,
    ) -> Vec<u8> {
        let mut style = self.clone();
        if self.separator {
            style.delimiter = random.pick(&[',', ';', '\t', '|']);
        }
        let mut order: Vec<usize> = (0..COLUMNS.len()).collect();
        if self.by_name && !is_first {
            order = shuffled(random, order);
            let has_values = |at: usize| rows.iter().any(|row| !row[at].is_null());
            let first = order[0];
            order.retain(|&at| at == first || has_values(at) || random.chance(50));
        }
        style.text(random, rows, &order)
    }

    fn text(&self, random: &mut Random, rows: &[Vec<Value>], order: &[usize]) -> Vec<u8> {
        let end = if self.crlf { "\r\n" } else { "\n" };
        let delimiter = self.delimiter.to_string();
        let mut text = String::new();
        let marked = match self.encoding {
            Coded::Utf8 => random.chance(10),
            Coded::Utf16Marked => true,
            Coded::As(_) => false,
        };
        if marked {
            text.push('\u{feff}');
        }
        text.extend((0..self.skipped).map(|line| format!("skipped \" {line}{end}")));
        if self.separator {
            text += &format!("sep={delimiter}{end}");
        }
        if self.header {
            self.comment(random, &mut text, end);
            let names: Vec<&str> = order.iter().map(|&at| COLUMNS[at].0).collect();
            text += &(names.join(&delimiter) + end);
        }
        for row in rows {
            if random.chance(3) {
                text += end;
            }
            self.comment(random, &mut text, end);
            let mut shown = order;
            while let [before @ .., last] = shown
                && self.short
                && !before.is_empty()
                && row[*last].is_null()
            {
                shown = before;
            }
            let fields = shown.iter().enumerate();
            let fields: Vec<String> = fields
                .map(|(number, &at)| self.field(random, at, &row[at], number == 0))
                .collect();
            text += &if random.chance(self.broken) {
                self.broken_line(random, fields)
            } else {
                self.line(&fields, order.len())
            };
            text += end;
        }
        if random.chance(30) && !rows.is_empty() {
            text.truncate(text.len() - end.len());
        }
        self.bytes(&text)
    }

    /// A record. One of a single empty field would be an empty line, so that it is quoted.
    fn line(&self, fields: &[String], columns: usize) -> String {
        let line = fields.join(&self.delimiter.to_string());
        let is_one = columns == 1 || fields.len() == 1;
        if is_one && line.trim_matches([' ', '\t']).is_empty() {
            return self.quote.to_string().repeat(2);
        }
        line
    }

    fn comment(&self, random: &mut Random, text: &mut String, end: &str) {
        if let Some(comment) = self.comment.filter(|_| random.chance(10)) {
            *text += &format!("{comment} it's \"one{end}");
        }
    }

    fn field(&self, random: &mut Random, at: usize, value: &Value, is_first: bool) -> String {
        let (name, ty) = COLUMNS[at];
        let text = match value {
            // With an escape it is null as it stands, and without quotes only.
            Value::Null => match random.pick(&self.nulls) {
                null if null.starts_with('\\') && self.escape.is_some() => return null.to_owned(),
                null => null.to_owned(),
            },
            Value::String(text) => text.clone(),
            number if ty == "bool" || self.json.contains(&name) => number.to_string(),
            number => self.number(random, &number.to_string()),
        };
        let blank = |c: char| c == ' ' || c == '\t';
        let special = |c| c == self.delimiter || c == '\n' || c == '\r';
        let must_quote = text.contains(special)
            || text.starts_with(self.quote)
            || self.trim && (text.starts_with(blank) || text.ends_with(blank))
            || is_first
                && self
                    .comment
                    .is_some_and(|comment| text.starts_with(comment));
        let quoted = must_quote || random.chance(25);
        let escape = self.escape.filter(|_| quoted || !self.escape_quoted);
        let mut field = String::new();
        for c in text.chars() {
            if Some(c) == escape {
                field.push(c);
            } else if quoted && c == self.quote {
                field.push(escape.filter(|_| random.chance(50)).unwrap_or(c));
            }
            field.push(c);
        }
        if quoted {
            field = format!("{0}{field}{0}", self.quote);
        }
        if self.trim && self.delimiter != '\t' && random.chance(30) {
            field = format!(" {field}\t");
        }
        field
    }

    /// A number as this style has it.
    fn number(&self, random: &mut Random, plain: &str) -> String {
        let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
        let mut text = whole.to_owned();
        if let Some(thousands) = self.thousands.filter(|_| random.chance(70)) {
            let digits = whole.trim_start_matches('-').len();
            for from_end in (3..digits).step_by(3) {
                text.insert(whole.len() - from_end, thousands);
            }
        }
        if !fraction.is_empty() {
            text.push(self.decimal);
            text += fraction;
        }
        text
    }

    /// A record that cannot be used.
    fn broken_line(&self, random: &mut Random, mut fields: Vec<String>) -> String {
        let at = random.below(fields.len());
        match random.below(6) {
            0 => fields.truncate(2),
            1 => fields.extend([const { String::new() }; COLUMNS.len()]),
            2 => fields[at] = "12x".into(),
            3 => fields[at] = "nan".into(),
            4 => fields[at] = format!("{0}closed{0} and more", self.quote),
            _ => fields[at] = BROKEN.to_string(),
        }
        fields.join(&self.delimiter.to_string())
    }

    fn bytes(&self, text: &str) -> Vec<u8> {
        let label = match self.encoding {
            Coded::Utf8 => "utf-8",
            Coded::Utf16Marked => "utf-16le",
            Coded::As(label) => label,
        };
        let mut bytes = Vec::with_capacity(text.len());
        for c in text.chars() {
            let mut units = [0; 2];
            match label {
                "utf-16le" if c == BROKEN => bytes.extend([0, 0xd8]),
                "utf-16be" if c == BROKEN => bytes.extend([0xd8, 0]),
                _ if c == BROKEN => bytes.push(0xff),
                "utf-16le" => bytes.extend(
                    c.encode_utf16(&mut units)
                        .iter()
                        .flat_map(|unit| unit.to_le_bytes()),
                ),
                "utf-16be" => bytes.extend(
                    c.encode_utf16(&mut units)
                        .iter()
                        .flat_map(|unit| unit.to_be_bytes()),
                ),
                _ => {
                    let encoding = Encoding::for_label(label.as_bytes()).expect("it is a label");
                    let text = c.to_string();
                    let (coded, _, unknown) = encoding.encode(&text);
                    bytes.extend_from_slice(if unknown { b"?" } else { &coded });
                }
            }
        }
        bytes
    }
}

fn shuffled(random: &mut Random, mut items: Vec<usize>) -> Vec<usize> {
    let mut shuffled = Vec::new();
    while !items.is_empty() {
        shuffled.push(items.swap_remove(random.below(items.len())));
    }
    shuffled
}

/// Stands for bytes that no text of the encoding has (a character that is in no other text here).
const BROKEN: char = '\u{e000}';
