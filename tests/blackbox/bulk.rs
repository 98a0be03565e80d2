//! Bulks and keys: all or nothing, and never twice.
//! What another client does meanwhile must not matter.

use crate::hands::{Wire, context};
use crate::world::World;
use serde_json::json;

fn count(world: &World) -> usize {
    world.run("--json jobs --all").json().as_array().unwrap().len()
}

#[test]
fn every_line_is_a_job_and_the_ids_come_in_their_order() {
    let world = World::new();
    let lines = "{\"command\": [\"sh\", \"-c\", \"echo a\"]}\n\n   \n{\"command\": [\"false\"], \"name\": \"two\", \"priority\": \"high\"}\n{\"command\":[\"true\"],\"array\":\"0-2\",\"hold\":true}";
    std::fs::write(world.dir().join("jobs.jsonl"), lines).unwrap();
    assert_eq!(world.run("submit --bulk jobs.jsonl").ok(), "1\n2\n3\n");
    assert_eq!(world.run("wait 1 2").code, 1);
    assert_eq!(world.run("logs 1").ok(), "a\n");
    let second = world.show("2");
    assert_eq!((second["name"].as_str(), second["priority"].as_i64()), (Some("two"), Some(75)));
    assert_eq!(world.show("3")["tasks"]["total"], 3);
    let when = "{\"command\":[\"true\"],\"begin\":\"+2h\",\"deadline\":\"tomorrow 9:00\"}";
    assert_eq!(world.feed("submit --dry-run --bulk -", when.as_bytes()).ok().matches("begins").count(), 1);
    let wrong = world.feed("submit --bulk -", when.replace("command", "comand").as_bytes());
    assert!(wrong.code == 2 && wrong.err.contains("did you mean \"command\"?"), "{wrong:?}");
    assert_eq!(world.feed("--json submit --bulk -", lines.as_bytes()).json(), json!(["4", "5", "6"]));
    let read = world.feed("submit --bulk -", &b"{\"command\":[\"true\"],\"hold\":true}\n".repeat(10_000)).ok();
    assert_eq!((read.lines().count(), read.lines().next_back()), (10_000, Some("10006")));
    assert_eq!(world.run("--json status").json()["jobs"]["queued"], 10_002);
}

#[test]
fn one_wrong_line_queues_nothing_and_is_named() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    let good = "{\"command\":[\"true\"]}";
    for (wrong, what, hint) in [
        ("{\"command\":[\"true\"],\"tiem\":\"9s\"}", "unknown field `tiem`", "did you mean \"time\"?"),
        ("{\"command\":[]}", "a job needs a command", "a line is a job"),
        ("{\"command\":\"true\"}", "invalid type: string", "a line is a job"),
        ("{\"command\":[\"true\"],\"cpus\":\"2\"}", "invalid type: string \"2\", expected u32", ""),
        ("{\"command\":[\"true\"],\"time\":\"9x\"}", "time: '9x' is not a duration", ""),
        ("{\"command\":[\"true\"],\"time\":\"9s\",\"time_limit_ms\":9}", "say the same thing", ""),
        ("{\"command\":[\"true\"],\"array\":\"9-1\"}", "'9-1' is not an array", ""),
        ("{\"command\":[\"true\"],\"after\":[\"x\"]}", "'x' is not a job id", ""),
        ("{\"command\":[\"true\"],\"after\":[\"77\"]}", "there is no job 77", ""),
        ("{\"command\":[\"true\"],\"cpus\":3}", "this machine offers 2", "--cpus 2 is the most"),
        ("{\"command\":[\"a\\u0000b\"]}", "NUL", ""),
        ("{\"command\":[\"true\"],\"stdin\":\"fifo\"}", "standard input", ""),
        ("{\"command\":[\"true\"]", "EOF", ""),
        ("[]", "a job, which is an object with a command", ""),
        ("true", "invalid type: boolean `true`, expected a job", ""),
        ("\u{feff}{}", "expected value", ""),
    ] {
        let lines = [good, good, wrong, good, good].join("\n");
        let said = world.feed("submit --bulk -", lines.as_bytes());
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{wrong}: {said:?}");
        assert!(said.err.contains("standard input, line 3") && said.err.contains(what), "{wrong}: {said:?}");
        assert!(said.err.contains(hint), "{wrong}: {said:?}");
    }
    let said = world.feed("submit --bulk -", &[good.as_bytes(), b"\n{\"command\":[\"\xff\"]}\n"].concat());
    assert!(said.code == 2 && said.err.contains("line 2"), "{said:?}");
    assert_eq!(count(&world), 0);
    assert!(!world.run("--json events").ok().contains("job.started"));
}

