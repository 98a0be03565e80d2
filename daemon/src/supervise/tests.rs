//! A real supervisor with the real shim and real jobs, in every kind of tracking that this machine gives.
//! Nothing here looks into the thread: what it reports, and what is left in the world, is what counts.

mod adopt;

use super::cgroup::Wish;
use super::{After, Input, Launch, Limits, Order, Settings, Supervisor, job_dir, make_fifo};
use crate::monitor::Monitor;
use qrm_core::{Observed, Run, RunOutcome, RunSignal, Stage};
use qrm_shim::proc::Process;
use qrm_shim::record::Started;
use qrm_shim::run_file::{self, RunFile};
use rustix::fs::{CWD, FileType, Mode};
use std::cell::RefCell;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A machine that is this slow is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// The shim beside the test program; built if only this crate was.
pub(super) fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let exe = std::env::current_exe().unwrap();
        let profile = exe.parent().and_then(Path::parent).unwrap();
        let shim = profile.join("shim-under-test");
        if !shim.exists() {
            let release: &[&str] = if profile.ends_with("release") { &["--release"] } else { &[] };
            let built = Command::new(env!("CARGO"))
                .args(["build", "-p", "qrm-shim", "--bin", "shim-under-test", "--target-dir"])
                .arg(profile.parent().unwrap())
                .args(release)
                .status();
            assert!(built.unwrap().success());
        }
        shim
    })
}

struct World {
    temp: TempDir,
    settings: Settings,
    supervisor: RefCell<Option<Supervisor>>,
    reports: RefCell<Receiver<Observed>>,
    subtree: Option<PathBuf>,
}

impl World {
    fn new(tracking: Wish, change: impl FnOnce(&mut Settings)) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let state = temp.path().to_owned();
        let at = |name: &str| state.join(name);
        fs::create_dir(at("jobs")).unwrap();
        fs::create_dir(at("runs")).unwrap();
        let mut settings = Settings {
            jobs_dir: at("jobs"),
            runs_dir: at("runs"),
            shim: shim().to_owned(),
            qrmd: at("no-qrmd"),
            qrmd_args: vec![],
            qrmd_env: vec![],
            lock: at("qrmd.lock"),
            stopped: at("stopped"),
            socket: at("qrm.sock"),
            boot_id: "this-boot".to_owned(),
            tracking,
            limits: vec![],
            raises_limits: false,
            pids: crate::config::Bound::Auto,
            output: crate::config::Bound::Auto,
            hard_cpus: false,
            scratch: at("scratch"),
            open_files: rustix::process::getrlimit(rustix::process::Resource::Nofile),
            restart: true,
            mode: crate::mode::Mode::User,
            state_dir: state,
        };
        change(&mut settings);
        let world = Self { temp, settings, supervisor: None.into(), reports: channel().1.into(), subtree: None };
        world.start();
        let found = world.supervisor.borrow().as_ref().unwrap().findings()[0].found.clone();
        let subtree = found.split_once(", in ").map(|(_, path)| path.split(" (").next().unwrap().into());
        Self { subtree, ..world }
    }

    /// Another supervisor, as after a restart of the daemon.
    fn start(&self) {
        let (sender, receiver) = channel();
        let report = move |observed| drop(sender.send(observed));
        *self.reports.borrow_mut() = receiver;
        *self.supervisor.borrow_mut() =
            Some(Supervisor::start(self.settings.clone(), Monitor::start(PATIENCE, |_| ()).unwrap(), report).unwrap());
    }

    fn stop(&self) {
        self.supervisor.borrow_mut().take().unwrap().stop();
    }

    fn order(&self, order: Order) {
        self.supervisor.borrow().as_ref().unwrap().order(order);
    }

    fn run(&self, id: u64, argv: &[&str]) -> Run {
        let launch = launch(id, argv);
        let run = launch.run;
        self.order(Order::Prepare(launch));
        self.order(Order::Release(run));
        run
    }

    fn next(&self) -> Observed {
        self.reports.borrow().recv_timeout(PATIENCE).expect("something happens in time")
    }

    fn outcome(&self, run: Run) -> RunOutcome {
        loop {
            match self.next() {
                Observed::Ended(ended, outcome) if ended == run => return outcome,
                Observed::Executing { .. } => {}
                other => panic!("{other:?} is not the end of {run:?}"),
            }
        }
    }

    fn silent(&self) -> bool {
        self.reports.borrow().try_recv().is_err()
    }

    /// A FIFO by which a job says something to us.
    fn fifo(&self, name: &str) -> PathBuf {
        let path = self.temp.path().join(name);
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        path
    }

    fn job_path(&self, run: Run) -> PathBuf {
        self.settings.jobs_dir.join(job_dir(run.job))
    }

    fn started(&self, run: Run) -> Started {
        serde_json::from_slice(self.records(run).unwrap().started().unwrap()).unwrap()
    }

    /// The file with the records of a run.
    fn records(&self, run: Run) -> Option<RunFile> {
        let files = walk(&self.settings.runs_dir);
        let mut files = files.iter().map(|path| RunFile::read(fs::File::open(path).unwrap()).unwrap());
        files.find(|file| file.owner() == Some(&owner(run)))
    }

    /// Puts a file there with such a start record.
    fn put_started(&self, run: Run, record: &str) {
        let file = fs::File::create_new(self.settings.runs_dir.join("0")).unwrap();
        run_file::claim(&file, &owner(run)).unwrap();
        let after_owner = run_file::EXIT_BYTES + owner(run).len() + 1;
        rustix::io::pwrite(&file, record.as_bytes(), after_owner as u64).unwrap();
    }

    fn clear(&self, run: Run) {
        self.order(Order::Clear { run: Some(run), job: run.job, after: After::Completed });
    }

    /// Stops, and claims that nothing is left anywhere.
    fn leaves_nothing(&self) {
        self.stop();
        let left = [walk(&self.settings.jobs_dir), walk(&self.settings.runs_dir)].concat();
        assert!(left.is_empty(), "{left:?}");
        if let Some(subtree) = &self.subtree {
            assert!(!subtree.exists(), "{:?}", walk(subtree));
        }
    }
}

