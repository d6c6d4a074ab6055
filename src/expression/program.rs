//! A compiled expression: steps that each make one column of columns before it, run on the calling thread.
//!
//! A value that cannot be computed is a fault of its row, not of the batch, and only where the row asks for it: a
//! step inside `CASE`, `COALESCE`, `AND` or `OR` has a *guard*, the rows that ask for its value.

use polars_arrow::bitmap::{Bitmap, MutableBitmap};

use super::arithmetic::{self, FloatOp, IntOp};
use super::call::Call;
use super::cast::{self, Cast};
use super::logic::{self, Compare, truth};
use super::text::{self, Case, Join, Slice};
use crate::columns::{Column, row_number};
use crate::error::cut_value;
use crate::format::dates;
use crate::schema::Type;

/// A value that cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The row of the batch.
    pub row: u32,
    /// What is wrong, and in which part of the expression.
    pub reason: String,
    /// The value that was at fault, where it is a text.
    pub value: Option<String>,
}

/// What a step does. Numbers are those of steps before it.
pub(super) enum Op {
    /// A column of the input.
    Input(usize),
    /// One value for all rows.
    Constant(Column),
    Ints(IntOp, usize, usize),
    Floats(FloatOp, usize, usize),
    Cast(Cast, usize),
    /// What polars computes.
    Call(Call, Vec<usize>),
    /// One text of several values.
    Join(Join, Vec<usize>),
    /// A text in upper or lower case.
    Cased(Case, usize),
    Compare(Compare, usize, usize),
    /// In each row the value of the first condition that is true, else the last value: there is one more of these.
    Pick(Vec<usize>, Vec<usize>),
    /// Whether there is a value.
    Present(usize),
    /// Whether a bool is this, null being neither. Never null.
    Is(bool, usize),
    And(usize, usize),
    Or(usize, usize),
    Not(usize),
    /// A part of a text: the text, a number, and for some a length.
    Sliced(Slice, Vec<usize>),
    /// Where the second text begins in the first.
    Found(usize, usize),
    /// A date so many months and microseconds later.
    Shift(i64, i64, usize),
    /// The sum of a list.
    ListSum(usize),
}

/// One step.
pub(super) struct Step {
    pub(super) op: Op,
    pub(super) ty: Type,
    /// Whether its column has one value, which stands for all rows.
    pub(super) constant: bool,
    /// The step that says which rows ask for the value; none: all do.
    pub(super) guard: Option<usize>,
    /// The part of the text that it is, for messages.
    pub(super) part: String,
}

impl Step {
    /// The numbers of the steps whose columns it needs.
    pub(super) fn needs(&mut self) -> impl Iterator<Item = &mut usize> {
        let operands: Vec<&mut usize> = match &mut self.op {
            Op::Input(_) | Op::Constant(_) => vec![],
            Op::Ints(_, a, b)
            | Op::Floats(_, a, b)
            | Op::Compare(_, a, b)
            | Op::And(a, b)
            | Op::Or(a, b)
            | Op::Found(a, b) => vec![a, b],
            Op::Cast(_, a)
            | Op::Cased(_, a)
            | Op::Shift(_, _, a)
            | Op::ListSum(a)
            | Op::Present(a)
            | Op::Is(_, a)
            | Op::Not(a) => vec![a],
            Op::Call(_, operands) | Op::Join(_, operands) | Op::Sliced(_, operands) => {
                operands.iter_mut().collect()
            }
            Op::Pick(conditions, values) => conditions.iter_mut().chain(values).collect(),
        };
        operands.into_iter().chain(&mut self.guard)
    }
}

/// The steps; the last one's column is the result.
pub(super) struct Program {
    steps: Vec<Step>,
    /// The steps after which a step's column is needed no more.
    last_uses: Vec<Vec<usize>>,
}

impl Program {
    /// A program of the steps that `result` needs.
    pub(super) fn new(mut steps: Vec<Step>, result: usize) -> Self {
        let mut needed = vec![false; steps.len()];
        needed[result] = true;
        for at in (0..=result).rev() {
            if needed[at] {
                for need in steps[at].needs() {
                    needed[*need] = true;
                }
            }
        }
        // The steps that stay are numbered anew.
        let mut numbers = vec![0; steps.len()];
        let mut kept: Vec<Step> = Vec::new();
        for (at, mut step) in steps.into_iter().enumerate().take(result + 1) {
            if !needed[at] {
                continue;
            }
            step.needs().for_each(|need| *need = numbers[*need]);
            numbers[at] = kept.len();
            kept.push(step);
        }
        let mut last_use = vec![kept.len(); kept.len()];
        for (at, step) in kept.iter_mut().enumerate() {
            for need in step.needs() {
                last_use[*need] = at;
            }
        }
        let mut last_uses = vec![Vec::new(); kept.len()];
        for (of, &at) in last_use.iter().enumerate() {
            if at < kept.len() {
                last_uses[at].push(of);
            }
        }
        Program {
            steps: kept,
            last_uses,
        }
    }

