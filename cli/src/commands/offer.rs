//! `qrm offer`: takes something that a job was offered instead of waiting.
//! It refuses to choose.

use crate::Context;
use crate::complete::offers;
use crate::render::clock::Clock;
use crate::render::explain;
use clap::Subcommand;
use qrm_protocol::client::Client;
use qrm_protocol::error::Error;
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::OfferId;
use qrm_protocol::method::{JobParams, JobShow, OfferAccept, OfferParams};

/// Take something that a job was offered instead of waiting.
///
/// A job that was submitted with --on-conflict negotiation, or in a queue with that setting, and that can not start at once,
/// gets offers: to start now with fewer cpus, at its planned start for certain, beside others, or as soon as named jobs have
/// made room. They are made once, when it is submitted alone and only room is wanting: not to arrays, bulks and job files, nor
/// to a job that waits for others, for its begin or for its release. `qrm explain` and `qrm show` list them with their ids.
/// They lapse after a minute, or what scheduler.offer_time says; the job waits on.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Accept an offer; the others lapse.
    #[command(after_help = "Examples:\n  qrm offer accept 12-1")]
    Accept {
        /// The id of the offer: that of its job, and a number.
        #[arg(value_name = "OFFER", add = offers())]
        id: OfferId,
    },
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<u8, Error> {
    let Verb::Accept { id } = args.verb;
    let reply = context.connect()?.call::<OfferAccept>(&OfferParams { id })?;
    if context.out.json {
        context.out.document(&reply);
    } else if !context.out.quiet {
        context.out.print(&format!("job {} is to {}\n", reply.job, reply.offer));
    }
    Ok(0)
}

/// Says on standard error what a job that waits could have instead. It was queued: that this can not be told is no failure.
pub(super) fn tell(context: &Context, client: &mut Client, id: JobRef) {
    match client.call::<JobShow>(&JobParams { id }) {
        Ok(job) if job.offers.is_empty() => {}
        Ok(job) => context.out.say(&explain::offers(&context.out.on_stderr(), &Clock::here(), &job.offers)),
        Err(error) => context.out.note(&format!("whether job {id} was offered something is not known: {error}")),
    }
}
