//! What `etl plan --cluster` says beside: in how many tasks fragments run, and whether a cluster pays.

use super::{Size, in_words};
use crate::order::SortColumn;
use crate::pipeline::Pipeline;
use crate::plan::{Edge, Fragment, Plan};
use crate::report::bytes;
use crate::schema::count;
use crate::stage::Partitioning;

/// Where a fragment runs that a cluster executes, and in how many tasks, as far as that is known before the run.
pub(super) fn tasks(
    pipeline: &Pipeline,
    plan: &Plan,
    fragment: &Fragment,
    sizes: &[Size],
    cores: Option<u64>,
) -> String {
    if let Some(number) = file_tasks(plan, fragment, sizes, cores) {
        return format!("{} of the cluster", count(number, "task"));
    }
    let how = match fragment.input() {
        None => "one for each file, but small files together".to_owned(),
        Some(edge) if is_exchanged(edge) => {
            "one for about 128 MB of what it reads, at least one for each core".into()
        }
        Some(edge) => format!("as many as for {}", pipeline.steps[edge.from].name),
    };
    format!("tasks of the cluster, {how}")
}

/// Whether rows go to other tasks of a cluster than those that gave them.
fn is_exchanged(edge: &Edge) -> bool {
    match &edge.partitioning {
        Partitioning::UniqueInFlight(columns) => !columns.is_empty(),
        other => other.is_collected(),
    }
}

/// In how many tasks a fragment runs whose rows come from files without being exchanged.
pub(super) fn file_tasks(
    plan: &Plan,
    fragment: &Fragment,
    sizes: &[Size],
    cores: Option<u64>,
) -> Option<usize> {
    let mut inputs = fragment.inputs().peekable();
    if inputs.peek().is_none() {
        let files = sizes[fragment.first()].files.as_ref().ok()?;
        return Some(crate::run::file_tasks(files, cores?));
    }
    let of_input = |edge: &Edge| {
        let above = plan.fragment_of(edge.from);
        (!is_exchanged(edge)).then(|| file_tasks(plan, above, sizes, cores))?
    };
    inputs.map(of_input).sum()
}

/// How rows get to the tasks of a cluster.
pub(super) fn among_tasks(partitioning: &Partitioning) -> String {
    let ranges = |columns: Vec<String>| format!("to tasks by ranges of {}", columns.join(", "));
    match partitioning {
        Partitioning::UniqueInFlight(columns) if columns.is_empty() => {
            "numbered rows, as they come".into()
        }
        Partitioning::UniqueInFlight(columns) => {
            format!(
                "numbered rows, all of one {} to one task",
                columns.join(", ")
            )
        }
        Partitioning::ByKey(columns) => ranges(columns.clone()),
        Partitioning::ByRange(columns) => ranges(columns.iter().map(SortColumn::as_word).collect()),
        Partitioning::Broadcast => {
            "all of it to every task, unless it is above `broadcast_max`".into()
        }
        Partitioning::Any | Partitioning::Requests => in_words(partitioning),
    }
}

/// Text that one machine works through in a second, about: the Donor's Choice job on two cores.
const TEXT_A_SECOND: u64 = 100_000_000;
const CORES_OF_ONE: f64 = 2.0;
/// What a cluster takes before the first task runs, and for each task, about: Spark 4 with two workers.
const CLUSTER_START_S: f64 = 20.0;
const TASK_S: f64 = 0.05;

/// Whether a cluster is likely to pay, from the sizes of the files and the number of its cores.
pub(super) fn worth_a_cluster(pipeline: &Pipeline, sizes: &[Size], cores: Option<u64>) -> String {
    let steps = pipeline.steps.iter().zip(sizes);
    let sources: Vec<&Size> = steps
        .filter(|(step, _)| step.inputs.is_empty())
        .map(|(_, size)| size)
        .collect();
    let text: Option<u64> = sources.iter().map(|size| size.behind).sum();
    let files: usize = sources
        .iter()
        .filter_map(|size| size.files.as_ref().ok())
        .map(Vec::len)
        .sum();
    let Some(text) = text else {
        return format!(
            "A cluster takes about {CLUSTER_START_S} s to start; how much text there is to read is not known here."
        );
    };
    let alone = text as f64 / TEXT_A_SECOND as f64;
    let before = CLUSTER_START_S + TASK_S * files as f64;
    let together = cores.map(|cores| alone * CORES_OF_ONE / cores.max(1) as f64);
    // Of a cluster of unknown size a few machines are expected.
    let pays = together.map_or(alone > 4.0 * before, |work| before + work < alone);
    let work = cores.zip(together).map_or_else(
        || "beside the work".into(),
        |(cores, work)| {
            let cores = count(cores, "core");
            format!("beside the work, which is {} on {cores}", about(work))
        },
    );
    let verdict = if pays {
        "a cluster is likely to be done sooner"
    } else {
        "one machine is likely to be done sooner"
    };
    format!(
        "About {} of text in {}: {} on one machine, at {} a second. A cluster takes {} {work}: {verdict}.",
        bytes(text),
        count(files, "file"),
        about(alone),
        bytes(TEXT_A_SECOND),
        about(before),
    )
}

fn about(seconds: f64) -> String {
    if seconds < 1.0 {
        return "less than 1 s".into();
    }
    format!("some {seconds:.0} s")
}
