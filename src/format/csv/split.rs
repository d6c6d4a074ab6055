//! Splitting: bytes in, blocks of whole records out. One thread's work for a file, so it does no more
//! than it must: find where records end and count them.

use std::io::Read;

use super::Dialect;
use super::machine::{Machine, Meaning, State};
use super::masks::{Carry, WIDTH, masks};
use crate::error::{Error, Result};
use crate::format::compression;
use crate::schema::count;

/// Whole records, and where they stood.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// The text, from the first byte of its first record to the last byte of its last.
    pub bytes: Vec<u8>,
    /// The number of its first record, from 1.
    pub first_record: u64,
    /// The physical line it begins on, from 1.
    pub first_line: u64,
    /// Its offset in the decompressed text.
    pub offset: u64,
    /// How many records it holds; empty lines and comments are none.
    pub records: u64,
    /// How many comments it holds, those before the header of its file too.
    pub comments: u64,
}

/// Where to cut.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// A block is cut once it has this many bytes. 1 MiB: fits the second-level cache, so that what
    /// was inflated is parsed while it is still there.
    pub block_bytes: usize,
    /// And never holds more records than this.
    pub block_records: u64,
    /// A longer record is an error: one quote must not swallow a million rows.
    pub record_bytes: usize,
}

/// No limit of records may be higher: offsets into a block have 32 bits, and a block ends with the record that fills it.
/// A record is held some four times at once, in the splitter, the block, the columns and on the way to a worker process:
/// a gigabyte.
pub const RECORD_BYTES_MAX: usize = 1 << 28;

/// Why a text cannot be cut any further.
#[derive(Debug)]
pub enum SplitError {
    /// A record is still open at the end of the text.
    Open(Error),
    /// A record is longer than [`Limits::record_bytes`].
    Long(Error),
    /// The text cannot be read.
    Read(Error),
}

impl From<Error> for SplitError {
    fn from(error: Error) -> Self {
        SplitError::Read(error)
    }
}

impl SplitError {
    /// What is wrong.
    pub fn error(self) -> Error {
        match self {
            SplitError::Open(error) | SplitError::Long(error) | SplitError::Read(error) => error,
        }
    }
}

/// Cuts a text into blocks.
pub struct Splitter<R> {
    reader: R,
    dialect: Dialect,
    limits: Limits,
    /// Bytes read and not yet given away; the next block begins at 0.
    buffer: Vec<u8>,
    /// Up to where `buffer` was scanned.
    scanned: usize,
    carry: Carry,
    /// Where the last complete record in `buffer` ends.
    complete: usize,
    /// Where the record begins in which `scanned` lies.
    open: usize,
    /// Records in `buffer[..complete]`.
    records: u64,
    /// Comments that no block has counted yet.
    comments: u64,
    next_record: u64,
    line: u64,
    offset: u64,
    /// The reader is at its end.
    ended: bool,
    /// The last record is found.
    done: bool,
    /// Line and number of the first record that is too long.
    long: Option<(u64, u64)>,
    /// What is to be said once all before it was given away.
    failed: Option<SplitError>,
}

/// How much is asked of the reader at once.
const READ_BYTES: usize = 256 << 10;
/// How much where a block lacks the end of its last record only: what is read beyond it is copied into the next block.
const LITTLE_BYTES: usize = 16 << 10;
/// An empty line has a CR and a newline at most.
const MORE_THAN_EMPTY: usize = 3;

impl<R: Read> Splitter<R> {
    /// A splitter that begins at the first byte of `reader`.
    pub fn new(reader: R, dialect: Dialect, limits: Limits) -> Self {
        Splitter {
            reader,
            dialect,
            limits,
            buffer: Vec::new(),
            scanned: 0,
            carry: Carry::START,
            complete: 0,
            open: 0,
            records: 0,
            comments: 0,
            next_record: 1,
            line: 1,
            offset: 0,
            ended: false,
            done: false,
            long: None,
            failed: None,
        }
    }

    /// Divides by another byte; only before the first record.
    pub fn set_delimiter(&mut self, delimiter: u8) {
        self.dialect.delimiter = delimiter;
    }

