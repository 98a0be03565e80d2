//! The core's state: live jobs and runs, and the indices that follow from them.
//! It refuses to decide; see [`crate::step`] for that, and [`crate::apply`] for how it changes.

use crate::event::{Run, Stage, StopWhy};
use crate::job::is_default;
use crate::job::{Job, Phase, Tasks};
use qrm_protocol::ids::{JobId, JobRef, Uid};
use qrm_protocol::job::JobState;
use qrm_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

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

/// What runs hold together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub cpus: u64,
    pub mem_bytes: u64,
    pub disk_bytes: u64,
}

/// A run that is being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stop {
    pub why: StopWhy,
    pub by: Option<Uid>,
    pub kill_at: u64,
    pub killed: bool,
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
}

impl RunState {
    /// One that begins.
    pub fn new(stage: Stage, attempt: u32) -> Self {
        Self { stage, attempt, released: None, stop: None, suspended: None, stood_ms: 0, boot_is_over: false }
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
    // From here on everything follows from the above, see `rebuilt`.
    /// Live jobs by state, as [`Job::state`] tells it.
    pub(crate) live: BTreeMap<JobState, u64>,
    /// Live jobs by user.
    pub(crate) owners: BTreeMap<Uid, u64>,
    pub(crate) used: Used,
    /// Eligible jobs that fit the machine, in the order of their turn.
    pub(crate) ready: BTreeSet<(Reverse<u8>, JobId)>,
    /// Jobs whose next stage command waits for a place.
    pub(crate) stage_line: BTreeSet<JobId>,
    pub(crate) stages_running: u32,
    /// Who waits for whom.
    pub(crate) dependants: BTreeMap<JobId, BTreeSet<JobId>>,
    /// Live jobs whose dependencies can never be met, and by whose end; each is ended in the step that finds it.
    pub(crate) doomed: BTreeMap<JobId, JobRef>,
    /// What happens to waiting jobs at some time, by the wall clock.
    pub(crate) dates: BTreeSet<(Timestamp, Date)>,
    pub(crate) alarms: BTreeSet<(u64, Alarm)>,
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
            live: BTreeMap::new(),
            owners: BTreeMap::new(),
            used: Used::default(),
            ready: BTreeSet::new(),
            stage_line: BTreeSet::new(),
            stages_running: 0,
            dependants: BTreeMap::new(),
            doomed: BTreeMap::new(),
            dates: BTreeSet::new(),
            alarms: BTreeSet::new(),
        }
    }
}

impl Core {
    /// Puts everything that follows from a job itself into the indices.
    pub(crate) fn index(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        *self.live.entry(job.state()).or_default() += 1;
        *self.owners.entry(job.user).or_default() += 1;
        if job.eligible() && self.fits_machine(job) {
            self.ready.insert((Reverse(job.demand.priority.get()), id));
        }
        if matches!(job.phase, Phase::Pending(_)) {
            self.stage_line.insert(id);
        }
        self.dates.extend(dates(id, job));
        if let Some(due) = job.due_boot_ms {
            self.alarms.insert((due, Alarm::Due(id.into())));
        }
    }

    /// Takes it out again; what was put in is what comes out, as long as the job did not change in between.
    pub(crate) fn unindex(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        if let Some(count) = self.live.get_mut(&job.state()) {
            *count -= 1;
            if *count == 0 {
                self.live.remove(&job.state());
            }
        }
        if let Some(count) = self.owners.get_mut(&job.user) {
            *count -= 1;
            if *count == 0 {
                self.owners.remove(&job.user);
            }
        }
        self.ready.remove(&(Reverse(job.demand.priority.get()), id));
        self.stage_line.remove(&id);
        for date in dates(id, job) {
            self.dates.remove(&date);
        }
        if let Some(due) = job.due_boot_ms {
            self.alarms.remove(&(due, Alarm::Due(id.into())));
        }
    }

    /// Changes a job and all that follows from it.
    pub(crate) fn change<T>(&mut self, id: JobId, with: impl FnOnce(&mut Job) -> T) -> Option<T> {
        self.unindex(id);
        let result = self.jobs.get_mut(&id).map(with);
        self.index(id);
        result
    }

    pub(crate) fn fits_machine(&self, job: &Job) -> bool {
        let (demand, machine) = (&job.demand, &self.machine);
        demand.cpus() <= machine.cpus
            && demand.mem_bytes <= machine.mem_bytes
            && demand.disk_bytes() <= machine.disk_bytes
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
            let limit = self.jobs.get(&job.job).map_or(0, |j| j.demand.time_ms);
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
        let Some(demand) = self.jobs.get(&job.job).map(|j| &j.demand) else { return };
        let (cpus, mem, disk) = (u64::from(demand.cpus()), demand.mem_bytes, demand.disk_bytes());
        if add {
            self.used.cpus += cpus;
            // What is submitted fits the machine; only a snapshot that nobody wrote could say otherwise.
            self.used.mem_bytes = self.used.mem_bytes.saturating_add(mem);
            self.used.disk_bytes = self.used.disk_bytes.saturating_add(disk);
        } else {
            self.used.cpus -= cpus;
            self.used.mem_bytes -= mem;
            self.used.disk_bytes -= disk;
        }
    }

    /// The same state with all that follows made anew; the oracle of the indices, and how a snapshot comes to life.
    #[must_use]
    pub(crate) fn rebuilt(&self) -> Self {
        let mut core = Self {
            machine: self.machine.clone(),
            next_job: self.next_job,
            jobs: self.jobs.clone(),
            bulks: self.bulks.clone(),
            ended: self.ended.clone(),
            doomed: self.doomed.clone(),
            ..Self::default()
        };
        core.rebuild(self.runs.clone());
        core
    }

    /// Makes all that follows, from jobs and runs alone.
    pub(crate) fn rebuild(&mut self, runs: BTreeMap<JobRef, RunState>) {
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            self.index(id);
            let on: Vec<JobId> = self.jobs[&id].needs().iter().map(|n| n.on.job).collect();
            for on in on {
                self.dependants.entry(on).or_default().insert(id);
            }
            if let Some(tasks) = &self.jobs[&id].tasks {
                self.alarms.extend(backoffs(id, tasks));
            }
        }
        let staged = self.bulks.values().flat_map(|bulk| &bulk.jobs);
        for (id, on) in staged.flat_map(|(id, demand)| demand.needs().iter().map(|n| (*id, n.on.job))) {
            self.dependants.entry(on).or_default().insert(id);
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
    begin.into_iter().chain(expires).chain(job.deadline().map(|at| (at, Date::Deadline(id))))
}
