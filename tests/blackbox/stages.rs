//! Stages and attempts: what runs before the command, and what runs it again.
//! The order of events is the proof.

use crate::hands::{Gate, words};
use crate::world::World;
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn a_validate_command_that_says_no_is_the_end() {
    let world = World::new();
    world.qrm(["submit", "--validate", "echo why >&2; exit 3", "--", "touch", "ran"]).ok();
    let job = world.ended("1");
    assert_eq!((job["state"].as_str(), job["failure"]["kind"].as_str()), (Some("failed"), Some("ValidationError")));
    assert_eq!((job["failure"]["cause"].as_str(), job["attempt"].as_i64()), (Some("stage"), Some(0)));
    assert_eq!(job["failure"]["message"], "the validate command: it exited with code 3");
    // The job itself has no exit code of its own.
    assert_eq!(world.run("wait 1").code, 125);
    world.qrm(["submit", "--compile", "kill -9 $$", "--", "touch", "ran"]).ok();
    let job = world.ended("2");
    assert_eq!((job["failure"]["kind"].as_str(), job["signal"].as_i64()), (Some("CompileError"), Some(9)));
    assert_eq!(world.run("wait 2").code, 125);
    assert!(!world.dir().join("ran").exists());
}

#[test]
fn validate_then_compile_then_the_command_in_the_same_place() {
    let world = World::new();
    let validate = "test \"$QRM_JOB_ID\" = 1 && echo validate >>order";
    let compile = "echo compile >>order; echo made >product";
    let mut submit = world.program("qrm");
    submit.args(["submit", "--validate", validate, "--compile", compile, "--", "sh", "-c", "cat product >>order"]);
    assert!(submit.status().unwrap().success());
    let job = world.ended("1");
    assert_eq!((job["state"].as_str(), job["attempt"].as_i64()), (Some("completed"), Some(1)));
    assert_eq!(words(&world, "order"), ["validate", "compile", "made"]);
    let events = world.run("--json events --job 1").ok();
    let mut kinds: Vec<String> = events
        .lines()
        .map(|e| serde_json::from_str::<serde_json::Value>(e).unwrap()["kind"].as_str().unwrap().to_owned())
        .collect();
    // That it executes is told only while it is news.
    kinds.retain(|kind| kind != "job.executing");
    assert_eq!(
        kinds,
        ["job.submitted", "stage.started", "stage.passed", "stage.started", "stage.passed", "job.started", "job.ended"]
    );
}

#[test]
fn a_stage_runs_before_the_job_waits_and_once_for_an_array() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    let holder = world.submit("", &gate.wait());
    world.executing(&holder);
    let prepared = Gate::new(&world, "prepared");
    world
        .qrm([
            "submit",
            "--array",
            "0-2",
            "--compile",
            &format!("echo made >>order; {}", prepared.tell()),
            "--",
            "sh",
            "-c",
            "echo $QRM_ARRAY_INDEX >>order",
        ])
        .ok();
    prepared.heard();
    gate.open(1);
    assert_eq!(world.ended("2")["state"], "completed");
    assert_eq!(words(&world, "order"), ["made", "0", "1", "2"]);
}

#[test]
fn a_job_is_cancelled_in_the_middle_of_its_validation() {
    let world = World::new();
    let (gate, heard) = (Gate::new(&world, "gate"), Gate::new(&world, "heard"));
    let validate = format!("{}; {}", heard.tell(), gate.wait());
    world.qrm(["submit", "--validate", &validate, "--", "touch", "ran"]).ok();
    heard.heard();
    assert_eq!(world.show("1")["state"], "validating");
    assert_eq!(world.run("cancel 1").ok(), "job 1 told to end\n");
    let job = world.ended("1");
    assert_eq!((job["state"].as_str(), job["attempt"].as_i64()), (Some("cancelled"), Some(0)));
    // One whose dependency can not be met any more stops validating, too.
    let held = world.submit("--hold", "true");
    world.qrm(["submit", "--after-ok", &held, "--validate", &validate, "--", "touch", "ran"]).ok();
    heard.heard();
    world.run(&format!("cancel {held}")).ok();
    assert_eq!(world.ended("3")["failure"]["kind"], "DependencyFailed");
    let next = world.submit("--validate true", "true");
    assert_eq!(world.ended(&next)["state"], "completed");
    assert!(!world.dir().join("ran").exists());
}

