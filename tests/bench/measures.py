"""The lines of the benchmark: what is measured of qrm, against what, and which limit it has. It refuses to know how
a daemon is started or a process timed, and it never fails because a number is bad."""

import datetime
import os
import statistics
import sys
import time
from dataclasses import dataclass, field

import baseline
import peers
import scheduler
import system
from qrm import Qrm, checkpoint, copy_of, history, missing
from timing import Failed, Fifo, environment, reap, resident_mb, series, spawn, timed, until


@dataclass
class Line:
    """One row: `measured` in `unit`, and the limit that it is meant to keep ("<=" or ">="), if it has one."""

    name: str
    measured: float
    unit: str
    limit: float = None
    sense: str = "<="
    note: str = ""
    ratio: float = None  # where there is no limit: measured as a multiple of something named in the note

    def __post_init__(self):
        if self.limit:
            self.ratio = self.measured / self.limit

    def verdict(self):
        if self.limit is None:
            return ""
        kept = self.measured <= self.limit if self.sense == "<=" else self.measured >= self.limit
        return "ok" if kept else "short"


class Skipped(Exception):
    """Something is not here that this measure needs; the text names it."""


@dataclass
class Bench:
    """What the measures share: where things are, how long to take, and what was found so far."""

    directory: str
    bin: str
    bin_testing: str
    bare: str
    cache: str
    quick: bool
    say: object
    commit: baseline.Commit
    found: dict = field(default_factory=dict)  # of qrm, for the ratios of its peers
    made: list = field(default_factory=list)
    spoolers: int = 0

    @property
    def rounds(self):
        return 10 if self.quick else 40

    @property
    def many(self):
        return 100_000 if self.quick else 1_000_000

    def qrm(self, name, bin_dir=None, state=None, **settings):
        """A running daemon of our own."""
        place = os.path.join(self.directory, f"{name}-{len(self.made)}")
        if state:
            copy_of(state, place)
        qrm = Qrm(bin_dir or self.bin, place, self.bare, **settings)
        self.made.append(qrm)
        return qrm.start()

    def full_store(self):
        return history(self.bin, self.cache, self.many, self.bare, self.say)

    def with_history(self, **settings):
        return self.qrm("history", state=self.full_store(), **settings)


def measure_commit(bench):
    (took,) = series(50 if bench.quick else 200, bench.commit.once)
    return [Line("one durable commit", took, "ms", note="SQLite, WAL, synchronous=FULL")]


def measure_bare(bench):
    lines = []
    for width in (2, 16):
        rates = [baseline.loop(bench.bare, bench.directory, 1000, width) for _ in range(3)]
        note = "a cgroup each" if rates[0][1] else "no cgroups here"
        lines.append(Line(f"bare loop, {width} wide", statistics.median(rate for rate, _ in rates), "jobs/s", note=note))
    return lines


def measure_submit(bench):
    """Whole client process, the queue held, each qrm in turn with ts and a commit, so that all see the same machine."""
    ts = task_spooler(bench)
    two = {"QRM_HOST_CPUS": 2}
    relaxed = bench.qrm("relaxed", QRM_STORE_DURABILITY="relaxed", **two)
    full = bench.qrm("full", QRM_STORE_DURABILITY="full", **two)
    old = bench.with_history(QRM_STORE_DURABILITY="full", **two)

    def one(qrm):
        return lambda: qrm.timed("submit", "--", "/bin/true")

    try:
        ts.hold()
        for qrm in (relaxed, full, old):
            qrm.gate(cpus=2)
        ts_relaxed, took_relaxed = series(bench.rounds, lambda: ts.timed(ts.submit("/bin/true")), one(relaxed))
        ts_full, took_full, commit = series(
            bench.rounds, lambda: ts.timed(ts.submit("/bin/true")), one(full), bench.commit.once
        )
        before_full, after_full = series(bench.rounds, one(full), one(old))
        old.halt()
        old.settings["QRM_STORE_DURABILITY"] = "relaxed"
        old.start()
        before_relaxed, after_relaxed = series(bench.rounds, one(relaxed), one(old))
    finally:
        ts.release()
        ts.stop()
        for qrm in (relaxed, full, old):
            qrm.call("cancel", "state=queued")
            qrm.stop()
    bench.found["submit_ms"] = took_full
    many = f"{bench.many:,} ended"
    return [
        Line("submit, relaxed", took_relaxed, "ms", 2 * ts_relaxed, note=f"2 x ts {ts_relaxed:.2f}"),
        Line(
            "submit, full", took_full, "ms", 2 * ts_full + 1.3 * commit,
            note=f"2 x ts {ts_full:.2f} + 1.3 x commit {commit:.2f}",
        ),
        Line(f"submit, relaxed, {many}", after_relaxed, "ms", 1.2 * before_relaxed, note="1.2 x without them"),
        Line(f"submit, full, {many}", after_full, "ms", 1.2 * before_full, note="1.2 x without them"),
    ]


