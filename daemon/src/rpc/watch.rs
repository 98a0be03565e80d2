//! One inotify descriptor for all who follow output: the kernel gives a user few of them.
//! It refuses to read what changed; it wakes who waits for it.

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch};
use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

/// Who is told of which changes.
#[derive(Default)]
pub struct Watches {
    // Made with the first follower; most daemons never have one.
    kernel: OnceLock<Arc<Kernel>>,
}

struct Kernel {
    inotify: AsyncFd<OwnedFd>,
    // A lock, because watches are added on threads that may block, and must not be mixed with their removal.
    waiting: Mutex<BTreeMap<i32, Vec<Arc<Notify>>>>,
}

/// A file or directory that is watched until this is dropped.
pub(super) struct Watch {
    kernel: Arc<Kernel>,
    descriptor: i32,
    wake: Arc<Notify>,
}

impl Watches {
    /// The kernel's side, made if it is missing. To be called where the runtime is.
    ///
    /// # Errors
    /// The user has as many of them as the kernel gives.
    pub(super) fn ready(&self) -> io::Result<()> {
        if self.kernel.get().is_none() {
            let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            // SAFETY: the descriptor is owned by what is registered, and never replaced in it.
            let inotify = unsafe { AsyncFd::register(inotify) }.map_err(io::Error::from)?;
            let kernel = Arc::new(Kernel { inotify, waiting: Mutex::default() });
            if self.kernel.set(kernel.clone()).is_ok() {
                tokio::spawn(async move {
                    if let Err(error) = kernel.wake().await {
                        tracing::error!(%error, "changes of output are not seen any more");
                    }
                });
            }
        }
        Ok(())
    }

    /// Wakes somebody for what is created in an open directory, or written to an open file. `wake` keeps what came
    /// before anybody waited.
    ///
    /// # Errors
    /// The user watches as many files as the kernel lets them.
    pub(super) fn add(&self, what: BorrowedFd<'_>, is_dir: bool, wake: &Arc<Notify>) -> io::Result<Watch> {
        let kernel = self.kernel.get().ok_or_else(|| io::Error::other("nothing watches yet"))?.clone();
        // By its descriptor it is this very file, whatever stands at its path by now.
        let path = format!("/proc/self/fd/{}", what.as_raw_fd());
        let flags = if is_dir { WatchFlags::CREATE | WatchFlags::MOVED_TO } else { WatchFlags::MODIFY };
        let mut waiting = kernel.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let descriptor = add_watch(&kernel.inotify, path, flags)?;
        waiting.entry(descriptor).or_default().push(wake.clone());
        drop(waiting);
        Ok(Watch { kernel, descriptor, wake: wake.clone() })
    }
}

impl Kernel {
    async fn wake(&self) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        loop {
            let mut ready = self.inotify.readable().await?;
            let mut reader = Reader::new(&self.inotify, &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => self.tell(event.wd(), event.events().contains(ReadFlags::QUEUE_OVERFLOW)),
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            ready.clear_ready();
        }
    }

    fn tell(&self, descriptor: i32, lost_some: bool) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let told: Vec<&Arc<Notify>> = match lost_some {
            true => waiting.values().flatten().collect(),
            false => waiting.get(&descriptor).into_iter().flatten().collect(),
        };
        told.into_iter().for_each(|wake| wake.notify_one());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut waiting = self.kernel.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(others) = waiting.get_mut(&self.descriptor) else { return };
        if let Some(place) = others.iter().position(|wake| Arc::ptr_eq(wake, &self.wake)) {
            others.swap_remove(place);
        }
        if others.is_empty() {
            waiting.remove(&self.descriptor);
            if let Err(error) = remove_watch(&self.kernel.inotify, self.descriptor) {
                // The file is gone, and its watch with it.
                tracing::trace!(%error, "a watch");
            }
        }
    }
}
