#!/usr/bin/env python3
"""Kills, signals, faults and runs at once: whatever happens, nothing may be lost, doubled or left behind.

usage: benches/campaign.py [--kills 300] [--minutes 60] [--seed 1] [--only PART [--number N]] [--folder DIR] [--built]

Every check starts from an old target (or none), lets something happen to a run of the Donor's Choice job at a
random moment, and then looks: the target is the old or the new one, whole; no process is left; the next run (for a
server `--resume`) succeeds and gives exactly the expected documents; nothing of a run lies beside the target. What is
expected comes from an undisturbed sequential run into a file. The parts:

  files, local   `kill -9` of runs into a file (new, replaced; plain, gzip), into a local index (create, replace, append)
  server         `kill -9` of loads into a real server (tests/search-server), then `--resume`, or a new run and `rollback --clean`
  workers        `kill -9` of worker processes: the run replaces them and succeeds
  faults         a proxy before the server refuses, delays, cuts, loses and repeats; the run itself has to succeed
  chaos          a proxy that delays, cuts and resets connections anywhere; `--resume` until the load has ended
  signals        SIGTERM or SIGINT: the exit code within a second, and nothing left
  races          two or three runs at once into one file, local index or alias: some win, the others say so
  beside         `report --keep 0`, `rollback --clean` and `search` while runs are at work
  foreign        files of others beside the target stay, whatever happens to runs

All executors take turns. `--seed` makes the same checks again, although a moment is never quite the same. `--kills` is how many
kills the first three parts share; the others are scaled with it. `--minutes` ends the campaign early. A check that
fails keeps its folder and prints the command that repeats it; the exit code is then 1. A whole campaign writes
benches/runs/DATE-campaign.json and the table in docs/benchmarks.md, one with `--only` writes nothing.
"""
import argparse, collections, contextlib, os, platform, re, shutil, signal, subprocess, sys, tempfile, time, traceback

import bulk, common, faulty
from checking import EXECUTORS, RUN_LIMIT_S, Check, Standstill, Stuck, marked_processes
from targets import FOREIGN, File, Local, Server, Target, documents_of_file, merged

# Projects of the dumps: with these a run takes some 0.3 to 1 s. `tiny` ones make many races a second.
DUMPS = {"file": (3000, 1200), "local": (700, 400), "server": (300, 160), "tiny": (60, 40)}
# How the checks of a campaign with 300 kills are divided.
SHARES = {"files": 120, "local": 90, "server": 90, "workers": 24, "faults": 24, "chaos": 16, "signals": 60, "races": 60, "beside": 18, "foreign": 20}
SIGNAL_LIMIT_S = 1
RESUMES_MAX = 40
# By which a local index is locked.
LOCK = ".tantivy-writer.lock"
BUSY = re.compile(r"another run|other run|being written|there already|still running|another load|another index|others? .*began|meanwhile")


def main():
    arguments = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n")[0])
    arguments.add_argument("--kills", type=int, default=300)
    arguments.add_argument("--minutes", type=float, default=60)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--only", choices=SHARES, action="append")
    arguments.add_argument("--number", type=int)
    arguments.add_argument("--folder", default="/dev/shm" if os.path.isdir("/dev/shm") else None)
    arguments.add_argument("--built", action="store_true", help="the release build is there")
    arguments = arguments.parse_args()
    if not arguments.built:
        common.build()
    folder = tempfile.mkdtemp(prefix="etl-campaign-", dir=arguments.folder)
    with contextlib.ExitStack() as stack:
        campaign = Campaign(arguments, folder, stack)
        campaign.run()
    if not campaign.kept:
        shutil.rmtree(folder)
    sys.exit(1 if campaign.faults else 0)


