//! What must hold for any bytes at all: one function for each reader, true if the bytes were taken.
//! It refuses to know where the bytes come from: a fuzzer, a corpus, or a corpus with changes.

// A broken property ends the process; that is what a fuzzer looks for. And a target uses one function of these.
#![allow(clippy::unwrap_used, dead_code)]

use qrm_core::{Core, Demand};
use qrm_protocol::filter::{Filter, Op};
use qrm_protocol::frame::{self, Incoming, MAX_FRAME};
use qrm_protocol::job::{JobSpec, JobView, MAX_NAME_BYTES};
use qrm_shim::plan::{Encoded, Plan};
use serde_json::value::RawValue;
use std::sync::LazyLock;

/// Reads bytes and says whether they were taken; panics if what must hold does not.
pub type Property = fn(&[u8]) -> bool;

/// Each reader by the name of its corpus.
pub const ALL: [(&str, Property); 5] =
    [("frame", frame), ("filter", filter), ("job", job), ("plan", plan), ("snapshot", snapshot)];

/// A call or an answer that is taken is the same after it was written and read again, and so is every refusal.
pub fn frame(bytes: &[u8]) -> bool {
    let called = match frame::decode_request(bytes) {
        Ok(call) => {
            let again = frame::encode_request(call.id, &call.method, &call.params);
            let again = again.strip_suffix(b"\n").unwrap();
            if again.len() <= MAX_FRAME {
                let read = frame::decode_request(again).unwrap();
                let texts = |of: &frame::Request<'_>| [of.id.get(), &of.method, of.params.get()].map(str::to_owned);
                assert_eq!(texts(&read), texts(&call));
            }
            true
        }
        Err((id, error)) => {
            let Ok(Incoming::Reply(read_id, Err(read))) = frame::decode_incoming(&frame::encode_error(id, &error))
            else {
                panic!("a refusal is not read back: {error:?}");
            };
            assert_eq!((read_id.as_deref().map(RawValue::get), read), (id.map(RawValue::get), error));
            false
        }
    };
    let Ok(incoming) = frame::decode_incoming(bytes) else { return called };
    let again = match &incoming {
        Incoming::Reply(Some(id), Ok(result)) => frame::encode_result(id, result),
        Incoming::Reply(id, Err(error)) => frame::encode_error(id.as_deref(), error),
        Incoming::Notification(method, params) => frame::encode_notification(method, params),
        // No call has such an answer, and nothing writes it.
        Incoming::Reply(None, Ok(_)) => return true,
    };
    match (incoming, frame::decode_incoming(&again).unwrap()) {
        (Incoming::Reply(Some(a), Ok(x)), Incoming::Reply(Some(b), Ok(y))) => {
            assert_eq!((a.get(), x.get()), (b.get(), y.get()));
        }
        (Incoming::Reply(a, Err(x)), Incoming::Reply(b, Err(y))) => {
            assert_eq!((a.as_deref().map(RawValue::get), x), (b.as_deref().map(RawValue::get), y));
        }
        (Incoming::Notification(a, x), Incoming::Notification(b, y)) => assert_eq!((a, x.get()), (b, y.get())),
        (was, is) => panic!("{was:?} was read back as {is:?}"),
    }
    true
}

