#!/usr/bin/env python3
"""Makes the Parquet files of this folder, and beside them their rows as pyarrow reads them: of `NAME.parquet` they are
`NAME.ndjson`, or `COMMON.ndjson` where several files have the same rows.

    pip install pyarrow duckdb pyspark    # pyspark needs Java 17
    python3 tests/parquet/make.py [NAME..]

Each function below makes the file that it is named after; what it takes out of a file, or what no reader is to
accept, has no rows beside it. The files that are committed were made with pyarrow 26.0.1, DuckDB 2.0.1 and Spark 4.3.0.
"""

import datetime
import decimal
import glob
import json
import os
import shutil
import struct
import sys
import tempfile

import duckdb
import pyarrow
import pyarrow.parquet

HERE = os.path.dirname(os.path.abspath(__file__))
FILES = {}
SHARED = {}
DAMAGED = {}


def file(make):
    FILES[make.__name__] = make
    return make


def file_of(rows):
    """A file that has the same rows as others."""

    def named(make):
        SHARED[make.__name__] = rows
        return file(make)

    return named


def damaged(make):
    """A file that cannot be read, or not all of it."""
    DAMAGED[make.__name__] = make
    return make


ROWS = 300
NAMES = ["Ada", "Björn", "", "Chloé", "北京", "a text that is longer than a view holds by itself"]


