//! The engine's typed face: what the async side and the supervisor may ask of it.
//! It refuses to wait on a full channel: who asks is told that the daemon is busy.

use crate::config::Durability;
use crate::monitor::{Bounds, Sampled};
use crate::store::JobText;
use crate::supervise::Door;
use qrm_core::{Action, Answer, Caller, Core, Now, Observed, Run};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::{JobId, JobRef, Seq};
use qrm_protocol::terminal::Size;
use qrm_protocol::text::OsText;
use qrm_protocol::time::Timestamp;
use qrm_shim::identity::Identity;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{SyncSender, TrySendError};
use tokio::sync::{oneshot, watch};

/// How many requests may wait for the engine. Each client has at most one, each run at most two reports.
pub const CHANNEL: usize = 8_192;

/// What the engine answers to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The core's answer; for a submit whose key was known, the job that there is.
    pub answer: Answer,
    /// Jobs whose key was known: their place among the texts, and the job that there is.
    pub existing: Vec<(u64, JobId)>,
}

/// Who waits for jobs.
pub struct Wait {
    /// Which; none of them twice.
    pub ids: Vec<JobRef>,
    /// For the first, and not for all.
    pub any: bool,
    /// To execute counts as to have ended.
    pub started: bool,
    /// Told then.
    pub reply: oneshot::Sender<()>,
}

pub(super) type Look = Box<dyn FnOnce(&Core, Now) + Send>;

/// What can be asked of the engine.
pub enum Request {
    /// Someone's intent, with the texts of the jobs in it.
    Command {
        /// Who.
        caller: Caller,
        /// What.
        action: Action,
        /// Of the jobs in it, in order.
        texts: Vec<JobText>,
        /// Told when it is durable.
        reply: oneshot::Sender<Result<Reply, Error>>,
    },
    /// Tell when jobs have ended.
    Wait(Wait),
    /// Look at what is committed.
    Look(Look),
    /// The world.
    Observed(Observed),
    /// What was measured of the memory.
    Sampled(Sampled),
    /// By what the machine beside jobs is judged from now on.
    Bounds(Bounds),
    /// A timer fired.
    Tick,
    /// A snapshot was folded, or why not.
    Folded(Result<Seq, String>),
    /// The write-ahead log was folded.
    Checkpointed,
    /// Forget what ended before this.
    Retain {
        /// The instant.
        before: Timestamp,
        /// Told which are forgotten, or why none can be.
        reply: oneshot::Sender<Result<Vec<JobId>, Error>>,
    },
    /// Commits are that sure from now on.
    Durability {
        /// How sure.
        durability: Durability,
        /// Told when it is so.
        reply: oneshot::Sender<Result<(), Error>>,
    },
    /// A way to the terminal of a run, or to a command beside it.
    Visit {
        /// Which run.
        run: Run,
        /// What for.
        visit: Visit,
        /// Given the way.
        door: Door,
    },
    /// End.
    Stop,
}

/// What somebody wants inside a run.
pub enum Visit {
    /// To look at its terminal.
    Attach,
    /// To run a command.
    Exec {
        /// The program and its arguments.
        command: Vec<OsText>,
        /// On a terminal of this size.
        pty: Option<Size>,
        /// And of this kind.
        term: Option<String>,
        /// As whom the run runs; in system mode.
        identity: Option<Identity>,
    },
}

/// What everyone may know of the engine at any time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// The newest event that is durable.
    pub last_seq: Seq,
    /// The store can not be written, and why.
    pub degraded: Option<String>,
    /// The engine has ended, and why, if it was not told to.
    pub ended: Option<Result<(), String>>,
}

/// Asks the engine.
#[derive(Clone)]
pub struct Handle {
    to: SyncSender<Request>,
    condition: watch::Receiver<Condition>,
}

impl Handle {
    pub(super) fn new(to: SyncSender<Request>, condition: watch::Receiver<Condition>) -> Self {
        Self { to, condition }
    }

    /// The engine's condition, and changes of it.
    #[must_use]
    pub fn condition(&self) -> watch::Receiver<Condition> {
        self.condition.clone()
    }

