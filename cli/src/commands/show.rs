//! `qrm show`: everything of one job.
//! It refuses to show output; that is `qrm logs`.

use crate::Context;
use crate::again::{Stopped, ask};
use crate::complete::{Which, just_ids};
use crate::render::job::full;
use qrm_protocol::error::Error;
use qrm_protocol::ids::JobRef;
use qrm_protocol::method::{JobParams, JobShow};

/// Everything of one job or task.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A job as 12, a task of an array as 12.3.
    #[arg(value_name = "ID", add = just_ids(Which::Recent))]
    pub id: JobRef,
}

pub(crate) fn run(context: &Context, id: JobRef) -> Result<u8, Error> {
    let job = ask(context, Stopped::Fails, |mut client| client.call::<JobShow>(&JobParams { id }))?;
    if context.out.json {
        context.out.document(&job);
    } else {
        context.out.print(&full(&context.out, &job));
    }
    Ok(0)
}
