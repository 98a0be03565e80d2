//! `qrm daemon install`: services of systemd that run the user's daemon, or that of the machine.
//! It refuses to start, stop or enable anything: it writes files, has systemd read them, and says what comes next.

mod unit;

use crate::Context;
use crate::render::clean;
use qrm_protocol::client::{Client, daemon_program};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::place::{SOCKET_NAME, user_state};
use serde::Serialize;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use unit::{There, Unit, in_words, quoted};

/// Have systemd run your daemon from your login on, or from boot on if you linger; or one for all users of the machine.
///
/// Without --system it writes the units qrmd.service and qrm-jobs.service into $XDG_CONFIG_HOME/systemd/user, else
/// ~/.config/systemd/user. QRM_STATE_DIR, QRM_CONFIG, XDG_STATE_HOME and XDG_CONFIG_HOME are written into the first if they
/// are set; other settings belong into the configuration file.
///
/// With --system, which takes root, it writes qrmd.service, qrmd.socket and qrm-jobs.service into /etc/systemd/system. The
/// programs are run as root then, so they and the directories that they are in may be root's alone to change.
///
/// systemd, if it runs, reads its units again. Nothing is enabled, started or stopped: what comes next is printed. A daemon
/// that runs already must be stopped before the service starts, which then takes over its queue; its jobs go on.
///
/// A unit that somebody else wrote, or has changed since, is kept: `systemctl edit` has settings of your own beside it.
/// The Debian package brings these units and needs none of this.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For all users of this machine: jobs run as who submits them.
    #[arg(long)]
    system: bool,
    /// For you alone, as it is without this.
    #[arg(long, conflicts_with = "system")]
    user: bool,
    /// Only print the units, what in them differs from those that are there, and what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Replace units that somebody else wrote or has changed.
    #[arg(long)]
    force: bool,
}

/// The units as packages have them.
const USER: &str = include_str!("../../../../daemon/dist/user/qrmd.service");
const SYSTEM: &str = include_str!("../../../../daemon/dist/system/qrmd.service");
const SOCKET: &str = include_str!("../../../../daemon/dist/system/qrmd.socket");
const JOBS: &str = include_str!("../../../../daemon/dist/qrm-jobs.service");
/// Where the program of a package is.
const PACKAGED: &str = "/usr/bin/qrmd";
/// Where units of the machine are that no package brings.
const SYSTEM_DIR: &str = "/etc/systemd/system";
/// What says where the daemon keeps things; systemd does not know what this shell does.
const PLACES: [&str; 4] = ["QRM_STATE_DIR", "QRM_CONFIG", "XDG_STATE_HOME", "XDG_CONFIG_HOME"];

/// What was done, or would be.
#[derive(Serialize)]
struct Done {
    mode: &'static str,
    program: String,
    units: Vec<Written>,
    dry_run: bool,
    /// systemd has read them.
    reloaded: bool,
    /// Why nothing would be written.
    refused: Option<String>,
    /// What comes next, a command each.
    next: Vec<String>,
}

