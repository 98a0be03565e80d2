//! What is shown while one waits for jobs: the daemon's events say that something changed, and it says what.
//! It refuses to decide when the wait is over, and to ask when nothing happened.

use crate::Context;
use crate::again::{Stopped, ask};
use crate::render::Out;
use crate::render::job::{now, short, tone, why};
use crate::render::progress::{Progress, Said};
use crate::render::{Tone, clean};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::event::EventView;
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::{JobState, JobView, TaskCounts};
use qrm_protocol::method::{EVENT, EventSubscribe, JobParams, JobShow, JobWait, MAX_WAIT, SubscribeParams, WaitParams};
use qrm_protocol::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// However much happens, it is asked for no more often.
const AT_MOST: Duration = Duration::from_millis(100);

/// The line that is shown; dropping it takes it away.
pub(crate) struct Watching(Option<Progress>);

impl Watching {
    /// Shows how these jobs are, if there is somebody to see it.
    pub(crate) fn begin(context: &Context, ids: &[JobRef]) -> Self {
        let progress = Progress::start(&context.out);
        if let Some(progress) = progress.clone() {
            let (context, ids) = (context.beside(), ids.to_vec());
            // Neither outlives what it is shown for by more than a drawing that is not made; both end with the process.
            std::thread::spawn(move || match ids[..] {
                [one] => watch_one(context, one, &progress),
                _ => watch_several(&context, &ids, &progress),
            });
        }
        Self(progress)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(progress) = &self.0 {
            progress.clear();
        }
    }
}

/// Shows one job after each of its events. What can not be asked is not shown; who waits says why.
fn watch_one(context: Context, id: JobRef, progress: &Progress) {
    let out = context.out.on_stderr();
    let beside = context.beside();
    let (tell, told) = channel();
    std::thread::spawn(move || events(&beside, Some(id), |_| tell.send(()).is_ok()));
    let mut more = told.recv().is_ok();
    while more {
        let until = Instant::now() + AT_MOST;
        let params = JobParams { id };
        match ask(&context, Stopped::Waits(None), |mut client| client.call::<JobShow>(&params)) {
            Ok(job) => progress.say(of_one(&out, &job)),
            Err(_) => return,
        }
        more = happened_until(until, &told) || told.recv().is_ok();
    }
}

/// Lets the time pass; whether something happened meanwhile.
fn happened_until(until: Instant, told: &Receiver<()>) -> bool {
    let mut happened = false;
    while told.recv_timeout(until.saturating_duration_since(Instant::now())).is_ok() {
        happened = true;
    }
    happened
}

/// Counts those that have ended.
fn watch_several(context: &Context, ids: &[JobRef], progress: &Progress) {
    let out = context.out.on_stderr();
    let began = now();
    let mut jobs: BTreeMap<JobRef, Option<JobState>> = ids.iter().map(|id| (*id, None)).collect();
    events(context, None, |event| {
        match event {
            None => match states(context, &jobs) {
                Ok(now) => jobs = now,
                Err(_) => return false,
            },
            Some(event) => {
                let Some((of, state)) = ended(&event) else { return true };
                match (jobs.get_mut(&of), of.task) {
                    (Some(known), _) => *known = Some(state),
                    // What was left of an array when it ended will never run.
                    (None, None) => {
                        let tasks = JobRef::task(of.job, 0)..=JobRef::task(of.job, u32::MAX);
                        jobs.range_mut(tasks).for_each(|(_, known)| *known = known.or(Some(JobState::Cancelled)));
                    }
                    _ => return true,
                }
            }
        }
        progress.say(of_several(&out, &jobs, began));
        true
    });
}

/// How all of them are.
fn states(
    context: &Context,
    jobs: &BTreeMap<JobRef, Option<JobState>>,
) -> Result<BTreeMap<JobRef, Option<JobState>>, Error> {
    let ids: Vec<JobRef> = jobs.keys().copied().collect();
    let mut all = BTreeMap::new();
    while all.len() < ids.len() {
        let some = ids[all.len()..].iter().copied().take(MAX_WAIT).collect();
        let params = WaitParams { ids: some, any: false, started: false, timeout_ms: Some(0) };
        let reply = ask(context, Stopped::Waits(None), |mut client| client.call::<JobWait>(&params))?;
        all.extend(reply.jobs.into_iter().map(|job| (job.id, Some(job.state).filter(|state| state.is_terminal()))));
    }
    Ok(all)
}

