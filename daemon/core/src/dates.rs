//! What time alone changes: begins, ends of backoffs, time limits, queue timeouts and deadlines.
//! It refuses to know the time: it is told.

use crate::event::{Event, Stage, StopWhy};
use crate::state::{Alarm, Date, RunState};
use crate::step::{Deciding, Effect, RunSignal};
use qrm_protocol::ids::JobId;
use qrm_protocol::job::{Failure, FailureCause, FailureKind, JobState};
use qrm_protocol::time::{Millis, Timestamp};

impl Deciding<'_> {
    pub(crate) fn pass_time(&mut self) {
        while let Some((at, date)) = self.core.dates.first().copied().filter(|(at, _)| *at <= self.now.wall) {
            match date {
                Date::Begin(id) => self.emit(Event::Due { job: id.into() }),
                Date::Expires(id) => self.expire(id),
                Date::Deadline(id) => self.overdue(id, at),
                Date::Lapses(id) => self.emit(Event::OffersLapsed { job: id.into() }),
            }
        }
        while let Some((_, alarm)) = self.core.alarms.first().copied().filter(|(at, _)| *at <= self.now.boot_ms) {
            match alarm {
                Alarm::Due(job) => self.emit(Event::Due { job }),
                Alarm::Limit(job) => self.stop(job, StopWhy::Timeout, None),
                Alarm::Kill(job) => {
                    self.emit(Event::Killing { job });
                    if let Some(run) = self.core.runs.get(&job) {
                        self.effects.push(Effect::Signal(run.of(job), RunSignal::Kill));
                    }
                }
            }
        }
    }

    /// It has waited for as long as it was to wait.
    fn expire(&mut self, id: JobId) {
        let limit = self.core.jobs.get(&id).and_then(|job| job.rare()).map_or(0, |rare| rare.queue_timeout_ms);
        self.time_is_up(id, format!("it did not start within {}", Millis(limit)));
    }

    /// It was to be over by now.
    fn overdue(&mut self, id: JobId, at: Timestamp) {
        let runs = match self.core.runs.get(&id.into()) {
            Some(run) if run.stage == Stage::Execute => vec![id.into()],
            _ => self.core.running_tasks(id),
        };
        let started = self.core.jobs.get(&id).is_some_and(|job| job.tasks.as_ref().is_some_and(|tasks| tasks.started));
        if started || !runs.is_empty() {
            self.emit(Event::Overdue { job: id.into() });
        }
        if runs.is_empty() {
            return self.time_is_up(id, format!("it was to be over by {at}"));
        }
        if self.core.jobs.get(&id).is_some_and(|job| job.tasks.is_some()) {
            self.emit(Event::ArrayExpired { job: id.into() });
        }
        for job in runs {
            if self.core.runs.get(&job).is_some_and(RunState::may_be_stopped) {
                self.stop(job, StopWhy::Deadline, None);
            }
        }
    }

    /// The end of what waits; of an array with a task that has started, of those that have not.
    fn time_is_up(&mut self, id: JobId, message: String) {
        if self.core.jobs.get(&id).is_some_and(|job| job.tasks.as_ref().is_some_and(|tasks| tasks.started)) {
            self.emit(Event::ArrayExpired { job: id.into() });
            return self.end_array(id);
        }
        let failure = Failure { kind: FailureKind::Timeout, cause: FailureCause::Timeout, message };
        self.end_waiting(id.into(), JobState::Timeout, Some(failure), None);
    }
}
