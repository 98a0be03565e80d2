//! The facts. Each is stored as JSON for ever, so fields are only ever added, with a default.
//! What follows from a fact is not known here, see [`crate::Core::apply`].

use crate::gates::Gate;
use crate::job::{Demand, is_default};
use crate::policy::Policy;
use qrm_protocol::ids::{JobId, JobRef, Uid};
use qrm_protocol::job::{Failure, JobChange, JobState, Offer, OfferId};
use qrm_protocol::progress::Fraction;
use qrm_protocol::queue::{QueueName, QueueSpec};
use qrm_protocol::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which command of a job a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The validate command.
    Validate,
    /// The compile command.
    Compile,
    /// The job's own command.
    Execute,
}

/// One process tree that qrm makes: a stage of an attempt of a job or task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Run {
    /// Whose.
    pub job: JobRef,
    /// Which command.
    pub stage: Stage,
    /// From 1; validate and compile have one attempt.
    pub attempt: u32,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Validate => "validate",
            Stage::Compile => "compile",
            Stage::Execute => "execute",
        };
        write!(f, "{stage}-{}", self.attempt)
    }
}

/// Why a running job is being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StopWhy {
    /// Someone wanted that.
    Cancelled,
    /// Its time limit.
    Timeout,
    /// Its deadline.
    Deadline,
    /// It makes room for another job.
    Preempted,
}

/// What a run used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunUsage {
    /// User and system time of all its processes.
    #[serde(default)]
    pub cpu_ms: u64,
    /// The most memory at once.
    #[serde(default)]
    pub peak_memory_bytes: u64,
}

/// What a run was granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Takes {
    /// Cpus.
    pub cpus: u32,
    /// Memory; 0 is not counted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mem_bytes: u64,
    /// Room for files; 0 is none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub disk_bytes: u64,
    /// How long it may run; 0 is for ever.
    #[serde(default, skip_serializing_if = "is_default")]
    pub time_ms: u64,
    /// It has the machine for itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exclusive: bool,
}

fn none<T>(value: &Option<T>) -> bool {
    value.is_none()
}

