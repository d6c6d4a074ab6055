"""A stand-in for pyspark, with just what the driver script of `etl` uses: every data case runs through it within
milliseconds. It is as unkind as the real one may be: what comes out of a shuffle comes in any order, and every third
task is run once more, its first attempt thrown away."""
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor

FILES = {}
CURRENT = threading.local()
CORES = 3


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


class Broadcast:
    def __init__(self, value):
        self.value = value


class Tracker:
    def getActiveStageIds(self):
        return []

    def getStageInfo(self, stage):
        return None


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
            attempts = 2 if (self.stage + index) % 3 == 0 else 1
            for attempt in range(attempts):
                CURRENT.context = TaskContext(self.stage, attempt, index * 2 + attempt)
                items = self.partition(index)
            return items

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

    def __init__(self, conf):
        pass

    def setLogLevel(self, level):
        pass

    def addFile(self, path):
        FILES[os.path.basename(path)] = path

    def broadcast(self, value):
        return Broadcast(value)

    def union(self, sides):
        parts = [(side, index) for side in sides for index in range(side.partitions)]
        return Rdd(len(parts), lambda index: parts[index][0].compute(parts[index][1]))

    def statusTracker(self):
        return Tracker()

    def parallelize(self, values, partitions):
        values = list(values)
        return Rdd(partitions, lambda index: iter(values[index : index + 1]))
