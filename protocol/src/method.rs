//! The calls: one type each, with its name, parameters and reply.
//! It refuses to know who answers them and how.

use crate::event::EventView;
use crate::ids::{JobRef, Seq};
use crate::job::{JobChange, JobSpec, JobState, JobView};
use crate::log::{LogSubscribeParams, LogSubscribeReply};
use crate::progress::Fraction;
use crate::text::OsText;
use crate::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A call of the protocol.
pub trait Method {
    /// As it stands in the frame.
    const NAME: &'static str;
    /// What is asked.
    type Params: Serialize + DeserializeOwned;
    /// What is answered.
    type Reply: Serialize + DeserializeOwned;
}

macro_rules! methods {
    ($($(#[doc = $doc:literal])* $method:ident = $name:literal: $params:ty => $reply:ty;)*) => {
        $($(#[doc = $doc])* #[derive(Debug, Clone, Copy)] pub enum $method {}
        impl Method for $method {
            const NAME: &'static str = $name;
            type Params = $params;
            type Reply = $reply;
        })*
        /// The names of all calls, for "did you mean".
        pub const NAMES: &[&str] = &[$($name),*];
        /// Describes every call.
        #[cfg(feature = "schema")]
        pub(crate) fn describe_all(describe: &mut crate::describe::Describer) {
            $(describe.method::<$params, $reply>($name, &[$($doc),*]);)*
        }
    };
}

methods! {
    /// The handshake. A connection that does not begin with it speaks the daemon's version.
    Hello = "hello": HelloParams => HelloReply;
    /// This description of the protocol: an OpenRPC document with every call, its parameters, result and errors as JSON
    /// Schema, and an example of each.
    Discover = "rpc.discover": Empty => OpenRpc;
    /// Queues one job.
    JobSubmit = "job.submit": SubmitParams => SubmitReply;
    /// Begins a bulk: jobs that appear all at once or not at all. It belongs to its connection.
    BulkBegin = "bulk.begin": BulkBeginParams => BulkBeginReply;
    /// Adds a slice to the connection's bulk.
    BulkAdd = "bulk.add": BulkAddParams => BulkAddReply;
    /// Makes the connection's bulk real.
    BulkCommit = "bulk.commit": Empty => BulkCommitReply;
    /// Lists jobs, newest first, a page at a time.
    JobList = "job.list": ListParams => ListReply;
    /// Everything of one job.
    JobShow = "job.show": JobParams => JobView;
    /// Answers when the job has ended, or the time is up.
    JobWait = "job.wait": WaitParams => WaitReply;
    /// Ends jobs.
    JobCancel = "job.cancel": CancelParams => CancelReply;
    /// Keeps jobs that wait from starting.
    JobHold = "job.hold": TargetParams => ControlReply;
    /// Lets them start.
    JobRelease = "job.release": TargetParams => ControlReply;
    /// Lets all processes of executing jobs stand still; what they were granted stays theirs, their time stands still.
    JobSuspend = "job.suspend": TargetParams => ControlReply;
    /// Lets them go on.
    JobResume = "job.resume": TargetParams => ControlReply;
    /// Sends a signal to all processes of executing jobs.
    JobSignal = "job.signal": SignalParams => ControlReply;
    /// Changes what jobs ask for that have not started.
    JobUpdate = "job.update": UpdateParams => ControlReply;
    /// Queues jobs that have ended once more, as new ones.
    JobRetry = "job.retry": TargetParams => RetryReply;
    /// What would become of a submit; nothing is queued.
    JobCheck = "job.check": SubmitParams => CheckReply;
    /// What an executing job says of how far it is.
    JobProgress = "job.progress": ProgressParams => Empty;
    /// When a job was in which stage.
    JobTrace = "job.trace": JobParams => TraceReply;
    /// Forgets jobs that have ended, and their output.
    JobCleanup = "job.cleanup": CleanupParams => CleanupReply;
    /// The events after a number, as notifications `event`, then `event.end` unless they are followed.
    EventSubscribe = "event.subscribe": SubscribeParams => SubscribeReply;
    /// What a job wrote, as notifications `log`, then `log.end`: after all that there is, or, if it is followed, after the
    /// job's end. Of a job that writes to a file of its submitter's choice, that file is named in the refusal.
    LogSubscribe = "log.subscribe": LogSubscribeParams => LogSubscribeReply;
    /// The machine at a glance.
    Status = "status": Empty => StatusReply;
    /// The daemon itself.
    DaemonStatus = "daemon.status": Empty => DaemonStatusReply;
    /// Ends the daemon; jobs go on.
    DaemonStop = "daemon.stop": Empty => Empty;
    /// Has the daemon read its configuration again, or be replaced by the program that is at its place now.
    DaemonReload = "daemon.reload": ReloadParams => ReloadReply;
    /// The settings that the daemon uses.
    ConfigShow = "config.show": Empty => ConfigReply;
    /// What this machine can and can not do for jobs.
    Doctor = "doctor": Empty => DoctorReply;
}

/// Nothing to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// See [`Discover`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OpenRpc {
    /// The version of OpenRPC, <https://spec.open-rpc.org>.
    pub openrpc: String,
    /// What is described, and its version.
    pub info: serde_json::Value,
    /// Every call.
    pub methods: Vec<serde_json::Value>,
    /// The schemas and errors that they refer to.
    #[serde(default)]
    pub components: serde_json::Value,
}

/// See [`Hello`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HelloParams {
    /// The version that the client speaks, [`crate::PROTOCOL_VERSION`].
    pub protocol: u32,
}

/// See [`Hello`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HelloReply {
    /// The version that the daemon speaks, which is the same.
    pub protocol: u32,
    /// The daemon's release.
    pub version: String,
}

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

