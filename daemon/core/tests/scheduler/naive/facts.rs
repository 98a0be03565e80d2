//! What happened, as far as it decides what may start. It refuses to take the core's word for what it decided:
//! starts and room are found here and compared.

use super::{Clock, Job, Naive, Promise, Queue, Run, Task};
use qrm_core::{Demand, Event, Need, When};
use qrm_protocol::ids::{JobId, JobRef, Uid};
use qrm_protocol::job::{DependsOn, JobChange, JobState, Offer};

impl Naive {
    /// Makes a fact true.
    pub fn fact(&mut self, now: Clock, event: &Event) {
        let wanted: Vec<JobId> = self.jobs.iter().filter(|(_, job)| job.wants_room()).map(|(id, _)| *id).collect();
        self.one_fact(now, event);
        for (id, job) in &mut self.jobs {
            job.needs.retain(|need| !is_met(&self.over, &self.started, need));
            if job.demand.rare.as_ref().is_some_and(|rare| rare.any && job.needs.len() < rare.needs.len()) {
                job.needs.clear();
            }
            if job.wants_room() && !wanted.contains(id) {
                job.since = now.wall;
            }
        }
    }

    fn one_fact(&mut self, now: Clock, event: &Event) {
        match event {
            Event::MachineFound { cpus, mem_bytes, disk_bytes, .. } => {
                self.machine = [super::PLACES, (*cpus).into(), *mem_bytes, *disk_bytes];
            }
            Event::PolicySet { policy } => self.policy = policy.clone(),
            Event::QueueSet { queue, spec, .. } => {
                let paused = self.queues.get(queue).is_some_and(|queue| queue.paused);
                self.queues.insert(queue.clone(), Queue { spec: spec.clone(), paused });
            }
            Event::QueuePaused { queue, .. } => self.queues.get_mut(queue).unwrap().paused = true,
            Event::QueueResumed { queue, .. } => self.queues.get_mut(queue).unwrap().paused = false,
            Event::QueueRemoved { queue, .. } => drop(self.queues.remove(queue)),
            Event::Submitted { job, user, demand, .. } => self.submitted(now, job.job, *user, demand),
            Event::Executing { job, started_at, boot_ms, .. } => {
                self.runs.get_mut(job).unwrap().began = Some((*boot_ms, started_at.0));
            }
            Event::Held { job, .. } => {
                let job = self.job(*job);
                job.held = true;
                job.promised = job.promised.filter(|promise| *promise != Promise::Room);
            }
            Event::Released { job, .. } => self.job(*job).held = false,
            Event::Due { job } => self.due(*job),
            Event::Suspended { job, boot_ms, room_for, .. } => {
                let run = self.runs.get_mut(job).unwrap();
                (run.stands, run.yields) = (Some(*boot_ms), room_for.is_some());
                self.makes_room(*room_for);
            }
            Event::Resumed { job, boot_ms, .. } => {
                self.goes_on(*job, *boot_ms);
                self.runs.get_mut(job).unwrap().yields = false;
            }
            Event::Stopping { job, kill_at_boot_ms, room_for, .. } => {
                // What it gave back it has not again.
                self.goes_on(*job, now.boot);
                let run = self.runs.get_mut(job).unwrap();
                (run.gone_at, run.leaves_for) = (Some(*kill_at_boot_ms), room_for.map(|job| job.job));
                self.makes_room(*room_for);
            }
            Event::Updated { job, change, .. } => self.job(*job).update(change),
            Event::OfferAccepted { job, what, .. } => self.job(*job).accept(what),
            Event::ArrayStopping { job, .. } | Event::ArrayExpired { job } => {
                let rest = self.job(*job).tasks.values_mut().filter(|task| **task != Task::Runs);
                rest.for_each(|task| *task = Task::Over);
            }
            Event::Requeued { job, .. } => {
                self.run_is_over(now, *job, now.wall, false);
                self.job(*job).tasks.insert(job.task, Task::Pauses);
            }
            Event::Ended { job, state, ended_at, .. } => {
                self.run_is_over(now, *job, ended_at.0, *state != JobState::Cancelled);
                self.over.insert(*job, *state);
                if job.task.is_some() {
                    self.job(*job).tasks.insert(job.task, Task::Over);
                } else {
                    self.jobs.remove(&job.job);
                }
            }
            Event::Started { job, variant, expected_ms, .. } => {
                self.starts(now, *job, usize::from(*variant), *expected_ms);
            }
            _ => {}
        }
    }

