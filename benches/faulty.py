"""Proxies in front of a server, which do to its clients what networks and busy servers do. `benches/campaign.py`
uses them.

`Faulty` understands HTTP: it refuses requests, loses or cuts answers, delays them, or sends requests twice.
`Chaos` understands nothing: it delays bytes, and resets or cuts connections anywhere.
"""
import contextlib, http.client, http.server, json, socket, socketserver, struct, threading, time, urllib.parse

# What happens to a bulk request.
BULK_FAULTS = "429", "503", "reset", "lost answer", "cut answer", "garbled answer", "slow", "late", "twice", "429 of items"
# What happens to other requests, too.
OTHER_FAULTS = "429", "503", "reset", "lost answer", "cut answer", "slow"
PASSED_BACK = "content-type", "x-elastic-product", "warning"
FORWARD_TIMEOUT_S = 60
AT_ONCE = struct.pack("ii", 1, 0)


def will_reset(connection):
    """Closing it ends it at once, and the other side gets a reset."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)


class Proxy:
    """Something that listens on a free port and stands for `url`; `random` decides what it does."""

    def __init__(self, url, random):
        upstream = urllib.parse.urlsplit(url)
        self.upstream = upstream.hostname, upstream.port
        self.random, self.lock = random, threading.Lock()
        self.done = {}

    def decide(self, draw):
        with self.lock:
            return draw(self.random)

    def count(self, fault):
        with self.lock:
            self.done[fault] = self.done.get(fault, 0) + 1

    def __enter__(self):
        self.server = self.listen()
        self.server.daemon_threads, self.server.block_on_close = True, False
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Quiet(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Clients that are killed go away in the middle of an answer."""


class Faulty(Proxy):
    """`share` of the bulk requests, and a quarter of it of the others, meet one of `faults`; requests whose path begins with
    one of `hold` wait that many seconds before they are sent on, at most."""

    def __init__(self, url, random, share=0.0, faults=BULK_FAULTS, late_s=2.0, hold=None):
        super().__init__(url, random)
        self.share, self.faults, self.late_s, self.hold = share, faults, late_s, hold or {}

    def listen(self):
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def any(self):
                proxy.answer(self)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = any

        return Quiet(("127.0.0.1", 0), Handler)

    def draw(self, path):
        bulk = "_bulk" in path
        share = self.share if bulk else self.share / 4
        faults = self.faults if bulk else [fault for fault in self.faults if fault in OTHER_FAULTS]
        return self.decide(lambda random: random.choice(faults) if faults and random.random() < share else None)

    def answer(self, handler):
        body = read_body(handler)
        for begins, seconds in self.hold.items():
            if handler.path.startswith(begins):
                time.sleep(self.decide(lambda random: random.uniform(0, seconds)))
        fault = self.draw(handler.path)
        if fault:
            self.count(fault)
        if fault in ("429", "503"):
            busy = {"error": {"type": "rejected_execution_exception", "reason": "busy"}, "status": int(fault)}
            return respond(handler, int(fault), {"content-type": "application/json"}, json.dumps(busy).encode())
        if fault == "reset":
            return hang_up(handler)
        if fault == "slow":
            time.sleep(self.decide(lambda random: random.uniform(0.1, 0.6)))
        if fault == "429 of items":
            return self.refuse_some(handler, body)
        if fault == "twice":
            self.forward(handler, body)
        status, headers, said = self.forward(handler, body)
        if fault == "late":
            time.sleep(self.late_s)
        if fault == "lost answer":
            return hang_up(handler)
        if fault == "garbled answer":
            said = said[: len(said) // 2]
        respond(handler, status, headers, said, cut=fault == "cut answer")

    def forward(self, handler, body):
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in ("host", "connection", "content-length", "transfer-encoding", "accept-encoding")}
        upstream = http.client.HTTPConnection(*self.upstream, timeout=FORWARD_TIMEOUT_S)
        try:
            upstream.request(handler.command, handler.path, body, headers)
            answer = upstream.getresponse()
            said = answer.read()
            return answer.status, {name: answer.headers[name] for name in PASSED_BACK if answer.headers[name]}, said
        finally:
            upstream.close()

    def refuse_some(self, handler, body):
        """Sends half of the items on, and refuses the others. Items are `index`: two lines each."""
        lines = body.splitlines()
        pairs = [lines[i : i + 2] for i in range(0, len(lines) - 1, 2)]
        taken = self.decide(lambda random: [random.random() < 0.5 for _ in pairs])
        sent = [line + b"\n" for pair, take in zip(pairs, taken) if take for line in pair]
        items = iter(())
        if sent:
            status, headers, said = self.forward(handler, b"".join(sent))
            if status != 200:
                return respond(handler, status, headers, said)
            items = iter(json.loads(said)["items"])
        refused = {"status": 429, "error": {"type": "rejected_execution_exception", "reason": "busy"}}
        merged = [next(items) if take else refuse(pair[0], refused) for pair, take in zip(pairs, taken)]
        answer = {"took": 1, "errors": True, "items": merged}
        respond(handler, 200, {"content-type": "application/json"}, json.dumps(answer).encode())


def refuse(action, refused):
    ((operation, about),) = json.loads(action).items()
    return {operation: {"_index": about.get("_index", ""), "_id": about.get("_id"), **refused}}


def read_body(handler):
    if handler.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    body = b""
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


def respond(handler, status, headers, body, cut=False):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2] if cut else body if handler.command != "HEAD" else b"")
    if cut:
        hang_up(handler)


def hang_up(handler):
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.wfile.flush()
    will_reset(handler.connection)


class Plain(socketserver.ThreadingTCPServer):
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        """What breaks here was broken on purpose."""


class Chaos(Proxy):
    """`share` of the connections end after some bytes, by a reset or cleanly; bytes wait up to `delay_s` on their way."""

    def __init__(self, url, random, share=0.5, delay_s=0.03):
        super().__init__(url, random)
        self.share, self.delay_s = share, delay_s

    def listen(self):
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                proxy.carry(self.request)

        return Plain(("127.0.0.1", 0), Handler)

    def carry(self, client):
        ends = self.decide(lambda random: random.random() < self.share)
        # Some fall in the headers of a request, most in a body.
        left = [self.decide(lambda random: int(10 ** random.uniform(1.5, 5.5)))] if ends else [1 << 62]
        server = socket.create_connection(self.upstream, timeout=FORWARD_TIMEOUT_S)
        there = threading.Thread(target=self.copy, args=(client, server, left), daemon=True)
        there.start()
        self.copy(server, client, left)
        there.join(FORWARD_TIMEOUT_S)
        for connection in (client, server):
            with contextlib.suppress(OSError):
                connection.close()

    def copy(self, source, sink, left):
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                if self.delay_s:
                    time.sleep(self.decide(lambda random: random.uniform(0, self.delay_s) if random.random() < 0.3 else 0))
                sink.sendall(data[: max(left[0], 0)])
                left[0] -= len(data)
                if left[0] <= 0:
                    return self.end(source, sink)
            sink.shutdown(socket.SHUT_WR)

    def end(self, *connections):
        fault = self.decide(lambda random: random.choice(("reset", "cut")))
        self.count(fault)
        for connection in connections:
            if fault == "reset":
                will_reset(connection)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
