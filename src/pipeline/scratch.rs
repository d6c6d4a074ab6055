//! The same pipeline with its results going aside: files and embedded indices into a folder of the caller's, a
//! server's index into a fresh one. So a pipeline can be timed as often as one likes, and what its users see
//! stays as it is.

use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{Pipeline, Step};
use crate::error::Result;
use crate::stage::bulk_index;

/// What takes everything and keeps nothing needs no scratch place.
const NOWHERE: &str = "/dev/null";

/// Between the name of an index and what makes a scratch one of it.
const COMPARE: &str = "-compare-";

/// A stage that could not be timed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotTimed {
    /// Its name.
    pub name: String,
    /// Why, and what would change that.
    pub why: String,
}

/// A pipeline that does no harm.
pub struct Scratch {
    /// What can be run.
    pub pipeline: Pipeline,
    /// The stages that it leaves out.
    pub not_timed: Vec<NotTimed>,
    /// Of each stage that loads a server the options: the fresh index is to be deleted behind the run.
    pub indices: Vec<Table>,
}

impl Pipeline {
    /// The pipeline with its results going into `folder`. Loads into servers go into fresh indices whose names
    /// end in `id`, or are left out where there is none.
    pub fn scratch(&self, folder: &Path, id: Option<&str>) -> Result<Scratch> {
        let mut pipeline = self.clone();
        let mut not_timed = Vec::new();
        let mut indices = Vec::new();
        for step in pipeline.steps.iter_mut().filter(|step| step.kind.sink) {
            let aside = folder.join(&step.name);
            let why = match (step.place(), id) {
                (Some(("path", NOWHERE)), _) => continue,
                (Some(("path", path)), _) => {
                    // Its extension may say what it holds.
                    let name = Path::new(path).file_name().unwrap_or("out".as_ref());
                    step.redirect("path", aside.join(name).display().to_string())?;
                    continue;
                }
                (Some(("to", to)), _) if bulk_index::local_dir(to).is_some() => {
                    step.redirect("to", bulk_index::local(&aside))?;
                    continue;
                }
                (_, Some(id)) => match step.fresh_index(id) {
                    Ok(index) => {
                        step.redirect("index", index)?;
                        indices.push(step.options.clone());
                        continue;
                    }
                    Err(why) => why,
                },
                (_, None) => "it loads a server; `--with-sinks` times that, into a fresh index",
            };
            not_timed.push(NotTimed {
                name: step.name.clone(),
                why: why.into(),
            });
        }
        for NotTimed { name, .. } in &not_timed {
            // Nobody reads a sink.
            let at = pipeline.steps.iter().position(|step| step.name == *name);
            let at = at.expect("the name is that of a step");
            pipeline.steps.remove(at);
            for input in pipeline.steps.iter_mut().flat_map(|step| &mut step.inputs) {
                *input -= usize::from(*input > at);
            }
        }
        Ok(Scratch {
            pipeline,
            not_timed,
            indices,
        })
    }
}

impl Step {
    /// The option that says where its rows leave the pipeline, where that is one place.
    fn place(&self) -> Option<(&'static str, &str)> {
        let of = |key| Some((key, self.options.get(key)?.as_str()?));
        of("path").or_else(|| of("to"))
    }

    fn redirect(&mut self, key: &str, place: String) -> Result<()> {
        self.options.insert(key.into(), Value::String(place));
        self.stage = (self.kind.decode)(self.options.clone())
            .map_err(|error| self.scrub(error.stage(&self.name)))?
            .into();
        Ok(())
    }

    /// The name of a fresh index beside its own, so that rights and templates for that one hold for it too.
    fn fresh_index(&self, id: &str) -> Result<String, &'static str> {
        if self.kind.name != bulk_index::KIND.name {
            return Err("its rows leave to a place that has no scratch one beside it");
        }
        let of = |key: &str| self.options.get(key).and_then(Value::as_str);
        match (of("op"), of("index")) {
            (Some("update" | "delete"), _) => {
                Err("it changes documents that are there, and a fresh index has none")
            }
            (_, Some(index)) => Ok(format!("{index}{COMPARE}{}", id.to_ascii_lowercase())),
            (_, None) => Err("it names no index"),
        }
    }
}

/// Deletes the fresh index that a run of a [`Scratch`] loaded with these options.
pub fn delete_index(options: &Table, pipeline: &Pipeline) -> Result<()> {
    let index = options.get("index").and_then(Value::as_str);
    // No other index is ever deleted here.
    if index.is_some_and(|index| index.contains(COMPARE)) {
        bulk_index::delete(options, &pipeline.folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Overrides, parse};
    use super::*;

    const FILE: &str = r#"
[[stage]]
name = "rows"
kind = "load_csv"
files = ["rows.csv"]
[[stage]]
name = "server"
kind = "bulk_index"
inputs = ["rows"]
to = ["http://a:9200", "http://b:9200"]
index = "docs"
[[stage]]
name = "file"
kind = "write_files"
inputs = ["rows"]
path = "out/rows.csv.gz"
[[stage]]
name = "local"
kind = "bulk_index"
inputs = ["rows"]
to = "local:out/docs"
[[stage]]
name = "printed"
kind = "write_files"
inputs = ["rows"]
path = "-"
format = "csv"
[[stage]]
name = "nowhere"
kind = "write_files"
inputs = ["rows"]
path = "/dev/null"
format = "csv"
[[stage]]
name = "change"
kind = "bulk_index"
inputs = ["rows"]
to = "http://a:9200"
index = "docs"
id = "k"
op = "update"
"#;

    #[test]
    fn every_result_goes_aside_or_is_left_out() {
        let pipeline = parse(Path::new("p.toml"), FILE, &Overrides::default()).unwrap();
        let places = |scratch: &Scratch| -> Vec<String> {
            let steps = scratch.pipeline.steps.iter().filter(|step| step.kind.sink);
            steps
                .map(|step| {
                    step.place()
                        .map_or(step.name.as_str(), |place| place.1)
                        .into()
                })
                .collect()
        };
        let aside = pipeline.scratch(Path::new("/s"), None).unwrap();
        assert_eq!(
            places(&aside),
            [
                "/s/file/rows.csv.gz",
                "local:/s/local",
                "/s/printed/-",
                "/dev/null"
            ]
        );
        let left_out = |scratch: &Scratch| -> Vec<String> {
            let not_timed = scratch.not_timed.iter();
            not_timed.map(|stage| stage.name.clone()).collect()
        };
        assert_eq!(left_out(&aside), ["server", "change"]);
        assert!(aside.indices.is_empty());
        assert!(
            aside
                .pipeline
                .steps
                .iter()
                .all(|step| step.inputs.iter().all(|&at| at == 0))
        );

        let all = pipeline
            .scratch(Path::new("/s"), Some("20261122T1-0a-2"))
            .unwrap();
        assert_eq!(left_out(&all), ["change"]);
        let [index] = &all.indices[..] else {
            panic!("{:?}", all.indices);
        };
        assert_eq!(
            index["index"].as_str(),
            Some("docs-compare-20261122t1-0a-2")
        );
        // What the caller has is as it was.
        assert_eq!(pipeline.steps[1].options["index"].as_str(), Some("docs"));
        assert_eq!(pipeline.steps.len(), 7);
    }
}
