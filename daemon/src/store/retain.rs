//! Forgetting what is old, a bounded piece at a time.
//! It refuses to touch what is alive.

use super::{Store, StoreError};
use qrm_protocol::ids::{JobId, Seq};
use qrm_protocol::time::Timestamp;
use rusqlite::params;

/// The most jobs that are forgotten in one transaction: about as long as a submit takes, which may wait for it.
const JOBS_AT_ONCE: u32 = 50;
/// The most events that are forgotten in one transaction.
const EVENTS_AT_ONCE: u32 = 5_000;
/// The newest events are kept also if snapshots make them superfluous, so that a reader may come back.
pub(super) const EVENTS_KEPT: Seq = 100_000;

impl Store {
    /// Forgets some jobs that ended before an instant; their ids, none if there are no more.
    ///
    /// # Errors
    /// The disk says no; everything since the last commit is gone.
    pub fn forget_jobs(&mut self, before: Timestamp) -> Result<Vec<JobId>, StoreError> {
        self.begin()?;
        self.forget_environment()?;
        let ids: Vec<u64> = self
            .db()
            .prepare_cached("SELECT id FROM job WHERE ended_at < ? ORDER BY ended_at LIMIT ?")?
            .query_map(params![before.0, JOBS_AT_ONCE], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for id in &ids {
            self.delete_jobs("id = ?", params![*id])?;
        }
        self.delete_environments()?;
        self.db().execute_batch("PRAGMA incremental_vacuum(1000)")?;
        self.commit()?;
        Ok(ids.into_iter().map(JobId).collect())
    }

    /// Forgets some events that both snapshots hold; whether there are more.
    ///
    /// # Errors
    /// The disk says no; everything since the last commit is gone.
    pub fn forget_events(&mut self, held: Seq) -> Result<bool, StoreError> {
        let last = held.min(self.last_seq().saturating_sub(EVENTS_KEPT));
        self.begin()?;
        let gone = self
            .db()
            .prepare_cached(
                "DELETE FROM event WHERE seq IN (SELECT seq FROM event WHERE seq <= ? ORDER BY seq LIMIT ?)",
            )?
            .execute(params![last, EVENTS_AT_ONCE])?;
        self.db().execute_batch("PRAGMA incremental_vacuum(1000)")?;
        self.commit()?;
        Ok(gone == EVENTS_AT_ONCE as usize)
    }

    /// Takes the rows of jobs away, with those of their tasks; environments that nobody needs then are still there.
    pub(super) fn delete_jobs(&self, which: &str, values: &[&dyn rusqlite::ToSql]) -> Result<(), StoreError> {
        let db = self.db();
        db.prepare_cached(&format!("DELETE FROM task WHERE job IN (SELECT id FROM job WHERE {which})"))?
            .execute(values)?;
        db.prepare_cached(&count_down(which))?.execute(values)?;
        db.prepare_cached(&format!("DELETE FROM job WHERE {which}"))?.execute(values)?;
        Ok(())
    }

    /// Takes environments away whose last job has gone.
    pub(super) fn delete_environments(&self) -> Result<(), StoreError> {
        let db = self.db();
        db.prepare_cached(UNUSED_BODIES)?.execute([])?;
        db.prepare_cached(UNUSED)?.execute([])?;
        Ok(())
    }
}

/// These find what they delete in an index that holds nothing else.
const UNUSED_BODIES: &str = "DELETE FROM environment_body WHERE id IN (SELECT id FROM environment WHERE jobs <= 0)";
const UNUSED: &str = "DELETE FROM environment WHERE jobs <= 0";

/// Takes jobs off the counts of their environments: they are counted once, however many environments they have.
fn count_down(which: &str) -> String {
    format!(
        "UPDATE environment SET jobs = jobs - gone.n
         FROM (SELECT environment AS id, count(*) AS n FROM job WHERE {which} GROUP BY environment) AS gone
         WHERE environment.id = gone.id"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Durability;

    #[test]
    fn what_is_forgotten_is_looked_for_once_and_without_reading_a_table() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path(), Durability::Relaxed).unwrap();
        let bulk = count_down("id >= 1 AND id < 100");
        for sql in [&bulk, &count_down("id = 1"), UNUSED_BODIES, UNUSED] {
            let mut plan = store.db().prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let steps: Vec<String> = plan.query_map([], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
            assert!(!steps.iter().any(|step| step.contains("CORRELATED")), "{sql}: {steps:#?}");
            let scans = steps.iter().filter(|step| step.starts_with("SCAN"));
            let whole: Vec<_> = scans.filter(|step| !step.contains("gone") && !step.contains("INDEX")).collect();
            assert!(whole.is_empty(), "{sql}: {steps:#?}");
        }
    }
}
