//! Queues: named lines of jobs with a weight, a bound, defaults and a way to resolve conflicts.
//! It refuses to know the jobs in them.

use crate::amount::{Bytes, Priority};
use crate::error::Error;
use crate::job::{MAX_PIDS, OnConflict, is_default};
use crate::time::{MAX_DURATION, Millis};
use crate::wire::{given, one_of_words, text_on_the_wire};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The most queues.
pub const MAX_QUEUES: usize = 256;
/// The longest name of a queue, in bytes.
pub const MAX_QUEUE_NAME: usize = 32;
/// The largest weight of a queue or user.
pub const MAX_WEIGHT: u32 = 1_000;

/// The name of a queue: at most 32 of `a-z 0-9 - _`, beginning with a letter or digit. Copies share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueName(Arc<str>);

impl QueueName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The queue of jobs that name none; it always exists.
    #[must_use]
    pub fn is_default(&self) -> bool {
        &*self.0 == DEFAULT_QUEUE
    }
}

/// The name of the queue that always exists.
pub const DEFAULT_QUEUE: &str = "default";

impl Default for QueueName {
    fn default() -> Self {
        Self(DEFAULT_QUEUE.into())
    }
}

/// The text is not the name of a queue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' can not be the name of a queue; write at most {MAX_QUEUE_NAME} of a-z, 0-9, - and _, beginning with a letter or digit"
)]
pub struct BadQueueName(String);

impl FromStr for QueueName {
    type Err = BadQueueName;

    fn from_str(text: &str) -> Result<Self, BadQueueName> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let begins = text.bytes().next().is_some_and(is_plain);
        let fits = text.len() <= MAX_QUEUE_NAME && text.bytes().all(|b| is_plain(b) || b == b'-' || b == b'_');
        if begins && fits { Ok(Self(text.into())) } else { Err(BadQueueName(text.to_owned())) }
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

text_on_the_wire!(QueueName);

/// What becomes of a job that had to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnPreempt {
    /// It waits for its next attempt, where it was in line.
    #[default]
    Requeue,
    /// It is cancelled.
    Cancel,
    /// Its processes stand still and keep their memory until there is room again.
    Suspend,
}

impl OnPreempt {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Requeue, Self::Cancel, Self::Suspend];

    /// The word on the wire, in the configuration and in options.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Requeue => "requeue",
            Self::Cancel => "cancel",
            Self::Suspend => "suspend",
        }
    }
}

one_of_words!(OnPreempt);

fn one() -> u32 {
    1
}

/// What a queue is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct QueueSpec {
    /// Its share beside other queues, 1 to 1,000.
    #[serde(default = "one")]
    pub weight: u32,
    /// How many of its jobs and tasks may run at once; `None` is as many as fit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_running: Option<u32>,
    /// The longest time limit of a job in it, which those have that ask for none; it ends them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_time_ms: Option<Millis>,
    /// Its jobs may have to make room for others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub preemptible: bool,
    /// What becomes of those then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_preempt: OnPreempt,
    /// How its jobs that do not say resolve conflicts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_conflict: OnConflict,
    /// The priority of its jobs that do not say.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: Option<Priority>,
    /// Cpus of its jobs that do not say.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cpus: Option<u32>,
    /// Memory of its jobs that do not say.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mem_bytes: Option<Bytes>,
    /// The time limit of its jobs that do not say, if that is not `max_time_ms`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub time_limit_ms: Option<Millis>,
}

impl Default for QueueSpec {
    fn default() -> Self {
        Self {
            weight: 1,
            max_running: None,
            max_time_ms: None,
            preemptible: false,
            on_preempt: OnPreempt::default(),
            on_conflict: OnConflict::default(),
            priority: None,
            cpus: None,
            mem_bytes: None,
            time_limit_ms: None,
        }
    }
}

impl QueueSpec {
    /// The queue, if everything in it can be meant.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` that names the part.
    pub fn checked(mut self) -> Result<Self, Error> {
        self.mem_bytes = self.mem_bytes.filter(|mem| mem.0 > 0);
        self.max_time_ms = self.max_time_ms.filter(|time| time.0 > 0);
        self.time_limit_ms = self.time_limit_ms.filter(|time| time.0 > 0);
        self.max_running = self.max_running.filter(|most| *most > 0);
        if !(1..=MAX_WEIGHT).contains(&self.weight) {
            return Err(Error::invalid(format!("a weight of {} is not from 1 to {MAX_WEIGHT}", self.weight)));
        }
        if self.max_running.is_some_and(|most| most > MAX_PIDS) {
            return Err(Error::invalid(format!("at most {MAX_PIDS} jobs of a queue can run at once")));
        }
        for time in [self.max_time_ms, self.time_limit_ms].into_iter().flatten() {
            if time > MAX_DURATION {
                return Err(Error::invalid("a time limit is at most a hundred years"));
            }
        }
        if let (Some(most), Some(usual)) = (self.max_time_ms, self.time_limit_ms)
            && usual > most
        {
            return Err(Error::invalid(format!("a time limit of {usual} is more than max_time of {most}")));
        }
        Ok(self)
    }
}

