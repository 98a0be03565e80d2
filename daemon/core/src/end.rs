//! How runs and jobs end: a next attempt, the end of a job, and of an array with its last task.
//! It refuses to know why a process ended beyond what is reported of it.

use crate::event::{Event, Run, RunUsage, Stage, StopWhy};
use crate::state::Stop;
use crate::step::{Deciding, Effect, Exceeded, RunOutcome, RunSignal};
use qrm_protocol::amount::Bytes;
use qrm_protocol::ids::{JobId, JobRef, Uid};
use qrm_protocol::job::{Failure, FailureCause, FailureKind, JobState, RetryOn};
use qrm_protocol::queue::OnPreempt;
use qrm_protocol::time::{Millis, Timestamp};

impl Deciding<'_> {
    pub(crate) fn end_doomed(&mut self) {
        while let Some((id, on)) = self.core.doomed.first_key_value().map(|(id, on)| (*id, *on)) {
            self.end_dependent(id, on);
        }
    }

    pub(crate) fn end_dependent(&mut self, id: JobId, on: JobRef) {
        let failure = Failure {
            kind: FailureKind::DependencyFailed,
            cause: FailureCause::Dependency,
            message: format!("it waited for job {on}, which ended in a way that it can not follow"),
        };
        self.end_waiting(id.into(), JobState::Cancelled, Some(failure), None);
    }

    /// The end of a job or task whose own command does not run.
    pub(crate) fn end_waiting(&mut self, job: JobRef, state: JobState, failure: Option<Failure>, by: Option<Uid>) {
        // A validate or compile command may be running; what it would say does not matter any more.
        if let Some(run) = self.core.runs.get(&job) {
            self.effects.push(Effect::Signal(run.of(job), RunSignal::Kill));
        }
        let ended_at = self.now.wall;
        let usage = RunUsage::default();
        self.emit(Event::Ended {
            job,
            state,
            started_at: None,
            ended_at,
            exit_code: None,
            signal: None,
            failure,
            by,
            usage,
        });
        if job.task.is_some() {
            self.end_array(job.job);
        }
    }

    pub(crate) fn broken(&mut self, run: Run, kind: FailureKind, cause: FailureCause, message: String) {
        let started_at = self.current(run).and_then(|state| state.released).map(|(at, _)| at);
        let outcome = RunOutcome { started_at, ended_at: self.now.wall, ..RunOutcome::default() };
        self.finish(run, &outcome, Some(Failure { kind, cause, message }));
    }

    pub(crate) fn run_ended(&mut self, run: Run, outcome: RunOutcome) {
        let granted = self.core.runs.get(&run.job).map(|state| self.core.granted(run.job, state));
        let limit = granted.map_or(0, |want| want.amounts.mem);
        let failure = failure_of(run.stage, &outcome, limit);
        if failure.is_none()
            && run.stage != Stage::Execute
            && self.current(run).is_some_and(|state| state.stop.is_none())
        {
            self.emit(Event::StagePassed { job: run.job, stage: run.stage });
            return;
        }
        self.finish(run, &outcome, failure);
    }

    /// The end of a run that is not the end of a stage that passed: a retry or the end of its job.
    fn finish(&mut self, run: Run, outcome: &RunOutcome, failure: Option<Failure>) {
        // A report about a run that is over, or of an attempt before, is harmless.
        let Some(state) = self.current(run) else { return };
        // A job whose validate or compile command failed has not started.
        let started_at =
            outcome.started_at.or(state.released.map(|(at, _)| at)).filter(|_| run.stage == Stage::Execute);
        let preempted = state.stop.filter(|stop| stop.why == StopWhy::Preempted).map(had_to_make_room);
        if let Some(failure) = &preempted
            && self.goes_on_later(run)
        {
            return self.requeue(run, started_at, failure.clone(), 0, outcome.usage);
        }
        if let (true, Some(failure)) =
            (state.stop.is_none() || preempted.is_some(), preempted.as_ref().or(failure.as_ref()))
            && self.retries(run, outcome, failure)
        {
            let job = self.core.jobs.get(&run.job.job);
            let after = |job: &crate::job::Job| Some(job.rare()?.backoff.after(job.tries(run.job.task, run.attempt)).0);
            let wait = job.and_then(after).unwrap_or(0);
            return self.requeue(run, started_at, failure.clone(), wait, outcome.usage);
        }
        let job = self.core.jobs.get(&run.job.job);
        let limit = self.core.granted(run.job, &state).time_ms;
        let deadline = job.and_then(|j| j.rare()).and_then(|rare| rare.deadline);
        let (end, failure, by) = match (state.stop, failure) {
            (Some(stop), _) if stop.why == StopWhy::Preempted => (JobState::Cancelled, preempted, None),
            (Some(stop), _) if stop.why != StopWhy::Cancelled => {
                let message = match (stop.why, deadline) {
                    (StopWhy::Deadline, Some(at)) => format!("it was to be over by {at}"),
                    _ => format!("it ran for longer than its limit of {}", Millis(limit)),
                };
                (
                    JobState::Timeout,
                    Some(Failure { kind: FailureKind::Timeout, cause: FailureCause::Timeout, message }),
                    None,
                )
            }
            (Some(stop), _) => (JobState::Cancelled, None, stop.by),
            (None, None) => (JobState::Completed, None, None),
            (None, failure) => (JobState::Failed, failure, None),
        };
        self.emit(Event::Ended {
            job: run.job,
            state: end,
            started_at,
            ended_at: outcome.ended_at,
            exit_code: outcome.exit_code,
            signal: outcome.signal,
            failure,
            by,
            usage: outcome.usage,
        });
        if run.job.task.is_some() {
            self.end_array(run.job.job);
        }
    }

    /// It waits for its next attempt.
    fn requeue(&mut self, run: Run, started_at: Option<Timestamp>, failure: Failure, wait: u64, usage: RunUsage) {
        let due_boot_ms = self.now.boot_ms.saturating_add(wait);
        self.emit(Event::Requeued { job: run.job, attempt: run.attempt, started_at, failure, due_boot_ms, usage });
    }

    /// Whether one that made room waits for its turn again.
    fn goes_on_later(&self, run: Run) -> bool {
        let Some(job) = self.core.jobs.get(&run.job.job) else { return false };
        let is_over = job.tasks.as_ref().is_some_and(|t| t.stopped.is_some() || t.expired && job.overdue);
        self.core.on_preempt(job) != OnPreempt::Cancel && !is_over
    }

    fn retries(&self, run: Run, outcome: &RunOutcome, failure: &Failure) -> bool {
        let Some(job) = self.core.jobs.get(&run.job.job) else { return false };
        let tries = job.tries(run.job.task, run.attempt);
        let Some(rare) = job.rare().filter(|r| run.stage == Stage::Execute && tries <= r.retries) else {
            return false;
        };
        if job.tasks.as_ref().is_some_and(|t| t.stopped.is_some() || t.expired && job.overdue) {
            return false;
        }
        let lost = failure.cause == FailureCause::Lost;
        if rare.retry_on.is_empty() {
            return failure.kind == FailureKind::ExecuteError && failure.cause != FailureCause::Preempted;
        }
        rare.retry_on.iter().any(|on| match on {
            RetryOn::Code(code) => outcome.exit_code == Some(*code),
            RetryOn::Oom => outcome.oom,
            RetryOn::Lost => lost,
            RetryOn::Preempted => failure.cause == FailureCause::Preempted,
        })
    }

    /// The end of an array, if this was its last task.
    pub(crate) fn end_array(&mut self, id: JobId) {
        let Some(tasks) = self.core.jobs.get(&id).and_then(|j| j.tasks.as_ref()) else { return };
        if !tasks.all_ended() {
            return;
        }
        let (bad, total, stopped) = (tasks.bad.len(), tasks.spec.count(), tasks.stopped);
        let (state, failure) = match (stopped, bad) {
            (Some(_), _) => (JobState::Cancelled, None),
            (None, _) if tasks.expired => {
                let message = format!("the time was up before all of its {total} tasks had ended");
                let failure = Failure { kind: FailureKind::Timeout, cause: FailureCause::Timeout, message };
                (JobState::Timeout, Some(failure))
            }
            (None, 0) => (JobState::Completed, None),
            (None, _) => {
                let message = format!("{bad} of its {total} tasks did not complete");
                let failure = Failure { kind: FailureKind::ExecuteError, cause: FailureCause::Exit, message };
                (JobState::Failed, Some(failure))
            }
        };
        self.end_waiting(id.into(), state, failure, stopped);
    }
}

