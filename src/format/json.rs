//! Documents: rows as JSON.
use crate::batch::Batch;
use crate::schema::Schema;
/// One row as a JSON object.
pub fn document(_schema: &Schema, _batch: &Batch) -> serde_json::Map<String, serde_json::Value> {
    todo!()
}
