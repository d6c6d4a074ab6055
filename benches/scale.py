#!/usr/bin/env python3
"""How `etl` grows: streamed, on threads, NDJSON to /dev/null, at 1, 4 and 16 times the rows.

usage: benches/scale.py [--projects 15000] [--rounds 3]

Time should be linear within 10 %, and memory flat but for what is built to be joined (resources and
projects grow too; the last line grows the donations alone). Also what one more worker brings, stage by
stage, staged. Writes benches/runs/DATE-scale.json and the table in docs/benchmarks.md.
"""
import argparse, os, shutil, tempfile

import common
from common import median

TIMES = 1, 4, 16


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--projects", type=int, default=15000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments = arguments.parse_args()
    common.build()
    runs, workers = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        dumps = {}
        for times in TIMES:
            dumps[f"{times} x"] = os.path.join(folder, str(times))
            common.make_dumps(dumps[f"{times} x"], arguments.projects * times)
        dumps[MORE] = more_donations(dumps["4 x"], os.path.join(folder, "more"), 10)
        for _ in range(arguments.rounds):
            for name, data in dumps.items():
                run = common.etl([], data, "/dev/null", folder)
                run["documents"] = run["stages"]["write"]["rows_out"]
                print(f"{name:12} {run['documents']:9,} documents {run['wall_s']:6.2f} s {run['peak_mb']:5.0f} MB", flush=True)
                runs.setdefault(name, []).append(run)
            for count in (1, 2):
                run = common.etl(["--staged", "--set", f"*.workers={count}", "--set", "*.executor=threads"], dumps["4 x"], "/dev/null", folder)
                workers.setdefault(count, []).append(run)
    common.write_result("scale", {"what": "donors job, threads, streamed, NDJSON to /dev/null", "projects": arguments.projects, "runs": runs, "workers": workers})
    common.write_table("scale", table(runs, workers))


MORE = "4 x, donations 40 x"


def more_donations(dumps, folder, times):
    """The same projects and resources, the donations as so many members of one gzip file."""
    os.mkdir(folder)
    for name in ("projects", "resources", "donations"):
        file = f"opendata_{name}000.gz"
        with open(os.path.join(folder, file), "wb") as out:
            for _ in range(times if name == "donations" else 1):
                with open(os.path.join(dumps, file), "rb") as part:
                    shutil.copyfileobj(part, out)
    return folder


def table(runs, workers):
    middle = lambda name, key: median([run[key] for run in runs[name]])
    per_document = middle("1 x", "wall_s") / runs["1 x"][0]["documents"]
    lines = ["| rows | documents | wall s | microseconds a document | beside 1 x | peak MB |\n|---|---|---|---|---|---|\n"]
    for name in runs:
        documents, wall = runs[name][0]["documents"], middle(name, "wall_s")
        lines.append(f"| {name} | {documents:,} | {wall:.2f} | {wall / documents * 1e6:.2f} | {wall / documents / per_document:.2f} | {middle(name, 'peak_mb'):.0f} |\n")
    lines.append("\n| stage, staged, 4 x | 1 worker s | 2 workers s | speedup |\n|---|---|---|---|\n")
    for stage in workers[1][0]["stages"]:
        one, two = (median([run["stages"][stage]["wall_s"] for run in workers[count]]) for count in (1, 2))
        lines.append(f"| `{stage}` | {one:.3f} | {two:.3f} | {one / max(two, 1e-9):.2f} |\n")
    return "".join(lines)


if __name__ == "__main__":
    main()
