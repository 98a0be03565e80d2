//! What is asked and answered about queues, offers and reasons.
//! It refuses to know who answers and how.

use super::SubmitParams;
use crate::explain::Explanation;
use crate::ids::JobRef;
use crate::job::{Offer, OfferId};
use crate::queue::{QueueChange, QueueName, QueueView};
use serde::{Deserialize, Serialize};

/// See [`QueueList`](super::QueueList).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct QueueListReply {
    /// By name.
    pub queues: Vec<QueueView>,
}

/// See [`QueueSet`](super::QueueSet).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct QueueSetParams {
    /// Which; it is made if there is none.
    pub name: QueueName,
    /// What is to be so.
    #[serde(default)]
    pub change: QueueChange,
}

/// One queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct QueueParams {
    /// Which.
    pub name: QueueName,
}

/// See [`OfferAccept`](super::OfferAccept).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OfferParams {
    /// Which.
    pub id: OfferId,
}

/// See [`OfferAccept`](super::OfferAccept).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OfferReply {
    /// To which job it was.
    pub job: JobRef,
    /// What it was.
    pub offer: Offer,
}

/// See [`JobWhen`](super::JobWhen).
pub type WhenParams = SubmitParams;
/// See [`JobExplain`](super::JobExplain).
pub type ExplainReply = Explanation;
