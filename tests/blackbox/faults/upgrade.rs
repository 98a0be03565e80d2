//! The daemon replaced while jobs run: by another binary, at another socket, after a snapshot.
//! It refuses to lose a job, an exit code or a count on the way.

use crate::scene::{Fate, Scene, let_go};
use crate::world::Said;
use std::path::Path;
use std::process::Command;

fn said(command: &mut Command) -> Said {
    Said::of(command.output().unwrap())
}

#[test]
fn jobs_go_on_under_a_daemon_of_another_place() {
    for killed in [false, true] {
        let mut scene = Scene::new(&[]);
        let gates = [scene.gate("gate0"), scene.gate("gate1")];
        let ids = [0, 1].map(|n| scene.submit("", &format!("echo $QRM_JOB_ID >> ran; read go < gate{n}; exit 1{n}")));
        ids.iter().for_each(|id| scene.executing(id));
        let before = scene.daemon().unwrap();
        let new = scene.dir().join("new");
        std::fs::create_dir(&new).unwrap();
        let old = Path::new(env!("CARGO_BIN_EXE_qrm")).parent().unwrap();
        for name in ["qrm", "qrmd", "qrm-shim"] {
            std::fs::copy(old.join(name), new.join(name)).unwrap();
        }
        if killed {
            scene.kill_daemon();
        } else {
            scene.stop();
        }
        // One ends before the new daemon is there, if the old one was stopped; killed, it is the shim that starts one.
        let_go(&gates[0]);
        let started = said(scene.at(&new.join("qrm")).args(["daemon", "start"]));
        assert_eq!(started.code, 0, "{started:?}");
        let now = scene.daemon().unwrap();
        assert_ne!(now, before);
        if !killed {
            assert_eq!(
                std::fs::read_link(format!("/proc/{now}/exe")).unwrap(),
                new.canonicalize().unwrap().join("qrmd")
            );
        }
        let_go(&gates[1]);
        let third = said(scene.at(&new.join("qrm")).args(["submit", "--", "sh", "-c", "exit 12"])).ok();
        for (id, code) in ids.iter().map(String::as_str).chain([third.trim()]).zip([10, 11, 12]) {
            let job = scene.ended(id);
            assert_eq!(job["exit_code"], code, "{job}");
        }
        assert!(scene.ends().values().chain(scene.lines("ran").values()).all(|times| *times == 1));
        scene.nothing_is_left();
    }
}

#[test]
fn a_daemon_at_another_socket_has_the_same_jobs() {
    let mut scene = Scene::new(&[]);
    let gate = scene.gate("gate");
    let id = scene.submit("", "read go < gate; exit 9");
    scene.executing(&id);
    scene.stop();
    let socket = scene.dir().join("other.sock");
    let (daemon, ready) = scene.daemon_at(&socket, "");
    assert_eq!(ready.trim(), "ready");
    let ask = |line: &str| said(scene.program("qrm").arg("--socket").arg(&socket).args(line.split_whitespace()));
    // Whoever asks at the old place is told who holds the state, and starts no second one.
    let refused = scene.run("status");
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains(&format!("process {}", scene.pid(daemon))), "{refused:?}");
    let_go(&gate);
    assert_eq!(ask(&format!("wait {id}")).code, 9);
    let submitted = ask("submit -- false").ok();
    assert_eq!(ask(&format!("wait {}", submitted.trim())).code, 1);
    ask("daemon stop").ok();
    assert_eq!(scene.fate(daemon), Fate::Code(0));
    assert_eq!(scene.ended(&id)["exit_code"], 9);
    scene.nothing_is_left();
}

#[test]
fn a_snapshot_and_the_events_after_it_are_the_same_state() {
    const JOBS: usize = 30_000;
    let mut scene = Scene::new(&[]);
    let line = "{\"command\": [\"true\"], \"hold\": true}\n";
    let snapshots = |scene: &Scene| {
        let names = std::fs::read_dir(scene.state()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| name.strip_prefix("snapshot-")?.parse::<u64>().ok()).collect::<Vec<_>>()
    };
    for round in 0..2 {
        let said = scene.feed("submit --bulk -", line.repeat(JOBS).as_bytes()).ok();
        assert_eq!(said.lines().count(), JOBS);
        scene.run("cancel state=queued").ok();
        // What is waited for is a file that a child of the daemon makes: whoever follows the events sees no more of it
        // than that each commit looks whether a snapshot is due, so commits are made until there is one.
        let mut commits = 0;
        while snapshots(&scene).len() <= round {
            scene.submit("--hold", "true");
            commits += 1;
            assert!(commits < 2_000, "no snapshot is folded");
        }
    }
    let counts = |scene: &Scene| scene.run("--json daemon status").json()["jobs"].clone();
    let (before, last) = (counts(&scene), scene.run("--json jobs --limit 3").json());
    assert!(before["cancelled"].as_u64() >= Some(2 * JOBS as u64), "{before}");
    scene.kill_daemon();
    scene.run("daemon start").ok();
    assert_eq!((counts(&scene), scene.run("--json jobs --limit 3").json()), (before, last));
    let id = scene.submit("", "exit 6");
    assert_eq!(scene.ended(&id)["exit_code"], 6);
    assert!(id.parse::<usize>().unwrap() > 2 * JOBS);
    scene.nothing_is_left();
}
