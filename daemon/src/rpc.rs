//! The server: connections, frames, bounds, and who is calling. Only this module knows JSON-RPC.
//! It refuses to decide: it asks the engine and the store, and writes what they say.

mod bulk;
mod cancel;
mod cleanup;
mod control;
mod daemon;
mod ending;
mod events;
mod explain;
mod jobs;
mod log;
mod offer;
mod queue;
mod retry;
mod router;
mod stats;
mod submitter;
mod targets;
mod turns;
mod users;
mod view;
mod visit;
mod watch;

pub use ending::Ending;
pub(crate) use submitter::limits;
pub use users::Users;
pub use watch::Watches;

use crate::config::{Config, Sources};
use crate::engine::Handle;
use crate::mode::Mode;
use crate::monitor::Monitor;
use crate::store::Readers;
use crate::supervise::Powers;
use bytes::BytesMut;
use interprocess::local_socket::tokio::{Listener, Stream};
use interprocess::local_socket::traits::StreamCommon;
use interprocess::local_socket::traits::tokio::Listener as _;
use interprocess::os::unix::uds_local_socket::tokio::Stream as UnixStream;
use qrm_core::Caller;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::frame;
use qrm_protocol::ids::Uid;
use qrm_protocol::method::Finding;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::codec::{Decoder, LinesCodec, LinesCodecError};
use turns::Turns;

/// The most clients at once.
const CLIENTS: usize = 1_024;
/// The most clients of one user, where there are several.
const CLIENTS_OF_ONE: usize = 256;
/// How long a client may leave what it asked for unread before it is let go.
const PATIENCE: Duration = Duration::from_secs(30);

/// What every connection shares.
pub struct Shared {
    /// Decides.
    pub engine: Handle,
    /// Reads history.
    pub readers: Arc<Readers>,
    /// Where everything is kept.
    pub state: PathBuf,
    /// Where jobs have their directories.
    pub jobs: PathBuf,
    /// Where it listens.
    pub socket: PathBuf,
    /// Who runs the daemon.
    pub uid: Uid,
    /// Whose it is.
    pub mode: Mode,
    /// When it began, on the clock that never jumps.
    pub began_boot_ms: u64,
    /// Where settings come from.
    pub sources: Sources,
    /// The settings that are used.
    pub config: tokio::sync::watch::Sender<Arc<Config>>,
    /// Tells this boot of the machine from others.
    pub boot_id: String,
    /// This program's place.
    pub program: PathBuf,
    /// The end is to be followed by the program that is there by then.
    pub replace: AtomicBool,
    /// What supervision found.
    pub supervision: Vec<Finding>,
    /// How jobs are held to their limits.
    pub powers: Powers,
    /// Measures.
    pub monitor: Monitor,
    /// Told when someone wants the daemon to end.
    pub stop: Notify,
    /// How that end goes.
    pub ending: Ending,
    /// Told when output grows.
    pub watches: Watches,
    /// Who called.
    pub users: Users,
    /// Who is connected. A lock, because connections end on their own; held for one entry.
    pub connected: Mutex<BTreeMap<Uid, Present>>,
}

/// A user who is connected.
pub struct Present {
    /// By so many connections.
    count: usize,
    turns: Arc<Turns>,
}

/// One client.
pub(crate) struct Client {
    stream: Arc<Stream>,
    pub caller: Caller,
    /// Its process, if that is to be seen from here.
    pub pid: Option<i32>,
    /// The bulk that it has open.
    pub bulk: Option<bulk::Open>,
    /// It has told the daemon to end, and learns that it has when the connection is closed.
    pub waits_for_end: bool,
}

/// How a connection is left.
enum Left {
    /// Nobody is served there any more.
    Over,
    /// Between two requests, when serving ended.
    Idle,
    /// By who waits for this process's end.
    Waiting,
}

