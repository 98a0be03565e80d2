//! The scratch directories of runs: where they are, made for their users, and removed on a thread of its own however much is
//! in them. It refuses to follow a link, and to believe a directory that somebody else has made.

mod measure;
mod remover;

pub use measure::{MAX_DEPTH, Measured, measure};

use super::cgroup;
use crate::mode::Mode;
use crate::remove::open_dir;
use qrm_core::Run;
use qrm_shim::identity::Identity;
use rustix::fs::{CWD, Gid, Mode as Bits, Uid, fchmod, fchown, fstat, mkdirat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};

/// Where those of this state directory are: in it, or in the directory that the configuration names, which daemons share.
#[must_use]
pub fn base(state_dir: &Path, configured: Option<&Path>) -> PathBuf {
    match configured {
        None => state_dir.join("scratch"),
        Some(dir) => dir.join(cgroup::base_name(state_dir)),
    }
}

/// What that of a run is named. No more of them are there at once than runs, so that they need no shards.
pub(super) fn name(run: Run) -> String {
    format!("{}-{}", run.job, run.attempt)
}

/// All of them.
pub(super) struct Scratches {
    base: PathBuf,
    mode: Mode,
    remover: Option<Sender<remover::Word>>,
}

impl Scratches {
    pub fn new(base: PathBuf, mode: Mode) -> Self {
        Self { base, mode, remover: None }
    }

    /// Makes that of a run, which is its user's alone. One that is there is that of an earlier try to make the same run.
    pub fn make(&self, run: Run, identity: Option<&Identity>) -> io::Result<()> {
        let base = make_dir(CWD, &self.base, Bits::RWXU)?;
        let stat = fstat(&base)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o022 != 0 {
            let why = format!("{} is another user's, or others can write to it", self.base.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        if stat.st_mode & 0o777 != self.mode.way().as_raw_mode() {
            fchmod(&base, self.mode.way())?;
        }
        let dir = make_dir(base.as_fd(), name(run).as_ref(), Bits::RWXU)?;
        own(&dir, identity)
    }

    /// That of a run, open.
    pub fn open(&self, run: Run) -> io::Result<OwnedFd> {
        Ok(open_dir(open_dir(CWD, &self.base)?.as_fd(), name(run))?)
    }

    /// Has that of a run removed, which is over; at some time, and nobody waits for it.
    pub fn remove(&mut self, run: Run) {
        self.tell(remover::Word::Remove(name(run)));
    }

    /// Has all removed but those of these runs.
    pub fn sweep(&mut self, alive: BTreeSet<String>) {
        if self.base.exists() {
            self.tell(remover::Word::Sweep(alive));
        }
    }

    fn tell(&mut self, word: remover::Word) {
        let told = match &self.remover {
            Some(remover) => remover.send(word).map_err(io::Error::other),
            None => {
                let (remover, words) = channel();
                let base = self.base.clone();
                let thread = std::thread::Builder::new().name("scratch".to_owned());
                thread.spawn(move || remover::remover(&words, &base)).and_then(|_| {
                    let told = remover.send(word).map_err(io::Error::other);
                    self.remover = Some(remover);
                    told
                })
            }
        };
        if let Err(error) = told {
            tracing::error!(%error, "scratch directories stay until the next start");
        }
    }
}

/// Makes a directory, unless it is there, and opens it.
fn make_dir(at: impl AsFd, name: &Path, mode: Bits) -> io::Result<OwnedFd> {
    match mkdirat(&at, name, mode) {
        Ok(()) | Err(Errno::EXIST) => Ok(open_dir(at, name)?),
        Err(error) => Err(error.into()),
    }
}

/// Gives a directory to the user of a run.
fn own(dir: &OwnedFd, identity: Option<&Identity>) -> io::Result<()> {
    match identity {
        Some(user) => Ok(fchown(dir, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?),
        None => Ok(()),
    }
}
