//! Where a job reads from, writes to, and what it leaves: streams in files, results, outputs, progress and traces.
//! What is expected of a file is read from that file.

use crate::hands::Gate;
use crate::world::World;
use serde_json::json;

#[test]
fn streams_go_where_they_are_sent() {
    let world = World::new();
    std::fs::write(world.dir().join("in"), "from a file\n").unwrap();
    std::fs::write(world.dir().join("null"), "a file of that name\n").unwrap();
    for (options, out, err, file, holds) in [
        ("--stdout out-%j-%n", "out-1-sh", "stderr", "out-1-sh", "out\n"),
        ("--name a/b --stdout %n.%u%%", "a_b.%USER%%", "stderr", "a_b.%USER%%", "out\n"),
        ("--stderr errors", "stdout", "errors", "errors", "err\n"),
        ("--stdout both --stderr both", "both", "both", "both", "out\nerr\n"),
        ("--stdout /dev/null", "/dev/null", "stderr", "in", "from a file\n"),
    ] {
        let id = world.submit(options, "echo out; echo err >&2");
        let job = world.ended(&id);
        assert_eq!(job["exit_code"], 0, "{options}: {job}");
        let user = job["user"].as_str().unwrap();
        let name = |name: &str| name.replace("%USER%", user).replace("out-1-", &format!("out-{id}-"));
        for (key, wanted) in [("stdout", out), ("stderr", err)] {
            let path = world.dir().join(name(wanted)).display().to_string();
            let wanted = if wanted == key { json!(null) } else { json!(path) };
            assert_eq!(job[key], wanted, "{options}");
        }
        assert_eq!(std::fs::read_to_string(world.dir().join(name(file))).unwrap(), holds, "{options}");
    }
    // A second job, and a second attempt, append.
    let id = world.submit("--stdout both --retries 1 --backoff 1ms", "echo attempt $QRM_ATTEMPT; exit 1");
    world.ended(&id);
    let both = std::fs::read_to_string(world.dir().join("both")).unwrap();
    assert_eq!(both, "out\nerr\nattempt 1\nattempt 2\n");
    for (stdin, holds) in [("in", "from a file\n"), ("./null", "a file of that name\n"), ("/dev/null", "")] {
        let id = world.submit(&format!("--stdin {stdin}"), "cat");
        world.ended(&id);
        assert_eq!(world.run(&format!("logs {id}")).ok(), holds);
    }
    let id = world.submit("--array 0-2 --stdout task-%a-of-%j", "echo $QRM_ARRAY_INDEX");
    world.ended(&id);
    for task in 0..3 {
        let text = std::fs::read_to_string(world.dir().join(format!("task-{task}-of-{id}"))).unwrap();
        assert_eq!(text, format!("{task}\n"));
    }
}

#[test]
fn a_stream_that_can_not_be_opened_is_named() {
    let world = World::new();
    for (options, says) in [
        ("--stdin /no/such", "cannot open its standard input /no/such: No such file"),
        ("--stdout /no/such", "cannot open its standard output /no/such: No such file"),
        ("--stderr %j/x", "cannot open its standard error"),
        ("--stdout /", "cannot open its standard output /: Is a directory"),
    ] {
        let id = world.submit(options, "true");
        let job = world.ended(&id);
        assert_eq!((job["state"].as_str(), job["exit_code"].as_i64()), (Some("failed"), Some(126)), "{options}");
        assert!(job["failure"]["message"].as_str().unwrap().contains(says), "{options}: {job}");
    }
}

