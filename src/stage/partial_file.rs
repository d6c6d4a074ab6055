//! What a sink writes beside its target until it is published, and what a replaced folder is called: for a
//! moment, and where it is kept. The names are `TARGET.RUN.MARK.part`, `.old` and `.kept`. A run that was
//! killed leaves the first two behind; the next one with that target clears them away.
//!
//! Only what this program made may be removed. So MARK is 64 bits of a hash over the whole name of the target
//! and the run's: nobody has such a name by chance, a copy made by hand (`TARGET.backup.part`) or a
//! browser's download (`TARGET.part`) has none, and nothing has to be stored elsewhere that could be lost.
//! A part is locked while its run lives. A run that makes one looks, once it has the lock, whether the part is
//! still there; a run that clears one away holds the lock. So no run loses the part that it just made.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Run, is_run_id};
use crate::disk::{self, Held, Hold};
use crate::error::{Error, Result};

/// What is not published yet.
pub(super) const PART: &str = "part";
/// What was published, until what replaces it is.
const OLD: &str = "old";
/// What was replaced and is kept.
pub(super) const KEPT: &str = "kept";

/// Hexadecimal digits of the mark.
const MARK_DIGITS: usize = 16;

/// The longest name of a file, where the file system does not say.
const NAME_MAX: usize = 255;

/// How often is looked whether a run that began at the same moment gives way, and how long between. Both see
/// each other then, and the one whose name comes later gives way at once. Another program's file has no event to wait
/// for.
const POLLS_MAX: u32 = 100;
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A file or folder on its way to become a target; dropped before it is published, it is gone.
pub(super) struct PartialFile {
    pub(super) path: PathBuf,
    target: PathBuf,
    run: String,
    /// Locked, where the file system keeps locks. Of a file it is what is written to.
    file: Held,
}

impl PartialFile {
    /// Makes with `make` what is to become `target`. What ended runs left there is cleared away; while another run
    /// writes `target` this one may not.
    pub(super) fn create(
        target: &Path,
        run: &Run,
        make: impl Fn(&Path) -> std::io::Result<File>,
    ) -> Result<PartialFile> {
        let path = beside(target, &run.id, PART);
        for _ in 0..POLLS_MAX {
            run.stop.check()?;
            clear(target, None);
            let file = match make(&path) {
                Ok(file) => file,
                // Somebody is clearing it away, or another stage of this run writes it.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    run.stop.sleep(POLL_INTERVAL)?;
                    continue;
                }
                // A folder that somebody cleared away before it could be opened.
                Err(error)
                    if error.kind() == std::io::ErrorKind::NotFound
                        && disk::parent(&path).is_dir() =>
                {
                    continue;
                }
                Err(error) => return Err(Error::io("create", target.display(), &error)),
            };
            let file = match disk::hold_created(file, &path) {
                Hold::Held(file) | Hold::NoLocks(file) => file,
                Hold::Busy | Hold::Gone => continue,
            };
            let part = PartialFile {
                path,
                target: target.to_owned(),
                run: run.id.clone(),
                file,
            };
            part.is_alone(run)?;
            return Ok(part);
        }
        Err(busy(target))
    }

    /// An error where another run writes the same target: of two that begin at the same moment one goes on.
    fn is_alone(&self, run: &Run) -> Result<()> {
        for _ in 0..POLLS_MAX {
            match clear(&self.target, Some(&self.path)) {
                None => return Ok(()),
                Some(other) if Some(other.as_os_str()) < self.path.file_name() => break,
                Some(_) => run.stop.sleep(POLL_INTERVAL)?,
            }
        }
        Err(busy(&self.target))
    }

    /// The file that is written to.
    pub(super) fn writer(&self) -> std::io::Result<File> {
        self.file.try_clone()
    }

    /// Brings it to disk, a folder with the files in it.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        if self.path.is_dir() {
            for entry in std::fs::read_dir(&self.path)? {
                disk::sync(&File::open(entry?.path())?)?;
            }
            return disk::sync_folder(&self.path);
        }
        disk::sync(&self.file)
    }

    /// Makes it the target, at once and for good; a file that is there is replaced.
    pub(super) fn publish(&self) -> std::io::Result<Placed> {
        std::fs::rename(&self.path, &self.target)?;
        Ok(disk::sync_folder(disk::parent(&self.target)))
    }

    /// Makes it the target, which is a folder. That one has the part's path afterwards.
    pub(super) fn exchange(&self) -> std::io::Result<Placed> {
        swap(&self.path, &self.target, &self.run)
    }
}

