//! What a job is offered it can have: once, in time, and then it happens. It refuses to say what is worth it.

use crate::lab::{Habit, Lab, Length};
use crate::wishes::{HOUR, MACHINE, MINUTE, Op, Wild, op, policy, queues, wish};
use proptest::prelude::*;
use qrm_core::{Action, Caller, Control, Core, Input, Now, Policy, Refusal, Role, Step};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::{Offer, OfferId};
use qrm_protocol::time::Timestamp;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const OWNER: Caller = Caller { uid: 1, role: Role::Admin, most_jobs: u64::MAX };

fn accepts(core: &mut Core, now: Now, caller: Caller, offer: OfferId) -> Result<Step, Refusal> {
    core.step(now, Input::Command(caller, Action::OfferAccept { offer }))
}

fn open(lab: &Lab, job: JobRef) -> Vec<(OfferId, Offer, Timestamp)> {
    lab.core.look(lab.at(), job).map_or_else(Vec::new, |live| live.offers)
}

/// Takes an offer in a copy of the world, and looks at what comes of it.
fn happens(lab: &Lab, job: JobRef, id: OfferId, offer: &Offer) {
    let (mut core, now) = (lab.core.clone(), lab.at());
    let fails = |why: String| -> ! { lab.fails(&format!("{job} was offered {offer:?}, and {why}")) };
    if let Err(refused) = accepts(&mut core, now, OWNER, id) {
        fails(format!("it can not have that: {refused}"));
    }
    core.check(now).unwrap();
    let live = core.look(now, job).unwrap();
    let runs = core.running(usize::MAX).contains(&job);
    match offer {
        Offer::Less { .. } | Offer::Share if runs => {}
        Offer::At { start } if runs || live.planned.is_some_and(|planned| planned <= *start) => {}
        Offer::Preempt { jobs, .. } => {
            let leaves = |job: &JobRef| core.look(now, *job).is_some_and(|live| live.stopping.is_some() || live.yields);
            let by = Timestamp(now.wall.0 + 10_000);
            if !(runs || jobs.iter().all(leaves) && live.planned.is_some_and(|planned| planned <= by)) {
                fails(format!("nobody makes room: {live:?}"));
            }
        }
        _ => fails(format!("then it is {live:?}")),
    }
    let again = accepts(&mut core, now, OWNER, id);
    assert_eq!(again, Err(Refusal::OfferTaken { offer: id, accepted: id }));
}

/// Queues that negotiate, and others.
fn negotiates(queues: &mut BTreeMap<qrm_protocol::queue::QueueName, qrm_protocol::queue::QueueSpec>) {
    queues.values_mut().for_each(|spec| spec.on_conflict = qrm_protocol::job::OnConflict::Negotiation);
}

const CALM: Wild = Wild { queues: true, ..Wild::NONE };

#[test]
fn what_is_offered_can_be_had_at_once() {
    let seen = std::cell::RefCell::new(BTreeMap::new());
    let mut runner = proptest::test_runner::TestRunner::new(crate::cases(300));
    let last = prop::collection::vec(wish(Wild::ALL), 1..6);
    let worlds = (policy(), queues(Wild::ALL), prop::collection::vec(op(Wild::ALL), 1..25), last);
    let done = runner.run(&worlds, |(policy, mut queues, ops, wishes)| {
        negotiates(&mut queues);
        let mut lab = Lab::new(MACHINE, policy, &queues);
        lab.compares = false;
        ops.iter().for_each(|op| lab.apply(op));
        for (at, mut wish) in wishes.into_iter().enumerate() {
            wish.spec["on_conflict"] = "negotiation".into();
            wish.spec["cpus"] = if at % 2 == 0 { 4 } else { 1 }.into();
            wish.spec["exclusive"] = (at % 2 == 1).into();
            let Some(job) = lab.submits(wish.user, wish.spec, wish.habit) else { continue };
            for (id, offer, lapses_at) in open(&lab, job) {
                assert_eq!(lapses_at.0, lab.now.wall + 60_000);
                let kind = match offer {
                    Offer::Less { .. } => "less",
                    Offer::At { .. } => "at",
                    Offer::Share => "share",
                    Offer::Preempt { .. } => "preempt",
                };
                *seen.borrow_mut().entry(kind).or_insert(0) += 1;
                happens(&lab, job, id, &offer);
            }
        }
        Ok(())
    });
    done.unwrap_or_else(|error| panic!("{error}"));
    let seen = seen.into_inner();
    assert!(seen.len() == 4, "not all kinds of offers were made: {seen:?}");
}

proptest! {
    #![proptest_config(crate::cases(150))]

    /// A job has a time that it was promised, whoever comes meanwhile, as long as runs take no longer than expected.
    #[test]
    fn a_promised_start_is_kept_whoever_comes(
        policy in policy(), ops in prop::collection::vec(op(CALM), 1..20), later in prop::collection::vec(op(CALM), 1..20)
    ) {
        let mut lab = Lab::new(MACHINE, policy, &BTreeMap::new());
        (lab.compares, lab.length) = (false, Length::Within);
        ops.iter().for_each(|op| lab.apply(&plain(op, None)));
        let asks = json!({"cpus": 4, "priority": 0, "on_conflict": "negotiation", "time_limit_ms": 10 * MINUTE});
        let job = lab.submits(1, asks, Habit::default()).unwrap();
        let at = open(&lab, job).into_iter().find_map(|(id, offer, _)| match offer {
            Offer::At { start } => Some((id, start)),
            _ => None,
        });
        let Some((offer, start)) = at else { return Ok(()) };
        lab.does(Action::OfferAccept { offer }).unwrap();
        for op in &later {
            lab.apply_and(&plain(op, Some(100)), &mut |lab| {
                let waits = !lab.naive.started.contains(&job);
                if waits && start.0 < lab.now.wall {
                    lab.fails(&format!("{job} was promised to start at {start:?}"));
                }
            });
        }
    }
}

