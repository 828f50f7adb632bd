//! What is shown of what is stored.

use std::collections::BTreeSet;

use super::{Requirements, Shortfall};
use crate::claims::{HexBytes, ReferenceValue};
use crate::{
    ChannelId, Claims, Concession, EnclaveName, EnclaveUid, InstanceId, KeyIdentity, KeyUid, PolicyId, ReferenceDigest,
    ReleaseState, ResourceId, ResultDigest, Revision, Segment, SpiffeId, SpkiHash, Standing, Tee, Timestamp,
};
use serde::{Deserialize, Serialize};

/// A registered enclave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnclaveView {
    /// Its id, never used twice.
    pub uid: EnclaveUid,
    /// Its name.
    pub name: EnclaveName,
    /// The identity that its instances bear.
    pub spiffe_id: SpiffeId,
    /// The TEE.
    pub tee: Tee,
    /// What its keys are derived from.
    pub key_identity: KeyIdentity,
    /// How often it must attest, in seconds.
    pub reattest_every_secs: u64,
    /// What code may bear the name.
    pub releases: Vec<ReleaseView>,
    /// For a TPM: the endorsement keys that are let in.
    pub tpm_ek_digests: Vec<HexBytes>,
    /// What is demanded of its evidence beyond its releases.
    #[serde(default)]
    pub requirements: Requirements,
    /// Platforms that are kept out.
    pub barred_platforms: Vec<PlatformBarView>,
    /// When its access was ended as a whole, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// When it was registered.
    pub created: Timestamp,
    /// By whom.
    pub created_by: String,
    /// The revision of its record: the ETag.
    pub revision: Revision,
}

/// A release of an enclave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReleaseView {
    /// Its name within the enclave.
    pub name: Segment,
    /// What evidence must say.
    pub reference: ReferenceValue,
    /// The digest of `reference`.
    pub digest: ReferenceDigest,
    /// Its state.
    pub state: ReleaseState,
    /// Where the values come from.
    pub origin: String,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
    /// Each change of state: when, to what, by whom.
    pub history: Vec<(Timestamp, ReleaseState, String)>,
}

/// A platform that is kept out of an enclave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlatformBarView {
    /// The platform.
    pub platform: HexBytes,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
}

/// An instance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InstanceView {
    /// Its id.
    pub id: InstanceId,
    /// Its enclave.
    pub enclave: EnclaveName,
    /// The registration's id.
    pub enclave_uid: EnclaveUid,
    /// The release that its evidence matched.
    pub release: Segment,
    /// Its identity key.
    pub spki_hash: SpkiHash,
    /// How it stands, with its deadline.
    pub standing: Standing,
    /// Its first attestation.
    pub first_attested_at: Timestamp,
    /// Its last attestation.
    pub attested_at: Timestamp,
    /// How long ago that was, in seconds.
    pub age_secs: u64,
    /// What its evidence said.
    pub claims: Claims,
    /// What the parts of its evidence beside the lead said, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Claims>,
    /// What its registration lets pass that is refused unless a registration says so.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub conceded: BTreeSet<Concession>,
    /// What will refuse it, if its platform stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortfall: Option<Shortfall>,
    /// The result of its last attestation that this node knows of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_digest: Option<ResultDigest>,
    /// Whether it has a link at this node.
    pub linked: bool,
    /// The revision of its record.
    pub revision: Revision,
}

/// A stored policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PolicyView {
    /// Its id.
    pub id: PolicyId,
    /// The namespace whose policy it is; absent for the domain's own tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Segment>,
    /// Its name, for people.
    #[serde(default)]
    pub name: String,
    /// The simple rule that it is the canonical form of, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Its Cedar text.
    pub text: String,
    /// What it is for.
    pub description: String,
    /// Whether it is one of the standing policies, which are a part of the program.
    pub guard: bool,
    /// Who wrote it last.
    pub changed_by: String,
    /// When.
    pub changed: Timestamp,
    /// The revision of its record: the ETag.
    pub revision: Revision,
}

/// A named key or a keyspace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyView {
    /// Its name.
    pub resource: ResourceId,
    /// Its id, never used twice.
    pub uid: KeyUid,
    /// For a named key, its versions. A keyspace's versions are each enclave's own.
    pub versions: Vec<KeyVersionView>,
    /// When it was made.
    pub created: Timestamp,
    /// By whom.
    pub created_by: String,
    /// The revision of its record: the ETag.
    pub revision: Revision,
}

/// A version of a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyVersionView {
    /// For a keyspace, whose key it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enclave: Option<EnclaveName>,
    /// The number, from 1.
    pub version: u32,
    /// Its state in the words of SP 800-57: `active`, `deactivated`, `compromised`, `destroyed`.
    pub state: String,
    /// Since when it is in that state.
    pub since: Timestamp,
    /// Instances that were given the key itself.
    pub released_to: Vec<InstanceId>,
}

/// A channel that is open.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChannelView {
    /// Its id.
    pub id: ChannelId,
    /// Who opened it.
    pub initiator: ChannelEnd,
    /// Who accepted it.
    pub acceptor: ChannelEnd,
    /// Since when.
    pub opened: Timestamp,
    /// When it ends in any case.
    pub not_after: Timestamp,
    /// The position that it was last decided at.
    pub revision: Revision,
}

/// One side of a channel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChannelEnd {
    /// The instance.
    pub instance: InstanceId,
    /// Its enclave.
    pub enclave: EnclaveName,
}
