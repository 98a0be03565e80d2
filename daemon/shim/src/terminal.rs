//! The terminal of a job: what is written on it goes into the log and to whoever looks on, and all of those may type.
//! It refuses to make the job wait for anybody, and to know who they are.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, sockopt::socket_peercred};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};

use crate::end::{self, Ended};
use crate::fd;
use crate::files::given;
use crate::identity::{Acting, Identity};
use crate::talk::{self, Heard, MOST};

/// How large a terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Lines.
    pub rows: u16,
    /// Characters in each.
    pub cols: u16,
}

/// The longest side of a terminal: some programs have room for each character of it.
const LONGEST: u16 = 9_999;

impl Window {
    /// Whether a terminal can be so large.
    pub(crate) fn is_good(self) -> bool {
        (1..=LONGEST).contains(&self.rows) && (1..=LONGEST).contains(&self.cols)
    }
}

/// Both ends of a terminal.
pub(crate) struct Terminal {
    ours: OwnedFd,
    /// Open for as long as ours is, so that it can be left and come back to.
    theirs: OwnedFd,
}

impl Terminal {
    /// A new one, which belongs to this user.
    pub fn open(window: Window, identity: Option<&Identity>) -> io::Result<Self> {
        let _acting = Acting::of(identity)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags)?;
        unlockpt(&ours)?;
        // By the descriptor: what its name leads to is somebody else's where another /dev/pts is mounted.
        let theirs = ioctl_tiocgptpeer(&ours, flags)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let terminal = Self { ours, theirs };
        terminal.resize(window, false);
        Ok(terminal)
    }

    /// The end that a command has.
    pub fn theirs(&self) -> RawFd {
        self.theirs.as_raw_fd()
    }

    /// Our end, to wait for.
    pub fn ours(&self) -> BorrowedFd<'_> {
        self.ours.as_fd()
    }

    /// Has another size, which the kernel tells those in the foreground; with `draw` also if it is the same one, so that
    /// they draw anew.
    pub fn resize(&self, window: Window, draw: bool) {
        let set = |rows| {
            let size = Winsize { ws_row: rows, ws_col: window.cols, ws_xpixel: 0, ws_ypixel: 0 };
            // It is a terminal, and nothing else is asked of it.
            tcsetwinsize(&self.ours, size).ok();
        };
        let is_same = tcgetwinsize(&self.ours).is_ok_and(|now| (now.ws_row, now.ws_col) == (window.rows, window.cols));
        if draw && is_same {
            set(window.rows + 1);
        }
        set(window.rows);
    }

    /// What was written on it; 0 if nothing now, an error if nothing ever again.
    pub fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.ours, &mut *buffer)) {
            Err(Errno::AGAIN) => Ok(0),
            Ok(0) => Err(Errno::IO),
            other => other,
        }
    }

    /// Types as much as there is room for.
    pub fn write(&self, typed: &[u8]) -> usize {
        // What a terminal that was hung up does not take is gone.
        match rustix::io::retry_on_intr(|| rustix::io::write(&self.ours, typed)) {
            Err(Errno::AGAIN) => 0,
            Err(_) => typed.len(),
            Ok(written) => written,
        }
    }
}

