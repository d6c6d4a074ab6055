//! `group_concat`: one row a key, with the values of its rows as a list or joined text.

use std::sync::Arc;

use hashbrown::HashTable;
use serde::Deserialize;

use super::{Folder, Output, Partitioning, Session, Setup, Stage, StageKind, TaskContext, options};
use crate::batch::Batch;
use crate::columns::{Column, List, TextBuilder, row_number};
use crate::error::{Error, OfValue, Result, both};
use crate::format::json;
use crate::keys::{self, Keys, NullKeys};
use crate::schema::{Field, Schema, Type};

/// The kind.
pub static KIND: StageKind = StageKind {
    name: "group_concat",
    summary: "makes one row a key, with its rows' values as a list or joined text",
    inputs: &[1],
    sink: false,
    takes_batch_rows: true,
    options: super::stage_options!(Options),
    example: r#"[[stage]]
name = "grouped"
kind = "group_concat"
inputs = ["resources"]
by = "projectid"
unwrap_single = true
"#,
    decode: |table| Ok(Box::new(GroupConcat(decode(table)?))),
    ..StageKind::BASE
};

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// the key; null is a key too; groups come in key order
    #[schemars(extend("x-type" = "column or list of columns"))]
    by: Names,
    /// what to gather, in input order; the rest is dropped
    #[schemars(extend("x-type" = "list of columns"), extend("x-default" = "all others"))]
    columns: Option<Vec<String>>,
    /// join the values as text by this, nulls skipped
    #[schemars(extend("x-default" = "none: a list"))]
    separator: Option<String>,
    /// in documents, a list of one value is that value
    #[serde(default)]
    unwrap_single: bool,
}

/// One name or several.
#[derive(Deserialize, Clone, schemars::JsonSchema)]
#[serde(untagged, expecting = "expected a column name or a list of them")]
pub(super) enum Names {
    One(String),
    Several(Vec<String>),
}

impl Names {
    /// As a list.
    pub(super) fn list(&self) -> Vec<String> {
        match self {
            Names::One(name) => vec![name.clone()],
            Names::Several(names) => names.clone(),
        }
    }
}

struct GroupConcat(Options);

fn decode(table: toml::Table) -> Result<Options> {
    let given: Options = options(table)?;
    let by = given.by.list();
    if by.is_empty() {
        return Err(Error::usage("`by` is empty")
            .hint("name the columns that make the key")
            .of(["by"]));
    }
    if given.separator.is_some() && given.unwrap_single {
        return Err(Error::usage(
            "`separator` makes text and `unwrap_single` is about lists: give one of them",
        )
        .of(["separator"])
        .of(["unwrap_single"]));
    }
    if let Some(column) = given
        .columns
        .iter()
        .flatten()
        .find(|column| by.contains(column))
    {
        return Err(
            Error::usage(format!("`columns` names `{column}`, which is in `by` too"))
                .of(["columns", column])
                .of(["by"]),
        );
    }
    Ok(given)
}

impl GroupConcat {
    /// Positions of the key and of what is gathered.
    fn positions(&self, input: &Schema) -> Result<(Vec<usize>, Vec<usize>)> {
        let by = input.indices(&self.0.by.list()).under("by");
        let columns = self.0.columns.as_ref();
        let columns = columns
            .map(|columns| input.indices(columns))
            .transpose()
            .under("columns");
        let (by, columns) = both(by, columns)?;
        let others = || (0..input.fields.len()).filter(|column| !by.contains(column));
        let columns = columns.unwrap_or_else(|| others().collect());
        Ok((by, columns))
    }
}

