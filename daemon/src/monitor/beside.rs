//! The machine beside jobs: how much memory others than jobs leave them, and whether processes wait for too long.
//! It refuses to know single jobs, and when it is asked.
//!
//! What jobs can have of the memory is what is available, and what they use already of what they asked for: that does not
//! change while they use more or less, and not when they end. It is measured together with what they use, by the sampling
//! thread; in between it is known within bounds, since jobs that run use between nothing and what they asked for.

use super::host::{Memory, pressure};
use super::read::{Kept, proc};
use qrm_core::{Host, Short};
use std::time::{Duration, Instant};

/// What is seen is taken to be so for this long: several looks would cost more than the decisions that they are for.
const FRESH: Duration = Duration::from_millis(200);
/// Memory is told in steps of one part in so many of the machine's, so that not every page is news.
const STEPS: u64 = 512;

/// What the configuration says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Memory that stays free, in bytes.
    pub reserve: u64,
    /// The machine is short of memory when processes wait for it for more thousandths of the time.
    pub memory: Option<u32>,
    /// The same of cpus.
    pub cpu: Option<u32>,
}

/// What is available, and what of the rest is used by jobs, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampled {
    /// Memory that could be had without swapping.
    pub available: u64,
    /// What jobs use, of each at most what it asked for.
    pub held: u64,
    /// What those jobs asked for.
    pub asked: u64,
}

/// The files, and what was seen in them.
pub struct Beside {
    meminfo: Option<Kept>,
    memory: Option<Kept>,
    cpu: Option<Kept>,
    bounds: Bounds,
    /// What jobs can have of the memory, without a reserve.
    room: Option<u64>,
    step: u64,
    short: Option<Short>,
    looked: Option<Instant>,
    buffer: Vec<u8>,
}

impl Beside {
    /// Nothing is seen yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            meminfo: proc("meminfo"),
            memory: proc("pressure/memory"),
            cpu: proc("pressure/cpu"),
            bounds,
            room: None,
            step: 1,
            short: None,
            looked: None,
            buffer: Vec::new(),
        }
    }

    /// What counts from now on; the next look is a fresh one.
    pub fn set(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        self.looked = None;
    }

    /// Whether it is time to look before something is decided.
    #[must_use]
    pub fn is_old(&self) -> bool {
        self.looked.is_none_or(|at| at.elapsed() >= FRESH)
    }

    /// Looks now. Jobs that run were granted so much memory.
    pub fn look(&mut self, granted: u64) {
        self.looked = Some(Instant::now());
        if let Some(memory) = memory(self.meminfo.as_ref(), &mut self.buffer) {
            self.step = 1 << (memory.total / STEPS).max(1).ilog2();
            self.take(memory.available, granted);
        }
        let part = |file: &Option<Kept>, buffer: &mut Vec<u8>| {
            let some = pressure(file.as_ref()?.text(buffer)?)?.some_permille;
            Some(u32::try_from(some).unwrap_or(u32::MAX))
        };
        let was = self.short;
        let of_memory = self.bounds.memory.and_then(|most| {
            let permille = part(&self.memory, &mut self.buffer)?;
            let was = matches!(was, Some(Short::Memory { .. }));
            is_too_much(was, permille, most).then_some(Short::Memory { permille, most })
        });
        self.short = of_memory.or_else(|| {
            let most = self.bounds.cpu?;
            let permille = part(&self.cpu, &mut self.buffer)?;
            let was = matches!(was, Some(Short::Cpu { .. }));
            is_too_much(was, permille, most).then_some(Short::Cpu { permille, most })
        });
    }

    /// Takes what was measured of the memory. Jobs that run were granted so much, also those that were not looked at.
    pub fn sampled(&mut self, sampled: Sampled, granted: u64) {
        let Sampled { available, held, asked } = sampled;
        self.take(available.saturating_add(held), granted.saturating_sub(asked));
    }

    /// There is at least so much room, and at most so much more.
    fn take(&mut self, least: u64, more: u64) {
        let room = self.room.unwrap_or(least);
        self.room = Some(room.clamp(least, least.saturating_add(more)));
    }

    /// What was seen.
    #[must_use]
    pub fn host(&self) -> Host {
        let room = self.room.map(|room| room.saturating_sub(self.bounds.reserve));
        Host { mem_bytes: room.map(|room| room / self.step * self.step), short: self.short }
    }
}

/// Whether processes wait for too long: from above the bound until below three quarters of it, for what hovers about the
/// bound would stop and start jobs with each look.
fn is_too_much(was: bool, permille: u32, most: u32) -> bool {
    permille > most || was && permille.saturating_mul(4) >= most.saturating_mul(3)
}

fn memory(meminfo: Option<&Kept>, buffer: &mut Vec<u8>) -> Option<Memory> {
    Memory::parse(meminfo?.text(buffer)?)
}

