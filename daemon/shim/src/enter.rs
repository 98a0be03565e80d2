//! A command beside that of a running job: in its groups, as its user, with its environment, on the streams of whoever
//! wants it or on a terminal. It refuses to outlive the job or them, and leaves no record.

use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, recvmsg};

use crate::child;
use crate::end::{self, Ended};
use crate::fd;
use crate::files::given;
use crate::launch::received_fds;
use crate::map::Map;
use crate::plan::{Encoded, Plan};
use crate::proc::Process;
use crate::record::{ExecError, Step, failure};
use crate::run::keep_given_only;
use crate::status;
use crate::talk::{self, Heard, MOST};
use crate::terminal::{Terminal, child_signals, hear_signals};

/// How long what is hung up may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the command of the plan; returns the exit status.
pub(crate) fn run() -> i32 {
    keep_given_only();
    // SAFETY: plain system calls. What its processes leave behind when they end is ours, and is ended.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
    let control = given(fd::CONTROL);
    match enter(control) {
        Ok(Some((ended, error))) => say_end(control, ended.shell_code(), error),
        // Nobody wants it any more, or nobody may.
        Ok(None) => {}
        Err(error) => say_end(control, child::exit_code(error), Some(error)),
    }
    status::DONE
}

/// Until it has ended, and why it was not executed if it was not.
fn enter(control: BorrowedFd<'_>) -> Result<Option<(Ended, Option<ExecError>)>, ExecError> {
    let at = |stage| move |error: std::io::Error| failure(stage, &error);
    let map = Map::of(fd::PLAN).map_err(at(Step::Plan))?;
    let plan = Plan::view(map.bytes()).map_err(|_| failure(Step::Plan, &Errno::INVAL.into()))?;
    let signals = child_signals().map_err(at(Step::Fork))?;
    let shim = Process::of(std::process::id()).map_err(at(Step::Fork))?;
    let shim = shim.ok_or(Errno::SRCH.into()).map_err(at(Step::Fork))?;
    let (terminal, streams) = match plan.terminal {
        Some(window) => {
            let terminal = Terminal::open(window, plan.identity.as_ref()).map_err(at(Step::Terminal))?;
            (Some(terminal), None)
        }
        None => match await_streams(control) {
            Some(streams) => (None, Some(streams)),
            None => return Ok(None),
        },
    };
    let (pid, why) = start(&plan, terminal.as_ref(), streams.as_ref()).map_err(at(Step::Fork))?;
    // Who reads what it writes waits for the last descriptor of it to be closed.
    drop(streams);
    let mut watch = Watch { pid, terminal, typed: Vec::new(), seen: Vec::new(), gone: None, over: false };
    let ended = watch.wait(&signals, control);
    end::complete(None, shim);
    watch.show_rest(control);
    Ok(Some((ended, why_not(why))))
}

/// The three descriptors that come with the first message; nothing if something else comes, or the job ends.
fn await_streams(control: BorrowedFd<'_>) -> Option<[OwnedFd; 3]> {
    let command = given(fd::COMMAND);
    let mut fds = [PollFd::from_borrowed_fd(control, PollFlags::IN), PollFd::new(&command, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, None)).ok()?;
    if !fds[1].revents().is_empty() {
        return None;
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut message = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = [0; 2];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(control, &mut [IoSliceMut::new(&mut buffer)], &mut message, flags).ok()?;
    let streams: Vec<OwnedFd> = received_fds(&mut message).collect();
    (talk::meaning(&buffer[..received.bytes]) == Heard::Begin).then_some(())?;
    streams.try_into().ok()
}

/// Makes the process. What comes through the pipe is why it could not be executed; nothing if it could.
fn start(
    plan: &Plan<Encoded<'_>>,
    terminal: Option<&Terminal>,
    streams: Option<&[OwnedFd; 3]>,
) -> std::io::Result<(u32, std::io::PipeReader)> {
    let (why, tell) = std::io::pipe()?;
    // SAFETY: there is one thread, so that the child may do what it likes. Every descriptor but 0, 1 and 2 closes on
    // exec.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()),
        0 => {
            for (stream, to) in streams.into_iter().flatten().zip(0..) {
                // SAFETY: both are open.
                unsafe { libc::dup2(stream.as_raw_fd(), to) };
            }
            let error = child::become_command(plan, terminal);
            let told = [i32::from(error.stage.as_byte()), error.errno].map(i32::to_ne_bytes).concat();
            // Who would read it is gone only if all of this is.
            rustix::io::write(&tell, &told).ok();
            // SAFETY: it never returns.
            unsafe { libc::_exit(child::exit_code(error)) }
        }
        pid => Ok((pid.cast_unsigned(), why)),
    }
}

fn why_not(mut why: std::io::PipeReader) -> Option<ExecError> {
    let mut told = [0; 8];
    why.read_exact(&mut told).ok()?;
    let [a, b, c, d, e, f, g, h] = told;
    let stage = u8::try_from(i32::from_ne_bytes([a, b, c, d])).ok().and_then(Step::from_byte)?;
    Some(ExecError { stage, errno: i32::from_ne_bytes([e, f, g, h]) })
}

fn say_end(control: BorrowedFd<'_>, code: i32, error: Option<ExecError>) {
    // 0 is none of the steps, so that they are counted from 1.
    let (step, errno) = error.map_or((0, 0), |error| (i32::from(error.stage.as_byte()) + 1, error.errno));
    let rest = [code, step, errno].map(i32::to_be_bytes).concat();
    // There is room as soon as who reads has read; nobody else is waited for.
    while let Err(Errno::AGAIN) = talk::say(control, talk::END, &rest) {
        if !is_ready(control, PollFlags::OUT) {
            return;
        }
    }
}

