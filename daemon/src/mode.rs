//! Whose daemon it is: one user's own, or that of all users of a machine, who then has to trust nobody's directories.
//! It refuses to know what jobs may do.

use qrm_protocol::error::{Code, Error};
use qrm_protocol::place;
use rustix::fs::Mode as Bits;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The user's who runs it, and nobody else's.
    User,
    /// Everybody's: it runs as root, and each job as its submitter.
    System,
}

impl Mode {
    /// The one that was asked for.
    ///
    /// # Errors
    /// The system's daemon is root's.
    pub fn new(system: bool) -> Result<Self, Error> {
        match system {
            false => Ok(Self::User),
            true if rustix::process::geteuid().is_root() => Ok(Self::System),
            true => {
                Err(Error::new(Code::PermissionDenied, "qrmd --system starts jobs as their users, which only root can")
                    .hint("as root, or by systemd: qrm daemon install --system; without --system it serves you alone"))
            }
        }
    }

    /// Whether there are users beside the one who runs it.
    #[must_use]
    pub fn is_system(self) -> bool {
        self == Self::System
    }

    /// For people and programs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::System => "system",
        }
    }

    /// Where its state is if nobody says.
    ///
    /// # Errors
    /// A user without a home, or a path that is not absolute.
    pub fn state(self, env: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, Error> {
        match self {
            Self::System if env("QRM_STATE_DIR").is_none_or(|dir| dir.is_empty()) => Ok(place::SYSTEM_STATE.into()),
            _ => place::user_state(env),
        }
    }

    /// Where its socket is if nobody says.
    #[must_use]
    pub fn socket(self, state: &Path) -> PathBuf {
        match self {
            Self::User => state.join(place::SOCKET_NAME),
            Self::System => place::SYSTEM_SOCKET.into(),
        }
    }

    /// Of the directories on the way to those of jobs, which jobs of others have to pass.
    #[must_use]
    pub fn way(self) -> Bits {
        match self {
            Self::User => Bits::RWXU,
            Self::System => Bits::RWXU | Bits::XGRP | Bits::XOTH,
        }
    }

    /// How many threads may read the store and files at a time: each is made when it is needed. Of several users each has
    /// some, see `rpc::turns`.
    #[must_use]
    pub fn threads(self) -> usize {
        match self {
            Self::User => 4,
            Self::System => 64,
        }
    }

    /// Of the socket.
    #[must_use]
    pub fn door(self) -> Bits {
        let owner = Bits::RUSR | Bits::WUSR;
        match self {
            Self::User => owner,
            Self::System => owner | Bits::RGRP | Bits::WGRP | Bits::ROTH | Bits::WOTH,
        }
    }

    /// That nobody else can put something in the place of what is at this path: root's own, and so is all above it.
    ///
    /// # Errors
    /// Who could, and where.
    pub fn trust(self, path: &Path) -> Result<(), String> {
        if self == Self::User {
            return Ok(());
        }
        // What a link leads to counts as much as where it is.
        let led = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
        for (depth, at) in [path, &led]
            .into_iter()
            .flat_map(|path| path.ancestors().enumerate())
            .filter(|(_, at)| *at != Path::new(""))
        {
            let stat = std::fs::symlink_metadata(at).map_err(|error| format!("{}: {error}", at.display()))?;
            let shown = at.display();
            if stat.uid() != 0 {
                return Err(format!("{shown} belongs to user {}, and has to belong to root", stat.uid()));
            }
            // In a directory such as /tmp nobody moves what is another's.
            let is_sticky = stat.is_dir() && stat.mode() & 0o1000 != 0 && depth > 0;
            if stat.mode() & 0o022 != 0 && !is_sticky && !stat.is_symlink() {
                return Err(format!("{shown} can be written by others than root"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_others_could_change_is_not_trusted() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: needs root, whose files are trusted");
        }
        let temp = tempfile::tempdir().unwrap();
        let (dir, file) = (temp.path().join("dir"), temp.path().join("dir/file"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(&file, "").unwrap();
        let mode = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(Mode::System.trust(&file), Ok(()));
        mode(&dir, 0o1777);
        assert_eq!(Mode::System.trust(&file), Ok(()));
        assert!(Mode::System.trust(&dir).unwrap_err().contains("can be written"));
        mode(&dir, 0o775);
        assert!(Mode::System.trust(&file).unwrap_err().contains("dir can be written"));
        mode(&dir, 0o755);
        std::os::unix::fs::chown(&dir, Some(65_534), None).unwrap();
        assert!(Mode::System.trust(&file).unwrap_err().contains("belongs to user 65534"));
        assert_eq!(Mode::User.trust(&file), Ok(()));
    }
}
