//! Which waiting job starts next: by priority, then by age, the first that fits; nothing overtakes a head that does
//! not fit. It refuses to change anything: it is asked again after every start.

use crate::job::Job;
use crate::state::Core;
use qrm_protocol::ids::{JobId, JobRef};

/// The most runs at once. Jobs that ask for nothing are bounded by this alone, so that a mistake is no fork bomb.
pub(crate) const MAX_RUNS: usize = 1_000;

/// What keeps the first job of the line from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// Not enough cpus: asked, free.
    Cpus(u64, u64),
    /// Not enough memory: asked, free.
    Memory(u64, u64),
    /// Not enough room for files: asked, free.
    Disk(u64, u64),
    /// [`MAX_RUNS`].
    Runs,
}

/// The first job of the line.
pub(crate) fn head(core: &Core) -> Option<(JobId, &Job)> {
    let id = core.ready.first()?.1;
    core.jobs.get(&id).map(|job| (id, job))
}

/// Whether a job could start now if it were the head.
pub(crate) fn fits(core: &Core, job: &Job) -> Result<(), Blocked> {
    let free_cpus = u64::from(core.machine.cpus).saturating_sub(core.used.cpus);
    let free_mem = core.machine.mem_bytes.saturating_sub(core.used.mem_bytes);
    let free_disk = core.machine.disk_bytes.saturating_sub(core.used.disk_bytes);
    let (cpus, disk) = (u64::from(job.demand.cpus()), job.demand.disk_bytes());
    if core.runs.len() >= MAX_RUNS {
        Err(Blocked::Runs)
    } else if cpus > free_cpus {
        Err(Blocked::Cpus(cpus, free_cpus))
    } else if job.demand.mem_bytes > free_mem {
        Err(Blocked::Memory(job.demand.mem_bytes, free_mem))
    } else if disk > free_disk {
        Err(Blocked::Disk(disk, free_disk))
    } else {
        Ok(())
    }
}

/// The next to start, with the number of its attempt.
pub(crate) fn next(core: &Core) -> Option<(JobRef, u32)> {
    let (id, job) = head(core)?;
    fits(core, job).ok()?;
    match &job.tasks {
        None => Some((id.into(), job.attempt + 1)),
        Some(tasks) => {
            let ordinal = tasks.waiting.first()?;
            let attempt = tasks.again.get(&ordinal).map_or(0, |(last, _)| *last);
            Some((JobRef::task(id, tasks.index(ordinal)), attempt + 1))
        }
    }
}
