//! The daemon of all users: a world with one, and with users who exist in it alone.
//! It refuses to touch the machine's own users: the daemon sees files of ours where the account databases are.

use crate::world::Said;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A user of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    pub name: &'static str,
    pub uid: u32,
}

pub const ALICE: User = User { name: "alice", uid: 61_001 };
pub const BOB: User = User { name: "bob", uid: 61_002 };
/// A viewer, by configuration.
pub const VERA: User = User { name: "vera", uid: 61_003 };
/// An administrator, by group.
pub const ADAM: User = User { name: "adam", uid: 61_004 };
/// Whoever runs the tests.
pub const ROOT: User = User { name: "root", uid: 0 };

const USERS: [User; 4] = [ALICE, BOB, VERA, ADAM];
/// A group of alice's and the administrators'.
const ADMINS: u32 = 61_100;
pub const LAB: u32 = 61_101;

/// A private system daemon, its users, and nothing left when it ends.
pub struct System {
    dir: tempfile::TempDir,
    /// Where its programs are.
    programs: Arc<tempfile::TempDir>,
    daemon: Option<Child>,
    env: Vec<(String, String)>,
}

/// The programs where every user can execute them; one directory for all worlds that are there at a time.
fn programs() -> Arc<tempfile::TempDir> {
    static DIR: Mutex<Weak<tempfile::TempDir>> = Mutex::new(Weak::new());
    let mut shared = DIR.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(dir) = shared.upgrade() {
        return dir;
    }
    let dir = tempfile::Builder::new().prefix("qrm-test-bin-").tempdir().unwrap();
    open(dir.path(), 0o755);
    let built = Path::new(env!("CARGO_BIN_EXE_qrm")).parent().unwrap();
    for name in ["qrm", "qrmd", "qrm-shim"] {
        // They are large without optimisation.
        let (from, to) = (built.join(name), dir.path().join(name));
        if std::fs::hard_link(&from, &to).is_err() {
            std::fs::copy(&from, &to).unwrap();
            open(&to, 0o755);
        }
    }
    let dir = Arc::new(dir);
    *shared = Arc::downgrade(&dir);
    dir
}

pub fn open(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Whether these tests can be; says so if not.
pub fn possible() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: needs root, for a daemon of all users");
    }
    is_root
}

impl System {
    /// With this in its configuration file.
    pub fn new(config: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("qrm-test-").tempdir().unwrap();
        open(dir.path(), 0o755);
        let mut system = Self { dir, programs: programs(), daemon: None, env: Vec::new() };
        std::fs::write(system.at("config.toml"), config).unwrap();
        open(&system.at("config.toml"), 0o644);
        system.write_users(&USERS);
        for user in USERS {
            std::fs::create_dir(system.home(user)).unwrap();
            std::os::unix::fs::chown(system.home(user), Some(user.uid), Some(user.uid)).unwrap();
            open(&system.home(user), 0o700);
        }
        system.start();
        system
    }

