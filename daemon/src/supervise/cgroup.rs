//! Which kind of tracking this machine gives, where our subtree of control groups is, and the group of each run in it.
//! It refuses to know what is in a group: signalling and killing belong to [`JobCgroup`].

use super::Settings;
use super::limits::{self, Limiter, Limits};
use super::matrix;
use qrm_protocol::job::Enforcement;
use qrm_protocol::method::{Finding, Health};
use qrm_shim::cgroup::JobCgroup;
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat, mkdirat, unlinkat};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// How the processes of a job are to be kept together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// By the best that there is.
    #[default]
    Auto,
    /// By control groups of version 2, or not at all.
    V2,
    /// By the freezer of version 1, or not at all.
    V1,
    /// By descent alone.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    V2,
    V1,
}

/// What every group of ours has in its parent's name, before eight hexadecimal digits.
const PREFIX: &str = "qrm-";

/// How jobs are tracked here.
pub(super) struct Tracking {
    subtree: Option<Subtree>,
    finding: Finding,
}

struct Subtree {
    kind: Kind,
    /// Its directory, open.
    base: OwnedFd,
    path: PathBuf,
    /// The group in it that we are in ourselves, if we could not leave it.
    ours: Option<OsString>,
    /// What the kernel limits, and the subtree in which it does.
    limiters: Vec<(Limiter, PathBuf)>,
}

impl Tracking {
    /// Finds out, and makes the subtree of this state directory.
    ///
    /// # Errors
    /// The wish cannot be met; says why and what would work.
    pub fn detect(wish: Wish, state_dir: &Path) -> io::Result<Self> {
        let kinds: &[Kind] = match wish {
            Wish::Auto => &[Kind::V2, Kind::V1],
            Wish::V2 => &[Kind::V2],
            Wish::V1 => &[Kind::V1],
            Wish::None => &[],
        };
        let mut reasons = Vec::new();
        for kind in kinds {
            match Subtree::make(*kind, state_dir) {
                Ok((subtree, controllers)) => {
                    let finding = found(*kind, &subtree.path, &controllers, &reasons);
                    return Ok(Self { subtree: Some(subtree), finding });
                }
                Err(why) => reasons.push(format!("{}: {why}", kind.words())),
            }
        }
        match wish {
            Wish::Auto | Wish::None => Ok(Self { subtree: None, finding: found_none(&reasons) }),
            Wish::V2 | Wish::V1 => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("supervision.cgroup can not be met: {}; \"auto\" takes what there is", reasons.join("; ")),
            )),
        }
    }

    /// For `qrm doctor`: how processes are tracked, and what jobs are held to.
    pub fn findings(&self, settings: &Settings) -> Vec<Finding> {
        let limiters = self.subtree.as_ref().map_or(&[][..], |subtree| &subtree.limiters);
        let limits = matrix::findings(limiters, settings, self.default_pids(settings));
        std::iter::once(self.finding.clone()).chain(limits).collect()
    }

    /// The most processes of a run that does not say.
    pub fn default_pids(&self, settings: &Settings) -> Option<u32> {
        limits::default_pids(
            settings.pids,
            settings.mode == crate::mode::Mode::System,
            self.limits_for_free(Limiter::Pids),
        )
    }

    /// How runs are held to their limits.
    pub fn enforcement(&self) -> Enforcement {
        limits::enforcement(self.subtree.as_ref().map_or(&[], |subtree| &subtree.limiters))
    }

    /// Whether the kernel limits this at no cost, in the group that a run has anyway.
    pub fn limits_for_free(&self, limiter: Limiter) -> bool {
        let Some(subtree) = &self.subtree else { return false };
        subtree.limiters.iter().any(|(one, base)| *one == limiter && *base == subtree.path)
    }

    /// The group of this name, made now with these limits; `None` without groups.
    pub fn make(&self, name: &str, limits: Limits) -> io::Result<Option<JobCgroup>> {
        let Some(subtree) = &self.subtree else { return Ok(None) };
        match mkdirat(&subtree.base, name, OPEN_DIR) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let mut others = Vec::new();
        for (limiter, base) in &subtree.limiters {
            let (dir, beside) = (base.join(name), *base != subtree.path);
            if !limiter.is_wanted(limits, beside) {
                continue;
            }
            if beside {
                match mkdirat(CWD, &dir, OPEN_DIR) {
                    Ok(()) | Err(Errno::EXIST) => others.push(dir.clone()),
                    Err(error) => return Err(error.into()),
                }
            }
            limiter.set(&dir, limits)?;
            if beside && *limiter == Limiter::Cpu {
                limits::weigh(base);
            }
        }
        Ok(Some(subtree.group_with(name, others)))
    }

    /// The group that a run of this name has, if one was made for it.
    pub fn group(&self, name: &str) -> Option<JobCgroup> {
        Some(self.subtree.as_ref()?.group(name))
    }

    /// The group that a record says a run of this name has: only one that we could have made is believed: what is
    /// read from a file is to be killed.
    pub fn recorded(&self, name: &str, group: JobCgroup) -> Option<JobCgroup> {
        let ours = |dir: &Path| {
            dir.file_name().is_some_and(|last| last == name)
                && dir.parent().is_some_and(|base| is_base(base.file_name()))
        };
        if group.dirs().all(ours) { Some(group) } else { self.group(name) }
    }

    /// Removes the group of a run of this name; whether it is gone now. One that a process is still in stays.
    pub fn remove(&self, name: &str, group: &JobCgroup) -> bool {
        match &self.subtree {
            // Most are where we made them, and hold no others.
            Some(subtree) if group.dirs().next().and_then(Path::parent) == Some(&subtree.path) => {
                let gone = |done| matches!(done, Ok(()) | Err(Errno::NOENT));
                let others = group.dirs().skip(1).all(|dir| gone(unlinkat(CWD, dir, AtFlags::REMOVEDIR)));
                let weighs = |(limiter, base): &&(Limiter, PathBuf)| {
                    *limiter == Limiter::Cpu && group.dirs().skip(1).any(|dir| dir.parent() == Some(base))
                };
                if let Some((_, base)) = subtree.limiters.iter().find(weighs) {
                    limits::weigh(base);
                }
                others && gone(unlinkat(&subtree.base, name, AtFlags::REMOVEDIR)) || group.remove().is_ok()
            }
            _ => group.remove().is_ok(),
        }
    }

    /// All groups of runs that are there, by name.
    pub fn groups(&self) -> io::Result<Vec<(String, JobCgroup)>> {
        let Some(subtree) = &self.subtree else { return Ok(Vec::new()) };
        let mut groups = Vec::new();
        for entry in fs::read_dir(&subtree.path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir()
                && Some(entry.file_name()) != subtree.ours
                && let Ok(name) = entry.file_name().into_string()
            {
                let group = subtree.group(&name);
                groups.push((name, group));
            }
        }
        Ok(groups)
    }

    /// Removes the subtree if nothing is left in it.
    pub fn leave(&self) {
        if let Some(subtree) = &self.subtree {
            let limiters = subtree.limiters.iter().map(|(_, base)| base).filter(|base| **base != subtree.path);
            for base in limiters.chain([&subtree.path]) {
                match fs::remove_dir(base) {
                    Ok(()) => {}
                    Err(error) => tracing::debug!(%error, "the subtree of control groups stays"),
                }
            }
        }
    }
}

