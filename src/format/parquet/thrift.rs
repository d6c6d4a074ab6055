//! Thrift's compact protocol, as far as it takes to look at metadata before the library decodes it: the library
//! allocates what a length says before it reads on, and follows a schema by recursion. Neither may end the program.

/// Structures within structures: Parquet's own metadata has eight at most.
const DEPTH_MAX: usize = 32;
/// Groups within groups of a schema.
const SCHEMA_DEPTH_MAX: usize = 64;

const STOP: u8 = 0;
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;

/// Why bytes are not what they should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// They end within a value: there may be more.
    Ended,
    /// What is wrong with them.
    Damaged(&'static str),
}

type Result<T> = std::result::Result<T, Fault>;

/// Reads values one after the other.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    /// How far it has read.
    pub(super) at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    fn byte(&mut self) -> Result<u8> {
        let byte = self.bytes.get(self.at).ok_or(Fault::Ended)?;
        self.at += 1;
        Ok(*byte)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::Damaged("a number of more than 64 bits"))
    }

    fn number(&mut self) -> Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// Goes past so many bytes.
    fn pass(&mut self, bytes: u64) -> Result<()> {
        if bytes > (self.bytes.len() - self.at) as u64 {
            return Err(Fault::Ended);
        }
        self.at += usize::try_from(bytes).map_err(|_| Fault::Ended)?;
        Ok(())
    }

    /// The type of a list's items, and how many there are: each takes a byte at least.
    fn list(&mut self) -> Result<(u8, u64)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            short => u64::from(short),
        };
        if count > (self.bytes.len() - self.at) as u64 {
            return Err(Fault::Ended);
        }
        Ok((head & 0x0F, count))
    }

    /// Reads a structure, each of its fields by `read`, which leaves what it does not know to [`Reader::skip`].
    fn fields(&mut self, mut read: impl FnMut(&mut Self, i64, u8) -> Result<()>) -> Result<()> {
        let mut id = 0i64;
        loop {
            let head = self.byte()?;
            if head & 0x0F == STOP {
                return Ok(());
            }
            id = match head >> 4 {
                0 => self.number()?,
                step => id + i64::from(step),
            };
            read(self, id, head & 0x0F)?;
        }
    }

    /// Goes past a value of this type.
    fn skip(&mut self, kind: u8, depth: usize) -> Result<()> {
        if depth == DEPTH_MAX {
            return Err(Fault::Damaged("structures that lie too deep in others"));
        }
        match kind {
            TRUE | FALSE => Ok(()),
            BYTE => self.pass(1),
            4..=6 => self.varint().map(|_| ()),
            DOUBLE => self.pass(8),
            BINARY => {
                let length = self.varint()?;
                self.pass(length)
            }
            LIST | SET => {
                let (item, count) = self.list()?;
                // As an item a truth value has a byte of its own.
                let item = if matches!(item, TRUE | FALSE) {
                    BYTE
                } else {
                    item
                };
                (0..count).try_for_each(|_| self.skip(item, depth + 1))
            }
            MAP => {
                let count = self.varint()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                for _ in 0..count {
                    self.skip(kinds >> 4, depth + 1)?;
                    self.skip(kinds & 0x0F, depth + 1)?;
                }
                Ok(())
            }
            STRUCT => self.fields(|this, _, kind| this.skip(kind, depth + 1)),
            _ => Err(Fault::Damaged("a value of no known type")),
        }
    }

    /// A number field, as a number that is not negative.
    fn natural(&mut self, kind: u8) -> Result<usize> {
        if !(4..=6).contains(&kind) {
            return Err(Fault::Damaged("a field that should be a number"));
        }
        let number = self.number()?;
        usize::try_from(number).map_err(|_| Fault::Damaged("a negative number"))
    }
}

