//! The loop of the supervising thread, and what it does with orders.
//! It refuses to wait for anything but epoll_wait(2), and for anybody who reads its reports.

use super::cgroup::Tracking;
use super::checkpoint::Checkpoints;
use super::files::JobDirs;
use super::identity::{Found, Identities};
use super::mail::{Mail, Message};
use super::run_files::RunFiles;
use super::scratch::Scratches;
use super::spawn::Spawner;
use super::watch::{self, Entry, State};
use super::watched::Patrol;
use super::{After, Launch, Order, Settings};
use crate::fault;
use crate::monitor::Monitor;
use qrm_core::{Observed, Run, Stage};
use qrm_protocol::ids::JobRef;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// The token of the bell among the tokens of epoll; those of runs are even and odd numbers from 2.
pub(super) const BELL: u64 = 0;
/// How many events are taken at a time: an order of magnitude above what a burst of short jobs makes.
const EVENTS: usize = 256;
/// How many messages are read before the next look at what happened; making a process takes a fraction of a
/// millisecond.
const MESSAGES: u32 = 64;
/// How many jobs that are over may wait to be tidied up while others are to be made and ended.
const UNTIDY: usize = 256;

/// Everything but the runs themselves.
pub(super) struct Means {
    pub settings: Settings,
    pub dirs: JobDirs,
    pub run_files: RunFiles,
    pub spawner: Spawner,
    pub tracking: Tracking,
    /// The most processes of a run that does not say.
    pub default_pids: Option<u32>,
    pub epoll: OwnedFd,
    pub mail: Mail,
    pub identities: Identities,
    pub monitor: Monitor,
    pub report: Box<dyn Fn(Observed) + Send>,
    /// Who looks at what processes have, who at scratch directories, and who at jobs' own.
    pub patrols: [Patrol; 3],
    /// What a job may leave in its own directory.
    pub output_limit: Option<u64>,
    pub scratches: Scratches,
    pub checkpoints: Checkpoints,
    /// When a run has to be looked at without anything having happened, and its token.
    pub timers: BTreeSet<(Instant, u64)>,
}

pub(super) struct Thread {
    pub means: Means,
    pub orders: Receiver<Message>,
    pub runs: BTreeMap<Run, Entry>,
    pub tokens: HashMap<u64, Run>,
    pub next_token: u64,
    /// Tidying up, which nobody waits for: it is done when there is nothing else to do.
    pub later: VecDeque<(Option<Run>, JobRef, After)>,
}

