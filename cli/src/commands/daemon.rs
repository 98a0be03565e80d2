//! `qrm daemon`: starts, stops, reloads, installs and asks the daemon.
//! It refuses to touch jobs: they go on whatever happens to it.

mod install;

use crate::Context;
use crate::again::{Stopped, ask};
use crate::render::table::{Column, table};
use crate::render::{Tone, clean};
use clap::Subcommand;
use qrm_protocol::amount::Bytes;
use qrm_protocol::client::{Client, start_daemon};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::method::{
    ChangedSetting, DaemonReload, DaemonStatus, DaemonStatusReply, DaemonStop, Empty, ReloadParams,
};
use qrm_protocol::place::Place;
use qrm_protocol::time::Millis;

/// Start, stop, reload, install or ask the daemon. Jobs go on when it stops.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start it, if it does not run. Every verb but `daemon stop`, `daemon status` and `daemon reload` does so by
    /// itself.
    Start,
    /// Stop it. Jobs go on, and their ends are recorded when it is back.
    Stop,
    /// How it is: the health check for scripts. Exits with 0 if it is well, with 3 if none runs or it speaks another
    /// version, with 4 if it can not write.
    Status,
    /// Have it read its configuration again. What can be used at once is; what needs a restart is named.
    Reload {
        /// Replace it by the qrmd that is installed at its place now. Jobs go on, and nobody waits for long.
        #[arg(long)]
        exec: bool,
    },
    Install(install::Args),
}

pub(crate) fn run(context: &Context, args: &Args) -> Result<u8, Error> {
    let place = || context.place();
    match &args.verb {
        Verb::Install(args) => install::run(context, args),
        Verb::Start => {
            start_daemon(&place()?)?;
            ask(context, Stopped::Fails, |mut client| status(context, &mut client))
        }
        Verb::Status => status(context, &mut Client::connect_to(&place()?)?),
        Verb::Reload { exec } => reload(context, &place()?, *exec),
        Verb::Stop => match Client::connect_to(&place()?) {
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

fn reload(context: &Context, place: &Place, exec: bool) -> Result<u8, Error> {
    let mut client = Client::connect_to(place)?;
    let before = if exec { Some(client.call::<DaemonStatus>(&Empty {})?.version) } else { None };
    let reply = client.call::<DaemonReload>(&ReloadParams { exec })?;
    if let Some(before) = before {
        // It closes the connection when it is replaced; until the new one answers, starting one waits for that.
        while let Ok(Some(_)) = client.notification() {}
        start_daemon(place)?;
        let now = ask(context, Stopped::Fails, |mut client| client.call::<DaemonStatus>(&Empty {}))?;
        if context.out.json {
            context.out.document(&serde_json::json!({ "from": before, "to": now.version, "pid": now.pid }));
        } else if !context.out.quiet {
            context.out.print(&format!("qrmd {} runs in place of {before} (pid {})\n", now.version, now.pid));
        }
        return Ok(0);
    }
    if context.out.json {
        context.out.document(&reply);
    } else if reply.changed.is_empty() {
        if !context.out.quiet {
            context.out.print("nothing has changed\n");
        }
    } else {
        let row = |one: &ChangedSetting| {
            let how =
                if one.applied { ("used now", Tone::Good) } else { ("needs qrm daemon reload --exec", Tone::Busy) };
            vec![
                (one.key.clone(), Tone::Plain),
                (clean(&one.from), Tone::Quiet),
                (clean(&one.to), Tone::Plain),
                (how.0.to_owned(), how.1),
            ]
        };
        const COLUMNS: &[Column] = &[("SETTING", false), ("WAS", false), ("IS", false), ("", false)];
        context.out.print(&table(&context.out, COLUMNS, reply.changed.iter().map(row).collect()));
    }
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