/// The target has its new content. An error is of what comes after that, and does not undo it.
pub(super) type Placed = std::io::Result<()>;

/// What an error in [`Placed`] means.
pub(super) const UNSYNCED: &str = "a power failure now may undo it";

/// Gives the folders `path` and `target` each other's names; run `run` made or replaced what is at `path`.
pub(super) fn swap(path: &Path, target: &Path, run: &str) -> std::io::Result<Placed> {
    if let Err(error) = exchange(path, target) {
        if !matches!(
            error,
            nix::Error::EINVAL | nix::Error::ENOSYS | nix::Error::ENOTSUP
        ) {
            return Err(error.into());
        }
        // A file system that cannot exchange two folders. Between the two renames the target has another name,
        // by which [`standing`] finds it, and to which a run that comes after a kill gives back the target's.
        let aside = beside(target, run, OLD);
        std::fs::rename(target, &aside)?;
        if let Err(error) = std::fs::rename(path, target) {
            std::fs::rename(&aside, target)?;
            return Err(error);
        }
        let synced = disk::sync_folder(disk::parent(target));
        let renamed = std::fs::rename(&aside, path);
        return Ok(synced
            .and(renamed)
            .and_then(|()| disk::sync_folder(disk::parent(target))));
    }
    Ok(disk::sync_folder(disk::parent(target)))
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // What has been published has another name, and the name may be another's.
        if disk::is_at(&self.file, &self.path) {
            disk::remove(&self.path);
        }
    }
}

#[cfg(target_os = "linux")]
fn exchange(part: &Path, dir: &Path) -> nix::Result<()> {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    renameat2(AT_FDCWD, part, AT_FDCWD, dir, RenameFlags::RENAME_EXCHANGE)
}

#[cfg(not(target_os = "linux"))]
fn exchange(_part: &Path, _dir: &Path) -> nix::Result<()> {
    Err(nix::Error::ENOSYS)
}

/// Another run writes `target`.
pub(super) fn busy(target: &Path) -> Error {
    Error::failed(format!(
        "`{}` is being written by another run",
        target.display()
    ))
    .hint("wait until that run has ended; nothing was changed")
}

/// What run `run` calls its own beside `target`: its name, cut where the file system takes no longer one.
pub(super) fn beside(target: &Path, run: &str, kind: &str) -> PathBuf {
    let folder = disk::parent(target);
    let name = target.file_name().unwrap_or_default();
    let most = nix::sys::statvfs::statvfs(folder).map(|found| found.name_max());
    let most = most.ok().and_then(|most| usize::try_from(most).ok());
    target.with_file_name(marked(name, run, kind, most.unwrap_or(NAME_MAX)))
}

fn marked(name: &OsStr, run: &str, kind: &str, most: usize) -> OsString {
    let hashed = [name.as_bytes(), b"\0", run.as_bytes(), b"\0etl"].concat();
    let mark = xxhash_rust::xxh3::xxh3_64(&hashed);
    let end = format!(".{run}.{mark:0MARK_DIGITS$x}.{kind}");
    let name = name.as_bytes();
    let mut room = most.saturating_sub(end.len()).min(name.len());
    // Not in the middle of a character: some file systems take UTF-8 only.
    while room < name.len() && room > 0 && name[room] & 0xc0 == 0x80 {
        room -= 1;
    }
    OsString::from_vec([&name[..room], end.as_bytes()].concat())
}

/// Of which kind `found` is, and of which run, if it stands beside `target` and this program made it.
fn kind_of<'a>(found: &'a OsStr, target: &Path) -> Option<(&'static str, &'a str)> {
    let text = found.as_bytes();
    let kind = [PART, OLD, KEPT]
        .into_iter()
        .find(|kind| text.ends_with(kind.as_bytes()))?;
    let mut fields = text.rsplitn(4, |&byte| byte == b'.').skip(2);
    let run = std::str::from_utf8(fields.next()?).ok()?;
    let ours = is_run_id(run) && beside(target, run, kind).file_name() == Some(found);
    ours.then_some((kind, run))
}

/// What this program left beside `target`.
fn left(target: &Path) -> Vec<(PathBuf, &'static str)> {
    let found = names_beside(target).into_iter().filter_map(|name| {
        let (kind, _) = kind_of(&name, target)?;
        Some((target.with_file_name(name), kind))
    });
    found.collect()
}

