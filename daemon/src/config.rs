//! Settings: built in, from the configuration file, from the environment, from flags, in this order, each with where it
//! came from. It refuses what it does not know, by name, line and the nearest thing that it does know.

mod file;
mod keys;
mod queues;
#[cfg(test)]
mod tests;
mod texts;

pub use keys::{KEYS, Key};
pub(crate) use queues::key as queue_key;
pub use queues::{QUEUE_KEYS, QueueKey};

use crate::mode::Mode;
use crate::monitor::Bounds;
use crate::supervise::cgroup::Wish;
use keys::find;
use qrm_core::{Policy, Weights};
use qrm_protocol::amount::Bytes;
use qrm_protocol::error::{Error, nearest};
use qrm_protocol::ids::Uid;
use qrm_protocol::method::{Mistake, SettingView};
use qrm_protocol::place::{self, ConfigFile};
use qrm_protocol::queue::{QueueName, QueueSpec};
use qrm_protocol::time::Millis;
use queues::Queue;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How sure a commit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Outlives a power failure.
    Full,
    /// Outlives a crash of the daemon; a power failure may take the last seconds.
    Relaxed,
}

impl Durability {
    /// The word in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Relaxed => "relaxed",
        }
    }
}

/// A limit of jobs that do not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bound<T> {
    /// None in user mode, and in system mode a part of what the machine can have.
    #[default]
    Auto,
    /// As much as the machine can have.
    None,
    /// So much.
    Most(T),
}

/// All settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `store.durability`.
    pub durability: Durability,
    /// `store.retention`: how long ended jobs are kept.
    pub retention: Millis,
    /// `host.cpus`: what the machine offers to jobs; all that the daemon may use, if not set.
    pub cpus: Option<u32>,
    /// `host.memory`: what the machine offers to jobs; all but `scheduler.memory_reserve`, if not set.
    pub memory: Option<Bytes>,
    /// `scheduler.memory_reserve`.
    pub memory_reserve: Bytes,
    /// `host.disk`: what is offered for scratch directories; what is free, less `scheduler.disk_reserve`, if not set.
    pub disk: Option<Bytes>,
    /// `scheduler.disk_reserve`.
    pub disk_reserve: Bytes,
    /// `scratch.directory`: where scratch directories are, if not in the state directory.
    pub scratch_dir: Option<PathBuf>,
    /// `scheduler.cpu` is `hard`: a job never has more cpus than it asked for.
    pub hard_cpus: bool,
    /// `scheduler.assumed_time`: what a job is expected to run of which nothing is known.
    pub assumed: Millis,
    /// `scheduler.planned_starts`: how many blocked jobs are planned.
    pub planned_starts: u32,
    /// `scheduler.weights`: what a rank is made of.
    pub weights: Weights,
    /// `scheduler.offer_time`: how long an offer can be accepted.
    pub offer: Millis,
    /// `scheduler.pressure_memory`: nothing more starts while some process waited for memory for more thousandths of the time.
    pub pressure_memory: Option<u32>,
    /// `scheduler.pressure_cpu`: the same of cpus.
    pub pressure_cpu: Option<u32>,
    /// `limits.pids`: the most processes of a job that does not say.
    pub pids: Bound<u32>,
    /// `limits.output`: the most that a job may leave in its own directory.
    pub output: Bound<Bytes>,
    /// `supervision.cgroup`: how the processes of a job are kept together.
    pub tracking: Wish,
    /// `users.admins`: names, and groups with an `@` before theirs.
    pub admins: Vec<String>,
    /// `users.viewers`: the same.
    pub viewers: Vec<String>,
    /// `users.privacy`: the words of jobs are shown to all.
    pub open: bool,
    /// `users.max_jobs`: of one user, alive at once.
    pub max_jobs: u64,
    /// `users.shares`: the weights of users, by name or number.
    pub shares: BTreeMap<String, u32>,
    /// `monitor.interval`: how far apart samples are.
    pub sampled_every: Millis,
    /// `monitor.mounts`: file systems that are looked at, by a path in each.
    pub mounts: Vec<PathBuf>,
    /// `[[queue]]`: in the file alone.
    queues: BTreeMap<QueueName, Queue>,
    /// Where those came from that are not built in, by key.
    origins: BTreeMap<&'static str, Origin>,
}

impl Default for Config {
    fn default() -> Self {
        let policy = Policy::default();
        Self {
            durability: Durability::Full,
            retention: Millis(90 * 24 * 3_600_000),
            cpus: None,
            memory: None,
            memory_reserve: Bytes(1 << 30),
            disk: None,
            disk_reserve: Bytes(1 << 30),
            scratch_dir: None,
            hard_cpus: false,
            assumed: Millis(policy.assumed_ms),
            planned_starts: policy.planned_starts,
            weights: policy.weights,
            offer: Millis(policy.offer_ms),
            pressure_memory: Some(200),
            pressure_cpu: None,
            pids: Bound::Auto,
            output: Bound::Auto,
            tracking: Wish::Auto,
            admins: Vec::new(),
            viewers: Vec::new(),
            open: true,
            max_jobs: 1_000_000,
            shares: BTreeMap::new(),
            sampled_every: Millis(1_000),
            mounts: vec![PathBuf::from("/")],
            queues: BTreeMap::new(),
            origins: BTreeMap::new(),
        }
    }
}

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file, from 1.
    File(PathBuf, usize),
    /// This variable.
    Variable(String),
    /// `--set`.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag => f.write_str("--set"),
        }
    }
}

