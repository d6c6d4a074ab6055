//! Any text: it is cut into the same JSON records whatever the reader gives at once and wherever blocks end,
//! every record is a row or a fault, and a record is taken just where a library takes it.
#![no_main]

use std::io::{Cursor, Read};

use etl::format::csv::parse::Target;
use etl::format::csv::split::Limits;
use etl::format::json::raw::{self, Pointer};
use etl::format::json::records::Parser;
use etl::format::json::scan::Scanner;
use etl::format::json::split::{Shape, Splitter};
use etl::format::json::wanted::Wanted;
use libfuzzer_sys::fuzz_target;

/// Gives a few bytes at a time.
struct Dribble<'a>(Cursor<&'a [u8]>, usize);

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let wanted = buffer.len().min(self.1);
        self.0.read(&mut buffer[..wanted])
    }
}

/// The records of a text, and whether it was cut to its end.
fn cut(text: &[u8], shape: &Shape, at_once: usize, records: u64) -> (Vec<Vec<u8>>, bool) {
    let limits = Limits {
        block_bytes: 1 << 20,
        block_records: records,
        record_bytes: 1 << 20,
    };
    let mut splitter = Splitter::new(Dribble(Cursor::new(text), at_once), shape.clone(), limits);
    let mut found = Vec::new();
    loop {
        match splitter.next_block() {
            Ok(Some(block)) => {
                assert_eq!(block.first_record, found.len() as u64 + 1);
                assert!(
                    block.records.len() as u64 <= records,
                    "blocks keep their limit"
                );
                let record =
                    |[from, to]: &[u32; 2]| block.bytes[*from as usize..*to as usize].to_vec();
                found.extend(block.records.iter().map(record));
            }
            Ok(None) => return (found, true),
            Err(_) => return (found, false),
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let [options, at_once, text @ ..] = input else {
        return;
    };
    let pointer = |text| Pointer::parse(text).expect("it is a pointer");
    let shape = match options & 3 {
        0 => Shape::List(pointer("")),
        1 => Shape::List(pointer("/a/0")),
        _ => Shape::Lines,
    };
    let whole = cut(text, &shape, usize::MAX, 1 << 20);
    let pieces = cut(text, &shape, usize::from(*at_once) + 1, 1);
    assert_eq!(whole, pieces);
    let wanted = ["/a", "/b/0", "/a/c", "/a"].map(pointer);
    let targets = [Target::String, Target::Int, Target::Float, Target::Bool];
    let parser = Parser::new(&wanted, targets.to_vec());
    let wanted = Wanted::new(&wanted);
    for record in whole.0 {
        let length = u32::try_from(record.len()).expect("records are short");
        let parsed = parser.parse(&record.clone().into(), &[[0, length]]);
        assert_eq!(parsed.rows + parsed.faults.len(), 1);
        let Ok(text) = str::from_utf8(&record) else {
            assert_eq!(parsed.rows, 0);
            continue;
        };
        let scanned = Scanner::new(&wanted, &record).record(0, record.len());
        let is_deep = scanned.is_err_and(|fault| fault.expected.contains("128"));
        assert!(
            is_deep || scanned.is_ok() == raw::check(text).is_ok(),
            "{text}"
        );
    }
});