class Campaign:
    def __init__(self, arguments, folder, stack):
        self.arguments, self.folder, self.stack = arguments, folder, stack
        self.parts = {part: collections.Counter() for part in arguments.only or SHARES}
        self.faults, self.kept, self.slowest_signal_s = [], [], 0.0
        self.durations, self.files, self.proxied = {}, {}, collections.Counter()
        self.server, self.standstill = None, Standstill()

    def run(self):
        begin = time.monotonic()
        for number, part in self.plan():
            if time.monotonic() - begin > self.arguments.minutes * 60:
                print(f"{self.arguments.minutes:g} minutes are over")
                break
            self.check(part, number)
        self.wall_s = time.monotonic() - begin
        print(self.table())
        for fault in self.faults:
            print(f"{fault['repeat']}\n  {fault['kind']}: {fault['what']}")
        if not self.arguments.only:
            common.write_table("campaign", self.table() + "\n")
            common.write_result("campaign", self.result())

    def plan(self):
        """The checks, those of each part evenly spread, so that a campaign that ends early has some of each."""
        if self.arguments.number is not None:
            return [(self.arguments.number, part) for part in self.parts]
        counts = {part: max(1, round(SHARES[part] * self.arguments.kills / 300)) for part in self.parts}
        checks = [((number + 0.5) / count, number, part) for part, count in counts.items() for number in range(count)]
        return [(number, part) for _, number, part in sorted(checks)]

    def check(self, part, number):
        check = Check(self, part, number)
        try:
            PARTS[part](check)
        except Stuck as stuck:
            check.fault("other", str(stuck))
        except Exception as error:
            with open(os.path.join(check.folder, "check.txt"), "w") as file:
                traceback.print_exc(file=file)
            check.fault("other", f"the check itself failed: {error!r}")
        finally:
            check.end()
        counts = self.parts[part]
        counts.update(check.counts)
        counts["checks"] += 1
        if check.failed:
            self.kept.append(check.folder)
            for kind, what in check.failed:
                self.faults.append({"part": part, "kind": kind, "what": check.anonymous(what), "case": check.case, "repeat": check.repeat()})
            print(f"FAILED {part} {number} ({check.case}): {check.failed[0][1]}\n  kept: {check.folder}\n  repeat: {check.repeat()}", flush=True)
        else:
            check.remove()

    def dump(self, size, which):
        """A folder of dumps: `which` 0 is what was loaded before, 1 and up what comes after."""
        folder = os.path.join(self.folder, f"dump-{size}-{which}")
        if not os.path.isdir(folder):
            common.make_dumps(folder, DUMPS[size][0 if which else 1], seed=self.arguments.seed * 10 + which)
        return folder

    def file(self, size, which, name="out.ndjson"):
        """What a sequential run writes of a dump, undisturbed."""
        path = os.path.join(self.folder, f"expected-{size}-{which}-{name}")
        if not os.path.exists(path):
            environment = {**os.environ, "ETL_DATA": self.dump(size, which), "ETL_OUT": path}
            command = [common.ETL, "run", common.NDJSON, "--quiet", "--sequential", "--state", os.path.join(self.folder, "state")]
            subprocess.run(command, env=environment, check=True, timeout=RUN_LIMIT_S)
        return path

    def documents(self, size, which):
        if (size, which) not in self.files:
            self.files[size, which] = documents_of_file(self.file(size, which))
        return self.files[size, which]

    def url(self):
        if self.server is None:
            self.server = self.stack.enter_context(bulk.real("opensearch"))
        return self.server.url

    def table(self):
        lines = ["| part | checks | runs | kills | lost | doubled | left behind | other faults |", "|---|---|---|---|---|---|---|---|"]
        total = sum(self.parts.values(), collections.Counter())
        for part, counts in [*self.parts.items(), ("all", total)]:
            cells = [counts[name] for name in ("checks", "runs", "kills", "lost", "doubled", "left", "other")]
            lines.append(f"| {part} | {' | '.join(map(str, cells))} |")
        return "\n".join(lines)

    def result(self):
        names = {"left": "left_behind", "other": "other_faults"}
        keys = "checks", "runs", "kills", "signals", "lost", "doubled", "left", "other"
        return {
            "what": "kills, signals, faults and runs at once",
            "seed": self.arguments.seed,
            "versions": {"python": platform.python_version(), **({"opensearch": self.server.call("GET", "/")["version"]["number"]} if self.server else {})},
            "wall_s": round(self.wall_s, 1),
            "parts": {part: {names.get(key, key): counts[key] for key in keys} for part, counts in self.parts.items()},
            "slowest_exit_after_signal_s": round(self.slowest_signal_s, 3),
            "machine_stood_still_s": round(self.standstill.total_s, 1),
            "faults_of_proxies": dict(sorted(self.proxied.items())),
            "faults": self.faults,
        }


def case(check, target, executor, *more):
    check.case = ", ".join(str(word) for word in (*target.key(), executor, *more))


def killed_file(check):
    compressed, old_there = check.turn([(False, True), (False, False), (True, True), (True, False)])
    killed(check, File(check, old_there, compressed).prepare())


def killed_local(check):
    killed(check, Local(check, check.turn(["replace", "append", "create"])).prepare())


