//! What was measured of a job or of the machine at one moment: integers, with their units in the names.
//! It refuses to know how that is measured, and how long it is kept.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How memory was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MemoryFrom {
    /// By the kernel for the whole job: every page once, also of files that it keeps for the job.
    Group,
    /// As the sum of what its processes have resident: what several of them share counts for each.
    Processes,
}

/// A job at one moment. What this machine does not tell is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobSample {
    /// Grows from each sample to the next, also over restarts of the daemon.
    pub number: u64,
    /// When it was taken.
    pub at: Timestamp,
    /// User and system time of all its processes since it started.
    pub cpu_ms: Option<u64>,
    /// Thousandths of one cpu, on average since the sample before; null where there is none that is recent.
    pub cpu_permille: Option<u64>,
    /// Memory that it holds.
    pub memory_bytes: Option<u64>,
    /// The most that it held at once: as the kernel counts it for the whole job, else as far as it was seen.
    pub peak_memory_bytes: Option<u64>,
    /// How its memory is counted.
    pub memory_from: Option<MemoryFrom>,
    /// Read from disks since it started.
    pub read_bytes: Option<u64>,
    /// Written to disks since it started.
    pub written_bytes: Option<u64>,
    /// Processes and their threads.
    pub pids: Option<u64>,
    /// It has more processes than are looked at one by one; what the kernel does not count for the whole job is too small.
    pub incomplete: bool,
}

/// The machine at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostSample {
    /// Grows from each sample to the next, also over restarts of the daemon.
    pub number: u64,
    /// When it was taken.
    pub at: Timestamp,
    /// Cpus that are online.
    pub cpus: u64,
    /// Thousandths of one cpu that were not idle, on average since the sample before; null where there is none that is recent.
    pub cpu_permille: Option<u64>,
    /// Memory of the machine.
    pub memory_total_bytes: u64,
    /// Memory that could be had without swapping.
    pub memory_available_bytes: u64,
    /// Swap space.
    pub swap_total_bytes: u64,
    /// Swap space in use.
    pub swap_used_bytes: u64,
    /// Processes that ran or waited for a cpu or disk, in thousandths, averaged over a minute.
    pub load_1m_permille: u64,
    /// The same over five minutes.
    pub load_5m_permille: u64,
    /// The same over fifteen minutes.
    pub load_15m_permille: u64,
    /// Waiting for cpus; null where the kernel does not tell.
    pub cpu_pressure: Option<Pressure>,
    /// Waiting for memory.
    pub memory_pressure: Option<Pressure>,
    /// Waiting for disks.
    pub io_pressure: Option<Pressure>,
}

/// What waiting for something cost over the last ten seconds: the kernel's pressure stall information.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pressure {
    /// Thousandths of the time in which some process waited for it.
    pub some_permille: u64,
    /// Thousandths of the time in which all that could have run waited for it.
    pub full_permille: u64,
}

/// A file system, when it was asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MountView {
    /// A path in it, as it is configured.
    pub path: String,
    /// Its size; null if it could not be asked.
    pub total_bytes: Option<u64>,
    /// What is in use.
    pub used_bytes: Option<u64>,
    /// What can be written by anybody but root.
    pub available_bytes: Option<u64>,
    /// Why it could not be asked.
    pub error: Option<String>,
}
