//! The command's process, from its making to its first instruction, and why it did not come so far.
//! It borrows the shim's memory all the while (see `vfork`): it allocates nothing, and is gone if the shim dies.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};

use crate::cgroup::JobCgroup;
use crate::clock::{Moment, ticks};
use crate::files::{Logs, given};
use crate::handshake::GO;
use crate::plan::{Encoded, LogTarget, Plan, Rlimit, Stdin};
use crate::proc::{Process, Stat};
use crate::record::{ExecError, Started, Step, failure};
use crate::terminal::Terminal;
use crate::vfork::vfork;
use crate::{fault, fd, run_file};

/// Where a command is looked up if its environment has no `PATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";

/// A released command.
pub(crate) struct Released {
    pub pid: u32,
    pub since: Moment,
    /// It is on its way to its end already: it could not be executed.
    pub exec_error: Option<ExecError>,
}

/// Why it was not released. There is no child any more.
pub(crate) enum Withheld {
    /// `qrmd` did not want it.
    Unwanted,
    /// It could not be prepared.
    Unprepared(ExecError),
}

/// Steps 5 to 8. Makes the child inside its group, lets it wait for `qrmd`'s word, and returns when it has executed
/// the command or will not.
pub(crate) fn run(
    plan: &Plan<Encoded<'_>>,
    shim: Process,
    logs: &Logs,
    terminal: Option<&Terminal>,
    owner: &[u8],
) -> Result<Released, Withheld> {
    let unprepared = |stage| move |error: io::Error| Withheld::Unprepared(failure(stage, &error));
    let group = match &plan.cgroup {
        Some(JobCgroup::V2 { dir, .. }) => Some(open_group(dir).map_err(unprepared(Step::Cgroup))?),
        _ => None,
    };
    let mut command = Command::of(plan, shim, logs, terminal, owner);
    command.inside = group.is_some();
    command.made_after = ticks();
    // SAFETY: the shim has one thread; `live` keeps to what is asked of it, and expects a `Command`.
    let mut born = unsafe { vfork(group.as_ref(), live, (&raw mut command).cast()) };
    if command.inside && born.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::Unsupported) {
        command.inside = false;
        // SAFETY: as above.
        born = unsafe { vfork(None, live, (&raw mut command).cast()) };
    }
    let pid = born.map_err(unprepared(if command.inside { Step::Cgroup } else { Step::Fork }))?;

    let error = command.error.get();
    let withheld = match command.phase.load(Ordering::Relaxed) {
        RELEASED => {
            let [wall_ms, boot_ms] = command.since.each_ref().map(|millis| millis.load(Ordering::Relaxed));
            return Ok(Released { pid, since: Moment { wall_ms, boot_ms }, exec_error: error });
        }
        UNWANTED => Withheld::Unwanted,
        // Without an error it was killed, and nobody but `qrmd` or a bystander can have done it.
        _ => Withheld::Unprepared(error.unwrap_or(ExecError { stage: Step::Fork, errno: libc::ECANCELED })),
    };
    // SAFETY: a null status is allowed.
    while unsafe { libc::waitpid(pid.cast_signed(), ptr::null_mut(), 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
    Err(withheld)
}

/// Has this process, a fork that shares nothing with anybody, become the plan's command, in the group and as the user of
/// the plan, on a terminal or on the streams that it has. Returns only to say why it could not.
pub(crate) fn become_command(plan: &Plan<Encoded<'_>>, terminal: Option<&Terminal>) -> ExecError {
    let own = Process { pid: std::process::id(), start: 0 };
    let mut command = Command::of(plan, own, &Logs { stdout: None, stderr: None }, terminal, &[]);
    let joined = command.join().map_err(|error| failure(Step::Cgroup, &error));
    match joined.and_then(|()| command.prepare()).and_then(|()| command.prepare_late()) {
        Ok(()) => ExecError { stage: Step::Exec, errno: command.exec() },
        Err(error) => error,
    }
}

/// What a process that could not be the command exits with, as a shell would.
pub(crate) fn exit_code(error: ExecError) -> c_int {
    let missing = error.stage == Step::Exec && matches!(error.errno, libc::ENOENT | libc::ENOTDIR);
    if missing { 127 } else { 126 }
}

const PREPARING: i32 = 0;
const UNWANTED: i32 = 1;
const RELEASED: i32 = 2;

/// An error that the child leaves for the parent.
struct Left([AtomicI32; 2]);

impl Left {
    fn set(&self, error: ExecError) {
        self.0[0].store(i32::from(error.stage.as_byte()), Ordering::Relaxed);
        self.0[1].store(error.errno, Ordering::Relaxed);
    }

    fn get(&self) -> Option<ExecError> {
        let stage = u8::try_from(self.0[0].load(Ordering::Relaxed)).ok().and_then(Step::from_byte)?;
        Some(ExecError { stage, errno: self.0[1].load(Ordering::Relaxed) })
    }
}

/// Everything the child needs, made before it, and what it leaves behind.
struct Command<'a> {
    plan: &'a Plan<Encoded<'a>>,
    /// A free place, the arguments, a null. The free place is for a script without `#!`, which a shell runs.
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    path: &'a [u8],
    /// What is open already.
    stdout: Option<RawFd>,
    stderr: Option<RawFd>,
    /// The terminal that is its own, instead of those.
    terminal: Option<RawFd>,
    /// The files by which it joins its groups, the tracking one first.
    joins: Vec<CString>,
    /// It is made inside the tracking group, and joins only the others.
    inside: bool,
    /// The kernel's clock before it was made.
    made_after: u64,
    /// Complete but for itself.
    started: Started,
    /// Of the run's file.
    owner: &'a [u8],
    /// Has the capacity for any start record of this run.
    text: String,
    phase: AtomicI32,
    error: Left,
    since: [AtomicU64; 2],
}

