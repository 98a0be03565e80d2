//! Nothing of a job outlives it, however it was tracked and whatever it does about it.

use std::fs;
use std::time::Duration;

use qrm_shim::proc::Process;
use qrm_shim::tree;

use crate::group::{Tracking, trackings};
use crate::scene::{Scene, Shim, hear, tell};

/// Runs a test once for every way to track, on what `scene` makes.
fn each(scene: impl Fn() -> Scene, test: impl Fn(&Scene, &Tracking)) {
    for way in trackings() {
        println!("tracked by {}", way.name);
        let scene = scene().with(|plan| plan.cgroup = way.group.clone());
        test(&scene, &way);
        if let Some(group) = &way.group {
            assert!(group.is_empty().unwrap());
        }
    }
}

#[test]
fn a_daemonised_grandchild_is_killed_and_counted() {
    let script = "setsid sh -c 'sleep 1000 <&- >&- 2>&- & echo $! > pid'; exit 3";
    each(
        || Scene::sh(script),
        |scene, _| {
            let exit = scene.run();
            assert_eq!((exit.code, exit.killed_leftovers), (Some(3), 1));
            let pid = fs::read_to_string(scene.path("pid")).unwrap().trim().parse().unwrap();
            assert_eq!(Process::of(pid).unwrap(), None);
        },
    );
}

#[test]
fn a_thousand_forked_processes_are_killed_and_counted() {
    let script = "i=0; while [ $i -lt 1000 ]; do sleep 1000 & i=$((i+1)); done; exit 0";
    each(
        || Scene::sh(script),
        |scene, _| {
            let exit = scene.run();
            assert_eq!((exit.code, exit.killed_leftovers), (Some(0), 1000));
        },
    );
}

#[test]
fn a_process_that_runs_away_by_forking_is_caught() {
    let script = "run() { run & }; (run; echo off > fifo) & cat fifo; exit 0";
    each(
        || Scene::sh(script),
        |scene, _| {
            scene.fifo("fifo");
            assert_eq!(scene.run().code, Some(0));
        },
    );
}

#[test]
fn what_ends_by_itself_is_reaped_and_not_counted() {
    let script = "(sh -c 'exit 1' &); (sleep 0 &); (sh -c 'kill -9 $$' &) ; sh -c 'echo x > fifo' & cat fifo; exit 0";
    each(
        || Scene::sh(script),
        |scene, _| {
            scene.fifo("fifo");
            let exit = scene.run();
            assert_eq!(exit.code, Some(0));
            // A shell that has not ended yet when the command does may be killed.
            assert!(exit.killed_leftovers <= 4);
        },
    );
}

#[test]
fn a_job_that_ignores_every_signal_ends_by_kill() {
    let script =
        "trap '' TERM INT HUP; (trap '' TERM; exec sleep 1000) & echo ready > up; while :; do sleep 1000; done";
    each(
        || Scene::sh(script),
        |scene, way| {
            let up = scene.fifo("up");
            let mut shim = scene.start();
            shim.go();
            assert_eq!(hear(&up), "ready\n");
            assert!(signal_all(way, &shim, libc::SIGTERM) >= 2);
            let pid = scene.started().pid;
            assert!(Process::of(pid).unwrap().unwrap().is_alive().unwrap());
            let minute = Some(Duration::from_secs(60));
            let killed = match &way.group {
                Some(group) => group.kill_all(minute).unwrap(),
                None => tree::kill_all(shim.process, minute).unwrap(),
            };
            assert!(killed >= 2);
            assert_eq!((shim.wait(), scene.exit().signal), (Some(0), Some(libc::SIGKILL)));
        },
    );
}

#[test]
fn a_signal_to_the_job_reaches_every_process_and_not_the_shim() {
    let script = "sh -c 'trap \"echo child; exit 0\" USR1; echo ready > up; while :; do read line < down; done' & \
                  trap 'wait; echo parent; exit 8' USR1; wait";
    each(
        || Scene::sh(script),
        |scene, way| {
            let (up, _down) = (scene.fifo("up"), scene.fifo("down"));
            let mut shim = scene.start();
            shim.go();
            assert_eq!(hear(&up), "ready\n");
            assert_eq!(signal_all(way, &shim, libc::SIGUSR1), 2);
            assert_eq!((shim.wait(), scene.exit().code), (Some(0), Some(8)));
            assert_eq!(scene.read("stdout"), "child\nparent\n");
        },
    );
}

#[test]
fn a_frozen_group_stands_still_and_goes_on() {
    for way in trackings() {
        let Some(group) = &way.group else { continue };
        let scene = Scene::sh("echo ready > up; read line < down; exit 2");
        let scene = scene.with(|plan| plan.cgroup = way.group.clone());
        let (up, down) = (scene.fifo("up"), scene.fifo("down"));
        let mut shim = scene.start();
        shim.go();
        assert_eq!(hear(&up), "ready\n");
        assert_eq!(group.procs().unwrap(), [scene.started().pid]);
        group.freeze().unwrap();
        while !group.is_frozen().unwrap() {
            std::thread::yield_now();
        }
        group.thaw().unwrap();
        assert!(!group.is_frozen().unwrap());
        assert_eq!(group.wait_empty(Some(Duration::from_millis(1))).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        tell(&down, "end\n");
        group.wait_empty(Some(Duration::from_secs(60))).unwrap();
        assert_eq!((shim.wait(), scene.exit().code), (Some(0), Some(2)));
    }
}

#[test]
fn groups_below_the_job_s_group_belong_to_the_job() {
    for way in trackings() {
        let Some(group) = &way.group else { continue };
        let dir = group.dirs().next().unwrap().to_str().unwrap().to_owned();
        let script = format!(
            "mkdir {dir}/a {dir}/a/b && sh -c 'echo $$ > {dir}/a/b/cgroup.procs; sleep 1000 & wait' & \
                              while ! grep -q . {dir}/a/b/cgroup.procs; do :; done; exit 1"
        );
        let scene = Scene::sh(&script).with(|plan| plan.cgroup = way.group.clone());
        let exit = scene.run();
        assert_eq!(exit.code, Some(1), "{}", scene.read("stderr"));
        assert!(exit.killed_leftovers >= 1);
        group.remove().unwrap();
        assert!(!std::path::Path::new(&dir).exists() && group.is_empty().unwrap());
        group.remove().unwrap();
    }
}

fn signal_all(way: &Tracking, shim: &Shim, signal: i32) -> u32 {
    match &way.group {
        Some(group) => group.signal_all(signal).unwrap(),
        None => tree::signal_all(shim.process, signal).unwrap(),
    }
}
