//! A daemon whose socket somebody else has made and goes on listening at, as systemd does.
//! It refuses to need systemd for that.

use crate::hands::code;
use crate::world::{Said, World};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A daemon that finds this socket where systemd puts the first one, and is told of so many.
pub fn handed(world: &World, socket: &OwnedFd, count: u32) -> Command {
    let mut shell = world.at(Path::new("/bin/sh"));
    let script = format!(
        "exec 3<&0 4<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS={count} LISTEN_FDNAMES=a; exec \"$0\" --foreground \"$@\""
    );
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_qrmd")]).stdin(Stdio::from(socket.try_clone().unwrap()));
    shell.stdout(Stdio::null()).stderr(Stdio::piped());
    shell
}

fn listening(world: &World) -> (PathBuf, OwnedFd) {
    let path = world.dir().join("lent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    (path, listener.into())
}

/// `qrm` at that socket.
fn ask(world: &World, socket: &Path, line: &str) -> Command {
    let mut qrm = world.program("qrm");
    qrm.arg("--socket").arg(socket).args(line.split_whitespace());
    qrm
}

fn ended(mut daemon: Child) -> (i32, String) {
    let code = code(&mut daemon);
    (code, std::io::read_to_string(daemon.stderr.take().unwrap()).unwrap())
}

#[test]
fn who_asked_before_the_daemon_was_there_is_answered_at_a_socket_that_outlives_it() {
    let world = World::new();
    let (path, socket) = listening(&world);
    let script = "cat /proc/$PPID/environ /proc/self/environ | tr '\\0' '\\n'";
    let run = |n: i32| {
        let mut run = ask(&world, &path, "run -- sh -c");
        run.arg(format!("{script}; exit {n}")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for round in 5..7 {
        let early = run(round);
        let daemon = handed(&world, &socket, 1).spawn().unwrap();
        let said = Said::of(early.wait_with_output().unwrap());
        assert_eq!(said.code, round, "{said:?}");
        assert!(said.out.contains("QRM_JOB_ID=") && !said.out.contains("LISTEN_"), "{said:?}");
        let status = Said::of(ask(&world, &path, "--json daemon status").output().unwrap()).json();
        assert_eq!(status["socket"], path.to_str().unwrap());
        assert!(!world.socket().exists(), "it made one of its own");
        Said::of(ask(&world, &path, "daemon stop").output().unwrap()).ok();
        assert_eq!(ended(daemon).0, 0);
        assert!(UnixStream::connect(&path).is_ok(), "the socket went with the daemon");
    }
}

#[test]
fn a_socket_that_is_no_place_to_be_asked_at_is_refused() {
    let world = World::new();
    let (path, socket) = listening(&world);
    let datagram = OwnedFd::from(UnixDatagram::bind(world.dir().join("datagram")).unwrap());
    let connected = OwnedFd::from(UnixStream::pair().unwrap().0);
    let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    for (socket, count, args, why) in [
        (&datagram, 1, None, "it is not a Unix stream socket that listens"),
        (&connected, 1, None, "it is not a Unix stream socket that listens"),
        (&file, 1, None, "it is not a Unix stream socket that listens"),
        (&socket, 2, None, "they are 2"),
        (&socket, 1, Some("--socket=/elsewhere"), "and --socket names /elsewhere"),
    ] {
        let (code, said) = ended(handed(&world, socket, count).args(args).spawn().unwrap());
        assert!(code == 2 && said.contains(why) && said.contains("qrmd.socket"), "{why}: {code} {said}");
    }
    assert!(path.exists() && !world.socket().exists());
}

#[test]
fn a_socket_meant_for_another_process_is_none() {
    let world = World::new();
    let mut start = world.program("qrm");
    // As in the environment of who was started for a socket of their own.
    start.args(["daemon", "start"]).env("LISTEN_PID", "1").env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "theirs");
    Said::of(start.output().unwrap()).ok();
    assert!(world.socket().exists());
}
