//! What users and queues used lately: charged when a run starts, settled when it ends, and fading with time.
//! It refuses to know runs, and to compute with floats.

use qrm_protocol::ids::Uid;
use qrm_protocol::queue::QueueName;
use qrm_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// After so long usage counts half.
const HALF_LIFE_MS: u64 = 7 * 24 * 3_600_000;
/// So many half-lives later everything is written down by as many bits, so that numbers stay small.
const EPOCH: u64 = 16;
/// The longest run that is charged in one piece.
const MOST_MS: u64 = 365 * 24 * 3_600_000;

/// Usage: millionths of the machine times about a second, as it counts at the epoch.
///
/// What comes later counts for more, instead of what was before for less: so nothing changes while time passes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shares {
    /// When usage counts as it is.
    epoch: Timestamp,
    #[serde(with = "pairs")]
    users: BTreeMap<Uid, u64>,
    #[serde(with = "pairs")]
    queues: BTreeMap<QueueName, u64>,
}

/// A map as a list of pairs, which keeps keys that are no texts: inside of an event a number that was made one is not read back.
pub(crate) mod pairs {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(map)
    }

    pub fn deserialize<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<K, V>, D::Error> {
        Ok(Vec::<(K, V)>::deserialize(from)?.into_iter().collect())
    }
}

/// Whose usage it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account<'a> {
    pub user: Uid,
    pub queue: &'a QueueName,
}

impl Shares {
    /// How much a time on so many millionths of the machine counts that was used at `at`.
    fn weigh(&self, at: Timestamp, part: u64, ms: u64) -> u64 {
        let plain = part.saturating_mul(ms.min(MOST_MS)) >> 10;
        let since = u64::try_from(at.0.saturating_sub(self.epoch.0)).unwrap_or(0).min(EPOCH * HALF_LIFE_MS);
        let (halves, rest) = (since / HALF_LIFE_MS, since % HALF_LIFE_MS);
        let doubled = u128::from(plain) << halves;
        let weighed = doubled + doubled * u128::from(rest) / u128::from(HALF_LIFE_MS);
        u64::try_from(weighed).unwrap_or(u64::MAX)
    }

    /// Charges a run that starts; what was charged is given back to [`Shares::settle`].
    pub fn charge(&mut self, at: Timestamp, to: Account<'_>, part: u64, ms: u64) -> u64 {
        let charged = self.weigh(at, part, ms);
        self.add(to, charged);
        charged
    }

    /// Replaces what was charged by what was used.
    pub fn settle(&mut self, at: Timestamp, to: Account<'_>, charged: u64, part: u64, ms: u64) {
        let used = self.weigh(at, part, ms);
        let change = |usage: &mut u64| *usage = usage.saturating_sub(charged).saturating_add(used);
        change(self.users.entry(to.user).or_default());
        change(self.queues.entry(to.queue.clone()).or_default());
    }

    /// Has a run that goes on counted in another queue.
    pub fn move_charge(&mut self, from: &QueueName, to: &QueueName, charged: u64) {
        if from != to {
            let usage = self.queues.entry(from.clone()).or_default();
            *usage = usage.saturating_sub(charged);
            let usage = self.queues.entry(to.clone()).or_default();
            *usage = usage.saturating_add(charged);
        }
    }

    fn add(&mut self, to: Account<'_>, charged: u64) {
        let change = |usage: &mut u64| *usage = usage.saturating_add(charged);
        change(self.users.entry(to.user).or_default());
        change(self.queues.entry(to.queue.clone()).or_default());
    }

    /// Whether the epoch is so far back that it has to move; by how many bits everything is written down then.
    pub fn begin_epoch(&mut self, at: Timestamp) -> u32 {
        let since = u64::try_from(at.0.saturating_sub(self.epoch.0)).unwrap_or(0);
        if since < EPOCH * HALF_LIFE_MS {
            return 0;
        }
        let halves = since / HALF_LIFE_MS;
        self.epoch.0 += i64::try_from(halves * HALF_LIFE_MS).unwrap_or(0);
        let bits = u32::try_from(halves).unwrap_or(u32::MAX).min(63);
        let fade = |usage: &mut u64| *usage >>= bits;
        self.users.values_mut().for_each(fade);
        self.queues.values_mut().for_each(fade);
        self.users.retain(|_, usage| *usage > 0);
        self.queues.retain(|_, usage| *usage > 0);
        bits
    }

