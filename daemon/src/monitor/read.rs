//! Files of the kernel that are opened once and read again and again, and the shapes of numbers in them.
//! It refuses to know which files they are.

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What is read at a time: the kernel gives a page at once of files that are longer than that.
const PAGE: usize = 4096;
/// A file that has less than this left in a page has ended: no line of those that go on is longer.
const LONGEST_LINE: usize = 64;
/// No more of a file is read: two thousand cpus or ten thousand processes.
const LONGEST_FILE: usize = 128 * 1024;

/// A file whose text the kernel makes anew for each reader that begins at its beginning.
#[derive(Debug)]
pub(super) enum Kept {
    /// It stays open.
    Open(OwnedFd),
    /// It is opened for each look: descriptors are few here, and others need them.
    Named(PathBuf),
}

impl Kept {
    /// `None` if it is not there, or not for us.
    pub fn open(path: impl AsRef<Path>) -> Option<Self> {
        opened(path.as_ref()).map(Self::Open)
    }

    /// The same, and it stays open only if `keep`.
    pub fn new(path: PathBuf, keep: bool) -> Option<Self> {
        let fd = opened(&path)?;
        Some(if keep { Self::Open(fd) } else { Self::Named(path) })
    }

    /// Its text as it is now; `None` if what it tells of is gone.
    pub fn text<'a>(&self, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
        match self {
            Self::Open(fd) => text(fd, buffer),
            Self::Named(path) => text(&opened(path)?, buffer),
        }
    }
}

/// A file of /proc. What tests have put into the directory that `QRM_TEST_PROC` names stands for all of them.
#[cfg(feature = "testing")]
pub(super) fn proc(name: &str) -> Option<Kept> {
    static ELSEWHERE: std::sync::LazyLock<Option<PathBuf>> =
        std::sync::LazyLock::new(|| std::env::var_os("QRM_TEST_PROC").map(PathBuf::from));
    match &*ELSEWHERE {
        // They are replaced while they are watched.
        Some(dir) => Kept::new(dir.join(name), false),
        None => Kept::open(Path::new("/proc").join(name)),
    }
}

/// A file of /proc.
#[cfg(not(feature = "testing"))]
pub(super) fn proc(name: &str) -> Option<Kept> {
    Kept::open(Path::new("/proc").join(name))
}

fn opened(path: &Path) -> Option<OwnedFd> {
    match openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(fd) => Some(fd),
        Err(Errno::NOENT | Errno::SRCH) => None,
        Err(error) => {
            tracing::debug!(%error, path = %path.display(), "not sampled");
            None
        }
    }
}

fn text<'a>(fd: &OwnedFd, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    buffer.clear();
    loop {
        let begin = buffer.len();
        buffer.resize(begin + PAGE, 0);
        let read = rustix::io::pread(fd, &mut buffer[begin..], begin as u64);
        buffer.truncate(begin + read.unwrap_or(0));
        match read {
            Err(Errno::INTR) => {}
            Err(error) => {
                tracing::trace!(%error, "not sampled");
                return None;
            }
            Ok(n) if n < PAGE - LONGEST_LINE || buffer.len() > LONGEST_FILE => return Some(buffer),
            Ok(_) => {}
        }
    }
}

/// A text that is nothing but a number.
pub(super) fn plain(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim_end().parse().ok()
}

/// The number after `key` in a text of lines `key 12` or `key: 12 kB`.
pub(super) fn field(text: &[u8], key: &str) -> Option<u64> {
    let rest = text.split(|byte| *byte == b'\n').find_map(|line| {
        let (sign, rest) = line.strip_prefix(key.as_bytes())?.split_first()?;
        matches!(sign, b' ' | b':').then_some(rest)
    })?;
    std::str::from_utf8(rest).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

/// `1.25` as thousandths; further digits are cut off.
pub(super) fn thousandths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let part: String = part.chars().chain("000".chars()).take(3).collect();
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(part.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_whole_key_and_nothing_else_is_one() {
        let stat = b"usage_usec 1500\nuser_usec 1000\nMemFree:   12 kB\nodd\nbad x\nhuge 99999999999999999999\n";
        for (key, value) in [
            ("usage_usec", Some(1500)),
            ("user_usec", Some(1000)),
            ("MemFree", Some(12)),
            ("usage", None),
            ("odd", None),
            ("bad", None),
            ("huge", None),
            ("", None),
        ] {
            assert_eq!(field(stat, key), value, "{key}");
        }
        for (text, value) in [("12\n", Some(12)), ("max\n", None), ("", None), ("-1\n", None), ("1 2", None)] {
            assert_eq!(plain(text.as_bytes()), value, "{text}");
        }
        for (text, value) in [
            ("0.52", Some(520)),
            ("12", Some(12_000)),
            ("3.1415", Some(3_141)),
            (".5", None),
            ("1.x", None),
            ("", None),
            ("-1.00", None),
            ("99999999999999999999.0", None),
        ] {
            assert_eq!(thousandths(text), value, "{text}");
        }
    }

    #[test]
    fn a_file_that_is_kept_open_is_read_from_its_beginning_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("counter");
        std::fs::write(&path, "1\n").unwrap();
        let mut buffer = Vec::new();
        let both = [true, false].map(|keep| Kept::new(path.clone(), keep).unwrap());
        assert!(matches!(both, [Kept::Open(_), Kept::Named(_)]));
        for text in ["1\n".to_owned(), "1234567\n".repeat(2_000)] {
            std::fs::write(&path, &text).unwrap();
            assert!(both.iter().all(|file| file.text(&mut buffer) == Some(text.as_bytes())));
        }
        assert!(Kept::open(dir.path().join("none")).is_none());
    }
}
