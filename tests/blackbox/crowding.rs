//! What a user of a shared machine can take so much of that others would go short, and what is left for them.
//! It refuses to take more than the machine can give: each flood is bounded, and stays in a world of its own.

use crate::system::{ADAM, ALICE, BOB, ROOT, System, VERA, possible};
use crate::world::Said;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

#[test]
fn a_tree_of_any_depth_is_forgotten() {
    if !possible() {
        return;
    }
    let system = System::new("[limits]\noutput = \"none\"\n");
    // Fifteen thousand directories, each in the one before: more than there are descriptors or room on a stack.
    let script = "cd $QRM_JOB_DIR; d=$(yes d | head -n 1000 | tr '\\n' /); n=0
        while [ $n -lt 15 ]; do mkdir -p $d && cd -P $d 2>/dev/null || exit 1; n=$((n+1)); done; chmod 0 .";
    let id = system.submit(ALICE, "", script);
    let job = system.ended(ALICE, &id);
    assert_eq!(job["state"], "completed", "{job}");
    system.run(ROOT, "cleanup --older-than 0s").ok();
    assert!(!Path::new(job["dir"].as_str().unwrap()).exists());
    assert_eq!(system.job(BOB, "id -u"), "61002\n");
}

#[test]
fn a_user_who_fills_what_is_theirs_leaves_the_others_room() {
    if !possible() {
        return;
    }
    let system = System::new("[users]\nmax_jobs = 20\n");
    for _ in 0..19 {
        system.submit(ALICE, "--hold", "true");
    }
    let bulk = "printf '{\"command\":[\"true\"]}\\n{\"command\":[\"true\"]}\\n' | \"$QRM\" submit --bulk -";
    let said = Said::of(system.shell(ALICE, bulk).output().unwrap());
    assert!(said.code == 2 && said.err.contains("more than 20 jobs"), "{said:?}");
    system.submit(ALICE, "--hold", "true");
    let said = system.run(ALICE, "submit -- true");
    assert!(said.code == 2 && said.err.contains("more than 20 jobs"), "{said:?}");
    assert_eq!(system.job(BOB, "id -u"), "61002\n");
    system.run(ALICE, "cancel 1").ok();
    system.submit(ALICE, "--hold", "true");
    assert_eq!(system.job(ROOT, "id -u"), "0\n");
}

#[test]
fn a_user_with_a_hundred_thousand_jobs_and_as_many_connections_as_they_may_have_holds_nobody_up() {
    if !possible() {
        return;
    }
    let system = System::new("[host]\ncpus = 2\n");
    let flood = "yes '{\"command\":[\"true\"],\"hold\":true}' | head -n 100000 | \"$QRM\" submit --bulk - >/dev/null";
    assert!(system.shell(ALICE, flood).status().unwrap().success());
    let held = system.connections(ALICE, 256);
    // Each is there for certain when the next is refused.
    let mut refused = String::new();
    let mut more = system.connections(ALICE, 1).remove(0);
    more.read_to_string(&mut refused).unwrap();
    assert!(refused.contains("256 connections"), "{refused}");
    assert_eq!(system.job(BOB, "id -u"), "61002\n");
    assert_eq!(system.qrm(BOB, &["--json", "jobs", "user=bob", "--all"]).json().as_array().unwrap().len(), 1);
    drop(held);
    assert_eq!(system.run(ALICE, "cancel state=live").code, 0);
}

#[test]
fn a_job_that_floods_its_output_is_ended_and_what_it_wrote_stays_below_a_bound() {
    if !possible() {
        return;
    }
    let system = System::new("[limits]\noutput = \"4M\"\n");
    // It writes a few megabytes at once, and then no more than the pace of the watch.
    let script = "head -c 8000000 /dev/zero; exec sleep 60";
    let id = system.submit(ALICE, "", script);
    let job = system.ended(ALICE, &id);
    assert_eq!((job["failure"]["cause"].as_str(), job["state"].as_str()), (Some("limit"), Some("failed")), "{job}");
    assert!(job["failure"]["message"].as_str().unwrap().contains("its limit of 4M"), "{job}");
    let id =
        system.submit(ALICE, "", "mkdir $QRM_JOB_DIR/d; head -c 8000000 /dev/zero >$QRM_JOB_DIR/d/file; exec sleep 60");
    assert_eq!(system.ended(ALICE, &id)["failure"]["cause"], "limit");
    assert_eq!(system.job(BOB, "head -c 1000000 /dev/zero | wc -c"), "1000000\n");
    assert!(system.run(BOB, "doctor").out.contains("limits.output gives 4M"));
    let deep = "cd $QRM_JOB_DIR; mkdir -p $(yes d | head -n 300 | tr '\\n' /); exec sleep 60";
    let id = system.submit(ALICE, "", deep);
    let job = system.ended(ALICE, &id);
    assert!(job["failure"]["message"].as_str().unwrap().contains("directories deep"), "{job}");
}

