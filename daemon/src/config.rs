//! Settings: built in, from the configuration file, from the environment, from flags, in this order, each with where it
//! came from. It refuses what it does not know, by name, line and the nearest thing that it does know.

mod file;
mod keys;
mod queues;
mod texts;

pub use keys::{KEYS, Key};
pub use queues::{QUEUE_KEYS, QueueKey};

use crate::mode::Mode;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, vars: &[(&str, &str)], set: &[&str]) -> Result<Config, Vec<Mistake>> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, text).unwrap();
        let sources =
            Sources { file: Some(file), set: set.iter().map(|word| (*word).to_owned()).collect(), system: false };
        sources.load(&|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).into()))
    }

    #[test]
    fn a_flag_wins_over_the_environment_that_over_the_file_and_the_file_over_what_is_built_in() {
        let text = "[store]\ndurability = \"relaxed\"\nretention = \"30d\"\n\n[host]\ncpus = 3\nmemory = \"2G\"\n";
        let variables = [("QRM_STORE_RETENTION", "1d"), ("QRM_HOST_MEMORY", "3G")];
        let config = load(text, &variables, &["host.memory=4G"]).unwrap();
        assert_eq!((config.durability, config.cpus), (Durability::Relaxed, Some(3)));
        assert_eq!((config.retention, config.memory), (Millis(86_400_000), Some(Bytes(4 << 30))));
        let view = config.view();
        let origin = |key: &str| view.iter().find(|one| one.key == key).unwrap().origin.clone();
        assert!(origin("host.cpus").ends_with("config.toml:6"), "{}", origin("host.cpus"));
        assert_eq!(origin("store.retention"), "QRM_STORE_RETENTION");
        assert_eq!(origin("host.memory"), "--set");
        assert_eq!(origin("supervision.cgroup"), "built in");
        assert_eq!(load("", &[], &[]).unwrap(), Config::default());
    }

    #[test]
    fn what_is_shown_of_a_setting_is_what_sets_it() {
        for (key, value) in KEYS.iter().zip([
            "relaxed",
            "2d",
            "3",
            "512M",
            "5G",
            "2G",
            "3G",
            "hard",
            "2h",
            "0",
            "priority=1,age_per_hour=2,fair_share=3",
            "2m",
            "12.5%",
            "90%",
            "/s",
            "77",
            "4G",
            "v2",
            "a,@b",
            "c",
            "own",
            "7",
            "a=2,b=3",
            "250ms",
            "/,/var/tmp",
        ]) {
            let config = load("", &[(&key.variable(), value)], &[]).unwrap();
            let shown = config.view().into_iter().find(|one| one.key == key.name).unwrap();
            assert_eq!(shown.value, value, "{}", key.name);
            assert_ne!(shown.value, shown.default, "{}", key.name);
            let again = load("", &[], &[&format!("{}={}", key.name, shown.value)]).unwrap();
            assert_eq!((key.get)(&again), value);
        }
        for shown in Config::default().view() {
            assert_eq!(shown.value, shown.default, "{}", shown.key);
        }
    }

    #[test]
    fn weights_are_a_table_and_what_is_absent_in_it_is_built_in() {
        let config = load("[scheduler]\nweights = { fair_share = 0 }\n", &[], &[]).unwrap();
        assert_eq!(config.weights, Weights { fair_share: 0, ..Weights::default() });
        let again = load("[scheduler.weights]\nfair_share = 0\n", &[], &[]).unwrap();
        assert_eq!(again.weights, config.weights);
        assert!(again.origin("scheduler.weights").unwrap().to_string().ends_with("config.toml:1"));
        assert_eq!(Config::default().policy(BTreeMap::new()), Policy::default());
    }

    #[test]
    fn what_is_shown_of_a_queue_is_what_it_is() {
        let all = "name = \"all\"\nweight = 3\nmax_running = 4\nmax_time = \"12h\"\npreemptible = true\non_preempt = \"suspend\"\n\
                   on_conflict = \"queuing\"\npriority = \"low\"\ncpus = 2\nmem = \"1.5G\"\ntime = \"90m\"\n";
        let text = format!("[[queue]]\n{all}\n[[queue]]\nname = \"plain\"\nmax_running = 0\nmem = \"none\"\n");
        let config = load(&text, &[], &[]).unwrap();
        let spec = config.queues()[&"all".parse().unwrap()].clone();
        assert_eq!(
            (spec.weight, spec.max_running, spec.max_time_ms, spec.preemptible),
            (3, Some(4), Some(Millis(12 * 3_600_000)), true)
        );
        assert_eq!(
            (spec.cpus, spec.mem_bytes, spec.time_limit_ms),
            (Some(2), Some(Bytes(3 << 29)), Some(Millis(5_400_000)))
        );
        assert_eq!(spec.priority.map(|priority| priority.get()), Some(25));
        assert_eq!((spec.on_preempt.word(), spec.on_conflict.word()), ("suspend", "queuing"));
        let view = config.view();
        let shown = |key: &str| view.iter().find(|one| one.key == key).unwrap().clone();
        assert_eq!((shown("queue.plain").value.as_str(), shown("queue.plain").default.as_str()), ("weight=1", "none"));
        assert!(shown("queue.plain").origin.ends_with("config.toml:14"), "{}", shown("queue.plain").origin);
        let value = shown("queue.all").value;
        assert_eq!(value.split(',').count(), QUEUE_KEYS.len(), "{value}");
        // It would be the same queue, written so.
        let written: Vec<String> = value
            .split(',')
            .map(|part| {
                let (key, value) = part.split_once('=').unwrap();
                let plain = value.parse::<u64>().is_ok() || value == "true";
                if plain { format!("{key} = {value}\n") } else { format!("{key} = \"{value}\"\n") }
            })
            .collect();
        let again = load(&format!("[[queue]]\nname = \"all\"\n{}", written.concat()), &[], &[]).unwrap();
        assert_eq!(again.queues()[&"all".parse().unwrap()], spec);
    }

    #[test]
    fn everything_that_can_not_be_meant_is_named_with_its_place_and_the_nearest_key() {
        for (text, says, hint) in [
            (
                "[store]\n\n  durablity = \"full\"",
                "config.toml:3:3: there is no setting 'store.durablity'",
                "did you mean store.durability?",
            ),
            ("[store]\ndurability = \"fast\"", "config.toml:2:14: store.durability: 'fast' is neither", ""),
            ("cpus = 3", "config.toml:1:1: 'cpus' stands outside", "sections are"),
            ("[host]\ncpus = [1]", "config.toml:2:8: 'host.cpus' takes a number from 1", ""),
            ("[users]\nadmins = [1]", "config.toml:2:10: 'users.admins' takes a list of strings", ""),
            ("[users]\nadmins = [\"a b\"]", "config.toml:2:10: users.admins: 'a b' is neither", ""),
            ("[users]\nprivacy = \"closed\"", "neither \"open\" nor \"own\"", ""),
            ("[host\n", "config.toml:1:", ""),
            ("[host]\ncpus = 0", "not a number of cpus", ""),
            ("[hots]\n", "there is no setting 'hots.*'", ""),
            ("[store]\nretention = true", "config.toml:2:13: 'store.retention' takes a duration", ""),
            (
                "[scheduler]\nweights = { priority = 1, prioritty = 2 }",
                "config.toml:2:27: scheduler.weights: there is no weight 'prioritty'; did you mean priority?",
                "",
            ),
            ("[scheduler.weights]\nage_per_hour = -1", "config.toml:2:1: scheduler.weights: '-1' is not a number", ""),
            ("[scheduler]\nplanned_starts = 257", "config.toml:2:18: scheduler.planned_starts: '257' is not a", ""),
            ("[scheduler]\noffer_time = \"500ms\"", "'500ms' is not from 1s to 1d", ""),
            ("[users]\nshares = [\"@lab=2\"]", "config.toml:2:10: users.shares: '@lab' is a group", ""),
            ("[[queues]]\nname = \"a\"", "config.toml:1:3: there is no [[queues]]", "did you mean [[queue]]?"),
            ("[queue]\nname = \"a\"", "config.toml:1:2: each queue is a table of its own", "write [[queue]]"),
            ("[[queue]]\nweight = 2", "config.toml:1:1: this queue has no name", "write name"),
            ("[[queue]]\nname = \"A\"", "config.toml:2:8: 'A' can not be the name of a queue", ""),
            (
                "[[queue]]\nname = \"a\"\nmax_runing = 4",
                "config.toml:3:1: there is no 'max_runing' of a queue",
                "did you mean max_running?",
            ),
            ("[[queue]]\nname = \"a\"\nmax_time = \"12\\u2009h\"", "config.toml:3:12: max_time: '12", ""),
            ("[[queue]]\nname = \"a\"\ncpus = [1]", "config.toml:3:8: 'cpus' takes a number", ""),
            ("[[queue]]\nname = \"a\"\non_preempt = \"stop\"", "on_preempt: 'stop' is not requeue, cancel", ""),
            (
                "[[queue]]\nname = \"a\"\n\n[[queue]]\nname = \"b\"\nmax_time = \"1h\"\ntime = \"2h\"",
                "config.toml:4:1: queue b: a time limit of 2h00m is more than max_time of 1h00m",
                "",
            ),
            (
                "[[queue]]\nname = \"a\"\n\n[[queue]]\nname = \"a\"",
                "config.toml:5:8: two queues are named 'a'",
                "config.toml:1",
            ),
        ] {
            let mistakes = load(text, &[], &[]).unwrap_err();
            assert_eq!(mistakes.len(), 1, "{text}: {mistakes:?}");
            assert!(mistakes[0].message.contains(says), "{text}: {mistakes:?}");
            assert!(mistakes[0].hint.clone().unwrap_or_default().contains(hint), "{text}");
        }
        let mistakes = load("[host]\ncpus = 0\n[store]\nx = 1\n", &[("QRM_HOST_MEMORY", "many")], &["a", "b=1"]);
        let mistakes = mistakes.unwrap_err();
        let lines: Vec<Option<u64>> = mistakes.iter().map(|mistake| mistake.line).collect();
        assert_eq!(lines, [Some(2), Some(4), None, None, None]);
        assert!(refusal(&mistakes).hint.unwrap().contains("4 more"));
        let queue = load("", &[], &["queue.night.weight=2"]).unwrap_err();
        assert!(queue[0].message.contains("queues are set in the file alone"), "{queue:?}");
        let missing = Sources { file: Some("/nowhere/c.toml".into()), ..Sources::default() };
        assert!(missing.load(&|_| None).is_err());
    }
}
