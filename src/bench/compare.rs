//! Runs a pipeline in two ways, alternating, and sets them side by side: staged, so that a stage's time is its
//! own; once for each side to warm up and to digest every output, then so many times to be timed. Digests are
//! left out of the timed runs, whose walls they would lengthen; their ledgers still have to agree.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock;
use crate::disk;
use crate::error::{Error, Result};
use crate::executor::processes::Workers;
use crate::pipeline::{NotTimed, Pipeline, Scratch, masked};
use crate::report::comparison::{Comparison, LargestGz, Side};
use crate::report::{Report, StageReport};
use crate::run::{Options, run, watch};
use crate::state::history::SCRATCH;
use crate::state::loaded::LoadedFiles;
use crate::state::resume::RunFolder;
use crate::stop::{InOrder, Stop};

/// The share of a loader's time from which on its one reading thread is what it is bound by.
const BOUND: f64 = 0.8;

/// What is on the side before.
pub enum Before {
    /// A pipeline, to be run.
    Pipeline(Box<Pipeline>),
    /// A run that was kept.
    Run(Box<Report>),
}

/// What is to be compared, and how.
pub struct Plan<'a> {
    /// The side before.
    pub before: Before,
    /// The side after.
    pub after: &'a Pipeline,
    /// What the sides are, in words.
    pub sides: [String; 2],
    /// Timed runs of each side.
    pub runs: usize,
    /// Whether servers are loaded too.
    pub with_sinks: bool,
    /// Where runs are kept; results go aside in there.
    pub state: &'a Path,
    /// What stops it.
    pub stop: Stop,
    /// Receives a line for every run that has ended.
    pub report_line: &'a dyn Fn(&str),
}

/// Runs both sides. The comparison is kept in the state folder; what the runs wrote is not.
pub fn compare(plan: &Plan) -> Result<Comparison> {
    refuse_stdin(plan.after)?;
    let _in_order = InOrder::begin();
    let now = clock::now();
    let folder = RunFolder::of_comparison(&plan.state.join("runs"), now)?;
    let mut bench = Bench {
        plan,
        aside: Aside(folder.path.join(SCRATCH)),
        id: folder.id.clone(),
        number: 0,
        not_timed: Vec::new(),
    };
    let compared = bench.measure();
    drop(bench);
    let mut comparison = match compared {
        Ok(comparison) => comparison,
        Err(error) => {
            // Nothing came of it: there is nothing to keep.
            let _ = std::fs::remove_dir_all(&folder.path);
            return Err(error);
        }
    };
    comparison.run.clone_from(&folder.id);
    comparison.started_at = now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let json = serde_json::to_string_pretty(&comparison).expect("a comparison is plain data");
    let file = folder.path.join("report.json");
    disk::replace(&file, (json + "\n").as_bytes())
        .map_err(|error| Error::io("write", file.display(), &error))?;
    Ok(comparison)
}

/// What is read from standard input is gone after the first run.
fn refuse_stdin(pipeline: &Pipeline) -> Result<()> {
    for step in &pipeline.steps {
        if step.stage.properties().reads_stdin() {
            return Err(Error::usage(
                "standard input can be read once, and a comparison reads it again and again",
            )
            .stage(&step.name)
            .hint("put it into a file"));
        }
    }
    Ok(())
}

/// A folder for what nobody wants to keep; it goes when this is dropped.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        // What cannot be deleted is in the comparison's own folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Bench<'a> {
    plan: &'a Plan<'a>,
    aside: Aside,
    id: String,
    /// Runs so far.
    number: usize,
    not_timed: Vec<NotTimed>,
}

/// How one run is done.
#[derive(Clone, Copy)]
struct How {
    staged: bool,
    digest: bool,
}

