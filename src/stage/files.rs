//! What the kinds that read files have in common: which files a stage names, what a look at them finds before a run, and
//! the parts of its source, one a file.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

use super::properties::{ENDPOINT, Properties};
use super::source::{Probe, Source, SourcePart};
use super::{Begun, Folder, Run};
use crate::batch::Batch;
use crate::error::{Class, Error, OfValue, Result};
use crate::place::{self, Endpoint, InputFile, NamedFiles, Place, STDIN, Seen};
use crate::schema::{Field, Schema, Type};
use crate::stop::Stop;

/// What helps where the files of one stage differ.
pub(super) const OTHER_COLUMNS: &str = "one stage reads files of the same columns in the same order: narrow `files` to those that are alike, or read this one in a pipeline of its own, with `select` (`keep`, `rename`) to bring its columns into line";

/// What a look says of a file that opens, where no columns are known that it could be compared with.
pub(super) const UNCOMPARED: &str = "opens; its columns are not compared";

/// The files that a stage names.
#[derive(Debug, Default)]
pub(super) struct Files {
    named: NamedFiles,
    only_new: bool,
    /// The first one, as it was when it was first looked at: what was read of it then is not read again.
    first: Mutex<Option<Seen>>,
}

/// A file of a run, which a part of the source reads.
pub(super) struct RunFile {
    /// Its number in the run.
    pub(super) number: u32,
    pub(super) seen: Seen,
    /// Its size as it lies there.
    pub(super) bytes: u64,
    /// How far the source has read.
    pub(super) bytes_done: Arc<AtomicU64>,
    pub(super) stop: Stop,
}

impl Files {
    /// What the options `files`, `endpoint` and `only_new` say; `index_at_end` names a format that is not read as a stream.
    pub(super) fn new(
        names: &[String],
        endpoint: &str,
        only_new: bool,
        index_at_end: Option<&str>,
    ) -> Result<Files> {
        let stdin = names.iter().filter(|name| *name == STDIN).count();
        if names.is_empty() {
            return Err(Error::usage("`files` is empty")
                .hint("name at least one file or glob")
                .of(["files"]));
        }
        if let (Some(format), 1..) = (index_at_end, stdin) {
            let message = format!(
                "{format} file cannot be read from standard input: its index is at its end"
            );
            return Err(Error::usage(message).of(["files", STDIN]));
        }
        if only_new && stdin > 0 {
            return Err(Error::usage(
                "`only_new` leaves out files by their names, and standard input (`-`) has none",
            )
            .of(["files", STDIN])
            .of(["only_new"]));
        }
        if stdin > 1 {
            return Err(
                Error::usage("`files`: standard input (`-`) can be read only once")
                    .of(["files", STDIN]),
            );
        }
        let endpoint = named_endpoint(endpoint, names)?;
        Ok(Files {
            named: NamedFiles {
                names: names.to_vec(),
                endpoint,
            },
            only_new,
            first: Mutex::default(),
        })
    }

    /// What a stage says of itself that reads them.
    pub(super) fn properties(&self) -> Properties {
        Properties {
            reads: self.named.clone(),
            only_new: self.only_new,
            ..Properties::default()
        }
    }

    /// The first one.
    pub(super) fn first(&self, folder: &Folder, stop: &Stop) -> Result<Place> {
        let mut places = place::expand(&self.named, folder, stop)?;
        Ok(places.swap_remove(0))
    }

    /// Looks at one of them.
    pub(super) fn look(&self, place: &Place) -> Result<(Seen, InputFile)> {
        let (seen, file) = Seen::of(place)?;
        let mut first = self.first.lock();
        let seen = match &*first {
            Some(first) => seen.or_same(first),
            None => first.insert(seen).clone(),
        };
        Ok((seen, file))
    }

    /// An error about one of them, with the item of `files` that names it.
    pub(super) fn about(&self, folder: &Folder, place: &Place, error: Error) -> Error {
        place::of_file(&self.named, folder, place, error)
    }

    /// Looks at each before a run, as `look` does; the first one gives the columns.
    pub(super) fn probe(
        &self,
        folder: &Folder,
        columns: &Result<Schema>,
        look: impl Fn(&Place, Result<Option<&Schema>>) -> Result<String>,
    ) -> Vec<Probe> {
        let places = match place::expand(&self.named, folder, &Stop::default()) {
            Ok(places) => places,
            Err(error) => return vec![Probe::new(self.named.names.join(", "), Err(error))],
        };
        let looks = places
            .iter()
            .enumerate()
            .map(|(at, place)| Probe::new(place, look(place, columns_for(at == 0, columns))));
        looks.collect()
    }

