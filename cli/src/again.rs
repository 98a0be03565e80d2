//! Asking again when the daemon goes away in the middle: the job that was asked about does not.
//! It refuses to start a daemon that was stopped on purpose while we were served: somebody else will.

use crate::Context;
use qrm_protocol::client::Client;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::place::{Place, STOPPED_NAME};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// So many daemons in a row may go away before that is the answer.
const DAEMONS: u32 = 5;
/// One that lasted this long was no failure.
const LASTED: Duration = Duration::from_secs(1);

/// What a daemon that was stopped on purpose means to who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stopped {
    /// That is the answer.
    Fails,
    /// They wait until it is started again, at most until then.
    Waits(Option<Instant>),
}

/// Asks, and asks again if the daemon goes away meanwhile. Only a daemon of the user's own is there again at once,
/// because asking starts it.
pub(crate) fn ask<T>(
    context: &Context,
    stopped: Stopped,
    mut call: impl FnMut(Client) -> Result<T, Error>,
) -> Result<T, Error> {
    let place = context.place()?;
    let mut gone = 0;
    loop {
        let began = Instant::now();
        let connected = match context.served.load(Ordering::Relaxed) {
            false => context.connect(),
            true => again(context, &place, stopped),
        };
        match connected.and_then(&mut call) {
            Err(error) if place.own_state.is_some() && error.code == Code::NoDaemon && gone < DAEMONS => {
                if is_stopped(&place) && matches!(stopped, Stopped::Fails) || is_over(stopped) {
                    return Err(error);
                }
                gone = if began.elapsed() > LASTED { 1 } else { gone + 1 };
            }
            other => return other,
        }
    }
}

/// A connection for who was served before. A daemon that was stopped since is not started.
pub(crate) fn again(context: &Context, place: &Place, stopped: Stopped) -> Result<Client, Error> {
    let error = match (Client::connect_to(place), &place.own_state) {
        (Err(error), Some(_)) if is_stopped(place) => error,
        (Err(_), Some(_)) => return context.connect(),
        (connected, _) => return connected,
    };
    match (stopped, &place.own_state) {
        (Stopped::Waits(until), Some(state)) => {
            if !context.told_of_stop.swap(true, Ordering::Relaxed) {
                context.out.note("qrm: qrmd was stopped; this goes on when it is started again");
            }
            match started(state, place, until)? {
                true => context.connect(),
                false => Err(error),
            }
        }
        _ => Err(error),
    }
}

fn is_over(stopped: Stopped) -> bool {
    matches!(stopped, Stopped::Waits(Some(until)) if until <= Instant::now())
}

fn is_stopped(place: &Place) -> bool {
    place.own_state.as_ref().is_some_and(|state| state.join(STOPPED_NAME).exists())
}

/// Waits until a daemon is there again or wanted again; `false` if that takes too long.
fn started(state: &Path, place: &Place, until: Option<Instant>) -> Result<bool, Error> {
    let failed =
        |e: rustix::io::Errno| Error::new(Code::NoDaemon, format!("inotify can not watch {}: {e}", state.display()));
    let watch = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(failed)?;
    add_watch(&watch, state, WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_TO).map_err(failed)?;
    loop {
        if !is_stopped(place) || Client::connect(&place.socket).is_ok() {
            return Ok(true);
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(false);
        }
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut [PollFd::new(&watch, PollFlags::IN)], left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(failed(error)),
        }
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&watch, &mut buffer);
        while reader.next().is_ok() {}
    }
}
