//! The core of qrm, driven as the daemon drives it, on a clock that goes from one thing that happens to the next.
//! It refuses to decide: it submits when a job of the log comes, runs what the core launches, and ends what the core wants to end.

use super::workload::{Amount, Job};
use qrm_core::{
    Action, Answer, Caller, Core, Effect, Input, Machine, Now, Observed, PastEnd, Policy, Run, RunOutcome, RunUsage,
};
use qrm_protocol::amount::Bytes;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::JobId;
use qrm_protocol::job::JobSpec;
use qrm_protocol::time::{Millis, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// When the first job comes, on both clocks of the core: some time after 1970, and after the boot.
const BEGAN_MS: u64 = 2_000 * 7 * 24 * 3_600_000;
/// What the machine has where memory is not counted; no job asks for any.
const SOME_MEMORY: u64 = 1 << 40;
/// Whose the jobs are that are of nobody known.
const NOBODY: u32 = u32::MAX;

/// When a run ends, whether by itself, and which.
type End = (u64, bool, Run);

/// The simulated machine beside the core.
struct World<'a> {
    core: Core,
    jobs: &'a [Job],
    now_ms: u64,
    /// When each job started.
    starts: Vec<Option<u64>>,
    /// Jobs by the ids that the core gave them.
    ids: BTreeMap<JobId, usize>,
    /// When runs end, and whether by themselves; those that are told to end then come first.
    ends: BTreeSet<End>,
    runs: BTreeMap<JobId, End>,
}

/// When each job starts.
///
/// # Errors
/// A defect: the core refused a job, or never started it.
pub fn schedule(jobs: &[Job], machine: Amount, policy: Policy) -> Result<Vec<u64>, Error> {
    let mut world = World {
        core: Core::default(),
        jobs,
        now_ms: 0,
        starts: vec![None; jobs.len()],
        ids: BTreeMap::new(),
        ends: BTreeSet::new(),
        runs: BTreeMap::new(),
    };
    let mem_bytes = if machine.memory == 0 { SOME_MEMORY } else { machine.memory };
    let machine = Machine { boot_id: "simulated".to_owned(), cpus: machine.cpus, mem_bytes, disk_bytes: 0 };
    world.step(Input::Observed(Observed::Configured(policy, BTreeMap::new())))?;
    world.step(Input::Observed(Observed::Machine(machine)))?;
    let mut coming = jobs.iter().enumerate().peekable();
    loop {
        let ends = world.ends.first().copied();
        let comes = coming.peek().map(|(_, job)| job.submit_ms);
        let wakes = world.wakes();
        let next = ends.map(|(at, ..)| at).into_iter().chain(comes).chain(wakes).min();
        let Some(next) = next else { break };
        world.now_ms = next;
        match ends {
            // What ends makes room for what comes at the same time.
            Some((at, _, run)) if at == next => world.end(run)?,
            _ if comes == Some(next) => {
                let Some((index, job)) = coming.next() else { break };
                world.submit(index, job)?;
            }
            _ => {
                world.step(Input::Tick)?;
                if world.wakes().is_some_and(|again| again <= next) {
                    return Err(defect(format!("its time does not pass at {}", Millis(next))));
                }
            }
        }
    }
    let waits = world.starts.iter().position(Option::is_none).map(|index| jobs[index].number);
    match waits {
        Some(number) => Err(defect(format!("job {number} of the log never started"))),
        None => Ok(world.starts.into_iter().flatten().collect()),
    }
}

fn defect(message: String) -> Error {
    Error::new(Code::Internal, format!("the core: {message}"))
}

impl World<'_> {
    fn now(&self) -> Now {
        let boot_ms = BEGAN_MS + self.now_ms;
        Now { wall: Timestamp(boot_ms.cast_signed()), boot_ms }
    }

    /// When time alone changes something.
    fn wakes(&self) -> Option<u64> {
        let (wall, boot_ms) = self.core.next_wake();
        let wall = wall.map(|wall| wall.0.max(0).cast_unsigned());
        wall.into_iter().chain(boot_ms).min().map(|at| at.saturating_sub(BEGAN_MS))
    }

    fn submit(&mut self, index: usize, job: &Job) -> Result<(), Error> {
        let spec = JobSpec {
            cpus: Some(job.holds.cpus),
            mem_bytes: (job.holds.memory > 0).then_some(Bytes(job.holds.memory)),
            time_limit_ms: Some(Millis(job.asked_ms)),
            ..JobSpec::default()
        };
        let caller = Caller::user(job.user.unwrap_or(NOBODY));
        // The core may launch it before it answers.
        self.ids.insert(JobId(index as u64 + 1), index);
        let action = Action::Submit { name: job.number.to_string(), demand: (&spec).into(), ended: PastEnd::new() };
        match self.step(Input::Command(caller, action))? {
            Answer::Submitted(id, _) if self.ids.get(&id) == Some(&index) => Ok(()),
            other => Err(defect(format!("job {} of the log got {other:?}", job.number))),
        }
    }

    /// The end of a run, by itself or because it was told to.
    fn end(&mut self, run: Run) -> Result<(), Error> {
        let input = self.ended(run);
        self.step(input).map(drop)
    }

    fn ended(&mut self, run: Run) -> Input {
        if let Some(end) = self.runs.remove(&run.job.job) {
            self.ends.remove(&end);
        }
        let started = self.ids.get(&run.job.job).and_then(|index| self.starts[*index]);
        let at = |ms: u64| Timestamp((BEGAN_MS + ms).cast_signed());
        let outcome = RunOutcome {
            exit_code: Some(0),
            started_at: started.map(at),
            ended_at: at(self.now_ms),
            usage: RunUsage::default(),
            ..RunOutcome::default()
        };
        Input::Observed(Observed::Ended(run, outcome))
    }

    /// Has the core decide, and does what it wants, until it wants nothing more at this instant.
    fn step(&mut self, input: Input) -> Result<Answer, Error> {
        let mut inputs = VecDeque::from([input]);
        let mut first = None;
        while let Some(input) = inputs.pop_front() {
            let step = self.core.step(self.now(), input).map_err(|refusal| defect(refusal.to_string()))?;
            for effect in step.effects {
                inputs.extend(self.obey(effect)?);
            }
            first.get_or_insert(step.answer);
        }
        Ok(first.unwrap_or(Answer::Done))
    }

    fn obey(&mut self, effect: Effect) -> Result<Option<Input>, Error> {
        match effect {
            Effect::Launch(run) => {
                let Some(index) = self.ids.get(&run.job.job).copied() else {
                    return Err(defect(format!("it launches job {}, which nobody submitted", run.job)));
                };
                if self.starts[index].replace(self.now_ms).is_some() {
                    return Err(defect(format!("it starts job {} once more", run.job)));
                }
                let job = self.jobs[index];
                let end = (self.now_ms + job.run_ms, job.run_ms < job.asked_ms, run);
                self.ends.insert(end);
                self.runs.insert(run.job.job, end);
                let Now { wall: at, boot_ms } = self.now();
                Ok(Some(Input::Observed(Observed::Executing { run, pid: 1, at, boot_ms })))
            }
            // Told to end, it does; one that is over already is not told twice.
            Effect::Signal(run, _) => Ok(self.runs.contains_key(&run.job.job).then(|| self.ended(run))),
        }
    }
}
