//! A job as it is asked for ([`JobSpec`]) and as it is shown ([`JobView`]), with the words of its lifecycle.
//! It refuses to decide anything about a job.

mod shown;

pub use shown::{JobView, TaskCounts, UsageView};

use crate::amount::{Bytes, Priority};
use crate::error::Error;
use crate::ids::{JobRef, MAX_TASKS, TaskIndex};
use crate::signal::Signal;
use crate::text::OsText;
use crate::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The longest command line, all words with their ends, in bytes.
pub const MAX_COMMAND_BYTES: usize = 128 * 1024;
/// The longest environment, all entries with their ends, in bytes: what the kernel takes on its default stack limit.
pub const MAX_ENVIRONMENT_BYTES: usize = 2 * 1024 * 1024;
/// The most dependencies that one job may name.
pub const MAX_DEPENDENCIES: usize = 1_000;
/// The most retries that one job may ask for.
pub const MAX_RETRIES: u32 = 1_000;
/// The longest path that the kernel takes, in bytes.
pub const MAX_PATH_BYTES: usize = 4_096;
/// The longest name, comment or key, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// Where a job is in its life. Terminal states never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    /// See [`FailureKind::Lost`].
    Lost,
    /// See [`FailureKind::DependencyFailed`].
    Dependency,
    /// A validate or compile command, or the making of the process.
    Stage,
    /// The disk or the store.
    Store,
}

/// Why a job did not complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Strings on the wire, values inside.
macro_rules! text_on_the_wire {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
text_on_the_wire!(ArraySpec, RetryOn, Backoff);

/// Where a job's standard input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// `/dev/null`.
    #[default]
    Null,
    /// A FIFO named `stdin` in the job's directory, which the submitter writes into.
    Fifo,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What someone asks to be run. Made by [`JobSpec::checked`] or from JSON, and valid from then on.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "RawSpec")]
pub struct JobSpec {
    /// The program and its arguments; at least one word.
    pub command: Vec<OsText>,
    /// For people; the program's base name if absent.
    #[serde(skip_serializing_if = "is_default")]
    pub name: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "is_default")]
    pub comment: Option<String>,
    /// 0 to 100.
    #[serde(skip_serializing_if = "is_default")]
    pub priority: Priority,
    /// Cpus; `None` is 1.
    #[serde(skip_serializing_if = "is_default")]
    pub cpus: Option<u32>,
    /// Memory; `None` is neither counted nor limited.
    #[serde(skip_serializing_if = "is_default")]
    pub mem_bytes: Option<Bytes>,
    /// How long the command may run.
    #[serde(skip_serializing_if = "is_default")]
    pub time_limit_ms: Option<Millis>,
    /// Not before this.
    #[serde(skip_serializing_if = "is_default")]
    pub begin: Option<Timestamp>,
    /// Many tasks instead of one.
    #[serde(skip_serializing_if = "is_default")]
    pub array: Option<ArraySpec>,
    /// After these have ended, however.
    #[serde(skip_serializing_if = "is_default")]
    pub after: Vec<JobRef>,
    /// After these have completed.
    #[serde(skip_serializing_if = "is_default")]
    pub after_ok: Vec<JobRef>,
    /// After these have ended in any other way.
    #[serde(skip_serializing_if = "is_default")]
    pub after_fail: Vec<JobRef>,
    /// After these have started.
    #[serde(skip_serializing_if = "is_default")]
    pub after_start: Vec<JobRef>,
    /// One of the dependencies is enough.
    #[serde(skip_serializing_if = "is_default")]
    pub any: bool,
    /// How many further attempts.
    #[serde(skip_serializing_if = "is_default")]
    pub retries: u32,
    /// After what; empty is any exit code but 0, any signal, and out of memory.
    #[serde(skip_serializing_if = "is_default")]
    pub retry_on: Vec<RetryOn>,
    /// The wait between attempts.
    #[serde(skip_serializing_if = "is_default")]
    pub backoff: Backoff,
    /// The same key from the same user is the same job.
    #[serde(skip_serializing_if = "is_default")]
    pub key: Option<String>,
    /// Wait until released.
    #[serde(skip_serializing_if = "is_default")]
    pub hold: bool,
    /// A shell command that must succeed before the job is queued.
    #[serde(skip_serializing_if = "is_default")]
    pub validate: Option<String>,
    /// A shell command that prepares the job before it is queued.
    #[serde(skip_serializing_if = "is_default")]
    pub compile: Option<String>,
    /// Where to run, if not where it was submitted.
    #[serde(skip_serializing_if = "is_default")]
    pub chdir: Option<OsText>,
    /// What asks it to end, at its time limit and when it is cancelled; `None` is TERM.
    #[serde(skip_serializing_if = "is_default")]
    pub signal: Option<Signal>,
    /// How long it has after that before it is killed; `None` is ten seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub grace_ms: Option<Millis>,
    /// Variables that it has besides those of where it was submitted, or instead of them.
    #[serde(skip_serializing_if = "is_default")]
    pub env: BTreeMap<String, OsText>,
    /// Of those of where it was submitted it has only [`CLEAN_ENV`].
    #[serde(skip_serializing_if = "is_default")]
    pub clean_env: bool,
    /// Where standard input comes from.
    #[serde(skip_serializing_if = "is_default")]
    pub stdin: Stdin,
}

