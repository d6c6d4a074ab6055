//! A text for `sh -c` in which columns stand. Their values never become part of the text: the shell gets
//! them as `$1`, `$2` and so on, and `{name}` becomes `"${1}"`, or `${1}` between double quotes. So a
//! value with blanks, quotes, `$` or `;` in it is a value, and nothing else.
//!
//! For that the text is read as a shell does, as far as quotes go. Where a shell would not take a value
//! as it is (single quotes, backquotes, arithmetic, here-documents), `{name}` is refused.

use super::template::{Values, value};
use crate::error::{Error, Result};
use crate::schema::Schema;
use crate::stage::placeholders::{Place, column};

/// The text, its columns found.
#[derive(Debug)]
pub(super) struct Script(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(String),
    Value {
        place: Place,
        /// Between double quotes.
        quoted: bool,
        /// A word of its own: once for each item.
        each: bool,
    },
}

/// What the shell is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Inside {
    Single,
    Double,
    /// `$(`, or `(`.
    Parentheses,
    /// `$((`, or `((`.
    Arithmetic,
    /// `${`
    Expansion,
    Backquotes,
    Comment,
}

impl Script {
    /// Reads a text.
    pub(super) fn new(text: &str, input: &Schema) -> Result<Script> {
        Reader {
            input,
            rest: text,
            before: None,
            inside: Vec::new(),
            here_document: false,
            parts: Vec::new(),
            text: String::new(),
        }
        .read()
    }

    /// The columns whose values it takes.
    pub(super) fn columns(&self) -> Vec<usize> {
        let columns = self.0.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Value { place, .. } => Some(place.at),
        });
        columns.collect()
    }

    /// A column that is no word of its own, and whose value is one item's.
    pub(super) fn among_text(&self) -> Option<usize> {
        self.0.iter().find_map(|part| match part {
            Part::Value {
                place, each: false, ..
            } if !place.all => Some(place.at),
            _ => None,
        })
    }

    /// `sh -c`, the text, and the values.
    pub(super) fn words(&self, items: usize, values: Values) -> Vec<String> {
        let (mut text, mut taken) = (String::new(), Vec::new());
        for part in &self.0 {
            match part {
                Part::Text(more) => text.push_str(more),
                Part::Value {
                    place,
                    quoted,
                    each,
                } => {
                    for item in 0..if *each { items } else { 1 } {
                        taken.push(match each {
                            true => values(item, place.at),
                            false => value(place, items, values),
                        });
                        let number = taken.len();
                        if item > 0 {
                            text.push(' ');
                        }
                        text.push_str(&if *quoted {
                            format!("${{{number}}}")
                        } else {
                            format!("\"${{{number}}}\"")
                        });
                    }
                }
            }
        }
        // What follows the text is `$0`, by which the shell names itself in messages.
        let mut words = vec!["sh".to_owned(), "-c".into(), text, "sh".into()];
        words.append(&mut taken);
        words
    }
}

struct Reader<'a> {
    input: &'a Schema,
    rest: &'a str,
    /// The character read last.
    before: Option<char>,
    inside: Vec<Inside>,
    /// Whether one has begun somewhere.
    here_document: bool,
    parts: Vec<Part>,
    text: String,
}

