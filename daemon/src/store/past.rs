//! What is read of one job for more than a list: as it was asked for, and what happened to it.
//! It refuses to know what lives.

use super::read::Reader;
use super::row::{Json, PastJob, Word};
use super::{Environment, Options, StoreError};
use qrm_core::{Event, PastEnd};
use qrm_protocol::amount::{Bytes, Priority};
use qrm_protocol::ids::{JobId, JobRef, TaskIndex, Uid};
use qrm_protocol::job::{ArraySpec, DependsOn, JobSpec, JobState};
use qrm_protocol::queue::QueueName;
use qrm_protocol::time::{Millis, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// See [`Reader::past`].
pub(super) fn past(db: &Connection, id: JobRef) -> Result<Option<(JobState, bool)>, StoreError> {
    type Past = (Word<JobState>, bool, Option<Word<ArraySpec>>);
    // An array starts with its first task.
    let job = "SELECT state, attempt > 0 OR EXISTS (SELECT 1 FROM task WHERE job = id AND attempt > 0), tasks
               FROM job WHERE id = ?";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    let job: Option<Past> = db.prepare_cached(job)?.query_row([id.job.0], read).optional()?;
    let Some((Word(state), started, array)) = job else { return Ok(None) };
    let Some(task) = id.task else { return Ok(Some((state, started)).filter(|(state, _)| state.is_terminal())) };
    if !array.is_some_and(|Word(array)| array.contains(task)) {
        return Ok(None);
    }
    let started = "SELECT state, attempt > 0 FROM task WHERE job = ? AND task = ?";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Word<JobState>>(0)?.0, row.get(1)?));
    let found = db.prepare_cached(started)?.query_row(params![id.job.0, task], read).optional()?;
    // One that was ended with its array before it started has no row; one that waited for another attempt may have an old
    // one until its array is over.
    Ok(Some(match found {
        Some((state, started)) if state.is_terminal() => (state, started),
        Some((_, started)) => (JobState::Cancelled, started),
        None => (JobState::Cancelled, false),
    }))
}

/// Adds what is known of a job or task, or of all tasks of an array, if it is over.
pub(super) fn past_of(db: &Connection, on: DependsOn, found: &mut PastEnd) -> Result<(), StoreError> {
    let whole = match on {
        DependsOn::One(on) => on,
        DependsOn::Each(job) => job.into(),
    };
    let Some(end) = past(db, whole)? else { return Ok(()) };
    found.insert(whole, end);
    if let DependsOn::Each(job) = on {
        let mut tasks = db.prepare_cached("SELECT task, state, attempt > 0 FROM task WHERE job = ?")?;
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, (row.get::<_, Word<_>>(1)?.0, row.get(2)?)));
        for task in tasks.query_map([job.0], read)? {
            let (task, end) = task?;
            found.insert(JobRef::task(job, task), end);
        }
    }
    Ok(())
}

impl Reader {
    /// Jobs as they could be asked for again, in their order, nothing for one that there is not: as many of the first as
    /// fill so many bytes. An environment is there once, however many of them have it.
    ///
    /// # Errors
    /// The store can not be read.
    pub fn past_jobs(&self, jobs: &[JobId], bytes: usize) -> Result<Vec<Option<PastJob>>, StoreError> {
        let mut statement = self.db().prepare_cached(
            "SELECT command, name, comment, priority, cpus, mem_bytes, time_limit_ms, tasks, retries, validate_command,
                 compile_command, labels, options, script, user, cwd, umask, environment, queue
             FROM job WHERE id = ?",
        )?;
        let mut body = self.db().prepare_cached("SELECT body FROM environment_body WHERE id = ?")?;
        let mut environments: BTreeMap<i64, Arc<Environment>> = BTreeMap::new();
        let (mut found, mut filled) = (Vec::new(), 0);
        for job in jobs {
            if filled >= bytes {
                break;
            }
            let one = statement.query_row([job.0], |row| {
                let environment = match environments.entry(row.get(17)?) {
                    Entry::Occupied(known) => known.get().clone(),
                    Entry::Vacant(new) => {
                        let body: Vec<u8> = body.query_row([new.key()], |row| row.get(0))?;
                        filled += body.len();
                        new.insert(Arc::new(Environment::of_body(body))).clone()
                    }
                };
                filled += texts(row)?;
                read(row, environment)
            });
            found.push(one.optional()?);
        }
        Ok(found)
    }

