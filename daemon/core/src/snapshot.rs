//! The state as lines of JSON: a head, then one line for each job, run and bulk.
//! It refuses to know where the lines are kept and how they are proved whole.

use crate::job::Job;
use crate::line::Past;
use crate::policy::Policy;
use crate::queue::Queue;
use crate::shape::{Kind, Shape};
use crate::share::Shares;
use crate::state::{Bulk, Core, Machine, RunState};
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::JobState;
use qrm_protocol::queue::QueueName;
use qrm_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::sync::Arc;

/// The version of the lines.
pub const SNAPSHOT_FORMAT: u32 = 1;

/// The lines are not a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Reading failed.
    #[error("it can not be read: {0}")]
    Io(#[from] std::io::Error),
    /// A line is not what it should be.
    #[error("line {line} is not understood: {why}")]
    Line {
        /// From 1.
        line: usize,
        /// What the parser says.
        why: serde_json::Error,
    },
    /// It has no head, or that of a later version.
    #[error("it has format {0:?}, and this release reads {SNAPSHOT_FORMAT}")]
    Format(Option<u32>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Head { format: u32, machine: Machine, next_job: u64, ended: BTreeMap<JobState, u64> },
    Job { id: JobId, job: Job },
    Run { job: JobRef, run: RunState },
    Bulk { first: JobId, bulk: Bulk },
    Doomed { id: JobId, on: JobRef },
    Policy(Policy),
    Queue { name: QueueName, queue: Queue },
    Shares(Shares),
    Past { shape: Shape, past: Past },
    Announced { job: JobRef, start: Timestamp },
}

impl Core {
    /// Writes the state.
    ///
    /// # Errors
    /// Writing failed.
    pub fn save(&self, to: &mut impl Write) -> std::io::Result<()> {
        let mut put = |line: &Line| {
            serde_json::to_writer(&mut *to, line)?;
            to.write_all(b"\n")
        };
        put(&Line::Head {
            format: SNAPSHOT_FORMAT,
            machine: self.machine.clone(),
            next_job: self.next_job,
            ended: self.ended.clone(),
        })?;
        // What is as it always was needs no line.
        if self.policy != Policy::default() {
            put(&Line::Policy(self.policy.clone()))?;
        }
        for (name, queue) in
            self.queues.iter().filter(|(name, queue)| !name.is_default() || **queue != Queue::default())
        {
            put(&Line::Queue { name: name.clone(), queue: queue.clone() })?;
        }
        if self.shares != Shares::default() {
            put(&Line::Shares(self.shares.clone()))?;
        }
        for (shape, past) in &self.past {
            put(&Line::Past { shape: (***shape).clone(), past: past.clone() })?;
        }
        for (job, start) in &self.announced {
            put(&Line::Announced { job: *job, start: *start })?;
        }
        for (id, job) in &self.jobs {
            put(&Line::Job { id: *id, job: job.clone() })?;
        }
        for (job, run) in &self.runs {
            put(&Line::Run { job: *job, run: *run })?;
        }
        for (first, bulk) in &self.bulks {
            put(&Line::Bulk { first: *first, bulk: bulk.clone() })?;
        }
        for (id, on) in self.bulks.values().flat_map(|bulk| &bulk.doomed) {
            put(&Line::Doomed { id: *id, on: *on })?;
        }
        Ok(())
    }

    /// Reads what [`Core::save`] wrote.
    ///
    /// # Errors
    /// It is not that.
    pub fn load(from: impl BufRead) -> Result<Self, SnapshotError> {
        let mut core = Self::default();
        let mut runs = BTreeMap::new();
        let mut format = None;
        for (place, text) in from.lines().enumerate() {
            let line = serde_json::from_str(&text?).map_err(|why| SnapshotError::Line { line: place + 1, why })?;
            match line {
                Line::Head { format: is, machine, next_job, ended } => {
                    format = Some(is);
                    core.machine = machine;
                    core.next_job = next_job;
                    core.ended = ended;
                }
                Line::Job { id, job } => {
                    if !job.tasks.as_ref().is_none_or(|tasks| tasks.are_in_range()) {
                        let why = serde::de::Error::custom(format!("job {id} has tasks that its array has not"));
                        return Err(SnapshotError::Line { line: place + 1, why });
                    }
                    core.jobs.insert(id, job);
                }
                Line::Policy(policy) => core.policy = policy,
                Line::Queue { name, queue } => drop(core.queues.insert(name, queue)),
                Line::Shares(shares) => core.shares = shares,
                Line::Past { shape, past } => drop(core.past.insert(Arc::new(Kind::new(shape)), past)),
                Line::Announced { job, start } => drop(core.announced.insert(job, start)),
                Line::Run { job, run } => drop(runs.insert(job, run)),
                Line::Bulk { first, bulk } => drop(core.bulks.insert(first, bulk)),
                Line::Doomed { id, on } => {
                    if let Some((_, bulk)) = core.bulks.range_mut(..=id).next_back() {
                        bulk.doomed.insert(id, on);
                    }
                }
            }
        }
        if format != Some(SNAPSHOT_FORMAT) {
            return Err(SnapshotError::Format(format));
        }
        core.rebuild(runs);
        Ok(core)
    }
}
