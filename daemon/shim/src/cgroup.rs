//! One job's control group, version 1 or 2: who is in it, signalling, freezing and killing it, what it used.
//! It knows no job and makes no group: `qrmd` does, and everyone else gets the finished paths.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags};

use crate::proc::{self, BATCH, Deadline, Sent};
use crate::wire::{Encoded, Malformed, Reader, Writer};

/// The groups of one job. A group that does not exist (any more) is an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum JobCgroup {
    /// Tracked and killed by version 2.
    V2 {
        /// The group's directory.
        dir: PathBuf,
        /// On a hybrid machine: its groups in hierarchies of version 1, which limit and count.
        others: Vec<PathBuf>,
    },
    /// Tracked and killed by the freezer of version 1.
    V1 {
        /// The group's directory in the freezer hierarchy.
        freezer: PathBuf,
        /// Its groups in other hierarchies.
        others: Vec<PathBuf>,
    },
}

impl JobCgroup {
    /// All its directories, the one that tracks first.
    pub fn dirs(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(self.tracker()).chain(self.others()).map(PathBuf::as_path)
    }

    fn tracker(&self) -> &PathBuf {
        match self {
            Self::V2 { dir, .. } => dir,
            Self::V1 { freezer, .. } => freezer,
        }
    }

    fn others(&self) -> &[PathBuf] {
        match self {
            Self::V2 { others, .. } | Self::V1 { others, .. } => others,
        }
    }

    /// Puts a process with all its threads into every group.
    ///
    /// # Errors
    /// One of them cannot be joined.
    pub fn enter(&self, pid: u32) -> io::Result<()> {
        self.dirs().try_for_each(|dir| join(dir, pid))
    }

    /// The processes in it and in groups below it, sorted.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn procs(&self) -> io::Result<Vec<u32>> {
        let mut pids = Vec::new();
        collect(self.tracker(), &mut pids)?;
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Whether no process is in it or below it; zombies do not count.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_empty(&self) -> io::Result<bool> {
        match self {
            Self::V2 { dir, .. } => Ok(present(fs::read_to_string(dir.join("cgroup.events")))?
                .is_none_or(|events| field(&events, "populated") == Some(0))),
            Self::V1 { .. } => Ok(self.procs()?.is_empty()),
        }
    }

    /// Sends a signal to every process in it and returns to how many. A process that is forked meanwhile may be
    /// missed, unless the group is frozen.
    ///
    /// # Errors
    /// It cannot be read, no descriptor is free, or one of them may not be signalled.
    pub fn signal_all(&self, signal: i32) -> io::Result<u32> {
        Ok(self.signal_each(signal)?.0)
    }

    /// Kills everything in it, waits until it is empty and returns how many were killed (at least).
    ///
    /// # Errors
    /// As [`signal_all`](Self::signal_all); of kind `TimedOut` if it is not empty after `timeout` (a process that is
    /// stuck in the kernel dies when it leaves it).
    pub fn kill_all(&self, timeout: Option<Duration>) -> io::Result<u32> {
        let until = Deadline::after(timeout);
        let mut killed = 0;
        while !self.is_empty()? {
            let (count, held) = self.strike()?;
            killed += count;
            match (self, held) {
                (Self::V1 { .. }, Some(held)) => proc::wait_all(&held, until)?,
                (_, Some(held)) if !held.is_empty() => proc::wait_all(&held, until)?,
                _ => self.wait_event("populated", 0, until)?,
            }
        }
        Ok(killed)
    }

    /// Sends `SIGKILL` once to everything in it; returns to how many, and unless the kernel did it at one stroke,
    /// descriptors of the last of them: then what was forked meanwhile may need another strike.
    pub(crate) fn strike(&self) -> io::Result<(u32, Option<Vec<OwnedFd>>)> {
        if let Self::V2 { dir, .. } = self {
            let count = u32::try_from(self.procs()?.len()).unwrap_or(u32::MAX);
            // Kernels from 5.14 on.
            if present(write(&dir.join("cgroup.kill"), "1"))?.is_some() {
                return Ok((count, None));
            }
        }
        // A group that is being frozen forks no more, or hardly; one that cannot be frozen is struck again.
        let frozen = self.freeze();
        let struck = self.signal_each(libc::SIGKILL);
        if frozen.is_ok() {
            self.thaw()?;
        }
        struck.map(|(count, held)| (count, Some(held)))
    }

