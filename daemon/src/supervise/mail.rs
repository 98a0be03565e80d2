//! The way to the thread: a queue of messages, and a bell that wakes it from epoll_wait(2).
//! It refuses to know what the messages mean.

use super::Order;
use super::identity::Found;
use qrm_core::{Exceeded, Run};
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What reaches the thread: orders, and what its helpers have done.
pub(super) enum Message {
    Order(Order),
    /// Nothing is left of this run, whose shim died.
    Buried(Run),
    /// This run has too much of something.
    Exceeded(Run, Exceeded),
    /// Everything that descends from this run's shim was killed.
    Struck(Run),
    /// A signal has reached everybody in this run.
    Signalled(Run),
    /// What was found of a user.
    Identity(u32, Found),
}

/// The way to the thread. Its queue has no bound of its own, because a full one would stop the engine while the
/// engine's own queue stops the thread; what the engine orders is bounded by its runs, a few orders for each.
#[derive(Clone)]
pub(super) struct Mail {
    sender: Sender<Message>,
    pub bell: Arc<Bell>,
}

/// Rings once for any number of messages.
pub(super) struct Bell {
    pub fd: OwnedFd,
    rung: AtomicBool,
}

impl Bell {
    pub fn ring(&self) {
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        // It cannot fail: the counter goes up by one only after it was read.
        if let Err(error) = rustix::io::retry_on_intr(|| rustix::io::write(&self.fd, &1u64.to_ne_bytes())) {
            tracing::error!(%error, "cannot wake the supervising thread");
        }
    }

    pub fn hear(&self) {
        // That it is empty is no error: the queue is looked into either way.
        rustix::io::read(&self.fd, &mut [0; 8]).ok();
        // Who put a message into the queue before this is seen by the look that follows.
        self.rung.swap(false, Ordering::AcqRel);
    }
}

impl Mail {
    /// A new way, and where it leads.
    pub fn new() -> io::Result<(Self, Receiver<Message>)> {
        let (sender, receiver) = channel();
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok((Self { sender, bell: Arc::new(Bell { fd, rung: AtomicBool::new(false) }) }, receiver))
    }

    pub fn send(&self, message: Message) {
        self.put(message);
        self.bell.ring();
    }

    pub fn put(&self, message: Message) {
        if self.sender.send(message).is_err() {
            tracing::debug!("the supervising thread has ended");
        }
    }
}
