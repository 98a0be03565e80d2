//! A job as the core keeps it: what decides, and nothing that only people or processes need.
//! It refuses to know its own neighbours.

use crate::event::Stage;
use crate::gates::Gate;
use crate::ranges::Ranges;
use crate::shape::{Kind, Shape};
use qrm_protocol::amount::Priority;
use qrm_protocol::ids::{JobId, JobRef, TaskIndex, Uid};
use qrm_protocol::job::{
    ArraySpec, Backoff, DependsOn, JobChange, JobSpec, JobState, Offer, OnConflict, RetryOn, Variant,
};
use qrm_protocol::queue::QueueName;
use qrm_protocol::signal::Signal;
use qrm_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What must have happened to another job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// It ended, however.
    Ended,
    /// It completed.
    Ok,
    /// It ended in any other way.
    Fail,
    /// It started.
    Start,
}

/// A dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Need {
    /// On which job or task, or on which array's tasks by their index.
    pub on: DependsOn,
    /// What must have happened to it.
    pub when: When,
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What of a [`JobSpec`] decides when and where it runs, as events and snapshots have it.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Demand {
    /// 0 to 100; `None` is normal, or before it is accepted what its queue says.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: Option<Priority>,
    /// Its queue; `None` is the one that always exists.
    #[serde(default, skip_serializing_if = "is_default")]
    pub queue: Option<QueueName>,
    /// Cpus to count; `None` is one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cpus: Option<u32>,
    /// Memory to count; `None` is none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mem_bytes: Option<u64>,
    /// How long its command may run; 0 is for ever.
    #[serde(default, skip_serializing_if = "is_default")]
    pub time_ms: u64,
    /// Wait until released.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hold: bool,
    /// It has a validate command.
    #[serde(default, skip_serializing_if = "is_default")]
    pub validate: bool,
    /// It has a compile command.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compile: bool,
    /// What few jobs have.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none", deserialize_with = "rare")]
    pub rare: Option<Box<Rare>>,
}

/// What few jobs have; kept apart so that a plain job stays small.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Rare {
    /// Not before this.
    #[serde(default, skip_serializing_if = "is_default")]
    pub begin: Option<Timestamp>,
    /// Many tasks.
    #[serde(default, skip_serializing_if = "is_default")]
    pub array: Option<ArraySpec>,
    /// What must have happened to others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub needs: Vec<Need>,
    /// One of them is enough.
    #[serde(default, skip_serializing_if = "is_default")]
    pub any: bool,
    /// What must have happened for each of its tasks by itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gates: Vec<Gate>,
    /// How many further attempts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retries: u32,
    /// After what; empty is any bad end of the command itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry_on: Vec<RetryOn>,
    /// The wait between attempts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub backoff: Backoff,
    /// What asks it to end, if that is not TERM.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stop_signal: Option<i32>,
    /// How long it has after that, if not as long as others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub grace_ms: Option<u64>,
    /// It ends if it has not started so long after it was accepted; 0 is never.
    #[serde(default, skip_serializing_if = "is_default")]
    pub queue_timeout_ms: u64,
    /// It is over by then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deadline: Option<Timestamp>,
    /// Room for files to count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub disk_bytes: u64,
    /// What it would take instead, in order of preference.
    #[serde(default, skip_serializing_if = "is_default")]
    pub variants: Vec<Variant>,
    /// It wants the machine for itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exclusive: bool,
    /// It only fills gaps.
    #[serde(default, skip_serializing_if = "is_default")]
    pub idle: bool,
    /// It may have to make room.
    #[serde(default, skip_serializing_if = "is_default")]
    pub preemptible: bool,
    /// What tells it to save its work.
    #[serde(default, skip_serializing_if = "is_default")]
    pub checkpoint_signal: Option<i32>,
    /// Not before it has run for so long.
    #[serde(default, skip_serializing_if = "is_default")]
    pub min_run_ms: u64,
    /// What is done when it can not have at once what it asks for; `None` is what its queue says.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_conflict: Option<OnConflict>,
    /// It was promised to start then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub promised: Option<Timestamp>,
    /// Others make room for it, or did, and it has not started since.
    #[serde(default, skip_serializing_if = "is_default")]
    pub room: bool,
    /// It could first have started then, if not when it was accepted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub since: Option<Timestamp>,
    /// It is held since then, if not since it was accepted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub held: Option<Timestamp>,
    /// What it was offered instead of waiting.
    #[serde(default, skip_serializing_if = "is_default")]
    pub offers: Option<Offers>,
}

