//! Queues: what they bound, their defaults for jobs that do not set them, and who waits where.
//! A gate holds a place while others wait for it.

use crate::hands::{Gate, words};
use crate::world::World;
use serde_json::{Value, json};

/// The queue as it is listed.
#[track_caller]
fn queue(world: &World, name: &str) -> Value {
    let all = world.run("--json queue list").json();
    let found = all.as_array().unwrap().iter().find(|queue| queue["name"] == name);
    found.unwrap_or_else(|| panic!("no queue {name} in {all}")).clone()
}

/// The codes of what a job waits for.
#[track_caller]
pub fn codes(world: &World, id: &str) -> Vec<String> {
    let why = world.qrm(["--json", "explain", id]).json();
    let reasons = why["reasons"].as_array().unwrap_or_else(|| panic!("{why}")).iter();
    reasons.map(|reason| reason["code"].as_str().unwrap().to_owned()).collect()
}

/// The keys of an object.
#[track_caller]
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap_or_else(|| panic!("{value}")).keys().map(String::as_str).collect()
}

#[test]
fn what_is_answered_has_its_keys_also_where_they_say_nothing() {
    let world = World::new();
    world
        .run("queue set night --max-running 4 --max-time 2h --time 1h --mem 1G --cpus 1 --priority 9 --preemptible")
        .ok();
    let known = [
        "configured",
        "cpus",
        "max_running",
        "max_time_ms",
        "mem_bytes",
        "name",
        "on_conflict",
        "on_preempt",
        "paused",
        "preemptible",
        "priority",
        "running",
        "time_limit_ms",
        "waiting",
        "weight",
    ];
    for name in ["default", "night"] {
        assert_eq!(keys(&queue(&world, name)), known, "{name}");
    }
    assert_eq!(keys(&world.run("--json queue pause default").json()), known);
    let id = world.submit("--hold", "true");
    let why = world.run(&format!("--json explain {id}")).json();
    let explained = [
        "estimated_start",
        "expected_from",
        "expected_run_ms",
        "id",
        "offers",
        "planned_start",
        "rank",
        "reasons",
        "state",
    ];
    assert_eq!(keys(&why), explained);
    let reason = ["asked", "code", "free", "holders", "jobs", "message", "since", "until"];
    assert_eq!(keys(&why["reasons"][0]), reason);
    assert_eq!(keys(&world.run("--json when -- true").json()), explained);
}

#[test]
fn a_queue_runs_no_more_of_its_jobs_at_once_than_it_may() {
    let world = World::with(&[("QRM_HOST_CPUS", "4")]);
    world.run("queue set night --max-running 1").ok();
    let gate = Gate::new(&world, "gate");
    let first = world.submit("--queue night", &gate.wait());
    world.executing(&first);
    let second = world.submit("--queue night", "true");
    // Others do not wait for that.
    let other = world.submit("", "true");
    assert_eq!(world.ended(&other)["state"], "completed");
    assert_eq!(codes(&world, &second), ["queue_full"]);
    let night = queue(&world, "night");
    assert_eq!((&night["running"], &night["waiting"], &night["max_running"]), (&json!(1), &json!(1), &json!(1)));
    gate.open(1);
    assert_eq!(world.ended(&second)["state"], "completed");
    assert_eq!(world.show(&second)["queue"], "night");
}

#[test]
fn more_room_in_a_queue_is_used_at_once() {
    let world = World::with(&[("QRM_HOST_CPUS", "4")]);
    world.run("queue set night --max-running 1").ok();
    let gate = Gate::new(&world, "gate");
    let ids = [world.submit("--queue night", &gate.wait()), world.submit("--queue night", &gate.wait())];
    world.executing(&ids[0]);
    assert_eq!(codes(&world, &ids[1]), ["queue_full"]);
    world.run("queue set night --max-running 0").ok();
    world.executing(&ids[1]);
    gate.open(2);
}

#[test]
fn a_paused_queue_starts_nothing_until_it_goes_on() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    world.run("queue set night").ok();
    assert_eq!(world.run("queue pause night").ok(), "queue night is paused; what runs goes on\n");
    let note = "echo $QRM_JOB_ID >>order";
    let ids = ["low", "high"].map(|priority| world.submit(&format!("--queue night --priority {priority}"), note));
    let other = world.submit("", "true");
    world.ended(&other);
    for id in &ids {
        assert_eq!(codes(&world, id), ["queue_paused"]);
    }
    assert_eq!(world.run("queue pause night").ok(), "queue night is paused; what runs goes on (2 waiting)\n");
    world.run("queue resume night").ok();
    ids.iter().for_each(|id| drop(world.ended(id)));
    assert_eq!(words(&world, "order"), ["2", "1"]);
    assert_eq!(queue(&world, "night")["paused"], false);
}