    /// The input's columns that it reads, rising.
    pub(super) fn inputs(&self) -> Vec<usize> {
        let inputs = self.steps.iter().filter_map(|step| match step.op {
            Op::Input(at) => Some(at),
            _ => None,
        });
        let mut inputs: Vec<usize> = inputs.collect();
        inputs.sort_unstable();
        inputs.dedup();
        inputs
    }

    /// The result for `rows` rows of input, and the rows whose value cannot be computed, rising, one fault a row.
    pub(super) fn run(
        &self,
        rows: usize,
        input: &mut dyn FnMut(usize) -> Column,
    ) -> (Column, Vec<Fault>) {
        let mut columns: Vec<Option<Column>> = Vec::with_capacity(self.steps.len());
        let mut faults = Vec::new();
        for (at, step) in self.steps.iter().enumerate() {
            let height = if step.constant { 1 } else { rows };
            let run = Running {
                step,
                steps: &self.steps,
                columns: &columns,
                rows: height,
            };
            let (column, bad) = run.column(input);
            let column = if bad.is_empty() {
                column
            } else {
                run.mark(column, bad, rows, &mut faults)
            };
            columns.push(Some(column));
            for &of in &self.last_uses[at] {
                columns[of] = None;
            }
        }
        let result = columns
            .pop()
            .flatten()
            .expect("the last step's column is used by none");
        let constant = self.steps.last().is_some_and(|step| step.constant);
        faults.sort_by_key(|fault: &Fault| fault.row);
        faults.dedup_by_key(|fault| fault.row);
        (spread(&result, constant, rows), faults)
    }
}

/// A value for each row.
fn spread(column: &Column, constant: bool, rows: usize) -> Column {
    if constant && rows != 1 {
        column.take(&vec![0; rows])
    } else {
        column.clone()
    }
}

/// Rows whose value cannot be computed, and why; rising.
pub(super) type Bad = Vec<(u32, Why)>;

/// Why a value cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    Overflow,
    DivisionByZero,
    NotFinite,
    /// The value cannot be read as this type.
    NotA(&'static str),
    OutsideYears,
    /// In polars' words.
    Other(String),
}

impl Why {
    fn in_words(&self) -> String {
        match self {
            Why::Overflow => "the integer does not fit into 64 bits".into(),
            Why::DivisionByZero => "division by zero".into(),
            Why::NotFinite => "the result is not a finite number".into(),
            Why::NotA(what) => format!("the value is no {what}"),
            Why::OutsideYears => "the date is outside the years 1 to 9999".into(),
            Why::Other(message) => message.clone(),
        }
    }
}

/// A step at work.
struct Running<'a> {
    step: &'a Step,
    steps: &'a [Step],
    columns: &'a [Option<Column>],
    /// How many values its column has.
    rows: usize,
}

