"""The queues that qrm is measured against: how each is started in a private folder, asked, held, let go and stopped.
It refuses to know qrm and the limits; a peer that is not on PATH is reported as missing, never installed."""

import json
import os
import shutil
import socket
import time

from timing import Failed, Fifo, Gate, call, environment, ours, resident_mb, series, spawn, terminate, timed, until


# After each start that is timed: what a queue still does for the job before must not be in the next one's time.
REST_S = 0.03


class Peer:
    """One queue. The words shared by all: `submit` and `status` give an argument vector to be timed whole; after
    `hold` nothing starts until `release`."""

    name = "?"
    needs = ()  # programs that must be on PATH
    wide = 2  # jobs at once
    starts = 20  # rounds of submit-to-start
    waiting = 900  # jobs in the drain
    holds = True  # False: nothing holds its queue, so its drain is timed from the first submit on
    ended = 0  # ended tasks wanted when `status` is timed, if more than the drain left

    def __init__(self, directory, bare):
        self.directory = os.path.join(directory, self.name)
        os.makedirs(self.directory, mode=0o700)
        self.bare = bare
        self.env = environment(HOME=self.directory, TMPDIR=self.directory)
        self.gates = []
        self.words = os.path.join(self.directory, "stderr")

    @classmethod
    def missing(cls):
        """Why it can not be measured here, or None."""
        gone = [program for program in cls.needs if find(program) is None]
        return f"{', '.join(gone)} not on PATH" if gone else None

    def start(self):
        """Starts the daemon, if it has one."""

    def submit(self, *command):
        raise NotImplementedError

    def status(self):
        return None

    def array(self, last):
        """A held array of no-op jobs 0 to `last`, where there are arrays."""
        return None

    def hold(self):
        """By default: as many blocking jobs as may run at once."""
        for number in range(self.wide):
            gate = Gate(os.path.join(self.directory, f"gate-{number}-{time.monotonic_ns()}"))
            self.call(self.submit(self.bare, "gate", gate.path))
            gate.reached()
            self.gates.append(gate)

    def release(self):
        while self.gates:
            self.gates.pop().open()

    def hurry(self):
        """Lets many jobs run at once, to fill the history quickly, where that is possible."""

    def daemons(self):
        """Pids whose memory is the daemon's."""
        return []

    def stop(self):
        """Ends what `start` began."""

    def call(self, argv, **how):
        return call(argv, self.env, self.directory, **how)

    def timed(self, argv):
        return timed(argv, self.env, self.words)


class TaskSpooler(Peer):
    """task-spooler: keeps nothing on disk, one client process per queued job, full just under 1,000."""

    name = "ts"
    needs = ("tsp",)
    starts = 40

    def start(self):
        self.env.update(
            TS_SOCKET=os.path.join(self.directory, "socket"), TS_SLOTS=str(self.wide), TS_MAXFINISHED="20000"
        )
        self.call([find("tsp")])

    def submit(self, *command):
        return [find("tsp"), *command]

    def status(self):
        return [find("tsp")]

    def daemons(self):
        return ours("tsp")[:1]

    def stop(self):
        self.call([find("tsp"), "-K"])
        terminate("tsp")


class Nq(Peer):
    """nq: no daemon, one job at a time, each waits on the locks of those before it."""

    name = "nq"
    needs = ("nq",)
    wide = 1
    starts = 40

    def start(self):
        self.env["NQDIR"] = os.path.join(self.directory, "queue")

    def submit(self, *command):
        return [find("nq"), *command]


class Pueue(Peer):
    name = "pueue"
    needs = ("pueue", "pueued")
    waiting = 100
    ended = 1000

    def start(self):
        config = os.path.join(self.directory, "pueue.yml")
        with open(config, "w", encoding="utf-8") as file:
            json.dump(  # JSON is YAML
                {
                    "client": {},
                    "daemon": {},
                    "shared": {
                        "pueue_directory": self.directory,
                        "runtime_directory": self.directory,
                        "use_unix_socket": True,
                        "unix_socket_path": os.path.join(self.directory, "socket"),
                    },
                },
                file,
            )
        self.env["PUEUE_CONFIG_PATH"] = config
        self.call([find("pueued"), "-d"])
        until("pueued", lambda: os.path.exists(os.path.join(self.directory, "socket")))
        self.call([find("pueue"), "parallel", str(self.wide)])

    def submit(self, *command):
        return [find("pueue"), "add", "--", *command]

    def status(self):
        return [find("pueue"), "status"]

    def hold(self):
        self.call([find("pueue"), "pause"])

    def release(self):
        self.call([find("pueue"), "start"])

    def hurry(self):
        self.call([find("pueue"), "parallel", "200"])

    def daemons(self):
        return ours("pueued")

    def stop(self):
        terminate("pueued")


