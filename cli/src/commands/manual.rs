//! `qrm man` and `qrm completions`: the manual and what shells complete, made of the same tree as the help.
//! It refuses to write a word of its own, and asks no daemon.

use crate::Context;
use clap::Command;
use clap_complete::Shell;
use qrm_protocol::error::{Code, Error, nearest};
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

/// The manual page of qrm or of one of its verbs.
///
/// On a terminal it is shown by man(1), in a pipe it is printed as troff.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  qrm man\n  qrm man daemon start\n  qrm man --dir ~/.local/share/man/man1    # then: man qrm-submit"
)]
pub(crate) struct Man {
    /// A verb, as submit or daemon start; without it the page of qrm.
    #[arg(value_name = "VERB")]
    verb: Vec<String>,
    /// Write all pages into this directory instead.
    #[arg(long, value_name = "DIR", conflicts_with = "verb")]
    dir: Option<PathBuf>,
}

/// What a shell completes of qrm's verbs and options.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  source <(qrm completions bash)    # in ~/.bashrc\n  qrm completions zsh > ~/.zfunc/_qrm    # ~/.zfunc is in fpath\n  qrm completions fish > ~/.config/fish/completions/qrm.fish"
)]
pub(crate) struct Completions {
    /// Whose.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(crate) fn completions(context: &Context, args: &Completions) -> Result<u8, Error> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut crate::command(), "qrm", &mut text);
    context.out.print(&String::from_utf8_lossy(&text));
    Ok(0)
}

pub(crate) fn man(context: &Context, args: &Man) -> Result<u8, Error> {
    let mut command = crate::command().disable_help_subcommand(true);
    command.build();
    if let Some(dir) = &args.dir {
        let failed = |e: std::io::Error| Error::new(Code::Unavailable, format!("{}: {e}", dir.display()));
        std::fs::create_dir_all(dir).map_err(failed)?;
        clap_mangen::generate_to(command, dir).map_err(failed)?;
        return Ok(0);
    }
    let page = page(&command, &args.verb)?;
    if !context.out.terminal || !shown(&page) {
        context.out.print(&String::from_utf8_lossy(&page));
    }
    Ok(0)
}

/// The page of a verb.
fn page(command: &Command, verb: &[String]) -> Result<Vec<u8>, Error> {
    let mut at = command;
    for word in verb {
        at = at.find_subcommand(word).ok_or_else(|| {
            let error = Error::invalid(format!("there is no verb '{word}'"));
            let known: Vec<&str> = at.get_subcommands().map(Command::get_name).collect();
            match nearest(word, known.iter().copied()) {
                Some(near) => error.hint(format!("did you mean {near}?")),
                None if known.is_empty() => error.hint(format!("qrm man {} is all there is", at.get_name())),
                None => error.hint(format!("verbs are {}", known.join(", "))),
            }
        })?;
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(at.clone())
        .render(&mut text)
        .map_err(|e| Error::new(Code::Internal, format!("the page can not be made: {e}")))?;
    Ok(text)
}

/// Has man(1) show a page; whether there is one.
fn shown(page: &[u8]) -> bool {
    let Ok(mut man) = std::process::Command::new("man").args(["-l", "-"]).stdin(Stdio::piped()).spawn() else {
        return false;
    };
    // Who leaves before the end of the page has seen enough.
    man.stdin.take().map(|mut to| to.write_all(page).ok());
    man.wait().is_ok_and(|status| status.success())
}
