//! Answers and items as data: what comes out, in the words of the output.

use serde_json::{Value, json};

use super::resolve::WITHOUT_COLUMNS;
use super::*;
use crate::columns::Column;
use crate::stage::Output;
use crate::stage::testing::{batch, schema, values};

fn answers(options: &str, format: Format) -> Result<Answers> {
    Answers::new(&toml::from_str(options).expect("the test's own"), format)
}

fn items() -> Schema {
    schema(&[("ric", Type::String), ("n", Type::Int)])
}

/// What becomes of items `rics`, answered by `bodies` one page after the other.
fn resolved(
    options: &str,
    format: Format,
    rics: &[Option<&str>],
    bodies: &[&str],
) -> Result<Output, String> {
    let numbers = (0..).take(rics.len()).collect();
    let rows = batch(vec![
        Column::from_strings(rics.iter().copied()),
        Column::from_ints(numbers, None),
    ]);
    let answers = answers(options, format).map_err(|error| error.message)?;
    answers
        .schema(Some(&items()))
        .map_err(|error| error.message)?;
    let reader = answers
        .reader(Some(&items()))
        .map_err(|error| error.message)?;
    let mut resolution = reader.resolve(rows);
    let asked = resolution.open();
    let mut records = reader.records();
    for body in bodies {
        reader.read(body.as_bytes(), &mut records)?;
    }
    resolution.answer(&asked, records)?;
    resolution.finish().map_err(|error| error.message)
}

/// Rows, one a list; then `row: reason` of each reject.
fn contents(output: &Output) -> (Vec<Value>, Vec<String>) {
    let columns: Vec<Vec<Value>> = output.batch.plain().iter().map(values).collect();
    let rows = (0..output.batch.rows())
        .map(|row| columns.iter().map(|column| column[row].clone()).collect());
    let rejects = output.rejects.iter().map(|reject| {
        let column = reject.column.iter().map(|column| format!("{column}: "));
        format!(
            "{}: {}{}",
            reject.row,
            column.collect::<String>(),
            reject.reason
        )
    });
    (rows.collect(), rejects.collect())
}

fn ledger_holds(output: &Output, rows: usize) {
    let out = output.batch.rows() as u64 + output.rejects.len() as u64 + output.dropped;
    assert_eq!(rows as u64 + output.added, out);
    let count = |name: &str| output.counts.get(name).copied().unwrap_or_default();
    let ends = count("answered") + count("empty") + count("refused");
    assert_eq!(rows as u64, ends, "answered, empty or refused");
    assert!(count("refused") <= output.rejects.len() as u64);
}

const A_B_C: [Option<&str>; 3] = [Some("a"), Some("b"), Some("c")];

#[test]
fn records_find_their_items_by_key() {
    let options = r#"
        records = "/data"
        batch = 3
        key = { ric = "/id/ric" }
        columns = { price = "/p" }
        types = { price = "float" }
    "#;
    let body = r#"{"data": [
        {"id": {"ric": "c"}, "p": 3}, {"id": {"ric": "x"}, "p": "not asked for"},
        {"id": {"ric": "a"}, "p": 1.5}, {"p": 9}, {"id": {"ric": "a"}, "p": null}
    ]}"#;
    let output = resolved(options, Format::Json, &A_B_C, &[body]).expect("it fits");
    ledger_holds(&output, 3);
    let (rows, rejects) = contents(&output);
    assert_eq!(
        rows,
        [
            json!(["a", 0, 1.5]),
            json!(["a", 0, null]),
            json!(["c", 2, 3.0])
        ]
    );
    assert_eq!(rejects, ["1: no record of the answer has its key"]);
    assert_eq!(output.counts["unexpected"], 2);
    assert_eq!(output.added, 1);
    assert_eq!(output.batch.origin(2), Some(102));
    // Equal keys are asked about once, and each item has the answer; a null key matches nothing.
    let twice = [Some("a"), None, Some("a")];
    let output = resolved(options, Format::Json, &twice, &[body]).expect("it fits");
    ledger_holds(&output, 3);
    let (rows, rejects) = contents(&output);
    assert_eq!(rows.len(), 4);
    assert_eq!(rejects, ["1: a key that is null matches no record"]);
}

