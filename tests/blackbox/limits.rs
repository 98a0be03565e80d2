//! What the kernel limits for a job: memory, and cpus by weight. What this machine does not limit is skipped by name.

use crate::hands::Gate;
use crate::world::World;

/// Whether this is enforced here, as the doctor says.
fn enforced(world: &World, what: &str) -> bool {
    world.run("daemon start").ok();
    let said = world.run("--json doctor").json();
    let findings = said["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["topic"] == what).unwrap()["found"].as_str().unwrap();
    let is = found.starts_with("enforced by");
    if !is {
        println!("skipped: {what} is {found}");
    }
    is
}

/// Takes so many MiB at once and holds them.
fn hog(mib: u32) -> String {
    format!("head -c {mib}M /dev/zero | tail | wc -c")
}

#[test]
fn a_job_that_takes_more_memory_than_it_asked_for_is_ended_as_that() {
    let world = World::new();
    if !enforced(&world, "memory limit") {
        return;
    }
    let neighbour = world.submit("--cpus 0 --mem 512M", &format!("{}; echo fine", hog(200)));
    let bad = world.submit("--cpus 0 --mem 64M --retries 1 --retry-on oom --backoff 1ms", &hog(200));
    let job = world.ended(&bad);
    assert_eq!((job["failure"]["cause"].as_str(), job["attempt"].as_u64()), (Some("oom"), Some(2)), "{job}");
    let peak = job["usage"]["peak_memory_bytes"].as_u64().unwrap();
    assert!((60 << 20..=64 << 20).contains(&peak), "{peak}");
    assert!(world.run(&format!("show {bad}")).ok().contains("it ran out of memory: it had 64M of its limit of 64M"));
    let job = world.ended(&neighbour);
    assert_eq!(job["state"], "completed", "{job}");
    assert!(job["usage"]["peak_memory_bytes"].as_u64().unwrap() > 200 << 20, "{job}");
    // What is not asked for is not limited.
    let free = world.submit("--cpus 0", &hog(200));
    assert_eq!(world.ended(&free)["state"], "completed");
}

#[test]
fn a_limit_holds_over_a_restart_of_the_daemon_and_nothing_of_it_stays() {
    let world = World::new();
    if !enforced(&world, "memory limit") {
        return;
    }
    let gate = Gate::new(&world, "gate");
    let id = world.submit("--cpus 0 --mem 64M", &format!("{}; {}", gate.wait(), hog(200)));
    world.executing(&id);
    let pid = world.run(&format!("--json events --job {id} --after 0")).ok();
    let pid: i64 = pid
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()?["pid"].as_i64())
        .next_back()
        .unwrap();
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(groups.lines().any(|line| line.contains("qrm-")), "{groups}");
    world.kill_daemon();
    gate.open(1);
    assert_eq!(world.ended(&id)["failure"]["cause"], "oom");
    world.run("daemon stop").ok();
    for line in groups.lines().filter(|line| line.contains("qrm-")) {
        let (controllers, path) = line.split_once(':').unwrap().1.split_once(':').unwrap();
        for mount in [controllers, "unified"] {
            let dir = format!("/sys/fs/cgroup/{mount}{path}");
            assert!(!std::path::Path::new(&dir).exists(), "{dir} is left");
        }
    }
}

#[test]
fn cpus_are_shared_by_what_was_asked_for() {
    let world = World::with(&[("QRM_HOST_CPUS", "8")]);
    let pinned = std::process::Command::new("taskset").args(["-c", "0", "true"]).status();
    if !enforced(&world, "cpu weight") || !pinned.is_ok_and(|status| status.success()) {
        return println!("skipped: cpus are not enforced here, or taskset can not pin to the first");
    }
    let gate = Gate::new(&world, "gate");
    let spin = format!("{}; taskset -c 0 timeout 1 sh -c 'while :; do :; done'; true", gate.wait());
    let (one, four) = (world.submit("--cpus 1", &spin), world.submit("--cpus 4", &spin));
    world.executing(&one);
    world.executing(&four);
    gate.open(2);
    let used = |id: &str| world.ended(id)["usage"]["cpu_ms"].as_f64().unwrap();
    let ratio = used(&four) / used(&one);
    // 4 by weight; a start that is some milliseconds later takes a little of it.
    assert!((2.5..6.0).contains(&ratio), "{ratio}");
}

#[test]
fn with_hard_cpus_a_job_has_no_more_than_it_asked_for_though_others_are_idle() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    let world = World::with(&[("QRM_SCHEDULER_CPU", "hard")]);
    if !enforced(&world, "cpu quota") || cpus < 2 {
        return println!("skipped: cpus are not enforced here, or there is only one");
    }
    let spin = "timeout 2 sh -c 'while :; do :; done & while :; do :; done'; kill 0";
    let job = world.ended(&world.submit("--cpus 1", spin));
    let job: qrm_protocol::job::JobView = serde_json::from_value(job).unwrap();
    let wall = job.ended_at.unwrap().since(job.started_at.unwrap()).0;
    let used = job.usage.cpu_ms.unwrap() as f64 / wall as f64;
    // Its share, and a period of the quota in which it began.
    assert!(used < 1.15, "{used}");
}

