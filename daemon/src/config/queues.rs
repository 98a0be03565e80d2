//! The queues of the configuration: what can be said of one, and how.
//! It refuses to know where their texts stand.

use super::Origin;
use super::texts::{NONE, duration, number, optional, shown, size, text};
use qrm_protocol::error::nearest;
use qrm_protocol::job::MAX_PIDS;
use qrm_protocol::method::SettingView;
use qrm_protocol::queue::{MAX_WEIGHT, QueueName, QueueSpec};
use qrm_protocol::time::Millis;

/// The name of their tables.
pub(super) const SECTION: &str = "queue";
/// What one looks like.
pub(super) const EXAMPLE: &str = "write [[queue]] and below it name = \"night\"";

/// As many as `host.cpus` can be.
const MOST_CPUS: u32 = 65_536;

/// A queue that is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Queue {
    pub spec: QueueSpec,
    /// Where its table begins.
    pub origin: Origin,
}

/// What can be said of a queue, beside its name.
pub struct QueueKey {
    /// The word.
    pub name: &'static str,
    /// What it takes, for people.
    pub takes: &'static str,
    /// What it is if it is not said, for people.
    pub default: &'static str,
    /// What it is for.
    pub means: &'static str,
    pub(super) set: fn(&mut QueueSpec, &str) -> Result<(), String>,
    /// Its text, which would set it again.
    get: fn(&QueueSpec) -> String,
}

/// A time limit.
fn limit(word: &str) -> Result<Option<Millis>, String> {
    optional(NONE, word, |word| text(word.parse()))
}

/// All of them, in the order in which they are shown.
pub const QUEUE_KEYS: &[QueueKey] = &[
    QueueKey {
        name: "weight",
        takes: "a number from 1 to 1000",
        default: "1",
        means: "What it weighs beside other queues in fair share.",
        set: |q, word| number(word, 1..=MAX_WEIGHT, "").map(|weight| q.weight = weight),
        get: |q| q.weight.to_string(),
    },
    QueueKey {
        name: "max_running",
        takes: "a number of jobs, or \"none\"",
        default: NONE,
        means: "How many of its jobs and tasks may run at once.",
        set: |q, word| {
            optional(NONE, word, |word| number(word, 0..=MAX_PIDS, " of jobs")).map(|most| q.max_running = most)
        },
        get: |q| shown(NONE, q.max_running, |most| most.to_string()),
    },
    QueueKey {
        name: "max_time",
        takes: "a duration, or \"none\"",
        default: NONE,
        means: "The longest time limit of a job in it, which those have that ask for none. It ends them.",
        set: |q, word| limit(word).map(|time| q.max_time_ms = time),
        get: |q| shown(NONE, q.max_time_ms, duration),
    },
    QueueKey {
        name: "preemptible",
        takes: "true or false",
        default: "false",
        means: "Its jobs may have to make room for others.",
        set: |q, word| {
            q.preemptible = word.parse().map_err(|_| format!("'{word}' is neither true nor false"))?;
            Ok(())
        },
        get: |q| q.preemptible.to_string(),
    },
    QueueKey {
        name: "on_preempt",
        takes: "\"requeue\", \"cancel\" or \"suspend\"",
        default: "requeue",
        means: "What becomes of a job of it that has made room.",
        set: |q, word| word.parse().map(|what| q.on_preempt = what),
        get: |q| q.on_preempt.to_string(),
    },
    QueueKey {
        name: "on_conflict",
        takes: "\"priority\", \"preemption\", \"sharing\", \"queuing\" or \"negotiation\"",
        default: "priority",
        means: "What is done for its jobs that do not say if they can not have at once what they ask for.",
        set: |q, word| word.parse().map(|what| q.on_conflict = what),
        get: |q| q.on_conflict.to_string(),
    },
    QueueKey {
        name: "priority",
        takes: "0 to 100, \"low\", \"normal\", \"high\", \"critical\" or \"none\"",
        default: NONE,
        means: "The priority of its jobs that do not say.",
        set: |q, word| optional(NONE, word, |word| text(word.parse())).map(|priority| q.priority = priority),
        get: |q| shown(NONE, q.priority, |priority| priority.to_string()),
    },
    QueueKey {
        name: "cpus",
        takes: "a number, or \"none\"",
        default: NONE,
        means: "The cpus of its jobs that do not say.",
        set: |q, word| optional(NONE, word, |word| number(word, 0..=MOST_CPUS, " of cpus")).map(|cpus| q.cpus = cpus),
        get: |q| shown(NONE, q.cpus, |cpus| cpus.to_string()),
    },
    QueueKey {
        name: "mem",
        takes: "a size, or \"none\"",
        default: NONE,
        means: "The memory of its jobs that do not say.",
        set: |q, word| optional(NONE, word, |word| text(word.parse())).map(|mem| q.mem_bytes = mem),
        get: |q| shown(NONE, q.mem_bytes, size),
    },
    QueueKey {
        name: "time",
        takes: "a duration, or \"none\"",
        default: NONE,
        means: "The time limit of its jobs that do not say, if that is less than `max_time`.",
        set: |q, word| limit(word).map(|time| q.time_limit_ms = time),
        get: |q| shown(NONE, q.time_limit_ms, duration),
    },
];

/// The one of this name.
pub(super) fn find(name: &str) -> Option<&'static QueueKey> {
    QUEUE_KEYS.iter().find(|key| key.name == name)
}

/// Why there is none, and what was meant.
pub(super) fn unknown(name: &str) -> (String, String) {
    let names = || std::iter::once("name").chain(QUEUE_KEYS.iter().map(|key| key.name));
    let hint = match nearest(name, names()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("of a queue can be said {}", names().collect::<Vec<_>>().join(", ")),
    };
    (format!("there is no '{name}' of a queue"), hint)
}

impl Queue {
    /// Its weight, and all that is not as it would be without a word: `weight=1,max_running=4`.
    pub fn text(&self) -> String {
        let usual = QueueSpec::default();
        let said = QUEUE_KEYS.iter().enumerate().filter_map(|(place, key)| {
            let text = (key.get)(&self.spec);
            (place == 0 || text != (key.get)(&usual)).then(|| format!("{}={text}", key.name))
        });
        said.collect::<Vec<_>>().join(",")
    }

    /// Beside the settings.
    pub fn view(&self, name: &QueueName) -> SettingView {
        SettingView {
            key: key(name),
            value: self.text(),
            default: NONE.to_owned(),
            origin: self.origin.to_string(),
            means: "A queue; what is not said of it is as it is built in.".to_owned(),
            at_reload: true,
        }
    }
}

/// What a queue is called among the settings.
pub(crate) fn key(name: &QueueName) -> String {
    format!("{SECTION}.{name}")
}
