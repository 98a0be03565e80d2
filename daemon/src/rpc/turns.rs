//! How much is done for one user at a time, where there are several: few threads read the store and files, and all wait for
//! each large frame that is understood. It refuses to know what is done, and to hold up who is alone.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;

/// So many things that may block are done for one user at a time; the others of this user wait, and nobody else does.
const BLOCKING: usize = 2;
/// So many frames of one user are large at a time.
const LARGE: usize = 2;

/// Those of one user.
pub(super) struct Turns {
    blocking: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

tokio::task_local! {
    static OWN: Arc<Turns>;
}

impl Turns {
    pub fn new() -> Self {
        Self { blocking: Arc::new(Semaphore::new(BLOCKING)), large: Arc::new(Semaphore::new(LARGE)) }
    }

    /// Whether nothing is done any more. A thread goes on when who waited for it is gone.
    pub fn are_free(&self) -> bool {
        self.blocking.available_permits() == BLOCKING && self.large.available_permits() == LARGE
    }
}

/// Does what takes turns with all else that is done for the same user.
pub(super) async fn within<T>(turns: Arc<Turns>, does: impl Future<Output = T>) -> T {
    OWN.scope(turns, does).await
}

/// Waits for a turn, where there are turns; it lasts until it is dropped.
async fn turn(of: impl FnOnce(&Arc<Turns>) -> Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    let own = OWN.try_with(of).ok()?;
    // They are never closed.
    own.acquire_owned().await.ok()
}

/// Waits until a large frame may be read.
pub(super) async fn large() -> Option<OwnedSemaphorePermit> {
    turn(|turns| turns.large.clone()).await
}

/// Does something on a thread that may block.
///
/// # Errors
/// It panicked.
pub(super) async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    let turn = turn(|turns| turns.blocking.clone()).await;
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        call()
    });
    done.await
}
