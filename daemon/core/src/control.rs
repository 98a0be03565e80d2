//! What is done to jobs short of ending them: held and released, suspended and resumed, signalled.
//! It refuses to look at jobs that are over: those are the store's.

use crate::access::Caller;
use crate::event::{Event, Stage};
use crate::job::Phase;
use crate::refusal::Refusal;
use crate::state::{Core, RunState};
use crate::step::{Answer, Deciding, Effect, RunSignal};
use qrm_protocol::ids::{JobId, JobRef};
use std::collections::BTreeSet;

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// What waits does not start.
    Hold,
    /// It may.
    Release,
    /// What executes stands still, and keeps what it was granted.
    Suspend,
    /// It goes on.
    Resume,
    /// All its processes get this signal.
    Signal(i32),
}

impl Core {
    /// Whether this would change something for a live job.
    ///
    /// # Errors
    /// It can not be done to this one, or not by this caller.
    pub fn would(&self, caller: Caller, what: Control, target: JobRef) -> Result<bool, Refusal> {
        self.may_control(caller, target)?;
        let job = self.jobs.get(&target.job).filter(|_| self.is_live(target)).ok_or(Refusal::NoSuchJob(target))?;
        match what {
            Control::Hold | Control::Release if target.task.is_some() => Err(Refusal::OnlyWhole(target)),
            Control::Hold if job.phase == Phase::Running => Err(Refusal::HasStarted(target)),
            Control::Hold => Ok(!job.hold),
            Control::Release => Ok(job.hold),
            Control::Suspend | Control::Resume => {
                let runs = self.executing(target);
                if runs.is_empty() {
                    return Err(Refusal::NotExecuting(target));
                }
                let suspends = what == Control::Suspend;
                if suspends && runs.iter().all(|(_, run)| run.stop.is_some()) {
                    return Err(Refusal::IsEnding(target));
                }
                // What stands still to make room goes on by itself, whatever is said of it meanwhile.
                if runs.iter().all(|(_, run)| run.yields || suspends && run.stop.is_some()) {
                    return Err(Refusal::MakesRoom(target));
                }
                let is_other =
                    |run: &RunState| run.stop.is_none() && run.suspended.is_none() == suspends && !run.yields;
                Ok(runs.iter().any(|(_, run)| is_other(run)))
            }
            Control::Signal(_) if self.executing(target).is_empty() => Err(Refusal::NotExecuting(target)),
            Control::Signal(_) => Ok(true),
        }
    }

    /// The runs of a job's own command: its own, or those of its tasks. One whose command was not reported yet may
    /// run already.
    fn executing(&self, target: JobRef) -> Vec<(JobRef, RunState)> {
        let mut jobs = self.running_tasks(target.job);
        jobs.retain(|task| target.task.is_none() || *task == target);
        if self.runs.contains_key(&target) {
            jobs = vec![target];
        }
        let run = |job: JobRef| Some((job, *self.runs.get(&job)?));
        jobs.into_iter().filter_map(run).filter(|(_, run)| run.stage == Stage::Execute).collect()
    }
}

impl Deciding<'_> {
    /// Does it to all of them, or to none.
    pub(crate) fn control(&mut self, caller: Caller, targets: &[JobRef], what: Control) -> Result<Answer, Refusal> {
        for target in targets {
            self.core.would(caller, what, *target)?;
        }
        let arrays: BTreeSet<JobId> = targets.iter().filter(|t| t.task.is_none()).map(|t| t.job).collect();
        let mut done = Vec::with_capacity(targets.len());
        // What is done to an array is done to its tasks, once.
        for target in targets.iter().filter(|t| t.task.is_none() || !arrays.contains(&t.job)) {
            // One that is named twice has it behind it.
            let changes = self.core.would(caller, what, *target)?;
            if changes {
                self.control_one(caller, *target, what);
            }
            done.push((*target, changes));
        }
        Ok(Answer::Controlled(done))
    }

    fn control_one(&mut self, caller: Caller, job: JobRef, what: Control) {
        let by = caller.uid;
        match what {
            Control::Hold => self.emit(Event::Held { job, by }),
            Control::Release => self.emit(Event::Released { job, by }),
            Control::Signal(signal) => {
                self.emit(Event::Signalled { job, signal, by });
                for (job, run) in self.core.executing(job) {
                    self.effects.push(Effect::Signal(run.of(job), RunSignal::Number(signal)));
                }
            }
            Control::Suspend | Control::Resume => {
                let suspends = what == Control::Suspend;
                let boot_ms = self.now.boot_ms;
                for (job, run) in self.core.executing(job) {
                    if run.stop.is_some() || run.suspended.is_none() != suspends || run.yields {
                        continue;
                    }
                    let (event, signal) = match suspends {
                        true => (Event::Suspended { job, by: Some(by), boot_ms, room_for: None }, RunSignal::Freeze),
                        false => (Event::Resumed { job, by: Some(by), boot_ms }, RunSignal::Thaw),
                    };
                    self.emit(event);
                    self.effects.push(Effect::Signal(run.of(job), signal));
                }
            }
        }
    }
}
