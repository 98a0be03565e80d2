//! A job as the core keeps it: what decides, and nothing that only people or processes need.
//! It refuses to know its own neighbours.

mod demand;
mod tasks;

pub use demand::{Demand, Need, Offers, Rare, When};
pub(crate) use demand::{boxed, is_default};
pub(crate) use tasks::Tasks;

use crate::event::Stage;
use crate::shape::Kind;
use qrm_protocol::ids::{JobId, TaskIndex, Uid};
use qrm_protocol::job::JobState;
use qrm_protocol::signal::Signal;
use qrm_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Where a live job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Its next stage command waits for a place.
    Pending(Stage),
    /// A stage command runs.
    Staging(Stage),
    /// It waits, or some of its tasks do.
    Queued,
    /// It has a run.
    Running,
}

/// What a job was promised; what comes first is kept first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    /// To start then: it took an offer.
    Start(Timestamp),
    /// The room that others made for it.
    Room,
}

/// A live job. What of it decides where it fits is its shape, which it shares with all that are like it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Record", into = "Record")]
pub(crate) struct Job {
    pub submitted: Timestamp,
    pub shape: Arc<Kind>,
    pub phase: Phase,
    /// The last attempt that started.
    pub attempt: u32,
    /// When the next attempt is due, if that is still to come.
    pub due_boot_ms: Option<u64>,
    /// Its begin has come.
    pub begun: bool,
    /// Its deadline has come.
    pub overdue: bool,
    /// It waits until it is released.
    pub hold: bool,
    pub validate: bool,
    pub compile: bool,
    /// What few jobs have, but for what is in the shape; `needs` are those that are not met.
    pub rare: Option<Box<Rare>>,
    pub tasks: Option<Box<Tasks>>,
}

/// A job as snapshots have it.
#[derive(Clone, Serialize, Deserialize)]
struct Record {
    user: Uid,
    submitted: Timestamp,
    phase: Phase,
    attempt: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    due_boot_ms: Option<u64>,
    begun: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    overdue: bool,
    demand: Demand,
    #[serde(default, skip_serializing_if = "is_default")]
    tasks: Option<Box<Tasks>>,
}

impl From<Record> for Job {
    fn from(record: Record) -> Self {
        let Record { user, submitted, phase, attempt, due_boot_ms, begun, overdue, demand, tasks } = record;
        let mut job = Self::new(user, submitted, demand);
        let gates = job.tasks.take().map_or_else(Vec::new, |tasks| tasks.gates);
        let tasks = tasks.map(|tasks| Box::new(Tasks { gates, ..*tasks }));
        Self { phase, attempt, due_boot_ms, begun, overdue, tasks, ..job }
    }
}

impl From<Job> for Record {
    fn from(job: Job) -> Self {
        let demand = job.demand();
        let Job { submitted, phase, attempt, due_boot_ms, begun, overdue, tasks, shape, .. } = job;
        Self { user: shape.user, submitted, phase, attempt, due_boot_ms, begun, overdue, demand, tasks }
    }
}

impl Job {
    pub fn new(user: Uid, submitted: Timestamp, demand: Demand) -> Self {
        let phase = match demand.first_stage() {
            Stage::Execute => Phase::Queued,
            stage => Phase::Pending(stage),
        };
        let rare = demand.rare.as_ref();
        let mut job = Self {
            submitted,
            shape: Arc::new(Kind::new(demand.shape(user))),
            phase,
            attempt: 0,
            due_boot_ms: None,
            overdue: false,
            begun: rare.is_none_or(|r| r.begin.is_none()),
            hold: false,
            validate: demand.validate,
            compile: demand.compile,
            tasks: rare.and_then(|r| r.array).map(|spec| Box::new(Tasks::new(spec))),
            rare: None,
        };
        job.ask(demand);
        job
    }

    pub fn user(&self) -> Uid {
        self.shape.user
    }

    /// What it asks for.
    pub fn demand(&self) -> Demand {
        let shape = &*self.shape;
        let mut rare = self.rare.as_deref().cloned().unwrap_or_default();
        rare.disk_bytes = shape.disk_bytes;
        rare.variants.clone_from(&shape.variants);
        (rare.exclusive, rare.idle, rare.preemptible) = (shape.exclusive, shape.idle, shape.preemptible);
        (rare.min_run_ms, rare.on_conflict) = (shape.min_run_ms, shape.on_conflict);
        rare.gates = self.tasks.as_ref().map_or_else(Vec::new, |tasks| tasks.gates.clone());
        let mut demand = Demand {
            priority: Some(shape.priority),
            queue: Some(shape.queue.clone()),
            cpus: shape.cpus,
            mem_bytes: Some(shape.mem_bytes),
            time_ms: shape.time_ms,
            hold: self.hold,
            validate: self.validate,
            compile: self.compile,
            rare: boxed(rare),
        };
        demand.settle();
        demand
    }

    /// Has it ask for this.
    pub fn ask(&mut self, demand: Demand) {
        self.shape = Arc::new(Kind::new(demand.shape(self.shape.user)));
        self.hold = demand.hold;
        let mut rare = *demand.rare.unwrap_or_default();
        (rare.disk_bytes, rare.variants) = (0, Vec::new());
        (rare.exclusive, rare.idle, rare.preemptible) = (false, false, false);
        (rare.min_run_ms, rare.on_conflict) = (0, None);
        let (gates, any) = (std::mem::take(&mut rare.gates), rare.any);
        if let Some(tasks) = &mut self.tasks {
            tasks.set_gates(gates, any);
        }
        self.rare = boxed(rare);
    }

    /// What it waits for, itself or its tasks; or only this one.
    pub fn open_needs(&self, task: Option<TaskIndex>) -> Vec<Need> {
        let gated = self.tasks.iter().flat_map(|tasks| tasks.open_needs(task));
        self.needs().iter().copied().chain(gated).collect()
    }

