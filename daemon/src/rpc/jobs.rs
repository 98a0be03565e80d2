//! The calls about jobs: submit, list, show, wait, signal.
//! It refuses to know frames.

use super::targets::are_live;
use super::{Client, Shared, stats, submitter, turns, users, view};
use crate::mode::Mode;
use crate::store::{Environment, JobText, Page, Reader, Row, StoreError};
use crate::supervise;
use crate::supervise::identity::identity;
use crate::trace::{self, Trace};
use qrm_core::{Action, Answer, Core, Demand, Right};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::filter::Filter;
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::{CLEAN_ENV, JobSpec, JobState, JobView, MAX_ENVIRONMENT_BYTES, MAX_PATH_BYTES, Stdin};
use qrm_protocol::method as m;
use qrm_protocol::text::OsText;
use qrm_shim::plan::Rlimit;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The most jobs of one page.
const MAX_PAGE: u32 = 1_000;
/// The most bytes of one page, so that it stays far below the bound of a frame.
pub(super) const PAGE_BYTES: usize = 2 << 20;

/// Reads on a thread that may block.
pub(super) async fn read<T: Send + 'static>(
    shared: &Shared,
    call: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Error> {
    let readers = shared.readers.clone();
    let read = turns::blocking(move || readers.with(call)).await;
    let failed =
        |why: &dyn std::fmt::Display| Error::new(Code::Unavailable, format!("the store can not be read: {why}"));
    read.map_err(|e| failed(&e))?.map_err(|e| failed(&e))
}

/// The row of a job or task.
pub(super) async fn row(shared: &Shared, id: JobRef) -> Result<Option<Row>, Error> {
    Ok(rows(shared, vec![id]).await?.pop().flatten())
}

/// The rows of jobs and tasks, in their order.
async fn rows(shared: &Shared, ids: Vec<JobRef>) -> Result<Vec<Option<Row>>, Error> {
    read(shared, move |reader| {
        let one = |id: JobRef| match (reader.row(id)?, id.task) {
            (None, Some(_)) => Ok(reader.row(id.job.into())?.and_then(|array| view::task_of(array, id))),
            (found, _) => Ok(found),
        };
        ids.into_iter().map(one).collect()
    })
    .await
}

/// Where a job was submitted, checked once for it or for its whole bulk.
#[derive(Clone)]
pub(super) struct Origin {
    user: String,
    cwd: OsText,
    umask: u32,
    env: Arc<[OsText]>,
    limits: Arc<[Rlimit]>,
    environment: Arc<Environment>,
}

impl Origin {
    pub(super) async fn of(client: &Client, shared: &Arc<Shared>, context: m::Context) -> Result<Self, Error> {
        if !context.cwd.as_bytes().starts_with(b"/") {
            return Err(Error::invalid("the working directory is not an absolute path"));
        }
        if context.cwd.as_bytes().len() > MAX_PATH_BYTES {
            let message = format!("the working directory is longer than {MAX_PATH_BYTES} bytes, the bound of a path");
            return Err(Error::new(Code::ResourceExhausted, message));
        }
        is_bounded(&context.env)?;
        if let Some(bad) = context.env.iter().find(|entry| !entry.as_bytes().contains(&b'=')) {
            let name: String = bad.lossy().chars().take(40).collect();
            return Err(Error::invalid(format!("'{name}' in the environment is not NAME=value")));
        }
        let limits = submitter::limits(client.pid, client.caller.uid)?;
        Ok(Self {
            user: users::name(shared, client.caller.uid).await,
            cwd: context.cwd,
            umask: context.umask & 0o777,
            environment: Arc::new(Environment::new(&context.env, &limits)),
            env: context.env.into(),
            limits: limits.into(),
        })
    }

    /// # Errors
    /// Its environment is too large.
    pub(super) fn text(&self, spec: JobSpec) -> Result<JobText, Error> {
        Ok(JobText {
            user: self.user.clone(),
            cwd: spec.chdir.clone().unwrap_or_else(|| self.cwd.clone()),
            umask: self.umask,
            environment: self.environment_of(&spec)?,
            spec,
        })
    }

