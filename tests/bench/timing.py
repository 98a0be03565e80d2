"""Starting programs and timing them whole, from posix_spawn to wait4, with the same small overhead for everyone.
It refuses to know what the programs do: no queue, no limit and no table is named here."""

import os
import secrets
import select
import signal
import statistics
import time

# Every process started here carries this variable, and so does whatever it starts in turn: what is left at the end is
# found by it, and nothing else is ever signalled.
TOKEN_NAME = "QRM_BENCH_TOKEN"
TOKEN = secrets.token_hex(16)

# No single measured command may take longer; a hung peer must not hang the run.
LIMIT_S = 900


class Failed(Exception):
    """A program could not be run, ended badly or did not end in time; the text says which."""


def environment(**extra):
    """A small environment of our own, the same for everyone, plus `extra`."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C", TOKEN_NAME: TOKEN, **extra}


def spawn(argv, env, out="/dev/null", err=None, session=False):
    """Starts argv with no inherited stream: stdin is /dev/null, stdout the file `out`, stderr the same or `err`."""
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, out, append, 0o600),
        (os.POSIX_SPAWN_OPEN, 2, err or out, append, 0o600),
    ]
    extra = {"setsid": True} if session else {}
    return os.posix_spawn(argv[0], argv, env, file_actions=actions, **extra)


def reap(pid, limit_s=LIMIT_S):
    """Waits for a child of ours; its exit code, negative for a signal. Kills it when the limit is over."""

    def too_late(_signal, _frame):
        raise Failed(f"still running after {limit_s} s")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(limit_s)
    try:
        _, status, _ = os.wait4(pid, 0)
    except Failed:
        os.kill(pid, signal.SIGKILL)
        os.wait4(pid, 0)
        raise
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return os.waitstatus_to_exitcode(status)


def timed(argv, env, words="/dev/null"):
    """Milliseconds of one whole process; it must exit with 0. Its stderr goes to the file `words`."""
    start = time.perf_counter_ns()
    pid = spawn(argv, env, err=words)
    code = reap(pid)
    took = time.perf_counter_ns() - start
    if code != 0:
        raise Failed(f"exit code {code} from {' '.join(argv)[:200]}: {_tail(words)}")
    return took / 1e6


def call(argv, env, scratch, limit_s=LIMIT_S, accept=(0,)):
    """Runs argv untimed and returns what it printed, through a file: a daemon it starts can not hold our pipe."""
    out = os.path.join(scratch, f"out-{secrets.token_hex(4)}")
    try:
        code = reap(spawn(argv, env, out), limit_s)
        with open(out, encoding="utf-8", errors="replace") as file:
            text = file.read()
    finally:
        if os.path.exists(out):
            os.unlink(out)
    if code not in accept:
        raise Failed(f"exit code {code} from {' '.join(argv)[:200]}: {text.strip()[-400:]}")
    return text


def series(rounds, *jobs, warm=3):
    """Medians of several measurements taken in turn, so that they share the machine's mood: each of `jobs` is a
    function that returns one number; `warm` rounds are thrown away."""
    taken = [[] for _ in jobs]
    for turn in range(warm + rounds):
        for numbers, job in zip(taken, jobs):
            number = job()
            if turn >= warm:
                numbers.append(number)
    return [statistics.median(numbers) for numbers in taken]


def until(what, ready, limit_s=60, pause_s=0.02):
    """Waits until ready() is true; used around measurements, never within one."""
    end = time.monotonic() + limit_s
    while not ready():
        if time.monotonic() > end:
            raise Failed(f"waited {limit_s} s for {what}")
        time.sleep(pause_s)


class Fifo:
    """A named pipe that jobs talk through: `take` reads the stamp that a job wrote, without polling."""

    def __init__(self, path):
        self.path = path
        os.mkfifo(path, 0o600)
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.rest = b""

    def take(self, limit_s=60):
        """The next stamp as nanoseconds of CLOCK_MONOTONIC, the clock of perf_counter_ns."""
        end = time.monotonic() + limit_s
        while b"\n" not in self.rest:
            ready, _, _ = select.select([self.fd], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise Failed(f"no job wrote its stamp within {limit_s} s")
            self.rest += os.read(self.fd, 65536)
        line, self.rest = self.rest.split(b"\n", 1)
        return int(line.split()[0])

    def close(self):
        os.close(self.fd)
        os.unlink(self.path)


class Gate:
    """A named pipe on which one job (`bare gate PATH`) blocks; `open` lets it end."""

    def __init__(self, path):
        self.path = path
        os.mkfifo(path, 0o600)
        self.fd = None

    def _try(self):
        try:
            self.fd = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return False
        return True

    def reached(self, limit_s=60):
        """Waits until the job is there."""
        until("the job that holds the queue", self._try, limit_s)

    def open(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


def parent_of(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return int(file.read().rsplit(")", 1)[1].split()[1])


def reading(path):
    """The pid of the gate job that blocks on `path`, or None."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().rstrip(b"\0").split(b"\0")
        except OSError:
            continue
        if words[1:] == [b"gate", os.fsencode(path)]:
            return int(pid)
    return None


