//! Who users are: their groups, looked up off the threads that must not wait, and remembered for a short while; and how a
//! thread of root's reaches files as one of them.
//! It refuses to believe a name: users are numbers here, as the socket said.

use super::mail::{Mail, Message};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist, setfsgid, setfsuid};
use qrm_shim::identity::Identity;
use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// How long what was looked up is believed: a user who leaves a group is out of it that much later.
const BELIEVED: Duration = Duration::from_secs(30);
/// The most users that are remembered.
const KEPT: usize = 4_096;

/// What was found of a user: an error is for people.
pub(super) type Found = Result<Arc<Identity>, String>;

/// Looks up what the system's databases say of a user. It may wait for a network.
///
/// # Errors
/// There is no such user, or nobody can say.
pub fn identity(uid: u32) -> Result<Identity, String> {
    let failed = |error: nix::Error| format!("user {uid} can not be looked up: {error}");
    let user = User::from_uid(Uid::from_raw(uid)).map_err(failed)?;
    let user = user.ok_or_else(|| format!("there is no user with the number {uid} any more"))?;
    let name = CString::new(user.name).map_err(|_| failed(nix::Error::EINVAL))?;
    let groups = getgrouplist(&name, user.gid).map_err(failed)?;
    Ok(Identity { uid, gid: user.gid.as_raw(), groups: groups.into_iter().map(Gid::as_raw).collect() })
}

/// The number of a group.
///
/// # Errors
/// Nobody can say.
pub fn group(name: &str) -> Result<Option<u32>, String> {
    let found = Group::from_name(name).map_err(|error| format!("group {name} can not be looked up: {error}"))?;
    Ok(found.map(|group| group.gid.as_raw()))
}

/// Those that were asked for.
pub(super) struct Identities {
    mail: Mail,
    known: HashMap<u32, (Instant, Arc<Identity>)>,
    /// Who waits for which, by their tokens.
    waiting: HashMap<u32, Vec<u64>>,
    /// To the thread that asks; made when somebody is asked for.
    ask: Option<Sender<u32>>,
}

impl Identities {
    pub fn new(mail: Mail) -> Self {
        Self { mail, known: HashMap::new(), waiting: HashMap::new(), ask: None }
    }

    /// What is known of a user; if nothing is, it is looked up, and [`Message::Identity`] follows.
    ///
    /// # Errors
    /// No thread is to be had.
    pub fn of(&mut self, uid: u32, token: u64) -> io::Result<Option<Arc<Identity>>> {
        if let Some((since, identity)) = self.known.get(&uid)
            && since.elapsed() < BELIEVED
        {
            return Ok(Some(identity.clone()));
        }
        let waiting = self.waiting.entry(uid).or_default();
        waiting.push(token);
        if waiting.len() > 1 {
            return Ok(None);
        }
        let asked = self.ask.as_ref().is_some_and(|ask| ask.send(uid).is_ok());
        if !asked {
            let ask = self.thread().inspect_err(|_| drop(self.waiting.remove(&uid)))?;
            // It waits for this.
            ask.send(uid).map_err(io::Error::other)?;
            self.ask = Some(ask);
        }
        Ok(None)
    }

    fn thread(&self) -> io::Result<Sender<u32>> {
        let (ask, asked) = channel::<u32>();
        let mail = self.mail.clone();
        std::thread::Builder::new().name("users".to_owned()).spawn(move || {
            for uid in asked {
                mail.send(Message::Identity(uid, identity(uid).map(Arc::new)));
            }
        })?;
        Ok(ask)
    }

    /// Remembers what was found; whoever waited for it.
    pub fn found(&mut self, uid: u32, found: &Found) -> Vec<u64> {
        if self.known.len() >= KEPT {
            self.known.retain(|_, (since, _)| since.elapsed() < BELIEVED);
        }
        match found {
            Ok(identity) if self.known.len() < KEPT => {
                self.known.insert(uid, (Instant::now(), identity.clone()));
            }
            _ => drop(self.known.remove(&uid)),
        }
        self.waiting.remove(&uid).unwrap_or_default()
    }
}

/// This thread reaches files as a user until this is dropped, with the rights of that user alone; see setfsuid(2).
pub struct Acting {
    before: Option<(Uid, Gid)>,
}

impl Acting {
    /// As nobody else.
    pub const AS_SELF: Self = Self { before: None };

    /// As this user.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn of(uid: u32, gid: u32) -> io::Result<Self> {
        // Neither call says that it failed; another one says who it is now.
        let acting = Self { before: Some((setfsuid(Uid::current()), setfsgid(Gid::from_raw(gid)))) };
        setfsuid(Uid::from_raw(uid));
        let (now, group) = (setfsuid(Uid::from_raw(u32::MAX)), setfsgid(Gid::from_raw(u32::MAX)));
        match (now.as_raw(), group.as_raw()) == (uid, gid) {
            true => Ok(acting),
            false => Err(io::Error::from_raw_os_error(libc::EPERM)),
        }
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        if let Some((uid, gid)) = self.before {
            setfsuid(uid);
            setfsgid(gid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_acts_as_a_user_makes_that_users_files_and_reads_no_others() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        if !Uid::effective().is_root() {
            return eprintln!("skipped: needs root, to be somebody else");
        }
        let temp = tempfile::tempdir().unwrap();
        let (own, secret) = (temp.path().join("own"), temp.path().join("secret"));
        std::fs::set_permissions(temp.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        std::fs::write(&secret, "").unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let acting = Acting::of(65_534, 65_533).unwrap();
        std::fs::write(&own, "").unwrap();
        let read = std::fs::read(&secret).map_err(|error| error.kind());
        drop(acting);
        assert_eq!(read, Err(io::ErrorKind::PermissionDenied));
        let made = std::fs::metadata(&own).unwrap();
        assert_eq!((made.uid(), made.gid()), (65_534, 65_533));
        assert!(std::fs::read(&secret).is_ok());
    }

    #[test]
    fn root_is_found_and_a_number_that_nobody_has_is_not() {
        let root = identity(0).unwrap();
        assert_eq!((root.uid, root.gid, root.groups.contains(&0)), (0, 0, true));
        assert!(identity(3_999_999_999).unwrap_err().contains("no user with the number 3999999999"));
        assert_eq!((group("root"), group("no such group")), (Ok(Some(0)), Ok(None)));
    }
}
