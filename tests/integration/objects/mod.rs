//! Objects of a store, read and written over the wire: a real S3 server, faults in front of it, web servers, and what
//! else speaks as the other stores do.

mod clouds;
mod columnar;
mod endpoints;
mod faults;
mod server;
mod shared;
mod uploads;
mod web;

use std::fmt::Write;

use crate::harness::{Etl, Folder, Variant};
use server::{SECRET, Store, copying, csv, run, with_store};

/// Three ranges and a bit, and more than one part of an upload.
const LARGE: usize = 20 << 20;

#[test]
fn a_pattern_lists_all_pages_in_order() {
    let Some(store) = Store::shared() else { return };
    store.bucket("pages");
    for number in (0..1100).rev() {
        store.put(
            &format!("pages/day/{number:04}.csv"),
            &format!("n\n{number}\n"),
        );
    }
    for other in [
        "pages/day/.hidden.csv",
        "pages/day/sub/x.csv",
        "pages/day/x.txt",
        "pages/day/",
    ] {
        store.put(other, "n\n-1\n");
    }
    let folder = copying("\"s3://pages/day/*.csv\"", "out.csv");
    let outcome = run(&folder, &store.url, Variant::new("threads", 1, 2));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let mut wanted = String::from("n\n");
    for number in 0..1100 {
        let _ = writeln!(wanted, "{number}");
    }
    let written = std::fs::read_to_string(folder.join("out.csv")).expect("it was written");
    assert_eq!(written, wanted);
    let inputs = outcome.report["inputs"].as_array().expect("it lists them");
    assert_eq!(inputs.len(), 1100);
    assert_eq!(inputs[7]["file"], "s3://pages/day/0007.csv");
    assert_eq!(inputs[7]["bytes"], 4);
    assert!(inputs[7]["etag"].is_string() && inputs[7]["modified"].is_string());
    // Any depth, and a class of characters.
    let folder = copying(
        "\"s3://pages/**/[x].csv\", \"s3://pages/day/000?.csv\"",
        "out.csv",
    );
    let outcome = run(&folder, &store.url, Variant::SEQUENTIAL);
    assert_eq!(outcome.stage("load")["rows_out"], 11, "{}", outcome.stderr);
}

#[test]
fn names_that_stand_for_folders_are_left_out() {
    let Some(store) = Store::shared() else { return };
    store.bucket("folders");
    // As consoles make them, beside files, and where an object has the folder's name.
    for folder in ["day/", "day/empty/", "day/d/", "day/d/deep/"] {
        store.put(&format!("folders/{folder}"), "");
    }
    store.put("folders/day/a.csv", "1\n");
    store.put("folders/day/d", "2\n3\n");
    store.put("folders/day/d/e.csv", "4\n");
    store.put("folders/day/none", "");
    for pattern in [
        "s3://folders/day/**",
        "s3://folders/**/*",
        "s3://folders/day/*\", \"s3://folders/day/d/*",
    ] {
        let folder = copying(&format!("\"{pattern}\""), "out.csv");
        let pipeline = std::fs::read_to_string(folder.join("pipeline.toml")).expect("it is there");
        let named = pipeline.replace(
            "kind = \"load_csv\"",
            "kind = \"load_csv\"\ncolumns = [\"n\"]",
        );
        folder.write("pipeline.toml", named);
        for variant in [Variant::SEQUENTIAL, Variant::CLUSTER] {
            let outcome = run(&folder, &store.url, variant);
            assert_eq!(outcome.code, Some(0), "{pattern}: {}", outcome.stderr);
            let written = std::fs::read_to_string(folder.join("out.csv")).expect("it was written");
            assert_eq!(written, "n\n1\n2\n3\n4\n", "{pattern}");
            // The one that is a file without bytes.
            let empty = outcome.report["stages"][0]["warnings"].to_string();
            assert!(
                empty.contains("`s3://folders/day/none` is empty"),
                "{empty}"
            );
            assert_eq!(outcome.report["inputs"].as_array().map(Vec::len), Some(4));
        }
    }
}