def common(rows=ROWS):
    """Every type that is read, with nulls."""
    day = datetime.date(2020, 2, 29)
    moment = datetime.datetime(1969, 12, 31, 23, 59, 59, 123456)

    def column(value, every=7):
        return [None if i % every == 3 else value(i) for i in range(rows)]

    return pyarrow.table(
        {
            "id": pyarrow.array(range(rows), pyarrow.int64()),
            "i8": pyarrow.array(column(lambda i: i % 256 - 128), pyarrow.int8()),
            "i16": pyarrow.array(column(lambda i: i * 31 - 15000), pyarrow.int16()),
            "i32": pyarrow.array(column(lambda i: i * 1000003 % 2**31), pyarrow.int32()),
            "i64": pyarrow.array(column(lambda i: (-1) ** i * (2**62 - i)), pyarrow.int64()),
            "u8": pyarrow.array(column(lambda i: i % 256), pyarrow.uint8()),
            "u16": pyarrow.array(column(lambda i: 65535 - i), pyarrow.uint16()),
            "u32": pyarrow.array(column(lambda i: 2**32 - 1 - i), pyarrow.uint32()),
            "u64": pyarrow.array(column(lambda i: 2**63 - 1 - i), pyarrow.uint64()),
            "f32": pyarrow.array(column(lambda i: i / 8), pyarrow.float32()),
            "f64": pyarrow.array(column(lambda i: i / 3), pyarrow.float64()),
            "flag": pyarrow.array(column(lambda i: i % 3 == 0), pyarrow.bool_()),
            "text": pyarrow.array(column(lambda i: NAMES[i % 6] + str(i // 50)), pyarrow.string()),
            "day": pyarrow.array(column(lambda i: day + datetime.timedelta(days=i * 37)), pyarrow.date32()),
            "local": pyarrow.array(
                column(lambda i: moment + datetime.timedelta(microseconds=i * 999999)), pyarrow.timestamp("us")
            ),
            "list": pyarrow.array(column(lambda i: list(range(i % 4))), pyarrow.list_(pyarrow.int64())),
            "words": pyarrow.array(
                column(lambda i: [NAMES[j] if j % 4 != 1 else None for j in range(i % 6)]),
                pyarrow.list_(pyarrow.string()),
            ),
            "deep": pyarrow.array(
                column(lambda i: [[j] * (j % 3) if j != 2 else None for j in range(i % 5)]),
                pyarrow.list_(pyarrow.list_(pyarrow.int32())),
            ),
        }
    )


def write(path, table, **options):
    options.setdefault("compression", "none")
    pyarrow.parquet.write_table(table, path, **options)


# --- pyarrow: pages, encodings, compression


@file_of("common")
def plain(path):
    write(path, common(), use_dictionary=False, data_page_size=512)


@file_of("common")
def dictionary(path):
    write(path, common(), use_dictionary=True, data_page_size=512)


@file
def dictionary_that_ends(path):
    """The dictionary grows too large: later pages are plain."""
    texts = [f"{i}-{'x' * (i % 40)}" for i in range(2000)]
    write(path, pyarrow.table({"text": texts}), dictionary_pagesize_limit=4000, data_page_size=1000, write_batch_size=50)


@file_of("common")
def pages_v2(path):
    write(path, common(), data_page_version="2.0", data_page_size=512, compression="snappy")


@file_of("common")
def pages_v2_plain(path):
    write(path, common(), data_page_version="2.0", data_page_size=512, use_dictionary=False)


@file
def delta(path):
    table = common(300)
    encodings = {
        name: "DELTA_BINARY_PACKED" for name in ["id", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "day", "local"]
    }
    encodings |= {"text": "DELTA_BYTE_ARRAY", "f32": "BYTE_STREAM_SPLIT", "f64": "BYTE_STREAM_SPLIT", "flag": "RLE"}
    table = table.select(list(encodings))
    write(path, table, use_dictionary=False, column_encoding=encodings, data_page_size=400)


@file
def delta_v2(path):
    table = common(300).select(["id", "text", "flag", "f64", "local", "words"])
    encodings = {"text": "DELTA_LENGTH_BYTE_ARRAY", "id": "DELTA_BINARY_PACKED", "flag": "RLE"}
    write(path, table, use_dictionary=False, column_encoding=encodings, data_page_version="2.0", compression="zstd")


@file
def split_integers(path):
    """BYTE_STREAM_SPLIT of integers, as parquet-format 2.11 has it."""
    table = common(100).select(["i32", "i64"])
    write(path, table, use_dictionary=False, use_byte_stream_split=["i32", "i64"])


@file_of("common")
def zstd(path):
    write(path, common(), compression="zstd", row_group_size=111)


@file_of("common")
def gzip(path):
    write(path, common(), compression="gzip", row_group_size=111)


@file_of("common")
def lz4_raw(path):
    write(path, common(), compression="lz4", row_group_size=111)


@file
def checksums(path):
    write(path, common(100), write_page_checksum=True, compression="snappy", data_page_size=512)


# --- pyarrow: types


@file
def times(path):
    """Time stamps of every unit, with and without a zone, and as dates of 64 bits."""
    moments = [datetime.datetime(2024, 2, 29, 12, 34, 56, 789000), None, datetime.datetime(1901, 1, 1)]
    columns = {}
    for unit in ["s", "ms", "us", "ns"]:
        columns[unit] = pyarrow.array(moments, pyarrow.timestamp(unit)) if unit != "s" else pyarrow.array(
            [moments[0].replace(microsecond=0), None, moments[2]], pyarrow.timestamp(unit)
        )
    zoned = [moment and moment.replace(tzinfo=datetime.timezone.utc) for moment in moments]
    columns["berlin"] = pyarrow.array(zoned, pyarrow.timestamp("ms", tz="Europe/Berlin"))
    columns["utc"] = pyarrow.array(zoned, pyarrow.timestamp("us", tz="UTC"))
    columns["nanos"] = pyarrow.array([-1, None, 1_700_000_000_123_456_789], pyarrow.timestamp("ns"))
    columns["date64"] = pyarrow.array([datetime.date(2024, 2, 29), None, datetime.date(1, 1, 1)], pyarrow.date64())
    write(path, pyarrow.table(columns))


@file
def int96(path):
    moments = [datetime.datetime(2024, 2, 29, 12, 34, 56, 789012), None, datetime.datetime(1950, 1, 1, 0, 0, 0, 1)]
    write(path, pyarrow.table({"at": pyarrow.array(moments, pyarrow.timestamp("ns"))}), use_deprecated_int96_timestamps=True)


@file
def large_strings(path):
    """Views, 64-bit offsets and dictionaries of Arrow are all plain text in Parquet."""
    texts = ["short", None, "long " * 300, ""]
    large = pyarrow.array(texts, pyarrow.large_string())
    view = pyarrow.array(texts, pyarrow.string_view())
    write(path, pyarrow.table({"large": large, "view": view, "dictionary": pyarrow.array(texts).dictionary_encode()}))


@file
def fixed_size_lists(path):
    pairs = pyarrow.array([[1, 2], None, [3, None]], pyarrow.list_(pyarrow.int32(), 2))
    large = pyarrow.array([["a"], [], None], pyarrow.large_list(pyarrow.string()))
    write(path, pyarrow.table({"pair": pairs, "large": large}))


@file
def required(path):
    """No value may be null, so that there are no levels."""
    schema = pyarrow.schema(
        [
            pyarrow.field("id", pyarrow.int32(), nullable=False),
            pyarrow.field("text", pyarrow.string(), nullable=False),
            pyarrow.field("list", pyarrow.list_(pyarrow.field("item", pyarrow.int64(), nullable=False)), nullable=False),
        ]
    )
    rows = [{"id": i, "text": str(i % 3), "list": list(range(i % 3))} for i in range(20)]
    write(path, pyarrow.Table.from_pylist(rows, schema))


@file
def all_null(path):
    write(path, pyarrow.table({"i": pyarrow.nulls(50, pyarrow.int64()), "s": pyarrow.nulls(50, pyarrow.string()), "l": pyarrow.nulls(50, pyarrow.list_(pyarrow.int8()))}))


@file
def odd_names(path):
    names = ["", "a b", "a.b", "ä`\"", "list"]
    write(path, pyarrow.table({name: [i] for i, name in enumerate(names)}))


@file
def no_rows(path):
    write(path, common(0))


@file
def empty_row_groups(path):
    table = common(10).select(["id", "text", "words"])
    with pyarrow.parquet.ParquetWriter(path, table.schema, compression="none") as writer:
        for part in [table.slice(0, 0), table.slice(0, 4), table.slice(0, 0), table.slice(4), table.slice(0, 0)]:
            writer.write_table(part)


@file
def old_list_names(path):
    lists = pyarrow.array([[1, None], [], None], pyarrow.list_(pyarrow.int32()))
    write(path, pyarrow.table({"list": lists}), use_compliant_nested_type=False)


# --- pyarrow: types that are not read


@file
def others(path):
    """Each column but the first and the last is of a type that no stage works with."""
    write(path, pyarrow.table(
        {
            "id": [1, 2],
            "price": pyarrow.array([decimal.Decimal("1.50"), None], pyarrow.decimal128(10, 2)),
            "point": pyarrow.array([{"x": 1, "y": 2}, None]),
            "points": pyarrow.array([[{"x": 1, "y": 2}], None]),
            "pairs": pyarrow.array([[("a", 1)], None], pyarrow.map_(pyarrow.string(), pyarrow.int32())),
            "raw": pyarrow.array([b"\x00\xff", None], pyarrow.binary()),
            "fixed": pyarrow.array([b"1234", None], pyarrow.binary(4)),
            "time": pyarrow.array([datetime.time(1, 2, 3), None], pyarrow.time64("us")),
            "half": pyarrow.array([1.5, None], pyarrow.float16()),
            "nothing": pyarrow.nulls(2),
            "name": ["a", None],
        }
    ))


@damaged
def not_a_number(path):
    """In the list of the third row."""
    write(path, pyarrow.table({"id": [1, 2, 3], "list": [[0.5], None, [1.0, float("nan")]]}))


@damaged
def beyond_signed(path):
    """An unsigned integer in the second row that has no place in 64 bits with a sign."""
    write(path, pyarrow.table({"n": pyarrow.array([1, 2**63], pyarrow.uint64())}))


@damaged
def outside_years(path):
    """In the second row of each column a date that four digits of a year cannot say."""

    def column(of, values):
        return pyarrow.array(values, pyarrow.int32() if of == pyarrow.date32() else pyarrow.int64()).cast(of)

    late = pyarrow.timestamp("us")
    write(path, pyarrow.table(
        {
            "id": [1, 2],
            "day": column(pyarrow.date32(), [0, 2932897]),
            "millis": column(pyarrow.timestamp("ms"), [0, 2**63 - 1]),
            "micros": column(late, [0, 2**63 - 1]),
            "early": column(pyarrow.timestamp("us", "UTC"), [0, -719162 * 86400 * 10**6 - 1]),
            "list": pyarrow.array([[0], [0, 2932897 * 86400 * 10**6]], pyarrow.list_(pyarrow.int64())).cast(
                pyarrow.list_(late)
            ),
        }
    ))


@damaged
def two_of_a_name(path):
    """Two columns have one name, and a third has its own."""
    columns = [pyarrow.array([value]) for value in (1, 2, 3)]
    write(path, pyarrow.Table.from_arrays(columns, names=["a", "a", "b"]))


# --- DuckDB


def by_duckdb(path, options, query):
    duckdb.sql(f"COPY ({query}) TO '{path}' (FORMAT parquet, {options})")


DUCKDB_ROWS = """
    SELECT i AS id, (i * 7919 % 1000)::DOUBLE / 7 AS f, 'name ' || (i % 17) AS name, i % 5 = 0 AS flag,
        CASE WHEN i % 11 <> 3 THEN DATE '2000-02-28' + i::INTEGER END AS day,
        TIMESTAMP '2000-01-01' + INTERVAL (i * 1001) MILLISECOND AS local,
        (TIMESTAMP '2000-01-01' + INTERVAL (i) HOUR)::TIMESTAMPTZ AS utc,
        CASE WHEN i % 7 <> 2 THEN [j * i FOR j IN range(i % 4)] END AS list,
        CASE WHEN i % 3 <> 2 THEN i::USMALLINT END AS small
    FROM range(2060) AS t(i)"""


@file_of("duckdb")
def duckdb_v1(path):
    by_duckdb(path, "COMPRESSION snappy, ROW_GROUP_SIZE 2048, PARQUET_VERSION v1", DUCKDB_ROWS)


@file_of("duckdb")
def duckdb_v2(path):
    by_duckdb(path, "COMPRESSION zstd, ROW_GROUP_SIZE 2048, PARQUET_VERSION v2", DUCKDB_ROWS)


@file_of("duckdb")
def duckdb_lz4(path):
    by_duckdb(path, "COMPRESSION lz4_raw", DUCKDB_ROWS)


@file
def duckdb_json(path):
    """JSON is text, and so is an enumeration."""
    by_duckdb(path, "COMPRESSION uncompressed", "SELECT '{\"a\": 1}'::JSON AS json, 'b'::ENUM ('a', 'b') AS word, 1::TINYINT AS i")


@damaged
def brotli(path):
    by_duckdb(path, "COMPRESSION brotli", "SELECT i, 'x' AS x FROM range(100) AS t(i)")


@damaged
def encrypted(path):
    duckdb.sql("SET force_mbedtls_unsafe = 'true'")
    duckdb.sql("PRAGMA add_parquet_key('key', '0123456789112345')")
    by_duckdb(path, "ENCRYPTION_CONFIG {footer_key: 'key'}", "SELECT 1 AS i")


# --- Spark


def by_spark(path, columns, **conf):
    """Runs a local Spark in this process, and takes the one file that it writes."""
    from pyspark.sql import SparkSession

    session = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").config(
        "spark.sql.session.timeZone", "UTC"
    )
    spark = session.getOrCreate()
    for key, value in conf.items():
        spark.conf.set(key.replace("__", "."), value)
    with tempfile.TemporaryDirectory() as folder:
        frame = spark.range(0, 200, 1, 1).selectExpr(*columns)
        frame.write.mode("overwrite").parquet(folder)
        (found,) = glob.glob(folder + "/*.parquet")
        shutil.copy(found, path)
    for key in conf:
        spark.conf.unset(key.replace("__", "."))


SPARK_COLUMNS = [
    "id",
    "cast(id AS int) AS i",
    "if(id % 5 = 1, null, cast(id AS double) / 3) AS f",
    "concat('name ', id % 13) AS name",
    "id % 2 = 0 AS flag",
    "date_add(date'1999-12-31', cast(id AS int)) AS day",
    "if(id % 9 = 0, null, timestamp_millis(id * 86400001)) AS at",
    "if(id % 4 = 0, null, transform(sequence(0, id % 4), x -> if(x = 1, null, x))) AS list",
]


@file_of("spark")
def spark_snappy(path):
    by_spark(path, SPARK_COLUMNS, spark__sql__parquet__compression__codec="snappy", spark__sql__parquet__outputTimestampType="TIMESTAMP_MICROS")


@file
def spark_int96(path):
    by_spark(path, ["id", "timestamp_micros(id * 86400000001 - 1000000000000000) AS at"], spark__sql__parquet__compression__codec="gzip", spark__sql__parquet__outputTimestampType="INT96")


@file_of("spark")
def spark_lz4_hadoop(path):
    """LZ4 in the frames of Hadoop, which pyarrow cannot write."""
    by_spark(path, SPARK_COLUMNS, spark__sql__parquet__compression__codec="lz4", spark__sql__parquet__outputTimestampType="TIMESTAMP_MILLIS")


@file_of("spark")
def spark_v2(path):
    by_spark(path, SPARK_COLUMNS, spark__sql__parquet__compression__codec="zstd", parquet__writer__version="v2", spark__sql__parquet__outputTimestampType="TIMESTAMP_MICROS")


@file
def spark_old_lists(path):
    """Lists in two levels, and in three by the names of Hive."""
    columns = ["id", "array(id, id + 1) AS two", "if(id % 3 = 0, null, array(id, null)) AS three"]
    by_spark(path, columns, spark__sql__parquet__writeLegacyFormat="true", spark__sql__parquet__compression__codec="snappy")


# --- the rows


def shown(value):
    """A value as `write_files` writes it."""
    if isinstance(value, datetime.datetime):
        text = value.replace(tzinfo=None).isoformat(timespec="microseconds")
        head, fraction = text.split(".")
        fraction = fraction.rstrip("0")
        text = head if not fraction else f"{head}.{fraction.ljust(3 * -(-len(fraction) // 3), '0')}"
        return text + ("Z" if value.tzinfo else "")
    if isinstance(value, datetime.date):
        return f"{value.isoformat()}T00:00:00"
    if isinstance(value, list):
        return [shown(item) for item in value]
    return value


def rows(path):
    table = pyarrow.parquet.ParquetFile(path).read()
    columns = []
    for column in table.columns:
        kind = column.type
        if pyarrow.types.is_timestamp(kind):
            # Python's moments end at microseconds, and whole ones are what is read.
            column = column.cast(pyarrow.int64())
            per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
            zone = datetime.timezone.utc if kind.tz else None
            epoch = datetime.datetime(1970, 1, 1, tzinfo=zone)
            values = [
                None if v is None else epoch + datetime.timedelta(microseconds=v * 10**6 // per_second)
                for v in column.to_pylist()
            ]
        else:
            values = column.to_pylist()
        columns.append(values)
    names = table.column_names
    for row in zip(*columns):
        yield {name: shown(value) for name, value in zip(names, row) if value is not None}


UNREAD = {"others"}


def main():
    wanted = sys.argv[1:] or [*FILES, *DAMAGED]
    for name in wanted:
        path = os.path.join(HERE, f"{name}.parquet")
        (FILES.get(name) or DAMAGED[name])(path)
        if name in FILES and name not in UNREAD:
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows(path)]
            beside = os.path.join(HERE, f"{SHARED.get(name, name)}.ndjson")
            if name in SHARED and os.path.exists(beside):
                with open(beside) as other:
                    assert lines == other.readlines(), f"{name} has other rows than {beside}"
            with open(beside, "w") as out:
                out.writelines(lines)
        print(name, os.path.getsize(path))


main()
