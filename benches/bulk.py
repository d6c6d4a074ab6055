#!/usr/bin/env python3
"""The documents of the Donor's Choice job into an index by the bulk API, with `etl` and with the official
clients of Python and Go, in one go.

usage: benches/bulk.py PEERS [--python PYTHON] [--projects 60000] [--rounds 3]
       benches/bulk.py PEERS [--python PYTHON] --real [opensearch|elasticsearch] [--projects 4000] [--rounds 7] [--pressure 2mb]

PEERS is the folder of gen_donors.py, py_parallel_bulk.py, go_bulkindexer/ and discard_server/, PYTHON one that
has `elasticsearch` (and `opensearch-py` for --real). The documents lie ready in the page cache, as Arrow for
etl and as NDJSON for the others. Each tool loads them once a round, the order turning from round to round,
so that what else the machine does falls on all alike. The server throws them away, so that what is left is
the client's own cost; CPU is that of the client and its children only.

--real loads fewer documents into a server of tests/search-server instead, by each tool, and by etl with different
numbers of workers; the latter also into a server that refuses (429) what is more than --pressure at a time.
etl's `workers` are how many requests it has in flight at most: it finds out itself how many of them serve it.
A fixed number is so many etl at once, each sequential, each with its share of the documents. Go's client
refuses OpenSearch, so that it is left out there. A server's own pace changes by half within minutes: many
short rounds show more than a few long ones.

Writes every figure with machine and versions to benches/runs/DATE-bulk.json (with --real: DATE-bulk-SERVER.json),
and the medians into docs/benchmarks.md.
"""
import contextlib, json, os, re, socket, subprocess, sys, tempfile, time, urllib.error, urllib.request

import common
from common import median

# The discarding server says of every document that this is its index.
INDEX = "i"
BATCH_DOCS = 500
WORKERS = 8
PIPELINE = """name = "bulk"

[[stage]]
name = "documents"
kind = "load_arrow"
parallel = true
files = ["{arrow}"]

[[stage]]
name = "index"
kind = "bulk_index"
inputs = ["documents"]
parallel = true
executor = "threads"
workers = {workers}
to = "{url}"
index = "{index}"
id = "donationid"
batch_docs = {batch_docs}
load = "append"
"""
GO = "Go BulkIndexer"
PYTHON = "Python parallel_bulk"
# Named as in docs/benchmarks.md.
TOOLS = {
    f"etl, {WORKERS} workers": ["etl"],
    GO: ["go"],
    f"{GO}, {BATCH_DOCS} documents a request": ["go", "-flush", "{flush}"],
    f"{GO}, {WORKERS} workers": ["go", "-workers", str(WORKERS)],
    PYTHON: ["python", "--threads", str(WORKERS), "--chunk", str(BATCH_DOCS)],
}
DEFAULT = "etl, default"
LIMITS = {f"etl, workers = {n}": ["etl", "--set", f"index.workers={n}"] for n in (WORKERS,)}
FIXED = {f"{n} at once, fixed": ["fixed", n] for n in (1, 2, 4, WORKERS)}
SPLIT = """name = "split"

[[stage]]
name = "documents"
kind = "load_arrow"
files = ["{arrow}"]

[[stage]]
name = "from"
kind = "filter"
inputs = ["documents"]
column = "donationid"
at_least = "{first}"

[[stage]]
name = "part"
kind = "filter"
inputs = ["from"]
column = "donationid"
below = "{end}"

[[stage]]
name = "write"
kind = "write_files"
inputs = ["part"]
path = "{part}"
"""
COUNTS = "requests", "sent", "sent_again", "refused_429", "splits", "elsewhere"
BLOG = "The blog post's indexing, which it made parallel with `parallel_bulk`: 8223 -> 3686 s, 2.23 times, on its machine.\n"