impl Reader<'_> {
    fn read(mut self) -> Result<Script> {
        while !self.rest.is_empty() {
            let comment = self.inside.last() == Some(&Inside::Comment);
            match column(self.rest, self.input).filter(|_| !comment) {
                Some((place, length)) => self.value(place, length)?,
                None => self.step(),
            }
        }
        self.parts.push(Part::Text(self.text));
        Ok(Script(self.parts))
    }

    fn value(&mut self, place: Place, length: usize) -> Result<()> {
        let refused = self.inside.iter().find_map(|inside| match inside {
            Inside::Single => Some("single quotes"),
            Inside::Arithmetic => Some("arithmetic"),
            Inside::Expansion => Some("`${...}`"),
            Inside::Backquotes => Some("backquotes"),
            _ => None,
        });
        let refused = refused.or(self.here_document.then_some("or after a here-document"));
        if let Some(here) = refused {
            return Err(Error::usage(format!(
                "`command` holds `{place}` in {here}, where the shell would not take the value as it is"
            ))
            .hint("let it stand alone or between double quotes, or put the script into a file and name that in a list"));
        }
        let quoted = self.inside.last() == Some(&Inside::Double);
        let behind = self.rest[length..].chars().next();
        let ends_word =
            |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || ";|&()<>".contains(c));
        let each = !place.all && !quoted && ends_word(self.before) && ends_word(behind);
        self.parts.push(Part::Text(std::mem::take(&mut self.text)));
        self.parts.push(Part::Value {
            place,
            quoted,
            each,
        });
        self.rest = &self.rest[length..];
        self.before = Some('}');
        Ok(())
    }

    /// Takes what stands at the front over as it is, and sees what it begins or ends.
    fn step(&mut self) {
        let within = self.inside.last().copied();
        let starts = |word: &str| self.rest.starts_with(word);
        let (length, enter, leave) = match within {
            Some(Inside::Single) => (1, None, starts("'")),
            Some(Inside::Comment) => (1, None, starts("\n")),
            _ if starts("\\") => (2, None, false),
            Some(Inside::Double) if starts("\"") => (1, None, true),
            Some(Inside::Expansion) if starts("}") => (1, None, true),
            Some(Inside::Arithmetic) if starts("))") => (2, None, true),
            Some(Inside::Parentheses) if starts(")") => (1, None, true),
            Some(Inside::Backquotes) if starts("`") => (1, None, true),
            _ if starts("$((") => (3, Some(Inside::Arithmetic), false),
            _ if starts("$(") => (2, Some(Inside::Parentheses), false),
            _ if starts("${") => (2, Some(Inside::Expansion), false),
            _ if starts("`") => (1, Some(Inside::Backquotes), false),
            Some(Inside::Double) => (1, None, false),
            _ if starts("\"") => (1, Some(Inside::Double), false),
            _ if starts("'") => (1, Some(Inside::Single), false),
            _ if starts("((") => (2, Some(Inside::Arithmetic), false),
            _ if starts("(") => (1, Some(Inside::Parentheses), false),
            _ if starts("#")
                && self
                    .before
                    .is_none_or(|c| c.is_whitespace() || ";|&()".contains(c)) =>
            {
                (1, Some(Inside::Comment), false)
            }
            _ => (1, None, false),
        };
        self.here_document |= within != Some(Inside::Double)
            && !matches!(
                within,
                Some(Inside::Single | Inside::Comment | Inside::Arithmetic)
            )
            && starts("<<");
        if leave {
            self.inside.pop();
        }
        self.inside.extend(enter);
        for c in self.rest.chars().take(length) {
            self.text.push(c);
            self.before = Some(c);
        }
        let taken: usize = self.rest.chars().take(length).map(char::len_utf8).sum();
        self.rest = &self.rest[taken..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Type;
    use crate::stage::testing::schema;

    fn script(text: &str) -> Result<Script> {
        Script::new(text, &schema(&[("id", Type::String), ("n", Type::Int)]))
    }

    /// What `sh` makes of a text with these values of `id`.
    fn sh(text: &str, values: &[&str]) -> String {
        let values = |item: usize, _: usize| values[item].to_owned();
        let words = script(text)
            .expect("the shell takes it")
            .words(values_len(text), &values);
        let output = std::process::Command::new(&words[0])
            .args(&words[1..])
            .output();
        String::from_utf8(output.expect("there is a shell").stdout).expect("it is text")
    }

    /// As many items as the tests' texts speak of.
    fn values_len(text: &str) -> usize {
        if text.contains("# three") { 3 } else { 1 }
    }

    #[test]
    fn a_value_never_becomes_syntax() {
        let nasty = "a  b'\"; echo $(id) `id` \\ * ${HOME} # $1";
        let cases = [
            ("printf %s {id}", nasty.to_owned()),
            ("printf %s \"<{id}>\"", format!("<{nasty}>")),
            ("printf %s x{id}y", format!("x{nasty}y")),
            (
                "printf %s $(printf %s {id})\"\"",
                nasty.split_whitespace().collect(),
            ),
            ("printf %s \"$(printf %s \"{id}\")\"", nasty.to_owned()),
            ("printf %s \"$(printf %s {id})\"", nasty.to_owned()),
            ("( printf %s {id} ) # don't {id}", nasty.to_owned()),
            ("printf %s 'it'\\''s' {id}", format!("it's{nasty}")),
            ("x={id}; printf %s \"$x\"", nasty.to_owned()),
            (
                "printf '%s' '{print $1}' {id}",
                format!("{{print $1}}{nasty}"),
            ),
        ];
        for (text, expected) in cases {
            let got = sh(text, &[nasty]);
            if text.contains("$(printf %s {id})\"\"") {
                // An unquoted substitution is split by the shell, as everywhere; nothing of it is run.
                assert!(got.contains("$(id)"), "{text}: {got}");
            } else {
                assert_eq!(got, expected, "{text}");
            }
        }
    }

    #[test]
    fn a_word_of_its_own_is_repeated() {
        assert_eq!(
            sh("printf '%s,' {id}; # three", &["a b", "*", ""]),
            "a b,*,,"
        );
        for text in ["printf %s {id,}; # three", "printf %s \"{id,}\" # three"] {
            assert_eq!(sh(text, &["a b", "*", "$x"]), "a b,*,$x", "{text}");
        }
        for (text, alone) in [
            ("a {id}|b", true),
            ("{id}", true),
            ("a={id}", false),
            ("\"{id}\"", false),
            ("a={id,}", true),
            ("\"{id,}{id}\"", false),
        ] {
            let among_text = script(text).expect("the shell takes it").among_text();
            assert_eq!(among_text.is_none(), alone, "{text}");
        }
    }

    #[test]
    fn where_a_value_would_not_be_taken_as_it_is_it_is_refused() {
        for text in [
            "echo '{id}'",
            "echo '{id,}'",
            "echo `cat {id}`",
            "echo $(( {n} + 1 ))",
            "(( {n} > 1 ))",
            "echo \"$(( 1 + $(echo {n}) ))\"",
            "echo ${x:-{id}}",
            "cat <<END\n{id}\nEND",
        ] {
            let refused = script(text).expect_err(text).message;
            assert!(refused.starts_with("`command` holds `{"), "{refused}");
        }
        // A shell's own variable is no column.
        for text in ["echo ${id}", "echo '{ID}'", "echo $(( 1 << 2 )) {id}"] {
            script(text).expect(text);
        }
    }
}
