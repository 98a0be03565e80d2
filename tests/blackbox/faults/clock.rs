//! The wall clock set by a day, both ways, while jobs run and wait by it.
//! It refuses to set the machine's own clock: the daemon is told another one.

use crate::scene::Scene;
use qrm_protocol::time::Timestamp;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const DAY: i64 = 86_400_000;

/// The daemon's wall clock is ahead of the machine's by what is in this file.
struct Wall(PathBuf);

impl Wall {
    fn set(&self, ahead_ms: i64) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, ahead_ms.to_string()).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }
}

fn scene() -> (Scene, Wall) {
    let mut scene = Scene::new(&[("QRM_HOST_CPUS", "8")]);
    let wall = Wall(scene.dir().join("wall"));
    wall.set(0);
    scene.set("QRM_TEST_WALL_JUMP", wall.0.to_str().unwrap());
    (scene, wall)
}

/// Has the engine decide something, and so look at the clocks.
fn look(scene: &Scene) {
    let id = scene.submit("", "exit 0");
    assert_eq!(scene.ended(&id)["state"], "completed");
}

/// Has both timers set anew, as the kernel does when a clock is set: the alarm of a limit wakes the engine.
fn wake(scene: &Scene) {
    let id = scene.submit("--time 50ms", "sleep 1000");
    assert_eq!(scene.ended(&id)["state"], "timeout");
}

#[test]
fn a_running_limit_does_not_move_with_the_wall_clock() {
    for jump in [DAY, -DAY] {
        let (mut scene, wall) = scene();
        let began = Instant::now();
        let limited = scene.submit("--time 1500ms", "sleep 1000");
        let unlimited = scene.submit("--time 1h", "sleep 1000");
        scene.executing(&limited);
        scene.executing(&unlimited);
        wall.set(jump);
        look(&scene);
        let job = scene.ended(&limited);
        let took = began.elapsed();
        assert_eq!(job["state"], "timeout", "{job}");
        assert!(took >= Duration::from_millis(1_500) && took < Duration::from_secs(8), "{took:?} by {jump} ms");
        wall.set(0);
        look(&scene);
        assert_eq!(scene.show(&unlimited)["state"], "executing");
        scene.run(&format!("cancel {unlimited}")).ok();
        assert_eq!(scene.ended(&unlimited)["state"], "cancelled");
        scene.nothing_is_left();
    }
}

#[test]
fn a_job_begins_when_the_wall_clock_says_so() {
    let (mut scene, wall) = scene();
    let id = scene.submit("--begin +1h", "exit 4");
    wall.set(-DAY);
    look(&scene);
    assert_eq!(scene.show(&id)["state"], "queued", "a day back");
    // A few seconds before its time.
    wall.set(3_600_000 - 4_000);
    wake(&scene);
    assert_eq!(scene.show(&id)["state"], "queued", "not yet");
    let job = scene.ended(&id);
    assert_eq!(job["exit_code"], 4);
    let started = scene.events().into_iter().find(|e| e["kind"] == "job.started" && e["job"] == *id).unwrap();
    let at = |value: &serde_json::Value| serde_json::from_value::<Timestamp>(value.clone()).unwrap().0;
    let late = at(&started["at"]) - at(&job["begin_at"]);
    assert!((0..2_000).contains(&late), "{late} ms late: {started}, {job}");
    scene.nothing_is_left();
}

#[test]
fn a_clock_set_a_day_ahead_starts_what_is_due_by_it() {
    let (mut scene, wall) = scene();
    let due = scene.submit("--begin +1h", "exit 4");
    let later = scene.submit("--begin +48h", "exit 5");
    wall.set(DAY);
    look(&scene);
    assert_eq!(scene.ended(&due)["exit_code"], 4);
    assert_eq!(scene.show(&later)["state"], "queued");
    wall.set(-DAY);
    look(&scene);
    assert_eq!(scene.show(&later)["state"], "queued");
    // A restart between the jumps changes nothing.
    scene.kill_daemon();
    look(&scene);
    assert_eq!(scene.show(&later)["state"], "queued");
    wall.set(3 * DAY);
    look(&scene);
    assert_eq!(scene.ended(&later)["exit_code"], 5);
    scene.nothing_is_left();
}
