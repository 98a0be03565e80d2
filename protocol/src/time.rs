//! Time as people write it: durations (`90s`, `1d12h`), instants (`18:00`, `tomorrow 9:00`, RFC 3339).
//! It refuses to read a clock: the present is an argument.

use jiff::{Zoned, civil, tz::TimeZone};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A span in milliseconds, typed as `90s`, `15m`, `2h`, `1d12h`, `250ms`, or a plain number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

/// The longest duration that is taken: a hundred years, so that sums with clocks never overflow.
pub const MAX_DURATION: Millis = Millis(100 * 365 * 24 * 3_600_000);

/// An instant of the wall clock, in milliseconds since 1970 UTC. On the wire it is RFC 3339 with a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Timestamp(pub i64);

/// The text is not a time; says what one looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTime {
    /// Not a duration.
    #[error("'{0}' is not a duration; write 90s, 15m, 2h or 1d12h")]
    Duration(String),
    /// A duration beyond [`MAX_DURATION`].
    #[error("'{0}' is too long; a duration is at most a hundred years")]
    TooLong(String),
    /// Not an instant.
    #[error("'{0}' is not a time; write 18:00, 'tomorrow 9:00', +2h or 2026-01-31T18:00:00Z")]
    Instant(String),
}

impl FromStr for Millis {
    type Err = BadTime;

    fn from_str(text: &str) -> Result<Self, BadTime> {
        let bad = || BadTime::Duration(text.to_owned());
        let long = || BadTime::TooLong(text.to_owned());
        let trimmed = text.trim();
        if !trimmed.is_empty() && trimmed.bytes().all(|b| b.is_ascii_digit()) {
            let seconds = trimmed.parse::<u64>().ok();
            return seconds.and_then(|s| s.checked_mul(1000)).map(Self).filter(|d| *d <= MAX_DURATION).ok_or_else(long);
        }
        let mut rest = trimmed;
        let mut total: u64 = 0;
        let mut smallest = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
            let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
            rest = &rest[digits..];
            let unit_end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let unit = match &rest[..unit_end] {
                "ms" => 1,
                "s" | "sec" => 1_000,
                "m" | "min" => 60_000,
                "h" => 3_600_000,
                "d" => 24 * 3_600_000,
                "w" => 7 * 24 * 3_600_000,
                _ => return Err(bad()),
            };
            // `1h1d` and `1h1h` are mistakes more often than sums.
            if unit >= smallest {
                return Err(bad());
            }
            smallest = unit;
            rest = &rest[unit_end..];
            total = number.checked_mul(unit).and_then(|n| n.checked_add(total)).ok_or_else(long)?;
        }
        match total {
            _ if trimmed.is_empty() => Err(bad()),
            total if Self(total) > MAX_DURATION => Err(long()),
            total => Ok(Self(total)),
        }
    }
}

impl fmt::Display for Millis {
    /// The two largest units that are there: `1d12h`, `2m05s`, `4.2s`, `17ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0;
        let (s, m, h, d) = (ms / 1000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
        let text = match () {
            () if ms < 1_000 => format!("{ms}ms"),
            () if s < 10 => format!("{s}.{}s", ms % 1000 / 100),
            () if m == 0 => format!("{s}s"),
            () if h == 0 => format!("{m}m{:02}s", s % 60),
            () if d == 0 => format!("{h}h{:02}m", m % 60),
            () => format!("{d}d{:02}h", h % 24),
        };
        f.pad(&text)
    }
}

