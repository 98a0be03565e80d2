//! Single decisions that the page names and that random worlds come to seldom, or say less plainly.
//! It refuses to be complete: that is for the other files.

use crate::lab::{Habit, Lab};
use crate::wishes::{HOUR, MINUTE};
use qrm_core::Policy;
use qrm_protocol::ids::JobRef;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn lab(machine: [u64; 3]) -> Lab {
    Lab::new(machine, Policy::default(), &BTreeMap::new())
}

fn lasts(runs_for: u64) -> Habit {
    Habit { runs_for, ..Habit::default() }
}

/// Submits a job that runs for so long.
fn job(lab: &mut Lab, spec: Value, runs_for: u64) -> JobRef {
    lab.submits(1, spec, lasts(runs_for)).unwrap()
}

fn runs(lab: &Lab, job: JobRef) -> bool {
    lab.core.running(usize::MAX).contains(&job)
}

#[test]
fn a_run_that_ends_when_it_was_expected_to_is_not_late() {
    let mut lab = lab([2, 0, 0]);
    let first = job(&mut lab, json!({}), 24 * HOUR);
    job(&mut lab, json!({}), 24 * HOUR);
    let wide = job(&mut lab, json!({"cpus": 2}), HOUR);
    let small = job(&mut lab, json!({"priority": 0, "time_limit_ms": 30_000}), MINUTE);
    lab.passes(24 * HOUR - 1);
    // Both end in the same instant, one after the other, and between that there is room for a moment.
    lab.passes(1);
    assert!(!runs(&lab, first) && runs(&lab, wide) && !runs(&lab, small));
}
