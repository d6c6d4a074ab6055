//! What an aggregate keeps of each group, in columns: a session updates it with the rows of one batch and gives its
//! state, the combiner merges the states of all batches and evaluates ([`super::layout`]).

use polars_arrow::bitmap::Bitmap;

use super::collected::{Distinct, Quantile, Texts};
use super::picked::{Pick, Picked};
use crate::columns::Column;
use crate::expression::Reduction;
use crate::schema::Type;

/// Which group each row of a batch is of, and how many groups there are so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Groups<'a> {
    pub(super) of: &'a [u32],
    pub(super) count: usize,
}

/// A group whose aggregate cannot be said as a value.
#[derive(Debug, Clone)]
pub(super) struct GroupFault {
    pub(super) group: usize,
    pub(super) reason: &'static str,
    /// What it is, where it can be written.
    pub(super) value: Option<String>,
}

/// An aggregate of some groups.
pub(super) trait Accumulator: Send {
    /// Takes rows in, in input order.
    fn update(&mut self, values: &Column, groups: &Groups);
    /// What is known of each group, in one column.
    fn state(self: Box<Self>) -> Vec<Column>;
    /// Takes in the state of groups of later rows, and keeps nothing of its memory.
    fn merge(&mut self, state: &[Column], groups: &Groups);
    /// The values of so many groups; null stands where there is a fault.
    fn evaluate(self: Box<Self>, groups: usize) -> (Column, Vec<GroupFault>);
}

/// One of no groups yet, of an aggregate that shares nothing with others.
pub(super) fn own(reduction: &Reduction, of: &Type) -> Box<dyn Accumulator> {
    let of = of.clone();
    match reduction {
        Reduction::CountDistinct => Box::new(Distinct::default()),
        Reduction::Min | Reduction::Max => {
            let greatest = *reduction == Reduction::Max;
            match of {
                Type::Float => Box::new(Extreme::<f64>::new(greatest)),
                Type::Bool => Box::new(Extreme::<bool>::new(greatest)),
                Type::String => Box::new(Picked::new(of, Pick::Extreme { greatest })),
                _ => Box::new(Extreme::<i64>::new(greatest)),
            }
        }
        Reduction::First => Box::new(Picked::new(of, Pick::First)),
        Reduction::Last => Box::new(Picked::new(of, Pick::Last)),
        Reduction::Quantile(share) => Box::new(Quantile::new(*share, &of)),
        Reduction::StringAgg(separator) => Box::new(Texts::new(separator.clone())),
        Reduction::Count | Reduction::Sum | Reduction::Avg | Reduction::Stddev => {
            unreachable!("they are made of parts that others share")
        }
    }
}

/// How many bits are not set.
pub(super) fn invalid(validity: Option<&Bitmap>) -> usize {
    validity.map_or(0, Bitmap::unset_bits)
}

/// Calls `with` for each row that is not null.
#[inline]
pub(super) fn each_valid(column: &Column, mut with: impl FnMut(usize)) {
    match column.validity() {
        Some(validity) if validity.unset_bits() > 0 => {
            for row in 0..column.len() {
                if validity.get_bit(row) {
                    with(row);
                }
            }
        }
        _ => (0..column.len()).for_each(with),
    }
}

/// `min` and `max` of values of a fixed size; of equal ones the first.
struct Extreme<T> {
    greatest: bool,
    best: Vec<T>,
    known: Vec<bool>,
}

/// The values of such columns.
trait Native: Copy + PartialOrd + Default + Send {
    fn of(column: &Column) -> impl Fn(usize) -> Self;
    fn column(values: Vec<Self>, validity: Bitmap) -> Column;
}

impl Native for i64 {
    fn of(column: &Column) -> impl Fn(usize) -> Self {
        let values = column.ints().values();
        |row| values[row]
    }

    fn column(values: Vec<Self>, validity: Bitmap) -> Column {
        Column::from_ints(values, Some(validity))
    }
}

impl Native for f64 {
    fn of(column: &Column) -> impl Fn(usize) -> Self {
        let values = column.floats().values();
        |row| values[row]
    }

    fn column(values: Vec<Self>, validity: Bitmap) -> Column {
        Column::from_floats(values, Some(validity))
    }
}

impl Native for bool {
    fn of(column: &Column) -> impl Fn(usize) -> Self {
        let Column::Bools(bools) = column else {
            unreachable!("a column of bools was promised");
        };
        |row| bools.value(row)
    }

    fn column(values: Vec<Self>, validity: Bitmap) -> Column {
        Column::from_bools(&values, Some(validity))
    }
}

impl<T: Native> Extreme<T> {
    fn new(greatest: bool) -> Self {
        Extreme {
            greatest,
            best: Vec::new(),
            known: Vec::new(),
        }
    }

    fn take(&mut self, values: &Column, groups: &Groups, wins: impl Fn(T, T) -> bool) {
        self.best.resize(groups.count, T::default());
        self.known.resize(groups.count, false);
        let value = T::of(values);
        each_valid(values, |row| {
            let (group, value) = (groups.of[row] as usize, value(row));
            if !self.known[group] || wins(value, self.best[group]) {
                self.known[group] = true;
                self.best[group] = value;
            }
        });
    }

    fn column(mut self, groups: usize) -> Column {
        self.best.resize(groups, T::default());
        self.known.resize(groups, false);
        T::column(self.best, self.known.into_iter().collect())
    }
}

impl<T: Native> Accumulator for Extreme<T> {
    fn update(&mut self, values: &Column, groups: &Groups) {
        if self.greatest {
            self.take(values, groups, |value, best| value > best);
        } else {
            self.take(values, groups, |value, best| value < best);
        }
    }

    fn state(self: Box<Self>) -> Vec<Column> {
        let groups = self.best.len();
        vec![self.column(groups)]
    }

    fn merge(&mut self, state: &[Column], groups: &Groups) {
        self.update(&state[0], groups);
    }

    fn evaluate(self: Box<Self>, groups: usize) -> (Column, Vec<GroupFault>) {
        (self.column(groups), Vec::new())
    }
}
