//! The engine: the one thread that owns the core and the store. It takes what waits, steps each, commits all at once,
//! and only then answers and lets things happen. It refuses to know sockets and processes.

mod beside;
mod command;
mod handle;
mod keep;
mod launch;
mod waiters;

pub use handle::{Condition, Handle, Reply, Request, Visit};

use crate::clock::{self, Timers};
use crate::fault;
use crate::monitor::{Beside, Bounds, Monitor};
use crate::store::{JobText, Store, StoreError};
use crate::supervise::{After, Door, Launch, Order, Supervisor};
use handle::Wait;
use keep::Housekeeper;
use qrm_core::{Action, Answer, Caller, Core, Effect, Event, Host, Input, Observed, Policy, Run, Stage};
use qrm_protocol::error::Error;
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::JobState;
use qrm_protocol::queue::{QueueName, QueueSpec};
use qrm_protocol::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use waiters::Waiters;

/// The most requests that share a commit.
const BATCH: usize = 1_024;
/// How long the news that a command was released may wait for a commit to go along with.
const LAZY: Duration = Duration::from_millis(50);
/// How many events may be committed while what was ordered after the first of them is not done yet: several batches.
const UNTIDY: u32 = 4_096;
/// The first and the longest time between attempts to write again.
const PROBE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// What the configuration says of deciding, and its queues.
pub type Configured = (Policy, BTreeMap<QueueName, QueueSpec>);

/// What the engine needs to begin.
pub struct Parts {
    /// Opened.
    pub store: Store,
    /// Its state.
    pub core: Core,
    /// Set by the engine, watched by the runtime.
    pub timers: Arc<Timers>,
    /// The state directory.
    pub state: PathBuf,
    /// This program, for the folding child.
    pub program: PathBuf,
    /// What the configuration says.
    pub configured: Configured,
    /// By what the machine beside jobs is judged.
    pub bounds: Bounds,
    /// Looks at the machine beside jobs while something waits for that.
    pub monitor: Monitor,
}

/// The store can not be written.
struct Degraded {
    why: String,
    probe_at: Instant,
    wait: Duration,
}

impl Degraded {
    fn refusal(&self) -> Error {
        StoreError::Io(std::io::Error::other(self.why.clone())).refusal()
    }
}

/// What waits for the commit.
#[derive(Default)]
struct Batch {
    replies: Vec<(oneshot::Sender<Result<Reply, Error>>, Reply)>,
    prepared: Vec<Run>,
    orders: Vec<Order>,
    ended: Vec<JobRef>,
    released: Vec<JobRef>,
    looks: Vec<handle::Look>,
    /// Something in it must not wait.
    urgent: bool,
}

/// The engine's own thread lives in here.
pub struct Engine {
    core: Core,
    store: Store,
    timers: Arc<Timers>,
    supervisor: Supervisor,
    requests: Receiver<Request>,
    later: VecDeque<Request>,
    condition: watch::Sender<Condition>,
    keeper: Housekeeper,
    batch: Batch,
    lazy_since: Option<Instant>,
    waiters: Waiters,
    degraded: Option<Degraded>,
    armed: (Option<Timestamp>, Option<u64>),
    /// As it was told last.
    configured: Configured,
    beside: Beside,
    monitor: Monitor,
    /// What the last decision saw of the machine beside jobs.
    decided_by: Host,
    /// The monitor was told that something waits for that.
    minds: bool,
    over: Option<Result<(), String>>,
}

/// The engine's channel, made before the supervisor that reports into it.
pub struct Channel {
    requests: Receiver<Request>,
    condition: watch::Sender<Condition>,
    handle: Handle,
}

impl Default for Channel {
    fn default() -> Self {
        let (to, requests) = sync_channel(handle::CHANNEL);
        let (condition, watched) = watch::channel(Condition::default());
        Self { requests, condition, handle: Handle::new(to, watched) }
    }
}

