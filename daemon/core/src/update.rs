//! What may be changed of jobs that live, and what jobs say of themselves.
//! It refuses to change what a process has been given.

use crate::access::Caller;
use crate::depend::{Verdict, one};
use crate::event::{Event, Stage};
use crate::gates::Gate;
use crate::job::{Demand, Job, Need, Phase, When, boxed};
use crate::refusal::Refusal;
use crate::shape::Amounts;
use crate::state::Core;
use crate::step::{Answer, Deciding};
use crate::submit::{PastEnd, has_time};
use qrm_protocol::amount::Bytes;
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::{DependsOn, JobChange};
use qrm_protocol::progress::Fraction;
use qrm_protocol::time::Timestamp;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

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
        let change = &self.with_limit_of_queue(target, change.clone());
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
            Some(tasks) => !tasks.waiting.is_empty() || !tasks.gated.is_empty() || !tasks.again.is_empty(),
            None => job.phase == Phase::Queued,
        };
        if job.has_started() && !change.is_words() && !(waits && change.is_for_waiting_tasks()) {
            return Err(Refusal::HasStarted(target));
        }
        let before = job.demand();
        let mut demand = before.clone();
        demand.change(change);
        if change.deadline.or(change.begin).is_some() {
            has_time(&demand)?;
        }
        if change.min_run_ms.is_some() {
            self.makes_room_if_it_says_when(&demand)?;
        }
        // What it asked for before was accepted then, whatever the machine and its queue have become since.
        let asks_anew = demand.shape(0).wants() != before.shape(0).wants();
        if asks_anew || demand.queue() != before.queue() {
            self.within_queue(&demand)?;
        }
        if asks_anew {
            self.could_ever_fit(&demand)?;
        }
        let lists = [&change.after, &change.after_ok, &change.after_fail, &change.after_start];
        for on in lists.into_iter().flatten().flatten() {
            if let (DependsOn::Each(on), None) = (on, &job.tasks) {
                return Err(Refusal::NoEach { job: target, on: *on });
            }
            self.no_cycle(target.job, on.job())?;
        }
        Ok(())
    }

    /// That a job which is to wait for another is not what that one waits for itself.
    fn no_cycle(&self, job: JobId, on: JobId) -> Result<(), Refusal> {
        let mut before: BTreeMap<JobId, Option<JobId>> = BTreeMap::from([(on, None)]);
        let mut open = vec![on];
        while let Some(next) = open.pop() {
            if next == job {
                let mut way = vec![job];
                let mut at = before.get(&next).copied().flatten();
                while let Some(id) = at {
                    way.push(id);
                    at = before.get(&id).copied().flatten();
                }
                return Err(Refusal::Cycle(way));
            }
            for need in self.jobs.get(&next).into_iter().flat_map(|job| job.awaits()) {
                if let Entry::Vacant(entry) = before.entry(need) {
                    entry.insert(Some(next));
                    open.push(need);
                }
            }
        }
        Ok(())
    }

    /// Whether the machine offers enough for one of a job's ways.
    pub(crate) fn could_ever_fit(&self, demand: &Demand) -> Result<(), Refusal> {
        let wants = demand.shape(0).wants();
        if self.fits_somehow(&wants) {
            return Ok(());
        }
        let all = Amounts::of(&self.machine);
        let asks = wants.first().copied().unwrap_or_default().amounts;
        let (asked, most) = (asks.cpus.try_into().unwrap_or(u32::MAX), self.machine.cpus);
        Err(if asks.cpus > all.cpus {
            Refusal::TooManyCpus { asked, most }
        } else if asks.mem > all.mem {
            Refusal::TooMuchMemory { asked: Bytes(asks.mem), most: Bytes(all.mem) }
        } else {
            Refusal::TooMuchDisk { asked: Bytes(asks.disk), most: Bytes(all.disk) }
        })
    }
}

/// A change with what became of the dependencies in it.
struct Resolved {
    /// Without those that are met already.
    change: JobChange,
    /// Of an array, what its tasks wait for by themselves, if that has changed.
    gates: Option<Vec<Gate>>,
    /// One that can never be met, if that is the job's end.
    never: Option<JobRef>,
}

