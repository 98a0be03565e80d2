//! `qrm when`: when a job would start that is not submitted, and what it would wait for.
//! It refuses to submit it.

use super::spec::context;
use super::submit::{Asked, of_one};
use crate::Context;
use crate::again::{Stopped, ask};
use crate::complete::command;
use crate::render::clock::Clock;
use crate::render::explain::explanation;
use qrm_protocol::error::Error;
use qrm_protocol::method::{JobWhen, WhenParams};
use std::ffi::OsString;

/// When a job would start that is not submitted, and what it would wait for.
///
/// It takes the options of submit, also those in a script, and answers as `qrm explain` does of a job that waits. Nothing is
/// queued.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  qrm when --cpus 8 --time 2h -- make -j8\n  qrm when --queue night --exclusive -- ./measure\n  \
    qrm when --cpus 4 job.sh            # with lines such as #QRM --mem 8G"
)]
pub(crate) struct Args {
    #[command(flatten)]
    asked: Asked,
    /// The program and its arguments; or a script, if it is alone and not behind --.
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, add = command())]
    command: Vec<OsString>,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<u8, Error> {
    let asked = of_one(context, args.asked, args.command, |job| {
        let params = WhenParams { context: self::context()?, job };
        ask(context, Stopped::Fails, |mut client| client.call::<JobWhen>(&params))
    });
    let reply = match asked {
        Ok(reply) => reply,
        Err(fault) => return Ok(fault.report(&context.out)),
    };
    if context.out.json {
        context.out.document(&reply);
    } else {
        context.out.print(&explanation(&context.out, &Clock::here(), &reply));
    }
    Ok(0)
}
