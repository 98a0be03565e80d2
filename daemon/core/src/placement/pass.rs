//! One look at all that wait, in the order of rank: what starts, what is planned, and for what room is to be made.
//! It refuses to look at jobs behind one of their shape that is blocked, but to plan the first.

use super::preempt::Class;
use super::profile::Profile;
use super::rank::{Merged, Ranks, Turn};
use super::{Plan, Planned, Start};
use crate::job::{Job, Promise, Tasks};
use crate::shape::{Amounts, Kind, Shape, Want};
use crate::state::{Core, RunState};
use crate::step::Now;
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::queue::QueueName;
use qrm_protocol::time::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, btree_set};
use std::sync::Arc;

/// How far a pass goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// So many blocked jobs are planned.
    pub planned: usize,
    /// So many lines are looked at, so that jobs which are all different cost no more.
    pub lines: usize,
    /// It ends when this one is placed, or will not be.
    pub until: Option<JobRef>,
}

/// Lines that a pass looks at.
const MOST_LINES: usize = 4_096;
/// Heads that it sees for that, most of which want more than is left.
const MOST_LOOKS: usize = 16 * MOST_LINES;

impl Limits {
    /// Those of the pass that decides.
    pub fn of(core: &Core) -> Self {
        let planned = usize::try_from(core.policy.planned_starts).unwrap_or(usize::MAX);
        Self { planned, lines: MOST_LINES, until: None }
    }
}

/// A job that is not submitted.
#[derive(Clone, Debug)]
pub(crate) struct Newcomer {
    pub id: JobId,
    pub shape: Arc<Kind>,
    pub since: Timestamp,
}

/// One of those that wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub job: JobRef,
    pub shape: &'a Kind,
    pub wants: &'a [Want],
    /// From 1; nothing for a run that goes on.
    pub attempt: Option<u32>,
    /// How long a run that goes on is expected to do so.
    pub left: Option<u64>,
}

impl Candidate<'_> {
    /// How long it is expected to run in this way.
    pub fn expected(&self, core: &Core, want: Want) -> u64 {
        self.left.unwrap_or_else(|| core.expected(self.shape, want).0)
    }
}

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Started,
    /// It is planned, and the next of its line may be, too.
    Planned,
    /// Nor can those behind it in its line start, or be planned.
    Passed,
}

/// A line, and how far it was looked at.
struct Cursor<'a> {
    shape: &'a Arc<Kind>,
    rest: btree_set::Iter<'a, (Timestamp, JobId)>,
    /// Of the array whose turn it is: which ordinal is next at least, and how many more of its tasks may run.
    tasks: Option<(JobId, &'a Tasks, u32, u32)>,
    /// Nothing in it fits now.
    blocked: bool,
}

pub(crate) struct Pass<'a> {
    pub(super) core: &'a Core,
    pub(super) now: Now,
    ranks: Ranks<'a>,
    limits: Limits,
    newcomer: Option<&'a Newcomer>,
    /// What there would be if others than jobs used no memory.
    offered: Amounts,
    pub(super) profile: Option<Profile>,
    /// How many of a queue started in this pass, or have their planned start.
    placed_in: BTreeMap<QueueName, u64>,
    pub(super) plan: Plan,
    /// Whether anything that is idle runs, and anything that may have to make room.
    pub(super) yielders: Option<(bool, bool)>,
    /// The highest class for which others are making room.
    pub(super) making_room: Option<Class>,
    /// What it was for is known.
    over: bool,
}

impl<'a> Pass<'a> {
    pub fn new(core: &'a Core, now: Now, limits: Limits) -> Self {
        let offered = Amounts::of(&core.machine);
        let mem = core.seen.host.mem_bytes.map_or(offered.mem, |room| offered.mem.min(room));
        let all = Amounts { mem, ..offered };
        let plan = Plan { all, taken: core.used, ..Plan::default() };
        Self {
            core,
            now,
            ranks: Ranks::new(core),
            limits,
            newcomer: None,
            offered,
            profile: None,
            placed_in: BTreeMap::new(),
            plan,
            yielders: None,
            making_room: core.makes_room_for(),
            over: false,
        }
    }

    /// As if this one waited, too.
    pub fn with(mut self, newcomer: &'a Newcomer) -> Self {
        self.newcomer = Some(newcomer);
        self
    }

