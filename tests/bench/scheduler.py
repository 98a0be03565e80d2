"""The scheduler under measurement: the daemon with very many jobs waiting, beside one with few. It refuses to look inside:
what a pass costs alone is the business of `cargo bench -p qrm-daemon --bench million`."""

import json
import os
import secrets
import socket
import threading
import time

import measures
from qrm import Qrm
from timing import Failed, Fifo, Gate, resident_mb, series

SHAPES = 1_000
FEW = 1_000
CPUS = 4
# Jobs of a bulk whose lines are one file.
PART = 100_000


def fill(qrm, count):
    """That many jobs that wait, of all shapes alike, in parts."""
    for first in range(0, count, PART):
        part = range(first, min(first + PART, count))
        path = qrm.lines(
            {"command": ["/bin/true"], "cpus": 1 + n % 4, "mem": f"{1 + n // 4 % 250}M", "time": "10m"} for n in part
        )
        qrm.call("submit", "--bulk", path)
        os.unlink(path)


class Waiting:
    """A daemon whose cpus are all held by one job, behind which others wait."""

    def __init__(self, bench, count, ended):
        settings = {"QRM_HOST_CPUS": CPUS, "QRM_HOST_MEMORY": "4G", "QRM_STORE_DURABILITY": "relaxed"}
        self.qrm = bench.with_history(**settings) if ended else bench.qrm("waiting", **settings)
        self.fifo = Fifo(os.path.join(self.qrm.scratch, "stamps"))
        self.gate = None
        self.hold()
        self.empty_mb = resident_mb([self.qrm.pid()])
        fill(self.qrm, count)
        self.last = self.qrm.json("jobs", "--limit", "1")[0]["id"]

    def hold(self):
        """Lets the job that holds the cpus end, and the next one that does start: from the one until the other's first act."""
        gate = Gate(os.path.join(self.qrm.scratch, f"gate-{secrets.token_hex(4)}"))
        script = f"{self.qrm.bare} stamp {self.fifo.path}; exec {self.qrm.bare} gate {gate.path}"
        self.qrm.submit("--cpus", CPUS, "--priority", "critical", "--time", "1h", "--", "sh", "-c", script)
        begun = time.perf_counter_ns()
        if self.gate:
            self.gate.open()
        stamp = self.fifo.take()
        gate.reached()
        self.gate = gate
        time.sleep(0.02)  # it rests
        return (stamp - begun) / 1e6

    def submit(self):
        return self.qrm.timed("submit", "--time", "10m", "--", "/bin/true")

    def explain(self):
        return self.qrm.timed("explain", self.last)

    def status(self):
        return self.qrm.timed("status")

    def stop(self):
        # The jobs that wait would start when the gate is opened, and after a crash the shim would start the daemon.
        self.qrm.halt()
        self.gate.open()
        self.fifo.close()


def measure_waiting(bench):
    """Submit, explain, status and the next start, in turn with few and with very many jobs waiting and ended."""
    few = Waiting(bench, FEW, ended=False)
    many = Waiting(bench, bench.many, ended=True)
    lines = []
    what = f"{bench.many:,} waiting and ended"
    try:
        grown = (resident_mb([many.qrm.pid()]) - many.empty_mb) * 1e6 / bench.many
        for name in ("submit", "hold", "explain", "status"):
            before, after = series(bench.rounds, getattr(few, name), getattr(many, name))
            title = "next start after an end" if name == "hold" else name
            note = f"{after:.2f} ms over {before:.2f}"
            lines.append(measures.Line(f"{title}, {what}, over {FEW:,}", after / before, "x", 2, note=note))
        note = "resident memory of qrmd, after all were submitted; the bench million measures the core alone"
        lines.append(measures.Line(f"memory of a waiting job, of {bench.many:,}", grown, "bytes", 256, note=note))
        lines += asked(many, bench)
    finally:
        few.stop()
        many.stop()
    return lines


class Asker(threading.Thread):
    """A client that asks for the status a hundred times a second, while it is let to."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.client.settimeout(60)
        self.client.connect(path)
        self.answered = 0
        self.asks = threading.Event()
        self.over = False

    def run(self):
        frames = self.client.makefile("rb")
        while self.asks.wait() and not self.over:
            begun = time.perf_counter()
            frame = {"jsonrpc": "2.0", "id": self.answered, "method": "status", "params": {}}
            self.client.sendall(json.dumps(frame).encode() + b"\n")
            if "result" not in json.loads(frames.readline()):
                return
            self.answered += 1
            time.sleep(max(0.0, begun + 0.01 - time.perf_counter()))

    def meanwhile(self, what):
        """What a function returns, asking while it runs."""
        self.asks.set()
        try:
            return what()
        finally:
            self.asks.clear()

    def stop(self):
        self.over = True
        self.asks.set()
        self.join()
        self.client.close()


def asked(waiting, bench):
    """What it costs the daemon to be asked for the status a hundred times a second, and what that does to the next start."""
    seconds = 3 if bench.quick else 10
    pid = waiting.qrm.pid()
    asker = Asker(waiting.qrm.json("daemon", "status")["socket"])
    asker.start()

    def spent():
        """Seconds, nanoseconds of the daemon's cpu time, and answers."""
        before = time.perf_counter(), measures.cpu_ns(pid), asker.answered
        time.sleep(seconds)
        after = time.perf_counter(), measures.cpu_ns(pid), asker.answered
        return [b - a for a, b in zip(before, after)]

    try:
        alone, idle, _ = spent()
        took, used, answered = asker.meanwhile(spent)
        quiet, meanwhile = series(bench.rounds, waiting.hold, lambda: asker.meanwhile(waiting.hold))
        alive = asker.is_alive()
    finally:
        asker.stop()
    if not alive or answered < 50 * seconds:
        raise Failed(f"only {answered} statuses were answered in {took:.0f} s")
    note = f"{answered / took:.0f} a second, {used / answered / 1e3:.0f} us each; {idle / 1e7 / alone:.2f} % without"
    ratio = f"{meanwhile:.2f} ms over {quiet:.2f}"
    return [
        measures.Line("status a hundred times a second", used / answered / 1e5, "% of a core", 5, note=note),
        measures.Line("next start meanwhile, over quiet", meanwhile / quiet, "x", 1.2, note=ratio),
    ]


ALL = {"waiting": measure_waiting}
