//! Subscriptions to output: what a job wrote, piece by piece, then, if wanted, what it writes until its end.
//! It refuses to buffer for anyone, and to follow a link that a job put where its output was.

use super::jobs::{no_such, row, show};
use super::{Client, Frames, Shared, turns};
use crate::engine::Condition;
use crate::supervise::identity::Acting;
use crate::supervise::job_dir;
use qrm_core::Right;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::frame::Id;
use qrm_protocol::ids::{JobRef, Uid};
use qrm_protocol::job::JobState;
use qrm_protocol::log::{LOG, LOG_END, LogEnd, LogPiece, LogSubscribeParams, LogSubscribeReply, LogText, Stream};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Notify, oneshot, watch};

/// A group in which nobody is: the one of who owns nothing, chown(2) and nfs(5).
const NO_GROUP: u32 = 65_534;
/// So much is read and sent at once. In JSON a byte takes at most six, which leaves a frame far below its bound.
const PIECE: usize = 64 * 1024;

/// Answers, and then sends pieces until there are no more or the client is gone; false closes the connection.
pub(super) async fn subscribe(
    client: &Client,
    frames: &mut Frames,
    shared: &Arc<Shared>,
    id: Id<'_>,
    params: LogSubscribeParams,
) -> std::io::Result<bool> {
    let (tail, mut job) = match begin(client, shared, params).await {
        Ok(begun) => begun,
        Err(error) => return client.refuse(id, &error).await.map(|()| true),
    };
    let LogSubscribeParams { id: of, stream, after_bytes, follow } = params;
    let reply = LogSubscribeReply { id: of, stream, after_bytes, size_bytes: tail.size };
    client.reply(id, &reply).await?;
    let wake = tail.wake.clone();
    let mut tail = Some(tail);
    loop {
        loop {
            let is_last = !follow || job.over;
            let read = match next(shared, &mut tail, follow, is_last).await {
                Ok(read) => read,
                Err(error) => return client.give_up(&error).await,
            };
            let Some((at_bytes, bytes)) = read else { break };
            let piece = LogPiece { id: of, stream, at_bytes, text: LogText(bytes) };
            client.notify(LOG, &piece).await?;
        }
        if !follow || job.over {
            let at_bytes = tail.as_ref().map_or(0, |tail| tail.at);
            let end = LogEnd { id: of, stream, at_bytes, ended: job.over };
            client.notify(LOG_END, &end).await?;
            return Ok(true);
        }
        if tail.as_ref().is_some_and(|tail| tail.dir.is_some()) {
            job.commits = None;
        }
        tokio::select! {
            () = wake.notified() => {}
            goes_on = job.next() => if !goes_on { return Ok(false) },
            // Whatever a follower says, it says that it follows no more.
            _ = frames.next() => return Ok(false),
            () = shared.ending.begun() => return Ok(false),
        }
    }
}

/// What is awaited of a job.
struct Awaited {
    /// It has ended, so that what is there is all.
    over: bool,
    /// Its command runs, so that its directory is there.
    started: Option<oneshot::Receiver<()>>,
    /// Until its directory is there: its validate or compile command makes it before, which only a commit tells of.
    commits: Option<watch::Receiver<Condition>>,
    ended: Option<oneshot::Receiver<()>>,
}

impl Awaited {
    /// Returns when there may be more to read; false when the daemon ends.
    async fn next(&mut self) -> bool {
        async fn told(of: &mut Option<oneshot::Receiver<()>>) -> bool {
            match of {
                Some(receiver) => receiver.await.is_ok(),
                None => std::future::pending().await,
            }
        }
        let commits = async |of: &mut Option<watch::Receiver<Condition>>| match of {
            Some(receiver) => receiver.changed().await.is_ok(),
            None => std::future::pending().await,
        };
        tokio::select! {
            started = told(&mut self.started) => {
                self.started = None;
                started
            }
            ended = told(&mut self.ended) => {
                self.over = ended;
                ended
            }
            committed = commits(&mut self.commits) => committed,
        }
    }
}