impl Core {
    /// One that goes to a queue with a bound of time, and has none itself, has that from then on.
    fn with_limit_of_queue(&self, target: JobRef, mut change: JobChange) -> JobChange {
        // What runs is not given a limit that it did not have.
        let has_limit = self.jobs.get(&target.job).is_some_and(|job| job.shape.time_ms > 0 || job.has_started());
        let most = change.queue.as_ref().and_then(|queue| self.queues.get(queue)?.spec.max_time_ms);
        if !has_limit && change.time_limit_ms.is_none_or(|limit| limit.0 == 0) {
            change.time_limit_ms = most.or(change.time_limit_ms);
        }
        change
    }

    /// The change without dependencies that are met already, and one that can never be, if that is the job's end.
    fn with_open_needs(&self, target: JobRef, mut change: JobChange, ended: &PastEnd) -> Result<Resolved, Refusal> {
        let Some(job) = self.jobs.get(&target.job) else { return Err(Refusal::NoSuchJob(target)) };
        let gates = self.changed_gates(job, &mut change, ended)?;
        let lists = [
            (&mut change.after, When::Ended),
            (&mut change.after_ok, When::Ok),
            (&mut change.after_fail, When::Fail),
            (&mut change.after_start, When::Start),
        ];
        let (mut met, mut never) = (false, None);
        for (list, when) in lists {
            let Some(list) = list else { continue };
            let mut open = Vec::with_capacity(list.len());
            for on in list.drain(..) {
                let one = one(on)?;
                match self.judge(one, when, ended)? {
                    Verdict::Open => open.push(on),
                    Verdict::Met => met = true,
                    Verdict::Never => never = Some(one),
                }
            }
            *list = open;
        }
        let mut demand = job.demand();
        demand.change(&change);
        let is_any = demand.rare.as_ref().is_some_and(|rare| rare.any);
        let is_over = if is_any { !met && demand.needs().is_empty() } else { true };
        if is_any && met {
            // One of them is enough.
            let none = || Some(Vec::new());
            (change.after, change.after_ok) = (none(), none());
            (change.after_fail, change.after_start) = (none(), none());
        }
        Ok(Resolved { change, gates, never: never.filter(|_| is_over) })
    }

    /// The gates that an array has with this, if it changes what is awaited; those dependencies are not in the change then.
    fn changed_gates(&self, job: &Job, change: &mut JobChange, ended: &PastEnd) -> Result<Option<Vec<Gate>>, Refusal> {
        let lists = [&change.after, &change.after_ok, &change.after_fail, &change.after_start];
        if job.tasks.is_none() || lists.iter().all(|list| list.is_none()) && change.any.is_none() {
            return Ok(None);
        }
        // As if it were asked for anew: what it waits for now, in the words of before, and what is changed of it.
        let mut demand = job.demand();
        let mut rare = demand.rare.take().unwrap_or_default();
        let gated = rare.gates.drain(..).map(|gate| Need { on: gate.on, when: gate.when }).collect::<Vec<_>>();
        rare.needs.extend(gated);
        demand.rare = boxed(*rare);
        demand.change(change);
        self.gates_of(&mut demand, ended, |_| None)?;
        let rare = demand.rare.unwrap_or_default();
        // What is left of the lists is for the whole array.
        let of = |when: When| Some(rare.needs.iter().filter(|need| need.when == when).map(|need| need.on).collect());
        (change.after, change.after_ok) = (of(When::Ended), of(When::Ok));
        (change.after_fail, change.after_start) = (of(When::Fail), of(When::Start));
        Ok(Some(rare.gates))
    }
}

impl Deciding<'_> {
    /// Changes all of them, or none.
    pub(crate) fn update(
        &mut self,
        caller: Caller,
        targets: &[JobRef],
        change: &JobChange,
        ended: &PastEnd,
    ) -> Result<Answer, Refusal> {
        let mut changes = Vec::with_capacity(targets.len());
        for target in targets {
            let change = self.core.with_limit_of_queue(*target, change.clone());
            self.core.may_update(self.now.wall, caller, &change, *target)?;
            changes.push(self.core.with_open_needs(*target, change, ended)?);
        }
        for (target, Resolved { change, gates, never }) in targets.iter().zip(changes) {
            self.emit(Event::Updated { job: *target, by: caller.uid, change: Box::new(change), gates });
            if let Some(on) = never {
                self.end_dependent(target.job, on);
            }
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
