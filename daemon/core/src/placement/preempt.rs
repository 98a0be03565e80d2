//! Which runs make room for a job: as little work as possible is lost, and none of them for nothing.
//! It refuses to end anything.

use super::Room;
use super::pass::{Candidate, Pass};
use super::profile::Profile;
use crate::job::Job;
use crate::shape::{Amounts, Shape};
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
    /// For so long it wants to run before it makes room.
    wants_ms: u64,
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
    /// The highest class of those that wait for the room that others are making for them.
    pub(super) fn makes_room_for(&self) -> Option<Class> {
        let whom = self.runs.values().filter_map(|run| run.stop?.room_for);
        let waits = |job: JobRef| self.jobs.get(&job.job).filter(|job| job.eligible() && self.fits_machine(job));
        whom.filter_map(waits).map(|job| Class::of(&job.shape)).max()
    }

    /// What becomes of a job that makes room.
    pub(crate) fn on_preempt(&self, job: &Job) -> OnPreempt {
        self.queues.get(&job.shape.queue).map(|queue| queue.spec.on_preempt).unwrap_or_default()
    }

    pub(crate) fn may_be_preempted(&self, shape: &Shape) -> bool {
        let by_queue = || self.queues.get(&shape.queue).is_some_and(|queue| queue.spec.preemptible);
        shape.preemptible || shape.idle || by_queue()
    }

    /// Whether what its command saves may be of use to it later: it may be run again, or is told to save.
    #[must_use]
    pub fn may_go_on(&self, job: JobId) -> bool {
        let asks = |job: &Job| job.rare().is_some_and(|rare| rare.retries > 0 || rare.checkpoint_signal.is_some());
        self.jobs.get(&job).is_some_and(|job| asks(job) || self.may_be_preempted(&job.shape))
    }

    fn victim(&self, now: u64, all: Amounts, job: JobRef, run: &RunState) -> Option<Victim> {
        let record = self.jobs.get(&job.job)?;
        // One whose command is not released yet has run for no time.
        let began = run.released.map_or(now, |(_, began)| began);
        let ran = run.suspended.unwrap_or(now).saturating_sub(began).saturating_sub(run.stood_ms);
        if run.boot_is_over || run.stop.is_some() || run.yields || !self.may_be_preempted(&record.shape) {
            return None;
        }
        let held = self.held(job, run);
        let stands_still = self.on_preempt(record) == OnPreempt::Suspend;
        // Someone else has let it stand still, and it is theirs to let it go on; and what is not there yet can not stand still.
        if stands_still && (run.suspended.is_some() || run.released.is_none()) {
            return None;
        }
        let (gives, at) = match stands_still {
            true => (Amounts { mem: 0, disk: 0, ..held }, now),
            false => (held, now.saturating_add(record.grace_ms()).max(now + 1)),
        };
        let wants_ms = record.shape.min_run_ms.saturating_sub(ran);
        // Who stands still comes no nearer to that.
        if wants_ms > 0 && run.suspended.is_some() {
            return None;
        }
        let keeps_work = stands_still || record.shape.saves;
        let lost = if keeps_work { 0 } else { ran };
        Some(Victim {
            job,
            wants_ms,
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
        if self.only_foretells() {
            return;
        }
        let any = self.core.way_of(candidate.shape) == OnConflict::Preemption;
        let is_it = |job: JobRef| job.job == candidate.job.job;
        let leaves = |run: &RunState| run.stop.is_some_and(|stop| stop.room_for.is_some_and(is_it));
        // What is on its way out for it is waited for.
        if self.plan.room.is_none() && self.has_victims(any) && !self.core.runs.values().any(leaves) {
            self.plan.room = self.room_for(candidate, any);
        }
    }

    /// Whether a job would have to make room for one for which others are doing so: it would only be in its way once more.
    pub(super) fn would_take_room(&self, shape: &Shape) -> bool {
        self.making_room.is_some_and(|class| Class::of(shape) < class && self.core.may_be_preempted(shape))
    }

    /// Whether anything runs that could make room, or that is idle: looked for once, and not for each that is blocked.
    fn has_victims(&mut self, any: bool) -> bool {
        let core = self.core;
        let (idle, some) = *self.yielders.get_or_insert_with(|| {
            let shapes = || core.runs.keys().filter_map(|run| core.jobs.get(&run.job)).map(|job| &job.shape);
            (shapes().any(|shape| shape.idle), shapes().any(|shape| core.may_be_preempted(shape)))
        });
        idle || any && some
    }

    /// The runs that could make room for a job that waits, beside those of higher rank where they are planned; nothing if
    /// they are not enough, or if it could not start then either.
    pub fn room_of(mut self, id: JobId, job: &Job) -> Option<Room> {
        if self.core.seen.host.short.is_some() || !self.queue_lets(&job.shape.queue) {
            return None;
        }
        let own = self.core.seen.plan.planned.get(&id.into()).map_or(u32::MAX, |planned| planned.place);
        for (at, amounts, ms) in self.places_before(own) {
            self.future().take(at, amounts, ms);
        }
        let (wants, attempt) = (job.shape.wants(), Some(job.attempt + 1));
        let candidate = Candidate { job: id.into(), shape: &job.shape, wants, attempt, left: None };
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
        let ripe = victims.iter().filter(|victim| victim.wants_ms > 0).map(|victim| victim.wants_ms).min();
        let wake = ripe.map(|ms| now.saturating_add(ms));
        self.plan.wake = self.plan.wake.into_iter().chain(wake).min();
        victims.retain(|victim| victim.wants_ms == 0);
        if victims.is_empty() {
            return None;
        }
        // What makes room already, or ends by itself in time for one of its ways, is waited for.
        let without = self.earliest(candidate).map(|(at, ..)| at);
        if without.is_some_and(|at| victims.iter().all(|victim| victim.at >= at)) {
            return None;
        }
        // The youngest first, of those that lose as much.
        victims.sort_unstable_by(|a, b| (a.loses, b.job).cmp(&(b.loses, a.job)));
        // Those of higher rank have the places that are planned for them.
        let future = self.future().clone();
        // The most that there can be room for when all of them are gone: others may be gone by then, too.
        let gone = victims.iter().map(|victim| victim.at).max().unwrap_or(now);
        let given = victims.iter().filter(|victim| victim.end > gone).fold(Amounts::default(), |a, v| a.plus(v.gives));
        let taken = self.running().taken_at(gone).less(given);
        let ways = candidate.wants.iter().filter(|want| all.leaves(taken, want.amounts));
        let ways: Vec<(Amounts, u64)> = ways.map(|want| (want.amounts, candidate.expected(core, *want))).collect();
        let chosen = Trial { future: &future, ways: &ways }.choose(&victims, without)?;
        let lost_cpu_ms = chosen.iter().map(|victim| victim.lost_cpu_ms).sum();
        let victims = chosen.into_iter().map(|victim| victim.job).collect();
        Some(Room { job: candidate.job, victims, lost_cpu_ms })
    }
}

/// What it would be like if victims were gone. With more of them there is never less room.
struct Trial<'a> {
    future: &'a Profile,
    /// The ways in which it can run, and how long it is expected to in each.
    ways: &'a [(Amounts, u64)],
}

