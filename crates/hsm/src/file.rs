//! The format of a token's file: what is in it, and how it is sealed.
//!
//! All fields are as in [`burgrave_types::encoding`]:
//!
//! | field | content |
//! | --- | --- |
//! | magic | `burgrave-token-v1` |
//! | header | serial (16), class, `passphrase` or `key-file`; for a passphrase memory in KiB, passes, salt (16) |
//! | key check | first 16 bytes of HMAC-SHA-256(unlock key, `burgrave-token-check-v1` ‖ header) |
//! | nonce | 12 random bytes, new with each write |
//! | content | AES-256-GCM(HMAC-SHA-256(unlock key, `burgrave-token-seal-v1`), nonce, entries), header as associated data |
//! | checksum | SHA-256 of all fields before it |
//!
//! The checksum tells an accident from a wrong passphrase before any work is done; the key check tells a wrong
//! passphrase from content altered by hand; the seal is what keys rest on. The entries are sealed as one, so that none
//! can be taken out, exchanged or brought back alone.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{constant_time, digest, hmac, rand};
use burgrave_types::encoding::{DecodeError, Decoder, Encoder};
use burgrave_types::{DomainClass, Secret};
use zeroize::Zeroizing;

use crate::error::FileFault;
use crate::{Argon2Cost, KeyId, KeyPurpose, TokenError, TokenSerial};

const MAGIC: &str = "burgrave-token-v1";

/// The bytes that a token file has at most: some hundreds of keys.
pub(crate) const MAX_BYTES: u64 = 64 * 1024;

/// What stands in clear, and is authenticated with the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) serial: TokenSerial,
    pub(crate) class: DomainClass,
    pub(crate) unlock: UnlockKind,
}

/// How the unlock key is come by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UnlockKind {
    Passphrase { cost: Argon2Cost, salt: [u8; 16] },
    KeyFile,
}

/// A kept key: its id and its material (32 bytes, or PKCS#8).
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: KeyId,
    pub(crate) material: Secret<Vec<u8>>,
}

/// A token file, read but not opened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenFile {
    pub(crate) header: Header,
    key_check: [u8; 16],
    nonce: [u8; 12],
    content: Vec<u8>,
}

/// Why a file did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenFault {
    WrongKey,
    Damaged(FileFault),
}

