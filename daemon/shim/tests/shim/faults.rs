//! What is left when a shim is killed at each step, and what the next one makes of it.

use qrm_shim::handshake::Report;
use qrm_shim::proc::Process;
use qrm_shim::record::Step;
use qrm_shim::run_file::RunFile;
use qrm_shim::{status, tree};

use crate::scene::{Scene, Shim, hear, names, tell};

#[test]
fn a_shim_that_dies_at_any_step_leaves_what_tells_how_far_it_came() {
    let logs = ["stderr", "stdout"];
    // Where it dies, the files and records that it leaves, whether the command ran, what the next shim says.
    let (logs, none) = (&logs[..], &[][..]);
    let table = [
        ("shim.1", none, [false, false], false, status::DONE),
        ("shim.2", none, [false, false], false, status::DONE),
        ("shim.3", none, [false, false], false, status::DONE),
        ("shim.4", none, [false, false], false, status::DONE),
        ("shim.5", logs, [false, false], false, status::DONE),
        ("shim.6", logs, [false, false], false, status::DONE),
        ("shim.7", logs, [false, false], false, status::DONE),
        ("shim.8", logs, [true, false], false, status::RAN),
        ("shim.9", logs, [true, false], true, status::RAN),
        ("shim.10", logs, [true, false], true, status::RAN),
        ("shim.11", logs, [true, true], true, status::RAN),
    ];
    for (point, files, records, ran, next) in table {
        let scene = Scene::sh("echo ran >> marker; echo ran > up");
        let up = scene.fifo("up");
        let mut shim = scene.start_with(point);
        shim.go();
        if ran {
            // Read first: without a reader the command would not end.
            assert_eq!(hear(&up), "ran\n", "{point}");
        }
        assert_eq!(shim.wait(), None, "{point}");
        assert_eq!(names(&scene.job_dir), files, "{point}");
        let file = RunFile::read(&scene.run_file).unwrap();
        assert_eq!([file.started().is_some(), file.exit().is_some()], records, "{point}");
        assert_eq!(scene.path("marker").exists(), ran, "{point}");

        let mut shim = scene.start();
        shim.go();
        if next == status::DONE {
            assert_eq!(hear(&up), "ran\n", "{point}");
        }
        assert_eq!(shim.wait(), Some(next), "{point}");
        assert_eq!(std::fs::read_to_string(scene.path("marker")).is_ok_and(|text| text == "ran\n"), point != "shim.8");
    }
}

#[test]
fn a_job_goes_on_when_its_shim_is_killed() {
    let scene = Scene::sh("echo ready > up; read line < down; echo after; echo done > up");
    let (up, down) = (scene.fifo("up"), scene.fifo("down"));
    let mut shim = scene.start();
    shim.go();
    assert_eq!(hear(&up), "ready\n");
    shim.signal(libc::SIGKILL);
    assert_eq!(shim.wait(), None);
    tell(&down, "go on\n");
    assert_eq!(hear(&up), "done\n");
    assert_eq!(scene.read("stdout"), "after\n");
    assert!(RunFile::read(&scene.run_file).unwrap().exit().is_none());
}

#[test]
fn a_shim_that_is_killed_while_it_waits_takes_the_command_s_process_along() {
    let scene = Scene::sh("echo ran > marker");
    let mut shim = scene.start();
    let waiting = waiting_child(&shim);
    shim.signal(libc::SIGKILL);
    assert_eq!(shim.wait(), None);
    shim.go();
    assert_eq!(shim.report(), None);
    while waiting.is_alive().unwrap() {
        std::thread::yield_now();
    }
    assert!(!scene.path("marker").exists());
}

#[test]
fn a_command_s_process_that_is_killed_while_it_waits_was_not_started() {
    let scene = Scene::sh("echo ran > marker");
    let mut shim = scene.start();
    assert!(waiting_child(&shim).signal(libc::SIGKILL).unwrap());
    assert_eq!(shim.report(), Some(Report::Failed { step: Step::Fork, errno: libc::ECANCELED }));
    assert_eq!((shim.wait(), scene.files()), (Some(status::UNPREPARED), vec![]));
}

/// The process that will execute the command, once it is there; nothing tells but `/proc`.
fn waiting_child(shim: &Shim) -> Process {
    loop {
        match tree::descendants(shim.process.pid).unwrap()[..] {
            [child] => return child,
            _ => std::thread::yield_now(),
        }
    }
}
