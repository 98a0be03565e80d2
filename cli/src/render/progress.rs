//! A line on the terminal that says how far something is while one waits for it, and is gone when that is over.
//! It refuses to know what is waited for, and to write anywhere but on a terminal.

use super::{Out, clean, job::now};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::sys::signal::{SigHandler, SigSet, Signal, raise, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use qrm_protocol::time::{Millis, Timestamp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
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
const STEPS: f64 = 1000.0;

impl Progress {
    /// A line on standard error, if that is a terminal and somebody wants to read it.
    pub(crate) fn start(out: &Out) -> Option<Self> {
        let out = out.on_stderr();
        if !out.terminal || out.json || out.quiet {
            return None;
        }
        let bar = ProgressBar::with_draw_target(Some(1000), ProgressDrawTarget::stderr());
        // One that knows no way back to the start of a line gets none.
        if bar.is_hidden() {
            return None;
        }
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
        let width = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| size.ws_col);
        self.bar.set_style(style(width, self.said.fraction.is_some(), self.out.colour));
        if let Some(fraction) = self.said.fraction {
            let fraction = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 };
            // Within 0 and a thousand.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            self.bar.set_position((fraction * STEPS) as u64);
        }
        self.bar.set_message(self.said.text(now()));
        self.bar.tick();
    }
}

impl Said {
    fn text(&self, now: Timestamp) -> String {
        let taken = self.since.map(|since| Millis(now.since(since).0 / 1000 * 1000).to_string());
        let percent = self.fraction.map(|fraction| format!("{:.0}%", fraction.clamp(0.0, 1.0) * 100.0));
        let parts = [percent, Some(self.what.clone()), taken, Some(clean(&self.message))];
        parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
    }
}

/// A bar, where there is room for one, and a text that never goes beyond the line.
fn style(width: u16, has_bar: bool, colour: bool) -> ProgressStyle {
    let bar = match (has_bar, width) {
        (false, _) | (_, ..40) => return ProgressStyle::with_template("{wide_msg}").expect("a template"),
        (_, 40..70) => "12",
        _ => "24",
    };
    let colours = if colour { ".cyan/dim" } else { "" };
    let template = format!("{{bar:{bar}{colours}}} {{wide_msg}}");
    let style = ProgressStyle::with_template(&template).expect("a template");
    style.progress_chars(if colour { "━━━" } else { "#>-" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_one_line_with_what_there_is() {
        let now = Timestamp(100_000);
        for (fraction, since, message, text) in [
            (Some(0.375), Some(Timestamp(35_900)), "epoch 3", "38%  job 1  1m4s  epoch 3"),
            (None, Some(now), "", "job 1  0s"),
            (Some(7.0), None, "a\n\x1b[2Jb", "100%  job 1  a··[2Jb"),
        ] {
            let said = Said { fraction, what: "job 1".to_owned(), since, message: message.to_owned() };
            assert_eq!(said.text(now), text);
        }
    }
}
