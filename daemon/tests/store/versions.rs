//! The stores of every released version, kept in `tests/golden`: this release takes each of them over.
//! It refuses to change one: each is made anew from its text for each test.

use super::*;
use qrm_daemon::store::PastJob;

fn golden() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "sql")).collect();
    all.sort();
    assert!(!all.is_empty());
    all
}

#[test]
fn the_store_of_every_release_is_taken_over_with_all_that_it_knows() {
    for path in golden() {
        let home = tempfile::tempdir().unwrap();
        let db = Connection::open(home.path().join(DATABASE)).unwrap();
        db.execute_batch(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let count = |db: &Connection, what: &str| -> u64 {
            db.query_row(&format!("SELECT count(*) FROM {what}"), [], |row| row.get(0)).unwrap()
        };
        let tables = ["event", "job", "task", "environment", "environment_body"];
        let before = tables.map(|table| count(&db, table));
        drop(db);
        let mut store = Store::open(home.path(), Durability::Relaxed).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let mut core = store.load().unwrap();
        let now = Now { wall: Timestamp(NOW), boot_ms: 1 };
        core.step(now, Input::Tick).unwrap();
        core.check(now).unwrap();
        let db = Connection::open(home.path().join(DATABASE)).unwrap();
        assert_eq!(tables.map(|table| count(&db, table)), before, "{path:?}");
        let live: Vec<u64> = (1..7).filter(|id| core.owner(JobId(*id)).is_some()).collect();
        assert_eq!(live, [4, 6], "{path:?}");
        let readers = Readers::new(home.path());
        // Everything of a job is read back, and it can be written on.
        let row = |id: JobRef| readers.with(|reader| reader.row(id)).unwrap().unwrap();
        let failed = row(JobRef::task(JobId(3), 2));
        assert_eq!((failed.state, failed.exit_code, failed.progress), (JobState::Failed, Some(2), None));
        let held = row(JobId(4).into());
        assert_eq!(
            (held.labels, held.options, held.time_limit.unwrap().0),
            (BTreeMap::new(), Options::default(), 7_200_000)
        );
        let past: PastJob = readers.with(|reader| reader.past_jobs(&[JobId(4)], 1)).unwrap().remove(0).unwrap();
        assert_eq!(
            (past.spec.command.len(), past.spec.priority.unwrap().get(), past.environment.body().ends_with(b"A=1\0")),
            (2, 80, true)
        );
        assert_eq!(store.job_of_key(0, "nightly").unwrap(), Some(JobId(2)));
        let job = JobRef::whole(JobId(4));
        let change = serde_json::from_str(r#"{"labels": {"team": "a"}, "comment": "new"}"#).unwrap();
        store.write(Timestamp(NOW), &Event::Updated { job, by: 0, change, gates: None }, &[]).unwrap();
        store.commit().unwrap();
        let row = row(job);
        assert_eq!((row.labels["team"].as_str(), row.comment.as_deref()), ("a", Some("new")), "{path:?}");
    }
}