/// The longest time between asking a job to end and killing it.
pub const MAX_GRACE: Millis = Millis(24 * 60 * 60 * 1000);

/// That time for those that do not say.
pub const DEFAULT_GRACE: Millis = Millis(10_000);

/// The variables that are left of a clean environment.
pub const CLEAN_ENV: [&str; 6] = ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "USER"];

/// The variables by which a job knows itself; nobody else sets them.
pub const OWN_ENV: [&str; 5] = ["QRM_JOB_ID", "QRM_ATTEMPT", "QRM_ARRAY_INDEX", "QRM_JOB_DIR", "QRM_SOCKET"];

/// The JSON of a job: the keys of a [`JobSpec`], and the options' names with the texts that people type.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a job, which is an object with a command")]
struct RawSpec {
    command: Vec<OsText>,
    name: Option<String>,
    comment: Option<String>,
    #[serde(default)]
    priority: WordOrNumber,
    cpus: Option<u32>,
    mem: Option<String>,
    mem_bytes: Option<u64>,
    time: Option<String>,
    time_limit_ms: Option<u64>,
    begin: Option<Timestamp>,
    array: Option<ArraySpec>,
    #[serde(default)]
    after: Vec<JobRef>,
    #[serde(default)]
    after_ok: Vec<JobRef>,
    #[serde(default)]
    after_fail: Vec<JobRef>,
    #[serde(default)]
    after_start: Vec<JobRef>,
    #[serde(default)]
    any: bool,
    #[serde(default)]
    retries: u32,
    #[serde(default)]
    retry_on: Vec<RetryOn>,
    #[serde(default)]
    backoff: Backoff,
    key: Option<String>,
    #[serde(default)]
    hold: bool,
    validate: Option<String>,
    compile: Option<String>,
    chdir: Option<OsText>,
    signal: Option<Signal>,
    grace: Option<String>,
    grace_ms: Option<u64>,
    #[serde(default)]
    env: BTreeMap<String, OsText>,
    #[serde(default)]
    clean_env: bool,
    #[serde(default)]
    stdin: Stdin,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WordOrNumber {
    Number(u64),
    Word(String),
}

impl Default for WordOrNumber {
    fn default() -> Self {
        Self::Number(Priority::NORMAL.into())
    }
}

/// The names that a job in JSON may use, for "did you mean".
pub const SPEC_KEYS: &[&str] = &[
    "command",
    "name",
    "comment",
    "priority",
    "cpus",
    "mem",
    "mem_bytes",
    "time",
    "time_limit_ms",
    "begin",
    "array",
    "after",
    "after_ok",
    "after_fail",
    "after_start",
    "any",
    "retries",
    "retry_on",
    "backoff",
    "key",
    "hold",
    "validate",
    "compile",
    "chdir",
    "signal",
    "grace",
    "grace_ms",
    "env",
    "clean_env",
    "stdin",
];

impl TryFrom<RawSpec> for JobSpec {
    type Error = String;

