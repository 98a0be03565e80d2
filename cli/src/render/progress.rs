//! A line on the terminal that says how far something is while one waits for it, and is gone when that is over.
//! It refuses to know what is waited for, and to write anywhere but on a terminal.

use super::{Out, Tone, clean, job::now};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, TermLike};
use nix::sys::signal::{SigHandler, SigSet, Signal, raise, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use qrm_protocol::time::{Millis, Timestamp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// How much of it is done, 0 to 1, if that can be told.
    pub fraction: Option<f64>,
    /// Before the time that it has taken; may have colours.
    pub what: String,
    /// Since when it takes time.
    pub since: Option<Timestamp>,
    /// After that, in words of somebody else's.
    pub message: String,
}

/// The line, shared by who says something and by the clock.
#[derive(Clone)]
pub(crate) struct Progress {
    // A lock, because the clock and who has something to say are threads of their own; it is held for one drawing.
    line: Arc<Mutex<Line>>,
}

struct Line {
    bar: ProgressBar,
    out: Out,
    said: Said,
    over: bool,
}

/// The line that is there now: what else is written to standard error goes beside it. There is one terminal.
static SHOWN: Mutex<Option<Progress>> = Mutex::new(None);

/// What ends the program, once the line is gone.
const ENDING: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];
/// A bar is drawn in steps of a thousandth.
const STEPS: u64 = 1000;
/// It is drawn so many times in a second at most.
const DRAWN: u8 = 20;
/// What the terminal itself shows of a key that is pressed, as ^C, is to have room on the line: that is cleared.
const ECHO: u16 = 2;

impl Progress {
    /// A line on standard error, if that is a terminal and somebody wants to read it.
    pub(crate) fn start(out: &Out) -> Option<Self> {
        let out = out.on_stderr();
        // One that knows no way back to the start of a line gets none.
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        if !out.terminal || out.json || out.quiet || is_dumb {
            return None;
        }
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(Terminal::default()), DRAWN);
        let bar = ProgressBar::with_draw_target(Some(STEPS), target);
        let progress = Self { line: Arc::new(Mutex::new(Line { bar, out, said: Said::default(), over: false })) };
        progress.guard()?;
        *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress.clone());
        Some(progress)
    }

    /// Says something else from now on.
    pub(crate) fn say(&self, said: Said) {
        let mut line = self.line();
        line.said = said;
        line.draw();
    }

    /// Takes the line away for good.
    pub(crate) fn clear(&self) {
        let mut line = self.line();
        line.over = true;
        line.bar.finish_and_clear();
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on a thread draws the line anew each second, and takes it away before a signal, or the end of the
    /// terminal, ends the program. `None` if that can not be.
    fn guard(&self) -> Option<()> {
        let ending: SigSet = ENDING.into_iter().filter(|signal| !super::is_ignored(*signal)).collect();
        // Threads that begin later have them blocked, too.
        ending.thread_block().ok()?;
        let signals = SignalFd::with_flags(&ending, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).ok()?;
        let progress = self.clone();
        std::thread::spawn(move || {
            loop {
                let err = std::io::stderr();
                let mut fds =
                    [PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN), PollFd::new(&err, PollFlags::empty())];
                let second = Timespec { tv_sec: 1, tv_nsec: 0 };
                let wait = (!progress.line().over).then_some(&second);
                poll(&mut fds, wait).ok();
                let closed = fds[1].revents().intersects(PollFlags::HUP | PollFlags::ERR);
                let told = signals.read_signal().ok().flatten();
                let told = told.and_then(|info| Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok());
                if let Some(signal) = told.or(closed.then_some(Signal::SIGHUP)) {
                    progress.clear();
                    end_by(signal);
                }
                progress.line().draw();
            }
        });
        Some(())
    }
}

/// Ends the program as the signal would have, so that who started it sees that.
fn end_by(signal_: Signal) -> ! {
    // SAFETY: no handler is installed, only the default is restored.
    if unsafe { signal(signal_, SigHandler::SigDfl) }.is_ok() {
        let only: SigSet = [signal_].into_iter().collect();
        only.thread_unblock().and_then(|()| raise(signal_)).ok();
    }
    std::process::exit(128 + signal_ as i32)
}

/// Writes to standard error beside the line, if there is one.
pub(crate) fn beside<T>(write: impl FnOnce() -> T) -> T {
    let shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match shown {
        Some(progress) => {
            let line = progress.line();
            if line.over { write() } else { line.bar.suspend(write) }
        }
        None => write(),
    }
}

