//! Why a job does not start: every cause with who holds what and since when, and when it will.
//! It refuses to guess: what it names is what the last pass met.

mod causes;
mod holders;

use super::Planned;
use super::pass::{Limits, Newcomer, Pass};
use super::rank::Ranks;
use crate::access::Caller;
use crate::event::Stage;
use crate::job::{Demand, Job, Phase};
use crate::line::PARTS;
use crate::look::Waiting;
use crate::refusal::Refusal;
use crate::state::Core;
use crate::step::Now;
use crate::submit::PastEnd;
use qrm_protocol::explain::ReasonCode;
use qrm_protocol::ids::{JobId, JobRef, Uid};
use qrm_protocol::job::{JobState, Offer, OfferId};
use qrm_protocol::time::Timestamp;

/// Who holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which job or task.
    pub job: JobRef,
    /// Whose.
    pub user: Uid,
    /// How much: cpus, bytes, or places.
    pub amount: u64,
    /// When it is expected to give it back; of a job that waits, when it is planned to start.
    pub until: Option<Timestamp>,
}

/// One cause; see [`qrm_protocol::explain::Reason`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What it is.
    pub code: ReasonCode,
    /// For people.
    pub message: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// When it is over.
    pub until: Option<Timestamp>,
    /// Of a resource: how much is asked for, and how much is free.
    pub asked: Option<(u64, u64)>,
    /// Who holds it.
    pub holders: Vec<Held>,
    /// What it waits for, of jobs.
    pub jobs: Vec<String>,
}

impl Cause {
    fn new(code: ReasonCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message, since: None, until: None, asked: None, holders: Vec::new(), jobs: Vec::new() }
    }

    fn since(self, since: Timestamp) -> Self {
        Self { since: Some(since), ..self }
    }
}

/// What makes a rank; in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// From its priority.
    pub priority: i64,
    /// From how long it has waited.
    pub age: i64,
    /// From what its user has left.
    pub user: i64,
    /// From what its queue has left.
    pub queue: i64,
}

/// Why a job does not start, and when it will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Where it is.
    pub state: JobState,
    /// Every cause; none but its deadline if it runs or would start at once.
    pub causes: Vec<Cause>,
    /// The first of them in few words; nothing if it runs or would start at once.
    pub waiting: Option<Waiting>,
    /// It is planned to start then.
    pub planned: Option<Timestamp>,
    /// It could then, as things are.
    pub estimated: Option<Timestamp>,
    /// How long it is expected to run, in milliseconds, and where that is from.
    pub expected: Option<(u64, &'static str)>,
    /// Of one that waits for room.
    pub rank: Option<Rank>,
    /// What it can have instead, and until when.
    pub offers: Vec<(OfferId, Offer, Timestamp)>,
}

impl Explained {
    /// Nothing but where it is.
    fn of(state: JobState) -> Self {
        Self {
            state,
            causes: Vec::new(),
            waiting: None,
            planned: None,
            estimated: None,
            expected: None,
            rank: None,
            offers: Vec::new(),
        }
    }
}

/// For an estimate so many jobs that come first are planned.
const ESTIMATED: usize = 256;

impl Core {
    /// Why a live job or task does not run.
    #[must_use]
    pub fn explain(&self, now: Now, job: JobRef) -> Option<Explained> {
        let state = self.state(job)?;
        let record = self.jobs.get(&job.job)?;
        let runs = self.runs.get(&job);
        let mut causes = Vec::new();
        let mut explained = Explained { offers: self.open_offers(job.job), ..Explained::of(state) };
        match runs {
            Some(run) if run.stage == Stage::Execute => {
                if run.yields && run.stop.is_none() {
                    causes.push(Cause::new(ReasonCode::Preempting, "it stands still to make room for another job"));
                }
            }
            Some(_) => causes.push(Cause::new(ReasonCode::Stage, "its validate or compile command runs")),
            None => {
                explained.waiting = self.waiting(now, job, record);
                self.own_causes(now, job, record, &mut causes);
                if self.is_in_line(job, record) {
                    self.causes_of_room(now, job.job, record, &mut causes);
                    self.foretell(now, job, record, &mut explained);
                }
            }
        }
        self.add_deadline(record, &mut explained, &mut causes);
        explained.causes = causes;
        Some(explained)
    }

