//! Stages that would overwrite what others write or read.

use std::collections::HashMap;

use super::Step;
use crate::error::Error;
use crate::place::{self, Place};
use crate::stage::{Destination, Folder, Storage};

/// What a stage writes, the same for all spellings of it.
#[derive(PartialEq, Eq, Hash)]
enum Written {
    At(Place),
    /// On a server it is the index that is written.
    Index(String),
    Stdout,
}

/// Two stages that write one file would overwrite each other, and so would one that writes what another reads.
pub(super) fn collisions(folder: &Folder, steps: &[Option<Step>]) -> Vec<Error> {
    let steps = || steps.iter().flatten();
    let mut mistakes = Vec::new();
    let mut writers: HashMap<Written, (&Step, Destination)> = HashMap::new();
    for step in steps() {
        let Some(destination) = step.destination() else {
            continue;
        };
        let [named] = &destination.named[..] else {
            continue;
        };
        let written = match &destination.storage {
            Storage::Index { name, .. } => Some(Written::Index(format!("{named}#{name}"))),
            Storage::Disk { path, .. } => {
                place::canonical(path, folder, destination.endpoint.as_ref()).map(Written::At)
            }
            Storage::Stdout => Some(Written::Stdout),
        };
        // What is no place is an error of its stage.
        let Some(written) = written else { continue };
        if let Some((other, _)) = writers.get(&written) {
            let error = Error::usage(format!("stage `{}` writes `{named}` already", other.name));
            let error = error.hint("give each a place of its own");
            mistakes.push(step.of_its_place(&destination, error));
        } else {
            writers.insert(written, (step, destination));
        }
    }
    for step in steps() {
        let properties = step.stage.properties();
        let endpoint = properties.reads.endpoint.as_ref();
        for file in properties.files() {
            let read = place::canonical(file, folder, endpoint);
            // What a pattern means depends on what is there.
            let is_read = |written: &Place| {
                read.as_ref() == Some(written) || place::reads_now(file, folder, endpoint, written)
            };
            for (written, (writer, destination)) in &writers {
                if !matches!(written, Written::At(place) if is_read(place)) {
                    continue;
                }
                let message = format!(
                    "`{file}`, which stage `{}` reads, would be replaced",
                    step.name
                );
                let error = Error::usage(message).hint("write to another place");
                mistakes.push(writer.of_its_place(destination, error));
            }
        }
    }
    mistakes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Overrides, parse};

    #[test]
    fn an_object_is_another_one_at_another_server() {
        let at = |url: &str| match url {
            "" => String::new(),
            url => format!("endpoint = \"{url}\"\n"),
        };
        for (load, first, second, says) in [
            ("http://a:1", "http://b:1", "http://c:1", None),
            ("http://a:1", "http://b:1", "", None),
            ("", "http://a:1", "http://b:1", None),
            ("http://a:1", "http://a", "http://a:2", None),
            ("http://a:1", "http://a:1", "", Some("would be replaced")),
            ("http://a:1/", "", "http://A:1", Some("would be replaced")),
            (
                "http://a",
                "",
                "",
                Some("writes `s3://bucket/a.csv` already"),
            ),
            (
                "http://a",
                "http://b",
                "http://b:80/",
                Some("writes `s3://bucket/a.csv` already"),
            ),
        ] {
            let write = |name: &str, url: &str| {
                format!(
                    "[[stage]]\nname = \"{name}\"\nkind = \"write_files\"\ninputs = [\"load\"]\n\
                     path = \"s3://bucket/a.csv\"\n{}",
                    at(url)
                )
            };
            let file = format!(
                "[[stage]]\nname = \"load\"\nkind = \"load_csv\"\nfiles = [\"s3://bucket/*.csv\"]\n{}{}{}",
                at(load),
                write("first", first),
                write("second", second)
            );
            let parsed = parse(Path::new("p.toml"), &file, &Overrides::default());
            let mistake = parsed.err().map(|error| error.render());
            let case = format!("{load:?} {first:?} {second:?}: {mistake:?}");
            assert_eq!(mistake.is_some(), says.is_some(), "{case}");
            assert!(
                mistake
                    .unwrap_or_default()
                    .contains(says.unwrap_or_default()),
                "{case}"
            );
        }
    }
}
