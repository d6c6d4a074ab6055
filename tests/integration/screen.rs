//! What reaches a screen: nothing that a terminal would obey, all mistakes at once, where results are.

use std::fs;

use serde_json::Value;

use crate::harness::{Etl, Folder, Outcome};

/// What a terminal obeys or a reader cannot see, in data.
const HOSTILE: &str =
    "\u{1b}]0;x\u{7}\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{2066}\u{200b}\u{2028}\u{61c}";

/// Of every character that may not be sent, the first that was.
fn sent(text: &str) -> Option<char> {
    text.chars().find(|&char| {
        char != '\n' && char.is_control()
            || matches!(char, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    })
}

#[track_caller]
fn assert_harmless(command: &[&str], outcome: &Outcome) {
    for text in [&outcome.stdout, &outcome.stderr] {
        assert_eq!(sent(text), None, "{command:?} sent it: {text:?}");
    }
}

fn etl(folder: &Folder, command: &[&str]) -> Outcome {
    let outcome = Etl::new(folder.path(), command).outcome();
    assert_harmless(command, &outcome);
    outcome
}

/// Text as TOML has it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A file with a hostile name, header and values, loaded and indexed.
fn hostile() -> Folder {
    let folder = Folder::new("hostile");
    // A bracket would begin a pattern.
    let name = format!("{}.csv", HOSTILE.replace('[', "("));
    let rows = format!("id,\"{HOSTILE}\",n\n1,\"a{HOSTILE}\",1\n2,\"b{HOSTILE}\",\"{HOSTILE}\"\n");
    folder.write(&name, rows);
    let pipeline = format!(
        "max_rejects = -1\n[[stage]]\nname = 'load'\nkind = 'load_csv'\nfiles = [{}]\ntypes = {{ n = 'int' }}\n\
         [[stage]]\nname = 'words'\nkind = 'exec'\ninputs = ['load']\n\
         command = ['sh', '-c', 'printf \"$1\" >&2; [ \"$2\" = 1 ] && exit 3; echo \"$1\"', 'sh', {}, '{{id}}']\n\
         on_error = 'reject'\n\
         [[stage]]\nname = 'index'\nkind = 'bulk_index'\ninputs = ['load']\nid = 'id'\nto = 'local:idx'\n\
         [[stage]]\nname = 'write'\nkind = 'write_files'\ninputs = ['load']\npath = {}\n",
        quoted(&name),
        quoted("\\033[2J\\r\\233x"),
        quoted(&format!("out{HOSTILE}.ndjson")),
    );
    folder.write("p.toml", pipeline);
    folder
}

#[test]
fn nothing_that_data_holds_is_obeyed() {
    let folder = hostile();
    let ran = etl(&folder, &["run", "p.toml", "--progress", "plain"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("\\u{1b}"), "{}", ran.stdout);
    let run = fs::read_dir(folder.join(".etl/runs"))
        .expect("runs are kept")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .next()
        .expect("there is one");
    let wrong = format!("load.{HOSTILE}=1");
    let missing = format!("no{HOSTILE}.toml");
    let query = format!("id:1 OR {HOSTILE}");
    for command in [
        &["run", "p.toml", "--json"][..],
        &["run", "p.toml", "--set", "words.on_error=fail"],
        &["run", "p.toml", "--set", "load.on_error=fail"],
        &["run", &missing],
        &["run", "p.toml", &wrong],
        &["run", "p.toml", "--set", &wrong],
        &["run", "p.toml", "--until", HOSTILE],
        &["check", "p.toml"],
        &["check", "p.toml", "--schema"],
        &["check", "p.toml", "--connect"],
        &["check", "p.toml", "--json", "--connect"],
        &[
            "check",
            "p.toml",
            "--set",
            &format!("load.types.{}=\"x\"", quoted(HOSTILE)),
        ],
        &["plan", "p.toml"],
        &["plan", "p.toml", "--json"],
        &["preview", "p.toml", "--stage", "load"],
        &["preview", "p.toml", "--stage", "load", "--json"],
        &["preview", "p.toml", "--stage", "words"],
        &["preview", "p.toml", "--columns", HOSTILE],
        &["report"],
        &["report", &run],
        &["report", &run, "--json"],
        &["report", &run, "--markdown"],
        &["report", HOSTILE],
        &["search", "idx", "*"],
        &["search", "idx", "*", "--fields", HOSTILE],
        &["search", "idx", "*", "--facet", HOSTILE],
        &["search", "idx", &query],
        &["search", HOSTILE, "x"],
        &["stages", HOSTILE],
        &["replay", HOSTILE],
        &["rollback", &missing],
        &[
            "compare",
            "p.toml",
            "--runs",
            "1",
            "--set",
            "words.command=[\"true\"]",
        ],
    ] {
        etl(&folder, command);
    }
    // JSON says the same as the data, in escapes.
    let json = etl(&folder, &["preview", "p.toml", "--stage", "load", "--json"]);
    let row: Value = serde_json::from_str(json.stdout.lines().next().expect("a row")).unwrap();
    assert_eq!(row[HOSTILE], format!("a{HOSTILE}"));
    // What is written to standard output is the user's own.
    let own = Etl::new(folder.path(), &["run", "p.toml", "--until", "write"])
        .args(["--set", "write.path=-", "--set", "write.format=ndjson"])
        .outcome();
    assert!(own.stdout.contains('\u{9b}'), "{:?}", own.stdout);
    assert_eq!(sent(&own.stderr), None, "{:?}", own.stderr);
}

#[test]
fn words_of_others_begin_no_line() {
    let folder = Folder::new("lines");
    folder.write("a\nerror: b.csv", "x\n1\n2,3\n");
    folder.write(
        "p.toml",
        "[[stage]]\nname = 'load'\nkind = 'load_csv'\nfiles = [\"a\\nerror: b.csv\"]\non_error = 'fail'\n",
    );
    let ran = etl(&folder, &["run", "p.toml"]);
    assert_eq!(ran.code, Some(1));
    let lines = ran.stderr.lines().filter(|line| line.starts_with("error:"));
    assert_eq!(lines.count(), 1, "{}", ran.stderr);
}

#[test]
fn a_long_message_is_broken_between_words() {
    let folder = Folder::new("wrapped");
    folder.write(
        "p.toml",
        "[[stage]]\nname = 'load'\nkind = 'load_csv'\nfiles = ['in.csv']\nunknown_key_that_nobody_knows = 1\n",
    );
    let etl = env!("CARGO_BIN_EXE_etl");
    let output = std::process::Command::new(etl)
        .args(["check", "p.toml"])
        .current_dir(folder.path())
        .env("COLUMNS", "80")
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.lines().count() > 3, "{said}");
    for line in said.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn all_mistakes_are_told_each_with_its_line() {
    let folder = Folder::new("mistakes");
    folder.write("in.csv", "a,b\n1,2\n");
    let pipeline = "\
max_reject = 1
[[stage]]
name = \"load\"
kind = \"load_csv\"
files = [\"in.csv\"]
skip_rows = \"1\"
delimeter = \";\"
record_bytes = \"x\"
[[stage]]
name = \"again\"
kind = \"load_csv\"
files = [\"in.csv\"]
[[stage]]
name = \"some\"
kind = \"select\"
inputs = [\"again\"]
keep = [
  \"a\",
  \"c\",
  \"d\",
]
[[stage]]
name = \"odd\"
kind = \"selekt\"
inputs = [\"again\"]
[[stage]]
name = \"after\"
kind = \"filter\"
inputs = [\"odd\"]
column = \"x\"
equals = \"1\"
[[stage]]
name = \"low\"
kind = \"filter\"
inputs = [
  \"again\",
  \"nobody\",
]
workers = \"many\"
column = \"z\"
[[stage]]
name = \"write\"
kind = \"write_files\"
inputs = [\"again\"]
path = \"${NOT_SET_ANYWHERE}\"
";
    folder.write("p.toml", pipeline);
    let checked = etl(&folder, &["check", "p.toml"]);
    assert_eq!(checked.code, Some(2), "{}", checked.stderr);
    for (words, line) in [
        ("unknown key `max_reject`", 1),
        ("`skip_rows`: expected", 6),
        ("unknown key `delimeter`", 7),
        ("`record_bytes`: expected", 8),
        ("no column `c`", 19),
        ("no column `d`", 20),
        ("unknown kind `selekt`", 24),
        ("input `nobody` is not a stage above", 37),
        ("`workers`: expected", 39),
        ("`NOT_SET_ANYWHERE` is not set", 45),
    ] {
        let blocks = checked.stderr.split("error: ");
        let mut blocks = blocks.filter(|block| block.contains(words));
        let block = blocks.next();
        let place = format!("at p.toml:{line}:");
        assert!(
            block.is_some_and(|block| block.contains(&place)),
            "`{words}` is not at line {line}: {}",
            checked.stderr
        );
        assert!(blocks.next().is_none(), "`{words}` is told twice");
    }
    // Nothing is wrong with it but that what it reads is.
    assert!(
        !checked.stderr.contains("stage `after`"),
        "{}",
        checked.stderr
    );
    let ran = etl(&folder, &["run", "p.toml"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.matches("error: ").count() >= 8, "{}", ran.stderr);
}

/// A pipeline with a mistake on every line that a comment marks; what follows `#` is said of that line.
const BAD: &str = "\
[[stage]]
name = \"a\"
kind = \"load_csv\"
file = [\"in.csv\"] # 1 unknown key `file`
delimiter = \";;\" # 1 `delimiter` must be one byte, found `;;`
quote = \"''\" # 1 `quote` must be one byte
encoding = \"latin-1\" # 1 `encoding`: no encoding is labelled `latin-1`
types = { v = \"integer\", w = \"int\", x = \"flot\" } # 11 `types.v`: expected; 37 `types.x`: expected
[[stage]]
name = \"b\"
kind = \"load_csv\"
files = [\"in.csv\", \"${NOPE}/in.csv\"] # 20 environment variable `NOPE` is not set
record_bytes = 0 # 1 `record_bytes` must be between
on_error = \"null\" # 1 `on_error`: expected one of `reject`, `fail`, found `null`
types = { a = \"a\" } # 11 `types.a`: expected one of
[[stage]]
name = \"c\"
kind = \"load_csv\"
files = [\"in.csv\"]
workers = -1 # 1 `workers`: expected 0 to 1024, found -1
parallel = \"yes\" # 1 `parallel`: expected `true` or `false`
batch_rows = 0 # 1 `batch_rows`: expected
[[stage]]
name = \"columns\"
kind = \"select\"
inputs = [\"c\"]
keep = [
  \"a\",
  \"z\", # 3 no column `z`
]
[[stage]]
name = \"point\"
kind = \"geo_point\"
inputs = [\"c\"]
latitude = \"y\" # 1 no column `y`
longitude = \"x\" # 1 no column `x`
into = \"at\"
[[stage]]
name = \"groups\"
kind = \"group_concat\"
inputs = [\"c\"]
by = \"u\" # 1 no column `u`
columns = [\"v\", \"w\"] # 12 no column `v`; 17 no column `w`
[[stage]]
name = \"both\"
kind = \"join\"
inputs = [\"c\", \"c\"]
left_on = \"m\" # 1 left input: no column `m`
right_on = \"n\" # 1 right input: no column `n`
[[stage]]
name = \"column\"
kind = \"geo_point\"
inputs = [\"c\"]
latitude = \"b\" # 1 `latitude` and `longitude` are one column
longitude = \"b\"
into = \"point\"
drop = 1 # 1 `drop`: expected
[[stage]]
name = \"dates\"
kind = \"normalize_dates\"
inputs = [\"cc\"] # 11 input `cc` is not a stage above
columns = [] # 1 `columns` is empty
formats = [\"%F\", \"%Q\", \"%F %K\"] # 18 unknown directive `%Q`; 24 unknown directive `%K`
[[stage]]
name = \"joined\"
kind = \"join\"
inputs = [\"c\", \"b\"]
left_on = \"a\" # 1 give `on`, or `left_on` and `right_on`
how = \"outer\" # 1 `how`: expected one of `left`, `inner`, `semi`, `anti`, found `outer`
min_match = 3 # 1 `min_match` is a share
[[stage]]
name = \"some\"
kind = \"filter\"
inputs = [\"c\"]
column = \"a\"
equals = \"1\" # 1 `equals`, `below`: one condition is expected
below = \"4\"
[[stage]]
name = \"one\"
kind = \"filter\"
inputs = [\"c\"]
column = \"a\"
is_null = \"no\" # 1 `is_null`: expected
[[stage]]
name = \"grouped\"
kind = \"group_concat\"
inputs = [\"c\"]
by = [\"a\"]
columns = [\"a\", \"b\"] # 12 `columns` names `a`
separator = \";\" # 1 `separator` makes text
unwrap_single = true
[[stage]]
name = \"asked\"
kind = \"fetch\"
inputs = [\"c\"]
url = \"ftp://host/{a}\" # 1 `url`: `ftp` is neither `http` nor `https`
method = \"get\" # 1 `method`: expected one of `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE`, found `get`
columns = { p = \"price\", q = \"/q\" } # 13 `columns.p`: `price` is no JSON pointer
types = { r = \"int\" } # 11 `types` names `r`
batch = 0 # 1 `batch` must be between
retry_delay_ms = 100000000 # 1 `retry_delay_ms` is longer than a day
[[stage]]
name = \"run\"
kind = \"exec\"
inputs = [\"c\"]
command = \"uptime\" # 1 `command` is one string
stdin = \"lines\" # 1 `stdin = \"lines\"` needs `stdin_column`
max_failed = -2 # 1 `max_failed` is a number of rows
[[stage]]
name = \"write\"
kind = \"write_files\"
inputs = [\"c\"]
path = \"out.txt\"
format = \"text\" # 1 `format`: expected one of `ndjson`, `csv`, `arrow`, `parquet`, found `text`
nulls = \"none\" # 1 `nulls`: expected one of `omit`, `null`, found `none`
[[stage]]
name = \"index\"
kind = \"bulk_index\"
inputs = [\"c\"]
to = \"localhost:9200\" # 1 `localhost:9200` is not a server's address
load = \"upsert\" # 1 `load`: expected one of `append`, `create`, `replace`, found `upsert`
index = \"i\"
op = \"delete\" # 1 `op = \"delete\"` needs `id`
batch_docs = 0 # 1 `batch_docs` is 0
min_share = 2 # 1 `min_share` is 2
password = \"x\" # 1 `password` needs `username`
request_timeout_ms = 0 # 1 `request_timeout_ms` is 0
[[stage]]
name = \"c\" # 1 two stages are named `c`
kind = \"select\"
inputs = [\"c\"]
keap = [\"a\"] # 1 unknown key `keap`
drop = \"b\" # 1 `drop`: expected a list
[[stage]]
name = \"a b\" # 1 `name`: expected letters
kind = \"filtr\" # 1 unknown kind `filtr`
[[stage]]
name = \"${NOPE}\" # 1 `name`: environment variable `NOPE` is not set
kind = \"write_files\"
inputs = [\"a b\"]
format = 1 # 1 `format`: expected
path = \"${NOPE}/${NEITHER}\" # 1 variable `NOPE` is not set; 1 variable `NEITHER` is not set
[[stage]]
name = \"selected\"
kind = \"select\"
inputs = [\"c\"]
keep = [\"a\", \"k\"] # 14 no column `k`
drop = [\"d\", \"k\"] # 9 no column `d`; 14 no column `k`
rename = { r = \"s\" } # 12 no column `r`
[[stage]]
name = \"fetched\"
kind = \"fetch\"
inputs = [\"c\"]
method = \"POST\"
url = \"http://host/{m}/{n}\" # 1 `url`: no column `m`; 1 `url`: no column `n`
headers = { h = \"{o}\" } # 13 `headers.h`: no column `o`
body = { p = [\"{p}\"] } # 10 `body.p`: no column `p`
key = { q = \"/q\" } # 9 `key.q`: no column `q`
columns = { v = \"/v\" }
[[stage]]
name = \"run_also\"
kind = \"exec\"
inputs = [\"c\"]
command = [\"cat\"]
stdin = \"lines\"
stdin_column = \"e\" # 1 `stdin_column`: no column `e`
key = { f = \"/f\" } # 9 `key.f`: no column `f`
columns = { g = \"/g\" }
output = \"ndjson\"
[[stage]]
name = \"copy\"
kind = \"write_files\"
inputs = [\"c\"]
path = \"copy.csv\"
[[stage]]
name = \"copy_again\"
kind = \"write_files\"
inputs = [\"c\"]
path = \"./copy.csv\" # 1 stage `copy` writes `./copy.csv` already
[[stage]]
name = \"copy_over\"
kind = \"write_files\"
inputs = [\"c\"]
path = \"in.csv\" # 1 `in.csv`, which stage `c` reads, would be replaced
[[stage]]
name = \"sent\"
kind = \"bulk_index\"
inputs = [\"c\"]
to = \"http://localhost:9200\"
index = \"sent\"
id = [\"a\", \"i\"] # 12 no column `i`
routing = \"j\" # 1 no column `j`
version = \"l\" # 1 no column `l`
";

#[test]
fn no_mistake_hides_another() {
    let folder = Folder::new("hidden");
    folder.write("in.csv", "a,b\n1,2\n");
    folder.write("bad.toml", BAD);
    let mut expected = Vec::new();
    for (line, text) in (1..).zip(BAD.lines()) {
        let mistakes = text.split_once(" # ").map(|(_, mistakes)| mistakes);
        for mistake in mistakes.into_iter().flat_map(|text| text.split("; ")) {
            let (column, words) = mistake.split_once(' ').expect("a column and words");
            expected.push((format!("at bad.toml:{line}:{column}"), words));
        }
    }
    for command in ["check", "plan", "run"] {
        let outcome = etl(&folder, &[command, "bad.toml"]);
        assert_eq!(outcome.code, Some(2), "{command}: {}", outcome.stderr);
        let mut found = outcome.stderr.split("error: ").skip(1);
        for (place, words) in &expected {
            // What only the columns show is said by `check`.
            if command != "check" && words.contains("no column") {
                continue;
            }
            let error = found.next().unwrap_or_default();
            let is_it = error.contains(words) && error.lines().any(|line| line.trim() == place);
            assert!(is_it, "{command}: expected {words}\n{place}\nfound {error}");
        }
        assert_eq!(found.next(), None, "{command}");
    }
}

#[test]
fn a_mistake_of_the_command_line_is_not_blamed_on_the_file() {
    let folder = Folder::new("blamed");
    folder.write("in.csv", "a,b,d\n1,2,2020-01-01\n");
    folder.write(
        "p.toml",
        "[[stage]]\nname = 'a'\nkind = 'load_csv'\nfiles = ['in.csv']\ntypes = { a = 'int' }\n\
         [[stage]]\nname = 'd'\nkind = 'normalize_dates'\ninputs = ['a']\ncolumns = ['d']\nformats = ['%F']\n\
         [[stage]]\nname = 'joined'\nkind = 'join'\ninputs = ['d', 'a']\nleft_on = ['b']\nright_on = ['b']\nhow = 'semi'\n\
         [[stage]]\nname = 'index'\nkind = 'bulk_index'\ninputs = ['joined']\nto = 'local:idx'\n",
    );
    for set in [
        "a.encoding=latin-1",
        "a.encoding=shift-js",
        "a.types.b=integer",
        "a.types={ b = 'integer' }",
        "a.columns=['x', 'x']",
        "a.skip_rows=-1",
        "d.formats=['%F', '%Q']",
        "d.formats=['%F', '%F%z']",
        "d.columns=['e']",
        "d.columns=[]",
        "joined.left_on=['c']",
        "joined.left_on=c",
        "joined.left_on=['a', 'b']",
        "joined.how=outer",
        "joined.inputs=['d', 'e']",
        "joined.workers=-1",
        "index.to=idx",
        "index.to=['local:a', 'local:b']",
        "index.op=delete",
        "index.min_share=2",
        "index.batch_docs=0",
    ] {
        let checked = etl(&folder, &["check", "p.toml", "--set", set]);
        assert_eq!(checked.code, Some(2), "{set}: {}", checked.stderr);
        let place = format!("  at `--set {set}`\n");
        assert!(checked.stderr.contains(&place), "{set}: {}", checked.stderr);
        let errors = checked.stderr.matches("error: ").count();
        assert_eq!(errors, 1, "{set}: {}", checked.stderr);
        assert!(
            !checked.stderr.contains("p.toml:"),
            "{set}: {}",
            checked.stderr
        );
    }
    // What stands beside it in the file is still the file's.
    let set = ["--set", "a.types.b=int", "--set", "a.types.a=integer"];
    let checked = etl(&folder, &[&["check", "p.toml"][..], &set].concat());
    let place = "at `--set a.types.a=integer`";
    assert!(checked.stderr.contains(place), "{}", checked.stderr);
}

#[test]
fn a_search_shows_fields_values_and_totals() {
    let folder = Folder::new("search");
    folder.write("in.csv", "id,state,n\n1,CA,5\n2,NY,6\n3,CA,7\n");
    folder.write(
        "p.toml",
        "[[stage]]\nname = 'load'\nkind = 'load_csv'\nfiles = ['in.csv']\n\
         [[stage]]\nname = 'index'\nkind = 'bulk_index'\ninputs = ['load']\nid = 'id'\nto = 'local:idx'\n",
    );
    let ran = etl(&folder, &["run", "p.toml"]);
    assert!(ran.stdout.contains("index: wrote idx, "), "{}", ran.stdout);
    for target in ["idx", "p.toml"] {
        let some = etl(
            &folder,
            &[
                "search", target, "*", "--fields", "state,id", "--limit", "2",
            ],
        );
        let sources: Vec<&str> = some
            .stdout
            .lines()
            .filter_map(|line| line.split_once("\"_source\":"))
            .map(|(_, source)| source)
            .collect();
        assert_eq!(
            sources,
            [r#"{"state":"CA","id":"1"}}"#, r#"{"state":"NY","id":"2"}}"#]
        );
        assert_eq!(
            some.stderr,
            "3 documents match, the first 2 are shown; `--limit N` shows more\n"
        );
        let facet = etl(&folder, &["search", target, "*", "--facet", "state"]);
        assert_eq!(
            facet.stdout,
            "{\"value\":\"CA\",\"count\":2}\n{\"value\":\"NY\",\"count\":1}\n"
        );
        assert_eq!(facet.stderr, "3 documents match\n");
    }
    let none = etl(&folder, &["search", "idx", "state:TX"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(0), ""));
    assert_eq!(none.stderr, "no document matches\n");
    let count = etl(&folder, &["search", "idx", "state:CA", "--count"]);
    assert_eq!((count.stdout.as_str(), count.stderr.as_str()), ("2\n", ""));
}

#[test]
fn looks_that_find_the_same_are_one_line() {
    let folder = Folder::new("looks");
    for number in 0..30 {
        let text = if number < 20 {
            "a,b\n1,2\n"
        } else {
            "a,c\n1,2\n"
        };
        folder.write(&format!("in/{number:02}.csv"), text);
    }
    folder.write(
        "p.toml",
        "[[stage]]\nname = 'load'\nkind = 'load_csv'\nfiles = ['in/*.csv']\n",
    );
    let looked = etl(&folder, &["check", "p.toml", "--connect"]);
    assert_eq!(looked.code, Some(1));
    let flat = looked
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let names = (1..10).map(|number| format!("`in/{number:02}.csv`"));
    let names = names.collect::<Vec<_>>().join(", ");
    let all = format!("(also {names} and 10 more: `--json` names all)");
    assert!(flat.contains(&all), "{}", looked.stdout);
    assert!(looked.stdout.lines().count() < 10, "{}", looked.stdout);
    assert!(!looked.stdout.contains("error"), "{}", looked.stdout);
    assert!(!looked.stderr.contains("not there"), "{}", looked.stderr);
    assert!(looked.stderr.contains("10 things"), "{}", looked.stderr);
    let also = "`in/29.csv`)";
    assert!(looked.stderr.contains(also), "{}", looked.stderr);
}

#[test]
fn one_empty_file_is_one_fault_and_no_other_file_is_blamed() {
    let folder = Folder::new("looks-empty");
    for number in 0..15 {
        folder.write(&format!("in/f{number:02}.csv"), "a,b\n1,2\n");
    }
    folder.write("in/empty.csv", "");
    let pipeline = "[[stage]]\nname = 'load'\nkind = 'load_csv'\nfiles = ['in/*.csv']\n";
    folder.write("p.toml", pipeline);
    let looked = etl(&folder, &["check", "p.toml", "--connect"]);
    assert_eq!(looked.code, Some(1));
    assert_eq!(
        looked.stderr,
        "error: stage `load`: `in/empty.csv` is empty: it has no header line\n  at p.toml:4:1\nhint: give `columns` if the file has no header\n"
    );
    assert!(!looked.stdout.contains("empty.csv"), "{}", looked.stdout);

    // What is wrong with the columns is reported once, and no file is blamed.
    std::fs::remove_file(folder.path().join("in/empty.csv")).expect("it is there");
    folder.write("p.toml", format!("{pipeline}types.c = 'int'\n"));
    let looked = etl(&folder, &["check", "p.toml", "--connect"]);
    assert_eq!(looked.stderr.matches("error").count(), 1);
    assert!(!looked.stderr.contains("f0"), "{}", looked.stderr);
}
