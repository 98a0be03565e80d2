//! The one function that changes state. Live and replay share it, so it asks nothing and refuses nothing.
//! Deciding which event comes is [`crate::step`]'s business.

use crate::depend::Happened;
use crate::event::{Event, Stage};
use crate::job::{Demand, Job, Phase, Tasks};
use crate::state::{Alarm, Bulk, Core, Machine, RunState, Stop, backoffs};
use qrm_protocol::ids::{JobId, JobRef, Uid};
use qrm_protocol::job::{JobChange, JobState};
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
            Event::Submitted { job, user, demand, .. } => {
                self.next_job = self.next_job.max(job.job.0 + 1);
                self.watch_needs(job.job, demand);
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
                    self.enter(id, staged.user, at, demand);
                }
                self.doomed.extend(staged.doomed);
            }
            Event::BulkDiscarded { bulk } => {
                let Some(staged) = self.bulks.remove(bulk) else { return };
                for (id, demand) in staged.jobs {
                    self.unwatch_needs(id, &demand);
                }
            }
            Event::StageStarted { job, stage } => {
                self.change(job.job, |j| j.phase = Phase::Staging(*stage));
                self.set_run(*job, Some(RunState::new(*stage, 1)));
            }
            Event::StagePassed { job, stage } => {
                self.set_run(*job, None);
                self.change(job.job, |j| {
                    let next = *stage == Stage::Validate && j.demand.compile;
                    j.phase = if next { Phase::Pending(Stage::Compile) } else { Phase::Queued };
                });
            }
            Event::Due { job } => self.due(*job),
            Event::Started { job, attempt } => self.started(*job, *attempt),
            Event::Executing { job, started_at, boot_ms, .. } => {
                self.change_run(*job, |run| run.released = Some((*started_at, *boot_ms)));
            }
            Event::Signalled { .. } => {}
            Event::Held { job, .. } => drop(self.change(job.job, |j| j.demand.hold = true)),
            Event::Released { job, .. } => drop(self.change(job.job, |j| j.demand.hold = false)),
            Event::Suspended { job, boot_ms, .. } => self.change_run(*job, |run| run.suspended = Some(*boot_ms)),
            Event::Resumed { job, boot_ms, .. } => self.change_run(*job, |run| {
                if let Some(since) = run.suspended.take() {
                    run.stood_ms = run.stood_ms.saturating_add(boot_ms.saturating_sub(since));
                }
            }),
            Event::Updated { job, change, .. } => self.updated(job.job, change),
            // What a job says of itself is for people.
            Event::Progress { .. } => {}
            Event::Overdue { job } => drop(self.change(job.job, |j| j.overdue = true)),
            Event::ArrayExpired { job } => self.expired(job.job),
            Event::Stopping { job, why, by, kill_at_boot_ms } => {
                let stop = Stop { why: *why, by: *by, kill_at: *kill_at_boot_ms, killed: false };
                self.change_run(*job, |run| (run.stop, run.suspended) = (Some(stop), None));
            }
            Event::Killing { job } => {
                self.change_run(*job, |run| run.stop = run.stop.map(|stop| Stop { killed: true, ..stop }));
            }
            Event::ArrayStopping { job, by } => self.stop_array(job.job, *by),
            Event::Requeued { job, attempt, due_boot_ms, .. } => self.requeued(*job, *attempt, *due_boot_ms),
            Event::Ended { job, state, .. } => match job.task {
                None => self.ended_whole(job.job, *state),
                Some(_) => self.ended_task(*job, *state),
            },
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
        *self = self.rebuilt();
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
            self.watch_needs(*id, demand);
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

    fn due(&mut self, job: JobRef) {
        let mut was_due = None;
        self.change(job.job, |j| match (job.task, &mut j.tasks) {
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

    fn started(&mut self, job: JobRef, attempt: u32) {
        self.change(job.job, |j| match (job.task, &mut j.tasks) {
            (Some(task), Some(tasks)) => {
                let Some(ordinal) = tasks.ordinal(task) else { return };
                tasks.waiting.remove(ordinal);
                tasks.again.remove(&ordinal);
                tasks.running += 1;
                tasks.started = true;
            }
            _ => {
                j.phase = Phase::Running;
                j.attempt = attempt;
            }
        });
        self.set_run(job, Some(RunState::new(Stage::Execute, attempt)));
        self.resolve(job, Happened::Started);
        if job.task.is_some() {
            self.resolve(job.job.into(), Happened::Started);
        }
    }

    fn updated(&mut self, id: JobId, change: &JobChange) {
        self.change(id, |job| {
            job.demand.change(change);
            job.begun &= change.begin.is_none();
            job.overdue &= change.deadline.is_none();
            if let (Some(tasks), Some(width)) = (&mut job.tasks, change.width) {
                tasks.spec.width = Some(width).filter(|width| *width > 0);
            }
        });
    }

    fn stop_array(&mut self, id: JobId, by: Uid) {
        self.end_rest(id, false, |tasks, rest| {
            tasks.stopped = Some(by);
            for ordinal in rest {
                tasks.bad.insert(ordinal);
                tasks.cancelled += 1;
            }
        });
    }

    fn expired(&mut self, id: JobId) {
        let only_new = self.jobs.get(&id).is_some_and(|job| !job.overdue);
        self.end_rest(id, only_new, |tasks, rest| {
            tasks.expired = true;
            for ordinal in rest {
                tasks.bad.insert(ordinal);
            }
        });
    }

    /// The tasks of an array that wait never run; those that wait for another attempt neither, unless only new ones end.
    fn end_rest(&mut self, id: JobId, only_new: bool, end: impl FnOnce(&mut Tasks, Vec<u32>)) {
        let mut dues = Vec::new();
        self.change(id, |job| {
            let Some(tasks) = &mut job.tasks else { return };
            let mut again = BTreeMap::new();
            if !only_new {
                dues.extend(backoffs(id, tasks));
                again = std::mem::take(&mut tasks.again);
            }
            let waiting: Vec<(u32, u32)> = tasks.waiting.take().into();
            let waiting = waiting.into_iter().flat_map(|(first, last)| first..=last);
            let (old, mut rest): (Vec<u32>, Vec<u32>) = waiting.partition(|ordinal| tasks.again.contains_key(ordinal));
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

    fn requeued(&mut self, job: JobRef, attempt: u32, due: u64) {
        self.set_run(job, None);
        self.change(job.job, |j| match (job.task, &mut j.tasks) {
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

    fn ended_task(&mut self, job: JobRef, state: JobState) {
        let ran = self.runs.contains_key(&job);
        self.set_run(job, None);
        let mut was_due = None;
        self.change(job.job, |j| {
            let Some(tasks) = &mut j.tasks else { return };
            let Some(ordinal) = job.task.and_then(|task| tasks.ordinal(task)) else { return };
            tasks.waiting.remove(ordinal);
            was_due = tasks.again.remove(&ordinal).and_then(|(_, due)| due);
            tasks.running -= u32::from(ran);
            let side = if state == JobState::Completed { &mut tasks.ok } else { &mut tasks.bad };
            side.insert(ordinal);
            tasks.cancelled += u32::from(state == JobState::Cancelled);
        });
        if let Some(due) = was_due {
            self.alarms.remove(&(due, Alarm::Due(job)));
        }
        self.resolve(job, Happened::Ended(state));
    }

    fn ended_whole(&mut self, id: JobId, state: JobState) {
        self.set_run(id.into(), None);
        self.unindex(id);
        let Some(job) = self.jobs.remove(&id) else { return };
        for due in job.tasks.iter().flat_map(|tasks| backoffs(id, tasks)) {
            self.alarms.remove(&due);
        }
        self.unwatch_needs(id, &job.demand);
        self.doomed.remove(&id);
        *self.ended.entry(state).or_default() += 1;
        self.resolve(id.into(), Happened::Ended(state));
        if job.tasks.is_some() {
            self.resolve_tasks(id);
        }
        self.dependants.remove(&id);
    }
}