    /// The bytes that structure the text.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Cuts by other limits from here on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Drops a byte order mark, then `lines` physical lines; how many there were, if the text has fewer.
    pub fn skip(&mut self, lines: usize) -> Result<Option<usize>> {
        const MARK: &[u8] = b"\xEF\xBB\xBF";
        if self.offset == 0 && self.peek(MARK.len())?.starts_with(MARK) {
            self.drop_front(MARK.len());
        }
        let mut skipped = 0;
        // Whether something of the next line is gone already.
        let mut begun = false;
        while skipped < lines {
            let ends = memchr::memchr_iter(b'\n', &self.buffer).take(lines - skipped);
            let (count, last) = ends.fold((0, 0), |(count, _), at| (count + 1, at + 1));
            skipped += count;
            if skipped == lines {
                self.drop_front(last);
                break;
            }
            begun = self.buffer.len() > last || begun && count == 0;
            self.drop_front(self.buffer.len());
            if self.ended {
                return Ok(Some(skipped + usize::from(begun)));
            }
            self.fill()?;
        }
        self.line += skipped as u64;
        Ok(None)
    }

    /// The next bytes, at least so many unless the text ends before.
    pub fn peek(&mut self, bytes: usize) -> Result<&[u8]> {
        while self.buffer.len() < bytes && !self.ended {
            self.fill()?;
        }
        Ok(&self.buffer)
    }

    /// Where the text that was not yet given away begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What was read and not yet given away.
    pub fn rest(&self) -> &[u8] {
        &self.buffer
    }

    /// The first record, taken out of the text: the header. `None` at the end of the text.
    pub fn header(&mut self) -> Result<Option<Vec<u8>>, SplitError> {
        let limits = self.limits;
        self.limits = Limits {
            block_bytes: 1,
            block_records: 1,
            ..limits
        };
        // Lines that are none may come first, and fill blocks of their own.
        let mut comments = 0;
        let block = loop {
            match self.next_block() {
                Ok(Some(block)) if block.records == 0 => comments += block.comments,
                block => break block,
            }
        };
        self.limits = limits;
        self.next_record = 1;
        let block = block?;
        self.comments = comments + block.as_ref().map_or(0, |block| block.comments);
        Ok(block.map(|block| block.bytes))
    }

    /// How many comments there were since the last block.
    fn take_comments(&mut self) -> u64 {
        std::mem::take(&mut self.comments)
    }