/// Where a controller's name would stand, for the hierarchy of version 2.
const VERSION_2: &str = "";

impl Kind {
    /// The hierarchy that tracks.
    fn name(self) -> &'static str {
        match self {
            Self::V2 => VERSION_2,
            Self::V1 => "freezer",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::V2 => "control groups of version 2",
            Self::V1 => "the freezer of version 1",
        }
    }
}

impl Subtree {
    /// Makes it and checks that we could move processes into it; with the controllers that are there.
    fn make(kind: Kind, state_dir: &Path) -> Result<(Self, String), String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        let (own, inside) = own_group(&read("/proc/self/cgroup")?, kind.name())
            .ok_or("this process is in none, by /proc/self/cgroup")?;
        let parent = mounted(&read("/proc/self/mountinfo")?, kind.name(), &own).ok_or("they are not mounted")?;
        let parent = if kind == Kind::V2 { beside_unit(parent) } else { parent };
        let base = parent.join(base_name(state_dir));
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: Errno| format!("{path}: {}", io::Error::from(error))
        };
        match mkdirat(CWD, &base, OPEN_DIR) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(&base)(error)),
        }
        // Moving a process asks for the right to write to the group above both places and to the new one.
        for dir in [&parent, &base] {
            let procs = dir.join("cgroup.procs");
            accessat(CWD, &procs, Access::WRITE_OK, AtFlags::EACCESS).map_err(failed(&procs))?;
        }
        // Below a threaded group there is none that a process could enter.
        if kind == Kind::V2
            && let Ok(class) = fs::read_to_string(base.join("cgroup.type"))
            && class.trim_end() != "domain"
        {
            return Err(format!("{}: its type is '{}'", base.display(), class.trim_end()));
        }
        // A job that starts a daemon must not take it along when it ends.
        let mut ours = None;
        if !inside.is_empty()
            && let Err(error) = fs::write(parent.join("cgroup.procs"), std::process::id().to_string())
        {
            tracing::warn!(%error, "cannot leave the control group of the job that started this daemon");
            let name = base_name(state_dir);
            ours = inside.iter().position(|part| *part == *name).and_then(|at| inside.get(at + 1)).cloned();
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&base, flags, Mode::empty()).map_err(failed(&base))?;
        let controllers = fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
        let limiters = Limiter::ALL.into_iter().filter_map(|limiter| {
            let own = (kind == Kind::V2).then(|| limits::own(limiter, &parent, &base)).flatten();
            let base = own.or_else(|| limits::beside(limiter, &base_name(state_dir)))?;
            Some((limiter, base))
        });
        let limiters = limiters.collect();
        Ok((Self { kind, base: fd, path: base, ours, limiters }, controllers.trim_end().to_owned()))
    }

    /// What a run of this name has, if nothing is known of how it was made.
    fn group(&self, name: &str) -> JobCgroup {
        let others = self.limiters.iter().map(|(_, base)| base).filter(|base| **base != self.path);
        self.group_with(name, others.map(|base| base.join(name)).filter(|dir| dir.exists()).collect())
    }

    fn group_with(&self, name: &str, others: Vec<PathBuf>) -> JobCgroup {
        let dir = self.path.join(name);
        match self.kind {
            Kind::V2 => JobCgroup::V2 { dir, others },
            Kind::V1 => JobCgroup::V1 { freezer: dir, others },
        }
    }
}

