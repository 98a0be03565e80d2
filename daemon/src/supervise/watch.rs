//! What is known of each run, and what its shim's answer and its end mean.
//! It refuses to make or signal a process, and to judge an end: the records say how it was.

use super::run_files::RunFile;
use super::spawn::Shim;
use super::thread::Means;
use super::{After, Input, Launch, Limits};
use crate::fault;
use crate::monitor::{Watched, Watching};
use qrm_core::{Exceeded, Observed, Run, RunOutcome, RunSignal, RunUsage, Stage};
use qrm_protocol::time::Timestamp;
use qrm_shim::cgroup::JobCgroup;
use qrm_shim::handshake::Report;
use qrm_shim::identity::Identity;
use qrm_shim::plan::RunName;
use qrm_shim::record::{ExecError, Exit, PeakFrom, Started, Step};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A run has to last this long for it to be told that it executes; of a shorter one, its end says all. It spares
/// short jobs a record read, an event and its commit, and nobody can tell the difference.
const SETTLED: Duration = Duration::from_millis(10);
/// Who will write to a job's standard input has it open before the job can start. If nobody has by this time after the
/// release, nobody lives who would, and the input is empty.
const WRITER_PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer of a shim.
const ANSWER_BYTES: usize = 64;

/// One run.
pub(super) struct Entry {
    pub run: Run,
    /// Its number among the events.
    pub token: u64,
    /// What its files are named after.
    pub name: RunName,
    pub state: State,
    /// As whom it runs, once that is known; in system mode.
    pub identity: Option<Arc<Identity>>,
    /// What it was made from. Once the command is released, only what messages need of it.
    pub launch: Option<Box<Launch>>,
    pub group: Option<JobCgroup>,
    /// It executes, and is sampled.
    pub watching: Option<Watching>,
    /// Where its records are.
    pub file: Option<RunFile>,
    /// The engine has said that it may run.
    pub released: bool,
    /// Signals that came before there was certainly somebody to get them, oldest first.
    pub waiting: VecDeque<RunSignal>,
    /// How many of these were sent all the same, and are sent again should the run have to be made again.
    pub early: usize,
    /// It was told that it executes.
    pub told: bool,
    /// A helper is killing its processes.
    pub striking: bool,
    /// A helper is signalling its processes.
    pub signalling: bool,
    /// To be cleared, and no more reported, as soon as it is over; what comes after it.
    pub clear: Option<After>,
    /// How often it was tried to make it.
    pub tries: u32,
    /// Why the last try failed, if the shim said so.
    pub failed: Option<String>,
    /// The next pause between two looks at something that gives no event.
    pub pause: Duration,
    /// When it is looked at by itself.
    pub due: Option<Instant>,
    /// It had too much of something, and is killed for that.
    pub exceeded: Option<Exceeded>,
    /// When nobody is awaited any more who would write to its standard input.
    pub input_ends: Option<Instant>,
    /// Those who were let in to run commands beside it, as far as they may be there still.
    pub visitors: Vec<Shim>,
}

/// Where a run is.
pub(super) enum State {
    /// Nothing of it is there; it will be made when it is due.
    Idle,
    /// It could not be made, which becomes a fact when it is released.
    Failed(String),
    /// Our shim is there, and has not said that the command is released. Its handshake, until it answers.
    Starting(Shim, Option<OwnedFd>),
    /// The command is released. If something is due, then to say so.
    Running(Shim),
    /// A shim was found whose command is not known to be released. It will be, or the shim ends; it is looked at
    /// when it is due.
    Found(#[expect(dead_code, reason = "as long as it is open, its end is an event")] Shim),
    /// It could not be found out where it is; it is looked at again when it is due.
    Unknown,
    /// The commit failed, and its shim is on its way out. With a `launch`, the same run is to be made after that.
    Aborted(Shim),
    /// Its shim died, and a helper ends what that left.
    Burying,
    /// It is over, and this was reported.
    Over(Observed),
    /// Nothing of it is left, to be forgotten.
    Gone,
}

impl Entry {
    pub fn new(token: u64, launch: Box<Launch>) -> Self {
        Self {
            run: launch.run,
            token,
            name: run_name(launch.run),
            state: State::Idle,
            launch: Some(launch),
            identity: None,
            group: None,
            watching: None,
            file: None,
            released: false,
            waiting: VecDeque::new(),
            early: 0,
            told: false,
            striking: false,
            signalling: false,
            clear: None,
            tries: 0,
            failed: None,
            pause: FIRST_PAUSE,
            due: None,
            exceeded: None,
            input_ends: None,
            visitors: Vec::new(),
        }
    }

