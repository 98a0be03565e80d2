//! Arrays: many tasks in one job, so many at once, each with its own output and end.
//! A task is named as the job and its index.

use crate::hands::{Gate, words};
use crate::world::World;
use qrm_protocol::method::{JobWait, WaitParams};

#[test]
fn no_more_tasks_run_at_once_than_its_width() {
    let world = World::with(&[("QRM_HOST_CPUS", "8")]);
    std::fs::create_dir(world.dir().join("now")).unwrap();
    let mark = "now/$QRM_ARRAY_INDEX";
    let id = world.submit("--array 0-9%2", &format!("mkdir {mark}; ls now | wc -l >>counts; rmdir {mark}"));
    let job = world.ended(&id);
    assert_eq!((job["state"].as_str(), job["tasks"]["completed"].as_i64()), (Some("completed"), Some(10)));
    let counts = words(&world, "counts");
    assert_eq!(counts.len(), 10);
    assert!(counts.iter().all(|n| n == "1" || n == "2"), "{counts:?}");
}

#[test]
fn a_full_array_says_why_the_rest_waits() {
    let world = World::with(&[("QRM_HOST_CPUS", "8")]);
    let gate = Gate::new(&world, "gate");
    let id = world.submit("--array 0-4%2", &gate.wait());
    world.executing(&format!("{id}.1"));
    let (array, task) = (world.show(&id), world.show(&format!("{id}.4")));
    assert_eq!((array["tasks"]["running"].as_i64(), array["tasks"]["waiting"].as_i64()), (Some(2), Some(3)));
    assert!(array["waiting_reason"].as_str().unwrap().contains("2 of its tasks run"), "{array}");
    assert_eq!((task["state"].as_str(), task["attempt"].as_i64()), (Some("queued"), Some(0)));
    // An array that is as wide as it may be holds nobody else up.
    let other = world.submit("", "true");
    assert_eq!(world.ended(&other)["state"], "completed");
    gate.open(5);
    assert_eq!(world.ended(&id)["tasks"]["completed"], 5);
}

#[test]
fn steps_leave_out_indices_and_every_task_has_its_own_output() {
    let world = World::new();
    let id = world.submit("--array 1-12:5", "echo task $QRM_ARRAY_INDEX; echo $QRM_ATTEMPT >&2");
    assert_eq!(world.ended(&id)["tasks"]["total"], 3);
    for task in [1, 6, 11] {
        let logs = world.run(&format!("logs {id}.{task}"));
        assert_eq!((logs.out, logs.err), (format!("task {task}\n"), "1\n".to_owned()));
    }
    for wrong in ["1.2", "1.0", "1.12", "1.16"] {
        for verb in ["logs", "show", "wait", "cancel"] {
            let said = world.run(&format!("{verb} {wrong}"));
            assert_eq!(said.code, 2, "{verb} {wrong}: {said:?}");
        }
    }
    assert_eq!(world.run(&format!("logs {id}")).ok(), "1.1  | task 1\n1.6  | task 6\n1.11 | task 11\n");
}

#[test]
fn tasks_that_fail_are_counted_and_named() {
    let world = World::new();
    let id = world.submit("--array 0-5", "test $QRM_ARRAY_INDEX -lt 4 || exit $QRM_ARRAY_INDEX");
    let job = world.ended(&id);
    assert_eq!(job["state"], "failed");
    assert_eq!(job["failure"]["message"], "2 of its 6 tasks did not complete");
    assert_eq!((job["tasks"]["completed"].as_i64(), job["tasks"]["failed"].as_i64()), (Some(4), Some(2)));
    assert_eq!(world.run(&format!("wait {id}")).code, 1);
    assert_eq!(world.run(&format!("wait {id}.5")).code, 5);
    let failed = world.run(&format!("--json jobs array={id} state=failed")).json();
    let ids: Vec<&str> = failed.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["1.4", "1.5"]);
    assert_eq!(world.run("--json jobs array=1 exit_code=4").json()[0]["id"], "1.4");
    assert_eq!(world.run("--json jobs").json().as_array().unwrap().len(), 1);
}

#[test]
fn one_task_is_cancelled_and_the_others_go_on() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    let gate = Gate::new(&world, "gate");
    let id = world.submit("--array 0-3", &gate.wait());
    world.executing("1.0");
    world.executing("1.1");
    let said = world.run("cancel 1.0 1.3").ok();
    assert_eq!(said, "job 1.0 told to end\njob 1.3 cancelled\n");
    assert_eq!(world.ended("1.0")["state"], "cancelled");
    assert_eq!(world.show("1.3")["state"], "cancelled");
    let counts =
        |job: &serde_json::Value| ["completed", "failed", "cancelled"].map(|how| job["tasks"][how].as_i64().unwrap());
    assert_eq!(counts(&world.show(&id)), [0, 0, 2]);
    gate.open(2);
    let job = world.ended(&id);
    assert_eq!(counts(&job), [2, 0, 2]);
    assert!(world.run("show 1").ok().contains("4: 0 waiting, 0 running, 2 completed, 0 failed, 2 cancelled"));
    assert_eq!(job["state"], "failed");
    assert_eq!(world.run("cancel 1.3").ok(), "job 1.3 had ended already\n");
    assert_eq!(world.run("cancel 1").ok(), "job 1 had ended already\n");
}

