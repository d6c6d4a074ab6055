//! Files that the tests write, and those of other programs damaged in every byte.

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

use super::pages::is_in_frames;
use super::thrift::{PageKind, check_footer, page_header};
use super::*;
use crate::batch::Batch;
use crate::columns::{Column, List};
use crate::error::Error;
use crate::schema::{Field, Schema, Type};

/// A file in memory.
struct Memory(Vec<u8>, RefCell<Log>);

/// What was said to be read, and what was.
#[derive(Default)]
struct Log {
    expected: Vec<Range<u64>>,
    read: Vec<Range<u64>>,
}

impl ReadAt for Memory {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let end = usize::try_from(offset)
            .ok()
            .and_then(|from| from.checked_add(length));
        let range = end.and_then(|end| self.0.get(end - length..end));
        let range = range.ok_or_else(|| Error::failed("a read beyond the end of the file"))?;
        let read = offset..offset + length as u64;
        self.1.borrow_mut().read.push(read);
        Ok(range.to_vec())
    }

    fn expect(&self, ranges: Vec<Range<u64>>) {
        self.1.borrow_mut().expected.extend(ranges);
    }
}

/// All rows of a file, in batches of so many.
fn read(bytes: Vec<u8>, batch_rows: usize) -> Result<(Schema, Vec<Batch>)> {
    let file = Memory(bytes, RefCell::default());
    let footer = Footer::read(&file)?;
    let picked = footer.pick(None)?;
    let schema = picked.schema.clone();
    let source = Source {
        file: 0,
        batch_rows,
    };
    let mut blocks = Blocks::new(file, footer, picked, source);
    let mut batches = Vec::new();
    while let Some(block) = blocks.next_block()? {
        let mut pieces = Pieces::new(&block)?;
        loop {
            let (batch, more) = pieces.next_batch()?;
            assert!(
                batch.rows() <= batch_rows,
                "a batch has at most so many rows"
            );
            batches.push(batch);
            if !more {
                break;
            }
        }
    }
    Ok((schema, batches))
}

fn all_rows(batches: Vec<Batch>) -> Option<Batch> {
    (!batches.is_empty()).then(|| Batch::concat(batches, || unreachable!("there is one")))
}

/// The rows as lines of JSON.
fn lines(schema: &Schema, batch: &Batch) -> String {
    let writer = crate::format::json::Writer::new(schema, crate::format::json::Nulls::Null);
    String::from_utf8(writer.lines(batch)).expect("JSON is text")
}

fn write(schema: &Schema, batches: &[Batch], compression: Compression) -> Vec<u8> {
    let encoder = Encoder::new(schema, compression).expect("the types can be written");
    let mut writer = Writer::new(Vec::new(), &encoder);
    for batch in batches {
        let columns = batch.plain();
        let columns = columns.iter().enumerate();
        let pages = columns.map(|(at, column)| encoder.encode(at, column).expect("it encodes"));
        writer
            .write(batch.rows(), pages.collect())
            .expect("memory takes it");
    }
    writer.finish().expect("memory takes it")
}

/// Every type, with nulls, and texts that differ where `noise` does.
fn sample(rows: usize, noise: u64) -> (Schema, Batch) {
    let mut random = fastrand::Rng::with_seed(noise);
    let null = |row: usize| row % 7 == 3;
    let ints: Vec<Option<i64>> = (0..rows)
        .map(|row| (!null(row)).then(|| random.i64(..)))
        .collect();
    let texts: Vec<Option<String>> = (0..rows)
        .map(|row| (!null(row)).then(|| "x".repeat(row % 30) + &random.u32(..).to_string()))
        .collect();
    let mut offsets = vec![0i64];
    let mut words: Vec<Option<String>> = Vec::new();
    for row in 0..rows {
        for item in 0..(if null(row) { 0 } else { row % 4 }) {
            words.push((item != 1).then(|| random.u8(..).to_string()));
        }
        offsets.push(i64::try_from(words.len()).expect("a few"));
    }
    let list = List {
        offsets: offsets.into(),
        values: std::sync::Arc::new(Column::from_strings(words)),
        validity: Some((0..rows).map(|row| !null(row)).collect()),
    };
    let bools: Vec<bool> = (0..rows).map(|row| row % 3 == 0).collect();
    let floats: Vec<f64> = (0..rows).map(|_| random.f64()).collect();
    let columns = vec![
        Column::from_nullable_ints(&ints),
        Column::from_nullable_ints(
            &ints
                .iter()
                .map(|int| int.map(|int| int >> 12))
                .collect::<Vec<_>>(),
        ),
        Column::from_strings(texts),
        Column::from_floats(floats, None),
        Column::from_bools(&bools, None),
        Column::Lists(list),
    ];
    let mut fields = vec![
        Field::new("int", Type::Int),
        Field::new("at", Type::Date { utc: true }),
        Field::new("text", Type::String),
        Field::new("float", Type::Float),
        Field::new("bool", Type::Bool),
        Field::new("words", Type::List(Box::new(Type::String))),
    ];
    fields[5].unwrap = true;
    (Schema { fields }, Batch::new(columns, rows))
}

