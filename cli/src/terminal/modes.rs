//! The modes that a program switches on a terminal, found in what it writes: so that they can be switched back for a
//! shell that knows nothing of it. It refuses to know any but those that make a shell unusable.

use std::collections::BTreeMap;

/// Private modes of xterm (ctlseqs): the number, and whether it is on before anybody switches it. Application cursor keys,
/// the cursor, mouse reports, focus reports, other screens, pastes in brackets.
const KNOWN: [(u32, bool); 12] = [
    (1, false),
    (25, true),
    (47, false),
    (1000, false),
    (1002, false),
    (1003, false),
    (1004, false),
    (1006, false),
    (1015, false),
    (1047, false),
    (1049, false),
    (2004, false),
];

/// What is switched other than it was.
#[derive(Debug, Default)]
pub(crate) struct Modes {
    switched: BTreeMap<u32, bool>,
    /// How much of `ESC [ ? 1 ; 25 h` was seen.
    at: At,
    numbers: Vec<u32>,
    /// Keys of the other half of the keyboard.
    keypad: bool,
    wrote: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Text,
    Escape,
    Bracket,
    Private,
}

impl Modes {
    /// Looks at what a program wrote.
    pub(crate) fn see(&mut self, bytes: &[u8]) {
        self.wrote |= !bytes.is_empty();
        for byte in bytes {
            self.at = match (&self.at, byte) {
                (_, 0x1b) => At::Escape,
                (At::Escape, b'[') => At::Bracket,
                (At::Escape, b'=' | b'>') => {
                    self.keypad = *byte == b'=';
                    At::Text
                }
                (At::Bracket, b'?') => {
                    self.numbers = vec![0];
                    At::Private
                }
                (At::Private, b'0'..=b'9') => {
                    if let Some(number) = self.numbers.last_mut() {
                        *number = number.saturating_mul(10).saturating_add(u32::from(byte - b'0'));
                    }
                    At::Private
                }
                // No program switches more at once.
                (At::Private, b';') if self.numbers.len() < 16 => {
                    self.numbers.push(0);
                    At::Private
                }
                (At::Private, b'h' | b'l') => {
                    self.switch(*byte == b'h');
                    At::Text
                }
                _ => At::Text,
            };
        }
    }

    fn switch(&mut self, on: bool) {
        for number in std::mem::take(&mut self.numbers) {
            match KNOWN.iter().find(|(known, _)| *known == number) {
                Some((_, before)) if *before == on => drop(self.switched.remove(&number)),
                Some(_) => drop(self.switched.insert(number, on)),
                None => {}
            }
        }
    }

    /// What switches all of it back, and ends colours.
    pub(crate) fn back(&self) -> String {
        if !self.wrote {
            return String::new();
        }
        let mut text = String::from("\x1b[m");
        if self.keypad {
            text += "\x1b>";
        }
        for (number, on) in &self.switched {
            text += &format!("\x1b[?{number}{}", if *on { 'l' } else { 'h' });
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn back(written: &[&str]) -> String {
        let mut modes = Modes::default();
        written.iter().for_each(|piece| modes.see(piece.as_bytes()));
        modes.back()
    }

    #[test]
    fn what_was_switched_is_switched_back_and_nothing_else() {
        assert_eq!(back(&[]), "");
        assert_eq!(back(&["plain \x1b[1;31mred"]), "\x1b[m");
        assert_eq!(back(&["\x1b[?1049h\x1b[?25l"]), "\x1b[m\x1b[?25h\x1b[?1049l");
        assert_eq!(back(&["\x1b[?10", "49;2004h\x1b="]), "\x1b[m\x1b>\x1b[?1049l\x1b[?2004l");
        assert_eq!(back(&["\x1b[?1049h", "\x1b[?1049l\x1b[?25h\x1b[?7l\x1b=", "\x1b>"]), "\x1b[m");
        assert_eq!(back(&[&format!("\x1b[?{}h", "9".repeat(100)), &format!("\x1b[?{}h", ";1".repeat(40))]), "\x1b[m");
    }
}
