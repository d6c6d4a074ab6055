"""Makes table.json anew: what DuckDB gives for expressions over rows of edge values.

    python3 tests/expressions/table.py        # needs the package duckdb

A test computes the same expressions with `etl` and compares. Where the two differ on purpose, DIFFERS says why, and what
`etl` gives; "fault" stands for a row that would be rejected.
"""

import datetime
import decimal
import json
import math
import pathlib

import duckdb

COLUMNS = {
    "i": ("BIGINT", [7, -7, 0, None, 9223372036854775807, -9223372036854775808]),
    "j": ("BIGINT", [2, 3, 0, 5, 1, -1]),
    "x": ("DOUBLE", [2.5, -0.5, 0.0, None, 1e308, -1e-300]),
    "y": ("DOUBLE", [0.5, -2.0, 3.0, 1.0, 10.0, 0.0]),
    "s": ("VARCHAR", ["abc", "", None, "Straße ÀÉ", "a,b,,c", "  padded  "]),
    "t": ("VARCHAR", ["b", "", "x", None, ",", "日本"]),
    "n": ("VARCHAR", ["12", "-0.5", "x", None, "9223372036854775808", " 1"]),
    "d": ("TIMESTAMP", ["2024-02-29 12:34:56.789", "1970-01-01 00:00:00", "0001-01-01 00:00:00", None,
                        "9999-12-31 23:59:59.999999", "1969-12-31 23:59:59"]),
    "e": ("TIMESTAMP", ["2024-03-01 00:00:00", "1970-01-01 00:00:00", "2000-01-01 00:00:00", "2024-01-01 00:00:00", None,
                        "2024-12-31 00:00:00"]),
    "b": ("BOOLEAN", [True, False, None, True, False, None]),
    "c": ("BOOLEAN", [True, True, True, None, False, None]),
}