    /// The source of a run that reads them, with a warning for each that is empty. A part gives batches until there are no
    /// more, or an error; then it is dropped: a file that has ended is not kept open until all have.
    pub(super) fn begin<P>(&self, run: &Run, mut part: impl FnMut(RunFile) -> P) -> Result<Begun>
    where
        P: FnMut() -> Result<Option<Batch>> + Send + 'static,
    {
        let bytes_done = Arc::new(AtomicU64::new(0));
        let mut files = Vec::new();
        let mut warnings = Vec::new();
        let mut parts: Vec<SourcePart> = Vec::new();
        for place in place::expand(&self.named, &run.folder, &run.stop)? {
            let seen = self.look(&place);
            let (seen, file) = seen.map_err(|error| self.about(&run.folder, &place, error))?;
            if file.bytes == 0 && seen.is_file() {
                warnings.push(format!("`{place}` is empty"));
            }
            let part = part(RunFile {
                number: run.add_file(&place)?,
                seen,
                bytes: file.bytes,
                bytes_done: bytes_done.clone(),
                stop: run.stop.clone(),
            });
            parts.push(Box::new(until_end(part)));
            files.push(file);
        }
        Ok(Begun {
            source: Some(Source {
                parts,
                bytes_done,
                files,
            }),
            warnings,
            ..Begun::default()
        })
    }
}

/// The error of a file that has other columns than the first one: what differs first.
pub(super) fn other_columns(place: &Place, found: &Schema, first: &Schema) -> Error {
    let (found, first) = (&found.fields, &first.fields);
    let pairs = found.iter().zip(first);
    let at = pairs.take_while(|(found, first)| found == first).count();
    let shown = |field: Option<&Field>| match field {
        Some(field) => format!("`{}`", field.name),
        None => "nothing".into(),
    };
    let what = match (found.get(at), first.get(at)) {
        (Some(here), Some(there)) if here.name == there.name => format!(
            "column {}, `{}`, is of type {} instead of {}",
            at + 1,
            here.name,
            words(here),
            words(there)
        ),
        (here, there) => format!(
            "column {} is {} instead of {}",
            at + 1,
            shown(here),
            shown(there)
        ),
    };
    Error::failed(format!(
        "`{place}` has other columns than the first file: {what}"
    ))
    .hint(OTHER_COLUMNS)
}

/// What a column is but its name, in words.
fn words(field: &Field) -> String {
    fn of(ty: &Type) -> String {
        match ty {
            Type::Date { utc: true } => "date with a zone".into(),
            Type::Date { utc: false } => "date without a zone".into(),
            Type::List(each) => format!("list of {}", of(each)),
            other => other.name(),
        }
    }
    let mut words = of(&field.ty);
    if field.unwrap {
        words += " marked `unwrap`";
    }
    if field.json {
        words += " marked as JSON";
    }
    words
}

/// Batches until there are no more, or an error.
fn until_end(read: impl FnMut() -> Result<Option<Batch>>) -> impl Iterator<Item = Result<Batch>> {
    let mut read = Some(read);
    std::iter::from_fn(move || {
        let next = read.as_mut()?().transpose();
        if !matches!(next, Some(Ok(_))) {
            read = None;
        }
        next
    })
}

/// The columns that a look compares a file with. If the first file has none, that is the error of the first file only.
/// What the pipeline file says wrong of them is no file's fault: `check` reports it with its line.
fn columns_for(is_first: bool, columns: &Result<Schema>) -> Result<Option<&Schema>> {
    match columns {
        Ok(columns) => Ok(Some(columns)),
        Err(error) if is_first && error.class != Class::Usage => Err(Error::clone(error)),
        Err(_) => Ok(None),
    }
}

/// What the option `endpoint` of a stage says that names these; `None`: nothing.
pub(super) fn named_endpoint(given: &str, names: &[String]) -> Result<Option<Endpoint>> {
    if given.is_empty() {
        return Ok(None);
    }
    let endpoint = Endpoint::parse(given, names).map_err(|error| error.about(ENDPOINT));
    endpoint.map(Some).of([ENDPOINT])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_first_is_named_with_both_types() {
        let date = |utc| Type::Date { utc };
        let field = |name: &str, ty: &Type| Field::new(name, ty.clone());
        let (text, int) = (Type::String, Type::Int);
        let dates = |utc| Type::List(Box::new(date(utc)));
        let unwrapped = Field {
            unwrap: true,
            ..field("b", &dates(true))
        };
        let json = Field {
            json: true,
            ..field("b", &text)
        };
        for (found, says) in [
            (vec![], "column 1 is nothing instead of `a`"),
            (vec![field("a", &int)], "column 2 is nothing instead of `b`"),
            (
                vec![field("b", &dates(true)), field("a", &int)],
                "column 1 is `b` instead of `a`",
            ),
            (
                vec![field("a", &text), field("c", &text)],
                "column 1, `a`, is of type string instead of int",
            ),
            (
                vec![field("a", &int), field("b", &dates(false))],
                "column 2, `b`, is of type list of date without a zone instead of list of date with a zone",
            ),
            (
                vec![field("a", &int), unwrapped],
                "column 2, `b`, is of type list of date with a zone marked `unwrap` instead of list of date with a zone",
            ),
            (
                vec![field("a", &int), json],
                "column 2, `b`, is of type string marked as JSON instead of list of date with a zone",
            ),
            (
                vec![field("a", &int), field("b", &dates(true)), field("c", &int)],
                "column 3 is `c` instead of nothing",
            ),
        ] {
            let first = Schema::new(vec![field("a", &int), field("b", &dates(true))]);
            let found = Schema::new(found).expect("its names differ");
            let place = Place::File("x".into());
            let error = other_columns(&place, &found, &first.expect("its names differ"));
            let wanted = format!("`x` has other columns than the first file: {says}");
            assert_eq!(error.message, wanted);
        }
    }
}
