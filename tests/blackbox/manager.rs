//! What a service manager hears of the daemon, and what it hands over.
//! It refuses to need systemd for that.

use crate::hands::{Gate, Wire, code, context, signal, words};
use crate::world::World;
use rustix::process::Signal;
use serde_json::json;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Where a manager listens.
struct Manager(UnixDatagram);

impl Manager {
    /// For what is started in this world from now on.
    fn new(world: &mut World) -> Self {
        let path = world.dir().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        world.set("NOTIFY_SOCKET", path.to_str().unwrap());
        Self(socket)
    }

    /// The next message, a word for each of its lines; what varies is left out.
    fn hears(&self) -> Vec<String> {
        let mut bytes = [0; 4096];
        let n = self.0.recv(&mut bytes).expect("a message");
        let text = std::str::from_utf8(&bytes[..n]).unwrap();
        text.lines().map(|line| number(line).to_owned()).collect()
    }
}

/// A line whose value is a number, without that, unless it is the flag 1.
fn number(line: &str) -> &str {
    match line.split_once('=') {
        Some((_, "1")) => line,
        Some((name, value)) if value.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => line,
    }
}

/// Ends when this process has.
fn gone(pid: i32) -> std::thread::JoinHandle<()> {
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};
    let process = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
    std::thread::spawn(move || assert_eq!(poll(&mut [PollFd::new(&process, PollFlags::IN)], None), Ok(1)))
}

