//! Looking at a terminal of a job: what it shows comes here, what is typed here goes there, until either is over.
//! It refuses to know the job.

use crate::terminal::{self, Keys, Modes, Raw};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::terminal::{END, FULL, INPUT, MOST, OUTPUT, SIGNAL, WINDOW};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};
use std::io::{IoSlice, Write};
use std::os::fd::{AsFd, OwnedFd};

/// Signals that end looking, and leave the terminal as it was.
const ENDING: [Signal; 4] = [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT];

/// Why it is over.
pub(crate) enum Left {
    /// The keys for it were pressed.
    Detached,
    /// The other side has closed, as it does when the job ends; what it said last.
    Closed(Option<End>),
    /// This process was told to end.
    Told(Signal),
    /// As many look on as may.
    Full,
}

/// How a command ended that ran beside a job's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Its exit code, or 128 + its signal.
    pub code: u8,
    /// The step towards it that failed, and the number of the error; nothing if it ran.
    pub failed: Option<(i32, i32)>,
}

impl End {
    /// In the rest of a message.
    pub(crate) fn parse(rest: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(i32::from_be_bytes(rest.get(at..at + 4)?.try_into().ok()?));
        let (code, step, errno) = (number(0)?, number(4)?, number(8)?);
        Some(Self { code: u8::try_from(code).ok()?, failed: (step != 0).then_some((step, errno)) })
    }
}

/// What is done when there is nothing more to be typed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum InputEnd {
    /// The end is typed, too: the job has its input from nowhere else.
    Typed,
    /// Nothing: others may type.
    Silent,
}

/// The signals that must not end this process on their own while it has a terminal; before any thread is made.
pub(crate) fn signals(others: &[Signal]) -> Result<SignalFd, Error> {
    let failed = |e| Error::new(Code::Unavailable, format!("signals can not be blocked: {e}"));
    // What this process was started to ignore stays so.
    let heard = ENDING.into_iter().chain([Signal::SIGWINCH, Signal::SIGTSTP]).chain(others.iter().copied());
    let heard: SigSet = heard.filter(|signal| !crate::render::is_ignored(*signal)).collect();
    let mut mask = heard;
    mask.add(Signal::SIGPIPE);
    mask.thread_block().map_err(failed)?;
    SignalFd::with_flags(&heard, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(failed)
}

/// The next that has come, if there is one.
pub(crate) fn next(signals: &SignalFd) -> Option<Signal> {
    while let Ok(Some(info)) = signals.read_signal() {
        if let Some(signal) = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok()) {
            return Some(signal);
        }
    }
    None
}

/// Shows the terminal until it is over.
pub(crate) fn look(socket: &OwnedFd, signals: &SignalFd, keys: Option<Keys>, at_end: InputEnd) -> Result<Left, Error> {
    let raw = Raw::begin()?;
    let mut pane = Pane {
        socket,
        signals,
        // Only a person presses keys.
        keys: keys.filter(|_| raw.is_some()),
        raw,
        at_end,
        typed: Vec::new(),
        window: true,
        reads: true,
        line_begins: true,
        modes: Modes::default(),
    };
    let left = pane.run();
    let back = pane.modes.back();
    drop(pane.raw);
    if rustix::termios::isatty(std::io::stdout()) {
        // A terminal that is gone shows nothing.
        std::io::stdout().write_all(back.as_bytes()).and_then(|()| std::io::stdout().flush()).ok();
    }
    left
}

/// Sends a message if there is room for it.
pub(crate) fn say(socket: &OwnedFd, what: u8, rest: &[u8]) -> Result<bool, Errno> {
    let parts = [IoSlice::new(std::slice::from_ref(&what)), IoSlice::new(rest)];
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    match rustix::io::retry_on_intr(|| sendmsg(socket, &parts, &mut SendAncillaryBuffer::default(), flags)) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN | Errno::NOBUFS) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A message, if there is one; an empty one is the end.
pub(crate) fn hear<'a>(socket: &OwnedFd, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    match rustix::io::retry_on_intr(|| recv(socket, &mut *buffer, RecvFlags::DONTWAIT)) {
        Ok((len, _)) => Some(&buffer[..len]),
        Err(Errno::AGAIN) => None,
        // Who has closed with something of ours unread.
        Err(_) => Some(&[]),
    }
}

