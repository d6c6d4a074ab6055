//! `etl plan`: how a pipeline would be run, judged from the pipeline file and the sizes of its files: of a
//! compressed one a sample is inflated.

mod cluster;

use std::collections::BTreeSet;
use std::process::ExitCode;

use serde_json::{Value, json};

use self::cluster::{among_tasks, file_tasks, tasks, worth_a_cluster};
use super::{Color, PipelineArgs, output};
use crate::error::{Error, Result};
use crate::executor::{Grid, Kind};
use crate::format::compression;
use crate::order::SortColumn;
use crate::pipeline::{Pipeline, masked};
use crate::place::{Place, Seen};
use crate::plan::{self, Delivery, Edge, Fragment, Plan, Stage};
use crate::report::bytes;
use crate::schema::count;
use crate::shown;
use crate::stage::Partitioning;

/// Show how a pipeline would be run: what runs together and where, how rows are partitioned, what is collected
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  etl plan donors.toml
  etl plan donors.toml --parallel --until documents
  etl plan donors.toml --set grouped.executor=hybrid --json")]
pub struct PlanArgs {
    /// The pipeline and what is changed in it.
    #[command(flatten)]
    pub pipeline: PipelineArgs,
    /// Only this stage and what it reads
    #[arg(long, value_name = "STAGE")]
    pub until: Option<String>,
    /// As `etl run --cluster` would run it; the URL is not asked
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "", value_parser = super::master)]
    pub cluster: Option<String>,
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
}

/// Text is kept within this.
const WIDTH: usize = 80;