#[test]
fn a_whole_array_is_cancelled_once_and_so_are_its_tasks() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    let (gate, heard) = (Gate::new(&world, "gate"), Gate::new(&world, "heard"));
    let id = world.submit("--array 0-99999", &format!("trap 'exit 5' TERM; {}; {}", heard.tell(), gate.wait()));
    heard.heard();
    heard.heard();
    assert_eq!(world.run(&format!("cancel {id}")).ok(), "job 1 told to end\n");
    let job = world.ended(&id);
    assert_eq!((job["state"].as_str(), job["tasks"]["cancelled"].as_i64()), (Some("cancelled"), Some(100_000)));
    assert_eq!(world.run("wait 1").code, 130);
    assert_eq!(world.ended("1.99999")["state"], "cancelled");
    assert_eq!(world.ended("1.0")["state"], "cancelled");
    let events = world.run("--json events").ok();
    assert_eq!(events.lines().filter(|e| e.contains("job.ended") && e.contains("\"job\":\"1\"")).count(), 1);
}

#[test]
fn who_waits_for_a_task_that_will_never_run_is_told() {
    let world = World::new();
    let held = world.submit("--hold --array 0-9", "true");
    let mut client = world.client();
    let ids = vec!["1.3".parse().unwrap()];
    let params = WaitParams { ids, any: false, started: false, timeout_ms: Some(30_000) };
    let waiting = std::thread::spawn(move || client.call::<JobWait>(&params).unwrap());
    // The wait is there, or comes after the cancel: both have to end.
    world.run(&format!("cancel {held}")).ok();
    let reply = waiting.join().unwrap();
    assert!(!reply.timed_out);
    assert_eq!(reply.jobs[0].state.word(), "cancelled");
    assert_eq!(world.run("wait 1.3").code, 130);
}

#[test]
fn a_task_that_will_never_run_is_over_before_the_last_running_one_is() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let (gate, heard) = (Gate::new(&world, "gate"), Gate::new(&world, "heard"));
    let id = world.submit("--array 0-3", &format!("trap '' TERM; {}; {}", heard.tell(), gate.wait()));
    heard.heard();
    world.run(&format!("cancel {id}")).ok();
    let job = world.ended("1.2");
    assert_eq!((job["state"].as_str(), world.show("1")["state"].as_str()), (Some("cancelled"), Some("executing")));
    assert_eq!(world.run("cancel 1.2").ok(), "job 1.2 had ended already\n");
    gate.open(1);
    assert_eq!(world.ended(&id)["state"], "cancelled");
}

#[test]
fn a_million_tasks_are_one_line_until_they_start() {
    let world = World::new();
    let id = world.submit("--hold --array 0-999999%8", "true");
    let listed = world.run("jobs").ok();
    assert!(listed.lines().count() == 2 && listed.contains("1 [0-999999%8]"), "{listed}");
    assert_eq!(world.show(&id)["tasks"]["waiting"], 1_000_000);
    assert_eq!(world.show("1.999999")["waiting_reason"], "held");
    assert_eq!(world.run("--json jobs array=1").json(), serde_json::json!([]));
    for beyond in ["0-1000000", "1000000", "0-9999999%8"] {
        let said = world.run(&format!("submit --array {beyond} -- true"));
        assert_eq!(said.code, 2);
        assert!(said.err.contains(beyond) && said.err.contains("below 1000000"), "{said:?}");
    }
    world.run("cancel 1").ok();
    assert_eq!(world.show(&id)["tasks"]["cancelled"], 1_000_000);
}

#[test]
fn the_tasks_that_run_are_listed_beside_their_array() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    let gate = Gate::new(&world, "gate");
    world.submit("--array 5-8", &gate.wait());
    world.executing("1.5");
    world.executing("1.6");
    let ids = |line: &str| -> Vec<String> {
        let list = world.run(line).json();
        list.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("--json jobs"), ["1", "1.5", "1.6"]);
    assert_eq!(ids("--json jobs 1.6"), ["1.6"]);
    assert_eq!(ids("--json jobs array=1 state=live"), ["1.5", "1.6"]);
    assert_eq!(ids("--json jobs --limit 2"), ["1.5", "1.6"]);
    assert_eq!(ids("--json jobs 1"), ["1", "1.5", "1.6"]);
    gate.open(4);
    world.ended("1");
    assert_eq!(ids("--json jobs"), ["1"]);
    assert_eq!(ids("--json jobs 1 --all"), ["1", "1.5", "1.6", "1.7", "1.8"]);
}
