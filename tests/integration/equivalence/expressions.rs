//! Generated expressions over the columns of a table.

use super::data::Random;

/// Plain expressions of a type, and those with parts: `$i` stands for an expression of type int, and so on.
const INTS: (&[&str], &[&str]) = (
    &["id", "n", "0", "7", "-3", "9223372036854775807"],
    &[
        "$i + $i",
        "$i - $i",
        "$i * $i",
        "$i // $i",
        "$i % $i",
        "-$i",
        "abs($i)",
        "length($s)",
        "CAST($f AS BIGINT)",
        "CAST($s AS BIGINT)",
        "TRY_CAST($s AS BIGINT)",
        "extract(day FROM $d)",
        "strpos($s, $s)",
        "CASE WHEN $b THEN $i ELSE $i END",
        "coalesce($i, $i)",
        "greatest($i, $i)",
        "bit_xor($i, $i)",
        "nullif($i, $i)",
        "if($b, $i, $i)",
    ],
);
const FLOATS: (&[&str], &[&str]) = (
    &["x", "y", "0.5", "-1e3"],
    &[
        "$f + $f",
        "$f * $i",
        "$f / $f",
        "$i / $i",
        "$f - $f",
        "$f % $f",
        "round($f, 1)",
        "sqrt($f)",
        "ln($f)",
        "sin($f)",
        "floor($f)",
        "CASE WHEN $b THEN $f END",
        "least($f, $i)",
        "CAST($s AS DOUBLE)",
        "exp($f)",
        "extract(epoch FROM $d)",
    ],
);
const STRINGS: (&[&str], &[&str]) = (
    &["k", "t", "'é'", "''"],
    &[
        "$s || $s",
        "upper($s)",
        "left($s, $i)",
        "substr($s, 2, 3)",
        "replace($s, $s, 'x')",
        "concat($s, $i, $f, $b)",
        "trim($s)",
        "CAST($f AS VARCHAR)",
        "CAST($d AS VARCHAR)",
        "split_part($s, 'k', 2)",
        "CASE WHEN $b THEN $s ELSE $s END",
        "reverse($s)",
        "lpad($s, 4, '.')",
        "coalesce($s, $s)",
        "strftime($d, '%Y/%m')",
    ],
);
const BOOLS: (&[&str], &[&str]) = (
    &["b", "true", "n > 0"],
    &[
        "$i < $i",
        "$f >= $f",
        "$s = $s",
        "$s LIKE '%k%'",
        "$s ~ '^[a-z]'",
        "$b AND $b",
        "$b OR $b",
        "NOT $b",
        "$i IS NULL",
        "$b IS TRUE",
        "$s IN ('a', 'b', '')",
        "$i BETWEEN $i AND $i",
        "$d > '2013-03-15'",
        "starts_with($s, $s)",
        "$d = $d",
        "$s IS NOT DISTINCT FROM $s",
    ],
);
const DATES_OF: (&[&str], &[&str]) = (
    &["d", "e", "DATE '2013-03-02'"],
    &[
        "$d + INTERVAL '1 month'",
        "$d - INTERVAL '36 hours'",
        "CASE WHEN $b THEN $d ELSE $d END",
        "date($d)",
        "coalesce($d, $d)",
    ],
);

/// Expressions of a type, plain ones or with parts.
fn templates(ty: &str, plain: bool) -> &'static [&'static str] {
    let (plain_ones, others) = match ty {
        "int" => INTS,
        "float" => FLOATS,
        "string" => STRINGS,
        "bool" => BOOLS,
        _ => DATES_OF,
    };
    if plain { plain_ones } else { others }
}

/// Any expression of a type over the columns of a table whose columns `d` and `e` are dates.
pub(super) fn expression(random: &mut Random, ty: &str, depth: usize) -> String {
    let leaf = depth == 0 || random.chance(25);
    let templates = templates(ty, leaf);
    let mut parts = random.pick(templates).split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (letter, rest) = part.split_at(1);
        let ty = match letter {
            "i" => "int",
            "f" => "float",
            "s" => "string",
            "b" => "bool",
            _ => "date",
        };
        text += &format!(
            "({}){rest}",
            expression(random, ty, depth.saturating_sub(1))
        );
    }
    text
}
