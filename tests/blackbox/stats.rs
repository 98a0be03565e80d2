//! What jobs and the machine use: told while they run, by every way to ask, and kept of no job that has ended but its totals.

use crate::hands::{Gate, Wire};
use crate::world::World;
use serde_json::{Value, json};

/// Samples come ten times a second, so that nobody waits long for the next.
const OFTEN: (&str, &str) = ("QRM_MONITOR_INTERVAL", "100ms");

/// What a shell says to hold fifty megabytes in a variable, and to have used some cpu for that.
const FIFTY_MB: &str = "x=$(head -c 50000000 /dev/zero | tr '\\0' x)";
const MB: u64 = 1_000_000;

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// The first sample of a job, of those that come one after the other, that is so.
#[track_caller]
fn sampled(wire: &mut Wire, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut after = 0;
    for _ in 0..600 {
        let reply = wire.call("job.stats", &json!({"id": id, "after": after}));
        assert!(reply["now"].is_object(), "job {id} does not run: {reply}");
        if is_so(&reply["now"]) {
            return reply["now"].clone();
        }
        after = number(&reply["now"]["number"]);
    }
    panic!("no sample of job {id} is so");
}

#[test]
fn a_running_job_shows_what_it_uses_and_its_peak_stays_when_it_is_over() {
    let world = World::with(&[OFTEN]);
    let (gate, end) = (Gate::new(&world, "gate"), Gate::new(&world, "end"));
    let id = world.submit("", &format!("{FIFTY_MB}; {}; unset x; {}", gate.wait(), end.wait()));
    world.executing(&id);
    let mut wire = Wire::new(&world);
    let full = sampled(&mut wire, &id, |now| number(&now["memory_bytes"]) > 50 * MB);
    assert!(number(&full["peak_memory_bytes"]) >= number(&full["memory_bytes"]), "{full}");
    assert!(number(&full["cpu_ms"]) > 0 && number(&full["pids"]) >= 1, "{full}");
    // All that shows a job shows the same of it.
    for job in [world.show(&id), world.run("--json jobs state=executing").json()[0].clone()] {
        assert!(number(&job["now"]["memory_bytes"]) > 50 * MB, "{job}");
        assert!(number(&job["usage"]["cpu_ms"]) >= number(&full["cpu_ms"]), "{job}");
        assert!(number(&job["usage"]["peak_memory_bytes"]) > 50 * MB, "{job}");
    }
    let shown = world.run(&format!("show {id}")).ok();
    let line = |key: &str| shown.lines().any(|line| line.starts_with(key));
    assert!(["memory now", "cpu now", "cpu time", "peak memory", "pids"].into_iter().all(line), "{shown}");
    let said = world.run(&format!("stats {id}")).ok();
    assert!(said.lines().all(|line| line.chars().count() <= 80) && said.contains(", peak "), "{said}");
    // What is given back is not held any more, and was held once.
    gate.open(1);
    let given_back = sampled(&mut wire, &id, |now| number(&now["memory_bytes"]) < 30 * MB);
    assert!(number(&given_back["peak_memory_bytes"]) > 50 * MB, "{given_back}");
    end.open(1);
    let ended = world.ended(&id);
    assert_eq!(ended["now"], Value::Null);
    let stats = world.run(&format!("--json stats {id}")).json();
    assert_eq!((&stats["now"], &stats["samples"]), (&Value::Null, &json!([])));
    assert!(number(&stats["usage"]["peak_memory_bytes"]) > 50 * MB, "{stats}");
    assert!(number(&stats["usage"]["cpu_ms"]) >= number(&given_back["cpu_ms"]), "{stats}");
    let said = world.run(&format!("stats {id}")).ok();
    assert!(said.contains("peak memory") && said.contains("kept only while a job runs"), "{said}");
}

#[test]
fn a_job_that_spins_is_seen_to_use_a_cpu_and_one_that_sleeps_is_not() {
    let world = World::with(&[OFTEN]);
    let spins = world.submit("", "while :; do :; done");
    world.executing(&spins);
    let mut wire = Wire::new(&world);
    sampled(&mut wire, &spins, |now| now["cpu_permille"].as_u64() > Some(100));
    world.run(&format!("cancel {spins}")).ok();
    world.ended(&spins);
    let sleeps = world.submit("", "exec sleep 600");
    world.executing(&sleeps);
    sampled(&mut wire, &sleeps, |now| now["cpu_permille"] == 0);
}

#[test]
fn what_a_job_writes_to_a_disk_is_counted() {
    let world = World::with(&[OFTEN]);
    let (here, gate) = (Gate::new(&world, "here"), Gate::new(&world, "gate"));
    let write = "dd if=/dev/zero of=big bs=1M count=8 conv=fsync 2>/dev/null";
    let id = world.submit("", &format!("{write}; {}; {}", here.tell(), gate.wait()));
    here.heard();
    world.executing(&id);
    let in_memory = rustix::fs::statfs(world.dir()).unwrap().f_type == 0x0102_1994;
    let written = sampled(&mut Wire::new(&world), &id, |_| true)["written_bytes"].clone();
    assert!(in_memory || written.is_null() || number(&written) >= 8 << 20, "{written}");
    gate.open(1);
}