#[test]
fn rows_and_marks_come_back() {
    let (schema, rows) = sample(1000, 1);
    let groups = [rows.slice(0, 300), rows.slice(300, 0), rows.slice(300, 700)];
    for compression in [Compression::Zstd, Compression::Snappy, Compression::None] {
        let bytes = write(&schema, &groups, compression);
        for batch_rows in [1000, 1, 17] {
            let (found, batches) = read(bytes.clone(), batch_rows).expect("it can be read");
            assert_eq!(found, schema);
            let records: Vec<u64> = batches
                .iter()
                .flat_map(|batch| {
                    batch
                        .origins()
                        .expect("they have")
                        .iter()
                        .copied()
                        .collect::<Vec<u64>>()
                })
                .collect();
            assert!(records.into_iter().eq(1..=1000));
            let all = all_rows(batches).expect("there are rows");
            assert_eq!(lines(&schema, &all), lines(&schema, &rows));
        }
    }
}

#[test]
fn a_large_row_group_is_divided_where_pages_end() {
    let (schema, rows) = sample(400_000, 2);
    let bytes = write(&schema, std::slice::from_ref(&rows), Compression::None);
    let file = Memory(bytes.clone(), RefCell::default());
    let footer = Footer::read(&file).expect("it can be read");
    let picked = footer.pick(None).expect("they are known");
    let source = Source {
        file: 0,
        batch_rows: 1000,
    };
    let mut blocks = Blocks::new(file, footer, picked, source);
    let mut sizes = Vec::new();
    while let Some(block) = blocks.next_block().expect("it can be read") {
        sizes.push(block.plain().iter().map(Column::size).sum::<usize>());
    }
    assert!(sizes.len() > 2, "{sizes:?}");
    assert!(
        sizes.iter().all(|&size| size < 3 * blocks::BLOCK_BYTES),
        "{sizes:?}"
    );
    let (_, batches) = read(bytes, 16_384).expect("it can be read");
    let all = all_rows(batches).expect("there are rows");
    assert!(
        lines(&schema, &all) == lines(&schema, &rows),
        "other rows came back"
    );
}

#[test]
fn what_is_read_was_said_before_and_about_in_that_order() {
    for (what, groups, rows, columns) in [
        ("small row groups", 5, 1000, None),
        ("a column of them", 5, 1000, Some(&["words", "float"][..])),
        ("large row groups", 2, 300_000, None),
        (
            "columns of them",
            2,
            300_000,
            Some(&["text", "words", "int"]),
        ),
        ("no rows", 1, 0, None),
    ] {
        let (schema, batch) = sample(rows, 3);
        let bytes = write(&schema, &vec![batch; groups], Compression::None);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let columns: Option<Vec<String>> = columns.map(names);
        let file = Memory(bytes, RefCell::default());
        let footer = Footer::read(&file).expect("it can be read");
        let picked = footer.pick(columns.as_deref()).expect("they are known");
        let width = picked.columns.len();
        let source = Source {
            file: 0,
            batch_rows: 1000,
        };
        file.1.take();
        let mut blocks = Blocks::new(file, footer, picked, source);
        let mut done = 0;
        while blocks.next_block().expect("it can be read").is_some() {
            let log = blocks.file().1.borrow();
            for range in &log.read[done..] {
                assert!(log.expected.contains(range), "{what}: {range:?}");
            }
            done = log.read.len();
        }
        let log = blocks.file().1.take();
        assert_eq!(
            log.read.len(),
            log.expected.len(),
            "{what}: each is read once"
        );
        for (at, range) in log.read.iter().enumerate() {
            let said = log.expected.iter().position(|said| said == range);
            let off = said.expect("it was said").abs_diff(at);
            assert!(off <= 2 * width, "{what}: {at} is {off} off");
        }
    }
}

