//! `qrm daemon`: starts, stops and asks the daemon.
//! It refuses to touch jobs: they go on whatever happens to it.

use crate::Context;
use clap::Subcommand;
use qrm_protocol::amount::Bytes;
use qrm_protocol::client::{Client, start_daemon};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::method::{DaemonStatus, DaemonStatusReply, DaemonStop, Empty};
use qrm_protocol::time::Millis;

/// Start, stop or ask the daemon. Jobs go on when it stops.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start it, if it does not run. Every verb but `daemon stop` and `daemon status` does so by itself.
    Start,
    /// Stop it. Jobs go on, and their ends are recorded when it is back.
    Stop,
    /// How it is: exits with 3 if none runs, with 4 if it can not write.
    Status,
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<u8, Error> {
    let place = context.place()?;
    match args.verb {
        Verb::Start => {
            start_daemon(&place)?;
            status(context, &mut Client::connect(&place.socket)?)
        }
        Verb::Status => status(context, &mut Client::connect(&place.socket)?),
        Verb::Stop => match Client::connect(&place.socket) {
            Ok(client) => stop(context, client),
            Err(error) if error.code == Code::NoDaemon => {
                said(context, "no qrmd runs", false);
                Ok(0)
            }
            Err(error) => Err(error),
        },
    }
}

fn said(context: &Context, text: &str, stopped: bool) {
    if context.out.json {
        context.out.document(&serde_json::json!({ "stopped": stopped }));
    } else if !context.out.quiet {
        context.out.print(&format!("{text}\n"));
    }
}

fn stop(context: &Context, mut client: Client) -> Result<u8, Error> {
    client.call::<DaemonStop>(&Empty {})?;
    // It closes the connection when it is gone.
    while let Ok(Some(_)) = client.notification() {}
    said(context, "qrmd has stopped; jobs go on", true);
    Ok(0)
}

fn status(context: &Context, client: &mut Client) -> Result<u8, Error> {
    let reply = client.call::<DaemonStatus>(&Empty {})?;
    if context.out.json {
        context.out.document(&reply);
    } else if !context.out.quiet {
        context.out.print(&text(&reply));
    }
    Ok(if reply.degraded.is_some() { Code::Unavailable.exit_code() } else { 0 })
}

fn text(reply: &DaemonStatusReply) -> String {
    let live: u64 = reply.jobs.iter().filter(|(state, _)| !state.is_terminal()).map(|(_, n)| n).sum();
    let ended: u64 = reply.jobs.values().sum::<u64>() - live;
    let mut text = format!(
        "qrmd {} is running (pid {}, {} mode, up {})\nsocket  {}\nstate   {}\nstore   {}, durability {}, {} events\njobs    {live} live, {ended} ended\n",
        reply.version,
        reply.pid,
        reply.mode,
        Millis(reply.uptime_ms),
        reply.socket,
        reply.state_dir,
        Bytes(reply.store_bytes),
        reply.durability,
        reply.last_seq,
    );
    if let Some(why) = &reply.degraded {
        text += &format!("nothing new is accepted: {}\n", crate::render::clean(why));
    }
    text
}
