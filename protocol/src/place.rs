//! Where the daemon's state and socket are, from flags and the environment.
//! It looks at no network and starts nothing.

use crate::amount::Bytes;
use crate::error::{Code, Error};
use crate::method::{Finding, Health};
use rustix::fs::{Mode, OFlags};
use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The socket of the daemon that serves all users of a machine.
pub const SYSTEM_SOCKET: &str = "/run/qrm/qrm.sock";
/// The state of that daemon.
pub const SYSTEM_STATE: &str = "/var/lib/qrm";
/// The configuration of that daemon.
pub const SYSTEM_CONFIG: &str = "/etc/qrm/config.toml";
/// The socket's name in a user's state directory.
pub const SOCKET_NAME: &str = "qrm.sock";
/// The file there that says that the daemon was stopped on purpose; the next start removes it.
pub const STOPPED_NAME: &str = "stopped";
/// The daemon's log there.
pub const LOG_NAME: &str = "qrmd.log";
/// Less free space than this is worth a word.
const LITTLE_SPACE: u64 = 256 << 20;

/// Where one daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its socket.
    pub socket: PathBuf,
    /// Its state directory, if it is the user's own: such a daemon is started on first use.
    pub own_state: Option<PathBuf>,
}

/// Finds the daemon: the flag, `QRM_SOCKET`, the system's socket if it is there, the user's own.
///
/// # Errors
/// None of them, and the user has no home, or a path in the environment is not absolute.
pub fn find(flag: Option<&Path>, env: impl Fn(&str) -> Option<OsString>) -> Result<Place, Error> {
    let elsewhere = |socket: PathBuf| Place { socket, own_state: None };
    if let Some(socket) = flag {
        return Ok(elsewhere(socket.to_owned()));
    }
    if let Some(socket) = set(&env, "QRM_SOCKET") {
        return Ok(elsewhere(socket.into()));
    }
    if set(&env, "QRM_STATE_DIR").is_none() && Path::new(SYSTEM_SOCKET).exists() {
        return Ok(elsewhere(SYSTEM_SOCKET.into()));
    }
    let state = user_state(&env)?;
    named_config(&env)?;
    Ok(Place { socket: state.join(SOCKET_NAME), own_state: Some(state) })
}

fn set(env: &impl Fn(&str) -> Option<OsString>, name: &str) -> Option<OsString> {
    env(name).filter(|value| !value.is_empty())
}

/// The user's state directory: `QRM_STATE_DIR`, else `qrm` in `XDG_STATE_HOME` or `~/.local/state`; where that is a
/// network file system, on which SQLite's locks do not hold, a directory of the user under `/var/tmp`.
///
/// # Errors
/// The environment names no home, or the path is not absolute.
pub fn user_state(env: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, Error> {
    if let Some(dir) = set(&env, "QRM_STATE_DIR") {
        return absolute(dir, "QRM_STATE_DIR");
    }
    let base = match (set(&env, "XDG_STATE_HOME"), set(&env, "HOME")) {
        (Some(dir), _) => absolute(dir, "XDG_STATE_HOME")?,
        (None, Some(home)) => absolute(home, "HOME")?.join(".local/state"),
        (None, None) => {
            return Err(Error::invalid("there is no HOME to keep the queue in")
                .hint("set QRM_STATE_DIR to a directory of your own"));
        }
    };
    if is_network(&base) {
        return Ok(PathBuf::from(format!("/var/tmp/qrm-{}", rustix::process::getuid().as_raw())));
    }
    Ok(base.join("qrm"))
}

/// A path of the environment, which means the same to every process.
fn absolute(path: OsString, name: &str) -> Result<PathBuf, Error> {
    let path = PathBuf::from(path);
    let message = format!("{name} is '{}', which is not an absolute path", path.display());
    if path.is_absolute() { Ok(path) } else { Err(Error::invalid(message)) }
}

/// Where the configuration of a user's daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// The file.
    pub path: PathBuf,
    /// Someone named it: that it is not there is a mistake.
    pub named: bool,
}

/// The flag, `QRM_CONFIG`, else `qrm/config.toml` in `XDG_CONFIG_HOME` or `~/.config`; nothing without a home. Of the
/// system's daemon it is in `/etc`.
#[must_use]
pub fn config_file(flag: Option<&Path>, env: &impl Fn(&str) -> Option<OsString>, system: bool) -> Option<ConfigFile> {
    let named = flag.map(Path::to_owned).or_else(|| set(env, "QRM_CONFIG").map(PathBuf::from));
    let usual = || {
        if system {
            return Some(PathBuf::from(SYSTEM_CONFIG));
        }
        let base = set(env, "XDG_CONFIG_HOME").map(PathBuf::from);
        Some(base.or_else(|| Some(PathBuf::from(set(env, "HOME")?).join(".config")))?.join("qrm/config.toml"))
    };
    match named {
        Some(path) => Some(ConfigFile { path, named: true }),
        None => usual().map(|path| ConfigFile { path, named: false }),
    }
}

