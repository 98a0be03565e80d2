//! Limits where the kernel holds nobody to them: who has too much is seen and ended, and it is said how that is done.

use crate::hands::Gate;
use crate::world::World;

/// A world without control groups.
fn without_groups() -> World {
    World::with(&[("QRM_SUPERVISION_CGROUP", "none"), ("QRM_HOST_CPUS", "8")])
}

/// Takes so many MiB and holds them until it is ended.
fn hog(mib: u32) -> String {
    format!("{{ head -c {mib}M /dev/zero; exec sleep 1000; }} | tail")
}

#[test]
fn a_job_that_grows_beyond_its_memory_is_ended_as_out_of_memory_also_after_a_restart_of_the_daemon() {
    let world = without_groups();
    let gate = Gate::new(&world, "gate");
    let bad = world.submit("--mem 64M --retries 1 --retry-on oom --backoff 1ms", &hog(200));
    let later = world.submit("--mem 64M", &format!("{}; {}", gate.wait(), hog(200)));
    world.executing(&later);
    assert!(world.run(&format!("show {later}")).ok().contains("64M (watched)"));
    let job = world.ended(&bad);
    assert_eq!((job["failure"]["cause"].as_str(), job["attempt"].as_u64()), (Some("oom"), Some(2)), "{job}");
    assert_eq!(job["enforcement"]["memory"], "watched");
    assert!(job["usage"]["peak_memory_bytes"].as_u64().unwrap() > 64 << 20, "{job}");
    let message = job["failure"]["message"].as_str().unwrap();
    assert!(message.contains("its limit of 64M, which is watched, ended it"), "{message}");
    world.kill_daemon();
    gate.open(1);
    assert_eq!(world.ended(&later)["failure"]["cause"], "oom");
}

#[test]
fn memory_that_the_processes_of_a_job_share_is_counted_once() {
    let world = without_groups();
    let (gate, here) = (Gate::new(&world, "gate"), Gate::new(&world, "here"));
    // Seven more that have the same 40 MiB.
    let family = format!(
        "x=$(head -c 40M /dev/zero | tr '\\0' a); mkfifo family; exec 3<>family
         for n in 1 2 3 4 5 6 7; do (read none <&3) & done; {}; {}; exit 3",
        here.tell(),
        gate.wait()
    );
    let family = world.submit("--mem 240M", &family);
    here.heard();
    // Whoever is looked at now, they are, too.
    let bad = world.submit("--mem 64M", &hog(200));
    assert_eq!(world.ended(&bad)["failure"]["cause"], "oom");
    gate.open(1);
    let job = world.ended(&family);
    assert_eq!(job["failure"]["message"], "it exited with code 3", "{job}");
}

#[test]
fn a_job_with_more_processes_than_it_may_have_is_ended_and_says_how_many_they_were() {
    let world = without_groups();
    let bad = world.submit("--pids 10", "n=0; while [ $n -lt 30 ]; do sleep 1000 & n=$((n+1)); done; wait");
    let job = world.ended(&bad);
    assert_eq!((job["failure"]["cause"].as_str(), job["state"].as_str()), (Some("limit"), Some("failed")), "{job}");
    let message = job["failure"]["message"].as_str().unwrap();
    assert!(message.contains("processes and threads, and its limit of 10, which is watched"), "{message}");
    assert_eq!((&job["enforcement"]["pids"], &job["enforcement"]["cpus"]), (&"watched".into(), &"none".into()));
    assert!(world.run(&format!("show {bad}")).ok().contains("at most 10 (watched)"));
    assert_eq!(world.run("--json jobs cause=limit").json().as_array().unwrap().len(), 1);
}

#[test]
fn the_doctor_says_of_each_limit_what_holds_it() {
    let world =
        World::with(&[("QRM_SUPERVISION_CGROUP", "none"), ("QRM_SCHEDULER_CPU", "hard"), ("QRM_LIMITS_PIDS", "99")]);
    let said = world.run("--json doctor").json();
    for (topic, found, health) in [
        ("memory limit", "watched every 200 ms", "limited"),
        ("cpu weight", "not enforced", "limited"),
        ("cpu quota", "not enforced", "limited"),
        ("process limit", "limits.pids gives 99", "limited"),
        ("scratch limit", "/state/scratch, with ", "ok"),
        ("I/O weight", "not enforced", "limited"),
        ("open files", "enforced by RLIMIT_NOFILE", "ok"),
    ] {
        let finding = said["findings"].as_array().unwrap().iter().find(|finding| finding["topic"] == topic);
        let finding = finding.unwrap_or_else(|| panic!("nothing of {topic}: {said}"));
        assert!(finding["found"].as_str().unwrap().contains(found), "{finding}");
        assert_eq!(
            (finding["health"].as_str(), finding["mend"].is_null()),
            (Some(health), health == "ok"),
            "{finding}"
        );
    }
}