/// Why one ended that made room.
fn had_to_make_room(stop: Stop) -> Failure {
    let whom = stop.room_for.map_or_else(|| "another job".to_owned(), |job| format!("job {job}"));
    let message = format!("it made room for {whom}");
    Failure { kind: FailureKind::ExecuteError, cause: FailureCause::Preempted, message }
}

/// What an outcome means, but for why it came about.
fn failure_of(stage: Stage, outcome: &RunOutcome, mem_limit: u64) -> Option<Failure> {
    let ended = (outcome.exit_code, outcome.signal, &outcome.not_run);
    let (cause, message) = match (outcome.exceeded, ended) {
        (_, (_, _, Some(why))) => (FailureCause::Stage, why.clone()),
        (Some(exceeded), _) => had_too_much(exceeded),
        _ if outcome.oom && mem_limit > 0 => {
            let (peak, limit) = (Bytes(outcome.usage.peak_memory_bytes), Bytes(mem_limit));
            (FailureCause::Oom, format!("it ran out of memory: it had {peak} of its limit of {limit}"))
        }
        _ if outcome.oom => (FailureCause::Oom, "it ran out of memory".to_owned()),
        (None, (Some(0), None, None)) => {
            let kept = |message| Failure { kind: FailureKind::PersistError, cause: FailureCause::Store, message };
            return outcome.not_kept.clone().map(kept);
        }
        (None, (Some(code), None, None)) => {
            (FailureCause::Exit, format!("it exited with code {code}{}", refused(outcome)))
        }
        (None, (_, Some(signal), None)) => {
            (FailureCause::Signal, format!("it was ended by signal {signal}{}", refused(outcome)))
        }
        (None, (None, None, None)) => (FailureCause::Lost, "nobody knows how it ended".to_owned()),
    };
    Some(match stage {
        Stage::Validate => Failure {
            kind: FailureKind::ValidationError,
            cause: FailureCause::Stage,
            message: format!("the validate command: {message}"),
        },
        Stage::Compile => Failure {
            kind: FailureKind::CompileError,
            cause: FailureCause::Stage,
            message: format!("the compile command: {message}"),
        },
        Stage::Execute => Failure { kind: FailureKind::ExecuteError, cause, message },
    })
}

