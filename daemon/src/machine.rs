//! What this machine offers to jobs: what it has, less what the configuration keeps back.
//! It refuses to know what is granted.

use crate::config::Config;
use crate::supervise::scratch::{self, Measured};
use qrm_core::Machine;
use rustix::fs::{CWD, Mode, OFlags, openat, statvfs};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long it may take to find out what is in scratch directories; of more than can be counted by then, the rest is offered
/// when it is free.
const COUNTING: Duration = Duration::from_millis(100);

/// What is offered by the daemon of this state directory.
#[must_use]
pub fn offered(config: &Config, state: &Path, boot_id: &str) -> Machine {
    let cpus = config.cpus.unwrap_or_else(|| {
        let n = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        u32::try_from(n).unwrap_or(u32::MAX)
    });
    let info = rustix::system::sysinfo();
    // The field's width differs between architectures.
    #[allow(clippy::useless_conversion)]
    let total = u64::from(info.totalram).saturating_mul(info.mem_unit.into());
    Machine {
        boot_id: boot_id.to_owned(),
        cpus,
        mem_bytes: config.memory.map_or(total.saturating_sub(config.memory_reserve.0), |m| m.0),
        disk_bytes: config.disk.map_or_else(|| disk(config, state), |disk| disk.0),
    }
}

/// What is free for scratch directories, and what is in them already: their jobs were granted that. In whole steps, so that
/// it is not another number at every start.
fn disk(config: &Config, state: &Path) -> u64 {
    let place = config.scratch_dir.as_deref().unwrap_or(state);
    let free = match statvfs(place) {
        Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
        Err(error) => {
            let error = std::io::Error::from(error);
            tracing::error!(%error, dir = %place.display(), "there is no room for scratch directories");
            0
        }
    };
    let base = scratch::base(state, config.scratch_dir.as_deref());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = openat(CWD, base, flags, Mode::empty()).ok();
    let held = held.and_then(|dir| scratch::measure(&dir, u64::MAX, Some(Instant::now() + COUNTING)).ok());
    let held = match held {
        Some(Measured::Bytes(held)) => held,
        Some(Measured::TooDeep) | None => 0,
    };
    let bytes = free.saturating_add(held).saturating_sub(config.disk_reserve.0);
    let step = if bytes >= 8 << 30 { 1 << 30 } else { 1 << 20 };
    bytes / step * step
}
