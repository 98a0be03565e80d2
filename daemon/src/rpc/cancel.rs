//! Cancelling what is named and what a filter finds.
//! It refuses to do half of what was named: an id that there is none of refuses all of them.

use super::jobs::{no_such, row};
use super::targets::{Found, MOST_NAMED, Targets, are_live, has_ended};
use super::{Client, Shared};
use qrm_core::{Action, Answer, CancelledAs, Right};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::filter::Filter;
use qrm_protocol::ids::JobRef;
use qrm_protocol::method::{CancelDid, CancelParams, CancelReply, CancelledJob};
use std::sync::Arc;

pub(super) async fn cancel(client: &Client, shared: &Arc<Shared>, params: CancelParams) -> Result<CancelReply, Error> {
    let mut reply = CancelReply::default();
    match Targets::parse(shared, &params.targets, "state=queued").await? {
        Targets::Ids(ids) => {
            let mut live = Vec::new();
            let are_live = are_live(shared, &ids).await?;
            for (id, is_live) in ids.into_iter().zip(are_live) {
                if is_live {
                    live.push(id);
                } else if has_ended(shared, id).await? {
                    let owner = row(shared, id).await?.ok_or_else(|| no_such(id))?.uid;
                    client.caller.check(Right::Control, owner, id)?;
                    note(&mut reply, id, CancelDid::Ended);
                } else {
                    return Err(no_such(id));
                }
            }
            end(client, shared, live, &mut reply).await?;
        }
        Targets::Filter(filter) => found(client, shared, filter, &mut reply).await?,
    }
    Ok(reply)
}

/// Cancels what a filter finds of the caller's, page by page.
async fn found(client: &Client, shared: &Arc<Shared>, filter: Filter, reply: &mut CancelReply) -> Result<(), Error> {
    let mut found = Found::among(filter, |state| !state.is_terminal());
    while let Some(rows) = found.next(client, shared).await? {
        let mine = rows.iter().filter(|row| client.caller.has(Right::Control, row.uid));
        // Where an array is meant, so are its tasks.
        let ids: Vec<JobRef> = mine.map(|row| row.id).collect();
        end(client, shared, ids, reply).await?;
    }
    Ok(())
}

async fn end(
    client: &Client,
    shared: &Arc<Shared>,
    mut ids: Vec<JobRef>,
    reply: &mut CancelReply,
) -> Result<(), Error> {
    loop {
        if ids.is_empty() {
            return Ok(());
        }
        match shared.engine.command(client.caller, Action::Cancel { targets: ids.clone() }, Vec::new()).await {
            Ok(done) => {
                let Answer::Cancelled(done) = done.answer else {
                    return Err(Error::new(Code::Internal, "a cancel was answered with something else"));
                };
                for (id, how) in done {
                    note(
                        reply,
                        id,
                        if how == CancelledAs::Waiting { CancelDid::Cancelled } else { CancelDid::Stopping },
                    );
                }
                return Ok(());
            }
            // Some ended between the look and the cancel: those are told as ended, the others are tried again.
            Err(error) if error.code == Code::NotFound => {
                let live = are_live(shared, &ids).await?;
                if live.iter().all(|live| *live) {
                    return Err(error);
                }
                let (still, over): (Vec<_>, Vec<_>) = ids.into_iter().zip(live).partition(|(_, live)| *live);
                over.into_iter().for_each(|(id, _)| note(reply, id, CancelDid::Ended));
                ids = still.into_iter().map(|(id, _)| id).collect();
            }
            Err(error) => return Err(error),
        }
    }
}

fn note(reply: &mut CancelReply, id: JobRef, did: CancelDid) {
    match did {
        CancelDid::Cancelled => reply.cancelled += 1,
        CancelDid::Stopping => reply.stopping += 1,
        CancelDid::Ended => reply.ended += 1,
    }
    if reply.jobs.len() < MOST_NAMED {
        reply.jobs.push(CancelledJob { id, did });
    }
}
