//! `qrm config`: the settings, where they came from, and what of a file can not be meant.
//! It refuses to read a file itself: the daemon's own program does.

use crate::Context;
use crate::render::table::{Column, table};
use crate::render::{Tone, clean};
use clap::Subcommand;
use qrm_protocol::client::daemon_program;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::method::{ConfigReply, ConfigShow, Empty};
use qrm_protocol::place;
use std::path::PathBuf;

/// The settings of the daemon.
///
/// They are built in, read from a file, from variables as QRM_STORE_DURABILITY, and from `qrmd --set KEY=VALUE`; what comes
/// later in this list wins. `qrm daemon reload` has the daemon read them again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every setting as the daemon uses it, and where it came from.
    Show,
    /// Say what of the configuration can not be meant, with line and column; exits with 2 if something can not. No daemon
    /// is asked.
    Check {
        /// Another file than the daemon's own.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Where the configuration file is, or would be.
    Path,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<u8, Error> {
    match args.verb {
        Verb::Show => show(context),
        Verb::Check { file } => check(context, file),
        Verb::Path => path(context),
    }
}

const COLUMNS: &[Column] = &[("SETTING", false), ("VALUE", false), ("FROM", false), ("MEANS", false)];
/// A terminal that is narrower has no room for what a setting means.
const ROOM: usize = 110;

fn show(context: &Context) -> Result<u8, Error> {
    let reply: ConfigReply = context.connect()?.call::<ConfigShow>(&Empty {})?;
    if context.out.json {
        context.out.document(&reply);
        return Ok(0);
    }
    // A path that is the same everywhere is said once.
    let file = reply.file.as_deref().map(|file| format!("{file}:")).unwrap_or_default();
    let columns =
        if context.out.width.is_some_and(|width| usize::from(width) < ROOM) { &COLUMNS[..3] } else { COLUMNS };
    let rows = reply.settings.iter().map(|setting| {
        let own = setting.origin == "built in";
        let origin = match setting.origin.strip_prefix(&file).filter(|_| !file.is_empty()) {
            Some(line) => format!("line {line}"),
            None => setting.origin.clone(),
        };
        let mut row = vec![
            (setting.key.clone(), Tone::Plain),
            (clean(&setting.value), if own { Tone::Plain } else { Tone::Good }),
            (clean(&origin), Tone::Quiet),
            (setting.means.clone(), Tone::Quiet),
        ];
        row.truncate(columns.len());
        row
    });
    let mut text = table(&context.out, columns, rows.collect());
    if let Some(file) = &reply.file {
        text += &format!("\nfile {}\nqrm man 5 config says what each of them means\n", clean(file));
    }
    context.out.print(&text);
    Ok(0)
}

fn check(context: &Context, file: Option<PathBuf>) -> Result<u8, Error> {
    let program = daemon_program();
    let mut command = std::process::Command::new(&program);
    command.arg("--check").stderr(std::process::Stdio::null());
    if context.out.json {
        command.arg("--json");
    }
    if let Some(file) = file {
        command.arg("--config").arg(file);
    }
    let failed = |why: &dyn std::fmt::Display| Error::new(Code::NoDaemon, format!("{}: {why}", program.display()));
    let output = command.output().map_err(|e| failed(&e))?;
    context.out.print(&String::from_utf8_lossy(&output.stdout));
    output.status.code().and_then(|code| u8::try_from(code).ok()).ok_or_else(|| failed(&output.status))
}

fn path(context: &Context) -> Result<u8, Error> {
    let file = place::config_file(None, &|name| std::env::var_os(name))
        .ok_or_else(|| Error::invalid("there is no HOME to look for it in").hint("QRM_CONFIG names a file"))?;
    let there = file.path.exists();
    if context.out.json {
        context.out.document(&serde_json::json!({ "path": file.path.display().to_string(), "exists": there }));
    } else {
        context.out.print(&format!("{}\n", file.path.display()));
        if !there && context.out.terminal {
            context.out.note("it is not there; all settings are optional, qrm config show lists them");
        }
    }
    Ok(0)
}
