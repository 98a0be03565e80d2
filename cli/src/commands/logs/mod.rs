//! `qrm logs`: the output of jobs, as it is or as it grows.
//! It refuses to change a byte of what one job wrote; of several, it says whose each line is.

mod lines;
mod several;

use super::wait::{self, is_over, until_ended};
use crate::Context;
use crate::again::{Stopped, ask};
use crate::complete::{Which, ids};
use crate::follow::{Follow, Pump, Sink, Watch, streams};
use qrm_protocol::error::Error;
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::JobView;
use qrm_protocol::method::{JobParams, JobShow};
use rustix::event::{PollFd, PollFlags};
use std::io::PipeReader;

/// The output of jobs: stdout to stdout, stderr to stderr.
///
/// Of one job or task every byte comes as it was written. Of several, each line is preceded by the id of whose it is, as
/// `12.3 | `; a line of more than 64 KiB is cut into such pieces.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  qrm logs 12\n  qrm logs -f 12.3 --tail 20\n  qrm logs -f 12 14-16    # all of them, each line with its job\n  \
    qrm logs --stderr state=failed 'ended>-1h'"
)]
pub(crate) struct Args {
    /// Jobs as 12, tasks of an array as 12.3 or all of them as 12, ranges as 10-20, or terms of a filter as in `qrm jobs`.
    #[arg(value_name = "ID|FILTER", required = true, add = ids(Which::Started))]
    targets: Vec<String>,
    /// Go on until all have ended; waits for those that have not started.
    #[arg(long, short)]
    follow: bool,
    /// Only what they wrote to standard error.
    #[arg(long)]
    stderr: bool,
    /// Only the last N lines of each.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    tail: Option<u64>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<u8, Error> {
    if let [only] = &args.targets[..]
        && let Ok(id) = only.parse::<JobRef>()
    {
        let job = ask(context, Stopped::Fails, |mut client| client.call::<JobShow>(&JobParams { id }))?;
        if job.array.is_none() {
            return one(context, args, &job);
        }
    }
    several::run(context, args)
}

fn one(context: &Context, args: &Args, job: &JobView) -> Result<u8, Error> {
    let follows = args.follow && !job.state.is_terminal();
    let watch = if follows { Some(Watch::new()?) } else { None };
    let watch = watch.as_ref();
    let mut follow = Follow::new(streams(job));
    if let Some(lines) = args.tail {
        follow.tail(watch, lines)?;
    }
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let mut sinks: [Option<Sink<'_>>; 2] = [if args.stderr { None } else { Some(&mut out) }, Some(&mut err)];
    if let Some(watch) = watch {
        copy_until_ended(context, job.id, watch, &mut follow, &mut sinks)?;
    }
    while copy(context, watch, &mut follow, &mut sinks)? {}
    Ok(0)
}

/// Copies a piece; whether there may be more.
fn copy(
    context: &Context,
    watch: Option<&Watch>,
    follow: &mut Follow,
    sinks: &mut [Option<Sink<'_>>; 2],
) -> Result<bool, Error> {
    match follow.pump(watch, sinks) {
        Ok(more) => Ok(more),
        Err(Pump::Source(error)) => Err(error),
        Err(Pump::Sink(which, why)) => context.out.end(which, &why),
    }
}

/// Copies while the job lives.
fn copy_until_ended(
    context: &Context,
    id: JobRef,
    watch: &Watch,
    follow: &mut Follow,
    sinks: &mut [Option<Sink<'_>>; 2],
) -> Result<(), Error> {
    let ended = until_ended(
        context,
        id,
        || {},
        |told| {
            let mut over = false;
            while !over {
                let more = copy(context, Some(watch), follow, sinks)?;
                over = rest(&told, watch, more)? && is_over(&told);
                watch.drain();
            }
            Ok(())
        },
    );
    ended.map(drop)
}

/// Waits until something changed, or was told through the pipe, and says whether it was; with more to do it only looks.
/// A standard output that nobody reads any more ends the program, also when nothing is written.
fn rest(told: &PipeReader, watch: &Watch, more: bool) -> Result<bool, Error> {
    let out = std::io::stdout();
    let (told, reader) = wait::rest(told, watch, PollFd::new(&out, PollFlags::empty()), more)?;
    if reader.intersects(PollFlags::ERR | PollFlags::HUP) {
        std::process::exit(141);
    }
    Ok(told)
}
