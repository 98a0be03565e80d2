//! `qrm wait`: returns when jobs have ended, with what they ended with.
//! It refuses to show their output.

use super::jobs::pages;
use crate::Context;
use crate::again::{Stopped, ask};
use crate::complete::{Which, ids};
use crate::follow::{NOW, Watch};
use crate::render::job::why;
use crate::watching::Watching;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::{FailureKind, JobState, JobView};
use qrm_protocol::method::{JobWait, ListParams, MAX_WAIT, WaitParams};
use qrm_protocol::time::Millis;
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::BTreeSet;
use std::io::{PipeReader, PipeWriter, Write};
use std::time::{Duration, Instant};

/// Wait until jobs have ended.
///
/// With one id the exit code is the job's own; with several it is 0 if all completed, else 1. On a terminal a line says
/// meanwhile how far they are.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Ids as 12, 12.3, 10-20, or terms of a filter as in `qrm jobs`, which means what it finds now.
    #[arg(value_name = "ID|FILTER", required = true, add = ids(Which::Live))]
    targets: Vec<String>,
    /// Until the first of them has.
    #[arg(long)]
    any: bool,
    /// At most this long; then the exit code is 124.
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Millis>,
}

impl Args {
    pub(crate) fn is_one(&self) -> bool {
        matches!(self.targets.as_slice(), [one] if one.parse::<JobRef>().is_ok())
    }

    /// The jobs that are meant.
    fn jobs(&self, context: &Context) -> Result<Vec<JobRef>, Error> {
        let named: Result<Vec<JobRef>, _> = self.targets.iter().map(|target| target.parse()).collect();
        if let Ok(ids) = named {
            return Ok(ids);
        }
        let params = ListParams { filter: self.targets.clone(), limit: None, before: None };
        let found = ask(context, Stopped::Fails, |client| pages(client, params.clone(), usize::MAX))?;
        let arrays: BTreeSet<JobRef> = found.iter().map(|job| job.id).filter(|id| id.task.is_none()).collect();
        // An array waits for its tasks.
        let ids =
            found.into_iter().map(|job| job.id).filter(|id| id.task.is_none() || !arrays.contains(&id.job.into()));
        let ids: Vec<JobRef> = ids.collect();
        if ids.is_empty() {
            return Err(Error::new(Code::NotFound, "no job matches").hint("qrm jobs lists them"));
        }
        Ok(ids)
    }
}

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
pub(crate) fn wait_for(context: &Context, id: JobRef) -> Result<JobView, Error> {
    let ended = wait_for_all(context, &[id], false, None)?;
    ended.and_then(|mut ended| ended.pop()).ok_or_else(|| Error::new(Code::Internal, "a wait without an end ended"))
}

/// Waits for all of these or for the first of them; `None` if the time is up before that.
fn wait_for_all(
    context: &Context,
    ids: &[JobRef],
    any: bool,
    until: Option<Instant>,
) -> Result<Option<Vec<JobView>>, Error> {
    let mut ended = Vec::with_capacity(ids.len());
    while ended.len() < ids.len() {
        let some = if any { ids } else { &ids[ended.len()..ids.len().min(ended.len() + MAX_WAIT)] };
        let reply = ask(context, Stopped::Waits(until), |mut client| {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()).as_millis());
            let timeout_ms = left.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX));
            client.call::<JobWait>(&WaitParams { ids: some.to_vec(), any, started: false, timeout_ms })
        });
        match reply {
            Ok(reply) if reply.timed_out => return Ok(None),
            Ok(reply) if any => return Ok(Some(reply.jobs.into_iter().take(1).collect())),
            Ok(reply) => ended.extend(reply.jobs),
            // Nobody was there to say so.
            Err(error) if error.code == Code::NoDaemon && until.is_some_and(|at| at <= Instant::now()) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(ended))
}

