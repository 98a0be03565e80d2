//! The plan: everything the shim is told about one run, as bytes in a memfd, so that no environment is ever in a
//! file. It holds values that are ready to use and refuses to know where they came from.

use std::fmt;

use crate::cgroup::JobCgroup;
use crate::identity::Identity;
use crate::terminal::Window;
use crate::wire::{Malformed, Reader, Writer};

pub use crate::wire::{Encoded, Text};

const MAGIC: &[u8; 4] = b"QRMP";
/// Goes up with every change of the layout: `qrmd` and the shim of one installation always agree, and a mixture
/// of two is told apart instead of misread.
const VERSION: u32 = 4;

/// One run of one stage of a job. `S` is `Vec<u8>` for who writes a plan and [`Encoded`] for who runs one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan<S = Vec<u8>> {
    /// Stage and attempt; the record files are named after it.
    pub run: RunName,
    /// The job's id as people write it, `12` or `12.3`.
    pub job: S,
    /// The machine's boot id (`/proc/sys/kernel/random/boot_id`), to be put into the record; `qrmd` has it at hand.
    pub boot_id: S,
    /// The program and its arguments; never empty. A name without `/` is looked up in the `PATH` of `env`.
    pub argv: Vec<S>,
    /// The complete environment, each `NAME=value`.
    pub env: Vec<S>,
    /// The working directory.
    pub cwd: S,
    /// The file mode creation mask.
    pub umask: u32,
    /// As whom it runs; without one, as who runs the shim.
    pub identity: Option<Identity>,
    /// Where standard output goes.
    pub stdout: LogTarget<S>,
    /// Where standard error goes; the same file as `stdout` is legal and keeps the order of the writes.
    pub stderr: LogTarget<S>,
    /// Where standard input comes from.
    pub stdin: Stdin<S>,
    /// It has a terminal of this size, which is all three of its streams; what it shows is appended to `stdout`.
    pub terminal: Option<Window>,
    /// The job's group, made by `qrmd`; without one the shim tracks descendants.
    pub cgroup: Option<JobCgroup>,
    /// Limits of setrlimit(2), set in the child.
    pub rlimits: Vec<Rlimit>,
    /// The nice value, set in the child.
    pub nice: Option<i32>,
    /// A program and its arguments, run in the group and the working directory of the job when all of its processes are
    /// gone. What it exits with is in the exit record.
    pub after: Option<Vec<S>>,
    /// How to start `qrmd` when the job ends and none is there.
    pub restart: Option<Restart<S>>,
}

/// Where an output stream goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget<S = Vec<u8>> {
    /// A regular file of this name in the job's directory; made if it is missing, else appended to.
    InJobDir(S),
    /// Whatever this path is for the job, from its working directory on; made if it is missing, else appended to.
    File(S),
}

/// Where standard input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stdin<S = Vec<u8>> {
    /// `/dev/null`.
    Null,
    /// A FIFO of this name in the job's directory. The command is executed when its writer has opened it.
    Fifo(S),
    /// Whatever this path is for the job, from its working directory on.
    File(S),
}

/// One limit of setrlimit(2); `u64::MAX` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// `RLIMIT_…` of this machine.
    pub resource: u32,
    /// The soft limit, in the resource's own unit.
    pub soft: u64,
    /// The hard limit, in the resource's own unit.
    pub hard: u64,
}

/// How to start `qrmd` again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart<S = Vec<u8>> {
    /// The program's path; not looked up.
    pub qrmd: S,
    /// Its arguments, without its name.
    pub args: Vec<S>,
    /// Its environment, complete.
    pub env: Vec<S>,
    /// The file that a living `qrmd` holds a record lock on. If it does not exist, `qrmd` is not started: its
    /// state directory is gone.
    pub lock: S,
    /// If this file exists, `qrmd` was stopped on purpose and stays so.
    pub stopped: S,
}

/// The name of a run, `execute-1`: the stage and which attempt at it; lower case letters, `-`, digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunName(String);

impl RunName {
    /// The longest name, so that a record file's name stays far below `NAME_MAX`.
    pub const MAX: usize = 40;

    /// The name of attempt `attempt` at `stage`. `None` unless `stage` is 1 to 24 lower case letters.
    #[must_use]
    pub fn new(stage: &str, attempt: u32) -> Option<Self> {
        Self::parse(&format!("{stage}-{attempt}"))
    }

