//! The keys that leave a terminal: how they are written, and found among those that are pressed.
//! It refuses to know what leaving means.

use std::fmt;
use std::str::FromStr;

/// Keys that are pressed one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    bytes: Vec<u8>,
    /// So many of them were pressed last.
    pressed: usize,
}

/// What is left of what was pressed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pressed {
    /// For the job.
    pub typed: Vec<u8>,
    /// The keys were among them; nothing after them counts.
    pub leave: bool,
}

/// The most keys.
const MOST: usize = 8;

impl Keys {
    /// What of these is typed. Keys that may be the first of those that leave are kept until it is known.
    pub(crate) fn press(&mut self, bytes: &[u8]) -> Pressed {
        let mut typed = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if *byte == self.bytes[self.pressed] {
                self.pressed += 1;
                if self.pressed == self.bytes.len() {
                    self.pressed = 0;
                    return Pressed { typed, leave: true };
                }
                continue;
            }
            // They were none of those; perhaps some of the last of them begin it anew.
            let mut kept = [&self.bytes[..self.pressed], &[*byte]].concat();
            while !self.bytes.starts_with(&kept) {
                typed.push(kept.remove(0));
            }
            self.pressed = kept.len();
        }
        Pressed { typed, leave: false }
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = |byte: &u8| match byte {
            0..=31 => format!("ctrl-{}", char::from(byte + 64).to_ascii_lowercase()),
            byte => char::from(*byte).to_string(),
        };
        f.write_str(&self.bytes.iter().map(key).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let key = |key: &str| match key.as_bytes() {
            [byte @ b'!'..=b'~'] => Some(*byte),
            [b'c' | b'C', b't' | b'T', b'r' | b'R', b'l' | b'L', b'-', byte @ b'@'..=b'~'] => {
                Some(byte.to_ascii_uppercase() & 0x1f)
            }
            _ => None,
        };
        let bytes: Option<Vec<u8>> = text.split(',').map(key).collect();
        match bytes {
            Some(bytes) if bytes.len() <= MOST => Ok(Self { bytes, pressed: 0 }),
            _ => Err(format!("keys are at most {MOST}, as ctrl-p,ctrl-q or ctrl-a,d")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Keys {
        text.parse().unwrap()
    }

    #[test]
    fn keys_are_written_as_people_write_them() {
        assert_eq!(keys("ctrl-p,ctrl-q").bytes, [16, 17]);
        assert_eq!(keys("ctrl-],d,~").bytes, [29, b'd', b'~']);
        assert_eq!((keys("Ctrl-A").to_string(), keys("ctrl-@,x").to_string()), ("ctrl-a".into(), "ctrl-@,x".into()));
        for text in ["", "ctrl", "ctrl-", "ctrl-p,", "ctrl-pq", "alt-p", "ä", "a,b,c,d,e,f,g,h,i", "ctrl-\n"] {
            assert!(text.parse::<Keys>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_only_begins_like_them_is_typed_in_its_order() {
        let mut keys = keys("a,a,b");
        let typed = |keys: &mut Keys, text: &str| {
            let Pressed { typed, leave } = keys.press(text.as_bytes());
            (String::from_utf8(typed).unwrap(), leave)
        };
        assert_eq!(typed(&mut keys, "xa"), ("x".into(), false));
        assert_eq!(typed(&mut keys, "c"), ("ac".into(), false));
        assert_eq!(typed(&mut keys, "aaa"), ("a".into(), false));
        assert_eq!(typed(&mut keys, "bz"), (String::new(), true));
        assert_eq!(typed(&mut keys, "q"), ("q".into(), false));
    }
}
