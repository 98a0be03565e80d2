//! What this machine offers to jobs: what it has, less what the configuration keeps back.
//! It refuses to know what is granted.

use crate::config::Config;

/// Cpus, and bytes of memory.
#[must_use]
pub fn offered(config: &Config) -> (u32, u64) {
    let cpus = config.cpus.unwrap_or_else(|| {
        let n = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        u32::try_from(n).unwrap_or(u32::MAX)
    });
    let info = rustix::system::sysinfo();
    // The field's width differs between architectures.
    #[allow(clippy::useless_conversion)]
    let total = u64::from(info.totalram).saturating_mul(info.mem_unit.into());
    (cpus, config.memory.map_or(total.saturating_sub(config.memory_reserve.0), |m| m.0))
}