#[test]
fn an_object_gives_the_rows_of_a_file_under_every_executor() {
    let Some(store) = Store::shared() else { return };
    store.bucket("same");
    let text = csv(LARGE);
    store.put("same/in.csv", &text);
    let folder = copying("\"in.csv\"", "out.csv");
    folder.write("in.csv", &text);
    run(&folder, &store.url, Variant::SEQUENTIAL);
    let wanted = std::fs::read(folder.join("out.csv")).expect("it was written");
    for variant in Variant::EACH {
        let folder = copying("\"s3://same/in.csv\"", "s3://same/out.csv");
        let outcome = run(&folder, &store.url, variant);
        assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
        let written = store.get("same/out.csv").expect("it was written");
        assert!(written.as_bytes() == wanted, "{variant}");
        assert_eq!(outcome.report["inputs"][0]["bytes"], text.len());
    }
    assert_eq!(store.uploads("same"), 0);
}

#[test]
fn an_arrow_object_is_read_from_its_end() {
    let Some(store) = Store::shared() else { return };
    store.bucket("arrow");
    let folder = copying("\"in.csv\"", "s3://arrow/rows.arrow");
    folder.write("in.csv", csv(1 << 20));
    assert_eq!(run(&folder, &store.url, Variant::SEQUENTIAL).code, Some(0));
    let back = Folder::new("arrow");
    back.write(
        "pipeline.toml",
        "[[stage]]\nname = \"load\"\nkind = \"load_arrow\"\nfiles = [\"s3://arrow/*.arrow\"]\n\n\
         [[stage]]\nname = \"write\"\nkind = \"write_files\"\ninputs = [\"load\"]\npath = \"out.csv\"\n",
    );
    let outcome = run(&back, &store.url, Variant::new("threads", 1, 2));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let written = std::fs::read_to_string(back.join("out.csv")).expect("it was written");
    assert!(written == csv(1 << 20));
}

#[test]
fn names_with_odd_characters_are_read_listed_and_written() {
    let Some(store) = Store::shared() else { return };
    store.bucket("names");
    let names = [
        "a b+c%20\u{e9}#&=~(1)'.csv",
        "d/%41.csv",
        "\u{65e5}\u{672c}.csv",
    ];
    for name in names {
        let folder = copying("\"in.csv\"", &format!("s3://names/x/{name}"));
        folder.write("in.csv", "n\n7\n");
        let outcome = run(&folder, &store.url, Variant::SEQUENTIAL);
        assert_eq!(outcome.code, Some(0), "{name}: {}", outcome.stderr);
        for files in [
            format!("s3://names/x/{name}"),
            "s3://names/x/**/*.csv".to_owned(),
        ] {
            let folder = copying(&format!("\"{files}\""), "out.csv");
            let outcome = run(&folder, &store.url, Variant::SEQUENTIAL);
            assert_eq!(outcome.code, Some(0), "{files}: {}", outcome.stderr);
            let inputs = outcome.report["inputs"].as_array().expect("it lists them");
            let wanted = format!("s3://names/x/{name}");
            assert!(
                inputs.iter().any(|input| input["file"] == wanted),
                "{inputs:?}"
            );
        }
    }
    // A name that is not read is an error, never a shorter list.
    store.bucket("empty-part");
    store.put("empty-part/x//y.csv", "n\n1\n");
    for (files, says) in [
        ("s3://empty-part/**/*.csv", "a name in it has an empty part"),
        ("s3://empty-part/x//y.csv", "a name with an empty part"),
    ] {
        let outcome = run(
            &copying(&format!("\"{files}\""), "out.csv"),
            &store.url,
            Variant::SEQUENTIAL,
        );
        assert_ne!(outcome.code, Some(0));
        assert!(outcome.stderr.contains(says), "{}", outcome.stderr);
    }
}

#[test]
fn a_run_goes_on_with_the_same_object_only() {
    let Some(store) = Store::shared() else { return };
    store.bucket("resumed");
    let folder = copying("\"s3://resumed/in.csv\"", "out.csv");
    folder.write(
        "pipeline.toml",
        "[[stage]]\nname = \"load\"\nkind = \"load_csv\"\nfiles = [\"s3://resumed/in.csv\"]\n\n\
         [[stage]]\nname = \"run\"\nkind = \"exec\"\ninputs = [\"load\"]\non_error = \"fail\"\n\
         command = [\"sh\", \"-c\", \"[ $1 = 1 ] || [ -e go ] || exit 1; echo $1\", \"sh\", \"{n}\"]\n\n\
         [[stage]]\nname = \"write\"\nkind = \"write_files\"\ninputs = [\"run\"]\npath = \"s3://resumed/out.csv\"\n",
    );
    store.put("resumed/in.csv", "n\n1\n2\n");
    let outcome = run(&folder, &store.url, Variant::SEQUENTIAL);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    folder.write("go", "");
    let resume = || {
        let arguments = [
            "run",
            "pipeline.toml",
            "--quiet",
            "--state",
            "state",
            "--resume",
        ];
        with_store(Etl::new(folder.path(), &arguments), &folder, &store.url).outcome()
    };
    // As long as before, and at the same time, as far as a listing tells.
    store.put("resumed/in.csv", "n\n1\n3\n");
    let outcome = resume();
    assert_ne!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains("the input file `s3://resumed/in.csv`"),
        "{}",
        outcome.stderr
    );
    assert_eq!(store.get("resumed/out.csv"), None);
}

