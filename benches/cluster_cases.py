#!/usr/bin/env python3
"""Every data case of the tests on a real Spark cluster: what can be seen of it is what one machine gives.

usage: benches/cluster_cases.py [--spark DIR] [--workers 2] [--case PART] [--built] [--quick]

DIR has pyspark or gets it (as tests/cluster/start says). The tests run all cases on a stand-in for Spark, which takes
milliseconds; this is the same with Spark itself, a master and two workers, some 20 minutes. Compared are the exit code, what
is on standard output and error, the files byte for byte, the rejects, and of each stage rows, digest and counts. How far a
failed run had come is a matter of luck: of these only code, message and files count.

Writes benches/runs/DATE-cluster_cases.json, but not with `--case` or `--quick`; the exit code is 1 if a case differs.
"""
import collections, json, os, shutil, subprocess, sys, tempfile, time

import clusters, common
from clusters import Cluster
from targets import digest

CASES = os.path.join(common.ROOT, "tests/cases")
STAGE = "name", "rows_in", "rows_out", "added", "dropped", "rejected", "digest", "counts"
QUICK = 5


def main():
    arguments = clusters.arguments(workers=2, case="").parse_args()
    if not arguments.built:
        common.build()
    names = sorted(name for name in os.listdir(CASES) if arguments.case in name)
    names = names[:QUICK] if arguments.quick else names
    ends, differ, on_cluster = collections.Counter(), [], 0
    began = time.time()
    with tempfile.TemporaryDirectory(prefix="etl-cluster-cases-") as folder, Cluster(arguments.spark, arguments.workers) as cluster:
        program = clusters.program(folder)
        os.environ["TMPDIR"] = folder
        for number, name in enumerate(names):
            case = os.path.join(folder, "case")
            shutil.copytree(os.path.join(CASES, name), case)
            os.mkdir(os.path.join(case, "shared"))
            alone, _ = seen(program, case, [])
            found, executors = seen(program, case, cluster.options(os.path.join(case, "shared"), "cases"))
            differs = [what for what in alone if alone[what] != found[what]]
            left = os.listdir(os.path.join(case, "shared"))
            differs += ["left in the shared folder"] if left else []
            ends[f"exit {alone['code']}"] += 1
            on_cluster += "cluster" in executors
            if differs:
                differ.append({"case": name, "what": differs, "alone": {what: alone.get(what) for what in differs}, "found": {what: found.get(what) for what in differs}})
            print(f"{number + 1:4} of {len(names)} {name}: {', '.join(differs) or 'the same'}", flush=True)
            shutil.rmtree(case)
    result = {"what": "data cases on a real Spark cluster", "workers": arguments.workers, "cases": len(names), "with_stages_on_the_cluster": on_cluster, "ends": ends, "differ": differ, "wall_s": round(time.time() - began, 1)}
    print(json.dumps({name: result[name] for name in ("cases", "with_stages_on_the_cluster", "ends", "wall_s")}), f"{len(differ)} differ")
    if not arguments.quick and not arguments.case:
        common.write_result("cluster_cases", result)
    sys.exit(1 if differ else 0)


def lines(case, name):
    path = os.path.join(case, name)
    if not os.path.exists(path):
        return []
    with open(path) as file:
        return file.read().splitlines()


def seen(program, case, options):
    """What can be seen of a run, and what its stages ran on."""
    out, state = os.path.join(case, "out"), os.path.join(case, "state")
    for path in out, state:
        shutil.rmtree(path, ignore_errors=True)
    os.mkdir(state)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ETL_")}
    environment |= dict(line.split("=", 1) for line in lines(case, "env"))
    command = [program, "run", "pipeline.toml", "--quiet", "--color", "never", "--state", "state", "--report", "state/report.json", "--digest"]
    given = open(os.path.join(case, "stdin"), "rb") if os.path.exists(os.path.join(case, "stdin")) else subprocess.DEVNULL
    run = subprocess.run([*command, *lines(case, "args"), *options], cwd=case, env=environment, stdin=given, capture_output=True)
    report, rejects = {}, ""
    if os.path.exists(os.path.join(state, "report.json")):
        with open(os.path.join(state, "report.json")) as file:
            report = json.load(file)
        name = (report.get("rejects") or {}).get("file")
        if name:
            with open(os.path.join(case, name)) as file:
                rejects = file.read()
    is_done = run.returncode in (0, 3)
    text = lambda output: output.decode(errors="replace").replace(report.get("run", "?"), "RUN")
    stages = report.get("stages", []) if is_done else []
    found = {
        "code": run.returncode, "stdout": text(run.stdout), "stderr": text(run.stderr), "files": files(out), "rejects": rejects if is_done else "",
        "stages": [[stage.get(name) for name in STAGE] for stage in stages],
    }
    return found, {stage.get("executor") for stage in report.get("stages", [])}


def files(folder):
    """Every file below a folder: its name, its length and a digest of its bytes."""
    found = {}
    for path, _, names in os.walk(folder):
        for name in names:
            whole = os.path.join(path, name)
            found[os.path.relpath(whole, folder)] = digest(whole)
    return found


if __name__ == "__main__":
    main()
