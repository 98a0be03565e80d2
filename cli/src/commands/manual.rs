//! `qrm man` and `qrm completions`: the manual and what shells complete, made of the same tree as the help, and the pages
//! about no verb as they are in the repository. It refuses to write a word of its own, and asks no daemon.

use crate::Context;
use crate::complete::{Shell, pages as pages_of, registration};
use clap::{Command, ValueHint};
use qrm_protocol::error::{Code, Error, nearest};
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

/// The manual of qrm and of what is around it.
///
/// There is a page for each verb, and qrmd, qrmd-simulate, config, scheduling, protocol, exit-codes and security. On a terminal it
/// is shown by man(1), in a pipe it is printed as troff.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  qrm man\n  qrm man daemon start\n  qrm man protocol\n  qrm man 5 config    # of the section 5: the file, not the verb\n  qrm man --dir ~/.local/share/man    # then: man qrm-submit"
)]
pub(crate) struct Man {
    /// A verb, as submit or daemon start, or a page, as protocol or 7 protocol; without it the page of qrm.
    #[arg(value_name = "VERB|PAGE", add = pages_of())]
    verb: Vec<String>,
    /// Write all pages below this directory instead, into man1, man5, man7 and man8.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with = "verb")]
    dir: Option<PathBuf>,
}

/// The pages about no verb: what they are called, their section, and the page.
const PAGES: [(&str, &str, &str); 7] = [
    ("qrmd", "8", include_str!("../../../man/qrmd.8")),
    ("qrm-config", "5", include_str!("../../../man/qrm-config.5")),
    ("qrm-protocol", "7", include_str!("../../../man/qrm-protocol.7")),
    ("qrm-exit-codes", "7", include_str!("../../../man/qrm-exit-codes.7")),
    ("qrm-security", "7", include_str!("../../../man/qrm-security.7")),
    ("qrmd-simulate", "8", include_str!("../../../man/qrmd-simulate.8")),
    ("qrm-scheduling", "7", include_str!("../../../man/qrm-scheduling.7")),
];

/// What the pages about no verb can be asked for by, each by the shortest name that no verb has.
pub(crate) fn pages(verbs: &Command) -> impl Iterator<Item = &'static str> {
    PAGES.iter().map(|(name, ..)| {
        name.strip_prefix("qrm-").filter(|short| verbs.find_subcommand(short).is_none()).unwrap_or(name)
    })
}

/// What a shell reads to complete words.
///
/// It completes verbs and options, and ids, names and users of the jobs that there are. For ids and the like the
/// shell asks qrm, and qrm the daemon, if one runs: each verb offers the jobs that it could be about.
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
    let script = registration(args.shell)
        .map_err(|e| Error::new(Code::Internal, format!("what the shell reads can not be made: {e}")))?;
    context.out.print(&script);
    Ok(0)
}

pub(crate) fn man(context: &Context, args: &Man) -> Result<u8, Error> {
    let mut command = crate::command().disable_help_subcommand(true);
    command.build();
    if let Some(dir) = &args.dir {
        let failed = |e: std::io::Error| Error::new(Code::Unavailable, format!("{}: {e}", dir.display()));
        let verbs = dir.join("man1");
        std::fs::create_dir_all(&verbs).map_err(failed)?;
        clap_mangen::generate_to(command, verbs).map_err(failed)?;
        for (name, section, page) in PAGES {
            let dir = dir.join(format!("man{section}"));
            std::fs::create_dir_all(&dir).map_err(failed)?;
            std::fs::write(dir.join(format!("{name}.{section}")), page).map_err(failed)?;
        }
        return Ok(0);
    }
    let page = page(&command, &args.verb)?;
    if !context.out.terminal || !shown(&page) {
        context.out.print(&String::from_utf8_lossy(&page));
    }
    Ok(0)
}

/// The page about no verb that is meant: by its name, by the end of it, or by that and its section.
fn other(words: &[String]) -> Option<&'static str> {
    let (wanted, name) = match words {
        [name] => (None, name),
        [section, name] => (Some(section), name),
        _ => return None,
    };
    let is_it = |(known, section, _): &&(&str, &str, &str)| {
        (known == name || known.strip_prefix("qrm-") == Some(name)) && wanted.is_none_or(|wanted| wanted == section)
    };
    PAGES.iter().find(is_it).map(|(_, _, page)| *page)
}

/// The page of a verb, or another one.
fn page(command: &Command, verb: &[String]) -> Result<Vec<u8>, Error> {
    let mut at = command;
    let is_verb = verb.first().is_none_or(|word| command.find_subcommand(word).is_some());
    if let Some(page) = other(verb).filter(|_| !is_verb) {
        return Ok(page.as_bytes().to_vec());
    }
    for word in verb {
        at = at.find_subcommand(word).ok_or_else(|| {
            let error = Error::invalid(format!("there is no page of '{word}'"));
            let pages = PAGES.iter().map(|(name, ..)| *name).filter(|_| std::ptr::eq(at, command));
            let known: Vec<&str> = at.get_subcommands().map(Command::get_name).chain(pages).collect();
            match nearest(word, known.iter().copied()) {
                Some(near) => error.hint(format!("did you mean {near}?")),
                None if known.is_empty() => error.hint(format!("qrm man {} is all there is", at.get_name())),
                None => error.hint(format!("pages are {}", known.join(", "))),
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
