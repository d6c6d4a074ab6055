#!/usr/bin/env python3
"""Reading JSON records, beside DuckDB's `read_json`.

usage: benches/ndjson.py [--projects 110000] [--rounds 5] [--python PYTHON] [--built]

The documents of the Donor's Choice job lie in memory as NDJSON, about 1 GB. Two tasks, each the same work on both sides, two
threads each, in turn. `count`: every value of every member is read and counted (`count(*)` and `count(x)` of all columns);
the only output is one row. `csv`: all of it is written as CSV to /dev/null. DuckDB reads it twice: with the columns named, all
of them VARCHAR, which is what `load_ndjson` gives; and as it detects columns and types itself (`auto`), beside `etl` finding
the columns itself. Wall and CPU seconds are those of whole processes, the start of Python and of `import duckdb` left out.
PYTHON must have duckdb. Last, the peak memory of a run over twice the text. Writes benches/runs/DATE-ndjson.json and the table
in docs/benchmarks.md.
"""
import argparse, json, os, subprocess, sys, tempfile

import common
from common import median

PEER = """
import json, resource, sys, time
import duckdb
connection = duckdb.connect()
connection.execute("SET threads = 2")
connection.execute("SET enable_progress_bar = false")
used = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
begin, cpu = time.perf_counter(), used()
connection.execute(open(sys.argv[1]).read()).fetchall()
print(json.dumps({"wall_s": time.perf_counter() - begin, "cpu_s": used() - cpu, "version": duckdb.__version__,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--projects", type=int, default=110_000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--python", default=sys.executable)
    arguments.add_argument("--built", action="store_true", help="the program is built already")
    arguments = arguments.parse_args()
    if not arguments.built:
        common.build()
    shm = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=shm) as folder:
        documents = os.path.join(folder, "donors.ndjson")
        dumps = os.path.join(folder, "dumps")
        os.mkdir(dumps)
        common.make_dumps(dumps, arguments.projects)
        common.etl([], dumps, documents, folder)
        names = members(documents)
        runs = {}
        for _ in range(arguments.rounds):
            for task in "count", "csv":
                for auto in False, True:
                    columns = None if auto else names
                    name = f"{task}, {'auto' if auto else 'named'}"
                    both = runs.setdefault(name, {"etl": [], "duckdb": []})
                    both["etl"].append(ours(folder, [documents], task, names, columns))
                    both["duckdb"].append(theirs(arguments.python, folder, documents, task, names, columns))
                    print(name, {who: f"{took[-1]['wall_s']:.2f} s, CPU {took[-1]['cpu_s']:.2f}" for who, took in both.items()}, flush=True)
        size = os.path.getsize(documents)
        again = os.path.join(folder, "again.ndjson")
        os.link(documents, again)
        memory = ours(folder, [documents, again], "csv", names, names)
        print(f"{2 * size:,} bytes: {memory['wall_s']:.1f} s, {memory['peak_mb']:.0f} MB", flush=True)
    result = {"what": __doc__, "bytes": size, "columns": len(names), "runs": runs, "memory": {"bytes": 2 * size, **memory}}
    common.write_result("ndjson", result)
    common.write_table("ndjson", table(runs, size, len(names), memory))


def members(documents):
    """The members of the first documents, in order of appearance."""
    names = {}
    with open(documents) as file:
        for _, line in zip(range(1000), file):
            names.update(json.loads(line))
    return list(names)


def ours(folder, files, task, names, columns):
    pipeline, report = os.path.join(folder, "pipeline.toml"), os.path.join(folder, "report.json")
    with open(pipeline, "w") as file:
        file.write(f'[[stage]]\nname = "load"\nkind = "load_ndjson"\nfiles = {json.dumps(files)}\nparallel = true\n')
        if columns:
            file.write(f"columns = {json.dumps(columns)}\n")
        if task == "count":
            counts = ", ".join(f'{name}_n = "count({name})"' for name in names)
            file.write('\n[[stage]]\nname = "last"\nkind = "aggregate"\ninputs = ["load"]\nparallel = true\nby = []\n')
            file.write(f'columns = {{ all = "count(*)", {counts} }}\n')
        last, path = ("last", os.path.join(folder, "count.ndjson")) if task == "count" else ("load", "/dev/null")
        file.write(f'\n[[stage]]\nname = "write"\nkind = "write_files"\ninputs = ["{last}"]\nparallel = true\n')
        file.write(f'path = "{path}"\nformat = "{"ndjson" if task == "count" else "csv"}"\n')
    command = [common.ETL, "run", pipeline, "--quiet", "--report", report, "--state", os.path.join(folder, "state")]
    measured, _ = common.timed(command)
    with open(report) as file:
        measured["peak_mb"] = json.load(file)["peak_rss_bytes"] / 2**20
    return measured


def theirs(python, folder, documents, task, names, columns):
    read = f"'{documents}', format = 'newline_delimited'"
    if columns:
        read += ", columns = {" + ", ".join(f"{name}: 'VARCHAR'" for name in columns) + "}"
    if task == "count":
        query = f"SELECT count(*), {', '.join(f'count({name})' for name in names)} FROM read_json({read})"
    else:
        query = f"COPY (SELECT * FROM read_json({read})) TO '/dev/null' (FORMAT csv)"
    path = os.path.join(folder, "query.sql")
    with open(path, "w") as file:
        file.write(query)
    printed = subprocess.run([python, "-c", PEER, path], check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(printed)


def table(runs, size, columns, memory):
    rounds = len(next(iter(runs.values()))["etl"])
    version = next(iter(runs.values()))["duckdb"][0]["version"]
    lines = [
        f"{size / 1e9:.2f} GB of documents, {columns} columns, 2 threads, median of {rounds} runs in turn; DuckDB {version}.\n\n",
        "| | etl s | DuckDB s | times DuckDB | etl CPU s | DuckDB CPU s |\n|---|---|---|---|---|---|\n",
    ]
    words = {"count": "every value counted", "csv": "written as CSV", "named": "columns named, all text", "auto": "columns found"}
    for name, both in runs.items():
        wall = {who: median([run["wall_s"] for run in took]) for who, took in both.items()}
        cpu = {who: median([run["cpu_s"] for run in took]) for who, took in both.items()}
        what = ", ".join(words[word] for word in name.split(", "))
        lines.append(f"| {what} | {wall['etl']:.2f} | {wall['duckdb']:.2f} | {wall['duckdb'] / wall['etl']:.1f} | {cpu['etl']:.2f} | {cpu['duckdb']:.2f} |\n")
    lines.append(f"\n{2 * size / 1e9:.1f} GB written as CSV: {memory['wall_s']:.1f} s, at most {memory['peak_mb']:.0f} MB of memory.\n")
    return "".join(lines)


if __name__ == "__main__":
    main()
