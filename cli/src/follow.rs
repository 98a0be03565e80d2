//! Following the output files of a job: what is there, and what is written from now on, told by inotify.
//! It refuses to know when a job has ended; who calls does.

use qrm_protocol::error::{Code, Error};
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where the bytes of a stream go.
pub(crate) type Sink<'a> = &'a mut dyn Write;

/// The output of one job.
pub(crate) struct Follow {
    dir: PathBuf,
    opened: Option<OwnedFd>,
    files: [Option<File>; 2],
    watch: OwnedFd,
}

/// So much of a stream is read at once, so that a flood on one does not hold up the other.
const PIECE: usize = 64 * 1024;

/// For a look at descriptors that does not wait.
pub(crate) const NOW: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };

/// The streams, in the order of `files`.
pub(crate) const STREAMS: [&str; 2] = ["stdout", "stderr"];

fn failed(what: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::new(Code::Unavailable, format!("the output in {} can not be read: {why}", what.display()))
}

impl Follow {
    /// Of the job with this directory, which may not be there yet.
    pub(crate) fn new(dir: &Path) -> Result<Self, Error> {
        let watch = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(|e| failed(dir, &e))?;
        Ok(Self { dir: dir.to_owned(), opened: None, files: [None, None], watch })
    }

    /// Readable when there may be more.
    pub(crate) fn changed(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    /// Forgets what made it readable.
    pub(crate) fn drain(&self) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.watch, &mut buffer);
        while reader.next().is_ok() {}
    }

    /// Opens what is there by now. Files that are missing have no output, yet or ever.
    fn open(&mut self) -> Result<(), Error> {
        if self.opened.is_none() {
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match open(&self.dir, flags, Mode::empty()) {
                Ok(fd) => {
                    let events = WatchFlags::CREATE | WatchFlags::MODIFY;
                    add_watch(&self.watch, &self.dir, events).map_err(|e| failed(&self.dir, &e))?;
                    self.opened = Some(fd);
                }
                Err(rustix::io::Errno::NOENT) => return Ok(()),
                Err(e) => return Err(failed(&self.dir, &e)),
            }
        }
        let Some(dir) = &self.opened else { return Ok(()) };
        for (file, name) in self.files.iter_mut().zip(STREAMS) {
            if file.is_none() {
                *file = open_regular(dir.as_fd(), name).map_err(|e| failed(&self.dir.join(name), &e))?;
            }
        }
        Ok(())
    }

    /// Copies what there is to where it belongs, a bounded piece of each stream; whether there may be more. A stream
    /// without a sink is passed over.
    pub(crate) fn pump(&mut self, sinks: &mut [Option<Sink<'_>>; 2]) -> Result<bool, Pump> {
        self.open()?;
        let mut more = false;
        let mut buffer = vec![0; PIECE];
        for (file, sink) in self.files.iter_mut().zip(sinks) {
            let (Some(file), Some(sink)) = (file, sink) else { continue };
            let n = file.read(&mut buffer).map_err(|e| failed(&self.dir, &e))?;
            sink.write_all(&buffer[..n]).and_then(|()| sink.flush()).map_err(|_| Pump::Sink)?;
            more |= n > 0;
        }
        Ok(more)
    }

    /// Goes to where the last lines begin.
    pub(crate) fn tail(&mut self, lines: u64) -> Result<(), Error> {
        self.open()?;
        for file in self.files.iter_mut().flatten() {
            let at = last_lines(file, lines).map_err(|e| failed(&self.dir, &e))?;
            file.seek(SeekFrom::Start(at)).map_err(|e| failed(&self.dir, &e))?;
        }
        Ok(())
    }
}

/// Why copying ended.
pub(crate) enum Pump {
    /// The output can not be read.
    Source(Error),
    /// Who reads this stream is gone, or their disk is full.
    Sink,
}

impl From<Error> for Pump {
    fn from(error: Error) -> Self {
        Self::Source(error)
    }
}

fn open_regular(dir: BorrowedFd<'_>, name: &str) -> rustix::io::Result<Option<File>> {
    // Without NONBLOCK a FIFO in its place would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = match openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e),
    };
    if FileType::from_raw_mode(fstat(&fd)?.st_mode) != FileType::RegularFile {
        return Err(rustix::io::Errno::INVAL);
    }
    Ok(Some(fd.into()))
}

/// Where the last so many lines of a file begin, read backwards in pieces.
fn last_lines(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut found = 0;
    let mut last = true;
    while end > 0 {
        let start = end.saturating_sub(PIECE as u64);
        let mut piece = vec![0; usize::try_from(end - start).unwrap_or(0)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut piece)?;
        for (place, byte) in (start..end).rev().zip(piece.iter().rev().copied()) {
            // The newline at the very end closes the last line, it opens none.
            if byte == b'\n' && !std::mem::take(&mut last) {
                found += 1;
                if found == lines {
                    return Ok(place + 1);
                }
            }
            last = false;
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_begin_where_a_person_would_count_them() {
        for (text, lines, rest) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\nb\n", 5, "a\nb\n"),
            ("", 3, ""),
            ("\n\n\n", 1, "\n"),
        ] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let at = usize::try_from(last_lines(&mut file, lines).unwrap()).unwrap();
            assert_eq!(&text[at..], rest, "{text:?} {lines}");
        }
    }
}
