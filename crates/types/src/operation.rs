//! What can be asked of what: operations and the resources they act on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::name::text_serde;
use crate::{ParseError, ResourceName};

/// Defines a closed set of words: an enum with its text form both ways.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $expected:literal, { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// All of them, in the order of their definition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(ParseError::new($kind, text, $expected)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        text_serde!($name);
    };
}
pub(crate) use words;

words!(
    /// What an enclave (or, for `attest`, a candidate; for `administer`, a person) may be allowed to do.
    Operation, "operation",
    "expected one of encrypt, decrypt, derive, send, receive, attest, administer",
    {
        /// Encrypt data under a key at the node.
        Encrypt = "encrypt",
        /// Decrypt data under a key at the node.
        Decrypt = "decrypt",
        /// Be given the key itself, sealed to the attested key. Off unless a policy says so.
        Derive = "derive",
        /// Open a channel to the enclave whose channel this is.
        Send = "send",
        /// Accept a channel from a peer on one's own channel.
        Receive = "receive",
        /// Become an instance of an enclave.
        Attest = "attest",
        /// Change or read what the domain is made of.
        Administer = "administer",
    }
);

words!(
    /// What kinds of resource there are.
    ResourceKind, "resource kind", "expected one of keyspace, key, channel, enclave",
    {
        /// `keyspace/<namespace>/<name>`: each enclave has a key of its own there, derived from its identity.
        Keyspace = "keyspace",
        /// `key/<namespace>/<name>`: a named key, shared by whom policy lets use it.
        Key = "key",
        /// `channel/<namespace>/<enclave>/default`: where an enclave receives.
        Channel = "channel",
        /// `enclave/<namespace>/<name>`: a registration, as the object of `attest` and administration.
        Enclave = "enclave",
    }
);

/// A resource as people and policies name it: `key/payments/pii`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ResourceId {
    /// What kind it is of.
    pub kind: ResourceKind,
    /// Its name within the kind.
    pub name: ResourceName,
}

impl ResourceId {
    /// The channel on which `enclave` receives.
    pub fn default_channel(enclave: &crate::EnclaveName) -> Self {
        Self { kind: ResourceKind::Channel, name: ResourceName::default_channel(enclave) }
    }
}

impl FromStr for ResourceId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || {
            ParseError::new(
                "resource",
                text,
                "expected `<kind>/<namespace>/<name>` with kind keyspace, key, channel or enclave, e.g. `key/payments/pii`",
            )
        };
        let (kind, name) = text.split_once('/').ok_or_else(error)?;
        Ok(Self { kind: kind.parse().map_err(|_| error())?, name: name.parse().map_err(|_| error())? })
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

text_serde!(ResourceId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_reads_back_from_its_text() {
        for text in ["key/payments/pii", "keyspace/payments/storage", "channel/payments/ledger/default"] {
            assert_eq!(text.parse::<ResourceId>().unwrap().to_string(), text);
        }
        assert!("vault/payments/pii".parse::<ResourceId>().is_err());
    }

    #[test]
    fn the_default_channel_is_named_after_its_enclave() {
        let channel = ResourceId::default_channel(&"payments/ledger".parse().unwrap());
        assert_eq!(channel.to_string(), "channel/payments/ledger/default");
    }
}
