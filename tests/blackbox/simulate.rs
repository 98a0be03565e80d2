//! Logs that are replayed: what is said of schedules that are worked out by hand, and of files that are no logs.

use crate::world::{Said, World};
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;

/// A line of a log: number, submit, run, processors, requested time, memory of each in kilobytes, user; times in seconds.
fn line([number, submit, run, processors, requested, memory, user]: [i64; 7]) -> String {
    format!("{number} {submit} -1 {run} {processors} -1 -1 {processors} {requested} {memory} 1 {user} 1 1 1 1 -1 -1\n")
}

/// On four cpus the second waits for all of them, and the third fits before it.
fn log() -> String {
    let lines = [[1, 100, 40, 3, 40, 10, 7], [2, 110, 30, 4, 60, 10, 8], [3, 120, 10, 1, 20, 10, 8]];
    let too_large = line([4, 130, 10, 5, 20, 10, 9]);
    let never = line([5, 130, -1, 1, 20, 10, 9]);
    format!("; Version: 2.2\n\n{}{too_large}{never}", lines.map(line).concat())
}

fn simulate(world: &World, args: &str) -> Said {
    let mut command = world.program("qrmd");
    Said::of(command.arg("simulate").args(args.split_whitespace()).output().unwrap())
}

fn replayed(world: &World, args: &str) -> Value {
    let said = simulate(world, &format!("--trace log.swf --cpus 4 --json {args}"));
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    said.json()
}

