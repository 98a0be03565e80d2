//! A run's process: its directory, group, plan and shim made, released or taken back, and tried again when the
//! system fails. It refuses to know how a run goes on once its command is released.

use super::files::{make_fifo_in, write_script};
use super::identity::{Acting, Found};
use super::scratch;
use super::spawn::Shim;
use super::thread::Means;
use super::watch::{self, Entry, State};
use super::{After, Input, Launch, Limits, SCRIPT, STDERR, STDIN, STDOUT, Settings, checkpoint, job_dir};
use crate::collect;
use crate::fault;
use qrm_core::{Observed, Run, RunSignal};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::OWN_ENV;
use qrm_shim::cgroup::JobCgroup;
use qrm_shim::handshake;
use qrm_shim::identity::Identity;
use qrm_shim::launch::{Given, plan_fd};
use qrm_shim::plan::{LogTarget, Plan, Restart, Rlimit, RunName, Stdin};
use rustix::event::epoll;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// How often a run is tried to be made before its job fails, as for every fault of the system.
const TRIES: u32 = 3;
/// How long the first pause between two tries is; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(50);

/// What could not be done, for people.
type Failed = String;

impl Means {
    /// Makes the run, and lets it go if it was released meanwhile.
    pub fn launch(&mut self, entry: &mut Entry) {
        self.cancel(entry);
        if self.settings.mode.is_system() && entry.identity.is_none() {
            let Some(uid) = entry.launch.as_ref().map(|launch| launch.uid) else { return };
            match self.identities.of(uid, entry.token) {
                Ok(Some(identity)) => entry.identity = Some(identity),
                // It goes on when that is known.
                Ok(None) => return,
                Err(error) => return self.on_identity(entry, &Err(format!("cannot ask who user {uid} is: {error}"))),
            }
        }
        entry.tries += 1;
        match self.make(entry) {
            Ok((shim, handshake)) => {
                entry.state = State::Starting(shim, Some(handshake));
                if entry.released {
                    self.go(entry);
                }
            }
            Err(why) => self.try_again(entry, why),
        }
    }

    /// It is known now as whom it is to run, or that nobody is there as whom it could.
    pub fn on_identity(&mut self, entry: &mut Entry, found: &Found) {
        if !matches!(entry.state, State::Idle) || entry.launch.is_none() || entry.identity.is_some() {
            return;
        }
        match found {
            Ok(identity) => {
                entry.identity = Some(identity.clone());
                self.launch(entry);
            }
            Err(why) => {
                entry.tries += 1;
                self.try_again(entry, why.clone());
            }
        }
    }

    /// The commit is durable.
    pub fn release(&mut self, entry: &mut Entry) {
        if std::mem::replace(&mut entry.released, true) {
            return;
        }
        match &mut entry.state {
            State::Starting(..) => self.go(entry),
            State::Failed(why) => {
                let why = std::mem::take(why);
                self.finish(entry, Observed::LaunchFailed(entry.run, why));
            }
            _ => {}
        }
    }

    fn go(&mut self, entry: &mut Entry) {
        if let State::Starting(_, Some(handshake)) = &entry.state {
            fault::point("qrmd.10");
            let said = rustix::io::retry_on_intr(|| send(handshake, &[handshake::GO], SendFlags::NOSIGNAL));
            if let Err(error) = said {
                // It is gone, and its pidfd says so.
                tracing::debug!(job = %entry.run.job, run = %entry.run, %error, "a shim did not wait for its release");
            }
        }
        fault::point("qrmd.11");
        self.await_writer(entry);
        self.deliver(entry);
    }

    /// The commit failed.
    pub fn abort(&mut self, entry: &mut Entry) {
        if entry.released {
            return tracing::error!(job = %entry.run.job, run = %entry.run, "a released run can not be taken back");
        }
        self.cancel(entry);
        self.remove_scratch(entry);
        entry.launch = None;
        (entry.early, entry.failed) = (0, None);
        entry.waiting.clear();
        match std::mem::replace(&mut entry.state, State::Gone) {
            // Closing the handshake tells it to go.
            State::Starting(shim, _) | State::Aborted(shim) => entry.state = State::Aborted(shim),
            State::Idle | State::Failed(_) | State::Unknown => self.clean(entry),
            other => entry.state = other,
        }
    }

