//! Removes directories with all that is in them, however much and however deep that is, with two descriptors and one level at
//! a time: what is below a directory is moved up beside it first.
//! It refuses to follow a link, to stop for what can not be removed, and to remove for a user what that user could not.

use rustix::fs::{AtFlags, Dir, Gid, Mode, OFlags, Uid, fchmod, fchown, fstat, openat, renameat, statat, unlinkat};
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

/// Removes all directories that are in one of a user's, with that user's rights: what those do not allow stays.
///
/// # Errors
/// Something can not be removed.
pub fn sweep_as_owner(base: &OwnedFd) -> io::Result<()> {
    let mut failed = Ok(());
    for name in names(base)? {
        failed = remove_by(base, name, false).and(failed);
    }
    failed
}

/// Removes one of those in a directory of ours, and says at its end what of it could not be; none is no error.
///
/// # Errors
/// Something can not be removed.
pub fn remove(base: &OwnedFd, name: CString) -> io::Result<()> {
    remove_by(base, name, rustix::process::geteuid().is_root())
}

/// The same, with the rights of root, which are more than those of whose it is, or with no others.
fn remove_by(base: &OwnedFd, name: CString, as_root: bool) -> io::Result<()> {
    let (mut doomed, mut moved, mut failed) = (vec![name], 0, Ok(()));
    while let Some(name) = doomed.pop() {
        let removed = empty(base, &name, as_root, &mut doomed, &mut moved)
            .and_then(|()| Ok(unlinkat(base, &name, AtFlags::REMOVEDIR)?))
            .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) });
        failed = removed.and(failed);
    }
    failed
}

/// Empties a directory; what it has of directories that are not empty moves up.
fn empty(base: &OwnedFd, name: &CStr, as_root: bool, doomed: &mut Vec<CString>, moved: &mut u64) -> io::Result<()> {
    let dir = open_for_all(base, name)?;
    let owner = if as_root { take(&dir)? } else { None };
    let (mut rounds, mut stays) = (0, None);
    while rounds < ROUNDS {
        let names = names(&dir)?;
        // There may be millions: only a look that saw the end of them counts, and one that does not help.
        rounds += u32::from(names.len() < NAMES || stays.is_some());
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
                Err(Errno::NOTEMPTY | Errno::EXIST) => match anothers(&dir, &inner, owner)? {
                    Some(why) => stays = Some(why),
                    None => doomed.extend(move_up(base, &dir, &inner, moved)?),
                },
                other => present(other)?,
            }
        }
    }
    Err(stays.unwrap_or_else(|| io::Error::other("it is filled as fast as it is emptied")))
}

/// Whose a directory is that root is to empty, nothing if it is root's alone. It is root's own from then on, so that
/// nobody else puts anything into it; whose it was is its group, for a daemon that goes on with it.
fn take(dir: &OwnedFd) -> io::Result<Option<u32>> {
    let stat = fstat(dir)?;
    if stat.st_uid == 0 {
        return Ok(Some(stat.st_gid).filter(|whose| *whose != 0));
    }
    fchown(dir, Some(Uid::ROOT), Some(Gid::from_raw(stat.st_uid)))?;
    fchmod(dir, Mode::RWXU)?;
    Ok(Some(stat.st_uid))
}

/// Why a directory is not for us to empty: who may write to a directory of somebody else's could have moved that here, to
/// have removed what they may not. One of root's that others can not write to can have been moved by nobody.
fn anothers(dir: &OwnedFd, name: &CStr, owner: Option<u32>) -> io::Result<Option<io::Error>> {
    let Some(owner) = owner else { return Ok(None) };
    let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(None),
        other => other?,
    };
    if stat.st_uid == owner || stat.st_uid == 0 && stat.st_mode & 0o022 == 0 {
        return Ok(None);
    }
    let why =
        format!("{} in it is user {}'s, and in a directory of user {owner}'s", name.to_string_lossy(), stat.st_uid);
    Ok(Some(io::Error::new(io::ErrorKind::PermissionDenied, why)))
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

/// Opens a directory, and nothing that a link leads to.
pub(crate) fn open_dir(at: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a directory, with all rights of its owner given back that a program may have taken.
pub(crate) fn open_for_all(at: impl AsFd, name: impl rustix::path::Arg + Copy) -> io::Result<OwnedFd> {
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
    if fstat(&dir)?.st_mode & 0o700 != 0o700 {
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
        let taken = open_for_all(&open, c"12-1").unwrap();
        for _ in 0..2 {
            assert_eq!(take(&taken).unwrap(), Some(65_534));
            let stat = dir.metadata().unwrap();
            assert_eq!((stat.uid(), stat.mode() & 0o777), (0, 0o700));
        }
    }

    #[test]
    fn what_is_another_users_stays_with_what_is_in_it() {
        use std::os::unix::fs::chown;
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: needs root, for directories of others");
        }
        let base = tempfile::tempdir().unwrap();
        let (open, dir) = (open_dir(CWD, base.path()).unwrap(), base.path().join("12-1"));
        for (path, uid) in [("", 65_533), ("own", 65_533), ("own/deep", 65_533), ("others", 65_534), ("ours", 0)] {
            std::fs::create_dir(dir.join(path)).unwrap();
            std::fs::write(dir.join(path).join("file"), "").unwrap();
            chown(dir.join(path), Some(uid), Some(uid)).unwrap();
        }
        for _ in 0..2 {
            // The next daemon does not, either.
            let error = sweep(&open, &BTreeSet::new()).unwrap_err();
            assert!(error.to_string().contains("others in it is user 65534's"), "{error}");
            assert_eq!(names(&open).unwrap(), [CString::from(c"12-1")]);
            let left = names(&open_dir(&open, "12-1").unwrap()).unwrap();
            assert_eq!(left, [CString::from(c"others")]);
            assert!(dir.join("others/file").exists());
        }
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
