#!/usr/bin/env python3
"""What limits a cluster of 100 machines that reads 10 TB: a calculation from what was measured.

usage: benches/cluster_scale.py [--projects 3000] [--dumps 8] [--built] [--quick]

It does three things. It measures what a calculation needs and one machine can show (`measured`): what a core reads and
renders, what the parent reads, writes and compresses, how many bytes an order and a report have, and what a frame costs on
its way through Python. The tasks then run on the stand-in for Spark of the tests (tests/cluster/pyspark): there is no Spark in
these numbers. What a real Spark costs it takes from the newest benches/runs/*-cluster.json. All other inputs are in `GIVEN`,
each with where it is from. Change one there, and run the script again.

The job is that of the Donor's Choice pipelines: rows of many gzipped files, a `group_concat` by key, a join with a broadcast
right side, documents rendered and written. It is calculated for few large files and for many small ones, into one file and
into a server, and for an `aggregate` of the rows as they are read; before and after the changes that `CHANGES` names.

Writes every input and every phase to benches/runs/DATE-cluster_scale.json, and what limits into docs/benchmarks.md.
"""
import glob, gzip, json, math, os, pickle, struct, subprocess, sys, tempfile, time

import clusters, common
from clusters import Recorded

MB, GB, TB = 1e6, 1e9, 1e12
# Each with its source.
GIVEN = {
    "machines": (100, "the question"),
    "cores_a_machine": (16, "the question"),
    "memory_a_core": (4 * GB, "assumed: 64 GB a machine"),
    "input_bytes": (10 * TB, "the question"),
    "inflates": (5, "assumed, for CSV as people have it: a byte of .gz is so many of text"),
    "inflating": (0.35, "docs/benchmarks.md, loading: 0.18 s of 0.52 s"),
    "network": (1.25 * GB, "10 Gbit/s a machine"),
    "disk": (0.5 * GB, "assumed: one SSD a machine, read or written"),
    "disk_bytes": (2 * TB, "assumed"),
    "object_store": (1.25 * GB, "assumed: each machine's network is the limit, not the store"),
    "nfs": (1.25 * GB, "assumed: one server for all machines, with 10 Gbit/s"),
    "shuffle_slow": (65 * MB, "the prototype: opaque bytes through Spark's shuffle, a core"),
    "shuffle_fast": (420 * MB, "the same, at best"),
    "nfs_opens": (20_000, "assumed: files that one NFS server opens a second"),
    "order_bytes_a_file_before": (234, "measured at 118c3c6: every order names all files"),
    "etl_task_s_a_file_before": (2.4e-4, "measured at 118c3c6: 10,000 files on a local disk take each task 2.4 s"),
    "start_s": (20, "docs/cluster.md: 10 to 20 s"),
    "result_max": (1 * GB, "Spark's default of spark.driver.maxResultSize (1 GiB)"),
    "bucket_bytes": (128 << 20, "BUCKET_BYTES of src/run/clustered"),
    "task_files_bytes": (64 << 20, "TASK_FILES_BYTES of src/run/clustered/files.rs"),
    "frame_bytes_full": (256 << 10, "FRAME_BYTES of src/cluster/task/shuffle.rs"),
    "frames_waiting_bytes": (64 << 20, "WAITING_BYTES of the same"),
    "sample_keys": (1 << 18, "SAMPLE_KEYS of src/cluster/task/ranges.rs"),
    "broadcast_max": (256 * MB, "the default of `broadcast_max`"),
    "open_rate": (0.5 * GB, "assumed: a task reads the right side from the page cache and hashes it"),
    "files_max": (1 << 20, "FILES_MAX of src/batch: a file's number has 20 bits"),
    "files_max_before": (1 << 16, "the same at 118c3c6, with 16 bits"),
    "server_documents_a_node": (6000, "docs/benchmarks.md, bulk loads: 5,200 to 6,700 documents/s, one node on 2 cores"),
    "server_nodes": (20, "assumed"),
    "server_cores_more": (8, "assumed: a node of 16 cores does 8 times what one on 2 cores does"),
    "parent_documents": (125_000, "docs/benchmarks.md, bulk loads: one machine with 2 cores, a server that throws them away"),
    "parent_cores_more": (8, "assumed: the parent is a machine of 16 cores"),
}
CHANGES = {
    "own_files": "a task begins its loader on its own files alone, in place of all files",
    "sends": "tasks send documents to a server themselves, in place of the parent",
    "numbers": "a file's number has 20 bits in place of 16",
    "gathers": "rows wait for others of their bucket until they are a frame worth its cost, in place of a frame for each batch and bucket",
    "samples": "all tasks of a job sample 262,144 keys, in place of 2,048 each",
}
# How many files, and whether they are gzipped.
FILES = {"10,000 `.csv.gz` of 1 GB": (10_000, True), "1,000,000 `.csv.gz` of 10 MB": (1_000_000, True), "100 `.csv` of 100 GB": (100, False)}
SUMMARY, FILE, GZIPPED, SERVER = TARGETS = "a small `aggregate`", "one `.ndjson`", "one `.ndjson.gz`", "a server"
GROUPS = """name = "groups"

[[stage]]
name = "rows"
kind = "load_csv"
files = ["{folder}/*.csv"]

[[stage]]
name = "groups"
kind = "group_concat"
inputs = ["rows"]
by = ["a"]

[[stage]]
name = "write"
kind = "write_files"
inputs = ["groups"]
path = "{out}"
"""
# In place of a driver: it is ready at once, and keeps the first job that it is sent.
DRIVER = """#!{python}
import json, sys
sys.stdin.readline()
print(json.dumps({{"ready": {{"spark": "", "python": "", "parallelism": {tasks}}}}}), flush=True)
with open("{path}", "w") as file:
    file.write(sys.stdin.readline())
"""
# So many phases of each case stand in the table.
SHOWN = 2
# So many files, and the best of so many tasks.
SIZES, ROUNDS = (10, 1_000, 10_000), 3
# A row of as many columns as a resource has.
SMALL = "a,b,c,d,e,f,g,h\n1,2,3,4,5,6,7,8\n"
SOURCES = "projects", "resources", "donations"


