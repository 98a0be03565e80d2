//! The one thread that makes, watches, signals and finds again the processes of jobs; it sleeps in epoll_wait(2) and
//! is woken by orders, by the ends of processes and by its own deadlines. It refuses to decide: what is run is
//! ordered, and what happened is reported.

mod adopt;
pub mod cgroup;
mod checkpoint;
mod enter;
mod files;
pub mod identity;
mod launch;
mod limits;
mod mail;
mod matrix;
mod run_files;
pub mod scratch;
mod signal;
mod spawn;
#[cfg(test)]
mod tests;
mod thread;
mod watch;
mod watched;

pub use enter::Door;
pub use files::{SCRIPT, STDERR, STDIN, STDOUT, job_dir, make_fifo};
pub use limits::Limits;

use crate::config::Bound;
use crate::mode::Mode;
use crate::monitor::Monitor;
use cgroup::{Tracking, Wish};
use mail::{Mail, Message};
use qrm_core::{Observed, Run, RunSignal};
use qrm_protocol::amount::Bytes;
use qrm_protocol::ids::{JobRef, Uid};
use qrm_protocol::job::Enforcement;
use qrm_protocol::method::Finding;
use qrm_shim::identity::Identity;
use qrm_shim::plan::Rlimit;
use qrm_shim::terminal::Window;
use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;
use thread::Thread;

/// Where things are, and what this machine is asked for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The state directory; the subtree of control groups is named after it.
    pub state_dir: PathBuf,
    /// The directory of all job directories; exists.
    pub jobs_dir: PathBuf,
    /// The directory of the files with the records of runs; exists.
    pub runs_dir: PathBuf,
    /// The program `qrm-shim`.
    pub shim: PathBuf,
    /// The program `qrmd`, for a shim that has to start it again.
    pub qrmd: PathBuf,
    /// Its arguments then, without its name.
    pub qrmd_args: Vec<Vec<u8>>,
    /// Its environment then, complete.
    pub qrmd_env: Vec<Vec<u8>>,
    /// The file that a living `qrmd` holds a record lock on.
    pub lock: PathBuf,
    /// The file that says that `qrmd` was stopped on purpose.
    pub stopped: PathBuf,
    /// The socket, for the jobs.
    pub socket: PathBuf,
    /// The machine's boot id, without a newline.
    pub boot_id: String,
    /// How jobs are to be tracked.
    pub tracking: Wish,
    /// The most processes of a job that does not say.
    pub pids: Bound<u32>,
    /// The most bytes that a job may leave in its own directory, output and all.
    pub output: Bound<Bytes>,
    /// The directory of all scratch directories; made when there is one.
    pub scratch: PathBuf,
    /// A job never has more cpus than it asked for.
    pub hard_cpus: bool,
    /// How many files jobs may have open, whatever the daemon needs itself.
    pub open_files: rustix::process::Rlimit,
    /// The limits that shims have.
    pub limits: Vec<Rlimit>,
    /// Whether jobs can have higher ones: capabilities(7) has it for `CAP_SYS_RESOURCE`.
    pub raises_limits: bool,
    /// Whether a shim starts the daemon when its job ends and none is there: one that somebody looks after is theirs to start.
    pub restart: bool,
    /// Whose the daemon is. In system mode jobs run as their submitters.
    pub mode: Mode,
}

/// What a run needs to be made. It is never printed: environments pass through memory only.
pub struct Launch {
    /// Which.
    pub run: Run,
    /// Who submitted it; in system mode it runs as this user.
    pub uid: Uid,
    /// The program and its arguments; never empty.
    pub argv: Vec<Vec<u8>>,
    /// The submitter's environment; qrm's own variables are added, later entries win.
    pub env: Vec<Vec<u8>>,
    /// The working directory.
    pub cwd: Vec<u8>,
    /// The file mode creation mask.
    pub umask: u32,
    /// The submitter's limits.
    pub rlimits: Vec<Rlimit>,
    /// Where standard input comes from.
    pub stdin: Input,
    /// The file that standard output is appended to; `stdout` in the job's directory if it is not said.
    pub stdout: Option<Vec<u8>>,
    /// The same of standard error.
    pub stderr: Option<Vec<u8>>,
    /// A terminal of this size instead of all three.
    pub terminal: Option<Window>,
    /// What is put into the job's directory and run there, instead of the program.
    pub script: Option<Vec<u8>>,
    /// What it may have.
    pub limits: Limits,
    /// What is listed of what it leaves, as patterns below the working directory.
    pub outputs: Vec<String>,
    /// It has a directory for what it saves, which later attempts find.
    pub checkpoint: bool,
    /// It is known to have been released, so that it is lost if nothing is found of it: records younger than the kernel's
    /// writeback do not outlive the machine's power.
    pub ran: bool,
}

