//! `qrm jobs`: lists jobs, newest last, those that a filter finds.
//! It refuses to filter: the daemon does.

use crate::Context;
use crate::again::{Stopped, ask};
use crate::render::job::list;
use qrm_protocol::client::Client;
use qrm_protocol::error::Error;
use qrm_protocol::job::JobView;
use qrm_protocol::method::{JobList, ListParams};

/// List jobs: the newest 50, or those that a filter finds.
///
/// A filter is a list of terms that must all hold. A term is a field, a comparison and a value; where a value may be one of
/// several, they are separated by commas. A text with commas or blanks of its own is quoted: 'name="a, b"'. Ids alone mean these
/// jobs.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Fields: id, array, name, user, queue, command, cwd, comment, state, cause, attempt, priority, cpus, \
    exit_code, signal, mem, peak, time, cpu, submitted, started, ended.\n\
    Comparisons: = != < <= > >=, and ~ !~ for a part of a text.\n\
    States: pending validating compiling queued allocating executing completing completed failed cancelled timeout, and live, ended.\n\n\
    Examples:\n  qrm jobs state=live\n  qrm jobs state=failed,timeout 'ended>-2h'\n  qrm jobs 'mem>8G' name~train user=alice\n  qrm jobs array=12 --all"
)]
pub(crate) struct Args {
    /// Terms, or ids as 12, 12.3, 10-20.
    #[arg(value_name = "FILTER", add = crate::complete::filter())]
    filter: Vec<String>,
    /// All that there are, not just the newest.
    #[arg(long)]
    all: bool,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "all", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<u8, Error> {
    let params = ListParams { filter: args.filter, limit: None, before: None };
    let most = if args.all { usize::MAX } else { args.limit as usize };
    let mut jobs = ask(context, Stopped::Fails, |client| pages(client, params.clone(), most))?;
    jobs.reverse();
    if context.out.json {
        context.out.document(&jobs);
    } else if jobs.is_empty() {
        context.out.note(if params.filter.is_empty() {
            "no jobs yet; qrm submit -- COMMAND queues one"
        } else {
            "no job matches"
        });
    } else {
        context.out.print(&list(&context.out, &jobs));
    }
    Ok(0)
}

/// Newest first, page after page.
pub(super) fn pages(mut client: Client, mut params: ListParams, most: usize) -> Result<Vec<JobView>, Error> {
    let mut jobs: Vec<JobView> = Vec::new();
    while jobs.len() < most {
        params.limit = Some(u32::try_from((most - jobs.len()).min(1_000)).unwrap_or(1_000));
        let page = client.call::<JobList>(&params)?;
        params.before = page.jobs.last().map(|job| job.id);
        jobs.extend(page.jobs);
        if !page.more {
            break;
        }
    }
    Ok(jobs)
}
