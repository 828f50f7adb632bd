//! Heads: what the HSM signs, once per group of changes.

use std::collections::BTreeMap;

use burgrave_identity::{SignatureAlgorithm, verify_signature};
use burgrave_seal::sha256;
use burgrave_types::encoding::{DecodeError, Decoder, Encoder};
use burgrave_types::{ChangesDigest, GenesisHash, HeadHash, RecordDigest, Revision, Timestamp};

const FORMAT: &str = "burgrave-head-v1";

/// What a head says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// The domain.
    pub domain: GenesisHash,
    /// The epoch: raised by a restore, an eviction or a rotation of the state key.
    pub epoch: u64,
    /// Its place in the chain, from 1 on: the ledger's revision.
    pub revision: Revision,
    /// The head before it; zeros for the first.
    pub previous: HeadHash,
    /// The changes since that head.
    pub changes: ChangesDigest,
    /// Who asked for the changes.
    pub changer: String,
    /// When, by the committing node's clock; never before the previous head's time.
    pub time: Timestamp,
}

/// A head with the HSM's signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedHead {
    /// What is signed.
    pub head: Head,
    /// ECDSA P-256 with SHA-256 over [`Head::encode`], in DER, by the genesis record's head-signing key.
    pub signature: Vec<u8>,
}

impl Head {
    /// The canonical bytes: what is signed.
    pub fn encode(&self) -> Vec<u8> {
        Encoder::new()
            .text(FORMAT)
            .bytes(self.domain.as_bytes())
            .u64(self.epoch)
            .u64(self.revision.0)
            .bytes(self.previous.as_bytes())
            .bytes(self.changes.as_bytes())
            .text(&self.changer)
            .i64(self.time.unix_millis())
            .finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        if decoder.text()? != FORMAT {
            return Err(DecodeError::Value("head format that this release knows"));
        }
        let head = Self {
            domain: GenesisHash::from_bytes(decoder.array()?),
            epoch: decoder.u64()?,
            revision: Revision(decoder.u64()?),
            previous: HeadHash::from_bytes(decoder.array()?),
            changes: ChangesDigest::from_bytes(decoder.array()?),
            changer: decoder.text()?.to_owned(),
            time: Timestamp::from_unix_millis(decoder.i64()?),
        };
        decoder.finish()?;
        Ok(head)
    }
}

impl SignedHead {
    /// The canonical bytes, signature included: what travels, and what the next head's `previous` is over.
    pub fn encode(&self) -> Vec<u8> {
        Encoder::new().bytes(&self.head.encode()).bytes(&self.signature).finish()
    }

    /// Reads what [`SignedHead::encode`] wrote; verifies nothing.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        let head = Head::decode(decoder.bytes()?)?;
        let signature = decoder.bytes()?.to_vec();
        decoder.finish()?;
        Ok(Self { head, signature })
    }

    /// The name of this head. It covers the signature, so that the last signature of a chain vouches for all of it.
    pub fn hash(&self) -> HeadHash {
        HeadHash::from_bytes(sha256(&self.encode()))
    }

    /// Whether the owner of `head_signing` (SPKI in DER, from the genesis record) signed it.
    pub fn is_signed_by(&self, head_signing: &[u8]) -> bool {
        verify_signature(head_signing, SignatureAlgorithm::EcdsaP256Sha256, &self.head.encode(), &self.signature)
            .is_ok()
    }
}

/// What a group of changes did, by the place of what it touched; `None`: deleted.
pub(crate) type Changes = BTreeMap<String, Option<RecordDigest>>;

/// The canonical bytes of changes; their SHA-256 is in the head.
pub(crate) fn encode_changes(changes: &Changes) -> Vec<u8> {
    changes
        .iter()
        .fold(Encoder::new().u64(changes.len() as u64), |encoder, (place, digest)| {
            let digest: &[u8] = digest.as_ref().map_or(&[], |digest| digest.as_bytes());
            encoder.text(place).bytes(digest)
        })
        .finish()
}

/// Reads what [`encode_changes`] wrote: places in order, each once.
pub(crate) fn decode_changes(bytes: &[u8]) -> Result<Changes, DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let mut changes = Changes::new();
    for _ in 0..decoder.u64()? {
        let place = decoder.text()?.to_owned();
        let digest = match decoder.bytes()? {
            [] => None,
            bytes => Some(RecordDigest::try_from(bytes).map_err(|_| DecodeError::Value("record digest"))?),
        };
        if changes.last_key_value().is_some_and(|(last, _)| *last >= place) {
            return Err(DecodeError::Value("list in order"));
        }
        changes.insert(place, digest);
    }
    decoder.finish()?;
    Ok(changes)
}

pub(crate) fn changes_digest(changes: &Changes) -> ChangesDigest {
    ChangesDigest::from_bytes(sha256(&encode_changes(changes)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head() -> SignedHead {
        let head = Head {
            domain: GenesisHash::from_bytes([1; 32]),
            epoch: 1,
            revision: Revision(2),
            previous: HeadHash::from_bytes([3; 32]),
            changes: ChangesDigest::from_bytes([4; 32]),
            changer: "admin root".to_owned(),
            time: Timestamp::from_unix_secs(5),
        };
        SignedHead { head, signature: vec![6; 70] }
    }

    #[test]
    fn a_head_is_signed_by_its_key_alone() {
        let key = burgrave_identity::IdentityKey::generate().unwrap();
        let other = burgrave_identity::IdentityKey::generate().unwrap();
        let mut head = head();
        head.signature = key.sign_der(&head.head.encode()).unwrap();
        assert!(head.is_signed_by(key.spki()));
        assert!(!head.is_signed_by(other.spki()));
        head.head.epoch += 1;
        assert!(!head.is_signed_by(key.spki()));
    }

    proptest! {
        #[test]
        fn altered_bytes_are_refused_or_another_head(at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = head().encode();
            prop_assert_eq!(SignedHead::decode(&bytes).unwrap(), head());
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(altered) = SignedHead::decode(&bytes) {
                prop_assert_ne!(altered.hash(), head().hash());
                prop_assert_eq!(altered.encode(), bytes);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert!(SignedHead::decode(&bytes).is_err());
            if let Ok(changes) = decode_changes(&bytes) {
                prop_assert_eq!(encode_changes(&changes), bytes);
            }
        }

        #[test]
        fn changes_read_back(items: BTreeMap<String, Option<[u8; 32]>>) {
            let changes: Changes =
                items.into_iter().map(|(place, digest)| (place, digest.map(RecordDigest::from_bytes))).collect();
            prop_assert_eq!(decode_changes(&encode_changes(&changes)), Ok(changes));
        }
    }
}