#[test]
fn a_record_that_does_not_fit_is_rejected_alone() {
    let options = "columns = [\"v\"]\ntypes = { v = \"int\" }";
    let body = "{\"v\": 1}\n{\"v\": \"x\"}\n{\"v\": 3}\n{\"v\": 4.5}";
    let output = resolved(options, Format::Ndjson, &A_B_C[..1], &[body]).expect("it fits");
    let (rows, rejects) = contents(&output);
    assert_eq!(rows, [json!(["a", 0, 1]), json!(["a", 0, 3])]);
    assert_eq!(
        rejects,
        [
            "0: v: in record 2 of the answer, the value is no int",
            "0: v: in record 4 of the answer, the value is no int"
        ]
    );
    assert_eq!((output.rows_in, output.added), (Some(1), 3));
    assert_eq!(output.counts["answered"], 1);
    // With a key each item loses its own, and equal items lose the same.
    let options = "batch = 3\nkey = { ric = \"/k\" }\ncolumns = [\"v\"]\ntypes = { v = \"int\" }";
    let body = "{\"k\": \"a\", \"v\": 1}\n{\"k\": \"b\", \"v\": 0.5}\n{\"k\": \"a\", \"v\": \"x\"}";
    let items = [Some("a"), Some("b"), Some("a")];
    let output = resolved(options, Format::Ndjson, &items, &[body]).expect("it fits");
    let (rows, rejects) = contents(&output);
    assert_eq!(rows, [json!(["a", 0, 1]), json!(["a", 2, 1])]);
    assert_eq!(
        rejects,
        [
            "0: v: in record 3 of the answer, the value is no int",
            "1: v: in the answer, the value is no int",
            "2: v: in record 3 of the answer, the value is no int"
        ]
    );
    assert_eq!((output.rows_in, output.added), (Some(3), 2));
}

#[test]
fn without_a_key_records_stand_in_the_order_of_the_items() {
    let options = "batch = 3\ncolumns = [\"v\"]\ntypes = { v = \"int\" }";
    let body = "{\"v\": 1}\n\n{\"v\": \"2\"}\n{\"v\": 2.5}";
    let output = resolved(options, Format::Ndjson, &A_B_C, &[body]).expect("three for three");
    ledger_holds(&output, 3);
    let (rows, rejects) = contents(&output);
    assert_eq!(rows, [json!(["a", 0, 1]), json!(["b", 1, 2])]);
    assert_eq!(rejects, ["2: v: in the answer, the value is no int"]);
    let error =
        resolved(options, Format::Ndjson, &A_B_C, &["{\"v\": 1}"]).expect_err("one for three");
    assert_eq!(error, "the answer has 1 record for 3 items");
}

#[test]
fn a_single_item_has_all_records_of_all_pages_or_is_empty() {
    let options = "columns = { all = \"\", x = \"/x/0\" }";
    let one = [Some("a")];
    let pages = [
        "[{\"x\": [\"q\\n\"]}, {\"x\": 1.10}]",
        "{\"x\": [true], \"y\": 0}",
    ];
    let output = resolved(options, Format::Json, &one, &pages).expect("it fits");
    ledger_holds(&output, 1);
    let (rows, _) = contents(&output);
    let expected = [
        json!(["a", 0, "{\"x\": [\"q\\n\"]}", "q\n"]),
        json!(["a", 0, "{\"x\": 1.10}", null]),
        json!(["a", 0, "{\"x\": [true], \"y\": 0}", "true"]),
    ];
    assert_eq!(rows, expected);
    let bare = resolved(
        "columns = [\"x\"]",
        Format::Json,
        &one,
        &["{\"data\": [{\"x\": 1}]}"],
    );
    assert_eq!(bare.expect("it is a record").counts[WITHOUT_COLUMNS], 1);
    let sparse = resolved(
        "columns = [\"x\", \"y\"]",
        Format::Json,
        &one,
        &["[{\"x\": 1}, {\"x\": null}, {\"x\": 2, \"y\": 3}]"],
    );
    let counts = sparse.expect("these are records").counts;
    assert_eq!(
        serde_json::to_value(counts).expect("they are numbers"),
        json!({ "answered": 1, "records": 3, "missing.y": 2 })
    );
    for empty in ["[]", "null"] {
        let output = resolved(options, Format::Json, &one, &[empty]).expect("it fits");
        ledger_holds(&output, 1);
        assert_eq!((output.dropped, output.counts["empty"]), (1, 1));
    }
}

#[test]
fn csv_is_read_by_its_header_and_lines_as_they_are() {
    let options = "batch = 2\nkey = { ric = \"RIC\" }\ncolumns = { bid = \"BID\" }\ntypes = { bid = \"float\" }";
    let body = "BID,other,RIC\r\n,x,\"a\"\r\n1.50,\"x,y\",b\r\n";
    let output = resolved(options, Format::Csv, &A_B_C[..2], &[body]).expect("it fits");
    ledger_holds(&output, 2);
    assert_eq!(
        contents(&output).0,
        [json!(["a", 0, null]), json!(["b", 1, 1.5])]
    );
    let output = resolved(
        "columns = [\"line\"]",
        Format::Lines,
        &A_B_C[..1],
        &["x\r\n\ny"],
    );
    let rows = contents(&output.expect("lines always fit")).0;
    assert_eq!(
        rows,
        [
            json!(["a", 0, "x"]),
            json!(["a", 0, ""]),
            json!(["a", 0, "y"])
        ]
    );
}

