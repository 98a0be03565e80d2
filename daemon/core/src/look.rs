//! What the core shows of itself: states, reasons, counts, the order of the line.
//! It refuses to know how that is written for people or programs beyond a sentence.

use crate::event::{Stage, StopWhy, until};
use crate::job::{Job, Need, Phase, When};
use crate::placement::{Ranks, Turn};
use crate::policy::Host;
use crate::state::{Core, Machine};
use crate::step::Now;
use qrm_protocol::amount::Bytes;
use qrm_protocol::explain::ReasonCode;
use qrm_protocol::ids::{JobId, JobRef, Uid};
use qrm_protocol::job::{JobState, Offer, OfferId, TaskCounts};
use qrm_protocol::queue::QueueName;
use qrm_protocol::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt;

/// Why a job does not run yet. Computed when asked, never stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Its stage command waits for a place.
    Stage,
    /// Someone wants that.
    Held,
    /// Its begin is to come.
    Begin(Timestamp),
    /// It ended badly, and is tried again after this.
    Backoff(qrm_protocol::time::Millis),
    /// It waits for other jobs.
    Needs {
        /// What is not met.
        open: Vec<Need>,
        /// One of them is enough.
        any: bool,
    },
    /// As many of its tasks run as it allows.
    Width(u32),
    /// There is not enough of this.
    Short {
        /// Of what: cpus, memory or disk.
        code: ReasonCode,
        /// Asked for.
        asked: u64,
        /// Free.
        free: u64,
    },
    /// It wants the machine for itself, and others run.
    Exclusive,
    /// The machine is under pressure, in words.
    Pressure(String),
    /// Nothing of its queue starts.
    QueuePaused(QueueName),
    /// As many of its queue run as may.
    QueueFull {
        /// Which.
        queue: QueueName,
        /// So many.
        most: u32,
    },
    /// There is room, and it would delay this one, which comes first.
    WouldDelay(JobRef),
    /// As many jobs run as may.
    Runs(usize),
    /// This one is first in line.
    Behind(JobId),
    /// The machine has become smaller than what it asks for.
    Machine,
    /// This one has ended in a way that it can not follow.
    Never(JobRef),
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage => f.write_str("waits for a place for its validate or compile command"),
            Self::Held => f.write_str("held"),
            Self::Begin(at) => write!(f, "begins {at}"),
            Self::Backoff(left) => write!(f, "next attempt in {left}"),
            Self::Needs { open, any } => {
                let words: Vec<String> = open.iter().take(3).map(need_text).collect();
                let more = if open.len() > 3 { format!(" and {} more", open.len() - 3) } else { String::new() };
                write!(f, "after {}{}{more}", if *any && open.len() > 1 { "any of " } else { "" }, words.join(", "))
            }
            Self::Width(width) => write!(f, "{width} of its tasks run, as many as it allows"),
            Self::Short { code, asked, free } => f.write_str(&Self::short(*code, *asked, *free)),
            Self::Exclusive => f.write_str("needs the machine for itself, and others run"),
            Self::Pressure(why) => f.write_str(why),
            Self::QueuePaused(queue) => write!(f, "queue {queue} is paused"),
            Self::QueueFull { queue, most: 1 } => write!(f, "only one job of queue {queue} may run at once"),
            Self::QueueFull { queue, most } => write!(f, "only {most} jobs of queue {queue} may run at once"),
            Self::WouldDelay(first) => write!(f, "would delay job {first}, which comes first"),
            Self::Runs(most) => write!(f, "{most} jobs run, as many as may"),
            Self::Behind(head) => write!(f, "behind job {head}"),
            Self::Machine => f.write_str("asks for more than the machine offers now"),
            Self::Never(on) => write!(f, "cancelled: job {on} ended in a way that it can not follow"),
        }
    }
}

