//! `qrm trace`: when a job was in which stage, as spans of its trace.
//! It refuses to send them anywhere.

use crate::Context;
use crate::again::{Stopped, ask};
use crate::complete::{Which, just_ids};
use crate::render::job::{now, tone, when};
use crate::render::table::{Column, table};
use crate::render::{Tone, clean};
use qrm_protocol::error::Error;
use qrm_protocol::ids::JobRef;
use qrm_protocol::method::{JobParams, JobTrace, TraceReply};

/// When a job was in which stage.
///
/// The trace is that of the submitter's TRACEPARENT (W3C Trace Context), else one of the job's own; the job finds its own span
/// in its TRACEPARENT.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A job as 12, a task of an array as 12.3.
    #[arg(value_name = "ID", add = just_ids(Which::Recent))]
    id: JobRef,
}

const COLUMNS: &[Column] =
    &[("STAGE", false), ("ATTEMPT", true), ("FROM", false), ("TOOK", true), ("SPAN", false), ("OUTCOME", false)];

pub(crate) fn run(context: &Context, args: &Args) -> Result<u8, Error> {
    let reply = ask(context, Stopped::Fails, |mut client| client.call::<JobTrace>(&JobParams { id: args.id }))?;
    if context.out.json {
        context.out.document(&reply);
    } else {
        context.out.print(&shown(context, &reply));
    }
    Ok(0)
}

fn shown(context: &Context, reply: &TraceReply) -> String {
    let out = &context.out;
    let mut text = format!("{} {}\n", out.tone(Tone::Quiet, "trace "), reply.trace_id);
    if let Some(parent) = &reply.parent_id {
        text += &format!("{} {parent}\n", out.tone(Tone::Quiet, "parent"));
    }
    let rows = reply.spans.iter().map(|span| {
        let took = span.ended_at.unwrap_or_else(now).since(span.started_at).to_string();
        vec![
            (span.stage.to_string(), tone(span.stage)),
            (span.attempt.map_or_else(|| "-".to_owned(), |n| n.to_string()), Tone::Plain),
            (when(span.started_at), Tone::Plain),
            (if span.ended_at.is_some() { took } else { format!("{took}…") }, Tone::Plain),
            (span.span_id.clone(), Tone::Quiet),
            (span.outcome.as_deref().map(clean).unwrap_or_default(), Tone::Plain),
        ]
    });
    text += &table(out, COLUMNS, rows.collect());
    if reply.incomplete {
        text += "its events are not kept any more; this is what its last attempt left\n";
    }
    text
}