    /// Its standard input is the FIFO in its directory; until that has a writer, its command is not executed.
    pub fn has_input(&self) -> bool {
        self.launch.as_ref().is_some_and(|launch| launch.stdin == Input::Fifo)
    }

    /// The pause before the next look, each twice as long as the one before.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        pause
    }
}

/// A shim needs about this long to fork.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// What fails for longer than a minute is looked at this often.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What the files of a run are named after.
pub(super) fn run_name(run: Run) -> RunName {
    RunName::parse(&run.to_string()).expect("the name of a run is a stage and a number")
}

/// What the group of a run is named: `12.3-execute-1`.
pub(super) fn group_name(run: Run) -> String {
    format!("{}-{run}", run.job)
}

/// An error as people say it, without its number.
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

impl Means {
    /// The shim has answered, or closed the handshake without a word.
    pub fn on_answer(&mut self, entry: &mut Entry) {
        match take_answer(entry) {
            Some(Report::Started) => self.on_started(entry),
            // It ends now, and its end is the event that counts.
            Some(Report::Failed { step, errno }) => entry.failed = Some(step_failed(step, errno, None)),
            // Another shim has this run, or had: its end says which, and the records are looked at then.
            Some(Report::Held | Report::Ran) | None => {}
        }
    }

    /// The command is released.
    fn on_started(&mut self, entry: &mut Entry) {
        let State::Starting(shim, _) = std::mem::replace(&mut entry.state, State::Gone) else {
            unreachable!("only a starting shim answers")
        };
        fault::point("qrmd.12");
        self.cancel(entry);
        entry.input_ends = None;
        self.now_running(entry, shim);
        match entry.has_input() {
            // Whoever writes that waits for this.
            true => self.tell(entry),
            false => self.tell_later(entry),
        }
    }

    /// The command is released, and whoever waited for somebody to be there is served.
    pub fn now_running(&mut self, entry: &mut Entry, shim: Shim) {
        entry.state = State::Running(shim);
        entry.failed = None;
        self.watch_limits(entry);
        if let Some(launch) = &mut entry.launch {
            launch.env = Vec::new();
            launch.argv.truncate(1);
        }
        self.deliver(entry);
    }

    /// Has it told that the run executes, unless that is told already or the run is too short for that.
    pub fn tell_later(&mut self, entry: &mut Entry) {
        if entry.run.stage == Stage::Execute && !entry.told && entry.due.is_none() {
            self.after(entry, SETTLED);
        }
    }

    /// Its time has come.
    pub fn on_due(&mut self, entry: &mut Entry) {
        match &entry.state {
            State::Idle => self.launch(entry),
            State::Running(_) => {
                if !entry.told {
                    self.tell(entry);
                }
                self.end_input(entry);
            }
            State::Starting(..) => {
                self.deliver(entry);
                self.end_input(entry);
            }
            State::Found(_) | State::Unknown => self.look(entry),
            _ => {}
        }
    }

    /// Its command was released just now, or some time ago: it waits for a writer of its input, but not for ever.
    pub fn await_writer(&mut self, entry: &mut Entry) {
        if entry.has_input() {
            entry.input_ends = Some(Instant::now() + WRITER_PATIENCE);
            self.end_input(entry);
        }
    }

    /// If its time has come, opens and closes the input of a run: who waits for a writer has an empty input then. One
    /// that has a writer does not notice.
    fn end_input(&mut self, entry: &mut Entry) {
        let Some(at) = entry.input_ends else { return };
        let now = Instant::now();
        if at <= now {
            match self.dirs.open_input_once(entry.run.job, entry.identity.as_deref()) {
                Ok(true) => return entry.input_ends = None,
                // Its process is not there yet.
                Ok(false) => {}
                Err(error) => {
                    entry.input_ends = None;
                    let job = entry.run.job;
                    return tracing::error!(%job, run = %entry.run, %error, "cannot end the input of a run");
                }
            }
            entry.input_ends = Some(now + entry.next_pause());
        }
        if entry.due.is_none()
            && let Some(at) = entry.input_ends
        {
            self.after(entry, at.saturating_duration_since(now));
        }
    }

