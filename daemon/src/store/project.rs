//! The rows that follow from events: what people and lists read, in the transaction of the event itself.
//! It refuses to begin or end a transaction.

use super::row::{Taken, Word, word};
use super::write::JobText;
use super::{Options, Store, StoreError};
use qrm_core::{Demand, Event, Stage};
use qrm_protocol::ids::{JobId, JobRef, Uid};
use qrm_protocol::job::{ArraySpec, Failure, FailureCause, FailureKind, JobState};
use qrm_protocol::time::Timestamp;
use rusqlite::{OptionalExtension, named_params, params};

impl Store {
    pub(super) fn project(&mut self, at: Timestamp, event: &Event, texts: &[JobText]) -> Result<(), StoreError> {
        match event {
            Event::Submitted { job, user, demand, .. } => {
                if let Some(text) = texts.first() {
                    self.insert_job(job.job, *user, at, demand, text)?;
                }
            }
            Event::BulkStaged { jobs, .. } => {
                // The engine gives the texts with the ids that the core gave out.
                debug_assert!(jobs.len() >= texts.len(), "more texts than jobs");
            }
            Event::StageStarted { job, stage } => {
                let state = if *stage == Stage::Validate { JobState::Validating } else { JobState::Compiling };
                self.set_state(*job, state)?;
            }
            Event::StagePassed { job, stage } => self.stage_passed(job.job, *stage)?,
            Event::Started { job, attempt, variant, takes, .. } => {
                self.started(*job, *attempt, takes.map(|takes| Taken { variant: *variant, takes }))?
            }
            Event::OfferAccepted { job, what, .. } => self.accept_offer(job.job, what)?,
            Event::Executing { job, started_at, .. } => self.executing(*job, *started_at)?,
            Event::Requeued { job, .. } => {
                self.requeued(*job)?;
                self.set_progress(*job, None, None)?;
            }
            Event::Updated { job, change, .. } => self.update_job(job.job, change)?,
            Event::Progress { job, fraction, message, .. } => {
                self.set_progress(*job, Some(*fraction), message.as_deref())?
            }
            Event::Ended { .. } => self.ended(event)?,
            Event::ArrayBarred { job, on, tasks } => self.barred(at, job.job, *on, tasks)?,
            Event::MachineFound { .. }
            | Event::PolicySet { .. }
            | Event::QueueSet { .. }
            | Event::QueuePaused { .. }
            | Event::QueueResumed { .. }
            | Event::QueueRemoved { .. }
            | Event::Planned { .. }
            | Event::Offered { .. }
            | Event::OffersLapsed { .. }
            | Event::BulkBegun { .. }
            | Event::BulkSubmitted { .. }
            | Event::BulkDiscarded { .. }
            | Event::Due { .. }
            | Event::Signalled { .. }
            | Event::Held { .. }
            | Event::Released { .. }
            | Event::Suspended { .. }
            | Event::Resumed { .. }
            | Event::Overdue { .. }
            | Event::ArrayExpired { .. }
            | Event::Stopping { .. }
            | Event::Killing { .. }
            | Event::ArrayStopping { .. } => {}
        }
        Ok(())
    }

