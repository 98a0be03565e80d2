//! The causes for which a job does not start: its own, those of its queue, and those of room and rank.
//! It refuses to plan: what it names is what the last pass met.

use super::holders::MOST_HOLDERS;
use super::{Cause, Explained, Held};
use crate::event::until;
use crate::job::{Job, Phase};
use crate::look::{Waiting, need_text};
use crate::placement::Planned;
use crate::placement::expect::From;
use crate::policy::Short;
use crate::shape::{Amounts, Want};
use crate::state::{Core, RunState};
use crate::step::Now;
use qrm_protocol::explain::ReasonCode;
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::time::Millis;

/// One of the resources.
type Part = (ReasonCode, fn(Amounts) -> u64);

const PARTS_OF_IT: [Part; 3] = [
    (ReasonCode::Cpus, |amounts| amounts.cpus),
    (ReasonCode::Memory, |amounts| amounts.mem),
    (ReasonCode::Disk, |amounts| amounts.disk),
];

impl Core {
    /// Causes that are in the job, and not in others.
    pub(super) fn own_causes(&self, now: Now, job: JobRef, record: &Job, causes: &mut Vec<Cause>) {
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
    pub(super) fn causes_of_room(&self, now: Now, id: JobId, job: &Job, causes: &mut Vec<Cause>) {
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
        let planned = self.plan_of(id, job).map_or(0, |planned| usize::from(planned.variant));
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
        let short = self.seen.host.short.filter(|_| self.goes_on())?;
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
            // More may run than may now.
            let over = usize::try_from(running.saturating_sub(most.into())).unwrap_or(usize::MAX);
            let until = holders.get(over).and_then(|holder| holder.until);
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
        let own = self.plan_of(id, job).map_or(u32::MAX, |planned| planned.place);
        let mut before: Vec<_> = plan.planned.iter().filter(|(_, planned)| planned.place < own).collect();
        before.sort_unstable_by_key(|(_, planned)| planned.place);
        let holder = |(job, planned): (&JobRef, &Planned)| Held {
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

    /// One that can not be over by its deadline.
    pub(super) fn add_deadline(&self, job: &Job, explained: &mut Explained, causes: &mut Vec<Cause>) {
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
        let planned = self.plan_of(id, job).and_then(|planned| own.get(usize::from(planned.variant)));
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
}

/// The first three, and how many more.
fn first_few(words: &[String]) -> String {
    let more = if words.len() > 3 { format!(" and {} more", words.len() - 3) } else { String::new() };
    words.iter().take(3).cloned().collect::<Vec<_>>().join(", ") + &more
}