#[test]
fn an_endpoint_that_is_no_address_is_explained() {
    for (variable, files, endpoint) in [
        ("AWS_ENDPOINT_URL", "s3://b/a.csv", "localhost:9000"),
        ("AWS_ENDPOINT_URL", "s3://b/*.csv", "http://"),
        ("AWS_ENDPOINT_URL_S3", "s3://b/a.csv", "http://a b"),
        ("GOOGLE_BASE_URL", "gs://b/a.csv", "localhost"),
        ("STORAGE_EMULATOR_HOST", "gs://b/a.csv", "http://a b"),
        ("AZURE_STORAGE_ENDPOINT", "az://b/a.csv", "localhost:1"),
    ] {
        let folder = copying(&format!("\"{files}\""), "out.csv");
        let etl = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL);
        let etl = with_store(etl, &folder, "http://localhost:1");
        let outcome = etl.env(variable, endpoint).outcome();
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        for says in [
            &format!("`{variable}` is `{endpoint}`"),
            "write `http://HOST:PORT`",
            "stage `load`",
        ] {
            assert!(outcome.stderr.contains(says), "{says}: {}", outcome.stderr);
        }
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    }
}

#[test]
fn why_a_store_refuses_is_said_where_several_looks_fail() {
    let site = crate::scripted::Site::start(|_| {
        crate::scripted::Say::status(403, "<Error><Code>AccessDenied</Code></Error>")
    });
    let folder = copying("\"s3://away/in/*.csv\"", "s3://away/out.csv");
    let check = Etl::new(folder.path(), &["check", "--connect", "pipeline.toml"]);
    let outcome = with_store(check, &folder, &site.url).outcome();
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    for says in [
        "2 things that the pipeline needs",
        "cannot list",
        "AccessDenied",
    ] {
        assert!(outcome.stderr.contains(says), "{says}: {}", outcome.stderr);
    }
}

#[test]
fn what_is_missing_or_refused_is_explained() {
    let Some(store) = Store::shared() else { return };
    store.bucket("words");
    store.put("words/a.csv", "n\n1\n");
    for (files, path, says) in [
        (
            "s3://no-such-bucket/a.csv",
            "out.csv",
            "there is no bucket `s3://no-such-bucket`",
        ),
        (
            "s3://no-such-bucket/*.csv",
            "out.csv",
            "there is no bucket `s3://no-such-bucket`",
        ),
        (
            "s3://words/b.csv",
            "out.csv",
            "`s3://words/b.csv` is not there",
        ),
        (
            "s3://words/b*.csv",
            "out.csv",
            "`s3://words/b*.csv` matches no object",
        ),
        (
            "s3://words/a.csv",
            "s3://no-such-bucket/out.csv",
            "there is no bucket `s3://no-such-bucket`",
        ),
    ] {
        let folder = copying(&format!("\"{files}\""), path);
        let outcome = run(&folder, &store.url, Variant::SEQUENTIAL);
        assert_eq!(outcome.code, Some(1), "{files}: {}", outcome.stderr);
        let all = [says, "hint: ", "pipeline.toml:"]
            .iter()
            .all(|says| outcome.stderr.contains(says));
        assert!(all, "{files} {path}: {}", outcome.stderr);
        // `check --connect` finds the same.
        let check = Etl::new(folder.path(), &["check", "--connect", "pipeline.toml"]);
        let outcome = with_store(check, &folder, &store.url).outcome();
        assert_eq!(outcome.code, Some(1), "{files}: {}", outcome.stderr);
        let said = outcome.stdout + &outcome.stderr;
        assert!(said.contains(says), "{files} {path}: {said}");
    }
    for (files, path, says) in [
        ("s3://ID:SECRET@words/a.csv", "out.csv", "holds no user"),
        ("https://host/*.csv", "out.csv", "lists no files"),
        ("S3://words/a.csv", "out.csv", "write `s3://`"),
        (
            "s3://words/a.csv",
            "s3://words/out/",
            "as in `s3://words/out/rows.ndjson`",
        ),
        (
            "s3://words/a.csv",
            "https://host/out.csv",
            "not sent to a web server",
        ),
        ("s3://words/a.csv", "s3://words/a.csv", "would be replaced"),
        ("s3://words/*.csv", "s3://words/a.csv", "would be replaced"),
    ] {
        let folder = copying(&format!("\"{files}\""), path);
        let outcome = run(&folder, &store.url, Variant::SEQUENTIAL);
        assert_eq!(outcome.code, Some(2), "{files}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(says), "{files}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("SECRET"), "{}", outcome.stderr);
    }
}

