//! What someone wants, with what the store knows of it: keys that were used, and jobs that are over.
//! It refuses to decide: the core does, and is told of both.

use super::{Engine, Reply};
use crate::store::{JobText, StoreError};
use qrm_core::{Action, Answer, Caller, Demand, Input, Need, PastEnd};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::JobId;
use qrm_protocol::job::{DependsOn, JobState};
use qrm_protocol::time::Timestamp;
use std::collections::BTreeMap;

impl Engine {
    /// Does what someone wants, with what the store knows of the jobs that it names.
    pub(super) fn command(&mut self, caller: Caller, mut action: Action, texts: Vec<JobText>) -> Result<Reply, Error> {
        let existing = self.known_keys(caller, &mut action, &texts)?;
        if let (Action::Submit { .. }, Some((_, id))) = (&action, existing.first()) {
            return Ok(Reply {
                answer: Answer::Submitted(*id, self.core.state((*id).into()).unwrap_or(JobState::Completed)),
                existing,
            });
        }
        match &mut action {
            Action::Submit { demand, ended, .. } => *ended = self.past_of(demand.needs().iter().map(on), |_| false)?,
            Action::Update { change, ended, .. } => {
                let lists = [&change.after, &change.after_ok, &change.after_fail, &change.after_start];
                *ended = self.past_of(lists.into_iter().flatten().flatten().copied(), |_| false)?;
            }
            Action::BulkAdd { bulk, jobs, ended } => {
                // None of its own has a past.
                let own = bulk.0..bulk.0 + self.core.staged(*bulk) + jobs.len() as u64;
                let needs = jobs.iter().flatten().flat_map(Demand::needs);
                *ended = self.past_of(needs.map(on), |id| own.contains(&id.0))?;
            }
            _ => {}
        }
        let discarded = match &action {
            Action::BulkDiscard { bulk } => Some((*bulk, self.core.hidden())),
            _ => None,
        };
        let answer = self.decide(Input::Command(caller, action), &texts)?;
        if let Some((bulk, hidden)) = discarded {
            let count = hidden.iter().find(|(first, _)| *first == bulk).map_or(0, |(_, count)| *count);
            self.store.discard_jobs(bulk, count).map_err(|error| self.fail(&error))?;
        }
        Ok(Reply { answer, existing })
    }

    /// Jobs whose key was used before: those are not made again.
    fn known_keys(
        &mut self,
        caller: Caller,
        action: &mut Action,
        texts: &[JobText],
    ) -> Result<Vec<(u64, JobId)>, Error> {
        let mut existing = Vec::new();
        let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
        for (place, text) in (0u64..).zip(texts) {
            let Some(key) = &text.spec.key else { continue };
            let mut known = self.store.job_of_key(caller.uid, key).map_err(|error| self.fail(&error))?;
            if let (None, Action::BulkAdd { bulk, .. }) = (known, &*action) {
                // The first of them is the job, however often it is said.
                let first = *seen.entry(key).or_insert(place);
                known = (first < place).then(|| JobId(bulk.0 + self.core.staged(*bulk) + first));
            }
            let Some(known) = known else { continue };
            let own = match &*action {
                Action::BulkAdd { bulk, .. } => Some(*bulk),
                _ => None,
            };
            let is_open = |(first, count): &(JobId, u64)| (first.0..first.0 + count).contains(&known.0);
            if self.core.hidden().iter().any(|bulk| Some(bulk.0) != own && is_open(bulk)) {
                // It may still be withdrawn, and then this caller would have been promised nothing.
                let message = format!("the key '{key}' is in a bulk that is being submitted");
                return Err(Error::new(Code::FailedPrecondition, message).hint("try again when that has ended"));
            }
            existing.push((place, known));
            if let Action::BulkAdd { jobs, .. } = action
                && let Some(job) = usize::try_from(place).ok().and_then(|place| jobs.get_mut(place))
            {
                *job = None;
            }
        }
        Ok(existing)
    }

    /// What is known of jobs that others are to wait for and that are over.
    fn past_of(
        &mut self,
        on: impl Iterator<Item = DependsOn>,
        is_new: impl Fn(JobId) -> bool,
    ) -> Result<PastEnd, Error> {
        let mut past = PastEnd::new();
        for on in on {
            let whole = match on {
                DependsOn::One(on) => on,
                DependsOn::Each(job) => job.into(),
            };
            if !is_new(whole.job) && !self.core.is_live(whole) && !past.contains_key(&whole) {
                self.store.past(on, &mut past).map_err(|error| self.fail(&error))?;
            }
        }
        Ok(past)
    }

    /// The rows of a slice, whose ids follow those of the slices before.
    pub(super) fn write_bulk(
        &mut self,
        bulk: JobId,
        owner: u32,
        at: Timestamp,
        jobs: &[Option<Demand>],
        texts: &[JobText],
    ) -> Result<(), StoreError> {
        let first = bulk.0 + self.core.staged(bulk) - jobs.len() as u64;
        for ((id, demand), text) in (first..).zip(jobs).zip(texts) {
            if let Some(demand) = demand {
                self.store.insert_job(JobId(id), owner, at, demand, text)?;
            }
        }
        Ok(())
    }
}

/// What is awaited.
fn on(need: &Need) -> DependsOn {
    need.on
}
