//! `COSE_Sign1` (RFC 9052, section 4.2) as evidence uses it: payload attached, one signature, algorithm in the protected header.

use minicbor::Decoder;
use minicbor::data::Type;

use crate::cbor::{self, Key};

/// ECDSA with SHA-256 (RFC 9053, section 2.1), on P-256 in every format here.
pub(crate) const ES256: i64 = -7;
/// ECDSA with SHA-384, on P-384.
pub(crate) const ES384: i64 = -35;
/// ECDSA with SHA-512, on P-521.
pub(crate) const ES512: i64 = -36;

/// The header parameter `alg`.
const ALGORITHM: Key<'static> = Key::Number(1);
/// The header parameter `crit`: names parameters that one must understand. None is understood here.
const CRITICAL: Key<'static> = Key::Number(2);
/// The tag of `COSE_Sign1`.
const TAG: u64 = 18;

/// A signed message, read and not verified.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sign1<'a> {
    protected: &'a [u8],
    /// The algorithm in the protected header; `None` where there is none, or not one by number.
    pub(crate) algorithm: Option<i64>,
    /// Whether the header that no signature covers is empty.
    pub(crate) is_unprotected_empty: bool,
    /// What is signed.
    pub(crate) payload: &'a [u8],
    /// The signature: r and s in the curve's width.
    pub(crate) signature: &'a [u8],
}

/// Why bytes are no `COSE_Sign1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoSign1 {
    /// They do not parse, from about this byte on.
    Malformed(usize),
    /// So many bytes follow it.
    Trailing(usize),
}

impl<'a> Sign1<'a> {
    /// Reads a message, tagged or not, with nothing after it.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, NoSign1> {
        let mut decoder = Decoder::new(bytes);
        let read = Self::decode(&mut decoder).ok_or(NoSign1::Malformed(decoder.position()))?;
        match bytes.len().saturating_sub(decoder.position()) {
            0 => Ok(read),
            trailing => Err(NoSign1::Trailing(trailing)),
        }
    }

    fn decode(decoder: &mut Decoder<'a>) -> Option<Self> {
        if decoder.datatype().ok()? == Type::Tag && decoder.tag().ok()?.as_u64() != TAG {
            return None;
        }
        if decoder.array().ok()? != Some(4) {
            return None;
        }
        let protected = decoder.bytes().ok()?;
        let mut algorithm = None;
        let mut header = Decoder::new(protected);
        // An empty header may be written as no bytes at all (section 3).
        if !protected.is_empty() {
            cbor::map(&mut header, |header, key| match key {
                ALGORITHM if header.datatype().ok()? != Type::String => {
                    algorithm = Some(header.i64().ok()?);
                    Some(())
                }
                CRITICAL => None,
                _ => cbor::skip(header),
            })?;
        }
        if !cbor::is_at_end(&header) {
            return None;
        }
        let mut is_unprotected_empty = true;
        cbor::map(decoder, |decoder, key| {
            is_unprotected_empty = false;
            // A parameter may stand in one header alone, and `crit` in the protected one.
            if key == ALGORITHM || key == CRITICAL { None } else { cbor::skip(decoder) }
        })?;
        let payload = decoder.bytes().ok()?;
        let signature = decoder.bytes().ok()?;
        Some(Self { protected, algorithm, is_unprotected_empty, payload, signature })
    }

    /// The bytes that the signature covers: `Sig_structure` (section 4.4), without external data.
    pub(crate) fn to_be_signed(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.protected.len() + self.payload.len() + 32);
        out.extend_from_slice(b"\x84\x6aSignature1");
        for bytes in [self.protected, &[], self.payload] {
            push_byte_string(&mut out, bytes);
        }
        out
    }
}

/// A byte string whose length is written as short as can be, as a signature needs it (RFC 9052, section 9).
fn push_byte_string(out: &mut Vec<u8>, bytes: &[u8]) {
    const KIND: u8 = 0x40;
    let length = bytes.len();
    if let Ok(length) = u8::try_from(length) {
        if length < 24 {
            out.push(KIND | length);
        } else {
            out.extend_from_slice(&[KIND | 24, length]);
        }
    } else if let Ok(length) = u16::try_from(length) {
        out.push(KIND | 25);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(KIND | 26);
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{1: -35}`, an empty header, payload `p` and signature `s`.
    const MESSAGE: [u8; 12] = [0x84, 0x44, 0xa1, 0x01, 0x38, 0x22, 0xa0, 0x41, b'p', 0x41, b's', 0];

    fn message() -> Vec<u8> {
        MESSAGE[..11].to_vec()
    }

    #[test]
    fn a_message_reads_with_its_tag_and_without() {
        let tagged = [[0xd2].as_slice(), &message()].concat();
        for bytes in [message(), tagged] {
            let read = Sign1::read(&bytes).unwrap();
            assert_eq!((read.algorithm, read.payload, read.signature), (Some(ES384), &b"p"[..], &b"s"[..]));
            let signed = [b"\x84\x6aSignature1\x44".as_slice(), &message()[2..6], b"\x40\x41p"].concat();
            assert_eq!(read.to_be_signed(), signed);
        }
        let other_tag = [[0xd3].as_slice(), &message()].concat();
        assert!(Sign1::read(&other_tag).is_err());
    }

    #[test]
    fn what_follows_a_message_is_counted_and_refused() {
        assert_eq!(Sign1::read(&MESSAGE).unwrap_err(), NoSign1::Trailing(1));
        assert!(matches!(Sign1::read(&MESSAGE[..9]).unwrap_err(), NoSign1::Malformed(_)));
    }

    #[test]
    fn the_algorithm_counts_in_the_protected_header_alone() {
        let unprotected = [0x84, 0x40, 0xa1, 0x01, 0x38, 0x22, 0x41, b'p', 0x41, b's'];
        assert!(Sign1::read(&unprotected).is_err());
        let none = [0x84, 0x40, 0xa0, 0x41, b'p', 0x41, b's'];
        assert_eq!(Sign1::read(&none).unwrap().algorithm, None);
        let twice = [0x84, 0x47, 0xa2, 0x01, 0x38, 0x22, 0x01, 0x38, 0x22, 0xa0, 0x41, b'p', 0x41, b's'];
        assert!(Sign1::read(&twice).is_err());
    }

    #[test]
    fn lengths_are_written_as_short_as_can_be() {
        let head = |length: usize| {
            let mut out = Vec::new();
            push_byte_string(&mut out, &vec![0; length]);
            out[..out.len() - length].to_vec()
        };
        assert_eq!(head(23), [0x57]);
        assert_eq!(head(24), [0x58, 24]);
        assert_eq!(head(256), [0x59, 1, 0]);
        assert_eq!(head(0x1_0000), [0x5a, 0, 1, 0, 0]);
    }
}
