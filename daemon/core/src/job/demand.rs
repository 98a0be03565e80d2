//! What of a job decides when and where it runs: a demand, the rare parts of one, and dependencies.
//! It refuses to know how far the job is.

use crate::event::Stage;
use crate::gates::Gate;
use crate::shape::Shape;
use qrm_protocol::amount::Priority;
use qrm_protocol::ids::{JobId, Uid};
use qrm_protocol::job::{ArraySpec, Backoff, DependsOn, JobChange, JobSpec, Offer, OnConflict, RetryOn, Variant};
use qrm_protocol::queue::QueueName;
use qrm_protocol::signal::Signal;
use qrm_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

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
    /// So many of its attempts made room, and are no retries.
    #[serde(default, skip_serializing_if = "is_default")]
    pub preempted: u32,
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
            preempted: 0,
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
        if let Some(signal) = change.checkpoint_signal {
            rare.checkpoint_signal = signal.map(Signal::number);
        }
        rare.min_run_ms = change.min_run_ms.map_or(rare.min_run_ms, |time| time.0);
        rare.on_conflict = change.on_conflict.unwrap_or(rare.on_conflict);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_back_is_as_if_it_had_never_been_said() {
        let said = JobSpec {
            checkpoint_signal: Signal::new(10),
            on_conflict: Some(OnConflict::Queuing),
            ..JobSpec::default()
        };
        let mut demand = Demand::from(&said);
        demand.change(&JobChange { cpus: Some(2), ..JobChange::default() });
        assert_eq!(demand, Demand::from(&JobSpec { cpus: Some(2), ..said }));
        demand.change(&JobChange { checkpoint_signal: Some(None), on_conflict: Some(None), ..JobChange::default() });
        assert_eq!(demand, Demand::from(&JobSpec { cpus: Some(2), ..JobSpec::default() }));
    }
}
