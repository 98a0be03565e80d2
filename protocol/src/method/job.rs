//! What is asked and answered about jobs.
//! It refuses to know who answers and how.

use crate::ids::JobRef;
use crate::job::{JobChange, JobSpec, JobState, JobView};
use crate::progress::Fraction;
use crate::terminal::Size;
use crate::text::OsText;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What a job inherits from where it was submitted. Environments are never shown again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// The working directory, absolute.
    pub cwd: OsText,
    /// The file mode creation mask.
    pub umask: u32,
    /// `NAME=value` entries.
    pub env: Vec<OsText>,
}

/// See [`JobSubmit`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SubmitParams {
    /// Where it was submitted.
    pub context: Context,
    /// What is asked.
    pub job: JobSpec,
}

/// See [`JobSubmit`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SubmitReply {
    /// The job.
    pub id: JobRef,
    /// Its state right after.
    pub state: JobState,
    /// Its key was known: nothing new was queued.
    pub existing: bool,
    /// Its directory.
    pub dir: String,
}

/// See [`BulkBegin`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BulkBeginParams {
    /// Where all of it was submitted.
    pub context: Context,
    /// How many jobs will come.
    pub count: u64,
}

/// See [`BulkBegin`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BulkBeginReply {
    /// The first id that the jobs get; the others follow in order. A later job may wait for an earlier one by it.
    pub first: JobRef,
}

/// See [`BulkAdd`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BulkAddParams {
    /// The next jobs.
    pub jobs: Vec<JobSpec>,
}

/// See [`BulkAdd`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BulkAddReply {
    /// How many are staged by now.
    pub staged: u64,
    /// Jobs of this slice whose key was known: their place in the bulk, from 0, and the job that there is.
    pub existing: Vec<(u64, JobRef)>,
}

/// See [`BulkCommit`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BulkCommitReply {
    /// How many jobs were queued.
    pub count: u64,
}

/// See [`JobList`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ListParams {
    /// Terms of the filter language; all must hold. With none, jobs and the running tasks of arrays are listed.
    #[serde(default)]
    pub filter: Vec<String>,
    /// At most so many, up to 1,000.
    pub limit: Option<u32>,
    /// Only what comes after this one in the list (it is a page's last).
    pub before: Option<JobRef>,
}

/// See [`JobList`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ListReply {
    /// Newest first.
    pub jobs: Vec<JobView>,
    /// There is a next page.
    pub more: bool,
}

/// One job or task.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct JobParams {
    /// Which.
    pub id: JobRef,
}

/// See [`JobWait`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WaitParams {
    /// Which: at least 1, at most 256.
    pub ids: Vec<JobRef>,
    /// Answer when the first of them has ended, not when all have.
    #[serde(default)]
    pub any: bool,
    /// To execute counts as to have ended.
    #[serde(default)]
    pub started: bool,
    /// Answer after this even if they go on.
    pub timeout_ms: Option<u64>,
}

/// How many jobs one call waits for.
pub const MAX_WAIT: usize = 256;

/// See [`JobWait`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WaitReply {
    /// The time was up first.
    pub timed_out: bool,
    /// The jobs as they are then, in the order of `ids`, and only the first ones if all would be too large for a frame;
    /// for `any` those that were awaited and came.
    pub jobs: Vec<JobView>,
}

/// Jobs to do something to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TargetParams {
    /// Ids, tasks, ranges `3-9` and filter terms, as in a list: any of the ids, and all of the terms. A single id for
    /// which it can not be done refuses all; of what a range or filter finds, it is done to those for which it can.
    pub targets: Vec<String>,
}

/// What was done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ControlReply {
    /// For so many it changed something.
    pub changed: u64,
    /// So many were so already.
    pub unchanged: u64,
    /// Each, up to a thousand of them.
    pub jobs: Vec<ControlledJob>,
}

/// One of these.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ControlledJob {
    /// Which.
    pub id: JobRef,
    /// It was not so before.
    pub changed: bool,
}

/// See [`JobCancel`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CancelParams {
    /// Ids, tasks, ranges `3-9` and filter terms, as in a list: any of the ids, and all of the terms. A single id that
    /// there is none of refuses all.
    pub targets: Vec<String>,
}

