//! Jobs with a terminal: what they show, who looks on, and that the job does not notice.
//! The terminals are real ones, and what is looked at is what would stand on them.

use crate::hands::{Gate, Screen, code, context, signal};
use crate::system::{ADAM, ALICE, BOB, ROOT, System, possible};
use crate::world::{Said, World};
use qrm_protocol::method::{AttachParams, JobAttach};
use qrm_protocol::terminal::{FULL, INPUT, MOST, OUTPUT, WINDOW};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::Signal;
use serde_json::json;
use std::os::fd::OwnedFd;
use std::process::Stdio;

/// `qrm run --pty` of a shell script, on a terminal of its own.
fn run(world: &World, script: &str) -> Screen {
    let mut command = world.program("qrm");
    command.args(["run", "--pty", "--", "sh", "-c", script]);
    Screen::whole(command, 80)
}

fn attach(world: &World, line: &str) -> Screen {
    let mut command = world.program("qrm");
    command.arg("attach").args(line.split_whitespace());
    Screen::whole(command, 80)
}

/// Reads lines, and says of each which one it was.
const COUNTS: &str = "i=0; while read word; do i=$((i+1)); echo \"line $i is $word\"; done; exit 5";

/// The way to a terminal, without a program that goes it.
fn way(world: &World, id: &str) -> OwnedFd {
    world.client().call_for_descriptor::<JobAttach>(&AttachParams { id: id.parse().unwrap() }).unwrap()
}

/// The next message from there; an empty one at the end.
fn hear(way: &OwnedFd) -> Vec<u8> {
    let mut buffer = vec![0; MOST + 1];
    let n = recv(way, &mut buffer, RecvFlags::empty()).map_or(0, |(n, _)| n);
    buffer.truncate(n);
    buffer
}

/// Listens until this was shown.
fn hear_until(way: &OwnedFd, says: &str) {
    let mut shown = String::new();
    while !shown.contains(says) {
        let message = hear(way);
        assert_eq!(message.first(), Some(&OUTPUT), "{says:?} never came: {shown:?}");
        shown += &String::from_utf8_lossy(&message[1..]);
    }
}

fn say(way: &OwnedFd, what: u8, rest: &[u8]) -> rustix::io::Result<usize> {
    send(way, &[&[what], rest].concat(), SendFlags::NOSIGNAL)
}

#[test]
fn a_job_has_a_terminal_as_large_as_the_one_here_and_its_keys_and_exit_code_are_its_own() {
    let world = World::new();
    let script = "tty; stty size; echo $TERM; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all three
        trap 'echo interrupted; stty size' INT; until read word; do :; done; echo \"got $word\"; exit 7";
    let mut screen = run(&world, script);
    let text = screen.until("all three");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("/dev/pts/"), "{text}");
    assert_eq!(lines[1..], ["24 80", "xterm", "all three"]);
    assert!(screen.is_raw());
    screen.resize(30, 100);
    screen.press(3);
    screen.until("interrupted\n30 100");
    screen.types("word\r");
    screen.until("got word");
    let (text, _, code) = screen.end();
    assert_eq!((code, text.contains("detached")), (7, false), "{text}");
    let log = world.run("logs 1").ok();
    assert!(log.contains("all three\r\n") && log.ends_with("word\r\ngot word\r\n"), "{log:?}");
    assert_eq!(world.show("1")["pty"], "24x80");
    assert!(world.run("show 1").ok().contains("terminal     24x80\n"));
}

#[test]
fn who_leaves_and_comes_back_sees_where_it_is_and_the_job_did_not_notice() {
    let world = World::new();
    let draws = "(trap 'echo drawn again' WINCH; trap 'echo hung up' HUP; while :; do sleep 1000 & wait; done) &";
    let mut screen = run(&world, &format!("{draws} {COUNTS}"));
    screen.types("one\r");
    screen.until("line 1 is one");
    screen.press(0x1d);
    let text = screen.until("detached from 1; qrm attach 1 comes back");
    assert!(!screen.is_raw(), "{text}");
    assert_eq!(screen.end().2, 0);
    assert_eq!(world.show("1")["state"], "executing");
    let mut screen = attach(&world, "1 --detach-keys ctrl-p,ctrl-q");
    screen.until("line 1 is one");
    // Also who comes on a terminal of the same size has it drawn.
    screen.until("drawn again");
    screen.types("two\r\x1d\x10x\r");
    screen.until("line 2 is two");
    screen.types("\x10\x11");
    screen.until("detached from 1");
    assert_eq!(screen.end().2, 0);
    let mut screen = attach(&world, "1");
    // What only looked like the keys was typed.
    let text = screen.until("line 3 is ");
    assert!(!text.contains("hung up"), "{text}");
    screen.types("\x04");
    assert_eq!(screen.end().2, 5);
    assert_eq!(world.show("1")["exit_code"], 5);
}

