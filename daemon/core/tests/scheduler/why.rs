//! What `explain` names is why a job does not run: each cause is one, and there is no other.
//! It refuses to read the words; causes are taken away in copies of the world, and what becomes of the job is seen.

use crate::lab::{Habit, Lab};
use crate::naive::Task;
use crate::wishes::{MACHINE, Op, Wild, op, policy, queues, wish};
use proptest::prelude::*;
use qrm_core::{
    Action, Caller, Cause, Control, Core, Demand, Host, Input, Machine, Now, Observed, Policy, Role, RunOutcome,
};
use qrm_protocol::explain::ReasonCode;
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::JobChange;
use qrm_protocol::queue::{OnPreempt, QueueChange};
use qrm_protocol::time::Timestamp;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const ADMIN: Caller = Caller { uid: 1_000, role: Role::Admin, most_jobs: u64::MAX };

/// A copy of the world in which causes are taken away.
struct Copy<'a> {
    lab: &'a Lab,
    core: Core,
    now: Now,
    job: JobRef,
}

impl<'a> Copy<'a> {
    fn new(lab: &'a Lab, job: JobRef) -> Self {
        Self { lab, core: lab.core.clone(), now: lab.at(), job }
    }

    fn does(&mut self, action: Action) {
        drop(self.core.step(self.now, Input::Command(ADMIN, action)));
    }

    fn sees(&mut self, observed: Observed) {
        self.core.step(self.now, Input::Observed(observed)).unwrap();
    }

    fn runs(&self) -> bool {
        let running = self.core.running(usize::MAX).contains(&self.job);
        running || self.core.look(self.now, self.job).is_none()
    }

    /// Room was made at once.
    fn somebody_yields(&self) -> bool {
        let mut running = self.core.running(usize::MAX).into_iter();
        running.any(|run| self.core.look(self.now, run).is_some_and(|live| live.yields))
    }

    /// Another task of its array took the place of those that are held.
    fn somebody_starts(&self) -> bool {
        let others = |core: &Core| core.running(usize::MAX).into_iter().filter(|run| *run != self.job).count();
        others(&self.core) > others(&self.lab.core)
    }

    /// The other jobs do not start meanwhile.
    fn hold_others(&mut self) {
        let others = self.lab.naive.jobs.keys().filter(|id| **id != self.job.job).map(|id| JobRef::whole(*id));
        let can_be = |job: &JobRef| self.core.would(ADMIN, Control::Hold, *job).is_ok();
        // All at once, so that none of them starts in place of another.
        let targets: Vec<JobRef> = others.filter(can_be).collect();
        self.does(Action::Control { targets, what: Control::Hold });
        // Tasks of its own array can not be held, and are not missed here.
        let waits = |task: &Task| matches!(task, Task::Waits | Task::Pauses);
        let tasks = self.lab.naive.jobs[&self.job.job].tasks.iter().filter(|(_, task)| waits(task));
        let tasks = tasks.map(|(task, _)| JobRef { job: self.job.job, task: *task });
        let targets: Vec<JobRef> = tasks.filter(|task| *task != self.job).collect();
        self.does(Action::Cancel { targets });
    }

    /// There is as much of one part of the machine as it needs beside all that is held. Nothing starts meanwhile but it.
    fn offers(&mut self, part: usize, asked: u64) {
        let held: u64 = self.lab.naive.runs.keys().map(|run| self.lab.naive.held(*run)[part]).sum();
        let Machine { boot_id, cpus, mem_bytes, disk_bytes } = self.core.offered().clone();
        let mut has = [u64::from(cpus), mem_bytes, disk_bytes];
        has[part - 1] = has[part - 1].max(held + asked);
        if let (2, Some(really)) = (part, self.core.host().mem_bytes) {
            let host = Host { mem_bytes: Some(really.max(held + asked)), ..self.core.host() };
            self.sees(Observed::Host(host));
        }
        let cpus = u32::try_from(has[0]).unwrap();
        self.sees(Observed::Machine(Machine { boot_id, cpus, mem_bytes: has[1], disk_bytes: has[2] }));
    }

