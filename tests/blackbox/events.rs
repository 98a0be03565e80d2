//! Events: every fact once, in order, for ever resumable.
//! A follower sees what happens as it happens, whatever becomes of the daemon.

use crate::hands::{Gate, Wire, line};
use crate::world::World;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;

pub fn events(world: &World, line: &str) -> Vec<Value> {
    world.run(line).ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn events_are_numbered_without_a_gap_and_resumed_after_any() {
    let world = World::new();
    world.submit("--array 0-9", "true");
    world.submit("--retries 1 --backoff 1ms", "false");
    world.run("wait 1 2");
    world.run("daemon stop").ok();
    world.submit("--hold", "true");
    let all = events(&world, "--json events");
    let numbers: Vec<u64> = all.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=all.len() as u64).collect::<Vec<_>>());
    for after in [0, 1, 7, all.len() - 1, all.len()] {
        assert_eq!(events(&world, &format!("--json events --after {after}")), all[after..], "{after}");
    }
    let of_two: Vec<&Value> = all.iter().filter(|e| e["job"] == "2").collect();
    assert_eq!(events(&world, "--json events --job 2").iter().collect::<Vec<_>>(), of_two);
    let ends = events(&world, "--json events --job 1").iter().filter(|e| e["kind"] == "job.ended").count();
    assert_eq!(ends, 11);
    assert!(events(&world, "--json events --job 1.4").iter().all(|e| e["job"] == "1.4"));
    assert_eq!(events(&world, "--json events --job 99"), [] as [Value; 0]);
    let text = world.run("events").ok();
    assert_eq!(text.lines().count(), all.len());
    assert!(text.contains("job.submitted") && text.contains("exit_code=1"), "{text}");
}

#[test]
fn what_has_not_happened_can_not_be_resumed_after() {
    let world = World::new();
    world.submit("--hold", "true");
    for number in ["1000", "18446744073709551615"] {
        for follow in ["", "-f"] {
            let said = world.run(&format!("events {follow} --after {number}"));
            assert_eq!(said.code, 2, "{said:?}");
            assert!(said.err.contains(number) && said.err.contains("has not happened"), "{said:?}");
        }
    }
    for wrong in ["-1", "x", "18446744073709551616"] {
        let said = world.run(&format!("events --after={wrong}"));
        assert!(said.code == 2 && said.err.contains(wrong), "{said:?}");
    }
    let mut wire = Wire::new(&world);
    assert_eq!(wire.refused("event.subscribe", &json!({"after": u64::MAX})).0, "INVALID_ARGUMENT");
    assert_eq!(wire.call("status", &json!({}))["jobs"]["queued"], 1);
}

#[test]
fn a_follower_sees_what_happens_over_daemons_that_come_and_go() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    world.run("daemon start").ok();
    let mut follow = world.spawn("--json events -f --after 0");
    let until = |follow: &mut _, kind: &str, job: &str| loop {
        let event: Value = serde_json::from_str(&line(follow)).unwrap();
        assert!(event["error"].is_null(), "{event}");
        if event["kind"] == kind && event["job"] == job {
            return event["seq"].as_u64().unwrap();
        }
    };
    let id = world.submit("", &gate.wait());
    let first = until(&mut follow, "job.executing", &id);
    world.run("daemon stop").ok();
    let id = world.submit("--hold", "true");
    let second = until(&mut follow, "job.submitted", &id);
    assert_eq!(second, first + 1);
    world.kill_daemon();
    gate.open(1);
    until(&mut follow, "job.ended", "1");
    let id = world.submit("", "true");
    until(&mut follow, "job.ended", &id);
    follow.kill().unwrap();
    follow.wait().unwrap();
    // Without a number, only what comes.
    let mut wire = Wire::new(&world);
    let subscribed = wire.call("event.subscribe", &json!({"follow": true, "job": "2"}));
    assert_eq!(subscribed["after"], subscribed["last"]);
    world.submit("--hold", "true");
    world.run("cancel 2").ok();
    assert_eq!(wire.hear().unwrap()["params"]["kind"], "job.ended");
}

/// Stands between a client and the daemon and lets the client go after so many frames and a part of the next, or at the end,
/// connection by connection.
fn impatient(world: &World, frames: Vec<usize>) -> (PathBuf, JoinHandle<()>) {
    let (socket, daemon) = (world.dir().join("between.sock"), world.socket());
    let listener = UnixListener::bind(&socket).unwrap();
    let between = std::thread::spawn(move || {
        for frames in frames {
            let (mut client, _) = listener.accept().unwrap();
            let mut daemon = UnixStream::connect(&daemon).unwrap();
            let mut asked = BufReader::new(client.try_clone().unwrap());
            // The greeting and the subscription.
            for _ in 0..2 {
                let mut line = String::new();
                asked.read_line(&mut line).unwrap();
                daemon.write_all(line.as_bytes()).unwrap();
            }
            for (n, line) in BufReader::new(daemon).lines().take(frames + 1).enumerate() {
                let line = line.unwrap() + "\n";
                let part = if n < frames { line.len() } else { line.len() / 2 };
                client.write_all(&line.as_bytes()[..part]).unwrap();
                if line.contains("event.end") {
                    break;
                }
            }
        }
    });
    (socket, between)
}

