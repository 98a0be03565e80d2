//! `qrm run`: as if the command had been typed alone.
//! What is looked at is what a script would see of it.

use crate::hands::{Gate, line, signal};
use crate::world::World;
use rustix::process::Signal;
use std::io::Read;
use std::process::Stdio;

#[test]
fn streams_are_kept_apart_and_every_byte_arrives() {
    let world = World::new();
    let said = world.qrm(["run", "--", "sh", "-c", "echo out; echo err >&2; printf 'no newline'"]);
    assert_eq!((said.out.as_str(), said.err.as_str(), said.code), ("out\nno newline", "err\n", 0));
    let all: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    std::fs::write(world.dir().join("bytes"), &all).unwrap();
    let output = world.program("qrm").args(["run", "--", "sh", "-c", "cat bytes; cat bytes >&2"]).output().unwrap();
    assert!(output.stdout == all && output.stderr == all);
}

#[test]
fn a_mebibyte_goes_in_and_comes_out() {
    let world = World::new();
    let input: Vec<u8> = (0..1 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::write(world.dir().join("input"), &input).unwrap();
    let mut child =
        world.program("qrm").args(["run", "--", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut to = child.stdin.take().unwrap();
    let sent = input.clone();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut to, &sent).unwrap());
    let mut out = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    writer.join().unwrap();
    assert!(child.wait().unwrap().success() && out == input, "{} bytes came", out.len());
    let file = std::fs::File::open(world.dir().join("input")).unwrap();
    let output = world.program("qrm").args(["run", "--", "cat"]).stdin(file).output().unwrap();
    assert!(output.stdout == input);
}

#[test]
fn input_that_nobody_reads_does_not_keep_it() {
    let world = World::new();
    let mut child = world.spawn("run -- true");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let said = world.feed("run -- head -c 3", &b"abcdef".repeat(100_000));
    assert_eq!((said.out.as_str(), said.code), ("abc", 0));
    assert_eq!(world.run("run -- cat").code, 0);
    for _ in 0..20 {
        assert_eq!(world.feed("run -- true", b"nobody reads this").code, 0);
    }
    // What nobody said anything in leaves nothing behind.
    world.run("daemon stop").ok();
    let mut kept: Vec<_> = walk(&world.state().join("jobs"));
    kept.retain(|path| !path.ends_with("stdout"));
    assert_eq!(kept, [] as [std::path::PathBuf; 0]);
}

#[test]
fn a_run_whose_client_was_killed_before_it_began_has_no_input() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    let first = world.submit("", &gate.wait());
    world.executing(&first);
    let mut child = world.spawn("run -- sh -c wc");
    let id = (first.parse::<u64>().unwrap() + 1).to_string();
    while world.run(&format!("show {id}")).code != 0 {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    gate.open(1);
    let job = world.ended(&id);
    assert_eq!((job["state"].as_str(), job["exit_code"].as_i64()), (Some("completed"), Some(0)));
    let said = world.run(&format!("logs {id}")).ok();
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["0", "0", "0"]);
}

#[test]
fn a_run_that_has_not_begun_keeps_its_input_however_long_that_takes() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    let first = world.submit("", &gate.wait());
    world.executing(&first);
    let mut child = world.spawn("run -- sh -c wc");
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"a b c\n").unwrap();
    let id = (first.parse::<u64>().unwrap() + 1).to_string();
    while world.run(&format!("show {id}")).code != 0 {
        std::thread::yield_now();
    }
    // It has the job's input open from soon after its submit.
    let holds_input = || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
        fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok()).any(|file| file.ends_with("stdin"))
    };
    while !holds_input() {
        std::thread::yield_now();
    }
    // As Ctrl-Z does, from before its start until long after a job without a writer would have been given up.
    signal(&child, Signal::STOP);
    gate.open(1);
    world.executing(&id);
    let patience = world.submit("--cpus 0", "sleep 11");
    world.ended(&patience);
    signal(&child, Signal::CONT);
    drop(input);
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(out.split_whitespace().collect::<Vec<_>>(), ["1", "3", "6"]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// All files below a directory.
fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn the_exit_code_is_the_jobs_own() {
    let world = World::new();
    std::fs::write(world.dir().join("plain"), "no program").unwrap();
    for (command, code) in [
        (vec!["true"], 0),
        (vec!["sh", "-c", "exit 3"], 3),
        (vec!["sh", "-c", "exit 255"], 255),
        (vec!["./plain"], 126),
        (vec!["/"], 126),
        (vec!["no-such-program-anywhere"], 127),
        (vec!["./no/such/file"], 127),
        (vec!["sh", "-c", "kill -KILL $$"], 128 + 9),
        (vec!["sh", "-c", "kill -TERM $$"], 128 + 15),
    ] {
        let mut args = vec!["run", "--"];
        args.extend(&command);
        let said = world.qrm(args);
        assert_eq!(said.code, code, "{command:?}: {said:?}");
    }
    let said = world.run("run -- no-such-program-anywhere");
    assert!(said.err.contains("no-such-program") || said.err.contains("No such file"), "{said:?}");
}

#[test]
fn signals_are_passed_on_and_the_job_answers_for_itself() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    for (number, name, code) in [(Signal::INT, "INT", 3), (Signal::TERM, "TERM", 4), (Signal::USR1, "USR1", 5)] {
        let script =
            format!("trap 'echo got {name}; exit {code}' {name}; echo ready; while :; do {}; done", gate.wait());
        let mut run = world.program("qrm");
        let mut child =
            run.args(["run", "--", "sh", "-c", &script]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        assert_eq!(line(&mut child), "ready");
        signal(&child, number);
        assert_eq!(line(&mut child), format!("got {name}"));
        assert_eq!(child.wait().unwrap().code(), Some(code));
    }
    // Without a trap it ends as it would have ended here.
    let mut run = world.program("qrm");
    let mut child =
        run.args(["run", "--", "sh", "-c", "echo ready; exec sleep 1000"]).stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(line(&mut child), "ready");
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
}

#[test]
fn an_interrupt_cancels_a_run_that_waits() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    let holder = world.submit("", &gate.wait());
    world.executing(&holder);
    for number in [Signal::INT, Signal::TERM] {
        let before = world.run("--json jobs --all").json().as_array().unwrap().len();
        let child = world.spawn("run -- true");
        let id = (before + 1).to_string();
        // It is there once it is listed; asking for its events waits for that.
        let mut client = world.client();
        let follow =
            qrm_protocol::method::SubscribeParams { after: Some(0), job: Some(id.parse().unwrap()), follow: true };
        client.call::<qrm_protocol::method::EventSubscribe>(&follow).unwrap();
        client.notification().unwrap().unwrap();
        signal(&child, number);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        assert_eq!(world.show(&id)["state"], "cancelled");
    }
    gate.open(1);
}