impl Thread {
    /// Everything it needs, open; nothing runs yet.
    pub fn new(
        settings: Settings,
        tracking: Tracking,
        mail: Mail,
        orders: Receiver<Message>,
        monitor: Monitor,
        report: Box<dyn Fn(Observed) + Send>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &mail.bell.fd, epoll::EventData::new_u64(BELL), epoll::EventFlags::IN)?;
        let means = Means {
            dirs: JobDirs::of(&settings.jobs_dir, settings.mode)?,
            run_files: RunFiles::open(&settings.runs_dir)?,
            spawner: Spawner::new(&settings.shim, settings.open_files)?,
            default_pids: tracking.default_pids(&settings),
            tracking,
            epoll,
            identities: Identities::new(mail.clone()),
            patrols: Patrol::all(&mail),
            output_limit: super::watched::output_limit(&settings),
            scratches: Scratches::new(settings.scratch.clone(), settings.mode),
            checkpoints: Checkpoints::new(mail.clone()),
            mail,
            monitor,
            report,
            timers: BTreeSet::new(),
            settings,
        };
        Ok(Self { means, orders, runs: BTreeMap::new(), tokens: HashMap::new(), next_token: 1, later: VecDeque::new() })
    }

    /// Until it is told to stop.
    pub fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            let timer = self.means.timers.first().map(|(at, _)| timeout(*at));
            let timeout = if self.later.is_empty() { timer } else { Some(Timespec { tv_sec: 0, tv_nsec: 0 }) };
            match epoll::wait(&self.means.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => panic!("epoll_wait on an own descriptor: {error}"),
            }
            let mut tokens: Vec<u64> = events.iter().map(|event| event.data.u64()).collect();
            // Ends first: of a run that has answered and ended, only the end is told.
            tokens.sort_unstable_by_key(|token| token % 2);
            for token in tokens {
                if token == BELL {
                    self.means.mail.bell.hear();
                } else if let Some(run) = self.tokens.get(&(token / 2)).copied() {
                    self.with(run, |means, entry| match token % 2 {
                        0 => means.on_end(entry),
                        _ => means.on_answer(entry),
                    });
                }
            }
            let mut idle = events.is_empty();
            for turn in 0..=MESSAGES {
                // There may be more; what happened meanwhile comes first.
                if turn == MESSAGES {
                    self.means.mail.bell.ring();
                    break;
                }
                let message = self.orders.try_recv();
                idle &= message.is_err();
                match message {
                    Err(_) => break,
                    Ok(Message::Order(Order::Stop)) => {
                        while self.tidy_one() {}
                        self.means.run_files.leave();
                        return self.means.tracking.leave();
                    }
                    Ok(Message::Order(order)) => self.carry_out(order),
                    Ok(Message::Buried(run)) => self.with(run, Means::on_buried),
                    Ok(Message::Struck(run)) => self.with(run, |_, entry| entry.striking = false),
                    Ok(Message::Signalled(run)) => self.with(run, Means::on_signalled),
                    Ok(Message::Exceeded(run, what)) => self.with(run, |means, entry| means.on_exceeded(entry, what)),
                    Ok(Message::Identity(uid, found)) => self.on_identity(uid, &found),
                }
            }
            self.pass_time();
            if idle || self.later.len() > UNTIDY {
                self.tidy_one();
            }
        }
    }

    /// Tidies up after what was over first; whether there was something.
    fn tidy_one(&mut self) -> bool {
        let Some((run, job, after)) = self.later.pop_front() else { return false };
        self.clear(run, job, after);
        true
    }

    /// Whoever waited to know this goes on.
    fn on_identity(&mut self, uid: u32, found: &Found) {
        for token in self.means.identities.found(uid, found) {
            let Some(run) = self.tokens.get(&token).copied() else { continue };
            self.with(run, |means, entry| means.on_identity(entry, found));
        }
    }

    fn pass_time(&mut self) {
        if self.means.timers.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some((at, token)) = self.means.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.means.timers.remove(&(at, token));
            let Some(run) = self.tokens.get(&token).copied() else { continue };
            self.with(run, |means, entry| {
                entry.due = None;
                means.on_due(entry);
            });
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Prepare(launch) => self.prepare(launch),
            Order::Resume(launch) => self.resume(launch),
            Order::Release(run) => self.with(run, Means::release),
            Order::Abort(run) => self.with(run, Means::abort),
            Order::Signal(run, signal) => self.with(run, |means, entry| means.signal(entry, signal)),
            Order::Attach(run, door) => self.attach(run, door),
            Order::Enter(launch, identity, door) => self.enter_run(*launch, identity, door),
            Order::Sweep => self.sweep(),
            Order::Clear { run, job, after } => {
                if let Some(entry) = run.and_then(|run| self.runs.get_mut(&run)) {
                    match entry.state {
                        // Its records are not needed any more, and the next run can have their file.
                        State::Over(_) => entry.file.take().into_iter().for_each(|f| self.means.run_files.give_back(f)),
                        _ => entry.clear = Some(after),
                    }
                }
                self.later.push_back((run, job, after));
            }
            Order::Stop => {}
        }
    }

    fn prepare(&mut self, launch: Box<Launch>) {
        let run = launch.run;
        match self.runs.get_mut(&run) {
            None => {
                self.enter(launch);
                self.with(run, Means::launch);
            }
            // An aborted one of the same name is on its way out; this one follows it.
            Some(entry) if matches!(entry.state, State::Aborted(_)) => entry.launch = Some(launch),
            Some(_) => tracing::error!(job = %run.job, %run, "a run was to be made that is there already"),
        }
    }

    fn resume(&mut self, launch: Box<Launch>) {
        let run = launch.run;
        let Some(entry) = self.runs.get_mut(&run) else {
            let group = self.means.tracking.group(&watch::group_name(run));
            let entry = self.enter(launch);
            (entry.released, entry.group) = (true, group);
            return self.with(run, Means::look);
        };
        match &entry.state {
            State::Aborted(_) => {
                entry.launch = Some(launch);
                entry.released = true;
            }
            State::Over(observed) => (self.means.report)(observed.clone()),
            _ => self.with(run, |means, entry| {
                means.release(entry);
                // What was told may have been lost.
                entry.told = false;
                if matches!(entry.state, State::Running(_)) {
                    means.tell_later(entry);
                }
            }),
        }
    }

    fn enter(&mut self, mut launch: Box<Launch>) -> &mut Entry {
        launch.limits.pids = launch.limits.pids.or(self.means.default_pids);
        launch.limits.hard = self.means.settings.hard_cpus;
        let (run, token) = (launch.run, self.next_token);
        self.next_token += 1;
        self.tokens.insert(token, run);
        self.runs.entry(run).or_insert(Entry::new(token, launch))
    }

    /// Does something with a run that is known, and forgets it if that was the end of it.
    fn with(&mut self, run: Run, does: impl FnOnce(&mut Means, &mut Entry)) {
        let Some(entry) = self.runs.get_mut(&run) else {
            return tracing::debug!(job = %run.job, %run, "nothing is known of this run");
        };
        does(&mut self.means, entry);
        if let (State::Over(_), Some(after)) = (&entry.state, entry.clear) {
            self.means.remove_group(entry);
            self.means.clear(run.job, after);
            entry.state = State::Gone;
        }
        if matches!(entry.state, State::Gone) {
            if let Some(file) = entry.file.take() {
                self.means.run_files.give_back(file);
            }
            self.means.cancel(entry);
            self.tokens.remove(&entry.token);
            self.runs.remove(&run);
        }
    }

    fn clear(&mut self, run: Option<Run>, job: JobRef, after: After) {
        // All runs that the order concerns: this one, and if the job is over, every other.
        let first = Run { job, stage: Stage::Validate, attempt: 0 };
        let last = Run { job, stage: Stage::Execute, attempt: u32::MAX };
        let concerned: Vec<Run> = match after.is_over() {
            true => self.runs.range(first..=last).map(|(run, _)| *run).collect(),
            false => run.into_iter().filter(|run| self.runs.contains_key(run)).collect(),
        };
        let mut alive = false;
        for run in &concerned {
            self.with(*run, |means, entry| {
                entry.clear = Some(after);
                means.end_without_process(entry);
                alive |= !matches!(entry.state, State::Over(_));
            });
        }
        // What was ordered for nobody that we know, as after a restart.
        if concerned.is_empty() || run.is_some_and(|run| !concerned.contains(&run)) {
            let name = run.map(watch::group_name);
            if let Some((name, group)) =
                name.and_then(|name| self.means.tracking.group(&name).map(|group| (name, group)))
            {
                self.means.tracking.remove(&name, &group);
            }
            self.means.clear(job, if alive { After::Another } else { after });
        }
    }
}

impl Means {
    /// Removes what a job that is over has left.
    pub fn clear(&mut self, job: JobRef, after: After) {
        fault::point("qrmd.24");
        if after.is_over() {
            match self.dirs.tidy(job, after) {
                Ok(Some(saved)) => self.checkpoints.remove(job, saved),
                Ok(None) => {}
                Err(error) => tracing::warn!(%job, %error, "cannot tidy the directory of a job"),
            }
        }
        fault::point("qrmd.25");
    }

    /// Looks at the run again after this time, and at no other.
    pub fn after(&mut self, entry: &mut Entry, pause: Duration) {
        self.cancel(entry);
        let at = Instant::now() + pause;
        entry.due = Some(at);
        self.timers.insert((at, entry.token));
    }

    pub fn cancel(&mut self, entry: &mut Entry) {
        if let Some(at) = entry.due.take() {
            self.timers.remove(&(at, entry.token));
        }
    }
}

/// What is left until then; epoll counts in milliseconds, and one too early would make it turn idly.
fn timeout(at: Instant) -> Timespec {
    let left = at.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
    Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }
}
