//! File name patterns: `*` (any characters), `?` (one), `[abc]`, `[a-z]`, `[!abc]` (one of these, or none
//! of these) and `**` as a whole part of a path (any number of folders).
//!
//! As in a shell a leading dot is matched by nothing but a dot in the pattern. The walk lists only folders
//! that a pattern leads to, and lists each at most once: a symbolic link to a folder that was listed is
//! not followed again, so a loop of links ends. What matches and cannot be read is an error, never a
//! shorter list.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::FileType;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Folder;
use crate::error::{Error, Result};
use crate::stop::Stop;

/// So many files have a number in a run.
pub(crate) const FILES_MAX: usize = 1 << 20;

/// The characters that make a path a pattern.
const MAGIC: [char; 3] = ['*', '?', '['];

/// A path with its patterns, ready to match.
pub(super) struct Pattern {
    /// What stands before the first pattern, from the pipeline's folder.
    base: PathBuf,
    /// The rest; empty: the pattern is a plain path.
    parts: Vec<Part>,
}

/// One part of a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    Name(String),
    Names(Vec<Token>),
    /// Any number of folders.
    Folders,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token {
    One(char),
    Any,
    AnyMany,
    OneOf {
        ranges: Vec<(char, char)>,
        not: bool,
    },
}

/// The error of a text that is no pattern.
pub(super) fn hint(text: &str, reason: &str) -> Error {
    Error::usage(format!("`{text}` is not a pattern: {reason}")).hint(
        "`*` matches any characters, `?` one, `[abc]` one of these; for the character itself write `[*]`, `[?]` or `[[]`",
    )
}

/// A text with its pattern characters quoted, so that it matches itself alone.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars() {
        if MAGIC.contains(&character) {
            quoted.extend(['[', character, ']']);
        } else {
            quoted.push(character);
        }
    }
    quoted
}

/// A text without the quotes of [`quote`]; `None`: a pattern is left in it. A `?` that begins a query is no pattern.
pub(super) fn unquote(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_query = false;
    while let Some(character) = rest.chars().next() {
        let inside = rest.get(1..2).filter(|_| rest.get(2..3) == Some("]"));
        let quoted = inside.filter(|inside| character == '[' && inside.starts_with(MAGIC));
        if let Some(quoted) = quoted {
            in_query |= quoted == "?";
            plain.push_str(quoted);
            rest = &rest[3..];
            continue;
        }
        in_query |= character == '?';
        if MAGIC.contains(&character) && !in_query {
            return None;
        }
        plain.push(character);
        rest = &rest[character.len_utf8()..];
    }
    Some(plain)
}

impl Pattern {
    /// Reads a pattern; the folder it starts from is never one.
    pub(super) fn new(text: &str, folder: &Folder) -> Result<Self> {
        let mut parts = Vec::new();
        for part in text.split('/') {
            let part = Part::new(part).map_err(|reason| hint(text, &reason))?;
            parts.push(part);
        }
        let plain = parts
            .iter()
            .take_while(|part| matches!(part, Part::Name(_)));
        let plain = plain.count();
        let rest = parts.split_off(plain);
        let base: Vec<&str> = parts.iter().map(Part::name).collect();
        let mut base = base.join("/");
        if base.is_empty() {
            base.push(if text.starts_with('/') { '/' } else { '.' });
        }
        let parts = rest.into_iter();
        let parts = parts
            .filter(|part| !matches!(part, Part::Name(name) if name.is_empty() || name == "."));
        let parts: Vec<Part> = parts.collect();
        if parts.iter().any(|part| *part == Part::Name("..".into())) {
            return Err(Error::usage(format!(
                "`{text}`: `..` may not stand after a pattern"
            )));
        }
        Ok(Pattern {
            base: folder.resolve(&base),
            parts,
        })
    }

    /// The path, if there is no pattern in it.
    pub(super) fn plain(&self) -> Option<&Path> {
        self.parts.is_empty().then_some(self.base.as_path())
    }

    /// The folder where the patterns begin.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    /// Whether it stands for `path`, whose folder is canonical.
    pub(super) fn matches(&self, path: &Path) -> bool {
        let Ok(base) = self.base.canonicalize() else {
            return false;
        };
        let Ok(rest) = path.strip_prefix(base) else {
            return false;
        };
        let names: Vec<&OsStr> = rest.iter().collect();
        parts_match(&self.parts, &names)
    }

