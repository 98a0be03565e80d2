//! Making room, by the page: those that lost the least first, until it is enough, and then as few as are needed.
//! It refuses to touch what the page does not name.

use super::pass::{Future, Made, Taken};
use super::{Clock, Job, Naive, Way};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::OnConflict;
use qrm_protocol::queue::OnPreempt;
use std::cmp::Reverse;

impl Job {
    /// Idle, below normal, normal, high, critical.
    pub fn class(&self) -> u8 {
        match self.demand.priority().get() {
            _ if self.is_idle() => 0,
            0..50 => 1,
            50..75 => 2,
            75..100 => 3,
            _ => 4,
        }
    }
}

impl Naive {
    /// Whether this one would have to make room for one for which others are doing so.
    pub fn would_take_room(&self, job: &Job) -> bool {
        let may_have_to = self.is_preemptible(job) || job.is_idle();
        let waits: Vec<_> = self.waiting().map(|(id, _)| id).collect();
        let whom = self.runs.values().filter_map(|run| run.leaves_for).filter(|id| waits.contains(id));
        may_have_to && whom.into_iter().any(|id| job.class() < self.jobs[&id].class())
    }

    /// Whether a job may end this run.
    pub fn may_end(&self, now: Clock, id: JobRef, victim: JobRef) -> bool {
        let (job, other, run) = (&self.jobs[&id.job], &self.jobs[&victim.job], &self.runs[&victim]);
        let over_it = self.conflict(job) == OnConflict::Preemption && self.is_preemptible(other) || other.is_idle();
        // One that somebody suspended is theirs to let go on, and one that is not released has nothing to stand still.
        let stands = self.on_preempt(other) == OnPreempt::Suspend;
        let could_yield = !stands || run.stands.is_none() && run.began.is_some();
        let is_there = run.gone_at.is_none() && !run.yields && could_yield;
        over_it && is_there && other.class() < job.class() && self.ran(now, victim) >= other.min_run()
    }

    /// The work that would be lost with it.
    pub fn lost(&self, now: Clock, victim: JobRef) -> u64 {
        let part = self.part(self.granted(victim).takes);
        let job = &self.jobs[&victim.job];
        let keeps = job.saves() || self.on_preempt(job) == OnPreempt::Suspend;
        if keeps { 0 } else { self.ran(now, victim) * part }
    }

    /// The future in which these are asked to make room, and when they are gone.
    fn without(&self, now: Clock, future: &Future, victims: &[JobRef]) -> (Future, u64) {
        let mut gone = now.boot;
        let mut future = future.clone();
        // The runs are the first that are taken, in their order.
        for (at, run) in self.runs.keys().enumerate().filter(|(_, run)| victims.contains(run)) {
            let job = &self.jobs[&run.job];
            let end = if self.on_preempt(job) == OnPreempt::Suspend { now.boot } else { now.boot + job.grace().max(1) };
            let [.., mem, disk] = future.taken[at].takes;
            let keeps = Taken { takes: [0, 0, mem, disk], ..future.taken[at] };
            future.taken[at].until = end;
            gone = gone.max(end);
            if end == now.boot {
                future.taken.push(keeps);
            }
        }
        (future, gone)
    }

    /// Who makes room for a job that could otherwise start only then.
    pub fn room(&self, now: Clock, future: &Future, id: JobRef, start: u64) -> Option<Made> {
        let mut victims: Vec<JobRef> = self.runs.keys().copied().filter(|run| self.may_end(now, id, *run)).collect();
        // Of those that lose as much the youngest first.
        victims.sort_by_key(|run| (self.lost(now, *run), Reverse(*run)));
        let fits = |victims: &[JobRef]| self.fits_without(now, future, id, victims);
        let enough = (1..=victims.len()).find(|n| fits(&victims[..*n]))?;
        let mut victims = victims[..enough].to_vec();
        for at in (0..victims.len()).rev() {
            let rest: Vec<JobRef> = [&victims[..at], &victims[at + 1..]].concat();
            if fits(&rest) {
                victims = rest;
            }
        }
        let gone = self.without(now, future, &victims).1;
        (gone < start).then_some(Made { for_whom: id, victims })
    }

    /// Whether a job could start, in one of its ways, as soon as these are gone.
    pub fn fits_without(&self, now: Clock, future: &Future, id: JobRef, victims: &[JobRef]) -> bool {
        let (future, gone) = self.without(now, future, victims);
        let in_time = |(_, way, ms): (usize, Way, u64)| future.earliest(way.takes, ms).is_some_and(|at| at <= gone);
        self.ways(&self.jobs[&id.job]).into_iter().any(in_time)
    }
}
