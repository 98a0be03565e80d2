//! One job or task as the store has it.
//! It refuses to know what the core knows better while the job lives.

use super::{Environment, Options};
use qrm_core::Takes;
use qrm_protocol::amount::{Bytes, Priority};
use qrm_protocol::ids::{JobId, JobRef, Uid};
use qrm_protocol::job::{ArraySpec, Failure, JobSpec, JobState};
use qrm_protocol::progress::{Fraction, Progress};
use qrm_protocol::queue::QueueName;
use qrm_protocol::text::OsText;
use qrm_protocol::time::{Millis, Timestamp};
use rusqlite::types::{FromSql, FromSqlError, ValueRef};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A row of `job`, or of `task` with what its array says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The job or task.
    pub id: JobRef,
    /// The submitter.
    pub uid: Uid,
    /// Their name when they submitted.
    pub user: String,
    /// For people.
    pub name: String,
    /// As of the last commit.
    pub state: JobState,
    /// From 1; 0 before the first.
    pub attempt: u32,
    /// 0 to 100.
    pub priority: Priority,
    /// Counted.
    pub cpus: u32,
    /// Counted.
    pub mem: Option<Bytes>,
    /// Of the command.
    pub time_limit: Option<Millis>,
    /// Asked for.
    pub retries: u32,
    /// When it was accepted.
    pub submitted_at: Timestamp,
    /// Not before this.
    pub begin_at: Option<Timestamp>,
    /// When its latest command was released.
    pub started_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// Of the main process.
    pub exit_code: Option<i32>,
    /// Of the main process.
    pub signal: Option<i32>,
    /// Why it did not complete.
    pub failure: Option<Failure>,
    /// Used.
    pub cpu_ms: Option<u64>,
    /// Used.
    pub peak_memory: Option<u64>,
    /// An array's indices.
    pub tasks: Option<ArraySpec>,
    /// An array's tasks when it ended: completed, and failed. The others were cancelled, and some of those have no row.
    pub tasks_ended: Option<(u32, u32)>,
    /// For people.
    pub comment: Option<String>,
    /// The program and its arguments.
    pub command: Vec<OsText>,
    /// Where it runs.
    pub cwd: OsText,
    /// For people and filters.
    pub labels: BTreeMap<String, String>,
    /// What else was asked for.
    pub options: Options,
    /// What it says of how far it is.
    pub progress: Option<Progress>,
    /// It has a validate or compile command.
    pub has_stages: bool,
    /// Where it waits.
    pub queue: QueueName,
    /// What it was granted last, if that is not what it asked for first.
    pub takes: Option<Taken>,
}

/// What a run was granted that has one of its job's alternatives, as JSON in the column `takes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Which, from 1.
    pub variant: u8,
    /// How much.
    #[serde(flatten)]
    pub takes: Takes,
}

/// What a launch needs beyond what the core knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchText {
    /// The program and its arguments.
    pub command: Vec<OsText>,
    /// Where it runs.
    pub cwd: OsText,
    /// A shell command.
    pub validate: Option<String>,
    /// A shell command.
    pub compile: Option<String>,
    /// The file mode creation mask.
    pub umask: u32,
    /// Standard input is a FIFO.
    pub fifo: bool,
    /// Run instead of the command's first word.
    pub script: Option<String>,
    /// What else was asked for.
    pub options: Options,
    /// For people.
    pub name: String,
    /// The submitter.
    pub uid: Uid,
    /// The submitter's name.
    pub user: String,
    /// When it was accepted.
    pub submitted_at: Timestamp,
    /// Entries ended by NULs.
    pub environment: Vec<u8>,
    /// Counted, and enforced where the kernel can.
    pub cpus: u32,
    /// The same.
    pub mem_bytes: Option<u64>,
    /// What the job was granted, if that is not what it asked for first.
    pub takes: Option<Takes>,
}

/// A job of the past as it could be asked for again: without what was about its time, its key and other jobs.
#[derive(Debug)]
pub struct PastJob {
    /// What it asked for; of an array all of its tasks.
    pub spec: JobSpec,
    /// The submitter's name.
    pub user: String,
    /// Where it ran.
    pub cwd: OsText,
    /// The file mode creation mask.
    pub umask: u32,
    /// Its environment.
    pub environment: Arc<Environment>,
}

/// A column that holds JSON, or the words of an enum.
pub(super) struct Json<T>(pub T);

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> Result<Self, FromSqlError> {
        serde_json::from_str(value.as_str()?).map(Json).map_err(|e| FromSqlError::Other(Box::new(e)))
    }
}