    /// An aborted shim has ended: nothing is left of it, and another of the same name may follow.
    pub fn after_abort(&mut self, entry: &mut Entry) {
        self.clean(entry);
        match entry.launch {
            None => entry.state = State::Gone,
            Some(_) => {
                (entry.state, entry.tries) = (State::Idle, 0);
                self.launch(entry);
            }
        }
    }

    /// Has the scratch directory of a run removed, if it has one.
    pub fn remove_scratch(&mut self, entry: &Entry) {
        if entry.launch.as_ref().is_some_and(|launch| launch.limits.disk_bytes.is_some()) {
            self.scratches.remove(entry.run);
        }
    }

    /// Removes all traces of a run that never ran.
    fn clean(&mut self, entry: &mut Entry) {
        let job = entry.run.job;
        self.remove_group(entry);
        if let Err(error) = self.dirs.tidy(job, After::Another) {
            tracing::warn!(%job, run = %entry.run, %error, "cannot remove the traces of a run that was taken back");
        }
    }

    /// A try to make the run has failed.
    pub fn try_again(&mut self, entry: &mut Entry, why: Failed) {
        let run = entry.run;
        tracing::warn!(job = %run.job, %run, attempt = entry.tries, %why, "a process could not be made");
        entry.early = 0;
        entry.state = State::Idle;
        // One that is to be killed need not be made for that.
        if entry.tries < TRIES && !entry.waiting.contains(&RunSignal::Kill) {
            self.after(entry, PAUSE * (1 << (entry.tries - 1)));
        } else if entry.released {
            self.finish(entry, Observed::LaunchFailed(run, why));
        } else {
            entry.state = State::Failed(why);
        }
        self.end_without_process(entry);
    }

    fn make(&mut self, entry: &mut Entry) -> Result<(Shim, OwnedFd), Failed> {
        let at = |what: &'static str| move |error: io::Error| format!("{what}: {}", watch::plain(&error));
        let run = entry.run;
        let identity = entry.identity.as_deref();
        let dir = self.dirs.make(run.job, identity).map_err(at("cannot make its directory"))?;
        fault::point("qrmd.7");
        let limits = entry.launch.as_deref().map_or(Limits::PLAIN, |launch| launch.limits);
        let group = self.tracking.make(&watch::group_name(run), limits);
        entry.group = group.map_err(at("cannot make its control group"))?;
        fault::point("qrmd.8");
        if entry.file.is_none() {
            entry.file = Some(self.run_files.lend(run).map_err(at("cannot have a file for its records"))?);
        }
        let launch = entry.launch.as_deref().ok_or("nothing is known of its command")?;
        if entry.has_input() || launch.script.is_some() || launch.checkpoint {
            let acting = identity.map_or(Ok(Acting::AS_SELF), |user| Acting::of(user.uid, user.gid));
            let _acting = acting.map_err(at("cannot act as its user"))?;
            if entry.has_input() {
                make_fifo_in(&dir).map_err(at("cannot make its standard input"))?;
            }
            if let Some(script) = &launch.script {
                write_script(&dir, script).map_err(at("cannot write its script"))?;
            }
            if launch.checkpoint {
                checkpoint::make(&dir).map_err(at("cannot make its checkpoint directory"))?;
            }
        }
        if launch.limits.disk_bytes.is_some() {
            self.scratches.make(run, identity).map_err(at("cannot make its scratch directory"))?;
        }
        let plan = encode_plan(&self.settings, launch, &entry.name, entry.group.as_ref(), identity);
        let plan = plan_fd(&plan).map_err(at("cannot write its plan"))?;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|error| at("cannot make a socket")(error.into()))?;
        let has_terminal = launch.terminal.is_some();
        let run_file = entry.file.as_ref().ok_or("its records have no file")?;
        let terminal = match has_terminal {
            true => Some(self.run_files.listen(run_file).map_err(at("cannot make a way to its terminal"))?),
            false => None,
        };
        let terminal = terminal.as_ref().map(OwnedFd::as_fd);
        let (handshake, run_file) = (theirs.as_fd(), run_file.file.as_fd());
        let given = Given { plan: plan.as_fd(), handshake, job_dir: dir.as_fd(), run_file, terminal };
        let shim = self.spawner.spawn(given).map_err(at("cannot start qrm-shim"))?;
        fault::point("qrmd.9");
        // Without its handshake it ends by itself, having done nothing.
        self.watch(&shim, entry.token).and_then(|()| self.listen(&ours, entry.token)).map_err(at("cannot watch it"))?;
        Ok((shim, ours))
    }

    /// From now on the end of this process is an event, once: for a moment the fork server has the descriptor too, and
    /// our closing it may not be the end of it.
    pub fn watch(&self, shim: &Shim, token: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        Ok(epoll::add(&self.epoll, &shim.pidfd, epoll::EventData::new_u64(token * 2), flags)?)
    }

    fn listen(&self, handshake: &OwnedFd, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, handshake, epoll::EventData::new_u64(token * 2 + 1), epoll::EventFlags::IN)?)
    }
}

