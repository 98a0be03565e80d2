//! What a decision of the core costs with a thousand and with a million jobs waiting, and what memory those take: in several
//! worlds, each in a process of its own. It refuses to judge: it prints. Run it with
//! `cargo bench -p qrm-daemon --bench million`, and one world alone with its name after `--`.
#![allow(clippy::unwrap_used)]

use qrm_core::{Action, Answer, Caller, Core, Demand, Effect, Host, Input, Machine, Now, Observed, Run, RunOutcome};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::JobSpec;
use qrm_protocol::time::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

/// 64 cpus, and enough memory for the largest job.
const CPUS: u32 = 64;
const MEMORY: u64 = 256 << 30;
/// Where nothing of what waits can start, so many others are there to end and start.
const OTHERS: u64 = 2_000;

/// Jobs that wait, and what they wait for.
struct Case {
    name: &'static str,
    what: &'static str,
    users: u32,
    /// What the nth asks for.
    spec: fn(u64) -> Value,
    /// How much memory is really free for jobs, if it is not all. Others that ask for none wait behind, and start.
    free: Option<u64>,
}

const CASES: [Case; 4] = [
    Case { name: "shapes", what: "1,000 shapes of 20 users", users: 20, spec: of_many_shapes, free: None },
    Case { name: "users", what: "one shape for each of 1,000 users", users: 1_000, spec: plain, free: None },
    Case { name: "idle", what: "idle jobs of one shape behind a full machine", users: 1, spec: idle, free: None },
    Case {
        name: "memory",
        what: "one shape that wants more memory than is really free, and others that want none",
        users: 1,
        spec: large,
        free: Some(32 << 30),
    },
];

fn of_many_shapes(n: u64) -> Value {
    let shape = n % 1_000;
    json!({
        "command": ["true"],
        "cpus": 1 + shape % 8,
        "mem_bytes": (1 + shape / 8 % 25) << 30,
        "priority": 40 + shape / 200 * 5,
        "time_limit_ms": 600_000 + shape * 1_000,
    })
}

fn plain(_: u64) -> Value {
    json!({ "command": ["true"], "time_limit_ms": 600_000 })
}

fn idle(_: u64) -> Value {
    json!({ "command": ["true"], "time_limit_ms": 600_000, "idle": true })
}

fn large(_: u64) -> Value {
    json!({ "command": ["true"], "time_limit_ms": 600_000, "mem_bytes": 64_u64 << 30 })
}

fn demand(spec: Value) -> Demand {
    Demand::from(&serde_json::from_value::<JobSpec>(spec).unwrap())
}

/// The core, and the runs that it has.
struct World {
    core: Core,
    now: Now,
    running: Vec<Run>,
}

impl World {
    /// One where so many wait, in equal parts of each user.
    fn new(case: &Case, waiting: u64) -> Self {
        let now = Now { wall: Timestamp(1_700_000_000_000), boot_ms: 1_000_000 };
        let mut world = Self { core: Core::default(), now, running: Vec::new() };
        let machine = Machine { boot_id: "1".into(), cpus: CPUS, mem_bytes: MEMORY, disk_bytes: 0 };
        world.step(Input::Observed(Observed::Machine(machine)));
        world.step(Input::Observed(Observed::Host(Host { mem_bytes: case.free, short: None })));
        let users = u64::from(case.users);
        for user in 0..case.users {
            world.fill(user, waiting / users, |n| demand((case.spec)(n * users + u64::from(user))));
        }
        if case.free.is_some() {
            world.fill(case.users, OTHERS, |n| demand(plain(n)));
        }
        for run in world.running.clone() {
            world.executes(run);
        }
        world
    }

    fn step(&mut self, input: Input) -> Answer {
        let step = self.core.step(self.now, input).unwrap();
        for effect in step.effects {
            if let Effect::Launch(run) = effect {
                self.running.push(run);
            }
        }
        step.answer
    }

    /// That many jobs of a user.
    fn fill(&mut self, user: u32, count: u64, demand: impl Fn(u64) -> Demand) {
        let caller = Caller::user(1_000 + user);
        let begun = self.step(Input::Command(caller, Action::BulkBegin { count }));
        let Answer::BulkBegun(bulk) = begun else { panic!("no bulk") };
        for first in (0..count).step_by(1_000) {
            let jobs = (first..count.min(first + 1_000)).map(|n| Some(demand(n))).collect();
            self.step(Input::Command(caller, Action::BulkAdd { bulk, jobs, ended: BTreeMap::new() }));
        }
        self.step(Input::Command(caller, Action::BulkCommit { bulk }));
    }