#[test]
fn rows_that_take_few_bytes_are_decoded_in_pieces() {
    let rows = 2_500_000;
    let ints: Vec<i64> = (0..rows).map(|row| row % 7).collect();
    let list = List {
        offsets: (0..=rows).collect::<Vec<i64>>().into(),
        values: std::sync::Arc::new(Column::from_ints(
            (0..rows).map(|row| row % 3).collect(),
            None,
        )),
        validity: None,
    };
    let schema = Schema {
        fields: vec![
            Field::new("int", Type::Int),
            Field::new("list", Type::List(Box::new(Type::Int))),
        ],
    };
    let columns = vec![Column::from_ints(ints.clone(), None), Column::Lists(list)];
    let rows = usize::try_from(rows).expect("it is positive");
    let batch = Batch::new(columns, rows);
    let bytes = write(&schema, std::slice::from_ref(&batch), Compression::Zstd);
    assert!(bytes.len() < blocks::BLOCK_BYTES, "it is one block");
    let (_, batches) = read(bytes, 100_000).expect("it can be read");
    let all = all_rows(batches).expect("there are rows");
    assert!(all.column(0).ints().values().iter().eq(&ints));
    let Column::Lists(list) = all.column(1) else {
        panic!("it was a list")
    };
    let values = list.values.ints().values().iter();
    assert!(values.copied().eq((0..2_500_000).map(|row| row % 3)));
    assert!(list.offsets.iter().copied().eq(0..=2_500_000));
}

#[test]
fn a_file_depends_on_the_rows_alone() {
    let (schema, rows) = sample(3000, 3);
    let whole = write(&schema, std::slice::from_ref(&rows), Compression::Zstd);
    let taken = rows.take(&(0..3000).collect::<Vec<u32>>());
    let parts = vec![rows.slice(0, 7), rows.slice(7, 2000), rows.slice(2007, 993)];
    let joined = Batch::concat(parts, || unreachable!("there are parts"));
    for other in [taken, joined, rows.compacted()] {
        assert!(write(&schema, &[other], Compression::Zstd) == whole);
    }
}

#[test]
fn rows_weigh_the_same_however_they_are_cut() {
    let (_, rows) = sample(500, 4);
    let whole = weights(&rows);
    let parts = [rows.slice(0, 1), rows.slice(1, 250), rows.slice(251, 249)];
    let of_parts: Vec<usize> = parts.iter().flat_map(weights).collect();
    assert_eq!(whole, of_parts);
}

