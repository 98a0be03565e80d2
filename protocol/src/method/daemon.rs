//! What is asked and answered about the machine, the daemon and its settings.
//! It refuses to know who answers and how.

use crate::ids::Seq;
use crate::job::{JobState, JobView};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the machine offers to jobs, and what of it is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MachineView {
    /// Cpus offered.
    pub cpus: u32,
    /// Cpus granted.
    pub cpus_used: u32,
    /// Memory offered.
    pub mem_bytes: u64,
    /// Memory granted.
    pub mem_used_bytes: u64,
    /// Room for scratch directories offered.
    #[serde(default)]
    pub disk_bytes: u64,
    /// Of that granted.
    #[serde(default)]
    pub disk_used_bytes: u64,
}

/// See [`Status`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StatusReply {
    /// The machine.
    pub machine: MachineView,
    /// Jobs that ever were, by state.
    pub jobs: BTreeMap<JobState, u64>,
    /// The first that run.
    pub running: Vec<JobView>,
    /// The first that wait, in the order of their turn.
    pub waiting: Vec<JobView>,
    /// The last that ended.
    pub ended: Vec<JobView>,
    /// The store can not be written, and why; mutations are refused.
    pub degraded: Option<String>,
}

/// See [`DaemonStatus`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DaemonStatusReply {
    /// Its process.
    pub pid: u32,
    /// Its release.
    pub version: String,
    /// `user` or `system`.
    pub mode: String,
    /// How long it has been up.
    pub uptime_ms: u64,
    /// Where it listens.
    pub socket: String,
    /// Where it keeps everything.
    pub state_dir: String,
    /// What the store takes on disk.
    pub store_bytes: u64,
    /// The number of the newest event.
    pub last_seq: Seq,
    /// `full` or `relaxed`.
    pub durability: String,
    /// Jobs that ever were, by state.
    pub jobs: BTreeMap<JobState, u64>,
    /// The store can not be written, and why; mutations are refused.
    pub degraded: Option<String>,
}

/// See [`DaemonReload`].
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ReloadParams {
    /// Be replaced: the connection is closed when that happens, and the next one is to the new program.
    #[serde(default)]
    pub exec: bool,
}

/// See [`DaemonReload`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReloadReply {
    /// The settings that are others than before.
    pub changed: Vec<ChangedSetting>,
    /// The release of the program that replaces this one, if it is to be replaced.
    pub version: Option<String>,
}

/// A setting that is another than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ChangedSetting {
    /// `section.key`.
    pub key: String,
    /// As it was.
    pub from: String,
    /// As it is configured now.
    pub to: String,
    /// It is used now; else a restart is needed for that.
    pub applied: bool,
}

/// See [`ConfigShow`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ConfigReply {
    /// The configuration file, which need not be there.
    pub file: Option<String>,
    /// Every setting.
    pub settings: Vec<SettingView>,
}

/// A setting, with where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SettingView {
    /// `section.key`.
    pub key: String,
    /// As it is used.
    pub value: String,
    /// As it is built in.
    pub default: String,
    /// `built in`, `FILE:LINE`, the name of a variable, or `--set`.
    pub origin: String,
    /// What it is for.
    pub means: String,
    /// A reload applies it; if not, a restart does.
    pub at_reload: bool,
}

/// Something in a configuration that can not be meant; a line of what `qrmd --check --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Mistake {
    /// What, with file, line and column if it is in the file.
    pub message: String,
    /// What would work.
    pub hint: Option<String>,
    /// From 1.
    pub line: Option<u64>,
    /// From 1, in characters.
    pub column: Option<u64>,
    /// The line.
    pub text: Option<String>,
}

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// As it should be.
    Ok,
    /// Works, with less than one might expect.
    Limited,
    /// Does not work.
    Broken,
}

/// One thing that `qrm doctor` looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Finding {
    /// What was looked at, a word or two.
    pub topic: String,
    /// How it is.
    pub health: Health,
    /// What was found.
    pub found: String,
    /// What that means for jobs.
    pub means: String,
    /// What would mend it.
    pub mend: Option<String>,
}

/// See [`Doctor`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DoctorReply {
    /// What the daemon found.
    pub findings: Vec<Finding>,
}