impl Channel {
    /// Asks the engine that will take this channel.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Starts the engine's thread. What was owed when the daemon ended is begun at once.
    ///
    /// # Errors
    /// No thread is to be had.
    pub fn start(self, parts: Parts, supervisor: Supervisor) -> std::io::Result<std::thread::JoinHandle<()>> {
        // Whoever asks before the first commit is told of those before.
        self.condition.send_modify(|c| c.last_seq = parts.store.last_seq());
        let keeper = Housekeeper::start(parts.state, parts.program, self.handle)?;
        let engine = Engine {
            core: parts.core,
            store: parts.store,
            timers: parts.timers,
            supervisor,
            requests: self.requests,
            later: VecDeque::new(),
            condition: self.condition,
            keeper,
            batch: Batch::default(),
            lazy_since: None,
            waiters: Waiters::default(),
            degraded: None,
            armed: (None, None),
            configured: parts.configured,
            beside: Beside::new(parts.bounds),
            monitor: parts.monitor,
            decided_by: Host::default(),
            minds: false,
            over: None,
        };
        std::thread::Builder::new().name("engine".into()).spawn(move || engine.run())
    }
}

impl Engine {
    fn run(mut self) {
        self.begin();
        while self.over.is_none() {
            let Some(first) = self.next() else { continue };
            self.take(first);
            for _ in 1..BATCH {
                match self.requests.try_recv() {
                    Ok(request) => self.take(request),
                    Err(_) => break,
                }
                if self.over.is_some() {
                    break;
                }
            }
            while let Some(request) = self.later.pop_front() {
                self.take(request);
            }
            if self.batch.urgent || self.over.is_some() {
                self.flush();
            }
        }
        self.flush();
        self.supervisor.stop();
        let over = self.over.take();
        self.condition.send_modify(|c| c.ended = Some(over.unwrap_or(Ok(()))));
    }

    /// Runs of before, what is configured, bulks whose clients are gone, and time that has passed. Whatever is decided comes
    /// after runs of before were ordered to be found: their orders do not wait for a commit.
    fn begin(&mut self) {
        self.resume();
        self.tidy();
        self.supervisor.order(Order::Sweep);
        self.configure();
        for (bulk, uid) in self.core.open_bulks() {
            let caller = Caller::user(uid);
            if let Err(error) = self.command(caller, Action::BulkDiscard { bulk }, Vec::new()) {
                tracing::error!(%bulk, error = error.message, "an unfinished bulk can not be discarded");
            }
        }
        self.step(Input::Tick, &[]).unwrap_or_else(|error| tracing::error!(error = error.message, "the first tick"));
        self.batch.urgent = true;
        self.flush();
    }

    /// What ended shortly before the daemon did may not have been tidied up; doing so again harms nobody.
    fn tidy(&mut self) {
        match self.store.newest_events(UNTIDY) {
            Ok(events) => self.supervisor.order_all(events.iter().filter_map(tidying)),
            Err(error) => tracing::error!(%error, "the newest events can not be read"),
        }
    }

    /// Has every run that should be found, or made.
    fn resume(&mut self) {
        for effect in self.core.owed() {
            match effect {
                Effect::Launch(run) => {
                    if let Some(launch) = self.launch(run) {
                        let ran = run.stage == Stage::Execute && self.core.state(run.job) == Some(JobState::Executing);
                        self.batch.orders.push(Order::Resume(Box::new(Launch { ran, ..launch })));
                    }
                }
                Effect::Signal(run, signal) => self.batch.orders.push(Order::Signal(run, signal)),
            }
        }
        let orders = std::mem::take(&mut self.batch.orders);
        let owed = !orders.is_empty();
        self.supervisor.order_all(orders.into_iter());
        fault::point_if(owed, "qrmd.28");
    }

