//! How `qrmd` gets a shim: it starts the program with the right descriptors, or asks a fork server for a copy of itself.
//! It knows no plan and no handshake; what the descriptors carry is their users' business.
//!
//! The fork server is the same program, started once. A copy of it costs a fifth of a new process: loading a program
//! takes longer than all that a shim does for a short job. Each copy is a shim like any other and outlives the server;
//! the server ends when the other end of its socket is closed.

use std::ffi::{CStr, CString, c_char};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::fd;

/// The argument that makes the program a fork server, which has its socket as descriptor 3.
pub const SERVE: &CStr = c"serve";

/// What the server is asked for: a shim.
pub(crate) const SHIM: u8 = b's';
/// Somebody who enters a job.
pub(crate) const ENTER: u8 = b'e';

/// What a shim is given; see [`fd`].
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The memfd with the plan.
    pub plan: BorrowedFd<'a>,
    /// The shim's end of the handshake.
    pub handshake: BorrowedFd<'a>,
    /// The job's directory.
    pub job_dir: BorrowedFd<'a>,
    /// The file for the run's records, claimed for it, open for reading and writing.
    pub run_file: BorrowedFd<'a>,
    /// Where who wants to see the job's terminal connects, if the plan has one: a socket of messages that listens.
    pub terminal: Option<BorrowedFd<'a>>,
}

impl<'a> Given<'a> {
    /// Each, in the order of the places, which begin with [`fd::PLAN`].
    fn placed(&self) -> Vec<BorrowedFd<'a>> {
        [self.plan, self.handshake, self.job_dir, self.run_file].into_iter().chain(self.terminal).collect()
    }
}

/// What somebody is given who runs a command beside that of a running job; nothing is recorded of it.
#[derive(Clone, Copy, Debug)]
pub struct Entered<'a> {
    /// The memfd with the job's plan, but for the program and the terminal, which are its own.
    pub plan: BorrowedFd<'a>,
    /// One end of a socket pair of messages, for [`talk`](crate::talk) with who wants it.
    pub control: BorrowedFd<'a>,
    /// A pidfd of the job's command: nobody stays in a job whose command has ended.
    pub command: BorrowedFd<'a>,
}

/// A shim that was started.
#[derive(Debug)]
pub struct Spawned {
    /// Its pid.
    pub pid: u32,
    /// Readable when it has ended.
    pub pidfd: OwnedFd,
}

/// Starts the program as a shim, as our own child: its exit status is ours to collect. `env` is its environment, not
/// the job's.
///
/// # Errors
/// The program cannot be executed, or no process or descriptor is to be had.
pub fn spawn(program: &Path, env: &[CString], given: Given<'_>) -> io::Result<Spawned> {
    let placed: Vec<_> = given.placed().into_iter().zip(fd::PLAN..).collect();
    execute(program, &[], env, &placed)
}

/// The other end of a fork server.
#[derive(Debug)]
pub struct ForkServer {
    socket: OwnedFd,
    server: Spawned,
}

impl ForkServer {
    /// Starts the program as a fork server, as our own child. `env` is its environment and that of its shims.
    ///
    /// # Errors
    /// As [`spawn`].
    pub fn start(program: &Path, env: &[CString]) -> io::Result<Self> {
        let kind = SocketType::SEQPACKET;
        let (socket, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        let server = execute(program, &[SERVE], env, &[(theirs.as_fd(), fd::PLAN)])?;
        Ok(Self { socket, server })
    }

    /// The server's process; when it has ended, start another.
    #[must_use]
    pub fn process(&self) -> &Spawned {
        &self.server
    }

    /// Asks for a shim and waits for the answer, which takes about as long as a fork. The shim is no child of ours,
    /// and nobody has to wait for it: all that its exit status would say is in its answer on the handshake.
    ///
    /// # Errors
    /// The server is gone (`BrokenPipe`, `ConnectionReset` or `UnexpectedEof`): then no shim was started. Or it could
    /// not fork.
    pub fn spawn(&mut self, given: Given<'_>) -> io::Result<Spawned> {
        self.ask(SHIM, &given.placed())
    }

    /// Asks for somebody who enters a job, and is no more awaited than a shim. It ends by itself: with what it runs,
    /// with the job, or with who wants it.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub fn enter(&mut self, entered: Entered<'_>) -> io::Result<Spawned> {
        self.ask(ENTER, &[entered.plan, entered.control, entered.command])
    }