    fn send(&self, request: Request) -> Result<(), Error> {
        self.to.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => {
                Error::new(Code::ResourceExhausted, format!("the daemon is busy: {CHANNEL} requests wait"))
            }
            TrySendError::Disconnected(_) => stopping(),
        })
    }

    /// Has something done; answers when it is durable.
    ///
    /// # Errors
    /// It was refused, or could not be made durable.
    pub async fn command(&self, caller: Caller, action: Action, texts: Vec<JobText>) -> Result<Reply, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Command { caller, action, texts, reply })?;
        answer.await.map_err(|_| stopping())?
    }

    /// Looks at the core, as it is committed.
    ///
    /// # Errors
    /// The daemon is busy or ending.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Core, Now) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let look: Look = Box::new(move |core, now| {
            give(reply, look(core, now));
        });
        self.send(Request::Look(look))?;
        answer.await.map_err(|_| stopping())
    }

    /// Resolves when `any` or all of these jobs have ended (or execute, if `started`), and at once if they have.
    ///
    /// # Errors
    /// The daemon is busy.
    pub fn wait(&self, mut ids: Vec<JobRef>, any: bool, started: bool) -> Result<oneshot::Receiver<()>, Error> {
        ids.sort_unstable();
        ids.dedup();
        let (reply, answer) = oneshot::channel();
        self.send(Request::Wait(Wait { ids, any, started, reply }))?;
        Ok(answer)
    }

    /// Forgets some jobs that ended before an instant; their ids, none if there are no more.
    ///
    /// # Errors
    /// The store can not be written, or the daemon is busy or ending.
    pub async fn retain(&self, before: Timestamp) -> Result<Vec<JobId>, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Retain { before, reply })?;
        answer.await.map_err(|_| stopping())?
    }

    /// A socket that leads to the terminal of a run, or to a command beside it.
    ///
    /// # Errors
    /// There is no such terminal, the run is not there (any more), or the daemon is busy or ending.
    pub async fn visit(&self, run: Run, visit: Visit) -> Result<OwnedFd, Error> {
        let (door, answer) = oneshot::channel();
        self.send(Request::Visit { run, visit, door })?;
        answer.await.map_err(|_| stopping())?
    }

    /// Makes commits that sure from now on.
    ///
    /// # Errors
    /// The store says no, or the daemon is busy or ending.
    pub async fn set_durability(&self, durability: Durability) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Durability { durability, reply })?;
        answer.await.map_err(|_| stopping())?
    }

    /// Tells what the world did. Waits while the channel is full.
    pub fn observed(&self, observed: Observed) {
        self.push(Request::Observed(observed));
    }

    /// Tells what was measured of the memory, without waiting.
    pub fn sampled(&self, sampled: Sampled) {
        // There is another one in a second.
        if self.to.try_send(Request::Sampled(sampled)).is_err() {
            tracing::trace!("a measure of the memory is left out");
        }
    }

    /// Judges the machine beside jobs by this from now on. Waits while the channel is full.
    pub fn set_bounds(&self, bounds: Bounds) {
        self.push(Request::Bounds(bounds));
    }

    /// Tells that time has passed.
    pub fn tick(&self) {
        // Full means that it will look at the time very soon anyway.
        if self.to.try_send(Request::Tick).is_err() {
            tracing::trace!("a tick is left out");
        }
    }

    /// Tells the engine to end.
    pub fn stop(&self) {
        self.push(Request::Stop);
    }

    pub(super) fn push(&self, request: Request) {
        if self.to.send(request).is_err() {
            tracing::debug!("the engine has ended already");
        }
    }
}

fn stopping() -> Error {
    Error::new(Code::NoDaemon, "the daemon is stopping").hint("jobs go on; run the command again to start it anew")
}

/// Answers. Who asked may have gone; what was acknowledged to nobody is kept all the same.
pub(super) fn give<T>(reply: oneshot::Sender<T>, with: T) {
    if reply.send(with).is_err() {
        tracing::trace!("who asked is gone");
    }
}
