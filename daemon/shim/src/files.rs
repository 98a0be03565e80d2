//! The files of a run in the job's directory: opened, set aside, checked and removed.
//! It knows their names and what makes them whole, and not what the records say.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{AtFlags, FallocateFlags, FileType, Mode, OFlags, fallocate, fstat, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::plan::{Encoded, LogTarget, Plan};
use crate::record::{EXIT_RECORD_BYTES, ExecError, Files, Step, failure};
use crate::{fd, lock};

const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A descriptor that `qrmd` gave us for life.
pub(crate) fn given(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: this program closes none of its given descriptors while something of this name is in use.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// The descriptors of the two logs.
pub(crate) struct Logs {
    pub stdout: OwnedFd,
    /// `None` if it is the same file.
    pub stderr: Option<OwnedFd>,
}

impl Logs {
    pub fn open(plan: &Plan<Encoded<'_>>) -> Result<Self, ExecError> {
        let LogTarget::InJobDir(stdout) = &plan.stdout;
        let LogTarget::InJobDir(stderr) = &plan.stderr;
        Ok(Self {
            stdout: open_log(stdout).map_err(|error| failure(Step::Stdout, &error))?,
            stderr: match stdout == stderr {
                true => None,
                false => Some(open_log(stderr).map_err(|error| failure(Step::Stderr, &error))?),
            },
        })
    }
}

/// A regular file to append to, and no other kind: what an earlier run put in its place cannot stop us.
fn open_log(name: &Encoded<'_>) -> io::Result<OwnedFd> {
    let dir = given(fd::JOB_DIR);
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(dir, name.0, flags | OFlags::CREATE | OFlags::EXCL, PRIVATE) {
        Err(Errno::EXIST) => {}
        other => return Ok(other?),
    }
    // Opening a FIFO without a reader would wait for one.
    let file = openat(dir, name.0, flags | OFlags::NONBLOCK, Mode::empty())?;
    if !is_regular(fstat(&file)?.st_mode) {
        return Err(Errno::INVAL.into());
    }
    rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
    Ok(file)
}

fn is_regular(mode: u32) -> bool {
    FileType::from_raw_mode(mode) == FileType::RegularFile
}

/// The run's lock; `None` if another process has it. The file that we hold the lock of is the one that has the name:
/// one that was unlinked while we waited is nobody's.
pub(crate) fn take_lock(name: &str) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    loop {
        let file = openat(given(fd::JOB_DIR), name, flags, PRIVATE)?;
        if !lock::take(&file)? {
            return Ok(None);
        }
        if fstat(&file)?.st_nlink > 0 {
            return Ok(Some(file));
        }
    }
}

/// Whether the command was released before. A start record that is not whole means that it was not; it is removed.
pub(crate) fn was_run(files: &Files) -> io::Result<bool> {
    let dir = given(fd::JOB_DIR);
    match statat(dir, files.exit.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => {}
        other => return Ok(other.map(|_| true)?),
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let started = match openat(dir, files.started.as_str(), flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(false),
        other => other?,
    };
    let mut last = [0; 1];
    let size = fstat(&started)?.st_size.cast_unsigned();
    if size > 0 && rustix::io::pread(&started, &mut last, size - 1)? == 1 && last[0] == b'\n' {
        return Ok(true);
    }
    unlinkat(dir, files.started.as_str(), AtFlags::empty())?;
    Ok(false)
}

/// The exit record's file with its space, so that a full disk cannot lose the end of the job.
pub(crate) fn reserve(name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(given(fd::JOB_DIR), name, flags, PRIVATE)?;
    match fallocate(&file, FallocateFlags::empty(), 0, EXIT_RECORD_BYTES) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let padding = [0; EXIT_RECORD_BYTES as usize];
            if rustix::io::write(&file, &padding)? != padding.len() {
                return Err(Errno::NOSPC.into());
            }
        }
        other => other?,
    }
    Ok(file)
}

/// Writes a file that is not there yet, in one piece. The name is a C string, because the child allocates nothing.
pub(crate) fn write_new(name: &std::ffi::CStr, text: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(given(fd::JOB_DIR), name, flags, PRIVATE)?;
    match rustix::io::write(&file, text.as_bytes())? == text.len() {
        true => Ok(()),
        false => Err(Errno::NOSPC.into()),
    }
}

/// Removes what a run that released nothing has made. The lock file goes last, while the lock is held.
pub(crate) fn clean(plan: &Plan<Encoded<'_>>, files: &Files) {
    let LogTarget::InJobDir(stdout) = &plan.stdout;
    let LogTarget::InJobDir(stderr) = &plan.stderr;
    for name in [stdout, stderr] {
        let stat = statat(given(fd::JOB_DIR), name.0, AtFlags::SYMLINK_NOFOLLOW);
        if stat.is_ok_and(|stat| stat.st_size == 0 && is_regular(stat.st_mode)) {
            remove(name.0);
        }
    }
    for name in [&files.started, &files.exit_tmp, &files.lock] {
        remove(name.as_str());
    }
}

/// Removes a file, if it is there.
fn remove(name: impl rustix::path::Arg) {
    unlinkat(given(fd::JOB_DIR), name, AtFlags::empty()).ok();
}
