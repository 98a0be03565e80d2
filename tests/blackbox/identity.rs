//! Whose the daemon is, what it keeps to itself, and when it comes and goes.
//! Where another user is needed, the test is one for root.

use crate::hands::{Gate, Wire, code, line, signal, words};
use crate::world::World;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::json;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o777
}

fn gone(pid: i32) {
    let Ok(fd) = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()) else { return };
    let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, None).unwrap();
}

#[test]
fn what_it_keeps_is_its_owners_alone_whatever_the_mask() {
    let world = World::new();
    let script = "umask 000; exec \"$QRM\" submit -- sh -c 'echo secret; umask; test ! -e out && echo >out'";
    assert!(world.shell(script).stdout(Stdio::null()).status().unwrap().success());
    let job = world.ended("1");
    let state = world.state();
    assert_eq!((mode(&state), mode(&state.join("jobs"))), (0o700, 0o700));
    for name in ["qrm.sock", "qrm.sqlite", "qrmd.log", "qrmd.lock", "start.lock"] {
        assert_eq!(mode(&state.join(name)), 0o600, "{name}");
    }
    for entry in std::fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
    let output = Path::new(job["dir"].as_str().unwrap()).join("stdout");
    assert_eq!(mode(&output) & 0o077, 0);
    assert_eq!(mode(&world.dir().join("out")), 0o666);
}

