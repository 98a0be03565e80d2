//! The core's state: live jobs and runs, and the indices that follow from them.
//! It refuses to decide; see [`crate::step`] for that, and [`crate::apply`] for how it changes.

use crate::event::{Run, Stage, StopWhy};
use crate::job::is_default;
use crate::job::{Job, Phase, Promise, Tasks};
use crate::line::{Account, Bucket, Past};
use crate::placement::Seen;
use crate::policy::Policy;
use crate::queue::{InQueue, Queue};
use crate::shape::{Amounts, Kind, Want};
use crate::share::Shares;
use qrm_protocol::ids::{JobId, JobRef, Uid};
use qrm_protocol::job::JobState;
use qrm_protocol::queue::QueueName;
use qrm_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What there is to share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Tells boots apart; empty before the first one is known.
    pub boot_id: String,
    /// Cpus offered.
    pub cpus: u32,
    /// Memory offered.
    pub mem_bytes: u64,
    /// Room for files offered.
    #[serde(default, skip_serializing_if = "is_default")]
    pub disk_bytes: u64,
}

/// A run that is being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stop {
    pub why: StopWhy,
    pub by: Option<Uid>,
    pub kill_at: u64,
    pub killed: bool,
    /// For which job it makes room.
    #[serde(default, skip_serializing_if = "is_default")]
    pub room_for: Option<JobRef>,
}

/// What is known of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunState {
    pub stage: Stage,
    pub attempt: u32,
    /// When the command was released, by both clocks.
    pub released: Option<(Timestamp, u64)>,
    pub stop: Option<Stop>,
    /// It stands still, since then on the clock that never jumps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<u64>,
    /// For how long it stood still before, which does not count against its limit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stood_ms: u64,
    /// It was released in a boot of the machine that is over.
    #[serde(default, skip_serializing_if = "is_default")]
    pub boot_is_over: bool,
    /// In which of its ways it runs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub variant: u8,
    /// How long it was expected to run; 0 if nobody said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub expected_ms: u64,
    /// What its user and queue were charged.
    #[serde(default, skip_serializing_if = "is_default")]
    pub charged: u64,
    /// It stands still to make room, and has given back its cpus and its place.
    #[serde(default, skip_serializing_if = "is_default")]
    pub yields: bool,
}

impl RunState {
    /// One that begins.
    pub fn new(stage: Stage, attempt: u32) -> Self {
        Self {
            stage,
            attempt,
            released: None,
            stop: None,
            suspended: None,
            stood_ms: 0,
            boot_is_over: false,
            variant: 0,
            expected_ms: 0,
            charged: 0,
            yields: false,
        }
    }

    /// Whether it can be ended for good: nobody does so yet. One that makes room would go on later.
    pub fn may_be_stopped(&self) -> bool {
        self.stop.is_none_or(|stop| stop.why == StopWhy::Preempted)
    }

    /// For how long it stands still by now.
    pub fn stands_for(&self, now_boot_ms: u64) -> u64 {
        self.suspended.map_or(0, |since| now_boot_ms.saturating_sub(since))
    }

    pub fn of(&self, job: JobRef) -> Run {
        Run { job, stage: self.stage, attempt: self.attempt }
    }
}

/// What a timer on the clock that never jumps is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    /// A backoff ends.
    Due(JobRef),
    /// A time limit is reached.
    Limit(JobRef),
    /// Patience ends.
    Kill(JobRef),
}

/// What a timer on the wall clock is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Date {
    /// It may start from then on.
    Begin(JobId),
    /// It ends if it has not started by then.
    Expires(JobId),
    /// It is over by then.
    Deadline(JobId),
    /// What it was offered can not be accepted any more.
    Lapses(JobId),
}

/// Jobs that are not visible yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bulk {
    pub user: Uid,
    pub count: u64,
    /// How many ids are dealt with.
    pub staged: u64,
    pub jobs: Vec<(JobId, crate::job::Demand)>,
    /// Those of them whose dependencies can never be met, and by whose end; a snapshot has a line for each.
    #[serde(skip)]
    pub doomed: BTreeMap<JobId, JobRef>,
}

