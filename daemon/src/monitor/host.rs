//! The machine: its memory, cpus, load and pressure, from files of /proc that stay open.
//! It refuses to judge what it reads, and to look at disks, which may not answer.

use super::Stamp;
use super::read::{Kept, field, proc, thousandths};
use qrm_protocol::sample::{HostSample, Pressure};
use std::io;
use std::time::{Duration, Instant};

/// What is read, open.
pub(super) struct Host {
    meminfo: Kept,
    stat: Kept,
    loadavg: Kept,
    /// Of cpus, memory and disks.
    pressure: [Option<Kept>; 3],
    before: Option<(Instant, Ticks)>,
}

/// Time of all cpus together since boot, in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    all: u64,
    idle: u64,
    cpus: u64,
}

impl Host {
    /// # Errors
    /// /proc is not there.
    pub fn open() -> io::Result<Self> {
        let open = |name: &str| {
            let file = Kept::open(std::path::Path::new("/proc").join(name));
            file.ok_or_else(|| io::Error::other(format!("/proc/{name} can not be read")))
        };
        Ok(Self {
            meminfo: proc("meminfo").map_or_else(|| open("meminfo"), Ok)?,
            stat: open("stat")?,
            loadavg: open("loadavg")?,
            pressure: ["cpu", "memory", "io"].map(|what| proc(&format!("pressure/{what}"))),
            before: None,
        })
    }

    /// The machine now. How busy cpus are is told if the sample before is at most this old.
    pub fn sample(&mut self, stamp: Stamp, recent: Duration, buffer: &mut Vec<u8>) -> Option<HostSample> {
        let memory = Memory::parse(self.meminfo.text(buffer)?)?;
        let ticks = Ticks::parse(self.stat.text(buffer)?)?;
        let [load_1m_permille, load_5m_permille, load_15m_permille] = loads(self.loadavg.text(buffer)?)?;
        let mut pressures = self.pressure.iter().map(|file| pressure(file.as_ref()?.text(buffer)?));
        let mut next = || pressures.next().flatten();
        let (cpu_pressure, memory_pressure, io_pressure) = (next(), next(), next());
        let before = self.before.replace((stamp.mono, ticks));
        let before = before.filter(|(at, _)| stamp.mono.saturating_duration_since(*at) <= recent);
        Some(HostSample {
            number: stamp.number,
            at: stamp.wall,
            cpus: ticks.cpus,
            cpu_permille: before.and_then(|(_, before)| ticks.busy_since(before)),
            memory_total_bytes: memory.total,
            memory_available_bytes: memory.available,
            swap_total_bytes: memory.swap_total,
            swap_used_bytes: memory.swap_total.saturating_sub(memory.swap_free),
            load_1m_permille,
            load_5m_permille,
            load_15m_permille,
            cpu_pressure,
            memory_pressure,
            io_pressure,
        })
    }
}

impl Ticks {
    /// proc_stat(5): the first line counts all cpus together, then comes a line for each.
    fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = text.split(|byte| *byte == b'\n');
        let first = std::str::from_utf8(lines.next()?.strip_prefix(b"cpu ")?).ok()?;
        // What guests took is in the time of users already: the two numbers after these eight.
        let fields: Vec<u64> = first.split_ascii_whitespace().take(8).map_while(|n| n.parse().ok()).collect();
        let cpus = lines.take_while(|line| line.starts_with(b"cpu")).count() as u64;
        let [_, _, _, idle, waiting, ..] = *fields else { return None };
        let all = fields.iter().try_fold(0u64, |sum, n| sum.checked_add(*n))?;
        Some(Self { all, idle: idle.saturating_add(waiting), cpus: cpus.max(1) })
    }

    /// Thousandths of one cpu. Idle time may be counted backwards by a little.
    fn busy_since(self, before: Self) -> Option<u64> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)?;
        let busy = all.saturating_sub(self.idle.saturating_sub(before.idle));
        u64::try_from(u128::from(busy) * u128::from(self.cpus) * 1000 / u128::from(all)).ok()
    }
}

/// In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    pub total: u64,
    pub available: u64,
    swap_total: u64,
    swap_free: u64,
}

impl Memory {
    /// proc_meminfo(5).
    pub fn parse(text: &[u8]) -> Option<Self> {
        let bytes = |key| field(text, key).and_then(|kb| kb.checked_mul(1024));
        Some(Self {
            total: bytes("MemTotal")?,
            available: bytes("MemAvailable")?,
            swap_total: bytes("SwapTotal").unwrap_or(0),
            swap_free: bytes("SwapFree").unwrap_or(0),
        })
    }
}

/// proc_loadavg(5), in thousandths.
fn loads(text: &[u8]) -> Option<[u64; 3]> {
    let mut words = std::str::from_utf8(text).ok()?.split_ascii_whitespace().map(thousandths);
    Some([words.next()??, words.next()??, words.next()??])
}

