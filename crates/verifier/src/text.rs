//! Words of checks, and bytes as text.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use burgrave_types::claims::TcbStatus;
use burgrave_types::{Tee, Timestamp};
use serde::{Serialize, Serializer};

/// Text that is mostly one of the verifier's own words, which then costs no copy. It reads, prints and serialises as a `str`.
#[derive(Clone)]
pub struct Text(Repr);

#[derive(Clone)]
enum Repr {
    Word(&'static str),
    Made(String),
    /// As [`Repr::Made`], for what is told again and again.
    Shared(Arc<str>),
}

impl Text {
    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Word(text) => text,
            Repr::Made(text) => text,
            Repr::Shared(text) => text,
        }
    }

    /// The same text; its copies share the bytes.
    pub(crate) fn shared(self) -> Self {
        match self.0 {
            Repr::Made(text) => Self(Repr::Shared(text.into())),
            repr => Self(repr),
        }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self(Repr::Word(text))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Repr::Made(text))
    }
}

impl From<&Text> for Text {
    fn from(text: &Text) -> Self {
        text.clone()
    }
}

impl From<fmt::Arguments<'_>> for Text {
    fn from(arguments: fmt::Arguments<'_>) -> Self {
        arguments.as_str().map_or_else(|| arguments.to_string().into(), Self::from)
    }
}

impl From<Tee> for Text {
    fn from(tee: Tee) -> Self {
        tee.as_str().into()
    }
}

impl From<TcbStatus> for Text {
    fn from(status: TcbStatus) -> Self {
        status.as_str().into()
    }
}

impl From<Timestamp> for Text {
    fn from(at: Timestamp) -> Self {
        at.to_string().into()
    }
}

macro_rules! from_numbers {
    ($($number:ty),+) => {
        $(impl From<$number> for Text {
            fn from(number: $number) -> Self {
                number.to_string().into()
            }
        })+
    };
}

from_numbers!(u8, u16, u32, u64, usize);

/// As `hex::encode`, which pushes character by character and would be a tenth of a verification's cost.
pub(crate) fn hex_text(bytes: impl AsRef<[u8]>) -> String {
    // Without a branch, so that many digits are made at once.
    let digit = |nibble: u8| nibble.wrapping_add(b'0').wrapping_add(if nibble > 9 { b'a' - b'9' - 1 } else { 0 });
    let bytes = bytes.as_ref();
    let mut text = vec![0; bytes.len() * 2];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_same_however_it_is_held() {
        let word = Text::from("a word");
        let made = Text::from(format!("a {}", "word"));
        let shared = made.clone().shared();
        for text in [&word, &made, &shared] {
            assert_eq!((text, text.to_string().as_str()), (&word, "a word"));
            assert_eq!(format!("{text:>8}|{text:?}"), "  a word|\"a word\"");
            assert_eq!(serde_json::to_string(text).unwrap(), "\"a word\"");
        }
        assert_ne!(word, Text::from("another"));
    }

    #[test]
    fn every_byte_is_its_two_digits() {
        let bytes: Vec<u8> = (0..=u8::MAX).collect();
        assert_eq!(hex_text(&bytes), hex::encode(&bytes));
        assert_eq!(hex_text([]), "");
    }
}
