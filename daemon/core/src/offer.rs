//! What a job is offered that can not have at once what it asks for, and what becomes of an offer.
//! It refuses to promise what is not free.

use crate::access::Caller;
use crate::event::Event;
use crate::job::Job;
use crate::look::Waiting;
use crate::placement::{Limits, Newcomer, Pass, Room};
use crate::refusal::Refusal;
use crate::shape::{Kind, Shape};
use crate::state::Core;
use crate::step::{Answer, Deciding, Now};
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::{Offer, OfferId, OnConflict, Variant};
use qrm_protocol::time::Timestamp;
use std::sync::Arc;

/// A start that is planned so much later than it was offered is the same one, in milliseconds: the two clocks are never read at
/// one instant, and one of them is set now and then.
const SAME: i64 = 1_000;

impl Core {
    /// Whether a job of this shape would start at once if it waited where this job does.
    fn would_start(&self, now: Now, id: JobId, since: Timestamp, shape: Shape) -> bool {
        let newcomer = Newcomer { id, shape: Arc::new(Kind::new(shape)), since };
        let plan = Pass::new(self, now, Limits::of(self)).with(&newcomer).run();
        plan.starts.iter().any(|start| start.job.job == id)
    }

    /// The most cpus, fewer than it asks for, with which it would start at once.
    fn fewer_cpus(&self, now: Now, id: JobId, job: &Job) -> Option<u32> {
        let asks = job.shape.cpus.unwrap_or(1);
        let free = self.seen.plan.all.less(self.seen.plan.taken).cpus;
        let most = asks.saturating_sub(1).min(u32::try_from(free).unwrap_or(u32::MAX));
        if most == 0 {
            return None;
        }
        let fits =
            |cpus: u32| self.would_start(now, id, job.since(), Shape { cpus: Some(cpus), ..(**job.shape).clone() });
        // Fewer cpus never fit worse: halving finds the most.
        let (mut low, mut high) = (0, most);
        if fits(most) {
            return Some(most);
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(middle) { low = middle } else { high = middle }
        }
        (low > 0).then_some(low)
    }

    /// What a blocked job can have instead.
    fn offers(&self, now: Now, id: JobId, job: &Job) -> Vec<Offer> {
        let way = self.way_of(&job.shape);
        let mut offers = Vec::new();
        if way == OnConflict::Negotiation {
            offers.extend(self.fewer_cpus(now, id, job).map(|cpus| Offer::Less { cpus }));
        }
        if job.shape.exclusive {
            let beside = Shape { exclusive: false, ..(**job.shape).clone() };
            offers.extend(self.would_start(now, id, job.since(), beside).then_some(Offer::Share));
        }
        if way != OnConflict::Negotiation {
            return offers;
        }
        if let Some(planned) = self.seen.plan.planned.get(&id.into()) {
            let start = now.wall_of(planned.at);
            // What is over by then is not promised to start.
            let over = job.expires().into_iter().chain(job.deadline()).min();
            offers.extend(over.is_none_or(|over| start < over).then_some(Offer::At { start }));
        }
        let room = Pass::new(self, now, Limits::of(self)).room_of(id, job);
        offers.extend(room.map(|room| Offer::Preempt { jobs: room.victims, lost_cpu_ms: room.lost_cpu_ms }));
        offers
    }
}

