//! Queues: how they come about, change and go.
//! It refuses to know jobs beyond their number.

use crate::access::Caller;
use crate::event::Event;
use crate::refusal::Refusal;
use crate::state::Core;
use crate::step::{Answer, Deciding};
use qrm_protocol::error::nearest;
use qrm_protocol::queue::{MAX_QUEUES, QueueChange, QueueName, QueueSpec, QueueView};
use qrm_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A queue as the core keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Queue {
    #[serde(flatten)]
    pub spec: QueueSpec,
    /// Nothing of it starts.
    #[serde(default, skip_serializing_if = "crate::job::is_default")]
    pub paused: bool,
    /// Since when.
    #[serde(default, skip_serializing_if = "crate::job::is_default")]
    pub paused_at: Option<Timestamp>,
    /// The configuration says what it is.
    #[serde(default, skip_serializing_if = "crate::job::is_default")]
    pub configured: bool,
}

/// What is in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InQueue {
    /// Live jobs, also those of bulks that nobody sees yet.
    pub jobs: u64,
    /// Runs of their own commands, of jobs and tasks.
    pub running: u64,
    /// Jobs that have a run themselves.
    pub running_jobs: u64,
}

impl Core {
    /// What a queue is.
    ///
    /// # Errors
    /// There is none of this name.
    pub(crate) fn queue(&self, name: &QueueName) -> Result<&Queue, Refusal> {
        self.queues.get(name).ok_or_else(|| {
            let names = self.queues.keys().map(QueueName::as_str);
            let near = nearest(name.as_str(), names.clone()).map(str::to_owned);
            Refusal::NoSuchQueue { name: name.clone(), near, names: names.take(10).map(str::to_owned).collect() }
        })
    }

    /// The queues, by name.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueView> {
        self.queues.keys().filter_map(|name| self.view_queue(name)).collect()
    }

    /// One queue.
    #[must_use]
    pub fn view_queue(&self, name: &QueueName) -> Option<QueueView> {
        let queue = self.queues.get(name)?;
        let within = self.in_queue.get(name).copied().unwrap_or_default();
        let spec = &queue.spec;
        Some(QueueView {
            name: name.clone(),
            weight: spec.weight,
            max_running: spec.max_running,
            max_time_ms: spec.max_time_ms,
            preemptible: spec.preemptible,
            on_preempt: spec.on_preempt,
            on_conflict: spec.on_conflict,
            priority: spec.priority,
            cpus: spec.cpus,
            mem_bytes: spec.mem_bytes,
            time_limit_ms: spec.time_limit_ms,
            paused: queue.paused,
            configured: queue.configured,
            waiting: within.jobs.saturating_sub(within.running_jobs),
            running: within.running,
        })
    }
}

impl Deciding<'_> {
    pub(crate) fn set_queue(
        &mut self,
        caller: Caller,
        name: QueueName,
        change: &QueueChange,
    ) -> Result<Answer, Refusal> {
        let before = self.core.queues.get(&name);
        if before.is_some_and(|queue| queue.configured) {
            return Err(Refusal::QueueConfigured(name));
        }
        if before.is_none() && self.core.queues.len() >= MAX_QUEUES {
            return Err(Refusal::TooManyQueues);
        }
        let spec = change.on(&before.map_or_else(QueueSpec::default, |queue| queue.spec.clone()));
        let spec = spec.map_err(|error| Refusal::BadQueue(format!("queue {name}: {}", error.message)))?;
        if before.is_none_or(|queue| queue.spec != spec) {
            self.emit(Event::QueueSet { queue: name, spec, configured: false, by: Some(caller.uid) });
        }
        Ok(Answer::Done)
    }

    pub(crate) fn pause_queue(&mut self, caller: Caller, name: QueueName, pause: bool) -> Result<Answer, Refusal> {
        if self.core.queue(&name)?.paused != pause {
            let by = caller.uid;
            self.emit(match pause {
                true => Event::QueuePaused { queue: name, by },
                false => Event::QueueResumed { queue: name, by },
            });
        }
        Ok(Answer::Done)
    }

    pub(crate) fn remove_queue(&mut self, caller: Caller, name: QueueName) -> Result<Answer, Refusal> {
        let queue = self.core.queue(&name)?;
        if name.is_default() {
            return Err(Refusal::DefaultQueue);
        }
        if queue.configured {
            return Err(Refusal::QueueConfigured(name));
        }
        let jobs = self.core.in_queue.get(&name).map_or(0, |within| within.jobs);
        if jobs > 0 {
            return Err(Refusal::QueueInUse { name, jobs });
        }
        self.emit(Event::QueueRemoved { queue: name, by: Some(caller.uid) });
        Ok(Answer::Done)
    }

    /// Has the queues be as the configuration says. One that it names no more goes, or, with jobs in it, becomes one that
    /// anybody who may can change.
    pub(crate) fn configure_queues(&mut self, configured: BTreeMap<QueueName, QueueSpec>) {
        let gone: Vec<(QueueName, QueueSpec)> = self
            .core
            .queues
            .iter()
            .filter(|(name, queue)| queue.configured && !configured.contains_key(*name))
            .map(|(name, queue)| (name.clone(), queue.spec.clone()))
            .collect();
        for (queue, spec) in gone {
            let in_use = self.core.in_queue.get(&queue).is_some_and(|within| within.jobs > 0);
            self.emit(match (queue.is_default(), in_use) {
                (true, _) => Event::QueueSet { queue, spec: QueueSpec::default(), configured: false, by: None },
                (false, true) => Event::QueueSet { queue, spec, configured: false, by: None },
                (false, false) => Event::QueueRemoved { queue, by: None },
            });
        }
        for (queue, spec) in configured {
            let is_so = |known: &Queue| known.configured && known.spec == spec;
            if !self.core.queues.get(&queue).is_some_and(is_so) {
                self.emit(Event::QueueSet { queue, spec, configured: true, by: None });
            }
        }
    }
}
