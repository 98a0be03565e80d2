//! `qrm cancel`: ends jobs and says what it did to each.
//! It refuses to guess: an id that there is none of refuses all of them.

use super::control::said;
use crate::Context;
use crate::complete::{Which, ids};
use qrm_protocol::error::Error;
use qrm_protocol::method::{CancelDid, CancelParams, JobCancel};

/// End jobs.
///
/// Those that wait are cancelled, those that run get TERM, and KILL ten seconds later, unless they were submitted with
/// another --signal or --grace.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  qrm cancel 12 13.4\n  qrm cancel 20-29\n  qrm cancel state=queued name~sweep")]
pub(crate) struct Args {
    /// Ids as 12, 12.3, 10-20, or terms of a filter as in `qrm jobs`.
    #[arg(value_name = "ID|FILTER", required = true, add = ids(Which::Live))]
    targets: Vec<String>,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<u8, Error> {
    let reply = context.connect()?.call::<JobCancel>(&CancelParams { targets: args.targets })?;
    if context.out.json {
        context.out.document(&reply);
        return Ok(0);
    }
    let jobs = reply.jobs.iter().map(|job| {
        let did = match job.did {
            CancelDid::Cancelled => "cancelled",
            CancelDid::Stopping => "told to end",
            CancelDid::Ended => "had ended already",
        };
        (job.id, did)
    });
    let in_all = [(reply.cancelled, "cancelled"), (reply.stopping, "told to end"), (reply.ended, "had ended")];
    Ok(said(context, jobs, &in_all))
}
