//! The one writer: events and the rows that follow from them, in one transaction, durable when it says so.
//! It refuses to read anything that it was not asked for by its key.

use super::row::{Json, LaunchText};
use super::{DATABASE, Environment, MIGRATIONS, Options, StoreError, is_damage, open, snapshot};
use crate::config::Durability;
use qrm_core::{Core, Event, PastEnd};
use qrm_protocol::ids::{JobId, JobRef, Seq, Uid};
use qrm_protocol::job::{DependsOn, JobSpec};
use qrm_protocol::text::OsText;
use qrm_protocol::time::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use rusqlite_migration::SchemaVersion;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// When the write-ahead log is longer than this, it is folded into the database by another connection.
const WAL_FOLD: u64 = 8 << 20;
/// When it is longer than this all the same, the writer does it itself.
const WAL_LIMIT: u64 = 64 << 20;

/// What only people and processes need of a job; it goes past the core into its row.
#[derive(Clone, Debug)]
pub struct JobText {
    /// As it was asked for.
    pub spec: JobSpec,
    /// The submitter's login name.
    pub user: String,
    /// Where it was submitted.
    pub cwd: OsText,
    /// Of the submitter.
    pub umask: u32,
    /// Of the submitter.
    pub environment: Arc<Environment>,
}

/// The writer.
pub struct Store {
    pub(super) db: Connection,
    dir: PathBuf,
    path: PathBuf,
    file: std::fs::File,
    next_seq: Seq,
    open: bool,
    /// The environment that came last, its row, and how many jobs took it since it was last counted.
    pub(super) last_environment: Option<(Arc<Environment>, i64, i64)>,
}

impl Store {
    /// Opens or makes the store of a state directory and brings it to this release's layout.
    ///
    /// # Errors
    /// It is damaged, of a later release, or can not be read or written. It is never overwritten.
    pub fn open(dir: &Path, durability: Durability) -> Result<Self, StoreError> {
        let path = dir.join(DATABASE);
        check_length(dir, &path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let damaged = |e: rusqlite::Error| match e {
            e if is_damage(&e) => StoreError::Damaged(dir.to_owned(), e.to_string()),
            e => StoreError::Sqlite(e),
        };
        let migrating = |e: rusqlite_migration::Error| match e {
            rusqlite_migration::Error::RusqliteError { err, .. } => damaged(err),
            other => StoreError::Damaged(dir.to_owned(), other.to_string()),
        };
        let mut db = open(&path, flags).map_err(damaged)?;
        // Until it is known to be ours and whole, nothing is written, and closing it does not fold its log.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        match MIGRATIONS.current_version(&db).map_err(migrating)? {
            SchemaVersion::Outside(_) => return Err(StoreError::Newer(dir.to_owned())),
            SchemaVersion::Inside(_) => {}
            // Possible only before there is a table; and it writes each time it is said.
            SchemaVersion::NoneSet => db.pragma_update(None, "auto_vacuum", "incremental").map_err(damaged)?,
        }
        db.pragma_update(None, "journal_mode", "wal").map_err(damaged)?;
        db.pragma_update(None, "wal_autocheckpoint", 0).map_err(damaged)?;
        // A log that had to grow is cut when it begins anew.
        db.pragma_update(None, "journal_size_limit", 1 << 20).map_err(damaged)?;
        db.pragma_update(None, "synchronous", synchronous(durability)).map_err(damaged)?;
        MIGRATIONS.to_latest(&mut db).map_err(migrating)?;
        let last: Option<Seq> = db.query_row("SELECT max(seq) FROM event", [], |row| row.get(0)).map_err(damaged)?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        let snapshot = snapshot::newest(dir).map_or(0, |s| s.seq);
        let file = std::fs::File::open(&path)?;
        let next_seq = last.unwrap_or(0).max(snapshot) + 1;
        let (dir, path) = (dir.to_owned(), path);
        Ok(Self { db, dir, path, file, next_seq, open: false, last_environment: None })
    }

    /// The state as it was committed last.
    ///
    /// # Errors
    /// It can not be read back.
    pub fn load(&self) -> Result<Core, StoreError> {
        snapshot::replay(&self.db, &self.dir).map(|(core, _)| core)
    }