impl Running<'_> {
    /// The column of a step before it: of one value, or of a value a row.
    fn of(&self, at: usize) -> &Column {
        self.columns[at]
            .as_ref()
            .expect("a column is kept until its last use")
    }

    /// The same, a value a row.
    fn spread(&self, at: usize) -> Column {
        spread(self.of(at), self.steps[at].constant, self.rows)
    }

    /// The step's column, and the rows where it cannot be computed: there any value stands.
    fn column(&self, input: &mut dyn FnMut(usize) -> Column) -> (Column, Bad) {
        let fine = |column| (column, Bad::new());
        match &self.step.op {
            Op::Input(at) => fine(input(*at)),
            Op::Constant(column) => fine(column.clone()),
            Op::Ints(op, a, b) => {
                arithmetic::ints(*op, self.of(*a).ints(), self.of(*b).ints(), self.rows)
            }
            Op::Floats(op, a, b) => {
                arithmetic::floats(*op, self.of(*a).floats(), self.of(*b).floats(), self.rows)
            }
            Op::Cast(cast, a) => cast::cast(cast, self.of(*a)),
            Op::Call(call, operands) => self.call(call, operands),
            Op::Join(how, operands) => {
                let parts = operands.iter().map(|&at| (self.of(at), &self.steps[at].ty));
                let parts: Vec<(&Column, &Type)> = parts.collect();
                fine(text::join(how, &parts, self.rows))
            }
            Op::Cased(case, a) => fine(text::cased(*case, self.of(*a))),
            Op::Compare(how, a, b) => {
                fine(logic::compare(*how, self.of(*a), self.of(*b), self.rows))
            }
            Op::Pick(conditions, values) => {
                let masks = conditions.iter().map(|&at| truth(&self.spread(at), true));
                let masks: Vec<Bitmap> = masks.collect();
                let values: Vec<&Column> = values.iter().map(|&at| self.of(at)).collect();
                fine(logic::pick(&masks, &values, self.rows))
            }
            Op::Present(a) => {
                let column = self.spread(*a);
                let present = column.validity().cloned();
                let all = || Bitmap::new_with_value(true, column.len());
                fine(logic::bools(present.unwrap_or_else(all), None))
            }
            Op::Is(value, a) => fine(logic::bools(truth(&self.spread(*a), *value), None)),
            Op::And(a, b) => fine(logic::and(&self.spread(*a), &self.spread(*b))),
            Op::Or(a, b) => fine(logic::or(&self.spread(*a), &self.spread(*b))),
            Op::Not(a) => fine(logic::not(&self.spread(*a))),
            Op::Sliced(slice, operands) => {
                let (texts, number) = (self.of(operands[0]), self.of(operands[1]));
                let length = operands.get(2).map(|&at| self.of(at));
                text::sliced(*slice, texts, number, length, self.rows)
            }
            Op::Found(a, b) => fine(text::found(self.of(*a), self.of(*b), self.rows)),
            Op::Shift(months, micros, a) => cast::shifted(*months, *micros, self.of(*a)),
            Op::ListSum(a) => arithmetic::list_sums(self.of(*a)),
        }
    }

    fn call(&self, call: &Call, operands: &[usize]) -> (Column, Bad) {
        let operands: Vec<Column> = operands.iter().map(|&at| self.spread(at)).collect();
        let (column, mut bad) = call.run(&operands, self.rows);
        match (&self.step.ty, &column) {
            (Type::Float, Column::Floats(array)) => bad.extend(arithmetic::not_finite(array)),
            (Type::Date { .. }, Column::Ints(array)) => {
                let outside = array.values_iter().enumerate();
                let outside = outside.filter(|(_, micros)| !dates::in_years(**micros));
                bad.extend(outside.map(|(row, _)| (row_number(row), Why::OutsideYears)));
            }
            _ => {}
        }
        (column, bad)
    }

    /// The column with nulls where it cannot be computed; those rows that ask for it are faults.
    fn mark(&self, column: Column, bad: Bad, rows: usize, faults: &mut Vec<Fault>) -> Column {
        let asked = self.step.guard.map(|guard| self.guard(guard, rows));
        let asks = |row: u32| {
            asked
                .as_ref()
                .is_none_or(|asked| asked.get_bit(row as usize))
        };
        let validity = column.validity();
        let valid = |row: u32| validity.is_none_or(|valid| valid.get_bit(row as usize));
        let mut present = validity.cloned().map_or_else(
            || MutableBitmap::from_len_set(column.len()),
            Bitmap::make_mut,
        );
        for (row, why) in bad {
            // What a kernel leaves where an operand is null means nothing; where polars fails there is nothing.
            if !valid(row) && !matches!(why, Why::Other(_)) {
                continue;
            }
            present.set(row as usize, false);
            let all = if self.step.constant {
                0..row_number(rows)
            } else {
                row..row + 1
            };
            for row in all.filter(|&row| asks(row)) {
                faults.push(Fault {
                    row,
                    reason: format!("{}: `{}`", why.in_words(), cut_value(&self.step.part)),
                    value: self.value(row),
                });
            }
        }
        with_validity(column, present.into())
    }

    fn guard(&self, at: usize, rows: usize) -> Bitmap {
        truth(&spread(self.of(at), self.steps[at].constant, rows), true)
    }

    /// The text that is at fault, of a cast.
    fn value(&self, row: u32) -> Option<String> {
        let Op::Cast(_, of) = &self.step.op else {
            return None;
        };
        let Column::Strings(texts) = self.of(*of) else {
            return None;
        };
        let row = if texts.len() == 1 { 0 } else { row as usize };
        Some(texts.value(row).to_owned())
    }
}

/// The same values with another validity.
pub(super) fn with_validity(column: Column, validity: Bitmap) -> Column {
    let validity = Some(validity);
    match column {
        Column::Strings(array) => Column::Strings(array.with_validity(validity)),
        Column::Bytes(array) => Column::Bytes(array.with_validity(validity)),
        Column::Ints(array) => Column::Ints(array.with_validity(validity)),
        Column::Floats(array) => Column::Floats(array.with_validity(validity)),
        Column::Bools(array) => Column::Bools(array.with_validity(validity)),
        Column::Lists(mut list) => {
            list.validity = validity;
            Column::Lists(list)
        }
    }
}
