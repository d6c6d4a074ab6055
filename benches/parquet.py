#!/usr/bin/env python3
"""Parquet read and written, beside DuckDB and pyarrow; a large file, and one of many row groups.

usage: benches/parquet.py [--rows 10000000] [--rounds 3] [--python PYTHON]

A file of eight columns, as pyarrow writes it (row groups of 1,048,576 rows, zstd), lies in memory. Timed is to read it into
memory: of `etl` the stage's own wall time in a staged run, of DuckDB `CREATE TABLE ... AS`, of pyarrow `read_table`; and to
write the rows from memory to a file in memory, with zstd. Two threads each, the three in turn. PYTHON must have duckdb, numpy
and pyarrow. Then how much memory it takes to move 2 GB of Parquet, and how busy two workers are with 1,000 row groups. Writes
benches/runs/DATE-parquet.json and the table in docs/benchmarks.md.
"""
import argparse, json, os, subprocess, sys, tempfile

import common
from common import median

MAKE = """
import base64, sys, numpy as np, pyarrow as pa, pyarrow.parquet as pq
rows, path, group, noise = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
random = np.random.default_rng(7)
names = pa.array([f"{chr(97 + i % 26)}name{i}" for i in range(5000)])
writer = None
for begin in range(0, rows, group):
    count = min(group, rows - begin)
    table = pa.table({
        "id": np.arange(begin, begin + count, dtype=np.int64),
        "k": random.integers(0, 1000, count),
        "g": random.integers(0, 1_000_000, count),
        "price": np.round(random.uniform(0, 300, count), 2),
        "quantity": random.integers(0, 10, count),
        "name": names.take(pa.array(random.integers(0, 5000, count))),
        "ts": pa.array(random.integers(946684800, 1700000000, count) * 1_000_000).cast(pa.timestamp("us")),
        "flag": random.integers(0, 2, count).astype(bool),
    })
    if noise:
        text = np.frombuffer(base64.b64encode(random.bytes(noise * count)), dtype=f"S{noise * 4 // 3}")
        table = table.append_column("text", pa.array(text).cast(pa.string()))
    writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
    writer.write_table(table, row_group_size=group)
writer.close()
"""

TO_ARROW = """
import sys, pyarrow as pa, pyarrow.parquet as pq
file = pq.ParquetFile(sys.argv[1])
with pa.ipc.new_file(sys.argv[2], file.schema_arrow) as out:
    for batch in file.iter_batches(65536):
        out.write_batch(batch)
"""

PEER = """
import sys, time
who, what, path, out = sys.argv[1:5]
columns = sys.argv[5].split(",") if len(sys.argv) > 5 else None
if who == "duckdb":
    import duckdb
    connection = duckdb.connect()
    connection.execute("SET threads = 2")
    connection.execute("SET enable_progress_bar = false")
    names = ", ".join(columns) if columns else "*"
    if what == "write":
        connection.execute(f"CREATE TABLE rows AS SELECT * FROM '{path}'")
    query = f"CREATE TABLE rows AS SELECT {names} FROM '{path}'"
    if what == "write":
        query = f"COPY rows TO '{out}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
    begin = time.perf_counter()
    connection.execute(query)
    print(time.perf_counter() - begin)
else:
    import pyarrow as pa, pyarrow.parquet as pq
    pa.set_cpu_count(2)
    if what == "write":
        table = pq.read_table(path)
    begin = time.perf_counter()
    if what == "write":
        pq.write_table(table, out, compression="zstd", compression_level=1)
    else:
        pq.read_table(path, columns=columns)
    print(time.perf_counter() - begin)
"""

SOME = ["id", "price"]
LARGE_ROWS = 15_000_000


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rows", type=int, default=10_000_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--python", default=sys.executable)
    arguments.add_argument("--built", action="store_true", help="the program is built already")
    arguments = arguments.parse_args()
    if not arguments.built:
        common.build()
    tasks = {"read, 8 columns": ("read", None), "read, 2 of 8 columns": ("read", SOME), "write, 8 columns": ("write", None)}
    runs = {name: {"etl": [], "duckdb": [], "pyarrow": []} for name in tasks}
    sizes = {}
    shm = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=shm) as folder:
        path, out = os.path.join(folder, "rows.parquet"), os.path.join(folder, "out.parquet")
        arrow = os.path.join(folder, "rows.arrow")
        make(arguments, path, arguments.rows, 1 << 20, 0)
        subprocess.run([arguments.python, "-c", TO_ARROW, path, arrow], check=True)
        for round in range(arguments.rounds):
            for name, (what, columns) in tasks.items():
                took = reads(folder, path, columns) if what == "read" else writes(folder, arrow, out)
                runs[name]["etl"].append(took)
                sizes["etl"] = os.path.getsize(out) if os.path.exists(out) else 0
                for who in ("duckdb", "pyarrow"):
                    command = [arguments.python, "-c", PEER, who, what, path, out, *([",".join(columns)] if columns else [])]
                    took = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                    runs[name][who].append(float(took.stdout))
                    sizes[who] = os.path.getsize(out) if os.path.exists(out) else 0
                print(round, name, {who: f"{took[-1]:.2f}" for who, took in runs[name].items()}, flush=True)
        for file in (path, arrow, out):
            os.remove(file)
        large = flows(arguments, folder)
        many = keeps_busy(arguments, folder)
    result = {"what": __doc__, "rows": arguments.rows, "runs": runs, "bytes_written": sizes, "large": large, "many_row_groups": many}
    common.write_result("parquet", result)
    common.write_table("parquet", table(arguments, runs, large, many))


