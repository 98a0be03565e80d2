//! Starts the user's own daemon, once however many ask, and waits until it answers.
//! It refuses to supervise it: from then on the daemon is on its own.

use super::Client;
use crate::error::{Code, Error};
use crate::place::SOCKET_NAME;
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Starts the daemon of a state directory, or finds that another has. While nobody else may start one, none that runs goes
/// away to be replaced, so that the connection is had.
pub(super) fn start(state: &Path) -> Result<Client, Error> {
    let failed = |what: &str, why: &dyn std::fmt::Display| {
        Error::new(Code::NoDaemon, format!("qrmd could not be started: {what}: {why}"))
            .hint("qrmd --foreground shows what it says; qrm doctor says more")
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .map_err(|e| failed(&format!("the state directory {}", state.display()), &e))?;
    let lock = state.join("start.lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let held =
        rustix::fs::open(&lock, flags, Mode::from(0o600)).map_err(|e| failed(&lock.display().to_string(), &e))?;
    // Whoever waited here finds a daemon when it is their turn.
    rustix::fs::flock(&held, FlockOperation::LockExclusive).map_err(|e| failed(&lock.display().to_string(), &e))?;
    if let Ok(client) = Client::connect(&state.join(SOCKET_NAME)) {
        return Ok(client);
    }
    let program = daemon_program();
    let mut child = Command::new(&program)
        .arg("--spawned")
        .arg("--state")
        .arg(state)
        // What we may be a service of is not what it is one of.
        .env_remove("NOTIFY_SOCKET")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| failed(&program.display().to_string(), &e))?;
    // It says one line when it answers its socket, or why it never will.
    let mut said = String::new();
    if let Some(out) = child.stdout.take() {
        let read = out.take(64 * 1024).read_to_string(&mut said);
        read.map_err(|e| failed(&program.display().to_string(), &e))?;
    }
    match said.trim() {
        "ready" => Client::connect(&state.join(SOCKET_NAME)),
        "" => Err(failed(&program.display().to_string(), &"it ended without a word")),
        line => Err(serde_json::from_str(line).unwrap_or_else(|_| failed(&program.display().to_string(), &line))),
    }
}

/// `qrmd` beside the running program, else on the path.
#[must_use]
pub fn daemon_program() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|me| me.with_file_name("qrmd"));
    beside.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from("qrmd"))
}