    /// What it matches but folders, sorted; each file once, whatever links lead to it.
    pub(super) fn walk(&self, stop: &Stop) -> Result<Vec<Match>> {
        let mut walk = Walk {
            parts: &self.parts,
            stop,
            to_do: Vec::new(),
            links: BTreeMap::new(),
            listed: HashSet::new(),
            found: Vec::new(),
        };
        match self.base.canonicalize() {
            Ok(real) => walk.to_do.push((self.base.clone(), real, 0)),
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("open", self.base.display(), &error)),
        }
        walk.run()?;
        walk.found.sort();
        walk.found.dedup_by(|a, b| a.path == b.path);
        Ok(walk.found)
    }
}

/// A file that a pattern matches.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Match {
    /// As the pattern leads to it.
    pub(super) path: PathBuf,
    /// The same for all links to it.
    pub(super) real: PathBuf,
}

/// A walk through the folders that a pattern leads to.
struct Walk<'a> {
    parts: &'a [Part],
    stop: &'a Stop,
    /// Folders to list: as the pattern leads there, without links, and the part that comes next.
    to_do: Vec<(PathBuf, PathBuf, usize)>,
    /// Links to folders. They come after all that can be reached without them, so that a file is called
    /// by its own name, and in order, so that the names do not depend on how a disk lists them.
    links: BTreeMap<(PathBuf, usize), PathBuf>,
    listed: HashSet<(PathBuf, usize)>,
    found: Vec<Match>,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<()> {
        loop {
            while let Some((path, real, at)) = self.to_do.pop() {
                self.folder(&path, &real, at)?;
            }
            let Some(((path, at), real)) = self.links.pop_first() else {
                return Ok(());
            };
            self.to_do.push((path, real, at));
        }
    }

    /// Goes on in a folder with part `at`.
    fn folder(&mut self, path: &Path, real: &Path, at: usize) -> Result<()> {
        self.stop.check()?;
        if !self.listed.insert((real.to_owned(), at)) {
            return Ok(());
        }
        if self.parts[at] == Part::Folders && at + 1 < self.parts.len() {
            // No folder at all is a number of them too.
            self.folder(path, real, at + 1)?;
        }
        if let Part::Name(name) = &self.parts[at] {
            let entry = path.join(name);
            return match std::fs::symlink_metadata(&entry) {
                Ok(metadata) => self.entry(entry, &real.join(name), metadata.file_type(), at),
                Err(error) if is_absent(&error) => Ok(()),
                Err(error) => Err(Error::io("look at", entry.display(), &error)),
            };
        }
        let io = |error: &std::io::Error| {
            Error::io("list the folder", path.display(), error)
                .hint("the pattern leads there: what it holds would be missing")
        };
        for entry in std::fs::read_dir(path).map_err(|error| io(&error))? {
            self.stop.check()?;
            let entry = entry.map_err(|error| io(&error))?;
            let name = entry.file_name();
            if self.parts[at].fits(&name) {
                let kind = entry.file_type().map_err(|error| io(&error))?;
                // `.` is only written where nothing else names the folder.
                let shown = if path == Path::new(".") {
                    PathBuf::from(&name)
                } else {
                    path.join(&name)
                };
                self.entry(shown, &real.join(&name), kind, at)?;
            }
        }
        Ok(())
    }

    /// Something that part `at` matches.
    fn entry(&mut self, path: PathBuf, real: &Path, kind: FileType, at: usize) -> Result<()> {
        let last = at + 1 == self.parts.len();
        let (real, is_dir) = if kind.is_symlink() {
            let followed = real.canonicalize();
            let target = followed.and_then(|real| Ok((std::fs::metadata(&real)?.is_dir(), real)));
            match target {
                Ok((is_dir, real)) => (real, is_dir),
                // A link to nowhere leads to no folder.
                Err(_) if self.parts[at] == Part::Folders && !last => return Ok(()),
                Err(error) => return Err(broken_link(&path, &error)),
            }
        } else {
            (real.to_owned(), kind.is_dir())
        };
        if !is_dir {
            if last {
                if self.found.len() == FILES_MAX {
                    return Err(too_many());
                }
                self.found.push(Match { path, real });
            }
            return Ok(());
        }
        let next = if self.parts[at] == Part::Folders {
            at
        } else {
            at + 1
        };
        if next == self.parts.len() {
            return Ok(());
        }
        if kind.is_symlink() {
            self.links.insert((path, next), real);
        } else {
            self.to_do.push((path, real, next));
        }
        Ok(())
    }
}