    fn environment_of(&self, spec: &JobSpec) -> Result<Arc<Environment>, Error> {
        if spec.env.is_empty() && !spec.clean_env {
            return Ok(self.environment.clone());
        }
        let stays = |entry: &&OsText| {
            let name = entry.as_bytes().split(|byte| *byte == b'=').next().unwrap_or_default();
            let is_set = std::str::from_utf8(name).is_ok_and(|name| spec.env.contains_key(name));
            // A terminal that nobody knows the kind of is of no use.
            let is_kept = |kept: &&str| kept.as_bytes() == name;
            let terminal = spec.pty.map(|_| "TERM");
            !is_set && (!spec.clean_env || CLEAN_ENV.iter().chain(&terminal).any(is_kept))
        };
        let mut env: Vec<OsText> = self.env.iter().filter(stays).cloned().collect();
        for (name, value) in &spec.env {
            let entry = [name.as_bytes(), b"=", value.as_bytes()].concat();
            env.push(OsText::new(entry).map_err(|e| Error::invalid(format!("{name} in the environment: {e}")))?);
        }
        is_bounded(&env)?;
        Ok(Arc::new(Environment::new(&env, &self.limits)))
    }
}

fn is_bounded(env: &[OsText]) -> Result<(), Error> {
    let length: usize = env.iter().map(|entry| entry.as_bytes().len() + 1).sum();
    if length <= MAX_ENVIRONMENT_BYTES {
        return Ok(());
    }
    let message = format!("the environment is {length} bytes long; the bound is {MAX_ENVIRONMENT_BYTES}");
    Err(Error::new(Code::ResourceExhausted, message).hint("--clean-env takes only the most necessary of yours"))
}

pub(super) async fn submit(
    client: &Client,
    shared: &Arc<Shared>,
    params: m::SubmitParams,
) -> Result<m::SubmitReply, Error> {
    let origin = Origin::of(client, shared, params.context).await?;
    let text = origin.text(params.job)?;
    let fifo = text.spec.stdin == Stdin::Fifo;
    let action =
        Action::Submit { name: text.spec.display_name(), demand: Demand::from(&text.spec), ended: BTreeMap::new() };
    let reply = shared.engine.command(client.caller, action, vec![text]).await?;
    let Answer::Submitted(id, mut state) = reply.answer else {
        return Err(Error::new(Code::Internal, "a submit was answered with something else"));
    };
    let existing = !reply.existing.is_empty();
    if existing && let Some(row) = row(shared, id.into()).await? {
        state = if row.state.is_terminal() { row.state } else { state };
    }
    if fifo && !existing {
        let (jobs, mode, uid) = (shared.jobs.clone(), shared.mode, client.caller.uid);
        let made = turns::blocking(move || {
            let identity = (mode == Mode::System).then(|| identity(uid)).transpose().map_err(std::io::Error::other)?;
            supervise::make_fifo(&jobs, id.into(), mode, identity.as_ref())
        });
        let failed = |why: &dyn std::fmt::Display| {
            Error::new(Code::Unavailable, format!("job {id} has no standard input: {why}"))
        };
        made.await.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
        if !shared.engine.look(move |core, _| core.is_live(id.into())).await? {
            // It was tidied away before this was made; whatever it left stays.
            let dir = shared.jobs.join(supervise::job_dir(id.into()));
            tokio::task::spawn_blocking(move || {
                if std::fs::remove_file(dir.join(supervise::STDIN)).and_then(|()| std::fs::remove_dir(&dir)).is_err() {
                    tracing::debug!(dir = %dir.display(), "a job without input has left something");
                }
            });
        }
    }
    Ok(m::SubmitReply { id: id.into(), state, existing, dir: view::dir(id.into(), &shared.jobs) })
}

pub(super) async fn trace(client: &Client, shared: &Shared, id: JobRef) -> Result<m::TraceReply, Error> {
    // That nobody may see it yet is known there.
    show(client, shared, id).await?;
    let row = row(shared, id).await?.ok_or_else(|| no_such(id))?;
    // Its ids are of the environment.
    client.caller.check(Right::Inside, row.uid, id)?;
    let (environment, events) =
        read(shared, move |reader| Ok((reader.environment_of(id.job)?, reader.events_of(id)?))).await?;
    let trace = Trace::of(&environment, id, row.submitted_at, &row.user);
    let (spans, incomplete) = trace::spans(&trace, &row, &events);
    Ok(m::TraceReply { trace_id: trace.trace_id, parent_id: trace.parent_id, spans, incomplete })
}

pub(super) async fn list(client: &Client, shared: &Shared, params: m::ListParams) -> Result<m::ListReply, Error> {
    let filter = Filter::parse(&params.filter, &jiff::Zoned::now())?;
    let limit = params.limit.unwrap_or(50);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Error::invalid(format!("a page has 1 to {MAX_PAGE} jobs, not {limit}")));
    }
    let eyes = view::Eyes::of(client, shared);
    let (rows, mut more) = page(shared, eyes, filter, limit, params.before).await?;
    let mut jobs = view::jobs(rows, shared, eyes).await?;
    let mut room = PAGE_BYTES;
    let fit = view::fit(&jobs, &mut room).max(1);
    more |= jobs.len() > fit;
    jobs.truncate(fit);
    Ok(m::ListReply { jobs, more })
}

