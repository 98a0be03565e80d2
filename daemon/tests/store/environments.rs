//! Environments and keys: stored once, gone with the last job, unique for each user.
//! It refuses to look at what is in them.

use super::*;

/// How many environments there are, in both tables alike, and how many jobs they count.
fn counted(home: &Home) -> (i64, i64) {
    let (count, bodies) = ("SELECT count(*) FROM environment", "SELECT count(*) FROM environment_body");
    assert_eq!(home.number(count), home.number(bodies), "an environment without its body, or the other way around");
    let naive =
        "SELECT count(*) FROM environment WHERE jobs != (SELECT count(*) FROM job WHERE environment = environment.id)";
    assert_eq!(home.number(naive), 0, "the counts are not what the jobs say");
    let jobs = home.number("SELECT coalesce(sum(jobs), 0) FROM environment");
    assert_eq!(jobs, home.number("SELECT count(*) FROM job"), "a job without an environment");
    (home.number(count), jobs)
}

#[test]
fn an_environment_is_kept_once_however_many_jobs_have_it() {
    let mut home = Home::new();
    for (id, environment) in (1..).zip(["A=1", "A=1", "A=2", "A=1", "A=2"]) {
        home.submit(id, 1000, NOW, &plain_text(environment)).unwrap();
        if id % 2 == 0 {
            home.store.commit().unwrap();
        }
    }
    home.store.commit().unwrap();
    assert_eq!(counted(&home), (2, 5));
    for (id, body) in [(1, "A=1\0"), (4, "A=1\0"), (3, "A=2\0"), (5, "A=2\0")] {
        assert_eq!(home.store.launch_text(JobId(id).into()).unwrap().environment, body.as_bytes(), "job {id}");
    }
}

#[test]
fn jobs_are_read_for_another_time_until_a_slice_is_full_and_each_environment_once() {
    let mut home = Home::new();
    let (small, large) = ("A=1".to_owned(), format!("B={}", "b".repeat(10_000)));
    for (id, environment) in (1..).zip([&small, &large, &small, &large]) {
        home.submit(id, 1000, NOW, &plain_text(environment)).unwrap();
    }
    home.store.commit().unwrap();
    let past = |ids: &[u64], bytes| {
        let ids: Vec<JobId> = ids.iter().map(|id| JobId(*id)).collect();
        home.readers.with(|reader| reader.past_jobs(&ids, bytes)).unwrap()
    };
    let all: Vec<_> = past(&[1, 2, 3, 4], 15_000).into_iter().flatten().collect();
    assert_eq!(all.len(), 4, "one large environment is in it, and not two");
    assert!(Arc::ptr_eq(&all[0].environment, &all[2].environment));
    assert_eq!(all[3].environment.body(), [large.as_bytes(), b"\0"].concat());
    for (ids, bytes, read) in [(&[2, 4, 1][..], 1, 1), (&[1, 2, 3], 5_000, 2), (&[9, 1], 1, 2), (&[], 1, 0)] {
        assert_eq!(past(ids, bytes).len(), read, "{ids:?} {bytes}");
    }
    assert!(past(&[9], 1)[0].is_none());
}

#[test]
fn a_discarded_bulk_takes_its_environment_with_it_unless_another_job_has_it() {
    let mut home = Home::new();
    for (id, environment) in (1..).zip(["A=1", "A=1", "A=2", "A=2"]) {
        home.submit(id, 1000, NOW, &plain_text(environment)).unwrap();
    }
    // Also when some of it was not committed yet.
    home.store.discard_jobs(JobId(2), 3).unwrap();
    home.store.commit().unwrap();
    assert_eq!(counted(&home), (1, 1));
    home.store.discard_jobs(JobId(1), 1).unwrap();
    home.store.commit().unwrap();
    assert_eq!(counted(&home), (0, 0));
    // The one that came last is not taken to be there still.
    home.submit(9, 1000, NOW, &plain_text("A=2")).unwrap();
    home.store.commit().unwrap();
    assert_eq!(counted(&home), (1, 1));
    assert_eq!(home.store.launch_text(JobId(9).into()).unwrap().environment, b"A=2\0");
}

