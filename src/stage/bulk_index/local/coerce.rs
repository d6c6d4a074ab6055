//! A column's values as its field's type has them, or why one cannot be. The rules are those of
//! Elasticsearch: a number may be written as text, a fraction is cut where an integer belongs, and an
//! empty text is no number at all.

use std::sync::Arc;

use polars_arrow::array::BooleanArray;
use polars_arrow::bitmap::Bitmap;
use polars_arrow::datatypes::ArrowDataType;

use super::dates;
use super::mapping::{DateForms, Kind};
use crate::columns::{Column, List, TextBuilder};
use crate::schema::Type;

/// Longer keywords would be lost: a term of the index has 16-bit length, and Elasticsearch, whose
/// bound this is, refuses them.
const KEYWORD_BYTES_MAX: usize = 32_766;
/// What fits the index's nanoseconds in 64 bits: the years 1677 to 2262.
pub(super) const DATES_US: std::ops::RangeInclusive<i64> =
    i64::MIN / 1_000 + 1..=i64::MAX / 1_000 - 1;
/// In messages a longer value is cut.
const SHOWN_CHARS_MAX: usize = 80;

/// A value that is not of its field's type.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::stage::bulk_index) struct Fault {
    /// The row it stands in.
    pub(in crate::stage::bulk_index) row: usize,
    /// The value as text.
    pub(in crate::stage::bulk_index) value: String,
    /// Why the row cannot be indexed.
    pub(in crate::stage::bulk_index) reason: String,
}

impl Fault {
    /// A value that a field of `kind` does not take.
    pub(super) fn new(row: usize, value: String, kind: Kind) -> Self {
        Fault {
            row,
            reason: format!("cannot index `{}` as {}", shown(&value), kind.as_str()),
            value,
        }
    }
}

/// `column` (of type `ty`) as a field of `kind` takes it; values at fault are null in it.
pub(in crate::stage::bulk_index) fn coerce(
    column: &Column,
    ty: &Type,
    kind: Kind,
) -> (Column, Vec<Fault>) {
    let (column, wrong) = match (column, ty) {
        (Column::Lists(list), Type::List(of)) if kind != Kind::GeoPoint => lists(list, of, kind),
        (Column::Lists(list), Type::List(of)) => points(list, of),
        _ if kind == Kind::GeoPoint => points_of_text(column, ty),
        _ => values(column, ty, kind),
    };
    let faults = wrong.into_iter();
    let faults = faults.map(|(row, value)| Fault::new(row, value, kind));
    (column, faults.collect())
}

