//! What a decision costs with a thousand and with a million jobs waiting in a thousand shapes, and what memory those take.
//! It refuses to judge: it prints. Run it with `cargo bench -p qrm-core`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use qrm_core::{Action, Caller, Core, Demand, Effect, Input, Machine, Now, Observed, Run, RunOutcome};
use qrm_protocol::job::JobSpec;
use qrm_protocol::time::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

const SHAPES: u64 = 1_000;
/// 64 cpus, and enough memory for the largest.
const CPUS: u32 = 64;

struct World {
    core: Core,
    now: Now,
    running: Vec<Run>,
}

fn demand(n: u64) -> Demand {
    let shape = n % SHAPES;
    let spec: JobSpec = serde_json::from_value(json!({
        "command": ["true"],
        "cpus": 1 + shape % 8,
        "mem_bytes": (1 + shape / 8 % 25) << 30,
        "priority": 40 + shape / 200 * 5,
        "time_limit_ms": 600_000 + shape * 1_000,
    }))
    .unwrap();
    Demand::from(&spec)
}

impl World {
    fn step(&mut self, input: Input) {
        let step = self.core.step(self.now, input).unwrap();
        for effect in step.effects {
            if let Effect::Launch(run) = effect {
                self.running.push(run);
            }
        }
    }

    fn submit(&mut self, n: u64) {
        let caller = Caller::user(1_000 + u32::try_from(n % 20).unwrap());
        self.step(Input::Command(
            caller,
            Action::Submit { name: "true".into(), demand: demand(n), ended: BTreeMap::new() },
        ));
    }

    fn executes(&mut self) {
        for run in self.running.clone() {
            let (at, boot_ms) = (self.now.wall, self.now.boot_ms);
            self.step(Input::Observed(Observed::Executing { run, pid: 1, at, boot_ms }));
        }
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
            let (at, boot_ms) = (self.now.wall, self.now.boot_ms);
            self.step(Input::Observed(Observed::Executing { run, pid: 1, at, boot_ms }));
        }
    }
}

fn world(waiting: u64) -> World {
    let now = Now { wall: Timestamp(1_700_000_000_000), boot_ms: 1_000_000 };
    let mut world = World { core: Core::default(), now, running: Vec::new() };
    let machine = Machine { boot_id: "1".into(), cpus: CPUS, mem_bytes: 256 << 30, disk_bytes: 0 };
    world.step(Input::Observed(Observed::Machine(machine)));
    let caller = Caller::user(1_000);
    let count = waiting / 20;
    for user in 0..20u32 {
        let caller = Caller { uid: caller.uid + user, ..caller };
        let begun = world.core.step(world.now, Input::Command(caller, Action::BulkBegin { count })).unwrap();
        let qrm_core::Answer::BulkBegun(bulk) = begun.answer else { panic!("no bulk") };
        for first in (0..count).step_by(1_000) {
            let jobs = (first..count.min(first + 1_000)).map(|n| Some(demand(n * 20 + u64::from(user)))).collect();
            world.step(Input::Command(caller, Action::BulkAdd { bulk, jobs, ended: BTreeMap::new() }));
        }
        world.step(Input::Command(caller, Action::BulkCommit { bulk }));
    }
    world.executes();
    world
}

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

/// The median and the 99th of a hundred, in microseconds.
fn median(name: &str, runs: usize, mut one: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let begin = Instant::now();
            one();
            begin.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("  {name:<34} median {:>9.1} us   p99 {:>9.1} us", times[runs / 2], times[runs * 99 / 100]);
    times[runs / 2]
}

fn main() {
    let mut medians: Vec<Vec<f64>> = Vec::new();
    for waiting in [1_000, 1_000_000] {
        let before = resident();
        let mut world = world(waiting);
        let each = (resident() - before) / waiting;
        println!("{waiting} waiting in {SHAPES} shapes, {} running, {each} bytes of memory each", world.running.len());
        let mut n = 0;
        let mut all = vec![median("submit", 500, || {
            n += 1;
            world.submit(n);
        })];
        all.push(median("the end of a run, and the next start", 500, || world.end()));
        all.push(median("a tick", 500, || world.step(Input::Tick)));
        let last = world.core.line(1_000).last().copied().unwrap();
        all.push(median("explain", 200, || drop(black_box(world.core.explain(world.now, last)))));
        all.push(median("the first twenty in line, with why", 200, || {
            for job in world.core.line(20) {
                drop(black_box(world.core.look(world.now, job)));
            }
        }));
        medians.push(all);
    }
    let ratios: Vec<String> =
        medians[1].iter().zip(&medians[0]).map(|(large, small)| format!("{:.2}", large / small)).collect();
    println!("with a million, over a thousand: {}", ratios.join("  "));
}