/// Checks that a footer can be decoded: every length in it is one that it has bytes for.
pub(super) fn check_footer(footer: &[u8]) -> Result<()> {
    const SCHEMA: i64 = 2;
    const CHILDREN: i64 = 5;
    let mut reader = Reader::new(footer);
    reader.fields(|reader, id, kind| {
        if (id, kind) != (SCHEMA, LIST) {
            return reader.skip(kind, 0);
        }
        let (item, count) = reader.list()?;
        if item != STRUCT {
            return Err(Fault::Damaged("a schema that is no list of columns"));
        }
        // How many columns are still to come in each group that is open.
        let mut open: Vec<usize> = Vec::new();
        for _ in 0..count {
            let mut children = 0;
            reader.fields(|reader, id, kind| {
                if id == CHILDREN {
                    children = reader.natural(kind)?;
                    return Ok(());
                }
                reader.skip(kind, 0)
            })?;
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            if children > 0 {
                open.push(children);
            }
            if open.len() > SCHEMA_DEPTH_MAX {
                return Err(Fault::Damaged(
                    "a schema whose groups lie too deep in others",
                ));
            }
            while open.last() == Some(&0) {
                open.pop();
            }
        }
        Ok(())
    })
}

/// What kind of page it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageKind {
    Dictionary,
    Data,
    /// Version 2, which says how many rows begin in it, and leaves its levels uncompressed.
    DataV2 {
        rows: usize,
        levels: usize,
    },
}

/// What stands in front of a page's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PageHeader {
    pub(super) kind: PageKind,
    /// Its own length.
    pub(super) length: usize,
    pub(super) compressed: usize,
    pub(super) uncompressed: usize,
    pub(super) crc: Option<u32>,
    /// Nulls counted.
    pub(super) values: usize,
    /// By which encoding the levels stand there: definition, repetition.
    pub(super) level_encodings: Option<(usize, usize)>,
}

/// The header that `bytes` begin with.
pub(super) fn page_header(bytes: &[u8]) -> Result<PageHeader> {
    let mut reader = Reader::new(bytes);
    let (mut page_type, mut uncompressed, mut compressed, mut crc) = (None, None, None, None);
    // By field: of a page of version 1, of a dictionary, of a page of version 2.
    let mut numbers = [[None; 8]; 9];
    reader.fields(|reader, id, kind| {
        match (id, kind) {
            (1, _) => page_type = Some(reader.natural(kind)?),
            (2, _) => uncompressed = Some(reader.natural(kind)?),
            (3, _) => compressed = Some(reader.natural(kind)?),
            // Its bits are those of an unsigned number.
            (4, 4..=6) => crc = Some((reader.number()? & 0xFFFF_FFFF).cast_unsigned()),
            (5 | 7 | 8, STRUCT) => {
                let of_page = usize::try_from(id).expect("one of these three");
                reader.fields(|reader, id, kind| {
                    match usize::try_from(id).ok().filter(|&id| id < 8) {
                        Some(id) if kind == 5 => numbers[of_page][id] = Some(reader.natural(kind)?),
                        _ => reader.skip(kind, 1)?,
                    }
                    Ok(())
                })?;
            }
            _ => reader.skip(kind, 0)?,
        }
        Ok(())
    })?;
    let missing = Fault::Damaged("a page header without all that it should say");
    let of = |page: usize, field: usize| {
        let number: Option<usize> = numbers[page][field];
        number.ok_or(Fault::Damaged(
            "a page header without all that it should say",
        ))
    };
    let (kind, values, level_encodings) = match page_type {
        Some(0) => (PageKind::Data, of(5, 1)?, Some((of(5, 3)?, of(5, 4)?))),
        Some(2) => (PageKind::Dictionary, of(7, 1)?, None),
        Some(3) => {
            let levels = of(8, 5)?.saturating_add(of(8, 6)?);
            (
                PageKind::DataV2 {
                    rows: of(8, 3)?,
                    levels,
                },
                of(8, 1)?,
                None,
            )
        }
        Some(_) => return Err(Fault::Damaged("a page of no known type")),
        None => return Err(missing),
    };
    match (uncompressed, compressed) {
        (Some(uncompressed), Some(compressed)) => Ok(PageHeader {
            kind,
            length: reader.at,
            compressed,
            uncompressed,
            crc: crc.and_then(|crc| u32::try_from(crc).ok()),
            values,
            level_encodings,
        }),
        _ => Err(missing),
    }
}
