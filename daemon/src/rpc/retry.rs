//! Queuing once more what has ended, as new jobs: all of it, or nothing.
//! It refuses to touch what ended, and what has not.

use super::jobs::{no_such, read, row};
use super::targets::{Found, MOST_NAMED, Targets, are_live, has_ended};
use super::{Client, Shared};
use crate::store::{JobText, PastJob, Row};
use qrm_core::{Action, Answer, Demand, Right};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::filter::Filter;
use qrm_protocol::ids::{JobId, JobRef, TaskIndex};
use qrm_protocol::job::{ArraySpec, JobState};
use qrm_protocol::method::{RetriedJob, RetryReply, TargetParams};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// So many are read and queued at once, or those that fill so many bytes; others are served in between.
const SLICE: usize = 500;
const SLICE_BYTES: usize = 1 << 20;

/// A job to be made: of what, and which of its tasks if it is an array, which is as wide as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Again {
    of: JobRef,
    array: Option<ArraySpec>,
}

pub(super) async fn retry(client: &Client, shared: &Arc<Shared>, params: TargetParams) -> Result<RetryReply, Error> {
    let jobs = match Targets::parse(shared, &params.targets, "state=failed").await? {
        Targets::Ids(ids) => each(client, shared, ids).await?,
        Targets::Filter(filter) => found(client, shared, filter).await?,
    };
    if jobs.is_empty() {
        return Ok(RetryReply::default());
    }
    let action = Action::BulkBegin { count: jobs.len() as u64 };
    let Answer::BulkBegun(first) = shared.engine.command(client.caller, action, Vec::new()).await?.answer else {
        return Err(Error::new(Code::Internal, "a bulk was answered with something else"));
    };
    if let Err(error) = submit(client, shared, first, &jobs).await {
        let discard = Action::BulkDiscard { bulk: first };
        if let Err(error) = shared.engine.command(client.caller, discard, Vec::new()).await {
            tracing::warn!(bulk = %first, error = error.message, "a bulk could not be discarded; the next start does it");
        }
        return Err(error);
    }
    let ids = (first.0..).map(|id| JobRef::from(JobId(id)));
    let named = jobs.iter().zip(ids).map(|(again, id)| RetriedJob { of: again.of, id });
    Ok(RetryReply { jobs: named.take(MOST_NAMED).collect(), count: jobs.len() as u64 })
}

/// What is named, each once: all of it has ended, and is the caller's.
async fn each(client: &Client, shared: &Shared, ids: Vec<JobRef>) -> Result<Vec<Again>, Error> {
    let mut jobs = Vec::new();
    let live = are_live(shared, &ids).await?;
    for (id, live) in ids.into_iter().zip(live) {
        // A job of a bulk that is not there yet has a row, and a task that never started has that of its array.
        let is_there = live || has_ended(shared, id).await?;
        let Some(of) = row(shared, id).await?.filter(|_| is_there) else { return Err(no_such(id)) };
        client.caller.check(Right::Repeat, of.uid, id)?;
        if live {
            return Err(Error::new(Code::FailedPrecondition, format!("job {id} has not ended"))
                .hint(format!("qrm wait {id} returns when it has, qrm cancel {id} ends it")));
        }
        jobs.push(Again { of: id, array: id.task.map_or(of.tasks, |task| Some(one(task))) });
    }
    Ok(jobs)
}

fn one(task: TaskIndex) -> ArraySpec {
    ArraySpec { first: task, last: task, step: 1, width: None }
}

