//! The functions that an expression may call: polars' own, as far as they compute a row's value from that row alone.

use crate::schema::Type;

/// What a function takes in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Text,
    /// A text that stands in the expression, such as a pattern.
    TextLiteral,
    Int,
    /// An integer that stands in the expression.
    IntLiteral,
    /// An integer or a float, as it is.
    Number,
    /// An integer becomes a float.
    Float,
    Bool,
    Date,
    List,
    Any,
}

impl Takes {
    /// Whether a value of this type fits; `None` is the type of `NULL`.
    pub(super) fn fits(self, ty: Option<&Type>) -> bool {
        match (self, ty) {
            (_, None) | (Takes::Any, _) => true,
            (Takes::Text | Takes::TextLiteral, Some(ty)) => *ty == Type::String,
            (Takes::Int | Takes::IntLiteral, Some(ty)) => *ty == Type::Int,
            (Takes::Number | Takes::Float, Some(ty)) => matches!(ty, Type::Int | Type::Float),
            (Takes::Bool, Some(ty)) => *ty == Type::Bool,
            (Takes::Date, Some(ty)) => matches!(ty, Type::Date { .. }),
            (Takes::List, Some(ty)) => matches!(ty, Type::List(_)),
        }
    }

    /// What is expected, in words.
    pub(super) fn in_words(self) -> &'static str {
        match self {
            Takes::Text => "a string",
            Takes::TextLiteral => "a string in quotes",
            Takes::Int => "an int",
            Takes::IntLiteral => "an int as digits",
            Takes::Number | Takes::Float => "a number",
            Takes::Bool => "a bool",
            Takes::Date => "a date",
            Takes::List => "a list",
            Takes::Any => "any value",
        }
    }
}

/// One function.
pub struct Function {
    /// Its name in lower case.
    pub name: &'static str,
    /// Other names of it.
    pub aliases: &'static [&'static str],
    /// How it is written.
    pub usage: &'static str,
    /// What it gives.
    pub summary: &'static str,
    /// An expression, and its value as JSON.
    pub example: (&'static str, &'static str),
    pub(super) takes: &'static [Takes],
    /// How many of them must be given.
    pub(super) required: usize,
    /// Whether the last one may be given again and again.
    pub(super) more: bool,
}

/// The function of this name, in any case.
pub(super) fn function(name: &str) -> Option<&'static Function> {
    let name = name.to_lowercase();
    FUNCTIONS
        .iter()
        .find(|function| function.name == name || function.aliases.contains(&name.as_str()))
}

macro_rules! functions {
    ($($name:literal $([$($alias:literal),+])? ($($takes:ident),*) $required:literal $($more:ident)?
       : $usage:literal, $summary:literal, $example:literal => $value:literal;)*) => {
        &[$(Function {
            name: $name,
            aliases: &[$($($alias),+)?],
            usage: $usage,
            summary: $summary,
            example: ($example, $value),
            takes: &[$(Takes::$takes),*],
            required: $required,
            more: functions!(@more $($more)?),
        }),*]
    };
    (@more) => { false };
    (@more more) => { true };
}

