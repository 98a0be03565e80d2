//! What a job wrote, as it travels: pieces of a stream with their place in it, text where they are text.
//! It refuses to know where the bytes are kept.

use crate::ids::JobRef;
use serde::{Deserialize, Serialize};

/// One of the two streams of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The word on the wire, which is also the file's name in the job's directory.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// See [`crate::method::LogSubscribe`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LogSubscribeParams {
    /// A job, or one task of an array.
    pub id: JobRef,
    /// Which of its streams.
    #[serde(default)]
    pub stream: Stream,
    /// Only what comes after so many bytes of it: where an earlier subscription ended.
    #[serde(default)]
    pub after_bytes: u64,
    /// Go on until the job has ended; one that has not started is waited for.
    #[serde(default)]
    pub follow: bool,
}

/// See [`crate::method::LogSubscribe`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogSubscribeReply {
    /// The job or task.
    pub id: JobRef,
    /// The stream.
    pub stream: Stream,
    /// The first piece begins after so many bytes.
    pub after_bytes: u64,
    /// So many bytes there are by now. Without `follow` they are all that comes.
    pub size_bytes: u64,
}

/// The notification of a piece.
pub const LOG: &str = "log";
/// The notification that there is no more.
pub const LOG_END: &str = "log.end";

/// The parameters of [`LOG`]: the next piece of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogPiece {
    /// The job or task.
    pub id: JobRef,
    /// The stream.
    pub stream: Stream,
    /// So many bytes of the stream come before it. It is less than expected if the job has emptied the file.
    pub at_bytes: u64,
    /// What was written there.
    pub text: LogText,
}

/// The parameters of [`LOG_END`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LogEnd {
    /// The job or task.
    pub id: JobRef,
    /// The stream.
    pub stream: Stream,
    /// All bytes before this were sent: the next subscription's `after_bytes`.
    pub at_bytes: u64,
    /// The job has ended, and will write no more.
    pub ended: bool,
}

/// Bytes that are text most of the time. On the wire: a string if they are UTF-8, else `{"hex": "ff00"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogText(pub Vec<u8>);

/// How bytes that are no text look.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hex {
    hex: String,
}

impl Serialize for LogText {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => to.serialize_str(text),
            Err(_) => Hex { hex: crate::text::hex(&self.0) }.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for LogText {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a string, or {\"hex\": …} for bytes that are not UTF-8")]
        enum Said {
            Text(String),
            Bytes(Hex),
        }
        match Said::deserialize(from)? {
            Said::Text(text) => Ok(Self(text.into_bytes())),
            Said::Bytes(Hex { hex }) => crate::text::unhex(&hex)
                .map(Self)
                .ok_or_else(|| serde::de::Error::custom("not a string of hexadecimal pairs")),
        }
    }
}

impl LogText {
    /// How many of these bytes can be sent before more of them come: all but a character at their end that is not
    /// complete yet.
    #[must_use]
    pub fn complete(bytes: &[u8]) -> usize {
        match std::str::from_utf8(bytes) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            // What is no text is not cut either, unless its last bytes are the beginning of a character.
            Err(_) => {
                let tail = bytes.len().saturating_sub(3);
                let begins = (tail..bytes.len()).rev().find(|at| bytes[*at] >= 0xC0);
                let is_cut = |at: &usize| std::str::from_utf8(&bytes[*at..]).is_err_and(|e| e.error_len().is_none());
                begins.filter(is_cut).unwrap_or(bytes.len())
            }
            Ok(_) => bytes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_the_wire_and_text_is_text_there() {
        for (bytes, wire) in [
            (&b"plain\n"[..], r#""plain\n""#),
            (b"", r#""""#),
            (b"a\0b\x1b[31m", r#""a\u0000b\u001b[31m""#),
            ("žluť".as_bytes(), r#""žluť""#),
            (b"\xff\x00", r#"{"hex":"ff00"}"#),
        ] {
            let text = LogText(bytes.to_vec());
            assert_eq!(serde_json::to_string(&text).unwrap(), wire);
            assert_eq!(serde_json::from_str::<LogText>(wire).unwrap(), text);
        }
        for wire in [r#"{"hex":"f"}"#, r#"{"hex":"zz"}"#, r#"{"hex":"00","x":1}"#, "{}", "1", "[]"] {
            assert!(serde_json::from_str::<LogText>(wire).is_err(), "{wire}");
        }
    }

    #[test]
    fn a_piece_ends_where_a_character_does() {
        for (bytes, complete) in [
            (&b"abc"[..], 3),
            (b"", 0),
            ("až".as_bytes(), 3),
            (&"až".as_bytes()[..2], 1),
            (&"a€".as_bytes()[..3], 1),
            (&"a\u{1f600}".as_bytes()[..4], 1),
            (b"\xff\xfe", 2),
            (b"\xffab\xc5", 3),
            (b"\xffab\xe2\x82", 3),
            (b"\xff\x82\x82", 3),
            (b"\xe2\x82", 0),
        ] {
            assert_eq!(LogText::complete(bytes), complete, "{bytes:?}");
        }
    }
}
