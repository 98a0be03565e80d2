//! Why the core says no, and what would work. A refusal changes nothing.
//! It refuses to know about sockets and exit codes; those follow from the protocol's code.

use qrm_protocol::amount::Bytes;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::OfferId;
use qrm_protocol::queue::{MAX_QUEUES, QueueName};
use qrm_protocol::time::{Millis, Timestamp};

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such job, or it is over and forgotten.
    #[error("there is no job {0}")]
    NoSuchJob(JobRef),
    /// It belongs to someone else.
    #[error("job {0} belongs to another user")]
    NotYours(JobRef),
    /// Its output and environment are its owner's.
    #[error("job {0} belongs to another user, and what it was given and wrote is theirs alone")]
    NotInside(JobRef),
    /// It would run as somebody else, with its owner's environment.
    #[error("job {0} belongs to another user")]
    NotToRepeat(JobRef),
    /// It concerns everybody.
    #[error("{0} concerns all users of this daemon, and is not for you")]
    NotThatRole(String),
    /// The bound of one user's live jobs.
    #[error("you would have more than {0} jobs alive at once, which is the most for one user here")]
    TooManyJobs(u64),
    /// It has no process now.
    #[error("job {0} is not executing")]
    NotExecuting(JobRef),
    /// A process of it runs.
    #[error("job {0} has started")]
    HasStarted(JobRef),
    /// It is on its way to its end.
    #[error("job {0} is being ended")]
    IsEnding(JobRef),
    /// A task can not have this for itself.
    #[error("{0} is a task, and only its whole array can be held, released or updated")]
    OnlyWhole(JobRef),
    /// It has no tasks.
    #[error("job {0} is no array, and has no width")]
    NoArray(JobRef),
    /// It says how long it runs before it makes room, and never has to.
    #[error("--min-run is for jobs that may have to make room, and this one never has to")]
    NeverMakesRoom,
    /// It has no tasks that each could wait for another.
    #[error("{on}.* means the task with the same index, and job {job} is no array")]
    NoEach {
        /// Which.
        job: JobRef,
        /// For what it is to wait.
        on: JobId,
    },
    /// That time is over.
    #[error("that deadline has passed")]
    Past,
    /// Its deadline is before its begin.
    #[error("it could never run: its deadline comes before it may begin")]
    NoTime,
    /// More cpus than there will ever be.
    #[error("{asked} cpus are asked for, and this machine offers {most}")]
    TooManyCpus {
        /// Asked for.
        asked: u32,
        /// Offered.
        most: u32,
    },
    /// More memory than there will ever be.
    #[error("{asked} of memory are asked for, and this machine offers {most}")]
    TooMuchMemory {
        /// Asked for.
        asked: Bytes,
        /// Offered.
        most: Bytes,
    },
    /// More room for files than there will ever be.
    #[error("{asked} of disk are asked for, and this machine offers {most}")]
    TooMuchDisk {
        /// Asked for.
        asked: Bytes,
        /// Offered.
        most: Bytes,
    },
    /// It has no tasks to wait for.
    #[error("job {0} is no array, and has no tasks to wait for")]
    NoTasks(JobId),
    /// There is no such queue.
    #[error("there is no queue '{name}'")]
    NoSuchQueue {
        /// Asked for.
        name: QueueName,
        /// The nearest that there is.
        near: Option<String>,
        /// Some that there are.
        names: Vec<String>,
    },
    /// The configuration says what it is.
    #[error("queue {0} is set by the configuration")]
    QueueConfigured(QueueName),
    /// Jobs that name no queue are in it.
    #[error("the queue default can not be removed: jobs that name none are in it")]
    DefaultQueue,
    /// Jobs are in it.
    #[error("{jobs} job{} in queue {name}", if *.jobs == 1 { " is" } else { "s are" })]
    QueueInUse {
        /// Which.
        name: QueueName,
        /// How many.
        jobs: u64,
    },
    /// The bound of queues.
    #[error("there are {MAX_QUEUES} queues, which is the most")]
    TooManyQueues,
    /// What it would be can not be meant.
    #[error("{0}")]
    BadQueue(String),
    /// Its queue does not allow as much time.
    #[error("{}, and queue {queue} allows {most}", time_asked(*.asked))]
    TooLong {
        /// Which.
        queue: QueueName,
        /// Asked for; 0 is for ever.
        asked: Millis,
        /// Allowed.
        most: Millis,
    },
    /// Jobs would wait for each other: the first is the one that is changed, and each is awaited by the next.
    #[error("jobs would wait for each other: {}", circle(.0))]
    Cycle(Vec<JobId>),
    /// Nothing of that number was offered.
    #[error("there is no offer {0}")]
    NoSuchOffer(OfferId),
    /// One was accepted before.
    #[error("offer {accepted} was accepted before{}", if .offer == .accepted { "" } else { ", in place of this one" })]
    OfferTaken {
        /// Which is asked for.
        offer: OfferId,
        /// Which was.
        accepted: OfferId,
    },
    /// It comes too late.
    #[error("offer {offer} has lapsed")]
    OfferLapsed {
        /// Which.
        offer: OfferId,
        /// When.
        at: Timestamp,
    },
    /// What it offered is not free any more.
    #[error("what offer {0} offered is not free any more")]
    OfferGone(OfferId),
    /// Room alone would not do.
    #[error("offer {offer} can not be accepted now, for job {} could not start if it had room: {why}", .offer.job)]
    OfferWaits {
        /// Which.
        offer: OfferId,
        /// What it waits for.
        why: String,
    },
    /// It makes room for another job, and goes on when there is room again.
    #[error("job {0} stands still to make room for another job")]
    MakesRoom(JobRef),
    /// The bound of live jobs.
    #[error("the queue is full: at most {0} jobs may be alive at once")]
    QueueFull(usize),
    /// A bulk of nothing.
    #[error("a bulk has at least one job")]
    EmptyBulk,
    /// No bulk by that number, of that caller.
    #[error("there is no open bulk {0}")]
    NoSuchBulk(JobId),
    /// More or fewer jobs than announced.
    #[error("the bulk has {got} jobs, and {announced} were announced")]
    BulkCount {
        /// Staged.
        got: u64,
        /// Announced.
        announced: u64,
    },
    /// In a slice of a bulk.
    #[error("job {place} of the bulk: {refusal}")]
    InBulk {
        /// From 1, over the whole bulk.
        place: u64,
        /// Why.
        refusal: Box<Refusal>,
    },
}

