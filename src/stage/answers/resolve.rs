//! From records to the items that were asked about: which is whose, what becomes of each item, and the
//! output in which every one of them is accounted for.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::read::{Fault, joined};
use super::{Answers, OnError, Place, Reader, Records};
use crate::batch::Batch;
use crate::columns::{Column, row_number};
use crate::error::{Error, Result};
use crate::format::json::raw::Pointer;
use crate::format::json::{Document, write_plain};
use crate::schema::count;
use crate::stage::{Counts, Output, Reject, Totals};

/// Why an item is a reject.
#[derive(Debug, Clone, Default)]
pub struct Refusal {
    /// In words.
    pub reason: String,
    /// The column at fault.
    pub column: Option<String>,
    /// The value at fault.
    pub value: Option<String>,
    /// What the kind adds, beside the other members of a reject.
    pub more: Map<String, Value>,
    /// The record at fault.
    pub record: Option<Document>,
}

impl Refusal {
    /// A refusal in words.
    pub fn new(reason: impl Into<String>) -> Self {
        Refusal {
            reason: reason.into(),
            ..Refusal::default()
        }
    }
}

/// What becomes of the items of one batch.
#[derive(Debug)]
pub struct Resolution<'a> {
    reader: &'a Reader,
    batch: Batch,
    keys: Vec<Option<Vec<u8>>>,
    /// For each item the first one with its key: only that is asked about, and speaks for the others.
    leaders: Vec<usize>,
    outcomes: Vec<ItemOutcome>,
    sets: Vec<Records>,
    unexpected: u64,
}

#[derive(Debug, Clone)]
enum ItemOutcome {
    Open,
    /// These records of that set; none: it is empty.
    Answered(usize, Vec<u32>),
    Refused(Refusal),
}

impl Reader {
    /// A settlement of the items in `batch`, all open but those whose key is null.
    pub fn resolve(&self, batch: Batch) -> Resolution<'_> {
        let batch = batch.resolve();
        let rows = batch.rows();
        let keys = self.item_keys(&batch);
        let mut leaders: Vec<usize> = (0..rows).collect();
        let mut first: HashMap<&[u8], usize> = HashMap::new();
        for (row, key) in keys.iter().enumerate() {
            if let Some(key) = key {
                leaders[row] = *first.entry(key).or_insert(row);
            }
        }
        let mut resolution = Resolution {
            reader: self,
            leaders,
            outcomes: vec![ItemOutcome::Open; rows],
            sets: Vec::new(),
            unexpected: 0,
            batch,
            keys: Vec::new(),
        };
        for row in keys
            .iter()
            .enumerate()
            .filter_map(|(row, key)| key.is_none().then_some(row))
        {
            resolution.refuse(row, &Refusal::new("a key that is null matches no record"));
        }
        resolution.keys = keys;
        resolution
    }

    /// What tells whose record is whose; none where there is no `key`.
    fn item_keys(&self, batch: &Batch) -> Vec<Option<Vec<u8>>> {
        if self.key_columns.is_empty() {
            return Vec::new();
        }
        let columns: Vec<Column> = self.key_columns.iter().map(|&i| batch.column(i)).collect();
        let text = |(column, &at): (&Column, &usize), row: usize| {
            let mut text = Vec::new();
            write_plain(column, &self.input.fields[at].ty, row, &mut text);
            (!column.is_null(row)).then(|| String::from_utf8_lossy(&text).into_owned())
        };
        let key = |row| {
            let parts: Vec<Option<String>> = columns
                .iter()
                .zip(&self.key_columns)
                .map(|column| text(column, row))
                .collect();
            joined(parts.iter().map(Option::as_deref))
        };
        (0..batch.rows()).map(key).collect()
    }

    /// The output of a stage without input: every record is a row, or a reject.
    pub fn rows(&self, records: Records) -> Output {
        let rejects: Vec<Reject> = records
            .faults
            .iter()
            .map(|fault| self.record(fault))
            .collect();
        let rows_in = records.len as u64;
        let gone: Vec<u32> = rejects.iter().map(|reject| reject.row).collect();
        let rows = records.len;
        let counts = counts(self.record_counts(std::slice::from_ref(&records)));
        let columns = records.into_columns();
        let mut output = Output {
            rows_in: Some(rows_in),
            counts,
            ..Output::new(Batch::new(columns, rows).without(&gone))
        };
        match rejects.first() {
            Some(first) if self.answers.on_error == OnError::Fail => {
                let before = first.row as usize;
                output.rows_in = Some(before as u64);
                output.batch = output.batch.slice(0, before);
                output.fault = Some(failed(first));
            }
            _ => output.rejects = rejects,
        }
        output
    }

    /// How many records there are, and what is missing in how many.
    fn record_counts(&self, sets: &[Records]) -> impl Iterator<Item = (String, u64)> {
        let sum = |of: &dyn Fn(&Records) -> u64| sets.iter().map(of).sum();
        let all = [
            (RECORDS.to_owned(), sum(&|set| set.len as u64)),
            (WITHOUT_COLUMNS.to_owned(), sum(&|set| set.bare)),
        ];
        let columns = self.answers.columns.iter().enumerate();
        let some = columns.filter_map(|(at, column)| {
            let count: u64 = sum(&|set| set.missing[at]);
            (count > 0).then(|| (missing(&column.name), count))
        });
        all.into_iter().chain(some.collect::<Vec<_>>())
    }

    /// A record as a reject, where it stands for no item.
    fn record(&self, fault: &Fault) -> Reject {
        Reject {
            row: row_number(fault.record),
            reason: fault.reason.clone(),
            column: fault.column.map(|at| self.answers.columns[at].name.clone()),
            value: fault.value.clone(),
            origin: None,
            line: None,
            byte: None,
            document: Document::of_text(&fault.text),
            more: Map::new(),
            record: None,
        }
    }
}

