//! What running jobs and the machine use, sampled on a thread of its own while jobs run or somebody looks, and kept in
//! memory for some minutes. It refuses to act on what it sees, and to run when there is nothing to see.

mod beside;
mod findings;
mod host;
mod job;
mod mounts;
mod processes;
mod read;
mod ring;
mod thread;

pub use beside::{Beside, Bounds, Sampled};
pub use findings::findings;

use crate::clock;
use mounts::Mounts;
use qrm_core::Run;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::JobRef;
use qrm_protocol::sample::{HostSample, JobSample, MountView};
use qrm_protocol::time::Timestamp;
use qrm_shim::cgroup::JobCgroup;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};
use thread::Thread;
use tokio::sync::oneshot;

/// Where a running job is found.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The process that all others of it descend from; it is not of the job itself.
    pub shim: u32,
    /// Its groups.
    pub group: Option<JobCgroup>,
    /// When it was started, in milliseconds since boot.
    pub since_boot_ms: u64,
    /// The memory that it asked for, in bytes; nothing if it did not.
    pub asked: Option<u64>,
}

/// Looking takes at most one part in so many of a cpu: with very many processes it is done less often.
const SHARE: u32 = 100;

/// The moment of a sample.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    number: u64,
    wall: Timestamp,
    boot_ms: u64,
    mono: Instant,
}

impl Stamp {
    /// The present. Numbers grow by themselves, also over restarts, because they are milliseconds since boot; this one is
    /// at least `least`.
    fn now(least: u64) -> Self {
        let now = clock::now();
        Self { number: now.boot_ms.max(least), wall: now.wall, boot_ms: now.boot_ms, mono: Instant::now() }
    }
}

/// What is wanted of samples.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Those of the last minutes, too.
    pub history: bool,
    /// One with a greater number than this.
    pub after: Option<u64>,
}

/// The newest sample, and those of the last minutes if they were wanted.
pub struct Samples<T> {
    /// The newest.
    pub newest: T,
    /// The oldest first.
    pub history: Vec<T>,
}

type Tell<T> = oneshot::Sender<Option<Samples<T>>>;

/// What the thread is told. Nobody waits for its queue: a few messages for each run, and one for each call.
enum Message {
    Watch(Run, Watched, Arc<AtomicU64>),
    Over(Run),
    Interval(Duration),
    /// Something waits for the machine beside jobs.
    Minds(bool),
    Job(JobRef, Wanted, Tell<JobSample>),
    Jobs(Vec<JobRef>, oneshot::Sender<BTreeMap<JobRef, JobSample>>),
    Host(Wanted, Tell<HostSample>),
}

/// The thread, from outside.
#[derive(Clone)]
pub struct Monitor {
    to: Sender<Message>,
    mounts: Mounts,
}

/// A running job is sampled until this is dropped.
#[derive(Debug)]
pub struct Watching {
    run: Run,
    peak: Arc<AtomicU64>,
    to: Sender<Message>,
}

impl Monitor {
    /// Starts it; nothing is sampled yet. While a job runs that asked for memory, or something waits for the machine beside
    /// jobs, `tell` is called on the thread about once a second; it must not wait.
    ///
    /// # Errors
    /// The thread can not be made.
    pub fn start(interval: Duration, tell: impl Fn(Sampled) + Send + 'static) -> io::Result<Self> {
        let (to, messages) = channel();
        let thread = Thread::new(interval, Box::new(tell));
        std::thread::Builder::new().name("monitor".to_owned()).spawn(move || thread.run(&messages))?;
        Ok(Self { to, mounts: Mounts::default() })
    }

    /// Has a running job sampled from now on.
    #[must_use]
    pub fn watch(&self, run: Run, watched: Watched) -> Watching {
        let peak = Arc::new(AtomicU64::new(0));
        send(&self.to, Message::Watch(run, watched, peak.clone()));
        Watching { run, peak, to: self.to.clone() }
    }

    /// Samples are this far apart from now on.
    pub fn set_interval(&self, interval: Duration) {
        send(&self.to, Message::Interval(interval));
    }

    /// Whether something waits for the machine beside jobs, from now on.
    pub fn minds(&self, minds: bool) {
        send(&self.to, Message::Minds(minds));
    }

    /// What a job uses; `None` if it does not run any more, or not yet.
    ///
    /// # Errors
    /// The thread has ended, which it does not while the daemon lives.
    pub async fn job(&self, id: JobRef, wanted: Wanted) -> Result<Option<Samples<JobSample>>, Error> {
        self.ask(|tell| Message::Job(id, wanted, tell)).await
    }

    /// What those of these jobs use that run.
    ///
    /// # Errors
    /// As [`job`](Self::job).
    pub async fn jobs(&self, ids: Vec<JobRef>) -> Result<BTreeMap<JobRef, JobSample>, Error> {
        self.ask(|tell| Message::Jobs(ids, tell)).await
    }

    /// What of the machine is in use.
    ///
    /// # Errors
    /// The machine does not tell; otherwise as [`job`](Self::job).
    pub async fn host(&self, wanted: Wanted) -> Result<Samples<HostSample>, Error> {
        let silent = || Error::new(Code::Unavailable, "/proc does not tell what of the machine is in use");
        self.ask(|tell| Message::Host(wanted, tell)).await?.ok_or_else(silent)
    }

    /// How full these file systems are.
    pub async fn mounts(&self, paths: &[PathBuf]) -> Vec<MountView> {
        self.mounts.look(paths).await
    }

    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, Error> {
        let (tell, told) = oneshot::channel();
        send(&self.to, message(tell));
        told.await.map_err(|_| Error::new(Code::Internal, "the sampling thread has ended; the log says why"))
    }
}

impl Watching {
    /// The most memory that it was seen to have; `None` if it was not seen.
    #[must_use]
    pub fn peak(&self) -> Option<u64> {
        Some(self.peak.load(Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        send(&self.to, Message::Over(self.run));
    }
}

fn send(to: &Sender<Message>, message: Message) {
    if to.send(message).is_err() {
        tracing::error!("the sampling thread has ended");
    }
}
