//! Single decisions that the page names and that random worlds come to seldom, or say less plainly.
//! It refuses to be complete: that is for the other files.

use crate::lab::{Habit, Lab};
use crate::wishes::{HOUR, MINUTE};
use qrm_core::{Action, Control, Host, Observed, Policy, Refusal, Short, StopWhy};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::{JobChange, JobState};
use qrm_protocol::queue::{OnPreempt, QueueChange};
use qrm_protocol::time::{Millis, Timestamp};
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

#[test]
fn nobody_makes_room_for_one_that_starts_as_early_in_another_way() {
    let mut lab = lab([2, 0, 0]);
    job(&mut lab, json!({"time_limit_ms": 5_000}), 4_000);
    let idle = job(&mut lab, json!({"idle": true}), HOUR);
    let ways = json!({"cpus": 2, "or": [{"cpus": 1}]});
    let waits = job(&mut lab, ways, HOUR);
    assert_eq!(lab.core.look(lab.at(), idle).unwrap().stopping, None, "it would be gone later than the other");
    lab.passes(4_000);
    assert!(runs(&lab, waits) && runs(&lab, idle));
}

#[test]
fn room_is_for_whom_it_was_made() {
    for (word, on_preempt) in [("waits", OnPreempt::Requeue), ("stands", OnPreempt::Suspend)] {
        let mut lab = lab([1, 0, 0]);
        let change = QueueChange { on_preempt: Some(on_preempt), ..QueueChange::default() };
        lab.does(Action::QueueSet { name: "low".parse().unwrap(), change }).unwrap();
        // It came so much earlier that it ranks higher, and is of a lower class all the same.
        job(&mut lab, json!({"time_limit_ms": 100 * HOUR}), 100 * HOUR);
        let old = job(&mut lab, json!({"priority": 25, "preemptible": true, "queue": "low"}), HOUR);
        lab.passes(100 * HOUR);
        assert!(runs(&lab, old));
        lab.passes(MINUTE);
        let urgent = job(&mut lab, json!({"priority": 75, "on_conflict": "preemption"}), HOUR);
        lab.passes(0);
        assert!(runs(&lab, urgent), "what made room and {word} took it again");
        lab.passes(HOUR);
        assert!(lab.core.look(lab.at(), old).is_some_and(|old| old.started_at.is_some() && !old.suspended));
    }
}

#[test]
fn what_stands_still_is_expected_to_go_on_for_what_is_left_of_it() {
    let mut lab = lab([1, 0, 0]);
    let change = QueueChange { on_preempt: Some(OnPreempt::Suspend), ..QueueChange::default() };
    lab.does(Action::QueueSet { name: "low".parse().unwrap(), change }).unwrap();
    let low = json!({"priority": 40, "preemptible": true, "queue": "low", "time_limit_ms": HOUR});
    job(&mut lab, low, HOUR);
    lab.passes(HOUR - MINUTE);
    job(&mut lab, json!({"on_conflict": "preemption", "time_limit_ms": 10 * MINUTE}), HOUR);
    let behind = job(&mut lab, json!({"priority": 0}), HOUR);
    let planned = lab.core.look(lab.at(), behind).unwrap().planned.unwrap();
    assert_eq!(planned.0 - lab.now.wall, 11 * 60_000, "it waits for ten minutes, and for the last one of the other");
}

#[test]
fn the_time_in_which_a_run_stood_still_tells_nothing_of_the_next() {
    let mut lab = lab([1, 0, 0]);
    let first = job(&mut lab, json!({"time_limit_ms": HOUR}), HOUR);
    job(&mut lab, json!({"time_limit_ms": HOUR}), HOUR);
    let next = job(&mut lab, json!({"time_limit_ms": HOUR}), HOUR);
    lab.passes(10 * MINUTE);
    lab.controls(Control::Suspend, first);
    lab.passes(20 * MINUTE);
    let run = lab.runs()[0];
    lab.ends(run, 1);
    let expected = lab.core.explain(lab.at(), next).unwrap().expected;
    assert_eq!(expected, Some((10 * MINUTE, "history")));
}