    /// The next request; nothing if something else is due.
    fn next(&mut self) -> Option<Request> {
        let now = Instant::now();
        let lazy = self.lazy_since.map(|since| since + LAZY);
        let probe = self.degraded.as_ref().map(|d| d.probe_at);
        let Some(due) = lazy.into_iter().chain(probe).min() else {
            let request = self.requests.recv();
            if request.is_err() {
                self.over = Some(Ok(()));
            }
            return request.ok();
        };
        match self.requests.recv_timeout(due.saturating_duration_since(now)) {
            Ok(request) => Some(request),
            Err(RecvTimeoutError::Timeout) => {
                if probe.is_some_and(|at| at <= Instant::now()) {
                    self.probe();
                }
                if lazy.is_some_and(|at| at <= Instant::now()) {
                    self.flush();
                }
                None
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.over = Some(Ok(()));
                None
            }
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Command { caller, action, texts, reply } => {
                let done = match &self.degraded {
                    Some(degraded) => Err(degraded.refusal()),
                    None => self.command(caller, action, texts),
                };
                match done {
                    Ok(done) => {
                        self.batch.urgent = true;
                        self.batch.replies.push((reply, done));
                    }
                    Err(error) => handle::give(reply, Err(error)),
                }
            }
            Request::Wait(wait) => self.wait(wait),
            Request::Look(look) => {
                self.look_beside(clock::now());
                self.batch.urgent = true;
                self.batch.looks.push(look);
            }
            Request::Sampled(sampled) => self.sampled(sampled),
            Request::Bounds(bounds) => self.set_bounds(bounds),
            Request::Observed(Observed::Configured(policy, queues)) => {
                self.configured = (policy, queues);
                self.configure();
            }
            // What is dropped here while nothing can be written is told again by the supervisor afterwards.
            Request::Observed(observed) if self.degraded.is_none() => self.observed(observed),
            Request::Tick if self.degraded.is_none() => {
                // The timers may have fired for a clock that was set: they are to be set anew.
                self.armed = (None, None);
                self.batch.urgent = true;
                self.step(Input::Tick, &[]).unwrap_or_else(|error| tracing::error!(error = error.message, "a tick"));
            }
            Request::Observed(_) | Request::Tick => {}
            Request::Folded(result) => self.keeper.folded(result),
            Request::Checkpointed => self.keeper.checkpointed(),
            Request::Retain { before, reply } => self.retain(before, reply),
            Request::Durability { durability, reply } => {
                self.flush();
                handle::give(reply, self.store.set_durability(durability).map_err(|error| error.refusal()));
            }
            Request::Visit { run, visit, door } => self.visit(run, visit, door),
            Request::Stop => self.over = Some(Ok(())),
        }
    }

    /// Has somebody let into a run.
    fn visit(&mut self, run: Run, visit: Visit, door: Door) {
        let order = match visit {
            Visit::Attach => Order::Attach(run, door),
            Visit::Exec { command, pty, term, identity } => match self.store.launch_text(run.job) {
                Ok(text) => Order::Enter(
                    Box::new(launch::beside(run, text, self.core.may_go_on(run.job.job), command, (pty, term))),
                    identity,
                    door,
                ),
                Err(error) => return handle::give(door, Err(error.refusal())),
            },
        };
        self.supervisor.order(order);
    }

    fn observed(&mut self, observed: Observed) {
        // That a command runs is no news that anyone waits for; it goes along with the next commit.
        if matches!(observed, Observed::Executing { .. }) {
            self.lazy_since.get_or_insert_with(Instant::now);
        } else {
            self.batch.urgent = true;
        }
        self.step(Input::Observed(observed), &[])
            .unwrap_or_else(|error| tracing::error!(error = error.message, "an observation"));
    }

    fn wait(&mut self, wait: Wait) {
        let started = wait.started;
        let core = &self.core;
        let is_over = |job| !core.is_live(job) || started && core.state(job).is_some_and(|s| s == JobState::Executing);
        if let Some(reply) = self.waiters.add(wait, is_over) {
            // They may have ended in this very batch.
            self.batch.urgent = true;
            self.batch.looks.push(Box::new(move |_, _| handle::give(reply, ())));
        }
    }

