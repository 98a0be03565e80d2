//! How jobs make room for others, and what a job is offered that can not start: single decisions. The world here is told what
//! to observe; it refuses to have processes.

use crate::world::{ME, World, demand, run};
use qrm_core::{Action, Effect, Event, Host, Input, Observed, Refusal, RunSignal, Short, Step};
use qrm_protocol::explain::ReasonCode;
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::{JobChange, JobState, Offer, OfferId};
use qrm_protocol::queue::QueueChange;
use qrm_protocol::time::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl World {
    /// One that runs, for so long already.
    fn runs(&mut self, spec: Value, ms: u64) -> JobRef {
        let job = self.submits(spec);
        assert_eq!(self.state(job), Some(JobState::Allocating), "{job} does not run");
        self.executes(job);
        self.passes(ms);
        job
    }

    fn ends(&mut self, job: JobRef, attempt: u32) -> Step {
        self.exits(job, attempt, 0)
    }

    fn queue(&mut self, name: &str, change: Value) {
        let change: QueueChange = serde_json::from_value(change).unwrap();
        self.does(Action::QueueSet { name: name.parse().unwrap(), change });
    }

    fn offers(&self, job: JobRef) -> Vec<Offer> {
        self.core.offers_of(job).into_iter().map(|(_, offer, _)| offer).collect()
    }

    fn accepts(&mut self, job: JobRef, place: u32) -> Result<Step, Refusal> {
        self.tries(Action::OfferAccept { offer: OfferId { job: job.job, place } })
    }
}

/// Who is asked to end or to stand still, and how.
fn signals(step: &Step) -> Vec<(JobRef, RunSignal)> {
    let of = |effect: &Effect| match effect {
        Effect::Signal(run, signal) => Some((run.job, *signal)),
        Effect::Launch(_) => None,
    };
    step.effects.iter().filter_map(of).collect()
}

#[test]
fn room_is_made_by_as_few_and_as_young_as_can_be_and_only_below() {
    let mut world = World::new(4);
    let old = world.runs(json!({"preemptible": true, "priority": "low"}), 60_000);
    let young = world.runs(json!({"preemptible": true, "priority": "low"}), 1_000);
    let stays = world.runs(json!({"priority": "low"}), 1_000);
    let equal = world.runs(json!({"preemptible": true}), 1_000);
    let (job, step) = world.submit(json!({"on_conflict": "preemption"}));
    assert_eq!(signals(&step), [(young, RunSignal::Number(15))], "the least work is lost");
    assert_eq!(world.core.look(world.now, job).unwrap().planned, Some(Timestamp(world.now.wall.0 + 10_000)));
    let (second, step) = world.submit(json!({"on_conflict": "preemption"}));
    assert_eq!(signals(&step), [(old, RunSignal::Number(15))]);
    let (third, step) = world.submit(json!({"on_conflict": "preemption"}));
    assert_eq!(signals(&step), [], "{stays} does not have to, and {equal} is not below");
    let step = world.ends(young, 1);
    assert!(step.effects.contains(&Effect::Launch(run(job, 1))), "{:?}", step.effects);
    assert_eq!(world.state(young), Some(JobState::Queued), "it waits again, whatever its exit code");
    assert!(world.ends(old, 1).effects.contains(&Effect::Launch(run(second, 1))));
    assert_eq!(world.state(third), Some(JobState::Queued));
}

#[test]
fn a_job_is_not_disturbed_before_its_least_run_and_saves_its_work_when_it_is() {
    let mut world = World::new(4);
    let spec =
        json!({"cpus": 4, "preemptible": true, "priority": "low", "min_run": "10s", "checkpoint_signal": "USR1"});
    let job = world.runs(spec, 9_000);
    let (_, step) = world.submit(json!({"on_conflict": "preemption"}));
    assert_eq!(signals(&step), []);
    let at = world.core.next_wake().1.unwrap();
    assert_eq!(at, world.now.boot_ms + 1_000, "nobody else would wake it then");
    world.now.boot_ms = at;
    let step = world.step(Input::Tick);
    assert_eq!(signals(&step), [(job, RunSignal::Number(10))], "it is told to save its work");
    assert_eq!(world.core.look(world.now, job).unwrap().stopping, Some(qrm_core::StopWhy::Preempted));
}

#[test]
fn idle_jobs_make_room_for_every_other_and_never_hold_one_back() {
    let mut world = World::new(4);
    let idle = world.runs(json!({"cpus": 3, "idle": true}), 1_000);
    let (_, step) = world.submit(json!({"cpus": 2, "priority": "low"}));
    assert_eq!(signals(&step), [(idle, RunSignal::Number(15))]);
    let (other, step) = world.submit(json!({"cpus": 4, "idle": true}));
    assert_eq!(signals(&step), []);
    assert_eq!(world.core.look(world.now, other).unwrap().planned, None, "what only fills gaps is not planned");
}

