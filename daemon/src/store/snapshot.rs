//! Snapshots: files beside the database, each with the events that it holds and a checksum; two are kept.
//! It refuses to trust one whose checksum is not right.

use super::{StoreError, open};
use qrm_core::{Core, Event};
use qrm_protocol::ids::Seq;
use qrm_protocol::time::Timestamp;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A snapshot's place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Snapshot {
    /// The newest event that it holds.
    pub seq: Seq,
    pub path: PathBuf,
}

/// How many are kept.
const KEPT: usize = 2;

/// The snapshots of a state directory, newest first.
pub(super) fn all(dir: &Path) -> Vec<Snapshot> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<Snapshot> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let seq = path.file_name()?.to_str()?.strip_prefix("snapshot-")?.parse().ok()?;
            Some(Snapshot { seq, path })
        })
        .collect();
    found.sort();
    found.reverse();
    found
}

/// The newest one, unproved.
pub(super) fn newest(dir: &Path) -> Option<Snapshot> {
    all(dir).into_iter().next()
}

/// The state from the newest good snapshot and the events after it, and the number of the last of them.
pub(super) fn replay(db: &Connection, dir: &Path) -> Result<(Core, Seq), StoreError> {
    let snapshots = all(dir);
    let mut core = Core::default();
    let mut seq = 0;
    let mut bad = None;
    for snapshot in snapshots {
        match read(&snapshot.path) {
            Ok(read) => {
                (core, seq) = (read, snapshot.seq);
                break;
            }
            Err(why) => {
                tracing::error!(snapshot = %snapshot.path.display(), why, "a snapshot is not whole; the one before it is used");
                bad = Some(why);
            }
        }
    }
    let mut statement = db.prepare("SELECT seq, at, body FROM event WHERE seq > ? ORDER BY seq")?;
    let mut rows = statement.query([seq])?;
    while let Some(row) = rows.next()? {
        let next: Seq = row.get(0)?;
        let damaged = |what: String| StoreError::Damaged(dir.to_owned(), what);
        if next != seq + 1 {
            let because = bad.as_ref().map_or(String::new(), |why| format!(" (a snapshot is damaged: {why})"));
            return Err(damaged(format!("events {} to {} are missing{because}", seq + 1, next - 1)));
        }
        let body = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
        let event: Event =
            serde_json::from_str(body).map_err(|e| damaged(format!("event {next} is not understood: {e}")))?;
        core.apply(Timestamp(row.get(1)?), &event);
        seq = next;
    }
    if let (0, Some(why)) = (seq, bad) {
        return Err(StoreError::Damaged(
            dir.to_owned(),
            format!("no snapshot is whole ({why}), and there are no events"),
        ));
    }
    Ok((core, seq))
}

/// Folds the events after the newest good snapshot into a new one, and drops what is older than the two newest.
/// Runs in a process of its own, so that the engine never stops for it; one that a daemon of before left behind goes on,
/// and is let do its work.
///
/// # Errors
/// The disk says no; the old ones are untouched.
pub(super) fn fold(dir: &Path) -> Result<Seq, StoreError> {
    let place = File::open(dir)?;
    match flock(&place, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(newest(dir).map_or(0, |snapshot| snapshot.seq)),
        locked => locked.map_err(std::io::Error::from)?,
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let db = open(&dir.join(super::DATABASE), flags)?;
    let (core, seq) = replay(&db, dir)?;
    let path = dir.join(format!("snapshot-{seq}"));
    let temporary = dir.join("snapshot.new");
    write(&core, &temporary)?;
    std::fs::rename(&temporary, &path)?;
    place.sync_all()?;
    for old in all(dir).into_iter().skip(KEPT) {
        std::fs::remove_file(old.path)?;
    }
    Ok(seq)
}

/// The lines of the core, and last the SHA-256 of them in hexadecimal.
fn write(core: &Core, path: &Path) -> Result<(), StoreError> {
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let mut out = Hashing { to: BufWriter::new(file), hash: Sha256::new() };
    core.save(&mut out)?;
    let hash = hex(&out.hash.finalize());
    out.to.write_all(hash.as_bytes())?;
    out.to.write_all(b"\n")?;
    out.to.flush()?;
    out.to.get_ref().sync_all()?;
    Ok(())
}

const TRAILER: u64 = 65;

/// Reads one and proves it.
fn read(path: &Path) -> Result<Core, String> {
    let text = |e: std::io::Error| e.to_string();
    let mut file = File::open(path).map_err(text)?;
    let length = file.metadata().map_err(text)?.len();
    let body = length.checked_sub(TRAILER).ok_or("it is cut off")?;
    let mut hashing = Hashing { to: std::io::sink(), hash: Sha256::new() };
    std::io::copy(&mut Read::by_ref(&mut file).take(body), &mut hashing).map_err(text)?;
    let mut trailer = String::new();
    file.read_to_string(&mut trailer).map_err(text)?;
    if trailer.trim_end() != hex(&hashing.hash.finalize()) {
        return Err("its checksum is not right".to_owned());
    }
    file.rewind().map_err(text)?;
    Core::load(BufReader::new(file.take(body))).map_err(|e| e.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

struct Hashing<W> {
    to: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}
