//! The directories of jobs and the files in them: made, read and removed relative to one open descriptor.
//! It removes nothing that a job wrote.

use super::After;
use super::checkpoint::{self, Saved};
use super::identity::Acting;
use crate::mode::Mode;
use crate::remove::open_dir;
use qrm_protocol::ids::{JobId, JobRef};
use qrm_shim::identity::Identity;
use rustix::fs::{
    AtFlags, FileType, Gid, IFlags, Mode as Bits, OFlags, RenameFlags, Uid, fchmod, fchown, fstat, ioctl_getflags,
    ioctl_setflags, mkdirat, mknodat, openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The file that standard output is appended to, by every stage and attempt.
pub const STDOUT: &str = "stdout";
/// The file that standard error is appended to.
pub const STDERR: &str = "stderr";
/// The FIFO that standard input is read from, if the job has one.
pub const STDIN: &str = "stdin";

/// The copy of the script that is run, if the job has one.
pub const SCRIPT: &str = ".qrm-script";

/// How many jobs share a directory.
const SHARD: u64 = 100;
/// How often making a directory is tried again when someone removes the empty one above it meanwhile.
const RACES: u32 = 16;

/// The directory of a job or task, below the directory of all jobs: `0/12`, `0/12/0/12.3`, sharded by hundreds.
#[must_use]
pub fn job_dir(job: JobRef) -> PathBuf {
    Parent::of(job).path().join(leaf(job))
}

/// Makes a job's directory and the FIFO `stdin` in it, as its user's if there is one. It is no error if they are there.
///
/// # Errors
/// They cannot be made, or `stdin` is there and is no FIFO.
pub fn make_fifo(jobs_dir: &Path, job: JobRef, mode: Mode, identity: Option<&Identity>) -> io::Result<()> {
    let dir = JobDirs::of(jobs_dir, mode)?.make(job, identity)?;
    let _acting = identity.map_or(Ok(Acting::AS_SELF), |user| Acting::of(user.uid, user.gid))?;
    make_fifo_in(&dir)
}

/// The same in a job's directory that is open.
pub(super) fn make_fifo_in(dir: &OwnedFd) -> io::Result<()> {
    Ok(make_stdin(dir)?)
}

/// Writes the script into a job's directory, in place of one that an earlier attempt may have changed.
pub(super) fn write_script(dir: &OwnedFd, script: &[u8]) -> io::Result<()> {
    ignore_absence(unlinkat(dir, SCRIPT, AtFlags::empty()))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, SCRIPT, flags, Bits::RWXU)?;
    std::fs::File::from(file).write_all(script)
}

fn make_stdin(dir: &OwnedFd) -> Result<(), Errno> {
    match mknodat(dir, STDIN, FileType::Fifo, Bits::RUSR | Bits::WUSR, 0) {
        Err(Errno::EXIST) if kind(dir, STDIN)? == FileType::Fifo => Ok(()),
        other => other,
    }
}

/// The directory that holds the directories of a hundred jobs, or of a hundred tasks of one array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parent {
    job: JobId,
    /// The shard of tasks; without one, the shard of `job`, which is then a round number.
    tasks: Option<u64>,
}

impl Parent {
    fn of(job: JobRef) -> Self {
        match job.task {
            Some(task) => Self { job: job.job, tasks: Some(u64::from(task) / SHARD) },
            None => Self { job: JobId(job.job.0 / SHARD * SHARD), tasks: None },
        }
    }

    fn names(self) -> impl Iterator<Item = String> {
        let shard = (self.job.0 / SHARD).to_string();
        let tasks = self.tasks.map(|tasks| [self.job.to_string(), tasks.to_string()]);
        std::iter::once(shard).chain(tasks.into_iter().flatten())
    }

    fn path(self) -> PathBuf {
        self.names().collect()
    }