#[test]
fn a_state_directory_that_was_opened_is_closed_again() {
    let world = World::new();
    world.submit("--hold", "true");
    world.run("daemon stop").ok();
    std::fs::set_permissions(world.state(), std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::set_permissions(world.state().join("jobs"), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(world.show("1")["state"], "queued");
    assert_eq!((mode(&world.state()), mode(&world.state().join("jobs"))), (0o700, 0o700));
}

#[test]
fn another_user_is_told_that_this_daemon_is_not_theirs() {
    if !rustix::process::getuid().is_root() {
        return eprintln!("needs root, to be somebody else");
    }
    let world = World::new();
    let secret = world.submit("--hold", "true");
    let copy = world.dir().join("qrm");
    std::fs::copy(world.program("qrm").get_program(), &copy).unwrap();
    let open = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    open(world.dir(), 0o755);
    open(&copy, 0o755);
    let as_other = |args: &[&str]| {
        let mut command = Command::new(&copy);
        command.arg("--socket").arg(world.socket()).args(args).env_clear().uid(65_534).gid(65_534);
        command.current_dir("/").stdin(Stdio::null()).output().unwrap()
    };
    let output = as_other(&["jobs"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    // Even where someone opened the doors, the daemon looks at who comes.
    open(&world.state(), 0o755);
    open(&world.socket(), 0o666);
    for args in [&["jobs"][..], &["cancel", &secret], &["daemon", "stop"], &["submit", "--", "true"], &["events"]] {
        let output = as_other(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.code() == Some(2) && text.contains("serves the user who started it"),
            "{args:?} {output:?}"
        );
    }
    assert_eq!(world.show(&secret)["state"], "queued");
    // A directory that is someone else's is not taken.
    world.run("cancel 1").ok();
    world.run("daemon stop").ok();
    std::os::unix::fs::chown(world.state(), Some(65_534), None).unwrap();
    let said = world.run("jobs");
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.err.contains("belongs to user 65534"), "{said:?}");
    std::os::unix::fs::chown(world.state(), Some(0), None).unwrap();
}

#[test]
fn a_second_daemon_is_refused_and_told_who_holds_the_state() {
    let world = World::new();
    world.submit("--hold", "true");
    let holder = world.daemon().unwrap();
    for args in [&["--foreground"][..], &[], &["--foreground", "--socket", "other.sock"]] {
        let output = world.program("qrmd").args(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text.contains(&format!("another qrmd (process {holder}) serves")), "{text}");
    }
    assert_eq!(world.daemon(), Some(holder));
    assert_eq!(world.show("1")["state"], "queued");
}

#[test]
fn whoever_comes_first_starts_one_daemon_for_all() {
    let world = World::new();
    let children: Vec<_> = (0..8).map(|_| world.spawn("submit --hold -- true")).collect();
    let mut ids: Vec<String> =
        children.into_iter().map(|c| String::from_utf8(c.wait_with_output().unwrap().stdout).unwrap()).collect();
    ids.sort();
    assert_eq!(ids.concat(), "1\n2\n3\n4\n5\n6\n7\n8\n");
    let log = std::fs::read_to_string(world.state().join("qrmd.log")).unwrap();
    assert_eq!(log.matches("qrmd serves").count(), 1, "{log}");
}

#[test]
fn a_socket_that_a_dead_daemon_left_is_replaced() {
    let world = World::new();
    world.submit("--hold", "true");
    world.kill_daemon();
    assert!(world.socket().exists());
    assert_eq!(world.run("daemon status").code, 3);
    assert_eq!(world.show("1")["state"], "queued");
    world.run("daemon stop").ok();
    std::fs::write(world.socket(), "no socket").unwrap();
    assert_eq!(world.show("1")["state"], "queued");
}

/// A daemon of this world at a socket of its own, that answers.
fn daemon_at(world: &World, socket: &Path) -> Child {
    let mut daemon = world.program("qrmd");
    daemon.args(["--spawned", "--socket"]).arg(socket).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut daemon = daemon.spawn().unwrap();
    assert_eq!(line(&mut daemon), "ready");
    daemon
}

#[test]
fn what_is_at_the_place_of_its_socket_stays_unless_a_dead_daemon_left_it() {
    let (one, other) = (World::new(), World::new());
    one.submit("--hold", "true");
    let at = |name: &str| other.dir().join(name);
    std::fs::write(at("notes"), "mine").unwrap();
    std::os::unix::fs::symlink(one.socket(), at("link")).unwrap();
    let _datagrams = std::os::unix::net::UnixDatagram::bind(at("datagrams")).unwrap();
    for (place, why) in [
        (at("notes"), "what is there is no socket"),
        (at("link"), "what is there is no socket"),
        (at("datagrams"), "the one that is there is not qrmd's"),
        (one.socket(), "another process serves the one that is there"),
    ] {
        let output = other.program("qrmd").arg("--socket").arg(&place).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(&format!("{}: {why}", place.display())), "{text}");
        assert!(place.symlink_metadata().is_ok(), "{} is gone", place.display());
    }
    assert_eq!(std::fs::read_to_string(at("notes")).unwrap(), "mine");
    assert_eq!(one.show("1")["state"], "queued", "the other daemon goes on");

    drop(UnixListener::bind(at("dead")).unwrap());
    let mut daemon = daemon_at(&other, &at("dead"));
    signal(&daemon, Signal::TERM);
    assert_eq!((code(&mut daemon), at("dead").exists()), (0, false));
}

#[test]
fn a_socket_that_is_not_its_own_any_more_stays_when_it_ends() {
    let world = World::new();
    let place = world.dir().join("place");
    let mut daemon = daemon_at(&world, &place);
    std::fs::remove_file(&place).unwrap();
    let _next = UnixListener::bind(&place).unwrap();
    signal(&daemon, Signal::TERM);
    assert_eq!((code(&mut daemon), place.exists()), (0, true));
}

#[test]
fn a_path_too_long_for_a_socket_works() {
    struct Stop<'a>(&'a World);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.run("cancel state=live");
            self.0.run("daemon stop");
        }
    }
    let mut world = World::new();
    let deep = world.dir().join("d".repeat(100)).join("e".repeat(100)).join("state");
    world.set("QRM_STATE_DIR", deep.to_str().unwrap());
    let world = Stop(&world);
    assert_eq!(world.0.qrm(["run", "--", "sh", "-c", "exit 6"]).code, 6);
    assert!(deep.join("qrm.sock").exists());
    world.0.run("daemon stop").ok();
    assert_eq!(world.0.run("--json show 1").json()["exit_code"], 6);
}