#[test]
fn refused_credentials_are_named_and_never_printed() {
    let Some(store) = Store::start(&["--auth"]) else {
        return;
    };
    store.bucket("closed");
    for files in ["s3://closed/a.csv", "s3://closed/*.csv"] {
        let folder = copying(&format!("\"{files}\""), "out.csv");
        let outcome = run(&folder, &store.url, Variant::SEQUENTIAL);
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        for says in [
            "it is refused",
            "InvalidAccessKeyId",
            "hint: look at `AWS_ACCESS_KEY_ID`",
        ] {
            assert!(outcome.stderr.contains(says), "{says}: {}", outcome.stderr);
        }
    }
    // A profile that is not there, and one without keys.
    let folder = copying("\"s3://closed/a.csv\"", "out.csv");
    folder.write(".aws/config", "[profile sso]\nsso_session = x\n");
    for (profile, says) in [("nobody", "in neither file"), ("sso", "`sso_session`")] {
        let run = Etl::run(folder.path(), "pipeline.toml", Variant::SEQUENTIAL);
        let run = with_store(run, &folder, &store.url);
        let outcome = run
            .env("AWS_PROFILE", profile)
            .env("AWS_ACCESS_KEY_ID", "")
            .outcome();
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains(says),
            "{profile}: {}",
            outcome.stderr
        );
        assert!(!outcome.stderr.contains(SECRET));
    }
}

#[test]
fn a_look_at_all_of_it_leaves_nothing() {
    let Some(store) = Store::shared() else { return };
    store.bucket("looked");
    store.put("looked/a.csv", "n,text\n1,a\n");
    store.put("looked/b.csv", "n,other\n1,a\n");
    let folder = copying("\"s3://looked/[a].csv\"", "s3://looked/out.csv");
    let check = || {
        let check = Etl::new(folder.path(), &["check", "--connect", "pipeline.toml"]);
        with_store(check, &folder, &store.url).outcome()
    };
    let outcome = check();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    for says in [
        "2 columns, the first record fits",
        "is not there yet, and can be made",
    ] {
        assert!(outcome.stdout.contains(says), "{says}: {}", outcome.stdout);
    }
    assert_eq!(
        (store.get("looked/out.csv"), store.uploads("looked")),
        (None, 0)
    );
    folder.write(
        "pipeline.toml",
        std::fs::read_to_string(folder.join("pipeline.toml"))
            .expect("it is there")
            .replace("[a]", "*"),
    );
    let outcome = check();
    assert_eq!(
        outcome.code,
        Some(2),
        "it would read what it writes: {}",
        outcome.stdout
    );
}

#[test]
fn a_preview_asks_for_no_more_than_it_shows() {
    let Some(store) = Store::shared() else { return };
    store.bucket("preview");
    store.put("preview/in.csv", &csv(LARGE));
    let proxy = store.behind(|_| None);
    let folder = copying("\"s3://preview/in.csv\"", "out.csv");
    let preview = Etl::new(folder.path(), &["preview", "pipeline.toml"]);
    let outcome = with_store(preview, &folder, &proxy.url).outcome();
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("row 1 x"), "{}", outcome.stdout);
    let ranges = proxy
        .asked()
        .into_iter()
        .filter(|asked| asked.method == "GET");
    let bytes: u64 = ranges
        .map(|asked| {
            let range = asked.headers["range"]
                .strip_prefix("bytes=")
                .map(str::to_owned);
            let range = range.expect("a range");
            let (from, to) = range.split_once('-').expect("two ends");
            let number = |text: &str| text.parse::<u64>().expect("a number");
            number(to) + 1 - number(from)
        })
        .sum();
    assert!(bytes <= 3 << 20, "{bytes} bytes of {LARGE}");
}
