//! Streams of batches as a fragment takes them: collected, or cut to its size.

use super::{Batches, Inputs};
use crate::batch::Batch;
use crate::error::Result;
use crate::schema::Schema;

/// All rows of a stream as one batch.
pub(crate) fn collect(stream: Batches, schema: &Schema) -> Result<Batch> {
    let batches = stream.collect::<Result<Vec<_>>>()?;
    Ok(Batch::concat(batches, || Batch::empty(schema)))
}

/// Cuts a stream's batches to the size that a stage asks for.
pub(crate) fn cut(stream: Batches, rows_max: usize) -> Inputs {
    Box::new(stream.flat_map(move |batch| match batch {
        Ok(batch) => {
            let batches = batch.cut(rows_max).into_iter();
            batches.map(|batch| Ok(batch.into())).collect::<Vec<_>>()
        }
        Err(error) => vec![Err(error)],
    }))
}
