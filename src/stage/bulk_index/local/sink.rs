//! Loading the embedded index, a tantivy index in a folder. The session, which may run anywhere, turns
//! rows into ids, document texts and values of the fields' types; the sink, in the parent and in input
//! order, feeds them to tantivy's writer. A new index is built in a folder beside its own and put in
//! place whole; rows for an index that is there are committed at once or not at all.

use std::collections::HashSet;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tantivy::directory::DirectoryLock;
use tantivy::indexer::IndexWriterOptions;
use tantivy::query::TermSetQuery;
use tantivy::schema::Field;
use tantivy::{Index, IndexWriter, TantivyError, Term};

use super::super::{Least, Mode};
use super::document::{ID, Plan, Row, Rows};
use super::files;
use super::mapping::Mapping;
use super::members;
use super::opening::{
    count_docs, create, failed, fits, is_index, is_vacant, lock, once_free, open, reader, real,
};
use super::replaced;
use super::seen::Seen;
use crate::batch::Batch;
use crate::columns::Column;
use crate::disk::{self, Held, Hold};
use crate::error::{Error, Result};
use crate::schema::Schema;
use crate::stage::aside::Aside;
use crate::stage::partial_file::{self, PartialFile};
use crate::stage::{Counts, Run, Sink, warn_published};
use crate::threads;

/// What one indexing thread gathers before it writes a segment: some 50,000 donors documents. At half
/// of it a load costs a third more, as segments must be merged; at twice it gains nothing.
const THREAD_BYTES: usize = 128 << 20;
/// What all of them gather, so that many cores do not take all the memory.
const HEAP_BYTES: usize = 512 << 20;
/// Tantivy takes no more indexing threads.
const THREADS_MAX: usize = 8;

/// How long a run that was interrupted waits for the writer to take back what it wrote. A segment that it is
/// writing takes seconds; what it leaves then, the next run removes, as after a kill.
const TAKING_BACK: Duration = Duration::from_millis(300);

/// Where the rows end: the writer of an index, and what makes its work visible.
pub(super) struct LocalSink {
    /// The index's folder as it will be read.
    dir: PathBuf,
    place: Place,
    index: Index,
    /// `None` once all is written.
    writer: Option<Aside<Option<IndexWriter<Row>>>>,
    plan: Arc<Plan>,
    id: Field,
    /// Whether batches hold ids; otherwise rows are numbered.
    with_ids: bool,
    run: String,
    rows: u64,
    docs_before: u64,
    seen: Seen,
    published: bool,
    /// With `replace`: how many documents there must be, and how many replaced indices are kept.
    replacing: Option<(Least, usize)>,
    warnings: Vec<String>,
}

/// Where the index is written.
enum Place {
    /// Beside its folder, to be put there when done.
    Beside {
        part: PartialFile,
        /// Held where an index is replaced: no other run may write to what will be deleted.
        replaced: Option<Replaced>,
    },
    /// In its folder, where all before the last commit stays as it is. The folder is held: no other run may
    /// put a new index in its place.
    Within { _folder: Option<Held> },
}

/// What holds an index that will be deleted.
struct Replaced {
    /// Against runs that replace it.
    _folder: Option<Held>,
    /// Against runs that add to it.
    _writer: DirectoryLock,
}

