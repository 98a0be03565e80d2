//! The core and the naive scheduler decide the same. It refuses to say what is right; the page does.

use crate::lab::Lab;
use crate::wishes::{MACHINE, Wild, op, policy};
use proptest::prelude::*;

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

const CALM: Wild = Wild { queues: false, room: false, changes: false };

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn jobs_start_and_are_planned_as_the_page_says(policy in policy(), ops in prop::collection::vec(op(CALM), 1..40)) {
        let mut lab = Lab::new(MACHINE, policy, &std::collections::BTreeMap::new());
        ops.iter().for_each(|op| lab.apply(op));
    }
}
