//! Asking again for what has ended, and changing what has not started.

use crate::hands::Gate;
use crate::world::World;
use serde_json::{Value, json};

#[test]
fn what_is_retried_is_asked_for_as_it_was() {
    let mut world = World::new();
    world.set("KEPT", "from the submit");
    let args = "submit --name again --comment why --label team=a --cpus 0 --time 1h --priority high --key k --retries 1 \
         --backoff 1ms --signal INT --grace 1m --stdout out-%j --output no*e --queue-timeout 1h -- sh -c";
    let mut args: Vec<&str> = args.split_whitespace().collect();
    args.push("echo $KEPT; exit 3");
    let first = world.qrm(args).ok().trim().to_owned();
    let before = world.ended(&first);
    world.unset("KEPT");
    let second = world.run("retry 1").ok().trim().to_owned();
    let after = world.ended(&second);
    assert_ne!(first, second);
    for key in [
        "name",
        "comment",
        "labels",
        "cpus",
        "time_limit_ms",
        "priority",
        "retries",
        "stop_signal",
        "grace_ms",
        "output",
        "queue_timeout_ms",
        "command",
        "cwd",
        "exit_code",
        "state",
    ] {
        assert_eq!(before[key], after[key], "{key}");
    }
    for id in [&first, &second] {
        let text = std::fs::read_to_string(world.dir().join(format!("out-{id}"))).unwrap();
        assert_eq!(text, "from the submit\n".repeat(2));
    }
    // The key is the first job's.
    assert_eq!(world.run("submit --key k -- true").ok().trim(), first);
    // It can be asked for once more after it was forgotten, and not after both were.
    world.run("cleanup --keep-last 1").ok();
    let said = world.run("retry 1");
    assert!(said.code == 2 && said.err.contains("there is no job 1"), "{said:?}");
    assert_eq!(
        world.run(&format!("--json retry {second}")).json(),
        json!({"jobs": [{"of": "2", "id": "3"}], "count": 1})
    );
}

#[test]
fn of_an_array_those_tasks_are_retried_that_are_meant() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    let tasks = |id: &str| {
        world.ended(id);
        let rows = world.run(&format!("--json jobs array={id} --all")).json();
        let tasks = rows.as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned());
        tasks.collect::<Vec<_>>()
    };
    let id = world.submit("--array 0-7%2", "case $QRM_ARRAY_INDEX in 2|4|6|7) exit 1;; esac");
    world.ended(&id);
    let retried = |line: &str| -> Vec<(String, String)> {
        let said = world.run(line).json();
        let jobs = said["jobs"].as_array().unwrap().iter();
        jobs.map(|job| (job["of"].as_str().unwrap().to_owned(), job["id"].as_str().unwrap().to_owned())).collect()
    };
    let failed = retried("--json retry array=1 state=failed");
    assert_eq!(failed.len(), 2, "2, 4 and 6 are one array, 7 is one of its own: {failed:?}");
    assert_eq!(tasks(&failed[0].1), ["2.2", "2.4", "2.6"]);
    assert_eq!((failed[1].0.as_str(), tasks(&failed[1].1)), ("1.7", vec!["3.7".to_owned()]));
    let one = retried("--json retry 1.0 1.0");
    assert_eq!((one.len(), tasks(&one[0].1)), (1, vec!["4.0".to_owned()]));
    let whole = retried("--json retry 1");
    assert_eq!((whole[0].0.as_str(), tasks(&whole[0].1).len()), ("1", 8));
    // Each is as wide as the array that it is of.
    for (job, array) in [(&failed[0], "2-6:2%2"), (&failed[1], "7-7%2"), (&one[0], "0-0%2"), (&whole[0], "0-7%2")] {
        assert_eq!(world.show(&job.1)["array"], array);
    }
    // One that has ended can be retried while others run.
    let gate = Gate::new(&world, "early");
    let id = world.submit("--array 0-1", &format!("[ $QRM_ARRAY_INDEX = 0 ] && exit 1; {}", gate.wait()));
    world.ended(&format!("{id}.0"));
    world.executing(&format!("{id}.1"));
    let early = retried(&format!("--json retry array={id} state=failed"));
    assert_eq!((early.len(), early[0].0.as_str()), (1, format!("{id}.0").as_str()));
    gate.open(1);
    world.ended(&id);
    // Tasks that never started are their array's.
    let gate = Gate::new(&world, "gate");
    let id = world.submit("--array 0-9%1 --name rest", &gate.wait());
    world.executing(&format!("{id}.0"));
    let said = world.run(&format!("retry {id}.0"));
    assert!(said.code == 2 && said.err.contains("has not ended"), "{said:?}");
    world.run(&format!("cancel {id}")).ok();
    world.ended(&id);
    gate.open(10);
    let rest = retried("--json retry name=rest state=cancelled");
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!(tasks(&rest[0].1).len(), 10);
    assert_eq!(world.show(&rest[0].1)["array"], "0-9%1");
}