/// What a job was offered.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Offers {
    /// In the order of their places, from 1.
    pub offers: Vec<Offer>,
    /// Until then they can be accepted.
    pub lapses_at: Timestamp,
    /// Which was accepted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub accepted: Option<u32>,
    /// They can not be accepted any more.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lapsed: bool,
}

impl Offers {
    /// Whether one can still be accepted.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.accepted.is_none() && !self.lapsed
    }
}

/// A flattened part is always there to serde; one that says nothing is none.
fn rare<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Box<Rare>>, D::Error> {
    let rare = Rare::deserialize(from)?;
    Ok(if is_default(&rare) { None } else { Some(Box::new(rare)) })
}

impl From<&JobSpec> for Demand {
    fn from(spec: &JobSpec) -> Self {
        let lists = [&spec.after, &spec.after_ok, &spec.after_fail, &spec.after_start];
        let rare = Rare {
            begin: spec.begin,
            array: spec.array,
            needs: needs(lists.map(|list| Some(list.as_slice()))),
            any: spec.any,
            gates: Vec::new(),
            retries: spec.retries,
            retry_on: spec.retry_on.clone(),
            backoff: spec.backoff,
            stop_signal: spec.signal.filter(|signal| *signal != Signal::TERM).map(Signal::number),
            grace_ms: spec.grace_ms.map(|grace| grace.0),
            queue_timeout_ms: spec.queue_timeout_ms.map_or(0, |t| t.0),
            deadline: spec.deadline,
            disk_bytes: spec.disk_bytes.map_or(0, |disk| disk.0),
            variants: spec.variants.clone(),
            exclusive: spec.exclusive,
            idle: spec.idle,
            preemptible: spec.preemptible,
            checkpoint_signal: spec.checkpoint_signal.map(Signal::number),
            min_run_ms: spec.min_run_ms.map_or(0, |time| time.0),
            on_conflict: spec.on_conflict,
            promised: None,
            room: false,
            since: None,
            held: None,
            offers: None,
        };
        Self {
            priority: spec.priority,
            queue: spec.queue.clone(),
            cpus: spec.cpus,
            mem_bytes: spec.mem_bytes.map(|m| m.0),
            time_ms: spec.time_limit_ms.map_or(0, |t| t.0),
            hold: spec.hold,
            validate: spec.validate.is_some(),
            compile: spec.compile.is_some(),
            rare: boxed(rare),
        }
    }
}

/// Dependencies by their lists: after the end, the completion, the failure and the start of others.
fn needs(lists: [Option<&[DependsOn]>; 4]) -> Vec<Need> {
    let of = |(list, when): (Option<&[DependsOn]>, When)| {
        list.unwrap_or_default().iter().map(|on| Need { on: *on, when }).collect::<Vec<_>>()
    };
    lists.into_iter().zip(LISTS).flat_map(of).collect()
}

/// What the lists of dependencies stand for.
const LISTS: [When; 4] = [When::Ended, When::Ok, When::Fail, When::Start];

/// Nothing, if it says nothing.
pub(crate) fn boxed(rare: Rare) -> Option<Box<Rare>> {
    (!is_default(&rare)).then(|| Box::new(rare))
}