#[test]
fn a_queue_says_what_becomes_of_those_that_make_room() {
    for (what, state) in [("cancel", None), ("requeue", Some(JobState::Queued))] {
        let mut world = World::new(4);
        world.queue("short", json!({"preemptible": true, "on_preempt": what}));
        let job = world.runs(json!({"cpus": 4, "queue": "short", "priority": "low"}), 1_000);
        world.submits(json!({"on_conflict": "preemption"}));
        world.ends(job, 1);
        assert_eq!(world.state(job), state, "{what}");
    }
}

#[test]
fn one_that_stands_still_keeps_its_memory_and_goes_on_when_there_is_room() {
    let mut world = World::new(4);
    world.queue("short", json!({"preemptible": true, "on_preempt": "suspend"}));
    let still = world.runs(json!({"cpus": 3, "mem_bytes": 60, "queue": "short", "priority": "low"}), 1_000);
    let (job, step) = world.submit(json!({"cpus": 4, "on_conflict": "preemption"}));
    assert_eq!(signals(&step), [(still, RunSignal::Freeze)]);
    assert_eq!(world.state(job), Some(JobState::Allocating), "it starts at once");
    let memory = world.submits(json!({"cpus": 0, "mem_bytes": 50}));
    assert_eq!(world.state(memory), Some(JobState::Queued), "the memory is not free");
    let resume = Action::Control { targets: vec![still], what: qrm_core::Control::Resume };
    assert_eq!(world.tries(resume).unwrap_err(), Refusal::MakesRoom(still));
    let step = world.ends(job, 1);
    assert_eq!(signals(&step), [(still, RunSignal::Thaw)]);
    assert!(!world.core.look(world.now, still).unwrap().suspended);
}

#[test]
fn a_job_that_negotiates_is_offered_less_a_time_and_room() {
    let mut world = World::new(4);
    let low = world.runs(json!({"cpus": 2, "preemptible": true, "priority": "low", "time": "1h"}), 1_000);
    let (job, step) = world.submit(json!({"cpus": 3, "on_conflict": "negotiation", "time": "10m"}));
    let start = Timestamp(3_600_000);
    let expected =
        [Offer::Less { cpus: 2 }, Offer::At { start }, Offer::Preempt { jobs: vec![low], lost_cpu_ms: 2_000 }];
    assert_eq!(world.offers(job), expected, "{:?}", step.events);
    let step = world.accepts(job, 1).unwrap();
    assert!(step.effects.contains(&Effect::Launch(run(job, 1))), "{:?}", step.events);
    assert_eq!(world.core.machine().1, 4);
    let taken = world.accepts(job, 1).unwrap_err();
    assert!(matches!(taken, Refusal::OfferTaken { .. }), "{taken:?}");
}

#[test]
fn an_offer_lapses_and_one_that_is_not_free_any_more_is_not_given() {
    let mut world = World::new(4);
    world.runs(json!({"cpus": 2, "time": "1h"}), 0);
    let job = world.submits(json!({"cpus": 3, "on_conflict": "negotiation"}));
    world.submits(json!({"cpus": 2, "time": "10m"}));
    assert_eq!(world.accepts(job, 1).unwrap_err(), Refusal::OfferGone(OfferId { job: job.job, place: 1 }));
    assert_eq!(world.accepts(job, 9).unwrap_err(), Refusal::NoSuchOffer(OfferId { job: job.job, place: 9 }));
    world.passes(60_000);
    assert_eq!(world.offers(job), []);
    let late = world.accepts(job, 2).unwrap_err();
    assert!(matches!(late, Refusal::OfferLapsed { .. }), "{late:?}");
}

#[test]
fn a_start_that_was_promised_is_kept_whoever_comes() {
    let mut world = World::new(4);
    let first = world.runs(json!({"cpus": 2, "time": "1h"}), 0);
    let job = world.submits(json!({"cpus": 4, "on_conflict": "negotiation", "time": "10m"}));
    let place = world.offers(job).iter().position(|offer| matches!(offer, Offer::At { .. })).unwrap();
    world.accepts(job, u32::try_from(place).unwrap() + 1).unwrap();
    let urgent = world.submits(json!({"cpus": 4, "priority": "critical", "time": "10m"}));
    let fills = world.submits(json!({"cpus": 2, "priority": "critical", "time": "30m"}));
    assert_eq!(world.state(fills), Some(JobState::Allocating), "it is over by then");
    world.ends(fills, 1);
    world.passes(3_600_000 - 1);
    let step = world.ends(first, 1);
    assert!(step.effects.contains(&Effect::Launch(run(job, 1))), "{:?}", step.effects);
    assert_eq!(world.state(urgent), Some(JobState::Queued));
}

