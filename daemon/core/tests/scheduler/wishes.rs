//! What random users ask for and what happens to them. It refuses to know what becomes of it.

use crate::lab::Habit;
use proptest::prelude::*;
use qrm_core::{Control, Policy, Weights};
use qrm_protocol::amount::Priority;
use qrm_protocol::ids::Uid;
use qrm_protocol::job::{JobChange, OnConflict};
use qrm_protocol::queue::{OnPreempt, QueueChange, QueueName, QueueSpec};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const MINUTE: u64 = 60_000;
pub const HOUR: u64 = 60 * MINUTE;
/// The queues that there are beside the one that always is.
pub const QUEUES: [&str; 2] = ["a", "b"];
pub const MACHINE: [u64; 3] = [4, 8, 4];

#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
pub enum Op {
    Submit(Wish),
    Pass(u64),
    End(u8, i32),
    Control(Control, u8),
    Cancel(u8),
    Update(u8, JobChange),
    Queue(&'static str, QueueChange),
    Pause(&'static str, bool),
    /// How much memory jobs can have, and whether the machine is under pressure.
    Host(Option<u64>, bool),
    Machine([u64; 3]),
}

impl Op {
    /// Whether a run ends by this, before its time.
    pub fn ends_a_run(&self) -> bool {
        matches!(self, Self::End(..) | Self::Cancel(_))
    }
}

/// A job, after which of those that there are then, and how it behaves.
#[derive(Clone, Debug)]
pub struct Wish {
    pub user: Uid,
    pub spec: Value,
    pub after: Option<(&'static str, u8)>,
    pub habit: Habit,
}

/// What of the many wishes a property is about.
#[derive(Clone, Copy, Debug)]
pub struct Wild {
    /// Queues have bounds, weights and ways of their own, and are paused.
    pub queues: bool,
    /// Some jobs make room for others.
    pub room: bool,
    /// What was asked for is changed, the machine, too.
    pub changes: bool,
}

impl Wild {
    pub const ALL: Self = Self { queues: true, room: true, changes: true };
    pub const NONE: Self = Self { queues: false, room: false, changes: false };
}

fn length() -> impl Strategy<Value = u64> {
    prop_oneof![4 => (1u64..40).prop_map(|n| n * MINUTE), 1 => 0u64..10_000, 1 => 1u64..4_000_000]
}

fn habit() -> impl Strategy<Value = Habit> {
    let later = || prop_oneof![6 => Just(0u64), 1 => 1u64..20_000];
    (length(), later(), later(), 0i32..2).prop_map(|(runs_for, begins_in, goes_on_for, code)| Habit {
        runs_for,
        begins_in,
        goes_on_for,
        code,
    })
}

fn priority() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![3 => Just(None), 4 => prop::sample::select(vec![0, 25, 49, 50, 75, 100]).prop_map(Some)]
}

fn conflict() -> impl Strategy<Value = OnConflict> {
    let ways = vec![OnConflict::Priority, OnConflict::Queuing, OnConflict::Sharing];
    prop::sample::select(ways)
}

fn variant() -> impl Strategy<Value = Value> {
    let maybe = prop::option::of::<std::ops::Range<u64>>;
    (maybe(0..5), maybe(0..9), maybe(1..30), prop::option::of(any::<bool>())).prop_map(|(cpus, mem, time, alone)| {
        let mut variant = json!({});
        cpus.into_iter().for_each(|n| variant["cpus"] = n.into());
        mem.into_iter().for_each(|n| variant["mem_bytes"] = n.into());
        time.into_iter().for_each(|n| variant["time_limit_ms"] = (n * MINUTE).into());
        alone.into_iter().for_each(|alone| variant["exclusive"] = alone.into());
        // One that says nothing is refused.
        if variant == json!({}) {
            variant["cpus"] = 1.into();
        }
        variant
    })
}

pub fn wish(wild: Wild) -> impl Strategy<Value = Wish> {
    let rarely = prop::bool::weighted;
    let asks = (
        prop_oneof![1 => Just(None), 6 => (0u64..5).prop_map(Some)],
        prop_oneof![2 => Just(0u64), 1 => 1u64..9],
        prop_oneof![5 => Just(0u64), 1 => 1u64..5],
        rarely(0.1),
        prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(variant(), 1..3)],
        prop_oneof![1 => Just(None), 1 => length().prop_map(|ms| Some(ms.max(1)))],
    );
    let line = (priority(), prop::option::weighted(0.5, 0usize..2), prop::option::weighted(0.2, conflict()));
    let room = (rarely(0.15), rarely(0.4), rarely(0.3), prop::option::weighted(0.3, length()), rarely(0.4));
    let waits = (
        rarely(0.05),
        prop::option::weighted(0.1, (prop::sample::select(vec!["after", "after_ok", "after_start"]), any::<u8>())),
        prop::option::weighted(0.1, 1u64..60),
        prop::option::weighted(0.15, (1u32..5, prop::option::of(1u32..3))),
        prop_oneof![3 => Just(0u32), 1 => 1u32..3],
    );
    (1u32..4, asks, line, room, waits, habit()).prop_map(move |(user, asks, line, room, waits, habit)| {
        let (cpus, mem, disk, alone, variants, limit) = asks;
        let mut spec = json!({"mem_bytes": mem, "disk_bytes": disk, "or": variants, "exclusive": alone});
        cpus.into_iter().for_each(|n| spec["cpus"] = n.into());
        limit.into_iter().for_each(|ms| spec["time_limit_ms"] = ms.into());
        let (priority, queue, conflict) = line;
        priority.into_iter().for_each(|n| spec["priority"] = n.into());
        queue.filter(|_| wild.queues).into_iter().for_each(|n| spec["queue"] = QUEUES[n].into());
        conflict.into_iter().for_each(|way| spec["on_conflict"] = way.word().into());
        let (idle, preemptible, saves, min_run, ends_others) = room;
        if wild.room {
            (spec["idle"], spec["preemptible"]) = (idle.into(), preemptible.into());
            if preemptible || idle {
                min_run.into_iter().for_each(|ms| spec["min_run_ms"] = ms.into());
                if saves {
                    spec["checkpoint_signal"] = "USR1".into();
                }
            }
            if ends_others && conflict.is_none() {
                spec["on_conflict"] = "preemption".into();
            }
        }
        let (hold, after, begin, array, retries) = waits;
        spec["hold"] = hold.into();
        if let Some(minutes) = begin {
            let at = crate::lab::AHEAD + i64::try_from(minutes * MINUTE).unwrap();
            spec["begin"] = qrm_protocol::time::Timestamp(at).to_string().into();
        }
        if let Some((last, width)) = array {
            spec["array"] = format!("0-{last}{}", width.map_or(String::new(), |width| format!("%{width}"))).into();
        }
        if retries > 0 {
            (spec["retries"], spec["backoff"]) = (retries.into(), "1m..4m".into());
        }
        Wish { user, spec, after, habit }
    })
}

fn change() -> impl Strategy<Value = JobChange> {
    let maybe = prop::option::of::<std::ops::Range<u32>>;
    let way = prop::option::weighted(0.3, prop::option::weighted(0.8, conflict()));
    (priority(), maybe(0..5), maybe(0..4), way).prop_map(|(priority, cpus, width, on_conflict)| JobChange {
        priority: priority.map(|n| Priority::try_from(n).unwrap()),
        cpus,
        width,
        on_conflict,
        ..JobChange::default()
    })
}

fn queue_change() -> impl Strategy<Value = QueueChange> {
    let maybe = prop::option::of::<std::ops::Range<u32>>;
    (maybe(1..6), maybe(0..4), prop::option::of(conflict())).prop_map(|(weight, max_running, on_conflict)| {
        QueueChange { weight, max_running, on_conflict, ..QueueChange::default() }
    })
}

pub fn op(wild: Wild) -> impl Strategy<Value = Op> {
    let queue = || prop::sample::select(vec!["default", "a", "b"]);
    let control = prop::sample::select(vec![Control::Hold, Control::Release, Control::Suspend, Control::Resume]);
    let calm = prop_oneof![
        10 => wish(wild).prop_map(Op::Submit),
        8 => length().prop_map(Op::Pass),
        2 => (any::<u8>(), 0i32..2).prop_map(|(run, code)| Op::End(run, code)),
    ];
    let queues = prop_oneof![
        (queue(), queue_change()).prop_map(|(queue, change)| Op::Queue(queue, change)),
        (queue(), any::<bool>()).prop_map(|(queue, pause)| Op::Pause(queue, pause)),
    ];
    let changes = prop_oneof![
        3 => (control, any::<u8>()).prop_map(|(what, job)| Op::Control(what, job)),
        1 => any::<u8>().prop_map(Op::Cancel),
        2 => (any::<u8>(), change()).prop_map(|(job, change)| Op::Update(job, change)),
        1 => (prop::option::of(0u64..10), prop::bool::weighted(0.3)).prop_map(|(mem, short)| Op::Host(mem, short)),
        1 => (1u64..6, 0u64..10, 0u64..5).prop_map(|(cpus, mem, disk)| Op::Machine([cpus, mem, disk])),
    ];
    let (queues, changes) = (queues.boxed(), changes.boxed());
    match (wild.queues, wild.changes) {
        (false, false) => calm.boxed(),
        (true, false) => prop_oneof![12 => calm, 1 => queues].boxed(),
        (false, true) => prop_oneof![12 => calm, 2 => changes].boxed(),
        (true, true) => prop_oneof![12 => calm, 1 => queues, 2 => changes].boxed(),
    }
}

pub fn policy() -> impl Strategy<Value = Policy> {
    let own = [(10, 10, 500), (10, 10, 0), (1, 60, 20), (0, 1, 0), (100, 1, 100)];
    let own = own.map(|(priority, age_per_hour, fair_share)| Weights { priority, age_per_hour, fair_share });
    let weights = prop::sample::select([vec![Weights::default()], own.to_vec()].concat());
    let shares = prop::collection::btree_map(1u32..4, 1u32..6, 0..3);
    (weights, 1u32..5, any::<bool>(), shares, prop_oneof![Just(30 * MINUTE), Just(24 * HOUR)]).prop_map(
        |(weights, planned, all, shares, assumed_ms)| Policy {
            assumed_ms,
            planned_starts: if all { 16 } else { planned },
            weights,
            shares,
            ..Policy::default()
        },
    )
}

/// The queues beside the one that always is.
pub fn queues(wild: Wild) -> impl Strategy<Value = BTreeMap<QueueName, QueueSpec>> {
    let ends = prop::sample::select(OnPreempt::ALL.to_vec());
    let one = (1u32..5, prop::option::of(1u32..4), any::<bool>(), ends, conflict());
    prop::collection::vec(one, 2..3).prop_map(move |specs| {
        let spec = |(weight, max_running, preemptible, on_preempt, on_conflict)| QueueSpec {
            weight,
            max_running,
            preemptible: preemptible && wild.room,
            on_preempt,
            on_conflict,
            ..QueueSpec::default()
        };
        QUEUES.iter().map(|name| name.parse().unwrap()).zip(specs.into_iter().map(spec)).collect()
    })
}
