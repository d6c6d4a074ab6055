//! `require`: rejects rows that lack a value.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Folder, Output, Partitioning, Reject, Session, Setup, Stage, StageKind, TaskContext, options,
};
use crate::batch::Batch;
use crate::columns::Column;
use crate::error::Result;
use crate::schema::Schema;

/// The kind.
pub const KIND: StageKind = StageKind {
    name: "require",
    summary: "rejects rows that lack a value",
    inputs: &[1],
    sink: false,
    takes_batch_rows: true,
    options: super::stage_options!(Options),
    example: r#"
[[stage]]
name = "complete"
kind = "require"
inputs = ["orders"]
columns = ["customer", "amount"]
"#,
    decode,
    ..StageKind::BASE
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// the columns that need a value in every row
    #[schemars(extend("x-type" = "list of columns"))]
    columns: Vec<String>,
}

/// Checks what the options alone can show.
fn decode(table: toml::Table) -> Result<Box<dyn Stage>> {
    let options: Options = options(table)?;
    Ok(Box::new(Require { options }))
}

struct Require {
    options: Options,
}

impl Require {
    /// Where the columns stand. One that the input lacks is an error, which names those there are.
    fn positions(&self, input: &Schema) -> Result<Vec<usize>> {
        let columns = self.options.columns.iter();
        columns.map(|name| input.index(name)).collect()
    }
}

impl Stage for Require {
    /// A row needs no other row, so the rows may be distributed in any way.
    fn inputs(&self) -> Vec<Partitioning> {
        vec![Partitioning::Any]
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        self.positions(&inputs[0])?;
        Ok(inputs[0].clone())
    }

    fn open(&self, mut setup: Setup) -> Result<Box<dyn Session>> {
        let input = setup.inputs.swap_remove(0);
        let positions = self.positions(&input)?;
        Ok(Box::new(Requiring { input, positions }))
    }
}

/// The stage at work in one process, shared by its threads.
struct Requiring {
    input: Schema,
    positions: Vec<usize>,
}

impl Session for Requiring {
    fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
        let columns: Vec<Column> = self.positions.iter().map(|&i| batch.column(i)).collect();
        let mut rejects = Vec::new();
        for row in 0..batch.rows() {
            let Some(at) = columns.iter().position(|column| column.is_null(row)) else {
                continue;
            };
            let name = &self.input.fields[self.positions[at]].name;
            let reason = "a value is required".to_owned();
            rejects.push(Reject::of(
                &batch,
                &self.input,
                row,
                Some(name),
                None,
                reason,
            ));
        }
        let gone: Vec<u32> = rejects.iter().map(|reject| reject.row).collect();
        Ok(Output {
            rejects,
            ..Output::new(batch.without(&gone))
        })
    }
}
