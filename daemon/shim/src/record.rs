//! The two records of a run: what the shim writes once, on one line, and `qrmd` reads.
//! It writes JSON and cannot read it: reading belongs to whoever turns on the feature `serde`.

use crate::cgroup::JobCgroup;
use crate::run_file::EXIT_BYTES;

/// Written before the command is released.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Started {
    /// The machine's boot id; with another one, no pid below means anything.
    pub boot_id: String,
    /// The shim.
    pub shim_pid: u32,
    /// Its start time, field 22 of `/proc/PID/stat`, in clock ticks since boot.
    pub shim_start: u64,
    /// The command's process.
    pub pid: u32,
    /// Its start time, in clock ticks since boot.
    pub pid_start: u64,
    /// The job's group.
    pub cgroup: Option<JobCgroup>,
    /// When this was written, in milliseconds since 1970.
    pub at_wall_ms: u64,
    /// The same in milliseconds since boot, suspended time included.
    pub at_boot_ms: u64,
}

/// Written when nothing of the job is left.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Exit {
    /// The command's exit code, if it exited; 127 or 126 if it could not be executed.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// It left a core file.
    pub core_dumped: bool,
    /// Why it was never executed.
    pub exec_error: Option<ExecError>,
    /// Time in user mode of all the job's processes, in microseconds.
    pub user_us: u64,
    /// Time in the kernel of all the job's processes, in microseconds.
    pub system_us: u64,
    /// The largest resident set of any one process.
    pub max_rss_bytes: u64,
    /// The most memory the job had: of its memory group if it had one, else `max_rss_bytes`.
    pub peak_memory_bytes: u64,
    /// Where `peak_memory_bytes` is from.
    pub peak_from: PeakFrom,
    /// The kernel killed something in the job's memory group because that was full.
    pub oom: bool,
    /// How many processes outlived the command and were killed.
    pub killed_leftovers: u32,
    /// When the command was released, in milliseconds since 1970.
    pub started_wall_ms: u64,
    /// The same in milliseconds since boot, suspended time included.
    pub started_boot_ms: u64,
    /// When the command ended, in milliseconds since 1970.
    pub ended_wall_ms: u64,
    /// The same in milliseconds since boot, suspended time included.
    pub ended_boot_ms: u64,
    /// Blocks of 512 bytes read from disk.
    pub read_blocks: u64,
    /// Blocks of 512 bytes written to disk.
    pub write_blocks: u64,
    /// How often a process of the job gave up a cpu.
    pub voluntary_switches: u64,
    /// How often a cpu was taken from one.
    pub involuntary_switches: u64,
    /// What the program exited with that was run after the command, or 128 and the number of the signal that ended it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub after: Option<i32>,
    /// How often the kernel refused the job a process because its group for them was full.
    #[cfg_attr(feature = "serde", serde(default))]
    pub pids_refused: u64,
    /// The error number, if not all that its terminal showed could be written to the log.
    #[cfg_attr(feature = "serde", serde(default))]
    pub log: Option<i32>,
}

/// The command was released and could not be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ExecError {
    /// What could not be done.
    pub stage: Step,
    /// The error of the system call.
    pub errno: i32,
}

/// An error of a step, for a record.
pub(crate) fn failure(stage: Step, error: &std::io::Error) -> ExecError {
    ExecError { stage, errno: error.raw_os_error().unwrap_or(libc::EIO) }
}

/// Where a peak of memory was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum PeakFrom {
    /// The job's memory group.
    Cgroup,
    /// The largest single process.
    Rss,
}

/// What can go wrong on the way to the command's first instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum Step {
    /// Reading the plan.
    Plan,
    /// Locking the file of its records.
    Lock,
    /// Opening standard output.
    Stdout,
    /// Opening standard error.
    Stderr,
    /// Opening standard input.
    Stdin,
    /// Making the child.
    Fork,
    /// Putting the child into its group.
    Cgroup,
    /// Writing the start record.
    Started,
    /// Setting a limit.
    Rlimit,
    /// Setting the nice value.
    Nice,
    /// Entering the working directory.
    Chdir,
    /// Executing the command.
    Exec,
    /// Becoming the job's user.
    User,
    /// Making its terminal.
    Terminal,
}

