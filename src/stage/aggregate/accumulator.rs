//! What an aggregate keeps of each group, in columns: a session updates it with the rows of one batch and gives its
//! state, the combiner merges the states of all batches and evaluates.

use polars_arrow::bitmap::Bitmap;

use super::collected::{Distinct, Quantile, Texts};
use super::picked::{Pick, Picked};
use super::sum::{Squares, Sums};
use crate::columns::Column;
use crate::expression::{Aggregate, Reduction};
use crate::schema::Type;

/// Which group each row of a batch is of, and how many groups there are so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Groups<'a> {
    pub(super) of: &'a [u32],
    pub(super) count: usize,
}

/// A group whose aggregate cannot be said as a value.
#[derive(Debug)]
pub(super) struct GroupFault {
    pub(super) group: usize,
    pub(super) reason: &'static str,
    /// What it is, where it can be written.
    pub(super) value: Option<String>,
}

/// An aggregate of some groups.
pub(super) trait Accumulator: Send {
    /// How many columns its state has.
    fn width(&self) -> usize {
        1
    }
    /// Takes rows in, in input order.
    fn update(&mut self, values: &Column, groups: &Groups);
    /// What is known of each group.
    fn state(self: Box<Self>) -> Vec<Column>;
    /// Takes in the state of groups of later rows, and keeps nothing of its memory.
    fn merge(&mut self, state: &[Column], groups: &Groups);
    /// The values of so many groups; null stands where there is a fault.
    fn evaluate(self: Box<Self>, groups: usize) -> (Column, Vec<GroupFault>);
}

