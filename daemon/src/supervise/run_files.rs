//! The files that hold the records of runs: lent to one run after another, and found again by whose they are.
//! It refuses to know what a record means.

use super::watch::run_name;
use qrm_core::Run;
use qrm_shim::lock;
use qrm_shim::run_file::{self, RunFile as Contents};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// How many unused ones are kept, a mebibyte of them; a burst may need more, and those are removed after it.
const KEPT: usize = 256;
/// What the socket of a run's terminal is named after the number of its file.
const SOCKET: &str = ".tty";
/// How many may wait to be let in to a terminal.
const WAITING: i32 = 16;

/// All of them.
pub(super) struct RunFiles {
    dir: OwnedFd,
    /// Nobody's; the last is used first, because it is warm.
    free: Vec<u64>,
    /// Those that were there at the start, by whose they are, until they are asked for.
    found: HashMap<Vec<u8>, Found>,
    /// The lowest number that has no file.
    next: u64,
    /// Those that have the socket of a terminal beside them.
    sockets: BTreeSet<u64>,
}

/// One that was there.
struct Found {
    number: u64,
    /// How far its owner came: nothing, a living shim, a start, an end.
    came: u8,
}

/// One that is lent; open for as long as its run is known, so that nothing that happens to the name can hide an end.
pub(super) struct RunFile {
    number: u64,
    pub file: OwnedFd,
}

impl RunFile {
    /// What it holds now.
    pub fn read(&self) -> io::Result<Contents> {
        Contents::read(&self.file)
    }
}

impl RunFiles {
    /// Those in this directory, which exists.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())?;
        let mut files = Self { dir, free: Vec::new(), found: HashMap::new(), next: 0, sockets: BTreeSet::new() };
        for entry in Dir::read_from(&files.dir)? {
            let name = entry?;
            let Ok(name) = name.file_name().to_str() else { continue };
            if let Some(number) = name.strip_suffix(SOCKET).and_then(|number| number.parse().ok()) {
                files.sockets.insert(number);
            }
            let Ok(number) = name.parse() else { continue };
            files.next = files.next.max(number + 1);
            let failed = |error| io::Error::other(format!("{}/{number}: {error}", path.display()));
            files.take_in(number).map_err(failed)?;
        }
        for number in files.free.clone() {
            files.close_door(number);
        }
        Ok(files)
    }

    /// A socket for who wants to see a run's terminal, which listens: found again by whoever has the run's file, in a
    /// directory that nobody else enters.
    pub fn listen(&mut self, file: &RunFile) -> io::Result<OwnedFd> {
        self.close_door(file.number);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        bind(&socket, &self.door(file.number)?)?;
        self.sockets.insert(file.number);
        listen(&socket, WAITING)?;
        Ok(socket)
    }

    /// A way to the terminal of a run; an error of kind `ConnectionRefused` if its shim is gone.
    pub fn call(&self, file: &RunFile) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        connect(&socket, &self.door(file.number)?)?;
        // Who gets it waits for it as they like.
        rustix::io::ioctl_fionbio(&socket, false)?;
        Ok(socket)
    }

    /// However long the path of the directory is, this one fits into an address.
    fn door(&self, number: u64) -> io::Result<SocketAddrUnix> {
        Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{number}{SOCKET}", self.dir.as_raw_fd()))?)
    }

    /// Nobody is to come to a terminal that is gone.
    fn close_door(&mut self, number: u64) {
        if !self.sockets.remove(&number) {
            return;
        }
        match unlinkat(&self.dir, format!("{number}{SOCKET}"), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => tracing::warn!(file = number, %error, "cannot remove the socket of a terminal"),
        }
    }

    fn take_in(&mut self, number: u64) -> io::Result<()> {
        let file = self.open_one(number, OFlags::empty())?;
        let contents = file.read()?;
        let Some(owner) = contents.owner() else {
            self.free.push(number);
            return Ok(());
        };
        let came = match (contents.exit(), contents.started()) {
            (Some(_), _) => 3,
            (None, Some(_)) => 2,
            (None, None) => u8::from(lock::holder(&file.file)?.is_some()),
        };
        // A run that was taken back may have been made again in another file; only one of them was ever released.
        let found = Found { number, came };
        let other = match self.found.remove(owner) {
            Some(other) if other.came > came => {
                self.found.insert(owner.to_owned(), other);
                Some(found)
            }
            other => {
                self.found.insert(owner.to_owned(), found);
                other
            }
        };
        self.free.extend(other.map(|other| other.number));
        Ok(())
    }

    /// The one that a run had before the start; `None` if it had none.
    pub fn find(&mut self, run: Run) -> io::Result<Option<RunFile>> {
        let owner = owner(run);
        let Some(found) = self.found.get(&owner) else { return Ok(None) };
        let file = self.open_one(found.number, OFlags::empty())?;
        self.found.remove(&owner);
        Ok(Some(file))
    }

    /// Whoever was not asked for until now is over: its file is free.
    pub fn settle(&mut self) {
        for (_, found) in std::mem::take(&mut self.found) {
            self.keep(found.number);
        }
    }

    /// One for a run that has none, claimed for it.
    pub fn lend(&mut self, run: Run) -> io::Result<RunFile> {
        let mut busy = Vec::new();
        let lent = loop {
            let number = self.free.pop().unwrap_or_else(|| {
                self.next += 1;
                self.next - 1
            });
            match self.claim(number, run) {
                // Its shim has recorded the end and is not gone yet.
                Ok(None) => busy.push(number),
                Ok(Some(file)) => break Ok(file),
                Err(error) => {
                    self.free.push(number);
                    break Err(error);
                }
            }
        };
        self.free.splice(0..0, busy);
        lent
    }

    /// `None` if a shim holds it.
    fn claim(&self, number: u64, run: Run) -> io::Result<Option<RunFile>> {
        let file = self.open_one(number, OFlags::CREATE)?;
        if lock::holder(&file.file)?.is_some() {
            return Ok(None);
        }
        run_file::claim(&file.file, &owner(run))?;
        Ok(Some(file))
    }

    /// It is nobody's any more; what it says does not matter.
    pub fn give_back(&mut self, file: RunFile) {
        self.keep(file.number);
    }

    /// Removes those that are nobody's, as nobody will come.
    pub fn leave(&mut self) {
        for number in std::mem::take(&mut self.free) {
            self.remove(number);
        }
    }

    fn keep(&mut self, number: u64) {
        self.close_door(number);
        if self.free.len() < KEPT {
            self.free.push(number);
        } else {
            self.remove(number);
        }
    }

    fn remove(&self, number: u64) {
        if let Err(error) = unlinkat(&self.dir, number.to_string(), AtFlags::empty()) {
            tracing::warn!(file = number, %error, "cannot remove the file of a run");
        }
    }

    fn open_one(&self, number: u64, more: OFlags) -> io::Result<RunFile> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
        let file = openat(&self.dir, number.to_string(), flags, Mode::RUSR | Mode::WUSR)?;
        Ok(RunFile { number, file })
    }
}