#[test]
fn a_retry_is_refused_whole_and_says_why() {
    let mut world = World::with(&[("QRM_HOST_CPUS", "2")]);
    let gate = Gate::new(&world, "gate");
    let first = world.submit("--cpus 2", "true");
    world.ended(&first);
    let running = world.submit("", &gate.wait());
    world.executing(&running);
    for (line, says) in [
        ("retry 2", "job 2 has not ended"),
        ("retry 1 2", "job 2 has not ended"),
        ("retry 1 7", "there is no job 7"),
        ("retry 1.3", "there is no job 1.3"),
        ("retry 1-2 7", "there is no job 7"),
        ("retry state=faild", "did you mean state=failed?"),
    ] {
        let said = world.run(line);
        assert!(said.code == 2 && said.err.contains(says), "{line}: {said:?}");
    }
    assert_eq!(world.run("retry state=failed").err, "no job that has ended matches\n");
    gate.open(1);
    world.ended(&running);
    assert_eq!(world.run("--json jobs --all").json().as_array().unwrap().len(), 2, "nothing was queued");
    world.run("daemon stop").ok();
    world.set("QRM_HOST_CPUS", "1");
    let said = world.run("retry 2 1");
    assert!(said.code == 2 && said.err.contains("job 1 can not be queued again: 2 cpus"), "{said:?}");
    assert_eq!(world.run("--json jobs --all").json().as_array().unwrap().len(), 2, "nothing was queued");
    assert_eq!(world.run("retry 2").ok(), "5\n", "an id that was set aside is not used");
    gate.open(1);
    world.ended("5");
}

#[test]
fn what_waits_is_changed_and_stays_so_over_a_restart() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    let first = world.submit("", &gate.wait());
    world.executing(&first);
    world.submit("", "echo second >> order");
    let third = world.submit("--label team=a --label old=x", "echo third >> order");
    let said = world.qrm(
        "update 3 --priority critical --name new --comment soon --label team=b --label old= --time 1h --mem 64M --retries 2 \
         --signal INT --grace 3s --queue-timeout 1h --deadline +1h"
            .split_whitespace(),
    );
    assert_eq!(said.ok(), "job 3 updated\n");
    let changed = |job: &Value| {
        let mut job = job.clone();
        let keys = [
            "priority",
            "name",
            "comment",
            "labels",
            "time_limit_ms",
            "mem_bytes",
            "retries",
            "stop_signal",
            "grace_ms",
            "queue_timeout_ms",
        ];
        json!(keys.map(|key| job[key].take()))
    };
    let wanted = json!([100, "new", "soon", {"team": "b"}, 3_600_000, 64 << 20, 2, 2, 3_000, 3_600_000]);
    let job = world.show(&third);
    assert_eq!(changed(&job), wanted);
    assert!(job["deadline"].is_string());
    world.kill_daemon();
    assert_eq!(changed(&world.show(&third)), wanted);
    gate.open(1);
    world.ended("2");
    assert_eq!(std::fs::read_to_string(world.dir().join("order")).unwrap(), "third\nsecond\n");
    assert_eq!(changed(&world.show(&third)), wanted);
    // Words can be changed until the end; nothing can afterwards.
    let running = world.submit("", &gate.wait());
    world.executing(&running);
    assert_eq!(world.run("update 4 --label a=b --comment x").ok(), "job 4 updated\n");
    for (line, says) in [
        ("update 4 --priority low", "job 4 has started"),
        ("update 4 --cpus 1 --name x", "job 4 has started"),
        ("update 3 --name x", "job 3 has ended"),
        ("update 4", "nothing is to be changed"),
        ("update 4 --width 2", "is no array"),
        ("update 4 --label noequals", "write NAME=VALUE"),
        ("update 4 --deadline 2020-01-01", "passed"),
        ("update 9 --name x", "there is no job 9"),
        ("update 4 --grace 48h", "a grace is at most"),
    ] {
        let said = world.run(line);
        assert!(said.code == 2 && said.err.contains(says), "{line}: {said:?}");
    }
    let held = world.submit("--hold", "true");
    assert!(world.run(&format!("update {held} --cpus 2")).err.contains("this machine offers 1"));
    assert_eq!(world.run("update state=queued --priority 7").ok(), format!("job {held} updated\n"));
    gate.open(1);
    world.ended(&running);
}

