//! What a shim and who looks at its terminal, or runs a command beside its job, say to each other: messages on a socket
//! that keeps their bounds, each a byte that says what it is and what belongs to it. It refuses to believe any of it.

use std::io::IoSlice;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};

use crate::terminal::Window;

/// To a shim: bytes that were typed.
pub const INPUT: u8 = b'i';
/// To a shim: the size of the terminal that it is seen on; rows and columns, two bytes each, the higher one first.
pub const WINDOW: u8 = b'w';
/// To a shim: a signal for the command, a byte.
pub const SIGNAL: u8 = b's';
/// To a shim: run the command, on the three descriptors that come along.
pub const BEGIN: u8 = b'b';
/// From a shim: bytes that were written.
pub const OUTPUT: u8 = b'o';
/// From a shim: the command has ended. Its exit code, or 128 + its signal; what could not be done for it to be
/// executed, and the number of the error, both 0 if it was. Four bytes each, the highest one first.
pub const END: u8 = b'e';
/// From a shim: as many look on as may.
pub const FULL: u8 = b'f';

/// The most bytes that follow the first of a message.
pub const MOST: usize = 4096;

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// So many bytes were typed; they stand in the buffer behind the first.
    Input(usize),
    Window(Window),
    Signal(i32),
    Begin,
    /// Nothing now.
    Nothing,
    /// Nobody is there any more, or somebody who says what nobody says.
    Gone,
}

/// Room for a message and one byte more, by which one that is too long is told.
pub(crate) type Buffer = [u8; MOST + 2];

/// Listens without waiting.
pub(crate) fn hear(socket: impl AsFd, buffer: &mut Buffer) -> Heard {
    match rustix::io::retry_on_intr(|| recv(&socket, &mut buffer[..], RecvFlags::DONTWAIT)) {
        Ok((len, _)) => meaning(&buffer[..len]),
        Err(Errno::AGAIN) => Heard::Nothing,
        Err(_) => Heard::Gone,
    }
}

/// What a message means.
pub(crate) fn meaning(message: &[u8]) -> Heard {
    match message {
        [INPUT, typed @ ..] if typed.len() <= MOST => Heard::Input(typed.len()),
        [WINDOW, a, b, c, d] => {
            let window = Window { rows: u16::from_be_bytes([*a, *b]), cols: u16::from_be_bytes([*c, *d]) };
            if window.is_good() { Heard::Window(window) } else { Heard::Gone }
        }
        // signal(7): 64 is the last.
        [SIGNAL, number @ 1..=64] => Heard::Signal((*number).into()),
        [BEGIN] => Heard::Begin,
        _ => Heard::Gone,
    }
}

/// Says something without waiting; `AGAIN` if there is no room for it now.
pub(crate) fn say(socket: impl AsFd, what: u8, rest: &[u8]) -> Result<(), Errno> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let parts = [IoSlice::new(std::slice::from_ref(&what)), IoSlice::new(rest)];
    rustix::io::retry_on_intr(|| sendmsg(&socket, &parts, &mut SendAncillaryBuffer::default(), flags)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_says_is_somebody_to_be_rid_of() {
        assert_eq!(meaning(b"iab"), Heard::Input(2));
        assert_eq!(meaning(b"w\0\x18\0\x50"), Heard::Window(Window { rows: 24, cols: 80 }));
        assert_eq!((meaning(b"s\x0f"), meaning(b"b")), (Heard::Signal(15), Heard::Begin));
        let long = [b"i".as_slice(), &[0; MOST + 1]].concat();
        for message in
            [b"".as_slice(), b"w", b"w\0\x18\0\0", b"w\xff\xff\0\x50", b"w\0\x18\0\x50x", b"s", b"s\0", b"sA"]
        {
            assert_eq!(meaning(message), Heard::Gone, "{message:?}");
        }
        for message in [b"bx".as_slice(), b"o", b"\0", &long] {
            assert_eq!(meaning(message), Heard::Gone);
        }
    }
}
