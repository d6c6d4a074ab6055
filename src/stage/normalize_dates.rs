//! `normalize_dates`: text columns become dates, each value by the first format that fits it.
//!
//! A shared column is parsed once per session for its shared rows and stays shared; which format
//! fitted, and whether any did, is then looked up for each row of a batch, so that a faulty shared row
//! counts for the rows that have it, and for none if none has.

use std::sync::Arc;

use polars_arrow::array::Utf8ViewArray;
use polars_arrow::bitmap::Bitmap;
use serde::Deserialize;

use super::{
    Counts, Folder, NULLED, OnError, Output, Partitioning, Reject, Session, Setup, Stage,
    StageKind, TaskContext,
};
use crate::batch::{Batch, Cells, Once, look_up};
use crate::columns::Column;
use crate::error::{Error, OfValue, Result};
use crate::format::dates::Format;
use crate::schema::{Schema, Type, list};

/// The kind.
pub const KIND: StageKind = StageKind {
    name: "normalize_dates",
    summary: "turns text columns into dates",
    inputs: &[1],
    sink: false,
    takes_batch_rows: true,
    options: super::stage_options!(Options),
    example: r#"
[[stage]]
name = "dates"
kind = "normalize_dates"
inputs = ["donations"]
columns = ["donation_timestamp"]
formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d"]
on_error = "reject"
"#,
    decode,
    ..StageKind::BASE
};

#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// the columns that hold dates; one that is a date already passes
    #[schemars(extend("x-type" = "list of columns"))]
    columns: Vec<String>,
    /// as in Python's strptime, `%s` (`%3s`, `%6s`, `%9s`) for seconds since 1970, `%9f` for up to nine digits of a second; the first that fits a whole value wins
    #[schemars(extend("x-type" = "list of formats"))]
    #[serde(default = "default_formats")]
    formats: Vec<String>,
    /// what becomes of a row with a value that no format fits
    #[serde(default)]
    on_error: OnError,
}

fn default_formats() -> Vec<String> {
    vec!["%Y-%m-%d %H:%M:%S%.f".into(), "%Y-%m-%d".into()]
}

fn decode(table: toml::Table) -> Result<Box<dyn Stage>> {
    let options: Options = super::options(table)?;
    if options.columns.is_empty() {
        return Err(Error::usage("`columns` is empty")
            .hint("name the columns that hold dates")
            .of(["columns"]));
    }
    if options.formats.is_empty() || options.formats.len() >= usize::from(UNPARSED) {
        return Err(Error::usage(format!(
            "`formats` has {} formats, and 1 to {} are expected",
            options.formats.len(),
            UNPARSED - 1
        ))
        .hint("leave `formats` out for the usual ones")
        .of(["formats"]));
    }
    let formats = options.formats.iter().map(|format| {
        let compiled = Format::compile(format);
        compiled.map_err(|error| error.about("formats").of(["formats", format]))
    });
    let formats = formats.collect::<Result<Vec<_>>>()?;
    let first = &formats[0];
    if let Some(other) = formats
        .iter()
        .find(|format| format.zoned() != first.zoned())
    {
        let (with, without) = if first.zoned() {
            (first, other)
        } else {
            (other, first)
        };
        return Err(Error::usage(format!(
            "`formats`: `{}` has a zone and `{}` has none",
            with.text(),
            without.text()
        ))
        .hint("a column is either in UTC or without a zone: use formats of one sort in a stage")
        .of(["formats", without.text()]));
    }
    Ok(Box::new(NormalizeDates {
        columns: options.columns,
        formats: formats.into(),
        on_error: options.on_error,
    }))
}

struct NormalizeDates {
    columns: Vec<String>,
    formats: Arc<[Format]>,
    on_error: OnError,
}

