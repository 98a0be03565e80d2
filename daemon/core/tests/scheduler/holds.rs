//! What holds after every step, whoever decided it: nothing is taken twice, and nothing that is free is kept from a job that
//! delays nobody. It refuses to know how either is found.

use crate::lab::Lab;
use crate::naive::pass::Future;
use crate::naive::{Amounts, Clock, Job, Naive, Task};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::OnConflict;
use std::collections::BTreeMap;

/// When jobs start, and in which of their ways: later is worse, and so is a way that is liked less.
type Starts = BTreeMap<JobRef, (u64, usize)>;

impl Naive {
    /// Says what a run that started or goes on just now has too much of; one that goes on had its memory and files. The machine may have become smaller than what others hold,
    /// and of what it does not ask for there may be less than nothing.
    pub fn has_too_much(&self, job: JobRef, goes_on: bool) -> Option<String> {
        let (record, all, takes) = (&self.jobs[&job.job], self.all(), self.held(job));
        let parts = ["places", "cpus", "memory", "disk"];
        for (i, what) in parts.iter().enumerate().take(if goes_on { 2 } else { 4 }) {
            let held: u64 = self.runs.keys().map(|run| self.held(*run)[i]).sum();
            if takes[i] > 0 && held > all[i] {
                return Some(format!("{job} has {what} that are not there: {held} of {} are taken", all[i]));
            }
        }
        let queue = record.demand.queue();
        let most = self.queues[&queue].spec.max_running.map_or(usize::MAX, |most| most as usize);
        if self.running_in(&queue) > most {
            return Some(format!("{job} runs beyond the bound of queue {queue}"));
        }
        (record.running() > record.width()).then(|| format!("{job} runs beyond the width of its array"))
    }

    /// That these are the right ones to make room for a job: each may be asked to, together they are enough, and none of them
    /// could be left out.
    pub fn is_right_room(&self, now: Clock, id: JobRef, victims: &[JobRef]) -> Result<(), String> {
        let job = &self.jobs[&id.job];
        for victim in victims {
            let (other, run) = (&self.jobs[&victim.job], &self.runs[victim]);
            let claims = [
                (other.class() < job.class(), "is not of a lower class"),
                (other.is_idle() || self.is_preemptible(other), "is not preemptible"),
                (
                    other.is_idle() || self.conflict(job) == OnConflict::Preemption,
                    "makes room for one whose way that is not",
                ),
                (self.ran(now, *victim) >= other.min_run(), "has not run for as long as it wants to"),
                (run.gone_at.is_none() && !run.yields, "makes room already"),
            ];
            if let Some((_, what)) = claims.iter().find(|(holds, _)| !holds) {
                return Err(format!("{victim} {what}, and makes room for {id}"));
            }
        }
        // Those that come before it have their places.
        let line = self.line(now);
        let mut before: Vec<JobRef> = line.into_iter().take_while(|other| *other != id).collect();
        let planned = self.pass(now).planned;
        before.retain(|other| planned.contains_key(other) || self.runs.contains_key(other));
        let mut future = self.future(now);
        self.place(now, &mut future, &before);
        let is_enough = |victims: &[JobRef]| self.fits_without(now, &future, id, victims);
        if !is_enough(victims) {
            return Err(format!("{victims:?} make room for {id}, and are not enough"));
        }
        let others = |at: usize| [&victims[..at], &victims[at + 1..]].concat();
        match (0..victims.len()).find(|at| is_enough(&others(*at))) {
            Some(at) => Err(format!("{} makes room for {id}, and is not needed: {victims:?}", victims[at])),
            None => Ok(()),
        }
    }

    /// When these start, each planned as early as it can beside what runs, what is taken, and those before it.
    fn starts_of(&self, now: Clock, taken: Option<(Amounts, u64)>, jobs: &[JobRef]) -> Starts {
        let mut future = self.future(now);
        if let Some((takes, ms)) = taken {
            future.take(takes, now.boot, ms);
        }
        self.place(now, &mut future, jobs)
    }

    /// The same, each beside what is taken already.
    fn place(&self, now: Clock, future: &mut Future, jobs: &[JobRef]) -> Starts {
        let mut starts = BTreeMap::new();
        for id in jobs {
            let place = match self.runs.contains_key(id) {
                true => {
                    let (takes, ms) = self.rest(now, *id);
                    future.earliest(takes, ms).map(|at| (at, 0, takes, ms))
                }
                false => self.planned(now, future, &self.jobs[&id.job]),
            };
            if let Some((at, way, takes, ms)) = place {
                future.take(takes, at, ms);
                starts.insert(*id, (at, way));
            }
        }
        starts
    }

    /// A job that could start now and would delay none of those that are planned, which are these in the order of their rank.
    pub fn is_kept_waiting(&self, now: Clock, planned: &[JobRef]) -> Option<(JobRef, Future)> {
        if self.host.short.is_some() && self.runs.values().any(|run| run.stands.is_none()) {
            return None;
        }
        let would_delay = |id: JobRef, job: &Job| {
            let others: Vec<JobRef> = planned.iter().copied().filter(|other| *other != id).collect();
            let before = self.starts_of(now, None, &others);
            self.ways(job).into_iter().all(|(_, way, ms)| {
                let after = self.starts_of(now, Some((way.takes, ms)), &others);
                let later = |(job, at): (&JobRef, &(u64, usize))| after.get(job).is_none_or(|after| after > at);
                !self.future(now).fits(now.boot, way.takes, ms) || before.iter().any(later)
            })
        };
        self.waiting().find_map(|(id, job)| {
            let task = job.tasks.iter().find(|(_, task)| **task == Task::Waits)?.0;
            let id = JobRef { job: id, task: *task };
            let places: Vec<JobRef> =
                planned.iter().copied().filter(|other| *other != id && !self.runs.contains_key(other)).collect();
            let is_passed_over =
                self.queue_of(job).paused || self.is_at_bound(id, &places) || self.would_take_room(job);
            (!is_passed_over && !would_delay(id, job)).then(|| (id, self.future(now)))
        })
    }
}

impl Lab {
    /// What the last step left is not to be bettered.
    pub fn holds(&self) {
        let mut planned: Vec<JobRef> = self.planned().into_keys().collect();
        let line = self.naive.line(self.now);
        // Those that stand still are planned, too, if the naive scheduler says so, and are not shown.
        let stands = |job: &&JobRef| self.naive.runs.contains_key(*job) && !self.naive.jobs[&job.job].is_idle();
        planned.extend(line.iter().filter(stands));
        planned.sort_unstable_by_key(|job| line.iter().position(|other| other == job));
        if let Some((job, future)) = self.naive.is_kept_waiting(self.now, &planned) {
            self.fails(&format!("{job} could start now, and delays none of {planned:?}: {future:?}"));
        }
    }
}
