//! Which method is answered by what.
//! It refuses to do anything else.

use super::control::What;
use super::{
    Client, Frames, Shared, bulk, cancel, cleanup, control, daemon, events, explain, jobs, log, offer, queue, retry,
    stats, visit,
};
use qrm_core::{Caller, Control, Role};
use qrm_protocol::PROTOCOL_VERSION;
use qrm_protocol::access::Access;
use qrm_protocol::error::{Code, Error, nearest};
use qrm_protocol::frame::{self, Id};
use qrm_protocol::method::{self as m, Method};
use std::sync::Arc;

/// Answers one call; false if the connection is to be closed.
pub(super) async fn answer(
    client: &mut Client,
    frames: &mut Frames,
    shared: &Arc<Shared>,
    id: Id<'_>,
    method: &str,
    params: &str,
) -> std::io::Result<bool> {
    if let Err(error) = allowed(client.caller, method) {
        return client.refuse(id, &error).await.map(|()| true);
    }
    let mut open = true;
    let reply = match method {
        m::Hello::NAME => {
            let done = read::<m::Hello>(params).and_then(|p| hello(&p));
            open = done.is_ok();
            reply::<m::Hello>(id, done)
        }
        m::Discover::NAME => match read::<m::Discover>(params).and_then(|_| daemon::describe()) {
            Ok(description) => frame::encode_result(id, &description),
            Err(error) => frame::encode_error(Some(id), &error),
        },
        m::JobSubmit::NAME => reply::<m::JobSubmit>(id, then(params, |p| jobs::submit(client, shared, p)).await),
        m::BulkBegin::NAME => reply::<m::BulkBegin>(id, then(params, |p| bulk::begin(client, shared, p)).await),
        m::BulkAdd::NAME => reply::<m::BulkAdd>(id, then(params, |p| bulk::add(client, shared, p)).await),
        m::BulkCommit::NAME => {
            reply::<m::BulkCommit>(id, then(params, |_: m::Empty| bulk::commit(client, shared)).await)
        }
        m::JobList::NAME => reply::<m::JobList>(id, then(params, |p| jobs::list(client, shared, p)).await),
        m::JobShow::NAME => {
            reply::<m::JobShow>(id, then(params, |p: m::JobParams| jobs::show_measured(client, shared, p.id)).await)
        }
        m::JobWait::NAME => tokio::select! {
            waited = then(params, |p| jobs::wait(client, shared, p)) => reply::<m::JobWait>(id, waited),
            // Its place is someone else's now; a wait may take for ever.
            () = frames.gone() => return Ok(false),
            () = shared.ending.begun() => return Ok(false),
        },
        m::JobCancel::NAME => reply::<m::JobCancel>(id, then(params, |p| cancel::cancel(client, shared, p)).await),
        m::JobHold::NAME => reply::<m::JobHold>(
            id,
            then(params, |p| control::control(client, shared, p, What::Control(Control::Hold))).await,
        ),
        m::JobRelease::NAME => reply::<m::JobRelease>(
            id,
            then(params, |p| control::control(client, shared, p, What::Control(Control::Release))).await,
        ),
        m::JobSuspend::NAME => reply::<m::JobSuspend>(
            id,
            then(params, |p| control::control(client, shared, p, What::Control(Control::Suspend))).await,
        ),
        m::JobResume::NAME => reply::<m::JobResume>(
            id,
            then(params, |p| control::control(client, shared, p, What::Control(Control::Resume))).await,
        ),
        m::JobSignal::NAME => reply::<m::JobSignal>(id, then(params, |p| control::signal(client, shared, p)).await),
        m::JobUpdate::NAME => reply::<m::JobUpdate>(id, then(params, |p| control::update(client, shared, p)).await),
        m::JobProgress::NAME => {
            reply::<m::JobProgress>(id, then(params, |p| control::progress(client, shared, p)).await)
        }
        m::JobRetry::NAME => reply::<m::JobRetry>(id, then(params, |p| retry::retry(client, shared, p)).await),
        m::JobCheck::NAME => reply::<m::JobCheck>(id, then(params, |p| explain::check(client, shared, p)).await),
        m::JobExplain::NAME => {
            reply::<m::JobExplain>(id, then(params, |p: m::JobParams| explain::explain(client, shared, p.id)).await)
        }
        m::JobWhen::NAME => reply::<m::JobWhen>(id, then(params, |p| explain::when(client, shared, p)).await),
        m::OfferAccept::NAME => reply::<m::OfferAccept>(id, then(params, |p| offer::accept(client, shared, p)).await),
        m::QueueList::NAME => reply::<m::QueueList>(id, then(params, |_: m::Empty| queue::list(shared)).await),
        m::QueueSet::NAME => reply::<m::QueueSet>(id, then(params, |p| queue::set(client, shared, p)).await),
        m::QueuePause::NAME => {
            reply::<m::QueuePause>(id, then(params, |p| queue::pause(client, shared, p, true)).await)
        }
        m::QueueResume::NAME => {
            reply::<m::QueueResume>(id, then(params, |p| queue::pause(client, shared, p, false)).await)
        }
        m::QueueRemove::NAME => reply::<m::QueueRemove>(id, then(params, |p| queue::remove(client, shared, p)).await),
        m::JobAttach::NAME => match then(params, |p| visit::attach(client, shared, p)).await {
            Ok(way) => return visit::hand_over(client, id, way).await.map(|()| true),
            Err(error) => frame::encode_error(Some(id), &error),
        },
        m::JobExec::NAME => match then(params, |p| visit::exec(client, shared, p)).await {
            Ok(way) => return visit::hand_over(client, id, way).await.map(|()| true),
            Err(error) => frame::encode_error(Some(id), &error),
        },
        m::JobTrace::NAME => {
            reply::<m::JobTrace>(id, then(params, |p: m::JobParams| jobs::trace(client, shared, p.id)).await)
        }
        m::JobStats::NAME => tokio::select! {
            told = then(params, |p| stats::job(client, shared, p)) => reply::<m::JobStats>(id, told),
            () = frames.gone() => return Ok(false),
        },
        m::HostStats::NAME => tokio::select! {
            told = then(params, |p| stats::host(shared, p)) => reply::<m::HostStats>(id, told),
            () = frames.gone() => return Ok(false),
        },
        m::JobCleanup::NAME => tokio::select! {
            done = then(params, |p| cleanup::cleanup(shared, p)) => reply::<m::JobCleanup>(id, done),
            () = frames.gone() => return Ok(false),
        },
        m::Status::NAME => reply::<m::Status>(id, then(params, |_: m::Empty| daemon::status(client, shared)).await),
        m::DaemonStatus::NAME => {
            reply::<m::DaemonStatus>(id, then(params, |_: m::Empty| daemon::daemon_status(shared)).await)
        }
        m::DaemonStop::NAME => {
            reply::<m::DaemonStop>(id, then(params, |_: m::Empty| daemon::stop(client, shared)).await)
        }
        m::DaemonReload::NAME => {
            reply::<m::DaemonReload>(id, then(params, |p| daemon::reload(client, shared, p)).await)
        }
        m::ConfigShow::NAME => {
            reply::<m::ConfigShow>(id, read::<m::ConfigShow>(params).map(|_| daemon::config(shared)))
        }
        m::Doctor::NAME => reply::<m::Doctor>(id, then(params, |_: m::Empty| daemon::doctor(shared)).await),
        m::EventSubscribe::NAME => match read::<m::EventSubscribe>(params) {
            Ok(params) => return events::subscribe(client, frames, shared, id, params).await,
            Err(error) => frame::encode_error(Some(id), &error),
        },
        m::LogSubscribe::NAME => match read::<m::LogSubscribe>(params) {
            Ok(params) => return log::subscribe(client, frames, shared, id, params).await,
            Err(error) => frame::encode_error(Some(id), &error),
        },
        other => frame::encode_error(Some(id), &unknown(other)),
    };
    client.send(&reply).await?;
    Ok(open)
}