    /// What the account databases say from now on.
    pub fn write_users(&self, users: &[User]) {
        let line = |user: &User| {
            format!("{0}:x:{1}:{1}::{2}:/nonexistent/shell\n", user.name, user.uid, self.home(*user).display())
        };
        let passwd: String = users.iter().map(line).collect();
        std::fs::write(self.at("passwd"), format!("root:x:0:0::/root:/bin/sh\n{passwd}")).unwrap();
        let own: String = users.iter().map(|user| format!("{0}:x:{1}:\n", user.name, user.uid)).collect();
        let more = format!("qrm-admin:x:{ADMINS}:adam\nlab:x:{LAB}:alice\n");
        std::fs::write(self.at("group"), format!("root:x:0:\n{own}{more}")).unwrap();
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn programs(&self) -> &Path {
        self.programs.path()
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.at("state")
    }

    pub fn socket(&self) -> PathBuf {
        self.at("run/qrm.sock")
    }

    pub fn home(&self, user: User) -> PathBuf {
        if user == ROOT { self.at("root") } else { self.at(user.name) }
    }

    /// The daemon's command line.
    pub fn qrmd(&self, args: &[&str]) -> Command {
        let mut command = self.in_its_accounts(&self.programs.path().join("qrmd"));
        command.args(["--system", "--foreground", "--state"]).arg(self.state()).arg("--socket").arg(self.socket());
        command.arg("--config").arg(self.at("config.toml")).args(args);
        command
    }

    /// A program in a place where the accounts are ours.
    pub fn in_its_accounts(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).current_dir("/").stdin(Stdio::null());
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        let binds = ["passwd", "group"].map(|name| (self.at(name), PathBuf::from("/etc").join(name)));
        // SAFETY: between fork and exec nothing but system calls on what was made before.
        unsafe {
            command.pre_exec(move || {
                use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
                rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS)?;
                mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
                for (ours, theirs) in &binds {
                    mount_bind(ours, theirs)?;
                }
                Ok(())
            });
        }
        command
    }

    /// Starts the daemon, and returns when it answers.
    pub fn start(&mut self) {
        let mut daemon = self.qrmd(&["--spawned"]);
        let log = std::fs::File::options().create(true).append(true).open(self.at("log")).unwrap();
        let mut daemon = daemon.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "{}", std::fs::read_to_string(self.at("log")).unwrap());
        self.daemon = Some(daemon);
    }

    /// The daemon's pid.
    pub fn daemon(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }

    /// Waits for the end of a daemon that was told to end.
    pub fn stopped(&mut self) {
        self.daemon.take().unwrap().wait().unwrap();
    }

    /// A FIFO that all users' jobs can read from.
    pub fn gate(&self, name: &str) -> PathBuf {
        let gate = self.at(name);
        rustix::fs::mknodat(rustix::fs::CWD, &gate, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap();
        open(&gate, 0o666);
        gate
    }

    /// Kills the daemon; jobs go on.
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// A program as a user would start it from their home.
    pub fn program(&self, user: User, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.home(user));
        command.env("QRM_SOCKET", self.socket()).env("QRM", self.programs.path().join("qrm")).stdin(Stdio::null());
        if user != ROOT {
            command.uid(user.uid).gid(user.uid).current_dir(self.home(user));
        } else {
            command.current_dir(self.dir());
        }
        command
    }

    /// `qrm` with these words, as a user.
    pub fn qrm(&self, user: User, args: &[&str]) -> Said {
        Said::of(self.program(user, &self.programs.path().join("qrm")).args(args).output().unwrap())
    }

    /// The words of a line; nothing is quoted.
    pub fn run(&self, user: User, line: &str) -> Said {
        self.qrm(user, &line.split_whitespace().collect::<Vec<_>>())
    }

    /// Connections to the socket, made by a thread that is this user.
    pub fn connections(&self, user: User, count: usize) -> Vec<UnixStream> {
        let socket = self.socket();
        let connected = std::thread::spawn(move || {
            let uid = rustix::process::Uid::from_raw(user.uid);
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            (0..count).map(|_| UnixStream::connect(&socket).unwrap()).collect()
        });
        connected.join().unwrap()
    }

    /// A shell script as a user; `$QRM` is qrm.
    pub fn shell(&self, user: User, script: &str) -> Command {
        let mut shell = self.program(user, Path::new("/bin/sh"));
        shell.args(["-c", script]);
        shell
    }

    /// Submits a shell command with options; its id.
    #[track_caller]
    pub fn submit(&self, user: User, options: &str, script: &str) -> String {
        let mut args = vec!["submit"];
        args.extend(options.split_whitespace());
        args.extend(["--", "sh", "-c", script]);
        self.qrm(user, &args).ok().trim().to_owned()
    }

    /// What a shell command prints as a job of a user.
    #[track_caller]
    pub fn job(&self, user: User, script: &str) -> String {
        self.qrm(user, &["run", "--", "sh", "-c", script]).ok()
    }

    /// The job when it has ended.
    #[track_caller]
    pub fn ended(&self, user: User, id: &str) -> Value {
        self.qrm(user, &["--json", "wait", id]).json()
    }

    /// A job as a user sees it.
    #[track_caller]
    pub fn show(&self, user: User, id: &str) -> Value {
        self.qrm(user, &["--json", "show", id]).json()
    }

    /// Returns when the command of a job runs.
    pub fn executing(&self, id: &str) {
        let ids = vec![id.parse().unwrap()];
        let params = qrm_protocol::method::WaitParams { ids, any: false, started: true, timeout_ms: Some(60_000) };
        let mut client = qrm_protocol::client::Client::connect(&self.socket()).unwrap();
        assert!(!client.call::<qrm_protocol::method::JobWait>(&params).unwrap().timed_out, "job {id} has not started");
    }
}

impl Drop for System {
    fn drop(&mut self) {
        if self.daemon.is_none() {
            self.start();
        }
        self.run(ROOT, "cancel state=live");
        self.run(ROOT, "wait state=live --timeout 30s");
        if let Some(mut daemon) = self.daemon.take() {
            self.run(ROOT, "daemon stop");
            daemon.wait().unwrap();
        }
        crate::world::remove_groups(&self.state());
    }
}