def measure_start(bench):
    """From starting the client to the job's own first instruction, nothing else on the machine."""
    ts = task_spooler(bench)
    fifo = Fifo(os.path.join(bench.directory, "start-stamps"))
    relaxed = bench.qrm("start-relaxed", QRM_STORE_DURABILITY="relaxed", QRM_HOST_CPUS=2)
    full = bench.qrm("start-full", QRM_STORE_DURABILITY="full", QRM_HOST_CPUS=2)

    def one(qrm):
        def took():
            begun = time.perf_counter_ns()
            qrm.timed("submit", "--", bench.bare, "stamp", fifo.path)
            stamp = fifo.take()
            time.sleep(peers.REST_S)
            return (stamp - begun) / 1e6

        return took

    try:
        ts_one = lambda: peers.submit_to_start(ts, fifo)  # noqa: E731
        ts_relaxed, took_relaxed = series(bench.rounds, ts_one, one(relaxed))
        ts_full, took_full, commit = series(bench.rounds, ts_one, one(full), bench.commit.once)
    finally:
        fifo.close()
        ts.stop()
        relaxed.stop()
        full.stop()
    bench.found["start_ms"] = took_full
    return [
        Line("submit to start, relaxed", took_relaxed, "ms", 1.5 * ts_relaxed, note=f"1.5 x ts {ts_relaxed:.2f}"),
        Line(
            "submit to start, full", took_full, "ms", 1.5 * ts_full + 1.3 * commit,
            note=f"1.5 x ts {ts_full:.2f} + 1.3 x commit {commit:.2f}",
        ),
    ]


def measure_drain(bench):
    return [_drain(bench, 2, 0.4), _drain(bench, 16, 0.4)]


def measure_slow_disk(bench):
    gone = missing(bench.bin_testing)
    if gone:
        raise Skipped(f"{', '.join(gone)} built with --features testing not in {bench.bin_testing}")
    slow = {"bin_dir": bench.bin_testing, "QRM_TEST_COMMIT_DELAY_MS": 3}
    return [_drain(bench, 16, 0.3, "a commit takes 3 ms more", **slow)]


def drained(bench, qrm, jobs, fifo):
    """Lets so many jobs go that wait behind a gate: jobs a second until a client that waits for all of them has ended, and
    until the last job's own stamp."""
    gate = qrm.gate()
    job = {"command": ["/bin/true"], "cpus": 1, "after": [gate]}
    stamp = {**job, "command": [bench.bare, "stamp", fifo.path]}
    ids = qrm.bulk([job] * (jobs - 1) + [stamp])
    waiter = qrm.waiter(ids)
    time.sleep(0.5)  # the waiter is connected and asks nothing more
    begun = time.perf_counter_ns()
    qrm.gates.pop(gate).open()
    code = reap(waiter)
    ended = time.perf_counter_ns()
    stamped = fifo.take()
    if code != 0:
        raise Failed(f"the drained jobs did not all end well: qrm wait exited with {code}")
    return jobs / ((ended - begun) / 1e9), jobs / ((stamped - begun) / 1e9)


