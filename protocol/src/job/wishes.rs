//! How a job wants to be placed beside others: what it waits for, its alternatives, and what is done when it can not have
//! what it asks for. It refuses to know whether it can.

use super::is_default;
use super::spec::{bytes, millis};
use crate::amount::Bytes;
use crate::ids::{BadJobRef, JobId, JobRef};
use crate::time::Millis;
use crate::wire::{one_of_words, text_on_the_wire};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The most alternatives of one job.
pub const MAX_VARIANTS: usize = 8;

/// Another job that one waits for: `12`, its task `12.3`, or, for an array, of `12.*` the task with the same index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DependsOn {
    /// A job, or one task.
    One(JobRef),
    /// Each task waits for the task with its index.
    Each(JobId),
}

impl DependsOn {
    /// The job that is meant, or whose tasks are.
    #[must_use]
    pub fn job(self) -> JobId {
        match self {
            Self::One(on) => on.job,
            Self::Each(job) => job,
        }
    }

    /// The same of another job.
    #[must_use]
    pub fn of(self, job: JobId) -> Self {
        match self {
            Self::One(on) => Self::One(JobRef { job, ..on }),
            Self::Each(_) => Self::Each(job),
        }
    }
}

impl From<JobRef> for DependsOn {
    fn from(on: JobRef) -> Self {
        Self::One(on)
    }
}

impl FromStr for DependsOn {
    type Err = BadJobRef;

    fn from_str(text: &str) -> Result<Self, BadJobRef> {
        let Some(job) = text.strip_suffix(".*") else { return text.parse().map(Self::One) };
        match job.parse::<JobRef>() {
            Ok(JobRef { job, task: None }) => Ok(Self::Each(job)),
            _ => Err(BadJobRef(text.to_owned())),
        }
    }
}

impl fmt::Display for DependsOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(on) => on.fmt(f),
            Self::Each(job) => write!(f, "{job}.*"),
        }
    }
}

text_on_the_wire!(DependsOn, OfferId);

/// What is done when a job can not have at once what it asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// It waits, and those of higher rank go first: priority, age and fair share decide.
    #[default]
    Priority,
    /// And preemptible jobs of a lower class make room for it.
    Preemption,
    /// What it wants for itself alone it takes shared, if it can have that.
    Sharing,
    /// It waits; its priority counts as 50 and its fair shares as a half, so that among such jobs age alone decides.
    Queuing,
    /// It waits, and is offered what it could have instead, once, when it is submitted alone and only room is wanting.
    Negotiation,
}

impl OnConflict {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Priority, Self::Preemption, Self::Sharing, Self::Queuing, Self::Negotiation];

    /// The word on the wire, in the configuration and in options.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Priority => "priority",
            Self::Preemption => "preemption",
            Self::Sharing => "sharing",
            Self::Queuing => "queuing",
            Self::Negotiation => "negotiation",
        }
    }
}

one_of_words!(OnConflict);

/// What a job would take instead of what it asks for first; what is absent is as there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "RawVariant")]
pub struct Variant {
    /// Cpus.
    #[serde(skip_serializing_if = "is_default")]
    pub cpus: Option<u32>,
    /// Memory; 0 is not counted.
    #[serde(skip_serializing_if = "is_default")]
    pub mem_bytes: Option<Bytes>,
    /// Room for files; 0 is no directory for them.
    #[serde(skip_serializing_if = "is_default")]
    pub disk_bytes: Option<Bytes>,
    /// How long its command may run then; 0 is for ever.
    #[serde(skip_serializing_if = "is_default")]
    pub time_limit_ms: Option<Millis>,
    /// Whether it wants the machine for itself.
    #[serde(skip_serializing_if = "is_default")]
    pub exclusive: Option<bool>,
}

/// The JSON of an alternative: the keys of a [`Variant`], and the options' names with the texts that people type.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, expecting = "an alternative, which is an object such as {\"cpus\": 2, \"mem\": \"8G\"}")]
struct RawVariant {
    cpus: Option<u32>,
    /// Memory as people write it, as 8G, instead of `mem_bytes`.
    mem: Option<String>,
    mem_bytes: Option<u64>,
    /// Room for files as people write it, as 20G, instead of `disk_bytes`.
    disk: Option<String>,
    disk_bytes: Option<u64>,
    /// A time limit as people write it, as 90m, instead of `time_limit_ms`.
    time: Option<String>,
    time_limit_ms: Option<u64>,
    exclusive: Option<bool>,
}

impl TryFrom<RawVariant> for Variant {
    type Error = String;

    fn try_from(raw: RawVariant) -> Result<Self, String> {
        Ok(Self {
            cpus: raw.cpus,
            mem_bytes: bytes("mem", raw.mem, raw.mem_bytes)?,
            disk_bytes: bytes("disk", raw.disk, raw.disk_bytes)?,
            time_limit_ms: millis("time", raw.time, raw.time_limit_ms)?,
            exclusive: raw.exclusive,
        })
    }
}

