//! The machine beside jobs: memory that others use, and pressure. What the daemon sees of both is in files of the world, which
//! change while jobs wait.

use crate::hands::Gate;
use crate::queues::codes;
use crate::world::World;
use serde_json::{Value, json};

/// The one reason why a job waits.
#[track_caller]
fn reason(world: &World, id: &str) -> Value {
    let why = world.qrm(["--json", "explain", id]).json();
    let reasons = why["reasons"].as_array().unwrap_or_else(|| panic!("{why}"));
    assert_eq!(reasons.len(), 1, "{why}");
    reasons[0].clone()
}

#[test]
fn a_job_waits_for_memory_that_others_use_and_starts_when_it_is_free() {
    // The setting alone would let it start.
    let world = World::with(&[("QRM_HOST_MEMORY", "64G"), ("QRM_HOST_CPUS", "4")]);
    world.free(4 << 10);
    let id = world.submit("--mem 8G", "true");
    let reason = reason(&world, &id);
    assert_eq!(reason["code"], "memory_in_use");
    assert_eq!((&reason["asked"], &reason["free"]), (&json!(8_u64 << 30), &json!(3_u64 << 30)), "{reason}");
    assert!(world.run("jobs").ok().contains("needs 8G of memory, 3G free"));
    // Who asks for none has what it takes, and what fits starts.
    world.run("run -- true").ok();
    world.run("run --mem 3G -- true").ok();
    assert_eq!(world.show(&id)["state"], "queued");
    world.free(9 << 10);
    assert_eq!(world.ended(&id)["state"], "completed");
}

#[test]
fn what_a_job_asked_for_is_its_own_before_it_uses_it() {
    let world = World::with(&[("QRM_HOST_MEMORY", "64G"), ("QRM_HOST_CPUS", "4")]);
    world.free(11 << 10);
    let gate = Gate::new(&world, "gate");
    let first = world.submit("--mem 8G", &gate.wait());
    world.executing(&first);
    let second = world.submit("--mem 3G", "true");
    assert_eq!(codes(&world, &second), ["memory_in_use"]);
    gate.open(1);
    assert_eq!(world.ended(&second)["state"], "completed");
}

#[test]
fn what_a_job_uses_of_what_it_asked_for_is_not_what_others_use() {
    let world = World::with(&[("QRM_SCHEDULER_MEMORY_RESERVE", "0"), ("QRM_HOST_CPUS", "4")]);
    world.free(640);
    let gate = Gate::new(&world, "gate");
    let takes = "x=$(head -c 200000000 /dev/zero | tr '\\0' x)";
    let first = world.submit("--mem 600M", &format!("{takes}; {}", gate.wait()));
    // What is free is as it was before that took some of it: that much less is used by others.
    let second = world.submit("--mem 128M", &gate.wait());
    world.executing(&second);
    let used = world.show(&first)["now"]["memory_bytes"].as_u64().unwrap();
    assert!(used > 120_000_000, "it started without that: {used}");
    gate.open(2);
}

#[test]
fn under_pressure_no_more_jobs_start_but_one_always_does() {
    let world = World::with(&[("QRM_HOST_CPUS", "4")]);
    world.pressure("memory", "33.30");
    // Cpus are for being used.
    world.pressure("cpu", "99.00");
    let gate = Gate::new(&world, "gate");
    let first = world.submit("", &gate.wait());
    world.executing(&first);
    let second = world.submit("", &gate.wait());
    let held_back = reason(&world, &second);
    assert_eq!(held_back["code"], "pressure");
    let message = held_back["message"].as_str().unwrap();
    assert!(
        message.contains("short of memory") && message.contains("33.3 %") && message.contains("20.0 %"),
        "{message}"
    );
    assert!(held_back["since"].is_string(), "{held_back}");
    world.pressure("memory", "14.90");
    world.executing(&second);
    world.pressure("memory", "50.00");
    // A reload looks anew.
    assert_eq!(world.run("daemon reload").ok(), "nothing has changed\n");
    let third = world.submit("", "true");
    assert_eq!(codes(&world, &third), ["pressure"]);
    gate.open(2);
    assert_eq!(world.ended(&third)["state"], "completed", "nothing runs, so one starts");
}

#[test]
fn pressure_of_cpus_counts_where_it_is_set_and_a_reload_takes_it_back() {
    let world = World::with(&[("QRM_HOST_CPUS", "4")]);
    let file = world.dir().join("config/qrm/config.toml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "[scheduler]\npressure_cpu = \"90%\"\npressure_memory = \"none\"\n").unwrap();
    world.pressure("memory", "99.00");
    let gate = Gate::new(&world, "gate");
    let first = world.submit("", &gate.wait());
    world.executing(&first);
    let second = world.submit("", &gate.wait());
    world.executing(&second);
    world.pressure("cpu", "90.10");
    world.run("daemon reload").ok();
    let third = world.submit("", &gate.wait());
    assert!(reason(&world, &third)["message"].as_str().unwrap().contains("short of cpu"));
    std::fs::write(&file, "[scheduler]\npressure_memory = \"none\"\n").unwrap();
    world.run("daemon reload").ok();
    world.executing(&third);
    gate.open(3);
}

#[test]
fn a_job_that_waits_for_memory_still_does_after_a_restart() {
    let world = World::with(&[("QRM_HOST_MEMORY", "64G")]);
    world.free(4 << 10);
    let id = world.submit("--mem 8G", "true");
    world.kill_daemon();
    assert_eq!(codes(&world, &id), ["memory_in_use"]);
    world.free(20 << 10);
    assert_eq!(world.ended(&id)["state"], "completed");
}

#[test]
fn what_would_become_of_a_job_is_told_by_what_is_free_now() {
    let world = World::with(&[("QRM_HOST_MEMORY", "64G")]);
    let when = |mem: &str| world.run(&format!("--json when --mem {mem} -- true")).json()["reasons"].clone();
    assert_eq!(when("8G"), json!([]));
    world.free(4 << 10);
    // A reload looks at once; else what was seen some milliseconds ago counts.
    world.run("daemon reload").ok();
    assert_eq!(when("8G")[0]["code"], "memory_in_use");
    assert_eq!(when("2G"), json!([]));
}

#[test]
fn this_machine_is_seen_as_it_is() {
    let mut world = World::new();
    world.unset("QRM_TEST_PROC");
    world.run("run --mem 1M -- true").ok();
    let said = world.run("--json doctor").json();
    let found = |topic: &str| {
        let findings = said["findings"].as_array().unwrap().iter();
        findings.filter(|one| one["topic"] == topic).map(|one| one["found"].as_str().unwrap().to_owned()).next()
    };
    assert!(found("memory").unwrap().ends_with("available, 1G kept free"), "{said}");
    let told = std::path::Path::new("/proc/pressure/memory").exists();
    let pressure = found("pressure").unwrap();
    assert!(pressure.contains(if told { "processes waited for memory" } else { "does not tell" }), "{said}");
    assert_eq!(found("shares"), None);
}