#[test]
fn an_attachment_outlives_the_daemon_and_a_new_one_lets_others_in() {
    let world = World::new();
    let mut screen = run(&world, COUNTS);
    screen.types("one\r");
    screen.until("line 1 is one");
    world.kill_daemon();
    screen.types("two\r");
    screen.until("line 2 is two");
    world.run("daemon start").ok();
    let mut other = attach(&world, "1");
    other.until("line 2 is two");
    world.run("daemon stop").ok();
    other.types("three\r");
    other.until("line 3 is three");
    screen.until("line 3 is three");
    other.types("\x04");
    other.until("qrmd was stopped");
    world.run("daemon start").ok();
    assert_eq!((screen.end().2, other.end().2), (5, 5));
    let sockets = || {
        std::fs::read_dir(world.state().join("runs"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap().ends_with(".tty"))
    };
    world.run("daemon stop").ok();
    assert_eq!(sockets().count(), 0, "nothing is left of a way that leads nowhere");
}

#[test]
fn a_terminal_is_as_it_was_however_this_ends() {
    let world = World::new();
    let mut first = run(&world, &format!("printf '\\033[?1049h\\033[?25lfull screen\\n'; {COUNTS}"));
    first.until("full screen");
    assert!(first.is_other_screen() && first.is_raw());
    for (ends, number) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let mut screen = attach(&world, "1");
        screen.until("full screen");
        assert!(screen.is_other_screen() && screen.is_raw());
        signal(&screen.child, ends);
        assert_eq!(code(&mut screen.child), number);
        screen.rest();
        assert!(!screen.is_raw() && !screen.is_other_screen());
    }
    assert_eq!(attach_and_close(&world), 129);
    first.press(0x1d);
    first.until("detached");
    assert!(!first.is_raw() && !first.is_other_screen());
    assert_eq!(world.show("1")["state"], "executing");
}

fn attach_and_close(world: &World) -> i32 {
    let mut screen = attach(world, "1");
    screen.until("full screen");
    screen.close()
}

#[test]
fn several_look_on_and_all_of_them_type() {
    let world = World::new();
    let mut one = run(&world, COUNTS);
    one.types("one\r");
    one.until("line 1 is one");
    let mut two = attach(&world, "1");
    two.until("line 1 is one");
    two.types("two\r");
    one.until("line 2 is two");
    one.types("three\r");
    two.until("line 3 is three");
    // As many as may, and one more.
    let more: Vec<OwnedFd> = (0..6).map(|_| way(&world, "1")).collect();
    more.iter().for_each(|way| hear_until(way, "line 3"));
    assert_eq!(hear(&way(&world, "1")), [FULL]);
    let said = world.run("attach 1");
    assert_eq!((said.code, said.err.contains("as many look at job 1 as may")), (2, true), "{said:?}");
    drop(more);
    one.types("\x04");
    assert_eq!((one.end().2, two.end().2), (5, 5));
}

#[test]
fn who_does_not_read_holds_up_nobody_and_sees_the_last_of_it_later() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let script = format!("stty -onlcr; {}; seq 200000; echo done; {}", gate.wait(), gate.wait());
    let id = world.submit("--pty", &script);
    world.executing(&id);
    let sleeper = way(&world, &id);
    gate.open(1);
    let reader = way(&world, &id);
    hear_until(&reader, "done");
    // It was behind by far more than is kept.
    let (mut all, mut shown) = (0, String::new());
    while !shown.ends_with("done\n") {
        let message = hear(&sleeper);
        assert_eq!(message.first(), Some(&OUTPUT));
        all += message.len();
        shown += std::str::from_utf8(&message[1..]).unwrap();
    }
    assert!(all < 1_000_000, "{all} bytes");
    gate.open(1);
    assert_eq!(world.ended(&id)["state"], "completed");
    assert_eq!(world.run(&format!("logs {id}")).ok().lines().count(), 200_001);
}

