"""Whether two builds give the same bytes: every data case, the Donor's Choice job, and the pipelines over real files,
under every executor. Compared are exit codes, files, rejects and digests; words on the terminal may differ, and how
many of them do is said.

    benches/same_bytes.py --before OLD/etl --after target/release/etl [--real FOLDER] [--out RESULT.json]
"""
import argparse, datetime, gzip, hashlib, json, os, re, shutil, subprocess, sys, tempfile

from common import ROOT, machine

EXECUTORS = [["--sequential"], ["--set", "*.executor=threads"], ["--set", "*.executor=processes"], ["--set", "*.executor=hybrid"]]
# Real files, where their folder is given: the pipeline, and what it needs from the environment.
REAL = [("inspections.toml", "inspections.ndjson"), ("projects.toml", "projects.ndjson")]


def lines(path):
    return open(path).read().splitlines() if os.path.exists(path) else []


def hashed(path):
    with open(path, "rb") as file:
        data = file.read()
    # A gzip stream is compared by what it holds: its header has a time in other tools' files, never in ours.
    return hashlib.sha256(gzip.decompress(data) if path.endswith(".gz") else data).hexdigest()


def tree(folder):
    found = {}
    for above, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(above, name)
            found[os.path.relpath(path, folder)] = hashed(path)
    return found


def seen(binary, folder, pipeline, options, environment, stdin, out):
    """What a run leaves: its exit code, what it wrote, its rejects and digests; and apart, what it said."""
    state, report = os.path.join(folder, "state"), os.path.join(folder, "report.json")
    for path in (state, out):
        shutil.rmtree(path, ignore_errors=True)
    os.makedirs(out, exist_ok=True)
    if os.path.exists(report):
        os.remove(report)
    command = [binary, "run", pipeline, "--quiet", "--color", "never", "--digest", "--state", state, "--report", report, *options]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, input=stdin, capture_output=True)
    left = {"exit": done.returncode, "files": tree(out)}
    if done.returncode in (0, 3) and os.path.exists(report):
        with open(report) as file:
            stages = json.load(file)["stages"]
        left["digests"] = [(stage["name"], stage["digest"], stage["rows_out"]) for stage in stages]
        rejects = [os.path.join(above, name) for above, _, names in os.walk(state) for name in names if name.startswith("rejects")]
        left["rejects"] = sorted(hashed(path) for path in rejects)
    # The run's name is its time.
    return left, [re.sub(rb"\d{8}T\d{6}-[0-9a-f]+", b"RUN", said) for said in (done.stdout, done.stderr)]


def jobs(real):
    """Name, folder to copy, pipeline, options, environment, standard input, and the folder it writes to."""
    cases = os.path.join(ROOT, "tests/cases")
    for name in sorted(os.listdir(cases)):
        folder = os.path.join(cases, name)
        environment = dict(line.split("=", 1) for line in lines(os.path.join(folder, "env")))
        path = os.path.join(folder, "stdin")
        stdin = open(path, "rb").read() if os.path.exists(path) else b""
        yield name, folder, "pipeline.toml", lines(os.path.join(folder, "args")), environment, stdin
    pipelines = os.path.join(ROOT, "pipelines")
    yield "donors", pipelines, "donors_ndjson.toml", [], {"ETL_DATA": os.path.join(ROOT, "data"), "ETL_OUT": "out/donors.ndjson"}, b""
    for pipeline, out in REAL if real else []:
        yield f"real {pipeline}", pipelines, pipeline, [], {"ETL_SHARED_DATA": real, "ETL_OUT": f"out/{out}"}, b""


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--before", required=True)
    arguments.add_argument("--after", required=True)
    arguments.add_argument("--real", help="the folder that holds sf-inspections/ and donorschoose/")
    arguments.add_argument("--out")
    given = arguments.parse_args()
    differing, words, runs = [], set(), 0
    for name, source, pipeline, options, environment, stdin in jobs(given.real and os.path.abspath(given.real)):
        with tempfile.TemporaryDirectory() as above:
            # Both builds work in one folder, so that paths in what they say are the same.
            folder = os.path.join(above, "job")
            shutil.copytree(source, folder)
            for executor in EXECUTORS:
                left = [seen(os.path.abspath(binary), folder, pipeline, [*options, *executor], environment, stdin, os.path.join(folder, "out")) for binary in (given.before, given.after)]
                runs += 2
                if left[0][0] != left[1][0]:
                    differing.append({"job": name, "executor": executor[-1], "before": left[0][0], "after": left[1][0]})
                    print(f"{name} {executor[-1]}: differs")
                if left[0][1] != left[1][1]:
                    words.add(name)
    result = {
        "date": datetime.date.today().isoformat(), "machine": machine(), "runs": runs, "differing": differing,
        "other_words": sorted(words),
    }
    print(f"{runs} runs: {len(differing)} differ in exit code, files, rejects or digests; {len(words)} jobs say something in other words")
    if given.out:
        with open(given.out, "w") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
