//! The order of rows by some columns, each rising or falling, nulls first: strings bytewise, numbers and dates by value,
//! false before true.
//!
//! A row's values are compared as a sequence of 64-bit words whose order as numbers is the order of the values. A number
//! is one word, a text as many as it takes, seven bytes each. To sort is to sort pairs of the first word and the row,
//! packed into one number, and then, by their next word, the runs of rows whose words are alike: most rows are never
//! looked at again after the first word. Rows that are alike in all words keep their order, as the row is the low part.

use std::cmp::Ordering;
use std::ops::Range;

use polars_arrow::array::Utf8ViewArray;
use polars_arrow::bitmap::Bitmap;
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::columns::{Column, row_number};
use crate::error::{Error, Result, every};
use crate::schema::{Schema, Type};

/// A column that rows are ordered by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SortColumn {
    /// Its name.
    pub name: String,
    /// Whether high values come first; nulls do in any case.
    pub falling: bool,
}

impl SortColumn {
    /// The column that a word of the pipeline file names: `-` before a name is for falling.
    pub fn of(word: &str) -> Self {
        let name = word.strip_prefix('-');
        SortColumn {
            name: name.unwrap_or(word).to_owned(),
            falling: name.is_some(),
        }
    }

    /// The word.
    pub fn as_word(&self) -> String {
        let sign = if self.falling { "-" } else { "" };
        format!("{sign}{}", self.name)
    }

    /// Where it stands in a schema; an error if it has no order.
    fn position(&self, schema: &Schema) -> Result<usize> {
        let position = schema.index(&self.name).map_err(|mut error| {
            // The file has it with its sign.
            error.values.clear();
            error.of([self.as_word()])
        })?;
        let field = &schema.fields[position];
        match field.ty {
            Type::List(_) | Type::Binary => Err(Error::usage(format!(
                "column `{}` is a {}, which has no order",
                field.name,
                field.ty.name()
            ))
            .of([self.as_word()])),
            _ => Ok(position),
        }
    }
}

/// Where columns stand in a schema, and which of them fall.
pub fn positions(columns: &[SortColumn], schema: &Schema) -> Result<Vec<(usize, bool)>> {
    every(columns.iter().map(|column| {
        let position = column.position(schema)?;
        Ok((position, column.falling))
    }))
}

/// How the rows of one batch are ordered.
pub struct Order {
    columns: Vec<Words>,
    rows: usize,
}

/// A column as words.
struct Words {
    values: Values,
    /// With so many bytes all texts begin alike: their words begin after these.
    skipped: usize,
    /// Which values are not null; `None`: all.
    validity: Option<Bitmap>,
    /// Changes the words of values so that they fall.
    mask: u64,
    /// Whether the first word only says whether there is a value: where there are nulls, which come before all values,
    /// and a value whose word is 0.
    is_split: bool,
}

enum Values {
    Texts(Utf8ViewArray),
    /// The words of values of fixed width, rising.
    Fixed(Vec<u64>),
}

/// Which word of a row.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Of which of the columns.
    column: usize,
    /// Which of its words.
    word: usize,
}

const FIRST: Place = Place { column: 0, word: 0 };

/// Bytes of a text in a word. The last byte says how many of them are there, so that "a" comes before "a\0".
const TEXT_BYTES: usize = 7;
/// What the last byte says where the text goes on.
const MORE: u64 = TEXT_BYTES as u64 + 2;

