//! What a check refuses of the options of kinds that move rows: all mistakes at once, each with its place, by exit code
//! 2, and before a row is read: the inputs have a header line and nothing more.

use crate::harness::{Etl, Folder};

/// Stages, and what a check says of them.
const REFUSED: &[(&str, &str)] = &[
    (
        r#"
[[stage]]
name = "x"
kind = "concat"
inputs = ["numbers", "texts"]
"#,
        r#"error: stage `x`: column `id` is int in input 1 and string in input 2
  at pipeline.toml:11:1
hint: give both inputs the same type, or rename or drop the column in one
error: stage `x`: input 2 lacks `n`, which input 1 has
  at pipeline.toml:11:1
hint: `missing = "null"` fills a missing column with nulls
error: stage `x`: input 1 lacks `m`, which input 2 has
  at pipeline.toml:11:1
hint: `missing = "null"` fills a missing column with nulls
"#,
    ),
    (
        r#"
[[stage]]
name = "x"
kind = "concat"
inputs = ["texts"]
missing = "nul"
"#,
        "error: stage `x`: kind `concat` takes 2 or more inputs, found 1
  at pipeline.toml:14:1
error: stage `x`: `missing`: expected one of `error`, `null`, found `nul`
  at pipeline.toml:15:1
hint: did you mean `null`?
",
    ),
    (
        r#"
[[stage]]
name = "x"
kind = "explode"
inputs = ["numbers"]
column = "ID"
"#,
        "error: stage `x`: no column `ID`; there are `id`, `n`
  at pipeline.toml:15:1
hint: did you mean `id`?
",
    ),
    (
        r#"
[[stage]]
name = "x"
kind = "explode"
inputs = ["numbers"]
column = "id"
"#,
        "error: stage `x`: column `id` is no list, it is of type int
  at pipeline.toml:15:1
hint: `group_concat` without `separator` makes lists
",
    ),
    (
        r#"
[[stage]]
name = "x"
kind = "dedupe"
inputs = ["numbers"]
by = ["id", "ids", "id"]

[[stage]]
name = "y"
kind = "dedupe"
inputs = ["numbers"]
by = ["ids"]

[[stage]]
name = "z"
kind = "dedupe"
inputs = ["numbers"]
by = []
keep = "only"
"#,
        "error: stage `x`: `by` names `id` twice
  at pipeline.toml:15:7
error: stage `y`: no column `ids`; there are `id`, `n`
  at pipeline.toml:21:7
hint: did you mean `id`?
error: stage `z`: `by` is empty
  at pipeline.toml:27:1
hint: name one column at least
error: stage `z`: `keep`: expected one of `first`, `last`, found `only`
  at pipeline.toml:28:1
",
    ),
    (
        r#"
[[stage]]
name = "x"
kind = "sort"
inputs = ["numbers"]
by = ["id", "-N"]

[[stage]]
name = "y"
kind = "sort"
inputs = ["numbers"]
by = ["id", "-id"]
limit = -1

[[stage]]
name = "grouped"
kind = "group_concat"
inputs = ["numbers"]
by = "id"

[[stage]]
name = "z"
kind = "sort"
inputs = ["grouped"]
by = "-n"
"#,
        "error: stage `x`: no column `N`; there are `id`, `n`
  at pipeline.toml:15:13
hint: did you mean `n`?
error: stage `y`: `by` names `id` twice
  at pipeline.toml:21:7
error: stage `y`: `limit`: expected a whole number from 0, found `-1`
  at pipeline.toml:22:1
error: stage `z`: column `n` is a list of string, which has no order
  at pipeline.toml:34:1
",
    ),
    (
        r#"
[[stage]]
name = "x"
kind = "aggregate"
inputs = ["numbers"]
by = ["id", "ids"]
columns = { a = "sum(m)", b = "sum(n) / count(*)", c = "max(n)" }

[[stage]]
name = "y"
kind = "aggregate"
inputs = ["numbers"]
by = "id"
columns = {}

[[stage]]
name = "z"
kind = "aggregate"
inputs = ["numbers"]
by = "id"
columns = { id = "count(*)" }
"#,
        r#"error: stage `x`: no column `ids`; there are `id`, `n`
  at pipeline.toml:15:13
hint: did you mean `id`?
error: stage `x`: no column `m`; there are `id`, `n`
  at pipeline.toml:16:13
  sum(m)
      ^
error: stage `x`: an aggregate is expected, as in `sum(x)`: nothing computes with its result here
  at pipeline.toml:16:27
  sum(n) / count(*)
  ^^^^^^^^^^^^^^
hint: give each aggregate a column; a `derive` after this stage computes with them, as in `total / rows`
error: stage `y`: `columns` is empty
  at pipeline.toml:23:1
hint: give a column and its aggregate: `total = "sum(price)"`; `dedupe` gives each key once
error: stage `z`: `columns` names `id`, which is in `by` too
  at pipeline.toml:30:13
"#,
    ),
];

const LOADS: &str = r#"[[stage]]
name = "numbers"
kind = "load_csv"
files = ["numbers.csv"]
types = { id = "int" }
[[stage]]
name = "texts"
kind = "load_csv"
files = ["texts.csv"]
"#;

#[test]
fn what_cannot_be_meant_is_refused_before_a_row_is_read() {
    for (stages, expected) in REFUSED {
        let folder = Folder::new("refused");
        folder.write("numbers.csv", "id,n\n");
        folder.write("texts.csv", "id,m\n");
        folder.write("pipeline.toml", format!("{LOADS}{stages}"));
        let outcome = Etl::new(folder.path(), &["check", "pipeline.toml"]).outcome();
        assert_eq!(outcome.stderr, *expected, "{stages}");
        assert_eq!(outcome.code, Some(2), "{stages}");
    }
}
