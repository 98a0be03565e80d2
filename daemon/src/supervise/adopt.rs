//! What became of a run that we did not see: its records and its lock say it, and what a dead shim left is ended.
//! It refuses to guess: where the records cannot be read, it looks again later.

use super::launch;
use super::mail::Message;
use super::scratch;
use super::spawn::Shim;
use super::thread::{Means, Thread};
use super::watch::{self, Entry, State};
use crate::fault;
use qrm_core::Observed;
use qrm_protocol::ids::Uid;
use qrm_shim::cgroup::JobCgroup;
use qrm_shim::proc::Process;
use qrm_shim::record::{Exit, Started};
use qrm_shim::{lock, tree};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::time::Duration;

/// How often the holder of a lock may change while we look at it; each is a shim that came and went.
const HOLDERS: u32 = 100;
/// How often processes are looked for that were forked while the others were killed.
const ROUNDS: u32 = 100;
/// How long a group that nobody knows may take to become empty.
const SWEEP_WAIT: Duration = Duration::from_secs(10);

/// What became of a run.
enum Fate {
    /// There is a record of its end.
    Over(Exit),
    /// A shim holds its lock.
    Alive(Shim, Option<Started>),
    /// It was released, and its shim is gone without a record.
    Died(Started),
    /// It was never released, and nobody will.
    Nothing,
}

impl Means {
    /// Finds out where a run is, and goes on from there.
    pub fn look(&mut self, entry: &mut Entry) {
        self.cancel(entry);
        let run = entry.run;
        fault::point("qrmd.26");
        let fate = self.fate(entry);
        fault::point("qrmd.27");
        match fate {
            Ok(Fate::Over(exit)) => self.on_exit(entry, &exit),
            Ok(Fate::Alive(shim, started)) => self.adopt(entry, shim, started),
            Ok(Fate::Died(started)) => self.bury(entry, Some(started)),
            Ok(Fate::Nothing) if entry.launch.as_ref().is_some_and(|launch| launch.ran) => self.bury(entry, None),
            Ok(Fate::Nothing) => match entry.failed.take() {
                Some(why) => self.try_again(entry, why),
                None => {
                    entry.state = State::Idle;
                    self.end_without_process(entry);
                    if matches!(entry.state, State::Idle) {
                        self.launch(entry);
                    }
                }
            },
            Err(error) => {
                tracing::error!(job = %run.job, %run, %error, "cannot find out what became of a run");
                entry.state = State::Unknown;
                self.look_again(entry);
            }
        }
    }

    fn look_again(&mut self, entry: &mut Entry) {
        let pause = entry.next_pause();
        self.after(entry, pause);
    }

    fn fate(&mut self, entry: &mut Entry) -> io::Result<Fate> {
        if entry.file.is_none() {
            entry.file = self.run_files.find(entry.run)?;
        }
        // An end is final, whoever still holds the lock: its shim may be starting the daemon that we are.
        if let Some(exit) = self.exit(entry)? {
            return Ok(Fate::Over(exit));
        }
        if let Some(shim) = self.holder(entry)? {
            let started = self.started(entry)?.filter(|started| started.shim_pid == shim.pid);
            return Ok(Fate::Alive(shim, started));
        }
        // Nobody writes any more. It may have ended between the two looks.
        if let Some(exit) = self.exit(entry)? {
            return Ok(Fate::Over(exit));
        }
        Ok(self.started(entry)?.map_or(Fate::Nothing, Fate::Died))
    }

