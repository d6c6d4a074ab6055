#!/usr/bin/env python3
"""Work that waits: many items from a slow server, with `etl`, with Python's ThreadPoolExecutor and with Go's
net/http, in one go; and the four ways of asking for 7,500 instruments that LSEG's article compares.

usage: benches/fetch.py [--python PYTHON] [--items 10000] [--latency-ms 50] [--workers 64] [--rounds 3]
                        [--rows 7500] [--article-latency-ms 350] [--session-ms 2000]

PYTHON has `requests` (and so `urllib3`). The server is examples/mock_server, a new one for each run, on the
same machine: what it uses is not counted. The physical limit is items x latency / workers: no client can be
faster. Every tool writes the same file, and the files are compared.

The article (LSEG's DataProcessor: 7,500 instruments x 59 fields) took 103 s natively, 29 s with threads, 50 s
with 2 processes and 33 s with both: each child process pays for a session of its own. Here the same is asked
of the mock server: one request a batch, one session a process, each answer after the same wait.

Writes every figure with machine and versions to benches/runs/DATE-fetch.json, and the medians into docs/benchmarks.md.
"""
import argparse, json, os, re, subprocess, sys, tempfile

import common
from common import median

PIPELINE = """name = "fetch"

[[stage]]
name = "items"
kind = "load_csv"
files = ["items.csv"]

[[stage]]
name = "fetch"
kind = "fetch"
inputs = ["items"]
url = "{url}/items/{{id}}"
columns = ["value"]
types = {{ value = "int" }}
executor = "threads"
workers = {workers}

[[stage]]
name = "write"
kind = "write_files"
inputs = ["fetch"]
path = "{out}"
"""
ARTICLE = {"native": 103, "threads": 29, "processes": 50, "hybrid": 33}
HERE = os.path.join(common.ROOT, "benches/fetch")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--python", default=sys.executable)
    arguments.add_argument("--items", type=int, default=10000)
    arguments.add_argument("--latency-ms", type=float, default=50)
    arguments.add_argument("--workers", type=int, default=64)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--rows", type=int, default=7500)
    arguments.add_argument("--article-latency-ms", type=float, default=350)
    arguments.add_argument("--session-ms", type=float, default=2000)
    arguments.add_argument("--no-build", action="store_true")
    arguments = arguments.parse_args()
    if not arguments.no_build:
        common.build()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["go", "build", "-o", os.path.join(folder, "fetch_go"), "."], cwd=os.path.join(HERE, "go"), check=True)
        limit = arguments.items * arguments.latency_ms / 1e3 / arguments.workers
        result = {
            "what": "items from a slow server", "versions": versions(arguments), "limit_s": limit,
            **{key: value for key, value in vars(arguments).items() if key not in ("python", "no_build")},
        }
        result["runs"] = many(arguments, folder, limit)
        result["article"] = article(arguments, folder)
        common.write_result("fetch", result)
        common.write_table("fetch", many_table(result) + "\n" + article_table(result))