impl Demand {
    /// Changes what decides.
    pub(crate) fn change(&mut self, change: &JobChange) {
        let JobChange { priority, cpus, mem_bytes, time_limit_ms, .. } = change;
        self.priority = priority.or(self.priority);
        self.queue = change.queue.clone().or(self.queue.take());
        self.cpus = cpus.or(self.cpus);
        self.mem_bytes = mem_bytes.map(|mem| mem.0).or(self.mem_bytes);
        self.time_ms = time_limit_ms.map_or(self.time_ms, |time| time.0);
        let mut rare = self.rare.take().unwrap_or_default();
        rare.begin = change.begin.or(rare.begin);
        rare.retries = change.retries.unwrap_or(rare.retries);
        rare.queue_timeout_ms = change.queue_timeout_ms.map_or(rare.queue_timeout_ms, |t| t.0);
        rare.deadline = change.deadline.or(rare.deadline);
        rare.disk_bytes = change.disk_bytes.map_or(rare.disk_bytes, |disk| disk.0);
        if let Some(signal) = change.signal {
            rare.stop_signal = Some(signal).filter(|signal| *signal != Signal::TERM).map(Signal::number);
        }
        rare.grace_ms = change.grace_ms.map(|grace| grace.0).or(rare.grace_ms);
        rare.variants = change.variants.clone().unwrap_or(rare.variants);
        rare.exclusive = change.exclusive.unwrap_or(rare.exclusive);
        rare.idle = change.idle.unwrap_or(rare.idle);
        rare.preemptible = change.preemptible.unwrap_or(rare.preemptible);
        rare.checkpoint_signal = change.checkpoint_signal.map(Signal::number).or(rare.checkpoint_signal);
        rare.min_run_ms = change.min_run_ms.map_or(rare.min_run_ms, |time| time.0);
        rare.on_conflict = change.on_conflict.or(rare.on_conflict);
        rare.any = change.any.unwrap_or(rare.any);
        if !change.promises_hold() {
            (rare.promised, rare.room) = (None, false);
        }
        let lists = [&change.after, &change.after_ok, &change.after_fail, &change.after_start];
        for (list, when) in lists.into_iter().zip(LISTS) {
            let Some(list) = list else { continue };
            rare.needs.retain(|need| need.when != when);
            rare.needs.extend(list.iter().map(|on| Need { on: *on, when }));
        }
        self.rare = boxed(*rare);
        self.settle();
    }

    /// Writes each thing in one way, however it was said.
    pub(crate) fn settle(&mut self) {
        self.priority = self.priority.filter(|priority| *priority != Priority::NORMAL);
        self.queue = self.queue.take().filter(|queue| !queue.is_default());
        self.mem_bytes = self.mem_bytes.filter(|mem| *mem > 0);
    }

    /// Its queue.
    #[must_use]
    pub fn queue(&self) -> QueueName {
        self.queue.clone().unwrap_or_default()
    }

    /// 0 to 100.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.priority.unwrap_or_default()
    }

    /// Memory to count.
    #[must_use]
    pub fn mem_bytes(&self) -> u64 {
        self.mem_bytes.unwrap_or(0)
    }

    /// What jobs like it have in common.
    pub(crate) fn shape(&self, user: Uid) -> Shape {
        let rare = self.rare.as_deref();
        Shape {
            user,
            queue: self.queue(),
            priority: self.priority(),
            cpus: self.cpus,
            mem_bytes: self.mem_bytes(),
            disk_bytes: self.disk_bytes(),
            time_ms: self.time_ms,
            exclusive: rare.is_some_and(|r| r.exclusive),
            variants: rare.map_or_else(Vec::new, |r| r.variants.clone()),
            idle: rare.is_some_and(|r| r.idle),
            preemptible: rare.is_some_and(|r| r.preemptible),
            min_run_ms: rare.map_or(0, |r| r.min_run_ms),
            saves: rare.is_some_and(|r| r.checkpoint_signal.is_some()),
            on_conflict: rare.and_then(|r| r.on_conflict),
        }
    }

    /// Cpus to count.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        self.cpus.unwrap_or(1)
    }

    /// Room for files to count.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.rare.as_ref().map_or(0, |rare| rare.disk_bytes)
    }

    /// Its tasks, if it is an array.
    #[must_use]
    pub fn array(&self) -> Option<ArraySpec> {
        self.rare.as_ref().and_then(|rare| rare.array)
    }

    /// For whom it waits, itself or its tasks.
    pub(crate) fn awaits(&self) -> impl Iterator<Item = JobId> + '_ {
        let gates = self.rare.iter().flat_map(|rare| &rare.gates).filter(|gate| !gate.open.is_empty());
        self.needs().iter().map(|need| need.on.job()).chain(gates.map(|gate| gate.on.job()))
    }

    /// What must have happened to others.
    #[must_use]
    pub fn needs(&self) -> &[Need] {
        self.rare.as_ref().map_or(&[], |r| &r.needs)
    }

    pub(crate) fn first_stage(&self) -> Stage {
        if self.validate {
            Stage::Validate
        } else if self.compile {
            Stage::Compile
        } else {
            Stage::Execute
        }
    }
}

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

