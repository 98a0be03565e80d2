//! An event as clients see it: a numbered fact with its kind and fields.
//! How facts come about, and which there are, is the core's business.

use crate::ids::Seq;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One line of `qrm events --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EventView {
    /// Counts up by one; resume with `--after SEQ`.
    pub seq: Seq,
    /// When it was decided.
    pub at: Timestamp,
    /// `family.what`, as `job.started`.
    pub kind: String,
    /// The fields of its kind.
    #[serde(flatten)]
    pub fields: serde_json::Map<String, serde_json::Value>,
}
