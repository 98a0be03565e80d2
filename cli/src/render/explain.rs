//! Why a job does not run, for people: a headline, the causes with who holds what, its rank, and what it was offered.
//! It refuses to add to what the daemon says of it.

use super::clock::Clock;
use super::job::tone;
use super::table::{Column, table};
use super::{Out, Tone, clean, wrapped};
use qrm_protocol::amount::Bytes;
use qrm_protocol::explain::{Explanation, Holder, OfferView, RankView, Reason, ReasonCode};
use qrm_protocol::job::JobState;

/// So many of those who hold something are named, and so many jobs; `--json` has all.
const NAMED: usize = 8;

/// An explanation as text.
pub(crate) fn explanation(out: &Out, clock: &Clock, why: &Explanation) -> String {
    let mut text = headline(out, clock, why);
    if let Some(run) = why.expected_run_ms.filter(|_| !why.state.is_terminal()) {
        let from = match why.expected_from.as_deref() {
            Some("history") => ", as the last runs of its kind".to_owned(),
            Some("limit") => ", its time limit".to_owned(),
            Some("assumed") => ", which is assumed of jobs without a time limit".to_owned(),
            Some(other) => format!(" ({})", clean(other)),
            None => String::new(),
        };
        let run = qrm_protocol::time::Millis(run);
        text += &wrapped(out, &[("", Tone::Plain), (&format!("it is expected to run for {run}{from}"), Tone::Quiet)]);
    }
    for reason in &why.reasons {
        text.push('\n');
        text += &of_reason(out, clock, reason);
    }
    if let Some(rank) = &why.rank {
        text.push('\n');
        text += &of_rank(out, rank);
    }
    if !why.offers.is_empty() {
        text.push('\n');
        text += &offers(out, clock, &why.offers);
    }
    text
}

fn headline(out: &Out, clock: &Clock, why: &Explanation) -> String {
    let at = |at| format!("{}, {}", clock.when(at), clock.far(at));
    let start = match (why.planned_start, why.estimated_start) {
        (Some(start), _) => format!("planned to start at {}", at(start)),
        (None, Some(start)) => format!("it could start at {}, as things are", at(start)),
        (None, None) => "when it starts is not known".to_owned(),
    };
    // That it would not be over by its deadline keeps none from starting.
    let at_once = why.planned_start.is_none() && why.reasons.iter().all(|r| r.code == ReasonCode::Deadline);
    let (subject, what) = match why.id {
        Some(id) if why.state.is_terminal() => (format!("job {id} has ended:"), why.state.to_string()),
        Some(id) => {
            let what = match why.state {
                JobState::Allocating | JobState::Executing | JobState::Completing => of_running(why, &start),
                _ if at_once => "it starts at once".to_owned(),
                _ => start,
            };
            (format!("job {id} is {}:", why.state), what)
        }
        None if at_once => ("it would".to_owned(), "start at once".to_owned()),
        None if why.reasons.iter().any(|r| r.code == ReasonCode::Never) => {
            ("it would".to_owned(), "never start".to_owned())
        }
        None => ("it would wait:".to_owned(), start),
    };
    wrapped(out, &[("", Tone::Plain), (&subject, tone(why.state)), (&what, Tone::Plain)])
}

/// What one waits for that runs: nothing, but for an array with tasks that wait, and for one that stands still.
fn of_running(why: &Explanation, start: &str) -> String {
    let mut codes = why.reasons.iter().map(|reason| reason.code).filter(|code| *code != ReasonCode::Deadline);
    match codes.next() {
        None => "it waits for nothing".to_owned(),
        Some(ReasonCode::Preempting) if why.rank.is_none() => "it waits to go on".to_owned(),
        Some(_) => match (why.planned_start, why.estimated_start) {
            (Some(_), _) => format!("its next task is {start}"),
            (None, Some(_)) => start.replacen("it ", "its next task ", 1),
            (None, None) => "when its next task starts is not known".to_owned(),
        },
    }
}

