#!/usr/bin/env python3
"""The three loads of the Donor's Choice job streaming together, on threads, their rows going nowhere; beside
inflating the dumps with the same decoder, and the load of the DuckDB script.

usage: benches/loads.py PEERS [--python PYTHON] [--projects 60000] [--rounds 5]

PEERS is the folder of duckdb_donors.py, PYTHON one that has DuckDB. Writes benches/runs/DATE-loads.json.
"""
import os, re, tempfile

import common
from common import median

FILES = [f"opendata_{name}000.gz" for name in ("projects", "resources", "donations")]


def main():
    arguments = common.peers_arguments(rounds=5)
    arguments = arguments.parse_args()
    common.build()
    runs = {"etl": [], "inflate": [], "duckdb": []}
    with tempfile.TemporaryDirectory() as folder:
        dumps = os.path.join(folder, "dumps")
        common.make_dumps(dumps, arguments.projects)
        pipeline = os.path.join(folder, "loads.toml")
        with open(common.NDJSON) as whole, open(pipeline, "w") as loads:
            loads.write("[[stage]]".join(whole.read().split("[[stage]]")[: 1 + len(FILES)]))
        for _ in range(arguments.rounds):
            runs["etl"].append(common.etl([], dumps, "", folder, pipeline))
            runs["inflate"].append(common.timed([common.example("inflate"), *(os.path.join(dumps, file) for file in FILES)])[0])
            duckdb = [arguments.python, os.path.join(arguments.peers, "duckdb_donors.py"), dumps]
            measured, printed = common.timed(duckdb)
            measured["load_s"] = float(re.search(r"^load +([0-9.]+)s", printed, re.MULTILINE)[1])
            runs["duckdb"].append(measured)
    etl, inflate = (median([run["wall_s"] for run in runs[name]]) for name in ("etl", "inflate"))
    duckdb = median([run["load_s"] for run in runs["duckdb"]])
    print(f"loads {etl:.2f} s, inflating {inflate:.2f} s ({etl / inflate:.2f} times), DuckDB's load {duckdb:.2f} s ({duckdb / etl:.1f} times)")
    common.write_result("loads", {"what": "the three loads of the donors job, threads, streamed", "projects": arguments.projects, "runs": runs})


if __name__ == "__main__":
    main()
