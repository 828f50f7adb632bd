//! What administrators say.

use super::Requirements;
use crate::claims::HexBytes;
use crate::{
    EnclaveName, InstanceId, KeyIdentity, ReleaseState, ResourceId, Revision, Segment, Tee, Timestamp,
    claims::ReferenceValue,
};
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An administrator as the edge authenticated them. What they may do, the policies say.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AdminIdentity {
    /// The name in their certificate or token.
    pub name: Segment,
    /// The roles that their credential states.
    pub roles: Vec<String>,
}

/// Which part of a list is wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// The `next` of the page before; `None` from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Items at most; 0 means 100, and more than 1000 are not given.
    #[serde(default)]
    pub limit: usize,
}

/// A part of a list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Paged<T> {
    /// The items, in the order of their keys.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The ledger position of the list.
    pub revision: Revision,
}

/// An enclave to register.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewEnclave {
    /// Its name.
    pub name: EnclaveName,
    /// The TEE whose evidence it brings.
    pub tee: Tee,
    /// What its keys are derived from.
    pub key_identity: KeyIdentity,
    /// How often it must attest, in seconds (2 to 86400).
    pub reattest_every_secs: u64,
    /// What code may bear the name.
    #[serde(default)]
    pub releases: Vec<NewRelease>,
    /// For a TPM: the endorsement keys that are let in, each as SHA-256 of its `TPMT_PUBLIC` (`ek.pub`).
    #[serde(default)]
    pub tpm_ek_digests: Vec<HexBytes>,
    /// What is demanded of its evidence beyond that.
    #[serde(default)]
    pub requirements: Requirements,
}

/// A set of reference values to add to an enclave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewRelease {
    /// Its name within the enclave: `v1.4`.
    pub name: Segment,
    /// What evidence must say.
    pub reference: ReferenceValue,
    /// The state it begins in.
    pub state: ReleaseState,
    /// Where the values come from: `by hand`, `from evidence`, a build's URL.
    #[serde(default)]
    pub origin: String,
    /// The digests of the events that made its registers, by register, where they are known: they say from which event on
    /// another machine differs. What is demanded stands in `reference` alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub log: BTreeMap<String, Vec<HexBytes>>,
    /// When it ends by itself: instances of it must be of another release by then. Absent: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
}

/// What to change of an enclave; what is absent stays.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct EnclaveChange {
    /// The new interval, in seconds. Deadlines of running instances follow with their next attestation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reattest_every_secs: Option<u64>,
    /// The new list of endorsement key digests; instances on a platform that is no longer listed are ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm_ek_digests: Option<Vec<HexBytes>>,
    /// The new demands, all of them. What they tighten holds for running instances too: these are asked to attest at once, and
    /// those on a platform that is no longer listed are ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements: Option<Requirements>,
    /// Platforms to let in again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lift_platforms: Vec<HexBytes>,
}

/// Which instances are wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct InstanceFilter {
    /// Of this enclave alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enclave: Option<EnclaveName>,
    /// In this standing alone: `fresh`, `stale`, `revoked`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<String>,
}

/// A policy to store: Cedar text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewPolicy {
    /// The namespace whose policy it is; `None` for the domain's own tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Segment>,
    /// Its name, for people: decisions refer to it by name and id. Empty: taken from the id.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// One Cedar policy statement.
    pub text: String,
    /// What it is for, in a line.
    #[serde(default)]
    pub description: String,
}

/// A simple rule in words, stored as the one canonical Cedar policy that says it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewRule {
    /// Whether it allows or forbids.
    pub effect: RuleEffect,
    /// `WHO OPERATION[,OPERATION]… ON [tee=…] [max-age=…] [min-svn=…] [peer=…]`, e.g.
    /// `payments/api decrypt key/payments/pii max-age=1h`.
    pub rule: String,
    /// What it is for, in a line.
    #[serde(default)]
    pub description: String,
}

/// What a simple rule does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RuleEffect {
    /// It allows, where nothing forbids.
    Allow,
    /// It forbids, whatever allows.
    Forbid,
}

/// A key to make: `key/<namespace>/<name>` (shared by whom policy lets use it) or `keyspace/<namespace>/<name>` (each
/// enclave has its own key there).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// Its name.
    pub resource: ResourceId,
}

/// Whom a hypothetical question is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// One instance.
    Instance(InstanceId),
    /// Any instance of an enclave.
    Enclave(EnclaveName),
}
