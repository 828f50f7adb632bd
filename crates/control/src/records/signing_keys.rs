//! The public keys that a node signs attestation results with.

use burgrave_types::claims::HexBytes;
use burgrave_types::{NodeId, Timestamp};
use serde::{Deserialize, Serialize};

use super::Stored;

/// A node's signing keys: the one that signs, and those before it whose results have not ended yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SigningKeysRecord {
    pub(crate) schema: u32,
    pub(crate) node: NodeId,
    pub(crate) keys: Vec<SigningKey>,
}

/// A signing key, as others verify with it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SigningKey {
    /// SubjectPublicKeyInfo, DER.
    pub(crate) spki: HexBytes,
    /// Its certificate and the issuing CA's, DER.
    pub(crate) chain: Vec<HexBytes>,
    /// When its certificate ends, and with it the last result that it signed.
    pub(crate) until: Timestamp,
}

impl Stored for SigningKeysRecord {
    const KIND: &'static str = "signing-keys";

    fn path(&self) -> String {
        Self::path_of(self.node)
    }
}

impl SigningKeysRecord {
    /// Where a node's keys stand.
    pub(crate) fn path_of(node: NodeId) -> String {
        format!("{}/nodes/{node}", Self::KIND)
    }
}
