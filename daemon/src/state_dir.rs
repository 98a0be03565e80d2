//! The state directory: made private, proved ours, and held by one daemon at a time.
//! It refuses to take what belongs to someone else, and says who holds what is held.

use crate::mode::Mode;
use qrm_protocol::client::Client;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::place::SOCKET_NAME;
use qrm_shim::lock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode as Bits, OFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::{DirBuilder, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The file whose record lock a living daemon holds.
pub const LOCK: &str = "qrmd.lock";
/// The directory of the jobs' directories.
pub const JOBS: &str = "jobs";

/// The directory of the files that hold the records of runs.
pub const RUNS: &str = "runs";

/// How long a daemon that answers nobody any more may take to end; its last commit has been made by then.
const ENDING: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// A state directory that is ours for as long as this lives.
#[derive(Debug)]
pub struct StateDir {
    /// Where.
    pub path: PathBuf,
    /// Where the jobs have their directories.
    pub jobs: PathBuf,
    /// Where the records of runs are.
    pub runs: PathBuf,
    lock: File,
    starting: Option<OwnedFd>,
}

/// Who holds the lock of starting, and maybe that of the state already.
#[derive(Debug)]
pub enum Starter {
    /// Nobody: this process takes it.
    Nobody,
    /// Who started this process, and waits.
    Waits,
    /// The program that this process was before, with both.
    Before(OwnedFd, OwnedFd),
}

impl StateDir {
    /// Makes it if need be, and takes it.
    ///
    /// # Errors
    /// It is someone else's, can not be made or written, or another daemon holds it.
    pub fn take(path: &Path, mode: Mode, starter: Starter) -> Result<Self, Error> {
        let failed = |what: &Path, why: &dyn std::fmt::Display| {
            Error::new(Code::Unavailable, format!("{} can not be used: {why}", what.display()))
                .hint("set QRM_STATE_DIR to a directory of your own on a disk that can be written")
        };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| failed(path, &e))?;
        let path = path.canonicalize().map_err(|e| failed(path, &e))?;
        make_own(&path, mode.way()).map_err(|why| failed(&path, &why))?;
        mode.trust(&path).map_err(|why| failed(&path, &why))?;
        let lock_path = path.join(LOCK);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let open = || rustix::fs::open(&lock_path, flags, Bits::from(0o600)).map_err(|e| failed(&lock_path, &e));
        let (starting, file) = match starter {
            Starter::Nobody => (Some(self::starting(&path).map_err(|e| failed(&path, &e))?), File::from(open()?)),
            Starter::Waits => (None, File::from(open()?)),
            // Opening the file once more, and closing that, would give the lock up.
            Starter::Before(lock, starting) => (Some(starting), File::from(lock)),
        };
        if !lock::take(&file).map_err(|e| failed(&lock_path, &e))?
            && !take_after(&file, &path).map_err(|e| failed(&lock_path, &e))?
        {
            let holder = lock::holder(&file)
                .ok()
                .flatten()
                .map_or_else(|| "a process".to_owned(), |pid| format!("process {pid}"));
            let message = format!("another qrmd ({holder}) serves {}", path.display());
            return Err(Error::new(Code::FailedPrecondition, message)
                .hint("qrm daemon status asks it; qrm daemon stop ends it"));
        }
        let (jobs, runs) = (path.join(JOBS), path.join(RUNS));
        for (dir, open) in [(&jobs, mode.way()), (&runs, Mode::User.way())] {
            DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| failed(dir, &e))?;
            make_own(dir, open).map_err(|why| failed(dir, &why))?;
        }
        Ok(Self { path, jobs, runs, lock: file, starting })
    }

    /// The daemon answers: whoever wanted to start another one may look now.
    pub fn started(&mut self) {
        self.starting = None;
    }

    /// The file whose record lock says that this daemon lives.
    pub(crate) fn lock(&self) -> &File {
        &self.lock
    }

    /// Waits for its turn to start a daemon here, so that nobody else does.
    ///
    /// # Errors
    /// The lock can not be taken.
    pub(crate) fn keep_others_from_starting(&self) -> std::io::Result<OwnedFd> {
        Ok(starting(&self.path)?)
    }
}

/// Takes the lock of a daemon that answers nobody any more, when it is gone: its socket is closed before its process ends.
fn take_after(file: &File, path: &Path) -> std::io::Result<bool> {
    let Some(holder) = lock::holder(file)? else { return lock::take(file) };
    if Client::connect(&path.join(SOCKET_NAME)).is_ok() {
        return Ok(false);
    }
    let holder = i32::try_from(holder).ok().and_then(Pid::from_raw);
    // One that can not be opened has gone meanwhile.
    if let Some(Ok(process)) = holder.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
        rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&ENDING)))?;
    }
    lock::take(file)
}

/// Waits for its turn to start a daemon here.
fn starting(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(path.join("start.lock"), flags, Bits::from(0o600))?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// That it is a directory of ours which is open to nobody else but as far as this.
fn make_own(path: &Path, mode: Bits) -> Result<(), String> {
    let stat = std::fs::symlink_metadata(path).map_err(|e| e.to_string())?;
    let me = rustix::process::geteuid().as_raw();
    if !stat.is_dir() {
        return Err("it is not a directory".to_owned());
    }
    if stat.uid() != me {
        return Err(format!("it belongs to user {}, and this is user {me}", stat.uid()));
    }
    if stat.mode() & 0o777 != mode.as_raw_mode() {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode.as_raw_mode()))
            .map_err(|e| e.to_string())?;
    }
    Ok(())
}
