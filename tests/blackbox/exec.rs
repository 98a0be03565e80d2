//! Commands inside of running jobs: where they are, whose streams they have, and when they end.

use crate::hands::{Gate, Screen, code, line, signal};
use crate::system::{ADAM, ALICE, BOB, ROOT, System, possible};
use crate::world::{Said, World};
use qrm_protocol::error::Code;
use qrm_protocol::method::{ExecParams, JobExec};
use rustix::net::{RecvFlags, recv};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};

/// A job that waits at a gate, and runs.
fn waiting(world: &World, gate: &Gate, options: &str) -> String {
    let id = world.submit(options, &format!("cat /proc/self/cgroup; {}", gate.wait()));
    world.executing(&id);
    id
}

/// `qrm exec` of a shell script.
fn exec(world: &World, id: &str, script: &str) -> Said {
    world.qrm(["exec", id, "--", "sh", "-c", script])
}

/// The same, left running, with pipes for its streams.
fn spawn(world: &World, id: &str, script: &str) -> Child {
    let mut command = world.program("qrm");
    command.args(["exec", id, "--", "sh", "-c", script]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The claim with the best groups that there are, and without any.
fn everywhere(claim: impl Fn(World)) {
    for tracking in ["auto", "none"] {
        claim(World::with(&[("QRM_SUPERVISION_CGROUP", tracking)]));
    }
}

#[test]
fn a_command_is_where_the_job_is() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let sub = world.dir().join("sub");
    std::fs::create_dir(&sub).unwrap();
    let id = waiting(&world, &gate, "--mem 300M --cpus 2 --env MARK=mine --chdir sub");
    let groups = world.run(&format!("logs {id}")).ok();
    assert_eq!(exec(&world, &id, "cat /proc/self/cgroup").ok(), groups);
    let said = exec(&world, &id, "echo $MARK; pwd; echo $QRM_JOB_ID $QRM_ATTEMPT; cd $QRM_JOB_DIR && ls; umask").ok();
    let rest: Vec<&str> = said.lines().collect();
    assert_eq!(rest[..3], ["mine", sub.to_str().unwrap(), &format!("{id} 1")], "{said}");
    assert!(rest.contains(&"stdout"), "{said}");
    gate.open(1);
    assert_eq!(world.ended(&id)["state"], "completed");
}

#[test]
fn its_exit_code_is_its_own_and_so_are_its_streams() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let id = waiting(&world, &gate, "");
    let said = exec(&world, &id, "echo out; echo err >&2; exit 7");
    assert_eq!((said.out.as_str(), said.err.as_str(), said.code), ("out\n", "err\n", 7));
    assert_eq!(exec(&world, &id, "kill -9 $$").code, 137);
    let said = world.run(&format!("exec {id} -- /no/such/program"));
    assert_eq!((said.code, said.err.contains("/no/such/program: No such file")), (127, true), "{said:?}");
    let said = world.run(&format!("exec {id} -- /etc/passwd"));
    assert_eq!((said.code, said.err.contains("/etc/passwd: Permission denied")), (126, true), "{said:?}");
    // All of it, through descriptors that nobody in between reads.
    let input: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut child = spawn(&world, &id, "cat; echo end >&2");
    let (mut to, given) = (child.stdin.take().unwrap(), input.clone());
    let writer = std::thread::spawn(move || to.write_all(&given).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.stdout == input && output.stderr == b"end\n");
    // A reader that has enough ends it.
    let mut child = spawn(&world, &id, "yes");
    assert_eq!(line(&mut child), "y");
    drop(child.stdout.take());
    assert_eq!(code(&mut child), 141);
    gate.open(1);
    let job = world.ended(&id);
    assert_eq!((job["state"].as_str(), job["exit_code"].as_i64()), (Some("completed"), Some(0)), "{job}");
}

