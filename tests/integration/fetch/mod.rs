//! Asking servers about rows, against real sockets: whatever fails, every item is answered, empty or a
//! reject, the same under every executor, and no secret is written anywhere.

mod equivalence;
mod faults;
mod secrets;
mod sessions;
mod wire;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::{Etl, Folder, Outcome, Variant};

/// A pipeline that asks about items from a file.
struct Asking {
    folder: Folder,
}

/// What every stage here is told, unless a test says otherwise: short waits.
const DEFAULTS: [(&str, &str); 4] = [
    ("retries", "2"),
    ("retry_delay_ms", "1"),
    ("retry_delay_ms_max", "5"),
    ("columns", "[\"v\"]"),
];

impl Asking {
    /// About `items`, with these options in TOML.
    fn about(items: &[&str], options: &str) -> Self {
        let folder = Folder::new("fetch");
        folder.write("items.csv", format!("id\n{}\n", items.join("\n")));
        let given: toml::Table = options.parse().expect("the test's own options");
        let mut options = options.to_owned();
        for (name, value) in DEFAULTS {
            if !given.contains_key(name) {
                options = format!("{name} = {value}\n{options}");
            }
        }
        let pipeline = format!(
            r#"
            max_rejects = -1
            [[stage]]
            name = "items"
            kind = "load_csv"
            files = ["items.csv"]
            [[stage]]
            name = "ask"
            kind = "fetch"
            inputs = ["items"]
            {options}
            [[stage]]
            name = "write"
            kind = "write_files"
            inputs = ["ask"]
            path = "out.csv"
            "#
        );
        folder.write("pipeline.toml", pipeline);
        Asking { folder }
    }

    fn command(&self, variant: Variant) -> Etl {
        Etl::run(self.folder.path(), "pipeline.toml", variant)
    }

    fn run(&self, variant: Variant) -> Outcome {
        let outcome = self.command(variant).outcome();
        let faults = outcome.faults();
        assert!(faults.is_empty(), "{faults:?}");
        ends_add_up(&outcome);
        outcome
    }

    /// What was written.
    fn written(&self) -> String {
        std::fs::read_to_string(self.folder.join("out.csv")).unwrap_or_default()
    }
}

/// Items in = answered + empty + refused. Each that is refused has a reject, and so has each record that does not
/// fit beside others that do.
fn ends_add_up(outcome: &Outcome) {
    let stage = outcome.stage("ask");
    if outcome.report["status"] == "done" {
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let ends = number(&stage["counts"]["answered"])
            + number(&stage["counts"]["empty"])
            + number(&stage["counts"]["refused"]);
        assert_eq!(number(&stage["rows_in"]), ends, "{stage}");
        assert!(
            number(&stage["counts"]["refused"]) <= number(&stage["rejected"]),
            "{stage}"
        );
    }
}

/// The reason of each reject by its item.
fn reasons(outcome: &Outcome) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let reject: Value = serde_json::from_str(line).expect("a reject is JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&reject["row"]["id"]), text(&reject["reason"]))
    };
    outcome.rejects.lines().map(line).collect()
}
