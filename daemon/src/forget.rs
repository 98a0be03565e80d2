//! Forgetting jobs that have ended, with their output: once an hour what is old, and at once what someone wants.
//! It refuses to touch what lives; the store does not even find it.

use crate::remove::{open_dir, remove, sweep};
use crate::rpc::Shared;
use crate::{clock, reload, supervise};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::JobId;
use qrm_protocol::time::{Millis, Timestamp};
use rustix::fs::{CWD, Mode, mkdirat, renameat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Once an hour: what ended longer ago than is configured then.
pub async fn hourly(shared: Arc<Shared>) {
    let mut hours = tokio::time::interval(Duration::from_secs(3_600));
    hours.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        hours.tick().await;
        let jobs = shared.jobs.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || finish(&jobs)).await {
            tracing::error!(%error, "what was forgotten");
        }
        let keep = shared.config.borrow().retention;
        if let Err(error) = ended_before(&shared, ago(keep)).await {
            tracing::warn!(error = error.message, "what is old is not forgotten");
        }
        reload::look_up_users(&shared).await;
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

/// Where output is moved that is being removed, below the directory of jobs: what a daemon that was killed left there goes
/// with the next.
const FORGOTTEN: &str = ".forgotten";

fn remove_output(jobs: &Path, id: JobId) {
    let dir = supervise::job_dir(id.into());
    let removed = forgotten(jobs).and_then(|forgotten| {
        let name = CString::new(id.to_string())?;
        match renameat(CWD, jobs.join(&dir), &forgotten, &name) {
            // It wrote nothing.
            Err(Errno::NOENT) => Ok(()),
            // One of this name is there still: that is the same job's.
            Err(Errno::NOTEMPTY | Errno::EXIST) | Ok(()) => remove(&forgotten, name),
            Err(error) => Err(error.into()),
        }
    });
    if let Err(error) = removed {
        tracing::warn!(%error, dir = %jobs.join(&dir).display(), "old output can not be removed");
    }
    // The one of its hundred neighbours, if this was the last of them.
    if let Some(parent) = dir.parent() {
        std::fs::remove_dir(jobs.join(parent)).ok();
    }
}

fn forgotten(jobs: &Path) -> std::io::Result<OwnedFd> {
    let path = jobs.join(FORGOTTEN);
    match mkdirat(CWD, &path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(open_dir(CWD, path)?)
}

/// Goes on with what a daemon before this one did not get to the end of.
fn finish(jobs: &Path) {
    if !jobs.join(FORGOTTEN).exists() {
        return;
    }
    if let Err(error) = forgotten(jobs).and_then(|forgotten| sweep(&forgotten, &BTreeSet::new())) {
        tracing::warn!(%error, "what was forgotten can not all be removed");
    }
}
