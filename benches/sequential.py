#!/usr/bin/env python3
"""Sequential is one thread's work: CPU time at most 1.05 times the wall time.

usage: benches/sequential.py [--projects 60000] [--runs 3]

Makes dumps with examples/generate_donors.rs, runs the Donor's Choice job to NDJSON with
`--sequential --staged`, and writes what was measured, with machine and version, to
benches/runs/DATE-sequential.json. Exit 1 if a run takes more.
"""
import argparse, sys, tempfile

import common

LIMIT = 1.05


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--projects", type=int, default=60000)
    arguments.add_argument("--runs", type=int, default=3)
    arguments = arguments.parse_args()
    common.build()
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        dumps = folder + "/dumps"
        common.make_dumps(dumps, arguments.projects)
        for _ in range(arguments.runs):
            run = common.etl(["--sequential", "--staged"], dumps, folder + "/out.ndjson", folder)
            run["cpu_over_wall"] = run["cpu_s"] / run["wall_s"]
            print(f"wall {run['wall_s']:.2f} s, CPU {run['cpu_s']:.2f} s: CPU is {run['cpu_over_wall']:.3f} times wall")
            runs.append(run)
    what = "donors job to NDJSON, --sequential --staged"
    common.write_result("sequential", {"what": what, "projects": arguments.projects, "limit": LIMIT, "runs": runs})
    sys.exit(any(run["cpu_over_wall"] > LIMIT for run in runs))


if __name__ == "__main__":
    main()
