//! A world for something to go wrong in: daemons that are the test's own children, and proof that nothing is left.
//! It refuses to end before all that it made is gone, also after a failure.

use crate::world::{World, subtrees};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::MountFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// How long anything may take that takes milliseconds.
pub const PATIENCE: i64 = 30;

/// Whether the long form of the tests is wanted.
pub fn long() -> bool {
    std::env::var_os("QRM_LONG_TESTS").is_some_and(|v| v == "1")
}

pub struct Scene {
    world: World,
    daemons: Vec<Child>,
    mounts: Vec<PathBuf>,
}

impl Deref for Scene {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

impl DerefMut for Scene {
    fn deref_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Scene {
    pub fn new(env: &[(&str, &str)]) -> Self {
        Self { world: World::with(env), daemons: Vec::new(), mounts: Vec::new() }
    }

    /// Starts a daemon of this world that is to die at these points; its place among the daemons. It may be dead by
    /// the time that this returns.
    pub fn daemon_with(&mut self, faults: &str) -> usize {
        self.daemon_at(&self.socket(), faults).0
    }

    /// The same at another socket; also what it said before it answered.
    pub fn daemon_at(&mut self, socket: &Path, faults: &str) -> (usize, String) {
        let mut command = self.program("qrmd");
        command.args(["--spawned", "--state"]).arg(self.state()).arg("--socket").arg(socket);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        if !faults.is_empty() {
            command.env("QRM_FAULT", faults);
        }
        let mut child = command.spawn().unwrap();
        // It closes its output when it answers, or dies.
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        self.daemons.push(child);
        (self.daemons.len() - 1, said)
    }

    /// The process of one of those daemons.
    pub fn pid(&self, daemon: usize) -> u32 {
        self.daemons[daemon].id()
    }

    /// How one of those daemons has ended, as a signal or an exit code; it does so soon.
    #[track_caller]
    pub fn fate(&mut self, daemon: usize) -> Fate {
        let child = &mut self.daemons[daemon];
        assert!(gone(i32::try_from(child.id()).unwrap()), "the daemon goes on");
        let status = child.wait().unwrap();
        status.signal().map_or_else(|| Fate::Code(status.code().unwrap()), Fate::Signal)
    }

    /// Kills one of those daemons.
    pub fn kill(&mut self, daemon: usize) {
        self.daemons[daemon].kill().unwrap();
        assert_eq!(self.fate(daemon), Fate::Signal(9));
    }

    /// Stops the daemon, whoever started it, and returns when it is gone.
    pub fn stop(&mut self) {
        let pid = self.daemon();
        self.run("daemon stop").ok();
        assert!(pid.is_none_or(gone), "a stopped daemon goes on");
        for child in &mut self.daemons {
            child.try_wait().unwrap();
        }
    }

    /// Submits with a key, over as many daemons as it takes; the job's id.
    #[track_caller]
    pub fn submit_surely(&self, key: &str, options: &str, script: &str) -> String {
        for _ in 0..1_000 {
            let mut args = vec!["submit", "--key", key];
            args.extend(options.split_whitespace());
            args.extend(["--", "sh", "-c", script]);
            let said = self.qrm(args);
            if said.code == 0 {
                return said.out.trim().to_owned();
            }
            assert_eq!(said.code, 3, "a lost daemon is all that may be wrong: {said:?}");
        }
        panic!("no daemon lives long enough to answer");
    }

    /// All events, oldest first.
    pub fn events(&self) -> Vec<Value> {
        self.run("--json events").ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The database of a stopped world, to be harmed.
    pub fn sql_to_write(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.state().join("qrm.sqlite")).unwrap()
    }

    /// How often each job has ended.
    pub fn ends(&self) -> BTreeMap<String, u32> {
        let mut ends = BTreeMap::new();
        for event in self.events().iter().filter(|event| event["kind"] == "job.ended") {
            *ends.entry(event["job"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        ends
    }

    /// How often each line stands in a file of the test's directory.
    pub fn lines(&self, name: &str) -> BTreeMap<String, u32> {
        let mut lines = BTreeMap::new();
        for line in std::fs::read_to_string(self.dir().join(name)).unwrap_or_default().lines() {
            *lines.entry(line.to_owned()).or_default() += 1;
        }
        lines
    }

    /// A FIFO of the test's directory that jobs can read a line from, open at both ends, so that nobody waits to open.
    pub fn gate(&self, name: &str) -> std::fs::File {
        let path = self.dir().join(name);
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
        std::fs::File::options().read(true).write(true).open(path).unwrap()
    }

    /// The subtree of control groups of this world: made by its daemon, named by `qrm doctor`.
    pub fn subtree(&self) -> Option<PathBuf> {
        let doctor = self.run("--json doctor").json();
        let findings = doctor["findings"].as_array().unwrap();
        let tracking = findings.iter().find(|finding| finding["topic"] == "process tracking").unwrap();
        let found = tracking["found"].as_str().unwrap();
        let path = found.split_once(", in ")?.1;
        Some(path.split_once(" (").map_or(path, |(path, _)| path).into())
    }

    /// Every process of this world: what its jobs made, its shims, its daemons.
    pub fn everybody(&self) -> Vec<i32> {
        let state = self.state();
        let state = state.canonicalize().unwrap_or(state);
        let of_shim = |pid: i32| {
            let dir = std::fs::read_link(format!("/proc/{pid}/fd/5")).unwrap_or_default();
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.trim() == "qrm-shim" && dir.starts_with(&state)
        };
        let mut pids = self.processes();
        let all = std::fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
        pids.extend(all.filter(|pid| of_shim(*pid)));
        pids.sort_unstable();
        pids.dedup();
        pids.retain(|pid| !is_zombie(*pid));
        pids
    }

    /// Stops the daemon and proves that nothing is left: no process, no control group, no record of a run.
    #[track_caller]
    pub fn nothing_is_left(&mut self) {
        let subtree = self.subtree();
        self.stop();
        self.all_are_gone();
        for server in orphans() {
            assert!(gone(server), "fork server {server} outlives its daemon");
        }
        if let Some(subtree) = subtree {
            let left = std::fs::read_dir(&subtree).into_iter().flatten().flatten().filter(|e| e.path().is_dir());
            let left: Vec<_> = left.map(|e| e.path()).collect();
            assert!(!subtree.exists(), "control groups are left: {} {left:?}", subtree.display());
        }
        let mut left = Vec::new();
        files(&self.state().join("runs"), &mut left);
        files(&self.state().join("jobs"), &mut left);
        left.retain(|path| path.file_name().is_none_or(|name| name != "stdout" && name != "stderr"));
        assert!(left.is_empty(), "records are left: {left:?}");
    }

    /// Waits until all shims and all processes of jobs are gone.
    #[track_caller]
    pub fn all_are_gone(&self) {
        loop {
            let left = self.everybody();
            if left.is_empty() {
                return;
            }
            for pid in left {
                let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                assert!(gone(pid), "process {pid} is left: {}", String::from_utf8_lossy(&command));
            }
        }
    }

    /// Waits until all that jobs made is gone, and their shims; the daemon goes on.
    #[track_caller]
    pub fn all_jobs_are_gone(&self) {
        let daemon = self.daemon();
        while let Some(pid) = self.everybody().into_iter().find(|pid| !self.is_program(*pid, daemon)) {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let state = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            // One that was seen between a shim's fork and its start of a daemon has become that.
            let is_fine = gone(pid) || self.is_program(pid, daemon);
            assert!(is_fine, "process {pid} is left: {} {state}", String::from_utf8_lossy(&command));
        }
    }

    /// Whether it is a daemon, or someone who asks one.
    fn is_program(&self, pid: i32, daemon: Option<i32>) -> bool {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        Some(pid) == daemon || ["qrm", "qrmd"].contains(&name.trim())
    }

    /// Makes a mounted file system read-only, or not.
    pub fn remount(&self, at: &Path, read_only: bool) {
        let flags = if read_only { MountFlags::RDONLY } else { MountFlags::empty() };
        rustix::mount::mount_remount(at, flags, c"").unwrap();
    }

    /// Mounts a file system of this size in the thread's own mount namespace; see [`in_own_mounts`].
    pub fn mount(&mut self, at: &Path, megabytes: u32) {
        std::fs::create_dir_all(at).unwrap();
        let options = std::ffi::CString::new(format!("size={megabytes}m,mode=0700")).unwrap();
        rustix::mount::mount("qrm-test", at, "tmpfs", MountFlags::empty(), options.as_c_str()).unwrap();
        self.mounts.push(at.to_owned());
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", std::fs::read_to_string(self.state().join("qrmd.log")).unwrap_or_default());
        }
        let state = self.state();
        let subtrees = subtrees(&state.canonicalize().unwrap_or(state));
        if self.daemon().is_some() {
            self.run("cancel state=live");
            self.run("daemon stop");
        }
        for child in &mut self.daemons {
            child.kill().ok();
            child.wait().ok();
        }
        for pid in self.everybody() {
            if let Ok(process) = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()) {
                pidfd_send_signal(&process, Signal::KILL).ok();
                readable(&process);
            }
        }
        for subtree in subtrees {
            for group in std::fs::read_dir(&subtree).into_iter().flatten().flatten() {
                std::fs::write(group.path().join("cgroup.kill"), "1").ok();
                std::fs::remove_dir(group.path()).ok();
            }
            std::fs::remove_dir(subtree).ok();
        }
        for at in self.mounts.iter().rev() {
            rustix::mount::unmount(at, rustix::mount::UnmountFlags::DETACH).ok();
        }
    }
}

/// How a process has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Code(i32),
    Signal(i32),
}

/// Says whether a process is gone, and gives it some time to be.
pub fn gone(pid: i32) -> bool {
    match pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()) {
        Ok(fd) => readable(&fd),
        Err(error) => error == rustix::io::Errno::SRCH,
    }
}

/// Waits until there is something to read, or a process that this is has ended.
pub fn readable(fd: impl AsFd) -> bool {
    let patience = Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, Some(&patience))).unwrap() > 0
}

