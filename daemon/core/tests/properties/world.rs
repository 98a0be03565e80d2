//! The core among processes that exist only here, with what must hold after every step. It refuses to choose what happens.

use crate::ME;
use crate::wishes::{NEEDS, Op, QUEUES, QueueOp, Wish};
use qrm_core::{
    Action, Answer, Caller, Control, Core, Demand, Effect, Event, Input, Live, Machine, Now, Observed, Run, RunOutcome,
    RunSignal, StopWhy, Takes,
};
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::{DependsOn, JobSpec, JobState, Offer, OfferId};
use qrm_protocol::progress::Fraction;
use qrm_protocol::queue::{OnPreempt, QueueChange, QueueSpec};
use qrm_protocol::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Whether it is being ended, and will not go on later.
fn ends(live: &Live) -> bool {
    live.stopping.is_some_and(|why| why != StopWhy::Preempted)
}

/// A process of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Process {
    killed: bool,
    frozen: bool,
}

/// What was last asked for of a job.
#[derive(Clone, Debug, Default)]
pub struct Job {
    submitted: i64,
    demand: Demand,
    deadline: Option<Timestamp>,
    queue_ms: u64,
}

/// The core, a mirror that is only ever fed with events, and the processes that exist.
pub struct World {
    core: Core,
    mirror: Core,
    now: Now,
    processes: BTreeMap<Run, Process>,
    /// What the last step wants of the world, which has not been done yet.
    wanted: Vec<Effect>,
    past: BTreeMap<JobRef, (JobState, bool)>,
    started: BTreeSet<JobRef>,
    pub jobs: BTreeMap<JobId, Job>,
    /// What each run was granted: cpus, memory, room for files, and whether it has the machine for itself.
    takes: BTreeMap<JobRef, Takes>,
    /// Those that gave back their cpus.
    yields: BTreeSet<JobRef>,
    /// Of open bulks, until they are committed.
    staged: BTreeMap<JobId, Vec<Option<Demand>>>,
    machine: (u32, u64),
    boot: u32,
    pub asked: u32,
}

impl World {
    pub fn new() -> Self {
        let now = Now { wall: Timestamp(0), boot_ms: 0 };
        let mut world = Self {
            core: Core::default(),
            mirror: Core::default(),
            now,
            processes: BTreeMap::new(),
            wanted: Vec::new(),
            past: BTreeMap::new(),
            started: BTreeSet::new(),
            jobs: BTreeMap::new(),
            takes: BTreeMap::new(),
            yields: BTreeSet::new(),
            staged: BTreeMap::new(),
            machine: (3, 3),
            boot: 0,
            asked: 0,
        };
        world.find_machine();
        for (name, on_preempt) in QUEUES.into_iter().zip([OnPreempt::Suspend, OnPreempt::Requeue]) {
            let change =
                QueueChange { preemptible: Some(true), on_preempt: Some(on_preempt), ..QueueChange::default() };
            world.step(Input::Command(ME, Action::QueueSet { name: name.parse().unwrap(), change }));
        }
        world
    }

    fn find_machine(&mut self) {
        let (cpus, mem_bytes) = self.machine;
        // As much disk as memory.
        let machine = Machine { boot_id: self.boot.to_string(), cpus, mem_bytes, disk_bytes: mem_bytes };
        self.step(Input::Observed(Observed::Machine(machine)));
    }

    fn step(&mut self, input: Input) -> Option<Answer> {
        self.act_unseen();
        let before = self.core.clone();
        let step = match self.core.step(self.now, input) {
            Ok(step) => step,
            Err(_) => {
                assert_eq!(before, self.core, "a refusal changed something");
                return None;
            }
        };
        for event in &step.events {
            // Through JSON, as a restart would see it.
            let stored: Event = serde_json::from_str(&serde_json::to_string(event).unwrap()).unwrap();
            assert_eq!(&stored, event);
            self.mirror.apply(self.now.wall, &stored);
            self.note(event);
        }
        assert_eq!(self.mirror, self.core, "replay is not live");
        self.core.check(self.now).unwrap();
        self.nobody_is_late();
        self.wanted = step.effects;
        Some(step.answer)
    }

