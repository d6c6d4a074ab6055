//! What the embedded index is made of: its fields, and the rows of a batch as its documents. A row is
//! read where it lies, in the batch's columns; no document is built.

use std::ops::Range;
use std::sync::Arc;

use tantivy::DateTime;
use tantivy::Index;
use tantivy::schema::document::{ReferenceValue, ReferenceValueLeaf};
use tantivy::schema::{
    self, DateOptions, DateTimePrecision, Document, Field, IndexRecordOption, JsonObjectOptions,
    NumericOptions, TextFieldIndexing, TextOptions, Value,
};
use tantivy::tokenizer::{LowerCaser, RemoveLongFilter, SimpleTokenizer, TextAnalyzer};

use super::coerce::DATES_US;
use super::json::Leaf;
use super::mapping::{Kind, Mapping};
use crate::columns::Column;
use crate::error::{Error, Result};
use crate::schema::{Schema, Type};

/// The document's id: one term; sortable, so that hits of one score have an order.
pub(super) const ID: &str = "_id";
/// The document as JSON text, stored and not searched.
pub(super) const SOURCE: &str = "_source";
/// The members that the mapping does not name, each searchable as `MEMBER:word`.
pub(super) const DYNAMIC: &str = "_dynamic";
/// The words of those members, for bare words in a query.
pub(super) const WORDS: &str = "_words";

/// The tokenizer of text: words of letters and digits, lowercased. It stands under the name of
/// tantivy's own default, which differs only in that it drops words over 40 bytes; so any program
/// with tantivy can read the index.
const TOKENIZER: &str = "default";
/// The longest word that can be found, as in Elasticsearch.
const WORD_BYTES_MAX: usize = 255;

/// Makes the tokenizer known to an index that was created or opened.
pub(super) fn register_tokenizer(index: &Index) {
    let words = TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(WORD_BYTES_MAX + 1))
        .filter(LowerCaser)
        .build();
    index.tokenizers().register(TOKENIZER, words);
}

/// The index's fields for a mapping.
pub(super) fn index_schema(mapping: &Mapping) -> schema::Schema {
    let raw = TextFieldIndexing::default()
        .set_tokenizer("raw")
        .set_index_option(IndexRecordOption::Basic)
        .set_fieldnorms(false);
    let words = TextFieldIndexing::default()
        .set_tokenizer(TOKENIZER)
        .set_index_option(IndexRecordOption::WithFreqsAndPositions);
    let keyword = TextOptions::default().set_indexing_options(raw);
    let text = TextOptions::default().set_indexing_options(words.clone());
    let number = NumericOptions::default().set_indexed().set_fast();
    let date = DateOptions::default()
        .set_indexed()
        .set_fast()
        .set_precision(DateTimePrecision::Microseconds);
    let dynamic = JsonObjectOptions::default()
        .set_indexing_options(words)
        .set_expand_dots_enabled()
        .set_fast("raw");

    let mut builder = schema::Schema::builder();
    builder.add_text_field(ID, keyword.clone().set_fast("raw"));
    builder.add_text_field(SOURCE, TextOptions::default().set_stored());
    builder.add_json_field(DYNAMIC, dynamic);
    builder.add_text_field(WORDS, text.clone());
    for (name, kind) in &mapping.fields {
        match kind {
            Kind::Keyword => builder.add_text_field(name, keyword.clone()),
            Kind::Text => builder.add_text_field(name, text.clone()),
            Kind::Long { .. } => builder.add_i64_field(name, number.clone()),
            Kind::Double => builder.add_f64_field(name, number.clone()),
            Kind::Date(_) => builder.add_date_field(name, date.clone()),
            Kind::Boolean => builder.add_bool_field(name, number.clone()),
            Kind::GeoPoint => {
                builder.add_f64_field(&format!("{name}.lon"), number.clone());
                builder.add_f64_field(&format!("{name}.lat"), number.clone())
            }
        };
    }
    builder.build()
}

/// Which column of a batch goes into which field.
#[derive(Debug)]
pub(super) struct Plan {
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    field: Field,
    read: Read,
}

#[derive(Debug)]
enum Read {
    /// Each value of the column; of a list all its values.
    Values { column: usize, form: Form },
    /// This number of the pair that the column holds.
    Part { column: usize, part: usize },
    /// All these columns as one object.
    Object(Vec<Member>),
}

