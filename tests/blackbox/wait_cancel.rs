//! Waiting for jobs and ending them, by id, range and filter.
//! Exit codes are what scripts live by.

use crate::hands::{Gate, Wire};
use crate::world::World;
use serde_json::json;

#[test]
fn one_id_exits_as_the_job_did_and_several_say_whether_all_completed() {
    let world = World::new();
    for script in ["true", "exit 3", "kill -TERM $$"] {
        world.submit("", script);
    }
    for (line, code) in [
        ("wait 1", 0),
        ("wait 2", 3),
        ("wait 3", 128 + 15),
        ("wait 1 2", 1),
        ("wait 1 1", 0),
        ("wait 1 99", 2),
        ("wait 99", 2),
        ("wait 99 --timeout 10ms", 2),
        ("wait x", 2),
        ("wait 1.1", 2),
        ("wait", 2),
    ] {
        let said = world.run(line);
        assert_eq!((said.code, said.out.as_str()), (code, ""), "{line}: {said:?}");
    }
    assert_eq!(world.run("--json wait 2").json()["exit_code"], 3);
    let states: Vec<_> =
        world.run("--json wait 1 2").json().as_array().unwrap().iter().map(|j| j["state"].clone()).collect();
    assert_eq!(states, ["completed", "failed"]);
}

#[test]
fn a_wait_that_takes_too_long_exits_with_124() {
    let world = World::new();
    let held = world.submit("--hold", "true");
    let done = world.submit("", "true");
    for line in ["wait 1 --timeout 50ms", "wait 1 2 --timeout 50ms", "wait 1 1 --any --timeout 0", "wait 1 --timeout 0"]
    {
        let said = world.run(line);
        assert_eq!(said.code, 124, "{line}: {said:?}");
        assert!(said.err.contains("not ended after"), "{said:?}");
    }
    let said = world.run("--json wait 1 --timeout 10ms");
    assert_eq!((said.code, said.json()["error"]["code"].as_str()), (124, Some("FAILED_PRECONDITION")));
    assert_eq!(world.show(&held)["state"], "queued");
    assert_eq!(world.run(&format!("wait {done} --timeout 100y")).code, 2);
    assert_eq!(world.run(&format!("wait {done} --timeout 36500d")).code, 0);
}

#[test]
fn any_returns_with_the_first_that_ends() {
    let world = World::new();
    let held = world.submit("--hold", "true");
    let gate = Gate::new(&world, "gate");
    let bad = world.submit("", &format!("{}; exit 3", gate.wait()));
    let waiting = world.spawn(&format!("wait --any {held} {bad}"));
    gate.open(1);
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let good = world.submit("", "true");
    let said = world.run(&format!("--json wait --any {held} {good}"));
    assert_eq!((said.code, said.json()["id"].as_str()), (0, Some(good.as_str())));
    assert_eq!(world.run(&format!("wait --any {held} 99")).code, 2);
    let many = vec![held; 257].join(" ");
    let said = world.run(&format!("wait --any {many}"));
    assert_eq!((said.code, said.err.contains("one call waits for 1 to 256 jobs, not 257")), (2, true), "{said:?}");
}

#[test]
fn more_than_one_call_takes_are_awaited_all() {
    let world = World::new();
    let array = world.submit("--array 0-1099", "exit $((QRM_ARRAY_INDEX % 2))");
    let ids: Vec<String> = (0..1100).map(|task| format!("{array}.{task}")).collect();
    let said = world.qrm(["--json", "wait"].into_iter().chain(ids.iter().map(String::as_str)));
    let ended: Vec<_> =
        said.json().as_array().unwrap().iter().map(|job| (job["id"].clone(), job["exit_code"].clone())).collect();
    let expected: Vec<_> = ids.iter().enumerate().map(|(at, id)| (json!(id), json!(at % 2))).collect();
    assert_eq!((ended, said.code), (expected, 1));
}

#[test]
fn a_waiter_outlives_the_daemon() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let id = world.submit("", &format!("{}; exit 6", gate.wait()));
    world.executing(&id);
    let waiting = [world.spawn(&format!("wait {id}")), world.spawn(&format!("wait {id} {id}"))];
    world.kill_daemon();
    gate.open(1);
    let codes = waiting.map(|mut child| child.wait().unwrap().code());
    assert_eq!(codes, [Some(6), Some(1)]);
}

#[test]
fn cancel_does_all_that_was_named_or_nothing() {
    let world = World::new();
    for _ in 0..6 {
        world.submit("--hold", "true");
    }
    for (line, thing) in [
        ("cancel 1 99", "no job 99"),
        ("cancel 99 1", "no job 99"),
        ("cancel 1 1.5", "no job 1.5"),
        ("cancel 99 1-3", "no job 99"),
        ("cancel 99 state=queued", "no job 99"),
        ("cancel 3-1", "'3-1'"),
        ("cancel 1 sate=queued", "did you mean state=queued?"),
        ("cancel state=quued", "did you mean state=queued?"),
        ("cancel", "ID|FILTER"),
        ("cancel 0", "'0'"),
        ("cancel 1 name>x", "can not be compared"),
    ] {
        let said = world.run(line);
        assert_eq!(said.code, 2, "{line}: {said:?}");
        assert!(said.err.contains(thing), "{line}: {said:?}");
    }
    assert_eq!(world.run("--json jobs state=queued").json().as_array().unwrap().len(), 6);
    assert_eq!(world.qrm(["cancel", ""]).code, 2);
}

