//! A look at a cluster before a run: whether it takes tasks, and what these see of the folder and the files.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use super::config::ClusterConfig;
use super::engine::{Engine, Job, SCRIPT_FILE};
use super::folder::{SharedFolder, look_name};
use super::order::{LookOrder, Order, TaskReport};
use crate::disk;
use crate::error::{Error, Result};
use crate::place::{InputFile, ObjectUrl, Place, Seen, Shared};
use crate::schema::{count, list};
use crate::stage::Probe;
use crate::stop::Stop;

/// So many tasks a core, so that each machine is likely to get one.
const TASKS_A_CORE: usize = 4;

/// How the name of a look's folder on this machine begins, before its process's number: it holds the engine's log.
const LOG: &str = "etl-check-";

/// What a task must be able to read: this machine has written it.
pub(super) const MARKER: &str = "marker";

/// Looks at the cluster, its folder and the files that a pipeline reads.
pub fn look(config: &ClusterConfig, files: &[Place], stop: &Stop) -> Vec<Probe> {
    let (at_cluster, at_folder) = (config.master.clone(), config.folder.to_string());
    let temporary = std::env::temp_dir();
    clear_logs(&temporary);
    let log = temporary.join(format!("{LOG}{}", std::process::id()));
    let looked = tasks(config, files, &log, stop);
    let probes = match looked {
        Ok((words, reports)) => {
            let faults: Vec<Error> = reports
                .iter()
                .filter_map(|report| report.fault.clone())
                .collect();
            let folder = match faults.first() {
                Some(fault) => Err(fault.clone()),
                None => Ok("every task reads and writes there, and sees the same files".to_owned()),
            };
            vec![
                Probe::new(at_cluster, Ok(words)),
                Probe::new(at_folder, folder),
            ]
        }
        Err(error) => {
            // The log that the error names stays, if there is one.
            let _ = std::fs::remove_dir(&log);
            return vec![Probe::new(at_cluster, Err(error))];
        }
    };
    disk::remove(&log);
    probes
}

/// Removes the logs of looks whose process has ended: nobody reads them any more.
fn clear_logs(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(LOG));
        let process = process.and_then(|process| process.parse::<u32>().ok());
        let has_ended = |process| !Path::new(&format!("/proc/{process}")).exists();
        // Nothing is removed that no look has made.
        if process.is_some_and(has_ended) && entry.path().join(SCRIPT_FILE).is_file() {
            disk::remove(&entry.path());
        }
    }
}

/// Runs tasks that look; what ran them, in words, and what they report.
fn tasks(
    config: &ClusterConfig,
    files: &[Place],
    log: &Path,
    stop: &Stop,
) -> Result<(String, Vec<TaskReport>)> {
    disk::create_folders(log, disk::PRIVATE_FOLDER)
        .map_err(|error| Error::io("create", log.display(), &error))?;
    let name = look_name();
    let folder = SharedFolder::create(config, &name, None)?;
    let place = folder.folder("look");
    let looked = place.and_then(|place| {
        let engine = Engine::start(config, "look", &name, log, stop)?;
        tasks_in(&place, files, engine)
    });
    // What cannot be removed, a later run removes.
    let _ = folder.end();
    looked
}

/// Runs them with this folder of all machines.
fn tasks_in(
    place: &Shared,
    files: &[Place],
    mut engine: Engine,
) -> Result<(String, Vec<TaskReport>)> {
    place.join(MARKER).write(b"etl")?;
    let job = Job {
        id: "look".into(),
        given: Vec::new(),
        reads_alone: None,
        stages: Vec::new(),
        sides: Vec::new(),
        tasks: engine.parallelism * TASKS_A_CORE,
        buckets: None,
        order: Order::Look(LookOrder {
            folder: place.clone(),
            working_folder: std::env::current_dir().unwrap_or_default(),
            files: seen(files)?,
            objects: seen_objects(files)?,
        }),
        keep: false,
    };
    let reports = engine.run(&job, |_| ())?.reports;
    for report in &reports {
        // What a task has written this machine must see, too.
        let part = place.join(&part_name(report.task));
        if report.fault.is_none() && part.read()?.is_none() {
            let message = format!("`{part}`, which a task has written, is not seen here");
            return Err(Error::failed(message)
                .hint("`folder` of `[cluster]` names a folder that all machines share"));
        }
    }
    let hosts: BTreeSet<&str> = reports
        .iter()
        .flat_map(|report| &report.warnings)
        .map(String::as_str)
        .collect();
    let hosts: Vec<&str> = hosts.into_iter().collect();
    let words = format!(
        "{}, {}; tasks ran on {}",
        engine.versions,
        count(engine.parallelism, "core"),
        list(&hosts)
    );
    Ok((words, reports))
}

/// The name of the file that a task leaves.
pub(super) fn part_name(task: usize) -> String {
    format!("seen-by-{task}")
}

/// The files of this machine as they are now. Pipes and standard input are not read on a cluster.
fn seen(files: &[Place]) -> Result<Vec<InputFile>> {
    let lie_here = files
        .iter()
        .filter(|place| matches!(place, Place::File(_)) && !place.is_once());
    lie_here.map(|place| Ok(Seen::of(place)?.1)).collect()
}

/// One object of each bucket or web server, as this machine sees it: who can read one can read the others, as a rule.
fn seen_objects(places: &[Place]) -> Result<Vec<(ObjectUrl, InputFile)>> {
    let mut homes = HashSet::new();
    let objects = places.iter().filter_map(|place| match place {
        Place::Object(url) if homes.insert(url.home()) => Some((place, url)),
        _ => None,
    });
    objects
        .map(|(place, url)| Ok((url.clone(), Seen::of(place)?.1)))
        .collect()
}
