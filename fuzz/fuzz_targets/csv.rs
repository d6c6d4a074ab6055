//! Any text: it is cut into the same records whatever the reader gives at once and wherever blocks end, and
//! parsed alike by the fast half and by its slow twin.
#![no_main]

use std::io::{Cursor, Read};

use etl::columns::Column;
use etl::format::csv::numbers::Notation;
use etl::format::csv::parse::{Parser, Target};
use etl::format::csv::split::{Limits, Splitter};
use etl::format::csv::{Dialect, EscapeWhere};
use libfuzzer_sys::fuzz_target;

/// Gives a few bytes at a time.
struct Dribble<'a>(Cursor<&'a [u8]>, usize);

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let wanted = buffer.len().min(self.1);
        self.0.read(&mut buffer[..wanted])
    }
}

/// The text of all blocks, and how many records they hold; `None`: the text is refused.
fn cut(text: &[u8], dialect: Dialect, at_once: usize, records: u64) -> Option<(Vec<u8>, u64)> {
    let limits = Limits {
        block_bytes: 1 << 20,
        block_records: records,
        record_bytes: 1 << 20,
    };
    let mut splitter = Splitter::new(Dribble(Cursor::new(text), at_once), dialect, limits);
    let (mut joined, mut count) = (Vec::new(), 0);
    while let Some(block) = splitter.next_block().ok()? {
        assert_eq!(block.first_record, count + 1);
        assert!(block.records <= records, "blocks keep their limit");
        count += block.records;
        joined.extend(block.bytes);
    }
    Some((joined, count))
}

fn values(column: &Column) -> Vec<Option<String>> {
    let value = |row| match column {
        _ if column.is_null(row) => None,
        Column::Strings(texts) => Some(texts.value(row).to_owned()),
        Column::Ints(ints) => Some(ints.value(row).to_string()),
        Column::Floats(floats) => Some(floats.value(row).to_bits().to_string()),
        Column::Bools(bools) => Some(bools.value(row).to_string()),
        _ => unreachable!("these are the parser's columns"),
    };
    (0..column.len()).map(value).collect()
}

fuzz_target!(|input: &[u8]| {
    let [options, more, at_once, text @ ..] = input else {
        return;
    };
    let dialect = Dialect {
        escape_where: if more & 1 == 0 {
            EscapeWhere::Anywhere
        } else {
            EscapeWhere::Quoted
        },
        comment: (more & 2 != 0).then_some(b'#'),
        trim: more & 4 != 0,
        ..Dialect::new(
            if options & 1 == 0 { b',' } else { b'\t' },
            Some(if options & 2 == 0 { b'"' } else { b'\'' }),
            (options & 4 == 0).then_some(b'\\'),
        )
    };
    let whole = cut(text, dialect, usize::MAX, 1 << 20);
    let pieces = cut(text, dialect, usize::from(*at_once) + 1, 1);
    assert_eq!(
        whole.as_ref().map(|(_, records)| records),
        pieces.as_ref().map(|(_, records)| records),
    );
    let Some((block, records)) = whole else {
        return;
    };
    let targets = [Target::String, Target::Int, Target::Float, Target::Bool];
    let targets = targets[..usize::from(options >> 3 & 3) + 1].to_vec();
    let encoding = if options & 64 == 0 {
        encoding_rs::UTF_8
    } else {
        encoding_rs::WINDOWS_1252
    };
    let mut parser = Parser {
        encoding,
        file_encoding: encoding,
        fill_short: more & 8 != 0,
        ..Parser::new(dialect, targets)
    };
    if options & 32 != 0 {
        parser.null_values.clear();
    }
    if more & 16 != 0 {
        parser.notation = Notation {
            decimal: ',',
            thousands: Some('.'),
        };
    }
    let fast = parser.parse(block.clone().into());
    let slow = parser.parse_slow(block.into());
    assert_eq!(
        (fast.rows + fast.faults.len()) as u64,
        records,
        "every record is a row or a fault"
    );
    assert_eq!(fast.faults, slow.faults);
    let contents = |columns: &[Column]| columns.iter().map(values).collect::<Vec<_>>();
    assert_eq!(contents(&fast.columns), contents(&slow.columns));
});