def make(arguments, path, rows, group, noise):
    subprocess.run([arguments.python, "-c", MAKE, str(rows), path, str(group), str(noise)], check=True)


def load(path, columns=None, kind="load_parquet"):
    chosen = f"columns = {json.dumps(columns)}\n" if columns else ""
    return f'[[stage]]\nname = "rows"\nkind = "{kind}"\nfiles = ["{path}"]\nparallel = true\n{chosen}\n'


def write(path, format):
    return f'[[stage]]\nname = "write"\nkind = "write_files"\ninputs = ["rows"]\npath = "{path}"\nformat = "{format}"\nparallel = true\n'


def run(folder, text, *options):
    """What the report says of a run, and what the system does."""
    pipeline, report = os.path.join(folder, "pipeline.toml"), os.path.join(folder, "report.json")
    with open(pipeline, "w") as file:
        file.write(text)
    command = [common.ETL, "run", pipeline, "--quiet", "--report", report, "--state", os.path.join(folder, "state"), *options]
    measured, _ = common.timed(command)
    with open(report) as file:
        return json.load(file), measured


def wall(report, name):
    return next(stage["wall_s"] for stage in report["stages"] if stage["name"] == name)


def reads(folder, path, columns):
    text = load(path, columns) + write("/dev/null", "arrow")
    report, _ = run(folder, text, "--staged", "--set", "rows.workers=2")
    return wall(report, "rows")


def writes(folder, arrow, out):
    report, _ = run(folder, load(arrow, kind="load_arrow") + write(out, "parquet"), "--staged", "--set", "write.workers=2")
    return wall(report, "write")


def flows(arguments, folder):
    """2 GB of Parquet from file to file: with a text that does not compress away, in row groups of a million rows."""
    path, out = os.path.join(folder, "large.parquet"), os.path.join(folder, "large_out.parquet")
    make(arguments, path, LARGE_ROWS, 1 << 20, 120)
    report, measured = run(folder, load(path) + write(out, "parquet"), "--set", "rows.workers=2")
    size, peak = os.path.getsize(path), report["peak_rss_bytes"]
    os.remove(path)
    os.remove(out)
    print(f"{size / 1e9:.2f} GB: {measured['wall_s']:.1f} s, at most {peak / 2**20:.0f} MB", flush=True)
    return {"bytes": size, "rows": LARGE_ROWS, "peak_mb": peak / 2**20, **measured}


def keeps_busy(arguments, folder):
    """1,000 row groups of 10,000 rows, read by two workers."""
    path = os.path.join(folder, "many.parquet")
    make(arguments, path, 10_000_000, 10_000, 0)
    report, measured = run(folder, load(path) + write("/dev/null", "arrow"), "--staged", "--set", "rows.workers=2")
    stage = next(stage for stage in report["stages"] if stage["name"] == "rows")
    share = stage["busy_s"] / (2 * stage["wall_s"])
    print(f"1,000 row groups: {stage['wall_s']:.2f} s, workers busy {share:.0%} of it", flush=True)
    return {"bytes": os.path.getsize(path), "wall_s": stage["wall_s"], "busy_s": stage["busy_s"], "busy_share": share}


def table(arguments, runs, large, many):
    lines = [f"{arguments.rows:,} rows, 2 threads, median of {arguments.rounds} runs in turn.\n\n", "| | etl s | DuckDB s | pyarrow s | times DuckDB |\n", "|---|---|---|---|---|\n"]
    for name, took in runs.items():
        etl, duckdb, pyarrow = (median(took[who]) for who in ("etl", "duckdb", "pyarrow"))
        lines.append(f"| {name} | {etl:.2f} | {duckdb:.2f} | {pyarrow:.2f} | {duckdb / etl:.1f} |\n")
    lines.append(
        f"\n{large['bytes'] / 1e9:.1f} GB of Parquet ({large['rows']:,} rows) from file to file, streamed: {large['wall_s']:.1f} s, at most "
        f"{large['peak_mb']:.0f} MB of memory.\n1,000 row groups of 10,000 rows: {many['wall_s']:.2f} s, its two workers busy "
        f"{many['busy_share']:.0%} of the time.\n"
    )
    return "".join(lines)


if __name__ == "__main__":
    main()