/// A unit, and what became of it, or would.
#[derive(Serialize)]
struct Written {
    path: String,
    unit: String,
    /// It was not there, or another.
    written: bool,
    /// The lines in which it differs from what was there.
    difference: Option<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8, Error> {
    let env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let program = program()?;
    let units = if args.system { of_system(&program)? } else { of_user(&program, env)? };
    let units: Vec<(Unit, There)> = units.into_iter().map(|unit| (unit.there(), unit)).map(|(t, u)| (u, t)).collect();
    let allowed = (if args.system { may_run_as_root(&program, args.dry_run) } else { Ok(()) })
        .and_then(|()| units.iter().try_for_each(|(unit, there)| may_replace(unit, there, args.force)));
    let refused = match allowed {
        Err(error) if args.dry_run => Some(error.message),
        allowed => allowed.map(|()| None)?,
    };
    for (unit, there) in &units {
        if !args.dry_run && *there != There::Same {
            unit.write()?;
        }
    }
    let runs = if args.system { Path::new("/run/systemd/system").exists() } else { manager_runs(env) };
    let reloaded = !args.dry_run && runs && reload(args.system);
    let done = Done {
        mode: if args.system { "system" } else { "user" },
        program: program.display().to_string(),
        units: units.iter().map(|(unit, there)| written(unit, there, args.dry_run)).collect(),
        dry_run: args.dry_run,
        reloaded,
        refused,
        next: if args.system { next_of_system(reloaded) } else { next_of_user(reloaded, &user_state(env)?) },
    };
    match context.out.json {
        true => context.out.document(&done),
        false => context.out.print(&text(&done, context.out.quiet)),
    }
    Ok(0)
}

fn written(unit: &Unit, there: &There, dry_run: bool) -> Written {
    let difference = match there {
        There::Nothing | There::Same => None,
        There::Ours(there) | There::Theirs(there) => Some(unit.difference(there)),
    };
    let written = *there != There::Same && !dry_run;
    Written { path: unit.path.display().to_string(), unit: unit.text.clone(), written, difference }
}

fn text(done: &Done, quiet: bool) -> String {
    let mut text = String::new();
    for unit in &done.units {
        let path = clean(&unit.path);
        text += &match (&unit.difference, unit.written, done.dry_run) {
            (Some(difference), _, true) => format!("would replace {path}, which differs:\n{}\n", lines(difference)),
            (None, _, true) if Path::new(&unit.path).exists() => format!("{path} is there, and is the same\n"),
            (None, _, true) => format!("would write {path}:\n\n{}\n", unit.unit),
            (Some(_), ..) => format!("replaced {path}\n"),
            (None, true, false) if !quiet => format!("wrote {path}\n"),
            (None, false, false) if !quiet => format!("{path} is there, and is the same\n"),
            (None, ..) => String::new(),
        };
    }
    if let Some(why) = &done.refused {
        text += &format!("nothing would be written: {}\n", clean(why));
    }
    if quiet {
        return text;
    }
    text + "what comes next:\n" + &done.next.iter().map(|line| format!("  {line}\n")).collect::<String>()
}

/// What somebody wrote into a file, for a terminal.
fn lines(text: &str) -> String {
    text.lines().map(|line| format!("  {}\n", clean(line))).collect()
}

/// The daemon's program, which a unit must name whole.
fn program() -> Result<PathBuf, Error> {
    let program = daemon_program();
    let shim = program.with_file_name("qrm-shim");
    match (program.is_absolute(), shim.exists()) {
        (true, true) => Ok(program),
        (true, false) => Err(missing("qrm-shim")),
        (false, _) => Err(missing("qrmd")),
    }
}

fn missing(name: &str) -> Error {
    Error::new(Code::FailedPrecondition, format!("{name} does not stand beside qrm"))
        .hint("install all three programs into one directory: cargo install --locked --path .")
}

fn of_user(program: &Path, env: impl Fn(&str) -> Option<OsString>) -> Result<Vec<Unit>, Error> {
    let base = match (env("XDG_CONFIG_HOME"), env("HOME")) {
        (Some(dir), _) => PathBuf::from(dir),
        (None, Some(home)) => PathBuf::from(home).join(".config"),
        (None, None) => return Err(Error::invalid("there is no HOME to write units into").hint("set HOME")),
    };
    if !base.is_absolute() {
        return Err(Error::invalid(format!("'{}' is not an absolute path", base.display()))
            .hint("XDG_CONFIG_HOME, or HOME without it, is where units are looked for"));
    }
    let mut places = String::new();
    for (name, value) in PLACES.iter().filter_map(|name| Some((name, env(name)?))) {
        places += &format!("Environment={}\n", quoted(&format!("{name}={}", in_words(Path::new(&value))?)));
    }
    let dir = base.join("systemd/user");
    Ok(vec![
        Unit::new(dir.join("qrmd.service"), &service(USER, program, &places)?),
        Unit::new(dir.join("qrm-jobs.service"), JOBS),
    ])
}

fn of_system(program: &Path) -> Result<Vec<Unit>, Error> {
    let dir = Path::new(SYSTEM_DIR);
    Ok(vec![
        Unit::new(dir.join("qrmd.socket"), SOCKET),
        Unit::new(dir.join("qrmd.service"), &service(SYSTEM, program, "")?),
        Unit::new(dir.join("qrm-jobs.service"), JOBS),
    ])
}

/// The template with this program, and what else is to be said of it.
fn service(template: &str, program: &Path, lines: &str) -> Result<String, Error> {
    let name = in_words(program)?;
    if name.contains(['"', '\'', '\\']) {
        return Err(Error::invalid(format!("systemd starts no program whose path has quotes or backslashes: {name}"))
            .hint("install the programs elsewhere"));
    }
    let start = format!("{lines}ExecStart={}", quoted(name));
    Ok(template.replace(&format!("ExecStart={PACKAGED}"), &start))
}

/// A unit is only replaced if it is ours to replace.
fn may_replace(unit: &Unit, there: &There, force: bool) -> Result<(), Error> {
    match there {
        There::Theirs(_) if !force => {
            let message =
                format!("{} was not written by qrm daemon install, or was changed since", unit.path.display());
            Err(Error::new(Code::FailedPrecondition, message).hint(
                "--dry-run shows the difference; --force replaces it; systemctl edit has settings of your own beside it",
            ))
        }
        _ => Ok(()),
    }
}

/// Who can change a program that root runs is root; and so is who can put another one in its place.
fn may_run_as_root(program: &Path, dry_run: bool) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() && !dry_run {
        return Err(Error::new(Code::PermissionDenied, format!("only root writes units into {SYSTEM_DIR}"))
            .hint("sudo qrm daemon install --system; without --system it is a daemon of your own"));
    }
    let unknown = |path: &Path, why: std::io::Error| {
        Error::new(Code::FailedPrecondition, format!("{} can not be looked at: {why}", path.display()))
    };
    let mut paths = Vec::new();
    for name in ["qrmd", "qrm-shim"] {
        let path = program.with_file_name(name);
        let path = path.canonicalize().map_err(|e| unknown(&path, e))?;
        paths.extend(path.ancestors().map(Path::to_owned));
    }
    for path in &paths {
        let found = path.metadata().map_err(|e| unknown(path, e))?;
        let who = match found.mode() {
            _ if found.uid() != 0 => format!("user {}", found.uid()),
            mode if mode & 0o002 != 0 => "everybody".to_owned(),
            mode if mode & 0o020 != 0 && found.gid() != 0 => format!("group {}", found.gid()),
            _ => continue,
        };
        let message =
            format!("{who} can change {}, and the system's daemon would run what is there as root", path.display());
        return Err(Error::new(Code::FailedPrecondition, message)
            .hint("install the programs as root: install -m 755 -t /usr/local/bin qrm qrmd qrm-shim"));
    }
    Ok(())
}

/// Whether the user's systemd runs: it listens there for systemctl(1).
fn manager_runs(env: impl Fn(&str) -> Option<OsString>) -> bool {
    env("XDG_RUNTIME_DIR").is_some_and(|dir| Path::new(&dir).join("systemd/private").exists())
}

fn reload(system: bool) -> bool {
    let mut command = Command::new("systemctl");
    command.args((!system).then_some("--user")).arg("daemon-reload");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn next_of_system(reloaded: bool) -> Vec<String> {
    let reload = (!reloaded).then_some("systemctl daemon-reload");
    let start = "systemctl enable --now qrmd.socket qrmd.service    # the socket alone waits for who asks first";
    reload.into_iter().chain([start]).map(str::to_owned).collect()
}

fn next_of_user(reloaded: bool, state: &Path) -> Vec<String> {
    let mut next = Vec::new();
    if Client::connect(&state.join(SOCKET_NAME)).is_ok() {
        next.push("qrm daemon stop    # the one that runs now; jobs go on");
    }
    if !reloaded {
        next.push("systemctl --user daemon-reload");
    }
    next.push("systemctl --user enable --now qrmd");
    next.push("loginctl enable-linger    # also before login and after logout");
    next.into_iter().map(str::to_owned).collect()
}