    /// The share that each user has left, and each queue.
    pub fn left(
        &self,
        user_weight: impl Fn(&Uid) -> u32,
        queue_weight: impl Fn(&QueueName) -> u32,
    ) -> (Left<'_, Uid>, Left<'_, QueueName>) {
        (Left::of(&self.users, user_weight), Left::of(&self.queues, queue_weight))
    }
}

/// What is left to each, by what they used, and all who used something together.
#[derive(Clone, Debug)]
pub(crate) struct Left<'a, K> {
    usage: &'a BTreeMap<K, u64>,
    all: u128,
    weights: u128,
}

/// All of a share.
pub(crate) const WHOLE: u64 = 1_000_000;

impl<'a, K: Ord> Left<'a, K> {
    fn of(usage: &'a BTreeMap<K, u64>, weight: impl Fn(&K) -> u32) -> Self {
        // One who was charged and used nothing in the end is none of them.
        let used = usage.iter().filter(|(_, used)| **used > 0);
        let (mut all, mut weights) = (0, 0);
        for (key, used) in used {
            all += u128::from(*used);
            weights += u128::from(weight(key));
        }
        Self { usage, all, weights }
    }

    /// In millionths; one who used nothing has all of it.
    pub fn get(&self, key: &K, weight: u32) -> u64 {
        let used = self.usage.get(key).copied().unwrap_or_default();
        let own = self.all * u128::from(weight);
        let whole = own + u128::from(used) * self.weights;
        match used {
            0 => WHOLE,
            _ => u64::try_from(own * u128::from(WHOLE) / whole.max(1)).unwrap_or(WHOLE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600_000;

    fn left(shares: &Shares, user: Uid) -> u64 {
        shares.left(|_| 1, |_| 1).0.get(&user, 1)
    }

    #[test]
    fn who_used_more_has_less_left_and_time_changes_that_for_all_alike() {
        let mut shares = Shares::default();
        let queue = QueueName::default();
        let account = |user| Account { user, queue: &queue };
        shares.charge(Timestamp(0), account(1), WHOLE, 3_600_000);
        assert_eq!((left(&shares, 1), left(&shares, 2)), (500_000, WHOLE));
        shares.charge(Timestamp(0), account(2), WHOLE, 3_600_000);
        assert_eq!((left(&shares, 1), left(&shares, 2)), (500_000, 500_000));
        // A week later the same time counts twice.
        shares.charge(Timestamp(7 * DAY), account(2), WHOLE, 1_800_000);
        assert_eq!(left(&shares, 1), 600_000, "3 / (3 + 1·2)");
        assert_eq!(left(&shares, 2), 428_571, "3 / (3 + 2·2)");
        let before = (left(&shares, 1), left(&shares, 2));
        assert!(shares.begin_epoch(Timestamp(200 * DAY)) > 0);
        let after = (left(&shares, 1), left(&shares, 2));
        assert!(before.0.abs_diff(after.0) < 10 && before.1.abs_diff(after.1) < 10, "{before:?} {after:?}");
    }

    #[test]
    fn who_was_charged_and_used_nothing_shares_with_nobody() {
        let mut shares = Shares::default();
        let queue = QueueName::default();
        let account = |user| Account { user, queue: &queue };
        shares.charge(Timestamp(0), account(1), WHOLE, 1_024);
        let charged = shares.charge(Timestamp(0), account(2), WHOLE, 1_024);
        assert_eq!(left(&shares, 1), 500_000, "2 / (2 + 1·2)");
        shares.settle(Timestamp(0), account(2), charged, WHOLE, 0);
        assert_eq!((left(&shares, 1), left(&shares, 2)), (500_000, WHOLE), "1 / (1 + 1·1)");
    }

    #[test]
    fn what_was_charged_too_much_is_given_back() {
        let mut shares = Shares::default();
        let queue = QueueName::default();
        let account = Account { user: 1, queue: &queue };
        let charged = shares.charge(Timestamp(5 * DAY), account, 250_000, 24 * 3_600_000);
        shares.settle(Timestamp(5 * DAY), account, charged, 250_000, 1_024);
        assert_eq!(shares.users[&1], 250_000 + 250_000 * 5 / 7);
    }

    #[test]
    fn long_ago_is_forgotten_and_nothing_overflows() {
        let mut shares = Shares::default();
        let queue = QueueName::default();
        for day in (0..40_000).step_by(100) {
            shares.begin_epoch(Timestamp(day * DAY));
            shares.charge(Timestamp(day * DAY), Account { user: 1, queue: &queue }, WHOLE, u64::MAX);
        }
        assert!(shares.begin_epoch(Timestamp(90_000 * DAY)) > 0);
        assert_eq!(shares.users.len(), 0);
    }
}