def _drain(bench, width, least, what="", **how):
    """Jobs that wait behind a gate, from opening it until a client that waits for all of them has ended; as a share
    of what the bare loop does in turn with it."""
    jobs = 200 if bench.quick else 1000
    qrm = bench.qrm("drain", QRM_HOST_CPUS=width, **how)
    fifo = Fifo(os.path.join(bench.directory, "drain-stamps"))
    last_stamps = []

    def queue():
        rate, stamp = drained(bench, qrm, jobs, fifo)
        last_stamps.append(stamp)
        return rate

    try:
        bare, rate = series(
            1 if bench.quick else 5, lambda: baseline.loop(bench.bare, bench.directory, jobs, width)[0], queue, warm=1
        )
    finally:
        fifo.close()
        qrm.stop()
    if not what:
        bench.found[f"jobs_per_s_{width}"] = rate
    name = f"drain of {jobs:,}, {width} wide" + (f", {what}" if what else "")
    note = f"{rate:.0f} jobs/s (to the last job's stamp {statistics.median(last_stamps):.0f}); bare loop {bare:.0f}"
    return Line(name, rate / bare, "x bare", least, ">=", note)


def measure_bulk(bench):
    qrm = bench.qrm("bulk")
    count = 10_000
    path = qrm.lines({"command": ["/bin/true", str(n)], "hold": True} for n in range(count))
    try:
        (took,) = series(2 if bench.quick else 7, lambda: qrm.timed("submit", "--bulk", path), warm=1)
    finally:
        qrm.stop()
    return [Line(f"bulk submit of {count:,}", took, "ms", 300)]