/// Opens the sink of a load into `dir`, and says which mapping holds.
pub(super) fn begin(
    run: &Run,
    dir: &Path,
    load: Mode,
    mapping: Option<Mapping>,
    input: &Schema,
    with_ids: bool,
) -> Result<(LocalSink, Mapping)> {
    let dir = real(dir);
    let warnings = replaced::rescue(&dir)?;
    if partial_file::clear(&dir, None).is_some() {
        return Err(partial_file::busy(&dir));
    }
    // Before anything is read there: what is read must be what is written to.
    let folder = match disk::hold(&dir) {
        Hold::Held(folder) => Some(folder),
        Hold::Busy => return Err(partial_file::busy(&dir)),
        Hold::Gone | Hold::NoLocks(_) => None,
    };
    let vacant = is_vacant(&dir)?;
    if let Some(stored) = fits(&dir, load, mapping.as_ref())? {
        let index = open(&dir)?;
        let searcher = reader(&index, &dir)?.searcher();
        members::refuse_mixed(&dir, &searcher, &stored, mapping.as_ref(), input)?;
        let place = Place::Within { _folder: folder };
        let mut sink = LocalSink::new(run, dir, place, index, &stored, input, with_ids)?;
        sink.warnings = warnings;
        sink.remove_left()?;
        return Ok((sink, stored));
    }
    let replaced = if vacant {
        None
    } else {
        Some(Replaced {
            _folder: folder,
            _writer: lock(&dir)?,
        })
    };
    let mapping = mapping.unwrap_or_else(Mapping::empty).completed(input);
    let part = make_part(&dir, run)?;
    let index = create(&part.path, &mapping, &run.id)?;
    let place = Place::Beside { part, replaced };
    let mut sink = LocalSink::new(run, dir, place, index, &mapping, input, with_ids)?;
    sink.warnings = warnings;
    Ok((sink, mapping))
}

/// A new folder beside `dir`, as open to others as what it replaces.
fn make_part(dir: &Path, run: &Run) -> Result<PartialFile> {
    let above = disk::parent(dir);
    disk::create_folders(above, disk::SHARED_FOLDER)
        .map_err(|error| Error::io("create the folder", above.display(), &error))?;
    let replaced = std::fs::metadata(dir).map(|found| found.permissions()).ok();
    let mode = replaced
        .as_ref()
        .map_or(disk::SHARED_FOLDER, |replaced| replaced.mode() & 0o777);
    PartialFile::create(dir, run, |path| {
        DirBuilder::new().mode(mode).create(path)?;
        let folder = File::open(path)?;
        if let Some(replaced) = &replaced {
            // The umask may have left less. Where that cannot be, it is the content that counts.
            let _ = folder.set_permissions(replaced.clone());
        }
        Ok(folder)
    })
}

impl LocalSink {
    fn new(
        run: &Run,
        dir: PathBuf,
        place: Place,
        index: Index,
        mapping: &Mapping,
        input: &Schema,
        with_ids: bool,
    ) -> Result<Self> {
        let plan = Arc::new(Plan::new(&index.schema(), mapping, input)?);
        let id = index
            .schema()
            .get_field(ID)
            .map_err(|error| failed("read", &dir, &error))?;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = cores.min(THREADS_MAX);
        let heap = THREAD_BYTES.min(HEAP_BYTES / threads);
        // Those that index, those that merge, and the two that keep the list of segments.
        threads::room_to_hold(2 * threads + 2, (threads * heap) as u64)?;
        let options = IndexWriterOptions::builder()
            .num_worker_threads(threads)
            .memory_budget_per_thread(heap)
            .num_merge_threads(threads)
            .build();
        let writer = once_free(|| index.writer_with_options(options.clone()));
        let writer = writer.map_err(|error| failed("write to", &dir, &error))?;
        let writer = Aside::start("etl-index", run.stop.clone(), Some(writer))?;
        let docs_before = match place {
            Place::Within { .. } => count_docs(&index, &dir)?,
            Place::Beside { .. } => 0,
        };
        Ok(LocalSink {
            dir,
            place,
            index,
            writer: Some(writer),
            plan,
            id,
            with_ids,
            run: run.id.clone(),
            rows: 0,
            docs_before,
            seen: Seen::new(docs_before > 0),
            published: false,
            replacing: None,
            warnings: Vec::new(),
        })
    }

    /// Removes what an append left that was killed: files that are not whole, and segments that were not committed.
    /// The writer is ours, so that nobody else needs them.
    fn remove_left(&self) -> Result<()> {
        files::remove_temporary(&self.dir)
            .map_err(|error| Error::io("clean", self.dir.display(), &error))?;
        self.write("clean", |writer| {
            writer.garbage_collect_files().wait().map(drop)
        })
    }

