//! Limits that the kernel does not hold a run to: one thread looks at what processes have, one at what is in scratch
//! directories and one at what is in jobs' own, while there are such runs. It refuses to end anybody: that is the supervising
//! thread's, which is told.

use super::Settings;
use super::limits::Limiter;
use super::mail::{Mail, Message};
use super::scratch::{MAX_DEPTH, Measured, measure};
use super::signal::process;
use super::thread::Means;
use super::watch::{Entry, State};
use crate::config::Bound;
use qrm_core::{Exceeded, Run, RunSignal};
use qrm_protocol::amount::Bytes;
use qrm_shim::cgroup::JobCgroup;
use qrm_shim::proc::Process;
use qrm_shim::tree;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How often there is a look.
#[derive(Clone, Copy)]
struct Pace {
    /// The name of the thread.
    name: &'static str,
    /// Between two looks.
    pause: Duration,
    /// And so many times as long as the look took, however much there was to look at.
    times: u32,
}

/// Who has too much memory is ended within a quarter of a second.
const PROCESSES: Pace = Pace { name: "patrol", pause: Duration::from_millis(200), times: 4 };
/// A directory can hold millions of files, and looking at them keeps its disk busy.
const SCRATCH: Pace = Pace { name: "patrol-scratch", pause: Duration::from_millis(250), times: 10 };

/// Whoever fills a disk needs longer than this for it.
const OUTPUT: Pace = Pace { name: "patrol-output", pause: Duration::from_secs(1), times: 10 };

/// What is looked at, and how much of it there may be.
enum Watched {
    Processes { members: Members, memory: Option<u64>, pids: Option<u32> },
    Scratch { dir: OwnedFd, limit: u64 },
    Output { dir: OwnedFd, limit: u64 },
}

/// Who belongs to a run.
enum Members {
    /// Who is in its group.
    Group(JobCgroup),
    /// Who descends from its shim.
    Below(Process),
}

/// What the thread is told.
enum Word {
    Watch(Run, Watched),
    Forget(Run),
}

/// The way to the thread that looks; it is made when there is something to look at.
pub(super) struct Patrol {
    mail: Mail,
    pace: Pace,
    words: Option<Sender<Word>>,
    /// Whom it was told of, so that it is not woken for the end of others.
    told: BTreeSet<Run>,
}

impl Patrol {
    /// That of processes, that of scratch directories and that of output: a disk that does not answer keeps nobody else
    /// waiting.
    pub fn all(mail: &Mail) -> [Self; 3] {
        [PROCESSES, SCRATCH, OUTPUT].map(|pace| Self { mail: mail.clone(), pace, words: None, told: BTreeSet::new() })
    }

    fn watch(&mut self, run: Run, watched: Watched) -> io::Result<()> {
        let words = match &self.words {
            Some(words) => words,
            None => {
                let (words, heard) = channel();
                let (mail, pace) = (self.mail.clone(), self.pace);
                std::thread::Builder::new().name(pace.name.to_owned()).spawn(move || patrol(&heard, &mail, pace))?;
                self.words.insert(words)
            }
        };
        words.send(Word::Watch(run, watched)).map_err(io::Error::other)?;
        self.told.insert(run);
        Ok(())
    }

    /// It is over.
    pub fn forget(&mut self, run: Run) {
        if self.told.remove(&run)
            && let Some(words) = &self.words
            && words.send(Word::Forget(run)).is_err()
        {
            tracing::error!("the thread that watches limits has ended");
        }
    }
}

impl Means {
    /// The command runs: what of its limits the kernel does not hold is watched from now on.
    pub fn watch_limits(&mut self, entry: &Entry) {
        let (State::Running(shim), Some(launch)) = (&entry.state, &entry.launch) else { return };
        let group = entry.group.as_ref();
        // A run that was found is held to what it was made with, whatever this daemon could do.
        let is_held = |limiter: Limiter| group.is_some_and(|group| limiter.holds(group));
        let memory = launch.limits.mem_bytes.filter(|bytes| *bytes > 0 && !is_held(Limiter::Memory));
        let pids = launch.limits.pids.filter(|_| !is_held(Limiter::Pids));
        let [processes, scratch, output] = &mut self.patrols;
        if memory.is_some() || pids.is_some() {
            let members = match group {
                Some(group) => Ok(Some(Members::Group(group.clone()))),
                None => process(shim).map(|root| root.map(Members::Below)),
            };
            complain(
                entry,
                members.and_then(|members| match members {
                    Some(members) => processes.watch(entry.run, Watched::Processes { members, memory, pids }),
                    // It has ended meanwhile.
                    None => Ok(()),
                }),
            );
        }
        if let Some(limit) = launch.limits.disk_bytes {
            let dir = self.scratches.open(entry.run);
            complain(entry, dir.and_then(|dir| scratch.watch(entry.run, Watched::Scratch { dir, limit })));
        }
        if let Some(limit) = self.output_limit {
            let dir = self.dirs.open(entry.run.job);
            complain(entry, dir.and_then(|dir| output.watch(entry.run, Watched::Output { dir, limit })));
        }
    }

    /// A run has more than it may have.
    pub fn on_exceeded(&mut self, entry: &mut Entry, what: Exceeded) {
        if matches!(entry.state, State::Running(_)) {
            tracing::info!(job = %entry.run.job, run = %entry.run, ?what, "a run is ended for what it has");
            entry.exceeded = Some(what);
            self.signal(entry, RunSignal::Kill);
        }
    }
}

