//! A core and the naive scheduler side by side, on simulated time, with processes that run for as long as was said.
//! It refuses to choose what happens.

use crate::naive::{Clock, Found, Naive};
use crate::wishes::{Op, Wish};
use qrm_core::{
    Action, Answer, Caller, Control, Core, Demand, Effect, Event, Host, Input, Machine, Now, Observed, Policy, Refusal,
    Run, RunOutcome, RunSignal, Short, Step, StopWhy,
};
use qrm_protocol::ids::{JobId, JobRef, Uid};
use qrm_protocol::job::{JobChange, JobSpec};
use qrm_protocol::queue::{OnPreempt, QueueChange, QueueName, QueueSpec};
use qrm_protocol::time::Timestamp;
use std::collections::BTreeMap;

/// The wall clock is ahead of the other by so much, so that nobody takes one for the other.
pub const AHEAD: i64 = 1_000_000_000;

/// How a job behaves when it runs.
#[derive(Clone, Copy, Debug)]
pub struct Habit {
    /// It ends by itself after so long.
    pub runs_for: u64,
    /// How long it takes until its command is released.
    pub begins_in: u64,
    /// How long it goes on when it was asked to end.
    pub goes_on_for: u64,
    pub code: i32,
}

impl Default for Habit {
    fn default() -> Self {
        Self { runs_for: 60_000, begins_in: 0, goes_on_for: 0, code: 0 }
    }
}

/// How long processes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// As their habit is.
    Habit,
    /// So, but no longer than is expected of them, and from the instant at which they start.
    Within,
    /// For as long as is expected of them.
    AsExpected,
}

#[derive(Clone, Copy, Debug)]
struct Process {
    /// When its command is released, if that is to come.
    begins: Option<u64>,
    /// When it ends; while it stands still, what is left until then.
    ends: u64,
    frozen: bool,
}

pub struct Lab {
    pub core: Core,
    pub naive: Naive,
    pub now: Clock,
    pub habits: BTreeMap<JobId, Habit>,
    processes: BTreeMap<Run, Process>,
    pub ids: Vec<JobRef>,
    /// What was decided, and when by the wall clock.
    pub history: Vec<(Timestamp, Event)>,
    /// Another core that hears the same from now on, and is to do the same.
    pub second: Option<Core>,
    /// What happened, for who has to find out why something does not hold.
    pub said: Vec<String>,
    /// Whether the naive scheduler comes along.
    pub compares: bool,
    /// Whether the core's own facts are looked at after every step.
    pub checks: bool,
    pub length: Length,
    /// Whether processes go on that were killed, for now.
    pub survives: bool,
}

impl Lab {
    pub fn new(machine: [u64; 3], policy: Policy, queues: &BTreeMap<QueueName, QueueSpec>) -> Self {
        let mut lab = Self {
            core: Core::default(),
            naive: Naive::default(),
            now: Clock { wall: AHEAD, boot: 0 },
            habits: BTreeMap::new(),
            processes: BTreeMap::new(),
            ids: Vec::new(),
            history: Vec::new(),
            second: None,
            said: Vec::new(),
            compares: true,
            checks: true,
            length: Length::Habit,
            survives: false,
        };
        lab.offers(machine);
        lab.sees(Observed::Configured(policy, BTreeMap::new()));
        for (name, spec) in queues {
            let change = QueueChange {
                weight: Some(spec.weight),
                max_running: spec.max_running,
                preemptible: Some(spec.preemptible),
                on_preempt: Some(spec.on_preempt),
                on_conflict: Some(spec.on_conflict),
                ..QueueChange::default()
            };
            lab.does(Action::QueueSet { name: name.clone(), change }).unwrap();
        }
        lab
    }

    pub fn at(&self) -> Now {
        Now { wall: Timestamp(self.now.wall), boot_ms: self.now.boot }
    }

    /// Cpus, memory and room for files from now on.
    pub fn offers(&mut self, [cpus, mem_bytes, disk_bytes]: [u64; 3]) {
        let cpus = u32::try_from(cpus).unwrap();
        self.sees(Observed::Machine(Machine { boot_id: "1".into(), cpus, mem_bytes, disk_bytes }));
    }

    pub fn sees(&mut self, observed: Observed) -> Step {
        if let Observed::Host(host) = observed {
            self.naive.host = host;
        }
        self.step(Input::Observed(observed)).unwrap()
    }

    pub fn does(&mut self, action: Action) -> Result<Answer, Refusal> {
        self.does_as(1_000, action)
    }

    pub fn does_as(&mut self, uid: Uid, action: Action) -> Result<Answer, Refusal> {
        let caller = Caller { role: qrm_core::Role::Admin, ..Caller::user(uid) };
        self.step(Input::Command(caller, action)).map(|step| step.answer)
    }

