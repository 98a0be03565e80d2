//! What comes in and what goes out of the core, and the frame of every decision.
//! It refuses to change state itself: each decision is an event, made true by [`Core::apply`] at once.

use crate::access::Caller;
use crate::control::Control;
use crate::event::{Event, Run, RunUsage, Stage, StopWhy};
use crate::job::{Demand, Job, Phase};
use crate::policy::{Host, Policy};
use crate::refusal::Refusal;
use crate::state::{Core, RunState};
use crate::submit::PastEnd;
use qrm_protocol::ids::{JobId, JobRef, Uid};
use qrm_protocol::job::{FailureCause, FailureKind, JobChange, JobState, Offer, OfferId};
use qrm_protocol::progress::Fraction;
use qrm_protocol::queue::{OnPreempt, QueueChange, QueueName, QueueSpec};
use qrm_protocol::time::Timestamp;
use std::collections::BTreeMap;

/// The present by both clocks: running limits use the one that never jumps, calendars the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The wall clock.
    pub wall: Timestamp,
    /// Milliseconds since boot, also those that the machine slept.
    pub boot_ms: u64,
}

impl Now {
    /// An instant of the clock that never jumps, by the other.
    #[must_use]
    pub fn wall_of(self, boot_ms: u64) -> Timestamp {
        let ahead = i64::try_from(boot_ms.saturating_sub(self.boot_ms)).unwrap_or(i64::MAX);
        let behind = i64::try_from(self.boot_ms.saturating_sub(boot_ms)).unwrap_or(i64::MAX);
        Timestamp(self.wall.0.saturating_add(ahead).saturating_sub(behind))
    }
}

/// What comes in.
#[derive(Clone, Debug)]
pub enum Input {
    /// Someone's intent.
    Command(Caller, Action),
    /// The world.
    Observed(Observed),
    /// Time passed.
    Tick,
}

/// One place of a bulk: the demand, or nothing if its key was known.
pub type StagedJob = Option<Demand>;

/// What someone wants.
#[derive(Clone, Debug)]
pub enum Action {
    /// Queue a job. `ended` tells of the jobs it names that are over.
    Submit {
        /// For people.
        name: String,
        /// What it asks for.
        demand: Demand,
        /// Jobs and tasks that it names and that are over: how they ended, and whether they ever started.
        ended: PastEnd,
    },
    /// Set ids aside.
    BulkBegin {
        /// How many.
        count: u64,
    },
    /// The next slice.
    BulkAdd {
        /// Which bulk.
        bulk: JobId,
        /// In order.
        jobs: Vec<StagedJob>,
        /// As for a submit.
        ended: PastEnd,
    },
    /// Make a bulk real.
    BulkCommit {
        /// Which.
        bulk: JobId,
    },
    /// Forget a bulk.
    BulkDiscard {
        /// Which.
        bulk: JobId,
    },
    /// End jobs; all of them are alive, or nothing is done.
    Cancel {
        /// Which.
        targets: Vec<JobRef>,
    },
    /// Change what jobs ask for: all of them, or none if one can not have it.
    Update {
        /// Which.
        targets: Vec<JobRef>,
        /// What, checked.
        change: Box<JobChange>,
        /// Of the jobs and tasks that they are to wait for, those that are over.
        ended: PastEnd,
    },
    /// Change a queue, or make one.
    QueueSet {
        /// Which.
        name: QueueName,
        /// What.
        change: QueueChange,
    },
    /// Let nothing of a queue start, or let it go on.
    QueuePause {
        /// Which.
        name: QueueName,
        /// Whether it pauses.
        pause: bool,
    },
    /// Take a queue away.
    QueueRemove {
        /// Which.
        name: QueueName,
    },
    /// Take what a job was offered.
    OfferAccept {
        /// Which.
        offer: OfferId,
    },
    /// What an executing job says of how far it is.
    Progress {
        /// Which.
        job: JobRef,
        /// How much is done.
        fraction: Fraction,
        /// For people.
        message: Option<String>,
    },
    /// Do something else to jobs: to all of them, or to none if one can not have it.
    Control {
        /// Which.
        targets: Vec<JobRef>,
        /// What.
        what: Control,
    },
}

