//! Loading the local index beside what tantivy's own writer takes for the same documents.
//!
//!     cargo bench --bench local_index
//!
//! Ours begins with the rows of the job; tantivy's with documents that lie ready in memory, values typed,
//! so that nothing but its writer is timed. Same fields, threads and memory; the two take turns. Prints
//! each turn's seconds and the ratio of the medians.

mod job;

use std::path::Path;
use std::time::Instant;

use etl::batch::{Batch, ROWS_MAX};
use etl::format::dates::Format;
use etl::stage::TaskContext;
use etl::stage::bulk_index;
use etl::stage::index::{At, Hit};
use serde_json::{Map, Value};
use tantivy::indexer::IndexWriterOptions;
use tantivy::schema::{FieldType, Schema};
use tantivy::{DateTime, Index, TantivyDocument};

const TURNS: usize = 5;

fn main() {
    let dumps = job::Dumps::make();
    let dir = dumps.0.join("index");
    let to = format!("index.to=\"local:{}\"", dir.display());
    let (pipeline, kernels) = job::kernels(&dumps, "donors.toml", &to);
    let (step, kernel) = pipeline
        .steps
        .iter()
        .zip(&kernels)
        .next_back()
        .expect("it has stages");
    let ours = || {
        let _ = std::fs::remove_dir_all(&dir);
        let batches: Vec<Batch> = kernel.batches.clone();
        let run = job::run(&pipeline);
        let start = Instant::now();
        let begun = step.stage.begin(&run, &kernel.setup.inputs, ROWS_MAX);
        let mut sink = begun.expect("it begins").sink.expect("it is a sink");
        for batch in batches {
            let rows = kernel
                .session
                .run(batch, TaskContext::default())
                .expect("no row is at fault")
                .batch;
            sink.push(rows).expect("there is room");
        }
        sink.finish().expect("there is room");
        sink.publish(&mut Vec::new()).expect("there is room");
        start.elapsed().as_secs_f64()
    };
    ours();
    let (schema, documents) = documents(&dir);
    let beside = dumps.0.join("beside");
    let theirs = || {
        let _ = std::fs::remove_dir_all(&beside);
        std::fs::create_dir(&beside).expect("there is room");
        let documents = documents.clone();
        let start = Instant::now();
        load(&beside, &schema, documents);
        start.elapsed().as_secs_f64()
    };
    let (mut etl_seconds, mut tantivy_seconds) = (Vec::new(), Vec::new());
    for turn in 1..=TURNS {
        etl_seconds.push(ours());
        tantivy_seconds.push(theirs());
        println!(
            "turn {turn}: etl {:.3} s, tantivy's writer {:.3} s",
            etl_seconds[turn - 1],
            tantivy_seconds[turn - 1]
        );
    }
    let (ours, theirs) = (median(etl_seconds), median(tantivy_seconds));
    println!(
        "{} documents: etl takes {:.2} times what tantivy's writer takes",
        documents.len(),
        ours / theirs
    );
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// The fields of the index in `dir`, and its documents as tantivy's own.
fn documents(dir: &Path) -> (Schema, Vec<TantivyDocument>) {
    let schema = Index::open_in_dir(dir).expect("it was loaded").schema();
    let index = bulk_index::KIND.index.expect("it loads one");
    let hits = index
        .search(At::Folder(dir), "*", usize::MAX >> 1)
        .expect("it was loaded")
        .hits;
    let iso = Format::compile("%Y-%m-%dT%H:%M:%S%.f").expect("it is a format");
    let document = |hit: Hit| {
        let source: Map<String, Value> = serde_json::from_str(&hit.source).expect("it is JSON");
        let mut document = TantivyDocument::new();
        let mut add = |name: &str, value: &Value| {
            let field = schema.get_field(name).expect("the mapping names all");
            match (schema.get_field_entry(field).field_type(), value) {
                (FieldType::Date(_), Value::String(text)) => {
                    let micros = iso.parse(text.as_bytes()).expect("it was written so");
                    document.add_date(field, DateTime::from_timestamp_micros(micros));
                }
                (FieldType::F64(_), value) => {
                    document.add_f64(field, value.as_f64().expect("a number"));
                }
                (FieldType::I64(_), value) => {
                    document.add_i64(field, value.as_i64().expect("a number"));
                }
                (_, Value::String(text)) => document.add_text(field, text),
                (_, other) => document.add_text(field, other.to_string()),
            }
        };
        for (name, value) in &source {
            match value {
                Value::Array(point) if schema.get_field(name).is_err() => {
                    add(&format!("{name}.lon"), &point[0]);
                    add(&format!("{name}.lat"), &point[1]);
                }
                Value::Array(values) => {
                    let values = values.iter().filter(|value| !value.is_null());
                    values.for_each(|value| add(name, value));
                }
                value => add(name, value),
            }
        }
        add("_id", &hit.id.into());
        add("_source", &hit.source.into());
        document
    };
    (schema.clone(), hits.into_iter().map(document).collect())
}

fn load(dir: &Path, schema: &Schema, documents: Vec<TantivyDocument>) {
    let index = Index::builder()
        .schema(schema.clone())
        .create_in_dir(dir)
        .expect("there is room");
    let threads = std::thread::available_parallelism()
        .map_or(1, std::num::NonZero::get)
        .min(8);
    let options = IndexWriterOptions::builder()
        .num_worker_threads(threads)
        .memory_budget_per_thread(128 << 20)
        .num_merge_threads(threads)
        .build();
    let mut writer = index
        .writer_with_options(options)
        .expect("it can be written");
    for document in documents {
        writer.add_document(document).expect("there is room");
    }
    writer.commit().expect("there is room");
    writer.wait_merging_threads().expect("there is room");
}
