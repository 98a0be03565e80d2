//! Settings: built in, from the configuration file, from the environment, in this order.
//! It refuses what it does not know, by name, line and the nearest thing that it does know.

use crate::supervise::cgroup::Wish;
use qrm_protocol::amount::Bytes;
use qrm_protocol::error::{Error, nearest};
use qrm_protocol::time::Millis;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

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
    /// `supervision.cgroup`: how the processes of a job are kept together.
    pub tracking: Wish,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            durability: Durability::Full,
            retention: Millis(90 * 24 * 3_600_000),
            cpus: None,
            memory: None,
            memory_reserve: Bytes(1 << 30),
            tracking: Wish::Auto,
        }
    }
}

type Set = fn(&mut Config, &str) -> Result<(), String>;

/// Every key: its name, and how its text becomes a setting.
const KEYS: &[(&str, Set)] = &[
    ("store.durability", |c, text| {
        c.durability = match text {
            "full" => Durability::Full,
            "relaxed" => Durability::Relaxed,
            _ => return Err(format!("'{text}' is neither \"full\" nor \"relaxed\"")),
        };
        Ok(())
    }),
    ("store.retention", |c, text| text.parse().map(|d| c.retention = d).map_err(|e| format!("{e}"))),
    ("host.cpus", |c, text| match text.parse::<u32>() {
        Ok(cpus @ 1..=65_536) => {
            c.cpus = Some(cpus);
            Ok(())
        }
        _ => Err(format!("'{text}' is not a number of cpus from 1 to 65536")),
    }),
    ("host.memory", |c, text| text.parse().map(|m| c.memory = Some(m)).map_err(|e| format!("{e}"))),
    ("scheduler.memory_reserve", |c, text| text.parse().map(|m| c.memory_reserve = m).map_err(|e| format!("{e}"))),
    ("supervision.cgroup", |c, text| {
        c.tracking = match text {
            "auto" => Wish::Auto,
            "v2" => Wish::V2,
            "v1" => Wish::V1,
            "none" => Wish::None,
            _ => return Err(format!("'{text}' is not auto, v2, v1 or none")),
        };
        Ok(())
    }),
];

impl Config {
    /// The settings of this place: `QRM_CONFIG`, else `qrm/config.toml` in `XDG_CONFIG_HOME` or `~/.config`, if that
    /// file is there; then `QRM_SECTION_KEY` for each key.
    ///
    /// # Errors
    /// Something in the file or a variable can not be meant; names it with its line.
    pub fn load(flag: Option<&Path>, env: impl Fn(&str) -> Option<OsString>) -> Result<Self, Error> {
        let mut config = Self::default();
        if let Some((path, text)) = Self::read(flag, &env)? {
            config.take_file(&path, &text)?;
        }
        for (key, set) in KEYS {
            let name = format!("QRM_{}", key.replace('.', "_").to_uppercase());
            let Some(value) = env(&name).filter(|v| !v.is_empty()) else { continue };
            set(&mut config, &value.to_string_lossy()).map_err(|why| Error::invalid(format!("{name}: {why}")))?;
        }
        Ok(config)
    }

    fn read(flag: Option<&Path>, env: &impl Fn(&str) -> Option<OsString>) -> Result<Option<(PathBuf, String)>, Error> {
        let set = |name: &str| env(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let named = flag.map(Path::to_owned).or_else(|| set("QRM_CONFIG"));
        let usual = || {
            let base = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
            Some(base.join("qrm/config.toml"))
        };
        let must = named.is_some();
        let Some(path) = named.or_else(usual) else { return Ok(None) };
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some((path, text))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !must => Ok(None),
            Err(e) => Err(Error::invalid(format!("the configuration {} can not be read: {e}", path.display()))),
        }
    }

    fn take_file(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        let at = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
        let wrong = |line: usize, why: String| Error::invalid(format!("{}:{line}: {why}", path.display()));
        let table = toml::de::DeTable::parse(text)
            .map_err(|e| wrong(e.span().map_or(1, |span| at(span.start)), e.message().to_owned()))?;
        for (section, value) in table.get_ref() {
            let Some(keys) = value.get_ref().as_table() else {
                let why = format!("'{}' stands outside of a section", section.get_ref());
                return Err(wrong(at(section.span().start), why)
                    .hint("sections are [store], [host], [scheduler] and [supervision]"));
            };
            for (key, value) in keys {
                let name = format!("{}.{}", section.get_ref(), key.get_ref());
                let line = at(key.span().start);
                let Some((_, set)) = KEYS.iter().find(|(known, _)| *known == name) else {
                    let error = wrong(line, format!("there is no setting '{name}'"));
                    return Err(match nearest(&name, KEYS.iter().map(|(known, _)| *known)) {
                        Some(near) => error.hint(format!("did you mean {near}?")),
                        None => error
                            .hint(format!("settings are {}", KEYS.iter().map(|k| k.0).collect::<Vec<_>>().join(", "))),
                    });
                };
                let plain = match value.get_ref() {
                    toml::de::DeValue::String(text) => text.to_string(),
                    toml::de::DeValue::Integer(number) => number.to_string(),
                    _ => return Err(wrong(line, format!("'{name}' takes a string or a number"))),
                };
                set(self, &plain).map_err(|why| wrong(line, format!("{name}: {why}")))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, vars: &[(&str, &str)]) -> Result<Config, Error> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, text).unwrap();
        Config::load(Some(&file), |name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).into()))
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_what_is_built_in() {
        let text = "[store]\ndurability = \"relaxed\"\nretention = \"30d\"\n[host]\ncpus = 3\n";
        let config = load(text, &[("QRM_STORE_RETENTION", "1d")]).unwrap();
        assert_eq!((config.durability, config.cpus), (Durability::Relaxed, Some(3)));
        assert_eq!(config.retention, Millis(86_400_000));
        assert_eq!(load("", &[]).unwrap(), Config::default());
    }

    #[test]
    fn a_setting_that_can_not_be_meant_is_named_with_its_line_and_the_nearest_key() {
        for (text, says, hint) in [
            (
                "[store]\n\ndurablity = \"full\"",
                "config.toml:3: there is no setting 'store.durablity'",
                "did you mean store.durability?",
            ),
            ("[store]\ndurability = \"fast\"", "config.toml:2: store.durability: 'fast' is neither", ""),
            ("cpus = 3", "config.toml:1: 'cpus' stands outside", "sections are"),
            ("[host]\ncpus = [1]", "config.toml:2: 'host.cpus' takes a string or a number", ""),
            ("[host\n", "config.toml:1:", ""),
            ("[host]\ncpus = 0", "not a number of cpus", ""),
        ] {
            let error = load(text, &[]).unwrap_err();
            assert!(error.message.contains(says), "{text}: {error:?}");
            assert!(error.hint.unwrap_or_default().contains(hint), "{text}");
        }
        assert!(load("", &[("QRM_HOST_CPUS", "many")]).unwrap_err().message.contains("QRM_HOST_CPUS"));
        assert!(Config::load(Some(Path::new("/nowhere/c.toml")), |_| None).is_err());
    }
}
