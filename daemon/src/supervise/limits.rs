//! What the kernel limits for a job, in whichever hierarchy of control groups it can here.
//! It refuses to choose the limits: they are what the job asked for.

use super::cgroup::{mounted, own_group};
use crate::config::Bound;
use qrm_protocol::job::{Enforcement, How, MAX_PIDS};
use qrm_shim::cgroup::JobCgroup;
use rustix::fs::{Access, AtFlags, CWD, Mode, accessat, mkdirat};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What a run may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Its share of the cpus where there are not enough; 0 is what is left over.
    pub cpus: u32,
    /// The most memory at once; `None` is as much as there is.
    pub mem_bytes: Option<u64>,
    /// The most processes and threads at once; `None` is what the configuration says.
    pub pids: Option<u32>,
    /// The size of its scratch directory, which it has only then.
    pub disk_bytes: Option<u64>,
    /// The most files that each of its processes may have open; `None`, as 0, is what its submitter has.
    pub open_files: Option<u32>,
    /// Its share of the disks where several want them, 1 to 10000, as 100 is for others; `None`, as 0, is 100.
    pub io_weight: Option<u32>,
    /// It never has more than its cpus, also where others are idle.
    pub hard: bool,
}

impl Limits {
    /// Of a process that asks for nothing.
    pub const PLAIN: Self =
        Self { cpus: 1, mem_bytes: None, pids: None, disk_bytes: None, io_weight: None, open_files: None, hard: false };

    /// The time that it may run in each [`PERIOD_US`], on all cpus together. Without a cpu of its own it has what others
    /// leave, by its weight.
    fn quota_us(self) -> Option<u64> {
        (self.hard && self.cpus > 0).then(|| u64::from(self.cpus) * PERIOD_US)
    }
}

/// The period of a quota of cpu time: the kernel's own default, and the longest pause of who has used its quota up.
const PERIOD_US: u64 = 100_000;

/// What can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limiter {
    Memory,
    Cpu,
    Pids,
    Io,
}

/// The weights of one cpu: cpu.weight of version 2, cpu.shares of version 1, as an ordinary process has them.
const WEIGHT: (u64, u64) = (100, 1_024);
/// The kernel's bounds of both.
const WEIGHTS: ((u64, u64), (u64, u64)) = ((1, 10_000), (2, 262_144));

impl Limiter {
    pub const ALL: [Self; 4] = [Self::Memory, Self::Cpu, Self::Pids, Self::Io];

    /// What it is called in version 2, and in version 1.
    fn controllers(self) -> (&'static str, &'static str) {
        match self {
            Self::Memory => ("memory", "memory"),
            Self::Cpu => ("cpu", "cpu"),
            Self::Pids => ("pids", "pids"),
            Self::Io => ("io", "blkio"),
        }
    }