#[test]
fn what_is_said_in_no_language_ends_a_visit_and_a_flood_of_keys_harms_nobody() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    // Nothing reads what is typed.
    let id = world.submit("--pty", &format!("stty raw -echo; echo ready; {}; echo bye", gate.wait()));
    world.executing(&id);
    let looks_on = way(&world, &id);
    hear_until(&looks_on, "ready");
    let long = vec![b'x'; MOST + 1];
    let hostile: [(u8, &[u8]); 8] = [
        (b'?', b""),
        (WINDOW, b""),
        (WINDOW, &[0, 0, 0, 80]),
        (WINDOW, &[0xff, 0xff, 0xff, 0xff]),
        (INPUT, &long),
        (b's', &[9]),
        (b'b', b""),
        (OUTPUT, b"forged"),
    ];
    for (what, rest) in hostile {
        let way = way(&world, &id);
        hear_until(&way, "ready");
        say(&way, what, rest).unwrap();
        assert_eq!(hear(&way), b"", "{}", char::from(what));
    }
    // As much as there is room for, and then it waits alone.
    let flood = way(&world, &id);
    let piece = vec![b'x'; MOST];
    let message = [&[INPUT][..], &piece].concat();
    let mut sent = 0;
    while send(&flood, &message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).is_ok() {
        sent += 1;
    }
    assert!((1..1_000).contains(&sent), "{sent} messages");
    hear_until(&way(&world, &id), "ready");
    gate.open(1);
    hear_until(&looks_on, "bye");
    assert_eq!(hear(&looks_on), b"");
    assert_eq!(world.ended(&id)["state"], "completed");
}

#[test]
fn without_a_terminal_here_lines_are_typed_and_all_that_is_shown_is_printed() {
    let world = World::new();
    let said = world.feed("run --pty -- sh -c cat;exit", b"one\ntwo\n");
    assert_eq!((said.out.as_str(), said.code), ("one\r\ntwo\r\none\r\ntwo\r\n", 0), "{said:?}");
    // A line that is not ended is ended.
    assert_eq!(world.feed("run --pty -- cat", b"half").ok(), "halfhalf");
    // However short it is, and however much.
    for _ in 0..5 {
        let said = world.qrm(["run", "--pty", "--", "sh", "-c", "echo short; exit 3"]);
        assert_eq!((said.out.as_str(), said.code), ("short\r\n", 3), "{said:?}");
    }
    assert_eq!(world.qrm(["run", "--pty", "--", "sh", "-c", "kill -9 $$"]).code, 137);
    let said = world.qrm(["run", "--pty", "--", "/no/such/program"]);
    assert_eq!((said.code, said.err.contains("No such file")), (127, true), "{said:?}");
    let job = world.submit("--pty --clean-env", "echo $TERM; stty size");
    world.ended(&job);
    assert_eq!(world.run(&format!("logs {job}")).ok(), "\r\n24 80\r\n");
}

#[test]
fn who_waits_for_a_job_with_a_terminal_can_give_it_up() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    let first = world.submit("", &gate.wait());
    world.executing(&first);
    let mut command = world.program("qrm");
    command.args(["run", "--pty", "--name", "second", "--", "true"]);
    let screen = Screen::whole(command, 80);
    world.happened("name=second");
    signal(&screen.child, Signal::INT);
    assert_eq!(screen.end().2, 130);
    assert_eq!(world.show("2")["state"], "cancelled");
    gate.open(1);
}

#[test]
fn every_task_and_every_attempt_has_a_terminal_of_its_own() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let array = world.submit("--pty --array 0-1", &format!("tty; echo task $QRM_ARRAY_INDEX; {}", gate.wait()));
    for task in ["0", "1"] {
        world.executing(&format!("{array}.{task}"));
        hear_until(&way(&world, &format!("{array}.{task}")), &format!("task {task}"));
    }
    let said = world.run(&format!("attach {array}"));
    assert!(said.err.contains("is an array") && said.err.contains(&format!("as {array}.0")), "{said:?}");
    gate.open(2);
    assert_eq!(world.ended(&array)["state"], "completed");
    let job =
        world.submit("--pty --retries 1 --backoff 1ms", &format!("echo try $QRM_ATTEMPT; {}; exit 1", gate.wait()));
    for attempt in ["try 1", "try 2"] {
        let mut client = world.client();
        // The first may be ending still.
        let way = loop {
            match client.call_for_descriptor::<JobAttach>(&AttachParams { id: job.parse().unwrap() }) {
                Ok(way) => break way,
                Err(_) => world.executing(&job),
            }
        };
        hear_until(&way, attempt);
        gate.open(1);
        assert_eq!(hear(&way), b"");
    }
    assert_eq!(world.ended(&job)["exit_code"], 1);
}