/// Items whose answer has no record for them.
const EMPTY: &str = "empty";
/// Items that gave nothing but rejects.
const REFUSED: &str = "refused";
/// Records that nobody asked for.
const UNEXPECTED: &str = "unexpected";
/// Records of all answers.
const RECORDS: &str = "records";
/// Those that have nothing where any column is looked for.
pub(super) const WITHOUT_COLUMNS: &str = "without_columns";

/// The report's lines about these counts: the count, and what it means.
const WARNED_COUNTS: [(&str, &str, &str); 3] = [
    (EMPTY, "item", "without a record: they go no further"),
    (UNEXPECTED, "record", "not asked for, and left out"),
    (
        WITHOUT_COLUMNS,
        "record",
        "with nothing where any of `columns` is looked for: see `records`",
    ),
];

/// The count of records that have nothing where this column is looked for.
fn missing(column: &str) -> String {
    format!("missing.{column}")
}

impl Answers {
    /// Warns of what the answers of a stage, all of them, have left to be said; of `more` counts too.
    pub fn warn(&self, totals: &mut Totals, more: &[(&str, &str, &str)]) {
        let of = |name: &str| totals.counts.get(name).copied().unwrap_or_default();
        for &(name, what, words) in WARNED_COUNTS.iter().chain(more) {
            if of(name) > 0 {
                let number = usize::try_from(of(name)).unwrap_or(usize::MAX);
                let warning = format!("{} {words}", count(number, what));
                totals.warnings.push(warning);
            }
        }
        let records = of(RECORDS);
        for column in &self.columns {
            let never = records > 0 && of(&missing(&column.name)) == records;
            // Where all are missing it is said above.
            if let (true, Place::Pointer(Pointer(path))) =
                (never && of(WITHOUT_COLUMNS) < records, &column.place)
            {
                totals.warnings.push(format!(
                    "no record has anything at `/{}`: `{}` is null throughout",
                    path.join("/"),
                    column.name
                ));
            }
        }
    }
}