/// Waits until a job executes or has ended; the job then.
fn wait_for_start(context: &Context, id: JobRef) -> Result<JobView, Error> {
    let params = WaitParams { ids: vec![id], any: false, started: true, timeout_ms: None };
    let reply = ask(context, Stopped::Waits(None), |mut client| client.call::<JobWait>(&params))?;
    reply.jobs.into_iter().next().ok_or_else(|| Error::new(Code::Internal, "a wait told of no job"))
}

/// Does this while another thread waits for the end of a job; the job then. Through the pipe comes a byte when it
/// starts, which `started` is told, too; that it is closed says that the job has ended.
pub(crate) fn until_ended(
    context: &Context,
    id: JobRef,
    started: impl FnOnce() + Send,
    meanwhile: impl FnOnce(PipeReader) -> Result<(), Error>,
) -> Result<JobView, Error> {
    let (told, mut tell) = pipe()?;
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || {
            // Its directory comes to be with its start.
            let job = wait_for_start(context, id)?;
            if job.state.is_terminal() {
                return Ok(job);
            }
            started();
            let heard = tell.write_all(b"s");
            heard.map_err(|e| Error::new(Code::Internal, format!("nobody looks at the job: {e}")))?;
            wait_for(context, id)
        });
        if let Err(error) = meanwhile(told) {
            // The thread waits for what does not matter any more.
            context.out.error(&error);
            let code = error.code.exit_code();
            let is_refused = code == Code::InvalidArgument.exit_code();
            std::process::exit(if is_refused { code } else { context.out.failure }.into());
        }
        waiting.join().map_err(|_| Error::new(Code::Internal, "the thread that waited for the job panicked"))?
    })
}

pub(crate) fn pipe() -> Result<(PipeReader, PipeWriter), Error> {
    std::io::pipe().map_err(|e| Error::new(Code::Unavailable, format!("no pipe is to be had: {e}")))
}

/// Waits until something was told through the pipe, has changed, or is so with another descriptor; whether it was told,
/// and how the other one is. With more to do it only looks.
pub(crate) fn rest(
    told: &PipeReader,
    watch: &Watch,
    other: PollFd<'_>,
    more: bool,
) -> Result<(bool, PollFlags), Error> {
    let changed = PollFd::from_borrowed_fd(watch.changed(), PollFlags::IN);
    let mut fds = [PollFd::new(told, PollFlags::IN), changed, other];
    match poll(&mut fds, more.then_some(&NOW)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(e) => return Err(Error::new(Code::Unavailable, format!("waiting failed: {e}"))),
    }
    Ok((!fds[0].revents().is_empty(), fds[2].revents()))
}

/// Whether what was told is that nothing more will be.
pub(crate) fn is_over(told: &PipeReader) -> bool {
    rustix::io::read(told, &mut [0; 1]).is_ok_and(|n| n == 0)
}

/// Waits until one of these has ended, or executes if that is enough; those for which it is so then.
pub(crate) fn wait_for_any(context: &Context, ids: &[JobRef], started: bool) -> Result<Vec<JobView>, Error> {
    let params = WaitParams { ids: ids.to_vec(), any: true, started, timeout_ms: None };
    Ok(ask(context, Stopped::Waits(None), |mut client| client.call::<JobWait>(&params))?.jobs)
}

pub(crate) fn run(context: &Context, args: Args) -> Result<u8, Error> {
    let until = args.timeout.map(|d| Instant::now() + Duration::from_millis(d.0));
    let one = args.is_one();
    let any = args.any && !one;
    let ids = args.jobs(context)?;
    let watching = Watching::begin(context, &ids);
    let waited = wait_for_all(context, &ids, any, until);
    drop(watching);
    let Some(ended) = waited? else {
        let left = args.timeout.unwrap_or_default();
        context.out.error(
            &Error::new(Code::FailedPrecondition, format!("not ended after {left}"))
                .hint("qrm status shows what runs and waits"),
        );
        return Ok(124);
    };
    if context.out.json {
        match (one || any, ended.first()) {
            (true, Some(job)) => context.out.document(job),
            _ => context.out.document(&ended),
        }
    } else if (context.out.terminal || any) && !context.out.quiet {
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