#[test]
fn a_bulk_that_is_no_file_of_lines_is_refused() {
    let world = World::new();
    std::fs::write(world.dir().join("empty"), "\n  \n").unwrap();
    for (args, says) in [
        (vec!["submit", "--bulk", "nowhere"], "nowhere can not be read"),
        (vec!["submit", "--bulk", "."], "can not be read: Is a directory"),
        (vec!["submit", "--bulk", "empty"], "empty holds no job"),
        (vec!["submit", "--bulk", "/dev/null"], "/dev/null holds no job"),
        (vec!["submit", "--bulk", "-"], "standard input holds no job"),
        (vec!["submit", "--bulk", "empty", "--cpus", "2"], "takes its options from the lines"),
        (vec!["submit", "--bulk", "empty", "--", "true"], "cannot be used with"),
        (vec!["submit", "--bulk", "empty", "--hold"], "cannot be used with"),
    ] {
        let said = world.qrm(&args);
        assert_eq!(said.code, 2, "{args:?}: {said:?}");
        assert!(said.err.contains(says), "{args:?}: {said:?}");
    }
}

#[test]
fn a_key_is_one_job_however_often_and_wherever_it_is_said() {
    let world = World::new();
    let first = world.submit("--key once", "echo x >>ran");
    assert_eq!(world.submit("--key once", "echo y >>ran"), first);
    world.ended(&first);
    let again = world.run("--json submit --key once -- false").json();
    assert_eq!((again["id"].as_str(), again["existing"].as_bool()), (Some(first.as_str()), Some(true)));
    assert_eq!(again["state"], "completed");
    let line = |key: &str| format!("{{\"command\":[\"true\"],\"key\":\"{key}\"}}\n");
    let lines = [line("once"), line("new"), line("new"), line("new"), line("other")].concat();
    assert_eq!(world.feed("submit --bulk -", lines.as_bytes()).ok(), "1\n3\n3\n3\n6\n");
    assert_eq!(world.feed("submit --bulk -", lines.as_bytes()).ok(), "1\n3\n3\n3\n6\n");
    assert_eq!(count(&world), 3);
    world.run("daemon stop").ok();
    assert_eq!(world.submit("--key new", "true"), "3");
    assert_eq!(std::fs::read(world.dir().join("ran")).unwrap(), b"x\n");
    assert_eq!(world.run("run --key once -- sh -c nothing").code, 0);
}

#[test]
fn a_key_said_by_many_at_once_is_one_job() {
    let world = World::new();
    world.run("daemon start").ok();
    let children: Vec<_> = (0..12).map(|_| world.spawn("submit --hold --key same -- true")).collect();
    for child in children {
        assert_eq!(child.wait_with_output().unwrap().stdout, b"1\n");
    }
    assert_eq!(count(&world), 1);
}

#[test]
fn two_bulks_on_two_connections_do_not_mix() {
    let world = World::new();
    world.run("daemon start").ok();
    let (mut a, mut b) = (Wire::new(&world), Wire::new(&world));
    let jobs =
        |name: &str, n: usize| json!({"jobs": vec![json!({"command": ["true"], "name": name, "hold": true}); n]});
    for (wire, count) in [(&mut a, 3), (&mut b, 2)] {
        wire.call("bulk.begin", &json!({"context": context(), "count": count}));
    }
    a.call("bulk.add", &jobs("a", 2));
    b.call("bulk.add", &jobs("b", 2));
    assert_eq!(count(&world), 0);
    let between = world.submit("--hold", "true");
    b.call("bulk.commit", &json!({}));
    assert_eq!(world.run("show 1").code, 2);
    assert_eq!(a.call("bulk.add", &jobs("a", 1))["staged"], 3);
    assert_eq!(a.call("bulk.commit", &json!({}))["count"], 3);
    let list = world.run("--json jobs --all").json();
    let seen: Vec<_> =
        list.as_array().unwrap().iter().map(|j| (j["id"].as_str().unwrap(), j["name"].as_str().unwrap())).collect();
    assert_eq!(seen, [("1", "a"), ("2", "a"), ("3", "a"), ("4", "b"), ("5", "b"), (between.as_str(), "sh")]);
}

