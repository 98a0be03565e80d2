//! The order in which jobs start, against a naive oracle. It refuses to know anything but places and turns.

use crate::ME;
use proptest::prelude::*;
use qrm_core::{Action, Core, Demand, Effect, Input, Machine, Now, Observed, Run, RunOutcome};
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::JobSpec;
use qrm_protocol::time::Timestamp;
use std::collections::BTreeMap;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A naive oracle: sort all that wait by priority and age, start from the front while it fits.
    #[test]
    fn jobs_start_by_priority_then_age_and_nothing_overtakes_a_blocked_head(
        jobs in prop::collection::vec((0u64..3, 0u32..4, 0u64..4, 1u64..5), 1..20)
    ) {
        let mut core = Core::default();
        let mut now = Now { wall: Timestamp(0), boot_ms: 0 };
        core.step(now, Input::Observed(Observed::Machine(Machine { boot_id: "1".into(), cpus: 3, mem_bytes: 3, disk_bytes: 0 }))).unwrap();
        let mut waiting: Vec<(u64, u64, u32, u64, u64)> = Vec::new();
        let mut running: BTreeMap<JobRef, (u32, u64, u64)> = BTreeMap::new();
        for (id, (prio, cpus, mem, length)) in (1u64..).zip(jobs.iter().copied()) {
            let spec: JobSpec = serde_json::from_value(serde_json::json!(
                {"command": ["x"], "priority": prio * 50, "cpus": cpus, "mem_bytes": mem.min(3)}
            )).unwrap();
            let action = Action::Submit { name: "x".into(), demand: Demand::from(&spec), ended: BTreeMap::new() };
            let step = core.step(now, Input::Command(ME, action)).unwrap();
            waiting.push((prio, id, cpus, mem.min(3), length));
            let began = naive(&mut waiting, &mut running, now.boot_ms);
            prop_assert_eq!(launched(&step.effects), began);
        }
        while !running.is_empty() {
            now.boot_ms += 1;
            let over: Vec<JobRef> = running.iter().filter(|(_, r)| r.2 <= now.boot_ms).map(|(job, _)| *job).collect();
            for job in over {
                let outcome = RunOutcome { exit_code: Some(0), ..RunOutcome::default() };
                let run = Run { job, stage: qrm_core::Stage::Execute, attempt: 1 };
                let step = core.step(now, Input::Observed(Observed::Ended(run, outcome))).unwrap();
                running.remove(&job);
                let began = naive(&mut waiting, &mut running, now.boot_ms);
                prop_assert_eq!(launched(&step.effects), began);
            }
        }
        prop_assert!(waiting.is_empty(), "something never ran: {:?}", waiting);
    }
}

fn launched(effects: &[Effect]) -> Vec<JobRef> {
    effects.iter().filter_map(|e| if let Effect::Launch(run) = e { Some(run.job) } else { None }).collect()
}

fn naive(
    waiting: &mut Vec<(u64, u64, u32, u64, u64)>,
    running: &mut BTreeMap<JobRef, (u32, u64, u64)>,
    now: u64,
) -> Vec<JobRef> {
    waiting.sort_by_key(|(prio, id, ..)| (u64::MAX - prio, *id));
    let mut began = Vec::new();
    while let Some((_, id, cpus, mem, length)) = waiting.first().copied() {
        let (used, held): (u32, u64) = running.values().fold((0, 0), |sum, r| (sum.0 + r.0, sum.1 + r.1));
        if used + cpus > 3 || held + mem > 3 {
            break;
        }
        waiting.remove(0);
        running.insert(JobId(id).into(), (cpus, mem, now + length));
        began.push(JobId(id).into());
    }
    began
}
