//! The core under random commands, observations and clocks: what must hold after every step, and that replaying the
//! events gives the same state. The world here is a set of runs; it refuses to know processes.
#![allow(clippy::unwrap_used, clippy::large_enum_variant)]
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use qrm_core::{
    Action, Answer, Caller, Control, Core, Demand, Effect, Event, Input, Now, Observed, Run, RunOutcome, RunSignal,
};
use qrm_protocol::amount::Priority;
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::{JobChange, JobSpec, JobState};
use qrm_protocol::progress::Fraction;
use qrm_protocol::time::{Millis, Timestamp};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

const ME: Caller = Caller { uid: 1000, admin: false };

#[derive(Clone, Debug)]
enum Op {
    Submit(Wish),
    /// Its jobs in two slices, with another operation between them, and whether it is committed.
    Bulk(Vec<Wish>, Option<Box<Op>>, bool),
    Cancel(u8, Option<u8>),
    Control(Control, u8, Option<u8>),
    Update(JobChange, u8),
    Progress(u8),
    Execute(u8),
    End(u8, u8),
    /// By the kernel, for want of memory.
    Oom(u8),
    Lose(u8),
    FailToLaunch(u8),
    Pass(u32),
    JumpWall(i32),
    /// As many cpus and as much memory as this from now on.
    Resize(u32, u64),
    Restart {
        /// What the last step wanted of the world was not done any more.
        crashed: bool,
        /// The machine began anew, so long ago.
        boot_ms: Option<u16>,
    },
}

/// What a job asks for, and for which of the jobs that are there by then it waits: how, which, and for which task.
#[derive(Clone, Debug)]
struct Wish {
    spec: serde_json::Value,
    needs: Vec<(usize, u8, Option<u8>)>,
}

const NEEDS: [&str; 4] = ["after", "after_ok", "after_fail", "after_start"];

