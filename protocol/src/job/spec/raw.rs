//! A job in JSON: the keys of a [`JobSpec`], and the options' names with the texts that people type.
//! It refuses to know what can be meant.

use super::JobSpec;
use crate::amount::{Bytes, Priority};
use crate::job::{ArraySpec, Backoff, DependsOn, OnConflict, RetryOn, Stdin, Variant};
use crate::queue::QueueName;
use crate::signal::Signal;
use crate::terminal::Size;
use crate::text::OsText;
use crate::time::{Millis, Timestamp};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The JSON of a job: the keys of a [`JobSpec`], and the options' names with the texts that people type.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "a job, which is an object with a command")]
pub(super) struct RawSpec {
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
pub(in crate::job) fn bytes(name: &str, text: Option<String>, bytes: Option<u64>) -> Result<Option<Bytes>, String> {
    match (text, bytes) {
        (Some(_), Some(_)) => Err(said_twice(name, &format!("{name}_bytes"))),
        (Some(text), None) => text.parse().map(Some).map_err(|e| format!("{name}: {e}")),
        (None, bytes) => Ok(bytes.map(Bytes)),
    }
}

/// A span of time that is given as people write it, or as a number under `NAME_ms`.
pub(in crate::job) fn millis(name: &str, text: Option<String>, ms: Option<u64>) -> Result<Option<Millis>, String> {
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
}
