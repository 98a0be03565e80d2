//! Holding, releasing, suspending, resuming and signalling.
//! That a job stands still is shown by what it does not do while another one runs.

use crate::hands::Gate;
use crate::world::World;

#[test]
fn what_is_held_does_not_start_until_it_is_released() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    let first = world.submit("", &gate.wait());
    let second = world.submit("", "true");
    world.executing(&first);
    assert_eq!(world.run("hold 2").ok(), "job 2 held\n");
    assert_eq!(world.run("hold 2 2").ok(), "job 2 was held already\n");
    assert_eq!(world.show(&second)["waiting_reason"], "held");
    gate.open(1);
    world.ended(&first);
    world.run("run -- true").ok();
    world.kill_daemon();
    assert_eq!(world.show(&second)["waiting_reason"], "held");
    let said = world.run("--json release state=queued").json();
    assert_eq!(said, serde_json::json!({"changed": 1, "unchanged": 0, "jobs": [{"id": "2", "changed": true}]}));
    assert_eq!(world.ended(&second)["state"], "completed");
    let events = world.run("--json events --job 2").ok();
    assert!(events.contains("\"job.held\"") && events.contains("\"job.released\""), "{events}");
}

#[test]
fn the_rest_of_an_array_is_held() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    let id = world.submit("--array 0-2", &gate.wait());
    world.executing("1.0");
    let said = world.run("hold 1.2");
    assert_eq!(said.code, 2);
    assert!(said.err.contains("1.2 is a task") && said.err.contains("name 1,"), "{said:?}");
    assert_eq!(world.run("hold 1").ok(), "job 1 held\n");
    gate.open(1);
    world.ended("1.0");
    world.run("run -- true").ok();
    assert_eq!(world.show(&id)["tasks"]["waiting"], 2);
    gate.open(2);
    world.run("release 1").ok();
    assert_eq!(world.ended(&id)["tasks"]["completed"], 3);
}

#[test]
fn what_is_suspended_stands_still_over_a_restart_and_so_does_its_time() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    let gate = Gate::new(&world, "gate");
    let id = world.submit("--time 1s", &format!("{}; exit 3", gate.wait()));
    world.executing(&id);
    assert_eq!(world.run("suspend 1").ok(), "job 1 suspended\n");
    assert_eq!(world.run("suspend 1").ok(), "job 1 was suspended already\n");
    world.run("run -- true").ok();
    gate.open(1);
    world.kill_daemon();
    // When the time of one that began later is up, that of the first one would have been.
    assert_eq!(world.run("run --time 1s -- sleep 60").code, 124);
    let job = world.show(&id);
    assert_eq!((job["state"].as_str(), job["waiting_reason"].as_str()), (Some("executing"), Some("suspended")));
    assert!(world.run("jobs").ok().contains("suspended"));
    assert_eq!(world.run("resume 1").ok(), "job 1 resumed\n");
    let job = world.ended(&id);
    assert_eq!((job["state"].as_str(), job["exit_code"].as_i64()), (Some("failed"), Some(3)));
}

#[test]
fn what_is_suspended_can_be_cancelled_and_hears_it() {
    let world = World::new();
    let (gate, heard) = (Gate::new(&world, "gate"), Gate::new(&world, "heard"));
    let script = format!("trap 'echo term; exit 5' TERM; {}; {}", heard.tell(), gate.wait());
    let id = world.submit("", &script);
    heard.heard();
    world.run("suspend 1").ok();
    assert_eq!(world.run("cancel 1").ok(), "job 1 told to end\n");
    let job = world.ended(&id);
    assert_eq!((job["state"].as_str(), job["exit_code"].as_i64()), (Some("cancelled"), Some(5)));
    assert_eq!(world.run("logs 1").ok(), "term\n");
}

#[test]
fn signals_go_by_name_and_number_to_what_executes_once() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    let (gate, heard) = (Gate::new(&world, "gate"), Gate::new(&world, "heard"));
    let script = format!("trap 'echo usr1; exit 0' USR1; trap 'echo int' INT; {}; {}", heard.tell(), gate.wait());
    world.submit("--array 0-1", &format!("{script}; {}; wait", gate.wait()));
    heard.heard();
    heard.heard();
    assert_eq!(world.run("signal int 1.0").ok(), "job 1.0 signalled\n");
    let said = world.run("--json signal 10 state=executing").json();
    assert_eq!(said["jobs"], serde_json::json!([{"id": "1", "changed": true}]), "the array stands for its tasks");
    world.ended("1");
    assert_eq!(world.run("logs 1.1").ok(), "usr1\n");
    for (line, says) in [
        ("signal USR1 1", "job 1 has ended"),
        ("signal USR9 1", "did you mean USR1"),
        ("signal 65 1", "signals are 1 to 64"),
        ("signal TERM", "<ID|FILTER>"),
        ("signal TERM 7", "there is no job 7"),
    ] {
        let said = world.run(line);
        assert!(said.code == 2 && said.err.contains(says), "{line}: {said:?}");
    }
}

