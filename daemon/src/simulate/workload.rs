//! What all policies are asked to schedule: the jobs of a log that could run, with the load that is wanted.
//! It refuses to know any policy: whatever is made up where a log is silent is the same for all of them.

use super::swf::{Log, Record};
use qrm_protocol::error::Error;
use serde::Serialize;

/// The longest time that a log may be stretched to, in milliseconds: ten thousand years.
const MAX_SPAN_MS: f64 = 10_000.0 * 365.0 * 24.0 * 3_600_000.0;

/// Cpus and memory: of the machine, what is free of it, or what a job holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Cpus.
    pub cpus: u32,
    /// Bytes; 0 of the machine and of all jobs if memory is not counted.
    pub memory: u64,
}

impl Amount {
    /// Whether it can be taken from the other.
    pub fn fits(self, free: Self) -> bool {
        self.cpus <= free.cpus && self.memory <= free.memory
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self { cpus: self.cpus.saturating_add(other.cpus), memory: self.memory.saturating_add(other.memory) }
    }

    /// What is left without the other; nothing if that is more.
    pub fn less(self, other: Self) -> Self {
        Self { cpus: self.cpus.saturating_sub(other.cpus), memory: self.memory.saturating_sub(other.memory) }
    }
}

/// A job, as every policy is told of it when it is submitted; but for its run time, which nobody is told before it is over.
/// Times are in milliseconds, from the first submit on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its number in the log.
    pub number: u64,
    /// Whose it is; jobs of nobody known are those of one user.
    pub user: Option<u32>,
    /// When it comes.
    pub submit_ms: u64,
    /// For how long it runs: at least 1, at most what it asked for.
    pub run_ms: u64,
    /// For how long it asked to run.
    pub asked_ms: u64,
    /// What it holds meanwhile.
    pub holds: Amount,
}

/// Lines of a log that no policy sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// They ask for more than the whole machine.
    pub too_large: u64,
    /// They were cancelled before they ran, or nothing is known of how they ran.
    pub never_ran: u64,
    /// Parts of a job that is there as a whole.
    pub parts: u64,
}

/// What is to be scheduled.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// In the order in which they come; those that come at once in the order of the log.
    pub jobs: Vec<Job>,
    /// What was left out.
    pub dropped: Dropped,
    /// How many jobs ran for longer than they asked for, and are ended then.
    pub cut: u64,
    /// How many jobs did not say how long they would run, and are taken to have known it.
    pub unasked: u64,
    /// The part of the machine that the log's jobs would fill between the first submit and the last; nothing if all came at once.
    pub load: Option<f64>,
    /// What times of submits were multiplied by to come to the load that was wanted.
    pub stretched: Option<f64>,
}

impl Workload {
    /// What a machine like this can run of a log, at this load if one is wanted.
    ///
    /// # Errors
    /// Nothing of it can run there, or it can not have that load.
    pub fn of(log: &Log, machine: Amount, load: Option<f64>) -> Result<Self, Error> {
        let mut all = Self {
            jobs: Vec::with_capacity(log.records.len()),
            dropped: Dropped { parts: log.parts, ..Dropped::default() },
            cut: 0,
            unasked: 0,
            load: None,
            stretched: None,
        };
        for (record, line) in log.records.iter().zip(1..) {
            all.add(record, line, machine);
        }
        all.jobs.sort_by_key(|job| job.submit_ms);
        let (Some(first), Some(last)) = (all.jobs.first(), all.jobs.last()) else {
            let found = log.records.len();
            if found == 0 {
                return Err(Error::invalid("the log has no jobs")
                    .hint("each line is one, but for comments, which begin with ;"));
            }
            let error = Error::invalid(match found {
                1 => "the only job of the log can not run on this machine".to_owned(),
                _ => format!("none of the {found} jobs of the log can run on this machine"),
            });
            return Err(error.hint("give it more --cpus, or a log with jobs that have run"));
        };
        let (first, span) = (first.submit_ms, last.submit_ms - first.submit_ms);
        if span as f64 > MAX_SPAN_MS {
            return Err(Error::invalid(
                "between the first submit of the log and the last are more than ten thousand years",
            ));
        }
        for job in &mut all.jobs {
            job.submit_ms -= first;
        }
        let work: f64 = all.jobs.iter().map(|job| f64::from(job.holds.cpus) * job.run_ms as f64).sum();
        all.load = (span > 0).then(|| work / (f64::from(machine.cpus) * span as f64));
        if let Some(wanted) = load {
            all.stretch(wanted, span)?;
        }
        Ok(all)
    }

    fn add(&mut self, record: &Record, line: u64, machine: Amount) {
        let (Some(run_ms), Some(processors)) = (record.run_ms, record.processors) else {
            self.dropped.never_ran += 1;
            return;
        };
        let memory = match machine.memory {
            0 => 0,
            _ => record.memory_kb.unwrap_or(0).saturating_mul(1024).saturating_mul(processors),
        };
        let holds = Amount { cpus: u32::try_from(processors).unwrap_or(u32::MAX), memory };
        if !holds.fits(machine) {
            self.dropped.too_large += 1;
            return;
        }
        // The format rounds to seconds: what is over at once has run, too.
        let ran = run_ms.max(1);
        let asked_ms = record.requested_ms.unwrap_or(ran);
        self.unasked += u64::from(record.requested_ms.is_none());
        self.cut += u64::from(ran > asked_ms);
        let number = record.number.unwrap_or(line);
        let (user, submit_ms, run_ms) = (record.user, record.submit_ms, ran.min(asked_ms));
        self.jobs.push(Job { number, user, submit_ms, run_ms, asked_ms, holds });
    }