/// Where the standard input of a run comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// `/dev/null`.
    Null,
    /// The FIFO `stdin` in the job's directory.
    Fifo,
    /// This file.
    File(Vec<u8>),
}

/// What comes after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Another run of its job may.
    Another,
    /// Nothing: its job is over. What it saved is kept for whoever finds out why it did not complete.
    Nothing,
    /// Nothing: its job has completed, and what it saved is of no use any more.
    Completed,
}

impl After {
    /// No later run of the job comes.
    #[must_use]
    pub fn is_over(self) -> bool {
        self != Self::Another
    }
}

/// What the thread is told to do. Orders for one run are carried out in the order in which they were given.
pub enum Order {
    /// Make the shim now; it waits for [`Release`](Order::Release). Nothing of this run can exist yet.
    Prepare(Box<Launch>),
    /// The commit is durable: let it run.
    Release(Run),
    /// The commit failed: nothing runs, and all traces of the run are removed.
    Abort(Run),
    /// After a restart, or to look again: find out what became of it, and make it, released at once, only if nothing
    /// did and it never [`ran`](Launch::ran). A run that is known to be alive is left alone; an end that was reported is reported again.
    Resume(Box<Launch>),
    /// Signal it.
    Signal(Run, RunSignal),
    /// Give somebody a way to its terminal.
    Attach(Run, Door),
    /// Run this beside it, as this user, and give somebody a way to that.
    Enter(Box<Launch>, Option<Identity>, Door),
    /// The end (or requeue) of the run is committed: forget its records; if the job is over, remove empty logs, the
    /// FIFO, what it saved if it completed, and the directories that are empty then. A run that is still alive is cleared,
    /// unreported, when it ends.
    Clear {
        /// Which, if there was one.
        run: Option<Run>,
        /// Whose.
        job: JobRef,
        /// What comes then.
        after: After,
    },
    /// All [`Resume`](Order::Resume) orders have been given: end what is left in groups of ours that belong to no
    /// run that is known, and remove those groups.
    Sweep,
    /// End the thread. Runs and shims go on, but for those that were never released.
    Stop,
}

/// The thread, from outside.
pub struct Supervisor {
    mail: Mail,
    thread: Option<JoinHandle<()>>,
    findings: Vec<Finding>,
    powers: Powers,
}

/// How jobs are held to their limits here.
#[derive(Clone, Copy, Debug)]
pub struct Powers {
    /// To each that there is.
    pub enforcement: Enforcement,
    /// The most processes of a job that does not say how many.
    pub default_pids: Option<u32>,
}

impl Supervisor {
    /// Starts it. `report` is called on the thread, for everything that runs do; it may wait for its reader. What executes is
    /// sampled by `monitor`.
    ///
    /// # Errors
    /// The wish for tracking cannot be met, the job directories cannot be opened, or the thread cannot be made.
    pub fn start(settings: Settings, monitor: Monitor, report: impl Fn(Observed) + Send + 'static) -> io::Result<Self> {
        let tracking = Tracking::detect(settings.tracking, &settings.state_dir)?;
        let findings = tracking.findings(&settings);
        let powers = Powers { enforcement: tracking.enforcement(), default_pids: tracking.default_pids(&settings) };
        let (mail, orders) = Mail::new()?;
        let report = Box::new(report);
        let thread = Thread::new(settings, tracking, mail.clone(), orders, monitor, report)?;
        let thread = std::thread::Builder::new().name("supervise".to_owned()).spawn(move || thread.run())?;
        Ok(Self { mail, thread: Some(thread), findings, powers })
    }

    /// Gives an order. It is carried out soon, and never waited for.
    pub fn order(&self, order: Order) {
        self.mail.send(Message::Order(order));
    }

    /// Gives several, and wakes the thread once.
    pub fn order_all(&self, orders: impl Iterator<Item = Order>) {
        for order in orders {
            self.mail.put(Message::Order(order));
        }
        self.mail.bell.ring();
    }

    /// How jobs are tracked on this machine, and what is limited, what that means, and what would mend it.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        self.findings.clone()
    }

    /// How jobs are held to their limits here.
    #[must_use]
    pub fn powers(&self) -> Powers {
        self.powers
    }

    /// Ends the thread and waits for that; jobs go on. Whoever reads the reports must go on reading, or be gone.
    pub fn stop(mut self) {
        self.order(Order::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the supervising thread had ended by a panic");
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.order(Order::Stop);
        }
    }
}
