//! Housekeeping beside the engine: snapshots, checkpoints and old events, each at most one at a time.
//! It refuses to hold the engine up: the slow parts run in a thread and a process of their own.

use super::handle::{Handle, Request};
use crate::store::{Store, fold};
use qrm_protocol::ids::Seq;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};

enum Task {
    Fold,
    Checkpoint,
}

pub(super) struct Housekeeper {
    tasks: SyncSender<Task>,
    state: PathBuf,
    /// The newest event that a snapshot holds, or was to hold.
    held: Seq,
    folding: bool,
    checkpointing: bool,
    /// Events up to this one may go.
    superfluous: Option<Seq>,
}

impl Housekeeper {
    pub fn start(state: PathBuf, program: PathBuf, engine: Handle) -> std::io::Result<Self> {
        // One of each kind at most.
        let (tasks, orders) = sync_channel(2);
        let dir = state.clone();
        std::thread::Builder::new().name("housekeeping".into()).spawn(move || {
            for task in orders {
                match task {
                    Task::Fold => {
                        let done =
                            fold::fold_in_child(&program, &dir).map(|()| fold::held(&dir)).map_err(|e| e.to_string());
                        engine.push(Request::Folded(done));
                    }
                    Task::Checkpoint => {
                        if let Err(error) = fold::checkpoint(&dir) {
                            tracing::warn!(%error, "the write-ahead log can not be folded");
                        }
                        engine.push(Request::Checkpointed);
                    }
                }
            }
        })?;
        let held = fold::held(&state);
        Ok(Self { tasks, state, held, folding: false, checkpointing: false, superfluous: None })
    }

    pub fn after_commit(&mut self, store: &mut Store) {
        if !self.folding && store.last_seq() >= self.held + fold::EVENTS_PER_SNAPSHOT {
            self.folding = self.tasks.try_send(Task::Fold).is_ok();
        }
        if !self.checkpointing && store.bound_wal() {
            self.checkpointing = self.tasks.try_send(Task::Checkpoint).is_ok();
        }
        if let Some(last) = self.superfluous {
            match store.forget_events(last) {
                Ok(true) => {}
                Ok(false) => self.superfluous = None,
                Err(error) => {
                    tracing::warn!(%error, "old events can not be forgotten");
                    store.roll_back();
                    self.superfluous = None;
                }
            }
        }
    }

    pub fn folded(&mut self, result: Result<Seq, String>) {
        self.folding = false;
        match result {
            Ok(seq) => {
                self.held = seq;
                self.superfluous = Some(fold::held_by_both(&self.state));
            }
            Err(why) => {
                tracing::error!(why, "no snapshot could be made; the next attempt follows after more events");
                self.held += fold::EVENTS_PER_SNAPSHOT / 5;
            }
        }
    }

    pub fn checkpointed(&mut self) {
        self.checkpointing = false;
    }
}
