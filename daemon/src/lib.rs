//! `qrmd`: everything that touches the world. It puts the parts together and ends them in order.
//! It refuses to decide; that is the core's.

mod check;
pub mod clock;
mod collect;
pub mod config;
pub mod engine;
pub mod fault;
mod forget;
mod listen;
mod machine;
mod mode;
pub mod monitor;
mod notify;
mod reload;
mod remove;
mod replace;
pub mod rpc;
mod shares;
mod simulate;
pub mod state_dir;
pub mod store;
pub mod supervise;
mod telemetry;
mod trace;

use clap::{CommandFactory, Parser, Subcommand};
use config::{Config, Sources};
use engine::{Channel, Parts};
use interprocess::local_socket::tokio::Listener;
use listen::{Handed, Socket};
use mode::Mode;
use monitor::Monitor;
use qrm_core::Event;
use qrm_protocol::error::{Code, Error};
use rpc::Shared;
use rustix::process::{Resource, Rlimit};
use state_dir::{Starter, StateDir};
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use store::{Readers, Store, fold};
use supervise::{Settings, Supervisor};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The file that says that the daemon was ended on purpose, and is not to be started by an ending job.
pub use qrm_protocol::place::STOPPED_NAME as STOPPED;

/// The daemon of qrm: owns the queue and the jobs of one user, or of a test. People use it through qrm.
#[derive(Debug, Parser)]
#[command(name = "qrmd", version, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Serve all users of the machine: as root, with each job as its submitter, from /var/lib/qrm, at /run/qrm/qrm.sock and
    /// with /etc/qrm/config.toml.
    #[arg(long)]
    system: bool,
    /// Stay in the foreground and log to the terminal.
    #[arg(long)]
    foreground: bool,
    /// Listen here instead of in the state directory.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Keep everything here instead of in $XDG_STATE_HOME/qrm.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Read this configuration instead of $XDG_CONFIG_HOME/qrm/config.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set something, over the file and the environment: store.durability=relaxed. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Only say whether it could start with this configuration, and on the state of --state; exits with 2 if not.
    #[arg(long)]
    check: bool,
    /// With --check: say it in JSON.
    #[arg(long, requires = "check")]
    json: bool,
    /// Descriptors of before: how qrmd replaces itself.
    #[arg(long, hide = true, value_name = "FD,FD")]
    inherit: Option<String>,
    /// Say on standard output when it answers: how qrm starts it.
    #[arg(long, hide = true)]
    spawned: bool,
    /// Fold the events into a snapshot and end: how qrmd starts itself.
    #[arg(long, hide = true)]
    fold: bool,
}

/// What it can do instead of serving.
#[derive(Debug, Subcommand)]
enum Verb {
    Simulate(simulate::Args),
}

/// The tree of its options, for the manual.
#[must_use]
pub fn command() -> clap::Command {
    Args::command()
}

/// Runs the daemon; the exit code is 0 when it was told to end, 2 for what can not be meant, 4 when it failed.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == collect::FLAG) {
        return collected(&words[2..]);
    }
    let args = Args::parse();
    let to = match &args.verb {
        _ if args.spawned => To::Starter,
        Some(Verb::Simulate(args)) if args.is_json() => To::Program,
        _ => To::People,
    };
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(to, &error);
            ExitCode::from(error.code.exit_code())
        }
    }
}

/// What a job leaves is listed by this program, as a process of the job.
fn collected(args: &[OsString]) -> ExitCode {
    match collect::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("qrm: {}", error.message);
            ExitCode::from(error.code.exit_code())
        }
    }
}

/// Who is told why it ends.
#[derive(Clone, Copy)]
enum To {
    /// The one who waits for a first line.
    Starter,
    /// Who asked for JSON, as qrm tells it.
    Program,
    People,
}

fn tell(to: To, error: &Error) {
    tracing::error!(error = error.message, "qrmd ends");
    let mut text = format!("qrmd: {}\n", error.message);
    if let Some(hint) = &error.hint {
        text += &format!("  hint: {hint}\n");
    }
    let said = match to {
        To::Starter => std::io::stdout().write_all(format!("{}\n", serde_json::json!(error)).as_bytes()),
        To::Program => std::io::stdout().write_all(format!("{}\n", serde_json::json!({ "error": error })).as_bytes()),
        To::People => std::io::stderr().write_all(text.as_bytes()),
    };
    if let Err(error) = said {
        tracing::debug!(%error, "nobody listens");
    }
}

