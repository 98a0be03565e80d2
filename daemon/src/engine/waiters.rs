//! Who waits for the end of which jobs.
//! It refuses to know what ends them.

use super::handle::{Wait, give};
use qrm_protocol::ids::{JobId, JobRef};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// All of them, by what they wait for.
#[derive(Default)]
pub(super) struct Waiters(BTreeMap<JobRef, Vec<Waiter>>);

struct Waiter {
    /// That it executes is enough.
    started: bool,
    latch: Arc<Latch>,
}

/// One who waits, for one job or several.
struct Latch {
    /// So many of them.
    left: AtomicUsize,
    /// Until they were told.
    reply: Mutex<Option<oneshot::Sender<()>>>,
}

impl Latch {
    fn one_less(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1
            && let Some(reply) = self.take()
        {
            give(reply, ());
        }
    }

    fn take(&self) -> Option<oneshot::Sender<()>> {
        self.reply.lock().ok()?.take()
    }

    fn is_gone(&self) -> bool {
        self.reply.lock().is_ok_and(|reply| reply.as_ref().is_none_or(oneshot::Sender::is_closed))
    }
}

impl Waiters {
    /// Lets somebody wait; if there is nothing to wait for, gives back who is to be told. `is_over` says of a job
    /// whether it is awaited no more.
    pub fn add(&mut self, wait: Wait, is_over: impl Fn(JobRef) -> bool) -> Option<oneshot::Sender<()>> {
        let Wait { mut ids, any, started, reply } = wait;
        let asked = ids.len();
        ids.retain(|id| !is_over(*id));
        if ids.is_empty() || any && ids.len() < asked {
            return Some(reply);
        }
        let left = if any { 1 } else { ids.len() };
        let latch = Arc::new(Latch { left: left.into(), reply: Some(reply).into() });
        for id in ids {
            let waiters = self.0.entry(id).or_default();
            waiters.retain(|waiter| !waiter.latch.is_gone());
            waiters.push(Waiter { started, latch: latch.clone() });
        }
        None
    }

    /// A job has ended, or executes.
    pub fn tell(&mut self, job: JobRef, ended: bool) {
        let Some(waiters) = self.0.get_mut(&job) else { return };
        waiters.retain(|waiter| {
            let told = ended || waiter.started;
            if told {
                waiter.latch.one_less();
            }
            !told
        });
        if waiters.is_empty() {
            self.0.remove(&job);
        }
    }

    /// Who waits for a task that never ran waits for its array, which has ended.
    pub fn tell_tasks(&mut self, array: JobId) {
        let tasks = JobRef::task(array, 0)..=JobRef::task(array, u32::MAX);
        let waited: Vec<JobRef> = self.0.range(tasks).map(|(task, _)| *task).collect();
        for task in waited {
            self.tell(task, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(ids: &[u64], any: bool, started: bool) -> (Wait, oneshot::Receiver<()>) {
        let (reply, told) = oneshot::channel();
        (Wait { ids: ids.iter().map(|id| JobId(*id).into()).collect(), any, started, reply }, told)
    }

    #[test]
    fn all_are_awaited_or_the_first_and_each_counts_once() {
        let mut waiters = Waiters::default();
        let is_over = |id: JobRef| id.job.0 == 9;
        let (all, mut all_told) = wait(&[1, 2, 9], false, false);
        let (any, mut any_told) = wait(&[1, 2], true, false);
        let (started, mut started_told) = wait(&[1, 2], false, true);
        for wait in [all, any, started] {
            assert!(waiters.add(wait, is_over).is_none());
        }
        assert!(waiters.add(wait(&[1, 9], true, false).0, is_over).is_some());
        assert!(waiters.add(wait(&[9], false, false).0, is_over).is_some());
        waiters.tell(JobId(1).into(), false);
        waiters.tell(JobId(1).into(), false);
        assert!(any_told.try_recv().is_err() && started_told.try_recv().is_err());
        waiters.tell(JobId(2).into(), true);
        assert!(any_told.try_recv().is_ok() && started_told.try_recv().is_ok() && all_told.try_recv().is_err());
        waiters.tell(JobId(1).into(), true);
        assert!(all_told.try_recv().is_ok());
        assert!(waiters.0.is_empty());
    }

    #[test]
    fn who_is_gone_is_forgotten_when_the_next_comes() {
        let mut waiters = Waiters::default();
        for _ in 0..10 {
            drop(waiters.add(wait(&[1], false, false).0, |_| false));
        }
        assert_eq!(waiters.0.values().map(Vec::len).sum::<usize>(), 1);
    }
}
