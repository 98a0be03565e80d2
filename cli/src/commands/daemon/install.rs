//! `qrm daemon install`: a service of systemd that runs the user's daemon.
//! It refuses to start, stop or enable anything: it writes one file, has systemd read that, and says what comes next.

use crate::Context;
use crate::render::clean;
use qrm_protocol::client::{Client, daemon_program};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::place::{SOCKET_NAME, user_state};
use serde::Serialize;
use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Have systemd run your daemon from your login on, or from boot on if you linger.
///
/// Writes the unit qrmd.service into $XDG_CONFIG_HOME/systemd/user, else ~/.config/systemd/user, and has your systemd, if
/// it runs, read its units again. Nothing is enabled, started or stopped: what comes next is printed. A daemon that runs
/// already must be stopped before the service starts, which then takes over its queue; its jobs go on.
///
/// QRM_STATE_DIR, QRM_CONFIG, XDG_STATE_HOME and XDG_CONFIG_HOME are written into the unit if they are set; other settings
/// belong into the configuration file. The Debian package brings a unit of its own and needs none of this.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only print the unit and what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Replace a unit that is there and was not written by this command.
    #[arg(long)]
    force: bool,
}

/// The unit as a package has it.
const TEMPLATE: &str = include_str!("../../../../daemon/dist/qrmd.service");
/// Where the program of a package is.
const PACKAGED: &str = "/usr/bin/qrmd";
/// What a unit that we may replace begins with.
const MARK: &str = "# Written by `qrm daemon install`, which writes it anew.\n";
/// What says where the daemon keeps things; systemd does not know what this shell does.
const PLACES: [&str; 4] = ["QRM_STATE_DIR", "QRM_CONFIG", "XDG_STATE_HOME", "XDG_CONFIG_HOME"];

/// What was done, or would be.
#[derive(Serialize)]
struct Done {
    path: String,
    program: String,
    unit: String,
    dry_run: bool,
    /// It was not there, or another.
    written: bool,
    /// systemd has read it.
    reloaded: bool,
    /// What comes next, a command each.
    next: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<u8, Error> {
    let env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let program = program()?;
    let unit = unit(&program, &PLACES.map(|name| (name, env(name))))?;
    let path = place(env)?;
    let same = is_there(&path, &unit, args.force)?;
    let written = !same && !args.dry_run;
    if written {
        write(&path, &unit).map_err(|e| {
            Error::new(Code::Unavailable, format!("{} can not be written: {e}", path.display()))
                .hint("qrm daemon install --dry-run prints what belongs there")
        })?;
    }
    let reloaded = !args.dry_run && manager_runs(env) && reload();
    let done = Done {
        path: path.display().to_string(),
        program: program.display().to_string(),
        unit,
        dry_run: args.dry_run,
        written,
        reloaded,
        next: next(reloaded, &user_state(env)?),
    };
    match context.out.json {
        true => context.out.document(&done),
        false => context.out.print(&text(&done, same, context.out.quiet)),
    }
    Ok(0)
}

fn text(done: &Done, same: bool, quiet: bool) -> String {
    let path = clean(&done.path);
    let mut text = match (done.dry_run, same) {
        (_, true) => format!("{path} is there, and is the same\n"),
        (true, false) => format!("would write {path}\n"),
        (false, false) => format!("wrote {path}\n"),
    };
    if done.dry_run {
        text += &format!("\n{}\n", done.unit);
    }
    if quiet {
        return if done.dry_run { text } else { String::new() };
    }
    text + "what comes next:\n" + &done.next.iter().map(|line| format!("  {line}\n")).collect::<String>()
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

fn place(env: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, Error> {
    let base = match (env("XDG_CONFIG_HOME"), env("HOME")) {
        (Some(dir), _) => PathBuf::from(dir),
        (None, Some(home)) => PathBuf::from(home).join(".config"),
        (None, None) => return Err(Error::invalid("there is no HOME to write a unit into").hint("set HOME")),
    };
    match base.is_absolute() {
        true => Ok(base.join("systemd/user/qrmd.service")),
        false => Err(Error::invalid(format!("'{}' is not an absolute path", base.display()))
            .hint("XDG_CONFIG_HOME, or HOME without it, is where units are looked for")),
    }
}

/// The template with this program, and what this shell says of places.
fn unit(program: &Path, places: &[(&str, Option<OsString>)]) -> Result<String, Error> {
    let mut lines = String::new();
    for (name, value) in places.iter().filter_map(|(name, value)| Some((name, value.as_deref()?))) {
        lines += &format!("Environment={}\n", quoted(&format!("{name}={}", in_words(Path::new(value))?)));
    }
    let name = in_words(program)?;
    if name.contains(['"', '\'', '\\']) {
        return Err(Error::invalid(format!("systemd starts no program whose path has quotes or backslashes: {name}"))
            .hint("install the programs elsewhere"));
    }
    let start = format!("ExecStart={}", quoted(name));
    Ok(MARK.to_owned() + &TEMPLATE.replace(&format!("ExecStart={PACKAGED}"), &(lines + &start)))
}

fn in_words(path: &Path) -> Result<&str, Error> {
    path.to_str().filter(|text| !text.contains(char::is_control)).ok_or_else(|| {
        Error::invalid(format!("the path '{}' can not stand in a unit", path.display()))
            .hint("a path without control characters, in UTF-8, can")
    })
}

/// A word of a unit, systemd.syntax(7): quoted if need be, and nothing in it is a specifier.
fn quoted(word: &str) -> String {
    let word = word.replace('%', "%%");
    let plain = |c: char| c.is_alphanumeric() || "/._-+=%:@,".contains(c);
    match word.chars().all(plain) {
        true => word,
        false => format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

/// Whether this very unit is there already; another is only replaced if it is ours to replace.
fn is_there(path: &Path, unit: &str, force: bool) -> Result<bool, Error> {
    let there = match std::fs::read(path) {
        Ok(there) => there,
        // A link that leads nowhere is there, too.
        Err(e) if e.kind() == ErrorKind::NotFound && path.symlink_metadata().is_err() => return Ok(false),
        Err(_) => Vec::new(),
    };
    if there == unit.as_bytes() {
        return Ok(true);
    }
    if force || there.starts_with(MARK.as_bytes()) {
        return Ok(false);
    }
    Err(Error::new(Code::FailedPrecondition, format!("{} was not written by qrm daemon install", path.display()))
        .hint("--force replaces it; --dry-run prints what would be written"))
}

/// In one piece: a link in its place is replaced, not followed.
fn write(path: &Path, unit: &str) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(dir)?;
    let new = path.with_extension(format!("service.{}", std::process::id()));
    let written = std::fs::File::create(&new).and_then(|mut file| {
        file.write_all(unit.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    });
    if written.is_err() && new.exists() {
        std::fs::remove_file(&new)?;
    }
    written
}

/// Whether the user's systemd runs: it listens there for systemctl(1).
fn manager_runs(env: impl Fn(&str) -> Option<OsString>) -> bool {
    env("XDG_RUNTIME_DIR").is_some_and(|dir| Path::new(&dir).join("systemd/private").exists())
}

fn reload() -> bool {
    let mut command = Command::new("systemctl");
    command.args(["--user", "daemon-reload"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn next(reloaded: bool, state: &Path) -> Vec<String> {
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