    /// Submits a job; nothing if it was refused.
    pub fn submits(&mut self, user: Uid, spec: serde_json::Value, habit: Habit) -> Option<JobRef> {
        let mut spec = spec;
        spec["command"] = serde_json::json!(["true"]);
        if self.length != Length::Habit {
            // What is ended by its limit in the instant in which it ends by itself is gone in that instant.
            spec["grace_ms"] = 0.into();
        }
        let spec: JobSpec = serde_json::from_value(spec).unwrap();
        let id = JobId(self.habits.len() as u64 + 1);
        // It may start, and end, before it is answered.
        self.habits.insert(id, habit);
        let demand = Demand::from(&spec);
        let ended = if demand.needs().is_empty() { BTreeMap::new() } else { self.over() };
        let action = Action::Submit { name: "x".into(), demand, ended };
        match self.does_as(user, action) {
            Ok(Answer::Submitted(given, _)) => {
                assert_eq!(given, id);
                self.ids.push(id.into());
                Some(id.into())
            }
            Err(_) => {
                self.habits.remove(&id);
                None
            }
            other => panic!("{other:?}"),
        }
    }

    fn over(&self) -> BTreeMap<JobRef, (qrm_protocol::job::JobState, bool)> {
        self.naive.over.iter().map(|(job, state)| (*job, (*state, self.naive.started.contains(job)))).collect()
    }

    pub fn step(&mut self, input: Input) -> Result<Step, Refusal> {
        self.said.push(format!("{:?}: {input:?}", self.now));
        let result = self.core.step(self.at(), input.clone());
        let now = self.at();
        if let Some(second) = &mut self.second
            && second.step(now, input) != result
        {
            self.fails("the second core does something else");
        }
        let Ok(step) = &result else {
            self.said.push(format!("    {result:?}"));
            return result;
        };
        self.said.extend(step.events.iter().map(|event| format!("    {event:?}")));
        self.history.extend(step.events.iter().map(|event| (Timestamp(self.now.wall), event.clone())));
        match self.compares && !self.is_quiet(&step.events) {
            true => {
                self.compare(&step.events.clone());
                self.holds();
            }
            false => step.events.clone().iter().for_each(|event| self.naive.fact(self.now, event)),
        }
        if self.checks
            && let Err(why) = self.core.check(self.at())
        {
            self.fails(&why);
        }
        let effects = step.effects.clone();
        for effect in effects {
            self.act(effect);
        }
        self.begin();
        result
    }

    pub fn fails(&self, why: &str) -> ! {
        panic!("{why}\n{}", self.said.join("\n"))
    }

    /// What the core decided is what the naive scheduler decides.
    fn compare(&mut self, events: &[Event]) {
        let mut events = events.iter().peekable();
        loop {
            while let Some(event) = events.next_if(|event| !is_decision(event)) {
                self.naive.fact(self.now, event);
            }
            let found = self.naive.pass(self.now);
            let expected = self.decisions(&found);
            if expected.is_empty() {
                if let Some(event) = events.next() {
                    self.fails(&format!("the naive scheduler does nothing more, and the core {event:?}"));
                }
                return self.compare_plans(&found);
            }
            let room: Vec<(JobRef, JobRef)> = events.clone().map_while(makes_room).collect();
            if let Some((_, for_whom)) = room.first() {
                // What comes after it for another is of the next pass.
                let of_it = room.iter().take_while(|(_, whom)| whom == for_whom);
                let victims: Vec<JobRef> = of_it.map(|(victim, _)| *victim).collect();
                if let Err(why) = self.naive.is_right_room(self.now, *for_whom, &victims) {
                    self.fails(&why);
                }
            }
            for expected in expected {
                let next = events.next();
                let said = next.map(said);
                if said.as_ref() != Some(&expected) {
                    self.fails(&format!("the naive scheduler has {expected}, and the core {said:?}"));
                }
                self.naive.fact(self.now, next.unwrap());
                let too_much = match next {
                    Some(Event::Started { job, .. }) => self.naive.has_too_much(*job, false),
                    Some(Event::Resumed { job, .. }) => self.naive.has_too_much(*job, true),
                    _ => None,
                };
                if let Some(why) = too_much {
                    self.fails(&why);
                }
            }
        }
    }

    /// What has nothing start; see SCHEDULING.md.
    fn is_quiet(&self, events: &[Event]) -> bool {
        let is_quiet = |event: &Event| match event {
            Event::Executing { job, .. } => self.naive.on_preempt(&self.naive.jobs[&job.job]) != OnPreempt::Suspend,
            event => matches!(event, Event::Progress { .. }),
        };
        !events.is_empty() && events.iter().all(is_quiet)
    }

