//! Every setting: its name, what it means, and how its text becomes a value and back.
//! It refuses to know where a text came from.

use super::texts::{
    ALL, AUTO, NONE, bound, duration, names, number, optional, parts, percent, permille, shares, shown, span, text,
    text_of_bound, text_of_shares, text_of_weights, weights,
};
use super::{Config, Durability};
use crate::supervise::cgroup::Wish;
use qrm_protocol::amount::Bytes;
use qrm_protocol::job::MAX_PIDS;
use qrm_protocol::time::{MAX_DURATION, Millis};
use std::path::PathBuf;

/// The bounds of how far apart samples are.
const INTERVALS: (Millis, Millis) = (Millis(100), Millis(3_600_000));

/// Each is asked by a thread of its own when somebody looks.
const MOST_MOUNTS: usize = 32;

/// A pass looks at each planned start once for each job that it could delay.
const MOST_PLANNED: u32 = 256;

/// The bounds of how long an offer can be accepted.
const OFFERS: (Millis, Millis) = (Millis(1_000), Millis(24 * 3_600_000));

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
        set: |c, word| optional(ALL, word, |word| number(word, 1..=65_536, " of cpus")).map(|cpus| c.cpus = cpus),
        get: |c| shown(ALL, c.cpus, |cpus| cpus.to_string()),
    },
    Key {
        name: "host.memory",
        takes: "a size, as \"64G\", or \"all\"",
        default: ALL,
        means: "The memory that the machine offers to jobs.",
        more: "With `all` it is what the machine has, less `scheduler.memory_reserve`. Jobs that ask for memory never start beyond what is free, whatever is said here.",
        at_reload: true,
        set: |c, word| optional(ALL, word, |size| text(size.parse())).map(|memory| c.memory = memory),
        get: |c| shown(ALL, c.memory, |memory| memory.to_string()),
    },
    Key {
        name: "host.disk",
        takes: "a size, as \"500G\", or \"all\"",
        default: ALL,
        means: "The room for scratch directories of jobs (--disk).",
        more: "With `all` it is what is free where they are when the daemon starts or reloads, and what is in those of running jobs, less `scheduler.disk_reserve`.",
        at_reload: true,
        set: |c, word| optional(ALL, word, |size| text(size.parse())).map(|disk| c.disk = disk),
        get: |c| shown(ALL, c.disk, |disk| disk.to_string()),
    },
    Key {
        name: "scheduler.memory_reserve",
        takes: "a size, as \"1G\"",
        default: "1G",
        means: "The memory of the machine that is not for jobs.",
        more: "So much stays free when jobs start that ask for memory, beside what those that run may still use, whoever uses the rest.",
        at_reload: true,
        set: |c, word| text(word.parse()).map(|reserve: Bytes| c.memory_reserve = reserve),
        get: |c| c.memory_reserve.to_string(),
    },
    Key {
        name: "scheduler.disk_reserve",
        takes: "a size, as \"1G\"",
        default: "1G",
        means: "The free disk that is not for scratch directories.",
        more: "It counts where `host.disk` does not say.",
        at_reload: true,
        set: |c, word| text(word.parse()).map(|reserve: Bytes| c.disk_reserve = reserve),
        get: |c| c.disk_reserve.to_string(),
    },
    Key {
        name: "scheduler.cpu",
        takes: "\"weight\" or \"hard\"",
        default: "weight",
        means: "What --cpus of a job means while cpus are idle.",
        more: "With `weight` a job may use all that others leave, and cpus are shared by weight where there are too few. With `hard` it never has more time on cpus than so many, over each tenth of a second: by a quota, and on whichever cpus there are. A job with `--cpus 0` has what others leave either way. With control groups of version 1 each job starts some milliseconds later with `hard`.",
        at_reload: false,
        set: |c, word| {
            c.hard_cpus = match word {
                "weight" => false,
                "hard" => true,
                _ => return Err(format!("'{word}' is neither \"weight\" nor \"hard\"")),
            };
            Ok(())
        },
        get: |c| if c.hard_cpus { "hard" } else { "weight" }.to_owned(),
    },
    Key {
        name: "scheduler.assumed_time",
        takes: "a duration, as \"24h\"",
        default: "1d",
        means: "The run that is expected of a job of an unknown kind.",
        more: "It is for planning alone, and counts for jobs without a time limit until one like them has run.",
        at_reload: true,
        set: |c, word| span(word, (Millis(1_000), MAX_DURATION)).map(|time| c.assumed = time),
        get: |c| duration(c.assumed),
    },
    Key {
        name: "scheduler.planned_starts",
        takes: "a number from 0 to 256",
        default: "16",
        means: "How many jobs that wait have a planned start.",
        more: "Others start before them only if that delays none of these. With 0 whatever fits starts, and a job that needs much may wait until the others leave room by chance.",
        at_reload: true,
        set: |c, word| number(word, 0..=MOST_PLANNED, "").map(|count| c.planned_starts = count),
        get: |c| c.planned_starts.to_string(),
    },
    Key {
        name: "scheduler.weights",
        takes: "a table, as { priority = 10, age_per_hour = 10, fair_share = 1000 }",
        default: "priority=10,age_per_hour=10,fair_share=1000",
        means: "What makes the rank by which jobs are looked at.",
        more: "For each of the 100 steps of priority, for each hour that a job could have started, and for all of the share that its user, and once more its queue, has left; each from 0 to 10000. What is not said is as it is built in. In the variable and with `--set` it is written as `priority=10,fair_share=0`.",
        at_reload: true,
        set: |c, word| weights(word).map(|weights| c.weights = weights),
        get: |c| text_of_weights(c.weights),
    },
    Key {
        name: "scheduler.offer_time",
        takes: "a duration from 1s to 1d, as \"1m\"",
        default: "1m",
        means: "How long an offer to a job can be accepted.",
        more: "",
        at_reload: true,
        set: |c, word| span(word, OFFERS).map(|time| c.offer = time),
        get: |c| duration(c.offer),
    },
    Key {
        name: "scheduler.pressure_memory",
        takes: "a part of the time, as \"20%\", or \"none\"",
        default: "20%",
        means: "Waiting for memory above which no more jobs start.",
        more: "It is how much of the last ten seconds some process of the machine waited for memory, as the kernel tells it in /proc/pressure. Jobs start again when it is below three quarters of that, and one does whenever none runs.",
        at_reload: true,
        set: |c, word| optional(NONE, word, permille).map(|part| c.pressure_memory = part),
        get: |c| shown(NONE, c.pressure_memory, percent),
    },
    Key {
        name: "scheduler.pressure_cpu",
        takes: "a part of the time, as \"90%\", or \"none\"",
        default: NONE,
        means: "The same of waiting for cpus.",
        more: "Not set, it is nothing that holds jobs back: cpus are shared by weight, and on a machine that is used well somebody always waits for one.",
        at_reload: true,
        set: |c, word| optional(NONE, word, permille).map(|part| c.pressure_cpu = part),
        get: |c| shown(NONE, c.pressure_cpu, percent),
    },
    Key {
        name: "scratch.directory",
        takes: "an absolute path, or \"state\"",
        default: "state",
        means: "Where scratch directories of jobs are (--disk).",
        more: "With `state` they are in the state directory, as `scratch`. Another directory must exist; in it the daemon makes one of its own, so that several daemons can have the same.",
        at_reload: false,
        set: |c, word| {
            let absolute = |path: &str| match path.starts_with('/') {
                true => Ok(path.into()),
                false => Err(format!("'{path}' is not an absolute path")),
            };
            optional("state", word, absolute).map(|dir| c.scratch_dir = dir)
        },
        get: |c| shown("state", c.scratch_dir.as_ref(), |dir| dir.display().to_string()),
    },
    Key {
        name: "limits.pids",
        takes: "a number from 1 to 4194304, \"none\" or \"auto\"",
        default: AUTO,
        means: "The most processes of a job that does not say.",
        more: "Threads count, and `--pids` says it for one job. With `auto` there is none for a daemon of your own, where a fork bomb harms its owner. A daemon for all users holds a job to 15 % of what the kernel allows on the machine, as systemd does a service, where control groups of version 2 do so at no cost; with those of version 1 each job would start some milliseconds later, so there a number has to be set.",
        at_reload: false,
        set: |c, word| {
            let pids = |word: &str| match word.parse() {
                Ok(pids @ 1..=MAX_PIDS) => Ok(pids),
                _ => Err(format!("'{word}' is not auto, none or a number from 1 to {MAX_PIDS}")),
            };
            bound(word, pids).map(|pids| c.pids = pids)
        },
        get: |c| text_of_bound(c.pids),
    },
    Key {
        name: "limits.output",
        takes: "a size, as \"10G\", \"none\" or \"auto\"",
        default: AUTO,
        means: "The most that a job may leave in its own directory.",
        more: "It is watched: a job whose output, with all else in its directory, takes more room on the disk is ended within some seconds. With `auto` there is none for a daemon of your own; a daemon for all users gives each job a tenth of the disk that the output of all is on. What a job writes elsewhere, with `--stdout` too, is not counted.",
        at_reload: false,
        set: |c, word| bound(word, |size| text(size.parse())).map(|output| c.output = output),
        get: |c| text_of_bound(c.output),
    },
    Key {
        name: "supervision.cgroup",
        takes: "\"auto\", \"v2\", \"v1\" or \"none\"",
        default: AUTO,
        means: "What keeps the processes of a job together.",
        more: "Control groups of this version, the best that can be written, or none, which leaves walking the processes below the shim. `qrm doctor` says which it is.",
        at_reload: false,
        set: |c, word| {
            c.tracking = match word {
                AUTO => Wish::Auto,
                "v2" => Wish::V2,
                "v1" => Wish::V1,
                NONE => Wish::None,
                _ => return Err(format!("'{word}' is not auto, v2, v1 or none")),
            };
            Ok(())
        },
        get: |c| {
            match c.tracking {
                Wish::Auto => AUTO,
                Wish::V2 => "v2",
                Wish::V1 => "v1",
                Wish::None => NONE,
            }
            .to_owned()
        },
    },
    Key {
        name: "users.admins",
        takes: "a list of users and @groups, as [\"alice\", \"@qrm-admin\"]",
        default: "",
        means: "Who controls the jobs of all, beside root.",
        more: "It counts for the daemon of all users. What jobs were given and wrote stays their owners'.",
        at_reload: true,
        set: |c, word| names(word).map(|names| c.admins = names),
        get: |c| c.admins.join(","),
    },
    Key {
        name: "users.viewers",
        takes: "a list of users and @groups",
        default: "",
        means: "Who sees the words of all jobs, however private.",
        more: "",
        at_reload: true,
        set: |c, word| names(word).map(|names| c.viewers = names),
        get: |c| c.viewers.join(","),
    },
    Key {
        name: "users.privacy",
        takes: "\"open\" or \"own\"",
        default: "open",
        means: "Whether users see the words of each other's jobs.",
        more: "With `own`, name, command, directories, labels, comment and messages of a job are shown to its owner, viewers and administrators alone; that there is a job, whose, and what it takes is shown to all. Environments, output and files are nobody else's in either case.",
        at_reload: true,
        set: |c, word| {
            c.open = match word {
                "open" => true,
                "own" => false,
                _ => return Err(format!("'{word}' is neither \"open\" nor \"own\"")),
            };
            Ok(())
        },
        get: |c| if c.open { "open" } else { "own" }.to_owned(),
    },
    Key {
        name: "users.max_jobs",
        takes: "a number from 1 to 10000000",
        default: "1000000",
        means: "The most jobs that one user may have alive at once.",
        more: "An array counts as one. It is a tenth of what all may have together; administrators have no bound of their own.",
        at_reload: true,
        set: |c, word| number(word, 1..=10_000_000, " of jobs").map(|most| c.max_jobs = most),
        get: |c| c.max_jobs.to_string(),
    },
    Key {
        name: "users.shares",
        takes: "a list of users with weights, as [\"alice=2\", \"bob=1\"]",
        default: "",
        means: "What users weigh beside each other in fair share.",
        more: "From 1 to 1000; who is not named weighs 1. Users are named as they log in, or by their number. One whom the machine does not know counts when it does: `qrm doctor` names them, and they are looked up again every hour and at a reload.",
        at_reload: true,
        set: |c, word| shares(word).map(|shares| c.shares = shares),
        get: |c| text_of_shares(&c.shares),
    },
    Key {
        name: "monitor.interval",
        takes: "a duration from 100ms to 1h, as \"1s\"",
        default: "1s",
        means: "How far apart samples of jobs and the machine are.",
        more: "They are taken while jobs run or somebody looks, and those of the last five minutes are kept, at most 300. Where very many processes run they are further apart, so that they never take more than a hundredth of a cpu.",
        at_reload: true,
        set: |c, word| span(word, INTERVALS).map(|interval| c.sampled_every = interval),
        get: |c| duration(c.sampled_every),
    },
    Key {
        name: "monitor.mounts",
        takes: "a list of paths, as [\"/\", \"/data\"]",
        default: "/",
        means: "File systems to look at, by a path in each.",
        more: "`qrm stats` shows how full they are. In the variable and with `--set`, commas stand between them.",
        at_reload: true,
        set: |c, word| {
            let paths: Vec<PathBuf> = parts(word).map(PathBuf::from).collect();
            if let Some(relative) = paths.iter().find(|path| !path.is_absolute()) {
                return Err(format!("'{}' is not an absolute path", relative.display()));
            }
            if paths.len() > MOST_MOUNTS {
                return Err(format!("{} paths are more than {MOST_MOUNTS}", paths.len()));
            }
            c.mounts = paths;
            Ok(())
        },
        get: |c| {
            let paths: Vec<String> = c.mounts.iter().map(|path| path.display().to_string()).collect();
            paths.join(",")
        },
    },
];
