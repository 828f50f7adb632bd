//! Key derivation: SP 800-108r1 section 4.1, counter mode, HMAC-SHA-256, L = 256, r = 32.
//!
//! One block, so a derived key is the HMAC of [`fixed_input`] under the key above it: a token without a KDF mechanism
//! computes it with `C_Sign(CKM_SHA256_HMAC)`, and every backend gives the same key. Written down, with vectors, in
//! `docs/key-derivation.md`.

use burgrave_types::Secret;

use crate::hmac_sha256;

/// Defines the closed set of labels.
macro_rules! labels {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)+) => {
        /// What a derived key is for. Each purpose has a label of its own, which never changes.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum KeyLabel { $($(#[$doc])* $variant),+ }

        impl KeyLabel {
            /// All labels.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The label's text.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The bytes that enter the KDF.
            pub const fn as_bytes(self) -> &'static [u8] {
                self.as_str().as_bytes()
            }
        }
    };
}

labels! {
    /// A key of one enclave in one keyspace; below the derivation key.
    EnclaveKey = "burgrave/enclave-key/v1",
    /// A named key; below the derivation key.
    NamedKey = "burgrave/named-key/v1",
    /// The key under which a stored secret is sealed; below the derivation key.
    SecretKey = "burgrave/secret-key/v1",
    /// The key that an instance shares with its domain's HSMs; below the derivation key.
    InstanceKey = "burgrave/instance-key/v1",
    /// The key that seals the records of one epoch; below the state key.
    RecordKey = "burgrave/record-key/v1",
    /// The key of one pair of enclaves in one epoch; below the channel key.
    PairKey = "burgrave/pair-key/v1",
    /// The secret of one channel; below a pair key.
    ChannelSecret = "burgrave/channel-secret/v1",
    /// The check value that tells whether a key was loaded whole; below the key itself.
    CheckValue = "burgrave/check-value/v1",
}

/// The bytes that are MACed: `u32(1) ‖ u32(len label) ‖ label ‖ 00 ‖ u32(len context) ‖ context ‖ u32(256)`, numbers big
/// endian. `context` is itself unambiguous (see [`burgrave_types::encoding`]) and at most `u32::MAX` bytes long.
pub fn fixed_input(label: KeyLabel, context: &[u8]) -> Vec<u8> {
    let label = label.as_bytes();
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut input = Vec::with_capacity(label.len() + context.len() + 17);
    input.extend_from_slice(&1u32.to_be_bytes());
    input.extend_from_slice(&length(label));
    input.extend_from_slice(label);
    input.push(0);
    input.extend_from_slice(&length(context));
    input.extend_from_slice(context);
    input.extend_from_slice(&256u32.to_be_bytes());
    input
}

/// The key for `label` and `context` below `key`: what an HSM that holds `key` would give.
pub fn derive(key: &Secret<[u8; 32]>, label: KeyLabel, context: &[u8]) -> Secret<[u8; 32]> {
    Secret::new(hmac_sha256(key.expose(), &fixed_input(label, context)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use aws_lc_rs::kdf::{KbkdfCtrHmacAlgorithmId, get_kbkdf_ctr_hmac_algorithm, kbkdf_ctr_hmac};
    use proptest::prelude::*;

    use super::*;

    fn label(text: &str) -> KeyLabel {
        *KeyLabel::ALL.iter().find(|label| label.as_str() == text).unwrap_or_else(|| panic!("no label `{text}`"))
    }

    #[test]
    fn the_published_vectors_hold_and_cover_every_label() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../testdata/kdf.json")).unwrap();
        let mut covered = BTreeSet::new();
        for vector in vectors["vectors"].as_array().unwrap() {
            let field = |name: &str| hex::decode(vector[name].as_str().unwrap()).unwrap();
            let key = Secret::new(<[u8; 32]>::try_from(field("key")).unwrap());
            let label = label(vector["label"].as_str().unwrap());
            covered.insert(label);
            assert_eq!(fixed_input(label, &field("context")), field("fixed_input"), "{vector}");
            assert_eq!(derive(&key, label, &field("context")).expose().as_slice(), field("derived"), "{vector}");
        }
        assert_eq!(covered.len(), KeyLabel::ALL.len());
    }

    #[test]
    fn the_document_names_every_label() {
        let document = include_str!("../../../docs/key-derivation.md");
        for label in KeyLabel::ALL {
            assert!(document.contains(&format!("`{}`", label.as_str())), "{label:?}");
        }
    }

    proptest! {
        #[test]
        fn we_derive_what_the_library_s_kdf_derives(key: [u8; 32], context: Vec<u8>, n in 0..KeyLabel::ALL.len()) {
            let algorithm = get_kbkdf_ctr_hmac_algorithm(KbkdfCtrHmacAlgorithmId::Sha256).unwrap();
            let label = KeyLabel::ALL[n];
            // The library prepends the counter itself.
            let mut expected = [0; 32];
            kbkdf_ctr_hmac(algorithm, &key, &fixed_input(label, &context)[4..], &mut expected).unwrap();
            prop_assert_eq!(derive(&Secret::new(key), label, &context), Secret::new(expected));
        }

        #[test]
        fn another_label_context_or_key_gives_another_key(key: [u8; 32], context: Vec<u8>, bit in 0u8..8) {
            let derived = derive(&Secret::new(key), KeyLabel::PairKey, &context);
            let mut longer = context.clone();
            longer.push(0);
            let mut other = key;
            other[0] ^= 1 << bit;
            prop_assert_ne!(&derive(&Secret::new(key), KeyLabel::PairKey, &longer), &derived);
            prop_assert_ne!(&derive(&Secret::new(key), KeyLabel::NamedKey, &context), &derived);
            prop_assert_ne!(&derive(&Secret::new(other), KeyLabel::PairKey, &context), &derived);
        }
    }
}