    fn try_from(raw: RawSpec) -> Result<Self, String> {
        let both = |a: &str, b: &str| format!("'{a}' and '{b}' say the same thing; give one of them");
        let mem_bytes = match (raw.mem, raw.mem_bytes) {
            (Some(_), Some(_)) => return Err(both("mem", "mem_bytes")),
            (Some(text), None) => Some(text.parse().map_err(|e| format!("mem: {e}"))?),
            (None, bytes) => bytes.map(Bytes),
        };
        let time_limit_ms = match (raw.time, raw.time_limit_ms) {
            (Some(_), Some(_)) => return Err(both("time", "time_limit_ms")),
            (Some(text), None) => Some(text.parse().map_err(|e| format!("time: {e}"))?),
            (None, ms) => ms.map(Millis),
        };
        let grace_ms = match (raw.grace, raw.grace_ms) {
            (Some(_), Some(_)) => return Err(both("grace", "grace_ms")),
            (Some(text), None) => Some(text.parse().map_err(|e| format!("grace: {e}"))?),
            (None, ms) => ms.map(Millis),
        };
        let priority = match raw.priority {
            WordOrNumber::Number(n) => Priority::try_from(n),
            WordOrNumber::Word(word) => word.parse(),
        };
        let spec = Self {
            command: raw.command,
            name: raw.name,
            comment: raw.comment,
            priority: priority.map_err(|e| e.to_string())?,
            cpus: raw.cpus,
            mem_bytes,
            time_limit_ms,
            begin: raw.begin,
            array: raw.array,
            after: raw.after,
            after_ok: raw.after_ok,
            after_fail: raw.after_fail,
            after_start: raw.after_start,
            any: raw.any,
            retries: raw.retries,
            retry_on: raw.retry_on,
            backoff: raw.backoff,
            key: raw.key,
            hold: raw.hold,
            validate: raw.validate,
            compile: raw.compile,
            chdir: raw.chdir,
            signal: raw.signal,
            grace_ms,
            env: raw.env,
            clean_env: raw.clean_env,
            stdin: raw.stdin,
        };
        spec.checked().map_err(|e| e.message)
    }
}

impl JobSpec {
    /// The name that people see.
    #[must_use]
    pub fn display_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let program = self.command.first().map(OsText::lossy).unwrap_or_default();
            program.rsplit('/').next().unwrap_or_default().chars().take(MAX_NAME_BYTES / 4).collect()
        })
    }

    /// The job, if everything in it can be meant.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` that names the part, or `RESOURCE_EXHAUSTED` that names the bound.
    pub fn checked(mut self) -> Result<Self, Error> {
        // Said twice is said once, which also bounds the list.
        self.retry_on.sort_unstable();
        self.retry_on.dedup();
        if self.command.first().is_none_or(|program| program.as_bytes().is_empty()) {
            return Err(
                Error::invalid("a job needs a command").hint("write it after --, as in: qrm submit -- sleep 10")
            );
        }
        let bound = |what: &str, is: usize, most: usize| {
            let message = format!("{what} is {is} long; the bound is {most}");
            if is > most { Err(Error::new(crate::error::Code::ResourceExhausted, message)) } else { Ok(()) }
        };
        bound("the command line", self.command.iter().map(|w| w.as_bytes().len() + 1).sum(), MAX_COMMAND_BYTES)?;
        for (what, text) in [("the validate command", &self.validate), ("the compile command", &self.compile)] {
            let Some(text) = text else { continue };
            bound(what, text.len(), MAX_COMMAND_BYTES)?;
            if text.is_empty() || text.contains('\0') {
                return Err(Error::invalid(format!("{what} is empty or holds a NUL byte")));
            }
        }
        for (what, text) in [("name", &self.name), ("comment", &self.comment), ("key", &self.key)] {
            let Some(text) = text else { continue };
            bound(&format!("the {what}"), text.len(), MAX_NAME_BYTES)?;
            if text.is_empty() || text.chars().any(char::is_control) {
                return Err(Error::invalid(format!("the {what} is empty or holds control characters")));
            }
        }
        let dependencies = self.after.len() + self.after_ok.len() + self.after_fail.len() + self.after_start.len();
        bound("the list of dependencies", dependencies, MAX_DEPENDENCIES)?;
        bound("the number of retries", self.retries as usize, MAX_RETRIES as usize)?;
        if self.any && dependencies == 0 {
            return Err(Error::invalid("--any without a dependency")
                .hint("add --after, --after-ok, --after-fail or --after-start"));
        }
        if self.retries == 0 && !self.retry_on.is_empty() {
            return Err(Error::invalid("--retry-on without --retries").hint("add --retries N"));
        }
        if self.time_limit_ms.is_some_and(|t| t.0 == 0 || t > crate::time::MAX_DURATION) {
            return Err(Error::invalid("a time limit is at least one millisecond and at most a hundred years"));
        }
        if self.mem_bytes.is_some_and(|m| i64::try_from(m.0).is_err()) {
            return Err(Error::invalid("that is more memory than any machine has"));
        }
        if self.chdir.as_ref().is_some_and(|dir| !dir.as_bytes().starts_with(b"/")) {
            return Err(Error::invalid("chdir is not an absolute path"));
        }
        bound("the path of chdir", self.chdir.as_ref().map_or(0, |dir| dir.as_bytes().len()), MAX_PATH_BYTES)?;
        if self.grace_ms.is_some_and(|grace| grace > MAX_GRACE) {
            return Err(Error::invalid(format!("a grace is at most {MAX_GRACE}")));
        }
        if let Some(name) = self.env.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            return Err(Error::invalid(format!("'{}' can not be the name of a variable", name.replace('\0', "\\0"))));
        }
        if let Some(name) = self.env.keys().find(|name| OWN_ENV.contains(&name.as_str())) {
            return Err(Error::invalid(format!("{name} can not be set: it is what qrm tells a job of itself")));
        }
        if self.array.is_some() && self.stdin == Stdin::Fifo {
            return Err(Error::invalid("the tasks of an array can not share one standard input"));
        }
        Ok(self)
    }
}

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

    #[test]
    fn a_job_takes_options_as_people_write_them() {
        let spec: JobSpec = serde_json::from_str(
            r#"{"command":["true"],"mem":"1G","time":"90s","priority":"high","after_ok":["3.1"]}"#,
        )
        .unwrap();
        assert_eq!(spec.mem_bytes, Some(Bytes(1 << 30)));
        assert_eq!(spec.time_limit_ms, Some(Millis(90_000)));
        assert_eq!(spec.priority.get(), 75);
        let wire = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<JobSpec>(&wire).unwrap(), spec);
    }

    #[test]
    fn a_job_that_can_not_be_meant_is_refused_by_name() {
        for (json, says) in [
            (r#"{"command":[]}"#, "needs a command"),
            (r#"{"command":["true"],"tiem":"90s"}"#, "unknown field `tiem`"),
            (r#"{"command":["true"],"time":"90s","time_limit_ms":1}"#, "say the same thing"),
            (r#"{"command":["true"],"time_limit_ms":0}"#, "time limit"),
            (r#"{"command":["true"],"name":"a\u001b[31m"}"#, "control characters"),
            (r#"{"command":["true"],"any":true}"#, "without a dependency"),
            (r#"{"command":["true"],"priority":101}"#, "is not a priority"),
            (r#"{"command":["a\u0000b"]}"#, "NUL"),
            (r#"{"command":["true"],"cpus":-1}"#, "expected u32"),
        ] {
            let error = serde_json::from_str::<JobSpec>(json).unwrap_err().to_string();
            assert!(error.contains(says), "{json}: {error}");
        }
    }
}