def main():
    arguments = common.peers_arguments(rounds=None, projects=None)
    arguments.add_argument("--real", nargs="?", const="opensearch", choices=("opensearch", "elasticsearch"))
    arguments.add_argument("--pressure", default="2mb")
    arguments = arguments.parse_args()
    arguments.peers = os.path.abspath(arguments.peers)
    arguments.projects = arguments.projects or (4000 if arguments.real else 60000)
    arguments.rounds = arguments.rounds or (7 if arguments.real else 3)
    common.build()
    with tempfile.TemporaryDirectory() as folder:
        for program in ("go_bulkindexer", "discard_server"):
            subprocess.run(["go", "build", "-o", os.path.join(folder, program), "."], cwd=os.path.join(arguments.peers, program), check=True)
        result = {"what": "donors documents by the bulk API", "rounds": arguments.rounds, "versions": versions(arguments, folder)}
        if arguments.real:
            into_real(arguments, folder, result)
        else:
            with discarding(folder) as server:
                result["discarding"] = Bench(arguments, folder, server).rounds(TOOLS)
            common.write_result("bulk", result)
            common.write_table("bulk", tools_table(result["discarding"], "a server that throws them away") + "\n" + BLOG)


def into_real(arguments, folder, result):
    """All tools into a real server, and etl alone into a squeezed one."""
    alone = {DEFAULT: ["etl", "default"], **LIMITS, **FIXED}
    with real(arguments.real) as server:
        bench = Bench(arguments, folder, server)
        result["real"] = bench.rounds({**bench.tools(), **alone}, warm=True)
    with real(arguments.real, "-E", f"indexing_pressure.memory.limit={arguments.pressure}") as server:
        bench.server = server
        result["squeezed"] = {"limit": arguments.pressure, **bench.rounds(alone, warm=True)}
    name = f"bulk-{arguments.real}"
    common.write_result(name, result)
    common.write_table(name, tools_table(result["real"], f"{arguments.real}, until they can be searched") + "\n" + limits_table(result))


