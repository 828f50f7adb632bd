//! What administrators are told.

use std::collections::BTreeMap;

use crate::claims::HexBytes;
use crate::{
    ChannelId, Claims, DecisionId, DomainClass, EnclaveName, GenesisHash, HeadHash, InstanceId, NodeId, Operation,
    ResourceId, Revision, Timestamp, TrustDomain,
};
use serde::{Deserialize, Serialize};

use super::admin::Subject;

/// What a revocation did. When it is returned, all of it holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Revoked {
    /// The revision from which it holds.
    pub revision: Revision,
    /// The instances that it ended.
    pub instances: Vec<InstanceId>,
    /// The channels that it cut.
    pub channels: Vec<ChannelId>,
    /// The keys that have a new version, because an old one had been released.
    pub rotated: Vec<Rotation>,
    /// The platforms that are kept out from now on.
    pub barred_platforms: Vec<HexBytes>,
    /// What can still be read by whoever holds a released key.
    pub residual: Vec<Residual>,
    /// What it could not do, and what would.
    pub advice: Vec<Advice>,
}

/// A key that began a new version.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rotation {
    /// The keyspace or named key.
    pub resource: ResourceId,
    /// For a keyspace, whose key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enclave: Option<EnclaveName>,
    /// The version that is written from now on.
    pub version: u32,
}

/// Data that a released key still opens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Residual {
    /// The keyspace or named key.
    pub resource: ResourceId,
    /// For a keyspace, whose key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enclave: Option<EnclaveName>,
    /// Whatever was written under these versions.
    pub versions: Vec<u32>,
    /// Who holds them.
    pub held_by: Vec<InstanceId>,
}

/// Something that an administrator should know, and do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Advice {
    /// What is so.
    pub detail: String,
    /// What to do about it.
    pub fix: String,
}

/// What stands behind a decision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Why {
    /// The decision.
    pub decision: DecisionView,
    /// The claims it was made on; absent where the principal had none (an administrator).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<Claims>,
    /// What the parts of its evidence beside the lead said, as the instance's record has it now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Claims>,
    /// Policies that would have permitted but for something: the policy, and what was missing.
    pub near_misses: Vec<(String, String)>,
    /// The texts of the determining policies that still stand, by id.
    pub policies: BTreeMap<String, String>,
    /// All of it in lines for a person.
    pub explanation: Vec<String>,
    /// The node that decided.
    pub node: NodeId,
}

/// A decision as it was recorded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DecisionView {
    /// Its id.
    pub id: DecisionId,
    /// When.
    pub at: Timestamp,
    /// Who asked: an instance's id, `candidate` and an enclave, or `admin` and a name.
    pub principal: String,
    /// The enclave, where an enclave asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enclave: Option<EnclaveName>,
    /// What was asked.
    pub operation: Operation,
    /// Of what.
    pub resource: String,
    /// With which peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<EnclaveName>,
    /// Whether it was allowed.
    pub allowed: bool,
    /// Why, in a line.
    pub reason: String,
    /// The policies that made it.
    pub determining: Vec<String>,
    /// The ledger position.
    pub revision: Revision,
    /// The deadline of the attestation it was made on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh_until: Option<Timestamp>,
    /// The answer's own deadline.
    pub valid_until: Timestamp,
}

/// Which decisions are wanted. What is absent does not narrow.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DecisionFilter {
    /// Of this enclave alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enclave: Option<EnclaveName>,
    /// Asked for by one of these alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<DecisionSubject>,
    /// Allowed or denied alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<bool>,
    /// Of this operation alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
    /// At most; 0 means 100.
    #[serde(default)]
    pub limit: usize,
}

/// Who asked for a decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DecisionSubject {
    /// An instance of an enclave, or who wanted to become one.
    Enclave,
    /// An administrator: every look at the domain is a decision, too.
    Administrator,
}

impl DecisionSubject {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enclave => "enclave",
            Self::Administrator => "administrator",
        }
    }
}

/// Whether something would be allowed now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Can {
    /// Whom the question is about.
    pub subject: Subject,
    /// To do what.
    pub operation: Operation,
    /// On what.
    pub resource: ResourceId,
    /// The answer for each fresh instance or, where there is none, for each active release.
    pub cases: Vec<CanCase>,
    /// The ledger position.
    pub revision: Revision,
}

/// One case of a hypothetical question.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CanCase {
    /// Who it would be: an instance's id, or `release v1.4`.
    pub who: String,
    /// Whether it would be allowed.
    pub allowed: bool,
    /// By which policies; empty where none permits.
    pub determining: Vec<String>,
    /// Policies that would permit but for something.
    pub near_misses: Vec<(String, String)>,
    /// Why, in lines for a person.
    pub explanation: Vec<String>,
}

/// How the node is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Status {
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// Its class.
    pub class: DomainClass,
    /// This node.
    pub node: NodeId,
    /// The ledger position that it serves.
    pub revision: Revision,
    /// The signed head at that position.
    pub head: HeadHash,
    /// Registered enclaves.
    pub enclaves: usize,
    /// Instances by standing.
    pub instances: StandingCounts,
    /// Policies in force.
    pub policies: usize,
    /// Named keys and keyspaces.
    pub keys: usize,
    /// Channels that are open.
    pub channels: usize,
    /// Decisions since the start: allowed, denied, and denied because something failed inside.
    pub decisions: (u64, u64, u64),
    /// Whether the parts below can serve.
    pub health: Vec<Health>,
    /// The vendors' collateral that the node holds, or wants.
    #[serde(default)]
    pub collateral: Vec<CollateralView>,
    /// The time by which all of this is counted.
    pub at: Timestamp,
}

/// A piece of vendors' collateral (a revocation list, TCB info, an identity, a certificate), and how it stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CollateralView {
    /// What it is, in words.
    pub subject: String,
    /// How it stands.
    pub level: CollateralLevel,
    /// The vendor's number, where its kind has one; no older one is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// When it was made; absent where it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<Timestamp>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When a source last gave it, the same or newer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refreshed: Option<Timestamp>,
    /// What went wrong since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How a piece of collateral stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CollateralLevel {
    /// Current.
    Current,
    /// It ends soon, and no source has given a newer one.
    Ending,
    /// It has ended: evidence that needs it is refused.
    Ended,
    /// Evidence asked for it, and it is not there.
    Missing,
}

/// Instances by standing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StandingCounts {
    /// Fresh.
    pub fresh: usize,
    /// Stale.
    pub stale: usize,
    /// Revoked.
    pub revoked: usize,
}

/// Whether one part can serve.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// The part: `hsm`, `ledger`, `audit`, `clock`.
    pub part: String,
    /// Whether it can.
    pub ok: bool,
    /// What it says.
    pub detail: String,
}

/// What a partner needs to recognise the domain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DomainInfo {
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// Its class.
    pub class: DomainClass,
    /// The hash that names it.
    pub genesis_hash: GenesisHash,
    /// The signed genesis record.
    pub genesis: HexBytes,
    /// The issuing CA's certificate, DER.
    pub ca: HexBytes,
}

/// Something that happened, for whoever watches.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The ledger position at that time.
    pub revision: Revision,
    /// What: `enclave.created`, `instance.attested`, `instance.stale`, `policy.changed`, `channel.cut`, `decision.denied`, …
    pub kind: String,
    /// Of what: a name or an id.
    pub subject: String,
    /// In a line.
    pub detail: String,
}
