//! Starting `qrmd` again when a job ends and nobody is there to see it.
//! It knows a lock file and a program, and nothing of what that program does.

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::ptr;

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat, open};

use crate::lock;
use crate::plan::{Encoded, Restart};

/// Starts it unless one lives, it was stopped on purpose, or its lock file is gone (with its state).
pub(crate) fn unless_present(restart: &Restart<Encoded<'_>>) {
    // If the lock cannot be asked for, nobody is started either: another would not get it.
    let absent = open(restart.lock.0, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .is_ok_and(|file| lock::holder(&file).is_ok_and(|holder| holder.is_none()));
    if absent && accessat(CWD, restart.stopped.0, Access::EXISTS, AtFlags::empty()).is_err() {
        start(restart);
    }
}

/// Forks and executes it in a session of its own. We end at once, so that nobody has to wait for it.
fn start(restart: &Restart<Encoded<'_>>) {
    let pointers = |first: Option<&CStr>, rest: &[Encoded<'_>]| -> Vec<*const c_char> {
        let rest = rest.iter().map(|text| text.0);
        first.into_iter().chain(rest).map(CStr::as_ptr).chain([ptr::null()]).collect()
    };
    let argv = pointers(Some(restart.qrmd.0), &restart.args);
    let envp = pointers(None, &restart.env);
    // SAFETY: there is one thread; the child makes plain system calls on what was made before the fork, and both
    // arrays end with a null. Every descriptor but 0, 1 and 2 closes on exec.
    unsafe {
        if libc::fork() == 0 {
            libc::setsid();
            let mut none = MaybeUninit::uninit();
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
            libc::execve(argv[0], argv.as_ptr(), envp.as_ptr());
            libc::_exit(127);
        }
    }
}
