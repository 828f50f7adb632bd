//! Ciphertext that says by itself which key opens it.
//!
//! | field | bytes |
//! | --- | --- |
//! | `BGE` and format version 1 | 4 |
//! | algorithm: 1 is XAES-256-GCM | 1 |
//! | key version, big endian | 4 |
//! | length of the key's name, big endian | 2 |
//! | key's name, e.g. `keyspace/payments/storage` | 1 to 512 |
//! | nonce | 24 |
//! | ciphertext | as long as the plaintext |
//! | tag | 16 |
//!
//! Authenticated beside the ciphertext: all that stands before it, and the caller's associated data, each with its length
//! before it ([`burgrave_types::encoding`]). The name only says which key to ask for; a ciphertext whose name was changed
//! does not open under any key.

use burgrave_types::encoding::Encoder;
use burgrave_types::{Random, Secret};

use crate::xaes::{self, NONCE_LEN, TAG_LEN};

const MAGIC: &[u8; 3] = b"BGE";
const FORMAT: u8 = 1;
const XAES_256_GCM: u8 = 1;
/// Bytes of a key's name, at most.
pub const MAX_KEY_NAME: usize = 512;

/// Which key seals a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvelopeHeader {
    /// The key's name: 1 to [`MAX_KEY_NAME`] visible ASCII characters.
    pub key: String,
    /// The key's version.
    pub version: u32,
}

/// Why a message could not be sealed or opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The bytes are no envelope.
    #[error("this is not a Burgrave ciphertext: {0}")]
    NotAnEnvelope(&'static str),
    /// A later version of the format or another algorithm.
    #[error("the ciphertext has {what} {found}, this version knows {known}; use a later version")]
    Unknown {
        /// What is unknown: format or algorithm.
        what: &'static str,
        /// Its number.
        found: u8,
        /// The number that is known.
        known: u8,
    },
    /// The key's name cannot stand in a header.
    #[error("the key's name must be 1 to 512 visible ASCII characters")]
    KeyName,
    /// It was altered, or belongs to another key, key version or associated data; no more is told.
    #[error(
        "the ciphertext does not open: it was altered, or the key, its version or the associated data are not those it was sealed with"
    )]
    DoesNotOpen,
    /// The cryptographic library failed, or the message is too long for it.
    #[error("sealing failed in the cryptographic library")]
    Crypto,
}

/// A ciphertext taken apart. Nothing in it is trustworthy before [`open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    key: &'a str,
    version: u32,
    header: &'a [u8],
    nonce: &'a [u8; NONCE_LEN],
    ciphertext: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Takes `bytes` apart.
    ///
    /// # Errors
    /// [`EnvelopeError::NotAnEnvelope`], [`EnvelopeError::Unknown`] or [`EnvelopeError::KeyName`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        const SHORT: EnvelopeError = EnvelopeError::NotAnEnvelope("it ends too early");
        let (magic, rest) = bytes.split_first_chunk::<3>().ok_or(SHORT)?;
        if magic != MAGIC {
            return Err(EnvelopeError::NotAnEnvelope("it does not begin with `BGE`"));
        }
        let ([format, algorithm], rest) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
        for (what, found, known) in [("format", *format, FORMAT), ("algorithm", *algorithm, XAES_256_GCM)] {
            if found != known {
                return Err(EnvelopeError::Unknown { what, found, known });
            }
        }
        let (version, rest) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
        let (length, rest) = rest.split_first_chunk::<2>().ok_or(SHORT)?;
        let (key, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(SHORT)?;
        let key = std::str::from_utf8(key).ok().filter(|key| is_key_name(key)).ok_or(EnvelopeError::KeyName)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SHORT)?;
        if ciphertext.len() < TAG_LEN {
            return Err(SHORT);
        }
        let (header, _) = bytes.split_at_checked(bytes.len() - ciphertext.len()).ok_or(SHORT)?;
        Ok(Self { key, version: u32::from_be_bytes(*version), header, nonce, ciphertext })
    }

    /// The name of the key that it says it is sealed under.
    pub fn key(&self) -> &'a str {
        self.key
    }

    /// The version of that key.
    pub fn version(&self) -> u32 {
        self.version
    }
}

/// Seals `plaintext` under `key`, which `header` names, for whoever opens it with the same `aad`. The nonce comes from
/// `random`.
///
/// # Errors
/// [`EnvelopeError::KeyName`], or [`EnvelopeError::Crypto`].
pub fn seal(
    key: &Secret<[u8; 32]>,
    header: &EnvelopeHeader,
    aad: &[u8],
    plaintext: &[u8],
    random: &dyn Random,
) -> Result<Vec<u8>, EnvelopeError> {
    let length = u16::try_from(header.key.len()).ok().filter(|_| is_key_name(&header.key));
    let length = length.ok_or(EnvelopeError::KeyName)?;
    let mut nonce = [0; NONCE_LEN];
    random.fill(&mut nonce);
    let mut sealed = Vec::with_capacity(11 + header.key.len() + NONCE_LEN + plaintext.len() + TAG_LEN);
    sealed.extend_from_slice(MAGIC);
    sealed.extend_from_slice(&[FORMAT, XAES_256_GCM]);
    sealed.extend_from_slice(&header.version.to_be_bytes());
    sealed.extend_from_slice(&length.to_be_bytes());
    sealed.extend_from_slice(header.key.as_bytes());
    sealed.extend_from_slice(&nonce);
    let ciphertext = xaes::seal(key, &nonce, &authenticated(&sealed, aad), plaintext);
    sealed.extend_from_slice(&ciphertext.map_err(|_| EnvelopeError::Crypto)?);
    Ok(sealed)
}

