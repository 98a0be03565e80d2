//! What is to become of a job: why one that waits does so and when it starts, and the same of one that is not submitted.
//! It refuses to find out: the core does, and what is here are its words with the names of users.

use super::jobs::{Origin, read, show};
use super::targets::are_live;
use super::{Client, Shared, users, view};
use crate::store::JobText;
use qrm_core::{Cause, Demand, Explained, Held, PastEnd, Rank};
use qrm_protocol::error::Error;
use qrm_protocol::explain::{Explanation, Holder, RankView, Reason};
use qrm_protocol::ids::{JobRef, Uid};
use qrm_protocol::job::{DependsOn, JobSpec, JobState};
use qrm_protocol::method as m;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// Every cause for which a job or task does not run.
pub(super) async fn explain(client: &Client, shared: &Arc<Shared>, id: JobRef) -> Result<Explanation, Error> {
    // That there is none, or that nobody may see it yet, is known there.
    show(client, shared, id).await?;
    match shared.engine.look(move |core, now| core.explain(now, id)).await? {
        Some(explained) => Ok(worded(shared, Some(id), explained).await),
        // It has ended: that is all there is to say.
        None => Ok(over(id, show(client, shared, id).await?.state)),
    }
}

/// The same of a job that would be submitted now.
pub(super) async fn when(
    client: &Client,
    shared: &Arc<Shared>,
    params: m::WhenParams,
) -> Result<m::ExplainReply, Error> {
    let (_, foreseen) = foresee(client, shared, params).await?;
    match foreseen {
        // The key of a job that is there already makes no other.
        Foreseen::Known(id) => explain(client, shared, id).await,
        Foreseen::New(explained) => Ok(worded(shared, None, *explained).await),
    }
}

/// What would become of a submit.
pub(super) async fn check(
    client: &Client,
    shared: &Arc<Shared>,
    params: m::SubmitParams,
) -> Result<m::CheckReply, Error> {
    let (text, foreseen) = foresee(client, shared, params).await?;
    // Environments are in no reply, not even what was just asked.
    let job = JobSpec { env: BTreeMap::new(), ..text.spec };
    Ok(match foreseen {
        Foreseen::Known(id) => m::CheckReply { starts: false, waiting_reason: None, existing: Some(id), job },
        Foreseen::New(explained) => {
            let waiting_reason = explained.waiting.as_ref().map(view::reason);
            m::CheckReply { starts: waiting_reason.is_none(), waiting_reason, existing: None, job }
        }
    })
}

/// What a submit would find.
enum Foreseen {
    /// Its key was used: this is its job.
    Known(JobRef),
    /// It would be a new job.
    New(Box<Explained>),
}

/// # Errors
/// It would be refused.
async fn foresee(client: &Client, shared: &Arc<Shared>, params: m::SubmitParams) -> Result<(JobText, Foreseen), Error> {
    let origin = Origin::of(client, shared, params.context).await?;
    let text = origin.text(params.job)?;
    let (caller, demand) = (client.caller, Demand::from(&text.spec));
    if let Some(key) = text.spec.key.clone()
        && let Some(known) = read(shared, move |reader| reader.job_of_key(caller.uid, &key)).await?
    {
        return Ok((text, Foreseen::Known(known.into())));
    }
    let ended = past_of(shared, &demand).await?;
    let explained = shared.engine.look(move |core, now| core.when(now, caller, demand, &ended)).await??;
    Ok((text, Foreseen::New(Box::new(explained))))
}

/// What is known of the jobs that a demand names and that are over.
async fn past_of(shared: &Arc<Shared>, demand: &Demand) -> Result<PastEnd, Error> {
    let needs: Vec<JobRef> = demand.needs().iter().map(|need| whole_of(need.on)).collect();
    let live = are_live(shared, &needs).await?;
    let over = demand.needs().iter().zip(live).filter(|(_, live)| !live);
    let over: Vec<DependsOn> = over.map(|(need, _)| need.on).collect();
    read(shared, move |reader| {
        let mut ended = PastEnd::new();
        for on in over {
            reader.past(on, &mut ended)?;
        }
        Ok(ended)
    })
    .await
}

fn whole_of(on: DependsOn) -> JobRef {
    match on {
        DependsOn::One(on) => on,
        DependsOn::Each(job) => job.into(),
    }
}

/// A job of which nothing is to be expected any more.
fn over(id: JobRef, state: JobState) -> Explanation {
    Explanation {
        id: Some(id),
        state,
        reasons: Vec::new(),
        planned_start: None,
        estimated_start: None,
        expected_run_ms: None,
        expected_from: None,
        rank: None,
        offers: Vec::new(),
    }
}

/// What the core says, for those who do not know users by their numbers.
async fn worded(shared: &Arc<Shared>, id: Option<JobRef>, explained: Explained) -> Explanation {
    let mut names: BTreeMap<Uid, String> = BTreeMap::new();
    for user in explained.causes.iter().flat_map(|cause| &cause.holders).map(|held| held.user) {
        if let Entry::Vacant(unknown) = names.entry(user) {
            unknown.insert(users::name(shared, user).await);
        }
    }
    Explanation {
        id,
        state: explained.state,
        reasons: explained.causes.into_iter().map(|cause| reason(cause, &names)).collect(),
        planned_start: explained.planned,
        estimated_start: explained.estimated,
        expected_run_ms: explained.expected.map(|(ms, _)| ms),
        expected_from: explained.expected.map(|(_, from)| from.to_owned()),
        rank: explained.rank.map(rank),
        offers: explained.offers.into_iter().map(view::offer).collect(),
    }
}

fn reason(cause: Cause, names: &BTreeMap<Uid, String>) -> Reason {
    let Cause { code, message, since, until, asked, holders, jobs } = cause;
    let holder = |held: Held| {
        let Held { job, user, amount, until } = held;
        Holder { id: job, user: names.get(&user).cloned().unwrap_or_else(|| user.to_string()), amount, until }
    };
    Reason {
        code,
        message,
        since,
        until,
        asked: asked.map(|(asked, _)| asked),
        free: asked.map(|(_, free)| free),
        holders: holders.into_iter().map(holder).collect(),
        jobs,
    }
}

/// The sum is that of the parts as they are shown.
fn rank(rank: Rank) -> RankView {
    let Rank { priority, age, user, queue } = rank;
    RankView {
        total_thousandths: [priority, age, user, queue].into_iter().fold(0, i64::saturating_add),
        priority_thousandths: priority,
        age_thousandths: age,
        fair_share_thousandths: user,
        queue_share_thousandths: queue,
    }
}