#[test]
fn bombs_end_alone() {
    if !possible() {
        return;
    }
    let system = System::new("[limits]\npids = 60\n[host]\ncpus = 4\n");
    // Bounded twice, should the first bound not hold.
    let forks = "ulimit -u 300; f() { f | f & }; f; exec sleep 60";
    let bomb = system.submit(ALICE, "--time 3s --grace 0s", forks);
    let memory = system.submit(ALICE, "--mem 32M --time 20s", "head -c 320000000 /dev/zero | tail");
    assert_eq!(system.job(BOB, "id -u"), "61002\n");
    let job = system.ended(ALICE, &memory);
    assert_eq!(job["failure"]["cause"], "oom", "{job}");
    let job = system.ended(ALICE, &bomb);
    assert!(["timeout", "limit"].contains(&job["failure"]["cause"].as_str().unwrap()), "{job}");
    let mark = format!("QRM_JOB_DIR={}", system.state().display());
    let environs =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| std::fs::read(entry.ok()?.path().join("environ")).ok());
    let left = environs.filter(|environ| environ.windows(mark.len()).any(|part| part == mark.as_bytes()));
    assert_eq!(left.count(), 0, "something of it is left");
}

#[test]
fn users_who_take_all_places_together_do_not_shut_root_out() {
    if !possible() {
        return;
    }
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit }).unwrap();
    let system = System::new("");
    let held: Vec<_> = [ALICE, BOB, VERA, ADAM].map(|user| system.connections(user, 256)).into();
    let mut refused = String::new();
    system.connections(BOB, 1).remove(0).read_to_string(&mut refused).unwrap();
    assert!(refused.contains("1024 clients are connected"), "{refused}");
    assert_eq!(system.run(ROOT, "status").code, 0);
    drop(held);
}

/// How many of these have been answered.
fn answered(streams: &[UnixStream]) -> usize {
    let is_answered = |stream: &&UnixStream| {
        stream.set_nonblocking(true).unwrap();
        (&mut &**stream).read(&mut [0]).is_ok()
    };
    streams.iter().filter(is_answered).count()
}

#[test]
fn questions_that_take_long_are_waited_for_by_who_asks_them() {
    if !possible() {
        return;
    }
    let system = System::new("");
    let jobs = "yes '{\"command\":[\"true\"],\"hold\":true}' | head -n 2000 | \"$QRM\" submit --bulk - >/dev/null";
    assert!(system.shell(ALICE, jobs).status().unwrap().success());
    let words: Vec<String> = (0..300).map(|n| format!("z{n}")).collect();
    let params = serde_json::json!({"filter": [format!("command~{}", words.join(","))]});
    let request = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "job.list", "params": params});
    let mut slow = system.connections(ALICE, 16);
    for stream in &mut slow {
        stream.write_all(format!("{request}\n").as_bytes()).unwrap();
    }
    assert_eq!(system.run(BOB, "show 5").code, 0);
    assert!(answered(&slow) <= 4, "bob has waited for {} of alice's questions", answered(&slow));
}

#[test]
fn large_frames_of_one_user_are_read_in_turn() {
    if !possible() {
        return;
    }
    let system = System::new("");
    // None of them ever ends.
    let part = vec![b' '; 3 << 20];
    let large = system.connections(ALICE, 8);
    let mut taken = 0;
    for mut stream in &large {
        stream.set_write_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
        taken += usize::from(stream.write_all(&part).is_ok());
    }
    assert_eq!(taken, 2, "no more are in memory at a time");
    assert_eq!(system.job(BOB, "id -u"), "61002\n");
    assert_eq!(system.job(ALICE, "id -u"), "61001\n");
    drop(large);
    let script = "A=$(printf %0100000d 1); export A B=$A C=$A D=$A; exec \"$QRM\" run -- echo done";
    assert_eq!(Said::of(system.shell(ALICE, script).output().unwrap()).ok(), "done\n");
}

#[test]
fn signals_to_a_job_of_many_processes_keep_no_other_job_waiting() {
    if !possible() {
        return;
    }
    let system = System::new("");
    let ready = system.gate("ready");
    let script = "i=0; while [ $i -lt 400 ]; do sleep 600 & i=$((i+1)); done; echo >$READY; wait";
    let submit = format!("READY={} \"$QRM\" submit -- sh -c '{script}'", ready.display());
    let id = Said::of(system.shell(ALICE, &submit).output().unwrap()).ok();
    std::fs::read(&ready).unwrap();
    // Each is accepted before it is delivered; four hundred processes get each of them.
    let params = serde_json::json!({"targets": [id.trim()], "signal": 18});
    let request = serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "job.signal", "params": params});
    let mut stream = BufReader::new(system.connections(ALICE, 1).remove(0));
    let mut line = String::new();
    for _ in 0..4_000 {
        stream.get_mut().write_all(format!("{request}\n").as_bytes()).unwrap();
        line.clear();
        stream.read_line(&mut line).unwrap();
        assert!(line.contains("result"), "{line}");
    }
    let began = std::time::Instant::now();
    assert_eq!(system.job(BOB, "id -u"), "61002\n");
    let waited = began.elapsed();
    assert!(waited < std::time::Duration::from_secs(5), "bob's job has waited for {waited:?}");
    assert_eq!(system.run(ALICE, &format!("cancel {}", id.trim())).code, 0);
    assert_eq!(system.ended(ALICE, id.trim())["state"], "cancelled");
}