    fn decisions(&self, found: &Found) -> Vec<String> {
        let is_quiet = found.starts.is_empty() && found.goes_on.is_empty();
        if let (true, Some(room)) = (is_quiet, &found.room) {
            let victim = |victim| format!("{victim} makes room for {}", room.for_whom);
            return room.victims.iter().map(victim).collect();
        }
        let start = |(job, way, ms): &(JobRef, usize, u64)| format!("start of {job} in way {way} for {ms}");
        let mut decisions: Vec<String> = found.starts.iter().map(start).collect();
        for (at, job) in found.goes_on.iter().rev() {
            decisions.insert(*at, format!("{job} goes on"));
        }
        decisions
    }

    fn compare_plans(&self, found: &Found) {
        let ahead = self.now.wall - i64::try_from(self.now.boot).unwrap();
        let planned = |at: &u64| Timestamp(i64::try_from(*at).unwrap() + ahead);
        let naive: BTreeMap<JobRef, Timestamp> = found.planned.iter().map(|(job, at)| (*job, planned(at))).collect();
        let core = self.planned();
        if naive != core {
            self.fails(&format!("the naive scheduler plans {naive:?}, and the core {core:?}"));
        }
    }

    /// What the core plans, as it shows it job by job.
    pub fn planned(&self) -> BTreeMap<JobRef, Timestamp> {
        let mut planned = BTreeMap::new();
        for (id, job) in &self.naive.jobs {
            for task in job.tasks.keys() {
                let id = JobRef { job: *id, task: *task };
                let Some(explained) = self.core.explain(self.at(), id) else { continue };
                let looked = self.core.look(self.at(), id).unwrap().planned;
                assert_eq!(looked, explained.planned, "{id} is shown in two ways");
                planned.extend(looked.map(|at| (id, at)));
            }
        }
        planned
    }

    fn act(&mut self, effect: Effect) {
        let boot = self.now.boot;
        match effect {
            Effect::Launch(run) => {
                let habit = self.habits[&run.job.job];
                let expected = self.naive.runs.get(&run.job).map_or(0, |run| run.expected);
                let (begins_in, runs_for) = match self.length {
                    Length::Habit => (habit.begins_in, habit.runs_for),
                    Length::Within => (0, habit.runs_for.min(expected)),
                    Length::AsExpected => (0, expected),
                };
                let begins = boot + begins_in;
                let process = Process { begins: Some(begins), ends: begins + runs_for, frozen: false };
                self.processes.insert(run, process);
            }
            Effect::Signal(run, signal) => {
                let habit = self.habits[&run.job.job];
                let Some(process) = self.processes.get_mut(&run) else { return };
                match signal {
                    RunSignal::Kill if self.survives => {}
                    RunSignal::Kill => process.ends = boot,
                    RunSignal::Number(_) if process.frozen => process.ends = process.ends.min(habit.goes_on_for),
                    RunSignal::Number(_) => process.ends = process.ends.min(boot + habit.goes_on_for),
                    RunSignal::Freeze => {
                        (process.frozen, process.ends) = (true, process.ends.saturating_sub(boot));
                    }
                    RunSignal::Thaw => (process.frozen, process.ends) = (false, process.ends + boot),
                }
            }
        }
    }

    /// Releases commands whose time has come.
    fn begin(&mut self) {
        let due = |process: &Process| process.begins.is_some_and(|at| at <= self.now.boot);
        let Some((run, process)) = self.processes.iter_mut().find(|(_, process)| due(process)) else { return };
        let run = *run;
        process.begins = None;
        let (at, boot_ms) = (Timestamp(self.now.wall), self.now.boot);
        self.sees(Observed::Executing { run, pid: 1, at, boot_ms });
    }

    /// When the next process ends, and all that end then.
    pub fn next_ends(&self) -> (u64, Vec<Run>) {
        let at = self.processes.values().map(|process| process.ends).min().unwrap_or(self.now.boot);
        let ends = self.processes.iter().filter(|(_, process)| process.ends == at);
        (at, ends.map(|(run, _)| *run).collect())
    }

    pub fn runs(&self) -> Vec<Run> {
        self.processes.keys().copied().collect()
    }

    pub fn ends(&mut self, run: Run, code: i32) {
        self.processes.remove(&run);
        let ended_at = Timestamp(self.now.wall);
        self.sees(Observed::Ended(run, RunOutcome { exit_code: Some(code), ended_at, ..RunOutcome::default() }));
    }

    /// Lets time pass, and everything happen that is due meanwhile.
    pub fn passes(&mut self, ms: u64) {
        self.passes_and(ms, &mut |_| {});
    }

