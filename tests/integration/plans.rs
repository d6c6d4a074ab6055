//! Plans as data: what `etl plan` prints of each pipeline in `tests/plans` stands beside it.

use std::path::Path;

use crate::harness::Etl;

#[test]
fn every_plan_is_what_its_text_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let files = std::fs::read_dir(&folder).expect("the folder is there");
    let mut seen = 0;
    for file in files {
        let file = file.expect("the folder can be read").path();
        if file.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let name = file.file_name().and_then(|name| name.to_str());
        let name = name.expect("the names are plain");
        let outcome = Etl::new(&folder, &["plan", name]).outcome();
        assert_eq!(outcome.code, Some(0), "{name}: {}", outcome.stderr);
        let expected = std::fs::read_to_string(file.with_extension("txt"));
        assert_eq!(
            outcome.stdout,
            expected.expect("each has its text"),
            "{name}"
        );
        seen += 1;
    }
    assert!(seen >= 3, "{seen} plans");
}
