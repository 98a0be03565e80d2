//! A world of one's own for a test: a state directory, the real binaries, and nothing left when it ends.
//! It refuses to sleep: whoever waits, waits for an event.

use serde_json::Value;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A private state directory with its daemon.
pub struct World {
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub out: String,
    pub err: String,
    /// The exit code; 128 + the signal if one ended it.
    pub code: i32,
}

impl Said {
    pub fn of(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let code = output.status.code().or(output.status.signal().map(|s| s + 128)).unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { out: text(output.stdout), err: text(output.stderr), code }
    }

    /// What was printed, if all went well.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// The JSON that was printed.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// With variables for the daemon and the commands, such as `QRM_HOST_CPUS`. What others do on the machine makes no
    /// difference: as far as the daemon sees, most of its memory is free, and nobody waits for anything.
    pub fn with(env: &[(&str, &str)]) -> Self {
        let dir = tempfile::Builder::new().prefix("qrm-test-").tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut world = Self { dir, env };
        std::fs::create_dir_all(world.dir().join("proc/pressure")).unwrap();
        world.free(60 << 10);
        ["memory", "cpu", "io"].iter().for_each(|what| world.pressure(what, "0.00"));
        let proc = world.dir().join("proc").display().to_string();
        world.set("QRM_TEST_PROC", &proc);
        world
    }

    /// So many MiB of memory are available from now on, as far as the daemon sees.
    pub fn free(&self, mib: u64) {
        let text = format!("MemTotal: {} kB\nMemAvailable: {} kB\n", 64 << 20, mib << 10);
        self.replace("proc/meminfo", &text);
    }

    /// For so many percent of the last ten seconds processes waited for memory, cpus or disks, as far as the daemon sees.
    pub fn pressure(&self, what: &str, percent: &str) {
        let line = |kind| format!("{kind} avg10={percent} avg60=0.00 avg300=0.00 total=1\n");
        self.replace(&format!("proc/pressure/{what}"), &(line("some") + &line("full")));
    }

    /// Nobody ever sees half of it.
    fn replace(&self, name: &str, text: &str) {
        let next = self.dir().join("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, self.dir().join(name)).unwrap();
    }

    /// A directory of the test's own, beside the state.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn socket(&self) -> PathBuf {
        self.state().join("qrm.sock")
    }