def main():
    arguments = clusters.arguments(projects=3000, dumps=8).parse_args()
    if not arguments.built:
        common.build()
    if arguments.quick:
        arguments.projects, arguments.dumps = 200, 2
    with tempfile.TemporaryDirectory(prefix="etl-cluster-scale-") as folder:
        measured = Bench(arguments, folder).measured()
    measured |= of_spark()
    inputs = {name: value for name, (value, _) in GIVEN.items()} | measured
    cases = []
    for files, (number, gzipped) in FILES.items():
        for target in TARGETS:
            for after in (False, True):
                phases = calculated(inputs, number, gzipped, target, after)
                cases.append({"files": files, "target": target, "changed": after, "phases": phases, "all_s": sum(phase["s"] for phase in phases)})
    result = {
        "what": "100 machines and 10 TB, calculated", "changes": CHANGES, "given": {name: {"value": value, "from": source} for name, (value, source) in GIVEN.items()},
        "measured": measured, "cases": cases, "bounds": bounds(inputs),
    }
    text = table(cases) + "\n" + bounds_table(result["bounds"])
    print(text)
    if not arguments.quick:
        common.write_result("cluster_scale", result)
        common.write_table("cluster-scale", text)


class Bench:
    """What one machine shows: runs of the job without a cluster, and on the stand-in for Spark."""

    def __init__(self, arguments, folder):
        self.folder, self.dumps, self.shared = folder, os.path.join(folder, "dumps"), os.path.join(folder, "shared")
        os.mkdir(self.shared)
        clusters.make_dumps(self.dumps, arguments.dumps, arguments.projects)
        common.ETL = clusters.program(folder)

        self.compressed = sum(map(os.path.getsize, self.files("*")))
        self.text = sum(inflated(path) for path in self.files("*"))

    def files(self, stage):
        return glob.glob(f"{self.dumps}/opendata_{stage}*.gz")

    def measured(self):
        return self.rates() | self.exchange() | self.parent() | self.sizes() | {"frame_s": frame_s()}

    def write(self, name, text):
        return clusters.write(os.path.join(self.folder, name), text)

    def alone(self, text, out="out.ndjson"):
        """A sequential run: what it took, and the size of its file."""
        out = os.path.join(self.folder, out)
        best = min((common.etl(["--sequential"], self.dumps, out, self.folder, self.write("alone.toml", text)) for _ in range(3)), key=lambda run: run["wall_s"])
        best["bytes"] = os.path.getsize(out)
        os.remove(out)
        return best

    def stood_in(self, text, out="out.ndjson"):
        """A run on the stand-in for Spark: its jobs, and how long the parent took when they had ended."""
        out = os.path.join(self.folder, out)
        recorded = Recorded(self.folder, sys.executable)
        stand_in = {"PYTHONPATH": os.path.join(common.ROOT, "tests/cluster"), "PYTHONDONTWRITEBYTECODE": "1"}
        os.environ.update(stand_in)
        options = ["--sequential", "--cluster", "local[2]", "--set", f"cluster.folder={self.shared}", "--set", f"cluster.python={recorded.python}"]
        began = time.time()
        measured = common.etl(options, self.dumps, out, self.folder, self.write("on.toml", text))
        for name in stand_in:
            del os.environ[name]
        jobs = recorded.read()["jobs"]
        measured |= {"after_s": began + measured["wall_s"] - jobs[-1]["ended"], "bytes": os.path.getsize(out)}
        os.remove(out)
        return measured, jobs

    def rates(self):
        """What a core reads, and what it does in all, in bytes of inflated text a second; and what becomes of a byte."""
        run = self.alone(clusters.pipeline("donors_ndjson.toml"))
        reads = sum(run["stages"][name]["busy_s"] for name in SOURCES)
        return {
            "dumps_inflate": self.text / self.compressed, "documents_of_text": run["bytes"] / self.text, "document_bytes": run["bytes"] / run["stages"]["write"]["rows_out"],
            "row_bytes": self.text / sum(run["stages"][name]["rows_out"] for name in SOURCES), "read_rate": self.text / reads, "whole_rate": self.text / run["wall_s"],
        }

    def exchange(self):
        """Bytes of the frames that the job exchanges, by bytes of its input; and of orders and reports."""
        _, jobs = self.stood_in(clusters.pipeline("donors_ndjson.toml"))
        gave = {job["job"]["id"]: sum(report["bytes"] for report in job["reports"]) for job in jobs}
        moved = sum(gave[side["from"]] for job in jobs if job["job"]["buckets"] for side in job["job"]["sides"])
        sources = {side["from"] for job in jobs if job["job"]["buckets"] for side in job["job"]["sides"]}
        divided = [report for job in jobs if job["job"]["id"] in sources for report in job["reports"]]
        reports = [report for job in jobs for report in job["reports"]]
        sampled = max(reports, key=clusters.keys_of)
        return {
            "exchanged_of_text": moved / self.text, "batch_rows": sum(report["metrics"][-1]["rows_out"] for report in divided) / sum(report["batches"] for report in divided), "keys_sampled": clusters.keys_of(sampled), "report_bytes_sampled": len(json.dumps(sampled)),
            "report_bytes": common.median([len(json.dumps(report | {"samples": []})) for report in reports]), "order_bytes": max(job["bytes_sent"] for job in jobs),
        }

    def parent(self):
        """What the parent makes of the tasks' parts: bytes of documents a second, before they are compressed."""
        stages = clusters.pipeline("donors_ndjson.toml").replace("\nformat = \"ndjson\"", "")
        rates = {}
        documents = self.stood_in(stages)[0]["bytes"]
        for name, out in (("parent_rate", "out.ndjson"), ("parent_gz_rate", "out.ndjson.gz"), ("parent_zst_rate", "out.ndjson.zst")):
            after = min(self.stood_in(stages, out)[0]["after_s"] for _ in range(3))
            rates[name] = documents / after
        return rates

    def sizes(self):
        """What a further file costs every task, in its order and in time: pipelines that differ by files. Each file has one row: what
        its frame has beside the row's own bytes is what a frame costs."""
        orders, took, frames = {}, {}, []
        for files in SIZES:
            folder = os.path.join(self.folder, f"files-{files}")
            os.mkdir(folder)
            for number in range(files):
                clusters.write(os.path.join(folder, f"rows-of-a-day-{number:07}.csv"), SMALL)
            job = self.first_job(GROUPS.format(folder=folder, out=os.path.join(self.folder, "out.ndjson")), files)
            orders[files] = len(json.dumps(job["order"]))
            tasks = [alone(job, min(number, files - 1)) for number in range(ROUNDS)]
            took[files] = min(seconds for seconds, _ in tasks)
            frames += [report["bytes"] for _, report in tasks]
            print(f"{files:6} files: {orders[files]:,} bytes of order, {took[files] * 1e3:.1f} ms in each `etl task`", flush=True)
        few, many = SIZES[0], SIZES[-1]
        return {
            "order_bytes_a_file": (orders[many] - orders[few]) / (many - few), "etl_task_s": took[few],
            "etl_task_s_a_file": max((took[many] - took[few]) / (many - few), 0), "frame_bytes": common.median(frames) - len(SMALL) / 2,
        }

    def first_job(self, text, tasks):
        """The first job of a pipeline whose every file is a task, as the driver is sent it. It is not run."""
        path = os.path.join(self.folder, "job.json")
        driver = clusters.write(os.path.join(self.folder, "driver"), DRIVER.format(python=sys.executable, tasks=tasks, path=path))
        os.chmod(driver, 0o755)
        command = [common.ETL, "run", self.write("on.toml", text), "--quiet", "--sequential", "--state", os.path.join(self.folder, "state"), "--cluster", "local[2]"]
        subprocess.run([*command, "--set", f"cluster.folder={self.shared}", "--set", f"cluster.python={driver}"], capture_output=True)
        with open(path) as file:
            job = json.load(file)["job"]
        # It went with the run.
        os.makedirs(job["order"]["run"]["folder"])
        return job


