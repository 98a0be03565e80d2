//! One run, from nothing to its exit record, in numbered steps; each is a place to die at in the tests.
//! It decides nothing: what is run, where and in which group is in the plan, and what the end means is `qrmd`'s.

use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

use rustix::io::Errno;

use crate::cgroup::JobCgroup;
use crate::child::{self, Released, Withheld};
use crate::clock::ticks;
use crate::files::{Logs, clean, close_range, given};
use crate::map::Map;
use crate::plan::{Encoded, Plan};
use crate::proc::Process;
use crate::record::{ExecError, Exit, Step, failure};
use crate::run_file::{self, RunFile};
use crate::terminal::{Screen, Terminal};
use crate::{after, end, fault, fd, handshake, lock, restart, status};

/// How many signals the kernel has, on all machines but MIPS.
const SIGNALS: usize = 64;

/// The command was released.
struct Running {
    /// The plan, unless it is large.
    map: Option<Map>,
    group: Option<JobCgroup>,
    shim: Process,
    command: Released,
    screen: Option<Screen>,
}

/// Why it was not.
enum Stop {
    /// Nothing was to be done.
    Status(i32),
    /// It could not be prepared.
    Failed(ExecError),
}

impl Stop {
    fn at<E: Into<std::io::Error>>(stage: Step) -> impl FnOnce(E) -> Self {
        move |error| Self::Failed(failure(stage, &error.into()))
    }
}

/// A plan up to this size stays in memory for the end of the job; a larger one is given back and read again.
const KEPT_BYTES: usize = 32 * 1024;

/// How this process came to be.
#[derive(Clone, Copy)]
pub(crate) enum Origin {
    /// It was executed.
    Executed,
    /// It is a copy of the fork server, which is isolated already, made at this tick of the kernel's clock or later.
    Copied { after: u64 },
}

/// Runs the plan on descriptor 3; returns the exit status.
pub(crate) fn run(origin: Origin) -> i32 {
    fault::point("shim.1");
    let known = match origin {
        Origin::Executed => None,
        Origin::Copied { after } => Some(after).filter(|after| *after == ticks()),
    };
    if let Origin::Executed = origin {
        isolate();
    }
    keep_given_only();
    // SAFETY: plain system calls. What the job's processes leave behind when they end is ours, and is awaited.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
    // SAFETY: nobody else owns it.
    let handshake = unsafe { OwnedFd::from_raw_fd(fd::HANDSHAKE) };
    // That nobody listens any more is no error: what counts is in the records and in the exit status.
    let answer = |bytes: &[u8]| rustix::io::write(&handshake, bytes).ok();
    let running = match begin(known) {
        Ok(running) => running,
        Err(Stop::Status(status)) => {
            match status {
                status::HELD => answer(&[handshake::HELD]),
                status::RAN => answer(&[handshake::RAN]),
                _ => None,
            };
            return status;
        }
        Err(Stop::Failed(error)) => {
            answer(handshake::failed(error).as_bytes());
            return status::UNPREPARED;
        }
    };
    answer(&[handshake::STARTED]);
    drop(handshake);

    fault::point("shim.9");
    let Running { map, group, shim, command: Released { pid, since, exec_error }, mut screen } = running;
    let ended = match &mut screen {
        Some(screen) => screen.wait(pid),
        None => end::wait(pid),
    };
    let mut killed_leftovers = end::complete(group.as_ref(), shim);
    let log = screen.and_then(Screen::end);
    let record = Exit { exec_error, log, ..ended.record(since, group.as_ref()) };
    let map = map.map_or_else(|| Map::of(fd::PLAN), Ok).ok();
    let plan = map.as_ref().and_then(|map| Plan::view(map.bytes()).ok());
    let after = plan.as_ref().filter(|_| exec_error.is_none()).and_then(after::run);
    if after.is_some() {
        // It ran with the job's environment, and may have made processes of the job's choice.
        killed_leftovers += end::complete(group.as_ref(), shim);
    }

    fault::point("shim.10");
    let written = end::write(&Exit { after, killed_leftovers, ..record });

    fault::point("shim.11");
    if let Some(restart) = plan.and_then(|plan| plan.restart) {
        restart::unless_present(&restart);
    }
    if written.is_ok() { status::DONE } else { status::UNRECORDED }
}

