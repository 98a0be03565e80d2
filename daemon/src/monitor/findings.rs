//! What `qrm doctor` says of the machine beside jobs: how much memory there is for them, and whether pressure is told.
//! It refuses to know what is decided by that.

use super::beside::Bounds;
use super::host::{Memory, pressure};
use super::read::proc;
use qrm_protocol::amount::Bytes;
use qrm_protocol::method::{Finding, Health};

/// As it is now; some of the memory is for jobs if `offers`.
#[must_use]
pub fn findings(bounds: Bounds, offers: bool) -> Vec<Finding> {
    let mut buffer = Vec::new();
    let memory = proc("meminfo").and_then(|file| Memory::parse(file.text(&mut buffer)?));
    let mut part = |name: &str| proc(name).and_then(|file| Some(pressure(file.text(&mut buffer)?)?.some_permille));
    let waited = [part("pressure/memory"), part("pressure/cpu")];
    vec![of_memory(memory, bounds.reserve, offers), of_pressure(bounds, waited)]
}

fn finding(topic: &str, health: Health, found: String, means: &str, mend: Option<&str>) -> Finding {
    Finding { topic: topic.to_owned(), health, found, means: means.to_owned(), mend: mend.map(str::to_owned) }
}

fn of_memory(memory: Option<Memory>, reserve: u64, offers: bool) -> Finding {
    let Some(Memory { total, available, .. }) = memory else {
        return finding(
            "memory",
            Health::Limited,
            "/proc/meminfo does not tell what is available".to_owned(),
            "memory that others than jobs use is given to jobs, too",
            Some("a smaller host.memory leaves it to them"),
        );
    };
    let found = format!("{} of {} available, {} kept free", Bytes(available), Bytes(total), Bytes(reserve));
    if reserve >= total && offers {
        return finding(
            "memory",
            Health::Limited,
            found,
            "no job starts that asks for memory",
            Some("a smaller scheduler.memory_reserve"),
        );
    }
    let means = "jobs that ask for memory start in what is left, and wait for what others use";
    finding("memory", Health::Ok, found, means, None)
}

/// The bounds, and for how many thousandths of the last ten seconds there was waiting for memory and cpus.
fn of_pressure(bounds: Bounds, waited: [Option<u64>; 2]) -> Finding {
    let parts = [("memory", bounds.memory, waited[0]), ("cpus", bounds.cpu, waited[1])];
    let parts = parts.into_iter().filter_map(|(what, most, waited)| Some((what, u64::from(most?), waited)));
    let parts: Vec<(&str, u64, Option<u64>)> = parts.collect();
    let percent = |permille: u64| format!("{}.{} %", permille / 10, permille % 10);
    let topic = "pressure";
    if parts.is_empty() {
        let means = "jobs start however short of memory or cpus the machine is";
        return finding(topic, Health::Ok, "nothing is held back for it".to_owned(), means, None);
    }
    if parts.iter().any(|(_, _, waited)| waited.is_none()) {
        return finding(
            topic,
            Health::Limited,
            "this kernel does not tell how long processes wait".to_owned(),
            "jobs start however short of memory or cpus the machine is",
            Some(
                "psi=1 on the command line of a kernel that has CONFIG_PSI; scheduler.pressure_memory=none does without",
            ),
        );
    }
    let said = |(what, most, waited): &(&str, u64, Option<u64>)| {
        format!("for {what} {}, of at most {}", percent(waited.unwrap_or(0)), percent(*most))
    };
    let found: Vec<String> = parts.iter().map(said).collect();
    let found = format!("of the last 10 s, processes waited {}", found.join(", "));
    match parts.iter().any(|(_, most, waited)| waited.is_some_and(|waited| waited > *most)) {
        true => finding(
            topic,
            Health::Limited,
            found,
            "no more jobs start while one runs, until that is less",
            Some("fewer jobs at once, or a larger scheduler.pressure_memory or scheduler.pressure_cpu"),
        ),
        false => finding(topic, Health::Ok, found, "no more jobs start while it is more", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn memory_that_is_kept_back_entirely_is_no_memory_for_jobs() {
        let memory = |total: u64| {
            let (total, available) = (total << 20, total << 19);
            Memory::parse(format!("MemTotal: {total} kB\nMemAvailable: {available} kB\n").as_bytes())
        };
        for (memory, offers, health, found) in [
            (memory(16), true, Health::Ok, "8G of 16G available, 1G kept free"),
            (memory(1), true, Health::Limited, "512M of 1G available"),
            (memory(1), false, Health::Ok, "512M of 1G"),
            (None, true, Health::Limited, "does not tell"),
        ] {
            let said = of_memory(memory, GIB, offers);
            assert!(said.health == health && said.found.contains(found), "{said:?}");
            assert_eq!(said.mend.is_some(), health != Health::Ok);
        }
    }

    #[test]
    fn pressure_that_nobody_tells_of_holds_nothing_back_and_that_is_said() {
        let bounds = |memory, cpu| Bounds { reserve: 0, memory, cpu };
        for (bounds, waited, health, found) in [
            (
                bounds(Some(200), None),
                [Some(3), None],
                Health::Ok,
                "processes waited for memory 0.3 %, of at most 20.0 %",
            ),
            (bounds(Some(200), Some(900)), [Some(3), Some(986)], Health::Limited, "for cpus 98.6 %, of at most 90.0 %"),
            (bounds(None, Some(900)), [None, Some(1)], Health::Ok, "waited for cpus 0.1 %"),
            (bounds(Some(200), None), [None, Some(1)], Health::Limited, "this kernel does not tell"),
            (bounds(None, None), [None, None], Health::Ok, "nothing is held back"),
        ] {
            let said = of_pressure(bounds, waited);
            assert!(said.health == health && said.found.contains(found), "{said:?}");
            assert_eq!(said.mend.is_some(), health != Health::Ok);
        }
    }
}
