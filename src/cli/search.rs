//! `etl search`: what an index holds.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;

use super::{Color, SetArgs, output};
use crate::error::{Error, Result};
use crate::format::json::raw;
use crate::meant::nearest_file;
use crate::pipeline::{self, Pipeline};
use crate::report::thousands;
use crate::stage::STAGES;
use crate::stage::index::{At, Facet, Hits, Index};

/// Search what a pipeline has indexed
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  etl search out/donors microscope
  etl search donors.toml 'project_school_state:CA AND microscope' --limit 3
  etl search donors.toml '*' --fields projectid,project_school_state
  etl search donors.toml '*' --facet project_school_state
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
    #[arg(long, conflicts_with_all = ["fields", "facet"])]
    pub count: bool,
    /// Print only these fields of each document; `a.b` is a member of a member
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub fields: Vec<String>,
    /// Print the values of a field and how many of all hits have each, the most frequent first
    #[arg(long, value_name = "FIELD", conflicts_with = "fields")]
    pub facet: Option<String>,
    /// What is changed in the pipeline.
    #[command(flatten)]
    pub set: SetArgs,
}

/// Asks the index that is named, or that the pipeline named fills.
pub fn run(args: &SearchArgs, color: Color) -> Result<ExitCode> {
    let asked = args.target()?;
    if let Some(field) = &args.facet {
        let facet = asked.facet(&args.query, field, args.limit)?;
        output::print_json_text(&facet_lines(&facet))?;
        output::print_lines(&facet_total(&facet, field), color);
        return Ok(ExitCode::SUCCESS);
    }
    let limit = if args.count { 0 } else { args.limit };
    let hits = asked.search(&args.query, limit)?;
    if args.count {
        output::print(&format!("{}\n", hits.total))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::print_json_text(&lines(&hits, &args.fields))?;
    for field in missing(&hits, &args.fields) {
        output::print_note(&format!("no hit shown has `{field}`"), color);
    }
    output::print_lines(&total(&hits), color);
    Ok(ExitCode::SUCCESS)
}

/// What is asked: an index's folder, or the index that a stage loads.
struct Asked {
    index: &'static dyn Index,
    place: Place,
}

/// Where it is.
enum Place {
    Folder(PathBuf),
    Loaded(Box<Pipeline>, usize),
}

impl SearchArgs {
    fn target(&self) -> Result<Asked> {
        if self.target.is_file() {
            return self.loaded();
        }
        let mut indices = STAGES.iter().filter_map(|kind| kind.index);
        if let Some(index) = indices.find(|index| index.is_there(&self.target)) {
            return Ok(Asked {
                index,
                place: Place::Folder(self.target.clone()),
            });
        }
        let target = self.target.display();
        let what = || "name the folder of an index, or the pipeline that loads it".to_owned();
        Err(Error::failed(format!("no file or folder `{target}`"))
            .hint(nearest_file(&self.target).unwrap_or_else(what)))
    }

    fn loaded(&self) -> Result<Asked> {
        let pipeline = pipeline::load(&self.target, &self.set.overrides())?;
        let steps = pipeline.steps.iter().enumerate();
        let mut loads = steps.filter_map(|(at, step)| Some((at, step.kind.index?)));
        let file = self.target.display();
        match (loads.next(), loads.next()) {
            (Some((at, index)), None) => Ok(Asked {
                index,
                place: Place::Loaded(Box::new(pipeline), at),
            }),
            (None, _) => Err(Error::usage(format!("no stage of `{file}` loads an index"))
                .hint("name the index's folder")),
            _ => Err(
                Error::usage(format!("several stages of `{file}` load an index"))
                    .hint("name the folder of the one that is meant"),
            ),
        }
    }
}

impl Asked {
    fn search(&self, query: &str, limit: usize) -> Result<Hits> {
        let found = self.index.search(self.at(), query, limit);
        found.map_err(|error| self.scrub(error))
    }

    fn facet(&self, query: &str, field: &str, limit: usize) -> Result<Facet> {
        let found = self.index.facet(self.at(), query, field, limit);
        found.map_err(|error| self.scrub(error))
    }

    fn at(&self) -> At<'_> {
        match &self.place {
            Place::Folder(dir) => At::Folder(dir),
            Place::Loaded(pipeline, at) => {
                At::Loaded(&pipeline.steps[*at].options, &pipeline.folder)
            }
        }
    }

    fn scrub(&self, error: Error) -> Error {
        match &self.place {
            Place::Folder(_) => error,
            Place::Loaded(pipeline, at) => pipeline.steps[*at].scrub(error),
        }
    }
}

/// Hits, one JSON object a line; with `fields` only these of each document.
fn lines(hits: &Hits, fields: &[String]) -> String {
    let mut text = String::new();
    for hit in &hits.hits {
        let id = Value::from(hit.id.as_str());
        // As JSON, not as a `Value`: the shortest digits of 32 bits, and the document as it was stored.
        let score = serde_json::to_string(&hit.score).expect("a number is JSON");
        let source = if fields.is_empty() {
            // A hit is a line: white space between members says nothing.
            hit.source.replace('\n', " ")
        } else {
            only(&hit.source, fields)
        };
        text.push_str(&format!(
            "{{\"_id\":{id},\"_score\":{score},\"_source\":{source}}}\n"
        ));
    }
    text
}

