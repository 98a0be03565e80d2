//! Forgetting what has ended because someone wants that.
//! It refuses to guess how much: an age or a number is to be said.

use super::Shared;
use super::jobs::read;
use crate::forget;
use qrm_protocol::error::Error;
use qrm_protocol::method::{CleanupParams, CleanupReply};
use qrm_protocol::time::{Millis, Timestamp};

pub(super) async fn cleanup(shared: &Shared, params: CleanupParams) -> Result<CleanupReply, Error> {
    let CleanupParams { older_than_ms, keep_last, dry_run } = params;
    if older_than_ms.is_none() && keep_last.is_none() {
        return Err(Error::invalid("how much is to be forgotten is missing")
            .hint("qrm cleanup --older-than 7d, or --keep-last 1000, or both"));
    }
    // What ends from now on is not meant.
    let mut before = forget::ago(Millis(older_than_ms.unwrap_or(0)));
    if let Some(keep) = keep_last {
        let oldest = read(shared, move |reader| reader.ended_as_last(keep)).await?;
        // With fewer than that all are kept.
        before = before.min(oldest.unwrap_or(if keep == 0 { before } else { Timestamp(i64::MIN) }));
    }
    let jobs = match dry_run {
        true => read(shared, move |reader| reader.count_ended_before(before)).await?,
        false => forget::ended_before(shared, before).await?,
    };
    Ok(CleanupReply { jobs, dry_run })
}