    /// A name as [`RunName::new`] makes them.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (stage, attempt) = name.split_once('-')?;
        let good = (1..=24).contains(&stage.len())
            && stage.bytes().all(|byte| byte.is_ascii_lowercase())
            && (1..=10).contains(&attempt.len())
            && attempt.bytes().all(|byte| byte.is_ascii_digit())
            && name.len() <= Self::MAX;
        good.then(|| Self(name.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Bytes that are no plan of this version. It is always our own mistake, or a mixture of two installations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// They do not begin as a plan does.
    NotAPlan,
    /// A plan of this other version.
    Version(u32),
    /// This was expected, and something else was there.
    Expected(&'static str),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPlan => f.write_str("these bytes are not a plan"),
            Self::Version(version) => write!(f, "the plan has version {version}, this program reads {VERSION}"),
            Self::Expected(what) => write!(f, "malformed plan: expected {what}"),
        }
    }
}

impl std::error::Error for PlanError {}

impl From<Malformed> for PlanError {
    fn from(what: Malformed) -> Self {
        Self::Expected(what)
    }
}

impl Plan {
    /// The plan in these bytes, copied.
    ///
    /// # Errors
    /// As [`PlanError`] says.
    pub fn decode(bytes: &[u8]) -> Result<Self, PlanError> {
        Self::read(bytes)
    }
}

impl<'a> Plan<Encoded<'a>> {
    /// The plan in these bytes, where they are: every string is a C string inside `bytes`.
    ///
    /// # Errors
    /// As [`PlanError`] says.
    pub fn view(bytes: &'a [u8]) -> Result<Self, PlanError> {
        Self::read(bytes)
    }
}

impl<S: AsRef<[u8]>> Plan<S> {
    /// The plan as bytes. What must not hold a NUL or a `/` is checked by `decode`, not here.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let texts = |list: &[S]| list.iter().map(|text| text.as_ref().len() + 5).sum::<usize>();
        let mut out = Writer(Vec::with_capacity(512 + texts(&self.argv) + texts(&self.env)));
        out.0.extend_from_slice(MAGIC);
        out.u32(VERSION);
        out.text(self.run.as_str().as_bytes());
        out.text(self.job.as_ref());
        out.text(self.boot_id.as_ref());
        out.texts(&self.argv);
        out.texts(&self.env);
        out.text(self.cwd.as_ref());
        out.u32(self.umask);
        out.u8(u8::from(self.identity.is_some()));
        if let Some(identity) = &self.identity {
            identity.encode(&mut out);
        }
        for target in [&self.stdout, &self.stderr] {
            let (kind, name) = match target {
                LogTarget::InJobDir(name) => (0, name),
                LogTarget::File(path) => (1, path),
            };
            out.u8(kind);
            out.text(name.as_ref());
        }
        match &self.stdin {
            Stdin::Null => out.u8(0),
            Stdin::Fifo(name) => {
                out.u8(1);
                out.text(name.as_ref());
            }
            Stdin::File(path) => {
                out.u8(2);
                out.text(path.as_ref());
            }
        }
        out.u8(u8::from(self.terminal.is_some()));
        if let Some(window) = self.terminal {
            out.u32(window.rows.into());
            out.u32(window.cols.into());
        }
        out.u8(u8::from(self.cgroup.is_some()));
        if let Some(group) = &self.cgroup {
            group.encode(&mut out);
        }
        out.count(self.rlimits.len());
        for limit in &self.rlimits {
            out.u32(limit.resource);
            out.u64(limit.soft);
            out.u64(limit.hard);
        }
        out.u8(u8::from(self.nice.is_some()));
        if let Some(nice) = self.nice {
            out.u32(nice.cast_unsigned());
        }
        out.u8(u8::from(self.after.is_some()));
        if let Some(after) = &self.after {
            out.texts(after);
        }
        out.u8(u8::from(self.restart.is_some()));
        if let Some(restart) = &self.restart {
            out.text(restart.qrmd.as_ref());
            out.texts(&restart.args);
            out.texts(&restart.env);
            out.text(restart.lock.as_ref());
            out.text(restart.stopped.as_ref());
        }
        out.0
    }

    fn read<'a>(bytes: &'a [u8]) -> Result<Self, PlanError>
    where
        S: Text<'a>,
    {
        let mut from = Reader(bytes);
        if from.take(4) != Ok(MAGIC) {
            return Err(PlanError::NotAPlan);
        }
        let version = from.u32()?;
        if version != VERSION {
            return Err(PlanError::Version(version));
        }
        let run = from.text::<Encoded>()?;
        let run = run.0.to_str().ok().and_then(RunName::parse).ok_or("the name of a run")?;
        let plan = Self {
            run,
            job: from.text()?,
            boot_id: from.text()?,
            argv: from.texts()?,
            env: from.texts()?,
            cwd: from.text()?,
            umask: from.u32()?,
            identity: from.option(Identity::decode)?,
            stdout: log_target(&mut from)?,
            stderr: log_target(&mut from)?,
            stdin: match from.u8()? {
                0 => Stdin::Null,
                1 => Stdin::Fifo(file_name(&mut from)?),
                2 => Stdin::File(from.text()?),
                _ => return Err(PlanError::Expected("a source of standard input")),
            },
            terminal: from.option(|from| Ok(Window { rows: side(from)?, cols: side(from)? }))?,
            cgroup: from.option(JobCgroup::decode)?,
            rlimits: from
                .list(20, |from| Ok(Rlimit { resource: from.u32()?, soft: from.u64()?, hard: from.u64()? }))?,
            nice: from.option(|from| Ok(from.u32()?.cast_signed()))?,
            after: from.option(Reader::texts)?,
            restart: from.option(|from| {
                Ok(Restart {
                    qrmd: from.text()?,
                    args: from.texts()?,
                    env: from.texts()?,
                    lock: from.text()?,
                    stopped: from.text()?,
                })
            })?,
        };
        if plan.argv.is_empty() || plan.after.as_ref().is_some_and(Vec::is_empty) {
            return Err(PlanError::Expected("a program"));
        }
        if !from.0.is_empty() {
            return Err(PlanError::Expected("the end"));
        }
        Ok(plan)
    }
}

