//! The description of the protocol: made of its types and of what a real daemon says to the example of each call.
//! It refuses to know what a call does; the examples and their order are in the protocol itself.

use crate::hands::Wire;
use crate::schema::{Document, committed};
use crate::world::World;
use qrm_protocol::describe::{CALLS, Heard, document};
use qrm_protocol::method::NAMES;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The description as it is made now.
pub static MADE: LazyLock<Document> = LazyLock::new(|| Document(document::<qrm_core::Event>(examples())));

/// Sends every example to a fresh daemon, in their order.
fn examples() -> BTreeMap<String, Heard> {
    let world = World::with(&[("QRM_HOST_CPUS", "8"), ("QRM_HOST_MEMORY", "32G"), ("QRM_HOST_DISK", "100G")]);
    world.run("daemon start").ok();
    let mut wire = Wire::new(&world);
    wire.checked = false;
    let mut heard = BTreeMap::new();
    for call in CALLS {
        for (method, params) in call.before {
            wire.call(method, &serde_json::from_str(params).unwrap());
        }
        let result = wire.call(call.method, &serde_json::from_str(call.params).unwrap());
        let mut notifications = Vec::new();
        while call.method.ends_with(".subscribe") && !is_end(notifications.last()) {
            let mut frame = wire.hear().unwrap();
            frame.as_object_mut().unwrap().remove("jsonrpc");
            notifications.push(frame);
        }
        let shown = |mut value: Value| {
            usual(&mut value, world.state().to_str().unwrap());
            value
        };
        let result = shown(shortened(call.method, result));
        let notifications = notifications.into_iter().map(shown).collect();
        heard.insert(call.method.to_owned(), Heard { result, notifications });
    }
    heard
}

fn is_end(frame: Option<&Value>) -> bool {
    frame.is_some_and(|frame| frame["method"].as_str().unwrap().ends_with(".end"))
}

/// Results that say more of this machine, or of themselves, than an example should.
fn shortened(method: &str, mut result: Value) -> Value {
    match method {
        "rpc.discover" => {
            for key in ["methods", "components"] {
                result[key] = if result[key].is_array() { json!([]) } else { json!({}) };
            }
            result["info"] = json!({"title": "qrm"});
        }
        "doctor" => {
            result["findings"] = json!([{
                "topic": "memory limit",
                "health": "ok",
                "found": "enforced by memory.max",
                "means": "the kernel ends a job that needs more",
                "mend": null,
            }]);
        }
        _ => {}
    }
    result
}

/// What differs from run to run, as it is in a usual one.
fn usual(value: &mut Value, state: &str) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), &*value) {
                    ("user", Value::String(_)) => *value = "alice".into(),
                    ("file", Value::String(_)) => *value = "/home/alice/.config/qrm/config.toml".into(),
                    ("scope", _) => *value = "user:alice".into(),
                    ("user" | "by", Value::Number(_)) => *value = 1000.into(),
                    ("pid", _) => *value = 4711.into(),
                    ("trace_id", _) => *value = "0af7651916cd43dd8448eb211c80319c".into(),
                    ("span_id", _) => *value = "b7ad6b7169203331".into(),
                    ("last" | "last_seq", _) => *value = 12.into(),
                    ("version", Value::String(_)) => *value = env!("CARGO_PKG_VERSION").into(),
                    ("boot_id", _) => *value = "6b1f0c52-9d1e-4c55-8f0a-3b0f5d5f2a11".into(),
                    ("cpu_ms" | "uptime_ms" | "boot_ms", Value::Number(_)) => *value = 4.into(),
                    ("store_bytes", _) => *value = 118_784.into(),
                    ("peak_memory_bytes", Value::Number(_)) => *value = 3_407_872.into(),
                    ("now", Value::Object(sample)) if sample.contains_key("pids") => *value = job_sample(),
                    ("now", Value::Object(sample)) if sample.contains_key("load_1m_permille") => *value = host_sample(),
                    ("rank", Value::Object(_)) => *value = rank(),
                    ("samples", Value::Array(all)) if !all.is_empty() => *value = json!([job_sample()]),
                    ("mounts", _) => {
                        *value = json!([{"path": "/", "total_bytes": 53_687_091_200_u64, "used_bytes": 21_474_836_480_u64,
                            "available_bytes": 32_212_254_720_u64, "error": null}]);
                    }
                    _ => usual(value, state),
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|value| usual(value, state)),
        Value::String(text) if text.parse::<JiffLike>().is_ok() => *text = "2026-03-01T12:00:00.000Z".to_owned(),
        Value::String(text) => *text = text.replace(state, "/home/alice/.local/state/qrm"),
        _ => {}
    }
}

