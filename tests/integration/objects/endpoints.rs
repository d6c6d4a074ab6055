//! Stages that name the server of their objects: each reads and writes there, and nobody asks the environment's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::LARGE;
use super::server::{Store, copying, csv, signal, with_store};
use super::uploads::{is_part, notes};
use crate::harness::{Etl, Folder, Outcome, Variant, wait_until};
use crate::scripted::{Say, Site};

/// The server of the environment, which is never asked.
pub(super) fn nobody() -> Site {
    Site::start(|_| Say::status(500, ""))
}

/// The options that name the servers of the stages of [`copying`].
pub(super) fn at(load: Option<&str>, write: Option<&str>) -> Vec<String> {
    let stages = [("load", load), ("write", write)].into_iter();
    let named = stages.filter_map(|(stage, url)| Some(format!("--set={stage}.endpoint={}", url?)));
    named.collect()
}

/// A command on `pipeline.toml` whose environment names a server that is never asked.
fn asking_nobody(etl: Etl, folder: &Folder) -> Outcome {
    let nobody = nobody();
    let etl = with_store(etl, folder, &nobody.url)
        .env("AWS_ENDPOINT_URL_S3", &nobody.url)
        .env("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true");
    let outcome = etl.outcome();
    assert!(nobody.asked().is_empty(), "{:?}", nobody.asked());
    outcome
}

#[test]
fn a_run_copies_between_two_stores_under_every_executor() {
    let (Some(from), Some(to)) = (Store::shared(), Store::other()) else {
        return;
    };
    let text = csv(200_000);
    for store in [from, to] {
        store.bucket("twins");
    }
    for number in 0..3 {
        from.put(&format!("twins/in/{number}.csv"), &text);
    }
    let rows = text.strip_prefix("n,text\n").expect("the header");
    let wanted = format!("n,text\n{}", rows.repeat(3));
    for variant in Variant::EACH.into_iter().chain([Variant::CLUSTER]) {
        // The same name as one of those that are read.
        let folder = copying("\"s3://twins/in/*.csv\"", "s3://twins/in/1.csv");
        let run = Etl::run(folder.path(), "pipeline.toml", variant);
        let run = run.args(at(Some(&from.url), Some(&to.url)));
        let outcome = asking_nobody(run, &folder);
        assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
        assert!(
            to.get("twins/in/1.csv").as_ref() == Some(&wanted),
            "{variant}"
        );
        assert!(
            from.get("twins/in/1.csv").as_ref() == Some(&text),
            "{variant}"
        );
        to.delete("twins/in/1.csv");
    }
}

#[test]
fn every_kind_and_every_look_before_a_run_asks_the_server_of_its_stage() {
    let Some(store) = Store::other() else { return };
    store.bucket("kinds");
    for (kind, name) in [
        ("load_csv", "rows.csv"),
        ("load_ndjson", "rows.ndjson"),
        ("load_parquet", "rows.parquet"),
        ("load_arrow", "rows.arrow"),
    ] {
        let folder = copying("\"in.csv\"", &format!("s3://kinds/{name}"));
        folder.write("in.csv", "n,text\n1,a\n2,b\n");
        let run = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL);
        let outcome = asking_nobody(run.args(at(None, Some(&store.url))), &folder);
        assert_eq!(outcome.code, Some(0), "{name}: {}", outcome.stderr);
        folder.write(
            "pipeline.toml",
            format!(
                "[[stage]]\nname = \"load\"\nkind = \"{kind}\"\nfiles = [\"s3://kinds/*{}\"]\n\
                 endpoint = \"${{STORE}}\"\nonly_new = true\n\n\
                 [[stage]]\nname = \"write\"\nkind = \"write_files\"\ninputs = [\"load\"]\npath = \"out.csv\"\n",
                &name[4..]
            ),
        );
        for (words, says) in [
            (&["preview", "pipeline.toml"][..], "2"),
            (&["plan", "pipeline.toml"], "1 file of"),
            (&["check", "--connect", "pipeline.toml"], "2 columns"),
            (&["run", "pipeline.toml"], "done"),
            (&["run", "pipeline.toml"], "no file is new"),
        ] {
            let etl = Etl::new(folder.path(), words).env("STORE", &store.url);
            let outcome = asking_nobody(etl, &folder);
            let said = outcome.stdout + &outcome.stderr;
            assert_eq!(outcome.code, Some(0), "{kind} {words:?}: {said}");
            assert!(said.contains(says), "{kind} {words:?}: {said}");
        }
        let written = std::fs::read_to_string(folder.join("out.csv")).expect("it was written");
        assert_eq!(written, "n,text\n1,a\n2,b\n", "{kind}");
    }
}

