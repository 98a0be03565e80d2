//! Processes one by one, for what the kernel does not count for a whole job: cpu time, memory, disk traffic, threads.
//! It refuses to scan all processes of the machine: who belongs to a job is said by its group, or found below its shim.

use super::read::{Kept, field};
use qrm_shim::cgroup::JobCgroup;
use std::collections::BTreeMap;
use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::PathBuf;

/// How many processes of one job are looked at: a look takes some microseconds for each.
const MOST: usize = 512;
/// Of how many the files stay open: most jobs have no more, and descriptors are few on some machines.
const KEPT: usize = 8;

/// What processes have together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub cpu_us: u64,
    pub memory_bytes: u64,
    /// The most that one of them ever had, as far as it was asked: when it is seen for the first time.
    pub largest_bytes: u64,
    /// `None` if one of them does not let us know.
    pub disk: Option<(u64, u64)>,
    pub pids: u64,
    /// There are more of them.
    pub incomplete: bool,
}

/// The processes of one job.
pub(super) struct Processes {
    from: From,
    kept: BTreeMap<u32, Process>,
    most_kept: usize,
    page: u64,
    tick_us: u64,
}

enum From {
    /// Its group of version 2: its directory, and the file that lists its own processes.
    Group(PathBuf, Kept, JobCgroup),
    /// A group that has to be asked anew each time: what version 1 says to who keeps it open may be old.
    Asked(JobCgroup),
    /// What descends from this process, without itself.
    Below(u32),
}

struct Process {
    stat: Kept,
    io: Option<Kept>,
}

impl Processes {
    /// With `keep`, files stay open.
    pub fn new(group: Option<&JobCgroup>, shim: u32, keep: bool) -> Self {
        let from = match group {
            Some(group @ JobCgroup::V2 { dir, .. }) => match Kept::new(dir.join("cgroup.procs"), keep) {
                Some(procs) => From::Group(dir.clone(), procs, group.clone()),
                None => From::Asked(group.clone()),
            },
            Some(group) => From::Asked(group.clone()),
            None => From::Below(shim),
        };
        let tick_us = 1_000_000 / rustix::param::clock_ticks_per_second().max(1);
        Self {
            from,
            kept: BTreeMap::new(),
            most_kept: if keep { KEPT } else { 0 },
            page: rustix::param::page_size() as u64,
            tick_us,
        }
    }

    /// What they have now. Who has ended meanwhile has nothing.
    pub fn sum(&mut self, buffer: &mut Vec<u8>) -> Sum {
        let (pids, more) = self.pids(buffer);
        self.kept.retain(|pid, _| pids.contains(pid));
        let mut sum = Sum { incomplete: more, disk: Some((0, 0)), ..Sum::default() };
        for pid in pids {
            if self.kept.get(&pid).is_some_and(|process| add(&mut sum, process, self.page, self.tick_us, buffer)) {
                continue;
            }
            // It is new, or another one has its number by now.
            self.kept.remove(&pid);
            let Some(stat) = Kept::open(format!("/proc/{pid}/stat")) else { continue };
            let process = Process { stat, io: Kept::open(format!("/proc/{pid}/io")) };
            let status = Kept::open(format!("/proc/{pid}/status"));
            let largest = status.and_then(|status| field(status.text(buffer)?, "VmHWM"));
            sum.largest_bytes = sum.largest_bytes.max(largest.unwrap_or(0).saturating_mul(1024));
            if add(&mut sum, &process, self.page, self.tick_us, buffer) && self.kept.len() < self.most_kept {
                self.kept.insert(pid, process);
            }
        }
        sum
    }

    /// What they have in memory that is in no file, of what they share each its part; what is shared with others, and what
    /// can not be told, is left out.
    pub fn own(&self, buffer: &mut Vec<u8>) -> u64 {
        let (pids, _) = self.pids(buffer);
        let own = pids.into_iter().filter_map(|pid| {
            let rollup = Kept::open(format!("/proc/{pid}/smaps_rollup"))?;
            private(rollup.text(buffer)?)
        });
        own.fold(0, u64::saturating_add)
    }

    /// Who they are, and whether there are more.
    fn pids(&self, buffer: &mut Vec<u8>) -> (Vec<u32>, bool) {
        let mut pids = match &self.from {
            // A directory has a link from each directory in it, and two of its own: groups below it have processes, too.
            From::Group(dir, procs, group) => match fs::metadata(dir).map(|meta| meta.st_nlink()) {
                Ok(..=2) => procs.text(buffer).map(listed).unwrap_or_default(),
                _ => asked(group),
            },
            From::Asked(group) => asked(group),
            From::Below(root) => return below(*root, buffer),
        };
        let more = pids.len() > MOST;
        pids.truncate(MOST);
        (pids, more)
    }
}

fn asked(group: &JobCgroup) -> Vec<u32> {
    group.procs().unwrap_or_else(|error| {
        tracing::debug!(%error, "the processes of a group are not sampled");
        Vec::new()
    })
}

/// A number in each line. Processes outside of our pid namespace read as 0.
fn listed(text: &[u8]) -> Vec<u32> {
    let words = text.split(u8::is_ascii_whitespace).filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok());
    words.filter(|pid| *pid != 0).collect()
}

/// The descendants of a process, parents before children, and whether there may be more. On a kernel that does not list
/// children there are none that could be found without looking at everything.
fn below(root: u32, buffer: &mut Vec<u8>) -> (Vec<u32>, bool) {
    let mut found: Vec<u32> = Vec::new();
    let (mut parent, mut next, mut looks) = (root, 0, 0);
    loop {
        let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        for thread in threads {
            looks += 1;
            if looks > MOST || found.len() > MOST {
                found.truncate(MOST);
                return (found, true);
            }
            let children = Kept::open(thread.path().join("children"));
            found.extend(children.and_then(|children| children.text(buffer).map(listed)).unwrap_or_default());
        }
        let Some(pid) = found.get(next) else { return (found, false) };
        parent = *pid;
        next += 1;
    }
}