/// The plan's bytes. Nothing of the submitter's is copied on the way.
pub(super) fn encode_plan(
    settings: &Settings,
    launch: &Launch,
    name: &RunName,
    group: Option<&JobCgroup>,
    identity: Option<&Identity>,
) -> Vec<u8> {
    let job = launch.run.job.to_string();
    let own = own_variables(settings, launch, &job);
    let dir = settings.jobs_dir.join(job_dir(launch.run.job));
    let script = launch.script.as_ref().map(|_| dir.join(SCRIPT).into_os_string().into_encoded_bytes());
    let after = collecting(settings, launch, &dir);
    let restart = settings.restart.then(|| Restart {
        qrmd: settings.qrmd.as_os_str().as_bytes(),
        args: slices(&settings.qrmd_args),
        env: slices(&settings.qrmd_env),
        lock: settings.lock.as_os_str().as_bytes(),
        stopped: settings.stopped.as_os_str().as_bytes(),
    });
    let plan: Plan<&[u8]> = Plan {
        run: name.clone(),
        job: job.as_bytes(),
        boot_id: settings.boot_id.as_bytes(),
        argv: script
            .iter()
            .map(Vec::as_slice)
            .chain(slices(&launch.argv).into_iter().skip(script.iter().len()))
            .collect(),
        env: environment(&launch.env, &own),
        cwd: &launch.cwd,
        umask: launch.umask,
        identity: identity.cloned(),
        stdout: log(launch.stdout.as_deref(), STDOUT),
        // What a terminal shows is all one stream.
        stderr: log(launch.stderr.as_deref(), if launch.terminal.is_some() { STDOUT } else { STDERR }),
        stdin: match &launch.stdin {
            Input::Null => Stdin::Null,
            Input::Fifo => Stdin::Fifo(STDIN.as_bytes()),
            Input::File(path) => Stdin::File(path),
        },
        terminal: launch.terminal,
        after: (!after.is_empty()).then(|| slices(&after)),
        cgroup: group.cloned(),
        rlimits: limits_of(settings, launch),
        nice: None,
        restart,
    };
    plan.encode()
}

/// The submitter's limits; where the daemon can raise none, none is above its own.
fn limits_of(settings: &Settings, launch: &Launch) -> Vec<Rlimit> {
    let own = |resource: u32| settings.limits.iter().find(|limit| limit.resource == resource).map(|limit| limit.hard);
    let bounded = |limit: &Rlimit| {
        let most = own(limit.resource).filter(|_| !settings.raises_limits).unwrap_or(u64::MAX);
        Rlimit { soft: limit.soft.min(most), hard: limit.hard.min(most), ..*limit }
    };
    let is_other = |limit: &Rlimit| !settings.limits.contains(limit);
    let mut limits: Vec<Rlimit> = launch.rlimits.iter().map(bounded).filter(is_other).collect();
    // What was asked for is given as it is, or the job says why not.
    if let Some(files) = launch.limits.open_files {
        limits.retain(|limit| limit.resource != libc::RLIMIT_NOFILE);
        limits.push(Rlimit { resource: libc::RLIMIT_NOFILE, soft: files.into(), hard: files.into() });
    }
    limits
}

