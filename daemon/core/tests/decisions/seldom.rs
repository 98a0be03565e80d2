//! Single decisions of the core that random commands seldom come to. The world here is told what to observe; it refuses
//! to have processes.

use crate::world::{ME, World, demand, run};
use qrm_core::{Action, Answer, Control, Effect, Input, Observed, Refusal, Run, RunOutcome, RunSignal, Stage};
use qrm_protocol::explain::ReasonCode;
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::{JobChange, JobState};
use qrm_protocol::time::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

impl World {
    fn fails(&mut self, job: JobRef) {
        self.exits(job, 1, 1);
    }
}

#[test]
fn what_ran_when_the_machine_went_down_is_lost_and_not_over_its_limit() {
    let mut world = World::new(2);
    let again = world.submits(json!({"time": "1h", "retries": 1, "retry_on": ["lost"], "backoff": "1s..1s"}));
    let once = world.submits(json!({"time": "1h"}));
    for job in [again, once] {
        world.executes(job);
    }
    world.passes(1_000);
    // The next boot is older than the limit before anybody looks at what became of them.
    world.now.boot_ms = 5 * 3_600_000;
    world.boots("second");
    world.passes(0);
    for job in [again, once] {
        assert_eq!(world.core.look(world.now, job).unwrap().stopping, None);
        world.step(Input::Observed(Observed::Lost(run(job, 1))));
    }
    assert_eq!(world.state(again), Some(JobState::Queued), "it asked for another attempt");
    assert_eq!(world.core.counts()[&JobState::Failed], 1);
    assert_eq!(world.state(once), None);
}

#[test]
fn the_patience_with_a_job_that_is_being_ended_is_over_with_the_boot() {
    let mut world = World::new(2);
    world.now.boot_ms = 3_600_000;
    let job = world.submits(json!({"grace": "1h"}));
    world.does(Action::Cancel { targets: vec![job] });
    world.now.boot_ms = 0;
    world.boots("second");
    let owed = world.core.owed();
    assert!(owed.contains(&Effect::Signal(run(job, 1), RunSignal::Kill)), "{owed:?}");
}

#[test]
fn that_a_job_goes_on_is_owed_to_it_as_that_it_stands_still() {
    let mut world = World::new(2);
    let job = world.submits(json!({}));
    world.executes(job);
    let control = |what| Action::Control { targets: vec![job], what };
    let thaw = Effect::Signal(run(job, 1), RunSignal::Thaw);
    world.does(control(Control::Suspend));
    assert!(world.core.owed().contains(&Effect::Signal(run(job, 1), RunSignal::Freeze)));
    world.passes(5);
    world.does(control(Control::Resume));
    assert!(world.core.owed().contains(&thaw));
    world.does(control(Control::Suspend));
    world.does(Action::Cancel { targets: vec![job] });
    assert!(world.core.owed().contains(&thaw), "it has to hear that it is to end");
}

#[test]
fn an_array_that_is_cancelled_between_attempts_leaves_nothing_behind() {
    let mut world = World::new(2);
    let array = world.submits(json!({"array": "0-1", "retries": 1, "backoff": "1m..1m"}));
    for task in 0..2 {
        world.fails(JobRef::task(array.job, task));
    }
    world.does(Action::Cancel { targets: vec![array] });
    assert_eq!(world.core.next_wake(), (None, None));
    world.passes(60_000);
}

#[test]
fn a_task_that_was_cancelled_before_it_started_has_not_started() {
    let mut world = World::new(2);
    let array = world.submits(json!({"array": "0-9%1"}));
    let task = JobRef::task(array.job, 9);
    world.does(Action::Cancel { targets: vec![task] });
    let after = world.submits(json!({"after_start": [task.to_string()]}));
    assert_eq!(world.state(after), None, "it waited for a start that never comes");
    assert_eq!(world.core.counts()[&JobState::Cancelled], 1);
}

