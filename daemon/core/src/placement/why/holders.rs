//! Who holds what, since when, and until when.
//! It refuses to name a cause.

use super::Held;
use crate::event::Stage;
use crate::job::Job;
use crate::shape::Amounts;
use crate::state::{Core, RunState};
use crate::step::Now;
use qrm_protocol::ids::JobRef;
use qrm_protocol::time::Timestamp;

/// So many holders are named.
pub(super) const MOST_HOLDERS: usize = 16;

impl Core {
    pub(super) fn holder(&self, now: Now, job: JobRef, run: &RunState, amount: u64) -> Held {
        let until = (run.stage == Stage::Execute).then(|| now.wall_of(self.expected_end(now.boot_ms, job, run)));
        Held { job, user: self.owner(job.job).unwrap_or_default(), amount, until }
    }

    /// Runs that hold some of it, those that give it back first.
    pub(super) fn holders(&self, now: Now, amount: impl Fn(JobRef, Amounts) -> u64) -> Vec<Held> {
        let runs = self.runs.iter().filter(|(_, run)| run.stage == Stage::Execute);
        let held = runs.filter_map(|(job, run)| match amount(*job, self.held(*job, run)) {
            0 => None,
            amount => Some(self.holder(now, *job, run, amount)),
        });
        let mut held: Vec<Held> = held.collect();
        held.sort_unstable_by_key(|holder| (holder.until, holder.job));
        held.truncate(MOST_HOLDERS);
        held
    }

    /// When the last of these runs started.
    pub(super) fn last_start(&self, of: impl Fn(JobRef) -> bool) -> Option<Timestamp> {
        let runs = self.runs.iter().filter(|(job, run)| run.stage == Stage::Execute && of(**job));
        runs.filter_map(|(_, run)| run.released.map(|(at, _)| at)).max()
    }

    /// Since when so much of a resource is missing: since the last start without which it would not be.
    pub(super) fn short_since(&self, job: &Job, missing: u64, part: fn(Amounts) -> u64) -> Option<Timestamp> {
        let runs = self.runs.iter().filter(|(_, run)| run.stage == Stage::Execute);
        let began = |(id, run): (&JobRef, &RunState)| (run.released.map(|(at, _)| at), part(self.held(*id, run)));
        let mut starts: Vec<(Option<Timestamp>, u64)> = runs.map(began).filter(|(_, amount)| *amount > 0).collect();
        // Those that were not released yet have started last.
        starts.sort_unstable_by_key(|(at, _)| std::cmp::Reverse(at.unwrap_or(Timestamp(i64::MAX))));
        let mut given = 0u64;
        let decisive = starts.into_iter().find(|(_, amount)| {
            given = given.saturating_add(*amount);
            given >= missing
        });
        let since = decisive.and_then(|(at, _)| at);
        Some(since.map_or(job.since(), |since| since.max(job.since())))
    }
}
