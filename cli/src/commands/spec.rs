//! The options that submit, run and when share, and what a job inherits from where it is submitted.
//! It refuses to talk to the daemon.

use super::wants::Wants;
use super::wishes::{Wishes, either_list};
use crate::Context;
use crate::complete::words;
use crate::render::clean;
use clap::{Args, ValueHint};
use qrm_protocol::client::Client;
use qrm_protocol::error::Error;
use qrm_protocol::job::{ArraySpec, Backoff, JobSpec, RetryOn, Stdin};
use qrm_protocol::method::{self, CheckReply, JobCheck, SubmitParams};
use qrm_protocol::text::OsText;
use serde::Serialize;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a job may ask for.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    wants: Wants,
    #[command(flatten)]
    wishes: Wishes,
    /// Only after these: exit codes, oom, lost, preempted, separated by commas. Without it any exit code but 0, any
    /// signal, and oom.
    #[arg(long, value_name = "WHAT", value_delimiter = ',', add = words(["oom", "lost", "preempted"]))]
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
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    chdir: Option<PathBuf>,
    /// Append its standard output to this file, from its directory on: %j is its id, %a its task's index, %n its name, %u
    /// its user, %% a percent sign [default: stdout in the job's own directory].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    stdout: Option<OsString>,
    /// The same for its standard error; the same file keeps the order of both.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    stderr: Option<OsString>,
    /// Read its standard input from this file, named in the same way [default: /dev/null].
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    stdin: Option<OsString>,
    /// Give it a terminal, of the size of yours, instead of its three streams: `qrm attach` looks at it and types on it, and
    /// what it shows is its output.
    #[arg(long, conflicts_with_all = ["stdin", "stdout", "stderr"])]
    pty: bool,
    /// What it leaves, as a pattern below its directory: results/*.csv, or **/*.pt. What matches at its end is listed with
    /// size and SHA-256 in meta.json; `qrm results` shows it. May be repeated.
    #[arg(long, value_name = "PATTERN")]
    output: Vec<String>,
}

impl Options {
    /// Whether any of them was given.
    pub(crate) fn is_any(&self) -> bool {
        *self != Self::default()
    }

    /// These, and of the others what these do not say; variables are those of both.
    pub(crate) fn over(self, others: Self) -> Self {
        Self {
            wants: self.wants.over(others.wants),
            wishes: self.wishes.over(others.wishes),
            retry_on: either_list(self.retry_on, others.retry_on),
            backoff: self.backoff.or(others.backoff),
            key: self.key.or(others.key),
            validate: self.validate.or(others.validate),
            compile: self.compile.or(others.compile),
            env: [others.env, self.env].concat(),
            clean_env: self.clean_env || others.clean_env,
            chdir: self.chdir.or(others.chdir),
            stdout: self.stdout.or(others.stdout),
            stderr: self.stderr.or(others.stderr),
            stdin: self.stdin.or(others.stdin),
            pty: self.pty || others.pty,
            output: either_list(self.output, others.output),
        }
    }

    /// The job that they and a command describe, and an array for its tasks.
    pub(crate) fn spec(self, command: Vec<OsString>, array: Option<ArraySpec>) -> Result<JobSpec, Error> {
        let command = command.into_iter().map(|word| text(word.into_vec(), "the command")).collect::<Result<_, _>>()?;
        let chdir = self.chdir.map(|dir| directory(&dir)).transpose()?;
        let wants = self.wants;
        let spec = JobSpec {
            command,
            array,
            name: wants.name,
            comment: wants.comment,
            priority: wants.priority,
            cpus: wants.cpus,
            mem_bytes: wants.mem,
            pids: wants.pids,
            disk_bytes: wants.disk,
            open_files: wants.open_files,
            io_weight: wants.io_weight,
            time_limit_ms: wants.time,
            begin: wants.begin,
            retries: wants.retries.unwrap_or_default(),
            retry_on: self.retry_on,
            backoff: self.backoff.unwrap_or_default(),
            key: self.key,
            validate: self.validate,
            compile: self.compile,
            chdir,
            signal: wants.signal,
            grace_ms: wants.grace,
            env: self.env.into_iter().map(variable).collect::<Result<_, _>>()?,
            clean_env: self.clean_env,
            labels: wants.label.into_iter().collect(),
            queue_timeout_ms: wants.queue_timeout,
            deadline: wants.deadline,
            stdin: self.stdin.map(|path| file(path, "--stdin")).transpose()?.map_or(Stdin::Null, Stdin::File),
            stdout: self.stdout.map(|path| file(path, "--stdout")).transpose()?,
            stderr: self.stderr.map(|path| file(path, "--stderr")).transpose()?,
            output: self.output,
            pty: self.pty.then(crate::terminal::own_size),
            ..JobSpec::default()
        };
        self.wishes.on(spec)?.checked()
    }
}

