//! What the aggregates of a stage are made of: parts, each kept once, that several aggregates share. `sum(x)`, `avg(x)` and
//! `stddev(x)` need the same sum, and all three the number of values.

use polars_arrow::bitmap::Bitmap;

use super::accumulator::{Accumulator, GroupFault, Groups, each_valid, invalid, own};
use super::sum::{Squares, Sums};
use crate::columns::{Column, NONE, row_number};
use crate::expression::{Aggregate, Reduction};
use crate::schema::Type;

/// What is wrong with a sum of ints.
pub(super) const SUM_TOO_LARGE: &str = "the sum does not fit into 64 bits";

/// The arguments, the parts and the results of some aggregates.
pub(super) struct Layout {
    /// For each argument the aggregate that has it first.
    pub(super) arguments: Vec<usize>,
    parts: Vec<Spec>,
    results: Vec<Outcome>,
}

/// A part: of which argument, and what is kept of it.
struct Spec {
    argument: usize,
    ty: Type,
    kept: Kept,
}

#[derive(PartialEq, Clone)]
enum Kept {
    Count,
    Sum,
    Squares,
    /// What this aggregate alone needs.
    Own(Reduction),
}

/// The parts that an aggregate's values come from.
#[derive(Clone)]
enum Outcome {
    Count(usize),
    Sum(usize, usize),
    Avg(usize, usize),
    Stddev(usize, usize, usize),
    Own(usize),
}

impl Layout {
    pub(super) fn of(aggregates: &[Aggregate]) -> Self {
        let mut layout = Layout {
            arguments: Vec::new(),
            parts: Vec::new(),
            results: Vec::new(),
        };
        for (at, aggregate) in aggregates.iter().enumerate() {
            let written = aggregate.written();
            let mut known = layout.arguments.iter();
            let known = known.position(|&other| aggregates[other].written() == written);
            let argument = known.unwrap_or_else(|| {
                layout.arguments.push(at);
                layout.arguments.len() - 1
            });
            let ty = aggregate.argument().map_or(Type::Int, |of| of.ty().clone());
            let mut part = |kept: Kept| layout.part(argument, &ty, kept);
            let result = match aggregate.reduction() {
                Reduction::Count => Outcome::Count(part(Kept::Count)),
                Reduction::Sum => Outcome::Sum(part(Kept::Count), part(Kept::Sum)),
                Reduction::Avg => Outcome::Avg(part(Kept::Count), part(Kept::Sum)),
                Reduction::Stddev => {
                    let (count, sum) = (part(Kept::Count), part(Kept::Sum));
                    Outcome::Stddev(count, sum, part(Kept::Squares))
                }
                other => Outcome::Own(part(Kept::Own(other.clone()))),
            };
            layout.results.push(result);
        }
        layout
    }

    fn part(&mut self, argument: usize, ty: &Type, kept: Kept) -> usize {
        let mut parts = self.parts.iter();
        let known = parts.position(|part| part.argument == argument && part.kept == kept);
        known.unwrap_or_else(|| {
            self.parts.push(Spec {
                argument,
                ty: ty.clone(),
                kept,
            });
            self.parts.len() - 1
        })
    }

    /// Whether the combiner can take rows as they are: what collects values takes states.
    pub(super) fn takes_rows(&self) -> bool {
        use Reduction::{First, Last, Max, Min};
        let parts = self.parts.iter();
        let mut own = parts.filter_map(|part| match &part.kept {
            Kept::Own(reduction) => Some(reduction),
            _ => None,
        });
        own.all(|reduction| matches!(reduction, First | Last | Max | Min))
    }