/// What runs left of this kind beside `target`, by run, oldest first.
pub(super) fn of_kind(target: &Path, kind: &str) -> Vec<(String, PathBuf)> {
    let found = names_beside(target).into_iter().filter_map(|name| {
        let (found, run) = kind_of(&name, target)?;
        (found == kind).then(|| (run.to_owned(), target.with_file_name(&name)))
    });
    let mut found: Vec<_> = found.collect();
    found.sort();
    found
}

fn names_beside(target: &Path) -> Vec<OsString> {
    let entries = std::fs::read_dir(disk::parent(target));
    let entries = entries.into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).collect()
}

/// Clears away what ended runs left of `target`; a folder that a killed run had given another name gets its
/// own back. The first part, but for `mine`, that a run is working on. What cannot be removed stays: it is in
/// nobody's way.
pub(super) fn clear(target: &Path, mine: Option<&Path>) -> Option<OsString> {
    let mut busy: Option<OsString> = None;
    for (path, kind) in left(target) {
        if kind == KEPT || mine == Some(&path) {
            continue;
        }
        match disk::hold(&path) {
            // This fails where a target is there again.
            Hold::Held(_held) if kind == OLD && std::fs::rename(&path, target).is_ok() => {
                let _ = disk::sync_folder(disk::parent(target));
            }
            Hold::Held(_held) => disk::remove(&path),
            Hold::Busy => {
                let name = path.file_name().map(OsStr::to_owned);
                busy = busy.into_iter().chain(name).min();
            }
            Hold::Gone | Hold::NoLocks(_) => {}
        }
    }
    busy
}

/// Where the folder that is called `target` is at this moment: while it is replaced, or after a kill then, it
/// may have another name.
pub(super) fn standing(target: &Path) -> PathBuf {
    if target.exists() {
        return target.to_owned();
    }
    let old = left(target).into_iter().find(|(_, kind)| *kind == OLD);
    old.map_or_else(|| target.to_owned(), |(path, _)| path)
}