/// New values for some parts of a queue, or of one that is made with them; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct QueueChange {
    /// 1 to 1,000.
    #[serde(default, skip_serializing_if = "is_default")]
    pub weight: Option<u32>,
    /// 0 is as many as fit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_running: Option<u32>,
    /// 0 is none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_time_ms: Option<Millis>,
    /// Whether its jobs may have to make room.
    #[serde(default, skip_serializing_if = "is_default")]
    pub preemptible: Option<bool>,
    /// What becomes of those then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_preempt: Option<OnPreempt>,
    /// How its jobs resolve conflicts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_conflict: Option<OnConflict>,
    /// The priority of jobs that do not say; null is 50.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub priority: Option<Option<Priority>>,
    /// Their cpus; null is 1.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "is_default")]
    pub cpus: Option<Option<u32>>,
    /// Their memory; 0 is none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mem_bytes: Option<Bytes>,
    /// Their time limit; 0 is `max_time_ms`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub time_limit_ms: Option<Millis>,
}

impl QueueChange {
    /// The queue with this changed.
    ///
    /// # Errors
    /// It can not be meant.
    pub fn on(&self, queue: &QueueSpec) -> Result<QueueSpec, Error> {
        QueueSpec {
            weight: self.weight.unwrap_or(queue.weight),
            max_running: self.max_running.or(queue.max_running),
            max_time_ms: self.max_time_ms.or(queue.max_time_ms),
            preemptible: self.preemptible.unwrap_or(queue.preemptible),
            on_preempt: self.on_preempt.unwrap_or(queue.on_preempt),
            on_conflict: self.on_conflict.unwrap_or(queue.on_conflict),
            priority: self.priority.unwrap_or(queue.priority),
            cpus: self.cpus.unwrap_or(queue.cpus),
            mem_bytes: self.mem_bytes.or(queue.mem_bytes),
            time_limit_ms: self.time_limit_ms.or(queue.time_limit_ms),
        }
        .checked()
    }
}

/// A queue as it is shown: what is not said of it is null, and never left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct QueueView {
    /// Its name.
    pub name: QueueName,
    /// Its share beside other queues, 1 to 1,000.
    pub weight: u32,
    /// How many of its jobs and tasks may run at once; null is as many as fit.
    #[serde(default)]
    pub max_running: Option<u32>,
    /// The longest time limit of a job in it, which those have that ask for none; it ends them. Null is none.
    #[serde(default)]
    pub max_time_ms: Option<Millis>,
    /// Its jobs may have to make room for others.
    #[serde(default)]
    pub preemptible: bool,
    /// What becomes of those then.
    #[serde(default)]
    pub on_preempt: OnPreempt,
    /// How its jobs that do not say resolve conflicts.
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// The priority of its jobs that do not say; null is 50.
    #[serde(default)]
    pub priority: Option<Priority>,
    /// Cpus of its jobs that do not say; null is 1.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// Memory of its jobs that do not say; null is none.
    #[serde(default)]
    pub mem_bytes: Option<Bytes>,
    /// The time limit of its jobs that do not say, if that is not `max_time_ms`.
    #[serde(default)]
    pub time_limit_ms: Option<Millis>,
    /// Nothing of it starts.
    pub paused: bool,
    /// It is set by the configuration.
    pub configured: bool,
    /// Jobs in it that wait; an array counts as one.
    pub waiting: u64,
    /// Jobs and tasks of it that run.
    pub running: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_queues_are_short_and_plain() {
        for text in ["default", "night", "gpu-2", "a_b", "0"] {
            assert_eq!(text.parse::<QueueName>().unwrap().to_string(), text);
        }
        for text in ["", "-a", "_night", "Night", "a b", "a.b", "ä", &"a".repeat(33)] {
            let error = text.parse::<QueueName>().unwrap_err().to_string();
            assert!(error.ends_with("- and _, beginning with a letter or digit"), "{error}");
        }
    }

    #[test]
    fn a_queue_that_can_not_be_meant_is_refused() {
        let queue = |json: &str| serde_json::from_str::<QueueSpec>(json).unwrap().checked();
        assert!(queue(r#"{"weight":0}"#).is_err());
        assert!(queue(r#"{"max_time_ms":1000,"time_limit_ms":2000}"#).is_err());
        assert_eq!(queue(r#"{"max_running":0}"#).unwrap(), QueueSpec::default());
        let bounded = QueueSpec { max_running: Some(3), ..QueueSpec::default() };
        let none = QueueChange { max_running: Some(0), ..QueueChange::default() };
        assert_eq!(none.on(&bounded).unwrap(), QueueSpec::default());
    }

    #[test]
    fn what_jobs_have_that_do_not_say_can_be_taken_back() {
        let queue: QueueSpec = serde_json::from_str(r#"{"priority":75,"cpus":2}"#).unwrap();
        for (json, left) in [
            ("{}", r#"{"weight":1,"priority":75,"cpus":2}"#),
            (r#"{"priority":null}"#, r#"{"weight":1,"cpus":2}"#),
            (r#"{"priority":25,"cpus":null}"#, r#"{"weight":1,"priority":25}"#),
        ] {
            let change: QueueChange = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&change).unwrap(), json);
            assert_eq!(serde_json::to_string(&change.on(&queue).unwrap()).unwrap(), left, "{json}");
        }
    }
}