/// Jobs in every part of a life, with and without what a job may lack.
static VIEWS: LazyLock<Vec<JobView>> = LazyLock::new(|| {
    let plain = serde_json::json!({
        "id": "7", "name": "train", "user": "alice", "queue": "default", "state": "queued", "attempt": 0, "priority": 50,
        "command": ["python", "train.py"], "cwd": "/home/alice", "scope": "/", "labels": {},
        "submitted_at": "2026-02-28T10:00:00.000Z", "devices": [], "cpus": 1, "retries": 0, "after": [], "dir": "",
        "usage": {},
    });
    let with = |more: serde_json::Value| {
        let mut view = plain.clone();
        view.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
        serde_json::from_value(view).unwrap()
    };
    vec![
        with(serde_json::json!({})),
        with(serde_json::json!({
            "id": "12.3", "state": "failed", "attempt": 2, "exit_code": 137, "signal": 9, "comment": "Žluťoučký \"kůň\"",
            "failure": {"kind": "ExecuteError", "cause": "oom", "message": "it ran out of memory"},
            "started_at": "2026-02-28T11:00:00.000Z", "ended_at": "2026-03-01T11:59:59.999Z", "mem_bytes": 1u64 << 33,
            "time_limit_ms": 7_200_000, "usage": {"cpu_ms": 1_000, "peak_memory_bytes": u64::MAX}, "user": "",
            "labels": {"team": "vision", "a.b/c": ""},
        })),
        with(serde_json::json!({
            "id": "9223372036854775807", "state": "completed", "exit_code": 0, "array": "0-999999%8", "priority": 100,
            "command": [{"hex": "ff"}, ""], "cwd": {"hex": "2fff"}, "cpus": u32::MAX, "name": "TRAIN a,b=c",
            "submitted_at": "1969-12-31T23:59:59.999Z", "mem_bytes": u64::MAX, "time_limit_ms": u64::MAX,
        })),
    ]
});

/// A filter that is taken can be asked about any job, and negating an operator turns each of its answers around.
pub fn filter(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let now = "2026-03-01T12:00:00[UTC]".parse().unwrap();
    let filter = match Filter::parse(&[text], &now) {
        Ok(filter) => filter,
        Err(error) => {
            assert!(!error.message.is_empty());
            return false;
        }
    };
    for view in VIEWS.iter() {
        let all = filter.terms.iter().all(|term| Filter { terms: vec![term.clone()] }.matches(view));
        assert_eq!(filter.matches(view), all, "a filter is not all of its terms");
        for term in &filter.terms {
            let mut opposite = term.clone();
            opposite.op = match term.op {
                Op::Eq => Op::Ne,
                Op::Ne => Op::Eq,
                Op::Has => Op::HasNot,
                Op::HasNot => Op::Has,
                Op::Lt | Op::Le | Op::Gt | Op::Ge => continue,
            };
            let of = |term| Filter { terms: vec![term] }.matches(view);
            assert_ne!(of(term.clone()), of(opposite), "{term:?}");
        }
    }
    true
}

/// A job that is taken is the same after it was written and read again, and so is what the core keeps of it.
pub fn job(bytes: &[u8]) -> bool {
    let Ok(spec) = serde_json::from_slice::<JobSpec>(bytes) else { return false };
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<JobSpec>(&text).unwrap_or_else(|e| panic!("{e}: {text}")), spec);
    assert!(spec.display_name().len() <= MAX_NAME_BYTES);
    let demand = Demand::from(&spec);
    let text = serde_json::to_string(&demand).unwrap();
    assert_eq!(serde_json::from_str::<Demand>(&text).unwrap_or_else(|e| panic!("{e}: {text}")), demand);
    true
}

/// A plan that is taken is written as it was, byte for byte; reading it in place and copying it agree.
pub fn plan(bytes: &[u8]) -> bool {
    let (copied, viewed) = (Plan::decode(bytes), Plan::<Encoded<'_>>::view(bytes));
    assert_eq!(copied.as_ref().err(), viewed.as_ref().err());
    let (Ok(copied), Ok(viewed)) = (copied, viewed) else { return false };
    assert_eq!(copied.encode(), bytes);
    assert_eq!(viewed.encode(), bytes);
    true
}

/// A snapshot that is taken is the same after it was written and read again, and can be asked what a restart asks.
pub fn snapshot(bytes: &[u8]) -> bool {
    let Ok(core) = Core::load(bytes) else { return false };
    let mut lines = Vec::new();
    core.save(&mut lines).unwrap();
    assert_eq!(Core::load(&lines[..]).unwrap(), core);
    // What must hold of a core need not hold of this one; it has no checksum.
    drop((core.owed(), core.open_bulks(), core.next_wake()));
    true
}