#[test]
fn attempts_are_counted_and_the_last_one_decides() {
    let world = World::new();
    let id = world.submit("--retries 2 --backoff 10ms..20ms", "echo $QRM_ATTEMPT >>attempts; exit 9");
    let job = world.ended(&id);
    assert_eq!((job["attempt"].as_i64(), job["exit_code"].as_i64()), (Some(3), Some(9)));
    assert_eq!(words(&world, "attempts"), ["1", "2", "3"]);
    let events = world.run("--json events").ok();
    assert_eq!((events.matches("job.requeued").count(), events.matches("job.ended").count()), (2, 1));
    let id = world.submit("--retries 5 --backoff 10ms", "test $QRM_ATTEMPT = 2");
    let job = world.ended(&id);
    assert_eq!((job["state"].as_str(), job["attempt"].as_i64()), (Some("completed"), Some(2)));
    let id = world.submit("--array 0-1 --retries 1 --backoff 1ms", "test $QRM_ATTEMPT = 2");
    assert_eq!(world.ended(&id)["tasks"]["completed"], 2);
    assert_eq!(world.show(&format!("{id}.1"))["attempt"], 2);
}

#[test]
fn only_what_is_named_is_tried_again() {
    let world = World::new();
    for (options, script, attempts, code) in [
        ("--retry-on 3", "exit 3", 3, 3),
        ("--retry-on 3", "exit 4", 1, 4),
        ("--retry-on 3,4", "exit $((2 + $QRM_ATTEMPT))", 3, 5),
        ("--retry-on oom", "exit 3", 1, 3),
        ("", "kill -9 $$", 3, 137),
    ] {
        let id = world.submit(&format!("--retries 2 --backoff 1ms {options}"), script);
        assert_eq!(world.ended(&id)["attempt"], attempts, "{options} {script}");
        assert_eq!(world.run(&format!("wait {id}")).code, code, "{options} {script}");
    }
}

#[test]
fn a_backoff_is_waited_for_and_can_be_cancelled() {
    let world = World::new();
    let id = world.submit("--retries 2 --backoff 1h", "exit 3");
    world.happened("job.requeued");
    let job = world.show(&id);
    assert_eq!((job["state"].as_str(), job["attempt"].as_i64()), (Some("queued"), Some(1)));
    assert!(job["waiting_reason"].as_str().unwrap().starts_with("next attempt in "), "{job}");
    assert_eq!(world.run(&format!("cancel {id}")).ok(), format!("job {id} cancelled\n"));
    assert_eq!(world.ended(&id)["state"], "cancelled");
}

#[test]
fn a_job_whose_supervisor_dies_is_lost_and_runs_again_only_if_that_was_wanted() {
    let world = World::new();
    let (gate, heard) = (Gate::new(&world, "gate"), Gate::new(&world, "heard"));
    for (options, state, attempts) in
        [("--retries 2 --backoff 1ms", "failed", 1), ("--retries 2 --backoff 1ms --retry-on lost", "completed", 2)]
    {
        let script = format!("test $QRM_ATTEMPT = 1 || exit 0; echo $PPID >shim; {}; {}", heard.tell(), gate.wait());
        let id = world.submit(options, &script);
        heard.heard();
        let shim: i32 = words(&world, "shim")[0].parse().unwrap();
        let name = std::fs::read_to_string(format!("/proc/{shim}/comm")).unwrap();
        assert!(name.starts_with("qrm-shim"), "{name}");
        kill_process(Pid::from_raw(shim).unwrap(), Signal::KILL).unwrap();
        let job = world.ended(&id);
        assert_eq!((job["state"].as_str(), job["attempt"].as_i64()), (Some(state), Some(attempts)), "{job}");
        if state == "failed" {
            assert_eq!(
                (job["failure"]["kind"].as_str(), job["failure"]["cause"].as_str()),
                (Some("Lost"), Some("lost"))
            );
            assert_eq!(world.run(&format!("wait {id}")).code, 125);
        }
    }
}

#[test]
fn a_job_whose_records_went_with_the_power_is_lost_and_does_not_run_again() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let id = world.submit("", &format!("echo ran >> runs; {}", gate.wait()));
    world.executing(&id);
    // That it executes is on the disk, and nothing of its process, its supervisor and their records.
    world.run("submit -- true").ok();
    world.kill_daemon();
    for pid in world.processes() {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
    for file in std::fs::read_dir(world.state().join("runs")).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    let job = world.ended(&id);
    assert_eq!((job["state"].as_str(), job["failure"]["kind"].as_str()), (Some("failed"), Some("Lost")), "{job}");
    assert_eq!(std::fs::read_to_string(world.dir().join("runs")).unwrap(), "ran\n");
}
