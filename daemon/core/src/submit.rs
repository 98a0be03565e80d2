//! Accepting jobs, one by one and in bulks.
//! It refuses to know what they run: only what they ask for is looked at here.

use crate::MAX_LIVE_JOBS;
use crate::access::Caller;
use crate::depend::{Happened, Verdict, one, strike, verdict};
use crate::event::Event;
use crate::job::{Demand, Need, Phase, When};
use crate::refusal::Refusal;
use crate::state::{Bulk, Core};
use crate::step::{Answer, Deciding, StagedJob};
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::JobState;
use qrm_protocol::time::{Millis, Timestamp};
use std::collections::BTreeMap;

/// Jobs that are over: how they ended, and whether they ever started.
pub type PastEnd = BTreeMap<JobRef, (JobState, bool)>;

/// The most jobs of one bulk.
const MAX_BULK: u64 = MAX_LIVE_JOBS as u64;

impl Deciding<'_> {
    pub(crate) fn submit(
        &mut self,
        caller: Caller,
        name: String,
        mut demand: Demand,
        ended: &PastEnd,
    ) -> Result<Answer, Refusal> {
        self.room_for(caller, 1)?;
        let doomed = self.core.accept(self.now.wall, &mut demand, ended, |_| None)?;
        let id = JobId(self.core.next_job);
        self.emit(Event::Submitted { job: id.into(), user: caller.uid, name, demand });
        if let Some(on) = doomed {
            self.end_dependent(id, on);
        }
        Ok(Answer::Submitted(id, JobState::Queued))
    }

    fn room_for(&self, caller: Caller, more: u64) -> Result<(), Refusal> {
        let staged: u64 = self.core.bulks.values().map(|b| b.count).sum();
        if self.core.jobs.len() as u64 + staged + more > MAX_LIVE_JOBS as u64 {
            return Err(Refusal::QueueFull(MAX_LIVE_JOBS));
        }
        let own: u64 = self.core.bulks.values().filter(|bulk| bulk.user == caller.uid).map(|bulk| bulk.count).sum();
        let has = self.core.owners.get(&caller.uid).copied().unwrap_or(0).saturating_add(own);
        if has.saturating_add(more) > caller.most_jobs { Err(Refusal::TooManyJobs(caller.most_jobs)) } else { Ok(()) }
    }

    pub(crate) fn bulk_begin(&mut self, caller: Caller, count: u64) -> Result<Answer, Refusal> {
        if count == 0 {
            return Err(Refusal::EmptyBulk);
        }
        if count > MAX_BULK {
            return Err(Refusal::QueueFull(MAX_LIVE_JOBS));
        }
        self.room_for(caller, count)?;
        let bulk = JobId(self.core.next_job);
        self.emit(Event::BulkBegun { bulk, user: caller.uid, count });
        Ok(Answer::BulkBegun(bulk))
    }

    fn bulk(&self, caller: Caller, id: JobId) -> Result<&Bulk, Refusal> {
        self.core.bulks.get(&id).filter(|b| b.user == caller.uid).ok_or(Refusal::NoSuchBulk(id))
    }

    pub(crate) fn bulk_add(
        &mut self,
        caller: Caller,
        id: JobId,
        mut jobs: Vec<StagedJob>,
        ended: &PastEnd,
    ) -> Result<Answer, Refusal> {
        let bulk = self.bulk(caller, id)?;
        let (staged, announced) = (bulk.staged, bulk.count);
        let got = staged + jobs.len() as u64;
        if got > announced {
            return Err(Refusal::BulkCount { got, announced });
        }
        let mut doomed = Vec::new();
        for at in 0..jobs.len() {
            let (earlier, rest) = jobs.split_at_mut(at);
            let Some(Some(demand)) = rest.first_mut() else { continue };
            let place = staged + at as u64;
            // A job may wait for earlier ones of its own bulk, which nobody else sees yet; so there are no cycles.
            let of_bulk = |on: JobId| match usize::try_from(on.0.checked_sub(id.0)?.checked_sub(staged)?) {
                Ok(at) => earlier.get(at)?.as_ref(),
                Err(_) => None,
            };
            let of_bulk = |on: JobId| of_bulk(on).or_else(|| self.core.staged_in(id, on));
            let in_bulk = |refusal| Refusal::InBulk { place: place + 1, refusal: Box::new(refusal) };
            if let Some(on) = self.core.accept(self.now.wall, demand, ended, of_bulk).map_err(in_bulk)? {
                doomed.push((JobId(id.0 + place), on));
            }
        }
        self.emit(Event::BulkStaged { bulk: id, jobs, doomed });
        Ok(Answer::Staged(got))
    }

    pub(crate) fn bulk_commit(&mut self, caller: Caller, id: JobId) -> Result<Answer, Refusal> {
        let bulk = self.bulk(caller, id)?;
        let count = bulk.jobs.len() as u64;
        if bulk.staged != bulk.count {
            return Err(Refusal::BulkCount { got: bulk.staged, announced: bulk.count });
        }
        self.emit(Event::BulkSubmitted { bulk: id });
        Ok(Answer::BulkSubmitted(count))
    }

    pub(crate) fn bulk_discard(&mut self, caller: Caller, id: JobId) -> Result<Answer, Refusal> {
        self.bulk(caller, id)?;
        self.emit(Event::BulkDiscarded { bulk: id });
        Ok(Answer::Done)
    }
}