    /// The same of a job that is not submitted.
    ///
    /// # Errors
    /// It would not be accepted.
    pub fn when(&self, now: Now, caller: Caller, mut demand: Demand, ended: &PastEnd) -> Result<Explained, Refusal> {
        let never = self.accept(now.wall, &mut demand, ended, |_| None)?;
        let mut job = Job::new(caller.uid, now.wall, demand);
        job.begun |= job.rare().and_then(|rare| rare.begin).is_some_and(|begin| begin <= now.wall);
        let id = JobId(self.next_job);
        let mut causes = Vec::new();
        let mut explained = Explained::of(job.state());
        if let Some(on) = never {
            let message = format!("it would be cancelled: job {on} ended in a way that it can not follow");
            explained.causes.push(Cause::new(ReasonCode::Never, message));
            explained.waiting = Some(Waiting::Never(on));
            return Ok(explained);
        }
        let is_free = self.stage_line.is_empty() && self.stages_running < self.stage_places();
        if !(matches!(job.phase, Phase::Pending(_)) && is_free) {
            self.own_causes(now, id.into(), &job, &mut causes);
            explained.waiting = self.waiting(now, id.into(), &job);
        }
        if job.eligible() {
            let newcomer = Newcomer { id, shape: job.shape.clone(), since: now.wall };
            let plan = Pass::new(self, now, Limits::of(self)).with(&newcomer).run();
            if let Some(start) = plan.starts.iter().find(|start| start.job.job == id) {
                explained.estimated = Some(now.wall);
                explained.waiting = None;
                self.add_expected(&job, start.variant, &mut explained);
            } else {
                // It may be the first of all that wait.
                let first = plan.first.filter(|first| *first != id).map(Waiting::Behind);
                explained.waiting = explained.waiting.or(first);
                self.causes_of_room(now, id, &job, &mut causes);
                match plan.planned.get(&id.into()) {
                    Some(planned) => {
                        explained.planned = Some(now.wall_of(planned.at));
                        self.add_expected(&job, planned.variant, &mut explained);
                    }
                    None => {
                        let limits = Limits { planned: ESTIMATED, ..Limits::of(self) };
                        let plan = Pass::new(self, now, limits).with(&newcomer).run();
                        let planned = plan.planned.get(&id.into());
                        let at = planned.map(|planned| planned.at).or_else(|| self.after_its_queue(now, &job));
                        explained.estimated = at.map(|at| now.wall_of(at));
                        self.add_expected(&job, planned.map_or(0, |planned| planned.variant), &mut explained);
                    }
                }
            }
            explained.rank = Some(self.rank(now, id, &job));
        }
        self.add_deadline(&job, &mut explained, &mut causes);
        explained.causes = causes;
        Ok(explained)
    }

    /// Whether only room is wanting.
    fn is_in_line(&self, job: JobRef, record: &Job) -> bool {
        let waits = |tasks: &crate::job::Tasks| {
            job.task.is_none_or(|task| tasks.ordinal(task).is_some_and(|ordinal| tasks.waiting.contains(ordinal)))
        };
        record.eligible() && record.tasks.as_ref().is_none_or(|tasks| waits(tasks))
    }

