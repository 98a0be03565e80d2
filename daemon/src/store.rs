//! Everything that outlives the daemon: events, snapshots, and the rows that people query.
//! Only this module knows SQL; it refuses to decide what is written.

mod change;
mod environment;
mod filter;
pub mod fold;
mod options;
mod past;
mod project;
mod read;
mod retain;
mod row;
mod snapshot;
mod write;

pub use environment::{Environment, parts};
pub use options::Options;
pub use read::{Page, PastEvent, Reader, Readers};
pub use row::{LaunchText, PastJob, Row, Taken};
pub use write::{JobText, Store};

use qrm_protocol::error::{Code, Error};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The database's name in the state directory.
pub const DATABASE: &str = "qrm.sqlite";

static MIGRATIONS: LazyLock<Migrations<'static>> = LazyLock::new(|| {
    let steps =
        [include_str!("store/schema.sql"), include_str!("store/schema-2.sql"), include_str!("store/schema-3.sql")];
    Migrations::new(steps.map(M::up).into())
});

/// Why the store can not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite says no: a full or failing disk, most of the time.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The system says no.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// What is there is not what was written.
    #[error("the store in {dir} is damaged: {what}", dir = .0.display(), what = .1)]
    Damaged(PathBuf, String),
    /// It was written by a later release.
    #[error("the store in {} was written by a later release of qrm", .0.display())]
    Newer(PathBuf),
    /// Someone removed it while it was open.
    #[error("the state directory {} was removed while qrmd was running", .0.display())]
    Removed(PathBuf),
}

impl StoreError {
    /// The error for a caller whose wish could not be kept.
    #[must_use]
    pub fn refusal(&self) -> Error {
        Error::new(Code::Unavailable, format!("the store can not be written: {self}")).hint(match self {
            Self::Removed(_) => "qrm daemon start begins with a new one; jobs that run go on",
            Self::Newer(_) => "install the release that wrote it, or a later one",
            Self::Damaged(..) => DAMAGED,
            Self::Sqlite(error) if is_damage(error) => DAMAGED,
            _ => "nothing was changed; free space on its disk, qrm doctor says where it is",
        })
    }
}

const DAMAGED: &str = "nothing was changed in it; restore a copy, or move the directory away to begin anew";

/// Whether SQLite says that what is there is not a database, or not a whole one.
fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

/// Settings that every connection has.
fn open(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.set_prepared_statement_cache_capacity(64);
    // A statement that was prepared stays so: else it is planned anew each time that a parameter of its LIMIT is bound.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Nobody else writes, and a checkpoint never holds a reader up for long.
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    db.pragma_update(None, "cache_size", -1024)?;
    db.pragma_update(None, "temp_store", "memory")?;
    Ok(db)
}

/// Whether this release could open the store of a state directory; one that is not there yet it can.
///
/// # Errors
/// It is damaged or of a later release. Nothing is written.
pub fn is_readable(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(DATABASE);
    write::check_length(dir, &path)?;
    if !path.exists() {
        return Ok(());
    }
    let db = open(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    match MIGRATIONS.current_version(&db) {
        Ok(rusqlite_migration::SchemaVersion::Outside(_)) => Err(StoreError::Newer(dir.to_owned())),
        Ok(_) => Ok(()),
        Err(error) => Err(StoreError::Damaged(dir.to_owned(), error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::StatementStatus;

    #[test]
    fn a_statement_is_planned_once_whatever_is_bound_to_it() {
        let home = tempfile::tempdir().unwrap();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let db = open(&home.path().join(DATABASE), flags).unwrap();
        db.execute_batch("CREATE TABLE job (id INTEGER PRIMARY KEY)").unwrap();
        let mut statement = db.prepare("SELECT id FROM job WHERE id > ? ORDER BY id LIMIT ?").unwrap();
        for n in 0..3 {
            assert!(!statement.exists([n, n]).unwrap());
        }
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }
}
