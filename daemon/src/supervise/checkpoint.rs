//! Where jobs save what later attempts go on with: a directory in the job's own, made with the rights of its user, and removed
//! with those when the job has completed. It refuses to know which jobs have one, and to be waited for.

use super::identity::Acting;
use super::mail::{Mail, Message};
use super::{After, Order};
use crate::remove::{open_dir, open_for_all, sweep_as_owner};
use qrm_protocol::ids::JobRef;
use rustix::fs::{AtFlags, Mode as Bits, mkdirat, renameat, unlinkat};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Its name. What a job makes in its directory by itself has another, and is never removed.
pub(super) const NAME: &str = "qrm-checkpoint";
/// Where it is moved to be removed, so that a daemon which did not get to the end of that goes on there.
const GONE: &str = ".qrm-gone";

/// Makes it in a job's directory. It is no error if it is there, with what an attempt before has saved.
pub(super) fn make(dir: &OwnedFd) -> io::Result<()> {
    make_dir(dir, NAME).map_err(io::Error::from)
}

fn make_dir(at: &OwnedFd, name: &str) -> Result<(), Errno> {
    match mkdirat(at, name, Bits::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error),
    }
}

/// So many jobs wait for that at most: each holds a directory open.
const MOST_WAITING: usize = 256;

/// What a job that is over has saved: its directory, and whose that is.
pub(super) struct Saved {
    pub dir: OwnedFd,
    pub owner: Option<(u32, u32)>,
}

/// Removes that of a job that is over if it is empty; whether there is something in it, or in what was moved away before, that
/// is to be removed.
pub(super) fn leave(dir: &OwnedFd, after: After) -> Result<bool, Errno> {
    match unlinkat(dir, NAME, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) if after == After::Completed => {}
        _ => return Ok(open_dir(dir, GONE).is_ok()),
    }
    make_dir(dir, GONE)?;
    let gone = open_dir(dir, GONE)?;
    // Its own way up is written in it, so it must be open for that.
    drop(open_for_all(dir, NAME).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?);
    match renameat(dir, NAME, &gone, NAME) {
        // One that was moved before is first.
        Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Has them removed, one after the other, by a thread of its own.
pub(super) struct Checkpoints {
    mail: Mail,
    remover: Option<SyncSender<(JobRef, Saved)>>,
}

impl Checkpoints {
    pub fn new(mail: Mail) -> Self {
        Self { mail, remover: None }
    }

    /// Has what this job saved removed, and its directory tidied up once more after that.
    pub fn remove(&mut self, job: JobRef, saved: Saved) {
        let told = match &self.remover {
            Some(remover) => remover.try_send((job, saved)).map_err(io::Error::other),
            None => {
                let (remover, words) = sync_channel(MOST_WAITING);
                let mail = self.mail.clone();
                let thread = std::thread::Builder::new().name("checkpoint".to_owned());
                thread.spawn(move || work(&words, &mail)).and_then(|_| {
                    let told = remover.try_send((job, saved)).map_err(io::Error::other);
                    self.remover = Some(remover);
                    told
                })
            }
        };
        if let Err(error) = told {
            tracing::error!(%job, %error, "what a job saved stays until the job is forgotten");
        }
    }
}

/// Removes what it is told to until nobody can tell it any more.
fn work(words: &Receiver<(JobRef, Saved)>, mail: &Mail) {
    for (job, saved) in words {
        match empty(&saved) {
            // Whoever fills it again does so for nothing.
            Ok(()) => mail.send(Message::Order(Order::Clear { run: None, job, after: After::Nothing })),
            Err(error) => tracing::warn!(%job, %error, "what a job saved can not be removed; it goes with the job"),
        }
    }
}

fn empty(saved: &Saved) -> io::Result<()> {
    let Saved { dir, owner } = saved;
    let _acting = owner.map_or(Ok(Acting::AS_SELF), |(uid, gid)| Acting::of(uid, gid))?;
    sweep_as_owner(&open_dir(dir, GONE)?)?;
    Ok(unlinkat(dir, GONE, AtFlags::REMOVEDIR)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;
    use std::path::Path;

    fn saves(dir: &Path) -> OwnedFd {
        let open = open_dir(CWD, dir).unwrap();
        make(&open).unwrap();
        make(&open).unwrap();
        std::fs::create_dir_all(dir.join(NAME).join("a/b")).unwrap();
        std::fs::write(dir.join(NAME).join("a/b/weights"), "7").unwrap();
        std::fs::write(dir.join(NAME).join("step"), "12").unwrap();
        open
    }

    #[test]
    fn what_was_saved_goes_when_the_job_has_completed_and_stays_when_it_has_not() {
        let temp = tempfile::tempdir().unwrap();
        let dir = saves(temp.path());
        std::fs::write(temp.path().join("result"), "42").unwrap();
        assert_eq!(leave(&dir, After::Nothing), Ok(false));
        assert_eq!(std::fs::read_to_string(temp.path().join(NAME).join("step")).unwrap(), "12");
        assert_eq!(leave(&dir, After::Completed), Ok(true));
        // As after a daemon that did not get to the end of it.
        for after in [After::Completed, After::Nothing] {
            assert_eq!(leave(&dir, after), Ok(true));
        }
        empty(&Saved { dir: dir.try_clone().unwrap(), owner: None }).unwrap();
        assert_eq!(leave(&dir, After::Completed), Ok(false));
        let left: Vec<_> = std::fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["result"]);
    }

    #[test]
    fn what_is_removed_for_a_user_is_what_that_user_could_remove() {
        use std::os::unix::fs::{PermissionsExt, chown};
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: needs root, for directories of others");
        }
        let temp = tempfile::tempdir().unwrap();
        let dir = saves(temp.path());
        let saved = temp.path().join(NAME);
        for path in ["", "a", "a/b"] {
            chown(saved.join(path), Some(65_533), Some(65_533)).unwrap();
        }
        chown(temp.path(), Some(65_533), Some(65_533)).unwrap();
        let others = saved.join("others");
        std::fs::create_dir(&others).unwrap();
        std::fs::write(others.join("file"), "").unwrap();
        chown(&others, Some(65_534), Some(65_534)).unwrap();
        std::fs::set_permissions(saved.join("a"), PermissionsExt::from_mode(0o000)).unwrap();
        let acting = Acting::of(65_533, 65_533).unwrap();
        assert_eq!(leave(&dir, After::Completed), Ok(true));
        drop(acting);
        empty(&Saved { dir: dir.try_clone().unwrap(), owner: Some((65_533, 65_533)) }).unwrap_err();
        assert!(temp.path().join(GONE).join(NAME).join("others/file").exists());
        std::fs::remove_dir_all(temp.path().join(GONE).join(NAME).join("others")).unwrap();
        empty(&Saved { dir, owner: Some((65_533, 65_533)) }).unwrap();
        assert!(!temp.path().join(GONE).exists());
    }
}
