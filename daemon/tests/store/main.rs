//! The store through its public face: what is found by a filter, what is forgotten, and what a damaged one does.
//! It refuses to know the engine; events come from here and from the golden files.

// A test's failure is its report.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use qrm_core::{Core, Demand, Event, Input, Now, PastEnd, RunUsage, Stage, Takes};
use qrm_daemon::config::Durability;
use qrm_daemon::store::{DATABASE, Environment, JobText, Options, Page, Readers, Row, Store, StoreError, fold};
use qrm_protocol::amount::Bytes;
use qrm_protocol::filter::{FIELDS, Filter, Kind, MAX_TERMS};
use qrm_protocol::ids::{JobId, JobRef, Seq, Uid};
use qrm_protocol::job::{Failure, FailureCause, FailureKind, JobSpec, JobState, JobView, UsageView};
use qrm_protocol::text::OsText;
use qrm_protocol::time::{Millis, Timestamp};
use rusqlite::{Connection, OpenFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// 2026-03-01 12:00 UTC, the present of all tests.
const NOW: i64 = 1_772_366_400_000;
const HOUR: i64 = 3_600_000;

/// A state directory, its writer and its readers.
struct Home {
    dir: TempDir,
    store: Store,
    readers: Readers,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Durability::Relaxed).unwrap();
        let readers = Readers::new(dir.path());
        Self { dir, store, readers }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes that a job was submitted, and its row.
    fn submit(&mut self, id: u64, uid: Uid, at: i64, text: &JobText) -> Result<Seq, StoreError> {
        let demand = Demand::from(&text.spec);
        let event = Event::Submitted { job: JobId(id).into(), user: uid, name: text.spec.display_name(), demand };
        self.store.write(Timestamp(at), &event, std::slice::from_ref(text))
    }

    fn write(&mut self, event: &Event) {
        self.store.write(Timestamp(NOW), event, &[]).unwrap();
    }

    fn end(&mut self, job: JobRef, at: i64) {
        self.write(&ended(job, at));
    }

    fn list(&self, page: &Page) -> (Vec<Row>, bool) {
        self.readers.with(|reader| reader.list(page)).unwrap()
    }

    /// What someone with sqlite3 would see.
    fn number(&self, sql: &str) -> i64 {
        plain(self.path()).query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

fn plain(dir: &Path) -> Connection {
    Connection::open_with_flags(dir.join(DATABASE), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

fn started(job: JobRef, attempt: u32, takes: Option<Takes>) -> Event {
    Event::Started { job, attempt, variant: u8::from(takes.is_some()), expected_ms: 0, takes }
}

fn ended(job: JobRef, at: i64) -> Event {
    Event::Ended {
        job,
        state: JobState::Completed,
        started_at: Some(Timestamp(at - HOUR)),
        ended_at: Timestamp(at),
        exit_code: Some(0),
        signal: None,
        failure: None,
        by: None,
        usage: RunUsage::default(),
    }
}

fn spec(json: &str) -> JobSpec {
    serde_json::from_str(json).unwrap()
}

fn os(bytes: &[u8]) -> OsText {
    OsText::new(bytes).unwrap()
}

fn text(json: &str, environment: &str) -> JobText {
    let environment = Arc::new(Environment::new(&[os(environment.as_bytes())], &[]));
    JobText { spec: spec(json), user: "alice".to_owned(), cwd: os(b"/home/alice"), umask: 0o022, environment }
}

fn plain_text(environment: &str) -> JobText {
    text(r#"{"command":["true"]}"#, environment)
}

mod lists;

mod environments;

mod snapshots;
mod versions;
mod wishes;

/// The files that a store is made of, with what is in them; not those that SQLite has while someone reads.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap());
    paths.map(read).filter(|(name, _)| !name.ends_with("-shm") && !name.ends_with("-wal")).collect()
}

mod damage;
