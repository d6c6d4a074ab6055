#!/usr/bin/env python3
"""The same jobs on a Spark cluster on this machine and without it: the same bytes, and what a cluster costs.

usage: benches/cluster.py [--spark DIR] [--projects 3000] [--dumps 8] [--rounds 3] [--built] [--quick]

DIR has pyspark or gets it (as tests/cluster/start says). A cluster has 1, 2 and 4 workers with one core each; on a machine
with fewer cores that shows overhead, not speed-up. Two things are measured:

  job     the Donor's Choice job into a file, from as many gzipped dumps as --dumps says, with --projects projects each: on
          one machine (sequential, threads) and on each cluster. Every file must have the same bytes.
  tasks   a small pipeline whose rows do not matter, from 10 and more files, as many tasks as files or all in a few: what a
          further task costs, and what a further file costs within one.

The times of a job's parts are those of the commands and events between `etl` and its driver. CPU time is told apart by
process: the share of `etl task` is what the tasks' own work is of all that the executors' processes use.

Writes every figure with machine and versions to benches/runs/DATE-cluster.json, and the medians into docs/benchmarks.md.
"""
import collections, hashlib, os, subprocess, sys, tempfile, time

import clusters, common
from clusters import Cluster, Recorded, Usage
from common import median

EXECUTORS = 1, 2, 4
# Files, and whether each is a task.
MANY = (10, True), (200, True), (200, False), (1000, True)
# Two clusters of two executors do the same; more would only say more of this machine's two cores.
EXECUTORS_OF_TASKS = 2
# What uses CPU time for tasks, and what for handing them out.
TASKS_SIDE = "etl task", "Python worker", "executor"
DRIVERS_SIDE = "driver", "driver's JVM"
ROWS_OF_ALL_FILES = 100_000
TASKS = """name = "tasks"

[[stage]]
name = "rows"
kind = "load_csv"
files = ["{folder}/*.csv"]

[[stage]]
name = "write"
kind = "write_files"
inputs = ["rows"]
path = "{out}"
"""


def main():
    arguments = clusters.arguments(projects=3000, dumps=8, rounds=3).parse_args()
    if not arguments.built:
        common.build()
    if arguments.quick:
        arguments.projects, arguments.dumps, arguments.rounds = 200, 3, 1
    with tempfile.TemporaryDirectory(prefix="etl-cluster-") as folder:
        bench = Bench(arguments, folder)
        result = {"what": "jobs on a Spark cluster and without it", "rounds": arguments.rounds, "projects": arguments.projects, "dumps": arguments.dumps, "load_average": os.getloadavg()}
        result["program_bytes"] = os.path.getsize(bench.etl)
        result["one_machine"] = bench.one_machine()
        result["clusters"] = {executors: bench.cluster(executors) for executors in EXECUTORS}
        result["tasks"] = bench.tasks()
        result["versions"] = {"engine": bench.versions, "java": java()}
        text = job_table(result) + "\n" + shares_table(result) + "\n" + tasks_table(result)
        if arguments.quick:
            print(text)
        else:
            common.write_result("cluster", result)
            common.write_table("cluster", text)