    /// Says that the command was released, if it was.
    fn tell(&mut self, entry: &mut Entry) {
        match self.started(entry) {
            Ok(Some(started)) => self.executing(entry, &started),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(job = %entry.run.job, run = %entry.run, %error, "cannot read when a run was started");
            }
        }
    }

    /// Says that the command was released.
    pub fn executing(&self, entry: &mut Entry, started: &Started) {
        let run = entry.run;
        entry.told = true;
        if run.stage == Stage::Execute && entry.clear.is_none() {
            let (shim, group, since_boot_ms) = (started.shim_pid, entry.group.clone(), started.at_boot_ms);
            let asked = entry.launch.as_ref().and_then(|launch| launch.limits.mem_bytes);
            let watched = Watched { shim, group, since_boot_ms, asked };
            entry.watching.get_or_insert_with(|| self.monitor.watch(run, watched));
            fault::point("qrmd.13");
            let (pid, at, boot_ms) = (started.pid, timestamp(started.at_wall_ms), started.at_boot_ms);
            (self.report)(Observed::Executing { run, pid, at, boot_ms });
        }
    }

    /// A shim has ended.
    pub fn on_end(&mut self, entry: &mut Entry) {
        match &entry.state {
            State::Aborted(_) => return self.after_abort(entry),
            State::Starting(..) | State::Running(_) | State::Found(_) => self.cancel(entry),
            _ => return,
        }
        fault::point("qrmd.14");
        match self.exit(entry) {
            Ok(Some(exit)) => self.on_exit(entry, &exit),
            // The rare ends: the shim has said, or the records do.
            Ok(None) | Err(_) => {
                if let Some(Report::Failed { step, errno }) = take_answer(entry) {
                    entry.failed = Some(step_failed(step, errno, None));
                }
                // One that we made and that did nothing is a failure; one that we found only saw that we were away.
                if matches!(entry.state, State::Starting(..)) && entry.failed.is_none() {
                    entry.failed = Some("its supervisor ended at once".to_owned());
                }
                entry.state = State::Unknown;
                self.look(entry);
            }
        }
    }

    /// There is a record of its end.
    pub fn on_exit(&mut self, entry: &mut Entry, exit: &Exit) {
        fault::point("qrmd.15");
        let outcome = outcome(exit, entry);
        self.finish(entry, Observed::Ended(entry.run, outcome));
    }

    /// The run is over. Its group goes, and the engine is told unless it does not want to know any more.
    pub fn finish(&mut self, entry: &mut Entry, observed: Observed) {
        self.cancel(entry);
        self.patrols.iter_mut().for_each(|patrol| patrol.forget(entry.run));
        self.remove_scratch(entry);
        entry.launch = None;
        entry.watching = None;
        entry.waiting.clear();
        self.remove_group(entry);
        fault::point("qrmd.16");
        if entry.clear.is_none() {
            (self.report)(observed.clone());
        }
        fault::point("qrmd.17");
        entry.state = State::Over(observed);
    }

    /// Removes its group. If that cannot be yet, it is tried again when the run is cleared, and when all is swept.
    pub fn remove_group(&self, entry: &mut Entry) {
        let name = group_name(entry.run);
        entry.group = entry.group.take().filter(|group| !self.tracking.remove(&name, group));
    }

    /// If it is to be cleared and nothing of it lives, it is over.
    pub fn end_without_process(&mut self, entry: &mut Entry) {
        if entry.clear.is_some() && matches!(entry.state, State::Idle | State::Failed(_)) {
            self.finish(entry, Observed::Lost(entry.run));
        }
    }

    /// The record of its end; `None` without one. One that says nothing is logged and counts as none.
    pub fn exit(&self, entry: &Entry) -> io::Result<Option<Exit>> {
        let Some(file) = &entry.file else { return Ok(None) };
        Ok(file.read()?.exit().and_then(|record| parsed(entry, record)))
    }

    /// The record of its start; `None` unless it is whole.
    pub fn started(&self, entry: &Entry) -> io::Result<Option<Started>> {
        let Some(file) = &entry.file else { return Ok(None) };
        Ok(file.read()?.started().and_then(|record| parsed(entry, record)))
    }
}

fn parsed<T: serde::de::DeserializeOwned>(entry: &Entry, bytes: &[u8]) -> Option<T> {
    match serde_json::from_slice(bytes) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::error!(job = %entry.run.job, run = %entry.run, %error, "a record of a run makes no sense");
            None
        }
    }
}

