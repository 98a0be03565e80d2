//! Signals as people name them: `USR1`, `SIGUSR1`, `10`.
//! It sends none.

use crate::error::nearest;
use rustix::process::Signal as Os;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::str::FromStr;

/// A signal of this machine, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Signal(i32);

/// The names of the standard signals, signal(7).
const NAMES: [(&str, Os); 31] = [
    ("HUP", Os::HUP),
    ("INT", Os::INT),
    ("QUIT", Os::QUIT),
    ("ILL", Os::ILL),
    ("TRAP", Os::TRAP),
    ("ABRT", Os::ABORT),
    ("BUS", Os::BUS),
    ("FPE", Os::FPE),
    ("KILL", Os::KILL),
    ("USR1", Os::USR1),
    ("SEGV", Os::SEGV),
    ("USR2", Os::USR2),
    ("PIPE", Os::PIPE),
    ("ALRM", Os::ALARM),
    ("TERM", Os::TERM),
    ("STKFLT", Os::STKFLT),
    ("CHLD", Os::CHILD),
    ("CONT", Os::CONT),
    ("STOP", Os::STOP),
    ("TSTP", Os::TSTP),
    ("TTIN", Os::TTIN),
    ("TTOU", Os::TTOU),
    ("URG", Os::URG),
    ("XCPU", Os::XCPU),
    ("XFSZ", Os::XFSZ),
    ("VTALRM", Os::VTALARM),
    ("PROF", Os::PROF),
    ("WINCH", Os::WINCH),
    ("IO", Os::IO),
    ("PWR", Os::POWER),
    ("SYS", Os::SYS),
];

impl Signal {
    /// What asks a process to end.
    pub const TERM: Self = Self(Os::TERM.as_raw());

    /// The signal of this number. 32 and 33 belong to the C library, and can be sent all the same.
    #[must_use]
    pub fn new(number: i32) -> Option<Self> {
        (1..=64).contains(&number).then_some(Self(number))
    }

    /// The kernel's number.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, signal)| signal.as_raw() == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl FromStr for Signal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.parse() {
            return Self::new(number).ok_or_else(|| format!("{number} is not a signal; signals are 1 to 64"));
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, signal)| Self(signal.as_raw())).ok_or_else(|| {
            match nearest(name, NAMES.iter().map(|(name, _)| *name)) {
                Some(near) => format!("there is no signal '{text}'; did you mean {near}?"),
                None => format!("there is no signal '{text}'; TERM, INT, USR1 and the numbers 1 to 64 are signals"),
            }
        })
    }
}

impl<'de> Deserialize<'de> for Signal {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a signal: a name as USR1, or a number")]
        enum Said {
            Number(i32),
            Name(String),
        }
        let text = match Said::deserialize(from)? {
            Said::Number(number) => number.to_string(),
            Said::Name(name) => name,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read_and_names_are_written() {
        for (text, number, shown) in
            [("TERM", 15, "TERM"), ("sigusr1", Os::USR1.as_raw(), "USR1"), ("9", 9, "KILL"), ("64", 64, "64")]
        {
            let signal: Signal = text.parse().unwrap();
            assert_eq!((signal.number(), signal.to_string().as_str()), (number, shown));
            assert_eq!(serde_json::from_value::<Signal>(serde_json::json!(text)).unwrap(), signal);
            assert_eq!(serde_json::from_value::<Signal>(serde_json::json!(number)).unwrap(), signal);
        }
        for (text, says) in [("0", "1 to 64"), ("65", "1 to 64"), ("-9", "1 to 64"), ("USR9", "USR1"), ("", "USR1 and")]
        {
            let error = text.parse::<Signal>().unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
