//! What a job asked for that has no column of its own: few jobs have any of it, and no list looks for it.
//! It refuses to hold environments.

use qrm_protocol::amount::Bytes;
use qrm_protocol::job::{Backoff, JobChange, JobSpec, OnConflict, RetryOn, Stdin, Variant};
use qrm_protocol::signal::Signal;
use qrm_protocol::terminal::Size;
use qrm_protocol::text::OsText;
use qrm_protocol::time::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

/// As JSON in the column `options`; fields are only ever added, with a default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// See [`JobSpec::retry_on`].
    #[serde(skip_serializing_if = "is_default")]
    pub retry_on: Vec<RetryOn>,
    /// See [`JobSpec::backoff`].
    #[serde(skip_serializing_if = "is_default")]
    pub backoff: Backoff,
    /// See [`JobSpec::signal`].
    #[serde(skip_serializing_if = "is_default")]
    pub signal: Option<Signal>,
    /// See [`JobSpec::grace_ms`].
    #[serde(skip_serializing_if = "is_default")]
    pub grace_ms: Option<Millis>,
    /// See [`JobSpec::stdin`]; a FIFO has a column.
    #[serde(skip_serializing_if = "is_default")]
    pub stdin: Stdin,
    /// See [`JobSpec::stdout`].
    #[serde(skip_serializing_if = "is_default")]
    pub stdout: Option<OsText>,
    /// See [`JobSpec::stderr`].
    #[serde(skip_serializing_if = "is_default")]
    pub stderr: Option<OsText>,
    /// See [`JobSpec::output`].
    #[serde(skip_serializing_if = "is_default")]
    pub output: Vec<String>,
    /// See [`JobSpec::queue_timeout_ms`].
    #[serde(skip_serializing_if = "is_default")]
    pub queue_timeout_ms: Option<Millis>,
    /// See [`JobSpec::deadline`].
    #[serde(skip_serializing_if = "is_default")]
    pub deadline: Option<Timestamp>,
    /// See [`JobSpec::pids`].
    #[serde(skip_serializing_if = "is_default")]
    pub pids: Option<u32>,
    /// See [`JobSpec::disk_bytes`].
    #[serde(skip_serializing_if = "is_default")]
    pub disk_bytes: Option<Bytes>,
    /// See [`JobSpec::io_weight`].
    #[serde(skip_serializing_if = "is_default")]
    pub io_weight: Option<u32>,
    /// See [`JobSpec::open_files`].
    #[serde(skip_serializing_if = "is_default")]
    pub open_files: Option<u32>,
    /// See [`JobSpec::pty`].
    #[serde(skip_serializing_if = "is_default")]
    pub pty: Option<Size>,
    /// See [`JobSpec::variants`].
    #[serde(rename = "or", skip_serializing_if = "is_default")]
    pub variants: Vec<Variant>,
    /// See [`JobSpec::exclusive`].
    #[serde(skip_serializing_if = "is_default")]
    pub exclusive: bool,
    /// See [`JobSpec::idle`].
    #[serde(skip_serializing_if = "is_default")]
    pub idle: bool,
    /// See [`JobSpec::preemptible`].
    #[serde(skip_serializing_if = "is_default")]
    pub preemptible: bool,
    /// See [`JobSpec::checkpoint_signal`].
    #[serde(skip_serializing_if = "is_default")]
    pub checkpoint_signal: Option<Signal>,
    /// See [`JobSpec::min_run_ms`].
    #[serde(skip_serializing_if = "is_default")]
    pub min_run_ms: Option<Millis>,
    /// See [`JobSpec::on_conflict`].
    #[serde(skip_serializing_if = "is_default")]
    pub on_conflict: Option<OnConflict>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Options {
    /// Those of a job.
    #[must_use]
    pub fn of(spec: &JobSpec) -> Self {
        Self {
            retry_on: spec.retry_on.clone(),
            backoff: spec.backoff,
            signal: spec.signal,
            grace_ms: spec.grace_ms,
            stdin: if spec.stdin == Stdin::Fifo { Stdin::Null } else { spec.stdin.clone() },
            stdout: spec.stdout.clone(),
            stderr: spec.stderr.clone(),
            output: spec.output.clone(),
            queue_timeout_ms: spec.queue_timeout_ms,
            deadline: spec.deadline,
            pids: spec.pids,
            disk_bytes: spec.disk_bytes,
            io_weight: spec.io_weight,
            open_files: spec.open_files,
            pty: spec.pty,
            variants: spec.variants.clone(),
            exclusive: spec.exclusive,
            idle: spec.idle,
            preemptible: spec.preemptible,
            checkpoint_signal: spec.checkpoint_signal,
            min_run_ms: spec.min_run_ms,
            on_conflict: spec.on_conflict,
        }
    }

    /// As they could be asked for again, into what is asked for.
    pub(super) fn into_spec(self, spec: &mut JobSpec) {
        // Each by its name, so that a new one is not forgotten here.
        let Self {
            retry_on,
            backoff,
            signal,
            grace_ms,
            stdin,
            stdout,
            stderr,
            output,
            queue_timeout_ms,
            // It was a moment of that job's time.
            deadline: _,
            pids,
            disk_bytes,
            io_weight,
            open_files,
            pty,
            variants,
            exclusive,
            idle,
            preemptible,
            checkpoint_signal,
            min_run_ms,
            on_conflict,
        } = self;
        spec.retry_on = retry_on;
        spec.backoff = backoff;
        spec.signal = signal;
        spec.grace_ms = grace_ms;
        spec.stdin = stdin;
        spec.stdout = stdout;
        spec.stderr = stderr;
        spec.output = output;
        spec.queue_timeout_ms = queue_timeout_ms;
        spec.pids = pids;
        spec.disk_bytes = disk_bytes;
        spec.io_weight = io_weight;
        spec.open_files = open_files;
        spec.pty = pty;
        spec.variants = variants;
        (spec.exclusive, spec.idle, spec.preemptible) = (exclusive, idle, preemptible);
        spec.checkpoint_signal = checkpoint_signal;
        spec.min_run_ms = min_run_ms;
        spec.on_conflict = on_conflict;
    }

    /// Changed as someone wants.
    pub(super) fn change(&mut self, change: &JobChange) {
        self.signal = change.signal.or(self.signal);
        self.grace_ms = change.grace_ms.or(self.grace_ms);
        self.deadline = change.deadline.or(self.deadline);
        if let Some(timeout) = change.queue_timeout_ms {
            self.queue_timeout_ms = Some(timeout).filter(|timeout| timeout.0 > 0);
        }
        if let Some(limit) = change.open_files {
            self.open_files = Some(limit).filter(|limit| *limit > 0);
        }
        if let Some(limit) = change.io_weight {
            self.io_weight = Some(limit).filter(|limit| *limit > 0);
        }
        self.variants = change.variants.clone().unwrap_or(std::mem::take(&mut self.variants));
        self.exclusive = change.exclusive.unwrap_or(self.exclusive);
        self.idle = change.idle.unwrap_or(self.idle);
        self.preemptible = change.preemptible.unwrap_or(self.preemptible);
        self.checkpoint_signal = change.checkpoint_signal.unwrap_or(self.checkpoint_signal);
        self.on_conflict = change.on_conflict.unwrap_or(self.on_conflict);
        if let Some(time) = change.min_run_ms {
            self.min_run_ms = Some(time).filter(|time| time.0 > 0);
        }
        if let Some(pids) = change.pids {
            self.pids = Some(pids).filter(|pids| *pids > 0);
        }
        if let Some(disk) = change.disk_bytes {
            self.disk_bytes = Some(disk).filter(|disk| disk.0 > 0);
        }
    }

    /// For the column; nothing if there is nothing.
    pub(super) fn to_column(&self) -> Option<String> {
        (!is_default(self)).then(|| serde_json::to_string(self).expect("options have no failing parts"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_deadline_is_asked_for_again() {
        let options = Options {
            retry_on: vec![RetryOn::Oom],
            backoff: Backoff { min: Millis(7), ..Backoff::default() },
            signal: Some("INT".parse().unwrap()),
            grace_ms: Some(Millis(1)),
            stdin: Stdin::File(OsText::new(b"in").unwrap()),
            stdout: Some(OsText::new(b"out").unwrap()),
            stderr: Some(OsText::new(b"err").unwrap()),
            output: vec!["*.csv".to_owned()],
            queue_timeout_ms: Some(Millis(2)),
            deadline: Some(Timestamp(3)),
            pids: Some(4),
            disk_bytes: Some(Bytes(5)),
            io_weight: Some(7),
            open_files: Some(6),
            pty: Some(Size::USUAL),
            variants: vec![Variant { cpus: Some(8), ..Variant::default() }],
            exclusive: true,
            idle: true,
            preemptible: true,
            checkpoint_signal: Some("USR1".parse().unwrap()),
            min_run_ms: Some(Millis(9)),
            on_conflict: Some(OnConflict::Queuing),
        };
        let column = serde_json::to_value(&options).unwrap();
        assert_eq!(column.as_object().unwrap().len(), 22, "each is other than its default: {column}");
        let mut spec = JobSpec::default();
        options.clone().into_spec(&mut spec);
        assert_eq!(Options::of(&spec), Options { deadline: None, ..options });
    }
}