#[derive(Debug)]
struct Member {
    name: String,
    column: usize,
    form: Form,
}

/// What a column's values stand for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    /// Themselves.
    Plain,
    /// Integers that are dates.
    Date,
    /// Texts that are values in JSON, as [`Leaf`] reads them.
    Leaf,
    /// The same, of which the words count.
    Words,
}

impl Plan {
    /// The plan for batches that hold `_id`, `_source` and then the columns of `input`.
    pub(super) fn new(fields: &schema::Schema, mapping: &Mapping, input: &Schema) -> Result<Plan> {
        let field = |name: &str| {
            fields.get_field(name).map_err(|error| {
                Error::failed("the index lacks a field of its mapping").cause(error)
            })
        };
        let values = |column, form| Read::Values { column, form };
        let mut steps = vec![
            Step {
                field: field(ID)?,
                read: values(0, Form::Plain),
            },
            Step {
                field: field(SOURCE)?,
                read: values(1, Form::Plain),
            },
        ];
        let mut members = Vec::new();
        for (column, input) in (2..).zip(&input.fields) {
            match mapping.kind(&input.name) {
                Some(Kind::GeoPoint) => {
                    for (part, suffix) in ["lon", "lat"].into_iter().enumerate() {
                        let field = field(&format!("{}.{suffix}", input.name))?;
                        steps.push(Step {
                            field,
                            read: Read::Part { column, part },
                        });
                    }
                }
                Some(kind) => {
                    let form = match kind {
                        Kind::Date(_) => Form::Date,
                        _ => Form::Plain,
                    };
                    steps.push(Step {
                        field: field(&input.name)?,
                        read: values(column, form),
                    });
                }
                None => {
                    let (form, words) = match single(&input.ty) {
                        Type::String if input.json => (Form::Leaf, Some(Form::Words)),
                        Type::String => (Form::Plain, Some(Form::Plain)),
                        Type::Date { .. } => (Form::Date, None),
                        _ => (Form::Plain, None),
                    };
                    if let Some(words) = words {
                        steps.push(Step {
                            field: field(WORDS)?,
                            read: values(column, words),
                        });
                    }
                    members.push(Member {
                        name: input.name.clone(),
                        column,
                        form,
                    });
                }
            }
        }
        if !members.is_empty() {
            steps.push(Step {
                field: field(DYNAMIC)?,
                read: Read::Object(members),
            });
        }
        // The index sorts a document's values by field: sorted ones cost it nothing.
        steps.sort_by_key(|step| step.field);
        Ok(Plan { steps })
    }
}

/// The type of single values in a column.
fn single(ty: &Type) -> &Type {
    match ty {
        Type::List(of) => single(of),
        _ => ty,
    }
}

/// The columns of a batch and what is done with them.
pub(super) struct Rows {
    /// `_id`, `_source`, then the columns of the input.
    pub(super) columns: Vec<Column>,
    /// Which of them goes where.
    pub(super) plan: Arc<Plan>,
}

/// One row of a batch as a document of the index.
pub(super) struct Row {
    /// The batch, shared by its rows.
    pub(super) rows: Arc<Rows>,
    /// Its number there.
    pub(super) row: usize,
}

impl Document for Row {
    type Value<'a> = Cell<'a>;
    type FieldsValuesIter<'a> = Fields<'a>;

    fn iter_fields_and_values(&self) -> Fields<'_> {
        Fields {
            row: self,
            steps: self.rows.plan.steps.iter(),
            list: None,
        }
    }
}

/// A document's values with their fields.
pub(super) struct Fields<'a> {
    row: &'a Row,
    steps: std::slice::Iter<'a, Step>,
    list: Option<(Field, Values<'a>)>,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (Field, Cell<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((field, values)) = &mut self.list {
                if let Some(cell) = values.next() {
                    return Some((*field, cell));
                }
                self.list = None;
            }
            let step = self.steps.next()?;
            let (columns, row) = (&self.row.rows.columns, self.row.row);
            let cell = match &step.read {
                Read::Values { column, form } => match Cell::at(&columns[*column], *form, row) {
                    Some(Cell::List(values)) => {
                        self.list = Some((step.field, values));
                        None
                    }
                    cell => cell,
                },
                Read::Part { column, part } => part_of(&columns[*column], *part, row),
                Read::Object(members) => Some(Cell::Object(Members {
                    rest: members.iter(),
                    columns,
                    row,
                })),
            };
            if let Some(cell) = cell {
                return Some((step.field, cell));
            }
        }
    }
}

