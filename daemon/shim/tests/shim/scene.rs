//! A directory, a plan and a shim that runs it: what every test here begins with.
//! It does what `qrmd` does, in the shortest way.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::ptr;

use qrm_shim::handshake::{GO, Report};
use qrm_shim::launch::{self, ForkServer, Given, Spawned, plan_fd};
use qrm_shim::plan::{LogTarget, Plan, RunName, Stdin};
use qrm_shim::proc::Process;
use qrm_shim::record::{Exit, Started};
use qrm_shim::run_file::{self, RunFile};
use qrm_shim::{status, tree};
use tempfile::TempDir;

pub struct Scene {
    /// Where the job runs, and a `job` directory inside it with its files.
    pub root: TempDir,
    pub job_dir: PathBuf,
    /// The file for the records of the plan's run, claimed for it.
    pub run_file: File,
    pub plan: Plan,
}

impl Scene {
    /// A job that executes this.
    pub fn new(argv: &[&str]) -> Self {
        let root = TempDir::new().unwrap();
        let job_dir = root.path().join("job");
        fs::create_dir(&job_dir).unwrap();
        let path = std::env::var("PATH").unwrap();
        let plan = Plan {
            run: RunName::new("execute", 1).unwrap(),
            job: b"12".to_vec(),
            boot_id: b"a-boot".to_vec(),
            argv: argv.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
            env: vec![format!("PATH={path}").into_bytes(), b"QRM_JOB_ID=12".to_vec()],
            cwd: root.path().as_os_str().as_encoded_bytes().to_vec(),
            umask: 0o077,
            identity: None,
            stdout: LogTarget::InJobDir(b"stdout".to_vec()),
            stderr: LogTarget::InJobDir(b"stderr".to_vec()),
            stdin: Stdin::Null,
            terminal: None,
            cgroup: None,
            rlimits: vec![],
            nice: None,
            after: None,
            restart: None,
        };
        let run_file = claimed(root.path(), &plan);
        Self { root, job_dir, run_file, plan }
    }

    /// A job that is this shell script.
    pub fn sh(script: &str) -> Self {
        Self::new(&["/bin/sh", "-c", script])
    }

    /// Changes the plan.
    pub fn with(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        change(&mut self.plan);
        self
    }

    /// A file in the directory where the job runs.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A FIFO there, for a test and a job to wait for each other.
    pub fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        make_fifo(&path);
        path
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.job_dir.join(name)).unwrap()
    }

    /// The names of the job's files, sorted.
    pub fn files(&self) -> Vec<String> {
        names(&self.job_dir)
    }

    pub fn started(&self) -> Started {
        serde_json::from_slice(RunFile::read(&self.run_file).unwrap().started().unwrap()).unwrap()
    }

    pub fn exit(&self) -> Exit {
        serde_json::from_slice(RunFile::read(&self.run_file).unwrap().exit().unwrap()).unwrap()
    }

    /// Starts a shim, which waits.
    pub fn start(&self) -> Shim {
        self.start_with("")
    }

    /// The same, to die at this point.
    pub fn start_with(&self, fault: &str) -> Shim {
        Shim::spawn(&self.plan, &File::open(&self.job_dir).unwrap(), &self.run_file, fault)
    }

    /// Runs it to its end.
    pub fn run(&self) -> Exit {
        let mut shim = self.start();
        shim.go();
        assert_eq!(shim.report(), Some(Report::Started));
        assert_eq!(shim.wait(), Some(status::DONE));
        self.exit()
    }
}

/// A file in this directory, for the records of the plan's run.
pub fn claimed(dir: &Path, plan: &Plan) -> File {
    let file = File::options().read(true).write(true).create_new(true).open(dir.join("run-file")).unwrap();
    run_file::claim(&file, &run_file::owner(&plan.job, &plan.run)).unwrap();
    file
}

pub fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

pub fn make_fifo(path: &Path) {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

/// What one line of a FIFO says, once somebody writes it.
pub fn hear(fifo: &Path) -> String {
    fs::read_to_string(fifo).unwrap()
}

/// Tells whoever reads a FIFO.
pub fn tell(fifo: &Path, what: &str) {
    fs::write(fifo, what).unwrap();
}

pub fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_shim-under-test").into()
}

/// A living shim; it and its job are killed at the end, whatever happens.
pub struct Shim {
    pub process: Process,
    pidfd: OwnedFd,
    handshake: UnixStream,
    reaped: bool,
}

impl Shim {
    /// As a process of its own.
    pub fn spawn(plan: &Plan, job_dir: &File, run_file: &File, fault: &str) -> Self {
        let fault = CString::new(format!("QRM_FAULT={fault}")).unwrap();
        Self::start(plan, job_dir, run_file, |given| launch::spawn(&program(), &[fault], given))
    }

    /// By a fork server; then `wait` is not for us.
    pub fn ask(server: &mut ForkServer, scene: &Scene) -> Self {
        Self::start(&scene.plan, &File::open(&scene.job_dir).unwrap(), &scene.run_file, |given| server.spawn(given))
    }

    fn start(
        plan: &Plan,
        job_dir: &File,
        run_file: &File,
        spawn: impl FnOnce(Given<'_>) -> io::Result<Spawned>,
    ) -> Self {
        // What a careless parent leaves open.
        let stray = File::open("/dev/null").unwrap();
        let stray = unsafe { OwnedFd::from_raw_fd(libc::fcntl(stray.as_raw_fd(), libc::F_DUPFD, 50)) };
        let plan = plan_fd(&plan.encode()).unwrap();
        let (handshake, theirs) = UnixStream::pair().unwrap();
        let (plan, job_dir, run_file) = (plan.as_fd(), job_dir.as_fd(), run_file.as_fd());
        let spawned = spawn(Given { plan, handshake: theirs.as_fd(), job_dir, run_file, terminal: None }).unwrap();
        drop(stray);
        // One that had nothing to do may be gone.
        let process = Process::of(spawned.pid).unwrap().unwrap_or(Process { pid: spawned.pid, start: 0 });
        Self { process, pidfd: spawned.pidfd, handshake, reaped: false }
    }

    /// Lets the command start.
    pub fn go(&mut self) {
        self.say(&[GO]);
    }

    pub fn say(&mut self, word: &[u8]) {
        // A shim that died already is not told.
        self.handshake.write_all(word).ok();
    }

    /// Hangs up.
    pub fn no_go(&mut self) {
        self.handshake.shutdown(Shutdown::Both).unwrap();
    }

    /// Its answer.
    pub fn report(&mut self) -> Option<Report> {
        let mut bytes = Vec::new();
        self.handshake.read_to_end(&mut bytes).ok();
        Report::parse(&bytes)
    }

    /// Its exit status; `None` if it was killed.
    pub fn wait(&mut self) -> Option<i32> {
        let mut status = 0;
        let pid = self.process.pid.cast_signed();
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        self.reaped = true;
        libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status))
    }

    /// Waits for the end of a shim that is not our child.
    pub fn wait_for_end(&mut self) {
        let mut poll = libc::pollfd { fd: self.pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 60_000) }, 1);
        self.reaped = true;
    }

    pub fn signal(&self, signal: i32) {
        assert!(self.process.signal(signal).unwrap());
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        if !self.reaped {
            tree::kill_all(self.process, None).unwrap();
            self.process.signal(libc::SIGKILL).unwrap();
            // Fails for one that is not our child.
            unsafe { libc::waitpid(self.process.pid.cast_signed(), ptr::null_mut(), 0) };
        }
    }
}