    /// Looks at all.
    pub fn run(mut self) -> Plan {
        if self.core.seen.host.short.is_some() && self.core.goes_on() {
            self.plan.first = self.ranks.heads().next().map(|((_, _, Reverse(id)), _)| id);
            return self.plan;
        }
        self.keep_promises();
        let newcomer = self.newcomer;
        let mut heads = self.ranks.heads();
        let mut cursors: Vec<Cursor<'a>> = Vec::new();
        let mut nexts: BinaryHeap<(Turn, usize)> = BinaryHeap::new();
        let mut yielding = self.yielding();
        let mut new = newcomer.map(|new| self.ranks.turn(&new.shape, new.since, new.id));
        let (mut lines, mut looks) = (0, 0);
        while !self.is_done(new.is_some()) && !self.is_enough_under_pressure() {
            // Whose turn it is: of heads, of those behind a head, of those that stand still, or of the one that is not there.
            // What comes last here is first where turns are equal.
            let turns = [
                heads.peek().filter(|_| lines < self.limits.lines && looks < MOST_LOOKS),
                nexts.peek().map(|(turn, _)| *turn),
                yielding.last().map(|(turn, _)| *turn),
                new,
            ];
            let Some((which, _)) = turns.iter().enumerate().filter(|(_, t)| t.is_some()).max_by_key(|(_, t)| **t)
            else {
                break;
            };
            match which {
                0 => {
                    looks += 1;
                    if let Some(cursor) = self.open(&mut heads) {
                        lines += 1;
                        // Behind a head that was promised a start there may be one whose turn is later.
                        nexts.extend(self.peek_of(&cursor).map(|turn| (turn, cursors.len())));
                        cursors.push(cursor);
                    }
                }
                1 => {
                    let Some((_, at)) = nexts.pop() else { break };
                    self.advance(&mut cursors[at], at, &mut nexts);
                }
                2 => {
                    let Some((_, Reverse(run))) = yielding.pop() else { break };
                    self.go_on(run);
                }
                _ => {
                    new = None;
                    self.place_newcomer();
                }
            }
        }
        self.plan
    }

    /// The first instant from `at` on at which this fits beside all that runs and is planned.
    pub fn first_fit(self, at: u64, want: Amounts, ms: u64) -> Option<u64> {
        let mut profile = self.running();
        for (at, amounts, ms) in self.places_before(u32::MAX) {
            profile.take(at, amounts, ms);
        }
        profile.earliest_from(at, want, ms)
    }

    /// What the last pass planned before this place: when, what it takes, and for how long.
    pub(super) fn places_before(&self, place: u32) -> Vec<(u64, Amounts, u64)> {
        let of = |(job, planned): (&JobRef, &Planned)| {
            let shape = &self.core.jobs.get(&job.job)?.shape;
            let want = shape.way(planned.variant);
            let (amounts, ms) = match self.core.runs.get(job) {
                Some(run) => self.rest_of(*job, run),
                None => (want.amounts, self.core.expected(shape, want).0),
            };
            Some((planned.at, amounts, ms))
        };
        self.core.seen.plan.planned.iter().filter(|(_, planned)| planned.place < place).filter_map(of).collect()
    }

    /// Whether it is only to know when one starts, and nothing follows from it.
    pub(super) fn only_foretells(&self) -> bool {
        self.limits.until.is_some() || self.newcomer.is_some()
    }

    /// Whether nothing more can come of it.
    fn is_done(&self, expects: bool) -> bool {
        if expects || self.over {
            return self.over;
        }
        if let Some(until) = self.limits.until {
            return self.plan.planned.contains_key(&until) || self.plan.starts.iter().any(|start| start.job == until);
        }
        let (taken, all) = (self.plan.taken, self.plan.all);
        let free = all.less(taken);
        let fewest = self.core.widths.first_key_value().map_or(0, |(cpus, _)| *cpus);
        let is_full = free.places == 0 || free.cpus < fewest;
        is_full && self.plan.planned.len() >= self.limits.planned && self.core.yielding.is_empty()
    }

    /// Under pressure the first that starts is the only one: then some job runs.
    fn is_enough_under_pressure(&self) -> bool {
        self.core.seen.host.short.is_some() && !self.plan.starts.is_empty()
    }

