//! Every setting: its name, what it means, and how its text becomes a value and back.
//! It refuses to know where a text came from.

use super::{Config, Durability};
use crate::supervise::cgroup::Wish;
use qrm_protocol::amount::Bytes;
use qrm_protocol::time::Millis;

/// A setting.
pub struct Key {
    /// `section.key`.
    pub name: &'static str,
    /// What it takes, for people.
    pub takes: &'static str,
    /// The text of what is built in.
    pub default: &'static str,
    /// What it is for, a short sentence.
    pub means: &'static str,
    /// What else is to be known of it, for the manual.
    pub more: &'static str,
    /// A reload applies it; the others wait for a restart.
    pub at_reload: bool,
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
    /// Its text, which would set it again.
    pub get: fn(&Config) -> String,
}

impl Key {
    /// The variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("QRM_{}", self.name.replace('.', "_").to_uppercase())
    }

    /// Sets it in one configuration as it is in another, with where that came from.
    pub(crate) fn copy(&self, from: &Config, to: &mut Config) -> Result<(), String> {
        (self.set)(to, &(self.get)(from))?;
        match from.origins.get(self.name) {
            Some(origin) => drop(to.origins.insert(self.name, origin.clone())),
            None => drop(to.origins.remove(self.name)),
        }
        Ok(())
    }

    pub(super) fn section(&self) -> &'static str {
        self.name.split('.').next().unwrap_or_default()
    }
}

/// The one of this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

fn text<T>(value: Result<T, impl std::fmt::Display>) -> Result<T, String> {
    value.map_err(|e| e.to_string())
}

/// In the largest unit that has no rest.
fn duration(Millis(ms): Millis) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let fits = units.into_iter().find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit));
    fits.map_or_else(|| format!("{ms}ms"), |(unit, word)| format!("{}{word}", ms / unit))
}

/// What stands for everything that there is.
const ALL: &str = "all";

/// Every setting, in the order in which they are shown.
pub const KEYS: &[Key] = &[
    Key {
        name: "store.durability",
        takes: "\"full\" or \"relaxed\"",
        default: "full",
        means: "What of the acknowledged outlives a power failure.",
        more: "With `full` all of it does. With `relaxed` all of it outlives a crash of qrmd, but a power failure may take the last seconds.",
        at_reload: true,
        set: |c, word| {
            c.durability = match word {
                "full" => Durability::Full,
                "relaxed" => Durability::Relaxed,
                _ => return Err(format!("'{word}' is neither \"full\" nor \"relaxed\"")),
            };
            Ok(())
        },
        get: |c| c.durability.word().to_owned(),
    },
    Key {
        name: "store.retention",
        takes: "a duration, as \"90d\"",
        default: "90d",
        means: "How long ended jobs and their output are kept.",
        more: "",
        at_reload: true,
        set: |c, word| text(word.parse()).map(|retention: Millis| c.retention = retention),
        get: |c| duration(c.retention),
    },
    Key {
        name: "host.cpus",
        takes: "a number from 1 to 65536, or \"all\"",
        default: ALL,
        means: "The cpus that the machine offers to jobs.",
        more: "",
        at_reload: true,
        set: |c, word| {
            c.cpus = match word.parse() {
                _ if word == ALL => None,
                Ok(cpus @ 1..=65_536) => Some(cpus),
                _ => return Err(format!("'{word}' is not a number of cpus from 1 to 65536")),
            };
            Ok(())
        },
        get: |c| c.cpus.map_or_else(|| ALL.to_owned(), |cpus| cpus.to_string()),
    },
    Key {
        name: "host.memory",
        takes: "a size, as \"64G\", or \"all\"",
        default: ALL,
        means: "The memory that the machine offers to jobs.",
        more: "With `all` it is what the machine has, less `scheduler.memory_reserve`.",
        at_reload: true,
        set: |c, word| match word {
            ALL => {
                c.memory = None;
                Ok(())
            }
            size => text(size.parse()).map(|memory: Bytes| c.memory = Some(memory)),
        },
        get: |c| c.memory.map_or_else(|| ALL.to_owned(), |memory| memory.to_string()),
    },
    Key {
        name: "scheduler.memory_reserve",
        takes: "a size, as \"1G\"",
        default: "1G",
        means: "The memory of the machine that is not for jobs.",
        more: "It counts where `host.memory` does not say.",
        at_reload: true,
        set: |c, word| text(word.parse()).map(|reserve: Bytes| c.memory_reserve = reserve),
        get: |c| c.memory_reserve.to_string(),
    },
    Key {
        name: "supervision.cgroup",
        takes: "\"auto\", \"v2\", \"v1\" or \"none\"",
        default: "auto",
        means: "What keeps the processes of a job together.",
        more: "Control groups of this version, the best that can be written, or none, which leaves walking the processes below the shim. `qrm doctor` says which it is.",
        at_reload: false,
        set: |c, word| {
            c.tracking = match word {
                "auto" => Wish::Auto,
                "v2" => Wish::V2,
                "v1" => Wish::V1,
                "none" => Wish::None,
                _ => return Err(format!("'{word}' is not auto, v2, v1 or none")),
            };
            Ok(())
        },
        get: |c| {
            match c.tracking {
                Wish::Auto => "auto",
                Wish::V2 => "v2",
                Wish::V1 => "v1",
                Wish::None => "none",
            }
            .to_owned()
        },
    },
];
