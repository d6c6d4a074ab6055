//! `aggregate`: one row a key, with aggregates of its rows' values.
//!
//! It works in two steps, so that memory grows with the groups and not with the rows. A session groups the rows of one
//! batch (`partial`); what it gives is a row a group: the key, and for each aggregate the columns of its state. The
//! combiner (`combine`) merges these states by key and evaluates them. What a state holds never depends on how rows
//! were cut into batches: sums are exact until they are rounded once (`sum`, `exact`), and what depends on the order
//! of rows follows the input's. Aggregates that need all values of a group hold them (`collected`). What several aggregates need is kept once
//! (`layout`).

mod accumulator;
mod collected;
mod combine;
mod exact;
mod layout;
mod partial;
mod picked;
mod sum;
mod table;
#[cfg(test)]
mod tests;
mod wide;

use serde::Deserialize;

use super::group_concat::Names;
use super::{
    Begun, Folder, OnError, Partitioning, Properties, Run, Session, Setup, Stage, StageKind,
};
use crate::error::{Error, OfValue, Result, note};
use crate::expression::{AGGREGATES, Aggregate};
use crate::keys;
use crate::schema::{Field, Schema};
use accumulator::Groups;
use layout::Layout;

/// The kind.
pub const KIND: StageKind = StageKind {
    name: "aggregate",
    summary: "makes one row a key, with aggregates of its rows",
    inputs: &[1],
    takes_batch_rows: true,
    options: super::stage_options!(Options),
    expressions_option: Some("columns"),
    functions: AGGREGATES,
    example: r#"
[[stage]]
name = "by_vendor"
kind = "aggregate"
inputs = ["resources"]
by = "vendor_name"

[stage.columns]
items = "count(*)"
projects = "count(distinct projectid)"
total = "sum(item_quantity * item_unit_price)"
dearest = "max(item_unit_price)"
"#,
    decode: |table| Ok(Box::new(Grouped::decode(table)?)),
    ..StageKind::BASE
};

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// the key: its columns come first, groups in key order (null first, strings bytewise, numbers by value); null is a
    /// key too; `[]` makes one row of all rows, even of none
    #[schemars(extend("x-type" = "column or list of columns"))]
    by: Names,
    /// the columns and their aggregates, each one call; its argument is an expression of the input's columns, and nulls
    /// are left out. The examples below are of four rows with `n` 1, 2, 5 and null, and `s` b, a, b and null
    #[schemars(
        extend("x-type" = "table column = aggregate"),
        with = "std::collections::BTreeMap<String, String>"
    )]
    columns: toml::Table,
    /// what becomes of a row with a value that cannot be computed, and of a group whose sum does not fit
    #[serde(default)]
    on_error: OnError,
}

struct Grouped {
    by: Vec<String>,
    /// Name and aggregate.
    columns: Vec<(String, String)>,
    on_error: OnError,
}

/// What is done.
struct Plan {
    by: Vec<usize>,
    aggregates: Vec<Aggregate>,
    layout: Layout,
    output: Schema,
}

impl Grouped {
    fn decode(table: toml::Table) -> Result<Self> {
        let given: Options = super::options(table)?;
        let by = given.by.list();
        if !by.is_empty() {
            keys::check_names("by", &by)?;
        }
        if given.columns.is_empty() {
            return Err(Error::usage("`columns` is empty")
                .hint("give a column and its aggregate: `total = \"sum(price)\"`; `dedupe` gives each key once")
                .of(["columns"]));
        }
        if let Some(name) = by.iter().find(|name| given.columns.contains_key(*name)) {
            let message = format!("`columns` names `{name}`, which is in `by` too");
            return Err(Error::usage(message).of(["columns", name]).of(["by"]));
        }
        let columns = given.columns.into_iter().map(|(name, text)| match text {
            toml::Value::String(text) => (name, text),
            // The schema of the option allows texts only.
            other => (name, other.to_string()),
        });
        Ok(Grouped {
            by,
            columns: columns.collect(),
            on_error: given.on_error,
        })
    }

    fn plan(&self, input: &Schema) -> Result<Plan> {
        let mut mistakes = Vec::new();
        let by = input.indices(&self.by).under("by");
        let by = by.and_then(|by| keys::check(input, &by).under("by").map(|()| by));
        let by = note(&mut mistakes, by).unwrap_or_default();
        let mut fields: Vec<Field> = by.iter().map(|&at| input.fields[at].clone()).collect();
        let mut aggregates = Vec::new();
        for (name, text) in &self.columns {
            let compiled = Aggregate::compile(text, input).of(["columns", name]);
            if let Some(aggregate) = note(&mut mistakes, compiled) {
                fields.push(Field::new(name.clone(), aggregate.ty().clone()));
                aggregates.push(aggregate);
            }
        }
        if let Some(error) = Error::all(mistakes) {
            return Err(error);
        }
        Ok(Plan {
            by,
            layout: Layout::of(&aggregates),
            aggregates,
            output: Schema::new(fields)?,
        })
    }
}

impl Stage for Grouped {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        Ok(self.plan(&inputs[0])?.output)
    }

    fn properties(&self) -> Properties {
        let holds = |(_, text): &&(String, String)| Aggregate::holds_values(text);
        let holding = self.columns.iter().filter(holds);
        Properties {
            combined: true,
            holding: holding.map(|(name, _)| name.clone()).collect(),
            ..Properties::default()
        }
    }

    fn begin(&self, _run: &Run, inputs: &[Schema], _batch_rows: usize) -> Result<Begun> {
        let plan = self.plan(&inputs[0])?;
        let names = self.columns.iter().map(|(name, _)| name.clone());
        let combiner = combine::Combining::new(plan, names.collect(), self.on_error);
        Ok(Begun {
            combiner: Some(Box::new(combiner)),
            ..Begun::default()
        })
    }

    fn open(&self, mut setup: Setup) -> Result<Box<dyn Session>> {
        let input = setup.inputs.swap_remove(0);
        Ok(Box::new(partial::Partial {
            plan: self.plan(&input)?,
            names: self.columns.iter().map(|(name, _)| name.clone()).collect(),
            input,
            on_error: self.on_error,
        }))
    }
}