/// What the layers above the built-in values are.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// `--set KEY=VALUE`, in order.
    pub set: Vec<String>,
    /// For the system's daemon.
    pub system: bool,
}

impl Sources {
    /// The file that is read, if the environment or a flag names one or there could be one.
    #[must_use]
    pub fn config_file(&self, env: &impl Fn(&str) -> Option<OsString>) -> Option<ConfigFile> {
        place::config_file(self.file.as_deref(), env, self.system)
    }

    /// The settings, with `QRM_SECTION_KEY` for each key from the environment.
    ///
    /// # Errors
    /// Everything in the file, a variable or a flag that can not be meant.
    pub fn load(&self, env: &impl Fn(&str) -> Option<OsString>) -> Result<Config, Vec<Mistake>> {
        let mut config = Config::default();
        let mut mistakes = Vec::new();
        if let Some(file) = self.config_file(env) {
            let mode = if self.system { Mode::System } else { Mode::User };
            match std::fs::read_to_string(&file.path) {
                // What it says is done as root.
                Ok(_) if let Err(why) = mode.trust(&file.path) => {
                    mistakes.push(mistake(format!("{} is not taken: {why}", file.path.display())));
                }
                Ok(text) => mistakes.extend(file::take(&mut config, &file.path, &text)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && !file.named => {}
                Err(e) => mistakes.push(mistake(format!("{} can not be read: {e}", file.path.display()))),
            }
        }
        for key in KEYS {
            let name = key.variable();
            let Some(value) = env(&name).filter(|v| !v.is_empty()) else { continue };
            match (key.set)(&mut config, &value.to_string_lossy()) {
                Ok(()) => drop(config.origins.insert(key.name, Origin::Variable(name))),
                Err(why) => mistakes.push(mistake(format!("{name}: {why}"))),
            }
        }
        for word in &self.set {
            mistakes.extend(config.take_flag(word).err());
        }
        if mistakes.is_empty() { Ok(config) } else { Err(mistakes) }
    }
}

/// All of them, as one refusal.
#[must_use]
pub fn refusal(mistakes: &[Mistake]) -> Error {
    let Some(first) = mistakes.first() else { return Error::invalid("the configuration is not understood") };
    let mut error = Error::invalid(first.message.clone());
    let more = mistakes.len() - 1;
    let rest = (more > 0).then(|| format!("{more} more: qrm config check shows all"));
    let hints: Vec<String> = first.hint.iter().cloned().chain(rest).collect();
    if !hints.is_empty() {
        error = error.hint(hints.join("; "));
    }
    error
}

fn mistake(message: String) -> Mistake {
    Mistake { message, hint: None, line: None, column: None, text: None }
}

fn unknown(name: &str) -> (String, String) {
    let names = || KEYS.iter().map(|key| key.name);
    let hint = match nearest(name, names()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("settings are {}", names().collect::<Vec<_>>().join(", ")),
    };
    (format!("there is no setting '{name}'"), hint)
}

impl Config {
    /// Where a setting came from; nothing if it is built in.
    #[must_use]
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.origins.get(key)
    }

    /// How far apart samples are.
    #[must_use]
    pub fn monitor_interval(&self) -> Duration {
        Duration::from_millis(self.sampled_every.0)
    }

    /// How it is decided what starts when, with the weights of these users.
    #[must_use]
    pub fn policy(&self, shares: BTreeMap<Uid, u32>) -> Policy {
        Policy {
            assumed_ms: self.assumed.0,
            planned_starts: self.planned_starts,
            weights: self.weights,
            shares,
            offer_ms: self.offer.0,
        }
    }

    /// By what the machine beside jobs is judged.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds { reserve: self.memory_reserve.0, memory: self.pressure_memory, cpu: self.pressure_cpu }
    }

    /// The queues that the file names.
    #[must_use]
    pub fn queues(&self) -> BTreeMap<QueueName, QueueSpec> {
        self.queues.iter().map(|(name, queue)| (name.clone(), queue.spec.clone())).collect()
    }

    /// One of them, as text; what stands for none if it is not there.
    #[must_use]
    pub fn queue(&self, name: &QueueName) -> String {
        self.queues.get(name).map_or_else(|| texts::NONE.to_owned(), Queue::text)
    }

    /// Every setting, for people and programs; then every queue that the file names.
    #[must_use]
    pub fn view(&self) -> Vec<SettingView> {
        let view = |key: &Key| SettingView {
            key: key.name.to_owned(),
            value: (key.get)(self),
            default: key.default.to_owned(),
            origin: self.origin(key.name).map_or_else(|| "built in".to_owned(), ToString::to_string),
            means: key.means.to_owned(),
            at_reload: key.at_reload,
        };
        let queues = self.queues.iter().map(|(name, queue)| queue.view(name));
        KEYS.iter().map(view).chain(queues).collect()
    }

    fn take_flag(&mut self, word: &str) -> Result<(), Mistake> {
        let Some((name, value)) = word.split_once('=') else {
            return Err(mistake(format!("--set {word}: write KEY=VALUE, as in --set store.durability=relaxed")));
        };
        let Some(key) = find(name) else {
            let (why, hint) = match name.split('.').next() {
                Some(queues::SECTION) => ("queues are set in the file alone".to_owned(), queues::EXAMPLE.to_owned()),
                _ => unknown(name),
            };
            return Err(Mistake { hint: Some(hint), ..mistake(format!("--set {word}: {why}")) });
        };
        (key.set)(self, value).map_err(|why| mistake(format!("--set {word}: {why}")))?;
        self.origins.insert(key.name, Origin::Flag);
        Ok(())
    }
}
