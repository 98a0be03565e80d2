//! The names of things: jobs, array tasks, events, users. They are parsed once and valid for ever;
//! whether such a thing exists is not known here.

use crate::wire::text_on_the_wire;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A job's number; counts up from 1 and is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

/// A task's index in its array, `0 ..= 999_999`.
pub type TaskIndex = u32;

/// The most tasks that one array may have, and one more than the largest index.
pub const MAX_TASKS: u32 = 1_000_000;

/// The number of an event; counts up by one and is never reused.
pub type Seq = u64;

/// A user's number, as the kernel knows it.
pub type Uid = u32;

/// A job (`12`) or one task of an array (`12.3`). On the wire it is a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobRef {
    /// The job.
    pub job: JobId,
    /// The task, when one task of an array is meant.
    pub task: Option<TaskIndex>,
}

impl JobRef {
    /// The whole job.
    #[must_use]
    pub fn whole(job: JobId) -> Self {
        Self { job, task: None }
    }

    /// One task of an array.
    #[must_use]
    pub fn task(job: JobId, task: TaskIndex) -> Self {
        Self { job, task: Some(task) }
    }
}

impl From<JobId> for JobRef {
    fn from(job: JobId) -> Self {
        Self::whole(job)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for JobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.task {
            None => self.job.fmt(f),
            Some(task) => write!(f, "{}.{task}", self.job),
        }
    }
}

/// The text is not a job id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a job id; a job is a number such as 12, a task of an array is 12.3")]
pub struct BadJobRef(pub String);

impl FromStr for JobRef {
    type Err = BadJobRef;

    fn from_str(text: &str) -> Result<Self, BadJobRef> {
        let bad = || BadJobRef(text.to_owned());
        let number = |part: &str| -> Option<u64> {
            let plain = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            if plain { part.parse().ok() } else { None }
        };
        let (job, task) = match text.split_once('.') {
            None => (text, None),
            Some((job, task)) => (job, Some(task)),
        };
        // SQLite's integers are signed, so an id never leaves their range.
        let job = number(job).filter(|n| (1..=i64::MAX as u64).contains(n)).ok_or_else(bad)?;
        let task = match task {
            None => None,
            Some(task) => {
                let index = number(task).filter(|n| *n < u64::from(MAX_TASKS)).ok_or_else(bad)?;
                Some(u32::try_from(index).map_err(|_| bad())?)
            }
        };
        Ok(Self { job: JobId(job), task })
    }
}

text_on_the_wire!(JobRef);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        for text in ["1", "12", "12.0", "12.999999", "9223372036854775807"] {
            assert_eq!(text.parse::<JobRef>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "0", "-1", "+1", "1.", ".1", "1.1000000", "1.2.3", "x", "1 ", "99999999999999999999"] {
            assert!(text.parse::<JobRef>().is_err(), "{text}");
        }
    }
}