pub(super) fn too_many() -> Error {
    Error::failed(format!(
        "more than {FILES_MAX} files, the most that a run reads"
    ))
    .hint("read them in several runs")
}

/// A name that matches, and is a link to nowhere.
pub(super) fn broken_link(path: &Path, error: &std::io::Error) -> Error {
    let target = std::fs::read_link(path).unwrap_or_default();
    let named = Error::failed(format!(
        "`{}` is a link to `{}`, which cannot be read",
        path.display(),
        target.display()
    ));
    named
        .cause(error)
        .hint("put the file there, or remove the link")
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

pub(super) fn parts_match(parts: &[Part], names: &[&OsStr]) -> bool {
    match (parts, names) {
        ([], []) => true,
        ([Part::Folders], [_, ..]) => names.iter().all(|name| Part::Folders.fits(name)),
        ([Part::Folders, rest @ ..], _) => {
            parts_match(rest, names)
                || matches!(names, [first, more @ ..] if Part::Folders.fits(first) && parts_match(parts, more))
        }
        ([first, parts @ ..], [name, names @ ..]) => first.fits(name) && parts_match(parts, names),
        _ => false,
    }
}

impl Part {
    pub(super) fn new(text: &str) -> Result<Self, String> {
        if text == "**" {
            return Ok(Part::Folders);
        }
        if text.contains("**") {
            return Err(
                "`**` stands for folders and must be a part of its own, as in `a/**/b`".into(),
            );
        }
        let mut tokens = Vec::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            tokens.push(match character {
                '*' => Token::AnyMany,
                '?' => Token::Any,
                '[' => one_of(&mut rest).ok_or("a `[` without its `]`")?,
                character => Token::One(character),
            });
        }
        let name: Option<String> = tokens.iter().map(Token::plain).collect();
        Ok(name.map_or(Part::Names(tokens), Part::Name))
    }

    /// Its text, if there is no pattern in it.
    pub(super) fn plain(&self) -> Option<&str> {
        match self {
            Part::Name(name) => Some(name),
            Part::Names(_) | Part::Folders => None,
        }
    }

    /// The characters that all names begin with that it matches.
    pub(super) fn beginning(&self) -> String {
        let Part::Names(tokens) = self else {
            return self.name().to_owned();
        };
        let plain = tokens.iter().map_while(Token::plain);
        plain.collect()
    }

    /// The text of a plain part.
    fn name(&self) -> &str {
        match self {
            Part::Name(name) => name,
            _ => "",
        }
    }

    fn fits(&self, name: &OsStr) -> bool {
        let hidden = name.as_bytes().first() == Some(&b'.');
        match self {
            Part::Name(wanted) => name.as_bytes() == wanted.as_bytes(),
            Part::Folders => !hidden,
            Part::Names(tokens) => {
                (!hidden || tokens.first() == Some(&Token::One('.'))) && tokens_fit(tokens, name)
            }
        }
    }
}

/// What follows a `[`, up to its `]`; a `]` that comes first is one of the characters.
fn one_of(rest: &mut std::str::Chars) -> Option<Token> {
    let mut inside = rest.clone().peekable();
    let not = inside.next_if(|c| matches!(c, '!' | '^')).is_some();
    let mut ranges = Vec::new();
    loop {
        let from = inside.next()?;
        if from == ']' && !ranges.is_empty() {
            *rest = rest.as_str()[rest.as_str().len() - inside.collect::<String>().len()..].chars();
            return Some(Token::OneOf { ranges, not });
        }
        let mut ahead = inside.clone();
        let to = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(to)) if to != ']' => {
                inside = ahead;
                to
            }
            _ => from,
        };
        ranges.push((from, to));
    }
}