impl Step {
    const ALL: [(Self, &str); 14] = [
        (Self::Plan, "plan"),
        (Self::Lock, "lock"),
        (Self::Stdout, "stdout"),
        (Self::Stderr, "stderr"),
        (Self::Stdin, "stdin"),
        (Self::Fork, "fork"),
        (Self::Cgroup, "cgroup"),
        (Self::Started, "started"),
        (Self::Rlimit, "rlimit"),
        (Self::Nice, "nice"),
        (Self::Chdir, "chdir"),
        (Self::Exec, "exec"),
        (Self::User, "user"),
        (Self::Terminal, "terminal"),
    ];

    /// Its name in a record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The step of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, other)| *other == name).map(|(step, _)| *step)
    }

    /// The step that [`as_byte`](Self::as_byte) made this of.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).map(|(step, _)| *step)
    }

    pub(crate) const fn as_byte(self) -> u8 {
        self as u8
    }
}

impl Started {
    /// The record on one line, with its newline.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = String::with_capacity(256);
        self.write_json(&mut text);
        text
    }

    /// Appends it.
    pub(crate) fn write_json(&self, text: &mut String) {
        let mut out = Object::begin(text);
        out.string("boot_id", &self.boot_id);
        out.number("shim_pid", self.shim_pid.into());
        out.number("shim_start", self.shim_start);
        out.number("pid", self.pid.into());
        out.number("pid_start", self.pid_start);
        out.key("cgroup");
        match &self.cgroup {
            None => out.0.push_str("null"),
            Some(group) => {
                let (kind, place, dir, others) = match group {
                    JobCgroup::V2 { dir, others } => ("v2", "dir", dir, others),
                    JobCgroup::V1 { freezer, others } => ("v1", "freezer", freezer, others),
                };
                let mut outer = Object::begin(out.0);
                outer.key(kind);
                let mut inner = Object::begin(outer.0);
                inner.string(place, &dir.to_string_lossy());
                inner.key("others");
                inner.0.push('[');
                for (at, other) in others.iter().enumerate() {
                    if at > 0 {
                        inner.0.push(',');
                    }
                    quote(inner.0, &other.to_string_lossy());
                }
                inner.0.push(']');
                inner.end();
                outer.end();
            }
        }
        out.number("at_wall_ms", self.at_wall_ms);
        out.number("at_boot_ms", self.at_boot_ms);
        out.end();
        text.push('\n');
    }
}

impl Exit {
    /// The record on one line, with its newline; at most [`EXIT_BYTES`].
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = String::with_capacity(EXIT_BYTES);
        let mut out = Object::begin(&mut text);
        out.signed("code", self.code);
        out.signed("signal", self.signal);
        out.raw("core_dumped", boolean(self.core_dumped));
        match self.exec_error {
            None => out.raw("exec_error", "null"),
            Some(error) => {
                out.key("exec_error");
                let mut inner = Object::begin(out.0);
                inner.string("stage", error.stage.as_str());
                inner.signed("errno", Some(error.errno));
                inner.end();
            }
        }
        out.number("user_us", self.user_us);
        out.number("system_us", self.system_us);
        out.number("max_rss_bytes", self.max_rss_bytes);
        out.number("peak_memory_bytes", self.peak_memory_bytes);
        out.raw(
            "peak_from",
            match self.peak_from {
                PeakFrom::Cgroup => "\"cgroup\"",
                PeakFrom::Rss => "\"rss\"",
            },
        );
        out.raw("oom", boolean(self.oom));
        out.number("killed_leftovers", self.killed_leftovers.into());
        out.number("started_wall_ms", self.started_wall_ms);
        out.number("started_boot_ms", self.started_boot_ms);
        out.number("ended_wall_ms", self.ended_wall_ms);
        out.number("ended_boot_ms", self.ended_boot_ms);
        out.number("read_blocks", self.read_blocks);
        out.number("write_blocks", self.write_blocks);
        out.number("voluntary_switches", self.voluntary_switches);
        out.number("involuntary_switches", self.involuntary_switches);
        out.signed("after", self.after);
        out.number("pids_refused", self.pids_refused);
        out.signed("log", self.log);
        out.end();
        text.push('\n');
        text
    }
}

fn boolean(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// A JSON object under construction.
struct Object<'a>(&'a mut String);

impl<'a> Object<'a> {
    fn begin(text: &'a mut String) -> Self {
        text.push('{');
        Self(text)
    }