/// The configuration file that the environment names, if it does: to the daemon, which starts in the root directory,
/// another path than an absolute one would mean another file.
///
/// # Errors
/// The path is not absolute.
pub fn named_config(env: &impl Fn(&str) -> Option<OsString>) -> Result<Option<ConfigFile>, Error> {
    let names = ["QRM_CONFIG", "XDG_CONFIG_HOME", "HOME"];
    // The first one that is set is the one that counts.
    if let Some((name, path)) = names.into_iter().find_map(|name| Some((name, set(env, name)?))) {
        absolute(path, name)?;
    }
    Ok(config_file(None, env, false))
}

/// Whether the nearest existing ancestor of a path is on a network file system.
#[must_use]
pub fn is_network(path: &Path) -> bool {
    // statfs(2): NFS, SMB, SMB2, CIFS, AFS, Ceph, FUSE (sshfs and its kind), Lustre, 9p.
    const NETWORK: [u32; 9] =
        [0x6969, 0x517B, 0xFE53_4D42, 0xFF53_4D42, 0x5346_414F, 0x00C3_6400, 0x6573_5546, 0x0BD0_0BD0, 0x0102_1997];
    let statfs = path.ancestors().find_map(|dir| rustix::fs::statfs(dir).ok());
    // The field's width and sign differ between architectures; the magic numbers are 32 bits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    statfs.is_some_and(|fs| NETWORK.contains(&(fs.f_type as u32)))
}

/// The room on the disk of a state directory, for `qrm doctor`; nothing if the system does not say.
#[must_use]
pub fn room(state: &Path) -> Option<Finding> {
    let stat = rustix::fs::statvfs(state).ok()?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let (little, shown) = (free < LITTLE_SPACE, state.display());
    Some(Finding {
        topic: "disk".to_owned(),
        health: if little { Health::Limited } else { Health::Ok },
        found: format!("{} free for {shown}", Bytes(free)),
        means: if little { "output of jobs and the store may soon fill it" } else { "room for output and the store" }
            .to_owned(),
        mend: little.then(|| {
            format!("free space: qrm cleanup --older-than 7d, or see du -sh {shown}/*; or set QRM_STATE_DIR to a larger disk")
        }),
    })
}

/// A path that fits into a socket's address, and what must stay open while it is used.
#[derive(Debug)]
pub struct SocketPath {
    /// Fits.
    pub path: PathBuf,
    _dir: Option<OwnedFd>,
}

/// The longest path that a Unix socket's address holds, unix(7), less its NUL.
const LONGEST: usize = 107;

/// A socket's path; one that is too long is reached through its directory's descriptor.
///
/// # Errors
/// The directory can not be opened, or the last part alone is too long.
pub fn socket_path(path: &Path) -> Result<SocketPath, Error> {
    if path.as_os_str().len() <= LONGEST {
        return Ok(SocketPath { path: path.to_owned(), _dir: None });
    }
    let unreachable = |why: &dyn std::fmt::Display| {
        Error::new(Code::NoDaemon, format!("the socket '{}' can not be reached: {why}", path.display()))
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(unreachable(&"it names no file"));
    };
    let dir = rustix::fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| unreachable(&e))?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
    if short.as_os_str().len() > LONGEST {
        return Err(unreachable(&"its name is too long"));
    }
    Ok(SocketPath { path: short, _dir: Some(dir) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(vars: &[(&str, &str)], flag: Option<&str>) -> Result<Place, Error> {
        find(flag.map(Path::new), |name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).into()))
    }

    #[test]
    fn the_nearest_word_of_where_the_daemon_is_wins() {
        let state = [("QRM_STATE_DIR", "/s"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(places(&state, Some("/f")).unwrap().socket, Path::new("/f"));
        assert_eq!(places(&state, None).unwrap().socket, Path::new("/s/qrm.sock"));
        assert_eq!(places(&state[1..], None).unwrap().socket, Path::new("/x/qrm/qrm.sock"));
        assert_eq!(places(&state[2..], None).unwrap().socket, Path::new("/h/.local/state/qrm/qrm.sock"));
        assert_eq!(places(&[("QRM_SOCKET", "/q"), state[0]], None).unwrap().socket, Path::new("/q"));
    }

    #[test]
    fn no_home_and_a_relative_state_are_refused() {
        assert!(places(&[], None).is_err());
        assert!(places(&[("QRM_STATE_DIR", "here")], None).is_err());
    }

    #[test]
    fn a_relative_configuration_is_refused_where_it_would_be_read() {
        let relative = |name: &'static str| [("QRM_STATE_DIR", "/s"), (name, "here")];
        for name in ["QRM_CONFIG", "XDG_CONFIG_HOME", "HOME"] {
            let error = places(&relative(name), None).unwrap_err();
            assert_eq!(error.message, format!("{name} is 'here', which is not an absolute path"));
            // Another one's daemon has a configuration of its own.
            assert!(places(&relative(name), Some("/f")).is_ok());
        }
        let hidden = [("QRM_STATE_DIR", "/s"), ("QRM_CONFIG", "/c"), ("XDG_CONFIG_HOME", "here")];
        assert!(places(&hidden, None).is_ok());
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_reached_through_its_directory() {
        let long = std::env::temp_dir().join("d".repeat(120));
        std::fs::create_dir_all(&long).unwrap();
        let short = socket_path(&long.join("s")).unwrap();
        assert!(short.path.as_os_str().len() <= LONGEST);
        drop(std::os::unix::net::UnixListener::bind(&short.path).unwrap());
        std::fs::remove_dir_all(&long).unwrap();
    }
}