fn of_reason(out: &Out, clock: &Clock, reason: &Reason) -> String {
    let times = [
        reason.since.map(|at| format!("since {}", clock.when(at))),
        reason.until.map(|at| format!("until {}, {}", clock.when(at), clock.far(at))),
    ];
    let times: Vec<String> = times.into_iter().flatten().collect();
    let times = if times.is_empty() { String::new() } else { format!("({})", times.join("; ")) };
    let message = clean(&reason.message);
    let mut text = wrapped(out, &[("- ", Tone::Plain), (&message, Tone::Plain), (&times, Tone::Quiet)]);
    // Those that the sentence names already are not named again.
    let jobs: Vec<String> =
        reason.jobs.iter().map(|job| clean(job)).filter(|job| !message.contains(job.as_str())).collect();
    if !jobs.is_empty() {
        let more = jobs.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let named = format!("{}{more}", jobs[..jobs.len().min(NAMED)].join(", "));
        text += &wrapped(out, &[("    ", Tone::Plain), (&named, Tone::Plain)]);
    }
    text + &holders(out, clock, reason)
}

/// The heading of a column of amounts, and how one is shown.
type Unit = (&'static str, fn(u64) -> String);

/// What it is an amount of that is held; nothing if how much does not matter.
fn unit(code: ReasonCode) -> Option<Unit> {
    match code {
        ReasonCode::Cpus => Some(("CPUS", |n| n.to_string())),
        ReasonCode::Memory | ReasonCode::MemoryInUse => Some(("MEMORY", |n| Bytes(n).to_string())),
        ReasonCode::Disk => Some(("SCRATCH", |n| Bytes(n).to_string())),
        _ => None,
    }
}

fn holders(out: &Out, clock: &Clock, reason: &Reason) -> String {
    if reason.holders.is_empty() {
        return String::new();
    }
    let unit = unit(reason.code);
    let mut columns: Vec<Column> = vec![("ID", true), ("USER", false)];
    columns.extend(unit.map(|(name, _)| (name, true)));
    // Those that come first have nothing yet, but a start.
    let comes_first = matches!(reason.code, ReasonCode::Rank | ReasonCode::WouldDelay);
    columns.push((if comes_first { "STARTS" } else { "UNTIL" }, false));
    let row = |holder: &Holder| {
        let mut row = vec![(holder.id.to_string(), Tone::Plain), (holder.user.clone(), Tone::Plain)];
        row.extend(unit.map(|(_, shown)| (shown(holder.amount), Tone::Plain)));
        let until = holder.until.map_or_else(|| "-".to_owned(), |at| format!("{}, {}", clock.when(at), clock.far(at)));
        row.push((until, Tone::Quiet));
        row
    };
    let inset = "    ";
    let narrower = Out { width: out.width.map(|width| width.saturating_sub(4)), ..*out };
    let rows = table(&narrower, &columns, reason.holders.iter().take(NAMED).map(row).collect());
    let mut text: String = rows.lines().map(|line| format!("{inset}{line}\n")).collect();
    if let Some(more) = reason.holders.len().checked_sub(NAMED).filter(|more| *more > 0) {
        text += &format!("{inset}{}\n", out.tone(Tone::Quiet, &format!("and {more} more")));
    }
    text
}

/// Thousandths as people read them: to a tenth, and whole if that is nothing.
fn tenths(thousandths: i64) -> String {
    let tenths = thousandths.unsigned_abs().saturating_add(50) / 100;
    let sign = if thousandths < 0 && tenths > 0 { "-" } else { "" };
    match tenths % 10 {
        0 => format!("{sign}{}", tenths / 10),
        tenth => format!("{sign}{}.{tenth}", tenths / 10),
    }
}

fn of_rank(out: &Out, rank: &RankView) -> String {
    let parts = [
        ("priority", rank.priority_thousandths),
        ("age", rank.age_thousandths),
        ("fair share", rank.fair_share_thousandths),
        ("queue share", rank.queue_share_thousandths),
    ];
    let parts = parts.map(|(what, of)| format!("{what} {}", tenths(of))).join(", ");
    let total = format!("rank {}:", tenths(rank.total_thousandths));
    wrapped(out, &[("", Tone::Plain), (&total, Tone::Plain), (&parts, Tone::Quiet)])
}

/// What a job can have instead of waiting, with the command that takes each.
pub(crate) fn offers(out: &Out, clock: &Clock, offers: &[OfferView]) -> String {
    let lapse = offers.iter().map(|view| view.lapses_at).min().map(|at| clock.when(at)).unwrap_or_default();
    let mut text = format!("instead of waiting it can, until {lapse}:\n");
    for view in offers {
        let command = format!("  qrm offer accept {}  ", view.id);
        text += &wrapped(out, &[(&command, Tone::Busy), (&view.offer.to_string(), Tone::Plain)]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;
    use qrm_protocol::time::Timestamp;

    fn clock() -> Clock {
        let now = jiff::civil::date(2026, 3, 1).at(12, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap();
        Clock { now: Timestamp(now.timestamp().as_millisecond()), zone: TimeZone::UTC }
    }

    fn shown(width: Option<u16>, json: &str) -> String {
        let why: Explanation = serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {json}"));
        explanation(&Out::plain(width), &clock(), &why)
    }

    const BLOCKED: &str = r#"{"id":"12","state":"queued","planned_start":"2026-03-01T14:05:00Z","estimated_start":null,
        "expected_run_ms":5400000,"expected_from":"history",
        "reasons":[
            {"code":"cpus","message":"it needs 4 cpus, and 1 is free","since":"2026-03-01T11:55:00Z","until":null,
             "asked":4,"free":1,"holders":[
                {"id":"10","user":"alice","amount":2,"until":"2026-03-01T13:00:00Z"},
                {"id":"11.3","user":"bob","amount":1,"until":"2026-03-01T14:05:00Z"}]},
            {"code":"queue_full","message":"the queue night runs at most 2 jobs at once, and as many do; it is one of those that wait for that",
             "since":"2026-03-01T11:58:00Z","until":"2026-03-02T01:00:00Z","holders":[
                {"id":"10","user":"alice","amount":1,"until":null}]}],
        "rank":{"total_thousandths":1512345,"priority_thousandths":500000,"age_thousandths":12345,
                "fair_share_thousandths":900000,"queue_share_thousandths":100000},
        "offers":[{"id":"12-1","kind":"less","cpus":1,"lapses_at":"2026-03-01T12:00:48Z"},
                  {"id":"12-2","kind":"preempt","jobs":["10","11.3"],"lost_cpu_ms":90000,"lapses_at":"2026-03-01T12:00:48Z"}]}"#;

    #[test]
    fn an_explanation_fits_into_eighty_columns() {
        let expected = "\
job 12 is queued: planned to start at 14:05:00, in 2h05m
it is expected to run for 1h30m, as the last runs of its kind

- it needs 4 cpus, and 1 is free (since 11:55:00)
      ID  USER   CPUS  UNTIL
      10  alice     2  13:00:00, in 1h00m
    11.3  bob       1  14:05:00, in 2h05m

- the queue night runs at most 2 jobs at once, and as many do; it is one of
  those that wait for that (since 11:58:00; until 2026-03-02 01:00, in 13h00m)
    ID  USER   UNTIL
    10  alice  -

rank 1512.3: priority 500, age 12.3, fair share 900, queue share 100

instead of waiting it can, until 12:00:48:
  qrm offer accept 12-1  start now with 1 cpu
  qrm offer accept 12-2  start when jobs 10, 11.3 have made room, at the cost of
                         1m30s of cpu time
";
        assert_eq!(shown(Some(80), BLOCKED), expected);
        assert!(shown(None, BLOCKED).contains("as many do; it is one of those that wait for that (since"));
    }

    #[test]
    fn the_headline_says_when_it_starts_as_far_as_that_is_known() {
        let why = |id: &str, state: &str, planned: &str, estimated: &str, reasons: &str| {
            let json = format!(
                r#"{{"id":{id},"state":"{state}","planned_start":{planned},"estimated_start":{estimated},
                "expected_run_ms":null,"expected_from":null,"rank":null,"reasons":[{reasons}]}}"#
            );
            shown(Some(80), &json).lines().next().unwrap_or_default().to_owned()
        };
        let late = r#"{"code":"deadline","message":"its deadline comes first","since":null,"until":null}"#;
        let (soon, held) =
            (r#""2026-03-01T12:01:30Z""#, r#"{"code":"held","message":"it is held","since":null,"until":null}"#);
        let never = r#"{"code":"never","message":"it would be cancelled","since":null,"until":null}"#;
        let still = r#"{"code":"preempting","message":"it stands still","since":null,"until":null}"#;
        let width = r#"{"code":"array_width","message":"2 of its tasks run","since":null,"until":null}"#;
        for (id, state, planned, estimated, reasons, headline) in [
            (r#""12""#, "queued", soon, "null", held, "job 12 is queued: planned to start at 12:01:30, in 1m30s"),
            (
                r#""12""#,
                "queued",
                "null",
                soon,
                held,
                "job 12 is queued: it could start at 12:01:30, in 1m30s, as things are",
            ),
            (r#""12""#, "queued", "null", "null", held, "job 12 is queued: when it starts is not known"),
            (r#""12.3""#, "queued", "null", "null", "", "job 12.3 is queued: it starts at once"),
            (r#""12""#, "executing", "null", "null", "", "job 12 is executing: it waits for nothing"),
            (r#""12""#, "executing", "null", "null", late, "job 12 is executing: it waits for nothing"),
            (r#""12""#, "executing", "null", "null", still, "job 12 is executing: it waits to go on"),
            (
                r#""12""#,
                "executing",
                "null",
                "null",
                width,
                "job 12 is executing: when its next task starts is not known",
            ),
            (
                r#""12""#,
                "executing",
                soon,
                "null",
                width,
                "job 12 is executing: its next task is planned to start at 12:01:30, in 1m30s",
            ),
            (
                r#""12""#,
                "executing",
                "null",
                soon,
                width,
                "job 12 is executing: its next task could start at 12:01:30, in 1m30s, as things",
            ),
            (r#""12""#, "failed", "null", "null", "", "job 12 has ended: failed"),
            ("null", "queued", "null", "null", "", "it would start at once"),
            ("null", "queued", "null", soon, late, "it would start at once"),
            ("null", "queued", soon, "null", held, "it would wait: planned to start at 12:01:30, in 1m30s"),
            ("null", "queued", "null", "null", held, "it would wait: when it starts is not known"),
            ("null", "queued", "null", "null", never, "it would never start"),
        ] {
            assert_eq!(why(id, state, planned, estimated, reasons), headline);
        }
    }

    #[test]
    fn more_than_a_few_are_counted() {
        let holders: Vec<String> =
            (1..=10).map(|n| format!(r#"{{"id":"{n}","user":"u","amount":1,"until":null}}"#)).collect();
        let jobs: Vec<String> = (1..=10).map(|n| format!(r#""end of {n}""#)).collect();
        let json = format!(
            r#"{{"id":"12","state":"queued","planned_start":null,"estimated_start":null,"expected_run_ms":null,
            "expected_from":null,"rank":null,"reasons":[
            {{"code":"would_delay","message":"others","since":null,"until":null,"holders":[{}]}},
            {{"code":"dependency","message":"after end of 1","since":null,"until":null,"jobs":[{}]}}]}}"#,
            holders.join(","),
            jobs.join(",")
        );
        let text = shown(None, &json);
        assert!(text.contains("    ID  USER  STARTS\n     1  u     -\n"), "{text}");
        assert!(text.contains("     8  u     -\n    and 2 more\n"), "{text}");
        assert!(text.contains("    end of 2, end of 3,") && text.contains("end of 9 and 1 more\n"), "{text}");
    }

    #[test]
    fn thousandths_are_rounded_to_what_people_read() {
        for (thousandths, text) in [
            (0, "0"),
            (49, "0"),
            (50, "0.1"),
            (12_345, "12.3"),
            (-1_960, "-2"),
            (-20, "0"),
            (i64::MIN, "-9223372036854775.8"),
        ] {
            assert_eq!(tenths(thousandths), text, "{thousandths}");
        }
    }
}
