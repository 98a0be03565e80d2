//! What is changed of a job's row while it lives, besides its state: what someone updates, and what it says of itself.
//! It refuses to know whether that is allowed.

use super::row::Json;
use super::{Options, Store, StoreError};
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::{ArraySpec, JobChange, Offer};
use qrm_protocol::progress::Fraction;
use qrm_protocol::queue::QueueName;
use rusqlite::{named_params, params};
use std::collections::BTreeMap;

impl Store {
    pub(super) fn set_progress(
        &self,
        job: JobRef,
        fraction: Option<Fraction>,
        message: Option<&str>,
    ) -> Result<(), StoreError> {
        let millionths = fraction.map(Fraction::millionths);
        match job.task {
            None => self
                .db()
                .prepare_cached("UPDATE job SET progress = ?, progress_message = ? WHERE id = ?")?
                .execute(params![millionths, message, job.job.0])?,
            Some(task) => self
                .db()
                .prepare_cached("UPDATE task SET progress = ?, progress_message = ? WHERE job = ? AND task = ?")?
                .execute(params![millionths, message, job.job.0, task])?,
        };
        Ok(())
    }

    /// It asks for what it was offered from now on.
    pub(super) fn accept_offer(&self, job: JobId, offer: &Offer) -> Result<(), StoreError> {
        let change = match offer {
            Offer::Less { cpus } => JobChange { cpus: Some(*cpus), ..JobChange::default() },
            Offer::Share => JobChange { exclusive: Some(false), ..JobChange::default() },
            // What it asks for stays.
            Offer::At { .. } | Offer::Preempt { .. } => return Ok(()),
        };
        self.update_job(job, &change)
    }

    pub(super) fn update_job(&self, job: JobId, change: &JobChange) -> Result<(), StoreError> {
        let (labels, options, tasks) = self
            .db()
            .prepare_cached("SELECT labels, options, tasks FROM job WHERE id = ?")?
            .query_row([job.0], |row| {
                let labels: Option<Json<BTreeMap<String, String>>> = row.get(0)?;
                let options: Option<Json<Options>> = row.get(1)?;
                let tasks: Option<String> = row.get(2)?;
                Ok((labels, options, tasks.and_then(|tasks| tasks.parse::<ArraySpec>().ok())))
            })?;
        let mut labels = labels.map_or_else(BTreeMap::new, |labels| labels.0);
        change.relabel(&mut labels);
        let mut options = options.map_or_else(Options::default, |options| options.0);
        options.change(change);
        let tasks = tasks.map(|mut tasks| {
            tasks.width = change.width.map_or(tasks.width, |width| Some(width).filter(|width| *width > 0));
            tasks.to_string()
        });
        let known = |value: Option<u64>| value.filter(|value| *value > 0);
        let (mem, time) = (change.mem_bytes.map(|mem| mem.0), change.time_limit_ms.map(|time| time.0));
        self.db()
            .prepare_cached(
                "UPDATE job SET name = coalesce(:name, name), priority = coalesce(:priority, priority),
                     comment = CASE :comment WHEN NULL THEN comment WHEN '' THEN NULL ELSE coalesce(:comment, comment) END,
                     cpus = coalesce(:cpus, cpus), retries = coalesce(:retries, retries), begin_at = coalesce(:begin, begin_at),
                     mem_bytes = CASE WHEN :mem_given THEN :mem ELSE mem_bytes END,
                     time_limit_ms = CASE WHEN :time_given THEN :time ELSE time_limit_ms END,
                     queue = coalesce(:queue, queue), labels = :labels, options = :options, tasks = :tasks WHERE id = :id",
            )?
            .execute(named_params! {
                ":name": change.name, ":priority": change.priority.map(|p| p.get()), ":comment": change.comment,
                ":queue": change.queue.as_ref().map(QueueName::as_str), ":cpus": change.cpus, ":retries": change.retries, ":begin": change.begin.map(|at| at.0),
                ":mem_given": mem.is_some(), ":mem": known(mem), ":time_given": time.is_some(), ":time": known(time),
                ":labels": (!labels.is_empty()).then(|| serde_json::to_string(&labels).unwrap_or_default()),
                ":options": options.to_column(), ":tasks": tasks, ":id": job.0,
            })?;
        Ok(())
    }
}
