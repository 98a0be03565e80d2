//! What a job asked for that has no column of its own: few jobs have any of it, and no list looks for it.
//! It refuses to hold environments.

use qrm_protocol::job::{Backoff, JobChange, JobSpec, RetryOn, Stdin};
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
    /// See [`JobSpec::pty`].
    #[serde(skip_serializing_if = "is_default")]
    pub pty: Option<Size>,
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
            pty: spec.pty,
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
            pty,
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
        spec.pty = pty;
    }

    /// Changed as someone wants.
    pub(super) fn change(&mut self, change: &JobChange) {
        self.signal = change.signal.or(self.signal);
        self.grace_ms = change.grace_ms.or(self.grace_ms);
        self.deadline = change.deadline.or(self.deadline);
        if let Some(timeout) = change.queue_timeout_ms {
            self.queue_timeout_ms = Some(timeout).filter(|timeout| timeout.0 > 0);
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
            pty: Some(Size::USUAL),
        };
        let column = serde_json::to_value(&options).unwrap();
        assert_eq!(column.as_object().unwrap().len(), 11, "each is other than its default: {column}");
        let mut spec = JobSpec::default();
        options.clone().into_spec(&mut spec);
        assert_eq!(Options::of(&spec), Options { deadline: None, ..options });
    }
}