/// One of no groups yet.
pub(super) fn accumulator(aggregate: &Aggregate) -> Box<dyn Accumulator> {
    let of = aggregate.argument().map(|argument| argument.ty().clone());
    let of = of.unwrap_or(Type::Int);
    match aggregate.reduction() {
        Reduction::Count => Box::new(Counts::default()),
        Reduction::CountDistinct => Box::new(Distinct::default()),
        Reduction::Sum => Box::new(Sum::of(&of)),
        Reduction::Avg => Box::new(Avg(Sum::of(&of))),
        Reduction::Stddev => Box::new(Stddev {
            sum: Sum::of(&of),
            squares: Squares::of(&of),
        }),
        Reduction::Min | Reduction::Max => {
            let greatest = *aggregate.reduction() == Reduction::Max;
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

/// `count`: the rows with a value.
#[derive(Default)]
struct Counts(Vec<i64>);

impl Counts {
    fn column(self, groups: usize) -> Column {
        let mut counts = self.0;
        counts.resize(groups, 0);
        Column::from_ints(counts, None)
    }
}

impl Accumulator for Counts {
    fn update(&mut self, values: &Column, groups: &Groups) {
        self.0.resize(groups.count, 0);
        each_valid(values, |row| self.0[groups.of[row] as usize] += 1);
    }

    fn state(self: Box<Self>) -> Vec<Column> {
        let groups = self.0.len();
        vec![self.column(groups)]
    }

    fn merge(&mut self, state: &[Column], groups: &Groups) {
        self.0.resize(groups.count, 0);
        for (&count, &group) in state[0].ints().values().iter().zip(groups.of) {
            self.0[group as usize] += count;
        }
    }

    fn evaluate(self: Box<Self>, groups: usize) -> (Column, Vec<GroupFault>) {
        (self.column(groups), Vec::new())
    }
}

/// `sum`: with the number of values, as a sum of none is null.
struct Sum {
    counts: Counts,
    sums: Sums,
}

impl Sum {
    fn of(ty: &Type) -> Self {
        Sum {
            counts: Counts::default(),
            sums: Sums::of(ty),
        }
    }

    fn columns(self) -> Vec<Column> {
        let mut columns = Box::new(self.counts).state();
        columns.extend(self.sums.state());
        columns
    }

    fn grow(&mut self, groups: usize) {
        self.counts.0.resize(groups, 0);
        self.sums.grow(groups);
    }

    fn count(&self, group: usize) -> u64 {
        self.counts.0[group].cast_unsigned()
    }

    /// The groups with this many values at least.
    fn with(&self, least: i64) -> Bitmap {
        self.counts.0.iter().map(|&count| count >= least).collect()
    }
}

impl Accumulator for Sum {
    fn width(&self) -> usize {
        1 + self.sums.width()
    }

    fn update(&mut self, values: &Column, groups: &Groups) {
        self.counts.update(values, groups);
        self.sums.update(values, groups);
    }

    fn state(self: Box<Self>) -> Vec<Column> {
        self.columns()
    }

    fn merge(&mut self, state: &[Column], groups: &Groups) {
        self.counts.merge(state, groups);
        self.sums.merge(&state[1..], groups);
    }

    fn evaluate(mut self: Box<Self>, groups: usize) -> (Column, Vec<GroupFault>) {
        self.grow(groups);
        let valid = self.with(1);
        match &self.sums {
            Sums::Ints(sums) => {
                let mut faults = Vec::new();
                let mut ints = Vec::with_capacity(groups);
                for (group, &sum) in sums.iter().enumerate() {
                    ints.push(i64::try_from(sum).unwrap_or_else(|_| {
                        faults.push(GroupFault {
                            group,
                            reason: "the sum does not fit into 64 bits",
                            value: Some(sum.to_string()),
                        });
                        0
                    }));
                }
                let column = Column::from_ints(ints, Some(valid));
                (without(column, &faults), faults)
            }
            Sums::Floats(sums) => {
                let floats = (0..groups).map(|group| Sums::rounded(sums, group));
                finite(floats.collect(), valid)
            }
        }
    }
}

/// `avg`
struct Avg(Sum);

impl Accumulator for Avg {
    fn width(&self) -> usize {
        self.0.width()
    }

    fn update(&mut self, values: &Column, groups: &Groups) {
        self.0.update(values, groups);
    }

    fn state(self: Box<Self>) -> Vec<Column> {
        self.0.columns()
    }

    fn merge(&mut self, state: &[Column], groups: &Groups) {
        self.0.merge(state, groups);
    }

    fn evaluate(mut self: Box<Self>, groups: usize) -> (Column, Vec<GroupFault>) {
        self.0.grow(groups);
        let mean = |group: usize| match self.0.count(group) {
            0 => 0.0,
            count => self.0.sums.mean(group, count),
        };
        let means = (0..groups).map(mean).collect();
        finite(means, self.0.with(1))
    }
}

/// `stddev`, of a sample.
struct Stddev {
    sum: Sum,
    squares: Squares,
}

impl Accumulator for Stddev {
    fn width(&self) -> usize {
        self.sum.width() + self.squares.width()
    }

    fn update(&mut self, values: &Column, groups: &Groups) {
        self.sum.update(values, groups);
        self.squares.update(values, groups);
    }

    fn state(self: Box<Self>) -> Vec<Column> {
        let mut columns = self.sum.columns();
        columns.extend(self.squares.state());
        columns
    }

    fn merge(&mut self, state: &[Column], groups: &Groups) {
        let (sum, squares) = state.split_at(self.sum.width());
        self.sum.merge(sum, groups);
        self.squares.merge(squares, groups);
    }

    fn evaluate(mut self: Box<Self>, groups: usize) -> (Column, Vec<GroupFault>) {
        self.sum.grow(groups);
        self.squares.grow(groups);
        // The root of (n * sum of squares - square of the sum) / (n * (n - 1)), in which nothing is rounded before it.
        let deviation = |group: usize| {
            let count = self.sum.count(group);
            if count < 2 {
                return 0.0;
            }
            let sum = self.sum.sums.exact(group);
            let squares = self.squares.exact(group).times(count);
            squares
                .minus(&sum.product(&sum))
                .root_over(&[count, count - 1])
        };
        let deviations = (0..groups).map(deviation).collect();
        finite(deviations, self.sum.with(2))
    }
}

/// Floats, of which those out of range are faults.
fn finite(floats: Vec<f64>, valid: Bitmap) -> (Column, Vec<GroupFault>) {
    let infinite = floats.iter().enumerate();
    let infinite = infinite.filter(|(_, float)| !float.is_finite());
    let faults: Vec<GroupFault> = infinite
        .map(|(group, _)| GroupFault {
            group,
            reason: "the result is out of the range of floats",
            value: None,
        })
        .collect();
    let column = Column::from_floats(floats, Some(valid));
    (without(column, &faults), faults)
}

/// The column with nulls where there are faults.
fn without(column: Column, faults: &[GroupFault]) -> Column {
    if faults.is_empty() {
        return column;
    }
    let mut rows: Vec<u32> = (0..crate::columns::row_number(column.len())).collect();
    for fault in faults {
        rows[fault.group] = crate::columns::NONE;
    }
    column.take(&rows)
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
