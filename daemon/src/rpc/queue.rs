//! The queues: listed, made and changed, paused and resumed, removed.
//! It refuses to know who may: the router does, and who decides what a queue can be is the core.

use super::{Client, Shared};
use qrm_core::Action;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::method::{Empty, QueueListReply, QueueParams, QueueSetParams};
use qrm_protocol::queue::{QueueName, QueueView};

pub(super) async fn list(shared: &Shared) -> Result<QueueListReply, Error> {
    Ok(QueueListReply { queues: shared.engine.look(|core, _| core.queues()).await? })
}

pub(super) async fn set(client: &Client, shared: &Shared, params: QueueSetParams) -> Result<QueueView, Error> {
    let QueueSetParams { name, change } = params;
    changed(client, shared, name.clone(), Action::QueueSet { name, change }).await
}

pub(super) async fn pause(
    client: &Client,
    shared: &Shared,
    params: QueueParams,
    pause: bool,
) -> Result<QueueView, Error> {
    let name = params.name;
    changed(client, shared, name.clone(), Action::QueuePause { name, pause }).await
}

pub(super) async fn remove(client: &Client, shared: &Shared, params: QueueParams) -> Result<Empty, Error> {
    let action = Action::QueueRemove { name: params.name };
    shared.engine.command(client.caller, action, Vec::new()).await?;
    Ok(Empty {})
}

/// Has a queue changed, and shows it as it is then.
async fn changed(client: &Client, shared: &Shared, name: QueueName, action: Action) -> Result<QueueView, Error> {
    shared.engine.command(client.caller, action, Vec::new()).await?;
    let asked = name.clone();
    let view = shared.engine.look(move |core, _| core.view_queue(&asked)).await?;
    let gone = || Error::new(Code::FailedPrecondition, format!("queue {name} was removed by someone else meanwhile"));
    view.ok_or_else(gone)
}