fn daemon(world: &World) -> Child {
    let mut daemon: Command = world.program("qrmd");
    daemon.arg("--foreground").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_manager_hears_when_it_answers_reloads_is_replaced_and_ends() {
    let mut world = World::new();
    let manager = Manager::new(&mut world);
    let mut daemon = daemon(&world);
    let answers =
        format!("STATUS=answers at {}", world.socket().canonicalize().unwrap_or_else(|_| world.socket()).display());
    let ready = ["READY=1", "MAINPID", &answers];
    assert_eq!(manager.hears(), ready);
    assert_eq!(world.daemon(), Some(i32::try_from(daemon.id()).unwrap()), "it said so before it answered");
    let reloading = ["RELOADING=1", "MONOTONIC_USEC", "STATUS=reads its configuration again"];
    signal(&daemon, Signal::HUP);
    assert_eq!(manager.hears(), reloading);
    assert_eq!(manager.hears(), ready);
    std::fs::create_dir_all(world.dir().join("config/qrm")).unwrap();
    std::fs::write(world.dir().join("config/qrm/config.toml"), "[stroe]\nx = 1\n").unwrap();
    signal(&daemon, Signal::HUP);
    assert_eq!(manager.hears(), reloading);
    let after = manager.hears();
    assert!(after[0] == "READY=1" && after[2].contains("is not reloaded: ") && after[2].contains("stroe"), "{after:?}");
    std::fs::write(world.dir().join("config/qrm/config.toml"), "").unwrap();
    world.run("daemon reload --exec").ok();
    assert_eq!(manager.hears(), ["RELOADING=1", "MONOTONIC_USEC", "STATUS=is replaced"]);
    assert_eq!(manager.hears(), ready);
    signal(&daemon, Signal::TERM);
    assert_eq!(manager.hears(), ["STOPPING=1", "STATUS=ends; jobs go on"]);
    assert_eq!(code(&mut daemon), 0);
}

#[test]
fn nothing_that_a_managed_daemon_starts_knows_its_manager_or_starts_another_daemon() {
    let mut world = World::new();
    let manager = Manager::new(&mut world);
    let mut first = daemon(&world);
    manager.hears();
    world.unset("NOTIFY_SOCKET");
    let script = "cat /proc/$PPID/environ; env";
    assert!(!world.qrm(["run", "--", "sh", "-c", script]).ok().contains("NOTIFY_SOCKET"));
    let gate = Gate::new(&world, "gate");
    let id = world.submit("", &format!("echo $PPID >{}/shim; {}; exit 7", world.dir().display(), gate.wait()));
    world.executing(&id);
    let gate = (gate, gone(words(&world, "shim")[0].parse().unwrap()));
    first.kill().unwrap();
    first.wait().unwrap();
    gate.0.open(1);
    gate.1.join().unwrap();
    // Its shim would have started one before it went.
    assert_eq!(world.processes(), Vec::<i32>::new());
    assert_eq!(world.ended(&id)["exit_code"], 7);
}

#[test]
fn a_daemon_that_a_service_happens_to_need_is_not_that_service() {
    let mut world = World::new();
    let manager = Manager::new(&mut world);
    world.run("daemon start").ok();
    manager.0.set_nonblocking(true).unwrap();
    assert_eq!(manager.0.recv(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn nobody_who_submits_while_the_daemon_is_replaced_learns_of_it() {
    const ROUNDS: usize = 5;
    let mut world = World::new();
    let manager = Manager::new(&mut world);
    let mut daemon = daemon(&world);
    manager.hears();
    // At a named socket nobody asks twice.
    let socket = world.socket().display().to_string();
    let over = AtomicBool::new(false);
    let ids = std::thread::scope(|scope| {
        let submit = || {
            let mut ids = Vec::new();
            while !over.load(Ordering::Relaxed) {
                ids.push(world.qrm(["--socket", &socket, "submit", "--hold", "--", "true"]).ok());
            }
            ids
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(submit)).collect();
        let replaced: Vec<_> = (0..ROUNDS).map(|_| world.run("--json daemon reload --exec")).collect();
        over.store(true, Ordering::Relaxed);
        replaced.into_iter().for_each(|said| drop(said.ok()));
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let mut once = ids.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), ids.len());
    assert_eq!(world.run("--json daemon status").json()["jobs"]["queued"], ids.len());
    assert!(ids.len() > ROUNDS, "{} submits are no test", ids.len());
    signal(&daemon, Signal::TERM);
    assert_eq!(code(&mut daemon), 0);
}

#[test]
fn what_was_begun_is_answered_before_the_daemon_is_replaced_and_the_rest_after() {
    let mut world = World::new();
    let manager = Manager::new(&mut world);
    let mut daemon = daemon(&world);
    manager.hears();
    let (mut idle, mut half, mut bulk, mut waiting) =
        (Wire::new(&world), Wire::new(&world), Wire::new(&world), Wire::new(&world));
    idle.call("status", &json!({}));
    half.call("status", &json!({}));
    let held = world.submit("--hold", "true");
    bulk.call("bulk.begin", &json!({"count": 1, "context": context()}));
    waiting.call("status", &json!({}));
    waiting.ask("job.wait", &json!({"ids": [held]}));
    let frame = json!({"jsonrpc": "2.0", "id": 7, "method": "status", "params": {}}).to_string() + "\n";
    let (first, rest) = frame.as_bytes().split_at(20);
    half.say(first).unwrap();
    let reload = world.spawn("--json daemon reload --exec");
    assert_eq!(manager.hears()[0], "RELOADING=1");
    half.say(rest).unwrap();
    assert!(half.hear().is_some_and(|reply| reply["result"].is_object()));
    bulk.call("bulk.add", &json!({"jobs": [{"command": ["true"], "hold": true}]}));
    bulk.call("bulk.commit", &json!({}));
    assert_eq!(manager.hears()[0], "READY=1");
    assert!(reload.wait_with_output().unwrap().status.success());
    // Who waits asks again; the others do not notice.
    assert_eq!(waiting.hear(), None);
    for wire in [&mut idle, &mut half, &mut bulk] {
        assert_eq!(wire.call("daemon.status", &json!({}))["jobs"]["queued"], 2);
    }
    signal(&daemon, Signal::TERM);
    assert_eq!(idle.hear(), None);
    assert_eq!(code(&mut daemon), 0);
}
