//! `etl search`: what an index holds.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use super::{SetArgs, output};
use crate::error::{Error, Result, nearest_file};
use crate::pipeline::{self, Step};
use crate::stage::bulk_index::{self, Hits};

/// Search what a pipeline has indexed
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  etl search out/donors microscope
  etl search donors.toml 'project_school_state:CA AND microscope' --limit 3
  etl search donors.toml '*' --count")]
pub struct SearchArgs {
    /// A local index's folder, or the pipeline file that fills an index
    #[arg(value_name = "DIR|PIPELINE")]
    pub target: PathBuf,
    /// What to look for; bare words search all text and keyword fields
    #[arg(allow_hyphen_values = true)]
    pub query: String,
    /// At most so many hits, best first
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10,
        allow_negative_numbers = true,
        value_parser = super::whole
    )]
    pub limit: usize,
    /// Print the number of all hits and nothing else
    #[arg(long)]
    pub count: bool,
    /// What is changed in the pipeline.
    #[command(flatten)]
    pub set: SetArgs,
}

/// Asks the index that is named, or that the pipeline named fills.
pub fn run(args: &SearchArgs) -> Result<ExitCode> {
    let limit = if args.count { 0 } else { args.limit };
    let hits = if args.target.is_file() {
        search_pipeline(args, limit)?
    } else if bulk_index::is_there(&args.target) {
        bulk_index::search(&args.target, &args.query, limit)?
    } else {
        let target = args.target.display();
        let what = || "name the folder of an index, or the pipeline that loads it".to_owned();
        return Err(Error::failed(format!("no file or folder `{target}`"))
            .hint(nearest_file(&args.target).unwrap_or_else(what)));
    };
    print(&hits, args.count, &mut std::io::stdout().lock())
        .map_err(|error| output::failed(&error))?;
    Ok(ExitCode::SUCCESS)
}

fn search_pipeline(args: &SearchArgs, limit: usize) -> Result<Hits> {
    let pipeline = pipeline::load(&args.target, &args.set.overrides())?;
    let loads = pipeline.steps.iter();
    let loads: Vec<&Step> = loads
        .filter(|step| step.kind.name == bulk_index::KIND.name)
        .collect();
    match loads[..] {
        [step] => bulk_index::search_loaded(&step.options, &pipeline.folder, &args.query, limit)
            .map_err(|error| step.scrub(error)),
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
