//! `qrm logs` of several jobs: whole lines, each with whose it is, until all have ended.
//! That of one job is looked at elsewhere.

use crate::hands::{Gate, line};
use crate::world::{Said, World};
use std::io::Read;

/// The rest of what a child prints, and its exit code.
fn finish(mut child: std::process::Child) -> (String, String, Option<i32>) {
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    (out, err, child.wait().unwrap().code())
}

#[test]
fn lines_say_whose_they_are_and_keep_to_their_stream() {
    let world = World::new();
    world.submit("", "echo one; echo wrong >&2");
    world.submit("--array 9-10", "printf 'task %s\\nno newline' $QRM_ARRAY_INDEX");
    world.submit("", "true");
    world.qrm(["wait", "1", "2", "3"]).ok();
    world.submit("--hold", "true");
    let tasks = "2.9  | task 9\n2.9  | no newline\n2.10 | task 10\n2.10 | no newline\n";
    for (targets, out, err) in [
        ("1 2", format!("1    | one\n{tasks}"), "1    | wrong\n"),
        ("2", tasks.to_owned(), ""),
        ("1-3", format!("1    | one\n{tasks}"), "1    | wrong\n"),
        ("1-4 --stderr", String::new(), "1    | wrong\n"),
        ("2.10 1 --tail 1", "1    | one\n2.10 | no newline\n".to_owned(), "1    | wrong\n"),
        ("2.9 2.9", "2.9 | task 9\n2.9 | no newline\n".to_owned(), ""),
        ("array=2", tasks.to_owned(), ""),
        ("name=sh state=completed 1-1", "1 | one\n".to_owned(), "1 | wrong\n"),
        ("1", "one\n".to_owned(), "wrong\n"),
        ("2.9", "task 9\nno newline".to_owned(), ""),
    ] {
        let said = world.run(&format!("logs {targets}"));
        assert_eq!((said.out, said.err.as_str(), said.code), (out, err, 0), "{targets}");
        let said = world.run(&format!("logs -f {targets}").replace("1-4", "1-3"));
        assert_eq!((said.err.as_str(), said.code), (err, 0), "-f {targets}");
    }
    for (targets, says) in
        [("1 77", "there is no job 77"), ("1 2.3", "2.3"), ("1 sate=x", "no field"), ("name=none", "")]
    {
        let said = world.run(&format!("logs {targets}"));
        assert!(said.out.is_empty() && said.err.contains(says) && (said.code == 2) != says.is_empty(), "{said:?}");
    }
}

#[test]
fn what_does_not_grow_any_more_is_shown_without_inotify() {
    let world = World::new();
    world.submit("", "echo one");
    world.submit("", "echo two");
    world.qrm(["wait", "1", "2"]).ok();
    let (gate, said) = (Gate::new(&world, "gate"), Gate::new(&world, "said"));
    world.submit("", &format!("echo three; {}; {}", said.tell(), gate.wait()));
    said.heard();
    // In a user namespace of its own a process can have none.
    let without = |line: &str| {
        let qrm = world.program("qrm");
        let mut command = world.at("unshare".as_ref());
        let script = "echo 0 >/proc/sys/user/max_inotify_instances && exec \"$0\" \"$@\"";
        command.args(["--user", "--map-root-user", "sh", "-c", script]).arg(qrm.get_program());
        command.args(line.split_whitespace());
        command.output().map(Said::of)
    };
    if !without("--version").is_ok_and(|said| said.code == 0) {
        eprintln!("skipped: no user namespace is to be had here");
        return;
    }
    for (line, out) in
        [("logs 1", "one\n"), ("logs -f 1", "one\n"), ("logs 1-3 --tail 1", "1 | one\n2 | two\n3 | three\n")]
    {
        assert_eq!(without(line).unwrap().ok(), out, "{line}");
    }
    let said = without("logs -f 3").unwrap();
    assert!(said.code == 4 && said.err.contains("no inotify instance"), "{said:?}");
    gate.open(1);
}