/// Tells of each event of a job, or of all, over as many daemons as it takes; of nothing each time that it begins, for
/// what was before that it has not seen. Ends when nobody wants to hear more.
fn events(context: &Context, job: Option<JobRef>, mut tell: impl FnMut(Option<EventView>) -> bool) {
    let params = SubscribeParams { after: None, job, follow: true };
    loop {
        let subscribed =
            ask(context, Stopped::Waits(None), |mut client| client.call::<EventSubscribe>(&params).map(|_| client));
        let Ok(mut client) = subscribed else { return };
        if !tell(None) {
            return;
        }
        loop {
            match client.notification() {
                Ok(Some((method, event))) if method == EVENT => {
                    let Ok(event) = serde_json::from_str(event.get()) else { return };
                    if !tell(Some(event)) {
                        return;
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) if error.code == Code::NoDaemon => break,
                Err(_) => return,
            }
        }
    }
}

/// Whose end an event is, and how it ended.
fn ended(event: &EventView) -> Option<(JobRef, JobState)> {
    let field = |name: &str| event.fields.get(name).and_then(serde_json::Value::as_str);
    if event.kind != "job.ended" {
        return None;
    }
    Some((field("job")?.parse().ok()?, JobState::of_word(field("state")?)?))
}

/// What a job says of itself: how much of it is done, and a word on that.
fn progress(job: &JobView) -> Option<(f64, String)> {
    job.progress.as_ref().map(|progress| (progress.fraction.into(), progress.message.clone().unwrap_or_default()))
}

fn of_one(out: &Out, job: &JobView) -> Said {
    let state = out.tone(tone(job.state), job.state.word());
    // Where there is little room, how it is matters more than what it is called.
    let name = short(&clean(&job.name), if out.width.is_some_and(|width| width < 70) { 8 } else { 24 });
    let what = format!("job {}  {name}  {state}", job.id);
    let since = Some(job.started_at.unwrap_or(job.submitted_at));
    if let Some(tasks) = job.tasks {
        let what = format!("job {}  {name}  {}", job.id, counted(out, &tasks));
        let done = tasks.completed + tasks.failed + tasks.cancelled;
        let fraction = f64::from(done) / f64::from(tasks.total.max(1));
        return Said { fraction: Some(fraction), what, since: Some(job.submitted_at), message: String::new() };
    }
    match progress(job) {
        Some((fraction, message)) => Said { fraction: Some(fraction), what, since, message },
        None => Said { fraction: None, what, since, message: why(job) },
    }
}

/// The tasks of an array: where they are, as far as there are any.
fn counted(out: &Out, tasks: &TaskCounts) -> String {
    let done = tasks.completed + tasks.failed + tasks.cancelled;
    let mut text = format!("{done} of {} done", tasks.total);
    for (count, word, tone) in [
        (tasks.running, "run", Tone::Busy),
        (tasks.failed, "failed", Tone::Bad),
        (tasks.cancelled, "cancelled", Tone::Quiet),
    ] {
        if count > 0 {
            text += &format!(", {}", out.tone(tone, &format!("{count} {word}")));
        }
    }
    text
}

fn of_several(out: &Out, jobs: &BTreeMap<JobRef, Option<JobState>>, since: Timestamp) -> Said {
    let ended = jobs.values().flatten().count();
    let bad = jobs.values().flatten().filter(|state| **state != JobState::Completed).count();
    let mut what = format!("{ended} of {} jobs ended", jobs.len());
    if bad > 0 {
        what += &format!(", {}", out.tone(Tone::Bad, &format!("{bad} not well")));
    }
    // Exact far beyond what a command line holds.
    #[allow(clippy::cast_precision_loss)]
    let fraction = ended as f64 / jobs.len().max(1) as f64;
    Said { fraction: Some(fraction), what, since: Some(since), message: String::new() }
}