#[test]
fn who_would_share_gets_a_share_at_once_and_who_did_not_say_so_is_asked() {
    let mut world = World::new(4);
    world.runs(json!({}), 1_000);
    let shares = world.submits(json!({"exclusive": true, "on_conflict": "sharing"}));
    assert_eq!(world.state(shares), Some(JobState::Allocating));
    world.queue("shared", json!({"on_conflict": "sharing"}));
    let asked = world.submits(json!({"exclusive": true, "queue": "shared"}));
    assert_eq!((world.state(asked), world.offers(asked)), (Some(JobState::Queued), vec![Offer::Share]));
    let step = world.accepts(asked, 1).unwrap();
    assert!(step.effects.contains(&Effect::Launch(run(asked, 1))));
}

#[test]
fn an_exclusive_job_is_alone() {
    let mut world = World::new(4);
    let alone = world.runs(json!({"exclusive": true, "time": "1h"}), 0);
    let other = world.submits(json!({}));
    let none = world.submits(json!({"cpus": 0}));
    assert_eq!((world.state(other), world.state(none)), (Some(JobState::Queued), Some(JobState::Queued)));
    assert_eq!(world.core.look(world.now, other).unwrap().planned, Some(Timestamp(3_600_000)));
    world.ends(alone, 1);
    assert_eq!(world.state(other), Some(JobState::Allocating));
}

#[test]
fn a_plan_that_changes_says_so_and_why() {
    let mut world = World::new(4);
    let first = world.runs(json!({"cpus": 4, "time": "1h"}), 0);
    let (job, step) = world.submit(json!({"cpus": 4, "time": "1h"}));
    let planned = |step: &Step| {
        let of = |event: &Event| match event {
            Event::Planned { job, start, why, .. } => Some((*job, *start, why.clone())),
            _ => None,
        };
        step.events.iter().filter_map(of).collect::<Vec<_>>()
    };
    assert_eq!(planned(&step), [(job, Some(Timestamp(3_600_000)), "it is among the first that wait for room".into())]);
    let (urgent, step) = world.submit(json!({"cpus": 4, "time": "1h", "priority": "high"}));
    let why = format!("job {urgent} came: 1h00m later");
    assert!(planned(&step).contains(&(job, Some(Timestamp(7_200_000)), why)), "{:?}", planned(&step));
    world.passes(1_000);
    let step = world.ends(first, 1);
    assert!(planned(&step).iter().any(|(of, start, _)| *of == job && *start == Some(Timestamp(3_601_000))), "{step:?}");
}

#[test]
fn memory_that_others_use_is_not_given_and_is_in_the_way_of_nobody_who_asks_for_none() {
    let mut world = World::new(4);
    let sees = |world: &mut World, mem_bytes: u64| {
        world.step(Input::Observed(Observed::Host(Host { mem_bytes: Some(mem_bytes), short: None })))
    };
    sees(&mut world, 70);
    let runs = world.submits(json!({"mem_bytes": 60, "cpus": 1}));
    assert_eq!((world.state(runs), world.core.minds_host()), (Some(JobState::Allocating), false));
    let waits = world.submits(json!({"mem_bytes": 20, "cpus": 1}));
    assert_eq!((world.state(waits), world.core.minds_host()), (Some(JobState::Queued), true));
    let causes = world.core.explain(world.now, waits).unwrap().causes;
    assert_eq!((causes[0].code, causes[0].asked), (ReasonCode::MemoryInUse, Some((20, 10))));
    let step = sees(&mut world, 80);
    assert!(step.effects.contains(&Effect::Launch(run(waits, 1))), "{:?}", step.effects);
    // One that could not have it either way waits for a job, and not for others.
    let large = world.submits(json!({"mem_bytes": 30, "cpus": 1}));
    assert_eq!((world.state(large), world.core.minds_host()), (Some(JobState::Queued), false));
    // Others take more than was left: who runs keeps what it has.
    sees(&mut world, 50);
    let plain = world.submits(json!({"cpus": 1}));
    assert_eq!(world.state(plain), Some(JobState::Allocating));
}