    fn ask(&mut self, what: u8, fds: &[BorrowedFd<'_>]) -> io::Result<Spawned> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(fd::COUNT))];
        let mut message = SendAncillaryBuffer::new(&mut space);
        message.push(SendAncillaryMessage::ScmRights(fds));
        sendmsg(&self.socket, &[IoSlice::new(&[what])], &mut message, SendFlags::NOSIGNAL)?;

        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut message = RecvAncillaryBuffer::new(&mut space);
        let mut answer = [0; 4];
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(&self.socket, &mut [IoSliceMut::new(&mut answer)], &mut message, RecvFlags::CMSG_CLOEXEC)
        })?;
        if received.bytes != answer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let number = i32::from_ne_bytes(answer);
        match (u32::try_from(number), received_fds(&mut message).next()) {
            (Ok(pid), Some(pidfd)) => Ok(Spawned { pid, pidfd }),
            _ => Err(io::Error::from_raw_os_error(number.wrapping_neg())),
        }
    }
}

/// The descriptors that came with a message.
pub(crate) fn received_fds<'a>(message: &'a mut RecvAncillaryBuffer<'_>) -> impl Iterator<Item = OwnedFd> + 'a {
    message
        .drain()
        .filter_map(|part| match part {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
}

/// posix_spawn(3), which copies nothing of a large parent, with these descriptors and `/dev/null` for 0, 1 and 2.
fn execute(
    program: &Path,
    arguments: &[&CStr],
    env: &[CString],
    fds: &[(BorrowedFd<'_>, RawFd)],
) -> io::Result<Spawned> {
    let program = CString::new(program.as_os_str().as_bytes())?;
    let null = rustix::fs::open(c"/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    let standard = [0, 1, 2].map(|to| (null.as_fd(), to));
    // Above all that is overwritten.
    let fds =
        standard.iter().chain(fds).map(|(from, to)| Ok((rustix::io::fcntl_dupfd_cloexec(from, fd::LAST + 1)?, *to)));
    let fds = fds.collect::<io::Result<Vec<_>>>()?;

    let pointers = |texts: &mut dyn Iterator<Item = &CStr>| -> Vec<*mut c_char> {
        texts.map(|text| text.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
    };
    let argv = pointers(&mut [program.as_c_str()].into_iter().chain(arguments.iter().copied()));
    let envp = pointers(&mut env.iter().map(CString::as_c_str));
    let mut actions = MaybeUninit::uninit();
    let mut pid = 0;
    // SAFETY: the actions are initialised before they are used and destroyed once; both arrays end with a null and
    // point to strings that live longer than the call, which changes none of them.
    let spawned = unsafe {
        libc::posix_spawn_file_actions_init(actions.as_mut_ptr());
        let actions = actions.as_mut_ptr();
        let mut spawned = 0;
        for (from, to) in &fds {
            spawned = spawned.max(libc::posix_spawn_file_actions_adddup2(actions, from.as_raw_fd(), *to));
        }
        if spawned == 0 {
            let path = program.as_ptr();
            spawned = libc::posix_spawn(&raw mut pid, path, actions, ptr::null(), argv.as_ptr(), envp.as_ptr());
        }
        libc::posix_spawn_file_actions_destroy(actions);
        spawned
    };
    if spawned != 0 {
        return Err(io::Error::from_raw_os_error(spawned));
    }
    // It is our own child, so that its pid is its own until we wait for it.
    let child = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?;
    Ok(Spawned { pid: pid.cast_unsigned(), pidfd: pidfd_open(child, PidfdFlags::empty())? })
}

/// The plan's bytes as a descriptor for [`Given::plan`].
///
/// # Errors
/// No memory or no descriptor is to be had.
pub fn plan_fd(plan: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: the name is a C string; the result is checked before it is owned.
    let fd = unsafe { libc::memfd_create(c"qrm-plan".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is new and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut rest = plan;
    while !rest.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(&fd, rest))?;
        rest = &rest[written..];
    }
    Ok(fd)
}