/// The child's life.
extern "C" fn live(command: *mut c_void) -> c_int {
    // SAFETY: it is what `run` gave us, and the parent does not touch it until we are gone.
    unsafe { &mut *command.cast::<Command<'_>>() }.live()
}

impl<'a> Command<'a> {
    fn of(
        plan: &'a Plan<Encoded<'a>>,
        shim: Process,
        logs: &Logs,
        terminal: Option<&Terminal>,
        owner: &'a [u8],
    ) -> Self {
        let mut argv = Vec::with_capacity(plan.argv.len() + 2);
        argv.push(ptr::null());
        argv.extend(plan.argv.iter().map(|text| text.0.as_ptr()));
        argv.push(ptr::null());
        let mut envp = Vec::with_capacity(plan.env.len() + 1);
        envp.extend(plan.env.iter().map(|text| text.0.as_ptr()));
        envp.push(ptr::null());
        let path = plan.env.iter().find_map(|text| text.0.to_bytes().strip_prefix(b"PATH="));
        let dirs = plan.cgroup.iter().flat_map(JobCgroup::dirs);
        let started = Started {
            boot_id: String::from_utf8_lossy(plan.boot_id.as_ref()).into_owned(),
            shim_pid: shim.pid,
            shim_start: shim.start,
            pid: u32::MAX,
            pid_start: u64::MAX,
            cgroup: plan.cgroup.clone(),
            at_wall_ms: u64::MAX,
            at_boot_ms: u64::MAX,
        };
        Self {
            plan,
            argv,
            envp,
            path: path.unwrap_or(DEFAULT_PATH),
            stdout: logs.stdout.as_ref().map(AsRawFd::as_raw_fd),
            stderr: logs.stderr.as_ref().map(AsRawFd::as_raw_fd),
            terminal: terminal.map(Terminal::theirs),
            joins: dirs.map(|dir| c_string(dir.join("cgroup.procs").as_os_str().as_bytes())).collect(),
            inside: false,
            made_after: 0,
            text: started.to_json(),
            started,
            owner,
            phase: AtomicI32::new(PREPARING),
            error: Left([AtomicI32::new(-1), AtomicI32::new(0)]),
            since: [AtomicU64::new(0), AtomicU64::new(0)],
        }
    }

    fn live(&mut self) -> ! {
        let made_before = ticks();
        // SAFETY: plain system calls.
        unsafe {
            // Nothing is run that nobody watches.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if libc::getppid().cast_unsigned() != self.started.shim_pid {
                libc::_exit(0);
            }
        }
        if let Err(error) = self.join() {
            self.give_up(failure(Step::Cgroup, &error));
        }
        // What is wrong with the command is its own failure, and is told when it was to be released.
        let prepared = self.prepare();
        self.started.pid_start = match made_before == self.made_after {
            true => made_before,
            false => match Stat::read("/proc/self/stat") {
                Ok(Some(stat)) => stat.start,
                _ => self.give_up(ExecError { stage: Step::Fork, errno: libc::ESRCH }),
            },
        };
        // SAFETY: a plain system call.
        self.started.pid = unsafe { libc::getpid() }.cast_unsigned();

        fault::point_in_child("shim.6");
        let mut word = 0u8;
        // SAFETY: the byte is valid for the call. No signal interrupts it.
        if unsafe { libc::read(fd::HANDSHAKE, (&raw mut word).cast(), 1) } != 1 || word != GO {
            self.end(UNWANTED, 0);
        }

        fault::point_in_child("shim.7");
        if let Err(error) = self.record() {
            self.give_up(failure(Step::Started, &error));
        }

        fault::point_in_child("shim.8");
        self.phase.store(RELEASED, Ordering::Relaxed);
        let error = match prepared.and_then(|()| self.prepare_late()) {
            Ok(()) => ExecError { stage: Step::Exec, errno: self.exec() },
            Err(error) => error,
        };
        self.error.set(error);
        self.end(RELEASED, exit_code(error))
    }

    fn give_up(&self, error: ExecError) -> ! {
        self.error.set(error);
        self.end(PREPARING, 0)
    }

    fn end(&self, phase: i32, code: c_int) -> ! {
        self.phase.store(phase, Ordering::Relaxed);
        // SAFETY: it never returns.
        unsafe { libc::_exit(code) }
    }

    fn join(&self) -> io::Result<()> {
        for file in self.joins.iter().skip(usize::from(self.inside)) {
            let file = rustix::fs::open(file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
            rustix::io::write(&file, b"0")?;
        }
        Ok(())
    }

    fn prepare(&self) -> Result<(), ExecError> {
        // SAFETY: plain system calls on what was made before.
        unsafe {
            // Its own session, so that `kill 0` in a job does not reach the shim.
            libc::setsid();
            libc::umask(self.plan.umask);
            if let Some(terminal) = self.terminal {
                check(Step::Terminal, libc::ioctl(terminal, libc::TIOCSCTTY as _, 0))?;
                for stream in 0..=2 {
                    check(Step::Terminal, libc::dup2(terminal, stream))?;
                }
            } else {
                if let Some(stdout) = self.stdout {
                    check(Step::Stdout, libc::dup2(stdout, 1))?;
                }
                if let Some(stderr) = self.stderr {
                    check(Step::Stderr, libc::dup2(stderr, 2))?;
                }
            }
            match self.plan.nice {
                Some(nice) => check(Step::Nice, libc::setpriority(libc::PRIO_PROCESS, 0, nice)),
                None => Ok(()),
            }
        }
    }

    /// What would stand in the way of the other preparations, may wait for somebody, or is to be done as the user: from
    /// then on its own kind can stop this process, which nobody waits for any more but its shim.
    fn prepare_late(&self) -> Result<(), ExecError> {
        // Where limits can be raised at all, it is before; the soft ones come last, for they are the command's.
        self.limit(|limit| limit.hard)?;
        if let Some(identity) = &self.plan.identity {
            identity.assume().map_err(|errno| ExecError { stage: Step::User, errno })?;
        }
        // SAFETY: plain system calls on what was made before.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, 0);
            // Whoever waits for a writer can be told to end.
            let mut none = MaybeUninit::uninit();
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
            check(Step::Chdir, libc::chdir(self.plan.cwd.0.as_ptr()))?;
        }
        if self.terminal.is_none() {
            self.open_files()?;
        }
        self.limit(|limit| limit.soft)
    }

    fn open_files(&self) -> Result<(), ExecError> {
        // SAFETY: plain system calls on what was made before.
        unsafe {
            let read = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOCTTY;
            let input = match &self.plan.stdin {
                Stdin::Null => None,
                Stdin::Fifo(name) => Some(libc::openat(fd::JOB_DIR, name.0.as_ptr(), read | libc::O_NOFOLLOW)),
                Stdin::File(path) => Some(libc::open(path.0.as_ptr(), read)),
            };
            if let Some(input) = input {
                check(Step::Stdin, input)?;
                check(Step::Stdin, libc::dup2(input, 0))?;
            }
            self.open_file(Step::Stdout, &self.plan.stdout, 1)?;
            if self.plan.stdout == self.plan.stderr {
                check(Step::Stderr, libc::dup2(1, 2))?;
            } else {
                self.open_file(Step::Stderr, &self.plan.stderr, 2)?;
            }
        }
        Ok(())
    }

    fn limit(&self, soft: fn(&Rlimit) -> u64) -> Result<(), ExecError> {
        for limit in &self.plan.rlimits {
            let value = libc::rlimit { rlim_cur: soft(limit), rlim_max: limit.hard };
            // SAFETY: the value is valid for the call.
            check(Step::Rlimit, unsafe { libc::setrlimit(limit.resource as _, &raw const value) })?;
        }
        Ok(())
    }

    /// A file of the job's choice, as the shell's `>>` would open it; one that is not given is open already.
    fn open_file(&self, step: Step, target: &LogTarget<Encoded<'_>>, to: c_int) -> Result<(), ExecError> {
        let LogTarget::File(path) = target else { return Ok(()) };
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC | libc::O_NOCTTY;
        // SAFETY: plain system calls on what was made before.
        unsafe {
            let file = libc::open(path.0.as_ptr(), flags, 0o666);
            check(step, file)?;
            check(step, libc::dup2(file, to))
        }
    }

    fn record(&mut self) -> io::Result<()> {
        let now = Moment::now();
        self.since[0].store(now.wall_ms, Ordering::Relaxed);
        self.since[1].store(now.boot_ms, Ordering::Relaxed);
        (self.started.at_wall_ms, self.started.at_boot_ms) = (now.wall_ms, now.boot_ms);
        // It is shorter than what `text` was made for, so that nothing is allocated.
        self.text.clear();
        self.started.write_json(&mut self.text);
        run_file::write_started(given(fd::RUN_FILE), self.owner, &self.text)
    }

    /// Executes the command, looked up as execvp(3) does; returns the error only if that failed.
    fn exec(&mut self) -> i32 {
        let name = self.plan.argv[0].0.to_bytes_with_nul();
        if name.len() == 1 {
            return libc::ENOENT;
        }
        if name.contains(&b'/') {
            return self.exec_file(self.plan.argv[0].0);
        }
        let mut denied = false;
        for dir in self.path.split(|byte| *byte == b':') {
            let mut buffer = [0; libc::PATH_MAX as usize];
            let slash = usize::from(!dir.is_empty());
            let Some(file) = buffer.get_mut(..dir.len() + slash + name.len()) else { continue };
            file[..dir.len()].copy_from_slice(dir);
            file[dir.len()..dir.len() + slash].fill(b'/');
            file[dir.len() + slash..].copy_from_slice(name);
            let Ok(file) = CStr::from_bytes_with_nul(file) else { continue };
            match self.exec_file(file) {
                libc::EACCES => denied = true,
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
                errno => return errno,
            }
        }
        if denied { libc::EACCES } else { libc::ENOENT }
    }

    /// Executes this file, by a shell if it is a script that does not name its interpreter.
    fn exec_file(&mut self, file: &CStr) -> i32 {
        // SAFETY: both arrays end with a null and point to C strings that live in the plan.
        unsafe { libc::execve(file.as_ptr(), self.argv[1..].as_ptr(), self.envp.as_ptr()) };
        let errno = errno();
        if errno != libc::ENOEXEC {
            return errno;
        }
        let name = self.argv[1];
        self.argv[0] = c"/bin/sh".as_ptr();
        self.argv[1] = file.as_ptr();
        // SAFETY: as above.
        unsafe { libc::execve(c"/bin/sh".as_ptr(), self.argv.as_ptr(), self.envp.as_ptr()) };
        self.argv[1] = name;
        self::errno()
    }
}

fn check(stage: Step, result: c_int) -> Result<(), ExecError> {
    if result < 0 { Err(ExecError { stage, errno: errno() }) } else { Ok(()) }
}

fn errno() -> i32 {
    // SAFETY: it is this thread's own, and the parent stands still while we share it.
    unsafe { *libc::__errno_location() }
}

fn open_group(dir: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn c_string(bytes: &[u8]) -> CString {
    CString::new(bytes).expect("it is from the plan, where no string holds a NUL")
}