fn owner(run: Run) -> Vec<u8> {
    run_file::owner(run.job.to_string().as_bytes(), &super::watch::run_name(run))
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        found.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        }
    }
    found
}

fn launch(id: u64, argv: &[&str]) -> Box<Launch> {
    let run = Run { job: qrm_protocol::ids::JobId(id).into(), stage: Stage::Execute, attempt: 1 };
    Box::new(Launch {
        ran: false,
        run,
        uid: rustix::process::geteuid().as_raw(),
        rlimits: Vec::new(),
        argv: argv.iter().map(|word| word.as_bytes().to_vec()).collect(),
        env: vec![b"PATH=/usr/local/bin:/usr/bin:/bin".to_vec(), b"QRM_JOB_ID=outer".to_vec()],
        cwd: b"/".to_vec(),
        umask: 0o022,
        terminal: None,
        stdin: Input::Null,
        stdout: None,
        stderr: None,
        script: None,
        limits: Limits::PLAIN,
        checkpoint: false,
        outputs: Vec::new(),
    })
}

/// The claim in every kind of tracking; what this machine does not give is skipped by name.
fn everywhere(claim: impl Fn(&World)) {
    for (wish, name) in [(Wish::V2, "v2"), (Wish::V1, "v1"), (Wish::None, "none")] {
        let probe = tempfile::tempdir().unwrap();
        match super::cgroup::Tracking::detect(wish, probe.path()) {
            Ok(tracking) => {
                tracking.leave();
                claim(&World::new(wish, |_| {}));
            }
            Err(error) => println!("SKIPPED in {name}: {error}"),
        }
    }
}

/// Waits until a process that is none of our children is gone.
fn wait_gone(pid: u32, start: u64) {
    if let Some(pidfd) = (Process { pid, start }).open().unwrap() {
        wait_readable(pidfd, "a process goes on");
    }
}

