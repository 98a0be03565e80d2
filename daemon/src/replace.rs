//! The daemon replaced by the program that is now at its place, in the same process: nobody else may start meanwhile.
//! It refuses to give up a daemon that works for a program that could not take over.

use crate::listen::Handed;
use crate::notify;
use crate::state_dir::StateDir;
use qrm_protocol::error::{Code, Error};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The hidden argument that names descriptors: of the lock of the state, of that of starting, of the socket, whose that is, and
/// of clients.
pub const INHERIT: &str = "--inherit";

/// The release of the program that could take over.
///
/// # Errors
/// There is none, or it says that it could not: of its configuration or its store.
pub fn successor(program: &Path, state: &Path, config: &[OsString]) -> Result<String, Error> {
    let failed = |why: &dyn std::fmt::Display| {
        Error::new(Code::FailedPrecondition, format!("{} could not take over: {why}", program.display()))
            .hint("this daemon goes on; mend that, or qrm daemon stop and start it anew")
    };
    let ask = |args: &[OsString]| {
        let mut command = Command::new(program);
        command.args(args).env_remove(notify::SOCKET).stdin(Stdio::null());
        let output = command.output().map_err(|e| failed(&e))?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match output.status.success() {
            true => Ok(said),
            false => Err(failed(&String::from_utf8_lossy(&output.stderr).trim())),
        }
    };
    let mut check = vec!["--check".into(), "--state".into(), state.into()];
    check.extend(config.iter().cloned());
    ask(&check)?;
    let version = ask(&["--version".into()])?;
    Ok(version.rsplit(' ').next().unwrap_or_default().to_owned())
}

/// What a program hands over to the one that follows it in the same process.
pub struct Inherited {
    /// That of the state's lock.
    pub lock: OwnedFd,
    /// That of the lock of starting.
    pub starting: OwnedFd,
    /// The socket, which listens on: who comes meanwhile waits there.
    pub socket: Handed,
    /// Those who were connected and asked nothing.
    pub clients: Vec<OwnedFd>,
}

/// Becomes the program. Returns only if that failed.
#[must_use]
pub fn become_it(program: &Path, dir: &StateDir, starting: &OwnedFd, socket: &Handed, clients: &[OwnedFd]) -> Error {
    let failed = |why: &dyn std::fmt::Display| {
        Error::new(Code::Unavailable, format!("{} could not be executed: {why}", program.display()))
    };
    let lock = dir.lock();
    let fds = [lock.as_fd(), starting.as_fd(), socket.fd.as_fd()].into_iter().chain(clients.iter().map(AsFd::as_fd));
    let mut words = Vec::new();
    for fd in fds {
        if let Err(error) = fcntl_getfd(fd).and_then(|flags| fcntl_setfd(fd, flags - FdFlags::CLOEXEC)) {
            return failed(&error);
        }
        words.push(fd.as_raw_fd().to_string());
    }
    words.insert(3, socket.whose.to_string());
    let mut args = std::env::args_os().skip(1);
    let mut kept = Vec::new();
    while let Some(arg) = args.next() {
        match arg.to_str() {
            // Who started the first one has been told.
            Some("--spawned") => {}
            Some(INHERIT) => drop(args.next()),
            _ => kept.push(arg),
        }
    }
    failed(&Command::new(program).args(kept).arg(INHERIT).arg(words.join(",")).exec())
}

/// What an [`INHERIT`] names, once and for the first who asks.
///
/// # Errors
/// They are no descriptors that are open.
pub fn inherited(text: &str) -> Result<Inherited, Error> {
    let wrong = || Error::invalid(format!("{INHERIT} {text}: qrmd gives that to itself"));
    let mut words = text.split(',');
    let mut word = || words.next().ok_or_else(wrong);
    let take = |text: &str| {
        let fd = text.parse().ok().filter(|fd| *fd > 2).ok_or_else(wrong)?;
        // SAFETY: it is looked at before anything else could have opened one of this number; it is ours if it is open.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let flags = fcntl_getfd(&fd);
        let set = flags.and_then(|flags| fcntl_setfd(&fd, flags | FdFlags::CLOEXEC));
        match set {
            Ok(()) => Ok(fd),
            Err(_) => {
                // Closing what is not open is a mistake of its own.
                std::mem::forget(fd);
                Err(wrong())
            }
        }
    };
    let (lock, starting, fd) = (take(word()?)?, take(word()?)?, take(word()?)?);
    let socket = Handed { fd, whose: word()?.parse().map_err(|()| wrong())? };
    Ok(Inherited { lock, starting, socket, clients: words.map(take).collect::<Result<_, _>>()? })
}

/// Waits for the children that the program before this one has left, each in its own time.
pub fn reap() {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return };
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let pids: Vec<Pid> = children
        .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>())
        .filter_map(Pid::from_raw)
        .collect();
    if pids.is_empty() {
        return;
    }
    let reaper = std::thread::Builder::new().name("reap".into()).spawn(move || {
        for pid in pids {
            if let Err(error) = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED)) {
                tracing::debug!(%error, ?pid, "a child of before");
            }
        }
    });
    if let Err(error) = reaper {
        tracing::warn!(%error, "children of before stay as they are");
    }
}
