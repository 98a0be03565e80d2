//! The order in which those that wait are looked at: heads of lines, merged by rank.
//! It refuses to know what fits.

use crate::line::{Account, Heads, PARTS, Served, static_rank};
use crate::policy::Weights;
use crate::shape::{Kind, Shape};
use crate::share::{Left, WHOLE};
use crate::state::Core;
use qrm_protocol::ids::{JobId, Uid};
use qrm_protocol::queue::QueueName;
use qrm_protocol::time::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, btree_set};
use std::sync::Arc;

/// What is left of everybody's share, which is one part of a rank.
pub(crate) struct Ranks<'a> {
    core: &'a Core,
    users: Left<'a, Uid>,
    queues: Left<'a, QueueName>,
    /// Of accounts with arrays that had a turn: from which place on everything comes later for that, and by how much.
    lags: BTreeMap<&'a Account, Lags>,
}

/// A place in the order of an account: by the part of a rank that stays.
type Place = (Reverse<i64>, JobId);
/// In that order; what comes later does so by no less.
type Lags = Arc<[(Place, i64)]>;

/// The parts of a rank; see [`PARTS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// From priority, and from age as it is counted for comparing: less for who came later.
    pub stays: i64,
    /// Less than nothing where an array before it, or it itself, had a turn.
    pub turn: i64,
    pub user: i64,
    pub queue: i64,
}

impl Parts {
    pub fn sum(self) -> i64 {
        self.stays.saturating_add(self.turn).saturating_add(self.user).saturating_add(self.queue)
    }
}

impl Core {
    fn weight_of_user(&self, user: Uid) -> u32 {
        self.policy.shares.get(&user).copied().unwrap_or(1).max(1)
    }

    fn weight_of_queue(&self, queue: &QueueName) -> u32 {
        self.queues.get(queue).map_or(1, |queue| queue.spec.weight)
    }
}

impl<'a> Ranks<'a> {
    pub fn new(core: &'a Core) -> Self {
        let (users, queues) = core.shares.left(|user| core.weight_of_user(*user), |queue| core.weight_of_queue(queue));
        let shares = core.policy.weights.fair_share > 0;
        let served = core.served.iter().filter(|(account, _)| shares && !account.queuing);
        let lags = served.map(|(account, served)| (account, lags(core.policy.weights, served))).collect();
        Self { core, users, queues, lags }
    }

    /// The parts from what was used: a half each where that does not count.
    fn shares(&self, queuing: bool, user: Uid, queue: &QueueName) -> (i64, i64) {
        let core = self.core;
        let weight = i64::from(core.policy.weights.fair_share);
        if weight == 0 {
            return (0, 0);
        }
        let part = |left: u64| {
            let left = i64::try_from(left).unwrap_or(0);
            weight * left * (PARTS / 1_000) / i64::try_from(WHOLE / 1_000).unwrap_or(1)
        };
        if queuing {
            return (part(WHOLE / 2), part(WHOLE / 2));
        }
        let user = self.users.get(&user, core.weight_of_user(user));
        (part(user), part(self.queues.get(queue, core.weight_of_queue(queue))))
    }

    /// The parts of the rank of a job of this shape.
    pub fn parts(&self, shape: &Shape, since: Timestamp, id: JobId) -> Parts {
        let queuing = self.core.is_queuing(shape);
        let (user, queue) = self.shares(queuing, shape.user, &shape.queue);
        let stays = static_rank(self.core.policy.weights, queuing, shape.priority, since);
        let turn = if self.lags.is_empty() { 0 } else { self.turn_of(&self.core.account(shape), (Reverse(stays), id)) };
        Parts { stays, turn, user, queue }
    }

    /// Whose turn it is when a job of this shape waits.
    pub fn turn(&self, shape: &Shape, since: Timestamp, id: JobId) -> Turn {
        (Reverse(shape.idle), self.parts(shape, since, id).sum(), Reverse(id))
    }

    /// What one at this place of an account has less of a rank for those before it that had a turn.
    fn turn_of(&self, account: &Account, place: Place) -> i64 {
        let Some(lags) = self.lags.get(account) else { return 0 };
        match lags.partition_point(|(from, _)| *from <= place) {
            0 => 0,
            at => -lags[at - 1].1,
        }
    }

    /// Heads of all lines, the first in rank first.
    pub fn heads(&self) -> Merged<'a> {
        let mut merged = Merged { accounts: Vec::new(), heap: BinaryHeap::new() };
        for (account, heads) in &self.core.accounts {
            let (user, queue) = self.shares(account.queuing, account.user, &account.queue);
            merged.add(account, heads, user.saturating_add(queue), self.lags.get(account).cloned().unwrap_or_default());
        }
        merged
    }
}

/// Whose turn it is: who is not idle, then the larger rank, then the smaller id.
pub(crate) type Turn = (Reverse<bool>, i64, Reverse<JobId>);

/// What comes later, and by how much: the most of all before it, so that the order within the account stays.
fn lags(weights: Weights, served: &Served) -> Lags {
    let mut most = 0;
    let lag = |(place, ms): (&Place, &u64)| {
        let lag = i64::from(weights.age_per_hour).saturating_mul(i64::try_from(*ms).unwrap_or(i64::MAX));
        most = most.max(lag);
        (*place, most)
    };
    served.iter().map(lag).collect()
}

/// The heads of an account, merged with those of others.
struct Turns<'a> {
    idle: bool,
    /// What their ranks have more than what stays.
    more: i64,
    heads: btree_set::Iter<'a, (Reverse<i64>, JobId, Arc<Kind>)>,
    /// How many of these begin at a head that is through.
    lags: Lags,
    passed: usize,
}

/// Heads of lines, merged.
pub(crate) struct Merged<'a> {
    accounts: Vec<Turns<'a>>,
    heap: BinaryHeap<(Turn, usize, &'a Arc<Kind>)>,
}

impl<'a> Merged<'a> {
    fn add(&mut self, account: &Account, heads: &'a Heads, more: i64, lags: Lags) {
        self.accounts.push(Turns { idle: account.idle, more, heads: heads.iter(), lags, passed: 0 });
        self.advance(self.accounts.len() - 1);
    }

    fn advance(&mut self, account: usize) {
        let turns = &mut self.accounts[account];
        let Some((stays, id, shape)) = turns.heads.next() else { return };
        let rest = &turns.lags[turns.passed..];
        turns.passed += rest.iter().take_while(|(from, _)| *from <= (*stays, *id)).count();
        let lag = turns.passed.checked_sub(1).map_or(0, |last| turns.lags[last].1);
        let rank = stays.0.saturating_sub(lag).saturating_add(turns.more);
        self.heap.push(((Reverse(turns.idle), rank, Reverse(*id)), account, shape));
    }

    /// Whose turn the next is.
    pub fn peek(&self) -> Option<Turn> {
        self.heap.peek().map(|(turn, ..)| *turn)
    }
}

impl<'a> Iterator for Merged<'a> {
    type Item = (Turn, &'a Arc<Kind>);

    fn next(&mut self) -> Option<Self::Item> {
        let (turn, account, shape) = self.heap.pop()?;
        self.advance(account);
        Some((turn, shape))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_that_had_a_turn_passes_one_before_it_that_had_one_since() {
        let place = |stays: i64| (Reverse(stays), JobId(1));
        let served = Served::from([(place(9), 5), (place(8), 3), (place(7), 6)]);
        let weights = Weights { age_per_hour: 10, ..Weights::default() };
        assert_eq!(*lags(weights, &served), [(place(9), 50), (place(8), 50), (place(7), 60)]);
    }
}
