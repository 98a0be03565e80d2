//! The core under random commands, observations and clocks: what must hold after every step, and that replaying the
//! events gives the same state. The world here is a set of runs; it refuses to know processes.
#![allow(clippy::unwrap_used, clippy::large_enum_variant)]
use proptest::prelude::*;
use qrm_core::{
    Action, Answer, Caller, Control, Core, Demand, Effect, Event, Input, Now, Observed, Run, RunOutcome, RunSignal,
};
use qrm_protocol::amount::Priority;
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::{JobChange, JobSpec, JobState};
use qrm_protocol::progress::Fraction;
use qrm_protocol::time::{Millis, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

const ME: Caller = Caller { uid: 1000, admin: false };

#[derive(Clone, Debug)]
enum Op {
    Submit(JobSpec),
    Bulk(Vec<JobSpec>, bool),
    Cancel(u8, Option<u8>),
    Control(Control, u8, Option<u8>),
    Update(JobChange, u8),
    Progress(u8),
    Execute(u8),
    End(u8, u8),
    Lose(u8),
    Pass(u32),
    JumpWall(i32),
    Restart(bool),
}

fn spec() -> impl Strategy<Value = JobSpec> {
    let refs = || prop::collection::vec((1u64..12, prop::option::of(0u32..4)), 0..3);
    let part =
        (0u64..3, 0u32..4, 0u64..3, any::<bool>(), prop::option::weighted(0.2, (0u32..5, prop::option::of(1u32..3))));
    let more =
        (refs(), refs(), refs(), any::<bool>(), 0u32..3, (0u64..3, 0i64..6, 0u64..6), any::<(bool, bool, bool)>());
    (part, more).prop_map(
        |((prio, cpus, mem, timed, array), (after, ok, start, any, retries, (begin, deadline, queue), stages))| {
            let refs = |list: Vec<(u64, Option<u32>)>| -> Vec<String> {
                list.into_iter().map(|(job, task)| JobRef { job: JobId(job), task }.to_string()).collect()
            };
            let needs = !(after.is_empty() && ok.is_empty() && start.is_empty());
            let mut json = serde_json::json!({
                "command": ["true"], "priority": prio * 50, "cpus": cpus, "mem_bytes": mem,
                "after": refs(after), "after_ok": refs(ok), "after_start": refs(start), "any": any && needs,
                "retries": retries, "backoff": "50ms..100ms", "hold": stages.2 && stages.0,
            });
            if timed {
                json["time_limit_ms"] = 40.into();
            }
            if deadline > 3 {
                json["deadline"] = Timestamp(deadline * 100).to_string().into();
            }
            if queue > 3 {
                json["queue_timeout_ms"] = (queue * 30).into();
            }
            if let Some((last, width)) = array {
                json["array"] = format!("0-{last}{}", width.map_or(String::new(), |w| format!("%{w}"))).into();
            }
            if begin > 0 {
                json["begin"] = Timestamp(begin as i64 * 100).to_string().into();
            }
            if stages.0 {
                json["validate"] = "true".into();
            }
            if stages.1 {
                json["compile"] = "true".into();
            }
            serde_json::from_value(json).unwrap()
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
    prop_oneof![
        2 => (change(), 1u8..12).prop_map(|(change, job)| Op::Update(change, job)),
        1 => any::<u8>().prop_map(Op::Progress),
        6 => spec().prop_map(Op::Submit),
        1 => (prop::collection::vec(spec(), 0..4), any::<bool>()).prop_map(|(jobs, commit)| Op::Bulk(jobs, commit)),
        2 => (1u8..12, prop::option::of(0u8..4)).prop_map(|(job, task)| Op::Cancel(job, task)),
        3 => (0usize..5, 1u8..12, prop::option::of(0u8..4)).prop_map(|(what, job, task)| {
            let all = [Control::Hold, Control::Release, Control::Suspend, Control::Resume, Control::Signal(10)];
            Op::Control(all[what], job, task)
        }),
        3 => any::<u8>().prop_map(Op::Execute),
        6 => (any::<u8>(), 0u8..3).prop_map(|(run, code)| Op::End(run, code)),
        1 => any::<u8>().prop_map(Op::Lose),
        3 => (1u32..200).prop_map(Op::Pass),
        1 => (-86_400_000i32..86_400_000).prop_map(Op::JumpWall),
        1 => any::<bool>().prop_map(Op::Restart),
    ]
}

/// The core, a mirror that is only ever fed with events, and the processes that exist.
struct World {
    core: Core,
    mirror: Core,
    now: Now,
    runs: BTreeMap<Run, bool>,
    past: BTreeMap<JobRef, (JobState, bool)>,
    started: BTreeSet<JobRef>,
    known: BTreeSet<JobId>,
    dates: BTreeMap<JobId, Dates>,
    boot: u32,
}

/// What was last asked for of a job's time.
#[derive(Default)]
struct Dates {
    submitted: i64,
    deadline: Option<Timestamp>,
    queue_ms: u64,
}

impl World {
    fn new() -> Self {
        let now = Now { wall: Timestamp(0), boot_ms: 0 };
        let mut world = Self {
            core: Core::default(),
            mirror: Core::default(),
            now,
            runs: BTreeMap::new(),
            past: BTreeMap::new(),
            started: BTreeSet::new(),
            known: BTreeSet::new(),
            dates: BTreeMap::new(),
            boot: 0,
        };
        world.find_machine();
        world
    }

    fn find_machine(&mut self) {
        let boot_id = self.boot.to_string();
        self.step(Input::Observed(Observed::Machine { boot_id, cpus: 3, mem_bytes: 3 }));
    }

    fn step(&mut self, input: Input) -> Option<Answer> {
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
        for effect in step.effects {
            match effect {
                Effect::Launch(run) => assert!(self.runs.insert(run, false).is_none(), "{run:?} was launched twice"),
                // The end comes as an observation of its own, at once or later.
                Effect::Signal(run, RunSignal::Kill) => drop(self.runs.insert(run, true)),
                Effect::Signal(run, _) => {
                    assert!(self.runs.contains_key(&run), "{run:?} was signalled and is not there")
                }
            }
        }
        Some(step.answer)
    }

    /// What has not started within its queue timeout is not alive, and what runs past its deadline is being ended.
    fn nobody_is_late(&self) {
        for (id, dates) in &self.dates {
            let (whole, now) = (JobRef::whole(*id), self.now.wall);
            let tasks =
                (0..5).map(|task| JobRef::task(*id, task)).filter(|task| self.core.look(self.now, *task).is_some());
            let alive: Vec<JobRef> = match self.core.look(self.now, whole) {
                None => continue,
                Some(job) if job.tasks.is_some() => tasks.collect(),
                Some(_) => vec![whole],
            };
            for job in alive {
                let live = self.core.look(self.now, job).unwrap();
                if dates.deadline.is_some_and(|at| at <= now) {
                    assert!(live.stopping.is_some(), "{job} goes on past its deadline: {live:?}");
                }
                if dates.queue_ms > 0 && dates.submitted + dates.queue_ms as i64 <= now.0 {
                    assert!(self.started.contains(&job), "{job} waits past its queue timeout: {live:?}");
                }
            }
        }
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::Submitted { job, demand, .. } => {
                assert!(self.known.insert(job.job), "an id was used twice");
                let spec = serde_json::to_value(demand).unwrap();
                let deadline = serde_json::from_value(spec["deadline"].clone()).unwrap();
                let queue_ms = spec["queue_timeout_ms"].as_u64().unwrap_or(0);
                self.dates.insert(job.job, Dates { submitted: self.now.wall.0, deadline, queue_ms });
            }
            Event::Started { job, .. } => {
                self.started.insert(*job);
                self.started.insert(job.job.into());
            }
            Event::Ended { job, state, .. } => {
                assert!(state.is_terminal());
                let started = self.started.contains(job);
                assert!(self.past.insert(*job, (*state, started)).is_none(), "{job} ended twice");
            }
            _ => {}
        }
    }

    fn pick(&self, n: u8) -> Option<Run> {
        let runs: Vec<_> = self.runs.keys().collect();
        runs.get(usize::from(n) % runs.len().max(1)).map(|run| **run)
    }

    fn end(&mut self, run: Run, code: i32) {
        self.runs.remove(&run);
        let outcome = RunOutcome { exit_code: Some(code), ended_at: self.now.wall, ..RunOutcome::default() };
        self.step(Input::Observed(Observed::Ended(run, outcome.clone())));
        let quiet = self.core.clone();
        self.step(Input::Observed(Observed::Ended(run, outcome)));
        assert_eq!(quiet, self.core, "the same end told twice changed something");
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Submit(spec) => {
                let demand = Demand::from(&spec);
                let action = Action::Submit { name: "x".into(), demand, ended: self.past.clone() };
                self.step(Input::Command(ME, action));
            }
            Op::Bulk(specs, commit) => {
                let count = specs.len() as u64;
                let Some(Answer::BulkBegun(bulk)) = self.step(Input::Command(ME, Action::BulkBegin { count })) else {
                    return;
                };
                let jobs = specs.iter().map(|spec| Some(Demand::from(spec))).collect();
                let added = self.step(Input::Command(ME, Action::BulkAdd { bulk, jobs, ended: self.past.clone() }));
                let end =
                    if commit && added.is_some() { Action::BulkCommit { bulk } } else { Action::BulkDiscard { bulk } };
                assert!(self.step(Input::Command(ME, end)).is_some());
            }
            Op::Cancel(job, task) => {
                let target = JobRef { job: JobId(job.into()), task: task.map(Into::into) };
                let other = Caller { uid: 1, admin: false };
                assert!(self.step(Input::Command(other, Action::Cancel { targets: vec![target] })).is_none());
                self.step(Input::Command(ME, Action::Cancel { targets: vec![target] }));
            }
            Op::Control(what, job, task) => {
                let target = JobRef { job: JobId(job.into()), task: task.map(Into::into) };
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
            Op::Update(change, job) => {
                let target = JobRef::whole(JobId(job.into()));
                let may = self.core.may_update(self.now.wall, ME, &change, target).is_ok();
                let action = Action::Update { targets: vec![target], change: change.clone() };
                assert_eq!(
                    self.step(Input::Command(ME, action)).is_some(),
                    may,
                    "what was said before is what is done"
                );
                if may {
                    let dates = self.dates.entry(target.job).or_default();
                    dates.deadline = change.deadline.or(dates.deadline);
                    dates.queue_ms = change.queue_timeout_ms.map_or(dates.queue_ms, |t| t.0);
                }
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
                self.end(run, code.into());
            }
            Op::Lose(n) => {
                let Some(run) = self.pick(n) else { return };
                self.runs.remove(&run);
                self.step(Input::Observed(Observed::Lost(run)));
            }
            Op::Pass(ms) => {
                self.now.boot_ms += u64::from(ms);
                self.now.wall.0 += i64::from(ms);
                self.step(Input::Tick);
            }
            Op::JumpWall(ms) => {
                self.now.wall.0 += i64::from(ms);
                self.step(Input::Tick);
            }
            Op::Restart(rebooted) => self.restart(rebooted),
        }
    }

    /// A crash between a commit and its effects: all that is left are the events, and what is owed covers every run.
    fn restart(&mut self, rebooted: bool) {
        let mut saved = Vec::new();
        self.core.save(&mut saved).unwrap();
        let loaded = Core::load(saved.as_slice()).unwrap();
        assert_eq!(loaded, self.core, "a snapshot is not the state");
        self.core = loaded;
        let owed: BTreeSet<Run> = self
            .core
            .owed()
            .into_iter()
            .filter_map(|e| if let Effect::Launch(run) = e { Some(run) } else { None })
            .collect();
        self.runs.retain(|run, doomed| owed.contains(run) || *doomed);
        assert!(owed.iter().all(|run| self.runs.contains_key(run)), "something is owed that was never decided");
        if rebooted {
            self.boot += 1;
            self.now.boot_ms = 0;
            self.find_machine();
            for run in owed {
                self.runs.remove(&run);
                self.step(Input::Observed(Observed::Lost(run)));
            }
        }
    }

    /// Lets everything end, and expects one end for each job.
    fn drain(mut self) {
        for _ in 0..10_000 {
            if let Some(run) = self.pick(0) {
                self.end(run, 0);
                continue;
            }
            let (wall, boot) = self.core.next_wake();
            if wall.is_none() && boot.is_none() {
                break;
            }
            self.now.wall = self.now.wall.max(wall.unwrap_or(self.now.wall));
            self.now.boot_ms = self.now.boot_ms.max(boot.unwrap_or(0));
            self.step(Input::Tick);
        }
        let counts = self.core.counts();
        let live: u64 = counts.iter().filter(|(state, _)| !state.is_terminal()).map(|(_, n)| n).sum();
        // What is left waits on hold, or for something that does.
        for job in self.core.line(1_000) {
            self.step(Input::Command(ME, Action::Cancel { targets: vec![job] }));
        }
        let ended = self.past.keys().filter(|job| job.task.is_none()).count() as u64;
        let counted: u64 = self.core.counts().values().sum();
        assert!(live <= counted);
        assert_eq!(ended, counted, "not every job has exactly one end");
        assert_eq!(self.core.machine(), (3, 0, 3, 0), "something is still granted");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_invariants_hold_and_replay_equals_live(ops in prop::collection::vec(op(), 1..60)) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
        }
        world.drain();
    }

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