#[test]
fn jobs_have_what_their_queue_says_unless_they_say_it_themselves() {
    let world = World::with(&[("QRM_HOST_CPUS", "4")]);
    world
        .run("queue set night --cpus 2 --mem 64M --time 1h --max-time 2h --priority high --preemptible --on-conflict queuing")
        .ok();
    for (options, cpus, mem, time, priority) in [
        ("--queue night", 2, json!(64 << 20), json!(3_600_000), 75),
        ("--queue night --cpus 1 --mem 1M --time 10m --priority low", 1, json!(1 << 20), json!(600_000), 25),
        ("--queue night --time 2h", 2, json!(64 << 20), json!(7_200_000), 75),
        ("", 1, json!(null), json!(null), 50),
    ] {
        let job = world.show(&world.submit(&format!("--hold {options}"), "true"));
        let shown = ["cpus", "mem_bytes", "time_limit_ms", "priority"].map(|key| job[key].clone());
        assert_eq!(shown, [json!(cpus), mem, time, json!(priority)], "{options}");
        assert_eq!(job["preemptible"] == true, options.starts_with("--queue"), "{options}");
    }
    let said = world.run("submit --queue night --time 3h -- true");
    assert!(said.code == 2 && said.err.contains("2h"), "{said:?}");
}

#[test]
fn what_was_said_of_a_queue_or_a_job_can_be_taken_back() {
    let world = World::new();
    world.run("queue set night --priority high --cpus 2").ok();
    world.run("queue set night --priority none --cpus none").ok();
    let night = queue(&world, "night");
    assert_eq!((&night["priority"], &night["cpus"]), (&json!(null), &json!(null)));
    let id = world.submit("--hold --queue night --checkpoint-signal USR1 --on-conflict queuing", "true");
    let shown = |id: &str| {
        let job = world.show(id);
        ["priority", "cpus", "checkpoint_signal", "on_conflict"].map(|key| job[key].clone())
    };
    assert_eq!(shown(&id), [json!(50), json!(1), json!(10), json!("queuing")]);
    world.run(&format!("update {id} --checkpoint-signal none --on-conflict none")).ok();
    assert_eq!(shown(&id), [json!(50), json!(1), json!(null), json!(null)]);
    // Also to who reads the events anew.
    world.kill_daemon();
    assert_eq!(shown(&id), [json!(50), json!(1), json!(null), json!(null)]);
    let events = world.run("--json events --after 0").out;
    let updated = events.lines().find(|line| line.contains("job.updated")).unwrap_or_else(|| panic!("{events}"));
    assert!(updated.contains(r#""checkpoint_signal":null"#) && updated.contains(r#""on_conflict":null"#), "{updated}");
}

#[test]
fn a_waiting_job_is_moved_to_another_queue() {
    let world = World::new();
    world.run("queue set night").ok();
    world.run("queue pause night").ok();
    let id = world.submit("--queue night", "true");
    assert_eq!(codes(&world, &id), ["queue_paused"]);
    world.run(&format!("update {id} --queue default")).ok();
    assert_eq!(world.ended(&id)["queue"], "default");
}

#[test]
fn what_can_not_be_done_with_a_queue_is_refused_with_what_would_work() {
    let world = World::new();
    world.run("queue set night").ok();
    world.run("queue pause night").ok();
    let id = world.submit("--queue night", "true");
    for (line, says) in [
        ("submit --queue nigth -- true", "night"),
        ("submit --queue Night -- true", "can not be the name of a queue"),
        ("update 1 --queue nigth", "night"),
        ("update state=queued --queue nigth", "night"),
        ("update state=queued --after 4711", "there is no job 4711"),
        ("submit --queue night --min-run 1m -- true", "never has to"),
        ("update 1 --min-run 1m", "never has to"),
        ("queue pause nigth", "night"),
        ("queue resume day", "day"),
        ("queue remove day", "day"),
        ("queue remove night", "1 job is in queue night"),
        ("queue remove default", "default"),
        ("queue set night --weight 0", "a weight of 0"),
        ("queue set night --max-time 1h --time 2h", "max_time"),
    ] {
        let said = world.run(line);
        assert!(said.code == 2 && said.err.contains(says), "{line}: {said:?}");
    }
    assert_eq!(queue(&world, "night")["weight"], 1);
    world.run(&format!("cancel {id}")).ok();
    assert_eq!(world.run("queue remove night").ok(), "queue night is removed\n");
    let names = world.run("--json queue list").json();
    assert_eq!(names.as_array().unwrap().iter().map(|queue| &queue["name"]).collect::<Vec<_>>(), ["default"]);
}

#[test]
fn queues_outlive_the_daemon() {
    let world = World::new();
    world.run("queue set night --weight 7 --max-running 3").ok();
    world.run("queue pause night").ok();
    world.kill_daemon();
    let night = queue(&world, "night");
    assert_eq!((&night["weight"], &night["max_running"], &night["paused"]), (&json!(7), &json!(3), &json!(true)));
}