fn owner(run: Run) -> Vec<u8> {
    run_file::owner(run.job.to_string().as_bytes(), &run_name(run))
}

#[cfg(test)]
mod tests {
    use super::*;
    use qrm_core::Stage;
    use qrm_protocol::ids::JobId;
    use rustix::io::pwrite;
    use std::fs;

    fn run(id: u64) -> Run {
        Run { job: JobId(id).into(), stage: Stage::Execute, attempt: 1 }
    }

    #[test]
    fn a_file_is_lent_to_one_run_after_another_and_few_are_kept() {
        let temp = tempfile::tempdir().unwrap();
        let mut files = RunFiles::open(temp.path()).unwrap();
        for id in 1..=5 {
            let lent = files.lend(run(id)).unwrap();
            assert_eq!((lent.number, lent.read().unwrap().owner().unwrap()), (0, owner(run(id)).as_slice()));
            files.give_back(lent);
        }
        let lent: Vec<_> = (0..300).map(|id| files.lend(run(id)).unwrap()).collect();
        lent.into_iter().for_each(|file| files.give_back(file));
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), KEPT);
        let again = files.lend(run(1)).unwrap();
        assert!(again.number < 300);
        files.leave();
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_was_lent_is_found_again_by_its_owner_alone() {
        let temp = tempfile::tempdir().unwrap();
        let mut files = RunFiles::open(temp.path()).unwrap();
        let lent: Vec<_> = (1..=3).map(|id| files.lend(run(id)).unwrap()).collect();
        pwrite(&lent[1].file, b"{}\n", 0).unwrap();
        let mut files = RunFiles::open(temp.path()).unwrap();
        let found = files.find(run(2)).unwrap().unwrap();
        assert_eq!((found.number, found.read().unwrap().exit()), (1, Some(&b"{}"[..])));
        assert!(files.find(run(2)).unwrap().is_none() && files.find(run(4)).unwrap().is_none());
        // The others may be asked for still.
        assert_eq!(files.lend(run(4)).unwrap().number, 3);
        files.settle();
        assert!(files.find(run(1)).unwrap().is_none());
        let mut next = [files.lend(run(5)).unwrap().number, files.lend(run(6)).unwrap().number];
        next.sort_unstable();
        assert_eq!(next, [0, 2]);
    }

    #[test]
    fn of_two_files_of_one_run_the_one_counts_that_was_released() {
        for released in [0, 1] {
            let temp = tempfile::tempdir().unwrap();
            let mut files = RunFiles::open(temp.path()).unwrap();
            let lent = [files.lend(run(1)).unwrap(), files.lend(run(1)).unwrap()];
            let after_owner = 1024 + owner(run(1)).len() as u64 + 1;
            pwrite(&lent[released].file, b"{}\n", after_owner).unwrap();
            let mut files = RunFiles::open(temp.path()).unwrap();
            assert_eq!(files.find(run(1)).unwrap().unwrap().number, released as u64);
            assert_eq!(files.lend(run(2)).unwrap().number, 1 - released as u64);
        }
    }

    #[test]
    fn what_is_no_file_of_ours_is_said_and_a_link_is_not_followed() {
        for make in [|path: &Path| fs::create_dir(path), |path: &Path| std::os::unix::fs::symlink("/etc/passwd", path)]
        {
            let temp = tempfile::tempdir().unwrap();
            make(&temp.path().join("7")).unwrap();
            let error = RunFiles::open(temp.path()).err().unwrap().to_string();
            assert!(error.contains("/7: "), "{error}");
        }
    }
}