/// All functions, in the order of the reference.
pub static FUNCTIONS: &[Function] = functions! {
    "upper" (Text) 1: "upper(text)", "in upper case", "upper('straße')" => "\"STRASSE\"";
    "lower" (Text) 1: "lower(text)", "in lower case", "lower('ÀB')" => "\"àb\"";
    "length" ["char_length", "character_length"] (Text) 1: "length(text)", "the number of characters", "length('né')" => "2";
    "octet_length" (Text) 1: "octet_length(text)", "the number of bytes", "octet_length('né')" => "3";
    "bit_length" (Text) 1: "bit_length(text)", "the number of bits", "bit_length('a')" => "8";
    "concat" (Any) 1 more: "concat(value, ...)", "the values as one text; nulls are left out", "concat('a', 1, NULL, true)" => "\"a1true\"";
    "concat_ws" (TextLiteral, Any) 2 more: "concat_ws(separator, value, ...)", "the values as one text with a separator between them; nulls are left out", "concat_ws('-', 'a', NULL, 2)" => "\"a-2\"";
    "starts_with" (Text, Text) 2: "starts_with(text, part)", "whether the text begins so; as `text ^@ part`", "starts_with('abc', 'ab')" => "true";
    "ends_with" (Text, Text) 2: "ends_with(text, part)", "whether the text ends so", "ends_with('abc', 'bc')" => "true";
    "left" (Text, Int) 2: "left(text, n)", "the first n characters; below 0: all but the last n", "left('abcd', 2)" => "\"ab\"";
    "right" (Text, Int) 2: "right(text, n)", "the last n characters; below 0: all but the first n", "right('abcd', 3)" => "\"bcd\"";
    "substr" ["substring"] (Text, Int, Int) 2: "substr(text, from, n)", "n characters from the one at `from`, which counts from 1; without n all that follow", "substr('abcd', 2, 2)" => "\"bc\"";
    "trim" (Text) 1: "trim(text)", "without blanks at both ends; `trim(LEADING 'x' FROM text)` says which end and which characters, `trim(text, 'x')` which characters", "trim(BOTH 'x' FROM 'xaxx')" => "\"a\"";
    "ltrim" (Text, Text) 1: "ltrim(text, characters)", "without blanks, or these characters, at the beginning", "ltrim('  a ')" => "\"a \"";
    "rtrim" (Text, Text) 1: "rtrim(text, characters)", "without blanks, or these characters, at the end", "rtrim('a--', '-')" => "\"a\"";
    "lpad" (Text, IntLiteral, TextLiteral) 2: "lpad(text, n, fill)", "n characters (digits up to 10000), filled with blanks, or this character, at the beginning, or cut", "lpad('7', 3, '0')" => "\"007\"";
    "rpad" (Text, IntLiteral, TextLiteral) 2: "rpad(text, n, fill)", "n characters, filled at the end, or cut", "rpad('7', 3, '.')" => "\"7..\"";
    "replace" (Text, Text, Text) 3: "replace(text, old, new)", "with `new` in place of each `old`", "replace('a.b.', '.', '')" => "\"ab\"";
    "reverse" (Text) 1: "reverse(text)", "backwards, by what is seen as a character", "reverse('abc')" => "\"cba\"";
    "split_part" (Text, Text, Int) 3: "split_part(text, separator, n)", "the n-th part, from 1; below 0 from the end; empty where the text has fewer parts", "split_part('a-b-c', '-', 2)" => "\"b\"";
    "strpos" (Text, Text) 2: "strpos(text, part)", "where the part begins, from 1; 0: nowhere; as `position(part IN text)`", "strpos('abc', 'c')" => "3";
    "regexp_like" (Text, TextLiteral, TextLiteral) 2: "regexp_like(text, pattern, flags)", "whether the regular expression matches somewhere; as `text ~ pattern`", "regexp_like('Abc', '^a', 'i')" => "true";
    "normalize" (Text) 1: "normalize(text)", "in Unicode's normal form C", "length(normalize('e\u{301}'))" => "1";

    "abs" (Number) 1: "abs(number)", "without its sign", "abs(-3)" => "3";
    "sign" (Number) 1: "sign(number)", "-1, 0 or 1", "sign(-2.5)" => "-1.0";
    "round" (Number, IntLiteral) 1: "round(number, digits)", "to this many digits after the point (0 or more), else to a whole one; a half goes to the even neighbour", "round(2.345, 1)" => "2.3";
    "trunc" ["truncate"] (Number, IntLiteral) 1: "trunc(number, digits)", "cut to this many digits after the point, else to a whole one", "trunc(-2.7)" => "-2.0";
    "ceil" ["ceiling"] (Number) 1: "ceil(number)", "the next whole one above", "ceil(1.2)" => "2.0";
    "floor" (Number) 1: "floor(number)", "the next whole one below", "floor(-1.2)" => "-2.0";
    "div" (Number, Number) 2: "div(a, b)", "the quotient rounded down; as `a // b`", "div(-7, 2)" => "-4";
    "mod" (Number, Number) 2: "mod(a, b)", "what that division leaves, with the sign of `b`; as `a % b`", "mod(-7, 2)" => "1";
    "pow" ["power"] (Number, Number) 2: "pow(a, b)", "a to the power of b; of ints an int", "pow(2, 10)" => "1024";
    "sqrt" (Float) 1: "sqrt(number)", "the square root", "sqrt(9)" => "3.0";
    "cbrt" (Float) 1: "cbrt(number)", "the cube root", "cbrt(8)" => "2.0";
    "exp" (Float) 1: "exp(number)", "e to the power of it", "exp(0)" => "1.0";
    "ln" (Float) 1: "ln(number)", "the natural logarithm", "ln(1)" => "0.0";
    "log" (Float, Float) 2: "log(number, base)", "the logarithm to a base", "round(log(8, 2), 6)" => "3.0";
    "log2" (Float) 1: "log2(number)", "the logarithm to base 2", "round(log2(8), 6)" => "3.0";
    "log10" (Float) 1: "log10(number)", "the logarithm to base 10", "round(log10(1000), 6)" => "3.0";
    "log1p" (Float) 1: "log1p(number)", "the natural logarithm of 1 more", "log1p(0)" => "0.0";
    "pi" () 0: "pi()", "the circle's number", "round(pi(), 4)" => "3.1416";
    "sin" (Float) 1: "sin(radians)", "the sine; `sind` takes degrees", "sin(0)" => "0.0";
    "cos" (Float) 1: "cos(radians)", "the cosine; `cosd` takes degrees", "cos(0)" => "1.0";
    "tan" (Float) 1: "tan(radians)", "the tangent; `tand` takes degrees", "tan(0)" => "0.0";
    "cot" (Float) 1: "cot(radians)", "the cotangent; `cotd` takes degrees", "round(cot(pi() / 4), 6)" => "1.0";
    "asin" (Float) 1: "asin(number)", "the arc sine in radians; `asind` in degrees", "asin(0)" => "0.0";
    "acos" (Float) 1: "acos(number)", "the arc cosine in radians; `acosd` in degrees", "acos(1)" => "0.0";
    "atan" (Float) 1: "atan(number)", "the arc tangent in radians; `atand` in degrees", "atan(0)" => "0.0";
    "atan2" (Float, Float) 2: "atan2(y, x)", "the angle of a point in radians; `atan2d` in degrees", "atan2(0, 1)" => "0.0";
    "sind" (Float) 1: "sind(degrees)", "the sine", "round(sind(30), 6)" => "0.5";
    "cosd" (Float) 1: "cosd(degrees)", "the cosine", "round(cosd(60), 6)" => "0.5";
    "tand" (Float) 1: "tand(degrees)", "the tangent", "round(tand(45), 6)" => "1.0";
    "cotd" (Float) 1: "cotd(degrees)", "the cotangent", "round(cotd(45), 6)" => "1.0";
    "asind" (Float) 1: "asind(number)", "the arc sine in degrees", "round(asind(1), 6)" => "90.0";
    "acosd" (Float) 1: "acosd(number)", "the arc cosine in degrees", "round(acosd(0), 6)" => "90.0";
    "atand" (Float) 1: "atand(number)", "the arc tangent in degrees", "round(atand(1), 6)" => "45.0";
    "atan2d" (Float, Float) 2: "atan2d(y, x)", "the angle of a point in degrees", "round(atan2d(1, 0), 6)" => "90.0";
    "degrees" (Float) 1: "degrees(radians)", "an angle in degrees", "round(degrees(pi()), 6)" => "180.0";
    "radians" (Float) 1: "radians(degrees)", "an angle in radians", "round(radians(180), 4)" => "3.1416";
    "bit_and" ["bitand"] (Int, Int) 2: "bit_and(a, b)", "the bits that both have; as `a & b`", "bit_and(6, 3)" => "2";
    "bit_or" ["bitor"] (Int, Int) 2: "bit_or(a, b)", "the bits that one of them has; as `a | b`", "bit_or(6, 3)" => "7";
    "bit_xor" ["bitxor"] (Int, Int) 2: "bit_xor(a, b)", "the bits that just one of them has", "bit_xor(6, 3)" => "5";

    "coalesce" (Any) 1 more: "coalesce(value, ...)", "the first that is not null", "coalesce(NULL, 2, 3)" => "2";
    "ifnull" (Any, Any) 2: "ifnull(value, other)", "the value, or the other one if it is null", "ifnull(NULL, 'none')" => "\"none\"";
    "nullif" (Any, Any) 2: "nullif(value, other)", "null if both are equal, else the value", "nullif('-', '-')" => "null";
    "if" (Bool, Any, Any) 3: "if(condition, value, other)", "the value where the condition is true, else the other one", "if(1 < 2, 'a', 'b')" => "\"a\"";
    "greatest" (Any) 1 more: "greatest(value, ...)", "the greatest; nulls are left out", "greatest(1, NULL, 3)" => "3";
    "least" (Any) 1 more: "least(value, ...)", "the least; nulls are left out", "least('b', 'a')" => "\"a\"";

    "date" (Any, TextLiteral) 1: "date(value, format)", "the day of a date, or of a text in ISO 8601 or this format (as in `normalize_dates`)", "date('06.05.2024', '%d.%m.%Y')" => "\"2024-05-06T00:00:00\"";
    "timestamp" ["datetime"] (Text, TextLiteral) 1: "timestamp(text, format)", "the moment that a text in ISO 8601 or this format says", "timestamp('2024-05-06 07:08:09')" => "\"2024-05-06T07:08:09\"";
    "strptime" (Text, TextLiteral) 2: "strptime(text, format)", "the moment that a text in this format says", "strptime('6/5/24', '%d/%m/%y')" => "\"2024-05-06T00:00:00\"";
    "strftime" (Date, TextLiteral) 2: "strftime(date, format)", "the date as a text in this format", "strftime(DATE '2024-05-06', '%Y-%m')" => "\"2024-05\"";
    "date_part" (TextLiteral, Date) 2: "date_part(part, date)", "`year`, `quarter`, `month`, `week`, `day`, `dow` (0 is Sunday), `isodow`, `doy`, `hour`, `minute`, `second`, `epoch` ...; as `extract(month FROM date)`", "date_part('month', DATE '2024-05-06')" => "5";

    "array_length" (List) 1: "array_length(list)", "the number of values", "array_length([1, 2])" => "2";
    "array_get" (List, Int) 2: "array_get(list, n)", "the n-th value, from 1; below 0 from the end; null where the list is shorter; as `list[n]`", "array_get(['a', 'b'], 2)" => "\"b\"";
    "array_contains" (List, Any) 2: "array_contains(list, value)", "whether the value is in the list", "array_contains([1, 2], 2)" => "true";
    "array_to_string" (List, TextLiteral) 2: "array_to_string(list, separator)", "the values as one text; nulls are left out", "array_to_string(['a', 'b'], '+')" => "\"a+b\"";
    "array_sum" (List) 1: "array_sum(list)", "the sum of numbers", "array_sum([1, 2])" => "3";
    "array_mean" (List) 1: "array_mean(list)", "the mean of numbers", "array_mean([1, 2])" => "1.5";
    "array_lower" (List) 1: "array_lower(list)", "the least value", "array_lower([2, 1])" => "1";
    "array_upper" (List) 1: "array_upper(list)", "the greatest value", "array_upper([2, 1])" => "2";
    "string_to_array" (Text, TextLiteral) 2: "string_to_array(text, separator)", "the parts of a text as a list", "string_to_array('a,b', ',')" => "[\"a\",\"b\"]";
};

