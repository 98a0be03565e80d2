//! A life in which everything happens once, as this version decides it.
//! It refuses to know the files that it is written to.

use crate::{AT, BOOT};
use qrm_core::{
    Action, Caller, Control, Core, Demand, Event, Input, Machine, Now, Observed, Policy, Role, Run, RunOutcome,
    RunUsage, Stage,
};
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::{JobSpec, JobState, Offer, OfferId};
use qrm_protocol::progress::Fraction;
use qrm_protocol::queue::{QueueName, QueueSpec};
use qrm_protocol::time::Timestamp;
use std::collections::BTreeMap;

const ME: Caller = Caller { uid: 1000, role: Role::User, most_jobs: u64::MAX };

/// Steps a core and keeps what it decided.
struct Teller {
    core: Core,
    boot_ms: u64,
    events: Vec<Event>,
    past: BTreeMap<JobRef, (JobState, bool)>,
}

impl Teller {
    fn step(&mut self, input: Input) {
        self.step_at(AT, input);
    }

    /// Looks at the calendar that much later, for once: replay takes all events to be of the same time.
    fn later(&mut self, ms: i64) {
        self.step_at(Timestamp(AT.0 + ms), Input::Tick);
    }

    fn step_at(&mut self, wall: Timestamp, input: Input) {
        let now = Now { wall, boot_ms: self.boot_ms };
        let step = self.core.step(now, input).unwrap();
        self.core.check(now).unwrap();
        for event in &step.events {
            if let Event::Ended { job, state, started_at, .. } = event {
                self.past.insert(*job, (*state, started_at.is_some()));
            }
        }
        self.events.extend(step.events);
    }

    fn pass(&mut self, ms: u64) {
        self.boot_ms += ms;
        self.step(Input::Tick);
    }

    fn command(&mut self, action: Action) {
        self.step(Input::Command(ME, action));
    }

    fn submit(&mut self, json: &str) -> JobRef {
        let id = self.next();
        let (spec, demand) = demand(json);
        self.command(Action::Submit { name: spec.display_name(), demand, ended: self.past.clone() });
        id.into()
    }

    fn update(&mut self, job: JobRef, change: &str) {
        let change = serde_json::from_str(change).unwrap();
        self.command(Action::Update { targets: vec![job], change, ended: self.past.clone() });
    }

    /// The id that comes next, as the events so far say.
    fn next(&self) -> JobId {
        let after = self.events.iter().map(|event| match event {
            Event::Submitted { job, .. } => job.job.0 + 1,
            Event::BulkBegun { bulk, count, .. } => bulk.0 + count,
            _ => 1,
        });
        JobId(after.max().unwrap_or(1))
    }

    fn bulk(&mut self, count: u64, jobs: &[Option<&str>]) -> JobId {
        let bulk = self.next();
        self.command(Action::BulkBegin { count });
        let jobs = jobs.iter().map(|json| json.map(|json| demand(json).1)).collect();
        self.command(Action::BulkAdd { bulk, jobs, ended: self.past.clone() });
        bulk
    }

    fn execute(&mut self, job: JobRef, attempt: u32, pid: u32) {
        let run = Run { job, stage: Stage::Execute, attempt };
        self.step(Input::Observed(Observed::Executing { run, pid, at: AT, boot_ms: self.boot_ms }));
    }

    fn end(&mut self, job: JobRef, stage: Stage, attempt: u32, exit_code: Option<i32>, signal: Option<i32>) {
        let usage = RunUsage { cpu_ms: 1_500, peak_memory_bytes: 3 << 20 };
        let outcome = RunOutcome { exit_code, signal, ended_at: AT, usage, ..RunOutcome::default() };
        self.step(Input::Observed(Observed::Ended(Run { job, stage, attempt }, outcome)));
    }
}

fn demand(json: &str) -> (JobSpec, Demand) {
    let spec: JobSpec = serde_json::from_str(json).unwrap();
    let demand = Demand::from(&spec);
    (spec, demand)
}

/// A life in which everything happens once, and which stops in the middle.
pub fn story() -> (Vec<Event>, Core) {
    let mut t = Teller { core: Core::default(), boot_ms: BOOT, events: Vec::new(), past: BTreeMap::new() };
    let boot_id = "5f3a1c9e-0000-4000-8000-000000000001".to_owned();
    t.step(Input::Observed(Observed::Machine(Machine { boot_id, cpus: 2, mem_bytes: 64 << 30, disk_bytes: 1 << 40 })));
    plain_lives(&mut t);
    updates_and_dates(&mut t);
    queues(&mut t);
    ways(&mut t);
    room(&mut t);
    plans(&mut t);
    arrays(&mut t);
    bulks(&mut t);
    what_is_left(&mut t);
    (t.events, t.core)
}

