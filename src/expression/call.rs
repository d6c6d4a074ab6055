//! What polars computes: one operator or function of its SQL, compiled once to a physical expression and evaluated on
//! the calling thread.
//!
//! Only calls that need no other row are taken. Each is evaluated by itself, over columns that are one chunk, and with
//! polars' threading switched off, so that polars' own thread pool is never entered.

use std::sync::Arc;

use polars_arrow::array::{Array, BooleanArray, ListArray, PrimitiveArray, Utf8ViewArray};
use polars_arrow::datatypes::{ArrowDataType, TimeUnit as ArrowTimeUnit};
use polars_arrow::offset::OffsetsBuffer;
use polars_core::frame::DataFrame;
use polars_core::prelude::{
    Column as Cells, CompatLevel, DataType, IntoColumn, PlSmallStr, Series, TimeUnit,
};
use polars_core::schema::{Schema, SchemaRef};
use polars_expr::planner::{ExpressionConversionState, create_physical_expr};
use polars_expr::prelude::PhysicalExpr;
use polars_expr::state::ExecutionState;
use polars_lazy::prelude::IntoLazy;
use polars_plan::plans::{IR, is_elementwise_rec};

use super::program::{Bad, Why};
use crate::columns::{Column, List, row_number};
use crate::schema::Type;

/// One operator or function, ready to be evaluated.
pub(super) struct Call {
    expr: Arc<dyn PhysicalExpr>,
    operands: Vec<Type>,
    result: Type,
}

impl Call {
    /// Compiles a text of polars' SQL whose operands are `c0`, `c1`, ... of these types. An error is in polars' words.
    pub(super) fn compile(sql: &str, operands: &[Type]) -> Result<Call, String> {
        let fields = operands.iter().enumerate();
        let schema: Schema = fields.map(|(at, ty)| (name(at), to_polars(ty))).collect();
        let schema: SchemaRef = Arc::new(schema);
        let expr = polars_sql::sql_expr(sql).map_err(|error| in_words(&error))?;
        let frame = DataFrame::empty_with_schema(&schema).lazy();
        let mut plan = frame
            .select([expr.alias("result")])
            .to_alp()
            .map_err(|error| in_words(&error))?;
        let IR::Select { expr, .. } = plan.lp_arena.get(plan.lp_top) else {
            return Err("it computes nothing".into());
        };
        let [expr] = expr.as_slice() else {
            return Err("it is not one value".into());
        };
        let expr = expr.clone();
        if !is_elementwise_rec(expr.node(), &plan.expr_arena) {
            return Err("it needs other rows".into());
        }
        let mut state = ExpressionConversionState::new(false);
        let expr = create_physical_expr(&expr, &mut plan.expr_arena, &schema, &mut state);
        let mut call = Call {
            expr: expr.map_err(|error| in_words(&error))?,
            operands: operands.to_vec(),
            result: Type::Bool,
        };
        // A row that every call can take shows the type, and what is wrong with a pattern or a format.
        let sample: Vec<Column> = operands.iter().map(sample).collect();
        let result = call.evaluate(&sample, 1)?;
        let utc = operands.contains(&Type::Date { utc: true });
        call.result = of_polars(result.dtype(), utc)
            .ok_or_else(|| "its result is of a type that no column can have".to_owned())?;
        Ok(call)
    }

    /// The type of its result.
    pub(super) fn ty(&self) -> &Type {
        &self.result
    }

    /// The results for `rows` rows, and the rows for which polars has none.
    pub(super) fn run(&self, operands: &[Column], rows: usize) -> (Column, Bad) {
        match self.evaluate(operands, rows) {
            Ok(result) => (self.column(result, rows), Bad::new()),
            // Polars fails at some nulls, of which a function has no value.
            Err(_) if rows == 1 && operands.iter().any(|operand| operand.is_null(0)) => {
                (Column::nulls(&self.result, 1), Bad::new())
            }
            Err(message) if rows == 1 => (
                Column::nulls(&self.result, 1),
                vec![(0, Why::Other(message))],
            ),
            // Some row is at fault: each half by itself.
            Err(_) => {
                let half = rows / 2;
                let part = |from: usize, rows: usize| {
                    let operands: Vec<Column> = operands
                        .iter()
                        .map(|column| column.slice(from, rows))
                        .collect();
                    self.run(&operands, rows)
                };
                let (left, mut bad) = part(0, half);
                let (right, more) = part(half, rows - half);
                let later = more
                    .into_iter()
                    .map(|(row, why)| (row + row_number(half), why));
                bad.extend(later);
                // A row at fault is null already, and still has to be reported.
                let all = Column::concat(&[&left, &right]);
                (all, bad)
            }
        }
    }

    fn evaluate(&self, operands: &[Column], rows: usize) -> Result<Cells, String> {
        let columns = operands.iter().zip(&self.operands).enumerate();
        let columns =
            columns.map(|(at, (column, ty))| Ok(series(name(at), column, ty)?.into_column()));
        let columns: Vec<Cells> = columns.collect::<Result<_, String>>()?;
        let frame = DataFrame::new(rows, columns).map_err(|error| in_words(&error))?;
        self.expr
            .evaluate(&frame, &ExecutionState::new())
            .map_err(|error| in_words(&error))
    }

