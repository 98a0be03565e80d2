//! What a pass found becomes true: starts, room that is made, and announcements of planned starts.
//! It refuses to decide what fits.

use crate::event::{Event, Run, Stage, StopWhy, Takes};
use crate::placement::{Limits, Pass, Plan, Room, Start};
use crate::shape::{Amounts, Want};
use crate::step::{Deciding, Effect, RunSignal};
use qrm_protocol::ids::JobRef;
use qrm_protocol::queue::OnPreempt;
use qrm_protocol::time::{Millis, Timestamp};

/// A planned start is announced if it is at least so far away, and once more if it changes by more, in milliseconds.
const ANNOUNCED: u64 = 60_000;

impl Deciding<'_> {
    /// One pass, and what it found done; whether something was.
    pub(crate) fn pass(&mut self) -> bool {
        let plan = Pass::new(self.core, self.now, Limits::of(self.core)).run();
        let before = self.events.len();
        for start in &plan.starts {
            self.start(*start);
        }
        if let Some(room) = plan.room.clone().filter(|_| plan.starts.is_empty()) {
            self.make_room(&room);
        }
        self.core.seen.plan = plan;
        self.core.seen.is_old = false;
        self.events.len() > before
    }

    fn start(&mut self, start: Start) {
        let Start { job, attempt, variant, expected_ms } = start;
        let Some(attempt) = attempt else { return self.go_on(job) };
        let shape = self.core.jobs.get(&job.job).map(|job| job.shape.clone()).filter(|_| variant > 0);
        let takes = shape.map(|shape| takes(shape.way(variant)));
        self.emit(Event::Started { job, attempt, variant, expected_ms, takes });
        self.effects.push(Effect::Launch(Run { job, stage: Stage::Execute, attempt }));
    }

    /// There is room again for one that stands still.
    fn go_on(&mut self, job: JobRef) {
        let Some(run) = self.core.runs.get(&job).copied() else { return };
        let boot_ms = self.now.boot_ms;
        self.emit(Event::Resumed { job, by: None, boot_ms });
        self.effects.push(Effect::Signal(run.of(job), RunSignal::Thaw));
    }

    /// Has runs make room for a job.
    pub(crate) fn make_room(&mut self, room: &Room) {
        for victim in &room.victims {
            let Some(run) = self.core.runs.get(victim).copied() else { continue };
            let record = self.core.jobs.get(&victim.job);
            let stands_still = record.is_some_and(|job| self.core.on_preempt(job) == OnPreempt::Suspend);
            if stands_still {
                let (boot_ms, room_for) = (self.now.boot_ms, Some(room.job));
                self.emit(Event::Suspended { job: *victim, by: None, boot_ms, room_for });
                self.effects.push(Effect::Signal(run.of(*victim), RunSignal::Freeze));
            } else {
                self.stop_for(*victim, StopWhy::Preempted, None, Some(room.job));
            }
        }
    }

    /// Tells of planned starts that are others than was told before.
    pub(crate) fn announce(&mut self) {
        if self.core.seen.host.short.is_some() {
            // Nothing is planned for now, and what was is not withdrawn.
            return;
        }
        let plan = &self.core.seen.plan;
        let mut changes: Vec<(JobRef, Option<Timestamp>, Option<Timestamp>)> = Vec::new();
        for (job, planned) in &plan.planned {
            let was = self.core.announced.get(job).copied();
            let left = planned.at.saturating_sub(self.now.boot_ms);
            let start = self.wall_of(planned.at);
            let far = match was {
                None => left >= ANNOUNCED,
                Some(was) => was.0.abs_diff(start.0) > ANNOUNCED.saturating_add(left / 10),
            };
            if far {
                changes.push((*job, Some(start), was));
            }
        }
        let gone = self.core.announced.iter().filter(|(job, _)| !plan.planned.contains_key(*job));
        changes.extend(gone.map(|(job, was)| (*job, None, Some(*was))));
        if !changes.is_empty() {
            self.tell_changes(changes);
        }
        let slip = self.next_slip();
        self.core.seen.plan.slip = slip;
    }

    fn tell_changes(&mut self, changes: Vec<(JobRef, Option<Timestamp>, Option<Timestamp>)>) {
        let cause = self.cause();
        for (job, start, was) in changes {
            let why = match (start, was) {
                (Some(_), None) => "it is among the first that wait for room".to_owned(),
                (None, _) => format!("{cause}, and it is not planned now"),
                (Some(start), Some(was)) => {
                    let by = Millis(start.0.abs_diff(was.0));
                    format!("{cause}: {by} {}", if start > was { "later" } else { "earlier" })
                }
            };
            self.emit(Event::Planned { job, start, was, why });
        }
    }

    /// When there may be something to tell if nothing happens: a planned start comes, and something runs longer than expected.
    /// What is told is more than a minute, so it is asked for at most once in one: some ends, as that of a run that stands
    /// still, are always a little later than now.
    fn next_slip(&self) -> Option<u64> {
        let starts = self.core.seen.plan.planned.values().map(|planned| planned.at);
        let soonest = self.now.boot_ms.saturating_add(ANNOUNCED);
        starts.min().map(|at| at.saturating_add(1).max(soonest))
    }

    /// What happened in this step, in words.
    fn cause(&self) -> String {
        let words = |event: &Event| match event {
            Event::Ended { job, .. } | Event::Requeued { job, .. } => Some(format!("job {job} ended")),
            Event::Submitted { job, .. } => Some(format!("job {job} came")),
            Event::BulkSubmitted { bulk } => Some(format!("the jobs from {bulk} on came")),
            Event::Updated { job, .. } => Some(format!("job {job} was changed")),
            Event::Held { job, .. } => Some(format!("job {job} is held")),
            Event::Released { job, .. } => Some(format!("job {job} was released")),
            Event::Suspended { job, .. } => Some(format!("job {job} stands still")),
            Event::Resumed { job, .. } => Some(format!("job {job} goes on")),
            Event::Stopping { job, .. } => Some(format!("job {job} is being ended")),
            Event::OfferAccepted { job, .. } => Some(format!("job {job} took an offer")),
            Event::MachineFound { .. } => Some("the machine offers something else".to_owned()),
            Event::PolicySet { .. } => Some("the configuration changed".to_owned()),
            Event::QueueSet { queue, .. } | Event::QueueRemoved { queue, .. } => Some(format!("queue {queue} changed")),
            Event::QueuePaused { queue, .. } => Some(format!("queue {queue} was paused")),
            Event::QueueResumed { queue, .. } => Some(format!("queue {queue} was resumed")),
            Event::Due { job } => Some(format!("job {job} may start")),
            Event::Executing { job, .. } | Event::Started { job, .. } => Some(format!("job {job} started")),
            _ => None,
        };
        let said = self.events.iter().find_map(words);
        let silent = match self.core.seen.moved {
            true => "others than jobs use another amount of memory",
            false => "a job runs longer than expected",
        };
        said.unwrap_or_else(|| silent.to_owned())
    }

    /// An instant to come of the clock that never jumps, by the other.
    pub(crate) fn wall_of(&self, boot_ms: u64) -> Timestamp {
        self.now.wall_of(boot_ms)
    }
}

/// What a run is granted, for those that do not know the ways of a shape.
fn takes(want: Want) -> Takes {
    let Amounts { cpus, mem, disk, .. } = want.amounts;
    Takes {
        cpus: cpus.try_into().unwrap_or(u32::MAX),
        mem_bytes: mem,
        disk_bytes: disk,
        time_ms: want.time_ms,
        exclusive: want.is_exclusive(),
    }
}

impl Plan {
    /// When time alone changes it: a run can make room, or an announced start is late.
    pub fn next_change(&self) -> Option<u64> {
        self.slip.into_iter().chain(self.wake).min()
    }
}