/// Whether the tokens match a whole name; a byte that is no UTF-8 is a character of its own.
fn tokens_fit(tokens: &[Token], name: &OsStr) -> bool {
    let mut characters: Vec<Option<char>> = Vec::new();
    for chunk in name.as_bytes().utf8_chunks() {
        characters.extend(chunk.valid().chars().map(Some));
        characters.extend(chunk.invalid().iter().map(|_| None));
    }
    // Where to go on if the last `*` is to take one character more.
    let mut again: Option<(usize, usize)> = None;
    let (mut token, mut at) = (0, 0);
    loop {
        match (tokens.get(token), characters.get(at)) {
            (None, None) => return true,
            (Some(Token::AnyMany), _) => {
                again = Some((token + 1, at));
                token += 1;
                continue;
            }
            (Some(one), Some(character)) if one.fits(*character) => {
                token += 1;
                at += 1;
                continue;
            }
            _ => {}
        }
        match again {
            Some((next, from)) if from < characters.len() => {
                again = Some((next, from + 1));
                (token, at) = (next, from + 1);
            }
            _ => return false,
        }
    }
}

impl Token {
    /// The one character that it matches.
    fn plain(&self) -> Option<char> {
        match self {
            Token::One(character) => Some(*character),
            Token::OneOf { ranges, not: false } => match ranges[..] {
                [(from, to)] if from == to => Some(from),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether it matches this character; `None`: a byte that is no text.
    fn fits(&self, character: Option<char>) -> bool {
        match (self, character) {
            (Token::Any | Token::AnyMany, _) => true,
            (Token::One(wanted), Some(found)) => *wanted == found,
            (Token::OneOf { ranges, not }, Some(found)) => {
                ranges
                    .iter()
                    .any(|(from, to)| (*from..=*to).contains(&found))
                    != *not
            }
            (Token::OneOf { not, .. }, None) => *not,
            (Token::One(_), None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, name: &[u8]) -> bool {
        let part = Part::new(pattern).expect("it is a pattern");
        part.fits(OsStr::from_bytes(name))
    }

    #[test]
    fn a_name_is_matched_as_in_a_shell() {
        for (pattern, name, wanted) in [
            ("*.csv", "a.csv", true),
            ("*.csv", ".a.csv", false),
            ("?a.csv", ".a.csv", false),
            ("[.]a.csv", ".a.csv", true),
            (".*.csv", ".a.csv", true),
            ("*", "a", true),
            ("a*b*c", "a_b_b_c", true),
            ("a*b*c", "a_c_b", false),
            ("?", "é", true),
            ("??", "é", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]x]", "]", true),
            ("[a-]", "-", true),
            ("a[[]1]", "a[1]", true),
            ("A", "a", false),
            ("*.csv", "a.csv.gz", false),
            ("**", ".git", false),
        ] {
            assert_eq!(fits(pattern, name.as_bytes()), wanted, "{pattern} {name}");
        }
        assert!(fits("caf?.csv", b"caf\xe9.csv"));
        assert!(fits("*.csv", b"caf\xe9.csv"));
        assert!(!fits("caf[a-z].csv", b"caf\xe9.csv"));
        assert!(Part::new("a[b").is_err());
        assert!(Part::new("a**").is_err());
    }

    #[test]
    fn a_quoted_text_matches_itself_alone() {
        for text in ["a[1]*", "**", "x?[!y]", "plain"] {
            assert_eq!(Part::new(&quote(text)), Ok(Part::Name(text.into())));
        }
    }

    #[test]
    fn an_address_is_unquoted() {
        for text in ["https://h/a*b?c=[x]&d=*", "plain", "x?y"] {
            assert_eq!(unquote(&quote(text)).as_deref(), Some(text));
        }
        assert_eq!(
            unquote("https://h/x?a=*").as_deref(),
            Some("https://h/x?a=*")
        );
        assert_eq!(unquote("https://h/*.csv?a"), None);
        assert_eq!(unquote("https://h/[ab].csv"), None);
        assert_eq!(unquote("https://h/\u{e9}[").as_deref(), None);
    }

    #[test]
    fn a_path_is_matched_from_the_folder_on() {
        let folder = Folder("/".into());
        for (pattern, path, wanted) in [
            ("/**/*.csv", "/a.csv", true),
            ("/**/*.csv", "/a/b/c.csv", true),
            ("/**/*.csv", "/a/.b/c.csv", false),
            ("/a/**", "/a/b/c", false),
            ("/*/c.csv", "/b/c.csv", true),
            ("/*/c.csv", "/b/d/c.csv", false),
        ] {
            let pattern_read = Pattern::new(pattern, &folder).expect("it is a pattern");
            assert_eq!(
                pattern_read.matches(Path::new(path)),
                wanted,
                "{pattern} {path}"
            );
        }
    }
}
