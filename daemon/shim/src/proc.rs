//! One process: who it is, beyond a pid that may be used again, and how it is signalled and awaited.
//! It knows nothing of jobs or groups.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use crate::record::decimal;

/// A process that can not be mistaken for a later one with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its pid.
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`: when it started, in clock ticks since boot.
    pub start: u64,
}

impl Process {
    /// The process that has this pid now; `None` if there is none.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn of(pid: u32) -> io::Result<Option<Self>> {
        Ok(Stat::of(pid)?.map(|stat| Self { pid, start: stat.start }))
    }

    /// A descriptor of this process; `None` if it is gone, or somebody else has its pid.
    ///
    /// # Errors
    /// No descriptor is free, or the kernel is older than 5.3.
    pub fn open(self) -> io::Result<Option<OwnedFd>> {
        let Some(fd) = open(self.pid)? else { return Ok(None) };
        // The descriptor came first: who has the pid and the start time now is who it refers to.
        Ok((Self::of(self.pid)? == Some(self)).then_some(fd))
    }

    /// Whether it is there and has not ended; a zombie has ended.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn is_alive(self) -> io::Result<bool> {
        Ok(Stat::of(self.pid)?.is_some_and(|stat| stat.start == self.start && !stat.is_dead()))
    }

    /// Sends a signal; `false` if it is gone.
    ///
    /// # Errors
    /// It may not be signalled by us, or the signal does not exist.
    pub fn signal(self, signal: i32) -> io::Result<bool> {
        match self.open()? {
            Some(fd) => send(&fd, signal),
            None => Ok(false),
        }
    }
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `Z` and so on.
    pub state: u8,
    /// The parent.
    pub parent: u32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
}

impl Stat {
    /// What it says of this pid; `None` if there is none.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn of(pid: u32) -> io::Result<Option<Self>> {
        let mut path = String::with_capacity(24);
        path.push_str("/proc/");
        decimal(&mut path, pid.into());
        path.push_str("/stat");
        Self::read(&path)
    }

    pub(crate) fn read(path: &str) -> io::Result<Option<Self>> {
        // Two names of at most 64 bytes and some fifty numbers.
        let mut buffer = [0; 1280];
        let file = match rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match rustix::io::read(&file, &mut buffer) {
            Ok(len) => Self::parse(&buffer[..len]).map(Some).ok_or_else(|| Errno::INVAL.into()),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// proc_pid_stat(5): the name is in parentheses and may itself hold any byte; fields 3 and on follow the last `)`.
    fn parse(text: &[u8]) -> Option<Self> {
        let close = text.iter().rposition(|byte| *byte == b')')?;
        let mut fields = std::str::from_utf8(text.get(close + 2..)?).ok()?.split(' ');
        Some(Self {
            state: fields.next()?.bytes().next()?,
            parent: fields.next()?.parse().ok()?,
            start: fields.nth(17)?.parse().ok()?,
        })
    }

    /// It has ended and only waits to be reaped.
    #[must_use]
    pub fn is_dead(self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// A descriptor of whoever has this pid now; `None` if nobody has.
pub(crate) fn open(pid: u32) -> io::Result<Option<OwnedFd>> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::INVAL)?;
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => Ok(Some(fd)),
        // INVAL: it is a thread by now, or was never a process.
        Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Sends a signal; `false` if the process has ended.
pub(crate) fn send(process: &OwnedFd, signal: i32) -> io::Result<bool> {
    // rustix has no safe way to name a real-time signal.
    // SAFETY: pidfd_send_signal reads no memory of ours with a null siginfo.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            std::os::fd::AsRawFd::as_raw_fd(process),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if sent == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        error => Err(error),
    }
}

/// How many processes are held by descriptor at a time: enough to be quick, far below any limit on open files.
pub(crate) const BATCH: usize = 64;

/// What a signal to many processes came to.
#[derive(Default)]
pub(crate) struct Sent {
    count: u32,
    last: Vec<OwnedFd>,
    refused: Option<io::Error>,
}

impl Sent {
    /// Sends it to one more. One that may not be signalled (it runs as somebody else) does not spare the others.
    pub fn send(&mut self, process: OwnedFd, signal: i32) {
        match send(&process, signal) {
            Ok(true) => {
                self.count += 1;
                if self.last.len() == BATCH {
                    self.last.clear();
                }
                self.last.push(process);
            }
            Ok(false) => {}
            Err(error) => self.refused = self.refused.take().or(Some(error)),
        }
    }

    /// How many got it, and descriptors of the last of them.
    pub fn done(self) -> io::Result<(u32, Vec<OwnedFd>)> {
        match self.refused {
            None => Ok((self.count, self.last)),
            Some(error) => Err(error),
        }
    }
}

/// Waits until all of these have ended.
pub(crate) fn wait_all(processes: &[OwnedFd], until: Deadline) -> io::Result<()> {
    for process in processes {
        wait_for(process, PollFlags::IN, until)?;
    }
    Ok(())
}

/// Waits until `what` happens on `fd`.
pub(crate) fn wait_for(fd: impl AsFd, what: PollFlags, until: Deadline) -> io::Result<()> {
    loop {
        let mut fds = [PollFd::new(&fd, what)];
        match poll(&mut fds, until.left()?.as_ref()) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// When waiting is given up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub fn after(timeout: Option<Duration>) -> Self {
        Self(timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
    }

    /// What is left, `None` for ever; an error of kind `TimedOut` if nothing is.
    fn left(self) -> io::Result<Option<Timespec>> {
        let Some(end) = self.0 else { return Ok(None) };
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Some(Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let text = b"12 (a) R 1 (b) ) S 34 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 5678 0 0\n";
        assert_eq!(Stat::parse(text), Some(Stat { state: b'S', parent: 34, start: 5678 }));
        assert_eq!(Stat::parse(b"12 (a"), None);
    }

    #[test]
    fn a_pid_with_another_start_time_is_somebody_else() {
        let me = Process::of(std::process::id()).unwrap().unwrap();
        assert!(me.is_alive().unwrap() && me.open().unwrap().is_some());
        let other = Process { start: me.start + 1, ..me };
        assert!(!other.is_alive().unwrap() && other.open().unwrap().is_none());
        assert!(!other.signal(libc::SIGKILL).unwrap());
    }
}
