//! One running job: which files tell what of it, and a sample of all of them.
//! It refuses to know when samples are taken.

use super::processes::{Processes, Sum};
use super::read::{Kept, field, plain};
use super::ring::Ring;
use super::{SHARE, Stamp, Watched};
use qrm_core::Run;
use qrm_protocol::sample::{JobSample, MemoryFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many samples in a row the processes of a job are taken as they were, because none of them ran meanwhile: only the
/// kernel itself could have changed them, by swapping.
const UNCHANGED: u32 = 15;

/// How samples of jobs are taken just now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// How much cpu a job used since the sample before is told if that is at most this old.
    pub recent: Duration,
    /// So many samples of a job are kept.
    pub samples: usize,
    /// Whether the files of a new one stay open.
    pub keep: bool,
}

/// A job that runs, and what was seen of it.
pub(super) struct Job {
    pub run: Run,
    pub ring: Ring<JobSample>,
    watched: Watched,
    /// Told to who records the end.
    peak: Arc<AtomicU64>,
    /// Opened with the first sample: most jobs are too short for one.
    files: Option<Files>,
    /// When it had used how much cpu time, in microseconds.
    before: Option<(Instant, u64)>,
    processes: Option<Seen>,
    own: Option<Own>,
}

/// What a job whose memory the kernel does not count has for itself, and how long it took to find out.
#[derive(Clone, Copy)]
struct Own {
    at: Instant,
    took: Duration,
    bytes: u64,
}

/// What the processes had, and how often that was taken to be so still.
struct Seen {
    sum: Sum,
    cpu_us: Option<u64>,
    times: u32,
}

type Parse<T> = fn(&[u8]) -> Option<T>;

/// A file of a group, and how its text is read.
struct Counter<T> {
    file: Kept,
    parse: Parse<T>,
}

/// What the kernel counts for the whole job; what is missing is asked of its processes.
struct Files {
    cpu_us: Option<Counter<u64>>,
    memory: Option<Counter<u64>>,
    peak: Option<Counter<u64>>,
    /// What of its memory others could have at once.
    spare: Option<Counter<u64>>,
    disk: Option<Counter<(u64, u64)>>,
    pids: Option<Counter<u64>>,
    processes: Option<Processes>,
}

impl<T> Counter<T> {
    /// The first of these files that one of the directories has and that tells it.
    fn find(dirs: &[&Path], keep: bool, files: &[(&str, Parse<T>)], buffer: &mut Vec<u8>) -> Option<Self> {
        dirs.iter().flat_map(|dir| files.iter().map(move |(name, parse)| (dir.join(name), *parse))).find_map(
            |(path, parse)| {
                let file = Kept::new(path, keep)?;
                parse(file.text(buffer)?).map(|_| Self { file, parse })
            },
        )
    }

    fn read(counter: Option<&Self>, buffer: &mut Vec<u8>) -> Option<T> {
        let counter = counter?;
        (counter.parse)(counter.file.text(buffer)?)
    }
}

impl Files {
    fn open(watched: &Watched, keep: bool, buffer: &mut Vec<u8>) -> Self {
        let dirs: Vec<&Path> = watched.group.iter().flat_map(|group| group.dirs()).collect();
        let mut files = Self {
            cpu_us: Counter::find(
                &dirs,
                keep,
                &[
                    ("cpu.stat", |text| field(text, "usage_usec")),
                    ("cpuacct.usage", |text| plain(text).map(|ns| ns / 1000)),
                ],
                buffer,
            ),
            memory: Counter::find(&dirs, keep, &[("memory.current", plain), ("memory.usage_in_bytes", plain)], buffer),
            peak: Counter::find(&dirs, keep, &[("memory.peak", plain), ("memory.max_usage_in_bytes", plain)], buffer),
            spare: watched.asked.and_then(|_| Counter::find(&dirs, keep, &[("memory.stat", spare)], buffer)),
            disk: Counter::find(
                &dirs,
                keep,
                &[("io.stat", io_stat), ("blkio.throttle.io_service_bytes", blkio)],
                buffer,
            ),
            pids: Counter::find(&dirs, keep, &[("pids.current", plain)], buffer),
            processes: None,
        };
        let all = files.cpu_us.is_some() && files.memory.is_some() && files.disk.is_some() && files.pids.is_some();
        files.processes = (!all).then(|| Processes::new(watched.group.as_ref(), watched.shim, keep));
        files
    }
}

