//! Named places to die at, for the tests of what a sudden death leaves.
//! A build without the feature `testing` has none of it.

/// Whether the environment variable `QRM_FAULT` is this name, or has it among others, separated by commas.
#[cfg(feature = "testing")]
fn meant(name: &str) -> bool {
    std::env::var("QRM_FAULT").is_ok_and(|faults| faults.split(',').any(|fault| fault == name))
}

/// Dies by `SIGKILL` if this point is meant.
#[cfg(feature = "testing")]
pub(crate) fn point(name: &str) {
    if meant(name) {
        // SAFETY: kill reads no memory of ours.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
}

/// The same in the command's process as long as it is still ours: the shim dies, and takes it along.
#[cfg(feature = "testing")]
pub(crate) fn point_in_child(name: &str) {
    if meant(name) {
        // SAFETY: neither reads memory of ours.
        unsafe {
            libc::kill(libc::getppid(), libc::SIGKILL);
            loop {
                libc::pause();
            }
        }
    }
}

/// Nothing.
#[cfg(not(feature = "testing"))]
#[inline(always)]
pub(crate) fn point_in_child(_name: &str) {}

/// Nothing.
#[cfg(not(feature = "testing"))]
#[inline(always)]
pub(crate) fn point(_name: &str) {}
