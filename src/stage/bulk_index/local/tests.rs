//! The kind as a pipeline uses it: options to index to hits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::super::{KIND, decode};
use super::*;
use crate::batch::Batch;
use crate::columns::{Column, List};
use crate::schema::{Field, Type};
use crate::stage::{Counts, Reject, Sink, TaskContext, add_counts};

/// A folder of one test, gone with it.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "etl-index-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let place = Place(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&place.0).expect("the temporary folder takes folders");
        place
    }

    fn index(&self) -> PathBuf {
        self.0.join("index")
    }

    /// What lies beside and within the index, but for what tantivy names by chance.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("the folder is there");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("it can be listed")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Rows as a test writes them: each value as its column's text, or none.
fn rows(rows: &[(&str, &str)]) -> (Schema, Batch) {
    let schema = Schema::new(vec![
        Field::new("key", Type::String),
        Field::new("title", Type::String),
    ]);
    let keys = Column::from_strings(rows.iter().map(|(key, _)| Some(*key)));
    let titles = Column::from_strings(rows.iter().map(|(_, title)| Some(*title)));
    (
        schema.expect("names differ"),
        Batch::new(vec![keys, titles], rows.len()),
    )
}

struct Loaded {
    counts: Counts,
    rejects: Vec<Reject>,
}

/// What a load needs beside its rows.
#[derive(Clone, Copy)]
struct Plan<'a> {
    load: &'a str,
    mapping: Option<&'a str>,
    id: &'a str,
}

const PLAN: Plan = Plan {
    load: "append",
    mapping: None,
    id: "id = 'key'",
};

fn stage(place: &Place, plan: Plan) -> Result<Box<dyn Stage>> {
    let mut options = format!("to = 'local:index'\nload = '{}'\n{}\n", plan.load, plan.id);
    if let Some(mapping) = plan.mapping {
        std::fs::write(place.0.join("mapping.json"), mapping).expect("the folder takes files");
        options.push_str("mapping = 'mapping.json'\n");
    }
    decode(options.parse().expect("it is TOML"))
}

fn run(place: &Place) -> Run {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    Run::new(
        format!(
            "20260101T000000-{:04x}",
            NEXT.fetch_add(1, Ordering::Relaxed)
        ),
        Folder(place.0.clone()),
        place.0.join("state"),
        crate::stop::Stop::default(),
    )
}

/// Everything up to publishing.
fn fill(
    place: &Place,
    plan: Plan,
    schema: &Schema,
    batches: Vec<Batch>,
) -> Result<(Box<dyn Sink>, Vec<Reject>, Counts)> {
    let stage = stage(place, plan)?;
    let run = run(place);
    let inputs = [schema.clone()];
    let output = stage.schema(&inputs, &run.folder)?;
    let begun = stage.begin(&run, &inputs, crate::batch::ROWS_MAX)?;
    let session = stage.open(Setup {
        inputs: inputs.to_vec(),
        output,
        session_config: begun.session_config,
        broadcast: vec![None],
        sessions: 1,
        stop: crate::stop::Stop::default(),
        backpressure: crate::stage::Backpressure::default(),
        wait_reason: crate::stage::WaitReason::default(),
    })?;
    let mut sink = begun.sink.expect("the kind has a sink");
    let mut rejects = Vec::new();
    for batch in batches {
        let rows = batch.rows();
        let out = session.run(batch, TaskContext::default())?;
        assert_eq!(
            out.batch.rows() + out.rejects.len(),
            rows,
            "the ledger holds"
        );
        rejects.extend(out.rejects);
        // As it comes back from a worker process.
        sink.push(Batch::decode(&out.batch.encode()?.concat())?)?;
    }
    let counts = sink.finish()?;
    Ok((sink, rejects, counts))
}

fn load(place: &Place, plan: Plan, schema: &Schema, batches: Vec<Batch>) -> Result<Loaded> {
    let (sink, rejects, mut counts) = fill(place, plan, schema, batches)?;
    add_counts(&mut counts, sink.publish(&mut Vec::new())?);
    Ok(Loaded { counts, rejects })
}

/// Loads a few rows of key and title.
fn load_rows(place: &Place, plan: Plan, batches: &[&[(&str, &str)]]) -> Result<(u64, u64)> {
    let (schema, _) = rows(&[]);
    let batches = batches.iter().map(|batch| rows(batch).1).collect();
    let loaded = load(place, plan, &schema, batches)?;
    assert!(loaded.rejects.is_empty());
    Ok((loaded.counts["created"], loaded.counts["updated"]))
}

fn ids(place: &Place, query: &str) -> Vec<String> {
    let hits =
        search(&place.index(), query, 1_000).unwrap_or_else(|error| panic!("{}", error.render()));
    assert_eq!(hits.total, hits.hits.len() as u64);
    let mut ids: Vec<String> = hits.hits.into_iter().map(|hit| hit.id).collect();
    ids.sort();
    ids
}

/// All documents by id.
fn documents(dir: &Path) -> BTreeMap<String, Value> {
    let hits = search(dir, "*", 10_000).unwrap_or_else(|error| panic!("{}", error.render()));
    let documents: BTreeMap<_, _> = hits
        .hits
        .into_iter()
        .map(|hit| {
            (
                hit.id,
                serde_json::from_str(&hit.source).expect("a source is JSON"),
            )
        })
        .collect();
    assert_eq!(hits.total, documents.len() as u64, "ids are unique");
    documents
}

const REPLACE: Plan = Plan {
    load: "replace",
    ..PLAN
};

/// What `etl rollback` says of the index.
fn rolled_back(place: &Place, more: &str, clean: bool) -> Result<String> {
    let options = format!("to = 'local:index'\nload = 'replace'\n{more}");
    let options: toml::Table = options.parse().expect("it is TOML");
    let runs = place.0.join("runs");
    let index = KIND.index.expect("it loads one");
    let lines = index.rollback(&options, &Folder(place.0.clone()), &runs, clean, false)?;
    Ok(lines.join("\n"))
}

fn failing<T>(result: Result<T>) -> (u8, String) {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => (error.exit_code(), error.render()),
    }
}

fn has_end(name: &str, end: &str) -> bool {
    name.ends_with(end)
}

#[test]
fn the_example_decodes() {
    let mut table: toml::Table = KIND.example.parse().expect("it is TOML");
    let stages = table
        .remove("stage")
        .and_then(|stages| stages.as_array().cloned());
    let mut options = stages.expect("it has a stage")[0]
        .as_table()
        .expect("a stage is a table")
        .clone();
    for common in ["name", "kind", "inputs"] {
        options.remove(common);
    }
    assert!(
        options
            .keys()
            .all(|key| KIND.all_options().any(|option| option.name == key))
    );
    let stage = decode(options).expect("the example is right");
    assert_eq!(stage.inputs(), [Partitioning::Any]);
    assert_eq!(stage.properties().batch_rows, None);
}

