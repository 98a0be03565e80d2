//! The fork server: for each request a copy of itself that becomes a shim.
//! It knows no plan, keeps no list of its copies, and ends when nobody can ask any more.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::clock::ticks;
use crate::files::{close_range, given};
use crate::launch::received_fds;
use crate::run::Origin;
use crate::{enter, fd, launch, run, status};

/// The server's socket.
const SOCKET: RawFd = fd::PLAN;

/// Serves until the other end of the socket is closed; returns the exit status.
pub(crate) fn serve() -> i32 {
    run::isolate();
    // SAFETY: a plain system call. Nobody waits for a copy.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    close_all_but_socket();
    // The heap is set up once, here, and not in every copy.
    drop(std::hint::black_box(Vec::<u8>::with_capacity(1024)));
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(fd::COUNT))];
        let mut message = RecvAncillaryBuffer::new(&mut space);
        let mut word = [0; 1];
        let flags = RecvFlags::CMSG_CLOEXEC;
        match recvmsg(given(SOCKET), &mut [IoSliceMut::new(&mut word)], &mut message, flags) {
            Ok(received) if received.bytes == 1 => {}
            _ => return status::DONE,
        }
        let mut fds = received_fds(&mut message);
        let fds: [Option<OwnedFd>; fd::COUNT] = std::array::from_fn(|_| fds.next());
        let [what] = word;
        let after = ticks();
        match fork() {
            Ok((0, _)) => {
                place(fds);
                let status = match what {
                    launch::ENTER => enter::run(),
                    _ => run::run(Origin::Copied { after }),
                };
                // SAFETY: it never returns.
                unsafe { libc::_exit(status) }
            }
            Ok((pid, pidfd)) => answer(pid, pidfd.as_ref()),
            Err(error) => answer(-error.raw_os_error().unwrap_or(libc::EAGAIN), None),
        }
    }
}

/// Puts the descriptors where a shim expects them. They are the lowest that were free, in this order, so that each
/// one's place is below it and none is overwritten before it was copied.
fn place(fds: [Option<OwnedFd>; fd::COUNT]) {
    let mut end = fd::PLAN;
    for (place, given) in (fd::PLAN..).zip(fds.into_iter().flatten()) {
        // SAFETY: the place is the server's socket, which this copy does not use, or was copied already. The
        // descriptor is not closed here: the shim closes all that it does not use.
        unsafe { libc::dup2(given.into_raw_fd(), place) };
        end = place + 1;
    }
    // The place behind the last of them is where that was before; what is expected there was not given.
    // SAFETY: nothing of this name is in use.
    unsafe { libc::close(end) };
}

/// A copy of this process, 0 in the copy, and a descriptor of it in the server.
fn fork() -> io::Result<(libc::pid_t, Option<OwnedFd>)> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all-zero is what the manual page asks for where nothing is wanted.
    let mut args: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
    args.flags = libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM the copy has its own copy of everything, as after fork, and there is one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match pid {
        0 => return Ok((0, None)),
        // SAFETY: the kernel made it for us.
        pid if pid > 0 => return Ok((pid as libc::pid_t, Some(unsafe { OwnedFd::from_raw_fd(pidfd) }))),
        _ => {}
    }
    let error = io::Error::last_os_error();
    if !matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EINVAL)) {
        return Err(error);
    }
    // SAFETY: there is one thread.
    match unsafe { libc::fork() } {
        0 => Ok((0, None)),
        -1 => Err(io::Error::last_os_error()),
        // It waits for its handshake, and is there.
        pid => Ok((pid, crate::proc::open(pid.cast_unsigned())?)),
    }
}

/// Says the pid, or the negative error number. Who asked may be gone; then the next read says so.
fn answer(number: i32, pidfd: Option<&OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    let fds = pidfd.map(|pidfd| [pidfd.as_fd()]);
    if let Some(fds) = &fds {
        message.push(SendAncillaryMessage::ScmRights(fds));
    }
    sendmsg(given(SOCKET), &[IoSlice::new(&number.to_ne_bytes())], &mut message, SendFlags::NOSIGNAL).ok();
}

/// So that what a request brings has the lowest numbers, and no copy has anything else.
fn close_all_but_socket() {
    // SAFETY: nothing else is in use. Where the call is missing, a copy closes what is above its own.
    unsafe {
        close_range(SOCKET as libc::c_uint + 1, libc::c_uint::MAX, 0);
        for fd in SOCKET + 1..=fd::LAST + 1 {
            libc::close(fd);
        }
    }
}