impl Stage for GroupConcat {
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::ByKey(self.0.by.list())]
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        let (by, columns) = self.positions(&inputs[0])?;
        keys::check(&inputs[0], &by).under("by")?;
        let mut fields: Vec<Field> = by
            .iter()
            .map(|&column| inputs[0].fields[column].clone())
            .collect();
        fields.extend(columns.iter().map(|&column| {
            let field = &inputs[0].fields[column];
            let ty = if self.0.separator.is_some() {
                Type::String
            } else {
                Type::List(Box::new(field.ty.clone()))
            };
            Field {
                name: field.name.clone(),
                ty,
                unwrap: self.0.unwrap_single,
                json: field.json && self.0.separator.is_none(),
            }
        }));
        Schema::new(fields).under("columns")
    }

    fn open(&self, setup: Setup) -> Result<Box<dyn Session>> {
        let (by, columns) = self.positions(&setup.inputs[0])?;
        let types = columns
            .iter()
            .map(|&column| setup.inputs[0].fields[column].ty.clone())
            .collect();
        Ok(Box::new(Grouping {
            by,
            columns,
            types,
            separator: self.0.separator.clone(),
        }))
    }
}

struct Grouping {
    by: Vec<usize>,
    columns: Vec<usize>,
    types: Vec<Type>,
    separator: Option<String>,
}

impl Session for Grouping {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        let keys = Keys::new(&batch, &self.by, NullKeys::Equal);
        let groups = Groups::of(&keys);
        let mut columns: Vec<Column> = self
            .by
            .iter()
            .map(|&column| batch.column(column).take(&groups.first))
            .collect();
        for (&column, ty) in self.columns.iter().zip(&self.types) {
            let values = batch.column(column).take(&groups.rows);
            columns.push(match &self.separator {
                None => Column::Lists(List {
                    offsets: groups.offsets.clone().into(),
                    values: Arc::new(values),
                    validity: None,
                }),
                Some(separator) => joined(&values, ty, &groups.offsets, separator),
            });
        }
        let rows = groups.first.len();
        let mut output = Output::new(Batch::new(columns, rows));
        output.dropped = (batch.rows() - rows) as u64;
        Ok(output)
    }
}

/// The rows of a batch, group by group.
struct Groups {
    /// The first row of each group, groups in key order.
    first: Vec<u32>,
    /// All rows, group after group, in input order within one.
    rows: Vec<u32>,
    /// Where each group begins in `rows`, and where the last ends.
    offsets: Vec<i64>,
}

impl Groups {
    fn of(keys: &Keys) -> Groups {
        let mut table: HashTable<u32> = HashTable::with_capacity(keys.len() / 4);
        let mut first: Vec<u32> = Vec::new();
        let mut sizes: Vec<i64> = Vec::new();
        let mut hashes: Vec<u64> = Vec::new();
        let mut group_of: Vec<u32> = Vec::with_capacity(keys.len());
        for row in 0..keys.len() {
            let key = keys.get(row);
            let hash = keys::hash(key);
            let same = |group: &u32| {
                hashes[*group as usize] == hash && keys.get(first[*group as usize] as usize) == key
            };
            let found = table.find(hash, same).copied();
            let group = found.unwrap_or_else(|| {
                let group = row_number(first.len());
                first.push(row_number(row));
                sizes.push(0);
                hashes.push(hash);
                table.insert_unique(hash, group, |group| hashes[*group as usize]);
                group
            });
            sizes[group as usize] += 1;
            group_of.push(group);
        }
        let mut order: Vec<(u64, u32)> = first
            .iter()
            .zip(0..)
            .map(|(&row, group)| (keys::prefix(keys.get(row as usize)), group))
            .collect();
        order.sort_unstable_by(|a, b| {
            let key = |group: u32| keys.get(first[group as usize] as usize);
            a.0.cmp(&b.0).then_with(|| key(a.1).cmp(&key(b.1)))
        });
        let mut offsets = Vec::with_capacity(first.len() + 1);
        let mut next = vec![0usize; first.len()];
        let mut end = 0i64;
        offsets.push(0);
        for &(_, group) in &order {
            next[group as usize] = usize::try_from(end).expect("rows are counted up from 0");
            end += sizes[group as usize];
            offsets.push(end);
        }
        let mut rows = vec![0u32; keys.len()];
        for (row, &group) in (0..).zip(&group_of) {
            rows[next[group as usize]] = row;
            next[group as usize] += 1;
        }
        Groups {
            first: order
                .iter()
                .map(|&(_, group)| first[group as usize])
                .collect(),
            rows,
            offsets,
        }
    }
}

