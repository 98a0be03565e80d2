//! The words that `qrm` and `qrmd` share: values that are valid once parsed, and the JSON-RPC that carries them.
//! It refuses to know how a job is scheduled, stored or run; its only I/O is the client's socket.

pub mod access;
pub mod amount;
pub mod client;
#[cfg(feature = "schema")]
pub mod describe;
pub mod error;
pub mod event;
pub mod explain;
pub mod filter;
pub mod frame;
pub mod ids;
pub mod job;
pub mod log;
pub mod manifest;
pub mod method;
pub mod place;
pub mod progress;
pub mod queue;
pub mod sample;
#[cfg(feature = "schema")]
mod schema;
pub mod signal;
pub mod terminal;
pub mod text;
pub mod time;
mod wire;

/// The version of the protocol; a daemon and a client of different versions refuse each other in the handshake.
pub const PROTOCOL_VERSION: u32 = 1;
