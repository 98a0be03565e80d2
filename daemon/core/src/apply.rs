//! The one function that changes state. Live and replay share it, so it asks nothing and refuses nothing.
//! Deciding which event comes is [`crate::step`]'s business.

use crate::depend::Happened;
use crate::event::{Event, Stage};
use crate::gates::Gate;
use crate::job::{Demand, Job, Offers, Phase, Tasks, boxed};
use crate::queue::{InQueue, Queue};
use crate::shape::Amounts;
use crate::share;
use crate::state::{Alarm, Bulk, Core, Machine, RunState, Stop, backoffs};
use qrm_protocol::ids::{JobId, JobRef, Uid};
use qrm_protocol::job::{FailureCause, JobChange, JobState, Offer};
use qrm_protocol::queue::{OnPreempt, QueueName};
use qrm_protocol::time::Timestamp;
use std::collections::BTreeMap;

impl Core {
    /// Makes a fact true. `at` is when it was decided, by the wall clock.
    pub fn apply(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::MachineFound { boot_id, cpus, mem_bytes, disk_bytes } => self.found(Machine {
                boot_id: boot_id.clone(),
                cpus: *cpus,
                mem_bytes: *mem_bytes,
                disk_bytes: *disk_bytes,
            }),
            Event::PolicySet { policy } => {
                self.policy = policy.clone();
                self.renew();
            }
            Event::QueueSet { queue, spec, configured, .. } => {
                let before = self.queues.get(queue).cloned().unwrap_or_default();
                let known = Queue { spec: spec.clone(), configured: *configured, ..before };
                let before = self.queues.insert(queue.clone(), known);
                if before.is_some_and(|before| before.spec.on_conflict != spec.on_conflict) {
                    // Whose turn decides for its jobs has changed.
                    self.renew();
                }
            }
            Event::QueuePaused { queue, .. } => {
                self.change_queue(queue, |queue| (queue.paused, queue.paused_at) = (true, Some(at)));
            }
            Event::QueueResumed { queue, .. } => {
                self.change_queue(queue, |queue| (queue.paused, queue.paused_at) = (false, None));
            }
            Event::QueueRemoved { queue, .. } => drop(self.queues.remove(queue)),
            Event::Submitted { job, user, demand, .. } => {
                self.next_job = self.next_job.max(job.job.0 + 1);
                self.watch_needs(job.job, demand.awaits());
                self.enter(job.job, *user, at, demand.clone());
            }
            Event::BulkBegun { bulk, user, count } => {
                self.next_job = self.next_job.max(bulk.0 + count);
                self.bulks.insert(
                    *bulk,
                    Bulk { user: *user, count: *count, staged: 0, jobs: Vec::new(), doomed: BTreeMap::new() },
                );
            }
            Event::BulkStaged { bulk, jobs, doomed } => {
                self.stage(*bulk, jobs);
                if let Some(bulk) = self.bulks.get_mut(bulk) {
                    bulk.doomed.extend(doomed.iter().copied());
                }
            }
            Event::BulkSubmitted { bulk } => {
                let Some(staged) = self.bulks.remove(bulk) else { return };
                for (id, demand) in staged.jobs {
                    self.count_staged(&demand, false);
                    self.enter(id, staged.user, at, demand);
                }
                self.doomed.extend(staged.doomed);
            }
            Event::BulkDiscarded { bulk } => {
                let Some(staged) = self.bulks.remove(bulk) else { return };
                for (id, demand) in staged.jobs {
                    self.count_staged(&demand, false);
                    self.unwatch_needs(id, demand.awaits());
                }
            }
            Event::StageStarted { job, stage } => {
                self.change(at, job.job, |j| j.phase = Phase::Staging(*stage));
                self.set_run(*job, Some(RunState::new(*stage, 1)));
            }
            Event::StagePassed { job, stage } => {
                self.set_run(*job, None);
                self.change(at, job.job, |j| {
                    let next = *stage == Stage::Validate && j.compile;
                    j.phase = if next { Phase::Pending(Stage::Compile) } else { Phase::Queued };
                });
            }
            Event::Due { job } => self.due(at, *job),
            Event::Started { job, attempt, variant, expected_ms, .. } => {
                self.started(
                    at,
                    *job,
                    RunState {
                        variant: *variant,
                        expected_ms: *expected_ms,
                        ..RunState::new(Stage::Execute, *attempt)
                    },
                );
            }
            Event::Planned { job, start, .. } => match start {
                Some(start) => drop(self.announced.insert(*job, *start)),
                None => drop(self.announced.remove(job)),
            },
            Event::Offered { job, offers, lapses_at } => drop(self.change(at, job.job, |j| {
                let offers = Offers { offers: offers.clone(), lapses_at: *lapses_at, accepted: None, lapsed: false };
                j.change_rare(|rare| rare.offers = Some(offers));
            })),
            Event::OfferAccepted { job, offer, what, .. } => {
                self.change(at, job.job, |j| accepted(j, offer.place, what));
            }
            Event::OffersLapsed { job } => drop(self.change(at, job.job, |j| {
                j.change_rare(|rare| rare.offers.as_mut().map(|offers| offers.lapsed = true))
            })),
            Event::Executing { job, started_at, boot_ms, .. } => {
                self.change_run(*job, |run| run.released = Some((*started_at, *boot_ms)));
            }
            Event::Signalled { .. } => {}
            Event::Held { job, .. } => drop(self.change(at, job.job, |j| {
                j.hold = true;
                // The room that was made for it is not kept meanwhile.
                j.change_rare(|rare| (rare.held, rare.room) = (Some(at), false));
            })),
            Event::Released { job, .. } => drop(self.change(at, job.job, |j| {
                j.hold = false;
                j.change_rare(|rare| rare.held = None);
            })),
            Event::Suspended { job, boot_ms, room_for, .. } => {
                self.change_run(*job, |run| {
                    run.suspended = Some(*boot_ms);
                    run.yields = room_for.is_some();
                });
                self.promise_room(at, *room_for);
            }
            Event::Resumed { job, boot_ms, .. } => self.change_run(*job, |run| {
                run.yields = false;
                run.stood_ms = run.stood_ms.saturating_add(run.stands_for(*boot_ms));
                run.suspended = None;
            }),
            Event::Updated { job, change, gates, .. } => self.updated(at, job.job, change, gates.as_ref()),
            // What a job says of itself is for people.
            Event::Progress { .. } => {}
            Event::Overdue { job } => drop(self.change(at, job.job, |j| j.overdue = true)),
            Event::ArrayExpired { job } => self.expired(at, job.job),
            Event::Stopping { job, why, by, kill_at_boot_ms, room_for } => {
                let room_for = *room_for;
                let stop = Stop { why: *why, by: *by, kill_at: *kill_at_boot_ms, killed: false, room_for };
                // It goes on from now on, to hear that; its patience began just now.
                let grace = self.jobs.get(&job.job).map_or(0, Job::grace_ms);
                let now = kill_at_boot_ms.saturating_sub(grace);
                self.change_run(*job, |run| {
                    run.stood_ms = run.stood_ms.saturating_add(run.stands_for(now));
                    (run.stop, run.suspended) = (Some(stop), None);
                });
                self.promise_room(at, room_for);
            }
            Event::Killing { job } => {
                self.change_run(*job, |run| run.stop = run.stop.map(|stop| Stop { killed: true, ..stop }));
            }
            Event::ArrayBarred { job, tasks, .. } => self.barred(at, job.job, tasks),
            Event::ArrayStopping { job, by } => self.stop_array(at, job.job, *by),
            Event::Requeued { job, attempt, due_boot_ms, failure, .. } => {
                self.settle_run(at, *job, at, false);
                self.requeued(at, *job, *attempt, *due_boot_ms);
                // Where it is cancelled for that, it waits again because its retries say so.
                let waits = |job: &Job| self.on_preempt(job) != OnPreempt::Cancel;
                if failure.cause == FailureCause::Preempted && self.jobs.get(&job.job).is_some_and(waits) {
                    self.change(at, job.job, |j| j.count_preemption(job.task));
                }
            }
            Event::Ended { job, state, ended_at, .. } => {
                // What was cut short says nothing of how long the next one runs.
                self.settle_run(at, *job, *ended_at, *state != JobState::Cancelled);
                match job.task {
                    None => self.ended_whole(at, job.job, *state),
                    Some(_) => self.ended_task(at, *job, *state),
                }
            }
        }
    }

    fn found(&mut self, machine: Machine) {
        if machine.boot_id != self.machine.boot_id {
            // The clock that never jumps began anew: what waited on the old one has waited long enough. What ran has
            // ended with its boot, within its limit or not; what is still to come of it is word of that.
            for run in self.runs.values_mut() {
                run.boot_is_over = run.released.is_some();
                run.stop = run.stop.map(|stop| Stop { kill_at: 0, ..stop });
            }
            for job in self.jobs.values_mut() {
                job.due_boot_ms = None;
                let Some(tasks) = &mut job.tasks else { continue };
                for (ordinal, (_, due)) in &mut tasks.again {
                    if due.take().is_some() {
                        tasks.waiting.insert(*ordinal);
                    }
                }
            }
        }
        self.machine = machine;
        self.renew();
    }

    /// What makes room for a job is not in its way again, whatever its rank.
    fn promise_room(&mut self, at: Timestamp, room_for: Option<JobRef>) {
        if let Some(job) = room_for {
            self.change(at, job.job, |j| j.change_rare(|rare| rare.room = true));
        }
    }

    fn change_queue(&mut self, name: &QueueName, with: impl FnOnce(&mut Queue)) {
        if let Some(queue) = self.queues.get_mut(name) {
            with(queue);
        }
    }

    /// A job of a bulk that nobody sees yet is in its queue, too: that can not go.
    fn count_staged(&mut self, demand: &Demand, add: bool) {
        let queue = demand.queue();
        let within = self.in_queue.entry(queue.clone()).or_default();
        within.jobs = if add { within.jobs + 1 } else { within.jobs - 1 };
        if *within == InQueue::default() {
            self.in_queue.remove(&queue);
        }
    }

    /// What a run that starts is charged.
    fn charge(&mut self, at: Timestamp, job: JobRef, run: RunState) -> RunState {
        let bits = self.shares.begin_epoch(at);
        if bits > 0 {
            for run in self.runs.values_mut() {
                run.charged >>= bits;
            }
        }
        let Some(shape) = self.jobs.get(&job.job).map(|job| job.shape.clone()) else { return run };
        let part = Amounts::of(&self.machine).part(self.granted(job, &run).amounts);
        let account = share::Account { user: shape.user, queue: &shape.queue };
        let charged = self.shares.charge(at, account, part, run.expected_ms);
        RunState { charged, ..run }
    }

    /// What a run used takes the place of what was expected of it, and is remembered for the next of its shape.
    fn settle_run(&mut self, at: Timestamp, job: JobRef, ended_at: Timestamp, whole: bool) {
        let Some(run) = self.runs.get(&job).copied().filter(|run| run.stage == Stage::Execute) else { return };
        let Some(shape) = self.jobs.get(&job.job).map(|job| job.shape.clone()) else { return };
        let ran = match (run.released, run.suspended) {
            // It stood still to its end.
            (Some((_, began)), Some(since)) => since.saturating_sub(began),
            (Some((began, _)), None) => u64::try_from(ended_at.0.saturating_sub(began.0)).unwrap_or(0),
            (None, _) => 0,
        };
        let ran = ran.saturating_sub(run.stood_ms);
        // Nobody knows when what ran in an earlier boot ended, but that the machine was off meanwhile.
        let ran = if run.boot_is_over { ran.min(run.expected_ms) } else { ran };
        let part = Amounts::of(&self.machine).part(self.granted(job, &run).amounts);
        let account = share::Account { user: shape.user, queue: &shape.queue };
        self.shares.settle(at, account, run.charged, part, ran);
        if whole && run.released.is_some() && !run.boot_is_over {
            self.remember_run(&shape, ran);
        }
    }

    fn enter(&mut self, id: JobId, user: Uid, at: Timestamp, demand: Demand) {
        self.jobs.insert(id, Job::new(user, at, demand));
        self.index(id);
    }

    fn stage(&mut self, bulk: JobId, jobs: &[Option<Demand>]) {
        let Some(first) = self.bulks.get(&bulk).map(|b| bulk.0 + b.staged) else { return };
        let ids = (first..).map(JobId);
        let staged: Vec<(JobId, Demand)> = ids.zip(jobs).filter_map(|(id, d)| Some((id, d.clone()?))).collect();
        for (id, demand) in &staged {
            self.watch_needs(*id, demand.awaits());
            self.count_staged(demand, true);
        }
        if let Some(bulk) = self.bulks.get_mut(&bulk) {
            bulk.staged += jobs.len() as u64;
            bulk.jobs.extend(staged);
        }
    }

    fn change_run(&mut self, job: JobRef, with: impl FnOnce(&mut RunState)) {
        if let Some(mut run) = self.runs.get(&job).copied() {
            with(&mut run);
            self.set_run(job, Some(run));
        }
    }

    fn due(&mut self, at: Timestamp, job: JobRef) {
        let mut was_due = None;
        self.change(at, job.job, |j| match (job.task, &mut j.tasks) {
            (None, _) if j.due_boot_ms.is_some() => j.due_boot_ms = None,
            (None, _) => j.begun = true,
            (Some(task), Some(tasks)) => {
                let Some(ordinal) = tasks.ordinal(task) else { return };
                if let Some((_, due)) = tasks.again.get_mut(&ordinal) {
                    was_due = due.take();
                    tasks.waiting.insert(ordinal);
                }
            }
            (Some(_), None) => {}
        });
        if let Some(due) = was_due {
            self.alarms.remove(&(due, Alarm::Due(job)));
        }
    }

    fn started(&mut self, at: Timestamp, job: JobRef, run: RunState) {
        let attempt = run.attempt;
        self.announced.remove(&job);
        self.change(at, job.job, |j| {
            j.keep_promise();
            match (job.task, &mut j.tasks) {
                (Some(task), Some(tasks)) => {
                    let Some(ordinal) = tasks.ordinal(task) else { return };
                    tasks.waiting.remove(ordinal);
                    tasks.again.remove(&ordinal);
                    tasks.running += 1;
                    (tasks.started, tasks.served) = (true, Some(at));
                }
                _ => {
                    j.phase = Phase::Running;
                    j.attempt = attempt;
                }
            }
        });
        let run = self.charge(at, job, run);
        self.set_run(job, Some(run));
        self.resolve(at, job, Happened::Started);
        if job.task.is_some() {
            self.resolve(at, job.job.into(), Happened::Started);
        }
    }

    fn updated(&mut self, at: Timestamp, id: JobId, change: &JobChange, gates: Option<&Vec<Gate>>) {
        let before: Vec<JobId> = self.jobs.get(&id).map_or(Vec::new(), |job| job.awaits().collect());
        let queue = |core: &Self| core.jobs.get(&id).map(|job| job.shape.queue.clone()).unwrap_or_default();
        let from = queue(self);
        // Running tasks of an array move to its other queue.
        let runs: Vec<(JobRef, RunState)> =
            self.running_tasks(id).into_iter().filter_map(|task| Some((task, *self.runs.get(&task)?))).collect();
        runs.iter().for_each(|(task, _)| self.set_run(*task, None));
        self.change(at, id, |job| {
            let mut demand = job.demand();
            demand.change(change);
            if let Some(gates) = gates {
                let mut rare = demand.rare.take().unwrap_or_default();
                rare.gates.clone_from(gates);
                demand.rare = boxed(*rare);
            }
            job.ask(demand);
            job.begun &= change.begin.is_none();
            job.overdue &= change.deadline.is_none();
            if let (Some(tasks), Some(width)) = (&mut job.tasks, change.width) {
                tasks.spec.width = Some(width).filter(|width| *width > 0);
            }
        });
        let to = queue(self);
        for (task, run) in runs {
            self.shares.move_charge(&from, &to, run.charged);
            self.set_run(task, Some(run));
        }
        let after: Vec<JobId> = self.jobs.get(&id).map_or(Vec::new(), |job| job.awaits().collect());
        if before != after {
            self.unwatch_needs(id, before);
            self.watch_needs(id, after);
        }
    }

    fn barred(&mut self, at: Timestamp, id: JobId, ended: &[(u32, u32)]) {
        self.change(at, id, |job| {
            let Some(tasks) = &mut job.tasks else { return };
            for ordinal in ended.iter().flat_map(|(first, last)| *first..=*last) {
                tasks.barred.remove(ordinal);
                tasks.bad.insert(ordinal);
                tasks.cancelled += 1;
            }
        });
        let Some(spec) = self.jobs.get(&id).and_then(|job| job.tasks.as_ref()).map(|tasks| tasks.spec) else { return };
        if self.dependants.contains_key(&id) {
            for ordinal in ended.iter().flat_map(|(first, last)| *first..=*last) {
                let task = JobRef::task(id, spec.first + ordinal * spec.step);
                self.resolve(at, task, Happened::Ended(JobState::Cancelled));
            }
        }
    }

    fn stop_array(&mut self, at: Timestamp, id: JobId, by: Uid) {
        self.end_rest(at, id, false, |tasks, rest| {
            tasks.stopped = Some(by);
            for ordinal in rest {
                tasks.bad.insert(ordinal);
                tasks.cancelled += 1;
            }
        });
    }

    fn expired(&mut self, at: Timestamp, id: JobId) {
        let only_new = self.jobs.get(&id).is_some_and(|job| !job.overdue);
        self.end_rest(at, id, only_new, |tasks, rest| {
            tasks.expired = true;
            for ordinal in rest {
                tasks.bad.insert(ordinal);
            }
        });
    }

    /// The tasks of an array that wait never run; those that wait for another attempt neither, unless only new ones end.
    fn end_rest(&mut self, at: Timestamp, id: JobId, only_new: bool, end: impl FnOnce(&mut Tasks, Vec<u32>)) {
        let mut dues = Vec::new();
        self.change(at, id, |job| {
            let Some(tasks) = &mut job.tasks else { return };
            let mut again = BTreeMap::new();
            if !only_new {
                dues.extend(backoffs(id, tasks));
                again = std::mem::take(&mut tasks.again);
            }
            let waiting = tasks.waiting.take().plus(&tasks.gated.take()).plus(&tasks.barred.take());
            let (old, mut rest): (Vec<u32>, Vec<u32>) =
                waiting.iter().partition(|ordinal| tasks.again.contains_key(ordinal));
            for ordinal in old {
                tasks.waiting.insert(ordinal);
            }
            // One whose backoff is over is among those that wait.
            rest.extend(again.into_iter().filter(|(_, (_, due))| due.is_some()).map(|(ordinal, _)| ordinal));
            end(tasks, rest);
        });
        for due in dues {
            self.alarms.remove(&due);
        }
    }

    fn requeued(&mut self, at: Timestamp, job: JobRef, attempt: u32, due: u64) {
        self.set_run(job, None);
        self.change(at, job.job, |j| match (job.task, &mut j.tasks) {
            (Some(task), Some(tasks)) => {
                let Some(ordinal) = tasks.ordinal(task) else { return };
                tasks.running -= 1;
                tasks.again.insert(ordinal, (attempt, Some(due)));
            }
            _ => {
                j.phase = Phase::Queued;
                j.due_boot_ms = Some(due);
            }
        });
        if job.task.is_some() {
            self.alarms.insert((due, Alarm::Due(job)));
        }
    }

    fn ended_task(&mut self, at: Timestamp, job: JobRef, state: JobState) {
        let ran = self.runs.contains_key(&job);
        self.announced.remove(&job);
        self.set_run(job, None);
        let mut was_due = None;
        self.change(at, job.job, |j| {
            let Some(tasks) = &mut j.tasks else { return };
            let Some(ordinal) = job.task.and_then(|task| tasks.ordinal(task)) else { return };
            tasks.waiting.remove(ordinal);
            tasks.gated.remove(ordinal);
            tasks.preempted.remove(&ordinal);
            was_due = tasks.again.remove(&ordinal).and_then(|(_, due)| due);
            tasks.running -= u32::from(ran);
            let side = if state == JobState::Completed { &mut tasks.ok } else { &mut tasks.bad };
            side.insert(ordinal);
            tasks.cancelled += u32::from(state == JobState::Cancelled);
        });
        if let Some(due) = was_due {
            self.alarms.remove(&(due, Alarm::Due(job)));
        }
        self.resolve(at, job, Happened::Ended(state));
    }

    fn ended_whole(&mut self, at: Timestamp, id: JobId, state: JobState) {
        self.set_run(id.into(), None);
        self.announced.retain(|job, _| job.job != id);
        self.unindex(id);
        let Some(job) = self.jobs.remove(&id) else { return };
        for due in job.tasks.iter().flat_map(|tasks| backoffs(id, tasks)) {
            self.alarms.remove(&due);
        }
        self.unwatch_needs(id, job.awaits().collect::<Vec<_>>());
        self.doomed.remove(&id);
        *self.ended.entry(state).or_default() += 1;
        self.resolve(at, id.into(), Happened::Ended(state));
        if job.tasks.is_some() {
            self.resolve_tasks(at, id);
        }
        self.dependants.remove(&id);
    }
}

/// It has what it was offered.
fn accepted(job: &mut Job, place: u32, what: &Offer) {
    let mut demand = job.demand();
    let mut rare = demand.rare.take().unwrap_or_default();
    rare.offers.iter_mut().for_each(|offers| offers.accepted = Some(place));
    match what {
        Offer::Less { cpus } => demand.cpus = Some(*cpus),
        Offer::Share => rare.exclusive = false,
        Offer::At { start } => rare.promised = Some(*start),
        // What is to make room does so by events of its own.
        Offer::Preempt { .. } => {}
    }
    demand.rare = Some(rare);
    job.ask(demand);
}