#[test]
fn an_upload_is_given_up_where_it_was_begun() {
    let (Some(other), Some(store)) = (Store::shared(), Store::other()) else {
        return;
    };
    for store in [other, store] {
        store.bucket("begun");
    }
    let is_held = Arc::new(AtomicBool::new(true));
    let holds = Arc::clone(&is_held);
    let proxy = store.behind(move |asked| {
        let is_second = is_part(asked) && asked.target.contains("partNumber=2");
        (is_second && holds.load(Ordering::SeqCst)).then_some(Say::Hold)
    });
    let folder = copying("\"in.csv\"", "s3://begun/out.csv");
    folder.write("in.csv", csv(LARGE));
    let run = |etl: Etl, write: Option<&str>| {
        with_store(etl.args(at(None, write)), &folder, &other.url).start()
    };
    let etl = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL);
    let running = run(etl, Some(&proxy.url));
    wait_until("it sends its second part", || {
        proxy.asked().iter().filter(|asked| is_part(asked)).count() >= 2
    });
    signal(&running, "-KILL");
    running.outcome();
    is_held.store(false, Ordering::SeqCst);
    // The same object at the environment's server is another one.
    for (endpoint, left) in [(None, 1), (Some(&*proxy.url), 0)] {
        let words = ["run", "pipeline.toml", "--quiet", "--state", "state"];
        let outcome = run(Etl::new(folder.path(), &words), endpoint).outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert_eq!(store.uploads("begun"), left);
        assert_eq!(notes(&folder), left == 1);
    }
    for store in [other, store] {
        assert!(
            store
                .get("begun/out.csv")
                .is_some_and(|text| text == csv(LARGE))
        );
    }
}

#[test]
fn a_run_goes_on_at_the_same_server_only() {
    let (Some(other), Some(store)) = (Store::shared(), Store::other()) else {
        return;
    };
    for store in [other, store] {
        store.bucket("goes-on");
        store.put("goes-on/in.csv", "n\n1\n2\n");
    }
    let folder = Folder::new("goes-on");
    folder.write(
        "pipeline.toml",
        "[[stage]]\nname = \"load\"\nkind = \"load_csv\"\nfiles = [\"s3://goes-on/in.csv\"]\nendpoint = \"${STORE}\"\n\n\
         [[stage]]\nname = \"run\"\nkind = \"exec\"\ninputs = [\"load\"]\non_error = \"fail\"\n\
         command = [\"sh\", \"-c\", \"[ $1 = 1 ] || [ -e go ] || exit 1; echo $1\", \"sh\", \"{n}\"]\n\n\
         [[stage]]\nname = \"write\"\nkind = \"write_files\"\ninputs = [\"run\"]\npath = \"out.csv\"\n",
    );
    let run = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL);
    let outcome = asking_nobody(run.env("STORE", &store.url), &folder);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    folder.write("go", "");
    let resume = |at: &Store| {
        let words = [
            "run",
            "pipeline.toml",
            "--quiet",
            "--state",
            "state",
            "--resume",
        ];
        let etl = Etl::new(folder.path(), &words).env("STORE", &at.url);
        asking_nobody(etl, &folder)
    };
    let refused = resume(other);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    let says = "`endpoint` of stage `load` is not what it was";
    assert!(refused.stderr.contains(says), "{}", refused.stderr);
    let outcome = resume(store);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