/// All aggregates, in the order of the reference. The examples are of four rows with `n` 1, 2, 5 and null, and `s` b, a, b
/// and null.
pub static AGGREGATES: &[Function] = functions! {
    "count" (Any) 1: "count(*)", "the number of rows; `count(value)`: of values that are not null", "count(*)" => "4";
    "count" (Any) 1: "count(distinct value)", "the number of different values, null left out; holds them all", "count(distinct s)" => "2";
    "sum" (Number) 1: "sum(number)", "the sum: of ints an int, which is an error where it does not fit into 64 bits; of floats the exact sum, rounded once", "sum(n)" => "8";
    "avg" (Number) 1: "avg(number)", "the mean as a float: the exact sum by the number of values, rounded once", "avg(n)" => "2.6666666666666665";
    "min" (Any) 1: "min(value)", "the least: numbers by value, strings bytewise", "min(s)" => "\"a\"";
    "max" (Any) 1: "max(value)", "the greatest", "max(n * 2)" => "10";
    "first" (Any) 1: "first(value)", "that of the first row, null or not", "first(s)" => "\"b\"";
    "last" (Any) 1: "last(value)", "that of the last row, null or not", "last(n)" => "null";
    "median" (Number) 1: "median(number)", "the value in the middle, or the middle of the two there; holds all values", "median(n)" => "2.0";
    "quantile" ["quantile_cont"] (Number, Number) 2: "quantile(number, share)", "the value at this share, 0 to 1, of the way from the least to the greatest, on a line between neighbours; holds all values", "quantile(n, 0.75)" => "3.5";
    "stddev" ["stdev", "stddev_samp", "stdev_samp"] (Number) 1: "stddev(number)", "the standard deviation of a sample, from exact sums; null below two values", "stddev(n)" => "2.0816659994661326";
    "string_agg" ["listagg"] (Text, TextLiteral) 2: "string_agg(text, separator)", "the texts in row order with the separator between them; holds all values", "string_agg(s, '+')" => "\"b+a+b\"";
};

