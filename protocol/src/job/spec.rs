//! A job as it is asked for: [`JobSpec`], its JSON with the texts that people type, and what can be meant.
//! It refuses to know the machine and the jobs that there are.

use super::files::unknown_expansion;
use super::{ArraySpec, Backoff, DependsOn, MAX_VARIANTS, OnConflict, RetryOn, Stdin, Variant, is_default};
use crate::amount::{Bytes, Priority};
use crate::error::Error;
use crate::queue::QueueName;
use crate::signal::Signal;
use crate::terminal::Size;
use crate::text::OsText;
use crate::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The longest command line, all words with their ends, in bytes.
pub const MAX_COMMAND_BYTES: usize = 128 * 1024;
/// The longest environment, all entries with their ends, in bytes: what the kernel takes on its default stack limit.
pub const MAX_ENVIRONMENT_BYTES: usize = 2 * 1024 * 1024;
/// The most dependencies that one job may name.
pub const MAX_DEPENDENCIES: usize = 1_000;
/// The most retries that one job may ask for.
pub const MAX_RETRIES: u32 = 1_000;
/// The most labels of one job.
pub const MAX_LABELS: usize = 64;
/// The most patterns of outputs of one job.
pub const MAX_OUTPUTS: usize = 64;
/// The longest script, in bytes: so that it stays far below the bound of a frame, however it is written in JSON.
pub const MAX_SCRIPT_BYTES: usize = 512 * 1024;
/// The longest path that the kernel takes, in bytes.
pub const MAX_PATH_BYTES: usize = 4_096;
/// The longest name, comment or key, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// What someone asks to be run. Keys that are absent are as they are for a job that asks for nothing.
///
/// Made by [`JobSpec::checked`] or from JSON, and valid from then on.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "RawSpec")]
pub struct JobSpec {
    /// The program and its arguments; at least one word.
    pub command: Vec<OsText>,
    /// For people; the program's base name if absent.
    #[serde(skip_serializing_if = "is_default")]
    pub name: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "is_default")]
    pub comment: Option<String>,
    /// The line that it waits in; `None` is `default`.
    #[serde(skip_serializing_if = "is_default")]
    pub queue: Option<QueueName>,
    /// 0 to 100; `None` is what its queue says, else 50.
    #[serde(skip_serializing_if = "is_default")]
    pub priority: Option<Priority>,
    /// Cpus; `None` is what its queue says, else 1.
    #[serde(skip_serializing_if = "is_default")]
    pub cpus: Option<u32>,
    /// Memory; 0 is neither counted nor limited, `None` is what its queue says, else 0.
    #[serde(skip_serializing_if = "is_default")]
    pub mem_bytes: Option<Bytes>,
    /// What it would take instead, in order of preference.
    #[serde(rename = "or", skip_serializing_if = "is_default")]
    pub variants: Vec<Variant>,
    /// It wants the machine for itself: nothing else runs while it does.
    #[serde(skip_serializing_if = "is_default")]
    pub exclusive: bool,
    /// It only fills gaps, and makes room for every other job.
    #[serde(skip_serializing_if = "is_default")]
    pub idle: bool,
    /// It may have to make room for jobs of a higher class.
    #[serde(skip_serializing_if = "is_default")]
    pub preemptible: bool,
    /// What tells it to save its work when it has to make room; `None` is what asks it to end.
    #[serde(skip_serializing_if = "is_default")]
    pub checkpoint_signal: Option<Signal>,
    /// It has not to make room before it has run for so long.
    #[serde(skip_serializing_if = "is_default")]
    pub min_run_ms: Option<Millis>,
    /// What is done when it can not have at once what it asks for; `None` is what its queue says.
    #[serde(skip_serializing_if = "is_default")]
    pub on_conflict: Option<OnConflict>,
    /// Its share of the disks where several want them, 1 to 10000, as 100 is for others; `None`, as 0, is 100.
    #[serde(skip_serializing_if = "is_default")]
    pub io_weight: Option<u32>,
    /// The most files that each of its processes may have open; `None`, as 0, is what its submitter has.
    #[serde(skip_serializing_if = "is_default")]
    pub open_files: Option<u32>,
    /// The most processes and threads at once; `None`, as 0, is what the configuration says.
    #[serde(skip_serializing_if = "is_default")]
    pub pids: Option<u32>,
    /// Room for files in a directory of its own that goes when it is over; `None`, as 0, is no such directory.
    #[serde(skip_serializing_if = "is_default")]
    pub disk_bytes: Option<Bytes>,
    /// How long the command may run; `None`, as 0, is for ever.
    #[serde(skip_serializing_if = "is_default")]
    pub time_limit_ms: Option<Millis>,
    /// Not before this.
    #[serde(skip_serializing_if = "is_default")]
    pub begin: Option<Timestamp>,
    /// Many tasks instead of one.
    #[serde(skip_serializing_if = "is_default")]
    pub array: Option<ArraySpec>,
    /// After these have ended, however.
    #[serde(skip_serializing_if = "is_default")]
    pub after: Vec<DependsOn>,
    /// After these have completed.
    #[serde(skip_serializing_if = "is_default")]
    pub after_ok: Vec<DependsOn>,
    /// After these have ended in any other way.
    #[serde(skip_serializing_if = "is_default")]
    pub after_fail: Vec<DependsOn>,
    /// After these have started.
    #[serde(skip_serializing_if = "is_default")]
    pub after_start: Vec<DependsOn>,
    /// One of the dependencies is enough.
    #[serde(skip_serializing_if = "is_default")]
    pub any: bool,
    /// How many further attempts.
    #[serde(skip_serializing_if = "is_default")]
    pub retries: u32,
    /// After what; empty is any exit code but 0, any signal, and out of memory.
    #[serde(skip_serializing_if = "is_default")]
    pub retry_on: Vec<RetryOn>,
    /// The wait between attempts.
    #[serde(skip_serializing_if = "is_default")]
    pub backoff: Backoff,
    /// The same key from the same user is the same job.
    #[serde(skip_serializing_if = "is_default")]
    pub key: Option<String>,
    /// Wait until released.
    #[serde(skip_serializing_if = "is_default")]
    pub hold: bool,
    /// A shell command that must succeed before the job is queued.
    #[serde(skip_serializing_if = "is_default")]
    pub validate: Option<String>,
    /// A shell command that prepares the job before it is queued.
    #[serde(skip_serializing_if = "is_default")]
    pub compile: Option<String>,
    /// Where to run, if not where it was submitted.
    #[serde(skip_serializing_if = "is_default")]
    pub chdir: Option<OsText>,
    /// What asks it to end, at its time limit and when it is cancelled; `None` is TERM.
    #[serde(skip_serializing_if = "is_default")]
    pub signal: Option<Signal>,
    /// How long it has after that before it is killed; `None` is ten seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub grace_ms: Option<Millis>,
    /// Variables that it has besides those of where it was submitted, or instead of them.
    #[serde(skip_serializing_if = "is_default")]
    pub env: BTreeMap<String, OsText>,
    /// Of those of where it was submitted it has only HOME, LANG, LOGNAME, PATH, SHELL and USER.
    #[serde(skip_serializing_if = "is_default")]
    pub clean_env: bool,
    /// Where standard input comes from.
    #[serde(skip_serializing_if = "is_default")]
    pub stdin: Stdin,
    /// Where standard output is appended to, as an [`Expansion`](super::Expansion) reads it; `None` is `stdout` in the
    /// job's directory.
    #[serde(skip_serializing_if = "is_default")]
    pub stdout: Option<OsText>,
    /// The same of standard error.
    #[serde(skip_serializing_if = "is_default")]
    pub stderr: Option<OsText>,
    /// Words for people and filters, by name; an empty one is none.
    #[serde(skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// What it leaves, as patterns of paths below the directory where it runs: what matches them at its end is listed,
    /// with size and hash, in `meta.json` in its directory.
    #[serde(skip_serializing_if = "is_default")]
    pub output: Vec<String>,
    /// It ends in `timeout` if it has not started so long after it was accepted; `None`, as 0, is never.
    #[serde(skip_serializing_if = "is_default")]
    pub queue_timeout_ms: Option<Millis>,
    /// It is over by then: one that waits fails, one that runs is ended.
    #[serde(skip_serializing_if = "is_default")]
    pub deadline: Option<Timestamp>,
    /// The text of a script. What is run is a copy of it in the job's directory, instead of the command's first word,
    /// so that what happens to its file after the submit changes nothing.
    #[serde(skip_serializing_if = "is_default")]
    pub script: Option<String>,
    /// It has a terminal, which is all three of its streams; how large it is at first. What it shows is its standard
    /// output.
    #[serde(skip_serializing_if = "is_default")]
    pub pty: Option<Size>,
}

