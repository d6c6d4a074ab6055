"""Where the runs of `benches/campaign.py` write: a file, a local index, a server. A target can be made as it was before a
run, says what is expected of it, reads what is there, and finds what was left beside it."""
import collections, contextlib, gzip, hashlib, json, os, re, shutil, subprocess, zlib

import common
from checking import RUN_LIMIT_S, Stuck

FOREIGN = "{}.part", "{}.2024-backup.part", "{}.20260101T000000-abcd.part", "{}.20260101T000000-abcd.0123456789abcdef.part", "{}.old"
# What `keep` keeps of a local index: the one before.
KEPT = re.compile(r"index\.\d{8}T\d{6}-[0-9a-f]{4}\.[0-9a-f]{16}\.kept")
LOADING_SETTINGS = "{ number_of_shards = 1, number_of_replicas = 0 }"


class Target:
    """Where a run's documents go. `load` is how; `old_there` whether something is there before."""

    size, pipeline, may_be_there = "", "", False
    made = 0

    def __init__(self, check, old_there):
        Target.made += 1
        self.check, self.old_there, self.name = check, old_there, f"out{Target.made}"
        self.prepared = False
        check.targets.append(self)

    def prepare(self):
        self.reset()
        return self

    def environment(self, which):
        return {"ETL_DATA": self.check.campaign.dump(self.size, which)}

    def old(self):
        return self.check.campaign.documents(self.size, 0) if self.old_there else None

    def new(self, which=1):
        return self.check.campaign.documents(self.size, which)


class File(Target):
    size, pipeline = "file", common.NDJSON

    def __init__(self, check, old_there, compressed, size="file"):
        super().__init__(check, old_there)
        self.size, self.compressed = size, compressed
        self.folder = os.path.join(check.folder, self.name)
        self.file = "out.ndjson.gz" if compressed else "out.ndjson"
        self.path = os.path.join(self.folder, self.file)

    def key(self):
        return "file", self.size, self.compressed

    def another(self):
        return File(self.check, self.old_there, self.compressed, self.size).prepare()

    def options(self):
        return ["--set", "*.batch_rows=500"]

    def environment(self, which):
        return {**super().environment(which), "ETL_OUT": self.path}

    def reset(self):
        """As before any run; what others have beside it stays."""
        os.makedirs(self.folder, exist_ok=True)
        if self.old_there:
            shutil.copyfile(self.expected(0), self.path)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.path)

    def expected(self, which):
        return self.check.campaign.file(self.size, which, self.file)

    def read(self):
        """The documents. A file has exactly the expected bytes; one that has not is equal to none."""
        if not os.path.exists(self.path):
            return None
        found = digest(self.path)
        for which in range(4):
            if found == digest(self.expected(which)):
                return self.new(which)
        try:
            return documents_of_file(self.path) + collections.Counter({("other bytes", b""): 1})
        except (OSError, EOFError, ValueError, zlib.error):
            return collections.Counter()

    def left(self):
        return sorted(set(os.listdir(self.folder)) - {self.file} - {name.format(self.file) for name in FOREIGN})

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Local(Target):
    size, pipeline = "local", os.path.join(common.ROOT, "pipelines/donors.toml")

    def __init__(self, check, load, old_there=None, size="local"):
        super().__init__(check, load != "create" if old_there is None else old_there)
        self.load, self.size = load, size
        # One that was killed after it had published: the next one refuses.
        self.may_be_there = load == "create"
        self.folder = os.path.join(check.folder, self.name)
        self.file = "index"
        self.path = os.path.join(self.folder, self.file)

    def key(self):
        return "local", self.size, self.load

    def another(self):
        return Local(self.check, self.load, self.old_there, self.size).prepare()

    def options(self):
        return ["--set", "*.batch_rows=200", "--set", f"index.load={self.load}"]

    def environment(self, which):
        return {**super().environment(which), "ETL_SEARCH_URL": f"local:{self.path}"}

    def reset(self):
        for name in [self.file, *self.kept()]:
            shutil.rmtree(os.path.join(self.folder, name), ignore_errors=True)
        os.makedirs(self.folder, exist_ok=True)
        if self.old_there:
            shutil.copytree(self.loaded(), self.path)

    def loaded(self):
        """An index of the old dump, made once."""
        campaign = self.check.campaign
        path = os.path.join(campaign.folder, f"expected-{self.size}-index")
        if not os.path.isdir(path):
            environment = {**os.environ, "ETL_DATA": campaign.dump(self.size, 0), "ETL_SEARCH_URL": f"local:{path}"}
            command = [common.ETL, "run", self.pipeline, "--quiet", "--sequential", "--state", os.path.join(campaign.folder, "state")]
            subprocess.run(command, env=environment, check=True, timeout=RUN_LIMIT_S)
        return path

    def new(self, which=1):
        new = super().new(which)
        return merged(self.old(), new) if self.load == "append" else new

    def read(self):
        return self.read_index(self.path)

    def read_index(self, path):
        if not os.path.isdir(path):
            return None
        command = [common.ETL, "search", path, "*", "--limit", "1000000"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=RUN_LIMIT_S)
        if found.returncode:
            return collections.Counter()
        hits = map(json.loads, found.stdout.split("\n")[:-1])
        return collections.Counter((hit["_id"], document_digest(hit["_source"])) for hit in hits)

    def kept(self):
        return sorted(filter(KEPT.fullmatch, os.listdir(self.folder))) if os.path.isdir(self.folder) else []

    def left(self):
        """What is there but the index and the one that `keep` keeps, which has to be a whole one."""
        kept = self.kept()[: self.load == "replace"]
        whole = [self.check.campaign.documents(self.size, which) for which in range(4)]
        broken = [f"{name} is no whole index" for name in kept if self.read_index(os.path.join(self.folder, name)) not in whole]
        return sorted(set(File.left(self)) - set(kept)) + broken

    remove = File.remove