def killed(check, target):
    """Some kills; after each the old or the new one is there, and the next run does it."""
    executor = list(EXECUTORS)[check.number // 4 % 4]
    case(check, target, executor, "replaced" if target.old_there else "new")
    for _ in range(check.random.choice((1, 1, 1, 2, 3))):
        check.kill(target, executor)
        check.no_children()
        check.old_or_new(target, "after the kill")
        executor = check.executor()
    check.succeed(target, allowed=["there already"] if target.may_be_there else [])
    check.same(target.new(), target.read(), "after the next run")
    check.nothing_left(target, "after the next run")


def killed_server(check):
    load, old_there = check.turn([("replace", True), ("replace", False), ("create", False), ("append", False)])
    target = Server(check, load, old_there).prepare()
    executor = list(EXECUTORS)[check.number // 4 % 4]
    anew = load == "replace" and check.random.random() < 0.3
    case(check, target, executor, "anew" if anew else "--resume", "replaced" if old_there else "new")
    if not check.kill(target, executor):
        return
    check.no_children()
    if load == "replace":
        check.old_or_new(target, "after the kill")
    if anew:
        check.succeed(target)
        target.clean()
    else:
        # What goes on is killed, too, now and then.
        for _ in range(check.random.randrange(3)):
            executor = check.executor()
            moment = check.moment(target, executor)
            run = check.start(target, executor, "--resume")
            if run.ends_within(moment):
                break
            run.send(signal.SIGKILL)
            check.counts["kills"] += run.wait() == -signal.SIGKILL
        check.resume(target)
    check.same(target.new(), target.read(), "after `--resume`" if not anew else "after the next run")
    check.nothing_left(target, "in the end")


def workers(check):
    """One or two workers are killed; the run replaces them."""
    target = check.turn([lambda: File(check, True, False), lambda: Local(check, "replace"), lambda: Server(check, "append")])().prepare()
    executor = check.random.choice(("processes", "hybrid"))
    case(check, target, executor)
    takes = check.duration(target, executor)
    run = check.start(target, executor)
    for _ in range(check.random.choice((1, 2))):
        while not (alive := marked_processes(check.folder, but=run.process.pid)) and not run.ends_within(0):
            time.sleep(0.005)
        if run.ends_within(time.monotonic() - run.began + check.random.uniform(0, takes / 2)):
            break
        # Those that are there now.
        alive = marked_processes(check.folder, but=run.process.pid) or alive
        with contextlib.suppress(ProcessLookupError):
            os.kill(check.random.choice(alive), signal.SIGKILL)
            check.counts["kills"] += 1
    if run.wait():
        check.fault("other", f"after workers were killed: {run.error()}")
    check.same(target.new(), target.read(), "after the run")
    check.nothing_left(target, "after the run")


def faults(check):
    """The server refuses, delays, cuts, loses and repeats: the run itself has to succeed."""
    executor = check.turn(EXECUTORS)
    load = check.turn(["replace", "replace", "append", "create", "append"])
    with faulty.Faulty(check.campaign.url(), check.random, share=check.random.uniform(0.1, 0.5)) as proxy:
        target = Server(check, load, url=proxy.url).prepare()
        case(check, target, executor)
        target.more = ["--set", "index.retries=60"]
        check.succeed(target, executor=executor)
        check.campaign.proxied.update(proxy.done)
    time.sleep(0.05)
    check.same(target.new(), target.read(), "after the run")
    check.nothing_left(target, "after the run")


def chaos(check):
    """Connections are delayed, cut and reset anywhere; now and then a run is killed, too."""
    load = check.turn(["replace", "append", "replace", "create"])
    with faulty.Chaos(check.campaign.url(), check.random, share=check.random.uniform(0.3, 0.8)) as proxy:
        target = Server(check, load, url=proxy.url).prepare()
        case(check, target, "all executors")
        target.more = ["--set", "index.retries=2"]
        for _ in range(check.random.randrange(3)):
            run = check.start(target, check.executor(), "--resume")
            if run.ends_within(check.random.uniform(0.05, 2)):
                break
            run.send(signal.SIGKILL)
            check.counts["kills"] += run.wait() == -signal.SIGKILL
        if check.start(target, check.executor(), "--resume").wait():
            check.resume(target, RESUMES_MAX)
        check.campaign.proxied.update({f"chaos: {fault}": count for fault, count in proxy.done.items()})
    check.same(target.new(), target.read(), "after all")
    check.nothing_left(target, "after all")


def signals(check):
    number = check.turn([signal.SIGTERM, signal.SIGINT])
    kind = check.number // 2 % 6
    target = [lambda: File(check, True, False), lambda: File(check, False, True), lambda: Local(check, "replace"), lambda: Local(check, "append"), lambda: Server(check, "replace", True), lambda: Server(check, "append")][kind]()
    target.prepare()
    executor = check.executor()
    case(check, target, executor, number.name)
    moment = check.moment(target, executor)
    run = check.start(target, executor)
    if run.ends_within(moment):
        return check.same(target.new(), target.read(), "after the run")
    run.send(number)
    began, still_s = time.monotonic(), check.campaign.standstill.total_s
    code = run.wait()
    took = time.monotonic() - began
    time.sleep(2 * Standstill.tick_s)
    took -= check.campaign.standstill.total_s - still_s
    # Before the program can have asked for the signal, it ends as any program does.
    if code not in (0, 128 + number, -number):
        check.fault("other", f"after {number.name}: {run.error()}")
    if code:
        check.counts["signals"] += 1
        check.campaign.slowest_signal_s = max(check.campaign.slowest_signal_s, took)
        if took > SIGNAL_LIMIT_S:
            check.fault("other", f"{number.name} took {took:.2f} s")
    check.no_children()
    if isinstance(target, Server):
        if target.load == "replace":
            check.old_or_new(target, "after the signal")
        if code:
            check.resume(target)
        check.same(target.new(), target.read(), "in the end")
        return check.nothing_left(target, "in the end")
    which = check.old_or_new(target, "after the signal")
    if code == 0 and which == "old":
        check.fault("lost", f"exit 0 after {number.name}, and nothing is published")
    check.nothing_left(target, "after the signal")


RACES = {
    "one file, new": (lambda check: File(check, False, False, "tiny"), 30),
    "one file, replaced": (lambda check: File(check, True, True, "tiny"), 30),
    "one file, larger": (lambda check: File(check, True, False), 2),
    "a local index, create": (lambda check: Local(check, "create", size="tiny"), 3),
    "a local index, replace": (lambda check: Local(check, "replace", size="tiny"), 3),
    "a local index, append": (lambda check: Local(check, "append", size="tiny"), 3),
    "an alias, first load": (lambda check: Server(check, "replace", False, "tiny"), 2),
    "an alias, replaced": (lambda check: Server(check, "replace", True, "tiny"), 2),
    "an index, create": (lambda check: Server(check, "create", False, "tiny"), 2),
    "an index, append": (lambda check: Server(check, "append", False, "tiny"), 2),
}


def races(check):
    name = check.turn(RACES)
    make, rounds = RACES[name]
    runs = check.random.choice((2, 3))
    shared, own = check.random.random() < 0.5, check.random.random() < 0.6
    executor = "sequential" if check.random.random() < 0.4 else check.executor()
    check.case = f"{name}, {runs} runs, {executor}, {'one state' if shared else 'a state each'}, {'documents of their own' if own else 'the same documents'}"
    for round in range(rounds):
        target = make(check).prepare()
        hold = {"/_aliases": check.random.choice((0, 1))} if isinstance(target, Server) else {}
        with faulty.Faulty(check.campaign.url(), check.random, hold=hold) if hold else contextlib.nullcontext() as proxy:
            target.url = proxy.url if hold else None
            race(check, target, executor, runs, shared, own, f"round {round + 1}")
        if check.failed:
            return


def race(check, target, executor, runs, shared, own, when):
    """Some of the runs win, or all one after the other; the others say so, and what they loaded is not there."""
    spread = check.duration(target, executor) * check.random.choice((0, 0, 0.3, 1))
    gate, opens = os.pipe()
    racing = []
    for which in range(1, runs + 1):
        about = {"which": which if own else 1, "state": "state" if shared else f"state-{which}"}
        racing.append(check.start(target, executor, gate=None if spread else gate, **about))
        time.sleep(check.random.uniform(0, spread))
    time.sleep(0 if spread else 0.01)
    os.close(opens)
    os.close(gate)
    codes = [run.wait() for run in racing]
    when = f"{when}: exit codes {codes}"
    losers = [run for run in racing if run.code]
    winners = [run.which for run in racing if not run.code]
    if not winners:
        check.fault("other", f"{when}: no run succeeds: {racing[0].error()}")
    for run in losers:
        if run.code != 1 or "error:" not in run.said() or not BUSY.search(run.said()):
            check.fault("other", f"{when}: a run fails without naming the other run: {run.error()}")
    race_documents(check, target, winners, [run.which for run in losers], when)
    if isinstance(target, Server):
        race_indices(check, target, racing, when)
    check.nothing_left(target, when)


def race_documents(check, target, winners, losers, when):
    found = target.read()
    if getattr(target, "load", "") == "append":
        expected = target.old() or collections.Counter()
        for which in winners:
            expected = merged(expected, Target.new(target, which))
        check.same(expected, found, when)
    elif winners and not any(found == target.new(which) for which in winners):
        loser = next((which for which in losers if found == target.new(which)), None)
        if loser:
            check.fault("other", f"{when}: what is there is of number {loser}, which failed")
        else:
            check.same(target.new(winners[-1]), found, when)


def race_indices(check, target, racing, when):
    """A loser may leave what it loaded, if it says so, to `--resume` or `rollback --clean`."""
    said = " ".join(run.said() for run in racing if run.code)
    unsaid = [index for index in target.left() if index not in said]
    if unsaid:
        check.fault("left", f"{when}: {', '.join(unsaid)}", len(unsaid))
    for run in racing:
        goes_on = re.search(r"--resume=(\S+)` goes on", run.said())
        if goes_on and check.start(target, run.executor, f"--resume={goes_on[1]}", which=run.which, state=run.state).wait():
            check.fault("other", f"{when}: a run says that `--resume` goes on, which it does not: {check.running[-1].error()}")
    if target.load == "replace":
        for state in {run.state for run in racing}:
            target.clean(state)


def beside(check):
    """Other commands while runs are at work: they disturb no run, and a search answers at every moment."""
    name, step = check.turn({"report --keep 0": keep_nothing, "rollback --clean": clean_elsewhere, "search": search_meanwhile}.items())
    check.case = f"beside `{name}`"
    step(check)


def keep_nothing(check):
    """A run begins while its folder may be cleared away."""
    target = File(check, True, False, "tiny").prepare()
    command = [common.ETL, "report", "--keep", "0", "--state", os.path.join(check.folder, "state")]
    for round in range(15):
        run = check.start(target, "sequential")
        while not run.ends_within(0):
            subprocess.run(command, cwd=check.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=RUN_LIMIT_S)
        if run.code:
            check.fault("other", f"round {round + 1}: {run.error()}")
            return
        check.same(target.new(), target.read(), f"round {round + 1}")


def clean_elsewhere(check):
    """Somebody with another state folder clears away what was left half loaded."""
    target = Server(check, "replace", check.random.random() < 0.5).prepare()
    executor = check.executor()
    moment = check.moment(target, executor)
    run = check.start(target, executor)
    run.ends_within(moment)
    target.clean("elsewhere")
    if run.wait():
        check.fault("other", f"{run.error()}")
        return
    check.same(target.new(), target.read(), "after the run")


def search_meanwhile(check):
    target = Local(check, "replace", size="tiny").prepare()
    counts = {sum(documents.values()) for documents in (target.old(), target.new())}
    command = [common.ETL, "search", target.path, "*", "--count"]
    for _ in range(5):
        run = check.start(target, check.executor())
        while not run.ends_within(0):
            answer = subprocess.run(command, capture_output=True, text=True, timeout=RUN_LIMIT_S)
            if answer.returncode or int(answer.stdout) not in counts:
                check.fault("other", f"a search meanwhile: exit {answer.returncode}: {answer.stdout}{answer.stderr}")
                run.stop()
                return
        if run.code:
            check.fault("other", f"{run.error()}")
            return
        target.reset()


def foreign(check):
    """Files that others have beside the target, named much like ours."""
    target = check.turn([lambda: File(check, True, False), lambda: Local(check, "replace"), lambda: File(check, False, True), lambda: Local(check, "append")])().prepare()
    executor = check.executor()
    names = [name.format(target.file) for name in FOREIGN]
    is_index = isinstance(target, Local)
    case(check, target, executor)
    for name in names:
        path = os.path.join(target.folder, name)
        if is_index:
            # A folder with the lock file that the index has.
            os.makedirs(path)
            path = os.path.join(path, LOCK)
        with open(path, "w") as file:
            file.write(name)
    check.kill(target, executor)
    moment = check.moment(target, executor)
    run = check.start(target, executor)
    if not run.ends_within(moment):
        run.send(signal.SIGTERM)
        run.wait()
    racing = [check.start(target, executor) for _ in range(2)]
    for run in racing:
        run.wait()
    check.succeed(target, executor=executor)
    check.same(target.new(), target.read(), "in the end")
    gone = [name for name in names if not os.path.exists(os.path.join(target.folder, name, LOCK if is_index else "").rstrip("/"))]
    if gone:
        check.fault("other", f"files of others are gone: {', '.join(gone)}", len(gone))
    check.nothing_left(target, "in the end")


PARTS = {"files": killed_file, "local": killed_local, "server": killed_server, "workers": workers, "faults": faults, "chaos": chaos, "signals": signals, "races": races, "beside": beside, "foreign": foreign}

if __name__ == "__main__":
    main()