/// A fact. The numbers of bulks are the ids of their first jobs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind")]
pub enum Event {
    /// What there is to share, and since which boot.
    #[serde(rename = "machine.found")]
    MachineFound {
        /// Tells boots apart.
        boot_id: String,
        /// Cpus offered to jobs.
        cpus: u32,
        /// Memory offered to jobs.
        mem_bytes: u64,
        /// Room for files offered to jobs.
        #[serde(default, skip_serializing_if = "crate::job::is_default")]
        disk_bytes: u64,
    },
    /// How it is decided what starts when.
    #[serde(rename = "policy.set")]
    PolicySet {
        /// From now on.
        policy: Policy,
    },
    /// A queue was made or changed.
    #[serde(rename = "queue.set")]
    QueueSet {
        /// Its name.
        queue: QueueName,
        /// What it is.
        #[serde(flatten)]
        spec: QueueSpec,
        /// The configuration says so.
        #[serde(default, skip_serializing_if = "is_default")]
        configured: bool,
        /// Who wanted that, if someone did.
        #[serde(default, skip_serializing_if = "none")]
        by: Option<Uid>,
    },
    /// Nothing of a queue starts any more.
    #[serde(rename = "queue.paused")]
    QueuePaused {
        /// Its name.
        queue: QueueName,
        /// Who wanted that.
        by: Uid,
    },
    /// It goes on.
    #[serde(rename = "queue.resumed")]
    QueueResumed {
        /// Its name.
        queue: QueueName,
        /// Who wanted that.
        by: Uid,
    },
    /// A queue is no more.
    #[serde(rename = "queue.removed")]
    QueueRemoved {
        /// Its name.
        queue: QueueName,
        /// Who wanted that, if someone did.
        #[serde(default, skip_serializing_if = "none")]
        by: Option<Uid>,
    },
    /// A job was accepted.
    #[serde(rename = "job.submitted")]
    Submitted {
        /// Its id.
        job: JobRef,
        /// Whose.
        user: Uid,
        /// For people; the core forgets it.
        name: String,
        /// What it asks for.
        #[serde(flatten)]
        demand: Demand,
    },
    /// Ids were set aside for a bulk.
    #[serde(rename = "bulk.begun")]
    BulkBegun {
        /// The first of its ids.
        bulk: JobId,
        /// Whose.
        user: Uid,
        /// How many ids.
        count: u64,
    },
    /// The next jobs of a bulk; nobody sees them yet.
    #[serde(rename = "bulk.staged")]
    BulkStaged {
        /// Which.
        bulk: JobId,
        /// In the order of their ids; `None` leaves its id unused.
        jobs: Vec<Option<Demand>>,
        /// Those that can never run, and by whose end; they end when the bulk becomes visible.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        doomed: Vec<(JobId, JobRef)>,
    },
    /// A bulk's jobs were accepted.
    #[serde(rename = "bulk.submitted")]
    BulkSubmitted {
        /// Which.
        bulk: JobId,
    },
    /// A bulk will never be.
    #[serde(rename = "bulk.discarded")]
    BulkDiscarded {
        /// Which.
        bulk: JobId,
    },
    /// A validate or compile command got its turn.
    #[serde(rename = "stage.started")]
    StageStarted {
        /// Whose.
        job: JobRef,
        /// Which.
        stage: Stage,
    },
    /// A validate or compile command succeeded.
    #[serde(rename = "stage.passed")]
    StagePassed {
        /// Whose.
        job: JobRef,
        /// Which.
        stage: Stage,
    },
    /// The time came that a job waited for: its begin, or the end of its backoff.
    #[serde(rename = "job.due")]
    Due {
        /// Which.
        job: JobRef,
    },
    /// A job got its grant; its process is being made.
    #[serde(rename = "job.started")]
    Started {
        /// Which.
        job: JobRef,
        /// From 1.
        attempt: u32,
        /// Which of its alternatives it has, from 1; 0 is what it asked for first.
        #[serde(default, skip_serializing_if = "is_default")]
        variant: u8,
        /// How long it is expected to run.
        #[serde(default, skip_serializing_if = "is_default")]
        expected_ms: u64,
        /// What it was granted, if that is not what it asked for first.
        #[serde(default, skip_serializing_if = "none")]
        takes: Option<Takes>,
    },
    /// When a waiting job is planned to start, or another time than was announced before.
    #[serde(rename = "job.planned")]
    Planned {
        /// Which.
        job: JobRef,
        /// When; nothing if it is not planned any more.
        #[serde(default, skip_serializing_if = "none")]
        start: Option<Timestamp>,
        /// What was announced before.
        #[serde(default, skip_serializing_if = "none")]
        was: Option<Timestamp>,
        /// For people: what changed that.
        why: String,
    },
    /// A job that can not start at once is offered something else.
    #[serde(rename = "job.offered")]
    Offered {
        /// Which.
        job: JobRef,
        /// In the order of their places, from 1.
        offers: Vec<Offer>,
        /// Until then they can be accepted.
        lapses_at: Timestamp,
    },
    /// An offer was accepted.
    #[serde(rename = "job.offer_accepted")]
    OfferAccepted {
        /// To which job it was.
        job: JobRef,
        /// Which.
        offer: OfferId,
        /// What it is.
        what: Offer,
        /// Who wanted that.
        by: Uid,
    },
    /// What a job was offered can not be accepted any more.
    #[serde(rename = "job.offers_lapsed")]
    OffersLapsed {
        /// Which.
        job: JobRef,
    },
    /// Its command runs.
    #[serde(rename = "job.executing")]
    Executing {
        /// Which.
        job: JobRef,
        /// Which attempt.
        attempt: u32,
        /// Its main process.
        pid: u32,
        /// When the command was released.
        started_at: Timestamp,
        /// The same on the clock that never jumps.
        boot_ms: u64,
    },
    /// Someone sent a signal to a job.
    #[serde(rename = "job.signalled")]
    Signalled {
        /// Which.
        job: JobRef,
        /// The kernel's number.
        signal: i32,
        /// Who.
        by: Uid,
    },
    /// Someone wants that a job does not start; of an array, that no more tasks do.
    #[serde(rename = "job.held")]
    Held {
        /// Which.
        job: JobRef,
        /// Who.
        by: Uid,
    },
    /// It may start.
    #[serde(rename = "job.released")]
    Released {
        /// Which.
        job: JobRef,
        /// Who.
        by: Uid,
    },
    /// Its processes stand still, and its time does.
    #[serde(rename = "job.suspended")]
    Suspended {
        /// Which.
        job: JobRef,
        /// Who, if someone wanted that.
        #[serde(default, skip_serializing_if = "none")]
        by: Option<Uid>,
        /// Since when, on the clock that never jumps.
        boot_ms: u64,
        /// For which job it makes room.
        #[serde(default, skip_serializing_if = "none")]
        room_for: Option<JobRef>,
    },
    /// They go on.
    #[serde(rename = "job.resumed")]
    Resumed {
        /// Which.
        job: JobRef,
        /// Who, if someone wanted that; else there is room again.
        #[serde(default, skip_serializing_if = "none")]
        by: Option<Uid>,
        /// Since when, on the clock that never jumps.
        boot_ms: u64,
    },
    /// Someone changed what a job asks for.
    #[serde(rename = "job.updated")]
    Updated {
        /// Which.
        job: JobRef,
        /// Who.
        by: Uid,
        /// What; the core forgets the words for people.
        #[serde(flatten)]
        change: Box<JobChange>,
        /// What must have happened for each of an array's tasks by itself, if that has changed.
        #[serde(default, skip_serializing_if = "none")]
        gates: Option<Vec<Gate>>,
    },
    /// A job says how far it is.
    #[serde(rename = "job.progress")]
    Progress {
        /// Which.
        job: JobRef,
        /// Who said that; older releases did not write it down.
        #[serde(default, skip_serializing_if = "none")]
        by: Option<Uid>,
        /// How much is done; the core forgets it.
        fraction: Fraction,
        /// For people; the core forgets it.
        #[serde(default, skip_serializing_if = "none")]
        message: Option<String>,
    },
    /// The deadline of a job has come that did not end with that.
    #[serde(rename = "job.overdue")]
    Overdue {
        /// Which.
        job: JobRef,
    },
    /// The tasks of an array that had not started by its queue timeout or deadline never will.
    #[serde(rename = "array.expired")]
    ArrayExpired {
        /// Which.
        job: JobRef,
    },
    /// A running job, or a stage of it, is being ended.
    #[serde(rename = "job.stopping")]
    Stopping {
        /// Which.
        job: JobRef,
        /// Why.
        why: StopWhy,
        /// Who wanted that, if someone did.
        #[serde(default, skip_serializing_if = "none")]
        by: Option<Uid>,
        /// When patience ends, on the clock that never jumps.
        kill_at_boot_ms: u64,
        /// For which job it makes room.
        #[serde(default, skip_serializing_if = "none")]
        room_for: Option<JobRef>,
    },
    /// Patience has ended.
    #[serde(rename = "job.killing")]
    Killing {
        /// Which.
        job: JobRef,
    },
    /// Tasks of an array waited for what can never be, and are cancelled.
    #[serde(rename = "array.barred")]
    ArrayBarred {
        /// Which.
        job: JobRef,
        /// For whose tasks, or for whom, they waited.
        on: JobId,
        /// By their place in the array from 0, as pairs of first and last.
        tasks: Vec<(u32, u32)>,
    },
    /// The tasks of an array that had not started never will.
    #[serde(rename = "array.stopping")]
    ArrayStopping {
        /// Which.
        job: JobRef,
        /// Who wanted that.
        by: Uid,
    },
    /// An attempt ended badly, and there is a next one.
    #[serde(rename = "job.requeued")]
    Requeued {
        /// Which.
        job: JobRef,
        /// The attempt that ended.
        attempt: u32,
        /// When its command began, if it did.
        #[serde(default, skip_serializing_if = "none")]
        started_at: Option<Timestamp>,
        /// How.
        failure: Failure,
        /// Not before this, on the clock that never jumps.
        due_boot_ms: u64,
        /// What the attempt used.
        usage: RunUsage,
    },
    /// The end. There is exactly one for a job, and one for each task.
    #[serde(rename = "job.ended")]
    Ended {
        /// Which.
        job: JobRef,
        /// How; a terminal state.
        state: JobState,
        /// When the last attempt's command began, if it did.
        #[serde(default, skip_serializing_if = "none")]
        started_at: Option<Timestamp>,
        /// When it was over.
        ended_at: Timestamp,
        /// What the main process exited with.
        #[serde(default, skip_serializing_if = "none")]
        exit_code: Option<i32>,
        /// What signal ended it.
        #[serde(default, skip_serializing_if = "none")]
        signal: Option<i32>,
        /// Why it did not complete.
        #[serde(default, skip_serializing_if = "none")]
        failure: Option<Failure>,
        /// Who wanted that, if someone did.
        #[serde(default, skip_serializing_if = "none")]
        by: Option<Uid>,
        /// What the last attempt used.
        #[serde(default)]
        usage: RunUsage,
    },
}