#[test]
fn wrong_options_are_usage_errors() {
    let cases = [
        ("to = ['local:a', 'local:b']", "several places"),
        (
            "to = ['local:a', 'http://h']\nindex = 'a'",
            "several places",
        ),
        ("to = 'ftp://h'\nindex = 'a'", "neither `http://`"),
        ("to = 'local:'", "names no folder"),
        ("to = 'local:a'\nop = 'delete'", "`op = \"delete\"`"),
        ("to = 'local:a'\nload = 'merge'", "merge"),
        ("to = 'local:a'\nbatch_docs = 0", "`batch_docs` is 0"),
        ("index = 'a'", "to"),
        ("to = 7", "expected a string"),
    ];
    for (options, expected) in cases {
        let (exit, text) = failing(decode(options.parse().expect("it is TOML")));
        assert_eq!(exit, 2, "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_column_that_cannot_be_loaded_is_a_usage_error() {
    let place = Place::new();
    let fields = |fields: Vec<Field>| [Schema::new(fields).expect("names differ")];
    let list = Type::List(Box::new(Type::String));
    let cases = [
        (
            fields(vec![Field::new("_id", Type::String)]),
            "column `_id`",
        ),
        (
            fields(vec![Field::new("_source", Type::String)]),
            "column `_source`",
        ),
        (
            fields(vec![Field::new("kee", Type::String)]),
            "did you mean `kee`",
        ),
        (fields(vec![Field::new("key", list)]), "cannot be an `id`"),
    ];
    for (schema, expected) in cases {
        let stage = stage(&place, PLAN).expect("the options are right");
        let (exit, text) = failing(stage.schema(&schema, &Folder(place.0.clone())));
        assert_eq!(exit, 2, "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn a_mapping_file_that_is_missing_or_wrong_fails_the_run_by_name() {
    let place = Place::new();
    let (schema, _) = rows(&[]);
    let cases = [
        (None, "mapping.json"),
        (Some("{"), "mapping.json` is not JSON"),
    ];
    for (mapping, expected) in cases {
        let stage = stage(&place, Plan { mapping, ..PLAN }).expect("the options are right");
        let stage = match mapping {
            Some(_) => stage,
            None => decode(
                "to = 'local:index'\nmapping = 'no/mapping.json'"
                    .parse()
                    .expect("it is TOML"),
            )
            .expect("the options are right"),
        };
        let (exit, text) =
            failing(stage.schema(std::slice::from_ref(&schema), &Folder(place.0.clone())));
        assert_eq!(exit, 1, "{text}");
        assert!(text.contains(expected), "{text}");
    }
}

const TYPES: &str = r#"{"properties": {
    "word": {"type": "keyword"}, "text": {"type": "text"}, "long": {"type": "long"},
    "int": {"type": "integer"}, "short": {"type": "short"}, "byte": {"type": "byte"},
    "double": {"type": "double"}, "float": {"type": "float"}, "flag": {"type": "boolean"},
    "day": {"type": "date", "format": "date_optional_time"}, "place": {"type": "geo_point"}
}}"#;

/// Two rows with a value for each type of a mapping.
fn typed() -> (Schema, Batch) {
    let list = Type::List(Box::new(Type::Float));
    let fields = [
        ("key", Type::Int),
        ("word", Type::String),
        ("text", Type::String),
        ("long", Type::Int),
        ("int", Type::String),
        ("short", Type::Float),
        ("byte", Type::Int),
        ("double", Type::Float),
        ("float", Type::Int),
        ("flag", Type::Bool),
        ("day", Type::Date { utc: false }),
        ("place", list),
    ];
    let schema =
        Schema::new(fields.map(|(name, ty)| Field::new(name, ty)).to_vec()).expect("names differ");
    let texts = |texts: [&str; 2]| Column::from_strings(texts.map(Some));
    let ints = |ints: [i64; 2]| Column::from_ints(ints.to_vec(), None);
    let flags = polars_arrow::array::BooleanArray::from_slice([true, false]);
    let at = |text: &str| dates::parse(text).expect("it is a date").from;
    let places = List {
        offsets: vec![0, 2, 4].into(),
        values: Arc::new(Column::from_floats(vec![-122.4, 37.8, -73.9, 40.7], None)),
        validity: None,
    };
    let columns = vec![
        ints([1, 2]),
        texts(["San Francisco", "New York"]),
        texts(["The Crab sells Seafood", "Straße zum Café, größer"]),
        ints([i64::MAX, -5]),
        texts(["12", "400"]),
        Column::from_floats(vec![7.9, 9.0], None),
        ints([100, 101]),
        Column::from_floats(vec![1.5, 2e10], None),
        ints([3, 4]),
        Column::Bools(flags),
        ints([at("2013-03-02T08:09:10.5"), at("2013-04-01")]),
        Column::Lists(places),
    ];
    (schema, Batch::new(columns, 2))
}

#[test]
fn every_type_is_found_by_value_and_by_range() {
    let place = Place::new();
    let (schema, batch) = typed();
    let plan = Plan {
        mapping: Some(TYPES),
        ..PLAN
    };
    let loaded = load(&place, plan, &schema, vec![batch]).expect("the load is right");
    assert_eq!(
        loaded.counts,
        Counts::from([("created".into(), 2), ("updated".into(), 0)])
    );
    let cases: &[(&str, &[&str])] = &[
        ("*", &["1", "2"]),
        ("word:\"San Francisco\"", &["1"]),
        ("word:Francisco", &[]),
        ("\"New York\"", &["2"]),
        ("crab", &["1"]),
        ("CRAB AND seafood", &["1"]),
        ("text:\"sells seafood\"", &["1"]),
        ("text:\"seafood sells\"", &[]),
        ("text:s*f?od", &["1"]),
        ("text:*AFOO?", &["1"]),
        ("text:s?food", &[]),
        ("seaf??d", &["1"]),
        ("text:größer", &["2"]),
        ("café", &["2"]),
        ("* -crab", &["2"]),
        ("flag:true AND NOT crab", &[]),
        ("flag:true OR NOT crab", &["1", "2"]),
        ("NOT (crab OR word:nowhere) AND *", &["2"]),
        ("crab OR straße", &["1", "2"]),
        ("* AND NOT crab", &["2"]),
        ("long:9223372036854775807", &["1"]),
        ("long:[-10 TO 0]", &["2"]),
        ("int:12", &["1"]),
        ("int:[13 TO *]", &["2"]),
        ("short:[7 TO 7]", &["1"]),
        ("byte:{100 TO 101]", &["2"]),
        ("double:[1.4 TO 1.6]", &["1"]),
        ("double:2e10", &["2"]),
        ("float:3", &["1"]),
        ("float:[3.5 TO 4.5]", &["2"]),
        ("flag:true", &["1"]),
        ("flag:false", &["2"]),
        ("day:2013", &["1", "2"]),
        ("day:2013-03", &["1"]),
        ("day:\"2013-03-02T08:09:10.5Z\"", &["1"]),
        ("day:\"2013-03-02T08:09:10.4Z\"", &[]),
        ("day:[2013-03-02 TO 2013-03-02]", &["1"]),
        ("day:[2013-03-03 TO 2013-04-01]", &["2"]),
        ("day:[2013-03-03 TO 2013-04-01}", &[]),
        ("day:{2013-03-02 TO *]", &["2"]),
        (
            "day:[2013-03-02T00:00:00Z TO 2013-03-02T08:09:10.500Z]",
            &["1"],
        ),
        ("day:[0001-01-01 TO 9999-12-31]", &["1", "2"]),
        ("place.lat:[40 TO 41]", &["2"]),
        ("place.lon:[-123 TO -122] AND place.lat:[37 TO 38]", &["1"]),
        ("long:[* TO 0] OR flag:true", &["1", "2"]),
    ];
    for (query, expected) in cases {
        assert_eq!(ids(&place, query), *expected, "{query}");
    }
}

#[test]
fn members_that_are_not_mapped_are_found_too() {
    let place = Place::new();
    let (schema, batch) = typed();
    load(&place, PLAN, &schema, vec![batch]).expect("the load is right");
    let cases: &[(&str, &[&str])] = &[
        ("word:francisco", &["1"]),
        ("word:\"new york\"", &["2"]),
        ("york", &["2"]),
        ("long:[-10 TO 0]", &["2"]),
        ("long:-5", &["2"]),
        ("double:[1.4 TO 1.6]", &["1"]),
        ("flag:true", &["1"]),
        ("flag:*", &["1", "2"]),
        ("day:[2013-03-01T00:00:00Z TO 2013-03-31T00:00:00Z]", &["1"]),
        ("day:[2013-03 TO 2013-03]", &["1"]),
        ("day:>2013-03", &["2"]),
        ("day:2013-04", &["2"]),
        ("float:>=4", &["2"]),
        ("short:[7.5 TO 8]", &["1"]),
        ("place:[40 TO 41]", &["2"]),
    ];
    for (query, expected) in cases {
        assert_eq!(ids(&place, query), *expected, "{query}");
    }
}

#[test]
fn each_value_of_a_list_is_a_value_of_its_field() {
    let place = Place::new();
    let text_list = Type::List(Box::new(Type::String));
    let schema = Schema::new(vec![
        Field::new("key", Type::String),
        Field::new("names", text_list.clone()),
        Field::new("prices", text_list.clone()),
        Field::new("free", text_list),
    ])
    .expect("names differ");
    let list = |texts: &[Option<&str>]| {
        Column::Lists(List {
            offsets: vec![0, 0, i64::try_from(texts.len()).expect("few texts")].into(),
            values: Arc::new(Column::from_strings(texts.iter().copied())),
            validity: None,
        })
    };
    let columns = vec![
        Column::from_strings([Some("empty"), Some("full")]),
        list(&[Some("Red pens"), None, Some("Blue books")]),
        list(&[Some("1.5"), Some("20"), None]),
        list(&[Some("loose leaf"), Some("bound")]),
    ];
    let mapping = r#"{"properties": {"names": {"type": "text"}, "prices": {"type": "double"}}}"#;
    let plan = Plan {
        mapping: Some(mapping),
        ..PLAN
    };
    let loaded =
        load(&place, plan, &schema, vec![Batch::new(columns, 2)]).expect("the load is right");
    assert!(loaded.rejects.is_empty());
    for query in [
        "names:books",
        "red AND blue",
        "prices:[19 TO 21]",
        "prices:1.5",
        "free:bound",
        "leaf",
    ] {
        assert_eq!(ids(&place, query), ["full"], "{query}");
    }
    assert!(
        ids(&place, "names:\"pens blue\"").is_empty(),
        "a phrase does not cross values"
    );
    assert_eq!(
        documents(&place.index())["full"]["names"],
        json!(["Red pens", null, "Blue books"])
    );
}

#[test]
fn the_last_row_of_an_id_wins() {
    let place = Place::new();
    let first = load_rows(
        &place,
        PLAN,
        &[
            &[("a", "one"), ("b", "two"), ("a", "three")],
            &[("b", "four"), ("c", "five")],
        ],
    );
    assert_eq!(first.expect("the load is right"), (3, 2));
    let titles = |place: &Place| -> Vec<String> {
        let documents = documents(&place.index());
        documents
            .values()
            .map(|document| document["title"].as_str().unwrap_or("?").to_owned())
            .collect()
    };
    assert_eq!(titles(&place), ["three", "four", "five"]);
    assert!(
        ids(&place, "one").is_empty(),
        "what was overwritten is not found"
    );
    let second = load_rows(
        &place,
        PLAN,
        &[&[("c", "six")], &[("d", "seven"), ("c", "eight")]],
    );
    assert_eq!(second.expect("the load is right"), (1, 2));
    assert_eq!(titles(&place), ["three", "four", "eight", "seven"]);
}

/// Rows in batches of any size leave the same index, and score alike.
#[test]
fn hits_do_not_depend_on_batches_or_on_what_was_overwritten() {
    let words = ["red", "green", "blue", "black", "white"];
    let all: Vec<(String, String)> = (0..500)
        .map(|i| {
            let title: Vec<&str> = (0..=i % 4)
                .map(|k| words[(i * 7 + k * k) % words.len()])
                .collect();
            (format!("k{:03}", (i * 13) % 300), title.join(" "))
        })
        .collect();
    let mut model: BTreeMap<&str, &str> = BTreeMap::new();
    for (key, title) in &all {
        model.insert(key, title);
    }
    let mapping = r#"{"properties": {"key": {"type": "keyword"}, "title": {"type": "text"}}}"#;
    let hits = |sizes: &[usize]| {
        let place = Place::new();
        for &size in sizes {
            let borrowed: Vec<(&str, &str)> = all
                .iter()
                .map(|(key, title)| (&key[..], &title[..]))
                .collect();
            let batches: Vec<&[(&str, &str)]> = borrowed.chunks(size).collect();
            load_rows(
                &place,
                Plan {
                    mapping: Some(mapping),
                    ..PLAN
                },
                &batches,
            )
            .expect("the load is right");
        }
        let found = documents(&place.index());
        let expected: Vec<_> = model
            .iter()
            .map(|(key, title)| ((*key).to_owned(), Value::from(*title)))
            .collect();
        assert_eq!(
            found
                .into_iter()
                .map(|(id, mut document)| (id, document["title"].take()))
                .collect::<Vec<_>>(),
            expected
        );
        ["red", "red AND blue", "title:green OR black OR white", "*"]
            .map(|query| search(&place.index(), query, 25).expect("the query is right"))
    };
    let once = hits(&[1_000]);
    assert_eq!(hits(&[7]), once);
    assert_eq!(hits(&[100, 33]), once, "loaded twice");
}

#[test]
fn equal_scores_are_ordered_by_id_also_at_the_cut() {
    let place = Place::new();
    let keys: Vec<String> = (0..300).map(|i| format!("k{:03}", (i * 7) % 300)).collect();
    let all: Vec<(&str, &str)> = keys
        .iter()
        .map(|key| (&key[..], if key == "k250" { "same same" } else { "same" }))
        .collect();
    for part in all.chunks(60) {
        load_rows(&place, PLAN, &[part]).expect("the load is right");
    }
    let found = |limit| {
        let hits = search(&place.index(), "same", limit).expect("the query is right");
        assert_eq!(hits.total, 300);
        hits.hits.into_iter().map(|hit| hit.id).collect::<Vec<_>>()
    };
    let mut expected: Vec<String> = (0..300).map(|i| format!("k{i:03}")).collect();
    let best = expected.remove(250);
    expected.insert(0, best);
    for limit in [0, 1, 2, 10, 299, 300, 1_000] {
        assert_eq!(found(limit), expected[..limit.min(300)], "{limit}");
    }
}

#[test]
fn a_row_that_does_not_fit_is_rejected_and_says_why() {
    let place = Place::new();
    let schema = Schema::new(vec![
        Field::new("key", Type::String),
        Field::new("n", Type::String),
        Field::new("at", Type::String),
    ])
    .expect("names differ");
    let long = "x".repeat(513);
    let columns = vec![
        Column::from_strings([
            Some("a"),
            None,
            Some(""),
            Some("b"),
            Some("c"),
            Some(&long),
            Some("d"),
        ]),
        Column::from_strings([
            Some("1"),
            Some("2"),
            Some("3"),
            Some("abc"),
            Some("4"),
            Some("5"),
            Some("6"),
        ]),
        Column::from_strings([
            Some("2013"),
            None,
            None,
            Some("never"),
            Some("never"),
            None,
            None,
        ]),
    ];
    let mapping = r#"{"properties": {"n": {"type": "long"}, "at": {"type": "date"}}}"#;
    let plan = Plan {
        mapping: Some(mapping),
        ..PLAN
    };
    let batch = Batch::new(columns, 7).with_origins(Some((100..107).collect::<Vec<u64>>().into()));
    let loaded = load(&place, plan, &schema, vec![batch]).expect("the load is right");
    let rejects: Vec<_> = loaded
        .rejects
        .iter()
        .map(|reject| {
            (
                reject.row,
                reject.origin,
                reject.column.as_deref(),
                &reject.reason[..reject.reason.len().min(40)],
            )
        })
        .collect();
    let expected = [
        (1, Some(101), Some("key"), "id column `key` is null"),
        (2, Some(102), Some("key"), "the id is empty"),
        (3, Some(103), Some("n"), "cannot index `abc` as long"),
        (4, Some(104), Some("at"), "cannot index `never` as date"),
        (
            5,
            Some(105),
            Some("key"),
            "id `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        ),
    ];
    assert_eq!(rejects, expected);
    assert_eq!(loaded.rejects[2].value.as_deref(), Some("abc"));
    assert_eq!(
        documents(&place.index()).into_keys().collect::<Vec<_>>(),
        ["a", "d"]
    );
    assert_eq!(
        documents(&place.index())["d"],
        json!({"key": "d", "n": "6"})
    );
}

#[test]
fn ids_are_joined_from_columns_or_numbered() {
    let place = Place::new();
    let plan = Plan {
        id: "id = ['title', 'key']",
        ..PLAN
    };
    load_rows(&place, plan, &[&[("a", "one"), ("b", "two")]]).expect("the load is right");
    assert_eq!(ids(&place, "*"), ["one-a", "two-b"]);
    let numbered = Plan {
        id: "",
        load: "replace",
        ..PLAN
    };
    let counts = load_rows(
        &place,
        numbered,
        &[&[("a", "one")], &[("a", "one"), ("a", "one")]],
    );
    assert_eq!(counts.expect("the load is right"), (3, 0));
    let ids = ids(&place, "one");
    assert!(ids[0].ends_with("-0") && ids[2].ends_with("-2"), "{ids:?}");
}

/// The index after a load that did not end well is the index before it.
#[test]
fn a_load_that_is_not_published_leaves_everything_as_it_was() {
    let (schema, batch) = rows(&[("a", "new"), ("z", "new")]);
    for load in ["append", "replace", "create"] {
        for filled in [false, true] {
            let place = Place::new();
            if filled {
                load_rows(&place, PLAN, &[&[("a", "old"), ("b", "old")]])
                    .expect("the load is right");
            }
            if filled && load == "create" {
                continue;
            }
            let before = (place.names(), filled.then(|| documents(&place.index())));
            let plan = Plan { load, ..PLAN };
            let (sink, ..) =
                fill(&place, plan, &schema, vec![batch.clone()]).expect("the load is right");
            assert_eq!(
                filled.then(|| documents(&place.index())),
                before.1,
                "{load}: nothing is visible yet"
            );
            drop(sink);
            let after = (place.names(), filled.then(|| documents(&place.index())));
            assert_eq!(after, before, "{load}, filled: {filled}");
            if filled {
                let files = std::fs::read_dir(place.index())
                    .expect("it is there")
                    .count();
                load_rows(&place, plan, &[&[("c", "old")]]).expect("it can be written again");
                assert!(files < 40, "no segments are left behind: {files} files");
            }
        }
    }
}

#[test]
fn replace_puts_a_whole_index_in_place() {
    let place = Place::new();
    let old = r#"{"properties": {"title": {"type": "text"}}}"#;
    let new = r#"{"properties": {"title": {"type": "keyword"}}}"#;
    load_rows(
        &place,
        Plan {
            mapping: Some(old),
            ..PLAN
        },
        &[&[("a", "old words"), ("b", "old")]],
    )
    .expect("a load");
    let replace = Plan {
        load: "replace",
        mapping: Some(new),
        ..PLAN
    };
    let counts = load_rows(
        &place,
        replace,
        &[&[("a", "new words"), ("a", "new words"), ("c", "new")]],
    );
    assert_eq!(counts.expect("the load is right"), (2, 1));
    assert_eq!(
        documents(&place.index()).into_keys().collect::<Vec<_>>(),
        ["a", "c"]
    );
    assert_eq!(ids(&place, "title:\"new words\""), ["a"]);
    assert!(ids(&place, "words").is_empty(), "the new mapping holds");
    let names = place.names();
    assert_eq!([&names[0], &names[2]], ["index", "mapping.json"]);
    assert!(has_end(&names[1], ".kept"), "{names:?}");
}

#[test]
fn what_a_killed_append_left_goes_with_the_next_even_if_that_fails() {
    let place = Place::new();
    load_rows(&place, PLAN, &[&[("a", "one")]]).expect("a load");
    let index = place.index();
    let (schema, batch) = rows(&[("b", "two")]);
    // A segment that no commit names, and files that tantivy was writing.
    let segment = "0123456789abcdef0123456789abcdef.store";
    let list = std::fs::read_to_string(index.join(".managed.json")).expect("it is there");
    let list = list.replacen('[', &format!("[\"{segment}\","), 1);
    let meta = std::fs::read_to_string(index.join("meta.json")).expect("it is there");
    let left = [
        (segment, ""),
        (".managed.json", &list),
        (".tmpAAAAAA", ""),
        (".tmpBBBBBB", &meta),
        (".tmpCCCCCC", &list),
        (".tmpnotes1", "not of tantivy"),
        (".tmpDDDDDD", "{\"a\": 1}"),
    ];
    for (name, text) in left {
        std::fs::write(index.join(name), text).expect("the folder takes files");
    }
    let (sink, ..) = fill(&place, PLAN, &schema, vec![batch]).expect("a load");
    for (name, _) in left {
        let stays = [".managed.json", ".tmpnotes1", ".tmpDDDDDD"].contains(&name);
        assert_eq!(index.join(name).exists(), stays, "{name}");
    }
    drop(sink);
    assert_eq!(ids(&place, "*"), ["a"]);
}

#[test]
fn who_may_read_the_mapping_may_read_tantivys_lists() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    for load in ["append", "append", "replace"] {
        load_rows(&place, Plan { load, ..PLAN }, &[&[("a", "one")]]).expect("a load");
        let mode = |name: &str| {
            let found = std::fs::metadata(place.index().join(name));
            found.expect("it is there").permissions().mode()
        };
        for name in ["meta.json", ".managed.json"] {
            assert_eq!(mode(name), mode("mapping.json"), "{load}: {name}");
        }
    }
}

#[test]
fn an_error_of_the_system_in_one_of_tantivys_says_what_next() {
    use tantivy::directory::error::{LockError, OpenWriteError};
    let system = |code| std::sync::Arc::new(std::io::Error::from_raw_os_error(code));
    let write = OpenWriteError::IoError {
        io_error: system(nix::libc::EMFILE),
        filepath: "x".into(),
    };
    let text = format!("{write:?}");
    let errors = [
        (write.into(), "`ulimit -n`"),
        (tantivy::TantivyError::ErrorInThread(text), "`ulimit -n`"),
        (
            LockError::IoError(system(nix::libc::EACCES)).into(),
            "`.tantivy-meta.lock`",
        ),
    ];
    for (error, next) in errors {
        let error = opening::failed("search", Path::new("ix"), &error);
        assert!(error.hint.is_some_and(|hint| hint.contains(next)), "{next}");
    }
}

#[test]
fn what_others_put_into_the_folder_of_an_index_is_no_file_of_it() {
    let segment = "0123456789abcdef0123456789abcdef";
    let names = [
        ".tmp-notes",
        ".tmpabcdefg",
        ".tantivy-notes",
        &format!("{segment}.jpg"),
    ];
    for name in names
        .into_iter()
        .map(str::to_owned)
        .chain([segment.to_owned()])
    {
        let place = Place::new();
        load_rows(&place, PLAN, &[&[("a", "one")]]).expect("a load");
        // As tantivy leaves one when it is killed.
        std::fs::write(place.index().join(".tmpAbC123"), "").expect("the folder takes files");
        let file = place.index().join(&name);
        if name == segment {
            std::fs::create_dir(&file).expect("the folder takes folders");
        } else {
            std::fs::write(&file, "x").expect("the folder takes files");
        }
        let (exit, error) = failing(load_rows(&place, replace_with(""), &[&[("b", "two")]]));
        assert_eq!(exit, 1);
        assert!(error.contains(&format!("holds `{name}`")), "{error}");
        // It comes while the new index is made: the old one is put aside, and stays.
        let aside = place.0.join("aside");
        std::fs::rename(&file, &aside).expect("it can be moved");
        let (schema, batch) = rows(&[("b", "two")]);
        let plan = replace_with("keep = 0");
        let (sink, ..) = fill(&place, plan, &schema, vec![batch]).expect("a load");
        std::fs::rename(&aside, &file).expect("it can be moved back");
        let mut warnings = Vec::new();
        sink.publish(&mut warnings).expect("the new index is there");
        assert!(
            warnings[0].contains(&format!("holds `{name}`")),
            "{warnings:?}"
        );
        load_rows(&place, plan, &[&[("c", "three")]]).expect("a load");
        let kept = place
            .names()
            .into_iter()
            .find(|name| has_end(name, ".kept"));
        assert!(place.0.join(kept.expect("it stays")).join(&name).exists());
    }
}

/// As the pipeline file has them, beside the other options of a test.
fn replace_with(more: &'static str) -> Plan<'static> {
    Plan {
        id: more,
        ..REPLACE
    }
}

#[test]
fn a_replacement_of_too_few_documents_is_not_published() {
    let place = Place::new();
    let (_, error) = failing(load_rows(&place, REPLACE, &[]));
    assert!(
        error.contains("no documents, fewer than `min_documents` (1)"),
        "{error}"
    );
    assert!(place.names().is_empty(), "{:?}", place.names());
    let old: &[(&str, &str)] = &[("a", "old"), ("b", "old"), ("c", "old"), ("d", "old")];
    load_rows(&place, REPLACE, &[old]).expect("the first may have any size");
    for rows in [&[][..], &[("x", "new")]] {
        let (exit, error) = failing(load_rows(&place, REPLACE, &[rows]));
        assert_eq!(exit, 1);
        let says = if rows.is_empty() {
            "`min_documents`"
        } else {
            "1 document, and the one that it replaces 4"
        };
        assert!(
            error.contains(says) && error.contains("hint: nothing was published"),
            "{error}"
        );
        assert_eq!(ids(&place, "*"), ["a", "b", "c", "d"]);
        assert_eq!(place.names(), ["index"], "nothing is left");
    }
    let few = replace_with("id = 'key'\nmin_share = 0.25");
    load_rows(&place, few, &[&[("x", "new")]]).expect("a quarter is allowed");
    let none = replace_with("id = 'key'\nmin_share = 0\nmin_documents = 0");
    load_rows(&place, none, &[]).expect("nothing is allowed");
    assert!(ids(&place, "*").is_empty());
}

#[test]
fn a_replaced_index_is_kept_and_can_be_gone_back_to() {
    let place = Place::new();
    let (exit, error) = failing(rolled_back(&place, "", false));
    assert_eq!(exit, 1);
    assert!(
        error.contains("is kept") && error.contains("hint:"),
        "{error}"
    );
    let load = |key, plan| load_rows(&place, plan, &[&[(key, "one")]]).expect("a load");
    load("a", REPLACE);
    assert_eq!(place.names(), ["index"], "there was nothing to keep");
    load("b", REPLACE);
    assert_eq!(ids(&place, "*"), ["b"]);
    assert_eq!(place.names().len(), 2);
    for (now, kept) in [("a", "b"), ("b", "a"), ("a", "b")] {
        let said = rolled_back(&place, "", false).expect("it is kept");
        assert!(
            said.contains("(1 document) again") && said.contains(".kept`"),
            "{said}"
        );
        assert_eq!(said.contains("which replaced it"), now == "b", "{said}");
        assert_eq!(ids(&place, "*"), [now], "there and back");
        let names = place.names();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(
            documents(&place.0.join(&names[1]))
                .into_keys()
                .collect::<Vec<_>>(),
            [kept]
        );
    }
    // What only looks like one of ours stays: a copy, and a folder with other things.
    let others = ["index.backup.kept", "index.20250101T000000-0000.kept"];
    for other in others {
        std::fs::create_dir(place.0.join(other)).expect("the folder takes folders");
    }
    let three = replace_with("id = 'key'\nkeep = 2");
    for key in ["c", "d", "e"] {
        load(key, three);
    }
    assert_eq!(place.names().len(), 3 + others.len(), "{:?}", place.names());
    rolled_back(&place, "", false).expect("it is kept");
    assert_eq!(ids(&place, "*"), ["d"], "the newest");
    load("f", replace_with("id = 'key'\nkeep = 0"));
    let mut left = vec!["index"];
    left.extend(others);
    left.sort_unstable();
    assert_eq!(place.names(), left);
}

#[test]
fn a_kill_while_indices_change_places_loses_neither() {
    let place = Place::new();
    let load = |key| load_rows(&place, REPLACE, &[&[(key, "one")]]).expect("a load");
    load("a");
    load("b");
    // As if the run that loaded `b` had been killed before it could keep `a`.
    let kept = place.names().remove(1);
    let part = kept.replace(".kept", ".part");
    let kill = || std::fs::rename(place.0.join(&kept), place.0.join(&part));
    kill().expect("it can be renamed");
    let said = rolled_back(&place, "", true).expect("there is nothing to do");
    assert!(said.contains("nothing of"), "{said}");
    assert_eq!(place.names(), ["index", &kept]);
    kill().expect("it can be renamed");
    rolled_back(&place, "", false).expect("it is kept all the same");
    assert_eq!(ids(&place, "*"), ["a"]);
    assert_eq!(place.names(), ["index", &kept]);
    // A part of the run that is in its name was never published.
    let (schema, batch) = rows(&[("z", "one")]);
    let (sink, ..) = fill(&place, REPLACE, &schema, vec![batch]).expect("a load");
    let copied = place
        .names()
        .into_iter()
        .find(|name| has_end(name, ".part"));
    let copied = place.0.join(copied.expect("it is written"));
    let dead = partial_file::beside(&place.index(), "20260101T000000-eeee", partial_file::PART);
    std::fs::create_dir(&dead).expect("the folder takes folders");
    for entry in std::fs::read_dir(&copied).expect("it is there") {
        let entry = entry.expect("it can be listed");
        std::fs::copy(entry.path(), dead.join(entry.file_name())).expect("it can be copied");
    }
    let mapping = std::fs::read_to_string(dead.join("mapping.json")).expect("it is text");
    let run = &mapping[mapping.find("20260101T").expect("it names the run")..][..20];
    let mapping = mapping.replace(run, "20260101T000000-eeee");
    std::fs::write(dead.join("mapping.json"), mapping).expect("it can be written");
    drop(sink);
    let said = rolled_back(&place, "", true).expect("it can be cleaned");
    assert!(
        said.contains("`20260101T000000-eeee` left half loaded"),
        "{said}"
    );
    assert_eq!(place.names(), ["index", &kept]);
}

#[test]
fn a_link_to_the_index_stays_a_link() {
    let place = Place::new();
    std::fs::create_dir(place.0.join("real")).expect("the folder takes folders");
    std::os::unix::fs::symlink(place.0.join("real"), place.index()).expect("it takes links");
    load_rows(&place, PLAN, &[&[("a", "old")]]).expect("a load into an empty folder");
    load_rows(
        &place,
        Plan {
            load: "replace",
            ..PLAN
        },
        &[&[("b", "new")]],
    )
    .expect("a load");
    assert!(place.index().is_symlink());
    assert_eq!(ids(&place, "*"), ["b"]);
    let names = place.names();
    assert_eq!(names[..2], ["index", "real"]);
    assert!(names[2].starts_with("real.") && has_end(&names[2], ".kept"));
    rolled_back(&place, "", false).expect("the old one is kept");
    assert!(place.index().is_symlink());
    assert_eq!(ids(&place, "*"), ["a"]);
}

#[test]
fn a_mapping_that_differs_is_refused() {
    let place = Place::new();
    let mapping = |of: &str| {
        format!(
            r#"{{"properties": {{"title": {{"type": "{of}"}}, "key": {{"type": "keyword"}}}}}}"#
        )
    };
    let (text, keyword) = (mapping("text"), mapping("keyword"));
    let with = |mapping| Plan { mapping, ..PLAN };
    load_rows(&place, with(Some(&text)), &[&[("a", "one two")]]).expect("a load");
    let (exit, error) = failing(load_rows(
        &place,
        with(Some(&keyword)),
        &[&[("b", "one two")]],
    ));
    assert_eq!(exit, 1);
    assert!(
        error.contains("in `title`\n") && error.contains("hint: `load = \"replace\"`"),
        "{error}"
    );
    let same =
        r#"{"mappings": {"properties": {"key": {"type": "keyword"}, "title": {"type": "text"}}}}"#;
    load_rows(&place, with(Some(same)), &[&[("b", "one two")]]).expect("the same in another order");
    load_rows(&place, with(None), &[&[("c", "one two")]]).expect("none given: the index's own");
    assert_eq!(ids(&place, "title:two"), ["a", "b", "c"]);
}

#[test]
fn what_stands_in_the_way_is_named_and_kept() {
    let place = Place::new();
    load_rows(&place, PLAN, &[&[("a", "one")]]).expect("a load");
    let (exit, error) = failing(load_rows(
        &place,
        Plan {
            load: "create",
            ..PLAN
        },
        &[],
    ));
    assert_eq!(exit, 1);
    assert!(error.contains("is there already"), "{error}");

    let (schema, batch) = rows(&[("b", "two")]);
    let (writing, ..) = fill(&place, PLAN, &schema, vec![batch]).expect("a load");
    for load in ["append", "replace"] {
        let (exit, error) = failing(load_rows(&place, Plan { load, ..PLAN }, &[]));
        assert_eq!(exit, 1);
        assert!(error.contains("is being written by another run"), "{error}");
    }
    writing
        .publish(&mut Vec::new())
        .expect("the first run is not disturbed");
    assert_eq!(ids(&place, "*"), ["a", "b"]);

    let other = Place::new();
    std::fs::create_dir(other.index()).expect("the folder takes folders");
    std::fs::write(other.index().join("thesis.txt"), "years of work").expect("and files");
    for load in ["append", "create", "replace"] {
        let (exit, error) = failing(load_rows(&other, Plan { load, ..PLAN }, &[&[("a", "one")]]));
        assert_eq!(exit, 1);
        assert!(error.contains("is there and is not an index"), "{error}");
        assert!(other.index().join("thesis.txt").is_file());
    }
    std::fs::remove_dir_all(other.index()).expect("it is ours");
    std::fs::write(other.index(), "a file").expect("the folder takes files");
    let (exit, _) = failing(load_rows(&other, PLAN, &[&[("a", "one")]]));
    assert_eq!(exit, 1);
}

#[test]
fn an_empty_load_is_an_index_without_documents() {
    let place = Place::new();
    assert_eq!(load_rows(&place, PLAN, &[]).expect("a load"), (0, 0));
    assert!(ids(&place, "* OR word").is_empty());
    assert_eq!(load_rows(&place, PLAN, &[&[]]).expect("a load"), (0, 0));
}

const TITLED: Plan = Plan {
    mapping: Some(r#"{"properties": {"title": {"type": "text"}}}"#),
    ..PLAN
};

#[test]
fn words_may_be_begun_and_values_asked_for_at_all() {
    let place = Place::new();
    let rows: &[&[(&str, &str)]] = &[&[("a", "Micro scope"), ("b", "microbe"), ("c", "Ma.cro")]];
    load_rows(&place, TITLED, rows).expect("a load");
    for (query, found) in [
        ("micro*", &["a", "b"][..]),
        ("title:MICRO*", &["a", "b"]),
        ("title:scope*", &["a"]),
        ("mi* AND NOT scope*", &["b"]),
        ("m.*", &[]),
        ("title:[* TO *]", &["a", "b", "c"]),
        ("NOT title:micro*", &["c"]),
    ] {
        assert_eq!(ids(&place, query), found, "{query}");
    }
}

/// Columns of one row: `at` and `n` of these types, `word`, and `none`, which is null.
fn at_and_n(key: &str, at: (Type, Column), n: (Type, Column)) -> (Schema, Batch) {
    let fields = vec![
        Field::new("key", Type::String),
        Field::new("at", at.0),
        Field::new("n", n.0),
        Field::new("word", Type::String),
        Field::new("none", Type::String),
    ];
    let columns = vec![
        Column::from_strings([Some(key)]),
        at.1,
        n.1,
        Column::from_strings([Some("2013-05")]),
        Column::from_strings([None::<&str>]),
    ];
    let schema = Schema::new(fields).expect("names differ");
    (schema, Batch::new(columns, 1))
}

fn day(text: &str) -> (Type, Column) {
    let at = dates::parse(text).expect("it is a date").from;
    (Type::Date { utc: false }, Column::from_ints(vec![at], None))
}

fn int(number: i64) -> (Type, Column) {
    (Type::Int, Column::from_ints(vec![number], None))
}

fn text(text: &str) -> (Type, Column) {
    (Type::String, Column::from_strings([Some(text)]))
}

const LONG: &str = r#"{"properties": {"n": {"type": "long"}}}"#;

#[test]
fn values_of_two_types_do_not_meet_in_a_field() {
    let place = Place::new();
    let fields = |n: Type, word: Type, late: Option<(Type, Column)>| {
        let of = |ty: &Type| match ty {
            Type::Int => int(1).1,
            Type::Float => Column::from_floats(vec![1.5], None),
            _ => Column::from_strings([Some("7")]),
        };
        let mut columns = vec![text("a").1, of(&n), of(&word)];
        let mut fields = vec![
            Field::new("key", Type::String),
            Field::new("n", n),
            Field::new("word", word),
        ];
        if let Some((ty, column)) = late {
            fields.push(Field::new("late", ty));
            columns.push(column);
        }
        let schema = Schema::new(fields).expect("names differ");
        (schema, Batch::new(columns, 1))
    };
    let add = |(schema, batch): (Schema, Batch)| load(&place, PLAN, &schema, vec![batch]).map(drop);
    add(fields(Type::Int, Type::String, None)).expect("it is new");
    add(fields(Type::Int, Type::String, Some(int(1)))).expect("a column may come later");
    let wrong = [
        (
            fields(Type::String, Type::String, None),
            ["`n` is a `string`", "`n` as `long`"],
        ),
        (
            fields(Type::Float, Type::String, None),
            ["`n` is a `float`", "`n` as `long`"],
        ),
        (
            fields(Type::Int, Type::Int, None),
            ["`word` is a `int`", "`word` as `text`"],
        ),
        (
            fields(Type::Int, Type::String, Some(text("x"))),
            ["`late` is a `string`", "`late` as `number`"],
        ),
    ];
    for (rows, says) in wrong {
        let (exit, error) = failing(add(rows));
        assert_eq!(exit, 1, "{error}");
        for part in says.into_iter().chain(["`types`", "load = \"replace\""]) {
            assert!(error.contains(part), "{part}: {error}");
        }
        // A mapping that names what the index holds as no field differs from the index's.
        assert_eq!(
            error.contains("`mapping`"),
            says[0].contains("`n`"),
            "{error}"
        );
    }
    let place = Place::new();
    let (schema, batch) = at_and_n("a", text("x"), int(1));
    load(&place, PLAN, &schema, vec![batch]).expect("it is new");
    let (schema, batch) = at_and_n("b", day("2013-05-06"), int(1));
    let (exit, error) = failing(load(&place, PLAN, &schema, vec![batch]).map(drop));
    assert_eq!(exit, 1, "{error}");
    assert!(error.contains("has the field `at` as `text`"), "{error}");
    let other = Place::new();
    let (schema, batch) = fields(Type::Float, Type::String, None);
    load(&other, PLAN, &schema, vec![batch]).expect("it is new");
    let (schema, batch) = fields(Type::Int, Type::String, None);
    load(&other, PLAN, &schema, vec![batch]).expect("an int is a float");
}

#[test]
fn what_is_added_has_the_type_that_its_field_has_from_a_column() {
    let place = Place::new();
    let add = |key, mapping, at, n| {
        let (schema, batch) = at_and_n(key, at, n);
        let loaded = load(&place, Plan { mapping, ..PLAN }, &schema, vec![batch]);
        loaded.map(|loaded| loaded.rejects.len())
    };
    let rejects = [
        add("a", None, day("2013-05-06"), int(7)),
        add("b", Some(LONG), text("2014-01-02"), text("8")),
        add("c", Some(LONG), day("2015-01-02"), text("many")),
        // A mapping may come to name what the column said.
        add("d", Some(LONG), day("1066-10-14"), int(9)),
    ];
    let rejects = rejects.map(|rejects| rejects.expect("the load is right"));
    assert_eq!(rejects, [0, 0, 1, 0], "only `many` is no number");
    assert_eq!(ids(&place, "at:[2013 TO 2013-12]"), ["a"]);
    assert_eq!(ids(&place, "at:[2014-01-02 TO *]"), ["b"]);
    assert_eq!(ids(&place, "at:<2013"), ["d"], "as near as the index can");
    assert_eq!(ids(&place, "n:[8 TO 100]"), ["b", "d"]);
    let keyword = r#"{"properties": {"n": {"type": "keyword"}}}"#;
    let (exit, error) = failing(add("e", Some(keyword), day("2013"), int(1)));
    assert_eq!(exit, 1);
    assert!(error.contains("in `n`\n"), "{error}");
    // A column that comes later is no field; what can be compared is.
    let schema = Schema::new(vec![
        Field::new("key", Type::String),
        Field::new("size", Type::Float),
        Field::new("seen", Type::Date { utc: true }),
    ]);
    let columns = vec![
        Column::from_strings([Some("f")]),
        Column::from_floats(vec![1.5], None),
        day("2020-02-02").1,
    ];
    let schema = schema.expect("names differ");
    load(&place, PLAN, &schema, vec![Batch::new(columns, 1)]).expect("the load is right");
    assert_eq!(ids(&place, "size:[1 TO 2]"), ["f"]);
    assert_eq!(ids(&place, "seen:[2020-02 TO 2020-02]"), ["f"]);
    assert_eq!(ids(&place, "seen:2020"), ["f"]);
}

#[test]
fn a_list_has_the_type_of_its_values() {
    let place = Place::new();
    let of = |values: Column| {
        Column::Lists(List {
            offsets: vec![0, 2].into(),
            values: Arc::new(values),
            validity: None,
        })
    };
    let list = |ty: Type| Type::List(Box::new(ty));
    let days = ["2013-05-06", "2015-01-01"].map(|text| dates::parse(text).expect("a date").from);
    let (schema, batch) = at_and_n(
        "a",
        (
            list(Type::Date { utc: true }),
            of(Column::from_ints(days.to_vec(), None)),
        ),
        (list(Type::Int), of(Column::from_ints(vec![1, 50], None))),
    );
    load(&place, PLAN, &schema, vec![batch]).expect("the load is right");
    for (query, found) in [
        ("at:[2013-05 TO 2013-06]", true),
        ("at:[2014 TO 2014]", false),
        ("at:2015", true),
        ("n:[40 TO 60]", true),
        ("n:[2 TO 49]", false),
    ] {
        assert_eq!(!ids(&place, query).is_empty(), found, "{query}");
    }
}

#[test]
fn a_name_or_a_range_that_means_nothing_is_an_error() {
    let place = Place::new();
    let (schema, batch) = at_and_n("a", day("2013-05-06"), int(7));
    let mapping = r#"{"properties": {"key": {"type": "keyword"}, "where": {"type": "geo_point"}}}"#;
    let plan = Plan {
        mapping: Some(mapping),
        ..PLAN
    };
    load(&place, plan, &schema, vec![batch]).expect("a load");
    let cases = [
        ("wrod:one", "no field `wrod`", "did you mean `word`?"),
        ("n:7 OR wrod:[1 TO 2]", "no field `wrod`", "did you mean"),
        ("wrod:*", "no field `wrod`", "did you mean"),
        ("wrod:IN [a b]", "no field `wrod`", "did you mean"),
        ("wrod:begin*", "no field `wrod`", "did you mean"),
        ("other:[1 TO 2]", "no field `other`", "for example"),
        (
            "where:[1 TO 2]",
            "`where.lat` and `where.lon`",
            "for example",
        ),
        ("key:[a TO b]", "`key` is a `keyword` field", "`mapping`"),
        ("word:[2013 TO 2014]", "`word` is text without", "`types`"),
        ("word:>2013", "`word` is text without", "`types`"),
        ("none:[1 TO 2]", "`none` is text without", "`types`"),
        ("word:begin*", "`word` is text without", "`mapping`"),
        ("word:b?gin", "`word` is text without", "`mapping`"),
        ("n:1*", "`n` is a `long` field", "`mapping`"),
        ("n:[20 TO 10]", "begins at `20`", "`n:[10 TO 20]`"),
        ("at:[2014 TO 2013-05]", "begins at `2014`", "stands first"),
    ];
    for (query, cause, hint) in cases {
        let (exit, error) = failing(search(&place.index(), query, 1));
        assert_eq!(exit, 2, "{query}: {error}");
        let (says, next) = error.split_once("hint: ").expect("it says what to do");
        assert!(says.contains(query) && says.contains(cause), "{error}");
        assert!(next.contains(hint), "{error}");
    }
    assert!(
        ids(&place, "none:one").is_empty(),
        "a column without a value"
    );
    assert!(ids(&place, "none:*").is_empty(), "a column without a value");
    assert!(ids(&place, "where.lat:[1 TO 2]").is_empty());
}

#[test]
fn a_query_that_cannot_be_asked_says_so() {
    let place = Place::new();
    let (schema, batch) = typed();
    load(
        &place,
        Plan {
            mapping: Some(TYPES),
            ..PLAN
        },
        &schema,
        vec![batch],
    )
    .expect("a load");
    for (query, cause) in [
        ("text:(", ", after `text:(`"),
        ("(a OR", "a `(` is not closed, after `(a OR`"),
        ("a) b", "a `)` closes nothing, after `a`"),
        ("long:[1 TO", "a word is missing, after `long:[1 TO`"),
        (
            "long:[1 2]",
            "`TO` is missing in the range, after `long:[1`",
        ),
        ("word:IN [a", "a `[` is not closed"),
        ("long:abc", "`long` is a whole number, and `abc` is not"),
        ("byte:7.5", "`byte` is a whole number, and `7.5` is not"),
        ("flag:yes", "`flag` is `true` or `false`, and `yes` is not"),
        ("day:soon", "`day` is a date, and `soon` is not"),
        ("day:06/05/2013", "`day` is a date, and `06/05/2013` is not"),
        ("[1 TO 2]", "a range needs a field before it"),
        ("/a.c/", "a pattern needs a field before it"),
        ("day:[2013 TO later]", "`day` is a date, and `later` is not"),
        ("double:abc", "`double` is a number, and `abc` is not"),
        (
            "double:[* TO abc]",
            "`double` is a number, and `abc` is not",
        ),
        (
            "long:IN [1 abc]",
            "`long` is a whole number, and `abc` is not",
        ),
        (
            "double:[1 TO nan]",
            "`double` is a number, and `nan` is not",
        ),
        ("double:<-inf", "`double` is a number, and `-inf` is not"),
        ("double:1e999", "`double` is a number, and `1e999` is not"),
        ("day:[2013-99-99 TO *]", "and `2013-99-99` is not"),
        ("long:(-3)", "it excludes `3`"),
        ("a OR double:(1 OR -2.5)", "it excludes `2.5`"),
        ("double:1*", "`double` is a `double` field"),
        ("member:begin*", "no field `member`"),
        ("\"open", "a quote is not closed, after `\"open`"),
        ("größe:'open", "a quote is not closed, after `größe:'open`"),
        (
            ":",
            "a `:` stands where no field is named, at its beginning",
        ),
        ("a AND", "`AND` or `OR` lacks a word on one side"),
        ("AND a", "`AND` or `OR` lacks a word before it"),
        ("NOT", "`NOT` lacks a word after it"),
        ("a\\", "it ends with `\\`"),
        ("text:crab~2", "`crab~2`: words that are alike"),
        (
            "double:[2.5 TO -1]",
            "begins at `2.5`, which is above its end `-1`",
        ),
    ] {
        let (exit, error) = failing(search(&place.index(), query, 10));
        assert_eq!(exit, 2, "{query}: {error}");
        assert!(error.contains(query) && error.contains("hint:"), "{error}");
        assert!(error.contains(cause), "{query}: {error}");
    }
    for query in [
        "*:*",
        "long:[-10 TO 0] OR long:>0",
        "* AND long:(NOT 99)",
        "\"te*t\" OR *",
    ] {
        assert_eq!(ids(&place, query).len(), 2, "{query}");
    }
    let (exit, error) = failing(search(&place.0.join("nowhere"), "a", 10));
    assert_eq!(exit, 1);
    assert!(
        error.contains("no index in") && error.contains("hint:"),
        "{error}"
    );
}

#[test]
fn unicode_and_awkward_text_come_back_as_they_were() {
    let place = Place::new();
    let long_word = "w".repeat(200);
    let cases = [
        ("ключ", "Привет мир"),
        ("鍵", "東京 タワー"),
        ("😀", "emoji 👩‍👩‍👧 family"),
        ("q\"uote", "back\\slash \"quotes\" \u{1} control"),
        ("long", &long_word),
        ("empty", ""),
    ];
    load_rows(&place, PLAN, &[&cases]).expect("the load is right");
    let documents = documents(&place.index());
    for (key, title) in cases {
        assert_eq!(documents[key], json!({"key": key, "title": title}));
    }
    assert_eq!(ids(&place, "привет"), ["ключ"]);
    assert_eq!(ids(&place, "title:東京"), ["鍵"]);
    assert_eq!(ids(&place, &long_word), ["long"], "a long word is found");
}

/// Rows of `key` (`0`, `1`, ...) and the column `v` of JSON values.
fn json_values(values: &[&str]) -> (Schema, Batch) {
    let json = Field {
        json: true,
        ..Field::new("v", Type::String)
    };
    let schema = Schema::new(vec![Field::new("key", Type::Int), json]);
    let keys = (0..).take(values.len()).collect();
    let columns = vec![
        Column::from_ints(keys, None),
        Column::from_strings(values.iter().map(Some)),
    ];
    let batch = Batch::new(columns, values.len());
    (schema.expect("names differ"), batch)
}

/// The ids of what each query finds.
fn assert_found(place: &Place, cases: &[(&str, &[&str])]) {
    for (query, expected) in cases {
        assert_eq!(ids(place, query), *expected, "{query}");
    }
}

/// A type of a mapping, JSON values, and the ids of what each query finds.
type OfMapping<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a [&'a str])]);

const MAPPED_JSON: &[OfMapping] = &[
    (
        "keyword",
        &[
            r#"["New York","Rome"]"#,
            r#""Rome""#,
            r#"["Rome"]"#,
            r#"[["Paris",[null,"Rome"]],"Z\u00fcrich"]"#,
            "[]",
            "null",
            "[1.10,true,12345678901234567890123]",
        ],
        &[
            ("v:Rome", &["0", "1", "2", "3"]),
            ("v:\"New York\"", &["0"]),
            ("v:New", &[]),
            ("v:Zürich", &["3"]),
            ("v:Zü*", &["3"]),
            ("v:*", &["0", "1", "2", "3", "6"]),
            ("v:1.10", &["6"]),
            ("v:true", &["6"]),
            ("v:12345678901234567890123", &["6"]),
            ("v:null", &[]),
            ("Paris", &["3"]),
        ],
    ),
    (
        "text",
        &[
            r#"["Red pens",["Blue books"]]"#,
            r#""caf\u00e9\nau lait""#,
            "7",
        ],
        &[
            ("v:books", &["0"]),
            ("v:\"pens blue\"", &[]),
            ("v:\"blue books\"", &["0"]),
            ("café AND lait", &["1"]),
            ("v:nau", &[]),
            ("v:u00e9", &[]),
            ("v:7", &["2"]),
        ],
    ),
    (
        "long",
        &[
            "[1,[20]]",
            r#""3""#,
            "4.9",
            "[null]",
            r#"["",5e1]"#,
            "[7,7]",
        ],
        &[
            ("v:20", &["0"]),
            ("v:[2 TO 4]", &["1", "2"]),
            ("v:50", &["4"]),
            ("v:7", &["5"]),
            ("v:*", &["0", "1", "2", "4", "5"]),
        ],
    ),
    (
        "double",
        &["[1.5,[2]]", r#""3.5""#, "1e3"],
        &[
            ("v:1.5", &["0"]),
            ("v:[2 TO 4]", &["0", "1"]),
            ("v:1000", &["2"]),
        ],
    ),
    (
        "boolean",
        &["[true,false]", r#"["true"]"#, "false", r#""""#],
        &[("v:true", &["0", "1"]), ("v:false", &["0", "2", "3"])],
    ),
    (
        "date",
        &[
            r#"["2013-05",["2015-01-02T03:04:05Z"]]"#,
            "1388534400000",
            r#""2014-02""#,
            "2016",
        ],
        &[
            ("v:2013", &["0"]),
            ("v:[2014 TO 2015]", &["0", "1", "2"]),
            ("v:2014-01-01", &["1"]),
            ("v:2016", &["3"]),
        ],
    ),
    (
        "geo_point",
        &[
            r#"{"lat":40.7,"lon":"-73.9"}"#,
            "[-122.4,37.8]",
            r#""37.8, -122.4""#,
            "[[-122.4,37.8,12]]",
            "null",
        ],
        &[
            ("v.lat:[40 TO 41]", &["0"]),
            ("v.lon:[-123 TO -122] AND v.lat:37.8", &["1", "2", "3"]),
            ("v.lon:*", &["0", "1", "2", "3"]),
        ],
    ),
];

#[test]
fn each_value_in_json_is_a_value_of_the_field_that_the_mapping_names() {
    for (word, values, queries) in MAPPED_JSON {
        let place = Place::new();
        let mapping = format!(r#"{{"properties": {{"v": {{"type": "{word}"}}}}}}"#);
        let plan = Plan {
            mapping: Some(&mapping),
            ..PLAN
        };
        let (schema, batch) = json_values(values);
        let loaded = load(&place, plan, &schema, vec![batch]).expect("the load is right");
        let rejects = loaded.rejects.iter().map(|reject| &reject.reason);
        assert_eq!(rejects.collect::<Vec<_>>(), [""; 0], "{word}");
        assert_found(&place, queries);
        let found = documents(&place.index());
        for (id, document) in found {
            let written = values[id.parse::<usize>().expect("it is a number")];
            let expected: Value = serde_json::from_str(written).expect("it is JSON");
            assert_eq!(document["v"], expected);
        }
    }
}

#[test]
fn json_that_a_field_cannot_hold_is_rejected() {
    let long = format!("[\"a\",\"{}\"]", "x".repeat(32_767));
    let cases = [
        ("keyword", r#"{"city":"Rome"}"#, r#"{"city":"Rome"}"#),
        ("keyword", r#"["Rome",[{"a":1},{"b":2}]]"#, r#"{"a":1}"#),
        ("keyword", "{}", "{}"),
        ("keyword", &long, "xxx"),
        ("text", r#"[{"a":"b"}]"#, r#"{"a":"b"}"#),
        ("long", r#"[1,"a\u0062c"]"#, "abc"),
        ("long", "[[true]]", "true"),
        ("long", "9223372036854775808", "9223372036854775808"),
        ("byte", "[1,128]", "128"),
        ("double", "1e999", "1e999"),
        ("double", r#"{"a":1}"#, r#"{"a":1}"#),
        ("boolean", "[true,1]", "1"),
        ("date", r#"["2013","soon"]"#, "soon"),
        ("date", "true", "true"),
        ("geo_point", "[1]", "[1]"),
        ("geo_point", "[[1,2],[3,4]]", "[[1,2],[3,4]]"),
        ("geo_point", r#"["1","2"]"#, r#"["1","2"]"#),
        (
            "geo_point",
            r#"{"lat":91,"lon":0}"#,
            r#"{"lat":91,"lon":0}"#,
        ),
        ("geo_point", r#"{"lat":1}"#, r#"{"lat":1}"#),
    ];
    for (word, value, shown) in cases {
        let place = Place::new();
        let mapping = format!(r#"{{"properties": {{"v": {{"type": "{word}"}}}}}}"#);
        let plan = Plan {
            mapping: Some(&mapping),
            ..PLAN
        };
        let (schema, batch) = json_values(&["null", value]);
        let loaded = load(&place, plan, &schema, vec![batch]).expect("the load is right");
        let [reject] = &loaded.rejects[..] else {
            panic!(
                "{word}: `{value}` is one reject, not {}",
                loaded.rejects.len()
            )
        };
        assert_eq!((reject.row, reject.column.as_deref()), (1, Some("v")));
        let begins = format!("cannot index `{shown}");
        assert!(reject.reason.starts_with(&begins), "{}", reject.reason);
        assert!(
            reject.reason.ends_with(&format!("as {word}")),
            "{}",
            reject.reason
        );
        assert_eq!(ids(&place, "*"), ["0"]);
    }
}

const JSON_VALUES: [&str; 8] = [
    r#"{"city":"Z\u00fcrich","at":[{"zip":8001,"open":true}]}"#,
    r#"["New York",["Rome"]]"#,
    r#""Rome \"caput\"\nmundi""#,
    "[1.5,1.5]",
    "12345678901234567890",
    "1e999",
    "[{},[],null]",
    r#"{"Rome":"Milan"}"#,
];

#[test]
fn json_without_a_mapping_is_found_by_what_is_in_it() {
    let place = Place::new();
    let (schema, batch) = json_values(&JSON_VALUES);
    load(&place, PLAN, &schema, vec![batch]).expect("the load is right");
    assert_found(
        &place,
        &[
            ("v:Zürich", &["0"]),
            ("zürich", &["0"]),
            ("v:u00fcrich", &[]),
            ("v:city", &[]),
            ("city OR zip OR open", &[]),
            ("v:8001", &["0"]),
            ("8001", &["0"]),
            ("v:true", &["0"]),
            ("true OR null", &[]),
            ("v:rome", &["1", "2"]),
            ("rome", &["1", "2"]),
            ("v:\"new york\"", &["1"]),
            ("v:\"york rome\"", &[]),
            ("v:\"caput mundi\"", &["2"]),
            ("v:nmundi", &[]),
            ("v:1.5", &["3"]),
            ("v:12345678901234567890", &["4"]),
            ("v:1e999", &["5"]),
            ("v:*", &["0", "1", "2", "3", "4", "5", "7"]),
            ("milan", &["7"]),
        ],
    );
}

#[test]
fn numbers_alone_in_json_have_an_order() {
    let place = Place::new();
    let (schema, batch) = json_values(&["[1,5]", "2.5", "[[30]]", "18446744073709551615"]);
    load(&place, PLAN, &schema, vec![batch]).expect("the load is right");
    assert_found(
        &place,
        &[
            ("v:[2 TO 4]", &["1"]),
            ("v:>=5", &["0", "2", "3"]),
            ("v:30", &["2"]),
            ("v:18446744073709551615", &["3"]),
        ],
    );
}

#[test]
fn a_list_of_json_values_is_indexed_as_one_value() {
    for (mapping, queries) in [
        (None, ["v:rome", "v:zürich", "bern"]),
        (
            Some(r#"{"properties": {"v": {"type": "keyword"}}}"#),
            ["v:Rome", "v:Zürich", "Bern"],
        ),
    ] {
        let place = Place::new();
        let (mut schema, _) = json_values(&[]);
        schema.fields[1].ty = Type::List(Box::new(Type::String));
        let values = [r#"["Rome"]"#, r#""Z\u00fcrich""#, r#""Bern""#];
        let list = List {
            offsets: vec![0, 0, 3].into(),
            values: Arc::new(Column::from_strings(values.map(Some))),
            validity: None,
        };
        let columns = vec![Column::from_ints(vec![0, 1], None), Column::Lists(list)];
        let plan = Plan { mapping, ..PLAN };
        let loaded = load(&place, plan, &schema, vec![Batch::new(columns, 2)]);
        assert!(loaded.expect("the load is right").rejects.is_empty());
        for query in queries {
            assert_eq!(ids(&place, query), ["1"], "{query}");
        }
        let found = documents(&place.index());
        assert_eq!(found["1"]["v"], json!([["Rome"], "Zürich", "Bern"]));
    }
}

/// Earlier versions indexed JSON as the text that it is written in, like a column of texts.
#[test]
fn json_is_added_to_an_index_that_has_its_text() {
    for (mapping, queries) in [
        (None, [("v:rome", "9"), ("v:zürich", "8"), ("v:bern", "7")]),
        (
            Some(r#"{"properties": {"v": {"type": "keyword"}}}"#),
            [
                ("v:Rome", "9"),
                ("v:Zürich", "8"),
                ("v:\"\\\"Bern\\\"\"", "7"),
            ],
        ),
    ] {
        let place = Place::new();
        let plan = Plan { mapping, ..PLAN };
        let add = |keys: Vec<i64>, values: &[&str], json: bool| {
            let (mut schema, batch) = json_values(values);
            schema.fields[1].json = json;
            let columns = vec![Column::from_ints(keys, None), batch.column(1)];
            let batch = Batch::new(columns, values.len());
            load(&place, plan, &schema, vec![batch]).expect("the load is right")
        };
        let settings = |place: &Place| {
            let meta = std::fs::read(place.index().join("meta.json")).expect("it is there");
            let meta: Value = serde_json::from_slice(&meta).expect("it is JSON");
            meta["schema"].clone()
        };
        add(vec![7, 9], &[r#""Bern""#, r#"["Oslo"]"#], false);
        let schema = settings(&place);
        let added = add(vec![8, 9], &[r#""Z\u00fcrich""#, r#"[7,"Rome"]"#], true);
        assert_eq!(added.counts["updated"], 1);
        assert_eq!(settings(&place), schema);
        for (query, id) in queries {
            assert_eq!(ids(&place, query), [id], "{query}");
        }
        assert!(ids(&place, "oslo").is_empty(), "what was overwritten");
        assert_eq!(ids(&place, "v:7"), ["9"]);
    }
    let place = Place::new();
    let (schema, batch) = at_and_n("a", day("2013-05-06"), int(7));
    load(&place, PLAN, &schema, vec![batch]).expect("it is new");
    let (mut schema, batch) = at_and_n("b", text(r#"["2014"]"#), text("[8,[90]]"));
    schema.fields[1].json = true;
    schema.fields[2].json = true;
    let loaded = load(&place, PLAN, &schema, vec![batch]).expect("JSON may be of any type");
    assert!(loaded.rejects.is_empty());
    assert_found(
        &place,
        &[("n:>7", &["b"]), ("n:90", &["b"]), ("at:2014", &["b"])],
    );
}