/// What a starting shim has answered. Once it has, its handshake is over, whatever it said.
fn take_answer(entry: &mut Entry) -> Option<Report> {
    let State::Starting(_, handshake) = &mut entry.state else { return None };
    let mut answer = [0; ANSWER_BYTES];
    let read = {
        let handshake = handshake.as_ref()?;
        rustix::io::retry_on_intr(|| recv(handshake, &mut answer, RecvFlags::DONTWAIT))
    };
    // An event may be older than this handshake.
    if read == Err(Errno::AGAIN) {
        return None;
    }
    *handshake = None;
    Report::parse(&answer[..read.map_or(0, |(len, _)| len)])
}

/// What could not be done, with whose name it has, if it has one.
fn step_failed(step: Step, errno: i32, launch: Option<&Launch>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let path = |of: fn(&Launch) -> Option<&Vec<u8>>| {
        launch.and_then(of).map_or_else(String::new, |path| format!(" {}", text(path)))
    };
    let what = match (step, launch) {
        (Step::Chdir, Some(launch)) => format!("cannot enter the directory {}", text(&launch.cwd)),
        (Step::Exec, Some(launch)) => launch.argv.first().map_or_else(String::new, |program| text(program)),
        (Step::Chdir, None) => "cannot enter its directory".to_owned(),
        (Step::Exec, None) => "cannot execute its command".to_owned(),
        (Step::Plan, _) => "cannot read its plan".to_owned(),
        (Step::Lock, _) => "cannot lock the file of its records".to_owned(),
        (Step::Stdout, _) => format!("cannot open its standard output{}", path(|launch| launch.stdout.as_ref())),
        (Step::Stderr, _) => format!("cannot open its standard error{}", path(|launch| launch.stderr.as_ref())),
        (Step::Stdin, _) => format!(
            "cannot open its standard input{}",
            path(|launch| match &launch.stdin {
                Input::File(path) => Some(path),
                _ => None,
            })
        ),
        (Step::Terminal, _) => "cannot make its terminal".to_owned(),
        (Step::Fork, _) => "cannot make its process".to_owned(),
        (Step::User, _) => "cannot become its user".to_owned(),
        (Step::Cgroup, _) => "cannot enter its control group".to_owned(),
        (Step::Started, _) => "cannot record its start".to_owned(),
        (Step::Rlimit, Some(Launch { limits: Limits { open_files: Some(files), .. }, .. })) => {
            format!("cannot set its limits, with {files} open files")
        }
        (Step::Rlimit, _) => "cannot set its limits".to_owned(),
        (Step::Nice, _) => "cannot set its nice value".to_owned(),
    };
    format!("{what}: {}", plain(&io::Error::from_raw_os_error(errno)))
}

fn timestamp(wall_ms: u64) -> Timestamp {
    Timestamp(i64::try_from(wall_ms).unwrap_or(i64::MAX))
}

/// What of a run is not where it should be.
fn not_kept(exit: &Exit) -> Option<String> {
    let listed = exit.after.filter(|code| *code != 0);
    let listed = listed
        .map(|code| format!("its outputs could not be listed in meta.json: exit code {code}; its stderr says why"));
    let why = |errno| plain(&io::Error::from_raw_os_error(errno));
    let log = exit.log.map(|errno| format!("its log has not all that its terminal showed: {}", why(errno)));
    log.or(listed)
}

/// What a record of an end means to the engine. Where nothing counted the memory of the whole run, it knows that of the
/// largest process; what was sampled or watched of all together may be more.
fn outcome(exit: &Exit, entry: &Entry) -> RunOutcome {
    let launch = entry.launch.as_deref();
    let seen =
        entry.watching.as_ref().and_then(Watching::peak).filter(|_| exit.peak_from == PeakFrom::Rss).unwrap_or(0);
    let measured = match entry.exceeded {
        Some(Exceeded::Memory { had, .. }) => had.max(seen),
        _ => seen,
    };
    RunOutcome {
        exit_code: exit.code,
        signal: exit.signal,
        not_run: exit.exec_error.map(|ExecError { stage, errno }| step_failed(stage, errno, launch)),
        oom: exit.oom || matches!(entry.exceeded, Some(Exceeded::Memory { .. })),
        exceeded: entry.exceeded,
        pids_refused: launch.and_then(|launch| launch.limits.pids).filter(|_| exit.pids_refused > 0),
        not_kept: not_kept(exit),
        started_at: Some(timestamp(exit.started_wall_ms)),
        ended_at: timestamp(exit.ended_wall_ms),
        usage: RunUsage {
            cpu_ms: exit.user_us.saturating_add(exit.system_us).saturating_add(500) / 1000,
            peak_memory_bytes: exit.peak_memory_bytes.max(measured),
        },
    }
}
