//! State directories that are damaged, taken away, of a later release, or someone else's already.
//! It refuses to accept that a store which can not be read is written.

use crate::scene::{Fate, Scene, readable};
use qrm_protocol::error::Code;
use qrm_protocol::method::{JobSubmit, SubmitParams};
use std::path::PathBuf;

/// A stopped world with some history, its database and the bytes of that.
fn history() -> (Scene, PathBuf, Vec<u8>) {
    let mut scene = Scene::new(&[]);
    for code in [0, 1, 2] {
        let id = scene.submit("--name some", &format!("exit {code}"));
        assert_eq!(scene.ended(&id)["exit_code"], code);
    }
    scene.submit("--hold", "true");
    scene.stop();
    let path = scene.state().join("qrm.sqlite");
    // All of it in one file, so that its bytes are all that there is.
    drop(scene.sql_to_write().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
    let bytes = std::fs::read(&path).unwrap();
    assert!(!scene.state().join("qrm.sqlite-wal").exists());
    (scene, path, bytes)
}

/// Proves that every verb and the daemon itself refuse this store, say so, and leave it as it is.
#[track_caller]
fn is_refused(scene: &mut Scene, what: &str) {
    let path = scene.state().join("qrm.sqlite");
    let before = std::fs::read(&path).unwrap();
    for line in ["daemon start", "submit -- true", "jobs"] {
        let said = scene.run(line);
        assert_eq!(said.code, 4, "{said:?}");
        assert!(said.err.contains(what) && said.err.contains("hint:"), "{said:?}");
    }
    let (daemon, said) = scene.daemon_at(&scene.socket(), "");
    assert_eq!(scene.fate(daemon), Fate::Code(4), "{said}");
    assert!(said.contains(what), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), before, "the store was written");
}

#[test]
fn a_truncated_store_is_refused_and_kept() {
    let (mut scene, path, bytes) = history();
    for length in [1, 50, 100, 4_096, bytes.len() / 2, bytes.len() - 4_096, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        is_refused(&mut scene, "damaged");
    }
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(scene.show("3")["exit_code"], 2);
}

#[test]
fn a_store_with_a_broken_header_is_refused_and_kept() {
    let (mut scene, path, bytes) = history();
    for at in [0..16, 16..24, 0..100, 100..600] {
        let mut broken = bytes.clone();
        broken[at.clone()].fill(0xA5);
        std::fs::write(&path, broken).unwrap();
        println!("{at:?}");
        is_refused(&mut scene, "damaged");
    }
}

#[test]
fn a_broken_page_is_noticed_or_not_needed_and_never_overwritten_unread() {
    let (mut scene, path, bytes) = history();
    let (mut refused, mut served) = (0, 0);
    for page in 1..bytes.len() / 4_096 {
        for ending in ["", "-wal", "-shm"] {
            std::fs::remove_file(scene.state().join(format!("qrm.sqlite{ending}"))).ok();
        }
        let mut broken = bytes.clone();
        broken[page * 4_096..(page + 1) * 4_096].fill(0xA5);
        std::fs::write(&path, &broken).unwrap();
        let (daemon, said) = scene.daemon_at(&scene.socket(), "");
        if said.trim() == "ready" {
            // What does not need the page is served; what does is refused.
            served += 1;
            for line in ["jobs", "show 2", "submit --hold -- true"] {
                let said = scene.run(line);
                assert!([0, 3, 4].contains(&said.code), "{said:?}");
            }
            scene.run("daemon stop");
            assert!(matches!(scene.fate(daemon), Fate::Code(0 | 4)), "page {page}");
        } else {
            refused += 1;
            assert_eq!(scene.fate(daemon), Fate::Code(4), "page {page}: {said}");
            assert!(said.contains("damaged"), "page {page}: {said}");
            assert_eq!(std::fs::read(&path).unwrap(), broken, "page {page}");
        }
    }
    println!("{refused} refused, {served} served");
    assert!(refused > 0);
}

#[test]
fn a_store_of_a_later_release_is_refused_and_kept() {
    let (mut scene, _, _) = history();
    let db = scene.sql_to_write();
    db.pragma_update(None, "user_version", 999).unwrap();
    drop(db);
    is_refused(&mut scene, "later release");
}