/// Number `part` of the pair in row `row`.
fn part_of(column: &Column, part: usize, row: usize) -> Option<Cell<'_>> {
    let Column::Lists(list) = column else {
        return None;
    };
    if column.is_null(row) {
        return None;
    }
    match Cell::at(&list.values, Form::Plain, list.range(row).start + part)? {
        #[allow(clippy::cast_precision_loss, reason = "coordinates are small")]
        Cell::Long(number) => Some(Cell::Double(number as f64)),
        cell => Some(cell),
    }
}

/// One value as the index takes it.
#[derive(Debug, Clone)]
pub(super) enum Cell<'a> {
    Text(&'a str),
    Long(i64),
    Natural(u64),
    Double(f64),
    Bool(bool),
    Date(DateTime),
    List(Values<'a>),
    Object(Members<'a>),
}

impl<'a> Cell<'a> {
    /// Value `i` of a column; `None` for null.
    #[inline]
    fn at(column: &'a Column, form: Form, i: usize) -> Option<Self> {
        if column.is_null(i) {
            return None;
        }
        Some(match column {
            Column::Strings(texts) => match form {
                Form::Leaf => Cell::of(Leaf::read(texts.value(i))),
                Form::Words => Cell::Text(Leaf::words(texts.value(i))?),
                Form::Plain | Form::Date => Cell::Text(texts.value(i)),
            },
            Column::Ints(ints) if form == Form::Date => {
                // Mapped dates were checked; others are held as near as the index can.
                let micros = ints.value(i).clamp(*DATES_US.start(), *DATES_US.end());
                Cell::Date(DateTime::from_timestamp_micros(micros))
            }
            Column::Ints(ints) => Cell::Long(ints.value(i)),
            Column::Floats(floats) => Cell::Double(floats.value(i)),
            Column::Bools(bools) => Cell::Bool(bools.value(i)),
            Column::Lists(list) => Cell::List(Values {
                column: &list.values,
                form,
                range: list.range(i),
            }),
            Column::Bytes(_) => return None,
        })
    }

    fn of(leaf: Leaf<'a>) -> Self {
        match leaf {
            Leaf::Text(text) => Cell::Text(text),
            Leaf::Int(int) => Cell::Long(int),
            Leaf::Natural(number) => Cell::Natural(number),
            Leaf::Float(float) => Cell::Double(float),
            Leaf::Flag(flag) => Cell::Bool(flag),
        }
    }
}

impl<'a> Value<'a> for Cell<'a> {
    type ArrayIter = Values<'a>;
    type ObjectIter = Members<'a>;

    #[inline]
    fn as_value(&self) -> ReferenceValue<'a, Self> {
        ReferenceValue::Leaf(match self {
            Cell::Text(text) => ReferenceValueLeaf::Str(text),
            Cell::Long(int) => ReferenceValueLeaf::I64(*int),
            Cell::Natural(number) => ReferenceValueLeaf::U64(*number),
            Cell::Double(float) => ReferenceValueLeaf::F64(*float),
            Cell::Bool(flag) => ReferenceValueLeaf::Bool(*flag),
            Cell::Date(at) => ReferenceValueLeaf::Date(*at),
            Cell::List(values) => return ReferenceValue::Array(values.clone()),
            Cell::Object(members) => return ReferenceValue::Object(members.clone()),
        })
    }
}

/// The values of a list that are not null.
#[derive(Debug, Clone)]
pub(super) struct Values<'a> {
    column: &'a Column,
    form: Form,
    range: Range<usize>,
}

impl<'a> Iterator for Values<'a> {
    type Item = Cell<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (column, form) = (self.column, self.form);
        self.range.find_map(|i| Cell::at(column, form, i))
    }
}

/// The members of a row that the mapping does not name.
#[derive(Debug, Clone)]
pub(super) struct Members<'a> {
    rest: std::slice::Iter<'a, Member>,
    columns: &'a [Column],
    row: usize,
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, Cell<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (columns, row) = (self.columns, self.row);
        self.rest.find_map(|member| {
            let cell = Cell::at(&columns[member.column], member.form, row)?;
            Some((member.name.as_str(), cell))
        })
    }
}
