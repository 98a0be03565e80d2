//! The socket at which the daemon listens: systemd's if that gave one, else made where nobody else is, and taken away at the
//! end if it is still ours. It refuses to remove what is no socket, what somebody else serves, and what is systemd's.

use interprocess::local_socket::tokio::Listener;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, ToFsName};
use interprocess::os::unix::local_socket::ListenerOptionsExt;
use interprocess::os::unix::uds_local_socket::tokio::Listener as UnixListener;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::place;
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::io::ErrorKind;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// The socket that is served.
pub(crate) struct Socket {
    path: PathBuf,
    /// Its device and number, by which it is told from one that another daemon has put there since; nothing if it is
    /// systemd's, which has made it and goes on listening.
    is: Option<(u64, u64)>,
}

/// A socket that listens already, and where.
pub(crate) struct Lent {
    fd: OwnedFd,
    pub path: PathBuf,
}

/// The socket that systemd gave this process, sd_listen_fds(3). What said so is taken out of the environment: whatever is
/// started from here has no such socket. To be called while there is one thread.
///
/// # Errors
/// What it gave is not one Unix socket that listens at a path.
pub(crate) fn lent() -> Result<Option<Lent>, Error> {
    let wrong = |why: &dyn std::fmt::Display| {
        Error::new(Code::FailedPrecondition, format!("the socket that systemd hands over is not used: {why}"))
            .hint("one ListenStream= with a path in qrmd.socket works; so does none")
    };
    // SAFETY: there is one thread, by what is said above.
    let given = unsafe {
        let given = sd_notify::listen_fds_and_unset_env();
        std::env::remove_var("LISTEN_FDNAMES");
        given
    };
    let given: Vec<_> = given.map_err(|e| wrong(&e))?.collect();
    let fd = match given[..] {
        [] => return Ok(None),
        // SAFETY: it is open, which was checked with its flags, it is meant for us, and nobody else has looked.
        [fd] => unsafe { OwnedFd::from_raw_fd(fd) },
        _ => return Err(wrong(&format!("they are {}", given.len()))),
    };
    let is_one = sockopt::socket_domain(&fd).is_ok_and(|domain| domain == AddressFamily::UNIX)
        && sockopt::socket_type(&fd).is_ok_and(|kind| kind == SocketType::STREAM)
        && sockopt::socket_acceptconn(&fd).unwrap_or(false);
    if !is_one {
        return Err(wrong(&"it is not a Unix stream socket that listens"));
    }
    let listener = std::os::unix::net::UnixListener::from(fd);
    let at = listener.local_addr().map_err(|e| wrong(&e))?;
    let path = at.as_pathname().ok_or_else(|| wrong(&"it has no path"))?.to_owned();
    Ok(Some(Lent { fd: listener.into(), path }))
}

/// Serves what was lent; a place that was named must be that one.
///
/// # Errors
/// It is another one, or the system can not give what a listener needs.
pub(crate) fn take(lent: Lent, named: Option<&Path>) -> Result<(Listener, Socket), Error> {
    let Lent { fd, path } = lent;
    if let Some(named) = named.filter(|named| **named != *path) {
        let message = format!("systemd listens at {}, and --socket names {}", path.display(), named.display());
        return Err(Error::new(Code::FailedPrecondition, message).hint("leave --socket out, or change qrmd.socket"));
    }
    let listener = UnixListener::try_from(fd)
        .map_err(|e| Error::new(Code::Unavailable, format!("the socket {} can not be served: {e}", path.display())))?;
    Ok((listener.into(), Socket { path, is: None }))
}

/// Listens at a place. What was left at our own, in a state that nobody else holds, is nobody's.
///
/// # Errors
/// The place is taken, or a socket can not be made there.
pub(crate) fn listen(path: &Path, is_own: bool) -> Result<(Listener, Socket), Error> {
    let failed = |why: std::io::Error| {
        Error::new(Code::Unavailable, format!("the socket {} can not be made: {why}", path.display()))
            .hint("--socket names another place")
    };
    let short = place::socket_path(path)?;
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(found) => {
            if let Some(why) = taken(found.file_type().is_socket(), &short.path, is_own) {
                let message = format!("no socket is made at {}: {why}", path.display());
                return Err(Error::new(Code::FailedPrecondition, message).hint("--socket names another place"));
            }
            std::fs::remove_file(path).map_err(failed)?;
        }
    }
    let name = short.path.as_path().to_fs_name::<GenericFilePath>().map_err(failed)?;
    let listener = ListenerOptions::new().name(name).mode(0o600).reclaim_name(false).create_tokio().map_err(failed)?;
    let made = std::fs::symlink_metadata(path).map_err(failed)?;
    Ok((listener, Socket { path: path.to_owned(), is: Some((made.dev(), made.ino())) }))
}

/// Why what is there has to stay.
fn taken(is_socket: bool, path: &Path, is_own: bool) -> Option<String> {
    if !is_socket {
        return (!is_own).then(|| "what is there is no socket".to_owned());
    }
    match UnixStream::connect(path) {
        Ok(_) => Some("another process serves the one that is there".to_owned()),
        // Only this says that whoever made it is gone; one that is not like ours is somebody's.
        Err(error) if is_own || error.kind() == ErrorKind::ConnectionRefused => None,
        Err(error) => Some(format!("the one that is there is not qrmd's: {error}")),
    }
}

impl Socket {
    /// Takes it away, unless it is not ours, or another one by now.
    pub(crate) fn remove(&self) {
        let Some(is) = self.is else { return };
        let still = std::fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == is);
        if !still {
            return tracing::debug!(socket = %self.path.display(), "the socket is gone already");
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, socket = %self.path.display(), "the socket stays");
        }
    }
}