/// The whole state. Private: the only way in is [`Core::step`] and [`Core::apply`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    pub(crate) machine: Machine,
    pub(crate) next_job: u64,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) runs: BTreeMap<JobRef, RunState>,
    pub(crate) bulks: BTreeMap<JobId, Bulk>,
    /// Ended jobs that ever were, by state.
    pub(crate) ended: BTreeMap<JobState, u64>,
    pub(crate) policy: Policy,
    /// The default one is always there.
    pub(crate) queues: BTreeMap<QueueName, Queue>,
    /// What users and queues used lately.
    pub(crate) shares: Shares,
    /// How long jobs of a shape ran.
    pub(crate) past: BTreeMap<Arc<Kind>, Past>,
    /// Planned starts that were announced.
    pub(crate) announced: BTreeMap<JobRef, Timestamp>,
    // From here on everything follows from the above, see `rebuilt`.
    /// Live jobs by state, as [`Job::state`] tells it.
    pub(crate) live: BTreeMap<JobState, u64>,
    /// Live jobs by user.
    pub(crate) owners: BTreeMap<Uid, u64>,
    pub(crate) in_queue: BTreeMap<QueueName, InQueue>,
    /// What runs hold together.
    pub(crate) used: Amounts,
    /// Live jobs by shape, and the line of those that may start.
    pub(crate) buckets: BTreeMap<Arc<Kind>, Bucket>,
    /// The heads of those lines.
    pub(crate) accounts: BTreeMap<Account, crate::line::Heads>,
    /// Arrays that wait, and had a turn.
    pub(crate) served: BTreeMap<Account, crate::line::Served>,
    /// Lines by the fewest cpus that one of theirs can do with.
    pub(crate) widths: BTreeMap<u64, u64>,
    /// Jobs that come before all others.
    pub(crate) promised: BTreeSet<(Promise, JobId)>,
    /// Runs that stand still to make room.
    pub(crate) yielding: BTreeSet<JobRef>,
    /// Jobs whose next stage command waits for a place.
    pub(crate) stage_line: BTreeSet<JobId>,
    pub(crate) stages_running: u32,
    /// Who waits for whom.
    pub(crate) dependants: BTreeMap<JobId, BTreeSet<JobId>>,
    /// Live jobs whose dependencies can never be met, and by whose end; each is ended in the step that finds it.
    pub(crate) doomed: BTreeMap<JobId, JobRef>,
    /// Live arrays with tasks that wait for what can never be.
    pub(crate) barred: BTreeSet<JobId>,
    /// What happens to waiting jobs at some time, by the wall clock.
    pub(crate) dates: BTreeSet<(Timestamp, Date)>,
    pub(crate) alarms: BTreeSet<(u64, Alarm)>,
    /// The last turn in `past`.
    pub(crate) turns: u64,
    /// What is true only now, and no part of the state.
    pub(crate) seen: Seen,
}

impl Default for Core {
    fn default() -> Self {
        Self {
            machine: Machine::default(),
            next_job: 1,
            jobs: BTreeMap::new(),
            runs: BTreeMap::new(),
            bulks: BTreeMap::new(),
            ended: BTreeMap::new(),
            policy: Policy::default(),
            queues: BTreeMap::from([(QueueName::default(), Queue::default())]),
            shares: Shares::default(),
            past: BTreeMap::new(),
            announced: BTreeMap::new(),
            live: BTreeMap::new(),
            owners: BTreeMap::new(),
            in_queue: BTreeMap::new(),
            used: Amounts::default(),
            buckets: BTreeMap::new(),
            accounts: BTreeMap::new(),
            served: BTreeMap::new(),
            widths: BTreeMap::new(),
            promised: BTreeSet::new(),
            yielding: BTreeSet::new(),
            stage_line: BTreeSet::new(),
            stages_running: 0,
            dependants: BTreeMap::new(),
            doomed: BTreeMap::new(),
            barred: BTreeSet::new(),
            dates: BTreeSet::new(),
            alarms: BTreeSet::new(),
            turns: 0,
            seen: Seen::default(),
        }
    }
}