/// The longest time between asking a job to end and killing it.
pub const MAX_GRACE: Millis = Millis(24 * 60 * 60 * 1000);

/// That time for those that do not say.
pub const DEFAULT_GRACE: Millis = Millis(10_000);

/// The variables that are left of a clean environment.
pub const CLEAN_ENV: [&str; 6] = ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "USER"];

/// The variables by which a job knows itself; nobody else sets them.
pub const OWN_ENV: [&str; 7] = [
    "QRM_JOB_ID",
    "QRM_ATTEMPT",
    "QRM_ARRAY_INDEX",
    "QRM_JOB_DIR",
    "QRM_SCRATCH_DIR",
    "QRM_CHECKPOINT_DIR",
    "QRM_SOCKET",
];

/// The JSON of a job: the keys of a [`JobSpec`], and the options' names with the texts that people type.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a job, which is an object with a command")]
struct RawSpec {
    command: Vec<OsText>,
    name: Option<String>,
    comment: Option<String>,
    queue: Option<QueueName>,
    priority: Option<PriorityGiven>,
    cpus: Option<u32>,
    /// Memory as people write it, as 8G, instead of `mem_bytes`.
    mem: Option<String>,
    mem_bytes: Option<u64>,
    #[serde(default, rename = "or")]
    variants: Vec<Variant>,
    #[serde(default)]
    exclusive: bool,
    #[serde(default)]
    idle: bool,
    #[serde(default)]
    preemptible: bool,
    checkpoint_signal: Option<Signal>,
    /// A time as people write it, as 10m, instead of `min_run_ms`.
    min_run: Option<String>,
    min_run_ms: Option<u64>,
    on_conflict: Option<OnConflict>,
    io_weight: Option<u32>,
    open_files: Option<u32>,
    pids: Option<u32>,
    /// Room for files as people write it, as 20G, instead of `disk_bytes`.
    disk: Option<String>,
    disk_bytes: Option<u64>,
    /// A time limit as people write it, as 90m, instead of `time_limit_ms`.
    time: Option<String>,
    time_limit_ms: Option<u64>,
    begin: Option<Timestamp>,
    array: Option<ArraySpec>,
    #[serde(default)]
    after: Vec<DependsOn>,
    #[serde(default)]
    after_ok: Vec<DependsOn>,
    #[serde(default)]
    after_fail: Vec<DependsOn>,
    #[serde(default)]
    after_start: Vec<DependsOn>,
    #[serde(default)]
    any: bool,
    #[serde(default)]
    retries: u32,
    #[serde(default)]
    retry_on: Vec<RetryOn>,
    #[serde(default)]
    backoff: Backoff,
    key: Option<String>,
    #[serde(default)]
    hold: bool,
    validate: Option<String>,
    compile: Option<String>,
    chdir: Option<OsText>,
    signal: Option<Signal>,
    /// A grace as people write it, as 30s, instead of `grace_ms`.
    grace: Option<String>,
    grace_ms: Option<u64>,
    #[serde(default)]
    env: BTreeMap<String, OsText>,
    #[serde(default)]
    clean_env: bool,
    #[serde(default)]
    stdin: Stdin,
    stdout: Option<OsText>,
    stderr: Option<OsText>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    output: Vec<String>,
    /// A queue timeout as people write it, as 12h, instead of `queue_timeout_ms`.
    queue_timeout: Option<String>,
    queue_timeout_ms: Option<u64>,
    deadline: Option<Timestamp>,
    script: Option<String>,
    #[serde(default)]
    pty: PtyGiven,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "true, false, or the size of a terminal as 24x80")]
