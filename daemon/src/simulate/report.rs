//! What a schedule meant for those who waited, in figures.
//! It refuses to know how the schedule came about.

use super::workload::{Dropped, Job, Workload};
use qrm_protocol::time::Millis;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Runs shorter than this count as this long where a wait is measured by them: else one second of work that waits for a minute
/// outweighs everything (Feitelson, Rudolph, Schwiegelshohn, Sevcik, Wong 1997).
const TAU_MS: u64 = 10_000;

/// A mean and what 95 of 100 stay below, of all jobs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread<T> {
    /// The mean.
    pub mean: T,
    /// The smallest that at least 95 of 100 jobs do not exceed.
    pub p95: T,
    /// The largest.
    pub max: T,
}

/// Whose jobs waited for the longest, by what all wait for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Unfairness {
    /// The mean wait of the user's jobs over the mean wait of all jobs.
    pub ratio: f64,
    /// The user's number in the log; nothing for those who have none.
    pub user: Option<u32>,
}

/// What is said of a replay. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// How many jobs were scheduled.
    pub jobs: u64,
    /// How many users they are from.
    pub users: u64,
    /// Lines of the log that were left out.
    pub dropped: Dropped,
    /// Runs that were longer than they asked for, and were ended then.
    pub cut: u64,
    /// Jobs that did not ask for a time.
    pub unasked: u64,
    /// The load of the log on this machine: processors × run time over cpus × the time between the first submit and the last.
    pub log_load: Option<f64>,
    /// What the times of submits were multiplied by.
    pub stretched: Option<f64>,
    /// From the first submit to the last end.
    pub makespan_ms: u64,
    /// From submit to start.
    pub wait_ms: Spread<u64>,
    /// Wait and run over the run, which counts as ten seconds if it was shorter; at least 1.
    pub bounded_slowdown: Spread<f64>,
    /// The part of the cpus that was in use from the first submit to the last end.
    pub utilisation: f64,
    /// Nothing if nobody waited.
    pub largest_wait_over_fair_share: Option<Unfairness>,
    /// How long making the schedule took.
    pub took_ms: f64,
}

impl Report {
    /// Of when each job started, in the order of the jobs; the machine has so many cpus.
    pub fn of(workload: &Workload, starts: &[u64], cpus: u32, took: Duration) -> Self {
        let jobs = &workload.jobs;
        let each = || jobs.iter().zip(starts);
        let waits: Vec<u64> = each().map(|(job, start)| start - job.submit_ms).collect();
        let makespan_ms = each().map(|(job, start)| start + job.run_ms).max().unwrap_or(0);
        let work: f64 = jobs.iter().map(|job| f64::from(job.holds.cpus) * job.run_ms as f64).sum();
        let mut users: BTreeMap<Option<u32>, Vec<u64>> = BTreeMap::new();
        for (job, wait) in jobs.iter().zip(&waits) {
            users.entry(job.user).or_default().push(*wait);
        }
        let all = mean(waits.iter().map(|wait| *wait as f64));
        let ratios = users.iter().map(|(user, waits)| {
            let ratio = mean(waits.iter().map(|wait| *wait as f64)) / all;
            Unfairness { ratio, user: *user }
        });
        let largest = ratios.max_by(|a, b| a.ratio.total_cmp(&b.ratio));
        Self {
            jobs: jobs.len() as u64,
            users: users.len() as u64,
            dropped: workload.dropped,
            cut: workload.cut,
            unasked: workload.unasked,
            log_load: workload.load,
            stretched: workload.stretched,
            makespan_ms,
            wait_ms: waits_of(&waits, all),
            bounded_slowdown: slowdowns_of(jobs, &waits),
            utilisation: work / (f64::from(cpus) * makespan_ms as f64),
            largest_wait_over_fair_share: largest.filter(|_| all > 0.0),
            took_ms: took.as_secs_f64() * 1000.0,
        }
    }
}

fn mean(of: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = of.len() as f64;
    of.sum::<f64>() / count
}

/// The place, in a sorted list, of the smallest that at least 95 of 100 do not exceed.
fn p95(count: usize) -> usize {
    (count * 95).div_ceil(100).saturating_sub(1)
}

fn waits_of(waits: &[u64], mean: f64) -> Spread<u64> {
    let mut sorted = waits.to_vec();
    sorted.sort_unstable();
    Spread { mean: mean.round() as u64, p95: sorted[p95(sorted.len())], max: sorted[sorted.len() - 1] }
}

fn slowdowns_of(jobs: &[Job], waits: &[u64]) -> Spread<f64> {
    let slowdown = |(job, wait): (&Job, &u64)| {
        let run = job.run_ms.max(TAU_MS) as f64;
        ((job.run_ms + wait) as f64 / run).max(1.0)
    };
    let mut sorted: Vec<f64> = jobs.iter().zip(waits).map(slowdown).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    Spread { mean: mean(sorted.iter().copied()), p95: sorted[p95(sorted.len())], max: sorted[sorted.len() - 1] }
}

