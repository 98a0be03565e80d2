//! What is taken of everything over time to come: a step function, by the clock that never jumps.
//! It refuses to know who takes it.

use crate::shape::Amounts;

/// What is taken from an instant on, until the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    from: u64,
    taken: Amounts,
}

/// What is taken from now on, of what there is.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    all: Amounts,
    /// In order; the first is now, the last has no end.
    steps: Vec<Step>,
}

impl Profile {
    /// What runs take until they are expected to end: `ends` are instants after `now`, and what is given back then.
    pub fn new(now: u64, all: Amounts, mut ends: Vec<(u64, Amounts)>) -> Self {
        ends.sort_unstable_by_key(|(at, _)| *at);
        let taken = ends.iter().fold(Amounts::default(), |sum, (_, amounts)| sum.plus(*amounts));
        let mut steps = vec![Step { from: now, taken }];
        for (at, amounts) in ends {
            let last = steps.len() - 1;
            let taken = steps[last].taken.less(amounts);
            match steps[last].from < at {
                true => steps.push(Step { from: at, taken }),
                false => steps[last].taken = taken,
            }
        }
        Self { all, steps }
    }

    /// The first instant from now on at which so much is free for so long; nothing if there never is.
    pub fn earliest(&self, want: Amounts, ms: u64) -> Option<u64> {
        self.earliest_from(self.steps[0].from, want, ms)
    }

    /// The same from a later instant on.
    pub fn earliest_from(&self, from: u64, want: Amounts, ms: u64) -> Option<u64> {
        let fits = |step: &Step| self.all.leaves(step.taken, want);
        let mut start: Option<u64> = None;
        let first = self.steps.partition_point(|step| step.from <= from).saturating_sub(1);
        for step in &self.steps[first..] {
            if start.is_some_and(|start| step.from >= start.saturating_add(ms)) {
                return start;
            }
            match (fits(step), start) {
                (true, None) => start = Some(step.from.max(from)),
                (true, Some(_)) => {}
                (false, _) => start = None,
            }
        }
        start
    }

    /// Whether so much is free from now on for so long.
    pub fn fits_now(&self, want: Amounts, ms: u64) -> bool {
        let now = self.steps[0].from;
        let meanwhile = self.steps.iter().take_while(|step| step.from < now.saturating_add(ms.max(1)));
        meanwhile.into_iter().all(|step| self.all.leaves(step.taken, want))
    }

    /// The same from a later instant on.
    pub fn fits_at(&self, start: u64, want: Amounts, ms: u64) -> bool {
        let end = start.saturating_add(ms.max(1));
        let first = self.steps.partition_point(|step| step.from <= start).saturating_sub(1);
        self.steps[first..].iter().take_while(|step| step.from < end).all(|step| self.all.leaves(step.taken, want))
    }

    /// What is taken at an instant from now on.
    pub fn taken_at(&self, at: u64) -> Amounts {
        let place = self.steps.partition_point(|step| step.from <= at).saturating_sub(1);
        self.steps[place].taken
    }

    /// Takes so much from then on, for so long.
    pub fn take(&mut self, start: u64, want: Amounts, ms: u64) {
        let end = start.saturating_add(ms.max(1));
        let (first, last) = (self.cut(start), self.cut(end));
        for step in &mut self.steps[first..last] {
            step.taken = step.taken.plus(want);
        }
    }

    /// Gives back what is taken from `at` until `end`.
    pub fn give(&mut self, at: u64, end: u64, amounts: Amounts) {
        if at >= end {
            return;
        }
        let (first, last) = (self.cut(at), self.cut(end));
        for step in &mut self.steps[first..last] {
            step.taken = step.taken.less(amounts);
        }
    }

    /// Has a step begin then; its place. What is before now is now, and the end of time is after the last.
    fn cut(&mut self, at: u64) -> usize {
        if at == u64::MAX {
            return self.steps.len();
        }
        let place = self.steps.partition_point(|step| step.from < at);
        if place == 0 || self.steps.get(place).is_some_and(|step| step.from == at) {
            return place;
        }
        let before = self.steps[place - 1];
        self.steps.insert(place, Step { from: at, ..before });
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cpus(cpus: u64) -> Amounts {
        Amounts { cpus, ..Amounts::default() }
    }

    const END: u64 = 60;

    proptest! {
        /// The oracle holds a number for each instant.
        #[test]
        fn a_profile_is_a_table_of_all_instants(
            ends in prop::collection::vec((1u64..40, 0u64..5), 0..6),
            ops in prop::collection::vec((0u8..3, 0u64..40, 0u64..5, 1u64..20), 0..12)
        ) {
            let all = 8;
            let mut table: Vec<u64> = (0..END).map(|t| ends.iter().filter(|(at, _)| *at > t).map(|(_, n)| n).sum()).collect();
            let mut profile = Profile::new(0, cpus(all), ends.iter().map(|(at, n)| (*at, cpus(*n))).collect());
            for (what, start, n, ms) in ops {
                match what {
                    0 => {
                        profile.take(start, cpus(n), ms);
                        (start..start + ms).for_each(|t| table[usize::try_from(t).unwrap()] += n);
                    }
                    1 => {
                        profile.give(start, start + ms, cpus(n));
                        (start..start + ms).for_each(|t| {
                            let taken = &mut table[usize::try_from(t).unwrap()];
                            *taken = taken.saturating_sub(n);
                        });
                    }
                    _ => {}
                }
                let free = |t: u64| n == 0 || table.get(usize::try_from(t).unwrap()).copied().unwrap_or(0) + n <= all;
                let fits = |t: u64| (t..t + ms).all(free);
                prop_assert_eq!(profile.taken_at(start).cpus, table[usize::try_from(start).unwrap()]);
                prop_assert_eq!(profile.fits_now(cpus(n), ms), fits(0));
                prop_assert_eq!(profile.fits_at(start, cpus(n), ms), fits(start));
                prop_assert_eq!(profile.earliest(cpus(n), ms), (0..=END).find(|t| fits(*t)));
                prop_assert_eq!(profile.earliest_from(start, cpus(n), ms), (start..=END).find(|t| fits(*t)));
            }
        }
    }
}
