//! The daemon and the shim killed at each step of a launch and of an end, alone and together.
//! It refuses to let a point be passed over: whoever was to die there has died there.

use crate::scene::{Fate, Scene, let_go};
use qrm_daemon::fault::{FOUND, POINTS};

/// Says that it ran, takes long enough to be told of, and ends with 7.
const SCRIPT: &str = "echo $QRM_JOB_ID >> ran; sleep 0.05; exit 7";

/// What is known of a job in the end.
#[derive(Debug, PartialEq, Eq)]
enum Truth {
    /// It ran once and ended with 7.
    Seven,
    /// Its supervisor died, and nobody knows how it ended. It ran so often.
    Lost(u32),
}

/// What became of the one job of a scene, of which there must be exactly one end.
fn truth(scene: &Scene, id: &str) -> Truth {
    let job = scene.ended(id);
    assert_eq!(scene.ends().get(id), Some(&1), "{job}");
    let ran = scene.lines("ran").get(id).copied().unwrap_or(0);
    match (job["state"].as_str(), job["exit_code"].as_i64(), job["failure"]["kind"].as_str()) {
        (Some("failed"), Some(7), _) if ran == 1 => Truth::Seven,
        (Some("failed"), None, Some("Lost")) if ran <= 1 => Truth::Lost(ran),
        _ => panic!("it ran {ran} times: {job}"),
    }
}

/// A job over a daemon, or its first shim, that dies at these points.
fn passes(faults: &str, env: &[(&str, &str)], daemon_dies: bool) -> Truth {
    let mut scene = Scene::new(env);
    let daemon = scene.daemon_with(faults);
    let id = scene.submit_surely("k", "", SCRIPT);
    if daemon_dies {
        assert_eq!(scene.fate(daemon), Fate::Signal(9), "{faults}");
    }
    let truth = truth(&scene, &id);
    scene.nothing_is_left();
    truth
}

fn daemon_dies_at(points: &[(&str, &str)]) {
    for (point, what) in points {
        println!("{point}: {what}");
        assert_eq!(passes(point, &[], true), Truth::Seven, "{point}: {what}");
    }
}

#[test]
fn a_daemon_killed_at_any_step_of_a_launch_runs_the_job_once() {
    daemon_dies_at(&POINTS[..13]);
}

#[test]
fn a_daemon_killed_at_any_step_of_an_end_has_the_truth_when_it_is_back() {
    daemon_dies_at(&POINTS[13..]);
}

#[test]
fn a_daemon_killed_while_it_looks_for_runs_of_before_finds_them_the_next_time() {
    for (point, what) in FOUND {
        for ended in [false, true] {
            println!("{point}: {what}; ended meanwhile: {ended}");
            let mut scene = Scene::new(&[]);
            let gate = scene.gate("gate");
            let first = scene.daemon_with("");
            let id = scene.submit("", "echo $QRM_JOB_ID >> ran; read go < gate; exit 7");
            scene.executing(&id);
            if ended {
                // Stopped on purpose, it is not started by the shim.
                scene.stop();
                let_go(&gate);
                scene.all_are_gone();
            } else {
                scene.kill(first);
            }
            let second = scene.daemon_with(point);
            assert_eq!(scene.fate(second), Fate::Signal(9), "{point}");
            if !ended {
                let_go(&gate);
            }
            assert_eq!(truth(&scene, &id), Truth::Seven, "{point}");
            scene.nothing_is_left();
        }
    }
}

/// What must come of a first shim that dies at `shim.N`.
fn is_right(step: u32, truth: &Truth) -> bool {
    match step {
        // Nothing says that it was released: it is made again.
        1..=7 => *truth == Truth::Seven,
        // Released by its record, though it never ran.
        8 => *truth == Truth::Lost(0),
        // The command goes with its supervisor, sooner or later.
        9 => matches!(truth, Truth::Lost(0 | 1)),
        10 => *truth == Truth::Lost(1),
        _ => *truth == Truth::Seven,
    }
}

#[test]
fn a_shim_killed_at_any_step_is_lost_or_made_again_and_nothing_runs_twice() {
    for step in 1..=11 {
        let truth = passes(&format!("shim.{step}"), &[], false);
        println!("shim.{step}: {truth:?}");
        assert!(is_right(step, &truth), "shim.{step}: {truth:?}");
    }
}

#[test]
fn a_shim_killed_is_seen_under_each_kind_of_tracking() {
    for tracking in crate::hard::trackings("a_shim_killed_is_seen_under_each_kind_of_tracking") {
        for step in [5, 8, 9, 10, 11] {
            let truth = passes(&format!("shim.{step}"), &[("QRM_SUPERVISION_CGROUP", tracking)], false);
            assert!(is_right(step, &truth), "{tracking}, shim.{step}: {truth:?}");
        }
    }
}

#[test]
fn a_shim_and_its_daemon_killed_together_leave_one_truth() {
    for daemon in ["qrmd.9", "qrmd.10", "qrmd.11"] {
        for step in 2..=11 {
            let truth = passes(&format!("{daemon},shim.{step}"), &[], true);
            // Only the last of these daemons has told the shim to go, and that may have died before.
            let right = if daemon == "qrmd.11" { is_right(step, &truth) } else { truth == Truth::Seven };
            assert!(right, "{daemon} and shim.{step}: {truth:?}");
        }
    }
}
