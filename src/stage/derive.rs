//! `derive`: columns computed by expressions, each from the columns of the input and those above it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Counts, Folder, NULLED, OnError, Output, Partitioning, Reject, Session, Setup, Stage,
    StageKind, TaskContext, UNCOMPUTED,
};
use crate::batch::{Batch, Cells};
use crate::columns::Column;
use crate::error::{Error, OfValue, Result, every, note};
use crate::expression::{Expression, FUNCTIONS, Fault};
use crate::schema::{Field, Schema};

/// The kind.
pub const KIND: StageKind = StageKind {
    name: "derive",
    summary: "computes columns by SQL expressions",
    inputs: &[1],
    sink: false,
    takes_batch_rows: true,
    options: super::stage_options!(Options),
    functions: FUNCTIONS,
    expressions_option: Some("columns"),
    example: r#"
[[stage]]
name = "amounts"
kind = "derive"
inputs = ["resources"]
drop = ["item_quantity"]

[stage.columns]
total = "item_quantity * item_unit_price"
size = "CASE WHEN total >= 100 THEN 'large' ELSE 'small' END"
vendor_name = "upper(trim(vendor_name))"
"#,
    decode,
    ..StageKind::BASE
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// the columns and their expressions, in order: each sees the input's columns and those above it; an existing
    /// column is replaced in its place
    #[schemars(
        extend("x-type" = "table column = expression"),
        with = "std::collections::BTreeMap<String, String>"
    )]
    columns: toml::Table,
    /// columns that do not go on; expressions still see them
    #[schemars(extend("x-type" = "list of columns"))]
    #[serde(default)]
    drop: Vec<String>,
    /// what becomes of a row with a value that cannot be computed
    #[serde(default)]
    on_error: OnError,
}

fn decode(table: toml::Table) -> Result<Box<dyn Stage>> {
    let options: Options = super::options(table)?;
    if options.columns.is_empty() {
        return Err(Error::usage("`columns` is empty")
            .hint("give a column and its expression: `total = \"price * quantity\"`")
            .of(["columns"]));
    }
    let columns = options.columns.into_iter().map(|(name, text)| match text {
        toml::Value::String(text) => (name, text),
        // The schema of the option allows texts only.
        other => (name, other.to_string()),
    });
    Ok(Box::new(Derive {
        columns: columns.collect(),
        drop: options.drop,
        on_error: options.on_error,
    }))
}

struct Derive {
    /// Name and expression.
    columns: Vec<(String, String)>,
    drop: Vec<String>,
    on_error: OnError,
}

/// What is done to each batch.
struct Plan {
    /// For each expression the position that its values take among `all`.
    expressions: Vec<(usize, Expression)>,
    /// The input's columns, replaced or not, and the new ones.
    all: Schema,
    /// The positions among `all` that go on.
    kept: Vec<usize>,
    output: Schema,
}

impl Derive {
    fn plan(&self, input: &Schema) -> Result<Plan> {
        let mut all = input.clone();
        let mut expressions = Vec::new();
        let mut mistakes = Vec::new();
        let mut failed: Vec<&str> = Vec::new();
        for (name, text) in &self.columns {
            let compiled = Expression::compile(text, &all).of(["columns", name]);
            // What names a column whose own expression is wrong cannot be checked yet.
            let words = || text.split(|c: char| !c.is_alphanumeric() && c != '_');
            if compiled.is_err() && words().any(|word| failed.contains(&word)) {
                failed.push(name);
                continue;
            }
            let Some(expression) = note(&mut mistakes, compiled) else {
                failed.push(name);
                continue;
            };
            let field = Field::new(name.clone(), expression.ty().clone());
            let known = all.fields.iter().position(|field| field.name == *name);
            let position = known.unwrap_or(all.fields.len());
            match known {
                Some(at) => all.fields[at] = field,
                None => all.fields.push(field),
            }
            expressions.push((position, expression));
        }
        // A column whose expression is wrong can be dropped all the same.
        let dropped = self
            .drop
            .iter()
            .filter(|name| !failed.contains(&name.as_str()));
        let dropped = every(dropped.map(|name| all.index(name))).under("drop");
        let dropped = note(&mut mistakes, dropped).unwrap_or_default();
        if let Some(error) = Error::all(mistakes) {
            return Err(error);
        }
        let kept: Vec<usize> = (0..all.fields.len())
            .filter(|position| !dropped.contains(position))
            .collect();
        if kept.is_empty() {
            return Err(Error::usage("`drop` leaves no column")
                .hint("keep at least one")
                .of(["drop"]));
        }
        let output = Schema::new(kept.iter().map(|&at| all.fields[at].clone()).collect())?;
        Ok(Plan {
            expressions,
            all,
            kept,
            output,
        })
    }
}

