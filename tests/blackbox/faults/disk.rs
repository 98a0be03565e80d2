//! Disks that are full or can not be written: what was acknowledged stays, and what can not be kept is refused.
//! It refuses to fill a disk of the machine: each is a small one of the test's own.

use crate::scene::{Fate, Scene, in_own_mounts, let_go};
use std::io::Write;
use std::path::Path;

/// Fills a file system to its last byte.
fn fill(dir: &Path) {
    let mut file = std::fs::File::create(dir.join("filler")).unwrap();
    for size in [1 << 20, 4096, 1] {
        let block = vec![b'x'; size];
        while file.write_all(&block).is_ok() {}
    }
}

fn free(dir: &Path) {
    std::fs::remove_file(dir.join("filler")).unwrap();
}

#[test]
fn on_a_full_disk_what_was_acknowledged_is_kept_and_the_rest_is_refused() {
    in_own_mounts("on_a_full_disk_what_was_acknowledged_is_kept_and_the_rest_is_refused", || {
        let mut scene = Scene::new(&[]);
        let (state, gate) = (scene.state(), scene.gate("gate"));
        scene.mount(&state, 16);
        let running = scene.submit("", "read go < gate; exit 8");
        scene.executing(&running);
        let mut kept: Vec<String> = (0..3).map(|_| scene.submit("--hold", "true")).collect();
        fill(&state);
        // The write-ahead log may have room for a few more.
        let refused = (0..2_000).find_map(|n| {
            let said = scene.run(&format!("submit --hold --key k{n} -- true"));
            if said.code == 0 {
                kept.push(said.out.trim().to_owned());
            }
            (said.code != 0).then_some((n, said))
        });
        let (refused_key, said) = refused.expect("a full disk refuses");
        assert_eq!(said.code, 4, "{said:?}");
        assert!(said.err.contains("the store can not be written"), "{said:?}");
        assert!(said.err.contains("free space"), "{said:?}");
        let again = scene.run("--json submit -- true");
        assert_eq!(again.code, 4, "{again:?}");
        assert!(again.out.contains("UNAVAILABLE") || again.err.contains("UNAVAILABLE"), "{again:?}");
        let status = scene.run("--json daemon status");
        assert_eq!(status.code, 4, "{status:?}");
        assert!(status.json()["degraded"].is_string());
        assert_eq!(scene.show(&running)["state"], "executing", "reads are served");
        let reload = scene.run("daemon reload");
        assert_eq!(reload.code, 4, "what the machine offers can not be written down either: {reload:?}");

        // It ends while that can not be recorded.
        let waiter = scene.spawn(&format!("wait {running}"));
        let_go(&gate);
        scene.all_jobs_are_gone();
        free(&state);
        let waited = waiter.wait_with_output().unwrap();
        assert_eq!(waited.status.code(), Some(8), "{waited:?}");
        assert_eq!(scene.run("--json daemon status").code, 0);
        let id = scene.run(&format!("submit --key k{refused_key} -- sh -c true")).ok();
        assert_eq!(scene.ended(id.trim())["state"], "completed");
        for _ in 0..2 {
            for id in &kept {
                assert_eq!(scene.show(id)["state"], "queued");
            }
            assert_eq!(scene.run("--json daemon status").json()["jobs"]["queued"], kept.len());
            scene.kill_daemon();
        }
        scene.run("cancel state=live").ok();
        assert!(scene.ends().values().all(|ends| *ends == 1));
        scene.nothing_is_left();
    });
}

#[test]
fn what_a_full_disk_does_not_let_be_forgotten_is_an_error_and_stays() {
    in_own_mounts("what_a_full_disk_does_not_let_be_forgotten_is_an_error_and_stays", || {
        let mut scene = Scene::new(&[]);
        let state = scene.state();
        scene.mount(&state, 16);
        for _ in 0..3 {
            let id = scene.submit("", "true");
            scene.ended(&id);
        }
        fill(&state);
        let said = scene.run("cleanup --older-than 0s");
        assert_eq!((said.code, said.out.as_str()), (4, ""), "{said:?}");
        assert!(said.err.contains("the store can not be written"), "{said:?}");
        assert!(said.err.contains("free space"), "{said:?}");
        free(&state);
        assert_eq!(scene.show("2")["state"], "completed");
        assert_eq!(scene.run("cleanup --older-than 0s").ok(), "3 jobs forgotten\n");
        scene.nothing_is_left();
    });
}