/// Without queues, so that nothing but room is wanting, and with this priority.
fn plain(op: &Op, priority: Option<u64>) -> Op {
    let mut op = op.clone();
    match &mut op {
        Op::Submit(wish) => {
            wish.spec["queue"] = serde_json::Value::Null;
            priority.into_iter().for_each(|priority| wish.spec["priority"] = priority.into());
            op
        }
        Op::Queue(..) | Op::Pause(..) => Op::Pass(MINUTE),
        _ => op,
    }
}

/// A machine that is full, and a job that was offered something.
fn offered() -> (Lab, JobRef, Vec<(OfferId, Offer, Timestamp)>) {
    let mut lab = Lab::new([4, 0, 0], Policy::default(), &BTreeMap::new());
    let habit = Habit { runs_for: HOUR, ..Habit::default() };
    lab.submits(1, json!({"cpus": 3, "time_limit_ms": HOUR}), habit).unwrap();
    let asks = json!({"cpus": 2, "on_conflict": "negotiation", "time_limit_ms": HOUR});
    let job = lab.submits(1, asks, habit).unwrap();
    let offers = open(&lab, job);
    (lab, job, offers)
}

#[test]
fn an_offer_is_taken_once_in_time_and_by_its_owner() {
    let (mut lab, job, offers) = offered();
    let start = Timestamp(lab.now.wall + i64::try_from(HOUR).unwrap());
    let kinds: Vec<&Offer> = offers.iter().map(|(_, offer, _)| offer).collect();
    assert_eq!(kinds, [&Offer::Less { cpus: 1 }, &Offer::At { start }]);
    let (less, at) = (offers[0].0, offers[1].0);
    let other = accepts(&mut lab.core.clone(), lab.at(), Caller::user(2), less);
    assert_eq!(other, Err(Refusal::NotYours(job)));
    let none = OfferId { place: 3, ..at };
    assert_eq!(accepts(&mut lab.core.clone(), lab.at(), OWNER, none), Err(Refusal::NoSuchOffer(none)));
    lab.does(Action::OfferAccept { offer: at }).unwrap();
    let before = lab.core.clone();
    for offer in [less, at] {
        assert_eq!(lab.does(Action::OfferAccept { offer }), Err(Refusal::OfferTaken { offer, accepted: at }));
    }
    assert_eq!(before, lab.core, "a refusal changed something");
    assert_eq!(open(&lab, job), []);

    let (mut lab, _, offers) = offered();
    let lapses = offers[0].2;
    lab.passes(MINUTE);
    let late = lab.does(Action::OfferAccept { offer: less });
    assert_eq!(late, Err(Refusal::OfferLapsed { offer: less, at: lapses }));
}

#[test]
fn a_start_is_not_offered_to_who_is_over_by_then() {
    for (ends, offered_at) in [(HOUR / 2, false), (2 * HOUR, true)] {
        for by_deadline in [false, true] {
            let mut lab = Lab::new([4, 0, 0], Policy::default(), &BTreeMap::new());
            let habit = Habit { runs_for: HOUR, ..Habit::default() };
            lab.submits(1, json!({"cpus": 4, "time_limit_ms": HOUR}), habit).unwrap();
            let mut asks = json!({"cpus": 2, "on_conflict": "negotiation"});
            match by_deadline {
                true => asks["deadline"] = json!(Timestamp(lab.now.wall + i64::try_from(ends).unwrap())),
                false => asks["queue_timeout_ms"] = json!(ends),
            }
            let job = lab.submits(1, asks, habit).unwrap();
            let at = open(&lab, job).iter().any(|(_, offer, _)| matches!(offer, Offer::At { .. }));
            assert_eq!(at, offered_at, "{ends} {by_deadline}");
        }
    }
}

#[test]
fn what_waits_for_more_than_room_is_told_so() {
    let (mut lab, job, offers) = offered();
    let name = || "default".parse().unwrap();
    for (action, says) in [
        (Action::Control { targets: vec![job], what: Control::Hold }, "job 2 could not start if it had room: held"),
        (Action::Control { targets: vec![job], what: Control::Release }, ""),
        (Action::QueuePause { name: name(), pause: true }, "queue default is paused"),
        (Action::QueuePause { name: name(), pause: false }, ""),
    ] {
        lab.does(action).unwrap();
        for (offer, ..) in offers.iter().filter(|_| !says.is_empty()) {
            let refused = lab.does(Action::OfferAccept { offer: *offer }).unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
        }
    }
    lab.does(Action::OfferAccept { offer: offers[1].0 }).unwrap();
}

#[test]
fn what_is_not_free_any_more_is_not_given() {
    let (mut lab, job, offers) = offered();
    lab.submits(2, json!({"time_limit_ms": MINUTE}), Habit::default()).unwrap();
    let less = offers[0].0;
    assert_eq!(lab.does(Action::OfferAccept { offer: less }), Err(Refusal::OfferGone(less)));
    let runs: BTreeSet<JobRef> = lab.core.running(9).into_iter().collect();
    assert!(!runs.contains(&job));
    // The other one is still to be had.
    lab.does(Action::OfferAccept { offer: offers[1].0 }).unwrap();
}