/// See [`JobCancel`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CancelReply {
    /// Waited, and are cancelled now.
    pub cancelled: u64,
    /// Ran, and are being ended.
    pub stopping: u64,
    /// Had ended before.
    pub ended: u64,
    /// What was done to each, up to a thousand of them.
    pub jobs: Vec<CancelledJob>,
}

/// What a cancel did to one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CancelledJob {
    /// Which.
    pub id: JobRef,
    /// What was done.
    pub did: CancelDid,
}

/// See [`CancelledJob`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CancelDid {
    /// It waited, and is cancelled now.
    Cancelled,
    /// It ran, and was told to end.
    Stopping,
    /// It had ended before.
    Ended,
}

/// See [`JobSignal`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SignalParams {
    /// Ids, tasks, ranges `3-9` and filter terms, as in a list, which must be executing. One that is not refuses all.
    pub targets: Vec<String>,
    /// The kernel's number, 1 to 64.
    pub signal: i32,
}

/// See [`JobUpdate`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UpdateParams {
    /// As in [`TargetParams`].
    pub targets: Vec<String>,
    /// The new values.
    pub change: JobChange,
}

/// See [`JobRetry`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RetryReply {
    /// The new jobs, up to a thousand of them.
    pub jobs: Vec<RetriedJob>,
    /// How many there are.
    pub count: u64,
}

/// One of these.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RetriedJob {
    /// What had ended.
    pub of: JobRef,
    /// The new job.
    pub id: JobRef,
}

/// See [`JobCheck`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CheckReply {
    /// It would start at once.
    pub starts: bool,
    /// Else why it would wait.
    pub waiting_reason: Option<String>,
    /// Its key is known: this is the job that there is, and nothing would be queued.
    pub existing: Option<JobRef>,
    /// The job as it was understood, without its variables.
    pub job: JobSpec,
}

/// See [`JobProgress`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ProgressParams {
    /// Which.
    pub id: JobRef,
    /// How much is done, 0 to 1.
    pub fraction: Fraction,
    /// For people, up to [`crate::progress::MAX_MESSAGE_BYTES`].
    pub message: Option<String>,
}

/// See [`JobTrace`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TraceReply {
    /// W3C Trace Context, 32 hexadecimal digits: that of the submitter's `TRACEPARENT`, else one of its own.
    pub trace_id: String,
    /// The submitter's span.
    pub parent_id: Option<String>,
    /// The stages, by their beginning.
    pub spans: Vec<Span>,
    /// Events of the job are not kept any more; only what its row says is told.
    pub incomplete: bool,
}

/// A stage of a job's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Span {
    /// 16 hexadecimal digits; the one of a run is handed to it in `TRACEPARENT`.
    pub span_id: String,
    /// `validating`, `compiling`, `queued`, `allocating`, `executing`.
    pub stage: JobState,
    /// From 1, where there are attempts.
    pub attempt: Option<u32>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was over, if it is.
    pub ended_at: Option<Timestamp>,
    /// What came of it, if that was not the next stage.
    pub outcome: Option<String>,
}

/// See [`JobAttach`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AttachParams {
    /// Which job or task.
    pub id: JobRef,
}

/// See [`JobExec`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ExecParams {
    /// Which job or task.
    pub id: JobRef,
    /// The program and its arguments; at least one word.
    pub command: Vec<OsText>,
    /// It has a terminal of this size; else the three descriptors that are sent over the socket.
    #[serde(default)]
    pub pty: Option<Size>,
    /// The kind of that terminal, for TERM; the job's own if absent.
    #[serde(default)]
    pub term: Option<String>,
}

/// See [`JobCleanup`]. At least one of the two is given; with both, both must hold.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CleanupParams {
    /// What ended longer ago than this.
    pub older_than_ms: Option<u64>,
    /// Not the last so many that ended.
    pub keep_last: Option<u64>,
    /// Only count them.
    #[serde(default)]
    pub dry_run: bool,
}

/// See [`JobCleanup`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CleanupReply {
    /// So many jobs were forgotten, or would be.
    pub jobs: u64,
    /// Nothing was done.
    pub dry_run: bool,
}