pub(crate) enum PtyGiven {
    Whether(bool),
    Size(Size),
}

impl Default for PtyGiven {
    fn default() -> Self {
        Self::Whether(false)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum PriorityGiven {
    Number(u64),
    Word(String),
}

/// The names that a job in JSON may use, for "did you mean".
pub const SPEC_KEYS: &[&str] = &[
    "command",
    "name",
    "comment",
    "queue",
    "priority",
    "cpus",
    "mem",
    "mem_bytes",
    "or",
    "exclusive",
    "idle",
    "preemptible",
    "checkpoint_signal",
    "min_run",
    "min_run_ms",
    "on_conflict",
    "io_weight",
    "open_files",
    "pids",
    "disk",
    "disk_bytes",
    "time",
    "time_limit_ms",
    "begin",
    "array",
    "after",
    "after_ok",
    "after_fail",
    "after_start",
    "any",
    "retries",
    "retry_on",
    "backoff",
    "key",
    "hold",
    "validate",
    "compile",
    "chdir",
    "signal",
    "grace",
    "grace_ms",
    "env",
    "clean_env",
    "stdin",
    "stdout",
    "stderr",
    "labels",
    "output",
    "queue_timeout",
    "queue_timeout_ms",
    "deadline",
    "script",
    "pty",
];

fn said_twice(a: &str, b: &str) -> String {
    format!("'{a}' and '{b}' say the same thing; give one of them")
}

/// A size that is given as people write it, or as a number under `NAME_bytes`.
pub(super) fn bytes(name: &str, text: Option<String>, bytes: Option<u64>) -> Result<Option<Bytes>, String> {
    match (text, bytes) {
        (Some(_), Some(_)) => Err(said_twice(name, &format!("{name}_bytes"))),
        (Some(text), None) => text.parse().map(Some).map_err(|e| format!("{name}: {e}")),
        (None, bytes) => Ok(bytes.map(Bytes)),
    }
}

/// A span of time that is given as people write it, or as a number under `NAME_ms`.
pub(super) fn millis(name: &str, text: Option<String>, ms: Option<u64>) -> Result<Option<Millis>, String> {
    match (text, ms) {
        (Some(_), Some(_)) => {
            Err(said_twice(name, &format!("{name}{}", if name == "time" { "_limit_ms" } else { "_ms" })))
        }
        (Some(text), None) => text.parse().map(Some).map_err(|e: crate::time::BadTime| format!("{name}: {e}")),
        (None, ms) => Ok(ms.map(Millis)),
    }
}

impl TryFrom<RawSpec> for JobSpec {
    type Error = String;

    fn try_from(raw: RawSpec) -> Result<Self, String> {
        let mem_bytes = bytes("mem", raw.mem, raw.mem_bytes)?;
        let disk_bytes = bytes("disk", raw.disk, raw.disk_bytes)?;
        let time_limit_ms = millis("time", raw.time, raw.time_limit_ms)?;
        let grace_ms = millis("grace", raw.grace, raw.grace_ms)?;
        let queue_timeout_ms = millis("queue_timeout", raw.queue_timeout, raw.queue_timeout_ms)?;
        let min_run_ms = millis("min_run", raw.min_run, raw.min_run_ms)?;
        let priority = raw.priority.map(|given| match given {
            PriorityGiven::Number(n) => Priority::try_from(n),
            PriorityGiven::Word(word) => word.parse(),
        });
        let spec = Self {
            command: raw.command,
            name: raw.name,
            comment: raw.comment,
            queue: raw.queue,
            priority: priority.transpose().map_err(|e| e.to_string())?,
            cpus: raw.cpus,
            mem_bytes,
            variants: raw.variants,
            exclusive: raw.exclusive,
            idle: raw.idle,
            preemptible: raw.preemptible,
            checkpoint_signal: raw.checkpoint_signal,
            min_run_ms,
            on_conflict: raw.on_conflict,
            io_weight: raw.io_weight,
            open_files: raw.open_files,
            pids: raw.pids,
            disk_bytes,
            time_limit_ms,
            begin: raw.begin,
            array: raw.array,
            after: raw.after,
            after_ok: raw.after_ok,
            after_fail: raw.after_fail,
            after_start: raw.after_start,
            any: raw.any,
            retries: raw.retries,
            retry_on: raw.retry_on,
            backoff: raw.backoff,
            key: raw.key,
            hold: raw.hold,
            validate: raw.validate,
            compile: raw.compile,
            chdir: raw.chdir,
            signal: raw.signal,
            grace_ms,
            env: raw.env,
            clean_env: raw.clean_env,
            stdin: raw.stdin,
            stdout: raw.stdout,
            stderr: raw.stderr,
            labels: raw.labels,
            output: raw.output,
            queue_timeout_ms,
            deadline: raw.deadline,
            script: raw.script,
            pty: match raw.pty {
                PtyGiven::Whether(whether) => whether.then_some(Size::USUAL),
                PtyGiven::Size(size) => Some(size),
            },
        };
        spec.checked().map_err(|e| e.message)
    }
}

impl JobSpec {
    /// The name that people see.
    #[must_use]
    pub fn display_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let program = self.command.first().map(OsText::lossy).unwrap_or_default();
            program.rsplit('/').next().unwrap_or_default().chars().take(MAX_NAME_BYTES / 4).collect()
        })
    }

    /// The job, if everything in it can be meant.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` that names the part, or `RESOURCE_EXHAUSTED` that names the bound.
    pub fn checked(mut self) -> Result<Self, Error> {
        // Said twice is said once, which also bounds the list.
        self.retry_on.sort_unstable();
        self.retry_on.dedup();
        // What takes away a value from defaults, or in a change, leaves none.
        self.comment = self.comment.filter(|comment| !comment.is_empty());
        self.min_run_ms = self.min_run_ms.filter(|time| time.0 > 0);
        self.io_weight = self.io_weight.filter(|limit| *limit > 0);
        self.open_files = self.open_files.filter(|limit| *limit > 0);
        self.pids = self.pids.filter(|pids| *pids > 0);
        self.disk_bytes = self.disk_bytes.filter(|disk| disk.0 > 0);
        self.time_limit_ms = self.time_limit_ms.filter(|limit| limit.0 > 0);
        self.queue_timeout_ms = self.queue_timeout_ms.filter(|timeout| timeout.0 > 0);
        self.labels.retain(|_, value| !value.is_empty());
        if self.command.first().is_none_or(|program| program.as_bytes().is_empty()) {
            return Err(
                Error::invalid("a job needs a command").hint("write it after --, as in: qrm submit -- sleep 10")
            );
        }
        bound("the command line", self.command.iter().map(|w| w.as_bytes().len() + 1).sum(), MAX_COMMAND_BYTES)?;
        for (what, text) in [("the validate command", &self.validate), ("the compile command", &self.compile)] {
            let Some(text) = text else { continue };
            bound(what, text.len(), MAX_COMMAND_BYTES)?;
            if text.is_empty() || text.contains('\0') {
                return Err(Error::invalid(format!("{what} is empty or holds a NUL byte")));
            }
        }
        for (what, text) in [("name", &self.name), ("comment", &self.comment), ("key", &self.key)] {
            let Some(text) = text else { continue };
            bound(&format!("the {what}"), text.len(), MAX_NAME_BYTES)?;
            if text.is_empty() || text.chars().any(char::is_control) {
                return Err(Error::invalid(format!("the {what} is empty or holds control characters")));
            }
        }
        let dependencies = self.after.len() + self.after_ok.len() + self.after_fail.len() + self.after_start.len();
        bound("the list of dependencies", dependencies, MAX_DEPENDENCIES)?;
        bound("the number of retries", self.retries as usize, MAX_RETRIES as usize)?;
        if self.any && dependencies == 0 {
            return Err(Error::invalid("--any without a dependency")
                .hint("add --after, --after-ok, --after-fail or --after-start"));
        }
        if self.retries == 0 && !self.retry_on.is_empty() {
            return Err(Error::invalid("--retry-on without --retries").hint("add --retries N"));
        }
        self.check_limits()?;
        self.check_wishes()?;
        if self.chdir.as_ref().is_some_and(|dir| !dir.as_bytes().starts_with(b"/")) {
            return Err(Error::invalid("chdir is not an absolute path"));
        }
        bound("the path of chdir", self.chdir.as_ref().map_or(0, |dir| dir.as_bytes().len()), MAX_PATH_BYTES)?;
        if self.grace_ms.is_some_and(|grace| grace > MAX_GRACE) {
            return Err(Error::invalid(format!("a grace is at most {MAX_GRACE}")));
        }
        if let Some(name) = self.env.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            return Err(Error::invalid(format!("'{}' can not be the name of a variable", name.replace('\0', "\\0"))));
        }
        if let Some(name) = self.env.keys().find(|name| OWN_ENV.contains(&name.as_str())) {
            return Err(Error::invalid(format!("{name} can not be set: it is what qrm tells a job of itself")));
        }
        let times = [
            ("a time limit", self.time_limit_ms),
            ("a queue timeout", self.queue_timeout_ms),
            ("a time to run before making room", self.min_run_ms),
        ];
        for (what, limit) in times {
            if limit.is_some_and(|limit| limit > crate::time::MAX_DURATION) {
                return Err(Error::invalid(format!("{what} is at most a hundred years")));
            }
        }
        self.check_files()?;
        self.check_labels()?;
        if self.array.is_some() && self.stdin == Stdin::Fifo {
            return Err(Error::invalid("the tasks of an array can not share one standard input"));
        }
        Ok(self)
    }

    fn check_files(&self) -> Result<(), Error> {
        if self.pty.is_some() && (self.stdin != Stdin::Null || self.stdout.is_some() || self.stderr.is_some()) {
            return Err(Error::invalid("a job with a terminal has it for all of its streams")
                .hint("leave out stdin, stdout and stderr, or the terminal (pty)"));
        }
        let stdin = if let Stdin::File(path) = &self.stdin { Some(path) } else { None };
        for (what, path) in [("stdin", stdin), ("stdout", self.stdout.as_ref()), ("stderr", self.stderr.as_ref())] {
            let Some(path) = path else { continue };
            bound(&format!("the path of {what}"), path.as_bytes().len(), MAX_PATH_BYTES)?;
            if path.as_bytes().is_empty() {
                return Err(Error::invalid(format!("the path of {what} is empty")));
            }
            if let Some(unknown) = unknown_expansion(path) {
                return Err(Error::invalid(format!("{what} '{}': {unknown} stands for nothing", path.lossy()))
                    .hint("%j is the job's id, %a the task's index, %n the name, %u the user, %% a percent sign"));
            }
        }
        bound("the number of output patterns", self.output.len(), MAX_OUTPUTS)?;
        for pattern in &self.output {
            bound("an output pattern", pattern.len(), MAX_PATH_BYTES)?;
            if pattern.is_empty() || pattern.contains('\0') {
                return Err(Error::invalid("an output pattern is empty or holds a NUL byte"));
            }
            if pattern.starts_with('/') || pattern.split('/').any(|part| part == "..") {
                return Err(Error::invalid(format!(
                    "output '{pattern}' leads out of the directory where the job runs"
                ))
                .hint("write a path below it, as in results/*.csv"));
            }
            glob::Pattern::new(pattern).map_err(|e| Error::invalid(format!("output '{pattern}': {e}")))?;
        }
        bound("the script", self.script.as_ref().map_or(0, String::len), MAX_SCRIPT_BYTES)?;
        match &self.script {
            Some(script) if script.is_empty() || script.contains('\0') => {
                Err(Error::invalid("the script is empty or holds a NUL byte"))
            }
            _ => Ok(()),
        }
    }

    fn check_labels(&self) -> Result<(), Error> {
        bound("the number of labels", self.labels.len(), MAX_LABELS)?;
        for (name, value) in &self.labels {
            bound("the name of a label", name.len(), MAX_NAME_BYTES)?;
            bound("the value of a label", value.len(), MAX_NAME_BYTES)?;
            let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
            if name.is_empty() || !name.chars().all(plain) {
                return Err(Error::invalid(format!("'{}' can not be the name of a label", name.escape_default()))
                    .hint("it has letters, digits, _, -, . and /"));
            }
            if value.chars().any(char::is_control) {
                return Err(Error::invalid(format!("the label {name} holds control characters")));
            }
        }
        Ok(())
    }
}

