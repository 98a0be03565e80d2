"""A log of a real cluster, replayed by `qrmd simulate`: what qrm makes of it beside EASY backfill and first in first out, and how
long that takes. It refuses to know how a schedule is made, and it never fails because a number is bad."""

import argparse
import concurrent.futures
import gzip
import json
import math
import os
import resource
import subprocess
import sys

sys.dont_write_bytecode = True

from measures import Line  # noqa: E402
from run import TARGET, say, table, write_json  # noqa: E402
from timing import Failed  # noqa: E402

OFF, ON = ("qrm", "--fair-share", "off"), ("qrm", "--fair-share", "on")
NAIVE = ("naive", "--fair-share", "off")
# For --spread: one load is one draw, for a schedule that differs a little in the beginning can differ much in the end.
MANY = [0.5 + 0.0125 * n for n in range(37)]


def main():
    args = arguments()
    if not os.access(args.qrmd, os.X_OK):
        say(f"{args.qrmd} is not there; build it with: cargo build --release")
        return 2
    opened = gzip.open if args.log.endswith(".gz") else open
    with opened(args.log, "rb") as file:
        log = file.read()
    replay = Replay(args.qrmd, log, args.cpus)
    try:
        lines = [line for load in args.loads for line in at_load(replay, load)]
        lines += whole(replay)
        if args.spread:
            lines += spread(replay)
    except Failed as why:
        say(str(why))
        return 1
    print(table(lines))
    if args.json:
        write_json(args.json, lines, [], [])
    return 0


def arguments():
    parser = argparse.ArgumentParser(description="Replays a log of jobs by several policies, and compares them.")
    parser.add_argument("log", metavar="LOG", help="in the Standard Workload Format; may be packed with gzip")
    parser.add_argument("--cpus", type=int, default=64, help="of the machine that it is replayed on (64)")
    parser.add_argument("--loads", type=loads, default=[0.7, 0.9], metavar="LOAD,...", help="offered loads (0.7,0.9)")
    parser.add_argument("--spread", action="store_true", help=f"also at {len(MANY)} loads from {MANY[0]} to {MANY[-1]}")
    parser.add_argument("--json", metavar="FILE", help="write the lines there as well")
    parser.add_argument("--qrmd", metavar="FILE", default=os.path.join(TARGET, "release", "qrmd"))
    return parser.parse_args()


def loads(text):
    return [float(word) for word in text.split(",")]


class Replay:
    """A log, and what was said of it."""

    def __init__(self, qrmd, log, cpus):
        self.command = [qrmd, "simulate", "--trace", "-", "--cpus", str(cpus), "--json", "--policy"]
        self.log = log

    def __call__(self, policy, load=None):
        command = self.command + list(policy) + (["--load", str(load)] if load else [])
        done = subprocess.run(command, input=self.log, capture_output=True, check=False)
        if done.returncode:
            raise Failed(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()}")
        return json.loads(done.stdout)

    def timed(self, policy, load=None):
        """The same, with the cpu time of the whole process: what else the machine does matters less then."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        report = self(policy, load)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        report["cpu_s"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return report


def slowdown(report):
    return report["bounded_slowdown"]["mean"]


def wait(report):
    return report["wait_ms"]["p95"]


def at_load(replay, load):
    """What qrm is worth beside the others, at one load."""
    fifo, easy, off, on = (replay.timed(policy, load) for policy in (("fifo",), ("easy",), OFF, ON))
    for what, of, plain in (("bounded slowdown", slowdown, "{:,.0f}"), ("p95 wait", wait, None)):
        show = plain.format if plain else days
        note = f"fifo {show(of(fifo))}, easy {show(of(easy))}, qrm {show(of(off))}, with fair share {show(of(on))}"
        yield Line(f"load {load}: {what}, over easy", ratio(of(off), of(easy)), "x", 1.05, note=note)
        yield Line(f"load {load}: {what}, fifo over qrm", ratio(of(fifo), of(off)), "x", 3, ">=")
        yield Line(f"load {load}: {what}, what fair share costs", ratio(of(on), of(off)), "x")
    note = f"fifo {unfair(fifo)}, easy {unfair(easy)}, without fair share {unfair(off)}"
    unfairness = on["largest_wait_over_fair_share"] or {"ratio": 0}
    yield Line(f"load {load}: largest wait over fair share", unfairness["ratio"], "x", note=note)
    note = f"easy {easy['utilisation']:.3f}, with fair share {on['utilisation']:.3f}"
    yield Line(f"load {load}: utilisation", off["utilisation"], "", note=note)
    naive = replay.timed(NAIVE, load)
    note = f"easy {easy['cpu_s']:.2f} s, with fair share {on['cpu_s']:.2f} s, naive {naive['cpu_s']:.2f} s"
    yield Line(f"load {load}: cpu time of qrm", off["cpu_s"], "s", 30, note=note)
    if slowdown(naive) != slowdown(off) or wait(naive) != wait(off):
        raise Failed(f"the naive scheduler and qrm make different schedules at a load of {load}")


def whole(replay):
    """How fast qrm is when nearly all jobs of the log wait at once: with the times of submits as they are."""
    qrm, naive = min((replay.timed(OFF) for _ in range(3)), key=lambda report: report["cpu_s"]), replay.timed(NAIVE)
    note = f"a load of {qrm['log_load']:.1f}, mean wait {days(qrm['wait_ms']['mean'])}"
    yield Line("as it is: cpu time of qrm", qrm["cpu_s"], "s", 30, note=note)
    yield Line("as it is: naive over qrm", ratio(naive["cpu_s"], qrm["cpu_s"]), "x", 20, ">=", note=f"{naive['cpu_s']:.1f} s")


def spread(replay):
    """The same ratios at many loads."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        easy = list(pool.map(lambda load: replay(("easy",), load), MANY))
        for name, policy in (("qrm", OFF), ("qrm with fair share", ON)):
            found = list(pool.map(lambda load, policy=policy: replay(policy, load), MANY))
            for what, of in (("bounded slowdown", slowdown), ("p95 wait", wait)):
                logs = [math.log(ratio(of(a), of(b))) for a, b in zip(found, easy)]
                middle = sum(logs) / len(logs)
                deviation = math.sqrt(sum((one - middle) ** 2 for one in logs) / len(logs))
                least, most = math.exp(min(logs)), math.exp(max(logs))
                note = f"geometric mean; {least:.2f} to {most:.2f}, standard deviation {deviation:.2f}"
                yield Line(f"{len(MANY)} loads: {what} of {name}, over easy", math.exp(middle), "x", note=note)


def ratio(one, other):
    return max(one, 1e-9) / max(other, 1e-9)


def days(milliseconds):
    return f"{milliseconds / 86_400_000:.1f} d"


def unfair(report):
    largest = report["largest_wait_over_fair_share"]
    return f"{largest['ratio']:.2f}" if largest else "none"


if __name__ == "__main__":
    sys.exit(main())