impl Bench<'_> {
    fn measure(&mut self) -> Result<Comparison> {
        const WARM_UP: How = How {
            staged: true,
            digest: true,
        };
        const TIMED: How = How {
            staged: true,
            digest: false,
        };
        const STREAMED: How = How {
            staged: false,
            digest: false,
        };
        let plan = self.plan;
        let (mut warm_before, mut befores) = (None, Vec::new());
        if let Before::Pipeline(before) = &plan.before {
            warm_before = Some(self.run(before, WARM_UP, "warm-up, before")?);
        }
        let warm_after = self.run(plan.after, WARM_UP, "warm-up, after")?;
        let (mut afters, mut streamed) = (Vec::new(), Vec::new());
        for round in 1..=plan.runs {
            let name = |side: &str| format!("run {round} of {}, {side}", plan.runs);
            if let Before::Pipeline(before) = &plan.before {
                befores.push(self.run(before, TIMED, &name("before"))?);
            }
            afters.push(self.run(plan.after, TIMED, &name("after"))?);
            streamed.push(self.run(plan.after, STREAMED, &name("after, streamed"))?);
        }
        let before = match &plan.before {
            Before::Pipeline(_) => Side {
                digested: warm_before.as_ref(),
                timed: &befores,
            },
            Before::Run(report) => Side {
                digested: Some(report),
                timed: std::slice::from_ref(report),
            },
        };
        let after = Side {
            digested: Some(&warm_after),
            timed: &afters,
        };
        let mut comparison = Comparison::of(before, after, &streamed, plan.sides.clone());
        comparison.not_timed = std::mem::take(&mut self.not_timed);
        comparison.largest_gz = largest_gz(plan.after, &comparison, &warm_after);
        comparison.warnings = warnings(&warm_after, &plan.before);
        Ok(comparison)
    }

    /// One run, its results going aside, and away after it.
    fn run(&mut self, pipeline: &Pipeline, how: How, name: &str) -> Result<Report> {
        self.number += 1;
        let folder = self.aside.0.join(self.number.to_string());
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        let id = format!("{}-{}", self.id, self.number);
        let scratch = pipeline.scratch(&folder, self.plan.with_sinks.then_some(id.as_str()))?;
        let options = Options {
            staged: how.staged,
            digest: how.digest,
            state: folder.join("state"),
            command: None,
            resume: None,
            loaded_files: LoadedFiles::Ignore,
            cluster: None,
            stop: self.plan.stop.clone(),
            workers: Arc::new(Workers::this_program()),
        };
        let (mut report, error) = run(&scratch.pipeline, &options, &watch(&scratch.pipeline));
        let deleted = delete_indices(&scratch);
        let _ = std::fs::remove_dir_all(&folder);
        match (error, deleted) {
            (Some(error), Err(left)) => return Err(error.cause(left)),
            (Some(error), Ok(())) => return Err(error),
            (None, deleted) => deleted?,
        }
        // What the pipeline says, not where it was sent.
        for stage in &mut report.stages {
            let step = pipeline.steps.iter().find(|step| step.name == stage.name);
            stage.options = step.map_or_else(Default::default, |step| masked(&step.options));
            stage.published = None;
        }
        self.not_timed = scratch.not_timed;
        let time = |stage: &StageReport| stage.wall_s;
        let took = if how.staged {
            report.stages.iter().map(time).sum()
        } else {
            report.wall_s
        };
        (self.plan.report_line)(&format!("{name}: {took:.2} s"));
        Ok(report)
    }
}

/// Deletes the fresh indices; each is tried, whatever became of the one before.
fn delete_indices(scratch: &Scratch) -> Result<()> {
    let mut all = Ok(());
    for index in &scratch.indices {
        let deleted = index.delete(&scratch.pipeline.folder).map_err(|error| {
            let name = &index.name;
            error.hint(format!("delete what begins with `{name}` on the server"))
        });
        all = all.and(deleted);
    }
    all
}

/// The largest gz file, where a loader has workers and its one reading thread takes nearly all its time.
fn largest_gz(pipeline: &Pipeline, comparison: &Comparison, run: &Report) -> Option<LargestGz> {
    let loads = pipeline.steps.iter().filter(|step| step.inputs.is_empty());
    let names: Vec<&str> = loads.map(|step| step.name.as_str()).collect();
    let bound = comparison.stages.iter().any(|stage| {
        names.contains(&stage.name.as_str())
            && stage.workers > 1
            && stage.after.serial_s >= BOUND * stage.after.wall_s
    });
    let largest = run.inputs.iter().filter(|input| is_gz(&input.file));
    let largest = largest.max_by_key(|input| input.bytes)?;
    let bytes: u64 = run.inputs.iter().map(|input| input.bytes).sum();
    bound.then(|| LargestGz {
        file: largest.file.clone(),
        share: largest.bytes as f64 / bytes.max(1) as f64,
        bytes,
    })
}

fn is_gz(path: &str) -> bool {
    // What is no file may not be read twice.
    if !Path::new(path).is_file() {
        return false;
    }
    let mut magic = [0; 2];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == [0x1f, 0x8b]
}

