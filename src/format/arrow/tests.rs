//! Files that the tests write, and those of other programs damaged in every byte.

use std::io::Cursor;
use std::path::Path;

use proptest::prelude::*;

use super::{Layout, Reader, TELLS, Writer};
use crate::batch::Batch;
use crate::columns::Column;
use crate::error::{Error, Result};
use crate::schema::{Field, Schema, Type};

/// How many rows a file or stream has.
fn read(bytes: Vec<u8>) -> Result<usize> {
    let layout = Layout::of(&bytes[..bytes.len().min(TELLS)])?;
    read_as(bytes, layout == Layout::File, layout)
}

fn read_as(bytes: Vec<u8>, in_any_order: bool, layout: Layout) -> Result<usize> {
    let length = bytes.len() as u64;
    let bytes = Cursor::new(bytes);
    let mut reader: Reader<Cursor<Vec<u8>>> = if in_any_order {
        Reader::of_file(bytes, length)?
    } else {
        Reader::of_stream(Box::new(bytes), layout)?
    };
    let mut rows = 0;
    while let Some(batch) = reader.next_batch()? {
        rows += batch.rows();
    }
    Ok(rows)
}

/// The files of other programs.
fn others() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/arrow");
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut files: Vec<(String, Vec<u8>)> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().contains(".arrow"))
        .map(|entry| {
            let bytes = std::fs::read(entry.path()).expect("it can be read");
            (entry.file_name().to_string_lossy().into_owned(), bytes)
        })
        .collect();
    files.sort();
    assert!(files.len() > 12, "they are there");
    files
}

/// An error or some rows: a panic would end the test, and its words are of no use.
fn assert_survives(name: &str, at: usize, damaged: Vec<u8>) {
    let Err(error) = read(damaged) else { return };
    let said = format!("{error:?}");
    let of_a_panic = ["unwrap", "called `", "assertion"];
    let is_of_a_panic = of_a_panic.iter().any(|words| said.contains(words));
    assert!(!is_of_a_panic, "{name}, byte {at}: {said}");
}

#[test]
fn no_damaged_byte_ends_the_program() {
    for (name, bytes) in others() {
        // Small files byte by byte, of larger ones some bytes.
        let step = (bytes.len() / 500).max(1);
        for at in (0..bytes.len()).step_by(step) {
            for bits in [0x01, 0x80, 0xFF] {
                let mut damaged = bytes.clone();
                damaged[at] ^= bits;
                assert_survives(&name, at, damaged);
            }
        }
    }
}

