//! The kernels, each alone on one core, over the Donor's Choice job's own data (6,000 projects, seed 7).
//!
//!     cargo bench --bench kernels [-- NAME]
//!
//! Every stage of `pipelines/donors_ndjson.toml` is a kernel: its session works on the batches that the
//! run would give it. Beside them what lies below and between stages: inflating, splitting, frames.

mod job;

use std::collections::HashMap;
use std::hint::black_box;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use etl::batch::{Batch, ROWS_MAX};
use etl::format::compression::gzip;
use etl::format::csv::Dialect;
use etl::format::csv::split::{Limits, Splitter};
use etl::format::dates::{Format, write_iso};
use etl::pipeline::Pipeline;
use etl::schema::Type;
use etl::stage::{Session, TaskContext};
use job::Kernel;

fn rows(batches: &[Batch]) -> u64 {
    batches.iter().map(|batch| batch.rows() as u64).sum()
}

fn bytes(batches: &[Batch]) -> u64 {
    batches.iter().map(|batch| batch.size() as u64).sum()
}

/// Works on all batches, one after the other.
fn play(session: &dyn Session, batches: &[Batch]) {
    for batch in batches {
        black_box(
            session
                .run(batch.clone(), TaskContext::default())
                .expect("no row is at fault"),
        );
    }
}

fn reading(criterion: &mut Criterion, dumps: &Path) {
    let zipped = std::fs::read(dumps.join("opendata_donations000.gz")).expect("it was made");
    let inflate = |text: &mut Vec<u8>| {
        text.clear();
        let reader = BufReader::with_capacity(256 << 10, Cursor::new(&zipped));
        gzip::Reader::new(reader)
            .read_to_end(text)
            .expect("it is whole");
    };
    let mut text = Vec::new();
    inflate(&mut text);
    let mut group = criterion.benchmark_group("reading");
    group.throughput(Throughput::Bytes(text.len() as u64));
    let mut room = Vec::with_capacity(text.len());
    group.bench_function("inflate", |bencher| bencher.iter(|| inflate(&mut room)));
    let dialect = Dialect::new(b',', Some(b'"'), Some(b'\\'));
    let limits = Limits {
        block_bytes: 1 << 20,
        block_records: ROWS_MAX as u64,
        record_bytes: 16 << 20,
    };
    group.bench_function("split records", |bencher| {
        bencher.iter(|| {
            let mut splitter = Splitter::new(Cursor::new(&text), dialect, limits);
            while let Some(block) = splitter.next_block().expect("it is whole") {
                black_box(block);
            }
        });
    });
    group.finish();
}

fn stages(criterion: &mut Criterion, pipeline: &Pipeline, kernels: &[Kernel]) {
    let mut group = criterion.benchmark_group("stage");
    for (kernel, step) in kernels.iter().zip(&pipeline.steps) {
        group.throughput(match kernel.kind {
            "load_csv" => Throughput::Bytes(bytes(&kernel.batches)),
            "write_files" => Throughput::Bytes(bytes(&kernel.output)),
            _ => Throughput::Elements(rows(&kernel.batches)),
        });
        group.bench_function(&kernel.name, |bencher| {
            bencher.iter(|| play(kernel.session.as_ref(), &kernel.batches));
        });
        if kernel.kind == "join" {
            group.throughput(Throughput::Elements(
                kernel
                    .setup
                    .broadcast
                    .iter()
                    .flatten()
                    .map(|right| right.rows() as u64)
                    .sum(),
            ));
            group.bench_function(format!("{} (index)", kernel.name), |bencher| {
                bencher.iter_batched(
                    || kernel.setup.clone(),
                    |setup| black_box(step.stage.open(setup).expect("it opens")),
                    BatchSize::LargeInput,
                );
            });
        }
    }
    group.finish();
}

/// Timestamps that all stand in the first format's layout.
fn dates(criterion: &mut Criterion) {
    let format = Format::compile("%Y-%m-%d %H:%M:%S%.f").expect("it is a format");
    let mut text = Vec::new();
    let values: Vec<Vec<u8>> = (0..10_000i64)
        .map(|i| {
            text.clear();
            write_iso(i * 31_557_600_123_000, false, &mut text);
            text[10] = b' ';
            text.clone()
        })
        .collect();
    let mut group = criterion.benchmark_group("dates");
    group.throughput(Throughput::Elements(values.len() as u64));
    group.bench_function("parse timestamps", |bencher| {
        bencher.iter(|| {
            values
                .iter()
                .filter_map(|value| format.parse(value))
                .sum::<i64>()
        });
    });
    group.finish();
}

/// What is done once a right row in a run, done once a row: every column by itself.
fn plain(criterion: &mut Criterion, kernels: &HashMap<&str, &Kernel>) {
    let mut group = criterion.benchmark_group("plain columns");
    for name in ["dates", "write"] {
        let kernel = kernels[name];
        let resolved = kernel.batches.iter().cloned().map(Batch::resolve);
        let batches: Vec<Batch> = resolved.collect();
        group.throughput(if name == "dates" {
            let dates = kernel
                .setup
                .output
                .fields
                .iter()
                .filter(|field| matches!(field.ty, Type::Date { .. }));
            Throughput::Elements(rows(&batches) * dates.count() as u64)
        } else {
            Throughput::Bytes(bytes(&kernel.output))
        });
        group.bench_function(name, |bencher| {
            bencher.iter(|| play(kernel.session.as_ref(), &batches));
        });
    }
    group.finish();
}

fn frames(criterion: &mut Criterion, kernels: &HashMap<&str, &Kernel>) {
    let mut group = criterion.benchmark_group("frames");
    for name in ["donations", "location"] {
        let batch = kernels[name].output[0].clone();
        let frame = batch.encode().expect("it can be sent").concat();
        group.throughput(Throughput::Bytes(frame.len() as u64));
        group.bench_function(format!("encode {name}"), |bencher| {
            bencher.iter(|| black_box(batch.encode().expect("it can be sent")));
        });
        group.bench_function(format!("decode {name}"), |bencher| {
            bencher.iter(|| black_box(Batch::decode(&frame).expect("it was encoded")));
        });
    }
    group.finish();
}

fn all(criterion: &mut Criterion) {
    let dumps = job::Dumps::make();
    reading(criterion, &dumps.0);
    dates(criterion);
    let (pipeline, kernels) =
        job::kernels(&dumps, "donors_ndjson.toml", "write.path=\"/dev/null\"");
    stages(criterion, &pipeline, &kernels);
    let by_name = kernels
        .iter()
        .map(|kernel| (kernel.name.as_str(), kernel))
        .collect();
    plain(criterion, &by_name);
    frames(criterion, &by_name);
}

criterion_group!(benches, all);
criterion_main!(benches);
