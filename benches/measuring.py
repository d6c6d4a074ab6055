#!/usr/bin/env python3
"""Measuring costs under 2 % of a run: what a measured span takes, times how many a run of the Donor's Choice job has.

usage: benches/measuring.py [--projects 60000] [--runs 3]

Runs the job to NDJSON under each executor, staged. Every stage measures its work on each batch; one that reads a
file each read as well, one that ends in a file each write. What one of them takes, on all cores at once, tells
examples/meter.rs. Their sum stands beside the CPU time of the run. Writes benches/runs/DATE-measuring.json. Exit 1
if a run takes more.
"""
import argparse, json, os, subprocess, sys, tempfile

import common

LIMIT = 0.02
EXECUTORS = "sequential", "threads", "processes"


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--projects", type=int, default=60000)
    arguments.add_argument("--runs", type=int, default=3)
    arguments = arguments.parse_args()
    common.build()
    span_s = float(subprocess.run([common.example("meter")], check=True, capture_output=True, text=True).stdout)
    print(f"measuring once takes {span_s * 1e6:.1f} us", flush=True)
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        dumps = os.path.join(folder, "dumps")
        common.make_dumps(dumps, arguments.projects)
        for executor in EXECUTORS:
            for _ in range(arguments.runs):
                options = ["--staged", "--set", f"*.executor={executor}"]
                run = common.etl(options, dumps, os.path.join(folder, "out.ndjson"), folder)
                run |= {"executor": executor, **measuring(os.path.join(folder, "report.json"), span_s)}
                print(f"{executor}: {run['batches']} batches in {run['cpu_s']:.2f} s CPU: measuring is {run['share'] * 100:.3f} %", flush=True)
                runs.append(run)
    common.write_result("measuring", {"what": "the cost of measuring, donors job to NDJSON, staged", "projects": arguments.projects, "limit": LIMIT, "span_s": span_s, "runs": runs})
    sys.exit(any(run["share"] > LIMIT for run in runs))


def measuring(report, span_s):
    """How many batches a run measured, and the share of its CPU time that this took."""
    with open(report) as file:
        report = json.load(file)
    stages = report["stages"]
    batches = sum(stage["batches"] for stage in stages)
    # Beside its batches: the read that finds the end, or finishing and publishing.
    ends = sum(stage["batches"] + 2 for stage in stages if stage["kind"] in ("load_csv", "write_files"))
    seconds = (batches + ends) * span_s
    return {"batches": batches, "measuring_s": seconds, "share": seconds / report["cpu_s"]}


if __name__ == "__main__":
    main()
