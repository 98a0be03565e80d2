//! `qrm logs`: the output of a job, as it is or as it grows.
//! It refuses to change a byte of it.

use super::wait::{wait_for, wait_for_start};
use crate::Context;
use crate::again::{Stopped, ask};
use crate::follow::{Follow, NOW, Pump, Sink};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::JobRef;
use qrm_protocol::method::{JobParams, JobShow};
use rustix::event::{PollFd, PollFlags, poll};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

/// The output of a job: stdout to stdout, stderr to stderr.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  qrm logs 12\n  qrm logs -f 12.3 --tail 20")]
pub(crate) struct Args {
    /// A job as 12, a task of an array as 12.3.
    #[arg(value_name = "ID", add = crate::complete::just_ids(crate::complete::Which::Started))]
    id: JobRef,
    /// Go on until the job has ended; waits for one that has not started.
    #[arg(long, short)]
    follow: bool,
    /// Only what it wrote to standard error.
    #[arg(long)]
    stderr: bool,
    /// Only the last N lines of each.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    tail: Option<u64>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<u8, Error> {
    let job = ask(context, Stopped::Fails, |mut client| client.call::<JobShow>(&JobParams { id: args.id }))?;
    if let Some(array) = job.array {
        return Err(Error::new(
            Code::FailedPrecondition,
            format!("job {} is an array; each of its tasks has its own output", job.id),
        )
        .hint(format!("qrm logs {}.{} shows that of its first task", job.id, array.first)));
    }
    let mut follow = Follow::new(Path::new(&job.dir))?;
    if let Some(lines) = args.tail {
        follow.tail(lines)?;
    }
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut sinks: [Option<Sink<'_>>; 2] = [if args.stderr { None } else { Some(&mut out) }, Some(&mut err)];
    if args.follow && !job.state.is_terminal() {
        until_ended(context, args.id, &mut follow, &mut sinks)?;
    }
    while copy(&mut follow, &mut sinks)? {}
    Ok(0)
}

/// Copies a piece; whether there may be more.
fn copy(follow: &mut Follow, sinks: &mut [Option<Sink<'_>>; 2]) -> Result<bool, Error> {
    match follow.pump(sinks) {
        Ok(more) => Ok(more),
        Err(Pump::Source(error)) => Err(error),
        Err(Pump::Sink) => std::process::exit(141),
    }
}

/// Copies while the job lives. Another thread waits for its end and says so through a pipe.
fn until_ended(
    context: &Context,
    id: JobRef,
    follow: &mut Follow,
    sinks: &mut [Option<Sink<'_>>; 2],
) -> Result<(), Error> {
    let (ended, tell) =
        std::io::pipe().map_err(|e| Error::new(Code::Unavailable, format!("no pipe is to be had: {e}")))?;
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || {
            let mut tell = tell;
            // Its directory comes to be with its start.
            wait_for_start(context, id)?;
            if tell.write_all(b"s").is_err() {
                return Ok(());
            }
            wait_for(context, id).map(drop)
        });
        let mut over = false;
        while !over {
            let more = copy(follow, sinks)?;
            let mut fds =
                [PollFd::new(&ended, PollFlags::IN), PollFd::from_borrowed_fd(follow.changed(), PollFlags::IN)];
            match poll(&mut fds, more.then_some(&NOW)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(Error::new(Code::Unavailable, format!("waiting failed: {e}"))),
            }
            let told = fds[0].revents();
            if !told.is_empty() {
                let mut byte = [0];
                over = rustix::io::read(ended.as_fd(), &mut byte).is_ok_and(|n| n == 0);
            }
            follow.drain();
        }
        match waiting.join() {
            Ok(waited) => waited,
            Err(_) => Err(Error::new(Code::Internal, "the thread that waited for the job panicked")),
        }
    })
}
