//! Output for programs: pieces on the wire, from any byte on, to the job's end, and nothing but the job's own output.
//! It refuses to look at how the pieces are cut.

use crate::hands::{Gate, Wire};
use crate::world::World;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::PathBuf;

/// All pieces until the end, joined, with their places checked; and the end.
fn all(wire: &mut Wire, mut at: u64) -> (Vec<u8>, Value) {
    let mut bytes = Vec::new();
    loop {
        let frame = wire.hear().expect("an end of the log");
        let params = frame["params"].clone();
        assert_eq!(params["at_bytes"], at, "{frame}");
        if frame["method"] == "log.end" {
            return (bytes, params);
        }
        assert_eq!(frame["method"], "log");
        let piece = piece(&params["text"]);
        assert!(!piece.is_empty());
        at += piece.len() as u64;
        bytes.extend(piece);
    }
}

fn piece(text: &Value) -> Vec<u8> {
    match text {
        Value::String(text) => text.clone().into_bytes(),
        other => {
            let hex = other["hex"].as_str().unwrap();
            let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            (0..hex.len()).step_by(2).map(byte).collect()
        }
    }
}

fn read(wire: &mut Wire, params: &Value) -> (Vec<u8>, Value) {
    let reply = wire.call("log.subscribe", params);
    all(wire, reply["after_bytes"].as_u64().unwrap())
}

fn dir(world: &World, id: &str) -> PathBuf {
    world.show(id)["dir"].as_str().unwrap().into()
}

#[test]
fn each_stream_is_read_from_any_byte_on_and_every_byte_survives() {
    let world = World::new();
    let id = world.submit("", r"printf 'a\0b\377\nz\305\276'; echo oops >&2");
    let done = world.ended(&id);
    assert_eq!(done["state"], "completed");
    let whole = b"a\0b\xff\nz\xc5\xbe";
    let mut wire = Wire::new(&world);
    for after in 0..=whole.len() {
        let (bytes, end) = read(&mut wire, &json!({"id": id, "after_bytes": after}));
        assert_eq!(bytes, whole[after..], "{after}");
        assert_eq!((end["at_bytes"].as_u64(), end["ended"].as_bool()), (Some(8), Some(true)));
    }
    assert_eq!(read(&mut wire, &json!({"id": id, "stream": "stderr", "follow": true})).0, b"oops\n");
    let quiet = world.submit("", "true");
    world.ended(&quiet);
    assert_eq!(read(&mut wire, &json!({"id": quiet, "follow": true})).0, b"");
}

#[test]
fn who_follows_from_before_the_start_has_all_of_it_and_is_told_of_the_end() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let id =
        world.submit("--hold", &format!("echo one; {}; printf '\\305'; {}; printf '\\276'", gate.wait(), gate.wait()));
    let mut wire = Wire::new(&world);
    let reply = wire.call("log.subscribe", &json!({"id": id, "follow": true}));
    assert_eq!((reply["size_bytes"].as_u64(), reply["stream"].as_str()), (Some(0), Some("stdout")));
    world.run(&format!("release {id}")).ok();
    assert_eq!(wire.hear().unwrap()["params"]["text"], "one\n");
    gate.open(1);
    gate.open(1);
    // The two halves of a character come as one, or the end would have sent the first of them as bytes.
    let (bytes, end) = all(&mut wire, 4);
    assert_eq!((bytes.as_slice(), end["ended"].as_bool()), ("ž".as_bytes(), Some(true)));
    // The connection is as good as before, and what is not followed ends while the job goes on.
    let said = Gate::new(&world, "said");
    let running = world.submit("", &format!("echo three; {}; {}", said.tell(), gate.wait()));
    said.heard();
    let (bytes, end) = read(&mut wire, &json!({"id": running}));
    assert_eq!((bytes.as_slice(), end["ended"].as_bool()), (&b"three\n"[..], Some(false)));
    // A follower that speaks follows no more.
    wire.call("log.subscribe", &json!({"id": running, "follow": true, "after_bytes": 6}));
    wire.ask("status", &json!({}));
    assert_eq!(wire.hear(), None);
}

