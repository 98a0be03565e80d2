//! Stores that are damaged or of a later release: told apart, and not one byte of them changed.
//! It refuses to mend them.

use super::*;

/// A store with some jobs and a snapshot, closed, all of it in its one file.
fn closed() -> TempDir {
    let mut home = Home::new();
    for id in 1..=200 {
        home.submit(id, 1000, NOW, &plain_text(&format!("A={id}"))).unwrap();
    }
    home.store.commit().unwrap();
    fold::fold_here(home.path()).unwrap();
    let Home { dir, store, readers } = home;
    drop((store, readers));
    assert!(!dir.path().join(format!("{DATABASE}-wal")).exists(), "the last one folds the log");
    dir
}

/// Opens a store whose database was changed, and sees that nothing else happened to it.
fn refused(how: &str, change: impl FnOnce(&Path)) -> StoreError {
    let dir = closed();
    change(&dir.path().join(DATABASE));
    let before = files(dir.path());
    let error = match Store::open(dir.path(), Durability::Full) {
        Err(error) => error,
        Ok(_) => panic!("{how}: it was opened"),
    };
    assert!(files(dir.path()) == before, "{how}: something was written: {error}");
    error
}

#[test]
fn a_damaged_database_is_refused_and_stays_as_it_is() {
    enum Change {
        Cut(u64),
        Fill(usize, u8),
        Write(&'static [u8]),
        Remove,
    }
    let length = std::fs::metadata(closed().path().join(DATABASE)).unwrap().len();
    for (how, change) in [
        ("cut by a byte", Change::Cut(length - 1)),
        ("cut by a page", Change::Cut(length - 4_096)),
        ("cut in half", Change::Cut(length / 2)),
        ("only its header", Change::Cut(100)),
        ("not even its header", Change::Cut(60)),
        ("nothing, beside a snapshot", Change::Cut(0)),
        ("gone, beside a snapshot", Change::Remove),
        ("zeros", Change::Fill(0, 0)),
        ("zeros after its header", Change::Fill(100, 0)),
        ("garbage after its header", Change::Fill(100, 0xaa)),
        ("a short text", Change::Write(b"hello\n")),
        ("another long file", Change::Write(&[b'x'; 5_000])),
    ] {
        let error = refused(how, |path| match change {
            Change::Cut(to) => std::fs::File::options().write(true).open(path).unwrap().set_len(to).unwrap(),
            Change::Fill(from, byte) => {
                let mut bytes = std::fs::read(path).unwrap();
                bytes[from..].fill(byte);
                std::fs::write(path, bytes).unwrap();
            }
            Change::Write(bytes) => std::fs::write(path, bytes).unwrap(),
            Change::Remove => std::fs::remove_file(path).unwrap(),
        });
        assert!(matches!(error, StoreError::Damaged(..)), "{how}: {error:?}");
        assert!(error.refusal().hint.is_some_and(|hint| hint.contains("nothing was changed")), "{how}");
    }
}

#[test]
fn a_database_of_a_later_release_is_refused_and_stays_as_it_is() {
    for sql in ["PRAGMA user_version = 99", "PRAGMA journal_mode = delete; PRAGMA user_version = 99"] {
        let error = refused(sql, |path| Connection::open(path).unwrap().execute_batch(sql).unwrap());
        assert!(matches!(error, StoreError::Newer(_)), "{sql}: {error:?}");
        assert!(error.refusal().hint.is_some_and(|hint| hint.contains("later")), "{sql}");
    }
}

#[test]
fn the_log_of_a_later_release_is_not_folded_and_that_of_this_one_is_read() {
    // Copied while they are open, as a crash would leave them.
    let (home, newer) = (Home::new(), TempDir::new().unwrap());
    let db = Connection::open(home.path().join(DATABASE)).unwrap();
    db.execute("INSERT INTO event (seq, at, body) VALUES (1, 0, '{\"kind\":\"job.due\",\"job\":\"1\"}')", []).unwrap();
    let crash = |to: &Path| {
        for name in [DATABASE.to_owned(), format!("{DATABASE}-wal")] {
            std::fs::copy(home.path().join(&name), to.join(name)).unwrap();
        }
    };
    let same = TempDir::new().unwrap();
    crash(same.path());
    db.execute_batch("PRAGMA user_version = 99").unwrap();
    crash(newer.path());
    assert_eq!(Store::open(same.path(), Durability::Full).unwrap().last_seq(), 1);
    let log = std::fs::read(newer.path().join(format!("{DATABASE}-wal"))).unwrap();
    let before = files(newer.path());
    assert!(matches!(Store::open(newer.path(), Durability::Full), Err(StoreError::Newer(_))));
    assert!(files(newer.path()) == before, "the database was written");
    assert!(std::fs::read(newer.path().join(format!("{DATABASE}-wal"))).unwrap() == log, "the log was written");
}

#[test]
fn a_store_that_was_removed_takes_no_commit() {
    let mut home = Home::new();
    home.submit(1, 1000, NOW, &plain_text("A=1")).unwrap();
    std::fs::remove_file(home.path().join(DATABASE)).unwrap();
    assert!(matches!(home.store.commit(), Err(StoreError::Removed(_))));
}

#[test]
fn a_store_that_is_opened_and_left_is_not_written() {
    let dir = closed();
    let before = files(dir.path());
    drop(Store::open(dir.path(), Durability::Full).unwrap());
    assert!(files(dir.path()) == before);
}

#[test]
fn a_new_directory_and_one_that_was_just_begun_are_no_damage() {
    for begun in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        if begun {
            std::fs::write(dir.path().join(DATABASE), b"").unwrap();
        }
        let store = Store::open(dir.path(), Durability::Full).unwrap();
        assert_eq!((store.last_seq(), store.load().unwrap()), (0, Core::default()));
    }
}