/// See [`EventSubscribe`].
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SubscribeParams {
    /// Only events after this one; from the oldest that is kept, if it is 0; from now on, if absent.
    pub after: Option<Seq>,
    /// Only events of this job (and its tasks).
    pub job: Option<JobRef>,
    /// Go on with what happens from now on.
    #[serde(default)]
    pub follow: bool,
}

/// See [`EventSubscribe`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SubscribeReply {
    /// The number after which the events come.
    pub after: Seq,
    /// The newest event that there is.
    pub last: Seq,
    /// Events between the asked number and the oldest that is kept, which can not be given any more.
    pub lagged: u64,
}

/// The notification of one event.
pub const EVENT: &str = "event";
/// The notification that there are no more.
pub const EVENT_END: &str = "event.end";

/// The parameters of [`EVENT`].
pub type EventParams = EventView;

/// What the machine offers to jobs, and what of it is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MachineView {
    /// Cpus offered.
    pub cpus: u32,
    /// Cpus granted.
    pub cpus_used: u32,
    /// Memory offered.
    pub mem_bytes: u64,
    /// Memory granted.
    pub mem_used_bytes: u64,
}

/// See [`Status`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StatusReply {
    /// The machine.
    pub machine: MachineView,
    /// Jobs that ever were, by state.
    pub jobs: BTreeMap<JobState, u64>,
    /// The first that run.
    pub running: Vec<JobView>,
    /// The first that wait, in the order of their turn.
    pub waiting: Vec<JobView>,
    /// The last that ended.
    pub ended: Vec<JobView>,
    /// The store can not be written, and why; mutations are refused.
    pub degraded: Option<String>,
}

/// See [`DaemonStatus`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DaemonStatusReply {
    /// Its process.
    pub pid: u32,
    /// Its release.
    pub version: String,
    /// `user` or `system`.
    pub mode: String,
    /// How long it has been up.
    pub uptime_ms: u64,
    /// Where it listens.
    pub socket: String,
    /// Where it keeps everything.
    pub state_dir: String,
    /// What the store takes on disk.
    pub store_bytes: u64,
    /// The number of the newest event.
    pub last_seq: Seq,
    /// `full` or `relaxed`.
    pub durability: String,
    /// Jobs that ever were, by state.
    pub jobs: BTreeMap<JobState, u64>,
    /// The store can not be written, and why; mutations are refused.
    pub degraded: Option<String>,
}

/// See [`DaemonReload`].
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReloadParams {
    /// Be replaced: the connection is closed when that happens, and the next one is to the new program.
    #[serde(default)]
    pub exec: bool,
}

/// See [`DaemonReload`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReloadReply {
    /// The settings that are others than before.
    pub changed: Vec<ChangedSetting>,
    /// The release of the program that replaces this one, if it is to be replaced.
    pub version: Option<String>,
}

/// A setting that is another than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChangedSetting {
    /// `section.key`.
    pub key: String,
    /// As it was.
    pub from: String,
    /// As it is configured now.
    pub to: String,
    /// It is used now; else a restart is needed for that.
    pub applied: bool,
}

/// See [`ConfigShow`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigReply {
    /// The configuration file, which need not be there.
    pub file: Option<String>,
    /// Every setting.
    pub settings: Vec<SettingView>,
}

/// A setting, with where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SettingView {
    /// `section.key`.
    pub key: String,
    /// As it is used.
    pub value: String,
    /// As it is built in.
    pub default: String,
    /// `built in`, `FILE:LINE`, the name of a variable, or `--set`.
    pub origin: String,
    /// What it is for.
    pub means: String,
    /// A reload applies it; if not, a restart does.
    pub at_reload: bool,
}

/// Something in a configuration that can not be meant; a line of what `qrmd --check --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Mistake {
    /// What, with file, line and column if it is in the file.
    pub message: String,
    /// What would work.
    pub hint: Option<String>,
    /// From 1.
    pub line: Option<u64>,
    /// From 1, in characters.
    pub column: Option<u64>,
    /// The line.
    pub text: Option<String>,
}

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// As it should be.
    Ok,
    /// Works, with less than one might expect.
    Limited,
    /// Does not work.
    Broken,
}

/// One thing that `qrm doctor` looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Finding {
    /// What was looked at, a word or two.
    pub topic: String,
    /// How it is.
    pub health: Health,
    /// What was found.
    pub found: String,
    /// What that means for jobs.
    pub means: String,
    /// What would mend it.
    pub mend: Option<String>,
}

/// See [`Doctor`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DoctorReply {
    /// What the daemon found.
    pub findings: Vec<Finding>,
}
