//! POSIX record locks: held means alive, and the holder's pid can be asked for.
//! It knows nothing of what a lock is for. The lock goes with the process, not with its children; closing any
//! descriptor of the file in the process gives it up.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Takes the write lock of the whole file; `false` if another process has it.
///
/// # Errors
/// The file system has no locks, or the file is not open for writing.
pub fn take(file: impl AsFd) -> io::Result<bool> {
    let mut lock = whole();
    // SAFETY: the descriptor is open and the structure is valid for the call.
    if unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_SETLK, &raw mut lock) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EAGAIN)) => Ok(false),
        error => Err(error),
    }
}

/// The pid of the process that holds the lock (0 if it is in another pid namespace); `None` if none does, also if
/// we do ourselves.
///
/// # Errors
/// The file system has no locks.
pub fn holder(file: impl AsFd) -> io::Result<Option<u32>> {
    let mut lock = whole();
    // SAFETY: the descriptor is open and the structure is valid for the call.
    if unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_GETLK, &raw mut lock) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let held = lock.l_type != libc::F_UNLCK as libc::c_short;
    Ok(held.then(|| u32::try_from(lock.l_pid).unwrap_or(0)))
}

fn whole() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}