#[test]
fn the_daemon_says_how_it_is() {
    let world = World::new();
    for (line, code) in [
        ("daemon status", 3),
        ("daemon stop", 0),
        ("daemon start", 0),
        ("daemon start", 0),
        ("daemon status", 0),
        ("daemon stop", 0),
        ("daemon status", 3),
        ("daemon stop", 0),
    ] {
        let said = world.run(line);
        assert_eq!(said.code, code, "{line}: {said:?}");
    }
    assert_eq!(world.run("daemon stop").ok(), "no qrmd runs\n");
    assert_eq!(world.run("--json daemon status").json()["error"]["code"], "NO_DAEMON");
    assert_eq!(world.run("--json daemon stop").json(), json!({"stopped": false}));
    let status = world.run("--json daemon start").json();
    assert_eq!((status["mode"].as_str(), status["durability"].as_str()), (Some("user"), Some("full")));
    assert_eq!(status["socket"], world.socket().to_str().unwrap());
    assert_eq!(world.run("--json daemon stop").json(), json!({"stopped": true}));
    for _ in 0..15 {
        world.run("daemon start").ok();
        world.run("daemon stop").ok();
    }
}

#[test]
fn a_job_goes_on_without_a_daemon_and_its_end_is_known_afterwards() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let id = world.submit("", &format!("echo $PPID >shim; {}; echo done; exit 9", gate.wait()));
    world.executing(&id);
    let waiting = world.submit(&format!("--after {id}"), "echo later");
    world.run("daemon stop").ok();
    gate.open(1);
    gone(words(&world, "shim")[0].parse().unwrap());
    // Stopped on purpose, it stays stopped.
    assert_eq!(world.run("daemon status").code, 3);
    world.run("daemon start").ok();
    let job = world.ended(&id);
    assert_eq!((job["state"].as_str(), job["exit_code"].as_i64()), (Some("failed"), Some(9)));
    assert_eq!(world.run(&format!("logs {id}")).ok(), "done\n");
    assert_eq!(world.ended(&waiting)["state"], "completed");
}

#[test]
fn a_daemon_that_was_killed_comes_back_with_the_next_end_and_one_that_was_told_to_end_does_not() {
    for told in [false, true] {
        let world = World::new();
        let gate = Gate::new(&world, "gate");
        let id = world.submit("", &format!("echo $PPID >shim; {}", gate.wait()));
        world.executing(&id);
        let next = world.submit(&format!("--after {id}"), "echo it >>ran");
        let pid = world.daemon().unwrap();
        if told {
            kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
            gone(pid);
        } else {
            world.kill_daemon();
        }
        gate.open(1);
        gone(words(&world, "shim")[0].parse().unwrap());
        if told {
            assert_eq!(world.run("daemon status").code, 3);
        } else {
            while world.run("daemon status").code == 3 {}
            assert_ne!(world.daemon(), Some(pid));
        }
        assert_eq!(world.ended(&next)["state"], "completed");
        assert_eq!(words(&world, "ran"), ["it"]);
    }
}

#[test]
fn a_setting_that_can_not_be_meant_is_told_to_who_wanted_a_daemon() {
    let mut world = World::new();
    std::fs::write(world.dir().join("c.toml"), "[store]\ndurabilty = \"full\"\n").unwrap();
    world.set("QRM_CONFIG", world.dir().join("c.toml").to_str().unwrap());
    let said = world.run("submit -- true");
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("c.toml:2") && said.err.contains("did you mean store.durability?"), "{said:?}");
    world.unset("QRM_CONFIG");
    world.set("QRM_HOST_CPUS", "many");
    assert!(world.run("submit -- true").err.contains("QRM_HOST_CPUS"));
    world.unset("QRM_HOST_CPUS");
    std::fs::remove_dir_all(world.state()).unwrap();
    std::fs::write(world.state(), "a file").unwrap();
    let said = world.run("submit -- true");
    assert!(said.code == 3 && said.err.contains("state"), "{said:?}");
    std::fs::remove_file(world.state()).unwrap();
    assert_eq!(world.run("run -- true").code, 0);
    Wire::new(&world).call("daemon.stop", &json!({}));
}
