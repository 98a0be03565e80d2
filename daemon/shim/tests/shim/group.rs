//! Control groups of our own for a test, where this machine lets us make them.
//! It touches no group but those it made.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use qrm_shim::cgroup::JobCgroup;

/// A way to track a job; its group is killed and removed at the end.
pub struct Tracking {
    pub name: &'static str,
    pub group: Option<JobCgroup>,
}

/// All ways that work here: without a group, by the freezer of version 1, by version 2. Says which it skips.
pub fn trackings() -> Vec<Tracking> {
    let (freezer, unified) = (root(" - cgroup ", "freezer"), root(" - cgroup2 ", ""));
    let mut ways = vec![Tracking { name: "none", group: None }];
    match freezer.and_then(make) {
        Some(freezer) => ways.push(Tracking { name: "v1", group: Some(JobCgroup::V1 { freezer, others: vec![] }) }),
        None => println!("SKIP v1: no freezer hierarchy that we may write to"),
    }
    match unified.and_then(make) {
        Some(dir) => ways.push(Tracking { name: "v2", group: Some(JobCgroup::V2 { dir, others: vec![] }) }),
        None => println!("SKIP v2: no cgroup2 mount that we may write to"),
    }
    ways
}

/// A group in the memory hierarchy of version 1.
pub fn memory_v1() -> Option<Tracking> {
    let freezer = root(" - cgroup ", "memory").and_then(make)?;
    Some(Tracking { name: "memory", group: Some(JobCgroup::V1 { freezer, others: vec![] }) })
}

/// The mount point of a hierarchy, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
fn root(kind: &str, controller: &str) -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = text.lines().find(|line| {
        line.contains(kind) && (controller.is_empty() || line.rsplit([' ', ',']).any(|option| option == controller))
    })?;
    line.split(' ').nth(4).map(PathBuf::from)
}

fn make(root: PathBuf) -> Option<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = root.join(format!("qrm-test-{}-{count}", std::process::id()));
    fs::create_dir(&dir).ok().map(|()| dir)
}

impl Drop for Tracking {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            let emptied = group.kill_all(Some(Duration::from_secs(60)));
            let removed = group.remove();
            if !std::thread::panicking() {
                emptied.unwrap();
                removed.unwrap();
            }
        }
    }
}
