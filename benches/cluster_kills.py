#!/usr/bin/env python3
"""Kills while a Spark cluster runs a pipeline: whatever dies, nothing may be lost, doubled or left behind.

usage: benches/cluster_kills.py [--spark DIR] [--kills 30] [--seed 1] [--number N] [--built] [--quick]

DIR has pyspark or gets it (as tests/cluster/start says). Each check starts a run of the Donor's Choice job on a master and
two workers of this machine: into four files of four formats, or into a real server (tests/search-server). At a random
moment one process of it gets `kill -9`:

  executor, etl task, Python worker   Spark does their work again: the run must end right
  worker                              the executor goes with it; the other worker does its work: the run must end right
  driver                              the script, its JVM or both: the run must fail, and leave the target as it was, or end right
  parent                              `etl run` itself, at any moment or when it publishes

Then the target is the old or the new one, whole; within 10 s no process of the run is left; the next run (for a server
`--resume`) on the cluster ends right; and in the shared folder and in the folder of temporary files nothing is left. What is
expected comes from a sequential run on one machine: files byte for byte, a server's documents by id and value.

`--seed` makes the same checks again, although a moment is never quite the same; `--number` makes one of them. A check that
fails keeps its folder; the exit code is then 1. Writes benches/runs/DATE-cluster_kills.json and the table in
docs/benchmarks.md, but not with `--number` or `--quick`.
"""
import argparse, collections, contextlib, glob, os, platform, random, shutil, signal, subprocess, sys, tempfile, time, traceback

import campaign, checking, clusters, common
from checking import Check, Stuck
from clusters import Cluster, processes
from targets import Server, Target, digest

VICTIMS = "executor", "etl task", "Python worker", "driver", "parent", "worker"
WORKERS = 2
# Three dumps with so many projects each: before, and in the runs that are disturbed.
DUMPS, PROJECTS, PROJECTS_BEFORE = 3, 400, 100
FILES = "documents.ndjson.gz", "projects.csv", "grouped.arrow", "projects.parquet"
SINK = """
[[stage]]
name = "write_{number}"
kind = "write_files"
inputs = ["{stage}"]
path = "${{ETL_OUT}}/{file}"
"""
POLL_S = 0.005
TRIES = 6
# How the ends of a disturbed run are called.
ENDS = {"right": "ended right", "failed": "failed, target as before", "published": "killed, target new", "unchanged": "killed, target as before"}


def main():
    arguments = clusters.arguments(kills=30, seed=1)
    arguments.add_argument("--number", type=int)
    arguments = arguments.parse_args()
    if not arguments.built:
        common.build()
    if arguments.quick:
        arguments.kills = len(VICTIMS)
    # As the issue of a cluster has it; on one machine it is half of that.
    checking.CHILDREN_LIMIT_S = 10
    folder = tempfile.mkdtemp(prefix="etl-cluster-kills-")
    common.ETL = clusters.program(folder)
    with contextlib.ExitStack() as stack:
        kills = Kills(arguments, folder, stack)
        kills.run()
    if not kills.kept:
        shutil.rmtree(folder)
    sys.exit(1 if kills.faults else 0)