fn complain(entry: &Entry, watching: io::Result<()>) {
    if let Err(error) = watching {
        tracing::error!(job = %entry.run.job, run = %entry.run, %error, "a limit of a run can not be watched");
    }
}

/// Looks until nobody can tell it any more that there is something to look at.
fn patrol(words: &Receiver<Word>, mail: &Mail, pace: Pace) {
    let mut watched: BTreeMap<Run, Watched> = BTreeMap::new();
    let mut due = Instant::now();
    loop {
        let word = match watched.is_empty() {
            true => words.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => words.recv_timeout(due.saturating_duration_since(Instant::now())),
        };
        match word {
            Ok(Word::Watch(run, what)) => {
                if watched.is_empty() {
                    due = Instant::now() + pace.pause;
                }
                watched.insert(run, what);
            }
            Ok(Word::Forget(run)) => drop(watched.remove(&run)),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let began = Instant::now();
                watched.retain(|run, what| match look(what) {
                    Ok(None) => true,
                    Ok(Some(exceeded)) => {
                        mail.send(Message::Exceeded(*run, exceeded));
                        false
                    }
                    Err(error) => {
                        tracing::warn!(job = %run.job, %run, %error, "what a run has can not be seen; it is looked at again");
                        true
                    }
                });
                due = Instant::now() + pace.pause.max(began.elapsed() * pace.times);
            }
        }
    }
}

/// What a run has too much of.
fn look(watched: &Watched) -> io::Result<Option<Exceeded>> {
    match watched {
        Watched::Processes { members, memory, pids } => look_at_processes(members, *memory, *pids),
        Watched::Scratch { dir, limit } => Ok(match measure(dir, *limit, None)? {
            Measured::Bytes(had) => (had > *limit).then_some(Exceeded::Scratch { had, limit: *limit }),
            Measured::TooDeep => Some(Exceeded::Depth(MAX_DEPTH)),
        }),
        Watched::Output { dir, limit } => Ok(match measure(dir, *limit, None)? {
            Measured::Bytes(had) => (had > *limit).then_some(Exceeded::Output { had, limit: *limit }),
            Measured::TooDeep => Some(Exceeded::OutputDepth(MAX_DEPTH)),
        }),
    }
}

/// What a job may leave in its own directory: of `auto`, in a daemon for all users, a tenth of the disk that it is on, so that
/// one job can not stop the others, nor the store.
pub(super) fn output_limit(settings: &Settings) -> Option<u64> {
    match settings.output {
        Bound::Most(Bytes(bytes)) => Some(bytes),
        Bound::Auto if settings.mode.is_system() => {
            let disk = rustix::fs::statvfs(&settings.jobs_dir).ok()?;
            Some(disk.f_blocks.saturating_mul(disk.f_frsize) / 10)
        }
        Bound::Auto | Bound::None => None,
    }
}

fn look_at_processes(members: &Members, memory: Option<u64>, most: Option<u32>) -> io::Result<Option<Exceeded>> {
    let pids = match members {
        Members::Group(group) => group.procs()?,
        Members::Below(root) if Process::of(root.pid)? != Some(*root) => Vec::new(),
        Members::Below(root) => tree::descendants(root.pid)?.into_iter().map(|process| process.pid).collect(),
    };
    let mut sum = Has::default();
    for has in pids.iter().filter_map(|pid| Has::of(*pid)) {
        sum = Has { threads: sum.threads + has.threads, bytes: sum.bytes + has.bytes };
    }
    if let Some(limit) = most
        && sum.threads > limit
    {
        return Ok(Some(Exceeded::Pids { had: sum.threads, limit }));
    }
    let Some(limit) = memory.filter(|limit| sum.bytes > *limit) else { return Ok(None) };
    // What several of them share was counted for each. To find out what they have together costs more, and is only
    // asked if it matters.
    let had = pids.iter().map(|pid| proportional(*pid).or_else(|| Some(Has::of(*pid)?.bytes)).unwrap_or(0)).sum();
    Ok((had > limit).then_some(Exceeded::Memory { had, limit }))
}

/// What one process has.
#[derive(Clone, Copy, Default)]
struct Has {
    threads: u32,
    /// In memory.
    bytes: u64,
}

impl Has {
    /// By proc_pid_stat(5); nothing if it has ended.
    fn of(pid: u32) -> Option<Self> {
        let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        // Its name is in parentheses and may hold any byte; fields 3 and on follow.
        let close = text.iter().rposition(|byte| *byte == b')')?;
        let mut fields = std::str::from_utf8(text.get(close + 2..)?).ok()?.split(' ');
        let (threads, pages): (u32, u64) = (fields.nth(17)?.parse().ok()?, fields.nth(3)?.parse().ok()?);
        Some(Self { threads, bytes: pages.saturating_mul(rustix::param::page_size() as u64) })
    }
}

/// What a process has in memory, of what it shares only its part: `Pss` of proc_pid_smaps_rollup(5).
fn proportional(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_threads_and_its_part_of_them_is_no_more() {
        let (ready, wait) = channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        let has = Has::of(std::process::id()).unwrap();
        assert!(has.threads >= 2 && has.bytes > 100 << 10, "{} {}", has.threads, has.bytes);
        drop(ready);
        assert!(other.join().unwrap().is_err());
        let own = proportional(std::process::id()).unwrap();
        assert!(own > 100 << 10, "{own}");
        assert!(Has::of(u32::MAX).is_none() && proportional(u32::MAX).is_none());
    }
}