fn log_target<'a, S: Text<'a>>(from: &mut Reader<'a>) -> Result<LogTarget<S>, Malformed> {
    match from.u8()? {
        0 => Ok(LogTarget::InJobDir(file_name(from)?)),
        1 => Ok(LogTarget::File(from.text()?)),
        _ => Err("a place for output"),
    }
}

fn side(from: &mut Reader<'_>) -> Result<u16, Malformed> {
    u16::try_from(from.u32()?).map_err(|_| "the size of a terminal")
}

/// A name that cannot lead out of the job's directory.
fn file_name<'a, S: Text<'a>>(from: &mut Reader<'a>) -> Result<S, Malformed> {
    let name: S = from.text()?;
    match name.as_ref() {
        b"" | b"." | b".." => Err("the name of a file"),
        bytes if bytes.contains(&b'/') => Err("the name of a file"),
        _ => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Plan {
        let text = |text: &str| text.as_bytes().to_vec();
        Plan {
            run: RunName::new("execute", 1).unwrap(),
            job: text("12.3"),
            boot_id: text("5f3a"),
            argv: vec![text("/bin/echo"), text(""), vec![0xff, b'\n', b' ']],
            env: vec![text("PATH=/bin"), text("EMPTY=")],
            cwd: text("/tmp"),
            umask: 0o027,
            identity: Some(Identity { uid: 1000, gid: 100, groups: vec![100, 27] }),
            stdout: LogTarget::InJobDir(text("stdout")),
            stderr: LogTarget::InJobDir(text("stderr")),
            stdin: Stdin::Fifo(text("stdin")),
            terminal: Some(Window { rows: 24, cols: 80 }),
            cgroup: Some(JobCgroup::V1 { freezer: "/f".into(), others: vec!["/m".into()] }),
            rlimits: vec![Rlimit { resource: 4, soft: 0, hard: u64::MAX }],
            nice: Some(-5),
            after: Some(vec![text("/usr/bin/qrmd"), text("--collect")]),
            restart: Some(Restart {
                qrmd: text("/usr/bin/qrmd"),
                args: vec![text("--state"), text("/x")],
                env: vec![text("HOME=/root")],
                lock: text("/x/lock"),
                stopped: text("/x/stopped"),
            }),
        }
    }

    #[test]
    fn a_plan_reads_back_as_it_was_written() {
        let plan = full();
        assert_eq!(Plan::decode(&plan.encode()), Ok(plan.clone()));
        let bare =
            Plan { stdin: Stdin::Null, identity: None, cgroup: None, rlimits: vec![], nice: None, after: None, ..plan };
        let bare = Plan { terminal: None, restart: None, stdout: LogTarget::File(b"/tmp/out".to_vec()), ..bare };
        let bare = Plan { stdin: Stdin::File(b"in".to_vec()), ..bare };
        assert_eq!(Plan::decode(&bare.encode()), Ok(bare.clone()));
        assert_eq!(Plan::view(&bare.encode()).unwrap().encode(), bare.encode());
    }

    #[test]
    fn a_cut_plan_and_a_longer_one_are_refused_and_never_panic() {
        let bytes = full().encode();
        for len in 0..bytes.len() {
            assert!(Plan::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        assert_eq!(Plan::decode(&[&bytes[..], b"x"].concat()), Err(PlanError::Expected("the end")));
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0xff;
            drop(Plan::decode(&bytes));
        }
    }

    #[test]
    fn what_could_lead_out_of_the_directory_is_refused() {
        for name in ["", ".", "..", "a/b", "/etc/passwd"] {
            let plan = Plan { stdout: LogTarget::InJobDir(name.into()), ..full() };
            assert_eq!(Plan::decode(&plan.encode()), Err(PlanError::Expected("the name of a file")), "{name}");
        }
        let plan = Plan { argv: vec![b"a\0b".to_vec()], ..full() };
        assert_eq!(Plan::decode(&plan.encode()), Err(PlanError::Expected("a string without NUL inside")));
        assert_eq!(Plan::decode(&Plan { argv: vec![], ..full() }.encode()), Err(PlanError::Expected("a program")));
        for name in ["", "execute", "execute-", "-1", "Execute-1", "../x-1", "execute-1x", "execute-1/2"] {
            assert_eq!(RunName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn other_bytes_and_other_versions_are_told_apart() {
        assert_eq!(Plan::decode(b"nonsense"), Err(PlanError::NotAPlan));
        let mut bytes = full().encode();
        bytes[4] = 1;
        assert_eq!(Plan::decode(&bytes), Err(PlanError::Version(1)));
    }
}