class Server(Target):
    size, pipeline = "server", os.path.join(common.ROOT, "pipelines/donors.toml")

    def __init__(self, check, load, old_there=None, size="server", url=None):
        super().__init__(check, load == "replace" if old_there is None else old_there)
        self.load, self.size = load, size
        self.may_be_there = load == "create"
        self.name = f"{check.part}-{check.number}-{self.name}"
        self.url = url or check.campaign.url()
        self.call = check.campaign.server.call
        self.more = []

    def key(self):
        return "server", self.size, self.load, self.old_there

    def another(self):
        return Server(self.check, self.load, self.old_there, self.size).prepare()

    def options(self, load=None):
        options = {"load": load or self.load, "index": self.name, "batch_docs": 25, "settings": LOADING_SETTINGS, "retry_delay_ms": 10, "retry_delay_ms_max": 300, "request_timeout_ms": 1500}
        return [word for name, value in options.items() for word in ("--set", f"index.{name}={value}")] + self.more

    def environment(self, which):
        return {**super().environment(which), "ETL_SEARCH_URL": self.url}

    def reset(self):
        self.remove()
        if self.old_there:
            load, self.load, url, self.url = self.load, "replace", self.url, self.check.campaign.url()
            run = self.check.start(self, "threads", "--set", "index.load=replace", which=0, state="before")
            if run.wait():
                raise Stuck(f"the first load failed: {run.said()}")
            self.load, self.url = load, url

    def new(self, which=1):
        new = super().new(which)
        return merged(self.old(), new) if self.load == "append" else new

    def read(self):
        """The documents that are found under its name, in all indices that have it."""
        if not self.holders():
            return None
        self.call("POST", f"/{self.name}/_refresh")
        found = self.call("POST", f"/{self.name}/_search", {"size": 10000, "query": {"match_all": {}}})
        hits = found["hits"]["hits"]
        return collections.Counter((hit["_id"], document_digest(hit["_source"])) for hit in hits)

    def indices(self):
        found = self.call("GET", f"/{self.name}*/_alias")
        return {index: about["aliases"] for index, about in found.items()}

    def holders(self):
        return [index for index, aliases in self.indices().items() if index == self.name or self.name in aliases]

    def left(self):
        """What is there but the index and those that `keep` keeps: the one before, if one was replaced."""
        holders = self.holders()
        kept = set()
        for holder in holders:
            mapping = self.call("GET", f"/{holder}/_mapping")[holder]["mappings"]
            kept.update(re.findall(r'"before": "([^"]+)"', json.dumps(mapping.get("_meta", {}))))
        more = [f"the alias also has `{index}`" for index in holders[1:]]
        return more + sorted(set(self.indices()) - set(holders) - kept)

    def remove(self):
        for index in self.indices():
            self.call("DELETE", f"/{index}")

    def clean(self, state="state"):
        command = [common.ETL, "rollback", self.pipeline, "--clean", "--state", os.path.join(self.check.folder, state), "--set", f"index.index={self.name}", "--set", f"index.load={self.load}"]
        environment = {**os.environ, **self.environment(1)}
        done = subprocess.run(command, env=environment, cwd=self.check.folder, capture_output=True, text=True, timeout=RUN_LIMIT_S)
        if done.returncode:
            self.check.fault("other", f"`rollback --clean`: exit {done.returncode}: {done.stderr}")


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def document_digest(document):
    return hashlib.blake2b(json.dumps(document, sort_keys=True).encode(), digest_size=12).digest()


def documents_of_file(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
        documents = [json.loads(line) for line in file]
    return collections.Counter((document["donationid"], document_digest(document)) for document in documents)


def merged(old, new):
    """What an index holds that had `old` when `new` was added: of one id the later document."""
    ids = {id for id, _ in new}
    return new + collections.Counter({key: count for key, count in (old or {}).items() if key[0] not in ids})