    /// Says what the new index of a load that replaces must hold, and how many replaced ones are kept.
    pub(super) fn replaces(&mut self, least: Least, keep: usize) {
        self.replacing = Some((least, keep));
    }

    /// The new index holds enough to replace the one that is there.
    fn refuse_too_few(&mut self) -> Result<()> {
        let Some((least, _)) = self.replacing else {
            return Ok(());
        };
        let new = count_docs(&self.index, &self.dir)?;
        if !is_index(&self.dir) {
            return least.check(new, None);
        }
        let old = open(&self.dir).and_then(|old| count_docs(&old, &self.dir));
        if let Err(error) = &old {
            self.warnings.push(format!(
                "the documents of the index in `{}` cannot be counted ({}): `min_share` was not looked at",
                self.dir.display(),
                error.render().trim()
            ));
        }
        least.check(new, old.ok())
    }

    /// How many documents the index has before the load.
    pub(super) fn docs_before(&self) -> u64 {
        self.docs_before
    }

    fn failed(&self, doing: &str, error: &TantivyError) -> Error {
        failed(doing, &self.dir, error)
    }

    /// Does what may take long with the writer.
    fn write<R: Send + 'static>(
        &self,
        doing: &str,
        job: impl FnOnce(&mut IndexWriter<Row>) -> tantivy::Result<R> + Send + 'static,
    ) -> Result<R> {
        let writer = self.writer.as_ref().ok_or_else(finished)?;
        let done = writer.run(|writer| job(writer.as_mut().expect("it is kept until the end")))?;
        done.map_err(|error| self.failed(doing, &error))
    }

    /// Ids for rows that bring none.
    fn numbered(&self, rows: usize) -> Column {
        let numbers = (self.rows..).take(rows);
        Column::from_strings(numbers.map(|row| Some(format!("{}-{row}", self.run))))
    }
}

/// Waits until the writer has merged its segments.
fn merge(writer: &mut Option<IndexWriter<Row>>) -> tantivy::Result<()> {
    writer
        .take()
        .map_or(Ok(()), IndexWriter::wait_merging_threads)
}

fn finished() -> Error {
    Error::failed("the index is finished")
}

impl Sink for LocalSink {
    fn push(&mut self, batch: Batch) -> Result<()> {
        let rows = batch.rows();
        let mut columns = batch.plain();
        if !self.with_ids {
            columns.insert(0, self.numbered(rows));
        }
        self.rows += rows as u64;
        let rows_of = Arc::new(Rows {
            columns,
            plan: self.plan.clone(),
        });
        let ids = rows_of.columns[0].strings();
        // Of rows with one id the last wins: in a batch the others are left out; what came with an
        // earlier one is deleted, which tantivy does before it adds what follows.
        let mut last = vec![false; rows];
        let mut later: HashSet<&str> = HashSet::with_capacity(rows);
        let mut old = Vec::new();
        for row in (0..rows).rev() {
            let id = ids.value(row);
            last[row] = later.insert(id);
            if last[row] && self.seen.add(id) {
                old.push(Term::from_field_text(self.id, id));
            }
        }
        self.write("write to", move |writer| {
            if !old.is_empty() {
                writer.delete_query(Box::new(TermSetQuery::new(old)))?;
            }
            for row in (0..rows).filter(|&row| last[row]) {
                let rows = rows_of.clone();
                writer.add_document(Row { rows, row }).map_err(|error| {
                    // It only says that it takes no more: why (a disk is full, say), the thread that
                    // failed says when it is joined.
                    writer.prepare_commit().err().unwrap_or(error)
                })?;
            }
            Ok(())
        })
    }