/// Prints the plan.
pub fn run(args: &PlanArgs, color: Color) -> Result<ExitCode> {
    let mut pipeline = args.pipeline.load()?;
    if let Some(stage) = &args.until {
        pipeline = pipeline.upto(stage)?;
    }
    let mut stays = Vec::new();
    let mut cores = None;
    if let Some(master) = &args.cluster {
        (pipeline, stays) = plan::on_cluster(&pipeline);
        let master = Some(master.as_str()).filter(|master| !master.is_empty());
        cores = pipeline.cluster.cores(master);
        if let Err(missing) = pipeline.cluster.at(master, &pipeline.folder) {
            // A plan needs none of it.
            for error in std::iter::once(&missing).chain(&missing.others) {
                output::print_note(&format!("a run needs more: {}", error.message), color);
                if let Some(hint) = &error.hint {
                    output::print_hint(hint, color);
                }
            }
        }
    }
    if args.json {
        output::print_json(&as_json(&pipeline, &stays, cores))?;
    } else {
        output::print(&as_text(&pipeline, &stays, cores))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A paragraph a stage. Where a cluster executes stages, `stays` says why others stay on this machine, and `cores` how many
/// tasks run at once, if that is known.
fn as_text(pipeline: &Pipeline, stays: &[Option<&'static str>], cores: Option<u64>) -> String {
    let plan = Plan::of(pipeline, false);
    let sizes = sizes(pipeline);
    let mut text = format!(
        "{}: {} in {}\n",
        pipeline.name,
        count(pipeline.steps.len(), "stage"),
        count(plan.fragments.len(), "fragment"),
    );
    let names = pipeline.steps.iter().map(|step| step.name.chars().count());
    let width = names.max().unwrap_or(0);
    for (number, fragment) in plan.fragments.iter().enumerate() {
        let executor = if fragment.on_cluster {
            tasks(pipeline, &plan, fragment, &sizes, cores)
        } else {
            grid(fragment.executor)
        };
        let head = format!("fragment {}: {executor}", number + 1);
        text.push_str(&format!("\n{}\n", output::wrap(&head, WIDTH, "  ")));
        for Stage { at, spec } in &fragment.stages {
            text.push_str(&format!("  {:width$}  {}\n", spec.name, spec.kind));
            let stays = stays.get(*at).copied().flatten();
            let stays = stays.map(|reason| format!("stays on this machine: {reason}"));
            for line in stays
                .into_iter()
                .chain(details(pipeline, &plan, &sizes, *at))
            {
                let line = output::wrap(&shown::line(&line), WIDTH - 4, "      ");
                text.push_str(&format!("    {line}\n"));
            }
        }
    }
    if !stays.is_empty() {
        text.push_str(&format!(
            "\n{}\n",
            output::wrap(&worth_a_cluster(pipeline, &sizes, cores), WIDTH, "")
        ));
    }
    text
}

/// What is said of a step below its name.
fn details(pipeline: &Pipeline, plan: &Plan, sizes: &[Size], at: usize) -> Vec<String> {
    let step = &pipeline.steps[at];
    let fragment = plan.fragment_of(at);
    let mut lines = Vec::new();
    for edge in fragment.edges.iter().filter(|edge| edge.to == at) {
        let name = &pipeline.steps[edge.from].name;
        let words = if fragment.on_cluster {
            among_tasks(&edge.partitioning)
        } else {
            in_words(&edge.partitioning)
        };
        let mut line = format!("reads {name}: {words}");
        if edge.input > 0 && edge.partitioning != Partitioning::Broadcast {
            let before = &pipeline.steps[step.inputs[edge.input - 1]].name;
            line.push_str(&format!(", after all of {before}"));
        }
        if let Some(text) = sizes[edge.from].behind {
            line.push_str(&format!("; from about {} of text", bytes(text)));
        }
        lines.push(line);
    }
    if let (Some(source), true) = (&fragment.source, at == fragment.first()) {
        lines.push(format!("reads its own source: {}", in_words(source)));
        match &sizes[at].files {
            Ok(files) if files.is_empty() => {}
            Ok(files) => {
                let size = files.iter().sum();
                let files = format!("{} of {}", count(files.len(), "file"), bytes(size));
                let text = sizes[at].behind.map(bytes);
                let text = text.map(|text| format!(", about {text} of text"));
                lines.push(files + &text.unwrap_or_default());
            }
            Err(error) => lines.push(format!("error: {}", step.scrub(error.clone()))),
        }
    }
    let properties = step.stage.properties();
    if properties.combined {
        lines.push("what its sessions give is combined in input order, by one thread".into());
    }
    if !properties.holding.is_empty() {
        let columns = properties.holding.join(", ");
        lines.push(format!(
            "holds all values for {columns} until its input has ended"
        ));
    }
    if let Some(rows) = step
        .batch_rows
        .or_else(|| step.stage.properties().batch_rows)
    {
        lines.push(format!("{} a batch", count(rows, "row")));
    }
    let mut readers: Vec<&Edge> = plan.edges_from(at).collect();
    readers.dedup_by_key(|edge| edge.to);
    let names = readers
        .iter()
        .map(|edge| pipeline.steps[edge.to].name.as_str());
    let names = names.collect::<Vec<&str>>().join(", ");
    let how = match readers.first().map(|edge| edge.delivery) {
        Some(Delivery::Collected) => "collected, as its readers could wait for each other",
        Some(Delivery::Shared) => "each batch to each of them; the slowest sets the pace",
        _ => "",
    };
    if readers.len() > 1 {
        lines.push(format!("read by {names}: {how}"));
    }
    if let Some(place) = step.publishes_to() {
        lines.push(if step.writes_in_place() {
            format!("writes to {place} as it goes")
        } else {
            format!("publishes {place}, when every stage has ended without error")
        });
    } else if pipeline.readers(at).is_empty() && !step.kind.sink {
        lines.push("read by no stage: its rows are counted and dropped".into());
    }
    lines
}

/// What a stage reads of files, and what all that its rows come from holds.
struct Size {
    /// The bytes of each as it lies there, if there are any.
    files: Result<Vec<u64>>,
    /// About so many bytes of text, of all files that its rows come from; `None`: who knows.
    behind: Option<u64>,
}

fn sizes(pipeline: &Pipeline) -> Vec<Size> {
    let mut own = Vec::new();
    let mut sources: Vec<BTreeSet<usize>> = Vec::new();
    let mut sizes = Vec::new();
    for (at, step) in pipeline.steps.iter().enumerate() {
        let (files, text) = match step.files(&pipeline.folder).and_then(|f| of_files(&f)) {
            Ok((files, text)) => (Ok(files), text),
            Err(error) => (Err(error), None),
        };
        own.push(text);
        let mut behind: BTreeSet<usize> = BTreeSet::new();
        for &input in &step.inputs {
            behind.extend(&sources[input]);
        }
        if step.inputs.is_empty() {
            behind.insert(at);
        }
        let behind_it = behind.iter().map(|&source| own[source]).sum();
        sizes.push(Size {
            files,
            behind: behind_it,
        });
        sources.push(behind);
    }
    sizes
}

/// How many files of a stage are sampled; the others are taken to be like these.
const SAMPLED: usize = 16;

/// The bytes of each, and about how many bytes of text they hold, if that is known.
fn of_files(files: &[Place]) -> Result<(Vec<u64>, Option<u64>)> {
    let (mut sampled, mut text) = (0, 0);
    let mut sizes = vec![0; files.len()];
    let mut is_known = !files.is_empty();
    for (number, place) in files.iter().enumerate() {
        let path = match place {
            Place::File(path) => path,
            Place::Stdin => return Ok((sizes, None)),
            Place::Object(_) => {
                let bytes = Seen::of(place)?.1.bytes;
                sizes[number] = bytes;
                // What it holds when it is inflated is not looked at: it would have to be sent.
                is_known &= !matches!(place.extension(), Some("gz" | "zst"));
                if number < SAMPLED {
                    sampled += bytes;
                    text += bytes;
                }
                continue;
            }
        };
        let read = |error: &std::io::Error| Error::io("read", path.display(), error);
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => metadata,
            Err(error) => return Err(read(&error)),
            // A pipe is as long as who writes it wishes.
            _ => return Ok((sizes, None)),
        };
        sizes[number] = metadata.len();
        if number < SAMPLED {
            sampled += metadata.len();
            text += compression::text_bytes(path).map_err(|error| read(&error))?;
        }
    }
    let size: u64 = sizes.iter().sum();
    let all = u128::from(text) * u128::from(size) / u128::from(sampled.max(1));
    let text = u64::try_from(all).ok().filter(|_| is_known);
    Ok((sizes, text))
}

fn grid(grid: Grid) -> String {
    let word = grid.kind.as_str();
    match grid.kind {
        Kind::Sequential => word.into(),
        Kind::Threads => format!("{word} x {}", grid.threads),
        Kind::Processes => format!("{word} x {}", grid.processes),
        Kind::Hybrid => format!("{word} {} x {}", grid.processes, grid.threads),
    }
}

fn in_words(partitioning: &Partitioning) -> String {
    match partitioning {
        Partitioning::Any => "batches as they come".into(),
        Partitioning::UniqueInFlight(columns) if columns.is_empty() => {
            "batches by row number, as many at once as the other side takes".into()
        }
        Partitioning::UniqueInFlight(columns) => format!(
            "batches by row number, never two rows of one {} at once",
            columns.join(", ")
        ),
        Partitioning::Requests => "batches by row number, each one request".into(),
        Partitioning::ByKey(columns) => {
            format!("collected, then partitioned by {}", columns.join(", "))
        }
        Partitioning::ByRange(columns) => {
            let columns: Vec<String> = columns.iter().map(SortColumn::as_word).collect();
            format!("collected, then cut into ranges by {}", columns.join(", "))
        }
        Partitioning::Broadcast => "collected, then all of it to every session".into(),
    }
}

fn as_json(pipeline: &Pipeline, stays: &[Option<&'static str>], cores: Option<u64>) -> Value {
    let plan = Plan::of(pipeline, false);
    let sizes = sizes(pipeline);
    let is_collected = |at: usize| {
        let mut edges = plan.edges_from(at);
        edges.any(|edge| edge.delivery == Delivery::Collected)
    };
    let stages = pipeline.steps.iter().enumerate().map(|(at, step)| {
        let inputs = step.inputs.iter().enumerate().map(|(number, &input)| {
            let from = sizes[input].behind;
            let input = &pipeline.steps[input].name;
            let mut input = json!({ "stage": input, "from_text_bytes": from });
            describe(&step.partitioning(number), &mut input);
            input
        });
        let inputs: Vec<Value> = inputs.collect();
        let mut stage = json!({
            "name": step.name,
            "kind": step.kind.name,
            "options": masked(&step.options),
            "executor": step.executor(),
            "processes": step.grid.processes,
            "threads": step.grid.threads,
            "batch_rows": step.batch_rows.or_else(|| step.stage.properties().batch_rows),
            "inputs": inputs,
            "combined": step.stage.properties().combined,
            "holding": step.stage.properties().holding,
            "output_collected": is_collected(at),
            "publishes": step.publishes_to(),
        });
        if let Some(reason) = stays.get(at).copied().flatten() {
            stage["stays"] = reason.into();
        }
        if step.inputs.is_empty() {
            let files = sizes[at].files.as_deref().unwrap_or_default();
            stage["source"] = json!({
                "files": files.len(), "file_bytes": files.iter().sum::<u64>(), "text_bytes": sizes[at].behind,
            });
            describe(&step.partitioning(0), &mut stage["source"]);
        }
        stage
    });
    let fragments = plan.fragments.iter().map(|fragment| {
        let mut json = fragment_as_json(pipeline, fragment);
        if fragment.on_cluster {
            json["tasks"] = json!(file_tasks(&plan, fragment, &sizes, cores));
        }
        json
    });
    json!({
        "pipeline": pipeline.name,
        "pipeline_file": pipeline.file,
        "max_rejects": pipeline.max_rejects,
        "stages": stages.collect::<Vec<_>>(),
        "fragments": fragments.collect::<Vec<_>>(),
    })
}

/// A fragment; what its stages' options are stands with the stages.
fn fragment_as_json(pipeline: &Pipeline, fragment: &Fragment) -> Value {
    let name = |at: usize| &pipeline.steps[at].name;
    let edges = fragment.edges.iter().map(|edge| {
        let mut json = json!({
            "from": name(edge.from),
            "to": name(edge.to),
            "input": edge.input,
            "delivery": edge.delivery,
        });
        describe(&edge.partitioning, &mut json);
        json
    });
    let source = fragment.source.as_ref().map(|partitioning| {
        let mut json = json!({});
        describe(partitioning, &mut json);
        json
    });
    json!({
        "stages": fragment.stages.iter().map(|stage| &stage.spec.name).collect::<Vec<_>>(),
        "source": source,
        "edges": edges.collect::<Vec<_>>(),
        "executor": if fragment.on_cluster { "cluster" } else { fragment.executor.kind.as_str() },
        "processes": fragment.executor.processes,
        "threads": fragment.executor.threads,
        "batch_rows": fragment.batch_rows,
    })
}

fn describe(partitioning: &Partitioning, input: &mut Value) {
    let (word, columns) = match partitioning {
        Partitioning::Any => ("any", None),
        Partitioning::UniqueInFlight(columns) => ("unique_in_flight", Some(columns.clone())),
        Partitioning::Requests => ("requests", None),
        Partitioning::ByKey(columns) => ("by_key", Some(columns.clone())),
        Partitioning::ByRange(columns) => {
            let columns = columns.iter().map(SortColumn::as_word);
            ("by_range", Some(columns.collect()))
        }
        Partitioning::Broadcast => ("broadcast", None),
    };
    input["partitioning"] = word.into();
    if let Some(columns) = columns {
        input["columns"] = json!(columns);
    }
    input["collected"] = partitioning.is_collected().into();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::tests::{FILE, read};

    #[test]
    fn a_plan_says_who_reads_whom_and_how() {
        let pipeline = read(FILE, &["d.path=https://me:pw@host/x"]).unwrap();
        let text = as_text(&pipeline, &[], None);
        let expected = "\
job: 4 stages in 3 fragments

fragment 1: sequential
  a  load
    reads its own source: batches as they come
    read by b, c: collected, as its readers could wait for each other

fragment 2: hybrid 2 x 3
  b  group
    reads a: collected, then partitioned by k

fragment 3: sequential
  c  join
    reads a: batches as they come
    reads b: collected, then all of it to every session
  d  write
    publishes https://***@host/x, when every stage has ended without error
";
        assert_eq!(text, expected);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
        let json = as_json(&pipeline, &[], None);
        let fragment = &json["fragments"][2];
        assert_eq!(fragment["stages"], json!(["c", "d"]));
        assert_eq!(fragment["edges"][1]["from"], "b");
        assert_eq!(fragment["edges"][1]["partitioning"], "broadcast");
        assert_eq!(fragment["edges"][0]["delivery"], "collected");
        let stages = &json["stages"];
        assert_eq!(stages[2]["inputs"][1]["partitioning"], "broadcast");
        assert_eq!(stages[0]["source"]["collected"], false);
        assert_eq!(stages[3]["options"]["path"], "https://***@host/x");
    }

    #[test]
    fn whether_a_cluster_pays_depends_on_the_text_and_the_cores() {
        let pipeline = read(FILE, &[]).unwrap();
        let says = |text: u64, cores| {
            let size = |at: usize| Size {
                files: Ok(if at == 0 { vec![text] } else { Vec::new() }),
                behind: Some(text),
            };
            let sizes: Vec<Size> = (0..pipeline.steps.len()).map(size).collect();
            worth_a_cluster(&pipeline, &sizes, cores)
        };
        let gb = 1_000_000_000;
        let small = says(gb / 1000, None);
        assert!(small.contains("less than 1 s on one machine"), "{small}");
        assert!(small.ends_with("one machine is likely to be done sooner."));
        assert!(says(20 * gb, None).ends_with("a cluster is likely to be done sooner."));
        // On as few cores it only takes longer.
        let few = says(20 * gb, Some(2));
        assert!(
            few.contains("some 200 s on 2 cores: one machine is"),
            "{few}"
        );
        let many = says(20 * gb, Some(40));
        assert!(
            many.contains("some 10 s on 40 cores: a cluster is"),
            "{many}"
        );
    }
}