/// Jobs that run, are retried, time out, are cancelled, lost, refused by a stage, or can never run.
fn plain_lives(t: &mut Teller) {
    let plain = t.submit(r#"{"command":["true"],"name":"žluť \"quoted\""}"#);
    t.execute(plain, 1, 4_711);
    t.command(Action::Control { targets: vec![plain], what: Control::Signal(10) });
    for what in [Control::Suspend, Control::Resume] {
        t.command(Action::Control { targets: vec![plain], what });
        t.pass(1_500);
    }
    t.end(plain, Stage::Execute, 1, Some(0), None);
    let whole = t.submit(
        r#"{"command":["/usr/bin/train","--lr","0.1"],"priority":"high","cpus":2,"mem":"8G","time":"1h",
            "begin":"2025-12-31T23:59:59Z","validate":"test -r data","compile":"make","retries":2,
            "retry_on":["3","oom","lost","preempted"],"backoff":"2s..8s","after":["1"]}"#,
    );
    t.end(whole, Stage::Validate, 1, Some(0), None);
    t.end(whole, Stage::Compile, 1, Some(0), None);
    t.execute(whole, 1, 4_712);
    t.end(whole, Stage::Execute, 1, Some(3), None);
    t.pass(2_000);
    t.execute(whole, 2, 4_713);
    t.pass(3_600_000);
    t.pass(qrm_core::GRACE_MS);
    t.end(whole, Stage::Execute, 2, None, Some(9));
    let cancelled = t.submit(r#"{"command":["sleep","9"]}"#);
    t.command(Action::Cancel { targets: vec![cancelled] });
    t.end(cancelled, Stage::Execute, 1, None, Some(15));
    let held =
        t.submit(r#"{"command":["sleep"],"hold":true,"begin":"2099-01-01T00:00:00Z","signal":"INT","grace":"1m"}"#);
    for what in [Control::Release, Control::Hold] {
        t.command(Action::Control { targets: vec![held], what });
    }
    t.command(Action::Cancel { targets: vec![held] });
    let refused = t.submit(r#"{"command":["true"],"compile":"false"}"#);
    t.submit(&format!(r#"{{"command":["collect"],"after_ok":["{refused}"]}}"#));
    t.end(refused, Stage::Compile, 1, Some(1), None);
    let lost = t.submit(r#"{"command":["sleep","1"]}"#);
    t.step(Input::Observed(Observed::Lost(Run { job: lost, stage: Stage::Execute, attempt: 1 })));
    let unmade = t.submit(r#"{"command":["sleep","2"]}"#);
    let run = Run { job: unmade, stage: Stage::Execute, attempt: 1 };
    t.step(Input::Observed(Observed::LaunchFailed(run, "no space left on device".to_owned())));
}

/// Jobs that are changed, say how far they are, and run out of time.
fn updates_and_dates(t: &mut Teller) {
    let first = t.submit(r#"{"command":["sleep"],"cpus":2}"#);
    let message = Some("epoch 4".to_owned());
    let fraction = Fraction::from_millionths(400_000);
    t.command(Action::Progress { job: first, fraction, message });
    let waiting = t.submit(r#"{"command":["sleep"],"queue_timeout":"1m","labels":{"team":"a"}}"#);
    let change = r#"{"name":"new","comment":"","labels":{"team":"","by":"me"},"priority":60,"cpus":2,"mem_bytes":5,
        "time_limit_ms":7000,"begin":"2025-12-31T00:00:00Z","retries":1,"queue_timeout_ms":90000,
        "deadline":"2026-01-02T00:00:00Z","signal":"INT","grace_ms":5000}"#;
    t.update(waiting, change);
    t.later(90_000);
    t.end(first, Stage::Execute, 1, Some(0), None);
    let late = t.submit(r#"{"command":["sleep"],"deadline":"2026-01-01T01:00:00Z"}"#);
    t.submit(r#"{"command":["sleep"],"hold":true,"deadline":"2026-01-01T00:30:00Z"}"#);
    let array = t.submit(r#"{"command":["step"],"array":"0-5%1","deadline":"2026-01-01T01:00:00Z"}"#);
    t.update(array, r#"{"width":2}"#);
    t.later(3_600_000);
    t.end(late, Stage::Execute, 1, None, Some(15));
    t.end(JobRef::task(array.job, 0), Stage::Execute, 1, None, Some(15));
}

/// What is configured and what someone makes, and a job that is changed in all that it can wish for.
fn queues(t: &mut Teller) {
    let policy = Policy { planned_starts: 8, shares: BTreeMap::from([(1000, 2)]), ..Policy::default() };
    let lab: QueueSpec = serde_json::from_str(r#"{"weight":3,"preemptible":true,"on_preempt":"suspend"}"#).unwrap();
    t.step(Input::Observed(Observed::Configured(policy, BTreeMap::from([("lab".parse().unwrap(), lab)]))));
    let name = |name: &str| name.parse::<QueueName>().unwrap();
    let change = r#"{"weight":2,"max_running":4,"max_time_ms":7200000,"on_conflict":"sharing","priority":60,"cpus":1,
        "mem_bytes":1048576,"time_limit_ms":3600000}"#;
    for queue in ["night", "gone"] {
        t.command(Action::QueueSet { name: name(queue), change: serde_json::from_str(change).unwrap() });
    }
    t.command(Action::QueueRemove { name: name("gone") });
    for pause in [true, false] {
        t.command(Action::QueuePause { name: name("night"), pause });
    }
    let first = t.submit(r#"{"command":["sleep"],"hold":true}"#);
    let array = t.submit(r#"{"command":["step"],"hold":true,"array":"0-1"}"#);
    let each = t.submit(&format!(
        r#"{{"command":["step"],"hold":true,"array":"0-1","after_ok":["{array}.*"],"queue":"night","exclusive":true,
            "idle":true,"preemptible":true,"checkpoint_signal":"USR1","min_run":"1m","on_conflict":"queuing"}}"#
    ));
    let on = |key: &str| format!(r#""{key}":["{first}"]"#);
    let lists = ["after", "after_ok", "after_fail", "after_start"].map(on).join(",");
    t.update(
        each,
        &format!(
            r#"{{{lists},"any":true,"queue":"lab","cpus":1,"pids":9,"disk_bytes":5,"open_files":9,"io_weight":9,
                "or":[{{"cpus":2}}],"exclusive":false,"idle":false,"preemptible":true,"checkpoint_signal":12,
                "min_run_ms":1000,"on_conflict":"preemption"}}"#
        ),
    );
    t.command(Action::Cancel { targets: vec![each, array, first] });
}

/// Alternatives, and offers: taken, and lapsed.
fn ways(t: &mut Teller) {
    let alone =
        t.submit(r#"{"command":["x"],"cpus":3,"or":[{"cpus":2,"mem":"1G","disk":"1G","time":"1h","exclusive":true}]}"#);
    t.execute(alone, 1, 4_800);
    t.end(alone, Stage::Execute, 1, Some(0), None);
    let beside = t.submit(r#"{"command":["x"],"time":"1h","preemptible":true}"#);
    t.execute(beside, 1, 4_801);
    let accept = |t: &mut Teller, job: JobRef, is: fn(&Offer) -> bool| {
        let offered = t.events.iter().rev().find_map(|event| match event {
            Event::Offered { job: of, offers, .. } if *of == job => Some(offers.clone()),
            _ => None,
        });
        let place = (1..).zip(offered.unwrap()).find(|(_, offer)| is(offer)).unwrap().0;
        t.command(Action::OfferAccept { offer: OfferId { job: job.job, place } });
    };
    let less = t.submit(r#"{"command":["less"],"cpus":2,"priority":"high","on_conflict":"negotiation","time":"1h"}"#);
    accept(t, less, |offer| matches!(offer, Offer::Less { .. }));
    t.end(less, Stage::Execute, 1, Some(0), None);
    let share = t.submit(r#"{"command":["share"],"queue":"night","exclusive":true}"#);
    accept(t, share, |offer| matches!(offer, Offer::Share));
    t.end(share, Stage::Execute, 1, Some(0), None);
    let room = t.submit(r#"{"command":["room"],"cpus":2,"priority":"high","on_conflict":"negotiation","time":"1h"}"#);
    accept(t, room, |offer| matches!(offer, Offer::Preempt { .. }));
    t.end(beside, Stage::Execute, 1, Some(0), None);
    let late = t.submit(r#"{"command":["late"],"cpus":2,"on_conflict":"negotiation"}"#);
    t.later(60_000);
    t.command(Action::Cancel { targets: vec![late, beside] });
    t.end(room, Stage::Execute, 1, Some(0), None);
}

/// Jobs that make room, in each way.
fn room(t: &mut Teller) {
    let urgent = r#"{"command":["urgent"],"cpus":2,"priority":"critical","on_conflict":"preemption","time":"1h"}"#;
    for queue in ["lab", "default"] {
        let victim = t.submit(&format!(
            r#"{{"command":["victim"],"queue":"{queue}","preemptible":true,"checkpoint_signal":"USR1","grace":"5s"}}"#
        ));
        t.execute(victim, 1, 4_900);
        t.pass(1_000);
        let urgent = t.submit(urgent);
        if queue == "default" {
            t.end(victim, Stage::Execute, 1, Some(0), None);
        }
        t.end(urgent, Stage::Execute, 1, Some(0), None);
        let attempt = if queue == "default" { 2 } else { 1 };
        t.end(victim, Stage::Execute, attempt, Some(0), None);
    }
}

/// Planned starts that change, and that are no more.
fn plans(t: &mut Teller) {
    let long = r#"{"command":["long"],"cpus":2,"time":"1h"}"#;
    let jobs = [t.submit(long), t.submit(long), t.submit(long)];
    t.command(Action::Cancel { targets: vec![jobs[1]] });
    t.command(Action::Control { targets: vec![jobs[2]], what: Control::Hold });
    t.command(Action::Cancel { targets: vec![jobs[2]] });
    t.end(jobs[0], Stage::Execute, 1, Some(0), None);
}

/// Arrays that end, one after another by its tasks, and one that is cancelled while it runs.
fn arrays(t: &mut Teller) {
    let task = |array: JobRef, index: u32| JobRef::task(array.job, index);
    let ending = t.submit(r#"{"command":["step"],"array":"5-8:3"}"#);
    t.execute(task(ending, 5), 1, 5_000);
    t.end(task(ending, 5), Stage::Execute, 1, Some(0), None);
    let after = t.submit(&format!(r#"{{"command":["step"],"array":"5-8:3","after_ok":["{ending}.*"]}}"#));
    t.end(task(ending, 8), Stage::Execute, 1, Some(7), None);
    t.end(task(after, 5), Stage::Execute, 1, Some(0), None);
    let stopped = t.submit(r#"{"command":["step"],"array":"0-9%1"}"#);
    t.command(Action::Cancel { targets: vec![stopped] });
    t.end(task(stopped, 0), Stage::Execute, 1, None, Some(15));
}

/// A bulk with an id that stays unused and a job that can never run, and one that is taken back.
fn bulks(t: &mut Teller) {
    let plain = r#"{"command":["true"],"cpus":0}"#;
    let bulk = t.bulk(3, &[Some(plain), None, Some(r#"{"command":["x"],"after_ok":["2"]}"#)]);
    t.command(Action::BulkCommit { bulk });
    t.end(bulk.into(), Stage::Execute, 1, Some(0), None);
    let bulk = t.bulk(2, &[Some(plain)]);
    t.command(Action::BulkDiscard { bulk });
}

/// What a snapshot can hold: runs in every phase, a frayed array, needs, holds, begins, and an open bulk.
fn what_is_left(t: &mut Teller) {
    let executing = t.submit(r#"{"command":["serve"],"cpus":0,"mem":"4G","time":"2d"}"#);
    t.execute(executing, 1, 6_000);
    for what in [Control::Suspend, Control::Resume, Control::Suspend] {
        t.command(Action::Control { targets: vec![executing], what });
        t.pass(10);
    }
    t.submit(r#"{"command":["allocating"],"cpus":0}"#);
    let killing = t.submit(r#"{"command":["killing"],"cpus":0,"time":"1s"}"#);
    t.execute(killing, 1, 6_001);
    t.pass(1_000);
    t.pass(qrm_core::GRACE_MS);
    let stopping = t.submit(r#"{"command":["stopping"],"cpus":0}"#);
    t.execute(stopping, 1, 6_002);
    t.command(Action::Cancel { targets: vec![stopping] });
    t.submit(r#"{"command":["x"],"validate":"validating"}"#);
    let compiling = t.submit(r#"{"command":["x"],"validate":"true","compile":"compiling"}"#);
    t.submit(r#"{"command":["x"],"compile":"pending"}"#);
    t.end(compiling, Stage::Validate, 1, Some(0), None);
    let stopped = t.submit(r#"{"command":["step"],"cpus":0,"array":"0-2%1"}"#);
    t.command(Action::Cancel { targets: vec![stopped] });
    let array = t
        .submit(r#"{"command":["sweep"],"cpus":0,"array":"0-99:3%4","retries":1,"backoff":"2s..2s","retry_on":["1"]}"#);
    let task = |index: u32| JobRef::task(array.job, index);
    for (index, code) in [(3, 0), (9, 0), (6, 9), (15, 0)] {
        t.execute(task(index), 1, 7_000 + index);
        t.end(task(index), Stage::Execute, 1, Some(code), None);
    }
    t.end(task(12), Stage::Execute, 1, Some(1), None);
    t.pass(1_500);
    t.end(task(18), Stage::Execute, 1, Some(1), None);
    t.pass(600);
    let again = t.submit(r#"{"command":["flaky"],"cpus":0,"retries":5,"backoff":"1m..1h","retry_on":[]}"#);
    t.end(again, Stage::Execute, 1, Some(1), None);
    t.submit(
        r#"{"command":["held"],"hold":true,"priority":"low","queue_timeout":"1h","deadline":"2027-01-02T00:00:00Z"}"#,
    );
    let lapsed = making_room(t);
    let expiring = t.submit(r#"{"command":["step"],"cpus":0,"array":"0-2%1","queue_timeout":"1m"}"#);
    t.later(60_000);
    t.execute(JobRef::task(expiring.job, 0), 1, 9_000);
    wishing(t, lapsed);
    t.submit(r#"{"command":["later"],"begin":"2027-01-01T00:00:00Z"}"#);
    t.submit(&format!(
        r#"{{"command":["all"],"after":["{executing}"],"after_ok":["{array}"],"after_fail":["{array}.0"]}}"#
    ));
    t.submit(&format!(r#"{{"command":["any"],"any":true,"after_start":["{array}.99"],"after":["{again}"]}}"#));
    t.submit(r#"{"command":["head"],"cpus":2,"mem":"60G","priority":"critical"}"#);
    t.submit(r#"{"command":["behind"]}"#);
    let needs = format!(r#"{{"command":["x"],"after_ok":["{executing}"]}}"#);
    let bulk =
        t.bulk(5, &[Some(r#"{"command":["x"],"mem_bytes":1}"#), None, Some(r#"{"command":["x"],"after_ok":["2"]}"#)]);
    t.command(Action::BulkAdd { bulk, jobs: vec![Some(demand(&needs).1)], ended: BTreeMap::new() });
}

/// Runs that make room for a job: one stands still, one is being ended. And a job whose offers will have lapsed.
fn making_room(t: &mut Teller) -> JobRef {
    t.submit(r#"{"command":["x"],"cpus":3,"or":[{"cpus":0,"disk":"1G"}]}"#);
    for (pid, queue) in [(8_000, "lab"), (8_001, "default")] {
        let victim =
            t.submit(&format!(r#"{{"command":["victim"],"queue":"{queue}","preemptible":true,"min_run":"1s"}}"#));
        t.execute(victim, 1, pid);
    }
    t.pass(2_000);
    t.submit(r#"{"command":["urgent"],"cpus":2,"priority":"high","on_conflict":"preemption"}"#);
    t.submit(r#"{"command":["lapses"],"cpus":2,"on_conflict":"negotiation"}"#)
}

/// Jobs that wait with all that they can wish for.
fn wishing(t: &mut Teller, lapsed: JobRef) {
    assert!(t.events.contains(&Event::OffersLapsed { job: lapsed }));
    let promised = t.submit(r#"{"command":["promised"],"cpus":2,"on_conflict":"negotiation"}"#);
    t.command(Action::OfferAccept { offer: OfferId { job: promised.job, place: 1 } });
    t.submit(
        r#"{"command":["offered"],"cpus":2,"exclusive":true,"idle":true,"checkpoint_signal":"USR1","signal":"INT",
            "grace":"1m","on_conflict":"negotiation"}"#,
    );
    let held = t.submit(r#"{"command":["held"],"cpus":2,"hold":true,"queue":"night"}"#);
    for what in [Control::Release, Control::Hold, Control::Release] {
        t.command(Action::Control { targets: vec![held], what });
    }
    let held = t.submit(r#"{"command":["held"],"cpus":2}"#);
    t.command(Action::Control { targets: vec![held], what: Control::Hold });
    t.command(Action::QueuePause { name: "night".parse().unwrap(), pause: true });
    let array = t.submit(r#"{"command":["step"],"cpus":2,"array":"0-3"}"#);
    t.submit(&format!(r#"{{"command":["step"],"array":"0-3","after_ok":["{array}.*"]}}"#));
}
