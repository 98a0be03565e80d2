//! The scheduler as SCHEDULING.md tells it, done the slow way: it sorts all that wait and tries every instant.
//! It refuses to share a line with the core but the words of the protocol.

mod facts;
pub mod pass;
mod rank;
mod room;

use qrm_core::{Demand, Host, Need, Policy};
use qrm_protocol::ids::{JobId, JobRef, Uid};
use qrm_protocol::job::{JobState, OnConflict};
use qrm_protocol::queue::{OnPreempt, QueueName, QueueSpec};
use std::collections::{BTreeMap, BTreeSet};

pub use pass::Found;

/// Places, cpus, memory, room for files.
pub type Amounts = [u64; 4];

/// The most runs at once.
pub const PLACES: u64 = 1_000;

/// One of the ways in which a job can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub takes: Amounts,
    /// How long it may run; 0 is for ever.
    pub limit: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    Waits,
    /// Between attempts.
    Pauses,
    Runs,
    Over,
}

/// Those that were promised a start come first, then those that others make room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    Start(i64),
    Room,
}

#[derive(Clone, Debug)]
pub struct Job {
    pub user: Uid,
    pub demand: Demand,
    /// Since when nothing but room is wanting.
    pub since: i64,
    /// When the last task of an array started.
    pub served: Option<i64>,
    pub held: bool,
    pub begun: bool,
    /// Those that are not met.
    pub needs: Vec<Need>,
    pub promised: Option<Promise>,
    /// One, or those of an array by their index.
    pub tasks: BTreeMap<Option<u32>, Task>,
}

#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub way: usize,
    /// How long it was expected to run.
    pub expected: u64,
    /// Since when by the clock that never jumps, and by the other.
    pub began: Option<(u64, i64)>,
    /// When its grace is over, if it is being ended.
    pub gone_at: Option<u64>,
    /// For which job, if it makes room.
    pub leaves_for: Option<JobId>,
    /// Since when it stands still.
    pub stands: Option<u64>,
    pub stood: u64,
    /// It stands still to make room.
    pub yields: bool,
    pub charged: u64,
}

/// A queue, and whether it is paused.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    pub spec: QueueSpec,
    pub paused: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    pub wall: i64,
    pub boot: u64,
}

#[derive(Clone, Debug)]
pub struct Naive {
    pub machine: Amounts,
    pub host: Host,
    pub policy: Policy,
    pub queues: BTreeMap<QueueName, Queue>,
    pub jobs: BTreeMap<JobId, Job>,
    pub runs: BTreeMap<JobRef, Run>,
    /// The newest first.
    pub past: BTreeMap<String, Vec<u64>>,
    pub users: BTreeMap<Uid, u64>,
    pub lines: BTreeMap<QueueName, u64>,
    pub over: BTreeMap<JobRef, JobState>,
    pub started: BTreeSet<JobRef>,
}

impl Default for Naive {
    fn default() -> Self {
        Self {
            machine: [PLACES, 0, 0, 0],
            host: Host::default(),
            policy: Policy::default(),
            queues: BTreeMap::from([(QueueName::default(), Queue::default())]),
            jobs: BTreeMap::new(),
            runs: BTreeMap::new(),
            past: BTreeMap::new(),
            users: BTreeMap::new(),
            lines: BTreeMap::new(),
            over: BTreeMap::new(),
            started: BTreeSet::new(),
        }
    }
}

impl Job {
    fn rare<T: Default>(&self, of: impl Fn(&qrm_core::Rare) -> T) -> T {
        self.demand.rare.as_deref().map(of).unwrap_or_default()
    }

    pub fn is_idle(&self) -> bool {
        self.rare(|rare| rare.idle)
    }

    pub fn min_run(&self) -> u64 {
        self.rare(|rare| rare.min_run_ms)
    }

    pub fn saves(&self) -> bool {
        self.rare(|rare| rare.checkpoint_signal.is_some())
    }

    pub fn grace(&self) -> u64 {
        self.demand.rare.as_ref().and_then(|rare| rare.grace_ms).unwrap_or(10_000)
    }

    pub fn width(&self) -> usize {
        let width = self.demand.array().and_then(|array| array.width);
        width.map_or(usize::MAX, |width| width as usize)
    }

    /// What it asks for first, then its alternatives; what they do not say is as there. One that would share may have
    /// each that it wants for itself beside others as well, in the end.
    pub fn ways(&self) -> Vec<Way> {
        let demand = &self.demand;
        let alone = self.rare(|rare| rare.exclusive);
        let places = |alone: bool| if alone { PLACES } else { 1 };
        let first = Way {
            takes: [places(alone), demand.cpus().into(), demand.mem_bytes(), demand.disk_bytes()],
            limit: demand.time_ms,
        };
        let mut ways = vec![first];
        for variant in self.rare(|rare| rare.variants.clone()) {
            let [_, cpus, mem, disk] = first.takes;
            let takes = [
                places(variant.exclusive.unwrap_or(alone)),
                variant.cpus.map_or(cpus, u64::from),
                variant.mem_bytes.map_or(mem, |mem| mem.0),
                variant.disk_bytes.map_or(disk, |disk| disk.0),
            ];
            ways.push(Way { takes, limit: variant.time_limit_ms.map_or(first.limit, |limit| limit.0) });
        }
        if self.rare(|rare| rare.on_conflict) == Some(OnConflict::Sharing) {
            for way in ways.clone() {
                let [_, rest @ ..] = way.takes;
                let beside = Way { takes: [1, rest[0], rest[1], rest[2]], ..way };
                if !ways.contains(&beside) {
                    ways.push(beside);
                }
            }
        }
        ways
    }