fn wish() -> impl Strategy<Value = Wish> {
    let needs = prop_oneof![
        3 => Just(Vec::new()),
        2 => prop::collection::vec((0usize..4, any::<u8>(), prop::option::weighted(0.3, 0u8..5)), 1..4),
    ];
    let part =
        (0u64..3, 0u32..4, 0u64..3, any::<bool>(), prop::option::weighted(0.3, (0u32..5, prop::option::of(1u32..3))));
    let times = (0u64..4, 0i64..8, 0u64..8);
    let stages = (prop::bool::weighted(0.2), prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    (part, needs, any::<bool>(), (0u32..3, 0usize..4), times, stages).prop_map(
        |((prio, cpus, mem, timed, array), needs, any, (retries, retry_on), (begin, deadline, queue), stages)| {
            let retry_on: &[&str] = [&[][..], &["oom"], &["lost"], &["1", "lost"]][retry_on.min(retries as usize * 3)];
            let mut json = serde_json::json!({
                "command": ["true"], "priority": prio * 50, "cpus": cpus, "mem_bytes": mem,
                "any": any && !needs.is_empty(), "hold": stages.2,
                "retries": retries,
                "retry_on": retry_on,
            });
            if retries > 0 {
                json["backoff"] = "50ms..100ms".into();
            }
            if timed {
                json["time_limit_ms"] = 40.into();
            }
            if deadline > 5 {
                json["deadline"] = Timestamp(deadline * 100).to_string().into();
            }
            if queue > 5 {
                json["queue_timeout_ms"] = (queue * 30).into();
            }
            if let Some((last, width)) = array {
                json["array"] = format!("0-{last}{}", width.map_or(String::new(), |w| format!("%{w}"))).into();
            }
            if begin > 2 {
                json["begin"] = Timestamp(begin as i64 * 50).to_string().into();
            }
            if stages.0 {
                json["validate"] = "true".into();
            }
            if stages.1 {
                json["compile"] = "true".into();
            }
            Wish { spec: json, needs }
        },
    )
}

fn change() -> impl Strategy<Value = JobChange> {
    let some = prop::option::of::<std::ops::Range<u64>>;
    (some(0..3), some(0..4), some(0..4), some(0..9), some(0..3)).prop_map(|(prio, cpus, width, date, time)| JobChange {
        name: date.filter(|n| n % 2 == 0).map(|n| n.to_string()),
        priority: prio.map(|p| Priority::try_from(p * 50).unwrap()),
        cpus: cpus.and_then(|n| u32::try_from(n).ok()),
        width: width.and_then(|n| u32::try_from(n).ok()),
        time_limit_ms: time.map(|t| Millis(t * 20)),
        begin: date.filter(|n| *n == 3).map(|_| Timestamp(250)),
        deadline: date.filter(|n| *n > 4).map(|n| Timestamp(n as i64 * 80)),
        queue_timeout_ms: date.filter(|n| *n < 3).map(|n| Millis(n * 50)),
        ..JobChange::default()
    })
}

fn op() -> impl Strategy<Value = Op> {
    let simple = simple_op().boxed();
    let bulk = (prop::collection::vec(wish(), 1..5), prop::option::of(simple.clone()), prop::bool::weighted(0.8));
    prop_oneof![
        20 => simple,
        1 => bulk.prop_map(|(jobs, between, commit)| Op::Bulk(jobs, between.map(Box::new), commit)),
    ]
}

fn simple_op() -> impl Strategy<Value = Op> {
    let task = || prop::option::of(0u8..5);
    prop_oneof![
        2 => (change(), any::<u8>()).prop_map(|(change, job)| Op::Update(change, job)),
        1 => any::<u8>().prop_map(Op::Progress),
        6 => wish().prop_map(Op::Submit),
        2 => (any::<u8>(), task()).prop_map(|(job, task)| Op::Cancel(job, task)),
        3 => (0usize..5, any::<u8>(), task()).prop_map(|(what, job, task)| {
            let all = [Control::Hold, Control::Release, Control::Suspend, Control::Resume, Control::Signal(10)];
            Op::Control(all[what], job, task)
        }),
        4 => any::<u8>().prop_map(Op::Execute),
        6 => (any::<u8>(), 0u8..3).prop_map(|(run, code)| Op::End(run, code)),
        1 => any::<u8>().prop_map(Op::Oom),
        1 => any::<u8>().prop_map(Op::Lose),
        1 => any::<u8>().prop_map(Op::FailToLaunch),
        4 => (1u32..200).prop_map(Op::Pass),
        1 => (-86_400_000i32..86_400_000).prop_map(Op::JumpWall),
        1 => (1u32..5, 1u64..5).prop_map(|(cpus, mem)| Op::Resize(cpus, mem)),
        2 => (any::<bool>(), prop::option::of(0u16..400))
            .prop_map(|(crashed, boot_ms)| Op::Restart { crashed, boot_ms }),
    ]
}

/// A process of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Process {
    killed: bool,
    frozen: bool,
}

/// What was last asked for of a job.
#[derive(Clone, Debug, Default)]
struct Job {
    submitted: i64,
    demand: Demand,
    deadline: Option<Timestamp>,
    queue_ms: u64,
}

/// The core, a mirror that is only ever fed with events, and the processes that exist.
struct World {
    core: Core,
    mirror: Core,
    now: Now,
    processes: BTreeMap<Run, Process>,
    /// What the last step wants of the world, which has not been done yet.
    wanted: Vec<Effect>,
    past: BTreeMap<JobRef, (JobState, bool)>,
    started: BTreeSet<JobRef>,
    jobs: BTreeMap<JobId, Job>,
    /// Of open bulks, until they are committed.
    staged: BTreeMap<JobId, Vec<Option<Demand>>>,
    machine: (u32, u64),
    boot: u32,
    asked: u32,
}

