//! The core under random commands, observations and clocks: what must hold after every step, and that replaying the
//! events gives the same state. It refuses to know processes; single decisions are in `decisions`.
#![allow(clippy::unwrap_used, clippy::large_enum_variant)]

mod wishes;
mod world;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use qrm_core::{Action, Caller, Core, Demand, Input, Machine, Now, Observed, Role};
use qrm_protocol::ids::JobId;
use qrm_protocol::job::{JobSpec, JobState};
use qrm_protocol::time::Timestamp;
use std::cell::Cell;
use std::collections::BTreeMap;
use wishes::op;
use world::World;

const ME: Caller = Caller { uid: 1000, role: Role::User, most_jobs: u64::MAX };

#[test]
fn whatever_happens_the_invariants_hold_and_replay_equals_live() {
    let config = ProptestConfig { cases: 1_000, ..ProptestConfig::default() };
    let (asked, accepted) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(config);
    let done = runner.run(&prop::collection::vec(op(), 1..60), |ops| {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
        }
        asked.set(asked.get() + world.asked);
        accepted.set(accepted.get() + u32::try_from(world.jobs.len()).unwrap());
        world.drain();
        Ok(())
    });
    done.unwrap_or_else(|error| panic!("{error}"));
    let (asked, accepted) = (asked.get(), accepted.get());
    assert!(accepted * 2 > asked, "most of what is asked for is to be refused: {accepted} of {asked} jobs were made");
}

#[test]
fn a_chain_of_a_hundred_thousand_dependencies_falls_without_recursion() {
    let mut core = Core::default();
    let now = Now { wall: Timestamp(0), boot_ms: 0 };
    core.step(
        now,
        Input::Observed(Observed::Machine(Machine { boot_id: "1".into(), cpus: 1, mem_bytes: 0, disk_bytes: 0 })),
    )
    .unwrap();
    for id in 1..=100_000u64 {
        let after: Vec<String> = if id == 1 { vec![] } else { vec![(id - 1).to_string()] };
        let spec: JobSpec =
            serde_json::from_value(serde_json::json!({"command": ["x"], "after_ok": after, "hold": id == 1})).unwrap();
        let action = Action::Submit { name: "x".into(), demand: Demand::from(&spec), ended: BTreeMap::new() };
        core.step(now, Input::Command(ME, action)).unwrap();
    }
    let step = core.step(now, Input::Command(ME, Action::Cancel { targets: vec![JobId(1).into()] })).unwrap();
    assert_eq!(step.events.len(), 100_000);
    assert_eq!(core.counts()[&JobState::Cancelled], 100_000);
}