    /// The column of a result, a value a row.
    fn column(&self, result: Cells, rows: usize) -> Column {
        let column = column(result, &self.result);
        if column.len() == 1 && rows != 1 {
            return column.take(&vec![0; rows]);
        }
        column
    }
}

fn name(at: usize) -> PlSmallStr {
    PlSmallStr::from_string(format!("c{at}"))
}

/// The first line of polars' message, and what a regular expression's own message ends with.
fn in_words(error: &polars_core::error::PolarsError) -> String {
    let text = error.to_string();
    let first = text
        .lines()
        .next()
        .unwrap_or_default()
        .trim_end_matches(':');
    let last = text
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix("error: "));
    match last {
        Some(last) => format!("{first}: {last}"),
        None => first.to_owned(),
    }
}

/// A value that every function can take.
fn sample(ty: &Type) -> Column {
    match ty {
        Type::String => Column::from_strings([Some("a")]),
        Type::Int => Column::from_ints(vec![1], None),
        Type::Date { .. } => Column::from_ints(vec![0], None),
        Type::Float => Column::from_floats(vec![0.5], None),
        Type::Bool => Column::from_bools(&[true], None),
        Type::List(of) => Column::Lists(List {
            offsets: vec![0, 1].into(),
            values: Arc::new(sample(of)),
            validity: None,
        }),
        Type::Binary => Column::nulls(ty, 1),
    }
}

fn to_polars(ty: &Type) -> DataType {
    match ty {
        Type::String => DataType::String,
        Type::Int => DataType::Int64,
        Type::Float => DataType::Float64,
        Type::Bool => DataType::Boolean,
        // Whether it is in UTC is kept by the types here.
        Type::Date { .. } => DataType::Datetime(TimeUnit::Microseconds, None),
        Type::List(of) => DataType::List(Box::new(to_polars(of))),
        Type::Binary => DataType::Binary,
    }
}

/// The type that a column of this type of polars becomes, if there is one.
fn of_polars(ty: &DataType, utc: bool) -> Option<Type> {
    Some(match ty {
        DataType::String => Type::String,
        DataType::Boolean => Type::Bool,
        ty if ty.is_integer() => Type::Int,
        ty if ty.is_float() => Type::Float,
        DataType::Date | DataType::Datetime(..) => Type::Date { utc },
        DataType::List(of) => Type::List(Box::new(of_polars(of, utc)?)),
        _ => return None,
    })
}

/// A column as polars takes it; the values are shared.
fn series(name: PlSmallStr, column: &Column, ty: &Type) -> Result<Series, String> {
    Series::try_from((name, array(column, ty))).map_err(|error| in_words(&error))
}

fn array(column: &Column, ty: &Type) -> Box<dyn Array> {
    match (column, ty) {
        (Column::Ints(array), Type::Date { .. }) => {
            let micros = ArrowDataType::Timestamp(ArrowTimeUnit::Microsecond, None);
            PrimitiveArray::new(micros, array.values().clone(), array.validity().cloned()).boxed()
        }
        (Column::Strings(array), _) => array.clone().boxed(),
        (Column::Bytes(array), _) => array.clone().boxed(),
        (Column::Ints(array), _) => array.clone().boxed(),
        (Column::Floats(array), _) => array.clone().boxed(),
        (Column::Bools(array), _) => array.clone().boxed(),
        (Column::Lists(list), ty) => {
            let Type::List(of) = ty else {
                unreachable!("the schema says that the column is of lists");
            };
            let values = array_of_list(list, of);
            let offsets = OffsetsBuffer::try_from(list.offsets.clone());
            let offsets = offsets.expect("a list's offsets never fall");
            let dtype = ListArray::<i64>::default_datatype(values.dtype().clone());
            ListArray::<i64>::new(dtype, offsets, values, list.validity.clone()).boxed()
        }
    }
}

fn array_of_list(list: &List, of: &Type) -> Box<dyn Array> {
    array(&list.values, of)
}

/// The column of what polars computed, of a type that [`of_polars`] gave.
fn column(result: Cells, ty: &Type) -> Column {
    let wanted = to_polars(ty);
    let result = if *result.dtype() == wanted {
        result
    } else {
        result
            .cast(&wanted)
            .expect("integers and floats widen, and days are moments")
    };
    let array = result.rechunk_to_arrow(CompatLevel::newest());
    of_array(array.as_ref())
}

fn of_array(array: &dyn Array) -> Column {
    let any = array.as_any();
    if let Some(texts) = any.downcast_ref::<Utf8ViewArray>() {
        return Column::Strings(texts.clone());
    }
    if let Some(ints) = any.downcast_ref::<PrimitiveArray<i64>>() {
        // A moment's array has the type of a timestamp.
        let values = ints.values().clone();
        let validity = ints.validity().cloned();
        return Column::Ints(PrimitiveArray::new(ArrowDataType::Int64, values, validity));
    }
    if let Some(floats) = any.downcast_ref::<PrimitiveArray<f64>>() {
        return Column::Floats(floats.clone());
    }
    if let Some(bools) = any.downcast_ref::<BooleanArray>() {
        return Column::Bools(bools.clone());
    }
    let list = any.downcast_ref::<ListArray<i64>>();
    let list = list.expect("the types of results are those of columns");
    Column::Lists(List {
        offsets: list.offsets().buffer().clone(),
        values: Arc::new(of_array(list.values().as_ref())),
        validity: list.validity().cloned(),
    })
}