impl Event {
    /// Whose event it is, for `--job`.
    #[must_use]
    pub fn job(&self) -> Option<JobRef> {
        match self {
            Self::MachineFound { .. } | Self::BulkBegun { .. } | Self::BulkStaged { .. } => None,
            Self::PolicySet { .. } | Self::QueueSet { .. } | Self::QueueRemoved { .. } => None,
            Self::QueuePaused { .. } | Self::QueueResumed { .. } => None,
            Self::BulkSubmitted { .. } | Self::BulkDiscarded { .. } => None,
            Self::Submitted { job, .. }
            | Self::StageStarted { job, .. }
            | Self::StagePassed { job, .. }
            | Self::Due { job }
            | Self::Started { job, .. }
            | Self::Planned { job, .. }
            | Self::Offered { job, .. }
            | Self::OfferAccepted { job, .. }
            | Self::OffersLapsed { job }
            | Self::Executing { job, .. }
            | Self::Signalled { job, .. }
            | Self::Held { job, .. }
            | Self::Released { job, .. }
            | Self::Suspended { job, .. }
            | Self::Resumed { job, .. }
            | Self::Updated { job, .. }
            | Self::Progress { job, .. }
            | Self::Overdue { job }
            | Self::ArrayExpired { job }
            | Self::ArrayBarred { job, .. }
            | Self::Stopping { job, .. }
            | Self::Killing { job }
            | Self::ArrayStopping { job, .. }
            | Self::Requeued { job, .. }
            | Self::Ended { job, .. } => Some(*job),
        }
    }
}

/// The clock that never jumps, in milliseconds since boot, as [`Millis`] for people.
#[must_use]
pub(crate) fn until(at_boot_ms: u64, now_boot_ms: u64) -> Millis {
    Millis(at_boot_ms.saturating_sub(now_boot_ms))
}