    fn end(&mut self, jobs: impl Iterator<Item = JobRef>) {
        let jobs: BTreeSet<JobRef> = jobs.collect();
        // What made room does not wait again.
        for name in self.lab.naive.queues.keys().cloned() {
            let change = QueueChange { on_preempt: Some(OnPreempt::Cancel), ..QueueChange::default() };
            self.does(Action::QueueSet { name, change });
        }
        for run in self.lab.runs().into_iter().filter(|run| jobs.contains(&run.job)) {
            let ended_at = self.now.wall;
            self.sees(Observed::Ended(run, RunOutcome { exit_code: Some(0), ended_at, ..RunOutcome::default() }));
        }
    }

    fn update(&mut self, change: JobChange) {
        let targets = vec![JobRef::whole(self.job.job)];
        self.does(Action::Update { targets, change: Box::new(change), ended: BTreeMap::new() });
    }

    fn set_queue(&mut self, change: QueueChange) {
        let name = self.lab.naive.jobs[&self.job.job].demand.queue();
        self.does(Action::QueueSet { name, change });
    }

    /// Takes a cause away. Others are held already.
    fn take_away(&mut self, cause: &Cause) {
        let asked = cause.asked.map_or(0, |(asked, _)| asked);
        match cause.code {
            ReasonCode::Held => {
                self.does(Action::Control { targets: vec![JobRef::whole(self.job.job)], what: Control::Release });
            }
            ReasonCode::Begin => self.update(JobChange { begin: Some(self.now.wall), ..JobChange::default() }),
            ReasonCode::Dependency => {
                let none = || Some(Vec::new());
                let after = JobChange { after: none(), after_ok: none(), ..JobChange::default() };
                self.update(JobChange { after_fail: none(), after_start: none(), ..after });
            }
            ReasonCode::ArrayWidth => self.update(JobChange { width: Some(0), ..JobChange::default() }),
            ReasonCode::QueuePaused => {
                let name = self.lab.naive.jobs[&self.job.job].demand.queue();
                self.does(Action::QueuePause { name, pause: false });
            }
            ReasonCode::QueueFull => self.set_queue(QueueChange { max_running: Some(0), ..QueueChange::default() }),
            ReasonCode::Cpus => self.offers(1, asked),
            ReasonCode::Memory => self.offers(2, asked),
            ReasonCode::Disk => self.offers(3, asked),
            ReasonCode::MemoryInUse => {
                let host = Host { mem_bytes: None, ..self.core.host() };
                self.sees(Observed::Host(host));
            }
            ReasonCode::Pressure => {
                let host = Host { short: None, ..self.core.host() };
                self.sees(Observed::Host(host));
            }
            ReasonCode::Machine => {
                let [_, asked @ ..] = self.lab.naive.jobs[&self.job.job].ways()[0].takes;
                (1..4).for_each(|part| self.offers(part, asked[part - 1]));
            }
            // They hold what it wants, or make room for it.
            ReasonCode::Exclusive | ReasonCode::Preempting => {
                let holders: Vec<JobRef> = cause.holders.iter().map(|held| held.job).collect();
                self.end(holders.into_iter());
            }
            ReasonCode::Backoff => {
                let wait = cause.until.unwrap().0 - self.now.wall.0;
                self.now.wall.0 += wait;
                self.now.boot_ms += u64::try_from(wait).unwrap();
                self.core.step(self.now, Input::Tick).unwrap();
            }
            // Others are held.
            ReasonCode::Rank | ReasonCode::WouldDelay => {}
            other => panic!("{other:?}"),
        }
    }

    fn causes(&self) -> Vec<Cause> {
        self.core.explain(self.now, self.job).map_or_else(Vec::new, |explained| explained.causes)
    }
}

/// Time passes last: until then it is as it was for the others.
fn in_order(causes: &[Cause]) -> Vec<&Cause> {
    let mut causes: Vec<&Cause> = causes.iter().collect();
    causes.sort_by_key(|cause| (cause.code == ReasonCode::Backoff, cause.code == ReasonCode::Begin));
    causes
}

/// Causes that are in the job itself, and named all at once.
const IN_ITSELF: [ReasonCode; 5] =
    [ReasonCode::Held, ReasonCode::Begin, ReasonCode::Dependency, ReasonCode::Backoff, ReasonCode::Machine];