/// Opens `envelope` with the key that it names and the `aad` it was sealed with.
///
/// # Errors
/// [`EnvelopeError::DoesNotOpen`].
pub fn open(key: &Secret<[u8; 32]>, envelope: &Envelope<'_>, aad: &[u8]) -> Result<Secret<Vec<u8>>, EnvelopeError> {
    xaes::open(key, envelope.nonce, &authenticated(envelope.header, aad), envelope.ciphertext)
        .map_err(|_| EnvelopeError::DoesNotOpen)
}

fn authenticated(header: &[u8], aad: &[u8]) -> Vec<u8> {
    Encoder::new().bytes(header).bytes(aad).finish()
}

fn is_key_name(name: &str) -> bool {
    (1..=MAX_KEY_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::SystemRandom;

    const KEY: [u8; 32] = [5; 32];

    fn header() -> EnvelopeHeader {
        EnvelopeHeader { key: "key/payments/pii".into(), version: 3 }
    }

    fn sealed(plaintext: &[u8]) -> Vec<u8> {
        seal(&Secret::new(KEY), &header(), b"row", plaintext, &SystemRandom).unwrap()
    }

    fn open_bytes(key: [u8; 32], bytes: &[u8], aad: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        Ok(open(&Secret::new(key), &Envelope::parse(bytes)?, aad)?.expose().clone())
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let bytes = sealed(b"secret");
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(open_bytes(KEY, &altered, b"row").is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_cut_is_refused() {
        let bytes = sealed(b"secret");
        for length in 0..bytes.len() {
            assert!(open_bytes(KEY, &bytes[..length], b"row").is_err(), "{length} bytes");
        }
    }

    #[test]
    fn another_key_or_associated_data_does_not_open_it() {
        let bytes = sealed(b"secret");
        assert_eq!(open_bytes([6; 32], &bytes, b"row"), Err(EnvelopeError::DoesNotOpen));
        assert_eq!(open_bytes(KEY, &bytes, b"other row"), Err(EnvelopeError::DoesNotOpen));
    }

    #[test]
    fn the_same_message_never_looks_the_same() {
        assert_ne!(sealed(b"secret"), sealed(b"secret"));
    }

    #[test]
    fn a_later_format_and_a_stranger_s_bytes_are_told_apart() {
        let mut later = sealed(b"");
        later[3] = 2;
        assert_eq!(Envelope::parse(&later), Err(EnvelopeError::Unknown { what: "format", found: 2, known: 1 }));
        assert!(matches!(Envelope::parse(b"vault:v1:abc"), Err(EnvelopeError::NotAnEnvelope(_))));
    }

    #[test]
    fn a_key_name_that_cannot_stand_in_a_header_is_refused() {
        for key in [String::new(), "a b".into(), "schlüssel".into(), "k".repeat(513)] {
            let header = EnvelopeHeader { key, version: 1 };
            let result = seal(&Secret::new(KEY), &header, b"", b"", &SystemRandom);
            assert_eq!(result, Err(EnvelopeError::KeyName), "{header:?}");
        }
    }

    /// A ciphertext of the first release: whatever comes later must still read it.
    #[test]
    fn the_recorded_envelope_still_opens() {
        let recorded: serde_json::Value = serde_json::from_str(include_str!("../testdata/envelope.json")).unwrap();
        let field = |name: &str| hex::decode(recorded[name].as_str().unwrap()).unwrap();
        let key = <[u8; 32]>::try_from(field("key")).unwrap();
        assert_eq!(open_bytes(key, &field("envelope"), &field("aad")).unwrap(), field("plaintext"));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(key: [u8; 32], aad: Vec<u8>, plaintext: Vec<u8>, version: u32, name in "[!-~]{1,80}") {
            let header = EnvelopeHeader { key: name, version };
            let bytes = seal(&Secret::new(key), &header, &aad, &plaintext, &SystemRandom).unwrap();
            let envelope = Envelope::parse(&bytes).unwrap();
            prop_assert_eq!((envelope.key(), envelope.version()), (header.key.as_str(), version));
            prop_assert_eq!(open_bytes(key, &bytes, &aad).unwrap(), plaintext);
        }

        #[test]
        fn arbitrary_bytes_never_panic(tail: Vec<u8>) {
            let bytes = [b"BGE\x01\x01".as_slice(), &tail].concat();
            prop_assert!(open_bytes(KEY, &bytes, b"").is_err());
            prop_assert!(open_bytes(KEY, &tail, b"").is_err());
        }
    }
}
