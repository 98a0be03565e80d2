//! Who may call what, by the table of the manual: every call as the owner of a job, another user, a viewer and an
//! administrator. It refuses to know the table; the pages are read.

use crate::system::{ADAM, ALICE, BOB, System, User, VERA, possible};
use qrm_protocol::method::NAMES;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

const CONFIG: &str = "[users]\nadmins = [\"@qrm-admin\"]\nviewers = [\"vera\"]\nprivacy = \"own\"\n";

/// The columns of the table.
const COLUMNS: [User; 4] = [ALICE, BOB, VERA, ADAM];

/// What the page says of each call, in the order of the columns.
fn table() -> BTreeMap<String, [String; 4]> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("man/qrm-security.7");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, cells @ ..] = &words[..] else { return None };
        let cells: [&str; 4] = cells.try_into().ok()?;
        let known = cells.iter().all(|cell| ["yes", "no", "privacy"].contains(cell));
        known.then(|| ((*name).to_owned(), cells.map(str::to_owned)))
    });
    rows.collect()
}

/// The first reply to a call of a user.
fn call(system: &System, user: User, method: &str, params: &Value) -> Value {
    let mut stream = BufReader::new(system.connections(user, 1).remove(0));
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    writeln!(stream.get_mut(), "{request}").unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

/// What a call is made with.
fn params(method: &str, id: &str) -> Value {
    match method {
        "hello" => json!({"protocol": 1}),
        "job.show" | "job.stats" | "job.trace" => json!({"id": id}),
        "job.wait" => json!({"ids": [id], "timeout_ms": 0}),
        "job.list" => json!({"filter": []}),
        "job.signal" => json!({"targets": [id], "signal": 18}),
        "job.update" => json!({"targets": [id], "change": {"comment": "changed"}}),
        "job.progress" => json!({"id": id, "fraction": 0.5}),
        "job.cleanup" => json!({"older_than_ms": 0, "dry_run": true}),
        "event.subscribe" => json!({"after": 0}),
        "log.subscribe" => json!({"id": id, "stream": "stdout"}),
        "bulk.begin" => json!({"count": 1, "context": {"cwd": "/", "umask": 18, "env": []}}),
        "job.attach" => json!({"id": id}),
        "job.explain" => json!({"id": id}),
        "offer.accept" => json!({"id": format!("{id}-1")}),
        "queue.set" | "queue.pause" | "queue.resume" | "queue.remove" => json!({"name": "of-a-test"}),
        "job.exec" => json!({"id": id, "command": ["true"]}),
        name if name.starts_with("job.") => json!({"targets": [id]}),
        _ => json!({}),
    }
}

#[test]
fn every_call_is_for_whom_the_manual_says_and_nobody_else() {
    if !possible() {
        return;
    }
    let mut system = System::new(CONFIG);
    let table = table();
    let names: Vec<&str> = table.keys().map(String::as_str).collect();
    let mut all = NAMES.to_vec();
    all.sort_unstable();
    assert_eq!(names, all, "the table has every call");
    let gate = system.gate("gate");
    let running = system.submit(ALICE, "", &format!("read x <{}", gate.display()));
    system.executing(&running);
    let ended = system.submit(ALICE, "--name hush", "true");
    system.ended(ALICE, &ended);
    let waiting = system.submit(ALICE, "--hold", "true");
    for (method, cells) in &table {
        for (user, cell) in COLUMNS.into_iter().zip(cells) {
            let id = match method.as_str() {
                "job.retry" | "log.subscribe" => &ended,
                "job.cancel" => &waiting,
                _ => &running,
            };
            let refused = match method.as_str() {
                // The limits of a job are those of a process that is the user's.
                "job.submit" => system.run(user, "submit -- true").code != 0,
                "job.check" => system.run(user, "submit --dry-run -- true").code != 0,
                "job.when" => system.run(user, "when -- true").code != 0,
                "bulk.begin" | "bulk.add" | "bulk.commit" => {
                    system
                        .shell(user, "exec >/dev/null; echo '{\"command\":[\"true\"]}' | \"$QRM\" submit --bulk -")
                        .status()
                        .unwrap()
                        .code()
                        != Some(0)
                }
                _ => call(&system, user, method, &params(method, id))["error"]["data"]["code"] == "PERMISSION_DENIED",
            };
            assert_eq!(refused, cell == "no", "{method} by {}", user.name);
            let is_over = user == ADAM && method == "daemon.stop";
            if is_over {
                system.stopped();
                system.start();
            }
        }
    }
}
