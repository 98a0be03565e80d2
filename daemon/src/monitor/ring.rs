//! The newest samples, bounded in number and age.
//! It refuses to know what a sample is of.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far back samples reach.
const SPAN: Duration = Duration::from_mins(5);

/// Samples with the time at which each was taken.
#[derive(Debug)]
pub(super) struct Ring<T>(VecDeque<(Instant, T)>);

impl<T: Copy> Ring<T> {
    pub fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Adds the newest; at most `most` stay.
    pub fn push(&mut self, at: Instant, sample: T, most: usize) {
        while self.0.len() >= most.max(1) {
            self.0.pop_front();
        }
        self.0.push_back((at, sample));
        self.forget_old(at);
        // A ring that was longer when there were fewer of them gives its memory back.
        if self.0.capacity() > 4 * most {
            self.0.shrink_to(most);
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while self.0.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > SPAN) {
            self.0.pop_front();
        }
    }

    /// The newest, and when it was taken.
    pub fn newest(&self) -> Option<(Instant, T)> {
        self.0.back().copied()
    }

    /// Those that are not too old, the oldest first.
    pub fn recent(&self, now: Instant) -> Vec<T> {
        let fits = self.0.iter().filter(|(at, _)| now.saturating_duration_since(*at) <= SPAN);
        fits.map(|(_, sample)| *sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_keeps_the_newest_in_their_order_and_nothing_older_than_five_minutes() {
        let begin = Instant::now();
        let at = |s: u64| begin + Duration::from_secs(s);
        let mut ring = Ring::new();
        for second in 0..10 {
            ring.push(at(second), second, 4);
        }
        assert_eq!((ring.recent(at(9)), ring.newest()), (vec![6, 7, 8, 9], Some((at(9), 9))));
        assert_eq!(ring.recent(at(308)), [8, 9]);
        ring.push(at(308), 308, 4);
        assert_eq!(ring.0.len(), 3);
        ring.push(at(309), 309, 1);
        assert_eq!(ring.recent(at(309)), [309]);
        assert!(ring.recent(at(10_000)).is_empty());
    }
}