#[test]
fn a_daemon_killed_on_a_full_disk_comes_back_with_what_was_acknowledged() {
    in_own_mounts("a_daemon_killed_on_a_full_disk_comes_back_with_what_was_acknowledged", || {
        let mut scene = Scene::new(&[]);
        let (state, gate) = (scene.state(), scene.gate("gate"));
        scene.mount(&state, 16);
        let running = scene.submit("", "read go < gate; exit 8");
        let held = scene.submit("--hold", "true");
        scene.executing(&running);
        fill(&state);
        scene.kill_daemon();
        let_go(&gate);
        scene.all_jobs_are_gone();
        // It comes back, says that the disk is full as soon as it has to write, and nothing is lost.
        let full = "nothing new is accepted: database or disk is full";
        let said = scene.run("daemon start");
        assert!(said.code == 0 || said.code == 4 && said.out.contains(full), "{said:?}");
        let refused = scene.run("submit -- true");
        assert!(refused.code == 4 && refused.err.contains("full"), "{refused:?}");
        free(&state);
        assert_eq!(scene.ended(&running)["exit_code"], 8);
        assert_eq!(scene.show(&held)["state"], "queued");
        scene.run(&format!("cancel {held}")).ok();
        assert!(scene.ends().values().all(|ends| *ends == 1));
        scene.nothing_is_left();
    });
}

#[test]
fn a_state_that_can_not_be_written_is_left_as_it_is() {
    in_own_mounts("a_state_that_can_not_be_written_is_left_as_it_is", || {
        let mut scene = Scene::new(&[]);
        let state = scene.state();
        scene.mount(&state, 16);
        let id = scene.submit("", "exit 3");
        assert_eq!(scene.ended(&id)["exit_code"], 3);
        scene.stop();
        let before = std::fs::read(state.join("qrm.sqlite")).unwrap();
        scene.remount(&state, true);
        for line in ["daemon start", "submit -- true", "status"] {
            let said = scene.run(line);
            assert!([3, 4].contains(&said.code), "{said:?}");
            assert!(said.err.contains("Read-only file system"), "{said:?}");
        }
        let (daemon, said) = scene.daemon_at(&scene.socket(), "");
        assert_eq!(scene.fate(daemon), Fate::Code(4));
        assert!(said.contains("Read-only file system"), "{said}");
        scene.remount(&state, false);
        assert_eq!(std::fs::read(state.join("qrm.sqlite")).unwrap(), before);
        assert_eq!(scene.show(&id)["exit_code"], 3);
        scene.nothing_is_left();
    });
}

#[test]
fn a_full_log_directory_harms_nobody_but_who_writes_there() {
    in_own_mounts("a_full_log_directory_harms_nobody_but_who_writes_there", || {
        let mut scene = Scene::new(&[("QRM_HOST_CPUS", "8")]);
        let (jobs, gate) = (scene.state().join("jobs"), scene.gate("gate"));
        scene.mount(&jobs, 4);
        let quiet = scene.submit("", "echo $QRM_JOB_ID >> ran; read go < gate; exit 5");
        let talker = scene.submit("", "read go < gate; echo done; exit $?");
        scene.executing(&quiet);
        scene.executing(&talker);
        let loud = scene.submit("", "head -c 64M /dev/zero");
        let job = scene.ended(&loud);
        assert_eq!((job["state"].as_str(), job["exit_code"].as_i64()), (Some("failed"), Some(1)), "{job}");
        fill(&jobs);
        // One that says nothing needs no room, and one that does fails by itself.
        let late = scene.submit("", "echo $QRM_JOB_ID >> ran; echo never || exit 9");
        let job = scene.ended(&late);
        assert_eq!((job["state"].as_str(), job["exit_code"].as_i64()), (Some("failed"), Some(9)), "{job}");
        assert_eq!(scene.lines("ran").get(&late), Some(&1));
        // The daemon and the records of those that run do not mind.
        let_go(&gate);
        let_go(&gate);
        assert_eq!(scene.ended(&quiet)["exit_code"], 5);
        // Its own output finds room or not, as any program's would.
        assert!(["failed", "completed"].contains(&scene.ended(&talker)["state"].as_str().unwrap()));
        assert_eq!(scene.run("daemon status").code, 0);
        let held = scene.submit("--hold", "true");
        assert_eq!(scene.show(&held)["state"], "queued");
        free(&jobs);
        std::fs::remove_file(scene.show(&loud)["dir"].as_str().unwrap().to_owned() + "/stdout").unwrap();
        let next = scene.submit("", "echo fine");
        assert_eq!(scene.ended(&next)["state"], "completed");
        scene.run(&format!("cancel {held}")).ok();
        assert!(scene.ends().values().all(|ends| *ends == 1));
        scene.nothing_is_left();
    });
}
