//! The calls: one type each, with its name, parameters and reply.
//! It refuses to know who answers them and how.

mod daemon;
mod job;
mod queue;
mod stats;

pub use daemon::*;
pub use job::*;
pub use queue::*;
pub use stats::*;

use crate::access::Access;
use crate::event::EventView;
use crate::ids::{JobRef, Seq};
use crate::job::JobView;
use crate::log::{LogSubscribeParams, LogSubscribeReply};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A call of the protocol.
pub trait Method {
    /// As it stands in the frame.
    const NAME: &'static str;
    /// Who may call it.
    const ACCESS: Access;
    /// What is asked.
    type Params: Serialize + DeserializeOwned;
    /// What is answered.
    type Reply: Serialize + DeserializeOwned;
}

macro_rules! methods {
    ($($(#[doc = $doc:literal])* $method:ident = $name:literal $access:ident: $params:ty => $reply:ty;)*) => {
        $($(#[doc = $doc])* #[derive(Debug, Clone, Copy)] pub enum $method {}
        impl Method for $method {
            const NAME: &'static str = $name;
            const ACCESS: Access = Access::$access;
            type Params = $params;
            type Reply = $reply;
        })*
        /// The names of all calls, for "did you mean".
        pub const NAMES: &[&str] = &[$($name),*];
        /// Who may make a call; nothing if there is none of this name.
        #[must_use]
        pub fn access(name: &str) -> Option<Access> {
            match name {
                $($name => Some(Access::$access),)*
                _ => None,
            }
        }
        /// Describes every call.
        #[cfg(feature = "schema")]
        pub(crate) fn describe_all(describe: &mut crate::describe::Describer) {
            $(describe.method::<$params, $reply>($name, Access::$access, &[$($doc),*]);)*
        }
    };
}

methods! {
    /// The handshake. A connection that does not begin with it speaks the daemon's version.
    Hello = "hello" Everyone: HelloParams => HelloReply;
    /// This description of the protocol: an OpenRPC document with every call, its parameters, result and errors as JSON
    /// Schema, and an example of each.
    Discover = "rpc.discover" Everyone: Empty => OpenRpc;
    /// Queues one job.
    JobSubmit = "job.submit" Everyone: SubmitParams => SubmitReply;
    /// Begins a bulk: jobs that appear all at once or not at all. It belongs to its connection.
    BulkBegin = "bulk.begin" Everyone: BulkBeginParams => BulkBeginReply;
    /// Adds a slice to the connection's bulk.
    BulkAdd = "bulk.add" Everyone: BulkAddParams => BulkAddReply;
    /// Makes the connection's bulk real.
    BulkCommit = "bulk.commit" Everyone: Empty => BulkCommitReply;
    /// Lists jobs, newest first, a page at a time.
    JobList = "job.list" Look: ListParams => ListReply;
    /// Everything of one job.
    JobShow = "job.show" Look: JobParams => JobView;
    /// Answers when the job has ended, or the time is up.
    JobWait = "job.wait" Look: WaitParams => WaitReply;
    /// Ends jobs.
    JobCancel = "job.cancel" Control: CancelParams => CancelReply;
    /// Keeps jobs that wait from starting.
    JobHold = "job.hold" Control: TargetParams => ControlReply;
    /// Lets them start.
    JobRelease = "job.release" Control: TargetParams => ControlReply;
    /// Lets all processes of executing jobs stand still; what they were granted stays theirs, their time stands still.
    JobSuspend = "job.suspend" Control: TargetParams => ControlReply;
    /// Lets them go on.
    JobResume = "job.resume" Control: TargetParams => ControlReply;
    /// Sends a signal to all processes of executing jobs.
    JobSignal = "job.signal" Control: SignalParams => ControlReply;
    /// Changes what jobs ask for that have not started.
    JobUpdate = "job.update" Control: UpdateParams => ControlReply;
    /// Queues jobs that have ended once more, as new ones.
    JobRetry = "job.retry" Repeat: TargetParams => RetryReply;
    /// What would become of a submit; nothing is queued.
    JobCheck = "job.check" Everyone: SubmitParams => CheckReply;
    /// What an executing job says of how far it is.
    JobProgress = "job.progress" Control: ProgressParams => Empty;
    /// Looks at the terminal of an executing job, and types on it. With the reply comes a descriptor: a socket of messages
    /// (SOCK_SEQPACKET) that leads to the job without the daemon.
    JobAttach = "job.attach" Inside: AttachParams => Empty;
    /// Runs a command beside that of an executing job: in its groups, as its user, with its environment and directory. With
    /// the reply comes a descriptor, as with `job.attach`; the command ends with the job, and when that socket is closed.
    JobExec = "job.exec" Inside: ExecParams => Empty;
    /// Every cause for which a job does not run, and when it is planned to.
    JobExplain = "job.explain" Look: JobParams => ExplainReply;
    /// When a job would start that is not submitted, and what it would wait for.
    JobWhen = "job.when" Everyone: WhenParams => ExplainReply;
    /// Takes something that a job was offered instead of waiting.
    OfferAccept = "offer.accept" Control: OfferParams => OfferReply;
    /// The queues, by name.
    QueueList = "queue.list" Everyone: Empty => QueueListReply;
    /// Changes a queue, or makes one.
    QueueSet = "queue.set" Admins: QueueSetParams => crate::queue::QueueView;
    /// Lets nothing of a queue start any more.
    QueuePause = "queue.pause" Admins: QueueParams => crate::queue::QueueView;
    /// Lets it go on.
    QueueResume = "queue.resume" Admins: QueueParams => crate::queue::QueueView;
    /// Takes a queue away in which there is no job.
    QueueRemove = "queue.remove" Admins: QueueParams => Empty;
    /// When a job was in which stage.
    JobTrace = "job.trace" Inside: JobParams => TraceReply;
    /// What an executing job uses now, and used during the last minutes; of one that has ended, what it used in all. Samples
    /// are taken while jobs run or somebody looks, and kept in memory.
    JobStats = "job.stats" Look: JobStatsParams => JobStatsReply;
    /// Forgets jobs that have ended, and their output.
    JobCleanup = "job.cleanup" Admins: CleanupParams => CleanupReply;
    /// The events after a number, as notifications `event`, then `event.end` unless they are followed.
    EventSubscribe = "event.subscribe" Look: SubscribeParams => SubscribeReply;
    /// What a job wrote, as notifications `log`, then `log.end`: after all that there is, or, if it is followed, after the
    /// job's end. Of a job that writes to a file of its submitter's choice, that file is named in the refusal.
    LogSubscribe = "log.subscribe" Inside: LogSubscribeParams => LogSubscribeReply;
    /// The machine at a glance.
    Status = "status" Look: Empty => StatusReply;
    /// What of the machine is in use now, by jobs and by all else, and was during the last minutes. To look begins with
    /// sampling if nothing runs, for some seconds.
    HostStats = "host.stats" Look: HostStatsParams => HostStatsReply;
    /// The daemon itself.
    DaemonStatus = "daemon.status" Everyone: Empty => DaemonStatusReply;
    /// Ends the daemon; jobs go on.
    DaemonStop = "daemon.stop" Admins: Empty => Empty;
    /// Has the daemon read its configuration again, or be replaced by the program that is at its place now.
    DaemonReload = "daemon.reload" Admins: ReloadParams => ReloadReply;
    /// The settings that the daemon uses.
    ConfigShow = "config.show" Viewers: Empty => ConfigReply;
    /// What this machine can and can not do for jobs.
    Doctor = "doctor" Everyone: Empty => DoctorReply;
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