impl JobSpec {
    /// What it wants beside others.
    fn check_wishes(&self) -> Result<(), Error> {
        bound("the list of alternatives", self.variants.len(), MAX_VARIANTS)?;
        if self.variants.contains(&Variant::default()) {
            return Err(Error::invalid("an alternative that is no other").hint("write --or '--cpus 1', for example"));
        }
        for variant in &self.variants {
            let like = Self {
                command: self.command.clone(),
                cpus: variant.cpus,
                mem_bytes: variant.mem_bytes,
                disk_bytes: variant.disk_bytes,
                time_limit_ms: variant.time_limit_ms,
                ..Self::default()
            };
            like.checked().map_err(|e| Error { message: format!("an alternative: {}", e.message), ..e })?;
        }
        let each = [&self.after, &self.after_ok, &self.after_fail, &self.after_start].into_iter().flatten();
        let mut each = each.filter(|on| matches!(on, DependsOn::Each(_)));
        if let (Some(on), None) = (each.next(), self.array) {
            let error = Error::invalid(format!("{on} means the task with the same index, and this job is no array"));
            return Err(error.hint(format!("write {} for all of it, or add --array", on.job())));
        }
        if self.checkpoint_signal.is_some_and(|signal| signal.number() == 9) {
            return Err(Error::invalid("KILL can not be heard, and so is no signal to save work"));
        }
        // Who only fills gaps makes room anyhow.
        if !self.preemptible && !self.idle && self.min_run_ms.is_some() && self.queue.is_none() {
            return Err(
                Error::invalid("--min-run without --preemptible").hint("add --preemptible, or a --queue that is")
            );
        }
        Ok(())
    }
}

