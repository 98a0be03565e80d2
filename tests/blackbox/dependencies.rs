//! Dependencies: who may start after whom, and who never can.
//! Held jobs stand for those that are still to come.

use crate::hands::{Gate, words};
use crate::world::World;
use serde_json::Value;

fn state(world: &World, id: &str) -> String {
    world.show(id)["state"].as_str().unwrap().to_owned()
}

#[test]
fn each_kind_follows_the_ends_that_it_says() {
    let world = World::new();
    let (good, bad) = (world.submit("", "true"), world.submit("", "exit 3"));
    world.run(&format!("wait {good} {bad}"));
    // The same answer before and after the end of what is waited for.
    let gate = Gate::new(&world, "gate");
    let later_good = world.submit("--cpus 0", &gate.wait());
    let later_bad = world.submit("--cpus 0", &format!("{}; exit 3", gate.wait()));
    let mut wanted = Vec::new();
    for (option, on_good, on_bad) in [
        ("--after", "completed", "completed"),
        ("--after-ok", "completed", "cancelled"),
        ("--after-fail", "cancelled", "completed"),
        ("--after-start", "completed", "completed"),
    ] {
        for (on, state) in [(&good, on_good), (&bad, on_bad), (&later_good, on_good), (&later_bad, on_bad)] {
            wanted.push((world.submit(&format!("{option} {on}"), "true"), state, format!("{option} {on}")));
        }
    }
    gate.open(2);
    for (id, wanted, what) in &wanted {
        let job = world.ended(id);
        assert_eq!(job["state"].as_str(), Some(*wanted), "{what}");
        if *wanted == "cancelled" {
            let failure = &job["failure"];
            assert_eq!(
                (failure["kind"].as_str(), failure["cause"].as_str()),
                (Some("DependencyFailed"), Some("dependency"))
            );
            let on = what.split(' ').next_back().unwrap();
            assert!(failure["message"].as_str().unwrap().contains(&format!("job {on}")), "{failure}");
            assert!(world.run(&format!("jobs {id}")).ok().contains("can not follow"));
        }
    }
}

#[test]
fn a_start_is_enough_where_a_start_is_asked_for() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let first = world.submit("--cpus 0", &gate.wait());
    let second = world.submit(&format!("--after-start {first}"), "true");
    assert_eq!(world.ended(&second)["state"], "completed");
    world.executing(&first);
    assert_eq!(state(&world, &first), "executing");
    let held = world.submit("--hold", "true");
    let third = world.submit(&format!("--after-start {held}"), "true");
    assert_eq!(world.show(&third)["waiting_reason"], format!("after start of {held}"));
    world.run(&format!("cancel {held}")).ok();
    assert_eq!(world.ended(&third)["state"], "cancelled");
    gate.open(1);
}

#[test]
fn all_are_needed_unless_any_is_enough() {
    let world = World::new();
    let held = world.submit("--hold", "true");
    let (good, bad) = (world.submit("", "true"), world.submit("", "false"));
    world.run(&format!("wait {good} {bad}"));
    let all = world.submit(&format!("--after-ok {good},{held}"), "true");
    let any = world.submit(&format!("--after-ok {bad},{good},{held} --any"), "true");
    let none = world.submit(&format!("--after-ok {bad} --after-fail {good} --any"), "true");
    let open = world.submit(&format!("--after-ok {bad} --after {held} --any"), "true");
    assert_eq!(world.ended(&any)["state"], "completed");
    assert_eq!(world.ended(&none)["state"], "cancelled");
    assert_eq!((state(&world, &all), state(&world, &open)), ("queued".to_owned(), "queued".to_owned()));
    world.run(&format!("cancel {held}")).ok();
    assert_eq!(world.ended(&all)["state"], "cancelled");
    assert_eq!(world.ended(&open)["state"], "completed");
}

#[test]
fn a_collecting_job_follows_its_array_and_tasks_are_waited_for_one_by_one() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    let array = world.submit("--array 0-3", &format!("{}; test $QRM_ARRAY_INDEX != 2", gate.wait()));
    let task = world.submit(&format!("--priority high --after-ok {array}.1"), "echo task >>order");
    let bad = world.submit(&format!("--after-ok {array}.2"), "echo never >>order");
    let all = world.submit(&format!("--after {array}"), "echo all >>order");
    let ok = world.submit(&format!("--after-ok {array}"), "echo never >>order");
    gate.open(2);
    world.ended(&task);
    assert_eq!(world.show(&array)["tasks"]["completed"], 2);
    gate.open(2);
    world.ended(&all);
    assert_eq!((state(&world, &bad), state(&world, &ok)), ("cancelled".to_owned(), "cancelled".to_owned()));
    assert_eq!(words(&world, "order"), ["task", "all"]);
    // Of what is over, too.
    let late = world.submit(&format!("--after-fail {array}.2 --after-ok {array}.1"), "true");
    assert_eq!(world.ended(&late)["state"], "completed");
}