/// What the world did.
#[derive(Clone, Debug)]
pub enum Observed {
    /// What there is to share.
    Machine(crate::Machine),
    /// What the configuration says of deciding, and the queues that it names.
    Configured(Policy, BTreeMap<QueueName, QueueSpec>),
    /// The machine beside jobs.
    Host(Host),
    /// A run's command was released.
    Executing {
        /// Which.
        run: Run,
        /// Its main process.
        pid: u32,
        /// When, by the wall clock.
        at: Timestamp,
        /// When, by the other.
        boot_ms: u64,
    },
    /// A run is over, and all its processes are gone.
    Ended(Run, RunOutcome),
    /// A run is over, and nobody knows how.
    Lost(Run),
    /// The system failed to make the process, after trying again.
    LaunchFailed(Run, String),
}

/// What a run had more of than it may have, where that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// Bytes of memory.
    Memory {
        /// It had.
        had: u64,
        /// It may have.
        limit: u64,
    },
    /// Bytes in its scratch directory.
    Scratch {
        /// It had.
        had: u64,
        /// It may have.
        limit: u64,
    },
    /// Bytes in its own directory.
    Output {
        /// It had.
        had: u64,
        /// It may have.
        limit: u64,
    },
    /// Its own directory has directories below each other that are more than so many.
    OutputDepth(usize),
    /// Its scratch directory has directories below each other that are more than so many.
    Depth(usize),
    /// Processes and threads.
    Pids {
        /// It had.
        had: u32,
        /// It may have.
        limit: u32,
    },
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOutcome {
    /// What the main process exited with.
    pub exit_code: Option<i32>,
    /// What signal ended it.
    pub signal: Option<i32>,
    /// Why the command could not even be executed.
    pub not_run: Option<String>,
    /// The kernel ended it for want of memory.
    pub oom: bool,
    /// It was ended because it had too much of something.
    pub exceeded: Option<Exceeded>,
    /// It was refused a process, for it had as many as this, which is its limit.
    pub pids_refused: Option<u32>,
    /// Why what it left could not be listed.
    pub not_kept: Option<String>,
    /// When the command was released.
    pub started_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Timestamp,
    /// What it used.
    pub usage: RunUsage,
}

/// A signal to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunSignal {
    /// This one, to every process.
    Number(i32),
    /// The end of every process, now.
    Kill,
    /// Every process stands still.
    Freeze,
    /// They go on.
    Thaw,
}

/// What the world should do once the events are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make the process; after a restart, find out first what became of it.
    Launch(Run),
    /// Signal it.
    Signal(Run, RunSignal),
}

/// What a cancel did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelledAs {
    /// It waited.
    Waiting,
    /// It ran.
    Running,
}

/// What to tell the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done.
    Done,
    /// The job, and its state now.
    Submitted(JobId, JobState),
    /// The first id.
    BulkBegun(JobId),
    /// How many are staged.
    Staged(u64),
    /// How many were queued.
    BulkSubmitted(u64),
    /// What was done to each.
    Cancelled(Vec<(JobRef, CancelledAs)>),
    /// Whether it changed anything for each.
    Controlled(Vec<(JobRef, bool)>),
    /// To which job the offer was, and what it was.
    Accepted(JobRef, Offer),
}

/// What a step decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Already applied; to be stored in this order.
    pub events: Vec<Event>,
    /// To be done once the events are durable, in this order.
    pub effects: Vec<Effect>,
    /// To be told then.
    pub answer: Answer,
}

/// A step in the making: applies each event as it is decided.
pub(crate) struct Deciding<'a> {
    pub core: &'a mut Core,
    pub now: Now,
    pub events: Vec<Event>,
    pub effects: Vec<Effect>,
}

impl Core {
    /// Decides. A refusal has changed nothing.
    ///
    /// # Errors
    /// What was wanted can not be done; says why and what would work.
    pub fn step(&mut self, now: Now, input: Input) -> Result<Step, Refusal> {
        let mut deciding = Deciding { core: self, now, events: Vec::new(), effects: Vec::new() };
        let answer = match input {
            Input::Command(caller, action) => deciding.command(caller, action)?,
            Input::Observed(observed) => {
                deciding.observed(observed);
                Answer::Done
            }
            Input::Tick => Answer::Done,
        };
        deciding.settle();
        // A job may have started in the same step that accepted it.
        let answer = match answer {
            Answer::Submitted(id, _) => {
                let ended = deciding.events.iter().rev().find_map(|event| match event {
                    Event::Ended { job, state, .. } if *job == id.into() => Some(*state),
                    _ => None,
                });
                Answer::Submitted(id, ended.or_else(|| deciding.core.state(id.into())).unwrap_or(JobState::Queued))
            }
            other => other,
        };
        Ok(Step { events: deciding.events, effects: deciding.effects, answer })
    }

