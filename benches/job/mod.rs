//! The Donor's Choice job played once, stage by stage, so that each can be measured by itself.

#[path = "../../examples/generate_donors.rs"]
#[allow(dead_code, reason = "an example has a `main` too")]
mod generate_donors;

use std::path::{Path, PathBuf};

use etl::batch::{Batch, ROWS_MAX};
use etl::partition;
use etl::pipeline::{self, Overrides, Pipeline};
use etl::schema::Schema;
use etl::stage::{Partitioning, Run, Session, Setup, TaskContext};
use etl::stop::Stop;

const PROJECTS: u64 = 6_000;

/// A folder with the dumps, gone with this.
pub(crate) struct Dumps(pub(crate) PathBuf);

impl Dumps {
    pub(crate) fn make() -> Self {
        let folder = std::env::temp_dir().join(format!("etl-bench-{}", std::process::id()));
        generate_donors::write_dumps(&folder, PROJECTS, 7).expect("there is room for the dumps");
        Dumps(folder)
    }
}

impl Drop for Dumps {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A stage with what it works on.
#[allow(dead_code, reason = "each benchmark looks at some")]
pub(crate) struct Kernel {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) setup: Setup,
    pub(crate) session: Box<dyn Session>,
    pub(crate) batches: Vec<Batch>,
    pub(crate) output: Vec<Batch>,
}

/// A run of its own.
pub(crate) fn run(pipeline: &Pipeline) -> Run {
    Run::new(
        "bench".into(),
        pipeline.folder.clone(),
        std::env::temp_dir(),
        Stop::default(),
    )
}

/// Plays the job of the pipeline `file` once, and keeps what every stage was given; `set` is as on the
/// command line.
pub(crate) fn kernels(dumps: &Dumps, file: &str, set: &str) -> (Pipeline, Vec<Kernel>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("pipelines")
        .join(file);
    let files = |name: &str| {
        format!(
            "{name}.files=[\"{}/opendata_{name}000.gz\"]",
            dumps.0.display()
        )
    };
    let sets = ["projects", "resources", "donations"].map(files);
    let overrides = Overrides {
        sets: sets.into_iter().chain([set.to_owned()]).collect(),
        ..Overrides::default()
    };
    let pipeline = pipeline::load(&file, &overrides).expect("the pipeline is right");
    let schemas = pipeline.schemas().expect("its columns are");
    let run = run(&pipeline);
    let mut kernels: Vec<Kernel> = Vec::new();
    for (at, step) in pipeline.steps.iter().enumerate() {
        let inputs: Vec<Schema> = step.inputs.iter().map(|&i| schemas[i].clone()).collect();
        let mut begun = step
            .stage
            .begin(&run, &inputs, ROWS_MAX)
            .expect("it begins");
        let given = step.inputs.first().map(|&i| kernels[i].output.clone());
        let dealt = step.stage.inputs();
        let batches = match (begun.source.take(), given, dealt.first()) {
            (Some(source), ..) => source
                .parts
                .into_iter()
                .flatten()
                .collect::<Result<_, _>>()
                .expect("it is read"),
            (None, Some(given), Some(Partitioning::ByKey(columns))) => {
                let keys = inputs[0].indices(columns).expect("the columns are there");
                let all = Batch::concat(given, || unreachable!("there are rows"));
                partition::by_key(&all, &keys)
            }
            (None, given, _) => given.unwrap_or_default(),
        };
        let broadcast = dealt.iter().zip(&step.inputs).map(|(dealt, &input)| {
            (*dealt == Partitioning::Broadcast).then(|| {
                let rows = kernels[input].output.clone();
                Batch::concat(rows, || unreachable!("there are rows")).resolve()
            })
        });
        let setup = Setup {
            broadcast: broadcast.collect(),
            inputs,
            output: schemas[at].clone(),
            session_config: begun.session_config,
            sessions: 1,
            stop: Stop::default(),
            backpressure: etl::stage::Backpressure::default(),
            wait_reason: etl::stage::WaitReason::default(),
        };
        let session = step.stage.open(setup.clone()).expect("it opens");
        let play = |batch: &Batch| {
            session
                .run(batch.clone(), TaskContext::default())
                .expect("no row is at fault")
                .batch
        };
        let output = batches.iter().map(play).collect();
        kernels.push(Kernel {
            name: step.name.clone(),
            kind: step.kind.name,
            setup,
            session,
            batches,
            output,
        });
    }
    (pipeline, kernels)
}
