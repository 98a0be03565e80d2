//! The end of serving: who has asked is answered, who waits is let go, and who is between two requests is kept for the program
//! that may follow in this process. It refuses to know what was asked.

use super::CLIENTS;
use interprocess::local_socket::tokio::Stream;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How long what was asked may take to be answered, and a bulk or a frame that was begun to be whole. Only who is cut off then
/// learns that the daemon goes.
const ANSWERING: Duration = Duration::from_secs(3);

/// So many more clients are root's, where there are several users: it can always ask, and end what keeps others out.
const OF_ROOT: usize = 16;

/// Whether serving ends, and who is connected.
pub struct Ending {
    begun: watch::Sender<bool>,
    places: Arc<Semaphore>,
    // A lock, because what is shared is never borrowed alone; nobody waits in it.
    kept: Mutex<Kept>,
}

/// Connections that nobody serves any more.
#[derive(Default)]
struct Kept {
    idle: Vec<OwnedFd>,
    /// Of those who learn from their connection that this program is gone.
    waiting: Vec<Stream>,
}

impl Default for Ending {
    fn default() -> Self {
        Self {
            begun: watch::Sender::new(false),
            places: Arc::new(Semaphore::new(CLIENTS + OF_ROOT)),
            kept: Mutex::default(),
        }
    }
}

impl Ending {
    /// A place for a client, as long as there are some.
    pub(super) fn place(&self, is_root: bool) -> Option<OwnedSemaphorePermit> {
        if !is_root && self.places.available_permits() <= OF_ROOT {
            return None;
        }
        self.places.clone().try_acquire_owned().ok()
    }

    /// Resolves when serving ends.
    pub(super) async fn begun(&self) {
        // It can not be closed while we have it.
        self.begun.subscribe().wait_for(|begun| *begun).await.ok();
    }

    /// Keeps the connection of somebody who asks nothing now.
    pub(super) fn keep(&self, stream: Stream) {
        let Stream::UdSocket(stream) = stream;
        match OwnedFd::try_from(stream) {
            Ok(fd) => self.kept().idle.push(fd),
            Err(error) => tracing::warn!(%error, "a client is cut off"),
        }
    }

    /// Keeps it open as long as this program runs, and no longer.
    pub(super) fn hold(&self, stream: Stream) {
        self.kept().waiting.push(stream);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends serving, once nobody is accepted any more.
    pub async fn finish(&self) {
        self.begun.send_replace(true);
        let everybody = u32::try_from(CLIENTS + OF_ROOT).unwrap_or(u32::MAX);
        if tokio::time::timeout(ANSWERING, self.places.acquire_many(everybody)).await.is_err() {
            tracing::warn!("clients that are slow are cut off");
        }
    }

    /// The connections at which somebody may ask again.
    pub fn idle(&self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.kept().idle)
    }
}
