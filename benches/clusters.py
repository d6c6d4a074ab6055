"""A Spark cluster on this machine for `cluster.py`, `cluster_kills.py` and `cluster_scale.py`: it starts one, runs pipelines
on it, and tells what its processes use and what the driver is sent and sends.

As a program, `clusters.py LOG PYTHON ARGUMENT...` takes the place of the Python that runs the driver: it starts it, and
writes what passes between it and `etl`, with the time, to LOG.
"""
import argparse, glob, json, os, shutil, subprocess, sys, threading, time

import common
from checking import MARK

START = os.path.join(common.ROOT, "tests/cluster/start")
SPARK = os.path.join(common.TARGET, "tmp/spark")
CONF = {
    "spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "512m", "spark.executor.memory": "512m", "spark.ui.enabled": "false",
}
# What a process of a cluster run is, by a word of its command line; the first that fits.
KINDS = {
    "executor": "CoarseGrainedExecutorBackend", "worker": "deploy.worker.Worker", "master": "deploy.master.Master", "driver's JVM": "SparkSubmit",
    "Python worker": "pyspark.daemon", "driver": "cluster.py\0", "parent": "--cluster", "etl task": "etl\0task",
}
SAMPLE_EVERY_S = 0.05
TICKS = os.sysconf("SC_CLK_TCK")


def arguments(**defaults):
    """The command line of a script that starts a cluster."""
    found = argparse.ArgumentParser()
    found.add_argument("--spark", default=SPARK, help="the folder that has or gets pyspark")
    found.add_argument("--built", action="store_true", help="the release build is there")
    found.add_argument("--quick", action="store_true", help="little of everything, to try the script; nothing is written")
    for name, value in defaults.items():
        found.add_argument(f"--{name}", type=type(value), default=value)
    return found


def program(folder):
    """A copy without symbols, as it is installed: this is what travels to the cluster."""
    path = os.path.join(folder, "etl")
    shutil.copy(common.ETL, path)
    subprocess.run(["strip", path], check=True)
    return path


def make_dumps(folder, dumps, projects, seed=0):
    """Dumps of the Donor's Choice job, each with projects of its own, side by side: several files of each kind."""
    os.makedirs(folder)
    for number in range(dumps):
        one = os.path.join(folder, "one")
        common.make_dumps(one, projects, seed=seed + number + 1)
        for name in os.listdir(one):
            os.rename(os.path.join(one, name), os.path.join(folder, name.replace("000.gz", f"{number:03}.gz")))
        os.rmdir(one)


def pipeline(name):
    """The text of a pipeline of this repository; it reads all dumps of a folder, not one of each kind."""
    with open(os.path.join(common.ROOT, "pipelines", name)) as file:
        return file.read().replace("000.gz", "*.gz")


def write(path, text):
    with open(path, "w") as file:
        file.write(text)
    return path


class Cluster:
    """A master and workers of one core each, as long as the block lasts."""

    def __init__(self, spark, workers, memory="1g"):
        self.command = [sys.executable, START, spark, "--workers", str(workers), "--cores", "1", "--memory", memory]

    def __enter__(self):
        began = time.perf_counter()
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        words = self.process.stdout.readline().split()
        if words[:1] != ["READY"]:
            sys.exit("the cluster does not start")
        _, self.master, self.python = words
        self.start_s = time.perf_counter() - began
        return self

    def __exit__(self, *_):
        # It ends when its input closes.
        self.process.stdin.close()
        self.process.wait()

    def options(self, shared, mark, python=None, conf=()):
        """The options of `etl run` for this cluster. Executors and what they start are marked, as the run itself is."""
        conf = CONF | {f"spark.executorEnv.{MARK}": mark} | dict(conf)
        table = ", ".join(f'"{key}" = "{value}"' for key, value in conf.items())
        settings = {"folder": shared, "python": python or self.python, "conf": f"{{ {table} }}"}
        return ["--cluster", self.master] + [word for key, value in settings.items() for word in ("--set", f"cluster.{key}={value}")]

    def environment(self, mark):
        # Executors take the Python of the cluster, whatever stands before that of the driver.
        return {MARK: mark, "PYSPARK_PYTHON": self.python}


