//! Which cpus a job gets when a schedule is drawn: the lowest that are free, first fit.
//! It refuses to know anything but starts, ends and numbers of cpus; no policy decides this.

use super::workload::Job;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;

/// A job on cpus that are neighbours; one on others, too, has several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Whose, by its place in the list of jobs.
    pub job: usize,
    /// From when to when.
    pub time: Range<u64>,
    /// On which.
    pub rows: Range<u32>,
}

/// Free cpus, as ranges that do not touch: the first of each, and the one behind it.
struct Free(BTreeMap<u32, u32>);

impl Free {
    /// The lowest so many; fewer if there are not as many.
    fn take(&mut self, mut count: u32) -> Vec<Range<u32>> {
        let mut taken = Vec::new();
        while count > 0
            && let Some((first, behind)) = self.0.pop_first()
        {
            let until = behind.min(first.saturating_add(count));
            if until < behind {
                self.0.insert(until, behind);
            }
            count -= until - first;
            taken.push(first..until);
        }
        taken
    }

    fn give_back(&mut self, rows: &Range<u32>) {
        let behind = self.0.remove(&rows.end).unwrap_or(rows.end);
        match self.0.range_mut(..rows.start).next_back() {
            Some((_, before)) if *before == rows.start => *before = behind,
            _ => drop(self.0.insert(rows.start, behind)),
        }
    }
}

/// The bars of a schedule, in the order of their starts.
pub fn bars(jobs: &[Job], starts: &[u64], cpus: u32) -> Vec<Bar> {
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by_key(|job| starts[*job]);
    let mut free = Free(BTreeMap::from([(0, cpus)]));
    let mut bars: Vec<Bar> = Vec::with_capacity(jobs.len());
    let mut ends: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    for job in order {
        let start = starts[job];
        while let Some(Reverse((end, bar))) = ends.peek().copied()
            && end <= start
        {
            ends.pop();
            free.give_back(&bars[bar].rows);
        }
        let end = start + jobs[job].run_ms;
        for rows in free.take(jobs[job].holds.cpus) {
            ends.push(Reverse((end, bars.len())));
            bars.push(Bar { job, time: start..end, rows });
        }
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::workload::Amount;

    fn job(run_ms: u64, cpus: u32) -> Job {
        let holds = Amount { cpus, memory: 0 };
        Job { number: 1, user: None, submit_ms: 0, run_ms, asked_ms: run_ms, holds }
    }

    #[test]
    fn a_job_gets_the_lowest_cpus_that_are_free() {
        let jobs = [job(10, 2), job(20, 1), job(10, 1), job(5, 3)];
        let bars: Vec<_> =
            bars(&jobs, &[0, 0, 0, 10], 4).into_iter().map(|bar| (bar.job, bar.time, bar.rows)).collect();
        assert_eq!(bars, [(0, 0..10, 0..2), (1, 0..20, 2..3), (2, 0..10, 3..4), (3, 10..15, 0..2), (3, 10..15, 3..4)]);
    }

    #[test]
    fn all_cpus_are_free_again_in_one_piece() {
        let mut free = Free(BTreeMap::from([(0, 10)]));
        let taken: Vec<_> = [3, 2, 5].map(|count| free.take(count)).concat();
        assert!(free.0.is_empty());
        for rows in [&taken[0], &taken[2], &taken[1]] {
            free.give_back(rows);
        }
        assert_eq!(free.0, BTreeMap::from([(0, 10)]));
    }
}
