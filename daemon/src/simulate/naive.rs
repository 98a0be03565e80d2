//! The schedule that daemon/SCHEDULING.md defines, made the plain way: at every instant all jobs are sorted, and all time is
//! looked through. It refuses to know the core: what that does faster is compared with this, start by start.

use super::workload::{Amount, Job};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The most runs at once.
const PLACES: usize = 1_000;
/// The least that the expectation of a run grows by that takes longer.
const LEAST_MORE_MS: u64 = 60_000;
/// How long a run has that is told to end.
const GRACE_MS: u64 = 10_000;
const MINUTE_MS: u64 = 60_000;
/// Usage halves in this time.
const HALF_LIFE_MS: u64 = 7 * 24 * 3_600_000;
/// After so many of these the next start writes down all that was used, so that numbers stay small.
const EPOCH: u64 = 16;
/// All of a share, and all of the machine.
const WHOLE: u128 = 1_000_000;

/// What decides who is first and how far is planned; priority and queues are the same for all jobs of a log.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// How many blocked jobs are planned.
    pub planned: usize,
    /// What an hour of waiting counts.
    pub age_per_hour: u32,
    /// What the whole share of a user counts.
    pub fair_share: u32,
}

/// Something that takes room from some time on until another: a run, or the plan of one.
#[derive(Clone, Copy)]
struct Taken {
    from: u64,
    until: u64,
    holds: Amount,
}

/// What jobs have in common that decides, in a log.
type Shape = (Option<u32>, u32, u64, u64);

fn shape(job: &Job) -> Shape {
    (job.user, job.holds.cpus, job.holds.memory, job.asked_ms)
}

/// A run, for how long it was expected to go on when it started, and what its user was charged for that.
struct Running {
    job: usize,
    began: u64,
    expected: u64,
    charged: u128,
}

struct Naive<'a> {
    jobs: &'a [Job],
    machine: Amount,
    way: Way,
    now: u64,
    waiting: Vec<usize>,
    running: Vec<Running>,
    starts: Vec<u64>,
    /// When the first blocked jobs are to start.
    planned: BTreeMap<usize, u64>,
    /// When it is to be looked whether they do.
    wake: Option<u64>,
    /// How long the last two runs of a shape were, the later one first.
    ran: BTreeMap<Shape, Vec<u64>>,
    /// What each user used, as it counted so many half-lives after the first submit: what comes later counts for more.
    used: BTreeMap<Option<u32>, u128>,
    epoch: u64,
}

/// When each job starts.
pub fn schedule(jobs: &[Job], machine: Amount, way: Way) -> Vec<u64> {
    let mut naive = Naive {
        jobs,
        machine,
        way,
        now: 0,
        waiting: Vec::new(),
        running: Vec::new(),
        starts: vec![0; jobs.len()],
        planned: BTreeMap::new(),
        wake: None,
        ran: BTreeMap::new(),
        used: BTreeMap::new(),
        epoch: 0,
    };
    let mut coming = 0;
    loop {
        // Ends before submits; those who are told to end first, and then the smaller number.
        let end = |run: &Running| {
            let job = jobs[run.job];
            (run.began + job.run_ms, job.run_ms < job.asked_ms, run.job)
        };
        let ends = naive.running.iter().map(end).min();
        let comes = jobs.get(coming).map(|job| job.submit_ms);
        let Some(now) = ends.map(|(at, ..)| at).into_iter().chain(comes).chain(naive.wake).min() else {
            return naive.starts;
        };
        naive.now = now;
        match ends {
            Some((at, _, job)) if at == now => naive.end(job),
            _ if comes == Some(now) => {
                naive.waiting.push(coming);
                coming += 1;
            }
            // A start that was planned did not come, for something runs for longer than expected.
            _ => {}
        }
        while naive.pass() {}
        naive.wake = naive.next_look();
    }
}

