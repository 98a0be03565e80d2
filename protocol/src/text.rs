//! Text of the operating system: arguments, directories and environment entries, which are bytes without NUL and
//! not always UTF-8. It refuses to interpret them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes without NUL. On the wire: a string if they are UTF-8, else `{"hex": "ff00"}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct OsText(Vec<u8>);

/// The bytes hold a NUL, which no argument, path or environment entry can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a NUL byte can not be part of a command, a directory or an environment")]
pub struct HasNul;

impl OsText {
    /// Takes bytes as they are.
    ///
    /// # Errors
    /// They hold a NUL.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, HasNul> {
        let bytes = bytes.into();
        if bytes.contains(&0) { Err(HasNul) } else { Ok(Self(bytes)) }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, owned.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// For people: what is not UTF-8 is replaced.
    #[must_use]
    pub fn lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl fmt::Debug for OsText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.lossy())
    }
}

impl TryFrom<&str> for OsText {
    type Error = HasNul;
    fn try_from(text: &str) -> Result<Self, HasNul> {
        Self::new(text)
    }
}

impl Serialize for OsText {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        if let Ok(text) = std::str::from_utf8(&self.0) {
            return to.serialize_str(text);
        }
        let mut map = to.serialize_map(Some(1))?;
        map.serialize_entry("hex", &hex(&self.0))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for OsText {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> serde::de::Visitor<'de> for Reader {
            type Value = OsText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, or {\"hex\": …} for bytes that are not UTF-8")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<OsText, E> {
                OsText::new(text).map_err(E::custom)
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<OsText, A::Error> {
                use serde::de::Error;
                let (key, hex): (String, String) =
                    map.next_entry()?.ok_or_else(|| A::Error::custom("expected the key 'hex'"))?;
                if key != "hex" || map.next_key::<String>()?.is_some() {
                    return Err(A::Error::custom("expected the key 'hex' alone"));
                }
                let bytes = unhex(&hex).ok_or_else(|| A::Error::custom("not a string of hexadecimal pairs"))?;
                OsText::new(bytes).map_err(A::Error::custom)
            }
        }
        from.deserialize_any(Reader)
    }
}

/// Bytes as pairs of hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| {
            let digit = |b: u8| (b as char).to_digit(16);
            u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
        })
        .collect()
}

/// Text for a terminal: control characters, also those that would move a cursor, change colours or turn the direction
/// of what follows, become `·`.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_obeyed(c) { '·' } else { c }).collect()
}

/// Whether a terminal would do something else with this than show it.
#[must_use]
pub fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A command as one would type it: words with anything but plain characters are quoted for a POSIX shell.
#[must_use]
pub fn shell_quoted(words: &[OsText]) -> String {
    let quoted = words.iter().map(|word| {
        let text = word.lossy();
        let plain = |c: char| c.is_alphanumeric() || "-_=+./:,@%^".contains(c);
        if !text.is_empty() && text.chars().all(plain) {
            text.into_owned()
        } else {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_the_wire_also_when_they_are_not_utf8() {
        for bytes in [&b"plain"[..], b"", b"\xff\xfe", "žluť".as_bytes()] {
            let text = OsText::new(bytes).unwrap();
            let wire = serde_json::to_string(&text).unwrap();
            assert_eq!(serde_json::from_str::<OsText>(&wire).unwrap(), text);
        }
    }

    #[test]
    fn a_nul_and_a_broken_hex_are_refused() {
        for wire in [r#""a\u0000b""#, r#"{"hex":"f"}"#, r#"{"hex":"zz"}"#, r#"{"hex":"00"}"#, r#"{"hax":"00"}"#, "1"] {
            assert!(serde_json::from_str::<OsText>(wire).is_err(), "{wire}");
        }
    }

    #[test]
    fn quoting_is_what_a_shell_would_undo() {
        let words = ["echo", "a b", "it's", ""].map(|w| OsText::try_from(w).unwrap());
        assert_eq!(shell_quoted(&words), r"echo 'a b' 'it'\''s' ''");
    }
}
