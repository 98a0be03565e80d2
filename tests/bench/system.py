"""The daemon of all users under measurement: what it costs beside one of a single user. It refuses to touch the machine's
own users: its daemons see account files of ours."""

import os
import shutil
import time

import measures
from qrm import Qrm
from timing import Failed, Fifo, series, spawn, until

USERS = 50
JOBS = 100
FIRST_UID = 61_001


class System(Qrm):
    """A daemon of all users, with accounts of its own. `call` and its kind speak as root, `by` as one of the users."""

    @property
    def socket(self):
        return os.path.join(f"{self.state_dir}.run", "qrm.sock")

    @property
    def env(self):
        return {**super().env, "QRM_SOCKET": self.socket}

    def start(self):
        accounts = f"{self.state_dir}.accounts"
        os.makedirs(accounts, exist_ok=True)
        with open(os.path.join(accounts, "passwd"), "w", encoding="utf-8") as file:
            file.write("root:x:0:0::/root:/bin/sh\n")
            file.writelines(f"u{uid}:x:{uid}:{uid}::/:/bin/sh\n" for uid in self.uids())
        with open(os.path.join(accounts, "group"), "w", encoding="utf-8") as file:
            file.write("root:x:0:\n")
        binds = "".join(f"mount --bind {accounts}/{name} /etc/{name} && " for name in ("passwd", "group"))
        qrmd = f"exec {self.program}d --system --foreground --state {self.state_dir} --socket {self.socket}"
        words = os.path.join(self.scratch, "qrmd")
        argv = [shutil.which("unshare"), "--mount", "sh", "-c", f"{binds}{qrmd}"]
        self.server = spawn(argv, {**super().env, **self.settings}, words)
        until("the daemon of all users", lambda: os.path.exists(self.socket) and self.json("daemon", "status"))
        return self

    def uids(self):
        return range(FIRST_UID, FIRST_UID + USERS)

    def by(self, uid, *words):
        """The argument vector of a user's command."""
        return [shutil.which("setpriv"), f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *self.argv(*words)]

    def halt(self):
        self.call("daemon", "stop")
        os.waitpid(self.server, 0)


def _system(bench, name):
    if os.geteuid() != 0:
        raise measures.Skipped("it needs root, for a daemon of all users")
    for program in ("unshare", "setpriv", "mount"):
        if shutil.which(program) is None:
            raise measures.Skipped(f"there is no {program}")
    place = os.path.join(bench.directory, f"{name}-{len(bench.made)}")
    qrm = System(bench.bin, place, bench.bare, QRM_HOST_CPUS=2)
    bench.made.append(qrm)
    return qrm.start()


def measure_system(bench):
    """Each of submit, start and drain in turn with a daemon of one user."""
    user, system = bench.qrm("one-user", QRM_HOST_CPUS=2), _system(bench, "system")
    fifo = Fifo(os.path.join(bench.directory, "system-stamps"))

    def start(qrm):
        def took():
            begun = time.perf_counter_ns()
            qrm.timed("submit", "--", bench.bare, "stamp", fifo.path)
            stamp = fifo.take()
            time.sleep(0.01)  # what ends with it has ended
            return (stamp - begun) / 1e6

        return took

    def submit(qrm):
        return lambda: qrm.timed("submit", "--hold", "--", "/bin/true")

    def drain(qrm):
        jobs = 200 if bench.quick else 1000
        return lambda: 1 / measures.drained(bench, qrm, jobs, fifo)[0]

    try:
        submits = series(bench.rounds, submit(user), submit(system))
        starts = series(bench.rounds, start(user), start(system))
        drains = series(1 if bench.quick else 5, drain(user), drain(system), warm=1)
    finally:
        fifo.close()
        for qrm in (user, system):
            qrm.call("cancel", "state=queued")
            qrm.stop()

    def line(what, both):
        one, all_users = both
        return measures.Line(f"system mode, {what}", all_users / one, "x", 1.3, note="of user mode, in turn")

    return [line("submit", submits), line("submit to start", starts), line("drain, 2 wide", drains)]


def measure_users(bench):
    """What a glance costs one of many users, in turn with a daemon that has that user's jobs alone."""
    single, system = bench.qrm("single", QRM_HOST_CPUS=2), _system(bench, "users")
    job = {"command": ["/bin/true"], "hold": True}
    path = system.lines([job] * JOBS)
    os.chmod(path, 0o644)
    os.chmod(system.scratch, 0o711)
    for uid in system.uids():
        call(system, system.by(uid, "submit", "--bulk", path))
    single.bulk([job] * JOBS)
    plain = [shutil.which("setpriv"), "--clear-groups"]

    def timed(qrm, argv):
        begun = time.perf_counter_ns()
        call(qrm, argv)
        return (time.perf_counter_ns() - begun) / 1e6

    lines = []
    try:
        for words in (("status",), ("jobs",)):
            one, many = series(
                bench.rounds,
                lambda: timed(single, [*plain, *single.argv(*words)]),
                lambda: timed(system, system.by(FIRST_UID, *words)),
            )
            note = f"{USERS} users with {JOBS} jobs each, {many:.2f} ms; one user alone {one:.2f} ms"
            lines.append(measures.Line(f"{words[0]} of one of many", many / one, "x", 1.5, note=note))
    finally:
        for qrm in (single, system):
            qrm.call("cancel", "state=queued")
            qrm.stop()
    return lines


def call(qrm, argv):
    pid = spawn(argv, qrm.env, err=qrm.words)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        with open(qrm.words, encoding="utf-8") as file:
            raise Failed(f"exit code {status} from {' '.join(argv)[:200]}: {file.read()[-200:]}")


ALL = {"system": measure_system, "users": measure_users}