class Bench:
    """Documents that lie ready, and the server they go to."""

    def __init__(self, arguments, folder, server):
        self.arguments, self.folder, self.server, self.projects = arguments, folder, server, arguments.projects
        path = os.path.join(folder, "documents")
        dumps, self.ndjson, self.arrow = path + ".dumps", path + ".ndjson", path + ".arrow"
        generator = [arguments.python, os.path.join(arguments.peers, "gen_donors.py"), dumps]
        subprocess.run([*generator, "--projects", str(self.projects), "--seed", "7"], check=True, stdout=subprocess.DEVNULL)
        self.documents = common.etl([], dumps, self.ndjson, folder)["stages"]["write"]["rows_out"]
        common.etl(["--set", "write.format=arrow"], dumps, self.arrow, folder)
        self.document_bytes = os.path.getsize(self.ndjson) / self.documents
        self.parts = [f"{path}.{i}.arrow" for i in range(WORKERS)]
        for i, part in enumerate(self.parts):
            # Ids are hexadecimal, and each digit is as likely as another.
            first = f"{16 * i // WORKERS:x}" if i else ""
            end = f"{16 * (i + 1) // WORKERS:x}" if i + 1 < WORKERS else "~"
            self.run(SPLIT.format(arrow=self.arrow, first=first, end=end, part=part), [])
        for path in (self.ndjson, self.arrow, *self.parts):
            with open(path, "rb") as file:
                while file.read(1 << 20):
                    pass

    def tools(self):
        """Those that the server can be loaded with."""
        return {name: words for name, words in TOOLS.items() if words[0] != "go" or self.server.kind != "opensearch"}

    def rounds(self, tools, warm=False):
        if warm:
            # A server that has just begun compiles itself while it indexes: that is nobody's cost.
            self.load(["etl"])
        runs = {name: [] for name in tools}
        for round in range(self.arguments.rounds):
            names = list(tools)
            turn = round % len(names)
            for name in names[turn:] + names[:turn]:
                measured = self.load(tools[name])
                runs[name].append(measured)
                refused = f" {measured['counts']['refused_429']:5} refused" if measured.get("counts", {}).get("refused_429") else ""
                print(
                    f"{self.server.kind}, round {round + 1}: {name:40} {measured['documents_s']:8.0f} documents/s {measured['wall_s']:7.2f} s wall "
                    f"{measured['cpu_s']:6.2f} s CPU {measured['cpu_us_document']:6.1f} us/document {measured['peak_mb']:5.0f} MB{refused}",
                    flush=True,
                )
        return {"server": self.server.kind, "projects": self.projects, "documents": self.documents, "document_bytes": self.document_bytes, "runs": runs}

    def load(self, words):
        """One load into an empty index; nothing may be missing there."""
        self.server.empty()
        before = self.server.cpu_s()
        tool, *options = words
        measured = {"etl": self.etl, "fixed": self.fixed, "go": self.go, "python": self.python}[tool](options)
        begin = time.perf_counter()
        self.server.call("POST", f"/{INDEX}/_refresh")
        measured["refresh_s"] = time.perf_counter() - begin
        measured["server_cpu_s"] = self.server.cpu_s() - before
        found = self.server.count()
        if found != self.documents:
            sys.exit(f"{' '.join(words)}: {found} documents arrived of {self.documents}")
        # etl's own time has its refresh in it.
        measured["documents_s"] = self.documents / (measured["wall_s"] + measured["refresh_s"])
        measured["cpu_us_document"] = measured["cpu_s"] / self.documents * 1e6
        return measured

    def etl(self, options):
        text = self.pipeline([self.arrow])
        if options == ["default"]:
            options, text = [], text.replace(f"workers = {WORKERS}\n", "")
        measured = self.run(text, options)
        with open(os.path.join(self.folder, "report.json")) as file:
            counts = json.load(file)["stages"][-1].get("counts") or {}
        measured["counts"] = {name: counts[name] for name in COUNTS if name in counts}
        return measured

    def fixed(self, options):
        """So many loads at once, one request of each in flight."""
        (n,) = options
        commands = []
        for i in range(n):
            files = self.parts[i::n]
            pipeline = self.write(f"fixed{i}.toml", self.pipeline(files))
            state = os.path.join(self.folder, f"state{i}")
            commands.append(f"'{common.ETL}' run '{pipeline}' --quiet --sequential --state '{state}' & pids=\"$pids $!\"")
        wait = "for pid in $pids; do wait $pid || exit 1; done"
        return common.timed(["sh", "-c", "\n".join([*commands, wait])])[0]

    def pipeline(self, files):
        listed = '", "'.join(files)
        return PIPELINE.format(arrow=listed, workers=WORKERS, url=self.server.url, index=INDEX, batch_docs=BATCH_DOCS)

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def run(self, text, options):
        return common.etl(options, "", "", self.folder, self.write("bulk.toml", text))

    def go(self, options):
        options = [word.format(flush=round(BATCH_DOCS * self.document_bytes)) for word in options]
        program = os.path.join(self.folder, "go_bulkindexer")
        return self.peer([program, "-url", self.server.url, "-index", INDEX, "-file", self.ndjson, *options])

    def python(self, options):
        client = "opensearch" if self.server.kind == "opensearch" else "elasticsearch"
        script = os.path.join(self.arguments.peers, "py_parallel_bulk.py")
        return self.peer([self.arguments.python, script, self.server.url, INDEX, self.ndjson, "--client", client, *options])

    def peer(self, command):
        measured, printed = common.timed(command)
        measured["said"] = json.loads(printed.splitlines()[-1])
        if measured["said"]["failed"]:
            sys.exit(f"{' '.join(command)}: {printed}")
        return measured


