//! Holding, releasing, suspending, resuming, signalling and updating what is named and what a filter finds.
//! It refuses to do half of what was named: one that can not have it refuses all of them.

use super::jobs::{no_such, row};
use super::targets::{Found, MOST_NAMED, Targets, are_live, has_ended};
use super::{Client, Shared};
use qrm_core::{Action, Answer, Caller, Control, Core, Now, PastEnd, Refusal, Right};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::filter::Filter;
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::{JobChange, MAX_LABELS};
use qrm_protocol::method::{
    ControlReply, ControlledJob, Empty, ProgressParams, SignalParams, TargetParams, UpdateParams,
};
use qrm_protocol::progress::MAX_MESSAGE_BYTES;
use qrm_protocol::time::Timestamp;
use std::sync::Arc;

/// What is to be done to each.
#[derive(Clone)]
pub(super) enum What {
    /// See [`Control`].
    Control(Control),
    /// New values.
    Update(Box<JobChange>),
}

impl What {
    fn action(self, targets: Vec<JobRef>) -> Action {
        match self {
            Self::Control(what) => Action::Control { targets, what },
            Self::Update(change) => Action::Update { targets, change, ended: PastEnd::new() },
        }
    }

    fn can(&self, core: &Core, now: Timestamp, caller: Caller, id: JobRef) -> bool {
        match self {
            Self::Control(what) => core.would(caller, *what, id).is_ok(),
            Self::Update(change) => match core.may_update(now, caller, change, id) {
                // That is wrong for all of them, and is to be said.
                Err(Refusal::NoSuchQueue { .. }) => true,
                other => other.is_ok(),
            },
        }
    }
}

pub(super) async fn update(client: &Client, shared: &Arc<Shared>, params: UpdateParams) -> Result<ControlReply, Error> {
    let change = params.change.checked()?;
    control(client, shared, TargetParams { targets: params.targets }, What::Update(Box::new(change))).await
}

pub(super) async fn progress(client: &Client, shared: &Shared, params: ProgressParams) -> Result<Empty, Error> {
    let ProgressParams { id: job, fraction, message } = params;
    let bad = |m: &String| m.len() > MAX_MESSAGE_BYTES || m.chars().any(char::is_control);
    if message.as_ref().is_some_and(bad) {
        let why = format!("the message is longer than {MAX_MESSAGE_BYTES} bytes, or holds control characters");
        return Err(Error::invalid(why));
    }
    let message = message.filter(|m| !m.is_empty());
    match shared.engine.command(client.caller, Action::Progress { job, fraction, message }, Vec::new()).await {
        Ok(_) => Ok(Empty {}),
        Err(error) if error.code == Code::NotFound => Err(why_not(client, shared, &[job]).await?.unwrap_or(error)),
        Err(error) => Err(error),
    }
}

pub(super) async fn signal(client: &Client, shared: &Arc<Shared>, params: SignalParams) -> Result<ControlReply, Error> {
    // signal(7): 1 to 31 are the standard ones, 32 and 33 belong to the C library, 64 is the last.
    if !(1..=64).contains(&params.signal) {
        return Err(Error::invalid(format!("{} is not a signal; signals are 1 to 64", params.signal)));
    }
    control(client, shared, TargetParams { targets: params.targets }, What::Control(Control::Signal(params.signal)))
        .await
}

pub(super) async fn control(
    client: &Client,
    shared: &Arc<Shared>,
    params: TargetParams,
    what: What,
) -> Result<ControlReply, Error> {
    let mut reply = ControlReply::default();
    match Targets::parse(shared, &params.targets, "state=queued").await? {
        Targets::Ids(ids) => match run(client, shared, ids.clone(), &what).await {
            Ok(done) => note(&mut reply, done),
            Err(error) if error.code == Code::NotFound => {
                return Err(why_not(client, shared, &ids).await?.unwrap_or(error));
            }
            Err(error) => return Err(error),
        },
        Targets::Filter(filter) => found(client, shared, filter, &what, &mut reply).await?,
    }
    Ok(reply)
}

/// Which of these ended, or was never there.
pub(super) async fn why_not(client: &Client, shared: &Shared, ids: &[JobRef]) -> Result<Option<Error>, Error> {
    for (id, is_live) in ids.iter().zip(are_live(shared, ids).await?) {
        if is_live {
            continue;
        }
        return Ok(Some(if has_ended(shared, *id).await? {
            let owner = row(shared, *id).await?.ok_or_else(|| no_such(*id))?.uid;
            client.caller.check(Right::Control, owner, *id)?;
            Error::new(Code::FailedPrecondition, format!("job {id} has ended")).hint(format!("qrm show {id} says how"))
        } else {
            no_such(*id)
        }));
    }
    Ok(None)
}

/// Does it to those that a filter finds and that can have it, page by page.
async fn found(
    client: &Client,
    shared: &Arc<Shared>,
    filter: Filter,
    what: &What,
    reply: &mut ControlReply,
) -> Result<(), Error> {
    let mut found = Found::among(filter, |state| !state.is_terminal());
    while let Some(rows) = found.next(client, shared).await? {
        let ids: Vec<JobRef> = rows.iter().map(|row| row.id).collect();
        let mut failed: Option<Vec<JobRef>> = None;
        loop {
            let (asked, caller, wanted) = (ids.clone(), client.caller, what.clone());
            let can = move |core: &Core, now: Now| {
                asked.into_iter().filter(|id| wanted.can(core, now.wall, caller, *id)).collect::<Vec<_>>()
            };
            let can = shared.engine.look(can).await?;
            if can.is_empty() {
                break;
            }
            match run(client, shared, can.clone(), what).await {
                Ok(done) => {
                    note(reply, done);
                    break;
                }
                // One of them went on between the look and this; the others are looked at again.
                Err(error)
                    if matches!(error.code, Code::NotFound | Code::FailedPrecondition)
                        && failed.as_ref() != Some(&can) =>
                {
                    failed = Some(can);
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

async fn run(
    client: &Client,
    shared: &Arc<Shared>,
    targets: Vec<JobRef>,
    what: &What,
) -> Result<Vec<(JobRef, bool)>, Error> {
    if let What::Update(change) = what {
        check_labels(shared, change, &targets).await?;
    }
    match shared.engine.command(client.caller, what.clone().action(targets), Vec::new()).await?.answer {
        Answer::Controlled(done) => Ok(done),
        _ => Err(Error::new(Code::Internal, "a control was answered with something else")),
    }
}

/// That none of them would have too many.
async fn check_labels(shared: &Shared, change: &JobChange, targets: &[JobRef]) -> Result<(), Error> {
    if change.labels.is_empty() {
        return Ok(());
    }
    for id in targets {
        let mut labels = row(shared, *id).await?.map(|row| row.labels).unwrap_or_default();
        change.relabel(&mut labels);
        if labels.len() > MAX_LABELS {
            let message = format!("job {id} would have {} labels; the bound is {MAX_LABELS}", labels.len());
            return Err(Error::new(Code::ResourceExhausted, message).hint("NAME= takes one away"));
        }
    }
    Ok(())
}

fn note(reply: &mut ControlReply, done: Vec<(JobRef, bool)>) {
    for (id, changed) in done {
        *if changed { &mut reply.changed } else { &mut reply.unchanged } += 1;
        if reply.jobs.len() < MOST_NAMED {
            reply.jobs.push(ControlledJob { id, changed });
        }
    }
}
