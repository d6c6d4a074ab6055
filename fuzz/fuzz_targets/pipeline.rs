//! Any text as a pipeline file: it is a pipeline or an error with exit code 2.
#![no_main]

use std::path::Path;

use etl::pipeline::{self, Overrides};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let (set, text) = input.split_once('\n').unwrap_or(("", input));
    for sets in [vec![], vec![set.to_owned()]] {
        let overrides = Overrides {
            sets,
            ..Overrides::default()
        };
        if let Err(error) = pipeline::parse(Path::new("fuzz.toml"), text, &overrides) {
            assert_eq!(error.exit_code(), 2, "{}", error.render());
            assert!(!error.message.is_empty());
        }
    }
});
