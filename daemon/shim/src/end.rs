//! The end of a job: waiting for it, ending what it left, and its exit record.
//! It knows the command only by its pid.

use std::io;
use std::mem::MaybeUninit;
use std::thread::sleep;
use std::time::Duration;

use crate::cgroup::JobCgroup;
use crate::clock::Moment;
use crate::files::given;
use crate::proc::Process;
use crate::record::{Exit, PeakFrom};
use crate::{fd, run_file, tree};

/// How the command ended.
pub(crate) struct Ended {
    status: i32,
    at: Moment,
}

/// Waits for the command, reaping on the way what its own family left to us.
pub(crate) fn wait(pid: u32) -> Ended {
    loop {
        match reap(0) {
            Reaped::Child { pid: reaped, status } if reaped == pid => return Ended { status, at: Moment::now() },
            Reaped::Child { .. } | Reaped::Running => {}
            Reaped::NoChild => unreachable!("only this loop reaps the command"),
        }
    }
}

/// The same without waiting; nothing if it has not ended yet.
pub(crate) fn poll(pid: u32) -> Option<Ended> {
    loop {
        match reap(libc::WNOHANG) {
            Reaped::Child { pid: reaped, status } if reaped == pid => return Some(Ended { status, at: Moment::now() }),
            Reaped::Child { .. } => {}
            Reaped::Running | Reaped::NoChild => return None,
        }
    }
}

/// Kills everything that the command left and waits until all of it is gone; returns how many were killed.
pub(crate) fn complete(group: Option<&JobCgroup>, shim: Process) -> u32 {
    let mut killed = 0;
    let (mut flags, mut struck) = (libc::WNOHANG, false);
    loop {
        match reap(flags) {
            Reaped::NoChild => break,
            Reaped::Child { status, .. } => {
                let by_kill = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL;
                killed += u32::from(struck && by_kill);
                // Everybody who is gone by now, before the next look at who is left.
                flags = libc::WNOHANG;
            }
            Reaped::Running => {
                // Somebody may have left the group, and somebody may run as another user; the next to end, by
                // this or by itself, wakes us for another look. A dead process forks no more, so each finds fewer.
                drop(group.map(JobCgroup::strike));
                drop(tree::signal_each(shim, libc::SIGKILL));
                (flags, struck) = (0, true);
            }
        }
    }
    // Who entered the group and is no descendant. One that cannot be killed by us is not waited for.
    killed + group.map_or(0, |group| group.kill_all(None).unwrap_or(0))
}

enum Reaped {
    Child {
        pid: u32,
        status: i32,
    },
    /// There are children, and none has ended.
    Running,
    NoChild,
}

fn reap(flags: i32) -> Reaped {
    loop {
        let mut status = 0;
        // SAFETY: the status is valid for the call.
        match unsafe { libc::waitpid(-1, &raw mut status, flags | libc::__WALL) } {
            0 => return Reaped::Running,
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return Reaped::NoChild,
            pid => return Reaped::Child { pid: pid.cast_unsigned(), status },
        }
    }
}

impl Ended {
    /// The exit code, or 128 and the number of the signal, as a shell would say.
    pub fn shell_code(&self) -> i32 {
        if libc::WIFSIGNALED(self.status) { 128 + libc::WTERMSIG(self.status) } else { libc::WEXITSTATUS(self.status) }
    }

    /// The record, once all is reaped.
    pub fn record(&self, started: Moment, group: Option<&JobCgroup>) -> Exit {
        let status = self.status;
        let mut used = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the structure is valid for the call, all-zero is a value of it, and the call fills it.
        let used = unsafe {
            libc::getrusage(libc::RUSAGE_CHILDREN, used.as_mut_ptr());
            used.assume_init()
        };
        let micros = |time: libc::timeval| time.tv_sec.cast_unsigned() * 1_000_000 + time.tv_usec.cast_unsigned();
        let max_rss_bytes = used.ru_maxrss.cast_unsigned() * 1024;
        let peak = group.and_then(JobCgroup::peak_memory);
        Exit {
            code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
            signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
            core_dumped: libc::WIFSIGNALED(status) && libc::WCOREDUMP(status),
            exec_error: None,
            after: None,
            log: None,
            user_us: micros(used.ru_utime),
            system_us: micros(used.ru_stime),
            max_rss_bytes,
            peak_memory_bytes: peak.unwrap_or(max_rss_bytes),
            peak_from: if peak.is_some() { PeakFrom::Cgroup } else { PeakFrom::Rss },
            oom: peak.is_some() && group.and_then(JobCgroup::oom_kills).is_some_and(|kills| kills > 0),
            killed_leftovers: 0,
            pids_refused: group.and_then(JobCgroup::pids_refused).unwrap_or(0),
            started_wall_ms: started.wall_ms,
            started_boot_ms: started.boot_ms,
            ended_wall_ms: self.at.wall_ms,
            ended_boot_ms: self.at.boot_ms,
            read_blocks: used.ru_inblock.cast_unsigned(),
            write_blocks: used.ru_oublock.cast_unsigned(),
            voluntary_switches: used.ru_nvcsw.cast_unsigned(),
            involuntary_switches: used.ru_nivcsw.cast_unsigned(),
        }
    }
}

/// Puts the record in place; three attempts within a second, all into the space set aside for it.
pub(crate) fn write(record: &Exit) -> io::Result<()> {
    let line = record.to_json();
    let put = || run_file::write_exit(given(fd::RUN_FILE), &line);
    for pause in [50, 100] {
        if put().is_ok() {
            return Ok(());
        }
        sleep(Duration::from_millis(pause));
    }
    put()
}