/// One page of rows.
pub(super) async fn page(
    shared: &Shared,
    eyes: view::Eyes,
    filter: Filter,
    limit: u32,
    before: Option<JobRef>,
) -> Result<(Vec<Row>, bool), Error> {
    let plain = filter.terms.is_empty();
    let (hidden, tasks) = shared
        .engine
        .look(move |core, _| {
            let running = if plain { core.running(usize::MAX) } else { Vec::new() };
            (core.hidden(), running.into_iter().filter(|job| job.task.is_some()).collect())
        })
        .await?;
    let page = Page { filter, limit, before, hidden, tasks, words_of: eyes.see_only() };
    read(shared, move |reader| reader.list(&page)).await
}

/// A job that there is none of.
pub(super) fn no_such(id: JobRef) -> Error {
    qrm_core::Refusal::NoSuchJob(id).into()
}

pub(super) async fn show(client: &Client, shared: &Shared, id: JobRef) -> Result<JobView, Error> {
    show_all(client, shared, &[id]).await?.pop().ok_or_else(|| no_such(id))
}

/// All of these, in their order; that there is none of one refuses all.
async fn show_all(client: &Client, shared: &Shared, ids: &[JobRef]) -> Result<Vec<JobView>, Error> {
    let (asked, eyes) = (ids.to_vec(), view::Eyes::of(client, shared));
    let look =
        move |core: &Core, now| (asked.into_iter().map(|id| core.look(now, id)).collect::<Vec<_>>(), core.hidden());
    let (live, hidden) = shared.engine.look(look).await?;
    let is_hidden =
        |id: JobRef| hidden.iter().any(|(first, n)| (first.0..first.0.saturating_add(*n)).contains(&id.job.0));
    let rows = rows(shared, ids.to_vec()).await?;
    let views = ids.iter().zip(rows).zip(live).map(|((id, row), live)| {
        let mut row = row.filter(|_| !is_hidden(*id)).ok_or_else(|| no_such(*id))?;
        // A task that will not run any more: its array's last tasks are being ended, or an earlier release left its row.
        if live.is_none() && id.task.is_some() && !row.state.is_terminal() {
            row.state = JobState::Cancelled;
        }
        Ok(view::job(row, live, shared, eyes))
    });
    views.collect()
}

/// As it is answered: with what it uses now.
pub(super) async fn show_measured(client: &Client, shared: &Shared, id: JobRef) -> Result<JobView, Error> {
    let mut view = show(client, shared, id).await?;
    stats::measured(std::slice::from_mut(&mut view), shared).await?;
    Ok(view)
}

pub(super) async fn wait(client: &Client, shared: &Shared, params: m::WaitParams) -> Result<m::WaitReply, Error> {
    let m::WaitParams { ids, any, started, timeout_ms } = params;
    if !(1..=m::MAX_WAIT).contains(&ids.len()) {
        return Err(Error::invalid(format!("one call waits for 1 to {} jobs, not {}", m::MAX_WAIT, ids.len())));
    }
    // What has ended is known by the store alone.
    show_all(client, shared, &ids).await?;
    let until = timeout_ms.and_then(|ms| tokio::time::Instant::now().checked_add(Duration::from_millis(ms)));
    let gone = |_| Error::new(Code::NoDaemon, "the daemon is stopping").hint("the job goes on; wait for it again");
    let (timed_out, mut jobs) = loop {
        let ended = shared.engine.wait(ids.clone(), any, started)?;
        let told = match until {
            None => Some(ended.await),
            Some(until) => tokio::time::timeout_at(until, ended).await.ok(),
        };
        let timed_out = told.transpose().map_err(gone)?.is_none();
        let live = are_live(shared, &ids).await?;
        // An end that could not be written down is none, and is told again.
        if timed_out || started || if any { live.contains(&false) } else { !live.contains(&true) } {
            let mut jobs = show_all(client, shared, &ids).await?;
            stats::measured(&mut jobs, shared).await?;
            break (timed_out, jobs);
        }
    };
    if any && !timed_out {
        jobs.retain(|job| job.state.is_terminal() || started && job.state == JobState::Executing);
    }
    let mut room = PAGE_BYTES;
    jobs.truncate(view::fit(&jobs, &mut room).max(1));
    Ok(m::WaitReply { timed_out, jobs })
}