class Recorded:
    """A Python for the driver that writes down what passes between it and `etl`."""

    def __init__(self, folder, python):
        self.log, self.python = os.path.join(folder, "recorded.ndjson"), os.path.join(folder, "recording-python")
        with open(self.python, "w") as file:
            file.write(f'#!/bin/sh\nexec {sys.executable} {os.path.abspath(__file__)} {self.log} {python} "$@"\n')
        os.chmod(self.python, 0o755)

    def read(self):
        """Seconds until the engine was ready, and its jobs: the time of each, its command and the reports of its tasks."""
        with open(self.log) as file:
            lines = [json.loads(line) for line in file]
        os.remove(self.log)
        began, ready, jobs, versions = lines[0]["at"], None, [], ""
        for line in lines:
            said = line["said"]
            if "ready" in said:
                ready, versions = line["at"], {key: said["ready"][key] for key in ("spark", "python")}
            elif "job" in said:
                jobs.append({"job": said["job"], "began": line["at"], "bytes_sent": line["bytes"]})
            elif "reports" in said:
                reports = said["reports"]
                # One side of the driver's protocol wraps them.
                reports = reports["reports"] if isinstance(reports, dict) else reports
                jobs[-1].update(reports=reports, took_s=line["at"] - jobs[-1]["began"], ended=line["at"], bytes_reported=line["bytes"])
        return {"ready_s": ready - began, "began": began, "jobs": jobs, "versions": versions}


def record(log, command):
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    lock = threading.Lock()

    def note(line):
        with lock, open(log, "a") as file:
            file.write(json.dumps({"at": time.time(), "bytes": len(line), "said": json.loads(line)}) + "\n")

    def commands():
        for line in sys.stdin.buffer:
            note(line)
            child.stdin.write(line)
            child.stdin.flush()
        child.stdin.close()

    note(b"{}")
    threading.Thread(target=commands, daemon=True).start()
    for line in child.stdout:
        if line.startswith((b'{"ready"', b'{"reports"')):
            note(line)
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    sys.exit(child.wait())


def keys_of(report):
    """How many keys a task reports for borders between buckets."""
    return sum(len(sample["keys"] if isinstance(sample, dict) else sample) for sample in report["samples"])


def processes(mark):
    """The processes with a mark, each as what it is: pid, its parent's, what it is and the times it has used."""
    found, word = [], f"{MARK}={mark}".encode()
    for folder in glob.glob("/proc/[0-9]*"):
        try:
            with open(f"{folder}/environ", "rb") as file:
                if word not in file.read().split(b"\0"):
                    continue
            with open(f"{folder}/cmdline") as file:
                command = file.read()
            with open(f"{folder}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        kind = next((kind for kind, word in KINDS.items() if word in command), "other")
        # One that has ended and is not yet waited for is no process.
        if fields[0] != "Z":
            used, of_children = (sum(map(int, fields[at : at + 2])) / TICKS for at in (11, 13))
            found.append({"pid": int(folder.split("/")[2]), "parent": int(fields[1]), "kind": kind, "used_s": used, "of_children_s": of_children})
    return found


class Usage:
    """CPU seconds of a run by what used them, as long as the block lasts: looked at many times a second, because nobody waits
    for the executors. What an `etl task` has used is in the times of the Python worker that has waited for it."""

    def __init__(self, mark):
        self.mark, self.last, self.ended = mark, {}, threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def watch(self):
        while not self.ended.wait(SAMPLE_EVERY_S):
            for process in processes(self.mark):
                self.last[process["pid"]] = process

    def by_kind(self):
        used = {}
        for process in self.last.values():
            kind, parent = process["kind"], self.last.get(process["parent"])
            if kind in ("etl task", "other"):
                continue
            used[kind] = used.get(kind, 0) + process["used_s"]
            if kind == "Python worker" and parent and parent["kind"] == kind:
                used["etl task"] = used.get("etl task", 0) + process["of_children_s"]
        return used


if __name__ == "__main__":
    record(sys.argv[1], sys.argv[2:])