def alone(job, number):
    """A task of a job by itself, without an engine: its seconds and its report."""
    send = lambda header, payload=b"": struct.pack("<QQ", len(payload), len(header)) + payload + header
    sent = send(json.dumps(job["order"]).encode()) + send(json.dumps({"task": number, "attempt": "1"}).encode())
    sent += b"".join(send(b'{"side":-1}', json.dumps(given).encode()) for task, given in job.get("given", ()) if task == number)
    began = time.perf_counter()
    with subprocess.Popen([common.ETL, "task"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as task:
        task.stdin.write(sent + send(b'{"end":true}'))
        task.stdin.flush()
        report = None
        while report is None:
            payload, header = struct.unpack("<QQ", task.stdout.read(16))
            task.stdout.read(payload)
            report = json.loads(task.stdout.read(header)).get("report")
        task.stdin.close()
        task.wait()
    if report["fault"]:
        sys.exit(f"a task failed: {report['fault']}")
    return time.perf_counter() - began, report


def inflated(path):
    with gzip.open(path) as file:
        return sum(map(len, iter(lambda: file.read(1 << 20), b"")))


def frame_s():
    """What Python does for a frame beside moving its bytes: the header is written and read, the item pickled and unpickled, twice
    on its way through a shuffle."""
    frames = 20_000
    began = time.perf_counter()
    for number in range(frames):
        header = json.dumps({"side": 0}).encode()
        item = (json.loads(b'{"bucket":17}')["bucket"], ((0, 3, number), bytes(256)))
        for _ in range(2):
            item = pickle.loads(pickle.dumps(item))
        len(header)
    return (time.perf_counter() - began) / frames


def of_spark():
    """What a task costs, from the newest measurement on a real Spark."""
    runs = sorted(glob.glob(os.path.join(common.ROOT, "benches/runs/*-cluster.json")))
    if not runs:
        sys.exit("there is no benches/runs/*-cluster.json: run benches/cluster.py first")
    with open(runs[-1]) as file:
        tasks = json.load(file)["tasks"]

    def middle(name, of):
        return common.median([of(run) for run in tasks[name]])

    few, many, more = "10 files, a task each", "200 files, a task each", "1000 files, a task each"
    driver = lambda run: sum(run["cpu_s"].get(kind, 0) for kind in ("driver", "driver's JVM"))
    # Two executors of one core each.
    task = (middle(many, lambda run: run["jobs"][0]["took_s"]) - middle(few, lambda run: run["jobs"][0]["took_s"])) / 190 * 2
    return {"spark_measured_in": os.path.basename(runs[-1]), "task_s": task, "driver_s_a_task": (middle(more, driver) - middle(many, driver)) / 800}


def calculated(i, files, gzipped, target, after):
    """The phases of a run. Each takes as long as what limits it, of all that it needs."""
    cores, machines = i["machines"] * i["cores_a_machine"], i["machines"]
    text = i["input_bytes"] * (i["inflates"] if gzipped else 1)
    together = max(1, int(i["task_files_bytes"] // (i["input_bytes"] / files)))
    tasks, looked_at = math.ceil(files / together), together if after else files
    a_file, order_a_file = (i[f"{name}{'' if after else '_before'}"] for name in ("etl_task_s_a_file", "order_bytes_a_file"))
    read_rate = i["read_rate"] if gzipped else i["read_rate"] / (1 - i["inflating"])
    width = min(tasks, cores)
    phases = []

    def phase(name, needs):
        limit = max(needs, key=needs.get)
        phases.append({"phase": name, "s": needs[limit], "limit": limit, "needs": needs})

    phase("start", {"Spark": i["start_s"]})
    needs = {"cores": tasks * (i["task_s"] + a_file * looked_at) / cores, "one driver": tasks * i["driver_s_a_task"]}
    needs |= {"files opened on one NFS server": tasks * looked_at / i["nfs_opens"], "orders to all machines": files * order_a_file / i["network"] * math.log2(machines)}
    phase(f"begin {tasks:,} tasks", needs)
    # The last ones work while other cores have nothing left to do.
    waves = math.ceil(tasks / cores)
    needs = {f"{width:,} cores": waves * text / tasks / read_rate}
    needs["network"] = i["input_bytes"] / machines / i["object_store"]
    phase("read", needs)
    if target == SUMMARY:
        return phases
    exchanged, buckets = exchange(i, text)
    rows = exchanged / i["row_bytes"]
    frames = min(rows / i["batch_rows"] * buckets, rows)
    if after:
        # A task gives its full frames, and all that it has each time that too much waits.
        given = exchanged / tasks
        gathered = max(given / i["frame_bytes_full"], math.ceil(given / i["frames_waiting_bytes"]) * min(buckets, rows / tasks))
        frames = min(frames, tasks * gathered)
    moved = exchanged + frames * i["frame_bytes"]
    needs = {"Spark's shuffle": moved / i["shuffle_slow"] / cores, "network": moved / machines / i["network"]}
    # Kept, shuffled: each is written and read.
    needs |= {"disks": 4 * moved / machines / i["disk"], "frames through Python": frames * i["frame_s"] / cores}
    phase(f"exchange {exchanged / TB:.0f} TB of rows in {moved / TB:.0f} TB of frames", needs)
    right = i["broadcast_max"]
    phase("open the join in each task", {"cores": tasks * right / i["open_rate"] / width, "one NFS server": machines * right / i["nfs"]})
    documents_bytes = text * i["documents_of_text"]
    needs = {f"{width:,} cores": text * (1 / i["whole_rate"] - 1 / i["read_rate"]) / width}
    if target != SERVER or not after:
        needs["parts to one NFS server"] = documents_bytes / i["nfs"]
    phase(f"render {documents_bytes / TB:.0f} TB", needs)
    if target != SERVER:
        rate = i["parent_gz_rate" if target == GZIPPED else "parent_rate"]
        phase("write", {"the parent": documents_bytes / rate, "the parent's network": 2 * documents_bytes / i["network"]})
        return phases
    documents = documents_bytes / i["document_bytes"]
    needs = {"the server": documents / (i["server_nodes"] * i["server_cores_more"] * i["server_documents_a_node"])}
    if after:
        needs["the server's network"] = documents_bytes / i["server_nodes"] / i["network"]
    else:
        needs |= {"the parent": documents / (i["parent_documents"] * i["parent_cores_more"]), "the parent's network": 2 * documents_bytes / i["network"]}
    phase("load", needs)
    return phases


def exchange(i, text):
    """Bytes that are exchanged, and in how many buckets."""
    exchanged = text * i["exchanged_of_text"]
    return exchanged, math.ceil(exchanged / i["bucket_bytes"])


def bounds(i):
    """What does not take time but may not fit: what of a run has to go through one process, and its limit."""
    found = []
    for name, (files, gzipped) in FILES.items():
        together = max(1, int(i["task_files_bytes"] // (i["input_bytes"] / files)))
        tasks = math.ceil(files / together)
        exchanged, buckets = exchange(i, i["input_bytes"] * (i["inflates"] if gzipped else 1))
        a_key = (i["report_bytes_sampled"] - i["report_bytes"]) / max(i["keys_sampled"], 1)
        rows = [
            ("files of a run, before", files, i["files_max_before"], ""),
            ("files of a run, after", files, i["files_max"], ""),
            ("reports of a job", tasks * i["report_bytes"], i["result_max"], "B"),
            ("the same with the keys that are sampled, before", tasks * (i["report_bytes"] + 2048 * a_key), i["result_max"], "B"),
            ("the same, after", tasks * (i["report_bytes"] + sampled(i, tasks) * a_key), i["result_max"], "B"),
            ("an order that names all files, in each task, before", files * i["order_bytes_a_file_before"], i["memory_a_core"] / 16, "B"),
            ("a bit for each block of the shuffle, in the driver", tasks * buckets / 8, i["result_max"], "B"),
            ("buckets, beside the keys that were sampled", buckets, tasks * sampled(i, tasks), ""),
            ("a bucket in a task's memory, four times", 4 * i["bucket_bytes"], i["memory_a_core"], "B"),
            ("exchanged rows on the disks of a machine, kept and shuffled", 2 * exchanged / i["machines"], i["disk_bytes"], "B"),
        ]
        found += [{"files": name, "what": what, "needs": needs, "has": has, "unit": unit, "fits": needs <= has} for what, needs, has, unit in rows]
    return found


def sampled(i, tasks):
    """How many keys a task samples, of so many tasks."""
    return min(max(i["sample_keys"] // tasks, 16), 2048)


def table(cases):
    lines = ["| 10 TB, 1,600 cores | into | before | limits | after | limits |\n|---|---|---|---|---|---|\n"]
    for before, after in zip(cases[::2], cases[1::2]):
        cells = [cell for case in (before, after) for cell in (hours(case["all_s"]), limits(case))]
        lines.append(f"| {before['files']} | {before['target']} | {' | '.join(cells)} |\n")
    return "".join(lines)


def limits(case):
    """The phases that take longest."""
    long = sorted(case["phases"], key=lambda phase: -phase["s"])[:SHOWN]
    return "; ".join(f"{phase['phase']} {hours(phase['s'])} ({phase['limit']})" for phase in long)


def bounds_table(found):
    lines = ["| what must fit (bold: it does not) | " + " | ".join(FILES) + " |\n|---|" + "---|" * len(FILES) + "\n"]
    each = len(found) // len(FILES)
    for row in zip(*(found[at : at + each] for at in range(0, len(found), each))):
        mark = lambda one: "" if one["fits"] else "**"
        cells = [f"{mark(one)}{amount(one['needs'], one['unit'])}{mark(one)} of {amount(one['has'], one['unit'])}" for one in row]
        lines.append(f"| {row[0]['what']} | {' | '.join(cells)} |\n")
    return "".join(lines)


def hours(seconds):
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def amount(value, unit):
    for size, letter in ((TB, "T"), (GB, "G"), (MB, "M"), (1e3, "k")):
        if unit and value >= size:
            return f"{value / size:,.1f} {letter}{unit}"
    return f"{value:,.0f}{f' {unit}' if unit else ''}"


if __name__ == "__main__":
    main()
