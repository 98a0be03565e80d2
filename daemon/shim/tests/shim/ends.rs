//! How commands end, and what the records say of it.

use qrm_shim::record::{ExecError, PeakFrom, Step};

use crate::group::memory_v1;
use crate::scene::{Scene, hear, tell};

#[test]
fn the_exact_code_or_signal_is_recorded() {
    for (script, code, signal) in [
        ("exit 0", Some(0), None),
        ("exit 7", Some(7), None),
        ("exit 255", Some(255), None),
        ("kill -TERM $$", None, Some(libc::SIGTERM)),
        ("kill -KILL $$", None, Some(libc::SIGKILL)),
        // It does not reach the shim.
        ("kill -KILL 0", None, Some(libc::SIGKILL)),
        ("trap 'exit 9' TERM; kill 0; exit 1", Some(9), None),
    ] {
        let exit = Scene::sh(script).run();
        assert_eq!((exit.code, exit.signal, exit.exec_error), (code, signal, None), "{script}");
    }
}

#[test]
fn what_cannot_be_executed_ends_as_in_a_shell_and_says_why() {
    let scene = Scene::sh("exit 0");
    let plain = scene.path("plain");
    std::fs::write(&plain, "exit 5").unwrap();
    let (plain, dir) = (plain.to_str().unwrap(), scene.root.path().to_str().unwrap());
    for (name, path, code, errno) in [
        ("/no/such/program", "/bin", 127, libc::ENOENT),
        ("no-such-program", "/bin:/usr/bin", 127, libc::ENOENT),
        ("", "/bin", 127, libc::ENOENT),
        (plain, "/bin", 126, libc::EACCES),
        // One that may not be executed is passed over, and named if nothing better is found.
        ("plain", dir, 126, libc::EACCES),
        ("/", "/bin", 126, libc::EACCES),
        ("/etc/passwd/x", "/bin", 127, libc::ENOTDIR),
    ] {
        let scene = Scene::new(&[name]).with(|plan| plan.env = vec![format!("PATH={path}").into_bytes()]);
        let exit = scene.run();
        assert_eq!((exit.code, exit.signal), (Some(code), None), "{name:?}");
        assert_eq!(exit.exec_error, Some(ExecError { stage: Step::Exec, errno }), "{name:?}");
    }
}

#[test]
fn a_script_without_an_interpreter_is_run_by_the_shell_with_its_arguments() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new(&["script", "a b", "c"]);
    std::fs::write(scene.path("script"), "echo \"$0|$1|$2\"").unwrap();
    std::fs::set_permissions(scene.path("script"), PermissionsExt::from_mode(0o700)).unwrap();
    let root = scene.root.path().to_str().unwrap().to_owned();
    let scene = scene.with(|plan| plan.env = vec![format!("PATH=/no/such/dir:{root}").into_bytes()]);
    assert_eq!(scene.run().code, Some(0));
    assert_eq!(scene.read("stdout"), format!("{root}/script|a b|c\n"));
}

#[test]
fn a_directory_that_is_missing_is_the_command_s_failure() {
    let scene = Scene::sh("exit 0").with(|plan| plan.cwd = b"/no/such/directory".to_vec());
    let exit = scene.run();
    assert_eq!(exit.code, Some(126));
    assert_eq!(exit.exec_error, Some(ExecError { stage: Step::Chdir, errno: libc::ENOENT }));
}

#[test]
fn the_records_are_whole_and_tell_who_ran_when() {
    let scene = Scene::sh("exit 3");
    let exit = scene.run();
    assert_eq!(scene.files(), ["stderr", "stdout"]);
    let started = scene.started();
    assert_eq!(started.boot_id, "a-boot");
    assert!(started.shim_pid != started.pid && started.shim_start <= started.pid_start && started.shim_start > 0);
    assert_eq!((started.at_wall_ms, started.at_boot_ms), (exit.started_wall_ms, exit.started_boot_ms));
    assert!(exit.ended_wall_ms >= exit.started_wall_ms && exit.ended_boot_ms >= exit.started_boot_ms);
    assert!(exit.max_rss_bytes > 100_000 && exit.peak_memory_bytes == exit.max_rss_bytes);
    assert_eq!((exit.peak_from, exit.oom, exit.killed_leftovers), (PeakFrom::Rss, false, 0));
}

#[test]
fn what_all_processes_of_a_job_used_is_counted() {
    // A grandchild that nobody in the job waits for, and which ends by itself.
    let work = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done > fifo";
    let scene = Scene::sh(&format!("(sh -c '{work}' &); cat fifo; exit 0"));
    scene.fifo("fifo");
    let exit = scene.run();
    assert_eq!((exit.code, scene.read("stdout").as_str()), (Some(0), "done\n"));
    assert!(exit.user_us + exit.system_us > 20_000, "{exit:?}");
}

#[test]
fn the_peak_of_a_memory_group_is_preferred() {
    let Some(way) = memory_v1() else { return println!("SKIP: no memory hierarchy that we may write to") };
    // The tracker may be any hierarchy as long as nothing is left to be killed.
    let exit = Scene::sh("exit 0").with(|plan| plan.cgroup = way.group.clone()).run();
    assert_eq!((exit.code, exit.peak_from, exit.oom), (Some(0), PeakFrom::Cgroup, false));
    assert!(exit.peak_memory_bytes > 0);
}

#[test]
fn no_signal_but_kill_reaches_a_shim() {
    let scene = Scene::sh("echo ready > up; read line < down; exit 4");
    let (up, down) = (scene.fifo("up"), scene.fifo("down"));
    let mut shim = scene.start();
    shim.go();
    assert_eq!(hear(&up), "ready\n");
    let fatal = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGPIPE];
    for signal in fatal.into_iter().chain([libc::SIGALRM, libc::SIGTSTP, libc::SIGXCPU, libc::SIGRTMIN()]) {
        shim.signal(signal);
    }
    tell(&down, "go on\n");
    assert_eq!((shim.wait(), scene.exit().code), (Some(0), Some(4)));
}
