//! Terminals: what they show while one waits, that nothing of it stays, and what happens when they or readers go away.
//! They are real ones, and what is looked at is what would stand on them.

use crate::hands::{Gate, Screen, code, signal};
use crate::world::World;
use rustix::process::Signal;
use std::process::{Command, Stdio};

fn qrm(world: &World, line: &str) -> Command {
    let mut command = world.program("qrm");
    command.args(line.split_whitespace());
    command
}

#[test]
fn a_line_says_how_a_job_is_and_is_gone_when_it_has_ended() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    let first = world.submit("--name first", &format!("{}; exit 7", gate.wait()));
    world.executing(&first);
    let second = world.submit("--name second", "true");
    let mut one = Screen::new(qrm(&world, "wait 1"), 80);
    let mut other = Screen::new(qrm(&world, &format!("wait {second}")), 80);
    assert!(one.until("job 1  first  executing  ").ends_with('s'));
    assert!(other.until("job 2  second  queued  ").contains("needs 1 cpu, 0 free"));
    // The time goes on although nothing happens.
    one.until_changed();
    gate.open(1);
    assert_eq!(one.end(), (String::new(), String::new(), 7));
    assert_eq!(other.end(), (String::new(), String::new(), 0));
}

#[test]
fn what_a_job_says_of_itself_is_a_bar() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let id = world.submit("--name learns", &gate.wait());
    world.executing(&id);
    let mut screen = Screen::new(qrm(&world, "wait 1"), 80);
    screen.until("executing");
    for (said, begins, ends) in
        [("0.5 half", " 50%  job 1  learns  executing  ", "s  half"), ("1", " 100%  job 1  ", "s")]
    {
        world.run(&format!("progress --job 1 {said}")).ok();
        let text = screen.until(begins);
        assert!(text.starts_with(&format!("{}{begins}", "━".repeat(24))) && text.ends_with(ends), "{text}");
    }
    gate.open(1);
    assert_eq!(screen.end(), (String::new(), String::new(), 0));
}

#[test]
fn tasks_and_jobs_are_counted_as_they_end() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    world.submit("--array 1-4 --name sweep", &format!("{}; exit $((QRM_ARRAY_INDEX % 2))", gate.wait()));
    world.submit("", &gate.wait());
    let mut array = Screen::new(qrm(&world, "wait 1"), 80);
    let mut several = Screen::new(qrm(&world, "wait 1.1 1.2 2"), 80);
    array.until("0%  job 1  sweep  0 of 4 done, 1 run");
    several.until("0%  0 of 3 jobs ended");
    gate.open(1);
    array.until("25%  job 1  sweep  1 of 4 done, 1 run, 1 failed");
    several.until("33%  1 of 3 jobs ended, 1 not well");
    gate.open(1);
    several.until("67%  2 of 3 jobs ended, 1 not well");
    array.until("50%  job 1  sweep  2 of 4 done, 1 run, 1 failed");
    gate.open(3);
    assert_eq!(array.end(), (String::new(), String::new(), 1));
    assert_eq!(several.end(), (String::new(), String::new(), 1));
}

#[test]
fn nothing_is_shown_to_who_can_not_or_will_not_see_it() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let id = world.submit("", &gate.wait());
    world.executing(&id);
    let mut screens: Vec<Screen> =
        ["wait 1 --json", "wait 1 --quiet"].iter().map(|line| Screen::new(qrm(&world, line), 80)).collect();
    let mut dumb = qrm(&world, "wait 1");
    dumb.env("TERM", "dumb");
    screens.push(Screen::new(dumb, 80));
    let mut plain = qrm(&world, "wait 1");
    plain.env("NO_COLOR", "1");
    let mut plain = Screen::new(plain, 80);
    plain.until("executing");
    let mut coloured = Screen::new(qrm(&world, "wait 1"), 80);
    coloured.until("executing");
    let has_colour = |screen: &Screen| screen.bytes.windows(3).any(|bytes| bytes == b"\x1b[3");
    assert!(has_colour(&coloured) && !has_colour(&plain));
    gate.open(1);
    for screen in screens {
        assert!(screen.bytes.is_empty());
        assert_eq!((screen.end().0.as_str(), 0), ("", 0));
    }
    assert_eq!((plain.end().2, coloured.end().2), (0, 0));
}

#[test]
fn the_line_is_one_line_however_narrow_and_whatever_is_in_a_name() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    let gate = Gate::new(&world, "gate");
    let wide = "日本語の名前がとても長い仕事です、端末の幅を超えます";
    for name in [wide, "e\u{301}".repeat(60).as_str()] {
        let id = world.qrm(["submit", "--name", name, "--array", "0-9", "--", "sh", "-c", &gate.wait()]).ok();
        for columns in [120, 80, 40, 24] {
            let mut screen = Screen::new(qrm(&world, &format!("wait {}", id.trim())), columns);
            let text = screen.until(&format!("job {}", id.trim()));
            assert!(!text.contains('\n'), "{columns}: {text:?}");
            signal(&screen.child, Signal::TERM);
            assert_eq!(screen.end(), (String::new(), String::new(), 143), "{columns}");
        }
        world.run(&format!("cancel {}", id.trim())).ok();
    }
}

