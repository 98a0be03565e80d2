//! How much is in a directory: every file below it, once, on its own file system.
//! It refuses to follow a link, and to go deeper than it has descriptors for.

use crate::remove::open_dir;
use rustix::fs::{AtFlags, Dir, FileType, fstat, statat};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

/// The deepest directory that is looked into; each level takes a descriptor. What programs make is seldom 50 deep.
pub const MAX_DEPTH: usize = 256;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measured {
    /// So many bytes on disk; at least, if that was as much as was to be counted.
    Bytes(u64),
    /// It goes deeper than [`MAX_DEPTH`].
    TooDeep,
}

/// Counts until there are more than `most`, or the time is over. A file with several names counts for its part with each of
/// them; one that has none any more is not seen.
///
/// # Errors
/// The directory itself can not be read.
pub fn measure(root: &OwnedFd, most: u64, until: Option<Instant>) -> io::Result<Measured> {
    let device = fstat(root)?.st_dev;
    let mut way = vec![Dir::read_from(root)?];
    let mut sum = 0u64;
    while let Some(dir) = way.last_mut() {
        let Some(entry) = dir.read().and_then(Result::ok) else {
            way.pop();
            continue;
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let at = dir.fd()?;
        // Who writes there goes on meanwhile: what is gone is gone.
        let Ok(stat) = statat(at, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        if stat.st_dev != device {
            continue;
        }
        let bytes = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            sum = sum.saturating_add(bytes);
            match inner(at, name) {
                Ok(_) if way.len() == MAX_DEPTH => return Ok(Measured::TooDeep),
                Ok(inner) => way.push(inner),
                // It was removed, or nobody can look into it, its owner neither.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => {}
                Err(error) => return Err(error.into()),
            }
        } else {
            sum = sum.saturating_add(bytes / u64::from(stat.st_nlink.max(1) as u32));
        }
        if sum > most || until.is_some_and(|until| until <= Instant::now()) {
            break;
        }
    }
    Ok(Measured::Bytes(sum))
}

fn inner(at: impl AsFd, name: &std::ffi::CStr) -> Result<Dir, Errno> {
    Dir::new(open_dir(at, name)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, Mode, mkdirat};
    use std::os::unix::fs::symlink;

    fn measured(path: &std::path::Path, most: u64) -> Measured {
        measure(&open_dir(CWD, path).unwrap(), most, None).unwrap()
    }

    #[test]
    fn what_is_below_counts_once_and_what_links_lead_to_does_not() {
        let (outside, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("large"), vec![1; 4 << 20]).unwrap();
        symlink(outside.path(), dir.path().join("link")).unwrap();
        symlink(outside.path().join("large"), dir.path().join("file")).unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/one"), vec![1; 1 << 20]).unwrap();
        std::fs::hard_link(dir.path().join("a/b/one"), dir.path().join("two")).unwrap();
        let Measured::Bytes(bytes) = measured(dir.path(), u64::MAX) else { panic!("it is not deep") };
        assert!((1 << 20..(1 << 20) + (64 << 10)).contains(&bytes), "{bytes}");
        let Measured::Bytes(bytes) = measured(dir.path(), 1 << 10) else { panic!("it is not deep") };
        assert!(bytes > 1 << 10);
    }

    #[test]
    fn one_that_is_deeper_than_can_be_looked_into_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let mut at = open_dir(CWD, dir.path()).unwrap();
        for _ in 0..MAX_DEPTH {
            mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = open_dir(&at, "d").unwrap();
        }
        assert_eq!(measured(dir.path(), u64::MAX), Measured::TooDeep);
    }
}
