//! The one projection from what is kept to what is shown: a row of the store, completed by the core while it lives.
//! It refuses to fetch either.

use super::{Client, Shared};
use crate::store::Row;
use crate::supervise::job_dir;
use qrm_core::{Caller, Live, Waiting};
use qrm_protocol::amount::Bytes;
use qrm_protocol::explain::OfferView;
use qrm_protocol::ids::{JobRef, Uid};
use qrm_protocol::job::{Enforcement, Expansion, JobState, JobView, Offer, OfferId, TaskCounts, UsageView};
use qrm_protocol::signal::Signal;
use qrm_protocol::text::OsText;
use qrm_protocol::time::{Millis, Timestamp};
use std::path::Path;

/// Who looks, and whether the words of jobs are for all.
#[derive(Clone, Copy)]
pub(super) struct Eyes {
    pub caller: Caller,
    pub open: bool,
}

impl Eyes {
    pub fn of(client: &Client, shared: &Shared) -> Self {
        Self { caller: client.caller, open: shared.config.borrow().open }
    }

    /// Whether they see the words of this owner's jobs.
    pub fn see(self, owner: Uid) -> bool {
        self.caller.sees_words(owner, self.open)
    }

    /// Whose words alone may be looked for; nothing if all may.
    pub fn see_only(self) -> Option<Uid> {
        // Any other owner stands for all others.
        let another = self.caller.uid.wrapping_add(1);
        (!self.see(another)).then_some(self.caller.uid)
    }
}

/// What stands where there are words that the caller does not see.
const HIDDEN: &str = "(private)";

/// Leaves what everybody may know: that there is a job, whose, how it is and what it takes.
fn hide(view: &mut JobView) {
    view.name = HIDDEN.to_owned();
    view.command = vec![OsText::new(HIDDEN).expect("it holds no NUL")];
    view.cwd = OsText::new("").expect("it holds no NUL");
    view.labels.clear();
    view.comment = None;
    view.output.clear();
    (view.stdout, view.stderr) = (None, None);
    if let Some(failure) = &mut view.failure {
        failure.message = HIDDEN.to_owned();
    }
    if let Some(progress) = &mut view.progress {
        progress.message = None;
    }
}

/// A job or task as `--json` shows it to a caller.
pub(super) fn job(row: Row, live: Option<Live>, shared: &Shared, eyes: Eyes) -> JobView {
    let sees = eyes.see(row.uid);
    let mut view = complete_job(row, live, shared);
    if !sees {
        hide(&mut view);
    }
    view
}

fn complete_job(row: Row, live: Option<Live>, shared: &Shared) -> JobView {
    let dir = dir(row.id, &shared.jobs);
    let expansion = Expansion { job: row.id, name: &row.name, user: &row.user, cwd: &row.cwd };
    // An array has no output; each of its tasks has.
    let path = |pattern: &Option<OsText>| {
        let pattern = pattern.as_ref().filter(|_| row.tasks.is_none())?;
        OsText::new(expansion.path(pattern)).ok()
    };
    let (stdout, stderr) = (path(&row.options.stdout), path(&row.options.stderr));
    let ended_tasks = row.tasks.zip(row.tasks_ended).map(|(array, (completed, failed))| {
        let total = array.count();
        let cancelled = total.saturating_sub(completed).saturating_sub(failed);
        TaskCounts { total, waiting: 0, running: 0, completed, failed, cancelled }
    });
    let some = |amount: u64| Some(amount).filter(|amount| *amount > 0);
    let (takes, variant) = (row.takes.map(|taken| taken.takes), row.takes.map(|taken| taken.variant));
    // One that would share has each of its alternatives once more.
    let variant = variant.map(u32::from).filter(|variant| *variant as usize <= row.options.variants.len());
    let mem = takes.map_or(row.mem, |takes| some(takes.mem_bytes).map(Bytes));
    let disk = takes.map_or(row.options.disk_bytes, |takes| some(takes.disk_bytes).map(Bytes));
    let (all, pids) = (shared.powers.enforcement, row.options.pids.or(shared.powers.default_pids));
    let mut view = JobView {
        id: row.id,
        name: row.name,
        scope: format!("user:{}", row.user),
        user: row.user,
        queue: row.queue,
        state: row.state,
        attempt: row.attempt,
        priority: row.priority,
        command: row.command,
        cwd: row.cwd,
        labels: row.labels,
        comment: row.comment,
        submitted_at: row.submitted_at,
        begin_at: row.begin_at,
        started_at: row.started_at,
        ended_at: row.ended_at,
        exit_code: row.exit_code,
        signal: row.signal,
        failure: row.failure,
        waiting_reason: None,
        planned_start: None,
        devices: Vec::new(),
        cpus: takes.map_or(row.cpus, |takes| takes.cpus),
        mem_bytes: mem,
        variants: row.options.variants,
        variant,
        exclusive: takes.map_or(row.options.exclusive, |takes| takes.exclusive),
        idle: row.options.idle,
        preemptible: row.options.preemptible || row.options.idle,
        checkpoint_signal: row.options.checkpoint_signal.map(Signal::number),
        min_run_ms: row.options.min_run_ms,
        on_conflict: row.options.on_conflict,
        offers: Vec::new(),
        pids,
        enforcement: Enforcement {
            cpus: all.cpus,
            memory: all.memory.filter(|_| mem.is_some()),
            pids: all.pids.filter(|_| pids.is_some()),
            open_files: all.open_files.filter(|_| row.options.open_files.is_some()),
            io_weight: all.io_weight.filter(|_| row.options.io_weight.is_some()),
            disk: all.disk.filter(|_| disk.is_some()),
        },
        open_files: row.options.open_files,
        io_weight: row.options.io_weight,
        disk_bytes: disk,
        vram_bytes: None,
        time_limit_ms: takes.map_or(row.time_limit, |takes| some(takes.time_ms).map(Millis)),
        stop_signal: row.options.signal.map(Signal::number),
        grace_ms: row.options.grace_ms,
        retries: row.retries,
        array: row.tasks,
        tasks: ended_tasks,
        after: Vec::new(),
        usage: UsageView { cpu_ms: row.cpu_ms, peak_memory_bytes: row.peak_memory, gpu_ms: None, cost_credits: None },
        now: None,
        progress: row.progress,
        queue_timeout_ms: row.options.queue_timeout_ms,
        deadline: row.options.deadline,
        output: row.options.output,
        dir,
        stdout,
        stderr,
        pty: row.options.pty,
    };
    // What ended meanwhile is as the store says.
    if let Some(live) = live.filter(|_| !view.state.is_terminal()) {
        complete(&mut view, live);
    }
    view
}

