//! What `qrm doctor` sees without a daemon: programs, files, clock and log of this user.
//! It refuses to write anything, and to ask a daemon.

use super::finding;
use crate::commands::checked::{Checked, checked};
use jiff::Timestamp;
use qrm_protocol::error::Error;
use qrm_protocol::method::{Finding, Health};
use qrm_protocol::place::{self, LOG_NAME};
use rustix::fs::{Access, access};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The three programs: there, and of one release.
pub(super) fn programs() -> Finding {
    let broken = |found, mend| {
        finding("programs", Health::Broken, found, "the daemon or its jobs can not be started", Some(mend))
    };
    let install = "install all three of one release into one directory: cargo install --locked --path .";
    let beside = |name: &str| std::env::current_exe().map(|me| me.with_file_name(name)).unwrap_or_else(|_| name.into());
    let others = ["qrmd", "qrm-shim"];
    let missing: Vec<&str> = others.into_iter().filter(|name| !beside(name).exists()).collect();
    if !missing.is_empty() {
        return broken(format!("{} missing beside qrm", missing.join(" and ")), install.to_owned());
    }
    if let Some(path) = others.map(beside).into_iter().find(|path| access(path, Access::EXEC_OK).is_err()) {
        return broken(format!("{} can not be executed", path.display()), format!("chmod 755 {}", path.display()));
    }
    let own = env!("CARGO_PKG_VERSION");
    let said = match Command::new(beside("qrmd")).arg("--version").stdin(Stdio::null()).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(error) => return broken(format!("qrmd --version: {error}"), install.to_owned()),
    };
    if said != format!("qrmd {own}") {
        return broken(format!("qrmd --version says '{said}', and this is qrm {own}"), install.to_owned());
    }
    let found = format!("qrmd {own} and qrm-shim stand beside qrm {own}");
    finding("programs", Health::Ok, found, "the daemon starts by itself, and can start jobs", None)
}

/// The state directory: there, its owner's alone, on a disk of this machine.
pub(super) fn state(dir: &Path) -> Finding {
    let shown = dir.display();
    let state = |health, found, means, mend| finding("state", health, found, means, mend);
    let exposed = "others could read or change your queue";
    let elsewhere = "set QRM_STATE_DIR to a directory of your own, on a disk of this machine".to_owned();
    match std::fs::metadata(dir) {
        Err(error) => {
            return state(Health::Broken, format!("{shown}: {error}"), "the queue has no place", Some(elsewhere));
        }
        Ok(stat) if stat.uid() != rustix::process::getuid().as_raw() => {
            return state(Health::Broken, format!("{shown} belongs to user {}", stat.uid()), exposed, Some(elsewhere));
        }
        Ok(stat) if stat.mode() & 0o077 != 0 => {
            let found = format!("{shown} has mode {:04o}, and is not yours alone", stat.mode() & 0o7777);
            return state(Health::Broken, found, exposed, Some(format!("chmod 700 {shown}")));
        }
        Ok(_) => {}
    }
    if place::is_network(dir) {
        let means = "databases are not safe on a network file system: what was acknowledged may be lost";
        return state(Health::Broken, format!("{shown} is on a network file system"), means, Some(elsewhere));
    }
    let home = std::env::var_os("HOME").is_some_and(|home| place::is_network(Path::new(&home)));
    if home && dir.starts_with("/var/tmp") {
        let means =
            "your home is on a network file system, where databases are not safe; it is on this machine's disk instead";
        return state(Health::Limited, format!("{shown}"), means, None);
    }
    let means = "queue, history and output are there, on this machine's disk";
    state(Health::Ok, format!("{shown}, yours alone"), means, None)
}

/// The configuration, and where no daemon has it open the store, as the daemon's own program sees them.
pub(super) fn check(dir: &Path, served: bool) -> Vec<Finding> {
    // One that is not there or says something else is told as a program.
    let Ok(checked) = checked(Some(dir), None) else { return Vec::new() };
    let mut findings = vec![configuration(&checked, served)];
    findings.extend(checked.error.filter(|_| !served).map(store));
    findings
}

fn configuration(checked: &Checked, served: bool) -> Finding {
    let configuration = |health, found, means, mend| finding("configuration", health, found, means, mend);
    if let Some(first) = checked.mistakes.first() {
        let more = match checked.mistakes.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let means = match served {
            true => "the daemon goes on with what it read before; it could not start again with this",
            false => "no daemon starts with this",
        };
        let mend = "qrm config check shows each mistake with its line; mend them, then qrm daemon reload".to_owned();
        return configuration(Health::Broken, format!("{}{more}", first.message), means, Some(mend));
    }
    let found = match &checked.file {
        Some(file) => format!("{file} can be read"),
        None => "no file, and all is as it is built in".to_owned(),
    };
    configuration(Health::Ok, found, "qrm config show lists every setting", None)
}