struct Pane<'a> {
    socket: &'a OwnedFd,
    signals: &'a SignalFd,
    keys: Option<Keys>,
    raw: Option<Raw>,
    at_end: InputEnd,
    /// Not sent yet.
    typed: Vec<u8>,
    /// The size is to be told.
    window: bool,
    /// There is more to be typed.
    reads: bool,
    /// What was typed last ended a line.
    line_begins: bool,
    modes: Modes,
}

impl Pane<'_> {
    fn run(&mut self) -> Result<Left, Error> {
        loop {
            self.send();
            let stdin = std::io::stdin();
            let sends = !self.typed.is_empty() || self.window;
            let wants = if sends { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            let mut fds = vec![PollFd::new(self.signals, PollFlags::IN), PollFd::new(self.socket, wants)];
            if self.reads && self.typed.is_empty() {
                fds.push(PollFd::new(&stdin, PollFlags::IN));
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(Error::new(Code::Unavailable, format!("waiting failed: {e}"))),
            }
            let is = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
            let (signalled, said, pressed) = (is(0), is(1), is(2));
            drop(fds);
            if signalled && let Some(signal) = self.on_signals() {
                return Ok(Left::Told(signal));
            }
            if said && let Some(left) = self.show()? {
                return Ok(left);
            }
            if pressed && self.read()? {
                self.send();
                return Ok(Left::Detached);
            }
        }
    }

    /// What can not be sent to who is gone is found out by who listens.
    fn send(&mut self) {
        if self.window
            && let Some(size) = terminal::size()
        {
            self.window = matches!(say(self.socket, WINDOW, &size.to_message()), Ok(false));
        } else {
            self.window = false;
        }
        while !self.typed.is_empty() && !self.window {
            let piece = &self.typed[..self.typed.len().min(MOST)];
            match say(self.socket, INPUT, piece) {
                Ok(true) => drop(self.typed.drain(..self.typed.len().min(MOST))),
                Ok(false) => return,
                Err(_) => self.typed.clear(),
            }
        }
    }

    /// The one that ends this process, if one does.
    fn on_signals(&mut self) -> Option<Signal> {
        while let Some(signal) = next(self.signals) {
            match signal {
                Signal::SIGWINCH => self.window = true,
                Signal::SIGTSTP => self.stand_still(),
                signal if ENDING.contains(&signal) => return Some(signal),
                signal => drop(say(self.socket, SIGNAL, &[signal as u8])),
            }
        }
        None
    }

    /// Somebody has this process stand still: a shell has the terminal meanwhile.
    fn stand_still(&mut self) {
        self.raw.iter().for_each(Raw::pause);
        nix::sys::signal::raise(Signal::SIGSTOP).ok();
        if let Some(raw) = &self.raw
            && let Err(error) = raw.again()
        {
            eprintln!("qrm: the terminal can not be set: {error}");
        }
        self.window = true;
    }

    fn show(&mut self) -> Result<Option<Left>, Error> {
        let mut buffer = [0; MOST + 1];
        let Some(message) = hear(self.socket, &mut buffer) else { return Ok(None) };
        match message {
            [OUTPUT, bytes @ ..] => {
                self.modes.see(bytes);
                let mut out = std::io::stdout();
                out.write_all(bytes)
                    .and_then(|()| out.flush())
                    .map_err(|e| crate::render::Standard::Output.failed(&e))?;
                Ok(None)
            }
            [END, rest @ ..] => Ok(Some(Left::Closed(End::parse(rest)))),
            [FULL, ..] => Ok(Some(Left::Full)),
            // What a later release says beside that.
            [_, ..] => Ok(None),
            [] => Ok(Some(Left::Closed(None))),
        }
    }

    /// Reads keys; whether those were among them that leave.
    fn read(&mut self) -> Result<bool, Error> {
        let mut buffer = [0; MOST];
        let n = match rustix::io::read(std::io::stdin().as_fd(), &mut buffer) {
            Ok(n) => n,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(false),
            // The terminal is gone, and its signal comes; or it is one that can not be read.
            Err(_) => 0,
        };
        if n == 0 {
            self.reads = false;
            if self.at_end == InputEnd::Typed {
                // In the middle of a line the first only ends that.
                self.typed.extend_from_slice(if self.line_begins { b"\x04" } else { b"\x04\x04" });
            }
            return Ok(false);
        }
        self.line_begins = buffer[n - 1] == b'\n';
        match &mut self.keys {
            None => self.typed.extend_from_slice(&buffer[..n]),
            Some(keys) => {
                let pressed = keys.press(&buffer[..n]);
                self.typed.extend(pressed.typed);
                return Ok(pressed.leave);
            }
        }
        Ok(false)
    }
}
