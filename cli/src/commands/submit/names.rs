//! Jobs of a file that wait for each other: in which order they can be queued, or which of them wait in a circle.
//! It refuses to know anything of a job but its place.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The places so that each comes after those that it waits for, else in their own order.
///
/// # Errors
/// Some wait in a circle: each of these waits for the next one, and the last for the first. The first is the one that
/// stands first.
pub(super) fn order(waits_for: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); waits_for.len()];
    let mut left: Vec<usize> = waits_for.iter().map(Vec::len).collect();
    for (place, on) in waits_for.iter().enumerate() {
        for earlier in on {
            followers[*earlier].push(place);
        }
    }
    let mut ready: BinaryHeap<_> = (0..left.len()).filter(|place| left[*place] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(left.len());
    while let Some(Reverse(place)) = ready.pop() {
        order.push(place);
        for follower in &followers[place] {
            left[*follower] -= 1;
            if left[*follower] == 0 {
                ready.push(Reverse(*follower));
            }
        }
    }
    match left.iter().position(|n| *n > 0) {
        None => Ok(order),
        Some(stuck) => Err(circle(waits_for, &left, stuck)),
    }
}

/// A circle among those that are left: each of them waits for another one that is.
fn circle(waits_for: &[Vec<usize>], left: &[usize], from: usize) -> Vec<usize> {
    let mut seen = vec![None; left.len()];
    let (mut path, mut at) = (Vec::new(), from);
    while seen[at].is_none() {
        seen[at] = Some(path.len());
        path.push(at);
        let next = waits_for[at].iter().find(|on| left[**on] > 0);
        at = *next.expect("who is left waits for someone who is");
    }
    let mut circle = path.split_off(seen[at].unwrap_or(0));
    let first = circle.iter().enumerate().min_by_key(|(_, place)| **place).map_or(0, |(at, _)| at);
    circle.rotate_left(first);
    circle
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn who_waits_comes_later_and_the_rest_stays_as_it_was() {
        for (waits_for, expected) in [
            (vec![], Ok(vec![])),
            (vec![vec![], vec![], vec![]], Ok(vec![0, 1, 2])),
            (vec![vec![2], vec![], vec![1]], Ok(vec![1, 2, 0])),
            (vec![vec![], vec![0, 0], vec![1]], Ok(vec![0, 1, 2])),
            (vec![vec![0]], Err(vec![0])),
            (vec![vec![], vec![3], vec![1], vec![2, 0]], Err(vec![1, 3, 2])),
            (vec![vec![1], vec![2], vec![1]], Err(vec![1, 2])),
        ] {
            assert_eq!(order(&waits_for), expected, "{waits_for:?}");
        }
    }

    #[test]
    fn a_hundred_thousand_in_a_row_or_in_a_circle_are_no_problem() {
        let count = 100_000;
        let mut row: Vec<Vec<usize>> = (1..=count).map(|next| vec![next]).collect();
        row.push(Vec::new());
        assert_eq!(order(&row).unwrap(), (0..=count).rev().collect::<Vec<_>>());
        row[count].push(0);
        assert_eq!(order(&row).unwrap_err().len(), count + 1);
    }

    proptest! {
        #[test]
        fn an_order_or_a_circle_is_always_a_true_one(
            waits_for in (1usize..12).prop_flat_map(|n| prop::collection::vec(prop::collection::vec(0..n, 0..3), n)),
        ) {
            match order(&waits_for) {
                Ok(order) => {
                    let place = |job: usize| order.iter().position(|o| *o == job).unwrap();
                    prop_assert_eq!(order.len(), waits_for.len());
                    for (job, on) in waits_for.iter().enumerate() {
                        prop_assert!(on.iter().all(|earlier| place(*earlier) < place(job)));
                    }
                }
                Err(circle) => {
                    for (at, job) in circle.iter().enumerate() {
                        prop_assert!(waits_for[*job].contains(&circle[(at + 1) % circle.len()]));
                    }
                }
            }
        }
    }
}
