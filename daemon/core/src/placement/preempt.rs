//! Which runs make room for a job: as little work as possible is lost, and none of them for nothing.
//! It refuses to end anything.

use super::Room;
use super::pass::{Candidate, Pass};
use super::profile::Profile;
use crate::job::Job;
use crate::shape::{Amounts, Shape, Want};
use crate::state::{Core, RunState};
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::OnConflict;
use qrm_protocol::queue::OnPreempt;

/// How important a job is: only those of a lower class make room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Idle,
    Low,
    Normal,
    High,
    Critical,
}

impl Class {
    pub fn of(shape: &Shape) -> Self {
        match shape.priority.get() {
            _ if shape.idle => Self::Idle,
            0..50 => Self::Low,
            50..75 => Self::Normal,
            75..100 => Self::High,
            _ => Self::Critical,
        }
    }
}

/// A run that could make room.
#[derive(Clone, Copy, Debug)]
struct Victim {
    job: JobRef,
    /// What it would give back.
    gives: Amounts,
    /// When, and until when it would have had it.
    at: u64,
    end: u64,
    /// What it has done, and would lose: parts of the machine times time.
    loses: u64,
    lost_cpu_ms: u64,
}

impl Core {
    /// What becomes of a job that makes room.
    pub(crate) fn on_preempt(&self, job: &Job) -> OnPreempt {
        self.queues.get(&job.shape.queue).map(|queue| queue.spec.on_preempt).unwrap_or_default()
    }

    pub(crate) fn may_be_preempted(&self, shape: &Shape) -> bool {
        let by_queue = || self.queues.get(&shape.queue).is_some_and(|queue| queue.spec.preemptible);
        shape.preemptible || shape.idle || by_queue()
    }

    fn victim(&self, now: u64, all: Amounts, job: JobRef, run: &RunState) -> Option<Victim> {
        let record = self.jobs.get(&job.job)?;
        let (_, began) = run.released.filter(|_| !run.boot_is_over)?;
        let ran = run.suspended.unwrap_or(now).saturating_sub(began).saturating_sub(run.stood_ms);
        if run.stop.is_some() || run.yields || ran < record.shape.min_run_ms || !self.may_be_preempted(&record.shape) {
            return None;
        }
        let held = self.held(job, run);
        let stands_still = self.on_preempt(record) == OnPreempt::Suspend;
        let (gives, at) = match stands_still {
            true => (Amounts { mem: 0, disk: 0, ..held }, now),
            false => (held, now.saturating_add(record.grace_ms()).max(now + 1)),
        };
        let keeps_work = stands_still || record.shape.saves;
        let lost = if keeps_work { 0 } else { ran };
        Some(Victim {
            job,
            gives,
            at,
            end: self.expected_end(now, job, run),
            loses: lost.saturating_mul(all.part(held)),
            lost_cpu_ms: lost.saturating_mul(held.cpus),
        })
    }
}

impl Pass<'_> {
    /// Finds the runs that are to make room for a blocked job, if that is its way and they are enough.
    pub(super) fn make_room(&mut self, candidate: Candidate<'_>) {
        let any = self.core.way_of(candidate.shape) == OnConflict::Preemption;
        if self.plan.room.is_none() {
            self.plan.room = self.room_for(candidate, any);
        }
    }

    /// The runs that could make room for a job that waits; nothing if they are not enough.
    pub fn room_of(mut self, id: JobId, job: &Job) -> Option<Room> {
        let bucket = self.core.buckets.get(&job.shape)?;
        let candidate =
            Candidate { job: id.into(), shape: &job.shape, wants: &bucket.wants, attempt: Some(job.attempt + 1) };
        self.room_for(candidate, true)
    }

    /// The same, of every job of a lower class that may be, or only of those that are idle.
    fn room_for(&mut self, candidate: Candidate<'_>, any: bool) -> Option<Room> {
        let (core, now, all) = (self.core, self.now.boot_ms, self.plan.all);
        let class = Class::of(candidate.shape);
        let below = |job: &JobRef| {
            let shape = core.jobs.get(&job.job).map(|job| &job.shape);
            shape.is_some_and(|shape| Class::of(shape) < class && (any || shape.idle))
        };
        let runs = core.runs.iter().filter(|(job, run)| run.stage == crate::Stage::Execute && below(job));
        let mut victims: Vec<Victim> = runs.filter_map(|(job, run)| core.victim(now, all, *job, run)).collect();
        if victims.is_empty() {
            return None;
        }
        // The youngest first, of those that lose as much.
        victims.sort_unstable_by(|a, b| (a.loses, b.job).cmp(&(b.loses, a.job)));
        let taken = self.plan.taken;
        let most = victims.iter().fold(Amounts::default(), |sum, victim| sum.plus(victim.gives));
        let expected = |want: &Want| core.expected(candidate.shape, *want).0;
        for want in candidate.wants {
            if !all.holds(taken.less(most).plus(want.amounts)) {
                continue;
            }
            let ms = expected(want);
            // What makes room already, or ends by itself in time, is waited for.
            let without = self.future().earliest(want.amounts, ms);
            if let Some(chosen) = choose(self.future().clone(), &victims, want.amounts, ms, without) {
                let lost_cpu_ms = chosen.iter().map(|victim| victim.lost_cpu_ms).sum();
                let victims = chosen.into_iter().map(|victim| victim.job).collect();
                return Some(Room { job: candidate.job, victims, lost_cpu_ms });
            }
        }
        None
    }
}

/// The fewest of these, in their order, without which it could start only later.
fn choose(
    mut profile: Profile,
    victims: &[Victim],
    amounts: Amounts,
    ms: u64,
    without: Option<u64>,
) -> Option<Vec<Victim>> {
    let in_time = |profile: &Profile, gone: u64| profile.earliest(amounts, ms).is_some_and(|at| at <= gone);
    let mut chosen: Vec<Victim> = Vec::new();
    let mut gone = 0;
    for victim in victims {
        profile.give(victim.at, victim.end, victim.gives);
        chosen.push(*victim);
        gone = gone.max(victim.at);
        if in_time(&profile, gone) {
            break;
        }
    }
    if !in_time(&profile, gone) || without.is_some_and(|at| at <= gone) {
        return None;
    }
    for place in (0..chosen.len()).rev() {
        let victim = chosen[place];
        if victim.at >= victim.end {
            chosen.remove(place);
            continue;
        }
        profile.take(victim.at, victim.gives, victim.end - victim.at);
        if in_time(&profile, gone) {
            chosen.remove(place);
        } else {
            profile.give(victim.at, victim.end, victim.gives);
        }
    }
    Some(chosen)
}