class Bench:
    """The dumps, what one machine makes of them, and runs that must make the same."""

    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        self.dumps, self.shared = os.path.join(folder, "dumps"), os.path.join(folder, "shared")
        os.mkdir(self.shared)
        clusters.make_dumps(self.dumps, arguments.dumps, arguments.projects)
        self.job = clusters.write(os.path.join(folder, "job.toml"), clusters.pipeline("donors_ndjson.toml"))
        self.etl, self.expected, self.versions = clusters.program(folder), {}, ""

    def run(self, name, options, environment=None, pipeline=None):
        """A run; its file has the bytes of the first one of this name."""
        out = os.path.join(self.folder, "out.ndjson")
        common.ETL = self.etl
        os.environ.update(environment or {})
        try:
            measured = common.etl(options, self.dumps, out, self.folder, pipeline or self.job)
        finally:
            for key in environment or ():
                del os.environ[key]
        measured["bytes"] = os.path.getsize(out)
        with open(out, "rb") as file:
            found = hashlib.file_digest(file, "blake2b").digest()
        os.remove(out)
        if self.expected.setdefault(name, found) != found:
            sys.exit(f"{' '.join(options)}: other bytes than on one machine")
        left = os.listdir(self.shared)
        if left:
            sys.exit(f"{' '.join(options)}: left in the shared folder: {', '.join(left)}")
        return measured

    def one_machine(self):
        runs = {"sequential": [], "threads": []}
        for _ in range(self.arguments.rounds):
            for executor, measured in runs.items():
                measured.append(self.run("job", ["--set", f"*.executor={executor}"]))
                print(f"{executor:12} {measured[-1]['wall_s']:6.2f} s", flush=True)
        return runs

    def cluster(self, executors):
        with Cluster(self.arguments.spark, executors) as cluster:
            runs = [self.on(cluster, "job") for _ in range(self.arguments.rounds)]
        return {"start_s": cluster.start_s, "runs": runs}

    def on(self, cluster, name, pipeline=None, conf=()):
        """A run on a cluster, with what its processes used and what its jobs took."""
        recorded = Recorded(self.folder, cluster.python)
        options = cluster.options(self.shared, self.folder, recorded.python, conf)
        began = time.time()
        with Usage(self.folder) as usage:
            measured = self.run(name, options, cluster.environment(self.folder), pipeline)
        read = recorded.read()
        self.versions = read["versions"]
        measured["cpu_s"] = usage.by_kind()
        measured["ready_s"] = read["began"] - began + read["ready_s"]
        measured["jobs"] = [jobs_figures(job) for job in read["jobs"]]
        # What is left to do on this machine: it reads the parts, writes the file, and ends the engine.
        measured["after_jobs_s"] = began + measured["wall_s"] - read["jobs"][-1]["ended"]
        print(f"{name}: {measured['wall_s']:6.2f} s, ready after {measured['ready_s']:.1f} s, jobs {[round(job['took_s'], 2) for job in measured['jobs']]}, then {measured['after_jobs_s']:.2f} s; CPU s {rounded(measured['cpu_s'])}", flush=True)
        return measured

    def tasks(self):
        """Pipelines of many small files."""
        runs = collections.defaultdict(list)
        with Cluster(self.arguments.spark, EXECUTORS_OF_TASKS) as cluster:
            for _ in range(self.arguments.rounds):
                for files, alone in MANY[: 2 if self.arguments.quick else None]:
                    name = f"{files} files, {'a task each' if alone else 'in few tasks'}"
                    pipeline = self.many(files)
                    # Small files are read together unless there are many cores: so many are pretended.
                    conf = {"spark.default.parallelism": files} if alone else {}
                    measured = self.on(cluster, f"{files} files", pipeline, conf)
                    runs[name].append({**measured, "files": files, "tasks": measured["jobs"][0]["tasks"]})
        return runs

    def many(self, files):
        folder = os.path.join(self.folder, f"files-{files}")
        pipeline = folder + ".toml"
        if not os.path.isdir(folder):
            os.mkdir(folder)
            for number in range(files):
                with open(os.path.join(folder, f"{number:05}.csv"), "w") as file:
                    file.write("id,name\n" + "".join(f"{number}-{row},name {row}\n" for row in range(ROWS_OF_ALL_FILES // files)))
            clusters.write(pipeline, TASKS.format(folder=folder, out=os.path.join(self.folder, "out.ndjson")))
        return pipeline


def jobs_figures(job):
    """What of a job is worth keeping."""
    reports = job["reports"]
    kind, order = next(iter(job["job"]["order"].items()))
    return {
        "id": job["job"]["id"], "order": kind, "tasks": len(reports), "took_s": job["took_s"],
        "bytes_sent": job["bytes_sent"], "bytes_reported": job["bytes_reported"], "keys_sampled": sum(map(clusters.keys_of, reports)),
        "shuffled": job["job"]["buckets"] is not None, "keep": job["job"]["keep"], "writes_parts": order.get("writes_parts", False),
        "row_bytes": sum(report["bytes"] for report in reports),
    }


def rounded(seconds):
    return {kind: round(used, 1) for kind, used in sorted(seconds.items())}


def java():
    said = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr
    return said.splitlines()[0]


def job_table(result):
    documents = result["one_machine"]["sequential"][0]["stages"]["write"]["rows_out"]
    size = result["one_machine"]["sequential"][0]["bytes"] / 1e6
    lines = [f"{documents:,} documents ({size:,.0f} MB) from {3 * result['dumps']} gzipped files; {result['rounds']} rounds, medians.\n\n"]
    lines.append("| the donors job | wall s | engine ready s | jobs s | parent afterwards s | exchanged MB | parts MB |\n|---|---|---|---|---|---|---|\n")
    for name, runs in result["one_machine"].items():
        lines.append(f"| one machine, {name} | {median([run['wall_s'] for run in runs]):.1f} | | | | | |\n")
    for executors, found in result["clusters"].items():
        runs = found["runs"]
        jobs = median([sum(job["took_s"] for job in run["jobs"]) for run in runs])
        cells = [median([run[key] for run in runs]) for key in ("wall_s", "ready_s")] + [jobs, median([run["after_jobs_s"] for run in runs])]
        cells += [sum(job["row_bytes"] for job in runs[0]["jobs"] if job[of]) / 1e6 for of in ("keep", "writes_parts")]
        plural = "" if executors == 1 else "s"
        lines.append(f"| {executors} executor{plural} | {' | '.join(f'{cell:.1f}' for cell in cells)} |\n")
    return "".join(lines)


def shares_table(result):
    kinds = *TASKS_SIDE, *DRIVERS_SIDE, "parent"
    lines = ["| CPU s of the same runs | `etl task` | Python workers | executors' JVMs | driver | driver's JVM | parent | executors' CPU in `etl` | executors' time in `etl` |\n|---|---|---|---|---|---|---|---|---|\n"]
    for executors, found in result["clusters"].items():
        used = [median([run["cpu_s"].get(kind, 0) for run in found["runs"]]) for kind in kinds]
        share = used[0] / sum(used[:3])
        at_work = median([sum(stage["busy_s"] for stage in run["stages"].values()) / executors / sum(job["took_s"] for job in run["jobs"]) for run in found["runs"]])
        lines.append(f"| {executors} executor{'' if executors == 1 else 's'} | {' | '.join(f'{cell:.1f}' for cell in used)} | {share:.0%} | {at_work:.0%} |\n")
    return "".join(lines)


def tasks_table(result):
    lines = [f"| {ROWS_OF_ALL_FILES:,} small rows, {EXECUTORS_OF_TASKS} executors | tasks | job s | a further task, ms of an executor | CPU ms of it | CPU ms of the driver |\n|---|---|---|---|---|---|\n"]
    runs = result["tasks"]
    took = {name: median([run["jobs"][0]["took_s"] for run in of]) for name, of in runs.items()}
    of_tasks, of_driver = ({name: median([sum(run["cpu_s"].get(kind, 0) for kind in kinds) for run in of]) for name, of in runs.items()} for kinds in (TASKS_SIDE, DRIVERS_SIDE))
    first = next(iter(runs))
    for name, of in runs.items():
        more = of[0]["tasks"] - runs[first][0]["tasks"]
        slopes = ["", "", ""]
        if more > EXECUTORS_OF_TASKS:
            slopes = [f"{(found[name] - found[first]) / more * times * 1e3:.0f}" for found, times in ((took, EXECUTORS_OF_TASKS), (of_tasks, 1), (of_driver, 1))]
        lines.append(f"| {name} | {of[0]['tasks']} | {took[name]:.2f} | {' | '.join(slopes)} |\n")
    return "".join(lines)


if __name__ == "__main__":
    main()