#[test]
fn a_job_of_a_bulk_that_can_never_run_is_cancelled_when_the_bulk_is_there() {
    let mut world = World::new(2);
    let first = world.submits(json!({}));
    let Answer::BulkBegun(bulk) = world.does(Action::BulkBegin { count: 1 }).answer else { panic!("no bulk") };
    let jobs = vec![Some(demand(json!({"after_ok": [first.to_string()]})))];
    world.does(Action::BulkAdd { bulk, jobs, ended: BTreeMap::new() });
    world.fails(first);
    assert_eq!(world.core.counts().get(&JobState::Cancelled), None, "nobody sees it yet");
    world.does(Action::BulkCommit { bulk });
    assert_eq!(world.core.counts()[&JobState::Cancelled], 1);
}

#[test]
fn a_bulk_of_nothing_is_refused() {
    let mut world = World::new(2);
    let refused = world.core.step(world.now, Input::Command(ME, Action::BulkBegin { count: 0 }));
    assert_eq!(refused, Err(Refusal::EmptyBulk));
}

#[test]
fn a_job_that_would_begin_at_once_is_said_to() {
    let mut world = World::new(2);
    world.passes(5_000);
    let would = |world: &World, spec| {
        let explained = world.core.when(world.now, ME, demand(spec), &BTreeMap::new()).unwrap();
        explained.causes.first().map(|cause| cause.code)
    };
    assert_eq!(would(&world, json!({"begin": Timestamp(4_000).to_string()})), None);
    assert_eq!(would(&world, json!({"validate": "true"})), None);
    for _ in 0..2 {
        world.submits(json!({"validate": "true"}));
    }
    assert_eq!(would(&world, json!({"validate": "true"})), Some(ReasonCode::Stage));
}

#[test]
fn what_waits_for_another_attempt_can_be_made_more_urgent() {
    let mut world = World::new(2);
    let plain = world.submits(json!({"retries": 1, "backoff": "1h..1h"}));
    world.fails(plain);
    let array = world.submits(json!({"array": "0-0", "retries": 1, "backoff": "1h..1h"}));
    world.fails(JobRef::task(array.job, 0));
    let change = |priority: u64| JobChange { priority: Some(priority.try_into().unwrap()), ..JobChange::default() };
    for target in [plain, array] {
        world.does(Action::Update { targets: vec![target], change: Box::new(change(75)), ended: BTreeMap::new() });
    }
    let limit = JobChange { time_limit_ms: Some(qrm_protocol::time::Millis(1)), ..JobChange::default() };
    let refused = world.core.may_update(world.now.wall, ME, &limit, plain);
    assert_eq!(refused, Err(Refusal::HasStarted(plain)));
    let running = world.submits(json!({}));
    assert_eq!(world.core.may_update(world.now.wall, ME, &change(1), running), Err(Refusal::HasStarted(running)));
    assert_eq!(running.job, JobId(3));
}

#[test]
fn what_ends_before_its_command_ran_has_no_start() {
    let mut world = World::new(2);
    let job = world.submits(json!({"validate": "false"}));
    let stage = Run { job, stage: Stage::Validate, attempt: 1 };
    let outcome = RunOutcome { exit_code: Some(1), started_at: Some(Timestamp(1)), ..RunOutcome::default() };
    let step = world.step(Input::Observed(Observed::Ended(stage, outcome)));
    let said = serde_json::to_value(&step.events[0]).unwrap();
    assert_eq!((&said["kind"], &said["started_at"]), (&json!("job.ended"), &Value::Null));
}

#[test]
fn a_validate_command_ends_with_its_array() {
    let mut world = World::new(2);
    let array = world.submits(json!({"array": "0-0", "validate": "sleep 600"}));
    let step = world.does(Action::Cancel { targets: vec![JobRef::task(array.job, 0)] });
    let stage = Run { job: array, stage: Stage::Validate, attempt: 1 };
    assert_eq!(step.effects, [Effect::Signal(stage, RunSignal::Kill)]);
}

