//! Amounts that people type: sizes and priorities. Integers only; what they are amounts of is not known here.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The text is not an amount; says what one looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not {what}")]
pub struct BadAmount {
    text: String,
    what: &'static str,
}

/// A size in bytes, typed as `512M`, `10G`, `1.5T` or a plain number of bytes; units are binary (1 K = 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

const UNITS: &str = "BKMGTP";

impl FromStr for Bytes {
    type Err = BadAmount;

    fn from_str(text: &str) -> Result<Self, BadAmount> {
        let bad = || BadAmount { text: text.to_owned(), what: "a size; write 512M, 10G or a number of bytes" };
        let upper = text.trim().to_ascii_uppercase();
        let digits = upper.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(upper.len());
        let (number, unit) = upper.split_at(digits);
        let mut unit = unit.trim().chars();
        let power = unit.next().map_or(Some(0), |letter| UNITS.find(letter)).ok_or_else(bad)?;
        if !matches!((power, unit.as_str()), (_, "") | (1.., "B" | "IB")) {
            return Err(bad());
        }
        let scale = 1u128 << (10 * power);
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        // A part of a byte is none; who writes one has forgotten the unit.
        if whole.is_empty()
            || power == 0 && !part.is_empty()
            || part.len() > 9
            || part.contains('.')
            || (number.ends_with('.'))
        {
            return Err(bad());
        }
        let whole: u128 = whole.parse().map_err(|_| bad())?;
        let part_value: u128 = if part.is_empty() { 0 } else { part.parse().map_err(|_| bad())? };
        let fraction = part_value * scale / 10u128.pow(u32::try_from(part.len()).map_err(|_| bad())?);
        let bytes = whole.checked_mul(scale).and_then(|b| b.checked_add(fraction)).ok_or_else(bad)?;
        // Signed 64 bits is what the store and JSON readers can hold.
        i64::try_from(bytes).map(|b| Self(b.unsigned_abs())).map_err(|_| bad())
    }
}

impl fmt::Display for Bytes {
    /// At most four significant characters and a unit: `999B`, `1.5G`, `512M`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut power = 0;
        while power + 1 < UNITS.len() && self.0 >> (10 * (power + 1)) > 0 {
            power += 1;
        }
        let unit = &UNITS[power..=power];
        let scale = 1u64 << (10 * power);
        let whole = self.0 / scale;
        let tenth = (self.0 % scale) * 10 / scale;
        let text = if whole < 10 && tenth > 0 { format!("{whole}.{tenth}{unit}") } else { format!("{whole}{unit}") };
        f.pad(&text)
    }
}

/// How urgent a job is, 0 to 100; typed as a number or as low (25), normal (50), high (75), critical (100).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Priority(u8);

impl Priority {
    /// What a job has that asks for nothing.
    pub const NORMAL: Self = Self(50);

    /// 0 to 100.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}

impl TryFrom<u64> for Priority {
    type Error = BadAmount;
    fn try_from(n: u64) -> Result<Self, BadAmount> {
        u8::try_from(n).ok().filter(|n| *n <= 100).map(Self).ok_or_else(|| bad_priority(&n.to_string()))
    }
}

impl From<Priority> for u64 {
    fn from(p: Priority) -> u64 {
        p.0.into()
    }
}

fn bad_priority(text: &str) -> BadAmount {
    BadAmount { text: text.to_owned(), what: "a priority; write 0 to 100, low, normal, high or critical" }
}

impl FromStr for Priority {
    type Err = BadAmount;
    fn from_str(text: &str) -> Result<Self, BadAmount> {
        match text {
            "low" => Ok(Self(25)),
            "normal" => Ok(Self(50)),
            "high" => Ok(Self(75)),
            "critical" => Ok(Self(100)),
            number => number.parse::<u64>().map_err(|_| bad_priority(text))?.try_into(),
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("1k", 1024),
            ("512M", 512 << 20),
            ("10GiB", 10 << 30),
            ("1.5G", 3 << 29),
            ("2 TB", 2 << 40),
        ] {
            assert_eq!(text.parse::<Bytes>().unwrap(), Bytes(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "G",
            "-1G",
            "1X",
            "1.2.3G",
            "1.",
            ".5G",
            "99999999999P",
            "1GG",
            "10 000",
            "0.5",
            "1.5B",
            "5BB",
            "1GBB",
            "1GIBIB",
            "1IB",
            "1BIB",
        ] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_print_short() {
        for (bytes, text) in [(0, "0B"), (1023, "1023B"), (1536, "1.5K"), (10 << 30, "10G"), (u64::MAX >> 1, "8191P")] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
