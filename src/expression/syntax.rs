//! The text of an expression: parsed by the dialect that polars' SQL has, and errors that mark a place in it.

use std::ops::Range;

use sqlparser::ast::{Expr, Spanned};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::{Parser, ParserError, ParserOptions};
use sqlparser::tokenizer::{Location, Span, Token};

use crate::error::{Error, Result};

/// How deep brackets and calls may nest: the parser and what follows it recurse.
const DEPTH_MAX: usize = 50;
/// The most bytes of an expression: the parser and what follows it recurse, and people write far shorter ones.
const BYTES_MAX: usize = 16 << 10;
/// How many columns of a line an error shows around the place.
const SHOWN: usize = 70;

/// The text of an expression.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a>(pub(super) &'a str);

impl Text<'_> {
    /// The expression that the text is.
    pub(super) fn parse(&self) -> Result<Expr> {
        if self.0.trim().is_empty() {
            return Err(Error::usage("the expression is empty"));
        }
        if self.0.len() > BYTES_MAX {
            return Err(Error::usage(format!(
                "the expression is {} bytes long: at most {BYTES_MAX} are taken",
                self.0.len()
            ))
            .hint("divide it: a column of `derive` sees those above it"));
        }
        let options = ParserOptions {
            trailing_commas: true,
            ..ParserOptions::default()
        };
        let parser = Parser::new(&GenericDialect)
            .with_options(options)
            .with_recursion_limit(DEPTH_MAX)
            .try_with_sql(self.0);
        let mut parser = parser.map_err(|error| self.parser_error(&error))?;
        let first = parser.peek_token();
        if let Token::Word(word) = &first.token
            && word.quote_style.is_none()
            && matches!(
                word.value.to_uppercase().as_str(),
                "SELECT" | "WITH" | "FROM" | "WHERE"
            )
        {
            return Err(self
                .error(
                    first.span,
                    format!("`{}` begins a query: an expression is expected", word.value),
                )
                .hint("write only the value, as in `price * quantity`"));
        }
        let expr = parser
            .parse_expr()
            .map_err(|error| self.parser_error(&error))?;
        let next = parser.peek_token();
        if next.token != Token::EOF {
            return Err(self.error(
                next.span,
                format!("unexpected `{}` after the expression", next.token),
            ));
        }
        Ok(expr)
    }

    /// What is wrong with the part of the text at `span`, with that part marked.
    pub(super) fn error(&self, span: Span, message: impl Into<String>) -> Error {
        Error::usage(message).cause(self.marked(&self.range(span)))
    }

    /// As [`Text::error`], of an expression.
    pub(super) fn error_at(&self, expr: &Expr, message: impl Into<String>) -> Error {
        // The parser knows of a call only where its name and its values stand.
        let span = match expr {
            Expr::Function(function) => function.name.span(),
            expr => expr.span(),
        };
        self.error(span, message)
    }

    fn parser_error(&self, error: &ParserError) -> Error {
        let message = match error {
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
            ParserError::RecursionLimitExceeded => {
                return Error::usage(format!(
                    "the expression nests more than {DEPTH_MAX} brackets, calls or signs"
                ))
                .hint("divide it: a column of `derive` sees those above it");
            }
        };
        let (what, place) = message
            .split_once(" at Line: ")
            .map_or((message.as_str(), None), |(what, place)| {
                (what, Some(place))
            });
        let what = what.trim_start_matches("Expected: ");
        let message = match what.split_once(", found: ") {
            Some((expected, "EOF")) => format!("{expected} is expected, and the expression ends"),
            Some((expected, found)) => format!("{expected} is expected, found `{found}`"),
            None => lower_first(what),
        };
        let location = place.and_then(|place| {
            let (line, column) = place.split_once(", Column: ")?;
            Some(Location {
                line: line.parse().ok()?,
                column: column.parse().ok()?,
            })
        });
        let location = location.unwrap_or_else(|| self.end());
        self.error(Span::new(location, location), message)
    }

    /// Where the text ends.
    fn end(&self) -> Location {
        let line = self.0.lines().count().max(1);
        let column = self.0.lines().last().map_or(0, |line| line.chars().count()) + 1;
        Location {
            line: line as u64,
            column: column as u64,
        }
    }

    /// The bytes of a span; all of them where the parser names no place.
    fn range(&self, span: Span) -> Range<usize> {
        let (from, to) = (self.offset(span.start), self.offset(span.end));
        match (from, to) {
            (Some(from), Some(to)) if from <= to => from..to,
            _ => 0..self.0.len(),
        }
    }

    fn offset(&self, location: Location) -> Option<usize> {
        let line = usize::try_from(location.line).ok()?.checked_sub(1)?;
        let column = usize::try_from(location.column).ok()?.checked_sub(1)?;
        let mut lines = self.0.split_inclusive('\n');
        let before: usize = lines.by_ref().take(line).map(str::len).sum();
        let line = lines.next().unwrap_or_default();
        let within = line.char_indices().nth(column);
        Some(before + within.map_or(line.len(), |(at, _)| at))
    }

    /// The line that `range` begins on, with carets under the range.
    fn marked(&self, range: &Range<usize>) -> String {
        let begin = self.0[..range.start].rfind('\n').map_or(0, |at| at + 1);
        let end = self.0[range.start..]
            .find('\n')
            .map_or(self.0.len(), |at| range.start + at);
        let line: Vec<char> = self.0[begin..end].chars().collect();
        let before = self.0[begin..range.start].chars().count();
        let marks = self.0[range.start..range.end.min(end).max(range.start)]
            .chars()
            .count();
        let from = before.saturating_sub(SHOWN / 2);
        let shown: String = line
            .iter()
            .skip(from)
            .take(SHOWN)
            .map(|&c| if c.is_control() { ' ' } else { c })
            .collect();
        let marks = marks.clamp(1, SHOWN.saturating_sub(before - from).max(1));
        format!(
            "{shown}\n{}{}",
            " ".repeat(before - from),
            "^".repeat(marks)
        )
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Text(text).parse().expect_err(text).render()
    }

    #[test]
    fn what_is_no_expression_is_marked() {
        for (text, message, mark) in [
            (
                "a +",
                "is expected, and the expression ends",
                "  a +\n     ^",
            ),
            ("(a + 1", "is expected, and the expression ends", "^"),
            ("a b", "unexpected `b`", "  a b\n    ^"),
            ("SELECT a", "begins a query", "  ^^^^^^"),
            ("a AS b", "unexpected `AS`", "    ^^"),
            ("'open", "nterminated", "^"),
        ] {
            let error = refused(text);
            assert!(error.contains(message), "{error}");
            assert!(error.contains(mark), "{error}");
        }
        assert!(refused(" ").contains("empty"));
    }

    #[test]
    fn ten_thousand_brackets_are_refused() {
        let nested = format!("{}a{}", "(".repeat(7_000), ")".repeat(7_000));
        assert!(refused(&nested).contains("nests more than"));
        let long = format!("{}a{}", "(".repeat(10_000), ")".repeat(10_000));
        assert!(refused(&long).contains("bytes long"));
    }

    #[test]
    fn a_place_is_found_after_other_lines_and_letters() {
        let text = Text("'é' ||\n  nam");
        let span = Span::new(
            Location { line: 2, column: 3 },
            Location { line: 2, column: 6 },
        );
        assert!(
            text.error(span, "x")
                .render()
                .ends_with("    nam\n    ^^^\n")
        );
    }
}