impl Job {
    pub fn new(run: Run, watched: Watched, peak: Arc<AtomicU64>) -> Self {
        Self { run, ring: Ring::new(), watched, peak, files: None, before: None, processes: None, own: None }
    }

    /// The memory that it asked for.
    pub fn asked(&self) -> Option<u64> {
        self.watched.asked
    }

    /// What it has of that for itself, and nobody else could have: too little rather than too much.
    pub fn held(&mut self, keep: bool, buffer: &mut Vec<u8>) -> u64 {
        let Some(asked) = self.watched.asked else { return 0 };
        let files = self.files.get_or_insert_with(|| Files::open(&self.watched, keep, buffer));
        let held = match (&files.memory, &files.processes) {
            (Some(memory), _) => {
                let spare = Counter::read(files.spare.as_ref(), buffer);
                let all = Counter::read(Some(memory), buffer);
                all.zip(spare).map_or(0, |(all, spare)| all.saturating_sub(spare))
            }
            (None, Some(processes)) => match self.own {
                // The kernel walks all pages of a process for it.
                Some(own) if own.at.elapsed() < own.took * SHARE => own.bytes,
                _ => {
                    let at = Instant::now();
                    let bytes = processes.own(buffer);
                    self.own.insert(Own { at, took: at.elapsed(), bytes }).bytes
                }
            },
            (None, None) => 0,
        };
        held.min(asked)
    }

    /// Takes a sample, unless nothing of the job is left.
    pub fn sample(&mut self, stamp: Stamp, bounds: Bounds, buffer: &mut Vec<u8>) {
        let files = self.files.get_or_insert_with(|| Files::open(&self.watched, bounds.keep, buffer));
        let counted = Counter::read(files.cpu_us.as_ref(), buffer);
        let sum = match &mut files.processes {
            Some(processes) => Some(Seen::again(&mut self.processes, counted, || processes.sum(buffer))),
            None => None,
        };
        let newest = self.ring.newest().map(|(_, sample)| sample);
        // What has ended takes its count along, unless its parent waited for it; nothing that was used is given back.
        let grown = |now: Option<u64>, before: Option<u64>| now.map(|now| now.max(before.unwrap_or(0)));
        let kernel = Counter::read(files.memory.as_ref(), buffer);
        let cpu_us = counted.or_else(|| grown(sum.map(|sum| sum.cpu_us), self.before.map(|(_, us)| us)));
        if sum.is_none_or(|sum| sum.pids == 0) && kernel.is_none_or(|bytes| bytes == 0) {
            return;
        }
        let memory = kernel.or(sum.map(|sum| sum.memory_bytes));
        let peak = Counter::read(files.peak.as_ref(), buffer);
        let seen = memory.max(sum.filter(|_| kernel.is_none()).map(|sum| sum.largest_bytes));
        let peak = peak.max(seen).map(|bytes| self.peak.fetch_max(bytes, Ordering::Relaxed).max(bytes));
        let disk = Counter::read(files.disk.as_ref(), buffer).or(sum.and_then(|sum| sum.disk));
        let cpu_permille =
            cpu_us.and_then(|us| rate(us, self.before, self.watched.since_boot_ms, stamp, bounds.recent));
        let sample = JobSample {
            number: stamp.number,
            at: stamp.wall,
            cpu_ms: cpu_us.map(|us| us / 1000),
            cpu_permille,
            memory_bytes: memory,
            peak_memory_bytes: peak,
            memory_from: memory.map(|_| if kernel.is_some() { MemoryFrom::Group } else { MemoryFrom::Processes }),
            read_bytes: grown(disk.map(|(read, _)| read), newest.and_then(|sample| sample.read_bytes)),
            written_bytes: grown(disk.map(|(_, written)| written), newest.and_then(|sample| sample.written_bytes)),
            pids: Counter::read(files.pids.as_ref(), buffer).or(sum.map(|sum| sum.pids)),
            incomplete: sum.is_some_and(|sum| sum.incomplete),
        };
        self.before = cpu_us.map(|us| (stamp.mono, us));
        self.ring.push(stamp.mono, sample, bounds.samples);
    }
}