impl Deciding<'_> {
    /// Makes offers to a job that was accepted just now and does not start.
    pub(crate) fn offer(&mut self, id: JobId) {
        let Some(job) = self.core.jobs.get(&id).filter(|job| job.eligible() && job.tasks.is_none()) else { return };
        let asks = match self.core.way_of(&job.shape) {
            OnConflict::Negotiation => true,
            // It did not say that it would share, so it is asked.
            OnConflict::Sharing => job.shape.exclusive && job.shape.on_conflict.is_none(),
            _ => false,
        };
        if !asks {
            return;
        }
        let offers = self.core.offers(self.now, id, job);
        if !offers.is_empty() {
            let ms = i64::try_from(self.core.policy.offer_ms).unwrap_or(i64::MAX);
            let lapses_at = Timestamp(self.now.wall.0.saturating_add(ms));
            self.emit(Event::Offered { job: id.into(), offers, lapses_at });
        }
    }

    pub(crate) fn accept_offer(&mut self, caller: Caller, offer: OfferId) -> Result<Answer, Refusal> {
        let id = offer.job;
        let job = JobRef::whole(id);
        self.core.may_control(caller, job)?;
        let record = self.core.jobs.get(&id).ok_or(Refusal::NoSuchJob(job))?;
        let offers = record.rare().and_then(|rare| rare.offers.as_ref()).ok_or(Refusal::NoSuchOffer(offer))?;
        let place = usize::try_from(offer.place).unwrap_or(usize::MAX);
        let what = place.checked_sub(1).and_then(|place| offers.offers.get(place)).cloned();
        let what = what.ok_or(Refusal::NoSuchOffer(offer))?;
        if let Some(place) = offers.accepted {
            return Err(Refusal::OfferTaken { offer, accepted: OfferId { job: id, place } });
        }
        if offers.lapsed || offers.lapses_at <= self.now.wall {
            return Err(Refusal::OfferLapsed { offer, at: offers.lapses_at });
        }
        if record.has_started() {
            return Err(Refusal::HasStarted(job));
        }
        // It can have no room as long as it does not wait for room alone.
        let paused = self.core.queues.get(&record.shape.queue).is_some_and(|queue| queue.paused);
        if paused || !record.eligible() {
            let queue = || Waiting::QueuePaused(record.shape.queue.clone());
            let why = self.core.waiting(self.now, job, record).unwrap_or_else(queue).to_string();
            return Err(Refusal::OfferWaits { offer, why });
        }
        let changed = |change: &Variant| {
            let shape: Shape = (**record.shape).clone();
            Shape { cpus: change.cpus.or(shape.cpus), exclusive: change.exclusive.unwrap_or(shape.exclusive), ..shape }
        };
        // What was free then may have been taken since.
        let room = match &what {
            Offer::Less { cpus } => {
                let shape = changed(&Variant { cpus: Some(*cpus), ..Variant::default() });
                let starts = self.core.would_start(self.now, id, record.since(), shape);
                starts.then_some(None).ok_or(Refusal::OfferGone(offer))?
            }
            Offer::Share => {
                let shape = changed(&Variant { exclusive: Some(false), ..Variant::default() });
                let starts = self.core.would_start(self.now, id, record.since(), shape);
                starts.then_some(None).ok_or(Refusal::OfferGone(offer))?
            }
            Offer::At { start } => {
                let want = self.core.promise_fits(self.now, id, record, *start);
                want.then_some(None).ok_or(Refusal::OfferGone(offer))?
            }
            Offer::Preempt { jobs, .. } => {
                let room: Option<Room> = Pass::new(self.core, self.now, Limits::of(self.core)).room_of(id, record);
                // No other jobs than those that were named, and not more of them.
                let room = room.filter(|room| room.victims.iter().all(|victim| jobs.contains(victim)));
                Some(room.ok_or(Refusal::OfferGone(offer))?)
            }
        };
        self.emit(Event::OfferAccepted { job, offer, what: what.clone(), by: caller.uid });
        if let Some(room) = room {
            self.make_room(&room);
        }
        Ok(Answer::Accepted(job, what))
    }
}

impl Core {
    /// Whether a start then can still be promised: nothing that is planned already is in the way.
    fn promise_fits(&self, now: Now, id: JobId, job: &Job, start: Timestamp) -> bool {
        let plan = &self.seen.plan;
        let planned = plan.planned.get(&id.into()).map(|planned| now.wall_of(planned.at));
        job.eligible() && planned.is_some_and(|planned| planned.0 <= start.0.saturating_add(SAME))
    }
}
