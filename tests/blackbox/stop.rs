//! A daemon that was stopped on purpose stays stopped, whoever waits for something that it will know.
//! Waiters are heard to notice the stop before it is claimed that they did nothing.

use crate::hands::{Gate, signal};
use crate::world::World;
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};

const NOTICE: &str = "qrm: qrmd was stopped; this goes on when it is started again\n";

/// Reads from a process what it says of the stop.
fn notices(child: &mut Child) {
    let mut line = String::new();
    let mut err = BufReader::new(child.stderr.as_mut().unwrap());
    err.read_line(&mut line).unwrap();
    assert_eq!(line, NOTICE);
}

/// Returns when a process has a connection.
fn is_served(child: &Child) {
    let has_socket = || {
        let links = std::fs::read_dir(format!("/proc/{}/fd", child.id())).into_iter().flatten().flatten();
        let mut links = links.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        links.any(|link| link.to_string_lossy().starts_with("socket:"))
    };
    while !has_socket() {
        std::thread::yield_now();
    }
}

#[test]
fn who_waits_waits_until_somebody_starts_it() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let id = world.submit("", &format!("{}; echo done; exit 7", gate.wait()));
    world.executing(&id);
    let lines = ["wait ID", "wait --any ID ID", "logs -f ID", "events -f --after 0 --job ID"];
    let mut waiters: Vec<Child> = lines.iter().map(|line| world.spawn(&line.replace("ID", &id))).collect();
    waiters.iter().for_each(is_served);
    world.run("daemon stop").ok();
    waiters.iter_mut().for_each(notices);
    assert_eq!(world.daemon(), None);
    gate.open(1);
    world.run("daemon start").ok();
    assert_eq!(waiters[0].wait().unwrap().code(), Some(7));
    assert_eq!(waiters[1].wait().unwrap().code(), Some(1));
    let mut out = String::new();
    waiters[2].stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!((out.as_str(), waiters[2].wait().unwrap().code()), ("done\n", Some(0)));
    let events = BufReader::new(waiters[3].stdout.take().unwrap());
    assert!(events.lines().any(|line| line.unwrap().contains("job.ended")));
    waiters[3].kill().unwrap();
    waiters[3].wait().unwrap();
}

#[test]
fn who_waits_for_a_time_waits_no_longer() {
    let world = World::new();
    let id = world.submit("--hold", "true");
    let mut waiter = world.spawn(&format!("wait {id} --timeout 2s"));
    is_served(&waiter);
    world.run("daemon stop").ok();
    let mut err = String::new();
    waiter.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(waiter.wait().unwrap().code(), Some(124), "{err}");
    assert_eq!(world.daemon(), None);
}

#[test]
fn a_run_goes_on_over_a_stop() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let script = format!("read a; {}; read b; echo $a $b", gate.tell());
    let mut child = world.program("qrm");
    child.args(["run", "--", "sh", "-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"one\n").unwrap();
    gate.heard();
    world.run("daemon stop").ok();
    notices(&mut child);
    // Nobody can pass it on, which is said, and the job is not touched.
    signal(&child, Signal::USR1);
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("no daemon answers"), "{line}");
    assert_eq!(world.daemon(), None);
    input.write_all(b"two\n").unwrap();
    drop(input);
    world.run("daemon start").ok();
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!((out.as_str(), child.wait().unwrap().code()), ("one two\n", Some(0)));
}