/// A file of /proc/pressure: `some avg10=1.80 avg60=…` and `full avg10=0.00 …`, in percent. Older kernels have no second
/// line for cpus.
pub(super) fn pressure(text: &[u8]) -> Option<Pressure> {
    let average = |kind: &str| {
        let line = std::str::from_utf8(text).ok()?.lines().find_map(|line| line.strip_prefix(kind))?;
        let percent = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("avg10="))?;
        // Thousandths of a percent to thousandths, to the nearest.
        Some((thousandths(percent)? + 50) / 100)
    };
    Some(Pressure { some_permille: average("some ")?, full_permille: average("full ").unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_kilobytes_and_without_swap_there_is_none() {
        let text = b"MemTotal:       16303428 kB\nMemFree:          812 kB\nMemAvailable:   11000000 kB\n\
                     SwapTotal:       2097148 kB\nSwapFree:        2000000 kB\n";
        let memory = Memory {
            total: 16_303_428 << 10,
            available: 11_000_000 << 10,
            swap_total: 2_097_148 << 10,
            swap_free: 2_000_000 << 10,
        };
        assert_eq!(Memory::parse(text), Some(memory));
        let bare = Memory::parse(b"MemTotal: 8 kB\nMemAvailable: 4 kB\n").unwrap();
        assert_eq!((bare.total, bare.swap_total), (8192, 0));
        for bad in [
            "",
            "MemTotal: 8 kB\n",
            "MemTotal: x kB\nMemAvailable: 4 kB\n",
            "MemTotal: 18446744073709551615 kB\nMemAvailable: 4 kB\n",
        ] {
            assert_eq!(Memory::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn busy_cpus_are_what_is_neither_idle_nor_waiting_for_a_disk() {
        let text = b"cpu  100 5 20 800 50 1 2 3 40 0\ncpu0 50 0 0 0 0 0 0 0 0 0\ncpu1 50 0 0 0 0 0 0 0 0 0\nintr 1 2\n";
        let before = Ticks::parse(text).unwrap();
        assert_eq!(before, Ticks { all: 981, idle: 850, cpus: 2 });
        let later = Ticks { all: before.all + 200, idle: before.idle + 50, cpus: 2 };
        assert_eq!(later.busy_since(before), Some(1500));
        assert_eq!(before.busy_since(before), None);
        assert_eq!(before.busy_since(later), None);
        let back = Ticks { all: before.all + 100, idle: before.idle - 1, cpus: 2 };
        assert_eq!(back.busy_since(before), Some(2000));
        // Kernels before 2.6 count less.
        assert_eq!(Ticks::parse(b"cpu  1 2 3 4 5\ncpu0 1 2 3 4 5\n").unwrap().all, 15);
        for bad in
            ["", "cpu  1 2 3 4\n", "cpu0 1 2 3 4 5 6 7 8\n", "cpu  1 2 x 4 5\n", "cpu  18446744073709551615 1 1 1 1\n"]
        {
            assert_eq!(Ticks::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn load_and_pressure_are_told_in_thousandths() {
        assert_eq!(loads(b"0.87 1.37 12.54 1/86 25428\n"), Some([870, 1370, 12_540]));
        for bad in ["", "0.87 1.37\n", "a b c\n"] {
            assert_eq!(loads(bad.as_bytes()), None, "{bad}");
        }
        let both =
            b"some avg10=1.86 avg60=10.33 avg300=18.62 total=7918\nfull avg10=0.14 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(pressure(both), Some(Pressure { some_permille: 19, full_permille: 1 }));
        let one = b"some avg10=100.00 avg60=0.00 avg300=0.00 total=1\n";
        assert_eq!(pressure(one), Some(Pressure { some_permille: 1000, full_permille: 0 }));
        for bad in ["", "full avg10=1.00\n", "some avg60=1.00\n", "some avg10=\n"] {
            assert_eq!(pressure(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn this_machine_can_be_sampled_twice_and_then_says_how_busy_it_was() {
        let (mut host, mut buffer) = (Host::open().unwrap(), Vec::new());
        let recent = Duration::from_secs(10);
        let first = host.sample(Stamp::now(1), recent, &mut buffer).unwrap();
        assert_eq!(first.cpu_permille, None);
        assert!(first.memory_available_bytes <= first.memory_total_bytes && first.cpus > 0, "{first:?}");
        // Clock ticks pass while something is done.
        let spun = Instant::now();
        while spun.elapsed() < Duration::from_millis(50) {}
        let second = host.sample(Stamp::now(2), recent, &mut buffer).unwrap();
        assert!(second.cpu_permille.is_some_and(|busy| busy <= second.cpus * 1000), "{second:?}");
        assert_eq!(host.sample(Stamp::now(3), Duration::ZERO, &mut buffer).unwrap().cpu_permille, None);
    }
}