/// What the user should know of the runs: what the stages warn of, and rows set aside.
fn warnings(run: &Report, before: &Before) -> Vec<String> {
    let stages = run.stages.iter();
    let mut warnings: Vec<String> = stages
        .flat_map(|stage| {
            stage
                .warnings
                .iter()
                .map(|it| format!("stage `{}`: {it}", stage.name))
        })
        .collect();
    if run.rejects.rows > 0 {
        let rows = crate::report::rows(run.rejects.rows);
        warnings.push(format!("{rows} rejected in each run; `etl run` keeps them"));
    }
    if let Before::Run(before) = before {
        let names: Vec<&str> = before.stages.iter().map(|it| it.name.as_str()).collect();
        let missing = run
            .stages
            .iter()
            .filter(|it| !names.contains(&it.name.as_str()));
        warnings.extend(missing.map(|it| format!("run {} has no stage `{}`", before.run, it.name)));
        if before.mode != "staged" {
            warnings.push(format!(
                "run {} was {}: its stages overlapped, so that their times are not their own",
                before.run, before.mode
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use super::*;
    use crate::batch::Batch;
    use crate::columns::Column;
    use crate::executor::{Grid, Kind};
    use crate::pipeline::{Overrides, parse};
    use crate::schema::{Field, Schema, Type};
    use crate::stage::{Folder, Output, Partitioning, Session, Setup, Stage, TaskContext};

    /// A stage that gives something else as soon as it runs on another thread than the one that opened it.
    struct Rigged;

    struct Opened(ThreadId);

    impl Stage for Rigged {
        fn inputs(&self) -> Vec<Partitioning> {
            vec![Partitioning::Any]
        }

        fn schema(&self, _inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
            Schema::new(vec![Field::new("thread", Type::String)])
        }

        fn open(&self, _setup: Setup) -> Result<Box<dyn Session>> {
            Ok(Box::new(Opened(thread::current().id())))
        }
    }

    impl Session for Opened {
        fn run(&self, batch: Batch, _task: TaskContext) -> Result<Output> {
            let word = if thread::current().id() == self.0 {
                "mine"
            } else {
                "another"
            };
            let column = Column::from_strings((0..batch.rows()).map(|_| Some(word)));
            Ok(Output::new(Batch::new(vec![column], batch.rows())))
        }
    }

    #[test]
    fn a_stage_that_differs_under_threads_is_found_out() {
        let name = format!("etl-compare-{}", std::process::id());
        let aside = Aside(std::env::temp_dir().join(name));
        let folder = &aside.0;
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("rows.csv"), "a\n1\n2\n").unwrap();
        let text = "[[stage]]\nname = 'rows'\nkind = 'load_csv'\nfiles = ['rows.csv']\n\
            [[stage]]\nname = 'rigged'\nkind = 'select'\ninputs = ['rows']\n\
            [[stage]]\nname = 'out'\nkind = 'write_files'\ninputs = ['rigged']\npath = 'out.csv'\n";
        let mut pipeline = parse(&folder.join("p.toml"), text, &Overrides::default()).unwrap();
        pipeline.steps[1].stage = Arc::new(Rigged);
        let mut threads = pipeline.clone();
        threads.steps[1].grid = Grid {
            kind: Kind::Threads,
            processes: 1,
            threads: 2,
        };
        let compared = |before: &Pipeline, after: &Pipeline| {
            let lines = std::cell::RefCell::new(Vec::new());
            let comparison = compare(&Plan {
                before: Before::Pipeline(Box::new(before.clone())),
                after,
                sides: Default::default(),
                runs: 1,
                with_sinks: false,
                state: &folder.join("state"),
                stop: Stop::default(),
                report_line: &|line| lines.borrow_mut().push(line.to_owned()),
            });
            (comparison.unwrap(), lines.into_inner().len())
        };
        let (rigged, runs) = compared(&pipeline, &threads);
        assert_eq!(rigged.same_output, Some(false));
        assert_eq!(rigged.differing(), ["rigged", "out"]);
        assert_eq!(runs, 5, "two to warm up, one of each side, one streamed");
        let (alike, _) = compared(&threads, &threads);
        assert_eq!((alike.same_output, alike.differing()), (Some(true), vec![]));
        // Nothing was written where the file says, and nothing is left of what was.
        assert!(!folder.join("out.csv").exists());
        let kept = folder.join("state/runs").join(&rigged.run);
        let mut names: Vec<_> = std::fs::read_dir(kept)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["report.json", "run.json"]);
    }
}
