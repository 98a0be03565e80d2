//! `qrm hold`, `release`, `suspend`, `resume` and `signal`: what is done to jobs short of ending them.
//! It refuses to do half of what was named.

use crate::Context;
use crate::complete::{Which, ids, signals};
use qrm_protocol::error::Error;
use qrm_protocol::ids::JobRef;
use qrm_protocol::method::{
    ControlReply, JobHold, JobRelease, JobResume, JobSignal, JobSuspend, Method, SignalParams, TargetParams,
};
use qrm_protocol::signal::Signal;

/// Keep jobs that wait from starting.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  qrm hold 12 13\n  qrm hold state=queued name~sweep")]
pub(crate) struct Hold {
    /// Ids as 12, 12.3, 10-20, or terms of a filter as in `qrm jobs`.
    #[arg(value_name = "ID|FILTER", required = true, add = ids(Which::Waiting))]
    targets: Vec<String>,
}

/// Let jobs start that were held.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  qrm release 12\n  qrm release 20-29")]
pub(crate) struct Release {
    /// Ids as 12, 12.3, 10-20, or terms of a filter as in `qrm jobs`.
    #[arg(value_name = "ID|FILTER", required = true, add = ids(Which::Held))]
    targets: Vec<String>,
}

/// Let executing jobs stand still.
///
/// They keep what they were granted, so that they can go on at any time; their time limit stands still, too.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  qrm suspend 12\n  qrm suspend state=executing user=alice")]
pub(crate) struct Suspend {
    /// Ids as 12, 12.3, 10-20, or terms of a filter as in `qrm jobs`.
    #[arg(value_name = "ID|FILTER", required = true, add = ids(Which::Running))]
    targets: Vec<String>,
}

/// Let suspended jobs go on.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  qrm resume 12")]
pub(crate) struct Resume {
    /// Ids as 12, 12.3, 10-20, or terms of a filter as in `qrm jobs`.
    #[arg(value_name = "ID|FILTER", required = true, add = ids(Which::Suspended))]
    targets: Vec<String>,
}

/// Send a signal to all processes of executing jobs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  qrm signal USR1 12\n  qrm signal INT 12.3 14-19")]
pub(crate) struct Signalled {
    /// A name as USR1 or SIGUSR1, or a number.
    #[arg(value_name = "SIGNAL", add = signals())]
    signal: Signal,
    /// Ids as 12, 12.3, 10-20, or terms of a filter as in `qrm jobs`.
    #[arg(value_name = "ID|FILTER", required = true, add = ids(Which::Running))]
    targets: Vec<String>,
}

/// The words for what was done, and for what was so before.
pub(crate) struct Words {
    pub changed: &'static str,
    pub unchanged: &'static str,
}

/// So many are named one by one.
pub(crate) const NAMED: usize = 20;

fn control<M: Method<Params = TargetParams, Reply = ControlReply>>(
    context: &Context,
    targets: Vec<String>,
    words: &Words,
) -> Result<u8, Error> {
    let reply = context.connect()?.call::<M>(&TargetParams { targets })?;
    Ok(say(context, &reply, words))
}

pub(crate) fn hold(context: &Context, args: Hold) -> Result<u8, Error> {
    control::<JobHold>(context, args.targets, &Words { changed: "held", unchanged: "was held already" })
}

pub(crate) fn release(context: &Context, args: Release) -> Result<u8, Error> {
    control::<JobRelease>(context, args.targets, &Words { changed: "released", unchanged: "was not held" })
}

pub(crate) fn suspend(context: &Context, args: Suspend) -> Result<u8, Error> {
    control::<JobSuspend>(context, args.targets, &Words { changed: "suspended", unchanged: "was suspended already" })
}

pub(crate) fn resume(context: &Context, args: Resume) -> Result<u8, Error> {
    control::<JobResume>(context, args.targets, &Words { changed: "resumed", unchanged: "was not suspended" })
}

pub(crate) fn signal(context: &Context, args: Signalled) -> Result<u8, Error> {
    let params = SignalParams { targets: args.targets, signal: args.signal.number() };
    let reply = context.connect()?.call::<JobSignal>(&params)?;
    Ok(say(context, &reply, &Words { changed: "signalled", unchanged: "not signalled" }))
}

pub(crate) fn say(context: &Context, reply: &ControlReply, words: &Words) -> u8 {
    if context.out.json {
        context.out.document(reply);
        return 0;
    }
    let jobs = reply.jobs.iter();
    let jobs = jobs.map(|job| (job.id, if job.changed { words.changed } else { words.unchanged }));
    said(context, jobs, &[(reply.changed, words.changed), (reply.unchanged, words.unchanged)])
}

/// Says what was done to each, if they are not too many, and then to how many in all.
pub(crate) fn said(
    context: &Context,
    jobs: impl Iterator<Item = (JobRef, &'static str)>,
    in_all: &[(u64, &'static str)],
) -> u8 {
    let mut text: String = jobs.take(NAMED).map(|(id, did)| format!("job {id} {did}\n")).collect();
    let all: u64 = in_all.iter().map(|(count, _)| count).sum();
    if all > NAMED as u64 {
        let counts: Vec<String> = in_all.iter().map(|(count, did)| format!("{count} {did}")).collect();
        text += &format!("and {} more: in all {}\n", all - NAMED as u64, counts.join(", "));
    }
    if all == 0 {
        context.out.note("no job matches");
    } else if !context.out.quiet {
        context.out.print(&text);
    }
    0
}
