//! The options that submit and run share, and what a job inherits from where it is submitted.
//! It refuses to talk to the daemon.

use clap::Args;
use qrm_protocol::amount::{Bytes, Priority};
use qrm_protocol::error::Error;
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::{Backoff, JobSpec, RetryOn};
use qrm_protocol::method::Context;
use qrm_protocol::signal::Signal;
use qrm_protocol::text::OsText;
use qrm_protocol::time::{Millis, Timestamp};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a job may ask for.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A name for people; the program's if not given.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A remark for people.
    #[arg(long, value_name = "TEXT")]
    comment: Option<String>,
    /// How urgent: 0 to 100, or low (25), normal (50), high (75), critical (100).
    #[arg(long, value_name = "N")]
    priority: Option<Priority>,
    /// Cpus to be counted for it; 1 if not given, 0 is legal.
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    /// Memory to be counted for it, as 512M or 10G; not counted if not given.
    #[arg(long, value_name = "SIZE")]
    mem: Option<Bytes>,
    /// End it after this long, as 90s, 15m or 2h: --signal, --grace, KILL.
    #[arg(long, value_name = "DURATION")]
    time: Option<Millis>,
    /// What asks it to end, at its time limit and when it is cancelled: a name as USR1, or a number [default: TERM].
    #[arg(long, value_name = "SIGNAL")]
    signal: Option<Signal>,
    /// How long it has after that before it is killed [default: 10s].
    #[arg(long, value_name = "DURATION")]
    grace: Option<Millis>,
    /// Not before this: 18:00, 'tomorrow 9:00', +2h, or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    begin: Option<Timestamp>,
    /// After these have ended, however: ids as 12 or 12.3, separated by commas.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    after: Vec<JobRef>,
    /// After these have completed; cancelled if one does not.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    after_ok: Vec<JobRef>,
    /// After these have failed; cancelled if one does not.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    after_fail: Vec<JobRef>,
    /// After these have started.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    after_start: Vec<JobRef>,
    /// One of the dependencies is enough.
    #[arg(long)]
    any: bool,
    /// Run it again up to so many times when it fails.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    retries: u32,
    /// Only after these: exit codes, oom, lost, preempted, separated by commas. Without it any exit code but 0, any
    /// signal, and oom.
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    retry_on: Vec<RetryOn>,
    /// The wait before an attempt, doubled each time up to the second value [default: 1s..1m].
    #[arg(long, value_name = "MIN..MAX")]
    backoff: Option<Backoff>,
    /// The same key from you is the same job: a submit whose reply was lost can be repeated.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// A shell command that must succeed before the job is queued.
    #[arg(long, value_name = "CMD")]
    validate: Option<String>,
    /// A shell command that prepares the job before it is queued.
    #[arg(long, value_name = "CMD")]
    compile: Option<String>,
    /// A variable that it has besides yours, or instead of yours; without a value, yours as it is now. May be repeated.
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<OsString>,
    /// Of your variables it has only HOME, LANG, LOGNAME, PATH, SHELL and USER, and those of --env.
    #[arg(long)]
    clean_env: bool,
    /// Run it in this directory instead of the current one.
    #[arg(long, value_name = "DIR")]
    chdir: Option<PathBuf>,
}

fn instant(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text, &jiff::Zoned::now()).map_err(|e| e.to_string())
}

impl Options {
    /// Whether any of them was given.
    pub(crate) fn is_any(&self) -> bool {
        let texts = [&self.name, &self.comment, &self.key, &self.validate, &self.compile];
        let ids = [&self.after, &self.after_ok, &self.after_fail, &self.after_start];
        texts.iter().any(|t| t.is_some())
            || ids.iter().any(|l| !l.is_empty())
            || self.priority.is_some()
            || self.cpus.is_some()
            || self.mem.is_some()
            || self.time.is_some()
            || self.signal.is_some()
            || self.grace.is_some()
            || self.begin.is_some()
            || self.any
            || self.retries > 0
            || !self.retry_on.is_empty()
            || self.backoff.is_some()
            || self.chdir.is_some()
            || !self.env.is_empty()
            || self.clean_env
    }