/// A word that stands for a value of an enum without data.
pub(super) struct Word<T>(pub T);

impl<T: DeserializeOwned> FromSql for Word<T> {
    fn column_result(value: ValueRef<'_>) -> Result<Self, FromSqlError> {
        let word = serde_json::Value::String(value.as_str()?.to_owned());
        serde_json::from_value(word).map(Word).map_err(|e| FromSqlError::Other(Box::new(e)))
    }
}

/// The word of a value of an enum without data.
pub(super) fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// What a list reads of a job, in the order of [`Row::read`]. The first is the task.
pub(super) const JOB_COLUMNS: &str = "NULL, j.id, j.uid, j.user, j.name, j.priority, j.cpus, j.mem_bytes, j.time_limit_ms, j.retries, \
     j.submitted_at, j.begin_at, j.tasks, j.tasks_completed, j.tasks_failed, j.comment, j.command, j.cwd, \
     j.state, j.attempt, j.started_at, j.ended_at, j.exit_code, j.signal, j.failure_kind, j.failure_cause, \
     j.failure_message, j.cpu_ms, j.peak_memory_bytes, j.labels, j.options, j.progress, j.progress_message, \
     j.validate_command IS NOT NULL OR j.compile_command IS NOT NULL, j.queue, j.takes";

/// The same of a task.
pub(super) const TASK_COLUMNS: &str = "t.task, j.id, j.uid, j.user, j.name, j.priority, j.cpus, j.mem_bytes, j.time_limit_ms, j.retries, \
     j.submitted_at, j.begin_at, NULL, NULL, NULL, j.comment, j.command, j.cwd, \
     t.state, t.attempt, t.started_at, t.ended_at, t.exit_code, t.signal, t.failure_kind, t.failure_cause, \
     t.failure_message, t.cpu_ms, t.peak_memory_bytes, j.labels, j.options, t.progress, t.progress_message, 0, \
     j.queue, t.takes";

impl Row {
    pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let time = |column: usize| -> rusqlite::Result<Option<Timestamp>> {
            Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp))
        };
        let failure = match row.get::<_, Option<Word<_>>>(24)? {
            None => None,
            Some(kind) => Some(Failure { kind: kind.0, cause: row.get::<_, Word<_>>(25)?.0, message: row.get(26)? }),
        };
        let message: Option<String> = row.get(32)?;
        let tasks: Option<String> = row.get(12)?;
        let ended: (Option<u32>, Option<u32>) = (row.get(13)?, row.get(14)?);
        Ok(Self {
            id: JobRef { job: JobId(row.get(1)?), task: row.get(0)? },
            uid: row.get(2)?,
            user: row.get(3)?,
            name: row.get(4)?,
            priority: Priority::try_from(row.get::<_, u64>(5)?).unwrap_or_default(),
            cpus: row.get(6)?,
            mem: row.get::<_, Option<u64>>(7)?.map(Bytes),
            time_limit: row.get::<_, Option<u64>>(8)?.map(Millis),
            retries: row.get(9)?,
            submitted_at: Timestamp(row.get(10)?),
            begin_at: time(11)?,
            tasks: tasks.and_then(|text| text.parse().ok()),
            tasks_ended: ended.0.zip(ended.1),
            comment: row.get(15)?,
            command: row.get::<_, Json<_>>(16)?.0,
            cwd: row.get::<_, Json<_>>(17)?.0,
            state: row.get::<_, Word<_>>(18)?.0,
            attempt: row.get(19)?,
            started_at: time(20)?,
            ended_at: time(21)?,
            exit_code: row.get(22)?,
            signal: row.get(23)?,
            failure,
            cpu_ms: row.get(27)?,
            peak_memory: row.get(28)?,
            labels: row.get::<_, Option<Json<_>>>(29)?.map_or_else(BTreeMap::new, |labels| labels.0),
            options: row.get::<_, Option<Json<_>>>(30)?.map_or_else(Options::default, |options| options.0),
            progress: row
                .get::<_, Option<u32>>(31)?
                .map(|millionths| Progress { fraction: Fraction::from_millionths(millionths), message }),
            has_stages: row.get(33)?,
            queue: row.get::<_, Word<_>>(34)?.0,
            takes: row.get::<_, Option<Json<_>>>(35)?.map(|takes| takes.0),
        })
    }
}
