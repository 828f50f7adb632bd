//! Ids: 128 random bits behind a type and a prefix that names their kind.

use std::fmt;
use std::str::FromStr;

use data_encoding::{Encoding, Specification};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ParseError;

/// Base32 in lower case without padding (RFC 4648 alphabet): 26 characters for 16 bytes.
fn base32() -> &'static Encoding {
    static ENCODING: std::sync::LazyLock<Encoding> = std::sync::LazyLock::new(|| {
        let mut specification = Specification::new();
        specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
        // INVARIANT: the alphabet has 32 distinct symbols, which is all that `encoding` checks.
        specification.encoding().unwrap_or(data_encoding::BASE32_NOPAD)
    });
    &ENCODING
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The prefix of the text form.
            pub const PREFIX: &'static str = $prefix;

            /// The id with these 128 bits; new ids take them from a [`crate::Random`].
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// A new id from 128 random bits.
            pub fn random(random: &dyn crate::Random) -> Self {
                let mut bytes = [0; 16];
                random.fill(&mut bytes);
                Self(bytes)
            }

            /// The 128 bits.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, base32().encode(&self.0))
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
                let expected = concat!("expected `", $prefix, "` and 26 characters a-z, 2-7");
                text.strip_prefix($prefix)
                    .and_then(|rest| base32().decode(rest.as_bytes()).ok())
                    .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok())
                    .map(Self)
                    .ok_or_else(|| ParseError::new($kind, text, expected))
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

id!(
    /// A registration of an enclave; never used twice, so that a name deleted and made again is another enclave.
    EnclaveUid, "enc_", "enclave id"
);
id!(
    /// One attested running copy of an enclave.
    InstanceId, "inst_", "instance id"
);
id!(
    /// A policy.
    PolicyId, "pol_", "policy id"
);
id!(
    /// A named key; never used twice.
    KeyUid, "key_", "key id"
);
id!(
    /// One recorded decision: what `why` explains.
    DecisionId, "dec_", "decision id"
);
id!(
    /// One channel between two instances; accepted once.
    ChannelId, "chan_", "channel id"
);
id!(
    /// One node of a trust domain.
    NodeId, "node_", "node id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_its_text() {
        let id = EnclaveUid::from_bytes([0xa5; 16]);
        assert_eq!(id.to_string().parse::<EnclaveUid>().unwrap(), id);
        assert_eq!(id.to_string().len(), 4 + 26);
    }

    #[test]
    fn an_id_of_another_kind_is_refused_by_name() {
        let text = InstanceId::from_bytes([1; 16]).to_string();
        let error = text.parse::<EnclaveUid>().unwrap_err();
        assert!(error.to_string().contains("expected `enc_`"), "{error}");
    }
}
