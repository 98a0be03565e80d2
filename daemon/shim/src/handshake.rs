//! The few bytes that `qrmd` and a starting shim exchange on descriptor 4.
//! `qrmd` says [`GO`] or closes; the shim answers with one [`Report`] and closes, and nothing else is ever said.

use crate::record::{ExecError, Step, decimal};

/// What `qrmd` writes once the start of the job is committed.
pub const GO: u8 = b'g';
/// What the shim answers when the command was released.
pub(crate) const STARTED: u8 = b's';
/// What it answers when another shim holds the lock.
pub(crate) const HELD: u8 = b'h';
/// What it answers when the run was started before.
pub(crate) const RAN: u8 = b'r';
/// What the shim's answer begins with when the run could not be prepared.
const FAILED: char = 'f';

/// The shim's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The command was released. Whether it could be executed is in the exit record.
    Started,
    /// Another shim holds the lock of this run; this one did nothing.
    Held,
    /// This run was started once already; this shim did nothing.
    Ran,
    /// The run could not be prepared, for a reason that is not the command's; nothing was released.
    Failed {
        /// What could not be done.
        step: Step,
        /// The error of the system call.
        errno: i32,
    },
}

impl Report {
    /// The answer in everything that was read until the end of the stream: `s`, `h`, `r`, or `fSTEP ERRNO\n`.
    /// `None` if the shim went away without one: it was told nothing, or it was killed.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&STARTED, []) => Some(Self::Started),
            (&HELD, []) => Some(Self::Held),
            (&RAN, []) => Some(Self::Ran),
            _ => {
                let line = std::str::from_utf8(bytes).ok()?.strip_prefix(FAILED)?.strip_suffix('\n')?;
                let (step, errno) = line.split_once(' ')?;
                Some(Self::Failed { step: Step::parse(step)?, errno: errno.parse().ok()? })
            }
        }
    }
}

/// The shim's answer when the run could not be prepared.
pub(crate) fn failed(error: ExecError) -> String {
    let mut line = String::with_capacity(32);
    line.push(FAILED);
    line.push_str(error.stage.as_str());
    line.push(' ');
    decimal(&mut line, error.errno.unsigned_abs().into());
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_anything_else_is_none() {
        assert_eq!(Report::parse(b"s"), Some(Report::Started));
        assert_eq!((Report::parse(b"h"), Report::parse(b"r")), (Some(Report::Held), Some(Report::Ran)));
        assert_eq!(Report::parse(b"fstarted 28\n"), Some(Report::Failed { step: Step::Started, errno: 28 }));
        let line = failed(ExecError { stage: Step::Cgroup, errno: 1 });
        assert_eq!(Report::parse(line.as_bytes()), Some(Report::Failed { step: Step::Cgroup, errno: 1 }));
        for bytes in [&b""[..], b"x", b"ss", b"f", b"fstarted 28", b"fnothing 1\n", b"fstarted x\n", b"f\xff 1\n"] {
            assert_eq!(Report::parse(bytes), None, "{bytes:?}");
        }
    }
}
