//! What a command starts with, and what keeps it from starting.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, symlink};
use std::path::PathBuf;

use qrm_shim::cgroup::JobCgroup;
use qrm_shim::handshake::Report;
use qrm_shim::plan::{LogTarget, Restart, Rlimit, Stdin};
use qrm_shim::proc::Process;
use qrm_shim::record::Step;
use qrm_shim::run_file::{self, RunFile};
use qrm_shim::{lock, status};

use crate::scene::{Scene, hear, make_fifo};

#[test]
fn the_command_has_the_plan_s_world_and_nothing_else() {
    let script = "env; pwd; umask; ulimit -n; nice; ls /proc/self/fd | wc -l; cat; echo err >&2; \
                  cut -d' ' -f6 /proc/$$/stat | grep -qx $$ && echo own session; \
                  grep -E 'SigBlk|SigIgn' /proc/self/status";
    let scene = Scene::sh(script).with(|plan| {
        plan.env = vec![b"PATH=/usr/bin:/bin".to_vec(), b"X=a b\nc".to_vec(), b"NOT_UTF8=\xff".to_vec()];
        plan.umask = 0o027;
        plan.nice = Some(5);
        plan.rlimits = vec![Rlimit { resource: libc::RLIMIT_NOFILE, soft: 100, hard: 200 }];
    });
    assert_eq!(scene.run().code, Some(0));
    let bytes = fs::read(scene.job_dir.join("stdout")).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("PWD=")).collect();
    let root = scene.root.path().to_str().unwrap();
    let world = ["PATH=/usr/bin:/bin", "X=a b", "c", "NOT_UTF8=\u{fffd}", root, "0027", "100", "5", "4"];
    let rest = ["own session", "SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"];
    let sorted = |lines: &[&str]| {
        let mut lines: Vec<String> = lines.iter().map(|line| line.trim().to_owned()).collect();
        lines.sort();
        lines
    };
    let lines: Vec<_> =
        lines.into_iter().filter(|line| !line.starts_with("_=") && !line.starts_with("SHLVL")).collect();
    assert_eq!(sorted(&lines), sorted(&[&world[..], &rest[..]].concat()));
    assert_eq!(scene.read("stderr"), "err\n");
}

#[test]
fn output_is_appended_and_both_streams_may_share_a_file() {
    let scene = Scene::sh("echo new; echo err >&2");
    fs::write(scene.job_dir.join("stdout"), "old\n").unwrap();
    scene.run();
    assert_eq!((scene.read("stdout").as_str(), scene.read("stderr").as_str()), ("old\nnew\n", "err\n"));

    let scene = Scene::sh("echo 1; echo 2 >&2; echo 3; echo 4 >&2");
    let scene = scene.with(|plan| plan.stderr = plan.stdout.clone());
    scene.run();
    assert_eq!(scene.read("stdout"), "1\n2\n3\n4\n");
}

#[test]
fn input_comes_from_the_fifo() {
    let scene = Scene::new(&["cat"]).with(|plan| plan.stdin = Stdin::Fifo(b"stdin".to_vec()));
    let fifo = scene.job_dir.join("stdin");
    make_fifo(&fifo);
    let mut shim = scene.start();
    shim.go();
    fs::write(&fifo, "through a fifo").unwrap();
    assert_eq!((shim.wait(), scene.read("stdout").as_str()), (Some(0), "through a fifo"));
}

