//! What is asked and answered about measurements.
//! It refuses to know who measures and how.

use crate::amount::Bytes;
use crate::ids::JobRef;
use crate::job::{JobState, UsageView};
use crate::sample::{HostSample, JobSample, MountView};
use serde::{Deserialize, Serialize};

/// See [`JobStats`](super::JobStats).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct JobStatsParams {
    /// Which job, or which task of an array.
    pub id: JobRef,
    /// Give what was measured during the last five minutes, too.
    #[serde(default)]
    pub samples: bool,
    /// Answer when there is a sample with a greater number than this, or the job has ended.
    pub after: Option<u64>,
}

/// See [`JobStats`](super::JobStats).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct JobStatsReply {
    /// Which.
    pub id: JobRef,
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: JobState,
    /// Cpus that are counted for it.
    pub cpus: u32,
    /// Memory that is counted for it.
    pub mem_bytes: Option<Bytes>,
    /// The newest sample; null when it has ended.
    pub now: Option<JobSample>,
    /// What it used: so far, or in all when it has ended.
    pub usage: UsageView,
    /// How often samples are taken.
    pub interval_ms: u64,
    /// The samples of the last five minutes, the oldest first, at most 300; empty if they were not asked for, and
    /// when it has ended.
    pub samples: Vec<JobSample>,
}

/// See [`HostStats`](super::HostStats).
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct HostStatsParams {
    /// Give what was measured during the last five minutes, too.
    #[serde(default)]
    pub samples: bool,
    /// Answer when there is a sample with a greater number than this.
    pub after: Option<u64>,
}

/// See [`HostStats`](super::HostStats).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HostStatsReply {
    /// The newest sample.
    pub now: HostSample,
    /// The file systems of `monitor.mounts`.
    pub mounts: Vec<MountView>,
    /// How often samples are taken.
    pub interval_ms: u64,
    /// The samples of the last five minutes, the oldest first, at most 300; empty if they were not asked for. While
    /// no job ran and nobody looked, there are none.
    pub samples: Vec<HostSample>,
}

/// How many samples are kept of a job, or of the machine: five minutes of one a second.
pub const MAX_SAMPLES: usize = 300;
