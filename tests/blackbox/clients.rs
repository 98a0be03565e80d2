//! Clients that mean no good, or break: too many, silent, deaf, loud.
//! Each is told why or let go, and everyone else is served.

use crate::hands::{Wire, context, refusal};
use crate::world::World;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;

const MOST: usize = 4 << 20;

fn more_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[test]
fn a_thousand_are_served_at_once_and_those_beyond_the_bound_are_told() {
    more_descriptors();
    let world = World::new();
    world.run("daemon start").ok();
    let mut all: Vec<Wire> = (0..1_000).map(|_| Wire::new(&world)).collect();
    for wire in &mut all {
        wire.ask("status", &json!({}));
    }
    for wire in &mut all {
        assert!(wire.hear().unwrap()["result"]["machine"].is_object());
    }
    assert_eq!(world.run("status").code, 0);
    all.extend((0..24).map(|_| Wire::new(&world)));
    all.last_mut().unwrap().call("status", &json!({}));
    for _ in 0..30 {
        let reply = Wire::new(&world).hear().expect("a word before the end");
        let (code, why) = refusal(&reply);
        assert_eq!(
            (code.as_str(), why.as_str()),
            ("RESOURCE_EXHAUSTED", "1024 clients are connected, as many as may be")
        );
        let said = world.run("submit -- true");
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains("1024 clients are connected"), "{said:?}");
    }
    assert_eq!(all[512].call("status", &json!({}))["jobs"], json!({}));
    drop(all);
    // They are gone as soon as the daemon has looked; nobody is kept out for long.
    while world.run("status").code != 0 {}
    assert_eq!(world.run("run -- true").code, 0);
}

#[test]
fn who_waits_and_goes_away_makes_room() {
    let world = World::new();
    let held = world.submit("--hold", "true");
    for round in 0..12 {
        let mut all: Vec<Wire> = (0..100).map(|_| Wire::new(&world)).collect();
        for wire in &mut all {
            wire.ask("job.wait", &json!({"ids": [held]}));
        }
        drop(all);
        let said = world.run("status");
        assert_eq!(said.code, 0, "round {round}: {said:?}");
    }
    // What is said while a wait goes on is answered after it.
    let mut wire = Wire::new(&world);
    wire.ask("job.wait", &json!({"ids": [held]}));
    wire.ask("job.show", &json!({"id": held}));
    world.run(&format!("cancel {held}")).ok();
    assert_eq!(wire.hear().unwrap()["result"]["jobs"][0]["state"], "cancelled");
    assert_eq!(wire.hear().unwrap()["result"]["state"], "cancelled");
}