/// Functions that other rows, other tables or chance have a part in, and what to use instead.
pub(super) fn refused(name: &str) -> Option<(&'static str, &'static str)> {
    const AGGREGATES: &[&str] = &[
        "avg",
        "corr",
        "count",
        "covar",
        "covar_pop",
        "covar_samp",
        "first",
        "last",
        "max",
        "median",
        "min",
        "quantile",
        "quantile_cont",
        "quantile_disc",
        "stdev",
        "stddev",
        "stdev_samp",
        "stddev_samp",
        "string_agg",
        "listagg",
        "group_concat",
        "sum",
        "total",
        "var",
        "variance",
        "var_samp",
        "array_agg",
        "mean",
    ];
    const WINDOWS: &[&str] = &[
        "dense_rank",
        "first_value",
        "last_value",
        "lag",
        "lead",
        "rank",
        "row_number",
    ];
    const CLOCK_OR_CHANCE: &[&str] = &[
        "now",
        "current_date",
        "current_time",
        "current_timestamp",
        "localtime",
        "localtimestamp",
        "random",
        "rand",
        "uuid",
        "gen_random_uuid",
        "today",
    ];
    let name = name.to_lowercase();
    let is = |names: &[&str]| names.contains(&name.as_str());
    if is(AGGREGATES) {
        let hint = "the kind `aggregate` takes those that `etl stages aggregate` lists; `greatest` and `least` compare the values of one row";
        return Some(("is an aggregate: an expression here sees one row", hint));
    }
    if is(WINDOWS) {
        return Some((
            "is a window function: an expression here sees one row",
            "`sort`, `aggregate` and `dedupe` look at several rows",
        ));
    }
    if is(CLOCK_OR_CHANCE) {
        return Some((
            "gives another value in every run",
            "put the value into the pipeline with a variable, as in `'${TODAY}'`",
        ));
    }
    if name == "unnest" || name == "explode" {
        return Some(("makes several rows of one", "the kind `explode` does that"));
    }
    None
}
