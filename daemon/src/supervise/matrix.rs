//! What this machine holds jobs to, for `qrm doctor`: each limit with what holds it, what that means, and what would be more.
//! It refuses to find that out itself.

use super::Settings;
use super::limits::Limiter;
use super::watched::output_limit;
use qrm_protocol::amount::Bytes;
use qrm_protocol::method::{Finding, Health};
use std::path::PathBuf;

/// What lets qrmd have more of them.
const GROUPS: &str = "let qrmd write to control groups: under systemd with Delegate=yes, else in a subtree of version 2 that has the \
                      controllers cpu, memory, pids and io and holds no process itself, or in those of version 1";

/// Where a limit is, if the kernel holds jobs to it.
struct Held {
    file: &'static str,
    base: PathBuf,
}

/// All limits, in the order in which people miss them.
pub(super) fn findings(
    limiters: &[(Limiter, PathBuf)],
    settings: &Settings,
    default_pids: Option<u32>,
) -> Vec<Finding> {
    let held = |limiter: Limiter| {
        let (_, base) = limiters.iter().find(|(one, _)| *one == limiter)?;
        Some(Held { file: limiter.file(base)?, base: base.clone() })
    };
    vec![
        memory(held(Limiter::Memory)),
        weight(held(Limiter::Cpu)),
        quota(held(Limiter::Cpu), settings.hard_cpus),
        processes(held(Limiter::Pids), default_pids),
        scratch(settings),
        output(settings),
        disks(held(Limiter::Io)),
        open_files(settings),
    ]
}

fn enforced(held: &Held) -> String {
    format!("enforced by {} in {}", held.file, held.base.display())
}

fn finding(topic: &str, found: String, means: &str, mend: Option<&str>) -> Finding {
    Finding {
        topic: topic.to_owned(),
        health: if mend.is_some() { Health::Limited } else { Health::Ok },
        found,
        means: means.to_owned(),
        mend: mend.map(str::to_owned),
    }
}

const WATCHED: &str = "watched every 200 ms: no controller can be written";
const COUNTED: &str = "not enforced: no controller can be written";

fn memory(held: Option<Held>) -> Finding {
    const TOPIC: &str = "memory limit";
    match held {
        Some(held) => finding(TOPIC, enforced(&held), "the kernel ends a job that needs more than its --mem", None),
        None => finding(
            TOPIC,
            WATCHED.to_owned(),
            "a job that has more than its --mem is ended within a quarter of a second; until then it may take much",
            Some(GROUPS),
        ),
    }
}

fn weight(held: Option<Held>) -> Finding {
    const TOPIC: &str = "cpu weight";
    match held {
        Some(held) => finding(TOPIC, enforced(&held), "where cpus are too few, jobs share them by their --cpus", None),
        None => finding(
            TOPIC,
            COUNTED.to_owned(),
            "jobs wait for their --cpus, but one that uses more than it asked for slows the others",
            Some(GROUPS),
        ),
    }
}

fn quota(held: Option<Held>, wanted: bool) -> Finding {
    const TOPIC: &str = "cpu quota";
    let files = ["cpu.max", "cpu.cfs_quota_us"];
    let quota = held.and_then(|held| {
        files.into_iter().find(|file| held.base.join(file).exists()).map(|file| Held { file, ..held })
    });
    match (wanted, quota) {
        (false, _) => finding(
            TOPIC,
            "not wanted: scheduler.cpu is weight".to_owned(),
            "a job may use more than its --cpus while they are idle",
            None,
        ),
        (true, Some(held)) => {
            finding(TOPIC, enforced(&held), "a job never has more than its --cpus, also while others are idle", None)
        }
        (true, None) => finding(
            TOPIC,
            COUNTED.to_owned(),
            "scheduler.cpu is hard, and a job may use more than its --cpus all the same",
            Some(GROUPS),
        ),
    }
}

fn processes(held: Option<Held>, default: Option<u32>) -> Finding {
    const TOPIC: &str = "process limit";
    let most = default.map_or_else(|| "none".to_owned(), |most| most.to_string());
    match held {
        Some(held) => finding(
            TOPIC,
            format!("{}; limits.pids gives {most}", enforced(&held)),
            "a job can not have more processes and threads than its --pids, a fork bomb neither",
            None,
        ),
        None => finding(
            TOPIC,
            format!("{WATCHED}; limits.pids gives {most}"),
            "a job that has more processes and threads than its --pids is ended within a quarter of a second",
            Some(GROUPS),
        ),
    }
}

fn scratch(settings: &Settings) -> Finding {
    const TOPIC: &str = "scratch limit";
    let base = settings.scratch.display();
    // It is made when there is one.
    let place = settings.scratch.parent().unwrap_or(&settings.scratch);
    match rustix::fs::statvfs(place) {
        Ok(stat) => finding(
            TOPIC,
            format!("watched in {base}, with {} free", Bytes(stat.f_bavail.saturating_mul(stat.f_frsize))),
            "a job that has more files than its --disk is ended, at the earliest a quarter of a second later",
            None,
        ),
        Err(error) => finding(
            TOPIC,
            format!("{}: {}", place.display(), std::io::Error::from(error)),
            "no job can ask for --disk",
            Some("make the directory, or set scratch.directory to one that there is"),
        ),
    }
}

fn output(settings: &Settings) -> Finding {
    const TOPIC: &str = "output limit";
    match output_limit(settings) {
        Some(limit) => finding(
            TOPIC,
            format!("watched every second; limits.output gives {}", Bytes(limit)),
            "a job that leaves more in its own directory, its output included, is ended",
            None,
        ),
        None => {
            finding(TOPIC, "none: limits.output gives none".to_owned(), "a job can fill the disk with its output", None)
        }
    }
}

fn disks(held: Option<Held>) -> Finding {
    const TOPIC: &str = "I/O weight";
    match held {
        Some(held) => finding(
            TOPIC,
            enforced(&held),
            "jobs share by their --io-weight the disks whose scheduler is bfq, or of which the cost is reckoned",
            None,
        ),
        None => finding(
            TOPIC,
            "not enforced: no disk has a scheduler that shares it, or no controller can be written".to_owned(),
            "--io-weight has no effect: a job that reads and writes much slows the others",
            Some("a disk whose scheduler is bfq (/sys/block/DISK/queue/scheduler), and the controller io for qrmd"),
        ),
    }
}

fn open_files(settings: &Settings) -> Finding {
    let most = settings.open_files.maximum.map_or_else(|| "any number".to_owned(), |most| most.to_string());
    let found = match settings.raises_limits {
        true => "enforced by RLIMIT_NOFILE".to_owned(),
        false => format!("enforced by RLIMIT_NOFILE, up to {most}"),
    };
    finding("open files", found, "no process of a job opens more files than its --open-files", None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_says_what_would_mend_it_and_what_is_not_wanted_does_not() {
        for finding in [memory(None), weight(None), quota(None, true), processes(None, Some(5)), disks(None)] {
            assert!(finding.health == Health::Limited && finding.mend.is_some(), "{finding:?}");
        }
        assert!(processes(None, Some(5)).found.contains("limits.pids gives 5"));
        assert_eq!(quota(None, false).health, Health::Ok);
        let held = Held { file: "cpu.weight", base: "/sys/fs/cgroup/x".into() };
        assert_eq!(weight(Some(held)).found, "enforced by cpu.weight in /sys/fs/cgroup/x");
    }
}
