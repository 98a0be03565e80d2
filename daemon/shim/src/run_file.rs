//! The file with the records of a run: which run it is for, when that was started, and how it ended.
//! It knows where each stands and what makes it whole, and neither makes nor understands a record.
//!
//! The file is there before the run and is used again for another: making and removing files costs more than a short
//! job does. Bytes 0 to 1023 are for the exit record. After them come two lines, the owner (`12.3 execute-1`) and the
//! start record. What is not there is zero; a line is whole exactly if its newline is there. For as long as it lives,
//! a shim holds the POSIX record lock of the file, so that `F_GETLK` names its pid.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{fstat, ftruncate};
use rustix::io::{pread, pwrite, retry_on_intr};

use crate::plan::RunName;

/// The space for the exit record; one with the largest value in every field is smaller.
pub const EXIT_BYTES: usize = 1024;
/// What a claim writes, and so sets aside; more is needed only where paths are long.
const CLAIM_BYTES: usize = 2048;
/// The longest: two paths with every byte escaped, and a few numbers.
const LONGEST: usize = 64 << 10;

/// What the claim of a run says, without its newline.
#[must_use]
pub fn owner(job: &[u8], run: &RunName) -> Vec<u8> {
    [job, b" ", run.as_str().as_bytes()].concat()
}

/// Makes the file this owner's and forgets what it held. A full disk is found out here: the end of a run needs no
/// space that was not set aside.
///
/// # Errors
/// It cannot be written; then it is nobody's.
pub fn claim(file: impl AsFd, owner: &[u8]) -> io::Result<()> {
    if fstat(&file)?.st_size.cast_unsigned() > CLAIM_BYTES as u64 {
        ftruncate(&file, CLAIM_BYTES as u64)?;
    }
    let mut bytes = vec![0; CLAIM_BYTES.max(EXIT_BYTES + owner.len() + 1)];
    bytes[EXIT_BYTES..][..owner.len()].copy_from_slice(owner);
    bytes[EXIT_BYTES + owner.len()] = b'\n';
    write(file, &bytes, 0)
}

/// Puts the start record, a line, behind the owner. It allocates nothing.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_started(file: impl AsFd, owner: &[u8], line: &str) -> io::Result<()> {
    write(file, line.as_bytes(), (EXIT_BYTES + owner.len() + 1) as u64)
}

/// Puts the exit record, a line, in its place.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_exit(file: impl AsFd, line: &str) -> io::Result<()> {
    write(file, line.as_bytes(), 0)
}

fn write(file: impl AsFd, bytes: &[u8], at: u64) -> io::Result<()> {
    match retry_on_intr(|| pwrite(&file, bytes, at))? == bytes.len() {
        true => Ok(()),
        false => Err(rustix::io::Errno::NOSPC.into()),
    }
}

/// What a file held when it was read.
#[derive(Debug)]
pub struct RunFile(Vec<u8>);

impl RunFile {
    /// Reads it all.
    ///
    /// # Errors
    /// It cannot be read, or is larger than any that we write.
    pub fn read(file: impl AsFd) -> io::Result<Self> {
        let mut bytes = vec![0; CLAIM_BYTES * 2];
        let mut len = 0;
        loop {
            len += retry_on_intr(|| pread(&file, &mut bytes[len..], len as u64))?;
            // A regular file gives all it has.
            if len < bytes.len() {
                bytes.truncate(len);
                return Ok(Self(bytes));
            }
            if len > EXIT_BYTES + LONGEST {
                return Err(rustix::io::Errno::FBIG.into());
            }
            bytes.resize(len * 2, 0);
        }
    }

    /// Whose it is; nobody's before the first claim.
    #[must_use]
    pub fn owner(&self) -> Option<&[u8]> {
        line(self.0.get(EXIT_BYTES..)?)
    }

    /// The start record, if it is whole; only then may the command have run.
    #[must_use]
    pub fn started(&self) -> Option<&[u8]> {
        let after = EXIT_BYTES + self.owner()?.len() + 1;
        line(self.0.get(after..)?)
    }

    /// The exit record, if it is whole.
    #[must_use]
    pub fn exit(&self) -> Option<&[u8]> {
        self.owner()?;
        line(&self.0[..EXIT_BYTES])
    }
}

/// The text before the first newline, if that comes before the first zero and there is any.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | 0))?;
    (bytes[end] == b'\n' && end > 0).then(|| &bytes[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn file() -> File {
        File::options().read(true).write(true).create(true).truncate(true).open(temp()).unwrap()
    }

    fn temp() -> std::path::PathBuf {
        let number = std::thread::current().id();
        std::env::temp_dir().join(format!("run-file-{}-{number:?}", std::process::id()))
    }

    #[test]
    fn a_claim_forgets_all_that_was_there() {
        let file = file();
        let read = || RunFile::read(&file).unwrap();
        assert_eq!((read().owner(), read().started(), read().exit()), (None, None, None));
        for (owner, long) in [(&b"12.3 execute-1"[..], 5000), (b"4 execute-1", 10), (b"1234567.3 validate-12", 3000)] {
            claim(&file, owner).unwrap();
            assert_eq!((read().owner(), read().started(), read().exit()), (Some(owner), None, None));
            let started = "s".repeat(long);
            write_started(&file, owner, &started).unwrap();
            assert_eq!(read().started(), None, "it has no newline");
            write_started(&file, owner, &[&started, "\n"].concat()).unwrap();
            write_exit(&file, "{\"code\":").unwrap();
            assert_eq!((read().started(), read().exit()), (Some(started.as_bytes()), None));
            write_exit(&file, "{}\n").unwrap();
            assert_eq!((read().owner(), read().exit()), (Some(owner), Some(&b"{}"[..])));
        }
        std::fs::remove_file(temp()).unwrap();
    }

    #[test]
    fn what_is_there_in_part_is_nobody_s() {
        let file = file();
        claim(&file, b"12 execute-1").unwrap();
        write_exit(&file, "{}\n").unwrap();
        for size in [0, 3, EXIT_BYTES, EXIT_BYTES + 5] {
            ftruncate(&file, size as u64).unwrap();
            let read = RunFile::read(&file).unwrap();
            assert_eq!((read.owner(), read.started(), read.exit()), (None, None, None), "{size} bytes");
            claim(&file, b"12 execute-1").unwrap();
            write_exit(&file, "{}\n").unwrap();
        }
        std::fs::remove_file(temp()).unwrap();
    }
}