    fn key(&mut self, key: &str) {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
        for part in ["\"", key, "\":"] {
            self.0.push_str(part);
        }
    }

    fn raw(&mut self, key: &str, value: &str) {
        self.key(key);
        self.0.push_str(value);
    }

    fn string(&mut self, key: &str, value: &str) {
        self.key(key);
        quote(self.0, value);
    }

    fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        decimal(self.0, value);
    }

    fn signed(&mut self, key: &str, value: Option<i32>) {
        self.key(key);
        match value {
            None => self.0.push_str("null"),
            Some(value) => {
                if value < 0 {
                    self.0.push('-');
                }
                decimal(self.0, value.unsigned_abs().into());
            }
        }
    }

    fn end(self) {
        self.0.push('}');
    }
}

/// Appends a number; `format!` would do it at four times the code.
pub(crate) fn decimal(out: &mut String, value: u64) {
    if value >= 10 {
        decimal(out, value / 10);
    }
    out.push(char::from(b'0' + (value % 10) as u8));
}

/// Appends a JSON string (RFC 8259, section 7).
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => {
                out.push('\\');
                out.push(char);
            }
            '\0'..='\x1f' => {
                out.push_str("\\u00");
                for digit in [char as u32 >> 4, char as u32 & 15] {
                    out.push(char::from_digit(digit, 16).expect("four bits are one digit"));
                }
            }
            _ => out.push(char),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest() -> Exit {
        Exit {
            code: Some(i32::MIN),
            signal: Some(i32::MIN),
            core_dumped: false,
            exec_error: Some(ExecError { stage: Step::Started, errno: i32::MIN }),
            user_us: u64::MAX,
            system_us: u64::MAX,
            max_rss_bytes: u64::MAX,
            peak_memory_bytes: u64::MAX,
            peak_from: PeakFrom::Cgroup,
            oom: false,
            killed_leftovers: u32::MAX,
            started_wall_ms: u64::MAX,
            started_boot_ms: u64::MAX,
            ended_wall_ms: u64::MAX,
            ended_boot_ms: u64::MAX,
            read_blocks: u64::MAX,
            write_blocks: u64::MAX,
            voluntary_switches: u64::MAX,
            involuntary_switches: u64::MAX,
            after: Some(i32::MIN),
            pids_refused: u64::MAX,
            log: Some(i32::MIN),
        }
    }

    #[test]
    fn the_largest_exit_record_fits_in_the_space_set_aside() {
        assert!(largest().to_json().len() <= EXIT_BYTES);
    }

    #[test]
    fn every_step_has_its_name() {
        for (at, (step, name)) in Step::ALL.into_iter().enumerate() {
            assert_eq!((step as usize, step.as_str()), (at, name));
            assert_eq!((Step::parse(name), Step::from_byte(step.as_byte())), (Some(step), Some(step)));
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn what_is_written_is_what_serde_reads() {
        let ended = Exit { code: Some(0), signal: None, exec_error: None, oom: true, ..largest() };
        let ended = Exit { peak_from: PeakFrom::Rss, core_dumped: true, ..ended };
        for exit in [largest(), ended] {
            assert_eq!(serde_json::from_str::<Exit>(&exit.to_json()).unwrap(), exit);
            assert_eq!(serde_json::to_string(&exit).unwrap() + "\n", exit.to_json());
        }
        let others = vec!["/m".into(), "/c".into()];
        for cgroup in [
            None,
            Some(JobCgroup::V2 { dir: "/sys/fs/cgroup/a \"b\" \\ \n\u{1}é".into(), others: vec![] }),
            Some(JobCgroup::V1 { freezer: "/f".into(), others }),
        ] {
            let (shim_start, at_wall_ms, at_boot_ms) = (u64::MAX, 0, 10);
            let started = Started {
                boot_id: "b".into(),
                shim_pid: u32::MAX,
                shim_start,
                pid: 1,
                pid_start: 2,
                cgroup,
                at_wall_ms,
                at_boot_ms,
            };
            assert_eq!(serde_json::from_str::<Started>(&started.to_json()).unwrap(), started);
        }
        for (step, name) in Step::ALL {
            assert_eq!(serde_json::to_string(&step).unwrap(), format!("{name:?}"));
        }
    }
}
