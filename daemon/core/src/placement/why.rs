//! Why a job does not start: every cause with who holds what and since when, and when it will.
//! It refuses to guess: what it names is what the last pass met.

use super::expect::From;
use super::pass::{Limits, Newcomer, Pass};
use super::preempt::Class;
use crate::access::Caller;
use crate::event::{Stage, until};
use crate::job::{Demand, Job, Phase};
use crate::line::PARTS;
use crate::look::{Waiting, need_text};
use crate::placement::rank::Ranks;
use crate::policy::Short;
use crate::refusal::Refusal;
use crate::shape::{Amounts, Want};
use crate::state::{Core, RunState};
use crate::step::Now;
use crate::submit::PastEnd;
use qrm_protocol::explain::ReasonCode;
use qrm_protocol::ids::{JobId, JobRef, Uid};
use qrm_protocol::job::{JobState, Offer, OfferId};
use qrm_protocol::time::{Millis, Timestamp};

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

/// So many holders are named.
const MOST_HOLDERS: usize = 16;
/// For an estimate so many jobs that come first are planned.
const ESTIMATED: usize = 256;

/// One of the resources.
type Part = (ReasonCode, fn(Amounts) -> u64);

const PARTS_OF_IT: [Part; 3] = [
    (ReasonCode::Cpus, |amounts| amounts.cpus),
    (ReasonCode::Memory, |amounts| amounts.mem),
    (ReasonCode::Disk, |amounts| amounts.disk),
];

