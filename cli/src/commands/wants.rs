//! What a job asks for, and what of it `qrm update` changes: the options that submit, run, when and update share.
//! It refuses to know of any other.

use crate::complete::{signals, words};
use clap::Args;
use qrm_protocol::amount::{Bytes, Priority};
use qrm_protocol::signal::Signal;
use qrm_protocol::time::{Millis, Timestamp};

/// What is not given is as it was, or as it is by default.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Wants {
    /// A name for people; by default it is the program's.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// A remark for people; empty is none.
    #[arg(long, value_name = "TEXT")]
    pub comment: Option<String>,
    /// A label for people and filters (`qrm jobs label.NAME=VALUE`); an empty value is none. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    pub label: Vec<(String, String)>,
    /// How urgent: 0 to 100, or low (25), normal (50), high (75), critical (100); by default what its queue says, else 50.
    #[arg(long, value_name = "N", add = words(["low", "normal", "high", "critical"]))]
    pub priority: Option<Priority>,
    /// Cpus for it: counted, and its weight where there are too few; by default what its queue says, else 1; 0
    /// is legal.
    #[arg(long, value_name = "N", value_parser = count)]
    pub cpus: Option<u32>,
    /// Memory for it, as 512M or 10G: counted, and its limit, beyond which it is ended; 0 is neither.
    #[arg(long, value_name = "SIZE")]
    pub mem: Option<Bytes>,
    /// A scratch directory for it, of at most this size, as 20G: counted, told to it as QRM_SCRATCH_DIR and TMPDIR, and
    /// removed when it is over; 0 is none.
    #[arg(long, value_name = "SIZE")]
    pub disk: Option<Bytes>,
    /// The most processes and threads at once; 0, the default, is what limits.pids says.
    #[arg(long, value_name = "N", value_parser = count)]
    pub pids: Option<u32>,
    /// The most files that each of its processes may have open; 0, the default, is what you have.
    #[arg(long, value_name = "N", value_parser = count)]
    pub open_files: Option<u32>,
    /// Its share of the disks where several jobs want them, 1 to 10000; 0, the default, is 100.
    #[arg(long, value_name = "N", value_parser = count)]
    pub io_weight: Option<u32>,
    /// End it after this long, as 90s, 15m or 2h: --signal, --grace, KILL. Who submits none, or 0, has that of the queue,
    /// else none.
    #[arg(long, value_name = "DURATION")]
    pub time: Option<Millis>,
    /// What asks it to end, at its time limit and when it is cancelled: a name as USR1, or a number; by default
    /// TERM.
    #[arg(long, value_name = "SIGNAL", add = signals())]
    pub signal: Option<Signal>,
    /// How long it has after that before it is killed; by default 10s.
    #[arg(long, value_name = "DURATION")]
    pub grace: Option<Millis>,
    /// It times out if it has not started so long after it was submitted; of an array, those of its tasks that have not; 0
    /// is never.
    #[arg(long, value_name = "DURATION")]
    pub queue_timeout: Option<Millis>,
    /// It is over by then: one that waits times out, one that runs is ended as at its time limit.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub deadline: Option<Timestamp>,
    /// Not before this: 18:00, 'tomorrow 9:00', +2h, or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub begin: Option<Timestamp>,
    /// Run it again up to so many times when it fails.
    #[arg(long, value_name = "N", value_parser = count)]
    pub retries: Option<u32>,
}

impl Wants {
    /// These, and of the others what these do not say; labels are those of both.
    pub(crate) fn over(self, others: Self) -> Self {
        Self {
            name: self.name.or(others.name),
            comment: self.comment.or(others.comment),
            // The last one of a name counts.
            label: [others.label, self.label].concat(),
            priority: self.priority.or(others.priority),
            cpus: self.cpus.or(others.cpus),
            mem: self.mem.or(others.mem),
            disk: self.disk.or(others.disk),
            pids: self.pids.or(others.pids),
            open_files: self.open_files.or(others.open_files),
            io_weight: self.io_weight.or(others.io_weight),
            time: self.time.or(others.time),
            signal: self.signal.or(others.signal),
            grace: self.grace.or(others.grace),
            queue_timeout: self.queue_timeout.or(others.queue_timeout),
            deadline: self.deadline.or(others.deadline),
            begin: self.begin.or(others.begin),
            retries: self.retries.or(others.retries),
        }
    }
}

/// A time as people write it, from now.
pub(crate) fn instant(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text, &jiff::Zoned::now()).map_err(|e| e.to_string())
}

/// A number of things.
pub(crate) fn count(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("'{text}' is not a whole number from 0 to {}", u32::MAX))
}

/// `NAME=VALUE`; an empty value is none, which takes a label away where that can be meant.
fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, as in --label team=vision")?;
    Ok((name.to_owned(), value.to_owned()))
}
