"""The scheduler under measurement: the daemon with very many jobs waiting, beside one with few. It refuses to look inside:
what a pass costs alone is the business of `cargo bench -p qrm-core`."""

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
        # The jobs that wait would start when the gate is opened.
        self.qrm.crash()
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
        note = "resident memory of qrmd, after all were submitted; cargo bench -p qrm-core measures the core alone"
        lines.append(measures.Line(f"memory of a waiting job, of {bench.many:,}", grown, "bytes", 256, note=note))
        lines += asked(many, bench)
    finally:
        few.stop()
        many.stop()
    return lines


class Asker(threading.Thread):
    """A client that asks for the status a hundred times a second."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.client.connect(path)
        self.answered = 0
        self.over = threading.Event()

    def run(self):
        frames = self.client.makefile("rb")
        begun = time.perf_counter()
        while not self.over.wait(max(0.0, begun + self.answered / 100 - time.perf_counter())):
            frame = {"jsonrpc": "2.0", "id": self.answered, "method": "status", "params": {}}
            self.client.sendall(json.dumps(frame).encode() + b"\n")
            if "result" not in json.loads(frames.readline()):
                return
            self.answered += 1

    def stop(self):
        self.over.set()
        self.join()
        self.client.close()


def asked(waiting, bench):
    """What it costs the daemon to be asked for the status a hundred times a second, and what that does to the next start."""
    seconds = 3 if bench.quick else 10
    pid = waiting.qrm.pid()
    path = waiting.qrm.json("daemon", "status")["socket"]
    (quiet,) = series(bench.rounds // 2, waiting.hold)
    asker = Asker(path)
    asker.start()
    begun, used, answered = time.perf_counter(), measures.cpu_ns(pid), asker.answered
    time.sleep(seconds)
    took, used, answered = time.perf_counter() - begun, measures.cpu_ns(pid) - used, asker.answered - answered
    (meanwhile,) = series(bench.rounds // 2, waiting.hold)
    alive = asker.is_alive()
    asker.stop()
    if not alive or answered < 50 * seconds:
        raise Failed(f"only {answered} statuses were answered in {took:.0f} s")
    note = f"{answered / took:.0f} a second, {used / answered / 1e3:.0f} us each"
    return [
        measures.Line("status a hundred times a second", used / 1e7 / took, "% of a core", 5, note=note),
        measures.Line(
            "next start meanwhile, over quiet", meanwhile / quiet, "x", note=f"{meanwhile:.2f} ms over {quiet:.2f}"
        ),
    ]


ALL = {"waiting": measure_waiting}
