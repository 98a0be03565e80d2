//! What the core shows of itself: states, reasons, counts, the order of the line.
//! It refuses to know how that is written for people or programs beyond a sentence.

use crate::event::{Stage, StopWhy, until};
use crate::job::{Job, Need, Phase, When};
use crate::placement::{self, Blocked};
use crate::state::{Core, Machine};
use crate::step::Now;
use qrm_protocol::amount::Bytes;
use qrm_protocol::ids::{JobId, JobRef, Uid};
use qrm_protocol::job::{JobState, TaskCounts};
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
    /// It is first in line, and there is not enough of this.
    Cpus {
        /// Asked for.
        asked: u64,
        /// Free.
        free: u64,
    },
    /// It is first in line, and there is not enough of this.
    Memory {
        /// Asked for.
        asked: u64,
        /// Free.
        free: u64,
    },
    /// It is first in line, and there is not enough room for its files.
    Disk {
        /// Asked for.
        asked: u64,
        /// Free.
        free: u64,
    },
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
            Self::Cpus { asked, free } => write!(f, "needs {asked} cpus, {free} free"),
            Self::Memory { asked, free } => write!(f, "needs {} of memory, {} free", Bytes(*asked), Bytes(*free)),
            Self::Disk { asked, free } => write!(f, "needs {} of disk, {} free", Bytes(*asked), Bytes(*free)),
            Self::Runs(most) => write!(f, "{most} jobs run, as many as may"),
            Self::Behind(head) => write!(f, "behind job {head}"),
            Self::Machine => f.write_str("asks for more than the machine offers now"),
            Self::Never(on) => write!(f, "cancelled: job {on} ended in a way that it can not follow"),
        }
    }
}

/// A need in words: `completion of 12`.
fn need_text(need: &Need) -> String {
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
        (self.machine.cpus, self.used.cpus, self.machine.mem_bytes, self.used.mem_bytes)
    }

    /// What there is to share.
    #[must_use]
    pub fn offered(&self) -> &Machine {
        &self.machine
    }

    /// Room for files: offered, and granted.
    #[must_use]
    pub fn disk(&self) -> (u64, u64) {
        (self.machine.disk_bytes, self.used.disk_bytes)
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
        self.jobs.get(&job).map(|j| j.user)
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
            started_at: run.and_then(|r| r.released).map(|(at, _)| at),
            stopping: run.and_then(|r| r.stop).map(|s| s.why),
            stop: record.demand.stop(),
            suspended: run.is_some_and(|r| r.suspended.is_some()),
            tasks: counts,
            after: record.needs().iter().map(need_text).collect(),
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
        if record.demand.hold {
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
        let (head, first) = placement::head(self)?;
        if head != job.job {
            return Some(Waiting::Behind(head));
        }
        self.blocked(first)
    }

    /// What a job that were first in line would wait for.
    pub(crate) fn blocked(&self, job: &Job) -> Option<Waiting> {
        placement::fits(self, job).err().map(|blocked| match blocked {
            Blocked::Cpus(asked, free) => Waiting::Cpus { asked, free },
            Blocked::Memory(asked, free) => Waiting::Memory { asked, free },
            Blocked::Disk(asked, free) => Waiting::Disk { asked, free },
            Blocked::Runs => Waiting::Runs(placement::MAX_RUNS),
        })
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

    /// The first jobs that wait: those that could start, in the order of their turn, then others by age.
    #[must_use]
    pub fn line(&self, most: usize) -> Vec<JobRef> {
        let mut line: Vec<JobRef> = self.ready.iter().take(most).map(|(_, id)| (*id).into()).collect();
        // Looks at a bounded number, so that it costs the same however many wait.
        for (id, job) in self.jobs.iter().take(most * 20) {
            let waits = job.phase != Phase::Running && !matches!(job.phase, Phase::Staging(_));
            if line.len() < most && waits && !self.ready.contains(&(std::cmp::Reverse(job.demand.priority.get()), *id))
            {
                line.push((*id).into());
            }
        }
        line
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
