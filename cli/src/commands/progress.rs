//! `qrm progress`: says from inside a job how far it is.
//! It refuses to guess which job: the daemon told it in QRM_JOB_ID.

use crate::Context;
use crate::complete::{Which, just_ids};
use qrm_protocol::error::Error;
use qrm_protocol::ids::JobRef;
use qrm_protocol::method::{JobProgress, ProgressParams};
use qrm_protocol::progress::Fraction;

/// Say from inside a job how far it is.
///
/// `qrm show`, `qrm wait` and `qrm events` tell it to others.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  qrm progress 0.4\n  qrm progress 40% 'epoch 4 of 10, loss 0.31'")]
pub(crate) struct Args {
    /// How much is done: 0 to 1, or a percentage.
    #[arg(value_name = "FRACTION")]
    fraction: Fraction,
    /// For people.
    #[arg(value_name = "MESSAGE")]
    message: Option<String>,
    /// Which job; the one that this is inside of, if not given.
    #[arg(long, value_name = "ID", add = just_ids(Which::Running))]
    job: Option<JobRef>,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<u8, Error> {
    let id = match (args.job, std::env::var("QRM_JOB_ID")) {
        (Some(id), _) => id,
        (None, Ok(id)) => id.parse().map_err(|e| Error::invalid(format!("QRM_JOB_ID: {e}")))?,
        (None, Err(_)) => {
            return Err(Error::invalid("this is not inside a job: QRM_JOB_ID is not set")
                .hint("call it from the job's command, or name a job of yours with --job ID"));
        }
    };
    let params = ProgressParams { id, fraction: args.fraction, message: args.message };
    context.connect()?.call::<JobProgress>(&params)?;
    if context.out.json {
        context.out.document(&params);
    }
    Ok(0)
}
