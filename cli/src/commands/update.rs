//! `qrm update`: changes what jobs ask for before they start.
//! It refuses to do half of what was named.

use super::control::{Words, say};
use super::wants::{Wants, count};
use super::wishes::Wishes;
use crate::Context;
use crate::complete::{Which, ids};
use qrm_protocol::error::Error;
use qrm_protocol::job::JobChange;
use qrm_protocol::method::{JobUpdate, UpdateParams};

/// Change what jobs ask for that have not started.
///
/// Name, comment and labels can be changed until a job has ended; priority, queue and width of an array as long as some of
/// its tasks wait. --or and each of the lists --after, --after-ok, --after-fail and --after-start take the place of those
/// before; none takes them away. What is planned is planned anew.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  qrm update 12 --priority high --time 4h\n  qrm update 20-29 --mem 16G\n  \
    qrm update 30 --width 4\n  qrm update 31 --queue night --after none\n  qrm update state=queued label.team=vision --priority low")]
pub(crate) struct Args {
    /// Ids as 12, 12.3, 10-20, or terms of a filter as in `qrm jobs`.
    #[arg(value_name = "ID|FILTER", required = true, add = ids(Which::Live))]
    targets: Vec<String>,
    #[command(flatten)]
    wants: Wants,
    #[command(flatten)]
    wishes: Wishes,
    /// How many tasks of an array may run at once; 0 is as many as fit.
    #[arg(long, value_name = "N", value_parser = count)]
    width: Option<u32>,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<u8, Error> {
    let wants = args.wants;
    let change = JobChange {
        name: wants.name,
        comment: wants.comment,
        labels: wants.label.into_iter().collect(),
        priority: wants.priority,
        width: args.width,
        cpus: wants.cpus,
        mem_bytes: wants.mem,
        pids: wants.pids,
        disk_bytes: wants.disk,
        open_files: wants.open_files,
        io_weight: wants.io_weight,
        time_limit_ms: wants.time,
        begin: wants.begin,
        retries: wants.retries,
        queue_timeout_ms: wants.queue_timeout,
        deadline: wants.deadline,
        signal: wants.signal,
        grace_ms: wants.grace,
        ..args.wishes.change()?
    };
    let params = UpdateParams { targets: args.targets, change: change.checked()? };
    let reply = context.connect()?.call::<JobUpdate>(&params)?;
    Ok(say(context, &reply, &Words { changed: "updated", unchanged: "not updated" }))
}