/// What a job says through a FIFO.
fn hear(fifo: &Path) -> String {
    let file = fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(fifo).unwrap();
    wait_readable(&file, "a job says nothing");
    rustix::io::ioctl_fionbio(&file, false).unwrap();
    std::io::read_to_string(file).unwrap()
}

fn number(fifo: &Path) -> u32 {
    hear(fifo).trim().parse().unwrap()
}

fn wait_readable(fd: impl AsFd, what: &str) {
    let mut fds = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
    let timeout = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&timeout)), Ok(1), "{what}");
}

#[test]
fn a_run_ends_with_its_code_its_signal_or_the_reason_why_it_never_was() {
    everywhere(|world| {
        for (at, (argv, code, signal, not_run)) in [
            (&["true"][..], Some(0), None, None),
            (&["sh", "-c", "exit 7"], Some(7), None, None),
            (&["sh", "-c", "kill -9 $$"], None, Some(9), None),
            (&["nosuchcmd"], Some(127), None, Some("nosuchcmd: No such file or directory")),
            (&["/etc/passwd"], Some(126), None, Some("/etc/passwd: Permission denied")),
        ]
        .into_iter()
        .enumerate()
        {
            let run = world.run(at as u64 + 1, argv);
            let outcome = world.outcome(run);
            let got = (outcome.exit_code, outcome.signal, outcome.not_run.as_deref());
            assert_eq!(got, (code, signal, not_run), "{argv:?}");
            assert!(outcome.started_at.unwrap() <= outcome.ended_at);
            world.clear(run);
        }
        world.leaves_nothing();
    });
}

#[test]
fn a_directory_that_is_not_there_is_said_by_its_name() {
    let world = World::new(Wish::None, |_| {});
    let launch = Box::new(Launch { cwd: b"/no/such".to_vec(), ..*launch(1, &["true"]) });
    let run = launch.run;
    world.order(Order::Prepare(launch));
    world.order(Order::Release(run));
    let outcome = world.outcome(run);
    assert_eq!(outcome.not_run.unwrap(), "cannot enter the directory /no/such: No such file or directory");
    assert_eq!(outcome.exit_code, Some(126));
}

#[test]
fn a_task_knows_who_it_is() {
    let world = World::new(Wish::None, |_| {});
    let mut launch = launch(1, &["sh", "-c", "echo $QRM_JOB_ID $QRM_ATTEMPT $QRM_ARRAY_INDEX; echo $QRM_JOB_DIR >&2"]);
    launch.run = Run { job: "7.3".parse().unwrap(), attempt: 2, ..launch.run };
    let run = launch.run;
    world.order(Order::Prepare(launch));
    world.order(Order::Release(run));
    assert_eq!(world.outcome(run).exit_code, Some(0));
    let dir = world.job_path(run);
    assert!(dir.ends_with("jobs/0/7/0/7.3"));
    assert_eq!(fs::read_to_string(dir.join("stdout")).unwrap(), "7.3 2 3\n");
    assert_eq!(fs::read_to_string(dir.join("stderr")).unwrap(), format!("{}\n", dir.display()));
    world.clear(run);
    world.stop();
    let mut left: Vec<_> = walk(&dir);
    left.sort();
    assert_eq!(left, [dir.join("stderr"), dir.join("stdout")]);
}

#[test]
fn input_comes_through_the_fifo() {
    let world = World::new(Wish::None, |_| {});
    let mut launch = launch(1, &["cat"]);
    launch.stdin = Input::Fifo;
    let run = launch.run;
    make_fifo(&world.settings.jobs_dir, run.job, crate::mode::Mode::User, None).unwrap();
    world.order(Order::Prepare(launch));
    world.order(Order::Release(run));
    fs::write(world.job_path(run).join("stdin"), "hello").unwrap();
    assert_eq!(world.outcome(run).exit_code, Some(0));
    assert_eq!(fs::read_to_string(world.job_path(run).join("stdout")).unwrap(), "hello");
    fs::remove_file(world.job_path(run).join("stdout")).unwrap();
    world.clear(run);
    world.leaves_nothing();
}

