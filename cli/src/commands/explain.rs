//! `qrm explain`: why a job does not run, and when it will.
//! It refuses to find out itself: the daemon does.

use crate::Context;
use crate::again::{Stopped, ask};
use crate::complete::{Which, just_ids};
use crate::render::clock::Clock;
use crate::render::explain::explanation;
use qrm_protocol::error::Error;
use qrm_protocol::ids::JobRef;
use qrm_protocol::method::{JobExplain, JobParams};

/// Why a job does not run, and when it will.
///
/// Every cause, since when, where that is known, and who holds what it waits for; when it is planned to start, which nothing of
/// lower rank delays, or, if it is not among the jobs that are planned, when it could start as things are; how long it is
/// expected to run, and where that is from; what makes its rank; and what it can have instead of waiting.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  qrm explain 12\n  qrm explain 12.3 --json    # reasons have a code that stays what it is"
)]
pub(crate) struct Args {
    /// A job as 12, a task of an array as 12.3.
    #[arg(value_name = "ID", add = just_ids(Which::Live))]
    id: JobRef,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<u8, Error> {
    let params = JobParams { id: args.id };
    let reply = ask(context, Stopped::Fails, |mut client| client.call::<JobExplain>(&params))?;
    if context.out.json {
        context.out.document(&reply);
    } else {
        context.out.print(&explanation(&context.out, &Clock::here(), &reply));
    }
    Ok(0)
}
