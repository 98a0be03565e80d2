"""qrm under measurement: a daemon in a private state directory, its client's argument vectors, and a store with many
ended jobs made once by the real commands. It refuses to know limits, peers and what is being proved."""

import hashlib
import json
import os
import secrets
import shutil
import signal
import sqlite3
import time

from timing import Failed, Gate, call, environment, parent_of, reading, spawn, timed, until

# A prepared store of another build that nobody touched for this long is removed (a store of a million is 1 GB).
OLD_S = 6 * 3600

PROGRAMS = ("qrm", "qrmd", "qrm-shim")


def missing(bin_dir):
    """Which of the three programs are not in bin_dir."""
    return [name for name in PROGRAMS if not os.access(os.path.join(bin_dir, name), os.X_OK)]


class Qrm:
    """One daemon of our own. `settings` are environment variables for it, such as QRM_STORE_DURABILITY."""

    def __init__(self, bin_dir, state_dir, bare, **settings):
        self.program = os.path.join(bin_dir, "qrm")
        self.state_dir = state_dir
        self.bare = bare
        os.makedirs(state_dir, mode=0o700, exist_ok=True)
        self.scratch = f"{state_dir}.scratch"
        os.makedirs(self.scratch, mode=0o700, exist_ok=True)
        self.words = os.path.join(self.scratch, "stderr")
        self.settings = {key: str(value) for key, value in settings.items()}
        self.gates = {}

    @property
    def env(self):
        # No HOME: nobody's configuration is read and nothing outside the private directory is written.
        return environment(QRM_STATE_DIR=self.state_dir, HOME=self.scratch, **self.settings)

    def argv(self, *words):
        return [self.program, *map(str, words)]

    def call(self, *words, **how):
        return call(self.argv(*words), self.env, self.scratch, **how)

    def json(self, *words):
        return json.loads(self.call(*words, "--json"))

    def timed(self, *words):
        """Milliseconds of the whole client process."""
        return timed(self.argv(*words), self.env, self.words)

    def start(self):
        """Starts the daemon and makes sure that it is ours: a system daemon must never get a benchmark's jobs."""
        self.call("daemon", "start")
        state = self.json("daemon", "status")["state_dir"]
        if os.path.realpath(state) != os.path.realpath(self.state_dir):
            raise Failed(f"the daemon that answered keeps its state in {state}, not in {self.state_dir}")
        return self

    def pid(self):
        return int(self.json("daemon", "status")["pid"])

    def stop(self):
        """Lets the running gates end, then stops the daemon; returns when its process is gone."""
        for gate_id, gate in list(self.gates.items()):
            gate.open()
            self.call("wait", gate_id, limit_s=60, accept=range(256))
            del self.gates[gate_id]
        self.halt()

    def halt(self):
        """Stops the daemon as a person would; jobs go on."""
        pid = self.pid()
        self.call("daemon", "stop")
        until("qrmd to be gone", lambda: not _alive(pid))

    def crash(self):
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        until("qrmd to be gone", lambda: not _alive(pid))

    def gate(self, cpus=1):
        """A running job that waits to be let go; its id."""
        gate = Gate(os.path.join(self.scratch, f"gate-{secrets.token_hex(4)}"))
        gate_id = self.submit("--cpus", cpus, "--", self.bare, "gate", gate.path)
        gate.reached()
        self.gates[gate_id] = gate
        return gate_id

    def shim_of(self, gate_id):
        """The pid of the process that watches a gate."""
        return parent_of(reading(self.gates[gate_id].path))

    def submit(self, *words):
        """Submits and returns the id."""
        return self.call("submit", *words).split()[0]

    def lines(self, jobs):
        """A file of bulk lines."""
        path = os.path.join(self.scratch, f"bulk-{secrets.token_hex(4)}")
        with open(path, "w", encoding="utf-8") as file:
            for job in jobs:
                file.write(json.dumps(job) + "\n")
        return path

    def bulk(self, jobs):
        """Submits all of `jobs` (dicts with the keys of a bulk line) at once and returns their ids."""
        path = self.lines(jobs)
        ids = self.call("submit", "--bulk", path).split()
        os.unlink(path)
        return ids

    def wait(self, ids):
        for first in range(0, len(ids), 1000):
            self.call("wait", *ids[first : first + 1000])

    def waiter(self, ids):
        """Starts a client that ends when all of ids have ended; its pid."""
        return spawn(self.argv("wait", *ids), self.env, out=self.words)

    def store_bytes(self):
        return int(self.json("daemon", "status")["store_bytes"])


def checkpoint(state_dir):
    """Checkpoints every SQLite file of a stopped daemon and returns (bytes of these files, other files, folders)."""
    size, files, folders = 0, [], []
    for folder, subfolders, names in os.walk(state_dir):
        folders += [os.path.join(folder, name) for name in subfolders]
        for name in names:
            path = os.path.join(folder, name)
            if _is_sqlite(path):
                with sqlite3.connect(path) as database:
                    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                database.close()
                size += os.path.getsize(path)
            elif os.path.isfile(path) and not name.endswith(("-wal", "-shm")):
                files.append(path)
    return size, files, folders


def history(bin_dir, cache, count, bare, say):
    """A directory that holds the state of a stopped daemon with `count` ended jobs, made once for each build of qrmd
    by the real commands: bulk submits of held jobs, then one cancel. Older builds' directories are removed."""
    with open(os.path.join(bin_dir, "qrmd"), "rb") as file:
        key = f"{hashlib.sha256(file.read()).hexdigest()[:16]}-{count}"
    place = os.path.join(cache, key)
    if os.path.isdir(place):
        return place
    os.makedirs(cache, mode=0o700, exist_ok=True)
    if os.lstat(cache).st_uid != os.geteuid():
        raise Failed(f"{cache} belongs to somebody else")
    for old in os.listdir(cache):
        path = os.path.join(cache, old)
        if not old.startswith(key.split("-")[0]) and time.time() - os.stat(path).st_mtime > OLD_S:
            shutil.rmtree(path)
    say(f"making a store with {count:,} ended jobs, once for this build")
    unfinished = f"{place}.{os.getpid()}"
    qrm = Qrm(bin_dir, unfinished, bare, QRM_STORE_DURABILITY="relaxed").start()
    try:
        path = qrm.lines({"command": ["/bin/true", str(n)], "hold": True} for n in range(min(count, 100_000)))
        for _ in range(count // min(count, 100_000)):
            qrm.call("submit", "--bulk", path)
        qrm.call("cancel", "state=queued")
        qrm.halt()
        os.rename(unfinished, place)
    finally:
        if os.path.isdir(unfinished):
            try:
                qrm.halt()
            except Failed:
                pass
            shutil.rmtree(unfinished)
        shutil.rmtree(qrm.scratch)
    return place


def copy_of(place, target):
    """A private copy of a prepared state directory, to be changed."""
    shutil.copytree(place, target, symlinks=True)
    os.chmod(target, 0o700)
    return target


def _is_sqlite(path):
    try:
        with open(path, "rb") as file:
            return file.read(16) == b"SQLite format 3\0"
    except OSError:
        return False


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False