impl Line {
    fn draw(&mut self) {
        if self.over {
            return;
        }
        self.bar.set_style(style(width(), self.said.fraction.is_some(), self.out));
        if let Some(fraction) = self.said.fraction {
            let fraction = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 };
            // Within 0 and a thousand.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            self.bar.set_position((fraction * STEPS as f64) as u64);
        }
        self.bar.set_message(self.said.text(now()));
        self.bar.tick();
    }
}

impl Said {
    fn text(&self, now: Timestamp) -> String {
        let taken = self.since.map(|since| match now.since(since).0 / 1000 {
            seconds @ ..10 => format!("{seconds}s"),
            seconds => Millis(seconds * 1000).to_string(),
        });
        let percent = self.fraction.map(|fraction| format!("{:.0}%", fraction.clamp(0.0, 1.0) * 100.0));
        let parts = [percent, Some(self.what.clone()), taken, Some(clean(&self.message))];
        parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
    }
}

/// A bar, where there is room for one, and a text that never goes beyond the line.
fn style(width: u16, has_bar: bool, out: Out) -> ProgressStyle {
    let cells = match (has_bar, width) {
        (false, _) | (_, ..40) => return ProgressStyle::with_template("{wide_msg}").expect("a template"),
        (_, 40..70) => 12,
        _ => 24,
    };
    let bar = move |state: &ProgressState, to: &mut dyn std::fmt::Write| {
        let done = usize::try_from(state.pos() * cells / STEPS).unwrap_or(0);
        let left = usize::try_from(cells).unwrap_or(0) - done;
        // Without colours it is the signs that differ.
        let [full, empty] = if out.colour { ["━", "━"] } else { ["#", "-"] };
        // A text takes what is written to it.
        to.write_str(&out.tone(Tone::Busy, &full.repeat(done))).ok();
        to.write_str(&out.tone(Tone::Quiet, &empty.repeat(left))).ok();
    };
    ProgressStyle::with_template("{cells} {wide_msg}").expect("a template").with_key("cells", bar)
}

/// The columns of the terminal.
fn width() -> u16 {
    rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| size.ws_col)
}

/// Standard error, written to in pieces that are whole drawings. Lines are not filled up with blanks: behind a full
/// line what the terminal echoes would go to the next one, and the wrong line would be cleared.
#[derive(Debug, Default)]
struct Terminal {
    // A lock, because indicatif shares it among threads; each of them holds the lock of the line already.
    drawing: Mutex<String>,
}

impl Terminal {
    fn put(&self, what: std::fmt::Arguments<'_>) -> std::io::Result<()> {
        self.drawing.lock().unwrap_or_else(PoisonError::into_inner).write_fmt(what).map_err(std::io::Error::other)
    }

    fn go(&self, by: usize, way: char) -> std::io::Result<()> {
        if by > 0 { self.put(format_args!("\x1b[{by}{way}")) } else { Ok(()) }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        width().saturating_sub(ECHO).max(1)
    }

    fn move_cursor_up(&self, by: usize) -> std::io::Result<()> {
        self.go(by, 'A')
    }

    fn move_cursor_down(&self, by: usize) -> std::io::Result<()> {
        self.go(by, 'B')
    }

    fn move_cursor_right(&self, by: usize) -> std::io::Result<()> {
        self.go(by, 'C')
    }

    fn move_cursor_left(&self, by: usize) -> std::io::Result<()> {
        self.go(by, 'D')
    }

    fn write_line(&self, text: &str) -> std::io::Result<()> {
        self.put(format_args!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> std::io::Result<()> {
        if text.bytes().all(|byte| byte == b' ') { Ok(()) } else { self.put(format_args!("{text}")) }
    }

    fn clear_line(&self) -> std::io::Result<()> {
        self.put(format_args!("\r\x1b[2K"))
    }

    fn flush(&self) -> std::io::Result<()> {
        let drawing = std::mem::take(&mut *self.drawing.lock().unwrap_or_else(PoisonError::into_inner));
        std::io::stderr().write_all(drawing.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_one_line_with_what_there_is() {
        let now = Timestamp(100_000);
        for (fraction, since, message, text) in [
            (Some(0.375), Some(Timestamp(35_900)), "epoch 3", "38%  job 1  1m04s  epoch 3"),
            (None, Some(now), "", "job 1  0s"),
            (Some(7.0), None, "a\n\x1b[2Jb", "100%  job 1  a··[2Jb"),
        ] {
            let said = Said { fraction, what: "job 1".to_owned(), since, message: message.to_owned() };
            assert_eq!(said.text(now), text);
        }
    }
}
