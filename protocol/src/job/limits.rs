//! What a job may have at most, beyond what is counted for it: what can be asked for, and how it is held to that.
//! It refuses to know which of it a machine can hold a job to.

use super::JobSpec;
use crate::error::Error;
use serde::{Deserialize, Serialize};

/// The most processes that one machine can have: `PID_MAX_LIMIT` of Linux.
pub const MAX_PIDS: u32 = 1 << 22;

/// The fewest files that a program can be started with, and the most that the kernel can count.
pub const OPEN_FILES: std::ops::RangeInclusive<u32> = 16..=i32::MAX.unsigned_abs();

/// The largest share of the disks, as control groups of version 2 have it; the usual one is 100.
pub const MAX_IO_WEIGHT: u32 = 10_000;

/// How a job is held to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// The kernel does not let it have more.
    Enforced,
    /// It is looked at several times a second, and ended if it has more.
    Watched,
    /// Nothing holds it to that.
    None,
}

/// How a job is held to its limits by the daemon that runs now; nothing for what it has no limit of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Enforcement {
    /// To its share of the cpus where there are too few, or to its cpus if `scheduler.cpu` is `hard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<How>,
    /// To its memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<How>,
    /// To the number of its processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<How>,
    /// To the size of its scratch directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<How>,
    /// To its share of the disks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<How>,
    /// Each of its processes to the number of its open files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<How>,
}

impl JobSpec {
    /// Whether its limits can be meant.
    pub(super) fn check_limits(&self) -> Result<(), Error> {
        if self.mem_bytes.is_some_and(|m| i64::try_from(m.0).is_err()) {
            return Err(Error::invalid("that is more memory than any machine has"));
        }
        if self.disk_bytes.is_some_and(|disk| i64::try_from(disk.0).is_err()) {
            return Err(Error::invalid("that is more disk than any machine has"));
        }
        if self.pids.is_some_and(|pids| pids > MAX_PIDS) {
            return Err(Error::invalid(format!("--pids is at most {MAX_PIDS}, the most that a machine can have")));
        }
        if let Some(weight) = self.io_weight.filter(|weight| *weight > MAX_IO_WEIGHT) {
            return Err(Error::invalid(format!(
                "--io-weight {weight} is not from 1 to {MAX_IO_WEIGHT}; others have 100"
            )));
        }
        if let Some(files) = self.open_files.filter(|files| !OPEN_FILES.contains(files)) {
            return Err(Error::invalid(format!(
                "--open-files {files} is not from {} to {}",
                OPEN_FILES.start(),
                OPEN_FILES.end()
            )));
        }
        Ok(())
    }
}