    /// What it asks for that decides, in words: others that ask for the same are expected to run as long.
    pub fn shape(&self) -> String {
        let Demand { cpus, mem_bytes, time_ms, .. } = &self.demand;
        let asks = (self.user, self.demand.queue(), self.demand.priority(), cpus, mem_bytes.unwrap_or(0), time_ms);
        let of = |rare: &qrm_core::Rare| {
            let alternatives = (rare.disk_bytes, rare.exclusive, rare.variants.clone(), rare.on_conflict);
            (alternatives, rare.idle, rare.preemptible, rare.min_run_ms, rare.checkpoint_signal.is_some())
        };
        format!("{asks:?} {:?}", self.rare(of))
    }

    /// Nothing but room is wanting.
    pub fn wants_room(&self) -> bool {
        !self.held && self.begun && self.needs.is_empty()
    }

    pub fn running(&self) -> usize {
        self.tasks.values().filter(|task| **task == Task::Runs).count()
    }
}

impl Naive {
    pub fn queue_of(&self, job: &Job) -> &Queue {
        &self.queues[&job.demand.queue()]
    }

    /// How a job resolves conflicts.
    pub fn conflict(&self, job: &Job) -> OnConflict {
        job.rare(|rare| rare.on_conflict).unwrap_or(self.queue_of(job).spec.on_conflict)
    }

    pub fn on_preempt(&self, job: &Job) -> OnPreempt {
        self.queue_of(job).spec.on_preempt
    }

    pub fn is_preemptible(&self, job: &Job) -> bool {
        job.rare(|rare| rare.preemptible) || self.queue_of(job).spec.preemptible
    }

    pub fn granted(&self, job: JobRef) -> Way {
        self.jobs[&job.job].ways()[self.runs[&job].way]
    }

    /// What a run holds: one that stands still to make room keeps its memory and its files.
    pub fn held(&self, job: JobRef) -> Amounts {
        let [places, cpus, mem, disk] = self.granted(job).takes;
        if self.runs[&job].yields { [0, 0, mem, disk] } else { [places, cpus, mem, disk] }
    }

    pub fn running_in(&self, queue: &QueueName) -> usize {
        self.runs.keys().filter(|job| self.jobs[&job.job].demand.queue() == *queue).count()
    }

    /// What the machine offers now; of memory at most what there really is for jobs.
    pub fn all(&self) -> Amounts {
        let [places, cpus, mem, disk] = self.machine;
        [places, cpus, self.host.mem_bytes.map_or(mem, |really| mem.min(really)), disk]
    }

    pub fn could_ever(&self, way: Way) -> bool {
        way.takes.iter().zip(self.machine).all(|(asked, there)| *asked <= there)
    }

    /// The largest part of the machine that this is, in millionths.
    pub fn part(&self, takes: Amounts) -> u64 {
        let part = |(of, all): (u64, u64)| (of * 1_000_000).checked_div(all).unwrap_or(0);
        takes.into_iter().zip(self.machine).map(part).max().unwrap_or(0).min(1_000_000)
    }

    /// For how long a run has run by now.
    pub fn ran(&self, now: Clock, job: JobRef) -> u64 {
        let run = &self.runs[&job];
        let Some((began, _)) = run.began else { return 0 };
        let until = run.stands.unwrap_or(now.boot);
        until.saturating_sub(began).saturating_sub(run.stood)
    }

    /// How long a job is expected to run in this way.
    pub fn expected(&self, job: &Job, way: Way) -> u64 {
        let past = self.past.get(&job.shape()).filter(|past| !past.is_empty());
        let longest = past.map(|past| *past.iter().max().unwrap());
        let most = if way.limit == 0 { u64::MAX } else { way.limit };
        let unknown = if way.limit == 0 { self.policy.assumed_ms } else { way.limit };
        longest.map_or(unknown, |longest| longest.min(most)).max(1)
    }

    /// When a run is expected to be gone. It is there now, so that is later.
    pub fn ends(&self, now: Clock, job: JobRef) -> u64 {
        self.would_end(now, job).max(now.boot + 1)
    }

    fn would_end(&self, now: Clock, job: JobRef) -> u64 {
        let run = &self.runs[&job];
        if let Some(gone) = run.gone_at {
            return gone + grown(0, now.boot.saturating_sub(gone));
        }
        let ran = self.ran(now, job);
        let limit = self.granted(job).limit;
        let whole = grown(run.expected, ran);
        let most = if limit == 0 { u64::MAX } else { limit.saturating_sub(ran) };
        now.boot + (whole - ran).min(most)
    }
}

/// What is expected of one that took longer than was expected: it grows by half of itself, at least a minute.
fn grown(expected: u64, took: u64) -> u64 {
    let more = |whole: &u64| Some(whole + (whole / 2).max(60_000));
    std::iter::successors(Some(expected), more).find(|whole| *whole >= took).unwrap()
}