    /// Sets a variable for what is started from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.env.retain(|(k, _)| k != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    pub fn unset(&mut self, name: &str) {
        self.env.retain(|(k, _)| k != name);
    }

    /// One of the three programs, in this world.
    pub fn program(&self, name: &str) -> Command {
        let path = match name {
            "qrm" => env!("CARGO_BIN_EXE_qrm"),
            "qrmd" => env!("CARGO_BIN_EXE_qrmd"),
            other => panic!("{other} is not a program of qrm"),
        };
        self.at(Path::new(path))
    }

    /// A program at another place, in this world.
    pub fn at(&self, path: &Path) -> Command {
        let mut command = Command::new(path);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.dir.path());
        command.env("QRM_STATE_DIR", self.state()).env("XDG_CONFIG_HOME", self.dir.path().join("config"));
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
    }

    /// A shell with a script, in this world; `$QRM` is qrm.
    pub fn shell(&self, script: &str) -> Command {
        let mut shell = self.at(Path::new("/bin/sh"));
        shell.args(["-c", script]).env("QRM", env!("CARGO_BIN_EXE_qrm"));
        shell
    }

    /// A directory of this world with copies of these programs; where a test is built, links would lead back.
    pub fn installed(&self, dir: &str, programs: &[&str]) -> PathBuf {
        let (dir, built) = (self.dir.path().join(dir), Path::new(env!("CARGO_BIN_EXE_qrm")).parent().unwrap());
        std::fs::create_dir_all(&dir).unwrap();
        for name in programs {
            std::fs::copy(built.join(name), dir.join(name)).unwrap();
        }
        dir
    }

    /// Runs `qrm` with these arguments.
    pub fn qrm<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Said {
        Said::of(self.program("qrm").args(args).output().unwrap())
    }

    /// Runs `qrm` with the words of a line; nothing is quoted.
    pub fn run(&self, line: &str) -> Said {
        self.qrm(line.split_whitespace())
    }

    /// Runs `qrm` with this on its standard input.
    pub fn feed(&self, line: &str, input: &[u8]) -> Said {
        let mut command = self.program("qrm");
        command.args(line.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut to = child.stdin.take().unwrap();
        let input = input.to_owned();
        let writer = std::thread::spawn(move || drop(to.write_all(&input)));
        let said = Said::of(child.wait_with_output().unwrap());
        writer.join().unwrap();
        said
    }

    /// Starts `qrm` and leaves it running, with pipes for its streams.
    pub fn spawn(&self, line: &str) -> Child {
        let mut command = self.program("qrm");
        command.args(line.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Submits a shell command with options; its id.
    #[track_caller]
    pub fn submit(&self, options: &str, script: &str) -> String {
        let mut args: Vec<&str> = vec!["submit"];
        args.extend(options.split_whitespace());
        args.extend(["--", "sh", "-c", script]);
        self.qrm(args).ok().trim().to_owned()
    }

    /// The job as it is now.
    #[track_caller]
    pub fn show(&self, id: &str) -> Value {
        self.qrm(["--json", "show", id]).json()
    }

    /// The job when it has ended.
    #[track_caller]
    pub fn ended(&self, id: &str) -> Value {
        self.qrm(["--json", "wait", id]).json()
    }

    /// Returns when the command of a job runs.
    pub fn executing(&self, id: &str) {
        let mut client = self.client();
        let ids = vec![id.parse().unwrap()];
        let timeout_ms = Some(60_000);
        let params = qrm_protocol::method::WaitParams { ids, any: false, started: true, timeout_ms };
        let reply = client.call::<qrm_protocol::method::JobWait>(&params).unwrap();
        assert!(!reply.timed_out, "job {id} has not started");
    }

    /// Waits until something of this kind has happened, since the beginning.
    pub fn happened(&self, kind: &str) {
        let mut follow = self.spawn("events -f --after 0");
        let lines = std::io::BufRead::lines(std::io::BufReader::new(follow.stdout.take().unwrap()));
        assert!(lines.map_while(Result::ok).any(|line| line.contains(kind)), "{kind} has not happened");
        follow.kill().unwrap();
        follow.wait().unwrap();
    }

    /// A connection to the running daemon.
    pub fn client(&self) -> qrm_protocol::client::Client {
        qrm_protocol::client::Client::connect(&self.socket()).unwrap()
    }

    /// The daemon's pid, if one runs.
    pub fn daemon(&self) -> Option<i32> {
        let said = self.run("--json daemon status");
        (said.code == 0 || said.code == 4).then(|| i32::try_from(said.json()["pid"].as_i64().unwrap()).unwrap())
    }

    /// Kills the daemon and returns when it is gone.
    pub fn kill_daemon(&self) {
        let pid = rustix::process::Pid::from_raw(self.daemon().expect("a daemon runs")).unwrap();
        let fd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        rustix::process::pidfd_send_signal(&fd, rustix::process::Signal::KILL).unwrap();
        let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
    }

    /// Reads the database as anyone could.
    pub fn sql(&self) -> rusqlite::Connection {
        rusqlite::Connection::open_with_flags(
            self.state().join("qrm.sqlite"),
            rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
        )
        .unwrap()
    }

    /// All processes that belong to this world's jobs or to its daemon, by their environment.
    pub fn processes(&self) -> Vec<i32> {
        let mark = format!("QRM_JOB_DIR={}", self.state().display());
        let own = format!("QRM_STATE_DIR={}", self.state().display());
        let pids =
            std::fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let is_own = |entry: &[u8]| entry.starts_with(mark.as_bytes()) || entry == own.as_bytes();
            i32::try_from(std::process::id()).unwrap() != *pid && environment.split(|b| *b == 0).any(is_own)
        })
        .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Whatever the test did, nothing of it stays: jobs first, then the daemon, then what is left of either.
        self.unset("QRM_FAULT");
        if self.socket().exists() {
            self.run("cancel state=live");
            self.run("daemon stop");
        }
        for pid in self.processes() {
            let Some(pid) = rustix::process::Pid::from_raw(pid) else { continue };
            let Ok(fd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else { continue };
            if rustix::process::pidfd_send_signal(&fd, rustix::process::Signal::KILL).is_ok() {
                rustix::event::poll(&mut [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)], None).ok();
            }
        }
        remove_groups(&self.state());
    }
}

/// The subtrees of control groups that a daemon of this state directory may have made, as far as they are there, in every
/// hierarchy: next to our own group, named after 32 bits of FNV-1a over the directory.
pub fn subtrees(state: &Path) -> Vec<PathBuf> {
    let hash = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let name = format!("qrm-{:08x}", state.as_os_str().as_encoded_bytes().iter().fold(0x811c_9dc5, hash));
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own: Vec<&str> = own.lines().filter_map(|line| line.splitn(3, ':').nth(2)?.strip_prefix('/')).collect();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    let places = points.flat_map(|point| own.iter().map(move |own| Path::new(point).join(own)));
    places.map(|place| place.join(&name)).filter(|path| path.is_dir()).collect()
}

/// Removes what a daemon of this state that was killed has left of control groups: all are empty.
pub fn remove_groups(state: &Path) {
    for base in subtrees(state) {
        let runs = std::fs::read_dir(&base).into_iter().flatten().filter_map(|run| Some(run.ok()?.path()));
        for dir in runs.filter(|run| run.is_dir()).chain([base.clone()]).collect::<Vec<_>>() {
            std::fs::remove_dir(dir).ok();
        }
    }
}