#[test]
fn what_does_not_go_away_wakes_nobody_again_and_again() {
    let mut lab = lab([1, 0, 0]);
    let stays = Habit { runs_for: 100 * HOUR, goes_on_for: 100 * HOUR, ..Habit::default() };
    // One of them stands still with a second left, the other is not gone by being killed.
    for stands in [true, false] {
        let first = lab.submits(1, json!({"time_limit_ms": HOUR}), stays).unwrap();
        let next = job(&mut lab, json!({"time_limit_ms": HOUR}), HOUR);
        lab.passes(HOUR - 1_000);
        match stands {
            true => drop(lab.controls(Control::Suspend, first)),
            false => drop(lab.does(Action::Cancel { targets: vec![first] }).unwrap()),
        }
        lab.survives = !stands;
        let before = lab.said.iter().filter(|said| said.ends_with("Tick")).count();
        lab.passes(HOUR);
        let wakes = lab.said.iter().filter(|said| said.ends_with("Tick")).count() - before;
        assert!(wakes < 150, "it woke {wakes} times in an hour");
        assert!(lab.core.look(lab.at(), next).unwrap().planned.unwrap().0 > lab.now.wall);
        lab.survives = false;
        lab.does(Action::Cancel { targets: vec![next] }).unwrap();
        let run = lab.runs()[0];
        lab.ends(run, 1);
    }
}

#[test]
fn what_the_machine_became_too_small_for_can_be_changed_in_all_else() {
    let mut lab = lab([4, 0, 0]);
    job(&mut lab, json!({"cpus": 4}), HOUR);
    let wide = job(&mut lab, json!({"cpus": 4, "time_limit_ms": HOUR}), HOUR);
    lab.offers([2, 0, 0]);
    let most = QueueChange { max_time_ms: Some(Millis(MINUTE)), ..QueueChange::default() };
    lab.does(Action::QueueSet { name: "default".parse().unwrap(), change: most }).unwrap();
    lab.updates(wide, JobChange { name: Some("wide".into()), ..JobChange::default() }).unwrap();
    lab.updates(wide, JobChange { priority: Some(75.try_into().unwrap()), ..JobChange::default() }).unwrap();
    let wider = lab.updates(wide, JobChange { cpus: Some(3), ..JobChange::default() });
    assert!(matches!(wider, Err(Refusal::TooLong { .. })), "{wider:?}");
    let short = JobChange { time_limit_ms: Some(Millis(MINUTE)), ..JobChange::default() };
    let wider = lab.updates(wide, JobChange { cpus: Some(3), ..short.clone() });
    assert!(matches!(wider, Err(Refusal::TooManyCpus { .. })), "{wider:?}");
    lab.updates(wide, JobChange { cpus: Some(2), ..short }).unwrap();
}

#[test]
fn what_could_not_begin_before_its_deadline_is_refused() {
    let mut lab = lab([1, 0, 0]);
    let at = |minutes: u64| Timestamp(lab.now.wall + i64::try_from(minutes * MINUTE).unwrap());
    let (soon, late) = (at(1), at(2));
    let bounds = |begin: Timestamp, deadline: Timestamp| json!({"begin": begin, "deadline": deadline});
    for (begin, deadline) in [(late, soon), (late, late)] {
        assert_eq!(lab.submits(1, bounds(begin, deadline), lasts(HOUR)), None);
    }
    let waits = job(&mut lab, bounds(soon, late), HOUR);
    let later = JobChange { begin: Some(late), ..JobChange::default() };
    assert_eq!(lab.updates(waits, later.clone()), Err(Refusal::NoTime));
    let deadline = Some(Timestamp(late.0 + 1));
    lab.updates(waits, JobChange { deadline, ..later }).unwrap();
}

#[test]
fn an_array_does_not_age_while_it_is_held() {
    let mut lab = lab([1, 0, 0]);
    let first = job(&mut lab, json!({"array": "0-1"}), HOUR);
    lab.controls(Control::Hold, first);
    lab.passes(HOUR / 2);
    let second = job(&mut lab, json!({}), HOUR);
    lab.passes(HOUR / 4);
    lab.controls(Control::Release, first);
    lab.passes(HOUR / 4);
    assert_eq!(lab.core.running(9), [second]);
}

