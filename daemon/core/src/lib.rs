//! The pure core of `qrmd`: it takes intents, observations and the time, and returns facts and wishes.
//! It refuses to know clocks, files, sockets, threads, randomness and anything whose order is not its own.
//!
//! [`Core::step`] decides; [`Core::apply`] is the only function that changes state, live and in replay alike.

mod access;
mod apply;
mod cancel;
mod check;
mod control;
mod dates;
mod depend;
mod end;
mod event;
mod gates;
mod job;
mod line;
mod look;
mod offer;
mod placement;
mod plan;
mod policy;
mod queue;
mod ranges;
mod refusal;
mod shape;
mod share;
mod snapshot;
mod state;
mod step;
mod submit;
mod update;

pub use access::{Caller, Right, Role};
pub use control::Control;
pub use event::{Event, Run, RunUsage, Stage, StopWhy, Takes};
pub use gates::Gate;
pub use job::{Demand, Need, Offers, Rare, When};
pub use look::{Counts, Live, Waiting};
pub use placement::{Cause, Explained, Held, Rank};
pub use policy::{Host, MAX_RANK_WEIGHT, Policy, Short, Weights};
pub use refusal::Refusal;
pub use snapshot::{SNAPSHOT_FORMAT, SnapshotError};
pub use state::{Core, Machine};
pub use step::{
    Action, Answer, CancelledAs, Effect, Exceeded, Input, Now, Observed, RunOutcome, RunSignal, StagedJob, Step,
};
pub use submit::PastEnd;

pub(crate) use placement::MAX_RUNS;

/// How long a job has between the signal that asks it to end and the one that ends it, if it does not say.
pub const GRACE_MS: u64 = qrm_protocol::job::DEFAULT_GRACE.0;
/// The most jobs that may live at once; an array counts as one.
pub const MAX_LIVE_JOBS: usize = 10_000_000;