    /// The same, with a look at all that happens.
    pub fn passes_and(&mut self, ms: u64, looks: &mut impl FnMut(&Self)) {
        let until = self.now.boot + ms;
        for round in 0.. {
            // Less than one wakeup in ten seconds, but for what happens at one instant.
            if round > 1_000 + ms / 10_000 {
                self.fails("time stands still");
            }
            let over = self.processes.iter().find(|(_, p)| !p.frozen && p.begins.is_none() && p.ends <= self.now.boot);
            if let Some((run, _)) = over {
                let run = *run;
                self.ends(run, self.habits[&run.job.job].code);
                looks(self);
                continue;
            }
            let (wall, boot) = self.core.next_wake();
            let wall = wall.map(|wall| u64::try_from(wall.0 - self.now.wall).unwrap_or(0) + self.now.boot);
            let processes = self.processes.values().filter(|p| !p.frozen).map(|p| p.begins.unwrap_or(p.ends));
            let next = processes.chain(wall).chain(boot).map(|at| at.max(self.now.boot)).min();
            let at = next.unwrap_or(until).min(until);
            let wakes = wall.into_iter().chain(boot).any(|wake| wake <= at);
            self.now.wall += i64::try_from(at - self.now.boot).unwrap();
            self.now.boot = at;
            self.begin();
            if wakes || at == until {
                self.step(Input::Tick).unwrap();
                looks(self);
            }
            let is_over = |p: &Process| !p.frozen && p.begins.is_none() && p.ends <= self.now.boot;
            if at == until && !self.processes.values().any(is_over) {
                return;
            }
        }
    }

    pub fn controls(&mut self, what: Control, job: JobRef) -> bool {
        self.does(Action::Control { targets: vec![job], what }).is_ok()
    }

    pub fn updates(&mut self, job: JobRef, change: JobChange) -> Result<Answer, Refusal> {
        let ended = self.over();
        self.does(Action::Update { targets: vec![job], change: Box::new(change), ended })
    }

    fn pick(&self, n: u8) -> Option<JobRef> {
        self.ids.get(usize::from(n) % self.ids.len().max(1)).copied()
    }

    /// Does it, with a look at all that happens.
    pub fn apply_and(&mut self, op: &Op, looks: &mut impl FnMut(&Self)) {
        match op {
            Op::Pass(ms) => self.passes_and(*ms, looks),
            _ => self.apply(op),
        }
        looks(self);
    }

    /// Does it; what is refused has done nothing.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Submit(Wish { user, spec, after, habit }) => {
                let mut spec = spec.clone();
                if let Some((kind, n)) = after
                    && let Some(job) = self.pick(*n)
                {
                    spec[*kind] = serde_json::json!([job.to_string()]);
                }
                self.submits(*user, spec, *habit);
            }
            Op::Pass(ms) => self.passes(*ms),
            Op::End(n, code) => {
                let runs = self.runs();
                let Some(run) = runs.get(usize::from(*n) % runs.len().max(1)) else { return };
                if self.processes[run].begins.is_none() {
                    self.ends(*run, *code);
                }
            }
            Op::Control(what, n) => {
                let Some(job) = self.pick(*n) else { return };
                self.controls(*what, job);
            }
            Op::Cancel(n) => {
                let Some(job) = self.pick(*n) else { return };
                drop(self.does(Action::Cancel { targets: vec![job] }));
            }
            Op::Update(n, change) => {
                let Some(job) = self.pick(*n) else { return };
                drop(self.updates(job, change.clone()));
            }
            Op::Queue(name, change) => {
                let action = Action::QueueSet { name: name.parse().unwrap(), change: change.clone() };
                self.does(action).unwrap();
            }
            Op::Pause(name, pause) => {
                self.does(Action::QueuePause { name: name.parse().unwrap(), pause: *pause }).unwrap();
            }
            Op::Host(mem_bytes, pressed) => {
                let short = pressed.then_some(Short::Cpu { permille: 900, most: 500 });
                self.sees(Observed::Host(Host { mem_bytes: *mem_bytes, short }));
            }
            Op::Machine(machine) => self.offers(*machine),
        }
    }
}

/// Whether an event is something that the scheduler decided.
fn is_decision(event: &Event) -> bool {
    let goes_on = matches!(event, Event::Resumed { by: None, .. });
    matches!(event, Event::Started { .. }) || goes_on || makes_room(event).is_some()
}

/// Who makes room by this, and for whom.
fn makes_room(event: &Event) -> Option<(JobRef, JobRef)> {
    match event {
        Event::Suspended { job, room_for, .. } | Event::Stopping { job, why: StopWhy::Preempted, room_for, .. } => {
            Some((*job, (*room_for)?))
        }
        _ => None,
    }
}

fn said(event: &Event) -> String {
    match event {
        Event::Started { job, variant, expected_ms, .. } => {
            format!("start of {job} in way {variant} for {expected_ms}")
        }
        Event::Suspended { job, room_for: Some(whom), .. } | Event::Stopping { job, room_for: Some(whom), .. } => {
            format!("{job} makes room for {whom}")
        }
        Event::Resumed { job, by: None, .. } => format!("{job} goes on"),
        other => format!("{other:?}"),
    }
}
