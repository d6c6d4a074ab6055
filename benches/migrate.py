#!/usr/bin/env python3
"""A migration: a folder of many gzipped CSVs to one NDJSON file, from one worker up to the knee; beside the same
text in one file, which one core inflates.

usage: benches/migrate.py [--files 24] [--rows 100000] [--rounds 3] [--workers-max 2 x cores]

The knee is the smallest number of workers within 5 % of the best time.
Writes benches/runs/DATE-migrate.json.
"""
import argparse, gzip, json, os, shutil, tempfile

import common
from common import median

PIPELINE = os.path.join(common.ROOT, "pipelines/migrate.toml")


def run(folder, data, options):
    """A run; with what a GB of text took."""
    report = os.path.join(folder, "report.json")
    command = [common.ETL, "run", PIPELINE, "--quiet", "--report", report, "--state", os.path.join(folder, "state"), *options]
    measured, _ = common.timed(command, {"ETL_DATA": data, "ETL_OUT": os.path.join(folder, "out.ndjson")})
    with open(report) as file:
        report = json.load(file)
    measured["s_per_gb"] = report["s_per_gb"]
    measured["text_bytes"] = report["stages"][0]["counts"]["text_bytes"]
    return measured


def join(data, whole):
    """All files as one member of one file, so that nothing can be inflated side by side."""
    os.makedirs(os.path.join(whole, "readings"))
    with gzip.open(os.path.join(whole, "readings/all.csv.gz"), "wb", compresslevel=6) as out:
        for number, name in enumerate(sorted(os.listdir(os.path.join(data, "readings")))):
            with gzip.open(os.path.join(data, "readings", name)) as file:
                header = file.readline()
                if number == 0:
                    out.write(header)
                shutil.copyfileobj(file, out, 1 << 20)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--files", type=int, default=24)
    arguments.add_argument("--rows", type=int, default=100_000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--workers-max", type=int, default=2 * (os.cpu_count() or 1))
    arguments = arguments.parse_args()
    common.build()
    steps = [("sequential", ["--sequential"])]
    workers = 1
    while workers <= arguments.workers_max:
        steps.append((f"{workers} workers", ["--set", f"*.workers={workers}"]))
        workers *= 2
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        data, whole = os.path.join(folder, "many"), os.path.join(folder, "one")
        numbers = ["--files", str(arguments.files), "--rows", str(arguments.rows)]
        common.timed([common.example("generate_readings"), os.path.join(data, "readings"), *numbers])
        join(data, whole)
        for name, of in [("many files", data), ("one file", whole)]:
            runs = {step: [] for step, _ in steps}
            for round in range(arguments.rounds + 1):
                for step, options in steps:
                    measured = run(folder, of, options)
                    if round:  # The first one warms up.
                        runs[step].append(measured)
            results[name] = runs
    for name, runs in results.items():
        walls = {step: median([run["wall_s"] for run in measured]) for step, measured in runs.items()}
        first, best = walls["1 workers"], min(walls.values())
        knee = next(step for step, wall in walls.items() if wall <= 1.05 * best)
        print(f"{name}: {runs['sequential'][0]['text_bytes'] / 1e6:.0f} MB of text; the knee is at {knee}")
        for step, wall in walls.items():
            per_gb, peak = (median([run[key] for run in runs[step]]) for key in ("s_per_gb", "peak_mb"))
            print(f"  {step:12} {wall:6.2f} s  {per_gb:6.2f} s a GB  {first / wall:5.2f} times  {peak:5.0f} MB")
    common.write_result("migrate", {"what": "pipelines/migrate.toml", "files": arguments.files, "rows": arguments.rows, "runs": results})


if __name__ == "__main__":
    main()
