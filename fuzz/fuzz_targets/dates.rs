//! Any format and any value: what is parsed lies within the years that can be written, and what is
//! written as ISO 8601 is parsed as the same instant.
#![no_main]

use etl::format::dates::{Format, write_iso};
use libfuzzer_sys::fuzz_target;

const KNOWN: [&str; 6] = [
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%d",
    "%Y%m%d",
    "%Y-%m-%dT%H:%M:%S%.f%z",
    "%d/%m/%y %I:%M %p",
    "%s",
];

fuzz_target!(|input: &str| {
    let (format, value) = input.split_once('\n').unwrap_or(("", input));
    let given = Format::compile(format).into_iter();
    let known = KNOWN.iter().filter_map(|known| Format::compile(known).ok());
    for format in given.chain(known) {
        let Some(micros) = format.parse(value.as_bytes()) else {
            continue;
        };
        let mut text = Vec::new();
        write_iso(micros, format.zoned(), &mut text);
        let iso = if format.zoned() {
            "%Y-%m-%dT%H:%M:%S%.f%z"
        } else {
            "%Y-%m-%dT%H:%M:%S%.f"
        };
        let iso = Format::compile(iso).expect("it is a format");
        let text = String::from_utf8(text)
            .expect("it is ASCII")
            .replace('Z', "+00:00");
        assert_eq!(
            iso.parse(text.as_bytes()),
            Some(micros),
            "{} {value:?} {text}",
            format.text()
        );
    }
});
