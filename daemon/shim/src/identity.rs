//! Who a job is: the user and the groups as which its processes run and its files are reached.
//! It refuses to look anything up; the numbers are in the plan.

use std::ffi::{c_int, c_long};
use std::io;

use crate::wire::{Malformed, Reader, Writer};

/// A user, by numbers, as initgroups(3) and setuid(2) would have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The user's own group.
    pub gid: u32,
    /// All groups, with that one.
    pub groups: Vec<u32>,
}

impl Identity {
    pub(crate) fn encode(&self, out: &mut Writer) {
        out.u32(self.uid);
        out.u32(self.gid);
        out.count(self.groups.len());
        self.groups.iter().for_each(|group| out.u32(*group));
    }

    pub(crate) fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { uid: from.u32()?, gid: from.u32()?, groups: from.list(4, Reader::u32)? })
    }

    /// This process is this user from now on, for ever: it can not go back, and nothing that it executes is more. It
    /// allocates nothing. The error number, if it can not.
    ///
    /// By the system calls themselves: those of the C library have all threads of a process do the same, and are not
    /// for one that shares its memory with another.
    pub(crate) fn assume(&self) -> Result<(), c_int> {
        let count = self.groups.len();
        // SAFETY: the list is valid for the call, and the others take numbers.
        unsafe {
            check(libc::syscall(libc::SYS_setgroups, count, self.groups.as_ptr()))?;
            check(libc::syscall(libc::SYS_setresgid, self.gid, self.gid, self.gid))?;
            check(libc::syscall(libc::SYS_setresuid, self.uid, self.uid, self.uid))?;
            check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into())
        }
    }
}

fn check(result: c_long) -> Result<(), c_int> {
    // SAFETY: it is this thread's own.
    if result < 0 { Err(unsafe { *libc::__errno_location() }) } else { Ok(()) }
}

/// This process reaches files as another user until this is dropped; who may signal it stays as it was, as its real user
/// does. There is one thread.
pub(crate) struct Acting(bool);

/// No change of a number, for setresuid(2) and setresgid(2).
const SAME: u32 = u32::MAX;

impl Acting {
    /// As this user; as itself if there is none.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn of(identity: Option<&Identity>) -> io::Result<Self> {
        let Some(Identity { uid, gid, .. }) = identity else { return Ok(Self(false)) };
        // SAFETY: plain system calls.
        unsafe {
            for (call, id) in [(libc::SYS_setresgid, *gid), (libc::SYS_setresuid, *uid)] {
                if libc::syscall(call, SAME, id, SAME) < 0 {
                    let error = io::Error::last_os_error();
                    back();
                    return Err(error);
                }
            }
        }
        Ok(Self(true))
    }
}

impl Drop for Acting {
    fn drop(&mut self) {
        if self.0 {
            back();
        }
    }
}

/// The real user is root's, and it can always be that again.
fn back() {
    // SAFETY: plain system calls.
    unsafe {
        libc::syscall(libc::SYS_setresuid, SAME, 0, SAME);
        libc::syscall(libc::SYS_setresgid, SAME, 0, SAME);
    }
}
