//! Ways into a run: to its terminal, or to a command that runs beside its own.
//! It refuses to know who comes, and to be in the way once they are in.

use super::Launch;
use super::launch::encode_plan;
use super::spawn::Shim;
use super::thread::{Means, Thread};
use super::watch::{Entry, State, plain};
use qrm_core::Run;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::JobRef;
use qrm_shim::identity::Identity;
use qrm_shim::launch::{Entered, plan_fd};
use qrm_shim::proc::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use tokio::sync::oneshot;

/// How many commands may run beside that of one run: each has a process of ours beside it.
const VISITORS: usize = 32;

/// Who waits for a way in.
pub type Door = oneshot::Sender<Result<OwnedFd, Error>>;

impl Thread {
    /// Gives a way to the terminal of a run.
    pub fn attach(&mut self, run: Run, door: Door) {
        let way = self.running(run).and_then(|()| {
            let file = self.runs.get(&run).and_then(|entry| entry.file.as_ref()).ok_or_else(|| not_running(run.job))?;
            self.means.run_files.call(file).map_err(|error| match error.kind() {
                ErrorKind::ConnectionRefused | ErrorKind::NotFound => not_running(run.job),
                ErrorKind::WouldBlock => {
                    Error::new(Code::ResourceExhausted, format!("too many want to see the terminal of job {}", run.job))
                        .hint("try again")
                }
                _ => unavailable(run.job, "the way to its terminal", &error),
            })
        });
        give(door, way);
    }

    /// Has a command run beside that of a run, and gives a way to it.
    pub fn enter_run(&mut self, launch: Launch, identity: Option<Identity>, door: Door) {
        let run = launch.run;
        let way = self.running(run).and_then(|()| {
            let entry = self.runs.get_mut(&run).ok_or_else(|| not_running(run.job))?;
            self.means.enter(entry, &launch, identity.as_ref())
        });
        give(door, way);
    }

    fn running(&self, run: Run) -> Result<(), Error> {
        match self.runs.get(&run).map(|entry| &entry.state) {
            Some(State::Running(_)) => Ok(()),
            _ => Err(not_running(run.job)),
        }
    }
}

impl Means {
    fn enter(&mut self, entry: &mut Entry, launch: &Launch, identity: Option<&Identity>) -> Result<OwnedFd, Error> {
        let job = entry.run.job;
        entry.visitors.retain(|visitor| !has_ended(visitor));
        if entry.visitors.len() >= VISITORS {
            let message = format!("{VISITORS} commands run beside that of job {job}, as many as may");
            return Err(Error::new(Code::ResourceExhausted, message).hint("try again when another has ended"));
        }
        let failed = |what: &'static str| move |error: io::Error| unavailable(job, what, &error);
        let started = self.started(entry).map_err(failed("the record of its start"))?;
        let started = started.ok_or_else(|| not_running(job))?;
        // Its number may be somebody else's by now; its time of birth tells.
        let command = Process { pid: started.pid, start: started.pid_start }.open();
        let command = command.map_err(failed("its command"))?.ok_or_else(|| not_running(job))?;
        let plan = encode_plan(&self.settings, launch, &entry.name, entry.group.as_ref(), identity);
        let plan = plan_fd(&plan).map_err(failed("the plan of a command in it"))?;
        let kind = SocketType::SEQPACKET;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
            .map_err(|error| unavailable(job, "a socket", &error.into()))?;
        let entered = Entered { plan: plan.as_fd(), control: theirs.as_fd(), command: command.as_fd() };
        entry.visitors.push(self.spawner.enter(entered).map_err(failed("a process in it"))?);
        Ok(ours)
    }
}

/// Who can not be asked counts as there.
fn has_ended(visitor: &Shim) -> bool {
    let mut fds = [PollFd::new(&visitor.pidfd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

fn not_running(job: JobRef) -> Error {
    Error::new(Code::FailedPrecondition, format!("job {job} does not run any more"))
        .hint(format!("qrm show {job} says how it ended"))
}

fn unavailable(job: JobRef, what: &str, error: &io::Error) -> Error {
    Error::new(Code::Unavailable, format!("job {job}: {what} is not to be had: {}", plain(error)))
}

fn give(door: Door, way: Result<OwnedFd, Error>) {
    if door.send(way).is_err() {
        tracing::trace!("who wanted to come in is gone");
    }
}

#[cfg(test)]
mod tests {
    use qrm_protocol::terminal;
    use qrm_shim::record::Step;
    use qrm_shim::talk;

    #[test]
    fn a_shim_and_who_visits_it_mean_the_same_by_each_byte() {
        let shim = [talk::INPUT, talk::WINDOW, talk::SIGNAL, talk::BEGIN, talk::OUTPUT, talk::END, talk::FULL];
        let visitor = [
            terminal::INPUT,
            terminal::WINDOW,
            terminal::SIGNAL,
            terminal::BEGIN,
            terminal::OUTPUT,
            terminal::END,
            terminal::FULL,
        ];
        assert_eq!((shim, talk::MOST), (visitor, terminal::MOST));
        // Steps are told from 1, for 0 is none.
        assert_eq!(Step::Exec as i32 + 1, terminal::NOT_FOUND);
    }
}
