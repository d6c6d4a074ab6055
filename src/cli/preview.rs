//! `etl preview`: the first rows of a stage, as a table that fits the terminal or as documents.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value};

use super::{Color, SetArgs, output};
use crate::error::Result;
use crate::format::json::{Nulls, Writer, document};
use crate::pipeline;
use crate::report;
use crate::run::{self, Preview};
use crate::schema::{Schema, Type, count};
use crate::stop::Stop;

/// Show the first rows of a stage; nothing is written, and no more is read than that takes
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  etl preview donors.toml                 what the last stage would write
  etl preview donors.toml --stage dates -n 3
  etl preview donors.toml --stage documents --json | head -n 1

Below `group_concat`, for a join's right side, and where a stage is read on two ways that meet again, the
whole input is read: that is what it takes")]
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
    if args.json {
        let lines = Writer::new(&preview.schema, Nulls::Null).lines(&preview.rows);
        output::print(&String::from_utf8_lossy(&lines))?;
    } else {
        output::print(&table(&preview, output::width()))?;
    }
    if preview.rejected > 0 {
        let rejected = report::rows(preview.rejected);
        output::print_warning(
            &format!("{rejected} rejected of those that were read"),
            color,
        );
        for reject in &preview.rejects {
            eprintln!("  {reject}");
        }
    }
    match preview.fault {
        Some(fault) => Err(fault),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// A cell is cut to the first of these widths at which all columns fit; at the last, columns are left out.
const CELL_WIDTHS: [usize; 4] = [60, 40, 24, 16];

/// A line a row, below the columns' names; cut to `width`.
fn table(preview: &Preview, width: usize) -> String {
    let columns = columns(&preview.schema, &preview.rows);
    let natural: Vec<usize> = columns.iter().map(Column::width).collect();
    let mut widths: Vec<usize> = Vec::new();
    for most in CELL_WIDTHS {
        widths = natural.iter().map(|&width| width.min(most)).collect();
        if widths.iter().sum::<usize>() + 2 * widths.len() <= width + 2 {
            break;
        }
    }
    let mut used = 0;
    let fitting = widths.iter().take_while(|&&cell| {
        used += cell + 2;
        used <= width + 2
    });
    let shown = fitting.count().max(1).min(columns.len());
    let mut text = String::new();
    let mut line = |cell: &dyn Fn(&Column) -> String| {
        let mut line = String::new();
        for (column, &width) in columns.iter().zip(&widths).take(shown) {
            let cell = cut(&cell(column), width);
            if column.right {
                line.push_str(&format!("{cell:>width$}  "));
            } else {
                line.push_str(&format!("{cell:<width$}  "));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(&|column| column.name.clone());
    for row in 0..preview.rows.rows() {
        line(&|column| column.cells[row].clone());
    }
    let rows = report::rows(preview.rows.rows() as u64);
    text.push_str(&format!("\n{}: {rows}", preview.stage));
    if shown < columns.len() {
        let more = count(columns.len() - shown, "more column");
        text.push_str(&format!(", {more}: `--json` shows all"));
    }
    text + "\n"
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
    let documents: Vec<Map<String, Value>> = (0..rows.rows())
        .map(|row| document(schema, &rows.slice(row, 1).resolve()))
        .collect();
    let fields = schema.fields.iter();
    let column = |field: &crate::schema::Field| Column {
        name: field.name.clone(),
        right: matches!(field.ty, Type::Int | Type::Float),
        cells: documents
            .iter()
            .map(|row| shown(row.get(&field.name)))
            .collect(),
    };
    fields.map(column).collect()
}

/// A value in one line: text as it is but for control characters, the rest as JSON.
fn shown(value: Option<&Value>) -> String {
    match value {
        None => "null".into(),
        Some(Value::String(text)) => {
            let mut shown = String::with_capacity(text.len());
            for char in text.chars() {
                if char.is_control() {
                    shown.extend(char.escape_default());
                } else {
                    shown.push(char);
                }
            }
            shown
        }
        Some(value) => value.to_string(),
    }
}

/// At most `width` characters.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
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
    fn a_table_fits_the_width_whatever_is_in_it() {
        for columns in [1, 2, 3, 6, 40] {
            for width in [20, 80, 200] {
                let text = table(&preview(columns, &"wörd ".repeat(30)), width);
                let body = text.split("\n\n").next().unwrap_or_default();
                for line in body.lines() {
                    assert!(
                        line.chars().count() <= width,
                        "{columns} in {width}: {line}"
                    );
                }
                assert_eq!(
                    text.contains("more column"),
                    body.lines().next().is_some_and(|heads| {
                        columns > 1 && !heads.contains(&format!("column_{}", columns - 1))
                    }),
                    "{text}"
                );
            }
        }
    }
}