#[test]
fn under_pressure_nothing_more_starts_but_the_first() {
    let mut world = World::new(4);
    let short = Some(Short::Memory { permille: 312, most: 200 });
    world.step(Input::Observed(Observed::Host(Host { mem_bytes: None, short })));
    let first = world.submits(json!({"cpus": 1}));
    assert_eq!((world.state(first), world.core.minds_host()), (Some(JobState::Allocating), false));
    let second = world.submits(json!({"cpus": 1}));
    assert_eq!((world.state(second), world.core.minds_host()), (Some(JobState::Queued), true));
    let cause = world.core.explain(world.now, second).unwrap().causes.remove(0);
    assert_eq!(cause.code, ReasonCode::Pressure);
    assert!(cause.message.contains("31.2 %") && cause.message.contains("20.0 %"), "{}", cause.message);
    let step = world.step(Input::Observed(Observed::Host(Host::default())));
    assert!(step.effects.contains(&Effect::Launch(run(second, 1))), "{:?}", step.effects);
    assert!(!world.core.minds_host());
}

/// One that was promised a start, and whose queue is paused then, has nothing kept for it, and nobody makes room for it.
#[test]
fn a_promise_is_not_kept_in_a_paused_queue_and_holds_nobody_back() {
    for on_preempt in ["requeue", "suspend"] {
        let mut world = World::new(4);
        world.queue("other", json!({"on_preempt": on_preempt}));
        let first = world.runs(json!({"cpus": 4, "time": "10m", "queue": "other"}), 1_000);
        let job = world.submits(json!({"cpus": 4, "time": "10m", "on_conflict": "negotiation"}));
        assert!(matches!(world.offers(job)[..], [Offer::At { .. }]), "{:?}", world.offers(job));
        world.accepts(job, 1).unwrap();
        let pause = |pause| Action::QueuePause { name: "default".parse().unwrap(), pause };
        world.tries(pause(true)).unwrap();
        let idle = world.submits(json!({"cpus": 2, "idle": true, "time": "5m", "queue": "other"}));
        world.ends(first, 1);
        assert_eq!(world.state(idle), Some(JobState::Allocating), "{on_preempt}");
        assert_eq!(signals(&world.executes(idle)), [], "{on_preempt}");
        world.passes(700_000);
        assert_eq!(world.core.look(world.now, job).unwrap().planned, None, "{on_preempt}");
        world.ends(idle, 1);
        let step = world.tries(pause(false)).unwrap();
        assert!(step.effects.contains(&Effect::Launch(run(job, 1))), "{:?}", step.effects);
    }
}

#[test]
fn an_attempt_that_made_room_is_no_retry() {
    let mut world = World::new(4);
    let spec = json!({"cpus": 4, "preemptible": true, "priority": "low", "retries": 1, "backoff": "1s..1s"});
    let mut array = spec.clone();
    array["array"] = "0".into();
    for spec in [spec, array] {
        let task = spec.get("array").map(|_| 0);
        let job = JobRef { task, ..world.submits(spec) };
        let urgent = world.submits(json!({"cpus": 4, "on_conflict": "preemption"}));
        world.ends(job, 1);
        world.ends(urgent, 1);
        assert_eq!(world.state(job), Some(JobState::Allocating));
        world.exits(job, 2, 1);
        assert_eq!(world.state(job), Some(JobState::Queued), "it failed for the first time");
        world.passes(1_000);
        let step = world.exits(job, 3, 1);
        let is_over = |event: &Event| matches!(event, Event::Ended { job: of, .. } if *of == job);
        assert!(step.events.iter().any(is_over), "{:?}", step.events);
    }
}

#[test]
fn tasks_that_run_when_their_array_goes_to_another_queue_count_there() {
    let mut world = World::new(4);
    world.queue("other", json!({}));
    let other = world.runs(json!({"cpus": 1, "time": "1h", "queue": "other"}), 3_600_000);
    world.ends(other, 1);
    let array = world.submits(json!({"cpus": 1, "time": "10h", "array": "0-5"}));
    let change = JobChange { queue: Some("other".parse().unwrap()), ..JobChange::default() };
    let update = Action::Update { targets: vec![array], change: Box::new(change), ended: BTreeMap::new() };
    world.tries(update).unwrap();
    // Four of them run already.
    for task in 0..6 {
        let job = JobRef::task(array.job, task);
        world.executes(job);
        world.ends(job, 1);
    }
    let share = |world: &mut World, queue: &str| {
        let demand = demand(json!({"queue": queue, "cpus": 4}));
        world.core.when(world.now, ME, demand, &BTreeMap::new()).unwrap().rank.unwrap().queue
    };
    assert_eq!((share(&mut world, "default"), share(&mut world, "other")), (1_000_000, 500_000));
}