/// Where our subtree grows. A group with limits below it may hold no process, and systemd starts a service in its unit's own
/// group, also again while jobs run; so our unit requires another one, whose group is for the jobs alone.
fn beside_unit(own: PathBuf) -> PathBuf {
    if own.file_name().is_none_or(|name| name != UNIT) {
        return own;
    }
    let jobs = own.with_file_name(JOBS_UNIT);
    // systemd takes the group of a unit away whose processes have ended, and leaves it to us as long as the unit is active.
    match mkdirat(CWD, &jobs, OPEN_DIR) {
        Ok(()) | Err(Errno::EXIST) => jobs,
        Err(error) => {
            tracing::warn!(%error, group = %jobs.display(), "jobs are below the daemon's own group, and not limited");
            own
        }
    }
}

/// Our unit of systemd, and the one beside it (daemon/dist).
const UNIT: &str = "qrmd.service";
const JOBS_UNIT: &str = "qrm-jobs.service";

/// Everybody may look into a group.
const OPEN_DIR: Mode = Mode::RWXU.union(Mode::RGRP).union(Mode::XGRP).union(Mode::ROTH).union(Mode::XOTH);

/// `qrm-` and 32 bits of FNV-1a over the state directory, so that daemons of several states do not meet.
pub(super) fn base_name(state_dir: &Path) -> String {
    let hash = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    format!("{PREFIX}{:08x}", state_dir.as_os_str().as_bytes().iter().fold(0x811c_9dc5, hash))
}

fn is_base(name: Option<&std::ffi::OsStr>) -> bool {
    name.and_then(|name| name.to_str()?.strip_prefix(PREFIX))
        .is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Our own group in the hierarchy of this kind, and what was cut off it: our subtree must not grow below the group
/// of a job that happened to start us.
pub(super) fn own_group(text: &str, of: &str) -> Option<(PathBuf, Vec<OsString>)> {
    let path = text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let fits = match of {
            VERSION_2 => number == "0" && controllers.is_empty(),
            controller => controllers.split(',').any(|name| name == controller),
        };
        fits.then(|| Path::new(path))
    })?;
    let parts: Vec<_> = path.components().collect();
    let cut = parts.iter().position(|part| is_base(Some(part.as_os_str()))).unwrap_or(parts.len());
    let rest = parts[cut..].iter().map(|part| part.as_os_str().to_owned()).collect();
    Some((parts[..cut].iter().collect(), rest))
}

/// Where this group of this hierarchy is mounted, by a text of proc_pid_mountinfo(5).
pub(super) fn mounted(text: &str, of: &str, group: &Path) -> Option<PathBuf> {
    text.lines().find_map(|line| {
        let (head, tail) = line.split_once(" - ")?;
        let mut head = head.split(' ').skip(3);
        let (root, point) = (unescaped(head.next()?), unescaped(head.next()?));
        let mut tail = tail.split(' ');
        let (class, options) = (tail.next()?, tail.nth(1)?);
        let fits = match of {
            VERSION_2 => class == "cgroup2",
            controller => class == "cgroup" && options.split(',').any(|name| name == controller),
        };
        // A group outside of what is mounted (`/../x` in a container) cannot be reached.
        let below = group.strip_prefix(&root).ok().filter(|_| fits)?;
        let plain = below.components().all(|part| matches!(part, Component::Normal(_)));
        plain.then(|| if below == Path::new("") { point.clone() } else { point.join(below) })
    })
}

