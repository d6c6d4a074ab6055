//! `etl search`: what an index holds.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use super::{SearchArgs, output};
use crate::error::{Error, Result};
use crate::pipeline::{self, Overrides};
use crate::stage::bulk_index::{self, Hits};

/// Asks the index that is named, or that the pipeline named fills.
pub fn run(args: &SearchArgs) -> Result<ExitCode> {
    let folder = index_folder(args)?;
    let limit = if args.count { 0 } else { args.limit };
    let hits = bulk_index::search(&folder, &args.query, limit)?;
    for (name, near) in &hits.unknown {
        let meant = near
            .as_ref()
            .map(|near| format!("; did you mean `{near}`?"));
        eprintln!(
            "note: no document has `{name}`{}",
            meant.unwrap_or_default()
        );
    }
    print(&hits, args.count, &mut std::io::stdout().lock())
        .map_err(|error| output::failed(&error))?;
    Ok(ExitCode::SUCCESS)
}

/// The folder of the index; a target that is a file is a pipeline.
fn index_folder(args: &SearchArgs) -> Result<PathBuf> {
    if !args.target.exists() {
        let target = args.target.display();
        return Err(Error::failed(format!("no file or folder `{target}`"))
            .hint("name the folder of an index, or the pipeline that loads it"));
    }
    if !args.target.is_file() {
        return Ok(args.target.clone());
    }
    let overrides = Overrides {
        sets: args.set.clone(),
        ..Overrides::default()
    };
    let pipeline = pipeline::load(&args.target, &overrides)?;
    let places = pipeline.steps.iter().filter_map(|step| {
        let to = step.options.get("to").and_then(toml::Value::as_str)?;
        bulk_index::local_dir(to)
    });
    match places.collect::<Vec<_>>()[..] {
        [folder] => Ok(pipeline.folder.resolve(folder)),
        [] => Err(Error::usage(format!(
            "no stage of `{}` loads an index",
            args.target.display()
        ))
        .hint("name the index's folder")),
        _ => Err(Error::usage(format!(
            "several stages of `{}` load an index",
            args.target.display()
        ))
        .hint("name the folder of the one that is meant")),
    }
}

/// Prints hits, one JSON object a line; with `count` the number of all hits and nothing else.
pub fn print(hits: &Hits, count: bool, out: &mut impl Write) -> std::io::Result<()> {
    if count {
        return writeln!(out, "{}", hits.total);
    }
    for hit in &hits.hits {
        let id = Value::from(hit.id.as_str());
        // As JSON, not as a `Value`: the shortest digits of 32 bits, and the document as it was stored.
        let score = serde_json::to_string(&hit.score)?;
        writeln!(
            out,
            r#"{{"_id":{id},"_score":{score},"_source":{}}}"#,
            hit.source
        )?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::bulk_index::Hit;

    #[test]
    fn a_line_is_a_hit() {
        let hit = Hit {
            id: "a\"b".into(),
            score: 1.1,
            source: r#"{"n":1}"#.into(),
        };
        let hits = Hits {
            total: 7,
            hits: vec![hit],
            unknown: Vec::new(),
        };
        let printed = |count| {
            let mut out = Vec::new();
            print(&hits, count, &mut out).expect("memory takes all");
            String::from_utf8(out).expect("JSON is UTF-8")
        };
        assert_eq!(
            printed(false),
            "{\"_id\":\"a\\\"b\",\"_score\":1.1,\"_source\":{\"n\":1}}\n"
        );
        assert_eq!(printed(true), "7\n");
    }
}