    /// The number of the newest event.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        self.next_seq - 1
    }

    /// How sure its commits are from now on; nothing may be open.
    ///
    /// # Errors
    /// SQLite says no.
    pub fn set_durability(&mut self, durability: Durability) -> Result<(), StoreError> {
        Ok(self.db.pragma_update(None, "synchronous", synchronous(durability))?)
    }

    pub(super) fn db(&self) -> &Connection {
        &self.db
    }

    /// Begins a transaction unless one is open.
    pub(super) fn begin(&mut self) -> Result<(), StoreError> {
        if !self.open {
            self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            self.open = true;
        }
        Ok(())
    }

    /// Those of the newest events that are of one job, newest first; slices of bulks are left out by their size.
    ///
    /// # Errors
    /// They can not be read.
    pub fn newest_events(&self, count: u32) -> Result<Vec<Event>, StoreError> {
        let mut statement = self.db.prepare(
            "SELECT body FROM event WHERE seq > (SELECT max(seq) FROM event) - ? AND length(body) < 16384 ORDER BY seq DESC",
        )?;
        let events = statement.query_map([count], |row| row.get::<_, Json<Event>>(0))?;
        Ok(events.collect::<Result<Vec<_>, _>>()?.into_iter().map(|event| event.0).collect())
    }

    /// Makes everything since the last commit durable.
    ///
    /// # Errors
    /// The disk says no; everything since the last commit is gone.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        if !self.open {
            return Ok(());
        }
        let done = self.try_commit();
        if done.is_err() {
            self.roll_back();
        }
        done
    }

    fn try_commit(&mut self) -> Result<(), StoreError> {
        self.count_environment()?;
        slow_disk();
        // SQLite would go on writing into a file that has no name any more.
        if self.file.metadata()?.nlink() == 0 {
            return Err(StoreError::Removed(self.dir.clone()));
        }
        self.db.prepare_cached("COMMIT")?.execute([])?;
        self.open = false;
        Ok(())
    }

    /// Forgets everything since the last commit.
    pub fn roll_back(&mut self) {
        self.last_environment = None;
        self.open = false;
        // SQLite may have rolled back by itself; then this is refused.
        if !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction can not be rolled back");
        }
        match self.db.query_row("SELECT max(seq) FROM event", [], |row| row.get::<_, Option<Seq>>(0)) {
            Ok(last) => self.next_seq = last.unwrap_or(0).max(snapshot::newest(&self.dir).map_or(0, |s| s.seq)) + 1,
            Err(error) => tracing::error!(%error, "the store can not be read"),
        }
    }

    /// Tries whether a commit works.
    ///
    /// # Errors
    /// It does not.
    pub fn probe(&mut self) -> Result<(), StoreError> {
        self.begin()?;
        // A page that is really written; the row is gone again in the same transaction.
        let wrote = self.db.execute_batch(
            "INSERT INTO environment_body (id, body) VALUES (-1, zeroblob(65536)); DELETE FROM environment_body WHERE id = -1;",
        );
        match wrote {
            Ok(()) => self.commit(),
            Err(error) => {
                self.roll_back();
                Err(error.into())
            }
        }
    }

    /// Folds the write-ahead log if it is beyond its limit, while all wait; whether it is so long that it should be folded
    /// beside the engine.
    pub fn bound_wal(&self) -> bool {
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        let length = std::fs::metadata(wal).map_or(0, |m| m.len());
        if length > WAL_LIMIT
            && let Err(error) = self.db.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))
        {
            tracing::warn!(%error, "the write-ahead log can not be folded");
        }
        length > WAL_FOLD
    }

    /// Writes an event and what follows from it. `texts` are those of the jobs that it brings, in order.
    ///
    /// # Errors
    /// The disk says no; the caller rolls back.
    pub fn write(&mut self, at: Timestamp, event: &Event, texts: &[JobText]) -> Result<Seq, StoreError> {
        self.begin()?;
        let seq = self.next_seq;
        let body = serde_json::to_string(event).map_err(std::io::Error::from)?;
        self.db
            .prepare_cached("INSERT INTO event (seq, at, body) VALUES (?, ?, ?)")?
            .execute(params![seq, at.0, body])?;
        self.next_seq += 1;
        self.project(at, event, texts)?;
        Ok(seq)
    }

    /// Takes the rows of jobs away that never came to be.
    ///
    /// # Errors
    /// The disk says no; the caller rolls back.
    pub fn discard_jobs(&mut self, first: JobId, count: u64) -> Result<(), StoreError> {
        self.begin()?;
        self.forget_environment()?;
        let last = first.0.saturating_add(count);
        self.delete_jobs("id >= ? AND id < ?", params![first.0, last])?;
        self.delete_environments()
    }

    /// The job of a key, if it was used.
    ///
    /// # Errors
    /// The store can not be read.
    pub fn job_of_key(&self, uid: Uid, key: &str) -> Result<Option<JobId>, StoreError> {
        let id = self
            .db
            .prepare_cached("SELECT id FROM job WHERE uid = ? AND key = ?")?
            .query_row(params![uid, key], |row| row.get(0))
            .optional()?;
        Ok(id.map(JobId))
    }

    /// As [`Reader::past`](super::Reader::past), with what is not committed yet.
    ///
    /// # Errors
    /// The store can not be read.
    pub fn past(&self, on: DependsOn, found: &mut PastEnd) -> Result<(), StoreError> {
        super::past::past_of(&self.db, on, found)
    }

    /// What a launch needs of a job.
    ///
    /// # Errors
    /// The store can not be read, or the job is not there.
    pub fn launch_text(&self, job: JobRef) -> Result<LaunchText, StoreError> {
        let text = self
            .db
            .prepare_cached(
                "SELECT command, cwd, validate_command, compile_command, umask, fifo, body, script, options, name, user, submitted_at, cpus, mem_bytes, uid,
                     CASE WHEN ?2 IS NULL THEN takes ELSE (SELECT takes FROM task WHERE task.job = job.id AND task = ?2) END
                 FROM job JOIN environment_body ON environment_body.id = job.environment WHERE job.id = ?1",
            )?
            .query_row(params![job.job.0, job.task], |row| {
                Ok(LaunchText {
                    command: row.get::<_, Json<_>>(0)?.0,
                    cwd: row.get::<_, Json<_>>(1)?.0,
                    validate: row.get(2)?,
                    compile: row.get(3)?,
                    umask: row.get(4)?,
                    fifo: row.get(5)?,
                    environment: row.get(6)?,
                    script: row.get(7)?,
                    options: row.get::<_, Option<Json<_>>>(8)?.map_or_else(Options::default, |options| options.0),
                    name: row.get(9)?,
                    user: row.get(10)?,
                    submitted_at: Timestamp(row.get(11)?),
                    cpus: row.get(12)?,
                    mem_bytes: row.get(13)?,
                    uid: row.get(14)?,
                    takes: row.get::<_, Option<Json<_>>>(15)?.map(|takes| takes.0),
                })
            })?;
        Ok(text)
    }
}