class Gflow(Peer):
    """gflow (package runqd) with its process executor. It has no way to hold the queue that leaves submitting alone,
    so the drain is from the first submit on. Without GPUs it starts whatever it gets, hence no width."""

    name = "gflow"
    wide = None
    needs = ("gflowd", "gbatch", "gqueue")
    starts = 10
    waiting = 100
    holds = False

    def start(self):
        for name, folder in (("CONFIG_HOME", "config"), ("DATA_HOME", "data"), ("RUNTIME_DIR", "run")):
            self.env[f"XDG_{name}"] = os.path.join(self.directory, folder)
            os.makedirs(os.path.join(self.directory, folder, "gflow"), mode=0o700)
        config = os.path.join(self.directory, "config", "gflow", "gflow.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f'[daemon]\nhost = "127.0.0.1"\nport = {free_port()}\n[executor]\ntype = "process"\n')
        spawn([find("gflowd"), "-c", config], self.env, out=self.words, session=True)
        until("gflowd", self._answers)

    def _answers(self):
        try:
            self.call([find("gqueue")], limit_s=5)
        except Failed:
            return False
        return True

    def submit(self, *command):
        return [find("gbatch"), "--", "env", *command]  # a first word that is a file would be read as a script

    def status(self):
        return [find("gqueue"), "--all"]

    def hold(self):
        pass

    def daemons(self):
        return ours("gflow")

    def stop(self):
        terminate("gflow")  # what the process of gflowd calls itself


class Slurm(Peer):
    """Slurm on one node: root, munge, no accounting, no cgroups; the default scheduler settings."""

    name = "slurm"
    needs = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "munged", "runuser")
    starts = 10
    waiting = 45
    extra = ""  # more lines of slurm.conf

    @classmethod
    def missing(cls):
        return super().missing() or (None if os.geteuid() == 0 else "needs root")

    def start(self):
        self._start_munge()
        host = socket.gethostname().split(".")[0]
        hardware = call([find("slurmd"), "-C"], self.env, self.directory).split()
        node = " ".join(word for word in hardware if word.split("=")[0] not in ("NodeName", "UpTime"))
        for folder in ("etc", "state", "spool", "log"):
            os.mkdir(os.path.join(self.directory, folder))
        conf = os.path.join(self.directory, "etc", "slurm.conf")
        with open(conf, "w", encoding="utf-8") as file:
            file.write(SLURM_CONF.format(dir=self.directory, host=host, node=node, ctl=free_port(), d=free_port()))
            file.write(self.extra)
        with open(os.path.join(self.directory, "etc", "cgroup.conf"), "w", encoding="utf-8") as file:
            file.write("CgroupAutomount=no\nConstrainCores=no\nConstrainRAMSpace=no\nConstrainDevices=no\n")
        self.env["SLURM_CONF"] = conf
        self.call([find("slurmctld")])
        self.call([find("slurmd")])
        until("an idle Slurm node", lambda: "idle" in self.call([find("sinfo"), "-h"], accept=(0, 1)))

    def _start_munge(self):
        if "MUNGE:" in self.call([find("munge"), "-n"], accept=range(256)):
            return  # somebody's munged is there: used, and left alone
        self.call(["/usr/bin/install", "-d", "-o", "munge", "-g", "munge", "-m", "0755", "/run/munge"])
        self.call([find("runuser"), "-u", "munge", "--", find("munged")])

    def submit(self, *command):
        return [find("sbatch"), "--output=/dev/null", f"--wrap=exec {' '.join(command)}"]

    def status(self):
        return [find("squeue")]

    def array(self, last):
        return [find("sbatch"), "--output=/dev/null", "--hold", f"--array=0-{last}", "--wrap=true"]

    def hold(self):
        self.call([find("scontrol"), "update", "PartitionName=main", "State=DOWN"])

    def release(self):
        self.call([find("scontrol"), "update", "PartitionName=main", "State=UP"])

    def daemons(self):
        return ours("slurmctld") + ours("slurmd")

    def stop(self):
        for name in ("slurmctld", "slurmd", "munged"):
            terminate(name)


