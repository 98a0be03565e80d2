//! Calls that are answered with a descriptor beside the reply.
//! It refuses to know what leads where.

use super::{Client, gone};
use crate::error::{Code, Error};
use crate::frame::{self, Incoming};
use crate::method::Method;
use interprocess::local_socket::Stream;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// No reply to such a call is longer.
const REPLY: usize = 64 * 1024;

impl Client {
    /// Calls a method whose answer is a descriptor.
    ///
    /// # Errors
    /// What the daemon refused, or that it went away.
    pub fn call_for_descriptor<M: Method>(&mut self, params: &M::Params) -> Result<OwnedFd, Error> {
        // What comes with a reply is lost to who reads it together with the one before it.
        self.greet()?;
        let id = self.take_id();
        self.stream.get_mut().write_all(&frame::encode_request(id, M::NAME, params)).map_err(|e| gone(&e))?;
        let (line, descriptor) = self.receive()?;
        match frame::decode_incoming(&line)? {
            Incoming::Reply(_, Err(error)) => Err(error),
            Incoming::Reply(Some(of), Ok(_)) if of.get() == id.to_string() => descriptor.ok_or_else(|| {
                Error::new(Code::Internal, format!("the reply to {} came without a descriptor", M::NAME))
            }),
            _ => Err(Error::new(Code::Internal, format!("something else came than a reply to {}", M::NAME))),
        }
    }

    fn receive(&mut self) -> Result<(Vec<u8>, Option<OwnedFd>), Error> {
        let Stream::UdSocket(stream) = self.stream.get_ref();
        let (mut line, mut descriptor) = (Vec::new(), None);
        while line.last() != Some(&b'\n') {
            let mut piece = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut message = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut piece)];
            let received = rustix::io::retry_on_intr(|| {
                recvmsg(stream.as_fd(), &mut parts, &mut message, RecvFlags::CMSG_CLOEXEC)
            });
            let received = received.map_err(|e| gone(&e))?.bytes;
            for part in message.drain() {
                if let RecvAncillaryMessage::ScmRights(mut fds) = part {
                    descriptor = fds.next().or(descriptor);
                }
            }
            if received == 0 {
                return Err(gone(&"it closed the connection"));
            }
            line.extend_from_slice(&piece[..received]);
            if line.len() > REPLY {
                return Err(frame::too_large());
            }
        }
        line.pop();
        Ok((line, descriptor))
    }
}