#[test]
fn one_that_can_not_have_it_keeps_all_from_it() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    let first = world.submit("", &gate.wait());
    let second = world.submit("", "true");
    world.executing(&first);
    for (line, says) in [
        ("hold 2 1", "job 1 has started"),
        ("hold 2 99", "there is no job 99"),
        ("suspend 2", "job 2 is not executing"),
        ("suspend 1 2", "job 2 is not executing"),
        ("resume 2", "job 2 is not executing"),
        ("hold", "<ID|FILTER>"),
        ("hold colour=red", "colour"),
        ("release 1.4", "there is no job 1.4"),
    ] {
        let said = world.run(line);
        assert!(said.code == 2 && said.err.contains(says), "{line}: {said:?}");
    }
    assert_ne!(world.show(&second)["waiting_reason"], "held");
    assert_eq!(world.show(&first)["waiting_reason"], serde_json::Value::Null);
    // A filter finds those that can have it, and no others.
    assert_eq!(world.run("hold 1-2").ok(), "job 2 held\n");
    assert_eq!(world.run("hold state=completed").err, "no job matches\n");
    world.run("suspend 1").ok();
    world.run("cancel 1 2").ok();
    world.ended(&first);
    let said = world.run("hold 2");
    assert!(said.code == 2 && said.err.contains("job 2 has ended"), "{said:?}");
}

#[test]
fn a_job_says_what_ends_it_and_how_long_it_has() {
    let world = World::with(&[("QRM_HOST_CPUS", "4")]);
    let (gate, heard) = (Gate::new(&world, "gate"), Gate::new(&world, "heard"));
    let script = format!("trap 'echo usr1; exit 9' USR1; trap '' TERM; {}; {}", heard.tell(), gate.wait());
    let polite = world.submit("--signal usr1", &script);
    let timed = world.submit("--signal SIGUSR1 --time 50ms", &script);
    let deaf = world.submit("--grace 50ms", &script);
    let line = serde_json::json!({"command": ["sh", "-c", script], "signal": 10, "grace": "1h"});
    let bulk = world.feed("submit --bulk -", format!("{line}\n").as_bytes()).ok().trim().to_owned();
    for _ in 0..4 {
        heard.heard();
    }
    let ends = |id: &str| {
        let job = world.ended(id);
        (job["state"].as_str().unwrap().to_owned(), job["exit_code"].as_i64(), job["signal"].as_i64())
    };
    let shown = world.show(&bulk);
    assert_eq!((shown["stop_signal"].as_i64(), shown["grace_ms"].as_i64()), (Some(10), Some(3_600_000)));
    assert!(world.run(&format!("show {bulk}")).ok().contains("USR1, and KILL after 1h"));
    assert_eq!(ends(&timed), ("timeout".into(), Some(9), None));
    world.run(&format!("cancel {polite} {deaf}")).ok();
    assert_eq!(ends(&polite), ("cancelled".into(), Some(9), None));
    assert_eq!(ends(&deaf), ("cancelled".into(), None, Some(9)));
    // What was asked for is known to the next daemon, too.
    world.kill_daemon();
    world.run(&format!("cancel {bulk}")).ok();
    assert_eq!(ends(&bulk), ("cancelled".into(), Some(9), None));
    for (line, says) in [
        ("submit --signal NOPE true", "there is no signal 'NOPE'"),
        ("submit --grace 25h true", "a grace is at most 1d"),
        ("submit --grace x true", "--grace"),
    ] {
        let said = world.run(line);
        assert!(said.code == 2 && said.err.contains(says), "{line}: {said:?}");
    }
    let said = world.feed("submit --bulk -", b"{\"command\":[\"true\"],\"grace\":\"1s\",\"grace_ms\":5}\n");
    assert!(said.code == 2 && said.err.contains("say the same thing"), "{said:?}");
}
