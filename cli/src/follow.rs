//! Following the output files of jobs: what is there, and what is written from now on, told by inotify.
//! It refuses to know when a job has ended; who calls does.

use crate::render::Standard;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::job::JobView;
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where the bytes of a stream go.
pub(crate) type Sink<'a> = &'a mut dyn Write;

/// So much of a stream is read at once, so that a flood on one does not hold up the other.
pub(crate) const PIECE: usize = 64 * 1024;

/// For a look at descriptors that does not wait.
pub(crate) const NOW: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };

fn failed(what: &Path, why: &std::io::Error) -> Error {
    if why.kind() == std::io::ErrorKind::PermissionDenied {
        let message =
            format!("the output in {} is not for you: what a job writes is its owner's alone", what.display());
        return Error::new(Code::PermissionDenied, message);
    }
    Error::new(Code::Unavailable, format!("the output in {} can not be read: {why}", what.display()))
}

/// A file that a stream goes to.
pub(crate) struct Place {
    path: PathBuf,
    /// It is qrm's own: what is found there is a file and nothing else.
    own: bool,
}

/// Where the two streams of a job are. What both go to is shown once.
pub(crate) fn streams(job: &JobView) -> [Option<Place>; 2] {
    let mut places = streams_in(Path::new(&job.dir));
    for (place, elsewhere) in places.iter_mut().zip([&job.stdout, &job.stderr]) {
        if let Some(path) = elsewhere {
            *place = Some(Place { path: OsStr::from_bytes(path.as_bytes()).into(), own: false });
        }
    }
    if job.stdout.is_some() && job.stdout == job.stderr {
        places[1] = None;
    }
    places
}

/// Where they are in a job's own directory.
pub(crate) fn streams_in(dir: &Path) -> [Option<Place>; 2] {
    ["stdout", "stderr"].map(|name| Some(Place { path: dir.join(name), own: true }))
}

/// What tells that files were made or have grown; one is enough for any number of jobs, of which a user may have few.
pub(crate) struct Watch(OwnedFd);

/// A mark by which a [`Watch`] tells where something changed.
pub(crate) type Mark = i32;

impl Watch {
    pub(crate) fn new() -> Result<Self, Error> {
        let failed = |e| {
            Error::new(Code::Unavailable, format!("no inotify instance is to be had: {e}"))
                .hint("you have as many as /proc/sys/fs/inotify/max_user_instances allows")
        };
        init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map(Self).map_err(failed)
    }

    /// Readable when something changed.
    pub(crate) fn changed(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Where something changed since; `None` if there was too much of it to say.
    pub(crate) fn drain(&self) -> Option<BTreeSet<Mark>> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.0, &mut buffer);
        let mut marks = BTreeSet::new();
        let mut lost = false;
        while let Ok(event) = reader.next() {
            lost |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            marks.insert(event.wd());
        }
        (!lost).then_some(marks)
    }

    /// Looks at this from now on, unless it is not there.
    fn look_at(&self, path: &Path, for_what: WatchFlags) -> Result<Option<Mark>, Error> {
        match add_watch(&self.0, path, for_what) {
            Ok(mark) => Ok(Some(mark)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::new(Code::Unavailable, format!("inotify can not watch {}: {e}", path.display()))),
        }
    }
}

/// The output of one job.
pub(crate) struct Follow {
    streams: [Option<Stream>; 2],
    marks: BTreeSet<Mark>,
}

struct Stream {
    path: PathBuf,
    own: bool,
    file: Option<File>,
    /// Its making would be told.
    awaited: bool,
}

impl Follow {
    /// Of the job with these files, which may not be there yet.
    pub(crate) fn new(places: [Option<Place>; 2]) -> Self {
        let stream = |Place { path, own }| Stream { path, own, file: None, awaited: false };
        let streams = places.map(|place| place.map(stream));
        Self { streams, marks: BTreeSet::new() }
    }

    /// Whether what changed there is one of its files.
    pub(crate) fn has(&self, mark: Mark) -> bool {
        self.marks.contains(&mark)
    }

    /// Opens what is there by now. Files that are missing have no output, yet or ever.
    fn open(&mut self, watch: Option<&Watch>) -> Result<(), Error> {
        for stream in self.streams.iter_mut().flatten().filter(|stream| stream.file.is_none()) {
            let dir = stream.path.parent().unwrap_or(Path::new("/"));
            if let (Some(watch), false) = (watch, stream.awaited) {
                let made = watch.look_at(dir, WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR)?;
                stream.awaited = made.is_some();
                self.marks.extend(made);
            }
            stream.file = open_regular(stream).map_err(|e| failed(&stream.path, &e.into()))?;
            if let (Some(watch), Some(_)) = (watch, &stream.file) {
                // It may be gone by now; then it does not grow any more.
                self.marks.extend(watch.look_at(&stream.path, WatchFlags::MODIFY)?);
            }
        }
        Ok(())
    }

    /// Copies what there is to where it belongs, a bounded piece of each stream; whether there may be more. A stream
    /// without a sink is passed over. What does not grow any more needs no watch.
    pub(crate) fn pump(&mut self, watch: Option<&Watch>, sinks: &mut [Option<Sink<'_>>; 2]) -> Result<bool, Pump> {
        self.open(watch)?;
        let mut more = false;
        let mut buffer = vec![0; PIECE];
        for ((stream, sink), which) in self.streams.iter_mut().zip(sinks).zip(Standard::BOTH) {
            let (Some(stream), Some(sink)) = (stream, sink) else { continue };
            let Some(file) = &mut stream.file else { continue };
            let n = file.read(&mut buffer).map_err(|e| failed(&stream.path, &e))?;
            sink.write_all(&buffer[..n]).and_then(|()| sink.flush()).map_err(|e| Pump::Sink(which, e))?;
            more |= n > 0;
        }
        Ok(more)
    }

    /// Goes to where the last lines begin.
    pub(crate) fn tail(&mut self, watch: Option<&Watch>, lines: u64) -> Result<(), Error> {
        self.open(watch)?;
        for stream in self.streams.iter_mut().flatten() {
            let Some(file) = &mut stream.file else { continue };
            let at = last_lines(file, lines).map_err(|e| failed(&stream.path, &e))?;
            file.seek(SeekFrom::Start(at)).map_err(|e| failed(&stream.path, &e))?;
        }
        Ok(())
    }
}

/// Why copying ended.
pub(crate) enum Pump {
    /// The output can not be read.
    Source(Error),
    /// This stream takes no more: who reads it is gone, or the disk is full.
    Sink(Standard, std::io::Error),
}

impl From<Error> for Pump {
    fn from(error: Error) -> Self {
        Self::Source(error)
    }
}

fn open_regular(stream: &Stream) -> rustix::io::Result<Option<File>> {
    let follow = if stream.own { OFlags::NOFOLLOW } else { OFlags::empty() };
    // Without NONBLOCK a FIFO in its place would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | follow;
    let fd = match open(&stream.path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(e) => return Err(e),
    };
    if FileType::from_raw_mode(fstat(&fd)?.st_mode) != FileType::RegularFile {
        // What was sent to a device or a FIFO is not there to be read again.
        return if stream.own { Err(rustix::io::Errno::INVAL) } else { Ok(None) };
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
