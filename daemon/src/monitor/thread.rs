//! The loop of the sampling thread: when samples are taken, for whom, and who is told of them.
//! It refuses to know which files they come from.

use super::beside::{Sampled, available};
use super::host::Host;
use super::job::{Bounds, Job};
use super::read::{Kept, proc};
use super::ring::Ring;
use super::{Message, SHARE, Samples, Stamp, Tell, Wanted};
use qrm_protocol::ids::JobRef;
use qrm_protocol::method::MAX_SAMPLES;
use qrm_protocol::sample::{HostSample, JobSample};
use rustix::process::{Resource, getrlimit};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long sampling goes on after somebody looked while nothing ran: long enough for who looks every other second.
const LOOKED: Duration = Duration::from_secs(5);
/// Who looks is shown a sample that is not older than this.
const FRESH: Duration = Duration::from_secs(1);
/// A first sample says nothing of what happens just now; the second follows after this.
const SECOND: Duration = Duration::from_millis(250);
/// How far apart looks at the memory of jobs and the machine are that something is decided by.
const LOOK: Duration = Duration::from_secs(1);
/// How many samples are kept of all jobs together, some 4 MB; of one job it is never less than the least.
const ALL_SAMPLES: usize = 100 * MAX_SAMPLES;
const LEAST_SAMPLES: usize = 30;
/// How many files of a job stay open at most, if they do: those of its groups, and two of each of a few processes. A
/// quarter of the descriptors that there may be is for them.
const FILES_OF_A_JOB: u64 = 24;

/// Who waits for a sample with a greater number.
enum Waiting {
    Job(JobRef, u64, Wanted, Tell<JobSample>),
    Host(u64, Wanted, Tell<HostSample>),
}

pub(super) struct Thread {
    interval: Duration,
    jobs: BTreeMap<JobRef, Job>,
    host: Option<Host>,
    machine: Ring<HostSample>,
    waiting: Vec<Waiting>,
    /// Somebody looked at the machine, or at a job.
    looked_until: Option<Instant>,
    /// When the next samples are taken; never, if nobody needs them.
    next: Option<Instant>,
    /// When there is a look at memory; never, if nothing is decided by it.
    look: Option<Instant>,
    /// Something waits for the machine beside jobs.
    minds: bool,
    meminfo: Option<Kept>,
    tell_look: Box<dyn Fn(Sampled) + Send>,
    number: u64,
    /// Of so many jobs the files stay open.
    open_jobs: usize,
    buffer: Vec<u8>,
}