/// Where one of these is named, what it wants of the machine is not yet.
const KEEPS_OUT: [ReasonCode; 6] = [
    ReasonCode::Held,
    ReasonCode::Begin,
    ReasonCode::Dependency,
    ReasonCode::Backoff,
    ReasonCode::Machine,
    ReasonCode::ArrayWidth,
];

fn is_explained(lab: &Lab, job: JobRef, seen: &mut BTreeSet<ReasonCode>) {
    let causes = Copy::new(lab, job).causes();
    let fails = |why: String| -> ! { lab.fails(&format!("{why}; {job} waits by {causes:#?}")) };
    if causes.is_empty() {
        fails("it waits, and nothing is named".to_owned());
    }
    seen.extend(causes.iter().map(|cause| cause.code));
    let mut copy = Copy::new(lab, job);
    copy.hold_others();
    if copy.somebody_starts() {
        return;
    }
    let (mut left, mut named) = (causes.clone(), BTreeSet::new());
    // What keeps a job from its line is named first; once it is in line, it may be the room that is wanting.
    while !copy.runs() && !left.is_empty() {
        let again = left.iter().find(|cause| !named.insert(cause.code));
        if let Some(cause) = again.filter(|_| left.iter().all(|cause| !KEEPS_OUT.contains(&cause.code))) {
            fails(format!("{:?} was taken away, and is named again: {left:?}", cause.code));
        }
        in_order(&left).into_iter().for_each(|cause| copy.take_away(cause));
        if left.iter().all(|cause| !KEEPS_OUT.contains(&cause.code)) {
            break;
        }
        left = copy.causes();
        if let Some(cause) = left.iter().find(|cause| IN_ITSELF.contains(&cause.code)) {
            fails(format!("{:?} is named only when all else is taken away", cause.code));
        }
    }
    if !copy.runs() {
        fails(format!("all that is named was taken away, and it waits by {:?}", copy.causes()));
    }
    // Of several alternatives the causes of one are named, and another may have fewer.
    if lab.naive.jobs[&job.job].ways().len() > 1 {
        return;
    }
    for (at, cause) in causes.iter().enumerate() {
        let mut alone = Copy::new(lab, job);
        alone.hold_others();
        alone.take_away(cause);
        // In place of those that made room others may be asked to.
        let is_it = |left: &Cause| {
            left.code == cause.code && (cause.code != ReasonCode::Preempting || left.holders == cause.holders)
        };
        if !alone.runs() && alone.causes().iter().any(is_it) {
            fails(format!("{:?} was taken away, and is still named", cause.code));
        }
        // What ends runs gives back all that they hold, and what makes room is on its way whether or not that is needed. Where
        // nothing else is named, it is clear that it waits for this one.
        let ends_runs = |cause: &Cause| matches!(cause.code, ReasonCode::Exclusive | ReasonCode::Preempting);
        let others = [&causes[..at], &causes[at + 1..]].concat();
        if others.is_empty() || causes.iter().any(ends_runs) {
            continue;
        }
        let mut rest = Copy::new(lab, job);
        rest.hold_others();
        for other in in_order(&others) {
            rest.take_away(other);
        }
        if rest.runs() && !rest.somebody_yields() {
            fails(format!("{:?} is named, and it starts without all else", cause.code));
        }
    }
}

/// What waits: jobs, and of arrays the first task that does.
fn waiting(lab: &Lab) -> Vec<JobRef> {
    let first = |(id, job): (&qrm_protocol::ids::JobId, &crate::naive::Job)| {
        let waits = |task: &&Task| matches!(task, Task::Waits | Task::Pauses);
        let (task, _) = job.tasks.iter().find(|(_, task)| waits(task))?;
        Some(JobRef { job: *id, task: *task })
    };
    lab.naive.jobs.iter().filter_map(first).collect()
}