fn log<'a>(path: Option<&'a [u8]>, usual: &'a str) -> LogTarget<&'a [u8]> {
    path.map_or(LogTarget::InJobDir(usual.as_bytes()), LogTarget::File)
}

/// The command that lists what the job leaves; nothing if it was not asked for.
fn collecting(settings: &Settings, launch: &Launch, dir: &Path) -> Vec<Vec<u8>> {
    if launch.outputs.is_empty() {
        return Vec::new();
    }
    let text = |text: &str| text.as_bytes().to_vec();
    let run = launch.run;
    let mut command = vec![settings.qrmd.as_os_str().as_bytes().to_vec(), text(collect::FLAG)];
    command.extend([dir.as_os_str().as_bytes().to_vec(), text(&run.job.to_string()), text(&run.attempt.to_string())]);
    command.extend(launch.outputs.iter().map(|pattern| text(pattern)));
    command
}

fn own_variables(settings: &Settings, launch: &Launch, job: &str) -> Vec<Vec<u8>> {
    let Run { job: JobRef { task, .. }, attempt, .. } = launch.run;
    let mut own = vec![
        ["QRM_JOB_ID=", job].concat().into_bytes(),
        format!("QRM_ATTEMPT={attempt}").into_bytes(),
        job_dir_variable(settings, launch.run.job),
        [b"QRM_SOCKET=", settings.socket.as_os_str().as_bytes()].concat(),
    ];
    if launch.limits.disk_bytes.is_some() {
        let dir = settings.scratch.join(scratch::name(launch.run));
        let dir = dir.as_os_str().as_bytes();
        own.extend([[b"QRM_SCRATCH_DIR=", dir].concat(), [b"TMPDIR=", dir].concat()]);
    }
    if launch.checkpoint {
        let dir = settings.jobs_dir.join(job_dir(launch.run.job)).join(checkpoint::NAME);
        own.push([b"QRM_CHECKPOINT_DIR=", dir.as_os_str().as_bytes()].concat());
    }
    own.extend(task.map(|task| format!("QRM_ARRAY_INDEX={task}").into_bytes()));
    own
}

/// What tells the processes of this job from those of every other, also of other daemons.
pub(super) fn job_dir_variable(settings: &Settings, job: JobRef) -> Vec<u8> {
    [b"QRM_JOB_DIR=", settings.jobs_dir.join(job_dir(job)).as_os_str().as_bytes()].concat()
}

/// One entry for each name, the last one, and ours for our names: a job never inherits one of them from a job that
/// submitted it.
fn environment<'a>(given: &'a [Vec<u8>], own: &'a [Vec<u8>]) -> Vec<&'a [u8]> {
    let name = |entry: &'a [u8]| entry.split(|byte| *byte == b'=').next().unwrap_or(entry);
    let mut names: HashSet<&[u8]> = HashSet::with_capacity(given.len() + OWN_ENV.len() + own.len());
    names.extend(OWN_ENV.map(str::as_bytes));
    names.extend(own.iter().map(|entry| name(entry)));
    let mut env: Vec<&[u8]> = given.iter().rev().map(Vec::as_slice).filter(|entry| names.insert(name(entry))).collect();
    env.reverse();
    env.extend(slices(own));
    env
}

fn slices(texts: &[Vec<u8>]) -> Vec<&[u8]> {
    texts.iter().map(Vec::as_slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_set_once_by_its_last_entry_and_ours_by_us() {
        let list = |entries: &[&str]| entries.iter().map(|entry| entry.as_bytes().to_vec()).collect::<Vec<_>>();
        let given = list(&["A=1", "QRM_ARRAY_INDEX=7", "B=2=3", "A=4", "QRM_JOB_ID=1", "ODD", "QRM_X=5", "C="]);
        let own = list(&["QRM_JOB_ID=12"]);
        let want = list(&["B=2=3", "A=4", "ODD", "QRM_X=5", "C=", "QRM_JOB_ID=12"]);
        assert_eq!(environment(&given, &own), want.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
}
