//! The words of a job's lifecycle, and what arrays and retries are. A job as it is asked for is a [`JobSpec`], as it is
//! shown a [`JobView`]. It refuses to decide anything about a job.

mod change;
mod files;
mod limits;
mod shown;
pub(crate) mod spec;
mod wishes;

pub use change::JobChange;
pub use files::{Expansion, Stdin};
pub use limits::{Enforcement, How, MAX_PIDS};
pub use shown::{JobView, Progress, TaskCounts, UsageView};
pub use spec::*;
pub use wishes::{BadOfferId, DependsOn, MAX_VARIANTS, Offer, OfferId, OnConflict, Variant};

use crate::ids::{MAX_TASKS, TaskIndex};
use crate::time::Millis;
use crate::wire::text_on_the_wire;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Where a job is in its life. Terminal states never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Accepted; its validate or compile command waits to run.
    Pending,
    /// Its validate command runs.
    Validating,
    /// Its compile command runs.
    Compiling,
    /// Waits for its turn.
    Queued,
    /// Holds its grant; its process is being made.
    Allocating,
    /// Its command runs.
    Executing,
    /// Its command has ended; what is left of it is collected.
    Completing,
    /// Ended with exit code 0.
    Completed,
    /// Ended badly.
    Failed,
    /// Ended because someone wanted that, or because it could never run.
    Cancelled,
    /// Ended by a time limit.
    Timeout,
}

impl JobState {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 11] = [
        Self::Pending,
        Self::Validating,
        Self::Compiling,
        Self::Queued,
        Self::Allocating,
        Self::Executing,
        Self::Completing,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Timeout,
    ];

    /// The word on the wire, in the store and in filters.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Validating => "validating",
            Self::Compiling => "compiling",
            Self::Queued => "queued",
            Self::Allocating => "allocating",
            Self::Executing => "executing",
            Self::Completing => "completing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Timeout => "timeout",
        }
    }

    /// The state of a word.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.word() == word)
    }

    /// Nothing follows it.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled | Self::Timeout)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Which step of a job failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum FailureKind {
    /// The validate command said no.
    ValidationError,
    /// The compile command failed.
    CompileError,
    /// The job had its turn, and its process could not be made.
    AllocationError,
    /// The command ended badly.
    ExecuteError,
    /// The machine could not keep what it had to.
    PersistError,
    /// A time limit.
    Timeout,
    /// A job that it waited for ended in a way that this one can not follow.
    DependencyFailed,
    /// Its supervisor or the machine died, and nobody knows how it ended.
    Lost,
}

/// What the failure came from; the stable words of `failure.cause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FailureCause {
    /// An exit code other than 0.
    Exit,
    /// A signal.
    Signal,
    /// Out of memory.
    Oom,
    /// A time limit.
    Timeout,
    /// Its supervisor or the machine died, and nobody knows how it ended.
    Lost,
    /// A job that it waited for ended in a way that this one can not follow.
    Dependency,
    /// A validate or compile command, or the making of the process.
    Stage,
    /// The disk or the store.
    Store,
    /// It had more than it may have of something else than memory and time.
    Limit,
    /// It made room for another job.
    Preempted,
}

/// Why a job did not complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Failure {
    /// Which step.
    pub kind: FailureKind,
    /// From what.
    pub cause: FailureCause,
    /// For people.
    pub message: String,
}

/// The tasks of an array: `first-last[:step][%width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArraySpec {
    /// The first index.
    pub first: TaskIndex,
    /// The last index, reached by steps from the first.
    pub last: TaskIndex,
    /// The distance between indices, at least 1.
    pub step: u32,
    /// How many tasks may run at once; `None` is as many as fit.
    pub width: Option<u32>,
}

impl ArraySpec {
    /// How many tasks there are, at least 1.
    #[must_use]
    pub fn count(&self) -> u32 {
        (self.last - self.first) / self.step + 1
    }

    /// Whether there is a task with this index.
    #[must_use]
    pub fn contains(&self, task: TaskIndex) -> bool {
        (self.first..=self.last).contains(&task) && (task - self.first).is_multiple_of(self.step)
    }
}

/// The text is not an array.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an array; write 0-99, 0-99:2 or 0-99%8 with indices below {MAX_TASKS}")]
pub struct BadArray(String);

impl FromStr for ArraySpec {
    type Err = BadArray;