#[test]
fn signals_and_a_closed_terminal_end_it_as_they_end_others() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let id = world.submit("", &gate.wait());
    world.executing(&id);
    for (ends, number) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut screen = Screen::new(qrm(&world, "wait 1"), 80);
        screen.until("executing");
        signal(&screen.child, ends);
        assert_eq!(screen.end(), (String::new(), String::new(), number));
    }
    // What the terminal shows of the key goes with the line, also when that is full.
    let mut screen = Screen::new(qrm(&world, "wait 1"), 24);
    screen.until("executing");
    screen.press(3);
    screen.until_shown("^C");
    signal(&screen.child, Signal::INT);
    assert_eq!(screen.end(), (String::new(), String::new(), 130));
    let mut screen = Screen::new(qrm(&world, "wait 1"), 80);
    screen.until("executing");
    assert_eq!(screen.close(), 129);
    assert_eq!(world.show("1")["state"], "executing");
    gate.open(1);
}

#[test]
fn what_else_is_said_stands_beside_the_line() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let id = world.submit("--name stays", &gate.wait());
    world.executing(&id);
    let mut screen = Screen::new(qrm(&world, "wait 1"), 80);
    screen.until("executing");
    world.run("daemon stop").ok();
    let text = screen.until("is started again");
    assert!(text.starts_with("qrm: qrmd was stopped"), "{text}");
    world.run("daemon start").ok();
    screen.until("again\njob 1  stays  executing");
    gate.open(1);
    let (text, _, code) = screen.end();
    assert_eq!((text.lines().count(), code), (1, 0), "{text}");
}

#[test]
fn a_bulk_that_takes_long_says_how_far_it_is() {
    // Few jobs in many frames, each of which takes its time.
    let world = World::with(&[("QRM_TEST_COMMIT_DELAY_MS", "300")]);
    let job = format!("{{\"command\":[\"true\",\"{}\"],\"hold\":true}}\n", "x".repeat(100_000));
    std::fs::write(world.dir().join("bulk"), job.repeat(40)).unwrap();
    if !cfg!(feature = "testing") {
        return;
    }
    world.run("daemon start").ok();
    let mut screen = Screen::new(qrm(&world, "submit --bulk bulk"), 80);
    assert!(screen.until("of 40 jobs").contains("%  sent "));
    let (text, out, code) = screen.end();
    assert_eq!((text.as_str(), out.lines().count(), code), ("", 40, 0));
}

/// Verbs that print something, and end by themselves.
const VERBS: [&str; 21] = [
    "status",
    "status 1",
    "jobs",
    "jobs --json",
    "show 1",
    "logs 1",
    "logs 1 2",
    "logs -f 1 2",
    "events",
    "events -f --after 0",
    "doctor",
    "man",
    "completions bash",
    "hold 3",
    "release 3",
    "cancel 3",
    "daemon status",
    "cleanup --dry-run --older-than 1d",
    "submit -- true",
    "run -- yes",
    "wait 1 --json",
];

#[test]
fn a_reader_that_is_gone_ends_every_verb_without_a_word() {
    let world = World::new();
    world.submit("", "echo one");
    world.submit("", "echo two");
    world.submit("--hold", "true");
    world.qrm(["wait", "1", "2"]).ok();
    for verb in VERBS.into_iter().chain(["--help", "--version", "jobs sate=1 --json"]) {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut child = qrm(&world, verb).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let err = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert_eq!((err.as_str(), code(&mut child)), ("", 141), "{verb}");
    }
}

#[test]
fn a_follower_ends_when_nobody_reads_it_any_more() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let id = world.submit("", &gate.wait());
    world.executing(&id);
    for verb in ["logs -f 1", "logs -f 1 2-9"] {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut child = qrm(&world, verb).stdout(writer).spawn().unwrap();
        drop(reader);
        // The job says nothing all the while.
        assert_eq!(code(&mut child), 141, "{verb}");
    }
    gate.open(1);
}

#[test]
fn a_full_disk_under_the_output_is_no_success() {
    let world = World::new();
    world.submit("", "echo one");
    world.submit("", "echo two");
    world.submit("--hold", "true");
    world.qrm(["wait", "1", "2"]).ok();
    for verb in VERBS.into_iter().chain(["--help", "run -- echo hi", "jobs sate=1 --json"]) {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut child = qrm(&world, verb).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let err = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        // Where exit codes are a job's, this is none of them.
        let own = if verb.starts_with("run") || verb.starts_with("wait") { 125 } else { 4 };
        let said = err.lines().next().unwrap_or_default();
        assert_eq!(
            (said, code(&mut child)),
            ("qrm: standard output: No space left on device (os error 28)", own),
            "{verb}: {err}"
        );
    }
}