/// The start of a value, for a message.
pub(in crate::stage::bulk_index) fn shown(value: &str) -> String {
    match value.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

/// Rows at fault with their values, rising by row.
type Wrong = Vec<(usize, String)>;

/// A column of single values.
fn values(column: &Column, ty: &Type, kind: Kind) -> (Column, Wrong) {
    match (kind, column, ty) {
        (Kind::Text, Column::Strings(_), _)
        | (Kind::Double, Column::Floats(_), _)
        | (Kind::Boolean, Column::Bools(_), _) => (column.clone(), Vec::new()),
        (Kind::Keyword, Column::Strings(texts), _)
            if texts
                .len_iter()
                .all(|bytes| bytes as usize <= KEYWORD_BYTES_MAX) =>
        {
            (column.clone(), Vec::new())
        }
        (Kind::Long { min: i64::MIN, .. }, Column::Ints(_), Type::Int) => {
            (column.clone(), Vec::new())
        }
        (Kind::Date(_), Column::Ints(ints), Type::Date { .. })
            if ints.values().iter().all(|at| DATES_US.contains(at)) =>
        {
            (column.clone(), Vec::new())
        }
        (Kind::Text | Kind::Keyword, ..) => {
            let mut texts = TextBuilder::new();
            let wrong = each(column, ty, |cell| {
                let text = cell.map(Cell::text);
                let long = kind == Kind::Keyword
                    && text
                        .as_ref()
                        .is_some_and(|text| text.len() > KEYWORD_BYTES_MAX);
                texts.push(text.as_deref().filter(|_| !long));
                !long
            });
            (texts.finish(), wrong)
        }
        (Kind::Long { min, max }, ..) => {
            let (ints, valid, wrong) = numbers(column, ty, |cell| {
                cell.long().filter(|value| (min..=max).contains(value))
            });
            (Column::from_ints(ints, valid), wrong)
        }
        (Kind::Date(forms), ..) => {
            let (ints, valid, wrong) = numbers(column, ty, |cell| {
                cell.date(forms).filter(|at| DATES_US.contains(at)).into()
            });
            (Column::from_ints(ints, valid), wrong)
        }
        (Kind::Double, ..) => {
            let (floats, valid, wrong) = numbers(column, ty, double);
            (Column::from_floats(floats, valid), wrong)
        }
        (Kind::Boolean, ..) => {
            let (bools, valid, wrong) = numbers(column, ty, |cell| cell.boolean().into());
            let bools = Bitmap::from_trusted_len_iter(bools.into_iter());
            (
                Column::Bools(BooleanArray::new(ArrowDataType::Boolean, bools, valid)),
                wrong,
            )
        }
        (Kind::GeoPoint, ..) => unreachable!("points are no single values"),
    }
}

/// One value that is not null.
#[derive(Clone, Copy)]
enum Cell<'a> {
    Text(&'a str),
    Int(i64),
    Float(f64),
    Bool(bool),
    Date { micros: i64, utc: bool },
}

impl<'a> Cell<'a> {
    /// Value `i` of a column of single values; `None` for null and for what has no single value.
    fn at(column: &'a Column, ty: &Type, i: usize) -> Option<Self> {
        if column.is_null(i) {
            return None;
        }
        Some(match column {
            Column::Strings(texts) => Cell::Text(texts.value(i)),
            Column::Floats(floats) => Cell::Float(floats.value(i)),
            Column::Bools(bools) => Cell::Bool(bools.value(i)),
            Column::Ints(ints) => match ty {
                Type::Date { utc } => Cell::Date {
                    micros: ints.value(i),
                    utc: *utc,
                },
                _ => Cell::Int(ints.value(i)),
            },
            Column::Bytes(_) | Column::Lists(_) => return None,
        })
    }

    /// As documents have it.
    fn text(self) -> String {
        match self {
            Cell::Text(text) => text.to_owned(),
            Cell::Int(int) => int.to_string(),
            Cell::Float(float) => zmij::Buffer::new().format(float).to_owned(),
            Cell::Bool(flag) => flag.to_string(),
            Cell::Date { micros, utc } => dates::print(micros, utc),
        }
    }

    fn long(self) -> Fit<i64> {
        match self {
            Cell::Int(int) => Fit::Value(int),
            Cell::Float(float) => truncate(float).into(),
            Cell::Text("") => Fit::Empty,
            Cell::Text(text) => {
                let int = text.parse().ok();
                int.or_else(|| truncate(float(text)?)).into()
            }
            Cell::Bool(_) | Cell::Date { .. } => Fit::Wrong,
        }
    }

    fn boolean(self) -> Option<bool> {
        match self {
            Cell::Bool(flag) => Some(flag),
            Cell::Text("true") => Some(true),
            Cell::Text("false" | "") => Some(false),
            _ => None,
        }
    }

    fn date(self, forms: DateForms) -> Option<i64> {
        let number = |number: i64| number.checked_mul(forms.number_us?);
        match self {
            Cell::Date { micros, .. } => Some(micros),
            Cell::Int(int) => number(int),
            Cell::Text(text) => {
                let iso = forms.iso.then(|| dates::parse(text)).flatten();
                iso.map(|span| span.from)
                    .or_else(|| number(text.parse().ok()?))
            }
            Cell::Float(_) | Cell::Bool(_) => None,
        }
    }
}

fn double(cell: Cell) -> Fit<f64> {
    match cell {
        #[allow(clippy::cast_precision_loss, reason = "as the field has it")]
        Cell::Int(int) => Fit::Value(int as f64),
        Cell::Float(float) => Fit::Value(float),
        Cell::Text("") => Fit::Empty,
        Cell::Text(text) => float(text).into(),
        Cell::Bool(_) | Cell::Date { .. } => Fit::Wrong,
    }
}

/// What a value is to a field.
enum Fit<T> {
    /// It fits, as this.
    Value(T),
    /// An empty text, which stands for no number.
    Empty,
    /// It does not fit.
    Wrong,
}

impl<T> Fit<T> {
    fn filter(self, fits: impl Fn(&T) -> bool) -> Self {
        match self {
            Fit::Value(value) if !fits(&value) => Fit::Wrong,
            fit => fit,
        }
    }
}

impl<T> From<Option<T>> for Fit<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Fit::Wrong, Fit::Value)
    }
}

