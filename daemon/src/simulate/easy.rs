//! EASY backfill: the first of the line has a reservation, and others go ahead of it if they do not delay it (Lifka 1995;
//! Mu'alem and Feitelson 2001). Written to be read; it refuses to know the core.

use super::workload::{Amount, Job};

/// A job that runs.
struct Running {
    /// When it ends, which is known when that has come.
    ends: u64,
    /// When it ends at the latest, by what it asked for.
    at_latest: u64,
    holds: Amount,
}

/// When each job starts.
pub fn schedule(jobs: &[Job], machine: Amount) -> Vec<u64> {
    let mut starts = vec![0; jobs.len()];
    let mut line: Vec<usize> = Vec::new();
    let mut running: Vec<Running> = Vec::new();
    let mut coming = 0;
    loop {
        // Something changes when a job comes, or when one ends.
        let comes = jobs.get(coming).map(|job| job.submit_ms);
        let ends = running.iter().map(|run| run.ends).min();
        let Some(now) = comes.into_iter().chain(ends).min() else { return starts };
        running.retain(|run| run.ends > now);
        while jobs.get(coming).is_some_and(|job| job.submit_ms <= now) {
            line.push(coming);
            coming += 1;
        }
        for index in start_now(jobs, &line, &running, machine, now) {
            let Job { run_ms, asked_ms, holds, .. } = jobs[index];
            starts[index] = now;
            running.push(Running { ends: now + run_ms, at_latest: now + asked_ms, holds });
            line.retain(|waits| *waits != index);
        }
    }
}

/// Who of the line starts now.
fn start_now(jobs: &[Job], line: &[usize], running: &[Running], machine: Amount, now: u64) -> Vec<usize> {
    let held = running.iter().fold(Amount::default(), |sum, run| sum.plus(run.holds));
    let mut free = machine.less(held);
    let mut starting = Vec::new();
    let mut rest = line.iter().copied();
    // In their order, as far as they fit.
    let head = loop {
        let Some(index) = rest.next() else { return starting };
        if !jobs[index].holds.fits(free) {
            break jobs[index];
        }
        free = free.less(jobs[index].holds);
        starting.push(index);
    };
    // The shadow time: when the first that does not fit will, if nobody ends early. What it leaves over then is extra.
    let begun = starting.iter().map(|index| (now + jobs[*index].asked_ms, jobs[*index].holds));
    let mut ends: Vec<(u64, Amount)> = running.iter().map(|run| (run.at_latest, run.holds)).chain(begun).collect();
    ends.sort_unstable_by_key(|(at_latest, _)| *at_latest);
    let free_at = |at: u64| {
        let given_back = ends.iter().filter(|(at_latest, _)| *at_latest <= at);
        given_back.fold(free, |sum, (_, holds)| sum.plus(*holds))
    };
    let shadow = ends.iter().map(|(at_latest, _)| *at_latest).find(|at| head.holds.fits(free_at(*at)));
    // There is one, for each job is smaller than the machine; without it nobody would go ahead.
    let shadow = shadow.unwrap_or(now);
    let mut extra = free_at(shadow).less(head.holds);
    for index in rest {
        let job = jobs[index];
        let is_over = now + job.asked_ms <= shadow;
        if job.holds.fits(free) && (is_over || job.holds.fits(extra)) {
            free = free.less(job.holds);
            if !is_over {
                extra = extra.less(job.holds);
            }
            starting.push(index);
        }
    }
    starting
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::workload::tests::job;

    #[track_caller]
    fn starts(cpus: u32, jobs: &[Job], seconds: &[u64]) {
        let expected: Vec<u64> = seconds.iter().map(|second| second * 1000).collect();
        assert_eq!(schedule(jobs, Amount { cpus, memory: 0 }), expected);
    }

    #[test]
    fn who_is_over_in_time_goes_ahead() {
        // At 2 s one cpu is free; the second starts at 10 s, and the third is over by then.
        starts(4, &[job(0, 10, 10, 3), job(1, 5, 9, 4), job(2, 5, 8, 1)], &[0, 10, 2]);
        // A second more, by what it asks for, is too much.
        starts(4, &[job(0, 10, 10, 3), job(1, 5, 9, 4), job(2, 5, 9, 1)], &[0, 10, 15]);
    }

    #[test]
    fn who_takes_what_the_first_leaves_over_goes_ahead_for_as_long_as_it_likes() {
        let (first, second) = (job(0, 10, 10, 4), job(1, 5, 9, 6));
        // At 10 s the second leaves two of eight: for the third, not for the fourth, while the fifth is over by then.
        let rest = [job(2, 50, 100, 2), job(3, 50, 100, 2), job(4, 6, 6, 2)];
        starts(8, &[&[first, second][..], &rest].concat(), &[0, 10, 2, 15, 4]);
    }

    #[test]
    fn all_who_end_at_the_shadow_time_leave_over() {
        // Either of the first two makes room for the third; what the other gives back is extra, and the fourth takes it.
        let jobs = [job(0, 10, 10, 3), job(0, 10, 10, 3), job(1, 5, 5, 5), job(2, 50, 50, 2)];
        starts(8, &jobs, &[0, 0, 10, 2]);
    }

    #[test]
    fn an_early_end_is_an_earlier_start() {
        starts(4, &[job(0, 4, 10, 3), job(1, 5, 9, 4), job(2, 1, 9, 1)], &[0, 4, 9]);
    }

    #[test]
    fn only_the_first_is_waited_for() {
        // The third could start at 10 s beside the second, if the fourth did not go ahead of it.
        starts(8, &[job(0, 10, 10, 5), job(1, 10, 10, 4), job(1, 9, 9, 4)], &[0, 10, 10]);
        starts(8, &[job(0, 10, 10, 5), job(1, 10, 10, 4), job(1, 9, 9, 4), job(2, 18, 18, 3)], &[0, 10, 20, 2]);
    }

    #[test]
    fn memory_is_room_as_cpus_are() {
        let with = |job: Job, memory: u64| Job { holds: Amount { memory, ..job.holds }, ..job };
        // The second waits for memory; at 10 s it leaves one of ten, which is enough for the fourth and not for the third.
        let jobs = [
            with(job(0, 10, 10, 1), 6),
            with(job(1, 10, 10, 1), 9),
            with(job(2, 20, 20, 1), 2),
            with(job(3, 20, 20, 1), 1),
        ];
        assert_eq!(schedule(&jobs, Amount { cpus: 4, memory: 10 }), [0, 10_000, 20_000, 3_000]);
    }
}
