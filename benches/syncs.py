#!/usr/bin/env python3
"""What it costs that results outlive a power cut: this build beside one that does not sync, in turn, on a disk and in
a memory file system, where a sync costs nothing. What is slower on the disk alone is the syncs.

usage: benches/syncs.py BEFORE [--disk DIR] [--memory /dev/shm] [--projects 60000] [--rounds 7]

BEFORE is a release binary of commit 89abc39, the last that did not sync. DIR lies on the disk (default: beside the
build). Writes benches/runs/DATE-syncs.json and puts its table into docs/benchmarks.md.
"""
import argparse, os, re, shutil, subprocess, tempfile

import common
from common import median

PIPELINES = {"file": common.NDJSON, "index": os.path.join(common.ROOT, "pipelines/donors.toml"), "small": common.NDJSON}
TITLES = {"file": "donors job into a file", "index": "donors job into a local index", "small": "a run of 20 projects"}
SYNCS = "fsync,fdatasync,syncfs,sync_file_range"


def main():
    arguments = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n")[0])
    arguments.add_argument("before")
    arguments.add_argument("--disk", default=common.TARGET)
    arguments.add_argument("--memory", default="/dev/shm")
    arguments.add_argument("--projects", type=int, default=60000)
    arguments.add_argument("--rounds", type=int, default=7)
    arguments = arguments.parse_args()
    common.build()
    builds = {"before": os.path.abspath(arguments.before), "after": common.ETL}
    projects = {"file": arguments.projects, "index": arguments.projects // 10, "small": 20}
    with tempfile.TemporaryDirectory(dir=arguments.memory) as memory, tempfile.TemporaryDirectory(dir=arguments.disk) as disk:
        for job, count in projects.items():
            common.make_dumps(os.path.join(memory, job), count)
        jobs = {job: measure(job, os.path.join(memory, job), {"disk": disk, "memory": memory}, builds, arguments.rounds) for job in projects}
        syncs = {job: count_syncs(job, os.path.join(memory, job), disk) for job in projects}
    lines = ["| job | | before | now | more | syncs |", "|---|---|---|---|---|---|"]
    for job, places in jobs.items():
        for place, runs in places.items():
            before, after = (median([run["wall_s"] for run in runs[name]]) for name in ("before", "after"))
            syncing = f"{syncs[job]['s'] * 1000:.0f} ms in {syncs[job]['calls']} calls" if place == "disk" else "0"
            lines.append(f"| {TITLES[job]} | {place} | {before:.3f} s | {after:.3f} s | {(after - before) * 1000:+.0f} ms | {syncing} |")
    print("\n".join(lines))
    common.write_table("syncs", "\n".join(lines) + "\n")
    common.write_result("syncs", {"what": "wall time before and after results are synced, in turn", "before": "89abc39", "projects": projects, "jobs": jobs, "syncs": syncs})


def measure(job, dumps, places, builds, rounds):
    runs = {place: {name: [] for name in builds} for place in places}
    for _ in range(rounds):
        for place, folder in places.items():
            for name, program in builds.items():
                measured, _ = common.timed(command(job, program, folder), environment(job, dumps, folder))
                runs[place][name].append(measured)
                clear(folder)
    return runs


def command(job, program, folder):
    return [program, "run", PIPELINES[job], "--quiet", "--state", os.path.join(folder, "state")]


def environment(job, dumps, folder):
    return {"ETL_DATA": dumps, "ETL_OUT": os.path.join(folder, "out", "out.ndjson"), "ETL_SEARCH_URL": f"local:{folder}/out/index"}


def clear(folder):
    for name in ("out", "state"):
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)


def count_syncs(job, dumps, folder):
    """The system calls that sync, and how long they took together (several at once may wait for the same disk)."""
    counted = subprocess.run(["strace", "-f", "-T", "-e", f"trace={SYNCS}", *command(job, common.ETL, folder)], env={**os.environ, **environment(job, dumps, folder)}, check=True, capture_output=True, text=True)
    clear(folder)
    times = [float(time) for time in re.findall(r" = 0 <([0-9.]+)>", counted.stderr)]
    return {"calls": len(times), "s": sum(times)}


if __name__ == "__main__":
    main()
