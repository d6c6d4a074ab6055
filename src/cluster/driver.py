"""Runs the tasks of one `etl run` on a Spark cluster.

`etl` starts this script on the machine where it runs itself, writes one command a line to its standard input and reads
one event a line from its standard output, both JSON. Rows never come here: a task hands opaque frames to an `etl task`
beside it, Spark moves what comes back, keeps it on its disks, and tries again what died. When standard input ends, so
does everything.

Commands: {"start": {...}} once, then {"job": {...}} and {"release": id}, and {"end": true}.
Events: {"ready": {...}}, {"progress": {...}}, {"reports": {...}}, {"ended": {...}}, and where it cannot go on
{"task_failed": {...}}, {"no_executor": seconds} or {"failed": "..."}.

A frame is two lengths (payload and header, 8 bytes each, little-endian), the payload, and a header in JSON.
"""
import itertools
import json
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback

LENGTHS = "<QQ"
# The side of what the job itself gives a task.
GIVEN = -1
# Seconds between two looks at a job.
PROGRESS_EVERY = 0.5
# Of what a task says so many lines are kept, each so long at most.
SAID = 20
SAID_BYTES = 1000
# Before the description of a failed task, in an error that Spark passes on as text.
TASK_FAILED = "etl task failed: "


def run_task(index, items, order, program, shuffled, sums):
    """One task: an `etl task` is given the order and the frames of `items`, and what it gives is passed on.

    An item is (bucket, (ordinal, payload)); the last one is (None, report). What comes out of a shuffle comes in any
    order and is sorted by its ordinal: the side it is of, the task that gave it, and its number there. What the job
    itself gives a task comes first. What a report says of the work is added to `sums`.
    """
    from pyspark import SparkFiles, TaskContext

    context = TaskContext.get()
    attempt = f"{context.stageId()}-{context.attemptNumber()}-{context.taskAttemptId()}"
    said, failed = [], []

    def failure(code):
        where = {"task": index, "tries": context.attemptNumber() + 1, "host": socket.gethostname()}
        return RuntimeError(TASK_FAILED + json.dumps({**where, "code": code, "said": said}))

    path = SparkFiles.get(program)
    try:
        child = subprocess.Popen([path, "task"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        said.append(f"`{path}` cannot be started: {error.strerror}")
        raise failure(None) from None

    def listen():
        for line in child.stderr:
            said[:] = said[1 - SAID :] + [line[:SAID_BYTES].decode(errors="replace").rstrip()]

    def send(header, payload=b""):
        child.stdin.write(struct.pack(LENGTHS, len(payload), len(header)))
        child.stdin.write(payload)
        child.stdin.write(header)

    def feed():
        try:
            send(order)
            send(json.dumps({"task": index, "attempt": attempt}).encode())
            frames = (value for bucket, value in items if bucket is not None)
            for ordinal, payload in sorted(frames, key=lambda value: value[0]) if shuffled else frames:
                send(json.dumps({"side": ordinal[0]}).encode(), payload)
            send(b'{"end":true}')
            child.stdin.flush()
        except BrokenPipeError:
            pass  # the child has ended: its report or its last words say why
        except BaseException as error:
            failed.append(error)
            child.kill()

    def read(length):
        data = child.stdout.read(length)
        if len(data) < length:
            child.kill()
            code = child.wait()
            listener.join(5)
            raise failed[0] if failed else failure(code)
        return data

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    number = 0
    try:
        while True:
            rows, length = struct.unpack(LENGTHS, read(struct.calcsize(LENGTHS)))
            payload, header = read(rows), json.loads(read(length))
            if "report" in header:
                break
            yield header["bucket"], ((0, index, number), payload)
            number += 1
        feeder.join()
        if failed:
            raise failed[0]
        try:
            child.stdin.close()
        except BrokenPipeError:
            pass  # it has reported before it had read all
        child.wait()
        sums.add(header["report"]["sums"])
        yield None, json.dumps(header["report"])
    finally:
        child.kill()
        child.wait()


class Driver:
    """A Spark application, and the results of jobs that later ones read."""

    def __init__(self, start):
        from pyspark import SparkConf, SparkContext

        conf = SparkConf().setMaster(start["master"]).setAppName(start["name"])
        conf.set("spark.ui.showConsoleProgress", "false")
        for key, value in start["conf"].items():
            conf.set(key, value)
        self.context = SparkContext(conf=conf)
        self.context.setLogLevel("WARN")
        self.context.addFile(start["program"])
        self.program = os.path.basename(start["program"])
        self.executors_wait = start["executors_wait_s"]
        self.kept = {}
        ready = {
            "spark": self.context.version,
            "python": sys.version.split()[0],
            "parallelism": self.context.defaultParallelism,
        }
        emit({"ready": ready})

    def run(self, job):
        """Runs a job, and emits the reports of its tasks in their order."""
        self.sums = sums(self.context)
        items = self.items(job)
        if job["keep"]:
            from pyspark import StorageLevel

            items = items.persist(StorageLevel.DISK_ONLY)
            self.kept[job["id"]] = items
        ended = threading.Event()
        watcher = threading.Thread(target=self.watch, args=(ended,), daemon=True)
        watcher.start()
        try:
            reports = items.filter(lambda item: item[0] is None).map(lambda item: item[1]).collect()
        finally:
            ended.set()
            watcher.join()
        emit({"reports": {"reports": [json.loads(report) for report in reports], "sums": self.sums.value}})

    def items(self, job):
        """What the tasks of a job give."""
        buckets = job["buckets"]
        sides = [self.side(number, side, buckets) for number, side in enumerate(job["sides"])]
        if job["given"] or not sides:
            items = [(task, ((GIVEN, task, 0), json.dumps(value).encode())) for task, value in job["given"]]
            sides.insert(0, self.context.parallelize(items, len(items) or job["tasks"]))
        # The tasks of one side after those of the other.
        items = sides[0] if len(sides) == 1 else self.context.union(sides)
        if buckets is not None:
            items = items.partitionBy(buckets, lambda bucket: bucket)
        return self.tasks(items, job["order"], buckets is not None)

    def side(self, number, side, buckets):
        """Frames that a job reads: as they are, or each in its bucket: that of the task that gave it, or its own."""
        items = self.kept[side["from"]]
        if buckets is None:
            return items
        if side["divide"] is not None:
            items = self.tasks(items, side["divide"], False)

        def tagged(index, part):
            for bucket, value in part:
                if bucket is not None:
                    (_, task, at), payload = value
                    yield (index if side["by_task"] else bucket), ((number, task, at), payload)

        return items.mapPartitionsWithIndex(tagged)

    def tasks(self, items, order, shuffled):
        order, program, sums = self.context.broadcast(json.dumps(order).encode()), self.program, self.sums
        return items.mapPartitionsWithIndex(
            lambda index, part: run_task(index, part, order.value, program, shuffled, sums)
        )

    def watch(self, ended):
        """Says how many tasks of the job are done, while it runs. A job that no executor works for is ended."""
        tracker, since = self.context.statusTracker(), 0.0
        while not ended.wait(PROGRESS_EVERY):
            stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
            stages = [stage for stage in stages if stage is not None]
            done, tasks = sum(s.numCompletedTasks for s in stages), sum(s.numTasks for s in stages)
            executors = self.executors()
            progress = {"done": done, "tasks": tasks, "executors": executors, "sums": self.sums.value}
            emit({"progress": progress})
            since = 0.0 if executors else since + PROGRESS_EVERY
            if since >= self.executors_wait:
                emit({"no_executor": self.executors_wait})
                self.context.cancelAllJobs()
                return

    def executors(self):
        """How many processes work for this application."""
        if self.context.master.startswith("local["):
            return 1
        # The driver is one of them.
        return len(self.context._jsc.sc().statusTracker().getExecutorInfos()) - 1

    def release(self, job):
        self.kept.pop(job).unpersist()

    def end(self):
        """Ends the application, and says what Spark knows of it: how often a task failed, what was exchanged, which
        executors were lost."""
        spark = self.context._jsc.sc()
        try:
            # What listeners have not seen yet is not counted.
            spark.listenerBus().waitUntilEmpty()
            executors = spark.statusStore().executorList(False)
            executors = [executors.apply(number) for number in range(executors.size())]
            known = {
                "failed_tasks": sum(executor.failedTasks() for executor in executors),
                "exchanged_bytes": sum(executor.totalShuffleWrite() for executor in executors),
                "lost_executors": sum(not executor.isActive() for executor in executors),
            }
        except Exception:
            # Another Spark may lack one of these.
            traceback.print_exc()
            known = {}
        self.context.stop()
        emit({"ended": known})


def sums(context):
    """Numbers that tasks add to, each to the one of its place."""
    from pyspark import AccumulatorParam

    class Sums(AccumulatorParam):
        def zero(self, value):
            return []

        def addInPlace(self, ours, theirs):
            return [one + other for one, other in itertools.zip_longest(ours, theirs, fillvalue=0)]

    return context.accumulator([], Sums())


LOCK = threading.Lock()


def emit(event):
    with LOCK:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()


def commands():
    """The commands; the end of standard input ends the process, whatever it does at that moment, and its Java, which sees that
    end only when it has started. `etl` has given them a process group of their own."""
    waiting = queue.Queue()

    def listen():
        for line in sys.stdin:
            waiting.put(json.loads(line))
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        yield waiting.get()


def main():
    driver = None
    try:
        for command in commands():
            if "start" in command:
                driver = Driver(command["start"])
            elif "job" in command:
                driver.run(command["job"])
            elif "release" in command:
                driver.release(command["release"])
            else:
                return driver.end()
    except BaseException as error:
        traceback.print_exc()
        emit(failed(f"{type(error).__name__}: {error}"))
        sys.exit(1)


def failed(text):
    """The event for an error: that of a task says which one it was."""
    at = text.find(TASK_FAILED)
    if at < 0:
        return {"failed": text}
    return {"task_failed": json.JSONDecoder().raw_decode(text, at + len(TASK_FAILED))[0]}


if __name__ == "__main__":
    main()
