"""What this machine can do without any queue: one durable SQLite commit on the same disk, and the bare loop of
bare.rs. It refuses to know qrm and its peers; it only builds, runs and cleans up after itself."""

import json
import os
import shutil
import sqlite3
import time

from timing import Failed, call, environment


class Commit:
    """A database of our own with WAL and synchronous=FULL; `once` is one row inserted and committed."""

    def __init__(self, directory):
        self.database = sqlite3.connect(os.path.join(directory, "commit.db"), isolation_level=None)
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.execute("PRAGMA synchronous=FULL")
        self.database.execute("PRAGMA wal_autocheckpoint=0")
        self.database.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, body TEXT)")

    def once(self):
        start = time.perf_counter_ns()
        self.database.execute("INSERT INTO row (body) VALUES (?)", ("x" * 200,))
        return (time.perf_counter_ns() - start) / 1e6

    def close(self):
        self.database.close()


def build(source, directory):
    """Compiles bare.rs with plain rustc and returns the program's path."""
    rustc = shutil.which("rustc")
    if rustc is None:
        raise Failed("rustc is not on PATH; the helper program of the benchmarks needs it")
    program = os.path.join(directory, "bare")
    env = environment(**{key: os.environ[key] for key in ("HOME", "RUSTUP_HOME", "CARGO_HOME") if key in os.environ})
    call([rustc, "--edition", "2024", "-O", "-o", program, source], env, directory)
    return program


def loop(program, directory, jobs, width):
    """Jobs per second of the bare loop, and whether each child had a cgroup of its own."""
    parent = _make_cgroup()
    try:
        words = [program, "loop", str(jobs), str(width)] + ([parent] if parent else [])
        found = json.loads(call(words, environment(), directory))
    finally:
        if parent:
            _remove_cgroup(parent)
    return jobs / found["seconds"], found["cgroups"]


def _make_cgroup():
    """A cgroup of ours below our own one on the v2 mount; None where there is none or we may not."""
    own = _own_cgroup()
    if own is None:
        return None
    path = os.path.join(own, f"qrm-bench-{os.getpid()}")
    try:
        os.mkdir(path)
    except OSError:
        return None
    return path


def _remove_cgroup(path):
    for name in os.listdir(path):
        if os.path.isdir(os.path.join(path, name)):
            os.rmdir(os.path.join(path, name))
    os.rmdir(path)


def _own_cgroup():
    with open("/proc/mounts", encoding="utf-8") as file:
        mounts = [line.split() for line in file]
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        own = [line.strip().split("::", 1)[1] for line in file if line.startswith("0::")]
    for _, place, kind, *_ in mounts:
        if kind == "cgroup2" and own:
            return os.path.join(place, own[0].lstrip("/"))
    return None