impl World {
    fn new() -> Self {
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
            staged: BTreeMap::new(),
            machine: (3, 3),
            boot: 0,
            asked: 0,
        };
        world.find_machine();
        world
    }

    fn find_machine(&mut self) {
        let (cpus, mem_bytes) = self.machine;
        self.step(Input::Observed(Observed::Machine { boot_id: self.boot.to_string(), cpus, mem_bytes }));
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
        self.core.check().unwrap();
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
                    assert!(live.stopping.is_some(), "{id} goes on past its deadline: {live:?}");
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
            }
            Event::BulkDiscarded { bulk } => drop(self.staged.remove(bulk)),
            Event::Started { job, .. } => {
                self.started.insert(*job);
                self.started.insert(job.job.into());
                // Of what it asks for; the machine may have become smaller than what others were granted before.
                let ((cpus, mem), demand) = (self.granted(), &self.jobs[&job.job].demand);
                assert!(demand.cpus() == 0 || cpus <= self.machine.0, "{job} was started without cpus for it");
                assert!(demand.mem_bytes == 0 || mem <= self.machine.1, "{job} was started without memory for it");
            }
            Event::Ended { job, state, .. } => {
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

    /// What the jobs that execute were granted, counted from what they asked for.
    fn granted(&self) -> (u32, u64) {
        let executing = self
            .core
            .running(usize::MAX)
            .into_iter()
            .filter(|job| matches!(self.core.state(*job), Some(JobState::Allocating | JobState::Executing)));
        let demands = executing.map(|job| &self.jobs[&job.job].demand);
        demands.fold((0, 0), |sum, demand| (sum.0 + demand.cpus(), sum.1 + demand.mem_bytes))
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
            let task = task.filter(|task| is_array || *task == 4).map(u32::from);
            let need = JobRef { job: *job, task }.to_string();
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

    fn apply(&mut self, op: Op) {
        match op {
            Op::Submit(wish) => self.submit(&wish),
            Op::Bulk(wishes, between, commit) => self.bulk(&wishes, between.map(|op| *op), commit),
            Op::Cancel(job, task) => {
                let target = JobRef { job: self.job(job), task: task.map(Into::into) };
                let other = Caller { uid: 1, admin: false };
                assert!(self.step(Input::Command(other, Action::Cancel { targets: vec![target] })).is_none());
                let lived = self.core.is_live(target);
                let done = self.step(Input::Command(ME, Action::Cancel { targets: vec![target] }));
                assert_eq!(done.is_some(), lived, "what lives can be cancelled, and nothing else");
                let goes_on = self
                    .core
                    .look(self.now, target)
                    .is_some_and(|live| live.stopping.is_none() && live.tasks.is_none_or(|tasks| tasks.waiting > 0));
                assert!(!goes_on, "{target} was cancelled, and goes on");
            }
            Op::Control(what, job, task) => {
                self.control(what, JobRef { job: self.job(job), task: task.map(Into::into) })
            }
            Op::Update(change, job) => {
                let target = JobRef::whole(self.job(job));
                let action = Action::Update { targets: vec![target], change };
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
    fn drain(mut self) {
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

#[test]
fn whatever_happens_the_invariants_hold_and_replay_equals_live() {
    let config = ProptestConfig { cases: 1_000, ..ProptestConfig::default() };
    let (asked, accepted) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(config);
    let done = runner.run(&prop::collection::vec(op(), 1..60), |ops| {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
        }
        asked.set(asked.get() + world.asked);
        accepted.set(accepted.get() + u32::try_from(world.jobs.len()).unwrap());
        world.drain();
        Ok(())
    });
    done.unwrap_or_else(|error| panic!("{error}"));
    let (asked, accepted) = (asked.get(), accepted.get());
    assert!(accepted * 2 > asked, "most of what is asked for is to be refused: {accepted} of {asked} jobs were made");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A naive oracle: sort all that wait by priority and age, start from the front while it fits.
    #[test]
    fn jobs_start_by_priority_then_age_and_nothing_overtakes_a_blocked_head(
        jobs in prop::collection::vec((0u64..3, 0u32..4, 0u64..4, 1u64..5), 1..20)
    ) {
        let mut core = Core::default();
        let mut now = Now { wall: Timestamp(0), boot_ms: 0 };
        core.step(now, Input::Observed(Observed::Machine { boot_id: "1".into(), cpus: 3, mem_bytes: 3 })).unwrap();
        let mut waiting: Vec<(u64, u64, u32, u64, u64)> = Vec::new();
        let mut running: BTreeMap<JobRef, (u32, u64, u64)> = BTreeMap::new();
        for (id, (prio, cpus, mem, length)) in (1u64..).zip(jobs.iter().copied()) {
            let spec: JobSpec = serde_json::from_value(serde_json::json!(
                {"command": ["x"], "priority": prio * 50, "cpus": cpus, "mem_bytes": mem.min(3)}
            )).unwrap();
            let action = Action::Submit { name: "x".into(), demand: Demand::from(&spec), ended: BTreeMap::new() };
            let step = core.step(now, Input::Command(ME, action)).unwrap();
            waiting.push((prio, id, cpus, mem.min(3), length));
            let began = naive(&mut waiting, &mut running, now.boot_ms);
            prop_assert_eq!(launched(&step.effects), began);
        }
        while !running.is_empty() {
            now.boot_ms += 1;
            let over: Vec<JobRef> = running.iter().filter(|(_, r)| r.2 <= now.boot_ms).map(|(job, _)| *job).collect();
            for job in over {
                let outcome = RunOutcome { exit_code: Some(0), ..RunOutcome::default() };
                let run = Run { job, stage: qrm_core::Stage::Execute, attempt: 1 };
                let step = core.step(now, Input::Observed(Observed::Ended(run, outcome))).unwrap();
                running.remove(&job);
                let began = naive(&mut waiting, &mut running, now.boot_ms);
                prop_assert_eq!(launched(&step.effects), began);
            }
        }
        prop_assert!(waiting.is_empty(), "something never ran: {:?}", waiting);
    }
}

fn launched(effects: &[Effect]) -> Vec<JobRef> {
    effects.iter().filter_map(|e| if let Effect::Launch(run) = e { Some(run.job) } else { None }).collect()
}

fn naive(
    waiting: &mut Vec<(u64, u64, u32, u64, u64)>,
    running: &mut BTreeMap<JobRef, (u32, u64, u64)>,
    now: u64,
) -> Vec<JobRef> {
    waiting.sort_by_key(|(prio, id, ..)| (u64::MAX - prio, *id));
    let mut began = Vec::new();
    while let Some((_, id, cpus, mem, length)) = waiting.first().copied() {
        let (used, held): (u32, u64) = running.values().fold((0, 0), |sum, r| (sum.0 + r.0, sum.1 + r.1));
        if used + cpus > 3 || held + mem > 3 {
            break;
        }
        waiting.remove(0);
        running.insert(JobId(id).into(), (cpus, mem, now + length));
        began.push(JobId(id).into());
    }
    began
}

#[test]
fn a_chain_of_a_hundred_thousand_dependencies_falls_without_recursion() {
    let mut core = Core::default();
    let now = Now { wall: Timestamp(0), boot_ms: 0 };
    core.step(now, Input::Observed(Observed::Machine { boot_id: "1".into(), cpus: 1, mem_bytes: 0 })).unwrap();
    for id in 1..=100_000u64 {
        let after: Vec<String> = if id == 1 { vec![] } else { vec![(id - 1).to_string()] };
        let spec: JobSpec =
            serde_json::from_value(serde_json::json!({"command": ["x"], "after_ok": after, "hold": id == 1})).unwrap();
        let action = Action::Submit { name: "x".into(), demand: Demand::from(&spec), ended: BTreeMap::new() };
        core.step(now, Input::Command(ME, action)).unwrap();
    }
    let step = core.step(now, Input::Command(ME, Action::Cancel { targets: vec![JobId(1).into()] })).unwrap();
    assert_eq!(step.events.len(), 100_000);
    assert_eq!(core.counts()[&JobState::Cancelled], 100_000);
}
