//! `etl preview`: the first rows of a stage, as a table that fits the terminal or as documents.

use std::borrow::Cow;
use std::collections::HashMap;
use std::process::ExitCode;

use clap::Args;

use super::{Color, SetArgs, output};
use crate::error::{Error, Result};
use crate::format::json::{Document, Nulls, Writer, raw};
use crate::pipeline;
use crate::report::{self, both_ends};
use crate::run::{self, Preview};
use crate::schema::{Schema, Type};
use crate::shown;
use crate::stop::Stop;

/// Show the first rows of a stage; nothing is written, and no more is read than that takes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  etl preview donors.toml                 what the last stage would write
  etl preview donors.toml --stage dates -n 3
  etl preview donors.toml --columns projectid,project_title
  etl preview donors.toml --stage documents --json | head -n 1

It reads the whole input of a stage that groups, of a join's right side, and
where a stage is read on two ways that meet again")]
pub struct PreviewArgs {
    /// The pipeline file (TOML)
    #[arg(value_name = "PIPELINE")]
    pub file: std::path::PathBuf,
    /// The stage whose rows are shown; of one that writes, the rows that it would take
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<String>,
    /// How many rows
    #[arg(
        short = 'n',
        long = "rows",
        value_name = "N",
        default_value_t = 10,
        allow_negative_numbers = true,
        value_parser = super::whole
    )]
    pub rows: usize,
    /// Only these columns, in this order
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// What is changed in it.
    #[command(flatten)]
    pub set: SetArgs,
    /// Print the rows as documents, one a line (NDJSON)
    #[arg(long)]
    pub json: bool,
}