/// A document with only these of its fields, in this order; one that it lacks is left out.
fn only(source: &str, fields: &[String]) -> String {
    let members = fields.iter().filter_map(|field| {
        let value = member(source, field)?;
        Some(format!("{}:{value}", Value::from(field.as_str())))
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// The field of a document as JSON text; `a.b` is the member `b` of the member `a`.
fn member(source: &str, field: &str) -> Option<String> {
    let source = source.trim();
    let of = |wanted: &str| {
        let members = source.starts_with('{').then(|| raw::members(source));
        let mut members = members.into_iter().flatten();
        members.find_map(|(name, value)| (name == wanted).then_some(value))
    };
    if let Some(value) = of(field) {
        return Some(value.trim().replace('\n', " "));
    }
    let mut ways = field.match_indices('.');
    ways.find_map(|(at, _)| member(of(&field[..at])?, &field[at + 1..]))
}

/// Those of the fields that no hit has.
fn missing<'a>(hits: &Hits, fields: &'a [String]) -> Vec<&'a String> {
    let has = |field: &str| {
        let mut hits = hits.hits.iter();
        hits.any(|hit| member(&hit.source, field).is_some())
    };
    let fields = fields.iter().filter(|_| !hits.hits.is_empty());
    fields.filter(|field| !has(field)).collect()
}

/// How many documents match, and how many of them are shown.
fn total(hits: &Hits) -> String {
    let shown = hits.hits.len() as u64;
    match (hits.total, shown) {
        (0, _) => "no document matches\n".into(),
        (1, 0) => "1 document matches; `--limit 0` shows none\n".into(),
        (1, 1) => "1 document matches\n".into(),
        (total, shown) if total == shown => format!("{} documents match\n", thousands(total)),
        (total, 0) => format!(
            "{} documents match; `--limit 0` shows none\n",
            thousands(total)
        ),
        (total, 1) => format!(
            "{} documents match, the first is shown; `--limit N` shows more\n",
            thousands(total)
        ),
        (total, shown) => format!(
            "{} documents match, the first {} are shown; `--limit N` shows more\n",
            thousands(total),
            thousands(shown)
        ),
    }
}

/// A line a value.
fn facet_lines(facet: &Facet) -> String {
    let line = |(value, count): &(Value, u64)| format!("{{\"value\":{value},\"count\":{count}}}\n");
    facet.values.iter().map(line).collect()
}

/// How many documents match, and what is not among the values shown.
fn facet_total(facet: &Facet, field: &str) -> String {
    if facet.total == 0 {
        return "no document matches\n".into();
    }
    let mut text = match facet.total {
        1 => "1 document matches".to_owned(),
        total => format!("{} documents match", thousands(total)),
    };
    if facet.values.is_empty() && facet.more > 0 {
        text.push_str("; `--limit 0` shows no values");
    } else if facet.values.is_empty() {
        text.push_str(&format!(", none of them has `{field}`"));
    } else if facet.more > 0 {
        text.push_str(&format!(
            "; values shown: {}, not shown: {} (by a server, documents that have them): `--limit N` shows more",
            thousands(facet.values.len() as u64),
            thousands(facet.more)
        ));
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::index::Hit;

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
        assert_eq!(
            lines(&hits, &[]),
            "{\"_id\":\"a\\\"b\",\"_score\":1.1,\"_source\":{\"n\":1}}\n"
        );
        assert_eq!(
            total(&hits),
            "7 documents match, the first is shown; `--limit N` shows more\n"
        );
        for (found, says) in [
            (0, "no document matches\n"),
            (1, "1 document matches; `--limit 0` shows none\n"),
            (7, "7 documents match; `--limit 0` shows none\n"),
        ] {
            let hits = Hits {
                total: found,
                hits: Vec::new(),
            };
            assert_eq!(total(&hits), says);
        }
        let facet = Facet {
            total: 7,
            values: Vec::new(),
            more: 2,
        };
        assert!(facet_total(&facet, "f").ends_with("`--limit 0` shows no values\n"));
        let facet = Facet {
            values: vec![("a".into(), 5)],
            ..facet
        };
        assert!(facet_total(&facet, "f").contains("; values shown: 1, not shown: 2 ("));
    }

    #[test]
    fn fields_are_taken_out_of_documents_as_they_stand() {
        let source = r#"{"a":1.50,"b":{"c":[1,2],"d.e":null},"b.x":"y"}"#;
        let of = |fields: &[&str]| {
            let fields: Vec<String> = fields.iter().map(ToString::to_string).collect();
            only(source, &fields)
        };
        assert_eq!(
            of(&["b.c", "a", "b.x", "no", "b.d.e"]),
            r#"{"b.c":[1,2],"a":1.50,"b.x":"y","b.d.e":null}"#
        );
        assert_eq!(of(&["no.no"]), "{}");
    }
}
