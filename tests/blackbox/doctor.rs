//! The runbook: what is broken is found, with what mends it, also where no daemon can start.

use crate::world::{Said, World};
use qrm_protocol::method::{DoctorReply, Finding, Health};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What the doctor says of a topic, and its exit code.
#[track_caller]
fn examined(said: &Said, topic: &str) -> (Option<Finding>, i32) {
    let reply: DoctorReply = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:?}"));
    (reply.findings.into_iter().find(|finding| finding.topic == topic), said.code)
}

/// What is done to a world, the topic that tells it, how it is, a part of what was found, what mends it, the exit code.
type Case = (fn(&World), &'static str, Health, &'static str, &'static str, i32);

fn configuration(world: &World) -> std::path::PathBuf {
    let dir = world.dir().join("config/qrm");
    std::fs::create_dir_all(&dir).unwrap();
    dir.join("config.toml")
}

/// A state that a daemon has used and left.
fn used(world: &World) {
    world.ended(&world.submit("", "true"));
    world.run("daemon stop").ok();
}

fn of_a_later_release(world: &World) {
    used(world);
    let db = rusqlite::Connection::open(world.state().join("qrm.sqlite")).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
}

const CASES: &[Case] = &[
    (|_| (), "programs", Health::Ok, concat!("qrmd ", env!("CARGO_PKG_VERSION")), "", 0),
    (|_| (), "daemon", Health::Ok, concat!("qrmd ", env!("CARGO_PKG_VERSION"), " answers"), "", 0),
    (|_| (), "state", Health::Ok, "yours alone", "", 0),
    (|_| (), "configuration", Health::Ok, "no file", "", 0),
    (|_| (), "store", Health::Ok, "durability full", "", 0),
    (|_| (), "disk", Health::Ok, "free for", "", 0),
    (
        |world| {
            world.run("daemon start").ok();
            std::fs::set_permissions(world.state(), PermissionsExt::from_mode(0o755)).unwrap();
        },
        "state",
        Health::Broken,
        "has mode 0755",
        "chmod 700 ",
        1,
    ),
    (
        |world| std::fs::write(configuration(world), "[store]\ndurablity = \"full\"\n[host]\ncpus = 0\n").unwrap(),
        "configuration",
        Health::Broken,
        "config.toml:2:1: there is no setting 'store.durablity', and 1 more",
        "qrm config check",
        3,
    ),
    (
        |world| std::fs::create_dir(configuration(world)).unwrap(),
        "configuration",
        Health::Broken,
        "can not be read",
        "qrm config check",
        3,
    ),
    (
        |world| {
            world.run("daemon start").ok();
            std::fs::write(configuration(world), "[stroe]\n").unwrap();
        },
        "configuration",
        Health::Broken,
        "stroe",
        "qrm daemon reload",
        1,
    ),
    (of_a_later_release, "store", Health::Broken, "was written by a later release", "install the release", 3),
    (of_a_later_release, "daemon", Health::Broken, "was written by a later release", "install the release", 3),
    (of_a_later_release, "log", Health::Limited, "qrmd ends", "tail ", 3),
    (of_a_later_release, "disk", Health::Ok, "free for", "", 3),
    (
        |world| {
            used(world);
            std::fs::write(world.state().join("qrm.sqlite"), "this was a database\n".repeat(500)).unwrap();
        },
        "store",
        Health::Broken,
        "not a database",
        "restore a copy",
        3,
    ),
    (|world| std::fs::write(world.state(), "a file").unwrap(), "daemon", Health::Broken, "could not be started", "", 3),
    (
        |world| {
            world.run("daemon start").ok();
            let file = std::fs::File::options().append(true).open(world.state().join("qrm.sqlite")).unwrap();
            file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(86_400)).unwrap();
        },
        "clock",
        Health::Limited,
        "the store was written at",
        "timedatectl set-ntp true",
        0,
    ),
];

#[test]
fn each_finding_says_what_mends_it_and_the_exit_code_how_bad_it_is() {
    for (prepare, topic, health, found, mend, code) in CASES {
        let world = World::new();
        prepare(&world);
        let (finding, exit) = examined(&world.run("--json doctor"), topic);
        let finding = finding.unwrap_or_else(|| panic!("nothing of {topic}: {:?}", world.run("doctor")));
        assert_eq!((finding.health, exit), (*health, *code), "{finding:?}");
        assert!(finding.found.contains(found), "{finding:?}");
        assert_eq!(finding.mend.is_some(), *health != Health::Ok, "{finding:?}");
        assert!(finding.mend.unwrap_or_default().contains(mend), "{topic}");
        let text = world.run("doctor").out;
        assert!(text.lines().any(|line| line.contains(found)), "{text}");
    }
}

#[test]
fn a_program_that_is_missing_or_of_another_release_is_named() {
    type Change = fn(&Path);
    let cases: &[(Change, &str, &str)] = &[
        (|dir| std::fs::remove_file(dir.join("qrm-shim")).unwrap(), "qrm-shim missing", "cargo install"),
        (|dir| std::fs::remove_file(dir.join("qrmd")).unwrap(), "qrmd missing", "cargo install"),
        (
            |dir| std::fs::set_permissions(dir.join("qrm-shim"), PermissionsExt::from_mode(0o644)).unwrap(),
            "qrm-shim can not be executed",
            "chmod 755 ",
        ),
        (
            |dir| {
                std::fs::remove_file(dir.join("qrmd")).unwrap();
                std::fs::write(dir.join("qrmd"), "#!/bin/sh\necho qrmd 0.0.1\n").unwrap();
                std::fs::set_permissions(dir.join("qrmd"), PermissionsExt::from_mode(0o755)).unwrap();
            },
            "'qrmd 0.0.1', and this is qrm",
            "cargo install",
        ),
    ];
    for (change, found, mend) in cases {
        let mut world = World::new();
        world.set("PATH", "/usr/bin:/bin");
        let dir = world.installed("bin", &["qrm", "qrmd", "qrm-shim"]);
        change(&dir);
        let said = Said::of(world.at(&dir.join("qrm")).args(["--json", "doctor"]).output().unwrap());
        let (finding, code) = examined(&said, "programs");
        let finding = finding.unwrap();
        assert!(code == 1 || code == 3, "{said:?}");
        assert!(finding.health == Health::Broken && finding.found.contains(found), "{finding:?}");
        assert!(finding.mend.as_ref().is_some_and(|said| said.contains(mend)), "{finding:?}");
    }
}

#[test]
fn that_a_daemon_can_be_started_is_said_where_it_is_true() {
    let world = World::new();
    for (line, code, starts) in [
        ("daemon status", 3, true),
        ("daemon reload", 3, true),
        ("--socket /nowhere/qrm.sock daemon start", 3, false),
        ("--socket /nowhere/qrm.sock daemon reload", 3, false),
        ("--socket /nowhere/qrm.sock jobs", 3, false),
    ] {
        let said = world.run(line);
        assert!(said.err.contains("qrm doctor says more"), "{line}: {said:?}");
        assert_eq!((said.code, said.err.contains("qrm daemon start starts one")), (code, starts), "{line}: {said:?}");
    }
}

#[test]
fn where_no_daemon_listens_at_a_socket_that_was_named_it_says_so() {
    let world = World::new();
    let said = world.run("--socket /nowhere/qrm.sock --json doctor");
    let (finding, code) = examined(&said, "daemon");
    assert!(code == 3 && finding.unwrap().found.contains("/nowhere/qrm.sock"), "{said:?}");
    // What is elsewhere is nothing of this user's.
    assert!(examined(&said, "state").0.is_none());
}
