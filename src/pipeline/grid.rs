//! Which executor a stage asks for, from `parallel`, `executor`, `workers`, `processes` and `threads`.

use super::source::Section;
use crate::error::{Error, Result, note};
use crate::executor::{Grid, Kind, WORKERS_MAX};
use crate::meant::meant;
use crate::schema::list;

/// Hybrid's processes where only the word is given.
const PROCESSES: usize = 2;

/// A written `parallel = false` wins over all the rest; an `executor` says which, else `parallel = true`
/// means threads, and a stage that says nothing is sequential.
///
/// A count that the executor has no use for is an error only where one place says both: the command line
/// may give `'*'.workers` to a file in which some stages are hybrid.
pub(super) fn decide(section: &Section, cores: usize) -> Result<Grid> {
    let mut mistakes = Vec::new();
    let parallel = note(&mut mistakes, section.boolean("parallel")).flatten();
    let executor = note(&mut mistakes, executor(section)).flatten();
    let [workers, processes, threads] = ["workers", "processes", "threads"]
        .map(|key| note(&mut mistakes, count(section, key)).flatten());
    if let Some(mistakes) = Error::all(mistakes) {
        return Err(mistakes);
    }
    if parallel == Some(false) {
        return Ok(Grid::SEQUENTIAL);
    }
    let kind = match executor {
        Some(kind) => kind,
        None if parallel == Some(true) => Kind::Threads,
        None => Kind::Sequential,
    };
    if parallel == Some(true) && kind == Kind::Sequential {
        let error =
            Error::usage("`parallel = true` and `executor = \"sequential\"` exclude each other");
        let hint = "leave one of them out; `parallel = false` alone makes a stage sequential";
        return Err(section.locate("parallel", error.hint(hint)));
    }
    refuse_useless(section, kind, executor.is_some())?;

    let or_cores = |count: Option<usize>| match count {
        None | Some(0) => cores,
        Some(count) => count,
    };
    let (processes, threads) = match kind {
        Kind::Sequential => (1, 1),
        Kind::Threads => (1, or_cores(workers)),
        Kind::Processes => (or_cores(workers), 1),
        Kind::Hybrid => {
            let processes = or_cores(processes.or(Some(PROCESSES)));
            let threads = match threads {
                None | Some(0) => (cores / processes).max(1),
                Some(threads) => threads,
            };
            (processes, threads)
        }
    };
    if processes * threads > WORKERS_MAX {
        let error = Error::usage(format!(
            "`processes` x `threads`: expected at most {WORKERS_MAX} workers, found {processes} x {threads}"
        ));
        return Err(section.locate("processes", error));
    }
    Ok(Grid {
        kind,
        processes,
        threads,
    })
}

/// How many processors this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn executor(section: &Section) -> Result<Option<Kind>> {
    const KINDS: [Kind; 4] = [
        Kind::Sequential,
        Kind::Threads,
        Kind::Processes,
        Kind::Hybrid,
    ];
    let Some(word) = section.string("executor")? else {
        return Ok(None);
    };
    if let Some(kind) = KINDS.into_iter().find(|kind| kind.as_str() == word) {
        return Ok(Some(kind));
    }
    let words = KINDS.map(Kind::as_str);
    let error = Error::usage(format!(
        "`executor`: expected one of {}, found `{word}`",
        list(&words)
    ));
    let error = match meant(&word, &words) {
        Some(hint) => error.hint(hint),
        None => error,
    };
    Err(section.locate("executor", error))
}

fn count(section: &Section, key: &str) -> Result<Option<usize>> {
    let most = i64::try_from(WORKERS_MAX).expect("the limit is small");
    let count = section.integer(key, 0..=most)?;
    Ok(count.map(|count| usize::try_from(count).expect("limits were checked")))
}

fn refuse_useless(section: &Section, kind: Kind, named: bool) -> Result<()> {
    let said_by = section.is_set(if named { "executor" } else { "parallel" });
    let useless: &[&str] = match kind {
        Kind::Hybrid => &["workers"],
        _ => &["processes", "threads"],
    };
    for &key in useless {
        if section.table.contains_key(key) && section.is_set(key) == said_by {
            let (message, hint) = if kind == Kind::Hybrid {
                (
                    "`workers` means nothing to executor `hybrid`".to_owned(),
                    "write `processes` and `threads`",
                )
            } else {
                (
                    format!("`{key}` means nothing to executor `{}`", kind.as_str()),
                    "write `workers`, or `executor = \"hybrid\"`",
                )
            };
            return Err(section.locate(key, Error::usage(message).hint(hint)));
        }
    }
    Ok(())
}
