//! `qrm update`: changes what jobs ask for before they start.
//! It refuses to do half of what was named.

use super::control::{Words, say};
use super::spec::{instant, label};
use crate::Context;
use crate::complete::{Which, ids, signals, words};
use qrm_protocol::amount::{Bytes, Priority};
use qrm_protocol::error::Error;
use qrm_protocol::job::JobChange;
use qrm_protocol::method::{JobUpdate, UpdateParams};
use qrm_protocol::signal::Signal;
use qrm_protocol::time::{Millis, Timestamp};

/// Change what jobs ask for that have not started.
///
/// Name, comment and labels can be changed until a job has ended; priority and width of an array as long as some of its
/// tasks wait.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  qrm update 12 --priority high --time 4h\n  qrm update 20-29 --mem 16G\n  \
    qrm update 30 --width 4\n  qrm update state=queued label.team=vision --priority low")]
pub(crate) struct Args {
    /// Ids as 12, 12.3, 10-20, or terms of a filter as in `qrm jobs`.
    #[arg(value_name = "ID|FILTER", required = true, add = ids(Which::Live))]
    targets: Vec<String>,
    /// A name for people.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A remark for people; empty takes it away.
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// Put a label on it, or take it away: NAME=. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// How urgent: 0 to 100, or low (25), normal (50), high (75), critical (100).
    #[arg(long, value_name = "N", add = words(&["low", "normal", "high", "critical"]))]
    priority: Option<Priority>,
    /// How many tasks of an array may run at once; 0 is as many as fit.
    #[arg(long, value_name = "N")]
    width: Option<u32>,
    /// Cpus for it.
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    /// Memory for it, as 512M or 10G; 0 is neither counted nor limited.
    #[arg(long, value_name = "SIZE")]
    mem: Option<Bytes>,
    /// End it after this long; 0 is never.
    #[arg(long, value_name = "DURATION")]
    time: Option<Millis>,
    /// Not before this: 18:00, 'tomorrow 9:00', +2h, or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    begin: Option<Timestamp>,
    /// Run it again up to so many times when it fails.
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// It fails if it has not started so long after it was submitted; 0 is never.
    #[arg(long, value_name = "DURATION")]
    queue_timeout: Option<Millis>,
    /// It is over by then.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    deadline: Option<Timestamp>,
    /// What asks it to end.
    #[arg(long, value_name = "SIGNAL", add = signals())]
    signal: Option<Signal>,
    /// How long it has after that before it is killed.
    #[arg(long, value_name = "DURATION")]
    grace: Option<Millis>,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<u8, Error> {
    let change = JobChange {
        name: args.name,
        comment: args.comment,
        labels: args.label.into_iter().collect(),
        priority: args.priority,
        width: args.width,
        cpus: args.cpus,
        mem_bytes: args.mem,
        time_limit_ms: args.time,
        begin: args.begin,
        retries: args.retries,
        queue_timeout_ms: args.queue_timeout,
        deadline: args.deadline,
        signal: args.signal,
        grace_ms: args.grace,
    };
    let params = UpdateParams { targets: args.targets, change: change.checked()? };
    let reply = context.connect()?.call::<JobUpdate>(&params)?;
    Ok(say(context, &reply, &Words { changed: "updated", unchanged: "not updated" }))
}