    /// Multiplies the times of submits, so that the load becomes what is wanted.
    fn stretch(&mut self, wanted: f64, span_ms: u64) -> Result<(), Error> {
        let Some(load) = self.load else {
            return Err(Error::invalid("all jobs of the log were submitted at once: it has no load to change")
                .hint("leave --load out"));
        };
        let factor = load / wanted;
        if span_ms as f64 * factor > MAX_SPAN_MS {
            return Err(Error::invalid(format!(
                "with a load of {wanted} the log would last longer than ten thousand years"
            ))
            .hint("give a larger --load, or fewer jobs"));
        }
        for job in &mut self.jobs {
            // Such times are smaller than 2^53: the same on every machine.
            job.submit_ms = (job.submit_ms as f64 * factor).round() as u64;
        }
        self.stretched = Some(factor);
        Ok(())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::simulate::swf;

    /// A job by its seconds: when it comes, how long it runs, how long it asks for, and how many cpus.
    pub fn job(submit: u64, run: u64, asked: u64, cpus: u32) -> Job {
        let holds = Amount { cpus, memory: 0 };
        let [submit_ms, run_ms, asked_ms] = [submit, run, asked].map(|seconds| seconds * 1000);
        Job { number: 1, user: Some(1), submit_ms, run_ms, asked_ms, holds }
    }

    /// A log by what matters of each line: submit, run, allocated, requested, requested time, memory.
    fn log(lines: &[[&str; 6]]) -> Log {
        let line = |[submit, run, allocated, requested, time, memory]: &[&str; 6]| {
            format!("-1 {submit} -1 {run} {allocated} -1 -1 {requested} {time} {memory} 1 7 1 1 1 1 -1 -1\n")
        };
        swf::read(lines.iter().map(line).collect::<String>().as_bytes()).unwrap()
    }

    const FOUR: Amount = Amount { cpus: 4, memory: 0 };

    #[test]
    fn what_a_log_does_not_say_is_the_same_for_all_policies() {
        let log = log(&[
            ["30", "5", "1", "2", "10", "-1"],
            ["10", "20", "3", "-1", "15", "-1"],
            ["10", "0", "1", "0", "-1", "-1"],
            ["20", "-1", "1", "1", "10", "-1"],
            ["20", "5", "-1", "-1", "10", "-1"],
            ["20", "5", "5", "-1", "10", "-1"],
        ]);
        let all = Workload::of(&log, FOUR, None).unwrap();
        // Sorted, counted from the first; cut at what it asked for; over at once, and known to be.
        let numbered = |number: u64, job: Job| Job { number, user: Some(7), ..job };
        let short = Job { run_ms: 1, asked_ms: 1, ..job(0, 0, 0, 1) };
        let expected = [numbered(2, job(0, 15, 15, 3)), numbered(3, short), numbered(1, job(20, 5, 10, 2))];
        assert_eq!(all.jobs, expected);
        assert_eq!(all.dropped, Dropped { too_large: 1, never_ran: 2, parts: 0 });
        assert_eq!((all.cut, all.unasked), (1, 1));
    }

    #[test]
    fn a_load_is_made_by_moving_submits_alone() {
        // 4 s × 2 + 8 s × 4 over 4 cpus × 10 s.
        let log = log(&[["0", "4", "2", "2", "9", "-1"], ["10", "8", "4", "4", "9", "-1"]]);
        let all = Workload::of(&log, FOUR, None).unwrap();
        assert_eq!((all.load, all.stretched), (Some(1.0), None));
        let all = Workload::of(&log, FOUR, Some(0.8)).unwrap();
        assert_eq!((all.load, all.stretched), (Some(1.0), Some(1.25)));
        let times: Vec<_> = all.jobs.iter().map(|job| (job.submit_ms, job.run_ms, job.asked_ms)).collect();
        assert_eq!(times, [(0, 4000, 9000), (12_500, 8000, 9000)]);
    }

    #[test]
    fn memory_counts_if_the_machine_has_some() {
        let log = log(&[
            ["0", "5", "2", "2", "10", "100"],
            ["0", "5", "2", "2", "10", "101"],
            ["0", "5", "2", "2", "10", "-1"],
        ]);
        assert!(Workload::of(&log, FOUR, None).unwrap().jobs.iter().all(|job| job.holds.memory == 0));
        let all = Workload::of(&log, Amount { memory: 200 * 1024, ..FOUR }, None).unwrap();
        assert_eq!(all.dropped.too_large, 1);
        assert_eq!(all.jobs.iter().map(|job| job.holds.memory).collect::<Vec<_>>(), [200 * 1024, 0]);
    }

    #[test]
    fn what_can_not_be_had_is_refused() {
        let once = log(&[["5", "5", "2", "2", "10", "-1"]]);
        let never = log(&[["5", "-1", "2", "2", "10", "-1"]]);
        let long = log(&[["0", "5", "2", "2", "10", "-1"], ["1000000000000000", "5", "2", "2", "10", "-1"]]);
        let slow = log(&[["0", "3153600000", "4", "4", "-1", "-1"], ["1", "5", "2", "2", "10", "-1"]]);
        for (log, load, says) in [
            (&once, Some(0.5), "no load to change"),
            (&never, None, "the only job of the log can not run"),
            (&Log::default(), None, "the log has no jobs"),
            (&long, None, "more than ten thousand years"),
            (&slow, Some(0.001), "would last longer than"),
        ] {
            let error = Workload::of(log, FOUR, load).unwrap_err().message;
            assert!(error.contains(says), "{error}");
        }
    }
}