#[test]
fn what_a_job_leaves_is_listed_with_size_and_hash() {
    let world = World::new();
    let script = "mkdir -p out/deep; printf 1,2 > out/a.csv; printf x > out/deep/b.csv; printf '' > none.txt;
        ln -s a.csv out/link.csv; mkfifo out/fifo.csv; printf h > .hidden.csv;
        printf '{\"score\": 0.5}' > $QRM_JOB_DIR/results.json; exit $1";
    let submit = |code: &str| {
        let args = ["submit", "--output", "out/**/*.csv", "--output", "*.txt", "--", "sh", "-c", script, "sh", code];
        world.qrm(args).ok().trim().to_owned()
    };
    let id = submit("0");
    assert_eq!(world.ended(&id)["state"], "completed");
    let file = |path: &str, size: u64, sha256: &str| json!({"path": path, "size_bytes": size, "sha256": sha256});
    // As sha256sum(1) says.
    let outputs = json!([
        file("none.txt", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        file("out/a.csv", 3, "fcf9f7f82bd5bfcc0e8e94a57d2e0eb6fb14d4b5b3d7fba7bd7ac7bb7f2e4da7"),
        file("out/deep/b.csv", 1, "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"),
    ]);
    let said = world.run(&format!("--json results {id}")).json();
    let names = |value: &serde_json::Value| {
        let files = value.as_array().unwrap().iter().map(|file| (file["path"].clone(), file["size_bytes"].clone()));
        files.collect::<Vec<_>>()
    };
    assert_eq!(names(&said["outputs"]), names(&outputs));
    for at in [0, 2] {
        assert_eq!(said["outputs"][at], outputs[at]);
    }
    assert_eq!(said["results"], json!({"score": 0.5}));
    assert!(world.run(&format!("results {id}")).ok().starts_with("{\"score\": 0.5}\n"));
    let manifest = std::fs::read(std::path::Path::new(world.show(&id)["dir"].as_str().unwrap()).join("meta.json"));
    let manifest: serde_json::Value = serde_json::from_slice(&manifest.unwrap()).unwrap();
    assert_eq!(
        (&manifest["job"], &manifest["attempt"], &manifest["outputs"]),
        (&json!(id), &json!(1), &said["outputs"])
    );
    // Also of one that failed; and it is forgotten with its job.
    std::fs::remove_dir_all(world.dir().join("out")).unwrap();
    let failed = submit("3");
    let job = world.ended(&failed);
    assert_eq!((job["state"].as_str(), job["exit_code"].as_i64()), (Some("failed"), Some(3)));
    assert_eq!(names(&world.run(&format!("--json results {failed}")).json()["outputs"]), names(&outputs));
    let dir = std::path::PathBuf::from(job["dir"].as_str().unwrap());
    world.run("cleanup --keep-last 0").ok();
    assert!(!dir.exists(), "{}", dir.display());
}

#[test]
fn a_job_whose_list_can_not_be_written_has_not_completed() {
    let world = World::new();
    let id = world.submit("--output *", "mkdir $QRM_JOB_DIR/meta.json $QRM_JOB_DIR/meta.json/x");
    let job = world.ended(&id);
    assert_eq!(job["failure"]["kind"], "PersistError", "{job}");
    assert!(world.run(&format!("logs {id}")).err.contains("meta.json"));
    // What the command itself ended with is the better reason.
    let id = world.submit("--output *", "mkdir -p $QRM_JOB_DIR/meta.json/x; exit 7");
    assert_eq!(world.ended(&id)["failure"]["message"], "it exited with code 7");
}

#[test]
fn results_that_are_not_there_are_said_to_be_missing() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    world.submit("", "true");
    world.submit("", "printf '{' > $QRM_JOB_DIR/results.json");
    world.submit("--array 0-1", "true");
    world.submit("", "ln -s /etc/passwd $QRM_JOB_DIR/results.json");
    for id in ["1", "2", "3", "4"] {
        world.ended(id);
    }
    world.submit("", &gate.wait());
    world.executing("5");
    for (line, code, says) in [
        ("results 1", 2, "job 1 left no results"),
        ("results 2", 0, ""),
        ("results 2 --json", 2, "results.json is not what it should be"),
        ("results 3", 2, "job 3 is an array"),
        ("results 4", 4, "results.json can not be read"),
        ("results 5", 2, "job 5 has no results yet"),
        ("results 6", 2, "there is no job 6"),
    ] {
        let said = world.run(line);
        assert_eq!(said.code, code, "{line}: {said:?}");
        assert!(said.err.contains(says) || said.out.contains(says), "{line}: {said:?}");
    }
    gate.open(1);
    world.ended("5");
}