fn system(what: &str) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::new(Code::Unavailable, format!("{what}: {error}"))
}

fn run(args: Args) -> Result<(), Error> {
    if let Some(Verb::Simulate(args)) = &args.verb {
        return simulate::simulate(args);
    }
    let mode = Mode::new(args.system)?;
    let state = match args.state {
        Some(dir) => std::path::absolute(&dir).map_err(system("the state directory"))?,
        None => mode.state(|name| std::env::var_os(name))?,
    };
    if args.fold {
        return fold::fold_here(&state).map(drop).map_err(|e| e.refusal());
    }
    let file = args.config.map(|file| std::path::absolute(&file)).transpose().map_err(system("the configuration"))?;
    let sources = Sources { file, set: args.set, system: args.system };
    if args.check {
        return check::check(&sources, Some(&state), args.json);
    }
    let mut handed = listen::lent()?;
    let before = args.inherit.as_deref().map(replace::inherited).transpose()?;
    let config = sources.load(&|name| std::env::var_os(name)).map_err(|mistakes| config::refusal(&mistakes))?;
    one_arena();
    // Who started us may have held signals back for itself, as `qrm run` does.
    nix::sys::signal::SigSet::empty().thread_set_mask().map_err(|e| system("signals")(e.into()))?;
    if !args.foreground {
        detach();
    }
    rustix::process::umask(rustix::fs::Mode::from(0o077));
    let mut clients = Vec::new();
    if mode == Mode::System {
        // Whoever acts as a user has none of root's groups then.
        nix::unistd::setgroups(&[]).map_err(|e| system("groups")(e.into()))?;
    }
    let mut dir = match before {
        Some(before) => {
            replace::reap();
            (handed, clients) = (Some(before.socket), before.clients);
            StateDir::take(&state, mode, Starter::Before(before.lock, before.starting))?
        }
        None => StateDir::take(&state, mode, if args.spawned { Starter::Waits } else { Starter::Nobody })?,
    };
    telemetry::start(&dir.path, args.foreground)?;
    let limits = rpc::limits(Some(std::process::id().cast_signed()), rustix::process::geteuid().as_raw())?;
    let open_files = more_descriptors();
    forget_stop(&dir.path)?;
    let own = mode.socket(&dir.path);
    let named = args.socket.map(std::path::absolute).transpose().map_err(system("the socket"))?;
    let store = Store::open(&dir.path, config.durability).map_err(|e| e.refusal())?;
    let mut core = store.load().map_err(|e| e.refusal())?;
    let last_seq = store.last_seq();
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(system("the boot id"))?;
    let boot_id = boot_id.trim().to_owned();
    let store = find_machine(store, &mut core, &config, &dir.path, &boot_id)?;
    give_back_memory();

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(mode.threads())
        .build()
        .map_err(system("the runtime"))?;
    let (listener, made) = runtime.block_on(async { listen::listen(handed, named.as_deref(), &own, mode) })?;
    let socket = made.path().to_owned();
    let timers = clock::Timers::new().map_err(system("a timer"))?;
    let channel = Channel::default();
    let handle = channel.handle();
    let program = std::env::current_exe().map_err(system("the path of qrmd"))?;
    let settings = settings(&dir, &socket, &program, boot_id.clone(), &config, &sources, mode);
    // Who looks after us starts us again, in our own unit: a shim that did would be outside of it, and in the way.
    let restart = settings.restart && !made.is_lent() && !notify::is_managed();
    let settings = Settings { open_files, limits, restart, ..settings };
    let reports = handle.clone();
    let measures = handle.clone();
    let monitor = Monitor::start(config.monitor_interval(), move |sampled| measures.sampled(sampled))
        .map_err(system("sampling"))?;
    let supervisor = Supervisor::start(settings, monitor.clone(), move |observed| reports.observed(observed))
        .map_err(system("supervision"))?;
    let supervision = supervisor.findings();
    let powers = supervisor.powers();
    let parts = Parts {
        store,
        core,
        timers: timers.clone(),
        state: dir.path.clone(),
        program: program.clone(),
        configured: shares::configured(&config),
        bounds: config.bounds(),
        monitor: monitor.clone(),
    };
    let engine = channel.start(parts, supervisor).map_err(system("the engine"))?;
    let shared = Arc::new(Shared {
        engine: handle,
        readers: Arc::new(Readers::new(&dir.path)),
        state: dir.path.clone(),
        jobs: dir.jobs.clone(),
        socket: socket.clone(),
        uid: rustix::process::geteuid().as_raw(),
        mode,
        began_boot_ms: clock::now().boot_ms,
        sources,
        config: tokio::sync::watch::Sender::new(Arc::new(config)),
        boot_id,
        program: program.clone(),
        replace: AtomicBool::new(false),
        supervision,
        monitor,
        powers,
        stop: tokio::sync::Notify::new(),
        ending: rpc::Ending::default(),
        watches: rpc::Watches::default(),
        users: rpc::Users::default(),
        connected: std::sync::Mutex::default(),
    });
    tracing::info!(version = env!("CARGO_PKG_VERSION"), state = %dir.path.display(), socket = %socket.display(), last_seq, "qrmd serves");
    let signals = runtime.block_on(async { Signals::watch() }).map_err(system("signals"))?;
    dir.started();
    if args.spawned {
        ready()?;
    }
    notify::ready(&answers(&socket));
    let (ended, next) = runtime.block_on(live(listener, clients, &made, signals, shared.clone(), timers, &dir));
    let joined = engine.join();
    if joined.is_err() {
        made.remove();
        return Err(Error::new(Code::Internal, "the engine panicked; its log says where"));
    }
    if let Some((starting, socket)) = next {
        tracing::info!("qrmd is replaced; jobs go on");
        limit_descriptors(open_files);
        let failed = replace::become_it(&program, &dir, &starting, &socket, &shared.ending.idle());
        made.remove();
        return Err(failed);
    }
    made.remove();
    tracing::info!("qrmd has ended; jobs go on");
    ended.map_err(|why| Error::new(Code::Unavailable, why))
}

