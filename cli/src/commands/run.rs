//! `qrm run`: a job as if it were run here: its streams, its signals, its exit code.
//! It refuses to be more than a pane of glass: the job is a job like any other, and goes on if this process dies.

use super::spec::{Options, check, context};
use super::wait::{exit_code, is_over, rest, until_ended};
use crate::Context;
use crate::again::{Stopped, again};
use crate::follow::{Follow, Pump, Sink, Watch, streams_in};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::{Failure, FailureCause, FailureKind, JobState, JobView, Stdin};
use qrm_protocol::method::{CancelParams, JobCancel, JobSignal, JobSubmit, SignalParams, SubmitParams};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags, fstat, open};
use std::ffi::OsString;
use std::fs::File;
use std::io::{PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

/// Run a command as a job, as if it ran here.
///
/// Its two streams are yours, its input is yours, signals that you send are passed on, and its exit code is the one of this
/// command. If this ends, or the terminal does, the job goes on.
///
/// With --pty it has a terminal of its own, and yours shows it, as with `qrm attach`: keys are its signals, Ctrl-] leaves it
/// alone, and signals that are sent to this command end only this command. Lines that are piped into it are typed, and a
/// Ctrl-D after the last.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  qrm run -- make test\n  qrm run --cpus 2 --time 1h -- python eval.py < data.csv > result.csv\n  \
                  qrm run --pty -- bash"
)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// Only say what would become of it.
    #[arg(long)]
    dry_run: bool,
    /// The program and its arguments.
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, add = crate::complete::command())]
    command: Vec<OsString>,
}

/// Signals that are passed on.
pub(super) const PASSED: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];
/// After so many interrupts qrm itself goes, too.
const INTERRUPTS: u32 = 3;

pub(crate) fn run(context: &Context, args: Args) -> Result<u8, Error> {
    let system = |what: &str, e: &dyn std::fmt::Display| Error::new(Code::Unavailable, format!("{what}: {e}"));
    let mut job = args.options.spec(args.command, None)?;
    if args.dry_run {
        return check(context, &mut context.connect()?, job).map(|_| 0);
    }
    if job.pty.is_some() {
        return super::attach::submitted(context, job);
    }
    if job.stdin == Stdin::Null && has_input() {
        job.stdin = Stdin::Fifo;
    }
    let fifo = job.stdin == Stdin::Fifo;
    // Before any thread: each would get signals of its own.
    // What this process was started to ignore the job is not to have either.
    let passed: SigSet = PASSED.into_iter().filter(|signal| !crate::render::is_ignored(*signal)).collect();
    let mut mask = passed;
    mask.add(Signal::SIGPIPE);
    mask.thread_block().map_err(|e| system("signals can not be blocked", &e))?;
    let signals = SignalFd::with_flags(&passed, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|e| system("no signal descriptor", &e))?;
    let params = SubmitParams { context: self::context()?, job };
    let mut client = context.connect()?;
    let reply = client.call::<JobSubmit>(&params)?;
    if reply.state == JobState::Queued && context.out.on_stderr().terminal && !context.out.quiet && !context.out.json {
        super::offer::tell(context, &mut client, reply.id);
    }
    drop(client);
    let (started, start) = channel();
    if fifo && !reply.existing {
        feed(&Path::new(&reply.dir).join("stdin"), start);
    }
    let mut follow = Follow::new(streams_in(Path::new(&reply.dir)));
    let watch = Watch::new()?;
    let id = reply.id;
    // Without an input nobody listens.
    let starts = move || {
        started.send(()).ok();
    };
    let mut failed = None;
    let job = until_ended(context, id, starts, |told| {
        let mut pane = Pane { context, id, watch, told, signals, interrupts: 0, closed: [false; 2], failed: None };
        pane.show(&mut follow)?;
        failed = pane.failed;
        Ok(())
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    explain(context, &job);
    Ok(exit_code(&job))
}

/// Standard input, unless there is none to speak of.
fn has_input() -> bool {
    let Ok(stat) = fstat(std::io::stdin()) else { return false };
    let Ok(null) = rustix::fs::stat("/dev/null") else { return true };
    stat.st_rdev != null.st_rdev
        || rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::CharacterDevice
}

/// Copies standard input into the job's once that has started, from a thread that ends with this process: nothing is
/// read here that nobody there could read.
fn feed(fifo: &Path, start: Receiver<()>) {
    let flags = OFlags::CLOEXEC | OFlags::NOFOLLOW;
    // Open from the first, for both ways and so without waiting: a job whose input nobody has open may find it empty.
    let kept = open(fifo, flags | OFlags::RDWR | OFlags::NONBLOCK, Mode::empty());
    let to = kept.and_then(|kept| Ok((open(fifo, flags | OFlags::WRONLY, Mode::empty())?, kept)));
    std::thread::spawn(move || {
        let copy = || -> std::io::Result<()> {
            let (to, kept) = to?;
            let mut to = File::from(to);
            if start.recv().is_err() {
                return Ok(());
            }
            // Now the job is who reads; when it stops, writing fails.
            drop(kept);
            let mut from = std::io::stdin().lock();
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let n = from.read(&mut buffer)?;
                if n == 0 {
                    return Ok(());
                }
                to.write_all(&buffer[..n])?;
            }
        };
        if let Err(error) = copy() {
            // A job that does not read its input, or has ended, is no failure of this one.
            let quiet = [std::io::ErrorKind::BrokenPipe, std::io::ErrorKind::NotFound];
            if !quiet.contains(&error.kind()) {
                eprintln!("qrm: standard input: {error}");
            }
        }
    });
}

/// What is shown of a job, and what is passed on to it.
struct Pane<'a> {
    context: &'a Context,
    id: JobRef,
    watch: Watch,
    told: PipeReader,
    signals: SignalFd,
    interrupts: u32,
    /// Which of the two streams takes no more; the job was told as a shell would tell it.
    closed: [bool; 2],
    /// Why one of them is, if not because its reader is gone.
    failed: Option<Error>,
}

