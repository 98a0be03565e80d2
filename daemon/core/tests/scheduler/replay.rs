//! The same facts give the same plan, and the order of what happens in one instant decides nothing that it should not.
//! It refuses to compare states: that replay is live is for `properties`.

use crate::lab::{Lab, Length};
use crate::planned::{by_age, plain};
use crate::wishes::{MACHINE, Op, Wild, op, policy, queues};
use proptest::prelude::*;
use qrm_core::{Core, Event, Input, Now, Observed, Run, RunOutcome};
use qrm_protocol::ids::JobRef;
use qrm_protocol::time::Timestamp;
use std::collections::BTreeMap;

fn planned(core: &Core, now: Now, jobs: &[JobRef]) -> BTreeMap<JobRef, Timestamp> {
    let of = |job: &JobRef| Some((*job, core.look(now, *job)?.planned?));
    jobs.iter().filter_map(of).collect()
}

/// All jobs, and the tasks of arrays.
fn jobs(lab: &Lab) -> Vec<JobRef> {
    let tasks = lab.naive.jobs.iter().map(|(id, job)| job.tasks.keys().map(|task| JobRef { job: *id, task: *task }));
    tasks.flatten().collect()
}

/// What becomes of a job when these end in this instant, in this order: whether it runs then, and when it is planned.
fn after(lab: &Lab, now: Now, runs: &[Run], job: JobRef) -> (bool, Option<Timestamp>) {
    let mut core = lab.core.clone();
    for run in runs {
        let outcome = RunOutcome { exit_code: Some(0), ended_at: now.wall, ..RunOutcome::default() };
        core.step(now, Input::Observed(Observed::Ended(*run, outcome))).unwrap();
    }
    (core.running(usize::MAX).contains(&job), core.look(now, job).and_then(|live| live.planned))
}

proptest! {
    #![proptest_config(crate::cases(100))]

    #[test]
    fn facts_that_are_read_again_give_the_same_plan_and_the_same_next_starts(
        policy in policy(), queues in queues(Wild::ALL), ops in prop::collection::vec(op(Wild::ALL), 1..30),
        next in prop::collection::vec(op(Wild::ALL), 1..5)
    ) {
        let mut lab = Lab::new(MACHINE, policy, &queues);
        lab.compares = false;
        ops.iter().for_each(|op| lab.apply(op));
        let mut core = Core::default();
        for (at, event) in &lab.history {
            // As the store would have it.
            let event: Event = serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap();
            core.apply(*at, &event);
        }
        // What is beside jobs is seen anew.
        core.step(lab.at(), Input::Observed(Observed::Host(lab.core.host()))).unwrap();
        let first = core.step(lab.at(), Input::Tick).unwrap();
        assert_eq!((first.events, first.effects), (vec![], vec![]), "reading it again did something");
        assert_eq!(planned(&core, lab.at(), &jobs(&lab)), planned(&lab.core, lab.at(), &jobs(&lab)));
        assert_eq!(core.line(99), lab.core.line(99));
        assert_eq!(core.next_wake(), lab.core.next_wake());
        // From now on both hear the same.
        lab.second = Some(core);
        next.iter().for_each(|op| lab.apply(op));
    }

    /// Where several runs end in one instant, those that are told of later hold their room for a moment. What fits into what
    /// is left then may be another job, but never in the way of the first in line.
    #[test]
    fn the_order_of_ends_in_one_instant_is_nothing_to_the_first_in_line(
        policy in policy(), ops in prop::collection::vec(op(Wild::NONE), 1..40)
    ) {
        let mut lab = Lab::new(MACHINE, by_age(policy), &BTreeMap::new());
        (lab.compares, lab.length) = (false, Length::AsExpected);
        for op in ops.iter().filter(|op| !op.ends_a_run()) {
            let mut op = plain(op);
            if let Op::Submit(wish) = &mut op {
                // One that comes because another ended comes when that is told.
                wish.after = None;
            }
            lab.apply(&op);
            let (at, runs) = lab.next_ends();
            let ahead = i64::try_from(at - lab.now.boot).unwrap();
            let now = Now { wall: Timestamp(lab.now.wall + ahead), boot_ms: at };
            let Some(first) = lab.naive.line(lab.now).first().copied() else { continue };
            let in_order = after(&lab, now, &runs, first);
            let reversed: Vec<Run> = runs.iter().rev().copied().collect();
            let in_reverse = after(&lab, now, &reversed, first);
            if in_order != in_reverse {
                lab.fails(&format!("{runs:?} end at {at}: {first} is {in_order:?}, or the other way round {in_reverse:?}"));
            }
        }
    }

    #[test]
    fn the_order_in_which_commands_are_released_in_one_instant_decides_nothing(
        policy in policy(), queues in queues(Wild::ALL), ops in prop::collection::vec(op(Wild::ALL), 1..30)
    ) {
        let mut lab = Lab::new(MACHINE, policy, &queues);
        lab.compares = false;
        for op in &ops {
            let mut op = op.clone();
            if let Op::Submit(wish) = &mut op {
                wish.habit.begins_in = 5_000;
            }
            lab.apply(&op);
        }
        let begins = lab.runs().into_iter().filter(|run| lab.naive.runs[&run.job].began.is_none());
        let mut begins: Vec<Run> = begins.collect();
        let begin = |runs: &[Run]| {
            let (mut core, now) = (lab.core.clone(), lab.at());
            for run in runs {
                let observed = Observed::Executing { run: *run, pid: 1, at: now.wall, boot_ms: now.boot_ms };
                core.step(now, Input::Observed(observed)).unwrap();
            }
            (planned(&core, now, &jobs(&lab)), core)
        };
        let in_order = begin(&begins);
        begins.reverse();
        assert_eq!(in_order, begin(&begins));
    }
}