/// The memory that is available, if the machine tells.
pub(super) fn available(meminfo: Option<&Kept>, buffer: &mut Vec<u8>) -> Option<u64> {
    memory(meminfo, buffer).map(|memory| memory.available)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const GIB: u64 = 1 << 30;

    /// One that reads these files.
    fn beside(dir: &Path, bounds: Bounds) -> Beside {
        let file = |name: &str| Kept::new(dir.join(name), false);
        Beside { meminfo: file("meminfo"), memory: file("memory"), cpu: file("cpu"), ..Beside::new(bounds) }
    }

    fn write(dir: &Path, available: u64, memory: &str, cpu: &str) {
        let meminfo = format!("MemTotal: {} kB\nMemAvailable: {} kB\n", (16 * GIB) >> 10, available >> 10);
        let some = |part: &str| format!("some avg10={part} avg60=0.00 avg300=0.00 total=1\n");
        for (name, text) in [("meminfo", meminfo), ("memory", some(memory)), ("cpu", some(cpu))] {
            std::fs::write(dir.join(name), text).unwrap();
        }
    }

    #[test]
    fn room_is_what_others_leave_however_much_of_theirs_jobs_use() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(dir, 12 * GIB, "0.00", "0.00");
        let mut beside = beside(dir, Bounds { reserve: GIB, ..Bounds::default() });
        assert!(beside.is_old() && beside.host() == Host::default());
        beside.look(0);
        let room = |beside: &Beside| beside.host().mem_bytes.map(|bytes| bytes / GIB);
        assert_eq!((room(&beside), beside.is_old()), (Some(11), false));
        // A job that asked for 6 has used 4 of that: it is not known whose they are, and they may be its own.
        write(dir, 8 * GIB, "0.00", "0.00");
        beside.look(6 * GIB);
        assert_eq!(room(&beside), Some(11));
        // It is measured, and so are 3 of others.
        beside.sampled(Sampled { available: 5 * GIB, held: 4 * GIB, asked: 6 * GIB }, 6 * GIB);
        assert_eq!(room(&beside), Some(8));
        // It ends, and what it had is free.
        write(dir, 9 * GIB, "0.00", "0.00");
        beside.look(6 * GIB);
        beside.look(0);
        assert_eq!(room(&beside), Some(8));
        // One that nobody has measured can not be who uses more than it asked for.
        write(dir, 6 * GIB, "0.00", "0.00");
        beside.look(GIB);
        assert_eq!(room(&beside), Some(6));
        beside.sampled(Sampled { available: 7 * GIB, held: 0, asked: 0 }, GIB);
        assert_eq!(room(&beside), Some(6), "it may still be the one that was not looked at");
        // Less than the reserve is nothing, and what can not be read is as it was.
        write(dir, GIB / 2, "0.00", "0.00");
        beside.look(0);
        assert_eq!(beside.host().mem_bytes, Some(0));
        std::fs::write(dir.join("meminfo"), "nothing").unwrap();
        beside.look(0);
        assert_eq!(beside.host().mem_bytes, Some(0));
    }

    #[test]
    fn memory_is_told_in_steps_and_never_as_more_than_there_is() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 12 * GIB + 4096, "0.00", "0.00");
        let mut beside = beside(dir.path(), Bounds::default());
        beside.look(0);
        assert_eq!(beside.host().mem_bytes, Some(12 * GIB));
        write(dir.path(), 12 * GIB - 4096, "0.00", "0.00");
        beside.look(0);
        assert_eq!(beside.host().mem_bytes, Some(12 * GIB - (32 << 20)));
    }

    #[test]
    fn pressure_begins_above_its_bound_and_is_over_below_three_quarters_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        write(dir, GIB, "0.00", "0.00");
        let mut beside = beside(dir, Bounds { memory: Some(200), cpu: Some(900), ..Bounds::default() });
        let memory = |permille| Some(Short::Memory { permille, most: 200 });
        let cpu = |permille| Some(Short::Cpu { permille, most: 900 });
        for (of_memory, of_cpu, short) in [
            ("20.00", "90.00", None),
            ("20.10", "99.00", memory(201)),
            ("15.00", "99.00", memory(150)),
            ("14.90", "99.00", cpu(990)),
            ("19.00", "67.50", cpu(675)),
            ("14.90", "67.40", None),
            ("19.00", "89.00", None),
        ] {
            write(dir, GIB, of_memory, of_cpu);
            beside.look(0);
            assert_eq!(beside.host().short, short, "{of_memory} {of_cpu}");
        }
        write(dir, GIB, "100.00", "100.00");
        beside.look(0);
        beside.set(Bounds::default());
        assert!(beside.is_old());
        beside.look(0);
        assert_eq!(beside.host().short, None, "nothing is too much any more");
    }

    #[test]
    fn where_the_kernel_tells_of_no_pressure_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut beside = beside(dir.path(), Bounds { memory: Some(1), cpu: Some(1), reserve: 0 });
        beside.look(0);
        assert_eq!(beside.host(), Host::default());
    }
}