fn synchronous(durability: Durability) -> &'static str {
    match durability {
        Durability::Full => "full",
        Durability::Relaxed => "normal",
    }
}

/// A database that is shorter than it says was cut off; SQLite would only notice when it comes to the missing pages.
/// One that is empty or not there is new, unless there is a snapshot of what was in it.
pub(super) fn check_length(dir: &Path, path: &Path) -> Result<(), StoreError> {
    use std::io::Read;
    let damaged = |what: String| Err(StoreError::Damaged(dir.to_owned(), what));
    let mut header = [0u8; 100];
    let mut file = match std::fs::File::open(path) {
        Ok(file) if file.metadata()?.len() > 0 => file,
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
        nothing => {
            let is = if nothing.is_ok() { "empty" } else { "gone" };
            let snapshot = snapshot::newest(dir).filter(|s| s.seq > 0);
            return snapshot
                .map_or(Ok(()), |s| damaged(format!("{DATABASE} is {is}, and {} is not", s.path.display())));
        }
    };
    let length = file.metadata()?.len();
    if file.read_exact(&mut header).is_err() || &header[..16] != b"SQLite format 3\0" {
        return damaged(format!("{DATABASE} is not a database"));
    }
    // The file format of SQLite, section 1.3: page size at 16, 1 means 65536; pages at 28, valid if 24 equals 92.
    let page = u64::from(u16::from_be_bytes([header[16], header[17]]));
    let page = if page == 1 { 65_536 } else { page };
    let pages = u64::from(u32::from_be_bytes([header[28], header[29], header[30], header[31]]));
    let has_wal = std::fs::metadata(dir.join(format!("{DATABASE}-wal"))).is_ok_and(|m| m.len() > 0);
    if !has_wal && header[24..28] == header[92..96] && page * pages > length {
        return damaged(format!("{DATABASE} has {length} bytes of {}", page * pages));
    }
    Ok(())
}

/// A disk whose commit takes as many milliseconds as `QRM_TEST_COMMIT_DELAY_MS` says.
#[cfg(feature = "testing")]
fn slow_disk() {
    static DELAY: std::sync::LazyLock<u64> = std::sync::LazyLock::new(|| {
        std::env::var("QRM_TEST_COMMIT_DELAY_MS").ok().and_then(|ms| ms.parse().ok()).unwrap_or(0)
    });
    if *DELAY > 0 {
        std::thread::sleep(std::time::Duration::from_millis(*DELAY));
    }
}

#[cfg(not(feature = "testing"))]
fn slow_disk() {}