impl Thread {
    pub fn new(interval: Duration, tell_look: Box<dyn Fn(Sampled) + Send>) -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self {
            interval,
            jobs: BTreeMap::new(),
            host: None,
            machine: Ring::new(),
            waiting: Vec::new(),
            looked_until: None,
            next: None,
            look: None,
            minds: false,
            meminfo: proc("meminfo"),
            tell_look,
            number: 0,
            open_jobs: usize::try_from(descriptors / FILES_OF_A_JOB / 4).unwrap_or(usize::MAX),
            buffer: Vec::new(),
        }
    }

    /// Until nobody is left who could tell it anything.
    pub fn run(mut self, messages: &Receiver<Message>) {
        loop {
            let message = match self.next.into_iter().chain(self.look).min() {
                None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(at) => messages.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            match message {
                Ok(message) => self.handle(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.look.is_some_and(|at| at <= Instant::now()) {
                self.look_at_memory();
            }
            if self.next.is_some_and(|at| at <= Instant::now()) {
                self.sample_all();
            }
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Watch(run, watched, peak) => {
                let asked = watched.asked.is_some();
                self.jobs.insert(run.job, Job::new(run, watched, peak));
                self.begin();
                self.begin_to_look(asked);
            }
            Message::Over(run) => {
                if self.jobs.get(&run.job).is_some_and(|job| job.run == run) {
                    self.jobs.remove(&run.job);
                    self.tell();
                }
            }
            Message::Interval(interval) => {
                self.interval = interval;
                if self.next.is_some() {
                    self.next = Some(Instant::now() + interval);
                }
            }
            Message::Minds(minds) => {
                self.minds = minds;
                self.begin_to_look(minds);
            }
            Message::Job(id, wanted, tell) => {
                self.look_at_job(id, FRESH.min(self.interval));
                match wanted.after {
                    Some(after) => self.wait(Waiting::Job(id, after, wanted, tell)),
                    None => give(tell, self.samples_of(id, wanted)),
                }
            }
            Message::Jobs(ids, tell) => {
                let mut found = BTreeMap::new();
                // Of a list it is enough that there is a sample.
                let fresh = if ids.len() == 1 { FRESH.min(self.interval) } else { Duration::MAX };
                for id in ids {
                    self.look_at_job(id, fresh);
                    found.extend(self.jobs.get(&id).and_then(|job| Some((id, job.ring.newest()?.1))));
                }
                give(tell, found);
            }
            Message::Host(wanted, tell) => {
                self.looked_until = Some(Instant::now() + LOOKED);
                self.begin();
                self.look_at_host();
                match wanted.after {
                    Some(after) if self.host.is_some() => self.wait(Waiting::Host(after, wanted, tell)),
                    _ => give(tell, self.samples_of_host(wanted)),
                }
            }
        }
    }

    /// Samples are needed from now on.
    fn begin(&mut self) {
        if self.next.is_none() {
            self.next = Some(Instant::now() + self.interval);
        }
    }

    /// Something is decided by what is seen of memory from now on, if so.
    fn begin_to_look(&mut self, begins: bool) {
        if begins && self.look.is_none() {
            self.look = Some(Instant::now() + LOOK);
        }
    }

    /// What is available, and what jobs have of what they asked for. The first is read last: what a job takes in between is
    /// then counted as nobody's.
    fn look_at_memory(&mut self) {
        let began = Instant::now();
        let keep = self.bounds().keep;
        let mut seen = Sampled::default();
        for job in self.jobs.values_mut() {
            let Some(asked) = job.asked() else { continue };
            seen.asked = seen.asked.saturating_add(asked);
            seen.held = seen.held.saturating_add(job.held(keep, &mut self.buffer));
        }
        if let Some(available) = available(self.meminfo.as_ref(), &mut self.buffer) {
            (self.tell_look)(Sampled { available, ..seen });
        }
        let goes_on = self.minds || self.jobs.values().any(|job| job.asked().is_some());
        self.look = goes_on.then(|| began + LOOK.max(began.elapsed() * SHARE));
    }

    /// A sample was a first one: the next comes soon, whatever the interval.
    fn soon(&mut self) {
        let soon = Instant::now() + SECOND;
        self.next = self.next.map(|next| next.min(soon));
    }

    fn stamp(&mut self) -> Stamp {
        let stamp = Stamp::now(self.number + 1);
        self.number = stamp.number;
        stamp
    }

    /// What is no older than this is recent enough for a rate.
    fn recent(&self) -> Duration {
        (self.interval * 2).max(FRESH * 2)
    }

    fn bounds(&self) -> Bounds {
        let jobs = self.jobs.len().max(1);
        Bounds {
            recent: self.recent(),
            samples: (ALL_SAMPLES / jobs).clamp(LEAST_SAMPLES, MAX_SAMPLES),
            keep: jobs <= self.open_jobs,
        }
    }

    /// Its turn has come.
    fn sample_all(&mut self) {
        let began = Instant::now();
        let bounds = self.bounds();
        let stamp = self.stamp();
        for job in self.jobs.values_mut() {
            job.sample(stamp, bounds, &mut self.buffer);
        }
        self.sample_host(stamp);
        self.tell();
        self.looked_until = self.looked_until.filter(|until| *until > began);
        self.next = match self.jobs.is_empty() && self.waiting.is_empty() && self.looked_until.is_none() {
            true => None,
            false => Some(began + self.interval.max(began.elapsed() * SHARE)),
        };
        if self.next.is_none() {
            // It may be a long time until somebody looks again.
            self.buffer = Vec::new();
        }
    }

    /// Samples a job now if its newest sample is older than this, or there is none.
    fn look_at_job(&mut self, id: JobRef, fresh: Duration) {
        let (bounds, now) = (self.bounds(), Instant::now());
        let is_old = |job: &Job| job.ring.newest().is_none_or(|(at, _)| now.saturating_duration_since(at) > fresh);
        if !self.jobs.get(&id).is_some_and(is_old) {
            return;
        }
        let stamp = self.stamp();
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.sample(stamp, bounds, &mut self.buffer);
        if job.ring.newest().is_some_and(|(_, sample)| sample.cpu_permille.is_none()) {
            self.soon();
        }
        self.tell();
    }

    fn look_at_host(&mut self) {
        let (now, fresh) = (Instant::now(), FRESH.min(self.interval));
        if self.machine.newest().is_some_and(|(at, _)| now.saturating_duration_since(at) <= fresh) {
            return;
        }
        let stamp = self.stamp();
        self.sample_host(stamp);
        if self.machine.newest().is_some_and(|(_, sample)| sample.cpu_permille.is_none()) {
            self.soon();
        }
    }

    fn sample_host(&mut self, stamp: Stamp) {
        let recent = self.recent();
        if self.host.is_none() {
            match Host::open() {
                Ok(host) => self.host = Some(host),
                Err(error) => return tracing::debug!(%error, "the machine is not sampled"),
            }
        }
        let sample = self.host.as_mut().and_then(|host| host.sample(stamp, recent, &mut self.buffer));
        if let Some(sample) = sample {
            self.machine.push(stamp.mono, sample, MAX_SAMPLES);
        }
    }

    fn samples_of(&self, id: JobRef, wanted: Wanted) -> Option<Samples<JobSample>> {
        self.jobs.get(&id).and_then(|job| samples(&job.ring, wanted))
    }

    fn samples_of_host(&self, wanted: Wanted) -> Option<Samples<HostSample>> {
        samples(&self.machine, wanted)
    }

    fn wait(&mut self, waiting: Waiting) {
        self.waiting.push(waiting);
        self.tell();
        if !self.waiting.is_empty() {
            self.begin();
        }
    }

    /// Tells those whose sample has come, and those whose job is over; who is gone is forgotten.
    fn tell(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Job(id, after, wanted, tell) => match self.jobs.get(&id).map(|job| job.ring.newest()) {
                    Some(newest) if newest.is_none_or(|(_, sample)| sample.number <= after) => {
                        if !tell.is_closed() {
                            self.waiting.push(Waiting::Job(id, after, wanted, tell));
                        }
                    }
                    _ => give(tell, self.samples_of(id, wanted)),
                },
                Waiting::Host(after, wanted, tell) => match self.machine.newest() {
                    Some((_, sample)) if sample.number > after => {
                        self.looked_until = Some(Instant::now() + LOOKED);
                        give(tell, self.samples_of_host(wanted));
                    }
                    _ if tell.is_closed() => {}
                    _ => self.waiting.push(Waiting::Host(after, wanted, tell)),
                },
            }
        }
    }
}

fn samples<T: Copy>(ring: &Ring<T>, wanted: Wanted) -> Option<Samples<T>> {
    let (_, newest) = ring.newest()?;
    let history = if wanted.history { ring.recent(Instant::now()) } else { Vec::new() };
    Some(Samples { newest, history })
}

/// Answers; who asked may have gone.
fn give<T>(tell: tokio::sync::oneshot::Sender<T>, with: T) {
    if tell.send(with).is_err() {
        tracing::trace!("who asked is gone");
    }
}
