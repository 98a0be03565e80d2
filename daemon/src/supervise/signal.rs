//! Signals to runs: to everybody in a run's group, or to everybody that descends from its shim, however many those are.
//! It refuses to lose one that comes before there is somebody to get it, and to keep other runs waiting.

use super::mail::{Mail, Message};
use super::spawn::Shim;
use super::thread::Means;
use super::watch::{Entry, FIRST_PAUSE, State};
use qrm_core::RunSignal;
use qrm_shim::proc::Process;
use qrm_shim::tree;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, ErrorKind};
use std::time::Duration;

/// How many signals are kept for a run that nobody of is there yet, or that is being signalled; a person's patience is
/// shorter.
const WAITING: usize = 32;
/// How long descendants are killed before that is left to the shim, which goes on when the command is gone.
const STRIKE_WAIT: Duration = Duration::from_secs(10);

impl Means {
    /// Signals a run, now or as soon as there is somebody to get it.
    pub fn signal(&mut self, entry: &mut Entry, signal: RunSignal) {
        if matches!(entry.state, State::Over(_) | State::Burying | State::Gone) {
            return;
        }
        match signal {
            // What came before makes no difference any more.
            RunSignal::Kill => {
                entry.waiting.clear();
                entry.early = 0;
            }
            // Of these the last one counts, among those that nobody got yet.
            RunSignal::Freeze | RunSignal::Thaw => {
                let mut got = entry.early;
                entry.waiting.retain(|one| {
                    let is_got = got > 0;
                    got = got.saturating_sub(1);
                    is_got || !matches!(one, RunSignal::Freeze | RunSignal::Thaw)
                });
            }
            RunSignal::Number(_) if entry.waiting.len() >= WAITING => {
                return tracing::debug!(job = %entry.run.job, run = %entry.run, ?signal, "too many signals wait for a run");
            }
            RunSignal::Number(_) => {}
        }
        entry.waiting.push_back(signal);
        entry.pause = FIRST_PAUSE;
        self.deliver(entry);
    }

    /// Sends what waits, in its order, as far as there is somebody to get it.
    pub fn deliver(&mut self, entry: &mut Entry) {
        let certain = match &entry.state {
            State::Running(_) => true,
            State::Starting(..) if entry.released && !entry.waiting.is_empty() => false,
            // Whether its command is released is found out first.
            State::Found(_) => return self.after(entry, Duration::ZERO),
            _ => return,
        };
        if certain {
            entry.waiting.drain(..std::mem::take(&mut entry.early));
        } else if !self.is_released(entry) {
            // What is killed before its release was never started, and would be made again.
            let pause = entry.next_pause();
            return self.after(entry, pause);
        }
        while let Some(signal) = entry.waiting.get(entry.early).copied() {
            // It goes on when those have it that get one now.
            if entry.signalling && signal != RunSignal::Kill {
                return;
            }
            if let Err(error) = self.send(entry, signal) {
                tracing::warn!(job = %entry.run.job, run = %entry.run, ?signal, %error, "a signal did not reach all");
            }
            match certain {
                true => drop(entry.waiting.pop_front()),
                false => entry.early += 1,
            }
        }
    }

    /// One signal is there: the next one.
    pub fn on_signalled(&mut self, entry: &mut Entry) {
        entry.signalling = false;
        if !entry.waiting.is_empty() {
            self.deliver(entry);
        }
    }

    /// Whether the command is released, though its shim has not said so: it may wait for its standard input.
    fn is_released(&mut self, entry: &Entry) -> bool {
        self.started(entry).is_ok_and(|started| started.is_some())
    }

    fn send(&mut self, entry: &mut Entry, signal: RunSignal) -> io::Result<()> {
        let (State::Starting(shim, _) | State::Running(shim)) = &entry.state else { return Ok(()) };
        match (&entry.group, signal) {
            (Some(group), RunSignal::Number(number)) => {
                let group = group.clone();
                signal_all(&self.mail, entry, move || group.signal_all(number))
            }
            // Whoever is stuck or was forked meanwhile is the shim's to wait for.
            (Some(group), RunSignal::Freeze) => group.freeze(),
            (Some(group), RunSignal::Thaw) => group.thaw(),
            (Some(group), RunSignal::Kill) => match group.kill_all(Some(Duration::ZERO)) {
                Err(error) if error.kind() == ErrorKind::TimedOut => Ok(()),
                other => other.map(drop),
            },
            (None, signal) => match (process(shim)?, signal) {
                (Some(root), RunSignal::Kill) => {
                    strike(&self.mail, entry, root);
                    Ok(())
                }
                (Some(root), other) => {
                    let number = match other {
                        RunSignal::Freeze => libc::SIGSTOP,
                        RunSignal::Thaw => libc::SIGCONT,
                        RunSignal::Number(number) => number,
                        RunSignal::Kill => libc::SIGKILL,
                    };
                    signal_all(&self.mail, entry, move || tree::signal_all(root, number))
                }
                (None, _) => Ok(()),
            },
        }
    }
}

/// The shim, told from a later process with its pid; `None` if it has ended.
pub(super) fn process(shim: &Shim) -> io::Result<Option<Process>> {
    let process = Process::of(shim.pid)?;
    // If it is alive now it was so when its pid was looked up.
    let mut fds = [PollFd::new(&shim.pidfd, PollFlags::IN)];
    let ended = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })))? > 0;
    Ok(process.filter(|_| !ended))
}

/// Signals a run on a thread of its own, one at a time: there may be thousands of processes, and as many signals.
fn signal_all(
    mail: &Mail,
    entry: &mut Entry,
    signal: impl FnOnce() -> io::Result<u32> + Send + 'static,
) -> io::Result<()> {
    let (mail, run) = (mail.clone(), entry.run);
    std::thread::Builder::new().name("signal".to_owned()).spawn(move || {
        if let Err(error) = signal() {
            tracing::warn!(job = %run.job, %run, %error, "a signal did not reach all");
        }
        mail.send(Message::Signalled(run));
    })?;
    entry.signalling = true;
    Ok(())
}

/// Kills all descendants of a shim, on a thread of its own: those who fork are struck again and again.
fn strike(mail: &Mail, entry: &mut Entry, root: Process) {
    if std::mem::replace(&mut entry.striking, true) {
        return;
    }
    let (mail, run) = (mail.clone(), entry.run);
    let helper = std::thread::Builder::new().name("strike".to_owned()).spawn(move || {
        if let Err(error) = tree::kill_all(root, Some(STRIKE_WAIT)) {
            tracing::warn!(job = %run.job, %run, %error, "not all processes of a run could be killed");
        }
        mail.send(Message::Struck(run));
    });
    if let Err(error) = helper {
        tracing::error!(job = %run.job, %run, %error, "cannot kill the processes of a run");
        entry.striking = false;
    }
}
