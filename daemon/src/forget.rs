//! Forgetting jobs that have ended, with their output: once an hour what is old, and at once what someone wants.
//! It refuses to touch what lives; the store does not even find it.

use crate::rpc::Shared;
use crate::{clock, supervise};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::JobId;
use qrm_protocol::time::{Millis, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// Once an hour: what ended longer ago than is configured then.
pub async fn hourly(shared: Arc<Shared>) {
    let mut hours = tokio::time::interval(Duration::from_secs(3_600));
    hours.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        hours.tick().await;
        let keep = shared.config.borrow().retention;
        if let Err(error) = ended_before(&shared, ago(keep)).await {
            tracing::warn!(error = error.message, "what is old is not forgotten");
        }
    }
}

/// The instant so long ago.
pub fn ago(time: Millis) -> Timestamp {
    Timestamp(clock::now().wall.0.saturating_sub(i64::try_from(time.0).unwrap_or(i64::MAX)))
}

/// Forgets what ended before an instant, piece by piece, with others served in between; how many jobs.
///
/// # Errors
/// The store can not be written, or the daemon is ending; what was forgotten until then stays forgotten.
pub async fn ended_before(shared: &Shared, before: Timestamp) -> Result<u64, Error> {
    let mut forgotten = 0;
    loop {
        let ids = shared.engine.retain(before).await?;
        if ids.is_empty() {
            break;
        }
        forgotten += ids.len() as u64;
        let jobs = shared.jobs.clone();
        let removed = tokio::task::spawn_blocking(move || ids.into_iter().for_each(|id| remove_output(&jobs, id)));
        removed.await.map_err(|e| Error::new(Code::Internal, format!("old output: {e}")))?;
    }
    Ok(forgotten)
}

fn remove_output(jobs: &std::path::Path, id: JobId) {
    let dir = jobs.join(supervise::job_dir(id.into()));
    match std::fs::remove_dir_all(&dir) {
        Ok(()) => {
            // The one of its hundred neighbours, if this was the last of them.
            if let Some(parent) = dir.parent() {
                std::fs::remove_dir(parent).ok();
            }
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => tracing::warn!(error = %e, dir = %dir.display(), "old output can not be removed"),
    }
}
