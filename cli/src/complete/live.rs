//! What the daemon knows that a line could go on with: ids above all, the newest first.
//! It refuses to wait longer than a finger does between two keys, and to start a daemon that does not run.

use qrm_protocol::client::Client;
use qrm_protocol::error::Error;
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::{JobState, JobView};
use qrm_protocol::method::{JobList, ListParams};
use qrm_protocol::place;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// All that is asked for one completion may take so long, so that the whole of it stays below 50 ms.
const PATIENCE: Duration = Duration::from_millis(40);
/// So many ids are offered; more than a screen of them helps nobody.
const MOST: usize = 50;
/// So many jobs are looked at in one call.
const PAGE: u32 = 100;

/// The jobs that a verb could be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The newest, whatever they do.
    Recent,
    /// Those that may have written something.
    Started,
    /// Those that have ended.
    Ended,
    /// Those that have not ended.
    Live,
    /// Those that could be held.
    Waiting,
    Held,
    /// Those whose processes run.
    Running,
    Suspended,
}

impl Which {
    /// What the daemon can sort out.
    fn terms(self) -> Vec<String> {
        let states = match self {
            Self::Recent | Self::Started => return Vec::new(),
            Self::Ended => "ended",
            Self::Live => "live",
            Self::Waiting | Self::Held => "pending,validating,compiling,queued",
            Self::Running | Self::Suspended => "executing",
        };
        vec![format!("state={states}")]
    }

    /// What is left to us.
    fn is(self, job: &JobView) -> bool {
        let says = |why: &str| job.waiting_reason.as_deref() == Some(why);
        match self {
            Self::Started => job.started_at.is_some() || job.tasks.is_some_and(|tasks| tasks.waiting < tasks.total),
            Self::Live => !job.state.is_terminal(),
            Self::Waiting => job.id.task.is_none() && !says("held"),
            Self::Held => job.id.task.is_none() && says("held"),
            Self::Running => job.state == JobState::Executing && !says("suspended"),
            Self::Suspended => says("suspended"),
            Self::Recent | Self::Ended => true,
        }
    }
}

/// Asks a daemon that runs; nothing if none does, if it takes too long, or if anything is wrong with it.
pub(super) fn ask<T: Send + 'static>(call: impl FnOnce(Client) -> Result<T, Error> + Send + 'static) -> Option<T> {
    static UNTIL: OnceLock<Instant> = OnceLock::new();
    let until = *UNTIL.get_or_init(|| Instant::now() + PATIENCE);
    let (tell, told) = channel();
    // Connecting may block, too. Who is not done in time ends with this process.
    std::thread::spawn(move || {
        let place = place::find(socket().as_deref(), |name| std::env::var_os(name));
        let answer = place.and_then(|place| Client::connect(&place.socket)).and_then(call);
        // Nobody listens any more once it is too late.
        tell.send(answer).ok();
    });
    told.recv_timeout(until.saturating_duration_since(Instant::now())).ok()?.ok()
}

/// `--socket` on the line that is completed.
fn socket() -> Option<PathBuf> {
    let mut words = super::line().into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            return None;
        }
        if word == "--socket" {
            return words.next().filter(|path| path != "=").or_else(|| words.next()).map(Into::into);
        }
        if let Some(path) = word.to_str().and_then(|word| word.strip_prefix("--socket=")) {
            return Some(path.into());
        }
    }
    None
}

