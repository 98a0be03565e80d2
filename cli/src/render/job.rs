//! Jobs for people: one in a line, one in full.
//! It refuses to fetch anything.

use super::clock::Clock;
use super::gauge::hundredths;
use super::table::{Column, table};
use super::{Out, Tone, clean, entry};
use qrm_protocol::explain::OfferView;
use qrm_protocol::filter::command_text;
use qrm_protocol::job::{DEFAULT_GRACE, Enforcement, How, JobState, JobView, Progress};
use qrm_protocol::signal::Signal;
use qrm_protocol::text::shell_quoted;
use qrm_protocol::time::{Millis, Timestamp};

/// What a state's colour means.
pub(crate) fn tone(state: JobState) -> Tone {
    match state {
        JobState::Completed => Tone::Good,
        JobState::Failed | JobState::Timeout => Tone::Bad,
        JobState::Cancelled => Tone::Quiet,
        JobState::Executing | JobState::Allocating | JobState::Completing => Tone::Busy,
        _ => Tone::Plain,
    }
}

/// The present, by the wall clock.
pub(crate) fn now() -> Timestamp {
    Clock::here().now
}

/// A time of day if it is today, else the date with it.
pub(crate) fn when(at: Timestamp) -> String {
    Clock::here().when(at)
}

/// How long it ran, runs, or waits.
fn time(job: &JobView) -> String {
    let span: Millis = match (job.started_at, job.ended_at) {
        (Some(start), Some(end)) => end.since(start),
        (Some(start), None) => now().since(start),
        (None, Some(_)) => return "-".to_owned(),
        (None, None) => now().since(job.submitted_at),
    };
    span.to_string()
}

/// Why it waits and when that is planned to be over, how it ended.
pub(crate) fn why(job: &JobView) -> String {
    why_at(job, &Clock::here())
}

/// What it waits for. The daemon may be in another zone than who looks, and times are as they are here.
fn waits_for(job: &JobView, clock: &Clock) -> Option<String> {
    let reason = job.waiting_reason.clone()?;
    let begin = job.begin_at.filter(|_| reason.starts_with("begins "));
    Some(begin.map_or(reason, |begin| format!("begins {}", clock.when(begin))))
}

fn why_at(job: &JobView, clock: &Clock) -> String {
    let planned = job.planned_start.map(|at| format!("planned {}", clock.minute(at)));
    match (planned, waits_for(job, clock)) {
        (Some(planned), Some(reason)) => return format!("{planned}: {reason}"),
        (Some(planned), None) if job.started_at.is_none() && !job.state.is_terminal() => return planned,
        (None, Some(reason)) => return reason,
        _ => {}
    }
    if let (Some(tasks), false) = (job.tasks, job.state.is_terminal()) {
        return format!(
            "{} of {} done, {} run",
            tasks.completed + tasks.failed + tasks.cancelled,
            tasks.total,
            tasks.running
        );
    }
    if let (Some(said), false) = (&job.progress, job.state.is_terminal()) {
        return progress(said);
    }
    match (&job.failure, job.exit_code) {
        (Some(failure), _) => failure.message.clone(),
        (None, Some(0) | None) => String::new(),
        (None, Some(code)) => format!("exit code {code}"),
    }
}

/// A limit, and how the job is held to it unless the kernel does that.
fn held(limit: String, how: Option<How>) -> String {
    match how {
        Some(How::Enforced) | None => limit,
        Some(How::Watched) => format!("{limit} (watched)"),
        Some(How::None) => format!("{limit} (not enforced)"),
    }
}

/// How far it says it is.
pub(crate) fn progress(progress: &Progress) -> String {
    let message = progress.message.as_deref().map(|message| format!(", {}", clean(message))).unwrap_or_default();
    format!("{}{message}", progress.fraction)
}

const COLUMNS: &[Column] = &[
    ("ID", true),
    ("STATE", false),
    ("USER", false),
    ("NAME", false),
    ("CPUS", true),
    ("MEM", true),
    ("TIME", true),
    ("WHY", false),
];