/// A length anywhere in a file that no memory has.
#[test]
fn no_length_takes_memory_that_the_file_does_not_have() {
    for (name, bytes) in others() {
        for at in (0..bytes.len().saturating_sub(8)).step_by(8) {
            for length in [1_u64 << 58, u64::MAX >> 1] {
                let mut damaged = bytes.clone();
                damaged[at..at + 8].copy_from_slice(&length.to_le_bytes());
                assert_survives(&name, at, damaged);
            }
        }
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for (name, bytes) in others() {
        let whole = read(bytes.clone()).expect("it can be read");
        for end in (0..bytes.len()).step_by((bytes.len() / 500).max(1)) {
            let cut = read(bytes[..end].to_vec());
            // Streams may end after any message.
            let is_less = name.ends_with(".arrows") && cut.as_ref().is_ok_and(|&rows| rows < whole);
            let is_marked_only = end + 8 >= bytes.len();
            assert!(
                cut.is_err() || is_less || name.ends_with(".arrows") && is_marked_only,
                "{name} cut at {end} was read"
            );
        }
    }
}

/// A pipe has files, too: what stands in front of their index is a stream.
#[test]
fn a_file_read_from_its_beginning_has_the_same_rows() {
    for (name, bytes) in others() {
        if Layout::of(&bytes).expect("it is Arrow") == Layout::File {
            let rows = read(bytes.clone()).expect("it can be read");
            let found = read_as(bytes.clone(), false, Layout::File);
            if name.starts_with("polars") {
                let error = found.expect_err("its columns stand in its index");
                assert!(error.message.contains("at its end"), "{name}: {error}");
                continue;
            }
            let found = found.expect("it can be read");
            assert_eq!(found, rows, "{name}");
            let at_index = bytes.len() - 10;
            let index = u32::from_le_bytes(bytes[at_index..at_index + 4].try_into().expect("four"));
            let index = at_index - index as usize;
            let cut = read_as(bytes[..index - 8].to_vec(), false, Layout::File);
            assert!(cut.is_err(), "{name} ended without a mark");
        }
    }
}

#[test]
fn what_is_no_arrow_is_told_from_what_it_is() {
    let hint = |first: &[u8]| -> String {
        let error: Error = Layout::of(first).expect_err("it is none");
        error.hint.expect("it says what to do")
    };
    assert!(hint(b"PAR1\x15\x04").contains("load_parquet"));
    assert!(hint(b"FEA1\0\0\0\0").contains("version 2"));
    assert!(hint(b"").contains("empty"));
    assert!(hint(b"id,name\n").contains("streams"));
}

#[test]
fn two_streams_in_one_are_an_error() {
    let files = others();
    let (_, stream) = files
        .iter()
        .find(|(name, _)| name == "stream.arrows")
        .expect("it is there");
    let error = read([stream.as_slice(), stream].concat()).expect_err("one is read");
    assert!(error.causes[0].contains("one stream"), "{error:?}");
}

/// The columns of a batch: numbers, and texts.
type Rows = (Vec<Option<i64>>, Vec<Option<String>>);

/// What the writer makes of some batches.
fn written(columns: &[Rows]) -> Vec<u8> {
    let fields = vec![
        Field::new("n", Type::Int),
        Field::new("text", Type::String),
        Field::new("list", Type::List(Box::new(Type::Int))),
    ];
    let schema = Schema::new(fields).expect("they differ");
    let mut writer = Writer::new(Vec::new(), &schema).expect("memory takes it");
    for (ints, texts) in columns {
        let rows = ints.len();
        let numbers: Vec<i64> = ints.iter().map(|int| int.unwrap_or(0)).collect();
        let validity = ints.iter().map(Option::is_some).collect();
        let ints = Column::from_ints(numbers, Some(validity));
        let offsets: Vec<i64> = (0_i64..).take(rows + 1).collect();
        let lists = Column::Lists(crate::columns::List {
            offsets: offsets.into(),
            values: std::sync::Arc::new(ints.clone()),
            validity: None,
        });
        let texts = texts.iter().map(Option::as_deref);
        let texts = polars_arrow::array::Utf8ViewArray::from_slice(texts.collect::<Vec<_>>());
        let batch = Batch::new(vec![ints, Column::Strings(texts), lists], rows);
        writer.write(&batch).expect("memory takes it");
    }
    writer.finish().expect("memory takes it")
}

fn batches() -> impl Strategy<Value = Vec<Rows>> {
    let batch = (0..20_usize).prop_flat_map(|rows| {
        let ints = prop::collection::vec(any::<Option<i64>>(), rows);
        let texts = prop::collection::vec(prop::option::of(".{0,20}"), rows);
        (ints, texts)
    });
    prop::collection::vec(batch, 0..4)
}

proptest! {
    #[test]
    fn what_is_written_is_read_and_no_damage_to_it_panics(
        batches in batches(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let bytes = written(&batches);
        let rows: usize = batches.iter().map(|(ints, _)| ints.len()).sum();
        prop_assert_eq!(read(bytes.clone()).expect("it is whole"), rows);
        let mut damaged = bytes;
        for (at, value) in damage {
            let at = at.index(damaged.len());
            damaged[at] = value;
        }
        assert_survives("what was written", 0, damaged);
    }
}
