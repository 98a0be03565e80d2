//! The lines of jobs that may start: one for each shape, by age, and of their heads one order for each account.
//! It refuses to know what fits.

use crate::policy::Weights;
use crate::shape::{Kind, Shape};
use crate::state::{Core, count_down};
use qrm_protocol::amount::Priority;
use qrm_protocol::ids::{JobId, Uid};
use qrm_protocol::job::OnConflict;
use qrm_protocol::queue::QueueName;
use qrm_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A rank is counted in this many parts, so that an age of a millisecond counts.
pub(crate) const PARTS: i64 = 3_600_000;

/// Jobs of one shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// How many live.
    pub jobs: u64,
    /// The machine offers enough for one of those.
    pub fits: bool,
    /// Those that may start, by when they could first have.
    pub line: BTreeSet<(Timestamp, JobId)>,
}

/// Whose turn it is: all that have the same part of a rank that changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Account {
    /// They come last.
    pub idle: bool,
    /// Only age counts.
    pub queuing: bool,
    pub user: Uid,
    pub queue: QueueName,
}

/// Heads of lines, the first in rank first: the part of it that stays, the job, and its shape.
pub(crate) type Heads = BTreeSet<(Reverse<i64>, JobId, Arc<Kind>)>;

/// Arrays of an account that had a turn, in the order of its heads: by how many milliseconds each comes later for that.
pub(crate) type Served = BTreeMap<(Reverse<i64>, JobId), u64>;

/// How long jobs of a shape ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Past {
    /// The last ones, the newest first, in milliseconds; at most two.
    pub last: Vec<u64>,
    /// The more, the later one of them ended.
    pub turn: u64,
}

/// Of so many shapes it is remembered how long they ran; then the older half is forgotten.
const MOST_PAST: usize = 4_096;

impl Past {
    /// What the next one is expected to run: as long as the longer of them, for who is taken to run shorter than it does breaks
    /// what was promised to others.
    pub fn longest(&self) -> Option<u64> {
        self.last.iter().max().copied()
    }
}

/// The part of a rank that stays: from priority and age.
pub(crate) fn static_rank(weights: Weights, queuing: bool, priority: Priority, since: Timestamp) -> i64 {
    let priority = if queuing { Priority::NORMAL } else { priority };
    let from_priority = i64::from(weights.priority) * i64::from(priority.get()) * PARTS;
    from_priority - i64::from(weights.age_per_hour).saturating_mul(since.0)
}

impl Core {
    /// How a job of this shape resolves conflicts.
    pub(crate) fn way_of(&self, shape: &Shape) -> OnConflict {
        let of_queue = || self.queues.get(&shape.queue).map(|queue| queue.spec.on_conflict);
        shape.on_conflict.or_else(of_queue).unwrap_or_default()
    }

    /// Whether only age counts for a job of this shape.
    pub(crate) fn is_queuing(&self, shape: &Shape) -> bool {
        self.way_of(shape) == OnConflict::Queuing
    }

    /// Whose turn decides for a shape.
    pub(crate) fn account(&self, shape: &Shape) -> Account {
        Account { idle: shape.idle, queuing: self.is_queuing(shape), user: shape.user, queue: shape.queue.clone() }
    }

    fn head_of(&self, shape: &Arc<Kind>, queuing: bool, first: (Timestamp, JobId)) -> (Reverse<i64>, JobId, Arc<Kind>) {
        (Reverse(static_rank(self.policy.weights, queuing, shape.priority, first.0)), first.1, shape.clone())
    }

    /// Counts a job into the bucket of its shape, and into its line if it may start.
    pub(crate) fn enter_bucket(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        match self.buckets.get_key_value(&job.shape) {
            // Jobs of one shape share it.
            Some((shape, _)) => job.shape = shape.clone(),
            None => {
                let shape = job.shape.clone();
                let fits = self.fits_somehow(shape.wants());
                self.buckets.insert(shape, Bucket { fits, ..Bucket::default() });
            }
        }
        let Some(job) = self.jobs.get(&id) else { return };
        let (shape, entry, eligible, lag) = (job.shape.clone(), (job.since(), id), job.eligible(), job.lag_ms());
        let mut waits = false;
        self.change_line(&shape, |bucket| {
            bucket.jobs += 1;
            waits = eligible && bucket.fits;
            if waits {
                bucket.line.insert(entry);
            }
        });
        if waits && lag > 0 {
            let (account, place) = self.place_of(&shape, entry);
            self.served.entry(account).or_default().insert(place, lag);
        }
    }

    /// Where a job of this shape is among those of its account.
    fn place_of(&self, shape: &Shape, (since, id): (Timestamp, JobId)) -> (Account, (Reverse<i64>, JobId)) {
        let account = self.account(shape);
        let stays = static_rank(self.policy.weights, account.queuing, shape.priority, since);
        (account, (Reverse(stays), id))
    }

    /// Takes it out again.
    pub(crate) fn leave_bucket(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        let (shape, entry, lag) = (job.shape.clone(), (job.since(), id), job.lag_ms());
        if lag > 0 {
            let (account, place) = self.place_of(&shape, entry);
            if let Some(served) = self.served.get_mut(&account) {
                served.remove(&place);
                if served.is_empty() {
                    self.served.remove(&account);
                }
            }
        }
        self.change_line(&shape, |bucket| {
            bucket.jobs -= 1;
            bucket.line.remove(&entry);
        });
        if self.buckets.get(&shape).is_some_and(|bucket| bucket.jobs == 0) {
            self.buckets.remove(&shape);
        }
    }

    /// Changes a line, and what follows if it has another head then.
    fn change_line(&mut self, shape: &Arc<Kind>, with: impl FnOnce(&mut Bucket)) {
        let Some(bucket) = self.buckets.get_mut(shape) else { return };
        let before = bucket.line.first().copied();
        with(bucket);
        let after = bucket.line.first().copied();
        if before == after {
            return;
        }
        let account = self.account(shape);
        let before = before.map(|first| self.head_of(shape, account.queuing, first));
        let after = after.map(|first| self.head_of(shape, account.queuing, first));
        match (&before, &after) {
            (None, Some(_)) => *self.widths.entry(shape.least.cpus).or_default() += 1,
            (Some(_), None) => count_down(&mut self.widths, &shape.least.cpus),
            _ => {}
        }
        let heads = self.accounts.entry(account.clone()).or_default();
        if let Some(before) = before {
            heads.remove(&before);
        }
        heads.extend(after);
        if heads.is_empty() {
            self.accounts.remove(&account);
        }
    }

    /// Remembers how long a job of this shape ran.
    pub(crate) fn remember_run(&mut self, shape: &Arc<Kind>, ms: u64) {
        self.turns += 1;
        let turn = self.turns;
        let past = self.past.entry(shape.clone()).or_default();
        past.turn = turn;
        past.last.insert(0, ms);
        past.last.truncate(2);
        if self.past.len() > MOST_PAST {
            let mut turns: Vec<u64> = self.past.values().map(|past| past.turn).collect();
            turns.sort_unstable();
            let oldest = turns[turns.len() / 2];
            self.past.retain(|_, past| past.turn > oldest);
        }
    }
}