/// Step 1: nothing that others do reaches us.
pub(crate) fn isolate() {
    // SAFETY: plain system calls; in none of them is a failure possible that could be helped.
    unsafe {
        libc::setsid();
        libc::prctl(libc::PR_SET_NAME, c"qrm-shim".as_ptr());
        // Ignored signals stay ignored across exec, and the job gets what it inherits from us. All-zero is the
        // kernel's default action; the C library's own call leaves two of the signals out.
        let default = [0u64; 4];
        for signal in 1..=SIGNALS {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null_mut::<u64>(), SIGNALS / 8);
        }
        let mut all = MaybeUninit::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), ptr::null_mut());
    }
}

/// Step 1: nothing of what others left open is kept, and nothing of ours reaches the job.
pub(crate) fn keep_given_only() {
    let (first, last) = (fd::PLAN as libc::c_uint, fd::LAST as libc::c_uint);
    // SAFETY: nothing but the given descriptors is in use.
    unsafe {
        if close_range(last + 1, libc::c_uint::MAX, 0) != 0 || close_range(first, last, libc::CLOSE_RANGE_CLOEXEC) != 0
        {
            close_one_by_one();
        }
    }
}

/// For kernels before 5.11.
fn close_one_by_one() {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open {
        // SAFETY: as in `keep_given_only`; the listing's own descriptor is closed by now, and closing it again is harmless.
        unsafe {
            if fd > fd::LAST {
                libc::close(fd);
            } else if fd >= fd::PLAN {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}

/// Steps 2 to 8, up to the released command. If it is not released, nothing is left.
fn begin(known_start: Option<u64>) -> Result<Running, Stop> {
    let map = Map::of(fd::PLAN).map_err(Stop::at(Step::Plan))?;
    let plan = Plan::view(map.bytes()).map_err(|_| Stop::at(Step::Plan)(Errno::INVAL))?;
    let owner = run_file::owner(plan.job.0.to_bytes(), &plan.run);

    fault::point("shim.2");
    // Held for life: this descriptor is never closed.
    if !lock::take(given(fd::RUN_FILE)).map_err(Stop::at(Step::Lock))? {
        return Err(Stop::Status(status::HELD));
    }

    fault::point("shim.3");
    let file = RunFile::read(given(fd::RUN_FILE)).map_err(Stop::at(Step::Started))?;
    if file.owner() != Some(&owner) {
        // A `qrmd` that is gone asked for us, and the next one has used the file for another run.
        return Err(Stop::Status(status::HELD));
    }
    if file.exit().or(file.started()).is_some() {
        return Err(Stop::Status(status::RAN));
    }

    match release(&plan, &owner, known_start) {
        Ok((shim, command, screen)) => {
            let group = plan.cgroup.clone();
            drop(plan);
            let map = (map.bytes().len() <= KEPT_BYTES).then_some(map);
            if map.is_none() {
                give_back_memory();
            }
            Ok(Running { map, group, shim, command, screen })
        }
        Err(withheld) => {
            clean(&plan);
            Err(match withheld {
                Withheld::Unwanted => Stop::Status(status::DONE),
                Withheld::Unprepared(error) => Stop::Failed(error),
            })
        }
    }
}

/// Steps 4 to 8.
fn release(
    plan: &Plan<Encoded<'_>>,
    owner: &[u8],
    known_start: Option<u64>,
) -> Result<(Process, Released, Option<Screen>), Withheld> {
    fault::point("shim.4");
    let failed = |stage| move |error: std::io::Error| Withheld::Unprepared(failure(stage, &error));
    let logs = Logs::open(plan).map_err(Withheld::Unprepared)?;
    let terminal = match plan.terminal {
        Some(window) => Some(Terminal::open(window, plan.identity.as_ref()).map_err(failed(Step::Terminal))?),
        None => None,
    };

    fault::point("shim.5");
    let shim = match known_start {
        Some(start) => Process { pid: std::process::id(), start },
        None => {
            let shim = Process::of(std::process::id()).map_err(failed(Step::Fork))?;
            shim.ok_or(Errno::SRCH.into()).map_err(failed(Step::Fork))?
        }
    };
    let command = child::run(plan, shim, &logs, terminal.as_ref(), owner)?;
    let screen = terminal.map(|terminal| Screen::new(terminal, logs.stdout));
    Ok((shim, command, screen))
}

/// What a large plan took from the heap goes back to the kernel; the C library would keep it for later.
fn give_back_memory() {
    // SAFETY: a plain call.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