/// What makes the rank of a job of priority 75, as it could be.
fn rank() -> Value {
    json!({
        "total_thousandths": 1_270_100,
        "priority_thousandths": 750_000,
        "age_thousandths": 20_100,
        "fair_share_thousandths": 260_000,
        "queue_share_thousandths": 240_000,
    })
}

/// What a job uses, as it could be.
fn job_sample() -> Value {
    json!({
        "number": 86_400_000,
        "at": "2026-03-01T12:00:00.000Z",
        "cpu_ms": 4,
        "cpu_permille": 2,
        "memory_bytes": 3_145_728,
        "peak_memory_bytes": 3_407_872,
        "memory_from": "group",
        "read_bytes": 4096,
        "written_bytes": 0,
        "pids": 1,
        "incomplete": false,
    })
}

/// What a machine uses, as it could be.
fn host_sample() -> Value {
    let pressure = |some: u64, full: u64| json!({"some_permille": some, "full_permille": full});
    json!({
        "number": 86_400_000,
        "at": "2026-03-01T12:00:00.000Z",
        "cpus": 8,
        "cpu_permille": 1250,
        "memory_total_bytes": 34_359_738_368_u64,
        "memory_available_bytes": 25_769_803_776_u64,
        "swap_total_bytes": 0,
        "swap_used_bytes": 0,
        "load_1m_permille": 1370,
        "load_5m_permille": 870,
        "load_15m_permille": 520,
        "cpu_pressure": pressure(18, 0),
        "memory_pressure": pressure(0, 0),
        "io_pressure": pressure(3, 2),
    })
}

/// An instant as the daemon writes it.
struct JiffLike;

impl std::str::FromStr for JiffLike {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        (shape == "0000-00-00T00:00:00.000Z").then_some(Self).ok_or(())
    }
}

#[test]
fn every_call_is_described_and_its_example_is_what_a_daemon_answers() {
    let made = format!("{}\n", serde_json::to_string_pretty(&MADE.0).unwrap());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/protocol/openrpc.json");
    if crate::blessing() {
        std::fs::write(path, &made).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap() == made, "openrpc.json is old; QRM_BLESS=1 makes it anew");
    let names: Vec<&str> = MADE.methods().map(|method| method["name"].as_str().unwrap()).collect();
    assert_eq!(names, NAMES);
    for method in MADE.methods() {
        let name = method["name"].as_str().unwrap();
        let example = &method["examples"][0];
        let params = example["params"].as_array().unwrap().iter();
        let params: Map<String, Value> =
            params.map(|param| (param["name"].as_str().unwrap().to_owned(), param["value"].clone())).collect();
        MADE.params(name, &params);
        MADE.result(name, &example["result"]["value"]);
        for frame in example["x-notifications"].as_array().into_iter().flatten() {
            MADE.notification(frame["method"].as_str().unwrap(), &frame["params"]);
        }
    }
}

#[test]
fn every_reference_leads_somewhere_and_nothing_is_described_that_is_not_used() {
    let text = MADE.0.to_string();
    for kind in ["schemas", "errors"] {
        for name in MADE.0["components"][kind].as_object().unwrap().keys() {
            assert!(text.contains(&format!("\"#/components/{kind}/{name}\"")), "{name} is not used");
        }
    }
    for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(MADE.0.pointer(reference).is_some(), "{reference}");
    }
}

#[test]
fn what_is_not_as_described_is_found() {
    let show = |change: &dyn Fn(&mut Value)| {
        let method = MADE.methods().find(|method| method["name"] == "job.show").unwrap();
        let mut job = method["examples"][0]["result"]["value"].clone();
        change(&mut job);
        MADE.holds(&job, &method["result"]["schema"])
    };
    assert_eq!(show(&|_| {}), Ok(()));
    type Change<'a> = &'a dyn Fn(&mut Value);
    let changes: [(Change<'_>, &str); 7] = [
        (&|job| job["id"] = 12.into(), "id: 12 is not of the type"),
        (&|job| job["id"] = "x".into(), "is not like"),
        (&|job| job["state"] = "done".into(), "state: "),
        (&|job| job["priority"] = 101.into(), "is more than"),
        (&|job| job["command"] = json!([{"hex": "f"}]), "command: [0]: "),
        (&|job| drop(job.as_object_mut().unwrap().remove("dir")), "lacks \"dir\""),
        (&|job| job["usage"]["cpu_ms"] = json!(-1), "usage: cpu_ms: "),
    ];
    for (change, says) in changes {
        let why = show(change).unwrap_err();
        assert!(why.contains(says), "{says}: {why}");
    }
}

#[test]
fn a_daemon_gives_the_description_that_is_committed() {
    let world = World::new();
    world.run("daemon start").ok();
    let mut wire = Wire::new(&world);
    wire.checked = false;
    let given = wire.call("rpc.discover", &json!({}));
    // The daemon has it built in: after a change it is the one before, until it is built again.
    assert!(crate::blessing() || given == committed().0);
}
