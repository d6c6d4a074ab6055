//! What is secret in a URL: its user part, and values of its query; wherever it stands in a text, however it is written.

use super::{MASK, Secrets, behind_name, decoded, is_secret};

/// A shorter query is not looked for in messages, where its letters may stand for something else.
const QUERY_BYTES_MIN: usize = 6;

/// A value that is a URL, or was meant as one, without its user part and, of a web address, its query.
pub fn mask_url(value: &str) -> String {
    let unbroken = unbroken(value);
    let value = unbroken.as_deref().unwrap_or(value);
    let masked = match user_part(value).or_else(|| bare_user_part(value)) {
        Some(user) => [&value[..user.start], MASK, &value[user.end..]].concat(),
        None => value.to_owned(),
    };
    match query(&masked) {
        // In a pattern the mark before it is quoted, as what a variable holds is.
        Some(query) => {
            let before = &masked[..query.start];
            let before = before.strip_suffix("[?]").or(before.strip_suffix('?'));
            [before.unwrap_or_default(), "?", MASK, &masked[query.end..]].concat()
        }
        None => masked,
    }
}

/// Whether a value is a web address with a query that is masked.
pub(super) fn has_query(value: &str) -> bool {
    query(value).is_some()
}

/// Where the query of a web address lies, which may be signed. One that is a template holds the names of columns.
fn query(text: &str) -> Option<std::ops::Range<usize>> {
    let start = text.len() - text.trim_start().len();
    let scheme = text[start..].split(':').next().unwrap_or_default();
    let is_web = ["http", "https"].contains(&scheme.to_ascii_lowercase().as_str());
    let from = text.find("[?]").map(|at| at + 3);
    let from = match (from, text.find('?')) {
        (Some(from), Some(mark)) if mark >= from - 2 => from,
        (_, mark) => mark? + 1,
    };
    let end = text[from..].find('#').map_or(text.len(), |end| from + end);
    let is_plain = from < end && !text[from..end].contains('{');
    (is_web && is_plain).then_some(from..end)
}

/// Whether such a part of a query is secret: what an address is signed with is too.
fn is_secret_part(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    is_secret(&name) || name == "sig" || name.contains("signature") || name.contains("credential")
}

/// A URL as those who read it take it where they drop tabs and ends of lines from it.
fn unbroken(value: &str) -> Option<String> {
    let broken = ['\t', '\n', '\r'];
    let text = value.contains(broken).then(|| value.replace(broken, ""))?;
    (!text.contains(' ') && prefix_of_url(&text).is_some()).then_some(text)
}

/// The user part of a value that lacks its scheme, `user:password@host`.
fn bare_user_part(value: &str) -> Option<std::ops::Range<usize>> {
    let is_one_word = !value.contains(char::is_whitespace) && prefix_of_url(value).is_none();
    let (user, password) = value.split_once(':')?;
    let is_path = ["local", "file"].contains(&user) || user.contains('/');
    let is_meant = is_one_word && !is_path && !password.starts_with('/');
    let end = value.rfind('@')?;
    (is_meant && is_user_and_password(value)).then_some(0..end)
}

/// Text with the user part of every URL in it masked.
pub fn mask_urls(text: &str) -> String {
    mask_queries(&mask_users(text))
}

/// The parts of a query or fragment, `name=value`, whose names are those of secrets: where the values are. A
/// value ends where a URL in a sentence may end, or, as `whole` says, with its part of the URL only. Of a part
/// that is escaped, and holds another URL or a secret's name so, it is all behind its own name.
fn query_secrets(text: &str, whole: bool) -> impl Iterator<Item = std::ops::Range<usize>> {
    let ends: &[char] = if whole {
        &['&', '#']
    } else {
        &['&', '#', ';', ' ', '`', '"', '\'']
    };
    let starts = text.match_indices(['?', '&', ';', '#']);
    let all = starts.filter_map(move |(at, _)| {
        let from = at + 1;
        let part = &text[from..];
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let is_name = !name.contains(['?', '&', ';', '#']);
        // A name of many words is a sentence.
        let is_name = is_name && (whole || !name.contains(' '));
        if is_name && is_secret_part(&decoded(name)) && name.len() < part.len() {
            let from = from + name.len() + 1;
            let until = value.find(ends).unwrap_or(value.len());
            return (until > 0).then(|| from..from + until);
        }
        let part = &part[..part.find(ends).unwrap_or(part.len())];
        let read = decoded(part);
        let is_secret = read != part && (behind_name(&read).is_some() || mask_urls(&read) != read);
        let name = part.find('=').map_or(0, |end| end + 1);
        is_secret.then(|| from + name..from + part.len())
    });
    // A part may begin within one that has begun before.
    let mut end = 0;
    all.filter(move |range| {
        let is_next = range.start >= end;
        end = end.max(range.end);
        is_next
    })
}

fn mask_queries(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for value in query_secrets(text, false) {
        out.push_str(&text[at..value.start]);
        out.push_str(MASK);
        at = value.end;
    }
    out.push_str(&text[at..]);
    out
}

