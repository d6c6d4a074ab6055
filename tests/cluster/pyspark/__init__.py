"""A stand-in for pyspark, with just what the driver script of `etl` uses: every data case runs through it within
milliseconds. It is as unkind as the real one may be: what comes out of a shuffle comes in any order, and every third
task is run once more, its first attempt thrown away. Where TASK_PROGRAM names a program, tasks run that one: a script
that makes them fail."""
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

FILES = {}
CURRENT = threading.local()
CORES = 3
FAILURES_MAX = 4
# The ends of tasks that were tried again.
FAILED = []


class SparkConf:
    def __init__(self):
        self.values = {}

    def setMaster(self, master):
        return self.set("master", master)

    def setAppName(self, name):
        return self.set("name", name)

    def set(self, key, value):
        self.values[key] = value
        return self


class SparkFiles:
    @staticmethod
    def get(name):
        return FILES[name]


class StorageLevel:
    DISK_ONLY = "disk"


class TaskContext:
    def __init__(self, stage, attempt, number):
        self.stage, self.attempt, self.number = stage, attempt, number

    @staticmethod
    def get():
        return CURRENT.context

    def stageId(self):
        return self.stage

    def attemptNumber(self):
        return self.attempt

    def taskAttemptId(self):
        return self.number


class AccumulatorParam:
    pass


class Accumulator:
    def __init__(self, value, param):
        self.value, self.param, self.lock = value, param, threading.Lock()

    def add(self, value):
        with self.lock:
            self.value = self.param.addInPlace(self.value, value)


class Broadcast:
    def __init__(self, value):
        self.value = value


class Tracker:
    def getActiveStageIds(self):
        return []

    def getStageInfo(self, stage):
        return None


class Java:
    """What the script asks Spark itself: there is one executor."""

    def sc(self):
        return self

    def listenerBus(self):
        return self

    def waitUntilEmpty(self):
        pass

    def statusStore(self):
        return self

    def executorList(self, active_only):
        executor = {"failedTasks": len(FAILED), "totalShuffleWrite": 0, "isActive": True}
        executor = SimpleNamespace(**{name: lambda value=value: value for name, value in executor.items()})
        return SimpleNamespace(size=lambda: 1, apply=lambda number: executor)


class Rdd:
    stages = 0

    def __init__(self, partitions, compute):
        self.partitions, self.compute, self.kept = partitions, compute, None
        Rdd.stages += 1
        self.stage = Rdd.stages

    def partition(self, index):
        """The items of a partition, as a list."""
        if self.kept is not None:
            return self.kept[index]
        return list(self.compute(index))

    def all(self):
        def work(index):
            again = (self.stage + index) % 3 == 0
            for attempt in range(FAILURES_MAX):
                CURRENT.context = TaskContext(self.stage, attempt, index * FAILURES_MAX + attempt)
                try:
                    items = self.partition(index)
                    if attempt > 0 or not again:
                        return items
                    FAILED.append("thrown away")
                except Exception as error:
                    FAILED.append(error)
            # As Spark passes it on.
            raise RuntimeError(f"PythonException: Traceback (most recent call last):\nRuntimeError: {FAILED[-1]}\n\tat spark")

        with ThreadPoolExecutor(CORES) as pool:
            return list(pool.map(work, range(self.partitions)))

    def mapPartitionsWithIndex(self, f):
        return Rdd(self.partitions, lambda index: f(index, iter(self.partition(index))))

    def mapPartitions(self, f):
        return self.mapPartitionsWithIndex(lambda _, items: f(items))

    def filter(self, f):
        return self.mapPartitions(lambda items: (item for item in items if f(item)))

    def map(self, f):
        return self.mapPartitions(lambda items: (f(item) for item in items))

    def partitionBy(self, buckets, f):
        shuffled = []
        lock = threading.Lock()

        def bucket(index):
            with lock:
                if not shuffled:
                    shuffled.extend([] for _ in range(buckets))
                    for items in self.all():
                        for item in items:
                            shuffled[f(item[0]) % buckets].append(item)
                    for items in shuffled:
                        random.shuffle(items)
            return iter(shuffled[index])

        return Rdd(buckets, bucket)

    def persist(self, level):
        unkept = Rdd(self.partitions, self.compute)
        lock = threading.Lock()
        kept = []

        def partition(index):
            with lock:
                if not kept:
                    kept.extend(unkept.all())
            return iter(kept[index])

        self.compute = partition
        return self

    def unpersist(self):
        return self

    def collect(self):
        return [item for items in self.all() for item in items]


class SparkContext:
    version = "stand-in"
    master = "local[3]"
    defaultParallelism = CORES
    _jsc = Java()

    def __init__(self, conf):
        pass

    def setLogLevel(self, level):
        pass

    def addFile(self, path):
        FILES[os.path.basename(path)] = os.environ.get("TASK_PROGRAM", path)

    def stop(self):
        pass

    def broadcast(self, value):
        return Broadcast(value)

    def accumulator(self, value, param):
        return Accumulator(value, param)

    def union(self, sides):
        parts = [(side, index) for side in sides for index in range(side.partitions)]
        return Rdd(len(parts), lambda index: parts[index][0].compute(parts[index][1]))

    def statusTracker(self):
        return Tracker()

    def parallelize(self, values, partitions):
        values = list(values)
        return Rdd(partitions, lambda index: iter(values[index : index + 1]))