#[test]
fn room_is_made_beside_those_of_higher_rank_where_they_are_planned() {
    let mut lab = lab([4, 0, 0]);
    let low = |cpus: u64| json!({"cpus": cpus, "priority": 25, "preemptible": true, "time_limit_ms": HOUR});
    job(&mut lab, low(3), HOUR);
    lab.passes(MINUTE);
    let small = job(&mut lab, low(1), HOUR);
    // Were both gone, this one would have all of it, but its way is not to end others.
    job(&mut lab, json!({"cpus": 4, "priority": 100}), HOUR);
    let short = json!({"priority": 75, "on_conflict": "preemption", "time_limit_ms": 10 * MINUTE});
    let urgent = job(&mut lab, short, MINUTE);
    lab.passes(0);
    assert!(runs(&lab, urgent) && !runs(&lab, small));
}

#[test]
fn as_few_make_room_as_one_of_the_alternatives_needs() {
    let mut lab = lab([4, 0, 0]);
    let low = |cpus: u64| json!({"cpus": cpus, "priority": 25, "preemptible": true});
    let old = job(&mut lab, low(2), 2 * HOUR);
    lab.passes(MINUTE);
    let young = job(&mut lab, low(2), 2 * HOUR);
    let ways = json!({"exclusive": true, "cpus": 2, "on_conflict": "preemption", "or": [{"exclusive": false}]});
    let urgent = job(&mut lab, ways, HOUR);
    lab.passes(0);
    assert!(runs(&lab, urgent) && runs(&lab, old) && !runs(&lab, young));
}

#[test]
fn what_is_on_its_way_out_is_waited_for() {
    let mut lab = lab([2, 0, 0]);
    let change = QueueChange { on_preempt: Some(OnPreempt::Suspend), ..QueueChange::default() };
    lab.does(Action::QueueSet { name: "stands".parse().unwrap(), change }).unwrap();
    let stands = job(&mut lab, json!({"priority": 25, "preemptible": true, "queue": "stands"}), HOUR);
    let saves = json!({"priority": 25, "preemptible": true, "checkpoint_signal": "USR1"});
    let saves = lab.submits(1, saves, Habit { goes_on_for: 5_000, ..lasts(HOUR) }).unwrap();
    job(&mut lab, json!({"priority": 75, "on_conflict": "preemption"}), MINUTE);
    assert!(lab.core.look(lab.at(), saves).unwrap().stopping.is_some());
    // It could make room sooner, but that is made already.
    assert!(!lab.core.look(lab.at(), stands).unwrap().yields);
}

#[test]
fn what_is_ended_while_it_makes_room_does_not_go_on_later() {
    for by_deadline in [false, true] {
        let mut lab = lab([1, 0, 0]);
        let deadline = by_deadline.then(|| Timestamp(lab.now.wall + 2_000).to_string());
        let idle = json!({"idle": true, "grace": "10s", "deadline": deadline});
        let idle = lab.submits(1, idle, Habit { goes_on_for: 5_000, ..lasts(HOUR) }).unwrap();
        job(&mut lab, json!({}), MINUTE);
        assert_eq!(lab.core.look(lab.at(), idle).unwrap().stopping, Some(StopWhy::Preempted));
        if !by_deadline {
            lab.does(Action::Cancel { targets: vec![idle] }).unwrap();
        }
        lab.passes(HOUR);
        let end = if by_deadline { JobState::Timeout } else { JobState::Cancelled };
        assert_eq!(lab.naive.over.get(&idle), Some(&end));
    }
}

#[test]
fn who_made_room_does_not_take_it_again_before_it_is_used() {
    for least in [0, 2] {
        let mut lab = lab([2, 0, 0]);
        let idle = || json!({"idle": true, "min_run_ms": least});
        job(&mut lab, idle(), 1_000);
        lab.passes(1_000);
        // They are expected to run for a second, too, and do not.
        for _ in 0..2 {
            job(&mut lab, idle(), HOUR);
        }
        lab.passes(1);
        let wide = job(&mut lab, json!({"cpus": 2}), MINUTE);
        lab.passes(HOUR / 2);
        assert!(lab.naive.started.contains(&wide), "{}", lab.said.join("\n"));
    }
}
