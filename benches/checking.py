"""One check of `benches/campaign.py`: its folder, the runs that it starts and disturbs, and what it finds."""
import collections, contextlib, glob, os, random, shutil, signal, subprocess, threading, time

import common

EXECUTORS = {
    "sequential": ["--set", "*.executor=sequential"],
    "threads": ["--set", "*.executor=threads", "--set", "*.workers=3"],
    "processes": ["--set", "*.executor=processes", "--set", "*.workers=2"],
    "hybrid": ["--set", "*.executor=hybrid", "--set", "*.processes=2", "--set", "*.threads=2"],
}
# Marks the processes of a run, and their children.
MARK = "ETL_CAMPAIGN"
RUN_LIMIT_S = 120
CHILDREN_LIMIT_S = 5
KILL_TRIES = 12


class Stuck(Exception):
    """A wait that reached its limit, or a step without which a check cannot go on."""


class Check:
    """One check: its folder, its own random numbers, what it counted and found."""

    def __init__(self, campaign, part, number):
        self.campaign, self.part, self.number = campaign, part, number
        self.random = random.Random(f"{campaign.arguments.seed}/{part}/{number}")
        self.folder = os.path.join(campaign.folder, f"{part}-{number}")
        os.makedirs(os.path.join(self.folder, "tmp"))
        self.counts, self.failed, self.case = collections.Counter(), [], ""
        self.targets, self.running = [], []

    def fault(self, kind, what, count=1):
        self.counts[kind] += count
        self.failed.append((kind, what))

    def repeat(self):
        return f"benches/campaign.py --seed {self.campaign.arguments.seed} --only {self.part} --number {self.number}"

    def anonymous(self, text):
        return text.replace(self.folder, "DIR").replace(self.campaign.folder, "DIR").replace(common.ROOT + os.sep, "")

    def turn(self, choices):
        """The check's choice: they take turns from check to check."""
        choices = list(choices)
        return choices[self.number % len(choices)]

    def executor(self):
        return self.random.choice(list(EXECUTORS))

    def start(self, target, executor, *options, which=1, state="state", gate=None):
        run = Run(self, target, executor, options, which, state, gate)
        self.running.append(run)
        self.counts["runs"] += 1
        return run

    def end(self):
        for run in self.running:
            run.stop()
        self.no_children()

    def remove(self):
        for target in self.targets:
            target.remove()
        shutil.rmtree(self.folder)

    def no_children(self):
        """No process of this check is left, after a while at most."""
        limit = time.monotonic() + CHILDREN_LIMIT_S
        while left := marked_processes(self.folder):
            if time.monotonic() > limit:
                self.fault("left", f"processes: {', '.join(map(described, left))}", len(left))
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.02)

    def same(self, expected, found, when):
        """Exactly the expected documents: each once."""
        if found is None and expected:
            self.fault("lost", f"{when}: the target is gone", sum(expected.values()))
            return
        found = found or collections.Counter()
        # A document that is there in another version is lost, too.
        lost = sum((expected - found).values())
        ids = collections.Counter()
        for (id, _), count in found.items():
            ids[id] += count
        doubled = sum(count - 1 for count in ids.values())
        foreign = sum((found - expected).values()) - doubled
        if lost:
            self.fault("lost", f"{when}: {lost} of {sum(expected.values())} documents", lost)
        if doubled:
            self.fault("doubled", f"{when}: {doubled} documents", doubled)
        if foreign > 0 and not lost:
            self.fault("other", f"{when}: {foreign} documents that were not expected")

    def old_or_new(self, target, when):
        """The target is the old or the new one; which."""
        found = target.read()
        for which, expected in (("new", target.new()), ("old", target.old())):
            if found == expected:
                return which
        self.same(target.old() or target.new(), found, f"{when}: neither the old nor the new one")
        return None

    def nothing_left(self, target, when):
        left = target.left()
        if left:
            self.fault("left", f"{when}: {', '.join(left)}", len(left))
        temporary = os.listdir(os.path.join(self.folder, "tmp"))
        if temporary:
            self.fault("left", f"{when}: in the folder of temporary files: {', '.join(temporary)}", len(temporary))

    def succeed(self, target, *options, executor=None, allowed=()):
        """A run that nothing disturbs ends well."""
        run = self.start(target, executor or self.executor(), *options)
        code = run.wait()
        if code != 0 and not any(word in run.said() for word in allowed):
            raise Stuck(f"a run that has to succeed: {run.error()}")
        return run

    def resume(self, target, tries=1):
        """Runs with `--resume`, until the load has ended."""
        for _ in range(tries):
            run = self.start(target, self.executor(), "--resume")
            if run.wait() == 0:
                return
            # It was killed when the load was done.
            if target.may_be_there and "there already" in run.said() and target.read() == target.new():
                return
            if "error:" not in run.said():
                self.fault("other", f"exit {run.code} without a message")
        raise Stuck(f"`--resume` did not end the load in {tries} tries: {run.error()}")

    def duration(self, target, executor):
        """What such a run takes if nothing happens; measured once."""
        key = target.key(), executor
        if key not in self.campaign.durations:
            for _ in range(2):  # The first one meets cold caches.
                probe = target.another()
                begin = time.monotonic()
                self.succeed(probe, executor=executor)
                self.campaign.durations[key] = time.monotonic() - begin
                probe.remove()
        return self.campaign.durations[key]

    def moment(self, target, executor):
        """A moment of a run, in seconds: any, or one near its end, where results are published."""
        takes = self.duration(target, executor)
        first = self.random.choice((0.02, 0.02, 0.75))
        return takes * self.random.uniform(first, 1.1)

    def kill(self, target, executor, *options):
        """Kills a run at a random moment. One that ends before is no kill: the target is put back for the next try;
        false: all did."""
        for _ in range(KILL_TRIES):
            moment = self.moment(target, executor)
            run = self.start(target, executor, *options)
            if run.ends_within(moment):
                if run.code != 0 and not (target.may_be_there and "there already" in run.said()):
                    self.fault("other", f"a run that nothing disturbed: {run.error()}")
                    return False
                target.reset()
                continue
            run.send(signal.SIGKILL)
            if run.wait() == -signal.SIGKILL:
                self.counts["kills"] += 1
                return True
            target.reset()
        return False


