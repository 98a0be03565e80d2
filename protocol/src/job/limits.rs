//! What a job may have at most, beyond what is counted for it: what can be asked for.
//! It refuses to know which of it a machine can hold a job to.

use super::JobSpec;
use crate::error::Error;

/// The most processes that one machine can have: `PID_MAX_LIMIT` of Linux.
pub const MAX_PIDS: u32 = 1 << 22;

impl JobSpec {
    /// Whether its limits can be meant.
    pub(super) fn check_limits(&self) -> Result<(), Error> {
        if self.mem_bytes.is_some_and(|m| i64::try_from(m.0).is_err()) {
            return Err(Error::invalid("that is more memory than any machine has"));
        }
        if self.pids.is_some_and(|pids| pids > MAX_PIDS) {
            return Err(Error::invalid(format!("--pids is at most {MAX_PIDS}, the most that a machine can have")));
        }
        Ok(())
    }
}