fn bound(what: &str, is: usize, most: usize) -> Result<(), Error> {
    let message = format!("{what} is {is} long; the bound is {most}");
    if is > most { Err(Error::new(crate::error::Code::ResourceExhausted, message)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_takes_options_as_people_write_them() {
        let spec: JobSpec = serde_json::from_str(
            r#"{"command":["true"],"mem":"1G","time":"90s","priority":"high","after_ok":["3.1"]}"#,
        )
        .unwrap();
        assert_eq!(spec.mem_bytes, Some(Bytes(1 << 30)));
        assert_eq!(spec.time_limit_ms, Some(Millis(90_000)));
        assert_eq!(spec.priority.map(Priority::get), Some(75));
        let wire = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<JobSpec>(&wire).unwrap(), spec);
    }

    #[test]
    fn every_name_that_is_read_is_known_by_name() {
        let error = serde_json::from_str::<JobSpec>(r#"{"":0}"#).unwrap_err().to_string();
        let read: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        let sorted = |mut names: Vec<&'static str>| {
            names.sort_unstable();
            names.join(" ")
        };
        let mut read = read;
        read.sort_unstable();
        assert_eq!(read.join(" "), sorted(SPEC_KEYS.to_vec()), "{error}");
    }

    #[test]
    fn nothing_said_aloud_is_nothing() {
        let aloud =
            r#"{"command":["true"],"time":"0","queue_timeout":"0s","min_run":"0","comment":"","labels":{"a":""}}"#;
        let spec: JobSpec = serde_json::from_str(aloud).unwrap();
        assert_eq!(spec, serde_json::from_str(r#"{"command":["true"]}"#).unwrap());
    }

    #[test]
    fn a_job_that_can_not_be_meant_is_refused_by_name() {
        for (json, says) in [
            (r#"{"command":[]}"#, "needs a command"),
            (r#"{"command":["true"],"tiem":"90s"}"#, "unknown field `tiem`"),
            (r#"{"command":["true"],"time":"90s","time_limit_ms":1}"#, "say the same thing"),
            (r#"{"command":["true"],"time_limit_ms":9223372036854775807}"#, "at most a hundred years"),
            (r#"{"command":["true"],"name":"a\u001b[31m"}"#, "control characters"),
            (r#"{"command":["true"],"any":true}"#, "without a dependency"),
            (r#"{"command":["true"],"priority":101}"#, "is not a priority"),
            (r#"{"command":["a\u0000b"]}"#, "NUL"),
            (r#"{"command":["true"],"cpus":-1}"#, "expected u32"),
        ] {
            let error = serde_json::from_str::<JobSpec>(json).unwrap_err().to_string();
            assert!(error.contains(says), "{json}: {error}");
        }
    }
}