    fn retain(&mut self, before: Timestamp, reply: oneshot::Sender<Result<Vec<JobId>, Error>>) {
        self.flush();
        let ids = match &self.degraded {
            Some(degraded) => Err(degraded.refusal()),
            None => self.store.forget_jobs(before).map_err(|error| {
                self.store.roll_back();
                if matches!(error, StoreError::Removed(_)) {
                    self.over = Some(Err(error.to_string()));
                }
                error.refusal()
            }),
        };
        handle::give(reply, ids);
    }

    fn step(&mut self, input: Input, texts: &[JobText]) -> Result<(), Error> {
        self.decide(input, texts).map(drop)
    }

    /// One step: decided, written, and its effects lined up behind the commit.
    fn decide(&mut self, input: Input, texts: &[JobText]) -> Result<Answer, Error> {
        let now = clock::now();
        let owner = match &input {
            Input::Command(caller, _) => caller.uid,
            _ => 0,
        };
        self.look_beside(now);
        let step = self.core.step(now, input)?;
        self.decided_by = self.core.host();
        let starts = step.effects.iter().any(|effect| matches!(effect, Effect::Launch(_)));
        let ends = step.events.iter().any(|event| matches!(event, Event::Ended { .. }));
        fault::point_if(starts, "qrmd.1");
        fault::point_if(ends, "qrmd.18");
        for event in &step.events {
            let wrote = self.store.write(now.wall, event, texts).and_then(|_| match event {
                Event::BulkStaged { bulk, jobs, .. } => self.write_bulk(*bulk, owner, now.wall, jobs, texts),
                _ => Ok(()),
            });
            wrote.map_err(|error| self.fail(&error))?;
            self.note(event);
        }
        fault::point_if(starts, "qrmd.2");
        fault::point_if(ends, "qrmd.19");
        for effect in step.effects {
            match effect {
                Effect::Launch(run) => {
                    if let Some(launch) = self.launch(run) {
                        self.supervisor.order(Order::Prepare(Box::new(launch)));
                        self.batch.prepared.push(run);
                        self.batch.orders.push(Order::Release(run));
                    }
                }
                Effect::Signal(run, signal) => self.batch.orders.push(Order::Signal(run, signal)),
            }
        }
        Ok(step.answer)
    }

