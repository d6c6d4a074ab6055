//! Options that read a file and hardly mean it: `columns` over a file that has a header line, and a delimiter
//! that splits nothing. Only the beginning of the first file is read for that.

use std::path::Path;
use std::sync::Arc;

use super::super::files::{Seen, expand, is_once};
use super::{LoadCsv, Opened};
use crate::shown;
use crate::stage::Folder;
use crate::stop::Stop;

/// What stands between fields in most files.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

impl LoadCsv {
    /// At most one doubt; none about files that cannot be read, since the run reports those.
    pub(super) fn lint_files(&self, folder: &Folder) -> Option<String> {
        let stop = Stop::of_signals();
        let paths = expand(&self.files, folder, &stop).ok()?;
        let path = paths.first()?;
        if is_once(path) {
            let begun = self.lock_begun();
            let (_, opened) = begun.as_ref()?;
            return self.lint_delimiter(path, opened);
        }
        let seen = Seen::of(path).ok()?.0;
        let opened = self.open_file(&seen, Arc::default(), &stop);
        let opened = opened.ok()?;
        match &self.columns {
            Some(columns) => self.lint_columns(path, columns, opened),
            None => self.lint_delimiter(path, &opened),
        }
    }

    /// Whether the first record repeats the names in `columns`.
    fn lint_columns(&self, path: &Path, columns: &[String], opened: Opened) -> Option<String> {
        let mut splitter = opened.splitter;
        let first = splitter.header().ok()??;
        let first = self.parser(Vec::new()).header(&first).ok()?;
        let alike = |(field, column): (&String, &String)| {
            let letters = letters(field);
            !letters.is_empty() && letters == self::letters(column)
        };
        let repeats = first.len() == columns.len() && first.iter().zip(columns).all(alike);
        repeats.then(|| {
            format!(
                "the first record of `{}` repeats the names in `columns` and is loaded as data; if it is the header \
                 line, leave out `columns` or write `skip_rows = {}`",
                path.display(),
                self.skip_rows + 1
            )
        })
    }

    /// Whether the header is one column because another delimiter stands in it, and in the first record.
    fn lint_delimiter(&self, path: &Path, opened: &Opened) -> Option<String> {
        let Some([name]) = opened.header.as_deref() else {
            return None;
        };
        let rest = opened.splitter.rest();
        let first = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let is_in = |text: &[u8], delimiter| memchr::memchr(delimiter, text).is_some();
        let delimiter = DELIMITERS
            .into_iter()
            .filter(|&it| it != self.dialect.delimiter && is_in(name.as_bytes(), it))
            .find(|&it| first.is_empty() || is_in(first, it))?;
        let (path, name) = (path.display(), shown::json(name));
        let delimiter = char::from(delimiter).escape_default();
        Some(format!(
            "the header line of `{path}` is one column, `{name}`; if `{delimiter}` stands between its fields, write \
             `delimiter = \"{delimiter}\"`"
        ))
    }
}

/// What is left of a name if case, blanks and punctuation count for nothing.
fn letters(name: &str) -> String {
    let letters = name.chars().filter(|letter| letter.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}