async fn begin(client: &Client, shared: &Arc<Shared>, params: LogSubscribeParams) -> Result<(Tail, Awaited), Error> {
    let id = params.id;
    let job = show(client, shared, id).await?;
    if let Some(array) = job.array {
        let message = format!("job {id} is an array; each of its tasks has its own output");
        return Err(
            Error::new(Code::FailedPrecondition, message).hint(format!("{}.{} is its first task", id.job, array.first))
        );
    }
    let elsewhere = match params.stream {
        Stream::Stdout => &job.stdout,
        Stream::Stderr => &job.stderr,
    };
    if let Some(path) = elsewhere {
        let message = format!("job {id} writes its {} to {}", params.stream.word(), path.lossy());
        return Err(Error::new(Code::FailedPrecondition, message)
            .hint("qrmd sends only what is in the job's own directory; read that file"));
    }
    let owner = row(shared, id).await?.map(|row| row.uid).ok_or_else(|| no_such(id))?;
    client.caller.check(Right::Inside, owner, id)?;
    let mut awaited = Awaited { over: job.state.is_terminal(), started: None, commits: None, ended: None };
    if params.follow && !awaited.over {
        shared.watches.ready().map_err(|e| {
            Error::new(Code::ResourceExhausted, format!("output can not be watched: {e}"))
                .hint("fs.inotify.max_user_instances is the kernel's bound, sysctl(8)")
        })?;
        let has_stages = matches!(job.state, JobState::Pending | JobState::Validating | JobState::Compiling);
        awaited.commits = has_stages.then(|| shared.engine.condition());
        awaited.started = Some(shared.engine.wait(vec![id], false, true)?);
        awaited.ended = Some(shared.engine.wait(vec![id], false, false)?);
    }
    let measure = |tail: &mut Tail| {
        tail.open(None)?;
        tail.size = tail.length()?;
        Ok(())
    };
    let (mut tail, ()) =
        blocking(Tail::new(&shared.jobs, id, params.stream, shared.mode.is_system().then_some(owner)), measure).await?;
    if params.after_bytes > tail.size {
        let message = format!("{} bytes were not written yet; there are {}", params.after_bytes, tail.size);
        return Err(Error::invalid(message).hint("after_bytes is where an earlier subscription ended"));
    }
    (tail.at, tail.until) = (params.after_bytes, if params.follow { u64::MAX } else { tail.size });
    Ok((tail, awaited))
}

/// The next piece and where it begins; nothing if there is no more yet.
async fn next(
    shared: &Arc<Shared>,
    tail: &mut Option<Tail>,
    follow: bool,
    is_last: bool,
) -> Result<Option<(u64, Vec<u8>)>, Error> {
    let Some(taken) = tail.take() else { return Err(lost()) };
    let watching = (follow && !is_last).then(|| shared.clone());
    let (back, read) = blocking(taken, move |tail| {
        tail.open(watching.as_deref())?;
        tail.read(is_last)
    })
    .await?;
    *tail = Some(back);
    Ok(read)
}

fn lost() -> Error {
    Error::new(Code::Internal, "the place in the output was lost")
}

/// Does something with files on a thread that may block.
async fn blocking<T: Send + 'static>(
    mut tail: Tail,
    call: impl FnOnce(&mut Tail) -> Result<T, Errno> + Send + 'static,
) -> Result<(Tail, T), Error> {
    let path = tail.jobs.join(&tail.file_path);
    let done = turns::blocking(move || call(&mut tail).map(|done| (tail, done))).await;
    let shown = path.display();
    match done {
        Ok(Ok(done)) => Ok(done),
        // A link, or no regular file; openat2(2).
        Ok(Err(Errno::LOOP | Errno::XDEV | Errno::INVAL | Errno::NXIO | Errno::NOTDIR)) => {
            let message = format!("{shown} is not the file any more that the output was written to");
            Err(Error::new(Code::FailedPrecondition, message).hint("the job has put something else there"))
        }
        Ok(Err(Errno::NOSPC | Errno::MFILE)) => Err(Error::new(
            Code::ResourceExhausted,
            format!("{shown} can not be watched: the kernel's bound is reached"),
        )
        .hint("fs.inotify.max_user_watches is that bound, sysctl(8)")),
        Ok(Err(error)) => Err(Error::new(Code::Unavailable, format!("{shown} can not be read: {error}"))),
        Err(error) => Err(Error::new(Code::Internal, format!("{shown} can not be read: {error}"))),
    }
}

/// One stream of a job, as far as it was read.
struct Tail {
    jobs: PathBuf,
    /// As whom files are reached; as the daemon itself, if it is not said.
    owner: Option<Uid>,
    file_path: PathBuf,
    dir: Option<OwnedFd>,
    file: Option<File>,
    watch: Option<super::watch::Watch>,
    wake: Arc<Notify>,
    /// Bytes there were when it was asked for.
    size: u64,
    /// Read up to here.
    at: u64,
    /// And no further than this.
    until: u64,
}

