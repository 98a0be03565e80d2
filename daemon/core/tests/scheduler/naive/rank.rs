//! Who is first, and what users and queues used, by the formulas of the page in plain integers.
//! It refuses to keep anything sorted.

use super::{Clock, Job, Naive, Run, Task};
use qrm_protocol::ids::{JobId, JobRef, Uid};
use qrm_protocol::job::OnConflict;
use qrm_protocol::queue::QueueName;

const HALF_LIFE: u128 = 7 * 24 * 3_600_000;
/// A rank is counted in so many parts, which is the milliseconds of an hour.
const PARTS: i128 = 3_600_000;
/// All of a share, which is counted in millionths.
const WHOLE: u64 = 1_000_000;

impl Naive {
    fn weight_of_user(&self, user: Uid) -> u64 {
        self.policy.shares.get(&user).copied().unwrap_or(1).into()
    }

    fn weight_of_queue(&self, queue: &QueueName) -> u64 {
        self.queues.get(queue).map_or(1, |queue| queue.spec.weight).into()
    }

    /// Jobs that wait for nothing but room that there could be.
    pub fn waiting(&self) -> impl Iterator<Item = (JobId, &Job)> {
        let waits = |job: &&Job| {
            let some_do = job.tasks.values().any(|task| *task == Task::Waits) && job.running() < job.width();
            job.wants_room() && some_do && job.ways().into_iter().any(|way| self.could_ever(way))
        };
        self.jobs.iter().map(|(id, job)| (*id, job)).filter(move |(_, job)| waits(job))
    }

    /// The share that a user has left, and a queue, in millionths.
    pub fn left(&self, job: &Job) -> (u64, u64) {
        let of = |all: u64, used: u64, weight: u64, weights: u64| {
            let own = u128::from(all) * u128::from(weight);
            let whole = own + u128::from(used) * u128::from(weights);
            (own * u128::from(WHOLE)).checked_div(whole).map_or(WHOLE, |left| u64::try_from(left).unwrap())
        };
        let used = self.users.get(&job.user).copied().unwrap_or(0);
        let users = self.users.iter().filter(|(_, used)| **used > 0);
        let weights = users.map(|(user, _)| self.weight_of_user(*user)).sum();
        let user = of(self.users.values().sum(), used, self.weight_of_user(job.user), weights);
        let queue = job.demand.queue();
        let used = self.lines.get(&queue).copied().unwrap_or(0);
        let lines = self.lines.iter().filter(|(_, used)| **used > 0);
        let weights = lines.map(|(queue, _)| self.weight_of_queue(queue)).sum();
        (user, of(self.lines.values().sum(), used, self.weight_of_queue(&queue), weights))
    }

    fn is_by_age_alone(&self, job: &Job) -> bool {
        self.conflict(job) == OnConflict::Queuing
    }

    /// What a rank has from priority and age.
    fn priority_and_age(&self, now: Clock, job: &Job) -> i128 {
        let weights = self.policy.weights;
        let priority = if self.is_by_age_alone(job) { 50 } else { i128::from(job.demand.priority().get()) };
        let age = i128::from(now.wall) - i128::from(job.since);
        i128::from(weights.priority) * priority * PARTS + i128::from(weights.age_per_hour) * age
    }

    /// By how much a job comes later beside jobs of others: for the arrays before it, or itself, that had a turn.
    fn lag(&self, now: Clock, id: JobId) -> i64 {
        let job = &self.jobs[&id];
        if self.policy.weights.fair_share == 0 || self.is_by_age_alone(job) {
            return 0;
        }
        let line = |job: &Job| (job.user, job.demand.queue(), job.is_idle(), self.is_by_age_alone(job));
        let place = |id: JobId, job: &Job| (-self.priority_and_age(now, job), id);
        let before = self
            .waiting()
            .filter(|(other, record)| line(record) == line(job) && place(*other, record) <= place(id, job));
        before.filter_map(|(_, job)| Some(job.served? - job.since)).max().unwrap_or(0).max(0)
    }

    /// The larger the earlier.
    pub fn rank(&self, now: Clock, id: JobId) -> i128 {
        let (weights, job) = (self.policy.weights, &self.jobs[&id]);
        let (user, queue) = if self.is_by_age_alone(job) { (WHOLE / 2, WHOLE / 2) } else { self.left(job) };
        let share = |left: u64| i128::from(weights.fair_share) * i128::from(left) * PARTS / i128::from(WHOLE);
        let lag = i128::from(weights.age_per_hour) * i128::from(self.lag(now, id));
        self.priority_and_age(now, job) - lag + share(user) + share(queue)
    }

    /// All that wait for room, task by task: what was promised, then by rank, then those that are idle.
    pub fn line(&self, now: Clock) -> Vec<JobRef> {
        let mut line: Vec<_> = Vec::new();
        for (id, job) in self.waiting() {
            let waits = job.tasks.iter().filter(|(_, task)| **task == Task::Waits);
            let waits = waits.map(|(task, _)| JobRef { job: id, task: *task });
            match job.promised {
                // Of an array only one comes first.
                Some(promise) => {
                    line.extend(waits.take(1).map(|job| ((false, Some(promise), false, 0), id, true, job)))
                }
                None => {
                    let turn = (true, None, job.is_idle(), -self.rank(now, id));
                    line.extend(waits.map(|job| (turn, id, true, job)));
                }
            }
        }
        // And those that stand still to make room: of the tasks of an array they are the first.
        for (id, _) in self.runs.iter().filter(|(_, run)| run.yields && run.gone_at.is_none()) {
            let job = &self.jobs[&id.job];
            line.push(((true, None, job.is_idle(), -self.rank(now, id.job)), id.job, false, *id));
        }
        line.sort_unstable();
        line.into_iter().map(|(.., job)| job).collect()
    }

    /// What a time on a part of the machine counts that was used at `at`: what is later counts for more.
    fn counts(at: i64, part: u64, ms: u64) -> u64 {
        let plain = u128::from(part * ms / 1_024);
        let since = u128::try_from(at).unwrap();
        let doubled = plain << (since / HALF_LIFE);
        u64::try_from(doubled + doubled * (since % HALF_LIFE) / HALF_LIFE).unwrap()
    }

    pub fn charge(&mut self, at: i64, id: JobRef, run: Run) -> u64 {
        let job = &self.jobs[&id.job];
        let charged = Self::counts(at, self.part(job.ways()[run.way].takes), run.expected);
        let (user, queue) = (job.user, job.demand.queue());
        *self.users.entry(user).or_default() += charged;
        *self.lines.entry(queue).or_default() += charged;
        charged
    }

    /// What was used instead of what was charged.
    pub fn settle(&mut self, at: i64, id: JobRef, ran: u64) {
        let job = &self.jobs[&id.job];
        let used = Self::counts(at, self.part(self.granted(id).takes), ran);
        let charged = self.runs[&id].charged;
        let (user, queue) = (job.user, job.demand.queue());
        let change = |usage: &mut u64| *usage = usage.saturating_sub(charged) + used;
        change(self.users.entry(user).or_default());
        change(self.lines.entry(queue).or_default());
    }
}