/// The tasks of an array, by ordinal: the place in the array from 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tasks {
    pub spec: ArraySpec,
    /// May start when there is room.
    pub waiting: Ranges,
    /// May not start yet: they wait for tasks of other arrays.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gated: Ranges,
    /// Wait for what can never be; each is ended in the step that finds it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub barred: Ranges,
    /// For what those wait; kept with what the job asks for.
    #[serde(skip)]
    pub gates: Vec<Gate>,
    /// Have a run.
    pub running: u32,
    pub ok: Ranges,
    pub bad: Ranges,
    /// How many of `bad` were cancelled.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cancelled: u32,
    /// Tasks between attempts: the last attempt, and when the next is due if that is still to come.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub again: BTreeMap<u32, (u32, Option<u64>)>,
    /// Whether any task ever started.
    pub started: bool,
    /// Who ended the rest of it.
    pub stopped: Option<Uid>,
    /// The time was up for the rest of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub expired: bool,
}

impl Tasks {
    pub fn new(spec: ArraySpec) -> Self {
        Self {
            spec,
            waiting: Ranges::full(spec.count()),
            gated: Ranges::default(),
            barred: Ranges::default(),
            gates: Vec::new(),
            running: 0,
            ok: Ranges::default(),
            bad: Ranges::default(),
            cancelled: 0,
            again: BTreeMap::new(),
            started: false,
            stopped: None,
            expired: false,
        }
    }

    pub fn index(&self, ordinal: u32) -> TaskIndex {
        self.spec.first + ordinal * self.spec.step
    }

    pub fn ordinal(&self, task: TaskIndex) -> Option<u32> {
        self.spec.contains(task).then(|| (task - self.spec.first) / self.spec.step)
    }

    /// Whether all that it tells of is in the array, so that the rest may count on it.
    pub fn are_in_range(&self) -> bool {
        let ends =
            [&self.waiting, &self.gated, &self.barred, &self.ok, &self.bad].map(Ranges::last).into_iter().flatten();
        ends.chain(self.again.keys().copied()).chain(self.running.checked_sub(1)).all(|n| n < self.spec.count())
            && self.cancelled <= self.bad.len()
    }

    /// Nothing has come of any of them yet.
    pub fn is_new(&self) -> bool {
        !self.started && self.ok.is_empty() && self.bad.is_empty()
    }

    /// Whether some task waits for its first attempt. Tasks start in their order, so it would be behind all others.
    pub fn has_new(&self) -> bool {
        !self.gated.is_empty() || self.waiting.last().is_some_and(|ordinal| !self.again.contains_key(&ordinal))
    }

    /// What those wait for that may not start yet; or only this one, if it does.
    pub fn open_needs(&self, task: Option<TaskIndex>) -> Vec<Need> {
        let ordinal = task.and_then(|task| self.ordinal(task));
        let is_open = |gate: &&Gate| match ordinal {
            Some(ordinal) => self.gated.contains(ordinal) && gate.open.contains(ordinal),
            None => !gate.open.is_empty(),
        };
        let of = |gate: &Gate| match (gate.on, task) {
            (DependsOn::Each(job), Some(task)) => Need { on: JobRef::task(job, task).into(), when: gate.when },
            (on, _) => Need { on, when: gate.when },
        };
        self.gates.iter().filter(is_open).map(of).collect()
    }

    pub fn all_ended(&self) -> bool {
        self.ok.len() + self.bad.len() == self.spec.count()
    }

    /// How many more of its tasks it allows to run.
    pub fn may_start(&self) -> u32 {
        self.spec.width.map_or(u32::MAX, |width| width.saturating_sub(self.running))
    }

    pub fn at_width(&self) -> bool {
        self.spec.width.is_some_and(|width| self.running >= width)
    }
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