    /// Does what is wanted of the world, and looks at it.
    fn act(&mut self) {
        self.act_unseen();
        for job in self.core.running(usize::MAX) {
            let live = self.core.look(self.now, job).unwrap();
            let (_, process) = self.processes.iter().find(|(run, _)| run.job == job).expect("what runs has a process");
            assert_eq!(process.frozen, live.suspended, "{job} stands still, or does not: {live:?}");
        }
    }

    fn act_unseen(&mut self) {
        for effect in std::mem::take(&mut self.wanted) {
            match effect {
                Effect::Launch(run) => {
                    assert!(self.processes.insert(run, Process::default()).is_none(), "{run:?} was launched twice");
                }
                Effect::Signal(run, signal) => self.signal(run, signal),
            }
        }
    }

    fn signal(&mut self, run: Run, signal: RunSignal) {
        let process = self.processes.get_mut(&run).unwrap_or_else(|| panic!("{run:?} was signalled and is not there"));
        match signal {
            // The end comes as an observation of its own, at once or later.
            RunSignal::Kill => process.killed = true,
            RunSignal::Freeze => process.frozen = true,
            RunSignal::Thaw => process.frozen = false,
            RunSignal::Number(_) => {}
        }
    }

    /// What has not started within its queue timeout is not alive, and what runs past its deadline is being ended.
    fn nobody_is_late(&self) {
        for (id, job) in &self.jobs {
            let (whole, now) = (JobRef::whole(*id), self.now.wall);
            let tasks =
                (0..5).map(|task| JobRef::task(*id, task)).filter(|task| self.core.look(self.now, *task).is_some());
            let alive: Vec<JobRef> = match self.core.look(self.now, whole) {
                None => continue,
                Some(job) if job.tasks.is_some() => tasks.collect(),
                Some(_) => vec![whole],
            };
            for id in alive {
                let live = self.core.look(self.now, id).unwrap();
                if job.deadline.is_some_and(|at| at <= now) {
                    assert!(ends(&live), "{id} goes on past its deadline: {live:?}");
                }
                if job.queue_ms > 0 && job.submitted + job.queue_ms as i64 <= now.0 {
                    assert!(self.started.contains(&id), "{id} waits past its queue timeout: {live:?}");
                }
            }
        }
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Submitted { job, demand, .. } => self.enter(job.job, demand.clone()),
            Event::BulkStaged { bulk, jobs, .. } => {
                self.staged.entry(*bulk).or_default().extend(jobs.iter().cloned());
            }
            Event::BulkSubmitted { bulk } => {
                let jobs = self.staged.remove(bulk).unwrap_or_default();
                for (id, demand) in (bulk.0..).zip(jobs) {
                    self.enter(JobId(id), demand.unwrap());
                }
            }
            Event::Updated { job, change, .. } => {
                let job = self.jobs.get_mut(&job.job).unwrap();
                job.deadline = change.deadline.or(job.deadline);
                job.queue_ms = change.queue_timeout_ms.map_or(job.queue_ms, |t| t.0);
                job.demand.cpus = change.cpus.or(job.demand.cpus);
                if let Some(exclusive) = change.exclusive {
                    job.demand.rare.get_or_insert_default().exclusive = exclusive;
                }
            }
            Event::OfferAccepted { job, what, .. } => {
                let job = self.jobs.get_mut(&job.job).unwrap();
                match what {
                    Offer::Less { cpus } => job.demand.cpus = Some(*cpus),
                    Offer::Share => job.demand.rare.get_or_insert_default().exclusive = false,
                    _ => {}
                }
            }
            Event::Suspended { job, room_for: Some(_), .. } => drop(self.yields.insert(*job)),
            Event::Resumed { job, by: None, .. } | Event::Requeued { job, .. } => drop(self.yields.remove(job)),
            Event::BulkDiscarded { bulk } => drop(self.staged.remove(bulk)),
            Event::Started { job, takes, .. } => {
                self.started.insert(*job);
                self.started.insert(job.job.into());
                let demand = &self.jobs[&job.job].demand;
                let first = Takes {
                    cpus: demand.cpus(),
                    mem_bytes: demand.mem_bytes(),
                    disk_bytes: demand.disk_bytes(),
                    exclusive: demand.rare.as_ref().is_some_and(|rare| rare.exclusive),
                    time_ms: 0,
                };
                let takes = takes.unwrap_or(first);
                self.takes.insert(*job, takes);
                // Of what it asks for; the machine may have become smaller than what others were granted before.
                let ((cpus, mem, disk), runs) = self.granted();
                assert!(takes.disk_bytes == 0 || disk <= self.machine.1, "{job} was started without disk for it");
                assert!(takes.cpus == 0 || cpus <= self.machine.0, "{job} was started without cpus for it");
                assert!(takes.mem_bytes == 0 || mem <= self.machine.1, "{job} was started without memory for it");
                let alone = runs.iter().find(|run| self.takes[*run].exclusive);
                assert!(alone.is_none() || runs.len() == 1, "{alone:?} has the machine for itself: {runs:?}");
            }
            Event::Ended { job, state, .. } => {
                self.yields.remove(job);
                assert!(state.is_terminal());
                let started = self.started.contains(job);
                assert!(self.past.insert(*job, (*state, started)).is_none(), "{job} ended twice");
            }
            _ => {}
        }
    }

    fn enter(&mut self, id: JobId, demand: Demand) {
        let spec = serde_json::to_value(&demand).unwrap();
        let deadline = serde_json::from_value(spec["deadline"].clone()).unwrap();
        let queue_ms = spec["queue_timeout_ms"].as_u64().unwrap_or(0);
        let job = Job { submitted: self.now.wall.0, demand, deadline, queue_ms };
        assert!(self.jobs.insert(id, job).is_none(), "an id was used twice");
    }

    /// What the jobs that execute hold, and those that have their cpus: what stands still to make room has not.
    fn granted(&self) -> ((u32, u64, u64), Vec<JobRef>) {
        // As it is after this fact, and not after the whole step.
        let executes =
            |job: &JobRef| matches!(self.mirror.state(*job), Some(JobState::Allocating | JobState::Executing));
        let executing = self.mirror.running(usize::MAX).into_iter().filter(executes);
        let (mut held, mut runs) = ((0, 0, 0), Vec::new());
        for job in executing {
            let takes = &self.takes[&job];
            (held.1, held.2) = (held.1 + takes.mem_bytes, held.2 + takes.disk_bytes);
            if self.yields.contains(&job) {
                continue;
            }
            held.0 += takes.cpus;
            runs.push(job);
        }
        (held, runs)
    }

    /// What the store would know of what is over: a task that was ended with its array has its row if it had started.
    fn past(&self) -> BTreeMap<JobRef, (JobState, bool)> {
        let over = self.started.iter().filter(|job| job.task.is_some() && !self.core.is_live(**job));
        let mut past: BTreeMap<_, _> = over.map(|job| (*job, (JobState::Cancelled, true))).collect();
        past.extend(&self.past);
        past
    }

    fn pick(&self, n: u8) -> Option<Run> {
        let runs: Vec<_> = self.processes.keys().collect();
        runs.get(usize::from(n) % runs.len().max(1)).map(|run| **run)
    }

    /// A job that there is, or is no more; sometimes one that never was.
    fn job(&self, n: u8) -> JobId {
        let next = self.jobs.last_key_value().map_or(1, |(id, _)| id.0 + 1);
        JobId(u64::from(n) % next + 1)
    }

    /// What a wish is when it is submitted, with jobs of its own bulk to wait for.
    fn spec(&self, wish: &Wish, own: std::ops::Range<u64>) -> JobSpec {
        let mut json = wish.spec.clone();
        let own: Vec<JobId> = own.map(JobId).collect();
        let all: Vec<JobId> = self.jobs.keys().copied().chain(own).collect();
        for (kind, n, task) in &wish.needs {
            let Some(job) = all.get(usize::from(*n) % all.len().max(1)) else { continue };
            // A need for a task of what has none is refused; mostly those are meant that there are.
            let is_array = self.jobs.get(job).is_some_and(|job| job.demand.array().is_some());
            let each = *task == Some(3) && is_array && !wish.spec["array"].is_null();
            let task = task.filter(|task| is_array || *task == 4).map(u32::from);
            let need = if each { DependsOn::Each(*job) } else { JobRef { job: *job, task }.into() }.to_string();
            match json[NEEDS[*kind]].as_array_mut() {
                Some(list) => list.push(need.into()),
                None => json[NEEDS[*kind]] = vec![need].into(),
            }
        }
        if NEEDS.iter().all(|kind| json[kind].is_null()) {
            json["any"] = false.into();
        }
        serde_json::from_value(json).unwrap()
    }

    fn end(&mut self, run: Run, outcome: RunOutcome) {
        self.act();
        self.processes.remove(&run);
        let outcome = RunOutcome { ended_at: self.now.wall, ..outcome };
        self.step(Input::Observed(Observed::Ended(run, outcome.clone())));
        let quiet = self.core.clone();
        self.step(Input::Observed(Observed::Ended(run, outcome)));
        assert_eq!(quiet, self.core, "the same end told twice changed something");
    }

    fn submit(&mut self, wish: &Wish) {
        self.asked += 1;
        let demand = Demand::from(&self.spec(wish, 0..0));
        let action = Action::Submit { name: "x".into(), demand, ended: self.past() };
        self.step(Input::Command(ME, action));
    }

    fn bulk(&mut self, wishes: &[Wish], between: Option<Op>, commit: bool) {
        let count = wishes.len() as u64;
        let Some(Answer::BulkBegun(bulk)) = self.step(Input::Command(ME, Action::BulkBegin { count })) else {
            panic!("a bulk was refused");
        };
        let (first, rest) = wishes.split_at(wishes.len() / 2);
        let mut added = true;
        let mut between = between;
        for part in [first, rest] {
            let at = bulk.0 + self.core.staged(bulk);
            let specs = (at..).zip(part).map(|(id, wish)| Some(Demand::from(&self.spec(wish, bulk.0..id))));
            let jobs = specs.collect();
            let action = Action::BulkAdd { bulk, jobs, ended: self.past() };
            added &= self.step(Input::Command(ME, action)).is_some();
            if let Some(between) = between.take() {
                self.apply(between);
            }
        }
        // A restart discards what is open.
        if self.core.open_bulks().is_empty() {
            return;
        }
        let end = if commit && added { Action::BulkCommit { bulk } } else { Action::BulkDiscard { bulk } };
        assert!(self.step(Input::Command(ME, end)).is_some());
    }

    pub fn apply(&mut self, op: Op) {
        match op {
            Op::Submit(wish) => self.submit(&wish),
            Op::Bulk(wishes, between, commit) => self.bulk(&wishes, between.map(|op| *op), commit),
            Op::Cancel(job, task) => {
                let target = JobRef { job: self.job(job), task: task.map(Into::into) };
                let other = Caller::user(1);
                assert!(self.step(Input::Command(other, Action::Cancel { targets: vec![target] })).is_none());
                let lived = self.core.is_live(target);
                let done = self.step(Input::Command(ME, Action::Cancel { targets: vec![target] }));
                assert_eq!(done.is_some(), lived, "what lives can be cancelled, and nothing else");
                let goes_on = self
                    .core
                    .look(self.now, target)
                    .is_some_and(|live| !ends(&live) && live.tasks.is_none_or(|tasks| tasks.waiting > 0));
                assert!(!goes_on, "{target} was cancelled, and goes on");
            }
            Op::Control(what, job, task) => {
                self.control(what, JobRef { job: self.job(job), task: task.map(Into::into) })
            }
            Op::Update(change, job) => {
                let target = JobRef::whole(self.job(job));
                let action = Action::Update { targets: vec![target], change: Box::new(change), ended: self.past() };
                self.step(Input::Command(ME, action));
            }
            Op::Progress(n) => {
                let Some(run) = self.pick(n) else { return };
                let fraction = Fraction::from_millionths(u32::from(n) * 1_000);
                let before = self.core.clone();
                let action = Action::Progress { job: run.job, fraction, message: None };
                self.step(Input::Command(ME, action));
                assert_eq!(before, self.core, "what a job says of itself decides nothing");
            }
            Op::Execute(n) => {
                let Some(run) = self.pick(n) else { return };
                let (at, boot_ms) = (self.now.wall, self.now.boot_ms);
                self.step(Input::Observed(Observed::Executing { run, pid: 1, at, boot_ms }));
            }
            Op::End(n, code) => {
                let Some(run) = self.pick(n) else { return };
                self.end(run, RunOutcome { exit_code: Some(code.into()), ..RunOutcome::default() });
            }
            Op::Oom(n) => {
                let Some(run) = self.pick(n) else { return };
                self.end(run, RunOutcome { signal: Some(9), oom: true, ..RunOutcome::default() });
            }
            Op::Lose(n) => self.vanish(n, Observed::Lost),
            Op::FailToLaunch(n) => self.vanish(n, |run| Observed::LaunchFailed(run, "no memory".into())),
            Op::Pass(ms) => {
                self.now.boot_ms += u64::from(ms);
                self.now.wall.0 += i64::from(ms);
                self.step(Input::Tick);
            }
            Op::JumpWall(ms) => {
                self.now.wall.0 += i64::from(ms);
                self.step(Input::Tick);
            }
            Op::Queue(name, op) => {
                let name = name.parse().unwrap();
                let action = match op {
                    QueueOp::Set(change) => Action::QueueSet { name, change },
                    QueueOp::Pause(pause) => Action::QueuePause { name, pause },
                    QueueOp::Remove => Action::QueueRemove { name },
                };
                self.step(Input::Command(ME, action));
            }
            Op::Offer(job, place) => {
                let is_offered =
                    |id: &&JobId| self.core.look(self.now, (**id).into()).is_some_and(|l| !l.offers.is_empty());
                // Mostly one that is there.
                let job = self.jobs.keys().find(is_offered).copied().unwrap_or_else(|| self.job(job));
                let offer = OfferId { job, place };
                let accept = || Input::Command(ME, Action::OfferAccept { offer });
                if self.step(accept()).is_some() {
                    assert!(self.step(accept()).is_none(), "offer {offer} was accepted twice");
                }
            }
            Op::Configure(policy, names) => {
                let named = QUEUES[1..].iter().filter(|_| names);
                let queues = named.map(|name| (name.parse().unwrap(), QueueSpec::default())).collect();
                self.step(Input::Observed(Observed::Configured(policy, queues)));
            }
            Op::Host(host) => drop(self.step(Input::Observed(Observed::Host(host)))),
            Op::Resize(cpus, mem) => {
                self.machine = (cpus, mem);
                self.find_machine();
            }
            Op::Restart { crashed, boot_ms } => self.restart(crashed, boot_ms),
        }
    }

    fn control(&mut self, what: Control, target: JobRef) {
        let action = Action::Control { targets: vec![target], what };
        let would = self.core.would(ME, what, target);
        let done = self.step(Input::Command(ME, action));
        let expected = would.ok().map(|changes| Answer::Controlled(vec![(target, changes)]));
        assert_eq!(done, expected, "what was said before is what was done");
        if matches!(what, Control::Signal(_)) {
            return;
        }
        let again = Action::Control { targets: vec![target], what };
        if let Some(Answer::Controlled(again)) = self.step(Input::Command(ME, again)) {
            assert_eq!(again, [(target, false)], "the second time changes nothing");
        }
    }

    fn vanish(&mut self, n: u8, how: impl Fn(Run) -> Observed) {
        self.act();
        let Some(run) = self.pick(n) else { return };
        self.processes.remove(&run);
        self.step(Input::Observed(how(run)));
    }

    /// What is left of a daemon are the events; what is owed covers every run, also if the last effects were not done.
    fn restart(&mut self, crashed: bool, boot_ms: Option<u16>) {
        if crashed {
            // A kill that nobody heard of any more: such a run is swept, being nobody's.
            for effect in std::mem::take(&mut self.wanted) {
                if let Effect::Signal(run, RunSignal::Kill) = effect {
                    self.processes.entry(run).and_modify(|process| process.killed = true);
                }
            }
        } else {
            self.act();
        }
        let mut saved = Vec::new();
        self.core.save(&mut saved).unwrap();
        let loaded = Core::load(saved.as_slice()).unwrap();
        assert_eq!(loaded, self.core, "a snapshot is not the state");
        self.core = loaded;
        let owed = self.core.owed();
        let runs = owed.iter().filter_map(|e| if let Effect::Launch(run) = e { Some(*run) } else { None });
        let runs: BTreeSet<Run> = runs.collect();
        for (run, process) in &self.processes {
            assert!(runs.contains(run) || process.killed, "{run:?} goes on, and nobody knows it");
        }
        if let Some(boot_ms) = boot_ms {
            self.boot += 1;
            self.now.boot_ms = boot_ms.into();
            self.processes.clear();
        }
        for effect in owed {
            match effect {
                Effect::Launch(run) => drop(self.processes.entry(run).or_default()),
                Effect::Signal(run, signal) => self.signal(run, signal),
            }
        }
        self.find_machine();
        for (bulk, _) in self.core.open_bulks() {
            self.step(Input::Command(ME, Action::BulkDiscard { bulk }));
        }
        self.step(Input::Tick);
        if boot_ms.is_none() {
            return;
        }
        // What had been released before is found to be gone; only then, and some time after the first tick.
        self.act();
        for run in runs {
            let live = self.core.look(self.now, run.job).filter(|live| live.started_at.is_some());
            let Some(live) = live.filter(|_| self.processes.contains_key(&run)) else { continue };
            self.processes.remove(&run);
            self.step(Input::Observed(Observed::Lost(run)));
            let end = self.past.get(&run.job).map(|(state, _)| *state);
            if live.stopping.is_none() {
                assert!(end.is_none_or(|state| state == JobState::Failed), "{run:?} was lost with its boot: {end:?}");
            }
        }
    }

    /// Lets everything end, and expects one end for each job.
    pub fn drain(mut self) {
        for _ in 0..10_000 {
            self.act();
            if let Some(run) = self.pick(0) {
                self.end(run, RunOutcome { exit_code: Some(0), ..RunOutcome::default() });
                continue;
            }
            let (wall, boot) = self.core.next_wake();
            if wall.is_some() || boot.is_some() {
                self.now.wall = self.now.wall.max(wall.unwrap_or(self.now.wall));
                self.now.boot_ms = self.now.boot_ms.max(boot.unwrap_or(0));
                self.step(Input::Tick);
                continue;
            }
            // What is left waits on hold, for something that does, or for a larger machine.
            let Some(job) = self.core.line(1).pop() else { break };
            assert!(self.step(Input::Command(ME, Action::Cancel { targets: vec![job] })).is_some());
        }
        assert_eq!(self.core.next_wake(), (None, None), "something is still to come, of jobs that are over");
        let ended = self.past.keys().filter(|job| job.task.is_none()).count();
        assert_eq!(ended, self.jobs.len(), "not every job has exactly one end");
        let counted: u64 = self.core.counts().values().sum();
        assert_eq!(ended as u64, counted, "the counts are not those of the jobs");
        let (cpus, mem) = self.machine;
        assert_eq!(self.core.machine(), (cpus, 0, mem, 0), "something is still granted");
    }
}
