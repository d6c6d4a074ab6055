//! What expressions come to.

use serde_json::Value as Json;

use super::*;
use crate::format::json;
use crate::schema::Field;

fn schema() -> Schema {
    let field = |name: &str, ty| Field::new(name, ty);
    Schema::new(vec![
        field("a", Type::Int),
        field("b", Type::Int),
        field("x", Type::Float),
        field("s", Type::String),
        field("ok", Type::Bool),
        field("d", Type::Date { utc: false }),
        field("l", Type::List(Box::new(Type::String))),
        field("a name", Type::Int),
        field("z", Type::Date { utc: true }),
    ])
    .unwrap()
}

/// The value of an expression without columns.
fn value(text: &str) -> Json {
    let expression = Expression::compile(text, &schema())
        .unwrap_or_else(|error| panic!("{text}: {}", error.render()));
    let (column, faults) = expression.evaluate(1, |_| panic!("{text} reads no column"));
    assert!(faults.is_empty(), "{text}: {faults:?}");
    if column.is_null(0) {
        return Json::Null;
    }
    let mut bytes = Vec::new();
    json::write_value(&column, expression.ty(), 0, &mut bytes);
    serde_json::from_slice(&bytes).unwrap()
}

fn refused(text: &str) -> String {
    match Expression::compile(text, &schema()) {
        Ok(_) => panic!("{text} is taken"),
        Err(error) => error.render(),
    }
}

#[test]
fn every_function_does_what_its_example_says() {
    for function in FUNCTIONS {
        let (text, expected) = function.example;
        let expected: Json = serde_json::from_str(expected).unwrap();
        assert_eq!(value(text), expected, "{text}");
        assert!(
            function.usage.starts_with(function.name),
            "{}",
            function.usage
        );
    }
}

#[test]
fn faults_are_those_of_rows_that_ask() {
    let a = Column::from_nullable_ints(&[Some(7), Some(1), None, Some(i64::MAX)]);
    let b = Column::from_nullable_ints(&[Some(2), Some(0), Some(0), Some(1)]);
    let run = |text: &str| {
        let expression =
            Expression::compile(text, &schema()).unwrap_or_else(|e| panic!("{}", e.render()));
        let (column, faults) =
            expression.evaluate(4, |at| if at == 0 { a.clone() } else { b.clone() });
        let rows: Vec<u32> = faults.iter().map(|fault| fault.row).collect();
        let nulls: Vec<usize> = (0..4).filter(|&row| column.is_null(row)).collect();
        (rows, nulls)
    };
    assert_eq!(run("a / b"), (vec![1], vec![1, 2]));
    assert_eq!(run("a + b"), (vec![3], vec![2, 3]));
    assert_eq!(
        run("CASE WHEN b = 0 THEN 0 ELSE a // b END"),
        (vec![], vec![])
    );
    assert_eq!(run("b <> 0 AND a / b > 1"), (vec![], vec![]));
    assert_eq!(run("b = 0 OR a / b > 1"), (vec![], vec![]));
    assert_eq!(run("coalesce(a, 1 // b)"), (vec![2], vec![2]));
    assert_eq!(run("if(b = 0, a + 1, a // b)"), (vec![], vec![2]));
    assert_eq!(
        run("CASE WHEN b = 1 THEN a + 1 END"),
        (vec![3], vec![0, 1, 2, 3])
    );
    assert_eq!(
        run("array_sum([9223372036854775807, 1]) + a"),
        (vec![0, 1, 2, 3], vec![0, 1, 2, 3])
    );
    assert_eq!(
        run("abs(-9223372036854775808) + a"),
        (vec![0, 1, 2, 3], vec![0, 1, 2, 3])
    );
    for interval in ["106751991 days", "300000 years", "9000 years"] {
        let text =
            format!("length(CAST(DATE '2024-01-31' + INTERVAL '{interval}' AS VARCHAR)) + a");
        assert_eq!(run(&text).0, [0, 1, 2, 3], "{text}");
    }
    assert_eq!(run("1 // 0 + a"), (vec![0, 1, 2, 3], vec![0, 1, 2, 3]));
}