    /// The next block; `None` at the end. What lies before a fault comes first, then the error.
    pub fn next_block(&mut self) -> Result<Option<Block>, SplitError> {
        loop {
            self.scan();
            let full = self.complete >= self.limits.block_bytes
                || self.records >= self.limits.block_records;
            let last = self.failed.is_some() || self.done;
            if self.complete > 0 && (full || last) {
                return Ok(Some(self.cut()));
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if self.done {
                // Comments that no block could count make one of their own.
                return Ok((self.comments > 0).then(|| self.cut()));
            }
            if let Err(error) = self.advance() {
                self.failed = Some(error);
            }
        }
    }

    /// All that could be scanned is: reads on, or ends.
    fn advance(&mut self) -> Result<(), SplitError> {
        let open_bytes = self.scanned - self.open;
        if self.long.is_none() && open_bytes > self.limits.record_bytes {
            self.long = Some(self.open_record());
        }
        self.refuse_long()?;
        if !self.ended {
            return Ok(self.fill()?);
        }
        self.done = true;
        let machine = self.carry.machine();
        if machine.escaped || machine.state == State::Quoted {
            let (line, record) = self.open_record();
            let what = if machine.escaped {
                "an escape with nothing after it"
            } else {
                "a quote that is never closed"
            };
            return Err(SplitError::Open(Error::failed(format!(
                "record {record}, begun on line {line}, is still open at the end of the file: {what}"
            ))));
        }
        if self.open < self.buffer.len() {
            // A last line without newline counts, and a CR at its end is a character.
            self.end_any_record(self.buffer.len());
        }
        self.refuse_long()
    }

    fn refuse_long(&self) -> Result<(), SplitError> {
        let Some((line, record)) = self.long else {
            return Ok(());
        };
        Err(SplitError::Long(Error::failed(format!(
            "record {record}, begun on line {line}, is longer than {}",
            count(self.limits.record_bytes, "byte")
        ))))
    }

    /// Line and number of the record that is open.
    fn open_record(&self) -> (u64, u64) {
        let lines = memchr::memchr_iter(b'\n', &self.buffer[..self.open]).count() as u64;
        (self.line + lines, self.next_record + self.records)
    }

    /// Reads on from where the scan stands, until a block is full or the buffer is at its end.
    fn scan(&mut self) {
        if self.dialect.is_simple() {
            self.scan_by_masks::<true>();
        } else {
            self.scan_by_masks::<false>();
        }
    }

    fn scan_by_masks<const SIMPLE: bool>(&mut self) {
        // Locals stay in registers, where fields would be written and read again for every 64 bytes.
        let (dialect, limits) = (self.dialect, self.limits);
        let mut carry = self.carry;
        let at_end = 'scan: loop {
            let Some(bytes) = self.buffer[self.scanned..].first_chunk::<WIDTH>() else {
                break true;
            };
            if self.long.is_some()
                || self.complete >= limits.block_bytes
                || self.records >= limits.block_records
            {
                break false;
            }
            let (found, next) = masks::<SIMPLE>(bytes, dialect, carry);
            if found.odd {
                self.carry = carry;
                self.scan_slowly(WIDTH);
                carry = self.carry;
                continue;
            }
            carry = next;
            let base = self.scanned;
            self.scanned += WIDTH;
            let mut newlines = found.newlines;
            while newlines != 0 {
                let end = base + newlines.trailing_zeros() as usize + 1;
                newlines &= newlines - 1;
                self.end_record::<SIMPLE>(end);
                if self.long.is_some() {
                    break 'scan false;
                }
                if self.records >= limits.block_records {
                    // The rest of these 64 bytes belongs to the next block.
                    self.scanned = end;
                    carry = Carry::START;
                    break 'scan false;
                }
            }
        };
        self.carry = carry;
        if at_end && (self.ended || self.failed.is_some()) && self.long.is_none() {
            self.scan_slowly(self.buffer.len() - self.scanned);
        }
    }

    fn scan_slowly(&mut self, bytes: usize) {
        let mut machine: Machine = self.carry.machine();
        for at in self.scanned..self.scanned + bytes {
            self.scanned = at + 1;
            if machine.step(self.buffer[at], self.dialect) == Meaning::Newline {
                self.end_any_record(at + 1);
                if self.long.is_some() || self.records >= self.limits.block_records {
                    break;
                }
            }
        }
        self.carry = Carry::of(machine);
    }

    #[inline]
    fn end_record<const SIMPLE: bool>(&mut self, end: usize) {
        // Longer than an empty line, and no comment.
        if SIMPLE && (MORE_THAN_EMPTY..=self.limits.record_bytes).contains(&(end - self.open)) {
            self.records += 1;
            self.open = end;
            self.complete = end;
        } else {
            self.end_any_record(end);
        }
    }

    fn end_any_record(&mut self, end: usize) {
        let text = &self.buffer[self.open..end];
        let bytes = text.strip_suffix(b"\n").unwrap_or(text).len();
        if bytes > self.limits.record_bytes {
            self.long = Some(self.open_record());
            return;
        }
        if self.dialect.comment.is_some() && text.first().copied() == self.dialect.comment {
            self.comments += 1;
        } else if !self.dialect.is_empty_line(text) {
            self.records += 1;
        }
        self.open = end;
        self.complete = end;
    }

    fn cut(&mut self) -> Block {
        let rest = self.buffer[self.complete..].to_vec();
        let mut bytes = std::mem::replace(&mut self.buffer, rest);
        bytes.truncate(self.complete);
        let block = Block {
            first_record: self.next_record,
            first_line: self.line,
            offset: self.offset,
            records: self.records,
            comments: self.take_comments(),
            bytes,
        };
        self.line += memchr::memchr_iter(b'\n', &block.bytes).count() as u64;
        self.offset += block.bytes.len() as u64;
        self.next_record += block.records;
        self.scanned -= self.complete;
        self.open -= self.complete;
        self.complete = 0;
        self.records = 0;
        block
    }

    fn drop_front(&mut self, bytes: usize) {
        self.buffer.drain(..bytes);
        self.offset += bytes as u64;
    }

