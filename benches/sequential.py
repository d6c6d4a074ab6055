#!/usr/bin/env python3
"""Sequential is one thread's work: CPU time at most 1.05 times the wall time.

usage: benches/sequential.py [--projects 60000] [--runs 3]

Makes dumps with examples/generate_donors.rs, runs the Donor's Choice job to NDJSON with
`--sequential --staged`, and writes what was measured, with machine and versions, to
benches/runs/DATE-sequential.json. Exit 1 if a run takes more.
"""
import argparse, datetime, json, os, platform, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LIMIT = 1.05

def cargo(*words):
    subprocess.run(["cargo", *words], cwd=ROOT, check=True)

def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--projects", type=int, default=60000)
    arguments.add_argument("--runs", type=int, default=3)
    arguments = arguments.parse_args()
    cargo("build", "--release", "--quiet", "--bins", "--examples")
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        dumps = os.path.join(folder, "dumps")
        subprocess.run([os.path.join(target, "release/examples/generate_donors"), dumps, "--projects", str(arguments.projects), "--seed", "7"], check=True)
        for _ in range(arguments.runs):
            report = os.path.join(folder, "report.json")
            subprocess.run(
                [os.path.join(target, "release/etl"), "run", os.path.join(ROOT, "pipelines/donors_ndjson.toml"), "--sequential", "--staged", "--quiet", "--report", report, "--state", os.path.join(folder, "state")],
                env={**os.environ, "ETL_DATA": dumps, "ETL_OUT": os.path.join(folder, "out.ndjson")},
                check=True,
            )
            with open(report) as file:
                report = json.load(file)
            share = report["cpu_s"] / report["wall_s"]
            print(f"wall {report['wall_s']:.2f} s, CPU {report['cpu_s']:.2f} s: CPU is {share:.3f} times wall")
            runs.append({"wall_s": report["wall_s"], "cpu_s": report["cpu_s"], "cpu_over_wall": share, "stages": {stage["name"]: stage["wall_s"] for stage in report["stages"]}})
    today = datetime.date.today().isoformat()
    result = {
        "what": "donors job to NDJSON, --sequential --staged",
        "date": today,
        "projects": arguments.projects,
        "limit": LIMIT,
        "machine": {**report["machine"], "cpu": cpu_name(), "kernel": platform.release()},
        "runs": runs,
    }
    with open(os.path.join(ROOT, "benches/runs", f"{today}-sequential.json"), "w") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    sys.exit(any(run["cpu_over_wall"] > LIMIT for run in runs))

def cpu_name():
    with open("/proc/cpuinfo") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")

if __name__ == "__main__":
    main()
