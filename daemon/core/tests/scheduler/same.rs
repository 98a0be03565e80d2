//! The core and the naive scheduler decide the same. It refuses to say what is right; the page does.

use crate::lab::Lab;
use crate::wishes::{MACHINE, Wild, op, policy, queues};
use proptest::prelude::*;

proptest! {
    #![proptest_config(crate::cases(200))]

    #[test]
    fn jobs_start_and_are_planned_as_the_page_says(
        policy in policy(), ops in prop::collection::vec(op(Wild::NONE), 1..40)
    ) {
        let mut lab = Lab::new(MACHINE, policy, &std::collections::BTreeMap::new());
        ops.iter().for_each(|op| lab.apply(op));
    }

    #[test]
    fn whatever_is_asked_for_it_starts_as_the_page_says(
        policy in policy(), queues in queues(Wild::ALL), ops in prop::collection::vec(op(Wild::ALL), 1..40)
    ) {
        let mut lab = Lab::new(MACHINE, policy, &queues);
        ops.iter().for_each(|op| lab.apply(op));
    }
}