fn mask_users(text: &str) -> String {
    let starts: Vec<usize> = url_starts(text).collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (i, &start) in starts.iter().enumerate() {
        let after = &text[start..starts.get(i + 1).copied().unwrap_or(text.len())];
        let end = after.find(['`', '"', '\'']).unwrap_or(after.len());
        if let Some(user) = user_part(&after[..end]) {
            out.push_str(&text[at..start + user.start]);
            out.push_str(MASK);
            at = start + user.end;
        }
    }
    out.push_str(&text[at..]);
    out
}

/// Where something begins in a text that may be a URL, however it is written.
fn url_starts(text: &str) -> impl Iterator<Item = usize> {
    let mut in_word = false;
    text.char_indices().filter_map(move |(at, char)| {
        let starts_word = !in_word;
        in_word = char.is_ascii_alphanumeric() || "+.-:/\\".contains(char);
        (starts_word && prefix_of_url(&text[at..]).is_some()).then_some(at)
    })
}

/// The bytes before the host of what may be a URL: a scheme and its slashes, or two slashes alone. Browsers
/// and servers' libraries take any number of slashes after `http:`, and backslashes for slashes.
fn prefix_of_url(text: &str) -> Option<usize> {
    let is_of_scheme = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
    let word = text.find(|c| !is_of_scheme(c)).unwrap_or(text.len());
    let scheme = text[word..].starts_with(':').then(|| &text[..word]);
    let before = scheme.map_or(0, |scheme| scheme.len() + 1);
    let slashes = &text[before..];
    let slashes = slashes
        .find(|c| c != '/' && c != '\\')
        .unwrap_or(slashes.len());
    let needed = match scheme.map(str::to_ascii_lowercase).as_deref() {
        Some("http" | "https") => 0,
        // What follows is a path, unless somebody put `local:` before a URL, or took it for one.
        Some("local" | "file") => {
            let rest = &text[before..];
            let prefix = match slashes {
                0 => prefix_of_url(rest),
                _ => None,
            };
            let prefix =
                prefix.or_else(|| is_user_and_password(&rest[slashes..]).then_some(slashes))?;
            return Some(before + prefix);
        }
        Some("") => return None,
        None if word > 0 => return None,
        Some(_) | None => 2,
    };
    (slashes >= needed).then_some(before + slashes)
}

/// Whether a text begins with `user:password@`.
fn is_user_and_password(text: &str) -> bool {
    let word = text.split(['\n', '`', '"', '\'']).next().unwrap_or(text);
    let user = word
        .rsplit_once('@')
        .and_then(|(user, _)| user.split_once(':'));
    user.is_some_and(|(user, password)| {
        let is_one_word = !user.is_empty() && !user.contains(char::is_whitespace);
        is_one_word && password.starts_with(|c: char| !c.is_whitespace())
    })
}

/// Where the user part of a text lies that is a URL, or was meant as one: before the last `@` of its authority.
/// Where that is no authority, somebody wrote a password as it is: then before the last `@` of all.
fn user_part(text: &str) -> Option<std::ops::Range<usize>> {
    let start = text.len() - text.trim_start().len();
    let start = start + prefix_of_url(&text[start..])?;
    let after = &text[start..];
    let authority = after.find(['/', '\\', '?', '#']).unwrap_or(after.len());
    let end = match after[..authority].rfind('@') {
        Some(end) => end,
        None if is_authority(&after[..authority]) => return None,
        None => after.rfind('@')?,
    };
    Some(start..start + end)
}

/// Whether a text is a host, with or without a port. (A template's `{}` may stand for either.)
fn is_authority(text: &str) -> bool {
    let port = match text.rsplit_once(']') {
        Some((_, behind)) => behind.strip_prefix(':'),
        None => text.split_once(':').map(|(_, port)| port),
    };
    let is_port = |port: &str| port.contains('{') || port.bytes().all(|byte| byte.is_ascii_digit());
    !text.is_empty() && port.is_none_or(is_port)
}

/// What a URL holds of secrets: its password, and the values of a query that are named so.
pub(super) fn gather_urls(text: &str, secrets: &mut Secrets) {
    if let Some(text) = unbroken(text) {
        gather_urls(&text, secrets);
    }
    let starts = url_starts(text).map(|start| &text[start..]);
    let users = starts.chain([text]).map(|part| (part, user_part(part)));
    for (part, user) in users.chain([(text, bare_user_part(text))]) {
        let user = user.map(|user| &part[user]);
        if let Some((_, password)) = user.and_then(|user| user.split_once(':')) {
            secrets.add(password);
            secrets.add(&decoded(password));
        }
    }
    for start in url_starts(text) {
        let url = text[start..].split([' ', '\n', '`', '"', '\'']).next();
        let query = url.and_then(|url| query(url).map(|query| &url[query]));
        if let Some(query) = query.filter(|query| query.len() >= QUERY_BYTES_MIN) {
            secrets.add(query);
            // As it is where a variable's value is no longer quoted for a pattern.
            let quotes = [("[*]", "*"), ("[?]", "?"), ("[[]", "[")];
            let plain = quotes.iter();
            secrets.add(&plain.fold(query.to_owned(), |text, (quoted, plain)| {
                text.replace(quoted, plain)
            }));
        }
    }
    for whole in [true, false] {
        for value in query_secrets(text, whole) {
            let (value, read) = (&text[value.clone()], decoded(&text[value]));
            secrets.add(value);
            if read != value {
                secrets.add(&read);
                gather_urls(&read, secrets);
            }
        }
    }
}