    /// The parts, of no groups yet.
    pub(super) fn begin(&self) -> Parts {
        let parts = self.parts.iter().map(|spec| match &spec.kept {
            Kept::Count => Part::Count(Counts::default()),
            Kept::Sum => Part::Sum(Sums::of(&spec.ty)),
            Kept::Squares => Part::Squares(Squares::of(&spec.ty)),
            Kept::Own(reduction) => Part::Own(own(reduction, &spec.ty)),
        });
        Parts {
            arguments: self.parts.iter().map(|spec| spec.argument).collect(),
            kept: parts.collect(),
            results: self.results.clone(),
        }
    }
}

/// What is kept of some groups.
pub(super) struct Parts {
    /// The argument of each part.
    arguments: Vec<usize>,
    kept: Vec<Part>,
    results: Vec<Outcome>,
}

enum Part {
    Count(Counts),
    Sum(Sums),
    Squares(Squares),
    Own(Box<dyn Accumulator>),
    /// Evaluated.
    Gone,
}

impl Parts {
    /// Takes rows in, the values of each argument given.
    pub(super) fn update(&mut self, values: &[Column], groups: &Groups) {
        self.take(values, groups, false);
    }

    /// Takes in rows that are groups of their own ([`Layout::takes_rows`]): a value is its own state.
    pub(super) fn merge_rows(&mut self, values: &[Column], groups: &Groups) {
        self.take(values, groups, true);
    }

    fn take(&mut self, values: &[Column], groups: &Groups, are_states: bool) {
        for (part, &argument) in self.kept.iter_mut().zip(&self.arguments) {
            let values = &values[argument];
            match part {
                Part::Own(own) if are_states => own.merge(std::slice::from_ref(values), groups),
                Part::Count(counts) => counts.update(values, groups),
                Part::Sum(sums) => sums.update(values, groups),
                Part::Squares(squares) => squares.update(values, groups),
                Part::Own(own) => own.update(values, groups),
                Part::Gone => {}
            }
        }
    }

    /// What is known of each group, in columns.
    pub(super) fn state(self) -> Vec<Column> {
        let mut columns = Vec::new();
        for part in self.kept {
            match part {
                Part::Count(counts) => columns.push(Column::from_ints(counts.0, None)),
                Part::Sum(sums) => columns.extend(sums.state()),
                Part::Squares(squares) => columns.extend(squares.state()),
                Part::Own(own) => columns.extend(own.state()),
                Part::Gone => {}
            }
        }
        columns
    }

    /// Takes in such columns, of later rows.
    pub(super) fn merge(&mut self, mut state: &[Column], groups: &Groups) {
        for part in &mut self.kept {
            let width = match part {
                Part::Sum(sums) => sums.width(),
                Part::Squares(squares) => squares.width(),
                Part::Count(_) | Part::Own(_) => 1,
                Part::Gone => 0,
            };
            let (columns, rest) = state.split_at(width);
            match part {
                Part::Count(counts) => counts.merge(&columns[0], groups),
                Part::Sum(sums) => sums.merge(columns, groups),
                Part::Squares(squares) => squares.merge(columns, groups),
                Part::Own(own) => own.merge(columns, groups),
                Part::Gone => {}
            }
            state = rest;
        }
    }

    /// The values of each aggregate, of so many groups; null where there is a fault.
    pub(super) fn evaluate(mut self, groups: usize) -> Vec<(Column, Vec<GroupFault>)> {
        for part in &mut self.kept {
            match part {
                Part::Count(counts) => counts.0.resize(groups, 0),
                Part::Sum(sums) => sums.grow(groups),
                Part::Squares(squares) => squares.grow(groups),
                Part::Own(_) | Part::Gone => {}
            }
        }
        let results = std::mem::take(&mut self.results);
        let mut own: Vec<Option<(Column, Vec<GroupFault>)>> = Vec::new();
        for part in &mut self.kept {
            let is_own = matches!(part, Part::Own(_));
            own.push(match std::mem::replace(part, Part::Gone) {
                Part::Own(accumulator) if is_own => Some(accumulator.evaluate(groups)),
                other => {
                    *part = other;
                    None
                }
            });
        }
        let values = results.into_iter().map(|result| match result {
            Outcome::Own(at) => own[at].clone().expect("it was evaluated"),
            Outcome::Count(at) => {
                let counts = self.counts(at).0.clone();
                (Column::from_ints(counts, None), Vec::new())
            }
            Outcome::Sum(count, sum) => sum_of(self.counts(count), self.sums(sum)),
            Outcome::Avg(count, sum) => avg_of(self.counts(count), self.sums(sum)),
            Outcome::Stddev(count, sum, squares) => {
                let Part::Squares(squares) = &self.kept[squares] else {
                    unreachable!("the layout says so");
                };
                stddev_of(self.counts(count), self.sums(sum), squares)
            }
        });
        values.collect()
    }