/// Whether `target` can be made, or replaced: its folder, or else the nearest one above it that is there,
/// takes files.
pub(super) fn place(target: &Path) -> Result<()> {
    use nix::unistd::{AccessFlags, access};
    let absolute = std::path::absolute(target).unwrap_or_else(|_| target.to_owned());
    let mut above = absolute.ancestors().skip(1);
    let folder = above
        .find(|folder| folder.exists())
        .unwrap_or(Path::new("/"));
    let shown = folder.display();
    if !folder.is_dir() {
        return Err(Error::failed(format!("`{shown}` is not a folder")));
    }
    access(folder, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|error| Error::io("write into the folder", shown, &error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Folder;
    use crate::stop::Stop;

    const RUNS: [&str; 3] = [
        "20260101T000000-0001",
        "20260101T000000-0002",
        "20260101T000000-ffff",
    ];

    fn run(id: &str) -> Run {
        Run::new(
            id.into(),
            Folder(".".into()),
            "state".into(),
            Stop::default(),
        )
    }

    /// A folder that goes when it is dropped.
    struct Temp(PathBuf);

    impl Temp {
        fn new(name: &str) -> Temp {
            let folder =
                std::env::temp_dir().join(format!("etl-part-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).expect("a temporary folder");
            Temp(folder)
        }

        fn names(&self) -> Vec<OsString> {
            let entries = std::fs::read_dir(&self.0).expect("it is there");
            let mut names: Vec<_> = entries
                .map(|entry| entry.expect("it can be read").file_name())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Temp {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn only_parts_whose_run_has_ended_are_cleared_away() {
        let folder = Temp::new("clear");
        let target = folder.0.join("out.csv");
        let [dead, alive, folder_of_dead] = RUNS.map(|run| beside(&target, run, PART));
        File::create(&dead).expect("creates");
        // Killed between making a folder and locking it.
        std::fs::create_dir(&folder_of_dead).expect("creates");
        let held = File::create(&alive).expect("creates");
        held.try_lock().expect("nobody else has it");
        // Of others: a browser's, copies, a name of the old form, a mark that is another target's, a link.
        let mut others = [
            "out.csv.part".to_owned(),
            "out.csv.2024-backup.part".into(),
            "out.csv.bak".into(),
            format!("out.csv.{}.part", RUNS[0]),
            format!("out.csv.{}.0123456789abcdef.part", RUNS[0]),
            format!("out.csv.{}.old", RUNS[0]),
        ]
        .map(OsString::from)
        .to_vec();
        let elsewhere = beside(Path::new("other.csv"), RUNS[0], PART);
        let elsewhere = elsewhere
            .to_str()
            .expect("it is UTF-8")
            .replace("other", "out");
        others.push(elsewhere.into());
        for other in &others {
            File::create(folder.0.join(other)).expect("creates");
        }
        let kept = beside(&target, RUNS[0], KEPT);
        File::create(&kept).expect("creates");
        others.push(kept.file_name().expect("a name").to_owned());
        let link = beside(&target, "20260101T000000-0003", PART);
        std::os::unix::fs::symlink(folder.0.join("out.csv.bak"), &link).expect("creates");
        others.extend([&alive, &link].map(|path| path.file_name().expect("a name").to_owned()));
        others.sort();
        assert_eq!(clear(&target, None).as_deref(), alive.file_name());
        assert_eq!(folder.names(), others);
        assert_eq!(clear(&target, Some(&alive)), None);
    }

    #[test]
    fn a_long_name_is_cut_and_found_again() {
        let target = Path::new("x").join("ü".repeat(125));
        for kind in [PART, OLD, KEPT] {
            let part = beside(&target, RUNS[0], kind);
            let name = part.file_name().expect("it has one");
            assert!((254..=255).contains(&name.len()), "{}", name.len());
            assert!(name.to_str().is_some(), "no character is cut");
            assert_eq!(kind_of(name, &target), Some((kind, RUNS[0])));
            let other = Path::new("x").join("ü".repeat(124));
            assert_eq!(kind_of(name, &other), None, "it is of one target only");
        }
        let odd = Path::new(OsStr::from_bytes(b"\xff\xfe.csv"));
        let part = beside(odd, RUNS[0], PART);
        assert_eq!(
            kind_of(part.file_name().expect("it has one"), odd),
            Some((PART, RUNS[0]))
        );
    }

    #[test]
    fn of_two_runs_with_one_target_one_goes_on() {
        let folder = Temp::new("two");
        let target = folder.0.join("out.csv");
        let make = |path: &Path| File::create_new(path);
        for (first, second) in [(RUNS[0], RUNS[1]), (RUNS[1], RUNS[0])] {
            let part = PartialFile::create(&target, &run(first), make).expect("the first");
            let other = PartialFile::create(&target, &run(second), make);
            let error = other.err().expect("the second gives way");
            assert!(error.message.contains("another run"), "{}", error.message);
            assert_eq!(folder.names().len(), 1);
            let same = PartialFile::create(&target, &run(first), make);
            assert!(same.is_err(), "another stage of the same run");
            drop(part);
            assert!(folder.names().is_empty());
        }
        // Any number at the same moment.
        for _ in 0..5 {
            let barrier = std::sync::Barrier::new(RUNS.len());
            let parts: Vec<_> = std::thread::scope(|scope| {
                let threads = RUNS.map(|id| {
                    let (barrier, target) = (&barrier, &target);
                    scope.spawn(move || {
                        barrier.wait();
                        PartialFile::create(target, &run(id), make)
                    })
                });
                threads
                    .map(|thread| thread.join().expect("no panic"))
                    .into()
            });
            assert_eq!(parts.iter().filter(|part| part.is_ok()).count(), 1);
        }
    }

    #[test]
    fn a_folder_that_was_put_aside_is_found_and_put_back() {
        let folder = Temp::new("aside");
        let target = folder.0.join("index");
        let old = beside(&target, RUNS[0], OLD);
        std::fs::create_dir(&old).expect("creates");
        std::fs::write(old.join("file"), "old").expect("creates");
        assert_eq!(standing(&target), old);
        // Somebody made the empty folder meanwhile.
        std::fs::create_dir(&target).expect("creates");
        assert_eq!(clear(&target, None), None);
        assert_eq!(standing(&target), target);
        assert_eq!(folder.names(), ["index"]);
        assert!(target.join("file").is_file());
        // The new one is in its place: the old one goes.
        std::fs::create_dir(&old).expect("creates");
        assert_eq!(clear(&target, None), None);
        assert_eq!(folder.names(), ["index"]);
    }
}
