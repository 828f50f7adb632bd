//! The domain's symmetric keys as they are stored: wrapped under the root.

use burgrave_hsm::{KeyAlgorithm, KeyCheckValue, KeyId, KeyPurpose, WrappedKey};
use burgrave_types::encoding::{DecodeError, Decoder, Encoder};

use crate::KeyringError;

const FORMAT: &str = "burgrave-wrapped-keys-v1";

/// The domain's symmetric keys below the root, wrapped, each with its check value.
///
/// They are opaque without the root, and stand unsealed beside the ledger, since the ledger's own key is among them. A
/// blob that was altered, taken from another domain or put in another one's place does not open ([`crate::Keyring::open`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrappedKeys(Vec<WrappedKey>);

impl WrappedKeys {
    pub(crate) fn new(mut keys: Vec<WrappedKey>) -> Self {
        keys.sort_by_key(|wrapped| wrapped.key);
        Self(keys)
    }

    /// The keys, by purpose and version.
    pub fn keys(&self) -> &[WrappedKey] {
        &self.0
    }

    pub(crate) fn key(&self, id: KeyId) -> Option<&WrappedKey> {
        self.0.iter().find(|wrapped| wrapped.key == id)
    }

    /// The canonical bytes: format name, count, then for each key, ascending, its purpose, its version, the version of
    /// the root, the RFC 3394 blob (40) and the check value (8).
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new().text(FORMAT).u64(self.0.len() as u64);
        for wrapped in &self.0 {
            encoder = encoder
                .text(wrapped.key.purpose.as_str())
                .u64(wrapped.key.version.into())
                .u64(wrapped.wrapping_key.version.into())
                .bytes(&wrapped.blob)
                .bytes(&wrapped.check.0);
        }
        encoder.finish()
    }

    /// Reads what [`WrappedKeys::encode`] wrote.
    ///
    /// # Errors
    /// [`KeyringError::Encoding`] for anything else, keys out of order included.
    pub fn decode(bytes: &[u8]) -> Result<Self, KeyringError> {
        let mut decoder = Decoder::new(bytes);
        if decoder.text()? != FORMAT {
            return Err(DecodeError::Value("format name").into());
        }
        let count = decoder.u64()?;
        let mut keys: Vec<WrappedKey> = Vec::new();
        for _ in 0..count {
            let key = decode_key(&mut decoder)?;
            if keys.last().is_some_and(|last| last.key >= key.key) {
                return Err(DecodeError::Value("key after the one before it").into());
            }
            keys.push(key);
        }
        decoder.finish()?;
        Ok(Self(keys))
    }
}

fn decode_key(decoder: &mut Decoder<'_>) -> Result<WrappedKey, DecodeError> {
    let purpose: KeyPurpose = decoder.text()?.parse().map_err(|_| DecodeError::Value("key purpose"))?;
    if purpose.algorithm() != KeyAlgorithm::HmacSha256 {
        return Err(DecodeError::Value("purpose of a key that is wrapped"));
    }
    let mut version = || decoder.u64().and_then(|n| u32::try_from(n).map_err(|_| DecodeError::Value("key version")));
    let key = KeyId::new(purpose, version()?);
    let wrapping_key = KeyId::new(KeyPurpose::DomainRoot, version()?);
    Ok(WrappedKey { key, wrapping_key, blob: decoder.array()?, check: KeyCheckValue(decoder.array()?) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrapped() -> WrappedKeys {
        let key = |purpose| WrappedKey {
            key: KeyId::new(purpose, 1),
            wrapping_key: KeyId::new(KeyPurpose::DomainRoot, 1),
            blob: [5; 40],
            check: KeyCheckValue([6; 8]),
        };
        WrappedKeys::new([KeyPurpose::ChannelKey, KeyPurpose::Derivation, KeyPurpose::StateKey].map(key).to_vec())
    }

    #[test]
    fn wrapped_keys_read_back() {
        assert_eq!(WrappedKeys::decode(&wrapped().encode()).unwrap(), wrapped());
    }

    #[test]
    fn keys_out_of_order_or_twice_are_refused() {
        let mut keys = wrapped().0;
        keys.swap(0, 1);
        assert!(WrappedKeys::decode(&WrappedKeys(keys).encode()).is_err());
        let twice = vec![wrapped().0[0].clone(); 2];
        assert!(WrappedKeys::decode(&WrappedKeys(twice).encode()).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            prop_assert!(WrappedKeys::decode(&bytes).is_err());
        }

        #[test]
        fn altered_bytes_are_refused_or_read_as_other_keys(at in 0usize..600, bit in 0u8..8) {
            let mut bytes = wrapped().encode();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(read) = WrappedKeys::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
            }
        }
    }
}