impl TokenFile {
    /// Seals `entries` under the unlock key.
    pub(crate) fn seal(header: Header, unlock_key: &Secret<[u8; 32]>, entries: &[Entry]) -> Result<Self, TokenError> {
        let failed = |_| TokenError::Crypto("seal");
        let encoded = header.encode();
        let mut nonce = [0; 12];
        rand::fill(&mut nonce).map_err(failed)?;
        let mut content = encode_entries(entries);
        sealing_key(unlock_key)
            .map_err(failed)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&encoded), &mut *content)
            .map_err(failed)?;
        let content = std::mem::take(&mut *content);
        Ok(Self { key_check: key_check(unlock_key, &encoded), header, nonce, content })
    }

    /// Opens the content.
    pub(crate) fn open(&self, unlock_key: &Secret<[u8; 32]>) -> Result<Vec<Entry>, OpenFault> {
        let damaged = |_| OpenFault::Damaged(FileFault::Seal);
        let header = self.header.encode();
        constant_time::verify_slices_are_equal(&key_check(unlock_key, &header), &self.key_check)
            .map_err(|_| OpenFault::WrongKey)?;
        let mut content = Zeroizing::new(self.content.clone());
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        let entries = sealing_key(unlock_key)
            .map_err(damaged)?
            .open_in_place(nonce, Aad::from(&header), &mut content)
            .map_err(damaged)?;
        decode_entries(entries).map_err(OpenFault::Damaged)
    }

    /// The bytes of the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Encoder::new()
            .text(MAGIC)
            .bytes(&self.header.encode())
            .bytes(&self.key_check)
            .bytes(&self.nonce)
            .bytes(&self.content)
            .finish();
        let checksum = Encoder::new().bytes(digest::digest(&digest::SHA256, &bytes).as_ref()).finish();
        bytes.extend_from_slice(&checksum);
        bytes
    }

    /// Reads what [`TokenFile::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FileFault> {
        let mut decoder = Decoder::new(bytes);
        if decoder.text() != Ok(MAGIC) {
            return Err(FileFault::Format);
        }
        let header = decoder.bytes()?;
        let (key_check, nonce, content) = (decoder.array()?, decoder.array()?, decoder.bytes()?);
        let checksum: [u8; 32] = decoder.array()?;
        decoder.finish()?;
        let before = bytes.len().saturating_sub(4 + checksum.len());
        let expected = digest::digest(&digest::SHA256, bytes.get(..before).unwrap_or_default());
        if expected.as_ref() != checksum {
            return Err(FileFault::Checksum);
        }
        Ok(Self { header: Header::decode(header)?, key_check, nonce, content: content.to_vec() })
    }
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let encoder = Encoder::new().bytes(&self.serial.0).text(self.class.as_str()).text(self.unlock.name());
        match &self.unlock {
            UnlockKind::Passphrase { cost, salt } => {
                encoder.u64(cost.memory_kib.into()).u64(cost.passes.into()).bytes(salt).finish()
            }
            UnlockKind::KeyFile => encoder.finish(),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, FileFault> {
        let mut decoder = Decoder::new(bytes);
        let serial = TokenSerial(decoder.array()?);
        let class = decoder.text()?.parse().map_err(|_| DecodeError::Value("domain class"))?;
        let unlock = match decoder.text()? {
            "passphrase" => {
                let cost = decode_cost(decoder.u64()?, decoder.u64()?)?;
                UnlockKind::Passphrase { cost, salt: decoder.array()? }
            }
            "key-file" => UnlockKind::KeyFile,
            _ => return Err(DecodeError::Value("way of unlocking").into()),
        };
        decoder.finish()?;
        Ok(Self { serial, class, unlock })
    }
}

impl UnlockKind {
    fn name(&self) -> &'static str {
        match self {
            Self::Passphrase { .. } => "passphrase",
            Self::KeyFile => "key-file",
        }
    }
}

/// More than the default is nothing that this version wrote; taken unchecked it would be a way to exhaust memory.
fn decode_cost(memory_kib: u64, passes: u64) -> Result<Argon2Cost, FileFault> {
    let cost = Argon2Cost {
        memory_kib: u32::try_from(memory_kib).map_err(|_| FileFault::Cost)?,
        passes: u32::try_from(passes).map_err(|_| FileFault::Cost)?,
    };
    if Argon2Cost::reduced(cost.memory_kib, cost.passes) == cost { Ok(cost) } else { Err(FileFault::Cost) }
}

fn encode_entries(entries: &[Entry]) -> Zeroizing<Vec<u8>> {
    const FIELDS_AND_TAG: usize = 128;
    let size = entries.iter().map(|entry| entry.material.expose().len() + FIELDS_AND_TAG).sum::<usize>();
    let mut encoder = Encoder::with_capacity(size + FIELDS_AND_TAG).u64(entries.len() as u64);
    for entry in entries {
        encoder = encoder.text(entry.id.purpose.as_str()).u64(entry.id.version.into()).bytes(entry.material.expose());
    }
    Zeroizing::new(encoder.finish())
}

fn decode_entries(bytes: &[u8]) -> Result<Vec<Entry>, FileFault> {
    let mut decoder = Decoder::new(bytes);
    let mut entries = Vec::new();
    for _ in 0..decoder.u64()? {
        let purpose: KeyPurpose = decoder.text()?.parse().map_err(|_| DecodeError::Value("key purpose"))?;
        let version = u32::try_from(decoder.u64()?).map_err(|_| DecodeError::Value("key version"))?;
        let material = Secret::new(decoder.bytes()?.to_vec());
        entries.push(Entry { id: KeyId { purpose, version }, material });
    }
    decoder.finish()?;
    Ok(entries)
}

