//! The terminal of who calls: how large it is, and handed over key by key for a while.
//! It refuses to leave it in another state than it was in, however this ends.

mod keys;
mod modes;

pub(crate) use keys::Keys;
pub(crate) use modes::Modes;

use qrm_protocol::error::{Code, Error};
use qrm_protocol::terminal::Size;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};
use std::sync::{Mutex, Once, PoisonError};

/// How large it is, by whichever of the three streams is one.
pub(crate) fn size() -> Option<Size> {
    let of = |window: rustix::io::Result<rustix::termios::Winsize>| {
        window.ok().and_then(|window| Size::new(window.ws_row, window.ws_col))
    };
    of(tcgetwinsize(std::io::stdout()))
        .or_else(|| of(tcgetwinsize(std::io::stdin())))
        .or_else(|| of(tcgetwinsize(std::io::stderr())))
}

/// For a terminal that is to be as large as the one here, if there is one.
pub(crate) fn own_size() -> Size {
    size().unwrap_or(Size::USUAL)
}

/// What the terminal was before it was handed over; for a panic, after which nothing else is done.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Standard input hands over every key, until this is dropped.
pub(crate) struct Raw;

impl Raw {
    /// From now on, if standard input is a terminal.
    pub(crate) fn begin() -> Result<Option<Self>, Error> {
        if !isatty(std::io::stdin()) {
            return Ok(None);
        }
        let failed = |e| Error::new(Code::Unavailable, format!("the terminal can not be set: {e}"));
        let before = tcgetattr(std::io::stdin()).map_err(failed)?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        restored_by_panics();
        let raw = Self;
        raw.again().map_err(failed)?;
        Ok(Some(raw))
    }

    /// After something else had the terminal.
    pub(crate) fn again(&self) -> rustix::io::Result<()> {
        let Some(mut raw) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return Ok(()) };
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Drain, &raw)
    }

    /// For something else to have the terminal.
    pub(crate) fn pause(&self) {
        restore();
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(before) = &*before {
        // A terminal that is gone needs nothing.
        tcsetattr(std::io::stdin(), OptionalActions::Drain, before).ok();
    }
}

/// What is said of a panic is to be read on a terminal as it was.
fn restored_by_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
        }));
    });
}
