//! What the tests of kinds share: a seeded generator, batches with shared columns, a stage run on one
//! batch, and values to compare.

use serde_json::Value;

use super::{Folder, Output, Rest, Run, Session, Setup, Stage, StageKind, TaskContext};
use crate::batch::{Batch, Cells, Lookup, new_set};
use crate::columns::{Column, NONE};
use crate::error::Result;
use crate::schema::{Field, Schema, Type};

/// Numbers that are the same in every run (xorshift).
pub(crate) struct Random(u64);

impl Random {
    /// A generator; `seed` is not 0.
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let limit = u64::try_from(limit).expect("a usize fits");
        usize::try_from((self.0 >> 8) % limit).expect("it is below a usize")
    }

    /// One of `values`.
    pub(crate) fn pick<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())].clone()
    }
}

/// A schema of names and types.
pub(crate) fn schema(fields: &[(&str, Type)]) -> Schema {
    let fields = fields
        .iter()
        .map(|(name, ty)| Field::new(*name, ty.clone()));
    Schema::new(fields.collect()).expect("test names are unique")
}

/// The stage that TOML `options` decode to.
pub(crate) fn decode(kind: &StageKind, options: &str) -> Result<Box<dyn Stage>> {
    (kind.decode)(options.parse().expect("test options are TOML"))
}

/// A stage's output schema.
pub(crate) fn output_schema(stage: &dyn Stage, input: &Schema) -> Result<Schema> {
    stage.schema(std::slice::from_ref(input), &Folder("/".into()))
}

/// What a session of a stage opens with, where nothing is broadcast to it.
pub(crate) fn setup(inputs: &[Schema], output: &Schema) -> Setup {
    Setup {
        inputs: inputs.to_vec(),
        output: output.clone(),
        session_config: Value::Null,
        broadcast: vec![None; inputs.len()],
        sessions: 1,
        stop: crate::stop::Stop::default(),
        backpressure: crate::stage::Backpressure::default(),
        wait_reason: crate::stage::WaitReason::default(),
    }
}

/// A session of a stage with one input.
pub(crate) fn open(stage: &dyn Stage, input: &Schema) -> Box<dyn Session> {
    let output = output_schema(stage, input).expect("the stage takes this input");
    let setup = setup(std::slice::from_ref(input), &output);
    stage.open(setup).expect("a session opens")
}

/// What the stage of `options` makes of one batch; checks the ledger.
pub(crate) fn run(kind: &StageKind, options: &str, input: &Schema, batch: Batch) -> Result<Output> {
    let stage = decode(kind, options)?;
    let columns = output_schema(stage.as_ref(), input)?.fields.len();
    let rows = batch.rows() as u64;
    let mut output = open(stage.as_ref(), input).run(batch, TaskContext::default())?;
    if let Some(fault) = output.fault.take() {
        return Err(fault);
    }
    let out = output.batch.rows() as u64 + output.rejects.len() as u64 + output.dropped;
    assert_eq!(rows + output.added, out, "the ledger holds");
    assert_eq!(output.batch.cells().len(), columns, "the schema was kept");
    Ok(output)
}

/// What a stage with a combiner makes of batches, and how many rows it drops; checks the ledger.
pub(crate) fn combined(
    kind: &StageKind,
    options: &str,
    input: &Schema,
    batches: Vec<Batch>,
) -> Result<(Vec<Batch>, u64)> {
    let stage = decode(kind, options)?;
    assert!(stage.properties().combined, "a combiner is announced");
    let run = Run::new(
        "test".into(),
        Folder("/".into()),
        "/".into(),
        crate::stop::Stop::default(),
    );
    let begun = stage.begin(&run, std::slice::from_ref(input), 16)?;
    let mut combiner = begun.combiner.expect("there is one");
    let session = open(stage.as_ref(), input);
    let (mut given, mut rows_in, mut dropped) = (Vec::new(), 0, 0);
    let mut take = |output: Option<Output>| {
        let mut next = output;
        let mut rows_dropped = 0;
        while let Some(mut output) = next.take() {
            rows_dropped += output.dropped;
            next = output.rest.take().map(Rest::make).transpose()?;
            given.push(output.batch);
        }
        Ok::<_, crate::error::Error>(rows_dropped)
    };
    for batch in batches {
        rows_in += batch.rows() as u64;
        let output = session.run(batch, TaskContext::default())?;
        dropped += output.dropped;
        dropped += take(combiner.push(output.batch)?)?;
    }
    dropped += take(combiner.finish()?)?;
    let out: usize = given.iter().map(Batch::rows).sum();
    assert_eq!(rows_in, out as u64 + dropped, "the ledger holds");
    Ok((given, dropped))
}

/// A batch of plain columns, with origins 100, 101 and so on.
pub(crate) fn batch(columns: Vec<Column>) -> Batch {
    let rows = columns[0].len();
    let origins = (100..100 + rows as u64).collect::<Vec<_>>();
    Batch::new(columns, rows).with_origins(Some(origins.into()))
}

/// A batch whose columns at `which` are shared: `columns` hold the shared rows there, and each of
/// `rows` batch rows has one of them or none.
pub(crate) fn share(
    columns: Vec<Column>,
    which: &[usize],
    rows: usize,
    random: &mut Random,
) -> Batch {
    let shared = columns[which[0]].len();
    let lookup = (0..rows).map(|_| match random.below(shared + 1) {
        0 => NONE,
        row => crate::columns::row_number(row - 1),
    });
    let lookup = Lookup {
        set: new_set(),
        rows: lookup.collect::<Vec<_>>().into(),
    };
    let cells = columns.into_iter().enumerate().map(|(i, column)| {
        if which.contains(&i) {
            Cells::Shared(column)
        } else {
            Cells::Own(column)
        }
    });
    let origins = (100..100 + rows as u64).collect::<Vec<_>>();
    Batch::with_lookup(cells.collect(), Some(lookup), rows).with_origins(Some(origins.into()))
}

/// The values of a column.
pub(crate) fn values(column: &Column) -> Vec<Value> {
    let value = |i| match column {
        _ if column.is_null(i) => Value::Null,
        Column::Strings(array) => array.value(i).into(),
        Column::Bytes(array) => array.value(i).into(),
        Column::Ints(array) => array.value(i).into(),
        Column::Floats(array) => array.value(i).into(),
        Column::Bools(array) => array.value(i).into(),
        Column::Lists(list) => {
            let range = list.range(i);
            Value::Array(values(&list.values.slice(range.start, range.len())))
        }
    };
    (0..column.len()).map(value).collect()
}

/// The values of all columns of a batch, and where its rows came from.
pub(crate) fn contents(batch: &Batch) -> (Vec<Vec<Value>>, Option<Vec<u64>>) {
    (
        batch.plain().iter().map(values).collect(),
        batch.origins().map(|origins| origins.as_slice().to_vec()),
    )
}

/// Checks that two outputs are the same, rejects and counts included.
pub(crate) fn assert_same(a: &Output, b: &Output) {
    assert_eq!(contents(&a.batch), contents(&b.batch));
    assert_eq!(
        (a.added, a.dropped, &a.counts),
        (b.added, b.dropped, &b.counts)
    );
    let rejects =
        |output: &Output| serde_json::to_value(&output.rejects).expect("rejects are JSON");
    assert_eq!(rejects(a), rejects(b));
}