class Kills(campaign.Campaign):
    """The checks, and the cluster that they share until one of its workers is killed."""

    def __init__(self, arguments, folder, stack):
        super().__init__(argparse.Namespace(only=None, **vars(arguments)), folder, stack)
        self.cluster, self.clusters, self.checks = None, contextlib.ExitStack(), []
        self.pipelines = os.path.join(folder, "pipelines")
        os.mkdir(self.pipelines)
        shutil.copy(os.path.join(common.ROOT, "pipelines/donors_mapping.json"), self.pipelines)
        clusters.write(os.path.join(self.pipelines, "server.toml"), clusters.pipeline("donors.toml"))
        clusters.write(os.path.join(self.pipelines, "files.toml"), files_pipeline())

    def run(self):
        begin = time.monotonic()
        numbers = range(self.arguments.kills) if self.arguments.number is None else [self.arguments.number]
        with self.clusters:
            for number in numbers:
                self.check(number)
        self.wall_s = time.monotonic() - begin
        print(self.table())
        for fault in self.faults:
            print(f"{fault['case']}\n  {fault['kind']}: {fault['what']}")
        if self.arguments.number is None and not self.arguments.quick:
            common.write_result("cluster_kills", self.result())
            common.write_table("cluster-kills", self.table())

    def check(self, number):
        check = Check(self, "kill", number)
        check.random = random.Random(f"{self.arguments.seed}/{number}")
        check.victim, check.ended = VICTIMS[number % len(VICTIMS)], None
        began = time.monotonic()
        try:
            killed(check)
        except Stuck as stuck:
            check.fault("other", str(stuck))
        except Exception as error:
            with open(os.path.join(check.folder, "check.txt"), "w") as file:
                traceback.print_exc(file=file)
            check.fault("other", f"the check itself failed: {error!r}")
        finally:
            check.end()
            if check.victim == "worker":
                self.end_cluster()
        self.checks.append({"number": number, "victim": check.victim, "case": check.case, "ended": check.ended, "took_s": round(time.monotonic() - began, 1), **{name: check.counts[name] for name in ("runs", "kills", "lost", "doubled", "left", "other")}})
        print(f"{number:3} {check.case}: {ENDS.get(check.ended, 'no kill')}{''.join(f'; {kind}: {what}' for kind, what in check.failed)}", flush=True)
        for kind, what in check.failed:
            self.faults.append({"number": number, "kind": kind, "what": check.anonymous(what), "case": check.case})
        if check.failed:
            self.kept.append(check.folder)
            print(f"    kept: {check.folder}", flush=True)
        else:
            check.remove()

    def of_cluster(self):
        if self.cluster is None:
            self.cluster = self.clusters.enter_context(Cluster(self.arguments.spark, WORKERS))
        return self.cluster

    def end_cluster(self):
        self.cluster = None
        self.clusters.close()

    def dump(self, size, which):
        folder = os.path.join(self.folder, f"dump-{which}")
        if not os.path.isdir(folder):
            projects = PROJECTS if which else PROJECTS_BEFORE
            clusters.make_dumps(folder, DUMPS, projects, seed=(self.arguments.seed * 10 + which) * DUMPS)
        return folder

    def expected(self, which):
        """The folder of the files that a sequential run on one machine writes."""
        path = os.path.join(self.folder, f"expected-{which}")
        if not os.path.isdir(path):
            os.mkdir(path)
            environment = {**os.environ, "ETL_DATA": self.dump("", which), "ETL_OUT": path}
            command = [common.ETL, "run", os.path.join(self.pipelines, "files.toml"), "--quiet", "--sequential", "--state", os.path.join(self.folder, "state")]
            subprocess.run(command, env=environment, check=True, timeout=checking.RUN_LIMIT_S)
        return path

    def file(self, size, which, name=FILES[0]):
        return os.path.join(self.expected(which), name)

    def duration(self, check, target):
        """What a run of this kind took that nothing disturbed: in all, and until its engine had ended."""
        if type(target) not in self.durations:
            probe = target.another()
            run = check.start(probe, "sequential")
            of_engine = engine_ends(check, run)
            if run.wait():
                raise Stuck(f"a run that nothing disturbed: {run.error()}")
            self.durations[type(target)] = time.monotonic() - run.began, of_engine
            check.same(probe.new(), probe.read(), "after a run that nothing disturbed")
            probe.remove()
        return self.durations[type(target)]

    def counted(self):
        """For each victim how many runs ended how, and what was wrong."""
        table = {victim: collections.Counter() for victim in VICTIMS}
        for check in self.checks:
            table[check["victim"]].update({name: check[name] for name in ("runs", "kills", "lost", "doubled", "left", "other")})
            table[check["victim"]][check["ended"]] += 1
        return table

    def table(self):
        names = "kills", *ENDS, "lost", "doubled", "left", "other"
        table = self.counted()
        table["all"] = sum(table.values(), collections.Counter())
        head = "victim", "kills", *ENDS.values(), "lost", "doubled", "left behind", "other faults"
        lines = [f"| {' | '.join(head)} |\n|{'---|' * len(head)}\n"]
        for victim, counts in table.items():
            lines.append(f"| {victim} | {' | '.join(str(counts[name]) for name in names)} |\n")
        return "".join(lines)

    def result(self):
        names = {"left": "left_behind", "other": "other_faults"}
        keys = "kills", "runs", *ENDS, "lost", "doubled", "left", "other"
        return {
            "what": "kills while a Spark cluster runs a pipeline", "seed": self.arguments.seed,
            "versions": {"python": platform.python_version(), **({"opensearch": self.server.call("GET", "/")["version"]["number"]} if self.server else {})},
            "wall_s": round(self.wall_s, 1),
            "victims": {victim: {names.get(key, key): counts[key] for key in keys} for victim, counts in self.counted().items()},
            "machine_stood_still_s": round(self.standstill.total_s, 1), "faults": self.faults, "checks": self.checks,
        }


