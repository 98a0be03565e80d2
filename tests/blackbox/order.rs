//! What is granted, and who starts first.
//! A gate holds the machine while the line forms behind it.

use crate::events::events;
use crate::hands::{Gate, words};
use crate::world::World;

#[test]
fn the_most_urgent_starts_first_and_among_equals_the_oldest() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    let first = world.submit("", &gate.wait());
    world.executing(&first);
    let note = "echo $QRM_JOB_ID >>order";
    let mut ids = Vec::new();
    for priority in ["low", "50", "high", "50", "100", "0", "critical"] {
        ids.push(world.submit(&format!("--priority {priority}"), note));
    }
    gate.open(1);
    let all: Vec<&str> = std::iter::once("wait").chain(ids.iter().map(String::as_str)).collect();
    world.qrm(all).ok();
    assert_eq!(words(&world, "order"), ["6", "8", "4", "3", "5", "2", "7"]);
}

#[test]
fn cpus_are_never_granted_twice() {
    let world = World::with(&[("QRM_HOST_CPUS", "3")]);
    std::fs::create_dir(world.dir().join("now")).unwrap();
    let script = |n: u32| {
        let marks = (0..n).map(|i| format!("now/$QRM_JOB_ID.{i}")).collect::<Vec<_>>().join(" ");
        format!("touch {marks}; ls now | wc -l >>counts; rm {marks}")
    };
    let ids: Vec<String> =
        [2, 1, 2, 1, 3, 1, 1, 2].map(|n| world.submit(&format!("--cpus {n}"), &script(n))).into_iter().collect();
    world.qrm(std::iter::once("wait").chain(ids.iter().map(String::as_str))).ok();
    let counts = words(&world, "counts");
    assert_eq!(counts.len(), 8);
    assert!(counts.iter().all(|n| (1..=3).contains(&n.parse::<u32>().unwrap())), "{counts:?}");
    assert_eq!(world.run("--json status").json()["machine"]["cpus_used"], 0);
}

#[test]
fn memory_is_counted_only_where_it_is_asked_for() {
    let world = World::with(&[("QRM_HOST_CPUS", "8"), ("QRM_HOST_MEMORY", "1G")]);
    let gate = Gate::new(&world, "gate");
    let big = world.submit("--mem 600M", &gate.wait());
    world.executing(&big);
    let too = world.submit("--mem 600M", "true");
    let reason = world.show(&too)["waiting_reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("memory"), "{reason}");
    assert_eq!(world.run("--json status").json()["machine"]["mem_used_bytes"], 600 << 20);
    // Who asks for none takes nothing of what it waits for, and goes before it.
    let none = world.submit("--mem 0", "true");
    assert_eq!(world.ended(&none)["state"], "completed");
    assert_eq!(world.show(&too)["state"], "queued");
    gate.open(1);
    assert_eq!(world.ended(&too)["state"], "completed");
}

#[test]
fn what_can_never_be_granted_is_refused_with_the_most_that_can() {
    let world = World::with(&[("QRM_HOST_CPUS", "3"), ("QRM_HOST_MEMORY", "1G")]);
    for (options, most) in
        [("--cpus 4", "--cpus 3 is the most"), ("--mem 1025M", "--mem 1G is the most"), ("--cpus 4294967295", "3")]
    {
        let said = world.run(&format!("submit {options} -- true"));
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains(most), "{said:?}");
    }
    assert_eq!(world.run("--json jobs").json(), serde_json::json!([]));
    for options in ["--cpus 3 --mem 1G", "--cpus 0 --mem 0"] {
        let id = world.submit(options, "true");
        assert_eq!(world.ended(&id)["state"], "completed", "{options}");
    }
}

#[test]
fn nobody_who_would_delay_it_overtakes_a_head_that_does_not_fit() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    let gate = Gate::new(&world, "gate");
    let holder = world.submit("", &gate.wait());
    world.executing(&holder);
    let head = world.submit("--cpus 2", "echo head >>order");
    let small = world.submit("", "echo small >>order");
    assert_eq!(world.show(&head)["waiting_reason"], "needs 2 cpus, 1 free");
    assert_eq!(world.show(&small)["waiting_reason"], format!("would delay job {head}, which comes first"));
    let status = world.run("status").ok();
    assert!(status.contains("cpus 1 of 2 granted") && status.contains("needs 2 cpus"), "{status}");
    gate.open(1);
    world.run(&format!("wait {head} {small}")).ok();
    assert_eq!(words(&world, "order"), ["head", "small"]);
    // Cancelling the head lets the next one move at once.
    let holder = world.submit("", &gate.wait());
    world.executing(&holder);
    let (head, small) = (world.submit("--cpus 2", "true"), world.submit("", "true"));
    world.run(&format!("cancel {head}")).ok();
    assert_eq!(world.ended(&small)["state"], "completed");
    gate.open(1);
}

#[test]
fn who_is_over_by_then_overtakes_a_head_and_does_not_delay_it() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    let gate = Gate::new(&world, "gate");
    let holder = world.submit("--time 1h", &gate.wait());
    world.executing(&holder);
    let head = world.submit("--cpus 2 --time 1h", "true");
    let planned = world.show(&head)["planned_start"].clone();
    assert!(planned.is_string(), "{planned}");
    let long = world.submit("--time 2h", "true");
    assert_eq!(world.show(&long)["waiting_reason"], format!("would delay job {head}, which comes first"));
    let short = world.submit("--time 10m", &gate.wait());
    world.executing(&short);
    // What is planned stays as it was announced, and behind it the long one is planned, too.
    let announced = |job: &str| {
        let events = events(&world, &format!("--json events --job {job}"));
        events.into_iter().filter(|event| event["kind"] == "job.planned").collect::<Vec<_>>()
    };
    for id in [&head, &long] {
        let all = announced(id);
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0]["start"].is_string() && all[0]["was"].is_null(), "{all:?}");
    }
    gate.open(2);
    world.run(&format!("wait {head} {long}")).ok();
}