#[test]
fn a_task_that_never_ran_has_an_end_and_what_has_no_output_here_is_refused() {
    let world = World::new();
    let id = world.submit("--hold --array 0-3", "echo $QRM_ARRAY_INDEX");
    let mut wire = Wire::new(&world);
    wire.call("log.subscribe", &json!({"id": format!("{id}.2"), "follow": true}));
    world.run(&format!("cancel {id}")).ok();
    assert_eq!(all(&mut wire, 0).0, b"");
    let (code, why) = wire.refused("log.subscribe", &json!({"id": id}));
    assert!(code == "FAILED_PRECONDITION" && why.contains("each of its tasks"), "{code} {why}");
    // What goes elsewhere is not sent, and where it goes is said.
    let out = world.dir().join("out.txt").display().to_string();
    let id = world.submit(&format!("--stdout {out}"), "echo elsewhere; echo here >&2");
    world.ended(&id);
    let (code, why) = wire.refused("log.subscribe", &json!({"id": id}));
    assert!(code == "FAILED_PRECONDITION" && why.contains(&format!("writes its stdout to {out}")), "{code} {why}");
    assert_eq!(read(&mut wire, &json!({"id": id, "stream": "stderr"})).0, b"here\n");
}

#[test]
fn what_a_job_says_before_its_command_runs_is_heard_then() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let (first, gate) = (Gate::new(&world, "first"), Gate::new(&world, "gate"));
    let before = world.submit("", &first.wait());
    world.executing(&before);
    let validate = format!("echo valid; {}", gate.wait());
    let said = world.qrm(["submit", "--validate", &validate, "--", "echo", "done"]);
    let id = said.ok().trim().to_owned();
    let mut wire = Wire::new(&world);
    wire.call("log.subscribe", &json!({"id": id, "follow": true}));
    first.open(1);
    assert_eq!(wire.hear().unwrap()["params"]["text"], "valid\n");
    gate.open(1);
    assert_eq!(all(&mut wire, 6).0, b"done\n");
}

#[test]
fn a_job_that_empties_its_output_is_read_from_there() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let id = world.submit("", &format!("echo a long line; {}; : >$QRM_JOB_DIR/stdout; echo new", gate.wait()));
    world.executing(&id);
    let mut wire = Wire::new(&world);
    wire.call("log.subscribe", &json!({"id": id, "follow": true}));
    assert_eq!(wire.hear().unwrap()["params"]["text"], "a long line\n");
    gate.open(1);
    let piece = wire.hear().unwrap()["params"].clone();
    assert_eq!((piece["text"].as_str(), piece["at_bytes"].as_u64()), (Some("new\n"), Some(0)));
    assert_eq!(wire.hear().unwrap()["method"], "log.end");
}

#[test]
fn what_a_job_puts_in_the_place_of_its_output_is_not_followed() {
    let world = World::new();
    std::fs::write(world.dir().join("secret"), "secret").unwrap();
    let secret = world.dir().join("secret").display().to_string();
    for put in ["ln -s SECRET stdout", "mkfifo stdout", "mkdir stdout"] {
        let id = world.submit("", &format!("cd $QRM_JOB_DIR && rm stdout && {}", put.replace("SECRET", &secret)));
        assert_eq!(world.ended(&id)["state"], "completed", "{put}");
        for follow in [false, true] {
            let (code, why) = Wire::new(&world).refused("log.subscribe", &json!({"id": id, "follow": follow}));
            let path = dir(&world, &id).join("stdout");
            assert!(code == "FAILED_PRECONDITION" && why.contains(path.to_str().unwrap()), "{put}: {code} {why}");
        }
    }
    // Neither is a link in the place of its whole directory.
    let id = world.submit("", "echo mine");
    world.ended(&id);
    let own = dir(&world, &id);
    std::fs::rename(&own, world.dir().join("moved")).unwrap();
    std::os::unix::fs::symlink(world.dir().join("moved"), &own).unwrap();
    assert_eq!(Wire::new(&world).refused("log.subscribe", &json!({"id": id})).0, "FAILED_PRECONDITION");
}