    /// The job that they and a command describe.
    pub(crate) fn spec(self, command: Vec<OsString>) -> Result<JobSpec, Error> {
        let command = command.into_iter().map(|word| text(word.into_vec(), "the command")).collect::<Result<_, _>>()?;
        let chdir = self.chdir.map(|dir| directory(&dir)).transpose()?;
        let spec = JobSpec {
            command,
            name: self.name,
            comment: self.comment,
            priority: self.priority.unwrap_or_default(),
            cpus: self.cpus,
            mem_bytes: self.mem,
            time_limit_ms: self.time,
            begin: self.begin,
            after: self.after,
            after_ok: self.after_ok,
            after_fail: self.after_fail,
            after_start: self.after_start,
            any: self.any,
            retries: self.retries,
            retry_on: self.retry_on,
            backoff: self.backoff.unwrap_or_default(),
            key: self.key,
            validate: self.validate,
            compile: self.compile,
            chdir,
            signal: self.signal,
            grace_ms: self.grace,
            env: self.env.into_iter().map(variable).collect::<Result<_, _>>()?,
            clean_env: self.clean_env,
            ..JobSpec::default()
        };
        spec.checked()
    }
}

/// `NAME=VALUE`, or `NAME` for the value that it has here.
fn variable(entry: OsString) -> Result<(String, OsText), Error> {
    let bytes = entry.as_bytes();
    let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bytes[..at], Some(bytes[at + 1..].to_vec())),
        None => (bytes, None),
    };
    let name = String::from_utf8(name.to_vec())
        .map_err(|_| Error::invalid(format!("--env {}: the name is not UTF-8", entry.display())))?;
    let value = value.or_else(|| std::env::var_os(&name).filter(|_| !name.is_empty()).map(OsString::into_vec));
    let value = value.ok_or_else(|| {
        let error = Error::invalid(format!("--env {name}: there is no such variable here"));
        error.hint(format!("--env {name}=VALUE gives it one"))
    })?;
    Ok((name, text(value, "--env")?))
}

fn text(bytes: Vec<u8>, what: &str) -> Result<OsText, Error> {
    OsText::new(bytes).map_err(|e| Error::invalid(format!("{what}: {e}")))
}

fn directory(dir: &Path) -> Result<OsText, Error> {
    let wrong = |e: std::io::Error| Error::invalid(format!("--chdir {}: {e}", dir.display()));
    let absolute = std::path::absolute(dir).map_err(wrong)?;
    if !std::fs::metadata(&absolute).map_err(wrong)?.is_dir() {
        return Err(Error::invalid(format!("--chdir {}: it is not a directory", dir.display())));
    }
    text(absolute.into_os_string().into_vec(), "--chdir")
}

/// What a job inherits: directory, mask and environment of this process.
pub(crate) fn context() -> Result<Context, Error> {
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(umask);
    let cwd = working_directory().map_err(|e| Error::invalid(format!("the current directory can not be told: {e}")))?;
    let env = std::env::vars_os()
        .map(|(name, value)| text([name.as_bytes(), b"=", value.as_bytes()].concat(), "the environment"));
    Ok(Context {
        cwd: text(cwd.into_os_string().into_vec(), "the current directory")?,
        umask: umask.bits(),
        env: env.collect::<Result<_, _>>()?,
    })
}

/// The shell's own word for the current directory if it is right, so that a link in it stays one.
fn working_directory() -> std::io::Result<PathBuf> {
    let real = std::env::current_dir()?;
    let Some(said) = std::env::var_os("PWD").map(PathBuf::from).filter(|p| p.is_absolute()) else { return Ok(real) };
    let same = match (std::fs::metadata(&said), std::fs::metadata(&real)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    };
    Ok(if same { said } else { real })
}
