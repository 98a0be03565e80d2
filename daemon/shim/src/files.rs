//! The logs of a run in the job's directory: opened, and removed again if nothing came of the run.
//! It knows no records.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, statat, unlinkat};
use rustix::io::Errno;

use crate::fd;
use crate::identity::Acting;
use crate::plan::{Encoded, LogTarget, Plan};
use crate::record::{ExecError, Step, failure};

const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A descriptor that `qrmd` gave us for life.
pub(crate) fn given(fd: RawFd) -> BorrowedFd<'static> {
    // SAFETY: this program closes none of its given descriptors while something of this name is in use.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// close_range(2), by its number: not every C library has it by name. It is not zero if the kernel does not have it.
///
/// # Safety
/// Nothing is in use that is named so.
pub(crate) unsafe fn close_range(first: libc::c_uint, last: libc::c_uint, flags: libc::c_uint) -> libc::c_long {
    // SAFETY: as above; the call takes three numbers.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }
}

/// The descriptors of those logs that are in the job's directory.
pub(crate) struct Logs {
    pub stdout: Option<OwnedFd>,
    /// `None` also if it is the same file.
    pub stderr: Option<OwnedFd>,
}

impl Logs {
    pub fn open(plan: &Plan<Encoded<'_>>) -> Result<Self, ExecError> {
        let _acting = Acting::of(plan.identity.as_ref()).map_err(|error| failure(Step::User, &error))?;
        let open = |target: &LogTarget<_>, step| match target {
            LogTarget::InJobDir(name) => open_log(name).map(Some).map_err(|error| failure(step, &error)),
            LogTarget::File(_) => Ok(None),
        };
        Ok(Self {
            stdout: open(&plan.stdout, Step::Stdout)?,
            stderr: if plan.stdout == plan.stderr { None } else { open(&plan.stderr, Step::Stderr)? },
        })
    }
}

/// A regular file to append to, and no other kind: what an earlier run put in its place cannot stop us.
pub(crate) fn open_log(name: &Encoded<'_>) -> io::Result<OwnedFd> {
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

/// Removes the logs of a run that released nothing, if they are empty.
pub(crate) fn clean(plan: &Plan<Encoded<'_>>) {
    let Ok(_acting) = Acting::of(plan.identity.as_ref()) else { return };
    for target in [&plan.stdout, &plan.stderr] {
        let LogTarget::InJobDir(name) = target else { continue };
        let stat = statat(given(fd::JOB_DIR), name.0, AtFlags::SYMLINK_NOFOLLOW);
        if stat.is_ok_and(|stat| stat.st_size == 0 && is_regular(stat.st_mode)) {
            unlinkat(given(fd::JOB_DIR), name.0, AtFlags::empty()).ok();
        }
    }
}
