#!/usr/bin/env python3
"""Makes the Arrow files of this folder, and beside them their rows as pyarrow reads them: `common.ndjson` has those of most,
`NAME.ndjson` those of `NAME`.

    pip install pyarrow polars
    python3 tests/arrow/make.py

The files that are committed were made with pyarrow 26.0.1 and polars 2.1.0.
"""

import datetime
import json
import os

import polars
import pyarrow
from pyarrow import feather, ipc

HERE = os.path.dirname(os.path.abspath(__file__))
ROWS = 40
WORDS = ["Ada", "Björn", "", "北京", "a text that is longer than a view holds by itself"]


def common():
    """Most types that are read, with nulls."""

    def column(value, every=7):
        return [None if row % every == 3 else value(row) for row in range(ROWS)]

    moment = datetime.datetime(1969, 12, 31, 23, 59, 59, 123456)
    words = pyarrow.array(column(lambda row: WORDS[row % 5]), pyarrow.string())
    return pyarrow.table(
        {
            "id": pyarrow.array(range(ROWS), pyarrow.int64()),
            "i8": pyarrow.array(column(lambda row: row - 20), pyarrow.int8()),
            "u32": pyarrow.array(column(lambda row: 2**32 - 1 - row), pyarrow.uint32()),
            "f64": pyarrow.array(column(lambda row: row / 3), pyarrow.float64()),
            "flag": pyarrow.array(column(lambda row: row % 3 == 0), pyarrow.bool_()),
            "text": words,
            "large": words.cast(pyarrow.large_string()),
            "view": words.cast(pyarrow.string_view()),
            "word": words.dictionary_encode(),
            "at": pyarrow.array(
                column(lambda row: moment + datetime.timedelta(microseconds=row * 999999)), pyarrow.timestamp("us")
            ),
            "list": pyarrow.array(column(lambda row: list(range(row % 4))), pyarrow.list_(pyarrow.int32())),
            "pair": pyarrow.array([[row, row + 0.5] for row in range(ROWS)], pyarrow.list_(pyarrow.float32(), 2)),
            "words": pyarrow.array(
                column(lambda row: WORDS[: row % 5] + [None]), pyarrow.large_list(pyarrow.string())
            ),
            # Buffers of no bytes.
            "none": pyarrow.array([None] * ROWS, pyarrow.string()).dictionary_encode(),
            "empty": pyarrow.array([[]] * ROWS, pyarrow.list_(pyarrow.string())),
        }
    )


def write(name, table, new=ipc.new_file, rows=15, **options):
    path = os.path.join(HERE, name)
    with pyarrow.OSFile(path, "wb") as file:
        with new(file, table.schema, options=ipc.IpcWriteOptions(**options)) as writer:
            writer.write_table(table, max_chunksize=rows)


def shown(value):
    """A value as `write_files` writes it."""
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="microseconds" if value.microsecond else "seconds")
    if isinstance(value, list):
        return [shown(item) for item in value]
    return value


def write_rows(name, table):
    with open(os.path.join(HERE, name), "w") as file:
        for row in table.to_pylist():
            row = {column: shown(value) for column, value in row.items() if value is not None}
            file.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


def main():
    table = common()
    write_rows("common.ndjson", table)
    write("plain.arrow", table)
    write("lz4.arrow", table, compression="lz4")
    write("zstd.arrow", table, compression="zstd")
    feather.write_feather(table, os.path.join(HERE, "feather.arrow"))
    write("stream.arrows", table, ipc.new_stream)
    write("stream_lz4.arrows", table, ipc.new_stream, compression="lz4")
    write("stream_zstd.arrows", table, ipc.new_stream, compression="zstd")
    write("stream_before_2019.arrows", table, ipc.new_stream, use_legacy_format=True)
    for compression in ["lz4", "zstd"]:
        polars.from_arrow(table).write_ipc(os.path.join(HERE, f"polars_{compression}.arrow"), compression=compression)

    # Dictionaries that grow, and that are replaced.
    parts = [["a", "b", "a"], ["a", "b", "c", "c"], ["a", "b", "c", "d"]]
    arrays = [pyarrow.array(part).dictionary_encode() for part in parts]
    batches = [pyarrow.record_batch({"word": array}) for array in arrays]
    table = pyarrow.Table.from_batches(batches)
    write_rows("dictionaries.ndjson", table)
    for name, new, options in [
        ("delta.arrow", ipc.new_file, {"emit_dictionary_deltas": True}),
        ("delta.arrows", ipc.new_stream, {"emit_dictionary_deltas": True, "compression": "lz4"}),
        ("replaced.arrows", ipc.new_stream, {}),
    ]:
        with pyarrow.OSFile(os.path.join(HERE, name), "wb") as file:
            with new(file, table.schema, options=ipc.IpcWriteOptions(**options)) as writer:
                for batch in batches:
                    writer.write_batch(batch)

    none = pyarrow.table({"text": pyarrow.array([], pyarrow.string()), "n": pyarrow.array([], pyarrow.int8())})
    write_rows("no_rows.ndjson", none)
    write("no_rows.arrow", none, compression="lz4")
    write("no_rows.arrows", none, ipc.new_stream)


main()
