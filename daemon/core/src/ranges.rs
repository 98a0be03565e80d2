//! A set of small numbers kept as ranges, so that an array of a million tasks costs one entry until it frays.
//! It refuses to know what the numbers mean.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Numbers, as `first -> last` of ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u32, u32)>", into = "Vec<(u32, u32)>")]
pub(crate) struct Ranges {
    ranges: BTreeMap<u32, u32>,
    len: u32,
}

impl TryFrom<Vec<(u32, u32)>> for Ranges {
    type Error = &'static str;

    fn try_from(pairs: Vec<(u32, u32)>) -> Result<Self, &'static str> {
        let apart = pairs.windows(2).all(|w| u64::from(w[0].1) + 1 < u64::from(w[1].0));
        if !apart || pairs.iter().any(|(first, last)| first > last || *last == u32::MAX) {
            return Err("the ranges of a set are not in order");
        }
        let len = pairs.iter().map(|(first, last)| last - first + 1).sum();
        Ok(Self { ranges: pairs.into_iter().collect(), len })
    }
}

impl From<Ranges> for Vec<(u32, u32)> {
    fn from(set: Ranges) -> Self {
        set.ranges.into_iter().collect()
    }
}

impl Ranges {
    /// `0 .. count`.
    pub fn full(count: u32) -> Self {
        match count.checked_sub(1) {
            Some(last) => Self { ranges: BTreeMap::from([(0, last)]), len: count },
            None => Self::default(),
        }
    }

    pub fn len(&self) -> u32 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn first(&self) -> Option<u32> {
        self.ranges.keys().next().copied()
    }

    /// The first that is not smaller than this.
    pub fn first_from(&self, from: u32) -> Option<u32> {
        match self.around(from) {
            Some(_) => Some(from),
            None => self.ranges.range(from..).next().map(|(first, _)| *first),
        }
    }

    pub fn last(&self) -> Option<u32> {
        self.ranges.values().next_back().copied()
    }

    pub fn contains(&self, n: u32) -> bool {
        self.around(n).is_some()
    }

    fn around(&self, n: u32) -> Option<(u32, u32)> {
        self.ranges.range(..=n).next_back().map(|(first, last)| (*first, *last)).filter(|(_, last)| n <= *last)
    }

    /// Adds a number; false if it was there.
    pub fn insert(&mut self, n: u32) -> bool {
        if self.contains(n) {
            return false;
        }
        let mut range = (n, n);
        if let Some((first, last)) = n.checked_sub(1).and_then(|before| self.around(before)) {
            self.ranges.remove(&first);
            range.0 = first;
            debug_assert_eq!(last + 1, n);
        }
        if let Some(last) = n.checked_add(1).and_then(|after| self.ranges.remove(&after)) {
            range.1 = last;
        }
        self.ranges.insert(range.0, range.1);
        self.len += 1;
        true
    }

    /// Takes a number out; false if it was not there.
    pub fn remove(&mut self, n: u32) -> bool {
        let Some((first, last)) = self.around(n) else { return false };
        self.ranges.remove(&first);
        if first < n {
            self.ranges.insert(first, n - 1);
        }
        if n < last {
            self.ranges.insert(n + 1, last);
        }
        self.len -= 1;
        true
    }

    /// The ranges of both.
    pub fn plus(&self, other: &Self) -> Self {
        let mut pairs: Vec<(u32, u32)> = self.ranges.iter().chain(&other.ranges).map(|(a, b)| (*a, *b)).collect();
        pairs.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::with_capacity(pairs.len());
        for (first, last) in pairs {
            match joined.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = (*end).max(last),
                _ => joined.push((first, last)),
            }
        }
        Self::of(joined)
    }

    /// What is not in the other.
    pub fn less(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        for (first, last) in &self.ranges {
            let mut from = *first;
            let begins = other.around(*first).map_or(*first, |(begin, _)| begin);
            for (begin, end) in other.ranges.range(begins..=*last) {
                if *begin > from {
                    left.push((from, begin - 1));
                }
                from = from.max(end.saturating_add(1));
            }
            if from <= *last {
                left.push((from, *last));
            }
        }
        Self::of(left)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'_> {
        self.ranges.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// Of pairs that neither overlap nor touch.
    fn of(pairs: Vec<(u32, u32)>) -> Self {
        let len = pairs.iter().map(|(first, last)| last - first + 1).sum();
        Self { ranges: pairs.into_iter().collect(), len }
    }

    /// Takes everything out.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

impl FromIterator<u32> for Ranges {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut ranges = Self::default();
        for n in numbers {
            ranges.insert(n);
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn sums_and_differences_are_those_of_plain_sets(a in prop::collection::btree_set(0u32..40, 0..30), b in prop::collection::btree_set(0u32..40, 0..30)) {
            let ranges = |set: &BTreeSet<u32>| set.iter().copied().collect::<Ranges>();
            prop_assert_eq!(ranges(&a).plus(&ranges(&b)), ranges(&a.union(&b).copied().collect()));
            prop_assert_eq!(ranges(&a).less(&ranges(&b)), ranges(&a.difference(&b).copied().collect()));
            prop_assert!(ranges(&a).iter().eq(a.iter().copied()));
        }

        #[test]
        fn ranges_hold_what_a_plain_set_holds(full in 0u32..40, ops in prop::collection::vec((any::<bool>(), 0u32..40), 0..200)) {
            let mut plain: BTreeSet<u32> = (0..full).collect();
            let mut ranges = Ranges::full(full);
            for (add, n) in ops {
                let changed = if add { plain.insert(n) } else { plain.remove(&n) };
                prop_assert_eq!(if add { ranges.insert(n) } else { ranges.remove(n) }, changed);
                prop_assert_eq!(ranges.len() as usize, plain.len());
                prop_assert_eq!(ranges.first(), plain.first().copied());
                for probe in 0..41 {
                    prop_assert_eq!(ranges.contains(probe), plain.contains(&probe));
                    prop_assert_eq!(ranges.first_from(probe), plain.range(probe..).next().copied());
                }
                let pairs: Vec<_> = ranges.ranges.iter().collect();
                prop_assert!(pairs.windows(2).all(|w| w[0].1 + 1 < *w[1].0), "ranges touch: {:?}", ranges);
            }
        }
    }
}