#[test]
fn a_run_that_waits_for_its_input_can_be_ended() {
    everywhere(|world| {
        let mut launch = launch(1, &["cat"]);
        launch.stdin = Input::Fifo;
        let run = launch.run;
        make_fifo(&world.settings.jobs_dir, run.job, crate::mode::Mode::User, None).unwrap();
        world.order(Order::Prepare(launch));
        world.order(Order::Release(run));
        world.order(Order::Signal(run, RunSignal::Kill));
        assert_eq!(world.outcome(run).signal, Some(9));
        world.clear(run);
        // Also later, when its process waits.
        let mut launch = self::launch(2, &["cat"]);
        launch.stdin = Input::Fifo;
        let run = launch.run;
        world.order(Order::Prepare(launch));
        world.order(Order::Release(run));
        while world.records(run).is_none_or(|file| file.started().is_none()) {
            std::thread::yield_now();
        }
        world.order(Order::Signal(run, RunSignal::Number(15)));
        assert_eq!(world.outcome(run).signal, Some(15));
        world.clear(run);
        world.leaves_nothing();
    });
}

#[test]
fn killing_reaches_a_grandchild_that_made_itself_a_daemon() {
    everywhere(|world| {
        let fifo = world.fifo("pid");
        let script = format!("(setsid sh -c 'echo $$ > {}; exec sleep 100' &) ; sleep 100", fifo.display());
        let run = world.run(1, &["sh", "-c", &script]);
        let daemon = Process::of(number(&fifo)).unwrap().unwrap();
        world.order(Order::Signal(run, RunSignal::Kill));
        assert_eq!(world.outcome(run).signal, Some(9));
        assert!(!daemon.is_alive().unwrap());
        world.clear(run);
        world.leaves_nothing();
    });
}

#[test]
fn a_signal_that_comes_too_early_is_kept_until_somebody_is_there() {
    everywhere(|world| {
        let (term, kill) = (RunSignal::Number(libc::SIGTERM), RunSignal::Kill);
        let cases = [(term, false, libc::SIGTERM), (term, true, libc::SIGTERM), (kill, false, 9), (kill, true, 9)];
        for (id, (signal, released, want)) in (1..).zip(cases.into_iter().cycle().take(20)) {
            let launch = launch(id, &["sleep", "100"]);
            let run = launch.run;
            world.order(Order::Prepare(launch));
            if released {
                world.order(Order::Release(run));
                world.order(Order::Signal(run, signal));
            } else {
                world.order(Order::Signal(run, signal));
                world.order(Order::Release(run));
            }
            assert_eq!(world.outcome(run).signal, Some(want));
            world.clear(run);
        }
        world.leaves_nothing();
    });
}

#[test]
fn a_signal_reaches_every_process_of_a_run() {
    everywhere(|world| {
        let fifo = world.fifo("word");
        let script = format!(
            "exec 2>/dev/null; trap 'echo got > {0}; exit 3' USR1; sleep 100 & echo ready > {0}; wait",
            fifo.display()
        );
        let run = world.run(1, &["sh", "-c", &script]);
        assert_eq!(hear(&fifo), "ready\n");
        world.order(Order::Signal(run, RunSignal::Number(libc::SIGUSR1)));
        assert_eq!(hear(&fifo), "got\n");
        assert_eq!(world.outcome(run).exit_code, Some(3));
        world.clear(run);
        world.leaves_nothing();
    });
}

#[test]
fn what_was_taken_back_leaves_nothing_and_the_same_run_can_be_made_again() {
    everywhere(|world| {
        let first = launch(1, &["sh", "-c", "echo wrong"]);
        let run = first.run;
        world.order(Order::Prepare(first));
        world.order(Order::Abort(run));
        world.order(Order::Prepare(launch(1, &["sh", "-c", "exit 5"])));
        world.order(Order::Release(run));
        assert_eq!(world.outcome(run).exit_code, Some(5));
        world.clear(run);
        world.order(Order::Prepare(launch(2, &["sh", "-c", "echo wrong"])));
        let second = launch(2, &[]).run;
        world.order(Order::Abort(second));
        // It is gone when another can be made and cleared in its place.
        world.order(Order::Prepare(launch(2, &["true"])));
        world.order(Order::Release(second));
        assert_eq!(world.outcome(second).exit_code, Some(0));
        world.clear(second);
        world.leaves_nothing();
    });
}