    fn fill(&mut self) -> Result<()> {
        let (bytes, complete) = (self.limits.block_bytes, self.complete > 0);
        self.ended = read_more(&mut self.reader, &mut self.buffer, bytes, complete)?;
        Ok(())
    }
}

/// Reads more of a text into `buffer`, which is to become a block of about `block_bytes`, and in which a record is `complete`
/// already; whether it is at its end.
pub(in crate::format) fn read_more(
    reader: &mut impl Read,
    buffer: &mut Vec<u8>,
    block_bytes: usize,
    complete: bool,
) -> Result<bool> {
    let from = buffer.len();
    if buffer.capacity() - from < READ_BYTES {
        let wanted = block_bytes.clamp(READ_BYTES, 64 << 20) + READ_BYTES;
        buffer.reserve(wanted.saturating_sub(from).max(READ_BYTES));
    }
    let lacks_little = complete && from >= block_bytes;
    let more = if lacks_little {
        LITTLE_BYTES
    } else {
        READ_BYTES
    };
    buffer.resize(from + more, 0);
    let read = loop {
        match reader.read(&mut buffer[from..]) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => break read,
        }
    };
    buffer.truncate(from + *read.as_ref().unwrap_or(&0));
    let read = read.map_err(|error| {
        let other = |error: std::io::Error| {
            let failed = Error::failed(format!("cannot read on: {error}"));
            match compression::next_step(&error) {
                Some(next) => failed.hint(next),
                None => failed,
            }
        };
        error.downcast::<Error>().unwrap_or_else(other)
    })?;
    Ok(read == 0)
}

#[cfg(test)]
mod tests {
    use super::super::EscapeWhere;
    use super::*;

    const DIALECT: Dialect = Dialect::new(b',', Some(b'"'), Some(b'\\'));

    fn blocks(text: &[u8], dialect: Dialect, limits: Limits) -> Result<Vec<Block>, SplitError> {
        let mut splitter = Splitter::new(text, dialect, limits);
        std::iter::from_fn(|| splitter.next_block().transpose()).collect()
    }

    fn limits(block_bytes: usize, block_records: u64) -> Limits {
        Limits {
            block_bytes,
            block_records,
            record_bytes: 1 << 20,
        }
    }

    /// The same by the machine alone: (record text) of every record, empty lines left out.
    fn model(text: &[u8], dialect: Dialect) -> Vec<Vec<u8>> {
        let mut machine = Machine::default();
        let mut records = vec![Vec::new()];
        for &byte in text {
            let meaning = machine.step(byte, dialect);
            records.last_mut().expect("never empty").push(byte);
            if meaning == Meaning::Newline {
                records.push(Vec::new());
            }
        }
        records.retain(|record| {
            let line = match record.strip_suffix(b"\n") {
                Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
                None => record,
            };
            let blank = |byte: &u8| dialect.trim && matches!(byte, b' ' | b'\t');
            let is_comment = line
                .first()
                .is_some_and(|first| dialect.comment == Some(*first));
            !is_comment && !line.iter().all(blank)
        });
        records
    }

    proptest::proptest! {
        #[test]
        fn masks_and_machine_agree(
            text in proptest::collection::vec(proptest::sample::select(&b"\"\"\\,,\n\r\nabc # \t"[..]), 0..400),
            [escape, quoted_only, comment, trim]: [bool; 4],
            block_bytes in 1usize..200,
            block_records in 1u64..5,
        ) {
            let dialect = Dialect {
                escape: escape.then_some(b'\\'),
                escape_where: if quoted_only { EscapeWhere::Quoted } else { EscapeWhere::Anywhere },
                comment: comment.then_some(b'#'),
                trim,
                ..DIALECT
            };
            let records = model(&text, dialect);
            let mut splitter = Splitter::new(&text[..], dialect, limits(block_bytes, block_records));
            let mut blocks = Vec::new();
            let refused = loop {
                match splitter.next_block() {
                    Ok(Some(block)) => blocks.push(block),
                    Ok(None) => break false,
                    Err(_) => break true,
                }
            };
            // Only a text that ends inside a record is refused, and what lies before comes all the same.
            let mut machine = Machine::default();
            for &byte in &text { machine.step(byte, dialect); }
            proptest::prop_assert_eq!(refused, machine.escaped || machine.state == State::Quoted);
            let records = if refused { &records[..records.len() - 1] } else { &records[..] };
            proptest::prop_assert_eq!(blocks.iter().map(|block| block.records).sum::<u64>(), records.len() as u64);
            let mut next = 0;
            for block in &blocks {
                proptest::prop_assert_eq!(block.first_record, next as u64 + 1);
                let within = model(&block.bytes, dialect);
                proptest::prop_assert_eq!(within.len() as u64, block.records);
                proptest::prop_assert!(block.records <= block_records);
                proptest::prop_assert_eq!(&within[..], &records[next..next + within.len()]);
                let before = &text[..usize::try_from(block.offset).expect("small")];
                let lines = memchr::memchr_iter(b'\n', before).count();
                proptest::prop_assert_eq!(block.first_line, lines as u64 + 1);
                next += within.len();
            }
        }
    }