fn joined(values: &Column, ty: &Type, offsets: &[i64], separator: &str) -> Column {
    let mut builder = TextBuilder::new();
    let mut text: Vec<u8> = Vec::new();
    for pair in offsets.windows(2) {
        text.clear();
        let mut any = false;
        for i in pair[0]..pair[1] {
            let i = usize::try_from(i).expect("offsets count up from 0");
            if values.is_null(i) {
                continue;
            }
            if any {
                text.extend_from_slice(separator.as_bytes());
            }
            any = true;
            json::write_plain(values, ty, i, &mut text);
        }
        let text = String::from_utf8_lossy(&text);
        builder.push(any.then_some(&*text));
    }
    builder.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::columns::NONE;

    fn run(keys: &[Option<&str>], values: &[Option<i64>], options: &str) -> Batch {
        let stage = GroupConcat(decode(options.parse().expect("is TOML")).expect("decodes"));
        let schema = Schema::new(vec![
            Field::new("k", Type::String),
            Field::new("v", Type::Int),
        ])
        .expect("two names");
        let some: Vec<i64> = values.iter().flatten().copied().collect();
        let mut next = 0;
        let rows: Vec<u32> = values
            .iter()
            .map(|value| {
                if value.is_some() {
                    next += 1;
                    next - 1
                } else {
                    NONE
                }
            })
            .collect();
        let batch = Batch::new(
            vec![
                Column::from_strings(keys.iter().copied()),
                Column::from_ints(some, None).take(&rows),
            ],
            keys.len(),
        );
        let output = stage
            .schema(std::slice::from_ref(&schema), &Folder(".".into()))
            .expect("fits");
        let setup = Setup {
            inputs: vec![schema],
            output,
            session_config: serde_json::Value::Null,
            broadcast: vec![None],
            sessions: 1,
            stop: crate::stop::Stop::default(),
            backpressure: crate::stage::Backpressure::default(),
            wait_reason: crate::stage::WaitReason::default(),
        };
        let session = stage.open(setup).expect("opens");
        let output = session.run(batch, TaskContext::default()).expect("groups");
        assert_eq!(
            output.dropped + output.batch.rows() as u64,
            keys.len() as u64
        );
        output.batch
    }

    proptest::proptest! {
        #[test]
        fn groups_as_a_btree_map_does(rows in proptest::collection::vec((proptest::option::of("[a-c\\u{0}é]{0,2}"), proptest::option::of(-3i64..3)), 0..60)) {
            let keys: Vec<Option<&str>> = rows.iter().map(|(key, _)| key.as_deref()).collect();
            let values: Vec<Option<i64>> = rows.iter().map(|(_, value)| *value).collect();
            let mut model: BTreeMap<Option<&[u8]>, Vec<Option<i64>>> = BTreeMap::new();
            for (key, value) in keys.iter().zip(&values) {
                model.entry(key.map(str::as_bytes)).or_default().push(*value);
            }
            let batch = run(&keys, &values, "by = 'k'");
            let (found, lists) = (batch.column(0), batch.column(1));
            let Column::Lists(lists) = lists else { panic!("a list was promised") };
            let grouped: Vec<_> = (0..batch.rows())
                .map(|row| {
                    let values = lists.range(row).map(|i| (!lists.values.is_null(i)).then(|| lists.values.ints().value(i))).collect::<Vec<_>>();
                    (found.strings().get(row).map(str::as_bytes), values)
                })
                .collect();
            proptest::prop_assert_eq!(grouped, model.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_separator_joins_text_and_skips_nulls() {
        let batch = run(
            &[Some("b"), Some("a"), Some("b"), Some("b")],
            &[Some(1), None, None, Some(20)],
            "by = 'k'\nseparator = '; '",
        );
        let text = batch.column(1);
        assert_eq!(text.strings().get(0), None);
        assert_eq!(text.strings().get(1), Some("1; 20"));
    }
}