/// SIGCHLD as something to poll; all signals are blocked.
pub(crate) fn child_signals() -> io::Result<OwnedFd> {
    let mut mask = std::mem::MaybeUninit::uninit();
    // SAFETY: the set is initialised before it is used, and the result is checked before it is owned.
    unsafe {
        libc::sigemptyset(mask.as_mut_ptr());
        libc::sigaddset(mask.as_mut_ptr(), libc::SIGCHLD);
        match libc::signalfd(-1, mask.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Takes what a descriptor of [`child_signals`] has; who has ended is asked elsewhere.
pub(crate) fn hear_signals(signals: &OwnedFd) {
    let mut info = [0; size_of::<libc::signalfd_siginfo>()];
    while rustix::io::read(signals, &mut info).is_ok_and(|n| n > 0) {}
}

/// How many may look on at once.
const VIEWERS: usize = 8;
/// So much of the last output is kept for who comes, and for who falls behind.
const KEPT: usize = 64 * 1024;
/// So much is read at once.
const PIECE: usize = 16 * 1024;

/// A job's terminal, and who looks on.
pub(crate) struct Screen {
    terminal: Terminal,
    log: Option<OwnedFd>,
    shown: Shown,
    viewers: Vec<Viewer>,
    /// It was hung up.
    dead: bool,
    /// Why the log does not have all of it.
    lost: Option<i32>,
}

/// Somebody who looks on.
struct Viewer {
    socket: OwnedFd,
    /// How much of what was ever shown was sent.
    at: u64,
    /// Typed, and not taken yet.
    typed: Vec<u8>,
    /// Its first word on its size has it all drawn.
    drawn: bool,
}

impl Screen {
    pub fn new(terminal: Terminal, log: Option<OwnedFd>) -> Self {
        Self { terminal, log, shown: Shown::default(), viewers: Vec::new(), dead: false, lost: None }
    }

    /// Waits for the command.
    pub fn wait(&mut self, pid: u32) -> Ended {
        // Without a descriptor for it nobody can look on; the job goes on all the same, as far as its terminal takes.
        let Ok(signals) = child_signals() else { return end::wait(pid) };
        loop {
            if let Some(ended) = end::poll(pid) {
                return ended;
            }
            self.turn(&signals);
        }
    }

    /// What is left to be shown when nobody writes any more; who looks on sees that by the end of what they hear. The
    /// number of the error, if not all of it is in the log.
    pub fn end(mut self) -> Option<i32> {
        self.accept();
        while self.copy() {
            self.send_all();
        }
        self.send_all();
        self.lost
    }

    /// Waits for something to happen, and does what follows from it.
    fn turn(&mut self, signals: &OwnedFd) {
        let mut wanted = if self.dead { PollFlags::empty() } else { PollFlags::IN };
        if self.viewers.iter().any(|viewer| !viewer.typed.is_empty()) {
            wanted |= PollFlags::OUT;
        }
        let door = given(fd::TERMINAL);
        let mut fds = Vec::with_capacity(3 + self.viewers.len());
        fds.push(PollFd::new(signals, PollFlags::IN));
        fds.push(PollFd::new(&door, PollFlags::IN));
        for viewer in &self.viewers {
            let wants = viewer.wants(&self.shown);
            // Of whom nothing is wanted nothing is awaited: that they are gone is said for ever.
            if !wants.is_empty() {
                fds.push(PollFd::new(&viewer.socket, wants));
            }
        }
        if !self.dead {
            fds.push(PollFd::new(&self.terminal.ours, wanted));
        }
        // What it says is looked for in any case.
        poll(&mut fds, None).ok();
        let called = !fds[1].revents().is_empty();
        hear_signals(signals);
        if called {
            self.accept();
        }
        self.listen();
        self.copy();
        self.send_all();
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(socket) = accept_with(given(fd::TERMINAL), flags) {
            // Only who runs us: `qrmd` says who may look.
            let is_own = socket_peercred(&socket).is_ok_and(|peer| peer.uid == rustix::process::geteuid());
            if is_own && self.viewers.len() < VIEWERS {
                let at = self.shown.oldest_line();
                self.viewers.push(Viewer { socket, at, typed: Vec::new(), drawn: false });
            } else if is_own {
                // Who does not hear it sees the socket closed.
                talk::say(&socket, talk::FULL, &[]).ok();
            }
        }
    }

    /// Hears who looks on, and types what they typed.
    fn listen(&mut self) {
        let terminal = &self.terminal;
        let mut buffer = [0; MOST + 2];
        self.viewers.retain_mut(|viewer| {
            viewer.type_on(terminal);
            // One message at a time, so that a flood of one does not shut out the others.
            if !viewer.typed.is_empty() {
                return true;
            }
            match talk::hear(&viewer.socket, &mut buffer) {
                Heard::Input(len) => {
                    viewer.typed.extend_from_slice(&buffer[1..=len]);
                    viewer.type_on(terminal);
                    true
                }
                Heard::Window(window) => {
                    terminal.resize(window, !std::mem::replace(&mut viewer.drawn, true));
                    true
                }
                Heard::Nothing => true,
                Heard::Signal(_) | Heard::Begin | Heard::Gone => false,
            }
        });
    }

    /// Takes a piece of what was written; whether there was some.
    fn copy(&mut self) -> bool {
        let mut buffer = [0; PIECE];
        let len = match self.terminal.read(&mut buffer) {
            _ if self.dead => 0,
            Ok(len) => len,
            Err(_) => {
                self.dead = true;
                0
            }
        };
        let piece = &buffer[..len];
        self.shown.add(piece);
        self.write_log(piece);
        len > 0
    }

    /// What the disk does not take is lost to the log, and shown to who looks on all the same.
    fn write_log(&mut self, mut piece: &[u8]) {
        let Some(log) = &self.log else { return };
        while !piece.is_empty() {
            match rustix::io::retry_on_intr(|| rustix::io::write(log, piece)) {
                Ok(written) => piece = &piece[written..],
                Err(error) => {
                    self.lost.get_or_insert(error.raw_os_error());
                    return;
                }
            }
        }
    }

    fn send_all(&mut self) {
        let shown = &self.shown;
        self.viewers.retain_mut(|viewer| viewer.send(shown));
    }
}

impl Viewer {
    fn wants(&self, shown: &Shown) -> PollFlags {
        let hears = if self.typed.is_empty() { PollFlags::IN } else { PollFlags::empty() };
        if self.at < shown.end { hears | PollFlags::OUT } else { hears }
    }

    fn type_on(&mut self, terminal: &Terminal) {
        if !self.typed.is_empty() {
            let written = terminal.write(&self.typed);
            self.typed.drain(..written);
        }
    }

    /// Sends what it has not seen, as far as there is room; false if it is gone. Who is so far behind that it is not
    /// kept any more misses something.
    fn send(&mut self, shown: &Shown) -> bool {
        loop {
            if self.at < shown.begin() {
                self.at = shown.oldest_line();
            }
            let piece = shown.after(self.at);
            if piece.is_empty() {
                return true;
            }
            match talk::say(&self.socket, talk::OUTPUT, piece) {
                Ok(()) => self.at += piece.len() as u64,
                Err(Errno::AGAIN | Errno::NOBUFS) => return true,
                Err(_) => return false,
            }
        }
    }
}

/// The last that was shown.
#[derive(Default)]
struct Shown {
    /// A ring, as soon as it is full; the byte that was shown as number `n` stands at `n % KEPT`.
    bytes: Vec<u8>,
    /// How much was ever shown.
    end: u64,
}

impl Shown {
    /// The first that is kept.
    fn begin(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }

    /// Where the first line begins of which all is kept.
    fn oldest_line(&self) -> u64 {
        let begin = self.begin();
        if begin == 0 {
            return 0;
        }
        let (first, second) = self.bytes.split_at(place(begin));
        let newline = second.iter().chain(first).position(|byte| *byte == b'\n');
        newline.map_or(begin, |at| begin + at as u64 + 1)
    }

    fn add(&mut self, piece: &[u8]) {
        for byte in piece {
            match self.bytes.len() < KEPT {
                true => self.bytes.push(*byte),
                false => self.bytes[place(self.end)] = *byte,
            }
            self.end += 1;
        }
    }

    /// What follows on a number, as much of it as fits into a message.
    fn after(&self, at: u64) -> &[u8] {
        let len = usize::try_from(self.end.saturating_sub(at)).unwrap_or(0).min(MOST);
        let from = place(at);
        self.bytes.get(from..self.bytes.len().min(from + len)).unwrap_or_default()
    }
}

/// Where a number stands in the ring.
fn place(number: u64) -> usize {
    (number % KEPT as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that follows on a number.
    fn rest(shown: &Shown, mut at: u64) -> Vec<u8> {
        let mut all = Vec::new();
        while at < shown.end {
            let piece = shown.after(at);
            assert!(!piece.is_empty() && piece.len() <= MOST);
            all.extend_from_slice(piece);
            at += piece.len() as u64;
        }
        all
    }

    #[test]
    fn the_last_is_kept_from_the_beginning_of_a_line_on() {
        let mut shown = Shown::default();
        assert_eq!((shown.oldest_line(), rest(&shown, 0)), (0, vec![]));
        shown.add(b"no newline yet");
        assert_eq!((shown.oldest_line(), rest(&shown, 3)), (0, b"newline yet".to_vec()));
        let lines: Vec<u8> = (0..20_000).flat_map(|n| format!("{n:07}\n").into_bytes()).collect();
        let mut shown = Shown::default();
        for piece in lines.chunks(1_000) {
            shown.add(piece);
        }
        shown.add(b"xyz");
        let all = rest(&shown, shown.oldest_line());
        assert!(all.starts_with(b"0011809\n") && all.ends_with(b"0019999\nxyz"), "{:?}", &all[..8]);
        assert_eq!((shown.begin(), shown.bytes.len()), (shown.end - KEPT as u64, KEPT));
        let mut shown = Shown::default();
        shown.add(&[b'-'; KEPT + 1]);
        assert_eq!(rest(&shown, shown.oldest_line()).len(), KEPT);
    }

    #[test]
    fn what_the_log_does_not_take_is_told_and_holds_up_nobody() {
        let terminal = Terminal::open(Window { rows: 24, cols: 80 }, None).unwrap();
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut screen = Screen::new(terminal, Some(full.into()));
        for _ in 0..3 {
            rustix::io::write(&screen.terminal.theirs, b"out\n").unwrap();
            assert!(screen.copy());
        }
        assert_eq!((screen.shown.end, screen.lost), (15, Some(libc::ENOSPC)));
    }

    #[test]
    fn what_is_written_is_read_and_what_is_typed_is_heard() {
        let terminal = Terminal::open(Window { rows: 7, cols: 11 }, None).unwrap();
        let size = tcgetwinsize(&terminal.theirs).unwrap();
        assert_eq!((size.ws_row, size.ws_col), (7, 11));
        assert_eq!(terminal.read(&mut [0; 8]), Ok(0));
        rustix::io::write(&terminal.theirs, b"out\n").unwrap();
        let mut buffer = [0; 64];
        assert_eq!(terminal.read(&mut buffer), Ok(5));
        assert_eq!(&buffer[..5], b"out\r\n");
        assert_eq!(terminal.write(b"in\n"), 3);
        assert_eq!(rustix::io::read(&terminal.theirs, &mut buffer), Ok(3));
    }
}