#[test]
fn without_a_good_snapshot_and_the_events_in_it_a_store_is_refused_and_kept() {
    let (mut scene, path, bytes) = history();
    let fold = |scene: &Scene| {
        let done = scene.program("qrmd").arg("--fold").arg("--state").arg(scene.state()).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    let snapshots = |scene: &Scene| {
        let paths = std::fs::read_dir(scene.state()).unwrap().map(|e| e.unwrap().path());
        let is_one = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("snapshot-");
        let mut found: Vec<PathBuf> = paths.filter(is_one).collect();
        found.sort_by_key(|path| {
            path.extension().is_some().then_some(0).or(path.to_str()?.rsplit('-').next()?.parse().ok())
        });
        found
    };
    fold(&scene);
    let id = scene.submit("", "exit 9");
    assert_eq!(scene.ended(&id)["exit_code"], 9);
    scene.stop();
    fold(&scene);
    let both = snapshots(&scene);
    assert_eq!(both.len(), 2, "{both:?}");
    let good = both.iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>();
    let spoil = |place: usize| {
        let mut bad = good[place].clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        std::fs::write(&both[place], bad).unwrap();
    };

    // The newer one is bad: the one before it and the events have it all.
    spoil(1);
    assert_eq!(scene.show(&id)["exit_code"], 9);
    assert_eq!(scene.show("4")["state"], "queued");
    scene.stop();
    // Both are bad, and the events are all there.
    spoil(0);
    assert_eq!(scene.show("4")["state"], "queued");
    scene.stop();
    // And now what is in both is in no event any more.
    let held: u64 = both[0].to_str().unwrap().rsplit('-').next().unwrap().parse().unwrap();
    let db = scene.sql_to_write();
    db.execute("DELETE FROM event WHERE seq <= ?", [held]).unwrap();
    drop(db);
    is_refused(&mut scene, "damaged");
    assert_ne!(std::fs::read(&path).unwrap(), bytes);
    std::fs::write(&both[1], &good[1]).unwrap();
    assert_eq!(scene.show("4")["state"], "queued");
    scene.run("cancel 4").ok();
    scene.nothing_is_left();
}

#[test]
fn a_second_daemon_on_the_same_state_is_told_who_holds_it() {
    let mut scene = Scene::new(&[]);
    let first = scene.daemon_with("");
    let other = scene.dir().join("other.sock");
    let (second, said) = scene.daemon_at(&other, "");
    assert_eq!(scene.fate(second), Fate::Code(2));
    assert!(said.contains(&format!("process {}", scene.pid(first))), "{said}");
    assert!(!other.exists());
    assert_eq!(scene.daemon(), i32::try_from(scene.pid(first)).ok(), "the first one serves on");
    scene.nothing_is_left();
}

#[test]
fn a_stale_socket_is_in_nobodys_way() {
    let mut scene = Scene::new(&[]);
    let id = scene.submit("", "exit 6");
    assert_eq!(scene.ended(&id)["exit_code"], 6);
    scene.kill_daemon();
    assert!(scene.socket().exists());
    assert_eq!(scene.run("daemon status").code, 3, "who only asks starts none");
    assert_eq!(scene.show(&id)["exit_code"], 6);
    scene.stop();
    // Nobody ever listened here.
    drop(std::os::unix::net::UnixListener::bind(scene.socket()).unwrap());
    assert_eq!(scene.show(&id)["exit_code"], 6);
    scene.nothing_is_left();
}

#[test]
fn a_state_deleted_under_a_running_daemon_ends_it_with_a_word() {
    let mut scene = Scene::new(&[]);
    let daemon = scene.daemon_with("");
    let id = scene.submit("", "exit 6");
    assert_eq!(scene.ended(&id)["exit_code"], 6);
    let mut client = scene.client();
    std::fs::remove_dir_all(scene.state()).unwrap();
    let context = qrm_protocol::method::Context { cwd: "/".try_into().unwrap(), umask: 0o22, env: Vec::new() };
    let job = serde_json::from_value(serde_json::json!({ "command": ["true"] })).unwrap();
    let error = client.call::<JobSubmit>(&SubmitParams { context, job }).unwrap_err();
    assert_eq!(error.code, Code::Unavailable, "{error:?}");
    assert!(error.message.contains("was removed"), "{error:?}");
    assert_eq!(scene.fate(daemon), Fate::Code(4));
    // The next one begins anew.
    let id = scene.submit("", "exit 7");
    assert_eq!((id.as_str(), scene.ended(&id)["exit_code"].as_i64()), ("1", Some(7)));
    scene.nothing_is_left();
}

#[test]
fn a_state_deleted_under_a_running_job_leaves_no_process() {
    let mut scene = Scene::new(&[]);
    let daemon = scene.daemon_with("");
    let gate = scene.gate("gate");
    let id = scene.submit("", "read go < gate; exit 7");
    scene.executing(&id);
    let process = crate::scene::open(i32::try_from(scene.pid(daemon)).unwrap());
    let subtree = scene.subtree();
    std::fs::remove_dir_all(scene.state()).unwrap();
    // Its end is what the daemon notices it by.
    crate::scene::let_go(&gate);
    assert!(readable(&process), "the daemon serves a state that is gone");
    assert_eq!(scene.fate(daemon), Fate::Code(4));
    scene.all_are_gone();
    if let Some(subtree) = subtree {
        assert!(!subtree.exists(), "{}", subtree.display());
    }
}