#[test]
fn the_rest_of_an_array_is_made_wider_and_narrower() {
    let world = World::with(&[("QRM_HOST_CPUS", "8")]);
    let gate = Gate::new(&world, "gate");
    let id = world.submit("--array 0-9%1 --cpus 1", &gate.wait());
    world.executing("1.0");
    let running = || world.show(&id)["tasks"]["running"].clone();
    assert_eq!(running(), 1);
    world.run("update 1 --width 3 --priority 60").ok();
    world.executing("1.2");
    assert_eq!((running(), &world.show(&id)["array"]), (json!(3), &json!("0-9%3")));
    let said = world.run("update 1 --mem 1M");
    assert!(said.code == 2 && said.err.contains("has started"), "{said:?}");
    world.run("update 1 --width 1").ok();
    gate.open(1);
    world.run("run --cpus 0 -- true").ok();
    world.ended("1.0");
    assert_eq!(running(), 2, "those that run go on, and none starts");
    world.run("update 1 --width 0").ok();
    assert_eq!(world.show(&id)["array"], "0-9");
    gate.open(9);
    assert_eq!(world.ended(&id)["tasks"]["completed"], 10);
}

#[test]
fn a_job_is_over_by_its_deadline_and_starts_within_its_queue_timeout() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    // Nothing overtakes a job that waits for cpus, so these come first.
    let gate = Gate::new(&world, "gate");
    let started = world.submit("--queue-timeout 300ms --cpus 0", &format!("{}; exit 5", gate.wait()));
    let array = world.submit("--array 0-5%1 --cpus 0 --queue-timeout 300ms", &gate.wait());
    let running = world.submit("--deadline +1s", "trap 'exit 9' TERM; sleep 60 & wait");
    let waiting = world.submit("--deadline +500ms", "true");
    let timed = world.submit("--queue-timeout 300ms", "true");
    world.run(&format!("hold {timed}")).ok();
    let end = |id: &str| {
        let job = world.ended(id);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&job["state"]), text(&job["failure"]["kind"]), text(&job["failure"]["message"]))
    };
    let timeout = |id: &str, message: &str| {
        let (state, kind, said) = end(id);
        assert_eq!((state.as_str(), kind.as_str()), ("timeout", "Timeout"), "{id}");
        assert!(said.contains(message), "{id}: {said}");
        assert_eq!(world.run(&format!("wait {id}")).code, 124, "{id}");
    };
    timeout(&timed, "it did not start within 300ms");
    // It came last: the time of the others is up, too.
    gate.open(2);
    timeout(&running, "it was to be over by");
    assert_eq!(world.show(&running)["exit_code"], 9);
    timeout(&waiting, "it was to be over by");
    assert_eq!(world.ended(&started)["exit_code"], 5, "one that has started may go on");
    timeout(&array, "the time was up before all of its 6 tasks had ended");
    let tasks = world.show(&array)["tasks"].clone();
    assert_eq!(
        (&tasks["completed"], &tasks["failed"], &tasks["cancelled"]),
        (&1.into(), &5.into(), &0.into()),
        "{tasks}"
    );
    assert_eq!(world.show(&format!("{array}.5"))["state"], "timeout");
    for line in ["submit --deadline 2020-01-01 -- true", "submit --deadline yesterday -- true"] {
        let said = world.run(line);
        assert_eq!(said.code, 2, "{line}: {said:?}");
    }
}