/// Thousandths of one cpu since the sample before, or since the start if that was just now.
fn rate(
    cpu_us: u64,
    before: Option<(Instant, u64)>,
    since_boot_ms: u64,
    stamp: Stamp,
    recent: Duration,
) -> Option<u64> {
    let (age, used) = match before {
        Some((at, us)) => (stamp.mono.saturating_duration_since(at), cpu_us.saturating_sub(us)),
        None => (Duration::from_millis(stamp.boot_ms.saturating_sub(since_boot_ms)), cpu_us),
    };
    let age_us = u64::try_from(age.as_micros()).ok().filter(|us| *us > 0 && age <= recent)?;
    used.checked_mul(1000).map(|used| used / age_us)
}

impl Seen {
    /// What the processes have now. If their cpu time is counted and is what it was, none of them ran.
    fn again(seen: &mut Option<Self>, cpu_us: Option<u64>, look: impl FnOnce() -> Sum) -> Sum {
        match seen {
            Some(seen) if cpu_us.is_some() && seen.cpu_us == cpu_us && seen.times < UNCHANGED => {
                seen.times += 1;
                seen.sum
            }
            _ => seen.insert(Self { sum: look(), cpu_us, times: 0 }).sum,
        }
    }
}

/// memory.stat: what counts as available of the machine although it is a job's, files that are kept for it and what the
/// kernel could do without. Version 1 tells of a group and those below it as `total_`.
fn spare(text: &[u8]) -> Option<u64> {
    let of = |key: &str| field(text, key);
    let files = match (of("total_active_file"), of("total_inactive_file")) {
        (Some(active), Some(inactive)) => active.saturating_add(inactive),
        _ => of("active_file")?.saturating_add(of("inactive_file")?),
    };
    Some(files.saturating_add(of("slab_reclaimable").unwrap_or(0)))
}

/// io.stat of version 2: a line for each disk, `8:0 rbytes=1 wbytes=2 rios=3 …`. One without any traffic is empty.
fn io_stat(text: &[u8]) -> Option<(u64, u64)> {
    let of = |line: &str, key: &str| {
        line.split_ascii_whitespace().find_map(|word| word.strip_prefix(key)?.parse::<u64>().ok()).unwrap_or(0)
    };
    let add = |(read, written): (u64, u64), line: &str| {
        (read.saturating_add(of(line, "rbytes=")), written.saturating_add(of(line, "wbytes=")))
    };
    Some(std::str::from_utf8(text).ok()?.lines().fold((0, 0), add))
}

