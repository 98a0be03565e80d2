//! What `qrm-shim` does, and the few formats that it shares with `qrmd`: the plan, the records, the job's group.
//! Nothing here knows of queues, users, sockets or the store.

mod after;
pub mod cgroup;
mod child;
mod clock;
mod end;
mod enter;
mod fault;
mod files;
pub mod handshake;
pub mod identity;
pub mod launch;
pub mod lock;
mod map;
pub mod plan;
pub mod proc;
pub mod record;
mod restart;
mod run;
pub mod run_file;
mod serve;
pub mod talk;
pub mod terminal;
pub mod tree;
mod vfork;
mod wire;

/// Runs the shim, as [`fd`] says, and returns its exit status, one of [`status`]; or, with the argument
/// [`launch::SERVE`], the fork server (see [`launch`]).
#[must_use]
pub fn main(argument: Option<&std::ffi::CStr>) -> i32 {
    match argument {
        Some(word) if word == launch::SERVE => serve::serve(),
        _ => run::run(run::Origin::Executed),
    }
}

/// The descriptors that `qrmd` starts the shim with; 0, 1 and 2 are `/dev/null`, and all others are closed.
pub mod fd {
    use std::os::fd::RawFd;

    /// A memfd with the encoded [`Plan`](crate::plan::Plan), and nothing else.
    pub const PLAN: RawFd = 3;
    /// One end of a stream socket pair, for the [`handshake`](crate::handshake).
    pub const HANDSHAKE: RawFd = 4;
    /// The job's directory, opened for reading.
    pub const JOB_DIR: RawFd = 5;
    /// The file for the records of the run, claimed for it, opened for reading and writing; see
    /// [`run_file`](crate::run_file).
    pub const RUN_FILE: RawFd = 6;
    /// Where who wants to see the job's terminal connects; only if it has one. It listens already.
    pub const TERMINAL: RawFd = 7;

    /// What somebody who enters a job says and hears, see [`enter`](crate::launch::Entered).
    pub(crate) const CONTROL: RawFd = HANDSHAKE;
    /// The command of the job that is entered.
    pub(crate) const COMMAND: RawFd = JOB_DIR;

    /// The highest of them.
    pub(crate) const LAST: RawFd = TERMINAL;
    /// How many they are at most.
    pub(crate) const COUNT: usize = (LAST - PLAN + 1) as usize;
}

/// What the shim's exit status says.
pub mod status {
    /// The job ran and its record is in place, or nothing was to be run (`qrmd` closed the handshake before `g`).
    pub const DONE: i32 = 0;
    /// Another shim holds the lock of the run's file, or that is another run's; nothing was done.
    pub const HELD: i32 = 75;
    /// This run was started once already; nothing was done.
    pub const RAN: i32 = 76;
    /// The run could not be prepared; the handshake says why, and the command was not released.
    pub const UNPREPARED: i32 = 77;
    /// The job ended, and its record could not be written.
    pub const UNRECORDED: i32 = 78;
}
