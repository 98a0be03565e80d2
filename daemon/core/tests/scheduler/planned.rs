//! What is planned comes true: nobody of lower rank delays it, and nobody waits for ever.
//! It refuses to hold a job to more than was expected of it.

use crate::lab::{Lab, Length};
use crate::naive::Clock;
use crate::wishes::{HOUR, MACHINE, MINUTE, Op, Wild, op, policy};
use proptest::prelude::*;
use qrm_core::{Action, Policy, Weights};
use qrm_protocol::ids::JobRef;
use qrm_protocol::queue::QueueChange;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// What was told of when jobs start, as long as that has to hold.
#[derive(Default)]
struct Told {
    /// By the clock that never jumps.
    starts: BTreeMap<JobRef, u64>,
    /// Those that were there.
    known: BTreeSet<JobRef>,
}

impl Told {
    /// Compares what is planned now with what was told before. Where runs end early, all but the first may be later for those
    /// before them, which may be earlier.
    fn see(&mut self, lab: &Lab, only_first: bool) {
        let Clock { wall, boot } = lab.now;
        let line = lab.naive.line(lab.now);
        // What is to end in this instant is there as long as nobody told of its end, and holds its room for that moment. Of what
        // fits into what is left another may be first, but never before the first in line.
        if lab.naive.runs.keys().any(|run| lab.naive.ends(lab.now, *run) == boot + 1) {
            self.starts.retain(|job, _| line.first() == Some(job) || lab.naive.runs.contains_key(job));
            return;
        }
        let there: BTreeSet<JobRef> = line.iter().chain(lab.naive.runs.keys()).copied().collect();
        // Those that came now may come before others, and may have started.
        let turn = |job: &JobRef| (-lab.naive.rank(lab.now, job.job), *job);
        let first_new = there.difference(&self.known).map(turn).min();
        self.known.clone_from(&there);
        let planned: BTreeMap<JobRef, u64> =
            lab.planned().into_iter().map(|(job, at)| (job, boot + u64::try_from(at.0 - wall).unwrap())).collect();
        for (job, told) in std::mem::take(&mut self.starts) {
            let Some(place) = line.iter().position(|other| *other == job) else {
                let began = lab.naive.runs.get(&job).and_then(|run| run.began);
                if let Some((began, _)) = began.filter(|(began, _)| told < *began) {
                    lab.fails(&format!("{job} was to start at {told}, and did at {began}"));
                }
                continue;
            };
            if first_new.is_some_and(|new| new < turn(&job)) || only_first && place > 0 {
                continue;
            }
            let now = planned.get(&job).copied();
            if now.is_none_or(|now| now > told) {
                lab.fails(&format!("{job} was to start at {told}, and now at {now:?}"));
            }
            self.starts.insert(job, told);
        }
        for (job, at) in planned.into_iter().filter(|(job, _)| !only_first || line.first() == Some(job)) {
            let told = self.starts.entry(job).or_insert(at);
            *told = at.min(*told);
        }
    }
}

/// Without the widths of arrays: a task that its array lets wait is not planned, and comes when another ends. And in one way
/// alone: one that starts in time may do so in a longer one, which those behind it can not know.
pub fn plain(op: &Op) -> Op {
    let mut op = op.clone();
    if let Op::Submit(wish) = &mut op {
        if let Some(array) = wish.spec["array"].as_str().and_then(|array| array.split('%').next()) {
            wish.spec["array"] = array.to_owned().into();
        }
        wish.spec["or"] = json!([]);
        // What ends in the instant in which its limit comes has completed or not, whichever is told first.
        wish.after = wish.after.map(|(_, on)| ("after", on));
        wish.spec["on_conflict"] = "priority".into();
    }
    op
}

/// Nothing that was used changes an order.
pub fn by_age(policy: Policy) -> Policy {
    Policy { weights: Weights { fair_share: 0, ..policy.weights }, ..policy }
}

proptest! {
    #![proptest_config(crate::cases(150))]

    #[test]
    fn a_planned_start_never_moves_when_runs_take_as_long_as_expected(
        policy in policy(), ops in prop::collection::vec(op(Wild::NONE), 1..40)
    ) {
        let mut lab = Lab::new(MACHINE, by_age(policy), &BTreeMap::new());
        (lab.length, lab.compares) = (Length::AsExpected, false);
        let mut told = Told::default();
        for op in ops.iter().filter(|op| !op.ends_a_run()) {
            lab.apply_and(&plain(op), &mut |lab| told.see(lab, false));
        }
    }

    #[test]
    fn the_first_in_line_is_never_later_when_runs_take_no_longer_than_expected(
        policy in policy(), ops in prop::collection::vec(op(Wild::NONE), 1..40)
    ) {
        let mut lab = Lab::new(MACHINE, by_age(policy), &BTreeMap::new());
        (lab.length, lab.compares) = (Length::Within, false);
        let mut told = Told::default();
        for op in &ops {
            lab.apply_and(&plain(op), &mut |lab| told.see(lab, true));
        }
    }
}

/// The bound that the page states: so much later has one to come, in hours, that it never overtakes another.
pub fn bound_hours(weights: Weights) -> u64 {
    u64::from(weights.priority * 100 + 2 * weights.fair_share).div_ceil(weights.age_per_hour.into())
}

/// Somebody who used the whole machine, and asks for all of it again with the lowest priority, and others, who used nothing,
/// each with the highest: one of them comes whenever one of them ends.
#[test]
fn waiting_is_bounded_whoever_comes_meanwhile() {
    // The page names that of what is built in.
    assert_eq!(bound_hours(Weights::default()), 300);
    let own = [(10, 10, 500), (10, 100, 500), (100, 500, 0), (0, 10, 200)];
    let own = own.map(|(priority, age_per_hour, fair_share)| Weights { priority, age_per_hour, fair_share });
    for weights in [Weights::default()].into_iter().chain(own) {
        let bound = bound_hours(weights) * HOUR;
        let mut lab = Lab::new([4, 0, 0], Policy { weights, ..Policy::default() }, &BTreeMap::new());
        lab.compares = false;
        let change = QueueChange { weight: Some(1_000), ..QueueChange::default() };
        lab.does(Action::QueueSet { name: "fast".parse().unwrap(), change }).unwrap();
        lab.length = Length::AsExpected;
        lab.submits(1, json!({"cpus": 4, "time_limit_ms": 100 * HOUR}), Default::default()).unwrap();
        lab.passes(100 * HOUR);
        let comes = |lab: &mut Lab, n: u64| {
            let user = 1_000 + u32::try_from(n).unwrap();
            let spec = json!({"priority": 100, "queue": "fast", "time_limit_ms": HOUR});
            lab.submits(user, spec, Default::default()).unwrap()
        };
        for n in 0..4 {
            comes(&mut lab, n);
            lab.passes(15 * MINUTE);
        }
        let asks = json!({"cpus": 4, "priority": 0, "time_limit_ms": HOUR});
        let waits = lab.submits(1, asks, Default::default()).unwrap();
        let since = lab.now.boot;
        let mut n = 4;
        while !lab.core.running(9).contains(&waits) {
            comes(&mut lab, n);
            n += 1;
            lab.passes(15 * MINUTE);
            // What is before it is over an hour later at the latest.
            assert!(lab.now.boot - since <= bound + HOUR, "{weights:?}: it waits for {} ms", lab.now.boot - since);
        }
        assert!(n > 4 + bound / (30 * MINUTE), "nobody overtook it: {n}");
    }
}
