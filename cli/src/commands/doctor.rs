//! `qrm doctor`: what this machine gives to jobs and what it does not, with what that means and what mends it.
//! It refuses to mend anything itself.

use crate::Context;
use crate::render::{Tone, clean};
use qrm_protocol::error::Error;
use qrm_protocol::method::{Doctor, DoctorReply, Empty, Finding, Health};
use qrm_protocol::place;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What this machine gives to jobs and what it does not. The exit code is 1 if something is broken.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(context: &Context, _args: &Args) -> Result<u8, Error> {
    let place = context.place()?;
    let mut findings = vec![programs()];
    let asked = context.connect().and_then(|mut client| client.call::<Doctor>(&Empty {}));
    findings.extend(place.own_state.as_deref().map(state));
    let code = match asked {
        Ok(DoctorReply { findings: told }) => {
            findings.extend(told);
            u8::from(findings.iter().any(|f| f.health == Health::Broken))
        }
        Err(error) => {
            findings.push(Finding {
                topic: "daemon".to_owned(),
                health: Health::Broken,
                found: error.message.clone(),
                means: "nothing can be submitted or asked; jobs that run go on".to_owned(),
                mend: error.hint.clone(),
            });
            error.code.exit_code()
        }
    };
    if context.out.json {
        context.out.document(&DoctorReply { findings });
    } else {
        context.out.print(&findings.iter().map(|f| text(context, f)).collect::<String>());
    }
    Ok(code)
}

fn text(context: &Context, finding: &Finding) -> String {
    let (word, tone) = match finding.health {
        Health::Ok => ("ok", Tone::Good),
        Health::Limited => ("limited", Tone::Busy),
        Health::Broken => ("broken", Tone::Bad),
    };
    let mut text =
        format!("{} {}: {}\n", context.out.tone(tone, &format!("{word:<8}")), finding.topic, clean(&finding.found));
    text += &format!("         {}\n", clean(&finding.means));
    if let Some(mend) = &finding.mend {
        text += &format!("         to mend: {}\n", clean(mend));
    }
    text
}

fn programs() -> Finding {
    let beside =
        |name: &str| std::env::current_exe().ok().map(|me| me.with_file_name(name)).filter(|path| path.exists());
    let missing: Vec<&str> = ["qrmd", "qrm-shim"].into_iter().filter(|name| beside(name).is_none()).collect();
    Finding {
        topic: "programs".to_owned(),
        health: if missing.is_empty() { Health::Ok } else { Health::Broken },
        found: if missing.is_empty() {
            "qrmd and qrm-shim stand beside qrm".to_owned()
        } else {
            format!("{} missing beside qrm", missing.join(" and "))
        },
        means: if missing.is_empty() {
            "the daemon starts by itself, and can start jobs"
        } else {
            "the daemon or its jobs can not be started"
        }
        .to_owned(),
        mend: (!missing.is_empty()).then(|| "install all three into one directory: cargo install --path .".to_owned()),
    }
}

fn state(dir: &Path) -> Finding {
    let finding = |health, found: String, means: &str, mend: Option<&str>| Finding {
        topic: "state".to_owned(),
        health,
        found,
        means: means.to_owned(),
        mend: mend.map(str::to_owned),
    };
    let shown = dir.display();
    let private =
        std::fs::metadata(dir).is_ok_and(|m| m.mode() & 0o077 == 0 && m.uid() == rustix::process::getuid().as_raw());
    if !private {
        let mend = "set QRM_STATE_DIR to a directory of your own";
        return finding(
            Health::Broken,
            format!("{shown} is not yours alone"),
            "others could read or change your queue",
            Some(mend),
        );
    }
    let home = std::env::var_os("HOME").is_some_and(|home| place::is_network(Path::new(&home)));
    if home && dir.starts_with("/var/tmp") {
        let means =
            "your home is on a network file system, where databases are not safe; it is on this machine's disk instead";
        return finding(Health::Limited, format!("{shown}"), means, None);
    }
    finding(
        Health::Ok,
        format!("{shown}, yours alone"),
        "queue, history and output are there, on this machine's disk",
        None,
    )
}
