//! The processes below a process, for a job that has no group: what is found by walking `/proc`, and signalled.
//! It knows no job. A process that left the tree (its parents are gone and no subreaper took it) is not seen.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use crate::proc::{self, Deadline, Process, Sent, Stat};
use crate::record::decimal;

/// All living descendants of the process, without itself, parents before children.
///
/// # Errors
/// `/proc` cannot be read.
pub fn descendants(root: u32) -> io::Result<Vec<Process>> {
    if !Path::new("/proc/thread-self/children").exists() {
        return scan(root);
    }
    let mut found: Vec<Process> = Vec::new();
    let mut walked = 0;
    let mut parent = root;
    loop {
        for pid in children(parent)? {
            // Between the two reads it may have ended and its pid be somebody else's; so its parent is asked too.
            if let Some(stat) = Stat::of(pid)?
                && stat.parent == parent
                && !stat.is_dead()
            {
                found.push(Process { pid, start: stat.start });
            }
        }
        let Some(next) = found.get(walked) else { return Ok(found) };
        parent = next.pid;
        walked += 1;
    }
}

/// Sends a signal to every descendant and returns to how many. None if `root` is gone: its children are then
/// somebody else's.
///
/// # Errors
/// `/proc` cannot be read, no descriptor is free, or one of them may not be signalled.
pub fn signal_all(root: Process, signal: i32) -> io::Result<u32> {
    Ok(signal_each(root, signal)?.0)
}

/// Kills every descendant, also those forked meanwhile, waits until all are gone and returns how many were killed.
///
/// # Errors
/// As [`signal_all`]; of kind `TimedOut` if some are still there after `timeout` (a process that is stuck in the
/// kernel dies when it leaves it).
pub fn kill_all(root: Process, timeout: Option<Duration>) -> io::Result<u32> {
    let until = Deadline::after(timeout);
    let mut killed = 0;
    loop {
        // Who got the signal forks no more; who was forked before that is found in the next round.
        let (count, held) = signal_each(root, libc::SIGKILL)?;
        if count == 0 {
            return Ok(killed);
        }
        killed += count;
        proc::wait_all(&held, until)?;
    }
}

/// The processes whose environment, as it was when they were executed, holds this `NAME=value`: for what a
/// dead shim's tree has left. Processes of others are passed over.
///
/// # Errors
/// `/proc` cannot be read.
pub fn with_environment(entry: &[u8]) -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for pid in pids()? {
        let Some(process) = Process::of(pid)? else { continue };
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { continue };
        if environment.split(|byte| *byte == 0).any(|other| other == entry) && process.is_alive()? {
            found.push(process);
        }
    }
    Ok(found)
}

/// Signals every descendant; returns to how many, and descriptors of the last of them.
pub(crate) fn signal_each(root: Process, signal: i32) -> io::Result<(u32, Vec<OwnedFd>)> {
    let mut sent = Sent::default();
    if Process::of(root.pid)? == Some(root) {
        for process in descendants(root.pid)? {
            if let Some(fd) = process.open()? {
                sent.send(fd, signal);
            }
        }
    }
    sent.done()
}

/// The children of all threads of a process; none if it is gone.
fn children(parent: u32) -> io::Result<Vec<u32>> {
    let mut path = String::with_capacity(48);
    path.push_str("/proc/");
    decimal(&mut path, parent.into());
    path.push_str("/task");
    let mut pids = Vec::new();
    let Some(threads) = present(fs::read_dir(&path))? else { return Ok(pids) };
    for thread in threads {
        let Some(thread) = present(thread)? else { continue };
        let Some(text) = present(fs::read_to_string(thread.path().join("children")))? else { continue };
        pids.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    Ok(pids)
}

/// The same as [`descendants`] on a kernel without `CONFIG_PROC_CHILDREN`: every process is asked for its parent.
fn scan(root: u32) -> io::Result<Vec<Process>> {
    let mut all = Vec::new();
    for pid in pids()? {
        if let Some(stat) = Stat::of(pid)?
            && !stat.is_dead()
        {
            all.push((stat.parent, Process { pid, start: stat.start }));
        }
    }
    let mut found: Vec<Process> = Vec::new();
    let mut walked = 0;
    let mut parent = root;
    loop {
        found.extend(all.iter().filter(|(of, _)| *of == parent).map(|(_, process)| *process));
        let Some(next) = found.get(walked) else { return Ok(found) };
        parent = next.pid;
        walked += 1;
    }
}

/// The pids of all processes that can be seen.
fn pids() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok(pids)
}

/// `None` if the process went away meanwhile.
fn present<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::process::{Child, Command, Stdio};

    /// Runs a script that says `ready`; it and what is below it are killed at the end, whatever happens.
    struct Family(Child);

    impl Family {
        fn of(script: &str, (name, value): (&str, &str)) -> Self {
            let mut command = Command::new("sh");
            command.args(["-c", script]).env(name, value);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
            Self(child)
        }

        fn root(&self) -> Process {
            Process::of(self.0.id()).unwrap().unwrap()
        }
    }

    impl Drop for Family {
        fn drop(&mut self) {
            kill_all(self.root(), Some(Duration::from_secs(60))).unwrap();
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn both_ways_of_walking_find_the_same_descendants_and_killing_leaves_none() {
        let family = Family::of("sh -c 'sleep 1000 & echo ready; wait' & wait; read forever", ("A", "b"));
        let root = family.root();
        let (mut walked, mut scanned) = (descendants(root.pid).unwrap(), scan(root.pid).unwrap());
        walked.sort();
        scanned.sort();
        assert_eq!(walked.len(), 2);
        assert_eq!(walked, scanned);
        assert_eq!(signal_all(Process { start: 0, ..root }, libc::SIGKILL).unwrap(), 0);
        assert!(kill_all(root, Some(Duration::from_secs(60))).unwrap() >= 2);
        assert!(walked.into_iter().all(|process| !process.is_alive().unwrap()));
    }

    #[test]
    fn a_process_is_found_by_its_environment() {
        let value = format!("test-{}", std::process::id());
        let family = Family::of("echo ready; read forever", ("QRM_JOB_ID", &value));
        assert_eq!(with_environment(format!("QRM_JOB_ID={value}").as_bytes()).unwrap(), [family.root()]);
    }
}
