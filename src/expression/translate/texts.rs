//! Functions of texts, and what a text is made of.

use chrono::format::{Item, StrftimeItems};
use sqlparser::ast::{Expr, TrimWhereField};

use super::super::functions::Takes;
use super::super::program::Op;
use super::super::text::{Join, Slice};
use super::{Operand, Translator};
use crate::columns::Column;
use crate::error::Result;
use crate::schema::Type;

/// How long `lpad` and `rpad` make a text at most: each row holds as much.
const PADDED_MAX: u32 = 10_000;

impl Translator<'_> {
    pub(super) fn trim(
        &mut self,
        of: &Expr,
        text: Operand,
        ends: Option<TrimWhereField>,
        what: Option<&Expr>,
    ) -> Result<Operand> {
        self.expect(of, &text, Takes::Text, "trim")?;
        let text = self.typed_as(of, text, &Type::String);
        let Some(what) = what else {
            let name = match ends {
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
                _ => "trim",
            };
            return self.call(of, &[text], |names| format!("{name}({})", names[0]));
        };
        let ends = ends.map_or("BOTH".to_owned(), |ends| ends.to_string());
        let what = self.text_literal(what)?;
        self.call(of, &[text], |names| {
            format!("TRIM({ends} {what} FROM {})", names[0])
        })
    }

    /// A function of which polars knows something where an operand is null, and SQL knows nothing.
    pub(super) fn strict(&mut self, of: &Expr, name: &str, values: &[Operand]) -> Result<Operand> {
        if values.iter().any(|value| value.ty.is_none()) {
            let ty = if name == "array_contains" {
                Type::Bool
            } else {
                Type::String
            };
            return Ok(self.constant(of, Column::nulls(&ty, 1), ty));
        }
        let result = self.call(of, values, |names| format!("{name}({})", names.join(", ")))?;
        let present = values
            .iter()
            .map(|value| value.step)
            .collect::<Vec<usize>>();
        let mut all = self.test(of, Op::Present(present[0]));
        for step in &present[1..] {
            let one = self.test(of, Op::Present(*step));
            all = self.test(of, Op::And(all, one));
        }
        let null = self.null(of);
        self.choose(of, all, result, null)
    }

    /// `left`, `right` and `substr`.
    pub(super) fn part_of(
        &mut self,
        of: &Expr,
        name: &str,
        values: Vec<Operand>,
    ) -> Result<Operand> {
        let slice = match name {
            "left" => Slice::Left,
            "right" => Slice::Right,
            _ => Slice::Middle,
        };
        let length = values.get(2).and_then(|length| length.literal.as_deref());
        if length.is_some_and(|length| length.starts_with('-')) {
            return Err(self.text.error_at(of, "a length is 0 or more"));
        }
        let steps = values.into_iter().map(|value| value.step).collect();
        Ok(self.push(of, Op::Sliced(slice, steps), Type::String))
    }

    /// `lpad` and `rpad`: every text gets as long as is asked for.
    pub(super) fn padded(&mut self, of: &Expr, name: &str, values: &[Operand]) -> Result<Operand> {
        let length = values[1].literal.as_deref().unwrap_or_default();
        if !length
            .parse::<u32>()
            .is_ok_and(|length| length <= PADDED_MAX)
        {
            let message =
                format!("a text is filled to 0 to {PADDED_MAX} characters, not to {length}");
            return Err(self.text.error_at(of, message));
        }
        self.call(of, values, |names| format!("{name}({})", names.join(", ")))
    }

    pub(super) fn written_date(
        &mut self,
        of: &Expr,
        date: Operand,
        format: &str,
    ) -> Result<Operand> {
        if StrftimeItems::new(format).any(|item| matches!(item, Item::Error)) {
            let message = format!("the format {format} has an unknown directive");
            return Err(self.text.error_at(of, message));
        }
        let date = self.typed_as(of, date, &Type::Date { utc: false });
        self.call(of, &[date], |names| {
            format!("strftime({}, {format})", names[0])
        })
    }

    /// The values as one text; a null is left out.
    pub(super) fn joined(&mut self, of: &Expr, separator: &str, values: Vec<Operand>) -> Operand {
        let how = Join {
            separator: separator.into(),
            skips_nulls: true,
        };
        // `NULL` is of no type, and never stands in the text.
        let parts = values.into_iter().filter(|value| value.ty.is_some());
        let parts = parts.map(|value| value.step).collect();
        self.push(of, Op::Join(how, parts), Type::String)
    }

    /// The text of a literal.
    pub(super) fn text_of(&self, literal: &Operand) -> String {
        match &self.steps[literal.step].op {
            Op::Constant(Column::Strings(texts)) => texts.value(0).to_owned(),
            _ => String::new(),
        }
    }
}
