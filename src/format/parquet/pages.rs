//! The pages of a column chunk, one after the other as they lie there.

use polars_buffer::Buffer;
use polars_parquet::parquet::compression::{Compression, DecompressionContext};
use polars_parquet::parquet::encoding::hybrid_rle::HybridRleDecoder;
use polars_parquet::parquet::page::{Page, split_buffer};
use polars_parquet::parquet::read::levels::get_bit_width;
use polars_parquet::parquet::read::{PageMetaData, PageReader, decompress};

use super::shape::Shape;
use super::thrift::{Fault, PageHeader, PageKind, page_header};
use crate::format::compression::gzip::checksum;
use crate::format::guard::guarded;

/// A page's bytes are decompressed at once: writers cut pages at 1 MB, some at 100 MB.
pub(super) const PAGE_BYTES_MAX: usize = 256 << 20;
/// Of a page of lists the levels are decoded at once, two bytes each.
const LEVELS_MAX: usize = 1 << 26;
/// How the levels of pages stand there today, and by a writer of today.
const RLE: usize = 3;

/// A page, and where it lies in the bytes that it was found in.
pub(super) struct FoundPage {
    pub(super) header: PageHeader,
    pub(super) length: usize,
}

/// The page that `bytes` begin with; `None` if they end within it.
pub(super) fn first_page(
    bytes: &[u8],
    shape: &Shape,
    codec: Compression,
) -> Result<Option<FoundPage>, String> {
    let header = match page_header(bytes) {
        Ok(header) => header,
        Err(Fault::Ended) => return Ok(None),
        Err(Fault::Damaged(what)) => return Err(what.into()),
    };
    if header.uncompressed > PAGE_BYTES_MAX {
        let (size, most) = (header.uncompressed, PAGE_BYTES_MAX);
        return Err(format!("a page of {size} bytes; at most {most} are read"));
    }
    let is_stored = codec == Compression::Uncompressed;
    if is_stored && header.compressed != header.uncompressed {
        return Err(format!(
            "an uncompressed page of {} bytes that is to have {}",
            header.compressed, header.uncompressed
        ));
    }
    match header.kind {
        // An entry takes a byte at least.
        PageKind::Dictionary if header.values > header.uncompressed => {
            return Err(format!(
                "a dictionary of {} entries in {} bytes",
                header.values, header.uncompressed
            ));
        }
        PageKind::DataV2 { levels, .. } if levels > header.uncompressed => {
            return Err("a page whose levels are longer than itself".into());
        }
        _ => {}
    }
    if shape.is_nested() && header.values > LEVELS_MAX {
        let values = header.values;
        return Err(format!(
            "a page of {values} values; at most {LEVELS_MAX} are read"
        ));
    }
    let (definition, repetition) = shape.levels();
    if let Some((by, in_lists)) = header.level_encodings
        && (definition > 0 && by != RLE || repetition > 0 && in_lists != RLE)
    {
        return Err("levels in the old bit-packed encoding, which is not read".into());
    }
    let length = header.length.saturating_add(header.compressed);
    Ok((length <= bytes.len()).then_some(FoundPage { header, length }))
}

/// What the pages of a chunk, or some of them, have together.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) values: usize,
    /// Bytes once they are decompressed.
    pub(super) uncompressed: usize,
}

/// Checks pages that have so many values: that they are whole, and what their checksums say.
pub(super) fn check(
    mut bytes: &[u8],
    shape: &Shape,
    codec: Compression,
    values: usize,
) -> Result<Totals, String> {
    let mut totals = Totals::default();
    let mut is_first = true;
    while totals.values < values {
        let Some(FoundPage { header, length }) = first_page(bytes, shape, codec)? else {
            return Err(format!(
                "its pages end after {} of {values} values",
                totals.values
            ));
        };
        let (page, rest) = bytes.split_at(length);
        let is_other = |expected| checksum(&page[header.length..]) != expected;
        if header.crc.is_some_and(is_other) {
            return Err("a page does not fit its checksum".into());
        }
        if header.kind == PageKind::Dictionary {
            if !is_first {
                return Err("a dictionary that is not its first page".into());
            }
        } else {
            totals.values += header.values;
        }
        totals.uncompressed += header.uncompressed;
        (bytes, is_first) = (rest, false);
    }
    if totals.values != values {
        let found = totals.values;
        return Err(format!(
            "its pages have {found} values, and it is to have {values}"
        ));
    }
    Ok(totals)
}

/// Whether a page lies in several of Hadoop's lz4 frames, of which only one is read: the first begins with the length of
/// the bytes as they were, and each with its own length.
pub(super) fn is_in_frames(mut bytes: &[u8], shape: &Shape) -> bool {
    while let Ok(Some(FoundPage { header, length })) = first_page(bytes, shape, Compression::Lz4) {
        let levels = match header.kind {
            PageKind::DataV2 { levels, .. } => levels,
            _ => 0,
        };
        let (page, rest) = bytes.split_at(length);
        let frame = page.get(header.length + levels..).unwrap_or_default();
        if let Some(([plain, stored], frame)) = lengths(frame)
            && (1..=header.uncompressed.saturating_sub(levels)).contains(&plain)
            && stored < frame.len()
        {
            return true;
        }
        bytes = rest;
    }
    false
}

/// The two lengths that the first frame begins with, and what follows them.
fn lengths(frame: &[u8]) -> Option<([usize; 2], &[u8])> {
    let (plain, rest) = frame.split_first_chunk()?;
    let (stored, rest) = rest.split_first_chunk()?;
    let length = |bytes: &[u8; 4]| u32::from_be_bytes(*bytes) as usize;
    Some(([length(plain), length(stored)], rest))
}

/// A reader of pages that lie in memory.
pub(super) fn reader(
    bytes: Buffer<u8>,
    shape: &Shape,
    codec: Compression,
    values: usize,
) -> PageReader {
    let values = i64::try_from(values).expect("memory ends before 2^63");
    let metadata = PageMetaData::new(0, values, codec, shape.descriptor());
    PageReader::new_with_page_meta(
        std::io::Cursor::new(bytes),
        metadata,
        Vec::new(),
        PAGE_BYTES_MAX,
    )
}

/// How many rows begin in a page, and whether it begins within one. Of a page of version 1 with lists only the page
/// itself tells.
pub(super) fn rows_of(
    page: &[u8],
    header: &PageHeader,
    shape: &Shape,
    codec: Compression,
) -> Result<(usize, bool), String> {
    match header.kind {
        PageKind::DataV2 { rows, .. } => return Ok((rows, false)),
        _ if !shape.is_nested() => return Ok((header.values, false)),
        _ => {}
    }
    let mut pages = reader(Buffer::from(page.to_vec()), shape, codec, header.values);
    let levels = guarded(|| {
        let Some(page) = pages.next().transpose()? else {
            return Ok(Vec::new());
        };
        let mut context = DecompressionContext::Unset;
        let Page::Data(page) = decompress(page, &mut Vec::new(), &mut context)? else {
            return Ok(Vec::new());
        };
        let bits = get_bit_width(shape.levels().1);
        let levels = split_buffer(&page)?.rep;
        HybridRleDecoder::new(levels, bits, page.num_values()).collect()
    })?;
    let rows = levels.iter().filter(|&&level| level == 0).count();
    Ok((rows, levels.first().is_some_and(|&level| level > 0)))
}
