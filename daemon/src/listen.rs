//! The socket at which the daemon listens: systemd's if that gave one, else made where nobody else is, and taken away at the
//! end if it is still ours. It refuses to remove what is no socket, what somebody else serves, and what is systemd's.

use crate::mode::Mode;
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
    whose: Whose,
}

/// Who has made a socket, and takes it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// systemd, which goes on listening.
    Lent,
    /// This daemon: its device and number, by which it is told from one that somebody else has put there since.
    Ours(u64, u64),
}

/// A socket that listens already.
pub struct Handed {
    /// It.
    pub fd: OwnedFd,
    /// Who has made it.
    pub whose: Whose,
}

/// The socket that systemd gave this process, sd_listen_fds(3). What said so is taken out of the environment: whatever is
/// started from here has no such socket. To be called while there is one thread.
///
/// # Errors
/// What it gave is not one descriptor that is open.
pub(crate) fn lent() -> Result<Option<Handed>, Error> {
    // SAFETY: there is one thread, by what is said above.
    let given = unsafe {
        let given = sd_notify::listen_fds_and_unset_env();
        std::env::remove_var("LISTEN_FDNAMES");
        given
    };
    let given: Vec<_> = given.map_err(|e| not_used(&e))?.collect();
    match given[..] {
        [] => Ok(None),
        // SAFETY: it is open, which was checked with its flags, it is meant for us, and nobody else has looked.
        [fd] => Ok(Some(Handed { fd: unsafe { OwnedFd::from_raw_fd(fd) }, whose: Whose::Lent })),
        _ => Err(not_used(&format!("they are {}", given.len()))),
    }
}

fn not_used(why: &dyn std::fmt::Display) -> Error {
    Error::new(Code::FailedPrecondition, format!("the socket that systemd hands over is not used: {why}"))
        .hint("one ListenStream= with a path in qrmd.socket works; so does none")
}

/// Listens where there is a socket already, else where `named` says, else at our own place. What was left there, in a state
/// that nobody else holds, is nobody's.
///
/// # Errors
/// The socket that is there is none to be asked at, is not the one that was named, or none can be made.
pub(crate) fn listen(
    handed: Option<Handed>,
    named: Option<&Path>,
    own: &Path,
    mode: Mode,
) -> Result<(Listener, Socket), Error> {
    let path = named.unwrap_or(own);
    match handed {
        Some(Handed { fd, whose: Whose::Lent }) => at_lent(fd, named),
        // One that was taken away meanwhile is heard by nobody: there is another one.
        Some(Handed { fd, whose }) if is_there(path, whose) => {
            Ok((serve(fd, path)?, Socket { path: path.to_owned(), whose }))
        }
        _ => make(path, path == own, mode),
    }
}

fn is_there(path: &Path, whose: Whose) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| Whose::Ours(found.dev(), found.ino()) == whose)
}

fn serve(fd: OwnedFd, path: &Path) -> Result<Listener, Error> {
    let failed = |e| Error::new(Code::Unavailable, format!("the socket {} can not be served: {e}", path.display()));
    Ok(UnixListener::try_from(fd).map_err(failed)?.into())
}

fn at_lent(fd: OwnedFd, named: Option<&Path>) -> Result<(Listener, Socket), Error> {
    let is_one = sockopt::socket_domain(&fd).is_ok_and(|domain| domain == AddressFamily::UNIX)
        && sockopt::socket_type(&fd).is_ok_and(|kind| kind == SocketType::STREAM)
        && sockopt::socket_acceptconn(&fd).unwrap_or(false);
    if !is_one {
        return Err(not_used(&"it is not a Unix stream socket that listens"));
    }
    let listener = std::os::unix::net::UnixListener::from(fd);
    let at = listener.local_addr().map_err(|e| not_used(&e))?;
    let path = at.as_pathname().ok_or_else(|| not_used(&"it has no path"))?;
    if let Some(named) = named.filter(|named| *named != path) {
        let message = format!("systemd listens at {}, and --socket names {}", path.display(), named.display());
        return Err(Error::new(Code::FailedPrecondition, message).hint("leave --socket out, or change qrmd.socket"));
    }
    Ok((serve(listener.into(), path)?, Socket { path: path.to_owned(), whose: Whose::Lent }))
}

fn make(path: &Path, is_own: bool, mode: Mode) -> Result<(Listener, Socket), Error> {
    let failed = |why: std::io::Error| {
        Error::new(Code::Unavailable, format!("the socket {} can not be made: {why}", path.display()))
            .hint("--socket names another place")
    };
    let dir = path.parent().unwrap_or(Path::new("/"));
    if mode == Mode::System {
        make_dir(dir).map_err(failed)?;
        mode.trust(dir).map_err(|why| {
            Error::new(Code::FailedPrecondition, format!("no socket is made at {}: {why}", path.display()))
                .hint("whoever can write there could take the place of the daemon of all; --socket names another place")
        })?;
    }
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
    rustix::fs::chmod(&short.path, mode.door()).map_err(|error| failed(error.into()))?;
    let made = std::fs::symlink_metadata(path).map_err(failed)?;
    Ok((listener, Socket { path: path.to_owned(), whose: Whose::Ours(made.dev(), made.ino()) }))
}

/// The directory of the system's socket, which all may pass, if it is missing.
fn make_dir(dir: &Path) -> std::io::Result<()> {
    match rustix::fs::mkdir(dir, rustix::fs::Mode::RWXU) {
        Ok(()) => Ok(rustix::fs::chmod(dir, rustix::fs::Mode::from(0o755))?),
        Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
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
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether somebody else listens at it, and starts us for who comes.
    pub(crate) fn is_lent(&self) -> bool {
        self.whose == Whose::Lent
    }

    /// For the program that follows.
    ///
    /// # Errors
    /// The runtime does not let go of it.
    pub(crate) fn hand_over(&self, listener: Listener) -> std::io::Result<Handed> {
        let Listener::UdSocket(listener) = listener;
        Ok(Handed { fd: OwnedFd::try_from(listener)?, whose: self.whose })
    }

    /// Takes it away, unless it is not ours, or another one by now.
    pub(crate) fn remove(&self) {
        if self.is_lent() {
            return;
        }
        if !is_there(&self.path, self.whose) {
            return tracing::debug!(socket = %self.path.display(), "the socket is gone already");
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, socket = %self.path.display(), "the socket stays");
        }
    }
}

impl std::fmt::Display for Whose {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lent => to.write_str("lent"),
            Self::Ours(device, number) => write!(to, "{device}:{number}"),
        }
    }
}

impl std::str::FromStr for Whose {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| text.parse().map_err(|_| ());
        match text.split_once(':') {
            None if text == "lent" => Ok(Self::Lent),
            None => Err(()),
            Some((device, inode)) => Ok(Self::Ours(number(device)?, number(inode)?)),
        }
    }
}
