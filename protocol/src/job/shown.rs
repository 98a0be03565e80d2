//! A job as it is shown: the keys of `--json`, stable, additions only.
//! It refuses to know where the values come from.

use super::{ArraySpec, Enforcement, Failure, JobState, OnConflict, Variant};
use crate::amount::{Bytes, Priority};
use crate::explain::OfferView;
use crate::ids::JobRef;
pub use crate::progress::Progress;
use crate::queue::QueueName;
use crate::sample::JobSample;
use crate::terminal::Size;
use crate::text::OsText;
use crate::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// What a job used: so far while its command runs, in all when it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UsageView {
    /// User and system time of all its processes.
    pub cpu_ms: Option<u64>,
    /// The most memory at once: of the whole job where the kernel counts it, else as far as it was seen, and at least that of
    /// its largest process.
    pub peak_memory_bytes: Option<u64>,
    /// Time on GPUs.
    pub gpu_ms: Option<u64>,
    /// What it cost.
    pub cost_credits: Option<u64>,
}

/// How many tasks of an array are where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TaskCounts {
    /// All of them.
    pub total: u32,
    /// Not started.
    pub waiting: u32,
    /// Started and not ended.
    pub running: u32,
    /// Ended with exit code 0.
    pub completed: u32,
    /// Ended in any other way, but for those that were cancelled.
    pub failed: u32,
    /// Cancelled, before or after they started.
    pub cancelled: u32,
}

/// A job or a task as `--json` shows it. Keys are stable; additions only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobView {
    /// `12`, or `12.3`.
    pub id: JobRef,
    /// For people.
    pub name: String,
    /// The submitter's login name, or number if it has none.
    pub user: String,
    /// The line that it waits in.
    pub queue: QueueName,
    /// Where it is in its life.
    pub state: JobState,
    /// From 1; 0 before the first start.
    pub attempt: u32,
    /// 0 to 100.
    pub priority: Priority,
    /// The program and its arguments.
    pub command: Vec<OsText>,
    /// Where it runs.
    pub cwd: OsText,
    /// Whose account it is on.
    pub scope: String,
    /// Words that the submitter put on it.
    pub labels: std::collections::BTreeMap<String, String>,
    /// For people.
    pub comment: Option<String>,
    /// When it was accepted.
    pub submitted_at: Timestamp,
    /// Not before this.
    pub begin_at: Option<Timestamp>,
    /// When its latest attempt was started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What its main process exited with.
    pub exit_code: Option<i32>,
    /// The signal that ended its main process.
    pub signal: Option<i32>,
    /// Why it did not complete.
    pub failure: Option<Failure>,
    /// Why it does not run yet; computed when asked.
    pub waiting_reason: Option<String>,
    /// When it is planned to start: nothing of lower rank delays that.
    pub planned_start: Option<Timestamp>,
    /// What it would take instead, in order of preference.
    #[serde(default, rename = "or")]
    pub variants: Vec<Variant>,
    /// Which of those it has, from 1; nothing if it has what it asked for first.
    #[serde(default)]
    pub variant: Option<u32>,
    /// It wants the machine for itself.
    #[serde(default)]
    pub exclusive: bool,
    /// It only fills gaps.
    #[serde(default)]
    pub idle: bool,
    /// It may have to make room: by its own word and, while it lives, also by its queue's.
    #[serde(default)]
    pub preemptible: bool,
    /// What tells it to save its work, the kernel's number.
    #[serde(default)]
    pub checkpoint_signal: Option<i32>,
    /// It has not to make room before it has run for so long.
    #[serde(default)]
    pub min_run_ms: Option<Millis>,
    /// What is done when it can not have at once what it asks for.
    #[serde(default)]
    pub on_conflict: Option<OnConflict>,
    /// What it can have instead of waiting.
    #[serde(default)]
    pub offers: Vec<OfferView>,
    /// What it holds.
    pub devices: Vec<String>,
    /// Cpus that are counted for it.
    pub cpus: u32,
    /// Memory that is counted for it.
    pub mem_bytes: Option<Bytes>,
    /// The most processes and threads that it may have at once: what it asked for, else what the configuration says.
    #[serde(default)]
    pub pids: Option<u32>,
    /// Room for files in its scratch directory that is counted for it.
    #[serde(default)]
    pub disk_bytes: Option<Bytes>,
    /// The most files that each of its processes may have open, if it asked for that.
    #[serde(default)]
    pub open_files: Option<u32>,
    /// Its share of the disks where several want them, if it asked for one; others have 100.
    #[serde(default)]
    pub io_weight: Option<u32>,
    /// How it is held to these.
    #[serde(default)]
    pub enforcement: Enforcement,
    /// GPU memory that is counted for it.
    pub vram_bytes: Option<Bytes>,
    /// How long its command may run.
    pub time_limit_ms: Option<Millis>,
    /// What asks it to end, the kernel's number: while it lives, and afterwards if it asked for another one than TERM.
    pub stop_signal: Option<i32>,
    /// How long it has after that: while it lives, and afterwards if it asked for that.
    pub grace_ms: Option<Millis>,
    /// How many further attempts it asked for.
    pub retries: u32,
    /// Its indices, for an array.
    pub array: Option<ArraySpec>,
    /// Its tasks, for an array.
    pub tasks: Option<TaskCounts>,
    /// What it waits for: `completion of 12`, `end of 13.4`.
    pub after: Vec<String>,
    /// What it used.
    pub usage: UsageView,
    /// What it uses, while its command runs.
    #[serde(default)]
    pub now: Option<JobSample>,
    /// What it says of how far it is.
    pub progress: Option<Progress>,
    /// It ends in `timeout` if it has not started so long after it was accepted.
    pub queue_timeout_ms: Option<Millis>,
    /// It is over by then.
    pub deadline: Option<Timestamp>,
    /// The patterns of what it leaves.
    #[serde(default)]
    pub output: Vec<String>,
    /// Its own directory: where its output is unless `stdout` and `stderr` say otherwise.
    pub dir: String,
    /// The file that standard output goes to, if that is not `stdout` in `dir`.
    pub stdout: Option<OsText>,
    /// The file that standard error goes to, if that is not `stderr` in `dir`.
    pub stderr: Option<OsText>,
    /// How large its terminal was at first, if it has one.
    #[serde(default)]
    pub pty: Option<Size>,
}