#[test]
fn all_are_followed_until_all_have_ended_over_a_restart() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    let script = |text: &str| format!("echo {text} begins; {}; echo {text} ends", gate.wait());
    world.submit("", &script("first"));
    world.submit("--array 0-1%1", &script("task"));
    world.submit("--hold", "echo never");
    let mut child = world.spawn("logs -f 1-3 2.1");
    assert_eq!(line(&mut child), "1   | first begins");
    world.kill_daemon();
    gate.open(1);
    world.run("daemon start").ok();
    for says in ["1   | first ends", "2.0 | task begins"] {
        assert_eq!(line(&mut child), says);
    }
    world.run("daemon stop").ok();
    gate.open(1);
    world.run("daemon start").ok();
    for says in ["2.0 | task ends", "2.1 | task begins"] {
        assert_eq!(line(&mut child), says);
    }
    gate.open(1);
    assert_eq!(line(&mut child), "2.1 | task ends");
    world.run("cancel 3").ok();
    let (out, err, code) = finish(child);
    assert!(out.is_empty() && code == Some(0), "{out:?} {err:?} {code:?}");
    // Tasks that never begin end with their array.
    let hold = world.submit("--hold --array 0-99", "echo never");
    let child = world.spawn(&format!("logs -f {hold} 1"));
    world.run(&format!("cancel {hold}")).ok();
    assert_eq!(finish(child).2, Some(0));
}

#[test]
fn a_line_without_end_is_cut_and_too_many_jobs_are_refused() {
    let world = World::new();
    world.submit("", "head -c 300000 /dev/zero | tr '\\0' x; echo; echo after");
    world.submit("", "echo beside");
    world.qrm(["wait", "1", "2"]).ok();
    for follow in ["", "-f "] {
        let out = world.run(&format!("logs {follow}1 2")).ok();
        let lines: Vec<&str> = out.lines().filter(|line| line.starts_with("1 | x")).collect();
        assert!(lines.len() == 5 && lines.iter().all(|line| line.len() <= (64 << 10) + 4), "{}", lines.len());
        assert!(out.matches('x').count() == 300_000 && out.contains("\n1 | after\n2 | beside\n"), "{}", out.len());
    }
    let array = world.submit("--hold --array 0-299", "true");
    let said = world.run(&format!("logs -f {array}"));
    assert!(said.code == 2 && said.err.contains("at most 256 jobs"), "{said:?}");
    let child = world.spawn(&format!("logs -f {array}.0 1"));
    world.run(&format!("cancel {array}")).ok();
    assert_eq!(finish(child).2, Some(0));
}

#[test]
fn output_that_went_elsewhere_is_shown_from_there() {
    let world = World::with(&[("QRM_HOST_CPUS", "3")]);
    let gate = Gate::new(&world, "gate");
    let script = format!("echo out; echo err >&2; {}; echo more", gate.wait());
    let apart = world.submit("--stdout there", &script);
    let both = world.submit("--stdout both --stderr both", &script);
    let none = world.submit("--stdout /dev/null", &script);
    let children = [apart.clone(), both.clone(), none.clone(), format!("{apart} {both}")];
    let children = children.map(|ids| world.spawn(&format!("logs -f {ids}")));
    for id in [&apart, &both, &none] {
        world.executing(id);
    }
    gate.open(3);
    let said = children.map(finish);
    assert!(said.iter().all(|(.., code)| *code == Some(0)), "{said:?}");
    let alone: Vec<(&str, &str)> = said[..3].iter().map(|(out, err, _)| (out.as_str(), err.as_str())).collect();
    assert_eq!(alone, [("out\nmore\n", "err\n"), ("out\nerr\nmore\n", ""), ("", "err\n")]);
    let mut lines: Vec<&str> = said[3].0.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["1 | more", "1 | out", "2 | err", "2 | more", "2 | out"]);
    assert_eq!(said[3].1, "1 | err\n");
}