fn sealing_key(unlock_key: &Secret<[u8; 32]>) -> Result<LessSafeKey, aws_lc_rs::error::Unspecified> {
    let key = Zeroizing::new(mac(unlock_key, &[b"burgrave-token-seal-v1"]));
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key)?))
}

fn key_check(unlock_key: &Secret<[u8; 32]>, header: &[u8]) -> [u8; 16] {
    let tag = mac(unlock_key, &[b"burgrave-token-check-v1", header]);
    let mut check = [0; 16];
    check.iter_mut().zip(tag).for_each(|(to, from)| *to = from);
    check
}

fn mac(key: &Secret<[u8; 32]>, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.expose()));
    parts.iter().for_each(|part| context.update(part));
    let mut tag = [0; 32];
    tag.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
    tag
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unlock_key() -> Secret<[u8; 32]> {
        Secret::new([9; 32])
    }

    fn file() -> TokenFile {
        let header = Header {
            serial: TokenSerial([1; 16]),
            class: DomainClass::Dev,
            unlock: UnlockKind::Passphrase { cost: Argon2Cost::reduced(64, 1), salt: [2; 16] },
        };
        let id = KeyId::new(KeyPurpose::DomainRoot, 1);
        TokenFile::seal(header, &unlock_key(), &[Entry { id, material: Secret::new(vec![7; 32]) }]).unwrap()
    }

    #[test]
    fn a_sealed_file_reads_back_and_hides_its_keys() {
        let bytes = file().encode();
        assert!(!bytes.windows(8).any(|window| window == [7; 8]));
        let entries = TokenFile::decode(&bytes).unwrap().open(&unlock_key()).unwrap();
        assert_eq!(entries[0].id, KeyId::new(KeyPurpose::DomainRoot, 1));
        assert_eq!(entries[0].material.expose(), &[7; 32]);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_refused() {
        let bytes = file().encode();
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << (at % 8);
            assert!(TokenFile::decode(&altered).is_err(), "byte {at}");
        }
    }

    /// Whoever alters the file on purpose computes the checksum anew: then the key check or the seal refuses.
    #[test]
    fn altered_fields_under_a_new_checksum_do_not_open() {
        type Alteration = (fn(&mut TokenFile), OpenFault);
        let altered: [Alteration; 5] = [
            (|file| file.header.class = DomainClass::Production, OpenFault::WrongKey),
            (|file| file.header.serial.0[0] ^= 1, OpenFault::WrongKey),
            (|file| file.key_check[0] ^= 1, OpenFault::WrongKey),
            (|file| file.nonce[0] ^= 1, OpenFault::Damaged(FileFault::Seal)),
            (|file| file.content[0] ^= 1, OpenFault::Damaged(FileFault::Seal)),
        ];
        for (number, (alter, expected)) in altered.into_iter().enumerate() {
            let mut file = file();
            alter(&mut file);
            let read = TokenFile::decode(&file.encode()).unwrap();
            assert_eq!(read.open(&unlock_key()).unwrap_err(), expected, "alteration {number}");
        }
    }

    #[test]
    fn a_file_that_asks_for_more_memory_than_is_taken_is_refused() {
        let mut file = file();
        let cost = Argon2Cost { memory_kib: 1 << 30, passes: 1 };
        file.header.unlock = UnlockKind::Passphrase { cost, salt: [0; 16] };
        assert_eq!(TokenFile::decode(&file.encode()), Err(FileFault::Cost));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert!(TokenFile::decode(&bytes).is_err());
            let _ = decode_entries(&bytes);
            let _ = Header::decode(&bytes);
        }

        #[test]
        fn a_mutated_file_is_refused(at in 0usize..400, value: u8, cut in 0usize..40) {
            let bytes = file().encode();
            let mut altered = bytes.clone();
            let at = at % altered.len();
            altered[at] = value;
            altered.truncate(bytes.len() - cut);
            prop_assume!(altered != bytes);
            prop_assert!(TokenFile::decode(&altered).is_err());
        }
    }
}