impl Tail {
    fn new(jobs: &Path, job: JobRef, stream: Stream, owner: Option<Uid>) -> Self {
        let file_path = job_dir(job).join(stream.word());
        let jobs = jobs.to_owned();
        Self {
            jobs,
            owner,
            file_path,
            dir: None,
            file: None,
            watch: None,
            wake: Arc::default(),
            size: 0,
            at: 0,
            until: 0,
        }
    }

    /// Opens what is there by now, and watches what is open: the file, or the directory as long as it lacks the file.
    fn open(&mut self, watching: Option<&Shared>) -> Result<(), Errno> {
        let watch = |fd: BorrowedFd<'_>, is_dir, wake: &Arc<Notify>| -> Result<Option<super::watch::Watch>, Errno> {
            let Some(shared) = watching else { return Ok(None) };
            let added = shared.watches.add(fd, is_dir, wake);
            added.map(Some).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
        };
        if self.dir.is_none() {
            let root = rustix::fs::open(&self.jobs, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            let dir = self.file_path.parent().unwrap_or(Path::new("."));
            self.dir = self.beneath(&root, dir, OFlags::RDONLY | OFlags::DIRECTORY)?;
        }
        let Some(dir) = &self.dir else { return Ok(()) };
        if self.file.is_none() {
            if self.watch.is_none() {
                self.watch = watch(dir.as_fd(), true, &self.wake)?;
            }
            // Without NONBLOCK a FIFO in its place would wait for a writer.
            let name = Path::new(self.file_path.file_name().unwrap_or_default());
            let Some(fd) = self.beneath(dir, name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)? else {
                return Ok(());
            };
            if FileType::from_raw_mode(fstat(&fd)?.st_mode) != FileType::RegularFile {
                return Err(Errno::INVAL);
            }
            (self.file, self.watch) = (Some(fd.into()), None);
        }
        if let (Some(file), None) = (&self.file, &self.watch) {
            self.watch = watch(file.as_fd(), false, &self.wake)?;
        }
        Ok(())
    }

    /// Opens what is below a directory as the job's owner, so that nothing else can be put there to be read.
    fn beneath(&self, dir: &OwnedFd, path: &Path, flags: OFlags) -> Result<Option<OwnedFd>, Errno> {
        let acting = self.owner.map_or(Ok(Acting::AS_SELF), |uid| Acting::of(uid, NO_GROUP));
        let _acting = acting.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::PERM))?;
        beneath(dir, path, flags)
    }

    fn length(&self) -> Result<u64, Errno> {
        let Some(file) = &self.file else { return Ok(0) };
        Ok(u64::try_from(fstat(file)?.st_size).unwrap_or(0))
    }

    /// The next piece and where it begins. Unless it is the last, a character that is not complete waits for its rest.
    fn read(&mut self, is_last: bool) -> Result<Option<(u64, Vec<u8>)>, Errno> {
        if self.length()? < self.at {
            // The job has emptied the file: who follows begins anew, and what there was for others is gone.
            if self.until < u64::MAX {
                return Ok(None);
            }
            self.at = 0;
        }
        let Some(file) = &self.file else { return Ok(None) };
        let left = usize::try_from(self.until.saturating_sub(self.at)).unwrap_or(PIECE);
        let mut bytes = vec![0; PIECE.min(left)];
        let n = file.read_at(&mut bytes, self.at).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        bytes.truncate(n);
        let complete = LogText::complete(&bytes);
        if complete > 0 || !is_last {
            bytes.truncate(complete);
        }
        let at = self.at;
        self.at += bytes.len() as u64;
        Ok((!bytes.is_empty()).then_some((at, bytes)))
    }
}

/// Opens what is below a directory, following no link on the way; nothing if there is nothing.
fn beneath(dir: &OwnedFd, path: &Path, flags: OFlags) -> Result<Option<OwnedFd>, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let opened = match openat2(dir, path, flags, Mode::empty(), resolve) {
        // A kernel before 5.6, or a sandbox that does not know the call: part by part.
        Err(Errno::NOSYS | Errno::PERM) => part_by_part(dir, path, flags),
        opened => opened,
    };
    match opened {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn part_by_part(dir: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut at: Option<OwnedFd> = None;
    let mut parts = path.components().peekable();
    while let Some(part) = parts.next() {
        let through = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let flags = if parts.peek().is_some() { through } else { flags };
        let below = at.as_ref().map_or(dir.as_fd(), AsFd::as_fd);
        at = Some(openat(below, part.as_os_str(), flags, Mode::empty())?);
    }
    at.ok_or(Errno::INVAL)
}