#[test]
fn answers_of_no_use_say_why() {
    let csv = "columns = { bid = \"BID\" }";
    let json = "records = \"/data\"\ncolumns = [\"x\"]";
    let cases = [
        (
            Format::Json,
            json,
            "{\"data\": [{",
            "the answer is not JSON: EOF while parsing an object at line 1 column 11",
        ),
        (
            Format::Json,
            json,
            "<html>",
            "the answer is not JSON: expected value at line 1 column 1",
        ),
        (
            Format::Json,
            json,
            "{\"error\": 1}",
            "the answer has nothing at `/data`",
        ),
        (
            Format::Json,
            json,
            "{\"data\": \"soon\"}",
            "the answer's records are neither a list nor an object but `\"soon\"`",
        ),
        (
            Format::Ndjson,
            json,
            "{}\n{\"x\"",
            "line 2 of the answer is not JSON: EOF while parsing an object at line 1 column 4",
        ),
        (
            Format::Csv,
            csv,
            "bid,x\n1,2\n",
            "the answer has no column `BID`; there are `bid`, `x`",
        ),
        (
            Format::Csv,
            csv,
            "BID,x\n1,2\n3",
            "record 2 of the answer: expected 2 fields, found 1",
        ),
    ];
    for (format, options, body, words) in cases {
        let error = resolved(options, format, &A_B_C[..1], &[body]).expect_err(words);
        assert_eq!(error, words);
    }
    let records = [
        (
            "[{\"x\": 1}, 7]",
            1,
            "in record 2 of the answer, the record is no object",
        ),
        (
            "[{\"x\": \"a\\ud83d\"}]",
            0,
            "in the answer, a text holds half a character: `\\uD800` to `\\uDFFF` stand in pairs",
        ),
    ];
    for (body, left, words) in records {
        let output = resolved("columns = [\"x\"]", Format::Json, &A_B_C[..1], &[body]);
        let (rows, rejects) = contents(&output.expect("the item is rejected"));
        let expected = vec![format!("0: {words}")];
        assert_eq!((rows.len(), rejects), (left, expected));
    }
}

#[test]
fn without_items_every_record_is_a_row() {
    let reader = answers("columns = [\"x\"]\ntypes = { x = \"bool\" }", Format::Json)
        .and_then(|answers| answers.reader(None))
        .expect("it fits");
    let mut records = reader.records();
    reader
        .read(b"[{\"x\": true}, {\"x\": \"maybe\"}, {}]", &mut records)
        .expect("it is JSON");
    let output = reader.rows(records);
    assert_eq!(output.rows_in, Some(3));
    let (rows, rejects) = contents(&output);
    assert_eq!(rows, [json!([true]), json!([null])]);
    assert_eq!(rejects, ["1: x: the value is no bool"]);
    assert_eq!(output.rejects[0].document.as_str(), r#"{"x": "maybe"}"#);
}

#[test]
fn a_failed_item_ends_the_run_behind_those_before_it() {
    let options = "batch = 3\nkey = { ric = \"/r\" }\ncolumns = [\"v\"]\non_error = \"fail\"";
    let body = "[{\"r\": \"c\", \"v\": 3}, {\"r\": \"a\", \"v\": 1}]";
    let output = resolved(options, Format::Json, &A_B_C, &[body]).expect("it fits");
    assert_eq!(contents(&output).0, [json!(["a", 0, "1"])]);
    let fault = output.fault.expect("b has no record");
    assert_eq!(fault.message, "no record of the answer has its key");
    assert_eq!((output.rows_in, fault.origin), (Some(1), Some(101)));
}

#[test]
fn what_the_file_alone_shows_is_told() {
    let cases = [
        ("", "`columns` names no column"),
        (
            "columns = { a = \"b\" }",
            "`columns.a`: `b` is no JSON pointer",
        ),
        (
            "columns = [\"a\"]\ntypes = { b = \"int\" }",
            "`types` names `b`; `columns` has `a`",
        ),
        (
            "columns = [\"a\"]\nbatch = 0",
            "`batch` must be between 1 and 1048576, found 0",
        ),
        (
            "columns = [\"n\"]",
            "`columns.n`: the input has a column `n` already",
        ),
        (
            "columns = [\"a\"]\nkey = { rick = \"/r\" }",
            "`key.rick`: no column `rick`; there are `ric`, `n`",
        ),
    ];
    for (options, words) in cases {
        let checked =
            answers(options, Format::Json).and_then(|answers| answers.schema(Some(&items())));
        assert_eq!(checked.expect_err(words).message, words);
    }
}
