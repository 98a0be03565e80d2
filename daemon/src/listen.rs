//! The socket at which the daemon listens: made where nobody else is, and taken away at the end if it is still ours.
//! It refuses to remove what is no socket, and one that somebody serves.

use crate::mode::Mode;
use interprocess::local_socket::tokio::Listener;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, ToFsName};
use interprocess::os::unix::local_socket::ListenerOptionsExt;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::place;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// A socket that this process made.
pub(crate) struct Socket {
    path: PathBuf,
    /// Its device and number, by which it is told from one that another daemon has put there since.
    is: (u64, u64),
}

/// Listens at a place. What was left at our own, in a state that nobody else holds, is nobody's.
///
/// # Errors
/// The place is taken, or a socket can not be made there.
pub(crate) fn listen(path: &Path, is_own: bool, mode: Mode) -> Result<(Listener, Socket), Error> {
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
    Ok((listener, Socket { path: path.to_owned(), is: (made.dev(), made.ino()) }))
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
    /// Takes it away, unless it is another one by now.
    pub(crate) fn remove(&self) {
        let still = std::fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.is);
        if !still {
            return tracing::debug!(socket = %self.path.display(), "the socket is gone already");
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, socket = %self.path.display(), "the socket stays");
        }
    }
}