    /// Writes the row of a job.
    ///
    /// # Errors
    /// The disk says no; the caller rolls back.
    pub fn insert_job(
        &mut self,
        id: JobId,
        uid: Uid,
        at: Timestamp,
        demand: &Demand,
        text: &JobText,
    ) -> Result<(), StoreError> {
        let environment = self.environment(&text.environment)?;
        let json = |value: &dyn erased::Json| value.json();
        let spec = &text.spec;
        let first = match (demand.validate, demand.compile) {
            (false, false) => JobState::Queued,
            _ => JobState::Pending,
        };
        self.db
            .prepare_cached(
                "INSERT INTO job (id, uid, user, name, state, priority, cpus, mem_bytes, time_limit_ms, retries, submitted_at,
                     begin_at, tasks, key, comment, command, cwd, validate_command, compile_command, umask, fifo, environment,
                     labels, options, script, queue)
                 VALUES (:id, :uid, :user, :name, :state, :priority, :cpus, :mem, :time, :retries, :at,
                     :begin, :tasks, :key, :comment, :command, :cwd, :validate, :compile, :umask, :fifo, :environment,
                     :labels, :options, :script, :queue)",
            )?
            .execute(named_params! {
                ":id": id.0, ":uid": uid, ":user": text.user, ":name": spec.display_name(), ":state": first.word(),
                ":priority": demand.priority().get(), ":cpus": demand.cpus(), ":mem": demand.mem_bytes,
                ":time": Some(demand.time_ms).filter(|limit| *limit > 0), ":queue": demand.queue().as_str(),
                ":retries": spec.retries, ":at": at.0,
                ":begin": spec.begin.map(|t| t.0), ":tasks": spec.array.map(|a| a.to_string()), ":key": spec.key,
                ":comment": spec.comment, ":command": json(&spec.command), ":cwd": json(&text.cwd),
                ":validate": spec.validate, ":compile": spec.compile, ":umask": text.umask,
                ":fifo": spec.stdin == qrm_protocol::job::Stdin::Fifo, ":environment": environment,
                ":labels": (!spec.labels.is_empty()).then(|| json(&spec.labels)),
                ":options": Options::of(spec).to_column(), ":script": spec.script,
            })?;
        Ok(())
    }

    /// After the validate command, the compile command is next if there is one.
    fn stage_passed(&self, job: JobId, stage: Stage) -> Result<(), StoreError> {
        self.db
            .prepare_cached(
                "UPDATE job SET state = CASE WHEN ? AND compile_command IS NOT NULL THEN 'pending' ELSE 'queued' END
                 WHERE id = ?",
            )?
            .execute(params![stage == Stage::Validate, job.0])?;
        Ok(())
    }

    fn set_state(&self, job: JobRef, state: JobState) -> Result<(), StoreError> {
        match job.task {
            None => self
                .db
                .prepare_cached("UPDATE job SET state = ? WHERE id = ?")?
                .execute(params![state.word(), job.job.0])?,
            Some(task) => self
                .db
                .prepare_cached("UPDATE task SET state = ? WHERE job = ? AND task = ?")?
                .execute(params![state.word(), job.job.0, task])?,
        };
        Ok(())
    }

    /// It waits, and asks for all that it asked for once more.
    fn requeued(&self, job: JobRef) -> Result<(), StoreError> {
        let state = JobState::Queued.word();
        match job.task {
            None => self
                .db
                .prepare_cached("UPDATE job SET state = ?, takes = NULL WHERE id = ?")?
                .execute(params![state, job.job.0])?,
            Some(task) => self
                .db
                .prepare_cached("UPDATE task SET state = ?, takes = NULL WHERE job = ? AND task = ?")?
                .execute(params![state, job.job.0, task])?,
        };
        Ok(())
    }

    fn started(&self, job: JobRef, attempt: u32, takes: Option<Taken>) -> Result<(), StoreError> {
        let state = JobState::Allocating.word();
        let takes = takes.map(|takes| erased::Json::json(&takes));
        match job.task {
            None => {
                self.db
                    .prepare_cached("UPDATE job SET state = ?, attempt = ?, started_at = NULL, takes = ? WHERE id = ?")?
                    .execute(params![state, attempt, takes, job.job.0])?;
            }
            Some(task) => {
                self.db
                    .prepare_cached(
                        "INSERT OR REPLACE INTO task (job, task, state, attempt, takes) VALUES (?, ?, ?, ?, ?)",
                    )?
                    .execute(params![job.job.0, task, state, attempt, takes])?;
                self.db
                    .prepare_cached("UPDATE job SET state = 'executing' WHERE id = ? AND state <> 'executing'")?
                    .execute([job.job.0])?;
            }
        }
        Ok(())
    }

    fn executing(&self, job: JobRef, at: Timestamp) -> Result<(), StoreError> {
        let state = JobState::Executing.word();
        match job.task {
            None => {
                self.db
                    .prepare_cached("UPDATE job SET state = ?, started_at = ? WHERE id = ?")?
                    .execute(params![state, at.0, job.job.0])?;
            }
            Some(task) => {
                self.db
                    .prepare_cached("UPDATE task SET state = ?, started_at = ? WHERE job = ? AND task = ?")?
                    .execute(params![state, at.0, job.job.0, task])?;
                self.db
                    .prepare_cached("UPDATE job SET started_at = ? WHERE id = ? AND started_at IS NULL")?
                    .execute(params![at.0, job.job.0])?;
            }
        }
        Ok(())
    }

    fn ended(&self, event: &Event) -> Result<(), StoreError> {
        let Event::Ended { job, state, started_at, ended_at, exit_code, signal, failure, usage, .. } = event else {
            return Ok(());
        };
        let (kind, cause, message) = failure_words(failure.as_ref());
        let ran = started_at.is_some();
        let (cpu, peak) = (ran.then_some(usage.cpu_ms), ran.then_some(usage.peak_memory_bytes));
        let common = named_params! {
            ":id": job.job.0, ":state": state.word(), ":started": started_at.map(|t| t.0), ":ended": ended_at.0,
            ":code": exit_code, ":signal": signal, ":kind": kind, ":cause": cause, ":message": message,
            ":cpu": cpu, ":peak": peak,
        };
        match job.task {
            None => {
                self.db
                    .prepare_cached(
                        "UPDATE job SET state = :state, started_at = coalesce(:started, started_at), ended_at = :ended,
                             exit_code = :code, signal = :signal, failure_kind = :kind, failure_cause = :cause,
                             failure_message = :message, cpu_ms = :cpu, peak_memory_bytes = :peak WHERE id = :id",
                    )?
                    .execute(common)?;
                self.sum_tasks(job.job, *state, *ended_at)?;
            }
            Some(task) => {
                self.db
                    .prepare_cached("INSERT OR IGNORE INTO task (job, task, state) VALUES (?, ?, '')")?
                    .execute(params![job.job.0, task])?;
                let mut with_task = common.to_vec();
                with_task.push((":task", &task));
                self.db
                    .prepare_cached(
                        "UPDATE task SET state = :state, started_at = coalesce(:started, started_at), ended_at = :ended,
                             exit_code = :code, signal = :signal, failure_kind = :kind, failure_cause = :cause,
                             failure_message = :message, cpu_ms = :cpu, peak_memory_bytes = :peak
                         WHERE job = :id AND task = :task",
                    )?
                    .execute(&*with_task)?;
            }
        }
        Ok(())
    }

    /// Tasks that waited for what can never be.
    fn barred(&self, at: Timestamp, job: JobId, on: JobId, tasks: &[(u32, u32)]) -> Result<(), StoreError> {
        let find = "SELECT tasks FROM job WHERE id = ?";
        let read = |row: &rusqlite::Row<'_>| row.get::<_, Word<ArraySpec>>(0);
        let Word(array) = self.db.prepare_cached(find)?.query_row([job.0], read)?;
        let failure = Failure {
            kind: FailureKind::DependencyFailed,
            cause: FailureCause::Dependency,
            message: format!("it waited for its task of job {on}, which ended in a way that it can not follow"),
        };
        let (kind, cause, message) = failure_words(Some(&failure));
        let mut insert = self.db.prepare_cached(
            "INSERT OR REPLACE INTO task (job, task, state, ended_at, failure_kind, failure_cause, failure_message)
             VALUES (?, ?, 'cancelled', ?, ?, ?, ?)",
        )?;
        for ordinal in tasks.iter().flat_map(|(first, last)| *first..=*last) {
            insert.execute(params![job.0, array.first + ordinal * array.step, at.0, kind, cause, message])?;
        }
        Ok(())
    }

    /// What an array's tasks were together, when it has ended.
    fn sum_tasks(&self, job: JobId, state: JobState, at: Timestamp) -> Result<(), StoreError> {
        let array = self
            .db
            .prepare_cached("SELECT tasks FROM job WHERE id = ? AND tasks IS NOT NULL")?
            .query_row([job.0], |row| row.get::<_, Word<ArraySpec>>(0))
            .optional()?;
        let Some(Word(array)) = array else { return Ok(()) };
        let rest = if state == JobState::Timeout { JobState::Timeout } else { JobState::Cancelled };
        self.db
            .prepare_cached("UPDATE task SET state = ?, ended_at = ? WHERE job = ? AND state = 'queued'")?
            .execute(params![rest.word(), at.0, job.0])?;
        let (completed, cancelled, failed): (u32, u32, u32) = self
            .db
            .prepare_cached(
                "SELECT coalesce(sum(state = 'completed'), 0), coalesce(sum(state = 'cancelled'), 0),
                     coalesce(sum(state NOT IN ('completed', 'cancelled')), 0) FROM task WHERE job = ?",
            )?
            .query_row([job.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        // Those that never started have no row: with a time that was up they failed, otherwise they were cancelled.
        let failed =
            if rest == JobState::Timeout { array.count().saturating_sub(completed + cancelled) } else { failed };
        self.db
            .prepare_cached(
                "UPDATE job SET tasks_completed = ?, tasks_failed = ?, (cpu_ms, peak_memory_bytes) =
                     (SELECT sum(cpu_ms), max(peak_memory_bytes) FROM task WHERE task.job = job.id)
                 WHERE id = ?",
            )?
            .execute(params![completed, failed, job.0])?;
        Ok(())
    }
}

/// Values that become JSON text in a column.
mod erased {
    pub(super) trait Json {
        fn json(&self) -> String;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> String {
            serde_json::to_string(self).expect("texts have no failing parts")
        }
    }
}

fn failure_words(failure: Option<&Failure>) -> (Option<String>, Option<String>, Option<&str>) {
    match failure {
        None => (None, None, None),
        Some(failure) => (Some(word(&failure.kind)), Some(word(&failure.cause)), Some(failure.message.as_str())),
    }
}