    fn make(self, root: BorrowedFd<'_>, mode: Mode) -> Result<OwnedFd, Errno> {
        self.walk(root, |at, name| match mode {
            Mode::User => make_dir(at, name),
            Mode::System => make_way(at, name, mode.way()),
        })
    }

    fn open(self, root: BorrowedFd<'_>, _: Mode) -> Result<OwnedFd, Errno> {
        self.walk(root, |at, name| open_dir(at, name))
    }

    fn walk(
        self,
        root: BorrowedFd<'_>,
        step: impl Fn(BorrowedFd<'_>, &str) -> Result<OwnedFd, Errno>,
    ) -> Result<OwnedFd, Errno> {
        let mut at: Option<OwnedFd> = None;
        for name in self.names() {
            at = Some(step(at.as_ref().map_or(root, AsFd::as_fd), &name)?);
        }
        Ok(at.expect("every parent has a name"))
    }

    /// Removes it, and what is above it, as far as that is empty.
    fn prune(self, root: BorrowedFd<'_>) -> bool {
        let path = self.path();
        let mut any = false;
        for dir in path.ancestors().take_while(|dir| *dir != Path::new("")) {
            if unlinkat(root, dir, AtFlags::REMOVEDIR).is_err() {
                break;
            }
            any = true;
        }
        any
    }
}

fn leaf(job: JobRef) -> String {
    job.to_string()
}

fn make_dir(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    match mkdirat(at, name, Bits::RWXU) {
        Ok(()) | Err(Errno::EXIST) => open_dir(at, name),
        Err(error) => Err(error),
    }
}

/// A directory that is as it is to be before it has its name: who waits for that may look into it at once.
fn make_ready(
    at: BorrowedFd<'_>,
    name: &str,
    prepare: impl FnOnce(&OwnedFd) -> Result<(), Errno>,
) -> Result<OwnedFd, Errno> {
    match open_dir(at, name) {
        Err(Errno::NOENT) => {}
        opened => return opened,
    }
    let before = [".", name].concat();
    let dir = make_dir(at, &before)?;
    prepare(&dir)?;
    let named = match renameat_with(at, &before, at, name, RenameFlags::NOREPLACE) {
        // A file system that does not know the flag.
        Err(Errno::INVAL | Errno::NOSYS) => renameat(at, &before, at, name),
        named => named,
    };
    match named {
        // Another thread was faster.
        Err(Errno::EXIST | Errno::NOTEMPTY) => {
            unlinkat(at, &before, AtFlags::REMOVEDIR).or_else(|error| match error {
                Errno::NOENT => Ok(()),
                error => Err(error),
            })?;
            open_dir(at, name)
        }
        named => named.map(|()| dir),
    }
}

/// A directory on the way to those of jobs. Below an array's own, which is its user's, it is made by that user: what is there
/// may be something else a moment later.
fn make_way(at: BorrowedFd<'_>, name: &str, mode: Bits) -> Result<OwnedFd, Errno> {
    let stat = fstat(at)?;
    if stat.st_uid == rustix::process::geteuid().as_raw() {
        // The daemon's mask would close it.
        return make_ready(at, name, |dir| fchmod(dir, mode));
    }
    let acting = Acting::of(stat.st_uid, stat.st_gid);
    let _acting = acting.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    make_dir(at, name)
}

/// A directory that belongs to a user.
fn make_dir_of(at: BorrowedFd<'_>, name: &str, user: &Identity) -> Result<OwnedFd, Errno> {
    let errno = |error: io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    // Where the user can put something in its place, it is made by the user, and nothing is given away.
    let is_ours = fstat(at)?.st_uid == rustix::process::geteuid().as_raw();
    let _acting = if is_ours { Acting::AS_SELF } else { Acting::of(user.uid, user.gid).map_err(errno)? };
    let dir = match is_ours {
        true => {
            let owner = (Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
            make_ready(at, name, |dir| fchown(dir, owner.0, owner.1))?
        }
        false => make_dir(at, name)?,
    };
    if fstat(&dir)?.st_uid == user.uid { Ok(dir) } else { Err(Errno::PERM) }
}

/// Asks the file system to place the directories that are made in this one far from each other. Where short jobs come
/// and go, ext4 otherwise looks for each new file among all those that were removed in the last minutes.
fn spread(dir: &OwnedFd) {
    // Other file systems do not know it, and need not.
    if let Ok(flags) = ioctl_getflags(dir) {
        ioctl_setflags(dir, flags | IFlags::TOPDIR).ok();
    }
}

fn kind(dir: impl AsFd, name: &str) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode))
}