    /// Waits until it is empty: by the kernel's own event on version 2, by the ends of its processes on version 1.
    ///
    /// # Errors
    /// It cannot be read; of kind `TimedOut` if it is not empty after `timeout`.
    pub fn wait_empty(&self, timeout: Option<Duration>) -> io::Result<()> {
        let until = Deadline::after(timeout);
        match self {
            Self::V2 { .. } => self.wait_event("populated", 0, until),
            Self::V1 { .. } => {
                while let Some(pid) = self.procs()?.first() {
                    let Some(process) = proc::open(*pid)? else { continue };
                    if self.procs()?.binary_search(pid).is_ok() {
                        proc::wait_all(&[process], until)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Asks the kernel to stop every process in it; [`is_frozen`](Self::is_frozen) says when all are.
    ///
    /// # Errors
    /// The group is gone, or this kernel cannot freeze.
    pub fn freeze(&self) -> io::Result<()> {
        match self {
            Self::V2 { dir, .. } => write(&dir.join("cgroup.freeze"), "1"),
            Self::V1 { freezer, .. } => write(&freezer.join("freezer.state"), "FROZEN"),
        }
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// The group is gone, or this kernel cannot freeze.
    pub fn thaw(&self) -> io::Result<()> {
        match self {
            Self::V2 { dir, .. } => write(&dir.join("cgroup.freeze"), "0"),
            Self::V1 { freezer, .. } => write(&freezer.join("freezer.state"), "THAWED"),
        }
    }

    /// Whether every process in it is stopped by [`freeze`](Self::freeze).
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_frozen(&self) -> io::Result<bool> {
        match self {
            Self::V2 { dir, .. } => Ok(field(&fs::read_to_string(dir.join("cgroup.events"))?, "frozen") == Some(1)),
            Self::V1 { freezer, .. } => Ok(fs::read_to_string(freezer.join("freezer.state"))?.trim_end() == "FROZEN"),
        }
    }

    /// The most memory it ever held, in bytes; `None` without a memory controller.
    #[must_use]
    pub fn peak_memory(&self) -> Option<u64> {
        self.first(&["memory.peak", "memory.max_usage_in_bytes"], |text| text.trim_end().parse().ok())
    }

    /// The cpu time of all that ever ran in it; `None` if nothing counts it.
    #[must_use]
    pub fn cpu_usage(&self) -> Option<Duration> {
        let micros = self.first(&["cpu.stat"], |text| field(text, "usage_usec")).map(Duration::from_micros);
        let nanos = || self.first(&["cpuacct.usage"], |text| text.trim_end().parse().ok());
        micros.or_else(|| nanos().map(Duration::from_nanos))
    }

    /// How many of its processes the kernel killed because its memory was full; `None` without a memory controller.
    #[must_use]
    pub fn oom_kills(&self) -> Option<u64> {
        self.first(&["memory.events", "memory.oom_control"], |text| field(text, "oom_kill"))
    }

    /// How often one of its processes could not have another one because there were too many; `None` without a
    /// controller of them.
    #[must_use]
    pub fn pids_refused(&self) -> Option<u64> {
        self.first(&["pids.events"], |text| field(text, "max"))
    }

    /// Removes its directories and those below them. It is no error if they are gone.
    ///
    /// # Errors
    /// A process is still in one of them, or we may not.
    pub fn remove(&self) -> io::Result<()> {
        self.dirs().try_for_each(remove)
    }

    /// What `value` finds in the first of these files that any of its directories has.
    fn first(&self, names: &[&str], value: impl Fn(&str) -> Option<u64>) -> Option<u64> {
        self.dirs()
            .flat_map(|dir| names.iter().map(move |name| dir.join(name)))
            .find_map(|path| value(&fs::read_to_string(path).ok()?))
    }

    /// Signals every process; returns to how many, and descriptors of the last of them.
    fn signal_each(&self, signal: i32) -> io::Result<(u32, Vec<OwnedFd>)> {
        let mut sent = Sent::default();
        for pids in self.procs()?.chunks(BATCH) {
            let mut opened = Vec::with_capacity(BATCH);
            for pid in pids {
                opened.extend(proc::open(*pid)?.map(|fd| (*pid, fd)));
            }
            // Who is a member after it was opened is who was opened, or that one is gone and cannot be signalled.
            let members = self.procs()?;
            for (pid, fd) in opened {
                if members.binary_search(&pid).is_ok() {
                    sent.send(fd, signal);
                }
            }
        }
        sent.done()
    }

    /// Waits until `cgroup.events` has this value, or the group is gone.
    fn wait_event(&self, key: &str, value: u64, until: Deadline) -> io::Result<()> {
        let path = self.tracker().join("cgroup.events");
        let Some(file) = present(fs::File::open(path))? else { return Ok(()) };
        loop {
            // Every change after this read is an event that the next poll sees.
            let Some(events) = present(read_again(&file))? else { return Ok(()) };
            if field(&events, key) == Some(value) {
                return Ok(());
            }
            proc::wait_for(&file, PollFlags::PRI, until)?;
        }
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        use std::os::unix::ffi::OsStrExt;
        out.u8(match self {
            Self::V2 { .. } => 2,
            Self::V1 { .. } => 1,
        });
        out.text(self.tracker().as_os_str().as_bytes());
        out.count(self.others().len());
        for other in self.others() {
            out.text(other.as_os_str().as_bytes());
        }
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let version = from.u8()?;
        let tracker = path(from)?;
        let others = from.list(5, path)?;
        match version {
            1 => Ok(Self::V1 { freezer: tracker, others }),
            2 => Ok(Self::V2 { dir: tracker, others }),
            _ => Err("version 1 or 2 of control groups"),
        }
    }
}

fn path(from: &mut Reader<'_>) -> Result<PathBuf, Malformed> {
    // Records are JSON, and the path in them must be the same one.
    let path: Encoded = from.text()?;
    Ok(path.0.to_str().map_err(|_| "a path in UTF-8")?.into())
}

fn join(dir: &Path, pid: u32) -> io::Result<()> {
    let mut text = String::with_capacity(10);
    crate::record::decimal(&mut text, pid.into());
    write(&dir.join("cgroup.procs"), &text)
}

/// Writes a control file; never makes one.
fn write(path: &Path, value: &str) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, value.as_bytes())?;
    Ok(())
}

fn read_again(file: &fs::File) -> io::Result<String> {
    let mut buffer = [0; 256];
    let len = rustix::io::pread(file, &mut buffer, 0)?;
    Ok(String::from_utf8_lossy(&buffer[..len]).into_owned())
}

/// The number after `key` in a file of `key value` lines.
fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

/// `None` if the group or the file does not exist, or went away while it was open.
fn present<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The pids in a group and below it. Those of processes outside our pid namespace read as 0 and are left out.
fn collect(dir: &Path, pids: &mut Vec<u32>) -> io::Result<()> {
    let Some(text) = present(fs::read_to_string(dir.join("cgroup.procs")))? else { return Ok(()) };
    pids.extend(text.lines().filter_map(|pid| pid.parse::<u32>().ok()).filter(|pid| *pid != 0));
    below(dir, &mut |child| collect(child, pids))
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir(dir) {
        // It has groups below it, or processes in it; in that case it fails again.
        Err(error) if error.kind() == ErrorKind::ResourceBusy => {
            below(dir, &mut remove)?;
            present(fs::remove_dir(dir)).map(drop)
        }
        other => present(other).map(drop),
    }
}

fn below(dir: &Path, each: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let Some(entries) = present(fs::read_dir(dir))? else { return Ok(()) };
    for entry in entries {
        let Some(entry) = present(entry)? else { continue };
        if entry.file_type()?.is_dir() {
            each(&entry.path())?;
        }
    }
    Ok(())
}
