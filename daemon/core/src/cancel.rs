//! Ending jobs because someone wants that.
//! It refuses to look at jobs that are over: those are the store's.

use crate::access::{Caller, Right};
use crate::event::{Event, StopWhy};
use crate::refusal::Refusal;
use crate::state::{Core, RunState};
use crate::step::{Answer, CancelledAs, Deciding};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::JobState;

impl Core {
    /// Whether the caller may control a live job.
    pub(crate) fn may_control(&self, caller: Caller, job: JobRef) -> Result<(), Refusal> {
        let owner = self.jobs.get(&job.job).ok_or(Refusal::NoSuchJob(job))?.user();
        caller.check(Right::Control, owner, job)
    }
}

impl Deciding<'_> {
    pub(crate) fn cancel(&mut self, caller: Caller, targets: Vec<JobRef>) -> Result<Answer, Refusal> {
        for target in &targets {
            self.core.may_control(caller, *target)?;
            if !self.core.is_live(*target) {
                return Err(Refusal::NoSuchJob(*target));
            }
        }
        let mut done = Vec::with_capacity(targets.len());
        for target in targets {
            // Naming a job twice, or an array and its task, is no mistake.
            if self.core.is_live(target) {
                done.push((target, self.cancel_one(caller, target)));
            }
        }
        Ok(Answer::Cancelled(done))
    }

    fn cancel_one(&mut self, caller: Caller, target: JobRef) -> CancelledAs {
        let by = caller.uid;
        let is_array = target.task.is_none() && self.core.jobs.get(&target.job).is_some_and(|j| j.tasks.is_some());
        if is_array && !self.core.runs.contains_key(&target) {
            return self.cancel_array(caller, target);
        }
        match self.core.runs.get(&target) {
            None => {
                self.end_waiting(target, JobState::Cancelled, None, Some(by));
                CancelledAs::Waiting
            }
            Some(run) => {
                if run.may_be_stopped() {
                    self.stop(target, StopWhy::Cancelled, Some(by));
                }
                CancelledAs::Running
            }
        }
    }

    fn cancel_array(&mut self, caller: Caller, target: JobRef) -> CancelledAs {
        let running: Vec<JobRef> = self.core.running_tasks(target.job);
        if running.is_empty() {
            self.end_waiting(target, JobState::Cancelled, None, Some(caller.uid));
            return CancelledAs::Waiting;
        }
        self.emit(Event::ArrayStopping { job: target, by: caller.uid });
        for task in running {
            if self.core.runs.get(&task).is_some_and(RunState::may_be_stopped) {
                self.stop(task, StopWhy::Cancelled, Some(caller.uid));
            }
        }
        CancelledAs::Running
    }
}
