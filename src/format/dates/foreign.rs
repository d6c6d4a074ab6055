//! Formats in the letters of other programs (`yyyy-MM-dd`), as strptime writes them: for messages alone.

/// What runs of one letter mean elsewhere; a run that is not listed has none or several meanings.
const RUNS: [(&str, &str); 27] = [
    ("yyyy", "%Y"),
    ("YYYY", "%Y"),
    ("uuuu", "%Y"),
    ("yy", "%y"),
    ("YY", "%y"),
    ("MMMM", "%B"),
    ("MMM", "%b"),
    ("MM", "%m"),
    ("M", "%m"),
    ("dd", "%d"),
    ("d", "%d"),
    ("DD", "%d"),
    ("D", "%d"),
    ("EEEE", "%A"),
    ("EEE", "%a"),
    ("HH", "%H"),
    ("H", "%H"),
    ("hh", "%I"),
    ("h", "%I"),
    ("mm", "%M"),
    ("m", "%M"),
    ("ss", "%S"),
    ("s", "%S"),
    ("a", "%p"),
    ("Z", "%z"),
    ("XXX", "%z"),
    ("T", "T"),
];

/// The format that is likely meant by one without directives; `None`: it is not known what is meant.
pub(super) fn translate(format: &str) -> Option<String> {
    let mut translated = String::new();
    let mut rest = format;
    while let Some(first) = rest.chars().next() {
        if let Some((quoted, after)) = rest
            .strip_prefix('\'')
            .and_then(|rest| rest.split_once('\''))
        {
            translated.push_str(quoted);
            rest = after;
            continue;
        }
        let length = rest.find(|letter| letter != first).unwrap_or(rest.len());
        let (run, after) = rest.split_at(length);
        rest = after;
        if !first.is_ascii_alphabetic() {
            translated.push_str(run);
        } else if matches!(first, 'S' | 'f') {
            // Of a second's fraction the directive takes as many digits as there are.
            translated.push_str("%f");
        } else {
            translated.push_str(RUNS.iter().find(|(known, _)| *known == run)?.1);
        }
    }
    translated.contains('%').then_some(translated)
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::translate;

    #[test]
    fn the_letters_of_others_are_known() {
        for (format, expected) in [
            ("yyyy-MM-dd", Some("%Y-%m-%d")),
            ("DD.MM.YYYY", Some("%d.%m.%Y")),
            ("yyyy-MM-dd'T'HH:mm:ss.SSSZ", Some("%Y-%m-%dT%H:%M:%S.%f%z")),
            ("EEE, d MMM yy hh:mm a", Some("%a, %d %b %y %I:%M %p")),
            ("2013-05-06", None),
            ("quarter", None),
        ] {
            assert_eq!(translate(format).as_deref(), expected, "{format}");
            let fault = Format::compile(format)
                .expect_err("it has no directive")
                .render();
            assert!(fault.contains("no directive"), "{fault}");
            let hint = expected.unwrap_or("`%Y-%m-%d`");
            assert!(fault.contains(hint), "{fault}");
        }
    }
}