impl NormalizeDates {
    /// The positions of the columns that are text, from left to right.
    fn positions(&self, input: &Schema) -> Result<Vec<usize>> {
        let mut positions = input.indices(&self.columns).under("columns")?;
        for &i in &positions {
            let field = &input.fields[i];
            if !matches!(field.ty, Type::String | Type::Date { .. }) {
                return Err(Error::usage(format!(
                    "column `{}` is of type {}: a string is expected",
                    field.name,
                    field.ty.name()
                ))
                .hint("take it out of `columns`, or let `types` of `load_csv` make it a string")
                .of(["columns", &field.name]));
            }
        }
        positions.retain(|&i| input.fields[i].ty == Type::String);
        positions.sort_unstable();
        positions.dedup();
        Ok(positions)
    }
}

impl Stage for NormalizeDates {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        let mut output = inputs[0].clone();
        let utc = self.formats[0].zoned();
        for i in self.positions(&output)? {
            output.fields[i].ty = Type::Date { utc };
        }
        Ok(output)
    }

    fn lint(&self, _inputs: &[Schema], _folder: &Folder) -> Vec<String> {
        let texts: Vec<&str> = self.formats.iter().map(Format::text).collect();
        let swapped = |text: &str| {
            let marked = text.replace("%d", "%\0").replace("%m", "%d");
            marked.replace("%\0", "%m")
        };
        let pairs = texts.iter().enumerate().filter_map(|(at, first)| {
            let other = swapped(first);
            let later = texts[at + 1..].contains(&other.as_str());
            (later && other != *first).then_some((first, other))
        });
        let in_words = |(first, other)| {
            format!(
                "`{first}` and `{other}` both fit a day up to 12: the first is taken, so that `01/02` and \
                 `13/02` are read by two rules"
            )
        };
        pairs.map(in_words).collect()
    }

    fn open(&self, setup: Setup) -> Result<Box<dyn Session>> {
        let [input] = <[Schema; 1]>::try_from(setup.inputs).expect("the kind takes one input");
        Ok(Box::new(Normalizing {
            columns: self.positions(&input)?,
            input,
            formats: self.formats.clone(),
            on_error: self.on_error,
            shared: Once::default(),
        }))
    }
}

/// In [`Parsed::states`]: no value. Other numbers are a format's position from 1.
const NULL: u8 = 0;
/// In [`Parsed::states`]: no format fits.
const UNPARSED: u8 = u8::MAX;

/// A column parsed.
struct Parsed {
    column: Column,
    /// What became of each value.
    states: Vec<u8>,
}

struct Normalizing {
    input: Schema,
    columns: Vec<usize>,
    formats: Arc<[Format]>,
    on_error: OnError,
    /// By set of shared rows and column.
    shared: Once<(u64, usize), Parsed>,
}

impl Session for Normalizing {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        let mut cells = batch.cells().to_vec();
        let mut counts = Counts::default();
        let mut states = Vec::with_capacity(self.columns.len());
        let mut faulty = false;
        for &i in &self.columns {
            let of_rows = self.parse(&batch, i, &mut cells[i]);
            faulty |= self.count(i, &of_rows, &mut counts);
            states.push(of_rows);
        }
        let parsed = batch.clone().with_columns(cells);
        if !faulty || self.on_error == OnError::Null {
            return Ok(Output {
                counts,
                ..Output::new(parsed)
            });
        }

        let mut rejects = Vec::new();
        for row in 0..batch.rows() {
            let column = states.iter().position(|states| states[row] == UNPARSED);
            match column.map(|column| self.reject(&batch, row, self.columns[column])) {
                None => {}
                Some(Ok(reject)) => rejects.push(reject),
                Some(Err(fault)) => return Output::before(self, batch.slice(0, row), fault),
            }
        }
        let gone: Vec<u32> = rejects.iter().map(|reject| reject.row).collect();
        Ok(Output {
            rejects,
            counts,
            ..Output::new(parsed.without(&gone))
        })
    }
}

impl Normalizing {
    /// Parses column `i` into `cell`, and gives the state of each row.
    fn parse(&self, batch: &Batch, i: usize, cell: &mut Cells) -> Vec<u8> {
        if let (Cells::Shared(column), Some(lookup)) = (&*cell, batch.lookup()) {
            let parsed = self.shared.get((lookup.set, i), || {
                parse_column(column.strings(), &self.formats)
            });
            let parsed = parsed.get().expect("`Once::get` has made it");
            *cell = Cells::Shared(parsed.column.clone());
            return look_up(lookup, &parsed.states);
        }
        let parsed = parse_column(batch.column(i).strings(), &self.formats);
        *cell = Cells::Own(parsed.column);
        parsed.states
    }