impl Waiting {
    /// What there is not enough of, in words.
    pub(crate) fn short(code: ReasonCode, asked: u64, free: u64) -> String {
        match code {
            ReasonCode::Memory => format!("needs {} of memory, {} free", Bytes(asked), Bytes(free)),
            ReasonCode::Disk => format!("needs {} of disk, {} free", Bytes(asked), Bytes(free)),
            _ => format!("needs {asked} cpu{}, {free} free", if asked == 1 { "" } else { "s" }),
        }
    }
}

/// A need in words: `completion of 12`.
pub(crate) fn need_text(need: &Need) -> String {
    let when = match need.when {
        When::Ended => "end of",
        When::Ok => "completion of",
        When::Fail => "failure of",
        When::Start => "start of",
    };
    format!("{when} {}", need.on)
}

/// A live job or task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Where it is.
    pub state: JobState,
    /// The attempt; 0 before the first.
    pub attempt: u32,
    /// Why it does not run, if it does not.
    pub waiting: Option<Waiting>,
    /// When it is planned to start.
    pub planned: Option<Timestamp>,
    /// Its queue.
    pub queue: QueueName,
    /// What it can have instead of waiting, and until when.
    pub offers: Vec<(OfferId, Offer, Timestamp)>,
    /// It stands still to make room.
    pub yields: bool,
    /// It may have to make room, by its own word or its queue's.
    pub preemptible: bool,
    /// When its command was released.
    pub started_at: Option<Timestamp>,
    /// It is being ended, and why.
    pub stopping: Option<StopWhy>,
    /// It stands still.
    pub suspended: bool,
    /// What asks it to end, and how long it has after that, in milliseconds.
    pub stop: (i32, u64),
    /// For an array.
    pub tasks: Option<TaskCounts>,
    /// What it waits for, in words.
    pub after: Vec<String>,
}

/// Jobs that ever were, by state.
pub type Counts = BTreeMap<JobState, u64>;

impl Core {
    /// What there is to share: cpus, cpus granted, memory, memory granted.
    #[must_use]
    pub fn machine(&self) -> (u32, u64, u64, u64) {
        (self.machine.cpus, self.used.cpus, self.machine.mem_bytes, self.used.mem)
    }

    /// What there is to share.
    #[must_use]
    pub fn offered(&self) -> &Machine {
        &self.machine
    }

    /// Room for files: offered, and granted.
    #[must_use]
    pub fn disk(&self) -> (u64, u64) {
        (self.machine.disk_bytes, self.used.disk)
    }

    /// Memory that runs hold.
    #[must_use]
    pub fn granted_memory(&self) -> u64 {
        self.used.mem
    }

    /// What was seen of the machine beside jobs.
    #[must_use]
    pub fn host(&self) -> Host {
        self.seen.host
    }

    /// Whether anything runs, and does not stand still.
    pub(crate) fn goes_on(&self) -> bool {
        self.runs.values().any(|run| run.suspended.is_none())
    }

    /// Whether something that waits could start if the machine beside jobs were another.
    #[must_use]
    pub fn minds_host(&self) -> bool {
        let plan = &self.seen.plan;
        let is_held_back = self.seen.host.short.is_some() && self.goes_on();
        plan.lacks_memory || is_held_back && (plan.first.is_some() || !self.yielding.is_empty())
    }

    /// Which boot of the machine it knows.
    #[must_use]
    pub fn boot_id(&self) -> &str {
        &self.machine.boot_id
    }

