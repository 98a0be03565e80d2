//! What starts now, and what is planned: a pass over those that wait, in the order of their rank. See SCHEDULING.md.
//! It refuses to change anything: what it finds becomes true by events.

mod expect;
mod pass;
mod preempt;
mod profile;
mod rank;
mod why;

pub(crate) use pass::{Limits, Newcomer, Pass};
pub(crate) use rank::{Ranks, Turn};
pub use why::{Cause, Explained, Held, Rank};

use crate::policy::Host;
use crate::shape::Amounts;
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::time::Timestamp;
use std::collections::BTreeMap;

/// The most runs at once. Jobs that ask for nothing are bounded by this alone, so that a mistake is no fork bomb.
pub(crate) const MAX_RUNS: usize = 1_000;

/// A job that is to start now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub job: JobRef,
    /// From 1; nothing for a run that stands still and goes on.
    pub attempt: Option<u32>,
    /// In which of its ways.
    pub variant: u8,
    /// How long it is expected to run.
    pub expected_ms: u64,
}

/// Runs that are to make room for a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub job: JobRef,
    pub victims: Vec<JobRef>,
    /// What they have done, and lose: time by cpus.
    pub lost_cpu_ms: u64,
}

/// When a blocked job is to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    /// By the clock that never jumps.
    pub at: u64,
    /// In which of its ways.
    pub variant: u8,
    /// From 0, in the order of rank.
    pub place: u32,
}

/// What a pass found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// To be started, in this order.
    pub starts: Vec<Start>,
    /// The first that is to have room made for it.
    pub room: Option<Room>,
    /// The first blocked jobs.
    pub planned: BTreeMap<JobRef, Planned>,
    /// What was all, and what was taken when nothing more started.
    pub all: Amounts,
    pub taken: Amounts,
    /// Then a run has run for as long as it wants to before it makes room for one that waits for that.
    pub wake: Option<u64>,
    /// Then an announced start is late.
    pub slip: Option<u64>,
    /// The first job in rank that did not start.
    pub first: Option<JobId>,
    /// Something did not start that would have, if others than jobs used no memory.
    pub lacks_memory: bool,
}

/// What is true only now. It is no part of the state, so it makes no difference between states.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub host: Host,
    /// Others use more or less memory than at the last step.
    pub moved: bool,
    /// It is under pressure since then.
    pub short_since: Option<Timestamp>,
    /// What the last pass found.
    pub plan: Plan,
    /// Something happened since that is followed by no pass.
    pub is_old: bool,
}

impl PartialEq for Seen {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Seen {}