    fn submit(&mut self, case: &Case, n: u64) {
        let caller = Caller::user(1_000 + u32::try_from(n % u64::from(case.users)).unwrap());
        let (name, demand) = ("true".into(), demand((case.spec)(n)));
        self.step(Input::Command(caller, Action::Submit { name, demand, ended: BTreeMap::new() }));
    }

    fn executes(&mut self, run: Run) {
        let (at, boot_ms) = (self.now.wall, self.now.boot_ms);
        self.step(Input::Observed(Observed::Executing { run, pid: 1, at, boot_ms }));
    }

    /// The end of one, and what starts then.
    fn end(&mut self) {
        let run = self.running.remove(0);
        self.now.boot_ms += 1_000;
        self.now.wall.0 += 1_000;
        let outcome = RunOutcome { exit_code: Some(0), ended_at: self.now.wall, ..RunOutcome::default() };
        let before = self.running.len();
        self.step(Input::Observed(Observed::Ended(run, outcome)));
        let started = self.running.split_off(before);
        self.running.extend(&started);
        for run in started {
            self.executes(run);
        }
    }

    /// Why each of these waits, and all else that is shown of it.
    fn look(&self, jobs: &[JobRef]) {
        for job in jobs {
            black_box(self.core.look(self.now, *job));
        }
    }

    /// What the daemon asks for when somebody asks for the status.
    fn status(&self) {
        black_box((self.core.machine(), self.core.disk(), self.core.counts()));
        self.look(&self.core.running(6));
        self.look(&self.core.line(4));
    }
}

/// Bytes in memory, without what is free in the heap: that is of how the world was made.
fn resident() -> u64 {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) only gives back what is free.
    unsafe {
        libc::malloc_trim(0);
    }
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

/// The median and the 99th of a hundred, in microseconds, each after something that is not timed.
fn time(
    world: &mut World,
    runs: usize,
    mut before: impl FnMut(&mut World),
    mut one: impl FnMut(&mut World),
) -> (f64, f64) {
    let mut times = Vec::new();
    for _ in 0..runs {
        before(world);
        let begin = Instant::now();
        one(world);
        times.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    (times[runs / 2], times[runs * 99 / 100])
}

/// Prints what each thing costs, and its ratio to what it did in another world, if that is known; the medians.
fn measure(case: &Case, waiting: u64, before: &[f64]) -> Vec<f64> {
    let empty = resident();
    let mut world = World::new(case, waiting);
    let world = &mut world;
    let each = (resident() - empty) / waiting;
    println!("{waiting} waiting: {}; {} running, {each} bytes of memory each", case.what, world.running.len());
    let mut medians = Vec::new();
    let mut line = |name: &str, (median, p99): (f64, f64)| {
        let ratio = before.get(medians.len()).map(|before| format!("   ratio {:>5.2}", median / before));
        println!("  {name:<37} median {median:>9.1} us   p99 {p99:>9.1} us{}", ratio.unwrap_or_default());
        medians.push(median);
    };
    let mut n = 0;
    let mut submit = |world: &mut World| {
        n += 1;
        world.submit(case, n);
    };
    line("submit *", time(world, 500, |_| (), &mut submit));
    // As many are submitted as end, and each pass is another one.
    line("the end of a run and the next start *", time(world, 500, &mut submit, World::end));
    let turn = |world: &mut World| {
        submit(world);
        world.end();
    };
    line("a tick *", time(world, 500, turn, |world| drop(world.step(Input::Tick))));
    let last = world.core.line(1_000).last().copied().unwrap();
    line("explain", time(world, 200, |_| (), |world| drop(black_box(world.core.explain(world.now, last)))));
    line("the first twenty in line, with why", time(world, 200, |_| (), |world| world.look(&world.core.line(20))));
    line("status", time(world, 200, |_| (), |world| world.status()));
    medians
}

fn main() {
    // Cargo says `--bench` as well.
    let names: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let [name] = names.as_slice() {
        let case = CASES.iter().find(|case| case.name == name).expect("no world has this name");
        let few = measure(case, 1_000, &[]);
        measure(case, 1_000_000, &few);
        return;
    }
    println!(
        "limits: the ratio of medians 2; with *, which is a pass each, median 1000 us and p99 5000 us; 256 bytes each"
    );
    for case in CASES {
        // What one frees would be in the memory of the next.
        let program = std::env::current_exe().unwrap();
        assert!(Command::new(program).arg(case.name).status().unwrap().success(), "{} failed", case.name);
    }
}
