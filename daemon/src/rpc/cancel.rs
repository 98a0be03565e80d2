//! Cancelling what is named and what a filter finds.
//! It refuses to do half of what was named: an id that there is none of refuses all of them.

use super::jobs::{no_such, page, row};
use super::{Client, Shared};
use qrm_core::{Action, Answer, CancelledAs};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::filter::{Field, Filter, Op, Term, Value};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::JobState;
use qrm_protocol::method::{CancelDid, CancelParams, CancelReply, CancelledJob};
use std::sync::Arc;

/// The most jobs that an answer names.
const NAMED: usize = 1_000;
/// So many are cancelled at once; others are served in between.
const SLICE: u32 = 1_000;

pub(super) async fn cancel(client: &Client, shared: &Arc<Shared>, params: CancelParams) -> Result<CancelReply, Error> {
    let filter = Filter::parse(&params.targets, &jiff::Zoned::now())?;
    if filter.terms.is_empty() {
        return Err(Error::invalid("nothing is named to be cancelled")
            .hint("name ids, as in qrm cancel 12 13, or a filter, as in qrm cancel state=queued"));
    }
    let mut reply = CancelReply::default();
    match named(&filter) {
        Some(ids) => {
            let mut live = Vec::new();
            let wanted = ids.clone();
            let is_live = shared
                .engine
                .look(move |core, _| wanted.iter().map(|id| core.is_live(*id)).collect::<Vec<_>>())
                .await?;
            for (id, is_live) in ids.into_iter().zip(is_live) {
                if is_live {
                    live.push(id);
                } else if has_ended(shared, id).await? {
                    note(&mut reply, id, CancelDid::Ended);
                } else {
                    return Err(no_such(id));
                }
            }
            end(client, shared, live, &mut reply).await?;
        }
        None => {
            // Also beside a range or another term, what is named must be there.
            let ids = filter.terms.iter().filter(|term| term.field == Field::Id && term.op == Op::Eq);
            for value in ids.flat_map(|term| &term.values) {
                if let Value::One(id) = value
                    && !is_live(shared, *id).await?
                    && !has_ended(shared, *id).await?
                {
                    return Err(no_such(*id));
                }
            }
            found(client, shared, filter, &mut reply).await?;
        }
    }
    Ok(reply)
}

async fn is_live(shared: &Shared, id: JobRef) -> Result<bool, Error> {
    shared.engine.look(move |core, _| core.is_live(id)).await
}

/// Whether something that is not alive was there once. A task of a living array that is not alive has ended, too.
async fn has_ended(shared: &Shared, id: JobRef) -> Result<bool, Error> {
    let array_lives = shared.engine.look(move |core, _| id.task.is_some() && core.owner(id.job).is_some()).await?;
    Ok(row(shared, id).await?.is_some_and(|row| array_lives || row.state.is_terminal()))
}

/// The ids, if nothing but ids was said.
pub(super) fn named(filter: &Filter) -> Option<Vec<JobRef>> {
    let [Term { field: Field::Id, op: Op::Eq, values, .. }] = filter.terms.as_slice() else { return None };
    values.iter().map(|value| if let Value::One(id) = value { Some(*id) } else { None }).collect()
}

/// Cancels what a filter finds, page by page.
async fn found(
    client: &Client,
    shared: &Arc<Shared>,
    mut filter: Filter,
    reply: &mut CancelReply,
) -> Result<(), Error> {
    let live: Vec<JobState> = JobState::ALL.into_iter().filter(|s| !s.is_terminal()).collect();
    filter.terms.push(Term::new(Field::State, Op::Eq, vec![Value::States(live)]));
    let mut before = None;
    loop {
        let (rows, more) = page(shared, filter.clone(), SLICE, before).await?;
        before = rows.last().map(|row| row.id);
        let mine = rows.iter().filter(|row| client.caller.admin || row.uid == client.caller.uid);
        // Where an array is meant, so are its tasks.
        let ids: Vec<JobRef> = mine.map(|row| row.id).collect();
        end(client, shared, ids, reply).await?;
        if !more {
            return Ok(());
        }
    }
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
                let wanted = ids.clone();
                let live = shared
                    .engine
                    .look(move |core, _| wanted.iter().map(|id| core.is_live(*id)).collect::<Vec<_>>())
                    .await?;
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
    if reply.jobs.len() < NAMED {
        reply.jobs.push(CancelledJob { id, did });
    }
}
