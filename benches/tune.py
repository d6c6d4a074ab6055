#!/usr/bin/env python3
"""Whether `etl tune` finds what is known to be best: within one doubling, and within its budget.

usage: benches/tune.py [--budget 60]

A server answers each request after 50 ms, and so many at once (1, 3, 8 and 16); more of them wait. There the
best number of workers is that limit. A command that computes is best run once a core. Both are stages of one
pipeline each, tuned from nothing; then the knee is written into the file, and the file run.
"""
import argparse, http.server, json, os, subprocess, sys, tempfile, threading, time

import common

LATENCY_S = 0.05
LIMITS = 1, 3, 8, 16
ROWS = 4000

ASKED = """[[stage]]
name = "items"
kind = "load_csv"
files = ["items.csv"]

[[stage]]
name = "work"
kind = "fetch"
inputs = ["items"]
url = "http://127.0.0.1:{port}/items/{{id}}"
columns = {{ value = "/value" }}
# how many at once is to be found out
parallel = false
"""

COMPUTED = """[[stage]]
name = "items"
kind = "load_csv"
files = ["items.csv"]

[[stage]]
name = "work"
kind = "exec"
inputs = ["items"]
command = ["python3", "-c", "print(sum(i * i for i in range(2000000)))"]
columns = ["line"]
# how many at once is to be found out
parallel = false
"""


def server(limit):
    """One that answers so many requests at once, in a thread of this program."""
    free = threading.Semaphore(limit)

    class Answer(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            with free:
                time.sleep(LATENCY_S)
            body = json.dumps({"id": self.path.rsplit("/", 1)[1], "value": 1}).encode()
            # Together: a body that follows its head waits for an acknowledgement.
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            self.wfile.write(head.encode() + body)

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

    listening = Server(("127.0.0.1", 0), Answer)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    return listening


def tune(folder, text, budget):
    """The curve of the pipeline's stage, and how long all of it took."""
    pipeline = os.path.join(folder, "pipeline.toml")
    with open(pipeline, "w") as file:
        file.write(text)
    state = ["--state", os.path.join(folder, "state")]
    command = [common.ETL, "tune", pipeline, "--stage", "work", "--budget", str(budget), "--json", "--write", *state]
    begin = time.perf_counter()
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    took = time.perf_counter() - begin
    curve = json.loads(printed)["curves"][0]
    # What was written is what was found.
    planned = subprocess.run([common.ETL, "plan", pipeline, "--json"], check=True, stdout=subprocess.PIPE, text=True)
    work = json.loads(planned.stdout)["stages"][-1]
    grid = "executor", "processes", "threads"
    if [work[key] for key in grid] != [curve["knee"][key] for key in grid]:
        sys.exit(f"the file says {work}, the knee is {curve['knee']}")
    return curve, took


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--budget", type=int, default=60)
    arguments = arguments.parse_args()
    common.build()
    cores = os.cpu_count()
    results, faults = {}, 0
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "items.csv"), "w") as file:
            file.write("id\n" + "".join(f"{i}\n" for i in range(ROWS)))
        cases = [(f"{limit} at once, {LATENCY_S * 1000:.0f} ms each", limit, ASKED) for limit in LIMITS]
        cases.append((f"a loop on {cores} cores", cores, COMPUTED))
        for name, best, text in cases:
            listening = server(best) if text is ASKED else None
            curve, took = tune(folder, text.format(port=listening.server_port) if listening else text, arguments.budget)
            if listening:
                listening.shutdown()
                listening.server_close()
            workers = curve["knee"]["processes"] * curve["knee"]["threads"]
            found = best <= 2 * workers and workers <= 2 * best
            in_time = took <= arguments.budget + 1
            faults += not (found and in_time)
            results[name] = {"best": best, "took_s": took, "curve": curve}
            print(f"{name}: best {best}, knee {curve['knee']['executor']} {workers}, {took:.1f} s of {arguments.budget} s:"
                  f" {'within one doubling' if found else 'MISSED'}{'' if in_time else ', TOO LATE'}")
    common.write_result("tune", {"budget_s": arguments.budget, "results": results})
    if faults:
        sys.exit(f"{faults} of {len(results)} knees were missed")


if __name__ == "__main__":
    main()
