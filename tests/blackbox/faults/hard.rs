//! Jobs that are hard to watch or to end: ended, counted and cleaned, under each kind of tracking.
//! It refuses to count what the machine can not do: that is skipped by name.

use crate::scene::{Scene, gone, let_go, long};
use std::io::{BufRead, BufReader};

/// The kinds of tracking that this machine has; the others are skipped by name.
pub fn trackings(test: &str) -> Vec<&'static str> {
    let works = |tracking: &&str| {
        let mut scene = Scene::new(&[("QRM_SUPERVISION_CGROUP", tracking)]);
        let said = scene.run("daemon start");
        match said.code {
            0 => scene.stop(),
            _ => println!("SKIP {test} under {tracking}: {}", said.err.trim()),
        }
        said.code == 0
    };
    ["v2", "v1", "none"].into_iter().filter(works).collect()
}

fn under_each(test: &str, run: impl Fn(&Scene)) {
    for tracking in trackings(test) {
        println!("{tracking}");
        let mut scene = Scene::new(&[("QRM_SUPERVISION_CGROUP", tracking)]);
        run(&scene);
        assert!(scene.ends().values().all(|ends| *ends == 1));
        scene.nothing_is_left();
    }
}

/// The next line that a job writes into a FIFO of the test's directory, as a number.
fn told(fifo: &mut BufReader<std::fs::File>) -> i32 {
    let mut line = String::new();
    fifo.read_line(&mut line).unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn a_job_that_forks_a_thousand_processes_is_ended_whole() {
    under_each("a_job_that_forks_a_thousand_processes_is_ended_whole", |scene| {
        let mut says = BufReader::new(scene.gate("says"));
        let id =
            scene.submit("", "i=0; while [ $i -lt 1000 ]; do sleep 1000 & i=$((i + 1)); done; echo $i > says; wait");
        assert_eq!(told(&mut says), 1_000);
        // One that is just being executed shows no environment yet.
        assert!(scene.processes().len() > 500, "they run");
        scene.run(&format!("cancel {id}")).ok();
        assert_eq!(scene.ended(&id)["state"], "cancelled");
        let left = scene.processes().into_iter().filter(|pid| Some(*pid) != scene.daemon()).count();
        assert_eq!(left, 0, "processes are left when the job has ended");
    });
}

#[test]
fn a_job_that_ignores_every_plea_is_killed() {
    // Patience takes its ten seconds under each, at the same time.
    let test = "a_job_that_ignores_every_plea_is_killed";
    let run = |tracking: &str| {
        let mut scene = Scene::new(&[("QRM_SUPERVISION_CGROUP", tracking)]);
        let mut says = BufReader::new(scene.gate("says"));
        let id = scene.submit("", "trap '' TERM INT HUP; echo $$ > says; while :; do sleep 1000; done");
        let pid = told(&mut says);
        scene.run(&format!("cancel {id}")).ok();
        let job = scene.ended(&id);
        assert_eq!((job["state"].as_str(), job["signal"].as_i64()), (Some("cancelled"), Some(9)), "{job}");
        assert!(gone(pid));
        scene.nothing_is_left();
    };
    std::thread::scope(|scope| {
        for tracking in trackings(test) {
            scope.spawn(move || run(tracking));
        }
    });
}

#[test]
fn a_daemonised_grandchild_is_gone_when_the_job_has_ended() {
    under_each("a_daemonised_grandchild_is_gone_when_the_job_has_ended", |scene| {
        let mut says = BufReader::new(scene.gate("says"));
        let gate = scene.gate("gate");
        let inner = "exec <&- >&- 2>&-; echo $$ > says; while :; do sleep 1000; done";
        let script = format!("(setsid sh -c '{inner}' &) ; exec <&- >&- 2>&-; read go < gate; exit 3");
        let id = scene.submit("", &script);
        let grandchild = told(&mut says);
        assert!(std::path::Path::new(&format!("/proc/{grandchild}")).exists());
        let_go(&gate);
        let job = scene.ended(&id);
        assert_eq!((job["state"].as_str(), job["exit_code"].as_i64()), (Some("failed"), Some(3)), "{job}");
        let alive = std::fs::read_to_string(format!("/proc/{grandchild}/stat"));
        assert!(alive.is_err(), "the grandchild outlives its job: {alive:?}");
    });
}

#[test]
fn a_gigabyte_of_output_and_binary_are_kept_and_counted() {
    let bytes: u64 = if long() { 1 << 30 } else { 256 << 20 };
    under_each("a_gigabyte_of_output_and_binary_are_kept_and_counted", |scene| {
        let much = scene.submit("", &format!("head -c {bytes} /dev/zero"));
        let binary = scene.submit("", r"printf '\000\377\200\n\033[31m\001'; printf '\376' >&2; exit 5");
        let job = scene.ended(&binary);
        assert_eq!(job["exit_code"], 5);
        let dir = std::path::Path::new(job["dir"].as_str().unwrap());
        assert_eq!(std::fs::read(dir.join("stdout")).unwrap(), b"\0\xff\x80\n\x1b[31m\x01");
        assert_eq!(std::fs::read(dir.join("stderr")).unwrap(), b"\xfe");
        let mut logs = scene.program("qrm");
        let shown = logs.args(["logs", &binary]).output().unwrap();
        assert_eq!(
            (shown.stdout.as_slice(), shown.stderr.as_slice()),
            (&b"\0\xff\x80\n\x1b[31m\x01"[..], &b"\xfe"[..])
        );
        let job = scene.ended(&much);
        assert_eq!(job["state"], "completed", "{job}");
        assert!(job["usage"]["cpu_ms"].as_u64().unwrap() > 0, "{job}");
        let dir = std::path::Path::new(job["dir"].as_str().unwrap());
        assert_eq!(std::fs::metadata(dir.join("stdout")).unwrap().len(), bytes);
    });
}