impl Naive<'_> {
    fn end(&mut self, job: usize) {
        let Some(place) = self.running.iter().position(|run| run.job == job) else { return };
        let run = self.running.remove(place);
        let ran = self.now - run.began;
        let last = self.ran.entry(shape(&self.jobs[job])).or_default();
        last.insert(0, ran);
        last.truncate(2);
        let counts = self.counts(job, ran);
        let used = self.used.entry(self.jobs[job].user).or_default();
        *used = used.saturating_sub(run.charged) + counts;
    }

    /// As long as the longer of the last two runs of the shape, but never more than the time limit.
    fn expected(&self, job: usize) -> u64 {
        let asked = self.jobs[job].asked_ms;
        let longer = self.ran.get(&shape(&self.jobs[job])).and_then(|last| last.iter().max());
        longer.map_or(asked, |longer| (*longer).clamp(1, asked))
    }

    /// When a run will be over, as far as can be said now.
    fn ends(&self, run: &Running) -> u64 {
        let ran = self.now - run.began;
        let asked = self.jobs[run.job].asked_ms;
        if ran >= asked {
            // It was told to end.
            return run.began + asked + GRACE_MS;
        }
        let mut whole = run.expected;
        while whole < ran {
            whole += (whole / 2).max(LEAST_MORE_MS);
        }
        // It is there as long as nobody has said that it ended.
        (run.began + whole.min(asked)).max(self.now + 1)
    }

    /// The largest part of the machine that a job has, in millionths.
    fn part(&self, job: usize) -> u128 {
        let holds = self.jobs[job].holds;
        let of = |part: u64, whole: u64| (u128::from(part) * WHOLE).checked_div(u128::from(whole)).unwrap_or(0);
        let cpus = of(holds.cpus.into(), self.machine.cpus.into());
        cpus.max(of(holds.memory, self.machine.memory)).max(WHOLE / PLACES as u128)
    }

    /// What it counts to use what a job does for so long. It is twice as much for each half-life that it comes later, which is
    /// the same as if all before halved.
    fn counts(&self, job: usize, time: u64) -> u128 {
        let since = (self.now - self.epoch * HALF_LIFE_MS).min(EPOCH * HALF_LIFE_MS);
        let (whole, part) = (since / HALF_LIFE_MS, since % HALF_LIFE_MS);
        let counts = (self.part(job) * u128::from(time) / 1024) << whole;
        counts + counts * u128::from(part) / u128::from(HALF_LIFE_MS)
    }

    /// Writes down what was used long ago.
    fn write_down(&mut self) {
        let since = self.now / HALF_LIFE_MS - self.epoch;
        if since >= EPOCH {
            let bits = u32::try_from(since).unwrap_or(u32::MAX);
            let fade = |used: &mut u128| *used = used.checked_shr(bits).unwrap_or(0);
            self.used.values_mut().for_each(fade);
            self.running.iter_mut().map(|run| &mut run.charged).for_each(fade);
            self.epoch += since;
        }
    }

    /// The share that is left to each user who used something, in millionths.
    fn shares(&self) -> BTreeMap<Option<u32>, u128> {
        let used = || self.used.iter().filter(|(_, used)| **used > 0);
        let (all, users) = (used().map(|(_, used)| used).sum::<u128>(), used().count() as u128);
        used().map(|(user, own)| (*user, all * WHOLE / (all + own * users))).collect()
    }

    /// Those that wait, by rank.
    fn order(&self) -> Vec<usize> {
        let shares = self.shares();
        let rank = |job: &usize| {
            let age = u128::from(self.now - self.jobs[*job].submit_ms);
            let share = shares.get(&self.jobs[*job].user).copied().unwrap_or(WHOLE);
            // In 3,600,000ths, so that a millisecond counts.
            let rank =
                u128::from(self.way.age_per_hour) * age + u128::from(self.way.fair_share) * share * 3_600 / 1_000;
            (Reverse(rank), *job)
        };
        let mut order = self.waiting.clone();
        order.sort_by_cached_key(rank);
        order
    }

    /// Looks at all that wait; whether one of them started.
    fn pass(&mut self) -> bool {
        let run = |run: &Running| Taken { from: self.now, until: self.ends(run), holds: self.jobs[run.job].holds };
        let mut taken: Vec<Taken> = self.running.iter().map(run).collect();
        let (mut planned, mut starting) = (BTreeMap::new(), Vec::new());
        for job in self.order() {
            let (holds, time) = (self.jobs[job].holds, self.expected(job));
            let has_place = self.running.len() + starting.len() < PLACES;
            if has_place && self.fits(&taken, holds, self.now, time) {
                taken.push(Taken { from: self.now, until: self.now + time, holds });
                starting.push(job);
            } else if planned.len() < self.way.planned {
                // Room is made by ends alone, and after the last of them there is some for each that is smaller than the machine.
                let instants: BTreeSet<u64> = taken.iter().map(|taken| taken.until).collect();
                let last = instants.last().copied().unwrap_or(self.now);
                let from = instants.into_iter().find(|from| self.fits(&taken, holds, *from, time)).unwrap_or(last);
                taken.push(Taken { from, until: from + time, holds });
                planned.insert(job, from);
            }
        }
        self.planned = planned;
        for job in &starting {
            self.start(*job);
        }
        !starting.is_empty()
    }

    /// When it is looked at planned starts again that should have come, at most once in a minute.
    fn next_look(&self) -> Option<u64> {
        self.planned.values().min().map(|first| (first + 1).max(self.now + MINUTE_MS))
    }

    /// Whether there is room for so much from some time on for so long: at its beginning, and wherever something else begins.
    fn fits(&self, taken: &[Taken], holds: Amount, from: u64, time: u64) -> bool {
        let room = |at: u64| {
            let there = taken.iter().filter(|taken| taken.from <= at && at < taken.until);
            let there = there.fold(Amount::default(), |sum, taken| sum.plus(taken.holds));
            holds.fits(self.machine.less(there))
        };
        let begins = taken.iter().map(|taken| taken.from).filter(|begin| (from..from + time).contains(begin));
        room(from) && begins.into_iter().all(room)
    }

    fn start(&mut self, job: usize) {
        self.write_down();
        let (expected, user) = (self.expected(job), self.jobs[job].user);
        let charged = self.counts(job, expected);
        *self.used.entry(user).or_default() += charged;
        self.starts[job] = self.now;
        self.waiting.retain(|waits| *waits != job);
        self.running.push(Running { job, began: self.now, expected, charged });
    }
}
