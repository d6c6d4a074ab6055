//! Asking the embedded index. What is found, and in which order, depends on the documents alone: not
//! on how they fell into segments, nor on documents that were overwritten and linger there.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tantivy::collector::{Collector, DocSetCollector, SegmentCollector};
use tantivy::columnar::StrColumn;
use tantivy::query::{Bm25StatisticsProvider, QueryParser};
use tantivy::schema::{Field, FieldType, IndexRecordOption, Schema, Value};
use tantivy::{
    DocAddress, DocId, IndexReader, ReloadPolicy, Score, Searcher, SegmentOrdinal, SegmentReader,
    TantivyDocument, TantivyError, Term,
};

use super::super::query_limits;
use super::document::{DYNAMIC, ID, SOURCE, WORDS};
use super::members::Members;
use super::opening::{failed, open, real, stored_mapping};
use super::query;
use crate::error::Result;
use crate::stage::index::{Facet, Hit, Hits};
use crate::stage::partial_file;

/// Asks the index in `dir`, in tantivy's query syntax; gives at most `limit` hits. Bare words are
/// looked for in all text and keyword fields, and in the texts that the mapping does not name.
pub(in super::super) fn search(dir: &Path, query: &str, limit: usize) -> Result<Hits> {
    ask(dir, query, &Best { limit }, |searcher, (total, best)| {
        let source = searcher.schema().get_field(SOURCE)?;
        let hits = best.into_iter().map(|found| {
            let document: TantivyDocument = searcher.doc(found.at)?;
            let text = document.get_first(source).and_then(|value| value.as_str());
            Ok(Hit {
                id: found.id,
                score: found.score,
                source: text.unwrap_or("{}").to_owned(),
            })
        });
        Ok(Hits {
            total,
            hits: hits.collect::<tantivy::Result<_>>()?,
        })
    })
}

/// The `limit` most frequent values of a field of what [`search`] finds.
pub(in super::super) fn facet(dir: &Path, query: &str, field: &str, limit: usize) -> Result<Facet> {
    ask(dir, query, &DocSetCollector, |searcher, found| {
        let source = searcher.schema().get_field(SOURCE)?;
        let total = found.len() as u64;
        // In the order they lie, so that a block of documents is read once.
        let mut found: Vec<DocAddress> = found.into_iter().collect();
        found.sort_unstable();
        let mut counts = BTreeMap::new();
        for at in found {
            let document: TantivyDocument = searcher.doc(at)?;
            let text = document.get_first(source).and_then(|value| value.as_str());
            let document = serde_json::from_str(text.unwrap_or("{}")).unwrap_or_default();
            let mut values = BTreeSet::new();
            gather(&document, field, &mut values);
            for value in values {
                *counts.entry(value).or_insert(0) += 1;
            }
        }
        Ok(most_frequent(total, counts, limit))
    })
}

/// The values of a field, as JSON: each of a list, those of a member of a member, no null.
fn gather(value: &serde_json::Value, field: &str, values: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Array(items) => {
            for item in items {
                gather(item, field, values);
            }
        }
        serde_json::Value::Object(members) if !field.is_empty() => {
            if let Some(value) = members.get(field) {
                gather(value, "", values);
            }
            for (at, _) in field.match_indices('.') {
                if let Some(inner) = members.get(&field[..at]) {
                    gather(inner, &field[at + 1..], values);
                }
            }
        }
        serde_json::Value::Null => {}
        value if field.is_empty() => {
            values.insert(value.to_string());
        }
        _ => {}
    }
}

fn most_frequent(total: u64, counts: BTreeMap<String, u64>, limit: usize) -> Facet {
    let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| Reverse(*count));
    let more = counts.len().saturating_sub(limit) as u64;
    let values = counts.into_iter().take(limit);
    let values =
        values.map(|(text, count)| (serde_json::from_str(&text).unwrap_or_default(), count));
    Facet {
        total,
        values: values.collect(),
        more,
    }
}

/// Asks the index that is `dir`; `made` makes something of what the collector found.
///
/// A run may put another index in its place meanwhile, and delete this one under the search, which then asks
/// the other one.
fn ask<C: Collector, T>(
    dir: &Path,
    query: &str,
    collector: &C,
    made: impl Fn(&Searcher, C::Fruit) -> tantivy::Result<T>,
) -> Result<T> {
    query_limits::check(query)?;
    let dir = real(dir);
    let mut there = found(&dir);
    loop {
        let answer = ask_in(&there.0, query, collector, &made);
        let now = found(&dir);
        if answer.is_ok() || now == there {
            return answer;
        }
        there = now;
    }
}

/// Where the index `dir` is at this moment, and which folder that is.
fn found(dir: &Path) -> (PathBuf, Option<(u64, u64)>) {
    let path = partial_file::standing(dir);
    let folder = std::fs::metadata(&path).ok();
    let folder = folder.map(|found| (found.dev(), found.ino()));
    (path, folder)
}

fn ask_in<C: Collector, T>(
    dir: &Path,
    query: &str,
    collector: &C,
    made: &impl Fn(&Searcher, C::Fruit) -> tantivy::Result<T>,
) -> Result<T> {
    let index = open(dir)?;
    let fault = |error: TantivyError| failed("search", dir, &error);
    let reader: IndexReader = index
        .reader_builder()
        .reload_policy(ReloadPolicy::Manual)
        .try_into()
        .map_err(fault)?;
    let schema = index.schema();
    let bare = default_fields(&schema);
    let searcher = reader.searcher();
    let mapping = stored_mapping(dir)?;
    let members = Members::new(dir, &searcher, &mapping);
    let ast = query::parse(query, &schema, &bare, &members)?;
    let mut parser = QueryParser::for_index(&index, bare);
    parser.allow_regexes();
    let asked = parser
        .build_query_from_user_input_ast(ast)
        .map_err(|error| query::refused(query, &error))?;
    let statistics = Statistics(&searcher);
    let found = searcher.search_with_statistics_provider(&*asked, collector, &statistics);
    let found = found.map_err(|error| match error {
        // Such as `FIELD:*` for a field that cannot be asked so.
        TantivyError::SchemaError(_) | TantivyError::InvalidArgument(_) => {
            query_limits::malformed(query).cause(error)
        }
        other => fault(other),
    })?;
    made(&searcher, found).map_err(fault)
}

