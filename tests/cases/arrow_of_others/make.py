"""Writes in/types.arrow with pyarrow: `python3 make.py`."""
from datetime import date, datetime, timezone

import pyarrow as pa

columns = {
    "i8": pa.array([-1, None], pa.int8()),
    "u16": pa.array([65535, 0], pa.uint16()),
    "u64": pa.array([7, None], pa.uint64()),
    "f32": pa.array([0.5, None], pa.float32()),
    "text": pa.array(["a", None], pa.utf8()),
    "view": pa.array(["longer than twelve bytes", "short"], pa.string_view()),
    "word": pa.array(["x", "x"]).dictionary_encode(),
    "day": pa.array([date(2013, 3, 2), None], pa.date32()),
    "day64": pa.array([date(2013, 3, 2), None], pa.date64()),
    "seconds": pa.array([datetime(2013, 3, 2), None], pa.timestamp("s")),
    "nanos": pa.array([1362182400000001999, None], pa.timestamp("ns", "UTC")),
    "list": pa.array([[1, 2], None], pa.list_(pa.int32())),
    "pair": pa.array([[1.5, 2.5], [3.5, 4.5]], pa.list_(pa.float32(), 2)),
    "texts": pa.array([["a", None], []], pa.large_list(pa.utf8())),
    "truth": pa.array([True, None], pa.bool_()),
}
table = pa.table(columns)
with pa.OSFile("in/types.arrow", "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
    writer.write_table(table)