pub fn open(pid: i32) -> OwnedFd {
    pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap()
}

pub fn kill_now(process: &OwnedFd) {
    pidfd_send_signal(process, Signal::KILL).unwrap();
    assert!(readable(process), "a killed process goes on");
}

fn is_zombie(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// Processes of the program `qrm-shim` that watch no run and whose parent is no daemon: fork servers that are to end,
/// of any test.
fn orphans() -> Vec<i32> {
    let named = |pid: &str, name: &str| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let shim = Path::new(env!("CARGO_BIN_EXE_qrm-shim"));
    let is_orphan = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == shim)
            && std::fs::read_link(format!("/proc/{pid}/fd/5")).is_err()
            && parent.is_some_and(|parent| !named(parent, "qrmd"))
    };
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    all.filter(is_orphan).collect()
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => files(&path, found),
            path => found.push(path),
        }
    }
}

/// Lets one reader of a gate go on.
pub fn let_go(mut gate: &std::fs::File) {
    gate.write_all(b"go\n").unwrap();
}

/// Runs a test in a thread with mounts of its own, which vanish with its last process; skips it by name where that
/// is not permitted.
pub fn in_own_mounts(name: &str, test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        // SAFETY: descriptors stay shared; only the thread's view of mounts becomes its own.
        let own = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.and_then(|()| {
            let flags = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
            rustix::mount::mount_change("/", flags)
        });
        own.map(|()| test())
    });
    match thread.join() {
        Ok(Ok(())) => {}
        Ok(Err(error)) => println!("SKIP {name}: no mounts of its own: {error}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
