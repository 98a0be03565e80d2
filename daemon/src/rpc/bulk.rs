//! Bulks: jobs that come in slices on one connection and appear all at once, or not at all if the connection ends.
//! It refuses to hold them: each slice goes to the engine as it comes.

use super::jobs::Origin;
use super::{Client, Shared};
use qrm_core::{Action, Answer, Caller, Demand};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::JobId;
use qrm_protocol::job::{JobSpec, Stdin};
use qrm_protocol::method as m;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A bulk that a connection has open.
pub(crate) struct Open {
    id: JobId,
    origin: Origin,
    staged: u64,
}

/// So many jobs go to the engine at once; others are served in between.
const SLICE: usize = 1_000;

/// So many dependencies at most, so that the event of a slice, which spells them out, stays below the bound of a frame.
const NEEDS: usize = 20_000;

fn dependencies(spec: &JobSpec) -> usize {
    spec.after.len() + spec.after_ok.len() + spec.after_fail.len() + spec.after_start.len()
}

impl Open {
    /// Forgets it.
    pub(super) async fn discard(self, shared: &Shared, caller: Caller) {
        if let Err(error) = shared.engine.command(caller, Action::BulkDiscard { bulk: self.id }, Vec::new()).await {
            tracing::warn!(bulk = %self.id, error = error.message, "a bulk could not be discarded; the next start does it");
        }
    }
}

fn odd() -> Error {
    Error::new(Code::Internal, "a bulk was answered with something else")
}

pub(super) async fn begin(
    client: &mut Client,
    shared: &Arc<Shared>,
    params: m::BulkBeginParams,
) -> Result<m::BulkBeginReply, Error> {
    if client.bulk.is_some() {
        return Err(
            Error::new(Code::FailedPrecondition, "this connection has a bulk open").hint("bulk.commit makes it real")
        );
    }
    let origin = Origin::of(client, shared, params.context).await?;
    let reply = shared.engine.command(client.caller, Action::BulkBegin { count: params.count }, Vec::new()).await?;
    let Answer::BulkBegun(id) = reply.answer else { return Err(odd()) };
    client.bulk = Some(Open { id, origin, staged: 0 });
    Ok(m::BulkBeginReply { first: id.into() })
}

pub(super) async fn add(
    client: &mut Client,
    shared: &Arc<Shared>,
    params: m::BulkAddParams,
) -> Result<m::BulkAddReply, Error> {
    let result = add_slices(client, shared, params).await;
    if result.is_err()
        && let Some(open) = client.bulk.take()
    {
        // All or nothing: what is wrong with one job is the end of all of them.
        open.discard(shared, client.caller).await;
    }
    result
}

async fn add_slices(
    client: &mut Client,
    shared: &Arc<Shared>,
    params: m::BulkAddParams,
) -> Result<m::BulkAddReply, Error> {
    let caller = client.caller;
    let open = client.bulk.as_mut().ok_or_else(no_bulk)?;
    let mut existing = Vec::new();
    let mut specs = params.jobs.into_iter().peekable();
    loop {
        let (mut slice, mut needs) = (Vec::new(), 0);
        while let Some(spec) = specs.next_if(|spec| slice.len() < SLICE && needs + dependencies(spec) <= NEEDS) {
            needs += dependencies(&spec);
            slice.push(spec);
        }
        if slice.is_empty() {
            return Ok(m::BulkAddReply { staged: open.staged, existing });
        }
        if let Some(place) = slice.iter().position(|spec| spec.stdin == Stdin::Fifo) {
            let message = format!(
                "job {} of the bulk: it can not read the standard input of this command",
                open.staged + place as u64 + 1
            );
            return Err(Error::invalid(message));
        }
        let jobs = slice.iter().map(|spec| Some(Demand::from(spec))).collect();
        let count = slice.len() as u64;
        let text = |(place, spec)| {
            open.origin.text(spec).map_err(|mut error: Error| {
                error.message = format!("job {} of the bulk: {}", open.staged + place + 1, error.message);
                error
            })
        };
        let texts = (0..).zip(slice).map(text).collect::<Result<_, _>>()?;
        let action = Action::BulkAdd { bulk: open.id, jobs, ended: BTreeMap::new() };
        let reply = shared.engine.command(caller, action, texts).await?;
        existing.extend(reply.existing.into_iter().map(|(place, id)| (open.staged + place, id.into())));
        open.staged += count;
    }
}

pub(super) async fn commit(client: &mut Client, shared: &Shared) -> Result<m::BulkCommitReply, Error> {
    let open = client.bulk.take().ok_or_else(no_bulk)?;
    let reply = shared.engine.command(client.caller, Action::BulkCommit { bulk: open.id }, Vec::new()).await;
    match reply {
        Ok(reply) => {
            let Answer::BulkSubmitted(count) = reply.answer else { return Err(odd()) };
            crate::give_back_memory();
            Ok(m::BulkCommitReply { count })
        }
        Err(error) => {
            open.discard(shared, client.caller).await;
            Err(error)
        }
    }
}

fn no_bulk() -> Error {
    Error::new(Code::FailedPrecondition, "this connection has no bulk open").hint("bulk.begin opens one")
}