impl fmt::Display for Report {
    /// For people: a line for each figure.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Dropped { too_large, never_ran, parts } = self.dropped;
        let mut notes = Vec::new();
        for (count, what) in [
            (too_large, "dropped: larger than the machine"),
            (never_ran, "dropped: never ran"),
            (parts, "dropped: parts of others"),
            (self.cut, "ended at the time that they asked for"),
            (self.unasked, "asked for no time"),
        ] {
            if count > 0 {
                notes.push(format!("; {count} {what}"));
            }
        }
        writeln!(f, "jobs            {}, of {} users{}", self.jobs, self.users, notes.concat())?;
        match (self.log_load, self.stretched) {
            (Some(log), Some(factor)) => {
                let load = log / factor;
                writeln!(f, "load            {load:.3}; of the log {log:.3}, times of submits × {factor:.4}")?;
            }
            (Some(log), None) => writeln!(f, "load            {log:.3}")?,
            (None, _) => writeln!(f, "load            all submitted at once")?,
        }
        writeln!(f, "makespan        {}", Millis(self.makespan_ms))?;
        let Spread { mean, p95, max } = self.wait_ms;
        writeln!(f, "wait            mean {}, p95 {}, longest {}", Millis(mean), Millis(p95), Millis(max))?;
        let Spread { mean, p95, max } = self.bounded_slowdown;
        writeln!(f, "slowdown        mean {mean:.2}, p95 {p95:.2}, largest {max:.0} (runs count as 10 s at least)")?;
        writeln!(f, "utilisation     {:.1} %", self.utilisation * 100.0)?;
        match self.largest_wait_over_fair_share {
            None => writeln!(f, "unfairness      nobody waited")?,
            Some(Unfairness { ratio, user }) => {
                let user = user.map_or_else(|| "who has no number".to_owned(), |user| user.to_string());
                writeln!(f, "unfairness      {ratio:.2}: the mean wait of user {user} over that of all")?;
            }
        }
        writeln!(f, "simulated in    {}", Millis(self.took_ms.ceil() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::workload::tests::job;

    fn of(jobs: Vec<Job>, seconds: &[u64]) -> Report {
        let starts: Vec<u64> = seconds.iter().map(|second| second * 1000).collect();
        let workload = Workload { jobs, dropped: Dropped::default(), cut: 0, unasked: 0, load: None, stretched: None };
        Report::of(&workload, &starts, 4, Duration::from_millis(5))
    }

    #[test]
    fn figures_are_what_they_are_said_to_be() {
        let by = |user: u32, job: Job| Job { user: Some(user), ..job };
        let jobs = vec![by(1, job(0, 100, 100, 2)), by(1, job(10, 20, 20, 4)), by(2, job(20, 1, 1, 1))];
        let report = of(jobs, &[0, 100, 120]);
        assert_eq!((report.jobs, report.users, report.makespan_ms), (3, 2, 121_000));
        // 0, 90 and 100 seconds; 95 of 100 of three are all of them.
        assert_eq!(report.wait_ms, Spread { mean: 63_333, p95: 100_000, max: 100_000 });
        // 1, 110 / 20, and, for what ran for a second, 101 / 10.
        let Spread { mean, p95, max } = report.bounded_slowdown;
        assert!((mean - (1.0 + 5.5 + 10.1) / 3.0).abs() < 1e-9 && (p95 - 10.1).abs() < 1e-9 && p95 == max);
        assert!((report.utilisation - 281.0 / 484.0).abs() < 1e-9);
        let Some(Unfairness { ratio, user: Some(2) }) = report.largest_wait_over_fair_share else { panic!("{report}") };
        assert!((ratio - 300.0 / 190.0).abs() < 1e-9, "{ratio}");
        assert!(report.to_string().contains("unfairness      1.58: the mean wait of user 2 over that of all"));
    }

    #[test]
    fn the_95th_of_100_is_not_exceeded_by_95() {
        let jobs: Vec<Job> = (0..100).map(|_| job(0, 1, 1, 1)).collect();
        let seconds: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(of(jobs.clone(), &seconds).wait_ms.p95, 95_000);
        assert_eq!(of(jobs[..20].to_vec(), &seconds[80..]).wait_ms.p95, 19_000);
        assert_eq!(of(jobs[..1].to_vec(), &[7]).wait_ms.p95, 7_000);
    }

    #[test]
    fn who_never_waits_is_treated_as_all_are() {
        let report = of(vec![job(0, 1, 1, 1)], &[0]);
        assert_eq!(report.largest_wait_over_fair_share, None);
        assert!(report.to_string().contains("nobody waited"));
        let Spread { mean, p95, max } = report.bounded_slowdown;
        assert!([mean, p95, max].iter().all(|slowdown| (slowdown - 1.0).abs() < 1e-9));
    }
}