/// Jobs whose id begins with what was typed, the newest first. If they are too many, there is at least one for each
/// way to go on: what all of them begin with, a shell writes into the line by itself.
pub(super) fn beginning_with(typed: &str, which: Which) -> Vec<JobView> {
    let (array, digits) = match typed.split_once('.') {
        None => (None, typed),
        Some((array, task)) => match array.parse::<JobRef>() {
            Ok(array) => (Some(array.job), task),
            Err(_) => return Vec::new(),
        },
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || digits.len() > 15 {
        return Vec::new();
    }
    let digits = digits.to_owned();
    ask(move |client| Search { client, which, array, last: u64::MAX }.all(digits)).unwrap_or_default()
}

/// A search among job ids, or among the tasks of one array.
struct Search {
    client: Client,
    which: Which,
    array: Option<JobId>,
    /// No number is larger.
    last: u64,
}

impl Search {
    fn all(mut self, mut digits: String) -> Result<Vec<JobView>, Error> {
        self.last = match self.page(None, 1)?.0.first() {
            Some(newest) => self.number(newest),
            None => return Ok(Vec::new()),
        };
        let mut found = self.newest(&digits, MOST)?;
        if found.len() < MOST {
            return Ok(found);
        }
        loop {
            let next = |job: &JobView| self.number(job).to_string().as_bytes().get(digits.len()).copied();
            let seen: BTreeSet<Option<u8>> = found.iter().map(next).collect();
            for digit in (b'0'..=b'9').filter(|digit| !seen.contains(&Some(*digit))) {
                found.extend(self.newest(&format!("{digits}{}", char::from(digit)), 1)?);
            }
            match seen.first() {
                Some(Some(digit)) if seen.len() == 1 && found.len() == MOST => digits.push(char::from(*digit)),
                _ => return Ok(found),
            }
        }
    }

    /// The newest whose number begins with these digits.
    fn newest(&mut self, digits: &str, most: usize) -> Result<Vec<JobView>, Error> {
        let mut found = Vec::new();
        for (low, high) in numbers(digits, self.last).into_iter().rev() {
            let mut before = (high < self.last).then_some(high + 1);
            loop {
                let (jobs, more) = self.page(before, PAGE.min(u32::try_from(most).unwrap_or(PAGE) * 2))?;
                let within = jobs.into_iter().take_while(|job| self.number(job) >= low).collect::<Vec<_>>();
                let last = within.last().map(|job| self.number(job)).filter(|last| more && *last > low);
                found.extend(within.into_iter().filter(|job| self.which.is(job)));
                if found.len() >= most {
                    found.truncate(most);
                    return Ok(found);
                }
                match last {
                    Some(_) => before = last,
                    None => break,
                }
            }
        }
        Ok(found)
    }

    /// The newest below a number, and whether there are more of them.
    fn page(&mut self, before: Option<u64>, limit: u32) -> Result<(Vec<JobView>, bool), Error> {
        let mut filter = self.which.terms();
        filter.extend(self.array.map(|array| array.to_string()));
        let before = before.map(|end| match self.array {
            Some(array) => JobRef::task(array, u32::try_from(end).unwrap_or(u32::MAX)),
            None => JobRef::whole(JobId(end)),
        });
        let reply = self.client.call::<JobList>(&ListParams { filter, limit: Some(limit), before })?;
        let fits = |job: &JobView| self.array.is_none() || job.id.task.is_some();
        Ok((reply.jobs.into_iter().filter(fits).collect(), reply.more))
    }

    fn number(&self, job: &JobView) -> u64 {
        match (self.array, job.id.task) {
            (Some(_), Some(task)) => task.into(),
            _ => job.id.job.0,
        }
    }
}

/// The numbers up to the last that begin with these digits, from and to, the smaller ones first.
fn numbers(digits: &str, last: u64) -> Vec<(u64, u64)> {
    let Ok(low) = digits.parse::<u64>() else { return vec![(0, last)] };
    if digits.starts_with('0') {
        return if digits == "0" { vec![(0, 0)] } else { Vec::new() };
    }
    let ranges = std::iter::successors(Some((low, low)), |(low, high)| {
        Some((low.checked_mul(10)?, high.checked_mul(10)?.checked_add(9)?))
    });
    ranges.take_while(|(low, _)| *low <= last).map(|(low, high)| (low, high.min(last))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_that_begin_with_digits_are_few_ranges() {
        for (digits, last, ranges) in [
            ("", 12, vec![(0, 12)]),
            ("5", 4, vec![]),
            ("5", 623, vec![(5, 5), (50, 59), (500, 599)]),
            ("5", 512, vec![(5, 5), (50, 59), (500, 512)]),
            ("12", 12, vec![(12, 12)]),
            ("0", 9, vec![(0, 0)]),
            ("00", 9, vec![]),
        ] {
            assert_eq!(numbers(digits, last), ranges, "{digits} of {last}");
        }
    }
}
