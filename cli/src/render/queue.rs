//! Queues for people: one in a line, one in full.
//! It refuses to fetch anything.

use super::table::{Column, table};
use super::{Out, Tone, entry};
use qrm_protocol::queue::{OnPreempt, QueueView};

const COLUMNS: &[Column] = &[
    ("QUEUE", false),
    ("STATE", false),
    ("WEIGHT", true),
    ("RUNNING", true),
    ("MAX", true),
    ("WAITING", true),
    ("TIME", true),
    ("CONFLICT", false),
    ("JOBS", false),
];

/// What a missing bound is in a table.
fn or_dash(bound: Option<impl ToString>) -> String {
    bound.map_or_else(|| "-".to_owned(), |bound| bound.to_string())
}

fn state(queue: &QueueView) -> (String, Tone) {
    if queue.paused { ("paused".to_owned(), Tone::Bad) } else { ("open".to_owned(), Tone::Good) }
}

/// What its jobs have that do not say.
fn defaults(queue: &QueueView) -> Vec<String> {
    let cpus = |cpus: u32| format!("{cpus} cpu{}", if cpus == 1 { "" } else { "s" });
    let all = [
        queue.priority.map(|priority| format!("priority {priority}")),
        queue.cpus.map(cpus),
        queue.mem_bytes.map(|mem| mem.to_string()),
        queue.time_limit_ms.map(|time| time.to_string()),
    ];
    all.into_iter().flatten().collect()
}

/// Queues as a table.
pub(crate) fn list(out: &Out, queues: &[QueueView]) -> String {
    let rows = queues.iter().map(|queue| {
        let jobs = queue.preemptible.then(|| "preemptible".to_owned()).into_iter().chain(defaults(queue));
        vec![
            (queue.name.to_string(), Tone::Plain),
            state(queue),
            (queue.weight.to_string(), Tone::Plain),
            (queue.running.to_string(), Tone::Plain),
            (or_dash(queue.max_running), Tone::Plain),
            (queue.waiting.to_string(), Tone::Plain),
            (or_dash(queue.max_time_ms), Tone::Plain),
            (queue.on_conflict.to_string(), Tone::Plain),
            (jobs.collect::<Vec<_>>().join(", "), Tone::Quiet),
        ]
    });
    table(out, COLUMNS, rows.collect())
}

/// Everything of one queue.
pub(crate) fn full(out: &Out, queue: &QueueView) -> String {
    let (word, tone) = state(queue);
    let most = queue.max_running.map(|most| format!(", at most {most} at once")).unwrap_or_default();
    let defaults = defaults(queue);
    let lines = [
        ("queue", Some(queue.name.to_string())),
        ("state", Some(out.tone(tone, &word))),
        ("weight", Some(queue.weight.to_string())),
        ("running", Some(format!("{}{most}", queue.running))),
        ("waiting", Some(queue.waiting.to_string())),
        ("longest", queue.max_time_ms.map(|time| time.to_string())),
        (
            "preemptible",
            queue.preemptible.then(|| {
                let then = match queue.on_preempt {
                    OnPreempt::Requeue => "wait for their next attempt",
                    OnPreempt::Cancel => "are cancelled",
                    OnPreempt::Suspend => "are suspended",
                };
                format!("its jobs make room for those of a higher class, and {then}")
            }),
        ),
        // Where only jobs that say so make room, that is not told with the line before.
        (
            "on preempt",
            (!queue.preemptible && queue.on_preempt != OnPreempt::Requeue).then(|| queue.on_preempt.to_string()),
        ),
        ("on conflict", Some(queue.on_conflict.to_string())),
        ("jobs have", (!defaults.is_empty()).then(|| format!("{}, unless they say otherwise", defaults.join(", ")))),
        ("set by", queue.configured.then(|| "the configuration file".to_owned())),
    ];
    let lines = lines.into_iter().filter_map(|(key, value)| Some((key, value?)));
    lines.map(|(key, value)| entry(out, key, &value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use unicode_width::UnicodeWidthStr;

    fn queues() -> Vec<QueueView> {
        let json = r#"[
            {"name":"default","weight":1,"paused":false,"configured":false,"waiting":12,"running":3},
            {"name":"night","weight":2,"max_running":4,"max_time_ms":43200000,"preemptible":true,"on_preempt":"cancel",
             "on_conflict":"queuing","priority":25,"cpus":1,"mem_bytes":1073741824,"paused":true,"configured":true,
             "waiting":0,"running":0}
        ]"#;
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_table_of_queues_has_a_row_for_each() {
        let expected = "\
QUEUE    STATE   WEIGHT  RUNNING  MAX  WAITING    TIME  CONFLICT  JOBS
default  open         1        3    -       12       -  priority
night    paused       2        0    4        0  12h00m  queuing   preemptible, priority 25, 1 cpu, 1G
";
        let shown = list(&Out::plain(None), &queues());
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_queue_in_full_says_only_what_is_not_as_usual() {
        let all = queues();
        let keys = |queue: &QueueView| {
            let shown = full(&Out::plain(Some(80)), queue);
            shown.lines().map(|line| line[..12].trim().to_owned()).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(keys(&all[0]), "queue, state, weight, running, waiting, on conflict");
        assert_eq!(
            keys(&all[1]),
            "queue, state, weight, running, waiting, longest, preemptible, on conflict, jobs have, set by"
        );
        let shown = full(&Out::plain(Some(80)), &all[1]);
        assert!(shown.contains("running      0, at most 4 at once\n"), "{shown}");
        assert!(shown.contains("jobs have    priority 25, 1 cpu, 1G, unless they say otherwise\n"), "{shown}");
        for on_preempt in OnPreempt::ALL {
            let shown = full(&Out::plain(Some(80)), &QueueView { on_preempt, ..all[1].clone() });
            assert!(shown.lines().all(|line| line.width() <= 80), "{shown}");
        }
    }
}