/// The small files of other programs.
fn others() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet");
    let entries = std::fs::read_dir(folder)
        .expect("the folder is there")
        .flatten();
    let files =
        entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "parquet"));
    let mut files: Vec<(String, Vec<u8>)> = files
        .map(|entry| {
            let bytes = std::fs::read(entry.path()).expect("it can be read");
            (entry.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for (name, bytes) in others() {
        let step = (bytes.len() / 500).max(1);
        for end in (0..bytes.len()).step_by(step) {
            let cut = read(bytes[..end].to_vec(), 100);
            assert!(cut.is_err(), "{name} cut at {end} was read");
        }
    }
}

#[test]
fn no_damaged_byte_ends_the_program() {
    for (name, bytes) in others() {
        // Small files byte by byte, of larger ones some bytes.
        let step = (bytes.len() / 150).max(1);
        for at in (0..bytes.len()).step_by(step) {
            for bits in [0x01, 0x80, 0xFF] {
                let mut damaged = bytes.clone();
                damaged[at] ^= bits;
                // An error or some rows: a panic would end the test.
                if let Err(error) = read(damaged, 100) {
                    let said = format!("{error:?}");
                    assert!(
                        !said.contains("unwrap()"),
                        "{name}, byte {at}: what a panic says: {said}"
                    );
                }
            }
        }
    }
}

#[test]
fn damage_is_found_where_there_are_checksums() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet");
    let bytes = std::fs::read(folder.join("checksums.parquet")).expect("it is there");
    let file = Memory(bytes.clone(), RefCell::default());
    let footer = Footer::read(&file).expect("it can be read");
    let picked = footer.pick(None).expect("they are known");
    let mut tried = 0;
    for column in &picked.columns {
        let place = footer.chunk(0, column).expect("it lies in the file");
        let mut at = usize::try_from(place.range.start).expect("it is small");
        while at < usize::try_from(place.range.end).expect("it is small") {
            let header = page_header(&bytes[at..]).expect("it is whole");
            let page = at + header.length..at + header.length + header.compressed;
            for byte in page.clone().step_by(37) {
                let mut damaged = bytes.clone();
                damaged[byte] ^= 0x10;
                let error = read(damaged, 100)
                    .map(|_| ())
                    .expect_err("its checksum tells");
                assert_eq!(error.causes, ["a page does not fit its checksum"]);
                tried += 1;
            }
            at = page.end;
        }
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn lengths_that_no_bytes_stand_for_are_refused() {
    // A list of 2^31 - 1 schema elements in a footer of a few bytes; a text; a chain of groups.
    let list = [0x29, 0xFC, 0xFF, 0xFF, 0xFF, 0xFF, 0x07];
    let text = [0x68, 0xFF, 0xFF, 0xFF, 0xFF, 0x07];
    assert!(check_footer(&list).is_err());
    assert!(check_footer(&text).is_err());
    let mut chain = vec![0x29, 0xFC, 0xE8, 0x07];
    // Each has one child (field 5, an i32).
    chain.extend([0x55, 0x02, 0x00].repeat(1000));
    chain.push(0);
    assert!(check_footer(&chain).is_err());
    // The same in another structure: deeper than any metadata.
    assert!(check_footer(&[0x1C; 1000]).is_err());
}

#[test]
fn page_headers_are_read() {
    // A data page of version 1: type 0, 5 bytes, 4 compressed, CRC -1, 3 values, plain, levels RLE.
    let header = [
        0x15, 0x00, 0x15, 0x0A, 0x15, 0x08, 0x15, 0x01, 0x1C, 0x15, 0x06, 0x15, 0x00, 0x15, 0x06,
        0x15, 0x06, 0x00, 0x00,
    ];
    let found = page_header(&header).expect("it is whole");
    assert_eq!(found.kind, PageKind::Data);
    assert_eq!(
        (found.uncompressed, found.compressed, found.values),
        (5, 4, 3)
    );
    assert_eq!((found.crc, found.length), (Some(u32::MAX), header.len()));
    for end in 0..header.len() {
        assert_eq!(
            page_header(&header[..end]),
            Err(super::thrift::Fault::Ended)
        );
    }
}

#[test]
fn a_page_in_several_frames_of_hadoop_is_known() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parquet");
    let bytes = std::fs::read(folder.join("required.parquet")).expect("it is there");
    let footer = Footer::read(&Memory(bytes, RefCell::default())).expect("it can be read");
    let shape = &footer.pick(None).expect("they are known").columns[0].shape;
    // A frame: 5 bytes, 3 as they lie there.
    let frame = [0, 0, 0, 5, 0, 0, 0, 3, 0xA, 0xB, 0xC];
    let page = |uncompressed: u8, frames: usize| {
        let compressed = u8::try_from(frames * frame.len()).expect("it is small");
        let mut page = vec![
            0x15,
            0x00,
            0x15,
            uncompressed * 2,
            0x15,
            compressed * 2,
            0x15,
            0x01,
            0x1C,
            0x15,
            0x06,
            0x15,
            0x00,
            0x15,
            0x06,
            0x15,
            0x06,
            0x00,
            0x00,
        ];
        page.extend(frame.repeat(frames));
        page
    };
    assert!(is_in_frames(&page(10, 2), shape));
    assert!(is_in_frames(&[page(5, 1), page(10, 2)].concat(), shape));
    assert!(!is_in_frames(&page(5, 1), shape));
    assert!(!is_in_frames(&[], shape));
}