    /// When one that waits for room starts, its rank, and how long it is expected to run.
    fn foretell(&self, now: Now, job: JobRef, record: &Job, explained: &mut Explained) {
        let key = self.next_of(job, record);
        let planned = self.seen.plan.planned.get(&key);
        explained.planned = planned.map(|planned| now.wall_of(planned.at));
        explained.rank = Some(self.rank(now, job.job, record));
        let mut variant = planned.map_or(0, |planned| planned.variant);
        if planned.is_none() {
            let limits = Limits { planned: ESTIMATED, until: Some(key), ..Limits::of(self) };
            let plan = Pass::new(self, now, limits).run();
            if let Some(planned) = plan.planned.get(&key) {
                explained.estimated = Some(now.wall_of(planned.at));
                variant = planned.variant;
            } else {
                explained.estimated = self.after_its_queue(now, record).map(|at| now.wall_of(at));
            }
        }
        self.add_expected(record, variant, explained);
    }

    /// When one whose queue is at its bound could start: there is a place in that, and room beside all that is planned.
    fn after_its_queue(&self, now: Now, job: &Job) -> Option<u64> {
        let name = &job.shape.queue;
        let queue = self.queues.get(name).filter(|queue| !queue.paused)?;
        let most = u64::from(queue.spec.max_running?);
        let of_queue = |id: &JobRef| self.jobs.get(&id.job).is_some_and(|job| job.shape.queue == *name);
        let runs = self.runs.iter().filter(|(id, run)| run.stage == Stage::Execute && of_queue(id));
        let mut ends: Vec<u64> = runs.map(|(id, run)| self.expected_end(now.boot_ms, *id, run)).collect();
        ends.sort_unstable();
        let over = u64::try_from(ends.len()).ok()?.checked_sub(most)?;
        let place = *ends.get(usize::try_from(over).ok()?)?;
        let want = job.shape.way(0);
        let (ms, _) = self.expected(&job.shape, want);
        Pass::new(self, now, Limits::of(self)).first_fit(place, want.amounts, ms)
    }

    /// The job, or of an array the task that starts next.
    pub(crate) fn next_of(&self, job: JobRef, record: &Job) -> JobRef {
        match (job.task, record.tasks.as_ref().and_then(|tasks| Some(tasks.index(tasks.waiting.first()?)))) {
            (None, Some(task)) => JobRef::task(job.job, task),
            _ => job,
        }
    }

    /// What the last pass planned for it.
    fn plan_of(&self, id: JobId, record: &Job) -> Option<Planned> {
        self.seen.plan.planned.get(&self.next_of(id.into(), record)).copied()
    }

    fn add_expected(&self, job: &Job, variant: u8, explained: &mut Explained) {
        let (ms, from) = self.expected(&job.shape, job.shape.way(variant));
        explained.expected = Some((ms, from.word()));
    }

    fn rank(&self, now: Now, id: JobId, job: &Job) -> Rank {
        let parts = Ranks::new(self).parts(&job.shape, job.since(), id);
        let thousandths = |part: i64| part / (PARTS / 1_000);
        let age = i64::from(self.policy.weights.age_per_hour).saturating_mul(now.wall.0.saturating_sub(job.since().0));
        let born = i64::from(self.policy.weights.age_per_hour).saturating_mul(job.since().0);
        Rank {
            priority: thousandths(parts.stays.saturating_add(born)),
            age: thousandths(age.saturating_add(parts.turn)),
            user: thousandths(parts.user),
            queue: thousandths(parts.queue),
        }
    }

    fn open_offers(&self, id: JobId) -> Vec<(OfferId, Offer, Timestamp)> {
        let Some(offers) = self.jobs.get(&id).filter(|job| !job.has_started()).and_then(Job::open_offers) else {
            return Vec::new();
        };
        let of = |(place, offer): (u32, &Offer)| (OfferId { job: id, place }, offer.clone(), offers.lapses_at);
        (1..).zip(&offers.offers).map(of).collect()
    }

    /// What a job was offered, and can still accept.
    #[must_use]
    pub fn offers_of(&self, job: JobRef) -> Vec<(OfferId, Offer, Timestamp)> {
        if job.task.is_some() { Vec::new() } else { self.open_offers(job.job) }
    }
}
