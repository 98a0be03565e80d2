//! Where a job reads from and writes to, as it is asked for: paths in which `%` stands for what is only known later.
//! It refuses to open anything.

use crate::ids::JobRef;
use crate::text::OsText;
use serde::{Deserialize, Serialize};

/// Where a job's standard input comes from. In JSON `null` and `fifo` are words, and every other text is a path; a file
/// of such a name is written `./null`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(from = "OsText", into = "OsText")]
pub enum Stdin {
    /// `/dev/null`.
    #[default]
    Null,
    /// A FIFO named `stdin` in the job's directory, which the submitter writes into.
    Fifo,
    /// A file, as an [`Expansion`] reads it.
    File(OsText),
}

impl From<OsText> for Stdin {
    fn from(text: OsText) -> Self {
        match text.as_bytes() {
            b"null" => Self::Null,
            b"fifo" => Self::Fifo,
            _ => Self::File(text),
        }
    }
}

impl From<Stdin> for OsText {
    fn from(stdin: Stdin) -> Self {
        let word = |word: &str| Self::try_from(word).unwrap_or_default();
        match stdin {
            Stdin::Null => word("null"),
            Stdin::Fifo => word("fifo"),
            Stdin::File(path) => path,
        }
    }
}

/// What `%` stands for in the paths of one job or task: `%j` its job's id, `%a` its index (0 if it is no task), `%n` its
/// name, `%u` its user, `%%` a percent sign.
#[derive(Clone, Copy, Debug)]
pub struct Expansion<'a> {
    /// Whose paths they are.
    pub job: JobRef,
    /// Its name; a `/` in it becomes `_`.
    pub name: &'a str,
    /// Its user's name.
    pub user: &'a str,
    /// Where it runs: what is not absolute is below that.
    pub cwd: &'a OsText,
}

impl Expansion<'_> {
    /// The absolute path that is meant.
    #[must_use]
    pub fn path(&self, pattern: &OsText) -> Vec<u8> {
        let mut path = Vec::with_capacity(self.cwd.as_bytes().len() + pattern.as_bytes().len() + 16);
        if !pattern.as_bytes().starts_with(b"/") {
            path.extend_from_slice(self.cwd.as_bytes());
            path.push(b'/');
        }
        let mut bytes = pattern.as_bytes().iter();
        while let Some(byte) = bytes.next() {
            if *byte != b'%' {
                path.push(*byte);
                continue;
            }
            match bytes.next() {
                Some(b'j') => path.extend_from_slice(self.job.job.to_string().as_bytes()),
                Some(b'a') => path.extend_from_slice(self.job.task.unwrap_or(0).to_string().as_bytes()),
                Some(b'n') => path.extend_from_slice(self.name.replace('/', "_").as_bytes()),
                Some(b'u') => path.extend_from_slice(self.user.replace('/', "_").as_bytes()),
                Some(other) => path.push(*other),
                None => {}
            }
        }
        path
    }
}

/// The first thing in a path that stands for nothing, as `%x`.
pub(super) fn unknown_expansion(pattern: &OsText) -> Option<String> {
    let mut bytes = pattern.as_bytes().iter();
    while bytes.by_ref().any(|byte| *byte == b'%') {
        match bytes.next() {
            Some(b'j' | b'a' | b'n' | b'u' | b'%') => {}
            Some(other) => return Some(format!("%{}", char::from(*other))),
            None => return Some("%".to_owned()),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_below_the_directory_and_stand_for_what_is_known_later() {
        let cwd = OsText::try_from("/home/a").unwrap();
        for (id, pattern, path) in [
            ("12", "out", "/home/a/out"),
            ("12", "/tmp/%j.log", "/tmp/12.log"),
            ("12.3", "%j_%a", "/home/a/12_3"),
            ("12", "%a", "/home/a/0"),
            ("12", "%n-%u-100%%", "/home/a/a_b-alice-100%"),
        ] {
            let expansion = Expansion { job: id.parse().unwrap(), name: "a/b", user: "alice", cwd: &cwd };
            let pattern = OsText::try_from(pattern).unwrap();
            assert_eq!(expansion.path(&pattern), path.as_bytes(), "{pattern:?}");
            assert_eq!(unknown_expansion(&pattern), None, "{pattern:?}");
        }
        for (pattern, unknown) in [("%x", "%x"), ("a%%%", "%"), ("%j%A", "%A")] {
            assert_eq!(unknown_expansion(&OsText::try_from(pattern).unwrap()).as_deref(), Some(unknown));
        }
    }
}