class Server:
    def __init__(self, kind, url, pid):
        self.kind, self.url, self.pid = kind, url, pid
        self.taken = 0

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def cpu_s(self):
        """What the server itself has used."""
        with open(f"/proc/{self.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def empty(self):
        """The same empty index for all; the server that discards has none, but counts on."""
        if self.kind == "discarding":
            self.taken = self.call("GET", "/_stats_discard")["items"]
            return
        with contextlib.suppress(urllib.error.HTTPError):
            self.call("DELETE", f"/{INDEX}")
        with open(os.path.join(common.ROOT, "pipelines/donors_mapping.json")) as file:
            mapping = json.load(file)
        settings = {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"}
        self.call("PUT", f"/{INDEX}", {"settings": settings, "mappings": mapping.get("mappings", mapping)})

    def count(self):
        if self.kind == "discarding":
            return self.call("GET", "/_stats_discard")["items"] - self.taken
        return self.call("GET", f"/{INDEX}/_count")["count"]


@contextlib.contextmanager
def discarding(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen([os.path.join(folder, "discard_server"), "-addr", address])
    try:
        server = Server("discarding", f"http://{address}", process.pid)
        for _ in range(100):
            with contextlib.suppress(urllib.error.URLError):
                server.call("GET", "/")
                break
            time.sleep(0.05)
        yield server
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def real(kind, *options):
    script = {"opensearch": "start", "elasticsearch": "start-elasticsearch"}[kind]
    command = [os.path.join(common.ROOT, "tests/search-server", script), "--heap", "1g", *options]
    # It ends when its input closes.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        ready = re.match(r"READY (\S+) pid=(\d+)", process.stdout.readline())
        if not ready:
            sys.exit(f"{script} does not start")
        yield Server(kind, ready[1], int(ready[2]))
    finally:
        process.stdin.close()
        process.wait()


def versions(arguments, folder):
    found = {"python": subprocess.run([arguments.python, "--version"], check=True, capture_output=True, text=True).stdout.split()[1]}
    script = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions() if d.name in ('elasticsearch', 'opensearch-py')}))"
    found.update(json.loads(subprocess.run([arguments.python, "-c", script], check=True, capture_output=True, text=True).stdout))
    built = subprocess.run(["go", "version", "-m", os.path.join(folder, "go_bulkindexer")], check=True, capture_output=True, text=True).stdout
    found["go"] = built.splitlines()[0].split()[-1]
    found["go-elasticsearch"] = re.search(r"go-elasticsearch/v9\s+(\S+)", built)[1]
    return found


def middle(bench, name, key):
    return median([run[key] for run in bench["runs"][name]])


def tools_table(bench, where):
    """Against Go where it is there, else against Python."""
    base = GO if GO in bench["runs"] else PYTHON
    names = [name for name in TOOLS if name in bench["runs"]]
    lines = [f"| {bench['documents']:,} documents to {where} | documents/s | times {base.split()[0]} | client CPU us/document | peak MB |\n|---|---|---|---|---|\n"]
    for name in sorted(names, key=lambda name: -middle(bench, name, "documents_s")):
        rate, cpu, peak = (middle(bench, name, key) for key in ("documents_s", "cpu_us_document", "peak_mb"))
        lines.append(f"| {name} | {rate:,.0f} | {rate / middle(bench, base, 'documents_s'):.2f} | {cpu:.1f} | {peak:.0f} |\n")
    return "".join(lines)


def limits_table(result):
    """etl with different numbers of workers, and with fixed numbers of requests in flight, into a server as it is
    and into a squeezed one."""
    real, squeezed = result["real"], result["squeezed"]
    lines = [f"| {real['documents']:,} documents to {real['server']} | documents/s | squeezed to {squeezed['limit']} | refused there (429) |\n|---|---|---|---|\n"]
    for name in [DEFAULT, *LIMITS, *FIXED]:
        cells = [f"{middle(bench, name, 'documents_s'):,.0f}" for bench in (real, squeezed)]
        if name not in FIXED:
            cells.append(f"{median([run['counts'].get('refused_429', 0) for run in squeezed['runs'][name]]):.0f}")
        else:
            cells.append("")
        lines.append(f"| {name} | {' | '.join(cells)} |\n")
    return "".join(lines)


if __name__ == "__main__":
    main()