def files_pipeline():
    """The job into a file of each format; its groups are exchanged, its joins get their right sides by broadcast or by asking."""
    text = clusters.pipeline("donors_ndjson.toml").replace("${ETL_OUT:-../out/donors.ndjson}", "${ETL_OUT}/" + FILES[0])
    sinks = zip(("projects", "grouped", "projects"), FILES[1:])
    return text + "".join(SINK.format(number=number, stage=stage, file=file) for number, (stage, file) in enumerate(sinks))


class Clustered(Target):
    """A target whose runs go to the cluster."""

    def of_cluster(self):
        """The options of a run on the cluster."""
        check = self.check
        options = check.campaign.of_cluster().options(shared_folder(check), check.folder)
        return [*options, "--set", f"cluster.broadcast_max={self.broadcast_max}"]

    def environment(self, which):
        # Where the driver has its files: Java knows no TMPDIR.
        own = {"SPARK_LOCAL_DIRS": os.path.join(self.check.folder, "tmp"), "PYSPARK_PYTHON": self.check.campaign.of_cluster().python}
        return {**super().environment(which), **own}


class Files(Clustered):
    """Four files. Each is the old or the new one, whole; all of them are one or the other unless it was published meanwhile."""

    def __init__(self, check, old_there):
        super().__init__(check, old_there)
        self.pipeline = os.path.join(check.campaign.pipelines, "files.toml")
        self.path = os.path.join(check.folder, self.name)

    def key(self):
        return "files", self.broadcast_max

    def another(self):
        return made(self.check, Files(self.check, self.old_there), self.broadcast_max)

    def options(self):
        return self.of_cluster()

    def environment(self, which):
        return {**super().environment(which), "ETL_OUT": self.path}

    def reset(self):
        self.remove()
        os.mkdir(self.path)
        if self.old_there:
            shutil.copytree(self.check.campaign.expected(0), self.path, dirs_exist_ok=True)

    def old(self):
        return digests(self.check.campaign.expected(0)) if self.old_there else collections.Counter()

    def new(self, which=1):
        return digests(self.check.campaign.expected(which))

    def read(self):
        return digests(self.path)

    def left(self):
        return sorted(set(os.listdir(self.path)) - set(FILES))

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


class Documents(Clustered, Server):
    """Documents in a server."""

    on_cluster = True

    def __init__(self, check, load, old_there):
        super().__init__(check, load, old_there)
        self.pipeline = os.path.join(check.campaign.pipelines, "server.toml")
        self.may_be_there = load == "create"

    def key(self):
        return "server", self.load, self.old_there, self.broadcast_max

    def another(self):
        return made(self.check, Documents(self.check, self.load, self.old_there), self.broadcast_max)

    def options(self, load=None):
        return super().options(load) + (self.of_cluster() if self.on_cluster else [])

    def reset(self):
        # What is there before needs no cluster.
        self.on_cluster = False
        super().reset()
        self.on_cluster = True


def made(check, target, broadcast_max):
    target.broadcast_max = broadcast_max
    return target.prepare()


def digests(folder):
    names = [name for name in FILES if os.path.exists(os.path.join(folder, name))]
    return collections.Counter({(name, digest(os.path.join(folder, name))): 1 for name in names})


def shared_folder(check):
    folder = os.path.join(check.folder, "shared")
    os.makedirs(folder, exist_ok=True)
    return folder