fn file(path: OsString, option: &str) -> Result<OsText, Error> {
    text(path.into_vec(), option)
}

/// Says what would become of a job, for --dry-run.
pub(crate) fn check(context: &Context, client: &mut Client, job: JobSpec) -> Result<(), Error> {
    let foretold = Foretold::of(client, job)?;
    if context.out.json {
        context.out.document(&foretold.reply);
    } else {
        context.out.print(&foretold.line());
    }
    Ok(())
}

/// What would become of a job of several.
#[derive(Serialize)]
pub(crate) struct Foretold {
    name: String,
    #[serde(flatten)]
    pub reply: CheckReply,
}

impl Foretold {
    /// Asks the daemon.
    pub(crate) fn of(client: &mut Client, job: JobSpec) -> Result<Self, Error> {
        let name = job.display_name();
        let reply = client.call::<JobCheck>(&SubmitParams { context: self::context()?, job })?;
        Ok(Self { name, reply })
    }

    /// Says it of all of them.
    pub(crate) fn print(context: &Context, all: &[Self]) {
        if context.out.json {
            context.out.document(&all);
        } else {
            context.out.print(&all.iter().map(Self::line).collect::<String>());
        }
    }

    fn line(&self) -> String {
        foretold(&self.name, &self.reply)
    }
}

/// What would become of a job, as a line.
fn foretold(name: &str, reply: &CheckReply) -> String {
    let what = match (&reply.existing, &reply.waiting_reason) {
        (Some(id), _) => format!("is known by its key: it is job {id}"),
        (None, Some(why)) => match why.strip_prefix("cancelled: ") {
            Some(why) => format!("would be cancelled: {}", clean(why)),
            None => format!("would wait: {}", clean(why)),
        },
        (None, None) => "would start at once".to_owned(),
    };
    format!("{} {what}\n", clean(name))
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

pub(crate) fn text(bytes: Vec<u8>, what: &str) -> Result<OsText, Error> {
    OsText::new(bytes).map_err(|e| Error::invalid(format!("{what}: {e}")))
}

/// A directory that is there, as an absolute path.
pub(crate) fn directory(dir: &Path) -> Result<OsText, Error> {
    let wrong = |e: std::io::Error| Error::invalid(format!("--chdir {}: {e}", dir.display()));
    let absolute = std::path::absolute(dir).map_err(wrong)?;
    if !std::fs::metadata(&absolute).map_err(wrong)?.is_dir() {
        return Err(Error::invalid(format!("--chdir {}: it is not a directory", dir.display())));
    }
    text(absolute.into_os_string().into_vec(), "--chdir")
}

/// What a job inherits: directory, mask and environment of this process.
pub(crate) fn context() -> Result<method::Context, Error> {
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(umask);
    let cwd = working_directory().map_err(|e| Error::invalid(format!("the current directory can not be told: {e}")))?;
    let env = std::env::vars_os()
        .map(|(name, value)| text([name.as_bytes(), b"=", value.as_bytes()].concat(), "the environment"));
    Ok(method::Context {
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