/// A number that is finite.
pub(super) fn float(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// The integer part, if it has 64 bits.
fn truncate(float: f64) -> Option<i64> {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    #[allow(clippy::cast_possible_truncation, reason = "the fraction is to go")]
    (-BOUND..BOUND).contains(&float).then_some(float as i64)
}

/// Hands each value to `take`, which says whether it fits; gives the rows of those that do not.
fn each(column: &Column, ty: &Type, mut take: impl FnMut(Option<Cell>) -> bool) -> Wrong {
    let mut wrong = Vec::new();
    for row in 0..column.len() {
        let cell = Cell::at(column, ty, row);
        if !take(cell) {
            wrong.push((row, cell.map(Cell::text).unwrap_or_default()));
        }
    }
    wrong
}

/// Each value by `number`; those that do not fit are null.
fn numbers<T: Default>(
    column: &Column,
    ty: &Type,
    number: impl Fn(Cell) -> Fit<T>,
) -> (Vec<T>, Option<Bitmap>, Wrong) {
    let mut numbers = Vec::with_capacity(column.len());
    let mut valid = Vec::with_capacity(column.len());
    let wrong = each(column, ty, |cell| {
        let fit = cell.map_or(Fit::Empty, &number);
        let fits = !matches!(fit, Fit::Wrong);
        valid.push(matches!(fit, Fit::Value(_)));
        numbers.push(match fit {
            Fit::Value(value) => value,
            Fit::Empty | Fit::Wrong => T::default(),
        });
        fits
    });
    let nulls = valid.contains(&false);
    let valid = nulls.then(|| Bitmap::from_trusted_len_iter(valid.into_iter()));
    (numbers, valid, wrong)
}

/// Lists of single values: each is a value of the field.
fn lists(list: &List, of: &Type, kind: Kind) -> (Column, Wrong) {
    let (from, to) = (
        list.range(0).start,
        list.range(list.len().saturating_sub(1)).end,
    );
    if list.is_empty() {
        return (Column::Lists(list.clone()), Vec::new());
    }
    let used = list.values.slice(from, to - from);
    let (values, wrong) = match &used {
        Column::Lists(_) => {
            let whole = (0..list.len()).filter(|&row| !list.range(row).is_empty());
            let wrong = whole
                .map(|row| (list.range(row).start - from, "[[…]]".to_owned()))
                .collect();
            (used, wrong)
        }
        used => self::values(used, of, kind),
    };
    let is_null = |row: usize| {
        list.validity
            .as_ref()
            .is_some_and(|valid| !valid.get_bit(row))
    };
    let mut row = 0;
    let wrong = wrong.into_iter().filter_map(|(at, value)| {
        while list.range(row).end - from <= at {
            row += 1;
        }
        (!is_null(row)).then_some((row, value))
    });
    let mut wrong: Wrong = wrong.collect();
    wrong.dedup_by_key(|(row, _)| *row);
    let first = list.offsets[0];
    let offsets: Vec<i64> = list.offsets.iter().map(|offset| offset - first).collect();
    let list = List {
        offsets: offsets.into(),
        values: Arc::new(values),
        validity: list.validity.clone(),
    };
    (Column::Lists(list), wrong)
}

/// Lists `[longitude, latitude]`: each is one point.
fn points(list: &List, of: &Type) -> (Column, Wrong) {
    let mut builder = Points::default();
    for row in 0..list.len() {
        if list
            .validity
            .as_ref()
            .is_some_and(|valid| !valid.get_bit(row))
        {
            builder.push_null();
            continue;
        }
        let range = list.range(row);
        let numbers: Vec<Option<f64>> = range
            .clone()
            .map(|i| match double(Cell::at(&list.values, of, i)?) {
                Fit::Value(number) => Some(number),
                Fit::Empty | Fit::Wrong => None,
            })
            .collect();
        // A third number is the height, which a point of two has no place for.
        match numbers[..] {
            [Some(longitude), Some(latitude)] | [Some(longitude), Some(latitude), Some(_)] => {
                builder.push(longitude, latitude, || format!("[{longitude}, {latitude}]"));
            }
            _ => {
                let texts =
                    range.map(|i| Cell::at(&list.values, of, i).map_or("null".into(), Cell::text));
                builder.push_wrong(format!("[{}]", texts.collect::<Vec<_>>().join(", ")));
            }
        }
    }
    builder.finish()
}

/// Texts `latitude,longitude`.
fn points_of_text(column: &Column, ty: &Type) -> (Column, Wrong) {
    let mut builder = Points::default();
    for row in 0..column.len() {
        let Some(cell) = Cell::at(column, ty, row) else {
            builder.push_null();
            continue;
        };
        let text = cell.text();
        match point_of_text(&text) {
            Some([longitude, latitude]) => builder.push(longitude, latitude, || text.clone()),
            None => builder.push_wrong(text),
        }
    }
    builder.finish()
}

/// Longitude and latitude of a text `latitude,longitude`.
pub(super) fn point_of_text(text: &str) -> Option<[f64; 2]> {
    let (latitude, longitude) = text.split_once(',')?;
    Some([float(longitude.trim())?, float(latitude.trim())?])
}

/// Builds a column of points.
#[derive(Default)]
pub(super) struct Points {
    numbers: Vec<f64>,
    valid: Vec<bool>,
    wrong: Wrong,
}

impl Points {
    pub(super) fn push(&mut self, longitude: f64, latitude: f64, text: impl Fn() -> String) {
        if longitude.abs() > 180.0 || latitude.abs() > 90.0 {
            self.push_wrong(text());
        } else {
            self.numbers.extend([longitude, latitude]);
            self.valid.push(true);
        }
    }

    pub(super) fn push_null(&mut self) {
        self.numbers.extend([0.0, 0.0]);
        self.valid.push(false);
    }

    pub(super) fn push_wrong(&mut self, value: String) {
        self.wrong.push((self.valid.len(), value));
        self.push_null();
    }

    pub(super) fn finish(self) -> (Column, Wrong) {
        let ends = (0i64..).step_by(2).take(self.valid.len() + 1);
        let list = List {
            offsets: ends.collect::<Vec<_>>().into(),
            values: Arc::new(Column::from_floats(self.numbers, None)),
            validity: Some(Bitmap::from_trusted_len_iter(self.valid.into_iter())),
        };
        (Column::Lists(list), self.wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Kind = Kind::Long {
        min: i64::MIN,
        max: i64::MAX,
    };
    const BYTE: Kind = Kind::Long {
        min: -128,
        max: 127,
    };
    const DATE: Kind = Kind::Date(DateForms {
        iso: true,
        number_us: Some(1_000),
    });

    /// What became of each text: its value as documents have it, `null`, or `!` for a fault.
    fn coerced(texts: &[&str], kind: Kind) -> Vec<String> {
        let column = Column::from_strings(texts.iter().map(Some));
        outcome(&column, &Type::String, kind)
    }

    fn outcome(column: &Column, ty: &Type, kind: Kind) -> Vec<String> {
        let (values, faults) = coerce(column, ty, kind);
        let becomes = match kind {
            Kind::Date(_) => Type::Date { utc: false },
            _ => Type::Int,
        };
        assert_eq!(values.len(), column.len());
        (0..values.len())
            .map(|row| {
                if faults.iter().any(|fault| fault.row == row) {
                    assert!(values.is_null(row), "a value at fault is null");
                    return "!".into();
                }
                Cell::at(&values, &becomes, row).map_or("null".into(), Cell::text)
            })
            .collect()
    }

    #[test]
    fn texts_become_what_the_field_holds() {
        let long = [
            "12",
            "-7",
            "3.9",
            "-3.9",
            "1e3",
            "",
            "abc",
            "9223372036854775808",
            "nan",
            " 1",
        ];
        assert_eq!(
            coerced(&long, LONG),
            ["12", "-7", "3", "-3", "1000", "null", "!", "!", "!", "!"]
        );
        assert_eq!(coerced(&["127", "128", "-129"], BYTE), ["127", "!", "!"]);
        assert_eq!(
            coerced(&["1.5", "2", "", "inf", "x"], Kind::Double),
            ["1.5", "2.0", "null", "!", "!"]
        );
        assert_eq!(
            coerced(&["true", "false", "", "yes"], Kind::Boolean),
            ["true", "false", "false", "!"]
        );
        let dates = [
            "2013-05",
            "2013-05-02T03:04:05.678Z",
            "1000",
            "1500-01-01",
            "soon",
        ];
        let expected = [
            "2013-05-01T00:00:00",
            "2013-05-02T03:04:05.678",
            "1000-01-01T00:00:00",
        ];
        assert_eq!(coerced(&dates[..2], DATE), expected[..2]);
        assert_eq!(
            coerced(&dates[2..], DATE),
            ["!", "!", "!"],
            "before 1677, or no date"
        );
        assert_eq!(
            coerced(&["95000"], DATE),
            ["1970-01-01T00:01:35"],
            "milliseconds"
        );
    }

    #[test]
    fn numbers_flags_and_dates_become_what_the_field_holds() {
        let ints = Column::from_ints(vec![1, 300], None);
        assert_eq!(outcome(&ints, &Type::Int, BYTE), ["1", "!"]);
        assert_eq!(outcome(&ints, &Type::Int, Kind::Keyword), ["1", "300"]);
        assert_eq!(outcome(&ints, &Type::Int, Kind::Double), ["1.0", "300.0"]);
        assert_eq!(outcome(&ints, &Type::Int, Kind::Boolean), ["!", "!"]);
        let floats = Column::from_floats(vec![1.5, 1e300], None);
        assert_eq!(outcome(&floats, &Type::Float, LONG), ["1", "!"]);
        assert_eq!(
            outcome(&floats, &Type::Float, Kind::Text),
            ["1.5", "1e+300"]
        );
        let dates = Column::from_ints(vec![0, 1_500_000, i64::MAX], None);
        let utc = Type::Date { utc: true };
        assert_eq!(
            outcome(&dates, &utc, Kind::Keyword)[..2],
            ["1970-01-01T00:00:00Z", "1970-01-01T00:00:01.500Z"]
        );
        assert_eq!(
            outcome(&dates, &utc, DATE),
            ["1970-01-01T00:00:00", "1970-01-01T00:00:01.500", "!"]
        );
        assert_eq!(outcome(&dates, &utc, LONG), ["!", "!", "!"]);
    }

    #[test]
    fn a_fault_names_the_value() {
        let (_, faults) = coerce(
            &Column::from_strings([Some("1"), Some("abc")]),
            &Type::String,
            LONG,
        );
        let expected = Fault {
            row: 1,
            value: "abc".into(),
            reason: "cannot index `abc` as long".into(),
        };
        assert_eq!(faults, [expected]);
        let long = "ä".repeat(KEYWORD_BYTES_MAX);
        let (column, faults) = coerce(
            &Column::from_strings([Some(&long)]),
            &Type::String,
            Kind::Keyword,
        );
        assert!(column.is_null(0));
        assert_eq!(faults[0].value, long);
        assert!(
            faults[0].reason.chars().count() < 200,
            "{}",
            faults[0].reason
        );
    }

    #[test]
    fn lists_are_judged_value_by_value() {
        let list = |offsets: Vec<i64>, texts: &[Option<&str>], validity| {
            Column::Lists(List {
                offsets: offsets.into(),
                values: Arc::new(Column::from_strings(texts.iter().copied())),
                validity,
            })
        };
        let texts = [
            Some("0"),
            Some("1"),
            None,
            Some("x"),
            Some("y"),
            Some("z"),
            Some("4"),
        ];
        let valid = Bitmap::from_iter([true, true, false, true, true]);
        let column = list(vec![1, 3, 3, 4, 6, 7], &texts, Some(valid));
        let (values, faults) = coerce(&column, &Type::List(Box::new(Type::String)), LONG);
        let Column::Lists(values) = values else {
            panic!("lists stay lists")
        };
        assert_eq!(
            faults
                .iter()
                .map(|fault| (fault.row, fault.value.as_str()))
                .collect::<Vec<_>>(),
            [(3, "y")]
        );
        assert_eq!(values.values.ints().value(0), 1);
        assert!(values.values.is_null(1));
        assert_eq!(values.values.ints().value(values.range(4).start), 4);
    }

    #[test]
    fn points_come_from_pairs_and_texts() {
        let point = |numbers: &[f64]| {
            let list = List {
                offsets: vec![0, i64::try_from(numbers.len()).expect("few numbers")].into(),
                values: Arc::new(Column::from_floats(numbers.to_vec(), None)),
                validity: None,
            };
            let (_, faults) = coerce(
                &Column::Lists(list),
                &Type::List(Box::new(Type::Float)),
                Kind::GeoPoint,
            );
            faults.into_iter().next().map(|fault| fault.reason)
        };
        assert_eq!(point(&[-122.4, 37.7]), None);
        assert_eq!(point(&[-122.4, 37.7, 12.0]), None);
        assert_eq!(
            point(&[-122.4, 97.7]).as_deref(),
            Some("cannot index `[-122.4, 97.7]` as geo_point")
        );
        assert_eq!(
            point(&[1.0]).as_deref(),
            Some("cannot index `[1.0]` as geo_point")
        );
        let texts = Column::from_strings([Some("37.7, -122.4"), Some("37.7"), None]);
        let (points, faults) = coerce(&texts, &Type::String, Kind::GeoPoint);
        assert_eq!(faults.len(), 1);
        let Column::Lists(points) = points else {
            panic!("a point is a list")
        };
        assert_eq!(points.values.floats().values()[..2], [-122.4, 37.7]);
    }
}
