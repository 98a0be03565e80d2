//! What must hold after every step; run by tests, and by nothing else.
//! It refuses to repair.

use crate::event::Stage;
use crate::job::Phase;
use crate::placement::{Limits, Pass};
use crate::shape::Amounts;
use crate::state::Core;
use crate::step::Now;

impl Core {
    /// Says what does not hold.
    ///
    /// # Errors
    /// The first thing that does not hold, for a person who has to find out why.
    pub fn check(&self, now: Now) -> Result<(), String> {
        let fresh = self.clone().rebuilt();
        if fresh != *self {
            // Only the lines that differ: the whole of it fills a screen for each job.
            let (is, should) = (format!("{self:#?}"), format!("{fresh:#?}"));
            let differ = is.lines().zip(should.lines()).filter(|(is, should)| is != should).take(10);
            let lines: Vec<String> = differ.map(|(is, should)| format!("{is} but {should}")).collect();
            return Err(format!("the indices are not what follows from the jobs:\n{}", lines.join("\n")));
        }
        let claim = |holds: bool, what: String| if holds { Ok(()) } else { Err(what) };
        for (id, run) in &self.runs {
            let job = self.jobs.get(&id.job).ok_or(format!("run {id} has no job"))?;
            let phase = match run.stage {
                Stage::Execute if id.task.is_some() => Phase::Queued,
                Stage::Execute => Phase::Running,
                stage => Phase::Staging(stage),
            };
            claim(job.phase == phase, format!("run {id} of stage {:?} in phase {:?}", run.stage, job.phase))?;
        }
        for (id, job) in &self.jobs {
            let has_run = self.runs.contains_key(&(*id).into());
            claim(
                has_run == matches!(job.phase, Phase::Running | Phase::Staging(_)),
                format!("job {id}: {:?}", job.phase),
            )?;
            let Some(tasks) = &job.tasks else { continue };
            let running = u32::try_from(self.running_tasks(*id).len()).unwrap_or(u32::MAX);
            claim(tasks.running == running, format!("array {id} counts {} running of {running}", tasks.running))?;
            let between = tasks.again.values().filter(|(_, due)| due.is_some()).count();
            let waits = tasks.waiting.len() + tasks.gated.len() + tasks.barred.len();
            let all = waits + running + tasks.ok.len() + tasks.bad.len();
            claim(all as usize + between == tasks.spec.count() as usize, format!("array {id} lost a task: {tasks:?}"))?;
            let old = tasks.again.len() - between;
            let new = waits as usize > old;
            claim(tasks.has_new() == new, format!("array {id} starts in no order"))?;
            claim(!tasks.all_ended(), format!("array {id} is over, and lives"))?;
        }
        claim(self.barred.is_empty(), format!("tasks of these can never run, and live: {:?}", self.barred))?;
        claim(self.doomed.is_empty(), format!("these can never run, and live: {:?}", self.doomed))?;
        let held = self.runs.iter().filter(|(_, run)| run.stage == Stage::Execute);
        let held = held.fold(Amounts::default(), |sum, (job, run)| sum.plus(self.held(*job, run)));
        claim(held == self.used, format!("runs hold {held:?}, and {:?} are counted", self.used))?;
        if self.seen.is_old {
            return Ok(());
        }
        let plan = Pass::new(self, now, Limits::of(self)).run();
        claim(plan.starts.is_empty(), format!("something could start, and does not: {:?}", plan.starts))?;
        claim(plan.planned == self.seen.plan.planned, "the plan is not that of now".to_owned())
    }
}
