"""What the scripts here share: building, dumps, timing a command, and the raw result they leave."""
import argparse, datetime, json, os, platform, statistics, subprocess, sys, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
ETL = os.path.join(TARGET, "release/etl")
NDJSON = os.path.join(ROOT, "pipelines/donors_ndjson.toml")


def build():
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet", "--bins", "--examples"], cwd=ROOT, check=True)


def peers_arguments(rounds, projects=60000):
    """The command line of a script that times us beside the peers: their folder, and a Python that has their packages."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("peers")
    arguments.add_argument("--python", default=sys.executable)
    arguments.add_argument("--projects", type=int, default=projects)
    arguments.add_argument("--rounds", type=int, default=rounds)
    return arguments


def example(name):
    return os.path.join(TARGET, "release/examples", name)


def make_dumps(folder, projects, seed=7):
    subprocess.run([example("generate_donors"), folder, "--projects", str(projects), "--seed", str(seed)], check=True, stdout=subprocess.DEVNULL)


def timed(command, env=None):
    """Wall and CPU seconds and peak memory of a command with all its children, and what it printed; also how
    many cores the host kept from this machine meanwhile: work that shares its caches takes more CPU time."""
    begin, stolen = time.perf_counter(), stolen_s()
    process = subprocess.Popen(command, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, text=True)
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit {process.returncode}\n{printed}")
    return {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024, "stolen_cores": (stolen_s() - stolen) / wall}, printed


def stolen_s():
    """Time that the host has given to others while something here was ready to run."""
    with open("/proc/stat") as file:
        return int(file.readline().split()[8]) / os.sysconf("SC_CLK_TCK")


def etl(options, dumps, out, folder, pipeline=NDJSON):
    """A run of the Donor's Choice job; with what the report says of it."""
    report = os.path.join(folder, "report.json")
    command = [ETL, "run", pipeline, "--quiet", "--report", report, "--state", os.path.join(folder, "state"), *options]
    measured, _ = timed(command, {"ETL_DATA": dumps, "ETL_OUT": out})
    with open(report) as file:
        report = json.load(file)
    # The report adds up the peaks of child processes, the system gives the largest one.
    measured["peak_mb"] = max(measured["peak_mb"], report["peak_rss_bytes"] / 2**20)
    keys = "wall_s", "busy_s", "cpu_s", "start_s", "open_s", "copy_s", "rows_out"
    measured["stages"] = {stage["name"]: {key: stage[key] for key in keys} for stage in report["stages"]}
    return measured


def median(values):
    return statistics.median(values)


def cpu_name():
    with open("/proc/cpuinfo") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")


def machine():
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) // 1024
    return {"cpu": cpu_name(), "cores": os.cpu_count(), "memory_mb": memory, "kernel": platform.release()}


def version():
    return subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def write_result(name, result):
    """The raw result, dated; its path."""
    today = datetime.date.today().isoformat()
    path = os.path.join(ROOT, "benches/runs", f"{today}-{name}.json")
    with open(path, "w") as file:
        json.dump({"date": today, "version": version(), "machine": machine(), **result}, file, indent=1)
        file.write("\n")
    print(f"written: {os.path.relpath(path, ROOT)}")
    return path


def write_table(name, text):
    """Puts a table into docs/benchmarks.md, between its marks."""
    path = os.path.join(ROOT, "docs/benchmarks.md")
    with open(path) as file:
        page = file.read()
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, rest = page.split(begin)
    _, after = rest.split(end)
    with open(path, "w") as file:
        file.write(before + begin + text + end + after)