class Standstill:
    """How long the whole machine stood still: a virtual one is taken off its host for many seconds at times."""

    tick_s, least_s = 0.05, 0.5

    def __init__(self):
        self.total_s = 0.0
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        while True:
            began = time.monotonic()
            time.sleep(self.tick_s)
            took = time.monotonic() - began
            if took > self.least_s:
                self.total_s += took - self.tick_s


class Run:
    """A run of the program. `gate` is the read end of a pipe: the run begins when its write end is closed."""

    def __init__(self, check, target, executor, options, which, state, gate):
        self.number, self.executor, self.which, self.state = check.counts["runs"], executor, which, state
        self.log = os.path.join(check.folder, f"run-{self.number}.txt")
        command = [common.ETL, "run", target.pipeline, "--quiet", "--state", os.path.join(check.folder, state), *EXECUTORS[executor], *target.options(), *options]
        environment = {**os.environ, **target.environment(which), MARK: check.folder, "TMPDIR": os.path.join(check.folder, "tmp")}
        with open(self.log, "w") as log:
            log.write(" ".join(command) + "\n")
            log.flush()
            if gate is not None:
                command = ["sh", "-c", 'read _; exec "$@" < /dev/null', "sh", *command]
            stdin = subprocess.DEVNULL if gate is None else gate
            self.process = subprocess.Popen(command, env=environment, cwd=check.folder, stdin=stdin, stdout=log, stderr=log)
        self.began = time.monotonic()

    @property
    def code(self):
        return self.process.returncode

    def ends_within(self, seconds):
        try:
            self.process.wait(max(seconds - (time.monotonic() - self.began), 0.001))
        except subprocess.TimeoutExpired:
            return False
        return True

    def send(self, number):
        self.process.send_signal(number)

    def wait(self, limit=RUN_LIMIT_S):
        # In small steps: while the machine stands still no time counts.
        for _ in range(round(limit / Standstill.tick_s)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(Standstill.tick_s)
        self.stop()
        raise Stuck(f"a run did not end within {limit} s")

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def error(self):
        """Its exit code and what it says of it, without the warnings before."""
        said = self.said()
        return f"exit {self.code}: {said[max(said.find('error:'), 0):]}"

    def said(self):
        with open(self.log) as log:
            return " ".join(log.read().split("\n")[1:]).strip()


def described(pid):
    """A process that is left: the end of its command line."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as file:
        return f"{pid} {file.read().replace(chr(0), ' ')[-120:]}"
    return str(pid)


def marked_processes(mark, but=None):
    """Processes that a check has started, and theirs."""
    found, word = [], f"{MARK}={mark}".encode()
    for file in glob.glob("/proc/[0-9]*/environ"):
        with contextlib.suppress(OSError):
            with open(file, "rb") as environment:
                if word in environment.read().split(b"\0"):
                    found.append(int(file.split("/")[2]))
    return [pid for pid in found if pid != but]
