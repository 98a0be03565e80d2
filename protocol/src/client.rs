//! The blocking client: one connection, one call at a time, notifications of a subscription.
//! It refuses to print, and to start a daemon unless it is asked to.

use crate::error::{Code, Error};
use crate::frame::{self, Incoming};
use crate::method::{Hello, HelloParams, HelloReply, Method};
use crate::place::{self, Place};
use interprocess::local_socket::{GenericFilePath, Stream, ToFsName, prelude::*};
use serde_json::value::RawValue;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

mod descriptor;
mod start;

pub use start::daemon_program;

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<Stream>,
    next_id: u64,
    greeted: bool,
    frame: Vec<u8>,
}

impl Client {
    /// Connects to a socket. Nothing is sent before the first call.
    ///
    /// # Errors
    /// `NO_DAEMON`: nobody listens there. `PERMISSION_DENIED`: who listens is neither root nor the caller.
    pub fn connect(socket: &Path) -> Result<Self, Error> {
        let unreachable = |why: &dyn std::fmt::Display| {
            Error::new(Code::NoDaemon, format!("no daemon answers at {}: {why}", socket.display()))
                .hint("qrm doctor says more")
        };
        let path = place::socket_path(socket)?;
        let name = path.path.as_path().to_fs_name::<GenericFilePath>().map_err(|e| unreachable(&e))?;
        let stream = Stream::connect(name).map_err(|e| unreachable(&e))?;
        is_trusted(&stream, socket)?;
        Ok(Self { stream: BufReader::new(stream), next_id: 0, greeted: false, frame: Vec::new() })
    }

    /// Connects to a daemon, and starts none.
    ///
    /// # Errors
    /// `NO_DAEMON`: nobody listens; where one could be started, that is the hint.
    pub fn connect_to(place: &Place) -> Result<Self, Error> {
        let start = |error: Error| error.hint("qrm daemon start starts one; qrm doctor says more");
        let own = place.own_state.is_some();
        Self::connect(&place.socket).map_err(|error| if own { start(error) } else { error })
    }

    /// Connects to a daemon; if it is the user's own and does not run, starts it first.
    ///
    /// # Errors
    /// `NO_DAEMON`: nobody listens, and none could be started.
    pub fn connect_or_start(place: &Place) -> Result<Self, Error> {
        match (Self::connect(&place.socket), &place.own_state) {
            (Err(_), Some(state)) => start::start(state),
            (connected, _) => connected,
        }
    }

    /// Calls a method and waits for its reply. The first call carries the handshake with it.
    ///
    /// # Errors
    /// What the daemon refused, or that it went away.
    pub fn call<M: Method>(&mut self, params: &M::Params) -> Result<M::Reply, Error> {
        let id = self.send::<M>(params)?;
        let result = self.reply(id)?;
        serde_json::from_str(result.get())
            .map_err(|e| Error::new(Code::Internal, format!("the reply to {} is not understood: {e}", M::NAME)))
    }

    /// The next notification: its name and parameters; `None` when the daemon has closed the connection.
    ///
    /// # Errors
    /// Something else came.
    pub fn notification(&mut self) -> Result<Option<(String, Box<RawValue>)>, Error> {
        match self.read()? {
            None => Ok(None),
            Some(Incoming::Notification(method, params)) => Ok(Some((method, params))),
            Some(Incoming::Reply(_, Err(error))) => Err(error),
            Some(Incoming::Reply(..)) => Err(Error::new(Code::Internal, "a reply came where an event was due")),
        }
    }

    /// The handshake alone, if it was not made yet.
    fn greet(&mut self) -> Result<(), Error> {
        if !self.greeted {
            let id = self.take_id();
            let hello = HelloParams { protocol: crate::PROTOCOL_VERSION };
            let sent = self.stream.get_mut().write_all(&frame::encode_request(id, Hello::NAME, &hello));
            self.greeting(id)?;
            sent.map_err(|e| gone(&e))?;
        }
        Ok(())
    }

    fn greeting(&mut self, id: u64) -> Result<(), Error> {
        let reply = self.reply(id)?;
        self.greeted = true;
        let hello: Result<HelloReply, _> = serde_json::from_str(reply.get());
        hello
            .map(drop)
            .map_err(|e| Error::new(Code::VersionMismatch, format!("the daemon's greeting is not understood: {e}")))
    }

    fn send<M: Method>(&mut self, params: &M::Params) -> Result<u64, Error> {
        let mut bytes = Vec::new();
        let greeting = (!self.greeted).then(|| self.take_id());
        if let Some(id) = greeting {
            bytes = frame::encode_request(id, Hello::NAME, &HelloParams { protocol: crate::PROTOCOL_VERSION });
        }
        let id = self.take_id();
        bytes.extend(frame::encode_request(id, M::NAME, params));
        // A daemon that refuses closes its end early; its reason is still there to be read.
        let sent = self.stream.get_mut().write_all(&bytes);
        if let Some(greeting) = greeting {
            self.greeting(greeting)?;
        }
        match sent {
            Ok(()) => Ok(id),
            Err(error) => match self.read() {
                Ok(Some(Incoming::Reply(_, Err(reason)))) => Err(reason),
                _ => Err(gone(&error)),
            },
        }
    }

    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn reply(&mut self, id: u64) -> Result<Box<RawValue>, Error> {
        loop {
            match self.read()? {
                None => return Err(gone(&"it closed the connection")),
                // Without an id the daemon could not tell what it refused: it was this call.
                Some(Incoming::Reply(None, Err(error))) => return Err(error),
                Some(Incoming::Reply(Some(of), result)) if of.get() == id.to_string() => return result,
                Some(Incoming::Reply(..) | Incoming::Notification(..)) => {}
            }
        }
    }

    fn read(&mut self) -> Result<Option<Incoming>, Error> {
        self.frame.clear();
        let bound = u64::try_from(frame::MAX_FRAME).unwrap_or(u64::MAX) + 1;
        self.stream.by_ref().take(bound).read_until(b'\n', &mut self.frame).map_err(|e| gone(&e))?;
        match self.frame.strip_suffix(b"\n") {
            Some(frame) => frame::decode_incoming(frame).map(Some),
            None if self.frame.len() > frame::MAX_FRAME => Err(frame::too_large()),
            None => Ok(None),
        }
    }
}

/// That whoever listens may have what is sent, environments and all: root, or the caller's own user.
fn is_trusted(stream: &Stream, socket: &Path) -> Result<(), Error> {
    let theirs = stream.peer_creds().ok().and_then(|creds| creds.euid());
    let own = rustix::process::geteuid().as_raw();
    if theirs.is_some_and(|uid| uid == 0 || uid == own) {
        return Ok(());
    }
    let whose = theirs.map_or_else(|| "somebody unknown".to_owned(), |uid| format!("user {uid}"));
    let message = format!("who listens at {} is {whose}, and gets nothing of yours", socket.display());
    Err(Error::new(Code::PermissionDenied, message)
        .hint("a daemon is root's or your own; --socket or QRM_SOCKET names another one"))
}

/// Starts the user's own daemon if it does not run.
///
/// # Errors
/// It could not be started; says why.
pub fn start_daemon(place: &Place) -> Result<(), Error> {
    match &place.own_state {
        Some(state) => start::start(state).map(drop),
        None => Client::connect(&place.socket).map(drop),
    }
}

fn gone(why: &dyn std::fmt::Display) -> Error {
    Error::new(Code::NoDaemon, format!("the daemon went away: {why}"))
        .hint("what it had acknowledged is kept; run the command again")
}