/// The tasks that execute.
fn running(world: &World) -> Vec<String> {
    world.core.running(usize::MAX).iter().map(ToString::to_string).collect()
}

#[test]
fn a_task_waits_for_the_task_with_its_index() {
    let mut world = World::new(2);
    let first = world.submits(json!({"array": "0-6:2"}));
    let second = world.submits(json!({"array": "2-6:2", "after_ok": [format!("{first}.*")], "cpus": 0}));
    assert_eq!(running(&world), [format!("{first}.0"), format!("{first}.2")]);
    let waits = world.core.look(world.now, JobRef::task(second.job, 4)).unwrap().waiting.unwrap();
    assert_eq!(waits.to_string(), format!("after completion of {first}.4"));
    world.exits(JobRef::task(first.job, 2), 1, 0);
    assert!(running(&world).contains(&format!("{second}.2")), "{:?}", running(&world));
    // The one whose task failed never runs, and the others do not wait for that.
    world.fails(JobRef::task(first.job, 4));
    assert_eq!(world.core.look(world.now, second).unwrap().tasks.unwrap().cancelled, 1);
    world.exits(JobRef::task(first.job, 6), 1, 0);
    let live = world.core.look(world.now, second).unwrap();
    assert_eq!((live.tasks.unwrap().waiting, live.tasks.unwrap().running), (0, 2));
}

#[test]
fn tasks_that_wait_for_an_array_that_is_over_know_how_each_of_its_tasks_ended() {
    let mut world = World::new(2);
    let past = |task: Option<u32>, state: JobState| (JobRef { job: JobId(7), task }, (state, true));
    let ended = BTreeMap::from([
        past(None, JobState::Failed),
        past(Some(0), JobState::Completed),
        past(Some(1), JobState::Failed),
    ]);
    let action = |demand| Action::Submit { name: "x".into(), demand, ended: ended.clone() };
    let demand = demand(json!({"array": "0-2", "after_ok": ["7.*"]}));
    let Answer::Submitted(id, _) = world.does(action(demand)).answer else { panic!("it was not submitted") };
    assert_eq!(running(&world), [format!("{id}.0")]);
    assert_eq!(world.core.look(world.now, id.into()).unwrap().tasks.unwrap().cancelled, 2, "one failed, one never ran");
}

#[test]
fn one_of_several_dependencies_is_enough_for_each_task_by_itself() {
    let mut world = World::new(2);
    let whole = world.submits(json!({}));
    let array = world.submits(json!({"array": "0-1", "cpus": 0}));
    let spec = json!({"array": "0-1", "cpus": 0, "any": true, "after_ok": [format!("{array}.*"), whole.to_string()]});
    let either = world.submits(spec);
    world.exits(JobRef::task(array.job, 1), 1, 0);
    assert_eq!(world.core.look(world.now, either).unwrap().tasks.unwrap().running, 1);
    world.fails(JobRef::task(array.job, 0));
    assert_eq!(
        world.core.look(world.now, either).unwrap().tasks.unwrap().waiting,
        1,
        "the other job may still complete"
    );
    world.exits(whole, 1, 0);
    assert_eq!(world.core.look(world.now, either).unwrap().tasks.unwrap().running, 2);
}

#[test]
fn what_can_not_be_matched_by_index_is_refused() {
    let mut world = World::new(2);
    let plain = world.submits(json!({}));
    let array = world.submits(json!({"array": "0-1"}));
    let refused = |world: &mut World, spec| {
        let action = Action::Submit { name: "x".into(), demand: demand(spec), ended: BTreeMap::new() };
        world.core.step(world.now, Input::Command(ME, action)).unwrap_err()
    };
    let none = refused(&mut world, json!({"array": "0-1", "after": [format!("{plain}.*")]}));
    assert_eq!(none, Refusal::NoTasks(plain.job));
    let missing = refused(&mut world, json!({"array": "0-4", "after": [format!("{array}.*")]}));
    assert_eq!(missing, Refusal::NoSuchJob(JobRef::task(array.job, 2)));
}
