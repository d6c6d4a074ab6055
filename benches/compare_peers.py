#!/usr/bin/env python3
"""The Donor's Choice job to NDJSON, with `etl` and with the same job written for other tools, in one go.

usage: benches/compare_peers.py PEERS [--python PYTHON] [--projects 60000] [--rounds 3]

PEERS is the folder of the peers' scripts (gen_donors.py, pandas_donors.py, duckdb_donors.py,
polars_donors.py), PYTHON one that has their packages. Everything is run once a round, one after the other,
so that what else the machine does falls on all alike; pandas, which takes minutes, in the first round only.
Writes every figure with machine and versions to benches/runs/DATE-compare_peers.json, and the medians
into the tables of docs/benchmarks.md.
"""
import os, re, subprocess, tempfile

import common
from common import median

# Named as in docs/benchmarks.md.
ETL = {
    "etl, threads": [],
    "etl, threads, staged": ["--staged"],
    "etl, sequential": ["--sequential"],
    "etl, sequential, staged": ["--sequential", "--staged"],
    "etl, processes": ["--set", "*.executor=processes"],
    "etl, processes, staged": ["--set", "*.executor=processes", "--staged"],
    "etl, hybrid": ["--set", "*.executor=hybrid", "--set", "*.processes=2", "--set", "*.threads=2"],
}
PEERS = {
    "DuckDB": ["duckdb_donors.py", "{dumps}", "--out", "{out}"],
    "DuckDB, 1 thread": ["duckdb_donors.py", "{dumps}", "--out", "{out}", "--threads", "1"],
    "Polars": ["polars_donors.py", "{dumps}", "--out", "{out}"],
    "pandas": ["pandas_donors.py", "{dumps}", "seq", "--out", "{out}"],
    "pandas, multiprocessing": ["pandas_donors.py", "{dumps}", "par", "--out", "{out}"],
}


def main():
    arguments = common.peers_arguments(rounds=3)
    arguments = arguments.parse_args()
    common.build()
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        dumps, out = os.path.join(folder, "dumps"), os.path.join(folder, "out.ndjson")
        generator = [arguments.python, os.path.join(arguments.peers, "gen_donors.py"), dumps]
        subprocess.run([*generator, "--projects", str(arguments.projects), "--seed", "7"], check=True, stdout=subprocess.DEVNULL)
        for round in range(arguments.rounds):
            for name, measured in one_round(arguments, dumps, out, folder, slow=round == 0):
                print(f"round {round + 1}: {name:32} {measured['wall_s']:7.2f} s wall {measured['cpu_s']:7.2f} s CPU {measured['peak_mb']:6.0f} MB", flush=True)
                runs.setdefault(name, []).append(measured)
        rows = runs["etl, threads"][0]["stages"]["write"]["rows_out"]
    result = {"what": "donors job to NDJSON", "projects": arguments.projects, "documents": rows, "versions": versions(arguments.python), "runs": runs}
    common.write_result("compare_peers", result)
    common.write_table("peers", peers_table(runs, rows))
    common.write_table("executors", executors_table(runs))


def one_round(arguments, dumps, out, folder, slow):
    for name, options in ETL.items():
        yield name, common.etl(options, dumps, out, folder)
        os.remove(out)
    for name, command in PEERS.items():
        if name.startswith("pandas") and not slow:
            continue
        command = [word.format(dumps=dumps, out=out) for word in command]
        measured, printed = common.timed([arguments.python, os.path.join(arguments.peers, command[0]), *command[1:]])
        measured["laps_s"] = {lap: float(seconds) for lap, seconds in re.findall(r"^(\S+) +([0-9.]+)s", printed, re.MULTILINE)}
        yield name, measured
        os.remove(out)


def versions(python):
    script = "import duckdb, pandas, polars; print(duckdb.__version__, pandas.__version__, polars.__version__)"
    printed = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout
    return dict(zip(("DuckDB", "pandas", "Polars"), printed.split()))


def middle(runs, name, key="wall_s"):
    return median([run[key] for run in runs[name]])


def peers_table(runs, rows):
    duckdb = middle(runs, "DuckDB")
    lines = [f"| {rows:,} documents to NDJSON | wall s | times DuckDB | CPU s | peak MB |\n|---|---|---|---|---|\n"]
    for name in sorted(runs, key=lambda name: middle(runs, name)):
        wall, cpu, peak = (middle(runs, name, key) for key in ("wall_s", "cpu_s", "peak_mb"))
        lines.append(f"| {name} | {wall:.2f} | {duckdb / wall:.2f} | {cpu:.1f} | {peak:.0f} |\n")
    return "".join(lines)


def executors_table(runs):
    """What each executor takes for each stage, staged, and what processes cost beside the work."""
    stages = runs["etl, threads, staged"][0]["stages"]
    middle = lambda name, stage, key: median([run["stages"][stage][key] for run in runs[name]])
    lines = ["| stage, staged | sequential s | threads s | speedup | processes s | of that start s | open s | copy s |\n|---|---|---|---|---|---|---|---|\n"]
    for stage in stages:
        before, threads = (middle(f"etl, {name}, staged", stage, "wall_s") for name in ("sequential", "threads"))
        of_processes = [middle("etl, processes, staged", stage, key) for key in ("wall_s", "start_s", "open_s", "copy_s")]
        lines.append(f"| `{stage}` | {before:.3f} | {threads:.3f} | {before / max(threads, 1e-9):.2f} | " + " | ".join(f"{seconds:.3f}" for seconds in of_processes) + " |\n")
    return "".join(lines)


if __name__ == "__main__":
    main()