#[test]
fn one_that_never_reads_keeps_nobody_else_waiting() {
    let world = World::new();
    world.feed("submit --bulk -", &b"{\"command\":[\"true\"],\"hold\":true}\n".repeat(1_000)).ok();
    let deaf: Vec<Wire> = ["job.list", "event.subscribe"]
        .into_iter()
        .map(|method| {
            let mut wire = Wire::new(&world);
            let params =
                if method == "job.list" { json!({"limit": 1000}) } else { json!({"after": 0, "follow": true}) };
            let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
            let calls = format!("{call}\n").repeat(if method == "job.list" { 200 } else { 1 });
            // It is not read in full once the answers are stuck.
            wire.stream().set_nonblocking(true).unwrap();
            wire.say(calls.as_bytes()).ok();
            wire
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(world.run("status").code, 0);
        let said = world.run("run -- true");
        assert_eq!(said.code, 0, "{said:?}");
    }
    drop(deaf);
}

#[test]
fn many_calls_in_one_breath_are_answered_in_their_order() {
    let world = World::new();
    world.run("daemon start").ok();
    let mut wire = Wire::new(&world);
    let calls: Vec<u8> = (0..500)
        .flat_map(|id| format!("{}\n", json!({"jsonrpc": "2.0", "id": id, "method": "daemon.status"})).into_bytes())
        .collect();
    for piece in calls.chunks(1_013) {
        wire.say(piece).unwrap();
    }
    for id in 0..500 {
        assert_eq!(wire.hear().unwrap()["id"], id);
    }
}

#[test]
fn what_is_no_request_is_refused_by_type_and_the_next_one_is_heard() {
    let world = World::new();
    world.run("daemon start").ok();
    let mut wire = Wire::new(&world);
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let padded = |n: usize| {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": "status"}).to_string();
        format!("{call}{}", " ".repeat(n - call.len()))
    };
    for (frame, code, says) in [
        (String::new(), "PARSE_ERROR", "not JSON"),
        ("{".to_owned(), "PARSE_ERROR", "not JSON"),
        ("\0\0".to_owned(), "PARSE_ERROR", "not JSON"),
        ("[]".to_owned(), "INVALID_REQUEST", "a batch, are not offered"),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"status"}]"#.to_owned(), "INVALID_REQUEST", "a batch"),
        (r#"["2.0",1,"daemon.stop",{}]"#.to_owned(), "INVALID_REQUEST", "a batch"),
        ("7".to_owned(), "INVALID_REQUEST", "a request, which is an object"),
        ("{}".to_owned(), "INVALID_REQUEST", "jsonrpc"),
        (r#"{"jsonrpc":"1.0","id":1,"method":"status"}"#.to_owned(), "INVALID_REQUEST", "jsonrpc"),
        (r#"{"jsonrpc":"2.0","method":"status"}"#.to_owned(), "INVALID_REQUEST", "\"id\""),
        (r#"{"jsonrpc":"2.0","id":null,"method":"daemon.stop"}"#.to_owned(), "INVALID_REQUEST", "\"id\""),
        (r#"{"jsonrpc":"2.0","method":"daemon.stop"}"#.to_owned(), "INVALID_REQUEST", "without a reply"),
        (r#"{"jsonrpc":"2.0","id":{},"method":"status"}"#.to_owned(), "INVALID_REQUEST", "\"id\""),
        (r#"{"jsonrpc":"2.0","id":1,"method":"status","prams":{}}"#.to_owned(), "INVALID_REQUEST", "`prams`"),
        (r#"{"jsonrpc":"2.0","id":1}"#.to_owned(), "INVALID_REQUEST", "\"method\""),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"status","params":{"x":1}}"#.to_owned(),
            "INVALID_ARGUMENT",
            "unknown field",
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"job.show","params":["1"]}"#.to_owned(), "INVALID_ARGUMENT", "by name"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"job.show"}"#.to_owned(), "INVALID_ARGUMENT", "missing field `id`"),
        (deep(1_000_000), "INVALID_REQUEST", "a batch"),
        ("[".repeat(1_000_000), "PARSE_ERROR", "not JSON"),
        (
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"status","params":{}}}"#, deep(1_000_000)),
            "INVALID_ARGUMENT",
            "",
        ),
        (format!(r#"{{"jsonrpc":"2.0","id":{},"method":"status"}}"#, deep(1_000)), "INVALID_REQUEST", "\"id\""),
    ] {
        wire.say(format!("{frame}\n").as_bytes()).unwrap();
        let (is, why) = refusal(&wire.hear().unwrap());
        let shown: String = frame.chars().take(80).collect();
        assert!(is == code && why.contains(says), "{shown}: {is} {why}");
    }
    wire.say(format!("{}\n", padded(MOST)).as_bytes()).unwrap();
    assert!(wire.hear().unwrap()["result"].is_object());
    wire.ask("job.sumbit", &json!({}));
    let reply = wire.hear().unwrap();
    assert_eq!(refusal(&reply).0, "METHOD_NOT_FOUND");
    assert_eq!(reply["error"]["data"]["hint"], "did you mean job.submit?");
    wire.ask(&"x".repeat(100_000), &json!({}));
    assert!(wire.hear().unwrap()["error"]["data"]["hint"].as_str().unwrap().contains("methods are hello"));
}

#[test]
fn ids_come_back_as_they_are_and_the_largest_numbers_are_refused_or_meant() {
    let world = World::new();
    let id = world.submit("", "true");
    world.ended(&id);
    let mut wire = Wire::new(&world);
    for id in [r#""""#, r#""a-b""#, r#""\u00e9\n""#, "-7", "1.5", "18446744073709551616"] {
        wire.say(format!("{{\"jsonrpc\":\"2.0\",\"method\":\"status\",\"id\":{id}}}\r\n").as_bytes()).unwrap();
        let reply = wire.hear().unwrap();
        let sent: serde_json::Value = serde_json::from_str(id).unwrap();
        assert!(reply["id"] == sent && reply["result"].is_object(), "{id}: {reply}");
        wire.say(format!("{{\"jsonrpc\":\"2.0\",\"method\":\"no\",\"id\":{id}}}\n").as_bytes()).unwrap();
        assert_eq!(wire.hear().unwrap()["id"], sent);
    }
    let most = u64::MAX;
    let submit = |job: serde_json::Value| json!({"context": context(), "job": job});
    for (method, params, code) in [
        ("job.wait", json!({"ids": [id], "timeout_ms": most}), ""),
        ("job.wait", json!({"ids": []}), "INVALID_ARGUMENT"),
        ("job.wait", json!({"ids": vec![&id; 257]}), "INVALID_ARGUMENT"),
        ("job.show", json!({"id": "9223372036854775808"}), "INVALID_ARGUMENT"),
        ("job.show", json!({"id": "9223372036854775807.999999"}), "NOT_FOUND"),
        ("job.list", json!({"limit": 0}), "INVALID_ARGUMENT"),
        ("job.list", json!({"limit": u32::MAX}), "INVALID_ARGUMENT"),
        ("job.list", json!({"before": "9223372036854775807"}), ""),
        ("job.signal", json!({"targets": [id], "signal": i32::MIN}), "INVALID_ARGUMENT"),
        ("job.cleanup", json!({"older_than_ms": most, "keep_last": most, "dry_run": true}), ""),
        ("event.subscribe", json!({"after": most}), "INVALID_ARGUMENT"),
        ("bulk.begin", json!({"context": context(), "count": most}), "RESOURCE_EXHAUSTED"),
        ("job.submit", submit(json!({"command": ["true"], "cpus": u32::MAX})), "INVALID_ARGUMENT"),
        ("job.submit", submit(json!({"command": ["true"], "mem_bytes": most})), "INVALID_ARGUMENT"),
        ("job.submit", submit(json!({"command": ["true"], "time_limit_ms": most})), "INVALID_ARGUMENT"),
        ("job.submit", submit(json!({"command": ["true"], "grace_ms": most})), "INVALID_ARGUMENT"),
        ("job.submit", submit(json!({"command": ["true"], "retries": u32::MAX})), "INVALID_ARGUMENT"),
        ("job.submit", submit(json!({"command": ["true"], "begin": "9999-12-30T22:00:00.999Z"})), ""),
    ] {
        wire.ask(method, &params);
        let reply = wire.hear().unwrap();
        let is = reply["error"]["data"]["code"].as_str().unwrap_or_default();
        assert_eq!(is, code, "{method} {params}: {reply}");
    }
    assert_eq!(world.run("status").code, 0);
}

#[test]
fn a_frame_that_can_not_be_one_ends_its_connection_and_no_other() {
    let world = World::new();
    world.run("daemon start").ok();
    let mut bystander = Wire::new(&world);
    for (bytes, code) in [
        (vec![b'x'; 5 << 20], "FRAME_TOO_LARGE"),
        ([vec![b' '; MOST + 100], b"\n".to_vec()].concat(), "FRAME_TOO_LARGE"),
        (b"{\"jsonrpc\":\"2.0\",\xff\n".to_vec(), "PARSE_ERROR"),
    ] {
        let mut wire = Wire::new(&world);
        // It may be turned away before it has said all.
        wire.say(&bytes).ok();
        assert_eq!(refusal(&wire.hear().expect("a word before the end")).0, code);
        assert_eq!(wire.hear(), None);
        bystander.call("daemon.status", &json!({}));
    }
    for half in [&b"{\"jsonrpc\":\"2.0\",\"id\":1,\"meth"[..], b"", b"\n\n{"] {
        let mut wire = Wire::new(&world);
        wire.say(half).unwrap();
        wire.stream().shutdown(std::net::Shutdown::Write).unwrap();
        while wire.hear().is_some() {}
    }
    // A call whose newline was never sent was never made.
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "daemon.stop"}).to_string();
    Wire::new(&world).say(call.as_bytes()).unwrap();
    bystander.call("daemon.status", &json!({}));
}

#[test]
fn another_version_of_the_protocol_is_told_apart_from_no_daemon() {
    let world = World::new();
    world.run("daemon start").ok();
    let mut wire = Wire::new(&world);
    assert_eq!(
        wire.call("hello", &json!({"protocol": qrm_protocol::PROTOCOL_VERSION}))["protocol"],
        qrm_protocol::PROTOCOL_VERSION
    );
    let (code, why) = wire.refused("hello", &json!({"protocol": 99}));
    assert!(code == "VERSION_MISMATCH" && why.contains("speaks version 99"), "{code} {why}");
    assert_eq!(wire.hear(), None);
    // The other way round: a daemon of another release, one that babbles, one that hangs up.
    let socket = world.dir().join("other.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let replies = [
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":6,"message":"I speak 99","data":{"code":"VERSION_MISMATCH","hint":"upgrade"}}}"#,
            3,
            "I speak 99",
        ),
        (r#"{"jsonrpc":"2.0","id":1,"result":{"greeting":"hi"}}"#, 3, "greeting is not understood"),
        (r#"HTTP/1.1 400 Bad Request"#, 4, "not understood"),
        ("", 3, "went away"),
    ];
    let fake = std::thread::spawn(move || {
        for reply in replies.map(|r| r.0) {
            let (mut stream, _) = listener.accept().unwrap();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut String::new()).unwrap();
            if !reply.is_empty() {
                stream.write_all(format!("{reply}\n").as_bytes()).unwrap();
            }
        }
    });
    for (_, code, says) in replies {
        let said = world.run(&format!("status --socket {}", socket.display()));
        assert_eq!(said.code, code, "{said:?}");
        assert!(said.err.contains(says), "{said:?}");
    }
    fake.join().unwrap();
    let said = world.run(&format!("status --json --socket {}", socket.display()));
    assert_eq!((said.code, said.json()["error"]["code"].as_str()), (3, Some("NO_DAEMON")));
}

#[test]
fn a_daemon_without_descriptors_recovers_when_clients_go() {
    let world = World::new();
    let qrmd = world.program("qrmd");
    let mut shell = world.shell("ulimit -n 64; exec \"$QRMD\" --spawned");
    let mut daemon = shell.env("QRMD", qrmd.get_program()).stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(crate::hands::line(&mut daemon), "ready");
    let mut all: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(world.socket()).unwrap()).collect();
    // One that is turned away is told, and its end is closed.
    let mut last = all.pop().unwrap();
    last.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let mut text = String::new();
    last.read_to_string(&mut text).unwrap();
    assert!(text.contains("RESOURCE_EXHAUSTED") && text.contains("no descriptors left"), "{text}");
    let said = world.run("--socket state/qrm.sock status");
    assert_eq!(said.code, 2, "{said:?}");
    drop(all);
    while world.run("--socket state/qrm.sock status").code != 0 {}
    assert_eq!(world.run("run -- sh -c true").code, 0);
    world.run("daemon stop").ok();
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
}
