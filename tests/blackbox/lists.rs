//! What lists and views show, to people, pipes and programs.
//! Nothing that a job says of itself may reach a terminal raw.

use crate::hands::{Gate, Wire, context, on_terminal};
use crate::world::World;
use serde_json::{Value, json};
use std::io::Read;

fn ids(world: &World, filter: &[&str]) -> String {
    let said = world.qrm([&["--json", "jobs"], filter].concat());
    assert_eq!(said.code, 0, "{filter:?}: {said:?}");
    let list = said.json();
    list.as_array().unwrap().iter().map(|j| j["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_filter_finds_what_it_says() {
    let world = World::with(&[("QRM_HOST_CPUS", "4"), ("QRM_HOST_MEMORY", "16G")]);
    for (options, script) in [
        ("--name train-a --cpus 2 --mem 8G", "true"),
        ("--name train-b --priority high --comment Night", "exit 3"),
        ("--name eval --time 1h --hold", "true"),
        ("--mem 10G", "kill -9 $$"),
        ("--time 50ms", "sleep 1000"),
    ] {
        world.submit(options, script);
    }
    world.run("wait 1 2 4 5");
    let user = world.show("1")["user"].as_str().unwrap().to_owned();
    let cwd = world.show("1")["cwd"].as_str().unwrap().to_owned();
    for (filter, found) in [
        ("", "1 2 3 4 5"),
        ("name~train", "1 2"),
        ("name~TRAIN state=failed", "2"),
        ("name=train-a,eval", "1 3"),
        ("name!=train-a", "2 3 4 5"),
        ("name!~train", "3 4 5"),
        ("state=live", "3"),
        ("state=ended", "1 2 4 5"),
        ("state=failed,timeout", "2 4 5"),
        ("state!=completed", "2 3 4 5"),
        ("mem>8G", "4"),
        ("mem>=8G", "1 4"),
        ("mem!=8G", "2 3 4 5"),
        ("mem_bytes<9G", "1"),
        ("cpus=2", "1"),
        ("priority>50", "2"),
        ("exit_code=3", "2"),
        ("exit_code!=0", "2 3 4 5"),
        ("signal=9", "4"),
        ("cause=exit,signal", "2 4"),
        ("failure.cause=timeout", "5"),
        ("time=1h", "3"),
        ("time<1s", "5"),
        ("comment~night", "2"),
        ("comment!~night", "1 3 4 5"),
        ("attempt=0", "3"),
        ("queue=default", "1 2 3 4 5"),
        ("submitted>-1h", "1 2 3 4 5"),
        ("submitted<-1h", ""),
        ("ended>today", "1 2 4 5"),
        ("started<2001-01-01", ""),
        ("2-4", "2 3 4"),
        ("1 3 5", "1 3 5"),
        ("1,3 state=live", "3"),
        ("id!=2-4", "1 5"),
        ("99", ""),
    ] {
        assert_eq!(ids(&world, &filter.split_whitespace().collect::<Vec<_>>()), found, "{filter}");
    }
    assert_eq!(ids(&world, &[&format!("user={user}"), &format!("cwd={cwd}")]), "1 2 3 4 5");
    assert_eq!(ids(&world, &["command=\"sh -c exit 3\""]), "2");
    assert_eq!(ids(&world, &["command~\"exit 3\""]), "2");
    assert_eq!(ids(&world, &["--limit", "2"]), "4 5");
    assert_eq!(ids(&world, &["--limit", "2", "state=ended"]), "4 5");
}

#[test]
fn pages_are_put_together_without_a_gap() {
    let world = World::new();
    world.feed("submit --bulk -", &b"{\"command\":[\"true\"],\"hold\":true}\n".repeat(2_300)).ok();
    let all = ids(&world, &["--all"]);
    let wanted: Vec<String> = (1..=2_300).map(|id| id.to_string()).collect();
    assert_eq!(all, wanted.join(" "));
    assert_eq!(ids(&world, &[]).split(' ').count(), 50);
    assert_eq!(ids(&world, &["--limit", "1500"]).split(' ').count(), 1_500);
    // A reader that has enough ends it without a word.
    let output = world.shell("\"$QRM\" jobs --all | head -1; \"$QRM\" events | head -1").output().unwrap();
    assert_eq!((output.stdout.iter().filter(|b| **b == b'\n').count(), output.stderr.len()), (2, 0), "{output:?}");
}

#[test]
fn jobs_of_the_largest_kind_do_not_make_lists_that_nobody_can_read() {
    let world = World::new();
    world.run("daemon start").ok();
    let mut wire = Wire::new(&world);
    let submit = |job: Value| json!({"context": context(), "job": job});
    for _ in 0..16 {
        let job = json!({"command": ["true", "\u{1}".repeat(130_000)], "hold": true});
        wire.call("job.submit", &submit(job));
    }
    let deps = json!({"command": ["true"], "after": vec!["1"; 1_000]});
    wire.call("bulk.begin", &json!({"context": context(), "count": 200}));
    wire.call("bulk.add", &json!({"jobs": vec![deps; 200]}));
    wire.call("bulk.commit", &json!({}));
    assert_eq!(ids(&world, &["--all"]).split(' ').count(), 216);
    for line in ["jobs", "status", "--json status", "show 1", "--json show 200", "jobs 1-16"] {
        assert_eq!(world.run(line).code, 0, "{line}");
    }
    let long = format!("/{}", "d".repeat(5_000));
    let mut there = context();
    there["cwd"] = json!(long);
    let params = json!({"context": there, "job": {"command": ["true"]}});
    assert_eq!(wire.refused("job.submit", &params).0, "RESOURCE_EXHAUSTED");
    let job = json!({"command": ["true"], "chdir": long});
    assert!(wire.refused("job.submit", &submit(job)).1.contains("4096"));
    let job = json!({"command": ["true", "x".repeat(128 << 10)]});
    assert!(wire.refused("job.submit", &submit(job)).1.contains("131072"));
}

#[test]
fn control_characters_never_arrive_raw() {
    let world = World::new();
    let evil = "\u{1b}[31m\u{1b}]0;owned\u{7}\u{9b}2J\u{202e}\u{2066}\r\u{8}\u{7f}";
    world.qrm(["submit", "--hold", "--", evil, evil, "line\nbreak"]).ok();
    world.qrm(["submit", "--validate", &format!("echo '{evil}'; exit 1"), "--chdir", ".", "--", evil]).ok();
    world.qrm(["submit", "--", evil]).ok();
    world.run("wait 2 3");
    let raw = |text: &str| text.chars().any(|c| c.is_control() && c != '\n' || "\u{202e}\u{2066}".contains(c));
    for line in
        ["jobs", "show 1", "show 2", "show 3", "status", "events", "wait 3", "cancel 1", "--json jobs", "doctor"]
    {
        let said = world.run(line);
        assert!(!raw(&said.out) && !raw(&said.err), "{line}: {said:?}");
    }
    let said = world.qrm(["run", "--", evil]);
    assert!(said.code == 127 && !raw(&said.err), "{said:?}");
    assert!(world.run("show 1").ok().contains("line·break"));
    assert_eq!(world.show("1")["command"][0], evil);
    let said = world.qrm(["jobs", &format!("name={evil}\u{1b}=")]);
    assert!(!raw(&said.out) && !raw(&said.err), "{said:?}");
    for option in ["--name", "--comment", "--key"] {
        assert_eq!(world.qrm(["submit", option, evil, "--", "true"]).code, 2);
    }
    let mut log = String::new();
    std::fs::File::open(world.state().join("qrmd.log")).unwrap().read_to_string(&mut log).unwrap();
    assert!(!raw(&log), "{log}");
}

#[test]
fn a_terminal_gets_lines_that_fit_and_colours_unless_they_are_unwanted() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    world.qrm(["submit", "--name", &"long-".repeat(40), "--mem", "64M", "--", "sh", "-c", &gate.wait()]).ok();
    world.submit("--array 0-999999:3%7 --hold", "true");
    world.submit("", "exit 3");
    world.run("wait 3");
    for (verb, columns) in [("jobs", 80), ("status", 80), ("jobs", 60), ("jobs", 132)] {
        for no_colour in ["", "1"] {
            let mut command = world.program("qrm");
            command.arg(verb).env("NO_COLOR", no_colour).env("TERM", "xterm");
            let shown = on_terminal(command, columns);
            let plain = plain(&shown);
            assert_eq!(shown.contains('\u{1b}'), no_colour.is_empty(), "{shown:?}");
            for line in plain.lines() {
                assert!(line.trim_end().chars().count() <= columns.into(), "{columns}: {line}\n{plain}");
            }
            assert!(verb == "status" && plain.lines().count() < 25 || plain.lines().count() == 4, "{plain}");
        }
    }
    // In a pipe nothing is cut, and nothing is coloured.
    let piped = world.run("jobs").ok();
    assert!(piped.contains(&"long-".repeat(12)) && !piped.contains('\u{1b}'), "{piped}");
    let mut submit = world.program("qrm");
    submit.args(["submit", "--hold", "--", "true"]);
    assert!(plain(&on_terminal(submit, 80)).contains("job 4 submitted (queued)"));
    gate.open(1);
}

/// Without the sequences of colours.
fn plain(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[test]
fn an_empty_queue_says_what_to_do_and_json_is_an_empty_list() {
    let world = World::new();
    let said = world.run("jobs");
    assert_eq!((said.code, said.out.as_str()), (0, ""));
    assert!(said.err.contains("qrm submit -- COMMAND"), "{said:?}");
    assert_eq!(world.run("--json jobs").json(), json!([]));
    assert_eq!(world.run("--quiet jobs").err, "");
    let status = world.run("--json status").json();
    assert_eq!((&status["jobs"], &status["running"]), (&json!({}), &json!([])));
    world.submit("--hold", "true");
    let said = world.run("jobs name=x");
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", "no job matches\n"));
}

#[test]
fn status_of_a_job_is_what_show_shows() {
    let world = World::new();
    let id = world.submit("--name seen --array 4-5", "exit 3");
    world.ended(&id);
    for id in ["1", "1.4", "77"] {
        for json in ["", " --json"] {
            let (status, show) = (world.run(&format!("status {id}{json}")), world.run(&format!("show {id}{json}")));
            assert_eq!((status.out, status.err), (show.out, show.err), "{id}{json}");
            assert_eq!((status.code, status.code == 0), (show.code, id.starts_with('1')), "{id}{json}");
        }
    }
}
