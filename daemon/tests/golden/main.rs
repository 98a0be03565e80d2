//! The events and snapshots of every released version, kept in `tests/golden`: this release still reads all of them.
//! It refuses to change a file of an earlier version; `QRM_BLESS=1` writes those of this one anew.

// A test's failure is its report.
#![allow(clippy::unwrap_used)]

mod parts;
mod story;

use parts::{KEPT, KINDS, LINES, OPTIONAL, kind};
use qrm_core::{Core, Event, Input, Now};
use qrm_protocol::time::Timestamp;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use story::story;

/// When all golden events were decided, 2026-01-01 by the wall clock; the other clock goes on.
const AT: Timestamp = Timestamp(1_767_225_600_000);
/// When they begin, by that other clock.
const BOOT: u64 = 60_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// The released versions, oldest first, by the files with this prefix.
fn versions(prefix: &str, suffix: &str) -> Vec<(Vec<u64>, PathBuf)> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = entries
        .filter_map(|path| {
            let version = path.file_name()?.to_str()?.strip_prefix(prefix)?.strip_suffix(suffix)?.to_owned();
            let numbers = version.split('.').map(|n| n.parse().expect("a golden file is named after a version"));
            Some((numbers.collect(), path))
        })
        .collect();
    all.sort();
    assert!(!all.is_empty(), "there is no {prefix}*{suffix} in {}", folder().display());
    all
}

fn events(path: &Path) -> Vec<(String, Event)> {
    let text = std::fs::read_to_string(path).unwrap();
    let read = |line: &str| {
        let event = serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}: {line}", path.display()));
        (line.to_owned(), event)
    };
    text.lines().map(read).collect()
}

fn saved(core: &Core) -> String {
    let mut bytes = Vec::new();
    core.save(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Whether what must hold does, once it was decided what is to be done.
fn holds(core: &Core, path: &Path) {
    let (mut core, now) = (core.clone(), Now { wall: AT, boot_ms: BOOT });
    core.step(now, Input::Tick).unwrap();
    core.check(now).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// What a line is, which is its first key.
fn line_kind(line: &str) -> String {
    let line: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
    line.keys().next().unwrap().clone()
}

/// The lines of a snapshot that an earlier release knew: this one also counts what was used and remembers how long it took.
fn known_to(release: &str, snapshot: &str) -> String {
    let known: BTreeSet<String> = release.lines().map(line_kind).collect();
    let is_new =
        |kind: &str| ["policy", "queue", "shares", "past", "announced"].contains(&kind) && !known.contains(kind);
    let lines = snapshot.lines().filter(|line| !is_new(&line_kind(line))).map(|line| format!("{line}\n"));
    // And when an array had its last turn.
    let served = format!(",\"served\":{}", serde_json::to_string(&AT).unwrap());
    if release.contains("\"served\":") { lines.collect() } else { lines.collect::<String>().replace(&served, "") }
}

fn replayed<'a>(events: impl IntoIterator<Item = &'a Event>) -> Core {
    let mut core = Core::default();
    for event in events {
        core.apply(AT, event);
    }
    core
}

#[test]
fn the_events_of_every_release_read_and_write_as_they_were_stored() {
    bless();
    for (_, path) in versions("events-", ".jsonl") {
        for (line, event) in events(&path) {
            assert_eq!(serde_json::to_string(&event).unwrap(), line, "{}", path.display());
        }
    }
}

#[test]
fn the_snapshot_of_every_release_loads_and_saves_to_the_same_bytes() {
    bless();
    for (_, path) in versions("snapshot-", "") {
        let text = std::fs::read_to_string(&path).unwrap();
        let core = Core::load(text.as_bytes()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(saved(&core), text, "{}", path.display());
        holds(&core, &path);
    }
}

/// A release is started on a store that an earlier one wrote, and replays what that one decided.
#[test]
fn the_events_of_every_release_lead_to_its_snapshot() {
    bless();
    for (version, path) in versions("events-", ".jsonl") {
        let events = events(&path);
        let core = replayed(events.iter().map(|(_, event)| event));
        holds(&core, &path);
        let (_, snapshot) = versions("snapshot-", "").into_iter().find(|(v, _)| *v == version).unwrap();
        let text = std::fs::read_to_string(snapshot).unwrap();
        assert_eq!(known_to(&text, &saved(&core)), text, "{}", path.display());
    }
}

fn keys(value: &serde_json::Value, into: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(map) => map.iter().for_each(|(key, value)| {
            into.insert(key.clone());
            keys(value, into);
        }),
        serde_json::Value::Array(list) => list.iter().for_each(|value| keys(value, into)),
        _ => {}
    }
}

#[test]
fn the_newest_golden_snapshot_has_every_kind_of_line_and_every_optional_part() {
    bless();
    let (_, newest) = versions("snapshot-", "").pop().unwrap();
    let mut parts = BTreeSet::new();
    for line in std::fs::read_to_string(newest).unwrap().lines() {
        keys(&serde_json::from_str(line).unwrap(), &mut parts);
    }
    let missing: Vec<&&str> = LINES.iter().chain(KEPT).filter(|key| !parts.contains(**key)).collect();
    assert!(missing.is_empty(), "the golden snapshot has no {missing:?}");
}

#[test]
fn the_newest_golden_events_have_every_kind_and_every_optional_part() {
    bless();
    let (_, newest) = versions("events-", ".jsonl").pop().unwrap();
    let (mut kinds, mut parts) = (BTreeSet::new(), BTreeSet::new());
    for (line, event) in events(&newest) {
        kinds.insert(kind(&event));
        keys(&serde_json::from_str(&line).unwrap(), &mut parts);
    }
    let missing: Vec<usize> = (0..KINDS).filter(|kind| !kinds.contains(kind)).collect();
    assert!(missing.is_empty(), "no golden event has these kinds: {missing:?}; QRM_BLESS=1 writes them");
    let missing: Vec<&&str> = OPTIONAL.iter().filter(|key| !parts.contains(**key)).collect();
    assert!(missing.is_empty(), "no golden event has {missing:?}");
}

#[test]
fn the_golden_files_of_this_version_are_what_it_writes() {
    bless();
    let (events, core) = story();
    let lines: String = events.iter().map(|e| serde_json::to_string(e).unwrap() + "\n").collect();
    for (name, now) in [(own("events-", ".jsonl"), lines), (own("snapshot-", ""), saved(&core))] {
        let text = std::fs::read_to_string(&name).unwrap_or_else(|e| panic!("{}: {e}", name.display()));
        assert_eq!(text, now, "{} is of this version and differs; QRM_BLESS=1 writes it anew", name.display());
    }
}

fn own(prefix: &str, suffix: &str) -> PathBuf {
    folder().join(format!("{prefix}{}{suffix}", env!("CARGO_PKG_VERSION")))
}

/// Writes the files of this version, once in a process, if that is wanted; never those of another one.
fn bless() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("QRM_BLESS").is_none_or(|on| on != "1") {
            return;
        }
        let (events, core) = story();
        let lines: String = events.iter().map(|e| serde_json::to_string(e).unwrap() + "\n").collect();
        std::fs::write(own("events-", ".jsonl"), lines).unwrap();
        std::fs::write(own("snapshot-", ""), saved(&core)).unwrap();
    });
}