    fn job(&mut self, job: JobRef) -> &mut Job {
        self.jobs.get_mut(&job.job).unwrap()
    }

    fn submitted(&mut self, now: Clock, id: JobId, user: Uid, demand: &Demand) {
        let tasks = match demand.array() {
            None => vec![None],
            Some(array) => (array.first..=array.last).step_by(array.step as usize).map(Some).collect(),
        };
        let job = Job {
            user,
            since: now.wall,
            served: None,
            held: demand.hold,
            begun: demand.rare.as_ref().is_none_or(|rare| rare.begin.is_none()),
            needs: demand.needs().to_vec(),
            promised: None,
            tasks: tasks.into_iter().map(|task| (task, Task::Waits)).collect(),
            demand: demand.clone(),
        };
        self.jobs.insert(id, job);
    }

    fn starts(&mut self, now: Clock, job: JobRef, way: usize, expected: u64) {
        let run = Run {
            way,
            expected,
            began: None,
            gone_at: None,
            leaves_for: None,
            stands: None,
            stood: 0,
            yields: false,
            charged: 0,
        };
        let charged = self.charge(now.wall, job, run);
        self.runs.insert(job, Run { charged, ..run });
        let record = self.job(job);
        record.tasks.insert(job.task, Task::Runs);
        record.promised = None;
        record.served = job.task.map(|_| now.wall);
        self.started.extend([job, job.job.into()]);
    }

    fn makes_room(&mut self, for_whom: Option<JobRef>) {
        // One on its way out may be told to end once more when that job is over.
        if let Some(job) = for_whom.and_then(|job| self.jobs.get_mut(&job.job)) {
            job.promised.get_or_insert(Promise::Room);
        }
    }

    fn goes_on(&mut self, job: JobRef, boot: u64) {
        let run = self.runs.get_mut(&job).unwrap();
        if let Some(since) = run.stands.take() {
            run.stood += boot - since;
        }
    }

    fn due(&mut self, job: JobRef) {
        let record = self.job(job);
        match record.tasks.get_mut(&job.task) {
            Some(task) if *task == Task::Pauses => *task = Task::Waits,
            _ => record.begun = true,
        }
    }

    fn run_is_over(&mut self, now: Clock, id: JobRef, ended: i64, tells: bool) {
        let Some(run) = self.runs.get(&id).copied() else { return };
        let stood = run.stood + run.stands.map_or(0, |since| now.boot - since);
        let ran = run.began.map_or(0, |(_, wall)| u64::try_from(ended - wall).unwrap_or(0).saturating_sub(stood));
        self.settle(now.wall, id, ran);
        self.runs.remove(&id);
        if tells && run.began.is_some() {
            let past = self.past.entry(self.jobs[&id.job].shape()).or_default();
            past.insert(0, ran);
            past.truncate(2);
        }
    }
}

impl Job {
    fn update(&mut self, change: &JobChange) {
        let demand = &mut self.demand;
        demand.priority = change.priority.or(demand.priority);
        demand.queue = change.queue.clone().or(demand.queue.take());
        demand.cpus = change.cpus.or(demand.cpus);
        demand.time_ms = change.time_limit_ms.map_or(demand.time_ms, |limit| limit.0);
        let rare = demand.rare.get_or_insert_default();
        rare.idle = change.idle.unwrap_or(rare.idle);
        rare.on_conflict = change.on_conflict.unwrap_or(rare.on_conflict);
        if let (Some(array), Some(width)) = (&mut rare.array, change.width) {
            array.width = Some(width).filter(|width| *width > 0);
        }
        if !change.promises_hold() {
            self.promised = None;
        }
    }

    fn accept(&mut self, what: &Offer) {
        match what {
            Offer::Less { cpus } => self.demand.cpus = Some(*cpus),
            Offer::Share => self.demand.rare.get_or_insert_default().exclusive = false,
            Offer::At { start } => self.promised = Some(Promise::Start(start.0)),
            Offer::Preempt { .. } => {}
        }
    }
}

fn is_met(
    over: &std::collections::BTreeMap<JobRef, JobState>,
    started: &std::collections::BTreeSet<JobRef>,
    need: &Need,
) -> bool {
    let DependsOn::One(on) = need.on else { return false };
    match (need.when, over.get(&on)) {
        (When::Start, _) => started.contains(&on),
        (When::Ended, end) => end.is_some(),
        (When::Ok, end) => end == Some(&JobState::Completed),
        (When::Fail, end) => end.is_some_and(|end| *end != JobState::Completed),
    }
}