#[test]
fn it_ends_with_the_job_whose_end_is_its_own() {
    everywhere(|world| {
        let gate = Gate::new(&world, "gate");
        let id = world.submit("", &format!("{}; exit 3", gate.wait()));
        world.executing(&id);
        let mut child =
            spawn(&world, &id, "trap '' TERM HUP; (setsid sleep 1000 &); echo ready; sleep 1000 & wait; wait");
        assert_eq!(line(&mut child), "ready");
        gate.open(1);
        let job = world.ended(&id);
        assert_eq!((job["state"].as_str(), job["exit_code"].as_i64()), (Some("failed"), Some(3)), "{job}");
        assert_eq!(code(&mut child), 137);
        // Whoever had the other end of its pipe is gone, too.
        assert_eq!(child.stdout.take().unwrap().read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn signals_reach_it_and_it_ends_with_who_wants_it() {
    everywhere(|world| {
        let gate = Gate::new(&world, "gate");
        let id = world.submit("", &gate.wait());
        world.executing(&id);
        let mut child = spawn(&world, &id, "trap 'echo told; exit 9' TERM; echo ready; while :; do read x; done");
        assert_eq!(line(&mut child), "ready");
        signal(&child, Signal::TERM);
        assert_eq!((line(&mut child).as_str(), code(&mut child)), ("told", 9));
        // Who is killed hangs it up, and what does not mind that is killed.
        let left = Gate::new(&world, "left");
        let script = format!("trap '{}; exit' HUP; echo ready; while :; do read x; done", left.tell());
        let mut child = spawn(&world, &id, &script);
        assert_eq!(line(&mut child), "ready");
        child.kill().unwrap();
        left.heard();
        child.wait().unwrap();
        let mut child = spawn(&world, &id, "trap '' HUP; echo ready; while :; do sleep 1000; done");
        assert_eq!(line(&mut child), "ready");
        // Its input stays open, and is not what ends it.
        let _input = child.stdin.take();
        child.kill().unwrap();
        assert_eq!(child.stdout.take().unwrap().read(&mut [0]).unwrap(), 0);
        child.wait().unwrap();
        // What it leaves behind is ended with it.
        let mut child = spawn(&world, &id, "(setsid sleep 1000 &); echo ready");
        assert_eq!((line(&mut child).as_str(), code(&mut child)), ("ready", 0));
        assert_eq!(child.stdout.take().unwrap().read(&mut [0]).unwrap(), 0);
        assert_eq!(world.show(&id)["state"], "executing");
        gate.open(1);
        assert_eq!(world.ended(&id)["state"], "completed");
    });
}

#[test]
fn at_a_terminal_it_has_one() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let id = waiting(&world, &gate, "");
    let mut command = world.program("qrm");
    let script =
        "tty; stty size; echo $TERM; trap 'echo interrupted; exit 4' INT; read word; echo \"got $word\"; read word";
    command.args(["exec", &id, "--", "sh", "-c", script]).env("TERM", "vt220");
    let mut screen = Screen::whole(command, 90);
    assert!(screen.until("vt220").starts_with("/dev/pts/"));
    screen.until("24 90");
    assert!(screen.is_raw());
    screen.types("word\r");
    screen.until("got word");
    screen.press(3);
    let (text, _, code) = screen.end();
    assert!(code == 4 && text.contains("interrupted"), "{text}");
    // A lot of it is not lost on who reads slowly.
    let mut command = world.program("qrm");
    command.args(["exec", &id, "--", "sh", "-c", "stty -onlcr; seq 100000; echo end"]);
    let mut screen = Screen::whole(command, 90);
    screen.until("end");
    let lines = screen.bytes.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!((lines, screen.end().2), (100_001, 0));
    gate.open(1);
}

#[test]
fn it_goes_on_while_the_daemon_is_away() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let id = waiting(&world, &gate, "");
    let mut child = spawn(&world, &id, "echo ready; read x; echo $x; exit 6");
    assert_eq!(line(&mut child), "ready");
    world.kill_daemon();
    child.stdin.take().unwrap().write_all(b"word\n").unwrap();
    assert_eq!((line(&mut child).as_str(), code(&mut child)), ("word", 6));
    world.run("daemon start").ok();
    assert_eq!(exec(&world, &id, "echo $QRM_JOB_ID").ok(), format!("{id}\n"));
    gate.open(1);
    assert_eq!(world.ended(&id)["state"], "completed");
}

#[test]
fn one_job_has_only_so_many_beside_it() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let id = waiting(&world, &gate, "");
    let params =
        ExecParams { id: id.parse().unwrap(), command: vec!["true".try_into().unwrap()], pty: None, term: None };
    let mut client = world.client();
    let mut ways: Vec<OwnedFd> = Vec::new();
    // Nobody of them is told to begin.
    let why = loop {
        match client.call_for_descriptor::<JobExec>(&params) {
            Ok(way) => ways.push(way),
            Err(error) => break error,
        }
    };
    assert_eq!((ways.len(), why.code), (32, Code::ResourceExhausted), "{why}");
    // They end with who wanted them, and with the job.
    let processes = || world.processes().len();
    drop(ways.split_off(16));
    while client.call_for_descriptor::<JobExec>(&params).is_err() {}
    gate.open(1);
    assert_eq!(world.ended(&id)["state"], "completed");
    for way in ways {
        assert_eq!(recv(&way, &mut [0; 16], RecvFlags::empty()).map(|(n, _)| n), Ok(0));
    }
    assert!(processes() <= 1, "{:?}", world.processes());
}

#[test]
fn where_nothing_runs_nothing_runs_beside_it() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    let id = waiting(&world, &gate, "");
    let waits = world.submit("--array 0-1", "true");
    let refused = |line: &str, says: &str| {
        let said = world.run(line);
        assert!(said.code == 2 && said.err.contains(says), "{line}: {said:?}");
    };
    refused("exec 2 -- true", "job 2 is an array");
    refused("exec 2.1 -- true", "job 2.1 does not run");
    refused("exec 77 -- true", "there is no job 77");
    refused("exec 1", "COMMAND");
    world.run("suspend 1").ok();
    refused("exec 1 -- true", "job 1 is suspended, and so would be what runs in it\n  hint: qrm resume 1");
    world.run("resume 1").ok();
    let mut wire = crate::hands::Wire::new(&world);
    let mut asks = |command: serde_json::Value| {
        let params = serde_json::json!({"id": id, "command": command});
        wire.refused("job.exec", &params)
    };
    assert!(asks(serde_json::json!([])).1.contains("what to run is missing"));
    assert_eq!(asks(serde_json::json!(["x".repeat(200_000)])).0, "RESOURCE_EXHAUSTED");
    gate.open(1);
    world.ended(&waits);
    refused("exec 1 -- true", "job 1 has ended");
}