#[test]
fn a_discarded_bulk_is_taken_off_the_count_of_each_of_its_environments() {
    let mut home = Home::new();
    for id in 1..=60 {
        home.submit(id, 1000, NOW, &plain_text(&format!("A={}", id * id % 11))).unwrap();
    }
    home.store.commit().unwrap();
    // The squares of 11 numbers have six different rests.
    assert_eq!(counted(&home), (6, 60));
    for (first, count, left) in [(20, 9, 51), (1, 1, 50), (40, 21, 29), (40, 21, 29), (2, 38, 0)] {
        home.store.discard_jobs(JobId(first), count).unwrap();
        home.store.commit().unwrap();
        assert_eq!(counted(&home).1, left, "{count} from {first} on");
    }
    assert_eq!(counted(&home), (0, 0));
}

#[test]
fn forgotten_jobs_take_their_tasks_and_environments_and_nothing_that_lives() {
    let mut home = Home::new();
    let array = text(r#"{"command":["step"],"array":"0-9"}"#, "A=2");
    home.submit(1, 1000, NOW, &plain_text("A=1")).unwrap();
    home.submit(2, 1000, NOW, &array).unwrap();
    home.submit(3, 1000, NOW, &plain_text("A=3")).unwrap();
    home.submit(4, 1000, NOW, &array).unwrap();
    home.submit(5, 1000, NOW, &plain_text("A=4")).unwrap();
    home.end(JobRef::whole(JobId(1)), NOW - 10);
    home.end(JobRef::task(JobId(2), 7), NOW - 10);
    home.end(JobRef::whole(JobId(2)), NOW - 5);
    home.end(JobRef::task(JobId(4), 7), NOW - 10);
    home.end(JobRef::whole(JobId(5)), NOW);
    home.store.commit().unwrap();
    assert_eq!(home.store.forget_jobs(Timestamp(NOW)).unwrap(), [JobId(1), JobId(2)]);
    assert_eq!(home.store.forget_jobs(Timestamp(NOW)).unwrap(), [], "there are no more");
    assert_eq!(counted(&home), (3, 3));
    assert_eq!(home.number("SELECT count(*) FROM task"), 1, "the task of a live array stays");
    assert_eq!(home.store.forget_jobs(Timestamp(NOW + 1)).unwrap(), [JobId(5)]);
    assert_eq!(counted(&home), (2, 2));
    // The one that came last is not taken to be there still.
    home.submit(9, 1000, NOW, &plain_text("A=4")).unwrap();
    home.store.commit().unwrap();
    assert_eq!(home.store.launch_text(JobId(9).into()).unwrap().environment, b"A=4\0");
}

#[test]
fn forgetting_comes_in_bounded_pieces_until_all_is_gone() {
    let mut home = Home::new();
    for id in 1..=120 {
        home.submit(id, 1000, NOW, &plain_text(&format!("A={}", id % 7))).unwrap();
        home.end(JobId(id).into(), NOW - 1);
    }
    home.store.commit().unwrap();
    let mut gone = BTreeSet::new();
    for most in [50, 50, 20, 0] {
        let ids = home.store.forget_jobs(Timestamp(NOW)).unwrap();
        assert_eq!(ids.len(), most);
        gone.extend(ids);
    }
    assert_eq!((gone.len(), counted(&home)), (120, (0, 0)));
}

#[test]
fn a_key_belongs_to_one_job_of_a_user() {
    let mut home = Home::new();
    let keyed = text(r#"{"command":["true"],"key":"nightly"}"#, "A=1");
    home.submit(1, 1000, NOW, &keyed).unwrap();
    home.submit(2, 1001, NOW, &keyed).unwrap();
    home.submit(3, 1000, NOW, &plain_text("A=1")).unwrap();
    home.submit(4, 1000, NOW, &plain_text("A=1")).unwrap();
    home.store.commit().unwrap();
    assert!(home.submit(5, 1000, NOW, &keyed).is_err());
    home.store.roll_back();
    let asked = [(1000, "nightly", Some(1)), (1001, "nightly", Some(2)), (1002, "nightly", None), (1000, "x", None)];
    for (uid, key, job) in asked {
        assert_eq!(home.store.job_of_key(uid, key).unwrap(), job.map(JobId), "{uid} {key}");
    }
    assert_eq!(counted(&home), (1, 4));
    // With the job its key is free again.
    home.store.discard_jobs(JobId(1), 1).unwrap();
    home.submit(6, 1000, NOW, &keyed).unwrap();
    home.store.commit().unwrap();
    assert_eq!(home.store.job_of_key(1000, "nightly").unwrap(), Some(JobId(6)));
}