#[test]
fn a_bulk_whose_client_goes_away_leaves_nothing() {
    let world = World::new();
    world.run("daemon start").ok();
    let mut wire = Wire::new(&world);
    wire.call("bulk.begin", &json!({"context": context(), "count": 3}));
    wire.call("bulk.add", &json!({"jobs": [{"command": ["true"], "key": "mine"}, {"command": ["true"]}]}));
    // Nobody can do anything to a job that may still be withdrawn.
    for line in ["retry 1", "hold 1", "cancel 1", "retry 1-2 1", "show 1"] {
        let said = world.run(line);
        assert!(said.code == 2 && said.err.contains("there is no job 1"), "{line}: {said:?}");
    }
    // Who says the same key meanwhile is promised nothing that may be withdrawn.
    let said = world.run("submit --key mine -- true");
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("'mine'") && said.err.contains("try again"), "{said:?}");
    drop(wire);
    world.happened("bulk.discarded");
    assert_eq!(count(&world), 0);
    assert_eq!(world.sql().query_row("SELECT count(*) FROM job", [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    for id in ["1", "2", "3"] {
        assert_eq!(world.run(&format!("show {id}")).code, 2);
    }
    assert_eq!(world.submit("--hold --key mine", "true"), "4");
}

#[test]
fn a_bulk_that_says_something_wrong_on_the_wire_is_over() {
    let world = World::new();
    world.run("daemon start").ok();
    let mut wire = Wire::new(&world);
    let begin = |wire: &mut Wire, count: u64| wire.call("bulk.begin", &json!({"context": context(), "count": count}));
    for (method, params) in [("bulk.add", json!({"jobs": []})), ("bulk.commit", json!({}))] {
        assert_eq!(wire.refused(method, &params).0, "FAILED_PRECONDITION");
    }
    begin(&mut wire, 1);
    assert_eq!(wire.refused("bulk.begin", &json!({"context": context(), "count": 1})).0, "FAILED_PRECONDITION");
    let two = json!({"jobs": [{"command": ["true"]}, {"command": ["true"]}]});
    assert!(wire.refused("bulk.add", &two).1.contains("2 jobs, and 1 were announced"));
    assert_eq!(wire.refused("bulk.commit", &json!({})).0, "FAILED_PRECONDITION");
    begin(&mut wire, 2);
    assert!(wire.refused("bulk.commit", &json!({})).1.contains("0 jobs, and 2 were announced"));
    let params = json!({"context": context(), "count": 0});
    assert_eq!(wire.refused("bulk.begin", &params).0, "INVALID_ARGUMENT");
    for count in [10_000_001, u64::MAX] {
        let params = json!({"context": context(), "count": count});
        assert_eq!(wire.refused("bulk.begin", &params).0, "RESOURCE_EXHAUSTED");
    }
    assert_eq!(count(&world), 0);
}

#[test]
fn a_job_of_a_bulk_may_wait_for_an_earlier_one_of_it_and_for_no_other_bulks() {
    let world = World::new();
    world.run("daemon start").ok();
    let (mut wire, mut other) = (Wire::new(&world), Wire::new(&world));
    let begin = |wire: &mut Wire, count: u64| {
        let first = wire.call("bulk.begin", &json!({"context": context(), "count": count}))["first"].clone();
        first.as_str().unwrap().parse::<u64>().unwrap()
    };
    let (theirs, first) = (begin(&mut other, 1), begin(&mut wire, 6));
    other.call("bulk.add", &json!({"jobs": [{"command": ["true"]}]}));
    let id = |place: u64| (first + place).to_string();
    let array = json!({"command": ["true"], "array": "0-3"});
    let fails = json!({"command": ["false"], "after_ok": [format!("{}.2", id(0)), id(0)]});
    wire.call("bulk.add", &json!({"jobs": [array, fails]}));
    // In the next slice as well, and what can never run is the end of who waits for it.
    wire.call(
        "bulk.add",
        &json!({"jobs": [
            {"command": ["true"], "after_fail": [id(1)]}, {"command": ["true"], "after_ok": [id(1)]},
            {"command": ["true"], "after_ok": [id(3)]}, {"command": ["true"], "after": [id(4)]},
        ]}),
    );
    assert_eq!(world.run(&format!("show {first}")).code, 2);
    assert_eq!(wire.call("bulk.commit", &json!({}))["count"], 6);
    let states: Vec<_> = (0..6).map(|place| world.ended(&id(place))["state"].clone()).collect();
    assert_eq!(states, ["completed", "failed", "completed", "cancelled", "cancelled", "completed"]);
    // Not for itself, not for a later one, not for what others have in hand.
    for ahead in [Some(0), Some(1), None] {
        let first = begin(&mut wire, 2);
        let after = ahead.map_or(theirs, |ahead| first + ahead).to_string();
        let jobs = json!({"jobs": [{"command": ["true"], "after": [after]}, {"command": ["true"]}]});
        assert!(wire.refused("bulk.add", &jobs).1.contains(&format!("there is no job {after}")), "{after}");
    }
    let first = begin(&mut wire, 2);
    let jobs = json!({"jobs": [{"command": ["true"], "array": "0-3:2"},
        {"command": ["true"], "after": [format!("{first}.1")]}]});
    assert!(wire.refused("bulk.add", &jobs).1.contains(&format!("there is no job {first}.1")));
}

#[test]
fn many_dependencies_in_one_frame_do_not_make_an_event_that_nobody_can_read() {
    let world = World::new();
    world.submit("--hold", "true");
    let mut wire = Wire::new(&world);
    let job = json!({"command": ["true"], "after": vec!["1"; 800]});
    wire.call("bulk.begin", &json!({"context": context(), "count": 1_000}));
    wire.call("bulk.add", &json!({"jobs": vec![job; 1_000]}));
    wire.call("bulk.commit", &json!({}));
    assert!(world.run("--json events").ok().contains("bulk.submitted"));
    assert_eq!(world.run("--json jobs --all").json().as_array().unwrap().len(), 1_001);
    assert_eq!(world.run("status").code, 0);
}
