//! `write_files`: rows into one file, published by a rename when the whole run has ended well.
//! Rendering is dealt out; what was rendered is written in order.

use std::fs::{File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::direct::Direct;
use super::{
    Begun, Counts, Distribution, Folder, Look, OptionDoc, Output, Run, Session, Setup, Sink, Stage,
    StageKind, options,
    part::{self, Part},
};
use crate::batch::Batch;
use crate::columns::Column;
use crate::disk;
use crate::error::{Class, Error, Result};
use crate::format::json::Nulls;
use crate::format::{arrow, csv, gzip, json};
use crate::schema::Schema;

/// The kind.
pub static KIND: StageKind = StageKind {
    name: "write_files",
    summary: "writes rows to a file as NDJSON, CSV or Arrow",
    inputs: &[1],
    sink: true,
    takes_batch_rows: true,
    options: &[
        OptionDoc {
            name: "path",
            ty: "path",
            default: None,
            doc: "what to write; `-` is standard output; replaced only when the run has ended well",
        },
        OptionDoc {
            name: "format",
            ty: "`ndjson`, `csv`, `arrow`",
            default: Some("by extension"),
            doc: "`.gz` behind the extension adds gzip",
        },
        OptionDoc {
            name: "nulls",
            ty: "`omit`, `null`",
            default: Some("omit"),
            doc: "null members of NDJSON documents",
        },
    ],
    shared_options: &[],
    example: r#"[[stage]]
name = "write"
kind = "write_files"
inputs = ["documents"]
path = "documents.ndjson.gz"
"#,
    decode: |table| Ok(Box::new(WriteFiles::decode(table)?)),
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    path: String,
    format: Option<Format>,
    #[serde(default)]
    nulls: Nulls,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Format {
    Ndjson,
    Csv,
    Arrow,
}

struct WriteFiles {
    path: String,
    format: Format,
    gzip: bool,
    nulls: Nulls,
}

impl WriteFiles {
    fn decode(table: toml::Table) -> Result<Self> {
        let given: Options = options(table)?;
        if given.path.is_empty() || given.path.ends_with(['/', '.']) {
            return Err(Error::usage(format!(
                "`path` = `{}` names no file",
                given.path
            )));
        }
        let gzip = has_extension(&given.path, "gz");
        let stem = if gzip {
            &given.path[..given.path.len() - 3]
        } else {
            given.path.as_str()
        };
        let by_extension = match Path::new(stem)
            .extension()
            .and_then(|extension| extension.to_str())
        {
            Some("ndjson" | "jsonl" | "json") => Some(Format::Ndjson),
            Some("csv") => Some(Format::Csv),
            Some("arrow" | "ipc" | "feather") => Some(Format::Arrow),
            _ => None,
        };
        let format = given.format.or(by_extension).ok_or_else(|| {
            Error::usage(format!(
                "`path` = `{}` does not say which `format` to write",
                given.path
            ))
            .hint("end it in `.ndjson`, `.csv` or `.arrow`, or give `format`")
        })?;
        Ok(WriteFiles {
            path: given.path,
            format,
            gzip,
            nulls: given.nulls,
        })
    }
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

impl Stage for WriteFiles {
    fn inputs(&self) -> Vec<Distribution> {
        vec![Distribution::Any]
    }

    fn schema(&self, inputs: &[Schema], _folder: &Folder) -> Result<Schema> {
        Ok(inputs[0].clone())
    }

    fn look(&self, folder: &Folder) -> Vec<Look> {
        if is_stdout(&self.path) {
            return Vec::new();
        }
        let path = follow(folder.resolve(&self.path));
        let found = match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => Err(is_directory(&path)),
            Ok(found) if !found.is_file() => Ok("is written directly".into()),
            Ok(_) => part::place(&path).map(|()| "is there, and will be replaced".into()),
            Err(_) => part::place(&path).map(|()| "is not there yet, and can be made".into()),
        };
        vec![Look::new(path.display(), found)]
    }

    fn begin(&self, run: &Run, inputs: &[Schema], _batch_rows: usize) -> Result<Begun> {
        let target = Target::open(&self.path, run)?;
        let output = if self.gzip {
            Out::Gzip(Members::new(target))
        } else {
            Out::Plain(target)
        };
        let file: Box<dyn Sink> = match self.format {
            Format::Ndjson => Box::new(TextSink(output)),
            Format::Csv => {
                let mut sink = TextSink(output);
                sink.0.write(&csv::write::header(&inputs[0]))?;
                Box::new(sink)
            }
            Format::Arrow => Box::new(ArrowSink::new(output, &inputs[0])?),
        };
        Ok(Begun {
            sink: Some(file),
            ..Begun::default()
        })
    }

    fn open(&self, setup: Setup) -> Result<Box<dyn Session>> {
        let schema = setup.inputs.into_iter().next().unwrap_or_default();
        Ok(match self.format {
            Format::Ndjson => Box::new(Documents(json::Writer::new(&schema, self.nulls))),
            Format::Csv => Box::new(Lines(schema)),
            Format::Arrow => Box::new(AsItIs),
        })
    }
}

struct Documents(json::Writer);
struct Lines(Schema);
struct AsItIs;

impl Session for Documents {
    fn run(&self, batch: Batch) -> Result<Output> {
        let text = self.0.lines(&batch);
        Ok(rendered(&batch, text))
    }
}

impl Session for Lines {
    fn run(&self, batch: Batch) -> Result<Output> {
        let text = csv::write::lines(&self.0, &batch);
        Ok(rendered(&batch, text))
    }
}

impl Session for AsItIs {
    fn run(&self, batch: Batch) -> Result<Output> {
        Ok(Output::new(batch.resolve()))
    }
}

/// What the sink gets: the text of all rows in one cell.
fn rendered(batch: &Batch, text: Vec<u8>) -> Output {
    let mut output = Output::new(Batch::new(vec![Column::from_cells(vec![text.into()])], 1));
    output.rows_out = Some(batch.rows() as u64);
    output
}

/// The file while it is written; dropped without being published, it is gone.
struct Target {
    writer: Option<BufWriter<Box<dyn Write + Send>>>,
    /// Where it is written; none where it is written directly.
    part: Option<Part>,
    shown: String,
}

impl Target {
    fn open(path: &str, run: &Run) -> Result<Target> {
        let direct = |writer: Box<dyn Write + Send>, shown: String| Target {
            writer: Some(buffered(writer)),
            part: None,
            shown,
        };
        if is_stdout(path) {
            let shown = "standard output";
            let stdout = Direct::open(shown, run.stop.clone(), || Ok(std::io::stdout()))?;
            return Ok(direct(Box::new(stdout), shown.into()));
        }
        let path = follow(run.folder.resolve(path));
        let shown = path.display().to_string();
        if path.is_dir() {
            return Err(is_directory(&path));
        }
        if std::fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
            let open = move || File::options().write(true).open(&path);
            let file = Direct::open(&shown, run.stop.clone(), open)?;
            return Ok(direct(Box::new(file), shown));
        }
        let folder = disk::parent(&path);
        disk::create_folders(folder, disk::SHARED_FOLDER)
            .map_err(|error| Error::io("create the folder", folder.display(), &error))?;
        let replaced = std::fs::metadata(&path).map(|found| found.permissions());
        let part = Part::create(&path, run, |part| {
            private_until(replaced.as_ref().ok(), part)
        })?;
        let file = part
            .writer()
            .map_err(|error| Error::io("write", &shown, &error))?;
        Ok(Target {
            writer: Some(buffered(Box::new(file))),
            part: Some(part),
            shown,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let result = self
            .writer
            .as_mut()
            .map_or(Ok(()), |writer| writer.write_all(bytes));
        result.map_err(|error| self.error(&error))
    }

    fn flush(&mut self) -> Result<()> {
        let result = self.writer.as_mut().map_or(Ok(()), Write::flush);
        result.map_err(|error| self.error(&error))
    }

    fn error(&self, error: &std::io::Error) -> Error {
        if error.kind() == std::io::ErrorKind::BrokenPipe && self.part.is_none() {
            return Error {
                class: Class::ClosedStdout,
                ..Error::failed("nobody reads the output any more")
            };
        }
        let failed = Error::io("write", &self.shown, error);
        if error.kind() == std::io::ErrorKind::StorageFull {
            return failed.hint("make room on that disk, or write elsewhere; nothing was replaced");
        }
        failed
    }

    /// All written, and on disk before it is given its name.
    fn finish(&mut self) -> Result<()> {
        self.flush()?;
        let synced = self.part.as_ref().map_or(Ok(()), Part::sync);
        synced.map_err(|error| self.error(&error))
    }

    fn publish(self) -> Result<()> {
        let published = self.part.as_ref().map_or(Ok(()), Part::publish);
        published.map_err(|error| Error::io("replace", &self.shown, &error))
    }
}

/// A new file that is never more open than the one that it replaces: a private file stays private. A file that
/// replaces none has the mode that the umask leaves.
fn private_until(replaced: Option<&Permissions>, part: &Path) -> std::io::Result<File> {
    let mode = replaced.map_or(0o666, |replaced| replaced.mode() & 0o777);
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(mode).open(part)?;
    if let Some(replaced) = replaced {
        // The umask may have left less. Where that cannot be, it is the content that counts.
        let _ = file.set_permissions(replaced.clone());
    }
    Ok(file)
}

fn is_directory(path: &Path) -> Error {
    Error::failed(format!("`{}` is a directory", path.display())).hint("name a file in it")
}

/// Whether a path means standard output, which keeps the table elsewhere.
pub fn is_stdout(path: &str) -> bool {
    matches!(path, "-" | "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1")
}

/// What a symbolic link stands for, there or not: the link stays, its target is replaced.
pub fn follow(path: PathBuf) -> PathBuf {
    let mut path = path;
    // A chain of links longer than this is a circle: opening it says so.
    for _ in 0..40 {
        let Ok(target) = std::fs::read_link(&path) else {
            break;
        };
        path = path
            .parent()
            .map_or_else(|| target.clone(), |folder| folder.join(&target));
    }
    path
}

/// Large writes go through as they are; small ones are gathered.
fn buffered(writer: Box<dyn Write + Send>) -> BufWriter<Box<dyn Write + Send>> {
    BufWriter::with_capacity(64 << 10, writer)
}

impl Drop for Target {
    fn drop(&mut self) {
        // What is still buffered must not be written now: the file goes.
        if let (Some(_), Some(writer)) = (&self.part, self.writer.take()) {
            let _ = writer.into_parts();
        }
    }
}

/// gzip members of exactly this much text each, so that a file does not depend on how the text came.
const MEMBER_BYTES: usize = 1 << 20;
/// The level that `gzip` itself takes.
const GZIP_LEVEL: u32 = 6;

/// Text on its way into gzip members.
struct Members {
    target: Target,
    text: Vec<u8>,
    count: u64,
}

impl Members {
    fn new(target: Target) -> Self {
        Members {
            target,
            text: Vec::with_capacity(MEMBER_BYTES),
            count: 0,
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while self.text.len() + bytes.len() >= MEMBER_BYTES {
            let (now, later) = bytes.split_at(MEMBER_BYTES - self.text.len());
            self.text.extend_from_slice(now);
            self.member()?;
            bytes = later;
        }
        self.text.extend_from_slice(bytes);
        Ok(())
    }

    fn member(&mut self) -> Result<()> {
        let written = gzip::member(&self.text, GZIP_LEVEL);
        self.text.clear();
        self.count += 1;
        let member = written.map_err(|error| self.target.error(&error))?;
        self.target.write(&member)
    }
}

/// Where rendered text goes.
enum Out {
    Plain(Target),
    Gzip(Members),
}

impl Out {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Out::Plain(target) => target.write(bytes),
            Out::Gzip(members) => members.write(bytes),
        }
    }

    /// All written; a gzip file has at least one member, even an empty one.
    fn finish(&mut self) -> Result<()> {
        match self {
            Out::Plain(target) => target.finish(),
            Out::Gzip(members) => {
                if !members.text.is_empty() || members.count == 0 {
                    members.member()?;
                }
                members.target.finish()
            }
        }
    }

    fn publish(self) -> Result<()> {
        match self {
            Out::Plain(target) => target.publish(),
            Out::Gzip(members) => members.target.publish(),
        }
    }
}

struct TextSink(Out);

impl Sink for TextSink {
    fn push(&mut self, batch: Batch) -> Result<()> {
        self.0.write(&batch.column(0).cell(0))
    }

    fn finish(&mut self) -> Result<Counts> {
        self.0.finish()?;
        Ok(Counts::default())
    }

    fn publish(self: Box<Self>) -> Result<Counts> {
        self.0.publish()?;
        Ok(Counts::default())
    }
}

/// Rows of a record batch, so that a file does not depend on how the rows came.
const RECORD_BATCH_ROWS: usize = 65_536;

/// Gathers rows into record batches of one size.
struct ArrowSink {
    writer: Option<arrow::Writer<ArrowOut>>,
    ended: Option<ArrowOut>,
    waiting: Vec<Batch>,
    waiting_rows: usize,
}

/// An output as a writer, for the Arrow library.
struct ArrowOut(Out);

impl Write for ArrowOut {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes).map_err(|error| {
            std::io::Error::other(error.causes.first().cloned().unwrap_or(error.message))
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl ArrowSink {
    fn new(out: Out, schema: &Schema) -> Result<Self> {
        let writer = arrow::Writer::new(ArrowOut(out), schema)?;
        Ok(ArrowSink {
            writer: Some(writer),
            ended: None,
            waiting: Vec::new(),
            waiting_rows: 0,
        })
    }

    fn write(&mut self, batch: &Batch) -> Result<()> {
        self.writer
            .as_mut()
            .map_or(Ok(()), |writer| writer.write(batch))
    }

    fn gather(&mut self) -> Option<Batch> {
        let waiting = std::mem::take(&mut self.waiting);
        (!waiting.is_empty())
            .then(|| Batch::concat(waiting, || unreachable!("there is at least one")))
    }
}

impl Sink for ArrowSink {
    fn push(&mut self, batch: Batch) -> Result<()> {
        self.waiting_rows += batch.rows();
        self.waiting.push(batch);
        if self.waiting_rows < RECORD_BATCH_ROWS {
            return Ok(());
        }
        let Some(all) = self.gather() else {
            return Ok(());
        };
        let whole = all.rows() / RECORD_BATCH_ROWS * RECORD_BATCH_ROWS;
        for from in (0..whole).step_by(RECORD_BATCH_ROWS) {
            self.write(&all.slice(from, RECORD_BATCH_ROWS))?;
        }
        self.waiting_rows = all.rows() - whole;
        if self.waiting_rows > 0 {
            self.waiting.push(all.slice(whole, self.waiting_rows));
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Counts> {
        if let Some(rest) = self.gather().filter(|rest| rest.rows() > 0) {
            self.write(&rest)?;
        }
        if let Some(writer) = self.writer.take() {
            let mut out = writer.finish()?;
            out.0.finish()?;
            self.ended = Some(out);
        }
        Ok(Counts::default())
    }

    fn publish(mut self: Box<Self>) -> Result<Counts> {
        if let Some(out) = self.ended.take() {
            out.0.publish()?;
        }
        Ok(Counts::default())
    }
}