/// Adds what a process has; false if it has ended.
fn add(sum: &mut Sum, process: &Process, page: u64, tick_us: u64, buffer: &mut Vec<u8>) -> bool {
    let Some(stat) = process.stat.text(buffer).and_then(Stat::parse) else { return false };
    sum.cpu_us = sum.cpu_us.saturating_add(stat.ticks.saturating_mul(tick_us));
    sum.memory_bytes = sum.memory_bytes.saturating_add(stat.pages.saturating_mul(page));
    sum.pids = sum.pids.saturating_add(stat.threads);
    let disk = process.io.as_ref().and_then(|io| traffic(io.text(buffer)?));
    sum.disk = match (sum.disk, disk) {
        (Some((read, written)), Some((more_read, more_written))) => {
            Some((read.saturating_add(more_read), written.saturating_add(more_written)))
        }
        _ => None,
    };
    true
}

/// What `/proc/PID/stat` says of a process and of those children that it has waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    /// Of user and system time, its own and theirs.
    ticks: u64,
    threads: u64,
    /// Resident.
    pages: u64,
}

impl Stat {
    /// proc_pid_stat(5): the name is in parentheses and may itself hold any byte; fields 3 and on follow the last `)`.
    fn parse(text: &[u8]) -> Option<Self> {
        let close = text.iter().rposition(|byte| *byte == b')')?;
        let fields: Vec<&str> = std::str::from_utf8(text.get(close + 2..)?).ok()?.split(' ').collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        // What its children took may be counted backwards, and is negative then.
        let children = |field: usize| fields.get(field - 3)?.parse::<i64>().ok().map(|n| u64::try_from(n).unwrap_or(0));
        let ticks = [number(14)?, number(15)?, children(16)?, children(17)?];
        Some(Self { ticks: ticks.into_iter().fold(0, u64::saturating_add), threads: number(20)?, pages: number(24)? })
    }
}

/// proc_pid_io(5): what came from disks and went there, of a process and of those children that it has waited for.
fn traffic(text: &[u8]) -> Option<(u64, u64)> {
    let written = field(text, "write_bytes")?;
    Some((field(text, "read_bytes")?, written.saturating_sub(field(text, "cancelled_write_bytes").unwrap_or(0))))
}

/// proc_pid_smaps_rollup(5): what a process has in memory without a file behind it, in its proportion.
fn private(text: &[u8]) -> Option<u64> {
    let kib = field(text, "Pss_Anon")?.saturating_add(field(text, "Pss_Shmem").unwrap_or(0));
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields_of_a_process() {
        let text = b"12 (a) R 1 (b) ) S 34 1 1 0 -1 4 0 0 0 0 30 12 5 -1 20 0 7 0 5678 104857600 2560 18446744073709551615 1\n";
        assert_eq!(Stat::parse(text), Some(Stat { ticks: 47, threads: 7, pages: 2560 }));
        for bad in
            ["", "12 (a", "12 (a) S 34\n", "12 (a)", "12 (a) S 1 1 1 0 -1 4 0 0 0 0 x 12 5 1 20 0 7 0 5678 1 2 3\n"]
        {
            assert_eq!(Stat::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn what_was_written_and_taken_back_did_not_go_to_a_disk() {
        let text = b"rchar: 6976\nwchar: 1\nsyscr: 10\nsyscw: 0\nread_bytes: 4096\nwrite_bytes: 12288\ncancelled_write_bytes: 4096\n";
        assert_eq!(traffic(text), Some((4096, 8192)));
        assert_eq!(traffic(b"read_bytes: 1\nwrite_bytes: 2\n"), Some((1, 2)));
        assert_eq!(traffic(b"read_bytes: 1\n"), None);
        assert_eq!(traffic(b""), None);
    }

    #[test]
    fn what_a_process_has_for_itself_is_without_files() {
        let text = b"00400000-7ffc [rollup]\nRss: 900 kB\nPss: 500 kB\nPss_Dirty: 9 kB\nPss_Anon: 300 kB\nPss_File: 180 kB\nPss_Shmem: 20 kB\n";
        assert_eq!(private(text), Some(320 << 10));
        assert_eq!(private(b"Rss: 900 kB\nPss: 500 kB\n"), None, "kernels before 5.4 do not tell");
    }

    #[test]
    fn pids_are_the_numbers_of_a_list() {
        assert_eq!(listed(b"12\n0\n13\nx\n99999999999\n"), [12, 13]);
        assert!(listed(b"").is_empty());
    }

    #[test]
    fn descendants_of_descendants_are_found_without_the_first() {
        if !std::path::Path::new("/proc/thread-self/children").exists() {
            return eprintln!("skipped: this kernel does not list children");
        }
        // The inner shell is not replaced by sleep, for something follows it.
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sh -c 'echo; read end; true'; true"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let mut processes = Processes::new(None, child.id(), true);
        let mut buffer = Vec::new();
        let sum = processes.sum(&mut buffer);
        assert!(sum.pids == 1 && sum.memory_bytes > 0 && sum.largest_bytes >= sum.memory_bytes / 2, "{sum:?}");
        assert!(!sum.incomplete);
        let own = processes.own(&mut buffer);
        assert!(own > 0 && own < sum.memory_bytes, "{own} {sum:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(processes.sum(&mut buffer), Sum { disk: Some((0, 0)), ..Sum::default() });
    }
}
