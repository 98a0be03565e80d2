//! The two clocks of a record, and the kernel's own for the start of a process.
//! It knows no other clock.

/// A moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Milliseconds since 1970; jumps when the clock is set.
    pub wall_ms: u64,
    /// Milliseconds since boot, suspended time included; never jumps.
    pub boot_ms: u64,
}

impl Moment {
    pub fn now() -> Self {
        Self { wall_ms: millis(libc::CLOCK_REALTIME), boot_ms: millis(libc::CLOCK_BOOTTIME) }
    }
}

fn millis(clock: libc::clockid_t) -> u64 {
    let time = read(clock);
    // Neither is negative on a machine that was set to any time after 1970.
    time.tv_sec.cast_unsigned() * 1000 + time.tv_nsec.cast_unsigned() / 1_000_000
}

/// Now in the unit of field 22 of `/proc/PID/stat`, by the same clock. A process made between two readings that are
/// equal started then: that is nearly always so, and saves a look into `/proc`, which takes longer than most of what a
/// shim does.
pub(crate) fn ticks() -> u64 {
    // SAFETY: a plain call, which reads what the kernel passed to this process.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.cast_unsigned().max(1);
    let time = read(libc::CLOCK_BOOTTIME);
    let nanos = time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned();
    nanos / (1_000_000_000 / per_second)
}

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is valid for the call; all clocks used here exist on every Linux, so that it cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time
}
