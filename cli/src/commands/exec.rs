//! `qrm exec`: a command inside of a running job.
//! It refuses to copy what that reads and writes: it has the descriptors of this one, unless these are a terminal.

use super::run::PASSED;
use super::spec::text;
use crate::Context;
use crate::attached::{End, InputEnd, Left, hear, look, next, say, signals};
use crate::complete::{Which, just_ids};
use crate::render::clean;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::JobRef;
use qrm_protocol::method::{ExecParams, JobExec};
use qrm_protocol::terminal::{BEGIN, END, MOST, NOT_FOUND, SIGNAL};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::termios::isatty;
use std::ffi::OsString;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

/// Run a command inside of a running job.
///
/// It is where the job is: in its control groups and so within its limits, as its user, with its environment, directory and
/// devices. Its streams are yours; if you are at a terminal it has one, too, and keys are its signals. Signals that are sent to
/// this command are passed on; at a terminal only USR1 and USR2 are, and the others end this command. Its exit code is the one
/// of this command. It ends with the job, and with this command: then it is hung up, and killed after five seconds. The job's
/// own end and result stay those of its own command.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  qrm exec 12 -- nvidia-smi\n  qrm exec 12 -- bash\n  qrm exec 12 -- tar c results | tar x"
)]
pub(crate) struct Args {
    /// Which job, or task of an array.
    #[arg(value_name = "ID", add = just_ids(Which::Running))]
    id: JobRef,
    /// The program and its arguments.
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, add = crate::complete::command())]
    command: Vec<OsString>,
}

/// After so many interrupts qrm itself goes, too.
const INTERRUPTS: u32 = 3;

pub(crate) fn run(context: &Context, args: Args) -> Result<u8, Error> {
    let id = args.id;
    let program = args.command.first().map(|word| clean(&word.to_string_lossy())).unwrap_or_default();
    let command =
        args.command.into_iter().map(|word| text(word.into_vec(), "the command")).collect::<Result<_, _>>()?;
    let pty = (isatty(std::io::stdin()) && isatty(std::io::stdout())).then(crate::terminal::own_size);
    let term = std::env::var("TERM").ok().filter(|term| pty.is_some() && !term.is_empty());
    let signals = signals(&PASSED)?;
    let socket = context.connect()?.call_for_descriptor::<JobExec>(&ExecParams { id, command, pty, term })?;
    let end = match pty {
        Some(_) => match look(&socket, &signals, None, InputEnd::Typed)? {
            Left::Closed(end) => end,
            Left::Told(signal) => return Ok(128 + signal as u8),
            Left::Detached | Left::Full => None,
        },
        None => {
            begin(&socket).map_err(|e| lost(id, &e))?;
            match await_end(&socket, &signals)? {
                Ok(end) => end,
                Err(code) => return Ok(code),
            }
        }
    };
    let end = end.ok_or_else(|| lost(id, &"nobody says how it ended"))?;
    if let Some((step, errno)) = end.failed {
        let why = std::io::Error::from_raw_os_error(errno);
        let message = match step {
            NOT_FOUND => format!("{program}: {why}"),
            _ => format!("{program} can not be run in job {id}: {why}"),
        };
        context.out.error(&Error::new(Code::NotFound, message));
    }
    Ok(end.code)
}

fn lost(id: JobRef, why: &dyn std::fmt::Display) -> Error {
    Error::new(Code::FailedPrecondition, format!("what was to run in job {id} is gone: {why}"))
        .hint(format!("qrm show {id} says whether that has ended"))
}

/// Hands over the three streams of this process.
fn begin(socket: &OwnedFd) -> Result<(), Errno> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let fds = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    message.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(socket, &[IoSlice::new(&[BEGIN])], &mut message, SendFlags::NOSIGNAL).map(drop)
}

/// Until it has ended, or too many interrupts have come, with the exit code of that. Signals are passed on.
fn await_end(socket: &OwnedFd, signals: &SignalFd) -> Result<Result<Option<End>, u8>, Error> {
    let mut interrupts = 0;
    loop {
        let mut fds = [PollFd::new(signals, PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(Error::new(Code::Unavailable, format!("waiting failed: {e}"))),
        }
        while let Some(signal) = next(signals) {
            match signal {
                Signal::SIGWINCH => {}
                Signal::SIGTSTP => drop(nix::sys::signal::raise(Signal::SIGSTOP)),
                signal => {
                    interrupts += u32::from(signal == Signal::SIGINT);
                    // One for which there is no room is no loss beside those that fill it.
                    say(socket, SIGNAL, &[signal as u8]).ok();
                }
            }
            if interrupts >= INTERRUPTS {
                return Ok(Err(130));
            }
        }
        let mut buffer = [0; MOST + 1];
        match hear(socket, &mut buffer) {
            Some([END, rest @ ..]) => return Ok(Ok(End::parse(rest))),
            Some([]) => return Ok(Ok(None)),
            Some(_) | None => {}
        }
    }
}