    /// Adds how a job, or a task that does not live any more, ended, and whether it ever started, or the same of all tasks
    /// of an array; nothing if there is no such one, or the job has not ended.
    ///
    /// # Errors
    /// The store can not be read.
    pub fn past(&self, on: DependsOn, found: &mut PastEnd) -> Result<(), StoreError> {
        past_of(self.db(), on, found)
    }

    /// The job of a key, if it was used.
    ///
    /// # Errors
    /// The store can not be read.
    pub fn job_of_key(&self, uid: Uid, key: &str) -> Result<Option<JobId>, StoreError> {
        let mut id = self.db().prepare_cached("SELECT id FROM job WHERE uid = ? AND key = ?")?;
        Ok(id.query_row(params![uid, key], |row| row.get(0).map(JobId)).optional()?)
    }

    /// The tasks of an array that have started, or ended without that.
    ///
    /// # Errors
    /// The store can not be read.
    pub fn tasks_of(&self, job: JobId) -> Result<BTreeSet<TaskIndex>, StoreError> {
        let mut tasks = self.db().prepare_cached("SELECT task FROM task WHERE job = ?")?;
        Ok(tasks.query_map([job.0], |row| row.get(0))?.collect::<Result<_, _>>()?)
    }

    /// The environment of a job, entries ended by NULs; empty if there is no such job.
    ///
    /// # Errors
    /// The store can not be read.
    pub fn environment_of(&self, job: JobId) -> Result<Vec<u8>, StoreError> {
        let mut body = self.db().prepare_cached(
            "SELECT body FROM job JOIN environment_body ON environment_body.id = job.environment WHERE job.id = ?",
        )?;
        Ok(body.query_row([job.0], |row| row.get(0)).optional()?.unwrap_or_default())
    }

    /// Those events of one job or task that are kept, oldest first.
    ///
    /// # Errors
    /// The store can not be read.
    pub fn events_of(&self, job: JobRef) -> Result<Vec<(Timestamp, Event)>, StoreError> {
        let mut events =
            self.db().prepare_cached("SELECT at, body FROM event WHERE instr(body, ?) > 0 ORDER BY seq")?;
        let read = |row: &rusqlite::Row<'_>| Ok((Timestamp(row.get(0)?), row.get::<_, Json<Event>>(1)?.0));
        let found = events.query_map([format!("\"job\":\"{job}\"")], read)?;
        let own = |found: &(Timestamp, Event)| found.1.job() == Some(job);
        Ok(found.collect::<Result<Vec<_>, _>>()?.into_iter().filter(own).collect())
    }
}

/// The bytes of all texts in a row.
fn texts(row: &rusqlite::Row<'_>) -> rusqlite::Result<usize> {
    let length =
        |column: usize| row.get_ref(column).map(|value| value.as_bytes_or_null().ok().flatten().map_or(0, <[u8]>::len));
    (0..row.as_ref().column_count()).map(length).sum()
}

fn read(row: &rusqlite::Row<'_>, environment: Arc<Environment>) -> rusqlite::Result<PastJob> {
    let options = row.get::<_, Option<Json<Options>>>(12)?.map_or_else(Options::default, |options| options.0);
    let command: Vec<_> = row.get::<_, Json<_>>(0)?.0;
    let mut spec = JobSpec {
        command,
        name: Some(row.get(1)?),
        comment: row.get(2)?,
        priority: Priority::try_from(row.get::<_, u64>(3)?).ok(),
        queue: Some(row.get::<_, Word<QueueName>>(18)?.0).filter(|queue| !queue.is_default()),
        cpus: Some(row.get(4)?),
        // None at all was wanted of it, whatever its queue says.
        mem_bytes: Some(Bytes(row.get::<_, Option<u64>>(5)?.unwrap_or(0))),
        time_limit_ms: row.get::<_, Option<u64>>(6)?.map(Millis),
        array: row.get::<_, Option<String>>(7)?.and_then(|tasks| tasks.parse::<ArraySpec>().ok()),
        retries: row.get(8)?,
        validate: row.get(9)?,
        compile: row.get(10)?,
        labels: row.get::<_, Option<Json<_>>>(11)?.map_or_else(BTreeMap::new, |labels| labels.0),
        script: row.get(13)?,
        ..JobSpec::default()
    };
    options.into_spec(&mut spec);
    let (user, cwd, umask) = (row.get(14)?, row.get::<_, Json<_>>(15)?.0, row.get(16)?);
    Ok(PastJob { spec, user, cwd, umask, environment })
}