/// A heap for each thread costs more memory than a few threads that seldom allocate at once gain in time.
fn one_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) only sets a parameter of the allocator, before any other thread exists.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// What a large request, or the load of a large state, took from the heap goes back to the kernel; the C library would keep it
/// for another one.
pub(crate) fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) only gives back what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Leaves the terminal and the process group of who started it; who leads a group already has left.
fn detach() {
    if let Err(error) = rustix::process::setsid() {
        tracing::debug!(%error, "a session of its own");
    }
}

/// What `systemctl status` shows.
pub(crate) fn answers(socket: &Path) -> String {
    format!("answers at {}", socket.display())
}

/// Says that it answers, and lets standard output go.
fn ready() -> Result<(), Error> {
    let said = std::io::stdout().write_all(b"ready\n").and_then(|()| std::io::stdout().flush());
    said.map_err(system("standard output"))?;
    let null = std::fs::File::options().write(true).open("/dev/null").map_err(system("/dev/null"))?;
    rustix::stdio::dup2_stdout(&null).map_err(|e| system("standard output")(e.into()))
}

/// Each run takes a descriptor or two, each client one: as many as the hard limit allows. What it was before, which jobs
/// have and the next daemon begins with.
fn more_descriptors() -> Rlimit {
    let before = rustix::process::getrlimit(Resource::Nofile);
    limit_descriptors(Rlimit { current: before.maximum, ..before });
    before
}

