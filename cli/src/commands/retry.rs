//! `qrm retry`: queues once more what has ended.
//! It refuses to touch what ended: each becomes a new job.

use super::control::NAMED;
use crate::Context;
use crate::complete::{Which, ids};
use crate::render::Tone;
use qrm_protocol::error::Error;
use qrm_protocol::method::{JobRetry, TargetParams};

/// Queue jobs once more that have ended.
///
/// Each is a new job with the same command, directory, environment and options. What it had of --key, --begin, --deadline and --after is not asked for again, and standard input that came from `qrm run`
/// is empty. An array that is named is run again whole, a task as an array of its own; a filter finds those tasks that match,
/// and puts them together: as one array if they follow each other at one distance, else as several. Each of them runs as many
/// of its tasks at once as the array that it is of (`%N`).
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  qrm retry 12\n  qrm retry 12.3 12.7\n  qrm retry array=12 state=failed\n  qrm retry state=failed 'ended>-1h'"
)]
pub(crate) struct Args {
    /// Ids as 12, 12.3, 10-20, or terms of a filter as in `qrm jobs`.
    #[arg(value_name = "ID|FILTER", required = true, add = ids(Which::Ended))]
    targets: Vec<String>,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<u8, Error> {
    let reply = context.connect()?.call::<JobRetry>(&TargetParams { targets: args.targets })?;
    let out = &context.out;
    if out.json {
        out.document(&reply);
        return Ok(0);
    }
    if reply.count == 0 {
        out.note("no job that has ended matches");
        return Ok(0);
    }
    if !out.terminal || out.quiet {
        // As submit does.
        let ids: String = reply.jobs.iter().map(|job| format!("{}\n", job.id)).collect();
        out.print(&ids);
        return Ok(0);
    }
    let mut text = String::new();
    for job in reply.jobs.iter().take(NAMED) {
        text += &format!("job {} {}\n", job.id, out.tone(Tone::Quiet, &format!("is {} again", job.of)));
    }
    if let (Some(first), true) = (reply.jobs.first(), reply.count > NAMED as u64) {
        let more = reply.count - NAMED as u64;
        text += &format!("and {more} more: {} jobs from {} on\n", reply.count, first.id);
    }
    out.print(&text);
    Ok(0)
}