#[test]
fn a_fault_names_part_and_value() {
    let expression = Expression::compile("1 + CAST(s AS BIGINT)", &schema()).unwrap();
    let texts = Column::from_strings([Some("12"), Some("1,5"), None]);
    let (column, faults) = expression.evaluate(3, |_| texts.clone());
    assert_eq!(column.ints().value(0), 13);
    let [fault] = faults.as_slice() else {
        panic!("{faults:?}")
    };
    assert_eq!(fault.row, 1);
    assert_eq!(
        fault.reason,
        "the value is no integer of 64 bits: `CAST(s AS BIGINT)`"
    );
    assert_eq!(fault.value.as_deref(), Some("1,5"));
}

#[test]
fn mistakes_are_marked_and_named() {
    let mut wrong = Vec::new();
    for (text, parts) in [
        (
            "uper(s)",
            vec![
                "unknown function `uper`",
                "  ^^^^\n",
                "did you mean `upper`",
            ],
        ),
        ("aa + 1", vec!["no column `aa`", "  aa + 1\n  ^^\n"]),
        ("a + s", vec!["`+` takes a number, not a string", "||"]),
        ("s = a", vec!["do not go together", "^^^^^"]),
        ("sum(a)", vec!["`sum` is an aggregate", "`aggregate`"]),
        ("row_number() OVER (ORDER BY a)", vec!["window function"]),
        ("lag(a)", vec!["window function"]),
        ("upper(s) OVER ()", vec!["window"]),
        ("now()", vec!["another value in every run"]),
        ("CURRENT_DATE", vec!["another value in every run"]),
        ("random()", vec!["another value in every run"]),
        ("(SELECT 1)", vec!["subquery"]),
        ("a IN (SELECT b)", vec!["subquery"]),
        ("*", vec!["an expression is expected"]),
        ("upper(s, s)", vec!["does not take 2 values", "upper(text)"]),
        ("upper(a)", vec!["takes a string, not an int", "CAST"]),
        ("a AND b", vec!["`AND` takes a bool"]),
        ("s LIKE s", vec!["a text in single quotes"]),
        ("s ~ '('", vec!["^"]),
        ("d = 'yesterday'", vec!["`yesterday` is no date"]),
        ("d > z", vec!["UTC"]),
        ("d - d", vec!["extract(epoch"]),
        ("CAST(a AS DECIMAL(10, 2))", vec!["cannot be of type"]),
        ("CAST(d AS BIGINT)", vec!["cannot become"]),
        ("NULL", vec!["no type"]),
        ("99999999999999999999", vec!["64 bits"]),
        ("s.a", vec!["one name"]),
        ("l = l", vec!["cannot be compared"]),
        ("INTERVAL '1 day'", vec!["no value of a column"]),
        ("d + INTERVAL '1 parsec'", vec!["^"]),
        ("strftime(d, '%Q')", vec!["^"]),
        ("strptime(s, '%Q')", vec!["^"]),
        ("CASE WHEN a THEN 1 END", vec!["`WHEN` takes a bool"]),
        (
            "CASE WHEN ok THEN 1 ELSE 'x' END",
            vec!["do not go together"],
        ),
    ] {
        let error = refused(text);
        let missing = parts.iter().filter(|part| !error.contains(**part));
        wrong.extend(missing.map(|part| format!("{text}: no {part} in {error}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let long = vec!["a"; 300].join(" + ");
    assert!(refused(&long).contains("more than 200 operators"));
}

#[test]
fn names_may_be_words_of_the_language_and_have_blanks() {
    let expression = Expression::compile("\"a name\" + a", &schema()).unwrap();
    assert_eq!(expression.columns(), [0, 7]);
    let odd = Schema::new(vec![
        Field::new("select", Type::Int),
        Field::new("größe", Type::Int),
        Field::new("it's \"it\"", Type::Int),
    ])
    .unwrap();
    assert!(Expression::compile("\"select\" + größe + \"it's \"\"it\"\"\"", &odd).is_ok());
}

#[test]
fn values_are_as_sql_has_them() {
    for (text, expected) in [
        ("1 + 2 * 3", "7"),
        ("7 / 2", "3.5"),
        ("7 // 2", "3"),
        ("-7 // 2", "-4"),
        ("-7 % 3", "2"),
        ("7.5 // 2", "3"),
        ("1 + 0.5", "1.5"),
        ("1e3", "1000.0"),
        ("'a' || 1 || NULL", "null"),
        ("'a' || 1.5", "\"a1.5\""),
        ("NULL AND false", "false"),
        ("NULL OR true", "true"),
        ("NULL = NULL", "null"),
        ("NULL IS NULL", "true"),
        ("1 IS NOT DISTINCT FROM NULL", "false"),
        ("(1 = NULL) IS TRUE", "false"),
        ("2 BETWEEN 1 AND 3", "true"),
        ("'b' NOT BETWEEN 'a' AND 'c'", "false"),
        ("2 IN (1, 2)", "true"),
        ("3 NOT IN (1, NULL)", "null"),
        ("'abc' LIKE 'a%'", "true"),
        ("'ABC' ILIKE 'a_c'", "true"),
        ("'abc' ~ '^a.c$'", "true"),
        ("'abc' !~* 'B'", "false"),
        ("CASE 2 WHEN 1 THEN 'a' WHEN 2 THEN 'b' END", "\"b\""),
        ("CASE WHEN false THEN 1 END", "null"),
        ("CAST('12' AS INTEGER)", "12"),
        ("TRY_CAST('x' AS DOUBLE)", "null"),
        ("'7'::BIGINT + 1", "8"),
        ("CAST(2.9 AS BIGINT)", "2"),
        ("CAST(true AS VARCHAR)", "\"true\""),
        (
            "DATE '2024-02-29' + INTERVAL '1 year'",
            "\"2025-02-28T00:00:00\"",
        ),
        (
            "TIMESTAMP '2024-05-06 07:08:09' - INTERVAL '1 hour'",
            "\"2024-05-06T06:08:09\"",
        ),
        ("extract(year FROM DATE '2024-05-06')", "2024"),
        (
            "CAST('2024-05-06 07:08' AS DATE)",
            "\"2024-05-06T00:00:00\"",
        ),
        ("DATE '2024-05-06' > '2024-05-05 23:00:00'", "true"),
        ("round(2.5)", "2.0"),
        ("round(-3.5)", "-4.0"),
        ("['a', 'b'][1]", "\"a\""),
        ("position('b' IN 'abc')", "2"),
        ("substring('abc' FROM 2)", "\"bc\""),
        ("coalesce(NULL, 'x')", "\"x\""),
        // A part is no pattern.
        ("strpos('abc', '.')", "0"),
        ("position('(' IN 'f(x)')", "2"),
        ("right('abc', 5)", "\"abc\""),
        ("right('abc', -1)", "\"bc\""),
        ("left('abc', NULL)", "null"),
        ("replace('abc', 'b', NULL)", "null"),
        ("split_part('abc', NULL, 1)", "null"),
        ("substr('a.c', 0)", "\"a.c\""),
        ("substr('abc', 0, 2)", "\"a\""),
        ("substr('a-b-c', -3, 5)", "\"a\""),
        ("trim('xax', 'x')", "\"a\""),
        ("abs(-9223372036854775807)", "9223372036854775807"),
        ("array_contains(['a'], NULL)", "null"),
        ("CASE WHEN NULL THEN 1 WHEN true THEN 2.5 END", "2.5"),
    ] {
        let expected: Json = serde_json::from_str(expected).unwrap();
        assert_eq!(value(text), expected, "{text}");
    }
}

/// A value of the table as a column has it; dates as microseconds since 1970.
fn cell(ty: &Type, value: &Json) -> Column {
    let one = |column: Column| {
        if value.is_null() {
            Column::nulls(ty, 1)
        } else {
            column
        }
    };
    match ty {
        Type::Int => one(Column::from_ints(
            vec![value.as_i64().unwrap_or_default()],
            None,
        )),
        Type::Float => one(Column::from_floats(
            vec![value.as_f64().unwrap_or_default()],
            None,
        )),
        Type::Bool => one(Column::from_bools(
            &[value.as_bool().unwrap_or_default()],
            None,
        )),
        Type::Date { .. } => {
            let moment = value
                .as_str()
                .map(|text| cast::iso(text).expect("the table has dates"));
            one(Column::from_ints(vec![moment.unwrap_or_default()], None))
        }
        _ => Column::from_strings([value.as_str()]),
    }
}

/// Whether two values are the same; numbers to the last few bits, as libraries of functions differ there.
fn same(ours: &Json, theirs: &Json) -> bool {
    match (ours.as_f64(), theirs.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-13 * a.abs().max(b.abs()),
        _ => match (ours.as_array(), theirs.as_array()) {
            (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
            _ => ours == theirs,
        },
    }
}

#[test]
fn values_are_those_of_duckdb_but_for_what_the_table_names() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/expressions/table.json");
    let table: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (name, column) in table["columns"].as_object().unwrap() {
        let ty = match column["type"].as_str().unwrap() {
            "BIGINT" => Type::Int,
            "DOUBLE" => Type::Float,
            "BOOLEAN" => Type::Bool,
            "TIMESTAMP" => Type::Date { utc: false },
            _ => Type::String,
        };
        let values = column["values"].as_array().unwrap();
        let cells: Vec<Column> = values.iter().map(|value| cell(&ty, value)).collect();
        columns.push(Column::concat(&cells.iter().collect::<Vec<_>>()));
        fields.push(Field::new(name.clone(), ty));
    }
    let schema = Schema::new(fields).unwrap();
    let rows = columns[0].len();
    let expressions = table["expressions"].as_array().unwrap();
    assert!(expressions.len() >= 150, "{}", expressions.len());
    let mut wrong = Vec::new();
    for entry in expressions {
        let text = entry["expression"].as_str().unwrap();
        let expression = match Expression::compile(text, &schema) {
            Ok(expression) => expression,
            Err(error) => {
                wrong.push(format!("{text}: {}", error.render()));
                continue;
            }
        };
        let (column, faults) = expression.evaluate(rows, |at| columns[at].clone());
        for (row, theirs) in entry["values"].as_array().unwrap().iter().enumerate() {
            let ours = if faults.iter().any(|fault| fault.row as usize == row) {
                Json::from("fault")
            } else if column.is_null(row) {
                Json::Null
            } else {
                let mut bytes = Vec::new();
                json::write_value(&column, expression.ty(), row, &mut bytes);
                serde_json::from_slice(&bytes).unwrap()
            };
            if !same(&ours, theirs) {
                wrong.push(format!(
                    "{text} in row {row}: {ours}, and the table has {theirs}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_call_enters_the_pool_of_polars() {
    let rows = 20_000i64;
    let texts = (0..rows).map(|row| Some(format!("Text-{row}")));
    let columns = [
        Column::from_ints((0..rows).collect(), None),
        Column::from_ints((0..rows).map(|row| row % 7 + 1).collect(), None),
        Column::from_floats((0..rows).map(|row| row as f64 / 3.0).collect(), None),
        Column::from_strings(texts),
        Column::from_bools(&(0..rows).map(|row| row % 3 == 0).collect::<Vec<_>>(), None),
        Column::from_ints((0..rows).map(|row| row * 1_000_000_007).collect(), None),
    ];
    for text in [
        "upper(s) || lower(s)",
        "length(s)",
        "concat(s, a, x)",
        "concat_ws('-', s, a)",
        "left(s, 3)",
        "substr(s, b, 2)",
        "trim(s)",
        "lpad(s, 9, '.')",
        "replace(s, '-', '+')",
        "reverse(s)",
        "split_part(s, '-', 2)",
        "strpos(s, '-')",
        "s LIKE 'T%9'",
        "s ~ '7$'",
        "s IN ('Text-1', 'Text-2')",
        "starts_with(s, 'T')",
        "normalize(s)",
        "a IN (1, 2, 3)",
        "round(x, 2)",
        "sqrt(x)",
        "sin(x)",
        "sign(x)",
        "abs(x)",
        "a < b",
        "x < a",
        "s < 'Text-5'",
        "ok AND a > b",
        "NOT ok OR x > 3",
        "CASE WHEN ok THEN s ELSE 'x' END",
        "coalesce(s, 'x')",
        "greatest(a, b)",
        "bit_xor(a, b)",
        "extract(year FROM d)",
        "strftime(d, '%Y-%m')",
        "d + INTERVAL '1 month'",
        "extract(epoch FROM d)",
        "string_to_array(s, '-')",
        "array_length(string_to_array(s, '-'))",
        "string_to_array(s, '-')[2]",
        "array_contains(string_to_array(s, '-'), s)",
        "array_to_string(string_to_array(s, '-'), '+')",
        "array_lower(string_to_array(s, '-'))",
        "array_sum([1, 2])",
    ] {
        let expression = Expression::compile(text, &schema())
            .unwrap_or_else(|error| panic!("{}", error.render()));
        let (_, faults) = expression.evaluate(columns[0].len(), |at| columns[at].clone());
        assert!(faults.is_empty(), "{text}: {faults:?}");
        let threads = std::fs::read_dir("/proc/self/task").unwrap();
        let names =
            threads.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        let pool: Vec<String> = names.filter(|name| name.starts_with("polars")).collect();
        assert!(pool.is_empty(), "{text} starts {pool:?}");
    }
}
