#!/usr/bin/env python3
"""Reads the Parquet files that a test wrote with pyarrow and DuckDB, and the Arrow files with pyarrow, and compares them
with the NDJSON files beside.

    python3 tests/parquet/read_back.py FOLDER
"""

import datetime
import json
import os
import sys

import duckdb
import pyarrow.ipc
import pyarrow.parquet


def shown(value):
    """A value as `write_files` writes it."""
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None)
    if isinstance(value, list):
        return [shown(item) for item in value]
    return value


def document(row):
    return {name: shown(value) for name, value in row.items() if value is not None}


def expected(path):
    def moment(name, value):
        if name == "at" and isinstance(value, list):
            return [moment(name, item) for item in value]
        return datetime.datetime.fromisoformat(value.rstrip("Z")) if name == "at" else value

    with open(path) as lines:
        for line in lines:
            row = {name: moment(name, value) for name, value in json.loads(line).items() if value is not None}
            yield row


def unwrapped(row, key):
    """Documents of groups have a single value for a list of one."""
    single = {
        name: value[0] if name != key and isinstance(value, list) and len(value) == 1 else value
        for name, value in row.items()
    }
    return {name: value for name, value in single.items() if value is not None}


def compare(what, found, wanted):
    found, wanted = list(found), list(wanted)
    assert len(found) == len(wanted), f"{what}: {len(found)} rows instead of {len(wanted)}"
    for number, (one, other) in enumerate(zip(found, wanted)):
        assert one == other, f"{what}, row {number}: {one} instead of {other}"
    print(f"{what}: the same")


def check_statistics(path):
    """Row groups say what is in them: bounds that hold, and as many nulls as there are."""
    file = pyarrow.parquet.ParquetFile(path)
    assert file.metadata.created_by.startswith("etl "), file.metadata.created_by
    for group in range(file.num_row_groups):
        table = file.read_row_group(group)
        assert table.num_rows <= 122_880
        for at, name in enumerate(table.column_names):
            stated = file.metadata.row_group(group).column(at).statistics
            column = table.column(name)
            assert stated.null_count == column.null_count, f"{path}, {name}: {stated}"
            values = [value for value in column.to_pylist() if value is not None]
            if stated.has_min_max and values:
                assert (stated.min, stated.max) == (min(values), max(values)), f"{path}, {name}: {stated}"


def main():
    folder = sys.argv[1]
    for name, text in [("flat", "flat"), ("none", "flat"), ("lists", "lists")]:
        path = os.path.join(folder, f"{name}.parquet")
        arrow = os.path.join(folder, f"{name}.arrow")
        wanted = list(expected(os.path.join(folder, f"{text}.ndjson")))
        same = (lambda row: unwrapped(row, "k")) if name == "lists" else lambda row: row
        if os.path.exists(arrow):
            rows = (same(document(row)) for row in pyarrow.ipc.open_file(arrow).read_all().to_pylist())
            compare(f"{name} by pyarrow", rows, wanted)
        if not os.path.exists(path):
            continue
        rows = (same(document(row)) for row in pyarrow.parquet.read_table(path).to_pylist())
        compare(f"{name} by pyarrow", rows, wanted)
        columns, *_ = zip(*duckdb.sql(f"DESCRIBE FROM '{path}'").fetchall())
        found = duckdb.sql(f"FROM '{path}'").fetchall()
        rows = (same(document(dict(zip(columns, row)))) for row in found)
        compare(f"{name} by DuckDB", rows, wanted)
        if name != "lists":
            check_statistics(path)


main()