/// How long a server without a descriptor waits for one before it looks for itself, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Serves until the future is dropped: who comes, and who was connected to the program before this one.
///
/// # Errors
/// The system can not give what a server needs.
pub async fn serve(listener: &Listener, before: Vec<OwnedFd>, shared: Arc<Shared>) -> std::io::Result<()> {
    let freed = Arc::new(Notify::new());
    // Given up for a moment when descriptors are used up, so that a client can be told instead of waiting for ever.
    let mut reserve = Some(std::fs::File::open("/dev/null")?);
    for fd in before {
        admit(UnixStream::try_from(fd)?.into(), &shared, &freed);
    }
    loop {
        match listener.accept().await {
            Ok(stream) => admit(stream, &shared, &freed),
            Err(error) if is_out_of_descriptors(&error) => {
                tracing::warn!(%error, "a client can not be accepted");
                drop(reserve.take());
                if let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(1), listener.accept()).await {
                    turn_away(stream, "the daemon has no descriptors left".to_owned(), freed.clone());
                }
                let mut pause = FIRST_PAUSE;
                loop {
                    reserve = std::fs::File::open("/dev/null").ok();
                    if reserve.is_some() {
                        break;
                    }
                    // A client that goes is told of; a file that some other part of the daemon closes is not.
                    tokio::time::timeout(pause, freed.notified()).await.ok();
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
            Err(error) => tracing::warn!(%error, "a client can not be accepted"),
        }
    }
}

/// Serves a client, if there is a place.
fn admit(stream: Stream, shared: &Arc<Shared>, freed: &Arc<Notify>) {
    let is_root = || stream.peer_creds().is_ok_and(|creds| creds.euid() == Some(0));
    let Some(place) = shared.ending.place(shared.mode.is_system() && is_root()) else {
        return turn_away(stream, format!("{CLIENTS} clients are connected, as many as may be"), freed.clone());
    };
    let (shared, freed) = (shared.clone(), freed.clone());
    tokio::spawn(async move {
        connection(stream, shared).await;
        drop(place);
        freed.notify_one();
    });
}

fn is_out_of_descriptors(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Says why and closes; a socket that takes a few bytes at once is all that is hoped for.
fn turn_away(stream: Stream, why: String, freed: Arc<Notify>) {
    let error = Error::new(Code::ResourceExhausted, why).hint("try again when others have ended");
    tokio::spawn(async move {
        let bytes = frame::encode_error(None, &error);
        if let Ok(Err(error)) = tokio::time::timeout(Duration::from_secs(1), (&stream).write_all(&bytes)).await {
            tracing::debug!(%error, "a client that was turned away is gone");
        }
        drop(stream);
        freed.notify_one();
    });
}

async fn connection(stream: Stream, shared: Arc<Shared>) {
    let (uid, pid) = match stream.peer_creds().map(|creds| (creds.euid(), creds.pid())) {
        Ok((Some(uid), pid)) => (uid, pid),
        Ok((None, _)) => return tracing::warn!("a client without credentials"),
        Err(error) => return tracing::warn!(%error, "a client's credentials can not be read"),
    };
    let place = Connected::one_more(&shared, uid);
    let served = served(stream, &shared, uid, pid, &place);
    match &place {
        Ok(place) if shared.mode.is_system() => turns::within(place.turns.clone(), served).await,
        _ => served.await,
    }
}

/// Serves a user, or says why not.
async fn served(stream: Stream, shared: &Arc<Shared>, uid: Uid, pid: Option<i32>, place: &Result<Connected, Error>) {
    let caller = match place {
        Ok(_) => users::caller(shared, uid).await,
        Err(error) => Err(error.clone()),
    };
    let caller = match caller {
        Ok(caller) => caller,
        Err(error) => {
            let caller = Caller::user(uid);
            let client = Client { stream: Arc::new(stream), caller, pid, bulk: None, waits_for_end: false };
            if let Err(error) = client.send(&frame::encode_error(None, &error)).await {
                tracing::debug!(%error, uid, "a client that was refused is gone");
            }
            return;
        }
    };
    let mut client = Client { stream: Arc::new(stream), caller, pid, bulk: None, waits_for_end: false };
    match client.serve(shared).await {
        Ok(Left::Over) => {}
        Ok(Left::Idle) => return client.stream().map_or((), |stream| shared.ending.keep(stream)),
        Ok(Left::Waiting) => return client.stream().map_or((), |stream| shared.ending.hold(stream)),
        Err(error) => tracing::debug!(%error, uid, "a client is gone"),
    }
    if let Some(open) = client.bulk.take() {
        open.discard(shared, caller).await;
    }
}

/// A connection of a user, counted until this is dropped.
struct Connected {
    shared: Arc<Shared>,
    uid: Uid,
    turns: Arc<Turns>,
}

impl Connected {
    /// Counts one more, if this user may have it: one who opens all that there are would shut the others out.
    fn one_more(shared: &Arc<Shared>, uid: Uid) -> Result<Self, Error> {
        let mut connected = shared.connected.lock().unwrap_or_else(PoisonError::into_inner);
        let user = connected.entry(uid).or_insert_with(|| Present { count: 0, turns: Arc::new(Turns::new()) });
        user.count += 1;
        let too_many = user.count > CLIENTS_OF_ONE && uid != 0 && shared.mode.is_system();
        let counted = Self { shared: shared.clone(), uid, turns: user.turns.clone() };
        drop(connected);
        if too_many {
            let message = format!("you have {CLIENTS_OF_ONE} connections, as many as one user may");
            return Err(Error::new(Code::ResourceExhausted, message).hint("try again when others of yours have ended"));
        }
        Ok(counted)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let mut connected = self.shared.connected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(user) = connected.get_mut(&self.uid) {
            user.count -= 1;
            // Who comes again finds what is still being done.
            if user.count == 0 && user.turns.are_free() {
                connected.remove(&self.uid);
            }
        }
    }
}

impl Client {
    async fn serve(&mut self, shared: &Arc<Shared>) -> std::io::Result<Left> {
        let mut frames = Frames::new(self.stream.clone());
        loop {
            let is_idle = frames.is_empty() && self.bulk.is_none();
            let next = tokio::select! {
                // What was said before the end is answered.
                biased;
                next = frames.next() => next,
                () = shared.ending.begun(), if is_idle => match frames.is_empty() {
                    true => return Ok(Left::Idle),
                    false => continue,
                },
            };
            let line = match next {
                None => return Ok(Left::Over),
                Some(Ok(line)) => line,
                Some(Err(LinesCodecError::MaxLineLengthExceeded)) => {
                    return self.send(&frame::encode_error(None, &frame::too_large())).await.map(|()| Left::Over);
                }
                Some(Err(LinesCodecError::Io(error))) if error.kind() == std::io::ErrorKind::InvalidData => {
                    let error = Error::new(Code::ParseError, "the frame is not UTF-8");
                    return self.send(&frame::encode_error(None, &error)).await.map(|()| Left::Over);
                }
                Some(Err(LinesCodecError::Io(error))) => return Err(error),
            };
            match frame::decode_request(line.as_bytes()) {
                Ok(request) => {
                    // Who was an administrator when the connection was made may be none any more.
                    match users::caller(shared, self.caller.uid).await {
                        Ok(caller) => self.caller = caller,
                        Err(error) => {
                            self.refuse(request.id, &error).await?;
                            continue;
                        }
                    }
                    let (id, method, params) = (request.id, request.method, request.params.get());
                    if !router::answer(self, &mut frames, shared, id, &method, params).await? {
                        return Ok(Left::Over);
                    }
                    if self.waits_for_end {
                        return Ok(Left::Waiting);
                    }
                }
                Err((id, error)) => self.send(&frame::encode_error(id, &error)).await?,
            }
        }
    }

    /// The connection itself, when nobody reads it any more.
    fn stream(self) -> Option<Stream> {
        Arc::into_inner(self.stream)
    }

    /// Answers a request.
    async fn reply<T: serde::Serialize>(&self, id: frame::Id<'_>, result: &T) -> std::io::Result<()> {
        self.send(&frame::encode_result(id, result)).await
    }

    /// Refuses a request.
    async fn refuse(&self, id: frame::Id<'_>, error: &Error) -> std::io::Result<()> {
        self.send(&frame::encode_error(Some(id), error)).await
    }

    /// Says why a subscription goes no further. Its call was answered, so that this answers none, and the connection ends.
    async fn give_up(&self, error: &Error) -> std::io::Result<bool> {
        tracing::warn!(error = error.message, "a subscription ends");
        self.send(&frame::encode_error(None, error)).await.map(|()| false)
    }

    /// Sends what a subscription brings.
    async fn notify<T: serde::Serialize>(&self, method: &str, params: &T) -> std::io::Result<()> {
        self.send(&frame::encode_notification(method, params)).await
    }

    /// Writes a frame; a client that does not read is given up on.
    pub(crate) async fn send(&self, bytes: &[u8]) -> std::io::Result<()> {
        match tokio::time::timeout(PATIENCE, (&*self.stream).write_all(bytes)).await {
            Ok(written) => written,
            Err(_) => Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "it does not read what it asked for")),
        }
    }
}