#[test]
fn a_reader_that_has_enough_ends_the_job_as_in_a_pipeline() {
    let world = World::new();
    let output = world.shell("\"$QRM\" run -- yes | head -1").output().unwrap();
    assert_eq!(output.stdout, b"y\n");
    let job = world.ended("1");
    assert_eq!((job["state"].as_str(), job["signal"].as_i64()), (Some("failed"), Some(13)), "{job}");
}

#[test]
fn a_stream_that_nobody_reads_takes_nothing_from_the_other() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    // It says more once it was told that nobody reads.
    let script = |to: u8, lost: u8| {
        let wait = gate.wait();
        format!("trap 'echo kept >&{to}; exit 0' PIPE; echo lost >&{lost}; while :; do {wait}; done")
    };
    for (kept, lost) in [(1, 2), (2, 1)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (mut reads, writes) = std::io::pipe().unwrap();
        let (out, err) = if lost == 1 { (writer, writes) } else { (writes, writer) };
        let mut run = world.program("qrm");
        let mut child =
            run.args(["run", "--", "sh", "-c", &script(kept, lost)]).stdout(out).stderr(err).spawn().unwrap();
        drop(run);
        let mut text = String::new();
        reads.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), child.wait().unwrap().code()), ("kept\n", Some(0)), "{lost} has no reader");
    }
}

#[test]
fn a_daemon_that_is_killed_meanwhile_changes_nothing() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let script = format!("echo one; {}; echo two; exit 7", gate.wait());
    let mut run = world.program("qrm");
    let mut child =
        run.args(["run", "--", "sh", "-c", &script]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(line(&mut child), "one");
    world.kill_daemon();
    gate.open(1);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.stdout.as_slice(), output.status.code()), (&b"two\n"[..], Some(7)), "{output:?}");
    assert_eq!(world.show("1")["exit_code"], 7);
}

#[test]
fn what_run_itself_can_not_do_is_not_taken_for_the_job() {
    let world = World::new();
    let said = world.run("run --socket /nowhere/qrm.sock -- true");
    assert_eq!(said.code, 125, "{said:?}");
    assert_eq!(world.run("run --cpus 100000 -- true").code, 2);
    let said = world.run("run --validate false -- true");
    assert_eq!((said.code, said.err.contains("the validate command: it exited with code 1")), (125, true), "{said:?}");
    let said = world.run("run -- /bin/sh -c no-such-program");
    assert_eq!((said.code, said.err.contains("qrm:")), (127, false), "what a shell says is enough: {said:?}");
    assert_eq!(world.run("run --after 99 -- true").code, 2);
}

#[test]
fn a_daemon_that_a_run_has_started_hears_signals() {
    let world = World::new();
    world.run("run -- true").ok();
    let pid = rustix::process::Pid::from_raw(world.daemon().unwrap()).unwrap();
    let daemon = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let patience = rustix::event::Timespec { tv_sec: 30, tv_nsec: 0 };
    let mut ended = [rustix::event::PollFd::new(&daemon, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut ended, Some(&patience)).unwrap(), 1, "it goes on");
    assert!(!world.socket().exists());
}