# An expression, and what it is called in DuckDB where that differs.
EXPRESSIONS = [
    # Arithmetic
    "i + j", "i - j", "i * j", "i + 1", "i - 1", "-i", "+i", "i * 2", "0 - i", "j * j * j",
    "x + y", "x - y", "x * y", "x / y", "x * 10", "-x", "i / j", "j / 4", "i // j", "i % j", "j % 2",
    "i + x", "j * x", "j - y", "(j + 1) * (j - 1)", "2 + 3 * j", "j & 3", "j | 8", "1 + 2", "j + 0.5",
    "abs(j)", "abs(x)", "abs(i)", ("pow(j, 2)", "CAST(pow(j, 2) AS BIGINT)"), "pow(y, 2.0)", "sign(j)", "sign(x)",
    "round(y)", "round(x)", "round(y * 1.25, 1)", "trunc(y * 1.7)", "ceil(y)", "floor(y)", "ceil(x)", "floor(x)",
    "sqrt(abs(y))", "cbrt(y)", "exp(y)", "ln(abs(y) + 1)", "log10(abs(y) + 1)", "log2(abs(y) + 1)",
    ("log1p(abs(y))", "ln(abs(y) + 1)"), "sqrt(y)", "ln(y)",
    "sin(y)", "cos(y)", "tan(y)", "asin(y / 10)", "acos(y / 10)", "atan(y)", "atan2(y, 2)", "degrees(y)", "radians(y)",
    ("div(j, 2)", "j // 2"), "mod(j, 2)", ("bit_xor(j, 6)", "xor(j, 6)"), "pi()",
    # Comparison
    "i = j", "i <> j", "i != 7", "i < j", "i <= j", "i > j", "i >= 0", "x = 0", "x < y", "j = 2.0", "i = NULL",
    "s = t", "s < t", "s >= 'b'", "s = ''", "d = e", "d < e", "d >= '2000-01-01'", "d = DATE '1970-01-01'",
    "i IS NULL", "s IS NOT NULL", "b IS TRUE", "b IS NOT TRUE", "b IS FALSE", "b IS NOT FALSE", "i IS DISTINCT FROM j",
    "i IS NOT DISTINCT FROM NULL", "j BETWEEN 1 AND 3", "j NOT BETWEEN 1 AND 3", "s BETWEEN 'a' AND 'b'",
    "j IN (1, 2)", "j NOT IN (1, 2)", "s IN ('abc', '')", "s NOT IN ('abc')", "j IN (1, NULL)", "x IN (2.5, 0)",
    "i IN (j, 7)", "d IN ('1970-01-01', '2000-01-01')",
    # Logic
    "b AND c", "b OR c", "NOT b", "b AND NULL", "b OR NULL", "b AND i > 0", "b = c", "NOT (b AND c)", "b <> c",
    "j <> 0 AND i // j > 1", "j = 0 OR i // j > 1",
    # Choice
    "CASE WHEN i > 0 THEN 'plus' WHEN i < 0 THEN 'minus' ELSE 'none' END", "CASE j WHEN 2 THEN 'two' WHEN 3 THEN 'three' END",
    "CASE WHEN b THEN i ELSE x END", "CASE WHEN j <> 0 THEN i // j END", "coalesce(i, j)", "coalesce(i, 0)",
    "coalesce(s, t, '-')", "ifnull(s, 'none')", "nullif(j, 5)", "nullif(s, '')", "if(b, s, t)", "greatest(i, j)",
    "least(i, j)", "greatest(x, y)", "least(s, t)", "greatest(i, 3, NULL)",
    # Casts
    "CAST(i AS VARCHAR)", "CAST(j AS DOUBLE)", "CAST(b AS VARCHAR)", "CAST(b AS BIGINT)", "CAST(j AS BOOLEAN)",
    ("CAST(y AS BIGINT)", "CAST(trunc(y) AS BIGINT)"), "CAST(n AS BIGINT)", "CAST(n AS DOUBLE)", "TRY_CAST(n AS BIGINT)",
    "TRY_CAST(n AS DOUBLE)", "n::DOUBLE", "CAST(d AS DATE)", "CAST('2024-05-06' AS DATE)",
    "CAST('2024-05-06 07:08:09.5' AS TIMESTAMP)", "TRY_CAST(s AS DATE)", "CAST(NULL AS BIGINT)", "TRY_CAST(s AS BOOLEAN)",
    # Text
    "s || t", "s || '-' || j", "concat(s, t)", "concat(s, '-', j)", "concat_ws('-', s, t)", "upper(s)", "lower(s)",
    "length(s)", ("octet_length(s)", "strlen(s)"), "trim(s)", "ltrim(s)", "rtrim(s)", "ltrim(s, 'a ')",
    "trim(BOTH 'c' FROM s)", "substr(s, 2)", "substr(s, 1, 2)", "substring(s FROM 2 FOR 3)", "left(s, 2)", "right(s, 2)",
    "left(s, -1)", "right(s, -1)", "left(s, j)", "replace(s, 'a', 'x')", "replace(s, t, '')", "reverse(s)",
    "lpad(s, 5, '*')", "rpad(s, 5, '*')", "strpos(s, 'b')", "strpos(s, t)", "position('c' IN s)", "starts_with(s, 'a')",
    "ends_with(s, 'c')", "starts_with(s, t)", "s LIKE 'a%'", "s LIKE '_b_'", "s LIKE '%'", "s NOT LIKE '%b%'",
    "s ILIKE 'STRASSE%'", "s ILIKE 'A%'", "s LIKE ''", ("s ~ 'b'", "regexp_matches(s, 'b')"),
    ("s ~ '^a.*c$'", "regexp_matches(s, '^a.*c$')"), ("s !~ 'b'", "NOT regexp_matches(s, 'b')"),
    ("regexp_like(s, 'B', 'i')", "regexp_matches(s, 'B', 'i')"), "split_part(s, ',', 1)", "split_part(s, ',', 3)",
    "split_part(s, ',', 9)", "split_part(s, ',', -1)", ("string_to_array(s, ',')", "string_split(s, ',')"),
    ("array_length(string_to_array(s, ','))", "len(string_split(s, ','))"),
    ("string_to_array(s, ',')[2]", "string_split(s, ',')[2]"), "'it''s' || s",
    # Dates
    "extract(year FROM d)", "extract(month FROM d)", "extract(day FROM d)", "extract(hour FROM d)", "extract(minute FROM d)",
    ("extract(second FROM d)", "CAST(floor(extract(second FROM d)) AS BIGINT)"), "extract(quarter FROM d)", "extract(week FROM d)",
    "extract(dow FROM d)", "extract(isodow FROM d)", "extract(doy FROM d)", "extract(epoch FROM d)",
    "date_part('year', d)", "d + INTERVAL '1 day'", "d - INTERVAL '1 day'", "d + INTERVAL '1 month'",
    "d + INTERVAL '2 hours 30 minutes'", "d - INTERVAL '1 year'", "strftime(d, '%Y-%m-%d')", "strftime(d, '%H:%M')",
    "date('2024-05-06')", "timestamp('2024-05-06 07:08:09')", "DATE '2024-05-06'", "TIMESTAMP '2024-05-06 07:08:09'",
    "strptime('6.5.2024', '%d.%m.%Y')", "greatest(d, e)", "d > DATE '2024-01-01' OR e IS NULL",
    # Lists
    ("array_sum([1, 2, 3])", "list_sum([1, 2, 3])"), ("array_contains(['a', 'b'], s)", "list_contains(['a', 'b'], s)"),
    ("array_get([10, 20], j)", "[10, 20][j]"), ("array_to_string(['a', 'b'], '-')", "array_to_string(['a', 'b'], '-')"),
]

