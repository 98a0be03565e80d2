//! The calls about measurements, and what is measured of the jobs in any reply.
//! It refuses to measure.

use super::{Client, Shared, jobs};
use crate::monitor::{Samples, Wanted};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::{JobState, JobView};
use qrm_protocol::method as m;
use qrm_protocol::sample::JobSample;

/// Adds to jobs that run what they use now.
pub(super) async fn measured(views: &mut [JobView], shared: &Shared) -> Result<(), Error> {
    let ids: Vec<JobRef> = views.iter().filter(|view| runs(view)).map(|view| view.id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let now = shared.monitor.jobs(ids).await?;
    for view in views.iter_mut().filter(|view| runs(view)) {
        put(view, now.get(&view.id).copied());
    }
    Ok(())
}

/// Whether its own command does. An array as a whole has none.
fn runs(view: &JobView) -> bool {
    matches!(view.state, JobState::Executing | JobState::Completing) && view.array.is_none()
}

fn put(view: &mut JobView, now: Option<JobSample>) {
    view.now = now;
    // What an attempt before this one used is over.
    view.usage.cpu_ms = now.and_then(|now| now.cpu_ms).or(view.usage.cpu_ms);
    view.usage.peak_memory_bytes = now.and_then(|now| now.peak_memory_bytes).or(view.usage.peak_memory_bytes);
}

pub(super) async fn job(
    client: &Client,
    shared: &Shared,
    params: m::JobStatsParams,
) -> Result<m::JobStatsReply, Error> {
    let m::JobStatsParams { id, samples: history, after } = params;
    let mut view = jobs::show(client, shared, id).await?;
    let mut samples = Vec::new();
    if view.array.is_some() {
        let error =
            Error::new(Code::FailedPrecondition, format!("job {id} is an array: its tasks are measured one by one"));
        let first = view.array.map_or(0, |array| array.first);
        return Err(error.hint(format!("name a task, as {id}.{first}")));
    }
    if runs(&view) {
        let found = shared.monitor.job(id, Wanted { history, after }).await?;
        if after.is_some() {
            // It may have ended meanwhile.
            view = jobs::show(client, shared, id).await?;
        }
        match found {
            Some(Samples { newest, history }) if runs(&view) => {
                put(&mut view, Some(newest));
                samples = history;
            }
            _ => {}
        }
    } else if !view.state.is_terminal() {
        let why = view.waiting_reason.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        let message = format!("job {id} is {}{why}: a job is measured while its command runs", view.state);
        return Err(
            Error::new(Code::FailedPrecondition, message).hint(format!("qrm show {id} says all that is known of it"))
        );
    }
    Ok(m::JobStatsReply {
        id,
        name: view.name,
        state: view.state,
        cpus: view.cpus,
        mem_bytes: view.mem_bytes,
        now: view.now,
        usage: view.usage,
        interval_ms: interval_ms(shared),
        samples,
    })
}

pub(super) async fn host(shared: &Shared, params: m::HostStatsParams) -> Result<m::HostStatsReply, Error> {
    let found = shared.monitor.host(Wanted { history: params.samples, after: params.after }).await?;
    let paths = shared.config.borrow().mounts.clone();
    let mounts = shared.monitor.mounts(&paths).await;
    Ok(m::HostStatsReply { now: found.newest, mounts, interval_ms: interval_ms(shared), samples: found.history })
}

fn interval_ms(shared: &Shared) -> u64 {
    shared.config.borrow().sampled_every.0
}