/// The fields of bare words.
fn default_fields(schema: &Schema) -> Vec<Field> {
    let fields = schema.fields().filter(|(_, entry)| match entry.name() {
        ID | SOURCE => false,
        // No bare word is found here, but it makes tantivy look here for members that are no field.
        DYNAMIC | WORDS => true,
        _ => matches!(entry.field_type(), FieldType::Str(_)),
    });
    fields.map(|(field, _)| field).collect()
}

/// The numbers that scores are made from, of the documents that can be found. Tantivy's own count
/// overwritten ones until their segment is merged, so that equal indexes would score differently.
struct Statistics<'a>(&'a Searcher);

impl Bm25StatisticsProvider for Statistics<'_> {
    fn total_num_docs(&self) -> tantivy::Result<u64> {
        Ok(self.0.num_docs())
    }

    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        if !self.0.schema().get_field_entry(field).has_fieldnorms() {
            // Without lengths each document counts as one token long.
            return Ok(self.0.num_docs());
        }
        let mut tokens = 0;
        for segment in self.0.segment_readers() {
            let lengths = segment.get_fieldnorms_reader(field)?;
            tokens += segment
                .doc_ids_alive()
                .map(|doc| u64::from(lengths.fieldnorm(doc)))
                .sum::<u64>();
        }
        Ok(tokens)
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        let mut docs = 0;
        for segment in self.0.segment_readers() {
            let terms = segment.inverted_index(term.field())?;
            docs += u64::from(match segment.alive_bitset() {
                None => terms.doc_freq(term)?,
                Some(alive) => terms
                    .read_postings(term, IndexRecordOption::Basic)?
                    .map_or(0, |postings| postings.doc_freq_given_deletes(alive)),
            });
        }
        Ok(docs)
    }
}

/// Counts all hits and keeps the best.
struct Best {
    limit: usize,
}

/// A hit of the whole index.
struct Found {
    score: Score,
    id: String,
    at: DocAddress,
}

impl Collector for Best {
    type Fruit = (u64, Vec<Found>);
    type Child = SegmentBest;

    fn for_segment(
        &self,
        segment: SegmentOrdinal,
        reader: &SegmentReader,
    ) -> tantivy::Result<SegmentBest> {
        Ok(SegmentBest {
            limit: self.limit,
            segment,
            ids: reader.fast_fields().str(ID)?,
            total: 0,
            best: BinaryHeap::new(),
        })
    }

    fn requires_scoring(&self) -> bool {
        self.limit > 0
    }

    fn merge_fruits(
        &self,
        segments: Vec<tantivy::Result<Self::Fruit>>,
    ) -> tantivy::Result<Self::Fruit> {
        let mut total = 0;
        let mut best = Vec::new();
        for segment in segments {
            let (hits, of_segment) = segment?;
            total += hits;
            best.extend(of_segment);
        }
        best.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
        best.truncate(self.limit);
        Ok((total, best))
    }
}

/// The best hits of one segment. Its ids are numbered in their order, so that ties need no text.
struct SegmentBest {
    limit: usize,
    segment: SegmentOrdinal,
    ids: Option<StrColumn>,
    total: u64,
    /// The worst on top.
    best: BinaryHeap<Reverse<Ranked>>,
}

/// A hit of one segment; the greater the better.
#[derive(Clone, Copy, PartialEq)]
struct Ranked {
    score: Score,
    id: Reverse<u64>,
    doc: DocId,
}

impl Eq for Ranked {}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score
            .total_cmp(&other.score)
            .then(self.id.cmp(&other.id))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl SegmentCollector for SegmentBest {
    type Fruit = tantivy::Result<(u64, Vec<Found>)>;

    fn collect(&mut self, doc: DocId, score: Score) {
        self.total += 1;
        if self.limit == 0 {
            return;
        }
        let score = even(score);
        let full = self.best.len() == self.limit;
        if full
            && self
                .best
                .peek()
                .is_some_and(|Reverse(worst)| score < worst.score)
        {
            return;
        }
        let ids = self.ids.as_ref();
        let id = Reverse(
            ids.and_then(|ids| ids.ords().first(doc))
                .unwrap_or(u64::MAX),
        );
        self.best.push(Reverse(Ranked { score, id, doc }));
        if full {
            self.best.pop();
        }
    }

    fn harvest(self) -> Self::Fruit {
        let mut found = Vec::with_capacity(self.best.len());
        for Reverse(ranked) in self.best {
            let mut id = String::new();
            if let Some(ids) = &self.ids {
                ids.ord_to_str(ranked.id.0, &mut id)?;
            }
            found.push(Found {
                score: ranked.score,
                id,
                at: DocAddress::new(self.segment, ranked.doc),
            });
        }
        Ok((self.total, found))
    }
}

/// A score without its last bits. Tantivy adds a document's terms up in an order that depends on its
/// segment, and sums of floats on their order; so that equal documents tie, 16 bits are kept.
fn even(score: Score) -> Score {
    const LAST: u32 = 1 << 7;
    Score::from_bits((score.to_bits() + LAST / 2) & !(LAST - 1))
}
