//! What is run when a job's own processes are gone and before its end is recorded: in its group and its directory.
//! It refuses to know what that is for.

use std::ffi::{CString, c_char, c_int};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use crate::cgroup::JobCgroup;
use crate::end;
use crate::files::open_log;
use crate::identity::Acting;
use crate::plan::{Encoded, LogTarget, Plan};

/// What it exited with, or 128 and the number of the signal that ended it; nothing if there is nothing to be run.
pub(crate) fn run(plan: &Plan<Encoded<'_>>) -> Option<i32> {
    let after = plan.after.as_ref()?;
    let pointers = |texts: &[Encoded<'_>]| -> Vec<*const c_char> {
        texts.iter().map(|text| text.0.as_ptr()).chain([ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(after), pointers(&plan.env));
    let dirs = plan.cgroup.iter().flat_map(JobCgroup::dirs);
    let joins = dirs.filter_map(|dir| CString::new(dir.join("cgroup.procs").as_os_str().as_bytes()).ok());
    let joins: Vec<CString> = joins.collect();
    // What it has to complain of is where the job's own complaints are, if those are here.
    let log = match &plan.stderr {
        LogTarget::InJobDir(name) => Acting::of(plan.identity.as_ref()).and_then(|_acting| open_log(name)).ok(),
        LogTarget::File(_) => None,
    };
    // SAFETY: there is one thread; the child makes plain system calls on what was made before the fork, and both
    // arrays end with a null. Every descriptor but 0, 1 and 2 closes on exec.
    let pid = unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::setsid();
            for file in &joins {
                let file = libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                if file < 0 || libc::write(file, c"0".as_ptr().cast(), 1) != 1 {
                    libc::_exit(NOT_RUN);
                }
            }
            if let Some(log) = &log {
                libc::dup2(log.as_raw_fd(), 2);
            }
            libc::umask(plan.umask);
            if plan.identity.as_ref().is_some_and(|identity| identity.assume().is_err()) {
                libc::_exit(NOT_RUN);
            }
            let mut none = MaybeUninit::uninit();
            libc::sigemptyset(none.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
            if libc::chdir(plan.cwd.0.as_ptr()) == 0 {
                libc::execve(argv[0], argv.as_ptr(), envp.as_ptr());
            }
            libc::_exit(NOT_RUN);
        }
        pid
    };
    Some(if pid < 0 { NOT_RUN } else { end::wait(pid.cast_unsigned()).shell_code() })
}

/// As a shell would.
const NOT_RUN: c_int = 126;
