//! What may be changed of a job that lives: [`JobChange`]. It refuses to know which jobs may have it.

use super::{ArraySpec, DependsOn, JobSpec, OnConflict, Variant, is_default};
use crate::amount::{Bytes, Priority};
use crate::error::Error;
use crate::queue::QueueName;
use crate::signal::Signal;
use crate::text::OsText;
use crate::time::{Millis, Timestamp};
use crate::wire::given;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// New values for some parts of a job; what is absent stays as it is. The first three may be changed as long as the job
/// lives, the priority, the queue and the width as long as it, or some of its tasks, wait, all others until it starts.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct JobChange {
    /// For people.
    #[serde(default, skip_serializing_if = "is_default")]
    pub name: Option<String>,
    /// For people; empty takes it away.
    #[serde(default, skip_serializing_if = "is_default")]
    pub comment: Option<String>,
    /// Labels to be put on it, or with an empty value to be taken away.
    #[serde(default, skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// 0 to 100.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: Option<Priority>,
    /// How many tasks of an array may run at once; 0 is as many as fit. More than that which run already go on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub width: Option<u32>,
    /// The line that it waits in.
    #[serde(default, skip_serializing_if = "is_default")]
    pub queue: Option<QueueName>,
    /// What it would take instead; instead of all that it named before.
    #[serde(default, rename = "or", skip_serializing_if = "is_default")]
    pub variants: Option<Vec<Variant>>,
    /// Whether it wants the machine for itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exclusive: Option<bool>,
    /// Whether it only fills gaps.
    #[serde(default, skip_serializing_if = "is_default")]
    pub idle: Option<bool>,
    /// Whether it may have to make room.
    #[serde(default, skip_serializing_if = "is_default")]
    pub preemptible: Option<bool>,
    /// What tells it to save its work; null is what asks it to end.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub checkpoint_signal: Option<Option<Signal>>,
    /// It has not to make room before it has run for so long; 0 is at once.
    #[serde(default, skip_serializing_if = "is_default")]
    pub min_run_ms: Option<Millis>,
    /// What is done when it can not have at once what it asks for; null is what its queue says.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub on_conflict: Option<Option<OnConflict>>,
    /// After these have ended, instead of those of before; none takes them away.
    #[serde(default, skip_serializing_if = "is_default")]
    pub after: Option<Vec<DependsOn>>,
    /// After these have completed, in the same way.
    #[serde(default, skip_serializing_if = "is_default")]
    pub after_ok: Option<Vec<DependsOn>>,
    /// After these have ended in any other way, in the same way.
    #[serde(default, skip_serializing_if = "is_default")]
    pub after_fail: Option<Vec<DependsOn>>,
    /// After these have started, in the same way.
    #[serde(default, skip_serializing_if = "is_default")]
    pub after_start: Option<Vec<DependsOn>>,
    /// Whether one of the dependencies is enough.
    #[serde(default, skip_serializing_if = "is_default")]
    pub any: Option<bool>,
    /// Cpus.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cpus: Option<u32>,
    /// Memory; 0 is not counted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mem_bytes: Option<Bytes>,
    /// The most processes and threads at once; 0 is what the configuration says.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pids: Option<u32>,
    /// Room for files; 0 is no directory for them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub disk_bytes: Option<Bytes>,
    /// The most files that each process may have open; 0 is what its submitter has.
    #[serde(default, skip_serializing_if = "is_default")]
    pub open_files: Option<u32>,
    /// Its share of the disks; 0 is that of others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub io_weight: Option<u32>,
    /// How long the command may run; 0 is for ever.
    #[serde(default, skip_serializing_if = "is_default")]
    pub time_limit_ms: Option<Millis>,
    /// Not before this.
    #[serde(default, skip_serializing_if = "is_default")]
    pub begin: Option<Timestamp>,
    /// How many further attempts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retries: Option<u32>,
    /// It ends in `timeout` if it has not started so long after it was accepted; 0 is never.
    #[serde(default, skip_serializing_if = "is_default")]
    pub queue_timeout_ms: Option<Millis>,
    /// It is over by then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deadline: Option<Timestamp>,
    /// What asks it to end.
    #[serde(default, skip_serializing_if = "is_default")]
    pub signal: Option<Signal>,
    /// How long it has after that before it is killed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub grace_ms: Option<Millis>,
}

impl JobChange {
    /// The change, if everything in it can be meant.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` that names the part, or that nothing is to be changed.
    pub fn checked(self) -> Result<Self, Error> {
        if is_default(&self) {
            return Err(Error::invalid("nothing is to be changed").hint("name what, as in --priority high"));
        }
        // What a new job could not have, no job can be changed to.
        let like = JobSpec {
            command: vec![OsText::try_from("-").unwrap_or_default()],
            name: self.name.clone(),
            comment: self.comment.clone(),
            labels: self.labels.clone(),
            mem_bytes: self.mem_bytes,
            variants: self.variants.clone().unwrap_or_default(),
            checkpoint_signal: self.checkpoint_signal.flatten(),
            preemptible: true,
            min_run_ms: self.min_run_ms,
            after: [&self.after, &self.after_ok, &self.after_fail, &self.after_start]
                .into_iter()
                .flatten()
                .flatten()
                .copied()
                .collect(),
            // Whether it is an array is known where the job is.
            array: Some(ArraySpec { first: 0, last: 0, step: 1, width: None }),
            io_weight: self.io_weight,
            open_files: self.open_files,
            pids: self.pids,
            disk_bytes: self.disk_bytes,
            time_limit_ms: self.time_limit_ms,
            queue_timeout_ms: self.queue_timeout_ms,
            retries: self.retries.unwrap_or_default(),
            grace_ms: self.grace_ms,
            ..JobSpec::default()
        };
        like.checked()?;
        Ok(self)
    }

    /// Puts and takes away labels.
    pub fn relabel(&self, labels: &mut BTreeMap<String, String>) {
        for (name, value) in &self.labels {
            match value.as_str() {
                "" => drop(labels.remove(name)),
                value => drop(labels.insert(name.clone(), value.to_owned())),
            }
        }
    }

    /// Only words for people are changed.
    #[must_use]
    pub fn is_words(&self) -> bool {
        is_default(&Self { name: None, comment: None, labels: BTreeMap::new(), ..self.clone() })
    }

    /// Nothing is changed that decides how long it takes and what it needs, so that a time that it was promised stays.
    #[must_use]
    pub fn promises_hold(&self) -> bool {
        let keeps = Self {
            queue_timeout_ms: None,
            deadline: None,
            signal: None,
            grace_ms: None,
            retries: None,
            open_files: None,
            io_weight: None,
            pids: None,
            ..self.clone()
        };
        keeps.is_words()
    }

    /// Nothing is changed that a task which runs has, or had to decide its start.
    #[must_use]
    pub fn is_for_waiting_tasks(&self) -> bool {
        Self { priority: None, width: None, queue: None, ..self.clone() }.is_words()
    }
}
