//! The daemon killed again and again, at random, while clients submit and jobs run.
//! It refuses to kill by the clock: how many events have been seen decides.

use crate::scene::{Scene, kill_now, long, open};
use qrm_protocol::client::Client;
use qrm_protocol::method::{DaemonStatus, Empty, EventSubscribe, SubscribeParams};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const CLIENTS: u32 = 3;
const JOBS: u32 = 500;

/// Marsaglia's xorshift: the same kills for the same seed, as far as the machine allows.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn killed_at_random_nothing_acknowledged_is_lost_and_nothing_runs_twice() {
    let kills = if long() { 1_000 } else { 50 };
    let seed = std::env::var("QRM_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x51ED_5EED);
    println!("QRM_TEST_SEED={seed} {kills} kills");
    let mut scene = Scene::new(&[("QRM_HOST_CPUS", "6")]);
    scene.run("daemon start").ok();
    let jobs = Mutex::new(BTreeMap::new());
    let (next, over) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| submit(&scene, &next, &over, &jobs));
        }
        let killer = scope.spawn(|| {
            let mut random = Random(seed);
            for _ in 0..kills {
                kill_after(&scene, random.below(40) + 1);
            }
        });
        let killed = killer.join();
        over.store(true, Ordering::Release);
        killed.unwrap();
    });

    let jobs = jobs.into_inner().unwrap();
    let ids: Vec<&str> = jobs.keys().map(String::as_str).collect();
    let ended = scene.qrm(["--json", "wait"].into_iter().chain(ids.iter().copied())).json();
    let ended = ended.as_array().unwrap();
    assert_eq!(ended.len(), jobs.len());
    for job in ended {
        let id = job["id"].as_str().unwrap();
        let (code, state) = (jobs[id], if jobs[id] == 0 { "completed" } else { "failed" });
        assert_eq!((job["state"].as_str(), job["exit_code"].as_i64()), (Some(state), Some(code)), "{job}");
    }
    let once: BTreeMap<String, u32> = jobs.keys().map(|id| (id.clone(), 1)).collect();
    assert_eq!(scene.lines("ran"), once, "what ran");
    assert_eq!(scene.ends(), once, "what ended");
    println!("{} jobs", jobs.len());
    scene.nothing_is_left();
}

/// Submits until there are enough jobs and the killing is over; each job with the code that it is to end with.
fn submit(scene: &Scene, next: &AtomicU32, over: &AtomicBool, jobs: &Mutex<BTreeMap<String, i64>>) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= JOBS && over.load(Ordering::Acquire) {
            return;
        }
        let code = number % 5;
        let script = format!("echo $QRM_JOB_ID >> ran; exit {code}");
        let id = scene.submit_surely(&format!("k{number}"), "", &script);
        let known = jobs.lock().unwrap().insert(id, i64::from(code));
        assert_eq!(known, None, "two keys have one job");
    }
}

/// Kills the daemon once it has told so many events.
fn kill_after(scene: &Scene, events: u64) {
    let (mut client, process) = (0..1_000).find_map(|_| meet(scene)).expect("a daemon answers");
    for _ in 0..events {
        assert!(client.notification().unwrap().is_some(), "the daemon went away by itself");
    }
    kill_now(&process);
}

/// A subscription to a daemon, and its process. A process that was being made when the last daemon died holds that
/// one's socket for a moment longer, and who connects to it is told that the daemon went away.
fn meet(scene: &Scene) -> Option<(Client, OwnedFd)> {
    let said = scene.run("daemon start");
    assert!(said.code == 0 || said.code == 3, "{said:?}");
    let mut client = Client::connect(&scene.socket()).ok()?;
    let process = open(i32::try_from(client.call::<DaemonStatus>(&Empty {}).ok()?.pid).unwrap());
    client.call::<EventSubscribe>(&SubscribeParams { after: None, job: None, follow: true }).ok()?;
    Some((client, process))
}
