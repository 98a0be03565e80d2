//! `qrm events`: what happened, and what happens, one line each, resumable by number.
//! It refuses to interpret them.

use crate::Context;
use crate::again::{Stopped, ask};
use crate::complete::{Which, just_ids};
use crate::render::{Tone, clean, fitted, json};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::event::EventView;
use qrm_protocol::ids::{JobRef, Seq};
use qrm_protocol::method::{EVENT, EVENT_END, EventSubscribe, SubscribeParams};

/// What happened: every decision of the daemon, numbered.
///
/// On a terminal a line is cut to its width; a pipe and --json have all of it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  qrm events --job 12\n  qrm events -f --json\n  qrm events -f --after 4711    # go on where a reader ended"
)]
pub(crate) struct Args {
    /// Go on with what happens from now on.
    #[arg(long, short)]
    follow: bool,
    /// Only those after this number; without it, all that are kept, or with -f those from now on.
    #[arg(long, value_name = "SEQ")]
    after: Option<Seq>,
    /// Only those of this job and its tasks.
    #[arg(long, value_name = "ID", add = just_ids(Which::Recent))]
    job: Option<JobRef>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<u8, Error> {
    let mut after = args.after.or(if args.follow { None } else { Some(0) });
    let stopped = if args.follow { Stopped::Waits(None) } else { Stopped::Fails };
    loop {
        let params = SubscribeParams { after, job: args.job, follow: args.follow };
        let (mut client, subscribed) = ask(context, stopped, |mut client| {
            client.call::<EventSubscribe>(&params).map(|subscribed| (client, subscribed))
        })?;
        if subscribed.lagged > 0 {
            lagged(context, subscribed.lagged);
        }
        after = Some(subscribed.after);
        let mut brought = false;
        loop {
            match client.notification() {
                Ok(Some((method, _))) if method == EVENT_END => return Ok(0),
                Ok(Some((method, params))) if method == EVENT => {
                    let event: EventView = serde_json::from_str(params.get())
                        .map_err(|e| Error::new(Code::Internal, format!("an event is not understood: {e}")))?;
                    (after, brought) = (Some(event.seq), true);
                    context.out.print(&line(context, &event, params.get()));
                }
                Ok(Some(_)) => {}
                // The daemon went away, or has let go of one who reads slowly, such as a pager: the next one, or the
                // same, goes on after the last event that came.
                Ok(None) => break,
                Err(error) if error.code == Code::NoDaemon => break,
                Err(error) => return Err(error),
            }
        }
        if !args.follow && !brought {
            return Err(Error::new(Code::NoDaemon, "the daemon went away").hint("run the command again"));
        }
    }
}

fn lagged(context: &Context, events: u64) {
    if context.out.json {
        context.out.print(&format!("{{\"lagged\":{events}}}\n"));
    } else {
        context.out.note(&format!("{events} events before these are not kept any more"));
    }
}

fn line(context: &Context, event: &EventView, as_sent: &str) -> String {
    if context.out.json {
        return format!("{}\n", json(as_sent));
    }
    let mut fields = event.fields.clone();
    let job = fields.remove("job").and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let rest: Vec<String> = fields
        .into_iter()
        .map(|(key, value)| match value {
            serde_json::Value::String(text) => format!("{key}={}", clean(&text)),
            other => format!("{key}={}", clean(&other.to_string())),
        })
        .collect();
    let at = event.at.zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string();
    let text = format!("{at} {:<15} {job:<8} {}", event.kind, rest.join(" "));
    // The number, and a blank.
    let room = context.out.width.map(|width| width.saturating_sub(9));
    let seq = context.out.tone(Tone::Quiet, &format!("{:>8}", event.seq));
    format!("{seq} {}\n", fitted(text.trim_end(), room))
}