class SlurmTuned(Slurm):
    """The same, told to schedule at once."""

    name = "slurm-tuned"
    extra = """\
SlurmctldDebug=error
SlurmdDebug=error
SchedulerParameters=batch_sched_delay=0,sched_min_interval=1000,default_queue_depth=1000,bf_interval=5
"""


class HyperQueue(Peer):
    """HyperQueue: a server and one worker with two cpus; no sync to disk per task."""

    name = "hq"
    needs = ("hq",)
    waiting = 1000

    def start(self):
        self.hq = [find("hq"), "--server-dir", os.path.join(self.directory, "server")]
        spawn([*self.hq, "server", "start"], self.env, out=self.words, session=True)
        until("the hq server", lambda: not self._fails("server", "info"))
        spawn([*self.hq, "worker", "start", "--cpus", str(self.wide)], self.env, out=self.words, session=True)
        self.call([*self.hq, "worker", "wait", "1"])

    def _fails(self, *words):
        try:
            self.call([*self.hq, *words], limit_s=5)
        except Failed:
            return True
        return False

    def submit(self, *command):
        return [*self.hq, "submit", "--stdout=none", "--stderr=none", "--", *command]

    def status(self):
        return [*self.hq, "job", "list", "--all"]

    def daemons(self):
        return ours("hq")

    def stop(self):
        terminate("hq")


ALL = {peer.name: peer for peer in (TaskSpooler, Nq, Pueue, Gflow, Slurm, SlurmTuned, HyperQueue)}


def measure(kind, directory, bare, quick=False):
    """Everything about one peer, in one life of it: {submit_ms, start_ms, jobs, jobs_per_s, status_ms, array_ms,
    ended, mb}."""
    peer = kind(directory, bare)
    rounds, starts = (10, min(3, kind.starts)) if quick else (40, kind.starts)
    waiting = min(kind.waiting, 60 if quick else kind.waiting)
    fifo = Fifo(os.path.join(peer.directory, "stamps"))
    try:
        peer.start()
        found = {"start_ms": series(starts, lambda: submit_to_start(peer, fifo), warm=0 if starts < 10 else 2)[0]}
        peer.hold()
        before = time.perf_counter_ns()
        if waiting <= rounds:
            rounds, warm = waiting - 1, 0
        else:
            warm = min(3, waiting - 1 - rounds)
        found["submit_ms"] = series(rounds, lambda: peer.timed(peer.submit("/bin/true")), warm=warm)[0]
        for _ in range(waiting - 1 - rounds - warm):
            peer.timed(peer.submit("/bin/true"))
        peer.timed(peer.submit(bare, "stamp", fifo.path))
        if peer.holds:
            before = time.perf_counter_ns()
        peer.release()
        found["jobs"] = waiting
        found["jobs_per_s"] = waiting / ((fifo.take(600) - before) / 1e9)
        ended = starts + waiting
        if kind.ended > ended and not quick:
            peer.hurry()
            for _ in range(kind.ended - ended - 1):
                peer.timed(peer.submit("/bin/true"))
            peer.timed(peer.submit(bare, "stamp", fifo.path))
            fifo.take(600)
            ended = kind.ended
        time.sleep(0.5)
        found["ended"] = ended
        found["mb"] = resident_mb(peer.daemons()) if peer.daemons() else None
        if peer.status():
            found["status_ms"] = series(min(rounds, 20), lambda: peer.timed(peer.status()))[0]
        if peer.array(9_999):
            found["array_ms"] = series(3, lambda: peer.timed(peer.array(9_999)), warm=0)[0]
        return found
    finally:
        fifo.close()
        for gate in peer.gates:
            gate.open()
        peer.stop()


def submit_to_start(peer, fifo):
    """Milliseconds from starting the client to the first instruction of the job's own code, on a free machine."""
    begun = time.perf_counter_ns()
    peer.timed(peer.submit(peer.bare, "stamp", fifo.path))
    stamp = fifo.take()
    time.sleep(REST_S)
    return (stamp - begun) / 1e6


def find(program):
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


SLURM_CONF = """\
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
SlurmctldPort={ctl}
SlurmdPort={d}
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd.pid
SlurmctldLogFile={dir}/log/slurmctld.log
SlurmdLogFile={dir}/log/slurmd.log
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc={dir}/log/jobcomp.txt
ReturnToService=2
MaxJobCount=50000
MaxArraySize=20001
MinJobAge=3600
NodeName={host} NodeAddr=127.0.0.1 {node} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""
