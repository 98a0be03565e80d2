//! Why a job waits and when it starts, of one that is there and of one that is not submitted.
//! What is planned is read from JSON; what people see is looked at once.

use crate::hands::Gate;
use crate::queues::codes;
use crate::world::World;
use qrm_protocol::time::Timestamp;
use serde_json::{Value, json};

#[track_caller]
fn explained(world: &World, id: &str) -> Value {
    world.qrm(["--json", "explain", id]).json()
}

#[track_caller]
fn at(value: &Value) -> i64 {
    serde_json::from_value::<Timestamp>(value.clone()).unwrap_or_else(|e| panic!("{value}: {e}")).0
}

/// What is planned is kept by the clock that never jumps and shown by the other, which are not read at one instant.
#[track_caller]
fn same(one: i64, other: i64) {
    assert!(one.abs_diff(other) < 1_000, "{one} is not {other}");
}

#[test]
fn who_waits_for_cpus_is_told_who_has_them_and_when_it_starts() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    let gate = Gate::new(&world, "gate");
    let first = world.submit("--cpus 2 --time 1h", &gate.wait());
    world.executing(&first);
    let second = world.submit("--cpus 1 --time 10m", "true");
    let why = explained(&world, &second);
    assert_eq!(
        (&why["state"], &why["expected_run_ms"], &why["expected_from"]),
        (&json!("queued"), &json!(600_000), &json!("limit"))
    );
    let started = at(&world.show(&first)["started_at"]);
    let planned = at(&why["planned_start"]);
    same(planned, started + 3_600_000);
    let reason = &why["reasons"][0];
    assert_eq!((&reason["code"], &reason["asked"], &reason["free"]), (&json!("cpus"), &json!(1), &json!(0)));
    let holder = &reason["holders"][0];
    assert_eq!((&holder["id"], &holder["amount"]), (&json!(first), &json!(2)));
    same(at(&holder["until"]), planned);
    same(at(&world.show(&second)["planned_start"]), planned);
    let text = world.run(&format!("explain {second}")).ok();
    assert!(text.starts_with(&format!("job {second} is queued: planned to start at ")), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80) && text.contains("\nrank "), "{text}");
    for list in ["jobs", "status"] {
        let text = world.run(list).ok();
        assert!(text.contains("planned "), "{text}");
    }
    gate.open(1);
    world.ended(&second);
    let why = explained(&world, &second);
    assert_eq!((&why["reasons"], &why["planned_start"]), (&json!([]), &json!(null)));
}

#[test]
fn an_array_that_runs_says_when_its_next_task_starts() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    let id = world.submit("--array 0-2 --time 1h", &gate.wait());
    world.executing(&format!("{id}.0"));
    let why = explained(&world, &id);
    assert_eq!(why["state"], "executing");
    same(at(&why["planned_start"]), at(&world.show(&format!("{id}.0"))["started_at"]) + 3_600_000);
    let text = world.run(&format!("explain {id}")).ok();
    assert!(text.starts_with(&format!("job {id} is executing: its next task is planned to start at ")), "{text}");
    gate.open(3);
}

#[test]
fn every_cause_has_its_code() {
    let world = World::with(&[("QRM_HOST_CPUS", "2"), ("QRM_HOST_MEMORY", "1G")]);
    let gate = Gate::new(&world, "gate");
    let first = world.submit("--array 0-3%1 --mem 900M", &gate.wait());
    world.executing(&format!("{first}.0"));
    for (options, code) in [
        ("--hold", "held"),
        ("--begin +1h", "begin"),
        (&*format!("--after {first}"), "dependency"),
        ("--cpus 2", "cpus"),
        ("--mem 500M", "memory"),
        ("--exclusive", "exclusive"),
    ] {
        let id = world.submit(options, "true");
        assert!(codes(&world, &id).contains(&code.to_owned()), "{options}: {:?}", codes(&world, &id));
        world.run(&format!("cancel {id}")).ok();
    }
    assert!(codes(&world, &format!("{first}.1")).contains(&"array_width".to_owned()));
    gate.open(4);
    assert_eq!(codes(&world, &format!("{first}.0")), [""; 0]);
}

#[test]
fn when_says_the_same_and_submits_nothing() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    assert_eq!(world.run("when -- true").ok().lines().next(), Some("it would start at once"));
    let gate = Gate::new(&world, "gate");
    let first = world.submit("--cpus 2 --time 1h", &gate.wait());
    world.executing(&first);
    let would = world.run("--json when --cpus 1 --time 10m -- true").json();
    assert_eq!(would["id"], json!(null));
    let id = world.submit("--cpus 1 --time 10m", "true");
    assert_eq!(id, "2");
    let why = explained(&world, &id);
    assert_eq!(would["reasons"][0]["code"], why["reasons"][0]["code"]);
    same(at(&would["planned_start"]), at(&why["planned_start"]));
    for (line, says) in [
        ("when --cpus 3 -- true", "--cpus 2 is the most"),
        ("when --after 9 -- true", "there is no job 9"),
        ("when --dry-run -- true", "--dry-run"),
        ("explain 9", "there is no job 9"),
    ] {
        let said = world.run(line);
        assert!(said.code == 2 && said.err.contains(says), "{line}: {said:?}");
    }
    gate.open(1);
}
