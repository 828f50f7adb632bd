//! The canonical encoding of what is hashed, signed or fed to a KDF: fields with lengths before them.
//!
//! Each field is its length in bytes as u32 big endian, then the bytes; numbers are fixed-width big endian inside such a
//! field. Two different lists of fields never give the same bytes, which is all that a transcript needs. Decoding takes
//! exactly what encoding made: a length beyond the input, a missing field or a trailing byte is an error.

/// Builds canonical bytes field by field.
///
/// ```
/// use burgrave_types::encoding::Encoder;
/// let bytes = Encoder::new().bytes(b"ab").u64(7).finish();
/// assert_eq!(bytes, [0, 0, 0, 2, b'a', b'b', 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 7]);
/// ```
#[derive(Debug, Default)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    /// An encoder with no field yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// An encoder that holds `bytes` bytes before it moves, so that secrets leave no copy in memory given back.
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Appends a field. Fields are at most `u32::MAX` bytes; a longer one cannot be held by the callers' bounds.
    #[must_use]
    pub fn bytes(mut self, field: &[u8]) -> Self {
        let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(field);
        self
    }

    /// Appends a text field (UTF-8).
    #[must_use]
    pub fn text(self, field: &str) -> Self {
        self.bytes(field.as_bytes())
    }

    /// Appends a number as an 8-byte field.
    #[must_use]
    pub fn u64(self, number: u64) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    /// Appends a signed number as an 8-byte field.
    #[must_use]
    pub fn i64(self, number: i64) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    /// Appends a list: its length as a number, then each item as a field.
    #[must_use]
    pub fn list<I>(self, items: I) -> Self
    where
        I: IntoIterator<IntoIter: ExactSizeIterator, Item: AsRef<[u8]>>,
    {
        let items = items.into_iter();
        let mut encoder = self.u64(items.len() as u64);
        for item in items {
            encoder = encoder.bytes(item.as_ref());
        }
        encoder
    }

    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Why canonical bytes could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ends inside a field.
    #[error("the input ends inside a field")]
    Truncated,
    /// The input goes on after the last field.
    #[error("{0} bytes follow the last field")]
    Trailing(usize),
    /// A field has another length than its type.
    #[error("a field of {found} bytes stands where {expected} are expected")]
    Width {
        /// Bytes that the type has.
        expected: usize,
        /// Bytes that the field has.
        found: usize,
    },
    /// A text field is not UTF-8.
    #[error("a text field is not UTF-8")]
    Text,
    /// A field's value is outside its type.
    #[error("a field does not hold a {0}")]
    Value(&'static str),
}

/// Reads canonical bytes field by field, without copying.
#[derive(Debug)]
pub struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    /// A decoder at the first field of `input`.
    pub fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    /// The next field.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] where the input ends before the field does.
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let (length, rest) = self.0.split_first_chunk::<4>().ok_or(DecodeError::Truncated)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (field, rest) = rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        self.0 = rest;
        Ok(field)
    }

    /// The next field, which has exactly `N` bytes.
    ///
    /// # Errors
    /// As [`Decoder::bytes`]; [`DecodeError::Width`] for another length.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let field = self.bytes()?;
        field.try_into().map_err(|_| DecodeError::Width { expected: N, found: field.len() })
    }

    /// The next field as text.
    ///
    /// # Errors
    /// As [`Decoder::bytes`]; [`DecodeError::Text`] where it is not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| DecodeError::Text)
    }

    /// The next field as a number.
    ///
    /// # Errors
    /// As [`Decoder::array`].
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// The next field as a signed number.
    ///
    /// # Errors
    /// As [`Decoder::array`].
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// The next list, as [`Encoder::list`] wrote it.
    ///
    /// # Errors
    /// As [`Decoder::bytes`]. A count that the input cannot hold is an error before anything is allocated for it.
    pub fn list(&mut self) -> Result<Vec<&'a [u8]>, DecodeError> {
        let count = self.u64()?;
        if count > self.0.len() as u64 / 4 {
            return Err(DecodeError::Truncated);
        }
        (0..count).map(|_| self.bytes()).collect()
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] where bytes are left.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.0.len())) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(fields: Vec<Vec<u8>>, number: u64, text: String) {
            let bytes = Encoder::new().list(&fields).u64(number).text(&text).finish();
            let mut decoder = Decoder::new(&bytes);
            prop_assert_eq!(decoder.list().unwrap(), fields.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert_eq!(decoder.u64().unwrap(), number);
            prop_assert_eq!(decoder.text().unwrap(), text);
            prop_assert!(decoder.finish().is_ok());
        }

        #[test]
        fn a_shortened_input_is_refused(field: Vec<u8>, cut in 1usize..4) {
            let bytes = Encoder::new().bytes(&field).finish();
            let short = &bytes[..bytes.len().saturating_sub(cut)];
            prop_assert_eq!(Decoder::new(short).bytes(), Err(DecodeError::Truncated));
        }

        #[test]
        fn arbitrary_input_never_panics(bytes: Vec<u8>) {
            let mut decoder = Decoder::new(&bytes);
            while decoder.list().is_ok() {}
            let _ = decoder.finish();
        }
    }

    #[test]
    fn a_trailing_byte_is_refused() {
        let mut bytes = Encoder::new().u64(1).finish();
        bytes.push(0);
        let mut decoder = Decoder::new(&bytes);
        decoder.u64().unwrap();
        assert_eq!(decoder.finish(), Err(DecodeError::Trailing(1)));
    }
}
