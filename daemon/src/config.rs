//! Settings: built in, from the configuration file, from the environment, from flags, in this order, each with where it
//! came from. It refuses what it does not know, by name, line and the nearest thing that it does know.

mod keys;

pub use keys::{KEYS, Key};

use crate::mode::Mode;
use crate::supervise::cgroup::Wish;
use keys::find;
use qrm_protocol::amount::Bytes;
use qrm_protocol::error::{Error, nearest};
use qrm_protocol::method::{Mistake, SettingView};
use qrm_protocol::place::{self, ConfigFile};
use qrm_protocol::time::Millis;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
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
    /// `monitor.interval`: how far apart samples are.
    pub sampled_every: Millis,
    /// `monitor.mounts`: file systems that are looked at, by a path in each.
    pub mounts: Vec<PathBuf>,
    /// Where those came from that are not built in, by key.
    origins: BTreeMap<&'static str, Origin>,
}

impl Default for Config {
    fn default() -> Self {
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
            pids: Bound::Auto,
            output: Bound::Auto,
            tracking: Wish::Auto,
            admins: Vec::new(),
            viewers: Vec::new(),
            open: true,
            max_jobs: 1_000_000,
            sampled_every: Millis(1_000),
            mounts: vec![PathBuf::from("/")],
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
                Ok(text) => mistakes.extend(config.take_file(&file.path, &text)),
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

/// A place in the text of a file.
struct At<'a> {
    path: &'a Path,
    text: &'a str,
}

impl At<'_> {
    fn line(&self, offset: usize) -> usize {
        self.text[..offset.min(self.text.len())].matches('\n').count() + 1
    }

    fn mistake(&self, offset: usize, why: &str, hint: Option<String>) -> Mistake {
        let line = self.line(offset);
        let text = self.text.lines().nth(line - 1).unwrap_or_default();
        let begin = self.text[..offset.min(self.text.len())].rfind('\n').map_or(0, |at| at + 1);
        let column = self.text[begin..offset.min(self.text.len())].chars().count() + 1;
        Mistake {
            message: format!("{}:{line}:{column}: {why}", self.path.display()),
            hint,
            line: Some(line as u64),
            column: Some(column as u64),
            text: Some(text.to_owned()),
        }
    }
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

    /// Every setting, for people and programs.
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
        KEYS.iter().map(view).collect()
    }

    fn take_flag(&mut self, word: &str) -> Result<(), Mistake> {
        let Some((name, value)) = word.split_once('=') else {
            return Err(mistake(format!("--set {word}: write KEY=VALUE, as in --set store.durability=relaxed")));
        };
        let Some(key) = find(name) else {
            let (why, hint) = unknown(name);
            return Err(Mistake { hint: Some(hint), ..mistake(format!("--set {word}: {why}")) });
        };
        (key.set)(self, value).map_err(|why| mistake(format!("--set {word}: {why}")))?;
        self.origins.insert(key.name, Origin::Flag);
        Ok(())
    }

    /// What of a file can not be meant.
    fn take_file(&mut self, path: &Path, text: &str) -> Vec<Mistake> {
        let at = At { path, text };
        let table = match toml::de::DeTable::parse(text) {
            Ok(table) => table,
            Err(e) => return vec![at.mistake(e.span().map_or(0, |span| span.start), e.message(), None)],
        };
        let mut mistakes = Vec::new();
        for (section, value) in table.get_ref() {
            let begin = section.span().start;
            let Some(keys) = value.get_ref().as_table() else {
                let why = format!("'{}' stands outside of a section", section.get_ref());
                let hint = "sections are [store], [host], [scheduler], [scratch], [limits], [supervision], [users] and [monitor]";
                mistakes.push(at.mistake(begin, &why, Some(hint.to_owned())));
                continue;
            };
            if keys.is_empty() && !KEYS.iter().any(|key| key.section() == section.get_ref().as_ref()) {
                let (why, hint) = unknown(&format!("{}.*", section.get_ref()));
                mistakes.push(at.mistake(begin, &why, Some(hint)));
            }
            for (key, value) in keys {
                let name = format!("{}.{}", section.get_ref(), key.get_ref());
                mistakes.extend(self.take_entry(&at, &name, key.span().start, value).err());
            }
        }
        mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        mistakes
    }

    fn take_entry(
        &mut self,
        at: &At<'_>,
        name: &str,
        begin: usize,
        value: &toml::Spanned<toml::de::DeValue<'_>>,
    ) -> Result<(), Mistake> {
        let Some(key) = find(name) else {
            let (why, hint) = unknown(name);
            return Err(at.mistake(begin, &why, Some(hint)));
        };
        let plain = match value.get_ref() {
            toml::de::DeValue::String(text) => text.to_string(),
            toml::de::DeValue::Integer(number) => number.to_string(),
            toml::de::DeValue::Array(list) if key.takes.contains("list") => joined(list)
                .ok_or_else(|| at.mistake(value.span().start, &format!("'{name}' takes a list of strings"), None))?,
            _ => return Err(at.mistake(value.span().start, &format!("'{name}' takes {}", key.takes), None)),
        };
        let wrong = |why: String| at.mistake(value.span().start, &format!("{name}: {why}"), None);
        (key.set)(self, &plain).map_err(wrong)?;
        self.origins.insert(key.name, Origin::File(at.path.to_owned(), at.line(begin)));
        Ok(())
    }
}

/// A list of strings, with commas; nothing if there is something else in it.
fn joined(list: &toml::de::DeArray<'_>) -> Option<String> {
    let texts = list.iter().map(|one| match one.get_ref() {
        toml::de::DeValue::String(text) => Some(text.to_string()),
        _ => None,
    });
    Some(texts.collect::<Option<Vec<String>>>()?.join(","))
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
            "/s",
            "77",
            "4G",
            "v2",
            "a,@b",
            "c",
            "own",
            "7",
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
        let missing = Sources { file: Some("/nowhere/c.toml".into()), ..Sources::default() };
        assert!(missing.load(&|_| None).is_err());
    }
}