/// One less, and nothing if there is none left.
pub(crate) fn count_down<K: Ord>(counts: &mut BTreeMap<K, u64>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Core {
    /// Puts everything that follows from a job itself into the indices.
    pub(crate) fn index(&mut self, id: JobId) {
        self.enter_bucket(id);
        let Some(job) = self.jobs.get(&id) else { return };
        *self.live.entry(job.state()).or_default() += 1;
        *self.owners.entry(job.user()).or_default() += 1;
        let within = self.in_queue.entry(job.shape.queue.clone()).or_default();
        within.jobs += 1;
        within.running_jobs += u64::from(job.phase == Phase::Running);
        if matches!(job.phase, Phase::Pending(_)) {
            self.stage_line.insert(id);
        }
        if job.tasks.as_ref().is_some_and(|tasks| !tasks.barred.is_empty()) {
            self.barred.insert(id);
        }
        if let Some(promise) = job.promise() {
            self.promised.insert((promise, id));
        }
        self.dates.extend(dates(id, job));
        if let Some(due) = job.due_boot_ms {
            self.alarms.insert((due, Alarm::Due(id.into())));
        }
    }

    /// Takes it out again; what was put in is what comes out, as long as the job did not change in between.
    pub(crate) fn unindex(&mut self, id: JobId) {
        self.leave_bucket(id);
        let Some(job) = self.jobs.get(&id) else { return };
        count_down(&mut self.live, &job.state());
        count_down(&mut self.owners, &job.user());
        if let Some(within) = self.in_queue.get_mut(&job.shape.queue) {
            within.jobs -= 1;
            within.running_jobs -= u64::from(job.phase == Phase::Running);
            if *within == InQueue::default() {
                self.in_queue.remove(&job.shape.queue);
            }
        }
        self.stage_line.remove(&id);
        self.barred.remove(&id);
        if let Some(promise) = job.promise() {
            self.promised.remove(&(promise, id));
        }
        for date in dates(id, job) {
            self.dates.remove(&date);
        }
        if let Some(due) = job.due_boot_ms {
            self.alarms.remove(&(due, Alarm::Due(id.into())));
        }
    }

    /// Changes a job and all that follows from it. If nothing but room is wanting from then on, it ages from then on.
    pub(crate) fn change<T>(&mut self, at: Timestamp, id: JobId, with: impl FnOnce(&mut Job) -> T) -> Option<T> {
        self.unindex(id);
        let result = self.jobs.get_mut(&id).map(|job| {
            let (waited, was_free) = (job.wants_room(), job.is_free());
            let result = with(job);
            // One that waits for another attempt has its old age, unless it was held meanwhile.
            if !waited && job.wants_room() && !job.has_started() || !was_free && job.is_free() {
                job.change_rare(|rare| rare.since = Some(at));
            }
            result
        });
        self.index(id);
        result
    }

    /// Whether the machine offers enough for one of its ways.
    pub(crate) fn fits_machine(&self, job: &Job) -> bool {
        match self.buckets.get(&job.shape) {
            Some(bucket) => bucket.fits,
            None => self.fits_somehow(job.shape.wants()),
        }
    }

    /// Whether the machine offers enough for one of these.
    pub(crate) fn fits_somehow(&self, wants: &[Want]) -> bool {
        let all = Amounts::of(&self.machine);
        wants.iter().any(|want| all.holds(want.amounts))
    }

    /// What a run has.
    pub(crate) fn granted(&self, job: JobRef, run: &RunState) -> Want {
        self.jobs.get(&job.job).map(|job| job.shape.way(run.variant)).unwrap_or_default()
    }

    /// What of that it holds: one that stands still to make room keeps its memory and its files.
    pub(crate) fn held(&self, job: JobRef, run: &RunState) -> Amounts {
        let granted = self.granted(job, run).amounts;
        if run.yields { Amounts { places: 0, cpus: 0, ..granted } } else { granted }
    }

    /// How many validate and compile commands may run at once.
    pub(crate) fn stage_places(&self) -> u32 {
        self.machine.cpus.max(1)
    }

    /// The alarms that a run has.
    pub(crate) fn run_alarms(&self, job: JobRef, run: &RunState) -> Vec<(u64, Alarm)> {
        let mut alarms = Vec::new();
        if let Some(stop) = run.stop {
            if !stop.killed {
                alarms.push((stop.kill_at, Alarm::Kill(job)));
            }
        } else if let (Stage::Execute, Some((_, boot)), None, false) =
            (run.stage, run.released, run.suspended, run.boot_is_over)
        {
            let limit = self.granted(job, run).time_ms;
            if limit > 0 {
                alarms.push((boot.saturating_add(limit).saturating_add(run.stood_ms), Alarm::Limit(job)));
            }
        }
        alarms
    }

    /// Changes, makes or ends a run and all that follows from it.
    pub(crate) fn set_run(&mut self, job: JobRef, run: Option<RunState>) {
        if let Some(old) = self.runs.remove(&job) {
            for alarm in self.run_alarms(job, &old) {
                self.alarms.remove(&alarm);
            }
            self.count_run(job, &old, false);
        }
        if let Some(new) = run {
            self.count_run(job, &new, true);
            self.alarms.extend(self.run_alarms(job, &new));
            self.runs.insert(job, new);
        }
    }

    fn count_run(&mut self, job: JobRef, run: &RunState, add: bool) {
        if run.stage != Stage::Execute {
            self.stages_running = if add { self.stages_running + 1 } else { self.stages_running - 1 };
            return;
        }
        let Some(shape) = self.jobs.get(&job.job).map(|j| j.shape.clone()) else { return };
        let held = self.held(job, run);
        let within = self.in_queue.entry(shape.queue.clone()).or_default();
        if add {
            // What is submitted fits the machine; only a snapshot that nobody wrote could be too much to add.
            self.used = self.used.plus(held);
            within.running += 1;
        } else {
            self.used = self.used.less(held);
            within.running -= 1;
        }
        match (run.yields, add) {
            (true, true) => drop(self.yielding.insert(job)),
            (true, false) => drop(self.yielding.remove(&job)),
            (false, _) => {}
        }
    }

    /// The same state with all that follows made anew; the oracle of the indices, and how a snapshot comes to life.
    #[must_use]
    pub(crate) fn rebuilt(self) -> Self {
        let Self { machine, next_job, jobs, runs, bulks, ended, policy, queues, shares, past, announced, .. } = self;
        let mut core = Self {
            machine,
            next_job,
            jobs,
            bulks,
            ended,
            policy,
            queues,
            shares,
            past,
            announced,
            doomed: self.doomed,
            seen: self.seen,
            ..Self::default()
        };
        core.rebuild(runs);
        core
    }

    /// The same in place: a million jobs are not copied for that.
    pub(crate) fn renew(&mut self) {
        *self = std::mem::take(self).rebuilt();
    }

    /// Makes all that follows, from jobs and runs alone.
    pub(crate) fn rebuild(&mut self, runs: BTreeMap<JobRef, RunState>) {
        self.turns = self.past.values().map(|past| past.turn).max().unwrap_or(0);
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            self.index(id);
            let on: Vec<JobId> = self.jobs[&id].awaits().collect();
            for on in on {
                self.dependants.entry(on).or_default().insert(id);
            }
            if let Some(tasks) = &self.jobs[&id].tasks {
                self.alarms.extend(backoffs(id, tasks));
            }
        }
        for (id, demand) in self.bulks.values().flat_map(|bulk| &bulk.jobs) {
            self.in_queue.entry(demand.queue()).or_default().jobs += 1;
            for on in demand.awaits() {
                self.dependants.entry(on).or_default().insert(*id);
            }
        }
        for (job, run) in runs {
            self.set_run(job, Some(run));
        }
    }
}

/// The ends of the backoffs of an array's tasks.
pub(crate) fn backoffs(id: JobId, tasks: &Tasks) -> impl Iterator<Item = (u64, Alarm)> {
    tasks.again.iter().filter_map(move |(ordinal, (_, due))| {
        due.map(|due| (due, Alarm::Due(JobRef::task(id, tasks.index(*ordinal)))))
    })
}

/// What happens to a job at some time.
fn dates(id: JobId, job: &Job) -> impl Iterator<Item = (Timestamp, Date)> + use<> {
    let begin = job.rare().and_then(|r| r.begin).filter(|_| !job.begun);
    let begin = begin.map(|at| (at, Date::Begin(id)));
    let expires = job.expires().map(|at| (at, Date::Expires(id)));
    let lapses = job.open_offers().filter(|_| !job.has_started()).map(|offers| (offers.lapses_at, Date::Lapses(id)));
    let deadline = job.deadline().map(|at| (at, Date::Deadline(id)));
    begin.into_iter().chain(expires).chain(deadline).chain(lapses)
}