    fn counts(&self, at: usize) -> &Counts {
        match &self.kept[at] {
            Part::Count(counts) => counts,
            _ => unreachable!("the layout says so"),
        }
    }

    fn sums(&self, at: usize) -> &Sums {
        match &self.kept[at] {
            Part::Sum(sums) => sums,
            _ => unreachable!("the layout says so"),
        }
    }
}

/// The rows with a value.
#[derive(Default)]
struct Counts(Vec<i64>);

impl Counts {
    fn update(&mut self, values: &Column, groups: &Groups) {
        self.0.resize(groups.count, 0);
        if invalid(values.validity()) == 0 {
            for &group in groups.of {
                self.0[group as usize] += 1;
            }
        } else {
            each_valid(values, |row| self.0[groups.of[row] as usize] += 1);
        }
    }

    fn merge(&mut self, state: &Column, groups: &Groups) {
        self.0.resize(groups.count, 0);
        for (&count, &group) in state.ints().values().iter().zip(groups.of) {
            self.0[group as usize] += count;
        }
    }

    /// The groups with this many values at least.
    fn with(&self, least: i64) -> Bitmap {
        self.0.iter().map(|&count| count >= least).collect()
    }
}

/// Null of no values.
fn sum_of(counts: &Counts, sums: &Sums) -> (Column, Vec<GroupFault>) {
    let valid = counts.with(1);
    let sums = match sums {
        Sums::Floats(sums) => {
            let groups = 0..counts.0.len();
            return finite(groups.map(|group| sums.rounded(group)).collect(), valid);
        }
        Sums::Ints(sums) => sums,
    };
    let mut faults = Vec::new();
    let mut ints = Vec::with_capacity(sums.len());
    for (group, &sum) in sums.iter().enumerate() {
        ints.push(i64::try_from(sum).unwrap_or_else(|_| {
            faults.push(GroupFault {
                group,
                reason: SUM_TOO_LARGE,
                value: Some(sum.to_string()),
            });
            0
        }));
    }
    let column = Column::from_ints(ints, Some(valid));
    (without(column, &faults), faults)
}

fn avg_of(counts: &Counts, sums: &Sums) -> (Column, Vec<GroupFault>) {
    let mean = |(group, count): (usize, &i64)| match count.cast_unsigned() {
        0 => 0.0,
        count => sums.mean(group, count),
    };
    let means = counts.0.iter().enumerate().map(mean).collect();
    finite(means, counts.with(1))
}

/// Of a sample: the root of (n * sum of squares - square of the sum) / (n * (n - 1)), in which nothing is rounded before
/// the root.
fn stddev_of(counts: &Counts, sums: &Sums, squares: &Squares) -> (Column, Vec<GroupFault>) {
    let deviation = |(group, count): (usize, &i64)| match count.cast_unsigned() {
        0 | 1 => 0.0,
        count => squares.deviation(sums, group, count),
    };
    let deviations = counts.0.iter().enumerate().map(deviation).collect();
    finite(deviations, counts.with(2))
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
    let mut rows: Vec<u32> = (0..row_number(column.len())).collect();
    for fault in faults {
        rows[fault.group] = NONE;
    }
    column.take(&rows)
}