impl Timestamp {
    /// The instant later by a duration; saturates.
    #[must_use]
    pub fn plus(self, d: Millis) -> Self {
        Self(self.0.saturating_add(i64::try_from(d.0).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Millis {
        Millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// In a time zone; instants outside of what a calendar can say become its first or last one.
    #[must_use]
    pub fn zoned(self, zone: TimeZone) -> Zoned {
        // By seconds and the rest: in milliseconds alone, jiff leaves out the last second that it can say.
        let nanoseconds = i32::try_from(self.0.rem_euclid(1_000) * 1_000_000).unwrap_or(0);
        let instant = jiff::Timestamp::new(self.0.div_euclid(1_000), nanoseconds);
        let outside = if self.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        let instant = instant.unwrap_or(outside);
        instant.to_zoned(zone)
    }

    /// What a person means by a time: RFC 3339, `+2h`, `HH:MM[:SS]` (the next one), `today|tomorrow HH:MM`,
    /// `YYYY-MM-DD[ HH:MM[:SS]]`, `now`. Without a zone, that of `now`.
    ///
    /// # Errors
    /// It is none of these.
    pub fn parse(text: &str, now: &Zoned) -> Result<Self, BadTime> {
        let bad = || BadTime::Instant(text.to_owned());
        let text_trimmed = text.trim();
        if text_trimmed == "now" {
            return Ok(Self(now.timestamp().as_millisecond()));
        }
        if let Ok(exact) = text_trimmed.parse::<jiff::Timestamp>() {
            return Ok(Self(exact.as_millisecond()));
        }
        if let Some(span) = text_trimmed.strip_prefix('+') {
            let span: Millis = span.parse().map_err(|_| bad())?;
            return Ok(Self(now.timestamp().as_millisecond()).plus(span));
        }
        let at = |day: civil::Date, clock: civil::Time| {
            let zoned = day.to_datetime(clock).to_zoned(now.time_zone().clone()).map_err(|_| bad())?;
            Ok(Self(zoned.timestamp().as_millisecond()))
        };
        let (day, clock) = text_trimmed.split_once([' ', 'T']).unwrap_or(("", text_trimmed));
        let today = now.date();
        if day.is_empty() {
            if let Ok(date) = text_trimmed.parse::<civil::Date>() {
                return at(date, civil::Time::midnight());
            }
            let clock = clock_time(clock).ok_or_else(bad)?;
            let day = if clock > now.time() { today } else { today.tomorrow().map_err(|_| bad())? };
            return at(day, clock);
        }
        let day = match day {
            "today" => today,
            "tomorrow" => today.tomorrow().map_err(|_| bad())?,
            date => date.parse().map_err(|_| bad())?,
        };
        at(day, clock_time(clock.trim()).ok_or_else(bad)?)
    }
}

fn clock_time(text: &str) -> Option<civil::Time> {
    let mut parts = text.split(':');
    let mut next = |most: i8| -> Option<i8> {
        let part = parts.next()?;
        let number: i8 = part.parse().ok()?;
        ((1..=2).contains(&part.len()) && (0..=most).contains(&number)).then_some(number)
    };
    let (hour, minute) = (next(23)?, next(59)?);
    let second = if text.matches(':').count() > 1 { next(59)? } else { 0 };
    if parts.next().is_some() {
        return None;
    }
    civil::Time::new(hour, minute, second, 0).ok()
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with milliseconds; years before Christ with a sign and six digits, so that it reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.zoned(TimeZone::UTC).timestamp())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        let instant: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Self(instant.as_millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_add_their_units_from_large_to_small() {
        for (text, ms) in [("90s", 90_000), ("15m", 900_000), ("1d12h", 129_600_000), ("250ms", 250), ("7", 7_000)] {
            assert_eq!(text.parse::<Millis>().unwrap(), Millis(ms), "{text}");
        }
        for text in ["", "s", "1x", "-5s", "5s3", "1h1d", "1h1h", "1.5h", "99999999999999999999d", "101w9999999d"] {
            assert!(text.parse::<Millis>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_print_their_two_largest_units() {
        for (ms, text) in
            [(17, "17ms"), (4_250, "4.2s"), (61_000, "1m01s"), (7_260_000, "2h01m"), (90_000_000, "1d01h")]
        {
            assert_eq!(Millis(ms).to_string(), text);
        }
    }

    #[test]
    fn every_instant_that_is_read_is_written_so_that_it_reads_back() {
        for text in [
            "2026-01-31T18:00:00.250Z",
            "1969-12-31T23:59:59.999Z",
            "0007-01-01T00:00:00.000Z",
            "-000001-12-31T23:59:59.999Z",
            "-009999-01-02T01:59:59.000Z",
            "9999-12-30T22:00:00.499Z",
            "9999-12-30T22:00:00.999Z",
        ] {
            let wire = format!("\"{text}\"");
            let instant: Timestamp = serde_json::from_str(&wire).unwrap();
            assert_eq!(serde_json::to_string(&instant).unwrap(), wire);
        }
    }

    #[test]
    fn an_instant_is_the_next_one_that_the_words_mean() {
        let now: Zoned = "2026-03-01T12:00:00[UTC]".parse().unwrap();
        for (text, want) in [
            ("18:00", "2026-03-01T18:00:00.000Z"),
            ("9:30", "2026-03-02T09:30:00.000Z"),
            ("tomorrow 9:00", "2026-03-02T09:00:00.000Z"),
            ("today 9:00", "2026-03-01T09:00:00.000Z"),
            ("+2h", "2026-03-01T14:00:00.000Z"),
            ("2026-04-01", "2026-04-01T00:00:00.000Z"),
            ("2026-04-01 07:08:09", "2026-04-01T07:08:09.000Z"),
            ("2026-04-01T07:08:09+02:00", "2026-04-01T05:08:09.000Z"),
        ] {
            assert_eq!(Timestamp::parse(text, &now).unwrap().to_string(), want, "{text}");
        }
        for text in ["", "25:00", "18:60", "noon", "tomorrow", "1:2:3:4", "+x", "2026-13-01", "18"] {
            assert!(Timestamp::parse(text, &now).is_err(), "{text}");
        }
    }
}