#[test]
fn who_waits_for_a_task_that_never_runs_is_not_left_waiting() {
    for running in [false, true] {
        let world = World::with(&[("QRM_HOST_CPUS", "1")]);
        let gate = Gate::new(&world, "gate");
        let hold = if running { "" } else { "--hold" };
        let array = world.submit(&format!("{hold} --array 0-9"), &gate.wait());
        if running {
            world.executing(&format!("{array}.0"));
        }
        let kinds = ["--after", "--after-ok", "--after-fail", "--after-start"];
        let ids: Vec<String> = kinds.iter().map(|kind| world.submit(&format!("{kind} {array}.7"), "true")).collect();
        world.run(&format!("cancel {array}")).ok();
        world.ended(&array);
        let late: Vec<String> = kinds.iter().map(|kind| world.submit(&format!("{kind} {array}.7"), "true")).collect();
        for ids in [ids, late] {
            let states: Vec<Value> = ids.iter().map(|id| world.ended(id)["state"].clone()).collect();
            assert_eq!(states, ["completed", "cancelled", "completed", "cancelled"], "running: {running}");
        }
    }
}

#[test]
fn an_array_and_its_tasks_have_started_if_they_have() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let array = world.submit("--array 0-3", "true");
    world.ended(&array);
    let gate = Gate::new(&world, "gate");
    let line = world.submit("--cpus 1", &gate.wait());
    let rest = world.submit("--array 0-1", "true");
    world.run(&format!("cancel {rest}.1")).ok();
    for (line, says) in [
        (format!("--after-start {array}"), "would wait: needs 1 cpu, 0 free"),
        (format!("--after-start {array}.3"), "would wait: needs 1 cpu, 0 free"),
        (format!("--after-start {rest}.1"), "would be cancelled: "),
        (format!("--after-start {rest}.0"), "would wait: after start of"),
        (format!("--after {array}.4"), &*format!("there is no job {array}.4")),
        (format!("--after {line}.0"), &*format!("there is no job {line}.0")),
    ] {
        let said = world.run(&format!("submit --dry-run {line} -- true"));
        let said = said.out + &said.err;
        assert!(said.contains(says), "{line}: {said}");
        let said = world.run(&format!("submit {line} -- true"));
        match said.code {
            0 => assert_eq!(state(&world, said.ok().trim()) == "cancelled", says.contains("cancelled"), "{line}"),
            code => assert!(code == 2 && said.err.contains(says), "{line}: {said:?}"),
        }
    }
    gate.open(1);
    world.ended(&rest);
    let said = world.run(&format!("submit --after {line}.0 -- true"));
    assert!(said.code == 2 && said.err.contains(&format!("there is no job {line}.0")), "{said:?}");
}

#[test]
fn a_task_that_waits_for_another_attempt_ends_with_its_array() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    let gate = Gate::new(&world, "gate");
    let command = format!("[ $QRM_ARRAY_INDEX = 1 ] && exit 1; {}", gate.wait());
    let array = world.submit("--array 0-1 --retries 1 --backoff 1h..1h", &command);
    world.happened("job.requeued");
    world.executing(&format!("{array}.0"));
    world.run(&format!("cancel {array}")).ok();
    assert_eq!(world.ended(&array)["state"], "cancelled");
    assert_eq!(state(&world, &format!("{array}.1")), "cancelled");
}

#[test]
fn a_chain_of_fifty_runs_in_order_and_one_that_breaks_ends_at_once() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let mut last = world.submit("", &gate.wait());
    for _ in 0..50 {
        last = world.submit(&format!("--after-ok {last}"), "echo $QRM_JOB_ID >>order");
    }
    gate.open(1);
    assert_eq!(world.ended(&last)["state"], "completed");
    let order: Vec<u32> = words(&world, "order").iter().map(|id| id.parse().unwrap()).collect();
    assert_eq!(order, (2..=51).collect::<Vec<_>>());
    let held = world.submit("--hold", "true");
    let mut last = held.clone();
    for _ in 0..50 {
        last = world.submit(&format!("--after-ok {last}"), "true");
    }
    world.run(&format!("cancel {held}")).ok();
    assert_eq!(world.ended(&last)["state"], "cancelled");
    assert_eq!(world.run("--json jobs state=live").json(), serde_json::json!([]));
}

#[test]
fn what_is_not_there_can_not_be_waited_for() {
    let world = World::new();
    world.submit("--hold", "true");
    world.submit("--hold --array 0-8:2", "true");
    for (options, thing) in [
        ("--after 99", "99"),
        // Its own id: a cycle can not even be said.
        ("--after 3", "3"),
        ("--after-ok 1.0", "1.0"),
        ("--after-start 2.1", "2.1"),
        ("--after 2.10", "2.10"),
        ("--after x", "'x'"),
        ("--after 0", "'0'"),
        ("--after 1,,2", "''"),
        ("--any", "--any without a dependency"),
    ] {
        let said = world.run(&format!("submit {options} -- true"));
        assert_eq!(said.code, 2, "{options}: {said:?}");
        assert!(said.err.contains(thing), "{options}: {said:?}");
    }
    assert_eq!(world.submit("--hold", "true"), "3");
}
