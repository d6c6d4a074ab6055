#!/usr/bin/env python3
"""Computing, filtering, aggregating and sorting, beside DuckDB and Polars.

usage: benches/expressions.py [--rows 10000000] [--rounds 3] [--python PYTHON] [--only derive,filter]

Rows of eight columns lie in memory: of `etl` as what a staged run holds between two stages, of DuckDB as a table, of Polars
as a data frame. Timed is the one operation that makes rows of them, in memory too: of `etl` the stage's own wall time, of
DuckDB `CREATE TABLE ... AS`, of Polars `collect`. Two threads each, the three in turn. PYTHON must have duckdb, numpy, polars and
pyarrow. Last, how much memory it takes to aggregate ten times the rows into 1,000 groups, from CSV and streamed. Writes
benches/runs/DATE-expressions.json and the table in docs/benchmarks.md.
"""
import argparse, json, os, subprocess, sys, tempfile

import common
from common import median

DERIVE = {
    "total": "price * quantity",
    "tax": "round(price * quantity * 0.19, 2)",
    "label": "upper(name) || '-' || k",
    "large": "price * quantity > 500 AND quantity >= 3",
    "year": "extract(year FROM ts)",
    "bucket": "CASE WHEN quantity < 3 THEN 'low' WHEN quantity < 7 THEN 'mid' ELSE 'high' END",
    "short": "substr(name, 1, 3)",
    "ratio": "coalesce(price / nullif(quantity, 0), 0)",
}
WHERE = "price * quantity > 200 AND name LIKE 'a%' OR quantity = 5"
AGGREGATE = {
    "n": "count(*)",
    "named": "count(name)",
    "total": "sum(price)",
    "quantity": "sum(quantity)",
    "mean": "avg(price)",
    "low": "min(price)",
    "high": "max(quantity)",
    "spread": "stddev(price)",
}


def stage(kind, options):
    return f'[[stage]]\nname = "work"\nkind = "{kind}"\ninputs = ["rows"]\nparallel = true\n{options}\n'


def columns(table):
    return "columns = { " + ", ".join(f"{name} = {json.dumps(text)}" for name, text in table.items()) + " }"


def select(table):
    return ", ".join(f"{text} AS {name}" for name, text in table.items())


# Name: the stage, DuckDB's query, and Polars' expression over the lazy frame `rows`.
TASKS = {
    "derive": (
        stage("derive", columns(DERIVE)),
        f"SELECT *, {select(DERIVE)} FROM rows",
        "rows.with_columns(%s)" % ", ".join(f"pl.sql_expr({json.dumps(text)}).alias('{name}')" for name, text in DERIVE.items()),
    ),
    "filter": (stage("filter", f"where = {json.dumps(WHERE)}"), f"SELECT * FROM rows WHERE {WHERE}", f"rows.filter(pl.sql_expr({json.dumps(WHERE)}))"),
}
for name, by in ("1,000 groups", "k"), ("1 M groups", "g"):
    TASKS[f"aggregate, {name}"] = (
        stage("aggregate", f'by = ["{by}"]\n{columns(AGGREGATE)}'),
        f"SELECT {by}, {select(AGGREGATE)} FROM rows GROUP BY {by} ORDER BY {by}",
        "rows.group_by('%s').agg(%s).sort('%s')"
        % (by, ", ".join(f"pl.sql_expr({json.dumps(text)}).alias('{name}')" for name, text in AGGREGATE.items() if text != "count(*)") + ", pl.len().alias('n')", by),
    )
TASKS["sort by an int"] = (stage("sort", 'by = ["g"]'), "SELECT * FROM rows ORDER BY g", "rows.sort('g', maintain_order=True)")
TASKS["sort by a text and a float"] = (
    stage("sort", 'by = ["name", "-price"]'),
    "SELECT * FROM rows ORDER BY name, price DESC",
    "rows.sort('name', 'price', descending=[False, True], maintain_order=True)",
)

MAKE = """
import sys, polars as pl, numpy as np
rows, path = int(sys.argv[1]), sys.argv[2]
random = np.random.default_rng(7)
names = pl.Series([f"{chr(97 + i % 26)}name{i}" for i in range(5000)])
frame = pl.DataFrame({
    "id": np.arange(rows, dtype=np.int64),
    "k": random.integers(0, 1000, rows),
    "g": random.integers(0, 1_000_000, rows),
    "price": np.round(random.uniform(0, 300, rows), 2),
    "quantity": random.integers(0, 10, rows),
    "name": names.gather(random.integers(0, 5000, rows)),
    "ts": pl.Series(random.integers(946684800, 1700000000, rows) * 1_000_000).cast(pl.Datetime("us")),
    "flag": random.integers(0, 2, rows).astype(bool),
})
frame.write_ipc(path, compression="uncompressed", compat_level=pl.CompatLevel.oldest(), record_batch_size=65536)
"""

MAKE_CSV = """
import sys, polars as pl, numpy as np
rows, path = int(sys.argv[1]), sys.argv[2]
random = np.random.default_rng(7)
with open(path, "wb") as file:
    for part in range(10):
        count = rows // 10
        frame = pl.DataFrame({"k": random.integers(0, 1000, count), "price": np.round(random.uniform(0, 300, count), 2)})
        frame.write_csv(file, include_header=part == 0)
"""