#[test]
fn every_cause_is_one_and_there_is_no_other() {
    let mut seen = BTreeSet::new();
    let mut runner = proptest::test_runner::TestRunner::new(crate::cases(200));
    let worlds = (policy(), queues(Wild::ALL), prop::collection::vec(op(Wild::ALL), 1..40));
    let seen_in = std::cell::RefCell::new(&mut seen);
    let done = runner.run(&worlds, |(policy, queues, ops)| {
        let mut lab = Lab::new(MACHINE, policy, &queues);
        lab.compares = false;
        for (at, op) in (1..).zip(&ops) {
            lab.apply(op);
            // What stands still takes what is given to others; it is left out.
            let somebody_yields = lab.naive.runs.values().any(|run| run.yields);
            if at % 8 != 0 && at != ops.len() || somebody_yields {
                continue;
            }
            for job in waiting(&lab) {
                is_explained(&lab, job, &mut seen_in.borrow_mut());
            }
            for run in lab.core.running(usize::MAX) {
                assert_eq!(lab.core.explain(lab.at(), run).unwrap().causes, [], "{run} runs");
            }
        }
        Ok(())
    });
    done.unwrap_or_else(|error| panic!("{error}"));
    let common = [
        ReasonCode::Held,
        ReasonCode::Begin,
        ReasonCode::Backoff,
        ReasonCode::Dependency,
        ReasonCode::ArrayWidth,
        ReasonCode::QueuePaused,
        ReasonCode::QueueFull,
        ReasonCode::Cpus,
        ReasonCode::Memory,
        ReasonCode::Disk,
        ReasonCode::MemoryInUse,
        ReasonCode::Exclusive,
        ReasonCode::Pressure,
        ReasonCode::Machine,
    ];
    let missed: Vec<&ReasonCode> = common.iter().filter(|code| !seen.contains(code)).collect();
    assert!(missed.is_empty(), "these causes came up in no world: {missed:?}");
}

proptest! {
    #![proptest_config(crate::cases(200))]

    #[test]
    fn what_is_said_before_a_job_is_submitted_is_what_happens(
        policy in policy(), queues in queues(CALM), ops in prop::collection::vec(op(CALM), 1..30), wish in wish(CALM)
    ) {
        let mut lab = Lab::new(MACHINE, policy, &queues);
        lab.compares = false;
        ops.iter().for_each(|op: &Op| lab.apply(op));
        let mut spec = wish.spec.clone();
        spec["command"] = serde_json::json!(["true"]);
        let demand = Demand::from(&serde_json::from_value::<qrm_protocol::job::JobSpec>(spec).unwrap());
        let is_array = demand.array().is_some();
        let said = lab.core.when(lab.at(), Caller::user(wish.user), demand, &BTreeMap::new());
        let job = lab.submits(wish.user, wish.spec.clone(), wish.habit);
        let (Ok(said), Some(job)) = (&said, job) else {
            assert!(said.is_err() && job.is_none(), "{said:?} was said, and {job:?} is");
            return Ok(());
        };
        let runs = lab.naive.started.contains(&job);
        let at_once = said.causes.is_empty() && said.estimated == Some(Timestamp(lab.now.wall));
        if runs != at_once {
            lab.fails(&format!("{said:?} was said, and it runs: {runs}"));
        }
        let planned = lab.core.explain(lab.at(), job).and_then(|explained| explained.planned);
        if !runs && !is_array && planned != said.planned {
            lab.fails(&format!("{said:?} was said, and it is planned for {planned:?}"));
        }
    }
}

/// Nobody makes room.
const CALM: Wild = Wild { room: false, ..Wild::ALL };

#[test]
fn who_comes_first_and_who_makes_room_is_named() {
    let mut lab = Lab::new([2, 0, 0], Policy::default(), &BTreeMap::new());
    let submits = |lab: &mut Lab, spec| lab.submits(1, spec, Habit::default()).unwrap();
    let low = submits(&mut lab, json!({"priority": 25, "preemptible": true, "time_limit_ms": 60_000}));
    let wide = submits(&mut lab, json!({"cpus": 2}));
    let narrow = submits(&mut lab, json!({"priority": 40}));
    let cause = |lab: &Lab, job| {
        let causes = lab.core.explain(lab.at(), job).unwrap().causes;
        let whom = |cause: &Cause| cause.holders.iter().map(|held| held.job).collect::<Vec<_>>();
        causes.iter().map(|cause| (cause.code, whom(cause))).next_back()
    };
    assert_eq!(cause(&lab, wide), Some((ReasonCode::Cpus, vec![low])));
    assert_eq!(cause(&lab, narrow), Some((ReasonCode::WouldDelay, vec![wide])));
    let urgent = submits(&mut lab, json!({"priority": 100, "cpus": 2, "on_conflict": "preemption"}));
    assert_eq!(cause(&lab, urgent), Some((ReasonCode::Preempting, vec![low])));
}