/// The kernel writes blanks, newlines and backslashes as a backslash and three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..3).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        match code.filter(|_| *first == b'\\') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

const TOPIC: &str = "process tracking";

fn found(kind: Kind, path: &Path, controllers: &str, reasons: &[String]) -> Finding {
    let with = match (kind, controllers) {
        (Kind::V1, _) => String::new(),
        (Kind::V2, "") => " without controllers".to_owned(),
        (Kind::V2, some) => format!(" with the controllers {some}"),
    };
    let mut found = format!("{}{with}, in {}", kind.words(), path.display());
    for reason in reasons {
        found.push_str(&format!(" ({reason})"));
    }
    let means = "every process of a job is found and ended with it, also one that made itself a daemon".to_owned();
    Finding { topic: TOPIC.to_owned(), health: Health::Ok, found, means, mend: None }
}

fn found_none(reasons: &[String]) -> Finding {
    let why = if reasons.is_empty() { "the configuration wants none".to_owned() } else { reasons.join("; ") };
    let mend = match reasons {
        [] => "set supervision.cgroup = \"auto\"",
        _ => "run qrmd as a service of systemd with Delegate=yes, so that a subtree of control groups is its own",
    };
    Finding {
        topic: TOPIC.to_owned(),
        health: Health::Limited,
        found: format!("no control groups ({why})"),
        means: "the processes of a job are found by descent; one whose supervisor is killed may go on until qrmd \
                finds it by its QRM_JOB_DIR"
            .to_owned(),
        mend: Some(mend.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
38 31 0:35 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime shared:4 - cgroup2 cgroup2 rw
";

    fn place(mounts: &str, own: &str, kind: Kind) -> Option<PathBuf> {
        mounted(mounts, kind.name(), &own_group(own, kind.name())?.0)
    }

    #[test]
    fn the_own_group_is_found_where_it_is_mounted() {
        let bound = "41 31 0:38 /docker/ab /sys/fs/cgroup ro - cgroup2 cgroup rw,nsdelegate\n";
        for (mounts, own, kind, want) in [
            (HYBRID, "6:freezer:/\n0::/\n", Kind::V2, Some("/sys/fs/cgroup/uni fied")),
            (HYBRID, "6:freezer:/a/b\n0::/\n", Kind::V1, Some("/sys/fs/cgroup/freezer/a/b")),
            (HYBRID, "0::/user.slice/x.service\n", Kind::V2, Some("/sys/fs/cgroup/uni fied/user.slice/x.service")),
            (HYBRID, "0::/a/qrm-0123abcd/7-execute-1\n", Kind::V2, Some("/sys/fs/cgroup/uni fied/a")),
            (HYBRID, "0::/a/qrm-other\n", Kind::V2, Some("/sys/fs/cgroup/uni fied/a/qrm-other")),
            (HYBRID, "0::/\n", Kind::V1, None),
            (HYBRID, "0::/../x\n", Kind::V2, None),
            (bound, "0::/docker/ab/c\n", Kind::V2, Some("/sys/fs/cgroup/c")),
            (bound, "0::/other\n", Kind::V2, None),
            ("", "0::/\n", Kind::V2, None),
        ] {
            assert_eq!(place(mounts, own, kind), want.map(PathBuf::from), "{own}");
        }
    }

    #[test]
    fn only_a_group_of_our_own_making_is_believed() {
        let none = Tracking { subtree: None, finding: found_none(&[]) };
        let group = |dir: &str| JobCgroup::V2 { dir: dir.into(), others: vec![] };
        for (dir, good) in [
            ("/sys/fs/cgroup/a/qrm-0123abcd/7-execute-1", true),
            ("/sys/fs/cgroup/a/qrm-0123abcd/8-execute-1", false),
            ("/sys/fs/cgroup/a/system.slice/7-execute-1", false),
            ("/sys/fs/cgroup", false),
        ] {
            assert_eq!(none.recorded("7-execute-1", group(dir)).is_some(), good, "{dir}");
        }
    }

    #[test]
    fn every_state_directory_has_a_subtree_of_its_own() {
        let (one, other) = (base_name(Path::new("/a")), base_name(Path::new("/b")));
        assert_ne!(one, other);
        assert!(is_base(Some(one.as_ref())));
    }
}