class Server:
    """The mock server, as long as the block lasts."""

    def __init__(self, *options):
        self.options = options

    def __enter__(self):
        command = [common.example("mock_server"), "--port", "0", *map(str, self.options)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = re.match(r"listening on (\S+)", self.process.stdout.readline())[1]
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def many(arguments, folder, limit):
    with open(os.path.join(folder, "items.csv"), "w") as file:
        file.write("id\n" + "".join(f"{number}\n" for number in range(1, arguments.items + 1)))
    halves = ["--set", "fetch.executor=hybrid", "--set", "fetch.processes=2", "--set", f"fetch.threads={arguments.workers // 2}"]
    tools = {
        f"etl, {arguments.workers} threads": ["etl"],
        f"etl, 2 processes x {arguments.workers // 2} threads": ["etl", *halves],
        f"Go net/http, {arguments.workers} goroutines": ["go"],
        f"Python requests, {arguments.workers} threads": ["python", "requests"],
        f"Python urllib3, {arguments.workers} threads": ["python", "urllib3"],
    }
    runs = {name: [] for name in tools}
    written = {}
    for round in range(arguments.rounds):
        names = list(tools)
        turn = round % len(names)
        for name in names[turn:] + names[:turn]:
            out = os.path.join(folder, "out.csv")
            with Server("--latency-ms", arguments.latency_ms) as server:
                measured = once(tools[name], arguments, folder, server.url, out)
            with open(out) as file:
                written[name] = file.read()
            measured["times_limit"] = measured["wall_s"] / limit
            measured["cores"] = measured["cpu_s"] / measured["wall_s"]
            runs[name].append(measured)
            print(f"round {round + 1}: {name:40} {measured['wall_s']:6.2f} s, {measured['times_limit']:.3f} x the limit, {measured['cores']:.2f} cores, {measured['peak_mb']:4.0f} MB, {measured['stolen_cores']:.2f} cores stolen", flush=True)
    if len(set(written.values())) != 1:
        sys.exit("the tools wrote different files")
    return runs


def once(words, arguments, folder, url, out):
    tool, *options = words
    counts = [url, str(arguments.items), str(arguments.workers), out]
    if tool == "go":
        return common.timed([os.path.join(folder, "fetch_go"), *counts])[0]
    if tool == "python":
        return common.timed([arguments.python, os.path.join(HERE, "pool.py"), *counts, *options])[0]
    pipeline = os.path.join(folder, "fetch.toml")
    with open(pipeline, "w") as file:
        file.write(PIPELINE.format(url=url, workers=arguments.workers, out=out))
    return common.etl(options, folder, out, folder, pipeline)


def article(arguments, folder):
    """The four ways, each with batches of several sizes."""
    with open(os.path.join(common.ROOT, "data/instruments.csv")) as file:
        lines = file.readlines()[: arguments.rows + 1]
    with open(os.path.join(folder, "instruments.csv"), "w") as file:
        file.writelines(lines)
    ways = {
        "native": ["--set", "prices.executor=sequential"],
        "threads": ["--set", "prices.executor=threads", "--set", "prices.workers=4"],
        "processes": ["--set", "prices.executor=processes", "--set", "prices.workers=2"],
        "hybrid": ["--set", "prices.executor=hybrid", "--set", "prices.processes=2", "--set", "prices.threads=2"],
    }
    pipeline = os.path.join(common.ROOT, "pipelines/instruments.toml")
    runs = {}
    for batch in (25, 100):
        for way, options in ways.items():
            with Server("--latency-ms", arguments.article_latency_ms, "--session-ms", arguments.session_ms) as server:
                os.environ["ETL_URL"] = server.url
                measured = common.etl([*options, "--set", f"prices.batch={batch}"], folder, os.path.join(folder, "prices.csv"), folder, pipeline)
            with open(os.path.join(folder, "report.json")) as file:
                stage = next(stage for stage in json.load(file)["stages"] if stage["name"] == "prices")
            measured["waited_s"] = stage["busy_s"] - stage["cpu_s"] - stage["queued_s"]
            measured["sessions"], measured["open_s"], measured["batch"] = stage["sessions"], stage["open_s"], batch
            runs.setdefault(way, []).append(measured)
            print(f"article: {way:10} batch {batch:4} {measured['wall_s']:6.2f} s, {measured['sessions']} sessions took {measured['open_s']:.2f} s to open", flush=True)
    return runs


def versions(arguments):
    script = "import platform, requests, urllib3; print(platform.python_version(), requests.__version__, urllib3.__version__)"
    python = subprocess.run([arguments.python, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    go = subprocess.run(["go", "version"], check=True, capture_output=True, text=True).stdout.split()[2]
    return dict(zip(("python", "requests", "urllib3"), python)) | {"go": go}


def many_table(result):
    middle = lambda name, key: median([run[key] for run in result["runs"][name]])
    lines = [f"| {result['items']:,} items at {result['latency_ms']:g} ms, {result['workers']} at once | times the limit ({result['limit_s']:.2f} s) | cores used | peak MB |\n|---|---|---|---|\n"]
    for name in sorted(result["runs"], key=lambda name: middle(name, "wall_s")):
        lines.append(f"| {name} | {middle(name, 'times_limit'):.2f} | {middle(name, 'cores'):.2f} | {middle(name, 'peak_mb'):.0f} |\n")
    return "".join(lines)


def article_table(result):
    batches = [run["batch"] for run in result["article"]["native"]]
    head = " | ".join(f"batch {batch}, s" for batch in batches)
    lines = [f"| {result['rows']:,} instruments x 59 fields | {head} | sessions | to open them, s | in the article, s |\n|---|{'---|' * len(batches)}---|---|---|\n"]
    for way, runs in result["article"].items():
        walls = " | ".join(f"{run['wall_s']:.1f}" for run in runs)
        lines.append(f"| {way} | {walls} | {runs[0]['sessions']} | {runs[0]['open_s']:.1f} | {ARTICLE[way]} |\n")
    return "".join(lines)


if __name__ == "__main__":
    main()
