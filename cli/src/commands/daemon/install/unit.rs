//! A unit of systemd: what is to stand in it, what stands there already, and whether somebody has changed that since.
//! It refuses to know what units are for.

use qrm_protocol::error::{Code, Error};
use sha2::{Digest, Sha256};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What a unit that we wrote begins with; the sum of what follows comes after it.
const MARK: &str = "# Written by `qrm daemon install`, which replaces it unless somebody has changed it: sha256 ";

/// A file to be.
pub(super) struct Unit {
    pub path: PathBuf,
    pub text: String,
}

/// What is in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum There {
    Nothing,
    /// This very text.
    Same,
    /// One that we wrote and nobody has changed.
    Ours(String),
    /// Somebody's, or changed by somebody; what can not be read is somebody's, too.
    Theirs(String),
}

impl Unit {
    /// With a mark, by which it is known that nobody has changed it.
    pub fn new(path: PathBuf, body: &str) -> Self {
        Self { path, text: format!("{MARK}{}\n{body}", sum(body)) }
    }

    pub fn there(&self) -> There {
        let there = match std::fs::read(&self.path) {
            Ok(there) => String::from_utf8_lossy(&there).into_owned(),
            // A link that leads nowhere is there, too.
            Err(e) if e.kind() == ErrorKind::NotFound && self.path.symlink_metadata().is_err() => {
                return There::Nothing;
            }
            Err(_) => String::new(),
        };
        let is_ours = || {
            let (sum_of, body) = there.strip_prefix(MARK)?.split_once('\n')?;
            Some(sum_of == sum(body))
        };
        match is_ours() {
            _ if there == self.text => There::Same,
            Some(true) => There::Ours(there),
            _ => There::Theirs(there),
        }
    }

    /// In one piece: a link in its place is replaced, not followed.
    pub fn write(&self) -> Result<(), Error> {
        let write = || {
            let dir = self.path.parent().unwrap_or(Path::new("/"));
            std::fs::create_dir_all(dir)?;
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            let new = dir.join(format!(".{name}.{}", std::process::id()));
            let open = std::fs::File::options().write(true).create_new(true).mode(0o644).open(&new);
            let written = open.and_then(|mut file| {
                file.write_all(self.text.as_bytes())?;
                file.sync_all()?;
                std::fs::rename(&new, &self.path)
            });
            if written.is_err() && new.exists() {
                std::fs::remove_file(&new)?;
            }
            written
        };
        write().map_err(|e| {
            Error::new(Code::Unavailable, format!("{} can not be written: {e}", self.path.display()))
                .hint("qrm daemon install --dry-run prints what belongs there")
        })
    }

    /// What writing it would change in what is there, line by line.
    pub fn difference(&self, there: &str) -> String {
        let only = |sign: char, of: &str, not_in: &str| -> String {
            let known: Vec<&str> = not_in.lines().collect();
            of.lines().filter(|line| !known.contains(line)).map(|line| format!("{sign}{line}\n")).collect()
        };
        only('-', there, &self.text) + &only('+', &self.text, there)
    }
}

fn sum(body: &str) -> String {
    Sha256::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A path as it can stand in a unit.
pub(super) fn in_words(path: &Path) -> Result<&str, Error> {
    path.to_str().filter(|text| !text.contains(char::is_control)).ok_or_else(|| {
        Error::invalid(format!("the path '{}' can not stand in a unit", path.display()))
            .hint("a path without control characters, in UTF-8, can")
    })
}

/// A word of a unit, systemd.syntax(7): quoted if need be, and nothing in it is a specifier.
pub(super) fn quoted(word: &str) -> String {
    let word = word.replace('%', "%%");
    let plain = |c: char| c.is_alphanumeric() || "/._-+=%:@,".contains(c);
    match word.chars().all(plain) {
        true => word,
        false => format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}