#[test]
fn samples_gather_at_the_interval_and_a_reload_changes_it() {
    let world = World::with(&[OFTEN]);
    let id = world.submit("", "exec sleep 600");
    world.executing(&id);
    let mut wire = Wire::new(&world);
    let mut after = 0;
    for _ in 0..5 {
        let reply = wire.call("job.stats", &json!({"id": id, "after": after}));
        let next = number(&reply["now"]["number"]);
        assert!(next > after && reply["samples"] == json!([]), "{reply}");
        after = next;
    }
    let reply = wire.call("job.stats", &json!({"id": id, "samples": true}));
    let samples: Vec<u64> = reply["samples"].as_array().unwrap().iter().map(|one| number(&one["number"])).collect();
    assert!(samples.len() >= 5 && samples.is_sorted_by(|a, b| a < b), "{samples:?}");
    assert_eq!(reply["samples"].as_array().unwrap().last(), Some(&reply["now"]));
    assert_eq!(reply["interval_ms"], 100);
    // The environment of the daemon wins over its file, so this one has none.
    let world = World::new();
    let id = world.submit("", "exec sleep 600");
    world.executing(&id);
    std::fs::create_dir_all(world.dir().join("config/qrm")).unwrap();
    std::fs::write(world.dir().join("config/qrm/config.toml"), "[monitor]\ninterval = \"1h\"\n").unwrap();
    world.run("daemon reload").ok();
    let said = world.run(&format!("stats {id}")).ok();
    assert!(said.contains("every 1h"), "{said}");
}

#[test]
fn sampling_goes_on_after_the_daemon_was_killed_and_numbers_go_on_growing() {
    let world = World::with(&[OFTEN]);
    let (here, gate) = (Gate::new(&world, "here"), Gate::new(&world, "gate"));
    let id = world.submit("", &format!("{FIFTY_MB}; {}; {}", here.tell(), gate.wait()));
    here.heard();
    world.executing(&id);
    let before = sampled(&mut Wire::new(&world), &id, |now| number(&now["memory_bytes"]) > 50 * MB);
    world.kill_daemon();
    world.run("daemon start").ok();
    let after = sampled(&mut Wire::new(&world), &id, |now| now["cpu_permille"].is_u64());
    assert!(number(&after["memory_bytes"]) > 50 * MB && number(&after["peak_memory_bytes"]) > 50 * MB, "{after}");
    assert!(number(&after["number"]) > number(&before["number"]), "{after}");
    assert!(number(&after["cpu_ms"]) >= number(&before["cpu_ms"]), "{after}");
    gate.open(1);
    assert!(number(&world.ended(&id)["usage"]["peak_memory_bytes"]) > 50 * MB);
}

#[test]
fn without_control_groups_processes_are_summed_and_the_most_that_was_seen_is_recorded() {
    if !std::path::Path::new("/proc/thread-self/children").exists() {
        return eprintln!("skipped: this kernel does not list the children of a process");
    }
    let world = World::with(&[OFTEN, ("QRM_SUPERVISION_CGROUP", "none")]);
    let (here, gate) = (Gate::new(&world, "here"), Gate::new(&world, "gate"));
    // Four shells hold the memory, all of them children of the job's own.
    std::fs::write(world.dir().join("inner"), format!("{FIFTY_MB}; {}; {}", here.tell(), gate.wait())).unwrap();
    let id = world.submit("", "for n in 1 2 3 4; do sh inner & done; wait");
    (0..4).for_each(|_| here.heard());
    world.executing(&id);
    let all_hold = |now: &Value| number(&now["memory_bytes"]) > 200 * MB && now["pids"] == 5;
    let now = sampled(&mut Wire::new(&world), &id, all_hold);
    assert!(number(&now["cpu_ms"]) > 0, "{now}");
    assert_eq!((&now["memory_from"], &now["incomplete"]), (&json!("processes"), &json!(false)));
    gate.open(4);
    // Its largest process had half of that at most, for a moment.
    assert!(number(&world.ended(&id)["usage"]["peak_memory_bytes"]) > 200 * MB);
}

#[test]
fn what_does_not_run_is_refused_and_says_why() {
    let world = World::new();
    let waiting = world.submit("--hold", "true");
    let said = world.run(&format!("--json stats {waiting}"));
    assert_eq!((said.code, &said.json()["error"]["code"]), (2, &json!("FAILED_PRECONDITION")));
    let message = said.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("is queued (held)"), "{message}");
    let said = world.run("--json stats 77");
    assert_eq!((said.code, &said.json()["error"]["code"]), (2, &json!("NOT_FOUND")));
    let array = world.submit("--array 3-4 --hold", "true");
    let said = world.run(&format!("stats {array}"));
    assert!(said.code == 2 && said.err.contains(&format!("name a task, as {array}.3")), "{said:?}");
    let said = world.run(&format!("stats {array}.3"));
    assert!(said.code == 2 && said.err.contains("measured while its command runs"), "{said:?}");
    // One that never ran has used nothing.
    world.run(&format!("cancel {waiting}")).ok();
    let said = world.run(&format!("stats {waiting}")).ok();
    assert!(said.contains("nothing is known of what it used"), "{said}");
}

