//! Single decisions that the page names and that random worlds come to seldom, or say less plainly.
//! It refuses to be complete: that is for the other files.

use crate::lab::{Habit, Lab};
use crate::wishes::{HOUR, MINUTE};
use qrm_core::{Action, Host, Observed, Policy, Short, StopWhy};
use qrm_protocol::ids::JobRef;
use qrm_protocol::queue::QueueChange;
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

#[test]
fn a_job_that_is_planned_has_its_place_in_its_queue() {
    let mut lab = lab([2, 0, 0]);
    let change = QueueChange { max_running: Some(1), ..QueueChange::default() };
    lab.does(Action::QueueSet { name: "one".parse().unwrap(), change }).unwrap();
    job(&mut lab, json!({"time_limit_ms": HOUR}), HOUR);
    let wide = job(&mut lab, json!({"queue": "one", "cpus": 2}), HOUR);
    // It fits beside the first, and would hold the place in the queue when that ends.
    let later = job(&mut lab, json!({"queue": "one", "time_limit_ms": HOUR}), 2 * MINUTE);
    assert!(!runs(&lab, later));
    lab.passes(HOUR);
    assert!(runs(&lab, wide), "another of its queue delayed it");
}

#[test]
fn under_pressure_one_job_runs_at_a_time() {
    let mut lab = lab([2, 0, 0]);
    let short = Some(Short::Cpu { permille: 900, most: 500 });
    lab.sees(Observed::Host(Host { mem_bytes: None, short }));
    let array = job(&mut lab, json!({"array": "0-2"}), HOUR);
    assert_eq!(lab.core.running(9), [JobRef::task(array.job, 0)]);
    lab.passes(HOUR);
    assert_eq!(lab.core.running(9), [JobRef::task(array.job, 1)]);
    lab.sees(Observed::Host(Host::default()));
    assert_eq!(lab.core.running(9).len(), 2);
}

#[test]
fn who_needs_none_of_what_is_short_starts() {
    let mut lab = lab([2, 8, 0]);
    job(&mut lab, json!({"mem_bytes": 6}), HOUR);
    // Others than jobs took so much memory that less is left than was granted.
    lab.sees(Observed::Host(Host { mem_bytes: Some(4), short: None }));
    let none = job(&mut lab, json!({}), HOUR);
    assert!(runs(&lab, none));
    let some = job(&mut lab, json!({"cpus": 0, "mem_bytes": 1}), HOUR);
    assert!(!runs(&lab, some));
}

#[test]
fn room_is_made_beside_what_is_gone_by_then() {
    let mut lab = lab([2, 0, 0]);
    let ends = job(&mut lab, json!({"grace": "20s"}), HOUR);
    let gives_way = job(&mut lab, json!({"priority": 0, "preemptible": true, "grace": "30s"}), HOUR);
    lab.does(Action::Cancel { targets: vec![ends] }).unwrap();
    job(&mut lab, json!({"cpus": 2, "on_conflict": "preemption"}), HOUR);
    let stopping = lab.core.look(lab.at(), gives_way).unwrap().stopping;
    assert_eq!(stopping, Some(StopWhy::Preempted));
}