def ours(name=None, directory=None):
    """Pids that this run started and that live: they carry our token, or name our private directory (a job whose
    environment was cleaned). `name` narrows to one program."""
    marks = (f"{TOKEN_NAME}={TOKEN}".encode(), os.fsencode(directory) if directory else None)
    return [int(pid) for pid in filter(str.isdigit, os.listdir("/proc")) if _is_ours(int(pid), marks, name)]


def terminate(name, limit_s=10):
    """Ends the daemons of this run that are called `name`: TERM by pid, then KILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in ours(name):
            _kill(pid, number)
        end = time.monotonic() + limit_s
        while ours(name) and time.monotonic() < end:
            _reap_all()
            time.sleep(0.02)
        if not ours(name):
            return


def sweep(directory):
    """Kills, one by one and by pid, all that this run started and that is still there, and removes the cgroups that
    were made for it. Returns how many processes there were."""
    killed, cgroups = set(), set()
    for _ in range(50):
        found = ours(directory=directory)
        if not found:
            break
        for pid in found:
            killed.add(pid)
            cgroups |= _cgroups_of(pid)
            _kill(pid, signal.SIGKILL)
        _reap_all()
        time.sleep(0.05)
    for path in cgroups - _cgroups_of(os.getpid()):
        while "qrm" in os.path.basename(path) or "qrm" in os.path.basename(os.path.dirname(path)):
            try:
                os.rmdir(path)  # refused by the kernel while anything lives in it or below it
            except OSError:
                break
            path = os.path.dirname(path)
    return len(killed)


def _cgroups_of(pid):
    """The directories of all cgroups that a process is in."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
            own = [line.strip().split(":", 2)[1:] for line in file]
        with open("/proc/mounts", encoding="utf-8") as file:
            mounts = [line.split() for line in file]
    except OSError:
        return set()
    return {
        os.path.normpath(place + path)
        for controllers, path in own
        for _, place, kind, options, *_ in mounts
        if (kind == "cgroup2" and not controllers)
        or (kind == "cgroup" and controllers and set(controllers.split(",")) <= set(options.split(",")))
    }


def resident_mb(pids):
    """Resident memory of these processes together, in MB of 10^6 bytes."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            total += next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    return total * 1024 / 1e6


def _kill(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _is_ours(pid, marks, name):
    if pid == os.getpid():
        return False
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environ = file.read()
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            cmdline = file.read()
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            comm = file.read().strip()
    except OSError:
        return False
    if name is not None and comm != name:
        return False
    return marks[0] in environ.split(b"\0") or bool(marks[1] and marks[1] in cmdline)


def _reap_all():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _tail(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()[-300:]
