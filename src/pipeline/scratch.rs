//! The same pipeline with its results going aside: files and embedded indices into a folder of the caller's, a
//! server's index into a fresh one. So a pipeline can be timed as often as one likes, and what its users see
//! stays as it is.

use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::Table;

use super::{Pipeline, Step};
use crate::error::Result;
use crate::stage::{Folder, StageKind, Storage};

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
    /// The indices that a run of it makes on servers.
    pub indices: Vec<FreshIndex>,
}

/// An index that a run of a [`Scratch`] makes, to be deleted after it.
pub struct FreshIndex {
    /// Its name.
    pub name: String,
    /// The kind that loads it.
    kind: &'static StageKind,
    /// The options of the stage that loads it.
    options: Table,
}

impl Pipeline {
    /// The pipeline with its results going into `folder`. Loads into servers go into fresh indices whose names
    /// end in `id`, or are left out where there is none.
    pub fn scratch(&self, folder: &Path, id: Option<&str>) -> Result<Scratch> {
        let mut pipeline = self.clone();
        let mut not_timed = Vec::new();
        let mut indices = Vec::new();
        for step in pipeline.steps.iter_mut().filter(|step| step.kind.sink) {
            match step.write_aside(folder, id)? {
                Aside::Written => {}
                Aside::Fresh(index) => indices.push(index),
                Aside::Not(why) => not_timed.push(NotTimed {
                    name: step.name.clone(),
                    why: why.into(),
                }),
            }
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

/// What came of sending the rows of a sink aside.
enum Aside {
    /// They go to a file or a folder, or nowhere.
    Written,
    /// They go into this index.
    Fresh(FreshIndex),
    /// They cannot go aside, and why.
    Not(&'static str),
}

impl Step {
    /// Lets its rows go into `folder`, or into a fresh index whose name ends in `id`.
    fn write_aside(&mut self, folder: &Path, id: Option<&str>) -> Result<Aside> {
        let aside = folder.join(&self.name);
        let Some(destination) = self.destination() else {
            return Ok(Aside::Not(
                "its rows leave to a place that has no scratch one beside it",
            ));
        };
        // Its extension may say what it holds.
        let named = |path: &str| aside.join(Path::new(path).file_name().unwrap_or("out".as_ref()));
        let place = match destination.storage {
            Storage::Disk { path, .. } if path == NOWHERE => return Ok(Aside::Written),
            Storage::Disk { path, prefix: "" } => named(&path).display().to_string(),
            Storage::Disk { prefix, .. } => format!("{prefix}{}", aside.display()),
            Storage::Stdout => named(&destination.named.concat()).display().to_string(),
            Storage::Index {
                option,
                name,
                bound,
                ..
            } => return self.load_fresh(option, &name, bound, id),
        };
        self.set_option(destination.option, place)?;
        Ok(Aside::Written)
    }

    /// Lets it load an index beside its own, so that rights and templates for that one hold for it too.
    fn load_fresh(
        &mut self,
        option: &str,
        name: &str,
        bound: Option<&'static str>,
        id: Option<&str>,
    ) -> Result<Aside> {
        let Some(id) = id else {
            return Ok(Aside::Not(
                "it loads a server; `--with-sinks` times that, into a fresh index",
            ));
        };
        if let Some(why) = bound {
            return Ok(Aside::Not(why));
        }
        let name = format!("{name}{COMPARE}{}", id.to_ascii_lowercase());
        self.set_option(option, name.clone())?;
        Ok(Aside::Fresh(FreshIndex {
            name,
            kind: self.kind,
            options: self.options.clone(),
        }))
    }
}

impl FreshIndex {
    /// Deletes it, after a run of a pipeline in `folder`.
    pub fn delete(&self, folder: &Folder) -> Result<()> {
        match self.kind.index {
            // No other index is ever deleted here.
            Some(index) if self.name.contains(COMPARE) => index.delete(&self.options, folder),
            _ => Ok(()),
        }
    }
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
            let named = |step: &Step| step.destination().expect("a sink").named.join(" ");
            steps.map(named).collect()
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
            panic!("{} indices", all.indices.len());
        };
        let name = "docs-compare-20261122t1-0a-2";
        assert_eq!(index.name, name);
        assert_eq!(index.options["index"].as_str(), Some(name));
        // What the caller has is as it was.
        assert_eq!(pipeline.steps[1].options["index"].as_str(), Some("docs"));
        assert_eq!(pipeline.steps.len(), 7);
    }
}