    /// Counts the rows of each format, and says whether some row has none that fits.
    fn count(&self, i: usize, states: &[u8], counts: &mut Counts) -> bool {
        let mut rows = [0u64; 256];
        for &state in states {
            rows[usize::from(state)] += 1;
        }
        let column = &self.input.fields[i].name;
        let mut add = |what: &str, rows: u64| {
            if rows > 0 {
                *counts.entry(format!("{column} {what}")).or_default() += rows;
            }
        };
        for (format, &rows) in self.formats.iter().zip(&rows[1..]) {
            add(format.text(), rows);
        }
        let unparsed = rows[usize::from(UNPARSED)];
        if self.on_error == OnError::Null {
            add("unparsed", unparsed);
            if unparsed > 0 {
                *counts.entry(NULLED.into()).or_default() += unparsed;
            }
        }
        unparsed > 0
    }

    /// The reject of a row, or the error that ends the run.
    fn reject(&self, batch: &Batch, row: usize, i: usize) -> Result<Reject> {
        let name = &self.input.fields[i].name;
        let one = batch.slice(row, 1).column(i);
        let value = one.strings().value(0);
        if self.on_error == OnError::Reject {
            let reason = "no format fits the value".to_owned();
            let schema = &self.input;
            return Ok(Reject::of(
                batch,
                schema,
                row,
                Some(name),
                Some(value),
                reason,
            ));
        }
        let formats: Vec<&str> = self.formats.iter().map(Format::text).collect();
        Err(Error::failed(format!(
            "no format fits `{}` in column `{name}`",
            super::cut_value(value)
        ))
        .cause(format!("tried {}", list(&formats)))
        .hint("add a format, or let `on_error` be `reject` or `null`")
        .origin(batch.origin(row)))
    }
}

/// Parses every value by the first format that fits.
fn parse_column(texts: &Utf8ViewArray, formats: &[Format]) -> Parsed {
    let mut values = Vec::with_capacity(texts.len());
    let mut states = Vec::with_capacity(texts.len());
    for text in texts {
        let (state, value) = match text {
            Some(text) => parse_value(text.as_bytes(), formats),
            None => (NULL, 0),
        };
        values.push(value);
        states.push(state);
    }
    let null = |state: u8| state == NULL || state == UNPARSED;
    let validity = states
        .iter()
        .any(|&state| null(state))
        .then(|| Bitmap::from_trusted_len_iter(states.iter().map(|&state| !null(state))));
    Parsed {
        column: Column::from_ints(values, validity),
        states,
    }
}

