//! What random users and machines do. It refuses to know what becomes of it.

use proptest::prelude::*;
use qrm_core::{Control, Host, Policy, Short, Weights};
use qrm_protocol::amount::{Bytes, Priority};
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::{DependsOn, JobChange, OnConflict, Variant};
use qrm_protocol::queue::{OnPreempt, QueueChange};
use qrm_protocol::time::{Millis, Timestamp};

#[derive(Clone, Debug)]
pub enum Op {
    Submit(Wish),
    /// Its jobs in two slices, with another operation between them, and whether it is committed.
    Bulk(Vec<Wish>, Option<Box<Op>>, bool),
    Cancel(u8, Option<u8>),
    Control(Control, u8, Option<u8>),
    Update(JobChange, u8),
    Progress(u8),
    Execute(u8),
    End(u8, u8),
    /// By the kernel, for want of memory.
    Oom(u8),
    Lose(u8),
    FailToLaunch(u8),
    Pass(u32),
    JumpWall(i32),
    Queue(&'static str, QueueOp),
    /// What was offered to a job, by its place.
    Offer(u8, u32),
    /// What the configuration says of deciding, and whether it names the second queue.
    Configure(Policy, bool),
    /// The machine beside jobs.
    Host(Host),
    /// As many cpus and as much memory as this from now on.
    Resize(u32, u64),
    Restart {
        /// What the last step wanted of the world was not done any more.
        crashed: bool,
        /// The machine began anew, so long ago.
        boot_ms: Option<u16>,
    },
}

#[derive(Clone, Debug)]
pub enum QueueOp {
    Set(QueueChange),
    Pause(bool),
    Remove,
}

/// The queues that there are in the beginning, beside the one that always is.
pub const QUEUES: [&str; 2] = ["a", "b"];

/// What a job asks for, and for which of the jobs that are there by then it waits: how, which, and for which task; one that
/// is no index is each with its own.
#[derive(Clone, Debug)]
pub struct Wish {
    pub spec: serde_json::Value,
    pub needs: Vec<(usize, u8, Option<u8>)>,
}

pub const NEEDS: [&str; 4] = ["after", "after_ok", "after_fail", "after_start"];

fn wish() -> impl Strategy<Value = Wish> {
    let needs = prop_oneof![
        3 => Just(Vec::new()),
        2 => prop::collection::vec((0usize..4, any::<u8>(), prop::option::weighted(0.3, 0u8..5)), 1..4),
    ];
    let part = (
        0u64..3,
        0u32..4,
        (0u64..3, 0u64..3),
        any::<bool>(),
        prop::option::weighted(0.3, (0u32..5, prop::option::of(1u32..3))),
    );
    let times = (0u64..4, 0i64..8, 0u64..8);
    let rarely = prop::bool::weighted;
    let room = (rarely(0.15), rarely(0.3), rarely(0.3), rarely(0.2), 0u64..120);
    let place =
        (prop::option::weighted(0.5, 0usize..2), prop::option::weighted(0.6, conflict()), rarely(0.15), variants());
    let stages = (prop::bool::weighted(0.2), prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    (part, needs, any::<bool>(), (0u32..3, 0usize..4), times, stages, room, place).prop_map(
        |(
            (prio, cpus, (mem, disk), timed, array),
            needs,
            any,
            (retries, retry_on),
            (begin, deadline, queue),
            stages,
            (idle, preemptible, saves, waits, min_run),
            (line, conflict, exclusive, variants),
        )| {
            let retry_on: &[&str] = [&[][..], &["oom"], &["lost"], &["1", "lost"]][retry_on.min(retries as usize * 3)];
            let mut json = serde_json::json!({
                "command": ["true"], "priority": prio * 50, "cpus": cpus, "mem_bytes": mem, "disk_bytes": disk,
                "any": any && !needs.is_empty(), "hold": stages.2,
                "retries": retries,
                "retry_on": retry_on,
            });
            if retries > 0 {
                json["backoff"] = "50ms..100ms".into();
            }
            if timed {
                json["time_limit_ms"] = 40.into();
            }
            if deadline > 5 {
                json["deadline"] = Timestamp(deadline * 100).to_string().into();
            }
            if queue > 5 {
                json["queue_timeout_ms"] = (queue * 30).into();
            }
            if let Some((last, width)) = array {
                json["array"] = format!("0-{last}{}", width.map_or(String::new(), |w| format!("%{w}"))).into();
            }
            if begin > 2 {
                json["begin"] = Timestamp(begin as i64 * 50).to_string().into();
            }
            if stages.0 {
                json["validate"] = "true".into();
            }
            if stages.1 {
                json["compile"] = "true".into();
            }
            (json["idle"], json["preemptible"], json["exclusive"]) =
                (idle.into(), preemptible.into(), exclusive.into());
            if idle || preemptible {
                json["checkpoint_signal"] = if saves { "USR1".into() } else { serde_json::Value::Null };
                json["min_run_ms"] = if waits { min_run.into() } else { serde_json::Value::Null };
            }
            line.into_iter().for_each(|line| json["queue"] = QUEUES[line].into());
            conflict.into_iter().for_each(|conflict| json["on_conflict"] = conflict.word().into());
            json["or"] = serde_json::to_value(&variants).unwrap();
            Wish { spec: json, needs }
        },
    )
}

fn conflict() -> impl Strategy<Value = OnConflict> {
    prop::sample::select(OnConflict::ALL.to_vec())
}

fn variants() -> impl Strategy<Value = Vec<Variant>> {
    let one =
        (0u32..4, prop::option::of(any::<bool>()), prop::option::of(0u64..3)).prop_map(|(cpus, exclusive, mem)| {
            Variant { cpus: Some(cpus), exclusive, mem_bytes: mem.map(Bytes), ..Variant::default() }
        });
    prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(one, 1..3)]
}

fn change() -> impl Strategy<Value = JobChange> {
    let maybe = || prop::option::weighted(0.1, any::<bool>());
    let after = prop::collection::vec((1u64..6, prop::option::of(0u32..3)), 0..2).prop_map(|on| {
        let one = |(job, task)| DependsOn::One(JobRef { job: JobId(job), task });
        on.into_iter().map(one).collect::<Vec<_>>()
    });
    let way = prop::option::weighted(0.2, prop::option::weighted(0.8, conflict()));
    let place = (prop::option::weighted(0.2, 0usize..2), way, maybe(), maybe(), maybe());
    let waits = (prop::option::weighted(0.2, after), maybe(), prop::option::weighted(0.1, variants()));
    (plain_change(), place, waits).prop_map(|(change, (queue, on_conflict, exclusive, idle, preemptible), waits)| {
        let queue = queue.map(|line| QUEUES[line].parse().unwrap());
        let (after_ok, any, variants) = waits;
        JobChange { queue, on_conflict, exclusive, idle, preemptible, after_ok, any, variants, ..change }
    })
}

fn queue_op() -> impl Strategy<Value = QueueOp> {
    let ends = prop::sample::select(OnPreempt::ALL.to_vec());
    let set = (1u32..4, 0u32..3, any::<bool>(), ends, conflict(), prop::option::weighted(0.2, 1u64..60));
    let set = set.prop_map(|(weight, bound, preemptible, on_preempt, on_conflict, most)| QueueChange {
        weight: Some(weight),
        max_running: Some(bound),
        preemptible: Some(preemptible),
        on_preempt: Some(on_preempt),
        on_conflict: Some(on_conflict),
        max_time_ms: most.map(Millis),
        ..QueueChange::default()
    });
    prop_oneof![
        3 => set.prop_map(QueueOp::Set),
        3 => prop::bool::weighted(0.3).prop_map(QueueOp::Pause),
        1 => Just(QueueOp::Remove),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    (1u64..500, 1u32..20, 0u32..20, 0u32..1_000, 0u64..100).prop_map(
        |(assumed_ms, planned_starts, age, fair_share, offer_ms)| {
            let weights = Weights { priority: 10, age_per_hour: age, fair_share };
            Policy { assumed_ms, planned_starts, weights, offer_ms, ..Policy::default() }
        },
    )
}

fn host() -> impl Strategy<Value = Host> {
    (prop::option::of(0u64..5), prop::bool::weighted(0.3)).prop_map(|(mem_bytes, short)| Host {
        mem_bytes,
        short: short.then_some(Short::Memory { permille: 300, most: 200 }),
    })
}

fn plain_change() -> impl Strategy<Value = JobChange> {
    let some = prop::option::of::<std::ops::Range<u64>>;
    (some(0..3), some(0..4), some(0..4), some(0..9), some(0..3)).prop_map(|(prio, cpus, width, date, time)| JobChange {
        name: date.filter(|n| n % 2 == 0).map(|n| n.to_string()),
        priority: prio.map(|p| Priority::try_from(p * 50).unwrap()),
        cpus: cpus.and_then(|n| u32::try_from(n).ok()),
        width: width.and_then(|n| u32::try_from(n).ok()),
        time_limit_ms: time.map(|t| Millis(t * 20)),
        begin: date.filter(|n| *n == 3).map(|_| Timestamp(250)),
        deadline: date.filter(|n| *n > 4).map(|n| Timestamp(n as i64 * 80)),
        queue_timeout_ms: date.filter(|n| *n < 3).map(|n| Millis(n * 50)),
        ..JobChange::default()
    })
}

pub fn op() -> impl Strategy<Value = Op> {
    let simple = simple_op().boxed();
    let bulk = (prop::collection::vec(wish(), 1..5), prop::option::of(simple.clone()), prop::bool::weighted(0.8));
    prop_oneof![
        20 => simple,
        1 => bulk.prop_map(|(jobs, between, commit)| Op::Bulk(jobs, between.map(Box::new), commit)),
    ]
}

fn simple_op() -> impl Strategy<Value = Op> {
    let task = || prop::option::of(0u8..5);
    prop_oneof![
        2 => (change(), any::<u8>()).prop_map(|(change, job)| Op::Update(change, job)),
        1 => any::<u8>().prop_map(Op::Progress),
        6 => wish().prop_map(Op::Submit),
        2 => (any::<u8>(), task()).prop_map(|(job, task)| Op::Cancel(job, task)),
        3 => (0usize..5, any::<u8>(), task()).prop_map(|(what, job, task)| {
            let all = [Control::Hold, Control::Release, Control::Suspend, Control::Resume, Control::Signal(10)];
            Op::Control(all[what], job, task)
        }),
        8 => any::<u8>().prop_map(Op::Execute),
        6 => (any::<u8>(), 0u8..3).prop_map(|(run, code)| Op::End(run, code)),
        1 => any::<u8>().prop_map(Op::Oom),
        1 => any::<u8>().prop_map(Op::Lose),
        1 => any::<u8>().prop_map(Op::FailToLaunch),
        4 => (1u32..200).prop_map(Op::Pass),
        1 => (-86_400_000i32..86_400_000).prop_map(Op::JumpWall),
        1 => (1u32..5, 1u64..5).prop_map(|(cpus, mem)| Op::Resize(cpus, mem)),
        2 => (prop::sample::select(vec!["default", "a", "b"]), queue_op()).prop_map(|(queue, op)| Op::Queue(queue, op)),
        2 => (any::<u8>(), 1u32..4).prop_map(|(job, place)| Op::Offer(job, place)),
        1 => (policy(), any::<bool>()).prop_map(|(policy, names)| Op::Configure(policy, names)),
        1 => host().prop_map(Op::Host),
        2 => (any::<bool>(), prop::option::of(0u16..400))
            .prop_map(|(crashed, boot_ms)| Op::Restart { crashed, boot_ms }),
    ]
}
