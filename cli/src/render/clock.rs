//! Times for people: of the day, and from now.
//! It refuses to look at a clock but once.

use jiff::tz::TimeZone;
use qrm_protocol::time::{Millis, Timestamp};

/// The present, and where one is.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    pub now: Timestamp,
    pub zone: TimeZone,
}

impl Clock {
    /// By the wall clock, in the zone of this process.
    pub(crate) fn here() -> Self {
        Self { now: Timestamp(jiff::Timestamp::now().as_millisecond()), zone: TimeZone::system() }
    }

    /// A time of day if it is today, else the date with it.
    pub(crate) fn when(&self, at: Timestamp) -> String {
        self.shown(at, "%H:%M:%S")
    }

    /// The same to the minute.
    pub(crate) fn minute(&self, at: Timestamp) -> String {
        self.shown(at, "%H:%M")
    }

    fn shown(&self, at: Timestamp, today: &str) -> String {
        let (at, now) = (at.zoned(self.zone.clone()), self.now.zoned(self.zone.clone()));
        at.strftime(if at.date() == now.date() { today } else { "%Y-%m-%d %H:%M" }).to_string()
    }

    /// How far it is: `in 2h05m`, `now`, `5m00s ago`.
    pub(crate) fn far(&self, at: Timestamp) -> String {
        match (at.since(self.now), self.now.since(at)) {
            (Millis(0..1_000), Millis(0..1_000)) => "now".to_owned(),
            (Millis(0), ago) => format!("{ago} ago"),
            (left, _) => format!("in {left}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_its_date_unless_that_is_today() {
        let at = |text: &str| text.parse::<jiff::Timestamp>().map(|at| Timestamp(at.as_millisecond())).unwrap();
        let clock = Clock { now: at("2026-03-01T23:00:00Z"), zone: TimeZone::UTC };
        for (time, when, minute, far) in [
            ("2026-03-01T23:59:59Z", "23:59:59", "23:59", "in 59m59s"),
            ("2026-03-02T01:05:00Z", "2026-03-02 01:05", "2026-03-02 01:05", "in 2h05m"),
            ("2026-03-01T23:00:00.5Z", "23:00:00", "23:00", "now"),
            ("2026-03-01T22:55:00Z", "22:55:00", "22:55", "5m00s ago"),
        ] {
            let time = at(time);
            assert_eq!(
                (clock.when(time), clock.minute(time), clock.far(time)),
                (when.into(), minute.into(), far.into())
            );
        }
    }
}