#[test]
fn a_job_says_how_far_it_is() {
    let mut world = World::new();
    let qrm = world.program("qrm").get_program().to_str().unwrap().to_owned();
    let gate = Gate::new(&world, "gate");
    let script = format!("{qrm} progress 40% 'epoch 4'; {}; {qrm} progress 1; {}; exit 1", gate.wait(), gate.wait());
    let id = world.submit("--retries 1 --backoff 1ms", &script);
    let said = |world: &World, wanted: &str| {
        let mut events = world.spawn("--json events -f --after 0 --job 1");
        let lines = std::io::BufRead::lines(std::io::BufReader::new(events.stdout.take().unwrap()));
        assert!(lines.map_while(Result::ok).any(|line| line.contains("job.progress") && line.contains(wanted)));
        events.kill().unwrap();
        events.wait().unwrap();
    };
    said(&world, "0.4");
    let told = json!({"fraction": 0.4, "message": "epoch 4"});
    assert_eq!(world.show(&id)["progress"], told);
    assert!(world.run("jobs").ok().contains("40%, epoch 4"));
    world.kill_daemon();
    assert_eq!(world.show(&id)["progress"], told, "it is kept");
    let document = world.run(&format!("--json progress 40% --job {id}")).json();
    assert_eq!(document, json!({"id": id, "fraction": 0.4, "message": null}));
    gate.open(1);
    said(&world, "1.0");
    gate.open(1);
    // The second attempt begins anew.
    gate.open(2);
    let job = world.ended(&id);
    assert_eq!((&job["attempt"], &job["progress"]), (&json!(2), &json!({"fraction": 1.0, "message": null})));
    for (line, says) in [
        ("progress 0.5", "this is not inside a job"),
        ("progress 0.5 --job 1", "job 1 has ended"),
        ("progress 0.5 --job 4711", "there is no job 4711"),
        ("progress 2 --job 1", "is not how much is done"),
        ("progress half", "is not how much is done"),
    ] {
        let said = world.run(line);
        assert!(said.code == 2 && said.err.contains(says), "{line}: {said:?}");
    }
    world.set("QRM_JOB_ID", "what");
    assert!(world.run("progress 0.5").err.contains("QRM_JOB_ID"));
    world.unset("QRM_JOB_ID");
    let held = world.submit("--hold", "true");
    let said = world.qrm(["progress", "0.5", "--job", &held]);
    assert!(said.code == 2 && said.err.contains("is not executing"), "{said:?}");
}

#[test]
fn a_trace_has_a_span_for_each_stage_and_a_job_finds_its_own() {
    let mut world = World::new();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    world.set("TRACEPARENT", parent);
    let id = world.submit("--validate true --retries 1 --backoff 100ms", "echo $TRACEPARENT; exit 1");
    world.ended(&id);
    let trace = world.run(&format!("--json trace {id}")).json();
    assert_eq!(trace["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!((&trace["parent_id"], &trace["incomplete"]), (&json!("00f067aa0ba902b7"), &json!(false)));
    let spans = trace["spans"].as_array().unwrap();
    let stages: Vec<(&str, u64)> =
        spans.iter().map(|s| (s["stage"].as_str().unwrap(), s["attempt"].as_u64().unwrap_or(0))).collect();
    let all =
        [("validating", 0), ("allocating", 1), ("executing", 1), ("queued", 0), ("allocating", 2), ("executing", 2)];
    let stages: Vec<_> = stages.into_iter().filter(|stage| stage.0 != "pending").collect();
    assert!(stages.iter().filter(|s| s.0 != "queued").eq(all.iter().filter(|s| s.0 != "queued")), "{trace}");
    assert!(stages.contains(&("queued", 0)), "{trace}");
    for pair in spans.windows(2) {
        assert!(pair[0]["ended_at"].as_str() <= pair[1]["started_at"].as_str(), "{trace}");
    }
    assert!(spans.last().unwrap()["outcome"].as_str().unwrap().contains("exited with code 1"), "{trace}");
    let own: Vec<&str> =
        spans.iter().filter(|s| s["stage"] == "executing").map(|s| s["span_id"].as_str().unwrap()).collect();
    let logs = world.run(&format!("logs {id}")).ok();
    let wanted: String = own.iter().map(|s| format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{s}-01\n")).collect();
    assert_eq!(logs, wanted);
    // One of its own where none was given; what its events do not say any more, its row does.
    world.unset("TRACEPARENT");
    let id = world.submit("", "echo $TRACEPARENT");
    world.ended(&id);
    let trace = world.run(&format!("--json trace {id}")).json();
    assert_ne!(trace["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert!(world.run(&format!("logs {id}")).ok().contains(trace["trace_id"].as_str().unwrap()));
    assert!(world.run(&format!("trace {id}")).ok().contains("executing"));
    world.run("daemon stop").ok();
    let db = rusqlite::Connection::open(world.state().join("qrm.sqlite")).unwrap();
    db.execute("DELETE FROM event WHERE seq < (SELECT max(seq) FROM event)", []).unwrap();
    drop(db);
    let later = world.run(&format!("--json trace {id}"));
    // Without its events a store is damaged, and is not read as if they had never been.
    assert!(later.code == 4 && later.out.contains("is damaged: events 1 to "), "{later:?}");
}