#[test]
fn a_task_of_an_array_is_measured_by_its_own_id() {
    let world = World::with(&[OFTEN, ("QRM_HOST_CPUS", "2")]);
    let (here, gate) = (Gate::new(&world, "here"), Gate::new(&world, "gate"));
    let id = world.submit("--array 0-1", &format!("{}; {}", here.tell(), gate.wait()));
    here.heard();
    here.heard();
    let mut wire = Wire::new(&world);
    for task in [format!("{id}.0"), format!("{id}.1")] {
        world.executing(&task);
        assert!(number(&sampled(&mut wire, &task, |_| true)["pids"]) >= 1);
        assert!(world.show(&task)["now"].is_object());
    }
    gate.open(2);
}

#[test]
fn who_waits_for_the_next_sample_of_a_job_is_told_of_its_end() {
    let world = World::with(&[("QRM_MONITOR_INTERVAL", "1h")]);
    let (here, gate) = (Gate::new(&world, "here"), Gate::new(&world, "gate"));
    let id = world.submit("", &format!("{}; {}", here.tell(), gate.wait()));
    here.heard();
    world.executing(&id);
    let mut waits = Wire::new(&world);
    waits.ask("job.stats", &json!({"id": id, "after": u64::MAX}));
    gate.open(1);
    let reply = waits.hear().unwrap();
    assert_eq!(reply["result"]["now"], Value::Null, "{reply}");
}

#[test]
fn the_machine_is_shown_as_the_kernel_tells_it() {
    let mut world = World::with(&[("QRM_MONITOR_MOUNTS", "/,/proc,/nowhere")]);
    world.unset("QRM_TEST_PROC");
    world.run("daemon start").ok();
    let mut wire = Wire::new(&world);
    let first = wire.call("host.stats", &json!({}));
    let now = &first["now"];
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total: u64 = meminfo.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(number(&now["memory_total_bytes"]), total * 1024);
    assert!((1..=total * 1024).contains(&number(&now["memory_available_bytes"])), "{now}");
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let cpus = stat.lines().skip(1).take_while(|line| line.starts_with("cpu")).count() as u64;
    assert_eq!(number(&now["cpus"]), cpus);
    assert_eq!(now["cpu_pressure"].is_object(), std::path::Path::new("/proc/pressure/cpu").exists(), "{now}");
    assert_eq!(first["samples"], json!([]));
    // Nothing runs, and still the second sample comes, for somebody looks.
    let second = wire.call("host.stats", &json!({"samples": true, "after": now["number"]}));
    let busy = number(&second["now"]["cpu_permille"]);
    assert!(busy <= cpus * 1000 && second["samples"].as_array().unwrap().len() >= 2, "{second}");
    let mounts = first["mounts"].as_array().unwrap();
    let root = rustix::fs::statvfs("/").unwrap();
    assert_eq!(number(&mounts[0]["total_bytes"]), root.f_blocks * root.f_frsize);
    assert_eq!((&mounts[1]["path"], &mounts[1]["error"]), (&json!("/proc"), &Value::Null));
    assert_eq!((&mounts[2]["total_bytes"], &mounts[2]["error"]), (&Value::Null, &json!("No such file or directory")));
    let said = world.run("stats").ok();
    for key in ["cpu ", "memory ", "load ", "pressure ", "/ ", "/nowhere "] {
        assert!(said.lines().any(|line| line.starts_with(key)), "{key}: {said}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    let document = world.run("--json stats").json();
    assert!(document["now"]["cpu_permille"].is_u64() && document["interval_ms"] == 1000, "{document}");
}

#[test]
fn settings_of_sampling_that_can_not_be_meant_are_named() {
    for (setting, says) in [
        ("interval = \"50ms\"", "'50ms' is not from 100ms to 1h"),
        ("interval = \"2h\"", "'2h' is not from 100ms to 1h"),
        ("mounts = [\"data\"]", "'data' is not an absolute path"),
        ("mounts = [\"/\", 3]", "takes a list of strings"),
        ("mounts = 3.5", "'monitor.mounts' takes a list of paths"),
    ] {
        let world = World::new();
        let file = world.dir().join("config/qrm/config.toml");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, format!("[monitor]\n{setting}\n")).unwrap();
        let said = world.run("config check");
        assert!(said.code == 2 && format!("{}{}", said.out, said.err).contains(says), "{setting}: {said:?}");
        std::fs::write(&file, "[monitor]\ninterval = \"2s\"\nmounts = [\"/\", \"/tmp\"]\n").unwrap();
        world.run("config check").ok();
        let shown = world.run("--json config show").json();
        let all = shown["settings"].as_array().unwrap();
        let value = |key: &str| all.iter().find(|one| one["key"] == key).unwrap()["value"].clone();
        assert_eq!((value("monitor.interval"), value("monitor.mounts")), (json!("2s"), json!("/,/tmp")));
    }
}