fn limit_descriptors(limit: Rlimit) {
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

fn forget_stop(state: &Path) -> Result<(), Error> {
    match std::fs::remove_file(state.join(STOPPED)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(system("the mark of an earlier stop")(e)),
        _ => Ok(()),
    }
}

/// Tells the core what there is to share, before anything else can be asked.
fn find_machine(
    mut store: Store,
    core: &mut qrm_core::Core,
    config: &Config,
    state: &Path,
    boot_id: &str,
) -> Result<Store, Error> {
    let machine = machine::offered(config, state, boot_id);
    if *core.offered() == machine {
        return Ok(store);
    }
    let now = clock::now();
    // What follows from it, starts above all, is decided when there is a supervisor.
    let qrm_core::Machine { boot_id, cpus, mem_bytes, disk_bytes } = machine;
    let event = Event::MachineFound { boot_id, cpus, mem_bytes, disk_bytes };
    store.write(now.wall, &event, &[]).and_then(|_| store.commit()).map_err(|e| e.refusal())?;
    core.apply(now.wall, &event);
    Ok(store)
}

fn settings(
    dir: &StateDir,
    socket: &Path,
    program: &Path,
    boot_id: String,
    config: &Config,
    sources: &Sources,
    mode: Mode,
) -> Settings {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
    let mut args = vec![b"--state".to_vec(), bytes(&dir.path), b"--socket".to_vec(), bytes(socket)];
    if let Some(file) = &sources.file {
        args.extend([b"--config".to_vec(), bytes(file)]);
    }
    args.extend(sources.set.iter().flat_map(|word| [b"--set".to_vec(), word.clone().into_bytes()]));
    let kept = |name: &str| {
        let usual = ["HOME", "PATH", "LANG", "TZ", "XDG_CONFIG_HOME", "XDG_STATE_HOME"];
        usual.contains(&name) || (name.starts_with("QRM_") && name != "QRM_FAULT")
    };
    let entry =
        |(name, value): (std::ffi::OsString, std::ffi::OsString)| [name.into_vec(), value.into_vec()].join(&b'=');
    let env = std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(kept)).map(entry).collect();
    Settings {
        state_dir: dir.path.clone(),
        jobs_dir: dir.jobs.clone(),
        runs_dir: dir.runs.clone(),
        shim: program.with_file_name("qrm-shim"),
        qrmd: program.to_owned(),
        qrmd_args: args,
        qrmd_env: env,
        lock: dir.path.join(state_dir::LOCK),
        stopped: dir.path.join(STOPPED),
        socket: socket.to_owned(),
        boot_id,
        tracking: config.tracking,
        pids: config.pids,
        output: config.output,
        scratch: supervise::scratch::base(&dir.path, config.scratch_dir.as_deref()),
        hard_cpus: config.hard_cpus,
        open_files: rustix::process::getrlimit(Resource::Nofile),
        limits: Vec::new(),
        raises_limits: rustix::thread::capabilities(None)
            .is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::SYS_RESOURCE)),
        restart: !mode.is_system(),
        mode,
    }
}

/// What the next program in this process begins with: the lock of starting, and the socket.
type Next = (OwnedFd, Handed);

/// Serves until someone wants the end, or the engine has ended by itself; with what another program needs if one is to
/// follow in this process.
async fn live(
    listener: Listener,
    clients: Vec<OwnedFd>,
    socket: &Socket,
    signals: Signals,
    shared: Arc<Shared>,
    timers: Arc<clock::Timers>,
    dir: &StateDir,
) -> (Result<(), String>, Option<Next>) {
    let engine = shared.engine.clone();
    let ticks = engine.clone();
    let mut condition = engine.condition();
    tokio::spawn(async move {
        if let Err(error) = timers.watch(move || ticks.tick()).await {
            tracing::error!(%error, "timers can not be watched");
        }
    });
    tokio::spawn(forget::hourly(shared.clone()));
    let Signals { mut terminate, mut interrupt, hangup } = signals;
    tokio::spawn(hangups(hangup, shared.clone()));
    let terminated = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let over = |c: &engine::Condition| c.ended.is_some();
    tokio::select! {
        served = rpc::serve(&listener, clients, shared.clone()) => {
            if let Err(error) = served { tracing::error!(%error, "the server ended") }
        }
        () = shared.stop.notified() => {}
        // Ending the daemon by a signal is on purpose, too.
        () = terminated => std::fs::write(shared.state.join(STOPPED), b"").unwrap_or_else(|error| {
            tracing::warn!(%error, "that it was ended can not be written down: the next job that ends starts it again");
        }),
        _ = condition.wait_for(over) => {}
    }
    let next = match shared.replace.load(Ordering::Relaxed) {
        true => {
            notify::reloading("is replaced");
            // As long as it listens nobody starts another daemon, and then nobody can.
            let next = dir.keep_others_from_starting().and_then(|lock| Ok((lock, socket.hand_over(listener)?)));
            let ends = |error: &std::io::Error| {
                tracing::error!(%error, "no other program can follow; qrmd ends instead");
                notify::stopping();
            };
            next.inspect_err(ends).ok()
        }
        false => {
            notify::stopping();
            drop(listener);
            None
        }
    };
    shared.ending.finish().await;
    tokio::task::spawn_blocking(move || engine.stop())
        .await
        .unwrap_or_else(|error| tracing::error!(%error, "the engine"));
    let ended = condition.wait_for(over).await.map(|c| c.ended.clone());
    (ended.ok().flatten().unwrap_or(Ok(())), next)
}

/// The signals that mean something to it. They are watched before anybody is told that it is there: until then they end it.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn watch() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// A hangup is no reason to end: the configuration is read again.
async fn hangups(mut hangups: Signal, shared: Arc<Shared>) {
    while hangups.recv().await.is_some() {
        if let Err(error) = reload::reload(&shared).await {
            tracing::error!(error = error.message, hint = error.hint, "the configuration is not reloaded");
        }
    }
}