#[test]
fn what_cannot_be_made_fails_once_it_is_a_fact_that_it_should_be() {
    everywhere(|world| {
        world.stop();
        let mut settings = world.settings.clone();
        settings.shim = "/no/such/shim".into();
        let world = World { settings, ..World::new(Wish::None, |_| {}) };
        world.stop();
        world.start();
        let run = launch(1, &["true"]).run;
        world.order(Order::Prepare(launch(1, &["true"])));
        world.order(Order::Abort(run));
        world.order(Order::Prepare(launch(2, &["true"])));
        let run = launch(2, &["true"]).run;
        assert!(world.silent());
        world.order(Order::Release(run));
        let Observed::LaunchFailed(failed, why) = world.next() else { panic!() };
        assert_eq!((failed, why.as_str()), (run, "cannot start qrm-shim: No such file or directory"));
        assert!(world.silent());
    });
}

#[test]
fn a_run_that_is_cleared_before_its_end_is_told_to_nobody() {
    everywhere(|world| {
        let fifo = world.fifo("pid");
        let script = format!("echo $$ > {}; exec sleep 100", fifo.display());
        let run = world.run(1, &["sh", "-c", &script]);
        let command = Process::of(number(&fifo)).unwrap().unwrap();
        world.clear(run);
        world.order(Order::Signal(run, RunSignal::Kill));
        wait_gone(command.pid, command.start);
        // The thread takes one thing after the other: when this run has ended, the first has long been forgotten.
        let mut second = world.run(2, &["true"]);
        while world.job_path(run).exists() {
            world.outcome(second);
            world.clear(second);
            second = world.run(second.job.job.0 + 1, &["true"]);
        }
        world.outcome(second);
        world.clear(second);
        world.leaves_nothing();
    });
}

#[test]
fn a_frozen_run_stands_still_until_it_is_thawed_or_killed() {
    everywhere(|world| {
        let (pid, go) = (world.fifo("pid"), world.fifo("go"));
        let script = format!("echo $$ > {}; read word < {}; exit 7", pid.display(), go.display());
        for (id, end) in [(1, RunSignal::Thaw), (3, RunSignal::Kill)] {
            let run = world.run(id, &["sh", "-c", &script]);
            number(&pid);
            world.order(Order::Signal(run, RunSignal::Freeze));
            let other = |id: u64, seconds: &str| {
                let other = world.run(id, &["sleep", seconds]);
                world.outcome(other);
                world.clear(other);
            };
            // Orders are carried out one after the other.
            other(id + 10, "0");
            let gate = fs::File::options().read(true).write(true).open(&go).unwrap();
            rustix::io::write(&gate, b"\n").unwrap();
            // Long enough for one that can go on.
            other(id + 20, "0.1");
            assert!(world.silent());
            world.order(Order::Signal(run, end));
            let outcome = world.outcome(run);
            let expected = if end == RunSignal::Kill { (None, Some(9)) } else { (Some(7), None) };
            assert_eq!((outcome.exit_code, outcome.signal), expected);
            world.clear(run);
        }
        world.leaves_nothing();
    });
}

#[test]
fn many_short_jobs_pass() {
    everywhere(|world| {
        let (jobs, at_a_time) = (200, 8);
        let begun = Instant::now();
        let mut given = 0;
        for ended in 0..jobs {
            while given < jobs && given < ended + at_a_time {
                given += 1;
                world.run(given, &["/bin/true"]);
            }
            loop {
                match world.next() {
                    Observed::Ended(run, outcome) => {
                        assert_eq!(outcome.exit_code, Some(0));
                        world.clear(run);
                        break;
                    }
                    Observed::Executing { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        let each = begun.elapsed() / jobs as u32;
        println!("{jobs} jobs, {:?} each, {:.0} in a second", each, 1.0 / each.as_secs_f64());
        world.leaves_nothing();
    });
}
