//! The directories of jobs and the files in them: made, read and removed relative to one open descriptor.
//! It removes nothing that a job wrote.

use qrm_protocol::ids::{JobId, JobRef};
use rustix::fs::{
    AtFlags, FileType, IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags, mkdirat, mknodat, openat, statat, unlinkat,
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

/// Makes a job's directory and the FIFO `stdin` in it. It is no error if they are there.
///
/// # Errors
/// They cannot be made, or `stdin` is there and is no FIFO.
pub fn make_fifo(jobs_dir: BorrowedFd<'_>, job: JobRef) -> io::Result<()> {
    for _ in 0..RACES {
        match try_make_fifo(jobs_dir, job) {
            Err(Errno::NOENT) => {}
            other => return Ok(other?),
        }
    }
    Err(Errno::NOENT.into())
}

fn try_make_fifo(jobs_dir: BorrowedFd<'_>, job: JobRef) -> Result<(), Errno> {
    let parent = Parent::of(job).make(jobs_dir)?;
    let dir = make_dir(parent.as_fd(), &leaf(job))?;
    make_stdin(&dir)
}

/// The same in a job's directory that is open.
pub(super) fn make_fifo_in(dir: &OwnedFd) -> io::Result<()> {
    Ok(make_stdin(dir)?)
}

/// Writes the script into a job's directory, in place of one that an earlier attempt may have changed.
pub(super) fn write_script(dir: &OwnedFd, script: &[u8]) -> io::Result<()> {
    ignore_absence(unlinkat(dir, SCRIPT, AtFlags::empty()))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, SCRIPT, flags, Mode::RWXU)?;
    std::fs::File::from(file).write_all(script)
}

fn make_stdin(dir: &OwnedFd) -> Result<(), Errno> {
    match mknodat(dir, STDIN, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
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

    fn make(self, root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        self.walk(root, make_dir)
    }

    fn open(self, root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        self.walk(root, open_dir)
    }

    fn walk(
        self,
        root: BorrowedFd<'_>,
        step: fn(BorrowedFd<'_>, &str) -> Result<OwnedFd, Errno>,
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
    match mkdirat(at, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => open_dir(at, name),
        Err(error) => Err(error),
    }
}

/// Asks the file system to place the directories that are made in this one far from each other. Where short jobs come
/// and go, ext4 otherwise looks for each new file among all those that were removed in the last minutes.
fn spread(dir: &OwnedFd) {
    // Other file systems do not know it, and need not.
    if let Ok(flags) = ioctl_getflags(dir) {
        ioctl_setflags(dir, flags | IFlags::TOPDIR).ok();
    }
}

fn open_dir(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn kind(dir: impl AsFd, name: &str) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode))
}

/// All job directories. A job can put what it likes into its own directory, but its directory itself is in one
/// that only we write to: so `12/name` is opened in one call, and only the last part must not be followed.
pub(super) struct JobDirs {
    root: OwnedFd,
    /// Most jobs that live at one time are neighbours.
    last: Option<(Parent, OwnedFd)>,
}

impl JobDirs {
    /// Those below this directory, which exists.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        spread(&root);
        Ok(Self { root, last: None })
    }

    /// The job's directory, made if it is missing.
    pub fn make(&mut self, job: JobRef) -> io::Result<OwnedFd> {
        let leaf = leaf(job);
        for _ in 0..RACES {
            let made = self.parent(job, Parent::make).and_then(|parent| make_dir(parent, &leaf));
            match made {
                Err(Errno::NOENT) => self.last = None,
                other => return Ok(other?),
            }
        }
        Err(Errno::NOENT.into())
    }

    /// Opens the FIFO `stdin` of a job for writing and closes it; `false` if nobody reads it.
    pub fn open_input_once(&mut self, job: JobRef) -> io::Result<bool> {
        let path = [&leaf(job), "/", STDIN].concat();
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match self.parent(job, Parent::open).and_then(|parent| openat(parent, path, flags, Mode::empty())) {
            Ok(_) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NXIO) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what is left of a job: empty logs, the FIFO and the script if the job is over, and the directories that
    /// are empty then.
    pub fn tidy(&mut self, job: JobRef, over: bool) -> io::Result<()> {
        let Ok(parent) = self.parent(job, Parent::open) else { return Ok(()) };
        let leaf = leaf(job);
        for log in [STDOUT, STDERR] {
            let path = [&leaf, "/", log].concat();
            let empty = |stat: rustix::fs::Stat| {
                stat.st_size == 0 && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            };
            if statat(parent, &path, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(empty) {
                ignore_absence(unlinkat(parent, path, AtFlags::empty()))?;
            }
        }
        let mut removed = unlinkat(parent, &leaf, AtFlags::REMOVEDIR);
        if over && removed == Err(Errno::NOTEMPTY) {
            for (name, is) in [(STDIN, FileType::Fifo), (SCRIPT, FileType::RegularFile)] {
                let path = [&leaf, "/", name].concat();
                if kind(parent, &path) == Ok(is) {
                    ignore_absence(unlinkat(parent, path, AtFlags::empty()))?;
                    removed = unlinkat(parent, &leaf, AtFlags::REMOVEDIR);
                }
            }
        }
        match removed {
            // The job's own files, or its tasks.
            Err(Errno::NOTEMPTY) => Ok(()),
            other => {
                ignore_absence(other)?;
                if Parent::of(job).prune(self.root.as_fd()) {
                    self.last = None;
                }
                Ok(())
            }
        }
    }

    fn parent(
        &mut self,
        job: JobRef,
        how: fn(Parent, BorrowedFd<'_>) -> Result<OwnedFd, Errno>,
    ) -> Result<BorrowedFd<'_>, Errno> {
        let parent = Parent::of(job);
        if !self.last.as_ref().is_some_and(|(last, _)| *last == parent) {
            self.last = Some((parent, how(parent, self.root.as_fd())?));
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
        let mut dirs = JobDirs::open(temp.path()).unwrap();
        for id in ["12", "12.3", "12.1999", "4711"] {
            let dir = dirs.make(job(id)).unwrap();
            make_fifo(dirs.root.as_fd(), job(id)).unwrap();
            make_fifo(dirs.root.as_fd(), job(id)).unwrap();
            std::fs::write(temp.path().join(job_dir(job(id))).join(STDOUT), "").unwrap();
            assert_eq!(kind(&dir, STDIN), Ok(FileType::Fifo));
        }
        std::fs::write(temp.path().join("47/4711/result"), "42").unwrap();
        for id in ["12.3", "12.1999", "12", "4711", "999999"] {
            dirs.tidy(job(id), true).unwrap();
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
        let mut dirs = JobDirs::open(temp.path()).unwrap();
        dirs.make(job("1")).unwrap();
        std::fs::remove_dir_all(temp.path().join("0")).unwrap();
        dirs.make(job("2")).unwrap();
        assert!(temp.path().join("0/2").is_dir());
    }
}