/// What a filter finds of the caller's that has ended. An array that is found stands for those of its tasks that never
/// started; those that did are found by themselves.
async fn found(client: &Client, shared: &Arc<Shared>, filter: Filter) -> Result<Vec<Again>, Error> {
    let mut whole = Vec::new();
    let mut tasks: BTreeMap<JobId, BTreeSet<TaskIndex>> = BTreeMap::new();
    let mut found = Found::among(filter, JobState::is_terminal);
    while let Some(rows) = found.next(client, shared).await? {
        for row in rows.into_iter().filter(|row| client.caller.has(Right::Repeat, row.uid)) {
            match (row.id.task, row.tasks) {
                (None, None) => whole.push(Again { of: row.id, array: None }),
                (None, Some(array)) => {
                    let never = never_started(shared, &row, array).await?;
                    tasks.entry(row.id.job).or_default().extend(never);
                }
                (Some(task), _) => drop(tasks.entry(row.id.job).or_default().insert(task)),
            }
        }
    }
    for (job, indices) in tasks {
        whole.extend(ranges(&indices).into_iter().map(|array| {
            let of = if array.count() == 1 { JobRef::task(job, array.first) } else { job.into() };
            Again { of, array: Some(array) }
        }));
    }
    whole.sort_by_key(|again| again.of);
    Ok(whole)
}

async fn never_started(shared: &Shared, row: &Row, array: ArraySpec) -> Result<Vec<TaskIndex>, Error> {
    let job = row.id.job;
    let rows: BTreeSet<TaskIndex> = read(shared, move |reader| reader.tasks_of(job)).await?;
    let all = (array.first..=array.last).step_by(array.step as usize);
    Ok(all.filter(|task| !rows.contains(task)).collect())
}

/// Indices as few arrays: each takes as many as follow at the same distance.
fn ranges(indices: &BTreeSet<TaskIndex>) -> Vec<ArraySpec> {
    let mut all: Vec<ArraySpec> = Vec::new();
    for task in indices {
        match all.last_mut() {
            Some(last) if last.first == last.last => (last.step, last.last) = (task - last.last, *task),
            Some(last) if task - last.last == last.step => last.last = *task,
            _ => all.push(one(*task)),
        }
    }
    all
}

async fn submit(client: &Client, shared: &Arc<Shared>, bulk: JobId, jobs: &[Again]) -> Result<(), Error> {
    let mut left = jobs;
    while !left.is_empty() {
        let asked: Vec<JobId> = left.iter().take(SLICE).map(|again| again.of.job).collect();
        let past = read(shared, move |reader| reader.past_jobs(&asked, SLICE_BYTES)).await?;
        let (slice, rest) = left.split_at(past.len());
        left = rest;
        let text = |(past, again): (Option<PastJob>, &Again)| Ok(text(past.ok_or_else(|| no_such(again.of))?, again));
        let texts: Vec<JobText> = past.into_iter().zip(slice).map(text).collect::<Result<_, Error>>()?;
        let demands = texts.iter().map(|text| Some(Demand::from(&text.spec))).collect();
        let action = Action::BulkAdd { bulk, jobs: demands, ended: BTreeMap::new() };
        shared.engine.command(client.caller, action, texts).await.map_err(|mut error| {
            // The core counts the jobs of a bulk; people know what they named.
            let place =
                error.message.strip_prefix("job ").and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
            if let (Some(again), Some((_, why))) =
                (place.and_then(|place| jobs.get(place.wrapping_sub(1))), error.message.split_once(": "))
            {
                error.message = format!("job {} can not be queued again: {why}", again.of);
            }
            error
        })?;
    }
    shared.engine.command(client.caller, Action::BulkCommit { bulk }, Vec::new()).await.map(drop)
}

fn text(past: PastJob, again: &Again) -> JobText {
    let PastJob { mut spec, user, cwd, umask, environment } = past;
    let width = spec.array.and_then(|array| array.width);
    spec.array = again.array.map(|array| ArraySpec { width, ..array });
    JobText { spec, user, cwd, umask, environment }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_become_few_arrays_that_hold_each_of_them_once() {
        for (indices, arrays) in [
            (vec![], vec![]),
            (vec![5], vec!["5-5"]),
            (vec![0, 1, 2, 3], vec!["0-3"]),
            (vec![2, 4, 6, 7, 8], vec!["2-6:2", "7-8"]),
            (vec![1, 10, 11], vec!["1-10:9", "11-11"]),
        ] {
            let shown: Vec<String> = ranges(&indices.into_iter().collect()).iter().map(ToString::to_string).collect();
            assert_eq!(shown, arrays);
        }
    }
}