    /// The shim that holds the lock of a run; `None` if it is free.
    fn holder(&self, entry: &Entry) -> io::Result<Option<Shim>> {
        let Some(file) = entry.file.as_ref().map(|file| &file.file) else { return Ok(None) };
        for _ in 0..HOLDERS {
            let Some(pid) = lock::holder(file)? else { return Ok(None) };
            let Some(number) = Pid::from_raw(pid.cast_signed()) else {
                return Err(io::Error::other("its shim lives in another pid namespace"));
            };
            match pidfd_open(number, PidfdFlags::empty()) {
                // Who has the lock after it was opened is who was opened.
                Ok(pidfd) if lock::holder(file)? == Some(pid) => {
                    return Ok(Some(Shim { pidfd, pid }));
                }
                Ok(_) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::other("its lock changes hands all the time"))
    }

    fn adopt(&mut self, entry: &mut Entry, shim: Shim, started: Option<Started>) {
        // The one that we look at again is watched already, under another descriptor.
        if let Err(error) = self.watch(&shim, entry.token) {
            tracing::error!(job = %entry.run.job, run = %entry.run, %error, "cannot watch a run that was found");
            entry.state = State::Unknown;
            return self.look_again(entry);
        }
        let name = watch::group_name(entry.run);
        match started {
            Some(started) => {
                entry.group = started.cgroup.clone().and_then(|group| self.tracking.recorded(&name, group));
                self.executing(entry, &started);
                self.now_running(entry, shim);
                self.await_writer(entry);
            }
            // Its release is under way, or it sees that nobody will release it and ends.
            None => {
                entry.failed = None;
                entry.state = State::Found(shim);
                self.look_again(entry);
            }
        }
    }

    /// The shim of a released run is gone: what it left is ended, and then the run is lost. Its record may have gone
    /// with the power of the machine.
    fn bury(&mut self, entry: &mut Entry, started: Option<Started>) {
        let run = entry.run;
        tracing::warn!(job = %run.job, %run, "the supervisor of a run died without a record");
        let process = started.as_ref().map(|started| Process { pid: started.pid, start: started.pid_start });
        if let Some(started) = started {
            if started.boot_id != self.settings.boot_id {
                return self.finish(entry, Observed::Lost(run));
            }
            entry.group = started.cgroup.and_then(|group| self.tracking.recorded(&watch::group_name(run), group));
        }
        let variable = launch::job_dir_variable(&self.settings, run.job);
        entry.state = State::Burying;
        let (mail, group) = (self.mail.clone(), entry.group.clone());
        let own = rustix::process::geteuid().as_raw();
        let uid =
            entry.launch.as_ref().map(|launch| launch.uid).filter(|_| self.settings.mode.is_system()).unwrap_or(own);
        let helper = std::thread::Builder::new().name("bury".to_owned()).spawn(move || {
            if let Err(error) = end_all(group.as_ref(), process, &variable, uid) {
                tracing::error!(job = %run.job, %run, %error, "what a run left could not all be ended");
            }
            mail.send(Message::Buried(run));
        });
        if let Err(error) = helper {
            tracing::error!(job = %run.job, %run, %error, "cannot end what a run left; it is tried again");
            entry.state = State::Unknown;
            self.look_again(entry);
        }
    }

    /// Nothing is left of what a dead shim watched.
    pub fn on_buried(&mut self, entry: &mut Entry) {
        if matches!(entry.state, State::Burying) {
            self.finish(entry, Observed::Lost(entry.run));
        }
    }
}

impl Thread {
    /// Ends what is left in groups that belong to no run that is alive, and removes them.
    pub fn sweep(&mut self) {
        self.means.run_files.settle();
        let known = self.runs.iter().filter(|(_, entry)| !matches!(entry.state, State::Over(_)));
        let known = known.map(|(run, _)| scratch::name(*run)).collect();
        self.means.scratches.sweep(known);
        let groups = match self.means.tracking.groups() {
            Ok(groups) => groups,
            Err(error) => return tracing::error!(%error, "cannot list the control groups of runs"),
        };
        let alive = |name: &String| {
            self.runs
                .iter()
                .any(|(run, entry)| !matches!(entry.state, State::Over(_)) && watch::group_name(*run) == *name)
        };
        let orphans: Vec<(String, JobCgroup)> = groups.into_iter().filter(|(name, _)| !alive(name)).collect();
        if orphans.is_empty() {
            return;
        }
        let helper = std::thread::Builder::new().name("sweep".to_owned()).spawn(move || {
            for (name, group) in orphans {
                match group.kill_all(Some(SWEEP_WAIT)).and_then(|killed| group.remove().map(|()| killed)) {
                    Ok(0) => {}
                    Ok(killed) => tracing::warn!(group = name, killed, "ended what was left of an unknown run"),
                    Err(error) => tracing::error!(group = name, %error, "cannot end what was left of an unknown run"),
                }
            }
        });
        if let Err(error) = helper {
            tracing::error!(%error, "cannot sweep the control groups of runs");
        }
    }
}

/// Ends what a dead shim left, and waits until it is gone.
fn end_all(group: Option<&JobCgroup>, command: Option<Process>, variable: &[u8], uid: Uid) -> io::Result<()> {
    if let Some(group) = group {
        group.kill_all(None)?;
        return group.remove();
    }
    if let Some(command) = command {
        end_one(command)?;
    }
    for _ in 0..ROUNDS {
        let mut found = false;
        for process in tree::with_environment(variable)? {
            if is_of(uid, process)? {
                found = true;
                end_one(process)?;
            }
        }
        if !found {
            return Ok(());
        }
    }
    Err(io::Error::other("its processes multiply faster than they can be ended"))
}

fn end_one(process: Process) -> io::Result<()> {
    if let Some(pidfd) = process.open()? {
        rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).or_else(|error| match error {
            Errno::SRCH => Ok(()),
            error => Err(error),
        })?;
        let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None))?;
    }
    Ok(())
}

/// An environment is a claim that anybody can make; only what runs as the job did is believed.
fn is_of(uid: Uid, process: Process) -> io::Result<bool> {
    // Who owns its directory in /proc is root where a program may not be looked into.
    match std::fs::read_to_string(format!("/proc/{}/status", process.pid)) {
        Ok(text) => Ok(text
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .is_some_and(|ids| ids.split_whitespace().next().and_then(|id| id.parse().ok()) == Some(uid))),
        Err(error) if error.kind() == io::ErrorKind::NotFound || Errno::from_io_error(&error) == Some(Errno::SRCH) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
