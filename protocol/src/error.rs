//! The one error of the protocol: a code for programs, a message for people, a hint with what would work.
//! It refuses to know how it is printed.

use serde::{Deserialize, Serialize};

/// What kind of refusal or failure; stable words, additions only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// The bytes are not JSON, or not UTF-8.
    ParseError,
    /// JSON, but not a JSON-RPC 2.0 request.
    InvalidRequest,
    /// No such method.
    MethodNotFound,
    /// An argument can not be meant.
    InvalidArgument,
    /// The named thing does not exist.
    NotFound,
    /// The caller may not do this.
    PermissionDenied,
    /// It exists, but is in a state in which this can not be done.
    FailedPrecondition,
    /// A bound is reached; the message names it.
    ResourceExhausted,
    /// A frame is longer than the protocol allows.
    FrameTooLarge,
    /// Client and daemon speak different versions of the protocol.
    VersionMismatch,
    /// No daemon answers.
    NoDaemon,
    /// The daemon can not do this now (its disk is full, its store is gone); nothing was changed.
    Unavailable,
    /// A defect of qrm.
    Internal,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 13] = [
        Self::ParseError,
        Self::InvalidRequest,
        Self::MethodNotFound,
        Self::InvalidArgument,
        Self::NotFound,
        Self::PermissionDenied,
        Self::FailedPrecondition,
        Self::ResourceExhausted,
        Self::FrameTooLarge,
        Self::VersionMismatch,
        Self::NoDaemon,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The number that JSON-RPC wants beside the word.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::ParseError => -32_700,
            Self::InvalidRequest => -32_600,
            Self::MethodNotFound => -32_601,
            Self::InvalidArgument => -32_602,
            Self::Internal => -32_603,
            Self::NotFound => 1,
            Self::PermissionDenied => 2,
            Self::FailedPrecondition => 3,
            Self::ResourceExhausted => 4,
            Self::FrameTooLarge => 5,
            Self::VersionMismatch => 6,
            Self::NoDaemon => 7,
            Self::Unavailable => 8,
        }
    }

    /// The exit code of `qrm`: 2 refused, 3 no daemon or another version, 4 the daemon failed.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::VersionMismatch | Self::NoDaemon => 3,
            Self::Unavailable | Self::Internal => 4,
            _ => 2,
        }
    }
}

/// A refusal or a failure, as it travels and as it is printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// For programs.
    pub code: Code,
    /// For people: what happened, naming the thing.
    pub message: String,
    /// For people: what would work.
    #[serde(default)]
    pub hint: Option<String>,
}

impl Error {
    /// An error without a hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// The same error with what would work.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An argument that can not be meant.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }
}

/// The nearest of `known` to what was typed, if it is near enough to be meant (at most a third of it differs).
#[must_use]
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let longest = typed.chars().count();
    known
        .into_iter()
        .map(|word| (edit_distance(typed, word), word))
        .filter(|(far, word)| *far <= 1.max(longest.max(word.chars().count()) / 3))
        .min_by_key(|(far, _)| *far)
        .map(|(_, word)| word)
}

/// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let same = a[i - 1] == b[j - 1];
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + usize::from(!same));
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = last;
        last = row;
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered_only_when_it_is_near() {
        let known = ["state", "user", "queue"];
        assert_eq!(nearest("sttae", known), Some("state"));
        assert_eq!(nearest("usr", known), Some("user"));
        assert_eq!(nearest("priority", known), None);
    }
}
