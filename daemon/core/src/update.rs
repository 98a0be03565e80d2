//! What may be changed of jobs that live, and what jobs say of themselves.
//! It refuses to change what a process has been given.

use crate::access::Caller;
use crate::event::{Event, Stage};
use crate::job::Phase;
use crate::refusal::Refusal;
use crate::state::Core;
use crate::step::{Answer, Deciding};
use qrm_protocol::amount::Bytes;
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::JobChange;
use qrm_protocol::progress::Fraction;
use qrm_protocol::time::Timestamp;

impl Core {
    /// Whether a live job can be changed so.
    ///
    /// # Errors
    /// It can not, or not by this caller.
    pub fn may_update(
        &self,
        now: Timestamp,
        caller: Caller,
        change: &JobChange,
        target: JobRef,
    ) -> Result<(), Refusal> {
        if change.deadline.is_some_and(|at| at <= now) {
            return Err(Refusal::Past);
        }
        self.may_control(caller, target)?;
        let job = self.jobs.get(&target.job).filter(|_| self.is_live(target)).ok_or(Refusal::NoSuchJob(target))?;
        if target.task.is_some() {
            return Err(Refusal::OnlyWhole(target));
        }
        if change.width.is_some() && job.tasks.is_none() {
            return Err(Refusal::NoArray(target));
        }
        let waits = match &job.tasks {
            Some(tasks) => !tasks.waiting.is_empty() || !tasks.again.is_empty(),
            None => job.phase == Phase::Queued,
        };
        if job.has_started() && !change.is_words() && !(waits && change.is_for_waiting_tasks()) {
            return Err(Refusal::HasStarted(target));
        }
        let (mem, disk) = (change.mem_bytes.unwrap_or_default(), change.disk_bytes.unwrap_or_default());
        self.could_ever_fit(change.cpus.unwrap_or(0), mem, disk)
    }

    /// Whether the machine offers as much.
    pub(crate) fn could_ever_fit(&self, cpus: u32, mem: Bytes, disk: Bytes) -> Result<(), Refusal> {
        if cpus > self.machine.cpus {
            return Err(Refusal::TooManyCpus { asked: cpus, most: self.machine.cpus });
        }
        if mem.0 > self.machine.mem_bytes {
            return Err(Refusal::TooMuchMemory { asked: mem, most: Bytes(self.machine.mem_bytes) });
        }
        if disk.0 > self.machine.disk_bytes {
            return Err(Refusal::TooMuchDisk { asked: disk, most: Bytes(self.machine.disk_bytes) });
        }
        Ok(())
    }
}

impl Deciding<'_> {
    /// Changes all of them, or none.
    pub(crate) fn update(&mut self, caller: Caller, targets: &[JobRef], change: &JobChange) -> Result<Answer, Refusal> {
        for target in targets {
            self.core.may_update(self.now.wall, caller, change, *target)?;
        }
        for target in targets {
            self.emit(Event::Updated { job: *target, by: caller.uid, change: change.clone() });
        }
        Ok(Answer::Controlled(targets.iter().map(|target| (*target, true)).collect()))
    }

    pub(crate) fn progress(
        &mut self,
        caller: Caller,
        job: JobRef,
        fraction: Fraction,
        message: Option<String>,
    ) -> Result<Answer, Refusal> {
        self.core.may_control(caller, job)?;
        match self.core.runs.get(&job) {
            Some(run) if run.stage == Stage::Execute => {
                self.emit(Event::Progress { job, by: Some(caller.uid), fraction, message });
                Ok(Answer::Done)
            }
            _ => Err(Refusal::NotExecuting(job)),
        }
    }
}
