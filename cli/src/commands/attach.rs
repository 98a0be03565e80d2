//! `qrm attach`: the terminal of a job on this one, for a while; and the same for a job that `qrm run --pty` has submitted.
//! It refuses to let the job notice that somebody comes or goes.

use super::run::{explain, pass};
use super::spec::context;
use super::wait::{exit_code, is_over, until_ended, wait_for};
use crate::Context;
use crate::again::{Stopped, ask};
use crate::attached::{InputEnd, Left, look, next, signals};
use crate::complete::{Which, just_ids};
use crate::follow::{Follow, Pump, streams_in};
use crate::terminal::Keys;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::JobSpec;
use qrm_protocol::method::{AttachParams, JobAttach, JobSubmit, SubmitParams};
use rustix::event::{PollFd, PollFlags, poll};
use std::io::PipeReader;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Look at the terminal of a job, and type on it.
///
/// The job was submitted with --pty. You see the last that it showed, and what it shows from now on; several may look on and
/// type at once. Ctrl-] leaves it, and the job does not notice; so does the end of this command, however it ends. When the
/// job ends, its exit code is the one of this command.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  qrm attach 12\n  qrm attach 12 --detach-keys ctrl-p,ctrl-q")]
pub(crate) struct Args {
    /// Which job, or task of an array.
    #[arg(value_name = "ID", add = just_ids(Which::Running))]
    id: JobRef,
    /// The keys that leave it, one after the other: characters, and ctrl- with one.
    #[arg(long, value_name = "KEYS", default_value = LEAVE)]
    detach_keys: Keys,
}

/// One key, so that none is held back until the next is known, as it would be of two: telnet's.
const LEAVE: &str = "ctrl-]";

pub(crate) fn run(context: &Context, args: &Args) -> Result<u8, Error> {
    let signals = signals(&[])?;
    let id = args.id;
    let socket = context.connect()?.call_for_descriptor::<JobAttach>(&AttachParams { id })?;
    match look(&socket, &signals, Some(args.detach_keys.clone()), InputEnd::Silent)? {
        Left::Closed(_) => {
            drop(socket);
            let job = wait_for(context, id)?;
            explain(context, &job);
            Ok(exit_code(&job))
        }
        left => away(context, id, &left),
    }
}

/// Nobody looks on any more, and the job goes on.
fn away(context: &Context, id: JobRef, left: &Left) -> Result<u8, Error> {
    match left {
        Left::Full => Err(Error::new(Code::ResourceExhausted, format!("as many look at job {id} as may"))
            .hint(format!("try again when another has left; qrm logs -f {id} follows it"))),
        Left::Told(signal) => Ok(128 + *signal as u8),
        Left::Detached | Left::Closed(_) => {
            context.out.note(&format!("detached from {id}; qrm attach {id} comes back"));
            Ok(0)
        }
    }
}

/// Submits a job that has a terminal, and shows that.
pub(super) fn submitted(context: &Context, job: JobSpec) -> Result<u8, Error> {
    let signals = signals(&[])?;
    let params = SubmitParams { context: self::context()?, job };
    let reply = context.connect()?.call::<JobSubmit>(&params)?;
    let id = reply.id;
    let job = until_ended(
        context,
        id,
        || {},
        |told| {
            if !await_start(context, id, &signals, &told)? {
                return all(Path::new(&reply.dir));
            }
            match attached(context, id) {
                Ok(socket) => match look(&socket, &signals, LEAVE.parse().ok(), InputEnd::Typed)? {
                    Left::Closed(_) => Ok(()),
                    // Who waits for the end on the other thread waits for nothing now.
                    left => match away(context, id, &left) {
                        Ok(code) => std::process::exit(code.into()),
                        Err(error) => Err(error),
                    },
                },
                // It was over before anybody could look.
                Err(error) if error.code == Code::FailedPrecondition => all(Path::new(&reply.dir)),
                Err(error) => Err(error),
            }
        },
    )?;
    explain(context, &job);
    Ok(exit_code(&job))
}

fn attached(context: &Context, id: JobRef) -> Result<OwnedFd, Error> {
    let params = AttachParams { id };
    ask(context, Stopped::Waits(None), |mut client| client.call_for_descriptor::<JobAttach>(&params))
}

/// Until it has started; false if it has ended before that was told. Signals that come meanwhile are passed on.
fn await_start(context: &Context, id: JobRef, signals: &SignalFd, told: &PipeReader) -> Result<bool, Error> {
    loop {
        let mut fds = [PollFd::new(signals, PollFlags::IN), PollFd::new(told, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Error::new(Code::Unavailable, format!("waiting failed: {e}"))),
        }
        let is_told = !fds[1].revents().is_empty();
        while let Some(signal) = next(signals) {
            match signal {
                Signal::SIGTSTP => drop(nix::sys::signal::raise(Signal::SIGSTOP)),
                Signal::SIGWINCH => {}
                signal => pass(context, id, signal as i32),
            }
        }
        if is_told {
            return Ok(!is_over(told));
        }
    }
}

/// All that it wrote.
fn all(dir: &Path) -> Result<(), Error> {
    let mut follow = Follow::new(streams_in(dir));
    loop {
        let mut out = std::io::stdout();
        match follow.pump(None, &mut [Some(&mut out), None]) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(Pump::Source(error)) => return Err(error),
            Err(Pump::Sink(which, why)) => return Err(which.failed(&why)),
        }
    }
}
