//! The calls: one type each, with its name, parameters and reply.
//! It refuses to know who answers them and how.

mod daemon;
mod job;

pub use daemon::*;
pub use job::*;

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
    /// Looks at the terminal of an executing job, and types on it. With the reply comes a descriptor: a socket of messages
    /// (SOCK_SEQPACKET) that leads to the job without the daemon.
    JobAttach = "job.attach": AttachParams => Empty;
    /// Runs a command beside that of an executing job: in its groups, as its user, with its environment and directory. With
    /// the reply comes a descriptor, as with `job.attach`; the command ends with the job, and when that socket is closed.
    JobExec = "job.exec": ExecParams => Empty;
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
