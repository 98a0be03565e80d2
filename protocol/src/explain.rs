//! Why a job does not run: every cause, with who holds what, since when, and when it is planned to start.
//! It refuses to know how that is found out.

use crate::ids::JobRef;
use crate::job::{JobState, Offer, OfferId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What blocks; stable words, additions only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// Its validate or compile command waits for a place, or runs.
    Stage,
    /// Someone holds it.
    Held,
    /// Its begin is to come.
    Begin,
    /// It waits between two attempts.
    Backoff,
    /// It waits for other jobs.
    Dependency,
    /// As many of its tasks run as it allows.
    ArrayWidth,
    /// Its queue is paused.
    QueuePaused,
    /// As many jobs of its queue run as may.
    QueueFull,
    /// Not enough cpus are free.
    Cpus,
    /// Not enough memory is granted to nobody.
    Memory,
    /// Not enough memory of the machine is free, whoever uses it.
    MemoryInUse,
    /// Not enough room for files is free.
    Disk,
    /// As many jobs run as may.
    Runs,
    /// It wants the machine for itself, or another job has it.
    Exclusive,
    /// The machine is under pressure, and fewer jobs start.
    Pressure,
    /// It fits now, and would delay jobs of higher rank that are planned.
    WouldDelay,
    /// Jobs of higher rank come first.
    Rank,
    /// Jobs that have to make room for it are on their way out.
    Preempting,
    /// The machine has become smaller than what it asks for.
    Machine,
    /// It waits for what can never happen.
    Never,
    /// Its deadline comes before it could have ended.
    Deadline,
}

/// Who holds something that a job waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Holder {
    /// Which job or task.
    pub id: JobRef,
    /// Its submitter.
    pub user: String,
    /// How much of it: cpus, bytes, or places.
    pub amount: u64,
    /// When it is expected to give it back.
    pub until: Option<Timestamp>,
}

/// One cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Reason {
    /// What it is.
    pub code: ReasonCode,
    /// For people: one sentence.
    pub message: String,
    /// Since when, where that is known.
    pub since: Option<Timestamp>,
    /// When it is over, if that is known.
    pub until: Option<Timestamp>,
    /// How much is asked for, of a resource.
    #[serde(default)]
    pub asked: Option<u64>,
    /// How much of it is free.
    #[serde(default)]
    pub free: Option<u64>,
    /// Who holds it, or comes first; those that give it back first, at most sixteen.
    #[serde(default)]
    pub holders: Vec<Holder>,
    /// What it waits for, of jobs.
    #[serde(default)]
    pub jobs: Vec<String>,
}

/// What makes the rank of a job: more is earlier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RankView {
    /// The sum, in thousandths.
    pub total_thousandths: i64,
    /// From its priority.
    pub priority_thousandths: i64,
    /// From how long it could have started; of an array that had a turn, since its last task started, and of what waits behind
    /// one in its line as much less.
    pub age_thousandths: i64,
    /// From what its user used lately, beside others.
    pub fair_share_thousandths: i64,
    /// From what its queue used lately, beside others.
    pub queue_share_thousandths: i64,
}

/// An offer with its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OfferView {
    /// For `qrm offer accept`.
    pub id: OfferId,
    /// What it is.
    #[serde(flatten)]
    pub offer: Offer,
    /// Until then it can be accepted.
    pub lapses_at: Timestamp,
}

/// Why a job does not run, and when it will.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Explanation {
    /// Which; nothing for one that is not submitted.
    pub id: Option<JobRef>,
    /// Where it is.
    pub state: JobState,
    /// Every cause. One that would start at once has none but `deadline`; one that has ended has none, and one that runs only
    /// if it stands still to make room, or is an array with tasks that wait.
    pub reasons: Vec<Reason>,
    /// When it is planned to start: nothing of lower rank delays that.
    pub planned_start: Option<Timestamp>,
    /// When it could start as things are, if it is not among the jobs that are planned: others may come before it.
    pub estimated_start: Option<Timestamp>,
    /// How long it is expected to run.
    pub expected_run_ms: Option<u64>,
    /// Where that is from: `history`, `limit` or `assumed`.
    pub expected_from: Option<String>,
    /// What makes its rank, if it waits for resources.
    pub rank: Option<RankView>,
    /// What it can have instead.
    #[serde(default)]
    pub offers: Vec<OfferView>,
}
