//! Length-prefixed bytes: the one encoding of the plan.
//! It knows numbers, byte strings and lists, and nothing of what they mean.

use std::ffi::CStr;

/// Bytes that do not decode; the text names what was expected.
pub(crate) type Malformed = &'static str;

/// A byte string as a plan holds it: owned by the daemon, borrowed from the mapped plan by the shim.
pub trait Text<'a>: AsRef<[u8]> {
    /// From bytes inside the encoded plan.
    fn from_encoded(text: &'a CStr) -> Self;
}

impl<'a> Text<'a> for Vec<u8> {
    fn from_encoded(text: &'a CStr) -> Self {
        text.to_bytes().to_vec()
    }
}

/// A C string inside the encoded plan: each is followed by its NUL there, so that the shim copies none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded<'a>(pub &'a CStr);

impl AsRef<[u8]> for Encoded<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0.to_bytes()
    }
}

impl<'a> Text<'a> for Encoded<'a> {
    fn from_encoded(text: &'a CStr) -> Self {
        Self(text)
    }
}

/// Appends values to a buffer.
pub(crate) struct Writer(pub Vec<u8>);

impl Writer {
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("a plan is far below 4 GiB"));
    }

    /// The length, the bytes, a NUL.
    pub fn text(&mut self, text: &[u8]) {
        self.count(text.len());
        self.0.extend_from_slice(text);
        self.u8(0);
    }

    pub fn texts<T: AsRef<[u8]>>(&mut self, texts: &[T]) {
        self.count(texts.len());
        for text in texts {
            self.text(text.as_ref());
        }
    }
}

/// Takes values off the front of a slice.
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(len).ok_or("more bytes")?;
        self.0 = rest;
        Ok(head)
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(bytes))
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(bytes))
    }

    pub fn text<S: Text<'a>>(&mut self) -> Result<S, Malformed> {
        let len = self.u32()? as usize;
        let bytes = self.take(len.saturating_add(1))?;
        let text = CStr::from_bytes_with_nul(bytes).map_err(|_| "a string without NUL inside")?;
        Ok(S::from_encoded(text))
    }

    /// A list; `least` is the fewest bytes one element takes, so that a lying count cannot ask for memory.
    pub fn list<T>(
        &mut self,
        least: usize,
        mut one: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.u32()? as usize;
        if count > self.0.len() / least {
            return Err("as many elements as were announced");
        }
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(one(self)?);
        }
        Ok(list)
    }

    pub fn texts<S: Text<'a>>(&mut self) -> Result<Vec<S>, Malformed> {
        self.list(5, Self::text)
    }

    /// A presence byte and, if it is 1, a value.
    pub fn option<T>(&mut self, one: impl FnOnce(&mut Self) -> Result<T, Malformed>) -> Result<Option<T>, Malformed> {
        match self.u8()? {
            0 => Ok(None),
            1 => one(self).map(Some),
            _ => Err("0 or 1 for absent or present"),
        }
    }
}
