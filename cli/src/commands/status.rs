//! `qrm status`: the machine at a glance, in less than 25 lines.
//! It refuses to list everything.

use crate::Context;
use crate::again::{Stopped, ask};
use crate::complete::{Which, just_ids};
use crate::render::Tone;
use crate::render::job::{short, tone, why};
use crate::render::table::table;
use qrm_protocol::amount::Bytes;
use qrm_protocol::error::Error;
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::JobView;
use qrm_protocol::method::{Empty, Status, StatusReply};

/// The machine at a glance, or everything of one job.
///
/// What is granted, what runs, what waits and why, what ended last.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// With an id: the same as `qrm show ID`.
    #[arg(value_name = "ID", add = just_ids(Which::Recent))]
    id: Option<JobRef>,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<u8, Error> {
    if let Some(id) = args.id {
        return super::show::run(context, id);
    }
    let reply = ask(context, Stopped::Fails, |mut client| client.call::<Status>(&Empty {}))?;
    if context.out.json {
        context.out.document(&reply);
    } else {
        context.out.print(&glance(context, &reply));
    }
    Ok(0)
}

fn glance(context: &Context, reply: &StatusReply) -> String {
    let out = &context.out;
    let machine = reply.machine;
    let mut text = format!(
        "cpus {} of {} granted, memory {} of {}",
        machine.cpus_used,
        machine.cpus,
        Bytes(machine.mem_used_bytes),
        Bytes(machine.mem_bytes)
    );
    if machine.disk_used_bytes > 0 {
        text += &format!(", scratch {} of {}", Bytes(machine.disk_used_bytes), Bytes(machine.disk_bytes));
    }
    text.push('\n');
    let counts: Vec<String> =
        reply.jobs.iter().map(|(state, n)| out.tone(tone(*state), &format!("{n} {state}"))).collect();
    text += &if counts.is_empty() {
        "no jobs yet; qrm submit -- COMMAND queues one\n".to_owned()
    } else {
        format!("jobs {}\n", counts.join(", "))
    };
    if let Some(why) = &reply.degraded {
        text += &out.tone(Tone::Bad, &format!("nothing new is accepted: {}\n", crate::render::clean(why)));
    }
    for (title, jobs) in [("running", &reply.running), ("waiting", &reply.waiting), ("ended last", &reply.ended)] {
        if !jobs.is_empty() {
            text += &format!("\n{}\n{}", out.tone(Tone::Quiet, title), rows(context, jobs));
        }
    }
    text
}

fn rows(context: &Context, jobs: &[JobView]) -> String {
    let cells = |job: &JobView| {
        let about = why(job);
        let about =
            if about.is_empty() { job.started_at.map_or_else(String::new, |start| ran(job, start)) } else { about };
        vec![
            (job.id.to_string(), Tone::Plain),
            (job.state.to_string(), tone(job.state)),
            (job.user.clone(), Tone::Plain),
            (short(&job.name, 24), Tone::Plain),
            (about, Tone::Quiet),
        ]
    };
    let columns = [("ID", true), ("STATE", false), ("USER", false), ("NAME", false), ("", false)];
    let text = table(&context.out, &columns, jobs.iter().map(cells).collect());
    // The titles say what the columns are.
    text.split_once('\n').map_or(String::new(), |(_, rest)| rest.to_owned())
}

fn ran(job: &JobView, start: qrm_protocol::time::Timestamp) -> String {
    let span = job.ended_at.unwrap_or_else(crate::render::job::now).since(start);
    format!("{} {span}", if job.ended_at.is_some() { "ran" } else { "for" })
}
