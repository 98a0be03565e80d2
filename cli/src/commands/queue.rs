//! `qrm queue`: the named lines in which jobs wait, and what holds for each.
//! It refuses to know the jobs in them.

use super::wants::count;
use super::wishes::{OrNone, either};
use crate::Context;
use crate::complete::{queues, words};
use crate::render::Tone;
use crate::render::queue::{full, list};
use clap::Subcommand;
use qrm_protocol::amount::{Bytes, Priority};
use qrm_protocol::error::Error;
use qrm_protocol::job::OnConflict;
use qrm_protocol::method::{
    Empty, Method, QueueList, QueueParams, QueuePause, QueueRemove, QueueResume, QueueSet, QueueSetParams,
};
use qrm_protocol::queue::{OnPreempt, QueueChange, QueueName, QueueView};
use qrm_protocol::time::Millis;

/// The queues: named lines of jobs with a weight, a bound, and defaults for jobs that do not set them.
///
/// The queue default is always there, and has the jobs that name none. Others are in the configuration file (see
/// qrm-config(5)), which alone can change those, or made by `qrm queue set`. All but list is for those who control the daemon.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List queues: how many of their jobs run and wait, and their settings.
    List,
    Set(Box<Set>),
    /// Let nothing of a queue start any more. What runs goes on, and what waits keeps its place.
    Pause(One),
    /// Let jobs of a paused queue start again.
    Resume(One),
    /// Take a queue away in which no job waits or runs.
    Remove(One),
}

/// Change a queue, or make one, and say what it is then.
///
/// What is not given stays as it is. What a queue says of its jobs' priority, cpus, memory and time holds for those that do not
/// say it themselves, from the next submit on.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  qrm queue set night --max-running 4 --max-time 12h --preemptible\n  qrm queue set urgent --weight 5 --priority high --on-conflict preemption\n  qrm queue set night --max-running 0"
)]
struct Set {
    /// Which; at most 32 of a-z, 0-9, - and _, beginning with a letter or digit.
    #[arg(value_name = "QUEUE", add = queues())]
    name: QueueName,
    /// Its share beside other queues, 1 to 1000; by default 1.
    #[arg(long, value_name = "N", value_parser = count)]
    weight: Option<u32>,
    /// How many of its jobs and tasks may run at once; 0, the default, is as many as fit.
    #[arg(long, value_name = "N", value_parser = count)]
    max_running: Option<u32>,
    /// The longest time limit of a job in it, which those have that ask for none; 0, the default, is none.
    #[arg(long, value_name = "DURATION")]
    max_time: Option<Millis>,
    /// Its jobs may have to make room for jobs of a higher class.
    #[arg(long, overrides_with = "no_preemptible")]
    preemptible: bool,
    /// Only those may that say so themselves; this is the default.
    #[arg(long, overrides_with = "preemptible")]
    no_preemptible: bool,
    /// What becomes of a job that had to make room. requeue, the default: it waits for its next attempt. cancel: it
    /// is cancelled. suspend: it stands still, and keeps its memory, until there is room again.
    #[arg(long, value_name = "WHAT", add = words(OnPreempt::ALL.map(OnPreempt::word)))]
    on_preempt: Option<OnPreempt>,
    /// What is done if a job of it can not start at once: priority, the default, preemption, sharing, queuing or
    /// negotiation, as in `qrm submit --help`.
    #[arg(long, value_name = "WAY", add = words(OnConflict::ALL.map(OnConflict::word)))]
    on_conflict: Option<OnConflict>,
    /// The priority of its jobs that do not set it: 0 to 100, or low, normal, high, critical; none: they have 50.
    #[arg(long, value_name = "N", add = words(["low", "normal", "high", "critical", "none"]))]
    priority: Option<OrNone<Priority>>,
    /// Their cpus; none: they have 1.
    #[arg(long, value_name = "N", value_parser = count_or_none)]
    cpus: Option<OrNone<u32>>,
    /// Their memory; 0 is none.
    #[arg(long, value_name = "SIZE")]
    mem: Option<Bytes>,
    /// Their time limit; 0 is that of --max-time.
    #[arg(long, value_name = "DURATION")]
    time: Option<Millis>,
}

