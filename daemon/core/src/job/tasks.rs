//! The tasks of an array: which wait, which have ended, and which are between attempts.
//! It refuses to know what a task asks for.

use super::{Need, is_default};
use crate::gates::Gate;
use crate::ranges::Ranges;
use qrm_protocol::ids::{JobRef, TaskIndex, Uid};
use qrm_protocol::job::{ArraySpec, DependsOn};
use qrm_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// Of tasks that live: how many of their attempts made room, and are no retries.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub preempted: BTreeMap<u32, u32>,
    /// Whether any task ever started.
    pub started: bool,
    /// When the last one did.
    #[serde(default, skip_serializing_if = "is_default")]
    pub served: Option<Timestamp>,
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
            preempted: BTreeMap::new(),
            started: false,
            served: None,
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