/// The frames of a client, one after the other.
pub(crate) struct Frames {
    stream: Arc<Stream>,
    codec: LinesCodec,
    buffer: BytesMut,
    /// While what was read is a large frame, or is on its way to be one.
    large: Option<OwnedSemaphorePermit>,
}

/// A buffer that grew beyond this is given back when it is empty.
const BUFFER: usize = 64 * 1024;
/// A frame of which there is more than this is a large one.
const LARGE: usize = 256 * 1024;

impl Frames {
    fn new(stream: Arc<Stream>) -> Self {
        // One more than the bound, so that a frame of exactly the bound passes.
        Self {
            stream,
            codec: LinesCodec::new_with_max_length(frame::MAX_FRAME + 1),
            buffer: BytesMut::new(),
            large: None,
        }
    }

    /// Whether nothing is here that was not taken yet.
    fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Resolves when the client has closed its end; what it says meanwhile is kept for later.
    pub(crate) async fn gone(&mut self) {
        while self.buffer.len() < BUFFER {
            self.buffer.reserve(1024);
            match (&*self.stream).read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        std::future::pending().await
    }

    /// The next one; nothing when the client is gone, also in the middle of a frame.
    pub(crate) async fn next(&mut self) -> Option<Result<String, LinesCodecError>> {
        // The one before is answered.
        self.large = None;
        loop {
            match self.codec.decode(&mut self.buffer) {
                Ok(Some(line)) => return Some(Ok(line)),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
            if self.buffer.is_empty() && self.buffer.capacity() > BUFFER {
                self.buffer = BytesMut::new();
            }
            if self.buffer.len() > LARGE && self.large.is_none() {
                self.large = turns::large().await;
            }
            self.buffer.reserve(1024);
            match (&*self.stream).read_buf(&mut self.buffer).await {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}