#[test]
fn a_dry_run_says_what_would_become_of_a_job_and_queues_nothing() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    let gate = Gate::new(&world, "gate");
    let first = world.submit("--cpus 1 --key k", &gate.wait());
    world.executing(&first);
    for (line, says) in [
        ("submit --dry-run -- /bin/true", "true would start at once\n"),
        ("submit --dry-run --cpus 2 -- true", "true would wait: needs 2 cpus, 1 free\n"),
        ("submit --dry-run --after 1 --name n -- true", "n would wait: after end of 1\n"),
        ("submit --dry-run --hold -- true", "true would wait: held\n"),
        ("submit --dry-run --key k -- true", "true is known by its key: it is job 1\n"),
        ("run --dry-run -- true", "true would start at once\n"),
    ] {
        assert_eq!(world.run(line).ok(), says, "{line}");
    }
    for (line, says) in [
        ("submit --dry-run --cpus 3 -- true", "3 cpus are asked for"),
        ("submit --dry-run --after 9 -- true", "there is no job 9"),
        ("submit --dry-run --output ../x -- true", "leads out of the directory"),
        ("submit --dry-run --output a*** -- true", "output 'a***'"),
        ("submit --dry-run --stdout %x -- true", "%x stands for nothing"),
        ("submit --dry-run --label a!=b -- true", "can not be the name of a label"),
    ] {
        let said = world.run(line);
        assert!(said.code == 2 && said.err.contains(says), "{line}: {said:?}");
    }
    let said = world.run("--json submit --dry-run --env SECRET=hidden -- true");
    assert!(said.code == 0 && !said.out.contains("hidden"), "{said:?}");
    let said = world.run("--json submit --dry-run --cpus 2 --time 2h -- true").json();
    assert_eq!((&said["starts"], &said["job"]["time_limit_ms"]), (&json!(false), &json!(7_200_000)));
    let bulk = b"{\"command\":[\"a\"],\"hold\":true}\n{\"command\":[\"b\"],\"hold\":true,\"name\":\"n\"}\n";
    assert_eq!(world.feed("submit --dry-run --bulk -", bulk).ok(), "a would wait: held\nn would wait: held\n");
    let rows = world.feed("--json submit --dry-run --bulk -", bulk).json();
    assert_eq!((&rows[0]["name"], &rows[1]["name"], &rows[1]["starts"]), (&json!("a"), &json!("n"), &json!(false)));
    let said = world.feed("submit --dry-run --bulk -", b"{\"command\":[\"a\"]}\n{\"command\":[\"b\"],\"cpus\":9}\n");
    assert!(said.code == 2 && said.err.contains("line 2") && said.err.contains("9 cpus"), "{said:?}");
    assert_eq!(world.run("--json jobs --all").json().as_array().unwrap().len(), 1);
    assert_eq!(world.submit("", "true"), "2", "not even an id was used");
    gate.open(1);
    world.ended("1");
    assert_eq!(
        world.run("submit --dry-run --after-fail 1 -- true").ok(),
        "true would be cancelled: job 1 ended in a way that it can not follow\n"
    );
}

#[test]
fn a_script_that_was_submitted_runs_as_it_was_then() {
    let world = World::new();
    let json = |script: &str| json!({"command": ["/a/train.sh", "x", "y z"], "script": script}).to_string() + "\n";
    for (script, out) in [
        ("#!/bin/sh\necho $# \"$2\"\n", "2 y z\n"),
        ("echo no shebang $1\n", "no shebang x\n"),
        ("#!/usr/bin/env -S sh -e\nfalse\necho never\n", ""),
    ] {
        let id = world.feed("submit --bulk -", json(script).as_bytes()).ok().trim().to_owned();
        let job = world.ended(&id);
        assert_eq!((&job["name"], &job["command"][0]), (&json!("train.sh"), &json!("/a/train.sh")));
        assert_eq!(world.run(&format!("logs {id}")).out, out);
        let dir = std::path::Path::new(job["dir"].as_str().unwrap());
        assert!(!dir.join(".qrm-script").exists());
        let again = world.run(&format!("retry {id}")).ok().trim().to_owned();
        world.ended(&again);
        assert_eq!(world.run(&format!("logs {again}")).out, out);
    }
    let said = world.feed("submit --bulk -", json("").as_bytes());
    assert!(said.err.contains("the script is empty"), "{said:?}");
}

#[test]
fn jobs_are_found_by_their_labels() {
    let world = World::new();
    for (labels, id) in [("--label team=vision --label run=1", "1"), ("--label team=audio", "2"), ("", "3")] {
        assert_eq!(world.submit(labels, "true"), id);
        world.ended(id);
    }
    for (filter, ids) in [
        ("label.team=vision", vec!["1"]),
        ("label.team=vision,audio", vec!["2", "1"]),
        ("label.team~i", vec!["2", "1"]),
        ("label.team!=vision", vec!["3", "2"]),
        ("label.run=1 label.team=vision", vec!["1"]),
        ("label.none=x", vec![]),
    ] {
        let found = world.run(&format!("--json jobs {filter}")).json();
        let mut found: Vec<&str> = found.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
        found.reverse();
        assert_eq!(found, ids, "{filter}");
    }
    let said = world.run("jobs label=x");
    assert!(said.code == 2 && said.err.contains("label.NAME"), "{said:?}");
}
