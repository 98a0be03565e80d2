//! A job as it is asked for: [`JobSpec`], and its bounds.
//! It refuses to know the machine and the jobs that there are.

mod check;
mod raw;

use raw::RawSpec;
pub use raw::SPEC_KEYS;
#[cfg(feature = "schema")]
pub(crate) use raw::{PriorityGiven, PtyGiven};
pub(super) use raw::{bytes, millis};

use super::{ArraySpec, Backoff, DependsOn, OnConflict, RetryOn, Stdin, Variant, is_default};
use crate::amount::{Bytes, Priority};
use crate::queue::QueueName;
use crate::signal::Signal;
use crate::terminal::Size;
use crate::text::OsText;
use crate::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The longest command line, all words with their ends, in bytes.
pub const MAX_COMMAND_BYTES: usize = 128 * 1024;
/// The longest environment, all entries with their ends, in bytes: what the kernel takes on its default stack limit.
pub const MAX_ENVIRONMENT_BYTES: usize = 2 * 1024 * 1024;
/// The most dependencies that one job may name.
pub const MAX_DEPENDENCIES: usize = 1_000;
/// The most retries that one job may ask for.
pub const MAX_RETRIES: u32 = 1_000;
/// The most labels of one job.
pub const MAX_LABELS: usize = 64;
/// The most patterns of outputs of one job.
pub const MAX_OUTPUTS: usize = 64;
/// The longest script, in bytes: so that it stays far below the bound of a frame, however it is written in JSON.
pub const MAX_SCRIPT_BYTES: usize = 512 * 1024;
/// The longest path that the kernel takes, in bytes.
pub const MAX_PATH_BYTES: usize = 4_096;
/// The longest name, comment or key, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// What someone asks to be run. Keys that are absent are as they are for a job that asks for nothing.
///
/// Made by [`JobSpec::checked`] or from JSON, and valid from then on.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
    /// The line that it waits in; `None` is `default`.
    #[serde(skip_serializing_if = "is_default")]
    pub queue: Option<QueueName>,
    /// 0 to 100; `None` is what its queue says, else 50.
    #[serde(skip_serializing_if = "is_default")]
    pub priority: Option<Priority>,
    /// Cpus; `None` is what its queue says, else 1.
    #[serde(skip_serializing_if = "is_default")]
    pub cpus: Option<u32>,
    /// Memory; 0 is neither counted nor limited, `None` is what its queue says, else 0.
    #[serde(skip_serializing_if = "is_default")]
    pub mem_bytes: Option<Bytes>,
    /// What it would take instead, in order of preference.
    #[serde(rename = "or", skip_serializing_if = "is_default")]
    pub variants: Vec<Variant>,
    /// It wants the machine for itself: nothing else runs while it does.
    #[serde(skip_serializing_if = "is_default")]
    pub exclusive: bool,
    /// It only fills gaps, and makes room for every other job.
    #[serde(skip_serializing_if = "is_default")]
    pub idle: bool,
    /// It may have to make room for jobs of a higher class.
    #[serde(skip_serializing_if = "is_default")]
    pub preemptible: bool,
    /// What tells it to save its work when it has to make room; `None` is what asks it to end.
    #[serde(skip_serializing_if = "is_default")]
    pub checkpoint_signal: Option<Signal>,
    /// It has not to make room before it has run for so long.
    #[serde(skip_serializing_if = "is_default")]
    pub min_run_ms: Option<Millis>,
    /// What is done when it can not have at once what it asks for; `None` is what its queue says.
    #[serde(skip_serializing_if = "is_default")]
    pub on_conflict: Option<OnConflict>,
    /// Its share of the disks where several want them, 1 to 10000, as 100 is for others; `None`, as 0, is 100.
    #[serde(skip_serializing_if = "is_default")]
    pub io_weight: Option<u32>,
    /// The most files that each of its processes may have open; `None`, as 0, is what its submitter has.
    #[serde(skip_serializing_if = "is_default")]
    pub open_files: Option<u32>,
    /// The most processes and threads at once; `None`, as 0, is what the configuration says.
    #[serde(skip_serializing_if = "is_default")]
    pub pids: Option<u32>,
    /// Room for files in a directory of its own that goes when it is over; `None`, as 0, is no such directory.
    #[serde(skip_serializing_if = "is_default")]
    pub disk_bytes: Option<Bytes>,
    /// How long the command may run; `None`, as 0, is what its queue says, else for ever.
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
    pub after: Vec<DependsOn>,
    /// After these have completed.
    #[serde(skip_serializing_if = "is_default")]
    pub after_ok: Vec<DependsOn>,
    /// After these have ended in any other way.
    #[serde(skip_serializing_if = "is_default")]
    pub after_fail: Vec<DependsOn>,
    /// After these have started.
    #[serde(skip_serializing_if = "is_default")]
    pub after_start: Vec<DependsOn>,
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
    /// Of those of where it was submitted it has only HOME, LANG, LOGNAME, PATH, SHELL and USER.
    #[serde(skip_serializing_if = "is_default")]
    pub clean_env: bool,
    /// Where standard input comes from.
    #[serde(skip_serializing_if = "is_default")]
    pub stdin: Stdin,
    /// Where standard output is appended to, as an [`Expansion`](super::Expansion) reads it; `None` is `stdout` in the
    /// job's directory.
    #[serde(skip_serializing_if = "is_default")]
    pub stdout: Option<OsText>,
    /// The same of standard error.
    #[serde(skip_serializing_if = "is_default")]
    pub stderr: Option<OsText>,
    /// Words for people and filters, by name; an empty one is none.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// What it leaves, as patterns of paths below the directory where it runs: what matches them at its end is listed,
    /// with size and hash, in `meta.json` in its directory.
    #[serde(skip_serializing_if = "is_default")]
    pub output: Vec<String>,
    /// It ends in `timeout` if it has not started so long after it was accepted; `None`, as 0, is never.
    #[serde(skip_serializing_if = "is_default")]
    pub queue_timeout_ms: Option<Millis>,
    /// It is over by then: one that waits fails, one that runs is ended.
    #[serde(skip_serializing_if = "is_default")]
    pub deadline: Option<Timestamp>,
    /// The text of a script. What is run is a copy of it in the job's directory, instead of the command's first word,
    /// so that what happens to its file after the submit changes nothing.
    #[serde(skip_serializing_if = "is_default")]
    pub script: Option<String>,
    /// It has a terminal, which is all three of its streams; how large it is at first. What it shows is its standard
    /// output.
    #[serde(skip_serializing_if = "is_default")]
    pub pty: Option<Size>,
}

/// The longest time between asking a job to end and killing it.
pub const MAX_GRACE: Millis = Millis(24 * 60 * 60 * 1000);

/// That time for those that do not say.
pub const DEFAULT_GRACE: Millis = Millis(10_000);

/// The variables that are left of a clean environment.
pub const CLEAN_ENV: [&str; 6] = ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "USER"];

/// The variables by which a job knows itself; nobody else sets them.
pub const OWN_ENV: [&str; 7] = [
    "QRM_JOB_ID",
    "QRM_ATTEMPT",
    "QRM_ARRAY_INDEX",
    "QRM_JOB_DIR",
    "QRM_SCRATCH_DIR",
    "QRM_CHECKPOINT_DIR",
    "QRM_SOCKET",
];

impl JobSpec {
    /// The name that people see.
    #[must_use]
    pub fn display_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let program = self.command.first().map(OsText::lossy).unwrap_or_default();
            program.rsplit('/').next().unwrap_or_default().chars().take(MAX_NAME_BYTES / 4).collect()
        })
    }
}
