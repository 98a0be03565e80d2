//! Snapshots and events: what is folded and replayed is what was, and what is needed is kept.
//! It refuses to trust a file that is not whole.

use super::*;

/// Events of a rich life, as a release stored them.
fn golden() -> Vec<Event> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/events-0.1.0.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Writes events, and applies them to a core.
fn tell<'a>(home: &mut Home, core: &mut Core, events: impl IntoIterator<Item = &'a Event>) {
    for event in events {
        home.write(event);
        core.apply(Timestamp(NOW), event);
    }
    home.store.commit().unwrap();
}

const OLDER: Seq = 40;
const NEWER: Seq = 70;

/// Three parts of a life, with a snapshot after the first and after the second.
fn folded() -> (Home, Core) {
    let (mut home, mut core, events) = (Home::new(), Core::default(), golden());
    tell(&mut home, &mut core, &events[..40]);
    assert_eq!(fold::fold_here(home.path()).unwrap(), OLDER);
    tell(&mut home, &mut core, &events[40..70]);
    assert_eq!(fold::fold_here(home.path()).unwrap(), NEWER);
    tell(&mut home, &mut core, &events[70..]);
    (home, core)
}

fn snapshot(home: &Home, seq: Seq) -> PathBuf {
    home.path().join(format!("snapshot-{seq}"))
}

fn sql(home: &Home, statement: &str) {
    Connection::open(home.path().join(DATABASE)).unwrap().execute(statement, []).unwrap();
}