#[test]
fn a_fork_bomb_stays_below_the_number_of_processes_that_it_asked_for_and_its_failure_says_so() {
    let world = World::new();
    if !enforced(&world, "process limit") {
        return;
    }
    // Each that could be made is counted; they stay until the job ends.
    let id = world.submit("--cpus 0 --pids 50", "n=1; while [ $n -lt 300 ]; do sleep 1000 & n=$((n+1)); echo $n; done");
    let job = world.ended(&id);
    let made = world.run(&format!("logs {id}")).out.lines().count();
    assert!((40..50).contains(&made), "{made}");
    let message = job["failure"]["message"].as_str().unwrap();
    assert!(message.contains("it wanted more processes than its limit of 50, and was refused"), "{job}");
    assert_eq!((job["failure"]["cause"].as_str(), job["pids"].as_u64()), (Some("exit"), Some(50)), "{job}");
    assert!(world.run(&format!("show {id}")).ok().contains("at most 50"));
    // One that keeps to it does not hear of it.
    let tame = world.ended(&world.submit("--cpus 0 --pids 50", "true & wait; exit 3"));
    assert_eq!(tame["failure"]["message"], "it exited with code 3");
}

#[test]
fn a_number_of_processes_is_what_the_configuration_says_unless_the_job_does() {
    let mut world = World::with(&[("QRM_LIMITS_PIDS", "20")]);
    if !enforced(&world, "process limit") {
        return;
    }
    let bomb = "n=0; while [ $n -lt 40 ]; do sleep 1000 & n=$((n+1)); done 2>/dev/null; exit 5";
    let bounded = world.submit("--cpus 0", bomb);
    let more = world.submit("--cpus 0 --pids 100", bomb);
    let job = world.ended(&bounded);
    assert!(job["failure"]["message"].as_str().unwrap().contains("its limit of 20"), "{job}");
    assert_eq!((job["pids"].as_u64(), world.ended(&more)["pids"].as_u64()), (Some(20), Some(100)));
    // One that waits can be given another, which a retry and a restart keep.
    let held = world.submit("--hold --pids 7", "true");
    world.run(&format!("update {held} --pids 9")).ok();
    world.kill_daemon();
    assert_eq!(world.show(&held)["pids"], 9);
    world.run(&format!("release {held}")).ok();
    world.ended(&held);
    let again = world.run(&format!("retry {held}")).ok();
    assert_eq!(world.show(again.trim())["pids"], 9);
    world.run("daemon stop").ok();
    world.set("QRM_LIMITS_PIDS", "none");
    assert_eq!(world.show(&world.submit("", "true"))["pids"], serde_json::Value::Null);
    for (option, says) in [("--pids 4194305", "--pids is at most 4194304"), ("--pids many", "invalid")] {
        let said = world.run(&format!("submit {option} true"));
        assert!(said.code == 2 && said.err.contains(says), "{said:?}");
    }
}

#[test]
fn each_process_has_as_many_open_files_as_were_asked_for_and_more_than_may_be_is_told() {
    let world = World::new();
    let id = world.submit("--open-files 64", "ulimit -Sn; ulimit -Hn");
    assert_eq!(
        (world.ended(&id)["open_files"].as_u64(), world.run(&format!("logs {id}")).ok().as_str()),
        (Some(64), "64\n64\n")
    );
    assert!(world.run(&format!("show {id}")).ok().contains("open files   at most 64"));
    // No machine can have so many.
    let id = world.submit("--open-files 2147483647", "true");
    let job = world.ended(&id);
    assert!(job["failure"]["message"].as_str().unwrap().contains("with 2147483647 open files"), "{job}");
    let said = world.run("submit --open-files 3 true");
    assert!(said.code == 2 && said.err.contains("--open-files 3 is not from 16"), "{said:?}");
    let held = world.submit("--hold --open-files 64", "true");
    world.run(&format!("update {held} --open-files 65")).ok();
    assert_eq!(world.show(&held)["open_files"], 65);
}

#[test]
fn a_share_of_the_disks_is_given_where_there_is_such_a_thing_and_elsewhere_it_is_said_that_it_is_not() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let id = world.submit("--io-weight 300", &gate.wait());
    world.executing(&id);
    let job = world.show(&id);
    let shown = world.run(&format!("show {id}")).ok();
    match job["enforcement"]["io_weight"].as_str() {
        Some("enforced") => {
            let weights = ["io.weight", "io.bfq.weight", "blkio.bfq.weight", "blkio.weight"];
            let groups =
                crate::world::subtrees(&world.state()).into_iter().map(|base| base.join(format!("{id}-execute-1")));
            let files = groups.flat_map(|group| weights.map(|name| group.join(name)));
            let found: String = files.filter_map(|file| std::fs::read_to_string(file).ok()).collect();
            assert!(found.contains("300") || found.contains("1000"), "{found}");
        }
        other => {
            assert_eq!(other, Some("none"));
            assert!(shown.contains("300 (not enforced)"), "{shown}");
        }
    }
    gate.open(1);
    assert_eq!(world.ended(&id)["state"], "completed");
    assert!(world.run("submit --io-weight 10001 true").err.contains("is not from 1 to 10000"));
}
