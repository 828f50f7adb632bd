//! Instances: first attestation, changed claims, every loss of standing. Renewals are not recorded.

use std::collections::{BTreeMap, BTreeSet};

use burgrave_types::api::Shortfall;
use burgrave_types::claims::HexBytes;
use burgrave_types::{
    Claims, Concession, EnclaveName, EnclaveUid, InstanceId, ReferenceDigest, ResourceId, ResultDigest, Segment,
    SpkiHash, Timestamp,
};
use serde::{Deserialize, Serialize};

use super::Stored;

/// An attested instance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InstanceRecord {
    pub(crate) schema: u32,
    pub(crate) id: InstanceId,
    pub(crate) enclave: EnclaveUid,
    pub(crate) enclave_name: EnclaveName,
    pub(crate) release: Segment,
    /// The reference value that was matched: what `measurement` keys are derived from.
    pub(crate) reference: ReferenceDigest,
    pub(crate) spki_hash: SpkiHash,
    /// The X25519 key that secrets are sealed to: 32 bytes.
    pub(crate) sealing_key: HexBytes,
    pub(crate) platform_id: Option<HexBytes>,
    pub(crate) claims: Claims,
    /// The claims of the parts of its evidence beside the lead, in their order.
    #[serde(default)]
    pub(crate) parts: Vec<Claims>,
    /// What of its claims only the registration's requirements let pass.
    #[serde(default)]
    pub(crate) conceded: BTreeSet<Concession>,
    /// What its platform lacks that will be demanded.
    #[serde(default)]
    pub(crate) shortfall: Option<Shortfall>,
    pub(crate) tpm: Option<TpmProof>,
    pub(crate) first_attested_at: Timestamp,
    /// When this record was last made from evidence.
    pub(crate) attested_at: Timestamp,
    /// The deadline that went with it; renewals since then move it without a record.
    pub(crate) until: Timestamp,
    /// The digest of the attestation result that went with it.
    pub(crate) result: ResultDigest,
    pub(crate) standing: RecordedStanding,
    /// Keys that were given to it, with their versions. They stand here, so that a release and a revocation, which both
    /// change this record, cannot pass each other unseen.
    pub(crate) released: BTreeMap<ResourceId, BTreeSet<u32>>,
}

/// How an instance stands on record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum RecordedStanding {
    /// It was attested; whether that still holds, its deadline says.
    Attested,
    /// It missed its deadline.
    Stale { since: Timestamp },
    /// Its access was ended.
    Revoked { at: Timestamp, reason: String },
}

/// The TPM that proved an attestation key to be its own, and its counts at that time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TpmProof {
    /// The attestation key's name (TPM 2.0 Part 1, section 16).
    pub(crate) ak_name: HexBytes,
    /// SHA-256 of the endorsement key's SubjectPublicKeyInfo.
    pub(crate) ek_digest: HexBytes,
    pub(crate) reset_count: u32,
    pub(crate) restart_count: u32,
}

impl Stored for InstanceRecord {
    const KIND: &'static str = "instance";

    fn path(&self) -> String {
        format!("{}/{}/{}", Self::KIND, self.enclave_name.namespace(), self.id)
    }
}