    fn from_str(text: &str) -> Result<Self, BadArray> {
        let bad = || BadArray(text.to_owned());
        let number = |part: &str| -> Result<u32, BadArray> {
            let plain = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            if plain { part.parse().map_err(|_| bad()) } else { Err(bad()) }
        };
        let (range, width) = match text.split_once('%') {
            None => (text, None),
            Some((range, width)) => (range, Some(number(width)?)),
        };
        let (range, step) = match range.split_once(':') {
            None => (range, 1),
            Some((range, step)) => (range, number(step)?),
        };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= MAX_TASKS || step == 0 || width == Some(0) {
            return Err(bad());
        }
        Ok(Self { first, last: last - (last - first) % step, step, width })
    }
}

impl fmt::Display for ArraySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)?;
        if self.step > 1 {
            write!(f, ":{}", self.step)?;
        }
        self.width.map_or(Ok(()), |width| write!(f, "%{width}"))
    }
}

/// One thing after which a job is run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetryOn {
    /// This exit code.
    Code(i32),
    /// Out of memory.
    Oom,
    /// Nobody knows how it ended.
    Lost,
    /// It had to make room.
    Preempted,
}

/// The text does not say when to retry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a reason to retry; write exit codes (1 to 255), oom, lost or preempted")]
pub struct BadRetryOn(String);

impl FromStr for RetryOn {
    type Err = BadRetryOn;
    fn from_str(text: &str) -> Result<Self, BadRetryOn> {
        match text {
            "oom" => Ok(Self::Oom),
            "lost" => Ok(Self::Lost),
            "preempted" => Ok(Self::Preempted),
            code => {
                let code = code.parse().ok().filter(|c| (1..=255).contains(c));
                code.map(Self::Code).ok_or_else(|| BadRetryOn(text.to_owned()))
            }
        }
    }
}

impl fmt::Display for RetryOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => code.fmt(f),
            Self::Oom => f.write_str("oom"),
            Self::Lost => f.write_str("lost"),
            Self::Preempted => f.write_str("preempted"),
        }
    }
}

/// How long to wait before an attempt: `min` before the second, doubled for each further one, at most `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second attempt.
    pub min: Millis,
    /// At most.
    pub max: Millis,
}

impl Backoff {
    /// The wait after an attempt that was the `attempt`-th, from 1.
    #[must_use]
    pub fn after(&self, attempt: u32) -> Millis {
        let doubled = self.min.0.saturating_mul(1u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX));
        Millis(doubled.min(self.max.0))
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { min: Millis(1_000), max: Millis(60_000) }
    }
}

/// The text is not a backoff.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a backoff; write 1s..1m, or 5s for always the same")]
pub struct BadBackoff(String);

impl FromStr for Backoff {
    type Err = BadBackoff;
    fn from_str(text: &str) -> Result<Self, BadBackoff> {
        let bad = || BadBackoff(text.to_owned());
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let (min, max): (Millis, Millis) = (min.parse().map_err(|_| bad())?, max.parse().map_err(|_| bad())?);
        if min > max { Err(bad()) } else { Ok(Self { min, max }) }
    }
}

impl fmt::Display for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms..{}ms", self.min.0, self.max.0)
    }
}

text_on_the_wire!(ArraySpec, RetryOn, Backoff);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_read_back_as_written_and_end_on_a_step() {
        for (text, shown, count) in
            [("0-9", "0-9", 10), ("0-9:4", "0-8:4", 3), ("5", "5-5", 1), ("0-999999%8", "0-999999%8", 1_000_000)]
        {
            let array: ArraySpec = text.parse().unwrap();
            assert_eq!((array.to_string().as_str(), array.count()), (shown, count), "{text}");
        }
        for text in ["", "-", "3-1", "0-1000000", "0-9:0", "0-9%0", "a-b", "0-9%", "1,2", "0--1", "+1-2"] {
            assert!(text.parse::<ArraySpec>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_backoff_doubles_up_to_its_cap() {
        let backoff: Backoff = "1s..5s".parse().unwrap();
        let waits: Vec<u64> = [1, 2, 3, 4, 200].map(|attempt| backoff.after(attempt).0).to_vec();
        assert_eq!(waits, [1_000, 2_000, 4_000, 5_000, 5_000]);
        assert!("5s..1s".parse::<Backoff>().is_err());
    }
}