def measure_array(bench):
    qrm = bench.qrm("array")

    def one(last):
        return lambda: qrm.timed("submit", "--hold", "--array", f"0-{last}", "--", "/bin/true")

    try:
        small, large = series(bench.rounds // 2, one(9_999), one(999_999))
    finally:
        qrm.stop()
    bench.found["array_ms"] = small
    return [
        Line("submit an array of 10,000", small, "ms", 12),
        Line("submit an array of 1,000,000", large, "ms", 20),
    ]


def measure_lists(bench):
    """status, jobs and show, in turn on a store with many ended jobs and on one with a single ended job."""
    new, old = bench.qrm("empty"), bench.with_history()
    lines = []
    try:
        only = new.submit("--", "/bin/true")
        new.wait([only])
        middle = bench.many // 2  # ids count up from 1
        for verb, new_words, old_words in (
            ("status", ["status"], ["status"]),
            ("jobs", ["jobs"], ["jobs"]),
            ("show", ["show", only], ["show", middle]),
        ):
            before, after = series(
                bench.rounds, lambda words=new_words: new.timed(*words), lambda words=old_words: old.timed(*words)
            )
            many = f"qrm {verb}, {bench.many:,} ended"
            lines.append(Line(many, after, "ms", 8))
            lines.append(Line(f"{many}, over empty", after / before, "x", 1.5, note=f"empty {before:.2f} ms"))
            if verb == "status":
                bench.found["status_ms"] = after
        lines.append(Line(f"memory of qrmd, {bench.many:,} ended", resident_mb([old.pid()]), "MB", 20))
        if not bench.quick:
            lines[-1].note = "after a few hundred requests"
    finally:
        new.stop()
        old.stop()
    return lines


def measure_help(bench):
    """The whole process, and beside it one that does nothing at all."""
    scratch = os.path.join(bench.directory, "help")
    os.makedirs(scratch)
    env = environment(HOME=scratch)
    rounds = 5 * bench.rounds

    def one(*argv):
        return lambda: timed(argv, env)

    took, nothing = series(rounds, one(os.path.join(bench.bin, "qrm"), "--help"), one("/bin/true"))
    return [Line("qrm --help", took, "ms", 2, note=f"/bin/true {nothing:.2f}")]


def measure_completions(bench):
    """What a shell waits for after a TAB. qrm gives up in time when the daemon is slow, so answers are counted, too."""
    count = 10_000 if bench.quick else 100_000
    qrm = bench.qrm("completions", QRM_HOST_CPUS=2)
    words = os.path.join(qrm.scratch, "offered")
    lines = []
    try:
        path = qrm.lines({"command": ["/bin/true", str(n)], "hold": True, "name": f"job-{n}"} for n in range(count))
        qrm.call("submit", "--bulk", path)
        for line in (["cancel", ""], ["release", ""], ["show", "5"], ["jobs", "name", "=", "job-77"]):
            env = {**qrm.env, "COMPLETE": "bash", "_QRM_COMPLETE_INDEX": str(len(line))}
            answers = []

            def one(line=line, env=env, answers=answers):
                if os.path.exists(words):
                    os.unlink(words)
                begun = time.perf_counter_ns()
                code = reap(spawn(qrm.argv("--", "qrm", *line), env, out=words))
                took = (time.perf_counter_ns() - begun) / 1e6
                answers.append(code == 0 and os.path.getsize(words) > 0)
                return took

            (took,) = series(bench.rounds, one)
            name = f"qrm {' '.join(line).replace(' = ', '=')}<TAB>, {count:,} jobs"
            lines.append(Line(name, took, "ms", 50, note=f"{sum(answers)} of {len(answers)} answered"))
    finally:
        qrm.stop()
    return lines


def measure_cleanup(bench):
    """Submits while all ended jobs are forgotten, over submits in the quiet before that."""
    qrm = bench.with_history(QRM_HOST_CPUS=2)

    def one():
        return qrm.timed("submit", "--", "/bin/true")

    try:
        qrm.gate(cpus=2)
        (quiet,) = series(bench.rounds, one)
        begun = time.perf_counter()
        cleaner = spawn(qrm.argv("cleanup", "--older-than", "0s"), qrm.env, out=qrm.words)
        during = []
        while os.waitpid(cleaner, os.WNOHANG) == (0, 0):
            during.append(one())
        took = time.perf_counter() - begun
        ended = len(qrm.json("jobs", "state=ended", "--limit", "1"))
        if ended:
            raise Failed("ended jobs are left")
    finally:
        qrm.call("cancel", "state=queued")
        qrm.stop()
    note = f"{statistics.median(during):.2f} ms over {quiet:.2f}; worst of {len(during)}: {max(during):.1f} ms; took {took:.0f} s"
    ratio = statistics.median(during) / quiet
    return [Line(f"submit while {bench.many:,} ended jobs are forgotten", ratio, "x", 2, note=note)]


# Takes 100 MB at once, says when it has them, and holds them.
HOG = "import time; held = b'x' * 100_000_000; print(time.time(), flush=True); time.sleep(60)"


def measure_watched(bench):
    """How long a job lives that has more memory than it may have, where no control group holds it to that."""
    qrm = bench.qrm("watched", QRM_SUPERVISION_CGROUP="none")
    took = []
    try:
        for _ in range(bench.rounds):
            job = qrm.call("submit", "--mem", "50M", "--", sys.executable, "-c", HOG).strip()
            qrm.call("wait", job, accept=range(256))
            shown = qrm.json("show", job)
            if (shown["failure"] or {}).get("cause") != "oom":
                raise Failed(f"job {job} is not out of memory: {shown['failure']}")
            ended = datetime.datetime.fromisoformat(shown["ended_at"]).timestamp()
            took.append((ended - float(qrm.call("logs", job))) * 1_000)
    finally:
        qrm.stop()
    note = f"median {statistics.median(took):.0f} ms of {len(took)}"
    return [Line("watched memory: too much to ended, worst", max(took), "ms", 250, note=note)]


def measure_bomb(bench):
    """A neighbour that computes the same thing again and again, alone and while one job after the other takes ten times the
    memory that it may have."""
    qrm = bench.qrm("bomb", QRM_HOST_CPUS=2)
    laps = 50 if bench.quick else 300
    bombs = []

    def neighbour():
        return int(qrm.call("run", "--", bench.bare, "laps", laps).split()[1]) / 1e6

    def beside():
        job = qrm.submit("--mem", "64M", "--array", "0-99999%1", "--", bench.bare, "bomb", 640 << 20)
        took = neighbour()
        qrm.call("cancel", job)
        qrm.call("wait", job, accept=range(256))
        # Those that the cancel did not meet were ended for their memory.
        bombs.append(sum(task["failure"]["cause"] == "oom" for task in qrm.json("jobs", "--all", f"array={job}", "state=failed")))
        return took

    try:
        alone, among = series(3 if bench.quick else 10, neighbour, beside, warm=1)
    finally:
        qrm.stop()
    if not all(bombs):
        raise Failed("no job ran out of memory, for no control group limits it here")
    note = f"p99 of a lap {among:.2f} ms, alone {alone:.2f} ms; {statistics.median(bombs):.0f} jobs died meanwhile"
    return [Line("a neighbour of memory bombs, p99", among / alone, "x", 1.5, note=note)]


def measure_idle(bench):
    """Memory of a daemon that has run one job, of a job's shim, and context switches while nothing happens."""
    qrm = bench.qrm("idle")
    seconds = 20 if bench.quick else 60
    try:
        gate = qrm.gate()
        shim = private_dirty_mb(qrm.shim_of(gate))
        qrm.gates.pop(gate).open()
        qrm.wait([gate])
        pid = qrm.pid()
        time.sleep(15)  # threads that had work to do have ended by then
        before = switches(pid)
        time.sleep(seconds)
        after = switches(pid)
        # A thread that ended took its count along, and was woken at least for that.
        woken = sum(n - before.get(thread, 0) for thread, n in after.items()) + len(before.keys() - after.keys())
        woken *= 60 / seconds
        memory = resident_mb([pid])
    finally:
        qrm.stop()
    return [
        Line("memory of qrmd, idle", memory, "MB", 12),
        Line("private dirty memory of a shim", shim, "MB", 0.2),
        Line("wakeups of idle qrmd", woken, "/min", 3, note=f"context switches of all threads in {seconds} s"),
    ]


def measure_sampling(bench):
    """Cpu time of a daemon whose 50 jobs sleep, sampled once a second, less that of one that takes no samples."""
    jobs, seconds = 50, 10 if bench.quick else 30
    took = {}
    for interval in ("1s", "1h"):
        qrm = bench.qrm("sampling", QRM_HOST_CPUS=jobs, QRM_MONITOR_INTERVAL=interval)
        try:
            qrm.bulk([{"command": ["sleep", "3600"]}] * jobs)
            until("the jobs to run", lambda: len(qrm.json("jobs", "state=executing", "--limit", "100")) == jobs)
            pid = qrm.pid()
            time.sleep(15)  # threads that had work to do have ended by then
            before = cpu_ns(pid)
            time.sleep(seconds)
            took[interval] = cpu_ns(pid) - before
        finally:
            qrm.call("cancel", "state=live")
            until("the jobs to end", lambda: not qrm.json("jobs", "state=live", "--limit", "1"))
            qrm.stop()
    share = (took["1s"] - took["1h"]) / (seconds * 1e9) * 100
    note = f"{took['1s'] / 1e6:.1f} ms in {seconds} s; {took['1h'] / 1e6:.1f} ms without samples"
    return [Line(f"sampling of {jobs} jobs, once a second", share, "% of a core", 0.1, note=note)]


def measure_restart(bench):
    """From starting a client to its answer when no daemon runs: stopped first, then killed first."""
    qrm = bench.with_history(QRM_HOST_CPUS=2)
    waiting = 10_000 if bench.quick else 100_000
    lines = []
    try:
        gates = [qrm.gate(), qrm.gate()]
        qrm.call("submit", "--bulk", qrm.lines({"command": ["/bin/true", str(n)]} for n in range(waiting)))
        for how, end in (("stopped", qrm.halt), ("killed", qrm.crash)):

            def once(end=end):
                end()
                return qrm.timed("status")

            (took,) = series(1 if bench.quick else 3, once, warm=0)
            running = [job["id"] for job in qrm.json("jobs", "state=executing")]
            note = f"{len(set(running) & set(gates))} of {len(gates)} running jobs adopted"
            name = f"first answer after qrmd was {how}, {waiting:,} waiting, {bench.many:,} ended"
            lines.append(Line(name, took, "ms", 1000, note=note))
        qrm.call("cancel", "state=queued")
    finally:
        qrm.stop()
    return lines


def measure_disk(bench):
    """Bytes and files that 10,000 ended jobs without output leave behind, and memory after them."""
    count = 1_000 if bench.quick else 10_000
    qrm = bench.qrm("disk", QRM_STORE_DURABILITY="relaxed", QRM_HOST_CPUS=4)
    try:
        qrm.wait([qrm.submit("--", "/bin/true")])
        qrm.halt()
        bytes_before, files_before, folders_before = checkpoint(qrm.state_dir)
        qrm.start()
        live_before = qrm.store_bytes()
        ids = qrm.bulk([{"command": ["/bin/true"]}] * count)
        qrm.wait(ids)
        time.sleep(1)
        live = (qrm.store_bytes() - live_before) / count
        memory = resident_mb([qrm.pid()])
    finally:
        qrm.stop()
    after, files, folders = checkpoint(qrm.state_dir)
    left = sorted(set(files) - set(files_before))
    note = f"store_bytes with its log: {live:.0f}; {len(set(folders) - set(folders_before))} folders left"
    return [
        Line("disk of an ended job", (after - bytes_before) / count, "bytes", 1024, note=note),
        Line(f"files left by {count:,} jobs", len(left), "files", 0, note=os.path.basename(left[0]) if left else ""),
        Line(f"memory of qrmd, {count:,} ended", memory, "MB", 15),
    ]


def measure_peer(bench, name):
    """One peer, and each of its numbers as a multiple of qrm's, where that was measured in this run."""
    kind = peers.ALL[name]
    why = kind.missing()
    if why:
        raise Skipped(why)
    found = peers.measure(kind, bench.directory, bench.bare, bench.quick)
    drain_note = f"{found['jobs']} jobs, " + (f"{kind.wide} wide" if kind.holds else "from the first submit on")
    rows = [
        ("submit", "submit_ms", "ms", "submit_ms", ""),
        ("submit to start", "start_ms", "ms", "start_ms", ""),
        ("drain", "jobs_per_s", "jobs/s", "jobs_per_s_2", drain_note),
        ("status", "status_ms", "ms", "status_ms", f"{found['ended']} ended"),
        ("memory", "mb", "MB", None, ""),
        ("array of 10,000", "array_ms", "ms", "array_ms", ""),
    ]
    lines = []
    for what, key, unit, of_qrm, note in rows:
        if found.get(key) is None:
            continue
        ours = bench.found.get(of_qrm)
        lines.append(Line(f"{name}: {what}", found[key], unit, note=note, ratio=found[key] / ours if ours else None))
        if ours:
            lines[-1].note = ", ".join(filter(None, [note, "ratio: to qrm, full"]))
    return lines


def task_spooler(bench):
    """A running ts, for the limits that are multiples of it."""
    why = peers.TaskSpooler.missing()
    if why:
        raise Skipped(f"ts: {why}")
    bench.spoolers += 1
    ts = peers.TaskSpooler(os.path.join(bench.directory, f"beside-{bench.spoolers}"), bench.bare)
    ts.start()
    return ts


def private_dirty_mb(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Private_Dirty")) * 1024 / 1e6


def switches(pid):
    """Voluntary and involuntary context switches of each thread."""
    counts = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status", encoding="utf-8") as file:
            counts[thread] = sum(int(line.split()[1]) for line in file if "_ctxt_switches" in line)
    return counts


def cpu_ns(pid):
    """Cpu time of all threads, also of those that ended."""
    clock = ~pid << 3 | 2  # CPUCLOCK_SCHED of a whole process, as clock_getcpuclockid(3) says it
    return time.clock_gettime_ns(clock)


ALL = {
    "commit": measure_commit,
    "bare": measure_bare,
    "submit": measure_submit,
    "start": measure_start,
    "drain": measure_drain,
    "slow-disk": measure_slow_disk,
    "bulk": measure_bulk,
    "array": measure_array,
    "lists": measure_lists,
    "help": measure_help,
    "completions": measure_completions,
    "cleanup": measure_cleanup,
    "watched": measure_watched,
    "bomb": measure_bomb,
    "idle": measure_idle,
    "sampling": measure_sampling,
    "restart": measure_restart,
    "disk": measure_disk,
    **scheduler.ALL,
    **system.ALL,
    **{name: lambda bench, name=name: measure_peer(bench, name) for name in peers.ALL},
}
WITHOUT_QRM = {"commit", "bare", *peers.ALL}