#[test]
fn schedules_that_are_worked_out_by_hand_are_what_is_said() {
    let world = World::new();
    std::fs::write(world.dir().join("log.swf"), log()).unwrap();
    // From the first submit on: the first at 0 to 40, the second at 40 to 70, the third behind it or at 20 to 30.
    for (policy, waits, makespan, slowdown) in [
        ("fifo", [0, 30, 50], 80_000, (1.0 + 2.0 + 6.0) / 3.0),
        ("easy", [0, 30, 0], 70_000, (1.0 + 2.0 + 1.0) / 3.0),
        ("qrm", [0, 30, 0], 70_000, (1.0 + 2.0 + 1.0) / 3.0),
        ("naive", [0, 30, 0], 70_000, (1.0 + 2.0 + 1.0) / 3.0),
    ] {
        let report = replayed(&world, &format!("--policy {policy}"));
        let longest = waits.iter().max().unwrap() * 1000;
        let mean = (f64::from(waits.iter().sum::<i32>()) * 1000.0 / 3.0).round() as u64;
        assert_eq!(report["wait_ms"], json!({"mean": mean, "p95": longest, "max": longest}), "{policy}");
        assert_eq!(report["makespan_ms"], makespan, "{policy}");
        assert!((report["bounded_slowdown"]["mean"].as_f64().unwrap() - slowdown).abs() < 1e-9, "{report}");
        let busy = f64::from(40 * 3 + 30 * 4 + 10) / (4.0 * f64::from(makespan) / 1000.0);
        assert!((report["utilisation"].as_f64().unwrap() - busy).abs() < 1e-9, "{report}");
        assert_eq!(report["dropped"], json!({"too_large": 1, "never_ran": 1, "parts": 0}));
        assert_eq!((&report["policy"], &report["jobs"], &report["users"]), (&json!(policy), &json!(3), &json!(2)));
    }
    // The user of the second and the third waits for longer than all do.
    let unfair = &replayed(&world, "--policy fifo")["largest_wait_over_fair_share"];
    assert_eq!((unfair["user"].as_u64(), unfair["ratio"].as_f64()), (Some(8), Some(1.5)));
    let text = simulate(&world, "--trace log.swf --cpus 4 --policy qrm --fair-share off").ok();
    for part in [
        "qrm without fair share: 3 jobs on 4 cpus\n",
        "1 dropped: larger than the machine",
        "1 dropped: never ran",
        "wait            mean 10s, p95 30s, longest 30s\n",
        "unfairness      1.50: the mean wait of user 8 over that of all\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!world.state().exists(), "a daemon was here");
}

#[test]
fn a_log_comes_from_standard_input_with_the_load_and_memory_that_are_wanted() {
    let world = World::new();
    let mut command = world.program("qrmd");
    // 3 × 40 s and 4 × 30 s and 1 × 10 s, in 20 s on four cpus: 3.125. Beside the first there is a cpu, and memory, for the third.
    command.args("simulate --trace - --cpus 4 --policy easy --json --load 6.25 --memory 45K".split_whitespace());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // But not if that asks for 20 KB.
    let log = log().replace(&line([3, 120, 10, 1, 20, 10, 8]), &line([3, 120, 10, 1, 20, 20, 8]));
    child.stdin.take().unwrap().write_all(log.as_bytes()).unwrap();
    let report = Said::of(child.wait_with_output().unwrap()).json();
    assert_eq!((report["log_load"].as_f64(), report["stretched"].as_f64()), (Some(3.125), Some(0.5)));
    assert_eq!(report["memory_bytes"], 45 * 1024);
    // They come at 5 s and 10 s instead of 10 s and 20 s, and start at 40 s and 70 s.
    assert_eq!(report["wait_ms"], json!({"mean": 31_667, "p95": 60_000, "max": 60_000}));
}

#[test]
fn a_schedule_is_drawn_without_a_script() {
    let world = World::new();
    std::fs::write(world.dir().join("log.swf"), log()).unwrap();
    replayed(&world, "--policy easy --svg drawn.svg");
    let drawn = std::fs::read_to_string(world.dir().join("drawn.svg")).unwrap();
    assert!(drawn.starts_with("<svg xmlns=") && drawn.ends_with("</svg>\n") && !drawn.contains("script"), "{drawn}");
    assert!(drawn.contains("easy: 3 jobs on 4 cpus</title>"), "{drawn}");
    assert!(drawn.contains("job 3, user 8, 1 cpus: waited 0ms, ran 10s"), "{drawn}");
}

#[test]
fn what_can_not_be_replayed_is_refused_by_name() {
    let world = World::new();
    let put = |name: &str, bytes: &[u8]| std::fs::write(world.dir().join(name), bytes).unwrap();
    put("log.swf", log().as_bytes());
    put("short.swf", b"; a comment\n1 2 3\n");
    put("words.swf", log().replace(" 40 3 ", " 40s 3 ").as_bytes());
    put("packed.swf.gz", &[0x1f, 0x8b, 8, 0]);
    put("empty.swf", b"");
    for (args, code, says) in [
        ("--trace short.swf --cpus 4 --policy easy", 2, "short.swf: line 2 has 3 fields; a job has 18"),
        ("--trace words.swf --cpus 4 --policy easy", 2, "words.swf: line 3, field 4 (run time): '40s' is no number"),
        ("--trace packed.swf.gz --cpus 4 --policy easy", 2, "hint: gunzip -c packed.swf.gz | qrmd simulate --trace -"),
        ("--trace empty.swf --cpus 4 --policy easy", 2, "the log has no jobs"),
        ("--trace nowhere.swf --cpus 4 --policy easy", 2, "nowhere.swf: No such file"),
        ("--trace . --cpus 4 --policy easy", 2, "line 1: Is a directory"),
        ("--trace log.swf --cpus 4 --policy easy --svg nowhere/drawn.svg", 2, "nowhere/drawn.svg: No such file"),
        ("--trace log.swf --cpus 0 --policy easy", 2, "0 is not in 1..=1000000"),
        ("--trace log.swf --cpus 4 --policy best", 2, "[possible values: fifo, easy, qrm, naive]"),
        ("--trace log.swf --cpus 4 --policy easy --load 0", 2, "a load is from 0.001 to 1000"),
        ("--trace log.swf --cpus 4 --policy easy --memory 0", 2, "leave --memory out"),
        ("--trace log.swf --cpus 4 --policy easy --fair-share on", 2, "--fair-share is for --policy qrm"),
        ("--trace log.swf --cpus 4 --policy fifo --planned-starts 1", 2, "--planned-starts is for --policy qrm"),
        ("--cpus 4 --policy easy", 2, "--trace <FILE>"),
    ] {
        let said = simulate(&world, args);
        assert!(said.code == code && said.err.contains(says), "{args}: {says}: {said:?}");
    }
    let said = simulate(&world, "--trace log.swf --cpus 4 --policy easy --svg -");
    assert!(
        said.code == 2 && said.err.contains("--svg writes to a file") && !world.dir().join("-").exists(),
        "{said:?}"
    );
    let said = simulate(&world, "--trace nowhere.swf --cpus 4 --policy easy --json");
    let error = &said.json()["error"];
    assert_eq!((said.code, &error["code"], said.err.as_str()), (2, &json!("NOT_FOUND"), ""), "{said:?}");
    assert!(error["message"].as_str().unwrap().starts_with("nowhere.swf: No such file"), "{error}");
    let both = world.program("qrmd").args(["--system", "simulate", "--cpus", "4"]).output().unwrap();
    assert_eq!(Said::of(both).code, 2);
}
