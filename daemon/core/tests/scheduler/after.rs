//! Jobs that wait for jobs: no circles, chains of any length, and one of several.
//! It refuses to know what they wait for besides.

use crate::lab::{Habit, Lab};
use proptest::prelude::*;
use qrm_core::{Action, Caller, Core, Demand, Input, Machine, Now, Observed, Policy, Refusal};
use qrm_protocol::explain::ReasonCode;
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::{DependsOn, JobChange, JobSpec, JobState};
use qrm_protocol::time::Timestamp;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

fn lab() -> Lab {
    let mut lab = Lab::new([1, 0, 0], Policy::default(), &BTreeMap::new());
    lab.compares = false;
    lab
}

/// Jobs that are held, so that all of them live, by number from 0.
fn held(lab: &mut Lab, jobs: usize) -> Vec<JobRef> {
    (0..jobs).map(|_| lab.submits(1, json!({"hold": true}), Habit::default()).unwrap()).collect()
}

fn waits_for(on: Vec<DependsOn>) -> JobChange {
    JobChange { after: Some(on), ..JobChange::default() }
}

/// What everybody waits for, as the naive know it.
type Graph = BTreeMap<JobRef, BTreeSet<JobRef>>;

fn reaches(graph: &Graph, from: JobRef, to: JobRef, seen: &mut BTreeSet<JobRef>) -> bool {
    from == to || seen.insert(from) && graph[&from].iter().any(|next| reaches(graph, *next, to, seen))
}

proptest! {
    #![proptest_config(crate::cases(200))]

    #[test]
    fn circles_are_refused_with_the_way_and_nothing_else_is(
        updates in prop::collection::vec((0usize..6, prop::collection::vec(0usize..6, 0..3)), 1..20)
    ) {
        let mut lab = lab();
        let jobs = held(&mut lab, 6);
        let mut graph: Graph = jobs.iter().map(|job| (*job, BTreeSet::new())).collect();
        for (job, on) in updates {
            let on: Vec<JobRef> = on.into_iter().map(|n| jobs[n]).collect();
            let done = lab.updates(jobs[job], waits_for(on.iter().map(|on| (*on).into()).collect()));
            // What it waited for before does not count: it is to wait for these instead.
            let is_circle = on.iter().any(|on| reaches(&graph, *on, jobs[job], &mut BTreeSet::new()));
            match done {
                Ok(_) => {
                    assert!(!is_circle, "{} may wait for {on:?} by {graph:?}", jobs[job]);
                    graph.insert(jobs[job], on.into_iter().collect());
                }
                Err(Refusal::Cycle(way)) => {
                    assert!(is_circle, "{} may not wait for {on:?} by {graph:?}", jobs[job]);
                    let way: Vec<JobRef> = way.into_iter().map(JobRef::whole).collect();
                    assert_eq!(way[0], jobs[job]);
                    // Each is awaited by the next, and the last is what the first was to wait for.
                    assert!(way.windows(2).all(|pair| graph[&pair[1]].contains(&pair[0])), "{way:?} in {graph:?}");
                    assert!(on.contains(way.last().unwrap()), "{way:?}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_chain_of_a_hundred_thousand_is_explained_changed_and_falls_without_recursion() {
    const JOBS: u64 = 100_000;
    let now = Now { wall: Timestamp(0), boot_ms: 0 };
    let mut core = Core::default();
    let machine = Machine { boot_id: "1".into(), cpus: 1, mem_bytes: 0, disk_bytes: 0 };
    core.step(now, Input::Observed(Observed::Machine(machine))).unwrap();
    let does = |core: &mut Core, action| core.step(now, Input::Command(Caller::user(1), action));
    for id in 1..=JOBS {
        let after: Vec<String> = (1..id).last().map(|before| before.to_string()).into_iter().collect();
        let spec = json!({"command": ["true"], "after_ok": after, "hold": id == 1});
        let demand = Demand::from(&serde_json::from_value::<JobSpec>(spec).unwrap());
        does(&mut core, Action::Submit { name: "x".into(), demand, ended: BTreeMap::new() }).unwrap();
    }
    let one = |id: u64| JobRef::whole(JobId(id));
    let explained = core.explain(now, one(JOBS)).unwrap();
    let cause = &explained.causes[0];
    assert_eq!((cause.code, &cause.jobs[..]), (ReasonCode::Dependency, &["completion of 99999".to_owned()][..]));
    let waits = |core: &mut Core, id: u64, on: u64| {
        let change = Box::new(waits_for(vec![one(on).into()]));
        does(core, Action::Update { targets: vec![one(id)], change, ended: BTreeMap::new() })
    };
    match waits(&mut core, 1, JOBS) {
        Err(Refusal::Cycle(way)) => assert_eq!((way.len() as u64, way[0]), (JOBS, JobId(1))),
        other => panic!("{other:?}"),
    }
    waits(&mut core, JOBS, 1).unwrap();
    let step = core.step(now, Input::Command(Caller::user(1), Action::Cancel { targets: vec![one(1)] })).unwrap();
    assert_eq!(step.events.len() as u64, JOBS);
    assert_eq!(core.counts()[&JobState::Cancelled], JOBS);
}

#[test]
fn one_of_several_is_enough_and_none_of_them_is_the_end() {
    // How three jobs ended, and what becomes of those that wait for all, and for any, to complete.
    let table = [
        ([0, 0, 0], (true, true)),
        ([0, 1, 0], (false, true)),
        ([1, 1, 0], (false, true)),
        ([1, 1, 1], (false, false)),
    ];
    for (codes, (all, any)) in table {
        let mut lab = lab();
        let jobs: Vec<JobRef> = codes
            .iter()
            .map(|code| lab.submits(1, json!({}), Habit { code: *code, ..Habit::default() }).unwrap())
            .collect();
        let on: Vec<String> = jobs.iter().map(ToString::to_string).collect();
        let waits_for_all = lab.submits(1, json!({"after_ok": on}), Habit::default()).unwrap();
        let waits_for_any = lab.submits(1, json!({"after_ok": on, "any": true}), Habit::default()).unwrap();
        lab.passes(10 * crate::wishes::MINUTE);
        let completed = |job: JobRef| lab.naive.over[&job] == JobState::Completed;
        assert_eq!((completed(waits_for_all), completed(waits_for_any)), (all, any), "{codes:?}");
    }
}

#[test]
fn a_job_may_wait_for_each_task_with_its_index_and_a_circle_through_tasks_is_one() {
    let mut lab = lab();
    let first = lab.submits(1, json!({"array": "0-2", "hold": true}), Habit::default()).unwrap();
    let each = json!({"array": "0-2", "hold": true, "after": [format!("{first}.*")]});
    let second = lab.submits(1, each, Habit::default()).unwrap();
    for on in [DependsOn::Each(second.job), JobRef::task(second.job, 1).into(), second.into()] {
        match lab.updates(first, waits_for(vec![on])) {
            Err(Refusal::Cycle(way)) => assert_eq!(way, [first.job, second.job]),
            other => panic!("{other:?}"),
        }
    }
    let own = lab.updates(first, waits_for(vec![DependsOn::Each(first.job)]));
    assert!(matches!(own, Err(Refusal::Cycle(_))), "{own:?}");
}