fn time_asked(asked: Millis) -> String {
    if asked.0 == 0 { "no time limit is asked for".to_owned() } else { format!("a time limit of {asked} is asked for") }
}

/// `12 after 13 after 12`.
fn circle(way: &[JobId]) -> String {
    let ids: Vec<String> = way.iter().rev().chain(way.last()).map(ToString::to_string).collect();
    ids.join(", awaited by ")
}

impl Refusal {
    fn code(&self) -> Code {
        match self {
            Self::NoSuchJob(_) | Self::NoSuchBulk(_) | Self::NoSuchQueue { .. } | Self::NoSuchOffer(_) => {
                Code::NotFound
            }
            Self::QueueConfigured(_) | Self::DefaultQueue | Self::QueueInUse { .. } | Self::Cycle(_) => {
                Code::FailedPrecondition
            }
            Self::OfferTaken { .. }
            | Self::OfferLapsed { .. }
            | Self::OfferGone(_)
            | Self::OfferWaits { .. }
            | Self::MakesRoom(_) => Code::FailedPrecondition,
            Self::BadQueue(_) | Self::TooLong { .. } | Self::NoTasks(_) => Code::InvalidArgument,
            Self::NotYours(_) | Self::NotInside(_) | Self::NotToRepeat(_) | Self::NotThatRole(_) => {
                Code::PermissionDenied
            }
            Self::NotExecuting(_)
            | Self::HasStarted(_)
            | Self::IsEnding(_)
            | Self::OnlyWhole(_)
            | Self::NoArray(_)
            | Self::NoEach { .. } => Code::FailedPrecondition,
            Self::TooManyCpus { .. }
            | Self::TooMuchMemory { .. }
            | Self::TooMuchDisk { .. }
            | Self::BulkCount { .. }
            | Self::EmptyBulk
            | Self::NoTime
            | Self::Past
            | Self::NeverMakesRoom => Code::InvalidArgument,
            Self::QueueFull(_) | Self::TooManyJobs(_) | Self::TooManyQueues => Code::ResourceExhausted,
            Self::InBulk { refusal, .. } => refusal.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchJob(_) => Some("qrm jobs lists them".into()),
            Self::NotYours(_) => Some("its owner or an administrator can do that".into()),
            Self::NotInside(job) => Some(format!("qrm show {job} says what everybody may know")),
            Self::NotToRepeat(_) => Some("retry makes a job of your own with its environment, which is theirs".into()),
            Self::NotThatRole(_) => Some("root and who users.admins names may; see qrm-security(7)".into()),
            Self::NotExecuting(job) => Some(format!("qrm show {job} says where it is")),
            Self::HasStarted(job) => Some(format!(
                "qrm suspend {job} lets it stand still; its name, comment and labels can still be changed"
            )),
            Self::IsEnding(job) => Some(format!("qrm wait {job} returns when it has ended")),
            Self::OnlyWhole(task) => {
                Some(format!("name {}, which means all its tasks that have not started", task.job))
            }
            Self::NoArray(_) => Some("--width is for arrays".into()),
            Self::NoEach { on: job, .. } | Self::NoTasks(job) => Some(format!("write {job} to wait for the whole job")),
            Self::NoSuchQueue { near: Some(near), .. } => Some(format!("did you mean {near}?")),
            Self::NoSuchQueue { names, .. } => Some(format!("queues are {}", names.join(", "))),
            Self::QueueConfigured(name) => Some(format!("change [[queue]] {name} there, then qrm daemon reload")),
            Self::DefaultQueue => Some("qrm queue pause default keeps its jobs from starting".into()),
            Self::QueueInUse { name, .. } => {
                Some(format!("qrm update queue={name} --queue OTHER moves them, qrm cancel queue={name} ends them"))
            }
            Self::TooManyQueues => Some("qrm queue remove takes one away".into()),
            Self::BadQueue(_) => None,
            Self::TooLong { most, .. } => Some(format!("--time {most} is the most there")),
            Self::Cycle(_) => Some("leave out one of these dependencies".into()),
            Self::NoSuchOffer(offer) => Some(format!("qrm explain {} shows what it is offered", offer.job)),
            Self::OfferTaken { offer, .. } => Some(format!("qrm show {} says where it is", offer.job)),
            Self::OfferLapsed { offer, .. } | Self::OfferGone(offer) => {
                Some(format!("it waits as before; qrm explain {} says for what", offer.job))
            }
            Self::OfferWaits { offer, .. } => {
                Some(format!("it lapses meanwhile; qrm explain {} says until when it is kept", offer.job))
            }
            Self::MakesRoom(_) => Some("it goes on by itself when there is room again".into()),
            Self::NeverMakesRoom => Some("add --preemptible, or name a queue that is: qrm queue list".into()),
            Self::Past => Some("write a time that is to come, as 18:00, 'tomorrow 9:00' or +2h".into()),
            Self::NoTime => Some("an earlier --begin or a later --deadline leaves time for it".into()),
            Self::TooManyCpus { most, .. } => Some(format!("--cpus {most} is the most")),
            Self::TooMuchDisk { most: Bytes(0), .. } => {
                Some("qrm doctor says why there is none; host.disk sets what is offered".into())
            }
            Self::TooMuchDisk { most, .. } => Some(format!("--disk {most} is the most; host.disk sets it")),
            Self::TooMuchMemory { most, .. } => Some(format!("--mem {most} is the most")),
            Self::QueueFull(_) | Self::TooManyJobs(_) => {
                Some("wait until some have ended, or use an array: it counts as one".into())
            }
            Self::NoSuchBulk(_) => Some("bulk.begin opens one; it ends with its connection".into()),
            Self::BulkCount { .. } | Self::EmptyBulk => None,
            Self::InBulk { refusal, .. } => refusal.hint(),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code(), message: refusal.to_string(), hint: refusal.hint() }
    }
}
