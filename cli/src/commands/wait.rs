//! `qrm wait`: returns when jobs have ended, with what they ended with.
//! It refuses to show their output.

use crate::Context;
use crate::render::job::why;
use qrm_protocol::client::Client;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::{FailureKind, JobState, JobView};
use qrm_protocol::method::{JobParams, JobShow, JobWait, WaitParams};
use qrm_protocol::time::Millis;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Wait until jobs have ended.
///
/// With one id the exit code is the job's own; with several it is 0 if all completed, else 1.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Jobs as 12, tasks as 12.3.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<JobRef>,
    /// Until the first of them has.
    #[arg(long)]
    any: bool,
    /// At most this long; then the exit code is 124.
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Millis>,
}

impl Args {
    pub(crate) fn is_one(&self) -> bool {
        self.ids.len() == 1
    }
}

/// So many connections at most wait for the first of several.
const MOST_AT_ONCE: usize = 256;

/// What a job's end is as an exit code.
pub(crate) fn exit_code(job: &JobView) -> u8 {
    let own = job.exit_code.and_then(|code| u8::try_from(code).ok());
    let by_signal = job.signal.and_then(|signal| u8::try_from(128 + signal).ok());
    let stage = job.failure.as_ref().is_some_and(|f| f.kind != FailureKind::ExecuteError);
    match job.state {
        JobState::Completed => 0,
        JobState::Timeout => 124,
        // What its validate or compile command exited with is not the job's own code.
        JobState::Failed if stage => 125,
        JobState::Cancelled => by_signal.or(own.filter(|code| *code != 0)).unwrap_or(130),
        _ => by_signal.or(own.filter(|code| *code != 0)).unwrap_or(if job.tasks.is_some() { 1 } else { 125 }),
    }
}

/// Waits for one job, over as many daemons as it takes.
pub(crate) fn wait_for(context: &Context, id: JobRef, until: Option<Instant>) -> Result<Option<JobView>, Error> {
    let reply = ask(context, |mut client| {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()).as_millis());
        let timeout_ms = left.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX));
        client.call::<JobWait>(&WaitParams { id, started: false, timeout_ms })
    })?;
    Ok(if reply.timed_out { None } else { Some(reply.job) })
}

/// So many daemons in a row may go away before that is the answer.
const DAEMONS: u32 = 5;
/// One that lasted this long was no failure.
const LASTED: Duration = Duration::from_secs(1);

/// Asks again when the daemon goes away in the middle: the job does not. Only a daemon of the user's own is there
/// again at once, because asking starts it.
pub(crate) fn ask<T>(context: &Context, mut call: impl FnMut(Client) -> Result<T, Error>) -> Result<T, Error> {
    let own = context.place()?.own_state.is_some();
    let mut gone = 0;
    loop {
        let began = Instant::now();
        match context.connect().and_then(&mut call) {
            Err(error) if own && error.code == Code::NoDaemon && gone < DAEMONS => {
                gone = if began.elapsed() > LASTED { 1 } else { gone + 1 };
            }
            other => return other,
        }
    }
}

pub(crate) fn run(context: &Context, args: Args) -> Result<u8, Error> {
    let until = args.timeout.map(|d| Instant::now() + Duration::from_millis(d.0));
    let one = args.is_one();
    let ended = if args.any && !one { first(context, &args.ids, until)? } else { all(context, &args.ids, until)? };
    let Some(ended) = ended else {
        let left = args.timeout.unwrap_or_default();
        context.out.error(
            &Error::new(Code::FailedPrecondition, format!("not ended after {left}"))
                .hint("qrm status shows what runs and waits"),
        );
        return Ok(124);
    };
    if context.out.json {
        match (one, ended.first()) {
            (true, Some(job)) => context.out.document(job),
            _ => context.out.document(&ended),
        }
    } else if context.out.terminal && !context.out.quiet {
        for job in &ended {
            let why = why(job);
            context.out.print(&format!(
                "job {} {}{}{}\n",
                job.id,
                job.state,
                if why.is_empty() { "" } else { ": " },
                crate::render::clean(&why)
            ));
        }
    }
    Ok(match (one, ended.first()) {
        (true, Some(job)) => exit_code(job),
        _ => u8::from(ended.iter().any(|job| job.state != JobState::Completed)),
    })
}

/// All of them must be there before the first is waited for.
fn are_there(context: &Context, ids: &[JobRef]) -> Result<(), Error> {
    ask(context, |mut client| ids.iter().try_for_each(|id| client.call::<JobShow>(&JobParams { id: *id }).map(drop)))
}

fn all(context: &Context, ids: &[JobRef], until: Option<Instant>) -> Result<Option<Vec<JobView>>, Error> {
    are_there(context, ids)?;
    let mut ended = Vec::with_capacity(ids.len());
    for id in ids {
        match wait_for(context, *id, until)? {
            Some(job) => ended.push(job),
            None => return Ok(None),
        }
    }
    Ok(Some(ended))
}

fn first(context: &Context, ids: &[JobRef], until: Option<Instant>) -> Result<Option<Vec<JobView>>, Error> {
    if ids.len() > MOST_AT_ONCE {
        return Err(Error::new(Code::ResourceExhausted, format!("--any takes at most {MOST_AT_ONCE} ids")));
    }
    are_there(context, ids)?;
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        for id in ids {
            let tell = tell.clone();
            // The first answer ends the process, so nobody minds those that come later.
            scope.spawn(move || drop(tell.send(wait_for(context, *id, until))));
        }
        let answer = told.recv().map_err(|_| Error::new(Code::Internal, "nothing was waited for"))?;
        match answer {
            Ok(None) => Ok(None),
            Ok(Some(job)) => finish(context, &job),
            Err(error) => {
                context.out.error(&error);
                std::process::exit(error.code.exit_code().into())
            }
        }
    })
}

/// Ends the process here: the other waits have nobody to tell any more.
fn finish(context: &Context, job: &JobView) -> ! {
    if context.out.json {
        context.out.document(job);
    } else if !context.out.quiet {
        context.out.print(&format!("job {} {}\n", job.id, job.state));
    }
    std::process::exit(i32::from(job.state != JobState::Completed));
}
