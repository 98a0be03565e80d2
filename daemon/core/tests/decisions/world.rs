//! A core that is told what to observe, and is looked at after every step. It refuses to have processes.

use qrm_core::{
    Action, Answer, Caller, Core, Demand, Input, Machine, Now, Observed, Refusal, Role, Run, RunOutcome, Stage, Step,
};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::{JobSpec, JobState};
use qrm_protocol::time::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const ME: Caller = Caller { uid: 1000, role: Role::Admin, most_jobs: u64::MAX };

pub struct World {
    pub core: Core,
    pub now: Now,
    cpus: u32,
}

impl World {
    /// A machine with so many cpus, that has been up for a while.
    pub fn new(cpus: u32) -> Self {
        let mut world = Self { core: Core::default(), now: Now { wall: Timestamp(0), boot_ms: 1_000_000 }, cpus };
        world.boots("1");
        world
    }

    pub fn boots(&mut self, boot_id: &str) {
        let (boot_id, cpus) = (boot_id.to_owned(), self.cpus);
        self.step(Input::Observed(Observed::Machine(Machine { boot_id, cpus, mem_bytes: 100, disk_bytes: 0 })));
    }

    pub fn step(&mut self, input: Input) -> Step {
        let step = self.core.step(self.now, input).unwrap();
        self.core.check(self.now).unwrap();
        let mut saved = Vec::new();
        self.core.save(&mut saved).unwrap();
        assert_eq!(Core::load(saved.as_slice()).unwrap(), self.core, "a snapshot is not the state");
        step
    }

    pub fn does(&mut self, action: Action) -> Step {
        self.step(Input::Command(ME, action))
    }

    pub fn tries(&mut self, action: Action) -> Result<Step, Refusal> {
        self.core.step(self.now, Input::Command(ME, action))
    }

    pub fn submits(&mut self, spec: Value) -> JobRef {
        self.submit(spec).0
    }

    pub fn submit(&mut self, spec: Value) -> (JobRef, Step) {
        let step = self.does(Action::Submit { name: "x".into(), demand: demand(spec), ended: BTreeMap::new() });
        let Answer::Submitted(id, _) = step.answer else { panic!("{:?}", step.answer) };
        (id.into(), step)
    }

    /// Its command is released.
    pub fn executes(&mut self, job: JobRef) -> Step {
        let (at, boot_ms) = (self.now.wall, self.now.boot_ms);
        self.step(Input::Observed(Observed::Executing { run: run(job, 1), pid: 1, at, boot_ms }))
    }

    pub fn passes(&mut self, ms: u64) {
        self.now.boot_ms += ms;
        self.now.wall.0 += i64::try_from(ms).unwrap();
        self.step(Input::Tick);
    }

    /// An attempt ends, with this exit code.
    pub fn exits(&mut self, job: JobRef, attempt: u32, code: i32) -> Step {
        let outcome = RunOutcome { exit_code: Some(code), ended_at: self.now.wall, ..RunOutcome::default() };
        self.step(Input::Observed(Observed::Ended(run(job, attempt), outcome)))
    }

    pub fn state(&self, job: JobRef) -> Option<JobState> {
        self.core.state(job)
    }
}

pub fn demand(mut spec: Value) -> Demand {
    spec["command"] = json!(["true"]);
    Demand::from(&serde_json::from_value::<JobSpec>(spec).unwrap())
}

pub fn run(job: JobRef, attempt: u32) -> Run {
    Run { job, stage: Stage::Execute, attempt }
}
