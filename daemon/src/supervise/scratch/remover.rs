//! The thread that removes scratch directories.
//! It refuses to know how, and to be waited for.

use crate::remove::open_dir;
use crate::remove::{remove, sweep};
use rustix::fs::CWD;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::io;
use std::path::Path;
use std::sync::mpsc::Receiver;

/// What the thread is told.
pub(super) enum Word {
    /// This one goes.
    Remove(String),
    /// All go but these.
    Sweep(BTreeSet<String>),
}

/// Removes what it is told to until nobody can tell it any more.
pub(super) fn remover(words: &Receiver<Word>, base: &Path) {
    for word in words {
        let done = open_dir(CWD, base).map_err(io::Error::from).and_then(|base| match word {
            Word::Remove(name) => remove(&base, CString::new(name)?),
            Word::Sweep(alive) => sweep(&base, &alive),
        });
        match done {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, base = %base.display(), "a scratch directory can not be removed; the next start tries again");
            }
            _ => {}
        }
    }
}
