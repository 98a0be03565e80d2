//! Users and queues with endless work have what their weights give them. It refuses to count what they wait.

use crate::lab::{Habit, Lab, Length};
use crate::wishes::{HOUR, MINUTE};
use qrm_core::{Action, Policy};
use qrm_protocol::ids::Uid;
use qrm_protocol::queue::QueueChange;
use serde_json::json;
use std::collections::BTreeMap;

/// Cpus of the machine: so many runs at once.
const CPUS: u64 = 8;
/// After so many runs the shares are those of the weights, but for so many thousandths of all.
const RUNS: u64 = 400;
const OFF: u64 = 25;

fn lab(shares: BTreeMap<Uid, u32>) -> Lab {
    let mut lab = Lab::new([CPUS, 0, 0], Policy { shares, ..Policy::default() }, &BTreeMap::new());
    (lab.compares, lab.length) = (false, Length::Habit);
    lab
}

/// Starts by what was asked for, counted by the place of their job from 0.
fn starts(lab: &Lab, jobs: usize) -> Vec<u64> {
    let mut starts = vec![0; jobs];
    for job in lab.naive.started.iter().filter(|job| job.task.is_some()) {
        starts[usize::try_from(job.job.0 - 1).unwrap() % jobs] += 1;
    }
    starts
}

fn is_near(starts: &[u64], weights: &[u64]) -> bool {
    let (all, whole): (u64, u64) = (starts.iter().sum(), weights.iter().sum());
    starts.iter().zip(weights).all(|(n, weight)| (n * 1_000 / all).abs_diff(weight * 1_000 / whole) <= OFF)
}

const TABLE: [[u64; 2]; 3] = [[1, 1], [2, 1], [5, 1]];

#[test]
fn two_users_with_endless_work_have_their_weights_within_four_hundred_runs() {
    for weights in TABLE {
        // The one with the larger weight comes last.
        let [heavy, light] = weights;
        let weight = |n: u64| u32::try_from(n).unwrap();
        let mut lab = lab(BTreeMap::from([(1, weight(light)), (2, weight(heavy))]));
        let habit = Habit { runs_for: 10 * MINUTE, ..Habit::default() };
        for user in [1, 2] {
            lab.submits(user, json!({"array": "0-499", "time_limit_ms": 10 * MINUTE}), habit).unwrap();
        }
        lab.passes(RUNS / CPUS * 10 * MINUTE);
        let starts = starts(&lab, 2);
        assert!(is_near(&starts, &[light, heavy]), "{weights:?}: {starts:?}");
    }
}

#[test]
fn two_queues_with_endless_work_have_their_weights_within_four_hundred_runs() {
    for weights in TABLE {
        let mut lab = lab(BTreeMap::new());
        let habit = Habit { runs_for: 10 * MINUTE, ..Habit::default() };
        for (name, weight) in [("heavy", weights[0]), ("light", weights[1])] {
            let change = QueueChange { weight: u32::try_from(weight).ok(), ..QueueChange::default() };
            lab.does(Action::QueueSet { name: name.parse().unwrap(), change }).unwrap();
            let spec = json!({"array": "0-499", "queue": name, "time_limit_ms": 10 * MINUTE});
            lab.submits(1, spec, habit).unwrap();
        }
        lab.passes(RUNS / CPUS * 10 * MINUTE);
        let starts = starts(&lab, 2);
        assert!(is_near(&starts, &weights), "{weights:?}: {starts:?}");
    }
}

/// One has runs of an hour, the other of ten minutes, on as many cpus: it is time that is shared, and not runs.
#[test]
fn what_is_shared_is_time_on_the_machine_and_not_runs() {
    let mut lab = lab(BTreeMap::new());
    for (user, minutes) in [(1, 60), (2, 10)] {
        let habit = Habit { runs_for: minutes * MINUTE, ..Habit::default() };
        // What they are expected to run is far from what they do.
        lab.submits(user, json!({"array": "0-1499", "time_limit_ms": 10 * HOUR}), habit).unwrap();
    }
    lab.passes(50 * HOUR);
    let starts = starts(&lab, 2);
    assert!(is_near(&[starts[0] * 6, starts[1]], &[1, 1]), "{starts:?}");
}

/// Somebody who always has ten jobs waiting.
fn keeps_asking(lab: &mut Lab, users: &[Uid]) {
    let habit = Habit { runs_for: 10 * MINUTE, ..Habit::default() };
    for user in users {
        let waits = lab.naive.waiting().filter(|(_, job)| job.user == *user).count();
        for _ in waits..10 {
            lab.submits(*user, json!({"time_limit_ms": 10 * MINUTE}), habit).unwrap();
        }
    }
}

fn users_runs(lab: &Lab, users: [Uid; 2], owners: &BTreeMap<u64, Uid>) -> [u64; 2] {
    let of = |user: Uid| lab.naive.started.iter().filter(|job| owners.get(&job.job.0) == Some(&user)).count() as u64;
    users.map(of)
}

/// A user who comes when another had the machine alone for a day has most of it until both used as much, and half from then on.
#[test]
fn who_comes_later_has_more_until_both_used_as_much() {
    let mut lab = lab(BTreeMap::new());
    let mut owners = BTreeMap::new();
    let mut hours = |lab: &mut Lab, users: &[Uid], hours: u64| {
        let before = users_runs(lab, [1, 2], &owners);
        for _ in 0..hours * 12 {
            keeps_asking(lab, users);
            owners.extend(lab.naive.jobs.iter().map(|(id, job)| (id.0, job.user)));
            lab.passes(5 * MINUTE);
        }
        let after = users_runs(lab, [1, 2], &owners);
        [after[0] - before[0], after[1] - before[1]]
    };
    let alone = hours(&mut lab, &[1], 24);
    let meanwhile = hours(&mut lab, &[1, 2], 24);
    assert!(meanwhile[1] > 9 * meanwhile[0], "it had {alone:?}, then {meanwhile:?}");
    let later = hours(&mut lab, &[1, 2], 24);
    assert!(is_near(&later, &[1, 1]), "then {later:?}");
}

/// The tasks of an array that has had its turns for a day are not a day ahead of those of another user.
#[test]
fn an_array_that_came_a_day_before_another_is_not_ahead_of_it() {
    let mut lab = lab(BTreeMap::new());
    let habit = Habit { runs_for: 10 * MINUTE, ..Habit::default() };
    let submit = |lab: &mut Lab, user| {
        lab.submits(user, json!({"array": "0-9999", "time_limit_ms": 10 * MINUTE}), habit).unwrap();
    };
    submit(&mut lab, 1);
    lab.passes(24 * HOUR);
    submit(&mut lab, 2);
    // As long again until both used as much.
    lab.passes(24 * HOUR);
    let before = starts(&lab, 2);
    lab.passes(24 * HOUR);
    let after: Vec<u64> = starts(&lab, 2).iter().zip(before).map(|(after, before)| after - before).collect();
    assert!(is_near(&after, &[1, 1]), "{after:?}");
}
