//! The plan's bytes, mapped instead of read: a large environment costs the waiting shim nothing.
//! It knows no plan.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::{self, NonNull};
use std::slice;

use crate::files::given;

/// A whole file in memory, for reading.
pub(crate) struct Map {
    start: NonNull<u8>,
    len: usize,
}

impl Map {
    /// Maps it. An empty file is an error.
    pub fn of(fd: RawFd) -> io::Result<Self> {
        let len = usize::try_from(rustix::fs::fstat(given(fd))?.st_size).map_err(io::Error::other)?;
        let (protection, flags) = (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_POPULATE);
        // SAFETY: a new mapping, where the kernel likes.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, given(fd).as_raw_fd(), 0) };
        match NonNull::new(start.cast()) {
            Some(start) if start.as_ptr() as isize != -1 => Ok(Self { start, len }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping has this length and lives as long as `self`; `qrmd` never writes to a plan that it gave
        // away.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: it is ours, and no borrow of it is left.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