    /// The files of which a group of either version has one where there is such a limit. That there is a controller is not
    /// enough: disks are shared by weight only where their scheduler can.
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Memory => &["memory.max", "memory.limit_in_bytes"],
            Self::Cpu => &["cpu.weight", "cpu.shares"],
            Self::Pids => &["pids.max"],
            Self::Io => &["io.weight", "io.bfq.weight", "blkio.bfq.weight", "blkio.weight"],
        }
    }

    /// The first of those that this group has.
    pub fn file(self, dir: &Path) -> Option<&'static str> {
        self.files().iter().copied().find(|name| dir.join(name).exists())
    }

    /// Whether something comes of what is written into a group here.
    fn is_any_use(self, dir: &Path) -> bool {
        match (self, self.file(dir)) {
            (_, None) => false,
            (Self::Io, Some(_)) => disks_are_shared(),
            (_, Some(_)) => true,
        }
    }

    /// Whether a group that there is has this limit: one of version 2 has the file of each controller that is on.
    pub fn holds(self, group: &JobCgroup) -> bool {
        group.dirs().any(|dir| self.file(dir).is_some())
    }

    /// Whether a run needs a group for this; `beside` the one that tracks it is a group of its own, and entering one
    /// costs a wait of some milliseconds, longer than a short job: who has one cpu weighs as any process does without.
    pub fn is_wanted(self, limits: Limits, beside: bool) -> bool {
        match self {
            Self::Memory => limits.mem_bytes.is_some_and(|bytes| bytes > 0),
            Self::Cpu => !beside || limits.cpus != 1 || limits.hard,
            Self::Pids => limits.pids.is_some(),
            Self::Io => limits.io_weight.is_some(),
        }
    }

    /// Writes the limits into a group.
    pub fn set(self, dir: &Path, limits: Limits) -> io::Result<()> {
        let put = |name: &str, value: u64| fs::write(dir.join(name), value.to_string());
        // What this kernel does not have, it does not limit.
        let text = |name: &str, value: &str| match fs::write(dir.join(name), value) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        };
        let maybe = |name: &str, value: u64| text(name, &value.to_string());
        let one = |weight: u64, (least, most): (u64, u64)| (weight * u64::from(limits.cpus)).clamp(least, most);
        match (self, limits.mem_bytes) {
            (Self::Memory, Some(bytes)) if dir.join("memory.max").exists() => {
                put("memory.max", bytes)?;
                // Before the end it is squeezed, and what it can do without is taken back.
                maybe("memory.high", bytes - bytes / 16)?;
                maybe("memory.swap.max", 0)?;
                maybe("memory.oom.group", 1)
            }
            (Self::Memory, Some(bytes)) => {
                put("memory.limit_in_bytes", bytes)?;
                maybe("memory.memsw.limit_in_bytes", bytes)
            }
            (Self::Memory, None) => Ok(()),
            (Self::Cpu, _) if dir.join("cpu.weight").exists() => {
                put("cpu.weight", one(WEIGHT.0, WEIGHTS.0))?;
                let quota = |us| text("cpu.max", &format!("{us} {PERIOD_US}"));
                limits.quota_us().map_or(Ok(()), quota)
            }
            (Self::Cpu, _) => {
                put("cpu.shares", one(WEIGHT.1, WEIGHTS.1))?;
                let Some(us) = limits.quota_us() else { return Ok(()) };
                // A quota must fit the period that is there, and each is checked against the other as it is written.
                maybe("cpu.cfs_period_us", PERIOD_US)?;
                maybe("cpu.cfs_quota_us", us)
            }
            (Self::Io, _) => {
                let Some((weight, file)) = limits.io_weight.map(u64::from).zip(self.file(dir)) else { return Ok(()) };
                match file {
                    "io.weight" => put(file, weight),
                    // The usual weight of bfq is 100 as well, and that of its predecessor 500.
                    "blkio.weight" => put(file, (weight * 5).clamp(10, 1_000)),
                    _ => put(file, weight.clamp(1, 1_000)),
                }
            }
            // It has the same name in both versions.
            (Self::Pids, _) => limits.pids.map_or(Ok(()), |pids| put("pids.max", pids.into())),
        }
    }
}

/// Whether a disk has a scheduler that shares it by weight, or the cost of what is done with it is reckoned (io.cost.qos of
/// cgroup-v2.rst); with any other the weights of groups are only numbers.
fn disks_are_shared() -> bool {
    let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let scheduler = |disk: fs::DirEntry| fs::read_to_string(disk.path().join("queue/scheduler")).unwrap_or_default();
    let shares = |scheduler: String| scheduler.contains("[bfq]") || scheduler.contains("[cfq]");
    let costs = fs::read_to_string("/proc/self/mountinfo").ok().and_then(|mounts| mounted(&mounts, "", Path::new("/")));
    let costs = costs.and_then(|root| fs::read_to_string(root.join("io.cost.qos")).ok());
    costs.is_some_and(|costs| costs.contains("enable=1")) || disks.map(scheduler).any(shares)
}