    /// What has to be told or tidied once an event is durable.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Ended { job, .. } => self.batch.ended.push(*job),
            // A short attempt is over before it is told that it runs.
            Event::Executing { job, .. } | Event::Requeued { job, started_at: Some(_), .. } => {
                self.batch.released.push(*job);
            }
            _ => {}
        }
        self.batch.orders.extend(tidying(event));
    }

    /// What a run needs; nothing if it can not be read, which is then the run's end.
    fn launch(&mut self, run: Run) -> Option<Launch> {
        let text = match self.store.launch_text(run.job) {
            Ok(text) => text,
            Err(error) => {
                tracing::error!(job = %run.job, %error, "what the job runs can not be read");
                self.later.push_back(Request::Observed(Observed::LaunchFailed(run, error.to_string())));
                return None;
            }
        };
        Some(launch::of(run, text, self.core.may_go_on(run.job.job)))
    }

    /// Makes everything durable, and then lets it be known and happen.
    fn flush(&mut self) {
        let (starts, ends) = (!self.batch.prepared.is_empty(), !self.batch.ended.is_empty());
        fault::point_if(starts, "qrmd.3");
        fault::point_if(ends, "qrmd.20");
        if let Err(error) = self.store.commit() {
            self.fail(&error);
        }
        fault::point_if(starts, "qrmd.4");
        fault::point_if(ends, "qrmd.21");
        self.lazy_since = None;
        let batch = std::mem::take(&mut self.batch);
        if !batch.orders.is_empty() {
            self.supervisor.order_all(batch.orders.into_iter());
        }
        // Whoever is answered finds what was decided for them.
        let last_seq = self.store.last_seq();
        let wrote = self.condition.send_if_modified(|c| std::mem::replace(&mut c.last_seq, last_seq) != last_seq);
        // Who only looks leaves nothing to be kept small.
        let only_looks = !wrote && batch.replies.is_empty() && !batch.looks.is_empty();
        fault::point_if(starts, "qrmd.5");
        fault::point_if(ends, "qrmd.22");
        for (reply, done) in batch.replies {
            handle::give(reply, Ok(done));
        }
        for job in batch.released {
            self.waiters.tell(job, false);
            if job.task.is_some() {
                self.waiters.tell(job.job.into(), false);
            }
        }
        for job in batch.ended {
            self.waiters.tell(job, true);
            if job.task.is_none() {
                self.waiters.tell_tasks(job.job);
            }
        }
        fault::point_if(starts, "qrmd.6");
        fault::point_if(ends, "qrmd.23");
        if !batch.looks.is_empty() {
            let now = clock::now();
            for look in batch.looks {
                look(&self.core, now);
            }
        }
        self.arm();
        if !only_looks {
            self.keeper.after_commit(&mut self.store);
        }
    }

    fn arm(&mut self) {
        self.mind();
        let wake = self.core.next_wake();
        if wake != self.armed {
            self.armed = wake;
            if let Err(error) = self.timers.set(wake.0, wake.1) {
                tracing::error!(%error, "a timer can not be set");
            }
        }
    }

    /// A commit or a write failed: nothing of this batch was promised, and nothing of it stays.
    fn fail(&mut self, error: &StoreError) -> Error {
        let refusal = error.refusal();
        tracing::error!(%error, "the store can not be written; mutations are refused until it can");
        self.store.roll_back();
        self.lazy_since = None;
        let batch = std::mem::take(&mut self.batch);
        self.supervisor.order_all(batch.prepared.into_iter().map(Order::Abort));
        for (reply, _) in batch.replies {
            handle::give(reply, Err(refusal.clone()));
        }
        match (error, self.store.load()) {
            (StoreError::Removed(_), _) => self.over = Some(Err(error.to_string())),
            (_, Ok(core)) => {
                self.core = core;
                self.core.see(clock::now(), self.beside.host());
            }
            (_, Err(worse)) => {
                self.over = Some(Err(format!("{error}; and what was committed can not be read: {worse}")))
            }
        }
        let why = error.to_string();
        self.degraded = Some(Degraded { why: why.clone(), probe_at: Instant::now() + PROBE.0, wait: PROBE.0 });
        self.condition.send_modify(|c| c.degraded = Some(why));
        // Who only looks is served, and now: nothing else may come for long that would have us commit again.
        if self.over.is_none() {
            let now = clock::now();
            batch.looks.into_iter().for_each(|look| look(&self.core, now));
        }
        refusal
    }

    /// Tries whether the store can be written again; if so, everything that was missed is found out.
    fn probe(&mut self) {
        let Some(degraded) = &mut self.degraded else { return };
        match self.store.probe() {
            Err(StoreError::Removed(dir)) => self.over = Some(Err(StoreError::Removed(dir).to_string())),
            Err(error) => {
                degraded.why = error.to_string();
                degraded.wait = (degraded.wait * 2).min(PROBE.1);
                degraded.probe_at = Instant::now() + degraded.wait;
            }
            Ok(()) => {
                tracing::info!("the store can be written again");
                self.degraded = None;
                self.condition.send_modify(|c| c.degraded = None);
                self.resume();
                self.configure();
                self.take(Request::Tick);
                self.flush();
            }
        }
    }
}

/// What an event leaves to be tidied up.
fn tidying(event: &Event) -> Option<Order> {
    let (run, job, after) = match event {
        Event::Ended { job, state: JobState::Completed, .. } => (None, *job, After::Completed),
        Event::Ended { job, .. } => (None, *job, After::Nothing),
        Event::Requeued { job, attempt, .. } => {
            (Some(Run { job: *job, stage: Stage::Execute, attempt: *attempt }), *job, After::Another)
        }
        Event::StagePassed { job, stage } => (Some(Run { job: *job, stage: *stage, attempt: 1 }), *job, After::Another),
        _ => return None,
    };
    Some(Order::Clear { run, job, after })
}
