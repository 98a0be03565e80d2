//! A job as the core keeps it: what decides, and nothing that only people or processes need.
//! It refuses to know its own neighbours.

use crate::event::Stage;
use crate::ranges::Ranges;
use qrm_protocol::amount::Priority;
use qrm_protocol::ids::{JobRef, TaskIndex, Uid};
use qrm_protocol::job::{ArraySpec, Backoff, JobChange, JobSpec, JobState, RetryOn};
use qrm_protocol::signal::Signal;
use qrm_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// On which job or task.
    pub on: JobRef,
    /// What must have happened to it.
    pub when: When,
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What of a [`JobSpec`] decides when and where it runs.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Demand {
    /// 0 to 100.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: Priority,
    /// Cpus to count; `None` is one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cpus: Option<u32>,
    /// Memory to count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mem_bytes: u64,
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
}

/// A flattened part is always there to serde; one that says nothing is none.
fn rare<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Box<Rare>>, D::Error> {
    let rare = Rare::deserialize(from)?;
    Ok(if is_default(&rare) { None } else { Some(Box::new(rare)) })
}

impl From<&JobSpec> for Demand {
    fn from(spec: &JobSpec) -> Self {
        let need = |when: When| move |on: &JobRef| Need { on: *on, when };
        let needs = spec.after.iter().map(need(When::Ended));
        let needs = needs.chain(spec.after_ok.iter().map(need(When::Ok)));
        let needs = needs.chain(spec.after_fail.iter().map(need(When::Fail)));
        let needs = needs.chain(spec.after_start.iter().map(need(When::Start))).collect();
        let rare = Rare {
            begin: spec.begin,
            array: spec.array,
            needs,
            any: spec.any,
            retries: spec.retries,
            retry_on: spec.retry_on.clone(),
            backoff: spec.backoff,
            stop_signal: spec.signal.filter(|signal| *signal != Signal::TERM).map(Signal::number),
            grace_ms: spec.grace_ms.map(|grace| grace.0),
            queue_timeout_ms: spec.queue_timeout_ms.map_or(0, |t| t.0),
            deadline: spec.deadline,
            disk_bytes: spec.disk_bytes.map_or(0, |disk| disk.0),
        };
        Self {
            priority: spec.priority,
            cpus: spec.cpus,
            mem_bytes: spec.mem_bytes.map_or(0, |m| m.0),
            time_ms: spec.time_limit_ms.map_or(0, |t| t.0),
            hold: spec.hold,
            validate: spec.validate.is_some(),
            compile: spec.compile.is_some(),
            rare: (!is_default(&rare)).then(|| Box::new(rare)),
        }
    }
}

impl Demand {
    /// What asks it to end, and how long it has after that before it is killed.
    #[must_use]
    pub fn stop(&self) -> (i32, u64) {
        let rare = self.rare.as_deref();
        let signal = rare.and_then(|r| r.stop_signal).unwrap_or(Signal::TERM.number());
        (signal, rare.and_then(|r| r.grace_ms).unwrap_or(crate::GRACE_MS))
    }

    /// Changes what decides.
    pub(crate) fn change(&mut self, change: &JobChange) {
        let JobChange { priority, cpus, mem_bytes, time_limit_ms, .. } = change;
        self.priority = priority.unwrap_or(self.priority);
        self.cpus = cpus.or(self.cpus);
        self.mem_bytes = mem_bytes.map_or(self.mem_bytes, |mem| mem.0);
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
        self.rare = Some(rare).filter(|rare| !is_default(rare));
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

/// The tasks of an array, by ordinal: the place in the array from 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tasks {
    pub spec: ArraySpec,
    /// May start when there is room.
    pub waiting: Ranges,
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
        let ends = [&self.waiting, &self.ok, &self.bad].map(Ranges::last).into_iter().flatten();
        ends.chain(self.again.keys().copied()).chain(self.running.checked_sub(1)).all(|n| n < self.spec.count())
            && self.cancelled <= self.bad.len()
    }

    /// Whether some task waits for its first attempt. Tasks start in their order, so it would be behind all others.
    pub fn has_new(&self) -> bool {
        self.waiting.last().is_some_and(|ordinal| !self.again.contains_key(&ordinal))
    }

    pub fn all_ended(&self) -> bool {
        self.ok.len() + self.bad.len() == self.spec.count()
    }

    pub fn at_width(&self) -> bool {
        self.spec.width.is_some_and(|width| self.running >= width)
    }
}

/// A live job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub user: Uid,
    pub submitted: Timestamp,
    pub phase: Phase,
    /// The last attempt that started.
    pub attempt: u32,
    /// When the next attempt is due, if that is still to come.
    #[serde(default, skip_serializing_if = "is_default")]
    pub due_boot_ms: Option<u64>,
    /// Its begin has come.
    pub begun: bool,
    /// Its deadline has come.
    #[serde(default, skip_serializing_if = "is_default")]
    pub overdue: bool,
    /// What it asks for; `needs` are those that are not met.
    pub demand: Demand,
    #[serde(default, skip_serializing_if = "is_default")]
    pub tasks: Option<Box<Tasks>>,
}

impl Job {
    pub fn new(user: Uid, submitted: Timestamp, demand: Demand) -> Self {
        let phase = match demand.first_stage() {
            Stage::Execute => Phase::Queued,
            stage => Phase::Pending(stage),
        };
        let rare = demand.rare.as_ref();
        Self {
            user,
            submitted,
            phase,
            attempt: 0,
            due_boot_ms: None,
            overdue: false,
            begun: rare.is_none_or(|r| r.begin.is_none()),
            tasks: rare.and_then(|r| r.array).map(|spec| Box::new(Tasks::new(spec))),
            demand,
        }
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
        self.demand.rare.as_deref()
    }

    pub fn needs(&self) -> &[Need] {
        self.demand.needs()
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

    /// Whether it, or one of its tasks, may start when there is room for it.
    pub fn eligible(&self) -> bool {
        self.phase == Phase::Queued
            && !self.demand.hold
            && self.begun
            && self.due_boot_ms.is_none()
            && self.needs().is_empty()
            && self.tasks.as_ref().is_none_or(|t| !t.waiting.is_empty() && !t.at_width())
    }
}