impl Trial<'_> {
    /// What there is if these are gone.
    fn without(&self, victims: &[Victim]) -> Profile {
        let mut profile = self.future.clone();
        for victim in victims {
            profile.give(victim.at, victim.end, victim.gives);
        }
        profile
    }

    /// Whether it could start in one of its ways as soon as these are gone.
    fn fits(&self, victims: &[Victim]) -> bool {
        self.fits_in(&self.without(victims), victims)
    }

    fn fits_in(&self, profile: &Profile, victims: &[Victim]) -> bool {
        let gone = victims.iter().map(|victim| victim.at).max().unwrap_or(0);
        self.ways.iter().any(|(amounts, ms)| profile.earliest(*amounts, *ms).is_some_and(|at| at <= gone))
    }

    /// The first of these, in their order, and of those none that is not needed; nothing if they are not enough, or if it
    /// starts as early without.
    fn choose(&self, victims: &[Victim], without: Option<u64>) -> Option<Vec<Victim>> {
        if !self.fits(victims) {
            return None;
        }
        let (mut few, mut enough) = (0, victims.len());
        while enough - few > 1 {
            let middle = few + (enough - few) / 2;
            if self.fits(&victims[..middle]) { enough = middle } else { few = middle }
        }
        let mut chosen = victims[..enough].to_vec();
        let mut profile = self.without(&chosen);
        for place in (0..chosen.len()).rev() {
            let spared = chosen.remove(place);
            let ms = spared.end.saturating_sub(spared.at);
            if ms > 0 {
                profile.take(spared.at, spared.gives, ms);
            }
            if !self.fits_in(&profile, &chosen) {
                profile.give(spared.at, spared.end, spared.gives);
                chosen.insert(place, spared);
            }
        }
        let gone = chosen.iter().map(|victim| victim.at).max()?;
        (without.is_none_or(|at| at > gone)).then_some(chosen)
    }
}
