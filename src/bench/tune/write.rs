//! Puts a setting into a pipeline file, and leaves everything else in it as it was: order, comments,
//! blanks. The only home of `toml_edit`.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use toml_edit::{DocumentMut, Item, Key, Table, Value};

use super::Unit;
use super::curve::Setting;
use crate::disk;
use crate::error::{Error, Result};
use crate::executor::Kind;
use crate::pipeline::{self, Overrides, Step};

/// What is written of a setting.
pub struct Change<'a> {
    /// In which stage.
    pub stage: &'a str,
    /// What it is to be.
    pub setting: Setting,
    /// What its batches are counted in.
    pub unit: Option<&'a Unit>,
}

/// Writes a change into the file `path`; the lines that changed, ` ` before one that did not, `-` and `+`
/// before others. None: it says so already.
pub fn write(path: &Path, change: &Change) -> Result<Vec<String>> {
    let path = disk::follow(path.to_owned());
    let old = std::fs::read_to_string(&path)
        .map_err(|error| Error::io("read pipeline file", path.display(), &error))?;
    let new = changed(&path, &old, change)?;
    if new == old {
        return Ok(Vec::new());
    }
    replace(&path, &new).map_err(|error| Error::io("write", path.display(), &error))?;
    Ok(difference(&old, &new))
}