PEER = """
import os, sys, time
os.environ["POLARS_MAX_THREADS"] = "2"
who, path, query = sys.argv[1:4]
if who == "duckdb":
    import duckdb, pyarrow as pa
    connection = duckdb.connect()
    connection.execute("SET threads = 2")
    connection.execute("SET enable_progress_bar = false")
    source = pa.ipc.open_file(pa.memory_map(path)).read_all()
    connection.execute("CREATE TABLE rows AS SELECT * FROM source")
    begin = time.perf_counter()
    connection.execute("CREATE TABLE made AS " + query)
    print(time.perf_counter() - begin)
else:
    import polars as pl
    frame = pl.read_ipc(path).rechunk()
    rows = frame.lazy()
    begin = time.perf_counter()
    made = eval(query).collect()
    print(time.perf_counter() - begin)
"""


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rows", type=int, default=10_000_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--python", default=sys.executable)
    arguments.add_argument("--only", default="")
    arguments.add_argument("--built", action="store_true", help="the program is built already")
    arguments = arguments.parse_args()
    if not arguments.built:
        common.build()
    tasks = {name: task for name, task in TASKS.items() if not arguments.only or any(name.startswith(one) for one in arguments.only.split(","))}
    runs = {name: {"etl": [], "duckdb": [], "polars": []} for name in tasks}
    shm = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=shm) as folder:
        rows = os.path.join(folder, "rows.arrow")
        subprocess.run([arguments.python, "-c", MAKE, str(arguments.rows), rows], check=True)
        for round in range(arguments.rounds):
            for name, (stage, query, frame) in tasks.items():
                runs[name]["etl"].append(ours(folder, rows, stage))
                for who, text in ("duckdb", query), ("polars", frame):
                    took = subprocess.run([arguments.python, "-c", PEER, who, rows, text], check=True, stdout=subprocess.PIPE, text=True)
                    runs[name][who].append(float(took.stdout))
                print(round, name, {who: f"{took[-1]:.2f}" for who, took in runs[name].items()}, flush=True)
        os.remove(rows)
        memory = grown(arguments, folder) if not arguments.only else None
    if not arguments.only:
        common.write_result("expressions", {"what": __doc__, "rows": arguments.rows, "runs": runs, "memory": memory})
        common.write_table("expressions", table(runs, arguments.rows, memory))


def grown(arguments, folder):
    """The peak memory of a run that aggregates ten times the rows into 1,000 groups."""
    rows, path = arguments.rows * 10, os.path.join(folder, "rows.csv")
    subprocess.run([arguments.python, "-c", MAKE_CSV, str(rows), path], check=True)
    pipeline, report = os.path.join(folder, "grown.toml"), os.path.join(folder, "report.json")
    with open(pipeline, "w") as file:
        file.write(f'[[stage]]\nname = "rows"\nkind = "load_csv"\nfiles = ["{path}"]\nparallel = true\n')
        file.write('types = { k = "int", price = "float" }\n\n')
        file.write(stage("aggregate", 'by = ["k"]\ncolumns = { n = "count(*)", total = "sum(price)", mean = "avg(price)", high = "max(price)" }'))
        file.write('\n[[stage]]\nname = "write"\nkind = "write_files"\ninputs = ["work"]\npath = "/dev/null"\nformat = "ndjson"\n')
    command = [common.ETL, "run", pipeline, "--quiet", "--report", report, "--state", os.path.join(folder, "state")]
    measured, _ = common.timed(command)
    with open(report) as file:
        peak = json.load(file)["peak_rss_bytes"] / 2**20
    print(f"{rows:,} rows into 1,000 groups: {measured['wall_s']:.1f} s, {peak:.0f} MB", flush=True)
    return {"rows": rows, "peak_mb": peak, "csv_bytes": os.path.getsize(path), **measured}


def ours(folder, rows, stage):
    """The wall time of the stage, its input and its output in memory."""
    pipeline = os.path.join(folder, "pipeline.toml")
    with open(pipeline, "w") as file:
        file.write(f'[[stage]]\nname = "rows"\nkind = "load_arrow"\nfiles = ["{rows}"]\nparallel = true\n\n{stage}\n')
        file.write('[[stage]]\nname = "write"\nkind = "write_files"\ninputs = ["work"]\npath = "/dev/null"\nformat = "arrow"\n')
    report = os.path.join(folder, "report.json")
    state = os.path.join(folder, "state")
    command = [common.ETL, "run", pipeline, "--staged", "--quiet", "--report", report, "--state", state, "--set", "work.workers=2"]
    common.timed(command)
    with open(report) as file:
        stages = json.load(file)["stages"]
    return next(stage["wall_s"] for stage in stages if stage["name"] == "work")


def table(runs, rows, memory):
    lines = [f"{rows:,} rows, 2 threads, median of {len(next(iter(runs.values()))['etl'])} runs in turn.\n\n", "| | etl s | DuckDB s | Polars s | times DuckDB |\n", "|---|---|---|---|---|\n"]
    for name, took in runs.items():
        etl, duckdb, polars = (median(took[who]) for who in ("etl", "duckdb", "polars"))
        lines.append(f"| {name} | {etl:.2f} | {duckdb:.2f} | {polars:.2f} | {duckdb / etl:.1f} |\n")
    lines.append(
        f"\n{memory['rows']:,} rows of CSV ({memory['csv_bytes'] / 1e9:.1f} GB) aggregated into 1,000 groups, streamed: {memory['wall_s']:.1f} s, "
        f"at most {memory['peak_mb']:.0f} MB of memory.\n"
    )
    return "".join(lines)


if __name__ == "__main__":
    main()
