//! A job's life as spans: which trace it belongs to, and when it was in which stage.
//! It refuses to fetch anything: events and rows are given to it.
//!
//! Ids are those of W3C Trace Context (<https://www.w3.org/TR/trace-context/>).

use crate::store::Row;
use qrm_core::{Event, Stage};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::JobState;
use qrm_protocol::method::Span;
use qrm_protocol::time::Timestamp;
use sha2::{Digest, Sha256};

/// The variable that carries a trace from who submits to what runs.
pub const VARIABLE: &str = "TRACEPARENT";

/// A trace, and the span in it that a job belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// The submitter's span, 16 hexadecimal digits.
    pub parent_id: Option<String>,
    flags: String,
}

impl Trace {
    /// That of the submitter's environment, entries ended by NULs; without one a trace of the job's own, the same each
    /// time it is asked for.
    #[must_use]
    pub fn of(environment: &[u8], job: JobRef, submitted: Timestamp, user: &str) -> Self {
        let prefix = [VARIABLE, "="].concat();
        let entries = environment.split(|byte| *byte == 0);
        let given = entries.filter_map(|entry| entry.strip_prefix(prefix.as_bytes())).next_back();
        given.and_then(|value| Self::parse(std::str::from_utf8(value).ok()?)).unwrap_or_else(|| Self {
            trace_id: hash(&[&job.job.to_string(), &submitted.0.to_string(), user], 16),
            parent_id: None,
            flags: "01".to_owned(),
        })
    }

    /// Version 00, `00-TRACE-SPAN-FLAGS`.
    fn parse(value: &str) -> Option<Self> {
        let parts: Vec<&str> = value.trim().split('-').collect();
        let hex =
            |part: &str, digits| part.len() == digits && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let some = |part: &str| part.bytes().any(|b| b != b'0');
        match parts[..] {
            ["00", trace, span, flags]
                if hex(trace, 32) && hex(span, 16) && hex(flags, 2) && some(trace) && some(span) =>
            {
                let parent_id = Some(span.to_owned());
                Some(Self { trace_id: trace.to_owned(), parent_id, flags: flags.to_owned() })
            }
            _ => None,
        }
    }

    fn span_id(&self, job: JobRef, stage: JobState, attempt: u32) -> String {
        hash(&[&self.trace_id, &job.to_string(), stage.word(), &attempt.to_string()], 8)
    }

    /// What a run finds in [`VARIABLE`]: its own span as the parent of what it makes.
    #[must_use]
    pub fn variable(&self, job: JobRef, stage: Stage, attempt: u32) -> String {
        format!("{VARIABLE}=00-{}-{}-{}", self.trace_id, self.span_id(job, state_of(stage), attempt), self.flags)
    }
}

fn hash(parts: &[&str], bytes: usize) -> String {
    let digest = Sha256::digest(parts.join("\0"));
    digest.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

fn state_of(stage: Stage) -> JobState {
    match stage {
        Stage::Validate => JobState::Validating,
        Stage::Compile => JobState::Compiling,
        Stage::Execute => JobState::Executing,
    }
}

/// The stages of a job or task, of its row and those of its events that there are, oldest first; and whether some are
/// missing.
#[must_use]
pub fn spans(trace: &Trace, row: &Row, events: &[(Timestamp, Event)]) -> (Vec<Span>, bool) {
    let first = if row.has_stages { JobState::Pending } else { JobState::Queued };
    let mut life = Life { trace, job: row.id, now: Some((first, 0, row.submitted_at)), spans: Vec::new() };
    for (at, event) in events {
        life.happened(*at, event);
    }
    let incomplete = row.state.is_terminal() != life.now.is_none();
    if incomplete {
        life.spans.clear();
        life.now = Some((first, 0, row.submitted_at));
        if let Some(started) = row.started_at {
            life.enter(started, JobState::Executing, row.attempt);
        }
        if let Some(ended) = row.ended_at {
            life.leave(ended, Some(row.state.to_string()));
        }
    }
    life.still();
    (life.spans, incomplete)
}

struct Life<'a> {
    trace: &'a Trace,
    job: JobRef,
    /// The stage, its attempt, and since when.
    now: Option<(JobState, u32, Timestamp)>,
    spans: Vec<Span>,
}

impl Life<'_> {
    fn happened(&mut self, at: Timestamp, event: &Event) {
        match event {
            Event::StageStarted { stage, .. } => self.enter(at, state_of(*stage), 0),
            Event::StagePassed { .. } => self.enter(at, JobState::Queued, 0),
            Event::Started { attempt, .. } => self.enter(at, JobState::Allocating, *attempt),
            Event::Executing { attempt, started_at, .. } => self.enter(*started_at, JobState::Executing, *attempt),
            Event::Requeued { attempt, started_at, failure, .. } => {
                self.executed(*attempt, *started_at);
                self.leave(at, Some(failure.message.clone()));
                self.now = Some((JobState::Queued, 0, at));
            }
            Event::Ended { state, started_at, ended_at, failure, .. } => {
                let attempt = self.now.map_or(0, |(_, attempt, _)| attempt);
                self.executed(attempt, *started_at);
                let why = failure.as_ref().map_or_else(|| state.to_string(), |f| format!("{state}: {}", f.message));
                self.leave(*ended_at, Some(why));
            }
            _ => {}
        }
    }

    /// That a short command ran is told with its end.
    fn executed(&mut self, attempt: u32, started: Option<Timestamp>) {
        if let (Some((JobState::Allocating, ..)), Some(started)) = (self.now, started) {
            self.enter(started, JobState::Executing, attempt);
        }
    }

    fn enter(&mut self, at: Timestamp, stage: JobState, attempt: u32) {
        self.leave(at, None);
        self.now = Some((stage, attempt, at));
    }

    fn leave(&mut self, at: Timestamp, outcome: Option<String>) {
        self.end(Some(at), outcome);
    }

    fn still(&mut self) {
        self.end(None, None);
    }

    fn end(&mut self, ended_at: Option<Timestamp>, outcome: Option<String>) {
        let Some((stage, attempt, started_at)) = self.now.take() else { return };
        // What was passed through at once is no stage.
        let waits = matches!(stage, JobState::Pending | JobState::Queued);
        if waits && outcome.is_none() && ended_at.is_some_and(|at| at <= started_at) {
            return;
        }
        let span_id = self.trace.span_id(self.job, stage, attempt.max(u32::from(!waits)));
        self.spans.push(Span {
            span_id,
            stage,
            attempt: Some(attempt).filter(|n| *n > 0),
            started_at,
            ended_at,
            outcome,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    #[test]
    fn a_trace_that_is_given_is_taken_and_what_is_none_is_not() {
        let job = JobRef::whole(qrm_protocol::ids::JobId(12));
        let of = |environment: &str| Trace::of(environment.as_bytes(), job, Timestamp(1), "alice");
        let given = of(&format!("A=1\0TRACEPARENT={PARENT}\0"));
        assert_eq!(given.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(given.parent_id.as_deref(), Some("00f067aa0ba902b7"));
        let own = of("A=1\0");
        assert_eq!((own.trace_id.len(), &own.parent_id), (32, &None));
        for bad in [
            "",
            "1",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            "00-0-0-0",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-00",
        ] {
            assert_eq!(of(&format!("TRACEPARENT={bad}\0")), own, "{bad}");
        }
        let variable = given.variable(job, Stage::Execute, 2);
        assert!(variable.starts_with("TRACEPARENT=00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{variable}");
        assert!(variable.ends_with("-00") && variable.len() == "TRACEPARENT=".len() + 55, "{variable}");
    }
}
