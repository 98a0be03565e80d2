//! Shims from a fork server that is started once and again whenever it is gone.
//! It refuses to know what a shim is told.

use qrm_shim::launch::{Entered, ForkServer, Given, Spawned};
use rustix::process::{Pid, Resource, Rlimit, WaitId, WaitIdOptions, waitid};
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A process that we ordered or found; it is nobody's child whom we could ask, and its records say how it ended.
pub(super) struct Shim {
    /// Readable once it has ended.
    pub pidfd: OwnedFd,
    /// Its number, as long as it lives.
    pub pid: u32,
}

/// Where shims come from.
pub(super) struct Spawner {
    program: PathBuf,
    /// How many files shims and jobs may have open.
    open_files: Rlimit,
    /// The first shim's own environment: nothing but the name of a fault, in tests. All others have none.
    environment: Vec<CString>,
    server: Option<ForkServer>,
}

impl Spawner {
    /// For this program. Started now, it is the one of our own installation, even if that is replaced later.
    pub fn new(program: &Path, open_files: Rlimit) -> io::Result<Self> {
        let fault = std::env::var_os("QRM_FAULT")
            .filter(|_| cfg!(feature = "testing"))
            .map(|fault| [b"QRM_FAULT=", fault.as_bytes()].concat());
        let environment = fault.map(CString::new).transpose()?.into_iter().collect();
        let mut spawner = Self { program: program.to_owned(), open_files, environment, server: None };
        if let Err(error) = spawner.server() {
            tracing::error!(%error, program = %program.display(), "cannot start the fork server; it is tried again");
        }
        Ok(spawner)
    }

    /// Makes a shim.
    pub fn spawn(&mut self, given: Given<'_>) -> io::Result<Shim> {
        let spawned = self.ask(|server| server.spawn(given))?;
        if !self.environment.is_empty() {
            // A fault is for the first of them: the next server has no environment at all.
            self.environment.clear();
            self.close();
        }
        Ok(Shim { pidfd: spawned.pidfd, pid: spawned.pid })
    }

    /// Has a command run beside that of a run. Nobody waits for it.
    pub fn enter(&mut self, entered: Entered<'_>) -> io::Result<Shim> {
        let spawned = self.ask(|server| server.enter(entered))?;
        Ok(Shim { pidfd: spawned.pidfd, pid: spawned.pid })
    }

    fn ask(&mut self, ask: impl Fn(&mut ForkServer) -> io::Result<Spawned>) -> io::Result<Spawned> {
        match ask(self.server()?) {
            Err(error) if is_gone(&error) => {
                tracing::warn!(%error, "the fork server is gone; another is started");
                self.close();
                ask(self.server()?)
            }
            other => other,
        }
    }

    fn server(&mut self) -> io::Result<&mut ForkServer> {
        let server = match self.server.take() {
            Some(server) => server,
            None => {
                let server = ForkServer::start(&self.program, &self.environment)?;
                // Not ours, which the daemon has raised for itself; it forks nobody before it is asked to.
                let pid = Pid::from_raw(server.process().pid.cast_signed());
                rustix::process::prlimit(pid, Resource::Nofile, self.open_files)?;
                server
            }
        };
        Ok(self.server.insert(server))
    }

    /// Ends the server and waits for it, which takes no time: it ends when nobody can ask any more.
    fn close(&mut self) {
        let Some(server) = self.server.take() else { return };
        let pid = Pid::from_raw(server.process().pid.cast_signed());
        drop(server);
        let Some(pid) = pid else { return };
        if let Err(error) = rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED)) {
            tracing::warn!(%error, "cannot wait for the end of the fork server");
        }
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        self.close();
    }
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected | UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::tests::shim;
    use qrm_shim::proc::Process;
    use std::os::fd::AsFd;

    #[test]
    fn a_server_that_was_killed_is_replaced() {
        let mut spawner = Spawner::new(shim(), rustix::process::getrlimit(Resource::Nofile)).unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let null = null.as_fd();
        // They find no plan, and end.
        let given = Given { plan: null, handshake: null, job_dir: null, run_file: null, terminal: None };
        spawner.spawn(given).unwrap();
        let first = spawner.server.as_ref().unwrap().process().pid;
        assert!(Process::of(first).unwrap().unwrap().signal(libc::SIGKILL).unwrap());
        spawner.spawn(given).unwrap();
        assert_ne!(spawner.server.as_ref().unwrap().process().pid, first);
    }
}