    /// The line of the next head; nothing if there is nothing to be done for it.
    fn open(&mut self, heads: &mut Merged<'a>) -> Option<Cursor<'a>> {
        let ((_, _, Reverse(id)), shape) = heads.next()?;
        if !self.may_plan(shape) && !self.offered.leaves(self.plan.taken, shape.least) {
            self.plan.first = self.plan.first.or(Some(id));
            return None;
        }
        let bucket = self.core.buckets.get(shape)?;
        Some(Cursor { shape, rest: bucket.line.iter(), tasks: None, blocked: false })
    }

    /// Deals with the next of a line, and has the one after it wait for its turn.
    fn advance(&mut self, cursor: &mut Cursor<'a>, at: usize, nexts: &mut BinaryHeap<(Turn, usize)>) {
        let Some(candidate) = self.next_of(cursor) else { return };
        match self.consider(candidate, cursor.blocked) {
            Verdict::Started => {}
            Verdict::Planned => cursor.blocked = true,
            Verdict::Passed => return,
        }
        if let Some(next) = self.peek_of(cursor) {
            nexts.push((next, at));
        }
    }

    /// The turn of the next of a line.
    fn peek_of(&self, cursor: &Cursor<'a>) -> Option<Turn> {
        if let Some((id, tasks, from, left)) = cursor.tasks
            && left > 0
            && tasks.waiting.first_from(from).is_some()
        {
            let since = self.core.jobs.get(&id)?.since();
            return Some(self.ranks.turn(cursor.shape, since, id));
        }
        let is_promised = |id: &JobId| !self.core.promised.is_empty() && self.core.jobs[id].promise().is_some();
        let (since, id) = cursor.rest.clone().find(|(_, id)| !is_promised(id))?;
        Some(self.ranks.turn(cursor.shape, *since, *id))
    }

    fn next_of(&self, cursor: &mut Cursor<'a>) -> Option<Candidate<'a>> {
        loop {
            if let Some((id, tasks, from, left)) = &mut cursor.tasks
                && *left > 0
                && let Some(ordinal) = tasks.waiting.first_from(*from)
            {
                (*from, *left) = (ordinal + 1, *left - 1);
                return Some(task(*id, tasks, ordinal, cursor.shape));
            }
            let (_, id) = cursor.rest.next()?;
            let job = self.core.jobs.get(id)?;
            if job.promise().is_some() {
                continue;
            }
            match &job.tasks {
                Some(tasks) => cursor.tasks = Some((*id, tasks, 0, tasks.may_start())),
                None => {
                    cursor.tasks = None;
                    return Some(candidate(*id, job));
                }
            }
        }
    }

    /// Starts it, or plans it if it is among the first that are blocked.
    fn consider(&mut self, candidate: Candidate<'a>, blocked: bool) -> Verdict {
        if !self.queue_lets(&candidate.shape.queue) || self.would_take_room(candidate.shape) {
            self.plan.first = self.plan.first.or(Some(candidate.job.job));
            return Verdict::Passed;
        }
        if !blocked && let Some((variant, expected_ms)) = self.fitting(candidate) {
            self.start(candidate, variant, expected_ms);
            return Verdict::Started;
        }
        self.plan.first = self.plan.first.or(Some(candidate.job.job));
        self.plan.lacks_memory |= self.lacks_memory(candidate);
        if !self.may_plan(candidate.shape) {
            return Verdict::Passed;
        }
        self.make_room(candidate);
        if self.plan_start(candidate) { Verdict::Planned } else { Verdict::Passed }
    }

    /// Whether a blocked job of this shape is planned.
    fn may_plan(&self, shape: &Shape) -> bool {
        !shape.idle && self.plan.planned.len() < self.limits.planned
    }

    /// Whether more of a queue may run: one that is planned has its place, so that no other of its queue delays it.
    pub(super) fn queue_lets(&self, name: &QueueName) -> bool {
        let Some(queue) = self.core.queues.get(name) else { return true };
        let Some(most) = queue.spec.max_running else { return !queue.paused };
        let running = self.core.in_queue.get(name).map_or(0, |within| within.running);
        let placed = self.placed_in.get(name).copied().unwrap_or(0);
        !queue.paused && running + placed < most.into()
    }

    /// The first of its ways that fits now, for as long as it is expected to run.
    fn fitting(&self, candidate: Candidate<'_>) -> Option<(u8, u64)> {
        (0u8..).zip(candidate.wants).find_map(|(variant, want)| {
            if !self.plan.all.leaves(self.plan.taken, want.amounts) {
                return None;
            }
            let expected = candidate.expected(self.core, *want);
            let profile = self.profile.as_ref().filter(|_| !self.plan.planned.is_empty());
            let fits = profile.is_none_or(|profile| profile.fits_now(want.amounts, expected));
            fits.then_some((variant, expected))
        })
    }

    /// Whether there would be room for it now, if others than jobs used no memory.
    fn lacks_memory(&self, candidate: Candidate<'_>) -> bool {
        let leaves = |all: Amounts, want: &Want| all.leaves(self.plan.taken, want.amounts);
        candidate.wants.iter().any(|want| leaves(self.offered, want) && !leaves(self.plan.all, want))
    }

    fn start(&mut self, candidate: Candidate<'a>, variant: u8, expected_ms: u64) {
        let want = candidate.wants[usize::from(variant)];
        self.plan.taken = self.plan.taken.plus(want.amounts);
        if let Some(profile) = &mut self.profile {
            profile.take(self.now.boot_ms, want.amounts, expected_ms);
        }
        self.count_placed(candidate);
        self.plan.starts.push(Start { job: candidate.job, attempt: candidate.attempt, variant, expected_ms });
    }

    /// Counts it for the bound of its queue, unless it is there already.
    fn count_placed(&mut self, candidate: Candidate<'_>) {
        if candidate.attempt.is_some() {
            *self.placed_in.entry(candidate.shape.queue.clone()).or_default() += 1;
        }
    }

    fn plan_start(&mut self, candidate: Candidate<'_>) -> bool {
        self.plan_start_from(self.now.boot_ms, candidate)
    }

    /// Plans it for then if it fits then in one of its ways, else as early as it does; whether it ever does.
    fn plan_start_from(&mut self, not_before: u64, candidate: Candidate<'_>) -> bool {
        let core = self.core;
        let way = |want: &Want| (want.amounts, candidate.expected(core, *want));
        let ways: Vec<(Amounts, u64)> = candidate.wants.iter().map(way).collect();
        let profile = self.future();
        let then = ways.iter().position(|(amounts, ms)| profile.fits_at(not_before, *amounts, *ms));
        let then = then.and_then(|variant| Some((not_before, u8::try_from(variant).ok()?, ways[variant].1)));
        let Some((at, variant, expected)) = then.or_else(|| self.earliest(candidate)) else { return false };
        self.count_placed(candidate);
        let want = candidate.wants[usize::from(variant)];
        self.future().take(at, want.amounts, expected);
        let place = u32::try_from(self.plan.planned.len()).unwrap_or(u32::MAX);
        self.plan.planned.insert(candidate.job, Planned { at, variant, place });
        true
    }

    /// The earliest start in any of its ways: when, in which, and how long it is expected to run then.
    pub(super) fn earliest(&mut self, candidate: Candidate<'_>) -> Option<(u64, u8, u64)> {
        let core = self.core;
        let profile = self.future();
        let starts = (0u8..).zip(candidate.wants).filter_map(|(variant, want)| {
            let expected = candidate.expected(core, *want);
            profile.earliest(want.amounts, expected).map(|at| (at, variant, expected))
        });
        starts.min_by_key(|(at, variant, _)| (*at, *variant))
    }

    /// What is taken over time to come, with all that started and was planned in this pass.
    pub(super) fn future(&mut self) -> &mut Profile {
        if self.profile.is_none() {
            self.profile = Some(self.running());
        }
        self.profile.as_mut().expect("it was made just now")
    }

    /// What runs take over time to come, with all that started in this pass.
    pub(super) fn running(&self) -> Profile {
        let (core, now) = (self.core, self.now.boot_ms);
        let runs = core.runs.iter().filter(|(_, run)| run.stage == crate::Stage::Execute);
        let ends = runs.map(|(job, run)| (core.expected_end(now, *job, run), core.held(*job, run))).collect();
        let mut profile = Profile::new(now, self.plan.all, ends);
        for start in &self.plan.starts {
            let shape = core.jobs.get(&start.job.job).map(|job| &job.shape);
            let amounts = shape.map_or(Amounts::default(), |shape| shape.way(start.variant).amounts);
            // One that goes on has its memory and files already.
            let amounts = if start.attempt.is_some() { amounts } else { Amounts { mem: 0, disk: 0, ..amounts } };
            profile.take(now, amounts, start.expected_ms);
        }
        profile
    }

    /// Jobs that were promised a start, or that others make room for, come before all others.
    fn keep_promises(&mut self) {
        let core = self.core;
        for (promise, id) in &core.promised {
            if self.is_enough_under_pressure() {
                return;
            }
            let Some(job) = core.jobs.get(id).filter(|job| job.eligible()) else { continue };
            if !core.fits_machine(job) {
                continue;
            }
            let Some(one) = self.first_of(*id, job) else { continue };
            let lets = self.queue_lets(&job.shape.queue) && !self.would_take_room(&job.shape);
            if lets && let Some((variant, expected)) = self.fitting(one) {
                self.start(one, variant, expected);
                continue;
            }
            if !lets {
                continue;
            }
            self.plan.lacks_memory |= self.lacks_memory(one);
            let not_before = match promise {
                // By then, or as soon as it can.
                Promise::Start(start) => {
                    let left = u64::try_from(start.0.saturating_sub(self.now.wall.0)).unwrap_or(0);
                    self.now.boot_ms.saturating_add(left)
                }
                Promise::Room => self.now.boot_ms,
            };
            self.make_room(one);
            if self.plan_start_from(not_before, one) {
                self.limits.planned = self.limits.planned.saturating_add(1);
            }
        }
    }

    /// A job, or the first task of an array that may start.
    fn first_of(&self, id: JobId, job: &'a Job) -> Option<Candidate<'a>> {
        let Some(tasks) = &job.tasks else { return Some(candidate(id, job)) };
        Some(task(id, tasks, tasks.waiting.first()?, &job.shape))
    }

    /// Runs that stand still to make room, the first in rank last, and of an array the smaller index.
    fn yielding(&self) -> Vec<(Turn, Reverse<JobRef>)> {
        let turn = |run: &JobRef| {
            let job = self.core.jobs.get(&run.job)?;
            Some((self.ranks.turn(&job.shape, job.since(), run.job), Reverse(*run)))
        };
        let mut yielding: Vec<(Turn, Reverse<JobRef>)> = self.core.yielding.iter().filter_map(turn).collect();
        yielding.retain(|(_, Reverse(run))| self.core.runs.get(run).is_some_and(|run| run.stop.is_none()));
        yielding.sort_unstable();
        yielding
    }

    /// What one of them wants to go on, and for how long.
    fn rest_of(&self, job: JobRef, run: &RunState) -> (Amounts, u64) {
        let rest = Amounts { mem: 0, disk: 0, ..self.core.granted(job, run).amounts };
        let end = self.core.expected_end(self.now.boot_ms, job, run);
        (rest, end.saturating_sub(self.now.boot_ms))
    }

    /// Has one of them go on if there is room.
    fn go_on(&mut self, job: JobRef) {
        let core = self.core;
        let (Some(run), Some(record)) = (core.runs.get(&job), core.jobs.get(&job.job)) else { return };
        let (rest, left) = self.rest_of(job, run);
        let wants = [Want { amounts: rest, ..core.granted(job, run) }];
        let candidate = Candidate { job, shape: &record.shape, wants: &wants, attempt: None, left: Some(left) };
        let fits = !self.would_take_room(&record.shape)
            && self.plan.all.leaves(self.plan.taken, rest)
            && self.profile.as_ref().is_none_or(|profile| profile.fits_now(rest, left));
        if fits {
            self.plan.taken = self.plan.taken.plus(rest);
            if let Some(profile) = &mut self.profile {
                profile.take(self.now.boot_ms, rest, left);
            }
            self.plan.starts.push(Start { job, attempt: None, variant: run.variant, expected_ms: left });
        } else if self.may_plan(&record.shape) {
            self.plan_start(candidate);
        }
    }

    fn place_newcomer(&mut self) {
        let Some(new) = self.newcomer else { return };
        let wants = new.shape.wants();
        let candidate = Candidate { job: new.id.into(), shape: &new.shape, wants, attempt: Some(1), left: None };
        let lets = self.queue_lets(&new.shape.queue) && !self.would_take_room(&new.shape);
        if lets && let Some((variant, expected_ms)) = self.fitting(candidate) {
            self.plan.starts.push(Start { job: new.id.into(), attempt: Some(1), variant, expected_ms });
        } else {
            self.plan.first = self.plan.first.or(Some(new.id));
            if lets && self.may_plan(&new.shape) {
                self.plan_start(candidate);
            }
        }
        self.over = true;
    }
}

fn candidate(id: JobId, job: &Job) -> Candidate<'_> {
    Candidate {
        job: id.into(),
        shape: &job.shape,
        wants: job.shape.wants(),
        attempt: Some(job.attempt + 1),
        left: None,
    }
}

fn task<'a>(id: JobId, tasks: &Tasks, ordinal: u32, shape: &'a Kind) -> Candidate<'a> {
    let attempt = tasks.again.get(&ordinal).map_or(0, |(last, _)| *last) + 1;
    let job = JobRef::task(id, tasks.index(ordinal));
    Candidate { job, shape, wants: shape.wants(), attempt: Some(attempt), left: None }
}