    /// For whom it waits, itself or its tasks.
    pub fn awaits(&self) -> impl Iterator<Item = JobId> + '_ {
        let gates = self.tasks.iter().flat_map(|tasks| &tasks.gates).filter(|gate| !gate.open.is_empty());
        self.needs().iter().map(|need| need.on.job()).chain(gates.map(|gate| gate.on.job()))
    }

    /// Changes what few jobs have.
    pub fn change_rare<T>(&mut self, with: impl FnOnce(&mut Rare) -> T) -> T {
        let mut rare = self.rare.take().unwrap_or_default();
        let result = with(&mut rare);
        self.rare = boxed(*rare);
        result
    }

    /// Since when nothing but room is wanting.
    pub fn since(&self) -> Timestamp {
        self.rare().and_then(|rare| rare.since).unwrap_or(self.submitted)
    }

    /// An attempt made room, which is no failure of its own.
    pub fn count_preemption(&mut self, task: Option<TaskIndex>) {
        match (task, &mut self.tasks) {
            (Some(task), Some(tasks)) => {
                if let Some(ordinal) = tasks.ordinal(task) {
                    *tasks.preempted.entry(ordinal).or_default() += 1;
                }
            }
            _ => self.change_rare(|rare| rare.preempted += 1),
        }
    }

    /// How many of its attempts did not only make room, if this was the last.
    pub fn tries(&self, task: Option<TaskIndex>, attempt: u32) -> u32 {
        let of_task = |tasks: &Tasks| Some(*tasks.preempted.get(&tasks.ordinal(task?)?)?);
        let preempted = match &self.tasks {
            Some(tasks) => of_task(tasks).unwrap_or(0),
            None => self.rare().map_or(0, |rare| rare.preempted),
        };
        attempt.saturating_sub(preempted)
    }

    /// By how many milliseconds an array comes later beside jobs of others, as its last task has had a turn since.
    pub fn lag_ms(&self) -> u64 {
        let served = self.tasks.as_ref().and_then(|tasks| tasks.served);
        served.map_or(0, |served| u64::try_from(served.0.saturating_sub(self.since().0)).unwrap_or(0))
    }

    /// What asks it to end, and how long it has after that before it is killed.
    pub fn stop(&self) -> (i32, u64) {
        let signal = self.rare().and_then(|r| r.stop_signal).unwrap_or(Signal::TERM.number());
        (signal, self.grace_ms())
    }

    /// How long it has between being asked to end and its end.
    pub fn grace_ms(&self) -> u64 {
        self.rare().and_then(|r| r.grace_ms).unwrap_or(crate::GRACE_MS)
    }

    /// The state of the job as a whole, but for what only its run knows.
    pub fn state(&self) -> JobState {
        match self.phase {
            Phase::Pending(_) => JobState::Pending,
            Phase::Staging(Stage::Validate) => JobState::Validating,
            Phase::Staging(_) => JobState::Compiling,
            Phase::Queued if self.tasks.as_ref().is_some_and(|t| t.running > 0) => JobState::Executing,
            Phase::Queued => JobState::Queued,
            Phase::Running => JobState::Executing,
        }
    }

    pub fn rare(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    pub fn needs(&self) -> &[Need] {
        self.rare().map_or(&[], |rare| &rare.needs)
    }

    /// A command of its own, or of one of its tasks, was ever to start.
    pub fn has_started(&self) -> bool {
        self.attempt > 0 || self.phase == Phase::Running || self.tasks.as_ref().is_some_and(|tasks| tasks.started)
    }

    /// When it ends unless it has started by then: its queue timeout, or, of an array, that of its tasks that wait.
    pub fn expires(&self) -> Option<Timestamp> {
        let timeout = self.rare().map_or(0, |rare| rare.queue_timeout_ms);
        let waits = match &self.tasks {
            Some(tasks) => timeout > 0 && !tasks.expired && tasks.stopped.is_none() && tasks.has_new(),
            None => !self.has_started(),
        };
        let after = i64::try_from(timeout).unwrap_or(i64::MAX);
        (waits && timeout > 0).then(|| Timestamp(self.submitted.0.saturating_add(after)))
    }

    /// When it is to be over, if that is still to come.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.rare().and_then(|rare| rare.deadline).filter(|_| !self.overdue)
    }

    /// What it was promised, as long as it waits.
    pub fn promise(&self) -> Option<Promise> {
        let rare = self.rare().filter(|_| self.wants_room())?;
        rare.promised.map(Promise::Start).or(rare.room.then_some(Promise::Room))
    }

    /// It has what it was promised.
    pub fn keep_promise(&mut self) {
        if self.rare().is_some_and(|rare| rare.promised.is_some() || rare.room) {
            self.change_rare(|rare| (rare.promised, rare.room) = (None, false));
        }
    }

    /// What it was offered, as long as that can be accepted.
    pub fn open_offers(&self) -> Option<&Offers> {
        self.rare().and_then(|rare| rare.offers.as_ref()).filter(|offers| offers.is_open())
    }

    /// Whether nothing but room, and time between attempts, is wanting.
    pub fn wants_room(&self) -> bool {
        self.phase == Phase::Queued && self.is_free()
    }

    /// Whether it waits for nobody and no time.
    pub fn is_free(&self) -> bool {
        !self.hold && self.begun && self.needs().is_empty()
    }

    /// Whether it, or one of its tasks, may start when there is room for it.
    pub fn eligible(&self) -> bool {
        self.wants_room()
            && self.due_boot_ms.is_none()
            && self.tasks.as_ref().is_none_or(|t| !t.waiting.is_empty() && !t.at_width())
    }
}