/// Jobs as a table.
pub(crate) fn list(out: &Out, jobs: &[JobView]) -> String {
    let rows = jobs.iter().map(|job| {
        let id = match job.array {
            Some(array) => format!("{} [{array}]", job.id),
            None => job.id.to_string(),
        };
        vec![
            (id, Tone::Plain),
            (job.state.to_string(), tone(job.state)),
            (job.user.clone(), Tone::Plain),
            (short(&job.name, if out.width.is_some() { 20 } else { 64 }), Tone::Plain),
            (job.cpus.to_string(), Tone::Plain),
            (job.mem_bytes.map_or_else(|| "-".to_owned(), |m| m.to_string()), Tone::Plain),
            (time(job), Tone::Plain),
            (why(job), Tone::Quiet),
        ]
    });
    table(out, COLUMNS, rows.collect())
}

/// Text of at most so many characters.
pub(crate) fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// What stands on one line however long it is: it may be copied from there.
const WHOLE: [&str; 6] = ["job", "command", "directory", "output", "stdout", "stderr"];

/// Everything of one job.
pub(crate) fn full(out: &Out, job: &JobView) -> String {
    let mut lines: Vec<(&str, String)> = Vec::new();
    let mut put = |key: &'static str, value: Option<String>| lines.extend(value.map(|value| (key, value)));
    put("job", Some(format!("{}  {}", job.id, clean(&job.name))));
    put("state", Some(out.tone(tone(job.state), job.state.word())));
    put("why", waits_for(job, &Clock::here()));
    put("failure", job.failure.as_ref().map(|f| format!("{:?}: {}", f.kind, clean(&f.message))));
    put("exit code", job.exit_code.map(|c| c.to_string()));
    put("signal", job.signal.map(|s| s.to_string()));
    put("planned", job.planned_start.map(|at| format!("{}, {}", when(at), Clock::here().far(at))));
    for OfferView { id, offer, lapses_at } in &job.offers {
        put("offer", Some(format!("{id}, until {}: {offer}", when(*lapses_at))));
    }
    put("user", Some(job.user.clone()));
    put("queue", Some(format!("{}, priority {}", job.queue, job.priority)));
    put("on conflict", job.on_conflict.map(|way| way.to_string()));
    // Of a job whose words are not for the caller there is no directory, and one word stands for the command.
    let is_private = job.cwd.as_bytes().is_empty();
    let command = if is_private { command_text(&job.command) } else { shell_quoted(&job.command) };
    put("command", Some(clean(&command)));
    put("directory", (!is_private).then(|| clean(&job.cwd.lossy())));
    put("comment", job.comment.as_deref().map(clean));
    let labels: Vec<String> = job.labels.iter().map(|(name, value)| format!("{name}={}", clean(value))).collect();
    put("labels", (!labels.is_empty()).then(|| labels.join(", ")));
    put("progress", job.progress.as_ref().map(progress));
    put("array", job.array.map(|a| a.to_string()));
    put(
        "tasks",
        job.tasks.map(|t| {
            let cancelled = if t.cancelled > 0 { format!(", {} cancelled", t.cancelled) } else { String::new() };
            format!(
                "{}: {} waiting, {} running, {} completed, {} failed{cancelled}",
                t.total, t.waiting, t.running, t.completed, t.failed
            )
        }),
    );
    put("after", (!job.after.is_empty()).then(|| job.after.join(", ")));
    put(
        "attempt",
        (job.attempt > 0).then(|| match job.retries {
            0 => job.attempt.to_string(),
            retries => format!("{} of {}", job.attempt, retries + 1),
        }),
    );
    let Enforcement { cpus, memory, pids, disk, open_files, io_weight } = job.enforcement;
    put("cpus", Some(held(job.cpus.to_string(), cpus)));
    put("memory", job.mem_bytes.map(|m| held(m.to_string(), memory)));
    put("scratch", job.disk_bytes.map(|most| held(most.to_string(), disk)));
    put("processes", job.pids.map(|most| held(format!("at most {most}"), pids)));
    put("I/O weight", job.io_weight.map(|weight| held(weight.to_string(), io_weight)));
    put("open files", job.open_files.map(|most| held(format!("at most {most}"), open_files)));
    put("time limit", job.time_limit_ms.map(|t| t.to_string()));
    for (place, variant) in (1..).zip(&job.variants) {
        let has = if job.variant == Some(place) { "  (this is what it has)" } else { "" };
        put("or", Some(format!("{variant}{has}")));
    }
    put("exclusive", job.exclusive.then(|| "it wants the machine for itself".to_owned()));
    put("idle", job.idle.then(|| "it only fills gaps, and makes room for all others".to_owned()));
    put(
        "preemptible",
        job.preemptible.then(|| {
            let from = job.min_run_ms.map(|time| format!(", once it has run for {time}")).unwrap_or_default();
            format!("it makes room for jobs of a higher class{from}")
        }),
    );
    put(
        "checkpoint",
        job.checkpoint_signal.and_then(Signal::new).map(|signal| format!("{signal} tells it to save its work")),
    );
    // Only what is not as it is with all others.
    let signal = job.stop_signal.and_then(Signal::new).unwrap_or(Signal::TERM);
    let grace = job.grace_ms.unwrap_or(DEFAULT_GRACE);
    if signal != Signal::TERM || grace != DEFAULT_GRACE {
        put("to end it", Some(format!("{signal}, and KILL after {grace}")));
    }
    put("must start", job.queue_timeout_ms.map(|t| format!("within {t}")));
    put("deadline", job.deadline.map(when));
    put("submitted", Some(when(job.submitted_at)));
    put("begins", job.begin_at.map(when));
    put("started", job.started_at.map(when));
    put("ended", job.ended_at.map(when));
    put("ran for", job.started_at.map(|start| job.ended_at.unwrap_or_else(now).since(start).to_string()));
    put("cpu time", job.usage.cpu_ms.map(|ms| Millis(ms).to_string()));
    put("peak memory", job.usage.peak_memory_bytes.map(|b| qrm_protocol::amount::Bytes(b).to_string()));
    if let Some(now) = job.now {
        let bytes = |bytes: Option<u64>| bytes.map(|b| qrm_protocol::amount::Bytes(b).to_string());
        put("cpu now", now.cpu_permille.map(|permille| format!("{} of {} cpus", hundredths(permille), job.cpus)));
        put("memory now", bytes(now.memory_bytes));
        put("disk read", bytes(now.read_bytes));
        put("disk written", bytes(now.written_bytes));
        put("pids", now.pids.map(|pids| pids.to_string()));
    }
    put("output", Some(job.dir.clone()));
    put("terminal", job.pty.map(|size| size.to_string()));
    put("stdout", job.stdout.as_ref().map(|path| clean(&path.lossy())));
    put("stderr", job.stderr.as_ref().map(|path| clean(&path.lossy())));
    put("leaves", (!job.output.is_empty()).then(|| clean(&job.output.join(", "))));
    let whole = |key, value: &str| format!("{} {value}\n", out.tone(Tone::Quiet, &format!("{key:<12}")));
    let shown = lines.iter().map(|(key, value)| match WHOLE.contains(key) {
        true => whole(key, value),
        false => entry(out, key, value),
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    fn job(more: &str) -> JobView {
        let json = format!(
            r#"{{"id":"12","name":"train","user":"alice","queue":"night","state":"queued","attempt":0,"priority":50,
            "command":["./train"],"cwd":"/","scope":"user:alice","labels":{{}},"comment":null,
            "submitted_at":"2026-03-01T10:00:00Z","begin_at":null,"started_at":null,"ended_at":null,"exit_code":null,
            "signal":null,"failure":null,"devices":[],"cpus":4,"mem_bytes":null,"vram_bytes":null,"time_limit_ms":null,
            "stop_signal":null,"grace_ms":null,"retries":0,"array":null,"tasks":null,"after":[],
            "usage":{{"cpu_ms":null,"peak_memory_bytes":null,"gpu_ms":null,"cost_credits":null}},"progress":null,
            "queue_timeout_ms":null,"deadline":null,"dir":"","stdout":null,"stderr":null{more}}}"#
        );
        serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e}: {json}"))
    }

    #[test]
    fn who_waits_says_why_and_until_when_that_is_planned() {
        let now = jiff::civil::date(2026, 3, 1).at(12, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap();
        let clock = Clock { now: Timestamp(now.timestamp().as_millisecond()), zone: TimeZone::UTC };
        for (more, why) in [
            ("", ""),
            (r#","waiting_reason":"held""#, "held"),
            (
                r#","waiting_reason":"needs 4 cpus, 1 free","planned_start":"2026-03-01T14:30:00Z""#,
                "planned 14:30: needs 4 cpus, 1 free",
            ),
            (
                r#","waiting_reason":"needs 4 cpus, 1 free","planned_start":"2026-03-02T14:30:00Z""#,
                "planned 2026-03-02 14:30: needs 4 cpus, 1 free",
            ),
            (r#","planned_start":"2026-03-01T14:30:00Z""#, "planned 14:30"),
        ] {
            assert_eq!(why_at(&job(more), &clock), why, "{more}");
        }
        // A daemon in another zone.
        let begin = clock.now.0 + 3_600_000;
        let begins =
            JobView { begin_at: Some(Timestamp(begin)), ..job(r#","waiting_reason":"begins 2026-03-01 23:00:00""#) };
        assert_eq!(why_at(&begins, &clock), "begins 13:00:00");
    }

    #[test]
    fn a_job_in_full_says_what_it_wants_beside_others() {
        let more = r#","or":[{"cpus":2,"mem_bytes":1024},{"exclusive":false}],"variant":2,"exclusive":true,"idle":true,
            "preemptible":true,"checkpoint_signal":10,"min_run_ms":600000,"on_conflict":"negotiation",
            "offers":[{"id":"12-1","kind":"less","cpus":2,"lapses_at":"2026-03-01T12:01:00Z"}]"#;
        let shown = full(&Out::plain(None), &job(more));
        for line in [
            "queue        night, priority 50",
            "on conflict  negotiation",
            "or           --cpus 2 --mem 1K",
            "or           --shared  (this is what it has)",
            "exclusive    it wants the machine for itself",
            "idle         it only fills gaps, and makes room for all others",
            "preemptible  it makes room for jobs of a higher class, once it has run for 10m00s",
            "checkpoint   USR1 tells it to save its work",
        ] {
            assert!(shown.lines().any(|l| l == line), "{line} is not in\n{shown}");
        }
        assert!(shown.contains("offer        12-1, until ") && shown.contains(": start now with 2 cpus\n"), "{shown}");
        let usual = full(&Out::plain(None), &job(""));
        assert!(!usual.contains("\nor ") && !usual.contains("preemptible") && !usual.contains("offer"), "{usual}");
    }

    #[test]
    fn a_job_in_full_fits_the_terminal() {
        let offers = r#","preemptible":true,"min_run_ms":600000,"waiting_reason":"needs 4 cpus, 1 free, and more memory than there is beside others",
            "offers":[{"id":"12-1","kind":"preempt","jobs":["10","11.3"],"lost_cpu_ms":90000,"lapses_at":"2026-03-01T12:01:00Z"}]"#;
        let narrow = JobView { comment: Some("a  b".to_owned()), ..job(offers) };
        let narrow = full(&Out::plain(Some(80)), &narrow);
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
        assert!(
            narrow.contains(
                "\npreemptible  it makes room for jobs of a higher class, once it has run for\n             10m00s\n"
            ),
            "{narrow}"
        );
        assert!(narrow.contains("\ncomment      a  b\n"), "{narrow}");
    }
}
