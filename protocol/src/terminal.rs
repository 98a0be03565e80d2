//! The size of a terminal, and what is said over the socket of `job.attach` and `job.exec`.
//! It refuses to know either end of it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How large a terminal is: lines and characters in each, as `24x80`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size {
    rows: u16,
    cols: u16,
}

impl Size {
    /// The longest side of a terminal.
    pub const LONGEST: u16 = 9_999;
    /// The one of a terminal of which nobody says how large it is.
    pub const USUAL: Self = Self { rows: 24, cols: 80 };

    /// So many lines of so many characters, if a terminal can be like that.
    #[must_use]
    pub fn new(rows: u16, cols: u16) -> Option<Self> {
        let is_good = |side| (1..=Self::LONGEST).contains(&side);
        (is_good(rows) && is_good(cols)).then_some(Self { rows, cols })
    }

    /// Lines.
    #[must_use]
    pub fn rows(self) -> u16 {
        self.rows
    }

    /// Characters in each.
    #[must_use]
    pub fn cols(self) -> u16 {
        self.cols
    }

    /// As [`WINDOW`] says it.
    #[must_use]
    pub fn to_message(self) -> [u8; 4] {
        let ([a, b], [c, d]) = (self.rows.to_be_bytes(), self.cols.to_be_bytes());
        [a, b, c, d]
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.rows, self.cols)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let sides = text.split_once('x').and_then(|(rows, cols)| Some((rows.parse().ok()?, cols.parse().ok()?)));
        sides.and_then(|(rows, cols)| Self::new(rows, cols)).ok_or_else(|| {
            let shown: String = text.escape_default().take(40).collect();
            format!(
                "'{shown}' is not the size of a terminal; one is lines x columns, as 24x80, each at most {}",
                Self::LONGEST
            )
        })
    }
}

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

/// To the job: bytes that were typed, at most [`MOST`].
pub const INPUT: u8 = b'i';
/// To the job: the size of the terminal that it is seen on; rows and columns, two bytes each, the higher one first.
pub const WINDOW: u8 = b'w';
/// To a command of `job.exec`: a signal, a byte.
pub const SIGNAL: u8 = b's';
/// To a command of `job.exec` without a terminal, first: begin, on the three descriptors that come along.
pub const BEGIN: u8 = b'b';
/// From the job: bytes that were written.
pub const OUTPUT: u8 = b'o';
/// From a command of `job.exec`, last: its exit code, or 128 + its signal; which step towards it failed, [`NOT_FOUND`]
/// for that it could not be executed, and the number of the error, both 0 if it was. Four bytes each, the highest one
/// first.
pub const END: u8 = b'e';
/// From the job: as many look on as may.
pub const FULL: u8 = b'f';
/// The step of [`END`] that is the last before a command runs: executing it.
pub const NOT_FOUND: i32 = 12;
/// The most bytes that follow the first of a message.
pub const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_two_numbers_that_a_terminal_can_have() {
        assert_eq!("24x80".parse::<Size>(), Ok(Size::USUAL));
        assert_eq!(serde_json::to_string(&Size::USUAL).unwrap(), "\"24x80\"");
        for text in ["", "x", "24", "24x", "0x80", "24x0", "10000x80", "24x80x1", "-1x80", "24X80", "99999x99999"] {
            let why = text.parse::<Size>().unwrap_err();
            assert!(why.contains("as 24x80"), "{why}");
        }
    }
}