/// Ways in which a snapshot goes bad.
fn damages(whole: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let flipped = |at: usize| {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let digit = whole.windows(12).position(|part| part == b"\"completed\":").unwrap() + 12;
    vec![
        ("one bit", flipped(whole.len() / 2)),
        ("another number", flipped(digit)),
        ("a bit of the checksum", flipped(whole.len() - 2)),
        ("cut in the middle", whole[..whole.len() / 2].to_vec()),
        ("without its checksum", whole[..whole.len() - 65].to_vec()),
        ("twice", [whole, whole].concat()),
        ("zeros", vec![0; whole.len()]),
        ("empty", Vec::new()),
    ]
}

#[test]
fn two_do_not_fold_at_once() {
    let (home, _) = folded();
    let before = std::fs::read(snapshot(&home, NEWER)).unwrap();
    let other = std::fs::File::open(home.path()).unwrap();
    rustix::fs::flock(&other, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_eq!(fold::fold_here(home.path()).unwrap(), NEWER, "what there is");
    assert!(!home.path().join("snapshot.new").exists());
    drop(other);
    assert!(fold::fold_here(home.path()).unwrap() > NEWER);
    assert_eq!(std::fs::read(snapshot(&home, NEWER)).unwrap(), before);
}

#[test]
fn a_snapshot_and_the_events_after_it_are_the_state_as_it_was() {
    let (home, core) = folded();
    assert_eq!(home.store.load().unwrap(), core);
    // What the older snapshot holds is not needed as events.
    sql(&home, "DELETE FROM event WHERE seq <= 40");
    assert_eq!(home.store.load().unwrap(), core);
    let last = home.store.last_seq();
    let Home { dir, store, readers } = home;
    drop((store, readers));
    let again = Store::open(dir.path(), Durability::Full).unwrap();
    assert_eq!((again.last_seq(), again.load().unwrap()), (last, core));
}

#[test]
fn two_snapshots_are_kept_and_numbers_go_on_also_when_they_hold_all_events() {
    let (mut home, core) = folded();
    let newest = fold::fold_here(home.path()).unwrap();
    assert_eq!((fold::held_by_both(home.path()), fold::held(home.path())), (NEWER, newest));
    assert!(!snapshot(&home, OLDER).exists());
    sql(&home, "DELETE FROM event");
    assert_eq!(home.store.load().unwrap(), core);
    home.store = Store::open(home.path(), Durability::Full).unwrap();
    assert_eq!((home.store.last_seq(), home.store.load().unwrap()), (newest, core));
}

#[test]
fn when_the_newest_snapshot_is_damaged_the_older_one_and_the_events_after_it_are_used() {
    let (home, core) = folded();
    sql(&home, "DELETE FROM event WHERE seq <= 40");
    let whole = std::fs::read(snapshot(&home, NEWER)).unwrap();
    for (how, bytes) in damages(&whole) {
        std::fs::write(snapshot(&home, NEWER), bytes).unwrap();
        assert_eq!(home.store.load().unwrap(), core, "{how}");
    }
    // The next fold begins from there, too.
    assert_eq!(fold::fold_here(home.path()).unwrap(), home.store.last_seq());
    sql(&home, "DELETE FROM event");
    assert_eq!(home.store.load().unwrap(), core);
}

#[test]
fn when_both_snapshots_are_damaged_all_events_will_do_and_else_nothing_is_touched() {
    let (home, core) = folded();
    for seq in [OLDER, NEWER] {
        let whole = std::fs::read(snapshot(&home, seq)).unwrap();
        std::fs::write(snapshot(&home, seq), &damages(&whole)[0].1).unwrap();
    }
    assert_eq!(home.store.load().unwrap(), core, "from the first event on");
    for gone in ["seq = 1", "seq <= 40", "seq > 0"] {
        sql(&home, &format!("DELETE FROM event WHERE {gone}"));
        let before = files(home.path());
        for error in [home.store.load().unwrap_err(), fold::fold_here(home.path()).unwrap_err()] {
            assert!(matches!(error, StoreError::Damaged(..)), "{gone}: {error}");
            assert!(error.to_string().contains("snapshot"), "{gone}: {error}");
        }
        assert!(files(home.path()) == before, "{gone}: something was written");
    }
}

#[test]
fn an_event_that_is_missing_or_not_understood_is_damage() {
    for change in
        ["DELETE FROM event WHERE seq = 75", "UPDATE event SET body = '{\"kind\":\"job.exploded\"}' WHERE seq = 75"]
    {
        let (home, _) = folded();
        sql(&home, change);
        let error = home.store.load().unwrap_err();
        assert!(matches!(error, StoreError::Damaged(..)) && error.to_string().contains("75"), "{change}: {error}");
    }
}

#[test]
fn the_newest_events_are_kept_and_none_goes_that_the_older_snapshot_lacks() {
    const KEPT: Seq = 100_000;
    let (mut home, mut core) = (Home::new(), Core::default());
    tell(&mut home, &mut core, &golden());
    let signal = Event::Signalled { job: JobRef::whole(JobId(16)), signal: 10, by: 1000 };
    tell(&mut home, &mut core, std::iter::repeat_n(&signal, 6_000));
    let older = fold::fold_here(home.path()).unwrap();
    tell(&mut home, &mut core, std::iter::repeat_n(&signal, 99_000));
    let newer = fold::fold_here(home.path()).unwrap();
    let oldest = |home: &Home| home.readers.with(|reader| reader.oldest_event()).unwrap().unwrap();
    // Nothing is held; little is held; much is held, and the newest are kept all the same.
    for (held, left) in [(0, 1), (3, 4), (4_000, 4_001), (newer, newer - KEPT + 1)] {
        let mut pieces = 1;
        while home.store.forget_events(held).unwrap() {
            pieces += 1;
        }
        assert_eq!(oldest(&home), left, "{held}, in {pieces} pieces");
    }
    // Whichever of the two snapshots is good, what is left is enough.
    assert_eq!(fold::held_by_both(home.path()), older);
    for seq in [older, newer] {
        let whole = std::fs::read(snapshot(&home, seq)).unwrap();
        std::fs::write(snapshot(&home, seq), b"").unwrap();
        assert_eq!(home.store.load().unwrap(), core, "without {seq}");
        std::fs::write(snapshot(&home, seq), whole).unwrap();
    }
}

#[test]
fn events_are_read_until_a_page_is_full_and_at_least_one_of_them() {
    let mut home = Home::new();
    for (id, length) in (1..).zip([100, 250, 1, 1, 200]) {
        let text = text(&format!(r#"{{"command":["true"],"name":"{}"}}"#, "a".repeat(length)), "A=1");
        home.submit(id, 1000, NOW, &text).unwrap();
    }
    home.store.commit().unwrap();
    let page = |after, limit, bytes| {
        let events = home.readers.with(|reader| reader.events(after, limit, bytes)).unwrap();
        events.iter().map(|event| (event.seq, event.body.len())).collect::<Vec<_>>()
    };
    let all = page(0, 9, usize::MAX);
    assert_eq!(all.len(), 5);
    for (after, limit, bytes) in (0..6).flat_map(|after| (1..6).map(move |limit| (after, limit, limit as usize * 150)))
    {
        let mut room = bytes;
        let naive = all.iter().filter(|(seq, _)| *seq > after).take(limit as usize).take_while(|(_, length)| {
            let has_room = room > 0;
            room = room.saturating_sub(*length);
            has_room
        });
        assert_eq!(page(after, limit, bytes), naive.copied().collect::<Vec<_>>(), "{after} {limit} {bytes}");
    }
}

#[test]
fn each_step_of_a_job_is_in_its_row_and_its_end_is_remembered() {
    let mut home = Home::new();
    home.submit(1, 1000, NOW, &text(r#"{"command":["true"],"validate":"v","compile":"c"}"#, "A=1")).unwrap();
    let job = JobRef::whole(JobId(1));
    let past = |home: &Home, job: JobRef| {
        let mut found = PastEnd::new();
        home.store.past(job.into(), &mut found).unwrap();
        found.remove(&job)
    };
    for (event, state) in [
        (Event::StageStarted { job, stage: Stage::Validate }, JobState::Validating),
        (Event::StagePassed { job, stage: Stage::Validate }, JobState::Pending),
        (Event::StageStarted { job, stage: Stage::Compile }, JobState::Compiling),
        (Event::StagePassed { job, stage: Stage::Compile }, JobState::Queued),
        (started(job, 1, None), JobState::Allocating),
        (ended(job, NOW), JobState::Completed),
    ] {
        assert_eq!(past(&home, job), None);
        home.write(&event);
        home.store.commit().unwrap();
        let row = home.readers.with(|reader| reader.row(job)).unwrap().unwrap();
        assert_eq!(row.state, state, "{event:?}");
    }
    assert_eq!(past(&home, job), Some((JobState::Completed, true)));
    assert_eq!(past(&home, JobRef::whole(JobId(2))), None);
}