fn complete(view: &mut JobView, live: Live) {
    view.state = live.state;
    view.attempt = live.attempt.max(view.attempt);
    view.started_at = live.started_at.or(view.started_at);
    view.tasks = live.tasks;
    view.planned_start = live.planned;
    view.preemptible = live.preemptible;
    view.offers = live.offers.into_iter().map(offer).collect();
    view.after = live.after;
    (view.stop_signal, view.grace_ms) = (Some(live.stop.0), Some(Millis(live.stop.1)));
    view.waiting_reason = match (live.stopping, live.waiting) {
        (Some(qrm_core::StopWhy::Cancelled), _) => Some("cancelled; waits for its processes to end".to_owned()),
        (Some(qrm_core::StopWhy::Deadline), _) => {
            Some("its deadline has come; waits for its processes to end".to_owned())
        }
        (Some(qrm_core::StopWhy::Timeout), _) => Some("its time is up; waits for its processes to end".to_owned()),
        (Some(qrm_core::StopWhy::Preempted), _) => {
            Some("makes room for another job; waits for its processes to end".to_owned())
        }
        (None, _) if live.yields => Some("stands still to make room for another job".to_owned()),
        (None, _) if live.suspended => Some("suspended".to_owned()),
        (None, waiting) => waiting.as_ref().map(reason),
    };
}

/// An offer with its id.
pub(super) fn offer((id, offer, lapses_at): (OfferId, Offer, Timestamp)) -> OfferView {
    OfferView { id, offer, lapses_at }
}

/// Why a job waits, with times as they are here.
pub(super) fn reason(waiting: &Waiting) -> String {
    match waiting {
        Waiting::Begin(at) => {
            let local = at.zoned(jiff::tz::TimeZone::system());
            format!("begins {}", local.strftime("%Y-%m-%d %H:%M:%S"))
        }
        other => other.to_string(),
    }
}

/// A task that never ran and has no row of its own: what its array says.
pub(super) fn task_of(array: Row, id: JobRef) -> Option<Row> {
    let task = id.task?;
    if !array.tasks.is_some_and(|spec| spec.contains(task)) {
        return None;
    }
    let state = match array.state {
        JobState::Timeout => JobState::Timeout,
        ended if ended.is_terminal() => JobState::Cancelled,
        _ => JobState::Queued,
    };
    Some(Row {
        id,
        state,
        attempt: 0,
        tasks: None,
        tasks_ended: None,
        started_at: None,
        exit_code: None,
        signal: None,
        failure: None,
        cpu_ms: None,
        peak_memory: None,
        progress: None,
        ..array
    })
}

/// Where a job's output is.
pub(super) fn dir(id: JobRef, jobs: &Path) -> String {
    jobs.join(job_dir(id)).display().to_string()
}

/// How many of these, from the first on, fit into so many bytes of a frame; takes off what they need.
pub(super) fn fit(views: &[JobView], room: &mut usize) -> usize {
    let fits = |view: &&JobView| {
        let mut counter = Counter(0);
        // A byte of a command takes one to six in JSON, and some jobs have a thousand dependencies: only counting tells.
        let left = serde_json::to_writer(&mut counter, view).ok().and_then(|()| room.checked_sub(counter.0));
        left.is_some_and(|left| {
            *room = left;
            true
        })
    };
    views.iter().take_while(fits).count()
}

/// Counts what is written.
struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Views of rows that were read before the core was asked.
pub(super) async fn jobs(
    rows: Vec<Row>,
    shared: &Shared,
    eyes: Eyes,
) -> Result<Vec<JobView>, qrm_protocol::error::Error> {
    let ids: Vec<JobRef> = rows.iter().map(|row| row.id).collect();
    let live =
        shared.engine.look(move |core, now| ids.iter().map(|id| core.look(now, *id)).collect::<Vec<_>>()).await?;
    let mut views = Vec::with_capacity(rows.len());
    for (row, live) in rows.into_iter().zip(live) {
        // It ended between the two looks: the store knows how by now.
        let row = match (row.state.is_terminal(), &live) {
            (false, None) => super::jobs::row(shared, row.id).await?.unwrap_or(row),
            _ => row,
        };
        views.push(job(row, live, shared, eyes));
    }
    super::stats::measured(&mut views, shared).await?;
    Ok(views)
}
