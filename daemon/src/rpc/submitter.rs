//! What a job takes over from the process that submits it: that process's limits, by its pid as the socket says.
//! It refuses to believe the message: who could choose limits would choose more than their own.

use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::Uid;
use qrm_shim::plan::Rlimit;

/// The limits of the process at the other end, all that the kernel has.
///
/// # Errors
/// It is gone, or another user's by now, so that its limits can not be told.
pub(crate) fn limits(pid: Option<i32>, uid: Uid) -> Result<Vec<Rlimit>, Error> {
    let unknown = |why: &dyn std::fmt::Display| {
        let message = format!("the limits of the process that submits can not be read: {why}");
        Error::new(Code::FailedPrecondition, message).hint("it has to live until it is answered, where qrmd can see it")
    };
    let pid = pid.filter(|pid| *pid > 0).ok_or_else(|| unknown(&"it is not to be seen from here"))?;
    let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).map_err(|error| unknown(&error))?;
    let limits = parse(&text).ok_or_else(|| unknown(&"/proc says something else than limits"))?;
    // The number may have gone to another process since: only the user's own count. Nor does one that the same process has
    // executed since and that is more than the user: such programs raise their own limits.
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(|error| unknown(&error))?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let is_own = |text: &str| text.split_whitespace().all(|one| one.parse() == Ok(uid));
    if users.is_some_and(is_own) { Ok(limits) } else { Err(unknown(&"it is not the caller's")) }
}

/// A text of proc_pid_limits(5): a heading, and a line for each, in the order of their numbers.
fn parse(text: &str) -> Option<Vec<Rlimit>> {
    // What a limit is called ends where there are two blanks; some have no unit.
    let line = |(resource, line): (u32, &str)| {
        let (_, values) = line.split_once("  ")?;
        let mut values = values.split_whitespace().map(|word| match word {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        });
        Some(Rlimit { resource, soft: values.next()??, hard: values.next()?? })
    };
    let limits: Option<Vec<Rlimit>> = (0..).zip(text.lines().skip(1)).map(line).collect();
    limits.filter(|limits| !limits.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_those_of_the_process_and_only_of_an_own_one() {
        let me = rustix::process::getuid().as_raw();
        let limits = limits(Some(std::process::id().cast_signed()), me).unwrap();
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let found = limits.iter().find(|limit| u64::from(limit.resource) == u64::from(libc::RLIMIT_NOFILE)).unwrap();
        assert_eq!((Some(found.soft), Some(found.hard)), (files.current, files.maximum));
        for (pid, uid) in [(Some(std::process::id().cast_signed()), me + 1), (Some(0), me), (None, me), (Some(-1), me)]
        {
            assert!(super::limits(pid, uid).is_err(), "{pid:?} of {uid}");
        }
    }

    #[test]
    fn a_program_that_is_more_than_its_user_lends_nobody_its_limits() {
        use std::os::unix::process::CommandExt;
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: needs root, to be somebody else as well");
        }
        for (effective, is_fine) in [(65_534, true), (0, false)] {
            let mut command = std::process::Command::new("sleep");
            // SAFETY: between fork and exec there is one system call.
            unsafe {
                command.arg("60").pre_exec(move || {
                    let done = libc::syscall(libc::SYS_setresuid, 65_534, effective, effective);
                    if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
                });
            }
            let mut sleep = command.spawn().unwrap();
            let limits = limits(Some(sleep.id().cast_signed()), 65_534);
            sleep.kill().unwrap();
            sleep.wait().unwrap();
            assert_eq!(limits.is_ok(), is_fine, "{limits:?}");
        }
    }

    #[test]
    fn a_text_of_the_kernel_is_read_and_any_other_is_none() {
        let text = "Limit  Soft Limit  Hard Limit  Units\nMax cpu time   unlimited  unlimited  seconds\n\
                    Max nice priority         0                    7                    \n";
        let limit = |resource, soft, hard| Rlimit { resource, soft, hard };
        assert_eq!(parse(text), Some(vec![limit(0, u64::MAX, u64::MAX), limit(1, 0, 7)]));
        for text in ["", "Limit\n", "Limit\nMax cpu time\n", "Limit\nMax cpu time  1\n", "Limit\nMax cpu  x 1\n"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