/// That its deadline leaves it time to run.
///
/// # Errors
/// It comes before it may begin.
pub(crate) fn has_time(demand: &Demand) -> Result<(), Refusal> {
    match demand.rare.as_ref().and_then(|rare| rare.begin.zip(rare.deadline)) {
        Some((begin, deadline)) if begin >= deadline => Err(Refusal::NoTime),
        _ => Ok(()),
    }
}

impl Core {
    /// Checks a demand and strikes the needs that are met already; a job by whose end it can never run, if there is one.
    /// `of_bulk` finds jobs that are not visible yet, and for which this one may wait.
    pub(crate) fn accept<'a>(
        &self,
        now: Timestamp,
        demand: &mut Demand,
        ended: &PastEnd,
        of_bulk: impl Fn(JobId) -> Option<&'a Demand>,
    ) -> Result<Option<JobRef>, Refusal> {
        self.in_its_queue(demand)?;
        self.could_ever_fit(demand)?;
        if demand.rare.as_ref().and_then(|rare| rare.deadline).is_some_and(|at| at <= now) {
            return Err(Refusal::Past);
        }
        has_time(demand)?;
        self.gates_of(demand, ended, &of_bulk)?;
        let mut verdicts = Vec::new();
        for need in demand.needs() {
            let on = one(need.on)?;
            let verdict = match of_bulk(on.job) {
                Some(of) if on.task.is_none_or(|task| of.array().is_some_and(|array| array.contains(task))) => {
                    Verdict::Open
                }
                Some(_) => return Err(Refusal::NoSuchJob(on)),
                None => self.judge(on, need.when, ended)?,
            };
            verdicts.push((*need, on, verdict));
        }
        let never = verdicts.iter().find(|(.., v)| *v == Verdict::Never).map(|(_, on, _)| *on);
        let judged = |need: &Need| verdicts.iter().find(|(n, ..)| n == need).map_or(Verdict::Open, |(.., v)| *v);
        Ok(if strike(&mut demand.rare, judged) { never } else { None })
    }

    /// Gives a job what its queue says where it does not say, and holds it to what that allows.
    fn in_its_queue(&self, demand: &mut Demand) -> Result<(), Refusal> {
        let name = demand.queue();
        let spec = &self.queue(&name)?.spec;
        demand.priority = demand.priority.or(spec.priority);
        demand.cpus = demand.cpus.or(spec.cpus);
        demand.mem_bytes = demand.mem_bytes.or(spec.mem_bytes.map(|mem| mem.0));
        if demand.time_ms == 0 {
            demand.time_ms = spec.time_limit_ms.or(spec.max_time_ms).map_or(0, |time| time.0);
        }
        self.within_queue(demand)?;
        self.makes_room_if_it_says_when(demand)?;
        demand.settle();
        Ok(())
    }

    /// That one which says how long it runs before it makes room may have to.
    pub(crate) fn makes_room_if_it_says_when(&self, demand: &Demand) -> Result<(), Refusal> {
        let shape = demand.shape(0);
        match shape.min_run_ms > 0 && !self.may_be_preempted(&shape) {
            true => Err(Refusal::NeverMakesRoom),
            false => Ok(()),
        }
    }

    /// That each of the ways of a job ends in the time that its queue allows.
    pub(crate) fn within_queue(&self, demand: &Demand) -> Result<(), Refusal> {
        let name = demand.queue();
        let Some(most) = self.queue(&name)?.spec.max_time_ms else { return Ok(()) };
        let times = demand.shape(0).wants().into_iter().map(|want| want.time_ms);
        match times.map(Millis).find(|time| time.0 == 0 || *time > most) {
            Some(asked) => Err(Refusal::TooLong { queue: name, asked, most }),
            None => Ok(()),
        }
    }

    pub(crate) fn judge(&self, on: JobRef, when: When, ended: &PastEnd) -> Result<Verdict, Refusal> {
        let after = |state: JobState, started: bool| match (verdict(when, Happened::Started), started) {
            (Verdict::Met, true) => Verdict::Met,
            _ => verdict(when, Happened::Ended(state)),
        };
        if let Some((state, started)) = ended.get(&on) {
            return Ok(after(*state, *started));
        }
        let job = self.jobs.get(&on.job).ok_or(Refusal::NoSuchJob(on))?;
        let started = match (on.task, &job.tasks) {
            (None, None) => job.attempt > 0 || job.phase == Phase::Running,
            (None, Some(tasks)) => tasks.started,
            (Some(_), None) => return Err(Refusal::NoSuchJob(on)),
            (Some(task), Some(tasks)) => {
                let ordinal = tasks.ordinal(task).ok_or(Refusal::NoSuchJob(on))?;
                if tasks.ok.contains(ordinal) {
                    return Ok(after(JobState::Completed, true));
                }
                // What is not said to have ended in some way was ended with its array, before it started.
                if tasks.bad.contains(ordinal) {
                    return Ok(after(JobState::Cancelled, false));
                }
                self.runs.contains_key(&on) || tasks.again.contains_key(&ordinal)
            }
        };
        Ok(if started { verdict(when, Happened::Started) } else { Verdict::Open })
    }
}