#[test]
fn who_reads_slowly_is_let_go_and_goes_on_where_it_was() {
    let world = World::new();
    world.submit("--array 0-9", "true");
    world.run("wait 1").ok();
    let all = world.run("--json events").ok();
    // Two answers, and then events.
    let (socket, between) = impatient(&world, vec![2 + 3, 2 + 1, usize::MAX - 1]);
    let said = world.run(&format!("--json --socket {} events", socket.display()));
    assert_eq!(said.ok(), all);
    between.join().unwrap();
    std::fs::remove_file(&socket).unwrap();
    // One who is sent nothing at all does not ask for ever.
    let (socket, between) = impatient(&world, vec![2 + 3, 2]);
    let said = world.run(&format!("--json --socket {} events", socket.display()));
    assert_eq!((said.code, said.out.lines().filter(|line| line.contains("seq")).count()), (3, 3), "{said:?}");
    between.join().unwrap();
}

/// Changes the store beside a daemon.
fn sql(world: &World, statement: &str) {
    let db = rusqlite::Connection::open(world.state().join("qrm.sqlite")).unwrap();
    db.execute_batch(statement).unwrap();
}

#[test]
fn a_reader_who_is_overtaken_by_what_is_forgotten_is_told_of_the_gap() {
    let world = World::new();
    world.submit("--hold", "true");
    world.run(&format!("update 1 --comment {}", "x".repeat(200))).ok();
    world.run("daemon stop").ok();
    // More than fits between the daemon and who does not read.
    sql(
        &world,
        "INSERT INTO event (seq, at, body)
         WITH RECURSIVE next (seq) AS (SELECT max(seq) + 1 FROM event UNION ALL SELECT seq + 1 FROM next WHERE seq < 20000)
         SELECT next.seq, last.at, last.body FROM next, (SELECT at, body FROM event ORDER BY seq DESC LIMIT 1) AS last",
    );
    world.run("daemon start").ok();
    let mut wire = Wire::new(&world);
    wire.call("event.subscribe", &json!({"after": 0}));
    sql(&world, "DELETE FROM event WHERE seq < 15000 OR seq = 16000");
    let mut seen = 0;
    while let Some(frame) = wire.hear() {
        assert_eq!(frame["params"]["seq"], seen + 1, "{frame}");
        seen += 1;
    }
    assert!(seen < 14_999, "{seen} were sent");
    let mut wire = Wire::new(&world);
    let again = wire.call("event.subscribe", &json!({"after": seen}));
    assert_eq!((again["after"].as_u64(), again["lagged"].as_u64()), (Some(14_999), Some(14_999 - seen)));
    assert_eq!(wire.hear().unwrap()["params"]["seq"], 15_000);
    // A number that is not there although older ones are is no reason to ask again for ever.
    let said = world.run(&format!("--json events --after {seen}")).ok();
    assert!(said.starts_with("{\"lagged\":") && said.contains("\"seq\":15999,") && said.contains("\"seq\":16001,"));
}

#[test]
fn an_event_that_is_not_understood_ends_the_subscription_and_answers_no_call() {
    let world = World::new();
    world.submit("--hold", "true");
    sql(&world, "UPDATE event SET body = '{}' WHERE seq = 2");
    let mut wire = Wire::new(&world);
    wire.call("event.subscribe", &json!({"after": 0, "follow": true}));
    assert_eq!(wire.hear().unwrap()["params"]["seq"], 1);
    let end = wire.hear().unwrap();
    assert_eq!((end.get("id"), end["error"]["data"]["code"].as_str()), (Some(&Value::Null), Some("INTERNAL")));
    assert_eq!(wire.hear(), None);
    for line in ["events", "events -f --after 0"] {
        let said = world.run(line);
        assert!(said.code == 4 && said.err.contains("event 2 is not understood"), "{line}: {said:?}");
    }
}

#[test]
fn on_the_wire_events_end_where_they_are_not_followed() {
    let world = World::new();
    world.submit("--hold", "true");
    let mut wire = Wire::new(&world);
    let subscribed = wire.call("event.subscribe", &json!({"after": 0}));
    assert_eq!((subscribed["after"].as_u64(), subscribed["lagged"].as_u64()), (Some(0), Some(0)));
    let mut heard = Vec::new();
    loop {
        let frame = wire.hear().unwrap();
        if frame["method"] == "event.end" {
            break;
        }
        assert_eq!(frame["method"], "event");
        heard.push(frame["params"]["seq"].as_u64().unwrap());
    }
    assert_eq!(heard, (1..=subscribed["last"].as_u64().unwrap()).collect::<Vec<_>>());
    // The connection is as good as before.
    assert_eq!(wire.call("job.show", &json!({"id": "1"}))["state"], "queued");
    // A follower that speaks follows no more.
    wire.call("event.subscribe", &json!({"follow": true}));
    wire.ask("status", &json!({}));
    assert_eq!(wire.hear(), None);
}