/// A queue that there is.
#[derive(Debug, clap::Args)]
struct One {
    /// Which.
    #[arg(value_name = "QUEUE", add = queues())]
    name: QueueName,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<u8, Error> {
    match args.verb {
        Verb::List => {
            let queues = context.connect()?.call::<QueueList>(&Empty {})?.queues;
            match context.out.json {
                true => context.out.document(&queues),
                false => context.out.print(&list(&context.out, &queues)),
            }
        }
        Verb::Set(set) => {
            let params = QueueSetParams { name: set.name.clone(), change: set.change() };
            let queue = context.connect()?.call::<QueueSet>(&params)?;
            match context.out.json {
                true => context.out.document(&queue),
                false if context.out.quiet => {}
                false => context.out.print(&full(&context.out, &queue)),
            }
        }
        Verb::Pause(one) => turn::<QueuePause>(context, one.name, "is paused; what runs goes on")?,
        Verb::Resume(one) => turn::<QueueResume>(context, one.name, "goes on")?,
        Verb::Remove(one) => {
            let params = QueueParams { name: one.name };
            let reply = context.connect()?.call::<QueueRemove>(&params)?;
            match context.out.json {
                true => context.out.document(&reply),
                false => said(context, &params.name, "is removed"),
            }
        }
    }
    Ok(0)
}

fn turn<M>(context: &Context, name: QueueName, is: &str) -> Result<(), Error>
where
    M: Method<Params = QueueParams, Reply = QueueView>,
{
    let queue = context.connect()?.call::<M>(&QueueParams { name })?;
    match context.out.json {
        true => context.out.document(&queue),
        false => {
            let waiting = context.out.tone(Tone::Quiet, &format!(" ({} waiting)", queue.waiting));
            said(context, &queue.name, &format!("{is}{}", if queue.waiting > 0 { &waiting } else { "" }));
        }
    }
    Ok(())
}

fn said(context: &Context, name: &QueueName, is: &str) {
    if !context.out.quiet {
        context.out.print(&format!("queue {name} {is}\n"));
    }
}

fn count_or_none(text: &str) -> Result<OrNone<u32>, String> {
    if text == "none" { Ok(OrNone::None) } else { count(text).map(OrNone::One) }
}

impl Set {
    fn change(self) -> QueueChange {
        QueueChange {
            weight: self.weight,
            max_running: self.max_running,
            max_time_ms: self.max_time,
            preemptible: either(self.preemptible, self.no_preemptible),
            on_preempt: self.on_preempt,
            on_conflict: self.on_conflict,
            priority: self.priority.map(OrNone::one),
            cpus: self.cpus.map(OrNone::one),
            mem_bytes: self.mem,
            time_limit_ms: self.time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    #[command(no_binary_name = true)]
    struct Line {
        #[command(flatten)]
        set: Set,
    }

    #[test]
    fn a_queue_is_changed_only_where_something_is_said() {
        for (words, json) in [
            (&["night"][..], "{}"),
            (
                &["night", "--weight", "2", "--max-running", "0", "--max-time", "1h", "--no-preemptible"],
                r#"{"weight":2,"max_running":0,"max_time_ms":3600000,"preemptible":false}"#,
            ),
            (
                &["night", "--on-preempt", "suspend", "--on-conflict", "queuing", "--priority", "high", "--mem", "1K"],
                r#"{"on_preempt":"suspend","on_conflict":"queuing","priority":75,"mem_bytes":1024}"#,
            ),
            (&["night", "--priority", "none", "--cpus", "none"], r#"{"priority":null,"cpus":null}"#),
            (&["night", "--cpus", "2"], r#"{"cpus":2}"#),
        ] {
            let change = Line::try_parse_from(words).unwrap().set.change();
            assert_eq!(serde_json::to_string(&change).unwrap(), json, "{words:?}");
        }
        for words in [&["Night"][..], &[], &["night", "--on-preempt", "kill"], &["night", "--priority", "101"]] {
            assert!(Line::try_parse_from(words).is_err(), "{words:?}");
        }
    }
}