/// blkio of version 1: `8:0 Read 4096`, `8:0 Write 0` and others for each disk, and `Total 4096`.
fn blkio(text: &[u8]) -> Option<(u64, u64)> {
    let sum = |kind: &str| {
        let lines = std::str::from_utf8(text).ok()?.lines();
        let words = lines.map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
        let bytes = words.filter_map(|words| match *words {
            [_, what, bytes] if what == kind => bytes.parse::<u64>().ok(),
            _ => None,
        });
        Some(bytes.fold(0, u64::saturating_add))
    };
    Some((sum("Read")?, sum("Write")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use qrm_core::Stage;
    use qrm_protocol::ids::JobId;
    use qrm_shim::cgroup::JobCgroup;

    #[test]
    fn disk_traffic_is_summed_over_disks_in_either_version() {
        let text =
            b"8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n8:0 rbytes=800 wbytes=96\n7:0\n";
        assert_eq!(io_stat(text), Some((1_460_000, 314_773_600)));
        assert_eq!(io_stat(b""), Some((0, 0)));
        assert_eq!(io_stat(b"8:0 rbytes=x wbytes\n"), Some((0, 0)));
        assert_eq!(io_stat(b"\xff"), None);
        let text = b"8:0 Read 4096\n8:0 Write 12\n8:0 Sync 1\n8:0 Total 4108\n8:16 Read 4\nTotal 4112\n";
        assert_eq!(blkio(text), Some((4100, 12)));
        assert_eq!(blkio(b"Total 0\n"), Some((0, 0)));
    }

    const BOUNDS: Bounds = Bounds { recent: Duration::from_secs(10), samples: 10, keep: true };

    /// A job whose group is this directory, and whose shim is no process.
    fn job(dir: &Path) -> (Job, Arc<AtomicU64>) {
        let run = Run { job: JobId(1).into(), stage: Stage::Execute, attempt: 1 };
        let peak = Arc::new(AtomicU64::new(0));
        let group = Some(JobCgroup::V2 { dir: dir.to_owned(), others: Vec::new() });
        (Job::new(run, Watched { shim: 0, group, since_boot_ms: 0, asked: Some(8192) }, peak.clone()), peak)
    }

    #[test]
    fn what_the_kernel_counts_for_a_group_is_what_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        for (name, text) in [
            ("cpu.stat", "usage_usec 2000000\nuser_usec 1\n"),
            ("memory.current", "4096\n"),
            ("memory.peak", "8192\n"),
            ("io.stat", "8:0 rbytes=5 wbytes=6\n"),
            ("pids.current", "3\n"),
        ] {
            write(name, text);
        }
        let (mut job, peak) = job(dir.path());
        let mut buffer = Vec::new();
        let first = Stamp::now(1);
        job.sample(first, BOUNDS, &mut buffer);
        let (_, sample) = job.ring.newest().unwrap();
        assert_eq!(
            (sample.cpu_ms, sample.memory_bytes, sample.peak_memory_bytes),
            (Some(2000), Some(4096), Some(8192))
        );
        assert_eq!((sample.read_bytes, sample.written_bytes, sample.pids), (Some(5), Some(6), Some(3)));
        assert_eq!((sample.cpu_permille, sample.memory_from), (None, Some(MemoryFrom::Group)));
        write("cpu.stat", "usage_usec 2500000\n");
        write("memory.peak", "12288\n");
        let later = Stamp { mono: first.mono + Duration::from_secs(1), number: 2, ..first };
        job.sample(later, BOUNDS, &mut buffer);
        let (_, sample) = job.ring.newest().unwrap();
        assert_eq!((sample.cpu_permille, sample.number), (Some(500), 2));
        assert_eq!(peak.load(Ordering::Relaxed), 12_288);
        let much_later = Stamp { mono: later.mono + BOUNDS.recent * 2, number: 3, ..first };
        job.sample(much_later, BOUNDS, &mut buffer);
        assert_eq!(job.ring.newest().unwrap().1.cpu_permille, None);
        assert_eq!(job.ring.recent(much_later.mono).len(), 3);
    }

    #[test]
    fn of_what_a_job_asked_for_it_holds_what_others_could_not_have() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let mut buffer = Vec::new();
        for (all, stat, held) in [
            ("4096", "anon 1\nactive_file 96\ninactive_file 900\nslab_reclaimable 100\n", 3_000),
            ("9999999", "active_file 0\ninactive_file 0\n", 8_192),
            ("4096", "active_file 1\ninactive_file 1\ntotal_active_file 4000\ntotal_inactive_file 50\n", 46),
            ("4096", "active_file 5000\ninactive_file 0\n", 0),
        ] {
            write("memory.current", all);
            write("memory.stat", stat);
            let (mut job, _) = job(dir.path());
            assert_eq!(job.held(true, &mut buffer), held, "{stat}");
            write("memory.current", "0");
            assert_eq!(job.held(true, &mut buffer), 0, "it is read anew");
        }
        // What can not be told counts as nothing.
        std::fs::remove_file(dir.path().join("memory.stat")).unwrap();
        write("memory.current", "4096");
        assert_eq!(job(dir.path()).0.held(true, &mut buffer), 0);
        let (mut plain, _) = job(dir.path());
        plain.watched.asked = None;
        assert_eq!((plain.asked(), plain.held(true, &mut buffer)), (None, 0));
    }

    #[test]
    fn of_a_job_that_is_gone_there_is_no_sample() {
        let dir = tempfile::tempdir().unwrap();
        let (mut job, _) = job(dir.path());
        job.sample(Stamp::now(1), BOUNDS, &mut Vec::new());
        assert!(job.ring.newest().is_none());
    }

    #[test]
    fn processes_that_did_not_run_are_not_looked_at_but_now_and_then() {
        let mut seen = None;
        let mut looks = 0;
        let mut again = |cpu_us| {
            Seen::again(&mut seen, cpu_us, || {
                looks += 1;
                Sum { pids: looks, ..Sum::default() }
            })
            .pids
        };
        assert_eq!([again(Some(7)), again(Some(7)), again(Some(8)), again(Some(8))], [1, 1, 2, 2]);
        assert_eq!([again(None), again(None)], [3, 4]);
        let many: Vec<u64> = (0..40).map(|_| again(Some(9))).collect();
        assert_eq!((many[0], many[15], many[16], many[39]), (5, 5, 6, 7));
    }
}
