//! Real files, which no generator is as nasty as: what the pipelines make of them is what `reference.py`
//! computes. The data is other people's and no part of the project; where it is missing, so are these.

use std::fs;
use std::path::PathBuf;

use crate::harness::{
    Etl, Folder, Variant, difference, for_each, has_python, project, python, shared,
};

const VARIANTS: [Variant; 9] = [
    Variant::new("sequential", 1, 1).staged(),
    Variant::new("threads", 1, 2),
    Variant::new("threads", 1, 3).batch_rows(7),
    Variant::new("processes", 2, 1),
    Variant::new("processes", 3, 1).batch_rows(100).staged(),
    Variant::new("hybrid", 2, 2).batch_rows(1000),
    Variant::new("hybrid", 1, 2).staged(),
    Variant::CLUSTER,
    Variant::CLUSTER_ASKING.batch_rows(100),
];

fn data() -> Option<PathBuf> {
    let folder = match std::env::var_os("ETL_SHARED_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => shared()?.join("data"),
    };
    if !folder.is_dir() {
        println!("skipped: there is no folder {}", folder.display());
        return None;
    }
    has_python().then_some(folder)
}

#[test]
fn the_twenty_thousand_projects() {
    check("projects", 20_000);
}

#[test]
fn the_restaurant_inspections() {
    check("inspections", 6399);
}

fn check(name: &str, documents: usize) {
    let Some(data) = data() else { return };
    let run = |variant: Variant| {
        let folder = Folder::new(name);
        let out = folder.join("out.ndjson");
        let pipeline = project().join(format!("pipelines/{name}.toml"));
        let outcome = Etl::run(folder.path(), &pipeline.display().to_string(), variant)
            .env("ETL_SHARED_DATA", &data)
            .env("ETL_OUT", &out)
            .args(variant.shared_folder(&folder))
            .outcome();
        assert_eq!(outcome.code, Some(0), "{variant}: {}", outcome.stderr);
        assert_eq!(outcome.faults(), Vec::<String>::new(), "{variant}");
        (folder, out)
    };
    let (_kept, out) = run(Variant::SEQUENTIAL);
    let reference = project().join("tests/integration/reference.py");
    let arguments = [name.as_ref(), data.as_os_str(), out.as_os_str()];
    python(&reference, &arguments).expect("the reference agrees");
    let want = fs::read(&out).expect("it was written");
    let lines = want.split(|&byte| byte == b'\n').count() - 1;
    assert_eq!(lines, documents);
    for_each(&VARIANTS, |&variant| {
        let (_kept, out) = run(variant);
        let got = fs::read(out).expect("it was written");
        let differs = want != got;
        let fault = differs.then(|| format!("{variant}: {}", difference(&want, &got)));
        fault.into_iter().collect()
    });
}