fn store(error: Error) -> Finding {
    let means = "no daemon starts with it; nothing in it was changed";
    finding("store", Health::Broken, error.message, means, error.hint)
}

/// Where systemd runs: whether it keeps this user's processes after logout.
pub(super) fn lingering() -> Option<Finding> {
    let uid = rustix::process::getuid();
    if uid.is_root() || !Path::new("/run/systemd/system").exists() {
        return None;
    }
    let name = nix::unistd::User::from_uid(uid.as_raw().into()).ok()??.name;
    Some(lingers(Path::new("/var/lib/systemd/linger"), &name))
}

fn lingers(all: &Path, user: &str) -> Finding {
    if all.join(user).exists() {
        let means = "the daemon and its jobs go on after your last logout";
        return finding("logout", Health::Ok, format!("{user} lingers"), means, None);
    }
    let means = "systemd may end the daemon and its jobs after your last logout";
    let mend = "loginctl enable-linger, and for a daemon from boot on: qrm daemon install".to_owned();
    finding("logout", Health::Limited, format!("{user} does not linger"), means, Some(mend))
}

/// 2024-01-01: qrm is younger than that, and a machine without a battery for its clock wakes up before.
const YOUNGER: i64 = 1_704_067_200;
/// A file of the future by less than this is one of a clock that is being corrected.
const CORRECTED_SECONDS: i64 = 60;

/// A clock that can not be right; nothing if it may be.
pub(super) fn clock(state: &Path) -> Option<Finding> {
    let written = |name: &str| std::fs::metadata(state.join(name)).ok().map(|stat| stat.mtime());
    let last = ["qrm.sqlite", "qrm.sqlite-wal"].into_iter().filter_map(written).max();
    odd(Timestamp::now().as_second(), last)
}

fn odd(now: i64, last: Option<i64>) -> Option<Finding> {
    let shown = |second| Timestamp::from_second(second).map_or_else(|_| "?".to_owned(), |time| time.to_string());
    let found = match last {
        _ if now < YOUNGER => format!("it is {} by the clock of this machine", shown(now)),
        Some(last) if last > now + CORRECTED_SECONDS => {
            format!("it is {}, and the store was written at {}", shown(now), shown(last))
        }
        _ => return None,
    };
    let means =
        "times of jobs, --begin and --deadline follow a clock that is or was wrong; limits of running jobs do not";
    let mend = "timedatectl set-ntp true, or date --set, as root".to_owned();
    Some(finding("clock", Health::Limited, found, means, Some(mend)))
}

/// How much of the end of a log is looked at, and how many of its errors are shown.
const TAIL_BYTES: u64 = 64 << 10;
const ERRORS: usize = 3;

/// The last errors in the daemon's log.
pub(super) fn log(state: &Path) -> Option<Finding> {
    let path = state.join(LOG_NAME);
    let text = tail(&path).ok()?;
    let errors: Vec<&str> = text.lines().filter(|line| line.contains(" ERROR ")).collect();
    let last = &errors[errors.len().saturating_sub(ERRORS)..];
    if last.is_empty() {
        return None;
    }
    let means = "this is what a daemon said last before it failed";
    let mend = Some(format!("tail {} shows what was around it", path.display()));
    Some(finding("log", Health::Limited, last.join("; "), means, mend))
}

fn tail(path: &PathBuf) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_clock_is_odd_before_qrm_was_and_after_what_was_written() {
        for (now, last, part) in [
            (0, None, Some("1970-01-01")),
            (YOUNGER - 1, Some(YOUNGER), Some("2023-12-31")),
            (YOUNGER, None, None),
            (YOUNGER, Some(YOUNGER + CORRECTED_SECONDS), None),
            (YOUNGER, Some(YOUNGER + CORRECTED_SECONDS + 1), Some("the store was written at")),
        ] {
            let found = odd(now, last).map(|finding| finding.found);
            assert_eq!(found.is_some(), part.is_some(), "{now} {last:?}: {found:?}");
            assert!(found.unwrap_or_default().contains(part.unwrap_or_default()), "{now} {last:?}");
        }
    }

    #[test]
    fn who_lingers_has_a_file_of_that_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("alice"), "").unwrap();
        assert_eq!(lingers(dir.path(), "alice").health, Health::Ok);
        let bob = lingers(dir.path(), "bob");
        assert!(bob.health == Health::Limited && bob.mend.unwrap().contains("loginctl enable-linger"));
    }
}