/// What may be behind a bad end: a program that can not have another process seldom says so.
fn refused(outcome: &RunOutcome) -> String {
    outcome.pids_refused.map_or_else(String::new, |limit| {
        format!("; it wanted more processes than its limit of {limit}, and was refused")
    })
}

/// The cause and the words of an end for having too much.
fn had_too_much(of: Exceeded) -> (FailureCause, String) {
    match of {
        Exceeded::Memory { had, limit } => (
            FailureCause::Oom,
            format!(
                "it ran out of memory: it had {}, and its limit of {}, which is watched, ended it",
                Bytes(had),
                Bytes(limit)
            ),
        ),
        Exceeded::Scratch { had, limit } => (
            FailureCause::Limit,
            format!("its scratch directory held {}, and its limit of {} ended it", Bytes(had), Bytes(limit)),
        ),
        Exceeded::Output { had, limit } => (
            FailureCause::Limit,
            format!("it left {} in its own directory, and its limit of {} ended it", Bytes(had), Bytes(limit)),
        ),
        Exceeded::OutputDepth(most) => (
            FailureCause::Limit,
            format!("its own directory was more than {most} directories deep, where its limit can not be watched"),
        ),
        Exceeded::Depth(most) => (
            FailureCause::Limit,
            format!("its scratch directory was more than {most} directories deep, where its limit can not be watched"),
        ),
        Exceeded::Pids { had, limit } => (
            FailureCause::Limit,
            format!("it had {had} processes and threads, and its limit of {limit}, which is watched, ended it"),
        ),
    }
}
