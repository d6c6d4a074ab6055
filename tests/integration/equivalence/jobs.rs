//! Generated pipelines: for every kind, for what makes a run fail, and longer ones.

use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use crate::scripted::{Say, Site};

use super::data::{COLUMNS, Random, compressed, frame, member, row, rows};
use super::expressions::expression;
use super::ndjson::Layout;
use super::style::{Coded, Style};

/// A stage as it stands in the file.
pub(super) struct Stage {
    pub(super) name: String,
    pub(super) kind: &'static str,
    inputs: Vec<String>,
    options: Options,
}

/// A pipeline and the files that it reads.
#[derive(Default)]
pub(super) struct Job {
    pub(super) files: Vec<(String, Vec<u8>)>,
    pub(super) stages: Vec<Stage>,
    /// A pipeline that makes more files for it.
    pub(super) before: Option<String>,
    pub(super) max_rejects: i64,
    /// The embedded index that it loads, in folder `index`: whether its documents have ids of their own.
    pub(super) index: Option<bool>,
    /// Stages that lie before the fault of a run that fails: they do all their work however it is run.
    pub(super) whole: Vec<String>,
}

/// Options as JSON, which has all of TOML that is needed.
type Options = Vec<(&'static str, Value)>;

impl Job {
    /// Adds a stage.
    fn stage(
        &mut self,
        name: &str,
        kind: &'static str,
        inputs: &[&str],
        options: Options,
    ) -> String {
        self.stages.push(Stage {
            name: name.into(),
            kind,
            inputs: inputs.iter().map(|&input| input.into()).collect(),
            options,
        });
        name.into()
    }

    /// The pipeline file.
    pub(super) fn toml(&self) -> String {
        let mut text = format!("name = \"law\"\nmax_rejects = {}\n", self.max_rejects);
        for stage in &self.stages {
            let Stage {
                name, kind, inputs, ..
            } = stage;
            text += &format!("\n[[stage]]\nname = \"{name}\"\nkind = \"{kind}\"\n");
            if !inputs.is_empty() {
                text += &format!("inputs = {}\n", json!(inputs));
            }
            for (key, value) in &stage.options {
                let value = toml::Value::try_from(value).expect("no option is null");
                text += &format!("{key} = {value}\n");
            }
        }
        text
    }

    /// Writes rows to one file or several, and adds the stage that loads them.
    pub(super) fn load(
        &mut self,
        random: &mut Random,
        name: &str,
        rows: &[Vec<Value>],
        style: &Style,
    ) -> String {
        let mut paths = Vec::new();
        let mut rest = rows;
        for number in 0..random.pick(&[1, 1, 2, 3]) {
            let (these, others) = match random.below(3) {
                0 => rest.split_at(0),
                _ => rest.split_at(random.below(rest.len() + 1)),
            };
            paths.push(self.file(
                random,
                &format!("{name}-{number}"),
                these,
                style,
                number == 0,
            ));
            rest = others;
        }
        paths.push(self.file(random, &format!("{name}-9"), rest, style, false));
        if random.chance(30) {
            paths = vec![format!("in/{name}-*")];
        }
        let mut options = style.options();
        options.push(("files", json!(paths)));
        self.stage(name, "load_csv", &[], options)
    }

    fn file(
        &mut self,
        random: &mut Random,
        name: &str,
        rows: &[Vec<Value>],
        style: &Style,
        is_first: bool,
    ) -> String {
        let text = style.write(random, rows, is_first);
        let (path, bytes) = if random.chance(30) {
            let (extension, bytes) = compressed(random, &text);
            (format!("in/{name}.csv{extension}"), bytes)
        } else {
            (format!("in/{name}.csv"), text)
        };
        self.files.push((path.clone(), bytes));
        path
    }

    /// A table of up to so many rows; now and then with records that cannot be used.
    fn table(&mut self, random: &mut Random, name: &str, rows_max: usize) -> String {
        let rows = rows(random, rows_max);
        let mut style = Style::plain();
        style.broken = random.pick(&[0, 0, 5]);
        self.load(random, name, &rows, &style)
    }

    /// One stage of a kind over these tables, and what it gives as NDJSON with null members.
    pub(super) fn over(
        &mut self,
        random: &mut Random,
        tables: &[&[Vec<Value>]],
        kind: &'static str,
        options: Options,
    ) {
        let mut inputs = Vec::new();
        for (number, rows) in tables.iter().enumerate() {
            inputs.push(self.load(random, &format!("load-{number}"), rows, &Style::plain()));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.stage("last", kind, &inputs, options);
        self.write_as("last", "ndjson", "null");
    }

    /// Dates of both date columns, whatever does not fit being null.
    fn dates(&mut self, name: &str, input: &str) -> String {
        let options = vec![("columns", json!(["d", "e"])), ("on_error", json!("null"))];
        self.stage(name, "normalize_dates", &[input], options)
    }

    /// Writes `input` to a file of some format.
    fn write(&mut self, random: &mut Random, input: &str) {
        let format = random.pick(&[
            "ndjson",
            "csv",
            "arrow",
            "parquet",
            "ndjson.gz",
            "csv.zst",
            "arrow.gz",
            "arrow.zst",
        ]);
        let nulls = random.pick(&["omit", "null"]);
        self.write_as(input, format, nulls);
    }

    pub(super) fn write_as(&mut self, input: &str, format: &str, nulls: &str) {
        let name = format!("write-{input}-{}-{nulls}", format.replace('.', "-"));
        if self.stages.iter().any(|stage| stage.name == name) {
            return;
        }
        let path = format!("out/{input}-{nulls}.{format}");
        let options = vec![("path", json!(path)), ("nulls", json!(nulls))];
        self.stage(&name, "write_files", &[input], options);
    }

    /// Loads `input` into the embedded index.
    fn index(&mut self, random: &mut Random, input: &str) {
        let mut fields = vec![
            ("k", "keyword"),
            ("t", "text"),
            ("b", "boolean"),
            ("x", "double"),
        ];
        fields.push(("n", random.pick(&["long", "byte", "keyword"])));
        fields.push(("d", random.pick(&["date", "text", "date"])));
        let fields = random.some(&fields);
        let properties: Map<String, Value> = fields
            .into_iter()
            .map(|(field, ty)| (field.into(), json!({ "type": ty })))
            .collect();
        let mapping = json!({ "properties": properties });
        self.files
            .push(("in/mapping.json".into(), mapping.to_string().into_bytes()));
        let mut options = vec![
            ("to", json!("local:index")),
            ("mapping", json!("in/mapping.json")),
            ("batch_docs", random.pick(&[1, 7, 500]).into()),
        ];
        let id = random.pick(&[
            json!("id"),
            json!("k"),
            json!(["k", "n"]),
            json!(["t", "id"]),
            Value::Null,
        ]);
        self.index = Some(!id.is_null());
        if !id.is_null() {
            options.push(("id", id));
        }
        self.stage("index", "bulk_index", &[input], options);
    }
}

pub(super) type Generator = fn(&mut Random, &mut Job);

/// A generator for every kind.
pub(super) const KINDS: &[(&str, Generator)] = &[
    ("load_csv", load_csv),
    ("load_ndjson", load_ndjson),
    ("load_parquet", load_parquet),
    ("load_arrow", load_arrow),
    ("select", select),
    ("filter", filter),
    ("derive", derive),
    ("sort", sort),
    ("aggregate", aggregate),
    ("dedupe", dedupe),
    ("concat", concat),
    ("explode", explode),
    ("group_concat", group_concat),
    ("join", join),
    ("normalize_dates", normalize_dates),
    ("geo_point", geo_point),
    ("fetch", fetch),
    ("exec", exec),
    ("write_files", write_files),
    ("bulk_index", bulk_index),
];

/// Pipelines of many stages.
pub(super) const CHAINS: &[(&str, Generator)] = &[
    ("long", long),
    ("both sides", both_sides),
    ("two readers", two_readers),
];

/// What makes a run fail.
pub(super) const FAILURES: &[(&str, Generator)] = &[
    ("load_csv on_error", record_fails),
    ("normalize_dates on_error", date_fails),
    ("geo_point on_error", degrees_fail),
    ("collected before a fault", collected_fail),
    ("aggregate on_error", aggregate_fails),
    ("join duplicates", duplicates_fail),
    ("join min_match", too_few_match),
    ("several at fault", several_fail),
    ("several at fault on several ways", several_ways_fail),
    ("damaged stream", stream_damaged),
    ("damaged parquet", parquet_damaged),
    ("damaged arrow", arrow_damaged),
    ("other header", other_header),
    ("open quote", open_quote),
    ("long record", long_record),
    ("cut list of JSON", list_cut),
    ("load_ndjson on_error", json_fails),
];

fn load_csv(random: &mut Random, job: &mut Job) {
    let rows = rows(random, 300);
    let mut style = Style::any(random);
    if random.chance(30) {
        style.json = random.some(&["n", "b", "x"]);
    }
    job.load(random, "load", &rows, &style);
    job.write(random, "load");
    job.max_rejects = random.pick(&[0, 5, -1]);
}

/// The types of the generated columns.
fn types() -> Value {
    let types = COLUMNS
        .iter()
        .map(|(name, ty)| ((*name).to_owned(), json!(ty)));
    types.collect::<Map<String, Value>>().into()
}

fn load_ndjson(random: &mut Random, job: &mut Job) {
    let layout = Layout::any(random);
    let mut rows = rows(random, 300);
    // The first record names the columns.
    rows.insert(0, row(random, 0));
    let mut paths = Vec::new();
    let files = random.pick(&[1, 1, 2, 3]);
    for (number, rows) in rows.chunks(rows.len().div_ceil(files)).enumerate() {
        let text = layout.write(random, rows);
        let (path, bytes) = if random.chance(30) {
            let (extension, bytes) = compressed(random, &text);
            (format!("in/rows-{number}.json{extension}"), bytes)
        } else {
            (format!("in/rows-{number}.json"), text)
        };
        job.files.push((path.clone(), bytes));
        paths.push(path);
    }
    let mut options = layout.options();
    options.push(("files", json!(paths)));
    let mut types = types();
    match random.below(3) {
        0 => {}
        1 => {
            let names = random.some(&COLUMNS.map(|(name, _)| name));
            types
                .as_object_mut()
                .expect("types are a table")
                .retain(|name, _| names.contains(&name.as_str()));
            options.push(("columns", json!(names)));
        }
        _ => {
            types = json!({ "n": "int" });
            let columns = json!({
                "n": "/n", "again": "/n", "text": "/deep/list/1/text", "first": "/deep/list/0", "deep": "/deep", "all": "",
            });
            options.push(("columns", columns));
        }
    }
    options.push(("types", types));
    job.stage("load", "load_ndjson", &[], options);
    job.write(random, "load");
    job.max_rejects = random.pick(&[0, 5, -1]);
}

fn load_parquet(random: &mut Random, job: &mut Job) {
    let rows = rows(random, 200);
    job.load(random, "csv", &rows, &Style::plain());
    let mut last = job.dates("dated", "csv");
    let mut columns: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    if random.chance(50) {
        let options = group_options(random, &["n", "b", "k"]);
        last = job.stage("grouped", "group_concat", &[&last], options);
        columns.clear();
    }
    let mut paths = Vec::new();
    for compression in random.some(&["zstd", "snappy", "none"]) {
        let path = format!("in/{compression}.parquet");
        let options = vec![("path", json!(path)), ("compression", json!(compression))];
        job.stage(
            &format!("before-{compression}"),
            "write_files",
            &[&last],
            options,
        );
        paths.push(path);
    }
    job.before = Some(job.toml());
    job.stages.clear();
    let mut options = vec![("files", json!(paths))];
    if !columns.is_empty() && random.chance(50) {
        options.push(("columns", json!(random.some(&columns))));
    }
    job.stage("load", "load_parquet", &[], options);
    for format in random.some(&["ndjson", "csv", "arrow", "parquet"]) {
        job.write_as("load", format, "null");
    }
}

fn load_arrow(random: &mut Random, job: &mut Job) {
    let rows = rows(random, 200);
    job.load(random, "csv", &rows, &Style::plain());
    let mut last = job.dates("dated", "csv");
    if random.chance(50) {
        let options = group_options(random, &["n", "b", "k"]);
        last = job.stage("grouped", "group_concat", &[&last], options);
    }
    let formats = random.some(&["arrow", "arrow.gz", "arrow.zst"]);
    let mut paths = Vec::new();
    for format in formats {
        for nulls in random.some(&["omit", "null"]) {
            job.write_as(&last, format, nulls);
            paths.push(format!("out/{last}-{nulls}.{format}"));
        }
    }
    job.before = Some(job.toml().replace("out/", "in/"));
    job.stages.clear();
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.replace("out/", "in/"))
        .collect();
    job.stage("load", "load_arrow", &[], vec![("files", json!(paths))]);
    let formats: &[&str] = &["ndjson", "csv", "arrow"];
    for format in random.some(formats) {
        job.write_as("load", format, "null");
    }
}

fn select(random: &mut Random, job: &mut Job) {
    let input = job.table(random, "load", 150);
    let options = select_options(random);
    job.stage("select", "select", &[&input], options);
    job.write(random, "select");
}

/// Any `select` of the table's columns.
fn select_options(random: &mut Random) -> Options {
    let names = COLUMNS.map(|(name, _)| name);
    let mut options = Vec::new();
    let mut left = names.to_vec();
    if random.chance(70) {
        left = random.some(&names);
        options.push(("keep", json!(left)));
    }
    if random.chance(50) {
        let gone = left.split_off(1 + random.below(left.len()));
        options.push(("drop", json!(gone)));
    }
    let mut except = Vec::new();
    if random.chance(50) {
        let old = left.remove(random.below(left.len()));
        options.push(("rename", json!({ old: "new name" })));
        except = vec!["new name"];
    }
    if random.chance(50) {
        options.push(("prefix", json!("p_")));
        if random.chance(50) {
            options.push(("prefix_except", json!(except)));
        }
    }
    options
}

fn filter(random: &mut Random, job: &mut Job) {
    let table = rows(random, 200);
    job.load(random, "load", &table, &Style::plain());
    let (column, condition, value) = condition(random, &table);
    let options = vec![("column", json!(column)), (condition, value)];
    job.stage("filter", "filter", &["load"], options);
    job.write(random, "filter");
    // A date can be compared too.
    let dated = job.dates("dated", "load");
    let options = vec![
        ("column", json!("d")),
        (random.pick(&["at_least", "below"]), json!("2013-03-15")),
    ];
    job.stage("filter-dates", "filter", &[&dated], options);
    job.write(random, "filter-dates");
    let options = vec![
        ("where", json!(expression(random, "bool", 3))),
        ("on_error", json!(random.pick(&["reject", "null"]))),
    ];
    job.stage("where", "filter", &[&dated], options);
    job.write(random, "where");
    job.max_rejects = -1;
}

fn derive(random: &mut Random, job: &mut Job) {
    job.table(random, "load", 200);
    let dated = job.dates("dated", "load");
    let mut columns = Map::new();
    // New columns, and some in the place of others.
    for name in random.some(&["n", "t", "new", "other", "one more"]) {
        let ty = random.pick(&["int", "float", "string", "bool", "date"]);
        // What follows sees the columns of the input as the types that they had.
        let ty = match name {
            "n" => "int",
            "t" => "string",
            _ => ty,
        };
        columns.insert(name.into(), json!(expression(random, ty, 3)));
    }
    let mut options = vec![
        ("columns", columns.into()),
        ("on_error", json!(random.pick(&["reject", "null"]))),
    ];
    if random.chance(30) {
        options.push(("drop", json!(["e", "id"])));
    }
    job.stage("derive", "derive", &[&dated], options);
    job.write(random, "derive");
    job.max_rejects = -1;
}

/// A column, a condition on it and what it compares with.
pub(super) fn condition(
    random: &mut Random,
    rows: &[Vec<Value>],
) -> (&'static str, &'static str, Value) {
    let at = random.below(COLUMNS.len());
    let (column, ty) = COLUMNS[at];
    let condition = random.pick(match ty {
        "bool" => &["equals", "in", "not_in", "is_null"],
        _ => &["equals", "in", "not_in", "is_null", "at_least", "below"],
    });
    let known: Vec<Value> = rows
        .iter()
        .map(|row| &row[at])
        .chain(&row(random, 7)[at..=at])
        .filter(|value| !value.is_null() && **value != "")
        .cloned()
        .collect();
    let values = if known.is_empty() {
        vec![match ty {
            "int" => json!(1),
            "float" => json!(0.5),
            "bool" => json!(true),
            _ => json!("none"),
        }]
    } else {
        (0..4).map(|_| random.pick(&known)).collect()
    };
    let value = match condition {
        "in" | "not_in" => json!(values),
        "is_null" => json!(random.chance(50)),
        _ => values[0].clone(),
    };
    (column, condition, value)
}

/// Rows in some order, all or the first ones; a stage above rejects some, one after it others.
fn sort(random: &mut Random, job: &mut Job) {
    let loaded = job.table(random, "load", 250);
    job.stage("point", "geo_point", &[&loaded], point("x", "y"));
    let input = job.dates("dated", "point");
    let names = ["k", "t", "n", "b", "d", "e", "id"];
    let by = random.some(&names).into_iter();
    let by: Vec<String> = by
        .map(|name| format!("{}{name}", random.pick(&["", "-"])))
        .collect();
    let mut options = vec![("by", json!(by))];
    if random.chance(50) {
        options.push(("limit", json!(random.pick(&[0, 1, 20, 1000]))));
    }
    job.stage("sort", "sort", &[&input], options);
    job.write(random, "sort");
    let options = vec![("columns", json!(["t"]))];
    job.stage("dates", "normalize_dates", &["sort"], options);
    job.write(random, "dates");
    job.max_rejects = -1;
}

/// Aggregates of groups, of which a stage after it takes some as dates; some sums do not fit.
fn aggregate(random: &mut Random, job: &mut Job) {
    const AGGREGATES: &[&str] = &[
        "count(*)",
        "count(x)",
        "count(distinct k)",
        "count(distinct x)",
        "sum(n)",
        "sum(id)",
        "sum(x)",
        "sum(x * y)",
        "avg(n)",
        "avg(x)",
        "stddev(x)",
        "stddev(n)",
        "min(n)",
        "max(x)",
        "min(t)",
        "max(d)",
        "min(b)",
        "first(t)",
        "last(t)",
        "last(point)",
        "first(x)",
        "median(x)",
        "quantile(n, 0.9)",
        "string_agg(t, ', ')",
        "sum(n + id)",
        "max(CAST(d AS DATE))",
        "avg(CAST(k AS BIGINT))",
    ];
    let loaded = job.table(random, "load", 250);
    let mut options = point("x", "y");
    options.extend([("drop", json!(false)), ("on_error", json!("null"))]);
    job.stage("point", "geo_point", &[&loaded], options);
    let by = match random.below(5) {
        0 => Vec::new(),
        _ => random.some(&["k", "n", "b", "x"]),
    };
    let columns: Map<String, Value> = (0..=random.below(6))
        .map(|at| (format!("c{at}"), json!(random.pick(AGGREGATES))))
        .chain([("d".to_owned(), json!("last(d)"))])
        .collect();
    let options = vec![
        ("by", json!(by)),
        ("columns", columns.into()),
        (
            "on_error",
            json!(random.pick(&["reject", "reject", "null"])),
        ),
    ];
    job.stage("groups", "aggregate", &["point"], options);
    job.write(random, "groups");
    let options = vec![("columns", json!(["d"]))];
    job.stage("dates", "normalize_dates", &["groups"], options);
    job.write(random, "dates");
    job.max_rejects = -1;
}

/// One of equal rows; a stage above it rejects some, one after it others.
fn dedupe(random: &mut Random, job: &mut Job) {
    let loaded = job.table(random, "load", 250);
    job.stage("point", "geo_point", &[&loaded], point("x", "y"));
    let mut options = vec![("keep", json!(random.pick(&["first", "last"])))];
    if random.chance(80) {
        let by = random.some(&["k", "n", "b", "t", "d"]);
        options.push(("by", json!(by)));
    } else {
        // A point is a list, which makes no key.
        job.stage(
            "some",
            "select",
            &["point"],
            vec![("drop", json!(["point", "id"]))],
        );
    }
    let input = job.stages.last().map(|stage| stage.name.clone());
    let input = input.expect("there is one");
    job.stage("dedupe", "dedupe", &[&input], options);
    job.write(random, "dedupe");
    let options = vec![("columns", json!(["d"]))];
    job.stage("dates", "normalize_dates", &["dedupe"], options);
    job.write(random, "dates");
    job.max_rejects = -1;
}

/// Tables, parts of them and groups, one after the other: some rows come from no file.
fn concat(random: &mut Random, job: &mut Job) {
    let one = job.table(random, "one", 120);
    let other = job.table(random, "other", 60);
    let options = select_options(random);
    job.stage("some", "select", &[&one], options);
    let options = vec![
        ("by", json!("k")),
        ("columns", json!(["d"])),
        ("separator", json!("")),
    ];
    job.stage("grouped", "group_concat", &[&other], options);
    let inputs: &[&str] = random.pick(&[
        &["one", "other"][..],
        &["one", "one", "other"],
        &["some", "other", "some"],
        &["grouped", "one", "grouped", "other"],
    ]);
    let options = vec![("missing", json!("null"))];
    job.stage("all", "concat", inputs, options);
    job.write(random, "all");
    let options = vec![("columns", json!(["d"]))];
    job.stage("dates", "normalize_dates", &["all"], options);
    job.write(random, "dates");
    job.max_rejects = -1;
}

/// Lists, some of them missing, and the dates among their values.
fn explode(random: &mut Random, job: &mut Job) {
    let left = job.table(random, "left", 80);
    let right = job.table(random, "right", 150);
    let options = vec![("by", json!("k")), ("columns", json!(["d", "n"]))];
    job.stage("grouped", "group_concat", &[&right], options);
    let options = vec![("on", json!("k")), ("suffix", json!("_r"))];
    job.stage("joined", "join", &[&left, "grouped"], options);
    let empty = json!(random.pick(&["null", "drop"]));
    let options = vec![("column", json!("n_r")), ("empty", empty.clone())];
    let number = job.stage("numbers", "explode", &["joined"], options);
    let options = vec![("column", json!("d_r")), ("empty", empty)];
    job.stage("both", "explode", &[&number], options);
    job.write(random, "both");
    let options = vec![("columns", json!(["d_r"]))];
    job.stage("dates", "normalize_dates", &["both"], options);
    job.write(random, "dates");
    job.max_rejects = -1;
}

fn group_concat(random: &mut Random, job: &mut Job) {
    let loaded = job.table(random, "load", 200);
    let input = job.dates("dated", &loaded);
    let options = group_options(random, &["k", "n", "b", "x", "d", "t"]);
    job.stage("group", "group_concat", &[&input], options);
    job.write(random, "group");
    job.write_as("group", "ndjson", "omit");
}

/// Groups by some of `keys`.
fn group_options(random: &mut Random, keys: &[&'static str]) -> Options {
    let by = if random.chance(60) {
        vec![random.pick(keys)]
    } else {
        random.some(keys)
    };
    let others: Vec<&str> = COLUMNS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !by.contains(name))
        .collect();
    let mut options = vec![("by", json!(by))];
    if random.chance(40) {
        options.push(("columns", json!(random.some(&others))));
    }
    match random.below(3) {
        0 => options.push(("separator", json!(random.pick(&["; ", "", "\n"])))),
        1 => options.push(("unwrap_single", true.into())),
        _ => {}
    }
    options
}

fn join(random: &mut Random, job: &mut Job) {
    let left = job.table(random, "left", 150);
    let right = job.table(random, "right", 60);
    let mut options = key(random);
    options.push(("suffix", json!("_r")));
    let how = random.pick(&["left", "left", "inner", "semi", "anti"]);
    options.push(("how", json!(how)));
    job.stage("join", "join", &[&left, &right], options);
    job.write(random, "join");
    if matches!(how, "left" | "inner") {
        // Work on the right side's columns, which are shared by the rows that they joined.
        let options = vec![("columns", json!(["d_r", "e"]))];
        job.stage("dates", "normalize_dates", &["join"], options);
        let mut options = point("y_r", "x_r");
        options.push(("drop", json!(random.chance(50))));
        job.stage("point", "geo_point", &["dates"], options);
        let options = vec![("column", json!("t_r")), ("not_in", json!(["plain", "\""]))];
        job.stage("some", "filter", &["point"], options);
        job.write(random, "some");
    }
}

/// Some key of a join of two tables.
fn key(random: &mut Random) -> Options {
    match random.below(6) {
        0 => vec![("on", json!(["k", "b"]))],
        1 => vec![
            ("left_on", json!(["n", "k"])),
            ("right_on", json!(["id", "k"])),
        ],
        2 => vec![("left_on", json!("n")), ("right_on", json!("id"))],
        3 => vec![("on", json!("n"))],
        _ => vec![("on", json!("k"))],
    }
}

fn point(latitude: &str, longitude: &str) -> Options {
    vec![
        ("latitude", json!(latitude)),
        ("longitude", json!(longitude)),
        ("into", json!("point")),
    ]
}

fn normalize_dates(random: &mut Random, job: &mut Job) {
    let input = job.table(random, "load", 200);
    let mut options = vec![("columns", json!(random.some(&["d", "e"])))];
    let formats: Option<&[&str]> = random.pick(&[
        None,
        Some(&["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d", "%m/%d/%Y", "%d/%m/%Y"]),
        Some(&["%d/%m/%Y", "%m/%d/%Y"]),
        Some(&["%Y-%m-%d"]),
        Some(&["%Y-%m-%dT%H:%M:%S%z"]),
    ]);
    if let Some(formats) = formats {
        options.push(("formats", json!(formats)));
    }
    options.push((
        "on_error",
        json!(random.pick(&["reject", "reject", "null"])),
    ));
    job.stage("dates", "normalize_dates", &[&input], options);
    job.write(random, "dates");
    job.max_rejects = random.pick(&[0, -1]);
}

fn geo_point(random: &mut Random, job: &mut Job) {
    let input = job.table(random, "load", 200);
    let (latitude, longitude) = random.pick(&[("x", "y"), ("y", "x"), ("n", "x"), ("x", "n")]);
    let mut options = point(latitude, longitude);
    options.push(("drop", json!(random.chance(60))));
    options.push((
        "on_error",
        json!(random.pick(&["reject", "reject", "null"])),
    ));
    job.stage("point", "geo_point", &[&input], options);
    job.write(random, "point");
}

/// Asks a server that says what it was asked, knows nothing of some, and breaks off at others.
fn fetch(random: &mut Random, job: &mut Job) {
    static SITE: OnceLock<Site> = OnceLock::new();
    let site = SITE.get_or_init(|| {
        Site::start(|asked| match asked.target.len() % 7 {
            3 => Say::Answer(404, Vec::new(), Vec::new()),
            5 => Say::json("{\"records\": []}"),
            _ => Say::json(json!({ "records": [{ "v": asked.target }, { "v": 7 }] }).to_string()),
        })
    });
    let input = job.table(random, "load", 60);
    let column = random.pick(&["k", "n", "d"]);
    let options = vec![
        ("url", json!(format!("{}/{{{column}}}", site.url))),
        ("records", json!("/records")),
        ("columns", json!({ "said": "/v", "none": "/w" })),
        ("retries", json!(1)),
        ("retry_delay_ms", json!(1)),
    ];
    job.stage("fetch", "fetch", &[&input], options);
    job.write(random, "fetch");
    job.max_rejects = -1;
}

/// Runs commands that give back what they are given, and some that fail.
fn exec(random: &mut Random, job: &mut Job) {
    let input = job.table(random, "load", 40);
    let mut options = vec![
        ("stdin", json!("ndjson")),
        ("output", json!("ndjson")),
        ("columns", json!({ "said": "/k", "number": "/n" })),
    ];
    if random.chance(50) {
        options.push(("command", json!(["cat"])));
        options.push(("batch", json!(random.pick(&[1, 3, 16]))));
    } else {
        options.push(("shell", json!(true)));
        options.push(("command", json!("cat; test {n} -gt 2")));
    }
    job.stage("exec", "exec", &[&input], options);
    job.write(random, "exec");
    job.max_rejects = -1;
}

fn write_files(random: &mut Random, job: &mut Job) {
    let rows = rows(random, 250);
    job.load(random, "load", &rows, &Style::plain());
    let mut input = job.dates("dated", "load");
    if random.chance(50) {
        let options = group_options(random, &["k", "n"]);
        input = job.stage("group", "group_concat", &[&input], options);
    }
    for format in [
        "ndjson",
        "csv",
        "arrow",
        "parquet",
        "ndjson.gz",
        "csv.gz",
        "arrow.gz",
    ] {
        for nulls in random.some(&["omit", "null"]) {
            job.write_as(&input, format, nulls);
        }
    }
}

fn bulk_index(random: &mut Random, job: &mut Job) {
    let mut input = job.table(random, "load", 120);
    if random.chance(30) {
        input = job.dates("dated", &input);
    }
    job.index(random, &input);
}

fn long(random: &mut Random, job: &mut Job) {
    let people = rows(random, 200);
    let mut style = Style::any(random);
    style.encoding = Coded::Utf8;
    job.load(random, "people", &people, &style);
    let options = vec![
        ("drop", json!(["y"])),
        ("rename", json!({ "x": "latitude" })),
    ];
    job.stage("renamed", "select", &["people"], options);
    let options = vec![
        ("column", json!("n")),
        ("below", random.within(-1..=5).into()),
    ];
    job.stage("few", "filter", &["renamed"], options);

    let things = job.table(random, "things", 120);
    let text = [("unwrap_single", json!(true)), ("separator", json!(" | "))];
    let options = vec![("by", json!("k")), random.pick(&text)];
    job.stage("grouped", "group_concat", &[&things], options);
    let options = vec![
        ("keep", json!(["k", "t", "id"])),
        ("prefix", json!("thing_")),
    ];
    job.stage("grouped-some", "select", &["grouped"], options);

    let options = vec![
        ("left_on", json!("k")),
        ("right_on", json!("thing_k")),
        ("how", json!(random.pick(&["left", "inner"]))),
        ("duplicates", json!("fail")),
    ];
    job.stage("joined", "join", &["few", "grouped-some"], options);
    let places = job.table(random, "places", 60);
    let options = vec![
        ("keep", json!(["n", "y", "d"])),
        ("prefix", json!("place_")),
    ];
    job.stage("places-some", "select", &[&places], options);
    let options = vec![("left_on", json!("n")), ("right_on", json!("place_n"))];
    job.stage("placed", "join", &["joined", "places-some"], options);
    let options = vec![("columns", json!(["place_d", "d"]))];
    job.stage("dated", "normalize_dates", &["placed"], options);
    let options = point("latitude", "place_y");
    job.stage("located", "geo_point", &["dated"], options);
    job.write(random, "located");
    job.write_as("located", "jsonl", "null");
    if random.chance(50) {
        job.index(random, "located");
    }
}

/// A stage that stands on both sides of a join, once through a grouping.
fn both_sides(random: &mut Random, job: &mut Job) {
    let input = job.table(random, "load", 80);
    let options = vec![
        ("on", json!(random.pick(&["k", "n", "id"]))),
        (
            "how",
            json!(random.pick(&["left", "inner", "semi", "anti"])),
        ),
        ("suffix", json!("_r")),
    ];
    job.stage("self", "join", &[&input, &input], options);
    job.write(random, "self");
    let options = vec![("by", json!("k")), ("columns", json!(["t", "n"]))];
    job.stage("grouped", "group_concat", &[&input], options);
    let options = vec![("on", json!("k")), ("suffix", json!("s"))];
    job.stage("with-others", "join", &[&input, "grouped"], options);
    job.write(random, "with-others");
    let options = vec![("column", json!("b")), ("equals", true.into())];
    job.stage("true", "filter", &[&input], options);
    let options = vec![("on", json!("k")), ("how", json!("anti"))];
    job.stage("never-true", "join", &[&input, "true"], options);
    job.write(random, "never-true");
}

/// Stages with several readers of which each rejects something else.
fn two_readers(random: &mut Random, job: &mut Job) {
    let input = job.table(random, "load", 250);
    let options = vec![("columns", json!(["d"]))];
    job.stage("dates", "normalize_dates", &[&input], options);
    job.stage("point", "geo_point", &[&input], point("x", "y"));
    let options = vec![("columns", json!(["e"]))];
    job.stage("other-dates", "normalize_dates", &["point"], options);
    for stage in ["dates", "point", "other-dates", "load"] {
        job.write(random, stage);
    }
    job.write_as("dates", "json", "null");
    job.max_rejects = -1;
}

/// Good rows, so that a run fails at what was put among them only.
fn good_rows(random: &mut Random, count: usize) -> Vec<Vec<Value>> {
    (1..)
        .take(count)
        .map(|id| {
            let mut row = row(random, id);
            row[4] = json!(0.25);
            row[5] = json!(1.5);
            row[7] = json!("2013-03-02");
            row[8] = json!("2012-02-29 08:09:10.5");
            row
        })
        .collect()
}

fn some_good_rows(random: &mut Random) -> Vec<Vec<Value>> {
    let count = 40 + random.below(120);
    good_rows(random, count)
}

fn record_fails(random: &mut Random, job: &mut Job) {
    let rows = some_good_rows(random);
    let mut style = Style::plain();
    style.broken = 30;
    job.load(random, "load", &rows, &style);
    let load = job.stages.last_mut().expect("it was just put there");
    load.options.push(("on_error", json!("fail")));
    job.write(random, "load");
}

fn date_fails(random: &mut Random, job: &mut Job) {
    let mut rows = some_good_rows(random);
    // Each column has faults of its own: the first row counts, not the first column.
    for column in [7, 8, 7, 8] {
        let at = random.below(rows.len());
        rows[at][column] = json!("2013-02-30");
    }
    job.load(random, "load", &rows, &Style::plain());
    let options = vec![("columns", json!(["e", "d"])), ("on_error", json!("fail"))];
    job.stage("dates", "normalize_dates", &["load"], options);
    job.write(random, "dates");
}

fn degrees_fail(random: &mut Random, job: &mut Job) {
    let mut rows = some_good_rows(random);
    // A stage above rejects some rows, but none of those at fault.
    for _ in 0..8 {
        let at = random.below(rows.len());
        rows[at][7] = json!("2013-02-30");
    }
    for column in [4, 5, 4, 5] {
        let at = random.below(rows.len());
        rows[at][column] = json!(200.5);
        rows[at][7] = json!("2013-03-02");
    }
    job.load(random, "load", &rows, &Style::plain());
    let options = vec![("columns", json!(["d"]))];
    job.stage("dates", "normalize_dates", &["load"], options);
    let mut options = point("x", "y");
    options.push(("on_error", json!("fail")));
    job.stage("point", "geo_point", &["dates"], options);
    job.write(random, "point");
    job.write(random, "dates");
}

/// Stages that hold rows when the run fails.
fn collected_fail(random: &mut Random, job: &mut Job) {
    let mut rows = some_good_rows(random);
    let at = random.below(rows.len());
    rows[at][7] = json!("2013-02-30");
    job.load(random, "load", &rows, &Style::plain());
    let options = vec![("columns", json!(["d"])), ("on_error", json!("fail"))];
    job.stage("dates", "normalize_dates", &["load"], options);
    let mut options = vec![("by", json!(["-n", "k"]))];
    if random.chance(70) {
        options.push(("limit", json!(random.pick(&[3, 500]))));
    }
    job.stage("sort", "sort", &["dates"], options);
    job.write(random, "sort");
    let keep = json!(random.pick(&["first", "last"]));
    let options = vec![("by", json!(["n", "k"])), ("keep", keep)];
    job.stage("once", "dedupe", &["dates"], options);
    job.write(random, "once");
    let inputs = random.pick(&[["sort", "once"], ["dates", "sort"]]);
    job.stage("all", "concat", &inputs, vec![("missing", json!("null"))]);
}

/// A value that cannot be computed in some runs, in others a sum that does not fit: that is known at the end.
fn aggregate_fails(random: &mut Random, job: &mut Job) {
    let mut rows = some_good_rows(random);
    let too_large = random.chance(50);
    for row in &mut rows {
        row[2] = json!(if too_large { i64::MAX / 3 } else { 3 });
        row[6] = json!("12");
    }
    if !too_large {
        for _ in 0..3 {
            let at = random.below(rows.len());
            rows[at][6] = json!("twelve");
        }
    }
    job.load(random, "load", &rows, &Style::plain());
    let columns = json!({ "total": "sum(n)", "t": "sum(CAST(t AS BIGINT))" });
    let options = vec![
        ("by", json!(random.pick(&["b", "y"]))),
        ("columns", columns),
        ("on_error", json!("fail")),
    ];
    job.stage("groups", "aggregate", &["load"], options);
    job.write(random, "groups");
}

fn duplicates_fail(random: &mut Random, job: &mut Job) {
    let left = some_good_rows(random);
    let right = some_good_rows(random);
    job.load(random, "left", &left, &Style::plain());
    job.load(random, "right", &right, &Style::broken(5));
    let options = vec![
        ("on", json!(random.pick(&["k", "n"]))),
        ("duplicates", json!("fail")),
        ("suffix", json!("_r")),
    ];
    job.stage("join", "join", &["left", "right"], options);
    job.write(random, "join");
    job.whole = vec!["right".into()];
}

fn too_few_match(random: &mut Random, job: &mut Job) {
    let left = some_good_rows(random);
    let right = good_rows(random, 3);
    job.load(random, "left", &left, &Style::broken(5));
    job.load(random, "right", &right, &Style::plain());
    let options = vec![
        ("left_on", json!("id")),
        ("right_on", json!("id")),
        ("min_match", json!(0.9)),
        (
            "how",
            json!(random.pick(&["left", "inner", "semi", "anti"])),
        ),
        ("suffix", json!("_r")),
    ];
    job.stage("join", "join", &["left", "right"], options);
    let options = vec![("columns", json!(["d"]))];
    job.stage("dates", "normalize_dates", &["join"], options);
    job.write(random, "dates");
    // It is known only when all rows are through.
    job.whole = ["left", "right", "join", "dates"].map(str::to_owned).into();
}

/// Rows with bad dates and bad degrees, in no order.
fn rows_at_fault(random: &mut Random) -> Vec<Vec<Value>> {
    let mut rows = some_good_rows(random);
    for (column, bad) in [(7, json!("2013-02-30")), (4, json!(200.5))] {
        for _ in 0..=random.below(3) {
            let at = random.below(rows.len());
            rows[at][column] = bad.clone();
        }
    }
    rows
}

/// Stages that fail behind `input`, in some order; the last one's name.
fn failing(random: &mut Random, job: &mut Job, input: &str) -> String {
    let mut degrees = point("x", "y");
    degrees.extend([("on_error", json!("fail")), ("drop", json!(false))]);
    let dates = vec![("columns", json!(["d"])), ("on_error", json!("fail"))];
    let mut stages = vec![("geo_point", degrees), ("normalize_dates", dates)];
    if random.chance(50) {
        stages.reverse();
    }
    let mut last = input.to_owned();
    for (kind, options) in stages {
        last = job.stage(&format!("{last}-{kind}"), kind, &[&last], options);
    }
    last
}

fn several_fail(random: &mut Random, job: &mut Job) {
    let (left, right) = (rows_at_fault(random), rows_at_fault(random));
    job.load(random, "left", &left, &Style::plain());
    job.load(random, "right", &right, &Style::plain());
    let left = failing(random, job, "left");
    let right = if random.chance(50) {
        failing(random, job, "right")
    } else {
        "right".into()
    };
    let options = vec![
        ("on", json!(random.pick(&["id", "k"]))),
        ("duplicates", json!(random.pick(&["expand", "fail"]))),
        ("suffix", json!("_r")),
    ];
    job.stage("join", "join", &[&left, &right], options);
    job.write(random, "join");
}

fn several_ways_fail(random: &mut Random, job: &mut Job) {
    let rows = rows_at_fault(random);
    job.load(random, "load", &rows, &Style::plain());
    let options = vec![("column", json!("d")), ("is_null", json!(false))];
    for name in ["a", "b"] {
        let filtered = job.stage(name, "filter", &["load"], options.clone());
        let last = failing(random, job, &filtered);
        job.write(random, &last);
    }
    job.write(random, "load");
}

/// A file after a good one, and a stage behind that rejects.
fn second_file(random: &mut Random, job: &mut Job, name: &str, bytes: Vec<u8>, options: Options) {
    let rows = rows(random, 100);
    let first = broken_rows(random, &rows);
    job.files.push(("in/1.csv".into(), first));
    job.files.push((name.into(), bytes));
    let mut all = Style::plain().options();
    all.push(("files", json!(["in/1.csv", name])));
    all.extend(options);
    job.stage("load", "load_csv", &[], all);
    let options = vec![("columns", json!(["d", "e"]))];
    job.stage("dates", "normalize_dates", &["load"], options);
    job.write(random, "dates");
    job.whole = vec!["load".into()];
}

fn stream_damaged(random: &mut Random, job: &mut Job) {
    let rows = some_good_rows(random);
    let text = broken_rows(random, &rows);
    let (extension, mut bytes) = compressed(random, &text);
    let is_gzip = extension == ".gz";
    match random.below(3) {
        // Within the last member: what ends with a member is whole.
        0 => bytes.truncate(bytes.len() - 1 - random.below(if is_gzip { 18 } else { 8 })),
        1 => {
            bytes = if is_gzip { member(&text) } else { frame(&text) };
            bytes.truncate(20 + random.below(bytes.len() - 21));
        }
        // The check sum.
        _ => {
            let at = bytes.len() - if is_gzip { 8 } else { 4 };
            bytes[at] ^= 1;
        }
    }
    let name = format!("in/2.csv{extension}");
    second_file(random, job, &name, bytes, Vec::new());
}

/// A file of these rows, and of some that cannot be used.
fn broken_rows(random: &mut Random, rows: &[Vec<Value>]) -> Vec<u8> {
    Style::broken(10).write(random, rows, true)
}

/// Two files of JSON records, and a stage behind that rejects.
fn load_json(random: &mut Random, job: &mut Job, files: [Vec<u8>; 2], options: Options) {
    let mut paths = Vec::new();
    for (number, bytes) in files.into_iter().enumerate() {
        paths.push(format!("in/{number}.json"));
        job.files.push((paths[number].clone(), bytes));
    }
    let mut all = vec![("files", json!(paths)), ("types", types())];
    all.extend(options);
    job.stage("load", "load_ndjson", &[], all);
    let options = vec![("columns", json!(["d", "e"]))];
    job.stage("dates", "normalize_dates", &["load"], options);
    job.write(random, "dates");
}

fn list_cut(random: &mut Random, job: &mut Job) {
    let layout = Layout {
        list: Some("/data/items"),
        broken: 10,
    };
    let rows = some_good_rows(random);
    let first = layout.write(random, &rows);
    let mut second = layout.write(random, &rows);
    let after_list = 5 + random.below(15);
    second.truncate(second.len() - after_list);
    load_json(random, job, [first, second], layout.options());
    job.whole = vec!["load".into()];
}

fn json_fails(random: &mut Random, job: &mut Job) {
    let layout = Layout {
        broken: 3,
        ..Layout::any(random)
    };
    let rows = some_good_rows(random);
    let first = layout.write(random, &rows);
    let second = Layout {
        broken: 60,
        ..layout
    }
    .write(random, &rows);
    let mut options = layout.options();
    options.push(("on_error", json!("fail")));
    load_json(random, job, [first, second], options);
}

fn other_header(random: &mut Random, job: &mut Job) {
    let text = "id,k,n,b,x,y,t,d\n1,2,3,true,5,6,7,8\n";
    second_file(random, job, "in/2.csv", text.into(), Vec::new());
}

fn open_quote(random: &mut Random, job: &mut Job) {
    let rows = some_good_rows(random);
    let mut bytes = broken_rows(random, &rows);
    bytes.extend(b"\n17,\"open\n18,a,1,true,1,1,b,c,d\n");
    second_file(random, job, "in/2.csv", bytes, Vec::new());
}

fn long_record(random: &mut Random, job: &mut Job) {
    let rows = some_good_rows(random);
    let mut bytes = Style::plain().write(random, &rows, true);
    bytes.extend(format!("\n17,{},1\n18,b,1,true,1,1,b,c,d\n", "long ".repeat(200)).bytes());
    let options = vec![("record_bytes", 900.into())];
    second_file(random, job, "in/2.csv", bytes, options);
}

fn parquet_damaged(random: &mut Random, job: &mut Job) {
    let rows = some_good_rows(random);
    job.load(random, "csv", &rows, &Style::plain());
    job.write_as("csv", "parquet", "omit");
    job.before = Some(job.toml().replace("out/", "in/"));
    job.stages.clear();
    job.files
        .push(("in/damaged.parquet".into(), b"PAR1 and no more".to_vec()));
    let paths = ["in/csv-omit.parquet", "in/damaged.parquet"];
    job.stage("load", "load_parquet", &[], vec![("files", json!(paths))]);
    let options = vec![("columns", json!(["d", "e"]))];
    job.stage("dates", "normalize_dates", &["load"], options);
    job.write(random, "dates");
    job.whole = vec!["load".into()];
}

fn arrow_damaged(random: &mut Random, job: &mut Job) {
    let rows = some_good_rows(random);
    job.load(random, "csv", &rows, &Style::plain());
    job.write_as("csv", "arrow", "omit");
    job.write_as("csv", "arrow", "null");
    job.before = Some(job.toml().replace("out/", "in/"));
    job.stages.clear();
    job.files.push((
        "in/damaged.arrow".into(),
        b"ARROW1\0\0 and no more".to_vec(),
    ));
    let paths = ["in/csv-omit.arrow", "in/csv-null.arrow", "in/damaged.arrow"];
    job.stage("load", "load_arrow", &[], vec![("files", json!(paths))]);
    let options = vec![("columns", json!(["d", "e"]))];
    job.stage("dates", "normalize_dates", &["load"], options);
    job.write(random, "dates");
    job.whole = vec!["load".into()];
}