impl Pane<'_> {
    /// Until the job has ended, and then what is left.
    fn show(&mut self, follow: &mut Follow) -> Result<(), Error> {
        loop {
            let more = self.copy(follow)?;
            let signals = PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN);
            let (told, signalled) = rest(&self.told, &self.watch, signals, more)?;
            self.watch.drain();
            if !signalled.is_empty() {
                self.pass_on();
            }
            if told && is_over(&self.told) {
                while self.copy(follow)? {}
                return Ok(());
            }
        }
    }

    fn copy(&mut self, follow: &mut Follow) -> Result<bool, Error> {
        let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
        let [no_out, no_err] = self.closed;
        let mut sinks: [Option<Sink<'_>>; 2] =
            [if no_out { None } else { Some(&mut out) }, if no_err { None } else { Some(&mut err) }];
        match follow.pump(Some(&self.watch), &mut sinks) {
            Ok(more) => Ok(more),
            Err(Pump::Source(error)) => Err(error),
            Err(Pump::Sink(which, why)) => {
                self.closed[which as usize] = true;
                if why.kind() != std::io::ErrorKind::BrokenPipe {
                    let hint = format!("qrm logs {} has all that the job wrote", self.id);
                    self.failed.get_or_insert(which.failed(&why).hint(hint));
                }
                self.signal(Signal::SIGPIPE as i32);
                Ok(true)
            }
        }
    }

    fn pass_on(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            let Ok(signal) = i32::try_from(info.ssi_signo) else { continue };
            if signal == Signal::SIGINT as i32 {
                self.interrupts += 1;
            }
            self.signal(signal);
            if self.interrupts >= INTERRUPTS {
                std::process::exit(130);
            }
        }
    }

    fn signal(&self, signal: i32) {
        pass(self.context, self.id, signal);
    }
}

/// Passes a signal to a job; one that waits is cancelled by those that would end it.
pub(super) fn pass(context: &Context, id: JobRef, signal: i32) {
    let connected = context.place().and_then(|place| again(context, &place, Stopped::Fails));
    let done = connected.and_then(|mut client| {
        match client.call::<JobSignal>(&SignalParams { targets: vec![id.to_string()], signal }) {
            Err(error) if error.code == Code::FailedPrecondition && ends(signal) => {
                client.call::<JobCancel>(&CancelParams { targets: vec![id.to_string()] }).map(drop)
            }
            // It ended in the meantime, or the signal means nothing to a job that waits.
            Err(error) if error.code == Code::FailedPrecondition => Ok(()),
            other => other.map(drop),
        }
    });
    if let Err(error) = done {
        context.out.error(&error);
    }
}

fn ends(signal: i32) -> bool {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT].iter().any(|s| *s as i32 == signal)
}

/// What the exit code alone does not say.
pub(super) fn explain(context: &Context, job: &JobView) {
    let is_own = |failure: &Failure| {
        failure.kind == FailureKind::ExecuteError && matches!(failure.cause, FailureCause::Exit | FailureCause::Signal)
    };
    if job.state == JobState::Completed || job.failure.as_ref().is_some_and(is_own) {
        return;
    }
    let why = job.failure.as_ref().map_or_else(|| job.state.to_string(), |failure| failure.message.clone());
    context.out.note(&format!("qrm: job {}: {}", job.id, crate::render::clean(&why)));
}
