//! The Donor's Choice job, whole: on dumps of several sizes and seeds, from two generators, the documents
//! are those of two independent scripts, and the same bytes under every executor at every width.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::generate_donors::write_dumps;
use crate::harness::{
    Etl, Folder, Variant, difference, for_each, has_python, project, python, shared,
};

/// Every width with these batch sizes (`None`: the default), streamed and staged.
fn matrix(batch_rows: &[Option<u32>]) -> Vec<Variant> {
    let mut variants = vec![Variant::CLUSTER];
    for width in Variant::WIDTHS {
        for &rows in batch_rows {
            let variant = match rows {
                Some(rows) => width.batch_rows(rows),
                None => width,
            };
            variants.extend([variant, variant.staged()]);
        }
    }
    variants
}

#[test]
fn the_committed_dumps_give_the_right_documents() {
    check(&project().join("data"), &matrix(&[None, Some(1000)]));
}

#[test]
fn generated_dumps_give_the_right_documents() {
    for (projects, seed) in [(1, 2), (40, 3), (4000, 4)] {
        let dumps = Folder::new("dumps");
        write_dumps(dumps.path(), projects, seed).expect("the dumps can be written");
        let sizes = if projects < 1000 {
            [Some(7), None]
        } else {
            [Some(1000), None]
        };
        check(dumps.path(), &matrix(&sizes));
    }
}

#[test]
fn the_smallest_batches_give_the_right_documents() {
    let dumps = Folder::new("dumps");
    write_dumps(dumps.path(), 300, 5).expect("the dumps can be written");
    check(dumps.path(), &matrix(&[Some(1), Some(7)]));
}

#[test]
fn dumps_of_the_other_generator_give_the_right_documents() {
    let Some(shared) = shared().filter(|_| has_python()) else {
        return;
    };
    for (projects, seed, sizes) in [
        (300, 11, [Some(1), Some(7)]),
        (700, 7, [Some(1000), None]),
        (2500, 12, [Some(1000), None]),
    ] {
        let dumps = Folder::new("dumps");
        let (projects, seed) = (projects.to_string(), seed.to_string());
        let arguments = [
            dumps.path().as_os_str(),
            "--projects".as_ref(),
            projects.as_ref(),
            "--seed".as_ref(),
            seed.as_ref(),
        ];
        python(&shared.join("peers/gen_donors.py"), &arguments).expect("the generator works");
        check(dumps.path(), &matrix(&sizes));
    }
}

/// Runs the pipeline once sequentially, has its output checked, and compares all others with it.
fn check(dumps: &Path, variants: &[Variant]) {
    let checked = Folder::new("checked");
    let documents = run(&checked, dumps, Variant::SEQUENTIAL).expect("a sequential run succeeds");
    ask_the_oracles(dumps, &documents);
    let want = fs::read(&documents).expect("it was written");
    for_each(variants, |&variant| {
        let folder = Folder::new("variant");
        let fault = match run(&folder, dumps, variant) {
            Err(text) => Some(text),
            Ok(documents) => {
                let got = fs::read(documents).expect("it was written");
                (want != got).then(|| difference(&want, &got))
            }
        };
        let name = dumps.display();
        fault
            .map(|text| format!("{name} ({variant}): {text}"))
            .into_iter()
            .collect()
    });
}

fn run(folder: &Folder, dumps: &Path, variant: Variant) -> Result<PathBuf, String> {
    let out = folder.join("donors.ndjson");
    let pipeline = project().join("pipelines/donors_ndjson.toml");
    let outcome = Etl::run(folder.path(), &pipeline.display().to_string(), variant)
        .env("ETL_DATA", dumps)
        .env("ETL_OUT", &out)
        .args(variant.shared_folder(folder))
        .outcome();
    let mut faults = outcome.faults();
    if outcome.code != Some(0) || !outcome.stderr.is_empty() {
        faults.push(format!("exit {:?}\n{}", outcome.code, outcome.stderr));
    }
    if faults.is_empty() {
        Ok(out)
    } else {
        Err(faults.join("\n"))
    }
}

fn ask_the_oracles(dumps: &Path, documents: &Path) {
    if !has_python() {
        return;
    }
    let (dumps, documents) = (dumps.as_os_str(), documents.as_os_str());
    let reference = project().join("tests/integration/reference.py");
    python(&reference, &["donors".as_ref(), dumps, documents]).expect("our reference agrees");
    if let Some(shared) = shared() {
        let oracle = shared.join("oracle/donors.py");
        let arguments: [&OsStr; 3] = [dumps, "--check".as_ref(), documents];
        python(&oracle, &arguments).expect("the oracle agrees");
    }
}

#[test]
fn the_local_index_holds_the_same_documents_under_every_executor() {
    let folder = Folder::new("index");
    let dumps = folder.join("dumps");
    write_dumps(&dumps, 400, 6).expect("the dumps can be written");
    let documents = run(&folder, &dumps, Variant::SEQUENTIAL).expect("a sequential run succeeds");
    let text = fs::read_to_string(documents).expect("it was written");
    let want: BTreeMap<String, Value> = text
        .lines()
        .map(|line| {
            let document: Value = serde_json::from_str(line).expect("NDJSON");
            let id = document["donationid"]
                .as_str()
                .expect("every donation has an id");
            (id.to_owned(), document)
        })
        .collect();

    let index = |variant: Variant| {
        let pipeline = project().join("pipelines/donors.toml");
        Etl::run(folder.path(), &pipeline.display().to_string(), variant)
            .env("ETL_DATA", &dumps)
            .env(
                "ETL_SEARCH_URL",
                "local:".to_owned() + &folder.join("index").display().to_string(),
            )
            .args(variant.shared_folder(&folder))
    };
    let search = |arguments: &[&str]| {
        let outcome = Etl::new(folder.path(), &["search", "index"])
            .args(arguments)
            .outcome();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.stdout
    };
    let count = |query: &str| -> usize {
        let text = search(&[query, "--count"]);
        text.trim().parse().expect("--count prints a number")
    };
    let holds = |of: fn(&Value) -> bool| want.values().filter(|&document| of(document)).count();

    for variant in Variant::EACH.into_iter().chain([Variant::CLUSTER]) {
        let outcome = index(variant).outcome();
        assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
        assert_eq!(outcome.faults(), Vec::<String>::new(), "{variant}");
        let lines = search(&["*", "--limit", "100000"]);
        let got: BTreeMap<String, Value> = lines
            .lines()
            .map(|line| {
                let hit: Value = serde_json::from_str(line).expect("hits are JSON");
                let id = hit["_id"].as_str().expect("a hit has an _id").to_owned();
                (id, hit["_source"].clone())
            })
            .collect();
        assert!(want == got, "{variant}: not the same _id -> document map");
        assert_eq!(lines.lines().count(), want.len(), "{variant}");
        assert_eq!(count("*"), want.len());
        assert_eq!(count("donor_state:CA"), holds(|d| d["donor_state"] == "CA"));
        assert_eq!(
            count("resource_item_name:microscope"),
            holds(|d| d["resource_item_name"].to_string().contains("microscope"))
        );
    }
    // The same documents once more, onto the old ones: as many as before.
    let again = index(Variant::SEQUENTIAL)
        .args(["--set", "index.load=append"])
        .outcome();
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(count("*"), want.len());
}