#[test]
fn a_writer_sees_that_the_reading_command_has_ended() {
    let scene = Scene::sh("exec 0<&-; echo closed > up; read never < down");
    let scene = scene.with(|plan| plan.stdin = Stdin::Fifo(b"stdin".to_vec()));
    let (up, down) = (scene.fifo("up"), scene.fifo("down"));
    let fifo = scene.job_dir.join("stdin");
    make_fifo(&fifo);
    let mut shim = scene.start();
    shim.go();
    let mut writer = File::options().write(true).open(&fifo).unwrap();
    assert_eq!((hear(&up).as_str(), shim.report()), ("closed\n", Some(Report::Started)));
    assert_eq!(writer.write_all(b"x").unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    crate::scene::tell(&down, "end\n");
    assert_eq!(shim.wait(), Some(0));
}

#[test]
fn a_command_that_waits_for_its_input_can_be_terminated() {
    let scene = Scene::new(&["cat"]).with(|plan| plan.stdin = Stdin::Fifo(b"stdin".to_vec()));
    make_fifo(&scene.job_dir.join("stdin"));
    let mut shim = scene.start();
    shim.go();
    let command = loop {
        match RunFile::read(&scene.run_file).unwrap().started() {
            Some(_) => break scene.started(),
            None => std::thread::yield_now(),
        }
    };
    assert!(Process { pid: command.pid, start: command.pid_start }.signal(libc::SIGTERM).unwrap());
    assert_eq!((shim.wait(), scene.exit().signal), (Some(0), Some(libc::SIGTERM)));
}

#[test]
fn without_a_go_nothing_runs_and_nothing_is_left() {
    for word in ["", "x"] {
        let scene = Scene::sh("echo ran > marker");
        let mut shim = scene.start();
        match word {
            "" => shim.no_go(),
            _ => shim.say(word.as_bytes()),
        }
        assert_eq!((shim.report(), shim.wait()), (None, Some(status::DONE)));
        assert_eq!((scene.files(), scene.path("marker").exists()), (vec![], false));
    }
    let scene = Scene::sh("echo ran > marker");
    fs::write(scene.job_dir.join("stdout"), "of an earlier run").unwrap();
    let mut shim = scene.start();
    shim.no_go();
    assert_eq!((shim.wait(), scene.files()), (Some(status::DONE), vec!["stdout".to_owned()]));
}

#[test]
fn one_run_has_one_shim_and_runs_once() {
    let scene = Scene::sh("echo ran >> marker; echo ready > up; read line < down");
    let (up, down) = (scene.fifo("up"), scene.fifo("down"));
    let mut first = scene.start();
    first.go();
    assert_eq!(hear(&up), "ready\n");
    assert_eq!(lock::holder(&scene.run_file).unwrap(), Some(first.process.pid));
    let mut second = scene.start();
    second.go();
    assert_eq!((second.report(), second.wait()), (Some(Report::Held), Some(status::HELD)));
    crate::scene::tell(&down, "end\n");
    assert_eq!(first.wait(), Some(status::DONE));
    assert_eq!(lock::holder(&scene.run_file).unwrap(), None);

    for wiped in [&b""[..], &[0; 2]] {
        // Without its exit record, too.
        scene.run_file.write_all_at(wiped, 0).unwrap();
        let mut third = scene.start();
        third.go();
        assert_eq!((third.report(), third.wait()), (Some(Report::Ran), Some(status::RAN)));
    }
    assert_eq!(fs::read_to_string(scene.path("marker")).unwrap(), "ran\n");
}

#[test]
fn a_file_that_is_another_run_s_by_now_is_left_alone() {
    let scene = Scene::sh("echo ran > marker");
    run_file::claim(&scene.run_file, b"13 execute-1").unwrap();
    let mut shim = scene.start();
    shim.go();
    assert_eq!((shim.report(), shim.wait()), (Some(Report::Held), Some(status::HELD)));
    assert_eq!((scene.files(), scene.path("marker").exists()), (vec![], false));
    assert_eq!(RunFile::read(&scene.run_file).unwrap().owner(), Some(&b"13 execute-1"[..]));
}

#[test]
fn a_start_record_that_is_not_whole_does_not_count() {
    for partial in ["", "{\"boot_id\":\"a-b"] {
        let scene = Scene::sh("exit 6");
        let size = fs::metadata(scene.path("run-file")).unwrap().len();
        scene.run_file.write_all_at(partial.as_bytes(), 1024 + "12 execute-1\n".len() as u64).unwrap();
        assert_eq!(fs::metadata(scene.path("run-file")).unwrap().len(), size);
        assert_eq!(scene.run().code, Some(6));
    }
}

#[test]
fn what_is_not_the_command_s_fault_is_reported_and_leaves_nothing() {
    let refused = |scene: Scene, step: Step, errno: i32, left: &[&str]| {
        let mut shim = scene.start();
        shim.go();
        assert_eq!(shim.report(), Some(Report::Failed { step, errno }), "{step:?}");
        assert_eq!(shim.wait(), Some(status::UNPREPARED));
        assert_eq!(scene.files(), left);
    };
    let scene = Scene::sh("exit 0");
    symlink("/etc/passwd", scene.job_dir.join("stdout")).unwrap();
    refused(scene, Step::Stdout, libc::ELOOP, &["stdout"]);
    let scene = Scene::sh("exit 0");
    fs::create_dir(scene.job_dir.join("stderr")).unwrap();
    refused(scene, Step::Stderr, libc::EISDIR, &["stderr"]);
    let scene = Scene::sh("exit 0");
    make_fifo(&scene.job_dir.join("stdout"));
    refused(scene, Step::Stdout, libc::ENXIO, &["stdout"]);
    let gone = || PathBuf::from("/no/such/group");
    for group in
        [JobCgroup::V2 { dir: gone(), others: vec![] }, JobCgroup::V1 { freezer: gone(), others: vec![gone()] }]
    {
        let scene = Scene::sh("exit 0").with(|plan| plan.cgroup = Some(group));
        refused(scene, Step::Cgroup, libc::ENOENT, &[]);
    }
    let scene = Scene::sh("exit 0").with(|plan| plan.stdout = LogTarget::InJobDir(b"../x".to_vec()));
    refused(scene, Step::Plan, libc::EINVAL, &[]);
}

#[test]
fn qrmd_is_started_again_unless_it_lives_or_was_stopped() {
    let scene = Scene::sh("exit 0");
    let up = scene.fifo("up");
    let path = |name: &str| scene.path(name).into_os_string().into_encoded_bytes();
    let run = |case: &str| {
        let scene = Scene::sh("exit 0").with(|plan| {
            let script = format!("echo {case} $X $# $* > {}", up.display());
            plan.restart = Some(Restart {
                qrmd: b"/bin/sh".to_vec(),
                args: vec![b"-c".to_vec(), script.into_bytes(), b"zero".to_vec(), b"a b".to_vec()],
                env: vec![b"X=y".to_vec()],
                lock: path("lock"),
                stopped: path("stopped"),
            });
        });
        assert_eq!(scene.run().code, Some(0));
    };
    run("gone");
    let lock_file = File::create(scene.path("lock")).unwrap();
    assert!(lock::take(&lock_file).unwrap());
    run("alive");
    drop(lock_file);
    fs::write(scene.path("stopped"), "").unwrap();
    run("stopped");
    fs::remove_file(scene.path("stopped")).unwrap();
    run("absent");
    assert_eq!(hear(&up), "absent y 1 a b\n");
}
