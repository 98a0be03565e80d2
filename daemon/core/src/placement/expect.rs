//! How long runs are expected to go on.
//! It refuses to know what waits for their end.

use crate::shape::{Kind, Want};
use crate::state::{Core, RunState};
use qrm_protocol::ids::JobRef;

/// What a run that goes on for longer than expected is given at least, in milliseconds.
const LEAST_MORE: u64 = 60_000;
/// The longest that anything is expected to run: a hundred years, so that sums with clocks never overflow.
const MOST: u64 = qrm_protocol::time::MAX_DURATION.0;

/// Where an expectation is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    History,
    Limit,
    Assumed,
}

impl From {
    pub fn word(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::Limit => "limit",
            Self::Assumed => "assumed",
        }
    }
}

/// What is expected of one that was expected to take so long, and took longer.
fn grown(expected: u64, took: u64) -> u64 {
    let mut whole = expected;
    while whole < took {
        whole = whole.saturating_add((whole / 2).max(LEAST_MORE));
    }
    whole
}

impl Core {
    /// How long a job of this shape is expected to run in this way.
    pub(crate) fn expected(&self, shape: &Kind, want: Want) -> (u64, From) {
        let before = self.past.get(shape).and_then(crate::line::Past::longest);
        let limit = if want.time_ms > 0 { want.time_ms } else { MOST };
        match before {
            Some(before) => (before.clamp(1, limit), From::History),
            None if want.time_ms > 0 => (want.time_ms, From::Limit),
            None => (self.policy.assumed_ms.clamp(1, MOST), From::Assumed),
        }
    }

    /// When a run is expected to have given back what it has: an instant to come, by the clock that never jumps.
    pub(crate) fn expected_end(&self, now: u64, job: JobRef, run: &RunState) -> u64 {
        let grace = || self.jobs.get(&job.job).map_or(crate::GRACE_MS, crate::job::Job::grace_ms);
        if let Some(stop) = run.stop {
            // One that is not gone then is late as any other.
            let late = now.saturating_sub(stop.kill_at);
            return stop.kill_at.saturating_add(grown(0, late)).max(now + 1);
        }
        let want = self.granted(job, run);
        let expected = if run.expected_ms > 0 { run.expected_ms } else { self.policy.assumed_ms }.clamp(1, MOST);
        let Some((_, began)) = run.released.filter(|_| !run.boot_is_over) else {
            // Of one that was released in an earlier boot there is only the word of its end to come.
            return now + if run.boot_is_over { 1 } else { expected };
        };
        let ran = run.suspended.unwrap_or(now).saturating_sub(began).saturating_sub(run.stood_ms);
        let mut whole = grown(expected, ran);
        if want.time_ms > 0 {
            whole = if ran >= want.time_ms { want.time_ms.saturating_add(grace()) } else { whole.min(want.time_ms) };
        }
        now + whole.saturating_sub(ran).clamp(1, MOST)
    }
}
