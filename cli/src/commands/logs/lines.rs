//! Lines of several jobs in one stream: each is whole, and says whose it is.
//! It refuses to hold more than a piece of a line that does not end.

use crate::follow::PIECE;
use std::io::Write;

/// What one job writes to one stream, as lines.
pub(super) struct Lines {
    /// What stands before each of them.
    label: Vec<u8>,
    /// What there is of a line that has no end yet.
    rest: Vec<u8>,
}

impl Lines {
    pub(super) fn new(label: &str) -> Self {
        Self { label: label.as_bytes().to_vec(), rest: Vec::new() }
    }

    /// Takes bytes and passes on the lines that they complete.
    pub(super) fn take(&mut self, bytes: &[u8], to: &mut impl Write) -> std::io::Result<()> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let mut piece = piece;
            while self.rest.len() + piece.len() > PIECE {
                let (fits, more) = piece.split_at(PIECE - self.rest.len());
                self.rest.extend_from_slice(fits);
                piece = more;
                self.pass(to)?;
            }
            self.rest.extend_from_slice(piece);
            if self.rest.last() == Some(&b'\n') {
                self.pass(to)?;
            }
        }
        Ok(())
    }

    /// What is left when nothing more comes.
    pub(super) fn end(&mut self, to: &mut impl Write) -> std::io::Result<()> {
        if self.rest.is_empty() { Ok(()) } else { self.pass(to) }
    }

    fn pass(&mut self, to: &mut impl Write) -> std::io::Result<()> {
        if self.rest.last() != Some(&b'\n') {
            self.rest.push(b'\n');
        }
        to.write_all(&self.label)?;
        to.write_all(&self.rest)?;
        self.rest.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(pieces: &[&[u8]]) -> String {
        let (mut lines, mut out) = (Lines::new("1 | "), Vec::new());
        pieces.iter().for_each(|piece| lines.take(piece, &mut out).unwrap());
        lines.end(&mut out).unwrap();
        assert!(lines.rest.capacity() <= 4 * PIECE);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        for (pieces, lines) in [
            (&[&b"a\nb\n"[..]][..], "1 | a\n1 | b\n"),
            (&[b"a", b"b\nc"], "1 | ab\n1 | c\n"),
            (&[b"\n", b"", b"\n"], "1 | \n1 | \n"),
            (&[], ""),
        ] {
            assert_eq!(passed(pieces), lines);
        }
    }

    #[test]
    fn a_line_without_end_is_cut_and_not_kept() {
        let flood = passed(&vec![&[b'x'; 1000][..]; 1000]);
        let lines: Vec<&str> = flood.lines().collect();
        assert_eq!(lines.len(), 1_000_000_usize.div_ceil(PIECE));
        assert!(lines[..lines.len() - 1].iter().all(|line| line.len() == PIECE + 4 && line.starts_with("1 | x")));
        assert_eq!(flood.matches('x').count(), 1_000_000);
    }
}