    /// Jobs that ever were, by state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = self.ended.clone();
        for (state, n) in &self.live {
            *counts.entry(*state).or_default() += n;
        }
        counts
    }

    /// Whose a live job is.
    #[must_use]
    pub fn owner(&self, job: JobId) -> Option<Uid> {
        self.jobs.get(&job).map(Job::user)
    }

    /// Whether a job, or a task that has not ended, is alive.
    #[must_use]
    pub fn is_live(&self, job: JobRef) -> bool {
        match (self.jobs.get(&job.job), job.task) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(j), Some(task)) => j.tasks.as_ref().is_some_and(|tasks| {
                tasks.ordinal(task).is_some_and(|o| !tasks.ok.contains(o) && !tasks.bad.contains(o))
            }),
        }
    }

    /// The state of something alive.
    #[must_use]
    pub fn state(&self, job: JobRef) -> Option<JobState> {
        if !self.is_live(job) {
            return None;
        }
        match self.runs.get(&job) {
            Some(run) if run.stage == Stage::Execute => {
                Some(if run.released.is_some() { JobState::Executing } else { JobState::Allocating })
            }
            _ if job.task.is_some() => Some(JobState::Queued),
            _ => self.jobs.get(&job.job).map(Job::state),
        }
    }

    /// Everything of something alive.
    #[must_use]
    pub fn look(&self, now: Now, job: JobRef) -> Option<Live> {
        let state = self.state(job)?;
        let record = self.jobs.get(&job.job)?;
        let run = self.runs.get(&job);
        let attempt = match (&record.tasks, job.task) {
            _ if run.is_some_and(|r| r.stage == Stage::Execute) => run.map_or(0, |r| r.attempt),
            (Some(tasks), Some(task)) => {
                tasks.ordinal(task).and_then(|o| tasks.again.get(&o)).map_or(0, |(attempt, _)| *attempt)
            }
            _ => record.attempt,
        };
        let counts = record.tasks.as_ref().filter(|_| job.task.is_none()).map(|tasks| TaskCounts {
            total: tasks.spec.count(),
            waiting: tasks.spec.count() - tasks.ok.len() - tasks.bad.len() - tasks.running,
            running: tasks.running,
            completed: tasks.ok.len(),
            failed: tasks.bad.len() - tasks.cancelled,
            cancelled: tasks.cancelled,
        });
        Some(Live {
            state,
            attempt,
            waiting: if run.is_some() { None } else { self.waiting(now, job, record) },
            planned: self.planned_start(now, job, record),
            queue: record.shape.queue.clone(),
            offers: self.offers_of(job),
            yields: run.is_some_and(|run| run.yields && run.stop.is_none()),
            preemptible: self.may_be_preempted(&record.shape),
            started_at: run.and_then(|r| r.released).map(|(at, _)| at),
            stopping: run.and_then(|r| r.stop).map(|s| s.why),
            stop: record.stop(),
            suspended: run.is_some_and(|r| r.suspended.is_some()),
            tasks: counts,
            after: record.open_needs(job.task).iter().map(need_text).collect(),
        })
    }

    pub(crate) fn waiting(&self, now: Now, job: JobRef, record: &Job) -> Option<Waiting> {
        if let (Some(task), Some(tasks)) = (job.task, &record.tasks) {
            let again = tasks.ordinal(task).and_then(|o| tasks.again.get(&o));
            if let Some((_, Some(due))) = again {
                return Some(Waiting::Backoff(until(*due, now.boot_ms)));
            }
        }
        if let Phase::Pending(_) = record.phase {
            return Some(Waiting::Stage);
        }
        if record.hold {
            return Some(Waiting::Held);
        }
        if !record.needs().is_empty() {
            let any = record.rare().is_some_and(|r| r.any);
            return Some(Waiting::Needs { open: record.needs().to_vec(), any });
        }
        if let (false, Some(begin)) = (record.begun, record.rare().and_then(|r| r.begin)) {
            return Some(Waiting::Begin(begin));
        }
        if let Some(due) = record.due_boot_ms {
            return Some(Waiting::Backoff(until(due, now.boot_ms)));
        }
        if let Some(tasks) = &record.tasks {
            let is_gated = job.task.is_some_and(|task| tasks.ordinal(task).is_some_and(|o| tasks.gated.contains(o)));
            if is_gated || tasks.waiting.is_empty() && !tasks.gated.is_empty() {
                let any = record.rare().is_some_and(|rare| rare.any);
                return Some(Waiting::Needs { open: tasks.open_needs(job.task), any });
            }
            if tasks.waiting.is_empty() {
                return None;
            }
            if tasks.at_width() {
                return Some(Waiting::Width(tasks.running));
            }
        }
        if !self.fits_machine(record) {
            return Some(Waiting::Machine);
        }
        self.short_of(job.job, record)
    }

    fn planned_start(&self, now: Now, job: JobRef, record: &Job) -> Option<Timestamp> {
        if self.runs.contains_key(&job) || !record.eligible() {
            return None;
        }
        let planned = self.seen.plan.planned.get(&self.next_of(job, record));
        planned.map(|planned| now.wall_of(planned.at))
    }

    /// The running tasks of an array.
    #[must_use]
    pub fn running_tasks(&self, array: JobId) -> Vec<JobRef> {
        let (first, last) = (JobRef::task(array, 0), JobRef::task(array, u32::MAX));
        self.runs.range(first..=last).map(|(job, _)| *job).collect()
    }

    /// The first jobs and tasks that have a run.
    #[must_use]
    pub fn running(&self, most: usize) -> Vec<JobRef> {
        self.runs.keys().take(most).copied().collect()
    }

    /// The first jobs that wait: those that are planned, in their order, then others that could start by their turn, then the
    /// rest by age.
    #[must_use]
    pub fn line(&self, most: usize) -> Vec<JobRef> {
        let ranks = Ranks::new(self);
        let mut heads = ranks.heads();
        let mut line = self.planned(most);
        let planned = line.clone();
        // Behind a head come those of its shape, and between those others may.
        let mut behind = std::collections::BinaryHeap::new();
        while line.len() < most {
            let next = behind.peek().map(|(turn, ..): &(Turn, JobId, usize)| *turn);
            if heads.peek().is_none() && next.is_none() {
                break;
            }
            let (id, place) = if heads.peek() >= next {
                let Some(((_, _, std::cmp::Reverse(id)), _)) = heads.next() else { break };
                (id, 0)
            } else {
                let Some((_, id, place)) = behind.pop() else { break };
                (id, place)
            };
            if !planned.contains(&id.into()) {
                line.push(id.into());
            }
            let Some(job) = self.jobs.get(&id) else { continue };
            let Some(bucket) = self.buckets.get(&job.shape) else { continue };
            if let Some((since, next)) = bucket.line.range((job.since(), JobId(id.0 + 1))..).next() {
                behind.push((ranks.turn(&job.shape, *since, *next), *next, place + 1));
            }
        }
        // Looks at a bounded number, so that it costs the same however many wait.
        for (id, job) in self.jobs.iter().take(most * 20) {
            let waits = job.phase != Phase::Running && !matches!(job.phase, Phase::Staging(_));
            if line.len() < most && waits && !(job.eligible() && self.fits_machine(job)) {
                line.push((*id).into());
            }
        }
        line
    }

    /// The first jobs that are planned and do not run.
    fn planned(&self, most: usize) -> Vec<JobRef> {
        let waiting = self.seen.plan.planned.iter().filter(|(job, _)| !self.runs.contains_key(*job));
        let mut planned: Vec<(u32, JobRef)> = waiting.map(|(job, planned)| (planned.place, *job)).collect();
        planned.sort_unstable();
        let mut jobs: Vec<JobRef> = Vec::new();
        for (_, job) in planned {
            // Several tasks of an array may be.
            if jobs.len() < most && !jobs.contains(&job.job.into()) {
                jobs.push(job.job.into());
            }
        }
        jobs
    }

    /// Ids of bulks that nobody may see yet: first and count.
    #[must_use]
    pub fn hidden(&self) -> Vec<(JobId, u64)> {
        self.bulks.iter().map(|(id, bulk)| (*id, bulk.count)).collect()
    }

    /// How many ids of an open bulk are dealt with.
    #[must_use]
    pub fn staged(&self, bulk: JobId) -> u64 {
        self.bulks.get(&bulk).map_or(0, |b| b.staged)
    }
}