    /// Sees the machine beside jobs, so that the next step decides by that. It is true for now, and no fact that anything
    /// follows from later.
    pub fn see(&mut self, now: Now, host: Host) {
        let since = self.seen.short_since.unwrap_or(now.wall);
        self.seen.short_since = host.short.map(|_| since);
        self.seen.moved |= self.seen.host.mem_bytes != host.mem_bytes;
        self.seen.host = host;
    }

    /// What the world still owes after a restart: every run is to be found or launched, and told to stop if it was.
    #[must_use]
    pub fn owed(&self) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (job, run) in &self.runs {
            effects.push(Effect::Launch(run.of(*job)));
            if run.suspended.is_some() {
                effects.push(Effect::Signal(run.of(*job), RunSignal::Freeze));
            } else if run.stood_ms > 0 || run.stop.is_some() {
                // It may not have heard that it goes on.
                effects.push(Effect::Signal(run.of(*job), RunSignal::Thaw));
            }
            if let Some(stop) = run.stop {
                let signal = self.stop_of(*job, stop.why).0;
                let signal = if stop.killed { RunSignal::Kill } else { RunSignal::Number(signal) };
                effects.push(Effect::Signal(run.of(*job), signal));
            }
        }
        effects
    }

    /// What asks a job to end, and how long it has then.
    fn stop_of(&self, job: JobRef, why: StopWhy) -> (i32, u64) {
        let (signal, grace) = self.jobs.get(&job.job).map_or((15, crate::GRACE_MS), Job::stop);
        let rare = self.jobs.get(&job.job).and_then(Job::rare).filter(|_| why == StopWhy::Preempted);
        (rare.and_then(|rare| rare.checkpoint_signal).unwrap_or(signal), grace)
    }

    /// Bulks whose client is gone, after a restart.
    #[must_use]
    pub fn open_bulks(&self) -> Vec<(JobId, Uid)> {
        self.bulks.iter().map(|(id, bulk)| (*id, bulk.user)).collect()
    }

    /// When time alone changes something next: by the wall clock, and by the clock that never jumps.
    #[must_use]
    pub fn next_wake(&self) -> (Option<Timestamp>, Option<u64>) {
        let change = self.seen.plan.next_change();
        let alarm = self.alarms.first().map(|(at, _)| *at);
        (self.dates.first().map(|(at, _)| *at), alarm.into_iter().chain(change).min())
    }
}