def killed(check):
    """One process is killed, and all is looked at."""
    # Each victim meets every target, one after the other.
    turn = check.number // len(VICTIMS)
    broadcast_max = ("256MB", "0")[turn // 2 % 2]
    if turn % 2 == 0:
        target = Files(check, check.random.random() < 0.5)
    else:
        load, old_there = (("replace", True), ("append", True), ("create", False), ("replace", False))[(turn // 2 + check.number) % 4]
        target = Documents(check, load, old_there)
    made(check, target, broadcast_max)
    run, moment = kill(check, target)
    check.case = ", ".join(map(str, (check.victim, *target.key(), moment)))
    if run is None:
        return
    code = run.wait()
    check.no_children()
    check.ended = ended(check, target, run, code)
    if check.ended == "right":
        check.same(target.new(), target.read(), "after the run")
    elif isinstance(target, Documents):
        check.resume(target)
        check.same(target.new(), target.read(), "after `--resume`")
    else:
        check.succeed(target, executor="sequential")
        check.same(target.new(), target.read(), "after the next run")
    check.no_children()
    left = target.left()
    if left:
        check.fault("left", f"in the end: {', '.join(left)}", len(left))
    nothing_left(check)


def nothing_left(check):
    """Nothing of any run is in the shared folder, and nothing of Spark's in any folder."""
    left = os.listdir(shared_folder(check))
    for pattern in ("blockmgr-*", "spark-*"):
        left += glob.glob(f"**/{pattern}", root_dir=check.folder, recursive=True, include_hidden=True)
    if left:
        check.fault("left", f"in the shared folder or of Spark: {', '.join(left)}", len(left))


def ended(check, target, run, code):
    """How a disturbed run ended, as a word of `ENDS`; what must not be is a fault."""
    if code == 0:
        return "right"
    is_parent = check.victim == "parent"
    if not is_parent and check.victim != "driver":
        check.fault("other", f"the run has to end right: {run.error()}")
    if not is_parent and "error:" not in run.said():
        check.fault("other", f"exit {code} without a message")
    found, old, new = target.read(), target.old(), target.new()
    if found == new and is_parent:
        return "published"
    if isinstance(target, Documents) and target.load != "replace" and is_partly(found, old, new):
        # What goes into an index that serves is there as it comes.
        return "unchanged" if is_parent else "failed"
    if isinstance(target, Files) and is_parent and found and found != old and not found - old - new:
        # It was killed between the first and the last of the files that it publishes.
        return "published"
    if found != old:
        check.same(old or new, found, f"after exit {code}: neither the old nor the new one")
    return "unchanged" if is_parent else "failed"


def is_partly(found, old, new):
    """Documents that came in part: each is the old or the new one, and none that was there is gone."""
    ids = {id for id, _ in found or ()}
    return not (found or collections.Counter()) - (old or collections.Counter()) - new and {id for id, _ in old or ()} <= ids


def kill(check, target):
    """Starts a run, and kills the victim at a random moment; a run that ends before is no kill, and the next one is tried."""
    takes, of_engine = check.campaign.duration(check, target)
    publishing = check.victim == "parent" and check.random.random() < 0.5
    for _ in range(TRIES):
        # There are no executors at first, and none when the engine has ended.
        first, last = {"parent": (0.05 * takes, takes), "driver": (0.05 * takes, of_engine)}.get(check.victim, (0.3 * of_engine, 0.95 * of_engine))
        moment = check.random.uniform(first, last)
        run = check.start(target, "sequential")
        if publishing:
            moment = engine_ends(check, run) + check.random.uniform(0, takes - of_engine)
        if run.ends_within(moment) or not send(check, run):
            if run.wait() != 0 and not (target.may_be_there and "there already" in run.said()):
                check.fault("other", f"a run that nothing disturbed: {run.error()}")
                return None, "undisturbed"
            target.reset()
            # The machine does other things, too: others take as long as the last one.
            last_s = time.monotonic() - run.began
            if last_s < moment:
                takes, of_engine = last_s, of_engine * last_s / takes
            continue
        check.counts["kills"] += 1
        return run, "publishing" if publishing else f"after {moment / takes:.0%}"
    return None, "never in time"


def engine_ends(check, run):
    """Waits until the engine of a run has ended: seconds since the run began."""
    wait_for(run, lambda: processes_of(check, "driver"))
    wait_for(run, lambda: not processes_of(check, "driver"))
    return time.monotonic() - run.began


def send(check, run):
    """Kills a victim as soon as there is one; whether there was one before the run ended."""
    victims = wait_for(run, lambda: processes_of(check, check.victim))
    if not victims:
        return False
    if check.victim == "driver":
        script, jvm = victims, processes_of(check, "driver's JVM")
        victims = check.random.choice((script, jvm, script + jvm)) or script
    else:
        victims = [check.random.choice(victims)]
    killed = False
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed = True
    return killed


def wait_for(run, look):
    """What `look` finds, or nothing if the run has ended."""
    while not (found := look()) and not run.ends_within(time.monotonic() - run.began + POLL_S):
        pass
    return found


def processes_of(check, kind):
    if kind == "worker":
        return [pid for pid in children(check.campaign.of_cluster().process.pid) if "deploy.worker.Worker" in command(pid)]
    return [process["pid"] for process in processes(check.folder) if process["kind"] == kind]


def children(of):
    found = []
    for path in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError), open(path) as file:
            if int(file.read().rsplit(")", 1)[1].split()[1]) == of:
                found.append(int(path.split("/")[2]))
    return found


def command(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as file:
        return file.read()
    return ""


if __name__ == "__main__":
    main()