/// What concerns all users, by the caller's role; what concerns a job is checked where its owner is known.
fn allowed(caller: Caller, method: &str) -> Result<(), Error> {
    let least = match m::access(method) {
        Some(Access::Admins) => Role::Admin,
        Some(Access::Viewers) => Role::Viewer,
        _ => return Ok(()),
    };
    Ok(caller.check_role(least, method)?)
}

fn read<M: Method>(params: &str) -> Result<M::Params, Error> {
    from_json(params)
}

fn from_json<P: serde::de::DeserializeOwned>(params: &str) -> Result<P, Error> {
    serde_json::from_str(params).map_err(|e| Error::invalid(format!("the parameters are not understood: {e}")))
}

async fn then<P, R, F>(params: &str, call: impl FnOnce(P) -> F) -> Result<R, Error>
where
    P: serde::de::DeserializeOwned,
    F: Future<Output = Result<R, Error>>,
{
    call(from_json(params)?).await
}

fn reply<M: Method>(id: Id<'_>, result: Result<M::Reply, Error>) -> Vec<u8> {
    match result {
        Ok(result) => {
            let bytes = frame::encode_result(id, &result);
            if bytes.len() > frame::MAX_FRAME {
                return frame::encode_error(Some(id), &frame::too_large());
            }
            bytes
        }
        Err(error) => frame::encode_error(Some(id), &error),
    }
}

fn hello(params: &m::HelloParams) -> Result<m::HelloReply, Error> {
    let version = env!("CARGO_PKG_VERSION");
    if params.protocol == PROTOCOL_VERSION {
        return Ok(m::HelloReply { protocol: PROTOCOL_VERSION, version: version.to_owned() });
    }
    let message = format!(
        "this qrmd is release {version} and speaks version {PROTOCOL_VERSION} of the protocol; the caller speaks version {}",
        params.protocol
    );
    Err(Error::new(Code::VersionMismatch, message)
        .hint("qrm daemon stop and qrm daemon start of one release make both the same; jobs go on meanwhile"))
}

fn unknown(method: &str) -> Error {
    let shown: String = method.chars().take(64).collect();
    let error = Error::new(Code::MethodNotFound, format!("there is no method '{shown}'"));
    match nearest(&shown, m::NAMES.iter().copied()) {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint(format!("methods are {}", m::NAMES.join(", "))),
    }
}