F = "fault"
# What `etl` gives in place of DuckDB's value, by row, and why.
DOWN = "a quotient rounds down, and a remainder has the divisor's sign; DuckDB cuts"
EVEN = "a half goes to the even neighbour; DuckDB rounds it away from zero"
DIGITS = "a number is digits alone, as in load_csv; DuckDB takes blanks around them, and rounds a fraction"
YEARS = "dates are those of the years 1 to 9999"
AT = "2024-05-06T07:08:09"
DIFFERS = {
    "i // j": (DOWN, {1: -3}),
    "i % j": (DOWN, {1: 2}),
    "j % 2": (DOWN, {5: 1}),
    "div(j, 2)": (DOWN, {5: -1}),
    "mod(j, 2)": (DOWN, {5: 1}),
    "CASE WHEN j <> 0 THEN i // j END": (DOWN, {1: -3}),
    "round(y)": (EVEN, {0: 0.0}),
    "round(x)": (EVEN, {0: 2.0, 1: -0.0}),
    "round(y * 1.25, 1)": (EVEN, {3: 1.2}),
    "j = 0 OR i // j > 1": ("the right side is not asked for where the left one settles it", {2: True}),
    "CAST(n AS BIGINT)": (DIGITS, {1: F, 5: F}),
    "CAST(n AS DOUBLE)": (DIGITS, {5: F}),
    "n::DOUBLE": (DIGITS, {5: F}),
    "TRY_CAST(n AS BIGINT)": (DIGITS, {1: None, 5: None}),
    "TRY_CAST(n AS DOUBLE)": (DIGITS, {5: None}),
    "upper(s)": ("Unicode's upper case of ß is SS", {3: "STRASSE ÀÉ"}),
    "d + INTERVAL '1 day'": (YEARS, {4: F}),
    "d - INTERVAL '1 day'": (YEARS, {2: F}),
    "d + INTERVAL '1 month'": (YEARS, {4: F}),
    "d + INTERVAL '2 hours 30 minutes'": (YEARS, {4: F}),
    "d - INTERVAL '1 year'": (YEARS, {2: F}),
    "timestamp('2024-05-06 07:08:09')": ("DuckDB has no such function", dict.fromkeys(range(6), AT)),
}


def plain(value):
    """A value as JSON has it."""
    if isinstance(value, decimal.Decimal):
        value = float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else F
    if isinstance(value, datetime.datetime):
        text = value.strftime("%Y").rjust(4, "0") + value.strftime("-%m-%dT%H:%M:%S")
        micros = value.microsecond
        if micros:
            text += f".{micros // 1000:03}" if micros % 1000 == 0 else f".{micros:06}"
        return text
    if isinstance(value, datetime.date):
        return value.strftime("%Y").rjust(4, "0") + value.strftime("-%m-%dT00:00:00")
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return F
    return value


def main():
    connection = duckdb.connect()
    names = list(COLUMNS)
    rows = list(zip(*(values for _, values in COLUMNS.values())))
    types = ", ".join(f"{name} {COLUMNS[name][0]}" for name in names)
    entries = []
    for expression in EXPRESSIONS:
        ours, theirs = expression if isinstance(expression, tuple) else (expression, expression)
        values = []
        for row in rows:
            connection.execute(f"CREATE OR REPLACE TABLE one ({types})")
            connection.execute(f"INSERT INTO one VALUES ({', '.join('?' for _ in names)})", row)
            try:
                # A function that counts here may be one that a cast in `etl` gives.
                value = connection.execute(f"SELECT {theirs} FROM one").fetchone()[0]
                values.append(plain(value))
            except Exception:
                values.append(F)
        entry = {"expression": ours, "values": values}
        if theirs != ours:
            entry["duckdb"] = theirs
        if ours in DIFFERS:
            why, changed = DIFFERS[ours]
            for at, value in changed.items():
                entry["values"][at] = value
            entry["differs"] = {"why": why, "rows": sorted(changed)}
        entries.append(entry)
    unknown = set(DIFFERS) - {entry["expression"] for entry in entries}
    assert not unknown, unknown
    table = {
        "made_with": f"duckdb {duckdb.__version__}",
        "columns": {name: {"type": COLUMNS[name][0], "values": COLUMNS[name][1]} for name in names},
        "expressions": entries,
    }
    path = pathlib.Path(__file__).with_name("table.json")
    lines = [json.dumps(entry, ensure_ascii=False) for entry in entries]
    head = json.dumps({key: table[key] for key in ("made_with", "columns")}, ensure_ascii=False, indent=1)
    path.write_text(head[:-2] + ',\n "expressions": [\n  ' + ",\n  ".join(lines) + "\n ]\n}\n")
    print(len(entries), "expressions")


if __name__ == "__main__":
    main()