/// Waits until something can be said; false if nobody hears it, or the job is over.
fn is_ready(control: BorrowedFd<'_>, what: PollFlags) -> bool {
    let command = given(fd::COMMAND);
    let mut fds = [PollFd::from_borrowed_fd(control, what), PollFd::new(&command, PollFlags::IN)];
    let polled = rustix::io::retry_on_intr(|| poll(&mut fds, None));
    polled.is_ok() && fds[0].revents().contains(what) && fds[1].revents().is_empty()
}

/// A command that runs.
struct Watch {
    pid: u32,
    terminal: Option<Terminal>,
    /// Typed, and not taken yet.
    typed: Vec<u8>,
    /// Read from the terminal, and not sent yet: who reads slowly has the command wait, as any terminal does.
    seen: Vec<u8>,
    /// Since when nobody is there who wants it.
    gone: Option<Instant>,
    /// The job has ended, and so has this.
    over: bool,
}

impl Watch {
    /// Until it has ended.
    fn wait(&mut self, signals: &OwnedFd, control: BorrowedFd<'_>) -> Ended {
        loop {
            if let Some(ended) = end::poll(self.pid) {
                return ended;
            }
            self.turn(signals, control);
        }
    }

    fn turn(&mut self, signals: &OwnedFd, control: BorrowedFd<'_>) {
        let command = given(fd::COMMAND);
        let mut fds = Vec::with_capacity(4);
        fds.push(PollFd::new(signals, PollFlags::IN));
        // Of who is not there any more nothing is awaited, and that they are not is said for ever.
        let hears = if self.typed.is_empty() { PollFlags::IN } else { PollFlags::empty() };
        let sends = if self.seen.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        if self.gone.is_none() {
            fds.push(PollFd::from_borrowed_fd(control, hears | sends));
        }
        if !self.over {
            fds.push(PollFd::new(&command, PollFlags::IN));
        }
        if let Some(terminal) = &self.terminal {
            let reads = if self.seen.is_empty() { PollFlags::IN } else { PollFlags::empty() };
            let types = if self.typed.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            if !(reads | types).is_empty() {
                fds.push(PollFd::from_borrowed_fd(terminal.ours(), reads | types));
            }
        }
        let left = self.gone.filter(|_| !self.over).map(|since| GRACE.saturating_sub(since.elapsed()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        poll(&mut fds, left.as_ref()).ok();
        let has_hung_up = self.gone.is_none() && fds[1].revents().contains(PollFlags::HUP);
        let late = self.gone.is_some_and(|since| !self.over && since.elapsed() >= GRACE);
        if has_hung_up {
            // Who has left has no more to say than the terminal takes.
            self.typed.clear();
        }
        hear_signals(signals);
        if late || (!self.over && is_over()) {
            self.kill();
        }
        self.listen(control);
        self.copy(control);
    }

    /// All of it, at once: nobody stays in a job that has ended.
    fn kill(&mut self) {
        self.over = true;
        self.signal(libc::SIGKILL);
        // Who has left its process group is found when it has ended itself.
    }

    /// Signals the command and what shares its process group. It is ours to reap, so that the number is its own; it may
    /// not have become a group yet.
    fn signal(&self, signal: i32) {
        let pid = self.pid.cast_signed();
        // SAFETY: kill reads no memory of ours.
        unsafe {
            if libc::kill(-pid, signal) < 0 {
                libc::kill(pid, signal);
            }
        }
    }

    fn listen(&mut self, control: BorrowedFd<'_>) {
        self.type_on();
        let mut buffer = [0; MOST + 2];
        while self.gone.is_none() && self.typed.is_empty() {
            match talk::hear(control, &mut buffer) {
                Heard::Input(len) => {
                    self.typed.extend_from_slice(&buffer[1..=len]);
                    self.type_on();
                }
                Heard::Window(window) => self.terminal.iter().for_each(|terminal| terminal.resize(window, false)),
                Heard::Signal(signal) => self.signal(signal),
                Heard::Nothing => return,
                Heard::Begin | Heard::Gone => {
                    self.gone = Some(Instant::now());
                    // As when a terminal goes away; who stands still is to hear it, too.
                    self.signal(libc::SIGHUP);
                    self.signal(libc::SIGCONT);
                }
            }
        }
    }

    fn type_on(&mut self) {
        let written = self.terminal.as_ref().map_or(self.typed.len(), |terminal| match self.typed.as_slice() {
            [] => 0,
            typed => terminal.write(typed),
        });
        self.typed.drain(..written);
    }

    /// Takes a piece of what was written and sends it; whether there was some.
    fn copy(&mut self, control: BorrowedFd<'_>) -> bool {
        let Some(terminal) = &self.terminal else { return false };
        if self.seen.is_empty() {
            let mut buffer = [0; MOST];
            match terminal.read(&mut buffer) {
                Ok(len) => self.seen.extend_from_slice(&buffer[..len]),
                // It was hung up.
                Err(_) => self.terminal = None,
            }
        }
        if self.seen.is_empty() {
            return false;
        }
        match talk::say(control, talk::OUTPUT, &self.seen) {
            Err(Errno::AGAIN | Errno::NOBUFS) if self.gone.is_none() => {}
            // Who is gone misses it.
            _ => self.seen.clear(),
        }
        true
    }

    /// What it wrote before it ended.
    fn show_rest(&mut self, control: BorrowedFd<'_>) {
        while self.copy(control) {
            if !self.seen.is_empty() && !is_ready(control, PollFlags::OUT) {
                return;
            }
        }
    }
}

/// Whether the job's command has ended.
fn is_over() -> bool {
    let mut fds = [PollFd::from_borrowed_fd(given(fd::COMMAND), PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}