/// All job directories. A job can put what it likes into its own directory, but its directory itself is in one
/// that only we write to: so `12/name` is opened in one call, and only the last part must not be followed. Those of tasks
/// are in the array's own, though: where that is another user's, nothing in it is done but as that user.
pub(super) struct JobDirs {
    root: OwnedFd,
    mode: Mode,
    /// Most jobs that live at one time are neighbours.
    last: Option<(Parent, OwnedFd)>,
}

impl JobDirs {
    /// Those below this directory, which exists.
    pub fn of(path: &Path, mode: Mode) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Bits::empty())?;
        spread(&root);
        Ok(Self { root, mode, last: None })
    }

    /// The job's directory, made if it is missing, and this user's.
    pub fn make(&mut self, job: JobRef, identity: Option<&Identity>) -> io::Result<OwnedFd> {
        let leaf = leaf(job);
        for _ in 0..RACES {
            let made = self.parent(job, Parent::make).and_then(|parent| match identity {
                None => make_dir(parent, &leaf),
                Some(user) => make_dir_of(parent, &leaf, user),
            });
            match made {
                Err(Errno::NOENT) => self.last = None,
                other => return Ok(other?),
            }
        }
        Err(Errno::NOENT.into())
    }

    /// The job's directory, which is there.
    pub fn open(&mut self, job: JobRef) -> io::Result<OwnedFd> {
        let leaf = leaf(job);
        Ok(self.parent(job, Parent::open).and_then(|parent| open_dir(parent, &leaf))?)
    }

    /// Opens the FIFO `stdin` of a job for writing and closes it, as its user; `false` if nobody reads it.
    pub fn open_input_once(&mut self, job: JobRef, identity: Option<&Identity>) -> io::Result<bool> {
        let path = [&leaf(job), "/", STDIN].concat();
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match self.parent(job, Parent::open) {
            Ok(parent) => {
                let _acting = identity.map_or(Ok(Acting::AS_SELF), |user| Acting::of(user.uid, user.gid))?;
                openat(parent, path, flags, Bits::empty())
            }
            Err(error) => Err(error),
        };
        match opened {
            Ok(_) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NXIO) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what is left of a job: empty logs, the FIFO and the script if the job is over, and the directories that
    /// are empty then. What it saved and is still to be removed is answered.
    pub fn tidy(&mut self, job: JobRef, after: After) -> io::Result<Option<Saved>> {
        let mode = self.mode;
        let Ok(parent) = self.parent(job, Parent::open) else { return Ok(None) };
        let leaf = leaf(job);
        let owner = match mode {
            Mode::User => None,
            Mode::System => match open_dir(parent, &leaf).and_then(|dir| fstat(&dir)) {
                Ok(stat) => Some((stat.st_uid, stat.st_gid)),
                Err(_) => return Ok(None),
            },
        };
        let mut saved = None;
        let act = || owner.map_or(Ok(Acting::AS_SELF), |(uid, gid)| Acting::of(uid, gid));
        let acting = act()?;
        for log in [STDOUT, STDERR] {
            let path = [&leaf, "/", log].concat();
            let empty = |stat: rustix::fs::Stat| {
                stat.st_size == 0 && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            };
            if statat(parent, &path, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(empty) {
                ignore_absence(unlinkat(parent, path, AtFlags::empty()))?;
            }
        }
        drop(acting);
        let mut removed = unlinkat(parent, &leaf, AtFlags::REMOVEDIR);
        if after.is_over()
            && removed == Err(Errno::NOTEMPTY)
            && let Ok(dir) = open_dir(parent, &leaf)
        {
            let acting = act()?;
            for (name, is) in [(STDIN, FileType::Fifo), (SCRIPT, FileType::RegularFile)] {
                if kind(&dir, name) == Ok(is) {
                    ignore_absence(unlinkat(&dir, name, AtFlags::empty()))?;
                }
            }
            let is_left = checkpoint::leave(&dir, after)?;
            drop(acting);
            saved = is_left.then_some(Saved { dir, owner });
            removed = unlinkat(parent, &leaf, AtFlags::REMOVEDIR);
        }
        match removed {
            // The job's own files, or its tasks.
            Err(Errno::NOTEMPTY) => Ok(saved),
            other => {
                ignore_absence(other)?;
                if Parent::of(job).prune(self.root.as_fd()) {
                    self.last = None;
                }
                Ok(None)
            }
        }
    }

    fn parent(
        &mut self,
        job: JobRef,
        how: fn(Parent, BorrowedFd<'_>, Mode) -> Result<OwnedFd, Errno>,
    ) -> Result<BorrowedFd<'_>, Errno> {
        let parent = Parent::of(job);
        if !self.last.as_ref().is_some_and(|(last, _)| *last == parent) {
            self.last = Some((parent, how(parent, self.root.as_fd(), self.mode)?));
        }
        Ok(self.last.as_ref().map(|(_, fd)| fd.as_fd()).expect("it was set just now"))
    }
}

fn ignore_absence(done: Result<(), Errno>) -> io::Result<()> {
    match done {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(text: &str) -> JobRef {
        text.parse().unwrap()
    }

    #[test]
    fn directories_are_sharded_by_hundreds() {
        for (id, path) in [
            ("12", "0/12"),
            ("100", "1/100"),
            ("12345", "123/12345"),
            ("12.3", "0/12/0/12.3"),
            ("12345.67890", "123/12345/678/12345.67890"),
        ] {
            assert_eq!(job_dir(job(id)), Path::new(path));
        }
    }

    #[test]
    fn what_was_made_is_found_and_tidying_leaves_what_the_job_wrote() {
        let temp = tempfile::tempdir().unwrap();
        let mut dirs = JobDirs::of(temp.path(), Mode::User).unwrap();
        for id in ["12", "12.3", "12.1999", "4711"] {
            let dir = dirs.make(job(id), None).unwrap();
            make_fifo(temp.path(), job(id), Mode::User, None).unwrap();
            make_fifo(temp.path(), job(id), Mode::User, None).unwrap();
            std::fs::write(temp.path().join(job_dir(job(id))).join(STDOUT), "").unwrap();
            assert_eq!(kind(&dir, STDIN), Ok(FileType::Fifo));
        }
        std::fs::write(temp.path().join("47/4711/result"), "42").unwrap();
        for id in ["12.3", "12.1999", "12", "4711", "999999"] {
            dirs.tidy(job(id), After::Nothing).unwrap();
        }
        let left: Vec<_> = std::fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["47"]);
        let left: Vec<_> =
            std::fs::read_dir(temp.path().join("47/4711")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["result"]);
    }

    #[test]
    fn a_directory_that_was_removed_meanwhile_is_made_again() {
        let temp = tempfile::tempdir().unwrap();
        let mut dirs = JobDirs::of(temp.path(), Mode::User).unwrap();
        dirs.make(job("1"), None).unwrap();
        std::fs::remove_dir_all(temp.path().join("0")).unwrap();
        dirs.make(job("2"), None).unwrap();
        assert!(temp.path().join("0/2").is_dir());
    }
}
