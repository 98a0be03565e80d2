//! What the configuration says of deciding, and what is seen of the machine beside jobs.
//! It refuses to know where either comes from.

use crate::job::is_default;
use qrm_protocol::ids::Uid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a rank is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Weights {
    /// For each of the 100 steps of priority.
    pub priority: u32,
    /// For each hour of age.
    pub age_per_hour: u32,
    /// For all of a share that is left.
    pub fair_share: u32,
}

/// The largest weight, so that ranks never overflow: a hundred years of age still are of the size of 2^55.
pub const MAX_RANK_WEIGHT: u32 = 10_000;

impl Default for Weights {
    fn default() -> Self {
        Self { priority: 10, age_per_hour: 10, fair_share: 1_000 }
    }
}

/// How it is decided what starts when; see SCHEDULING.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Policy {
    /// What a job is expected to run, in milliseconds, of which nothing is known.
    pub assumed_ms: u64,
    /// How many blocked jobs are planned.
    pub planned_starts: u32,
    /// What a rank is made of.
    pub weights: Weights,
    /// The weights of users, as pairs of a user and a weight; those who are not named have one of 1.
    #[serde(default, with = "crate::share::pairs", skip_serializing_if = "is_default")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<(Uid, u32)>"))]
    pub shares: BTreeMap<Uid, u32>,
    /// How long an offer can be accepted, in milliseconds.
    pub offer_ms: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            assumed_ms: 24 * 3_600_000,
            planned_starts: 16,
            weights: Weights::default(),
            shares: BTreeMap::new(),
            offer_ms: 60_000,
        }
    }
}

/// What the machine is short of, so that fewer jobs start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// Processes wait for memory: for so many thousandths of the time, where so many are too many.
    Memory {
        /// Of the last ten seconds.
        permille: u32,
        /// The bound.
        most: u32,
    },
    /// They wait for cpus.
    Cpu {
        /// Of the last ten seconds.
        permille: u32,
        /// The bound.
        most: u32,
    },
}

/// What is seen of the machine beside jobs. It is true now and tomorrow it is not, so it is no part of the state: no event
/// tells of it, and after a restart it is seen anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// How much memory jobs can have in all as things are: that of the machine, less the reserve, less what others than jobs
    /// use; nothing if that is not known.
    pub mem_bytes: Option<u64>,
    /// It is under pressure.
    pub short: Option<Short>,
}
