//! SHA-256 digests, a type per meaning, so that none is taken for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ParseError;

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The digest with these 32 bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first 8 hexadecimal digits, for a person who compares two at a glance.
            pub fn short(&self) -> String {
                self.to_string().chars().take(8).collect()
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = ParseError;

            fn try_from(bytes: &[u8]) -> Result<Self, ParseError> {
                <[u8; 32]>::try_from(bytes)
                    .map(Self)
                    .map_err(|_| ParseError::new($kind, &hex::encode(bytes), "expected 32 bytes"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes)
                    .map_err(|_| ParseError::new($kind, text, "expected 64 hexadecimal digits"))?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

digest!(
    /// Names a trust domain: the SHA-256 of its genesis record's canonical bytes.
    GenesisHash, "genesis hash"
);
digest!(
    /// SHA-256 of a SubjectPublicKeyInfo in DER: knows a key wherever it appears.
    SpkiHash, "key hash"
);
digest!(
    /// SHA-256 of evidence as received.
    EvidenceDigest, "evidence digest"
);
digest!(
    /// SHA-256 of an attestation result's signed bytes.
    ResultDigest, "attestation result digest"
);
digest!(
    /// SHA-256 of a ledger head's canonical bytes, its signature included.
    HeadHash, "head hash"
);
digest!(
    /// SHA-256 of the list of changes that a ledger head covers.
    ChangesDigest, "changes digest"
);
digest!(
    /// SHA-256 of a ledger record as stored.
    RecordDigest, "record digest"
);
digest!(
    /// SHA-256 of a reference value's canonical bytes, all its registers included: what `measurement` identity means.
    ReferenceDigest, "reference value digest"
);
digest!(
    /// SHA-256 of a channel grant's signed bytes.
    GrantDigest, "grant digest"
);
