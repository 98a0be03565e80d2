//! What the scheduler promises, each promise against worlds that are made at random and a scheduler that is naive.
//! It refuses to know processes, clocks and files; that the core's own facts hold together is for `properties`.
#![allow(clippy::unwrap_used)]

mod after;
mod cases;
mod holds;
mod lab;
mod naive;
mod offers;
mod planned;
mod same;
mod share;
mod why;
mod wishes;

use proptest::prelude::ProptestConfig;

/// So many cases. What was found once is a case of its own in `cases`, and not a seed.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 3_000, ..ProptestConfig::default() }
}
