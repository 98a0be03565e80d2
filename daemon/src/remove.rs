//! Removes directories with all that is in them, however much and however deep that is, with two descriptors and one level at
//! a time: what is below a directory is moved up beside it first.
//! It refuses to follow a link, and to stop for what can not be removed.

use rustix::fs::{AtFlags, Dir, Mode, OFlags, Uid, fchmod, fchown, fstat, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// How often all of a directory is looked at until it is empty: who is still in it may fill it as fast as it is emptied.
const ROUNDS: u32 = 64;

/// Removes all that is in a directory of ours, but for these, and says at its end what could not be.
///
/// # Errors
/// Something can not be removed.
pub fn sweep(base: &OwnedFd, alive: &BTreeSet<String>) -> io::Result<()> {
    let mut failed = Ok(());
    for name in names(base)? {
        if !name.to_str().is_ok_and(|name| alive.contains(name)) {
            failed = remove(base, name).and(failed);
        }
    }
    failed
}

/// Removes one of those in a directory of ours, and says at its end what of it could not be; none is no error.
///
/// # Errors
/// Something can not be removed.
pub fn remove(base: &OwnedFd, name: CString) -> io::Result<()> {
    let (mut doomed, mut moved, mut failed) = (vec![name], 0, Ok(()));
    while let Some(name) = doomed.pop() {
        let removed = empty(base, &name, &mut doomed, &mut moved)
            .and_then(|()| Ok(unlinkat(base, &name, AtFlags::REMOVEDIR)?))
            .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) });
        failed = removed.and(failed);
    }
    failed
}

/// Empties a directory; what it has of directories that are not empty moves up.
fn empty(base: &OwnedFd, name: &CStr, doomed: &mut Vec<CString>, moved: &mut u64) -> io::Result<()> {
    let dir = open_for_all(base, name)?;
    let mut rounds = 0;
    while rounds < ROUNDS {
        let names = names(&dir)?;
        // There may be millions: only a look that saw the end of them counts.
        rounds += u32::from(names.len() < NAMES);
        if names.is_empty() {
            return Ok(());
        }
        for inner in names {
            match unlinkat(&dir, &inner, AtFlags::empty()) {
                Err(Errno::ISDIR | Errno::PERM) => {}
                other => {
                    present(other)?;
                    continue;
                }
            }
            match unlinkat(&dir, &inner, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => doomed.extend(move_up(base, &dir, &inner, moved)?),
                other => present(other)?,
            }
        }
    }
    Err(io::Error::other("it is filled as fast as it is emptied"))
}

/// Moves a directory into the one of all of them, by a name that no run has.
fn move_up(base: &OwnedFd, dir: &OwnedFd, inner: &CStr, moved: &mut u64) -> io::Result<Option<CString>> {
    // Its own way up is written in it, so it must be open for that.
    drop(open_for_all(dir, inner)?);
    loop {
        *moved += 1;
        let name = CString::new(format!(".gone-{moved}"))?;
        match renameat(dir, inner, base, &name) {
            Ok(()) => return Ok(Some(name)),
            // Left by a daemon that ended before it was done.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

fn open_dir(at: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a directory, with all rights of its owner given back that a program may have taken. To root it is root's own from
/// then on, so that nobody else puts anything into it.
fn open_for_all(at: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let dir = match open_dir(&at, name) {
        // Only by its descriptor can no link be meant.
        Err(Errno::ACCESS) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let closed = openat(&at, name, flags, Mode::empty())?;
            rustix::fs::chmod(format!("/proc/self/fd/{}", closed.as_raw_fd()), Mode::RWXU)?;
            open_dir(&at, name)?
        }
        other => other?,
    };
    let stat = fstat(&dir)?;
    let is_anothers = rustix::process::geteuid().is_root() && stat.st_uid != 0;
    if is_anothers {
        fchown(&dir, Some(Uid::ROOT), None)?;
    }
    if is_anothers || stat.st_mode & 0o700 != 0o700 {
        fchmod(&dir, Mode::RWXU)?;
    }
    Ok(dir)
}

/// At most so many names at a time are in memory.
const NAMES: usize = if cfg!(test) { 256 } else { 4_096 };

/// The first that are in a directory.
fn names(dir: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
        if names.len() == NAMES {
            break;
        }
    }
    Ok(names)
}

fn present(done: Result<(), Errno>) -> io::Result<()> {
    match done {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, mkdirat};
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_directory_with_more_entries_than_are_looked_at_goes() {
        let base = tempfile::tempdir().unwrap();
        let open = open_dir(CWD, base.path()).unwrap();
        mkdirat(&open, "12-1", Mode::RWXU).unwrap();
        let dir = open_dir(&open, "12-1").unwrap();
        for n in 0..NAMES * (ROUNDS as usize + 1) {
            rustix::fs::symlinkat("x", &dir, n.to_string()).unwrap();
        }
        remove(&open, c"12-1".into()).unwrap();
        assert!(names(&open).unwrap().is_empty());
    }

    #[test]
    fn who_is_in_a_directory_puts_nothing_more_into_it() {
        use std::os::unix::fs::{MetadataExt, chown};
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: needs root, to take a directory from somebody else");
        }
        let base = tempfile::tempdir().unwrap();
        let (open, dir) = (open_dir(CWD, base.path()).unwrap(), base.path().join("12-1"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o777)).unwrap();
        chown(&dir, Some(65_534), Some(65_534)).unwrap();
        drop(open_for_all(&open, c"12-1").unwrap());
        let stat = dir.metadata().unwrap();
        assert_eq!((stat.uid(), stat.mode() & 0o777), (0, 0o700));
    }

    #[test]
    fn all_of_a_directory_goes_and_nothing_that_it_links_to() {
        let (outside, base) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("kept"), "").unwrap();
        let dir = base.path().join("12-1");
        std::fs::create_dir_all(dir.join("a/b/c")).unwrap();
        std::fs::create_dir_all(dir.join("a/d")).unwrap();
        std::fs::create_dir_all(base.path().join(".gone-1/full")).unwrap();
        for n in 0..10_000 {
            std::fs::write(dir.join(format!("a/{n}")), "").unwrap();
        }
        std::fs::write(dir.join("a/b/c/file"), "").unwrap();
        symlink(outside.path(), dir.join("a/b/link")).unwrap();
        symlink(outside.path(), dir.join("link")).unwrap();
        std::fs::set_permissions(dir.join("a/b"), PermissionsExt::from_mode(0o000)).unwrap();
        let mut at = open_dir(CWD, &dir).unwrap();
        // Deeper than a path can say, and than a process may have descriptors.
        for _ in 0..3_000 {
            mkdirat(&at, "deep", Mode::RWXU).unwrap();
            at = open_dir(&at, "deep").unwrap();
        }
        drop(at);
        std::fs::create_dir(base.path().join("13-1")).unwrap();
        let open = open_dir(CWD, base.path()).unwrap();
        remove(&open, c"12-1".into()).unwrap();
        assert!(!dir.exists() && outside.path().join("kept").exists());
        remove(&open, c"12-1".into()).unwrap();
        sweep(&open, &["13-1".to_owned()].into()).unwrap();
        assert_eq!(names(&open).unwrap(), [CString::from(c"13-1")]);
    }
}
