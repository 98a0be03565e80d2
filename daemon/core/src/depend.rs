//! Dependencies: what becomes of the jobs that wait for another one when something happens to that one.
//! It refuses to recurse: a job that can never run is only marked, and its own end is a fact of its own.

use crate::job::{Demand, Need, Rare, When, is_default};
use crate::refusal::Refusal;
use crate::state::Core;
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::{DependsOn, JobState};
use qrm_protocol::time::Timestamp;

/// What happened to a job or task that others may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    Started,
    Ended(JobState),
}

/// What that means for a need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    Never,
    Open,
}

/// What a happening means for a need that was open before it.
pub(crate) fn verdict(when: When, happened: Happened) -> Verdict {
    match (when, happened) {
        (When::Start, Happened::Started) | (When::Ended, Happened::Ended(_)) => Verdict::Met,
        (When::Ok, Happened::Ended(JobState::Completed)) => Verdict::Met,
        (When::Fail, Happened::Ended(state)) if state != JobState::Completed => Verdict::Met,
        (_, Happened::Started) => Verdict::Open,
        // Had it started, the need would have been met then.
        (_, Happened::Ended(_)) => Verdict::Never,
    }
}

/// Strikes what is decided from a demand's needs; true if they can never be met any more.
pub(crate) fn strike(of: &mut Option<Box<Rare>>, verdict: impl Fn(&Need) -> Verdict) -> bool {
    let Some(rare) = of else { return false };
    let before = rare.needs.len();
    let mut met = 0;
    let mut never = 0;
    rare.needs.retain(|need| match verdict(need) {
        Verdict::Met => {
            met += 1;
            false
        }
        Verdict::Never => {
            never += 1;
            false
        }
        Verdict::Open => true,
    });
    let is_never = if rare.any {
        if met > 0 {
            rare.needs.clear();
        }
        before > 0 && met == 0 && rare.needs.is_empty()
    } else {
        never > 0
    };
    *of = of.take().filter(|rare| !is_default(rare));
    is_never
}

impl Core {
    /// Remembers who waits for whom.
    pub(crate) fn watch_needs(&mut self, id: JobId, on: impl IntoIterator<Item = JobId>) {
        for on in on {
            self.dependants.entry(on).or_default().insert(id);
        }
    }

    /// Forgets it.
    pub(crate) fn unwatch_needs(&mut self, id: JobId, on: impl IntoIterator<Item = JobId>) {
        for on in on {
            self.unwatch(id, on);
        }
    }

    fn unwatch(&mut self, id: JobId, on: JobId) {
        if let Some(ids) = self.dependants.get_mut(&on) {
            ids.remove(&id);
            if ids.is_empty() {
                self.dependants.remove(&on);
            }
        }
    }

    /// Tells those who wait for `on` what happened to it.
    pub(crate) fn resolve(&mut self, at: Timestamp, on: JobRef, happened: Happened) {
        let Some(ids) = self.dependants.get(&on.job) else { return };
        let ids: Vec<JobId> = ids.iter().copied().collect();
        for id in ids {
            if self.needs_of(id).iter().any(|need| need.on == on.into()) {
                self.tell(at, id, on, happened);
            }
            self.tell_gates(at, id, on, happened);
        }
    }

    /// Tells those who still wait for tasks of an array that is over: those tasks never ran.
    pub(crate) fn resolve_tasks(&mut self, at: Timestamp, array: JobId) {
        let Some(ids) = self.dependants.get(&array) else { return };
        let ids: Vec<JobId> = ids.iter().copied().collect();
        for id in ids {
            let of_array = |need: &Need| match need.on {
                DependsOn::One(on) if on.job == array && on.task.is_some() => Some(on),
                _ => None,
            };
            let tasks: Vec<JobRef> = self.needs_of(id).iter().filter_map(of_array).collect();
            for on in tasks {
                self.tell(at, id, on, Happened::Ended(JobState::Cancelled));
            }
            self.tell_rest(at, id, array);
        }
    }

    fn tell(&mut self, at: Timestamp, id: JobId, on: JobRef, happened: Happened) {
        let judge = |need: &Need| if need.on == on.into() { verdict(need.when, happened) } else { Verdict::Open };
        let before = self.awaited_by(id);
        match self.change(at, id, |job| strike(&mut job.rare, judge)) {
            Some(false) => {}
            Some(true) => drop(self.doomed.insert(id, on)),
            None => self.tell_staged(id, on, judge),
        }
        let after = self.awaited_by(id);
        for gone in before.into_iter().filter(|job| !after.contains(job)) {
            self.unwatch(id, gone);
        }
    }

    fn tell_staged(&mut self, id: JobId, on: JobRef, judge: impl Fn(&Need) -> Verdict) {
        let Some((_, bulk)) = self.bulks.range_mut(..=id).next_back() else { return };
        let Ok(place) = bulk.jobs.binary_search_by_key(&id, |(id, _)| *id) else { return };
        if strike(&mut bulk.jobs[place].1.rare, judge) {
            bulk.doomed.insert(id, on);
        }
    }

    /// For whom a job waits, be it visible or still in a bulk.
    pub(crate) fn awaited_by(&self, id: JobId) -> Vec<JobId> {
        if let Some(job) = self.jobs.get(&id) {
            return job.awaits().collect();
        }
        let Some((_, bulk)) = self.bulks.range(..=id).next_back() else { return Vec::new() };
        let place = bulk.jobs.binary_search_by_key(&id, |(id, _)| *id);
        place.map_or_else(|_| Vec::new(), |place| bulk.jobs[place].1.awaits().collect())
    }

    /// What a job waits for, be it visible or still in a bulk.
    fn needs_of(&self, id: JobId) -> &[Need] {
        if let Some(job) = self.jobs.get(&id) {
            return job.needs();
        }
        let Some((_, bulk)) = self.bulks.range(..=id).next_back() else { return &[] };
        let place = bulk.jobs.binary_search_by_key(&id, |(id, _)| *id);
        place.map_or(&[], |place| bulk.jobs[place].1.needs())
    }

    /// What an earlier job of an open bulk asks for.
    pub(crate) fn staged_in(&self, bulk: JobId, id: JobId) -> Option<&Demand> {
        let jobs = &self.bulks.get(&bulk)?.jobs;
        let place = jobs.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(&jobs[place].1)
    }
}

/// The job or task that is meant.
pub(crate) fn one(on: DependsOn) -> Result<JobRef, Refusal> {
    match on {
        DependsOn::One(on) => Ok(on),
        DependsOn::Each(job) => Err(Refusal::NoArray(job.into())),
    }
}
