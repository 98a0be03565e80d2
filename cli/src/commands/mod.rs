//! The verbs: one file each, with its arguments, whose help is the manual, and what it does.
//! This file refuses to do more than to name them.

mod alternative;
mod attach;
mod cancel;
mod checked;
mod cleanup;
mod config;
mod control;
mod daemon;
mod doctor;
mod events;
mod exec;
mod explain;
mod jobs;
mod logs;
pub(crate) mod manual;
mod offer;
mod progress;
mod queue;
mod results;
mod retry;
mod run;
mod show;
mod spec;
mod stats;
mod status;
mod submit;
mod trace;
mod update;
mod wait;
mod wants;
mod when;
mod wishes;

use crate::Context;
use clap::{Args as _, Command, Subcommand};
use qrm_protocol::error::Error;

// No docstring: it would be what qrm itself says of itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Submit(Box<submit::Args>),
    Run(Box<run::Args>),
    Status(status::Args),
    Jobs(jobs::Args),
    Show(show::Args),
    Explain(explain::Args),
    When(Box<when::Args>),
    Logs(logs::Args),
    Attach(attach::Args),
    Exec(exec::Args),
    Wait(wait::Args),
    Cancel(cancel::Args),
    Hold(control::Hold),
    Release(control::Release),
    Suspend(control::Suspend),
    Resume(control::Resume),
    Signal(control::Signalled),
    Update(Box<update::Args>),
    Retry(retry::Args),
    Offer(offer::Args),
    Queue(queue::Args),
    Progress(progress::Args),
    Results(results::Args),
    Trace(trace::Args),
    Stats(stats::Args),
    Events(events::Args),
    Cleanup(cleanup::Args),
    Daemon(daemon::Args),
    Config(config::Args),
    Doctor(doctor::Args),
    Completions(manual::Completions),
    Man(manual::Man),
}

impl Verb {
    /// Whether its exit code is that of a job.
    pub(crate) fn speaks_for_a_job(&self) -> bool {
        match self {
            Self::Run(_) | Self::Attach(_) | Self::Exec(_) => true,
            Self::Wait(args) => args.is_one(),
            _ => false,
        }
    }
}

/// A verb alone, by its name.
pub(crate) fn only(name: &str) -> Option<Command> {
    Some(match name {
        "submit" => submit::Args::augment_args(Command::new("submit")),
        "run" => run::Args::augment_args(Command::new("run")),
        "status" => status::Args::augment_args(Command::new("status")),
        "jobs" => jobs::Args::augment_args(Command::new("jobs")),
        "show" => show::Args::augment_args(Command::new("show")),
        "explain" => explain::Args::augment_args(Command::new("explain")),
        "when" => when::Args::augment_args(Command::new("when")),
        "logs" => logs::Args::augment_args(Command::new("logs")),
        "attach" => attach::Args::augment_args(Command::new("attach")),
        "exec" => exec::Args::augment_args(Command::new("exec")),
        "wait" => wait::Args::augment_args(Command::new("wait")),
        "cancel" => cancel::Args::augment_args(Command::new("cancel")),
        "hold" => control::Hold::augment_args(Command::new("hold")),
        "release" => control::Release::augment_args(Command::new("release")),
        "suspend" => control::Suspend::augment_args(Command::new("suspend")),
        "resume" => control::Resume::augment_args(Command::new("resume")),
        "signal" => control::Signalled::augment_args(Command::new("signal")),
        "update" => update::Args::augment_args(Command::new("update")),
        "retry" => retry::Args::augment_args(Command::new("retry")),
        "offer" => offer::Args::augment_args(Command::new("offer")),
        "queue" => queue::Args::augment_args(Command::new("queue")),
        "progress" => progress::Args::augment_args(Command::new("progress")),
        "results" => results::Args::augment_args(Command::new("results")),
        "trace" => trace::Args::augment_args(Command::new("trace")),
        "stats" => stats::Args::augment_args(Command::new("stats")),
        "events" => events::Args::augment_args(Command::new("events")),
        "cleanup" => cleanup::Args::augment_args(Command::new("cleanup")),
        "daemon" => daemon::Args::augment_args(Command::new("daemon")),
        "config" => config::Args::augment_args(Command::new("config")),
        "doctor" => doctor::Args::augment_args(Command::new("doctor")),
        "completions" => manual::Completions::augment_args(Command::new("completions")),
        "man" => manual::Man::augment_args(Command::new("man")),
        _ => return None,
    })
}

/// Does it; returns the exit code.
pub(crate) fn run(context: &Context, verb: Verb) -> Result<u8, Error> {
    match verb {
        Verb::Submit(args) => submit::run(context, *args),
        Verb::Run(args) => run::run(context, *args),
        Verb::Status(args) => status::run(context, &args),
        Verb::Jobs(args) => jobs::run(context, args),
        Verb::Show(args) => show::run(context, args.id),
        Verb::Explain(args) => explain::run(context, &args),
        Verb::When(args) => when::run(context, *args),
        Verb::Logs(args) => logs::run(context, &args),
        Verb::Attach(args) => attach::run(context, &args),
        Verb::Exec(args) => exec::run(context, args),
        Verb::Wait(args) => wait::run(context, args),
        Verb::Cancel(args) => cancel::run(context, args),
        Verb::Hold(args) => control::hold(context, args),
        Verb::Release(args) => control::release(context, args),
        Verb::Suspend(args) => control::suspend(context, args),
        Verb::Resume(args) => control::resume(context, args),
        Verb::Signal(args) => control::signal(context, args),
        Verb::Update(args) => update::run(context, *args),
        Verb::Retry(args) => retry::run(context, args),
        Verb::Offer(args) => offer::run(context, &args),
        Verb::Queue(args) => queue::run(context, args),
        Verb::Progress(args) => progress::run(context, args),
        Verb::Results(args) => results::run(context, &args),
        Verb::Trace(args) => trace::run(context, &args),
        Verb::Stats(args) => stats::run(context, &args),
        Verb::Events(args) => events::run(context, &args),
        Verb::Cleanup(args) => cleanup::run(context, &args),
        Verb::Daemon(args) => daemon::run(context, &args),
        Verb::Config(args) => config::run(context, args),
        Verb::Doctor(args) => doctor::run(context, &args),
        Verb::Completions(args) => manual::completions(context, &args),
        Verb::Man(args) => manual::man(context, &args),
    }
}