impl fmt::Display for Variant {
    /// As it is written behind `--or`, with sizes and times rounded as they are for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.cpus.map(|cpus| format!("--cpus {cpus}")),
            self.mem_bytes.map(|mem| format!("--mem {mem}")),
            self.disk_bytes.map(|disk| format!("--disk {disk}")),
            self.time_limit_ms.map(|time| format!("--time {time}")),
            self.exclusive.map(|alone| if alone { "--exclusive" } else { "--shared" }.to_owned()),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}

/// Something that a job could have instead of waiting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Offer {
    /// It starts now with fewer cpus.
    Less {
        /// So many.
        cpus: u32,
    },
    /// It starts then, whatever else comes.
    At {
        /// When.
        start: crate::time::Timestamp,
    },
    /// It starts now, beside others.
    Share,
    /// It starts as soon as these have made room.
    Preempt {
        /// Which jobs.
        jobs: Vec<JobRef>,
        /// What they have done and would have to do again: time by cpus.
        lost_cpu_ms: u64,
    },
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Less { cpus } => write!(f, "start now with {cpus} cpu{}", if *cpus == 1 { "" } else { "s" }),
            Self::At { start } => {
                let local = start.zoned(jiff::tz::TimeZone::system());
                write!(f, "start at {}, for certain", local.strftime("%Y-%m-%d %H:%M:%S"))
            }
            Self::Share => f.write_str("start now, beside others"),
            Self::Preempt { jobs, lost_cpu_ms } => {
                let names: Vec<String> = jobs.iter().map(ToString::to_string).collect();
                let who = if jobs.len() == 1 { ("job", "has") } else { ("jobs", "have") };
                let (names, lost) = (names.join(", "), Millis(*lost_cpu_ms));
                write!(f, "start when {} {names} {} made room, at the cost of {lost} of cpu time", who.0, who.1)
            }
        }
    }
}

/// The id of an offer: that of its job and its place, `12-1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OfferId {
    /// To which job.
    pub job: JobId,
    /// From 1.
    pub place: u32,
}

/// The text is not the id of an offer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not the id of an offer, which is that of its job and a number, as 12-1")]
pub struct BadOfferId(String);

impl FromStr for OfferId {
    type Err = BadOfferId;

    fn from_str(text: &str) -> Result<Self, BadOfferId> {
        let bad = || BadOfferId(text.to_owned());
        let (job, place) = text.split_once('-').ok_or_else(bad)?;
        let job = match job.parse::<JobRef>() {
            Ok(JobRef { job, task: None }) => job,
            _ => return Err(bad()),
        };
        let is_plain = !place.is_empty() && place.bytes().all(|b| b.is_ascii_digit());
        let place = place.parse().ok().filter(|place| is_plain && *place >= 1).ok_or_else(bad)?;
        Ok(Self { job, place })
    }
}

impl fmt::Display for OfferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.job, self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_reads_back_as_written() {
        for text in ["12", "12.0", "12.*"] {
            assert_eq!(text.parse::<DependsOn>().unwrap().to_string(), text);
        }
        for text in ["*", "12.", "12.3.*", ".*", "12*", "0.*"] {
            assert!(text.parse::<DependsOn>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_alternative_takes_sizes_and_times_as_people_write_them() {
        let read = |json: &str| serde_json::from_str::<Variant>(json).map_err(|e| e.to_string());
        let variant = read(r#"{"cpus":2,"mem":"8G","disk":"1T","time":"90m","exclusive":false}"#).unwrap();
        assert_eq!(variant.to_string(), "--cpus 2 --mem 8G --disk 1T --time 1h30m --shared");
        assert_eq!(read(&serde_json::to_string(&variant).unwrap()).unwrap(), variant);
        for (json, says) in [
            (r#"{"cpu":2}"#, "unknown field `cpu`"),
            (r#"{"mem":"8G","mem_bytes":1}"#, "say the same thing"),
            (r#"{"time":"soon"}"#, "time: 'soon' is not a duration"),
            (r#""--cpus 2""#, "an object such as"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(says), "{json}: {error}");
        }
    }

    #[test]
    fn an_offer_of_room_says_who_makes_it() {
        for (jobs, text) in [
            (&["10"][..], "start when job 10 has made room, at the cost of 1m30s of cpu time"),
            (&["10", "11.3"], "start when jobs 10, 11.3 have made room, at the cost of 1m30s of cpu time"),
        ] {
            let jobs = jobs.iter().map(|job| job.parse().unwrap()).collect();
            assert_eq!(Offer::Preempt { jobs, lost_cpu_ms: 90_000 }.to_string(), text);
        }
    }

    #[test]
    fn an_offer_is_named_by_its_job_and_place() {
        assert_eq!("12-1".parse::<OfferId>().unwrap(), OfferId { job: JobId(12), place: 1 });
        for text in ["12", "12-0", "12-", "-1", "12.1-1", "12-+1", "12-1-1"] {
            assert!(text.parse::<OfferId>().is_err(), "{text}");
        }
    }
}