/// What is wrong with endpoints, by what the stages name: exit 2, the key, and what to write.
#[test]
fn an_endpoint_that_cannot_be_meant_is_refused_before_the_run() {
    let (http, objects) = (
        "write `http://HOST:PORT`, or `https://HOST`",
        "name one by `s3://`",
    );
    let more = "is more than the address of a server";
    let mut faults = Vec::new();
    for (files, endpoint, says) in [
        (
            "s3://b/a.csv",
            "minio:9000",
            ["`minio:9000` is no address", http],
        ),
        (
            "s3://b/a.csv",
            "ftp://minio",
            ["`ftp://minio` is no address", http],
        ),
        ("s3://b/*.csv", "http://", ["`http://` is no address", http]),
        ("gs://b/a.csv", "http://h/b", [more, http]),
        ("s3://b/a.csv", "http://h?x=SECRET", [more, http]),
        ("s3://b/a.csv", "http://h#x", [more, http]),
        (
            "s3://b/a.csv",
            "http://me:SECRET@h",
            ["holds no user", "docs/places.md"],
        ),
        (
            "az://b/a.csv",
            "http://me:SECRET@h/account",
            ["holds no user", "docs/places.md"],
        ),
        ("a.csv", "http://h", ["the stage names none", objects]),
        (
            "https://h/a.csv",
            "http://h",
            ["the stage names none", objects],
        ),
        ("-", "http://h", ["the stage names none", objects]),
    ] {
        let folder = copying(&format!("\"{files}\""), "out.csv");
        let in_file = std::fs::read_to_string(folder.join("pipeline.toml")).expect("it is there");
        let in_file = in_file.replace("files =", &format!("endpoint = \"{endpoint}\"\nfiles ="));
        folder.write("pipeline.toml", in_file);
        let run = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL);
        let outcome = asking_nobody(run, &folder);
        let said = &outcome.stderr;
        let all = ["stage `load`: `endpoint`", "pipeline.toml:4:1"]
            .into_iter()
            .chain(says);
        let lacks: Vec<&str> = all.filter(|words| !said.contains(words)).collect();
        if outcome.code != Some(2) || !lacks.is_empty() || said.contains("SECRET") {
            faults.push(format!(
                "{files} {endpoint}: {:?} lacks {lacks:?}\n{said}",
                outcome.code
            ));
        }
    }
    for (path, endpoint, says) in [
        ("s3://b/a.csv", "h:1", ["`h:1` is no address", http]),
        ("out.csv", "http://h", ["the stage names none", objects]),
    ] {
        let folder = copying("\"a.csv\"", path);
        let run = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL);
        let outcome = asking_nobody(run.args(at(None, Some(endpoint))), &folder);
        let all = ["stage `write`: `endpoint`"].into_iter().chain(says);
        if outcome.code != Some(2) || !{ all }.all(|words| outcome.stderr.contains(words)) {
            faults.push(format!("{path} {endpoint}: {}", outcome.stderr));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn an_error_names_the_server_of_the_stage() {
    let Some(store) = Store::other() else { return };
    store.bucket("named");
    for (files, path, says) in [
        (
            "s3://named/no.csv",
            "out.csv",
            "`s3://named/no.csv` is not there",
        ),
        ("s3://nowhere/*.csv", "out.csv", "there is no bucket"),
        ("in.csv", "s3://nowhere/out.csv", "there is no bucket"),
    ] {
        let folder = copying(&format!("\"{files}\""), path);
        folder.write("in.csv", "n\n1\n");
        let url = Some(&*store.url);
        let named = if files == "in.csv" {
            at(None, url)
        } else {
            at(url, None)
        };
        let run = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL);
        let outcome = asking_nobody(run.args(named), &folder);
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        for says in [says, &format!("  at {}\n", store.url)] {
            assert!(outcome.stderr.contains(says), "{says}: {}", outcome.stderr);
        }
    }
}
