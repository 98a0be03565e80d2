//! `qrm doctor`: a runbook of this machine: what was found, what that means for jobs, and what mends it.
//! It refuses to mend anything itself.

mod own;

use crate::Context;
use crate::render::{Tone, clean};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::method::{DaemonStatus, Doctor, DoctorReply, Empty, Finding, Health};
use qrm_protocol::place;
use std::path::Path;

/// What of this machine works for jobs and what does not, what that means, and what mends it.
///
/// It looks at the programs, the state directory, the configuration and the clock by itself, and asks the daemon, which is
/// started if it can be, about its store, its disk, and how jobs are tracked and limited. If there is none, it looks at the
/// store, the disk and the daemon's log instead.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 nothing is broken, though something may be limited; 1 something is broken; 3 no daemon \
runs or could be started, or it speaks another version."
)]
pub(crate) struct Args {}

pub(crate) fn run(context: &Context, _args: &Args) -> Result<u8, Error> {
    let place = context.place()?;
    let own_state = place.own_state.as_deref();
    let asked = ask(context);
    let mut findings = vec![own::programs()];
    if let Some(dir) = own_state {
        findings.push(own::state(dir));
        findings.extend(own::clock(dir));
        findings.extend(own::check(dir, asked.is_ok()));
        findings.extend(own::lingering());
    }
    let served = asked.is_ok();
    match asked {
        Ok((version, told)) => {
            findings.push(daemon(&version));
            findings.extend(told);
        }
        Err(error) => findings.extend(without(error, own_state)),
    }
    let broken = findings.iter().any(|finding| finding.health == Health::Broken);
    if context.out.json {
        context.out.document(&DoctorReply { findings });
    } else {
        context.out.print(&findings.iter().map(|finding| text(context, finding)).collect::<String>());
    }
    Ok(if served { u8::from(broken) } else { Code::NoDaemon.exit_code() })
}

/// The daemon's release, and what it has found.
fn ask(context: &Context) -> Result<(String, Vec<Finding>), Error> {
    let mut client = context.connect()?;
    let version = client.call::<DaemonStatus>(&Empty {})?.version;
    Ok((version, client.call::<Doctor>(&Empty {})?.findings))
}

/// One thing that was looked at.
fn finding(topic: &str, health: Health, found: String, means: &str, mend: Option<String>) -> Finding {
    Finding { topic: topic.to_owned(), health, found, means: means.to_owned(), mend }
}

fn daemon(version: &str) -> Finding {
    let own = env!("CARGO_PKG_VERSION");
    if version == own {
        return finding(
            "daemon",
            Health::Ok,
            format!("qrmd {version} answers"),
            "jobs can be queued and asked about",
            None,
        );
    }
    let means = "options of the newer one may be refused; jobs are not touched by that";
    let mend = "qrm daemon reload --exec: the program that is installed now takes over, and jobs go on".to_owned();
    finding("daemon", Health::Limited, format!("qrmd {version} answers, and this is qrm {own}"), means, Some(mend))
}

/// What is known where no daemon answers.
fn without(error: Error, own_state: Option<&Path>) -> Vec<Finding> {
    let means = "nothing can be queued or asked; jobs that run go on, and their ends are kept";
    let mut findings = vec![finding("daemon", Health::Broken, error.message, means, error.hint)];
    if let Some(dir) = own_state {
        findings.extend(place::room(dir));
        findings.extend(own::log(dir));
    }
    findings
}

fn text(context: &Context, finding: &Finding) -> String {
    let (word, tone) = match finding.health {
        Health::Ok => ("ok", Tone::Good),
        Health::Limited => ("limited", Tone::Busy),
        Health::Broken => ("broken", Tone::Bad),
    };
    let mut text = context.out.tone(tone, &format!("{word:<8}"));
    let found = format!("{}: {}", finding.topic, clean(&finding.found));
    let lines = [
        Some(found),
        Some(clean(&finding.means)),
        finding.mend.as_ref().map(|mend| format!("to mend: {}", clean(mend))),
    ];
    let room = context.out.width.map_or(usize::MAX, |width| usize::from(width).saturating_sub(INDENT.len()));
    let lines = lines.iter().flatten().flat_map(|line| folded(line, room));
    for (n, line) in lines.enumerate() {
        text += &format!("{}{line}\n", if n == 0 { " " } else { INDENT });
    }
    text
}

/// What stands under a word of how it is.
const INDENT: &str = "         ";

/// A text in lines of so many columns; a word that is longer has one of its own.
fn folded(text: &str, room: usize) -> Vec<String> {
    use unicode_width::UnicodeWidthStr;
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.width() + 1 + word.width() <= room => *line += &format!(" {word}"),
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
