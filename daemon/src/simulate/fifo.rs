//! First in, first out: nobody overtakes. Written to be read, as something to compare with.
//! It refuses to know the core, and so is wrong in other places if it is wrong.

use super::workload::{Amount, Job};

/// When each job starts: at the first instant at which it fits, and never before the one ahead of it.
pub fn schedule(jobs: &[Job], machine: Amount) -> Vec<u64> {
    let mut starts: Vec<u64> = Vec::with_capacity(jobs.len());
    // Those that may still run: what they hold, and until when.
    let mut running: Vec<(u64, Amount)> = Vec::new();
    for job in jobs {
        let ahead = starts.last().copied().unwrap_or(0);
        let from = job.submit_ms.max(ahead);
        running.retain(|(until, _)| *until > from);
        // Room is made by ends alone. When all have ended there is room for each that is smaller than the machine.
        let ends = running.iter().map(|(until, _)| *until);
        let mut instants: Vec<u64> = std::iter::once(from).chain(ends).collect();
        instants.sort_unstable();
        let fits = |at: &u64| {
            let held = running.iter().filter(|(until, _)| until > at);
            let held = held.fold(Amount::default(), |sum, (_, holds)| sum.plus(*holds));
            job.holds.fits(machine.less(held))
        };
        let last = instants.last().copied().unwrap_or(from);
        let start = instants.into_iter().find(fits).unwrap_or(last);
        starts.push(start);
        running.push((start + job.run_ms, job.holds));
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::workload::tests::job;

    #[test]
    fn nobody_overtakes_also_who_would_fit() {
        for (jobs, seconds) in [
            // The second waits for the first, and the third, which would fit, for the second.
            (vec![job(0, 10, 10, 3), job(1, 5, 9, 2), job(2, 5, 5, 1)], vec![0, 10, 10]),
            // What was asked for does not matter: the first ends early.
            (vec![job(0, 4, 100, 3), job(1, 5, 5, 2)], vec![0, 4]),
            // Two have to end before the third fits, and the fourth comes when all is over.
            (vec![job(0, 3, 3, 2), job(0, 7, 7, 2), job(1, 1, 1, 4), job(20, 1, 1, 4)], vec![0, 0, 7, 20]),
        ] {
            let starts: Vec<u64> = schedule(&jobs, Amount { cpus: 4, memory: 0 });
            assert_eq!(starts, seconds.iter().map(|second| second * 1000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn memory_is_room_as_cpus_are() {
        let with = |job: Job, memory: u64| Job { holds: Amount { memory, ..job.holds }, ..job };
        let jobs = [with(job(0, 10, 10, 1), 6), with(job(0, 5, 5, 1), 4), with(job(0, 5, 5, 1), 1)];
        assert_eq!(schedule(&jobs, Amount { cpus: 4, memory: 10 }), [0, 0, 5000]);
    }
}