#[inline]
fn parse_value(text: &[u8], formats: &[Format]) -> (u8, i64) {
    for (state, format) in (1..UNPARSED).zip(formats) {
        if let Some(micros) = format.parse(text) {
            return (state, micros);
        }
    }
    (UNPARSED, 0)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Random};
    use super::*;
    use crate::batch::{Lookup, new_set};
    use crate::columns::NONE;
    use crate::error::Class;

    fn message(options: &str, ty: Type) -> String {
        let input = testing::schema(&[("d", ty)]);
        let refused = testing::decode(&KIND, options)
            .and_then(|stage| testing::output_schema(stage.as_ref(), &input));
        let error = refused.expect_err("it is refused");
        assert_eq!(error.class, Class::Usage);
        error.message
    }

    #[test]
    fn what_cannot_be_is_a_usage_error() {
        assert_eq!(
            message("columns = ['d']", Type::Float),
            "column `d` is of type float: a string is expected"
        );
        assert_eq!(
            message("columns = ['e']", Type::String),
            "no column `e`; there are `d`"
        );
        assert_eq!(message("columns = []", Type::String), "`columns` is empty");
        assert_eq!(
            message("columns = ['d']\nformats = []", Type::String),
            "`formats` has 0 formats, and 1 to 254 are expected"
        );
        assert_eq!(
            message("columns = ['d']\nformats = ['%Y-%Q']", Type::String),
            "`formats`: unknown directive `%Q` in date format `%Y-%Q`"
        );
        assert_eq!(
            message("columns = ['d']\nformats = ['%F', '%F%z']", Type::String),
            "`formats`: `%F%z` has a zone and `%F` has none"
        );
        assert!(
            message("columns = ['d']\non_error = 'ignore'", Type::String)
                .contains("unknown variant `ignore`")
        );
    }

    #[test]
    fn formats_that_read_one_text_as_two_dates_are_a_doubt() {
        for (formats, warnings) in [
            ("'%m/%d/%Y', '%d/%m/%Y'", 1),
            ("'%d.%m.%y', '%F', '%m.%d.%y'", 1),
            ("'%F', '%d.%m.%Y'", 0),
            ("'%F', '%F'", 0),
        ] {
            let options = format!("columns = ['d']\nformats = [{formats}]");
            let stage = testing::decode(&KIND, &options).expect("it is right");
            let found = stage.lint(
                &[testing::schema(&[("d", Type::String)])],
                &Folder(".".into()),
            );
            assert_eq!(found.len(), warnings, "{formats}: {found:?}");
        }
    }

    #[test]
    fn a_date_passes_and_a_zone_makes_utc() {
        let date = Type::Date { utc: false };
        let input = testing::schema(&[("d", date.clone()), ("e", Type::String)]);
        let options = "columns = ['e', 'd']\nformats = ['%F %z']";
        let stage = testing::decode(&KIND, options).expect("it is right");
        let output = testing::output_schema(stage.as_ref(), &input).expect("it is taken");
        assert_eq!(output.fields[0].ty, date);
        assert_eq!(output.fields[1].ty, Type::Date { utc: true });

        let dates = Column::from_ints(vec![5], None);
        let texts = Column::from_strings([Some("1970-01-02 +0100")]);
        let batch = testing::batch(vec![dates, texts]);
        let output = testing::run(&KIND, options, &input, batch).expect("it runs");
        assert_eq!(testing::values(&output.batch.column(0)), [5]);
        assert_eq!(
            testing::values(&output.batch.column(1)),
            [23 * 3_600_000_000i64]
        );
        assert_eq!(output.counts, Counts::from([("e %F %z".into(), 1)]));
    }

    /// A value, and what it is: a format's position and microseconds.
    type Known = (Option<&'static str>, Option<(usize, i64)>);
    const VALUES: [Known; 6] = [
        (None, None),
        (Some("1970-01-01"), Some((1, 0))),
        (Some("1970-1-2"), Some((1, 86_400_000_000))),
        (Some("1970-01-01 00:00:01.5"), Some((0, 1_500_000))),
        (Some("1970-01-01 00:00:60"), None),
        (Some("né en 1970"), None),
    ];
    const FORMATS: [&str; 2] = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d"];

    fn texts(rows: usize, random: &mut Random) -> Column {
        Column::from_strings((0..rows).map(|_| random.pick(&VALUES).0))
    }

    /// What the stage does, said a row at a time.
    fn check_against_model(output: &Output, batch: &Batch, null: bool) {
        let mut counts = Counts::default();
        let mut expected = Vec::new();
        let mut rejects = Vec::new();
        let plain = batch.plain();
        for row in 0..batch.rows() {
            let mut fault = None;
            let mut values = Vec::new();
            for (column, name) in [(0, "a"), (2, "b")] {
                let texts = plain[column].strings();
                let text = (!plain[column].is_null(row)).then(|| texts.value(row));
                let (_, known) = VALUES[VALUES.iter().position(|(v, _)| *v == text).unwrap_or(0)];
                if let Some((format, _)) = known {
                    let name = format!("{name} {}", FORMATS[format]);
                    *counts.entry(name).or_default() += 1;
                } else if let Some(text) = text {
                    fault = fault.or(Some((name.to_owned(), text.to_owned())));
                    if null {
                        *counts.entry(format!("{name} unparsed")).or_default() += 1;
                        *counts.entry(NULLED.into()).or_default() += 1;
                    }
                }
                values.push(known.map(|(_, micros)| micros));
            }
            match fault.filter(|_| !null) {
                Some((name, text)) => {
                    rejects.push((row, Some(name), Some(text), batch.origin(row)));
                }
                None => expected.push((values, batch.origin(row))),
            }
        }
        let got = &output.batch;
        let columns = [got.column(0), got.column(2)];
        let value = |column: &Column, row| (!column.is_null(row)).then(|| column.ints().value(row));
        let rows = (0..got.rows()).map(|row| {
            let values = columns.iter().map(|column| value(column, row)).collect();
            (values, got.origin(row))
        });
        assert_eq!(rows.collect::<Vec<_>>(), expected);
        let given = output.rejects.iter().map(|reject| {
            let reject = reject.clone();
            (
                reject.row as usize,
                reject.column,
                reject.value,
                reject.origin,
            )
        });
        assert_eq!(given.collect::<Vec<_>>(), rejects);
        assert_eq!(output.counts, counts);
    }

    #[test]
    fn rows_counts_and_rejects_are_those_of_the_model() {
        let mut random = Random::new(5);
        let input = testing::schema(&[("a", Type::String), ("n", Type::Int), ("b", Type::String)]);
        for rows in [0, 1, 50] {
            for null in [false, true] {
                let word = if null { "null" } else { "reject" };
                let options = format!("columns = ['b', 'a']\non_error = '{word}'");
                let run = |batch: &Batch| {
                    testing::run(&KIND, &options, &input, batch.clone()).expect("it runs")
                };
                let numbers = Column::from_ints((0..).take(rows).collect(), None);
                let columns = vec![texts(rows, &mut random), numbers, texts(9, &mut random)];
                let batch = testing::share(columns, &[2], rows, &mut random);
                let shared = run(&batch);
                check_against_model(&shared, &batch, null);
                assert!(shared.batch.lookup().is_some(), "it stays shared");
                testing::assert_same(&shared, &run(&batch.clone().resolve()));
            }
        }
    }

    #[test]
    fn a_fault_ends_the_run_if_told_so() {
        let input = testing::schema(&[("d", Type::String)]);
        let batch = testing::batch(vec![Column::from_strings([Some("1970-01-01"), Some("x")])]);
        let options = "columns = ['d']\non_error = 'fail'";
        let error = testing::run(&KIND, options, &input, batch).expect_err("it fails");
        assert_eq!(error.class, Class::Failed);
        assert_eq!(error.message, "no format fits `x` in column `d`");
        assert_eq!(error.origin, Some(101));
    }

    #[test]
    fn a_faulty_shared_row_that_no_row_has_harms_no_one() {
        let input = testing::schema(&[("d", Type::String)]);
        let set = new_set();
        let batch = |rows: Vec<u32>| {
            let texts = Column::from_strings([Some("x"), Some("1970-01-01")]);
            let (count, rows) = (rows.len(), rows.into());
            let lookup = Some(Lookup { set, rows });
            Batch::with_lookup(vec![Cells::Shared(texts)], lookup, count)
        };
        for word in ["reject", "null", "fail"] {
            let options = format!("columns = ['d']\non_error = '{word}'");
            let stage = testing::decode(&KIND, &options).expect("it is right");
            let session = testing::open(stage.as_ref(), &input);
            let good = session
                .run(batch(vec![1, NONE, 1]), TaskContext::default())
                .expect("no row is at fault");
            assert_eq!(good.batch.rows(), 3);
            assert!(good.rejects.is_empty());
            assert_eq!(good.counts, Counts::from([("d %Y-%m-%d".into(), 2)]));
            let bad = session
                .run(batch(vec![1, 0, 0]), TaskContext::default())
                .expect("the batch is fine");
            assert_eq!(
                bad.fault.is_some(),
                word == "fail",
                "the same session sees the fault"
            );
            let (rows, rejected) = match word {
                "reject" => (1, 2),
                "null" => (3, 0),
                _ => (1, 0),
            };
            assert_eq!((bad.batch.rows(), bad.rejects.len()), (rows, rejected));
        }
    }
}