    fn finish(&mut self) -> Result<Counts> {
        self.write("write to", |writer| writer.prepare_commit().map(drop))?;
        if let Place::Beside { .. } = self.place {
            // No one sees it yet, so that all can be done here, and publishing is a rename.
            self.write("write to", IndexWriter::commit)?;
            let writer = self.writer.take().ok_or_else(finished)?;
            let merged = writer.run(merge)?;
            merged.map_err(|error| self.failed("write to", &error))?;
            self.refuse_too_few()?;
            if let Place::Beside { part, .. } = &self.place {
                files::open_to_readers(&part.path)
                    .map_err(|error| Error::io("write", part.path.display(), &error))?;
                part.sync()
                    .map_err(|error| Error::io("write", part.path.display(), &error))?;
            }
        }
        Ok(Counts::default())
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }

    fn publish(mut self: Box<Self>, warnings: &mut Vec<String>) -> Result<Counts> {
        // All is visible then: what fails later is no failure of the load.
        let mut warn = |done: Result<()>, next: &str| warn_published(warnings, done, next);
        let docs = match &mut self.place {
            Place::Within { .. } => {
                let writer = self.writer.take().ok_or_else(finished)?;
                let committed = writer.run_to_end(|writer| {
                    let writer = writer.as_mut().expect("it is kept until the end");
                    writer.commit()
                })?;
                committed.map_err(|error| failed("commit to", &self.dir, &error))?;
                self.published = true;
                // Tantivy brings its files to disk, but not the name of the newest.
                let synced = disk::sync_folder(&self.dir);
                let fault = |error| Error::io("write", self.dir.display(), &error);
                warn(synced.map_err(fault), partial_file::UNSYNCED);
                // All is there: a run that is to stop now leaves the merging to the next.
                if let Ok(merged) = writer.run(merge) {
                    let merged =
                        merged.map_err(|error| failed("merge segments of", &self.dir, &error));
                    warn(merged, "the next load merges them");
                }
                let opened = files::open_to_readers(&self.dir);
                warn(
                    opened.map_err(fault),
                    "other users may not be able to search it",
                );
                count_docs(&self.index, &self.dir)
            }
            Place::Beside { part, replaced } => {
                let docs = count_docs(&self.index, &self.dir)?;
                let put = match replaced {
                    Some(_) => part.exchange(),
                    None => part.publish(),
                };
                let placed = put.map_err(|error| {
                    Error::io("put the index in place as", self.dir.display(), &error)
                })?;
                self.published = true;
                let fault = |error| Error::io("write", self.dir.display(), &error);
                warn(placed.map_err(fault), partial_file::UNSYNCED);
                if replaced.is_some() {
                    let keep = self.replacing.map_or(0, |(_, keep)| keep);
                    for error in replaced::keep(&part.path, &self.dir, &self.run, keep) {
                        warn(
                            Err(error),
                            "remove it yourself: each load leaves another one",
                        );
                    }
                }
                // Not before: who waits for it must not find what is being removed.
                *replaced = None;
                Ok(docs)
            }
        };
        let docs = match docs {
            Ok(docs) => docs,
            Err(error) => {
                warn(Err(error), "its documents are not counted");
                return Ok(Counts::default());
            }
        };
        let created = docs.saturating_sub(self.docs_before);
        Ok(Counts::from([
            ("created".to_owned(), created),
            ("updated".to_owned(), self.rows.saturating_sub(created)),
        ]))
    }
}

impl Drop for LocalSink {
    /// Takes back what was not published. The files in question are of no use to anyone, so that a
    /// failure to remove them is not worth hiding the error that led here.
    fn drop(&mut self) {
        if self.published {
            return;
        }
        match (&self.place, self.writer.take()) {
            // The part removes itself, once nobody writes to it.
            (Place::Beside { .. }, Some(writer)) => writer.end(TAKING_BACK),
            (Place::Within { .. }, Some(writer)) => {
                let taken_back = writer.run_soon(TAKING_BACK, |writer| {
                    let writer = writer.as_mut().expect("it is kept until the end");
                    if writer.rollback().is_ok() {
                        let _ = writer.garbage_collect_files().wait();
                    }
                });
                if taken_back.is_ok() {
                    writer.end(TAKING_BACK);
                }
            }
            (_, None) => {}
        }
    }
}
