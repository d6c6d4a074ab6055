//! Patterns of names in a bucket: as those of files, but that a name is one text with `/` in it, and that the bucket is
//! asked for the names that begin as the pattern does.

use super::glob::{FILES_MAX, Part, hint, parts_match, too_many};
use super::store::Store;
use super::url::ObjectUrl;
use crate::error::{Error, Result};
use crate::stop::Stop;

/// A name with its patterns, ready to match.
pub(super) struct KeyPattern(Vec<Part>);

impl KeyPattern {
    /// Reads the key of an address.
    pub(super) fn new(url: &ObjectUrl) -> Result<Self> {
        let parts: Result<Vec<Part>, String> = url.key.split('/').map(Part::new).collect();
        let parts = parts.map_err(|reason| hint(&url.to_string(), &reason))?;
        Ok(KeyPattern(parts))
    }

    /// The name, if there is no pattern in it.
    pub(super) fn plain(&self) -> Option<String> {
        let names: Option<Vec<&str>> = self.0.iter().map(Part::plain).collect();
        names.map(|names| names.join("/"))
    }

    /// Whether it matches a whole name.
    pub(super) fn matches(&self, key: &str) -> bool {
        let names: Vec<&std::ffi::OsStr> = key.split('/').map(AsRef::as_ref).collect();
        parts_match(&self.0, &names)
    }

    /// What all names begin with that it matches.
    fn prefix(&self) -> String {
        let mut prefix = String::new();
        for part in &self.0 {
            prefix.push_str(&part.beginning());
            if part.plain().is_none() {
                break;
            }
            prefix.push('/');
        }
        prefix
    }

    /// Whether it matches names with a `/` after the prefix.
    fn is_deep(&self) -> bool {
        let first = self.0.iter().position(|part| part.plain().is_none());
        first.is_some_and(|first| first + 1 < self.0.len() || self.0[first] == Part::Folders)
    }

    /// The objects that it matches, in the order of files.
    pub(super) fn list(&self, url: &ObjectUrl, stop: &Stop) -> Result<Vec<ObjectUrl>> {
        let store = Store::of(url)?;
        let mut found = Vec::new();
        store.list(url, &self.prefix(), self.is_deep(), stop, |key, meta| {
            if !self.matches(&key)
                || meta.bytes == Some(0) && store.is_folder(&url.with_key(&key), stop)?
            {
                return Ok(());
            }
            if found.len() == FILES_MAX {
                return Err(too_many());
            }
            found.push(url.with_key(&key));
            store.remember(key, meta);
            Ok(())
        })?;
        if found.is_empty() {
            return Err(Error::failed(format!("`{url}` matches no object")).hint(
                "names are exact, upper and lower case too; `*` stands for anything but `/`, `**` as a whole part for any folders",
            ));
        }
        found.sort_by(|a, b| a.key.split('/').cmp(b.key.split('/')));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(key: &str) -> KeyPattern {
        let url = ObjectUrl::parse(&format!("s3://bucket/{key}")).expect("it is an address");
        KeyPattern::new(&url.expect("it is one")).expect("it is a pattern")
    }

    #[test]
    fn a_bucket_is_asked_for_what_a_pattern_begins_with() {
        for (key, prefix, deep) in [
            ("a/b.csv", "a/b.csv/", false),
            ("a/2024-*.csv", "a/2024-", false),
            ("*.csv", "", false),
            ("a/[[]x]*/b", "a/[x]", true),
            ("a/**", "a/", true),
            ("a/**/b.csv", "a/", true),
        ] {
            let pattern = pattern(key);
            assert_eq!(
                (&*pattern.prefix(), pattern.is_deep()),
                (prefix, deep),
                "{key}"
            );
        }
        assert_eq!(pattern("a/[*]").plain().as_deref(), Some("a/*"));
        assert_eq!(pattern("a/*").plain(), None);
    }

    #[test]
    fn names_are_matched_as_those_of_files() {
        for (key, name, matches) in [
            ("a/*.csv", "a/b.csv", true),
            ("a/*.csv", "a/.b.csv", false),
            ("a/*.csv", "a/b/c.csv", false),
            ("a/**/*.csv", "a/b/c.csv", true),
            ("a/**/*.csv", "a/c.csv", true),
            ("a/**/*.csv", "a/.b/c.csv", false),
            ("a/?.csv", "a/x.csv", true),
        ] {
            assert_eq!(pattern(key).matches(name), matches, "{key} {name}");
        }
    }
}
