//! An example of every call, in an order in which a fresh daemon can answer all of them, and the errors of each.
//! It refuses to know the replies: those are heard from a daemon.

use crate::error::Code;

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Which.
    pub method: &'static str,
    /// What it may give beside [`super::ANY_CALL`].
    pub errors: &'static [Code],
    /// Calls that make what the example needs, and are not shown.
    pub before: &'static [(&'static str, &'static str)],
    /// The parameters of the example.
    pub params: &'static str,
}

const fn call(
    method: &'static str,
    errors: &'static [Code],
    before: &'static [(&'static str, &'static str)],
    params: &'static str,
) -> Call {
    Call { method, errors, before, params }
}

/// What concerns jobs that are named.
const NAMED: &[Code] = &[Code::NotFound, Code::FailedPrecondition];

/// Every call. The jobs are 1, which has ended, 2, which takes the whole machine, 3, which waits for it, and 4, which waits and
/// would take something else.
pub const CALLS: &[Call] = &[
    call("hello", &[Code::VersionMismatch], &[], r#"{"protocol": 1}"#),
    call("rpc.discover", &[], &[], "{}"),
    call("daemon.status", &[], &[], "{}"),
    call("doctor", &[], &[], "{}"),
    call("config.show", &[], &[], "{}"),
    call("daemon.reload", &[Code::PermissionDenied, Code::FailedPrecondition], &[], "{}"),
    call(
        "queue.set",
        &[Code::FailedPrecondition],
        &[],
        r#"{"name": "night", "change": {"max_running": 4, "max_time_ms": 28800000, "preemptible": true}}"#,
    ),
    call("queue.pause", NAMED, &[], r#"{"name": "night"}"#),
    call("queue.list", &[], &[], "{}"),
    call("queue.resume", NAMED, &[], r#"{"name": "night"}"#),
    call("queue.remove", NAMED, &[], r#"{"name": "night"}"#),
    call(
        "job.submit",
        NAMED,
        &[],
        r#"{"context": {"cwd": "/tmp", "umask": 18, "env": ["PATH=/usr/bin:/bin"]},
            "job": {"command": ["sh", "-c", "echo one; echo two"], "name": "demo", "time": "1h"}}"#,
    ),
    call("job.wait", &[Code::NotFound], &[], r#"{"ids": ["1"], "timeout_ms": 60000}"#),
    call(
        "job.check",
        NAMED,
        &[],
        r#"{"context": {"cwd": "/tmp", "umask": 18, "env": []}, "job": {"command": ["true"], "mem": "4G"}}"#,
    ),
    call("job.show", &[Code::NotFound], &[], r#"{"id": "1"}"#),
    call("log.subscribe", NAMED, &[], r#"{"id": "1", "after_bytes": 4}"#),
    call(
        "job.hold",
        NAMED,
        &[
            (
                "job.submit",
                r#"{"context": {"cwd": "/tmp", "umask": 18, "env": ["PATH=/usr/bin:/bin"]},
                    "job": {"command": ["sleep", "600"], "cpus": 8}}"#,
            ),
            ("job.wait", r#"{"ids": ["2"], "started": true, "timeout_ms": 60000}"#),
            (
                "job.submit",
                r#"{"context": {"cwd": "/tmp", "umask": 18, "env": ["PATH=/usr/bin:/bin"]},
                    "job": {"command": ["true"]}}"#,
            ),
        ],
        r#"{"targets": ["3"]}"#,
    ),
    call("job.release", NAMED, &[], r#"{"targets": ["3"]}"#),
    call("job.update", NAMED, &[], r#"{"targets": ["3"], "change": {"priority": 75, "comment": "before lunch"}}"#),
    call("job.progress", NAMED, &[], r#"{"id": "2", "fraction": 0.4, "message": "epoch 4"}"#),
    call("job.suspend", NAMED, &[], r#"{"targets": ["2"]}"#),
    call("job.resume", NAMED, &[], r#"{"targets": ["2"]}"#),
    call("job.signal", NAMED, &[], r#"{"targets": ["2"], "signal": 18}"#),
    call("job.stats", NAMED, &[], r#"{"id": "2", "samples": true}"#),
    call("host.stats", &[], &[], "{}"),
    call("job.list", &[], &[], r#"{"filter": ["state=live", "name=true"], "limit": 10}"#),
    call("job.explain", &[Code::NotFound], &[], r#"{"id": "3"}"#),
    call(
        "job.when",
        NAMED,
        &[],
        r#"{"context": {"cwd": "/tmp", "umask": 18, "env": []},
            "job": {"command": ["true"], "cpus": 4, "mem": "2G", "time": "30m"}}"#,
    ),
    call("status", &[], &[], "{}"),
    call(
        "offer.accept",
        NAMED,
        &[(
            "job.submit",
            r#"{"context": {"cwd": "/tmp", "umask": 18, "env": ["PATH=/usr/bin:/bin"]},
                "job": {"command": ["true"], "cpus": 4, "on_conflict": "negotiation"}}"#,
        )],
        r#"{"id": "4-1"}"#,
    ),
    call("job.cancel", &[Code::NotFound], &[], r#"{"targets": ["4", "3", "2"]}"#),
    call(
        "job.cleanup",
        &[],
        &[("job.wait", r#"{"ids": ["2", "3"], "timeout_ms": 60000}"#)],
        r#"{"older_than_ms": 604800000, "dry_run": true}"#,
    ),
    call("event.subscribe", &[], &[], r#"{"after": 0, "job": "3"}"#),
    call("job.trace", &[Code::NotFound], &[], r#"{"id": "3"}"#),
    call(
        "bulk.begin",
        &[Code::FailedPrecondition],
        &[],
        r#"{"context": {"cwd": "/tmp", "umask": 18, "env": ["PATH=/usr/bin:/bin"]}, "count": 2}"#,
    ),
    call("bulk.add", NAMED, &[], r#"{"jobs": [{"command": ["true"]}, {"command": ["false"], "after": ["1"]}]}"#),
    call("bulk.commit", NAMED, &[], "{}"),
    call("job.retry", NAMED, &[], r#"{"targets": ["3"]}"#),
    call(
        "job.attach",
        NAMED,
        &[
            (
                "job.submit",
                r#"{"context": {"cwd": "/tmp", "umask": 18, "env": ["PATH=/usr/bin:/bin"]},
                    "job": {"command": ["sleep", "600"], "pty": true}}"#,
            ),
            ("job.wait", r#"{"ids": ["8"], "started": true, "timeout_ms": 60000}"#),
        ],
        r#"{"id": "8"}"#,
    ),
    call("job.exec", NAMED, &[], r#"{"id": "8", "command": ["ps", "-f"]}"#),
    call("daemon.stop", &[], &[], "{}"),
];