/// Prints the rows, then how many were rejected of those that were read for them.
pub fn run(args: &PreviewArgs, color: Color) -> Result<ExitCode> {
    let pipeline = pipeline::load(&args.file, &args.set.overrides())?;
    let last = pipeline.steps.last().map(|step| step.name.clone());
    let stage = args.stage.clone().or(last).unwrap_or_default();
    let preview = run::preview(pipeline.upto(&stage)?, args.rows, &Stop::on_signals()?)?;
    let preview = only(preview, &stage, &args.columns)?;
    if args.json {
        let lines = Writer::new(&preview.schema, Nulls::Null).lines(&preview.rows);
        output::print_json_text(&String::from_utf8_lossy(&lines))?;
    } else {
        output::print(&table(&preview, output::width()))?;
    }
    for warning in &preview.lint_warnings {
        output::print_warning(warning, color);
    }
    if preview.rejected > 0 {
        let rejected = report::rows(preview.rejected);
        output::print_warning(
            &format!("{rejected} rejected of those that were read"),
            color,
        );
        for reason in &preview.rejects {
            output::print_lines(&format!("  {}\n", shown::line(&reason.to_string())), color);
        }
    }
    match preview.fault {
        Some(fault) => Err(fault),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// The same with these columns only; with all of them where none is named.
fn only(preview: Preview, stage: &str, names: &[String]) -> Result<Preview> {
    if names.is_empty() {
        return Ok(preview);
    }
    let missing = |error: Error| error.about("--columns").stage(stage);
    let positions = preview.schema.indices(names);
    let positions = positions.map_err(|error| error.each(&missing))?;
    let fields = positions
        .iter()
        .map(|&at| preview.schema.fields[at].clone());
    let cells = positions.iter().map(|&at| preview.rows.cells()[at].clone());
    Ok(Preview {
        schema: Schema {
            fields: fields.collect(),
        },
        rows: preview.rows.clone().with_columns(cells.collect()),
        ..preview
    })
}

/// A cell is cut to the first of these widths at which all columns fit; where none will do, a value is a line.
const CELL_WIDTHS: [usize; 3] = [60, 40, 24];

/// A line a row, below the columns' names, or a line a value; cut to `width`.
fn table(preview: &Preview, width: usize) -> String {
    let columns = columns(&preview.schema, &preview.rows);
    let widths = CELL_WIDTHS.iter().find_map(|&most| {
        let widths = columns.iter().map(|column| column.width().min(most));
        let widths: Vec<usize> = widths.collect();
        let all = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        (all <= width).then_some(widths)
    });
    let rows = preview.rows.rows();
    let text = match widths {
        Some(widths) => a_line_a_row(&columns, &widths, rows),
        None => a_line_a_value(&columns, rows, width),
    };
    let rows = report::rows(rows as u64);
    format!("{text}\n{}: {rows}\n", preview.stage)
}

fn a_line_a_row(columns: &[Column], widths: &[usize], rows: usize) -> String {
    let mut text = String::new();
    let mut line = |cell: &dyn Fn(&Column, usize) -> String| {
        let mut line = String::new();
        for (column, &width) in columns.iter().zip(widths) {
            let cell = cell(column, width);
            if column.right {
                line.push_str(&format!("{cell:>width$}  "));
            } else {
                line.push_str(&format!("{cell:<width$}  "));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(&|column, width| both_ends(&column.name, width));
    for row in 0..rows {
        line(&|column, width| cut(&column.cells[row], width));
    }
    text
}

/// The rows one below the other, an empty line between them.
fn a_line_a_value(columns: &[Column], rows: usize, width: usize) -> String {
    /// The share of a line that names may take.
    const NAMES: usize = 2;
    let names = columns.iter().map(|column| column.name.chars().count());
    let name_width = names.max().unwrap_or(0).min(width / NAMES);
    let value_width = width.saturating_sub(name_width + 2).max(1);
    let mut text = String::new();
    for row in 0..rows {
        if row > 0 {
            text.push('\n');
        }
        for column in columns {
            let (name, value) = (
                both_ends(&column.name, name_width),
                cut(&column.cells[row], value_width),
            );
            text.push_str(&format!("{name:<name_width$}  {value}\n"));
        }
    }
    text
}

/// A column as it is shown.
struct Column {
    name: String,
    right: bool,
    cells: Vec<String>,
}

impl Column {
    fn width(&self) -> usize {
        let cells = self.cells.iter().chain([&self.name]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    }
}

fn columns(schema: &Schema, rows: &crate::batch::Batch) -> Vec<Column> {
    let documents: Vec<Document> = (0..rows.rows())
        .map(|row| Document::of_row(schema, &rows.slice(row, 1).resolve(), Nulls::Omit))
        .collect();
    let documents: Vec<HashMap<Cow<str>, &str>> = documents
        .iter()
        .map(|document| raw::members(document.as_str()).collect())
        .collect();
    let fields = schema.fields.iter();
    let column = |field: &crate::schema::Field| Column {
        name: shown::line(&field.name).into_owned(),
        right: matches!(field.ty, Type::Int | Type::Float),
        cells: documents
            .iter()
            .map(|row| in_a_line(row.get(field.name.as_str()).copied()))
            .collect(),
    };
    fields.map(column).collect()
}

/// A value in one line: text as it is but for what a terminal obeys, the rest as JSON. A text that would be taken for
/// null, for nothing, or for another text stands in quotes, as JSON has it.
fn in_a_line(value: Option<&str>) -> String {
    let value = value.unwrap_or("null");
    match raw::text(value) {
        Some(text) if value.starts_with('"') => {
            let is_plain = text != "null" && !text.starts_with('"') && text.trim() == text;
            if is_plain && !text.is_empty() {
                shown::line(&text).into_owned()
            } else {
                shown::json(value).into_owned()
            }
        }
        _ => shown::json(value).into_owned(),
    }
}

/// The beginning of a value, at most `width` characters.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::batch::Batch;
    use crate::columns::Column as Values;
    use crate::schema::Field;

    fn preview(columns: usize, text: &str) -> Preview {
        let mut fields = vec![Field::new("n", Type::Int)];
        let mut values = vec![Values::from_nullable_ints(&[Some(7), None])];
        for i in 1..columns {
            fields.push(Field::new(format!("column_{i}"), Type::String));
            values.push(Values::from_strings([Some(text), None]));
        }
        Preview {
            stage: "s".into(),
            schema: Schema { fields },
            rows: Batch::new(values, 2),
            lint_warnings: Vec::new(),
            rejected: 0,
            rejects: Vec::new(),
            fault: None,
        }
    }

    #[test]
    fn a_table_is_aligned_and_says_null() {
        assert_eq!(
            table(&preview(2, "a\nb"), 80),
            "   n  column_1\n   7  a\\nb\nnull  null\n\ns: 2 rows\n"
        );
    }

    #[test]
    fn a_text_is_not_taken_for_null_or_nothing() {
        let shown = |text: &str| in_a_line(Some(&Value::from(text).to_string()));
        assert_eq!(in_a_line(None), "null");
        for text in ["null", "", " ", "a ", "\ta", "\"a\""] {
            assert_eq!(shown(text), Value::from(text).to_string());
        }
        for text in ["a", "a b", "Null", "nullable", "a\"b"] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn a_value_keeps_its_digits() {
        for value in ["1.10", "1e999", r#"{"a": 12345678901234567890123}"#] {
            assert_eq!(in_a_line(Some(value)), value);
        }
    }

    #[test]
    fn of_rows_wider_than_the_terminal_a_value_is_a_line() {
        let preview = preview(3, &"w".repeat(30));
        assert_eq!(
            table(&preview, 30),
            "n         7\ncolumn_1  wwwwwwwwwwwwwwwwwww…\ncolumn_2  wwwwwwwwwwwwwwwwwww…\n\n\
             n         null\ncolumn_1  null\ncolumn_2  null\n\ns: 2 rows\n"
        );
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let some = only(preview, "a", &names(&["column_2", "n"])).unwrap();
        assert!(table(&some, 80).starts_with("column_2"));
        let error = only(some, "a", &names(&["n", "colunm_2", "x"]))
            .err()
            .unwrap();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(error.others.len(), 1);
    }

    #[test]
    fn a_table_fits_the_width_whatever_is_in_it() {
        for columns in [1, 2, 3, 6, 40] {
            for width in [20, 80, 200] {
                let text = table(&preview(columns, &"wörd ".repeat(30)), width);
                for line in text.lines() {
                    assert!(
                        line.chars().count() <= width,
                        "{columns} in {width}: {line}"
                    );
                }
                let last = format!("column_{}", columns - 1);
                assert!(columns == 1 || text.contains(&last), "{text}");
            }
        }
    }
}
