//! The two clocks, and the timers that wake the engine on them.
//! It refuses to know what it wakes the engine for.

use qrm_core::Now;
use qrm_protocol::time::Timestamp;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::unix::AsyncFd;

/// The present by both clocks.
#[must_use]
pub fn now() -> Now {
    let boot = clock_gettime(ClockId::Boottime);
    Now {
        wall: Timestamp(ms(clock_gettime(ClockId::Realtime)) + jump()),
        boot_ms: u64::try_from(ms(boot)).unwrap_or(0),
    }
}

fn ms(t: Timespec) -> i64 {
    t.tv_sec * 1000 + t.tv_nsec / 1_000_000
}

/// How far a test has moved the wall clock: the file that `QRM_TEST_WALL_JUMP` names holds milliseconds.
#[cfg(feature = "testing")]
fn jump() -> i64 {
    let path = std::env::var_os("QRM_TEST_WALL_JUMP");
    let text = path.and_then(|path| std::fs::read_to_string(path).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

#[cfg(not(feature = "testing"))]
fn jump() -> i64 {
    0
}

/// The timers: one on each clock. A wall clock that is set wakes as well.
#[derive(Debug)]
pub struct Timers {
    wall: OwnedFd,
    boot: OwnedFd,
}

impl Timers {
    /// Two timers that never fire.
    ///
    /// # Errors
    /// The kernel has none to give.
    pub fn new() -> io::Result<Arc<Self>> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let wall = timerfd_create(TimerfdClockId::Realtime, flags)?;
        let boot = timerfd_create(TimerfdClockId::Boottime, flags)?;
        Ok(Arc::new(Self { wall, boot }))
    }

    /// Fires at these instants, or never.
    ///
    /// # Errors
    /// The kernel refuses, which it does not.
    pub fn set(&self, wall: Option<Timestamp>, boot_ms: Option<u64>) -> io::Result<()> {
        let absolute = TimerfdTimerFlags::ABSTIME;
        let wall = wall.map(|at| at.0 - jump()).map(|ms| ms.max(1));
        // Where a clock is set, what was planned by it must be looked at again.
        timerfd_settime(&self.wall, absolute | TimerfdTimerFlags::CANCEL_ON_SET, &spec(wall))?;
        timerfd_settime(&self.boot, absolute, &spec(boot_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX).max(1))))?;
        Ok(())
    }

    /// Calls `fired` whenever a timer fires, for ever.
    ///
    /// # Errors
    /// The runtime can not watch them.
    pub async fn watch(self: Arc<Self>, fired: impl Fn()) -> io::Result<()> {
        // SAFETY: an owned descriptor is the same open one until it is dropped, which is after its registration.
        let (wall, boot) =
            unsafe { (AsyncFd::register(self.wall.try_clone()?)?, AsyncFd::register(self.boot.try_clone()?)?) };
        loop {
            tokio::select! {
                ready = wall.readable() => drain(ready?),
                ready = boot.readable() => drain(ready?),
            }
            fired();
        }
    }
}

/// Reads a timer empty. `ECANCELED` says that the clock was set, which is as good a reason to wake.
fn drain(mut ready: tokio::io::unix::AsyncFdReadyGuard<'_, OwnedFd>) {
    let mut count = [0u8; 8];
    let read = ready.try_io(|fd| rustix::io::read(fd.get_ref(), &mut count).map_err(io::Error::from));
    if read.is_ok() {
        ready.clear_ready();
    }
}

fn spec(ms: Option<i64>) -> Itimerspec {
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    let at = ms.map_or(zero, |ms| Timespec { tv_sec: ms / 1000, tv_nsec: (ms % 1000) * 1_000_000 });
    Itimerspec { it_interval: zero, it_value: at }
}
