//! The housekeeping that runs beside the engine: snapshots in a child process, checkpoints on a connection of their own.
//! It refuses to write anything that the engine writes.

use super::{DATABASE, StoreError, open, snapshot};
use qrm_protocol::ids::Seq;
use rusqlite::OpenFlags;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The argument by which `qrmd` is told to fold and end.
pub const FOLD_FLAG: &str = "--fold";

/// After so many events a new snapshot is folded; a restart replays at most twice as many.
pub const EVENTS_PER_SNAPSHOT: Seq = 25_000;

/// What the child process does: a snapshot of everything that is committed.
///
/// # Errors
/// The disk says no.
pub fn fold_here(state: &Path) -> Result<Seq, StoreError> {
    snapshot::fold(state)
}

/// Has a child process fold a snapshot, and waits for it.
///
/// # Errors
/// It could not be started, or it failed; it logged why.
pub fn fold_in_child(program: &Path, state: &Path) -> std::io::Result<()> {
    let status = Command::new(program)
        .arg(FOLD_FLAG)
        .arg("--state")
        .arg(state)
        .env_remove(crate::notify::SOCKET)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(std::io::Error::other(format!("the folding process ended with {status}")))
    }
}

/// Moves what is in the write-ahead log into the database, without holding anyone up.
///
/// # Errors
/// The disk says no.
pub fn checkpoint(state: &Path) -> Result<(), StoreError> {
    let db = open(&state.join(DATABASE), OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.pragma_update(None, "wal_autocheckpoint", 0)?;
    db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    Ok(())
}

/// The newest event that both snapshots hold.
#[must_use]
pub fn held_by_both(state: &Path) -> Seq {
    snapshot::all(state).get(1).map_or(0, |s| s.seq)
}

/// The newest event that a snapshot holds.
#[must_use]
pub fn held(state: &Path) -> Seq {
    snapshot::newest(state).map_or(0, |s| s.seq)
}

/// What the store takes on disk: the database, its log and the snapshots.
#[must_use]
pub fn bytes(state: &Path) -> u64 {
    let length = |path: PathBuf| std::fs::metadata(path).map_or(0, |m| m.len());
    let database = ["", "-wal", "-shm"].map(|end| length(state.join(format!("{DATABASE}{end}"))));
    let snapshots = snapshot::all(state).into_iter().map(|s| length(s.path));
    database.into_iter().chain(snapshots).sum()
}
