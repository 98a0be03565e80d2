//! What every policy keeps to, and that two that know nothing of each other make the same schedule, on small logs made at random.
//! It refuses to look into any of them.

use super::naive::Way;
use super::workload::{Amount, Job};
use super::{easy, fifo, naive, qrm, way};
use proptest::prelude::*;

/// The gap before a job in seconds, how long it runs and asked for, its cpus, memory and user.
type Drawn = (u64, u64, u64, u32, u64, Option<u32>);

/// Up to so many jobs of a few users, for a machine with so many cpus and so much memory.
fn jobs(cpus: u32, memory: u64) -> impl Strategy<Value = Vec<Job>> {
    // Some come at once, and many runs end at once or just when they should, where order matters most.
    let gap = prop_oneof![2 => Just(0), 3 => 1..=90u64, 1 => 90..=40_000u64];
    let time = prop_oneof![3 => prop::sample::select(vec![1u64, 60, 600, 3_600]), 2 => 1..=900u64, 1 => 1..=20_000u64];
    let one = (gap, time.clone(), time, 1..=cpus, 0..=memory, prop::option::of(1..=3u32));
    prop::collection::vec(one, 1..30).prop_map(|all| {
        let mut submit_ms = 0;
        let job = |(number, drawn): (u64, Drawn)| {
            let (gap, run, asked, cpus, memory, user) = drawn;
            submit_ms += gap * 1000;
            let (run_ms, asked_ms) = (run.min(asked) * 1000, asked * 1000);
            Job { number, user, submit_ms, run_ms, asked_ms, holds: Amount { cpus, memory } }
        };
        (0..).zip(all).map(job).collect()
    })
}

/// That nothing starts before it comes, and that at no start more is held than there is.
fn possible(jobs: &[Job], starts: &[u64], machine: Amount) -> Result<(), TestCaseError> {
    prop_assert_eq!(jobs.len(), starts.len());
    for (job, start) in jobs.iter().zip(starts) {
        prop_assert!(*start >= job.submit_ms);
        let runs = |(other, began): &(&Job, &u64)| **began <= *start && *start < **began + other.run_ms;
        let held = jobs.iter().zip(starts).filter(runs).fold(Amount::default(), |sum, (job, _)| sum.plus(job.holds));
        prop_assert!(held.fits(machine), "{:?} at {}", held, start);
    }
    Ok(())
}

/// A machine, jobs for it, and how the core decides.
fn cases() -> impl Strategy<Value = (Amount, Vec<Job>, qrm_core::Policy)> {
    let policy =
        (prop::sample::select(vec![0u32, 1, 2, 16]), any::<bool>(), prop::sample::select(vec![0u32, 10, 1_000]));
    let policy = policy.prop_map(|(planned_starts, fair, age_per_hour)| {
        let mut policy = qrm_core::Policy { planned_starts, ..qrm_core::Policy::default() };
        policy.weights.age_per_hour = age_per_hour;
        policy.weights.fair_share = if fair { policy.weights.fair_share } else { 0 };
        policy
    });
    let machine = (1..=9u32, prop::sample::select(vec![0u64, 12])).prop_map(|(cpus, memory)| Amount { cpus, memory });
    (machine, policy)
        .prop_flat_map(|(machine, policy)| (Just(machine), jobs(machine.cpus, machine.memory), Just(policy)))
}

proptest! {
    #[test]
    fn every_schedule_is_possible_and_fifo_is_in_order((machine, jobs, policy) in cases()) {
        let in_order = fifo::schedule(&jobs, machine);
        prop_assert!(in_order.is_sorted());
        possible(&jobs, &in_order, machine)?;
        possible(&jobs, &easy::schedule(&jobs, machine), machine)?;
        possible(&jobs, &naive::schedule(&jobs, machine, way(&policy)), machine)?;
    }

    #[test]
    fn qrm_starts_each_job_when_the_plain_way_does((machine, jobs, policy) in cases()) {
        let plain = naive::schedule(&jobs, machine, way(&policy));
        prop_assert_eq!(qrm::schedule(&jobs, machine, policy).unwrap(), plain);
    }

    /// Where all are alike nothing can be gained by going ahead.
    #[test]
    fn jobs_that_are_alike_start_in_order_by_every_policy(count in 1..20usize, cpus in 1..5u32, gap in 0..100u64) {
        let machine = Amount { cpus: 6, memory: 0 };
        let one = |number: u64| {
            let holds = Amount { cpus, memory: 0 };
            Job { number, user: Some(1), submit_ms: number * gap * 1000, run_ms: 60_000, asked_ms: 60_000, holds }
        };
        let jobs: Vec<Job> = (0..).take(count).map(one).collect();
        let starts = fifo::schedule(&jobs, machine);
        prop_assert_eq!(&easy::schedule(&jobs, machine), &starts);
        prop_assert_eq!(&qrm::schedule(&jobs, machine, qrm_core::Policy::default()).unwrap(), &starts);
    }

    /// One planned start is what EASY has, as long as runs take just what they ask for and no two end at once.
    #[test]
    fn one_planned_start_is_easy_backfill(jobs in jobs(8, 0)) {
        let machine = Amount { cpus: 8, memory: 0 };
        let exact = |(job, odd): (&Job, u64)| {
            let time = job.run_ms + odd;
            Job { run_ms: time, asked_ms: time, submit_ms: job.submit_ms + odd * 37, ..*job }
        };
        let mut jobs: Vec<Job> = jobs.iter().zip((1..).map(|n| n * n)).map(exact).collect();
        jobs.sort_by_key(|job| job.submit_ms);
        let way = Way { planned: 1, age_per_hour: 10, fair_share: 0 };
        prop_assert_eq!(naive::schedule(&jobs, machine, way), easy::schedule(&jobs, machine));
    }
}
