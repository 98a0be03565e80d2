//! What a job says of how far it is. It refuses to believe or doubt it.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest message, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 256;

/// How much is done, from nothing to all, in millionths. On the wire a number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Fraction(u32);

/// The text is not a fraction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not how much is done; write 0.4, or 40%, from 0 to 1")]
pub struct BadFraction(String);

impl Fraction {
    /// All of it, in millionths.
    const ALL: u32 = 1_000_000;

    /// Of so many millionths; what is more than all is all.
    #[must_use]
    pub fn from_millionths(millionths: u32) -> Self {
        Self(millionths.min(Self::ALL))
    }

    /// In millionths.
    #[must_use]
    pub fn millionths(self) -> u32 {
        self.0
    }
}

impl TryFrom<f64> for Fraction {
    type Error = BadFraction;

    fn try_from(fraction: f64) -> Result<Self, BadFraction> {
        if !(0.0..=1.0).contains(&fraction) {
            return Err(BadFraction(fraction.to_string()));
        }
        // It is from 0 to a million.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(Self((fraction * f64::from(Self::ALL)).round() as u32))
    }
}

impl From<Fraction> for f64 {
    fn from(fraction: Fraction) -> Self {
        Self::from(fraction.0) / Self::from(Fraction::ALL)
    }
}

impl FromStr for Fraction {
    type Err = BadFraction;

    fn from_str(text: &str) -> Result<Self, BadFraction> {
        let bad = || BadFraction(text.to_owned());
        let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
        let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let fraction: f64 = number.parse().ok().filter(|_| plain).ok_or_else(bad)?;
        Self::try_from(fraction / scale).map_err(|_| bad())
    }
}

impl fmt::Display for Fraction {
    /// Whole percents; all only if it is all.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}%", self.0 / (Self::ALL / 100)))
    }
}

/// What a job says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Progress {
    /// How much is done, 0 to 1.
    pub fraction: Fraction,
    /// For people.
    pub message: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_read_as_people_write_them_and_shown_as_percents() {
        for (text, millionths, shown) in [
            ("0", 0, "0%"),
            ("0.4", 400_000, "40%"),
            ("40%", 400_000, "40%"),
            ("1", 1_000_000, "100%"),
            ("0.9999999", 1_000_000, "100%"),
            ("0.999", 999_000, "99%"),
        ] {
            let fraction: Fraction = text.parse().unwrap();
            assert_eq!((fraction.millionths(), fraction.to_string().as_str()), (millionths, shown), "{text}");
            let wire = serde_json::to_string(&fraction).unwrap();
            assert_eq!(serde_json::from_str::<Fraction>(&wire).unwrap(), fraction);
        }
        for text in ["", "%", "-0.1", "1.1", "101%", "nan", "inf", "1e-3", "half", "0.4 "] {
            assert!(text.parse::<Fraction>().is_err(), "{text}");
        }
    }
}