#[test]
fn what_can_not_be_meant_is_refused_by_name() {
    let world = World::new();
    let id = world.submit("", "echo four");
    world.ended(&id);
    let mut wire = Wire::new(&world);
    for (params, code, says) in [
        (json!({"id": "77"}), "NOT_FOUND", "no job 77"),
        (json!({"id": id, "after_bytes": 6}), "INVALID_ARGUMENT", "6 bytes were not written yet; there are 5"),
        (json!({"id": id, "after_bytes": u64::MAX, "follow": true}), "INVALID_ARGUMENT", "were not written"),
        (json!({"id": id, "after_bytes": -1}), "INVALID_ARGUMENT", "expected u64"),
        (json!({"id": id, "stream": "stdin"}), "INVALID_ARGUMENT", "unknown variant `stdin`"),
        (json!({"id": id, "tail": 3}), "INVALID_ARGUMENT", "unknown field `tail`"),
        (json!({}), "INVALID_ARGUMENT", "missing field `id`"),
    ] {
        let (is, why) = wire.refused("log.subscribe", &params);
        assert!(is == code && why.contains(says), "{params}: {is} {why}");
    }
}

#[test]
fn a_slow_reader_of_a_flood_slows_only_itself_and_loses_nothing() {
    const LINES: u64 = 400_000;
    let world = World::new();
    let id = world.submit("", &format!("seq {LINES}"));
    let mut slow = Wire::new(&world);
    let reply = slow.call("log.subscribe", &json!({"id": id, "follow": true}));
    // Others are served, and the job ends, while nobody reads.
    for _ in 0..5 {
        assert_eq!(world.run("run -- true").code, 0);
    }
    assert_eq!(world.ended(&id)["state"], "completed");
    let (bytes, _) = all(&mut slow, reply["after_bytes"].as_u64().unwrap());
    let wanted: String = (1..=LINES).map(|n| format!("{n}\n")).collect();
    assert!(bytes == wanted.as_bytes(), "{} of {} bytes", bytes.len(), wanted.len());
}

#[test]
fn many_followers_share_one_watch_and_leave_none_behind() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let id = world.submit("", &format!("echo begins; {}; echo ends", gate.wait()));
    world.executing(&id);
    let mut all_of_them: Vec<Wire> = (0..300).map(|_| Wire::new(&world)).collect();
    for wire in &mut all_of_them {
        wire.call("log.subscribe", &json!({"id": id, "follow": true}));
        assert_eq!(wire.hear().unwrap()["params"]["text"], "begins\n");
    }
    let watches = || {
        let folder = format!("/proc/{}/fdinfo", world.daemon().unwrap());
        let files = std::fs::read_dir(folder).unwrap().filter_map(|e| std::fs::read_to_string(e.unwrap().path()).ok());
        files.map(|text| text.matches("inotify wd:").count()).sum::<usize>()
    };
    assert_eq!(watches(), 1);
    // Half of them go; the others hear the rest.
    all_of_them.truncate(150);
    gate.open(1);
    for wire in &mut all_of_them {
        assert_eq!(all(wire, 7).0, b"ends\n");
    }
    drop(all_of_them);
    assert_eq!(watches(), 0);
}

#[test]
fn a_follower_of_a_daemon_that_ends_is_let_go_and_goes_on_where_it_was() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let id = world.submit("", &format!("echo one; {}; echo two", gate.wait()));
    world.executing(&id);
    let mut wire = Wire::new(&world);
    wire.call("log.subscribe", &json!({"id": id, "follow": true}));
    assert_eq!(wire.hear().unwrap()["params"]["text"], "one\n");
    let pid = rustix::process::Pid::from_raw(world.daemon().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    assert_eq!(wire.hear(), None);
    gate.open(1);
    world.ended(&id);
    assert_eq!(read(&mut Wire::new(&world), &json!({"id": id, "after_bytes": 4})).0, b"two\n");
}