/// What a job may have that does not say how many processes: of `auto` in a daemon for all users a part of what the
/// machine can have, the same as systemd gives a service (`DefaultTasksMax=` of systemd-system.conf(5)), where that costs
/// nothing because the group is there anyway.
pub(super) fn default_pids(wanted: Bound<u32>, for_all: bool, free: bool) -> Option<u32> {
    match wanted {
        Bound::Most(pids) => Some(pids),
        Bound::Auto if for_all && free => {
            let read = |file| fs::read_to_string(file).ok()?.trim_end().parse::<u64>().ok();
            let most =
                ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"].into_iter().filter_map(read).min()?;
            Some(u32::try_from(most * 15 / 100).unwrap_or(u32::MAX).clamp(1, MAX_PIDS))
        }
        Bound::Auto | Bound::None => None,
    }
}

/// Has a subtree of version 1 weigh as much as the groups in it together, so that each is what it is beside processes
/// that are in none.
pub(super) fn weigh(base: &Path) {
    let shares =
        |dir: &Path| -> Option<u64> { fs::read_to_string(dir.join("cpu.shares")).ok()?.trim_end().parse().ok() };
    let Ok(groups) = fs::read_dir(base) else { return };
    let sum: u64 = groups.filter_map(|group| shares(&group.ok()?.path())).sum();
    let (least, most) = WEIGHTS.1;
    if let Err(error) = fs::write(base.join("cpu.shares"), sum.clamp(least, most).to_string()) {
        tracing::debug!(%error, base = %base.display(), "the weight of all groups stays as it is");
    }
}

/// The subtree of version 2, if it limits this there.
pub(super) fn own(limiter: Limiter, parent: &Path, base: &Path) -> Option<PathBuf> {
    let (name, _) = limiter.controllers();
    let has = |file: PathBuf| fs::read_to_string(file).is_ok_and(|all| all.split_whitespace().any(|one| one == name));
    for dir in [parent, base] {
        let enabled = dir.join("cgroup.subtree_control");
        // What the kernel would refuse, but for cpu: it makes that a threaded group, and those below it can hold no process.
        if !has(enabled.clone()) && (holds_processes(dir) || fs::write(&enabled, format!("+{name}")).is_err()) {
            return None;
        }
    }
    limiter.is_any_use(base).then(|| base.to_owned())
}

/// Whether a group may not have groups with limits below it: cgroups(7), "no internal processes", from which the root, which has
/// no type, is free.
fn holds_processes(dir: &Path) -> bool {
    dir.join("cgroup.type").exists() && fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|pids| !pids.is_empty())
}

/// A subtree of the hierarchy of version 1 that limits this, made now.
pub(super) fn beside(limiter: Limiter, name: &str) -> Option<PathBuf> {
    let (_, controller) = limiter.controllers();
    let (own, _) = own_group(&fs::read_to_string("/proc/self/cgroup").ok()?, controller)?;
    let base = mounted(&fs::read_to_string("/proc/self/mountinfo").ok()?, controller, &own)?.join(name);
    let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
    match mkdirat(CWD, &base, mode) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(_) => return None,
    }
    let can = accessat(CWD, base.join("cgroup.procs"), Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    if can && limiter.is_any_use(&base) {
        return Some(base);
    }
    if let Err(error) = fs::remove_dir(&base) {
        tracing::debug!(%error, base = %base.display(), "a control group that limits nothing stays");
    }
    None
}

/// How runs are held to their limits.
pub(super) fn enforcement(limiters: &[(Limiter, PathBuf)]) -> Enforcement {
    let held = |limiter, otherwise| {
        Some(if limiters.iter().any(|(one, _)| *one == limiter) { How::Enforced } else { otherwise })
    };
    Enforcement {
        cpus: held(Limiter::Cpu, How::None),
        memory: held(Limiter::Memory, How::Watched),
        pids: held(Limiter::Pids, How::Watched),
        io_weight: held(Limiter::Io, How::None),
        disk: Some(How::Watched),
        open_files: Some(How::Enforced),
    }
}