/// Those that are not 0.
fn counts(all: impl IntoIterator<Item = (String, u64)>) -> Counts {
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// What ends a run in which no item may be rejected.
fn failed(reject: &Reject) -> Error {
    let mut message = reject.reason.clone();
    if let Some(column) = &reject.column {
        message = format!("column `{column}`: {message}");
    }
    if let Some(value) = &reject.value {
        message = format!("{message}: `{value}`");
    }
    Error::failed(message)
        .origin(reject.origin)
        .hint("`on_error = \"reject\"` sets such rows aside")
}

impl Resolution<'_> {
    /// The items.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The items that are to be asked about, rising. Of several with one key it is the first.
    pub fn open(&self) -> Vec<usize> {
        let open = |&row: &usize| {
            self.leaders[row] == row && matches!(self.outcomes[row], ItemOutcome::Open)
        };
        (0..self.batch.rows()).filter(open).collect()
    }

    /// An item, and those with its key, cannot be answered.
    pub fn refuse(&mut self, row: usize, refusal: &Refusal) {
        self.set(row, &ItemOutcome::Refused(refusal.clone()));
    }

    fn set(&mut self, row: usize, outcome: &ItemOutcome) {
        for (other, leader) in self.leaders.iter().enumerate() {
            if *leader == row {
                self.outcomes[other] = outcome.clone();
            }
        }
    }

    /// The items `rows` are answered by `records`. An error says why these cannot be matched: the
    /// items are still open then.
    pub fn answer(&mut self, rows: &[usize], records: Records) -> Result<(), String> {
        let mut of_each: Vec<Vec<u32>> = vec![Vec::new(); rows.len()];
        let numbers = 0..row_number(records.len);
        let keyed = !self.reader.key_columns.is_empty();
        let positional = !keyed && self.reader.answers.batch > 1;
        if keyed {
            let whose: HashMap<&[u8], usize> = rows
                .iter()
                .enumerate()
                .filter_map(|(i, &row)| Some((self.keys[row].as_deref()?, i)))
                .collect();
            for (number, key) in numbers.zip(&records.keys) {
                match key.as_deref().and_then(|key| whose.get(key)) {
                    Some(&i) => of_each[i].push(number),
                    None => self.unexpected += 1,
                }
            }
        } else if positional {
            if records.len != rows.len() {
                let records = count(records.len, "record");
                let items = count(rows.len(), "item");
                return Err(format!("the answer has {records} for {items}"));
            }
            of_each
                .iter_mut()
                .zip(numbers)
                .for_each(|(own, number)| own.push(number));
        } else {
            match &mut of_each[..] {
                [own] => own.extend(numbers),
                _ => return Err("only one item at a time has a whole answer".into()),
            }
        }
        let set = self.sets.len();
        for (&row, own) in rows.iter().zip(of_each) {
            let outcome = if keyed && own.is_empty() {
                ItemOutcome::Refused(Refusal::new("no record of the answer has its key"))
            } else {
                ItemOutcome::Answered(set, own)
            };
            self.set(row, &outcome);
        }
        self.sets.push(records);
        Ok(())
    }

    /// The output: each item's rows, its columns and its records', in the order of the items.
    pub fn finish(self) -> Result<Output> {
        let rows = self.batch.rows();
        let mut rejects = Vec::new();
        let mut kept = rows;
        for (row, outcome) in self.outcomes.iter().enumerate() {
            match outcome {
                ItemOutcome::Refused(refusal) => rejects.push(self.reject(row, refusal)),
                ItemOutcome::Answered(set, own) => {
                    let faulty = own.iter().filter_map(|&number| self.fault(*set, number));
                    let refusal = |fault| self.refusal(fault, own.len() == 1);
                    rejects.extend(faulty.map(|fault| self.reject(row, &refusal(fault))));
                }
                ItemOutcome::Open => {
                    return Err(Error::failed("an item was not settled")
                        .hint("this is a bug in etl: please report it"));
                }
            }
        }
        let mut fault = None;
        if let (OnError::Fail, Some(first)) = (self.reader.answers.on_error, rejects.first()) {
            kept = first.row as usize;
            fault = Some(failed(first));
            rejects.clear();
        }
        let mut bases = Vec::with_capacity(self.sets.len());
        let mut base = 0;
        for set in &self.sets {
            bases.push(base);
            base += row_number(set.len);
        }
        let (mut items, mut records) = (Vec::new(), Vec::new());
        let (mut answered, mut empty, mut refused, mut added) = (0, 0, 0, 0);
        for (row, outcome) in self.outcomes[..kept].iter().enumerate() {
            if let ItemOutcome::Answered(set, own) = outcome {
                let before = records.len();
                let fit = own
                    .iter()
                    .filter(|number| self.fault(*set, **number).is_none());
                records.extend(fit.map(|number| bases[*set] + number));
                items.resize(records.len(), row_number(row));
                let gives = records.len() > before;
                answered += u64::from(gives);
                empty += u64::from(own.is_empty());
                refused += u64::from(!gives && !own.is_empty());
                added += own.len().saturating_sub(1) as u64;
            } else {
                refused += 1;
            }
        }
        let outcomes = [
            ("answered", answered),
            (EMPTY, empty),
            (REFUSED, refused),
            (UNEXPECTED, self.unexpected),
        ];
        let outcomes = outcomes.map(|(name, count)| (name.to_owned(), count));
        let counts = counts(
            outcomes
                .into_iter()
                .chain(self.reader.record_counts(&self.sets)),
        );
        let carried = self.batch.take(&items);
        let origins = carried.origins().cloned();
        let mut columns = carried.plain();
        columns.extend(self.reader.take(self.sets, &records));
        Ok(Output {
            rows_in: Some(kept as u64),
            added,
            dropped: empty,
            rejects,
            counts,
            fault,
            ..Output::new(Batch::new(columns, items.len()).with_origins(origins))
        })
    }

    /// What is wrong with a record of the set `set`.
    fn fault(&self, set: usize, number: u32) -> Option<&Fault> {
        self.sets[set].fault(number as usize)
    }

    /// Why an item has a record less: all that it has, if that is its `only` one.
    fn refusal(&self, fault: &Fault, only: bool) -> Refusal {
        let reason = if only {
            format!("in the answer, {}", fault.reason)
        } else {
            format!(
                "in record {} of the answer, {}",
                fault.record + 1,
                fault.reason
            )
        };
        Refusal {
            reason,
            column: fault
                .column
                .map(|at| self.reader.answers.columns[at].name.clone()),
            value: fault.value.clone(),
            more: Map::new(),
            record: Some(Document::of_text(&fault.text)),
        }
    }

    fn reject(&self, row: usize, refusal: &Refusal) -> Reject {
        let mut reject = Reject::of(
            &self.batch,
            &self.reader.input,
            row,
            refusal.column.as_deref(),
            refusal.value.as_deref(),
            refusal.reason.clone(),
        );
        reject.more.clone_from(&refusal.more);
        reject.record.clone_from(&refusal.record);
        reject
    }
}

impl Reader {
    /// The columns of records, numbered through all sets.
    fn take(&self, sets: Vec<Records>, records: &[u32]) -> Vec<Column> {
        let sets: Vec<Vec<Column>> = sets.into_iter().map(Records::into_columns).collect();
        let column = |(at, wanted): (usize, &super::Wanted)| {
            let parts: Vec<&Column> = sets.iter().map(|columns| &columns[at]).collect();
            if parts.is_empty() {
                return Column::empty(&wanted.target.field("").ty);
            }
            Column::concat(&parts).take(records)
        };
        self.answers
            .columns
            .iter()
            .enumerate()
            .map(column)
            .collect()
    }
}
