//! `qrm cleanup`: forgets jobs that have ended, for cron.
//! It refuses to guess how much.

use crate::Context;
use qrm_protocol::error::Error;
use qrm_protocol::method::{CleanupParams, JobCleanup};
use qrm_protocol::time::Millis;

/// Forget jobs that have ended, and remove their output.
///
/// What waits and what runs is never touched. `store.retention` does the same by itself, once an hour.
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("which").required(true).multiple(true),
    after_help = "Examples:\n  qrm cleanup --older-than 7d\n  qrm cleanup --keep-last 1000 --dry-run\n  17 3 * * * qrm cleanup --quiet --older-than 30d --keep-last 100    # in a crontab"
)]
pub(crate) struct Args {
    /// Those that ended longer ago than this, as 12h, 7d.
    #[arg(long, value_name = "DURATION", group = "which")]
    older_than: Option<Millis>,
    /// But not the last N that ended.
    #[arg(long, value_name = "N", allow_negative_numbers = true, group = "which")]
    keep_last: Option<u64>,
    /// Only say how many they are.
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<u8, Error> {
    let params = CleanupParams {
        older_than_ms: args.older_than.map(|time| time.0),
        keep_last: args.keep_last,
        dry_run: args.dry_run,
    };
    let reply = context.connect()?.call::<JobCleanup>(&params)?;
    if context.out.json {
        context.out.document(&reply);
    } else if !context.out.quiet {
        let jobs = if reply.jobs == 1 { "1 job".to_owned() } else { format!("{} jobs", reply.jobs) };
        let did = if reply.dry_run { "would be forgotten" } else { "forgotten" };
        context.out.print(&format!("{jobs} {did}\n"));
    }
    Ok(0)
}