/// Whole or not at all, with the permissions it had.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = Path::new(&part);
    let written = (|| {
        let mut file = File::create_new(part)?;
        file.set_permissions(std::fs::metadata(path)?.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(part, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(part);
    }
    written
}

/// The text with the change in it, proved by loading it.
fn changed(path: &Path, old: &str, change: &Change) -> Result<String> {
    let load = |text: &str| -> Result<Step> {
        let pipeline = pipeline::parse(path, text, &Overrides::default())?;
        let step = pipeline
            .steps
            .into_iter()
            .find(|step| step.name == change.stage);
        step.ok_or_else(|| Error::failed("the file has no such stage any more").stage(change.stage))
    };
    let step = load(old)?;
    let grid = (step.grid != change.setting.grid).then_some(change.setting.grid.kind);
    let batch = change
        .setting
        .batch
        .filter(|&batch| batch != step.rows_max());
    if grid.is_none() && batch.is_none() {
        return Ok(old.to_owned());
    }
    let mut document: DocumentMut = old
        .parse()
        .map_err(|error| Error::failed("the file cannot be edited").cause(error))?;
    let tables = document
        .get_mut("stage")
        .and_then(Item::as_array_of_tables_mut);
    let named = |table: &&mut Table| table.get("name").and_then(Item::as_str) == Some(change.stage);
    let Some(table) = tables.and_then(|tables| tables.iter_mut().find(named)) else {
        return Err(
            Error::failed("it does not stand in the file as `[[stage]]` with its `name`")
                .stage(change.stage)
                .hint("write the knee there by hand"),
        );
    };
    let mut lines = Lines::of(table);
    if let Some(kind) = grid {
        lines.set_grid(kind, change.setting);
    }
    if let (Some(batch), Some(unit)) = (batch, change.unit) {
        lines.set(unit.name, integer(batch), "inputs");
    }
    lines.put(table);
    let mut new = document.to_string();
    if old.contains("\r\n") {
        new = new.replace("\r\n", "\n").replace('\n', "\r\n");
    }
    let step = load(&new)?;
    let batch = change.setting.batch.unwrap_or_else(|| step.rows_max());
    if step.grid != change.setting.grid || step.rows_max() != batch {
        return Err(Error::failed(
            "the changed file would not run as it should: it was left as it is",
        )
        .stage(change.stage)
        .hint("write the knee there by hand"));
    }
    Ok(new)
}

fn integer(number: usize) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

/// The keys of a table in their order, taken out to be changed.
struct Lines(Vec<(Key, Item)>);

impl Lines {
    fn of(table: &mut Table) -> Lines {
        let names: Vec<String> = table.iter().map(|(name, _)| name.to_owned()).collect();
        let entries = names.iter().filter_map(|name| table.remove_entry(name));
        Lines(entries.collect())
    }

    fn put(self, table: &mut Table) {
        for (key, item) in self.0 {
            table.insert_formatted(&key, item);
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(key, _)| key.get() == name)
    }

    /// Says where the stage is run, in as few words as there are. A written `parallel = false` wins over
    /// all others, which stay for the day it is turned on again.
    fn set_grid(&mut self, kind: Kind, setting: Setting) {
        if kind == Kind::Sequential {
            self.set("parallel", false.into(), "inputs");
            return;
        }
        let (processes, threads) = (setting.grid.processes, setting.grid.threads);
        if self.find("parallel").is_some() {
            self.set("parallel", true.into(), "inputs");
        }
        let named = self.find("executor").is_some();
        if kind == Kind::Threads && !named {
            self.set("parallel", true.into(), "inputs");
        } else {
            let after = if self.find("parallel").is_some() {
                "parallel"
            } else {
                "inputs"
            };
            self.set("executor", kind.as_str().into(), after);
        }
        let after = if self.find("executor").is_some() {
            "executor"
        } else {
            "parallel"
        };
        if kind == Kind::Hybrid {
            self.rename("workers", "processes");
            self.set("processes", integer(processes), after);
            self.set("threads", integer(threads), "processes");
        } else {
            self.rename("processes", "workers");
            self.rename("threads", "workers");
            self.set("workers", integer(processes * threads), after);
        }
    }

    /// Writes a value: where the key stands, else after the key `after`, else after `kind`.
    fn set(&mut self, name: &str, value: Value, after: &str) {
        if let Some(at) = self.find(name) {
            if let Some(old) = self.0[at].1.as_value_mut() {
                let decor = old.decor().clone();
                *old = value;
                *old.decor_mut() = decor;
                return;
            }
            self.0[at].1 = Item::Value(value);
            return;
        }
        let behind = self.find(after).or_else(|| self.find("kind"));
        let behind = behind.or_else(|| self.find("name")).map_or(0, |at| at + 1);
        self.0.insert(behind, (Key::new(name), Item::Value(value)));
    }

    /// Gives a key another name, its place and comments kept; where that name is there, the key goes and
    /// leaves the comment above it to the next line.
    fn rename(&mut self, from: &str, to: &str) {
        let Some(at) = self.find(from) else { return };
        if self.find(to).is_none() {
            let decor = self.0[at].0.leaf_decor().clone();
            self.0[at].0 = Key::new(to).with_leaf_decor(decor);
            return;
        }
        let (key, _) = self.0.remove(at);
        let comment = key.leaf_decor().prefix().and_then(|prefix| prefix.as_str());
        let comment = comment.unwrap_or_default().to_owned();
        if let Some((next, _)) = self.0.get_mut(at) {
            let decor = next.leaf_decor_mut();
            let own = decor.prefix().and_then(|prefix| prefix.as_str());
            let both = comment + own.unwrap_or_default();
            decor.set_prefix(both);
        }
    }
}

/// Both texts line by line between what they begin and end with alike.
fn difference(old: &str, new: &str) -> Vec<String> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // How many lines the rests have in common, from each pair of lines on.
    let mut common = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = if old[i] == new[j] {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || common[i + 1][j] >= common[i][j + 1]) {
            lines.push(format!("-{:>4}  {}", i + 1, old[i]));
            i += 1;
        } else {
            lines.push(format!("+{:>4}  {}", j + 1, new[j]));
            j += 1;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tune::search::grid;
    use crate::executor::Grid;

    const BATCH: Unit = Unit {
        name: "batch_rows",
        own: false,
    };

    fn after(text: &str, grid: Grid, batch: Option<usize>) -> Result<String> {
        let change = Change {
            stage: "dates",
            setting: Setting { grid, batch },
            unit: Some(&BATCH),
        };
        changed(Path::new("p.toml"), text, &change)
    }

    /// A pipeline whose stage `dates` says `lines` about where it is run.
    fn file(lines: &str) -> String {
        format!(
            "# The dates.\nname = \"p\" # as it is\n\n[[stage]]\nname = \"rows\"\nkind = \"load_csv\"\nfiles = [ \"a.csv\",\n  \"b.csv\" ] # two\ntypes.n = \"int\"\n\n# what was loaded\n[[stage]]\nname = 'dates'   # by name\nkind = \"normalize_dates\"\ninputs = [\"rows\"]\n{lines}columns = [\"d\"]\n\n[[stage]]\nname = \"out\"\nkind = \"write_files\"\ninputs = [\"dates\"]\nparallel = false\npath = \"out.ndjson\"\n# the end\n"
        )
    }

    #[test]
    fn the_lines_that_say_it_change_and_no_others() {
        let (threads, processes) = (grid(Kind::Threads, 4), grid(Kind::Processes, 4));
        let hybrid = grid(Kind::Hybrid, 8);
        let cases: [(&str, Grid, Option<usize>, &str); 14] = [
            ("", threads, None, "parallel = true\nworkers = 4\n"),
            ("", Grid::SEQUENTIAL, None, ""),
            ("", Grid::SEQUENTIAL, Some(500), "batch_rows = 500\n"),
            (
                "parallel = true # one word\n",
                threads,
                None,
                "parallel = true # one word\nworkers = 4\n",
            ),
            (
                "# why\nparallel = true\nworkers = 3 # tried\n",
                Grid::SEQUENTIAL,
                None,
                "# why\nparallel = false\nworkers = 3 # tried\n",
            ),
            (
                "parallel = false\nexecutor = \"processes\"  # once\nworkers   =   2\n",
                processes,
                None,
                "parallel = true\nexecutor = \"processes\"  # once\nworkers   =   4\n",
            ),
            (
                "executor = \"processes\"\nworkers = 2\n",
                threads,
                None,
                "executor = \"threads\"\nworkers = 4\n",
            ),
            (
                "parallel = true\n",
                processes,
                None,
                "parallel = true\nexecutor = \"processes\"\nworkers = 4\n",
            ),
            (
                "executor = \"hybrid\"\n# many\nprocesses = 3 # p\n# few\nthreads = 3\n",
                threads,
                None,
                "executor = \"threads\"\n# many\nworkers = 4 # p\n# few\n",
            ),
            (
                "executor = \"threads\"\n# as many\nworkers = 3 # w\n",
                hybrid,
                None,
                "executor = \"hybrid\"\n# as many\nprocesses = 2 # w\nthreads = 4\n",
            ),
            (
                "",
                hybrid,
                None,
                "executor = \"hybrid\"\nprocesses = 2\nthreads = 4\n",
            ),
            (
                "executor = \"sequential\"\n",
                threads,
                Some(500),
                "batch_rows = 500\nexecutor = \"threads\"\nworkers = 4\n",
            ),
            (
                "batch_rows = 100 # rows\nparallel = false\n",
                threads,
                Some(500),
                "batch_rows = 500 # rows\nparallel = true\nworkers = 4\n",
            ),
            (
                "parallel = true\nworkers = 4\nbatch_rows = 500\n",
                threads,
                Some(500),
                "parallel = true\nworkers = 4\nbatch_rows = 500\n",
            ),
        ];
        for (lines, setting, batch, expected) in cases {
            let new = after(&file(lines), setting, batch).expect("the file can be changed");
            assert_eq!(new, file(expected), "from {lines:?}");
            // As on another system.
            let crlf = file(lines).replace('\n', "\r\n");
            let new = after(&crlf, setting, batch).expect("the file can be changed");
            assert_eq!(new, file(expected).replace('\n', "\r\n"), "from {lines:?}");
        }
    }

    #[test]
    fn a_stage_that_is_no_table_of_its_own_is_left_to_its_author() {
        let inline = "stage = [{ name = \"dates\", kind = \"load_csv\", files = [\"a.csv\"] }]\n";
        let error = after(inline, grid(Kind::Threads, 2), None).expect_err("it cannot");
        assert!(error.message.contains("[[stage]]"), "{}", error.message);
        let gone = file("")
            .replace("'dates'", "'days'")
            .replace("\"dates\"", "\"days\"");
        let error = after(&gone, grid(Kind::Threads, 2), None).expect_err("it cannot");
        assert!(error.message.contains("no such stage"), "{}", error.message);
    }

    #[test]
    fn the_lines_that_changed_are_told() {
        let old = "a\nb\nc\nd\n";
        let new = "a\nB\nc\nd\ne\n";
        assert_eq!(difference(old, new), ["-   2  b", "+   2  B", "+   5  e"]);
        assert!(difference(old, old).is_empty());
    }
}