#[test]
fn where_there_is_no_terminal_it_is_said_what_there_is() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    let id = world.submit("", &gate.wait());
    world.executing(&id);
    let waits = world.submit("--pty", "true");
    let refused = |line: &str, says: &str| {
        let said = world.run(line);
        assert!(said.code == 2 && said.err.contains(says), "{line}: {said:?}");
    };
    refused("attach 1", "job 1 has no terminal\n  hint: qrm logs -f 1 follows it, or submit with --pty");
    refused(&format!("attach {waits}"), "job 2 does not run: it is queued");
    refused("attach 77", "there is no job 77");
    refused("attach", "ID");
    refused("attach 1 --detach-keys alt-x", "keys are at most 8, as ctrl-p,ctrl-q");
    for stream in ["--stdin /dev/null", "--stdout out", "--stderr err"] {
        refused(&format!("submit --pty {stream} -- true"), "--pty");
    }
    gate.open(1);
    world.ended(&waits);
    refused("attach 2", "job 2 has ended");
    let mut wire = crate::hands::Wire::new(&world);
    let submit = |job: serde_json::Value| json!({"context": context(), "job": job});
    let job = |pty: serde_json::Value| submit(json!({"command": ["true"], "pty": pty}));
    for pty in [json!("24x0"), json!("99999x1"), json!("big"), json!(7)] {
        wire.checked = false;
        let (code, why) = wire.refused("job.submit", &job(pty.clone()));
        assert_eq!((code.as_str(), why.contains("24x80")), ("INVALID_ARGUMENT", true), "{pty}: {why}");
    }
    let both = submit(json!({"command": ["true"], "pty": true, "stdout": "out"}));
    assert!(wire.refused("job.submit", &both).1.contains("for all of its streams"));
    wire.checked = true;
    let id = wire.call("job.submit", &job(json!("7x11")))["id"].clone();
    assert_eq!(world.ended(id.as_str().unwrap())["pty"], "7x11");
    // From files, scripts and lists, too.
    std::fs::write(world.dir().join("jobs.toml"), "[[job]]\ncommand = [\"tty\"]\npty = true\n").unwrap();
    std::fs::write(world.dir().join("script"), "#!/bin/sh\n#QRM --pty\nexec tty\n").unwrap();
    std::fs::write(world.dir().join("bulk"), "{\"command\": [\"tty\"], \"pty\": \"10x20\"}\n").unwrap();
    let mut last: u64 = id.as_str().unwrap().parse().unwrap();
    for line in ["submit jobs.toml", "submit script", "submit --bulk bulk"] {
        world.run(line).ok();
        last += 1;
        let id = last.to_string();
        assert_eq!(world.ended(&id)["state"], "completed", "{line}");
        assert!(world.run(&format!("logs {id}")).ok().starts_with("/dev/pts/"), "{line}");
    }
}

#[test]
fn a_terminal_is_its_owners_alone() {
    if !possible() {
        return;
    }
    let system = System::new("[users]\nadmins = [\"@qrm-admin\"]\nviewers = [\"vera\"]\n");
    let id = system.submit(ALICE, "--pty", "ls -ln $(tty); read word; echo \"got $word\"; exit 4");
    system.executing(&id);
    for user in [BOB, ADAM] {
        let said = system.run(user, &format!("attach {id}"));
        assert_eq!((said.code, said.err.contains("alone") || said.err.contains("owner")), (2, true), "{said:?}");
    }
    let feed = |user| {
        let mut child = system.shell(user, &format!("echo word | $QRM attach {id}"));
        Said::of(child.stdin(Stdio::null()).output().unwrap())
    };
    let said = feed(ALICE);
    assert_eq!((said.code, said.out.contains("got word")), (4, true), "{said:?}");
    assert!(said.out.lines().next().unwrap().split_whitespace().nth(2) == Some("61001"), "{said:?}");
    let id = system.submit(ALICE, "--pty", "read word; echo \"got $word\"");
    system.executing(&id);
    let said = Said::of(system.shell(ROOT, &format!("echo root | $QRM attach {id}")).output().unwrap());
    assert!(said.out.contains("got root"), "{said:?}");
    // The sockets are behind a door that is root's.
    let runs = system.state().join("runs");
    assert_ne!(Said::of(system.shell(ALICE, &format!("ls {}", runs.display())).output().unwrap()).code, 0);
}

#[test]
fn a_reader_that_has_gone_ends_who_shows_a_terminal_and_not_the_job() {
    let world = World::new();
    let ended = world.shell("\"$QRM\" run --pty --name loud -- yes | head -n 1").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stdout).trim(), "y", "{ended:?}");
    assert_eq!(world.show("1")["state"], "executing");
}