    #[test]
    fn an_open_record_is_an_error_that_names_its_first_line() {
        let cut = blocks(b"a,b\n\nc,\"d\ne\n", DIALECT, limits(100, 100));
        let Err(SplitError::Open(error)) = cut else {
            panic!("a record is open: {cut:?}");
        };
        assert_eq!(
            error.message,
            "record 2, begun on line 3, is still open at the end of the file: a quote that is never closed"
        );
        let long = [b"a\n\"".as_slice(), &[b'x'; 5000]].concat();
        let short = Limits {
            record_bytes: 1000,
            ..limits(100, 100)
        };
        let cut = blocks(&long, DIALECT, short);
        let Err(SplitError::Long(error)) = cut else {
            panic!("a record is long: {cut:?}");
        };
        assert_eq!(
            error.message,
            "record 2, begun on line 2, is longer than 1000 bytes"
        );
    }

    #[test]
    fn header_and_skipped_lines_are_no_records() {
        let mut splitter = Splitter::new(
            &b"\xEF\xBB\xBFjunk \"\na,b\n1,2\n"[..],
            DIALECT,
            limits(1 << 20, 100),
        );
        assert_eq!(splitter.skip(1).expect("skips"), None);
        assert_eq!(splitter.header().expect("reads"), Some(b"a,b\n".to_vec()));
        let block = splitter.next_block().expect("reads").expect("one block");
        assert_eq!(
            (
                block.first_record,
                block.first_line,
                block.offset,
                block.records
            ),
            (1, 3, 14, 1)
        );
        assert_eq!(block.bytes, b"1,2\n");
    }

    #[test]
    fn comments_are_counted_once_wherever_they_stand() {
        let dialect = Dialect {
            comment: Some(b'#'),
            ..DIALECT
        };
        for (text, header, comments) in [
            // The first lines are longer than what is looked at in one step.
            (
                format!("#{0}\n\n#{0}\na,b\n1,2\n#\n3,4\n#\n", "x".repeat(100)),
                "a,b\n",
                4,
            ),
            ("#it's \"\na,b\n".to_owned(), "\na,b\n", 1),
        ] {
            let mut splitter = Splitter::new(text.as_bytes(), dialect, limits(1 << 20, 1));
            let found = splitter.header().expect("reads").expect("there is one");
            // Lines before it that are none may come with it.
            assert!(String::from_utf8_lossy(&found).ends_with(header), "{text}");
            let mut counted = 0;
            while let Some(block) = splitter.next_block().expect("reads") {
                counted += block.comments;
            }
            assert_eq!(counted, comments, "{text}");
        }
        let mut splitter = Splitter::new(&b"#\n#"[..], dialect, limits(1 << 20, 1));
        assert_eq!(splitter.header().expect("reads"), None);
    }

    #[test]
    fn lines_past_the_end_are_counted() {
        for (text, lines, wanted) in [
            (&b"a\nb\nc"[..], 2, None),
            (b"a\nb\nc", 3, Some(3)),
            (b"a\nb\nc", usize::MAX, Some(3)),
            (b"a\nb\n", 2, None),
            (b"a\nb\n", 3, Some(2)),
            (b"", 1, Some(0)),
        ] {
            let mut splitter = Splitter::new(text, DIALECT, limits(1 << 20, 100));
            assert_eq!(splitter.skip(lines).expect("skips"), wanted, "{lines}");
        }
    }
}