impl Deciding<'_> {
    pub(crate) fn emit(&mut self, event: Event) {
        self.core.apply(self.now.wall, &event);
        self.events.push(event);
    }

    fn command(&mut self, caller: Caller, action: Action) -> Result<Answer, Refusal> {
        match action {
            Action::Submit { name, demand, ended } => self.submit(caller, name, demand, &ended),
            Action::BulkBegin { count } => self.bulk_begin(caller, count),
            Action::BulkAdd { bulk, jobs, ended } => self.bulk_add(caller, bulk, jobs, &ended),
            Action::BulkCommit { bulk } => self.bulk_commit(caller, bulk),
            Action::BulkDiscard { bulk } => self.bulk_discard(caller, bulk),
            Action::Cancel { targets } => self.cancel(caller, targets),
            Action::Control { targets, what } => self.control(caller, &targets, what),
            Action::Update { targets, change, ended } => self.update(caller, &targets, &change, &ended),
            Action::QueueSet { name, change } => self.set_queue(caller, name, &change),
            Action::QueuePause { name, pause } => self.pause_queue(caller, name, pause),
            Action::QueueRemove { name } => self.remove_queue(caller, name),
            Action::OfferAccept { offer } => self.accept_offer(caller, offer),
            Action::Progress { job, fraction, message } => self.progress(caller, job, fraction, message),
        }
    }

    /// Lets everything happen that can: ends that follow from ends, and starts for which there is room.
    fn settle(&mut self) {
        loop {
            let before = self.events.len();
            self.pass_time();
            self.end_doomed();
            self.end_barred();
            self.start_stages();
            if self.is_quiet() {
                self.core.seen.is_old = true;
                return;
            }
            self.pass();
            if self.events.len() == before {
                break;
            }
        }
        let came: Vec<JobId> = self.events.iter().filter_map(came).collect();
        for id in came {
            self.offer(id);
        }
        self.announce();
        self.core.seen.moved = false;
    }

    /// Whether nothing happened that has anything start: that a command was released was expected, if it is not one that can be
    /// suspended from then on, and how far one is says nothing of when it ends.
    fn is_quiet(&self) -> bool {
        let may_stand_still = |job: &JobRef| {
            self.core.jobs.get(&job.job).is_some_and(|job| self.core.on_preempt(job) == OnPreempt::Suspend)
        };
        let is_quiet = |event: &Event| match event {
            Event::Executing { job, .. } => !may_stand_still(job),
            event => matches!(event, Event::Progress { .. }),
        };
        !self.events.is_empty() && self.events.iter().all(is_quiet)
    }

    fn start_stages(&mut self) {
        while self.core.stages_running < self.core.stage_places() {
            let Some(id) = self.core.stage_line.first().copied() else { return };
            let Some(Phase::Pending(stage)) = self.core.jobs.get(&id).map(|j| j.phase) else { return };
            let job = JobRef::whole(id);
            self.emit(Event::StageStarted { job, stage });
            self.effects.push(Effect::Launch(Run { job, stage, attempt: 1 }));
        }
    }

    /// Tells a run to end, now gently.
    pub(crate) fn stop(&mut self, job: JobRef, why: StopWhy, by: Option<Uid>) {
        self.stop_for(job, why, by, None);
    }

    /// The same, to make room for another.
    pub(crate) fn stop_for(&mut self, job: JobRef, why: StopWhy, by: Option<Uid>, room_for: Option<JobRef>) {
        let Some(run) = self.core.runs.get(&job).copied() else { return };
        let (signal, grace) = self.core.stop_of(job, why);
        // One that makes room has its patience since then, and is still on its way out for another.
        let patience = self.now.boot_ms.saturating_add(grace);
        let kill_at_boot_ms = run.stop.map_or(patience, |stop| stop.kill_at.min(patience));
        let room_for = room_for.or(run.stop.and_then(|stop| stop.room_for));
        self.emit(Event::Stopping { job, why, by, kill_at_boot_ms, room_for });
        self.effects.push(Effect::Signal(run.of(job), RunSignal::Number(signal)));
        // It has to go on to hear that.
        if run.suspended.is_some() {
            self.effects.push(Effect::Signal(run.of(job), RunSignal::Thaw));
        }
    }

    fn observed(&mut self, observed: Observed) {
        match observed {
            Observed::Machine(machine) if machine == self.core.machine => {}
            Observed::Machine(crate::Machine { boot_id, cpus, mem_bytes, disk_bytes }) => {
                self.emit(Event::MachineFound { boot_id, cpus, mem_bytes, disk_bytes });
            }
            Observed::Configured(policy, queues) => {
                if policy != self.core.policy {
                    self.emit(Event::PolicySet { policy });
                }
                self.configure_queues(queues);
            }
            Observed::Host(host) => self.core.see(self.now, host),
            Observed::Executing { run, pid, at, boot_ms } => {
                let known = self.current(run).filter(|state| state.released.is_none());
                if known.is_some() && run.stage == Stage::Execute {
                    let (job, attempt) = (run.job, run.attempt);
                    self.emit(Event::Executing { job, attempt, pid, started_at: at, boot_ms });
                }
            }
            Observed::Ended(run, outcome) => self.run_ended(run, outcome),
            Observed::Lost(run) => {
                let message = "its supervisor died without a record, and nobody knows how it ended".to_owned();
                self.broken(run, FailureKind::Lost, FailureCause::Lost, message);
            }
            Observed::LaunchFailed(run, why) => {
                self.broken(
                    run,
                    FailureKind::PersistError,
                    FailureCause::Store,
                    format!("its process could not be made: {why}"),
                );
            }
        }
    }

    /// The run, if it is still the one that the core knows.
    pub(crate) fn current(&self, run: Run) -> Option<RunState> {
        self.core.runs.get(&run.job).copied().filter(|state| state.of(run.job) == run)
    }
}

/// The job that an event says came, one by one.
fn came(event: &Event) -> Option<JobId> {
    match event {
        Event::Submitted { job, .. } => Some(job.job),
        _ => None,
    }
}
