#!/usr/bin/env python3
"""`group_concat` alone: 10 million rows into 2 million groups, beside DuckDB's `list`; and how soon a small
pipeline gives its first row.

usage: benches/group.py [--python PYTHON] [--rows 10000000] [--groups 2000000] [--rounds 3]

PYTHON has DuckDB. Both read the same CSV first, which is not timed: for `etl` the stage's own time in a staged
run on threads, for DuckDB the aggregate from a table in memory into another. Neither is asked for an order of
groups by the other's rules: `etl` gives them in order of their keys, values in input order; DuckDB in any.
Writes benches/runs/DATE-group.json.
"""
import argparse, os, random, subprocess, sys, tempfile, time

import common
from common import median

PIPELINE = """
[[stage]]
name = "rows"
kind = "load_csv"
parallel = true
files = ["rows.csv"]
types = { n = "int" }
[[stage]]
name = "groups"
kind = "group_concat"
parallel = true
inputs = ["rows"]
by = ["k"]
[[stage]]
name = "none"
kind = "filter"
inputs = ["groups"]
column = "k"
equals = ""
"""
DUCKDB = """
import duckdb, sys, time
c = duckdb.connect()
c.execute("set enable_progress_bar = false")
c.execute("create table t as select * from read_csv('rows.csv', header=true, columns={'k': 'VARCHAR', 'v': 'VARCHAR', 'n': 'BIGINT'})")
begin = time.perf_counter()
c.execute("create table g as select k, list(v) v, list(n) n from t group by k")
print(time.perf_counter() - begin, c.execute("select count(*) from g").fetchone()[0])
"""
SMALL = """
[[stage]]
name = "rows"
kind = "load_csv"
files = ["small.csv"]
[[stage]]
name = "out"
kind = "write_files"
inputs = ["rows"]
path = "-"
format = "ndjson"
"""


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--python", default=sys.executable)
    arguments.add_argument("--rows", type=int, default=10_000_000)
    arguments.add_argument("--groups", type=int, default=2_000_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments = arguments.parse_args()
    common.build()
    etl, duckdb, first = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        write(folder, "pipeline.toml", PIPELINE)
        write(folder, "small.toml", SMALL)
        write(folder, "small.csv", "id,text\n" + "".join(f"{i},text {i}\n" for i in range(100)))
        write_rows(folder, arguments)
        for _ in range(arguments.rounds):
            run = common.etl(["--staged"], folder, "", folder, os.path.join(folder, "pipeline.toml"))
            etl.append(run)
            printed = subprocess.run([arguments.python, "-c", DUCKDB], cwd=folder, check=True, capture_output=True, text=True).stdout
            seconds, groups = printed.splitlines()[-1].split()
            if int(groups) != run["stages"]["groups"]["rows_out"]:
                sys.exit(f"{groups} groups in DuckDB, {run['stages']['groups']['rows_out']} in etl")
            duckdb.append(float(seconds))
            print(f"groups: etl {run['stages']['groups']['wall_s']:.2f} s, DuckDB {duckdb[-1]:.2f} s", flush=True)
        for _ in range(20):
            first.append(first_row(folder))
    ours, theirs = median([run["stages"]["groups"]["wall_s"] for run in etl]), median(duckdb)
    print(f"etl {ours:.2f} s, DuckDB {theirs:.2f} s: {theirs / ours:.2f} times as fast; first row after {median(first) * 1000:.1f} ms")
    common.write_result("group", {"what": "group_concat beside DuckDB's list; seconds to the first row", "rows": arguments.rows, "groups": arguments.groups, "etl": etl, "duckdb_s": duckdb, "first_row_s": first})


def write(folder, name, text):
    with open(os.path.join(folder, name), "w") as file:
        file.write(text)


def write_rows(folder, arguments):
    random.seed(7)
    keys = [f"{random.getrandbits(64):016x}" for _ in range(arguments.groups)]
    with open(os.path.join(folder, "rows.csv"), "w") as file:
        file.write("k,v,n\n")
        # Every key once, the others where they fall.
        file.writelines(f"{key},item {i % 1000},{i}\n" for i, key in enumerate(keys))
        for i in range(arguments.groups, arguments.rows):
            file.write(f"{keys[int(random.random() * arguments.groups)]},item {i % 1000},{i}\n")


def first_row(folder):
    begin = time.perf_counter()
    command = [common.ETL, "run", "small.toml", "--quiet", "--state", "state"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdout.readline()
    seconds = time.perf_counter() - begin
    process.stdout.read()
    process.wait()
    return seconds


if __name__ == "__main__":
    main()
