//! Ways into executing jobs: to their terminals, and to commands that run beside theirs. What comes of a call is a
//! socket, which is handed to the caller. It refuses to look at what is said over it.

use super::jobs::{no_such, row};
use super::{Client, Shared, turns};
use crate::engine::Visit;
use crate::supervise::identity::identity;
use interprocess::local_socket::tokio::Stream;
use qrm_core::{Right, Run, Stage};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::frame::{self, Id};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::{JobState, MAX_COMMAND_BYTES};
use qrm_protocol::method::{AttachParams, Empty, ExecParams};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// A way to the terminal of a job.
pub(super) async fn attach(client: &Client, shared: &Shared, params: AttachParams) -> Result<OwnedFd, Error> {
    let id = params.id;
    let (run, has_terminal) = executing(client, shared, id).await?;
    if !has_terminal {
        return Err(Error::new(Code::FailedPrecondition, format!("job {id} has no terminal"))
            .hint(format!("qrm logs -f {id} follows it, or submit with --pty")));
    }
    shared.engine.visit(run, Visit::Attach).await
}

/// A way to a command that runs beside that of a job.
pub(super) async fn exec(client: &Client, shared: &Shared, params: ExecParams) -> Result<OwnedFd, Error> {
    let ExecParams { id, command, pty, term } = params;
    let is_term = |term: &String| term.len() <= 64 && term.bytes().all(|byte| byte.is_ascii_graphic());
    if !term.as_ref().is_none_or(is_term) {
        return Err(
            Error::invalid("that is not the kind of a terminal").hint("TERM is a short word, as xterm-256color")
        );
    }
    if command.first().is_none_or(|program| program.as_bytes().is_empty()) {
        return Err(
            Error::invalid("what to run is missing").hint(format!("write it after --, as in: qrm exec {id} -- ps"))
        );
    }
    if command.iter().map(|word| word.as_bytes().len() + 1).sum::<usize>() > MAX_COMMAND_BYTES {
        let message = format!("the command line is longer than {MAX_COMMAND_BYTES} bytes");
        return Err(Error::new(Code::ResourceExhausted, message));
    }
    let (run, _) = executing(client, shared, id).await?;
    let suspended = move |core: &qrm_core::Core, now| core.look(now, id).is_some_and(|live| live.suspended);
    if shared.engine.look(suspended).await? {
        return Err(Error::new(
            Code::FailedPrecondition,
            format!("job {id} is suspended, and so would be what runs in it"),
        )
        .hint(format!("qrm resume {id} lets it go on")));
    }
    let owner = row(shared, id).await?.ok_or_else(|| no_such(id))?.uid;
    let identity = match shared.mode.is_system() {
        true => {
            let failed = |why: String| Error::new(Code::Unavailable, format!("job {id}: {why}"));
            let found = turns::blocking(move || identity(owner)).await;
            Some(found.map_err(|error| failed(error.to_string()))?.map_err(failed)?)
        }
        false => None,
    };
    shared.engine.visit(run, Visit::Exec { command, pty, term, identity }).await
}

/// The run of a job that executes and that this caller may see into, and whether it has a terminal.
async fn executing(client: &Client, shared: &Shared, id: JobRef) -> Result<(Run, bool), Error> {
    // That there is none of it, or not yet, is said there.
    super::jobs::show(client, shared, id).await?;
    let row = row(shared, id).await?.ok_or_else(|| no_such(id))?;
    client.caller.check(Right::Inside, row.uid, id)?;
    let wrong =
        |what: &str, hint: String| Err(Error::new(Code::FailedPrecondition, format!("job {id} {what}")).hint(hint));
    let Some(live) = shared.engine.look(move |core, now| core.look(now, id)).await? else {
        return wrong("has ended", format!("qrm show {id} says how"));
    };
    if live.tasks.is_some() {
        return wrong("is an array, whose tasks run each by itself", format!("name one of them, as {id}.0"));
    }
    if live.state != JobState::Executing {
        return wrong(&format!("does not run: it is {}", live.state), format!("qrm show {id} says why"));
    }
    Ok((Run { job: id, stage: Stage::Execute, attempt: live.attempt }, row.options.pty.is_some()))
}

/// Answers with a descriptor.
pub(super) async fn hand_over(client: &Client, id: Id<'_>, way: OwnedFd) -> io::Result<()> {
    let reply = frame::encode_result(id, &Empty {});
    let Stream::UdSocket(stream) = &*client.stream;
    let stream = stream.inner();
    loop {
        stream.writable().await?;
        let sent = stream.try_io(tokio::io::Interest::WRITABLE, || {
            let fds = [way.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut message = SendAncillaryBuffer::new(&mut space);
            message.push(SendAncillaryMessage::ScmRights(&fds));
            Ok(sendmsg(stream.as_fd(), &[IoSlice::new(&reply)], &mut message, SendFlags::NOSIGNAL)?)
        });
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
            // The descriptor went with the first byte.
            Ok(sent) => return client.send(&reply[sent..]).await,
        }
    }
}
