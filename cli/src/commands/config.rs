//! `qrm config`: the settings, where they came from, and what of a file can not be meant.
//! It refuses to read a file itself.

use super::checked::checked;
use crate::Context;
use crate::render::table::{Column, table};
use crate::render::{Tone, clean, excerpt};
use clap::Subcommand;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::method::{ConfigReply, ConfigShow, Empty, Mistake};
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
    if file.is_none() {
        place::named_config(&|name| std::env::var_os(name))?;
    }
    let checked = checked(None, file.as_deref())?;
    let code = match (&checked.mistakes[..], &checked.error) {
        ([_, ..], _) => Code::InvalidArgument.exit_code(),
        ([], Some(error)) => error.code.exit_code(),
        ([], None) => 0,
    };
    if context.out.json {
        context.out.document(&checked);
        return Ok(code);
    }
    context.out.print(&match (&checked.mistakes[..], &checked.file) {
        (mistakes @ [_, ..], _) => mistakes.iter().map(shown).collect(),
        ([], Some(file)) => format!("{} is fine\n", clean(file)),
        ([], None) => "there is no configuration file, and all is as it is built in\n".to_owned(),
    });
    if let Some(error) = &checked.error {
        context.out.error(error);
    }
    Ok(code)
}

/// A mistake with its line, and what would work.
fn shown(mistake: &Mistake) -> String {
    let mut text = format!("{}\n", clean(&mistake.message));
    if let (Some(line), Some(column), Some(source)) = (mistake.line, mistake.column, &mistake.text) {
        text += &excerpt::line(line, column, source);
    }
    if let Some(hint) = &mistake.hint {
        text += &format!("  hint: {}\n", clean(hint));
    }
    text
}

fn path(context: &Context) -> Result<u8, Error> {
    let file = place::named_config(&|name| std::env::var_os(name))?
        .ok_or_else(|| Error::invalid("there is no HOME to look for it in").hint("QRM_CONFIG names a file"))?;
    let there = file.path.exists();
    if context.out.json {
        context.out.document(&serde_json::json!({ "path": file.path.display().to_string(), "exists": there }));
    } else {
        let path = file.path.display().to_string();
        // A script is to find the file by it.
        context.out.print(&format!("{}\n", if context.out.terminal { clean(&path) } else { path }));
        if !there && context.out.terminal {
            context.out.note("it is not there; all settings are optional, qrm config show lists them");
        }
    }
    Ok(0)
}