impl Stage for Derive {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        Ok(self.plan(&inputs[0])?.output)
    }

    fn open(&self, mut setup: Setup) -> Result<Box<dyn Session>> {
        let input = setup.inputs.swap_remove(0);
        Ok(Box::new(Deriving {
            plan: self.plan(&input)?,
            input,
            on_error: self.on_error,
        }))
    }
}

struct Deriving {
    input: Schema,
    plan: Plan,
    on_error: OnError,
}

impl Session for Deriving {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        let (derived, faults) = self.compute(&batch);
        if faults.is_empty() || self.on_error == OnError::Null {
            let mut counts = Counts::default();
            if !faults.is_empty() {
                counts.insert(NULLED.into(), faults.len() as u64);
            }
            return Ok(Output {
                counts,
                ..Output::new(derived)
            });
        }
        let faults = first_of_rows(faults);
        if self.on_error == OnError::Fail {
            let (position, fault) = &faults[0];
            let row = fault.row as usize;
            let name = &self.plan.all.fields[*position].name;
            let error = failure(name, fault).origin(batch.origin(row));
            return Output::before(self, batch.slice(0, row), error);
        }
        let rejects = faults.iter().map(|(position, fault)| {
            let name = &self.plan.all.fields[*position].name;
            let value = fault.value.as_deref();
            let reason = fault.reason.clone();
            let row = fault.row as usize;
            Reject::of(&batch, &self.input, row, Some(name), value, reason)
        });
        let rejects: Vec<Reject> = rejects.collect();
        let gone: Vec<u32> = rejects.iter().map(|reject| reject.row).collect();
        Ok(Output {
            rejects,
            ..Output::new(derived.without(&gone))
        })
    }
}

impl Deriving {
    /// The batch with the columns of the output, and the faults, each with the position of its column.
    fn compute(&self, batch: &Batch) -> (Batch, Vec<(usize, Fault)>) {
        let rows = batch.rows();
        let mut computed: Vec<Option<Column>> = vec![None; self.plan.all.fields.len()];
        let mut faults = Vec::new();
        for (position, expression) in &self.plan.expressions {
            let column = |at: usize| computed[at].clone().unwrap_or_else(|| batch.column(at));
            let (column, bad) = expression.evaluate(rows, column);
            faults.extend(bad.into_iter().map(|fault| (*position, fault)));
            computed[*position] = Some(column);
        }
        let cells = self.plan.kept.iter().map(|&at| match computed[at].take() {
            Some(column) => Cells::Own(column),
            None => batch.cells()[at].clone(),
        });
        let cells = cells.collect();
        (batch.clone().with_columns(cells), faults)
    }
}

/// The error of a value that cannot be computed, of the column `name`.
pub(super) fn failure(name: &str, fault: &Fault) -> Error {
    let error = Error::failed(format!("column `{name}`: {}", fault.reason));
    let error = match &fault.value {
        Some(value) => error.cause(format!("the value is `{}`", super::cut_value(value))),
        None => error,
    };
    error.hint(UNCOMPUTED)
}

/// The first fault of each row, rising by row.
pub(super) fn first_of_rows(mut faults: Vec<(usize, Fault)>) -> Vec<(usize, Fault)> {
    // Stable: of a row's faults that of the column above the others comes first.
    faults.sort_by_key(|(_, fault)| fault.row);
    faults.dedup_by_key(|(_, fault)| fault.row);
    faults
}