/// A word of a text that begins with byte `from`; never 0, rising or falling.
#[inline]
fn text_word(text: &[u8], from: usize) -> u64 {
    let rest = text.get(from..).unwrap_or_default();
    if let Some(first) = rest.first_chunk::<8>() {
        return u64::from_be_bytes(*first) & !0xFF | MORE;
    }
    let mut bytes = [0; 8];
    bytes[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(bytes) | (rest.len() as u64 + 1)
}

/// How many bytes all texts that are not null begin with alike. Keys such as addresses or ids share many, and the rows of
/// a range share more, so that without these the first word would seldom decide.
fn common_prefix(texts: &Utf8ViewArray, validity: Option<&Bitmap>) -> usize {
    let is_known = |row: &usize| validity.is_none_or(|bits| bits.get_bit(*row));
    let mut known = (0..texts.len()).filter(is_known);
    let mut prefix = known
        .next()
        .map_or(&[][..], |row| texts.value(row).as_bytes());
    for row in known {
        let text = texts.value(row).as_bytes();
        if !text.starts_with(prefix) {
            let alike = prefix.iter().zip(text).take_while(|(a, b)| a == b);
            prefix = &prefix[..alike.count()];
        }
        if prefix.is_empty() {
            break;
        }
    }
    prefix.len()
}

/// A number whose order is that of floats, which are never NaN; adding zero makes -0 and 0 one value.
#[inline]
fn float_word(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 1 {
        !bits
    } else {
        bits | 1 << 63
    }
}

impl Words {
    fn new(column: &Column, falling: bool) -> Words {
        let values = match column {
            Column::Strings(texts) => Values::Texts(texts.clone()),
            Column::Ints(ints) => {
                let word = |value: &i64| value.cast_unsigned() ^ 1 << 63;
                Values::Fixed(ints.values().iter().map(word).collect())
            }
            Column::Floats(floats) => {
                let words = floats.values().iter().map(|&value| float_word(value));
                Values::Fixed(words.collect())
            }
            // Neither of them is 0, falling or not.
            Column::Bools(bools) => {
                let words = bools.values().iter().map(|value| 1 + u64::from(value));
                Values::Fixed(words.collect())
            }
            Column::Bytes(_) | Column::Lists(_) => unreachable!("`positions` refuses them"),
        };
        let validity = column.validity().filter(|bits| bits.unset_bits() > 0);
        let mask = if falling { u64::MAX } else { 0 };
        let is_split = match (&values, validity) {
            (Values::Fixed(words), Some(validity)) => {
                let mut known = words.iter().zip(validity);
                known.any(|(word, is_valid)| is_valid && word ^ mask == 0)
            }
            _ => false,
        };
        let skipped = match &values {
            Values::Texts(texts) => common_prefix(texts, validity),
            Values::Fixed(_) => 0,
        };
        Words {
            values,
            skipped,
            validity: validity.cloned(),
            mask,
            is_split,
        }
    }

    /// Word `word` of a row.
    #[inline]
    fn get(&self, word: usize, row: usize) -> u64 {
        if self
            .validity
            .as_ref()
            .is_some_and(|bits| !bits.get_bit(row))
        {
            return 0;
        }
        match &self.values {
            Values::Texts(texts) => {
                let from = self.skipped + word * TEXT_BYTES;
                text_word(texts.value(row).as_bytes(), from) ^ self.mask
            }
            Values::Fixed(_) if self.is_split && word == 0 => 1,
            Values::Fixed(words) => words[row] ^ self.mask,
        }
    }

    /// Whether rows that have word `word` alike may differ in the next word of this column.
    #[inline]
    fn goes_on(&self, word: usize, found: u64) -> bool {
        match self.values {
            Values::Texts(_) => found != 0 && (found ^ self.mask) & 0xFF == MORE,
            Values::Fixed(_) => self.is_split && word == 0,
        }
    }
}

/// A word and a row as one number.
type Entry = u128;

fn word_of(entry: Entry) -> u64 {
    u64::try_from(entry >> 32).expect("32 bits less are 64 at most")
}

fn row_of(entry: Entry) -> u32 {
    u32::try_from(entry & u128::from(u32::MAX)).expect("32 bits are left")
}

impl Order {
    /// The order of a batch's rows by columns at these places, the falling ones marked.
    pub fn new(batch: &Batch, by: &[(usize, bool)]) -> Order {
        let columns = by.iter();
        let columns = columns.map(|&(column, falling)| Words::new(&batch.column(column), falling));
        Order {
            columns: columns.collect(),
            rows: batch.rows(),
        }
    }

    /// The same order, whose keys ([`Order::key`]) can be compared with those of other batches.
    pub fn across_batches(batch: &Batch, by: &[(usize, bool)]) -> Order {
        let mut order = Order::new(batch, by);
        for words in &mut order.columns {
            // Neither depends on the values of this batch then.
            words.skipped = 0;
            words.is_split = matches!(words.values, Values::Fixed(_));
        }
        order
    }

    /// The words of a row as bytes, whose bytewise order is the order of the rows.
    pub fn key(&self, row: usize) -> Vec<u8> {
        let mut key = Vec::new();
        let mut next = Some(FIRST);
        while let Some(place) = next {
            let word = self.columns[place.column].get(place.word, row);
            key.extend(word.to_be_bytes());
            next = self.after(place, word);
        }
        key
    }

    /// The place of the word that decides between rows which have the word at `place` alike; `None`: none does.
    fn after(&self, place: Place, found: u64) -> Option<Place> {
        if self.columns[place.column].goes_on(place.word, found) {
            return Some(Place {
                word: place.word + 1,
                ..place
            });
        }
        let column = place.column + 1;
        (column < self.columns.len()).then_some(Place { column, word: 0 })
    }

    /// The first word of each row.
    pub fn first_words(&self) -> Vec<u64> {
        let words = &self.columns[0];
        (0..self.rows).map(|row| words.get(0, row)).collect()
    }

    /// How two rows are ordered, the earlier one first if they are alike.
    pub fn compare(&self, a: u32, b: u32) -> Ordering {
        let mut next = Some(FIRST);
        while let Some(place) = next {
            let words = &self.columns[place.column];
            let found = words.get(place.word, a as usize);
            match found.cmp(&words.get(place.word, b as usize)) {
                Ordering::Equal => next = self.after(place, found),
                other => return other,
            }
        }
        a.cmp(&b)
    }

    /// All rows in order.
    pub fn sorted(&self) -> Vec<u32> {
        let mut entries: Vec<Entry> = (0..row_number(self.rows)).map(Entry::from).collect();
        // Runs of rows that are alike in all words before a place.
        let mut alike: Vec<(Range<usize>, Place)> = vec![(0..self.rows, FIRST)];
        while let Some((range, place)) = alike.pop() {
            let from = range.start;
            let run = &mut entries[range];
            let words = &self.columns[place.column];
            for entry in run.iter_mut() {
                let row = row_of(*entry);
                let word = words.get(place.word, row as usize);
                *entry = u128::from(word) << 32 | u128::from(row);
            }
            run.sort_unstable();
            let mut start = 0;
            for same in run.chunk_by(|a, b| word_of(*a) == word_of(*b)) {
                let end = start + same.len();
                if same.len() > 1
                    && let Some(next) = self.after(place, word_of(same[0]))
                {
                    alike.push((from + start..from + end, next));
                }
                start = end;
            }
        }
        entries.into_iter().map(row_of).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::{collection::vec, option};

    use super::*;

    /// A row: a text, an integer, a float, a truth value.
    type Row = (Option<String>, Option<i64>, Option<f64>, Option<bool>);

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let text = "[a\\u{0}é]{0,3}|long(er)?( than a view){0,2}[\\u{0}b]{0,2}";
        let int = prop_oneof![Just(i64::MIN), Just(i64::MAX), -2i64..3];
        let float = prop_oneof![
            Just(f64::MIN),
            Just(f64::MAX),
            Just(-0.0),
            Just(0.0),
            -1.0..1.0
        ];
        let row = (
            option::of(text),
            option::of(int),
            option::of(float),
            option::of(any::<bool>()),
        );
        vec(row, 0..60)
    }

    /// A column of values that may be null.
    fn column<T: Copy + Default>(
        values: impl Iterator<Item = Option<T>> + Clone,
        make: impl Fn(Vec<T>, Option<Bitmap>) -> Column,
    ) -> Column {
        let validity = values.clone().map(|value| value.is_some()).collect();
        make(
            values.map(Option::unwrap_or_default).collect(),
            Some(validity),
        )
    }

    fn batch(rows: &[Row]) -> Batch {
        let columns = vec![
            Column::from_strings(rows.iter().map(|row| row.0.as_deref())),
            column(rows.iter().map(|row| row.1), Column::from_ints),
            column(rows.iter().map(|row| row.2), Column::from_floats),
            column(rows.iter().map(|row| row.3), |values, validity| {
                Column::from_bools(&values, validity)
            }),
        ];
        Batch::new(columns, rows.len())
    }

    /// The order of two rows in one column, by comparing values.
    fn plain(a: &Row, b: &Row, column: usize) -> (bool, Ordering) {
        let has = |row: &Row| match column {
            0 => row.0.is_some(),
            1 => row.1.is_some(),
            2 => row.2.is_some(),
            _ => row.3.is_some(),
        };
        let by_value = match column {
            0 => {
                a.0.as_ref()
                    .map(String::as_bytes)
                    .cmp(&b.0.as_ref().map(String::as_bytes))
            }
            1 => a.1.cmp(&b.1),
            2 => a.2.partial_cmp(&b.2).expect("none is NaN"),
            _ => a.3.cmp(&b.3),
        };
        (has(a) && has(b), by_value)
    }

    proptest! {
        #[test]
        fn rows_are_sorted_as_values_are(mut rows in rows(), prefix in "é{0,5}", by in vec((0usize..4, any::<bool>()), 1..4)) {
            for text in rows.iter_mut().filter_map(|row| row.0.as_mut()) {
                text.insert_str(0, &prefix);
            }
            let compare = |a: &usize, b: &usize| {
                let mut columns = by.iter().map(|&(column, falling)| {
                    let (are_values, order) = plain(&rows[*a], &rows[*b], column);
                    if falling && are_values { order.reverse() } else { order }
                });
                columns.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
            };
            let mut expected: Vec<usize> = (0..rows.len()).collect();
            expected.sort_by(compare);
            let order = Order::new(&batch(&rows), &by);
            let sorted: Vec<usize> = order.sorted().into_iter().map(|row| row as usize).collect();
            prop_assert_eq!(&sorted, &expected);
            for pair in expected.windows(2) {
                let (a, b) = (row_number(pair[0]), row_number(pair[1]));
                prop_assert_eq!(order.compare(a, b), Ordering::Less);
                prop_assert_eq!(order.compare(b, a), Ordering::Greater);
            }
        }
    }

    proptest! {
        #[test]
        fn keys_of_rows_of_several_batches_are_in_their_order(a in rows(), b in rows(), by in vec((0usize..4, any::<bool>()), 1..4)) {
            let key = |rows: &[Row]| {
                let order = Order::across_batches(&batch(rows), &by);
                (0..rows.len()).map(|row| order.key(row)).collect::<Vec<_>>()
            };
            let keys = [key(&a), key(&b)].concat();
            let all = [a, b].concat();
            let order = Order::new(&batch(&all), &by);
            for (one, key) in (0u32..).zip(&keys) {
                for (other, other_key) in (0u32..).zip(&keys) {
                    // Rows that are alike are in the order of their numbers, which a key does not have.
                    let expected = order.compare(one, other);
                    prop_assert_eq!((key, one).cmp(&(other_key, other)), expected);
                }
            }
        }
    }

    #[test]
    fn equal_texts_of_any_length_take_no_more_than_their_words() {
        let text = "x".repeat(100_000);
        let texts = Column::from_strings(vec![Some(&text); 40]);
        let order = Order::new(&Batch::new(vec![texts], 40), &[(0, true)]);
        assert_eq!(order.sorted(), (0..40).collect::<Vec<u32>>());
    }
}
