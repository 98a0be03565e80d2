//! What jobs wish for beside others: kept as it was asked for, changed while they wait, and asked for again.
//! It refuses to know what they are granted for that.

use super::*;
use qrm_daemon::store::Taken;
use qrm_protocol::job::{Offer, OfferId};

/// All that decides when and where a job runs.
const WISHES: &str = r#"{"command":["true"],"name":"true","queue":"night","priority":60,"cpus":3,"mem_bytes":1048576,
    "disk_bytes":5,"time_limit_ms":7000,"or":[{"cpus":2,"mem_bytes":0},{"exclusive":false,"time_limit_ms":9}],
    "exclusive":true,"idle":true,"preemptible":true,"checkpoint_signal":"USR1","min_run_ms":60000,
    "on_conflict":"negotiation","retries":3,"retry_on":["preempted"]}"#;

fn job(id: u64) -> JobRef {
    JobRef::whole(JobId(id))
}

fn row(home: &Home, id: JobRef) -> Row {
    home.readers.with(|reader| reader.row(id)).unwrap().unwrap()
}

/// A job as it would be asked for again.
fn again(home: &Home, id: u64) -> JobSpec {
    home.readers.with(|reader| reader.past_jobs(&[JobId(id)], 1)).unwrap().remove(0).unwrap().spec
}

#[test]
fn a_job_is_asked_for_again_with_all_that_it_wished_for() {
    let mut home = Home::new();
    let plain = r#"{"command":["true"],"name":"true","priority":50,"cpus":1,"mem_bytes":0}"#;
    for (id, json) in [(1, WISHES), (2, plain)] {
        home.submit(id, 1000, NOW, &text(json, "A=1")).unwrap();
        home.store.commit().unwrap();
        assert_eq!(again(&home, id), spec(json));
    }
    assert_eq!(row(&home, job(1)).options, Options::of(&spec(WISHES)));
    assert_eq!(row(&home, job(1)).queue.as_str(), "night");
}

#[test]
fn every_wish_can_be_changed_and_taken_back() {
    let mut home = Home::new();
    home.submit(1, 1000, NOW, &text(WISHES, "A=1")).unwrap();
    let mut want = serde_json::to_value(spec(WISHES)).unwrap();
    for (change, then) in [
        (r#"{"queue":"day"}"#, r#"{"queue":"day"}"#),
        (r#"{"queue":"default"}"#, r#"{"queue":null}"#),
        (r#"{"priority":99,"cpus":0,"mem_bytes":7}"#, r#"{"priority":99,"cpus":0,"mem_bytes":7}"#),
        (r#"{"mem_bytes":0,"time_limit_ms":0}"#, r#"{"mem_bytes":0,"time_limit_ms":null}"#),
        (r#"{"or":[{"cpus":1}]}"#, r#"{"or":[{"cpus":1}]}"#),
        (r#"{"or":[]}"#, r#"{"or":null}"#),
        (r#"{"exclusive":false,"idle":false}"#, r#"{"exclusive":null,"idle":null}"#),
        (r#"{"preemptible":false}"#, r#"{"preemptible":null}"#),
        (r#"{"checkpoint_signal":"USR2","min_run_ms":1}"#, r#"{"checkpoint_signal":12,"min_run_ms":1}"#),
        (r#"{"min_run_ms":0,"on_conflict":"queuing"}"#, r#"{"min_run_ms":null,"on_conflict":"queuing"}"#),
        (r#"{"disk_bytes":0,"retries":0}"#, r#"{"disk_bytes":null,"retries":null}"#),
        (r#"{"after":["7"],"after_ok":["7"],"after_fail":["7"],"after_start":["7"],"any":true}"#, "{}"),
    ] {
        let changed = serde_json::from_str(change).unwrap();
        home.write(&Event::Updated { job: job(1), by: 1000, change: changed, gates: None });
        home.store.commit().unwrap();
        let then: serde_json::Map<String, serde_json::Value> = serde_json::from_str(then).unwrap();
        for (key, value) in then {
            match value.is_null() {
                true => drop(want.as_object_mut().unwrap().remove(&key)),
                false => want[&key] = value,
            }
        }
        assert_eq!(serde_json::to_value(again(&home, 1)).unwrap(), want, "{change}");
    }
}

#[test]
fn what_is_granted_is_known_until_the_job_waits_again_and_what_it_asked_for_stays() {
    let mut home = Home::new();
    home.submit(1, 1000, NOW, &text(WISHES, "A=1")).unwrap();
    home.submit(2, 1000, NOW, &text(r#"{"command":["step"],"array":"0-1","cpus":2}"#, "A=1")).unwrap();
    let takes = Takes { cpus: 2, time_ms: 7_000, exclusive: true, ..Takes::default() };
    for (id, of_other) in [(job(1), None), (JobRef::task(JobId(2), 1), Some(job(2)))] {
        home.write(&started(id, 1, Some(takes)));
        home.store.commit().unwrap();
        assert_eq!(row(&home, id).takes, Some(Taken { variant: 1, takes }), "{id}");
        assert_eq!(home.store.launch_text(id).unwrap().takes, Some(takes), "{id}");
        assert!(of_other.is_none_or(|array| row(&home, array).takes.is_none()), "an array has nothing itself");
        let failure =
            Failure { kind: FailureKind::ExecuteError, cause: FailureCause::Preempted, message: String::new() };
        let (usage, due_boot_ms, started_at) = (RunUsage::default(), 9, None);
        home.write(&Event::Requeued { job: id, attempt: 1, started_at, failure, due_boot_ms, usage });
        home.store.commit().unwrap();
        assert_eq!((row(&home, id).takes, row(&home, id).state), (None, JobState::Queued), "{id}");
        home.write(&started(id, 2, Some(takes)));
        home.end(id, NOW);
        home.store.commit().unwrap();
        assert_eq!(row(&home, id).takes, Some(Taken { variant: 1, takes }), "{id}");
    }
    assert_eq!(again(&home, 1), spec(WISHES));
}

#[test]
fn an_offer_that_is_accepted_is_what_the_job_asks_for() {
    let mut home = Home::new();
    let start = Timestamp(NOW);
    for (id, offer, then) in [
        (1, Offer::Less { cpus: 2 }, r#"{"cpus":2}"#),
        (2, Offer::Share, r#"{"exclusive":false}"#),
        (3, Offer::At { start }, "{}"),
        (4, Offer::Preempt { jobs: vec![job(1)], lost_cpu_ms: 7 }, "{}"),
    ] {
        home.submit(id, 1000, NOW, &text(WISHES, "A=1")).unwrap();
        let offered = OfferId { job: JobId(id), place: 1 };
        home.write(&Event::OfferAccepted { job: job(id), offer: offered, what: offer, by: 1000 });
        home.store.commit().unwrap();
        let mut want = serde_json::to_value(spec(WISHES)).unwrap();
        let then: serde_json::Map<String, serde_json::Value> = serde_json::from_str(then).unwrap();
        want.as_object_mut().unwrap().extend(then);
        assert_eq!(again(&home, id), serde_json::from_value(want).unwrap());
    }
}
