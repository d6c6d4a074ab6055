//! What was meant by a word that is not known: a misspelt one, another tool's word for the same, a file's name.

use std::path::Path;

use crate::error::Error;

impl Error {
    /// Adds the known word that was probably meant by `word`.
    #[must_use]
    pub fn suggest<'a>(self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(word, known) {
            Some(near) => self.hint(format!("did you mean `{near}`?")),
            None => self,
        }
    }
}

/// The known word nearest to `word`, if it is near enough to be what was meant; `-`, `_` and upper case make no
/// difference.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |word: &str| word.replace(['-', '_'], "").to_lowercase();
    let word = plain(word);
    let near = known.into_iter().filter_map(|candidate| {
        let known = plain(candidate);
        let distance = distance(&word, &known);
        let is_near = distance * 3 <= known.len().max(word.len()) || is_part(&word, &known);
        is_near.then_some((distance, candidate))
    });
    near.min().map(|(_, candidate)| candidate)
}

/// Words of other tools for a value of a closed list: the words; the values that they may mean, of which the first
/// that the list has is meant; what else there is to say.
const SYNONYMS: &[(&[&str], &[&str], &str)] = &[
    (
        &["integer", "int64", "int32", "bigint", "long", "short"],
        &["int", "long"],
        "",
    ),
    (&["int", "int64", "int32", "bigint"], &["integer"], ""),
    (
        &["text", "varchar", "str", "utf8", "char", "object"],
        &["string"],
        "",
    ),
    (
        &["string", "varchar", "str"],
        &["keyword"],
        "for whole words in it: `text`",
    ),
    (
        &["double", "number", "decimal", "numeric", "real", "float64"],
        &["float", "double"],
        "",
    ),
    (&["bool"], &["boolean"], ""),
    (&["boolean", "bit", "logical"], &["bool"], ""),
    (&["datetime", "timestamp"], &["date"], ""),
    (
        &["overwrite", "truncate", "swap", "recreate"],
        &["replace"],
        "",
    ),
    (&["insert", "new"], &["create"], ""),
    (
        &["upsert", "merge", "add"],
        &["append"],
        "it replaces documents that have the same id",
    ),
    (&["overwrite", "put"], &["index"], ""),
    (&["insert"], &["create"], ""),
    (&["skip", "ignore"], &["count", "reject"], ""),
    (&["drop", "discard", "quarantine"], &["reject"], ""),
    (
        &["abort", "stop", "raise", "error", "strict"],
        &["fail"],
        "",
    ),
    (&["nullify", "none", "empty"], &["null"], ""),
    (&["jsonl", "jsonlines"], &["ndjson"], ""),
    (&["serial", "single"], &["sequential"], ""),
    (&["multiprocessing", "fork"], &["processes"], ""),
];

/// What was meant by a value that the closed list `known` does not have, as a hint: by another tool's word for one of
/// them, or by a misspelt one.
pub(crate) fn meant(word: &str, known: &[&str]) -> Option<String> {
    let plain = word.trim().to_lowercase().replace('-', "_");
    let has = |value: &&&str| known.contains(*value);
    let other = SYNONYMS.iter().find_map(|(words, values, note)| {
        let value = values
            .iter()
            .find(has)
            .filter(|_| words.contains(&plain.as_str()))?;
        Some((value, *note))
    });
    match other {
        Some((value, "")) => return Some(format!("did you mean `{value}`?")),
        Some((value, note)) => return Some(format!("did you mean `{value}`? {note}")),
        None => {}
    }
    nearest(word, known.iter().copied()).map(|near| format!("did you mean `{near}`?"))
}

/// Whether two words begin alike for the most part of the shorter one, or one stands in the other.
fn is_part(a: &str, b: &str) -> bool {
    /// Less is in many words.
    const BYTES_MIN: usize = 4;
    let shorter = a.len().min(b.len());
    let alike = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let begins = alike >= BYTES_MIN && alike * 3 >= shorter * 2;
    begins || shorter >= BYTES_MIN && (a.contains(b) || b.contains(a))
}

/// The file beside the missing `path` whose name is nearest to its own, as a hint; of a link, where it leads.
pub(crate) fn nearest_file(path: &Path) -> Option<String> {
    if let Ok(target) = std::fs::read_link(path) {
        let target = target.display();
        return Some(format!("it is a link to `{target}`, where nothing is"));
    }
    let name = path.file_name()?.to_str()?;
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new("."))).ok()?;
    let names = entries.flatten().map(|entry| entry.file_name());
    let names = names.filter_map(|other| other.into_string().ok());
    // A link to nowhere is there, and yet missing.
    let names: Vec<String> = names.filter(|other| other != name).collect();
    let near = nearest(name, names.iter().map(String::as_str))?;
    Some(format!(
        "did you mean `{}`?",
        path.with_file_name(near).display()
    ))
}

/// Edits (insert, delete, replace, swap of neighbours) between two short words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_what_was_meant_and_nothing_else() {
        let known = [
            "separator",
            "columns",
            "by",
            "retries",
            "retry_delay_ms",
            "read_timeout_ms",
        ];
        assert_eq!(nearest("seperator", known), Some("separator"));
        assert_eq!(nearest("colunms", known), Some("columns"));
        assert_eq!(nearest("retry", known), Some("retries"));
        assert_eq!(nearest("timeout", known), Some("read_timeout_ms"));
        assert_eq!(nearest("Retry-Delay-ms", known), Some("retry_delay_ms"));
        assert_eq!(nearest("get", ["GET", "PUT"]), Some("GET"));
        assert_eq!(nearest("latin-1", ["utf-8", "latin1"]), Some("latin1"));
        assert_eq!(nearest("unrelated", known), None);
        assert_eq!(nearest("return", known), None);
    }

    #[test]
    fn another_tools_word_for_a_value_is_understood() {
        let hint = |word, known| meant(word, known).unwrap_or_default();
        let types = ["string", "int", "float", "bool"];
        for (word, value) in [
            ("integer", "int"),
            ("BIGINT", "int"),
            ("text", "string"),
            ("double", "float"),
            ("boolean", "bool"),
            ("flaot", "float"),
        ] {
            assert_eq!(hint(word, &types), format!("did you mean `{value}`?"));
        }
        let fields = [
            "text", "keyword", "long", "integer", "float", "double", "boolean", "date",
        ];
        assert_eq!(hint("timestamp", &fields), "did you mean `date`?");
        assert_eq!(hint("bool", &fields), "did you mean `boolean`?");
        let load = ["append", "create", "replace"];
        assert_eq!(hint("overwrite", &load), "did you mean `replace`?");
        assert_eq!(hint("insert", &load), "did you mean `create`?");
        assert!(hint("upsert", &load).starts_with("did you mean `append`? it replaces"));
        assert_eq!(hint("skip", &["reject", "fail"]), "did you mean `reject`?");
        assert_eq!(hint("nonsense", &load), "");
    }

    #[test]
    fn a_link_to_nothing_is_not_what_was_meant_instead_of_itself() {
        let folder = std::env::temp_dir().join(format!("etl-link-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let link = folder.join("orders.csv");
        std::os::unix::fs::symlink("gone.csv", &link).unwrap();
        let hint = nearest_file(&link);
        let meant = nearest_file(&folder.join("order.csv"));
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(
            hint.as_deref(),
            Some("it is a link to `gone.csv`, where nothing is")
        );
        assert!(meant.is_some_and(|hint| hint.ends_with("orders.csv`?")));
    }
}