impl Core {
    /// Why a live job or task does not run.
    #[must_use]
    pub fn explain(&self, now: Now, job: JobRef) -> Option<Explained> {
        let state = self.state(job)?;
        let record = self.jobs.get(&job.job)?;
        let runs = self.runs.get(&job);
        let mut causes = Vec::new();
        let mut explained = Explained {
            state,
            causes: Vec::new(),
            waiting: None,
            planned: None,
            estimated: None,
            expected: None,
            rank: None,
            offers: self.open_offers(job.job),
        };
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
        let state = job.state();
        let mut causes = Vec::new();
        let mut explained = Explained {
            state,
            causes: Vec::new(),
            waiting: None,
            planned: None,
            estimated: None,
            expected: None,
            rank: None,
            offers: Vec::new(),
        };
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
            explained.rank = Some(self.rank(now, &job));
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

    /// Causes that are in the job, and not in others.
    fn own_causes(&self, now: Now, job: JobRef, record: &Job, causes: &mut Vec<Cause>) {
        let rare = record.rare();
        if let Phase::Pending(_) = record.phase {
            let message = "it waits for a place for its validate or compile command";
            causes.push(Cause::new(ReasonCode::Stage, message).since(record.submitted));
        }
        if record.hold {
            let since = rare.and_then(|rare| rare.held).unwrap_or(record.submitted);
            causes.push(Cause::new(ReasonCode::Held, "someone holds it").since(since));
        }
        let needs = record.open_needs(job.task);
        let is_gated = record.tasks.as_ref().is_none_or(|tasks| tasks.waiting.is_empty() || job.task.is_some());
        if !needs.is_empty() && (is_gated || !record.needs().is_empty()) {
            let jobs: Vec<String> = needs.iter().map(need_text).collect();
            let any = rare.is_some_and(|rare| rare.any) && jobs.len() > 1;
            let message = format!("it waits for {}{}", if any { "any of " } else { "the " }, first_few(&jobs));
            let cause = Cause::new(ReasonCode::Dependency, message).since(record.submitted);
            causes.push(Cause { jobs, ..cause });
        }
        if let (false, Some(begin)) = (record.begun, rare.and_then(|rare| rare.begin)) {
            let cause = Cause::new(ReasonCode::Begin, "it is not to begin before then").since(record.submitted);
            causes.push(Cause { until: Some(begin), ..cause });
        }
        let again = job.task.zip(record.tasks.as_ref());
        let again = again.and_then(|(task, tasks)| tasks.again.get(&tasks.ordinal(task)?)?.1);
        if let Some(due) = record.due_boot_ms.or(again) {
            let message = format!("its next attempt is in {}", until(due, now.boot_ms));
            let cause = Cause::new(ReasonCode::Backoff, message);
            causes.push(Cause { until: Some(now.wall_of(due)), ..cause });
        }
        if let Some(tasks) = record.tasks.as_ref().filter(|tasks| tasks.at_width() && again.is_none()) {
            let message = format!("{} of its tasks run, as many as it allows", tasks.running);
            let holders = self.holders(now, |run, _| u64::from(run.job == job.job && run.task.is_some()));
            let since = self.last_start(|run| run.job == job.job);
            causes.push(Cause { holders, since, ..Cause::new(ReasonCode::ArrayWidth, message) });
        }
        let is_to_start =
            record.tasks.as_ref().is_none_or(|tasks| !tasks.waiting.is_empty() || !tasks.again.is_empty());
        if is_to_start && !self.fits_machine(record) {
            causes.push(Cause::new(ReasonCode::Machine, "it asks for more than the machine offers now"));
        }
    }

    /// Causes that are in the machine, in its queue and in other jobs.
    fn causes_of_room(&self, now: Now, id: JobId, job: &Job, causes: &mut Vec<Cause>) {
        if !self.fits_machine(job) {
            return;
        }
        if let Some(cause) = self.pressure() {
            causes.push(cause);
        }
        let before = causes.len();
        self.queue_causes(now, job, causes);
        let wants = job.shape.wants();
        let plan = &self.seen.plan;
        // The way that comes nearest: the one in which it is planned, else the one that it prefers.
        let planned = plan.planned.get(&id.into()).map_or(0, |planned| usize::from(planned.variant));
        let fits = wants.iter().find(|want| plan.all.leaves(plan.taken, want.amounts));
        let Some(want) = wants.get(planned).or(wants.first()).copied() else { return };
        if fits.is_none() {
            self.shortages(now, job, want, causes);
        } else if causes.len() == before && self.pressure().is_none() {
            self.rank_causes(now, id, job, causes);
        }
        self.preempting(now, id, causes);
    }

    /// The pressure under which nothing more starts.
    fn pressure(&self) -> Option<Cause> {
        let short = self.seen.host.short.filter(|_| !self.runs.is_empty())?;
        let (what, permille, most) = match short {
            Short::Memory { permille, most } => ("memory", permille, most),
            Short::Cpu { permille, most } => ("cpu", permille, most),
        };
        let message = format!(
            "the machine is short of {what}: processes waited for it {}.{} % of the last 10 s, and nothing more starts above {}.{} %",
            permille / 10,
            permille % 10,
            most / 10,
            most % 10
        );
        Some(Cause { since: self.seen.short_since, ..Cause::new(ReasonCode::Pressure, message) })
    }

    fn queue_causes(&self, now: Now, job: &Job, causes: &mut Vec<Cause>) {
        let name = &job.shape.queue;
        let Some(queue) = self.queues.get(name) else { return };
        if queue.paused {
            let cause = Cause::new(ReasonCode::QueuePaused, format!("queue {name} is paused"));
            causes.push(Cause { since: queue.paused_at.map(|at| at.max(job.since())), ..cause });
        }
        let running = self.in_queue.get(name).map_or(0, |within| within.running);
        if let Some(most) = queue.spec.max_running.filter(|most| running >= (*most).into()) {
            let message = Waiting::QueueFull { queue: name.clone(), most }.to_string();
            let of_queue = |run: JobRef| self.jobs.get(&run.job).is_some_and(|job| job.shape.queue == *name);
            let holders = self.holders(now, |run, _| u64::from(of_queue(run)));
            let until = holders.first().and_then(|holder| holder.until);
            let asked = Some((1, u64::from(most).saturating_sub(running)));
            let since = self.last_start(of_queue).map(|at| at.max(job.since()));
            causes.push(Cause { holders, until, asked, since, ..Cause::new(ReasonCode::QueueFull, message) });
        }
    }

    /// What there is not enough of.
    fn shortages(&self, now: Now, job: &Job, want: Want, causes: &mut Vec<Cause>) {
        let plan = &self.seen.plan;
        let (asks, free) = (want.amounts, plan.all.less(plan.taken));
        if asks.places > free.places {
            let is_alone = want.is_exclusive() || plan.taken.places > crate::MAX_RUNS as u64 - 1;
            let holders = self.holders(now, |_, held| held.places);
            let since = self.short_since(job, asks.places - free.places, |amounts| amounts.places);
            let (code, message) = match (want.is_exclusive(), is_alone) {
                (true, _) => (ReasonCode::Exclusive, "it wants the machine for itself, and others run".to_owned()),
                (false, true) if holders.len() == 1 => {
                    (ReasonCode::Exclusive, format!("job {} has the machine for itself", holders[0].job))
                }
                (false, _) => (ReasonCode::Runs, format!("{} jobs run, as many as may", self.runs.len())),
            };
            let asked = Some((asks.places, free.places));
            causes.push(Cause { holders, asked, since, ..Cause::new(code, message) });
        }
        for (code, part) in PARTS_OF_IT {
            let (asked, has) = (part(asks), part(free));
            if asked <= has {
                continue;
            }
            // Of memory less may be free than is granted to nobody.
            let granted = part(Amounts::of(&self.machine).less(self.used));
            let message = Waiting::short(code, asked, has);
            let cause = match code == ReasonCode::Memory && asked <= granted {
                true => {
                    let message = format!("{message}: what others than jobs use is not free");
                    Cause::new(ReasonCode::MemoryInUse, message)
                }
                false => {
                    let holders = self.holders(now, |_, held| part(held));
                    let since = self.short_since(job, asked - has, part);
                    Cause { holders, since, ..Cause::new(code, message) }
                }
            };
            causes.push(Cause { asked: Some((asked, has)), ..cause });
        }
    }

    /// It would fit, and others come first.
    fn rank_causes(&self, now: Now, id: JobId, job: &Job, causes: &mut Vec<Cause>) {
        let plan = &self.seen.plan;
        let own = plan.planned.get(&id.into()).map_or(u32::MAX, |planned| planned.place);
        let mut before: Vec<_> = plan.planned.iter().filter(|(_, planned)| planned.place < own).collect();
        before.sort_unstable_by_key(|(_, planned)| planned.place);
        let holder = |(job, planned): (&JobRef, &super::Planned)| Held {
            job: *job,
            user: self.owner(job.job).unwrap_or_default(),
            amount: 0,
            until: Some(now.wall_of(planned.at)),
        };
        let holders: Vec<Held> = before.into_iter().take(MOST_HOLDERS).map(holder).collect();
        let cause = match holders.first() {
            Some(first) => {
                let message = format!("there is room now, and it would delay job {}, which comes first", first.job);
                Cause::new(ReasonCode::WouldDelay, message)
            }
            None => {
                let first = plan.first.filter(|first| *first != id);
                let whom = first.map_or_else(|| "others".to_owned(), |first| format!("job {first}"));
                Cause::new(ReasonCode::Rank, format!("it comes after {whom}"))
            }
        };
        causes.push(Cause { holders, ..cause.since(job.since()) });
    }

    /// When the last of these runs started.
    fn last_start(&self, of: impl Fn(JobRef) -> bool) -> Option<Timestamp> {
        let runs = self.runs.iter().filter(|(job, run)| run.stage == Stage::Execute && of(**job));
        runs.filter_map(|(_, run)| run.released.map(|(at, _)| at)).max()
    }

    /// Who makes room for it already.
    fn preempting(&self, now: Now, id: JobId, causes: &mut Vec<Cause>) {
        let is_for = |run: &RunState| run.stop.is_some_and(|stop| stop.room_for.is_some_and(|job| job.job == id));
        let leaves = |(_, run): &(&JobRef, &RunState)| is_for(run);
        let holders: Vec<Held> =
            self.runs.iter().filter(leaves).map(|(job, run)| self.holder(now, *job, run, 1)).collect();
        if !holders.is_empty() {
            let names: Vec<String> = holders.iter().map(|holder| holder.job.to_string()).collect();
            let message = format!("room is being made for it by {}", first_few(&names));
            causes.push(Cause { holders, ..Cause::new(ReasonCode::Preempting, message) });
        }
    }

    fn holder(&self, now: Now, job: JobRef, run: &RunState, amount: u64) -> Held {
        let until = (run.stage == Stage::Execute).then(|| now.wall_of(self.expected_end(now.boot_ms, job, run)));
        Held { job, user: self.owner(job.job).unwrap_or_default(), amount, until }
    }

    /// Runs that hold some of it, those that give it back first.
    fn holders(&self, now: Now, amount: impl Fn(JobRef, Amounts) -> u64) -> Vec<Held> {
        let runs = self.runs.iter().filter(|(_, run)| run.stage == Stage::Execute);
        let held = runs.filter_map(|(job, run)| match amount(*job, self.held(*job, run)) {
            0 => None,
            amount => Some(self.holder(now, *job, run, amount)),
        });
        let mut held: Vec<Held> = held.collect();
        held.sort_unstable_by_key(|holder| (holder.until, holder.job));
        held.truncate(MOST_HOLDERS);
        held
    }

    /// Since when so much of a resource is missing: since the last start without which it would not be.
    fn short_since(&self, job: &Job, missing: u64, part: fn(Amounts) -> u64) -> Option<Timestamp> {
        let runs = self.runs.iter().filter(|(_, run)| run.stage == Stage::Execute);
        let began = |(id, run): (&JobRef, &RunState)| (run.released.map(|(at, _)| at), part(self.held(*id, run)));
        let mut starts: Vec<(Option<Timestamp>, u64)> = runs.map(began).filter(|(_, amount)| *amount > 0).collect();
        // Those that were not released yet have started last.
        starts.sort_unstable_by_key(|(at, _)| std::cmp::Reverse(at.unwrap_or(Timestamp(i64::MAX))));
        let mut given = 0u64;
        let decisive = starts.into_iter().find(|(_, amount)| {
            given = given.saturating_add(*amount);
            given >= missing
        });
        let since = decisive.and_then(|(at, _)| at);
        Some(since.map_or(job.since(), |since| since.max(job.since())))
    }

    /// When one that waits for room starts, its rank, and how long it is expected to run.
    fn foretell(&self, now: Now, job: JobRef, record: &Job, explained: &mut Explained) {
        let key = self.next_of(job, record);
        let planned = self.seen.plan.planned.get(&key);
        explained.planned = planned.map(|planned| now.wall_of(planned.at));
        explained.rank = Some(self.rank(now, record));
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

    fn add_expected(&self, job: &Job, variant: u8, explained: &mut Explained) {
        let (ms, from) = self.expected(&job.shape, job.shape.way(variant));
        explained.expected = Some((ms, from.word()));
    }

    /// One that can not be over by its deadline.
    fn add_deadline(&self, job: &Job, explained: &mut Explained, causes: &mut Vec<Cause>) {
        let (Some(deadline), Some(start)) = (job.deadline(), explained.planned.or(explained.estimated)) else { return };
        // What is only assumed is no reason to warn of.
        let expected = explained.expected.filter(|(_, from)| *from != From::Assumed.word());
        let runs = i64::try_from(expected.map_or(0, |(ms, _)| ms)).unwrap_or(i64::MAX);
        if start.0.saturating_add(runs) > deadline.0 {
            let message = format!(
                "its deadline comes before it would be over: it is expected to run {}",
                Millis(runs.unsigned_abs())
            );
            causes.push(Cause { until: Some(deadline), ..Cause::new(ReasonCode::Deadline, message) });
        }
    }

    fn rank(&self, now: Now, job: &Job) -> Rank {
        let parts = Ranks::new(self).parts(&job.shape, job.since());
        let thousandths = |part: i64| part / (PARTS / 1_000);
        let age = i64::from(self.policy.weights.age_per_hour).saturating_mul(now.wall.0.saturating_sub(job.since().0));
        let born = i64::from(self.policy.weights.age_per_hour).saturating_mul(job.since().0);
        Rank {
            priority: thousandths(parts.stays.saturating_add(born)),
            age: thousandths(age),
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

    /// Why a job that waits for room does not start, in one word of the last pass; nothing if it would.
    pub(crate) fn short_of(&self, id: JobId, job: &Job) -> Option<Waiting> {
        if let Some(pressure) = self.pressure() {
            return Some(Waiting::Pressure(pressure.message));
        }
        let name = &job.shape.queue;
        if let Some(queue) = self.queues.get(name) {
            let running = self.in_queue.get(name).map_or(0, |within| within.running);
            if queue.paused {
                return Some(Waiting::QueuePaused(name.clone()));
            }
            if let Some(most) = queue.spec.max_running.filter(|most| running >= (*most).into()) {
                return Some(Waiting::QueueFull { queue: name.clone(), most });
            }
        }
        let plan = &self.seen.plan;
        let own = job.shape.wants();
        let fits = |want: &Want| plan.all.leaves(plan.taken, want.amounts);
        // The way that comes nearest: the one in which it is planned, else one that the machine has.
        let planned = plan.planned.get(&id.into()).and_then(|planned| own.get(usize::from(planned.variant)));
        let nearest = planned.or_else(|| own.iter().find(|want| plan.all.holds(want.amounts))).or(own.first())?;
        let (asks, free) = (nearest.amounts, plan.all.less(plan.taken));
        if own.iter().any(fits) {
            let first = plan.planned.iter().min_by_key(|(_, planned)| planned.place);
            return match (first, plan.first) {
                (Some((first, _)), _) if first.job != id => Some(Waiting::WouldDelay(*first)),
                (_, Some(first)) if first != id => Some(Waiting::Behind(first)),
                _ => None,
            };
        }
        if asks.places > free.places {
            return Some(match nearest.is_exclusive() {
                true => Waiting::Exclusive,
                false => Waiting::Runs(crate::MAX_RUNS),
            });
        }
        let short = PARTS_OF_IT.into_iter().find(|(_, part)| part(asks) > part(free));
        short.map(|(code, part)| Waiting::Short { code, asked: part(asks), free: part(free) })
    }

    /// How important a job is beside those that could make room for it, for people.
    #[must_use]
    pub fn class_of(&self, job: JobId) -> Option<&'static str> {
        self.jobs.get(&job).map(|job| match Class::of(&job.shape) {
            Class::Idle => "idle",
            Class::Low => "low",
            Class::Normal => "normal",
            Class::High => "high",
            Class::Critical => "critical",
        })
    }
}

/// The first three, and how many more.
fn first_few(words: &[String]) -> String {
    let more = if words.len() > 3 { format!(" and {} more", words.len() - 3) } else { String::new() };
    words.iter().take(3).cloned().collect::<Vec<_>>().join(", ") + &more
}
