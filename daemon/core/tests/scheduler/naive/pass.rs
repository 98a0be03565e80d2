//! A pass, by the page: one job after the other in the order of rank, each against every instant of the future.
//! It refuses to be fast.

use super::{Amounts, Clock, Job, Naive, Promise, Run, Way};
use qrm_protocol::ids::JobRef;
use std::collections::BTreeMap;

/// What one pass finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What starts, in this order: which of its ways, and how long it is expected to run.
    pub starts: Vec<(JobRef, usize, u64)>,
    /// When others are planned to start.
    pub planned: BTreeMap<JobRef, u64>,
    /// What stood still and goes on, in its place among the starts.
    pub goes_on: Vec<(usize, JobRef)>,
    /// Who makes room, and for whom.
    pub room: Option<Made>,
}

/// Room that is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub for_whom: JobRef,
    pub victims: Vec<JobRef>,
}

/// What is taken from when until when.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    pub takes: Amounts,
    pub from: u64,
    pub until: u64,
}

/// The future: what there is, and what is taken of it.
#[derive(Clone, Debug)]
pub struct Future {
    pub now: u64,
    pub all: Amounts,
    pub taken: Vec<Taken>,
}

impl Future {
    /// Whether this is free at an instant.
    fn is_free(&self, at: u64, takes: Amounts) -> bool {
        (0..4).all(|i| {
            let taken = self.taken.iter().filter(|taken| taken.from <= at && at < taken.until);
            takes[i] == 0 || taken.map(|taken| taken.takes[i]).sum::<u64>() + takes[i] <= self.all[i]
        })
    }

    /// Whether this is free from then on for so long.
    pub fn fits(&self, start: u64, takes: Amounts, ms: u64) -> bool {
        let begins = self.taken.iter().map(|taken| taken.from).filter(|at| (start..start + ms).contains(at));
        std::iter::once(start).chain(begins).all(|at| self.is_free(at, takes))
    }

    /// The first instant from which this is free for so long.
    pub fn earliest(&self, takes: Amounts, ms: u64) -> Option<u64> {
        let ends = self.taken.iter().map(|taken| taken.until).filter(|at| *at >= self.now);
        std::iter::once(self.now).chain(ends).filter(|at| self.fits(*at, takes, ms)).min()
    }

    pub fn take(&mut self, takes: Amounts, from: u64, ms: u64) {
        self.taken.push(Taken { takes, from, until: from + ms });
    }
}

impl Naive {
    /// What runs, as it is expected to go on.
    pub fn future(&self, now: Clock) -> Future {
        let run = |job: &JobRef| Taken { takes: self.held(*job), from: 0, until: self.ends(now, *job) };
        Future { now: now.boot, all: self.all(), taken: self.runs.keys().map(run).collect() }
    }

    /// The ways of a job that the machine has room for at all, with how long it is expected to run in each.
    pub fn ways(&self, job: &Job) -> Vec<(usize, Way, u64)> {
        let ways = job.ways().into_iter().enumerate().filter(|(_, way)| self.could_ever(*way));
        ways.map(|(i, way)| (i, way, self.expected(job, way))).collect()
    }

    /// The earliest start of a job, of equal ones in the way that it prefers.
    pub fn earliest(&self, future: &Future, job: &Job) -> Option<(u64, usize, Amounts, u64)> {
        let starts = self.ways(job).into_iter().filter_map(|(i, way, ms)| {
            let start = future.earliest(way.takes, ms)?;
            Some((start, i, way.takes, ms))
        });
        starts.min_by_key(|(start, i, ..)| (*start, *i))
    }

    /// When a job is to start: at the time that it was promised, if it can then, else as early as it can.
    /// Then, in which way, what it takes, and for how long.
    pub fn planned(&self, now: Clock, future: &Future, job: &Job) -> Option<(u64, usize, Amounts, u64)> {
        if let Some(Promise::Start(at)) = job.promised {
            let at = now.boot + u64::try_from(at - now.wall).unwrap_or(0);
            let fits = |(_, way, ms): &(usize, Way, u64)| future.fits(at, way.takes, *ms);
            if let Some((i, way, ms)) = self.ways(job).into_iter().find(fits) {
                return Some((at, i, way.takes, ms));
            }
        }
        self.earliest(future, job)
    }

    /// What one that stands still wants to go on, and for how long it will.
    pub fn rest(&self, now: Clock, run: JobRef) -> (Amounts, u64) {
        let [places, cpus, ..] = self.granted(run).takes;
        ([places, cpus, 0, 0], self.ends(now, run) - now.boot)
    }

    /// Whether as many of its queue, or of its tasks, have their place as may.
    pub fn is_at_bound(&self, job: JobRef, placed: &[JobRef]) -> bool {
        let record = &self.jobs[&job.job];
        let queue = record.demand.queue();
        let of_queue = placed.iter().filter(|other| self.jobs[&other.job].demand.queue() == queue).count();
        let of_array = placed.iter().filter(|other| other.job == job.job).count();
        let most = self.queues[&queue].spec.max_running.map_or(usize::MAX, |most| most as usize);
        self.running_in(&queue) + of_queue >= most || record.running() + of_array >= record.width()
    }

    pub fn pass(&self, now: Clock) -> Found {
        let mut found = Found::default();
        let mut future = self.future(now);
        let mut placed: Vec<JobRef> = Vec::new();
        let (mut planned, most) = (0, self.policy.planned_starts);
        for id in self.line(now) {
            let job = &self.jobs[&id.job];
            let goes_on = self.runs.values().any(|run| run.stands.is_none());
            let started = !found.starts.is_empty() || !found.goes_on.is_empty();
            let pressed = self.host.short.is_some() && (goes_on || started);
            if self.runs.contains_key(&id) {
                let (takes, ms) = self.rest(now, id);
                if pressed {
                    continue;
                }
                if future.fits(now.boot, takes, ms) && !self.would_take_room(job) {
                    future.take(takes, now.boot, ms);
                    found.goes_on.push((found.starts.len(), id));
                } else if let Some(start) = future.earliest(takes, ms).filter(|_| !job.is_idle() && planned < most) {
                    future.take(takes, start, ms);
                    planned += 1;
                }
                continue;
            }
            if self.would_take_room(job) {
                continue;
            }
            if pressed || self.queue_of(job).paused || self.is_at_bound(id, &placed) || self.ways(job).is_empty() {
                continue;
            }
            let fits = |(_, way, ms): &(usize, Way, u64)| future.fits(now.boot, way.takes, *ms);
            if let Some((i, way, ms)) = self.ways(job).into_iter().find(fits) {
                future.take(way.takes, now.boot, ms);
                found.starts.push((id, i, ms));
                placed.push(id);
                continue;
            }
            if job.is_idle() {
                continue;
            }
            if job.promised.is_none() && planned >= most {
                continue;
            }
            let leaves = |run: &Run| run.leaves_for == Some(id.job);
            if found.room.is_none() && !self.runs.values().any(leaves) {
                let start = self.earliest(&future, job).map_or(u64::MAX, |(start, ..)| start);
                found.room = self.room(now, &future, id, start);
            }
            if let Some((start, _, takes, ms)) = self.planned(now, &future, job) {
                future.take(takes, start, ms);
                found.planned.insert(id, start);
                placed.push(id);
                planned += u32::from(job.promised.is_none());
            }
        }
        found
    }
}