#[test]
fn ids_ranges_and_filters_end_what_they_say() {
    let world = World::new();
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        world.submit(&format!("--hold --name job-{name}"), "true");
    }
    let live = || {
        let list = world.run("--json jobs state=live").json();
        list.as_array().unwrap().iter().map(|j| j["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(world.run("cancel 2").ok(), "job 2 cancelled\n");
    assert_eq!(world.run("cancel 2 2").ok().lines().count(), 1);
    world.run("cancel 3-4").ok();
    assert_eq!(live(), "1 5 6 7");
    world.run("cancel name=job-e,job-f 1-5").ok();
    assert_eq!(live(), "1 6 7");
    assert_eq!(world.run("cancel --json name~JOB-G state=live").json()["cancelled"], 1);
    let none = world.run("cancel name=nothing");
    assert_eq!((none.code, none.out.as_str(), none.err.as_str()), (0, "", "no job matches\n"));
    world.run("cancel 100-200").ok();
    assert_eq!(live(), "1 6");
    assert_eq!(world.run("--quiet cancel state=live").ok(), "");
    assert_eq!(live(), "");
}

#[test]
fn many_are_ended_at_once_and_a_few_are_named() {
    let world = World::new();
    world.feed("submit --bulk -", &b"{\"command\":[\"true\"],\"hold\":true}\n".repeat(2_500)).ok();
    let said = world.run("cancel state=queued").ok();
    assert_eq!(said.lines().count(), 21);
    assert!(said.contains("and 2480 more: in all 2500 cancelled"), "{said}");
    assert_eq!(world.run("--json status").json()["jobs"], json!({"cancelled": 2_500}));
}

#[test]
fn a_cancelled_job_takes_its_children_with_it() {
    let world = World::new();
    let heard = Gate::new(&world, "heard");
    let child = format!("(trap '' TERM INT HUP; setsid sh -c '{}; sleep 1000; sleep 1000' &) ", heard.tell());
    let id = world.submit("", &format!("{child}; sleep 1000"));
    heard.heard();
    world.run(&format!("cancel {id}")).ok();
    let job = world.ended(&id);
    assert_eq!((job["state"].as_str(), job["signal"].as_i64()), (Some("cancelled"), Some(15)));
    let mark = format!("QRM_JOB_DIR={}", job["dir"].as_str().unwrap());
    let left = world.processes().into_iter().filter(|pid| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|b| *b == 0).any(|entry| entry == mark.as_bytes())
    });
    assert_eq!(left.count(), 0);
}

#[test]
fn wait_and_run_say_130_for_what_was_cancelled_before_it_ran() {
    let world = World::new();
    let held = world.submit("--hold", "true");
    let waiting = world.spawn(&format!("wait {held}"));
    world.run(&format!("cancel {held}")).ok();
    assert_eq!(waiting.wait_with_output().unwrap().status.code(), Some(130));
    let said = world.run(&format!("run --after-ok {held} -- true"));
    assert_eq!(said.code, 130, "{said:?}");
    assert!(said.err.contains("can not follow"), "{said:?}");
}

#[test]
fn what_a_range_or_a_filter_finds_is_waited_for() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    let gate = Gate::new(&world, "gate");
    world.submit("--label team=a", &gate.wait());
    world.submit("--label team=a", "exit 3");
    world.submit("--array 0-2 --label team=b", "exit $QRM_ARRAY_INDEX");
    let mut waiting = world.spawn("--json wait label.team=a");
    world.ended("3");
    assert!(waiting.try_wait().unwrap().is_none(), "one of them still runs");
    gate.open(1);
    let out = waiting.wait_with_output().unwrap();
    let ended: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let ids: Vec<&str> = ended.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!((out.status.code(), ids.len()), (Some(1), 2), "{ids:?}");
    let range = world.run("--json wait 2-3").json();
    assert_eq!(range.as_array().unwrap().len(), 2, "an array stands for its tasks: {range}");
    assert_eq!(world.run("wait 1 1 label.team=a").code, 0);
    for (line, says) in
        [("wait label.team=c", "no job matches"), ("wait 1-", "neither a job id nor a term"), ("wait 1 9", "no job 9")]
    {
        let said = world.run(line);
        assert!(said.code == 2 && said.err.contains(says), "{line}: {said:?}");
    }
}

#[test]
fn who_waits_for_a_start_is_told_of_the_first_task_and_of_an_attempt_that_was_short() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let (first, second) = (Gate::new(&world, "first"), Gate::new(&world, "second"));
    world.submit("", &first.wait());
    let array = world.submit("--array 0-1%1", &second.wait());
    let mut wire = Wire::new(&world);
    wire.ask("job.wait", &json!({"ids": [array], "started": true}));
    first.open(1);
    assert_eq!(wire.hear().unwrap()["result"]["jobs"][0]["state"], "executing");
    let short = world.submit("--retries 1 --backoff 1h", "exit 1");
    wire.ask("job.wait", &json!({"ids": [short], "started": true}));
    second.open(2);
    let told = wire.hear().unwrap();
    assert_eq!((&told["result"]["timed_out"], &told["result"]["jobs"][0]["state"]), (&json!(false), &json!("queued")));
}

#[test]
fn an_id_that_is_named_twice_is_dealt_with_once() {
    let world = World::new();
    let id = world.submit("", "true");
    world.ended(&id);
    let said = world.run(&format!("--json cancel {id} {id}")).json();
    assert_eq!((&said["ended"], said["jobs"].as_array().map(Vec::len)), (&json!(1), Some(1)), "{said}");
}
