//! The order in which those that wait are looked at: heads of lines, merged by rank.
//! It refuses to know what fits.

use crate::line::{Account, Heads, PARTS, static_rank};
use crate::shape::{Kind, Shape};
use crate::share::{Left, WHOLE};
use crate::state::Core;
use qrm_protocol::ids::{JobId, Uid};
use qrm_protocol::queue::QueueName;
use qrm_protocol::time::Timestamp;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::btree_set;
use std::sync::Arc;

/// What is left of everybody's share, which is one part of a rank.
pub(crate) struct Ranks<'a> {
    core: &'a Core,
    users: Left<'a, Uid>,
    queues: Left<'a, QueueName>,
}

/// The parts of a rank; see [`PARTS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// From priority, and from age as it is counted for comparing: less for who came later.
    pub stays: i64,
    pub user: i64,
    pub queue: i64,
}

impl Parts {
    pub fn sum(self) -> i64 {
        self.stays.saturating_add(self.user).saturating_add(self.queue)
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
        Self { core, users, queues }
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
    pub fn parts(&self, shape: &Shape, since: Timestamp) -> Parts {
        let queuing = self.core.is_queuing(shape);
        let (user, queue) = self.shares(queuing, shape.user, &shape.queue);
        Parts { stays: static_rank(self.core.policy.weights, queuing, shape.priority, since), user, queue }
    }

    /// Heads of all lines, the first in rank first.
    pub fn heads(&self) -> Merged<'a> {
        let mut merged = Merged { accounts: Vec::new(), heap: BinaryHeap::new() };
        for (account, heads) in &self.core.accounts {
            let (user, queue) = self.shares(account.queuing, account.user, &account.queue);
            merged.add(account, heads, user.saturating_add(queue));
        }
        merged
    }
}

/// Whose turn it is: who is not idle, then the larger rank, then the smaller id.
pub(crate) type Turn = (Reverse<bool>, i64, Reverse<JobId>);

/// The heads of an account: whether it is idle, what their ranks have more than what stays, and those to come.
type Turns<'a> = (bool, i64, btree_set::Iter<'a, (Reverse<i64>, JobId, Arc<Kind>)>);

/// Heads of lines, merged.
pub(crate) struct Merged<'a> {
    accounts: Vec<Turns<'a>>,
    heap: BinaryHeap<(Turn, usize, &'a Arc<Kind>)>,
}

impl<'a> Merged<'a> {
    fn add(&mut self, account: &Account, heads: &'a Heads, more: i64) {
        self.accounts.push((account.idle, more, heads.iter()));
        self.advance(self.accounts.len() - 1);
    }

    fn advance(&mut self, account: usize) {
        let (idle, more, heads) = &mut self.accounts[account];
        if let Some((Reverse(rank), id, shape)) = heads.next() {
            let turn = (Reverse(*idle), rank.saturating_add(*more), Reverse(*id));
            self.heap.push((turn, account, shape));
        }
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