#[test]
fn a_command_in_a_job_is_the_jobs_user_and_only_that_user_may() {
    if !possible() {
        return;
    }
    let system = System::new("[users]\nadmins = [\"@qrm-admin\"]\nviewers = [\"vera\"]\n");
    let id = system.submit(ALICE, "", "id -u; id -G; ulimit -n; sleep 1000");
    system.executing(&id);
    for user in [BOB, ADAM] {
        let said = system.run(user, &format!("exec {id} -- true"));
        assert_eq!(said.code, 2, "{said:?}");
    }
    let script = "id -u; id -G; ulimit -n; grep NoNewPrivs: /proc/self/status; echo $HOME";
    for user in [ALICE, ROOT] {
        let said = system.qrm(user, &["exec", &id, "--", "sh", "-c", script]).ok();
        let lines: Vec<&str> = said.lines().collect();
        let logged = system.run(ALICE, &format!("logs {id}")).ok();
        assert_eq!(lines[..3], logged.lines().collect::<Vec<_>>(), "{said}");
        assert_eq!(lines[3..], ["NoNewPrivs:\t1", system.home(ALICE).to_str().unwrap()]);
    }
    system.run(ALICE, &format!("cancel {id}")).ok();
    assert_eq!(system.ended(ALICE, &id)["state"], "cancelled");
}
